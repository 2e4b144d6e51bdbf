"""K-means of samples of which some values are missing (NaN).

A sample is as far from a center as what is there of it: sum (x_i - c_i)^2 over its values. Moving
centers to the means of what is there makes that sum smaller, as completing samples by their centers
and averaging these does, in more steps (Chi, Chi & Baraniuk 2016, *k-POD: a method for k-means
clustering of missing data*, The American Statistician 70:91). With 0 for what is missing and m = 1
where there is a value, such a distance is |x|^2 - 2 (x, m) . (c, -c^2 / 2): the nearest center has
the largest product, which is all that the kernel has to find.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastem._engine.statistics import Statistics
from fastem._kernels import kmeans as kernel
from fastem.cluster.lloyd import (
    Assignment,
    KMeansBlock,
    KMeansEM,
    KMeansParams,
    labels_of,
    scale_of,
    useful_threads,
    without_empty,
)
from fastem.components.gaussian_data import parts

__all__ = [
    "IncompleteBlock",
    "IncompleteKMeansEM",
    "distances_where_known",
    "imputed",
    "labels_where_known",
    "refuse_negative",
    "squares_where_known",
]

_NOTHING = 1e-12  # share of all weight that is none, but for rounding


class Before(NamedTuple):
    """The centers that an E-step was made with: the same in all parts of the data."""

    centers: np.ndarray  # (K, D)

    def __add__(self, _):
        return self

    def __sub__(self, _):
        return self

    def __mul__(self, _):
        return self

    def __rmul__(self, _):
        return self


class IncompleteBlock(KMeansBlock):
    """Some samples, values of which may be missing.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        About the features' means.
    sample_weight : ndarray of shape (n,), float64, or None
    n_threads : int

    Attributes
    ----------
    X : ndarray of shape (n, 2 D)
        The values, 0 where there is none; then 1 where there is one, else 0.
    """

    incomplete = True

    def __init__(self, X, sample_weight, n_threads=1):
        there = ~np.isnan(X)
        nothing = ~there.any(axis=1)
        total = float(len(X)) if sample_weight is None else float(sample_weight.sum())
        if nothing.any():  # a sample without any value belongs to no cluster
            ones = np.ones(len(X)) if sample_weight is None else sample_weight
            sample_weight = np.where(nothing, 0.0, ones)
        values = np.where(there, X, X.dtype.type(0))
        super().__init__(values, sample_weight, n_threads)
        self.total_weight = total
        squares, counts = np.zeros(X.shape[1]), there.sum(axis=0)
        for some in parts(*X.shape):
            squares += np.square(values[some], dtype=np.float64).sum(axis=0)
        self._mean_variance = float((squares / np.maximum(counts, 1)).mean())
        self.X = np.hstack([values, there.astype(X.dtype)])

    @property
    def drawn_from(self):
        """Samples with the features' means in place of what is missing, (n, D)."""
        return np.ascontiguousarray(self.X[:, : self.X.shape[1] // 2])

    def mean_variance(self):
        """Return the mean of the features' variances, of what is there."""
        return self._mean_variance

    def job(self, centers):
        """Return the kernel's job for some centers, (K, D)."""
        return _job(self.X, centers, self.scale, self.sample_weight)

    def labels(self, centers, n_threads):
        """Return the nearest center of each sample, (n,) int32."""
        labels = np.full(len(self.X), -1, dtype=np.int32)
        kernel.assign(self.job(centers), labels, n_threads)
        return labels

    def distances(self, centers, labels, n_threads):
        """Return the squared distance of each sample to its center, (n,)."""
        d, distances = self.X.shape[1] // 2, np.empty(len(self.X))
        for some in parts(len(self.X), d):
            values, there = self.X[some, :d], self.X[some, d:]
            gaps = values - there * centers[labels[some]].astype(np.float64)
            distances[some] = np.einsum("nd,nd->n", gaps, gaps)
        return distances

    def inertia(self, centers, labels, n_threads):
        """Return the sum of the samples' weighted squared distances to their centers."""
        distances = self.distances(centers, labels, n_threads)
        return float(distances.sum() if self.sample_weight is None else
                     self.sample_weight @ distances)  # fmt: skip

    def inertia_of_sums(self, rows, weights, centers):
        """Return the inertia that sums have."""
        values, counts = np.hsplit(rows, 2)
        return self.squares - 2 * np.vdot(centers, values) + np.vdot(centers**2, counts)


class IncompleteKMeansEM(KMeansEM):
    """E-step and M-step of k-means with missing values (see :class:`fastem.em.Model`).

    Parameters
    ----------
    tol, dtype, n_threads, keeps_labels
        As :class:`KMeansEM`.
    """

    def __init__(self, tol, dtype, n_threads, *, keeps_labels=True):
        # In half of their features two centers may be as near as they are far in all.
        super().__init__(tol, dtype, n_threads, bounded=False, keeps_labels=keeps_labels)

    def e_step(self, params, block, state, *, spare=None) -> tuple[Statistics, Assignment | None]:
        """Return the sums of each cluster's values and their weights, and where samples are."""
        found, state = super().e_step(params, block, state, spare=spare)
        return Statistics(**vars(found), before=Before(params.centers)), state

    def m_step(self, statistics: Statistics) -> KMeansParams:
        """Return the means of what is there; where a cluster has no value, what it was before."""
        rows, weights, moved = without_empty(statistics)
        before = statistics.before.centers.astype(np.float64)
        for k, old in moved:
            before[k] = before[old]
        values, counts = np.hsplit(rows, 2)
        some = counts > _NOTHING * np.abs(weights).sum()
        centers = np.divide(values, counts, out=before, where=some)
        centers[~(weights > 0)] = centers[np.argmax(weights)]
        return KMeansParams(centers.astype(self.dtype), statistics.n_changed)


def _job(X, centers, scale, sample_weight=None):
    centers = centers.astype(np.float64)
    both = np.hstack([centers, centers**2 / -2])
    return kernel.Job(X, both, np.zeros(X.shape[1]), scale, sample_weight, by_product=True)


def refuse_negative(sample_weight):
    """Raise ValueError if a weight is negative: means of what is there would divide by nothing."""
    if sample_weight is not None and sample_weight.min() < 0:
        raise ValueError(
            f"sample_weight must not be negative where X has missing values, got "
            f"{sample_weight.min():.6g}: leave such samples out, or fill in what is missing"
        )


def labels_where_known(X, centers, n_jobs, shift):
    """Return the nearest center of each sample, (n,) int32; the first where nothing is known."""
    labels, some = np.empty(len(X), np.int32), np.isnan(X).any(axis=1)
    labels[~some] = labels_of(X[~some], centers, n_jobs, shift)
    X, centers = X[some] - shift.astype(X.dtype), centers - shift
    there = ~np.isnan(X)
    both = np.hstack([np.where(there, X, X.dtype.type(0)), there.astype(X.dtype)])
    own = np.full(len(X), -1, dtype=np.int32)
    n_threads = useful_threads(n_jobs, both.shape, len(centers))
    kernel.assign(_job(both, centers, scale_of(both, centers)), own, n_threads)
    labels[some] = own
    return labels


def squares_where_known(X, centers, labels):
    """Return each sample's sum of squared differences from its center, (n,)."""
    out = np.empty(len(X))
    for some in parts(*X.shape):
        gaps = np.nan_to_num(X[some] - centers[labels[some]].astype(np.float64))
        out[some] = np.einsum("nd,nd->n", gaps, gaps)
    return out


def distances_where_known(X, centers):
    """Return distances as :func:`sklearn.metrics.pairwise.nan_euclidean_distances` does, (n, K).

    Those of the values that are there, by the root of their share; NaN where there is none.
    """
    n, d = X.shape
    out, first = np.empty((n, len(centers)), X.dtype), np.zeros(n, np.int32)
    with np.errstate(divide="ignore"):
        share = d / (~np.isnan(X)).sum(axis=1)
    for k in range(len(centers)):
        squares = squares_where_known(X, centers[k : k + 1], first)
        with np.errstate(invalid="ignore"):  # 0 * inf
            out[:, k] = np.sqrt(squares * share)
    return out


def imputed(X, centers, labels):
    """Return samples with their centers' values in place of NaN."""
    return np.where(np.isnan(X), centers[labels].astype(X.dtype, copy=False), X)
