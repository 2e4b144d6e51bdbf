"""Gaussian components: the model that the driver fits, and what is read off them.

Parameters are float64 throughout, also for float32 data; the kernel rounds them to the data's
precision in coordinates in which every feature is of order 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastem._engine.statistics import Moments, Statistics
from fastem._kernels import gaussian as kernel

__all__ = [
    "KINDS",
    "Block",
    "GaussianEM",
    "GaussianParams",
    "covariances_of",
    "fits",
    "precisions_cholesky_of",
    "precisions_of",
    "rows",
    "second_moment",
    "shape_of",
    "useful_threads",
]

KINDS = kernel.KINDS
_SMALLEST = 1e-300  # a variance whose inverse still fits
_ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
    "number of components, increase reg_covar, or scale the input data."
)


class GaussianParams(NamedTuple):
    """Parameters of a mixture.

    Covariances may be None: where only the precisions were given, and in a fit of type 'full' or
    'tied', for they are large. See :func:`covariances_of`.
    """

    weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, D)
    covariances: np.ndarray | None  # (K, D, D), (D, D), (K, D) or (K,)
    precisions_cholesky: np.ndarray  # same shape
    dtype: np.dtype  # of the data

    @classmethod
    def of(cls, weights, means, covariances, precisions_cholesky):
        """Return fitted attributes as parameters."""
        dtype = np.asarray(means).dtype
        weights, means, chol = (
            np.asarray(a, dtype=np.float64) for a in (weights, means, precisions_cholesky)
        )
        if covariances is not None:
            covariances = np.asarray(covariances, dtype=np.float64)
        return cls(weights, means, covariances, chol, dtype)

    @classmethod
    def from_precisions(cls, weights, means, precisions, kind, dtype):
        """Return parameters with given precisions: U U^T = precision, U upper triangular."""
        if kind in ("diag", "spherical"):
            return cls(weights, means, None, np.sqrt(precisions, dtype=np.float64), dtype)
        upper = np.empty(precisions.shape)
        d = upper.shape[-1]
        # One by one, for there may be many; reversed, LAPACK's lower triangle is an upper one.
        for out, given in zip(upper.reshape(-1, d, d), precisions.reshape(-1, d, d), strict=True):
            out[::-1, ::-1] = np.linalg.cholesky(given[::-1, ::-1].astype(np.float64))
        return cls(weights, means, None, upper, dtype)


def shape_of(kind, n_components, n_features):
    """Return the shape of the covariances, and of all that is shaped like them."""
    k, d = n_components, n_features
    return {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[kind]


def _check_shapes(params, kind, n_features):
    """Raise ValueError unless the parameters fit each other and the data: kernels do not look."""
    k, d = params.means.shape
    shapes = {
        "n_features of X": (n_features, d),
        "weights_": (params.weights.shape, (k,)),
        "precisions_cholesky_": (params.precisions_cholesky.shape, shape_of(kind, k, d)),
    }
    for name, (actual, expected) in shapes.items():
        if actual != expected:
            raise ValueError(
                f"{name} is {actual}, but means_ of shape {(k, d)} and covariance_type={kind!r} "
                f"need {expected}: fit again, or set the attribute"
            )


class Scaling(NamedTuple):
    """Coordinates (x - shift) * scale in which the data are of order 1.

    The scales are powers of 2, so nothing is rounded; the shift is 0 unless a feature lies far
    from 0 compared with its spread, where x - shift is exact too.
    """

    shift: np.ndarray  # (D,)
    scale: np.ndarray  # (D,)

    @classmethod
    def of_data(cls, X):
        """Return the scaling of some data, from at most some thousand rows."""
        rows = X[:: max(1, len(X) // 4096)].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = rows.mean(axis=0), rows.std(axis=0)
            largest = np.abs(rows).max(axis=0) ** 2 * len(X)
        if not np.all(np.isfinite(largest)):
            feature = int(np.argmin(np.isfinite(largest)))
            raise ValueError(
                f"X has values up to {np.abs(rows[:, feature]).max():.3g} in feature {feature}: "
                "their squares overflow. Scale the data, for example with StandardScaler."
            )
        return cls._of(mean, std, X.dtype)

    @classmethod
    def of_params(cls, params, kind, dtype):
        """Return the scaling of data from a mixture; it does not depend on the data at hand."""
        weights, covariances = params.weights[:, None], covariances_of(params, kind)
        if kind in ("full", "tied"):
            covariances = covariances.diagonal(axis1=-2, axis2=-1)
        elif kind == "spherical":
            covariances = covariances[:, None]
        mean = (weights * params.means).sum(axis=0)
        variance = (weights * (covariances + (params.means - mean) ** 2)).sum(axis=0)
        return cls._of(mean, np.sqrt(variance), dtype)

    @classmethod
    def _of(cls, mean, std, dtype):
        shift = np.where(np.abs(mean) > 4 * std, mean, 0.0).astype(dtype).astype(np.float64)
        limit = 100 if dtype == np.float32 else 500  # the scale's square must not overflow
        exponent = np.clip(np.frexp(std)[1], -limit, limit)
        return cls(shift, np.where(std > 0, np.ldexp(1.0, -exponent), 1.0))

    def job(self, X, params, kind, likelihood=True):
        """Return the kernel's job for these parameters, with or without their log-norms."""
        chol, d = params.precisions_cholesky, X.shape[1]
        _check_shapes(params, kind, d)
        if kind == "spherical":
            chol = np.repeat(chol[:, None], d, axis=1)
        diagonal = chol.diagonal(axis1=-2, axis2=-1) if kind in ("full", "tied") else chol
        with np.errstate(divide="ignore"):  # a component may have weight 0
            log_norm = np.log(params.weights) + np.log(diagonal).sum(axis=-1)
        log_norm = (log_norm - d / 2 * math.log(2 * math.pi)) if likelihood else 0 * params.weights
        means = (params.means - self.shift) * self.scale
        return kernel.Job(X, kind, self.shift, self.scale, means, chol, log_norm)


class Block(NamedTuple):
    """Some samples, and what every E-step on them needs."""

    X: np.ndarray  # (n, D) float32 or float64
    sample_weight: np.ndarray | None  # (n,) float64
    total_weight: float
    scaling: Scaling

    @classmethod
    def of(cls, X, sample_weight):
        """Return the block of validated samples."""
        X = np.require(X, requirements="A")
        total = float(len(X)) if sample_weight is None else float(sample_weight.sum())
        return cls(X, sample_weight, total, Scaling.of_data(X))

    def rows(self, begin, end):
        """Return the block of rows [begin, end)."""
        weight = None if self.sample_weight is None else self.sample_weight[begin:end]
        total = float(end - begin) if weight is None else float(weight.sum())
        return Block(self.X[begin:end], weight, total, self.scaling)


class GaussianEM:
    """E-step and M-step of a Gaussian mixture (see :class:`fastem.em.Model`).

    Parameters
    ----------
    kind : {'full', 'tied', 'diag', 'spherical'}
    reg_covar : float
        Added to the variances.
    dtype : dtype
        Of the data.
    n_threads : int
    """

    def __init__(self, kind, reg_covar, dtype, n_threads):
        self.kind, self.reg_covar = kind, reg_covar
        self.dtype, self.n_threads = np.dtype(dtype), n_threads
        self._total_scatter: tuple[Block, np.ndarray] | None = None

    def e_step(self, params: GaussianParams, block: Block) -> Statistics:
        """Return the bound and the components' moments under their responsibilities."""
        bound, moments = self.moments(params, block, None)
        return Statistics(bound=bound, weight=block.total_weight, moments=moments)

    def m_step(self, statistics: Statistics) -> GaussianParams:
        """Return the parameters with the largest expected log-likelihood (Bishop 9.24-9.26)."""
        params = self.estimate(statistics.moments)
        return params._replace(weights=params.weights / params.weights.sum())

    def component_weights(self, moments: Moments):
        """Return the components' weights, not normalised; scikit-learn's guard against 0."""
        return moments.weight + 10 * np.finfo(self.dtype).eps

    def means(self, moments: Moments):
        """Return the components' means."""
        return (moments.weight / self.component_weights(moments))[:, None] * moments.mean

    def estimate(self, moments: Moments) -> GaussianParams:
        """Return the parameters that moments give, the weights not normalised."""
        weights, means = self.component_weights(moments), self.means(moments)
        if self.kind in ("full", "tied"):
            chol = self._precisions_cholesky(moments, weights, means)
            return GaussianParams(weights, means, None, chol, self.dtype)
        variances = moments.scatter_about(means)
        variances /= weights[:, None] if self.kind == "diag" else weights * means.shape[1]
        variances += self.reg_covar
        roots = precisions_cholesky_of(variances, self.kind)
        return GaussianParams(weights, means, variances, roots, self.dtype)

    def _precisions_cholesky(self, moments, weights, means):
        """Return U, upper triangular with U U^T = inverse(covariance); full and tied."""
        if self.kind == "full":
            sums = moments.scatter, moments.mean - means, moments.weight, weights
        else:
            scatter = moments.scatter_about(means)[None]
            sums = scatter, np.zeros((1, means.shape[1])), np.zeros(1), weights.sum(keepdims=True)
        # The covariances are never there all at once: a (K, D, D) array may be most of the memory.
        upper, failed = kernel.precisions_cholesky(*sums, self.reg_covar, self.n_threads)
        if failed >= 0:
            raise ValueError(_singular(failed, np.triu(upper[failed]), self.kind))
        return upper if self.kind == "full" else upper[0]

    def given_moments(self, responsibilities, block: Block) -> Moments:
        """Return the moments that given (n, K) responsibilities have, about their own means."""
        k, d = responsibilities.shape[1], block.X.shape[1]
        scaling = block.scaling
        unit = {
            "full": np.zeros((k, d, d)),  # not used, but it has a shape; never written, no memory
            "tied": np.eye(d),
            "diag": np.tile(scaling.scale, (k, 1)),
            "spherical": np.full(k, scaling.scale.min()),
        }[self.kind]
        nowhere = np.tile(scaling.shift, (k, 1))
        params = GaussianParams(np.ones(k), nowhere, None, unit, self.dtype)
        # First the means, then the scatter about them.
        mean = self.moments(params, block, responsibilities)[1].mean
        return self.moments(params._replace(means=mean), block, responsibilities)[1]

    def moments(self, params, block, given) -> tuple[float, Moments]:
        """Return the bound and the moments, in the data's own coordinates.

        `given` are (n, K) float64 responsibilities in place of those that the parameters give, or
        None. Digits are kept if the means are near the moments' own.
        """
        scaling, kind = block.scaling, self.kind
        job = scaling.job(block.X, params, kind, likelihood=given is None)
        bound, weight, first, second = kernel.moments(
            job, block.sample_weight, given, self.n_threads
        )
        share = 1 / np.where(weight > 0, weight, 1)[:, None]
        if kind == "full":
            scatter = second
            mean = params.means + first * share / scaling.scale
        elif kind == "diag":
            offset = first * share / params.precisions_cholesky
            scatter = second / params.precisions_cholesky**2 - weight[:, None] * offset**2
            mean = params.means + offset
        else:
            centered = first * share
            mean = np.where(
                weight[:, None] > 0, scaling.shift + centered / scaling.scale, params.means
            )
            if kind == "spherical":
                moved = ((mean - params.means) ** 2).sum(axis=1)
                scatter = 2 * second / params.precisions_cholesky**2 - weight * moved
            else:
                scatter = self._tied_scatter(params, block, given, weight, centered)
        if kind in ("diag", "spherical"):
            scatter = np.maximum(scatter, 0)  # rounding may leave -1e-17
        return bound, Moments(weight, mean, scatter, kind)

    def _tied_scatter(self, params, block, given, weight, centered):
        """Return the scatter about the components' means.

        It is what remains of the whole scatter without that of the means. Where that is little,
        digits are lost, and the components' own scatters are summed instead.
        """
        total = self._scatter_of_all(block, given)
        scatter = total - (weight[:, None] * centered).T @ centered
        enough = 1e-3 if self.dtype == np.float32 else 1e-6
        if np.all(scatter.diagonal() >= enough * total.diagonal()):
            scale = block.scaling.scale
            return scatter / (scale[:, None] * scale)
        chol = params.precisions_cholesky
        each = params._replace(precisions_cholesky=np.tile(chol, (len(weight), 1, 1)))
        job = block.scaling.job(block.X, each, "full", likelihood=given is None)
        return kernel.moments(job, block.sample_weight, given, self.n_threads)[3].sum(axis=0)

    def _scatter_of_all(self, block, given):
        """Return sum_n w_n z_n z_n^T of all samples, in the kernel's coordinates.

        The responsibilities of a sample sum to 1, so this is the same in every iteration; given
        ones may sum to less.
        """
        center = block.scaling.shift[None]
        if given is not None:
            given = given.sum(axis=1, keepdims=True)
            return second_moment(block, center, given, self.n_threads)
        if self._total_scatter is None or self._total_scatter[0] is not block:
            self._total_scatter = block, second_moment(block, center, None, self.n_threads)
        return self._total_scatter[1]


def keep_freed_memory(n_components, n_features):
    """Let the process keep what a fit of full covariances frees, until the next iteration needs it.

    glibc gives the end of the heap back to the system where more of it is free than twice the
    largest block that it has seen freed; each page is then asked for again. A block that nobody
    touches, as large as all that a fit has at once, costs nothing.
    """
    np.empty((3, n_components, n_features, n_features))


def second_moment(block, center, given, n_threads):
    """Return sum w (x - center)(x - center)^T over a block, scaled; `given` scales the weights."""
    d = block.X.shape[1]
    # A single component without precision: every responsibility is exactly 1.
    one = GaussianParams(np.ones(1), center, None, np.zeros((1, d, d)), block.X.dtype)
    job = block.scaling.job(block.X, one, "full", likelihood=False)
    return kernel.moments(job, block.sample_weight, given, n_threads, about_mean=False)[3][0]


def useful_threads(n_threads, n_samples, n_features, n_components, kind):
    """Return n_threads, or 1 where an E-step takes less than about a millisecond.

    On a machine that is busy with other work, waiting for a second thread to be scheduled takes
    longer than that.
    """
    flops = n_features**2 if kind == "full" else 4 * n_features
    return n_threads if n_samples * n_components * (flops + 32) > 3e7 else 1


def rows(X, params, kind, output, n_threads):
    """Return 'labels', 'log_prob' or 'responsibilities' of each sample."""
    _check_shapes(params, kind, X.shape[1])
    shape = (len(X), len(params.means)) if output == "responsibilities" else (len(X),)
    array = np.empty(shape, dtype=np.int64 if output == "labels" else X.dtype)
    X = np.require(X, requirements="A")
    scaling = Scaling.of_params(params, kind, X.dtype)
    outputs = {"log_prob": None, "responsibilities": None, "labels": None, output: array}
    kernel.rows(scaling.job(X, params, kind), **outputs, n_threads=n_threads)
    return array


# ---- covariances and precisions --------------------------------------------------------------


def precisions_cholesky_of(variances, kind):
    """Return the square roots of the inverse variances, of type 'diag' or 'spherical'."""
    good = np.isfinite(variances) & (variances > _SMALLEST)
    if not good.all():
        component = int(np.argmin(good.reshape(len(good), -1).all(axis=1)))
        raise ValueError(_singular(component, variances[component], kind))
    return 1 / np.sqrt(variances)


def _singular(component, covariance, kind):
    """Return the error message for a covariance, or its upper triangle, not positive definite."""
    which = (
        "The shared covariance" if kind == "tied" else f"The covariance of component {component}"
    )
    if not np.all(np.isfinite(covariance)):
        return f"{_ILL_DEFINED} {which} is not finite: the values of X are too large to be squared."
    if kind in ("full", "tied"):
        smallest = f"smallest eigenvalue {np.linalg.eigvalsh(covariance, UPLO='U')[0]:.3g}"
    else:
        smallest = f"smallest variance {np.min(covariance):.3g}"
    return f"{_ILL_DEFINED} {which} is singular ({smallest})."


def fits(array, dtype):
    """Return whether an array of float64 keeps its values in another dtype, up to rounding."""
    info = np.finfo(dtype)
    for part in np.atleast_1d(array):  # a component at a time: the array may be large
        size = np.abs(part[part != 0])
        if size.size and not (size.max() <= info.max and size.min() >= info.tiny):
            return False
    return True


def precisions_of(precisions_cholesky, kind):
    """Return U U^T, or the squares."""
    if kind in ("full", "tied"):
        return precisions_cholesky @ np.swapaxes(precisions_cholesky, -1, -2)
    return precisions_cholesky**2


def covariances_of(params, kind, n_threads=1):
    """Return the covariances; where only U is known, the inverse of U U^T, or of the squares."""
    chol = params.precisions_cholesky
    if params.covariances is not None:
        return params.covariances
    if kind in ("diag", "spherical"):
        return 1 / chol**2
    stack = np.ascontiguousarray(chol).reshape(-1, *chol.shape[-2:])
    return kernel.covariances(stack, n_threads).reshape(chol.shape)
