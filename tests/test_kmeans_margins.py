"""KMeans of dense samples in one call: rows with a margin keep the label of a full search."""

import signal
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastem import KMeans, em
from fastem._kernels import kmeans as kernel
from fastem.cluster import lloyd
from fastem.cluster.bounds import Bounds
from fastem.cluster.lloyd import KMeansBlock, KMeansEM, KMeansParams
from fastem.cluster.one_call import fit_in_one_call

ATTRIBUTES = (
    "cluster_centers_", "labels_", "inertia_", "n_iter_", "converged_", "lower_bound_",
    "lower_bounds_",
)  # fmt: skip


def samples(n, d, k, kind="continuous", seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))
    if kind == "grid":  # many rows are as near to one center as to another
        X = np.round(X)
    if kind == "far":
        X[::100] *= 1e4
    return X


@pytest.mark.parametrize("kind", ["continuous", "grid", "far"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(4000, 2, 5), (4001, 5, 3), (3007, 6, 8), (5000, 17, 40), (2000, 130, 9)]
)
@pytest.mark.usefixtures("every_instruction_set")
def test_the_bits_are_those_of_the_driver(n, d, k, dtype, kind):
    """The driver searches all rows, or keeps bounds of another kind."""
    X = samples(n, d, k, kind).astype(dtype)
    for settings in ({"tol": 0}, {"max_iter": 7}, {"init": "random", "n_init": 2}):
        model = KMeans(k, random_state=0, **settings).fit(X)
        found = {name: getattr(model, name) for name in ATTRIBUTES}
        with em.watch(lambda state: None):
            model.fit(X)
        for name in ATTRIBUTES:
            assert_array_equal(found[name], getattr(model, name), err_msg=name, strict=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("d", "k"), [(9, 12), (40, 60)])
def test_the_bits_are_those_of_the_driver_with_bounds(monkeypatch, d, k, dtype):
    """One group of centers, and several."""
    monkeypatch.setattr(lloyd, "_LEAST_BOUNDED", 0)
    seen, at = [], Bounds.at
    monkeypatch.setattr(Bounds, "at", lambda *a: seen.append(1) or at(*a))
    X = samples(20_000, d, k).astype(dtype)
    model = KMeans(k, random_state=0, tol=0).fit(X)
    found = {name: getattr(model, name) for name in ATTRIBUTES}
    assert not seen
    with em.watch(lambda state: None):
        model.fit(X)
    assert len(seen) > 3
    for name in ATTRIBUTES:
        assert_array_equal(found[name], getattr(model, name), err_msg=name, strict=True)


@pytest.mark.usefixtures("every_instruction_set")
def test_threads_change_no_bit():
    X = samples(60_000, 8, 8)
    found = [KMeans(8, random_state=0, n_jobs=n_jobs).fit(X) for n_jobs in (1, 2, 3)]
    for other in found[1:]:
        for name in ATTRIBUTES:
            assert_array_equal(getattr(found[0], name), getattr(other, name), strict=True)


@pytest.mark.parametrize("magnitude", [1e-120, 1e-60, 1.0, 1e60, 1e120])
@pytest.mark.usefixtures("every_instruction_set")
def test_first_centers_far_away(magnitude):
    """They move so far at once that no margin may be left."""
    X = samples(3000, 6, 9)
    init = X[:9] + np.arange(9)[:, None] * np.array([1e3, 0, 0, 0, 0, 0])
    init[0] = -1e9
    fits = [(KMeans, X, init), (KMeans, X * magnitude, init * magnitude)]
    labels = []
    for cls, data, centers in fits:
        model = cls(9, init=centers, n_init=1, tol=0, max_iter=50).fit(data)
        with em.watch(lambda state: None):
            expected = cls(9, init=centers, n_init=1, tol=0, max_iter=50).fit(data)
        assert_array_equal(model.labels_, expected.labels_)
        labels.append(model.labels_)
    assert len(np.unique(labels[0])) == 9


@pytest.mark.parametrize("k", [3, 12])
@pytest.mark.usefixtures("every_instruction_set")
def test_the_last_labels_are_those_of_a_full_search(k):
    """Also after a hundred iterations in which margins were moved and not made anew."""
    X = samples(20_000, 8, k)
    block, model = KMeansBlock(X, None), KMeansEM(0.0, X.dtype, 1)
    params = KMeansParams(X[:k], len(X))
    result = fit_in_one_call(model, block, params, model.first_state(params, block), 1000)
    assert result.converged
    full = np.full(len(X), -1, np.int32)
    kernel.assign(block.job(result.params.centers), full, 1)
    assert_array_equal(result.states[0].labels, full)


def test_weights_are_summed_in_full():
    X = samples(30_000, 8, 12)
    weight = np.random.default_rng(1).integers(1, 4, len(X)).astype(float)
    model = KMeans(12, random_state=0, tol=0).fit(X, sample_weight=weight)
    twice = KMeans(12, init=model.cluster_centers_, n_init=1, max_iter=1, tol=0)
    twice.fit(np.repeat(X, weight.astype(int), axis=0))
    np.testing.assert_allclose(twice.inertia_, model.inertia_, rtol=1e-12)


@pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="signals are sent to threads on POSIX"
)
def test_an_interrupt_leaves_the_last_whole_iteration():
    """Of a single start, too: the fit is as good as it has become."""
    X = samples(200_000, 16, 32)
    model = KMeans(32, init=X[:32] + 3, n_init=1, tol=0, max_iter=100_000, n_jobs=1)
    model.fit(X[:50_000])  # warm
    del model.cluster_centers_
    main = threading.main_thread().ident
    timer = threading.Timer(0.4, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()

    def fit_for_ever():
        while True:
            model.fit(X)

    with pytest.raises(KeyboardInterrupt):
        fit_for_ever()
    timer.join()
    assert model.cluster_centers_.shape == (32, 16)
    assert model.n_iter_ >= 1
    assert len(model.lower_bounds_) == model.n_iter_
