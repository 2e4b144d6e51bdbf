"""Some features of Gaussian components, and the others given them; from precisions alone.

With P = U U^T and the rows of U in another order, an RQ factorisation gives the triangular R of
that order, with P = R R^T. Its leading block belongs to the marginal distribution of the first
features, its trailing block to the others given these. No covariance is formed or solved with,
which would lose the digits of a component that is nearly flat.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import rq, solve_triangular

from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianParams
from fastem.components.noise import Noise

__all__ = ["Split", "marginal", "split"]


class Split(NamedTuple):
    """Components seen as a distribution of some features and a regression of the others on them."""

    given: GaussianParams  # the marginal distribution of the features that are given
    means: np.ndarray  # (K, b) of the others
    slopes: np.ndarray | None  # (K, a, b): what x - mean adds to them; None: nothing
    precisions_cholesky: np.ndarray  # of the others given these, shaped by the kind
    noise: Noise | None  # of the others

    def rest(self, x, shares):
        """Return the parameters of the others where the given features are x, (a,).

        `shares` are the weights, and that of the noise.
        """
        means, (*weights,) = self.means.copy(), shares
        if self.slopes is not None:
            means += np.einsum("ka,kab->kb", x - self.given.means, self.slopes)
        noise = self.noise
        if noise is not None:
            noise = noise._replace(weight=float(weights.pop()))
        return GaussianParams(
            np.array(weights), means, None, self.precisions_cholesky, self.given.dtype, noise=noise
        )


def split(params, kind, given, rest) -> Split:
    """Return components, split into some columns and the rest."""
    marginal_of_given = marginal(params, kind, given)
    means, chol = params.means[:, rest], params.precisions_cholesky
    noise = None if params.noise is None else params.noise.some(rest)
    if not KINDS[kind].dense:
        return Split(marginal_of_given, means, None, KINDS[kind].some(chol, rest), noise)
    a, order = len(given), np.concatenate([given, rest])
    factors = _factors(chol, order)
    trailing = factors[:, a:, a:]
    # E[b | a] = mean_b - R_bb^-T R_ab^T (x_a - mean_a)
    slopes = np.array([-solve_triangular(f[a:, a:], f[:a, a:].T, trans="T").T for f in factors])
    slopes = np.broadcast_to(slopes, (len(means), *slopes.shape[1:]))  # those of 'tied' are shared
    return Split(marginal_of_given, means, slopes, _shaped(trailing, kind), noise)


def marginal(params, kind, columns) -> GaussianParams:
    """Return the parameters of some columns alone, in this order."""
    chol, covariances, n = params.precisions_cholesky, params.covariances, len(columns)
    if KINDS[kind].dense:
        others = np.setdiff1d(np.arange(params.means.shape[1]), columns)
        factors = _factors(chol, np.concatenate([columns, others]))
        chol = _shaped(factors[:, :n, :n], kind)
    else:
        chol = KINDS[kind].some(chol, columns)
    if covariances is not None:
        covariances = KINDS[kind].some(covariances, columns)
    return params._replace(
        means=params.means[:, columns],
        covariances=covariances,
        precisions_cholesky=chol,
        noise=None if params.noise is None else params.noise.some(columns),
    )


def _factors(upper, order):
    """Return the triangles R for features in another order, (K or 1, D, D), positive diagonals."""
    factors = np.array([
        rq(one[order], mode="r", check_finite=False) for one in upper.reshape(-1, *upper.shape[-2:])
    ])  # fmt: skip
    signs = np.where(factors.diagonal(axis1=1, axis2=2) < 0, -1.0, 1.0)
    return np.triu(factors * signs[:, None, :])


def _shaped(factors, kind):
    """Return triangles as `precisions_cholesky` of a kind has them."""
    return np.ascontiguousarray(factors[0] if KINDS[kind].shared else factors)
