"""``skl2onnx.to_onnx``: labels and scores of the graph are the estimator's."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import BayesianGaussianMixture, GaussianMixture, KMeans

skl2onnx = pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")

KINDS = ["full", "tied", "diag", "spherical"]
NEAR = {np.float32: 2e-4, np.float64: 1e-9}


def data(dtype, shift=0.0):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) * [1.0, 0.3, 2.0] + rng.integers(3, size=(400, 1)) * 4
    return (X + shift).astype(dtype)


def run(model, X):
    graph = skl2onnx.to_onnx(model, X[:1])
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (x,) = session.get_inputs()
    label, scores = session.get_outputs()
    assert label.name == "label"
    n_columns = scores.shape[1]
    labels, scores = session.run(None, {x.name: X})
    assert (labels.ndim, scores.ndim) == (1, 2)
    assert scores.shape[1] == n_columns
    return labels, scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("kind", KINDS)
def test_gaussian_mixture(kind, shift, dtype):
    X = data(dtype, shift)
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    labels, probabilities = run(model, X)
    assert probabilities.dtype == dtype
    np.testing.assert_array_equal(labels, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=NEAR[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_bayesian_gaussian_mixture(kind, dtype):
    X = data(dtype)
    model = BayesianGaussianMixture(4, covariance_type=kind, random_state=0, tol=1e-2).fit(X)
    labels, probabilities = run(model, X)
    np.testing.assert_array_equal(labels, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=NEAR[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_kmeans(shift, dtype):
    X = data(dtype, shift)
    model = KMeans(3, random_state=0).fit(X)
    labels, distances = run(model, X)
    assert distances.dtype == dtype
    np.testing.assert_array_equal(labels, model.predict(X))
    expected = np.linalg.norm(X[:, None].astype(float) - model.cluster_centers_, axis=2)
    np.testing.assert_allclose(distances, expected, atol=2e-3 if dtype == np.float32 else 1e-6)


def test_a_sample_at_its_center_is_at_distance_zero():
    X = np.array([[0.1, 0.7], [0.1, 0.7], [5.3, 2.9], [5.3, 2.9]], np.float32)
    _, distances = run(KMeans(2, random_state=0).fit(X), X)
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-3)


@pytest.mark.parametrize("last", [GaussianMixture(3, random_state=0), KMeans(3, random_state=0)])
def test_pipeline(last):
    X = data(np.float64)
    model = make_pipeline(StandardScaler(), last).fit(X)
    labels, _ = run(model, X)
    np.testing.assert_array_equal(labels, model.predict(X))


def test_whole_numbers():
    X = np.random.default_rng(0).poisson(3, (200, 2))
    model = GaussianMixture(2, random_state=0).fit(X)
    labels, probabilities = run(model, X)
    np.testing.assert_array_equal(labels, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-5)


def test_a_component_of_weight_zero_has_no_part():
    X = data(np.float64)
    model = GaussianMixture(3, random_state=0).fit(X)
    model.weights_ = np.array([0.5, 0.0, 0.5])
    labels, probabilities = run(model, X)
    np.testing.assert_array_equal(labels, model.predict(X))
    assert np.all(probabilities[:, 1] == 0)


def test_what_is_not_fitted_is_an_error():
    with pytest.raises(NotFittedError):
        skl2onnx.to_onnx(GaussianMixture(2), data(np.float64)[:1])
