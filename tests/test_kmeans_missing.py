"""K-means of samples with missing values, against loops over rows."""

import itertools
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.cluster
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics.pairwise import nan_euclidean_distances
from sklearn.utils import get_tags

import fastem
from fastem import KMeans
from fastem.cluster.lloyd import KMeansParams
from fastem.cluster.missing import IncompleteBlock, IncompleteKMeansEM

SIZES = [(60, 1, 2), (300, 2, 3), (200, 5, 4), (150, 17, 6)]
both = pytest.mark.parametrize("dtype", [np.float64, np.float32])
sizes = pytest.mark.parametrize("size", SIZES, ids=str)
weighted = pytest.mark.parametrize("weighted", [False, True])


def samples(n, d, k, share=0.3, seed=0, far=3.0):
    """Return samples of k groups with values missing, and weights."""
    rng = np.random.default_rng(seed)
    centers = far + 4 * rng.normal(size=(k, d))
    X = centers[rng.integers(k, size=n)] + rng.normal(size=(n, d))
    X[rng.uniform(size=X.shape) < share] = np.nan
    X[3] = np.nan  # nothing is known of it
    return X, rng.uniform(size=n)


def squared(X, centers):
    """Return the squared differences that are known, summed, (n, K)."""
    out = np.zeros((len(X), len(centers)))
    for j, x in enumerate(X):
        for i, center in enumerate(centers):
            out[j, i] = sum((a - b) ** 2 for a, b in zip(x, center, strict=True) if a == a)
    return out


@pytest.mark.usefixtures("every_instruction_set")
@both
@sizes
@weighted
def test_one_e_step_and_m_step_against_loops(dtype, size, weighted):
    X, weight = samples(*size)
    X = X.astype(dtype)
    weight = weight if weighted else None
    ones = np.ones(len(X)) if weight is None else weight
    centers = np.nan_to_num(X[4 : 4 + size[2]], nan=3.0)
    block, model = IncompleteBlock(X, weight), IncompleteKMeansEM(0.0, dtype, 1)
    found, state = model.e_step(
        KMeansParams(centers, len(X)), block, model.first_state(None, block)
    )
    distances = squared(X.astype(np.float64), centers)
    chosen = distances[np.arange(len(X)), state.labels]
    assert_allclose(chosen, distances.min(axis=1), atol=1e-3 if dtype == np.float32 else 1e-10)
    assert_allclose(-found.bound, ones @ chosen, rtol=1e-4 if dtype == np.float32 else 1e-11)
    assert_allclose(found.weight, ones.sum())
    told = ones * ~np.isnan(X).all(axis=1)
    for k, new in enumerate(model.m_step(found).centers):
        own = state.labels == k
        assert_allclose(found.weights[k], told[own].sum())
        for i in range(size[1]):
            there = own & ~np.isnan(X[:, i])
            expected = np.average(X[there, i], weights=ones[there]) if there.any() else None
            assert_allclose(new[i], centers[k, i] if expected is None else expected, rtol=1e-5)


@both
@sizes
@weighted
def test_a_fit_ends_where_nothing_moves(dtype, size, weighted):
    X, weight = samples(*size)
    X = X.astype(dtype)
    weight = weight if weighted else None
    ones = np.ones(len(X)) if weight is None else weight
    kmeans = KMeans(size[2], random_state=0, tol=0, n_init=3).fit(X, sample_weight=weight)
    distances = squared(X.astype(np.float64), kmeans.cluster_centers_)
    close = 1e-3 if dtype == np.float32 else 1e-9
    assert_allclose(distances[np.arange(len(X)), kmeans.labels_], distances.min(axis=1), atol=close)
    assert_allclose(kmeans.inertia_, ones @ distances.min(axis=1), rtol=1e-4)
    assert_allclose(kmeans.score(X, sample_weight=weight), -kmeans.inertia_, rtol=1e-5)
    bounds = np.array(kmeans.lower_bounds_)
    assert np.all(np.diff(bounds) >= -1e-5 * np.abs(bounds[1:]))
    assert kmeans.cluster_centers_.dtype == dtype
    # Completed by their centers, they are where ordinary k-means ends, too (k-POD).
    filled = kmeans.impute(X)
    told = ~np.isnan(X).all(axis=1)
    again = KMeans(size[2], init=kmeans.cluster_centers_, tol=0).fit(
        filled[told], sample_weight=None if weight is None else weight[told]
    )
    assert_allclose(again.cluster_centers_, kmeans.cluster_centers_, rtol=1e-4, atol=1e-4)
    assert_allclose(again.inertia_, kmeans.inertia_, rtol=1e-4)


@both
@sizes
def test_what_is_read_off(dtype, size):
    X, _ = samples(*size)
    X = X.astype(dtype)
    kmeans = KMeans(size[2], random_state=0, n_init=2).fit(X)
    distances = kmeans.transform(X)
    assert distances.dtype == dtype
    with np.errstate(invalid="ignore"):
        expected = nan_euclidean_distances(X, kmeans.cluster_centers_)
    assert_allclose(distances, expected, rtol=1e-3, atol=2e-3)
    assert np.isnan(distances[3]).all()
    labels = kmeans.predict(X)
    told = ~np.isnan(X).all(axis=1)
    assert_array_equal(labels[told], np.nanargmin(distances[told], axis=1))
    assert labels[3] == 0
    whole = ~np.isnan(X).any(axis=1)  # complete samples among others are as they are alone
    if whole.any():
        assert_array_equal(labels[whole], kmeans.predict(X[whole]))
    filled = kmeans.impute(X)
    assert_array_equal(filled, np.where(np.isnan(X), kmeans.cluster_centers_[labels], X))
    assert not np.shares_memory(kmeans.impute(filled), filled)


@both
def test_without_nan_it_is_ordinary_k_means(dtype):
    X = samples(300, 5, 4, share=0.0)[0].astype(dtype)
    X[3] = X[4]
    block, model = IncompleteBlock(X, None), IncompleteKMeansEM(0.0, dtype, 1)
    centers = X[:4]
    for _ in range(5):
        state = model.first_state(None, block)
        centers = model.m_step(
            model.e_step(KMeansParams(centers, len(X)), block, state)[0]
        ).centers  # fmt: skip
    ordinary = KMeans(4, init=X[:4], max_iter=5, tol=0).fit(X)
    assert_allclose(centers, ordinary.cluster_centers_, rtol=1e-4)


def test_weights_count_as_copies():
    X, _ = samples(200, 4, 3)
    count = np.random.default_rng(0).integers(1, 4, size=len(X))
    settings = {"init": np.nan_to_num(X[4:7], nan=3.0), "tol": 0}
    weighted = KMeans(3, **settings).fit(X, sample_weight=count.astype(float))
    copied = KMeans(3, **settings).fit(np.repeat(X, count, axis=0))
    assert_allclose(weighted.inertia_, copied.inertia_)
    # Centers begin about the mean, which weights do not change.
    assert_allclose(weighted.cluster_centers_, copied.cluster_centers_, rtol=1e-9)


@both
@pytest.mark.parametrize("size", [(3000, 2, 3), (3000, 20, 8)], ids=str)
def test_the_same_bits_for_every_number_of_threads(dtype, size):
    X, weight = samples(*size)
    X = X.astype(dtype)
    for given in (None, weight):
        fits = [
            KMeans(size[2], random_state=0, n_jobs=n, max_iter=8).fit(X, sample_weight=given)
            for n in (1, 2, 3)
        ]
        for other in fits[1:]:
            assert_array_equal(other.cluster_centers_, fits[0].cluster_centers_)
            assert_array_equal(other.labels_, fits[0].labels_)
            assert_array_equal(other.predict(X), fits[0].predict(X))


def test_data_far_from_zero_lose_no_digits():
    X, _ = samples(200, 3, 3, far=0.0)
    near = KMeans(3, random_state=0, tol=0).fit(X)
    far = KMeans(3, random_state=0, tol=0).fit(X + 2.0**30)
    assert_allclose(far.inertia_, near.inertia_, rtol=1e-6)


def test_groups_are_found_where_means_in_place_mislead():
    rng = np.random.default_rng(2)
    labels = rng.integers(4, size=400)
    X = (4 * rng.normal(size=(4, 6)))[labels] + rng.normal(size=(400, 6))
    X[rng.uniform(size=X.shape) < 0.4] = np.nan
    filled = np.where(np.isnan(X), np.nanmean(X, axis=0), X)
    share = [
        sum(np.bincount(labels[found == k]).max(initial=0) for k in range(4)) / 400
        for found in (KMeans(4, n_init=5, random_state=0).fit_predict(data) for data in (X, filled))
    ]
    assert share[0] > 0.93 > 0.9 > share[1]


@pytest.mark.parametrize("init", ["k-means++", "random", "given", "callable"])
@pytest.mark.parametrize("copy_x", [True, False])
def test_every_start(init, copy_x):
    X, _ = samples(300, 4, 3)
    given = np.nan_to_num(X[4:7], nan=3.0)
    begin = {"given": given, "callable": lambda X, n_clusters, random_state: given - 3}
    before, data = X.copy(), X.copy()
    kmeans = KMeans(3, init=begin.get(init, init), n_init=1, random_state=0, copy_x=copy_x)
    kmeans.fit(data)
    assert np.all(np.isfinite(kmeans.cluster_centers_))
    assert_allclose(data, before, rtol=1e-12)
    assert_array_equal(np.isnan(data), np.isnan(before))


def test_centers_far_from_the_samples_are_compared_in_double():
    """Single precision, which compares them first, has none of the digits that decide."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 3)) * 1e-3
    X[np.arange(5000), rng.integers(3, size=5000)] = np.nan
    centers = 1e4 * np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    kmeans = KMeans(8, random_state=0).fit(rng.normal(size=(50, 3)))
    kmeans.cluster_centers_ = centers + rng.normal(size=(8, 3)) * 1e-3
    squares = np.nansum((X[:, None] - kmeans.cluster_centers_) ** 2, axis=2)
    assert_array_equal(kmeans.predict(X), squares.argmin(axis=1))


def test_negative_weights_are_refused():
    X, _ = samples(100, 4, 3)
    weight = np.where(np.arange(100) % 2, 1.0, -2.0)
    with pytest.raises(ValueError, match="sample_weight must not be negative where X has missing"):
        KMeans(3, init=np.nan_to_num(X[:3])).fit(X, sample_weight=weight)


def test_an_empty_cluster_takes_the_farthest_sample():
    X = np.array([[0.0, 0.0], [0.1, np.nan], [0.0, 0.2], [9.0, np.nan], [np.nan, 0.1]])
    kmeans = KMeans(2, init=[[0.0, 0.0], [500.0, 500.0]], tol=0).fit(X)
    assert_array_equal(kmeans.labels_, [0, 0, 0, 1, 0])
    assert_allclose(kmeans.cluster_centers_[1, 0], 9.0)
    assert np.all(np.isfinite(kmeans.cluster_centers_))


def test_blocks_and_streams():
    X, weight = samples(3000, 4, 3)
    X[4:1200] = samples(3000, 4, 3, share=0.0)[0][4:1200]
    X[3] = X[2] = X[1] = X[0] = X[4]  # so one block is complete
    whole = KMeans(3, random_state=0, n_init=3, tol=0).fit(X)
    blocks = fastem.Blocks.from_arrays([X[:1200], X[1200:1500], X[1500:]])
    for init in ("k-means++", "k-means||"):
        parts = KMeans(3, init=init, random_state=0, n_init=3, tol=0).fit(blocks)
        assert_allclose(parts.inertia_, whole.inertia_, rtol=1e-6)
        assert_array_equal(np.concatenate(list(parts.predict(blocks))), parts.predict(X))
    stream = KMeans(3, random_state=0)
    for begin in range(0, 3000, 150):
        some = slice(begin, begin + 150)
        stream.partial_fit(X[some], sample_weight=weight[some])
    assert -stream.score(X) < 1.2 * whole.inertia_
    centers = stream.cluster_centers_.copy()
    stream.partial_fit(np.full((2, 4), np.nan))  # says nothing
    assert_array_equal(stream.cluster_centers_, centers)


def test_pickles_and_checkpoints(tmp_path):
    X, _ = samples(300, 4, 3)
    kmeans = KMeans(3, random_state=0).fit(X, checkpoint=tmp_path / "kmeans")
    again = pickle.loads(pickle.dumps(kmeans))
    assert_array_equal(again.predict(X), kmeans.predict(X))
    assert_array_equal(KMeans(3, random_state=0).fit(X).cluster_centers_, kmeans.cluster_centers_)


@both
def test_a_feature_of_nan_only_is_named(dtype):
    X = samples(60, 3, 2)[0].astype(dtype)
    X[:, 1] = np.nan
    kmeans = KMeans(2)
    for data in (X, fastem.Blocks.from_arrays([X[:30], X[30:]])):
        with pytest.raises(ValueError, match="feature 1 of X has no value but NaN"):
            kmeans.fit(data)
        assert not hasattr(kmeans, "cluster_centers_")
    X[0, 1] = 1.0
    with pytest.raises(ValueError, match="feature 1 of X has no value but NaN, or of"):
        kmeans.fit(X, sample_weight=np.arange(60.0))
    pandas = pytest.importorskip("pandas")
    X[0, 1] = np.nan
    with pytest.raises(ValueError, match="feature income of X"):
        kmeans.fit(pandas.DataFrame(X, columns=["age", "income", "size"]))


def test_what_is_refused():
    X, _ = samples(60, 3, 2)
    fitted = KMeans(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="NaN"):
        KMeans(2).fit(sp.csr_array(X))
    pandas = pytest.importorskip("pandas")
    columns = {i: pandas.arrays.SparseArray(X[:, i], fill_value=0.0) for i in range(3)}
    with pytest.raises(ValueError, match="NaN"):
        KMeans(2).fit(pandas.DataFrame(columns))
    with pytest.raises(TypeError, match="X must be a dense array"):
        fitted.impute(sp.csr_array(np.nan_to_num(X)))
    with pytest.raises(ValueError, match="init contains NaN"):
        KMeans(2, init=X[:2]).fit(X)
    X[1, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        KMeans(2).fit(X)
    X[1, 1] = 1e300
    with pytest.raises(ValueError, match="squared distances are not finite"):
        KMeans(2).fit(X)


def test_a_start_takes_weighted_means_for_what_is_missing():
    """A sample of weight 0, however far, and copies begin as if they were left out or repeated."""
    X = samples(60, 3, 2)[0]
    X[0, 1], X[-1] = np.nan, 1e6
    weight = np.r_[1, 1, np.arange(57) % 3, 0]
    seen = []

    def first(X, n_clusters, random_state):
        seen.append(X[:n_clusters].copy())
        return seen[-1]

    KMeans(2, init=first).fit(X, sample_weight=weight)
    KMeans(2, init=first).fit(np.repeat(X, weight, axis=0))
    weighted, *_, repeated = seen
    assert_allclose(weighted, repeated, rtol=1e-9, atol=1e-9)


def test_who_takes_nan():
    X, _ = samples(60, 3, 2)
    assert get_tags(KMeans()).input_tags.allow_nan
    peer = sklearn.cluster.KMeans(2, random_state=0)
    assert not get_tags(peer).input_tags.allow_nan
    with fastem.patched():
        assert not get_tags(peer).input_tags.allow_nan
        with pytest.raises(ValueError, match="contains NaN"):
            peer.fit(X)
        peer.fit(np.nan_to_num(X))
        for method in (peer.predict, peer.transform, peer.score):
            with pytest.raises(ValueError, match="contains NaN"):
                method(X)
