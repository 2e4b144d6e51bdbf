"""K-means: the model that the driver fits, the hard limit of a mixture of equal spheres."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastem._engine.statistics import Statistics
from fastem._engine.threads import useful_n_jobs
from fastem._kernels import kmeans as kernel

__all__ = [
    "Block",
    "KMeansEM",
    "KMeansParams",
    "inertia_of",
    "labels_of",
    "scale_of",
    "useful_threads",
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

    @classmethod
    def none(cls, n_features):
        """Return no samples."""
        return cls(np.empty(0), np.empty((0, n_features)), np.empty(0), np.empty(0, np.int32))

    def __add__(self, other):
        return Farthest(*map(np.concatenate, zip(self, other, strict=True)))

    def __sub__(self, _):
        return self

    def __mul__(self, factor):
        return self._replace(weights=self.weights * factor)

    def __rmul__(self, factor):
        return self * factor


class Block:
    """Some samples, and what k-means keeps of each of them from one E-step to the next.

    Parameters
    ----------
    X : C-contiguous ndarray or CSR array with int32 indices
    sample_weight : ndarray of shape (n,), float64, or None
    n_threads : int

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
        -1 before the first E-step.
    total_weight, squares : float
        Sum of the weights; of the weights times the rows' squared lengths.
    mean_square : float
        Mean squared length of a row, without weights.
    """

    def __init__(self, X, sample_weight, n_threads=1):
        self.X, self.sample_weight = X, sample_weight
        n = X.shape[0]
        self.total_weight = float(n) if sample_weight is None else float(sample_weight.sum())
        squares = np.empty(n)
        nowhere, first = np.zeros((1, X.shape[1])), np.zeros(n, np.int32)
        job = kernel.Job(X, nowhere, nowhere[0], 1.0, sample_weight)
        self.squares = kernel.distances(job, first, n_threads, squares)
        self.mean_square, self.length = (
            float(squares.sum() / max(1, n)),
            float(np.sqrt(squares.max(initial=0.0))),
        )
        self.scale = 2.0 ** -np.frexp(self.length)[1] if np.isfinite(self.length) else 1.0
        self.reset()

    def reset(self):
        """Forget the labels, for a new start."""
        self.labels = np.full(self.X.shape[0], -1, dtype=np.int32)
        self.n_changed = self.X.shape[0]
        self.bounds: Bounds | None = None
        self.settled = _SETTLED_LONG if self.X.shape[1] >= 128 else _SETTLED
        self.rows: Any = 0.0  # (K, D) sums of each cluster, and (K,) its weight
        self.weights: Any = 0.0

    def job(self, centers):
        """Return the kernel's job for some centers."""
        nothing = np.zeros(self.X.shape[1])
        return kernel.Job(self.X, centers, nothing, self.scale, self.sample_weight)

    def assign(self, centers, n_threads):
        """Move every sample to its nearest center; update the sums of each cluster's rows."""
        job, bounds = self.job(centers), self.bounds
        arrays = None if bounds is None else bounds.move(centers)
        moves = bounds is not None or self._moves_pay(len(centers))
        rows, weights, changed, searched = kernel.assign(
            job, self.labels, n_threads, True, moves, arrays
        )
        if moves:
            rows, weights = self.rows + rows, self.weights + weights
        self.rows, self.weights, self.n_changed = rows, weights, changed
        if bounds is not None:
            if not bounds.fresh and searched > _MOST_SEARCHED * bounds.lower.size:
                self.bounds, self.settled = None, changed / len(self.labels) / 2
            bounds.fresh = False
            if self.sample_weight is not None:  # an empty cluster must weigh exactly 0
                self.weights = np.bincount(self.labels, self.sample_weight, len(centers))

    def _moves_pay(self, n_clusters):
        """Return whether to add only the rows whose label changes to the sums so far."""
        few = self.X.shape[1] <= 4 and n_clusters <= 16  # which the kernel sums faster
        share = _MOVED_FEW if few else _MOVED
        return self.sample_weight is None and self.n_changed < share * len(self.labels)

    def distances(self, centers, n_threads):
        """Return each sample's squared distance to its center, (n,)."""
        distances = np.empty(self.X.shape[0])
        kernel.distances(self.job(centers), self.labels, n_threads, distances)
        return distances

    def farthest(self, n_rows, centers, n_threads):
        """Return the samples farthest from their centers."""
        if n_rows == 0:
            return Farthest.none(self.X.shape[1])
        distances = self.distances(centers, n_threads)
        far = _largest(distances, n_rows)
        rows = self.X[far].toarray() if sp.issparse(self.X) else self.X[far]
        weight = np.ones(len(far)) if self.sample_weight is None else self.sample_weight[far]
        return Farthest(distances[far], rows.astype(np.float64), weight, self.labels[far])


class Bounds:
    """Bounds on each sample's distances: to its own center, and to the others by group.

    See kmeans_bounds.h. The groups are clusters of the centers.
    """

    def __init__(self, block, centers, n_groups):
        n = block.X.shape[0]
        self.scale, self.length = block.scale, block.length
        self.group = _groups(centers, n_groups)
        self.n_groups = int(self.group.max()) + 1
        self.upper = np.empty(n, np.float32)
        self.lower = np.empty((n, self.n_groups), np.float32)
        self.fresh, self.centers = True, centers

    def move(self, centers):
        """Return the kernel's arrays for new centers."""
        moved = np.subtract(centers, self.centers, dtype=np.float64)
        drift = self.scale * np.sqrt(np.einsum("ij,ij->i", moved, moved))
        largest = np.zeros(self.n_groups)
        np.maximum.at(largest, self.group, drift)
        other = self._largest_but_own(drift, largest)
        error = self._error(centers)
        self.centers = centers
        return {
            "group": self.group,
            "upper": self.upper,
            "lower": self.lower,
            "fresh": self.fresh,
            "drift": _rounded_up(drift),
            "group_drift": _rounded_up(largest),
            "other_drift": _rounded_up(other),
            "gap": self._gap(centers),
            "error": error,
        }

    def _largest_but_own(self, drift, largest):
        """Return the largest drift in each center's group without the center itself."""
        order = np.lexsort((-drift, self.group))
        group = self.group[order]
        leads = np.r_[True, group[1:] != group[:-1]]
        second = np.zeros(self.n_groups)
        follows = np.flatnonzero(np.r_[False, leads[:-1]] & ~leads)
        second[group[follows]] = drift[order[follows]]
        other = largest[self.group]
        other[order[leads]] = second[group[leads]]
        return other

    def _error(self, centers):
        """Return by how much two computed squared distances may be off together, scaled."""
        n_features = centers.shape[1]
        farthest = np.sqrt(np.einsum("ij,ij->i", centers, centers, dtype=np.float64).max())
        reach = self.scale * (self.length + farthest)
        return float((n_features + 8) * np.finfo(centers.dtype).eps * reach**2)

    def _gap(self, centers):
        """Return at most half the distance from each center to the nearest other, scaled."""
        if self.n_groups > 1 or len(centers) == 1:  # many centers: it costs more than it saves
            return np.zeros(len(centers), np.float32)
        centers = (self.scale * centers).astype(np.float64)
        norms = np.einsum("ij,ij->i", centers, centers)
        squared = norms[:, None] + norms - 2 * centers @ centers.T
        np.fill_diagonal(squared, np.inf)
        squared = squared.min(axis=1) - 1e-13 * centers.shape[1] * norms.max()
        half = 0.5 * np.sqrt(np.maximum(squared, 0))
        return (half * (1 - 1e-6)).astype(np.float32)


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
    """

    def __init__(self, tol, dtype, n_threads, *, bounded=True):
        self.tol, self.dtype, self.n_threads = tol, np.dtype(dtype), n_threads
        self.bounded = bounded

    #: A sample that takes the place of an empty cluster may cost more than it saves.
    bound_may_fall = True

    def e_step(self, params: KMeansParams, block: Block) -> Statistics:
        """Return the sums of each cluster's samples; the bound is minus the inertia."""
        centers = params.centers
        if self.bounded and block.bounds is None and _pays(block, len(centers)):
            block.bounds = Bounds(block, centers, _n_groups(*centers.shape))
        block.assign(centers, self.n_threads)
        n_empty = np.count_nonzero(block.weights == 0)
        return Statistics(
            bound=-_inertia(block, centers.astype(np.float64)),
            weight=block.total_weight or 1.0,  # weights may be negative
            rows=block.rows,
            weights=block.weights,
            n_changed=block.n_changed,
            farthest=block.farthest(n_empty, centers, self.n_threads),
        )

    def m_step(self, statistics: Statistics) -> KMeansParams:
        """Return the clusters' means; the farthest samples take the place of empty clusters."""
        rows, weights = statistics.rows, statistics.weights
        empty, farthest = np.flatnonzero(weights == 0), statistics.farthest
        if len(empty) and farthest.distances.max(initial=0) > 0:
            rows, weights = rows.copy(), weights.copy()
            for k, i in zip(empty, _largest(farthest.distances, len(empty)), strict=False):
                row, weight, old = farthest.rows[i], farthest.weights[i], farthest.labels[i]
                rows[old] -= weight * row
                rows[k] = weight * row
                weights[old] -= weight
                weights[k] = weight
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


def shift(before, after):
    """Return the sum of the centers' squared shifts."""
    moved = np.subtract(after.centers, before.centers, dtype=np.float64)
    return float(np.vdot(moved, moved))


def useful_threads(n_jobs, shape, n_clusters):
    """Return how many threads `n_jobs` means, or 1 where an E-step takes under 0.1 ms or so."""
    n_samples, n_features = shape
    return useful_n_jobs(n_jobs, n_samples * n_clusters * (n_features + 4) > 3e6)


def scale_of(X, centers):
    """Return a power of 2 that keeps squared distances within their type: mostly 1."""
    values = (X.data if sp.issparse(X) else X.reshape(-1)), centers.reshape(-1)
    with np.errstate(over="ignore"):
        squares = sum(float(np.vdot(a, a)) for a in values)  # faster than the extremes
    if 1e-20 < squares < 1e30:
        return 1.0
    largest = max((max(-float(a.min()), float(a.max())) for a in values if a.size), default=0.0)
    return 2.0 ** -np.frexp(largest)[1]


def labels_of(X, centers, n_threads):
    """Return the nearest center of each sample, (n,) int32."""
    # about the centers' mean, so that data far from zero lose no digits
    center = np.zeros(X.shape[1]) if sp.issparse(X) else centers.mean(axis=0, dtype=np.float64)
    labels = np.full(X.shape[0], -1, dtype=np.int32)
    job = kernel.Job(X, centers, center, scale_of(X, centers))
    kernel.assign(job, labels, useful_threads(n_threads, X.shape, len(centers)))
    return labels


def inertia_of(X, centers, labels, sample_weight, n_threads):
    """Return the sum of the samples' weighted squared distances to their centers."""
    job = kernel.Job(X, centers, np.zeros(X.shape[1]), 1.0, sample_weight)
    return kernel.distances(job, labels, n_threads)


def _inertia(block, centers):
    """Return the inertia, from the sums: sum w |x - c|^2 = sum w |x|^2 - 2 c . rows + W |c|^2."""
    of_centers = np.einsum("ij,ij->i", centers, centers)
    inertia = block.squares - 2 * np.vdot(centers, block.rows) + block.weights @ of_centers
    lowest = 0.0 if block.sample_weight is None else min(0.0, block.sample_weight.min())
    return float(inertia) if lowest < 0 else max(0.0, float(inertia))


def _largest(values, n):
    """Return the places of the n largest values, in scikit-learn's order."""
    n = min(n, len(values))
    return np.argpartition(values, -n)[: -n - 1 : -1]


def _pays(block, n_clusters):
    """Return whether bounds save time from here on."""
    n, d = block.X.shape
    if sp.issparse(block.X) or d <= 4 or n_clusters < 4 or n * n_clusters * d < _LEAST_BOUNDED:
        return False
    most = _MOST_SCALED[block.X.dtype.itemsize]
    if not 1 / most < block.scale < most:
        return False
    return block.n_changed < block.settled * n


def _n_groups(n_clusters, n_features):
    """Return the number of groups of centers that was fastest for such centers."""
    size = 8 if n_features >= 128 else 24 if n_features >= 32 else n_clusters
    return max(1, n_clusters // size)


def _groups(centers, n_groups):
    """Return the group of each center, (K,) int32: equally many in each, near each other.

    A set of centers is cut at right angles to the direction in which it is longest, and again.
    Groups of unequal size, as k-means finds them, save nothing: the largest is searched for all.
    """
    group = np.zeros(len(centers), np.int32)
    sets, n_done = [(np.arange(len(centers)), n_groups)], 0
    while sets:
        members, n_parts = sets.pop()
        if n_parts == 1:
            group[members] = n_done
            n_done += 1
            continue
        those = centers[members] - centers[members].mean(axis=0)
        direction = those[np.einsum("ij,ij->i", those, those).argmax()]
        for _ in range(4):  # of the power method: no more than a rough direction is needed
            direction = those.T @ (those @ direction)
            direction /= np.linalg.norm(direction) or 1.0
        order = members[np.argsort(those @ direction, kind="stable")]
        cut = len(order) * (n_parts // 2) // n_parts
        sets += [(order[cut:], n_parts - n_parts // 2), (order[:cut], n_parts // 2)]
    return group


def _rounded_up(values):
    """Return float32 values that are no smaller."""
    with np.errstate(over="ignore"):
        return np.nextafter((values * (1 + 1e-6)).astype(np.float32), np.float32(np.inf))
