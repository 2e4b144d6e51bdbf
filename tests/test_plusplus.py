"""k-means++: scikit-learn's picks for the same random numbers, and who picks where sums tie."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import datasets
from sklearn.cluster import kmeans_plusplus
from threadpoolctl import threadpool_limits

from fastem import KMeans
from fastem.cluster import plusplus
from fastem.cluster.plusplus import Rows, draw_rows

RNG = np.random.default_rng(0)
MIXED = RNG.normal(size=(6, 8))[RNG.integers(6, size=3000)] * 50
DATA = {
    "iris": datasets.load_iris().data,
    "digits": datasets.load_digits().data[:600],
    "integers": RNG.integers(0, 4, (400, 3)).astype(float),
    "binary": RNG.integers(0, 2, (500, 12)).astype(float),
    "continuous": RNG.normal(size=(1500, 5)),
    "far": RNG.normal(size=(3000, 8)) + MIXED,
    "few": RNG.normal(size=(20, 2)),
    "one feature": RNG.exponential(size=(700, 1)),
}
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@pytest.fixture(autouse=True)
def one_blas_thread():
    """As within a fit: float32 sums differ by the number of BLAS's threads."""
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture
def handed(monkeypatch):
    """The fits that scikit-learn's own function made, as they are made."""
    fits, theirs = [], plusplus.scikit_learn_s_rows

    def record(*arguments):
        fits.append(arguments)
        return theirs(*arguments)

    monkeypatch.setattr(plusplus, "scikit_learn_s_rows", record)
    return fits


def rows_of(X, weight=None, n_jobs=1, **settings):
    length = np.sqrt((X.astype(np.float64) ** 2).sum(axis=1).max())
    weight = None if weight is None else weight.astype(X.dtype).astype(np.float64)
    return Rows(X, weight, length, n_jobs, **settings)


@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("data", DATA)
def test_picks_are_scikit_learn_s(data, weighted, dtype):
    """The same rows from the same stream of random numbers, or equal ones, over many seeds."""
    X = (DATA[data] - DATA[data].mean(axis=0)).astype(dtype)
    weight = RNG.uniform(0, 2, len(X)).astype(dtype) if weighted else None
    for seed in range(60):
        k = (3, 8, 15)[seed % 3]
        ours, theirs = np.random.RandomState(seed), np.random.RandomState(seed)
        expected = kmeans_plusplus(X, k, sample_weight=weight, random_state=theirs)[0]
        picked = draw_rows(rows_of(X, weight), k, ours)
        assert_array_equal(X[picked], expected, err_msg=f"seed {seed}")
        assert ours.uniform() == theirs.uniform()


@DTYPES
@pytest.mark.usefixtures("every_instruction_set")
def test_many_centers_of_many_rows(dtype, handed):
    X = RNG.normal(size=(12_001, 19)).astype(dtype)
    weight = RNG.integers(0, 3, len(X)).astype(dtype)
    for given in (None, weight):
        expected = kmeans_plusplus(X, 100, sample_weight=given, random_state=5)[1]
        picked = draw_rows(rows_of(X, given), 100, np.random.RandomState(5))
        assert_array_equal(picked, expected)
    assert not handed


def test_the_guard_hands_over_ties_alone(handed):
    """Rows on a grid tie; others do not, or starts would take longer than scikit-learn's."""
    counts = {}
    for name in ("integers", "continuous", "far"):
        for seed in range(100):
            draw_rows(rows_of(DATA[name]), 8, np.random.RandomState(seed))
        counts[name] = len(handed)
        handed.clear()
    assert counts["continuous"] == counts["far"] == 0
    assert 0 < counts["integers"] < 60


def test_equal_rows_are_no_tie(handed):
    """Whichever of two equal rows becomes a center: the centers are the same."""
    X = np.repeat(RNG.normal(size=(40, 3)), 5, axis=0)
    for seed in range(30):
        expected = kmeans_plusplus(X, 6, random_state=seed)[0]
        assert_array_equal(X[draw_rows(rows_of(X), 6, np.random.RandomState(seed))], expected)
    assert len(handed) < 10


@pytest.mark.parametrize("magnitude", [1e-130, 1e-30, 1e30, 1e140])
def test_any_magnitude(magnitude):
    X = RNG.normal(size=(300, 3)) * magnitude
    expected = draw_rows(rows_of(X / magnitude), 9, np.random.RandomState(1))
    assert_array_equal(draw_rows(rows_of(X), 9, np.random.RandomState(1)), expected)


def test_fewer_distinct_rows_than_centers(handed):
    """What is left to draw from is rounding: scikit-learn's."""
    X = np.repeat([[0.5, 0.1], [1, 1], [-3, 2.0]], 9, axis=0)
    expected = kmeans_plusplus(X, 6, random_state=0)[1]
    assert_array_equal(draw_rows(rows_of(X), 6, np.random.RandomState(0)), expected)
    assert handed


@DTYPES
def test_threads_and_copies_change_nothing(dtype):
    X = RNG.normal(size=(60_000, 11)).astype(dtype)
    picked, sums = [], []
    for n_jobs, keep in [(1, True), (2, True), (4, True), (2, False)]:
        rows = rows_of(X, n_jobs=n_jobs, keep=keep)
        picked.append(draw_rows(rows, 12, np.random.RandomState(0)))
        sums.append(rows.seeding(4).measure([7, 11, 13]))
    for other, sum_left in zip(picked[1:], sums[1:], strict=True):
        assert_array_equal(other, picked[0])
        assert sum_left == sums[0]


def test_rows_about_a_mean_need_no_copy():
    """The mean is taken off on the way."""
    X = RNG.normal(size=(2000, 4)) + 1000
    mean = X.mean(axis=0)
    length = np.sqrt(((X - mean) ** 2).sum(axis=1).max())
    expected = kmeans_plusplus(X - mean, 10, random_state=2)[1]
    rows = Rows(X, None, length, 1, shift=mean, keep=False)
    assert_array_equal(draw_rows(rows, 10, np.random.RandomState(2)), expected)


def test_every_restart_has_the_stream_s_next_numbers():
    """As ten starts of scikit-learn have."""
    X = RNG.normal(size=(300, 4))
    ours, theirs = np.random.RandomState(3), np.random.RandomState(3)
    rows = rows_of(X)
    for k in (5, 5, 2, 30, 1, 5):  # with more trials and fewer than before
        expected = kmeans_plusplus(X, k, random_state=theirs)[1]
        assert_array_equal(draw_rows(rows, k, ours), expected)


def test_negative_weights_are_refused_as_by_scikit_learn():
    weight = np.r_[-1.0, np.ones(19)]
    with pytest.raises(ValueError, match="robabilities are not non-negative"):
        KMeans(3).fit(DATA["few"], sample_weight=weight)
