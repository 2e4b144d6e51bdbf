"""Files that hold an estimator: skops and pickle, of this version or another, whole or not."""

import inspect
import io
import json
import pickle
import warnings
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import InconsistentVersionWarning

import fastem
from fastem import GaussianMixture, LatentDirichletAllocation, em
from fastem._base import EMEstimator

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: All public estimators, so that a new one is tested when it appears.
ESTIMATORS = [
    value
    for value in (getattr(fastem, name) for name in sorted(fastem.__all__))
    if inspect.isclass(value) and issubclass(value, EMEstimator)
]
COUNTS = np.random.default_rng(0).poisson(1.0, (40, 9)) % 2


@pytest.fixture(scope="module")
def sio():
    return pytest.importorskip("skops.io", reason="saving without code needs skops")


def small(cls):
    """Return an unfitted estimator that is as random as it can be."""
    parameters = {"max_iter": 3, "n_iter": 3, "random_state": np.random.RandomState(0)}
    known = inspect.signature(cls).parameters
    return cls(2, **{name: value for name, value in parameters.items() if name in known})


def data_of(cls):
    """Return data that the class takes: one column of symbols, or all."""
    return COUNTS[:, :1] if issubclass(cls, fastem.CategoricalHMM) else COUNTS


def fitted(cls):
    return small(cls).fit(data_of(cls))


def assert_same_state(actual, expected):
    """Compare all attributes; random states by what they would draw."""
    ours, theirs = vars(actual), vars(expected)
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        if isinstance(value, np.random.RandomState):
            assert_array_equal(ours[name].get_state()[1], value.get_state()[1], err_msg=name)
        else:
            assert type(ours[name]) is type(value), name
            assert_array_equal(ours[name], value, err_msg=name, strict=True)


def answers(estimator):
    methods = ("predict", "predict_proba", "transform", "score_samples")
    X = data_of(type(estimator))
    found = {m: getattr(estimator, m)(X) for m in methods if hasattr(estimator, m)}
    # A hidden Markov model's score_samples gives two things.
    return {m: v[1] if isinstance(v, tuple) else v for m, v in found.items()}


def test_there_are_estimators():
    assert {GaussianMixture, LatentDirichletAllocation, fastem.PLSA} <= set(ESTIMATORS)


# ---- skops -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [small, fitted])
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_skops_needs_trust_in_the_class_alone(cls, make, sio):
    """No type but the estimator's own; everything comes back, to the bit."""
    estimator = make(cls)
    data = sio.dumps(estimator)
    trusted = sio.get_untrusted_types(data=data)
    assert trusted == [f"{cls.__module__}.{cls.__name__}"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = sio.loads(data, trusted=trusted)
    assert_same_state(loaded, estimator)
    if make is fitted:
        expected = answers(estimator)
        assert expected
        for name, value in answers(loaded).items():
            assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_a_truncated_file_is_refused(cls, sio):
    data = sio.dumps(fitted(cls))
    for kept in (0, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(zipfile.BadZipFile, match="not a zip file"):
            sio.loads(data[:kept], trusted=[f"{cls.__module__}.{cls.__name__}"])


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_a_flipped_bit_is_refused(cls, sio):
    """The sums that zip files have for each part find it."""
    data = bytearray(sio.dumps(fitted(cls)))
    at = bytes(data).index(b"NUMPY") + 130  # within an array
    data[at] ^= 1
    with pytest.raises(zipfile.BadZipFile, match="Bad CRC-32"):
        sio.loads(bytes(data), trusted=[f"{cls.__module__}.{cls.__name__}"])


def with_other_arrays(data, change):
    """Return a skops file whose arrays are replaced by change(array), all sums being right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            if name.endswith(".npy"):
                buffer = io.BytesIO()
                np.save(buffer, change(np.load(io.BytesIO(part))))
                part = buffer.getvalue()
            new.writestr(name, part)
    return out.getvalue()


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_arrays_of_another_shape_are_refused_before_a_kernel_reads_them(cls, sio):
    """Kernels look at no shape: a file must not make them read what is not theirs."""

    def shorter(array):
        return np.ascontiguousarray(array[..., :1]) if array.ndim > 1 else array

    data = with_other_arrays(sio.dumps(fitted(cls)), shorter)
    loaded = sio.loads(data, trusted=[f"{cls.__module__}.{cls.__name__}"])
    method = "transform" if hasattr(loaded, "transform") else "predict"
    with pytest.raises(
        ValueError, match=r"(components|means|cluster_centers|probabilities|rates|transmat)_"
    ):
        getattr(loaded, method)(data_of(cls))


# ---- versions, and what is left out ------------------------------------------------------------


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_another_version_is_told(cls):
    """As scikit-learn tells it, in a warning of the same class."""
    estimator = fitted(cls)
    state = estimator.__getstate__()
    assert state["_fastem_version"] == fastem.__version__
    for other in (state | {"_fastem_version": "0.0.1"}, {k: state[k] for k in vars(estimator)}):
        loaded = cls.__new__(cls)
        with pytest.warns(InconsistentVersionWarning, match=f"{cls.__name__} was saved by fastem"):
            loaded.__setstate__(other)
        assert_same_state(loaded, estimator)


def test_skops_tells_another_version_too(sio):
    data = sio.dumps(GaussianMixture(2))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            if name == "schema.json":
                json.loads(part)
                assert part.count(fastem.__version__.encode()) == 1
                part = part.replace(fastem.__version__.encode(), b"0.0.1")
            new.writestr(name, part)
    with pytest.warns(InconsistentVersionWarning, match=r"saved by fastem 0\.0\.1"):
        sio.loads(out.getvalue(), trusted=["fastem.mixture.gaussian.GaussianMixture"])


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_a_running_fit_is_not_saved(cls):
    """What watches a fit, here with an open file, does not end in a pickle made meanwhile."""
    pickles = []
    estimator = small(cls)
    with open(__file__) as handle:

        def dump():
            return pickle.dumps(estimator)

        with em.watch(lambda state: bool(handle) and pickles.append(dump())):
            estimator.fit(data_of(cls))
    assert pickles
    for data in pickles:
        assert "_callback_fit_ctx" not in set(vars(pickle.loads(data)))
