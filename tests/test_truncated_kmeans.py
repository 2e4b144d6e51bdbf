"""KMeans(algorithm='truncated'): a few centers for each sample, and an exact end."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from fastem import Blocks, KMeans, em
from fastem.cluster.lloyd import KMeansBlock, KMeansEM, KMeansParams
from fastem.cluster.truncated import TruncatedKMeansEM

K, D = 80, 6


def clusters(n=8000, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    means = 3 * rng.normal(size=(K, D))
    return (means[rng.integers(K, size=n)] + rng.normal(size=(n, D))).astype(dtype)


def squared_distances(X, centers):
    return ((X[:, None].astype(np.float64) - centers) ** 2).sum(axis=2)


@pytest.mark.usefixtures("every_instruction_set")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_e_step_sums_the_samples_of_the_best_centers_that_it_compares(dtype, weighted):
    X = clusters(1500, dtype=dtype)
    weight = np.random.default_rng(1).uniform(0, 2, len(X)) if weighted else None
    block = KMeansBlock(X, weight)
    model = TruncatedKMeansEM(KMeansEM(0.0, dtype, 2), 300, 0)
    params = model.begin(KMeansParams(X[:K].copy(), len(X)))
    first = model.e_step(params, block, model.first_state(params, block))[1]
    params = params._replace(centers=params.centers + dtype(0.2), step=3)
    found, kept = model.e_step(params, block, first)
    distances = squared_distances(X, params.centers)
    labels = kept[:, 0]
    own = np.take_along_axis(distances, labels[:, None].astype(np.int64), axis=1)[:, 0]
    near = params.near[first[:, 0]].astype(np.int64)
    assert np.all(own <= np.take_along_axis(distances, near, axis=1).min(axis=1) + 1e-3)
    assert np.mean(own <= distances.min(axis=1) + 1e-3) > 0.9
    weight = np.ones(len(X)) if weight is None else weight
    tolerance = 1e-10 if dtype == np.float64 else 1e-4
    assert_allclose(-found.bound, weight @ own, rtol=tolerance)
    rows = np.stack([weight[labels == k] @ X[labels == k] for k in range(K)])
    assert_allclose(found.rows, rows, rtol=tolerance, atol=tolerance * 100)
    assert_allclose(found.weights, np.bincount(labels, weight, K), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_fit_ends_at_the_inertia_of_lloyd(dtype):
    X = clusters(dtype=dtype)
    lloyd, kmeans = (
        KMeans(K, algorithm=algorithm, random_state=0).fit(X)
        for algorithm in ("lloyd", "truncated")
    )
    assert kmeans.inertia_ < 1.002 * lloyd.inertia_
    distances = squared_distances(X, kmeans.cluster_centers_)
    assert_array_equal(kmeans.labels_, distances.argmin(axis=1))
    assert_allclose(kmeans.inertia_, distances.min(axis=1).sum(), rtol=1e-5)
    assert np.all(np.diff(kmeans.lower_bounds_) > -1e-9 * abs(kmeans.lower_bound_))
    assert_array_equal(kmeans.predict(X), kmeans.labels_)


def test_the_same_bits_for_every_number_of_threads_and_after_a_checkpoint(tmp_path):
    X = clusters(20_000)
    settings = {"algorithm": "truncated", "random_state": 0, "n_init": 2, "init": "random"}
    one, two = (KMeans(K, n_jobs=n, **settings).fit(X) for n in (1, 2))
    assert_array_equal(one.cluster_centers_, two.cluster_centers_)

    class Killed(Exception):
        pass

    def kill(state):
        if state.init == 1 and state.iteration == 3:
            raise Killed

    checkpoint = em.Checkpoint(tmp_path / "truncated.checkpoint", iterations=1)
    with pytest.raises(Killed), em.watch(kill):
        KMeans(K, **settings).fit(X, checkpoint=checkpoint)
    again = KMeans(K, **settings).fit(X, checkpoint=checkpoint)
    assert_array_equal(again.cluster_centers_, one.cluster_centers_)
    assert_array_equal(again.labels_, one.labels_)


def test_blocks_end_where_an_array_does():
    X = clusters(6000)
    init = KMeans(K, random_state=0, max_iter=2).fit(X).cluster_centers_
    settings = {"algorithm": "truncated", "init": init, "random_state": 0, "tol": 0}
    weight = np.random.default_rng(0).integers(1, 4, size=len(X)).astype(float)
    whole = KMeans(K, **settings).fit(X, sample_weight=weight)
    blocks = KMeans(K, **settings).fit(Blocks.from_arrays(X, weight, batch_rows=1100))
    # About means that differ by rounding other centers are drawn.
    assert_allclose(blocks.inertia_, whole.inertia_, rtol=0.01)
    assert not hasattr(blocks, "labels_")


@pytest.mark.parametrize("max_iter", [1, 2, 4])
def test_few_iterations_and_clusters_that_nobody_is_in(max_iter):
    X = clusters(900)
    init = np.vstack([X[:60], np.full((20, D), 1e4)])
    kmeans = KMeans(K, algorithm="truncated", init=init, max_iter=max_iter, random_state=0).fit(X)
    assert kmeans.n_iter_ <= max_iter
    assert len(np.unique(kmeans.labels_)) == K
    for k in (1, 2):
        kmeans = KMeans(k, algorithm="truncated", random_state=0).fit(X)
        lloyd = KMeans(k, random_state=0).fit(X)
        assert_allclose(kmeans.inertia_, lloyd.inertia_, rtol=1e-3)


def test_a_cluster_for_each_sample_is_the_end():
    # The inertia is 0 from the first E-step on, and cannot fall by a share of it.
    X = clusters(30)
    kmeans = KMeans(30, algorithm="truncated", init=X, random_state=0).fit(X)
    assert kmeans.inertia_ < 1e-20
    assert kmeans.n_iter_ <= 7


@pytest.mark.parametrize("scale", [1e-160, 1e-150, 1e-20, 1e-10, 1e10, 1e150])
def test_the_unit_of_the_features_does_not_matter(scale):
    X = clusters(4000)
    kmeans = KMeans(K, algorithm="truncated", init=X[:K] * scale, random_state=0).fit(X * scale)
    plain = KMeans(K, algorithm="truncated", init=X[:K], random_state=0).fit(X)
    centers = kmeans.cluster_centers_ / scale
    inertia = squared_distances(X, centers).min(axis=1).sum()
    assert_allclose(inertia, plain.inertia_, rtol=0.02)
    assert kmeans.n_iter_ < 2 * plain.n_iter_


def test_bad_input_is_refused():
    X = clusters(300)
    kmeans = KMeans(5, algorithm="truncated")
    with pytest.raises(ValueError, match="'truncated' is not for sparse X: take 'lloyd'"):
        kmeans.fit(sp.csr_array(X))
    with pytest.raises(ValueError, match="'truncated' is not for sparse X"):
        kmeans.fit(Blocks.from_arrays(sp.csr_array(X), batch_rows=100))
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="'truncated' is not for missing values"):
        kmeans.fit(X)
    message = r"^block 1, row 40: algorithm='truncated' is not for missing values: take 'lloyd'"
    X[3], X[140, 1] = X[4], np.nan
    with pytest.raises(ValueError, match=message):
        kmeans.fit(Blocks.from_arrays(X, batch_rows=100))
