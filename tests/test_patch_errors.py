"""Drop-in: what scikit-learn refuses, or warns of, patched classes do likewise, in its words."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import fastem

X = np.random.default_rng(0).normal(size=(20, 3))
COUNTS = np.random.default_rng(0).poisson(2.0, size=(20, 6)).astype(float)


def changed(array, value):
    array = array.copy()
    array[3, 1] = value
    return array


def data(good):
    """Return inputs to `fit` by name."""
    return {
        "good": good,
        "nan": changed(good, np.nan),
        "inf": changed(good, np.inf),
        "one dimension": good[0],
        "three dimensions": good[None],
        "empty": good[:0],
        "no features": good[:, :0],
        "one row": good[:1],
        "two rows": good[:2],
        "text": good.astype(str).astype(object),
        "words": np.full(good.shape, "word"),
        "complex": good + 1j,
        "None": None,
        "number": 3.0,
        "list": good.tolist(),
        "integers": good.astype(int),
        "sparse": sp.csr_matrix(good),
        "negative": changed(good, -1.0),
        "negative sparse": sp.csr_matrix(changed(good, -1.0)),
        "duplicates": np.repeat(good[:1], 20, axis=0),
        "zeros": np.zeros_like(good),
        "bool": good > 0,
        "ragged": [[1.0, 2.0], [3.0]],
    }


CASES = [
    (GaussianMixture(3, random_state=0), X),
    (GaussianMixture(3, random_state=0, reg_covar=0), X),
    (GaussianMixture(3, covariance_type="diag", random_state=0), X),
    (KMeans(3, random_state=0), X),
    (KMeans(3, random_state=0, init="random", n_init=2), X),
    (LatentDirichletAllocation(3, random_state=0, max_iter=2), COUNTS),
    (LatentDirichletAllocation(3, random_state=0, learning_method="online", max_iter=2), COUNTS),
]
CALLS = [
    (model, good, name) for model, good in CASES for name in data(good)
]  # one test for each, so that a difference names itself


def outcome(call):
    """Return an error's kind and words, or None, and the warnings'."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        try:
            call()
            error = None
        except Exception as caught:
            error = (type(caught), str(caught))
    # Whether so few rows converge is the arithmetic's affair, and other tests'.
    kept = {(w.category, str(w.message)) for w in record}
    return error, {w for w in kept if w[0] is not ConvergenceWarning and w[0] is not RuntimeWarning}


def compare(call):
    expected = outcome(call)
    with fastem.patched():
        result = outcome(call)
    assert result == expected


@pytest.mark.parametrize(
    ("model", "good", "name"), CALLS, ids=lambda x: x if type(x) is str else ""
)
def test_fit(model, good, name):
    compare(lambda: clone(model).fit(data(good)[name]))


READS = [
    (model, good, method, name)
    for model, good in (CASES[0], CASES[3], CASES[5])
    for method in ("predict", "predict_proba", "score_samples", "transform", "score", "perplexity")
    if hasattr(model, method)
    for name in data(good)
]


@pytest.mark.parametrize(
    ("model", "good", "method", "name"), READS, ids=lambda x: x if type(x) is str else ""
)
def test_reading(model, good, method, name):
    model = clone(model).fit(good)
    compare(lambda: getattr(model, method)(data(good)[name]))


@pytest.mark.parametrize("case", [0, 3, 5])
def test_reading_without_a_fit_and_of_other_features(case):
    model, good = CASES[case]
    compare(lambda: clone(model).score(good))
    model = clone(model).fit(good)
    compare(lambda: model.score(good[:, :2]))
    compare(lambda: model.score())


@pytest.mark.parametrize(
    "weights",
    [
        -np.ones(20),
        np.r_[-1.0, np.ones(19)],
        np.zeros(20),
        np.full(20, np.nan),
        np.ones(3),
        np.ones((20, 2)),
        "a",
        2.0,
        np.full(20, 1e-300),
    ],
    ids=["negative", "one negative", "zero", "nan", "short", "wide", "text", "number", "tiny"],
)
@pytest.mark.parametrize("init", ["k-means++", "random", X[:3]], ids=["++", "random", "given"])
def test_weights_of_kmeans(weights, init):
    compare(lambda: KMeans(3, init=init, n_init=1, random_state=0).fit(X, sample_weight=weights))
    model = KMeans(3, init=init, n_init=1, random_state=0).fit(X)
    compare(lambda: model.score(X, sample_weight=weights))


PARAMETERS = [
    (KMeans, {"init": X[:2]}),
    (KMeans, {"init": X[:3, :2]}),
    (KMeans, {"init": np.full((3, 3), np.nan)}),
    (KMeans, {"init": lambda X, k, random_state: X[:2]}),
    (KMeans, {"n_init": 0}),
    (KMeans, {"init": X[:3], "n_init": 4}),
    (KMeans, {"tol": -1}),
    (KMeans, {"algorithm": "full"}),
    (KMeans, {"n_clusters": 21}),
    (KMeans, {"n_clusters": 1, "algorithm": "elkan"}),
    (GaussianMixture, {"n_components": 21}),
    (GaussianMixture, {"weights_init": [0.5, 0.5]}),
    (GaussianMixture, {"weights_init": [0.5, 0.5, 0.5]}),
    (GaussianMixture, {"weights_init": [-0.5, 0.5, 1.0]}),
    (GaussianMixture, {"means_init": X[:2]}),
    (GaussianMixture, {"means_init": np.full((3, 3), np.nan)}),
    (GaussianMixture, {"precisions_init": np.ones((3, 3, 3))}),
    (GaussianMixture, {"precisions_init": -np.eye(3)}),
    (GaussianMixture, {"precisions_init": -np.ones((3, 3)), "covariance_type": "diag"}),
    (GaussianMixture, {"reg_covar": -1}),
    (GaussianMixture, {"init_params": "x"}),
    (LatentDirichletAllocation, {"n_components": 0}),
    (LatentDirichletAllocation, {"learning_decay": 2.0}),
    (LatentDirichletAllocation, {"topic_word_prior": -1.0}),
    (LatentDirichletAllocation, {"batch_size": 0}),
]


@pytest.mark.parametrize(("cls", "parameters"), PARAMETERS)
def test_parameters(cls, parameters):
    size = "n_clusters" if cls is KMeans else "n_components"
    good = COUNTS if cls is LatentDirichletAllocation else X
    compare(lambda: cls(**{size: 3, "random_state": 0} | parameters).fit(good))
