"""What can be read off fitted clusters: labels, distances, and values for what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from fastem._base import check_fitted_array
from fastem._compat import checked_distances
from fastem._data.sources import by_blocks, scores
from fastem._engine.sparse import validate_sparse
from fastem._engine.threads import effective_n_jobs
from fastem._typing import MatrixLike
from fastem.cluster.data import check_weights, refuse_overflow
from fastem.cluster.lloyd import inertia_of, labels_of, scale_of, shift_of
from fastem.cluster.missing import (
    distances_where_known,
    imputed,
    labels_where_known,
    squares_where_known,
)

__all__ = ["KMeansReading"]

_FEW_DIFFERENCES = 20_000  # of a row and a center, feature by feature: taken one by one


class KMeansReading(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Mixin of k-means: what its centers say of samples.

    `set_output` holds for a `transform` that a transformer's own body defines, and for no other:
    hence the bases.
    """

    cluster_centers_: np.ndarray
    n_jobs: int | None
    _once: Any
    _check_is_fitted: Any
    _finite: Any  # (X) -> what validation is to ask of X

    def _validated(self, X):
        """Return X and the centers, validated, and whether values of X are missing."""
        self._check_is_fitted("cluster_centers_")
        # As NumPy promotes: float32 only where both the centers and X are.
        narrow = np.asarray(self.cluster_centers_).dtype == np.float32
        X = validate_sparse(
            self,
            X,
            reset=False,
            dtype=[np.float64, np.float32] if narrow else np.float64,
            order="C",
            accept_large_sparse=False,
            ensure_all_finite=self._finite(X),
        )
        self._once(("checked", X.shape[1]), lambda: self._check_fitted_centers(X.shape[1]))
        missing = refuse_overflow("X", X)
        return X, np.asarray(self.cluster_centers_), missing

    def _check_fitted_centers(self, n_features):
        centers = check_fitted_array(self, "cluster_centers_", (None, n_features))
        refuse_overflow("cluster_centers_", centers)

    @by_blocks
    def predict(self, X: MatrixLike) -> np.ndarray:
        """Return the nearest center of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Numbers of the clusters; 0 of a sample of NaN only.
        """
        return self._labels(*self._validated(X))

    def _labels(self, X, centers, missing):
        """Return the nearest center of each validated sample."""
        kind = "sparse shift" if sp.issparse(X) else "shift"
        shift = self._once(kind, lambda: shift_of(X, centers))
        return (labels_where_known if missing else labels_of)(X, centers, self.n_jobs, shift)

    @by_blocks
    def transform(self, X: MatrixLike) -> np.ndarray:
        """Return the distance of each sample to each center.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters)
            Euclidean distances. Of samples with NaN those of the values that are there, times the
            root of the number of features by that of these values; NaN of a sample of NaN only.
        """
        X, centers, missing = self._validated(X)
        if missing:
            return distances_where_known(X, centers)
        if not sp.issparse(X) and X.shape[0] * centers.size < _FEW_DIFFERENCES:
            # scikit-learn's way takes longer.
            gaps = X[:, None].astype(np.float64) - centers
            return np.sqrt(np.einsum("nkd,nkd->nk", gaps, gaps)).astype(X.dtype, copy=False)
        scale = X.dtype.type(scale_of(X, centers))
        if scale == 1:
            return checked_distances(X, centers)
        return checked_distances(X * scale, centers * scale) / scale

    def score(
        self, X: MatrixLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return minus the inertia of some samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        score : float
            Minus the sum of the squared distances to the nearest centers, times the weights.
        """
        parts = scores(self, _score_of, X, sample_weight)
        if parts is not None:
            return sum(parts)
        X, centers, missing = self._validated(X)
        sample_weight = check_weights(sample_weight, X)
        refuse_overflow("X", X, sample_weight)
        return -self._inertia(X, centers, missing, sample_weight)

    def _inertia(self, X, centers, missing, sample_weight):
        """Return the inertia of validated samples."""
        n_threads = effective_n_jobs(self.n_jobs)
        if missing:
            labels = labels_where_known(X, centers, n_threads, shift_of(X, centers))
            squares = squares_where_known(X, centers, labels)
            return float(squares.sum() if sample_weight is None else sample_weight @ squares)
        labels = labels_of(X, centers, n_threads)
        return inertia_of(X, centers, labels, sample_weight, n_threads)

    def impute(self, X: MatrixLike) -> np.ndarray:
        """Return samples with values of their nearest centers in place of NaN.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples, with NaN for what is missing.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            The samples, complete; a copy.

        Examples
        --------
        >>> import numpy as np
        >>> from fastem import KMeans
        >>> X = np.array([[0.0, 0.0], [1.0, 1.0], [8.0, 9.0], [9.0, np.nan]])
        >>> KMeans(n_clusters=2, random_state=0).fit(X).impute(X)[3]
        array([9., 9.])
        """
        X, centers, _ = self._validated(X)
        if sp.issparse(X):
            raise TypeError("X must be a dense array: in a sparse one no value is missing")
        labels = labels_where_known(X, centers, self.n_jobs, shift_of(X, centers))
        return imputed(X, centers, labels)


def _score_of(estimator, X, sample_weight):
    return estimator.score(X, None, sample_weight)
