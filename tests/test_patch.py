"""Drop-in: what a program sees of the patch, what stays the original's, that nothing is left."""

import inspect
import pickle
import subprocess
import sys
import threading
import types
import warnings

import numpy as np
import pytest
import sklearn.mixture
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_iris
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastem
from fastem import _patch

X = load_iris().data
COUNTS = np.random.default_rng(0).poisson(1.0, size=(40, 25))
ORIGINALS = (GaussianMixture, LatentDirichletAllocation)
OURS = {cls: getattr(fastem, cls.__name__) for cls in ORIGINALS}
for cls in ORIGINALS:
    pickle.dumps(cls())  # leaves a __slotnames__ in the class
BEFORE = {cls: list(vars(cls).items()) for cls in ORIGINALS}


def estimator(cls, **parameters):
    """Return an estimator that its data do not let converge at once, and the data."""
    if cls is GaussianMixture:
        return cls(3, tol=1e-6, random_state=1, **parameters), X
    return cls(3, max_iter=4, random_state=1, **parameters), COUNTS


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(_patch, "_said", set())
    yield
    left = fastem.is_patched()
    fastem.unpatch()
    assert not left
    for cls in ORIGINALS:
        assert list(vars(cls).items()) == BEFORE[cls]


@pytest.fixture
def fits(monkeypatch):
    """The names of the classes of ours that were fitted."""
    names = []
    for ours in OURS.values():

        def fit_em(self, *args, ours=ours, **kwargs):
            names.append(ours.__name__)
            return super(ours, self)._fit_em(*args, **kwargs)

        monkeypatch.setattr(ours, "_fit_em", fit_em, raising=False)
    return names


# ---- what is replaced ---------------------------------------------------------------------------


@pytest.mark.parametrize("cls", ORIGINALS)
def test_same_results_from_our_code(cls, fits):
    expected, data = estimator(cls)
    expected.fit(data)
    assert fits == []
    with fastem.patched():
        result = estimator(cls)[0]
        assert result.fit(data) is result
        assert fits == [cls.__name__]
        assert_allclose(result.score(data), expected.score(data), rtol=1e-9)
    for name, value in vars(expected).items():
        if isinstance(value, float | int | list | np.ndarray):
            assert_allclose(getattr(result, name), value, rtol=1e-6, atol=1e-9, err_msg=name)
    # Either reads what the other fitted.
    read = "predict_proba" if cls is GaussianMixture else "transform"
    theirs = getattr(result, read)(data)
    with fastem.patched():
        assert_allclose(getattr(expected, read)(data), theirs, rtol=1e-6, atol=1e-9)


def test_online_lda_takes_the_documents_as_they_come(fits):
    """Ours shuffles them by default, which would be another result."""
    lda = LatentDirichletAllocation(3, learning_method="online", batch_size=7, random_state=0)
    expected = clone(lda).fit(COUNTS).components_
    with fastem.patched():
        result = lda.fit(COUNTS).components_
    assert fits == ["LatentDirichletAllocation"]
    assert_allclose(result, expected, rtol=1e-6)


def test_old_names_and_old_estimators_are_reached(fits):
    old = estimator(GaussianMixture)[0]

    def closure(cls=GaussianMixture):
        return cls(2)

    with fastem.patched():
        old.fit(X)
        closure().fit(X)
        sklearn.mixture._gaussian_mixture.GaussianMixture(2).fit_predict(X)
        assert len(fits) == 3
        kept = old.fit
    kept(X)  # bound before unpatch(): it knows
    assert len(fits) == 3


@pytest.mark.parametrize("cls", ORIGINALS)
def test_a_patched_class_is_the_original_and_ours(cls):
    ours, (original, data) = OURS[cls], estimator(cls)
    outside = (repr(original), inspect.signature(cls.fit), original.get_params(), cls.fit.__doc__)
    tags = original.__sklearn_tags__()

    class Sub(cls):
        pass

    assert not isinstance(original, ours)
    with fastem.patched():
        fitted = estimator(cls)[0].fit(data)
        inside = (repr(fitted), inspect.signature(cls.fit), fitted.get_params(), cls.fit.__doc__)
        assert inside == outside
        assert repr(fitted.__sklearn_tags__()) == repr(tags)
        assert type(fitted) is cls
        assert type(clone(fitted)) is cls
        assert isinstance(fitted, ours)
        assert issubclass(cls, ours)
        assert isinstance(fitted, BaseEstimator)
        assert not issubclass(Sub, ours)  # it runs the original's code
        assert not isinstance(fitted, fastem.PLSA)
        assert issubclass(ours, ours)
        assert not issubclass(ours, cls)
    assert not isinstance(fitted, ours)
    assert not issubclass(cls, ours)


@pytest.mark.parametrize("cls", ORIGINALS)
def test_private_methods_are_the_originals(cls):
    functions = dict(inspect.getmembers(cls, inspect.isfunction))
    with fastem.patched():
        patched = dict(inspect.getmembers(cls, inspect.isfunction))
        changed = {name for name in functions if patched[name] is not functions[name]}
    assert functions.keys() == patched.keys()
    assert {"fit", "score"} <= changed
    assert not [name for name in changed if name.startswith("_")]


def test_pipeline_search_and_output_frames(fits):
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(random_state=0))
    search = GridSearchCV(pipeline, {"gaussianmixture__n_components": [1, 2, 3]}, cv=3)
    expected = clone(search).fit(X)
    with fastem.patched():
        result = search.fit(X)
        lda = estimator(LatentDirichletAllocation)[0].set_output(transform="pandas")
        frame = lda.fit_transform(COUNTS)
    assert fits.count("GaussianMixture") == 10
    assert result.best_params_ == expected.best_params_
    for name in ("mean_test_score", "std_test_score"):
        assert_allclose(result.cv_results_[name], expected.cv_results_[name], rtol=1e-9)
    assert list(frame.columns) == [f"latentdirichletallocation{k}" for k in range(3)]


def test_warm_start_goes_on_across_the_patch():
    straight = GaussianMixture(3, max_iter=6, tol=0, random_state=0)
    halves = GaussianMixture(3, max_iter=3, tol=0, random_state=0, warm_start=True)
    warnings.simplefilter("ignore", ConvergenceWarning)  # pytest restores it
    straight.fit(X)
    with fastem.patched():
        halves.fit(X)
    halves.fit(X)
    assert_allclose(halves.means_, straight.means_, rtol=1e-9)
    assert_allclose(halves.lower_bound_, straight.lower_bound_, rtol=1e-12)


def test_failed_fit_leaves_the_estimator_as_it_was():
    with fastem.patched():
        mixture = GaussianMixture(2, random_state=0).fit(X)
        before = dict(vars(mixture))
        with pytest.raises(ValueError, match="NaN"):
            mixture.fit(np.full((9, 2), np.nan))
        assert vars(mixture) == before


# ---- pickles ------------------------------------------------------------------------------------

_LOAD = """
import pickle, sys
sys.modules["fastem"] = None  # an import would fail
for estimator, data, expected in pickle.loads(bytes.fromhex(sys.argv[1])):
    result = estimator.score(data)
    assert abs(result - expected) <= 1e-9 * abs(expected), (result, expected)
    print(type(estimator).__name__)
"""


def test_pickles_of_the_patched_load_where_there_is_no_fastem():
    with fastem.patched():
        fitted = [(e.fit(data), data, e.score(data)) for e, data in map(estimator, ORIGINALS)]
        text = pickle.dumps(fitted).hex()
    process = subprocess.run(
        [sys.executable, "-c", _LOAD, text], capture_output=True, text=True, timeout=100
    )
    assert (process.stderr, process.returncode) == ("", 0)
    assert process.stdout.split() == [cls.__name__ for cls in ORIGINALS]


@pytest.mark.parametrize("cls", ORIGINALS)
def test_pickles_from_before_load_while_patched(cls):
    fitted, data = estimator(cls)
    expected = fitted.fit(data).score(data)
    text = pickle.dumps((fitted, fitted.fit))
    with fastem.patched():
        loaded, fit = pickle.loads(text)
        assert_allclose(loaded.score(data), expected, rtol=1e-9)
        assert isinstance(loaded, OURS[cls])
        assert fit(data) is fit.__self__
        assert pickle.loads(pickle.dumps(cls)) is cls


# ---- what is not --------------------------------------------------------------------------------


class Mine(GaussianMixture):
    """A user's own M-step."""

    n_calls = 0

    def _m_step(self, *args, **kwargs):
        self.n_calls += 1
        super()._m_step(*args, **kwargs)


def test_a_subclass_runs_the_original_and_says_so_once(fits, caplog):
    with fastem.patched():
        for _ in range(2):
            mine = Mine(2, random_state=0).fit(X)
            assert mine.n_calls == mine.n_iter_ > 0
    assert fits == []
    assert [(r.name, r.levelname) for r in caplog.records] == [("fastem", "WARNING")]
    assert "sklearn's GaussianMixture runs its own code" in caplog.text
    assert "Mine is a class of its own" in caplog.text


@pytest.mark.parametrize("where", ["class", "estimator", "module"])
def test_a_program_s_own_private_code_is_run(where, fits, caplog, monkeypatch):
    calls = []

    def spy(function):
        return lambda *args, **kwargs: calls.append(1) or function(*args, **kwargs)

    mixture = GaussianMixture(2, random_state=0)
    with fastem.patched():
        if where == "class":
            monkeypatch.setattr(GaussianMixture, "_e_step", spy(GaussianMixture._e_step), False)
        elif where == "estimator":
            mixture._e_step = spy(mixture._e_step)
        else:
            name = "_estimate_log_gaussian_prob"
            home = sklearn.mixture._gaussian_mixture
            monkeypatch.setattr(home, name, spy(getattr(home, name)))
        mixture.fit(X)
        assert calls
        assert fits == []
        assert "the program has its own" in caplog.text
        monkeypatch.undo()


def test_parameters_that_only_the_original_takes(fits, caplog):
    lda = LatentDirichletAllocation(2, doc_topic_prior=0.0, random_state=0, max_iter=1)
    with fastem.patched(), np.errstate(all="ignore"):
        lda.fit(COUNTS)
        assert fits == []
        assert "doc_topic_prior" in caplog.text
        lda.set_params(doc_topic_prior=0.5).fit(COUNTS)
    assert fits == ["LatentDirichletAllocation"]


@pytest.mark.parametrize(
    ("cls", "parameters"),
    [
        (GaussianMixture, {"n_components": 0}),
        (GaussianMixture, {"covariance_type": "round"}),
        (GaussianMixture, {"means_init": 3}),
        (LatentDirichletAllocation, {"learning_method": "incremental"}),
        (LatentDirichletAllocation, {"doc_topic_prior": 2.0}),
    ],
)
def test_errors_of_parameters_are_the_originals(cls, parameters, caplog):
    original, data = clone(estimator(cls)[0]).set_params(**parameters), estimator(cls)[1]
    with pytest.raises(ValueError, match="parameter of") as expected:
        original.fit(data)
    with fastem.patched(), pytest.raises(ValueError, match="parameter of") as error:
        clone(original).fit(data)
    assert (type(error.value), str(error.value)) == (type(expected.value), str(expected.value))
    assert not caplog.records


def test_arguments_that_only_ours_takes_are_refused():
    with fastem.patched():
        with pytest.raises(TypeError, match="unexpected keyword argument 'sample_weight'"):
            GaussianMixture().fit(X, sample_weight=np.ones(len(X)))
        with pytest.raises(TypeError, match="positional"):
            GaussianMixture().fit(X, None, np.ones(len(X)))
        with pytest.raises(TypeError, match="n_jobs"):
            GaussianMixture(n_jobs=1)
        with config_context(skip_parameter_validation=True):
            GaussianMixture(2).fit(X)


def test_array_api_dispatch_is_left_to_the_original(run_python):
    code = """
        import logging, numpy as np, fastem
        from sklearn import config_context
        from sklearn.mixture import GaussianMixture
        logging.basicConfig(format="%(name)s %(message)s", stream=__import__("sys").stdout)
        fastem.patch()
        with config_context(array_api_dispatch=True):
            GaussianMixture(init_params="random").fit(np.arange(9.0)[:, None])
    """
    out = run_python(code, SCIPY_ARRAY_API="1")
    assert out == "fastem sklearn's GaussianMixture runs its own code: array API dispatch is on"


# ---- state --------------------------------------------------------------------------------------


def test_idempotent_and_nested():
    assert not fastem.is_patched()
    with fastem.patched():
        fit = GaussianMixture.fit
        fastem.patch()
        fastem.patch()
        assert GaussianMixture.fit is fit
    assert fastem.is_patched()  # patch() asked for it
    with fastem.patched():
        pass
    assert GaussianMixture.fit is fit
    fastem.unpatch()
    assert not fastem.is_patched()
    fastem.unpatch()
    with fastem.patched():
        with fastem.patched():
            fastem.unpatch()
            assert not fastem.is_patched()
        assert not fastem.is_patched()
    with pytest.raises(ZeroDivisionError), fastem.patched():
        1 / 0  # noqa: B018


def test_overlapping_blocks_end_with_the_last():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with fastem.patched():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with fastem.patched():
        thread.start()
        assert entered.wait(60)
    still = fastem.is_patched()
    leave.set()
    thread.join()
    assert still
    assert not fastem.is_patched()


def test_threads_that_patch_and_fit():
    """Whoever runs a fit, its result is the same."""
    expected = estimator(GaussianMixture)[0].fit(X).means_
    errors = []

    def work():
        try:
            for _ in range(5):
                with fastem.patched():
                    pass
                assert_allclose(estimator(GaussianMixture)[0].fit(X).means_, expected, rtol=1e-8)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_unpatch_leaves_what_the_program_replaced(monkeypatch):
    def predict(self, X):
        return "mine"

    with fastem.patched():
        monkeypatch.setattr(GaussianMixture, "predict", predict, raising=False)
    assert GaussianMixture.predict is predict
    monkeypatch.undo()  # to the method of the patch, which now runs the original
    assert_array_equal(GaussianMixture(1).fit(X).predict(X), 0)
    del GaussianMixture.predict


@pytest.fixture
def library(monkeypatch):
    """A library with a mixture of its own, which takes a parameter that ours does not."""

    class GaussianMixture(BaseEstimator):
        def __init__(self, n_components=1, *, shape=None):
            self.n_components, self.shape = n_components, shape

        def fit(self, X, y=None, lengths=None):
            self.by_ = "library"
            return self

    module = types.ModuleType("a_library")
    module.GaussianMixture, GaussianMixture.__module__ = GaussianMixture, "a_library"
    monkeypatch.setitem(sys.modules, "a_library", module)
    rows = (*_patch.TABLE, _patch.Entry("a_library", "GaussianMixture", "GaussianMixture"))
    monkeypatch.setattr(_patch, "TABLE", rows)
    return module


def test_another_library_is_one_row_away(library, caplog):
    cls = library.GaussianMixture
    with fastem.patched():
        ours = cls(2).fit(X)
        assert isinstance(ours, fastem.GaussianMixture)
        assert ours.means_.shape == (2, 4)
        assert not hasattr(ours, "by_")
        assert cls(2, shape="round").fit(X).by_ == "library"
        assert cls(2).fit(X, lengths=[150]).by_ == "library"
    assert "fastem has no parameter shape, which is 'round'" in caplog.text
    assert "fastem's fit has no argument lengths" in caplog.text
    assert cls(2).fit(X).by_ == "library"


def test_a_library_that_is_not_there(monkeypatch):
    absent = _patch.Entry("no_such.library", "A", "PLSA")
    monkeypatch.setattr(_patch, "TABLE", (absent, *_patch.TABLE))
    with fastem.patched():
        assert isinstance(GaussianMixture(), fastem.GaussianMixture)
    missing = _patch.Entry("sklearn.mixture", "A", "PLSA")
    monkeypatch.setattr(_patch, "TABLE", (*_patch.TABLE, missing))
    with pytest.raises(AttributeError, match=r"sklearn\.mixture"):
        fastem.patch()
    assert not fastem.is_patched()
