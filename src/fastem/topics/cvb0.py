"""Collapsed variational Bayes of latent Dirichlet allocation: the model that the driver fits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastem._engine import arrays
from fastem._engine.kept import Kept
from fastem._engine.statistics import Statistics
from fastem._kernels import tokens as kernel
from fastem.topics.documents import Topics, padded
from fastem.topics.vocabulary import n_words_of

__all__ = ["CVB0EM", "ShuffledDocuments", "WordTopics", "check_number_prior"]

_MOST_COUNTS = 2**31 - 1  # whose positions are int32
_CHUNK_COUNTS = 2**15  # whose changes stay in a cache; a longer document is a chunk of its own

# A random start is nearly symmetric, and that is broken on a few documents as well as on all.
_FIRST_COUNTS = 2**15
_START_WEIGHT = 0.1  # of the first topics, as if they had been counted, beside the documents


def check_number_prior(method, topic_word_prior):
    """Raise ValueError if eta is not a number above 0."""
    if np.ndim(topic_word_prior) or not topic_word_prior > 0:
        raise ValueError(
            f"learning_method={method!r} needs a topic_word_prior that is one number above 0, got "
            f"{topic_word_prior!r}: take another number, or another learning_method"
        )


class ShuffledDocuments:
    """A block of documents in a random order and in chunks, of which more and more take part.

    Neighbours are often alike, and what a chunk's documents change is seen by the next chunk.

    Parameters
    ----------
    X : csr_array of shape (D, V), canonical
    sample_weight : ndarray of shape (D,) or None
    order : ndarray of shape (D,)
    chunk_size : int
        Documents in a chunk, at most.
    number : int
        The block's place among the blocks, where each has random numbers of its own.

    Attributes
    ----------
    X : csr_array
        The documents in their new order.
    chunks : Chunks
        Their pattern, for the kernels.
    n_tokens : ndarray of shape (D,)
        Number of words of each document.
    """

    def __init__(self, X, sample_weight, order, chunk_size, number=0):
        if X.nnz > _MOST_COUNTS:
            raise ValueError(
                f"X has {X.nnz} counts above 0, and a learning_method that keeps the topics of "
                f"each takes at most {_MOST_COUNTS}: take learning_method='online'"
            )
        self.X, self.number = X[order], number
        self.sample_weight = None if sample_weight is None else sample_weight[order]
        begin = self.X.indptr.astype(np.int64)
        self.chunks = kernel.Chunks(
            begin, self.X.indices.astype(np.int32, copy=False), _cuts(begin, chunk_size)
        )
        self.n_tokens = self.X @ np.ones(X.shape[1])

    def next_joined(self, joined, growth):
        """Return how many chunks take part after the next pass, if so many did before."""
        if joined == self.chunks.n_chunks:
            return joined
        begin = self.chunks.doc_begin[self.chunks.cuts]
        first = max(1, int(np.searchsorted(begin, _FIRST_COUNTS, "right")) - 1)
        wanted = growth * joined if joined else first
        return min(self.chunks.n_chunks, int(np.ceil(wanted)))

    def bound(self, log_likelihood, joined):
        """Return the sum over the documents of so many chunks, and the number of their tokens."""
        some = slice(self.chunks.cuts[joined])
        weights = 1.0 if self.sample_weight is None else self.sample_weight[some]
        n_tokens = float(np.sum(weights * self.n_tokens[some]))
        return float(np.sum(weights * log_likelihood[some])), n_tokens or 1.0


def _cuts(begin, chunk_size):
    """Return the first document of each chunk, and D."""
    cuts, n_docs = [0], len(begin) - 1
    while cuts[-1] < n_docs:
        full = int(np.searchsorted(begin, begin[cuts[-1]] + _CHUNK_COUNTS, "right")) - 1
        cuts.append(min(n_docs, cuts[-1] + chunk_size, max(full, cuts[-1] + 1)))
    return np.array(cuts, dtype=np.int64)


class WordTopics(NamedTuple):
    """What is kept of a block's counts from one pass to the next."""

    q: np.ndarray  # (nnz, width) the probabilities of their topics
    doc_topic: np.ndarray  # (D, width) the sums of count * q by document
    joined: int  # number of chunks that take part, from the first on
    sums: np.ndarray | None  # (V, width) the sums by word; None: nothing was counted yet

    def to_change(self, spare):
        """Return q and doc_topic as arrays that may be changed: this state's own if it is spare."""
        if spare is self:
            return self.q, self.doc_topic
        if spare is None:
            return arrays.copy(self.q), arrays.copy(self.doc_topic)
        spare.q[...], spare.doc_topic[...] = self.q, self.doc_topic
        return spare.q, spare.doc_topic


class CVB0EM:
    """Passes of CVB0 (see :class:`fastem.em.Model`); the parameters are the expected counts.

    Every count has the probabilities q of its topics, for which those of all other words stand
    (Asuncion et al. 2009, equation 8). Its E-step goes over the documents chunk by chunk, and what
    one chunk changed the next one sees: it is an incremental one (Neal & Hinton 1998). That is done
    within the kernel, because a chunk is a tenth of a millisecond's work. What other blocks changed
    is seen in the next pass.

    Parameters
    ----------
    doc_topic_prior : ndarray of shape (K,)
    topic_word_prior : float
    n_threads : int
    growth : float
        How many times as many documents take part in the next pass, at most: the slower, the better
        the end.
    brief : bool
        Whether q is kept as bfloat16, of float32 documents. Passes wait for memory, and half of it
        will do where q is to be drawn from and not to converge.
    vocabulary : Vocabulary or None
        Which words the documents' columns are, if they are not all.
    """

    CHUNK = 64
    bound_may_fall = True  # it is an approximation of one
    overwrites = True  # q is by far the largest of all arrays

    def __init__(
        self, doc_topic_prior, topic_word_prior, n_threads, growth=1.3, brief=False,
        vocabulary=None,
    ):  # fmt: skip
        self.doc_topic_prior, self.n_topics = np.asarray(doc_topic_prior), len(doc_topic_prior)
        self.topic_word_prior, self.n_threads = float(topic_word_prior), n_threads
        self.growth, self.brief, self.vocabulary = growth, brief, vocabulary
        self._prior, self._totals = Kept(), Kept()

    def first_state(self, topics: Topics, block: ShuffledDocuments) -> WordTopics:
        """Return the state before any document takes part."""
        width, dtype = topics.sums.shape[1], topics.sums.dtype
        q = arrays.zeros((block.X.nnz, width), np.uint16 if self.brief else dtype)
        return WordTopics(q, arrays.zeros((block.X.shape[0], width), dtype), 0, None)

    def e_step(self, topics: Topics, block, state, *, bound=True, spare=None):
        """Return the expected counts of words in topics after a pass over the documents."""
        log_likelihood = np.zeros(len(block.n_tokens)) if bound else None
        joined, after = state.joined, block.next_joined(state.joined, self.growth)
        before = topics.sums if joined else self._as_counts(topics, block)
        prior = self._prior.look(before.dtype)
        if prior is None:
            prior = padded(self.doc_topic_prior[None], self.n_topics, before.dtype)[0]
            self._prior.keep(before.dtype, prior)
        totals = self._totals.look(before)
        totals = self._column_sums(before) if totals is None else totals.copy()
        q, doc_topic = state.to_change(spare)
        sums = arrays.copy(before)
        job = kernel.Job(
            block.chunks, block.X.data, prior, self.topic_word_prior, sums, totals,
            n_words_of(self.vocabulary, sums),
        )  # fmt: skip
        for first, last in ((0, joined), (joined, after)):
            if first < last:
                kernel.cvb0_pass(
                    job, first, last, q, doc_topic, log_likelihood, self.n_threads,
                    doc_weight=block.sample_weight,
                )  # fmt: skip
        if joined:
            self._leave_own(sums, topics.sums, state.sums)
        else:  # from here on the documents alone
            np.maximum(sums - before, 0, out=sums)
        value, weight = block.bound(log_likelihood, after) if bound else (0.0, 1.0)
        statistics = Statistics(bound=value, weight=weight, word_topic=sums)
        return statistics, WordTopics(q, doc_topic, after, sums)

    def _leave_own(self, sums, total, own):
        """Take from the sums what the total had of other blocks: it had `own` of this one."""
        if own is total:  # there are no others
            return
        others = total - own
        sums -= others
        np.maximum(sums, 0, out=sums, where=others != 0)  # less is rounding

    def m_step(self, statistics: Statistics) -> Topics:
        """Return the expected counts as topics."""
        sums = statistics.word_topic
        n_words = n_words_of(self.vocabulary, sums)
        totals = self._column_sums(sums)
        self._totals.keep(sums, totals)
        totals = totals + self.topic_word_prior * n_words
        return Topics(sums, totals, self.topic_word_prior, vocabulary=self.vocabulary)

    def _column_sums(self, sums):
        return kernel.column_sums(sums, self.n_topics, self.n_threads)

    def _as_counts(self, topics, block):
        """Return the first topics as if each word had been counted in them."""
        counts = topics.sums + topics.sums.dtype.type(topics.prior)
        counts[:, self.n_topics :] = 0
        of_word = block.X.sum(axis=0) * (_START_WEIGHT / counts.sum(axis=1))
        counts *= of_word[:, None].astype(counts.dtype)
        return counts
