"""Which of many means is nearest to a sample, and which means are near to each other."""

from __future__ import annotations

import math

import numpy as np

from fastem._kernels import kmeans
from fastem._kernels import truncated as kernel
from fastem.components.gaussian_data import parts

__all__ = ["NEAR", "PERIOD", "Near", "is_searched"]

NEAR = kernel.MOST_KEPT  # means near to each one, itself among them
_SEARCHED = 8  # groups of means among which the first ones near to a mean are
_FIRST_PASSES = 3  # in which what is near meets, before the first E-step
_LLOYD = 4  # iterations that make groups
PERIOD = 8  # iterations from one search of the nearest means among all to the next


def is_searched(step):
    """Return whether an iteration searches the nearest mean of each row among all.

    At first, when means move far, each one does.
    """
    return step <= 2 or step % PERIOD == 0


class Near:
    """Some means.

    Parameters
    ----------
    means : ndarray of shape (K, D), float64
    shift, scale : ndarray of shape (D,)
        Distances are those of (x - shift) * scale, which is of order 1.
    n_threads : int
    """

    def __init__(self, means, shift, scale, n_threads):
        self.shift, self.scale, self.n_threads = shift, scale, n_threads
        self.points = (means - shift) * scale

    def nearest(self, X):
        """Return the nearest mean of each row of X, (n,) int32."""
        shift, scale = (a.astype(X.dtype) for a in (self.shift, self.scale))
        labels = np.full(len(X), -1, np.int32)
        for some in parts(len(X), X.shape[1]):
            rows = np.ascontiguousarray((X[some] - shift) * scale)
            job = kmeans.Job(rows, self.points, np.zeros(X.shape[1]), 1.0)
            kmeans.assign(job, labels[some], self.n_threads)
        return labels

    def first(self, seed):
        """Return the means near to each one, itself first, (K, G) int32."""
        k, d = self.points.shape
        centers, labels = _groups(self.points)
        members = np.argsort(labels, kind="stable").astype(np.int32)
        ends = np.searchsorted(labels[members], np.arange(len(centers) + 1)).astype(np.int32)
        near = self._job().begin(centers, np.ones(d), members, ends, _SEARCHED, min(NEAR, k))
        own = np.arange(k, dtype=np.int32)
        missing = ~(near == own[:, None]).any(axis=1)
        near[missing, -1] = own[missing]
        for number in range(_FIRST_PASSES):
            near = self.meet(near, seed + number)
        return near

    def meet(self, near, seed):
        """Return the same of those near to what was near before, and of some drawn ones."""
        return self._job().meet(near, seed)

    def _job(self):
        k, d = self.points.shape
        nothing, unit = np.zeros(d), np.ones(d)
        scale = np.ones((k, d))
        return kernel.Job(
            self.points, nothing, unit, scale, self.points, np.zeros(k), self.n_threads
        )


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
