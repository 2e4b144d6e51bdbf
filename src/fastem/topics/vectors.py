"""What Gaussian LDA is given, checked: vectors, and how many of them each document has."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array

__all__ = ["check_lengths", "check_rows_of_vectors", "check_vectors"]


def check_vectors(vectors):
    """Return the words' vectors, validated."""
    vectors = check_array(
        vectors, dtype=[np.float64, np.float32], input_name="vectors", ensure_all_finite=False
    )
    without = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(without):
        raise ValueError(
            f"vectors must be finite, got NaN or infinity in {len(without)} rows, the first of "
            f"them row {without[0]}: leave words without a vector out of X and vectors"
        )
    return vectors


def check_rows_of_vectors(vectors, n_words):
    """Raise ValueError unless each word has a vector."""
    if len(vectors) != n_words:
        raise ValueError(
            f"vectors must have a row for each of the {n_words} columns of X, got "
            f"{len(vectors)} rows"
        )


def check_lengths(lengths, n_vectors):
    """Return the documents' numbers of vectors, int64."""
    if lengths is None:
        return np.array([n_vectors])
    given = check_array(lengths, ensure_2d=False, dtype=None, input_name="lengths")
    if given.ndim != 1 or given.dtype.kind not in "iu" or given.min() < 0:
        raise ValueError(
            "lengths must be a list of integers >= 0, the number of vectors of each document, got "
            f"shape {given.shape}, dtype {given.dtype} and smallest value {given.min()}"
        )
    given = given.astype(np.int64)
    if given.sum() != n_vectors:
        raise ValueError(
            f"lengths must sum to the number of vectors, the {n_vectors} rows of X, got a sum of "
            f"{given.sum()}"
        )
    return given
