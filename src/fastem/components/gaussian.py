"""Gaussian components: the model that the driver fits, and what is read off them.

Parameters are float64 throughout, also for float32 data; the kernel rounds them to the data's
precision in coordinates in which every feature is of order 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastem._engine.statistics import Moments, Statistics
from fastem._engine.threads import useful_n_jobs
from fastem._kernels import gaussian as kernel
from fastem.components.covariances import KINDS
from fastem.components.gaussian_data import (
    GaussianBlock,
    Scaling,
    check_squares,
    covariances_of,
    evaluate,
    n_columns,
    overflow,
    parts,
)
from fastem.components.gaussian_missing import incomplete_moments, incomplete_rows
from fastem.components.noise import Noise

__all__ = [
    "KINDS",
    "GaussianBlock",
    "GaussianEM",
    "GaussianParams",
    "covariances_of",
    "fits",
    "keep_freed_memory",
    "rows",
    "second_moment",
    "useful_threads",
]

_NO_WEIGHT = 10 * np.finfo(np.float64).eps  # added to weights: a component may have none
_SOME_WEIGHT = 1e-8  # a component with less weight than this is dying
#: Moments about the old means are precise enough if the correction for the new means subtracts at
#: most this many times what remains.
_MOST_LOST = 30
_MOST_PASSES = 4  # each pass is about the last means, and shortens their way 1e16 times


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
    log_weights: np.ndarray | None = None  # (K,) where they are not the logarithms of `weights`
    noise: Noise | None = None  # whose weight and those of the components sum to 1
    df: np.ndarray | None = None  # (K,) degrees of freedom, where components are Student-t's

    @classmethod
    def of(cls, weights, means, covariances, precisions_cholesky, noise=None):
        """Return fitted attributes as parameters."""
        dtype = np.asarray(means).dtype
        weights, means, chol = (
            np.asarray(a, dtype=np.float64) for a in (weights, means, precisions_cholesky)
        )
        if covariances is not None:
            covariances = np.asarray(covariances, dtype=np.float64)
        return cls(weights, means, covariances, chol, dtype, noise=noise)

    @classmethod
    def from_precisions(cls, weights, means, precisions, kind, dtype):
        """Return parameters with given precisions: U U^T = precision, U upper triangular."""
        return cls(weights, means, None, KINDS[kind].factors(precisions), dtype)


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
    fixed : Fixed or None
        What the M-step leaves alone.
    noise : Noise or None
        A component more, of which the M-step finds the weight.
    """

    def __init__(self, kind, reg_covar, dtype, n_threads, fixed=None, noise=None):
        self.kind, self.reg_covar, self.fixed, self.noise = kind, reg_covar, fixed, noise
        self.dtype, self.n_threads = np.dtype(dtype), n_threads

    @property
    def bound_may_fall(self) -> bool:
        """True if the bound may fall: because of `reg_covar`, or because float32 rounds."""
        return self.reg_covar > 0 or self.dtype == np.float32

    def prepared(self, block: GaussianBlock) -> GaussianBlock:
        """Return the block with what is the same in every E-step on it: E-steps keep nothing."""
        if block.missing or not KINDS[self.kind].shared or self.noise is not None:
            return block
        return block._replace(scatter=self._scatter_of_all(block, None))

    def e_step(self, params: GaussianParams, block: GaussianBlock) -> Statistics:
        """Return the bound and the components' moments under their responsibilities."""
        bound, moments, noise = self._sums(self.completed(params), block, None)
        further = {} if self.noise is None else {"noise": noise}
        return Statistics(bound=bound, weight=block.total_weight, moments=moments, **further)

    def m_step(self, statistics: Statistics) -> GaussianParams:
        """Return the parameters with the largest expected log-likelihood (Bishop 9.24-9.26)."""
        moments = statistics.moments
        means, covariances, chol = self._shapes(moments, self.component_weights(moments))
        counts = self.counts(moments)
        if self.noise is not None:
            weight = max(statistics.noise, 0.0)  # which may be a difference
            total = counts.sum() + weight
            noise = self.noise._replace(weight=float(weight / total))
            weights = counts / total
            return GaussianParams(weights, means, covariances, chol, self.dtype, noise=noise)
        weights = counts / np.add.reduce(counts)
        if self.fixed is not None:
            weights = self.fixed.weights_of(weights)
        return GaussianParams(weights, means, covariances, chol, self.dtype)

    def completed(self, params: GaussianParams) -> GaussianParams:
        """Return parameters of a start, or of another fit, with the noise that the model has."""
        own, noise, weights = self.noise, params.noise, params.weights
        if own is None and noise is None:
            return params
        if own is None:
            return params._replace(weights=weights / weights.sum(), noise=None)
        if noise is None:
            return params._replace(weights=weights * (1 - own.weight), noise=own)
        if noise.box is own.box:
            return params
        return params._replace(noise=own._replace(weight=noise.weight))

    def counts(self, moments: Moments):
        """Return what the components' shares of all weight are proportional to."""
        return self.component_weights(moments)

    def component_weights(self, moments: Moments):
        """Return the components' weights, not normalised, with scikit-learn's guard against 0.

        The guard has the precision of the sums (float64), also for float32 data.
        """
        return moments.weight + _NO_WEIGHT

    def means(self, moments: Moments):
        """Return the components' means; those of nearly no weight go to 0 as in scikit-learn.

        In scikit-learn the guard moves every mean towards 0, by its share of the weight. Here it
        does not move the others, because even that may be many standard deviations where the
        data lie far from 0 or the component is narrow.
        """
        if np.minimum.reduce(moments.weight) > _SOME_WEIGHT:
            return moments.mean
        share = moments.weight / self.component_weights(moments)
        return np.where(moments.weight > _SOME_WEIGHT, 1, share)[:, None] * moments.mean

    def estimate(self, moments: Moments) -> GaussianParams:
        """Return the parameters that moments give, the weights not normalised."""
        weights = self.component_weights(moments)
        means, covariances, chol = self._shapes(moments, weights)
        return GaussianParams(weights, means, covariances, chol, self.dtype)

    def _shapes(self, moments, weights):
        """Return the means, the covariances or None, and the factors of the precisions."""
        means = self.means(moments)
        if self.fixed is None:
            return means, *self.covariances(moments, weights, means)
        means = self.fixed.means_of(means)
        return means, *self.fixed.covariances_of(
            self.covariances, moments, weights, means, self.kind
        )

    def covariances(self, moments: Moments, weights, means):
        """Return the covariances about given means, or None, and the factors of the precisions."""
        return KINDS[self.kind].estimate(
            moments, weights, means, lambda: self._guard_of_squares(moments, weights),
            self.reg_covar, self.n_threads,
        )  # fmt: skip

    def _guard_of_squares(self, moments, weights):
        """Return which share of a squared mean scikit-learn's guard adds to a variance.

        scikit-learn sums squares about 0, so that the guard changes a variance by a share of the
        squared mean. Where a component has a single sample and there is no reg_covar, this is all
        its variance, and scikit-learn goes on with it. With 10 equal samples and more, the share
        is less than the last bit of the squares.
        """
        return np.where(weights < 10, moments.weight * _NO_WEIGHT / weights**2, 0)

    def given_moments(self, responsibilities, block: GaussianBlock) -> Moments:
        """Return the moments that given (n, K) responsibilities have, about their own means."""
        k, scaling = responsibilities.shape[1], block.scaling
        unit = KINDS[self.kind].unit(k, scaling.scale)
        nowhere = np.repeat(scaling.shift[np.newaxis], k, axis=0)
        params = GaussianParams(np.ones(k), nowhere, None, unit, self.dtype)
        # First the means, then the scatter about them.
        mean = self._pass(params, block, responsibilities)[1].mean
        return self.moments(params._replace(means=mean), block, responsibilities)[1]

    def moments(self, params, block, given) -> tuple[float, Moments]:
        """Return the bound and the moments, in the data's own coordinates, with all their digits.

        `given` are (n, K) float64 responsibilities in place of those that the parameters give, or
        None.
        """
        return self._sums(params, block, given)[:2]

    def moments_in_float64(self, params, block, given):
        """Return what moments() does, after converting float32 samples to float64."""
        return self._sums_in_float64(params, block, given)[:2]

    def _sums(self, params, block, given) -> tuple[float, Moments, float]:
        """Return what moments() does, and the weight of the noise."""
        if block.missing:
            return incomplete_moments(params, self.kind, block, self.n_threads)
        if not block.scaling.suits(params, self.kind, block.X.dtype):
            return self._sums_in_float64(params, block, given)
        bound, found, lost, noise = self._pass(params, block, given)
        if not math.isfinite(bound) or math.isnan(lost):
            if block.X.dtype == np.float32:
                return self._sums_in_float64(params, block, given)
            if math.isnan(lost):
                raise overflow(block.X, block.sample_weight)
        if lost <= _MOST_LOST:
            return bound, found, noise
        # A mean has moved so far that its old scatter is mostly the distance: sum again.
        center = params.means
        for _ in range(_MOST_PASSES):
            if not self._moved_far(found, center, block.scaling):
                break
            center = found.mean
            found = self._moments_about(center, params, block, given)
        return bound, found, noise

    def _sums_in_float64(self, params, block, given):
        """Return what _sums() does, after converting float32 samples to float64."""
        bound, total, noise = 0.0, None, 0.0
        for some in parts(len(block.X), block.X.shape[1]):
            part = block.rows(some.start, some.stop).as_float64()
            own = None if given is None else given[some]
            part_bound, found, part_noise = self._sums(params, part, own)
            bound, noise = bound + part_bound, noise + part_noise
            total = found if total is None else total + found
        return bound, total, noise

    def _moved_far(self, found, center, scaling):
        """Return whether moments about `center` lost digits that matter for the variances."""
        kind = KINDS[self.kind]
        if kind.shared:
            return False  # see _tied_scatter
        means = self.means(found)
        weights = self.component_weights(found) * kind.width(means.shape[1])
        scatter = kind.diagonal(found.scatter_about(means))
        added = kind.per_feature(found.weight[:, None] * (found.mean - center) ** 2)
        # Where the data are constant, a mean moves by rounding.
        rounding = np.maximum(np.abs(found.mean - scaling.shift), np.abs(center - scaling.shift))
        rounding = kind.per_feature((64 * np.finfo(self.dtype).eps * rounding) ** 2)
        added = added / weights[:, None]
        variance = scatter / weights[:, None] + self.reg_covar
        return bool(np.any((added > _MOST_LOST * variance) & (added > rounding)))

    def _moments_about(self, center, params, block, given):
        """Return the moments, summed about `center`, a mean for each component; in float64."""
        about, total = params._replace(means=center), None
        width = block.X.shape[1] + len(params.weights)
        for some in parts(len(block.X), width):
            part = block.rows(some.start, some.stop)
            own = None if given is None else given[some]
            if own is None:
                own = np.empty((len(part.X), n_columns(params)), part.X.dtype)
                evaluate(part.X, part.scaling, params, self.kind, self.n_threads,
                         responsibilities=own, scaled=params.df is not None)  # fmt: skip
                own = own[:, : len(params.weights)].astype(np.float64, copy=False)
            found = self._pass(about, part.as_float64(), own)[1]
            total = found if total is None else total + found
        return total

    def _pass(self, params, block, given) -> tuple[float, Moments, float, float]:
        """Return the bound, the moments, how many digits they may lack, and the noise's weight.

        See kernel.moments.
        """
        job = block.scaling.job(block.X, params, self.kind, likelihood=given is None)
        bound, weight, mean, scatter, lost, noise = kernel.moments(
            job, block.sample_weight, given, self.n_threads
        )
        if self.kind == "tied" and lost == 0:
            mean, scatter = self._tied_scatter(params, block, given, weight, mean, scatter)
        return bound, Moments(weight, mean, scatter, self.kind), lost, noise

    def _tied_scatter(self, params, block, given, weight, mean, centered):
        """Return the components' means and the scatter about them.

        It is what remains of the whole scatter without that of the means. Where that is little,
        digits are lost, and the components' own scatters are summed instead.
        """
        no_noise = given
        if given is None and params.noise is not None:
            no_noise = _without_noise(params, self.kind, block, self.n_threads)
        total = self._scatter_of_all(block, no_noise)
        enough = 1e-3 if block.X.dtype == np.float32 else 1e-6
        scatter = kernel.within(total, weight, centered, block.scaling.scale, enough)
        if scatter is not None:
            return mean, scatter
        chol = params.precisions_cholesky
        each = params._replace(precisions_cholesky=np.tile(chol, (len(weight), 1, 1)))
        model = GaussianEM("full", self.reg_covar, self.dtype, self.n_threads)
        found = model.moments(each, block, given)[1]
        return found.mean, found.scatter.sum(axis=0)

    def _scatter_of_all(self, block, given):
        """Return sum_n w_n z_n z_n^T of all samples, in the kernel's coordinates.

        The responsibilities of a sample sum to 1, so this is the same in every iteration; those
        that are given may sum to less, as they do beside noise.
        """
        center = block.scaling.shift[None]
        if given is not None:
            given = given.sum(axis=1, keepdims=True)
            return second_moment(block, center, given, self.n_threads)
        if block.scatter is None:
            return second_moment(block, center, None, self.n_threads)
        return block.scatter


def keep_freed_memory(shape):
    """Make glibc keep the memory that an iteration with such covariances frees for the next one.

    glibc returns the end of the heap to the system if more of it is free than twice the largest
    allocation that it has seen freed; the next iteration then asks for each page again. So an
    array as large as all that a fit needs is allocated and freed here, which costs nothing
    because nobody touches it.
    """
    np.empty((3, *shape))


def second_moment(block, center, given, n_threads):
    """Return sum w (x - center)(x - center)^T over a block, scaled; `given` scales the weights."""
    d = block.X.shape[1]
    # A single component without precision: every responsibility is exactly 1.
    one = GaussianParams(np.ones(1), center, None, np.zeros((1, d, d)), block.X.dtype)
    job = block.scaling.job(block.X, one, "full", likelihood=False)
    second, lost = kernel.second_moments(job, block.sample_weight, given, n_threads)
    if not np.isnan(lost):
        return second[0]
    if block.X.dtype == np.float64:
        raise overflow(block.X, block.sample_weight)
    total = np.zeros((d, d))
    for some in parts(len(block.X), d):
        part = block.rows(some.start, some.stop).as_float64()
        own = None if given is None else given[some]
        total += second_moment(part, center, own, n_threads)
    return total


def _without_noise(params, kind, block, n_threads):
    """Return the components' responsibilities of each sample together, (n, 1)."""
    log_prob = evaluate(block.X, block.scaling, params, kind, n_threads)
    return -np.expm1(np.minimum(params.noise.log_density - log_prob, 0.0))[:, None]


def useful_threads(n_jobs, n_samples, n_features, n_components, kind):
    """Return how many threads `n_jobs` means for an E-step."""
    return useful_n_jobs(n_jobs, kernel.work(n_samples, n_features, n_components, kind))


def rows(X, params, kind, output, n_threads, scaling=None):
    """Return 'labels', 'log_prob' or 'responsibilities' of each sample."""
    shape = (len(X), n_columns(params)) if output == "responsibilities" else (len(X),)
    X = X if X.flags.aligned else np.require(X, requirements="A")
    outputs = {}
    if output != "log_prob":
        outputs[output] = np.empty(shape, dtype=np.int64 if output == "labels" else X.dtype)
    scaling = scaling or Scaling.of_params(params, kind, X.dtype)
    log_prob = evaluate(X, scaling, params, kind, n_threads, **outputs)
    lost = ~np.isfinite(log_prob)
    if lost.any() or params.noise is not None:  # a sample with NaN may be among them
        outputs["log_prob"], some = log_prob, np.isnan(X).any(axis=1)
        for name in outputs if some.any() else ():
            outputs[name][some] = incomplete_rows(X[some], params, kind, name, n_threads, scaling)
        log_prob, lost = outputs.pop("log_prob"), ~np.isfinite(log_prob)
    if lost.any():
        check_squares(X, "X")
        if outputs:
            raise ValueError(
                f"sample {int(lost.argmax())} is too far from every component for a density: its "
                "probabilities are not defined"
            )
    if output == "log_prob":
        with np.errstate(over="ignore"):  # float32 has -inf from -3e38 on
            return log_prob.astype(X.dtype, copy=False)
    return outputs[output]


def fits(array, dtype):
    """Return whether an array of float64 keeps its values in another dtype, up to rounding."""
    info = np.finfo(dtype)
    for part in np.atleast_1d(array):  # a component at a time: the array may be large
        size = np.abs(part[part != 0])
        if size.size and not (size.max() <= info.max and size.min() >= info.tiny):
            return False
    return True
