"""Markov chains over any family of emissions: the model that the driver fits (Rabiner 1989).

The chain knows nothing of what its states emit, and the emissions nothing of the chain.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp, xlogy

from fastem._engine.statistics import Statistics

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
        lengths = np.diff(self.begin)
        return float(lengths.sum() if self.weight is None else self.weight @ lengths)


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
        self.family, self.start_prior, self.trans_prior = family, start_prior, trans_prior
        self.learn, self.held, self.n_threads = frozenset(learn), held, n_threads
        self.start_fixed, self.trans_fixed = start_fixed, trans_fixed

    # ---- fitting

    def e_step(self, params: ChainParams, block: Sequences) -> Statistics:
        """Return the total log-likelihood, expected starts and transitions, and the emissions'."""
        logb = self._log_prob(params, block)
        k = len(params.startprob)
        gamma, start, transitions = np.zeros(logb.shape), np.zeros(k), np.zeros((k, k))
        bound, log_trans = 0.0, _log(params.transmat)
        for s, (first, last) in enumerate(_pairs(block.begin)):
            weight = 1.0 if block.weight is None else block.weight[s]
            if weight == 0:
                continue
            here = logb[first:last]
            alpha, beta, log_p = _forward_backward(params, here)
            bound += weight * log_p
            if log_p == -np.inf:
                continue
            gamma[first:last] = weight * np.exp(alpha + beta - log_p)
            start += gamma[first]
            joint = (alpha[:-1, :, None] + (here + beta)[1:, None] + log_trans) - log_p
            transitions += weight * np.exp(joint).sum(axis=0)
        own = vars(self.family.statistics(params.emission, block.emission, gamma))
        own = {name: value for name, value in own.items() if name not in ("bound", "weight")}
        return Statistics(
            bound=bound, weight=block.total_weight, start=start, transitions=transitions, **own
        )

    def m_step(self, statistics: Statistics) -> ChainParams:
        """Return the parameters with the largest expected log-posterior (Rabiner 40a-40c)."""
        if "startprob" in self.learn:
            start = _distribution(statistics.start, self.start_prior, self.start_fixed)
        else:
            start = self.held.startprob
        if "transmat" in self.learn:
            trans = _distribution(statistics.transitions, self.trans_prior, self.trans_fixed)
        else:
            trans = self.held.transmat
        learns = "emission" in self.learn
        emission = self.family.estimate(statistics) if learns else self.held.emission
        return ChainParams(start, trans, emission)

    def log_prior(self, params: ChainParams) -> float:
        """Return the logarithm of the prior density, up to a constant; 0 without a prior."""
        value = 0.0
        if "startprob" in self.learn:
            value += _log_dirichlet(self.start_prior, params.startprob, self.start_fixed)
        if "transmat" in self.learn:
            value += _log_dirichlet(self.trans_prior, params.transmat, self.trans_fixed)
        if "emission" in self.learn:
            value += self.family.log_prior(params.emission)
        return value

    # ---- reading

    def scores(self, params: ChainParams, block: Sequences):
        """Return the log-likelihood of each sequence; -inf where it is impossible."""
        logb = self._log_prob(params, block)
        parts = [_forward_backward(params, logb[a:b])[2] for a, b in _pairs(block.begin)]
        return np.array(parts)

    def posteriors(self, params: ChainParams, block: Sequences):
        """Return the log-likelihood of each sequence, and p(state at t | sequence), (T, K).

        Those of an impossible sequence are all NaN.
        """
        logb = self._log_prob(params, block)
        scores, gamma = np.empty(len(block.begin) - 1), np.full(logb.shape, np.nan)
        for s, (first, last) in enumerate(_pairs(block.begin)):
            alpha, beta, scores[s] = _forward_backward(params, logb[first:last])
            if scores[s] > -np.inf:
                gamma[first:last] = np.exp(alpha + beta - scores[s])
        return scores, gamma

    def viterbi(self, params: ChainParams, block: Sequences):
        """Return the log-probability of each sequence with its best path, and the paths, (T,).

        Of states that are equally good the first is taken, as np.argmax does.
        """
        logb, log_trans = self._log_prob(params, block), _log(params.transmat)
        scores, states = np.empty(len(block.begin) - 1), np.empty(len(logb), dtype=np.int64)
        for s, (first, last) in enumerate(_pairs(block.begin)):
            value = _log(params.startprob) + logb[first]
            back = np.empty((last - first, len(value)), dtype=np.int64)
            for t in range(first + 1, last):
                whole = value[:, None] + log_trans
                back[t - first] = whole.argmax(axis=0)
                value = whole.max(axis=0) + logb[t]
            states[last - 1] = value.argmax()
            scores[s] = value.max()
            for t in range(last - 1, first, -1):
                states[t - 1] = back[t - first, states[t]]
        return scores, states

    def _log_prob(self, params, block):
        """Return the log-densities (T, K), -inf for what is known not to be the state."""
        logb = self.family.log_prob(params.emission, block.emission)
        if block.known is not None:
            told = block.known >= 0
            other = told[:, None] & (block.known[:, None] != np.arange(logb.shape[1]))
            logb = np.where(other, -np.inf, logb)
        return logb


def _pairs(begin):
    return pairwise(begin.tolist())


def _log(values):
    with np.errstate(divide="ignore"):
        return np.log(values)


def _forward_backward(params, logb):
    """Return log alpha, log beta and the log-likelihood of one sequence."""
    log_trans = _log(params.transmat)
    alpha, beta = np.empty(logb.shape), np.zeros(logb.shape)
    alpha[0] = _log(params.startprob) + logb[0]
    for t in range(1, len(logb)):
        alpha[t] = logsumexp(alpha[t - 1][:, None] + log_trans, axis=0) + logb[t]
    for t in range(len(logb) - 2, -1, -1):
        beta[t] = logsumexp(log_trans + logb[t + 1] + beta[t + 1], axis=1)
    return alpha, beta, logsumexp(alpha[-1])


def _free(prior, values, fixed):
    """Return which probabilities are learnt, and their pseudo-counts; 0 for the others."""
    free = np.ones(values.shape, dtype=bool) if fixed is None else np.isnan(fixed)
    return free, np.where(free, np.asarray(prior, dtype=np.float64) - 1, 0)


def _distribution(counts, prior, fixed):
    """Return the most probable distributions along the last axis; equal shares for no counts."""
    free, pseudo = _free(prior, counts, fixed)
    counts = np.where(free, np.maximum(counts + pseudo, 0), 0)
    total = counts.sum(axis=-1, keepdims=True)
    equal = free / np.maximum(free.sum(axis=-1, keepdims=True), 1)
    share = np.divide(counts, total, out=equal, where=total > 0)
    if fixed is None:
        return share
    left = np.maximum(1 - np.where(free, 0, fixed).sum(axis=-1, keepdims=True), 0)
    return np.where(free, share * left, fixed)


def _log_dirichlet(prior, values, fixed):
    return float(xlogy(_free(prior, values, fixed)[1], values).sum())
