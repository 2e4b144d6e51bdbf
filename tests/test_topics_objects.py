"""What a fit of topics holds pickles and copies, and goes on from there with the same bits."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from fastem import _kernels
from fastem._kernels import discrete, gaussian, kmeans, tokens, topics
from fastem._kernels import gamma_stream as streams
from fastem.topics.cvb0 import CVB0EM, ShuffledDocuments
from fastem.topics.documents import Documents, Topics, padded
from fastem.topics.gammas import gamma_stream
from fastem.topics.plsa_em import PLSAEM
from fastem.topics.stochastic import StochasticEM
from fastem.topics.variational import LDAEM

K, V = 3, 12
COPIES = {
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
copies = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


def counts(seed=0):
    return sp.csr_array(np.random.default_rng(seed).poisson(0.7, (40, V)).astype(float))


def first_topics():
    lam = np.random.default_rng(1).gamma(2, 1, (V, K)) + 0.1
    return Topics(padded(lam, K, np.float64), lam.sum(axis=0), 0.0)


def arrays(statistics):
    sums = statistics.word_topic
    return sums.dense() if hasattr(sums, "dense") else sums


@copies
@pytest.mark.parametrize("seen", [False, True], ids=["new", "after an E-step"])
def test_documents(copied, seen):
    documents = Documents(counts(), np.linspace(0.5, 2, 40))
    model = LDAEM(np.full(K, 0.3), 0.1, 1, max_sweeps=20, tol=1e-4)
    topic = first_topics()
    if seen:
        topic = model.m_step_from(topic, model.e_step(topic, documents))
    again, model = copied(documents), copied(model)
    assert_array_equal(again.counts.word_id, documents.counts.word_id)
    expected, given = (model.e_step(topic, one) for one in (documents, again))
    assert expected.bound == given.bound
    assert_array_equal(arrays(expected), arrays(given))


@copies
def test_plsa_goes_on(copied):
    model, topic = PLSAEM(K, 0.1, 0.1, 1), first_topics()
    documents = Documents(counts())
    statistics, state = model.e_step(topic, documents, model.first_state(topic, documents))
    now = model, model.m_step(statistics), documents, state
    first, _ = copied(model).e_step(*map(copied, now[1:]))
    second, _ = model.e_step(*now[1:])
    assert first.bound == second.bound
    assert_array_equal(arrays(first), arrays(second))


@copies
@pytest.mark.parametrize("passes", [0, 2])
def test_shuffled_documents(copied, passes):
    documents = ShuffledDocuments(counts(), None, np.arange(40)[::-1], 8)
    model = CVB0EM(documents, np.full(K, 0.3), 0.1, 1)
    topic = first_topics()
    for _ in range(passes):
        topic = model.m_step(model.e_step(topic, documents))
    again, their_model = copied(documents), copy.deepcopy(model)
    for name in ("n_docs", "nnz", "n_chunks"):
        assert getattr(again.chunks, name) == getattr(documents.chunks, name)
    first, second = their_model.e_step(topic, again), model.e_step(topic, documents)
    assert first.bound == second.bound
    assert_array_equal(arrays(first), arrays(second))


def test_stochastic_goes_on():
    documents = ShuffledDocuments(counts(), None, np.arange(40), 8)
    model = StochasticEM(
        documents, None, 0.05, n_topics=K, n_threads=1, seed=3, dtype=np.dtype(float)
    )
    topic = first_topics()
    start = model.start(documents, topic._replace(sums=padded(topic.sums[:, :K], K, np.float32)))
    again = pickle.loads(pickle.dumps((model, documents, start)))
    first, second = model.e_step(start, documents), again[0].e_step(again[2], again[1])
    assert first.bound == second.bound
    assert_array_equal(first.word_topic, second.word_topic)


@copies
def test_a_gamma_stream_goes_on(copied):
    random_state, first, second = np.random.RandomState(0), np.empty((4, 9)), np.empty((4, 9))
    with gamma_stream(random_state, first) as stream:
        if stream is None:
            pytest.skip("this build rounds as NumPy does not")
        stream.fill(first)
        again = copied(stream)
        stream.fill(first)
        again.fill(second)
    assert_array_equal(first, second)


def jobs():
    """Yield an object of every class of the kernels."""
    pattern = np.arange(3), np.zeros(2, np.int32)
    x = np.zeros((3, 2))
    yield topics.Counts(*pattern, np.ones(2))
    yield tokens.Chunks(*pattern, np.array([0, 2]))
    yield streams.GammaStream(np.random.RandomState(0).get_state(legacy=False), 100.0, 0.01)
    yield kmeans.Job(x, x, x[0], 1.0)
    yield discrete.Job(None, np.zeros(3, np.int32), None, None, 3, x[:1], x[0])


def classes():
    modules = [discrete, gaussian, kmeans, topics, tokens, streams]
    return {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__.startswith(_kernels.__name__)
    }


@copies
def test_no_object_of_a_kernel_crashes(copied):
    """It is copied, or, if it is made anew in each E-step, says that it cannot be."""
    for it in jobs():
        if type(it).__name__ != "Job":
            assert type(copied(it)) is type(it)
            continue
        with pytest.raises(TypeError):
            copied(it)


def test_no_object_of_a_kernel_is_half_made():
    assert {type(it) for it in jobs()} <= classes()
    assert len(classes()) >= 6
    for cls in classes():
        with pytest.raises(TypeError):
            cls.__new__(cls)
