"""Stochastic EM of latent Dirichlet allocation: the model that the driver fits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastem import em
from fastem._engine import arrays
from fastem._engine.statistics import Statistics
from fastem._kernels import tokens as kernel
from fastem.topics.cvb0 import CVB0EM, ShuffledDocuments
from fastem.topics.documents import Topics, padded

__all__ = ["SampledTopics", "StochasticEM", "check_whole_counts", "fit_pseudo_counts"]

#: Eta while topics are drawn, if nobody gives one; and what share of it the topics keep.
TOPIC_WORD_PRIOR, KEPT_PRIOR = 0.05, 0.2

_ANNEALED_DOCS, _ANNEALED_COUNTS, _ANNEALED_CHUNK = 10_000, 1_000_000, 128
_ANNEALING_PASSES, _ANNEALING_GROWTH = 20, 1.5
_PRIOR_SUM, _LARGEST_PRIOR = 5.0, 0.5  # alpha before it is learned: 5 / K, but not above 0.5
_GROWTH, _JOINING_PASSES = 1.7, 17  # all documents have joined after so many passes, or sooner
_MEMORY = 0.9  # of the average over passes
_PRIOR_EVERY, _PRIOR_STEPS, _SMALLEST_PRIOR = 2, 3, 1e-3
_LONGEST = 2**24  # entries of the histogram of a document's counts by topic


def check_whole_counts(X, sample_weight):
    """Raise ValueError if topics of single words cannot be drawn."""
    if sample_weight is not None:
        raise ValueError(
            "learning_method='stochastic' draws a topic for every word, and a part of a word has "
            "none: leave sample_weight out, or take learning_method='cvb0'"
        )
    if not np.all(X.data == np.rint(X.data)):
        part = X.data[X.data != np.rint(X.data)][0]
        raise ValueError(
            f"learning_method='stochastic' draws a topic for every word and needs whole counts, "
            f"but X has {part:g}: round X, or take learning_method='cvb0'"
        )
    if X.sum(dtype=np.float64) > np.iinfo(np.int32).max:
        raise ValueError(
            "X has more than 2^31 - 1 words, and learning_method='stochastic' counts them in "
            "int32: take a part of the documents, or learning_method='online'"
        )


class SampledTopics(NamedTuple):
    """Counts of words in topics, and their average over passes."""

    counts: np.ndarray  # (V, width) int32
    count_totals: np.ndarray  # (width,) int64
    doc_topic_prior: np.ndarray  # (K,) float64: alpha
    average: np.ndarray | None  # (V, width) float32; None: not all documents take part yet
    prior: float  # pseudo-count of a word in a topic
    dtype: Any  # of what is read off
    learns: bool

    @property
    def sums(self):
        """The counts that topics are made of, (V, width)."""
        return (self.counts if self.average is None else self.average).astype(self.dtype)

    @property
    def totals(self):
        """Their sums over words with the prior, (K,)."""
        sums = self.count_totals if self.average is None else self.average.sum(0, dtype=np.float64)
        return sums[: len(self.doc_topic_prior)] + self.prior * len(self.counts)

    def components(self):
        """Return sums + prior, by topic, (K, V)."""
        sums = self.sums[:, : len(self.doc_topic_prior)].T
        return np.ascontiguousarray(sums + sums.dtype.type(self.prior))

    @property
    def learned(self):
        """Attributes of the estimator that the fit has changed."""
        prior = {"doc_topic_prior_": self.doc_topic_prior} if self.learns else {}
        return prior | {"topic_word_prior_": self.prior}


class StochasticEM:
    """Stochastic EM (Celeux & Diebolt 1985; see :class:`fastem.em.Model`) for LDA.

    The E-step draws the topic of every token from its probabilities given all others (Griffiths &
    Steyvers 2004, equation 5), where the words' counts are those at the beginning of the chunk. A
    token's random number is a hash of the seed, the pass and the token's place, so that it does not
    matter who draws when. Counts are integers.

    Parameters
    ----------
    documents : ShuffledDocuments
        Whole counts. The one block that there is.
    doc_topic_prior : ndarray of shape (K,) or None
        None: learned.
    topic_word_prior : float
    n_topics : int
    n_threads : int
    seed : int
    dtype : dtype
        Of what is read off the topics; the draws do not depend on it.
    """

    CHUNK = 256
    bound_may_fall = True  # topics are drawn

    def __init__(
        self, documents, doc_topic_prior, topic_word_prior, *, n_topics, n_threads, seed, dtype
    ):
        self.learns = doc_topic_prior is None
        if self.learns:
            doc_topic_prior = np.full(n_topics, min(_PRIOR_SUM / n_topics, _LARGEST_PRIOR))
        self.doc_topic_prior = np.asarray(doc_topic_prior)
        self.topic_word_prior, self.n_topics = float(topic_word_prior), n_topics
        self.n_threads, self.seed, self.dtype = n_threads, seed, dtype
        self.count = documents.X.data.astype(np.int32)
        self.lengths = np.rint(documents.n_tokens).astype(np.int64)
        self.token_begin = np.concatenate([[0], np.cumsum(self.lengths)])
        self.topic = np.full(self.token_begin[-1], -1, np.int32)
        self.next_topic = np.empty_like(self.topic)
        longest = min(int(self.lengths.max(initial=0)), _LONGEST // n_topics)
        self.histogram_shape = n_topics, longest + 1
        self.n_passes, self.growth = 0, _GROWTH
        self.average: np.ndarray | None = None
        self.averaged = 0.0

    def start(self, documents, topics: Topics) -> SampledTopics:
        """Return counts of topics that are drawn after CVB0 on some of the documents.

        The draws alone would end in a worse optimum: CVB0 anneals.
        """
        cuts, begin = documents.chunks.cuts, documents.chunks.doc_begin
        most = min(_ANNEALED_DOCS, int(np.searchsorted(begin, _ANNEALED_COUNTS, "right")) - 1)
        joined = int(np.searchsorted(cuts, max(1, most)))
        some = documents.X[: cuts[joined]].astype(np.float32)
        annealed = ShuffledDocuments(some, None, slice(None), _ANNEALED_CHUNK)
        model = CVB0EM(
            annealed, self.doc_topic_prior, self.topic_word_prior, self.n_threads,
            _ANNEALING_GROWTH, brief=True,
        )  # fmt: skip
        passes = _ANNEALING_PASSES
        em.fit(model, [annealed], topics, tol=0, max_iter=passes, check_every=passes)
        counts = arrays.zeros((documents.X.shape[1], model.q.shape[1]), np.int32)
        totals = np.zeros(counts.shape[1], np.int64)
        kernel.draw_pass(
            documents.chunks, 0, joined, self.count, self.token_begin, model.prior,
            self.topic_word_prior, kernel.random_key(self.seed, 0), self.topic, self.next_topic,
            counts, totals, None, None, self.n_topics, self.n_threads, model.q,
        )  # fmt: skip
        documents.joined = joined
        left = documents.chunks.n_chunks / max(1, joined)
        self.growth = max(_GROWTH, left ** (1 / _JOINING_PASSES))
        return self._topics(counts, totals)

    def e_step(self, topics: SampledTopics, block, *, bound=True) -> Statistics:
        """Draw the topics of all documents that take part, and of some more; return the counts."""
        self.n_passes += 1
        histogram = None
        if self.learns and self.n_passes % _PRIOR_EVERY == 0:
            histogram = np.zeros(self.histogram_shape, np.int32)
        log_likelihood = np.zeros(len(self.lengths)) if bound else None
        counts, totals = arrays.copy(topics.counts), topics.count_totals.copy()
        prior = padded(topics.doc_topic_prior[None], self.n_topics, np.float32)[0]
        joined, after = block.joined, block.next_joined(self.growth)
        for first, last in ((0, joined), (joined, after)):
            kernel.draw_pass(
                block.chunks, first, last, self.count, self.token_begin, prior,
                self.topic_word_prior, kernel.random_key(self.seed, self.n_passes), self.topic,
                self.next_topic, counts, totals, histogram, log_likelihood, self.n_topics,
                self.n_threads,
            )  # fmt: skip
        block.joined = after
        value, weight = block.bound(log_likelihood) if bound else (0.0, 1.0)
        sums = {"word_topic": counts, "totals": totals}
        if histogram is not None:
            longest = histogram.shape[1] - 1
            lengths = np.minimum(self.lengths[: block.chunks.cuts[after]], longest)
            sums |= {
                "doc_topic": histogram,
                "doc_length": np.bincount(lengths, minlength=longest + 1),
            }
        self.everyone = joined == block.chunks.n_chunks
        return Statistics(bound=value, weight=weight, **sums)

    def m_step(self, statistics: Statistics) -> SampledTopics:
        """Return the counts, their average, and alpha, which is learned in every second pass."""
        if "doc_topic" in vars(statistics):
            self.doc_topic_prior = fit_pseudo_counts(
                self.doc_topic_prior, statistics.doc_topic, statistics.doc_length
            )
        counts = statistics.word_topic
        if self.everyone:
            self.averaged = _MEMORY * self.averaged + 1
            if self.average is None:
                self.average = counts.astype(np.float32)
            else:  # a new array: the last pass's topics stay as they are
                change = np.subtract(counts, self.average, dtype=np.float32, casting="unsafe")
                change *= np.float32(1 / self.averaged)
                change += self.average
                self.average = change
        return self._topics(counts, statistics.totals)

    def _topics(self, counts, totals):
        prior = KEPT_PRIOR * self.topic_word_prior
        return SampledTopics(
            counts, totals, self.doc_topic_prior, self.average, prior, self.dtype, self.learns
        )


def fit_pseudo_counts(prior, topic_counts, lengths):
    """Return alpha after some steps of Minka's fixed point.

    Parameters
    ----------
    prior : ndarray of shape (K,)
    topic_counts : ndarray of shape (K, n + 1)
        How many documents have a topic 0, ..., n times.
    lengths : ndarray of shape (n + 1,)
        How many documents have so many words.

    References
    ----------
    Minka (2000), *Estimating a Dirichlet distribution*, equation 55, with its differences of
    digammas as sums over counts (Wallach 2008, *Structured topic models for language*, equation
    2.30).
    """
    if not lengths[1:].any():
        return prior
    at_least = topic_counts[:, :0:-1].cumsum(axis=1)[:, ::-1]  # documents with j and more, j >= 1
    as_long = lengths[:0:-1].cumsum()[::-1]
    before = np.arange(len(as_long))
    for _ in range(_PRIOR_STEPS):
        gain = (at_least / (prior[:, None] + before)).sum(axis=1)
        prior = prior * gain / (as_long / (prior.sum() + before)).sum()
        prior = np.maximum(prior, _SMALLEST_PRIOR)
    return prior
