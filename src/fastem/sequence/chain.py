"""Markov chains over any family of emissions: the model that the driver fits (Rabiner 1989).

The chain knows nothing of what its states emit, and the emissions nothing of the chain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastem._engine.statistics import Statistics
from fastem._kernels import chain as kernel
from fastem.components.dirichlet import log_dirichlet, with_pseudo_counts, with_the_largest

__all__ = ["ChainEM", "ChainParams", "Sequences"]

LEARN = frozenset({"startprob", "transmat", "emission"})


class ChainParams(NamedTuple):
    """Parameters of a hidden Markov model, float64."""

    startprob: np.ndarray  # (K,)
    transmat: np.ndarray  # (K, K), rows sum to 1
    emission: Any  # the family's own


class Sequences(NamedTuple):
    """Some whole sequences, end to end: a block."""

    emission: Any  # the family's block of all rows
    begin: np.ndarray  # (n_sequences + 1,) int64: where each begins
    weight: np.ndarray | None = None  # (n_sequences,) float64
    known: np.ndarray | None = None  # (T,) int32: the state known at that row, or -1

    @property
    def total_weight(self):
        """Number of rows, each with the weight of its sequence."""
        if self.weight is None:
            return float(self.begin[-1])
        return float(self.weight @ np.diff(self.begin))


class ChainEM:
    """E-step and M-step of a hidden Markov model (see :class:`fastem.em.Model`).

    Parameters
    ----------
    family : GaussianEmissions, MixtureEmissions or DiscreteEmissions
        What the states emit.
    start_prior, trans_prior : float or ndarray of shape (K,) and (K, K)
        Parameters of Dirichlet priors; the pseudo-counts are these less 1.
    learn : frozenset of {'startprob', 'transmat', 'emission'}
    held : ChainParams or None
        Where the parameters come from that are not learnt.
    start_fixed, trans_fixed : ndarray of shape (K,) and (K, K), or None
        Probabilities that the M-step does not touch; NaN where it is free.
    n_threads : int
    """

    def __init__(
        self,
        family,
        *,
        start_prior=1.0,
        trans_prior=1.0,
        learn=LEARN,
        held=None,
        start_fixed=None,
        trans_fixed=None,
        n_threads=1,
    ):
        self.family = family
        self._start, self._trans = _pseudo_counts(start_prior), _pseudo_counts(trans_prior)
        self.learn, self.held, self.n_threads = frozenset(learn), held, n_threads
        self.start_fixed, self.trans_fixed = start_fixed, trans_fixed
        self._seen: tuple[Any, float] = (None, 0.0)  # parameters, and their log-prior

    # ---- fitting

    @property
    def bound_may_fall(self) -> bool:
        """Whether a prior is infinite at 0 (see dirichlet.py)."""
        return any(np.min(pseudo) < 0 for pseudo in self._dirichlets())

    def _dirichlets(self):
        """Return the pseudo-counts of the priors of what is learnt."""
        own = {"startprob": self._start, "transmat": self._trans}
        found = [own[name] for name in own if name in self.learn and own[name] is not None]
        return found + (self.family.dirichlets() if "emission" in self.learn else [])

    def e_step(self, params: ChainParams, block: Sequences) -> Statistics:
        """Return the total log-likelihood, expected starts and transitions, and the emissions'."""
        scores = np.empty(len(block.begin) - 1)
        chain: list[np.ndarray] = []

        def own_sums(emission):
            job = self._job(params, block, emission)
            chain[:] = kernel.sums(job, scores, self.n_threads)
            return chain.pop()

        sums = self.family.collect(own_sums, params.emission, block.emission)
        start, transitions = chain
        if block.weight is not None:
            counts = block.weight > 0
            scores = scores[counts] * block.weight[counts]
        return Statistics(
            bound=float(np.add.reduce(scores)),
            weight=block.total_weight,
            start=start,
            transitions=transitions,
            **sums,
        )

    def m_step(self, statistics: Statistics) -> ChainParams:
        """Return the parameters with the largest expected log-posterior (Rabiner 40a-40c)."""
        if "startprob" in self.learn:
            start = _distribution(statistics.start, self._start, self.start_fixed)
        else:
            start = self.held.startprob
        if "transmat" in self.learn:
            trans = _distribution(statistics.transitions, self._trans, self.trans_fixed)
        else:
            trans = self.held.transmat
        learns = "emission" in self.learn
        emission = self.family.estimate(statistics) if learns else self.held.emission
        return ChainParams(start, trans, emission)

    def log_prior(self, params: ChainParams) -> float:
        """Return the logarithm of the prior density, up to a constant; 0 without a prior."""
        if params is self._seen[0]:  # the driver asks, and then whoever watches the fit
            return self._seen[1]
        value = 0.0
        if "startprob" in self.learn:
            value += _log_dirichlet(self._start, params.startprob, self.start_fixed)
        if "transmat" in self.learn:
            value += _log_dirichlet(self._trans, params.transmat, self.trans_fixed)
        if "emission" in self.learn:
            value += self.family.log_prior(params.emission)
        self._seen = params, value
        return value

    # ---- reading

    def scores(self, params: ChainParams, block: Sequences):
        """Return the log-likelihood of each sequence; -inf where it is impossible."""
        scores = np.empty(len(block.begin) - 1)
        kernel.rows(self._job(params, block), scores, None, self.n_threads)
        return scores

    def posteriors(self, params: ChainParams, block: Sequences):
        """Return the log-likelihood of each sequence, and p(state at t | sequence), (T, K).

        Those of an impossible sequence are all NaN.
        """
        scores = np.empty(len(block.begin) - 1)
        posteriors = np.empty((block.begin[-1], len(params.startprob)))
        kernel.rows(self._job(params, block), scores, posteriors, self.n_threads)
        for s in np.flatnonzero(np.isneginf(scores)):
            posteriors[block.begin[s] : block.begin[s + 1]] = np.nan
        return scores, posteriors

    def viterbi(self, params: ChainParams, block: Sequences):
        """Return the log-probability of each sequence with its best path, and the paths, (T,).

        Of states that are equally good the first is taken, as np.argmax does.
        """
        scores = np.empty(len(block.begin) - 1)
        states = np.empty(block.begin[-1], dtype=np.int64)
        kernel.best(self._job(params, block), scores, states, self.n_threads)
        return scores, states

    def _job(self, params, block, emission=None):
        """Return the kernel's job."""
        if emission is None:
            emission = self.family.emission(params.emission, block.emission)
        trans = np.asarray(params.transmat, dtype=np.float64)
        start = np.asarray(params.startprob, dtype=np.float64)
        return kernel.Job(emission, start, trans, block.begin, block.weight, block.known)


def _pseudo_counts(prior):
    """Return the pseudo-counts of a Dirichlet prior, or None where they are 0."""
    counts = np.asarray(prior, dtype=np.float64) - 1
    return counts if counts.any() else None


def _distribution(counts, pseudo, fixed):
    """Return the most probable distributions along the last axis; equal shares for no counts."""
    if pseudo is not None:
        counts = with_the_largest(with_pseudo_counts(counts, pseudo), counts)
    share = kernel.shares(counts) if fixed is None else None  # quicker than NumPy, for few
    if share is not None:
        return share
    free = np.ones(counts.shape, dtype=bool) if fixed is None else np.isnan(fixed)
    counts = np.where(free, counts, 0)
    total = counts.sum(axis=-1, keepdims=True)
    equal = free / np.maximum(free.sum(axis=-1, keepdims=True), 1)
    share = np.divide(counts, total, out=equal, where=total > 0)
    if fixed is None:
        return share
    left = np.maximum(1 - np.where(free, 0, fixed).sum(axis=-1, keepdims=True), 0)
    return np.where(free, share * left, fixed)


def _log_dirichlet(pseudo, values, fixed):
    if pseudo is None:
        return 0.0
    pseudo = np.broadcast_to(pseudo, values.shape)
    if fixed is not None:
        pseudo = np.where(np.isnan(fixed), pseudo, 0)
    return log_dirichlet(pseudo, values)
