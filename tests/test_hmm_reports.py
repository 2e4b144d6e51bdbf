"""What users of hidden Markov models have reported, of several libraries, on data of our own."""

import itertools
import logging

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

import fastem
from fastem import GMMHMM, CategoricalHMM, GaussianHMM, MultinomialHMM, PoissonHMM

LEFT_RIGHT = np.triu(np.ones((4, 4))) / np.arange(4, 0, -1)[:, None]


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """That few rows make a degenerate fit is no news here."""
    caplog.set_level(logging.ERROR, logger="fastem")


def speech(seed=0, n_features=24, lengths=(100,) * 10):
    """Rows like coefficients of sounds: correlated, of very different scales, some next to 0."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(n_features, n_features)) * np.logspace(2, -4, n_features)
    rows = rng.normal(size=(sum(lengths), n_features)) @ mix
    return rows + 50 * rng.integers(0, 2, (sum(lengths), 1)), list(lengths)


def assert_a_model(model, X, lengths=None):
    """All parameters are finite, rows of probabilities sum to 1, and the model reads its data."""
    assert_allclose(model.startprob_.sum(), 1)
    assert_allclose(model.transmat_.sum(axis=1), 1)
    assert np.isfinite(model.score(X, lengths))
    assert_allclose(model.predict_proba(X, lengths).sum(axis=1), 1)
    assert np.all(np.diff(model.monitor_.history) > -1e-7 * abs(model.monitor_.history[-1]))


@pytest.mark.parametrize("kind", ["full", "diag", "tied", "spherical"])
def test_sound_under_mixtures(kind):
    """Covariances that are not positive definite, and training that ends after three iterations."""
    X, lengths = speech()
    model = GMMHMM(3, n_mix=2, covariance_type=kind, n_iter=20, random_state=0).fit(X, lengths)
    assert_a_model(model, X, lengths)


@pytest.mark.parametrize("seed", range(5))
def test_sixteen_features_two_mixtures_whatever_the_seed(seed):
    X, _ = speech(1, 16, [400])
    X[:, 3] = np.round(X[:, 3])
    model = GMMHMM(4, n_mix=2, covariance_type="full", n_iter=10, random_state=seed).fit(X)
    assert_a_model(model, X)


def test_float32_rows_on_a_grid_with_many_states():
    X = np.round(np.random.default_rng(0).uniform(-3, 3, (2000, 1)) * 4).astype(np.float32) / 4
    model = GaussianHMM(25, covariance_type="full", n_iter=15, random_state=0).fit(X)
    assert_a_model(model, X)


def test_part_of_the_series_is_constant():
    rng = np.random.default_rng(1)
    X = np.concatenate([np.zeros((150, 3)), rng.normal(size=(150, 3)), np.full((100, 3), 2.0)])
    for kind in ("full", "diag", "tied", "spherical"):
        model = GaussianHMM(4, covariance_type=kind, n_iter=100, tol=-np.inf, random_state=0)
        assert_a_model(model.fit(X), X)


def test_only_transitions_and_covariances_are_learnt():
    rng = np.random.default_rng(2)
    model = GaussianHMM(4, "full", params="tc", init_params="", n_iter=30, tol=-np.inf)
    model.startprob_ = [0.6, 0.3, 0.1, 0.0]
    model.transmat_ = [
        [0.7, 0.2, 0, 0.1],
        [0.3, 0.5, 0.2, 0],
        [0, 0.3, 0.5, 0.2],
        [0.2, 0, 0.2, 0.6],
    ]
    model.means_ = means = np.array([[0.0, 0], [0, 11], [9, 10], [11, -1]])
    model.covars_ = np.tile(0.5 * np.eye(2), (4, 1, 1))
    X = model.sample(300, random_state=3)[0] + rng.normal(scale=1e-3, size=(300, 2))
    model.fit(X)
    assert_a_model(model, X)
    assert_array_equal(model.means_, means)
    assert model.transmat_[0, 2] == model.transmat_[1, 3] == 0


def test_left_to_right_paths_never_go_back():
    """Decoded states that the transitions forbid, and a first state that cannot be."""
    rng = np.random.default_rng(4)
    X, lengths = (
        rng.normal(size=(64, 8)) + np.tile(np.repeat(np.arange(4), 4), 4)[:, None],
        [16] * 4,
    )
    for make in (
        lambda: GaussianHMM(4, topology="left-right", n_iter=20, random_state=0),
        lambda: GMMHMM(4, n_mix=2, topology="left-right", n_iter=20, random_state=0),
    ):
        model = make().fit(X, lengths)
        assert_a_model(model, X, lengths)
        for path in np.split(model.predict(X, lengths), 4):
            assert path[0] == 0
            assert np.all(np.diff(path) >= 0)


def test_feed_forward_counts_of_many_neurons():
    rng = np.random.default_rng(5)
    rates = rng.gamma(0.3, 3, (4, 27))
    states = np.tile(np.repeat(np.arange(4), [60, 60, 60, 70]), 10)
    X, lengths = rng.poisson(rates[states]), [250] * 10
    model = PoissonHMM(4, init_params="l", n_iter=60, tol=-np.inf, random_state=0)
    model.startprob_, model.transmat_ = np.eye(4)[0], 0.1 * LEFT_RIGHT + 0.9 * np.eye(4)
    model.fit(X, lengths)
    assert_a_model(model, X, lengths)
    assert_array_equal(model.transmat_[np.tril_indices(4, -1)], 0)


def test_large_counts():
    X = np.random.default_rng(6).poisson(np.repeat([[1e6, 3], [2e6, 0]], 40, axis=0))
    model = PoissonHMM(2, n_iter=50, random_state=0).fit(X)
    assert_a_model(model, X)
    assert_allclose(np.sort(model.lambdas_[:, 0]), [1e6, 2e6], rtol=1e-3)


def test_an_end_that_is_not_there():
    """A sequence that the model cannot make is told at once, not as an improvement of NaN."""
    model = CategoricalHMM(3, n_features=4, init_params="", n_iter=5)
    model.startprob_ = [0, 0, 1]
    model.transmat_ = np.eye(3)
    model.emissionprob_ = [[0.7, 0.2, 0.1, 0], [0.7, 0.2, 0.1, 0], [0, 0, 0, 1]]
    with pytest.raises(ValueError, match=r"sequence 1 \(rows 2 to 4\) has probability 0"):
        model.fit([[3], [3], [0], [1], [2]], [2, 3])


def test_states_of_sixteen_features_with_forbidden_ways():
    rng = np.random.default_rng(7)
    trans = np.array(
        [[29, 1, 0, 0, 0, 0], [0, 23, 1, 0, 0, 0], [0, 0, 5, 1, 0, 0], [2, 0, 0, 15, 0, 1],
         [0, 1, 0, 0, 15, 0], [0, 0, 1, 0, 0, 5]], dtype=float
    )  # fmt: skip
    model = GaussianHMM(6, "full", init_params="", n_iter=20, tol=-np.inf)
    model.startprob_, model.transmat_ = np.full(6, 1 / 6), trans / trans.sum(axis=1, keepdims=True)
    model.means_, model.covars_ = rng.normal(size=(6, 16)), np.tile(np.eye(16), (6, 1, 1))
    X = rng.normal(size=(500, 16))
    assert_a_model(model.fit(X), X)
    assert_array_equal(model.transmat_ > 0, (trans > 0) & (model.transmat_ > 0))


def test_symbols_in_rows_are_refused_with_the_cure():
    """Ten columns of symbols are not ten times as many rows."""
    with pytest.raises(ValueError, match=r"one column of symbols.*MultinomialHMM"):
        CategoricalHMM(2).fit(np.zeros((30, 10), dtype=int))


def test_symbols_with_gaps_and_symbols_to_come():
    X = np.array([[3], [4], [4], [0], [3], [1], [3], [3]])
    model = CategoricalHMM(2, n_features=7, emissionprob_prior=1.5, random_state=0).fit(X, [5, 3])
    assert model.emissionprob_.shape == (2, 7)
    assert np.isfinite(model.score([[6], [2], [5]]))
    for bad in ([[7]], [[-1]], [[1.5]]):
        with pytest.raises(ValueError, match="symbols 0 to 6"):
            model.score(bad)


def test_trials_of_each_row_with_lengths():
    X = [[1, 2], [2, 0], [1, 2], [2, 0]]
    model = MultinomialHMM(2, n_trials=[3, 2, 3, 2], n_iter=5, random_state=0).fit(X, [2, 2])
    assert_a_model(model, X, [2, 2])


def test_a_column_of_symbols_is_no_row_of_counts():
    model = MultinomialHMM(3, n_trials=2)
    model.startprob_, model.transmat_ = [0.2, 0.4, 0.4], np.full((3, 3), 1 / 3)
    model.emissionprob_ = [[0.5, 0.5], [0.4, 0.6], [0.7, 0.3]]
    with pytest.raises(ValueError, match="X has 1 features, but emissionprob_ has 2"):
        model.decode([[1], [1], [0]])


def test_paths_and_their_probabilities_by_hand():
    """decode's value is that of its path, the path the best; map's path may be another."""
    rng = np.random.default_rng(8)
    start, trans, emit = (
        rng.dirichlet(np.ones(n), k).squeeze() for n, k in ((3, 1), (3, 3), (4, 3))
    )
    model = CategoricalHMM(3)
    model.startprob_, model.transmat_, model.emissionprob_ = start, trans, emit
    X = rng.integers(0, 4, 7)
    value = {
        path: start[path[0]] * emit[path[0], X[0]]
        * np.prod([trans[path[t], path[t + 1]] * emit[path[t + 1], X[t + 1]] for t in range(6)])
        for path in itertools.product(range(3), repeat=7)
    }  # fmt: skip
    best = max(value, key=value.get)
    log_prob, states = model.decode(X[:, None])
    assert tuple(states) == best
    assert_allclose(log_prob, np.log(value[best]))
    assert_allclose(model.score(X[:, None]), np.log(sum(value.values())))
    at = [[sum(v for p, v in value.items() if p[t] == k) for k in range(3)] for t in range(7)]
    assert_array_equal(model.predict(X[:, None]), states)
    assert_array_equal(model.decode(X[:, None], algorithm="map")[1], np.argmax(at, axis=1))


def test_a_row_more_changes_no_score_of_the_others():
    """A longer series may be decoded otherwise; scores still add up by the chain rule."""
    rng = np.random.default_rng(9)
    X = rng.normal(scale=0.1, size=(13, 3))
    model = GMMHMM(5, n_mix=2, n_iter=5, random_state=0, min_covar=1e-2).fit(
        rng.normal(size=(200, 3))
    )
    states = model.predict_next(X[:12]).states[0]
    weights, means, covars = model.weights_, model.means_, model.covars_
    density = [
        sum(
            w * multivariate_normal.pdf(X[12], m, np.diag(c))
            for w, m, c in zip(*state, strict=True)
        )
        for state in zip(weights, means, covars, strict=True)
    ]
    assert_allclose(model.score(X), model.score(X[:12]) + np.log(states @ density))


def test_the_alternation_of_two_unions():
    rng = np.random.default_rng(10)
    peaks = np.array([[[0, 0], [1, 1]], [[0, 1], [1, 0]]])
    X = np.array([peaks[t % 2, rng.integers(2)] for t in range(1000)]) + rng.uniform(
        -0.1, 0.1, (1000, 2)
    )
    model = GMMHMM(2, n_mix=2, n_iter=300, tol=1e-4, n_init=20, random_state=0).fit(X)
    assert_allclose(model.transmat_, [[0, 1], [1, 0]], atol=0.02)


@pytest.mark.parametrize("name", ["GaussianHMM", "GMMHMM", "CategoricalHMM", "PoissonHMM"])
def test_true_is_no_number(name):
    with pytest.raises(ValueError, match=r"n_components of .* must be a number, got True: pass 1"):
        getattr(fastem, name)(n_components=True).fit([[1], [2], [3]])
    with pytest.raises(ValueError, match="n_components of GaussianMixture must be a number"):
        fastem.GaussianMixture(n_components=True).fit([[1.0], [2], [3]])


def test_sequences_of_equal_length_in_three_dimensions():
    X = np.random.default_rng(0).normal(size=(5, 7, 2))
    with pytest.raises(ValueError, match=r"got shape \(5, 7, 2\).*pass list\(X\)"):
        GaussianHMM(2).fit(X)
    model = GaussianHMM(2, random_state=0).fit(list(X))
    assert_allclose(model.score(list(X)), model.score(X.reshape(-1, 2), [7] * 5))


def test_a_generator_is_no_random_state():
    model = GaussianHMM(1, random_state=0).fit([[0.0], [1.0], [2.0]])
    with pytest.raises(TypeError, match=r"random_state must be an int.*integers"):
        model.sample(3, random_state=np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["full", "diag", "tied", "spherical"])
def test_a_prior_without_a_floor_is_bounded_too(kind):
    """A state that nobody visits does not grow without end where min_covar is 0."""
    X = np.random.default_rng(11).normal(size=(50, 2))
    model = GaussianHMM(
        2,
        kind,
        min_covar=0,
        covars_prior=0.1 * np.eye(2) if kind in ("full", "tied") else 0.1,
        covars_weight=1,
        init_params="",
        n_iter=300,
        tol=-np.inf,
    )
    model.startprob_, model.transmat_ = [1, 0], [[1, 0], [0.5, 0.5]]
    model.means_ = [[0.0, 0], [1e3, 1e3]]
    model.covars_ = {
        "full": np.tile(np.eye(2), (2, 1, 1)), "tied": np.eye(2), "diag": np.ones((2, 2)),
        "spherical": np.ones(2),
    }[kind]  # fmt: skip
    model.fit(X)
    assert_a_model(model, X)
    assert np.max(model.covars_) < 1e9


def test_rows_of_counts_that_a_prior_takes_away_keep_the_largest():
    """With a prior of 0 each count loses 1; hmmlearn leaves rows of zeros, and no model."""
    X = np.random.RandomState(2).randint(0, 4, (40, 1))
    model = CategoricalHMM(3, transmat_prior=0.0, n_iter=50, tol=-np.inf, random_state=0).fit(X)
    assert_allclose(model.transmat_.sum(axis=1), 1)
    assert np.isfinite(model.score(X))


def test_one_matrix_is_the_prior_of_all_states():
    """Also where there are as many states as features, and its rows could be taken for states."""
    X = np.random.default_rng(12).normal(size=(60, 2))
    prior = np.array([[3.0, 1], [1, 2]])
    fits = [
        GaussianHMM(2, "full", covars_prior=value, n_iter=3, random_state=0).fit(X)
        for value in (prior, np.stack([prior, prior]))
    ]
    assert_array_equal(fits[0].covars_, fits[1].covars_)
    assert_array_equal(fits[0].covars_, fits[0].covars_.swapaxes(1, 2))


def test_one_column_of_a_multinomial_is_told_of(caplog):
    """Symbols are given to the class that took them before it was one of counts."""
    caplog.set_level(logging.WARNING, logger="fastem")
    MultinomialHMM(2, random_state=0).fit([[3, 1], [0, 2]] * 10)
    assert not caplog.records
    MultinomialHMM(2, random_state=0).fit([[0], [1], [2], [1]] * 10)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "one column" in record.message
    assert "CategoricalHMM" in record.message
