"""BayesianGaussianMixture: beside scikit-learn's, beside the textbook, and its doors."""

import copy

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris, make_blobs
from sklearn.mixture import BayesianGaussianMixture as Peer
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version
from threadpoolctl import threadpool_limits

import fastem
from fastem import BayesianGaussianMixture, em
from fastem.components.gaussian import GaussianBlock
from fastem.mixture.bayesian_em import BayesianEM, BayesianPrior

try:
    from reference import bayesian_mixture as oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)

KINDS = ("full", "tied", "diag", "spherical")
WEIGHTS = ("dirichlet_process", "dirichlet_distribution")
INITS = ("kmeans", "k-means++", "random", "random_from_data")
IRIS = load_iris().data
ATTRIBUTES = (
    "weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_",
    "weight_concentration_", "mean_precision_", "degrees_of_freedom_",
    "weight_concentration_prior_", "mean_precision_prior_", "mean_prior_",
    "degrees_of_freedom_prior_", "covariance_prior_",
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_kind = pytest.mark.parametrize("kind", KINDS)
has_history = parse_version(sklearn.__version__) >= parse_version("1.7")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """So small a fit of scikit-learn's spends its time in waking threads."""
    with threadpool_limits(1):
        yield


def given_priors(kind, d):
    """Return a value for every prior."""
    scale = np.eye(d) + 0.2
    scales = {"full": scale, "tied": scale, "diag": np.linspace(0.5, 2, d), "spherical": 0.7}
    return {
        "weight_concentration_prior": 0.01,
        "mean_precision_prior": 3.0,
        "mean_prior": np.linspace(-1, 5, d),
        "degrees_of_freedom_prior": d + 2.5,
        "covariance_prior": scales[kind],
    }


def both(X, **parameters):
    """Fit both with the same parameters; return fastem's and scikit-learn's."""
    parameters = {"n_components": 5, "random_state": 3, "max_iter": 60} | parameters
    return BayesianGaussianMixture(**parameters).fit(X), Peer(**parameters).fit(X)


def assert_close(actual, expected, tolerance, names=ATTRIBUTES):
    for name in names:
        value = np.asarray(getattr(expected, name), dtype=float)
        limit = tolerance * np.abs(value).max(initial=0)
        assert_allclose(getattr(actual, name), value, 0, limit, err_msg=name)


# ---- beside scikit-learn -----------------------------------------------------------------------


@parametrize_with_checks(
    [BayesianGaussianMixture(), BayesianGaussianMixture(n_components=2)],
    expected_failed_checks=lambda e: (
        {"check_sample_weight_equivalence_on_dense_data": "the start draws numbers per row"}
        if e.n_components > 1
        else {}
    ),
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@every_kind
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("init_params", INITS)
@pytest.mark.parametrize("given", [False, True])
def test_equals_scikit_learn(kind, weights, init_params, given):
    """The same iterations, bounds, attributes and answers from the same seed."""
    priors = given_priors(kind, 4) if given else {}
    for seed in range(2):
        ours, theirs = both(
            IRIS, covariance_type=kind, weight_concentration_prior_type=weights,
            init_params=init_params, random_state=seed, **priors,
        )  # fmt: skip
        assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
        assert ours.n_iter_ > 2
        if has_history:
            assert_allclose(ours.lower_bounds_, np.ravel(theirs.lower_bounds_), rtol=1e-10)
        assert_allclose(ours.lower_bound_, np.ravel(theirs.lower_bound_)[0], rtol=1e-10)
        assert_close(ours, theirs, 1e-8)
        for method in ("predict", "predict_proba", "score_samples", "score"):
            expected = getattr(theirs, method)(IRIS)
            assert_allclose(getattr(ours, method)(IRIS), expected, 1e-7, 1e-7, err_msg=method)
        for drawn, wanted in zip(ours.sample(20), theirs.sample(20), strict=True):
            assert_allclose(drawn, wanted, 0, 1e-5)


@every_kind
@pytest.mark.parametrize("weights", WEIGHTS)
def test_other_sizes_equal_scikit_learn(kind, weights):
    """One feature; more features than the small kernel has; more components than clusters."""
    for d, k in ((1, 3), (11, 4), (2, 12)):
        X = make_blobs(250, d, centers=3, random_state=d)[0]
        ours, theirs = both(
            X, n_components=k, covariance_type=kind, weight_concentration_prior_type=weights
        )
        assert ours.n_iter_ == theirs.n_iter_
        assert_allclose(ours.lower_bound_, np.ravel(theirs.lower_bound_)[0], rtol=1e-10)
        assert_close(ours, theirs, 1e-8)


@every_kind
def test_weights_too_small_for_exp(kind):
    """Expected log-weights may be far below any weight's logarithm."""
    for concentration in (1e-5, 1e-12):
        ours, theirs = both(
            IRIS, covariance_type=kind, weight_concentration_prior=concentration,
            weight_concentration_prior_type="dirichlet_distribution", n_components=8,
        )  # fmt: skip
        if kind != "tied":  # whose components all live
            assert ours._densities().log_weights.min() < -800
        assert ours.n_iter_ == theirs.n_iter_
        assert_close(ours, theirs, 1e-8)
        assert_allclose(ours.score_samples(IRIS), theirs.score_samples(IRIS), 1e-7, 1e-7)


@every_kind
@pytest.mark.parametrize("init_params", INITS)
def test_float32(kind, init_params):
    """float32 data: the fit of the same numbers in float64; attributes as scikit-learn has them."""
    X = IRIS.astype(np.float32)
    parameters = {"covariance_type": kind, "init_params": init_params, "tol": 1e-2}
    ours, theirs = both(X, **parameters)
    wide = both(X.astype(float), **parameters)[0]
    assert ours.n_iter_ == wide.n_iter_
    assert_close(ours, wide, 1e-5, ["lower_bounds_"])
    assert_close(ours, wide, 1e-4)
    assert_close(ours, theirs, 1e-2)
    for name in ATTRIBUTES:
        value, expected = (np.asarray(getattr(fit, name)) for fit in (ours, theirs))
        if expected.ndim:
            assert value.dtype == expected.dtype, name
    assert_array_equal(ours.fit_predict(X), ours.predict(X))


@every_kind
@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_variances_that_float32_cannot_hold(kind, unit):
    """float32 data in any unit have the responsibilities of float64 data, priors as well."""
    X = IRIS.astype(np.float32)
    parameters = {"covariance_type": kind, "reg_covar": 0.0, "random_state": 0, "max_iter": 5}
    expected = BayesianGaussianMixture(3, **parameters).fit(X)
    moved = BayesianGaussianMixture(3, **parameters).fit(X * np.float32(unit))
    assert_allclose(moved.means_ / unit, expected.means_, rtol=1e-4)
    assert_allclose(moved.predict_proba(X * np.float32(unit)), expected.predict_proba(X), 0, 1e-3)


@every_kind
def test_digits_far_from_zero(kind):
    """A shift of the data moves the means and changes nothing else."""
    far = BayesianGaussianMixture(3, covariance_type=kind, random_state=0).fit(IRIS + 2.0**23)
    near = BayesianGaussianMixture(3, covariance_type=kind, random_state=0).fit(
        (IRIS + 2.0**23) - 2.0**23
    )
    assert far.n_iter_ == near.n_iter_
    assert_allclose(far.lower_bounds_, near.lower_bounds_, rtol=1e-7)
    assert_allclose(far.means_ - 2.0**23, near.means_, 0, 1e-7)
    assert_allclose(far.covariances_, near.covariances_, 1e-7, 1e-9)


@every_kind
@pytest.mark.parametrize("weights", WEIGHTS)
def test_reads_what_scikit_learn_fitted(kind, weights):
    """Attributes have the same names and meaning."""
    theirs = both(IRIS, covariance_type=kind, weight_concentration_prior_type=weights)[1]
    ours = BayesianGaussianMixture(**theirs.get_params())
    vars(ours).update(vars(theirs))
    assert_allclose(ours.predict_proba(IRIS), theirs.predict_proba(IRIS), 0, 1e-9)
    assert_allclose(ours.score_samples(IRIS), theirs.score_samples(IRIS), 1e-9)
    again = ours.set_params(warm_start=True).fit(IRIS)
    expected = theirs.set_params(warm_start=True).fit(IRIS)
    assert_allclose(again.lower_bound_, np.ravel(expected.lower_bound_)[0], rtol=1e-9)


BAD = [
    {"weight_concentration_prior": 0.0},
    {"weight_concentration_prior_type": "gamma"},
    {"weight_concentration_prior": np.inf},
    {"mean_precision_prior": -1},
    {"mean_precision_prior": np.inf},
    {"degrees_of_freedom_prior": np.inf},
    {"mean_prior": [0.0, 1.0]},
    {"mean_prior": 3.0},
    {"degrees_of_freedom_prior": 3.0},
    {"covariance_prior": -1.0},
    {"covariance_prior": np.eye(3)},
    {"covariance_prior": -np.eye(4)},
    {"covariance_prior": np.triu(np.ones((4, 4)))},
    {"covariance_type": "tied", "covariance_prior": np.diag([1.0, 1, 0, 1])},
    {"covariance_type": "diag", "covariance_prior": np.eye(4)},
    {"covariance_type": "diag", "covariance_prior": [1.0, 1.0, 0.0, 1.0]},
    {"n_components": 151},
]


@pytest.mark.parametrize("parameters", BAD, ids=str)
def test_refuses_in_scikit_learn_s_words(parameters):
    ours, theirs = (refusal(cls(**parameters)) for cls in (BayesianGaussianMixture, Peer))
    assert ours == theirs
    assert ours


def refusal(estimator):
    """Return the words of the ValueError, sorted: the choices that one offers have no order."""
    try:
        estimator.fit(IRIS)
    except ValueError as error:
        return sorted(str(error).split())
    return []


# ---- beside the textbook -----------------------------------------------------------------------


def model_and_oracle(kind, process, d=3):
    scale = np.cov(IRIS[:, :d].T)
    scales = {"full": scale, "tied": scale, "diag": np.diag(scale), "spherical": 0.6}
    prior = (process, 0.2, 1.5, np.linspace(3, 5, d), d + 0.5, scales[kind])
    model = BayesianEM(kind, 0.0, BayesianPrior(*prior), np.float64, 1)
    return model, oracle.Prior(*prior)


@every_kind
@pytest.mark.parametrize("process", [False, True])
def test_iterations_are_the_oracle_s(kind, process):
    """Posterior and bound of ten iterations, from any responsibilities."""
    X = IRIS[:, :3]
    model, prior = model_and_oracle(kind, process)
    given = np.random.default_rng(0).dirichlet(np.ones(4), len(X))
    block = GaussianBlock.of(X, None)
    params = model.posterior(model.components.given_moments(given, block))
    resp = given.sum(axis=0)
    mean = oracle.weighted_means(X, given, resp)
    scatter = oracle.scatter_about(X, given, mean, kind)
    posterior = oracle.m_step({"resp": resp, "mean": mean, "scatter": scatter}, prior, kind)
    bounds, expected = [], []
    for _ in range(10):
        statistics = model.e_step(params, block)
        params = model.m_step(statistics)
        bounds.append(model.lower_bound(statistics, params))
        sums = oracle.e_step(X, posterior, kind)
        posterior = oracle.m_step(sums, prior, kind)
        expected.append(oracle.lower_bound(sums, posterior, kind))
    assert_allclose(bounds, expected, rtol=1e-11)
    assert np.diff(bounds).min() > 0
    assert_allclose(params.means, posterior.means, rtol=1e-9)
    assert_allclose(params.concentration, posterior.concentration, rtol=1e-9)
    assert_allclose(params.mean_precision, posterior.mean_precision, rtol=1e-9)
    assert_allclose(params.degrees_of_freedom, posterior.degrees_of_freedom, rtol=1e-9)


def test_bound_is_bishop_s_but_for_a_constant():
    """What the bound leaves out of the evidence's (10.70) is the same in every iteration."""
    X = IRIS[:, :3]
    model, prior = model_and_oracle("full", False)
    block, given = GaussianBlock.of(X, None), np.random.default_rng(1).dirichlet(np.ones(3), len(X))
    params = model.posterior(model.components.given_moments(given, block))
    gaps = []
    for _ in range(8):
        statistics = model.e_step(params, block)
        densities = params.gaussians("full")
        rho = oracle.log_rho(
            X, posterior_of(params, np.linalg.inv(np.array([u @ u.T for u in densities[3]]))),
            "full",
        )  # fmt: skip
        r = np.exp(rho - rho.max(axis=1, keepdims=True))
        r /= r.sum(axis=1, keepdims=True)
        params = model.m_step(statistics)
        covariances = np.linalg.inv(np.array([u @ u.T for u in params.precisions_cholesky]))
        evidence = oracle.evidence_bound(X, r, posterior_of(params, covariances), prior)
        gaps.append(evidence - model.lower_bound(statistics, params))
    assert np.ptp(gaps) < 1e-8
    assert abs(gaps[0]) > 1


def posterior_of(params, covariances):
    scale = covariances * params.degrees_of_freedom[:, None, None]
    return oracle.Posterior(
        params.concentration, params.mean_precision, params.means, params.degrees_of_freedom, scale
    )


@every_kind
def test_incremental_steps_end_where_batch_steps_do(kind):
    """A bound of the model's own is made of the blocks' latest statistics: it never falls."""
    model = model_and_oracle(kind, True, 4)[0]
    X = np.random.default_rng(0).permutation(IRIS)
    whole = GaussianBlock.of(X, None)
    start = model.posterior(
        model.components.given_moments(np.eye(3)[np.arange(150) % 3] * 0.9 + 0.1 / 3, whole)
    )
    blocks = [whole.rows(0, 50), whole.rows(50, 60), whole.rows(60, 150)]
    settings = {"tol": 1e-9, "max_iter": 2000}
    batch = em.fit(model, [whole], start, **settings)
    steps = em.fit(model, blocks, start, schedule="incremental", **settings)
    assert batch.converged
    assert steps.converged
    assert np.diff(steps.lower_bounds).min() > -1e-9
    assert steps.lower_bound == pytest.approx(batch.lower_bound, abs=1e-5)


# ---- what it is for ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_components_that_nothing_needs_vanish(kind, weights):
    X = make_blobs(600, 2, centers=[[0, 0], [8, 0], [0, 9]], random_state=0)[0]
    mixture = BayesianGaussianMixture(
        10, covariance_type=kind, weight_concentration_prior_type=weights,
        weight_concentration_prior=1e-2, max_iter=500, random_state=0,
    ).fit(X)  # fmt: skip
    assert mixture.converged_
    assert np.count_nonzero(mixture.weights_ > 0.01) == 3
    assert mixture.weights_.sum() == pytest.approx(1)


def test_the_bound_never_falls():
    for kind in KINDS:
        bounds = both(IRIS, covariance_type=kind, reg_covar=0, tol=0)[0].lower_bounds_
        assert np.diff(bounds).min() > -1e-9


def test_watchers_see_the_bounds():
    seen = []
    with em.watch(lambda state: seen.append(state.lower_bound)):
        mixture = BayesianGaussianMixture(3, random_state=0).fit(IRIS)
    assert seen == mixture.lower_bounds_


# ---- weights -----------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("weights", WEIGHTS)
def test_weight_equals_repetition(kind, weights):
    """Integer weights equal repeated rows, weight 0 a removed row, in priors as in iterations."""
    counts = np.random.default_rng(0).integers(0, 4, len(IRIS))
    started = BayesianGaussianMixture(
        4, covariance_type=kind, weight_concentration_prior_type=weights, warm_start=True,
        max_iter=0, random_state=0,
    ).fit(IRIS)  # fmt: skip
    started.set_params(max_iter=15, tol=0)
    weighted = copy.deepcopy(started).fit(IRIS, sample_weight=counts)
    repeated = started.fit(np.repeat(IRIS, counts, axis=0))
    assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-11)
    assert_close(weighted, repeated, 1e-9)


def test_weights_are_counts():
    """More weight is more evidence, and the posterior is narrower."""
    once = BayesianGaussianMixture(1).fit(IRIS)
    more = BayesianGaussianMixture(1).fit(IRIS, sample_weight=np.full(150, 10.0))
    assert more.mean_precision_ == pytest.approx(1501)
    assert once.mean_precision_ == pytest.approx(151)


def test_weights_too_small_for_a_covariance():
    tiny = np.full(150, 1e-3)
    with pytest.raises(ValueError, match=r"sample_weight must sum to more than 1 .* got 0\.15"):
        BayesianGaussianMixture().fit(IRIS, sample_weight=tiny)
    mixture = BayesianGaussianMixture(covariance_prior=np.eye(4))
    assert mixture.fit(IRIS, sample_weight=tiny).mean_precision_ == pytest.approx(1.15)


# ---- doors -------------------------------------------------------------------------------------


def test_a_matrix_is_not_a_number():
    with pytest.raises(ValueError, match=r"'full covariance_prior' .* \(4, 4\), but got \(\)"):
        BayesianGaussianMixture(covariance_prior=2.0).fit(IRIS)


def test_a_spherical_prior_is_a_number():
    one = BayesianGaussianMixture(covariance_type="spherical", covariance_prior=[2.0]).fit(IRIS)
    assert one.covariance_prior_ == 2.0
    with pytest.raises(ValueError, match="covariance_prior"):
        BayesianGaussianMixture(covariance_type="spherical", covariance_prior=[1.0] * 4).fit(IRIS)
    with pytest.raises(ValueError, match="should be positive"):
        BayesianGaussianMixture(covariance_type="spherical", covariance_prior=[-1.0]).fit(IRIS)


@pytest.mark.parametrize(
    ("parameters", "X", "words"),
    [
        ({"degrees_of_freedom_prior": 1.0}, IRIS, "degrees_of_freedom_prior"),
        # Priors are set by then.
        ({"reg_covar": 0.0, "mean_prior": np.ones(4)}, np.ones((9, 4)), "ill-defined"),
    ],
)
def test_a_failed_fit_changes_nothing(parameters, X, words):
    mixture = BayesianGaussianMixture(1).fit(IRIS)
    before = {name: value for name, value in vars(mixture).items() if name.endswith("_")}
    mixture.set_params(**parameters)
    with pytest.raises(ValueError, match=words):
        mixture.fit(X)
    after = {name: value for name, value in vars(mixture).items() if name.endswith("_")}
    assert after.keys() == before.keys()
    assert all(after[name] is value for name, value in before.items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_concentration_", np.ones(3)),
        ("weight_concentration_", (np.ones(3), np.zeros(3))),
        ("mean_precision_", np.zeros(3)),
        ("mean_precision_", [1.0, np.nan, 1.0]),
        ("degrees_of_freedom_", np.full(3, 3.0)),
        ("degrees_of_freedom_", 9.0),
        ("means_", np.ones((3, 5))),
        ("precisions_cholesky_", np.zeros((3, 4, 4))),
    ],
    ids=str,
)
def test_attributes_that_were_altered_are_named(name, value):
    mixture = BayesianGaussianMixture(3, random_state=0).fit(IRIS)
    setattr(mixture, name, value)
    for read in (mixture.predict, mixture.score_samples, lambda X: mixture.sample(3)):
        with pytest.raises(ValueError, match=name):
            read(IRIS)


def test_interrupt_leaves_the_last_whole_iteration():
    def stop(state):
        if state.iteration == 4:
            raise KeyboardInterrupt

    mixture = BayesianGaussianMixture(3, random_state=0, tol=0)
    with em.watch(stop), pytest.raises(KeyboardInterrupt):
        mixture.fit(IRIS)
    assert mixture.n_iter_ == len(mixture.lower_bounds_) == 4
    straight = clone(mixture).set_params(max_iter=4).fit(IRIS)
    assert_array_equal(mixture.means_, straight.means_)
    assert mixture.predict(IRIS).shape == (150,)


@every_kind
def test_warm_start_goes_on(kind):
    straight = BayesianGaussianMixture(3, covariance_type=kind, random_state=0, tol=0, max_iter=8)
    halves = clone(straight).set_params(warm_start=True, max_iter=4)
    straight.fit(IRIS)
    halves.fit(IRIS).fit(IRIS)
    assert_allclose(halves.lower_bound_, straight.lower_bound_, rtol=1e-12)
    assert_close(halves, straight, 1e-9)


def test_restarts_keep_the_largest_bound():
    bounds = []
    mixture = BayesianGaussianMixture(
        5, n_init=6, init_params="random_from_data", random_state=2, max_iter=20
    )

    class Watch(em.Callback):
        def on_init_end(self, init, result):
            bounds.append(result.lower_bound)

    with em.watch(Watch()):
        mixture.fit(IRIS)
    assert len(set(bounds)) > 1
    assert mixture.lower_bound_ == max(bounds)


def test_no_criteria_that_count_parameters():
    """bic and aic are of maximum likelihood; scikit-learn's class has none, either."""
    assert not hasattr(BayesianGaussianMixture(), "bic")
    assert not hasattr(Peer(), "bic")
    assert hasattr(fastem.GaussianMixture(), "bic")
