"""Gaussian components with a prior: the mode of the posterior, not the largest likelihood."""

from __future__ import annotations

import numpy as np

from fastem._engine.statistics import Moments
from fastem.components.covariances import KINDS
from fastem.components.dirichlet import log_dirichlet
from fastem.components.gaussian import GaussianEM, GaussianParams

__all__ = ["GaussianMAP"]


class GaussianMAP(GaussianEM):
    """E-step and M-step of a Gaussian mixture with a prior (see :class:`fastem.em.Prior`).

    Parameters
    ----------
    kind : {'full', 'tied', 'diag', 'spherical'}
    prior : GaussianPrior
    pseudo_counts : ndarray of shape (K,)
        Of the components' weights.
    dtype : dtype
        Of the data.
    n_threads : int
    fixed : Fixed or None
        What the M-step leaves alone.
    noise : Noise or None
        A component more, whose weight has no pseudo-count.
    """

    def __init__(self, kind, prior, pseudo_counts, dtype, n_threads, fixed=None, noise=None):
        super().__init__(kind, 0.0, dtype, n_threads, fixed, noise)
        self.prior, self.pseudo_counts = prior, pseudo_counts

    def counts(self, moments: Moments):
        """Return what the mode of the components' shares of all weight is proportional to."""
        return self.component_weights(moments) + self.pseudo_counts

    def means(self, moments: Moments):
        """Return the mode of the components' means."""
        total = moments.weight + self.prior.mean_weight
        share = np.divide(moments.weight, total, out=np.ones_like(total), where=total > 0)
        return self.prior.mean + share[:, None] * (moments.mean - self.prior.mean)

    def covariances(self, moments: Moments, weights, means):
        """Return the mode of the covariances about given means, or None, and the factors."""
        kind, prior = KINDS[self.kind], self.prior
        pull = np.full(len(means), prior.mean_weight)
        sums = kind.take_step(moments.scatter_about(means) + prior.scale, means - prior.mean, pull)
        divisor = (kind.total(moments.weight) + prior.count) * kind.width(means.shape[1])
        return kind.solve(sums, divisor, n_threads=self.n_threads)

    def log_prior(self, params: GaussianParams) -> float:
        """Return the logarithm of the prior density, up to a constant."""
        value = self.prior.log_density(params.means, params.precisions_cholesky, self.kind)
        return value + log_dirichlet(self.pseudo_counts, params.weights)
