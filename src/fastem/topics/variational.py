"""Latent Dirichlet allocation: the model that the driver fits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import psi

from fastem._engine import arrays
from fastem._engine.kept import Kept, Room
from fastem._engine.statistics import Statistics
from fastem._kernels import topics as kernel
from fastem.topics.dirichlet import (
    Priors,
    fit_dirichlet,
    information,
    polya_growth,
    topics_bound,
)
from fastem.topics.documents import Documents, Topics, TopicSums, padded
from fastem.topics.gammas import Drawn, first_gammas, own_stream
from fastem.topics.vocabulary import n_words_of

__all__ = [
    "LDAEM",
    "Inferred",
    "Progress",
    "VariationalLDA",
    "document_statistics",
    "expected_components",
    "expected_topics",
    "has_plain_digammas",
    "set_columns",
    "topic_scale",
]

_ETA_EVERY = 8  # online steps from one look at eta to the next: it costs as much as some steps
_ROWS = 2048  # documents, or words, that are read at a time

# Alpha is learned once words tell more than this share of what could be known of their topics, and
# a pass no longer raises it by more than a twentieth.
_LEAST_INFORMATION, _STEADY = 0.02, 1.05
_LEAST_TOTAL = 1 / 16  # of a topic's lambda, whose exp(digamma) is far from underflow


def expected_topics(topics, n_threads, point_topics=False, out=None):
    """Return exp(digamma(lambda)), (V, width), and 1 / exp(digamma(its sums over words)), (width,).

    Their product is exp(E[log beta]); for point estimates, beta itself. `out` may be the sums, if
    these are needed no more.
    """
    if point_topics:
        return topics.sums, topics.scale
    expected = arrays.empty(topics.sums.shape, topics.sums.dtype) if out is None else out
    whole = not isinstance(topics.prior, np.ndarray)
    sums, prior = (topics.sums, topics.prior) if whole else (topics.counts(), 0)
    scale, small = topic_scale(topics)
    kernel.exp_digamma(sums, prior, expected, n_threads)
    set_columns(expected, small)
    return expected, scale


def expected_components(topics, components, n_threads, point_topics):
    """Return exp(E[log beta]) by topic, (K, V), of topics and their `components()`."""
    if point_topics:
        return components * topics.scale[: len(components), None]
    expected = np.empty_like(components)
    # Of topics next to nothing all words are read, but such topics are rare.
    scale, small = topic_scale(topics if has_plain_digammas(topics.totals) else topics.whole())
    kernel.exp_digamma(components.T, 0.0, expected.T, n_threads)  # as they lie in memory
    set_columns(expected.T, small)
    expected *= scale[: len(components), None]
    return expected


def has_plain_digammas(totals):
    """Return whether exp(digamma) of no topic's total, (K,), is close to underflow."""
    return np.minimum.reduce(totals) >= _LEAST_TOTAL


def topic_scale(topics, rows=slice(None)):
    """Return 1 / exp(digamma(the totals)), (width,); 0 past K, whatever stands there.

    exp(digamma) of a topic without counts is 0 for its words and for its total, where priors are
    small, though their ratio need not be. That is then formed in logarithms: a dict of such topics
    and their rows, which are already scaled, is returned, too.
    """
    small: dict[int, Any] = {}
    scale, totals = np.zeros(topics.sums.shape[1]), topics.totals
    if not kernel.inverse_digammas(totals, _LEAST_TOTAL, scale):
        return scale.astype(topics.sums.dtype, copy=False), small
    for k in np.flatnonzero(totals < _LEAST_TOTAL).tolist():
        prior = topics.prior if np.ndim(topics.prior) == 0 else topics.prior[rows, k]
        lam = topics.sums[rows, k].astype(np.float64) + prior
        top = lam.max(initial=0.0)
        # Of the words alone: totals that follow changes of float32 sums have their rounding.
        psi_total = psi(max(top, totals[k])) if top > 0 else np.inf
        scale[k] = 0.0
        if psi(top) - psi_total > np.log(np.finfo(topics.sums.dtype).tiny):
            small[k], scale[k] = (rows, np.exp(psi(lam) - psi_total)), 1.0
    return scale.astype(topics.sums.dtype), small


def set_columns(expected, columns):
    for k, (rows, values) in columns.items():
        expected[rows, k] = values


class Progress(NamedTuple):
    """What the next M-step goes on from, beside the topics."""

    priors: Priors | None = None  # learned ones, which the topics were made with
    n_steps: int = 1  # number of the next online step
    visited: float = 0.0  # tokens, since priors were last learned from all (incremental)
    information: float = 0.0  # of words about topics, when alpha was last looked at
    stream: Any = None  # of random numbers, from which the documents' next first gammas come


class Inferred(NamedTuple):
    """What an E-step finds of documents."""

    gamma: np.ndarray  # (D, width)
    log_likelihood: np.ndarray  # (D,) at exp(digamma(gamma)), which is not normalised


def document_statistics(alpha, block, inferred, n_threads, *, bound, learn) -> dict[str, Any]:
    """Return the documents' part of the ELBO, 0 if unasked, and, to learn, the statistics of alpha.

    These are the sum of E[log theta_d] over documents, (K,), and their weight. A document without
    words says nothing of alpha, whatever that is.
    """
    if not (bound or learn):
        return {"bound": 0.0}
    value, log_theta, n_docs = kernel.documents_bound(
        inferred.gamma, alpha, inferred.log_likelihood, block.n_tokens, block.sample_weight, learn,
        n_threads,
    )  # fmt: skip
    statistics: dict[str, Any] = {"bound": value if bound else 0.0}
    if learn:
        statistics |= {"log_theta": log_theta, "n_docs": n_docs}
    return statistics


class VariationalLDA:
    """What the methods of variational Bayes share; the parameters are lambda.

    Parameters
    ----------
    doc_topic_prior : ndarray of shape (K,)
    topic_word_prior : float or ndarray of shape (V,) or (K, V)
        0: topics are point estimates, and lambda their expected counts.
    n_threads : int
    max_sweeps, tol : int, float
        How often, and how exactly, a document's gamma is updated.
    learning_offset, learning_decay : float
        How far online steps go: (learning_offset + number of the step) ** -learning_decay.
    n_samples : float
        Number of documents of which an online step sees some.
    learn_doc_topic, learn_topic_word : bool
        Whether these priors, a number for each topic and one number, are learned from the first
        ones on; the parameters then carry them.
    vocabulary : Vocabulary or None
        Which words the documents' columns are, if they are not all; then eta is one number.
    """

    def __init__(
        self, doc_topic_prior, topic_word_prior, n_threads, *, max_sweeps, tol,
        learning_offset=10.0, learning_decay=0.7, n_samples=1,
        learn_doc_topic=False, learn_topic_word=False, vocabulary=None,
    ):  # fmt: skip
        eta = topic_word_prior if np.ndim(topic_word_prior) else float(topic_word_prior)
        self.priors = Priors(np.asarray(doc_topic_prior, np.float64), eta)
        self.n_topics = len(doc_topic_prior)
        self.n_threads, self.max_sweeps, self.tol = n_threads, max_sweeps, float(tol)
        self.learning_offset, self.learning_decay = learning_offset, learning_decay
        self.n_samples = n_samples
        self.learn_doc_topic, self.learn_topic_word = learn_doc_topic, learn_topic_word
        self.vocabulary = vocabulary
        self._expected, self._guide, self._prior = Kept(), Kept(), Kept()
        self._room = Room()

    # ---- E-step --------------------------------------------------------------------------------

    def _infer_and_sum(self, topics, block, gamma, stream, bound, sweeps=None):
        """Return the statistics of a block; set the documents' gamma, from scratch."""
        expected = self._take_expected(topics)
        word_id, n_words = block.counts.word_id, len(topics.sums)
        if self.priors.point_topics or 2 * len(word_id) < n_words:
            sums = block.empty_sums(topics.sums)
        else:
            # A pass over the words reads of each its expected topics, and then writes its sums:
            # they need no other memory, and new pages cost time.
            sums = TopicSums(expected[0], None, n_words)
            if len(word_id) < n_words:
                absent = np.ones(n_words, bool)
                absent[word_id] = False
                sums.values[absent] = 0
        gamma[:, self.n_topics :] = 0
        first = first_gammas(stream, gamma[:, : self.n_topics])
        totals, inferred = self._update(
            topics, block, gamma, expected, sums.values, first, sweeps=sweeps
        )
        if sums.values is not expected[0]:
            self._expected.keep(topics, expected)
        weight = block.total_weight or 1.0  # documents may all be empty
        return Statistics(
            weight=weight, word_topic=sums, totals=totals,
            **self._read(topics, block, inferred, bound),
        )  # fmt: skip

    def infer(self, topics, block, first=1.0, expected=None) -> Inferred:
        """Return what is found of documents alone, from their first gammas on.

        `expected` are :func:`expected_topics`, if the caller has them.
        """
        width, dtype = topics.sums.shape[1], topics.sums.dtype
        gamma = arrays.zeros((block.n_docs, width), dtype)
        gamma[:, : self.n_topics] = first
        if expected is None:
            expected = self._take_expected(topics)
            self._expected.keep(topics, expected)
        return self._update(topics, block, gamma, expected, None)[1]

    def _update(
        self, topics, block, gamma, expected, sums, stream=None, *, sweeps=None, total=None
    ):
        """Update the documents' gamma and the sums; return the totals of these, and Inferred."""
        k, (phi, scale) = self.n_topics, expected
        prior = self._padded_prior(self.priors_of(topics).doc_topic, gamma.dtype)
        inferred = Inferred(gamma, np.empty(block.n_docs))
        with self._room.lend(gamma.shape, gamma.dtype) as theta:
            totals = kernel.dirichlet_e_step(
                kernel.Job(block.counts, k, phi, scale), gamma, prior, theta,
                inferred.log_likelihood, sums, self.n_threads,
                max_sweeps=self.max_sweeps if sweeps is None else sweeps, tol=self.tol,
                total=total, first=stream,
            )  # fmt: skip
        return totals, inferred

    def _padded_prior(self, alpha, dtype):
        """Return alpha with the kernel's width, (width,), to read."""
        prior = self._prior.look(alpha)
        if prior is None:
            prior = padded(alpha[None], self.n_topics, dtype)[0]
            self._prior.keep(alpha, prior)
        return prior

    def _take_expected(self, topics):
        """Return the expected topics, which the caller may write over, or keep for the next."""
        expected = self._expected.take(topics)
        if expected is None:
            expected = expected_topics(topics, self.n_threads, self.priors.point_topics)
        return expected

    def progress_of(self, topics) -> Progress:
        """Return what goes with some topics; the first ones may be topics alone."""
        if topics.progress is not None:
            return topics.progress
        return Progress(self._first_learned)

    def priors_of(self, topics) -> Priors:
        """Return the priors that go with some topics."""
        return self.priors if topics.priors is None else topics.priors

    # ---- the bound -----------------------------------------------------------------------------

    def _read(self, topics, block, inferred, bound) -> dict[str, Any]:
        alpha = self.priors_of(topics).doc_topic
        return document_statistics(
            alpha, block, inferred, self.n_threads, bound=bound, learn=self.learn_doc_topic
        )

    def bound(self, topics, block, inferred) -> float:
        """Return the documents' part of the ELBO (Blei et al. 2003, equation 15)."""
        return self._read(topics, block, inferred, True)["bound"]

    def log_prior(self, topics) -> float:
        """Return the topics' part of the ELBO: minus their divergence from the prior.

        Point estimates have none.
        """
        priors = self.priors_of(topics)
        if priors.point_topics:
            return 0.0
        return topics_bound(topics, priors.topic_word, self.n_threads)

    # ---- M-step --------------------------------------------------------------------------------

    def m_step(self, statistics: Statistics) -> Topics:
        """Return lambda (Hoffman et al. 2010, equation 5), and the first priors, or better ones."""
        return self._maximise(Progress(self._first_learned), statistics)

    def m_step_from(self, topics: Topics, statistics: Statistics) -> Topics:
        """Return lambda, and priors that are learned from the last ones on."""
        return self._maximise(self.progress_of(topics), statistics)

    def _maximise(self, progress, statistics):
        sums = statistics.word_topic.dense()
        if self._first_learned is not None and statistics.totals.any():
            progress = self._learn(progress, statistics, sums)
        drawn = vars(statistics).get("drawn")
        stream = progress.stream if drawn is None else drawn.stream
        progress = progress._replace(n_steps=progress.n_steps + 1, stream=stream)
        return self._topics(progress, sums, statistics.totals)

    def _learn(self, progress, statistics, sums):
        """Return the progress with better priors, after a pass over all documents."""
        if self.learn_doc_topic:
            # While topics are alike, so are the documents, whose alpha is without limit; and topics
            # of which all documents have the same share stay alike.
            now = information(sums, self.n_topics)
            least = _LEAST_INFORMATION * np.log(self.n_topics)
            if least <= now <= _STEADY * progress.information:
                progress = progress._replace(priors=self._better_alpha(progress.priors, statistics))
            progress = progress._replace(information=now)
        return progress._replace(priors=self._better_eta(progress.priors, sums))

    def _better_alpha(self, priors, statistics, rho=1.0):
        """Return priors with an alpha that fits the documents' mean of E[log theta] better."""
        if not self.learn_doc_topic or statistics.n_docs == 0:
            return priors
        alpha = priors.doc_topic
        mean_log = rho * statistics.log_theta / statistics.n_docs
        if rho < 1:
            mean_log += (1 - rho) * (psi(alpha) - psi(alpha.sum()))
        return priors._replace(doc_topic=fit_dirichlet(alpha, mean_log))

    def _better_eta(self, priors, sums, rho=1.0, less=0.0):
        """Return priors with an eta of larger evidence of the expected counts, sums - less."""
        if not self.learn_topic_word:
            return priors
        n_words = n_words_of(self.vocabulary, sums)
        growth = polya_growth(priors.topic_word, sums, self.n_topics, less, n_words)
        return priors._replace(topic_word=priors.topic_word * growth**rho)

    @property
    def _first_learned(self):
        return self.priors if self.learn_doc_topic or self.learn_topic_word else None

    def _topics(self, progress, sums, totals) -> Topics:
        """Return topics of expected counts, and the priors added to them."""
        eta = (progress.priors or self.priors).topic_word
        totals = np.maximum(totals, 0)  # rounding of replaced sums
        if not isinstance(eta, np.ndarray):
            totals = totals + eta * n_words_of(self.vocabulary, sums)
            return Topics(sums, totals, float(eta), progress=progress, vocabulary=self.vocabulary)
        eta = self.priors.topic_word  # an array is not learned
        guide = self._guide.take(eta)  # (V, width)
        if guide is None:
            rows = np.broadcast_to(eta, (self.n_topics, len(sums))).T
            guide = padded(rows, self.n_topics, sums.dtype)
        self._guide.keep(eta, guide)
        totals = totals + np.broadcast_to(eta, (self.n_topics, len(sums))).sum(axis=1)
        return Topics(sums, totals, guide, progress=progress)


class LDAEM(VariationalLDA):
    """E-step and M-step of LDA (see :class:`fastem.em.Model`); documents start again in each one.

    Their first gammas are random if the parameters carry random numbers, else 1. Arguments are
    those of :class:`VariationalLDA`.
    """

    #: Documents start again in each E-step, and may end in another optimum.
    bound_may_fall = True

    def e_step(self, topics: Topics, block: Documents, *, bound=True) -> Statistics:
        """Return the expected counts of words in topics."""
        stream = own_stream(self.progress_of(topics).stream, block.number)
        with self._room.lend((block.n_docs, topics.sums.shape[1]), topics.sums.dtype) as gamma:
            statistics = self._infer_and_sum(topics, block, gamma, stream, bound)
        if stream is not None:
            statistics.drawn = Drawn(block.number, stream)
        return statistics

    def step(self, topics, statistics, block) -> Topics:
        """Return lambda after a step towards a block's M-step (Hoffman et al. 2010, equation 7)."""
        progress, factor = self.progress_of(topics), self.n_samples / block.n_docs
        rho = (self.learning_offset + progress.n_steps) ** -self.learning_decay
        word_topic, n_words = statistics.word_topic, len(topics.sums)
        target = self._topics(progress, topics.sums, factor * statistics.totals)  # of its own sums:
        sums, k = arrays.empty(topics.sums.shape, topics.sums.dtype), self.n_topics
        for begin in range(0, n_words, _ROWS):
            rows = slice(begin, min(begin + _ROWS, n_words))
            counts = word_topic.block(rows.start, rows.stop) * sums.dtype.type(factor)
            counts += target.prior if np.ndim(target.prior) == 0 else target.prior[rows]
            sums[rows] = (1 - rho) * topics.sums[rows]
            sums[rows, :k] += rho * counts[:, :k]
        totals = (1 - rho) * topics.totals + rho * target.totals
        progress = self._after_step(progress, statistics, sums, rho, factor)
        return Topics(sums, totals, 0.0, progress=progress)

    def _after_step(self, progress, statistics, sums, rho, factor):
        """Return the progress after an online step to some sums."""
        priors = progress.priors
        if self.learn_doc_topic:
            seen = {k: factor * getattr(statistics, k) for k in ("log_theta", "n_docs")}
            priors = self._better_alpha(priors, Statistics(bound=0, weight=0, **seen), rho)
        if progress.n_steps % _ETA_EVERY == 0 and statistics.totals.any():
            less = (progress.priors or self.priors).topic_word
            priors = self._better_eta(priors, sums, rho, less)
        if "drawn" in vars(statistics):
            progress = progress._replace(stream=statistics.drawn.stream)
        return progress._replace(priors=priors, n_steps=progress.n_steps + 1)
