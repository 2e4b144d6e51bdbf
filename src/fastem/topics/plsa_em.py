"""PLSA's E-step and M-step: the model that the driver fits, and how a fit begins."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array

from fastem._engine import arrays
from fastem._engine.statistics import Statistics
from fastem._kernels import topics as kernel
from fastem.topics.documents import Documents, Topics, log_likelihood, padded
from fastem.topics.vocabulary import n_words_of

__all__ = [
    "PLSAEM",
    "DocumentTopics",
    "batch_size_of",
    "given_topics",
    "random_start",
    "random_topics",
    "starts",
]

_BATCHES, _LEAST_BATCH, _MOST_DOCS = 3, 1e6, 10_000  # see batch_size_of


class DocumentTopics(NamedTuple):
    """What is kept of a block's documents from one E-step to the next."""

    doc_topic: np.ndarray  # (D, width) p(z|d)
    unrelaxed: np.ndarray | None = None  # (D, width) the same before over-relaxation, if it differs
    relax: float = 1.0  # the share of over-relaxation that the documents stand


class PLSAEM:
    """E-step and M-step of PLSA (see :class:`fastem.em.Model`) on blocks of documents.

    Parameters
    ----------
    n_topics : int
    doc_prior, word_prior : float
        Pseudo-counts.
    n_threads : int
    beta : float, default=1.0
        Inverse temperature: the E-step then sees p(w|z)^beta and p(z|d)^beta.
    relax : float, default=0.0
        Over-relaxation in :meth:`replace`: what rises rises by 1 + relax times as much.
    momentum : float, default=0.0
        There, too: what documents' topics rose since the last visit is added so often.
    vocabulary : Vocabulary or None
        Which words the documents' columns are, if they are not all.
    """

    def __init__(
        self, n_topics, doc_prior, word_prior, n_threads, beta=1.0, relax=0.0, momentum=0.0,
        vocabulary=None,
    ):  # fmt: skip
        self.n_topics, self.n_threads = n_topics, n_threads
        self.doc_prior, self.word_prior = float(doc_prior), float(word_prior)
        self.beta, self.relax, self.momentum = beta, relax, momentum
        self.vocabulary = vocabulary

    #: Of float32 counts by rounding, and where beta is not 1.
    bound_may_fall = True
    #: The next topics are written over those from before the last.
    recycles = True

    def first_state(self, topics: Topics, block: Documents) -> DocumentTopics:
        """Return the topics that the documents begin with: given ones, or all alike."""
        first = block.first_doc_topic
        if first is None:
            first = np.full((block.n_docs, self.n_topics), 1 / self.n_topics)
        return DocumentTopics(padded(first, self.n_topics, topics.sums.dtype))

    def e_step(self, topics: Topics, block: Documents, state, *, bound=True, spare=None):
        """Return the expected counts of words in topics, and the documents' next topics."""
        sums, new = block.empty_sums(topics.sums), _room(state, spare)
        total, totals = self._sum(topics, block, state, new, sums, bound)
        statistics = Statistics(
            bound=total, weight=block.total_weight, word_topic=sums, totals=totals
        )
        return statistics, DocumentTopics(new, None, state.relax)

    def replace(self, topics, block, old, total, state, *, bound=True, spare=None):
        """Replace a block's old statistics in the total by new ones, over-relaxed."""
        sums, relax, new = old.word_topic, state.relax, _room(state, spare)
        last = state.doc_topic if state.unrelaxed is None else state.unrelaxed
        unrelaxed = _room(state, spare, "unrelaxed")
        value, changes = self._sum(
            topics, block, state, new, sums, bound,
            total=total.word_topic.values, relax=relax * self.relax,
            momentum=relax * self.momentum, last_doc_topic=last, unrelaxed=unrelaxed,
        )  # fmt: skip
        if bound:
            factor = 0.7 if value < old.bound else 1.05
            relax = min(1.0, max(0.25, factor * relax))
        total.bound += value - old.bound
        total.totals = total.totals + changes
        statistics = Statistics(
            bound=value, weight=old.weight, word_topic=sums, totals=old.totals + changes
        )
        return statistics, DocumentTopics(new, unrelaxed, relax)

    def _sum(self, topics, block, state, new, sums, bound, **replacing):
        """Write the sums of a block and its next topics; return the bound and the totals."""
        log_likelihood = np.empty(block.n_docs) if bound else None
        seen, doc_topic = self._tempered(topics), self._powered(state.doc_topic)
        totals = kernel.e_step(
            block.job(seen), doc_topic, new, log_likelihood, sums.values, self.n_threads,
            doc_prior=self.doc_prior, **replacing,
        )  # fmt: skip
        if log_likelihood is None:
            return 0.0, totals
        if block.sample_weight is not None:
            log_likelihood *= block.sample_weight
        log_prior = self._log_prior_of(state.doc_topic, self.doc_prior)
        return log_likelihood.sum() / self.beta + log_prior, totals

    def fold_in(self, topics, block, max_sweeps, tol):
        """Return documents' topics, (D, width), each moved until it changes by less than `tol`."""
        seen, doc_topic = self._tempered(topics), self.first_state(topics, block).doc_topic
        new = arrays.empty(doc_topic.shape, doc_topic.dtype)
        kernel.documents(
            block.job(seen), doc_topic, new, None, self.n_threads,
            doc_prior=self.doc_prior, max_sweeps=max_sweeps, tol=tol, power=self.beta,
        )  # fmt: skip
        return new

    def score(self, topics, states, unseen):
        """Return the mean log-likelihood per token of other counts of the blocks' documents."""
        total = 0.0
        for state, other in zip(states, unseen, strict=True):
            total += log_likelihood(topics, other, state.doc_topic, self.n_threads).sum()
        return total / sum(other.total_weight for other in unseen)

    def _tempered(self, topics):
        """Return the topics to the power of beta."""
        if self.beta == 1:
            return topics
        sums = padded(topics.probabilities() ** self.beta, self.n_topics, topics.sums.dtype)
        return Topics(sums, np.ones(self.n_topics), 0.0)

    def _powered(self, doc_topic):
        """Return the documents' topics to the power of beta."""
        return doc_topic if self.beta == 1 else doc_topic**self.beta

    def m_step(self, statistics: Statistics) -> Topics:
        """Return p(w|z) (Hofmann 2001, equation 4), with the prior's pseudo-counts."""
        sums = statistics.word_topic.dense()
        totals = statistics.totals + self.word_prior * n_words_of(self.vocabulary, sums)
        return Topics(sums, totals, self.word_prior, self.beta, vocabulary=self.vocabulary)

    def log_prior(self, topics) -> float:
        """Return the log-density of the topics under their Dirichlet, up to a constant."""
        if self.word_prior == 0:
            return 0.0
        value = self._log_prior_of(topics.probabilities(), self.word_prior)
        if topics.vocabulary is not None:
            others = np.atleast_2d(topics.probabilities_of_others())
            copies = topics.vocabulary.n_others / len(others)
            value += copies * self._log_prior_of(others, self.word_prior)
        return value

    def _log_prior_of(self, rows, prior) -> float:
        if prior == 0:
            return 0.0
        return prior * float(np.log(rows[:, : self.n_topics], dtype=np.float64).sum())


def _room(state, spare, name="doc_topic"):
    """Return an array for the next topics: a spare state's, or a new one."""
    rows = None if spare is None else getattr(spare, name)
    return arrays.empty(state.doc_topic.shape, state.doc_topic.dtype) if rows is None else rows


def random_start(shape, n_topics, random_state):
    """Return p(z|d), (D, K), uniform, and p(w|z), (K, V), random: what breaks the symmetry.

    No number is drawn for a document, so that a weight of 2 is the same as a copy of it.
    """
    topic_word = random_topics(shape[1], n_topics, random_state)
    return np.full((shape[0], n_topics), 1 / n_topics), topic_word


def starts(n_words, n_topics, dtype, random_state, topic_word=None, vocabulary=None):
    """Return a function of the restart that gives the first parameters.

    They are random unless p(w|z), (K, V), is given, and have rows for the words of a vocabulary.
    """

    def start(init):
        first = topic_word
        if first is None:
            first = random_topics(n_words, n_topics, random_state)
        if vocabulary is None:
            return Topics(padded(first.T, n_topics, dtype), np.ones(n_topics), 0.0)
        rows, others = vocabulary.rows_of(first)
        words = vocabulary._replace(others=others.astype(dtype))
        return Topics(padded(rows, n_topics, dtype), np.ones(n_topics), 0.0, vocabulary=words)

    return start


def random_topics(n_words, n_topics, random_state):
    """Return p(w|z), (K, V), random."""
    topic_word = random_state.uniform(0.5, 1.5, size=(n_topics, n_words))
    return topic_word / topic_word.sum(axis=1, keepdims=True)


def batch_size_of(X, n_topics, batch_size):
    """Return the number of documents in a batch of the incremental algorithm."""
    if batch_size is not None:
        return batch_size
    # With less work than that a batch's fixed costs show: kept sums, threads that meet.
    n_batches = min(_BATCHES, X.nnz * n_topics / _LEAST_BATCH)
    return max(1, min(_MOST_DOCS, math.ceil(X.shape[0] / max(1, n_batches))))


def given_topics(init, n_topics, shape):
    """Return the given (doc_topic, topic_word), normalised, or None; `shape` is the counts'."""
    if isinstance(init, str):
        return None
    if len(init) != 2:
        raise ValueError(
            f"init must be 'random' or (doc_topic, topic_word), got {len(init)} elements"
        )
    shapes = {"doc_topic": (shape[0], n_topics), "topic_word": (n_topics, shape[1])}
    arrays = []
    for (name, wanted), array in zip(shapes.items(), init, strict=True):
        array = check_array(array, dtype=np.float64, input_name=f"init {name}")
        if array.shape != wanted:
            raise ValueError(f"{name} of init must have shape {wanted}, got {array.shape}")
        totals = array.sum(axis=1, keepdims=True)
        if np.any(array < 0) or np.any(totals == 0):
            raise ValueError(f"{name} of init must be non-negative, with no row of zeros")
        arrays.append(array / totals)
    return arrays
