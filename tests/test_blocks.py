"""Data in blocks: the same fit as in memory, little memory, and what is wrong with them is told."""

import pickle
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.cluster import KMeans as PeersKMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastem import (
    BayesianGaussianMixture,
    BernoulliMixture,
    Blocks,
    CategoricalMixture,
    GaussianMixture,
    KMeans,
    MultinomialMixture,
    PoissonMixture,
    StudentMixture,
    em,
)
from fastem._engine.blocks import read_ahead

IRIS = load_iris().data
DIGITS = load_digits().data
WEIGHT = np.random.default_rng(1).integers(0, 4, len(IRIS)).astype(float)

CASES = {
    **{
        f"gaussian {kind}": (GaussianMixture(3, covariance_type=kind, random_state=0), IRIS)
        for kind in ("full", "tied", "diag", "spherical")
    },
    "gaussian k-means++": (GaussianMixture(3, init_params="k-means++", random_state=1), IRIS),
    "gaussian restarts": (
        GaussianMixture(3, init_params="random_from_data", n_init=3, random_state=1),
        IRIS,
    ),
    "gaussian with NaN": (
        GaussianMixture(3, init_params="random_from_data", random_state=0),
        np.where(np.random.default_rng(0).random(IRIS.shape) < 0.1, np.nan, IRIS),
    ),
    "noise": (GaussianMixture(2, noise=50.0, random_state=0, max_iter=300), IRIS),
    "student": (StudentMixture(3, random_state=0, max_iter=300), IRIS),
    "bayesian": (BayesianGaussianMixture(4, random_state=0, max_iter=300), IRIS),
    "bayesian tied": (
        BayesianGaussianMixture(4, covariance_type="tied", random_state=0, max_iter=300),
        IRIS,
    ),
    "k-means": (KMeans(8, random_state=0, tol=0), DIGITS),
    "k-means restarts": (KMeans(8, init="random", n_init=3, random_state=0), DIGITS),
    "k-means sparse": (KMeans(8, random_state=0), sp.csr_array(DIGITS)),
    "bernoulli": (BernoulliMixture(4, binarize=8, random_state=0), DIGITS),
    "categorical": (CategoricalMixture(3, random_state=0), DIGITS[:, 20:40]),
    "poisson": (PoissonMixture(4, random_state=0, tol=1e-3), DIGITS),
    "multinomial": (MultinomialMixture(4, random_state=0), sp.csr_array(DIGITS)),
}  # fmt: skip
READ = ("predict", "predict_proba", "score_samples", "transform", "uncertainty")


def numbers(estimator):
    """Return the fitted attributes that are numbers."""
    found = {n: v for n, v in vars(estimator).items() if n.endswith("_") and n[0] != "_"}
    return {n: np.asarray(v) for n, v in found.items() if np.asarray(v).dtype.kind in "fiub"}


def blocks_of(X, weight=None, rows=37):
    return Blocks.from_arrays(X, weight, batch_rows=rows)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_blocks_give_the_fit_of_data_in_memory(name, weighted):
    estimator, X = CASES[name]
    weight = np.resize(WEIGHT, X.shape[0]) if weighted else None
    whole = clone(estimator).fit(X, sample_weight=weight)
    cut = clone(estimator).fit(blocks_of(X, weight))
    expected, got = numbers(whole), numbers(cut)
    expected.pop("labels_", None)
    assert got.keys() == expected.keys()
    for attribute, value in expected.items():
        np.testing.assert_allclose(
            got[attribute], value, rtol=1e-11, atol=1e-11 * np.abs(value).max(initial=1e-300)
        )
    for method in READ:
        if hasattr(cut, method):
            found = list(getattr(cut, method)(blocks_of(X)))
            assert len(found) == -(-X.shape[0] // 37)
            np.testing.assert_allclose(
                np.concatenate(found), getattr(cut, method)(X), rtol=1e-11, atol=1e-11
            )
    score = cut.score(X, sample_weight=weight)
    np.testing.assert_allclose(cut.score(blocks_of(X, weight)), score, rtol=1e-12)
    if hasattr(cut, "entropy"):
        entropy = cut.entropy(X, weight)
        np.testing.assert_allclose(cut.entropy(blocks_of(X, weight)), entropy, 1e-10, 1e-10)


def test_blocks_go_through_restarts_and_warm_starts():
    mixture = GaussianMixture(3, random_state=0, max_iter=2, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture.fit(blocks_of(IRIS))
        first = mixture.lower_bound_
        mixture.fit(blocks_of(IRIS))
    assert mixture.lower_bound_ > first


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_npy_files_of_either_order_and_memmaps_are_data(tmp_path, dtype):
    X = IRIS.astype(dtype)
    np.save(tmp_path / "a.npy", X[:100])
    np.save(tmp_path / "b.npy", np.asfortranarray(X[100:]))
    mixture = GaussianMixture(3, random_state=0)
    expected = clone(mixture).fit(X).means_
    files = [tmp_path / "a.npy", str(tmp_path / "b.npy")]
    read = np.concatenate(list(Blocks.from_npy(files, batch_rows=7)))
    np.testing.assert_array_equal(read, X)
    assert read.dtype == dtype
    means = clone(mixture).fit(Blocks.from_npy(files, batch_rows=17)).means_
    np.testing.assert_allclose(means, expected, rtol=1e-5 if dtype == np.float32 else 1e-11)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    np.testing.assert_array_equal(next(iter(Blocks.from_arrays(mapped, batch_rows=5))), X[:5])


def test_a_memmap_is_not_copied(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "X.npy", rng.normal(size=(200_000, 8)))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    start = {"weights_init": [0.5, 0.5], "means_init": np.repeat([[0.0], [1.0]], 8, axis=1)}
    mixture = GaussianMixture(2, precisions_init=[np.eye(8)] * 2, max_iter=2, tol=1e9, **start)
    tracemalloc.start()
    mixture.fit(X)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < X.nbytes / 4


def test_parquet_and_datasets_are_data(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import dataset, parquet

    names = ["a", "b", "c", "d"]
    table = pa.table({**dict(zip(names, IRIS.T, strict=True)), "w": WEIGHT, "text": ["x"] * 150})
    parquet.write_table(table.slice(0, 90), tmp_path / "0.parquet", row_group_size=40)
    parquet.write_table(table.slice(90), tmp_path / "1.parquet", row_group_size=40)
    mixture = GaussianMixture(3, random_state=0)
    expected = clone(mixture).fit(IRIS, sample_weight=WEIGHT).means_
    blocks = Blocks.from_parquet(tmp_path, names, 25, sample_weight="w")
    sizes = [len(X) for X, _ in blocks]
    assert sum(sizes) == 150
    assert max(sizes) == 25
    np.testing.assert_allclose(clone(mixture).fit(blocks).means_, expected, rtol=1e-11)

    parquet.write_table(table.select(names), tmp_path / "features.parquet")
    data = dataset.dataset(tmp_path / "features.parquet")
    plain = clone(mixture).fit(data)
    np.testing.assert_allclose(plain.means_, clone(mixture).fit(IRIS).means_, rtol=1e-11)
    np.testing.assert_array_equal(np.concatenate(list(plain.predict(data))), plain.predict(IRIS))
    with pytest.raises(ValueError, match=r"no column 'e': there are 'a', 'b'"):
        Blocks.from_parquet(tmp_path / "0.parquet", ["a", "e"])
    with pytest.raises(ValueError, match=r"column 'text' must be of numbers, got string"):
        Blocks.from_parquet(tmp_path / "0.parquet")


def test_blocks_may_be_of_any_length_also_empty():
    cuts = [IRIS[:0], IRIS[:1], IRIS[1:90], IRIS[:0], IRIS[90:]]
    mixture = GaussianMixture(3, random_state=0).fit(Blocks(lambda: iter(cuts)))
    expected = GaussianMixture(3, random_state=0).fit(IRIS)
    np.testing.assert_allclose(mixture.means_, expected.means_, rtol=1e-11)
    assert [len(part) for part in mixture.predict(Blocks(lambda: cuts))] == [1, 89, 60]


def test_feature_names_come_with_data_frames():
    frame = pytest.importorskip("pandas").DataFrame(IRIS, columns=list("abcd"))
    mixture = GaussianMixture(3, random_state=0).fit(blocks_of(frame))
    assert list(mixture.feature_names_in_) == list("abcd")
    assert mixture.n_features_in_ == 4


def test_the_start_is_made_on_a_sample_that_depends_on_the_seed_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(130_000, 2)) + 6 * rng.integers(0, 2, (130_000, 1))
    fits = [
        GaussianMixture(2, random_state=seed, max_iter=3).fit(blocks_of(X, rows=50_000))
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(fits[0].means_, fits[1].means_)
    assert not np.array_equal(fits[0].means_, fits[2].means_)
    whole = GaussianMixture(2, random_state=0).fit(X)
    np.testing.assert_allclose(
        np.sort(fits[0].means_[:, 0]), np.sort(whole.means_[:, 0]), atol=1e-3
    )


def test_memory_is_that_of_some_blocks():
    """Four times the data take no more memory: neither rows nor labels are kept."""
    block = np.random.default_rng(0).normal(size=(30_000, 8)) + 7 * (np.arange(8) == 0)

    def most(estimator, n_blocks):
        tracemalloc.start()
        estimator.fit(Blocks(lambda: (block + 0.01 * i for i in range(n_blocks))))
        traced = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return traced

    for estimator in (
        GaussianMixture(2, random_state=0, tol=1e9, init_params="random"),
        KMeans(2, random_state=0, max_iter=2),
    ):
        few = most(estimator, 12)  # more than twice what the sample holds
        assert most(estimator, 48) < few + 3 * block.nbytes


def test_the_next_block_is_read_while_this_one_is_worked_on():
    reading = threading.Event()

    def two():
        yield 1
        reading.set()
        yield 2

    blocks = read_ahead(two())
    assert next(blocks) == 1
    assert reading.wait(20)  # nobody has asked for the second one
    assert next(blocks) == 2
    blocks.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "fastem reader"]


def test_blocks_pickle():
    blocks = pickle.loads(pickle.dumps(blocks_of(IRIS)))
    np.testing.assert_array_equal(np.concatenate(list(blocks)), IRIS)


# ---- what is wrong -----------------------------------------------------------------------------


def spoilt(row, value):
    X = IRIS.copy()
    X[row, 2] = value
    return X


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        (GaussianMixture(2, random_state=0), np.inf),
        (MultinomialMixture(2, random_state=0), np.nan),
        (KMeans(2, random_state=0), np.inf),
    ],
)
def test_nan_names_block_and_row(estimator, value):
    with pytest.raises(ValueError, match=r"^block 2, row 6: Input X contains"):
        estimator.fit(blocks_of(spoilt(2 * 37 + 6, value)))
    fitted = clone(estimator).fit(IRIS)
    with pytest.raises(ValueError, match=r"^block 2, row 6: Input X contains"):
        list(fitted.predict(blocks_of(spoilt(2 * 37 + 6, value))))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([IRIS, IRIS[:, :3]], "features 4 in block 0, but 3 in block 1"),
        ([IRIS, IRIS.astype(np.float32)], "dtype float64 in block 0, but float32 in block 1"),
        ([(IRIS, np.zeros(150))], "at least one positive weight, got only zeros"),
        ([(IRIS, np.ones(149))], "block 0: "),
        ([(IRIS, np.full(150, -1.0))], "block 0: sample_weight must not be negative, got -1"),
        ([IRIS[:0]], "the blocks have no rows"),
        ([], "the blocks have no rows"),
        ([IRIS[:3]], "Expected n_samples >= n_components"),
        ([IRIS[:1], IRIS[0]], "block 1: Expected 2D array"),
    ],
)
def test_bad_blocks_are_refused_and_the_estimator_stays(blocks, message):
    mixture = GaussianMixture(4, random_state=0).fit(IRIS)
    before = {name: np.copy(value) for name, value in vars(mixture).items()}
    with pytest.raises(ValueError, match=message):
        mixture.fit(Blocks(lambda: blocks))
    assert before.keys() == vars(mixture).keys()
    assert all(np.array_equal(vars(mixture)[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ([IRIS[:70], IRIS[70:140]], r"block 1 has 70 rows in this pass, but 80 in the first one"),
        ([IRIS[:70]], "1 blocks have rows in this pass, but 2 in the first one"),
        ([IRIS[:70], IRIS[70:], IRIS], "block 2 has 150 rows in this pass, but 0"),
        ([IRIS[:70], IRIS[70:, :2]], "features 4 in block 0, but 2 in block 1"),
    ],
)
def test_another_length_the_second_time_is_refused(later, message):
    passes = iter([[IRIS[:70], IRIS[70:]], later])
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, random_state=0).fit(Blocks(lambda: next(passes)))


def test_what_can_be_read_once_is_refused_with_the_cure():
    for estimator in (GaussianMixture(2), KMeans(2)):
        with pytest.raises(TypeError, match=r"readable once an iteration, got a generator.*Blocks"):
            estimator.fit(IRIS[i : i + 50] for i in (0, 50, 100))
    with pytest.raises(TypeError, match=r"pass fastem\.Blocks\(function\)"):
        Blocks(iter([IRIS]))
    with pytest.raises(TypeError, match=r"take Blocks\.from_arrays"):
        Blocks([IRIS])
    once = iter([IRIS])
    with pytest.raises(ValueError, match="0 blocks have rows in this pass, but 1 in the first"):
        GaussianMixture(2, random_state=0).fit(Blocks(lambda: once))


def test_weights_apart_from_the_blocks_are_refused():
    with pytest.raises(TypeError, match=r"pairs \(X, sample_weight\)"):
        GaussianMixture(2).fit(blocks_of(IRIS), sample_weight=WEIGHT)
    with pytest.raises(ValueError, match=r"one weight for each row, \[150\], got \[3\]"):
        Blocks.from_arrays(IRIS, np.ones(3))
    with pytest.raises(ValueError, match="batch_rows must be at least 1, got 0"):
        Blocks.from_arrays(IRIS, batch_rows=0)


@pytest.mark.parametrize("method", ["partial_fit", "standard_errors", "summary", "merge", "impute"])
def test_methods_that_take_arrays_say_so(method):
    mixture = GaussianMixture(2, random_state=0).fit(IRIS)
    with pytest.raises(TypeError, match="X is Blocks, and this method takes an array"):
        getattr(mixture, method)(blocks_of(IRIS))
    with pytest.raises(TypeError, match="X is Blocks, and this method takes an array"):
        KMeans(2).partial_fit(blocks_of(IRIS))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GaussianMixture(1).fit(Blocks(lambda: 3)), "must return an iterator.*got 3"),
        (lambda: GaussianMixture(1).fit(Blocks(lambda: iter([None]))), "block 0: "),
        (lambda: Blocks.from_arrays(IRIS, batch_rows=1.5), "batch_rows must be an integer.*1.5"),
        (lambda: Blocks.from_arrays(IRIS, batch_rows="9"), "batch_rows must be an integer.*'9'"),
    ],
)
def test_what_is_no_block_is_named(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


def test_an_error_of_the_reader_comes_out_as_it_is():
    def fails():
        yield IRIS
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        GaussianMixture(2).fit(Blocks(fails))


def test_an_unfitted_estimator_says_so_at_once():
    with pytest.raises(NotFittedError):
        GaussianMixture(2).predict(blocks_of(IRIS))


def test_k_means_of_blocks_has_no_labels():
    kmeans = KMeans(3, random_state=0).fit(IRIS)
    labels = kmeans.labels_
    parts = kmeans.fit_predict(blocks_of(IRIS))
    assert not hasattr(kmeans, "labels_")
    np.testing.assert_array_equal(np.concatenate(list(parts)), labels)
    assert kmeans.inertia_ <= 1.001 * PeersKMeans(3, n_init=1, random_state=0).fit(IRIS).inertia_


def test_k_means_parallel_finds_clusters_that_the_sample_misses():
    """Twenty rows that lie far away, of 300,000."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300_000, 2))
    X[::15_000] += 1000 * np.arange(1, 21)[:, None]
    blocks = blocks_of(X, rows=40_000)
    kmeans = KMeans(21, init="k-means||", random_state=0, max_iter=5).fit(blocks)
    again = KMeans(21, init="k-means||", random_state=0, max_iter=5).fit(blocks)
    sampled = KMeans(21, random_state=0, max_iter=5).fit(blocks)
    assert kmeans.inertia_ < 2.2 * len(X) < 10 * sampled.inertia_
    np.testing.assert_array_equal(kmeans.cluster_centers_, again.cluster_centers_)
    weighted = np.ones(len(X))
    weighted[::15_000] = 0  # what has no weight is not drawn
    first = KMeans(21, init="k-means||", random_state=0, max_iter=1)
    assert np.abs(first.fit(blocks_of(X, weighted, 40_000)).cluster_centers_).max() < 100
    with pytest.raises(ValueError, match=r"init='k-means\|\|' is for blocks"):
        first.fit(X[:100])


@pytest.mark.parametrize("n_different", [1, 3])
def test_k_means_parallel_of_fewer_different_rows_than_clusters(n_different):
    X = np.tile(np.arange(n_different, dtype=float), 100)[:, None]
    kmeans = KMeans(5, init="k-means||", random_state=0)
    with pytest.warns(ConvergenceWarning, match=rf"distinct clusters \({n_different}\)"):
        kmeans.fit(blocks_of(X, rows=40))
    assert kmeans.inertia_ == 0
    assert set(kmeans.cluster_centers_.ravel()) == set(X.ravel())


def test_k_means_parallel_takes_sparse_blocks():
    kmeans = KMeans(8, init="k-means||", n_init=2, random_state=0)
    sparse = clone(kmeans).fit(blocks_of(sp.csr_array(DIGITS)))
    usual = KMeans(8, n_init=2, random_state=0).fit(DIGITS)
    assert sparse.inertia_ < 1.1 * usual.inertia_


def test_a_model_of_ones_own_is_fitted_to_blocks():
    class Mean:
        def e_step(self, mean, x):
            bound = -0.5 * float(((x - mean) ** 2).sum())
            return em.Statistics(bound=bound, weight=len(x), total=x.sum(axis=0))

        def m_step(self, statistics):
            return statistics.total / statistics.weight

    result = em.fit(Mean(), blocks_of(IRIS), np.zeros(4), tol=1e-9)
    np.testing.assert_allclose(result.params, IRIS.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    "estimator",
    [GaussianMixture(3, init_params="random", random_state=0), KMeans(6, random_state=0)],
    ids=["mixture", "k-means"],
)
def test_a_fit_to_blocks_goes_on_from_a_checkpoint_with_the_same_bits(estimator, tmp_path):
    class Stop(Exception):
        pass

    def stop(state):
        if state.iteration == 3:
            raise Stop

    blocks, seen = blocks_of(IRIS), []
    often = em.Checkpoint(tmp_path / "fit", iterations=1)
    whole = clone(estimator).fit(blocks)
    with pytest.raises(Stop), em.watch(stop):
        clone(estimator).fit(blocks, checkpoint=often)
    with em.watch(lambda state: seen.append(state.iteration)):
        resumed = clone(estimator).fit(blocks, checkpoint=often)
    assert seen[0] == 3
    for name, value in numbers(whole).items():
        np.testing.assert_array_equal(getattr(resumed, name), value)


def test_blocks_that_are_lists_are_scored_as_they_are_fitted():
    blocks = Blocks(lambda: iter([IRIS[:70].tolist(), IRIS[70:].tolist()]))
    mixture = GaussianMixture(2, random_state=0).fit(blocks)
    assert mixture.score(blocks) == pytest.approx(mixture.score(IRIS), rel=1e-12)


def test_weights_for_several_arrays_are_several():
    arrays = [IRIS[:70], IRIS[70:]]
    with pytest.raises(ValueError, match="a list with one array of weights for each of the 2"):
        Blocks.from_arrays(arrays, np.ones(len(IRIS)))
    with pytest.raises(ValueError, match=r"got shape \(4,\): pass np.asarray\(arrays\) if these"):
        Blocks.from_arrays(IRIS.tolist())


def test_nan_of_sparse_blocks_names_the_row_where_it_is_refused():
    X = sp.lil_array(DIGITS)
    X[80, 3] = np.nan
    with pytest.raises(ValueError, match=r"^block 2, row 6: Input X contains NaN"):
        KMeans(2, random_state=0).fit(blocks_of(sp.csr_array(X)))


@pytest.mark.parametrize("estimator", [GaussianMixture(2), StudentMixture(2), KMeans(2)])
def test_a_score_names_block_and_row(estimator):
    fitted = clone(estimator).set_params(random_state=0).fit(IRIS)
    with pytest.raises(ValueError, match=r"^block 2, row 6: Input X contains"):
        fitted.score(blocks_of(spoilt(80, np.inf)))
    with pytest.raises(NotFittedError, match=r"^This "):
        estimator.score(blocks_of(IRIS))


def test_a_block_of_three_is_named():
    with pytest.raises(ValueError, match=r"^block 1: "):
        GaussianMixture(2).fit(Blocks(lambda: [IRIS[:50], (IRIS[50:], np.ones(100), 1)]))
