"""Gaussian mixtures of samples with missing values, against a loop over rows."""

import pickle

import numpy as np
import pytest
import sklearn.mixture
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.utils import get_tags

import fastem
from fastem import GaussianMixture
from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianEM, GaussianParams
from fastem.components.gaussian_data import GaussianBlock

oracle = pytest.importorskip(
    "reference.gaussian_incomplete", reason="the oracle, the folder bench/reference, is not here"
)
every_kind = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SIZES = [(40, 1, 2), (120, 3, 2), (90, 8, 3), (150, 9, 2), (80, 13, 5), (130, 6, 11)]


def samples(n, d, k, share=0.3, seed=0, far=0.0):
    """Return samples of k groups with values missing, weights, and parameters near the groups."""
    rng = np.random.default_rng(seed)
    means = far + 3 * rng.normal(size=(k, d))
    root = np.eye(d) + 0.4 * rng.normal(size=(d, d)) / np.sqrt(d)
    X = means[rng.integers(k, size=n)] + rng.normal(size=(n, d)) @ root
    X[rng.uniform(size=X.shape) < share] = np.nan
    X[3] = np.nan  # nothing is known of it
    return X, rng.uniform(size=n), means + 0.3


def params_of(kind, means, seed=1):
    """Return parameters, and their covariances as (K, D, D)."""
    (k, d), rng = means.shape, np.random.default_rng(seed)
    roots = np.eye(d) + 0.5 * rng.normal(size=(k, d, d)) / np.sqrt(d)
    full = roots @ roots.swapaxes(1, 2)
    covariances = {
        "full": full,
        "tied": full[0],
        "diag": full.diagonal(axis1=1, axis2=2),
        "spherical": np.linspace(0.5, 2, k),
    }[kind]
    weights = rng.dirichlet(np.ones(k))
    factors, failed = KINDS[kind].roots(covariances)
    assert failed == -1
    params = GaussianParams(weights, means, None, factors, np.dtype(np.float64))
    return params, KINDS[kind].matrices(covariances, k, d)


@pytest.mark.usefixtures("every_instruction_set")
@every_kind
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_one_e_step_against_a_loop_over_rows(kind, size, weighted):
    X, weight, means = samples(*size)
    weight = weight if weighted else None
    params, full = params_of(kind, means)
    log_prob, _, expected = oracle.e_step(X, params.weights, means, full, weight)
    model = GaussianEM(kind, 0.0, np.float64, 1)
    statistics = model.e_step(params, model.prepared(GaussianBlock.of(X, weight)))
    ones = np.ones(len(X)) if weight is None else weight
    assert_allclose(statistics.bound, ones @ log_prob, rtol=1e-11)
    assert_allclose(statistics.weight, ones.sum(), rtol=1e-14)
    moments = statistics.moments
    assert_allclose(moments.weight, expected["resp"], rtol=1e-11)
    assert_allclose(moments.mean, expected["mean"], rtol=1e-11, atol=1e-11)
    weights, mean, covariances = oracle.m_step(expected, kind)
    after = model.m_step(statistics)
    found = KINDS[kind].covariances(after.precisions_cholesky)
    assert_allclose(after.weights, weights, rtol=1e-11)
    assert_allclose(after.means, mean, rtol=1e-11, atol=1e-11)
    assert_allclose(found, covariances, rtol=1e-10, atol=1e-10)


@every_kind
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_is_read_off_a_fitted_one(kind, size):
    X, _, _ = samples(*size)
    k, d = size[2], size[1]
    mixture = GaussianMixture(k, covariance_type=kind, random_state=0, max_iter=5).fit(X)
    full = KINDS[kind].matrices(mixture.covariances_, k, d)
    log_prob, gamma, _ = oracle.e_step(X, mixture.weights_, mixture.means_, full)
    assert_allclose(mixture.score_samples(X), log_prob, rtol=1e-10, atol=1e-10)
    assert_allclose(mixture.predict_proba(X), gamma, atol=1e-10)
    assert_array_equal(mixture.predict(X), gamma.argmax(axis=1))
    assert_allclose(mixture.score(X), log_prob.mean(), rtol=1e-10)
    assert_allclose(mixture.predict_proba(X[3:4])[0], mixture.weights_, rtol=1e-10)
    assert_allclose(mixture.score_samples(X[3:4]), 0, atol=1e-10)
    for single in (np.float32, np.float64):  # complete rows among others are as they are alone
        whole = ~np.isnan(X).any(axis=1)
        if whole.any():
            alone = mixture.predict_proba(X[whole].astype(single))
            assert_allclose(mixture.predict_proba(X.astype(single))[whole], alone, atol=1e-6)


@every_kind
def test_the_bound_rises(kind):
    for seed in range(10):
        X, weight, _ = samples(60, 4, 3, share=0.4, seed=seed)
        mixture = GaussianMixture(
            3, covariance_type=kind, reg_covar=0, prior="conjugate", tol=0, max_iter=100,
            random_state=0,
        ).fit(X, sample_weight=weight)  # fmt: skip
        bounds = np.array(mixture.lower_bounds_)
        assert np.all(np.diff(bounds) > -1e-12 * np.abs(bounds[1:]))
    fitted = GaussianMixture(1, covariance_type=kind, reg_covar=0, tol=0, max_iter=300).fit(X)
    assert np.all(np.diff(fitted.lower_bounds_) > -1e-12)


@every_kind
def test_weights_count_as_copies(kind):
    X, _, means = samples(80, 3, 2)
    count = np.random.default_rng(0).integers(1, 4, size=len(X))
    params, _ = params_of(kind, means)
    model = GaussianEM(kind, 1e-6, np.float64, 1)
    weighted = model.e_step(params, GaussianBlock.of(X, count.astype(float)))
    copied = model.e_step(params, GaussianBlock.of(np.repeat(X, count, axis=0), None))
    assert_allclose(weighted.bound, copied.bound, rtol=1e-12)
    assert_allclose(weighted.moments.scatter, copied.moments.scatter, rtol=1e-9)


@every_kind
def test_without_nan_it_is_the_same_as_complete_samples(kind):
    """The way for missing values, on complete samples, against the ordinary one."""
    X, _, means = samples(200, 5, 3, share=0.0)
    X[3] = X[4]
    params, _ = params_of(kind, means)
    model = GaussianEM(kind, 0.0, np.float64, 1)
    block = GaussianBlock.of(X, None)
    assert not block.missing
    ordinary = model.e_step(params, model.prepared(block))
    other = model.e_step(params, block._replace(missing=True))
    assert_allclose(other.bound, ordinary.bound, rtol=1e-12)
    assert_allclose(
        other.moments.scatter_about(means), ordinary.moments.scatter_about(means), rtol=1e-9
    )


@every_kind
@pytest.mark.parametrize("d", [3, 12, 70])
def test_the_same_bits_for_every_number_of_threads(kind, d):
    X, weight, _ = samples(700, d, 3)
    fits = [
        GaussianMixture(
            3, covariance_type=kind, random_state=0, max_iter=3, n_jobs=n, reg_covar=1e-3
        ).fit(X, sample_weight=weight)
        for n in (1, 2, 3)
    ]
    for other in fits[1:]:
        assert_array_equal(other.precisions_cholesky_, fits[0].precisions_cholesky_)
        assert_array_equal(other.predict_proba(X), fits[0].predict_proba(X))


@every_kind
def test_data_far_from_zero_lose_no_digits(kind):
    X, _, means = samples(100, 3, 2)
    params, _ = params_of(kind, means)
    model = GaussianEM(kind, 0.0, np.float64, 1)
    near = model.e_step(params, GaussianBlock.of(X, None))
    shifted = params._replace(means=means + 2.0**24)
    far = model.e_step(shifted, GaussianBlock.of(X + 2.0**24, None))
    assert_allclose(far.moments.scatter, near.moments.scatter, rtol=1e-6)


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_moments_are_about_the_new_means_where_the_old_ones_were_far_away(kind):
    X = np.random.default_rng(0).normal(size=(200, 3))
    expected = X[:, 1:].var(axis=0) * len(X)
    X[::3, 0] = np.nan
    params, _ = params_of(kind, np.full((1, 3), 1e6))
    moments = GaussianEM(kind, 0.0, np.float64, 1).e_step(params, GaussianBlock.of(X, None)).moments
    variances = np.atleast_2d(KINDS[kind].diagonal(moments.scatter))[0]
    assert_allclose(variances[1:], expected, rtol=1e-9)


def test_estimates_are_those_of_complete_data_where_complete_cases_are_not():
    """What is missing depends on what is there: complete cases are another population."""
    rng = np.random.default_rng(0)
    root = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0], [0.5, 0.5, 0.7, 0], [-0.6, 0.2, 0.4, 0.6]])
    complete = rng.normal(size=(3000, 4)) @ root.T
    X = complete.copy()
    X[(complete[:, 0] > 0.3) & (rng.uniform(size=3000) < 0.8), 1] = np.nan
    X[(complete[:, 0] < -0.3) & (rng.uniform(size=3000) < 0.6), 2] = np.nan
    X[rng.uniform(size=3000) < 0.15, 3] = np.nan
    assert 0.15 < np.isnan(X).mean() < 0.25
    fitted = GaussianMixture(reg_covar=0, tol=1e-9, max_iter=2000).fit(X)
    truth = root @ root.T
    cases = X[~np.isnan(X).any(axis=1)]
    # Sampling errors of covariances of 3,000 samples are about 0.02 to 0.03.
    assert np.abs(fitted.covariances_[0] - truth).max() < 0.1
    assert np.abs(fitted.means_[0]).max() < 0.08
    assert np.abs(np.cov(cases.T) - truth).max() > 0.2 or np.abs(cases.mean(axis=0)).max() > 0.2


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_one_component_is_where_the_likelihood_is_largest(kind):
    """Against SciPy's minimiser and densities of what is there of each row."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(40, 2)) @ [[1.0, 0.7], [0.0, 0.5]]
    X[rng.uniform(size=X.shape) < 0.25] = np.nan
    told = [(x[o], o) for x in X for o in [~np.isnan(x)] if o.any()]

    def parameters(vector):
        root = np.array([[vector[2], 0.0], [vector[4] if kind == "full" else 0.0, vector[3]]])
        return vector[:2], root @ root.T

    def loss(vector):
        mean, cov = parameters(vector)
        return -sum(multivariate_normal(mean[o], cov[np.ix_(o, o)]).logpdf(x) for x, o in told)

    best = minimize(loss, [0.0, 0.0, 1.0, 1.0, 0.0][: 5 if kind == "full" else 4])
    fitted = GaussianMixture(1, covariance_type=kind, reg_covar=0, tol=1e-13, max_iter=5000).fit(X)
    mean, covariance = parameters(best.x)
    assert_allclose(fitted.means_[0], mean, atol=1e-4)
    assert_allclose(KINDS[kind].matrices(fitted.covariances_, 1, 2)[0], covariance, atol=1e-4)
    assert_allclose(fitted.score(X) * len(X), -best.fun, rtol=1e-9)


def test_groups_are_found_where_complete_cases_and_means_mislead():
    rng = np.random.default_rng(2)
    labels = rng.integers(3, size=400)
    centers = 4 * np.array([[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1]])
    X = centers[labels] + rng.normal(size=(400, 4))
    X[rng.uniform(size=X.shape) < 0.3] = np.nan
    found = GaussianMixture(3, n_init=3, random_state=0).fit_predict(X)
    table = np.array([[np.sum((labels == a) & (found == b)) for b in range(3)] for a in range(3)])
    assert table.max(axis=1).sum() > 0.9 * 400


def test_tied_covariances_keep_their_digits_where_groups_are_far_apart():
    X, _, means = samples(200, 3, 2)
    groups = np.where(np.arange(200) % 2, 0.0, 1e6)[:, None]
    params, full = params_of("tied", np.array([means[0], means[0] + 1e6]))
    X = X - X[~np.isnan(X).any(axis=1)].mean(axis=0) + means[0] + groups
    moments = GaussianEM("tied", 0.0, np.float64, 1).e_step(params, GaussianBlock.of(X, None))
    expected = oracle.e_step(X, params.weights, params.means, full)[2]["scatter"].sum(axis=0)
    assert_allclose(moments.moments.scatter, expected, rtol=1e-6)


# ---- impute ------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_expected_values(kind, size):
    X, _, _ = samples(*size)
    mixture = GaussianMixture(size[2], covariance_type=kind, random_state=0, max_iter=5).fit(X)
    filled = mixture.impute(X)
    known = ~np.isnan(X)
    assert filled.dtype == np.float64
    assert np.all(np.isfinite(filled))
    assert_array_equal(filled[known], X[known])
    full = KINDS[kind].matrices(mixture.covariances_, size[2], size[1])
    gamma = mixture.predict_proba(X)
    for j in range(0, len(X), 7):
        o, m = known[j], ~known[j]
        expected = sum(
            g * (mean[m] + c[np.ix_(m, o)] @ np.linalg.solve(c[np.ix_(o, o)], X[j, o] - mean[o]))
            for g, mean, c in zip(gamma[j], mixture.means_, full, strict=True)
        )
        assert_allclose(filled[j, m], expected, rtol=1e-8, atol=1e-8)


@every_kind
def test_drawn_values_vary_as_the_distribution_does(kind):
    X, _, means = samples(50, 3, 2)
    mixture = GaussianMixture(2, covariance_type=kind, random_state=0, max_iter=20).fit(X)
    row = np.array([[means[0, 0], np.nan, np.nan]])
    drawn = mixture.impute(np.repeat(row, 20000, axis=0), draw=True, random_state=1)
    expected = mixture.impute(row)[0]
    rest = mixture.condition(0, [row[0, 0]])
    full = KINDS[kind].matrices(rest.covariances_, 2, 2)
    mean = rest.weights_ @ rest.means_
    between = (rest.weights_[:, None] * (rest.means_ - mean)).T @ (rest.means_ - mean)
    covariance = np.einsum("k,kij->ij", rest.weights_, full) + between
    assert_allclose(expected[1:], mean, rtol=1e-8)
    assert_allclose(drawn[:, 1:].mean(axis=0), mean, atol=6 * np.sqrt(covariance.max() / 20000))
    assert_allclose(np.cov(drawn[:, 1:].T), covariance, atol=0.06 * covariance.max())
    again = mixture.impute(np.repeat(row, 20000, axis=0), draw=True, random_state=1)
    assert_array_equal(again, drawn)


def test_a_draw_is_true_or_false():
    mixture = GaussianMixture(2, random_state=0).fit(samples(50, 3, 2)[0])
    with pytest.raises(TypeError, match="draw must be True or False, got 'no'"):
        mixture.impute(np.full((1, 3), np.nan), draw="no")


def test_complete_samples_come_back_as_a_copy():
    X, _, _ = samples(50, 3, 2)
    mixture = GaussianMixture(2, random_state=0).fit(X)
    whole = np.ones((4, 3))
    filled = mixture.impute(whole)
    assert_array_equal(filled, whole)
    assert not np.shares_memory(filled, whole)


# ---- doors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_feature_of_nan_only_is_named(dtype):
    X, _, _ = samples(50, 3, 2)
    X = X.astype(dtype)
    X[:, 1] = np.nan
    mixture = GaussianMixture(2)
    with pytest.raises(ValueError, match="feature 1 of X has no value but NaN"):
        mixture.fit(X)
    assert not hasattr(mixture, "means_")
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="feature income of X"):
        mixture.fit(pandas.DataFrame(X, columns=["age", "income", "size"]))


def test_infinity_and_large_values_are_refused_as_ever():
    X, _, _ = samples(50, 3, 2)
    X[1, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        GaussianMixture(2).fit(X)
    X[1, 1] = 1e300
    with pytest.raises(ValueError, match="squares overflow"):
        GaussianMixture(2).fit(X)


def test_float32_samples():
    X, _, _ = samples(200, 3, 2)
    narrow = GaussianMixture(2, random_state=0, n_init=2).fit(X.astype(np.float32))
    wide = GaussianMixture(2, random_state=0, n_init=2).fit(X.astype(np.float32).astype(float))
    assert_array_equal(narrow.means_, wide.means_)
    assert_allclose(narrow.score_samples(X.astype(np.float32)), wide.score_samples(X), rtol=1e-5,
                    atol=1e-5)  # fmt: skip


@every_kind
def test_it_begins_with_clusters_of_what_is_there(kind):
    X, weight, _ = samples(200, 3, 3)
    for own in (None, weight):
        begun = GaussianMixture(3, covariance_type=kind, random_state=0, max_iter=0)
        begun.fit(X, sample_weight=own)
        further = fastem.KMeans(3, init=begun.means_, max_iter=1).fit(X, sample_weight=own)
        assert_allclose(further.cluster_centers_, begun.means_, atol=0.05)


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("algorithm", ["em", "squarem", "incremental"])
def test_every_start_and_algorithm(init, algorithm):
    X, _, _ = samples(300, 3, 2, seed=4)
    mixture = GaussianMixture(
        2, init_params=init, algorithm=algorithm, random_state=0, max_iter=300, tol=1e-7
    ).fit(X)
    best = GaussianMixture(2, n_init=5, random_state=0, max_iter=300, tol=1e-7).fit(X)
    assert mixture.score(X) > best.score(X) - 0.2


def test_blocks():
    X, _, _ = samples(200, 3, 2)
    settings = {"random_state": 0, "tol": 1e-9, "max_iter": 2000}
    whole = GaussianMixture(2, **settings).fit(X)
    blocks = fastem.Blocks.from_arrays([X[:80], X[80:]])
    parts = GaussianMixture(2, **settings).fit(blocks)
    assert_allclose(parts.score(X), whole.score(X), rtol=1e-4)


def test_pickles_and_given_starts():
    X, _, means = samples(200, 3, 2)
    mixture = GaussianMixture(2, means_init=means, random_state=0).fit(X)
    again = pickle.loads(pickle.dumps(mixture))
    assert_array_equal(again.predict_proba(X), mixture.predict_proba(X))


def test_who_takes_nan():
    X, _, _ = samples(50, 3, 2)
    assert get_tags(GaussianMixture()).input_tags.allow_nan
    for other in (fastem.BayesianGaussianMixture(2), sklearn.mixture.GaussianMixture(2)):
        assert not get_tags(other).input_tags.allow_nan
        with fastem.patched(), pytest.raises(ValueError, match="contains NaN"):
            other.fit(X)
    complete = np.nan_to_num(X)
    with fastem.patched():
        patched = sklearn.mixture.GaussianMixture(2, random_state=0).fit(complete)
        for method in (patched.predict, patched.score_samples, patched.predict_proba):
            with pytest.raises(ValueError, match="contains NaN"):
                method(X)


def test_a_value_without_weight_tells_nothing():
    X = np.array([[1.0, 1.0], [2.0, 2.0], [1.0, np.nan], [3.0, np.nan]])
    with pytest.raises(ValueError, match="feature 1 of X has no value but NaN, or of"):
        GaussianMixture(1).fit(X, sample_weight=[0, 0, 1, 1])
