"""K-means of many clusters: in most iterations each sample compares the centers near to its own.

See :mod:`fastem.components.truncated`: where all components are round and alike, a sample keeps its
nearest center alone.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state

from fastem._engine.statistics import Statistics
from fastem.cluster.data import refuse_overflow
from fastem.cluster.lloyd import Assignment, KMeansEM, KMeansParams
from fastem.components.gaussian_data import Scaling
from fastem.components.near import PERIOD, Near, is_searched
from fastem.components.truncated import Search

__all__ = ["TruncatedKMeansEM", "check_samples", "truncated_model"]

_SETTLED = 1e-4  # share of the inertia: the truncated iterations end when it falls by less in each
_LEAST_DENSE, _MOST_DENSE = 2, 3  # iterations of all centers at the end


def check_samples(X):
    """Raise ValueError unless truncated E-steps can be made of validated samples."""
    sparse = sp.issparse(X)
    if sparse or refuse_overflow("X", X):
        what = "sparse X" if sparse else "missing values"
        raise ValueError(f"algorithm='truncated' is not for {what}: take 'lloyd'")


def truncated_model(estimator, model):
    """Return the truncated E-steps of a model, for the driver."""
    random_state = copy.deepcopy(estimator.random_state)  # it is left as it is
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    return TruncatedKMeansEM(model, estimator.max_iter, seed)


class TruncatedCenters(NamedTuple):
    """Centers, and how far the fit is."""

    centers: np.ndarray  # (K, D) of the data's dtype
    n_changed: float  # labels, by the last E-step; not 0 before all centers were compared
    near: np.ndarray  # (K, G) int32, those nearest to each one, itself first
    step: int  # E-steps so far
    n_dense: int  # of them of all centers
    ends: bool  # whether the next ones are
    bound_searched: float  # minus the inertia per unit weight, where all were compared last


class TruncatedKMeansEM:
    """Truncated E-steps and the M-step of k-means (see :class:`fastem.em.RowState`).

    Rows' states are their centers, (n, 1) int32; at the end an Assignment.

    Parameters
    ----------
    model : KMeansEM
    max_iter : int
        Of which the last ones are of all centers in any case.
    seed : int
    """

    bound_may_fall = True  # as of the model

    def __init__(self, model, max_iter, seed):
        self.model, self.max_iter, self.seed = model, max_iter, seed
        self.tol, self.n_threads = model.tol, model.n_threads
        self.of_all = KMeansEM(model.tol, model.dtype, model.n_threads, bounded=False)

    def begin(self, params: KMeansParams) -> TruncatedCenters:
        """Return the first parameters."""
        near = self._among(params.centers).first(self.seed)
        ends = self._must_end(0)
        return TruncatedCenters(params.centers, params.n_changed, near, 0, 0, ends, -math.inf)

    def _must_end(self, step):
        return step >= self.max_iter - _LEAST_DENSE

    def _among(self, centers):
        # Distances that are compared must not be lost where the unit of X is small or large.
        exponent = int(np.frexp(np.ptp(centers.astype(np.float64), axis=0).max())[1])
        scale = math.ldexp(1.0, min(max(-exponent, -1000), 1000))
        d = centers.shape[1]
        return Near(centers.astype(np.float64), np.zeros(d), np.full(d, scale), self.n_threads)

    def _search(self, centers, scale):
        k, d = centers.shape
        scaling = Scaling(np.zeros(d), np.full(d, scale))
        means, factors = centers.astype(np.float64), np.full((k, d), scale)
        return Search(scaling, means, factors, np.zeros(k), self.n_threads)

    def first_state(self, params: TruncatedCenters, block):
        """Return any center for each row: the first E-step compares all."""
        return np.zeros((block.X.shape[0], 1), np.int32)

    def e_step(self, params: TruncatedCenters, block, state):
        """Return the sums of each cluster's samples, and what rows keep then."""
        if params.ends:
            return self._of_all(params, block, state)
        if is_searched(params.step):
            known = KMeansParams(params.centers, params.n_changed)
            first = Assignment.none_yet(block)
            statistics, _ = self.of_all.e_step(known, block, first, spare=first)
            return statistics, first.labels[:, None]  # which were written over
        search = self._search(params.centers, block.scale)
        bound, weights, first, _, kept = search.job(block.X).moments(
            state, state[:, 0].copy(), params.near, block.sample_weight, True
        )
        offset = search.axes(block.X.dtype)[1]
        n_empty = np.count_nonzero(weights == 0)
        labels = np.ascontiguousarray(kept[:, 0])
        statistics = Statistics(
            bound=2 * (bound / block.scale) / block.scale,  # scale**2 may overflow
            weight=block.total_weight or 1.0,
            rows=(first + weights[:, None] * offset) / block.scale,
            weights=weights,
            n_changed=np.count_nonzero(labels != state[:, 0]),
            farthest=block.farthest(n_empty, params.centers, labels, self.n_threads),
        )
        return statistics, kept

    def _of_all(self, params, block, state):
        params = KMeansParams(params.centers, params.n_changed)
        if not self.model.keeps_labels:
            return self.model.e_step(params, block, None)[0], state
        if not isinstance(state, Assignment):
            state = Assignment.none_yet(block)._replace(labels=state[:, 0].copy())
        return self.model.e_step(params, block, state)

    def m_step(self, statistics: Statistics) -> TruncatedCenters:
        """Return the M-step's parameters as a fit begins with them."""
        return self.begin(self.model.m_step(statistics))

    def m_step_from(self, params: TruncatedCenters, statistics: Statistics) -> TruncatedCenters:
        """Return the M-step's parameters, what is near to each one then, and what comes next."""
        after = self.model.m_step(statistics)
        step, near, searched = params.step + 1, params.near, params.bound_searched
        if params.ends:
            n_dense = params.n_dense + 1
            return TruncatedCenters(
                after.centers, after.n_changed, near, step, n_dense, True, searched
            )
        ends = False
        if is_searched(params.step):
            bound = float(statistics.bound / statistics.weight)
            n_since = max(1, min(PERIOD, step - 3))
            ends = bound - searched <= _SETTLED * n_since * abs(bound)  # also if both are 0
            searched = bound
        ends = ends or self._must_end(step)
        if not ends:
            near = self._among(after.centers).meet(near, self.seed + step)
        n_changed = max(1.0, after.n_changed)
        return TruncatedCenters(after.centers, n_changed, near, step, 0, ends, searched)

    def converged(self, before: Any, after: TruncatedCenters) -> bool:
        """Return whether the iterations at the end are enough."""
        if after.n_dense < min(_LEAST_DENSE, self.max_iter):
            return False
        return after.n_dense >= _MOST_DENSE or self.model.converged(before, after)
