"""K-means of a stream: partial_fit, by stepwise EM."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils import check_random_state

from fastem._base import unchanged_on_error
from fastem._compat import fit_context
from fastem._engine.statistics import Statistics
from fastem._engine.streaming import ROWS_OF_A_START, SORTED, Streaming, keeping_names, pieces
from fastem._engine.threads import effective_n_jobs, single_threaded_blas
from fastem._typing import MatrixLike
from fastem.cluster.data import check_weights, refuse_overflow
from fastem.cluster.lloyd import Assignment, KMeansBlock, KMeansEM, KMeansParams, useful_threads
from fastem.cluster.missing import IncompleteBlock

__all__ = ["StreamingKMeans"]


class StreamingKMeans(Streaming):
    """K-means that can be fitted to a stream; a part of the estimator."""

    cluster_centers_: np.ndarray
    labels_: np.ndarray
    inertia_: float
    _goes_on_from = _sized = "cluster_centers_"

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Take a step, or several, with the next samples of a stream.

        The first calls gather 100 samples for each cluster, on which k-means makes a start; fitted
        clusters go on from their centers. Then each call moves the mean sums and weights of the
        clusters towards those of its samples (Cappé & Moulines 2009), by (learning_offset + number
        of the step)^-learning_decay.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples: best some hundreds and in random order. Many are several steps.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        self : object
            The estimator after the steps; `labels_` and `inertia_` are those of X. As long as there
            are fewer samples than clusters it is not fitted. `n_iter_` is the number of steps.

        Raises
        ------
        ValueError
            If an argument is invalid.

        Warns
        -----
        RuntimeWarning
            If the stream looks sorted.
        """
        if self._take_steps(X, sample_weight):
            warnings.warn(SORTED, RuntimeWarning, stacklevel=3)
        return self

    def _take_steps(self: Any, X, sample_weight):
        """Take the steps of one call; return whether the stream looks sorted."""
        with unchanged_on_error(self), single_threaded_blas():
            effective_n_jobs(self.n_jobs)  # complains before any work
            stream = self._open_stream()
            X = self._validated_block(X, reset=stream.begins)
            if not stream.begins:
                self._check_fitted_centers(X.shape[1])
            sample_weight = check_weights(sample_weight, X)
            if sample_weight is not None and not (sample_weight >= 0).all():
                raise ValueError("sample_weight must not be negative in partial_fit")
            rows, weight = X, sample_weight
            if refuse_overflow("X", X, sample_weight):
                rows, weight = _told_of(X, sample_weight)
            looks_sorted, left = False, rows.shape[0] > 0
            if left and stream.mean is None:
                left = self._begin_stream(stream, rows, weight)
            if left:
                looks_sorted = self._steps(stream, rows, weight)
            self._stream = stream.keep()
            if hasattr(self, "cluster_centers_"):
                self._finish_step(stream, X, sample_weight)
        return looks_sorted

    def _finish_step(self: Any, stream, X, sample_weight):
        """Set what is read off the samples of one call."""
        # Not by `predict`, which would ask validated samples for the names of their features.
        centers = np.asarray(self.cluster_centers_)
        X = X.astype(np.result_type(X.dtype, centers.dtype), copy=False)
        missing = not sp.issparse(X) and bool(np.isnan(X).any())
        self.labels_ = self._labels(X, centers, missing)
        self.inertia_ = self._inertia(X, centers, missing, sample_weight)
        self.converged_, self.n_iter_ = False, stream.n_steps
        self.lower_bounds_ = list(stream.bounds)
        self.lower_bound_ = stream.bounds[-1] if stream.bounds else -self.inertia_ / X.shape[0]
        self._n_features_out = len(self.cluster_centers_)

    def _begin_stream(self: Any, stream, X, sample_weight):
        """Gather samples, and make a start of them; return whether X is still to be used."""
        wanted = ROWS_OF_A_START * self.n_clusters
        stream.gather(X, sample_weight)
        n, resumes = stream.n_rows, stream.resumes
        if n < self.n_clusters or (resumes and n < wanted):
            return False
        rows, weight = stream.gathered(wanted, check_random_state(self.random_state))
        if not resumes:
            with keeping_names(self):
                self._fit_array(rows.copy(), weight)
        if n < wanted:  # more samples are to come: this start is for those who read in between
            return False
        stream.begin(self._sums(rows, weight))
        return X.shape[0] > wanted

    def _sums(self: Any, X, sample_weight):
        """Return the sums of each cluster's values, their weights, and those of its samples."""
        centers = np.asarray(self.cluster_centers_)
        n_threads = useful_threads(self.n_jobs, X.shape, len(centers))
        # About the mean of the centers, so that data far from zero lose no digits.
        shift = np.zeros(X.shape[1]) if sp.issparse(X) else centers.mean(axis=0, dtype=np.float64)
        if not sp.issparse(X):
            X = (X - shift).astype(X.dtype)
        missing = not sp.issparse(X) and bool(np.isnan(X).any())
        block = (IncompleteBlock if missing else KMeansBlock)(X, sample_weight, n_threads)
        params = KMeansParams((centers - shift).astype(X.dtype), X.shape[0])
        model = KMeansEM(0.0, X.dtype, n_threads, bounded=False)
        found, _ = model.e_step(params, block, Assignment.none_yet(block))
        weights = np.asarray(found.weights, dtype=np.float64)
        rows, counts = found.rows, np.broadcast_to(weights[:, None], centers.shape)
        if missing:
            rows, counts = np.hsplit(rows, 2)
        return Statistics(
            bound=found.bound,
            weight=found.weight,
            rows=rows + counts * shift,
            weights=weights,
            counts=counts,
        )

    def _steps(self: Any, stream, X, sample_weight):
        """Take the steps; return whether the stream looks sorted."""
        looks_sorted = False
        for rows, weight in pieces(X, sample_weight, self.n_clusters):
            statistics = self._sums(rows, weight)
            looks_sorted |= stream.step(statistics, stream.mean.weights, statistics.weights)
            old, mean = np.asarray(self.cluster_centers_), stream.mean
            there = mean.counts > 1e-12 * mean.weights.sum()
            centers = np.divide(mean.rows, mean.counts, out=old.astype(np.float64), where=there)
            self.cluster_centers_ = centers.astype(old.dtype)
        return looks_sorted


def _told_of(X, sample_weight):
    """Return the samples that have a value, and their weights."""
    some = ~np.isnan(X).all(axis=1)
    return X[some], None if sample_weight is None else sample_weight[some]
