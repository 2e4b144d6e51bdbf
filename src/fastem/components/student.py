"""Student-t components: the model that the driver fits.

A sample is Gaussian with the scale matrix by u, and u has a gamma distribution: a sample far away
has a small u, and counts little (Peel & McLachlan 2000, *Robust mixture modelling using the t
distribution*, Statistics and Computing 10:339). Parameters are expanded by a scale of u of each
component, which takes the place of a constant 1 and makes the fit converge sooner (Liu, Rubin & Wu
1998, *Parameter expansion to accelerate EM: the PX-EM algorithm*, Biometrika 85:755); the M-step
still has a closed form, but for one equation in one number for the degrees of freedom.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import psi

from fastem._engine.statistics import Moments, Statistics
from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianEM, GaussianParams

__all__ = ["LARGEST_DF", "SMALLEST_DF", "StudentEM"]

#: What is learned stays in between: below, few samples suffice for a component to collapse to one
#: of them, with tails for the others; above, it is a Gaussian as far as samples can tell.
SMALLEST_DF, LARGEST_DF = 1.0, 1e4
_FIRST_DF = 10.0
_NO_WEIGHT = 10 * np.finfo(np.float64).eps  # added to counts: a component may have none


class StudentEM(GaussianEM):
    """E-step and M-step of a mixture of Student-t's (see :class:`fastem.em.Model`).

    Parameters
    ----------
    kind : {'full', 'tied', 'diag', 'spherical'}
        Of the scale matrices.
    reg_covar : float
        Added to their diagonals.
    dtype : dtype
        Of the data.
    n_threads : int
    df : {'each', 'shared'} or ndarray of shape (K,)
        Degrees of freedom: learned for each component, or one number for all, or given.
    """

    def __init__(self, kind, reg_covar, dtype, n_threads, df):
        super().__init__(kind, reg_covar, dtype, n_threads)
        self.df = df

    def completed(self, params):
        """Return parameters of a start, or of another fit, with degrees of freedom as `df` says."""
        df = params.df
        if not isinstance(self.df, str):
            df = self.df
        elif df is None:
            df = np.full(len(params.weights), _FIRST_DF)
        elif self.df == "shared" and df.min() < df.max():
            df = np.full_like(df, params.weights @ df)
        return params if df is params.df else params._replace(df=df)

    def prepared(self, block):
        """Return the block."""
        return block

    def e_step(self, params, block) -> Statistics:
        """Return the bound, the moments of weighted samples, and what the degrees are found by.

        `counts` are the sums of the responsibilities, `logs` those of the expected log u.
        """
        params = self.completed(params)
        bound, moments, (counts, tails) = self._sums(params, block, None)
        df, d = params.df, block.X.shape[1]
        logs = counts * (psi((df + d) / 2) - np.log(df / 2)) - tails
        return Statistics(
            bound=bound, weight=block.total_weight, moments=moments, counts=counts, logs=logs
        )

    def m_step(self, statistics: Statistics) -> GaussianParams:
        """Return the parameters with the largest expected log-likelihood."""
        moments, counts = statistics.moments, statistics.counts + _NO_WEIGHT
        shared = KINDS[self.kind].shared
        # Each component has its own scale of u, but where they share a matrix, whose scale is 1.
        divisor = counts if shared else self.component_weights(moments)
        means, scales, chol = self._shapes(moments, divisor)
        df = self.df
        if isinstance(df, str):
            scale = 1.0 if shared else divisor / counts
            gaps = 1 + statistics.logs / counts - np.log(scale) - moments.weight / (counts * scale)
            if df == "shared":
                gaps = np.full_like(counts, counts @ gaps / counts.sum())
            df = np.array([_degrees(gap) for gap in gaps])
        return GaussianParams(counts / counts.sum(), means, scales, chol, self.dtype, df=df)

    def _sums(self, params, block, given):
        if self.kind != "tied":
            return super()._sums(params, block, given)
        # What counts of a sample is another number in each component: none is the whole scatter.
        chol = KINDS["tied"].each(params.precisions_cholesky, *params.means.shape)
        each = params._replace(precisions_cholesky=chol, covariances=None)
        model = GaussianEM("full", self.reg_covar, self.dtype, self.n_threads)
        bound, found, further = model._sums(each, block, given)
        scatter = KINDS["tied"].pool(found.scatter)
        return bound, Moments(found.weight, found.mean, scatter, "tied"), further


def _degrees(gap):
    """Return the degrees of freedom where log(df / 2) - psi(df / 2) + gap is 0, within limits."""

    def slope(log_df):
        half = math.exp(log_df) / 2
        return math.log(half) - psi(half) + gap

    lowest, highest = math.log(SMALLEST_DF), math.log(LARGEST_DF)
    if not slope(lowest) > 0:
        return SMALLEST_DF
    if not slope(highest) < 0:
        return LARGEST_DF
    return math.exp(brentq(slope, lowest, highest, xtol=1e-14, rtol=1e-14))
