"""LDA's methods that keep the topics of every word: 'cvb0' and 'stochastic'."""

import signal
import threading

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linear_sum_assignment
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import LatentDirichletAllocation, em
from fastem._kernels import tokens as kernel
from fastem.topics import stochastic
from fastem.topics.cvb0 import CVB0EM, ShuffledDocuments
from fastem.topics.documents import Topics, padded
from fastem.topics.stochastic import StochasticEM, WholeDocuments

METHODS = ("cvb0", "stochastic")


def corpus(shape=(80, 60), n_topics=5, tokens=70, seed=0):
    """Whole counts of documents that really have topics, and those topics (K, V)."""
    rng = np.random.default_rng(seed)
    topic_word = rng.dirichlet(np.full(shape[1], 0.1), n_topics)
    doc_topic = rng.dirichlet(np.full(n_topics, 0.2), shape[0])
    counts = rng.poisson(tokens * doc_topic @ topic_word).astype(np.float64)
    counts[7], counts[:, 11] = 0, 0
    return counts, topic_word


X, TOPIC_WORD = corpus()
MANY = np.tile(corpus((300, 200), tokens=150)[0], (3, 1))


# ---- what every pass keeps -------------------------------------------------------------------


def stochastic_model(counts, n_topics=6, n_threads=1, seed=0, size=32):
    """A model, its documents and its first topics."""
    rng = np.random.RandomState(seed)
    csr = sp.csr_array(counts)
    documents = WholeDocuments(csr, rng.permutation(len(counts)), size)
    model = StochasticEM(
        None, 0.05, n_topics=n_topics, n_threads=n_threads, seed=seed, dtype=csr.dtype,
        longest=int(documents.lengths.max()),
    )  # fmt: skip
    first = padded(rng.gamma(100, 0.01, (counts.shape[1], n_topics)), n_topics, np.float32)
    topics = Topics(first, first[:, :n_topics].sum(axis=0, dtype=np.float64), 0.0)
    return model, documents, topics


def test_no_token_is_lost(monkeypatch):
    """Also while documents join; and the kept topics are those that are counted."""
    monkeypatch.setattr("fastem.topics.stochastic._ANNEALED_DOCS", 200)
    model, documents, start = stochastic_model(MANY)
    joined = []

    def watch(state):
        (tokens,) = state.states
        some = documents.X[: documents.chunks.cuts[tokens.joined]]
        counts = state.params.counts
        assert_array_equal(counts.sum(axis=1), some.sum(axis=0))
        assert_array_equal(counts.sum(axis=0), state.params.count_totals)
        n_tokens = int(some.sum())
        drawn = np.bincount(tokens.topic[:n_tokens], minlength=6)
        assert_array_equal(counts.sum(axis=0)[:6], drawn)
        assert np.all(tokens.topic[n_tokens:] == -1)
        joined.append(tokens.joined)

    result = em.fit(model, [documents], start, tol=0, max_iter=20, callbacks=[watch])
    assert joined[0] < joined[1] < joined[-1] == documents.chunks.n_chunks
    assert result.params.average is not None
    # an average of counts over passes, each of which has all tokens
    assert_allclose(result.params.average.sum(axis=1), MANY.sum(axis=0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cvb0_keeps_the_counts(dtype):
    weight = np.random.default_rng(0).uniform(0.5, 2, len(MANY))
    lda = LatentDirichletAllocation(6, learning_method="cvb0", max_iter=25, random_state=0)
    lda.fit(MANY.astype(dtype), sample_weight=weight)
    expected = weight @ MANY + 6 * lda.topic_word_prior_
    assert_allclose(
        lda.components_.sum(axis=0), expected, rtol=2e-3 if dtype == np.float32 else 1e-9
    )


def test_every_pass_of_cvb0_knows_the_totals(monkeypatch):
    def watched(job, *args, **settings):
        expected = job.word_topic[:, : len(job.totals)].sum(axis=0)
        assert_allclose(job.totals, expected, rtol=1e-9, atol=1e-9)
        passes.append(job.word_topic.sum())
        return cvb0_pass(job, *args, **settings)

    passes, cvb0_pass = [], kernel.cvb0_pass
    monkeypatch.setattr(kernel, "cvb0_pass", watched)
    LatentDirichletAllocation(6, learning_method="cvb0", max_iter=5, random_state=0).fit(MANY)
    assert len(passes) > 5  # where documents join, an iteration has a pass of theirs
    assert passes[0] < passes[-1] == pytest.approx(MANY.sum())


def test_many_topics_of_few_tokens_are_annealed_for_fewer_passes(monkeypatch):
    """Or the start would take longer than the draws that follow."""
    passes, fit = [], em.fit

    def counted(model, *args, max_iter, **settings):
        passes.append(max_iter)
        return fit(model, *args, max_iter=max_iter, **settings)

    monkeypatch.setattr(stochastic.em, "fit", counted)
    for n_topics in (5, 1000, 5000):
        model, documents, topics = stochastic_model(X, n_topics)
        model.first_state(topics, documents)
    n_counts, n_tokens = np.count_nonzero(X), X.sum()
    assert passes == [20, int(4_000 * n_tokens // (1000 * n_counts)), 5]


# ---- the estimator ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_for_every_thread_count(method, dtype, monkeypatch):
    monkeypatch.setattr("fastem.topics.stochastic._ANNEALED_DOCS", 300)
    settings = {"learning_method": method, "max_iter": 12, "random_state": 0, "evaluate_every": 4}
    one, *others = (
        LatentDirichletAllocation(40, n_jobs=n, **settings).fit(MANY.astype(dtype))
        for n in (1, 2, 3, 8)
    )
    for other in others:
        assert_array_equal(one.components_, other.components_)
        assert_array_equal(one.doc_topic_prior_, other.doc_topic_prior_)
        assert one.lower_bounds_ == other.lower_bounds_


def test_draws_do_not_depend_on_the_dtype():
    settings = {"learning_method": "stochastic", "max_iter": 10, "random_state": 0}
    one, other = (
        LatentDirichletAllocation(5, **settings).fit(X.astype(dtype))
        for dtype in (np.float32, np.float64)
    )
    assert one.components_.dtype == np.float32
    assert_allclose(one.components_, other.components_, rtol=1e-6)
    assert_array_equal(one.doc_topic_prior_, other.doc_topic_prior_)


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_says_it_all(method):
    settings = {"learning_method": method, "max_iter": 6}
    one, same, other = (
        LatentDirichletAllocation(5, random_state=seed, **settings).fit(sp.csr_matrix(X))
        for seed in (0, 0, 1)
    )
    assert_array_equal(one.components_, same.components_)
    assert np.any(one.components_ != other.components_)


@pytest.mark.parametrize("method", METHODS)
def test_topics_are_found(method):
    counts, topic_word = corpus((600, 120), n_topics=6, tokens=80)
    lda = LatentDirichletAllocation(
        6, learning_method=method, max_iter=40, random_state=0, topic_word_prior=0.05
    ).fit(counts)
    found = lda.components_ / lda.components_.sum(axis=1, keepdims=True)
    distance = np.abs(found[:, None] - topic_word[None]).sum(axis=2) / 2
    assert distance[linear_sum_assignment(distance)].max() < 0.12


@pytest.mark.parametrize("method", METHODS)
def test_what_is_read_off(method):
    rng = np.random.default_rng(0)
    observed = rng.binomial(MANY.astype(int), 0.5)
    batch = LatentDirichletAllocation(8, max_iter=30, random_state=0).fit(MANY)
    lda = LatentDirichletAllocation(
        8, learning_method=method, max_iter=30, random_state=0, evaluate_every=10, perp_tol=0
    ).fit(MANY)
    assert lda.n_iter_ == 30
    assert len(lda.lower_bounds_) == 3
    assert lda.lower_bounds_[-1] > lda.lower_bounds_[0]
    assert lda.bound_ == pytest.approx(np.exp(-lda.lower_bound_))
    assert_allclose(lda.transform(MANY).sum(axis=1), 1)
    assert lda.score(MANY) > batch.score(MANY) * 1.02  # not its objective, and yet near
    assert np.isfinite(lda.perplexity(MANY))
    held = lda.held_out_log_likelihood(observed, MANY - observed)
    assert held > batch.held_out_log_likelihood(observed, MANY - observed) - 0.01
    if method == "stochastic":
        assert lda.doc_topic_prior_.shape == (8,)
        assert np.ptp(lda.doc_topic_prior_) > 0
        assert lda.topic_word_prior_ == pytest.approx(0.01)
    else:
        assert lda.doc_topic_prior_ == 1 / 8
    assert lda.partial_fit(MANY[:50]).components_.shape == (8, 200)


def test_a_given_prior_is_held():
    prior = np.array([0.1, 0.2, 0.3, 0.1, 0.05])
    lda = LatentDirichletAllocation(
        5, learning_method="stochastic", doc_topic_prior=prior, max_iter=6, random_state=0
    ).fit(X)
    assert_array_equal(lda.doc_topic_prior_, prior)


@pytest.mark.parametrize("method", METHODS)
def test_given_topics_are_where_it_begins(method):
    """CVB0 goes on from them, so that topics keep their numbers."""
    counts, topic_word = corpus((600, 120), n_topics=6, tokens=80)
    lda = LatentDirichletAllocation(
        6, learning_method=method, max_iter=20, random_state=0, components_init=topic_word + 1e-4
    ).fit(counts)
    found = lda.components_ / lda.components_.sum(axis=1, keepdims=True)
    distance = np.abs(found[:, None] - topic_word[None]).sum(axis=2)
    assert_array_equal(distance.argmin(axis=1), np.arange(6))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("counts", [np.zeros((4, 6)), np.eye(3), np.full((1, 1), 5.0)])
def test_little_data(method, counts):
    for n_topics in (1, 3):
        lda = LatentDirichletAllocation(n_topics, learning_method=method, random_state=0)
        lda.fit(counts)
        assert np.all(lda.components_ > 0)
        assert np.all(np.isfinite(lda.components_))
        total = counts.sum() + lda.topic_word_prior_ * lda.components_.size
        assert_allclose(lda.components_.sum(), total, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_that_are_stored_say_nothing(method):
    stored = sp.csr_array(np.where(X == 0, -1, X))
    stored.data[stored.data < 0] = 0
    settings = {"learning_method": method, "max_iter": 8, "random_state": 0, "evaluate_every": 2}
    with_zeros = LatentDirichletAllocation(4, **settings).fit(stored)
    without = LatentDirichletAllocation(4, **settings).fit(X)
    assert stored.nnz == X.size
    assert_allclose(with_zeros.components_, without.components_, rtol=1e-9)
    assert_allclose(with_zeros.lower_bounds_, without.lower_bounds_, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_very_long_document(method):
    counts = np.vstack([X, np.random.default_rng(0).poisson(3000, (1, 60))])
    lda = LatentDirichletAllocation(4, learning_method=method, random_state=0).fit(counts)
    assert np.all(np.isfinite(lda.components_))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prior", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_priors(method, prior, dtype):
    lda = LatentDirichletAllocation(
        5, learning_method=method, doc_topic_prior=prior, topic_word_prior=prior, random_state=0
    ).fit(X.astype(dtype))
    assert np.all(np.isfinite(lda.components_))
    assert np.isfinite(lda.bound_)


@pytest.mark.parametrize(
    ("counts", "weight", "words"),
    [
        (X + 0.5 * (X > 0), None, "needs whole counts, but X has"),
        (X, np.full(len(X), 2.0), "leave sample_weight out"),
    ],
)
def test_parts_of_words_have_no_topic(counts, weight, words):
    lda = LatentDirichletAllocation(5, learning_method="stochastic")
    with pytest.raises(ValueError, match=words):
        lda.fit(counts, sample_weight=weight)
    assert not hasattr(lda, "components_")


@pytest.mark.parametrize(
    ("method", "priors", "words"),
    [
        ("cvb0", {"doc_topic_prior": "auto"}, "doc_topic_prior='auto' is not for .*'cvb0'"),
        ("cvb0", {"topic_word_prior": "auto"}, "topic_word_prior='auto' is not for .*'cvb0'"),
        ("stochastic", {"topic_word_prior": "auto"}, "topic_word_prior='auto' is not for"),
        ("stochastic", {"topic_word_prior": 0}, "needs a topic_word_prior that is one number"),
        ("cvb0", {"topic_word_prior": np.ones(X.shape[1])}, "one number above 0"),
    ],
)
def test_priors_that_a_method_has_not(method, priors, words):
    lda = LatentDirichletAllocation(5, learning_method=method, **priors)
    with pytest.raises(ValueError, match=words):
        lda.fit(X)
    assert not hasattr(lda, "components_")


@pytest.mark.parametrize("method", METHODS)
def test_interrupt_leaves_the_last_whole_pass(method):
    def interrupt(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    settings = {"random_state": 0, "learning_method": method}
    lda = LatentDirichletAllocation(5, max_iter=9, **settings).fit(X)
    with em.watch(interrupt), pytest.raises(KeyboardInterrupt):
        lda.fit(X)
    expected = LatentDirichletAllocation(5, max_iter=3, **settings).fit(X)
    assert_array_equal(lda.components_, expected.components_)
    assert_array_equal(lda.doc_topic_prior_, expected.doc_topic_prior_)
    assert lda.n_iter_ == 3


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_within_a_pass(method):
    """What the pass had changed until then is not seen."""
    rng = np.random.default_rng(0)
    many = rng.poisson(0.4, (4000, 1500)).astype(np.float32)

    def watch(state):
        seen[state.iteration] = state.params.components()
        if state.iteration == 2:
            main = threading.main_thread().ident
            threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()

    for _ in range(5):  # a signal may come after a whole pass, and before its callback
        seen = {}
        lda = LatentDirichletAllocation(
            200, learning_method=method, max_iter=100_000, random_state=0, n_jobs=2
        )
        with em.watch(watch), pytest.raises(KeyboardInterrupt):
            lda.fit(many)
        if lda.n_iter_ == max(seen):
            break
    assert lda.n_iter_ == max(seen)
    assert_array_equal(lda.components_, seen[lda.n_iter_])


@parametrize_with_checks(
    [LatentDirichletAllocation(2, learning_method="cvb0")],
    expected_failed_checks=lambda _: {
        f"check_sample_weight_equivalence_on_{n}_data": "the order of documents is drawn"
        for n in ("dense", "sparse")
    },
    xfail_strict=True,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_chunks_hold_few_counts_or_one_document(monkeypatch):
    monkeypatch.setattr("fastem.topics.cvb0._CHUNK_COUNTS", 100)
    documents = ShuffledDocuments(sp.csr_array(X), None, np.arange(len(X)), 16)
    cuts, begin = documents.chunks.cuts, documents.chunks.doc_begin
    assert cuts[0] == 0
    assert cuts[-1] == len(X)
    sizes, n_docs = np.diff(begin[cuts]), np.diff(cuts)
    assert np.all(n_docs > 0)
    assert np.all((sizes <= 100) | (n_docs == 1))
    assert n_docs.max() > 1
    first = Topics(padded(np.ones((X.shape[1], 5)), 5, np.float64), np.full(5, 1.0), 0.0)
    state = CVB0EM(np.full(5, 0.1), 0.1, 1).first_state(first, documents)
    assert state.q.shape[0] == documents.X.nnz
