"""Gaussian mixtures beside noise: samples from anywhere that belong to no component."""

import pickle

import numpy as np
import pytest
import sklearn.mixture
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

import fastem
from fastem import ConjugatePrior, GaussianMixture, select
from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianEM
from fastem.components.noise import noise_of
from fastem.mixture.gaussian import mixture_of

every_kind = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CENTERS = np.array([[0.0, 0.0, 1.0], [6.0, 1.0, -2.0], [-2.0, 7.0, 4.0]])
LOWEST, HIGHEST = np.array([-9.0, -7.0, -10.0]), np.array([12.0, 14.0, 11.0])
SHARE = 0.25


def samples(n=1500, seed=0):
    """Return samples of which a quarter is noise, and where they are from; -1 is noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    X = CENTERS[y] + rng.normal(size=(n, 3))
    noisy = rng.random(n) < SHARE
    X[noisy] = rng.uniform(LOWEST, HIGHEST, (noisy.sum(), 3))
    y[noisy] = -1
    return X, y


def with_gaps(X, seed=1):
    X = X.copy()
    X[np.random.default_rng(seed).random(X.shape) < 0.15] = np.nan
    return X


def fit(X, kind="full", noise=True, **more):
    settings = {"covariance_type": kind, "random_state": 0, "tol": 1e-9, "max_iter": 500}
    return GaussianMixture(3, noise=noise, **settings | {"reg_covar": 0} | more).fit(X)


def densities(mixture, X):
    """Return each component's density times its weight, the noise's last, in plain NumPy."""
    there = ~np.isnan(X)
    covariances = KINDS[mixture.covariance_type].matrices(mixture.covariances_, *CENTERS.shape)
    sides = np.ptp(mixture.noise_box_, axis=0)
    out = np.empty((len(X), len(CENTERS) + 1))
    for n, (x, o) in enumerate(zip(X, there, strict=True)):
        for k, weight in enumerate(mixture.weights_):
            mean, covariance = mixture.means_[k][o], covariances[k][np.ix_(o, o)]
            out[n, k] = (
                weight * multivariate_normal(mean, covariance).pdf(x[o]) if o.any() else weight
            )
        out[n, -1] = mixture.noise_weight_ / np.prod(sides[o])
    return out


# ---- the fit -----------------------------------------------------------------------------------


@every_kind
def test_noise_is_found_and_components_are_not_widened(kind):
    X, y = samples()
    mixture = fit(X, kind)
    assert_allclose(mixture.noise_weight_, SHARE, atol=0.04)
    assert_allclose(mixture.weights_.sum() + mixture.noise_weight_, 1, rtol=1e-12)
    assert mixture.weights_.shape == (3,)
    order = np.argsort(mixture.means_[:, 1])
    assert_allclose(mixture.means_[order], CENTERS, atol=0.2)
    variances = np.broadcast_to(KINDS[kind].diagonal(mixture.covariances_), (3, 3))
    assert_allclose(variances, 1, atol=0.3)
    assert adjusted_rand_score(y, mixture.predict(X)) > 0.9
    without = fit(X, kind, noise=False)
    assert np.max(KINDS[kind].diagonal(without.covariances_)) > 2
    assert mixture.bic(X) < without.bic(X)


@every_kind
@pytest.mark.parametrize("prior", [None, "conjugate"])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_bound_rises(kind, prior, gaps):
    X, _ = samples(400)
    bounds = fit(with_gaps(X) if gaps else X, kind, prior=prior, init_params="random").lower_bounds_
    assert len(bounds) > 5
    assert np.all(np.diff(bounds) > -1e-12 * np.abs(bounds[1:]))


@every_kind
def test_what_is_read_off_is_that_of_one_component_more(kind):
    """Against plain NumPy; of rows with NaN the marginal densities."""
    X, _ = samples(200)
    mixture = fit(X, kind)
    far = np.full((1, 3), 1e3)
    Z = np.vstack([X, with_gaps(X), np.full((1, 3), np.nan), far])
    expected = densities(mixture, Z)
    assert_allclose(mixture.score_samples(Z), np.log(expected.sum(axis=1)), rtol=0, atol=1e-9)
    shares = expected / expected.sum(axis=1, keepdims=True)
    assert_allclose(mixture.predict_proba(Z), shares, atol=1e-12)
    labels = shares.argmax(axis=1)
    assert_array_equal(mixture.predict(Z), np.where(labels == 3, -1, labels))
    assert mixture.predict(far)[0] == -1
    assert_allclose(mixture.uncertainty(Z), 1 - shares.max(axis=1), atol=1e-12)
    assert_array_equal(fit(X, kind).fit_predict(X), mixture.predict(X))


@every_kind
def test_m_steps_are_those_of_the_responsibilities(kind):
    """One more iteration from where a fit is, in plain NumPy."""
    X, _ = samples(300)
    weight = np.random.default_rng(3).uniform(0, 3, len(X))
    few = {"tol": 0, "random_state": 0, "reg_covar": 0, "covariance_type": kind}
    before = GaussianMixture(3, noise=True, max_iter=3, **few).fit(X, sample_weight=weight)
    after = GaussianMixture(3, noise=True, max_iter=4, **few).fit(X, sample_weight=weight)
    gamma = densities(before, X)
    gamma *= (weight / gamma.sum(axis=1))[:, None]
    total = gamma.sum(axis=0)
    assert_allclose(after.noise_weight_, total[3] / total.sum(), rtol=1e-10)
    assert_allclose(after.weights_, total[:3] / total.sum(), rtol=1e-10)
    means = gamma[:, :3].T @ X / total[:3, None]
    assert_allclose(after.means_, means, rtol=1e-8)
    gaps = X - means[:, None]
    scatter = np.einsum("nk,kni,knj->kij", gamma[:, :3], gaps, gaps)
    each = scatter / total[:3, None, None]
    expected = {
        "full": each,
        "tied": scatter.sum(axis=0) / total[:3].sum(),
        "diag": each.diagonal(axis1=1, axis2=2),
        "spherical": each.trace(axis1=1, axis2=2) / 3,
    }[kind]
    assert_allclose(after.covariances_, expected, rtol=1e-8, atol=1e-10)


@every_kind
def test_float32_and_threads(kind):
    X, _ = samples(6000)
    double, single = fit(X, kind), fit(X.astype(np.float32), kind)
    assert single.means_.dtype == np.float32
    assert single.noise_box_.dtype == np.float64
    assert_allclose(single.noise_weight_, double.noise_weight_, rtol=1e-3)
    assert_allclose(single.means_, double.means_, rtol=0, atol=1e-2)
    for n_jobs in (1, 2, 4):
        again = fit(X, kind, n_jobs=n_jobs)
        assert again.noise_weight_ == double.noise_weight_
        assert_array_equal(again.means_, double.means_)
        assert_array_equal(again.covariances_, double.covariances_)


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data", "random"])
@pytest.mark.parametrize("algorithm", ["em", "squarem", "incremental"])
def test_every_start_and_algorithm(init, algorithm):
    """Also one whose components are single samples at first, which all others are far from."""
    X, y = samples()
    mixture = fit(X, init_params=init, algorithm=algorithm, n_init=5)
    assert adjusted_rand_score(y, mixture.predict(X)) > 0.9


def test_weights_count_as_copies_and_samples_without_weight_not_at_all():
    X, _ = samples(300)
    weight = np.random.default_rng(0).integers(1, 4, len(X)).astype(float)
    start = fit(X, max_iter=0)
    more = {
        "weights_init": start.weights_ / start.weights_.sum(), "means_init": start.means_,
        "precisions_init": start.precisions_,
    }  # fmt: skip
    settings = {"covariance_type": "full", "tol": 0, "max_iter": 5, "reg_covar": 0, "noise": True}
    copies = GaussianMixture(3, **settings, **more).fit(np.repeat(X, weight.astype(int), axis=0))
    far = np.vstack([X, [[1e4, 1e4, 1e4]]])
    weighted = GaussianMixture(3, **settings, **more).fit(far, sample_weight=np.append(weight, 0))
    assert_allclose(weighted.noise_box_, copies.noise_box_)
    # The smaller box lies along the axes of the weighted samples.
    assert_allclose(weighted.noise_weight_, copies.noise_weight_, rtol=1e-9)
    assert_allclose(weighted.means_, copies.means_, rtol=1e-9)


# ---- the volume --------------------------------------------------------------------------------


def test_the_volume_is_that_of_the_smaller_box():
    """Along the features, or along the principal axes: mclust's hypvol."""
    rng = np.random.default_rng(0)
    square = rng.uniform(-1, 1, (500, 2))
    turned = square * [5, 0.2] @ [[np.cos(1), np.sin(1)], [-np.sin(1), np.cos(1)]]
    for X in (square, turned):
        box = GaussianMixture(2, noise=True, random_state=0).fit(X).noise_box_
        axes = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2]
        volumes = [np.prod(np.ptp(Z, axis=0)) for Z in (X, X @ axes.T)]
        assert_allclose(np.prod(np.ptp(box, axis=0)), min(volumes), rtol=1e-9)
        sides = np.ptp(box, axis=0) / np.ptp(X, axis=0)  # of the data's proportions, about them
        assert_allclose(sides[0], sides[1])
        assert_allclose(box.mean(axis=0), (X.min(axis=0) + X.max(axis=0)) / 2, atol=1e-12)
    assert volumes[1] < volumes[0] / 3


def test_the_box_along_principal_axes_is_that_of_weighted_samples():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) * [5, 0.2] @ [[0.6, 0.8], [-0.8, 0.6]]
    X = np.vstack([X, rng.normal(size=(20, 2)) * [0.2, 5]])
    weight = np.r_[np.full(300, 1), np.full(20, 15)]
    boxes = [
        noise_of(rows, weights, True, 0.5).box
        for rows, weights in ((X, weight.astype(float)), (np.repeat(X, weight, axis=0), None))
    ]
    assert_allclose(*boxes)
    assert np.ptp(noise_of(X, None, True, 0.5).box[:, 0]) > 1.01 * np.ptp(boxes[0][:, 0])


def test_a_given_volume():
    X, _ = samples()
    own = fit(X)
    volume = float(np.prod(np.ptp(own.noise_box_, axis=0)))
    given = fit(X, noise=volume)
    assert_allclose(given.noise_weight_, own.noise_weight_, rtol=1e-9)
    assert fit(X, noise=volume * 1e6).noise_weight_ < 0.5 * own.noise_weight_
    flat = np.column_stack([X, np.zeros(len(X))])
    sides = np.diff(fit(flat, noise=2 * volume, reg_covar=1e-3).noise_box_, axis=0)[0]
    assert_allclose(sides[3], np.prod(sides[:3]) ** (1 / 3))  # a constant feature's: their mean


@pytest.mark.parametrize("volume", [0.0, -1.0, np.nan, np.inf, "yes", None, [1.0]])
def test_what_is_no_volume_is_refused(volume):
    X, _ = samples(100)
    with pytest.raises(ValueError, match="noise"):
        fit(X, noise=volume)


@pytest.mark.parametrize(("volume", "shift"), [(1e-300, 0.0), (1e-18, 1e8), (1e-42, 0.0)])
def test_a_volume_lost_to_rounding_is_refused(volume, shift):
    """Corners that cannot be told apart would make a density of infinity, or a wrong one."""
    X = samples(300)[0]
    mixture = GaussianMixture(3, noise=True, random_state=0).fit(X)
    before = mixture.means_.copy()
    with pytest.raises(ValueError, match=f"noise={volume} is a box whose sides are lost"):
        mixture.set_params(noise=volume).fit(X + shift)
    assert_array_equal(mixture.means_, before)
    sides = np.ptp(fit(X + 1e8, noise=1.0, reg_covar=1e-3, max_iter=1).noise_box_, axis=0)
    assert_allclose(np.prod(sides), 1.0, rtol=1e-6)


@pytest.mark.parametrize("column", ["constant", "dependent", "next to dependent"])
def test_samples_without_a_volume_are_refused(column):
    X, _ = samples(100)
    last = np.ones(100) if column == "constant" else X[:, 0] - 2 * X[:, 1]
    if column == "next to dependent":
        last += 1e-6 * np.random.default_rng(0).normal(size=100)
    with pytest.raises(ValueError, match=r"feature 3 is constant|depend on each other"):
        fit(np.column_stack([X, last]))


# ---- with everything else ----------------------------------------------------------------------


def test_samples_are_drawn_in_the_box():
    mixture = fit(samples()[0])
    X, y = mixture.sample(20_000, random_state=0)
    assert_array_equal(np.unique(y), [-1, 0, 1, 2])
    assert_allclose(np.mean(y == -1), mixture.noise_weight_, atol=0.01)
    noisy, (low, high) = X[y == -1], mixture.noise_box_
    assert np.all((low < noisy) & (noisy < high))
    assert_allclose(noisy.mean(axis=0), (low + high) / 2, atol=0.5)
    assert_allclose(noisy.std(axis=0), (high - low) / np.sqrt(12), rtol=0.05)
    assert_allclose(X[y == 1].mean(axis=0), mixture.means_[1], atol=0.1)


def test_the_weight_is_one_free_parameter_more():
    X, _ = samples()
    with_noise, without = fit(X), fit(X, noise=False)
    assert with_noise.n_parameters == without.n_parameters + 1
    expected = -2 * with_noise.score(X) * len(X) + with_noise.n_parameters * np.log(len(X))
    assert_allclose(with_noise.bic(X), expected)


@every_kind
def test_some_features_alone_and_given_others(kind):
    X, _ = samples(300)
    mixture = fit(X, kind)
    part = mixture.marginal([2, 0])
    Z = np.full_like(X, np.nan)
    Z[:, [2, 0]] = X[:, [2, 0]]
    assert_allclose(part.score_samples(X[:, [2, 0]]), mixture.score_samples(Z), atol=1e-9)
    x = X[0, 1]
    rest = mixture.condition(1, x)
    joint = np.insert(X[:5, [0, 2]], 1, x, axis=1)
    alone = mixture.score_samples([[np.nan, x, np.nan]])
    assert_allclose(
        rest.score_samples(X[:5, [0, 2]]), mixture.score_samples(joint) - alone, atol=1e-9
    )
    mean, std = mixture.predict_mean([[x]], given=1, return_std=True)
    drawn = rest.sample(100_000, random_state=0)[0]
    assert_allclose(mean[0], drawn.mean(axis=0), atol=5 * std.max() / 300)
    assert_allclose(std[0], drawn.std(axis=0), rtol=0.02)
    far = mixture.condition(1, 1e6)
    assert far.noise_weight_ == 1
    assert far.sample(10)[1].tolist() == [-1] * 10


def test_missing_values_are_found_in_the_box():
    X, _ = samples()
    mixture = fit(with_gaps(X))
    assert_allclose(mixture.noise_weight_, SHARE, atol=0.05)
    low, high = mixture.noise_box_
    row = [[11.9, np.nan, -9.9]]  # where no component is
    assert mixture.predict(row)[0] == -1
    assert_allclose(mixture.impute(row)[0, 1], (low[1] + high[1]) / 2, atol=0.3)
    drawn = mixture.impute(np.repeat(row, 4000, axis=0), draw=True, random_state=0)[:, 1]
    assert_allclose(np.mean(drawn < low[1] + 0.25 * (high[1] - low[1])), 0.25, atol=0.03)


def test_fixed_parameters_and_priors():
    X, _ = samples()
    mixture = fit(X, fixed=("means",), means_init=CENTERS)
    assert_array_equal(mixture.means_, CENTERS)
    assert_allclose(mixture.noise_weight_, SHARE, atol=0.05)
    with pytest.raises(ValueError, match="fixed has 'weights'"):
        fit(X, fixed=("weights",), weights_init=np.full(3, 1 / 3))
    many = fit(X, prior=ConjugatePrior(weight_concentration=1e6))
    assert_allclose(many.weights_, 1 / 3, atol=1e-3)


def test_labels_and_merging():
    X, _ = samples()
    mixture = fit(X)
    merging = mixture.merge(X, 2)
    joint = mixture.predict_proba(X)[:, :-1] @ merging.membership
    assert_allclose(joint.sum(axis=1), 1 - mixture.predict_proba(X)[:, -1], atol=1e-12)
    before = mixture.predict_proba(X)
    mixture.reorder()
    assert np.all(np.diff(mixture.weights_) <= 0)
    assert_allclose(mixture.predict_proba(X)[:, -1], before[:, -1])
    text = str(mixture.summary(X, standard_errors=True))
    assert "noise" in text
    assert f"{np.count_nonzero(mixture.predict(X) == -1)}" in text


def test_standard_errors_are_those_of_repeated_samples():
    errors = fit(samples(seed=0)[0]).standard_errors(samples(seed=0)[0])
    fits = [fit(samples(seed=seed)[0], tol=1e-6).reorder() for seed in range(30)]
    spread = np.std([one.noise_weight_ for one in fits], ddof=1)
    assert errors.weights.shape == (4,)
    assert 0.6 < errors.weights[-1] / spread < 1.6


def test_streams_and_blocks_take_a_given_volume():
    X, _ = samples(2000)
    volume = float(np.prod(HIGHEST - LOWEST))
    blocks = fastem.Blocks.from_arrays([X[:900], X[900:]])
    settings = {"noise": volume, "random_state": 0, "tol": 1e-9, "max_iter": 500, "reg_covar": 0}
    whole = GaussianMixture(3, **settings).fit(X)
    parts = GaussianMixture(3, **settings).fit(blocks)
    assert_allclose(parts.noise_weight_, whole.noise_weight_, rtol=1e-4)
    assert_array_equal(np.concatenate(list(parts.predict(blocks))), whole.predict(X))
    stream = GaussianMixture(3, **settings)
    for rows in np.split(X, 10):
        stream.partial_fit(rows)
    assert_allclose(stream.noise_weight_, whole.noise_weight_, atol=0.05)
    for refused in (
        lambda: GaussianMixture(3, noise=True).fit(blocks),
        lambda: GaussianMixture(3, noise=True).partial_fit(X),
        lambda: GaussianMixture(3, noise=np.True_).partial_fit(X),
    ):
        with pytest.raises(ValueError, match="noise"):
            refused()


def test_a_killed_fit_goes_on(tmp_path, monkeypatch):
    X, _ = samples(400)
    whole, m_step, calls = fit(X, tol=0, max_iter=12), GaussianEM.m_step, []

    def killed(self, statistics):
        calls.append(statistics)
        if len(calls) > 6:
            raise RuntimeError("killed")
        return m_step(self, statistics)

    begun = GaussianMixture(**whole.get_params())
    checkpoint = fastem.em.Checkpoint(tmp_path / "fit", iterations=1)
    with monkeypatch.context() as patch:
        patch.setattr(GaussianEM, "m_step", killed)
        with pytest.raises(RuntimeError, match="killed"):
            begun.fit(X, checkpoint=checkpoint)
    left = []
    with fastem.em.watch(lambda state: left.append(state.iteration)):
        begun.fit(X, checkpoint=checkpoint)
    assert left[0] > 1
    assert begun.noise_weight_ == whole.noise_weight_
    assert_array_equal(begun.means_, whole.means_)


def test_pickles_and_further_fits():
    X, _ = samples(400)
    whole = fit(X)
    again = pickle.loads(pickle.dumps(whole))
    assert_array_equal(again.predict(X), whole.predict(X))
    further = clone(whole).set_params(max_iter=3, warm_start=True)
    for _ in range(200):
        further.fit(X)
    assert_allclose(further.noise_weight_, whole.noise_weight_, rtol=1e-4)
    further.set_params(noise=False, warm_start=False).fit(X)
    assert not hasattr(further, "noise_weight_")
    assert further.predict_proba(X).shape == (400, 3)
    assert further.predict(X).min() == 0
    further.set_params(noise=True, warm_start=True).fit(X)
    assert further.noise_weight_ > 0


def test_samples_are_drawn_where_hardly_any_weight_is_left_for_noise():
    """The weights of the components may be rounded to more than 1 together."""
    X, _ = samples(200)
    mixture = fit(X)
    mixture.noise_weight_ = 0.0
    for seed in range(100):
        weights = np.random.default_rng(seed).random(3)
        mixture.weights_ = weights / weights.sum()
        assert set(mixture.sample(20, random_state=0)[1]) <= {0, 1, 2}
    alone = mixture_of(mixture, mixture._densities()._replace(noise=None), None)
    assert_allclose(mixture.score_samples(X), alone.score_samples(X))


def test_noise_may_have_all_of_the_weight():
    X, _ = samples(200)
    mixture = fit(X)
    mixture.weights_, mixture.noise_weight_ = np.zeros(3), 1.0
    volume = np.prod(np.diff(mixture.noise_box_, axis=0))
    assert_allclose(mixture.score_samples(X), -np.log(volume))


def test_the_box_of_single_precision_keeps_its_sides():
    """Its corners would be the same number in float32."""
    X = (samples(400)[0] * 1e-3 + 1000).astype(np.float32)
    mixture = fit(X, noise=1e-12, tol=1e-9, max_iter=1000, reg_covar=1e-12)
    assert_allclose(np.prod(np.diff(mixture.noise_box_, axis=0)), 1e-12, rtol=1e-6)
    assert_allclose(mixture.score(X), mixture.lower_bound_, atol=1e-5)


@pytest.mark.parametrize(("before", "after"), [(2000.0, 2e6), (2000.0, False), (False, 2000.0)])
def test_a_further_fit_has_its_own_noise(before, after):
    """It goes on until nothing changes with that noise."""
    X, _ = samples(400)
    settings = {"tol": 1e-9, "max_iter": 1000, "reg_covar": 0.0}
    mixture = fit(X, noise=before, warm_start=True, **settings)
    mixture.set_params(noise=after).fit(X)
    assert_allclose(mixture.score(X), mixture.lower_bound_, rtol=1e-6)
    bound = mixture.lower_bound_
    assert_allclose(mixture.fit(X).lower_bound_, bound, rtol=1e-6)
    if after:
        assert_allclose(np.prod(np.diff(mixture.noise_box_, axis=0)), after)


def test_altered_attributes_are_named():
    X, _ = samples(200)
    for name, value in (
        ("noise_weight_", 1.5), ("noise_weight_", np.nan), ("noise_box_", np.zeros((2, 2))),
        ("noise_box_", np.zeros((2, 3))),
    ):  # fmt: skip
        mixture = fit(X)
        setattr(mixture, name, value)
        with pytest.raises(ValueError, match=name):
            mixture.predict(X)


def test_choosing_and_pictures():
    pytest.importorskip("matplotlib").use("Agg")
    X, _ = samples()
    one = GaussianMixture(noise=True, n_init=2, tol=1e-5, max_iter=500)
    selection = select.mixture(X, range(1, 6), "spherical", estimator=one, random_state=0)
    assert selection.best_params_["n_components"] == 3
    display = fastem.plot.MixtureDisplay.from_estimator(selection.best_estimator_, X)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels[-1].startswith("noise")
    assert len(display.labels_) == 3


def test_no_onnx_graph_is_made():
    mixture = fit(samples(100)[0])
    with pytest.raises(ValueError, match="noise"):
        mixture._onnx_nodes(None, np.float64, [], 15)


def test_the_classes_of_scikit_learn_have_none():
    assert "noise" not in sklearn.mixture.GaussianMixture().get_params()
    assert "noise" not in fastem.BayesianGaussianMixture().get_params()
