"""The kernels of LDA's methods that keep the topics of every word: one pass is the textbook's."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from fastem._kernels import tokens as kernel
from fastem.topics.documents import padded
from fastem.topics.stochastic import fit_pseudo_counts

try:
    from reference import lda_tokens as oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)


X = np.random.default_rng(0).poisson(0.9, (80, 60)).astype(np.float64)
X[7], X[:, 11] = 0, 0  # a document without words, and a word that nobody has


def chunked(counts, size):
    """Chunks of the kernels, their pairs for the oracle, and the CSR counts."""
    csr = sp.csr_array(counts)
    cuts = np.append(np.arange(0, len(counts), size), len(counts))
    chunks = kernel.Chunks(csr.indptr.astype(np.int64), csr.indices.astype(np.int32), cuts)
    return chunks, list(pairwise(cuts)), csr


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("n_topics", [1, 7, 20])
@pytest.mark.usefixtures("every_instruction_set")
def test_a_pass_of_cvb0(n_topics, dtype, tolerance):
    """With weights and counts that are not whole; two passes, the first from nothing."""
    rng = np.random.default_rng(n_topics)
    counts = X[:25] * rng.choice([0.25, 1, 1.5], X[:25].shape)
    weight = rng.choice([0.0, 0.5, 1.0, 2.0], len(counts))
    chunks, pairs, csr = chunked(counts, 4)
    alpha, eta, n_words = rng.uniform(0.02, 0.5, n_topics), 0.05, counts.shape[1]
    prior = padded(alpha[None], n_topics, dtype)[0]
    width = len(prior)
    q, doc_topic = np.zeros((csr.nnz, width), dtype), np.zeros((len(counts), width), dtype)
    start = rng.gamma(1, 1, (n_words, n_topics)).astype(dtype)
    word_topic = padded(start, n_topics, dtype)
    totals = start.sum(axis=0, dtype=np.float64)
    all_q, in_doc = np.zeros((*counts.shape, n_topics)), np.zeros((len(counts), n_topics))
    in_word = start.astype(np.float64)
    for _ in range(2):
        log_likelihood = np.zeros(len(counts))
        job = kernel.Job(chunks, csr.data.astype(dtype), prior, eta, word_topic, totals)
        kernel.cvb0_pass(
            job, 0, chunks.n_chunks, q, doc_topic, log_likelihood, 1, doc_weight=weight
        )
        expected = oracle.cvb0_pass(counts, weight, pairs, all_q, in_doc, in_word, alpha, eta)
        assert_allclose(q[:, :n_topics], all_q[counts > 0], rtol=tolerance, atol=tolerance)
        assert_allclose(doc_topic[:, :n_topics], in_doc, rtol=tolerance, atol=tolerance * 10)
        assert_allclose(word_topic[:, :n_topics], in_word, rtol=tolerance, atol=tolerance * 10)
        assert_allclose(totals, in_word.sum(axis=0), rtol=tolerance * 10)
        assert_allclose(log_likelihood, expected, rtol=tolerance * 10)
        assert_array_equal(word_topic[:, n_topics:], 0)


def undrawn(counts, n_topics, width):
    """What draws begin with, and the order of topics in which they add up probabilities."""
    token_begin, n_tokens = np.append(0, counts.sum(axis=1).cumsum()), counts.sum()
    topic, drawn = np.full(n_tokens, -1, np.int32), np.empty(n_tokens, np.int32)
    word_topic = np.zeros((counts.shape[1], width), np.int32)
    order = np.arange(width).reshape(-1, kernel.lanes(width, np.float32)).T.ravel()
    totals = np.zeros(width, np.int64)
    return token_begin, topic, drawn, word_topic, totals, order[order < n_topics]


def bfloat16(values):
    """Round float32 to its upper half, to the nearest and then to even; as uint16."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat16(values):
    return (values.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("n_topics", [1, 7, 40])
@pytest.mark.usefixtures("every_instruction_set")
def test_a_pass_of_cvb0_with_brief_q(n_topics):
    """q is rounded, and all sums are sums of what is kept of it."""
    rng = np.random.default_rng(n_topics)
    chunks, _, csr = chunked(X[:25], 4)
    prior = padded(np.full((1, n_topics), 0.1), n_topics, np.float32)[0]
    start = padded(rng.gamma(1, 1, (X.shape[1], n_topics)), n_topics, np.float32)
    results, first_q = [], []
    for dtype in (np.float32, np.uint16):
        q, doc_topic = np.zeros((csr.nnz, len(prior)), dtype), np.zeros((25, len(prior)), "f4")
        word_topic, totals = start.copy(), start[:, :n_topics].sum(axis=0, dtype=np.float64)
        for _ in range(2):
            counts = csr.data.astype(np.float32)
            job = kernel.Job(chunks, counts, prior, 0.05, word_topic, totals)
            kernel.cvb0_pass(job, 0, chunks.n_chunks, q, doc_topic, None, 1)
            first_q.append(q[csr.indptr[:4]].copy())  # of documents that begin with the same
        results.append((q, doc_topic, word_topic))
    assert_array_equal(bfloat16(first_q[0]), first_q[2])
    (q, *_), (brief, doc_topic, word_topic) = results
    kept = from_bfloat16(brief)
    assert_allclose(kept, q, rtol=0.02, atol=1e-6)
    counted = csr.data[:, None] * kept
    expected = np.zeros(doc_topic.shape)
    np.add.at(expected, np.repeat(np.arange(25), np.diff(csr.indptr)), counted)
    assert_allclose(doc_topic, expected, rtol=1e-4, atol=1e-5)
    expected = start.astype(np.float64)
    np.add.at(expected, csr.indices, counted)
    assert_allclose(word_topic, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_topics", [1, 7, 40])
@pytest.mark.usefixtures("every_instruction_set")
def test_first_draws_from_q(n_topics):
    """Of every token of a count, with the hash's uniform numbers; rows need not sum to 1."""
    counts = X[:30].astype(int)
    chunks, _, csr = chunked(counts, 4)
    rng = np.random.default_rng(2)
    full = padded(rng.gamma(0.3, 1, (csr.nnz, n_topics)) + 1e-6, n_topics, np.float32)
    q, width = bfloat16(full), full.shape[1]
    token_begin, topic, drawn, word_topic, totals, order = undrawn(counts, n_topics, width)
    key = kernel.random_key(5, 0)
    job = kernel.Job(chunks, csr.data.astype(np.int32), full[0], 0.05, word_topic, totals)
    kernel.draw_pass(
        job, 0, chunks.n_chunks, topic, drawn, 1,
        n_topics=n_topics, token_begin=token_begin, key=key, q=q,
    )  # fmt: skip
    running = from_bfloat16(q)[:, order].astype(np.float64).cumsum(axis=1)
    running = running[np.repeat(np.arange(csr.nnz), csr.data.astype(int))]
    target = kernel.uniforms(key, 0, len(topic)) * running[:, -1]
    assert_array_equal(topic, order[(running <= target[:, None]).sum(axis=1)])
    words = np.repeat(csr.indices, csr.data.astype(int))
    expected = np.zeros((X.shape[1], width), int)
    np.add.at(expected, (words, topic), 1)
    assert_array_equal(word_topic, expected)
    assert_array_equal(totals, expected.sum(axis=0))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_column_sums(n_threads, dtype):
    rows = np.random.default_rng(0).gamma(1, 1, (5003, 24)).astype(dtype)
    expected = rows[:, :21].sum(axis=0, dtype=np.float64)
    sums = kernel.column_sums(rows, 21, n_threads)
    assert_allclose(sums, expected, rtol=1e-13)
    assert_array_equal(sums, kernel.column_sums(rows, 21, 1))
    assert_array_equal(
        kernel.column_sums(rows[:3], 21, n_threads), rows[:3, :21].sum(axis=0, dtype="f8")
    )
    assert_array_equal(kernel.column_sums(rows[:0], 21, n_threads), np.zeros(21))


@pytest.mark.parametrize("n_topics", [1, 7, 40])
@pytest.mark.usefixtures("every_instruction_set")
def test_a_pass_of_draws(n_topics):
    """The first draws, and draws again; with the hash's uniform numbers."""
    counts = X[:30].astype(int)
    chunks, pairs, csr = chunked(counts, 4)
    rng = np.random.default_rng(3)
    alpha, eta = rng.uniform(0.05, 0.5, n_topics).astype(np.float32), 0.0625
    prior = padded(alpha[None], n_topics, np.float32)[0]
    token_begin, topic, drawn, word_topic, totals, order = undrawn(counts, n_topics, len(prior))
    expected = np.zeros((counts.shape[1], n_topics), int)
    words = [np.repeat(np.arange(len(row)), row) for row in counts]
    expected_topic = [[(w, -1) for w in row] for row in words]
    longest = int(counts.sum(axis=1).max())
    for sweep in range(3):
        key = kernel.random_key(5, sweep)
        log_likelihood = np.zeros(len(counts))
        histogram = np.zeros((n_topics, longest + 1), np.int32)
        job = kernel.Job(chunks, csr.data.astype(np.int32), prior, eta, word_topic, totals)
        kernel.draw_pass(
            job, 0, chunks.n_chunks, topic, drawn, 1, n_topics=n_topics, token_begin=token_begin,
            key=key, histogram=histogram, log_likelihood=log_likelihood,
        )  # fmt: skip
        uniforms = kernel.uniforms(key, 0, len(topic)).astype(np.float64)
        in_doc, likelihood = oracle.draw_pass(
            counts, pairs, expected_topic, expected, alpha, eta, uniforms, order
        )
        assert_array_equal(topic, [z for row in expected_topic for _, z in row])
        assert_array_equal(word_topic[:, :n_topics], expected)
        assert_array_equal(totals, word_topic.sum(axis=0))
        assert_allclose(log_likelihood, likelihood, rtol=1e-5)
        for k in range(n_topics):
            occurs = np.bincount(in_doc[:, k], minlength=longest + 1)
            assert_array_equal(histogram[k, 1:], occurs[1:])


def test_uniform_numbers_are_uniform():
    one = kernel.uniforms(kernel.random_key(0, 1), 0, 100_000)
    other = kernel.uniforms(kernel.random_key(0, 2), 0, 100_000)
    assert one.min() >= 0
    assert one.max() < 1
    assert_allclose(np.histogram(one, 10, (0, 1))[0], 10_000, rtol=0.05)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.02
    assert_array_equal(one[500:], kernel.uniforms(kernel.random_key(0, 1), 500, 100_000))


def test_the_learned_prior_is_minkas():
    rng = np.random.default_rng(0)
    truth = np.array([0.05, 0.3, 1.0, 0.1])
    lengths = rng.integers(1, 200, 3000)
    doc_topic = np.array([rng.multinomial(n, rng.dirichlet(truth)) for n in lengths])
    histogram = np.array([np.bincount(column, minlength=200) for column in doc_topic.T])
    prior = np.full(4, 0.5)
    one = fit_pseudo_counts(prior, histogram, np.bincount(lengths, minlength=200))
    assert_allclose(one, oracle.minka_steps(prior, doc_topic, 3), rtol=1e-10)
    for _ in range(60):
        one = fit_pseudo_counts(one, histogram, np.bincount(lengths, minlength=200))
    assert_allclose(one, truth, rtol=0.1)


def test_a_document_of_weight_two_is_two():
    """In one chunk: both see the same counts."""
    rng, dtype, k = np.random.default_rng(0), np.float64, 8
    start, prior = padded(rng.gamma(1, 1, (60, k)), k, dtype), np.full(k, 0.1)
    sums = []
    for counts, weight in ((X, np.full(len(X), 2.0)), (np.repeat(X, 2, axis=0), None)):
        chunks, _, csr = chunked(counts, len(counts))
        word_topic, totals = start.copy(), start.sum(axis=0)
        q, doc_topic = np.zeros((csr.nnz, k)), np.zeros((len(counts), k))
        for _ in range(3):
            job = kernel.Job(chunks, csr.data, prior, 0.1, word_topic, totals)
            kernel.cvb0_pass(job, 0, 1, q, doc_topic, None, 1, doc_weight=weight)
        sums.append(word_topic)
    assert_allclose(sums[0], sums[1], rtol=1e-10)
