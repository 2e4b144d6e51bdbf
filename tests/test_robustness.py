"""Numbers far from one, components that collapse, bad weights, Ctrl-C."""

import signal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import gaussian_mixture as oracle
from sklearn.base import clone

from fastem import GaussianMixture
from fastem.components import gaussian

KINDS = ("full", "tied", "diag", "spherical")
INITS = ("kmeans", "k-means++", "random", "random_from_data")
ONE_ROW = ("k-means++", "random_from_data")
UNIT = {
    "full": [np.eye(3)] * 2,
    "tied": np.eye(3),
    "diag": np.ones((2, 3)),
    "spherical": [1.0, 1.0],
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_kind = pytest.mark.parametrize("kind", KINDS)


def two_groups(gap=3.0, decimals=6):
    """Two overlapping groups, rounded so that an offset loses nothing."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(400, 3)), rng.normal(size=(300, 3)) * [1, 0.5, 2] + gap
    return np.round(np.vstack([first, second]), decimals)


def fitted(model):
    return {name: value for name, value in vars(model).items() if name.endswith("_")}


def assert_unchanged(model, before):
    assert fitted(model).keys() == before.keys()
    for name, value in before.items():
        assert getattr(model, name) is value, name


# ---- offsets and scales ------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize(("offset", "tolerance"), [(1e6, 1e-10), (1e8, 3e-9)])
def test_second_moments_far_from_zero(kind, offset, tolerance):
    """At an offset of 1e8 deviations the covariances are those of the centred data.

    What remains comes from the means: at 1e8 a double has steps of 1.5e-8.
    """
    X = two_groups() + offset
    means = np.array([[0.0, 0, 0], [2, 2, 2]])
    model = GaussianMixture(
        2,
        covariance_type=kind,
        weights_init=[0.5, 0.5],
        means_init=means + offset,
        precisions_init=UNIT[kind],
        max_iter=5,
        tol=0,
    ).fit(X)
    start = oracle.Params(np.array([0.5, 0.5]), means, np.array(UNIT[kind]))
    expected, bounds = oracle.fit(X - offset, start, kind, 5)
    scale = np.abs(expected.covariances).max()
    assert_allclose(model.covariances_, expected.covariances, 0, tolerance * scale)
    assert_allclose(model.means_ - offset, expected.means, 0, 20 * np.spacing(offset))
    assert_allclose(model.lower_bounds_, bounds, rtol=1e-9)


#: All but those in which scikit-learn's start, which is kept, has moments about zero.
STARTS = [(kind, init) for kind in KINDS for init in INITS if kind != "tied" or init not in ONE_ROW]


@pytest.mark.parametrize(("kind", "init_params"), STARTS)
@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_starts_far_from_zero(kind, init_params, offset):
    """A start gives at an offset what it gives on the centred data."""
    X = two_groups() + offset
    model = GaussianMixture(
        2, covariance_type=kind, init_params=init_params, reg_covar=1e-2, random_state=0, max_iter=0
    )
    far, near = clone(model).fit(X), clone(model).fit(X - offset)
    assert_allclose(far.covariances_, near.covariances_, rtol=1e-6, atol=1e-8)


@every_kind
@pytest.mark.parametrize("init_params", INITS)
@pytest.mark.parametrize("exponent", [-400, -60, -15, 15, 60, 400])
def test_the_unit_of_the_data_does_not_matter(kind, init_params, exponent):
    """Data times 2^e have the same fit, start included: nothing is compared with 1."""
    X, unit = two_groups(), 2.0**exponent
    model = GaussianMixture(
        2, covariance_type=kind, init_params=init_params, random_state=0, max_iter=5, tol=0
    )
    expected = clone(model).set_params(reg_covar=1e-2).fit(X)
    scaled = model.set_params(reg_covar=1e-2 * unit**2).fit(X * unit)
    assert_allclose(scaled.means_ / unit, expected.means_, rtol=1e-9, atol=1e-9)
    assert_allclose(scaled.covariances_ / unit**2, expected.covariances_, rtol=1e-9, atol=1e-9)
    assert_array_equal(scaled.predict(X * unit), expected.predict(X))


@every_kind
@pytest.mark.parametrize("init_params", INITS)
@pytest.mark.parametrize("unit", [1e25, 1e18, 1e-3, 1e-5, 1e-18, 1e-25])
def test_float32_succeeds_where_float64_does(kind, init_params, unit):
    """Squares that float32 cannot hold do not matter: the fit is float64's."""
    X = (two_groups(gap=6.0) * unit).astype(np.float32)
    model = GaussianMixture(
        2,
        covariance_type=kind,
        init_params=init_params,
        reg_covar=1e-2 * unit**2,
        random_state=0,
        max_iter=5,
        tol=0,
    )
    expected = clone(model).fit(X.astype(np.float64))
    single = model.fit(X)
    assert_allclose(single.means_ / unit, expected.means_ / unit, rtol=1e-3, atol=1e-3)
    assert_allclose(single.lower_bounds_, expected.lower_bounds_, rtol=1e-3, atol=1e-3)
    assert_array_equal(single.predict(X), expected.predict(X))
    assert single.score(X) == pytest.approx(expected.score(X), rel=1e-3)


@every_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("gap", [1e3, 1e4])
def test_groups_far_apart(kind, dtype, gap):
    """Groups at 10,000 deviations from each other: also the shared covariance keeps its digits."""
    X = two_groups(gap).astype(dtype)
    means = np.array([[0.0] * 3, [gap] * 3])
    start = oracle.Params(np.array([0.5, 0.5]), means, np.array(UNIT[kind]))
    expected, _ = oracle.fit(X.astype(np.float64), start, kind, 2)
    model = GaussianMixture(
        2,
        covariance_type=kind,
        weights_init=[0.5, 0.5],
        means_init=means,
        precisions_init=UNIT[kind],
        max_iter=2,
        tol=0,
    ).fit(X)
    scale = np.abs(expected.covariances).max()
    tolerance = 1e-9 if dtype == np.float64 else 1e-3
    assert_allclose(model.covariances_, expected.covariances, 0, tolerance * scale)


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_covariances_of_nearly_dependent_features(kind):
    """With eigenvalues 1e10 apart covariances_ is the M-step's, though made from its inverse."""
    d = 12
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(d, d))).Q
    means = np.zeros((2, d))
    means[1] = 100 * turn[0]  # so far apart that nobody's responsibility is in doubt
    X = rng.normal(size=(2000, d)) * np.logspace(0, -5, d) @ turn + np.repeat(means, 1000, axis=0)
    unit = np.eye(d) if kind == "tied" else np.array([np.eye(d)] * 2)
    model = GaussianMixture(
        2,
        covariance_type=kind,
        reg_covar=1e-14,
        weights_init=[0.5, 0.5],
        means_init=means,
        precisions_init=unit,
        max_iter=1,
    ).fit(X)
    start = oracle.Params(np.array([0.5, 0.5]), means, unit)
    expected = oracle.fit(X, start, kind, 1, reg_covar=1e-14)[0].covariances
    assert np.linalg.cond(expected).max() > 5e9
    gap = np.linalg.norm(model.covariances_ - expected) / np.linalg.norm(expected)
    assert gap < 1e-9
    assert_array_equal(model.covariances_, model.covariances_.swapaxes(-1, -2))


@every_kind
def test_features_of_different_units(kind):
    """Features in nanometres and in parsecs: each keeps its digits, where a scale of its own."""
    scale = np.array([1e-9, 1.0, 3e16]) if kind != "spherical" else np.full(3, 3e16)
    X = two_groups()
    factor = {"full": scale[:, None] * scale, "tied": scale[:, None] * scale, "diag": scale**2}
    factor = factor.get(kind, scale[0] ** 2)
    inverse = np.divide(UNIT[kind], factor)
    means = np.array([[0.0, 0, 0], [2, 2, 2]])
    parameters = {"covariance_type": kind, "reg_covar": 0, "max_iter": 4, "tol": 0}
    parameters["weights_init"] = [0.5, 0.5]
    expected = GaussianMixture(2, means_init=means, precisions_init=UNIT[kind], **parameters).fit(X)
    model = GaussianMixture(2, means_init=means * scale, precisions_init=inverse, **parameters)
    model.fit(X * scale)
    assert_allclose(model.covariances_ / factor, expected.covariances_, rtol=1e-9, atol=1e-9)


@every_kind
@pytest.mark.parametrize("value", [1e200, 1e307])
def test_values_whose_squares_overflow_are_refused(kind, value):
    """The error names the value, the feature and the cure, and comes before any work."""
    X = two_groups()
    X[:, 1] *= value / 100
    model = GaussianMixture(2, covariance_type=kind, random_state=0)
    with pytest.raises(ValueError, match=r"X has values up to .* in feature 1: .*Scale the data"):
        model.fit(X)
    assert not fitted(model)


@every_kind
def test_a_few_huge_equal_rows_are_refused(kind):
    """Rows without spread, whose squares overflow all the same, are a clear error."""
    with pytest.raises(ValueError, match=r"(?s)too large|[Ss]cale the"):
        GaussianMixture(covariance_type=kind, reg_covar=0).fit(np.full((5, 3), 1e300))


@every_kind
@pytest.mark.parametrize("value", [1e-200, 5e-324])
def test_denormal_values_are_as_good_as_equal(kind, value):
    """Values whose squares underflow fit with reg_covar, and are singular without."""
    X = np.sign(two_groups()) * value
    model = GaussianMixture(2, covariance_type=kind, init_params="random", random_state=0)
    assert_allclose(model.fit(X).covariances_, np.array(UNIT[kind]) * 1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match=r"increase reg_covar.*singular"):
        model.set_params(reg_covar=0).fit(X)


@every_kind
def test_constant_features(kind):
    """A feature without variance has reg_covar for its variance, wherever it lies."""
    X = two_groups()
    X[:, 1] = 1e9
    model = GaussianMixture(2, covariance_type=kind, random_state=0, reg_covar=1e-4).fit(X)
    assert_array_equal(model.means_[:, 1], 1e9)
    if kind == "diag":
        assert_allclose(model.covariances_[:, 1], 1e-4)
    elif kind in ("full", "tied"):
        assert_allclose(model.covariances_[..., 1, 1], 1e-4)
    assert np.all(np.isfinite(model.score_samples(X)))


# ---- collapse and errors -----------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True], ids=["first fit", "second fit"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("full", r"covariance of component 1 is singular \(smallest eigenvalue"),
        ("tied", r"The shared covariance is singular \(smallest eigenvalue"),
        ("diag", r"covariance of component 1 is singular \(smallest variance 0"),
        ("spherical", r"covariance of component 1 is singular \(smallest variance 0"),
    ],
)
def test_a_collapsed_component_is_named_and_the_estimator_left_alone(kind, words, again):
    """The error names the component and the cure; the last fit, or none, is still there."""
    X = two_groups()
    X[400:] = 50.0
    if kind == "tied":
        X[:, 2] = X[:, 1]
    model = GaussianMixture(
        2,
        covariance_type=kind,
        reg_covar=0,
        weights_init=[0.5, 0.5],
        means_init=[[0.0] * 3, [50.0] * 3],
        precisions_init=UNIT[kind],
    )
    if again:
        model.fit(two_groups(gap=50.0))
    before = fitted(model)
    with pytest.raises(ValueError, match=rf"(?s)Try to decrease.*increase reg_covar.*{words}"):
        model.fit(X)
    assert_unchanged(model, before)
    assert bool(before) is again


def test_bad_input_leaves_the_estimator_alone():
    """After an error of any kind the last fit is still there, attribute for attribute."""
    X = two_groups()
    model = GaussianMixture(2, random_state=0).fit(X)
    before, answer = fitted(model), model.predict(X)
    for bad in (X[:1], X[:, :0], np.where(X > 2, np.inf, X), X + 1j, "X", X * 1e300):
        with pytest.raises(ValueError):  # noqa: PT011  (the words are test_parity's)
            model.fit(bad)
        assert_unchanged(model, before)
    with pytest.raises(ValueError, match="n_components"):
        model.set_params(n_components=0).fit(X)
    assert_unchanged(model, before)
    assert_array_equal(model.predict(X), answer)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.r_[-1.0, np.ones(699)], "Negative values in data passed to `sample_weight`"),
        (np.r_[np.nan, np.ones(699)], "sample_weight contains NaN"),
        (np.r_[np.inf, np.ones(699)], "sample_weight contains infinity"),
        (np.ones(699), r"sample_weight.shape == \(699,\), expected \(700,\)"),
        (np.ones((700, 2)), "[Ss]ample.weights must be 1D"),
        (np.zeros(700), "at least one (positive weight|non-zero number)"),
        (["heavy"] * 700, "could not convert"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "score", "bic", "aic"])
def test_bad_weights_are_refused(method, weight, words):
    """Negative, not finite, too few, two-dimensional, all zero: the message says which."""
    X = two_groups()
    model = GaussianMixture(2, random_state=0).fit(X)
    before = fitted(model)
    with pytest.raises(ValueError, match=words):
        getattr(model, method)(X, sample_weight=weight)
    assert_unchanged(model, before)


def test_a_start_without_density_is_told():
    """Where no component reaches the data, the error says where to look."""
    model = GaussianMixture(
        2,
        weights_init=[0.5, 0.5],
        means_init=[[1e200] * 3, [-1e200] * 3],
        precisions_init=UNIT["full"],
    )
    with pytest.raises(ValueError, match=r"lower bound is -inf at iteration 1 of.*start values"):
        model.fit(two_groups())
    assert not fitted(model)


# ---- Ctrl-C ------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True], ids=["first fit", "second fit"])
@pytest.mark.parametrize("n_whole", [0, 2])
def test_an_interrupt_leaves_the_last_whole_iteration(monkeypatch, n_whole, again):
    """After Ctrl-C the estimator has n whole iterations; with none it is as it was."""
    X = two_groups()
    model = GaussianMixture(2, random_state=0, tol=0)
    if again:
        model.fit(X[::2])
    before = fitted(model)
    e_step, calls = gaussian.GaussianEM.e_step, []

    def interrupted(self, params, block):
        calls.append(1)
        if len(calls) > n_whole:
            raise KeyboardInterrupt
        return e_step(self, params, block)

    with monkeypatch.context() as patch:
        patch.setattr(gaussian.GaussianEM, "e_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    if n_whole == 0:
        assert_unchanged(model, before)
        return
    expected = clone(model).set_params(max_iter=n_whole).fit(X)
    assert (model.n_iter_, model.converged_) == (n_whole, False)
    assert model.lower_bounds_ == expected.lower_bounds_
    assert_array_equal(model.covariances_, expected.covariances_)
    assert_array_equal(model.predict(X), expected.predict(X))


INTERRUPT = """
import signal, time
import numpy as np
from fastem import GaussianMixture
from fastem._kernels import runtime

runtime.set_level(0)
rng = np.random.default_rng(0)
# 4,000,000 x 16 in the memory of 4,000,000 numbers; an E-step takes some 20 seconds.
X = np.lib.stride_tricks.sliding_window_view(rng.normal(size=4_000_015), 16)
start = {{"weights_init": np.full(128, 1 / 128), "means_init": X[:128]}}
model = GaussianMixture(128, precisions_init=[np.eye(16)] * 128, n_jobs={n_jobs}, **start)
due = []

def handler(number, frame):  # Python calls it when it next can: that is what is measured
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, handler)
em_fit = GaussianMixture._fit_em

def fit_em(self, *args, **kwargs):
    due.append(time.perf_counter() + 0.7)
    signal.setitimer(signal.ITIMER_REAL, 0.7)  # X has been checked, the E-step begins
    return em_fit(self, *args, **kwargs)

GaussianMixture._fit_em = fit_em
try:
    model.fit(X)
except KeyboardInterrupt:
    late = time.perf_counter() - due[0]
else:
    raise SystemExit("not interrupted")
assert late < 1.0, late
assert not hasattr(model, "converged_")
GaussianMixture._fit_em = em_fit
small = GaussianMixture(2, random_state=0).fit(X[:500])
assert small.converged_
print("stopped")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_stops_within_an_e_step(n_jobs, run_python):
    """A long E-step ends within a second of the signal; the process can go on and fit."""
    assert run_python(INTERRUPT.format(n_jobs=n_jobs)) == "stopped"
