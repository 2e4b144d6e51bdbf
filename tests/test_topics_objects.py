"""What a fit of topics holds pickles and copies, and goes on from there with the same bits."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from fastem import _kernels, em
from fastem._kernels import discrete, gaussian, kmeans, tokens, topics
from fastem._kernels import gamma_stream as streams
from fastem.components.codes import Lists
from fastem.topics.cvb0 import CVB0EM, ShuffledDocuments
from fastem.topics.documents import Documents, Topics, padded
from fastem.topics.gammas import advance, gamma_stream, stream_of
from fastem.topics.plsa_em import PLSAEM
from fastem.topics.stochastic import StochasticEM, WholeDocuments
from fastem.topics.variational import LDAEM, Progress

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
    model, topic = CVB0EM(np.full(K, 0.3), 0.1, 1), first_topics()
    state = model.first_state(topic, documents)
    for _ in range(passes):
        statistics, state = model.e_step(topic, documents, state, spare=state)
        topic = model.m_step(statistics)
    again = copied(documents)
    for name in ("n_docs", "nnz", "n_chunks"):
        assert getattr(again.chunks, name) == getattr(documents.chunks, name)
    first, _ = copied(model).e_step(copied(topic), again, copied(state))
    second, _ = model.e_step(topic, documents, state, spare=state)
    assert first.bound == second.bound
    assert_array_equal(arrays(first), arrays(second))


def stochastic_model(longest):
    return StochasticEM(
        None, 0.05, n_topics=K, n_threads=1, seed=3, longest=longest, dtype=np.dtype(float)
    )


@copies
def test_stochastic_goes_on(copied):
    documents = WholeDocuments(counts(), np.arange(40), 8)
    model, topic = stochastic_model(int(documents.lengths.max())), first_topics()
    state = model.first_state(topic, documents)
    for _ in range(4):
        first, _ = copied(model).e_step(*map(copied, (topic, documents, state)))
        statistics, state = model.e_step(topic, documents, state, spare=state)
        assert first.bound == statistics.bound
        assert_array_equal(first.word_topic, statistics.word_topic)
        topic = model.m_step_from(topic, statistics)


@pytest.mark.parametrize("method", ["cvb0", "stochastic"])
def test_blocks_of_kept_topics_add(method):
    """Each block gives what its own documents have: together all tokens, none of them twice."""
    X = counts()
    if method == "cvb0":
        blocks = [ShuffledDocuments(X[i::3], None, slice(None), 4, number=i) for i in range(3)]
        model = CVB0EM(np.full(K, 0.3), 0.1, 1)
    else:
        blocks = [WholeDocuments(X[i::3], slice(None), 4, number=i) for i in range(3)]
        model = stochastic_model(int(X.sum(axis=1).max()))
    seen = []

    def watch(state):
        topic = state.params.counts if method == "stochastic" else state.params.sums
        tokens = [b.X[: b.chunks.cuts[s.joined]] for b, s in zip(blocks, state.states, strict=True)]
        expected = sum(some.sum(axis=0) for some in tokens)
        assert_allclose(topic.sum(axis=1), expected, rtol=1e-12, atol=1e-12)
        seen.append(expected.sum())

    result = em.fit(model, blocks, first_topics(), max_iter=12, tol=0, callbacks=[watch])
    assert seen[-1] == X.sum()
    assert np.all(np.isfinite(result.lower_bounds))
    with ThreadPoolExecutor(2) as pool:  # where no state is written over
        again = em.fit(model, blocks, first_topics(), max_iter=12, tol=0, executor=pool)
    assert again.lower_bounds == result.lower_bounds


def test_blocks_draw_from_streams_of_their_own():
    """Random first gammas: a block's depend on its number, and the first block's are NumPy's."""
    X, topic = counts(), first_topics()
    stream = stream_of(np.random.RandomState(5))
    topic = topic._replace(progress=Progress(stream=stream))
    model = LDAEM(np.full(K, 0.3), 0.1, 1, max_sweeps=0, tol=0.0)

    def bound(number):
        return model.e_step(topic, Documents(X, number=number))

    bounds = [bound(number).bound for number in (0, 1, 2, 1)]
    assert len(set(bounds)) == 3
    assert bounds[1] == bounds[3]
    gamma = np.random.RandomState(5).gamma(100.0, 0.01, (40, K))
    assert bounds[0] == model.bound(topic, Documents(X), model.infer(topic, Documents(X), gamma))
    total = em.tree_sum([bound(1), bound(0), bound(2)])
    assert total.drawn.number == 0
    after = model.m_step_from(topic, total).progress.stream
    ours, numpys = np.random.RandomState(5), np.random.RandomState(5)
    advance(ours, after)
    numpys.gamma(100.0, 0.01, (40, K))
    assert ours.random_sample() == numpys.random_sample()


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
    yield discrete.Job(Lists(None, np.zeros((3, 1), np.int32), None, 1), 3, 2)
    prior = padded(np.ones((1, 2)), 2, np.float64)
    yield topics.Job(topics.Counts(*pattern, np.ones(2)), 2, prior, prior[0])
    chunks = tokens.Chunks(*pattern, np.array([0, 2]))
    yield tokens.Job(chunks, np.ones(2), prior[0], 0.1, prior, np.ones(2))


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
    """It is copied, or, if it is made again in each E-step, says that it cannot be."""
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
