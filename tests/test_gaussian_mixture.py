"""GaussianMixture: sample weights, scikit-learn's conventions, and the corners of the kernels."""

import copy

import numpy as np
import pytest
from cases import GaussianCase
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import solve_triangular
from scipy.stats import multivariate_normal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_contract import assert_same_sums

from fastem import GaussianMixture
from fastem._kernels import gaussian as kernel
from fastem.components import gaussian

KINDS = ("full", "tied", "diag", "spherical")
IRIS = load_iris().data
IDENTITY = {
    "full": [np.eye(4)] * 3,
    "tied": np.eye(4),
    "diag": np.ones((3, 4)),
    "spherical": [1] * 3,
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_kind = pytest.mark.parametrize("kind", KINDS)
#: As scikit-learn expects of its own KMeans.
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "the start draws its random numbers per row"
}
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


def started(kind="full", **parameters):
    """Return a mixture of three with its start given: nothing about it is random."""
    return GaussianMixture(
        3,
        covariance_type=kind,
        weights_init=[0.5, 0.3, 0.2],
        means_init=IRIS[[0, 60, 149]],
        precisions_init=IDENTITY[kind],
        **parameters,
    )


def assert_same(actual, expected, tolerance=1e-9):
    for name in (*ATTRIBUTES, "lower_bounds_"):
        value = np.asarray(getattr(expected, name))
        limit = tolerance * np.abs(value).max()
        assert_allclose(getattr(actual, name), value, 0, limit, err_msg=name)


# ---- scikit-learn's conventions ----------------------------------------------------------------


@parametrize_with_checks(
    [GaussianMixture(), GaussianMixture(n_components=2)],
    expected_failed_checks=lambda e: EXPECTED_FAILURES if e.n_components > 1 else {},
)
def test_scikit_learn_checks(estimator, check):
    """check_estimator: all that scikit-learn's own class passes, and those for sample weights."""
    check(estimator)


def test_works_in_grid_search():
    """score ranks models: on held-out iris two or more components beat one."""
    search = GridSearchCV(
        GaussianMixture(random_state=0),
        {"n_components": [1, 2, 3], "covariance_type": KINDS},
        cv=3,
        scoring=lambda model, X: -model.bic(X),
    )
    search.fit(np.random.default_rng(0).permutation(IRIS))
    assert search.best_params_["n_components"] > 1
    assert search.best_estimator_.predict(IRIS).shape == (150,)


def test_weights_are_routed_through_a_pipeline():
    """set_fit_request(sample_weight=True) brings weights to fit; without it they are refused."""
    weight = np.random.default_rng(0).integers(1, 4, len(IRIS))
    with config_context(enable_metadata_routing=True):
        mixture = started().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), mixture)
        routed = pipeline.fit(IRIS, sample_weight=weight)[-1]
        mixture.set_fit_request(sample_weight=None)
        with pytest.raises(ValueError, match="sample_weight"):
            pipeline.fit(IRIS, sample_weight=weight)
    expected = clone(mixture).fit(StandardScaler().fit_transform(IRIS), sample_weight=weight)
    assert_same(routed, expected, 1e-13)


def test_feature_names_are_kept_and_checked():
    """feature_names_in_ comes from a DataFrame; other names at predict are an error."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(IRIS, columns=list("abcd"))
    mixture = GaussianMixture(2, random_state=0).fit(frame)
    assert mixture.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        mixture.predict(frame.rename(columns={"a": "z"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        mixture.predict(IRIS)
    assert not hasattr(mixture.fit(IRIS), "feature_names_in_")


def test_fitting_again_forgets_the_first_fit():
    """A second fit starts again, on other features too."""
    mixture = GaussianMixture(2, random_state=0).fit(IRIS)
    again = mixture.fit(IRIS[:, :2])
    assert again is mixture
    assert_same(again, GaussianMixture(2, random_state=0).fit(IRIS[:, :2]), 0)
    assert again.n_features_in_ == 2


# ---- sample weights ----------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_weight_equals_repetition(kind, dtype):
    """Integer weights equal repeated rows, weight 0 a removed row: in fit, score, bic and aic."""
    X = IRIS.astype(dtype)
    counts = np.random.default_rng(0).integers(0, 4, len(X))
    repeated = np.repeat(X, counts, axis=0)
    mixture = started(kind, max_iter=10, tol=0)
    weighted = clone(mixture).fit(X, sample_weight=counts)
    tolerance = 1e-9 if dtype == np.float64 else 1e-3
    assert_same(weighted, clone(mixture).fit(repeated), tolerance)
    for method in ("score", "bic", "aic"):
        expected = getattr(weighted, method)(repeated)
        actual = getattr(weighted, method)(X, sample_weight=counts)
        assert actual == pytest.approx(expected, rel=1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_rows_of_weight_zero_do_not_touch_the_fit(init_params):
    """With every start: rows of weight 0, however far away, change nothing but the random draws."""
    far = np.vstack([IRIS, np.full((50, 4), 1e3)])
    weight = np.r_[np.ones(150), np.zeros(50)]
    for seed in range(5):
        mixture = GaussianMixture(3, init_params=init_params, random_state=seed)
        mixture.fit(far, sample_weight=weight)
        assert np.all(mixture.means_ < 10)
        assert mixture.lower_bound_ > -4
        assert mixture.weights_.min() > 0.01


def test_constant_weights_change_nothing_but_the_total():
    """Parameters and bounds do not depend on the unit of the weights."""
    mixture = started(tol=0, max_iter=10)
    expected = clone(mixture).fit(IRIS)
    for unit in (1, 1e-3, 1e6):
        assert_same(clone(mixture).fit(IRIS, sample_weight=np.full(150, unit)), expected, 1e-9)


def test_too_few_rows_of_positive_weight():
    """n_components is held against the rows that count."""
    weight = np.r_[np.ones(2), np.zeros(148)]
    with pytest.raises(ValueError, match="n_components = 3, n_samples = 2 of positive"):
        GaussianMixture(3).fit(IRIS, sample_weight=weight)


def test_fit_predict_takes_weights():
    """fit_predict labels as fit(...).predict(X) does."""
    weight = np.random.default_rng(1).uniform(0, 2, 150)
    mixture = started()
    labels = mixture.fit_predict(IRIS, sample_weight=weight)
    assert_array_equal(labels, clone(mixture).fit(IRIS, sample_weight=weight).predict(IRIS))


# ---- starts and restarts -----------------------------------------------------------------------


def test_restarts_keep_the_largest_bound():
    """n_init restarts give the best of that many single fits from the same random stream."""
    random_state = np.random.RandomState(0)
    single = [
        GaussianMixture(4, init_params="random_from_data", random_state=random_state)
        .fit(IRIS)
        .lower_bound_
        for _ in range(6)
    ]
    assert len(set(single)) > 1
    best = GaussianMixture(4, init_params="random_from_data", random_state=0, n_init=6).fit(IRIS)
    assert best.lower_bound_ == max(single)


@every_kind
def test_max_iter_zero_keeps_given_precisions(kind):
    """With every start given and no iteration the parameters are the start, covariances too."""
    fitted = started(kind).fit(IRIS)
    start = {
        "weights_init": fitted.weights_,
        "means_init": fitted.means_,
        "precisions_init": fitted.precisions_,
    }
    again = GaussianMixture(3, covariance_type=kind, max_iter=0, **start).fit(IRIS)
    for name in ATTRIBUTES:
        assert_allclose(getattr(again, name), getattr(fitted, name), rtol=1e-9, atol=1e-9)
    assert (again.n_iter_, again.converged_, again.lower_bounds_) == (0, False, [])
    assert again.lower_bound_ == -np.inf
    assert_allclose(again.score_samples(IRIS), fitted.score_samples(IRIS), rtol=1e-9)


def test_history_is_a_list_of_its_own():
    """lower_bounds_ has n_iter_ entries, and is not shared between fits."""
    mixture = started(warm_start=True, max_iter=3).fit(IRIS)
    history = mixture.lower_bounds_
    kept = list(history)
    mixture.fit(IRIS)
    assert history == kept
    assert len(history) == 3
    assert mixture.lower_bounds_[0] > history[-1]


# ---- reading -----------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_features", [1, 2, 4])
def test_density_is_scipy_s(kind, dtype, n_features):
    """score_samples and predict_proba are those of the normal densities in SciPy."""
    X = IRIS[:, :n_features].astype(dtype)
    mixture = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    covariances = np.array(
        [
            np.eye(n_features) * c if kind in ("diag", "spherical") else c
            for c in ([mixture.covariances_] * 2 if kind == "tied" else mixture.covariances_)
        ],
        dtype=float,
    )
    joint = np.stack(
        [
            w * multivariate_normal(m, c).pdf(X.astype(float))
            for w, m, c in zip(mixture.weights_, mixture.means_, covariances, strict=True)
        ],
        axis=1,
    )
    tolerance = 1e-9 if dtype == np.float64 else 2e-4
    total = joint.sum(axis=1)
    assert_allclose(mixture.score_samples(X), np.log(total), rtol=tolerance, atol=tolerance)
    assert_allclose(mixture.predict_proba(X), joint / total[:, None], atol=tolerance)
    assert mixture.score(X) == pytest.approx(np.log(total).mean(), rel=tolerance)


@every_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_far_rows_have_probabilities(kind, dtype):
    """However far a row lies, its probabilities are finite, sum to 1, and follow the nearest."""
    mixture = started(kind).fit(IRIS.astype(dtype))
    far = np.outer([1e3, 1e6, 1e9, -1e9], np.ones(4)).astype(dtype)
    probabilities = mixture.predict_proba(far)
    assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert_array_equal(probabilities.argmax(axis=1), mixture.predict(far))
    log_prob = mixture.score_samples(far)
    assert np.all(np.isfinite(log_prob))
    assert np.all(log_prob < -1e3)


@every_kind
def test_methods_agree_in_chunks_and_rows(kind):
    """Answers for a row do not depend on the rows around it."""
    X = GaussianCase(np.float64, kind, 11, 4, 3001, 1.0).data()
    mixture = GaussianMixture(4, covariance_type=kind, random_state=0, max_iter=5).fit(X)
    labels, probabilities = mixture.predict(X), mixture.predict_proba(X)
    log_prob = mixture.score_samples(X)
    assert_array_equal(labels, probabilities.argmax(axis=1))
    for i in (0, 1, 500, 3000):
        row = X[i : i + 1]
        assert mixture.predict(row)[0] == labels[i]
        assert_allclose(mixture.predict_proba(row)[0], probabilities[i], rtol=1e-9, atol=1e-12)
        assert_allclose(mixture.score_samples(row)[0], log_prob[i], rtol=1e-12)


def test_an_empty_component_takes_nothing():
    """A component of weight 0 has probability 0, without a warning."""
    start = {"weights_init": [1.0, 0.0], "means_init": IRIS[[0, 100]], "max_iter": 0}
    mixture = GaussianMixture(2, precisions_init=[np.eye(4)] * 2, **start).fit(IRIS)
    assert_array_equal(mixture.predict_proba(IRIS)[:, 1], 0)
    alone = multivariate_normal(IRIS[0], np.eye(4)).logpdf(IRIS)
    assert_allclose(mixture.score_samples(IRIS), alone, rtol=1e-12)


def test_samples_have_the_mixture_s_moments():
    """A large sample has the weights, means and covariances of the components."""
    mixture = GaussianMixture(3, random_state=0).fit(IRIS)
    X, y = mixture.sample(60_000)
    assert_allclose(np.bincount(y) / len(y), mixture.weights_, atol=0.01)
    for k in range(3):
        assert_allclose(X[y == k].mean(axis=0), mixture.means_[k], atol=0.02)
        assert_allclose(np.cov(X[y == k].T), mixture.covariances_[k], atol=0.02)


@pytest.mark.usefixtures("every_instruction_set")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("d", range(1, 15))
def test_full_covariances_of_few_features(dtype, d):
    """In registers as long as they fit, and beyond: the oracle's sums, with a ragged end."""
    case = GaussianCase(dtype, "full", d, 3, 301, 1.0)
    X = case.data()
    params, weight = case.start(X), np.random.default_rng(d).uniform(0, 3, len(X))
    actual, expected = case.e_step(X, params, weight), case.expected(X, params, weight)
    assert_same_sums(actual, expected, case.tolerance)


# ---- the pruned kernel -------------------------------------------------------------------------


@pytest.mark.usefixtures("every_instruction_set")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("spread", [0.0, 0.7, 1.5, 10.0])
def test_pruning_is_exact_where_it_comes_and_goes(dtype, spread):
    """Between none and nearly all left out, in strips of several chunks: the oracle's sums."""
    case = GaussianCase(dtype, "full", 13, 100, 20_011, spread)
    X = case.data()
    params = case.start(X)
    assert len(X) > 2 * 32 * 256  # with 100 components a chunk has some 256 rows, a call 32 strips
    assert_same_sums(case.e_step(X, params), case.expected(X, params), case.tolerance)


def test_long_strips_give_up_pruning_for_a_while():
    """Lanes of 17 chunks, which go without pruning for 15, equal blocks that always try it."""
    case = GaussianCase(np.float64, "full", 13, 100, 17 * 32 * 256, 0.5)
    X = case.data()
    params, model = case.start(X), case.model(n_threads=2)
    blocks = [model.e_step(params, case.block(rows)) for rows in np.split(X, len(X) // 512)]
    whole, parts = model.e_step(params, case.block(X)), sum(blocks[1:], blocks[0])
    assert_same_sums(case.sums(parts), case.sums(whole), case.tolerance)


@pytest.mark.usefixtures("every_instruction_set")
def test_pruning_does_not_change_answers():
    """score_samples and predict, which prune, agree with predict_proba, which does not."""
    case = GaussianCase(np.float64, "full", 16, 6, 20_000, 2.0)
    X = case.data()
    params = case.start(X)
    labels, log_prob, proba = (
        gaussian.rows(X, params, "full", output, 2)
        for output in ("labels", "log_prob", "responsibilities")
    )
    assert_array_equal(labels, proba.argmax(axis=1))
    top = params._replace(weights=params.weights)
    for k in range(6):
        density = multivariate_normal(top.means[k], top.covariances[k]).logpdf(X)
        expected = np.exp(np.log(top.weights[k]) + density - log_prob)
        assert_allclose(proba[:, k], expected, atol=1e-11)


def test_attributes_of_other_shapes_are_refused():
    """A fitted model whose covariance_type or attributes were changed says so."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = GaussianMixture(2, random_state=0).fit(X)
    for kind in ("tied", "diag", "spherical"):
        with pytest.raises(ValueError, match=r"precisions_cholesky_ .*must be .* fit again"):
            copy.deepcopy(model).set_params(covariance_type=kind).predict(X)
        with pytest.raises(ValueError, match=r"precisions_cholesky_ .*must be"):
            copy.deepcopy(model).set_params(covariance_type=kind, warm_start=True).fit(X)
    broken = copy.deepcopy(model)
    broken.weights_ = broken.weights_[:1]
    with pytest.raises(ValueError, match=r"weights_ .*must be"):
        broken.score(X)


def test_attributes_set_by_hand_are_enough():
    """Weights, means and precisions_cholesky_ make a model, as in scikit-learn."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    fitted, model = GaussianMixture(2, random_state=0).fit(X), GaussianMixture(2)
    model.weights_, model.means_ = fitted.weights_, fitted.means_
    model.precisions_cholesky_ = fitted.precisions_cholesky_
    assert_allclose(model.score_samples(X), fitted.score_samples(X), rtol=1e-12)
    with pytest.raises(ValueError, match="n_features of X is 2"):
        model.predict(X[:, :2])


# ---- factors -----------------------------------------------------------------------------------


def factors(covariances, n_threads=1):
    """Return the factors of covariances as they are, and the first without one."""
    k, d, _ = covariances.shape
    return kernel.precisions_cholesky(
        covariances, np.zeros((k, d)), np.zeros(k), np.ones(k), 0.0, n_threads
    )


@pytest.mark.usefixtures("every_instruction_set")
@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 8, 9, 13, 16, 33, 70])
def test_factors_are_lapack_s(n_features):
    """U is the transposed inverse of LAPACK's Cholesky factor, for every thread count."""
    rng = np.random.default_rng(n_features)
    k = 300  # enough work for threads
    samples = rng.normal(size=(k, 3 * n_features, n_features)) * np.logspace(-3, 3, n_features)
    covariances = samples.swapaxes(1, 2) @ samples
    upper, failed = factors(covariances)
    assert failed == -1
    lower = np.linalg.cholesky(covariances)
    expected = np.stack([solve_triangular(c, np.eye(n_features), lower=True).T for c in lower])
    # Row i of U is in units of 1 / feature i.
    scale = np.abs(expected).max(axis=2, keepdims=True)
    assert_allclose(upper / scale, expected / scale, rtol=0, atol=1e-12)
    assert not np.tril(upper, -1).any()
    for n_threads in (2, 3):
        again, _ = factors(covariances, n_threads)
        assert_array_equal(again, upper)


@pytest.mark.usefixtures("every_instruction_set")
@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 8, 9, 13, 16, 33, 70])
def test_covariances_are_their_factors_inverse(n_features):
    """There and back: the covariances, symmetric, for every thread count."""
    rng = np.random.default_rng(n_features)
    samples = rng.normal(size=(300, 3 * n_features, n_features))
    samples *= np.logspace(-3, 3, n_features)
    expected = samples.swapaxes(1, 2) @ samples
    upper, _ = factors(expected)
    covariances = kernel.covariances(upper, 1)
    deviation = np.sqrt(expected.diagonal(axis1=1, axis2=2))
    scale = deviation[:, :, None] * deviation[:, None, :]
    assert_allclose(covariances / scale, expected / scale, rtol=0, atol=1e-13)
    assert_array_equal(covariances, covariances.swapaxes(1, 2))
    for n_threads in (2, 3):
        assert_array_equal(kernel.covariances(upper, n_threads), covariances)


@pytest.mark.usefixtures("every_instruction_set")
@pytest.mark.parametrize("d", [5, 20])
def test_factors_of_moments(d):
    """(scatter + weight step step^T) / divisor + reg_covar I: Bishop 9.25, about other means."""
    rng = np.random.default_rng(d)
    samples = rng.normal(size=(7, 3 * d, d))
    scatter, step = samples.swapaxes(1, 2) @ samples, rng.normal(size=(7, d))
    weight, divisor = rng.uniform(1, 9, size=(2, 7))
    upper, failed = kernel.precisions_cholesky(scatter, step, weight, divisor, 0.3, 1)
    outer = weight[:, None, None] * step[:, :, None] * step[:, None, :]
    expected = (scatter + outer) / divisor[:, None, None] + 0.3 * np.eye(d)
    assert failed == -1
    assert_allclose(kernel.covariances(upper, 1), expected, rtol=0, atol=1e-12 * expected.max())


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, 1e-310])
@pytest.mark.parametrize("place", [0, 3, 4, 12])
def test_the_first_component_without_a_factor_is_named(bad, place):
    """A pivot that is not positive, or not finite, or without a finite inverse is a failure."""
    covariances = np.tile(np.eye(13), (5, 1, 1))
    covariances[2:, place, place] = bad
    assert factors(covariances)[1] == 2


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", [1e-42, 1e39, -1e39])
def test_what_float32_cannot_hold_is_seen_in_any_component(place, value):
    """Subnormal and too large; zeros fit."""
    for shape in [(3,), (3, 2), (3, 2, 2)]:
        array = np.zeros(shape)
        assert gaussian.fits(array, np.float32)
        array[place] = value
        assert not gaussian.fits(array, np.float32)
        assert gaussian.fits(array, np.float64)
