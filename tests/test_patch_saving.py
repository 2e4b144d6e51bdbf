"""Drop-in: what was fitted while patched is read without the patch and without fastem, and back."""

import io
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.cluster import KMeans
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

import fastem

X = np.random.default_rng(0).normal(size=(200, 4)) + np.arange(200)[:, None] % 3 * 4.0
COUNTS = np.random.default_rng(0).poisson(1.0, size=(60, 25))
CASES = {
    GaussianMixture: (
        GaussianMixture(3, random_state=1),
        X,
        ("predict", "predict_proba", "score_samples", "score", "bic", "aic"),
    ),
    BayesianGaussianMixture: (
        BayesianGaussianMixture(n_components=3, random_state=1),
        X,
        ("predict", "predict_proba", "score_samples", "score"),
    ),
    KMeans: (KMeans(3, random_state=1), X, ("predict", "transform", "score")),
    LatentDirichletAllocation: (
        LatentDirichletAllocation(3, max_iter=4, random_state=1),
        COUNTS,
        ("transform", "score", "perplexity"),
    ),
}
FITS = ("fit", "fit_predict", "fit_transform", "partial_fit")
CLASSES = [(cls, fit) for cls in CASES for fit in FITS if hasattr(cls, fit)]


def fitted(cls, fit="fit"):
    estimator, data, _ = CASES[cls]
    model = pickle.loads(pickle.dumps(estimator))
    getattr(model, fit)(data)
    return model


def answers(model, cls):
    _, data, methods = CASES[cls]
    return {name: getattr(model, name)(data) for name in methods}


def assert_same(actual, expected):
    for name, value in expected.items():
        assert type(actual[name]) is type(value), name
        assert_allclose(actual[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("cls", "fit"), CLASSES)
def test_a_fit_leaves_the_original_s_attributes_and_no_others(cls, fit):
    """Private ones too, for the original's methods read them; equal values of equal types."""
    expected = vars(fitted(cls, fit))
    with fastem.patched():
        result = vars(fitted(cls, fit))
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        if name not in ("random_state", "random_state_"):
            assert type(result[name]) is type(value), name
        if isinstance(value, float | int | np.ndarray):
            assert_allclose(result[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("cls", "fit"), CLASSES)
def test_every_method_works_after_the_patch_and_before(cls, fit):
    expected = answers(fitted(cls, fit), cls)
    with fastem.patched():
        model = fitted(cls, fit)
        assert_same(answers(model, cls), expected)
    assert_same(answers(model, cls), expected)
    original = fitted(cls, fit)
    with fastem.patched():
        assert_same(answers(original, cls), expected)


@pytest.mark.parametrize("cls", CASES)
def test_calls_that_fall_back_read_what_the_patched_fitted(cls, monkeypatch, caplog):
    expected = answers(fitted(cls), cls)
    private = {KMeans: "_transform", GaussianMixture: "_e_step"}.get(cls, "_e_step")
    with fastem.patched():
        model = fitted(cls)
        own = getattr(cls, private)
        monkeypatch.setattr(cls, private, lambda *args, **kwargs: own(*args, **kwargs))
        assert_same(answers(model, cls), expected)
        assert f"the program has its own {private}" in caplog.text
        monkeypatch.undo()


def test_online_topics_go_on_across_the_patch():
    expected = fitted(LatentDirichletAllocation, "partial_fit").partial_fit(COUNTS).components_
    for inside in (0, 1):
        model = LatentDirichletAllocation(3, max_iter=4, random_state=1)
        for step in (0, 1):
            if step == inside:
                with fastem.patched():
                    model.partial_fit(COUNTS)
            else:
                model.partial_fit(COUNTS)
        assert_allclose(model.components_, expected, rtol=1e-6)


# ---- files -------------------------------------------------------------------------------------


def through_joblib(obj):
    stream = io.BytesIO()
    joblib.dump(obj, stream)
    return stream.getvalue()


LOADERS = {
    "pickle": "import pickle; load = pickle.loads",
    "cloudpickle": "import cloudpickle; load = cloudpickle.loads",
    "joblib": "import io, joblib; load = lambda data: joblib.load(io.BytesIO(data))",
    "skops": "import skops.io; load = skops.io.loads",
}
_READ = """
import sys
sys.modules["fastem"] = None  # an import would fail
import warnings
warnings.simplefilter("error")
{loader}
import pickle, numpy
models, tasks = pickle.load(sys.stdin.buffer)
for data, (rows, expected) in zip(models, tasks):
    model = load(data)
    for name, value in expected.items():
        numpy.testing.assert_allclose(getattr(model, name)(rows), value, rtol=1e-4, atol=1e-6)
    model.fit(rows)
    print(type(model).__name__, "fitted")
"""


def saver(kind):
    if kind == "joblib":
        return through_joblib
    module = pytest.importorskip("skops.io" if kind == "skops" else kind)
    return module.dumps


@pytest.mark.parametrize("kind", LOADERS)
def test_files_are_read_where_there_is_no_fastem(kind):
    save, models, tasks = saver(kind), [], []
    with fastem.patched():
        for cls, fit in CLASSES:
            model = fitted(cls, fit)
            models.append(save(model))
            tasks.append((CASES[cls][1], answers(model, cls)))
    process = subprocess.run(
        [sys.executable, "-c", _READ.format(loader=LOADERS[kind])],
        input=pickle.dumps((models, tasks)),
        capture_output=True,
        timeout=100,
    )
    assert (process.stderr.decode(), process.returncode) == ("", 0)
    assert process.stdout.count(b"fitted") == len(CLASSES)


@pytest.mark.parametrize("kind", LOADERS)
def test_files_of_the_original_are_read_while_patched(kind):
    save, space = saver(kind), {}
    exec(LOADERS[kind], space)
    for cls in CASES:
        model = fitted(cls)
        data, expected = save(model), answers(model, cls)
        with fastem.patched():
            loaded = space["load"](data)
            assert isinstance(loaded, getattr(fastem, cls.__name__))
            assert_same(answers(loaded, cls), expected)
