"""Emissions: what a hidden state lets one see. Families of components beneath a Markov chain.

A family knows the log-density of each row under each state, the additive statistics of the rows
under given responsibilities, and the parameters that such statistics give. It knows nothing of
the chain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastem._engine.statistics import Statistics, add_scatter_of
from fastem._kernels import chain
from fastem._kernels import gaussian as kernel
from fastem.components import discrete as discrete
from fastem.components import gaussian as gaussian
from fastem.components.covariances import KINDS
from fastem.components.gaussian_data import Scaling, observed_moments
from fastem.components.gaussian_missing import moments_of_sums
from fastem.components.prior import GaussianPrior

__all__ = [
    "DiscreteEmissions",
    "GaussianEmissions",
]


_DOUBLE = np.dtype(np.float64)
_MOST_PASSES = 4  # about new means: each leaves a mean at most 1e-16 of the way that it came


class Rows(NamedTuple):
    """Samples beneath a chain."""

    X: np.ndarray  # (T, D) float64
    scaling: Any  # coordinates in which they are of order 1
    missing: bool  # whether some values are NaN

    @classmethod
    def of(cls, X):
        """Return the block of validated samples."""
        if not np.isnan(np.add.reduce(X, axis=None)):
            return cls(X, Scaling.of_data(X), False)
        count, mean, squares = observed_moments(X, None)
        deviation = np.sqrt(squares / np.maximum(count, 1))
        return cls(X, Scaling.of_moments(mean, deviation, X.dtype), True)


def gaussian_params(means, covariances, kind):
    """Return the parameters of K Gaussians as a family takes them; covariances as `kind` says.

    Raises ValueError naming the state whose covariance is not positive definite.
    """
    means = np.asarray(means, dtype=np.float64)
    covariances = np.asarray(covariances, dtype=np.float64)
    k, d = means.shape
    expected = KINDS[kind].shape(k, d)
    if covariances.shape != expected:
        raise ValueError(f"covars_ must have shape {expected}, got {covariances.shape}")
    chol = roots_of(covariances, kind)
    return params_of(means, covariances, chol)


def params_of(means, covariances, chol):
    """Return the parameters of Gaussians that have no weights: they count as 1."""
    k = len(means)
    return gaussian.GaussianParams(np.ones(k), means, covariances, chol, _DOUBLE, np.zeros(k))


def roots_of(covariances, kind):
    """Return the factors of the precisions; ValueError names a state without one."""
    roots, failed = KINDS[kind].roots(covariances)
    if failed < 0:
        return roots
    which = "all states" if KINDS[kind].shared else f"state {failed}"
    if KINDS[kind].dense:
        raise ValueError(_singular(f"{which} is not positive definite"))
    raise ValueError(_singular(f"{which} is {np.min(covariances[failed]):.3g}, not above 0"))


def _singular(what):
    return (
        f"The covariance of {what}. Decrease n_components, increase covars_prior or min_covar, "
        "or scale the data."
    )


class Family:
    """What all families do with the kernel's emission."""

    emission: Any  # (params, block, center) -> the kernel's emission
    sums: Any  # (emission, own, params, block, center) -> statistics by name, and whether they lost
    n_rows: Any  # (block) -> the number of its rows

    def dirichlets(self):
        """Return the pseudo-counts of the Dirichlet priors of what is learnt."""
        return []

    def log_prob(self, params, block):
        """Return the log-density of each row under each state, (T, K)."""
        emission = self.emission(params, block)
        out = np.empty((self.n_rows(block), emission.n_states))
        chain.log_prob(emission, out)
        return out

    def statistics(self, params, block, responsibilities):
        """Return the statistics that given (T, K) responsibilities have; their bound is 0."""
        given = np.ascontiguousarray(responsibilities, dtype=np.float64)
        sums = self.collect(lambda emission: chain.given(emission, given), params, block)
        return Statistics(bound=0.0, weight=0.0, **sums)

    def collect(self, own_sums, params, block):
        """Return the statistics, by name, that own_sums(emission) are, with all their digits."""
        center = None
        for _ in range(_MOST_PASSES):
            emission = self.emission(params, block, center)
            sums, lost = self.sums(emission, own_sums(emission), params, block, center)
            if not lost:
                break
            center = sums["moments"].mean  # some mean has moved far: once more, about the new ones
        return sums


class GaussianEmissions(Family):
    """One Gaussian a state.

    Parameters
    ----------
    kind : {'full', 'tied', 'diag', 'spherical'}
    prior : GaussianPrior
    min_covar : float or ndarray of shape (D,)
        No variance falls below it, in no direction.
    learn : frozenset of {'means', 'covars'}
    held : GaussianParams or None
        Where the parameters come from that are not learnt.
    n_threads : int
    most : float
        No variance rises above so many times `min_covar`.
    """

    def __init__(
        self,
        kind,
        prior=None,
        min_covar=0.0,
        learn=frozenset({"means", "covars"}),
        held=None,
        n_threads=1,
        most=np.inf,
    ):
        self.kind, self.prior, self.limits = kind, prior or GaussianPrior(), (min_covar, most)
        self.learn, self.held, self.n_threads = frozenset(learn), held, n_threads

    @staticmethod
    def block(X):
        """Return the block of validated samples, in float64 whatever they come in; NaN: missing."""
        return Rows.of(np.require(X, dtype=np.float64, requirements="A"))

    @staticmethod
    def n_rows(block):
        """Return the number of samples of a block."""
        return len(block.X)

    def emission(self, params, block, center=None):
        """Return the kernel's emission; its sums are about `center`, or else about the means."""
        return gaussian_emission(params, self.kind, block, 1, center)

    def sums(self, emission, own, params, block, center=None):
        """Return the statistics that the emission's sums are, and whether digits were lost."""
        moments, lost = gaussian_moments(emission, own, params, self.kind, block, center)
        return {"moments": moments}, lost

    def estimate(self, statistics):
        """Return the parameters with the largest expected log-posterior."""
        if not self.learn:
            return self.held
        return estimate_gaussians(
            statistics.moments, self.kind, self.prior, self.limits, self.learn, self.held
        )

    def log_prior(self, params):
        """Return the logarithm of the prior density, up to a constant."""
        chol = params.precisions_cholesky
        return self.prior.log_density(params.means, chol, self.kind)


def means_of(moments, prior):
    """Return the means that moments and a prior give."""
    if not np.count_nonzero(prior.mean_weight):
        return moments.mean
    weight = moments.weight[:, None]
    tau = np.broadcast_to(np.asarray(prior.mean_weight, dtype=np.float64), len(weight))[:, None]
    sums, total = weight * moments.mean + tau * prior.mean, weight + tau
    return np.divide(sums, total, out=moments.mean.copy(), where=total > 0)


def estimate_gaussians(moments, kind, prior, limits, learn, held, center=None):
    """Return the Gaussians that moments and a prior give, covariances about `center` (K, D).

    None: about the new means.
    """
    weight, d = moments.weight, moments.mean.shape[1]
    means = means_of(moments, prior) if "means" in learn else held.means
    if "covars" not in learn:
        return held._replace(means=means)
    center = means if center is None else center
    if center is moments.mean:
        scatter = moments.scatter + prior.scale
    else:
        scatter = moments.scatter_about(center)
        if np.count_nonzero(prior.mean_weight):
            tau = np.broadcast_to(np.asarray(prior.mean_weight, dtype=np.float64), weight.shape)
            add_scatter_of(scatter, center - prior.mean, tau, kind)
        scatter += prior.scale
    divisor = KINDS[kind].total(weight) + np.asarray(prior.count, dtype=np.float64)
    covariances = ratio_of(scatter, divisor * KINDS[kind].width(d))
    KINDS[kind].clip(covariances, *limits)
    chol = roots_of(covariances, kind)
    return params_of(means, None if KINDS[kind].dense else covariances, chol)


def ratio_of(scatter, divisor):
    """Return scatter / divisor; of all states together where a state has nothing.

    A state that has only its prior's scatter has no largest density: it is as wide as may be.
    """
    divisor = np.asarray(divisor)
    shaped = divisor.reshape(divisor.shape + (1,) * (scatter.ndim - divisor.ndim))
    if np.minimum.reduce(divisor, axis=None) > 1e-290:
        return scatter / shaped
    nothing = ~(shaped > 1e-290)
    everyone = np.where(nothing, 0, scatter).sum(axis=0)
    everyone = everyone / np.maximum(np.where(nothing, 0, shaped).sum(), 1e-290)
    inner = tuple(range(divisor.ndim, scatter.ndim))
    alone = scatter.any(axis=inner, keepdims=True)
    everyone = np.where(alone, scatter / 1e-100, everyone)
    return np.where(nothing, everyone, scatter / np.where(nothing, 1, shaped))


def gaussian_emission(params, kind, block, n_mix, center):
    """Return the kernel's emission of K * n_mix Gaussians; all kinds are full or diagonal there."""
    chol = KINDS[kind].each(params.precisions_cholesky, *params.means.shape)
    inner = KINDS[kind].inner
    params = params._replace(precisions_cholesky=chol)
    density = moments = block.scaling.job(block.X, params, inner)
    if center is not None:
        moments = block.scaling.job(block.X, params._replace(means=center), inner)
    if not block.missing:
        return kernel.Emission(density, moments, n_mix)
    covariances = gaussian.covariances_of(params._replace(covariances=None), inner)
    return kernel.Emission(density, moments, n_mix, covariances, params.weights)


def gaussian_moments(emission, own, params, kind, block, center):
    """Return the moments that the kernel's sums are, and whether they lost digits."""
    center = params.means if center is None else center
    return moments_of_sums(emission.unpack(own), kind, block.scaling, center)


# ---- discrete families -----------------------------------------------------------------------


class DiscreteEmissions(Family):
    """A family of discrete distributions of :mod:`fastem.components.discrete`, with its prior.

    Parameters
    ----------
    family : Binomial, Poisson, Multinomial or Categorical
    n_states : int
    learn : bool
    held : DiscreteParams or None
        The parameters, if they are not learnt.
    """

    def __init__(self, family, n_states, learn=True, held=None):
        self.family, self.n_states, self.learn, self.held = family, n_states, learn, held

    def dirichlets(self):
        """Return the pseudo-counts of the Dirichlet priors of what is learnt."""
        has = isinstance(self.family, (discrete.Categorical, discrete.Multinomial))
        return [self.family.prior] if has and self.learn else []

    def params(self, values):
        """Return parameters from the distributions' own, (K, D) or (K, D, C)."""
        return discrete.DiscreteParams(None, np.asarray(values, dtype=np.float64))

    def block(self, X):
        """Return the block of validated samples."""
        return discrete.CodedBlock.of(self.family, X, None, self.n_states, lean=True)

    @staticmethod
    def n_rows(block):
        """Return the number of samples of a block."""
        return block.n_samples

    def emission(self, params, block, center=None):
        """Return the kernel's emission; `center` is for families whose moments have one."""
        return discrete.kernel.Emission(block.job(params))

    def sums(self, emission, own, params, block, center=None):
        """Return the statistics that the emission's sums are; no digits are lost."""
        resp, sums = emission.unpack(own)
        return {"resp": resp, "terms": block.term_sums(sums, resp)}, False

    def estimate(self, statistics):
        """Return the parameters with the largest expected log-posterior."""
        if not self.learn:
            return self.held
        return self.params(self.family.estimate(statistics.terms, statistics.resp))

    def log_prior(self, params):
        """Return the logarithm of the prior density, up to a constant."""
        return float(self.family.log_prior(params.values))
