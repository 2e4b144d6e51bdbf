"""KMeans of dense doubles: float finds the nearest centers, and decides nothing that double would
decide otherwise."""

import numpy as np
import pytest
import sklearn.cluster
from numpy.testing import assert_array_equal

from fastem import KMeans
from fastem._kernels import kmeans as kernel
from fastem.cluster.lloyd import KMeansBlock, labels_of


def nearest(X, centers):
    """The labels by sums of squared differences, the first of equals."""
    gaps = X[:, None] - centers
    return np.einsum("nkd,nkd->nk", gaps, gaps).argmin(axis=1)


def twins(d, k, apart, n=1203):
    """Rows, and centers of which every two are nearly the same."""
    rng = np.random.default_rng(0)
    centers = np.repeat(rng.normal(size=((k + 1) // 2, d)), 2, axis=0)[:k]
    centers[::2] += apart * rng.normal(size=centers[::2].shape)
    return rng.normal(size=(n, d)), centers


@pytest.mark.parametrize("d", [5, 8, 13, 16, 17, 33, 130])
@pytest.mark.parametrize("k", [8, 9, 41])
@pytest.mark.parametrize("apart", [1.0, 1e-4, 1e-9])
@pytest.mark.usefixtures("every_instruction_set")
def test_double_decides_between_near_centers(d, k, apart):
    """No row, a few, or nearly all are open: the labels are those of differences."""
    X, centers = twins(d, k, apart)
    expected = nearest(X, centers)
    assert apart == 1 or min(np.bincount(expected % 2)) > 100
    assert_array_equal(labels_of(X, centers, 1), expected)
    labels, job = np.full(len(X), -1, np.int32), KMeansBlock(X, None).job(centers)
    rows, weights, changed, _, _ = kernel.assign(job, labels, 2, True)
    assert_array_equal(labels, expected)
    assert changed == len(X)
    assert_array_equal(weights, np.bincount(expected, minlength=k))
    np.testing.assert_allclose(rows, np.eye(k)[expected].T @ X, rtol=0, atol=1e-11)


@pytest.mark.usefixtures("every_instruction_set")
def test_the_first_of_equal_centers_is_kept():
    """On a grid, where float and double see the same ties, and with centers that occur twice."""
    X = np.random.default_rng(0).integers(-3, 4, (2001, 6)).astype(float)
    centers = np.vstack([X[:9], X[:9]])
    labels = np.full(len(X), -1, np.int32)
    kernel.assign(KMeansBlock(X, None).job(centers), labels, 1)
    assert_array_equal(labels, nearest(X, centers))


@pytest.mark.usefixtures("every_instruction_set")
def test_as_many_labels_are_open_as_there_are_ties():
    """What float cannot decide is counted only where double cannot, either."""
    X = np.random.default_rng(0).integers(-3, 4, (2001, 6)).astype(float)
    near = X + 1e-9 * np.random.default_rng(1).normal(size=X.shape)
    centers, gaps = X[:20], X[:, None] - X[:20]
    squares = np.sort(np.einsum("nkd,nkd->nk", gaps, gaps), axis=1)
    tied = np.count_nonzero(squares[:, 0] == squares[:, 1])
    assert 100 < tied < 1900
    for rows, expected in ((X, tied), (near, 0)):
        labels, job = np.full(len(X), -1, np.int32), KMeansBlock(rows, None).job(centers)
        n_open = kernel.assign(job, labels, 1, True, False, None, 1e-13)[4]
        # centers are rows, which are at distance 0: no center is as near as they are
        assert n_open == expected if expected else n_open < 5


@pytest.mark.parametrize("magnitude", [1e-100, 1e-30, 1e30, 1e100])
@pytest.mark.parametrize("rows_alone", [False, True])
@pytest.mark.usefixtures("every_instruction_set")
def test_any_magnitude(magnitude, rows_alone):
    """Lengths that float cannot square, or that differ by more than its range."""
    X, centers = twins(7, 12, 1.0, n=300)
    if rows_alone:
        X[::3] *= magnitude
        far = abs(magnitude) > 1
        scaled = X[::3] / (magnitude if far else 1)
        expected = nearest(X, centers)
        if far:  # |c|^2 counts for nothing
            expected[::3] = (-scaled @ centers.T).argmin(axis=1)
    else:
        expected = nearest(X, centers)
        X, centers = X * magnitude, centers * magnitude
    assert_array_equal(labels_of(X, centers, 1), expected)


@pytest.mark.parametrize(("n", "d", "k"), [(3000, 24, 40), (700, 150, 9)])
@pytest.mark.usefixtures("every_instruction_set")
def test_whole_fits_are_scikit_learn_s(n, d, k):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(k, d))[rng.integers(k, size=n)] + 2 * rng.normal(size=(n, d)) + 5
    ours = KMeans(k, random_state=0, max_iter=30).fit(X)
    theirs = sklearn.cluster.KMeans(k, random_state=0, max_iter=30).fit(X)
    assert ours.n_iter_ == theirs.n_iter_
    assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-12)
