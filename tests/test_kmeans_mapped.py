"""K-means of data that lie in a file: the bits of data in memory, without a copy of them."""

import tracemalloc

import numpy as np
import pytest
import sklearn.cluster
from numpy.testing import assert_array_equal
from sklearn.base import clone

from fastem import GaussianMixture, KMeans, em
from fastem.cluster.data import lies_in_file
from fastem.cluster.plusplus import Rows


def mapped(path, X, mode="r"):
    np.save(path / "X.npy", X)
    return np.load(path / "X.npy", mmap_mode=mode)


def rows(n, d, dtype=np.float64, seed=0):
    """Return rows of some clusters, which lie far from zero."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(12, d)) * 3 + 1000
    return (means[rng.integers(12, size=n)] + rng.normal(size=(n, d))).astype(dtype)


def same(one, other):
    for name in ("cluster_centers_", "labels_", "inertia_", "n_iter_", "lower_bounds_"):
        assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


CASES = {
    "few features": (KMeans(8, random_state=0), 4000, 2),
    "a plain loop": (KMeans(5, random_state=0), 3001, 7),
    "many clusters": (KMeans(60, random_state=0, max_iter=20), 5003, 24),
    "bounds": (KMeans(40, random_state=0, verbose=0, max_iter=40), 30_000, 16),
    "many features": (KMeans(6, random_state=0), 700, 300),
    "random": (KMeans(9, init="random", n_init=3, random_state=0), 2000, 5),
    "elkan": (KMeans(9, algorithm="elkan", random_state=1), 2000, 5),
    "no copy": (KMeans(9, copy_x=False, random_state=1), 2000, 5),
    "empty clusters": (KMeans(7, init=np.full((7, 3), 1000.0), random_state=0), 900, 3),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CASES)
def test_a_mapped_file_gives_the_bits_of_data_in_memory(name, dtype, tmp_path):
    """For each number of threads, with weights, and where each iteration is watched."""
    kmeans, n, d = CASES[name]
    X = rows(n, d, dtype)
    weight = np.random.default_rng(1).integers(0, 3, n).astype(dtype)
    X_file = mapped(tmp_path, X)
    for given in (None, weight):
        expected = clone(kmeans).fit(X.copy(), sample_weight=given)
        for n_jobs in (1, 2):
            same(clone(kmeans).set_params(n_jobs=n_jobs).fit(X_file, None, given), expected)
    with em.watch(lambda state: None):
        expected = clone(kmeans).fit(X.copy())
        same(clone(kmeans).fit(X_file), expected)


@pytest.mark.parametrize(
    "kmeans",
    [KMeans(4, init=lambda X, k, random_state: X[:k], n_init=1), KMeans(4, algorithm="truncated")],
)
def test_where_samples_about_their_mean_are_needed_a_copy_is_made(kmeans, tmp_path):
    X = rows(1000, 4)
    kmeans = kmeans.set_params(random_state=0)
    same(clone(kmeans).fit(mapped(tmp_path, X)), clone(kmeans).fit(X))
    X[5, 1] = np.nan
    plain = KMeans(4, random_state=0)
    same(clone(plain).fit(mapped(tmp_path, X)), clone(plain).fit(X))


def test_other_types_and_orders_are_converted(tmp_path):
    X = np.round(rows(500, 4) * 10)
    kmeans = KMeans(4, random_state=0)
    expected = clone(kmeans).fit(X)
    for other in (X.astype(np.int32), np.asfortranarray(X), X.astype(">f8")):
        same(clone(kmeans).fit(mapped(tmp_path, other)), expected)


def test_nothing_is_written_into_the_file(tmp_path):
    X = rows(800, 5)
    X_file = mapped(tmp_path, X, "r+")
    KMeans(4, copy_x=False, random_state=0).fit(X_file)
    assert_array_equal(np.load(tmp_path / "X.npy"), X)
    rest = sklearn.cluster.KMeans(4, random_state=0, n_init=1).fit(X)
    ours = KMeans(4, random_state=0).fit(X_file)
    assert_array_equal(rest.labels_, ours.labels_)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("n_clusters", [4, 40])
def test_no_copy_is_made(init, n_clusters, watched, tmp_path):
    """What is kept of a row, its label and some distances, is little beside its features."""
    X = mapped(tmp_path, np.random.default_rng(0).normal(size=(20_000, 200)))
    model = KMeans(n_clusters, init=init, n_init=1, max_iter=3, random_state=0)
    with em.watch(*([lambda state: None] if watched else [])):
        tracemalloc.start()
        model.fit(X)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 0.1 * X.nbytes + 2e6


def test_the_start_of_a_mixture_makes_no_copy_either(tmp_path):
    X = rows(20_000, 60)
    mixture = GaussianMixture(3, covariance_type="diag", max_iter=2, random_state=0, tol=1e9)
    expected = clone(mixture).fit(X)
    X_file = mapped(tmp_path, X)
    tracemalloc.start()
    found = clone(mixture).fit(X_file)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_array_equal(found.means_, expected.means_)
    assert most < 0.3 * X.nbytes + 2e6


def test_what_lies_in_a_file(tmp_path):
    """NumPy's type alone does not tell: copies of a memmap have it, too."""
    X = mapped(tmp_path, rows(60, 3))
    for inside in (X, X[3:], np.asarray(X), X.T, X.view(np.ndarray)[:, :2]):
        assert lies_in_file(inside)
    for outside in (X.copy(), X[[1, 2]], X + 1, np.array(X), rows(60, 3)):
        assert not lies_in_file(outside)


def test_samples_may_be_equal_where_rows_are_not():
    """About a mean far away, rounding takes what they differ by."""
    X, origin = np.array([[1e-20, 1.0], [2e-20, 1.0], [3.0, 1.0]]), np.array([1.0, 0.5])
    about = Rows(X, None, 2.0, 1, origin=origin)
    copied = Rows(X - origin, None, 2.0, 1)
    for one, other in ((0, 1), (0, 2), (1, 1)):
        assert about.equal(one, other) == copied.equal(one, other) == (other != 2)
