"""Truncated EM: each sample knows a few components of many, and finds better ones among neighbours.

The responsibilities of a sample are those of the C components that it keeps, and 0 elsewhere. That
is EM for a lower bound of the likelihood, which rises as long as an E-step never keeps worse ones:
it compares the kept ones, their neighbours and one that is drawn, about 20 whatever K is
(Hirschberger, Forster & Lücke 2022, *A variational EM acceleration for efficient clustering at very
large scales*, IEEE TPAMI 44:9787). A component's neighbours are those of the largest expected
log-density of its samples, if these are as it says: they are found from the parameters alone, among
its neighbours' neighbours. At the end some iterations are of all components, and exact.
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

__all__ = ["Search", "TruncatedEM", "TruncatedParams", "hard_moments"]

KEPT = 8  # components of a row
NEIGHBOURS = 8  # of a component, itself among them
_SEARCHED = 3  # groups of components among which a row's first ones are
_FIRST_PASSES = 3  # in which neighbours meet, before the first E-step
_LLOYD = 4  # iterations that make groups
_HARD_PASSES = 10  # of k-means, for a start
_LEAST_DENSE, _MOST_DENSE = 2, 5  # iterations of all components at the end


class TruncatedParams(NamedTuple):
    """Parameters of all components, and how far the fit is."""

    components: GaussianParams
    neighbours: np.ndarray  # (K, G) int32, each component's, itself first
    step: int  # E-steps so far
    n_dense: int  # of them of all components
    ends: bool  # whether the next ones are
    bound: float  # per unit weight, that the last one saw,
    bound_before: float  # and the one before it


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

    def job(self, X, spread=None):
        """Return the kernel's job for some rows."""
        scale, offset = self.axes(X.dtype)
        return kernel.Job(
            X, self.scaling.shift, self.scaling.scale, scale, offset, self.log_norm,
            self.n_threads, spread,
        )  # fmt: skip

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

    def of_means(self):
        """Return the job whose rows are the components themselves."""
        return self.job(self.means, (self.scaling.scale / self.factors) ** 2)

    def first_kept(self, X, n_kept, job=None):
        """Return the best components of the groups nearest to each row, (n, n_kept) int32."""
        points = (self.means - self.scaling.shift) * self.scaling.scale
        centers, labels = _groups(points)
        members = np.argsort(labels, kind="stable").astype(np.int32)
        ends = np.searchsorted(labels[members], np.arange(len(centers) + 1)).astype(np.int32)
        unit = np.ones(points.shape[1])
        job = self.job(X) if job is None else job
        return job.begin(centers, unit, members, ends, _SEARCHED, n_kept)

    def first_neighbours(self, seed):
        """Return each component's neighbours, (K, G) int32."""
        k = len(self.means)
        near = self.first_kept(self.means, min(NEIGHBOURS, k), self.of_means())
        own = np.arange(k, dtype=np.int32)
        missing = ~(near == own[:, None]).any(axis=1)
        near[missing, -1] = own[missing]
        for number in range(_FIRST_PASSES):
            near = self.of_means().meet(near, seed + number)
        return near


def _groups(points):
    """Return centers of about sqrt(K) groups of points, and the group of each point."""
    n = math.ceil(math.sqrt(len(points)))
    centers = points[np.linspace(0, len(points) - 1, n).astype(np.int64)]
    for _ in range(_LLOYD):
        labels = _nearest(points, centers)
        weight = np.bincount(labels, minlength=n)
        sums = np.stack([np.bincount(labels, column, n) for column in points.T], axis=1)
        centers = np.where(weight[:, None] > 0, sums / np.maximum(weight, 1)[:, None], centers)
    return centers, _nearest(points, centers)


def _nearest(points, centers):
    """Return the nearest center of each point; not by BLAS, whose bits depend on its threads."""
    return (0.5 * (centers**2).sum(axis=1) - np.einsum("kd,gd->kg", points, centers)).argmin(axis=1)


def hard_moments(search, means, block, kind):
    """Return the moments of clusters after some iterations of truncated k-means.

    ``search(means)`` returns the :class:`Search` of clusters with such means.
    """
    now, dtype = search(means), block.X.dtype
    kept = now.first_kept(block.X, min(KEPT, len(means)))
    near = now.first_neighbours(0)
    for number in range(_HARD_PASSES):
        sums = now.job(block.X).moments(kept, near, number, block.sample_weight, True)
        moments, kept = now.moments(*sums[1:4], dtype, kind), sums[4]
        means = np.where(moments.weight[:, None] > 0, moments.mean, means)
        now = search(means)
        near = now.of_means().meet(near, number)
    # The last one's sums are about the means before: once more, of the clusters that are there.
    sums = now.job(block.X).moments(kept[:, :1].copy(), None, 0, block.sample_weight, True)
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
        near = self._search_among(components).first_neighbours(self._seed(0))
        params = TruncatedParams(components, near, 0, 0, False, -math.inf, -math.inf)
        return params._replace(ends=self._must_end(0))

    def _must_end(self, step):
        return step >= self.max_iter - _LEAST_DENSE

    def _seed(self, step):
        return (self.seed * 1_000_003 + step) & (2**63 - 1)

    def first_state(self, params: TruncatedParams, block: GaussianBlock):
        """Return the components that rows keep at first."""
        n_kept = min(KEPT, len(params.components.means))
        return self._search(params.components, block).first_kept(block.X, n_kept)

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
        seed = self._seed(params.step + 1)
        bound, moments, kept = self._truncated(params, block, kept, seed)
        return Statistics(bound=bound, weight=block.total_weight, moments=moments), kept

    def _truncated(self, params, block, kept, seed):
        X, kind = block.X, self.model.kind
        if block.scaling.suits(params.components, kind, X.dtype):
            found = self._sums(params, block, kept, seed)
            if X.dtype == np.float64 or math.isfinite(found[0]):
                return found
        bound, total, states = 0.0, None, []
        for some in parts(len(X), X.shape[1]):
            part = block.rows(some.start, some.stop).as_float64()
            own, moments, state = self._sums(params, part, kept[some], seed)
            bound, total = bound + own, moments if total is None else total + moments
            states.append(state)
        return bound, total, np.concatenate(states)

    def _sums(self, params, block, kept, seed):
        """Return the bound, the moments and the rows' next state, in the block's own precision."""
        search = self._search(params.components, block)
        bound, weight, first, second, kept = search.job(block.X).moments(
            kept, params.neighbours, seed, block.sample_weight, False
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
        """Return the M-step's parameters, new neighbours, and what comes next."""
        components = self.model.m_step(statistics)
        step, n_dense = params.step + 1, params.n_dense + params.ends
        bound = float(statistics.bound / statistics.weight)
        ends = params.ends or bound - params.bound < self.tol or self._must_end(step)
        near = params.neighbours
        if not ends:
            near = self._search_among(components).of_means().meet(near, self._seed(step))
        return TruncatedParams(components, near, step, n_dense, ends, bound, params.bound)

    def converged(self, before: TruncatedParams, after: TruncatedParams) -> bool:
        """Return whether the iterations at the end are enough."""
        if after.n_dense < _LEAST_DENSE:
            return False
        return after.bound - after.bound_before < self.tol or after.n_dense >= _MOST_DENSE
