"""Gaussian components with a prior: the mode of the posterior, not the largest likelihood."""

from __future__ import annotations

import numpy as np

from fastem._engine.statistics import Moments, Statistics
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
    """

    def __init__(self, kind, prior, pseudo_counts, dtype, n_threads):
        super().__init__(kind, 0.0, dtype, n_threads)
        self.prior, self.pseudo_counts = prior, pseudo_counts

    def m_step(self, statistics: Statistics) -> GaussianParams:
        """Return the parameters with the largest expected log-posterior."""
        params = self.estimate(statistics.moments)
        weights = params.weights + self.pseudo_counts
        return params._replace(weights=weights / weights.sum())

    def estimate(self, moments: Moments) -> GaussianParams:
        """Return the parameters that moments and the prior give, the weights those of moments."""
        kind, prior, weight = KINDS[self.kind], self.prior, moments.weight
        total = weight + prior.mean_weight
        known = total > 0
        share = np.divide(weight, total, out=np.ones_like(total), where=known)
        gap = moments.mean - prior.mean
        means = prior.mean + share[:, None] * gap
        # About the components' own means; the prior's pull on a mean is a further square.
        sums = kind.take_step(moments.scatter + prior.scale, gap, share * prior.mean_weight)
        divisor = kind.total(weight) + prior.count
        covariances, chol = kind.solve(
            sums, divisor * kind.width(means.shape[1]), n_threads=self.n_threads
        )
        weights = self.component_weights(moments)
        return GaussianParams(weights, means, covariances, chol, self.dtype)

    def log_prior(self, params: GaussianParams) -> float:
        """Return the logarithm of the prior density, up to a constant."""
        value = self.prior.log_density(params.means, params.precisions_cholesky, self.kind)
        return value + log_dirichlet(self.pseudo_counts, params.weights)
