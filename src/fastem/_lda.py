"""Latent Dirichlet allocation: the model that the driver fits."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaln, psi

from fastem._kernels import topics as kernel
from fastem._statistics import Statistics
from fastem._topics import Documents, Topics, TopicSums, padded

__all__ = ["LDAEM", "expected_topics"]

# The incremental method: a document's gamma begins anew at its first visits, lest it stay in the
# optimum of topics that were hardly any; then it goes on from its last, and a few updates suffice.
_COLD_VISITS, _COLD_SWEEPS, _WARM_SWEEPS = 4, 20, 5


def expected_topics(topics, n_threads):
    """Return exp(digamma(lambda)), (V, width), and 1 / exp(digamma(its sums over words)), (width,).

    Their product is exp(E[log beta]).
    """
    expected = np.empty_like(topics.sums)
    kernel.exp_digamma(topics.sums, topics.prior, expected, n_threads)
    return expected, _scale(topics)


def _scale(topics):
    """Return 1 / exp(digamma(the totals)), (width,); 0 past K, whatever stands there."""
    scale = np.zeros(topics.sums.shape[1])
    scale[: len(topics.totals)] = np.exp(-psi(topics.totals))
    return scale.astype(topics.sums.dtype)


class LDAEM:
    """E-step and M-step of LDA (see :class:`fastem.em.Model`); the parameters are lambda.

    Parameters
    ----------
    doc_topic_prior : ndarray of shape (K,)
    topic_word_prior : float
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
    """

    def __init__(
        self, doc_topic_prior, topic_word_prior, n_threads, *, max_sweeps, tol,
        random_state=None, step_size=None, n_steps=1, n_samples=1, incremental=False,
    ):  # fmt: skip
        self.doc_topic_prior = np.asarray(doc_topic_prior, dtype=np.float64)
        self.topic_word_prior, self.n_topics = float(topic_word_prior), len(doc_topic_prior)
        self.n_threads, self.max_sweeps, self.tol = n_threads, max_sweeps, float(tol)
        self.random_state, self.step_size = random_state, step_size
        self.n_steps, self.n_samples = n_steps, n_samples
        self.incremental = incremental
        self._expected: tuple[Topics, Any] | None = None
        self._seen: np.ndarray | None = None  # exp(digamma), row by row as `replace` needs them

    def e_step(self, topics: Topics, block: Documents, *, bound=True) -> Statistics:
        """Return the expected counts of words in topics."""
        sums = block.empty_sums(topics.sums)
        totals = self.infer(topics, block, sums.values)
        value = self.bound(topics, block) if bound else 0.0
        weight = block.total_weight or 1.0  # documents may all be empty
        return Statistics(bound=value, weight=weight, word_topic=sums, totals=totals)

    def replace(self, topics, block, old, total, *, bound=True) -> Statistics:
        """Replace a block's old statistics in the total; its documents go on from their gamma."""
        sums, values = old.word_topic, total.word_topic.values
        if self._seen is None:
            self._seen = np.zeros_like(values)
        rows = block.counts.word_id
        kernel.exp_digamma_rows(values, rows, topics.prior, self._seen, self.n_threads)
        expected = self._seen, _scale(topics)
        block.n_visits += 1
        cold = block.n_visits <= _COLD_VISITS
        if cold:
            block.doc_topic[:, : self.n_topics] = 1
        sweeps = min(_COLD_SWEEPS if cold else _WARM_SWEEPS, self.max_sweeps)
        changes = self._update(block, expected, sums.values, sweeps, values)
        value = self.bound(topics, block) if bound else 0.0
        total.bound += value - old.bound
        total.totals = total.totals + changes
        return Statistics(
            bound=value, weight=old.weight, word_topic=sums, totals=old.totals + changes
        )

    def statistics_of(self, topics) -> Statistics:
        """Return what the M-step would make these topics of, nearly: the first ones are random."""
        sums = TopicSums(topics.sums, None, len(topics.sums))
        return Statistics(bound=0.0, weight=0.0, word_topic=sums, totals=topics.totals)

    def infer(self, topics, block, sums, first=None):
        """Set the documents' gamma (``doc_topic``) and exp(digamma) of it (``spare``)."""
        k, shape = self.n_topics, (block.n_docs, self.n_topics)
        gamma = np.ones(shape) if first is None else first
        if self.random_state is not None and not self.incremental:
            gamma = self.random_state.gamma(100.0, 0.01, shape)
        block.set_topics(padded(gamma, k, topics.sums.dtype))
        block.spare[:] = 0
        block.log_likelihood, block.n_visits = np.empty(block.n_docs), 1
        sweeps = min(_COLD_SWEEPS, self.max_sweeps) if self.incremental else self.max_sweeps
        return self._update(block, self.expected(topics), sums, sweeps)

    def _update(self, block, expected, sums, max_sweeps, total=None):
        """Update the documents' gamma and the sums; return the totals of these."""
        k = self.n_topics
        prior = padded(self.doc_topic_prior[None], k, block.doc_topic.dtype)[0]
        phi, scale = expected
        return kernel.dirichlet_e_step(
            block.counts, block.doc_topic, prior, phi, scale, block.spare, block.log_likelihood,
            sums, k, self.n_threads, max_sweeps, self.tol, total,
        )  # fmt: skip

    def expected(self, topics):
        """Return the expected topics, which a batch pass asks for once a block."""
        if self._expected is None or self._expected[0] is not topics:
            self._expected = topics, expected_topics(topics, self.n_threads)
        return self._expected[1]

    def bound(self, topics, block):
        """Return the documents' part of the ELBO (Blei et al. 2003, equation 15)."""
        gamma = block.doc_topic[:, : self.n_topics].astype(np.float64)
        total = gamma.sum(axis=1)
        # the kernel's theta is exp(digamma(gamma)), not divided by that of the total
        bound = block.log_likelihood - block.n_tokens * psi(total)
        bound += _dirichlet_bound(self.doc_topic_prior, gamma, total)
        return float(bound.sum() if block.sample_weight is None else block.sample_weight @ bound)

    def log_prior(self, topics) -> float:
        """Return the topics' part of the ELBO: minus their divergence from the prior."""
        lam = topics.components().astype(np.float64)
        prior = np.broadcast_to(self.topic_word_prior, lam.shape[1])
        return float(_dirichlet_bound(prior, lam, lam.sum(axis=1)).sum())

    def m_step(self, statistics: Statistics) -> Topics:
        """Return lambda (Hoffman et al. 2010, equation 5)."""
        self.n_steps += 1
        sums = statistics.word_topic.dense()
        totals = statistics.totals + self.topic_word_prior * len(sums)
        return Topics(sums, totals, self.topic_word_prior)

    def step(self, topics, statistics, block) -> Topics:
        """Return lambda after a step towards a block's M-step (Hoffman et al. 2010, equation 7)."""
        rho = float(self.step_size(self.n_steps))
        target = self.m_step(statistics * (self.n_samples / block.n_docs))
        sums = (1 - rho) * topics.sums
        sums[:, : self.n_topics] += rho * (target.sums[:, : self.n_topics] + target.prior)
        return Topics(
            sums.astype(topics.sums.dtype, copy=False),
            (1 - rho) * topics.totals + rho * target.totals,
            0.0,
        )


def _dirichlet_bound(prior, posterior, total):
    """Return E[log p - log q] of each row's Dirichlet: prior (n,), posterior (m, n), sums (m,)."""
    expected = psi(posterior) - psi(total)[:, None]
    value = ((prior - posterior) * expected + gammaln(posterior)).sum(axis=1)
    return value - gammaln(prior).sum() + gammaln(prior.sum()) - gammaln(total)
