"""Standard errors of maximum likelihood: coordinates, scores from E-steps, observed information.

By Fisher's identity the gradient of the log-likelihood is that of the expected complete-data
log-likelihood: one E-step has it. The observed information is minus its Jacobian, by central
differences. Coordinates are affine in the parameters, so that covariances transform without
remainder, and of order 1, so that one step of the differences suits all: probabilities are in units
of themselves, and Gaussians in coordinates in which they are standard normal.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.exceptions import ConvergenceWarning

from fastem.components.covariances import KINDS

__all__ = ["GaussianCoordinates", "Simplex", "covariance_of", "errors_of"]

_STEP = 1e-4
_BOUNDARY = 1e-8  # a probability below it is at its bound, where it has no standard error
_FAR = 0.1  # standard errors from the maximum that are worth a warning
_SINGULAR = 1e-7  # of an information whose diagonal is 1, and whose differences have such errors


class Simplex:
    """Coordinates of probabilities p that sum to 1: p_i (1 + a_i), and the largest is what is left.

    Parameters
    ----------
    p : ndarray of shape (K,)
    fixed : ndarray of shape (K,) of bool, default=None
        Which probabilities were not estimated.
    """

    def __init__(self, p, fixed=None):
        self.p = p
        free = p > _BOUNDARY if fixed is None else (p > _BOUNDARY) & ~fixed
        self.rest = int(np.argmax(np.where(free, p, -1)))
        free[self.rest] = False
        self.free = np.flatnonzero(free)
        self.n = len(self.free)

    def at(self, a):
        """Return the probabilities at some coordinates."""
        p = self.p.copy()
        p[self.free] *= 1 + a
        p[self.rest] -= a @ self.p[self.free]
        return p

    def score(self, p, counts):
        """Return the gradient at probabilities p, where the components have these counts."""
        ratio = np.divide(counts, p, out=np.zeros_like(p), where=p > 0)
        return self.p[self.free] * (ratio[self.free] - ratio[self.rest])

    def errors(self, covariance):
        """Return standard errors, (K,), of coordinates with this covariance; NaN: not estimated."""
        errors = np.full(len(self.p), np.nan)
        if self.n:
            own = covariance * np.outer(self.p[self.free], self.p[self.free])
            errors[self.free] = np.sqrt(own.diagonal())
            errors[self.rest] = np.sqrt(max(own.sum(), 0))
        return errors


class GaussianCoordinates:
    """Coordinates of Gaussians: means mu + L m, covariances L (I + E) L^T.

    At 0 they are mu and L L^T. L itself is needed for the errors alone: U = L^-T is the factor of
    the precisions.

    Parameters
    ----------
    kind : {'full', 'tied', 'diag', 'spherical'}
    means : ndarray of shape (K, D)
    factors : ndarray
        Of the precisions, as the kind has them.
    """

    def __init__(self, kind, means, factors):
        self.kind, self.means = KINDS[kind], means
        k, d = means.shape
        self.dense = self.kind.dense
        self.shape = factors.shape
        if self.dense:
            self.factors = factors.reshape(-1, d, d)
            self.pairs = np.triu_indices(d)
        else:
            self.factors = factors.reshape(k, -1)
        self.n = k * d + self.kind.n_parameters(k, d)

    def _divided(self, x):
        """Return m, (K, D), and E, (., D, D), or e, (K, D or 1)."""
        k, d = self.means.shape
        m, e = x[: k * d].reshape(k, d), x[k * d :].reshape(len(self.factors), -1)
        if not self.dense:
            return m, e
        matrices = np.zeros(self.factors.shape)
        matrices[:, self.pairs[0], self.pairs[1]] = e
        matrices[:, self.pairs[1], self.pairs[0]] = e
        return m, matrices

    def _of_each(self):
        """Yield the factor of each component."""
        for k in range(len(self.means)):
            yield self.factors[0 if self.kind.shared else k]

    def at(self, x):
        """Return means and factors of the precisions at some coordinates."""
        m, e = self._divided(x)
        if not self.dense:
            factors = self.factors / np.sqrt(1 + e)
            return self.means + m / self.factors, factors.reshape(self.shape)
        step = [
            solve_triangular(u, row, trans="T") for u, row in zip(self._of_each(), m, strict=True)
        ]
        inverse = np.linalg.inv(np.eye(m.shape[1]) + e)
        factors = self.factors @ KINDS["full"].factors(inverse)
        return self.means + np.array(step), factors.reshape(self.shape)

    def score(self, x, values, moments):
        """Return the gradient at coordinates, whose parameters and E-step's moments are given."""
        e, means = self._divided(x)[1], values[0]
        gap, weight = moments.mean - means, moments.weight[:, None]
        scatter = moments.scatter_about(means).reshape(self.factors.shape)
        total = np.reshape(self.kind.total(moments.weight), (-1, 1))
        if not self.dense:
            of_means = weight * gap * self.factors / (1 + e)
            own = scatter * self.factors**2 / (1 + e) - total * self.kind.width(gap.shape[1])
            return np.concatenate([of_means.ravel(), (own / (2 * (1 + e))).ravel()])
        inner = np.eye(gap.shape[1]) + e
        inverse = np.linalg.inv(inner)
        own = np.swapaxes(self.factors, 1, 2) @ scatter @ self.factors - total[..., None] * inner
        own = inverse @ own @ inverse / 2
        own *= 2 - np.eye(gap.shape[1])  # an off-diagonal coordinate is in two entries
        inverse = np.broadcast_to(inverse, (len(gap), *inverse.shape[1:]))
        of_means = [
            row @ u @ one
            for row, u, one in zip(weight * gap, self._of_each(), inverse, strict=True)
        ]
        return np.concatenate([np.ravel(of_means), own[:, self.pairs[0], self.pairs[1]].ravel()])

    def errors(self, covariance):
        """Return standard errors of means and covariances, of coordinates with this covariance."""
        k, d = self.means.shape
        variances = covariance.diagonal()
        if not self.dense:
            of_means = np.sqrt(variances[: k * d]).reshape(k, d) / self.factors
            own = np.sqrt(variances[k * d :]).reshape(self.factors.shape) / self.factors**2
            return of_means, own.reshape(self.shape)
        lower = [np.linalg.inv(u).T for u in self._of_each()]
        blocks = [slice(i * d, (i + 1) * d) for i in range(k)]
        of_means = [
            np.sqrt(np.einsum("ai,ij,aj->a", one, covariance[part, part], one))
            for one, part in zip(lower, blocks, strict=True)
        ]
        n, own = len(self.pairs[0]), []
        for i, one in enumerate(lower[: len(self.factors)]):
            part = slice(k * d + i * n, k * d + (i + 1) * n)
            rows, columns = one[:, self.pairs[0]], one[:, self.pairs[1]]
            jacobian = rows[:, None] * columns[None] + columns[:, None] * rows[None]
            jacobian[..., self.pairs[0] == self.pairs[1]] /= 2
            own.append(np.einsum("abp,pq,abq->ab", jacobian, covariance[part, part], jacobian))
        return np.array(of_means), np.sqrt(np.maximum(own, 0)).reshape(self.shape)


def errors_of(weights, own, statistics):
    """Return standard errors of a mixture's weights, (K,), and those of its components.

    Parameters
    ----------
    weights : Simplex
    own : GaussianCoordinates or another's, of the components
    statistics : callable
        The responsibilities' sums, (K,), and what `own.score` reads, at weights and parameters.
    """
    n = weights.n

    def score(x):
        share, values = weights.at(x[:n]), own.at(x[n:])
        resp, sums = statistics(share, values)
        return np.concatenate([weights.score(share, resp), own.score(x[n:], values, sums)])

    covariance = covariance_of(score, n + own.n, 5)
    of_weights = weights.errors(covariance[:n, :n])
    return (np.zeros(1) if len(weights.p) == 1 else of_weights), own.errors(covariance[n:, n:])


def covariance_of(score, n, stacklevel):
    """Return the covariance of n coordinates, the inverse of the observed information at 0.

    Parameters
    ----------
    score : callable
        The gradient of the log-likelihood at some coordinates.
    n : int
    stacklevel : int
        Of the warning: how many calls up the user is.

    Raises
    ------
    ValueError
        If the information is not positive definite: there is no maximum here.
    """
    information = np.empty((n, n))
    for i in range(n):
        step = np.zeros(n)
        step[i] = _STEP
        information[i] = (score(-step) - score(step)) / (2 * _STEP)
    information = (information + information.T) / 2
    scale = np.sqrt(np.maximum(information.diagonal(), 0))
    if not np.all(np.isfinite(information)) or not np.all(scale > 0):
        raise ValueError(_NO_MAXIMUM)
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    if not values[0] > _SINGULAR:
        raise ValueError(_NO_MAXIMUM)
    covariance = (vectors / values) @ vectors.T / np.outer(scale, scale)
    away = np.abs(covariance @ score(np.zeros(n))) / np.sqrt(covariance.diagonal())
    if away.max(initial=0) > _FAR:
        warnings.warn(
            f"a parameter is {away.max():.2g} standard errors away from the maximum of the "
            "likelihood: fit with a smaller tol and more iterations (priors and reg_covar move it)",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
    return covariance


_NO_MAXIMUM = (
    "the observed information is not positive definite: the parameters are at no proper maximum of "
    "the likelihood of X. Fit these data with a smaller tol, or with fewer components; or use the "
    "bootstrap"
)
