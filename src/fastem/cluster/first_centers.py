"""Where k-means begins: given centers, those of a callable, or drawn ones."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array

from fastem.cluster.data import refuse_overflow
from fastem.cluster.plusplus import Rows, draw_rows, scikit_learn_s_rows

__all__ = ["FirstCenters"]

_MANY = 32  # clusters, for whose start a float32 copy of the samples saves time


class FirstCenters:
    """What `init` and `n_init` mean; a part of :class:`fastem.KMeans`."""

    n_clusters: int
    init: Any
    n_init: Any
    algorithm: str
    n_jobs: int | None

    def _rows_to_draw(self, X, sample_weight, block):
        """Return what k-means++ draws from; None for sparse X."""
        if sp.issparse(X):
            return None
        keep = self.n_clusters >= _MANY and block.origin is None
        return Rows(X, sample_weight, block.length, self.n_jobs, keep=keep, origin=block.origin)

    def _check_n_init(self):
        """Return the number of starts."""
        if not (isinstance(self.init, str) or callable(self.init)):
            if self.n_init not in ("auto", 1):
                warnings.warn(
                    "Explicit initial center position passed: performing only one init in "
                    f"{type(self).__name__} instead of n_init={self.n_init}.",
                    RuntimeWarning,
                    stacklevel=4,
                )
            return 1
        if self.n_init != "auto":
            return self.n_init
        return 10 if callable(self.init) or self.init == "random" else 1

    def _check_init(self, X):
        """Return `init`; an array is validated."""
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warnings.warn(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
                stacklevel=4,
            )
        if isinstance(self.init, str) or callable(self.init):
            return self.init
        init = check_array(self.init, dtype=X.dtype, copy=True, order="C", input_name="init")
        self._check_centers(X, init)
        return init

    def _check_centers(self, X, centers):
        if centers.shape[0] != self.n_clusters:
            raise ValueError(
                f"The shape of the initial centers {centers.shape} does not match the number of "
                f"clusters {self.n_clusters}."
            )
        if centers.shape[1] != X.shape[1]:
            raise ValueError(
                f"The shape of the initial centers {centers.shape} does not match the number of "
                f"features of the data {X.shape[1]}."
            )
        refuse_overflow("init", centers)

    def _first_centers(self, X, init, mean, sample_weight, random_state, n_clusters, rows):
        """Return the first centers, with scikit-learn's random numbers."""
        if isinstance(init, np.ndarray):
            return init - mean
        if callable(init):
            centers = init(X, n_clusters, random_state=random_state)
            centers = check_array(centers, dtype=X.dtype, copy=False, order="C")
            self._check_centers(X, centers)
            return centers
        if init == "k-means++" and rows is not None:
            return rows.about(X[draw_rows(rows, n_clusters, random_state)])
        weight = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        weight = weight.astype(X.dtype)
        if init == "k-means++":
            drawn = scikit_learn_s_rows(X, weight, n_clusters, random_state)
        else:
            chance = weight / weight.sum()
            try:
                drawn = random_state.choice(X.shape[0], n_clusters, replace=False, p=chance)
            except ValueError as error:  # of weights, in the words of scikit-learn's KMeans
                raise ValueError(str(error)) from error
        found = X[drawn]
        if sp.issparse(found):
            return found.toarray()
        return found if rows is None else rows.about(found)

    # ---- what scikit-learn's own tests reach for -------------------------------------------

    def _init_centroids(
        self,
        X,
        x_squared_norms,
        init,
        random_state,
        sample_weight,
        init_size=None,
        n_centroids=None,
    ):
        """Return first centers."""
        n_clusters = self.n_clusters if n_centroids is None else n_centroids
        return self._first_centers(X, init, 0.0, sample_weight, random_state, n_clusters, None)
