"""Mixtures of Gaussians beneath a Markov chain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastem._engine.statistics import add_scatter_of
from fastem.components import gaussian
from fastem.components.covariances import KINDS
from fastem.components.dirichlet import log_dirichlet, with_pseudo_counts
from fastem.components.prior import GaussianPrior
from fastem.sequence.emissions import (
    Family,
    GaussianEmissions,
    estimate_gaussians,
    gaussian_emission,
    gaussian_moments,
    gaussian_params,
    means_of,
    params_of,
    ratio_of,
    roots_of,
)

__all__ = ["MixtureEmissions", "MixtureParams"]


class MixtureParams(NamedTuple):
    """Parameters of a mixture of M Gaussians in each of K states."""

    weights: np.ndarray  # (K, M)
    gaussians: gaussian.GaussianParams  # K * M of them, state after state; tied: as full


class MixtureEmissions(Family):
    """A mixture of Gaussians a state.

    Parameters
    ----------
    kind : {'full', 'tied', 'diag', 'spherical'}
        tied: the Gaussians of a state share a covariance.
    n_mix : int
    prior : GaussianPrior
        Of each of the K * M Gaussians, state after state; tied: its scale and count are (K, D, D)
        and (K,).
    weights_prior : float or ndarray of shape (K, M)
        Parameters of the weights' Dirichlet prior; 1 is none.
    min_covar, learn, held, n_threads, most
        As :class:`GaussianEmissions`; `learn` may also have 'weights'.
    """

    def __init__(
        self,
        kind,
        n_mix,
        prior=None,
        weights_prior=1.0,
        min_covar=0.0,
        learn=frozenset({"weights", "means", "covars"}),
        held=None,
        n_threads=1,
        most=np.inf,
    ):
        self.kind, self.n_mix, self.prior = kind, n_mix, prior or GaussianPrior()
        self.shared = KINDS[kind].shared
        self.weights_prior, self.limits = weights_prior, (min_covar, most)
        self.learn, self.held, self.n_threads = frozenset(learn), held, n_threads

    block = staticmethod(GaussianEmissions.block)
    n_rows = staticmethod(GaussianEmissions.n_rows)

    @property
    def _inner(self):
        """The kind of the Gaussians, each with a covariance of its own."""
        return "full" if self.shared else self.kind

    @property
    def _pseudo_counts(self):
        return np.asarray(self.weights_prior, dtype=np.float64) - 1

    def dirichlets(self):
        """Return the pseudo-counts of the Dirichlet priors of what is learnt."""
        return [self._pseudo_counts] if "weights" in self.learn else []

    def params(self, weights, means, covariances):
        """Return parameters from arrays shaped as hmmlearn's GMMHMM has them."""
        weights, means = (np.asarray(a, dtype=np.float64) for a in (weights, means))
        k, m, d = means.shape
        covariances = np.asarray(covariances, dtype=np.float64)
        if self.shared:
            covariances = np.repeat(covariances[:, None], m, axis=1)
        flat = covariances.reshape(k * m, *covariances.shape[2:])
        return MixtureParams(weights, gaussian_params(means.reshape(k * m, d), flat, self._inner))

    def covariances(self, params):
        """Return the covariances as hmmlearn's GMMHMM has them."""
        covariances = gaussian.covariances_of(params.gaussians, self._inner)
        covariances = covariances.reshape(*params.weights.shape, *covariances.shape[1:])
        return covariances[:, 0].copy() if self.shared else covariances

    def emission(self, params, block, center=None):
        """Return the kernel's emission; its sums are about `center`, or else about the means."""
        flat = params.gaussians._replace(weights=params.weights.reshape(-1), log_weights=None)
        return gaussian_emission(flat, self._inner, block, self.n_mix, center)

    def sums(self, emission, own, params, block, center=None):
        """Return the statistics that the emission's sums are, and whether digits were lost."""
        moments, lost = gaussian_moments(
            emission, own, params.gaussians, self._inner, block, center
        )
        moved = moments.weight[:, None] * (moments.mean - params.gaussians.means)
        return {"moments": moments, "moved": moved}, lost

    def estimate(self, statistics):
        """Return parameters with a larger expected log-posterior.

        The covariances are those about the means of the E-step, and the means follow: two steps up,
        one after the other (Meng & Rubin 1993, *Maximum likelihood estimation via the ECM
        algorithm*, Biometrika 80:267). hmmlearn does so, and fits are to be the same.
        """
        moments, held, m = statistics.moments, self.held, self.n_mix
        there = moments.weight[:, None] > 0
        way = np.divide(
            statistics.moved, moments.weight[:, None], where=there, out=0 * moments.mean
        )
        center = moments.mean - way
        if not self.learn:
            return held
        if "weights" in self.learn:
            counts = moments.weight.reshape(-1, m)
            weights = _rows_of(with_pseudo_counts(counts, self._pseudo_counts))
        else:
            weights = held.weights
        before = None if held is None else held.gaussians
        if self.shared and "covars" in self.learn:
            return MixtureParams(weights, self._estimate_tied(moments, before, center))
        gaussians = estimate_gaussians(
            moments, self._inner, self.prior, self.limits, self.learn, before, center
        )
        return MixtureParams(weights, gaussians)

    def _estimate_tied(self, moments, held, center):
        """Return the Gaussians, those of a state with one covariance."""
        m, prior = self.n_mix, self.prior
        means = means_of(moments, prior) if "means" in self.learn else held.means
        d = means.shape[1]
        scatter = moments.scatter_about(center)
        tau = np.broadcast_to(np.asarray(prior.mean_weight, dtype=np.float64), len(means))
        add_scatter_of(scatter, center - prior.mean, tau, "full")
        scatter = scatter.reshape(-1, m, d, d).sum(axis=1) + prior.scale
        covariances = ratio_of(scatter, moments.weight.reshape(-1, m).sum(axis=1) + prior.count)
        KINDS["full"].clip(covariances, *self.limits)
        chol = np.repeat(roots_of(covariances, "full"), m, axis=0)
        return params_of(means, None, chol)

    def log_prior(self, params):
        """Return the logarithm of the prior density, up to a constant."""
        m = self.n_mix
        gaussians, prior = params.gaussians, self.prior
        chol = gaussians.precisions_cholesky
        weights = log_dirichlet(self._pseudo_counts, params.weights)
        if not self.shared:
            return weights + prior.log_density(gaussians.means, chol, self._inner)
        means_only = prior._replace(scale=0.0, count=0.0)
        shared = GaussianPrior(scale=prior.scale, count=prior.count)
        return (
            weights
            + means_only.log_density(gaussians.means, chol, "full")
            + shared.log_density(gaussians.means[::m], chol[::m], "full")
        )


def _rows_of(sums):
    """Return rows that sum to 1; a row of nothing is shared equally."""
    total = sums.sum(axis=-1, keepdims=True)
    equal = np.full_like(sums, 1 / sums.shape[-1])
    return np.divide(sums, total, out=equal, where=total > 0)
