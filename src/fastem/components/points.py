"""Discrete samples as points, where squared distances suit them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

__all__ = ["as_csr", "points_of"]

_PART_BYTES = 2 << 20  # size of the temporary arrays of some rows


def points_of(X, change):
    """Return change(x, feature) of all values as float32; of missing ones, their feature's mean."""
    if sp.issparse(X):
        points = sp.csr_array(X, dtype=np.float32)
        points.data = change(X.data.astype(np.float64), X.indices).astype(np.float32)
        missing = np.isnan(points.data)
        feature = X.indices[missing]
        total = np.bincount(
            X.indices, weights=np.where(missing, 0, points.data), minlength=X.shape[1]
        )
        known = X.shape[0] - np.bincount(feature, minlength=X.shape[1])
        points.data[missing] = (total / np.maximum(known, 1))[feature]
        return points
    points = np.empty(X.shape, np.float32)
    step = max(16, _PART_BYTES // (8 * X.shape[1]))
    for first in range(0, len(X), step):
        part = X[first : first + step].astype(np.float64)
        points[first : first + step] = change(part, slice(None))
    if np.isnan(points.max(initial=0)):
        missing = np.isnan(points)
        known = np.maximum(len(X) - missing.sum(axis=0), 1)
        mean = points.sum(axis=0, dtype=np.float64, where=~missing) / known
        np.copyto(points, mean.astype(np.float32), where=missing)
    return points


def as_csr(row, column, value, shape):
    """Return a CSR array with indices of 32 bits, of places that differ."""
    return sp.coo_array((value, (row.astype(np.int32), column.astype(np.int32))), shape).tocsr()
