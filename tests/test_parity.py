"""GaussianMixture beside the installed scikit-learn's, on real data: a drop-in is equal."""

import inspect
import re
import warnings
from collections import Counter

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import datasets
from sklearn.mixture import GaussianMixture as Peer
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version
from threadpoolctl import threadpool_limits

from fastem import GaussianMixture

KINDS = ("full", "tied", "diag", "spherical")
INITS = ("kmeans", "k-means++", "random", "random_from_data")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
needs_history = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"), reason="scikit-learn changed since"
)

DIGITS = datasets.load_digits(n_class=4).data[:300, 10:39]
DATA = {
    "iris": (datasets.load_iris().data, {"n_components": 3}),
    "wine": (scale(datasets.load_wine().data), {"n_components": 2, "reg_covar": 1e-3}),
    "cancer": (scale(datasets.load_breast_cancer().data), {"n_components": 2, "reg_covar": 1e-4}),
    "digits": (DIGITS, {"n_components": 4, "reg_covar": 0.1}),
}
IRIS = DATA["iris"][0]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """So small a fit of scikit-learn's spends its time in waking threads."""
    with threadpool_limits(1):
        yield


#: A start from one row for each component has variances of reg_covar alone, to which scikit-learn
#: adds what its diagonal moments about zero cancel to: up to 1e-13 here. This makes it not matter.
ONE_ROW_STARTS = {"k-means++": {"reg_covar": 1e-2}, "random_from_data": {"reg_covar": 1e-2}}


def both(X, **parameters):
    """Fit both with the same parameters; return fastem's and scikit-learn's."""
    parameters = {"random_state": 3} | parameters
    return GaussianMixture(**parameters).fit(X), Peer(**parameters).fit(X)


def assert_same(actual, expected, tolerance=1e-7):
    """Compare the fitted attributes."""
    assert actual.n_iter_ == expected.n_iter_
    assert actual.converged_ == expected.converged_
    assert actual.n_features_in_ == expected.n_features_in_
    for name in (
        "lower_bound_",
        "lower_bounds_",
        "weights_",
        "means_",
        "covariances_",
        "precisions_",
        "precisions_cholesky_",
    ):
        if hasattr(expected, name):
            value = np.asarray(getattr(expected, name))
            limit = tolerance * np.abs(value[np.isfinite(value)]).max(initial=0)
            assert_allclose(getattr(actual, name), value, tolerance, limit, err_msg=name)


def assert_same_type_and_close(actual, expected, rtol, atol, name):
    """Compare shapes, dtypes and values (NumPy 1's assert_allclose has no `strict`)."""
    ours, theirs = np.asarray(actual), np.asarray(expected)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name
    assert_allclose(ours, theirs, rtol, atol, err_msg=name)


def assert_same_answers(actual, expected, X, tolerance=1e-7):
    """Compare every method that reads the fit."""
    ranked = np.sort(expected.predict_proba(X), axis=1)
    sure = ranked[:, -1] - ranked[:, -2] > 1e-6  # iris has rows right between two others
    assert sure.mean() > 0.9
    assert_array_equal(actual.predict(X)[sure], expected.predict(X)[sure], strict=True)
    for method in ("predict_proba", "score_samples", "score", "bic", "aic"):
        value = getattr(expected, method)(X)
        assert_same_type_and_close(getattr(actual, method)(X), value, tolerance, tolerance, method)
    # A singular value that occurs twice turns the last bit of a covariance into any rotation.
    vars(expected).update({name: value for name, value in vars(actual).items() if name[-1] == "_"})
    for ours, theirs in zip(actual.sample(50), expected.sample(50), strict=True):
        assert_array_equal(ours, theirs, strict=True)


def match_components(actual, expected):
    """Number the components as `expected` does.

    Restarts that end in one optimum differ in the order of the components, and in the bound's last
    bit, which chooses among them.
    """
    distance = np.linalg.norm(actual.means_[None] - expected.means_[:, None], axis=2)
    order = distance.argmin(axis=1)
    assert sorted(order) == list(range(len(order)))
    names = ["weights_", "means_"]
    if actual.covariance_type != "tied":
        names += ["covariances_", "precisions_", "precisions_cholesky_"]
    for name in names:
        setattr(actual, name, getattr(actual, name)[order])


# ---- fits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("init_params", INITS)
@pytest.mark.parametrize("covariance_type", KINDS)
@pytest.mark.parametrize("data", DATA)
def test_fit_and_answers_are_equal(data, covariance_type, init_params, n_init):
    """From the same random_state: the same iterations, parameters and answers."""
    X, parameters = DATA[data]
    parameters = parameters | ONE_ROW_STARTS.get(init_params, {})
    parameters |= {"covariance_type": covariance_type, "init_params": init_params, "n_init": n_init}
    ours, theirs = both(X, **parameters)
    if n_init > 1:
        match_components(ours, theirs)
    assert_same(ours, theirs)
    assert_same_answers(ours, theirs, X)


@pytest.mark.parametrize("given", range(8))
@pytest.mark.parametrize("covariance_type", KINDS)
def test_given_start_values_are_equal(given, covariance_type):
    """Any combination of weights_init, means_init and precisions_init."""
    fitted = Peer(3, covariance_type=covariance_type, random_state=1).fit(IRIS)
    start = {
        "weights_init": [0.2, 0.5, 0.3],
        "means_init": IRIS[[0, 60, 149]],
        "precisions_init": fitted.precisions_ * 0.7,
    }
    start = {name: value for i, (name, value) in enumerate(start.items()) if given >> i & 1}
    # With precisions_init and no iteration scikit-learn fails for want of covariances.
    for max_iter in (1, 100) if "precisions_init" in start else (0, 1, 100):
        assert_same(
            *both(
                IRIS,
                n_components=3,
                covariance_type=covariance_type,
                init_params=INITS[(given + KINDS.index(covariance_type)) % 4],
                max_iter=max_iter,
                reg_covar=1e-2,
                **start,
            )
        )


@pytest.mark.parametrize("init_params", INITS)
@pytest.mark.parametrize("covariance_type", KINDS)
@pytest.mark.parametrize("n_init", [1, 2])
def test_max_iter_zero_is_equal(covariance_type, init_params, n_init):
    """max_iter=0 gives scikit-learn's start, which can be read from."""
    parameters = {"covariance_type": covariance_type, "init_params": init_params, "n_init": n_init}
    ours, theirs = both(IRIS, n_components=4, max_iter=0, reg_covar=1e-2, **parameters)
    assert_same(ours, theirs)
    assert_same_answers(ours, theirs, IRIS)


@pytest.mark.parametrize("covariance_type", KINDS)
def test_warm_start_is_equal(covariance_type):
    """Fits go on where the last one stopped, on the same data or on other data."""
    parameters = {"covariance_type": covariance_type, "warm_start": True, "max_iter": 2}
    ours, theirs = both(IRIS, n_components=3, n_init=2, **parameters)
    for X in (IRIS, IRIS, IRIS[::2], IRIS, IRIS, IRIS, IRIS, IRIS):
        assert_same(ours.fit(X), theirs.fit(X))
    assert ours.converged_ == theirs.converged_


@pytest.mark.parametrize("covariance_type", KINDS)
def test_an_empty_component_is_equal(covariance_type):
    """A component that no sample belongs to moves to zero, with next to no weight."""
    shape = {
        "full": [np.eye(4)] * 2,
        "tied": np.eye(4),
        "diag": np.ones((2, 4)),
        "spherical": [1, 1],
    }
    start = {"weights_init": [0.5, 0.5], "means_init": [[5.0] * 4, [1e4] * 4]}
    start |= {"precisions_init": shape[covariance_type], "covariance_type": covariance_type}
    for max_iter in (1, 3):
        assert_same(*both(IRIS, n_components=2, max_iter=max_iter, **start))


def test_a_random_state_instance_is_equal():
    """A RandomState is advanced as there: the next fit differs, and equally."""
    ours = GaussianMixture(3, random_state=np.random.RandomState(5), init_params="random")
    theirs = Peer(3, random_state=np.random.RandomState(5), init_params="random")
    for _ in range(2):
        assert_same(ours.fit(IRIS), theirs.fit(IRIS))
    assert_allclose(ours.sample(9)[0], theirs.sample(9)[0], rtol=1e-6)


@needs_history
@pytest.mark.parametrize("covariance_type", KINDS)
@pytest.mark.parametrize("init_params", INITS)
def test_float32_is_equal_to_single_precision(covariance_type, init_params):
    """Float32 fits have the same types, and the same start to single precision."""
    X = IRIS.astype(np.float32)
    parameters = {"covariance_type": covariance_type, "init_params": init_params}
    ours, theirs = both(X, n_components=3, max_iter=2, reg_covar=0.1, **parameters)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        value = getattr(theirs, name)
        limit = 1e-3 * np.abs(value).max()
        assert_same_type_and_close(getattr(ours, name), value, 1e-3, limit, name)
    for method in ("predict", "predict_proba", "score_samples"):
        assert getattr(ours, method)(X).dtype == getattr(theirs, method)(X).dtype
        assert getattr(ours, method)(IRIS).dtype == getattr(theirs, method)(IRIS).dtype


@pytest.mark.parametrize("covariance_type", KINDS)
def test_fit_predict_is_equal(covariance_type):
    """fit_predict returns the labels of the fit that it made."""
    for max_iter in (1, 100):
        parameters = {"covariance_type": covariance_type, "max_iter": max_iter, "random_state": 0}
        ours, theirs = GaussianMixture(3, **parameters), Peer(3, **parameters)
        labels = ours.fit_predict(IRIS)
        assert_array_equal(labels, theirs.fit_predict(IRIS), strict=True)
        assert_array_equal(labels, ours.predict(IRIS))
        assert_same(ours, theirs)


def test_lists_and_integers_are_equal():
    """What is not a float array is converted."""
    X = (IRIS * 10).astype(int)
    for data in (X, X.tolist(), X.astype(np.float16), X.astype(bool)):
        assert_same(*both(data, n_components=2, max_iter=3, init_params="random"))


# ---- what is printed -------------------------------------------------------------------------


@pytest.mark.parametrize("verbose", [0, 1, 2, 3, True])
@pytest.mark.parametrize("max_iter", [0, 3, 30])
@pytest.mark.parametrize("n_init", [1, 2])
def test_verbose_lines_are_equal(verbose, max_iter, n_init, capsys):
    """The same lines, times apart."""
    outputs = []
    for Class in (GaussianMixture, Peer):
        Class(
            2,
            verbose=verbose,
            verbose_interval=2,
            max_iter=max_iter,
            n_init=n_init,
            random_state=1,
        ).fit(IRIS)
        outputs.append(re.sub(r"lapse [\d.]+s", "lapse _", capsys.readouterr().out))
    assert outputs[0] == outputs[1]


# ---- signature -------------------------------------------------------------------------------


@needs_history
def test_signature_is_a_superset():
    """Every parameter and method of theirs is here, with the same default and kind."""
    for name in ("__init__", "fit", "fit_predict", "predict", "predict_proba", "score"):
        theirs = inspect.signature(getattr(Peer, name)).parameters
        ours = inspect.signature(getattr(GaussianMixture, name)).parameters
        assert list(ours)[: len(theirs)] == list(theirs), name
        for parameter in theirs:
            untyped = ours[parameter].replace(annotation=inspect.Parameter.empty)
            assert untyped == theirs[parameter], (name, parameter)
        for parameter in ours.keys() - theirs.keys():
            assert ours[parameter].default is not inspect.Parameter.empty, (name, parameter)
    public = {name for name in dir(Peer) if not name.startswith("_")}
    assert public <= set(dir(GaussianMixture))
    defaults = Peer().get_params()
    assert defaults.items() <= GaussianMixture().get_params().items()


@needs_history
def test_fitted_attributes_are_equal():
    """The same names, of the same types."""
    ours, theirs = both(IRIS, n_components=2)
    names = {name for name in vars(theirs) if name.endswith("_")}
    assert names == {name for name in vars(ours) if name.endswith("_")}
    for name in names - {"lower_bound_", "lower_bounds_"}:
        assert type(getattr(ours, name)) is type(getattr(theirs, name)), name
    assert isinstance(ours.lower_bounds_, list)


def test_tags_are_equal():
    """scikit-learn's own machinery sees the same kind of estimator."""
    ours, theirs = GaussianMixture().__sklearn_tags__(), Peer().__sklearn_tags__()
    theirs.array_api_support, theirs.input_tags.allow_nan = False, True  # values may be missing
    assert ours == theirs


# ---- what is refused, and what is warned of ----------------------------------------------------


INF = IRIS.copy()
INF[3, 1] = np.inf

BAD_INPUT = [
    (IRIS[:2], {"n_components": 3}),
    (IRIS[:1], {}),
    (IRIS[:0], {}),
    (IRIS[:, :0], {}),
    (IRIS[0], {}),
    (IRIS[None], {}),
    (5.0, {}),
    (None, {}),
    ("iris", {}),
    (INF, {}),
    (-INF, {}),
    (IRIS + 1j, {}),
    ([*IRIS.astype(str).tolist(), list("abcd")], {}),
    (np.array([[object()] * 4] * 9), {}),
    ([[1.0, 2.0], [3.0]], {}),
    (IRIS, {"n_components": 0}),
    (IRIS, {"n_components": -1}),
    (IRIS, {"n_components": 2.0}),
    (IRIS, {"covariance_type": "round"}),
    (IRIS, {"tol": -1e-3}),
    (IRIS, {"reg_covar": -1}),
    (IRIS, {"max_iter": 1.5}),
    (IRIS, {"n_init": 0}),
    (IRIS, {"init_params": "kmedoids"}),
    (IRIS, {"random_state": -1}),
    (IRIS, {"warm_start": "yes"}),
    (IRIS, {"verbose": -1}),
    (IRIS, {"verbose_interval": 0}),
    (IRIS, {"n_components": 2, "weights_init": [0.5, 0.25, 0.25]}),
    (IRIS, {"n_components": 2, "weights_init": [[0.5, 0.5]]}),
    (IRIS, {"n_components": 2, "weights_init": [1.5, -0.5]}),
    (IRIS, {"n_components": 2, "weights_init": [0.5, 0.4]}),
    (IRIS, {"n_components": 2, "weights_init": [0.5, np.nan]}),
    (IRIS, {"n_components": 2, "weights_init": "equal"}),
    (IRIS, {"n_components": 2, "means_init": IRIS[:3]}),
    (IRIS, {"n_components": 2, "means_init": IRIS[:2, :3]}),
    (IRIS, {"n_components": 2, "means_init": INF[2:4]}),
    (IRIS, {"covariance_type": "full", "precisions_init": np.eye(4)}),
    (IRIS, {"covariance_type": "full", "precisions_init": -np.eye(4)[None]}),
    (IRIS, {"covariance_type": "full", "precisions_init": np.ones((1, 4, 4))}),
    (IRIS, {"covariance_type": "full", "precisions_init": np.triu(np.ones((4, 4)))[None]}),
    (IRIS, {"covariance_type": "tied", "precisions_init": np.eye(3)}),
    (IRIS, {"covariance_type": "tied", "precisions_init": -np.eye(4)}),
    (IRIS, {"covariance_type": "diag", "precisions_init": np.ones(4)}),
    (IRIS, {"covariance_type": "diag", "precisions_init": np.array([[1.0, 1, 0, 1]])}),
    (IRIS, {"covariance_type": "spherical", "precisions_init": np.ones((1, 4))}),
    (IRIS, {"covariance_type": "spherical", "precisions_init": [-1.0]}),
    (np.ones((9, 2)), {"n_components": 2, "reg_covar": 0, "init_params": "random"}),
]


def raised_by(function):
    """Return the exception and the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function()
        except Exception as error:
            return error, caught
    return None, caught


def assert_same_error(ours, theirs):
    """Compare type and words, whatever the order of a set's; ours may say more."""
    assert type(ours) is type(theirs), f"{ours!r}, not {theirs!r}"
    said, meant = (Counter(re.findall(r"[\w'-]+", str(error))) for error in (ours, theirs))
    assert meant <= said, f"{ours!r}, not {theirs!r}"


@pytest.mark.parametrize("number", range(len(BAD_INPUT)))
def test_bad_input_raises_the_same_error(number):
    """The type and the words of scikit-learn's error."""
    X, parameters = BAD_INPUT[number]
    theirs, _ = raised_by(lambda: Peer(**parameters).fit(X))
    assert theirs is not None
    assert_same_error(raised_by(lambda: GaussianMixture(**parameters).fit(X))[0], theirs)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "bic"])
@pytest.mark.parametrize("X", [IRIS[:, :2], INF, IRIS[0], IRIS[:0], IRIS + 1j], ids=range(5))
def test_bad_input_to_a_fitted_mixture_raises_the_same_error(method, X):
    """Reading checks X as fitting does."""
    ours, theirs = both(IRIS, n_components=2)
    theirs, _ = raised_by(lambda: getattr(theirs, method)(X))
    assert theirs is not None
    assert_same_error(raised_by(lambda: getattr(ours, method)(X))[0], theirs)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "aic"])
def test_not_fitted_raises_the_same_error(method):
    """NotFittedError, in the same words."""
    ours, theirs = (
        raised_by(lambda c=c: getattr(c(), method)(IRIS)) for c in (GaussianMixture, Peer)
    )
    assert_same_error(ours[0], theirs[0])
    ours, theirs = (raised_by(lambda c=c: c().sample()) for c in (GaussianMixture, Peer))
    assert_same_error(ours[0], theirs[0])


def test_sample_refuses_the_same():
    """At least one sample; scikit-learn's message has the number of components for the value."""
    ours, theirs = both(IRIS, n_components=1)
    ours, theirs = (raised_by(lambda m=m: m.sample(0))[0] for m in (ours, theirs))
    assert_same_error(ours, ValueError(str(theirs).replace("1", "0")))


@pytest.mark.parametrize("parameters", [{}, {"max_iter": 2}, {"max_iter": 2, "n_init": 2}])
def test_warnings_are_equal(parameters):
    """One ConvergenceWarning, in the same words."""
    parameters |= {"n_components": 3, "random_state": 0}
    _, theirs = raised_by(lambda: Peer(**parameters).fit(IRIS))
    for fit in ("fit", "fit_predict"):
        _, ours = raised_by(lambda fit=fit: getattr(GaussianMixture(**parameters), fit)(IRIS))
        assert [(w.category, str(w.message)) for w in ours] == [
            (w.category, str(w.message)) for w in theirs
        ]
