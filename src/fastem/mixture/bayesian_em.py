"""Variational Bayes for Gaussian mixtures: the model that the driver fits.

The posterior of the weights is a Dirichlet distribution, or the sticks of a Dirichlet process; that
of a component's mean and precision is normal-Wishart. Its expected log-density is that of a
Gaussian component except for a constant, so the E-step is the same. Conventions are scikit-learn's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import betaln, digamma, gammaln

from fastem._engine.statistics import Moments, Statistics
from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianBlock, GaussianEM, GaussianParams
from fastem.components.gaussian_data import log_norms

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

    def expected_log_weights(self):
        """Return E[log weights], (K,); it may be less than any weight has as its logarithm."""
        if self.concentration.ndim == 1:
            return digamma(self.concentration) - digamma(np.add.reduce(self.concentration))
        mine, rest = digamma(self.concentration) - digamma(
            np.add.reduce(self.concentration, axis=0)
        )
        mine[1:] += rest[:-1].cumsum()
        return mine

    def halves(self):
        """Return (degrees of freedom - i) / 2 for each feature i, (D, K) or (D, 1)."""
        return (self.degrees_of_freedom - np.arange(self.means.shape[1])[:, None]) / 2

    def digammas(self):
        """Return the sum over features of digamma(halves()), (K,) or (1,).

        Of two features at a time, by Legendre's duplication formula (Abramowitz & Stegun 6.3.8).
        """
        d, freedom = self.means.shape[1], self.degrees_of_freedom
        pairs = digamma(freedom - np.arange(1, d, 2)[:, None])
        total = 2 * (np.add.reduce(pairs, axis=0) - d // 2 * math.log(2))
        return total + digamma((freedom - d + 1) / 2) if d % 2 else total

    def gaussians(self, weights=None):
        """Return Gaussian components whose log-densities are the expected ones (Bishop 10.46).

        Their weights are the mean ones unless given; densities do not depend on them.
        """
        d = self.means.shape[1]
        # The covariances are those of the mean precision: E[log det precision] is less than its
        # log det by this, and the mean is uncertain.
        log_det = d * math.log(2) + self.digammas()
        log_det = log_det - d * np.log(self.degrees_of_freedom) - d / self.mean_precision
        log_weights = self.expected_log_weights() + log_det / 2
        return GaussianParams(
            self.weights() if weights is None else weights,
            self.means, self.covariances, self.precisions_cholesky,
            np.dtype(np.float64), log_weights,
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
        gaussians = params.gaussians(params.mean_precision)
        # In float64: the bound is a sum over all samples, and stops the fit when it changes by tol.
        narrow = block.X.dtype == np.float32
        sums = self.components.moments_in_float64 if narrow else self.components.moments
        bound, moments = sums(gaussians, block, None)
        return Statistics(
            bound=bound,
            weight=block.total_weight,
            expected=self._expected(gaussians, moments),
            moments=moments,
        )

    def _expected(self, gaussians, moments):
        """Return sum r log(weight density) over all samples and components.

        What the bound, which sums r (log(weight density) - log r), has beyond it is the entropy.
        """
        about = moments.scatter_about(gaussians.means)
        distances = KINDS[self.kind].distance(about, gaussians.precisions_cholesky)
        return float(moments.weight @ log_norms(gaussians, self.kind) - distances / 2)

    def m_step(self, statistics: Statistics) -> BayesianParams:
        """Return the posterior of the responsibilities' moments (Bishop 10.58-10.63)."""
        return self.posterior(statistics.moments)

    def posterior(self, moments: Moments) -> BayesianParams:
        """Return the posterior that moments give."""
        prior, counts = self.prior, self.components.component_weights(moments)
        centers = self.components.means(moments)
        precision = prior.mean_precision + counts
        means = prior.mean_precision * prior.mean + counts[:, None] * centers
        means /= precision[:, None]
        if prior.process:
            concentration = np.empty((2, len(counts)))
            concentration[0] = 1 + counts
            concentration[1, -1] = 0.0
            concentration[1, :-1] = counts[:0:-1].cumsum()[::-1]
            concentration[1] += prior.concentration
        else:
            concentration = prior.concentration + counts
        kind, (k, d) = KINDS[self.kind], centers.shape
        # One precision for all components has its share of the samples.
        total, shares = kind.total(counts), k if kind.shared else 1
        freedom = np.asarray(prior.degrees_of_freedom + total / shares)
        share = prior.mean_precision * counts / precision
        scatter = moments.scatter
        if centers is not moments.mean:
            scatter = moments.scatter_about(centers)
        scatter, *step = kind.take_step(scatter, centers - prior.mean, share)
        if shares * kind.width(d) != 1:
            scatter = scatter / (shares * kind.width(d))
        scatter = scatter + prior.covariance
        kind.add_to_diagonal(scatter, self.reg_covar * total / shares)
        covariances, upper = kind.solve((scatter, *step), freedom, n_threads=self.n_threads)
        return BayesianParams(concentration, precision, means, freedom, covariances, upper)

    def lower_bound(self, statistics: Statistics, params: BayesianParams) -> float:
        """Return the bound on the evidence, without constants, of parameters from the M-step.

        That is the entropy of the responsibilities, and the logarithms of what the densities of the
        posterior are divided by; all else of Bishop 10.70 cancels, or does not change.
        """
        (k, d), freedom = params.means.shape, params.degrees_of_freedom
        log_det = KINDS[self.kind].log_determinants(params.precisions_cholesky, d)
        wisharts = freedom * (log_det + d / 2 * np.log(2 / freedom))
        wisharts = wisharts + np.add.reduce(gammaln(params.halves()), axis=0)
        if self.prior.process:
            of_weights = np.add.reduce(betaln(*params.concentration))
        else:
            of_weights = gammaln(params.concentration).sum() - gammaln(params.concentration.sum())
        of_means = -d / 2 * np.add.reduce(np.log(params.mean_precision))
        entropy = statistics.bound - statistics.expected
        times = k if KINDS[self.kind].shared else 1
        return float(entropy + times * wisharts.sum() + of_weights + of_means)
