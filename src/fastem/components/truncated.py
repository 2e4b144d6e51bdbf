"""Truncated EM: each sample knows a few components of many, and finds better ones near its own.

The responsibilities of a sample are those of the C components that it keeps, and 0 elsewhere. That
is EM for a lower bound of the likelihood, which rises as long as an E-step never keeps worse ones
(Hirschberger, Forster & Lücke 2022, *A variational EM acceleration for efficient clustering at very
large scales*, IEEE TPAMI 44:9787). Here samples compare the components whose means are near to the
mean that is nearest to the sample. That one is searched among all of them, which costs a tenth of
an E-step of all components: a search from neighbour to neighbour does not find the way once means
have moved far. In most iterations samples only compare what they keep. At the end some iterations
are of all components, and exact.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastem._engine.statistics import Moments, Statistics
from fastem._kernels import truncated as kernel
from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianEM, GaussianParams
from fastem.components.gaussian_data import GaussianBlock, Scaling, log_norms, parts
from fastem.components.near import PERIOD, Near, is_searched

__all__ = ["Search", "TruncatedEM", "TruncatedParams", "hard_moments"]

KEPT = 6  # components of a row
_COMPARED = 2  # in every second iteration rows compare what is near to their best one, at least
_HARD_PASSES = 10  # of k-means, for a start
_LEAST_DENSE, _MOST_DENSE = 2, 3  # iterations of all components at the end


class TruncatedParams(NamedTuple):
    """Parameters of all components, and how far the fit is."""

    components: GaussianParams
    near: np.ndarray  # (K, G) int32, those of the nearest means to each one's, itself first
    step: int  # E-steps so far
    n_dense: int  # of them of all components
    ends: bool  # whether the next ones are
    bound: float  # per unit weight, that the last one saw,
    bound_before: float  # the one before it,
    bound_searched: float  # and the last one that compared others than what rows keep


class Search:
    """Components as the kernel takes them; `rows` of X are to be compared with them.

    Parameters
    ----------
    scaling : Scaling
    means, factors : ndarray of shape (K, D)
    log_norm : ndarray of shape (K,)
    n_threads : int
    """

    def __init__(self, scaling, means, factors, log_norm, n_threads):
        self.scaling, self.means, self.factors = scaling, means, factors
        self.log_norm, self.n_threads = log_norm, n_threads

    @classmethod
    def of(cls, params, kind, scaling, n_threads):
        """Return the search of a mixture's parameters."""
        factors = KINDS[kind].each(params.precisions_cholesky, *params.means.shape)
        return cls(scaling, params.means, factors, log_norms(params, kind), n_threads)

    def job(self, X):
        """Return the kernel's job for some rows."""
        scale, offset = self.axes(X.dtype)
        return kernel.Job(
            X, self.scaling.shift, self.scaling.scale, scale, offset, self.log_norm, self.n_threads
        )

    def axes(self, dtype):
        """Return what takes a row to each component's unit, as the kernel rounds it, (K, D)."""
        scale = self.factors / self.scaling.scale
        offset = (self.means - self.scaling.shift) * self.scaling.scale * scale
        return tuple(a.astype(dtype).astype(np.float64) for a in (scale, offset))

    def moments(self, weight, first, second, dtype, kind):
        """Return the moments that the kernel's sums are, in the data's own coordinates."""
        scale, offset = self.axes(dtype)
        share = first / np.where(weight > 0, weight, 1)[:, None]
        unit = scale * self.scaling.scale
        scatter = np.maximum(second - weight[:, None] * share**2, 0) / unit**2
        mean = self.scaling.shift + (share + offset) / unit
        return Moments(weight, mean, KINDS[kind].pool(scatter), kind)

    def of_means(self, scale=None):
        """Return the means, by their distances in the scaling's units or others."""
        scale = self.scaling.scale if scale is None else scale
        return Near(self.means, self.scaling.shift, scale, self.n_threads)


def hard_moments(search, means, block, kind):
    """Return the moments of clusters after some iterations of truncated k-means.

    ``search(means)`` returns the :class:`Search` of clusters with such means.
    """
    dtype = block.X.dtype
    now = search(means)
    unit = now.factors[0]  # the same for all clusters
    near, kept = now.of_means(unit).first(0), np.zeros((len(block.X), 1), np.int32)
    for number in range(_HARD_PASSES):
        points, tried = now.of_means(unit), None
        if is_searched(number):
            near, kept = points.meet(near, number), points.nearest(block.X)[:, None]
        else:
            tried = kept[:, 0].copy()
        sums = now.job(block.X).moments(kept, tried, near, block.sample_weight, True)
        moments, kept = now.moments(*sums[1:4], dtype, kind), sums[4]
        means = np.where(moments.weight[:, None] > 0, moments.mean, means)
        now = search(means)
    # The last one's sums are about the means before: once more, of the clusters that are there.
    sums = now.job(block.X).moments(kept, None, None, block.sample_weight, True)
    return now.moments(*sums[1:4], dtype, kind)


class TruncatedEM:
    """Truncated E-steps and the M-step of a mixture (see :class:`fastem.em.RowState`).

    Rows' states are the components that they keep, (n, C) int32.

    Parameters
    ----------
    model : GaussianEM
        Of kind 'diag' or 'spherical'.
    tol : float
        The truncated fit ends when its bound rises by less.
    max_iter : int
        Of which the last ones are of all components in any case.
    seed : int
    """

    def __init__(self, model: GaussianEM, tol, max_iter, seed):
        self.model, self.kind = model, KINDS[model.kind]
        self.tol, self.max_iter, self.seed = tol, max_iter, seed
        if hasattr(model, "log_prior"):
            self.log_prior = self._log_prior

    @property
    def bound_may_fall(self) -> bool:
        """Whether the model's may."""
        return self.model.bound_may_fall

    def begin(self, components: GaussianParams) -> TruncatedParams:
        """Return the first parameters, of the components' own."""
        near = self._search_among(components).of_means().first(self._seed(0))
        unknown = (-math.inf, -math.inf, -math.inf)
        return TruncatedParams(components, near, 0, 0, self._must_end(0), *unknown)

    def _must_end(self, step):
        return step >= self.max_iter - _LEAST_DENSE

    def _seed(self, step):
        return (self.seed * 1_000_003 + step) & (2**63 - 1)

    def first_state(self, params: TruncatedParams, block: GaussianBlock):
        """Return the components that rows keep at first."""
        nearest = self._search(params.components, block).of_means().nearest(block.X)
        return params.near[nearest, : min(KEPT, len(params.near))]

    def _search_among(self, components):
        """Return the search of the components' own means, whatever the samples are."""
        scaling = Scaling.of_params(components, self.model.kind, np.dtype(np.float64))
        return Search.of(components, self.model.kind, scaling, self.model.n_threads)

    def _search(self, components, block):
        return Search.of(components, self.model.kind, block.scaling, self.model.n_threads)

    def e_step(self, params: TruncatedParams, block: GaussianBlock, kept):
        """Return the bound and moments of the kept components, and what rows keep then."""
        if params.ends:
            return self.model.e_step(params.components, block), kept
        bound, moments, kept = self._truncated(params, block, kept)
        return Statistics(bound=bound, weight=block.total_weight, moments=moments), kept

    def _truncated(self, params, block, kept):
        X, kind = block.X, self.model.kind
        if block.scaling.suits(params.components, kind, X.dtype):
            found = self._sums(params, block, kept)
            if X.dtype == np.float64 or math.isfinite(found[0]):
                return found
        bound, total, states = 0.0, None, []
        for some in parts(len(X), X.shape[1]):
            part = block.rows(some.start, some.stop).as_float64()
            own, moments, state = self._sums(params, part, kept[some])
            bound, total = bound + own, moments if total is None else total + moments
            states.append(state)
        return bound, total, np.concatenate(states)

    def _sums(self, params, block, kept):
        """Return the bound, the moments and the rows' next state, in the block's own precision."""
        search = self._search(params.components, block)
        tried = None
        if params.step and is_searched(params.step):
            tried = search.of_means().nearest(block.X)
        elif params.step % _COMPARED == 0:  # at first the first of them is the one of this mean
            tried = np.ascontiguousarray(kept[:, 0])
        bound, weight, first, second, kept = search.job(block.X).moments(
            np.ascontiguousarray(kept), tried, params.near, block.sample_weight, False
        )
        moments = search.moments(weight, first, second, block.X.dtype, self.model.kind)
        return bound, moments, kept

    def _log_prior(self, params: TruncatedParams) -> float:
        """Return the logarithm of the prior density of the components."""
        model: Any = self.model
        return model.log_prior(params.components)

    def m_step(self, statistics: Statistics) -> TruncatedParams:
        """Return the M-step's parameters as a fit begins with them."""
        return self.begin(self.model.m_step(statistics))

    def m_step_from(self, params: TruncatedParams, statistics: Statistics) -> TruncatedParams:
        """Return the M-step's parameters, what is near to each one then, and what comes next."""
        components = self.model.m_step(statistics)
        step, n_dense = params.step + 1, params.n_dense + params.ends
        bound = float(statistics.bound / statistics.weight)
        ends, near, searched = params.ends, params.near, params.bound_searched
        if not ends and is_searched(params.step):
            # Between searches the bound rises by less, and only to what the kept ones allow.
            n_since = max(1, min(PERIOD, step - 3))
            ends, searched = bound - searched < self.tol * n_since, bound
        ends = ends or self._must_end(step)
        if not ends and step % _COMPARED == 0:
            near = self._search_among(components).of_means().meet(near, self._seed(step))
        return TruncatedParams(components, near, step, n_dense, ends, bound, params.bound, searched)

    def converged(self, before: TruncatedParams, after: TruncatedParams) -> bool:
        """Return whether the iterations at the end are enough."""
        if after.n_dense < _LEAST_DENSE:
            return False
        return after.bound - after.bound_before < self.tol or after.n_dense >= _MOST_DENSE
