"""Pictures at their edges: streams, last steps, models and samples that cannot be drawn."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastem import GMMHMM, GaussianHMM, GaussianLDA, GaussianMixture, LatentDirichletAllocation

pytest.importorskip(
    "matplotlib", reason="fastem.plot draws with matplotlib, which is not installed"
)
from matplotlib.figure import Figure

from fastem.plot import LowerBoundDisplay, MixtureDisplay, ProfilesDisplay, StatesDisplay, animate

X = np.random.default_rng(0).normal(np.repeat([[0.0, 0.0], [6.0, 6.0]], 30, axis=0))


@pytest.fixture
def ax():
    return Figure().subplots()


# ---- bounds ------------------------------------------------------------------------------------


def test_the_steps_of_a_stream_are_more_than_max_iter(ax):
    mixture = GaussianMixture(2, max_iter=3, random_state=0)
    for seed in range(12):
        mixture.partial_fit(np.random.default_rng(seed).permutation(X))
    n = len(mixture.lower_bounds_)
    assert n > 4
    display = LowerBoundDisplay.from_estimator(mixture, ax=ax)
    assert_array_equal(display.lines_["GaussianMixture"].get_xdata(), range(1, n + 1))


def test_a_parameter_that_was_set_after_the_fit_moves_no_iteration(ax):
    mixture = GaussianMixture(3, random_state=1).fit(X)
    n = mixture.n_iter_
    mixture.set_params(max_iter=1)
    display = LowerBoundDisplay.from_estimator(mixture, ax=ax)
    assert_array_equal(display.iterations["GaussianMixture"], range(1, n + 1))


def test_the_last_iteration_has_its_number_if_it_is_no_multiple(ax):
    lda = LatentDirichletAllocation(2, max_iter=7, evaluate_every=3, perp_tol=0, random_state=0)
    display = LowerBoundDisplay.from_estimator(lda.fit(np.eye(4) * 3 + 1), ax=ax)
    assert_array_equal(display.iterations["LatentDirichletAllocation"], [3, 6, 7])


# ---- states ------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [None, np.arange("2026-01-01", "2026-01-04", dtype="M8[D]")])
def test_a_state_of_the_last_step_alone_is_seen(times, ax):
    display = StatesDisplay(np.array([0, 0, 1]), np.array([1.0, 2.0, 3.0]), times=times).plot(ax)
    ax.figure.canvas.draw()
    assert [span.get_width() for span in display.spans_] == [2, 1]


@pytest.mark.parametrize(
    ("sequence", "feature", "message"),
    [
        (X, 0.5, "feature must be an integer from 0 to 1, got 0.5"),
        (X, "a", "feature must be an integer from 0 to 1, got 'a'"),
        (X, 2, "feature must be an integer from 0 to 1, got 2"),
        ([X, X], 0, r"X must be one sequence, of shape \(n_steps, n_features\), got \(2, 60, 2\)"),
        (X[:, 0], 0, r"X must be one sequence, of shape \(n_steps, n_features\), got \(60,\)"),
    ],
)
def test_what_is_no_sequence_to_draw(sequence, feature, message, ax):
    model = GaussianHMM(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match=message):
        StatesDisplay.from_estimator(model, sequence, feature=feature, ax=ax)


# ---- what cannot be drawn ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", [GaussianHMM(2, random_state=0), GMMHMM(2, n_mix=2, random_state=0), GaussianLDA(2)]
)
def test_models_with_means_that_are_no_mixtures(model, ax):
    model.fit(X)
    with pytest.raises(TypeError, match=f"must be a mixture of fastem, got {type(model).__name__}"):
        ProfilesDisplay.from_estimator(model, ax=ax)
    with pytest.raises(TypeError, match=f"got {type(model).__name__}"):
        MixtureDisplay.from_estimator(model, X, ax=ax)
    with pytest.raises(TypeError, match=f"got {type(model).__name__}"):
        animate(model, X)


def test_samples_with_nan_are_not_drawn(ax):
    holes = X.copy()
    holes[0, 0] = np.nan
    mixture = GaussianMixture(2, random_state=0).fit(holes)
    with pytest.raises(ValueError, match="X must have no NaN to be drawn: pass the samples whose"):
        MixtureDisplay.from_estimator(mixture, holes, ax=ax)
    MixtureDisplay.from_estimator(mixture, holes[1:], ax=ax)
