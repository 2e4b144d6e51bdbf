"""KMeans of sparse rows: float32 decides no label that double would decide otherwise."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.cluster
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import KMeans, em
from fastem._kernels import kmeans as kernel
from fastem.cluster.lloyd import KMeansBlock, KMeansEM, KMeansParams, labels_of
from fastem.cluster.one_call import fit_in_one_call, in_one_call

DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def sparse_data(n=600, d=300, share=0.05, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return with_int32(sp.random_array((n, d), density=share, format="csr", rng=rng).astype(dtype))


def with_int32(X):
    """What the estimator makes of sparse X before it gets to a kernel."""
    X = sp.csr_array(X)
    X.eliminate_zeros()
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X


def nearest(X, centers):
    """The labels by sums of squared differences, in double."""
    gaps = X.toarray().astype(float)[:, None] - centers.astype(float)
    return np.einsum("nkd,nkd->nk", gaps, gaps).argmin(axis=1)


@DTYPES
@pytest.mark.parametrize("k", [1, 5, 16, 17, 100, 300])
@pytest.mark.usefixtures("every_instruction_set")
def test_labels_are_the_nearest_centers(dtype, k):
    """Any number of vectors of centers; so few rows, too, that there is no screen."""
    X = sparse_data(n=200, d=150, dtype=dtype).multiply(np.arange(200)[:, None] != 7)
    X = with_int32(X.astype(dtype))
    centers = np.random.default_rng(1).uniform(0, 0.1, (k, 150)).astype(dtype)
    assert_array_equal(labels_of(X, centers, 1), nearest(X, centers))
    assert_array_equal(labels_of(X[5:8], centers, 1), nearest(X[5:8], centers))


@pytest.mark.parametrize("apart", [1e-7, 1e-9, 1e-12])
@pytest.mark.usefixtures("every_instruction_set")
def test_double_decides_between_near_centers(apart):
    """Centers that are the same in float32: the nearer one is found, by either way to fit."""
    X = sparse_data(n=400)
    rng = np.random.default_rng(2)
    centers = np.repeat(rng.uniform(0, 0.1, (20, 300)), 2, axis=0)
    centers[::2] += apart * rng.normal(size=(20, 300))
    expected = nearest(X, centers)
    assert np.count_nonzero(expected % 2) > 20
    assert np.count_nonzero(expected % 2 == 0) > 20
    assert_array_equal(labels_of(X, centers, 1), expected)
    block, model = KMeansBlock(X, None), KMeansEM(0.0, X.dtype, 1)
    params = KMeansParams(centers, 0)
    state = model.first_state(params, block)
    kernel.lloyd_sparse(
        block.job(centers), state.labels, block.squares, 400.0, 0.0, 1, block.length, 1
    )
    assert_array_equal(state.labels, expected)


@pytest.mark.parametrize(("length", "unit"), [(1e4, 1.0), (1e12, 1e-40)])
@pytest.mark.usefixtures("every_instruction_set")
def test_double_decides_where_rows_are_much_longer_than_centers(length, unit):
    """The rounding of a product counts, even if nothing is left of the centers' own squares."""
    X = sparse_data(n=400)
    rng = np.random.default_rng(2)
    centers = np.repeat(rng.uniform(0, 0.1, (20, 300)), 2, axis=0)
    centers[::2] += 1e-7 * rng.normal(size=(20, 300))
    X, centers = with_int32(X * length), centers * unit
    exact = centers.astype(np.longdouble)
    scores = (exact**2).sum(axis=1) - 2 * X.toarray().astype(np.longdouble) @ exact.T
    assert_array_equal(labels_of(X, centers, 1), scores.argmin(axis=1))


@pytest.mark.usefixtures("every_instruction_set")
def test_the_first_of_equal_centers_is_kept():
    """Among hundreds of pairs that are the same, and rows that are the same."""
    X = sparse_data(n=300)
    X = with_int32(sp.vstack([X, X]))
    centers = X[:70].toarray()
    labels = labels_of(X, np.vstack([centers, centers]), 2)
    assert_array_equal(labels, nearest(X, centers))


@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.usefixtures("every_instruction_set")
def test_a_whole_fit_is_the_driver_s(dtype, weighted):
    """Watched or not: the same labels, bounds and centers, up to the rounding of sums."""
    X = sparse_data(dtype=dtype)
    weight = np.random.default_rng(1).integers(0, 3, 600).astype(float) if weighted else None
    settings = {"init": X[:7].toarray(), "max_iter": 25, "tol": 0}
    alone = KMeans(7, **settings).fit(X, sample_weight=weight)
    with em.watch(lambda _: None):
        watched = KMeans(7, **settings).fit(X, sample_weight=weight)
    theirs = sklearn.cluster.KMeans(7, **settings).fit(X, sample_weight=weight)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    for other in (watched, theirs):
        assert_array_equal(alone.labels_, other.labels_)
        assert alone.n_iter_ == other.n_iter_ > 5
        assert_allclose(alone.inertia_, other.inertia_, rtol=tolerance)
        assert_allclose(alone.cluster_centers_, other.cluster_centers_, rtol=0, atol=tolerance)
    assert_allclose(alone.lower_bounds_, watched.lower_bounds_, rtol=tolerance)
    assert alone.cluster_centers_.dtype == dtype


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-3])
def test_a_fit_stops_when_scikit_learn_s_does(tol):
    """By the shift of the centers, a sum over all of the table."""
    X = sparse_data(n=900)
    settings = {"init": X[:9].toarray(), "tol": tol, "max_iter": 100}
    ours, theirs = KMeans(9, **settings).fit(X), sklearn.cluster.KMeans(9, **settings).fit(X)
    assert ours.n_iter_ == theirs.n_iter_
    assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=0, atol=1e-13)


def test_a_cluster_without_rows_is_filled_as_before():
    """The driver takes over where a cluster has lost its rows."""
    X = sparse_data()
    init = np.vstack([X[:3].toarray(), np.full((1, 300), 9.0)])
    block, model = KMeansBlock(X, None), KMeansEM(0.0, X.dtype, 1)
    params = KMeansParams(init, 0)
    assert in_one_call(block, 4)
    assert fit_in_one_call(model, block, params, model.first_state(params, block), 5) is None
    ours = KMeans(4, init=init, max_iter=9).fit(X)
    theirs = sklearn.cluster.KMeans(4, init=init, max_iter=9).fit(X)
    assert_array_equal(ours.labels_, theirs.labels_)
    assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=0, atol=1e-13)


@pytest.mark.parametrize("magnitude", [1e-100, 1e-30, 1e30, 1e150])
def test_any_magnitude(magnitude):
    """Values that float32 cannot hold change no label, in rows, in centers, and in both."""
    X = sparse_data(n=200)
    centers = X[:8].toarray()
    expected = labels_of(X, centers, 1)
    assert_array_equal(labels_of(X * magnitude, centers * magnitude, 1), expected)
    fitted = KMeans(8, init=centers * magnitude, max_iter=5).fit(X * magnitude)
    near = KMeans(8, init=centers, max_iter=5).fit(X)
    assert_array_equal(fitted.labels_, near.labels_)
    far = np.vstack([centers, np.full((1, 300), magnitude)]) if magnitude > 1 else centers
    assert_array_equal(labels_of(X, far, 1), expected)


@pytest.mark.parametrize("k", [3, 40])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.skipif(not fastem.has_openmp(), reason="this build has one thread")
def test_bits_do_not_depend_on_threads(k, weighted):
    """Rows are shared out by position, features as well; sums follow the order of the rows."""
    X = sparse_data(n=9_000, d=2_000, share=0.02)
    weight = np.random.default_rng(1).uniform(0, 2, 9_000) if weighted else None
    settings = {"init": X[:k].toarray(), "max_iter": 12, "tol": 0}
    expected = KMeans(k, n_jobs=1, **settings).fit(X, sample_weight=weight)
    for n_jobs in (2, 3, 7):
        fitted = KMeans(k, n_jobs=n_jobs, **settings).fit(X, sample_weight=weight)
        assert_array_equal(fitted.labels_, expected.labels_)
        assert_array_equal(fitted.cluster_centers_, expected.cluster_centers_)
        assert fitted.lower_bounds_ == expected.lower_bounds_
        with em.watch(lambda _: None):
            watched = KMeans(k, n_jobs=n_jobs, **settings).fit(X, sample_weight=weight)
        assert_array_equal(watched.labels_, expected.labels_)
