"""Stochastic EM of latent Dirichlet allocation: the model that the driver fits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastem import em
from fastem._engine import arrays
from fastem._engine.kept import Room
from fastem._engine.statistics import Statistics
from fastem._kernels import tokens as kernel
from fastem.topics.cvb0 import CVB0EM, ShuffledDocuments
from fastem.topics.documents import Topics, padded
from fastem.topics.vocabulary import Vocabulary, n_words_of

__all__ = [
    "SampledTopics",
    "StochasticEM",
    "TokenTopics",
    "WholeDocuments",
    "check_whole_counts",
    "fit_pseudo_counts",
]

#: Eta while topics are drawn, if nobody gives one; and what share of it the topics keep.
TOPIC_WORD_PRIOR, KEPT_PRIOR = 0.05, 0.2

_ANNEALED_DOCS, _ANNEALED_CHUNK = 10_000, 128
#: Counts that the start anneals, at most: in all, and times the number of topics. A pass over them
#: reads and writes the probabilities of their topics.
_ANNEALED_COUNTS, _ANNEALED_WORK = 1_000_000, 1e8
_ANNEALING_PASSES, _LEAST_PASSES, _ANNEALING_GROWTH = 20, 5, 1.5
#: Counts times topics that all passes of annealing may visit for each token: many topics of few
#: tokens would be annealed for longer than they are drawn, and end no better.
_ANNEALED_WORK_OF_TOKEN = 4_000
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


class WholeDocuments(ShuffledDocuments):
    """Shuffled documents of whole counts, every token of which has a place.

    Attributes
    ----------
    count : ndarray of shape (nnz,), int32
    lengths : ndarray of shape (D,), int64
    token_begin : ndarray of shape (D + 1,), int64
        The first token of each document.
    """

    def __init__(self, X, order, chunk_size, number=0):
        super().__init__(X, None, order, chunk_size, number)
        self.count = self.X.data.astype(np.int32)
        self.lengths = np.rint(self.n_tokens).astype(np.int64)
        self.token_begin = np.concatenate([[0], np.cumsum(self.lengths)])


class TokenTopics(NamedTuple):
    """What is kept of a block's tokens from one pass to the next."""

    topic: np.ndarray  # (tokens,) int32; -1: its document does not take part yet
    joined: int  # number of chunks that take part, from the first on
    growth: float  # how many times as many do in the next pass
    counts: np.ndarray  # (V, width) int32
    totals: np.ndarray  # (width,) int64, the counts' sums over words

    def to_change(self, spare):
        """Return topics of tokens that may be changed: this state's own if it is spare."""
        if spare is self:
            return self.topic
        if spare is None:
            return self.topic.copy()
        spare.topic[...] = self.topic
        return spare.topic


class SampledTopics(NamedTuple):
    """Counts of words in topics, and their average over passes."""

    counts: np.ndarray  # (V, width) int32
    count_totals: np.ndarray  # (width,) int64
    doc_topic_prior: np.ndarray  # (K,) float64: alpha
    average: np.ndarray | None  # (V, width) float32; None: not all documents take part yet
    averaged: float  # number of passes that it is the average of, the earlier ones less
    n_passes: int
    prior: float  # pseudo-count of a word in a topic
    dtype: Any  # of what is read off
    learns: bool
    vocabulary: Vocabulary | None = None  # the words of the rows; None: all V

    @property
    def sums(self):
        """The counts that topics are made of, (V, width)."""
        return (self.counts if self.average is None else self.average).astype(self.dtype)

    @property
    def totals(self):
        """Their sums over words with the prior, (K,)."""
        sums = self.count_totals if self.average is None else self.average.sum(0, dtype=np.float64)
        n_words = n_words_of(self.vocabulary, self.counts)
        return sums[: len(self.doc_topic_prior)] + self.prior * n_words

    def whole(self):
        """Return these as topics with a row for every word."""
        return Topics(self.sums, self.totals, self.prior, vocabulary=self.vocabulary).whole()

    def components(self):
        """Return sums + prior, by topic, (K, V)."""
        return Topics(self.sums, self.totals, self.prior, vocabulary=self.vocabulary).components()

    @property
    def learned(self):
        """Attributes of the estimator that the fit has changed."""
        prior = {"doc_topic_prior_": self.doc_topic_prior} if self.learns else {}
        return prior | {"topic_word_prior_": self.prior}


class _Settled(em.Callback):
    """Ends a fit at a fixed point, which rounded probabilities of many topics soon reach."""

    def __init__(self):
        self.last = None

    def on_iteration_end(self, state):
        last, self.last = self.last, state.params.sums
        return last is not None and np.array_equal(last, self.last)


class StochasticEM:
    """Stochastic EM (Celeux & Diebolt 1985; see :class:`fastem.em.Model`) for LDA.

    The E-step draws the topic of every token from its probabilities given all others (Griffiths &
    Steyvers 2004, equation 5), where the words' counts are those at the beginning of the chunk. A
    token's random number is a hash of the seed, the pass and the token's place, so that it does not
    matter who draws when. Counts are integers. What other blocks drew is seen in the next pass.

    The first parameters are Topics, with which CVB0 begins on a part of each block.

    Parameters
    ----------
    doc_topic_prior : ndarray of shape (K,) or None
        None: learned.
    topic_word_prior : float
    n_topics : int
    n_threads : int
    seed : int
    longest : int
        The largest number of words of a document.
    dtype : dtype
        Of what is read off the topics; the draws do not depend on it.
    vocabulary : Vocabulary or None
        Which words the documents' columns are, if they are not all.
    """

    CHUNK = 256
    bound_may_fall = True  # topics are drawn
    overwrites = True

    def __init__(
        self, doc_topic_prior, topic_word_prior, *, n_topics, n_threads, seed, longest, dtype,
        vocabulary=None,
    ):  # fmt: skip
        self.learns = doc_topic_prior is None
        if self.learns:
            doc_topic_prior = np.full(n_topics, min(_PRIOR_SUM / n_topics, _LARGEST_PRIOR))
        self.doc_topic_prior = np.asarray(doc_topic_prior)
        self.topic_word_prior, self.n_topics = float(topic_word_prior), n_topics
        self.n_threads, self.seed, self.dtype = n_threads, seed, dtype
        self.vocabulary = vocabulary
        self.longest = min(longest, _LONGEST // n_topics)
        self._room = Room()

    def first_state(self, topics: Topics, block: WholeDocuments) -> TokenTopics:
        """Return topics of tokens that are drawn after CVB0 on some of the documents.

        The draws alone would end in a worse optimum: CVB0 anneals.
        """
        cuts, begin = block.chunks.cuts, block.chunks.doc_begin
        topic = np.full(block.token_begin[-1], -1, np.int32)
        counts = min(_ANNEALED_COUNTS, _ANNEALED_WORK / self.n_topics)
        most = min(_ANNEALED_DOCS, int(np.searchsorted(begin, counts, "right")) - 1)
        joined = int(np.searchsorted(cuts, max(1, most)))
        some = block.X[: cuts[joined]].astype(np.float32)
        annealed = ShuffledDocuments(some, None, slice(None), _ANNEALED_CHUNK)
        first = padded(topics.sums[:, : self.n_topics], self.n_topics, np.float32)
        alpha, eta = self.doc_topic_prior, self.topic_word_prior
        passes = _annealing_passes(len(some.data) * self.n_topics, len(topic))
        model = CVB0EM(
            alpha, eta, self.n_threads, _ANNEALING_GROWTH, brief=True, vocabulary=self.vocabulary
        )
        q = em.fit(
            model, [annealed], topics._replace(sums=first), tol=0, max_iter=passes,
            evaluate_every=passes, callbacks=(_Settled(),),
        ).states[0].q  # fmt: skip
        counts = arrays.zeros((block.X.shape[1], q.shape[1]), np.int32)
        totals = np.zeros(counts.shape[1], np.int64)
        self._draw(block, (0, joined), topic, alpha, 0, counts, totals, q=q)
        left = block.chunks.n_chunks / max(1, joined)
        growth = max(_GROWTH, left ** (1 / _JOINING_PASSES))
        return TokenTopics(topic, joined, growth, counts, totals)

    def _draw(
        self, block, chunks, topic, alpha, n_passes, counts, totals, histogram=None,
        log_likelihood=None, q=None,
    ):  # fmt: skip
        """Draw the topics of the tokens of some chunks; counts and totals follow."""
        prior = padded(alpha[None], self.n_topics, np.float32)[0]
        # Each block has random numbers of its own.
        seed = kernel.random_key(self.seed, -block.number) if block.number else self.seed
        with self._room.lend((len(topic), 1), np.int32) as next_topic:
            job = kernel.Job(
                block.chunks,
                block.count,
                prior,
                self.topic_word_prior,
                counts,
                totals,
                n_words_of(self.vocabulary, counts),
            )
            kernel.draw_pass(
                job, *chunks, topic, next_topic.reshape(-1), self.n_threads,
                n_topics=self.n_topics, token_begin=block.token_begin,
                key=kernel.random_key(seed, n_passes), histogram=histogram,
                log_likelihood=log_likelihood, q=q,
            )  # fmt: skip

    def e_step(self, topics, block: WholeDocuments, state, *, bound=True, spare=None):
        """Draw the topics of all documents that take part, and of some more; return the counts."""
        first = not isinstance(topics, SampledTopics)  # then there are the state's own counts alone
        total, sums = (
            (state.counts, state.totals) if first else (topics.counts, topics.count_totals)
        )
        alpha, n_passes = (
            (self.doc_topic_prior, 1) if first else (topics.doc_topic_prior, topics.n_passes + 1)
        )
        histogram = None
        if self.learns and n_passes % _PRIOR_EVERY == 0:
            histogram = np.zeros((self.n_topics, self.longest + 1), np.int32)
        log_likelihood = np.zeros(len(block.lengths)) if bound else None
        counts, totals, topic = arrays.copy(total), sums.copy(), state.to_change(spare)
        joined, after = state.joined, block.next_joined(state.joined, state.growth)
        for chunks in ((0, joined), (joined, after)):
            self._draw(
                block, chunks, topic, alpha, n_passes, counts, totals, histogram, log_likelihood
            )
        if total is not state.counts:  # what is there of other blocks is not this one's
            counts -= total - state.counts
            totals -= sums - state.totals
        value, weight = block.bound(log_likelihood, after) if bound else (0.0, 1.0)
        waiting = block.chunks.n_chunks - joined
        seen = {}
        if histogram is not None:
            lengths = np.minimum(block.lengths[: block.chunks.cuts[after]], self.longest)
            lengths = np.bincount(lengths, minlength=self.longest + 1)
            seen = {"doc_topic": histogram, "doc_length": lengths}
        statistics = Statistics(
            bound=value, weight=weight, word_topic=counts, totals=totals, waiting=waiting, **seen
        )
        return statistics, TokenTopics(topic, after, state.growth, counts, totals)

    def m_step(self, statistics: Statistics) -> SampledTopics:
        """Return the counts after the first pass."""
        return self.m_step_from(None, statistics)

    def m_step_from(self, topics, statistics: Statistics) -> SampledTopics:
        """Return the counts, their average, and alpha, which is learned in every second pass."""
        counts, totals = statistics.word_topic, statistics.totals
        if not isinstance(topics, SampledTopics):  # the first ones
            prior = KEPT_PRIOR * self.topic_word_prior
            topics = SampledTopics(
                counts,
                totals,
                self.doc_topic_prior,
                None,
                0.0,
                0,
                prior,
                self.dtype,
                self.learns,
                self.vocabulary,
            )
        alpha, average, averaged = topics.doc_topic_prior, topics.average, topics.averaged
        if "doc_topic" in vars(statistics):
            alpha = fit_pseudo_counts(alpha, statistics.doc_topic, statistics.doc_length)
        if statistics.waiting == 0:
            averaged = _MEMORY * averaged + 1
            if average is None:
                average = counts.astype(np.float32)
            else:  # a new array: the last pass's topics stay as they are
                change = np.subtract(counts, average, dtype=np.float32, casting="unsafe")
                change *= np.float32(1 / averaged)
                change += average
                average = change
        return topics._replace(
            counts=counts, count_totals=totals, doc_topic_prior=alpha, average=average,
            averaged=averaged, n_passes=topics.n_passes + 1,
        )  # fmt: skip


def _annealing_passes(work, n_tokens):
    """Return how often CVB0 visits what it anneals, a pass over which is so much work."""
    most = _ANNEALED_WORK_OF_TOKEN * n_tokens // max(1, work)
    return min(_ANNEALING_PASSES, max(_LEAST_PASSES, most))


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
