"""Variational Bayes for Gaussian mixtures: the model that the driver fits.

The posterior of the weights is a Dirichlet distribution, or the sticks of a Dirichlet process; that
of a component's mean and precision is normal-Wishart. Its expected log-density is that of a
Gaussian component except for a constant, so the E-step is the same. Conventions are scikit-learn's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastem._engine.statistics import Moments, Statistics
from fastem._kernels import gaussian as kernel
from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianBlock, GaussianEM, GaussianParams

_FLOAT64 = np.dtype(np.float64)

__all__ = ["BayesianEM", "BayesianParams", "BayesianPrior"]


class BayesianPrior(NamedTuple):
    """What is believed of weights, means and covariances before the data."""

    process: bool  # the weights have a Dirichlet process, else a Dirichlet distribution
    concentration: float
    mean_precision: float  # how many samples the prior mean counts for
    mean: np.ndarray  # (D,)
    degrees_of_freedom: float
    covariance: np.ndarray  # times the degrees of freedom: (D, D), 'diag' (D,), 'spherical' ()


class BayesianParams(NamedTuple):
    """The posterior; covariances, the inverse of the mean precision, as in GaussianParams."""

    concentration: np.ndarray  # (K,), of a process (2, K): the beta distributions of its sticks
    mean_precision: np.ndarray  # (K,)
    means: np.ndarray  # (K, D)
    degrees_of_freedom: np.ndarray  # (K,), 'tied' ()
    covariances: np.ndarray | None  # (K, D, D), (D, D), (K, D) or (K,)
    precisions_cholesky: np.ndarray  # same shape

    def weights(self):
        """Return the mean weights, (K,); of a process as far as it goes, so they are normalised."""
        if self.concentration.ndim == 1:
            return self.concentration / self.concentration.sum()
        mine, rest = self.concentration / self.concentration.sum(axis=0)
        weights = mine * np.concatenate([[1.0], rest[:-1].cumprod()])
        return weights / weights.sum()

    def gaussians(self, kind, weights=None):
        """Return Gaussian components whose log-densities are the expected ones (Bishop 10.46).

        Their weights are the mean ones unless given; densities do not depend on them.
        """
        log_weights = kernel.expected_log_weights(
            kind, self.concentration, self.mean_precision, self.means, self.degrees_of_freedom
        )
        return GaussianParams(
            self.weights() if weights is None else weights,
            self.means, self.covariances, self.precisions_cholesky, _FLOAT64, log_weights,
        )  # fmt: skip


class BayesianEM:
    """E-step and M-step of a Bayesian Gaussian mixture (see :class:`fastem.em.Model`).

    Parameters
    ----------
    kind : {'full', 'tied', 'diag', 'spherical'}
    reg_covar : float
        Added to the variances.
    prior : BayesianPrior
    dtype : dtype
        Of the data.
    n_threads : int
    """

    def __init__(self, kind, reg_covar, prior, dtype, n_threads):
        self.kind, self.reg_covar, self.prior = kind, reg_covar, prior
        self.n_threads = n_threads
        self.components = GaussianEM(kind, reg_covar, dtype, n_threads)

    @property
    def bound_may_fall(self) -> bool:
        """By what `reg_covar` adds to the variances."""
        return self.reg_covar > 0

    def e_step(self, params: BayesianParams, block: GaussianBlock) -> Statistics:
        """Return the components' moments under their responsibilities (Bishop 10.49-10.53)."""
        gaussians = params.gaussians(self.kind, params.mean_precision)
        # In float64: the bound is a sum over all samples, and stops the fit when it changes by tol.
        narrow = block.X.dtype == np.float32
        sums = self.components.moments_in_float64 if narrow else self.components.moments
        bound, moments = sums(gaussians, block, None)
        # The bound sums r (log(weight density) - log r): beyond this, it has the entropy.
        expected = kernel.expected_log_density(
            self.kind, moments.weight, moments.mean, moments.scatter, gaussians.means,
            gaussians.precisions_cholesky, gaussians.log_weights, self.n_threads,
        )  # fmt: skip
        return Statistics(
            bound=bound, weight=block.total_weight, expected=expected, moments=moments
        )

    def m_step(self, statistics: Statistics) -> BayesianParams:
        """Return the posterior of the responsibilities' moments (Bishop 10.58-10.63)."""
        return self.posterior(statistics.moments)

    def posterior(self, moments: Moments) -> BayesianParams:
        """Return the posterior that moments give."""
        counts, centers = self.components.component_weights(moments), self.components.means(moments)
        scatter = moments.scatter
        if centers is not moments.mean:
            scatter = moments.scatter_about(centers)
        *params, failed = kernel.posterior(
            self.kind, self.prior, counts, centers, scatter, self.reg_covar, self.n_threads
        )
        if failed >= 0:
            covariances, upper = params[-2:]
            KINDS[self.kind].check(failed, upper if covariances is None else covariances)
        return BayesianParams(*params)

    def lower_bound(self, statistics: Statistics, params: BayesianParams) -> float:
        """Return the bound on the evidence, without constants, of parameters from the M-step.

        That is the entropy of the responsibilities, and the logarithms of what the densities of the
        posterior are divided by; all else of Bishop 10.70 cancels, or does not change.
        """
        entropy = statistics.bound - statistics.expected
        return entropy + kernel.evidence(
            self.kind, params.concentration, params.mean_precision, params.means,
            params.degrees_of_freedom, params.precisions_cholesky,
        )  # fmt: skip
