"""Data on the workers of a Dask cluster: the same bits whichever worker computes or dies."""

import os
import signal
import warnings
import weakref
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from own_models import Remembers
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from test_checkpoints import bits

from fastem import (
    PLSA,
    BayesianGaussianMixture,
    Blocks,
    GaussianHMM,
    GaussianLDA,
    GaussianMixture,
    KMeans,
    LatentDirichletAllocation,
    MultinomialMixture,
    StudentMixture,
    em,
)
from fastem._data.survey import Look
from fastem._engine import dask as engine

pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")

import dask  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

IRIS = load_iris().data
DIGITS = load_digits().data
# What distributed leaves open when a cluster ends is none of ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SLOW = 200  # seconds that starting workers may take on a busy machine


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes, who try no longer than this to reach one that was killed."""
    with dask.config.set({"distributed.comm.timeouts.connect": "15s"}):
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
        yield cluster
        cluster.close()


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=SLOW)
        yield client


def mixture(**settings):
    given = {"init_params": "random", "random_state": 0, "tol": 0, "max_iter": 12}
    return GaussianMixture(3, **given | settings)


def quietly(fit, *args):
    """Fit for a given number of iterations, which need not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(*args)


@pytest.mark.timeout(3 * SLOW)
def test_the_same_bits_for_any_number_of_workers_and_for_threads(client):
    """Also as in this process; 100 blocks make groups of several."""
    X = da.from_array(np.vstack([IRIS] * 2), chunks=(3, 4))
    blocks = Blocks.from_arrays(np.vstack([IRIS] * 2), batch_rows=3)
    kmeans = KMeans(5, random_state=0, n_init=2, init="random")
    expected = quietly(mixture().fit, blocks).means_, clone(kmeans).fit(blocks).cluster_centers_

    def check():
        np.testing.assert_array_equal(quietly(mixture().fit, X).means_, expected[0])
        np.testing.assert_array_equal(clone(kmeans).fit(X).cluster_centers_, expected[1])

    check()
    for settings in (
        {"n_workers": 1, "threads_per_worker": 1},
        {"n_workers": 4, "threads_per_worker": 1},
        {"n_workers": 2, "threads_per_worker": 2, "processes": False},
    ):
        with LocalCluster(**settings, dashboard_address=":0") as other, Client(other) as connected:
            connected.wait_for_workers(settings["n_workers"], timeout=SLOW)
            check()


@pytest.mark.timeout(3 * SLOW)
def test_the_same_bits_when_a_worker_is_killed(cluster, client):
    """What it held is made again elsewhere, states of rows as well."""
    X = da.from_array(IRIS, chunks=(5, 4))
    numbers = [np.arange(i, i + 4.0) for i in range(20)]
    whole = quietly(mixture().fit, X)
    remembered = quietly(lambda: em.fit(Remembers(), numbers, 1.0, tol=0, max_iter=12))
    killed = []

    def kill(state):
        if state.iteration == 3:
            killed.append(min(client.run(os.getpid).values()))
            os.kill(killed[-1], signal.SIGKILL)

    with em.watch(kill):
        fitted = quietly(mixture().fit, X)
    client.wait_for_workers(2, timeout=SLOW)
    result = quietly(
        lambda: em.fit(
            Remembers(), numbers, 1.0, tol=0, max_iter=12, callbacks=[kill],
            executor=em.DaskExecutor(client),
        )
    )  # fmt: skip
    assert len(killed) == 2
    np.testing.assert_array_equal(fitted.means_, whole.means_)
    assert fitted.lower_bounds_ == whole.lower_bounds_
    assert (result.params, result.lower_bounds) == (remembered.params, remembered.lower_bounds)


def test_nothing_of_the_data_is_computed_or_held_by_the_client(client, monkeypatch):
    """Neither the first pass, nor the start, nor an E-step; few tasks an iteration."""
    X = da.from_array(np.tile(IRIS, (2, 1)), chunks=(3, 4))
    expected = quietly(mixture().fit, X).means_

    def never(*_, **__):
        raise AssertionError("computed by the client")

    from fastem.components.gaussian import GaussianEM

    monkeypatch.setattr(Look, "__call__", never)
    monkeypatch.setattr(GaussianEM, "e_step", never)
    monkeypatch.setattr(GaussianMixture, "_start", never)
    tasks, submit = [], engine.DaskExecutor._submit
    monkeypatch.setattr(
        engine.DaskExecutor, "_submit", lambda *args: tasks.append(args) or submit(*args)
    )
    counts = []
    with em.watch(lambda state: counts.append(len(tasks))):
        np.testing.assert_array_equal(quietly(mixture().fit, X).means_, expected)
    assert max(np.diff(counts)) <= 15


def test_reading_is_lazy_and_dask_goes_out(client):
    pandas = pytest.importorskip("pandas")
    frame_module = pytest.importorskip("dask.dataframe")
    X = da.from_array(IRIS, chunks=(40, 2))  # cut between features, too
    fitted = GaussianMixture(3, random_state=0).fit(X)
    kmeans = KMeans(3, random_state=0).fit(X)
    for estimator, method in (
        (fitted, "predict"), (fitted, "predict_proba"), (fitted, "score_samples"),
        (kmeans, "predict"), (kmeans, "transform"),
    ):  # fmt: skip
        lazy, now = getattr(estimator, method)(X), getattr(estimator, method)(IRIS)
        assert dask.is_dask_collection(lazy)
        assert (lazy.shape, lazy.dtype) == (now.shape, now.dtype)
        np.testing.assert_allclose(lazy.compute(), now, rtol=1e-12)
    assert fitted.score(X) == pytest.approx(fitted.score(IRIS), rel=1e-12)
    assert dask.is_dask_collection(kmeans.fit_predict(X))

    frame = pandas.DataFrame(IRIS, columns=list("abcd"))
    data = frame_module.from_pandas(frame, npartitions=4)
    named = GaussianMixture(3, random_state=0).fit(data)
    assert list(named.feature_names_in_) == list("abcd")
    np.testing.assert_allclose(named.means_, fitted.means_, rtol=1e-11)
    np.testing.assert_array_equal(named.predict(data).compute(), named.predict(frame))


def test_bags_of_sparse_blocks_weights_and_empty_partitions(client):
    bag = pytest.importorskip("dask.bag")
    counts = sp.csr_array(DIGITS[:500])
    parts = [counts[:100], counts[100:100], counts[100:350], counts[350:]]
    estimator = MultinomialMixture(4, init_params="random", random_state=0)
    expected = clone(estimator).fit(counts)
    data = bag.from_sequence([*parts, counts[:0]], npartitions=5)
    fitted = clone(estimator).fit(data)
    np.testing.assert_allclose(fitted.probabilities_, expected.probabilities_, 1e-11, 1e-13)
    labels = np.concatenate(fitted.predict(data).compute())
    np.testing.assert_array_equal(labels, fitted.predict(counts))

    weight = np.resize([1.0, 2.0, 0.0], 150)
    X = da.from_array(IRIS, chunks=(60, 4))
    X = X[X[:, 0] > 0]  # of lengths that are not known
    weights = da.from_array(weight, chunks=60)
    some = quietly(mixture().fit, X, None, weights)
    blocks = Blocks.from_arrays(IRIS, weight, batch_rows=60)
    np.testing.assert_array_equal(some.means_, quietly(mixture().fit, blocks).means_)
    few = da.concatenate([X[X[:, 0] > 99], X, X[X[:, 0] > 99]])  # with empty blocks
    np.testing.assert_allclose(
        quietly(mixture().fit, few).means_, quietly(mixture().fit, X).means_, rtol=1e-9
    )


def test_documents_and_sequences_of_blocks(client):
    """PLSA's documents' topics stay on the workers; a chunk of an array is a sequence."""
    bag = pytest.importorskip("dask.bag")
    counts = sp.csr_array(DIGITS[:300])
    cut = Blocks.from_arrays(counts, batch_rows=60)
    data = bag.from_sequence([counts[i : i + 60] for i in range(0, 300, 60)], npartitions=5)
    for model in (
        PLSA(4, max_iter=8, tol=0, random_state=0),
        LatentDirichletAllocation(4, max_iter=4, random_state=0),
    ):
        here, there = quietly(clone(model).fit, cut), quietly(clone(model).fit, data)
        np.testing.assert_array_equal(there.components_, here.components_)
        topics = np.concatenate(there.transform(data).compute())
        np.testing.assert_allclose(topics, there.transform(counts), rtol=1e-9)
        assert there.score(data) == pytest.approx(there.score(counts), rel=1e-9)
    with pytest.raises(ValueError, match="take 'batch' for Dask collections"):
        PLSA(4, algorithm="incremental").fit(data)
    hmm = GaussianHMM(3, random_state=0, n_iter=5, tol=-1.0)
    here = quietly(clone(hmm).fit, Blocks.from_arrays(IRIS, batch_rows=30))
    there = quietly(clone(hmm).fit, da.from_array(IRIS, chunks=(30, 4)))
    np.testing.assert_array_equal(there.means_, here.means_)
    score = there.score(IRIS, [30] * 5)
    assert there.score(da.from_array(IRIS, chunks=(30, 4))) == pytest.approx(score, rel=1e-12)
    lazy = there.score_samples(da.from_array(IRIS, chunks=(30, 4)))
    assert all(dask.is_dask_collection(one) for one in lazy)
    log_prob, posteriors = dask.compute(*lazy)
    assert log_prob == pytest.approx(score, rel=1e-12)
    np.testing.assert_allclose(posteriors, there.predict_proba(IRIS, [30] * 5), rtol=1e-12)


def test_k_means_parallel_on_workers(client):
    kmeans = KMeans(5, init="k-means||", random_state=0, tol=0)
    here = clone(kmeans).fit(Blocks.from_arrays(IRIS, batch_rows=30))
    there = clone(kmeans).fit(da.from_array(IRIS, chunks=(30, 4)))
    np.testing.assert_array_equal(there.cluster_centers_, here.cluster_centers_)


def test_workers_sort_samples_into_cells(client):
    mixture = GaussianMixture(3, algorithm="multiresolution", random_state=0, tol=1e-6)
    data = np.random.default_rng(0).normal(size=(20_000, 2)) * np.array([1, 3])
    here = clone(mixture).fit(Blocks.from_arrays(data, batch_rows=1000))
    there = clone(mixture).fit(da.from_array(data, chunks=(1000, 2)))
    np.testing.assert_array_equal(there.covariances_, here.covariances_)
    assert there.lower_bounds_ == here.lower_bounds_


VECTORS = np.random.default_rng(3).normal(size=(64, 2))
ON_WORKERS = {
    "mixture": (mixture(n_init=2, max_iter=4), IRIS),
    "squarem": (mixture(algorithm="squarem", max_iter=9), IRIS),
    "truncated": (mixture(algorithm="truncated", covariance_type="diag", max_iter=9), IRIS),
    "student": (StudentMixture(3, random_state=0, max_iter=4, tol=0), IRIS),
    "bayesian": (BayesianGaussianMixture(3, random_state=0, max_iter=4, tol=0), IRIS),
    "multinomial": (MultinomialMixture(4, random_state=0, max_iter=4, tol=0), DIGITS[:300]),
    "k-means": (KMeans(5, random_state=0, tol=0, init="random", n_init=2), IRIS),
    "k-means truncated": (KMeans(9, random_state=0, tol=0, algorithm="truncated"), IRIS),
    "plsa": (PLSA(4, random_state=0, max_iter=4, tol=0, n_init=2), DIGITS[:300]),
    "lda": (LatentDirichletAllocation(4, random_state=0, max_iter=4, evaluate_every=1),
            DIGITS[:300]),
    "gaussian lda": (GaussianLDA(3, vectors=VECTORS, random_state=0, max_iter=4, tol=0, n_init=2),
                     DIGITS[:300]),
    "gaussian lda of vectors": (GaussianLDA(3, random_state=0, max_iter=4, tol=0), IRIS),
    "hmm": (GaussianHMM(3, random_state=0, n_iter=5, tol=-np.inf), IRIS),
}  # fmt: skip


class Killed(Exception):
    """The program ends, as it were."""


def interrupted(fit, n):
    """Let a fit end at the n-th iteration."""
    seen = []

    def kill(state):
        seen.append(state)
        if len(seen) == n:
            raise Killed

    with pytest.raises(Killed), em.watch(kill):
        fit()


@pytest.mark.timeout(3 * SLOW)
@pytest.mark.parametrize("name", ON_WORKERS)
def test_every_fit_on_workers_goes_on_from_a_checkpoint_with_the_same_bits(name, client, tmp_path):
    """Also those that keep something of each row, which is on the workers."""
    estimator, rows = ON_WORKERS[name]
    X = da.from_array(rows, chunks=(len(rows) // 5, rows.shape[1]))
    iterations = []
    with em.watch(lambda state: iterations.append(state.init)):
        whole = bits(vars(quietly(clone(estimator).fit, X)))
    for n in {2, iterations.count(0) + 1, len(iterations) - 1} & set(range(len(iterations))):
        often = em.Checkpoint(tmp_path / f"fit{n}", iterations=1)
        interrupted(lambda often=often: clone(estimator).fit(X, checkpoint=often), n)
        left = []
        with em.watch(lambda state, left=left: left.append(state.init)):
            again = quietly(partial(clone(estimator).fit, X, checkpoint=often))
        assert bits(vars(again)) == whole
        assert len(left) == len(iterations) - n + 1  # it went on, and did not start again


def test_states_of_rows_come_from_the_workers_one_group_at_a_time(client, tmp_path, monkeypatch):
    """A checkpoint needs no more memory here than a group's states."""
    numbers = [np.arange(i, i + 4.0) for i in range(80)]
    here, most = [], []
    fetch, filled = engine.GroupStates.fetch, em.Checkpoint(tmp_path / "fit", iterations=1)

    def watched(self):
        arrays = fetch(self)
        here.extend(weakref.ref(array) for array in arrays)
        most.append(sum(one() is not None for one in here))
        return arrays

    def fit(**more):
        return quietly(lambda: em.fit(Remembers(), numbers, 1.0, tol=0, max_iter=6, **more))

    monkeypatch.setattr(engine.GroupStates, "fetch", watched)
    executor = em.DaskExecutor(client)
    interrupted(lambda: fit(executor=executor, checkpoint=filled), 4)
    assert len(most) == 3 * 10  # 3 checkpoints of 10 groups
    assert max(most) <= 2 * 8
    again = fit(executor=executor, checkpoint=filled)
    assert (again.params, again.lower_bounds) == (fit().params, fit().lower_bounds)
    with pytest.raises(ValueError, match=r"were on the workers of a cluster: go on there"):
        fit(checkpoint=filled)
    alone = em.Checkpoint(tmp_path / "alone", iterations=1)
    interrupted(lambda: fit(checkpoint=alone), 4)
    with pytest.raises(ValueError, match=r"of a fit in one process, and the states of its rows"):
        fit(executor=executor, checkpoint=alone)


@pytest.mark.timeout(3 * SLOW)
def test_states_from_a_checkpoint_are_made_again_where_a_worker_is_killed(client, tmp_path):
    numbers = [np.arange(i, i + 4.0) for i in range(20)]
    often, killed = em.Checkpoint(tmp_path / "fit", iterations=1), []

    def fit(**more):
        return quietly(lambda: em.fit(Remembers(), numbers, 1.0, tol=0, max_iter=9, **more))

    def kill(state):
        if state.iteration == 5:
            killed.append(min(client.run(os.getpid).values()))
            os.kill(killed[-1], signal.SIGKILL)

    here, executor = fit(), em.DaskExecutor(client)
    interrupted(lambda: fit(executor=executor, checkpoint=often), 4)
    again = fit(executor=executor, checkpoint=often, callbacks=[kill])
    client.wait_for_workers(2, timeout=SLOW)
    assert len(killed) == 1
    assert (again.params, again.lower_bounds) == (here.params, here.lower_bounds)


def test_bad_data_on_workers_are_told_as_here(client):
    spoilt = IRIS.copy()
    spoilt[77, 1] = np.inf
    with pytest.raises(ValueError, match=r"^block 1, row 37: Input X contains infinity"):
        KMeans(2).fit(da.from_array(spoilt, chunks=(40, 4)))
    X = da.from_array(IRIS, chunks=(40, 4))
    with pytest.raises(ValueError, match="at least one positive weight"):
        GaussianMixture(2).fit(X, sample_weight=da.zeros(150, chunks=40))
    with pytest.raises(ValueError, match=r"cut as X is, in 4 blocks, got 3: rechunk"):
        GaussianMixture(2).fit(X, sample_weight=da.ones(150, chunks=50))
    with pytest.raises(ValueError, match="got 1 dimensions"):
        GaussianMixture(2).fit(X[:, 0])


def test_workers_of_another_version_are_refused_unless_allowed(client, monkeypatch):
    X = da.from_array(IRIS, chunks=(40, 4))
    expected = quietly(mixture().fit, X).means_
    monkeypatch.setattr(engine, "__version__", "0.0.1")
    with pytest.raises(RuntimeError, match=r"has fastem .* but 0\.0\.1 with .* was expected"):
        mixture().fit(X)
    with dask.config.set({"fastem.mixed-workers": True}):
        np.testing.assert_array_equal(quietly(mixture().fit, X).means_, expected)
    with pytest.raises(RuntimeError, match="instruction set 'v3', but 1 with 'v4'"):
        engine.check_alike(("1", "v3"), ("1", "v4"), "tcp://a")


def test_a_wait_without_workers_ends():
    with (
        LocalCluster(n_workers=0, dashboard_address=":0") as nobody,
        Client(nobody, set_as_default=False) as client,
    ):
        executor = em.DaskExecutor(client, patience=0.5)
        with pytest.raises(RuntimeError, match=r"no worker for 0\.5 seconds"):
            em.fit(Remembers(), [np.ones(3)], 0.0, executor=executor)
        with pytest.raises(RuntimeError, match=r"no worker for 0\.5 seconds"):
            executor.get(client.submit(len, "ab"))


def test_arguments_of_the_executor_are_checked(client):
    with pytest.raises(TypeError, match=r"must be a distributed\.Client, got str"):
        em.DaskExecutor("tcp://here")
    with pytest.raises(ValueError, match="patience must be above 0"):
        em.DaskExecutor(client, patience=0)


def test_without_a_cluster_the_blocks_are_computed_here_one_by_one():
    X = da.from_array(IRIS, chunks=(40, 4))
    fitted = GaussianMixture(3, random_state=0).fit(X)
    blocks = GaussianMixture(3, random_state=0).fit(Blocks.from_arrays(IRIS, batch_rows=40))
    np.testing.assert_array_equal(fitted.means_, blocks.means_)


def test_groups_are_subtrees_that_depend_on_the_number_of_blocks_alone():
    sizes = [engine._group_size(n) for n in (1, 64, 65, 4096, 4097, 32768, 32769)]
    assert sizes == [1, 1, 8, 8, 64, 64, 512]
