"""Mixtures of Student-t distributions, whose degrees of freedom are given or learned."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import psi
from scipy.stats import multivariate_t
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastem
from fastem import GaussianMixture, StudentMixture
from fastem.components.covariances import KINDS
from fastem.components.student import StudentEM

every_kind = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CENTERS = np.array([[0.0, 0.0], [8.0, 2.0], [-1.0, 9.0]])


def samples(n=1500, df=3.0, seed=0):
    """Return samples with heavy tails, and the components that they are from."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    u = rng.chisquare(df, n) / df
    return CENTERS[y] + rng.normal(size=(n, 2)) / np.sqrt(u)[:, None], y


def fit(X, k=3, **more):
    settings = {"random_state": 0, "tol": 1e-10, "max_iter": 2000, "reg_covar": 0.0}
    return StudentMixture(k, **settings | more).fit(X)


def densities(mixture, X):
    """Return each component's density times its weight, by SciPy."""
    k, d = mixture.means_.shape
    scales = KINDS[mixture.covariance_type].matrices(mixture.scales_, k, d)
    rows = zip(mixture.weights_, mixture.means_, scales, mixture.df_, strict=True)
    return np.array([w * multivariate_t(m, s, df).pdf(X) for w, m, s, df in rows]).T


@parametrize_with_checks(
    [StudentMixture(), StudentMixture(n_components=2, df=4.0)],
    expected_failed_checks=lambda e: (
        {"check_sample_weight_equivalence_on_dense_data": "the start draws numbers per row"}
        if e.n_components > 1
        else {}
    ),
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@every_kind
@pytest.mark.parametrize("df", ["each", "shared", 3.0])
def test_clusters_with_tails_are_found(kind, df):
    X, y = samples()
    mixture = fit(X, covariance_type=kind, df=df)
    assert mixture.converged_
    order = np.argsort(mixture.means_ @ [1, 10])
    assert_allclose(mixture.means_[order], CENTERS, atol=0.25)
    assert adjusted_rand_score(y, mixture.predict(X)) > 0.9
    matrices = KINDS[kind].matrices(mixture.scales_, 3, 2)
    assert_allclose(matrices, np.broadcast_to(np.eye(2), (3, 2, 2)), atol=0.3)
    if df == 3.0:
        assert_array_equal(mixture.df_, 3.0)
    else:
        assert np.all(np.abs(np.log(mixture.df_ / 3)) < (0.2 if df == "shared" else 0.5))
        assert np.ptp(mixture.df_) == 0 or df == "each"
    gaussian = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    assert mixture.bic(X) < gaussian.bic(X)


@every_kind
@pytest.mark.parametrize("df", ["each", "shared", 1.0, [0.5, 4.0, 1e6]])
def test_the_likelihood_rises(kind, df):
    bounds = fit(samples(300)[0], covariance_type=kind, df=df, init_params="random").lower_bounds_
    assert len(bounds) > 10
    assert np.all(np.diff(bounds) > -1e-12 * np.abs(bounds[1:]))


@every_kind
@pytest.mark.parametrize("df", ["each", [0.7, 4.0, 1e6]])
def test_what_is_read_off(kind, df):
    """Densities, responsibilities and labels are SciPy's."""
    X, _ = samples(300)
    mixture = fit(X, covariance_type=kind, df=df)
    Z = np.vstack([X, [[1e4, -1e5]]])
    expected = densities(mixture, Z)
    assert_allclose(mixture.score_samples(Z), np.log(expected.sum(axis=1)), rtol=1e-7, atol=1e-7)
    shares = expected / expected.sum(axis=1, keepdims=True)
    assert_allclose(mixture.predict_proba(Z), shares, atol=1e-8)
    assert_array_equal(mixture.predict(Z), shares.argmax(axis=1))


def test_the_fit_is_a_maximum_of_the_likelihood():
    """One feature, one component: against a numerical optimiser."""
    x = np.random.default_rng(0).standard_t(4, size=(400, 1)) * 2 + 1
    mixture = fit(x, 1)

    def loss(vector):
        mean, log_scale, log_df = vector
        return -multivariate_t([mean], [[np.exp(log_scale)]], np.exp(log_df)).logpdf(x).mean()

    found = minimize(
        loss, [0.0, 0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}
    )
    assert_allclose(mixture.lower_bound_, -found.fun, rtol=1e-9)
    values = [mixture.means_[0, 0], np.log(mixture.scales_[0, 0, 0]), np.log(mixture.df_[0])]
    assert_allclose(values, found.x, atol=1e-3)


@every_kind
def test_each_iteration_is_the_textbook_s(kind):
    """Given degrees of freedom, one more iteration from where a fit is; weights count as copies."""
    X, _ = samples(250)
    weight = np.random.default_rng(3).integers(0, 4, len(X)).astype(float)
    few = {"covariance_type": kind, "df": [2.0, 5.0, 30.0], "tol": 0}
    before = fit(X, max_iter=3, **few)
    start = {
        "weights_init": before.weights_, "means_init": before.means_,
        "precisions_init": before.precisions_,
    }  # fmt: skip
    one = {"random_state": 0, "reg_covar": 0.0, "max_iter": 1, **few, **start}
    after = StudentMixture(3, **one).fit(X, sample_weight=weight)
    copies = StudentMixture(3, **one).fit(np.repeat(X, weight.astype(int), axis=0))
    gamma = densities(before, X)
    gamma *= (weight / gamma.sum(axis=1))[:, None]
    gaps = X[:, None] - before.means_
    precisions = np.linalg.inv(KINDS[kind].matrices(before.scales_, 3, 2))
    u = (before.df_ + 2) / (before.df_ + np.einsum("nki,kij,nkj->nk", gaps, precisions, gaps))
    total = (gamma * u).sum(axis=0)
    means = (gamma * u).T @ X / total[:, None]
    gaps = X[:, None] - means
    scatter = np.einsum("nk,nki,nkj->kij", gamma * u, gaps, gaps)
    each = scatter / total[:, None, None]
    expected = {
        "full": each,
        "tied": scatter.sum(axis=0) / weight.sum(),
        "diag": each.diagonal(axis1=1, axis2=2),
        "spherical": each.trace(axis1=1, axis2=2) / 2,
    }[kind]
    for found in (after, copies):
        assert_allclose(found.weights_, gamma.sum(axis=0) / weight.sum(), rtol=1e-9)
        assert_allclose(found.means_, means, rtol=1e-8, atol=1e-10)
        assert_allclose(found.scales_, expected, rtol=1e-8, atol=1e-10)


@every_kind
@pytest.mark.parametrize("df", ["each", "shared"])
def test_degrees_of_freedom_are_those_of_the_expanded_model(kind, df):
    """Liu, Rubin & Wu 1998: of u by its own mean, where matrices have a scale of their own."""
    X, _ = samples(400)
    mixture = fit(X, covariance_type=kind, df=df, max_iter=3, warm_start=True)
    gamma = densities(mixture, X)
    gamma /= gamma.sum(axis=1, keepdims=True)
    gaps = X[:, None] - mixture.means_
    precisions = np.linalg.inv(KINDS[kind].matrices(mixture.scales_, 3, 2))
    delta = np.einsum("nki,kij,nkj->nk", gaps, precisions, gaps)
    u, counts = (mixture.df_ + 2) / (mixture.df_ + delta), gamma.sum(axis=0)
    log_u = psi((mixture.df_ + 2) / 2) - np.log((mixture.df_ + delta) / 2)
    unit = 1.0 if kind == "tied" else (gamma * u).sum(axis=0) / counts
    shares = (gamma * (log_u - np.log(unit) - u / unit)).sum(axis=0)
    own = shares / counts if df == "each" else np.full(3, shares.sum() / counts.sum())
    mixture.set_params(max_iter=1).fit(X)
    half = mixture.df_ / 2
    assert_allclose(1 + np.log(half) - psi(half) + own, 0, atol=1e-9)


def test_a_component_may_have_no_sample():
    X = samples(200)[0]
    start = {"means_init": [[0.0, 0.0], [1e150, 1e150]], "weights_init": [0.5, 0.5]}
    mixture = fit(X, 2, precisions_init=np.tile(np.eye(2), (2, 1, 1)), reg_covar=1e-6, **start)
    assert np.all(np.isfinite(mixture.scales_))
    assert_allclose(mixture.weights_, [1, 0], atol=1e-12)
    assert_allclose(mixture.score(X), fit(X, 1).score(X), atol=1e-5)


def test_degrees_of_freedom_are_learned_within_limits():
    assert_array_equal(fit(samples(1000, 0.3)[0], 1).df_, 1.0)
    on_a_sphere = np.tile(np.vstack([np.eye(8), -np.eye(8)]), (10, 1))
    assert_array_equal(fit(on_a_sphere, 1, tol=1e-16).df_, 1e4)


def test_with_many_degrees_of_freedom_it_is_the_gaussian_mixture():
    rng = np.random.default_rng(0)
    X = CENTERS[rng.integers(3, size=600)] + rng.normal(size=(600, 2))
    settings = {"random_state": 0, "tol": 1e-10, "max_iter": 500, "reg_covar": 0.0}
    gaussian = GaussianMixture(3, **settings).fit(X)
    given = fit(X, df=1e8)
    assert_allclose(given.means_, gaussian.means_, atol=1e-5)
    assert_allclose(given.scales_, gaussian.covariances_, atol=1e-5)
    assert_allclose(given.score(X), gaussian.score(X), atol=1e-6)
    assert fit(X, df="shared").df_[0] > 20
    single = X.astype(np.float32)  # in which 1 + q / df is 1
    assert_allclose(given.score_samples(single), gaussian.score_samples(single), atol=1e-5)
    narrow = [m.fit(single).score_samples(single) for m in (clone(given), clone(gaussian))]
    assert_allclose(*narrow, atol=1e-3)


@every_kind
def test_a_distance_by_tiny_degrees_of_freedom_may_overflow(kind):
    X, _ = samples(100)
    mixture = fit(X, 2, covariance_type=kind, max_iter=1)
    mixture.df_ = np.array([1e-300, 3.0])
    Z = np.vstack([X, [[1e10, 1e10]]])
    second = np.log(densities(mixture, X)[:, 1])  # the first one has less than 1e-290
    assert_allclose(mixture.score_samples(Z)[:-1], second, rtol=1e-9)
    assert np.all(np.isfinite(mixture.score_samples(Z)))


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_a_sample_may_be_infinitely_far_from_a_component(kind):
    """It then counts nothing there, and 0 times the logarithm of its distance is 0."""
    X = np.random.default_rng(0).normal(size=(100, 2)) * 1e-60
    X = np.vstack([X, [[1e100, 1e100], [1e100, -1e100]]])
    one = {"full": np.eye(2), "diag": np.ones(2), "spherical": 1.0}[kind]
    mixture = StudentMixture(
        2, covariance_type=kind, max_iter=1, weights_init=[0.5, 0.5], means_init=np.zeros((2, 2)),
        precisions_init=np.array([one * 1e120, one * 1e-200]), reg_covar=1e-130,
    ).fit(X)  # fmt: skip
    alone = StudentMixture(
        1, covariance_type=kind, max_iter=1, means_init=np.zeros((1, 2)),
        precisions_init=np.array([one * 1e120]), weights_init=[1.0], reg_covar=1e-130,
    ).fit(X[:100])  # fmt: skip
    assert_allclose(mixture.df_[0], alone.df_[0], rtol=1e-6)


@every_kind
def test_float32_and_threads(kind):
    X, _ = samples(6000)
    double = fit(X, covariance_type=kind, tol=1e-7)
    single = fit(X.astype(np.float32), covariance_type=kind, tol=1e-7)
    for name in ("means_", "scales_", "df_"):
        assert getattr(single, name).dtype == np.float32
        assert_allclose(getattr(single, name), getattr(double, name), rtol=0.02, atol=0.02)
    for n_jobs in (1, 2, 4):
        again = fit(X, covariance_type=kind, tol=1e-7, n_jobs=n_jobs)
        for name in ("means_", "scales_", "df_", "weights_"):
            assert_array_equal(getattr(again, name), getattr(double, name))


def test_outliers_do_not_move_the_means():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(500, 2)), rng.uniform(50, 90, (15, 2))])
    assert np.abs(GaussianMixture().fit(X).means_).max() > 1.5
    assert np.abs(fit(X, 1).means_).max() < 0.15


@pytest.mark.parametrize("algorithm", ["squarem", "incremental"])
def test_other_algorithms_end_where_em_does(algorithm):
    X, _ = samples()
    expected, found = fit(X), fit(X, algorithm=algorithm)
    assert_allclose(found.lower_bound_, expected.lower_bound_, rtol=1e-6)
    assert_allclose(found.df_, expected.df_, rtol=1e-2)


def test_streams_blocks_and_pickles():
    X, y = samples(3000)
    whole = fit(X)
    blocks = fastem.Blocks.from_arrays([X[:1300], X[1300:]])
    parts = fit(blocks)
    assert_allclose(np.sort(parts.df_), np.sort(whole.df_), rtol=1e-3)
    stream = StudentMixture(3, random_state=0)
    for rows in np.split(X, 20):
        stream.partial_fit(rows)
    assert adjusted_rand_score(y, stream.predict(X)) > 0.9
    assert np.all(np.abs(np.log(stream.df_ / 3)) < 0.7)
    again = pickle.loads(pickle.dumps(whole))
    assert_array_equal(again.predict_proba(X), whole.predict_proba(X))
    warm = StudentMixture(3, warm_start=True, max_iter=2, random_state=0, tol=0, reg_covar=0.0)
    for _ in range(150):
        warm.fit(X)
    assert_allclose(warm.lower_bound_, whole.lower_bound_, rtol=1e-6)


@pytest.mark.parametrize("df", [1.0, [1.0, 3.0, 50.0], "shared"])
def test_a_further_fit_has_its_own_degrees_of_freedom(df):
    X, _ = samples(1000)
    warm = fit(X, warm_start=True, tol=1e-9, max_iter=2000)
    if df == "shared":  # it goes on from the mean
        params = StudentEM("full", 0.0, np.dtype(np.float64), 1, df).completed(warm._densities())
        assert_allclose(params.df, warm.weights_ @ warm.df_)
    warm.set_params(df=df).fit(X)
    assert warm.n_iter_ > 1
    assert_allclose(warm.score(X), warm.lower_bound_, rtol=1e-6)
    if df == "shared":
        assert np.ptp(warm.df_) == 0
    else:
        assert_allclose(warm.df_, np.broadcast_to(df, 3))


@every_kind
def test_samples_have_the_distribution(kind):
    mixture = fit(samples()[0], covariance_type=kind, df=[5.0, 8.0, 20.0])
    X, y = mixture.sample(60_000, random_state=1)
    assert_allclose(np.bincount(y) / len(y), mixture.weights_, atol=0.01)
    matrices = KINDS[kind].matrices(mixture.scales_, 3, 2)
    for k in range(3):
        df, own = mixture.df_[k], X[y == k]
        assert_allclose(own.mean(axis=0), mixture.means_[k], atol=0.05)
        assert_allclose(np.cov(own.T), df / (df - 2) * matrices[k], rtol=0.12, atol=0.06)
    assert_array_equal(mixture.sample(5)[0], mixture.sample(5)[0])


@pytest.mark.parametrize(("df", "learned"), [("each", 3), ("shared", 1), (4.0, 0), ([1, 2, 3], 0)])
def test_learned_degrees_of_freedom_are_free_parameters(df, learned):
    X, _ = samples(300)
    assert fit(X, df=df).n_parameters == 2 + 3 * 2 + 3 * 3 + learned


def test_order_summary_and_pictures():
    X, _ = samples()
    mixture = fit(X)
    before = densities(mixture, X).sum(axis=1)
    assert_allclose(densities(mixture.reorder(), X).sum(axis=1), before)
    assert np.all(np.diff(mixture.weights_) <= 0)
    assert "df" in str(mixture.summary(X))
    pytest.importorskip("matplotlib").use("Agg")
    display = fastem.plot.MixtureDisplay.from_estimator(mixture, X)
    assert display.ellipses_.shape == (3, 2)


@pytest.mark.parametrize(
    "df",
    [0.0, -1.0, np.nan, np.inf, 1e9, "many", None, [1.0, 2.0], [1.0, 2.0, -3.0], True, [[1.0]]],
)
def test_what_is_no_number_of_degrees_is_refused(df):
    X, _ = samples(100)
    mixture = fit(X)
    means = mixture.means_.copy()
    with pytest.raises(ValueError, match="df"):
        mixture.set_params(df=df).fit(X)
    assert_array_equal(mixture.means_, means)


def test_missing_values_and_altered_attributes_are_refused():
    X, _ = samples(100)
    with pytest.raises(ValueError, match="NaN"):
        fit(np.where(X > 9, np.nan, X))
    mixture = fit(X)
    for value in (np.array([1.0, 2.0]), np.array([1.0, -2.0, 3.0]), np.array([1.0, np.nan, 3.0])):
        mixture.df_ = value
        with pytest.raises(ValueError, match="df_"):
            mixture.predict(X)
