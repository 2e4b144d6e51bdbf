"""Samples of Gaussian components as the kernel takes them: coordinates, blocks, and one pass.

float32 data are computed in float32 as long as that keeps their digits; where it does not, parts of
them are, as float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from fastem._kernels import gaussian as kernel
from fastem.components.covariances import KINDS

__all__ = [
    "GaussianBlock",
    "Scaling",
    "block_of",
    "check_squares",
    "covariances_of",
    "evaluate",
    "filled",
    "log_norms",
    "n_columns",
    "observed_moments",
    "overflow",
    "parts",
    "sorted_by_pattern",
]

_PART_BYTES = 4 << 20  # size of float64 samples, or responsibilities, made at a time
_SAMPLED = 4096  # so many rows, or up to twice as many, decide how data are scaled
#: Where a mean lies more than this many standard deviations from the origin of the coordinates,
#: float32 loses too many digits, and float64 is used.
_FAR_FOR_FLOAT32 = 256
_LARGEST_IN_FLOAT32 = 1e15  # mean, or precision, in the kernel's coordinates: squares are 1e30


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
        rows = X[:: max(1, len(X) // _SAMPLED)]
        d = rows.shape[1]
        if len(rows) == 0:  # a block of documents without words
            return cls.of_moments(np.zeros(d), np.zeros(d), X.dtype)
        mean, std = np.empty(d), np.empty(d)
        columns = max(1, (1 << 20) // (8 * len(rows)))  # wide data are read some columns at a time
        for first in range(0, d, columns):
            some = slice(first, first + columns)
            part = rows[:, some].astype(np.float64, order="C")  # so that no layout changes a bit
            mean[some] = np.add.reduce(part, axis=0) / len(rows)
            part -= mean[some]
            part *= part
            std[some] = np.sqrt(np.add.reduce(part, axis=0) / len(rows))
        return cls.of_moments(mean, std, X.dtype)

    @classmethod
    def of_params(cls, params, kind, dtype):
        """Return the scaling of data from a mixture; it does not depend on the data."""
        weights = params.weights[:, None]
        if params.noise is not None:  # which may have all of the weight
            weights = weights if weights.any() else np.ones_like(weights)
            weights = weights / weights.sum()
        variances = KINDS[kind].diagonal(covariances_of(params, kind))
        with np.errstate(over="ignore", invalid="ignore"):  # means may be anything finite
            mean = (weights * params.means).sum(axis=0)
            variance = (weights * (variances + (params.means - mean) ** 2)).sum(axis=0)
        return cls.of_moments(mean, np.sqrt(variance), dtype)

    @classmethod
    def of_moments(cls, mean, std, dtype):
        """Return the scaling of data with these means and deviations, (D,)."""
        shift = np.where(np.abs(mean) > 4 * std, mean, 0.0)
        if dtype == np.float32:
            shift = shift.astype(np.float32).astype(np.float64)
        # Half of the range of exponents, so that the squares of scaled numbers exist as well.
        limit = 50 if dtype == np.float32 else 250
        exponent = np.minimum(np.maximum(np.frexp(std)[1], -limit), limit)
        return cls(shift, np.where(std > 0, np.ldexp(1.0, -exponent), 1.0))

    def job(self, X, params, kind, likelihood=True, make=kernel.Job):
        """Return the kernel's job for these parameters, with or without their log-norms."""
        d = X.shape[1]
        if d != params.means.shape[1]:  # the kernel would read what is not there
            raise ValueError(
                f"n_features of X is {d}, but means_ has {params.means.shape[1]}: fit again, "
                "or set the attribute"
            )
        job = make(
            X, kind, self.shift, self.scale, params.means, params.precisions_cholesky,
            params.weights, params.log_weights, likelihood,
        )  # fmt: skip
        if likelihood and params.noise is not None:
            job.add_noise(params.noise.log_density, np.log(params.noise.sides))
        if likelihood and params.df is not None:
            job.make_student(params.df, log_ratios(params.df, d))
        return job

    def suits(self, params, kind, dtype):
        """Return whether the dtype is precise enough for all but the digits that data lack."""
        if dtype == np.float64:
            return True
        means, chol = params.means - self.shift, params.precisions_cholesky
        own = KINDS[kind].diagonal(chol)
        if max((own / self.scale).max(), np.abs(means * self.scale).max()) > _LARGEST_IN_FLOAT32:
            return False
        means = KINDS[kind].whitened(means, chol)
        if means is None:  # samples minus means are exact
            return True
        return bool(np.abs(means[params.weights > 0]).max(initial=0) < _FAR_FOR_FLOAT32)


class GaussianBlock(NamedTuple):
    """Some samples, and what every E-step on them needs."""

    X: np.ndarray  # (n, D) float32 or float64
    sample_weight: np.ndarray | None  # (n,) float64
    total_weight: float
    scaling: Scaling
    scatter: np.ndarray | None = (
        None  # (D, D) of all samples about the shift, scaled; if it is known
    )
    missing: bool = False  # whether there are NaN; then float64, rows sorted by what they lack

    @classmethod
    def of(cls, X, sample_weight, name="X"):
        """Return the block of validated samples, whose squares must be finite.

        NaN is what is missing.
        """
        X = X if X.flags.aligned else np.require(X, requirements="A")
        missing = check_squares(X, name)
        scaling = Scaling.of_data(filled(X) if missing else X)
        return cls.scaled(X, sample_weight, scaling, missing)

    @classmethod
    def scaled(cls, X, sample_weight, scaling, missing):
        """Return the block of checked samples whose scaling is known."""
        total = float(len(X)) if sample_weight is None else float(sample_weight.sum())
        if missing:
            lost = np.isnan(X)
            # A sample without any value says nothing: its share in each component is the weight.
            weight = np.ones(len(X)) if sample_weight is None else sample_weight
            weight = np.where(lost.all(axis=1), 0.0, weight)
            order = sorted_by_pattern(lost)
            X, sample_weight = X[order].astype(np.float64, copy=False), weight[order]
        return cls(X, sample_weight, total, scaling, None, missing)

    def filled(self):
        """Return the block with the features' means in place of what is missing."""
        return self._replace(X=filled(self.X, self.sample_weight), missing=False)

    def rows(self, begin, end):
        """Return the block of rows [begin, end)."""
        weight = None if self.sample_weight is None else self.sample_weight[begin:end]
        total = float(end - begin) if weight is None else float(weight.sum())
        return GaussianBlock(self.X[begin:end], weight, total, self.scaling, None, self.missing)

    def some(self, rows):
        """Return the block of some rows, by their numbers."""
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        total = float(len(rows)) if weight is None else float(weight.sum())
        return GaussianBlock(self.X[rows], weight, total, self.scaling, None, self.missing)

    def as_float64(self):
        """Return the block of the same samples in float64."""
        return self._replace(X=self.X.astype(np.float64), scatter=None)


def block_of(scaling, exponent, X, sample_weight):
    """Return the block of some of the samples, whose scaling is that of all.

    Weights are divided by 2 ** exponent.
    """
    X = np.require(X, requirements="A")
    weight = None if sample_weight is None else np.ldexp(sample_weight, -exponent)
    return GaussianBlock.scaled(X, weight, scaling, check_squares(X, "X"))


def log_norms(params, kind):
    """Return what components add to half the squared distance from their means, times -1; (K,)."""
    log_weights, d = params.log_weights, params.means.shape[1]
    if log_weights is None:
        with np.errstate(divide="ignore"):  # a component may have weight 0
            log_weights = np.log(params.weights)
    log_det = KINDS[kind].log_determinants(params.precisions_cholesky, d)
    return log_weights + log_det - d / 2 * math.log(2 * math.pi)


def log_ratios(df, d):
    """Return log-densities of Student-t's in the middle, without those of the Gaussians, (K,)."""
    return gammaln((df + d) / 2) - gammaln(df / 2) - d / 2 * np.log(df / 2)


def n_columns(params):
    """Return how many responsibilities a sample has: the noise's is the last."""
    return len(params.weights) + (params.noise is not None)


def overflow(X, sample_weight, name="X"):
    """Return the ValueError for finite data whose weighted sums of squares overflow."""
    weight = "" if sample_weight is None else f" and weights up to {sample_weight.max():.3g}"
    return ValueError(
        f"{name} has values up to {_largest(X):.3g}{weight}, whose weighted squares have sums that "
        f"overflow: scale {name}{' or sample_weight' if weight else ''}"
    )


def _largest(X):
    return max(float(X.max()), -float(X.min()))


def parts(n, width) -> Iterator[slice]:
    """Yield slices of n rows of so many float64 numbers, of limited memory."""
    size = max(1024, _PART_BYTES // (8 * width))
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))


def observed_moments(X, sample_weight):
    """Return the weight, mean and scatter about it of each feature's values that are not NaN."""
    weight, mean = _column_sums(X, sample_weight, 0.0, 1)
    mean = mean / np.maximum(weight, np.finfo(np.float64).tiny)
    return weight, mean, _column_sums(X, sample_weight, mean, 2)[1]


def _column_sums(X, sample_weight, center, power):
    """Return the weights of the values that are not NaN, and of (value - center) ** power, (D,)."""
    weight, sums = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for part in parts(len(X), 8 * X.shape[1]):
        known = ~np.isnan(X[part])
        powers = np.where(known, X[part] - center, 0) ** power
        if sample_weight is not None:
            known, powers = (sample_weight[part, None] * array for array in (known, powers))
        weight += known.sum(axis=0)
        sums += powers.sum(axis=0, dtype=np.float64)
    return weight, sums


def check_squares(X, name):
    """Raise ValueError if the squares of the samples overflow; return whether there are NaN.

    float32 squares are made float64.
    """
    if X.dtype == np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isnan(np.add.reduce(X, axis=None)) and np.isnan(X).any())
    # Not by BLAS, which would wake its threads; without a temporary array.
    with np.errstate(over="ignore", invalid="ignore"):
        if X.flags.c_contiguous or X.flags.f_contiguous:
            flat = X.ravel(order="K")
            finite = math.isfinite(np.einsum("i,i->", flat, flat))
        else:
            finite = all(np.isfinite(np.einsum("nd,nd->", X[p], X[p])) for p in parts(*X.shape))
    if finite:
        return False
    missing = bool(np.isnan(X).any())
    if missing:
        X = np.where(np.isnan(X), 0, X)
    if not missing or check_squares(X, name):
        largest = np.maximum(X.max(axis=0), -X.min(axis=0))
        feature = int(largest.argmax())
        raise ValueError(
            f"{name} has values up to {largest[feature]:.3g} in feature {feature}: their squares "
            "overflow. Scale the data, for example with StandardScaler, or leave out what stands "
            "for missing values."
        )
    return missing


def filled(X, sample_weight=None):
    """Return samples with the features' means in place of NaN."""
    mean = observed_moments(X, sample_weight)[1]
    return np.where(np.isnan(X), mean.astype(X.dtype), X)


def sorted_by_pattern(lost):
    """Return an order of rows in which those that lack the same stand together, (n,)."""
    return np.lexsort(np.packbits(lost, axis=1).T)


def covariances_of(params, kind, n_threads=1):
    """Return the covariances; where only U is known, the inverse of U U^T, or of the squares."""
    if params.covariances is not None:
        return params.covariances
    return KINDS[kind].covariances(params.precisions_cholesky, n_threads)


def evaluate(
    X, scaling, params, kind, n_threads, *, responsibilities=None, labels=None, scaled=False
):
    """Return the log-density of each sample, float64, and write what else is asked for.

    Parameters
    ----------
    X : ndarray of shape (n, D), float32 or float64
    scaling : Scaling
    params : GaussianParams
    kind : str
    n_threads : int
    responsibilities : ndarray of shape (n, K), dtype of X, C-contiguous; with noise (n, K + 1)
    labels : ndarray of shape (n,), int64
    scaled : bool
        Student-t's: whether responsibilities are to be times what rows count for in the moments.

    Returns
    -------
    log_prob : ndarray of shape (n,), float64
        -inf for a sample that no component can have.
    """
    out = [array for array in (responsibilities, labels) if array is not None]
    if scaling.suits(params, kind, X.dtype):
        log_prob = np.empty(len(X), X.dtype)
        job = scaling.job(X, params, kind)
        kernel.rows(job, log_prob, responsibilities, labels, n_threads, scaled)
        if log_prob.dtype == np.float64:
            return log_prob
        lost = ~np.isfinite(log_prob)  # or what float32 cannot hold
        log_prob = log_prob.astype(np.float64)
    else:
        log_prob, lost = np.empty(len(X)), np.ones(len(X), dtype=bool)
    if not lost.any():
        return log_prob
    lost = np.flatnonzero(lost)
    for some in parts(len(lost), X.shape[1] + (n_columns(params) if out else 0)):
        wide = X[lost[some]].astype(np.float64)
        written = {
            "responsibilities": _wide_like(responsibilities, len(wide)),
            "labels": None if labels is None else np.empty(len(wide), np.int64),
        }
        log_prob[lost[some]] = evaluate(
            wide, scaling, params, kind, n_threads, scaled=scaled, **written
        )  # fmt: skip
        if responsibilities is not None:
            responsibilities[lost[some]] = written["responsibilities"]
        if labels is not None:
            labels[lost[some]] = written["labels"]
    return log_prob


def _wide_like(array, n):
    return None if array is None else np.empty((n, array.shape[1]))
