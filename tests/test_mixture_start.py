"""A mixture's default start: the labels of scikit-learn's KMeans, found by our own kernel."""

import tracemalloc

import numpy as np
import pytest
import sklearn.cluster
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import datasets
from sklearn.mixture import GaussianMixture as Peer

from fastem import BayesianGaussianMixture, GaussianMixture
from fastem.cluster import start
from fastem.cluster.start import clusters_like_scikit_learn

RNG = np.random.default_rng(0)
FAR_CENTERS = RNG.normal(size=(6, 8))[RNG.integers(6, size=3000)] * 50
DATA = {
    "iris": datasets.load_iris().data,
    "wine": datasets.load_wine().data,
    "digits": datasets.load_digits().data[:700],
    "integers": RNG.integers(0, 4, (400, 3)).astype(float),
    "binary": RNG.integers(0, 2, (500, 12)).astype(float),
    "counts": RNG.poisson(3, (600, 4)).astype(float),
    "continuous": RNG.normal(size=(1500, 5)),
    "far apart": RNG.normal(size=(3000, 8)) + FAR_CENTERS,
    "far from 0": RNG.normal(size=(1000, 6)) + 1e5,
    "few": RNG.normal(size=(20, 2)),
    "many features": RNG.normal(size=(300, 150)),
    "two points": np.repeat([[0.1, 0.2], [3.0, 4.0]], 20, axis=0),
}
ROUNDED = {"iris", "digits", "integers", "binary", "counts", "two points"}


class Theirs(sklearn.cluster.KMeans):
    """scikit-learn's, which counts its fits."""

    n_fits = 0

    def fit(self, *arguments, **settings):
        Theirs.n_fits += 1
        return super().fit(*arguments, **settings)


@pytest.fixture
def handed(monkeypatch):
    """Returns how many fits were scikit-learn's since it was last asked."""
    monkeypatch.setattr(start, "KMeans", Theirs)
    Theirs.n_fits = 0

    def count():
        n_fits, Theirs.n_fits = Theirs.n_fits, 0
        return n_fits

    return count


def expected_labels(X, k, weight, seed):
    kmeans = sklearn.cluster.KMeans(k, n_init=1, random_state=np.random.RandomState(seed))
    return kmeans.fit(X, sample_weight=weight).labels_


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", DATA)
def test_labels_are_scikit_learn_s(name, weighted, handed):
    """Over many seeds, and almost never by a fit of scikit-learn's."""
    X, n_seeds = DATA[name], 30
    weight = RNG.uniform(0, 2, len(X)) if weighted else None
    for seed in range(n_seeds):
        k = (3, 6, 10)[seed % 3]
        labels = clusters_like_scikit_learn(X, k, weight, np.random.RandomState(seed), 1).labels
        assert_array_equal(labels, expected_labels(X, k, weight, seed), err_msg=f"seed {seed}")
    most = n_seeds if name == "two points" else 2 if name in ROUNDED else 0
    assert handed() <= most


@pytest.mark.parametrize("kind", ["fortran", "float32", "rows with gaps", "tiny", "huge"])
def test_any_layout_and_size(kind):
    X = DATA["continuous"]
    wide = np.full((len(X), 7), np.nan)
    wide[:, :5] = X
    X = {
        "fortran": np.asfortranarray(X),
        "float32": X.astype(np.float32),
        "rows with gaps": wide[:, :5],
        "tiny": X * 1e-120,
        "huge": X * 1e120,
    }[kind]
    labels = clusters_like_scikit_learn(X, 4, None, np.random.RandomState(1), 1).labels
    assert_array_equal(labels, expected_labels(X, 4, None, 1))


def test_random_numbers_go_on_as_with_scikit_learn():
    """Ten restarts from one stream, of which some are handed over."""
    for X in (DATA["iris"], DATA["few"], DATA["two points"]):
        ours, theirs = np.random.RandomState(7), np.random.RandomState(7)
        for _ in range(10):
            labels = clusters_like_scikit_learn(X, 2, None, ours, 1).labels
            kmeans = sklearn.cluster.KMeans(2, n_init=1, random_state=theirs).fit(X)
            assert_array_equal(labels, kmeans.labels_)
        assert ours.uniform() == theirs.uniform()


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", DATA)
def test_the_best_of_several_starts_is_scikit_learn_s(name, weighted, handed):
    """Also where starts end alike but for the clusters' numbers, or in equal inertia."""
    X, n_seeds = DATA[name], 12
    weight = RNG.uniform(0, 2, len(X)) if weighted else None
    for seed in range(n_seeds):
        k, ours, theirs = (2, 3, 6)[seed % 3], *(np.random.RandomState(seed) for _ in range(2))
        found = clusters_like_scikit_learn(X, k, weight, ours, 1, n_init=10)
        kmeans = sklearn.cluster.KMeans(k, n_init=10, random_state=theirs)
        kmeans.fit(X, sample_weight=weight)
        assert_array_equal(found.labels, kmeans.labels_, err_msg=f"seed {seed}")
        centers = kmeans.cluster_centers_
        assert_allclose(found.centers, centers, rtol=1e-9, atol=1e-12 * np.abs(X).max())
        assert ours.uniform() == theirs.uniform()
    if name in ("continuous", "far apart"):  # of which the latter ends alike again and again
        assert handed() == 0


def test_of_equal_inertias_scikit_learn_takes_one(handed):
    """The corners of a square fall into halves in two ways, and rounding says which are better."""
    X = np.array([[0.1, 0.1], [0.1, 1.3], [1.3, 0.1], [1.3, 1.3]])
    n_handed = 0
    for seed in range(20):
        found = clusters_like_scikit_learn(X, 2, None, np.random.RandomState(seed), 1, n_init=10)
        n_handed += handed()
        kmeans = sklearn.cluster.KMeans(2, n_init=10, random_state=np.random.RandomState(seed))
        assert_array_equal(found.labels, kmeans.fit(X).labels_)
    assert n_handed > 0


def test_a_tie_after_the_first_iteration_is_handed_over(handed):
    """A sample lies right between two means; scikit-learn says whose it is."""
    X = np.array([[30.0], [34], [9], [22], [1], [16], [12]])
    n_handed = 0
    for seed in range(40):
        labels = clusters_like_scikit_learn(X, 2, None, np.random.RandomState(seed), 1).labels
        n_handed += handed()
        assert_array_equal(labels, expected_labels(X, 2, None, seed))
    assert 0 < n_handed < 40


@pytest.mark.usefixtures("every_instruction_set")
def test_large_data_with_margins(handed):
    """Margins pass over most rows, and threads share them."""
    centers = np.random.default_rng(1).normal(size=(12, 16))
    X = centers[RNG.integers(12, size=60_000)] + RNG.normal(size=(60_000, 16))
    expected = expected_labels(X, 12, None, 0)
    for n_jobs in (1, 2, 4):
        labels = clusters_like_scikit_learn(X, 12, None, np.random.RandomState(0), n_jobs).labels
        assert_array_equal(labels, expected)
    assert handed() == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("mixture", [GaussianMixture, BayesianGaussianMixture])
def test_the_start_takes_no_copy_of_x(mixture):
    X = np.random.default_rng(0).normal(size=(40_000, 60))
    model = mixture(3, covariance_type="diag", max_iter=1, random_state=0, n_jobs=1)
    model.fit(X[:100])
    tracemalloc.start()
    model.fit(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.4 * X.nbytes


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["iris", "wine", "few", "continuous"])
def test_default_fits_are_scikit_learn_s(name):
    X = DATA[name]
    for seed in range(6):
        settings = {"random_state": seed, "reg_covar": 1e-3}
        ours, theirs = GaussianMixture(3, **settings).fit(X), Peer(3, **settings).fit(X)
        assert ours.n_iter_ == theirs.n_iter_
        assert_allclose(ours.means_, theirs.means_, rtol=1e-6, atol=1e-8)
