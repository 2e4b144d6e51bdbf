"""Latent Dirichlet allocation: the model that the driver fits."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import psi

from fastem._engine import arrays
from fastem._engine.statistics import Statistics
from fastem._kernels import topics as kernel
from fastem.topics.dirichlet import (
    Priors,
    dirichlet_bound,
    fit_dirichlet,
    information,
    polya_growth,
)
from fastem.topics.documents import Documents, Topics, TopicSums, padded
from fastem.topics.gammas import gamma_stream

__all__ = ["LDAEM", "document_statistics", "expected_components", "expected_topics"]

# The incremental method: a document's gamma begins anew at its first visits, lest it stay in the
# optimum of topics that were hardly any; then it goes on from its last, and a few updates suffice.
# More at first fit long documents to such topics too closely; with fewer, short ones end lower.
_COLD_VISITS, _COLD_SWEEPS, _WARM_SWEEPS = 4, 14, 5

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
    sums, prior = (
        (topics.sums, topics.prior) if np.ndim(topics.prior) == 0 else (topics.counts(), 0)
    )
    scale, small = _scale(topics)
    kernel.exp_digamma(sums, prior, expected, n_threads)
    _set_columns(expected, small)
    return expected, scale


def expected_components(topics, components, n_threads, point_topics):
    """Return exp(E[log beta]) by topic, (K, V), of topics and their `components()`."""
    if point_topics:
        return components * topics.scale[: len(components), None]
    expected = np.empty_like(components)
    scale, small = _scale(topics)
    kernel.exp_digamma(components, 0.0, expected, n_threads)
    _set_columns(expected.T, small)
    expected *= scale[: len(components), None]
    return expected


def _scale(topics, rows=slice(None)):
    """Return 1 / exp(digamma(the totals)), (width,); 0 past K, whatever stands there.

    exp(digamma) of a topic without counts is 0 for its words and for its total, where priors are
    small, though their ratio need not be. That is then formed in logarithms: a dict of such topics
    and their rows, which are already scaled, is returned, too.
    """
    scale, small, totals = np.zeros(topics.sums.shape[1]), {}, topics.totals
    scale[: len(totals)] = np.exp(-psi(np.maximum(totals, _LEAST_TOTAL)))
    for k in np.flatnonzero(totals < _LEAST_TOTAL):
        prior = topics.prior if np.ndim(topics.prior) == 0 else topics.prior[rows, k]
        lam = topics.sums[rows, k].astype(np.float64) + prior
        top = lam.max(initial=0.0)
        # Of the words alone: totals that follow changes of float32 sums have their rounding.
        psi_total = psi(max(top, totals[k])) if top > 0 else np.inf
        scale[k] = 0.0
        if psi(top) - psi_total > np.log(np.finfo(topics.sums.dtype).tiny):
            small[k], scale[k] = (rows, np.exp(psi(lam) - psi_total)), 1.0
    return scale.astype(topics.sums.dtype), small


def _set_columns(expected, columns):
    for k, (rows, values) in columns.items():
        expected[rows, k] = values


def document_statistics(alpha, block, *, bound, learn) -> dict[str, Any]:
    """Return the documents' part of the ELBO, 0 if unasked, and, to learn, the statistics of alpha.

    These are the sum of E[log theta_d] over documents, (K,), and their weight. A document without
    words says nothing of alpha, whatever that is. The block is Documents whose E-step was made.
    """
    n_topics, value = len(alpha), 0.0
    log_theta = np.zeros(n_topics)
    weight = np.ones(block.n_docs) if block.sample_weight is None else block.sample_weight
    told = weight * (block.n_tokens > 0)
    for begin in range(0, block.n_docs if bound or learn else 0, _ROWS):
        rows = slice(begin, begin + _ROWS)
        gamma = block.doc_topic[rows, :n_topics].astype(np.float64)
        parts, expected = dirichlet_bound(alpha, gamma)
        # the kernel's theta is exp(digamma(gamma)), not divided by that of the total
        parts += block.log_likelihood[rows] - block.n_tokens[rows] * psi(gamma.sum(axis=1))
        value += float(weight[rows] @ parts)
        log_theta += told[rows] @ expected
    statistics: dict[str, Any] = {"bound": value if bound else 0.0}
    if learn:
        statistics |= {"log_theta": log_theta, "n_docs": float(told.sum())}
    return statistics


class LDAEM:
    """E-step and M-step of LDA (see :class:`fastem.em.Model`); the parameters are lambda.

    Parameters
    ----------
    doc_topic_prior : ndarray of shape (K,)
    topic_word_prior : float or ndarray of shape (V,) or (K, V)
        0: topics are point estimates, and lambda their expected counts.
    n_threads : int
    max_sweeps, tol : int, float
        How often, and how exactly, a document's gamma is updated.
    random_state : RandomState or None
        Source of the documents' first gamma in an E-step; None: 1 for all.
    step_size : callable
        Of the number of an online step.
    n_steps : int
        Number of the next step.
    n_samples : float
        Number of documents of which an online step sees some.
    incremental : bool
        Whether the documents come back again and again, with few updates at a time.
    learn_doc_topic, learn_topic_word : bool
        Whether these priors, a number for each topic and one number, are learned from the first
        ones on; the parameters then carry them.
    """

    def __init__(
        self, doc_topic_prior, topic_word_prior, n_threads, *, max_sweeps, tol,
        random_state=None, step_size=None, n_steps=1, n_samples=1, incremental=False,
        learn_doc_topic=False, learn_topic_word=False,
    ):  # fmt: skip
        self.priors = Priors(np.asarray(doc_topic_prior, np.float64), topic_word_prior)
        self.n_topics = len(doc_topic_prior)
        self.n_threads, self.max_sweeps, self.tol = n_threads, max_sweeps, float(tol)
        self.random_state, self.step_size = random_state, step_size
        self.n_steps, self.n_samples = n_steps, n_samples
        self.incremental = incremental
        self.learn_doc_topic, self.learn_topic_word = learn_doc_topic, learn_topic_word
        self._visited = 0.0  # tokens, since priors were last learned
        self._information = 0.0  # of words about topics, when alpha was last looked at
        self._expected: tuple[Topics, Any] | None = None
        self._seen: np.ndarray | None = None  # exp(digamma), row by row as `replace` needs them
        self._guide: np.ndarray | None = None  # a prior for each word and topic, (V, width)

    #: Documents begin anew in each E-step, and may end in another optimum.
    bound_may_fall = True

    def __getstate__(self):
        """Return what is saved: what can be made again is large."""
        return vars(self) | {"_expected": None, "_seen": None, "_guide": None}

    # ---- E-step --------------------------------------------------------------------------------

    def e_step(self, topics: Topics, block: Documents, *, bound=True) -> Statistics:
        """Return the expected counts of words in topics."""
        sums = self._room(topics, block)
        totals = self.infer(topics, block, sums.values)
        weight = block.total_weight or 1.0  # documents may all be empty
        if not self.incremental:  # whose first visits are to topics that are hardly any
            self._visited += block.total_weight
        return Statistics(
            weight=weight, word_topic=sums, totals=totals, **self._read(topics, block, bound)
        )

    def _room(self, topics, block):
        """Return what the sums are written to: the expected topics, if they are as large.

        A pass over the words reads of each its expected topics, and then writes its sums: they need
        no other memory, and new pages cost time. The next E-step computes the former anew.
        """
        word_id, n_words = block.counts.word_id, len(topics.sums)
        if self.priors.point_topics or 2 * len(word_id) < n_words:
            return block.empty_sums(topics.sums)
        return TopicSums(self.expected(topics)[0], None, n_words)

    def replace(self, topics, block, old, total, *, bound=True) -> Statistics:
        """Replace a block's old statistics in the total; its documents go on from their gamma."""
        sums, values = old.word_topic, total.word_topic.values
        expected = self._expected_rows(topics, values, block.counts.word_id)
        self._visited += block.total_weight
        block.n_visits += 1
        cold = block.n_visits <= _COLD_VISITS
        if cold:
            block.doc_topic[:, : self.n_topics] = 1
        sweeps = min(_COLD_SWEEPS if cold else _WARM_SWEEPS, self.max_sweeps)
        changes = self._update(topics, block, expected, sums.values, sweeps, values)
        new = Statistics(
            weight=old.weight, word_topic=sums, totals=old.totals + changes,
            **self._read(topics, block, bound),
        )  # fmt: skip
        for name in vars(new).keys() - {"word_topic"}:  # whose sums the kernel has replaced
            setattr(total, name, getattr(total, name) + (getattr(new, name) - getattr(old, name)))
        return new

    def statistics_of(self, topics) -> Statistics:
        """Return what the M-step would make these topics of, nearly: the first ones are random."""
        sums = TopicSums(topics.sums, None, len(topics.sums))
        empty = {"log_theta": 0.0, "n_docs": 0.0} if self.learn_doc_topic else {}
        return Statistics(bound=0.0, weight=0.0, word_topic=sums, totals=topics.totals, **empty)

    def infer(self, topics, block, sums, first=None):
        """Set the documents' gamma (``doc_topic``) and exp(digamma) of it (``spare``)."""
        gamma = block.room(topics.sums.shape[1], topics.sums.dtype)
        block.log_likelihood, block.n_visits = np.empty(block.n_docs), 1
        sweeps = min(_COLD_SWEEPS, self.max_sweeps) if self.incremental else self.max_sweeps
        expected = self.expected(topics)
        if self.random_state is None or self.incremental:
            gamma[:, : self.n_topics] = 1 if first is None else first
            return self._update(topics, block, expected, sums, sweeps)
        with gamma_stream(self.random_state, gamma[:, : self.n_topics]) as stream:
            return self._update(topics, block, expected, sums, sweeps, stream=stream)

    def _update(self, topics, block, expected, sums, max_sweeps, total=None, stream=None):
        """Update the documents' gamma and the sums; return the totals of these."""
        k = self.n_topics
        prior = padded(self.priors_of(topics).doc_topic[None], k, block.doc_topic.dtype)[0]
        phi, scale = expected
        if sums is phi:
            self._expected, absent = None, np.ones(len(sums), bool)
            absent[block.counts.word_id] = False
            sums[absent] = 0
        return kernel.dirichlet_e_step(
            block.counts, block.doc_topic, prior, phi, scale, block.spare, block.log_likelihood,
            sums, k, self.n_threads, max_sweeps, self.tol, total, first=stream,
        )  # fmt: skip

    def expect_in_place(self, topics):
        """Make the expected topics in the place of the sums, which are lost: only to read."""
        point = self.priors.point_topics
        self._expected = topics, expected_topics(topics, self.n_threads, point, topics.sums)

    def expected(self, topics):
        """Return the expected topics, which a batch pass asks for once a block."""
        if self._expected is None or self._expected[0] is not topics:
            self._expected = None  # not two at a time
            point = self.priors.point_topics
            self._expected = topics, expected_topics(topics, self.n_threads, point)
        return self._expected[1]

    def _expected_rows(self, topics, values, rows):
        """Return expected topics that are right for some words; `values` are the topics' sums."""
        if self.priors.point_topics:
            return values, topics.scale
        if self._seen is None:
            self._seen = arrays.zeros(values.shape, values.dtype)
        if np.ndim(topics.prior) == 0:
            kernel.exp_digamma_rows(values, rows, topics.prior, self._seen, self.n_threads)
        else:
            some = values[rows] + topics.prior[rows]
            kernel.exp_digamma(some, 0.0, some, self.n_threads)
            self._seen[rows] = some
        scale, small = _scale(topics, rows)
        _set_columns(self._seen, small)
        return self._seen, scale

    def priors_of(self, topics) -> Priors:
        """Return the priors that go with some topics."""
        return self.priors if topics.priors is None else topics.priors

    # ---- the bound -----------------------------------------------------------------------------

    def _read(self, topics, block, bound) -> dict[str, Any]:
        alpha = self.priors_of(topics).doc_topic
        return document_statistics(alpha, block, bound=bound, learn=self.learn_doc_topic)

    def bound(self, topics, block) -> float:
        """Return the documents' part of the ELBO (Blei et al. 2003, equation 15)."""
        return self._read(topics, block, True)["bound"]

    def log_prior(self, topics) -> float:
        """Return the topics' part of the ELBO: minus their divergence from the prior.

        Point estimates have none.
        """
        priors, value = self.priors_of(topics), 0.0
        if priors.point_topics:
            return value
        for k in range(self.n_topics):
            prior = topics.prior if np.ndim(topics.prior) == 0 else topics.prior[:, k]
            lam = topics.sums[:, k].astype(np.float64) + prior
            value += float(dirichlet_bound(priors.of_topic(k), lam[None])[0][0])
        return value

    # ---- M-step --------------------------------------------------------------------------------

    def m_step(self, statistics: Statistics) -> Topics:
        """Return lambda (Hoffman et al. 2010, equation 5), and the priors if they are learned."""
        self.n_steps += 1
        sums = statistics.word_topic.dense()
        if 0 < 0.999 * statistics.weight <= self._visited:  # gone through once more
            self._visited = 0.0
            if self._topics_differ(sums):
                self._learn_alpha(statistics)
            self._learn_eta(sums)
        return self._topics(sums, statistics.totals)

    def _topics_differ(self, sums):
        """Return whether alpha can be learned from how documents share the topics.

        While these are alike, so are the documents, whose alpha is without limit; and topics of
        which all documents have the same share stay alike.
        """
        if not self.learn_doc_topic:
            return False
        before, self._information = self._information, information(sums, self.n_topics)
        least = _LEAST_INFORMATION * np.log(self.n_topics)
        return least <= self._information <= _STEADY * before

    def _learn_alpha(self, statistics, rho=1.0):
        """Set alpha, which stands for the mean of E[log theta] that it fits."""
        if not self.learn_doc_topic or statistics.n_docs == 0:
            return
        alpha = self.priors.doc_topic
        mean_log = rho * statistics.log_theta / statistics.n_docs
        if rho < 1:
            mean_log += (1 - rho) * (psi(alpha) - psi(alpha.sum()))
        self.priors = self.priors._replace(doc_topic=fit_dirichlet(alpha, mean_log))

    def _learn_eta(self, sums, rho=1.0, less=0.0):
        """Move eta towards the largest evidence of the expected counts, which are sums - less."""
        if self.learn_topic_word:
            eta = self.priors.topic_word
            eta *= polya_growth(eta, sums, self.n_topics, less) ** rho
            self.priors = self.priors._replace(topic_word=eta)

    @property
    def _learned(self):
        return self.priors if self.learn_doc_topic or self.learn_topic_word else None

    def _topics(self, sums, totals) -> Topics:
        """Return topics of expected counts, and the priors added to them."""
        eta, totals = self.priors.topic_word, np.maximum(totals, 0)  # rounding of replaced sums
        if np.ndim(eta) == 0:
            return Topics(sums, totals + eta * len(sums), float(eta), priors=self._learned)
        if self._guide is None:
            rows = np.broadcast_to(eta, (self.n_topics, len(sums))).T
            self._guide = padded(rows, self.n_topics, sums.dtype)
        totals = totals + np.broadcast_to(eta, (self.n_topics, len(sums))).sum(axis=1)
        return Topics(sums, totals, self._guide, priors=self._learned)

    def step(self, topics, statistics, block) -> Topics:
        """Return lambda after a step towards a block's M-step (Hoffman et al. 2010, equation 7)."""
        rho, factor = float(self.step_size(self.n_steps)), self.n_samples / block.n_docs
        word_topic, n_words = statistics.word_topic, len(topics.sums)
        rest = {k: factor * v for k, v in vars(statistics).items() if k != "word_topic"}
        target = self._topics(topics.sums, rest["totals"])  # of its own sums, block by block:
        sums, k = arrays.empty(topics.sums.shape, topics.sums.dtype), self.n_topics
        for begin in range(0, n_words, _ROWS):
            rows = slice(begin, min(begin + _ROWS, n_words))
            counts = word_topic.block(rows.start, rows.stop) * sums.dtype.type(factor)
            counts += target.prior if np.ndim(target.prior) == 0 else target.prior[rows]
            sums[rows] = (1 - rho) * topics.sums[rows]
            sums[rows, :k] += rho * counts[:, :k]
        self._learn_alpha(Statistics(**rest), rho)
        if self.n_steps % _ETA_EVERY == 0 and statistics.totals.any():
            self._learn_eta(sums, rho, self.priors.topic_word)
        self.n_steps += 1
        totals = (1 - rho) * topics.totals + rho * target.totals
        return Topics(sums, totals, 0.0, priors=self._learned)
