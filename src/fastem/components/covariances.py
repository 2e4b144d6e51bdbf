"""The four kinds of covariances of Gaussian components: an object each, by its name in `KINDS`.

What depends on the kind is a method here. Covariances, precisions, their factors and scatters are
arrays of the same shape:

    full (K, D, D)      a matrix for each component
    tied (D, D)         one matrix that all share
    diag (K, D)         variances, or what stands for them
    spherical (K,)      one variance for each component

A factor is U, upper triangular with U U^T = precision, or the square root of a precision.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastem._engine.statistics import add_scatter_of
from fastem._kernels import gaussian as kernel

__all__ = ["KINDS", "Kind", "is_positive_definite"]

_SMALLEST = 1e-300  # the inverse of a smaller variance may overflow
_ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
    "number of components, increase reg_covar, or scale the input data."
)


class Kind:
    """What kinds have in common; `k` components of `d` features.

    A kind has, beside what is here:

    - ``one(d)``: the shape of one covariance;
    - ``diagonal(array)``: variances, or what stands for them, by feature; broadcasts to (K, D);
    - ``some(covariances, columns)``: those of some features, not of matrices' factors;
    - ``pool(array)``: arrays of the kind `inner` as sums of this one;
    - ``distance(scatter, factors)``: the sum of trace(U^T scatter U) over the covariances;
    - ``unit(k, scale)``: factors for a pass in which densities do not count, at the data's scale;
    - ``factors(precisions)``, ``precisions(factors)``, ``covariances(factors, n_threads)``;
    - ``roots(covariances)``: the factors of their inverses, and the first that has none, or -1;
    - ``matrices(covariances, k, d)``, ``of_matrices(covariances)``: to (K, D, D) and back, None
      where they are not of this kind;
    - ``clip(covariances, least, most)``: variances along every direction clipped to [least, least *
      most], in place; `least` may have a number for each feature, and where it is 0, `most` is the
      largest itself. So is the likelihood the largest among the covariances allowed;
    - ``add_to_diagonal(scatter, numbers)``: a number added to the variances of each covariance, in
      place;
    - ``solve(sums, divisor, reg_covar, n_threads)``: the covariances sums / divisor + reg_covar
      (None for matrices, which may be most of the memory) and their factors, or a ValueError; the
      sums are those of `take_step`, the divisor has a number for each covariance;
    - ``estimate(moments, weights, means, guard, reg_covar, n_threads)``: the same for the largest
      likelihood. Scatters are about `means` and divided by `weights`; where a variance is none,
      `guard()`, (K,), is the share of the squared mean that takes its place;
    - ``draw(mean, covariance, count, random_state)``: samples, with scikit-learn's random numbers;
    - ``check_definite(given)``: a ValueError in scikit-learn's words unless all are positive.
    """

    name: ClassVar[str]
    dense: ClassVar[bool]  # matrices, not variances
    shared: ClassVar[bool] = False  # one for all components
    inner: ClassVar[str]  # the kind without constraints between components, or features
    one: Any
    diagonal: Any

    def lead(self, k):
        """Return the axes that number covariances."""
        return () if self.shared else (k,)

    def shape(self, k, d):
        """Return the shape of the covariances."""
        return self.lead(k) + self.one(d)

    def n_parameters(self, k, d):
        """Return how many free parameters the covariances have."""
        one = d * (d + 1) // 2 if self.dense else math.prod(self.one(d))
        return math.prod(self.lead(k)) * one

    def width(self, d):
        """Return how many features one variance is the mean of."""
        return 1

    def total(self, weight):
        """Return the weight that each covariance rests on, from (K,) weights."""
        return np.add.reduce(weight) if self.shared else weight

    def of_component(self, array, k):
        """Return component k's own."""
        return array if self.shared else array[k]

    def each(self, array, k, d):
        """Return arrays as those of the kind `inner`: (K, D, D) or (K, D)."""
        return array

    def per_feature(self, array):
        """Return a (K, D) array of sums summed as the diagonal of a scatter is."""
        return array

    def log_determinants(self, factors, d):
        """Return log det U of each component, (K,), or of the one that all share, ()."""
        return np.add.reduce(np.log(self.diagonal(factors)), axis=-1)

    def whitened(self, means, factors):
        """Return the means in the kernel's units, or None where it subtracts them first."""
        return means * factors.reshape(len(factors), -1)

    def take_step(self, scatter, step, share):
        """Return scatter + share step step^T, or what `solve` is to make of it; (K, D) and (K,).

        A step of None is 0.
        """
        if step is None:
            return scatter, None, None
        total = scatter.copy()
        add_scatter_of(total, step, share, self.name)
        return total, None, None

    def check(self, failed, covariances):
        """Raise ValueError unless `failed`, the first singular covariance, is -1."""
        if failed < 0:
            return
        which = "The shared covariance" if self.shared else f"The covariance of component {failed}"
        covariance = self.of_component(covariances, failed)
        covariance = np.triu(covariance) if self.dense else covariance
        if not np.all(np.isfinite(covariance)):
            problem = "not finite: the values of X are too large to be squared."
        elif self.dense:
            smallest = np.linalg.eigvalsh(covariance, UPLO="U")[0]
            problem = f"singular (smallest eigenvalue {smallest:.3g})."
        else:
            problem = f"singular (smallest variance {np.min(covariance):.3g})."
        raise ValueError(f"{_ILL_DEFINED} {which} is {problem}")


class _Matrices(Kind):
    dense, inner = True, "full"
    _factored: Any  # (sums, divisor, reg_covar, n_threads) -> factors (., D, D), the first failure
    _with_guard: Any  # (sums, moments, share of the squared means) -> sums

    def one(self, d):
        return d, d

    def diagonal(self, array):
        return array.diagonal(axis1=-2, axis2=-1)

    def some(self, covariances, columns):
        return covariances[..., columns[:, None], columns]

    def distance(self, scatter, factors):
        return np.vdot(factors, scatter @ factors)

    def factors(self, precisions):
        upper = np.empty(precisions.shape)
        d = upper.shape[-1]
        # One at a time, because there may be many. In reversed order of rows and columns, LAPACK's
        # lower triangle is the upper one that we need.
        for out, given in zip(upper.reshape(-1, d, d), precisions.reshape(-1, d, d), strict=True):
            out[::-1, ::-1] = np.linalg.cholesky(given[::-1, ::-1].astype(np.float64))
        return upper

    def roots(self, covariances):
        ones = np.ones(math.prod(covariances.shape[:-2]))
        return kernel.precisions_cholesky(covariances, None, None, ones, 0.0, 1)

    def precisions(self, factors):
        return factors @ np.swapaxes(factors, -1, -2)

    def covariances(self, factors, n_threads=1):
        stack = np.ascontiguousarray(factors).reshape(-1, *factors.shape[-2:])
        return kernel.covariances(stack, n_threads).reshape(factors.shape)

    def add_to_diagonal(self, scatter, numbers):
        diagonal = np.einsum("...ii->...i", scatter)  # a view
        diagonal += np.asarray(numbers)[..., None]

    def solve(self, sums, divisor, reg_covar=0.0, n_threads=1):
        return self._checked(*self._factored(sums, divisor, reg_covar, n_threads))

    def estimate(self, moments, weights, means, guard, reg_covar, n_threads):
        divisor = self.total(weights)
        step = None if means is moments.mean else moments.mean - means
        sums = self.take_step(moments.scatter, step, moments.weight)
        upper, failed = self._factored(sums, divisor, reg_covar, n_threads)
        if failed >= 0 and reg_covar == 0 and (self.shared or means.shape[1] == 1):
            again = self._with_guard(sums, moments, guard() * weights)
            upper, failed = self._factored(again, divisor, 0.0, n_threads)
        return self._checked(upper, failed)

    def _checked(self, upper, failed):
        self.check(failed, upper)
        return None, upper

    def clip(self, covariances, least, most):
        d = covariances.shape[-1]
        bounded = bool(np.all(least))
        if not bounded and most == np.inf:
            return
        root = np.sqrt(np.broadcast_to(least, d)) if bounded else np.ones(d)
        unit = np.outer(root, root)
        for matrix in covariances.reshape(-1, d, d):
            if np.isfinite(matrix).all():
                scaled = matrix / unit
                small = bounded and not is_positive_definite(scaled - np.eye(d))
                if small or scaled.trace() > most:
                    values, vectors = np.linalg.eigh(scaled)
                    matrix[:] = (vectors * np.clip(values, int(bounded), most)) @ vectors.T * unit

    def draw(self, mean, covariance, count, random_state):
        return random_state.multivariate_normal(mean, covariance, count)

    def check_definite(self, given):
        for matrix in given.reshape(-1, *given.shape[-2:]):
            if not np.allclose(matrix, matrix.T) or np.any(np.linalg.eigvalsh(matrix) <= 0):
                raise ValueError(f"'{self.name} precision' should be symmetric, positive-definite")


class _Full(_Matrices):
    name = "full"

    def pool(self, scatter):
        return scatter

    def unit(self, k, scale):
        return np.zeros((k, len(scale), len(scale)))  # never read or written: no memory

    def take_step(self, scatter, step, share):
        return scatter, step, share  # the kernel adds it, one component at a time

    def _factored(self, sums, divisor, reg_covar, n_threads):
        return kernel.precisions_cholesky(*sums, divisor, reg_covar, n_threads)

    def _with_guard(self, sums, moments, share):
        # One feature: the sums are about means that the guard has moved.
        return sums[0], moments.mean * share[:, None], sums[2]

    def whitened(self, means, factors):
        return None

    def matrices(self, covariances, k, d):
        return covariances.copy()

    def of_matrices(self, covariances):
        return covariances


class _Tied(_Matrices):
    name, shared = "tied", True

    def each(self, array, k, d):
        return np.broadcast_to(array, (k, d, d))

    def pool(self, scatter):
        return scatter.sum(axis=0)

    def unit(self, k, scale):
        return np.eye(len(scale))

    def _factored(self, sums, divisor, reg_covar, n_threads):
        divisor = np.array([divisor])
        return kernel.precisions_cholesky(sums[0], None, None, divisor, reg_covar, n_threads)

    def _with_guard(self, sums, moments, share):
        return sums[0] + (share[:, None] * moments.mean).T @ moments.mean, *sums[1:]

    def whitened(self, means, factors):
        return means @ factors

    def matrices(self, covariances, k, d):
        return np.tile(covariances, (k, 1, 1))

    def of_matrices(self, covariances):
        return covariances[0].copy() if np.all(covariances == covariances[0]) else None


class _Variances(Kind):
    dense, inner = False, "diag"
    _aligned: Any  # (a number for each component) -> the same, for operations with variances
    _mean: Any  # (squares of each feature) -> variances

    def distance(self, scatter, factors):
        return np.vdot(factors**2, scatter)

    def factors(self, precisions):
        return np.sqrt(precisions, dtype=np.float64)

    def roots(self, covariances):
        return kernel.roots(covariances)

    def checked_roots(self, covariances):
        """Return the factors, or say which component has none."""
        factors, failed = self.roots(covariances)
        self.check(failed, covariances)
        return factors

    def precisions(self, factors):
        return factors**2

    def covariances(self, factors, n_threads=1):
        return 1 / factors**2

    def add_to_diagonal(self, scatter, numbers):
        scatter += self._aligned(numbers)

    def solve(self, sums, divisor, reg_covar=0.0, n_threads=1):
        variances = sums[0] / self._aligned(divisor) + reg_covar
        return variances, self.checked_roots(variances)

    def estimate(self, moments, weights, means, guard, reg_covar, n_threads):
        there = means is moments.mean
        scatter = moments.scatter if there else moments.scatter_about(means)
        variances = scatter / self._aligned(weights * self.width(means.shape[1]))
        if reg_covar:
            variances += reg_covar
        factors, failed = self.roots(variances)
        if failed < 0:
            return variances, factors
        none = variances <= _SMALLEST
        variances = np.where(none, self._mean(guard()[:, None] * moments.mean**2), variances)
        return variances, self.checked_roots(variances)

    def matrices(self, covariances, k, d):
        return self.each(covariances, k, d)[:, None] * np.eye(d)

    def clip(self, covariances, least, most):
        np.maximum(covariances, least, out=covariances)
        if most < np.inf:
            largest = least * most if np.ndim(least) or least else most
            np.minimum(covariances, largest, out=covariances)

    def draw(self, mean, covariance, count, random_state):
        noise = random_state.standard_normal(size=(count, len(mean)))
        return mean + noise * np.sqrt(covariance)

    def check_definite(self, given):
        if np.any(given <= 0):
            raise ValueError(f"'{self.name} precision' should be positive")


class _Diag(_Variances):
    name = "diag"

    def one(self, d):
        return (d,)

    def diagonal(self, array):
        return array

    def some(self, covariances, columns):
        return covariances[:, columns]

    def pool(self, scatter):
        return scatter

    def unit(self, k, scale):
        return np.tile(scale, (k, 1))

    def _aligned(self, numbers):
        return numbers[:, None]

    def _mean(self, squares):
        return squares

    def of_matrices(self, covariances):
        own = covariances.diagonal(axis1=1, axis2=2)
        return own.copy() if np.all(covariances == own[:, None] * np.eye(own.shape[1])) else None


class _Spherical(_Variances):
    name = "spherical"

    def one(self, d):
        return ()

    def width(self, d):
        return d

    def each(self, array, k, d):
        return np.broadcast_to(array[:, None], (k, d))

    def diagonal(self, array):
        return array[:, None]

    def per_feature(self, array):
        return array.sum(axis=1, keepdims=True)

    def some(self, covariances, columns):
        return covariances

    def pool(self, scatter):
        return scatter.sum(axis=1)

    def log_determinants(self, factors, d):
        return d * np.log(factors)

    def unit(self, k, scale):
        return np.full(k, scale.min())

    def _aligned(self, numbers):
        return numbers

    def _mean(self, squares):
        return squares.mean(axis=1)

    def of_matrices(self, covariances):
        own = KINDS["diag"].of_matrices(covariances)
        return own[:, 0].copy() if own is not None and np.all(own == own[:, :1]) else None


def is_positive_definite(matrix):
    """Return whether a symmetric matrix is so; quicker than eigenvalues."""
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


KINDS: dict[str, Any] = {kind.name: kind for kind in (_Full(), _Tied(), _Diag(), _Spherical())}
