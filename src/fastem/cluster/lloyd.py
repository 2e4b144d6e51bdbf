"""K-means: the model that the driver fits, the hard limit of a mixture of equal spheres."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils.sparsefuncs import mean_variance_axis

from fastem._engine.statistics import Statistics
from fastem._engine.threads import useful_n_jobs
from fastem._kernels import kmeans as kernel
from fastem.cluster.bounds import Bounds, error_of, n_groups_of

__all__ = [
    "Assignment",
    "KMeansBlock",
    "KMeansEM",
    "KMeansParams",
    "inertia_of",
    "labels_of",
    "scale_of",
    "shift_of",
    "useful_threads",
    "without_empty",
]

_SETTLED = 0.01  # of the labels change at most: from then on bounds pay,
_SETTLED_LONG = 0.005  # with many features, whose rows lie about as near to every center
_MOVED, _MOVED_FEW = 0.3, 0.02  # of the labels change: fewer rows to add than all, twice
_MOST_SEARCHED = 0.5  # of the distances, beyond which bounds cost more than they save
_LEAST_BOUNDED = 1e7  # n K D below which they never do
_MOST_SCALED = {4: 2.0**30, 8: 2.0**330}  # beyond which squares of unscaled values are lost


class KMeansParams(NamedTuple):
    """Centers, and how many labels changed in the E-step that gave them."""

    centers: np.ndarray  # (K, D) of the data's dtype
    n_changed: float


class Farthest(NamedTuple):
    """Samples far from their centers, for clusters that nobody is in: a statistic that adds."""

    distances: np.ndarray  # (m,) squared
    rows: np.ndarray  # (m, D)
    weights: np.ndarray  # (m,)
    labels: np.ndarray  # (m,)
    n_empty: int  # how many clusters nobody is in, so far: so many samples may be needed

    @classmethod
    def none(cls, n_features):
        """Return no samples."""
        return cls(np.empty(0), np.empty((0, n_features)), np.empty(0), np.empty(0, np.int32), 0)

    def __add__(self, other):
        # A cluster that is empty in both is empty in each, so that the fewer of them are enough.
        n_empty = min(self.n_empty, other.n_empty)
        joined = [np.concatenate(pair) for pair in zip(self[:4], other[:4], strict=True)]
        far = _largest(joined[0], n_empty) if n_empty else slice(0)
        distances, rows, weights, labels = (array[far] for array in joined)
        return Farthest(distances, rows, weights, labels, n_empty)

    def __sub__(self, _):
        return self

    def __mul__(self, factor):
        return self._replace(weights=self.weights * factor)

    def __rmul__(self, factor):
        return self * factor


class KMeansBlock:
    """Some samples.

    Parameters
    ----------
    X : C-contiguous ndarray or CSR array with int32 indices
    sample_weight : ndarray of shape (n,), float64, or None
    n_threads : int
    origin : ndarray of shape (D,) of X's dtype, default=None
        The samples are X - origin, to the bits of such a copy, which is not made.

    Attributes
    ----------
    total_weight, squares : float
        Sum of the weights; of the weights times the rows' squared lengths.
    mean_square, length : float
        Mean squared length of a row, without weights, and the largest length.
    scale : float
        A power of 2, times which the longest row has a length of about 1.
    """

    def __init__(self, X, sample_weight, n_threads=1, origin=None):
        self.X, self.sample_weight, self.origin = X, sample_weight, origin
        n = X.shape[0]
        self.total_weight = float(n) if sample_weight is None else float(sample_weight.sum())
        squares = np.empty(n)
        nowhere, first = np.zeros((1, X.shape[1])), np.zeros(n, np.int32)
        job = kernel.Job(X, nowhere, nowhere[0], 1.0, sample_weight, origin=origin)
        self.squares = kernel.distances(job, first, n_threads, squares)
        self.mean_square = float(np.add.reduce(squares) / max(1, n))
        self.length = math.sqrt(np.maximum.reduce(squares, initial=0.0))
        exponent = math.frexp(self.length)[1] if math.isfinite(self.length) else 0
        self.scale = 2.0**-exponent

    #: Whether values are missing: see :class:`fastem.cluster.missing.IncompleteBlock`.
    incomplete = False

    @property
    def drawn_from(self):
        """What first centers are drawn from, (n, D)."""
        return self.X

    def labels(self, centers, n_threads):
        """Return the nearest center of each sample, (n,) int32."""
        return labels_of(self.X, centers, n_threads, origin=self.origin)

    def inertia(self, centers, labels, n_threads):
        """Return the sum of the samples' weighted squared distances to their centers."""
        weight = self.sample_weight
        return inertia_of(self.X, centers, labels, weight, n_threads, origin=self.origin)

    def distances(self, centers, labels, n_threads):
        """Return the squared distance of each sample to its center, (n,)."""
        distances = np.empty(self.X.shape[0])
        kernel.distances(self.job(centers), labels, n_threads, distances)
        return distances

    def inertia_of_sums(self, rows, weights, centers):
        """Return the inertia that sums have: sum w |x|^2 - 2 c . rows + W |c|^2."""
        return kernel.inertia(self.squares, rows, weights, centers)

    def mean_variance(self):
        """Return the mean of the features' variances; dense samples are about their mean."""
        if sp.issparse(self.X):
            return float(mean_variance_axis(self.X, axis=0)[1].mean())
        return self.mean_square / self.X.shape[1]

    def spread(self, mean, n_threads):
        """Return the mean of the features' variances, and the largest distance from the mean."""
        n, d = self.X.shape
        squares, first = np.empty(n), np.zeros(n, np.int32)
        job = kernel.Job(self.X, mean[np.newaxis], np.zeros(d), 1.0)
        total = kernel.distances(job, first, n_threads, squares)
        return total / n / d, math.sqrt(np.maximum.reduce(squares))

    def job(self, centers):
        """Return the kernel's job for some centers."""
        nothing = np.zeros(self.X.shape[1])
        return kernel.Job(
            self.X, centers, nothing, self.scale, self.sample_weight, origin=self.origin
        )

    def rows(self, some):
        """Return some samples, dense, (m, D)."""
        rows = self.X[some].toarray() if sp.issparse(self.X) else self.X[some]
        return rows if self.origin is None else rows - self.origin

    def farthest(self, n_rows, centers, labels, n_threads):
        """Return the samples farthest from the centers of their labels."""
        if n_rows == 0:
            return Farthest.none(self.X.shape[1])
        distances = self.distances(centers, labels, n_threads)
        far = _largest(distances, n_rows)
        rows = self.rows(far)
        weight = np.ones(len(far)) if self.sample_weight is None else self.sample_weight[far]
        return Farthest(distances[far], rows.astype(np.float64), weight, labels[far], n_rows)


class Assignment(NamedTuple):
    """Where a block's samples are: the state that goes from one E-step to the next."""

    labels: np.ndarray  # (n,) int32, -1 before the first E-step
    n_changed: int  # how many of them the last E-step changed
    rows: Any  # (K, D) sums of the samples of each cluster, or 0
    weights: Any  # (K,) their weights, or 0
    settled: float  # bounds are kept where no more than this share of the labels changes
    bounds: Bounds | None
    n_open: int = 0  # of how many rounding might have decided the label, if that is counted

    @classmethod
    def none_yet(cls, block):
        """Return the state before the first E-step."""
        n, d = block.X.shape
        settled = _SETTLED_LONG if d >= 128 else _SETTLED
        return cls(np.full(n, -1, dtype=np.int32), n, 0.0, 0.0, settled, None)

    def copy(self):
        """Return a state that may be written over in place of this one."""
        bounds = None if self.bounds is None else self.bounds.copy()
        return self._replace(labels=self.labels.copy(), bounds=bounds)

    def moves_pay(self, block, n_clusters):
        """Return whether to add only the rows whose label changes to the sums so far."""
        share = self.share_moved(block, n_clusters)
        return block.sample_weight is None and self.n_changed < share * len(self.labels)

    @staticmethod
    def share_moved(block, n_clusters):
        """Return of which share of the labels no more than may change, for that to pay."""
        few = block.X.shape[1] <= 4 and n_clusters <= 16  # which the kernel sums faster
        return _MOVED_FEW if few else _MOVED

    def bounds_pay(self, block, n_clusters):
        """Return whether bounds save time from here on."""
        n, d = block.X.shape
        if sp.issparse(block.X) or d <= 4 or n_clusters < 4 or n * n_clusters * d < _LEAST_BOUNDED:
            return False
        most = _MOST_SCALED[block.X.dtype.itemsize]
        if not 1 / most < block.scale < most:
            return False
        return self.n_changed < self.settled * n


class KMeansEM:
    """E-step and M-step of k-means (see :class:`fastem.em.Model`).

    Parameters
    ----------
    tol : float
        Stop when the centers' squared shifts sum to no more than this.
    dtype : dtype
        Of the data.
    n_threads : int
    bounded : bool, default=True
        Whether to skip samples whose label cannot change; the labels are the same.
    keeps_labels : bool, default=True
        Whether labels are kept from one E-step to the next. Without them, memory does not grow with
        the samples, and a fit stops by the centers' shifts alone, which are 0 where no label
        changes.
    slack : float, default=None
        How many roundings more than its own a distance may differ by: counts the samples of which
        the nearest center is open then.
    """

    def __init__(self, tol, dtype, n_threads, *, bounded=True, keeps_labels=True, slack=None):
        self.tol, self.dtype, self.n_threads = tol, np.dtype(dtype), n_threads
        self.bounded, self.keeps_labels, self.slack = bounded, keeps_labels, slack

    #: A sample that takes the place of an empty cluster may cost more than it saves.
    bound_may_fall = True

    #: The driver lets an E-step write over the state that it is given.
    overwrites = True

    def first_state(self, params: KMeansParams, block: KMeansBlock) -> Assignment | None:
        """Return the state of samples without labels, or None where none is kept."""
        return Assignment.none_yet(block) if self.keeps_labels else None

    def e_step(
        self,
        params: KMeansParams,
        block: KMeansBlock,
        state: Assignment | None,
        *,
        spare: Assignment | None = None,
    ) -> tuple[Statistics, Assignment | None]:
        """Return the sums of each cluster's samples, and where these are.

        The bound is minus the inertia.
        """
        centers = params.centers
        if state is None:
            state = spare = Assignment.none_yet(block)
        new = self._assign(centers, block, state if spare is state else state.copy())
        n_empty = np.count_nonzero(new.weights == 0)
        statistics = Statistics(
            bound=-_inertia(block, new, centers.astype(np.float64)),
            weight=block.total_weight or 1.0,  # weights may be negative
            rows=new.rows,
            weights=new.weights,
            n_changed=new.n_changed,
            farthest=block.farthest(n_empty, centers, new.labels, self.n_threads),
        )
        return statistics, new if self.keeps_labels else None

    def _assign(self, centers, block, state):
        """Return the state in which every sample is at its nearest center; write over the old."""
        bounds = self._bounds(centers, block, state)
        arrays: dict[str, Any] | None = None
        labels, settled = state.labels, state.settled
        moves = bounds is not None or state.moves_pay(block, len(centers))
        if bounds is not None:
            bounds, arrays = bounds.at(centers, block)
        guard = None if self.slack is None else error_of(centers, block, self.slack)
        rows, weights, changed, searched, n_open = kernel.assign(
            block.job(centers), labels, self.n_threads, True, moves, arrays, guard
        )
        if moves:
            rows, weights = state.rows + rows, state.weights + weights
        if bounds is not None:
            assert arrays is not None
            if not arrays["fresh"] and searched > _MOST_SEARCHED * bounds.lower.size:
                bounds, settled = None, changed / len(labels) / 2
            if block.sample_weight is not None:  # an empty cluster must weigh exactly 0
                weights = np.bincount(labels, block.sample_weight, len(centers))
        return Assignment(labels, changed, rows, weights, settled, bounds, n_open)

    def _bounds(self, centers, block, state):
        """Return the bounds so far; where they would pay from now on, those to begin with."""
        if state.bounds is None and self.bounded and state.bounds_pay(block, len(centers)):
            return Bounds.none_yet(centers, n_groups_of(*centers.shape))
        return state.bounds

    def m_step(self, statistics: Statistics) -> KMeansParams:
        """Return the clusters' means; the farthest samples take the place of empty clusters."""
        rows, weights, _ = without_empty(statistics)
        some = weights[:, None] > 0
        centers = np.divide(rows, weights[:, None], out=rows.copy(), where=some)
        # A cluster that stays empty lies with the largest, as in scikit-learn.
        centers[~(weights > 0)] = centers[np.argmax(weights)]
        return KMeansParams(centers.astype(self.dtype), statistics.n_changed)

    def converged(self, before: KMeansParams, after: KMeansParams) -> bool:
        """Return whether no label changed, or the centers hardly moved."""
        if after.n_changed == 0:
            return True
        return shift(before, after) <= self.tol


def without_empty(statistics):
    """Return the sums and weights of clusters once the farthest samples are in empty ones.

    Returns
    -------
    rows, weights : ndarray
    moved : list of (int, int)
        Pairs of a cluster that was empty and the one that its sample comes from.
    """
    rows, weights, moved = statistics.rows, statistics.weights, []
    empty, farthest = np.flatnonzero(weights == 0), statistics.farthest
    if len(empty) and farthest.distances.max(initial=0) > 0:
        rows, weights = rows.copy(), weights.copy()
        for k, i in zip(empty, _largest(farthest.distances, len(empty)), strict=False):
            row, weight, old = farthest.rows[i], farthest.weights[i], farthest.labels[i]
            rows[old] -= weight * row
            rows[k] = weight * row
            weights[old] -= weight
            weights[k] = weight
            moved.append((int(k), int(old)))
    return rows, weights, moved


def shift(before, after):
    """Return the sum of the centers' squared shifts."""
    return kernel.shift(before.centers.astype(np.float64), after.centers.astype(np.float64))


def useful_threads(n_jobs, shape, n_clusters):
    """Return how many threads `n_jobs` means for an E-step."""
    return useful_n_jobs(n_jobs, kernel.work(*shape, n_clusters))


def scale_of(X, centers):
    """Return a power of 2 that keeps squared distances within their type: mostly 1."""
    values = (X.data if sp.issparse(X) else X.reshape(-1)), centers.reshape(-1)
    with np.errstate(over="ignore"):
        squares = sum(float(np.vdot(a, a)) for a in values)  # faster than the extremes
    if 1e-20 < squares < 1e30:
        return 1.0
    largest = max((max(-float(a.min()), float(a.max())) for a in values if a.size), default=0.0)
    return 2.0 ** -np.frexp(largest)[1]


def labels_of(X, centers, n_threads, shift=None, origin=None):
    """Return the nearest center of each sample, (n,) int32."""
    shift = shift_of(X, centers) if shift is None else shift
    labels = np.full(X.shape[0], -1, dtype=np.int32)
    job = kernel.Job(X, centers, shift, scale_of(X, centers), origin=origin)
    kernel.assign(job, labels, useful_threads(n_threads, X.shape, len(centers)))
    return labels


def shift_of(X, centers):
    """Return an origin about which data far from zero lose no digits: the centers' mean, or 0."""
    return np.zeros(X.shape[1]) if sp.issparse(X) else centers.mean(axis=0, dtype=np.float64)


def inertia_of(X, centers, labels, sample_weight, n_threads, out=None, origin=None):
    """Return the sum of the samples' weighted squared distances to their centers.

    `out`, (n,) float64, is given the squared distances without weights.
    """
    job = kernel.Job(X, centers, np.zeros(X.shape[1]), 1.0, sample_weight, origin=origin)
    return kernel.distances(job, labels, n_threads, out)


def _inertia(block, state, centers):
    """Return the inertia, from the sums."""
    inertia = block.inertia_of_sums(state.rows, state.weights, centers)
    lowest = 0.0 if block.sample_weight is None else min(0.0, block.sample_weight.min())
    return inertia if lowest < 0 else max(0.0, inertia)


def _largest(values, n):
    """Return the places of the n largest values, in scikit-learn's order."""
    n = min(n, len(values))
    return np.argpartition(values, -n)[: -n - 1 : -1]
