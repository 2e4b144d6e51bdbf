"""Collapsed variational Bayes of latent Dirichlet allocation: the model that the driver fits."""

from __future__ import annotations

import numpy as np

from fastem._engine import arrays
from fastem._engine.statistics import Statistics
from fastem._kernels import tokens as kernel
from fastem.topics.documents import Topics, padded

__all__ = ["CVB0EM", "ShuffledDocuments", "check_number_prior"]

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
    """Documents in a random order and in chunks, of which more and more take part.

    Neighbours are often alike, and what a chunk's documents change is seen by the next chunk.

    Parameters
    ----------
    X : csr_array of shape (D, V), canonical
    sample_weight : ndarray of shape (D,) or None
    order : ndarray of shape (D,)
    chunk_size : int
        Documents in a chunk, at most.

    Attributes
    ----------
    X : csr_array
        The documents in their new order.
    chunks : Chunks
        Their pattern, for the kernels.
    joined : int
        Number of chunks that take part, from the first on.
    """

    def __init__(self, X, sample_weight, order, chunk_size):
        if X.nnz > _MOST_COUNTS:
            raise ValueError(
                f"X has {X.nnz} counts above 0, and a learning_method that keeps the topics of "
                f"each takes at most {_MOST_COUNTS}: take learning_method='online'"
            )
        self.X = X[order]
        self.sample_weight = None if sample_weight is None else sample_weight[order]
        begin = self.X.indptr.astype(np.int64)
        self.chunks = kernel.Chunks(
            begin, self.X.indices.astype(np.int32, copy=False), _cuts(begin, chunk_size)
        )
        self.n_tokens = self.X @ np.ones(X.shape[1])
        self.joined = 0

    def next_joined(self, growth):
        """Return how many chunks take part after the next pass."""
        begin = self.chunks.doc_begin[self.chunks.cuts]
        first = max(1, int(np.searchsorted(begin, _FIRST_COUNTS, "right")) - 1)
        wanted = growth * self.joined if self.joined else first
        return min(self.chunks.n_chunks, int(np.ceil(wanted)))

    def bound(self, log_likelihood):
        """Return the sum over the documents that take part, and the number of their tokens."""
        some = slice(self.chunks.cuts[self.joined])
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


class CVB0EM:
    """Passes of CVB0 (see :class:`fastem.em.Model`); the parameters are the expected counts.

    Every count has the probabilities q of its topics, for which those of all other words stand
    (Asuncion et al. 2009, equation 8). Its E-step goes over the documents chunk by chunk, and what
    one chunk changed the next one sees: it is an incremental one (Neal & Hinton 1998). That is done
    within the kernel, because a chunk is a tenth of a millisecond's work.

    Parameters
    ----------
    documents : ShuffledDocuments
        The one block that there is. It keeps q, (nnz, width), and its sums by document.
    doc_topic_prior : ndarray of shape (K,)
    topic_word_prior : float
    n_threads : int
    growth : float
        How many times as many documents take part in the next pass, at most: the slower, the better
        the end.
    brief : bool
        Whether q is kept as bfloat16, of float32 documents. Passes wait for memory, and half of it
        will do where q is to be drawn from and not to converge.
    """

    CHUNK = 64
    bound_may_fall = True  # it is an approximation of one

    def __init__(
        self, documents, doc_topic_prior, topic_word_prior, n_threads, growth=1.3, brief=False
    ):
        self.n_topics, self.n_threads, self.growth = len(doc_topic_prior), n_threads, growth
        X, dtype = documents.X, documents.X.dtype
        self.prior = padded(np.asarray(doc_topic_prior)[None], self.n_topics, dtype)[0]
        self.topic_word_prior = float(topic_word_prior)
        self.q = arrays.zeros((X.nnz, len(self.prior)), np.uint16 if brief else dtype)
        self.doc_topic = arrays.zeros((X.shape[0], len(self.prior)), dtype)

    def e_step(self, topics: Topics, block: ShuffledDocuments, *, bound=True) -> Statistics:
        """Return the expected counts of words in topics after a pass over the documents."""
        log_likelihood = np.zeros(len(block.n_tokens)) if bound else None
        joined, after = block.joined, block.next_joined(self.growth)
        start = None if joined else self._as_counts(topics, block)
        sums = arrays.copy(topics.sums if start is None else start)
        totals = self._totals(sums)

        def visit(first, last):
            kernel.cvb0_pass(
                block.chunks, first, last, block.X.data, block.sample_weight, self.prior,
                self.topic_word_prior, self.q, self.doc_topic, sums, totals, log_likelihood,
                self.n_threads,
            )  # fmt: skip

        visit(0, joined)
        visit(joined, after)
        block.joined = after
        if start is not None:  # from here on the documents alone
            np.maximum(sums - start, 0, out=sums)
        value, weight = block.bound(log_likelihood) if bound else (0.0, 1.0)
        return Statistics(bound=value, weight=weight, word_topic=sums)

    def m_step(self, statistics: Statistics) -> Topics:
        """Return the expected counts as topics."""
        sums = statistics.word_topic
        totals = self._totals(sums) + self.topic_word_prior * len(sums)
        return Topics(sums, totals, self.topic_word_prior)

    def _totals(self, sums):
        return kernel.column_sums(sums, self.n_topics, self.n_threads)

    def _as_counts(self, topics, block):
        """Return the first topics as if each word had been counted in them."""
        counts = topics.sums + topics.sums.dtype.type(topics.prior)
        counts[:, self.n_topics :] = 0
        of_word = block.X.sum(axis=0) * (_START_WEIGHT / counts.sum(axis=1))
        counts *= of_word[:, None].astype(counts.dtype)
        return counts
