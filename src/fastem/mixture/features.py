"""Features of a fitted estimator, named or numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

__all__ = ["Features", "columns_of", "others_of"]

#: One feature or several: columns' numbers, or names that `fit` saw.
Features: TypeAlias = int | str | Sequence[int] | Sequence[str] | np.ndarray


def columns_of(features, names, n_features, parameter="features") -> np.ndarray:
    """Return the columns of some features, (n,), or say which of them is none.

    Raises
    ------
    TypeError
        If a feature is neither a number nor a name.
    ValueError
        If there is none, if one is unknown or out of range, or occurs twice.
    """
    given = [features] if np.ndim(features) == 0 else list(features)
    if not given:
        raise ValueError(f"{parameter} must have one feature at least, got none")
    known = None if names is None else list(map(str, names))
    columns = [_column(feature, known, n_features, parameter) for feature in given]
    if len(set(columns)) < len(columns):
        raise ValueError(f"{parameter} must have each feature once, got {features!r}")
    return np.array(columns)


def _column(feature, known, n_features, parameter):
    if isinstance(feature, str):
        if known is None:
            raise ValueError(
                f"{parameter} has the name {feature!r}, but fit saw no names of features: give "
                f"columns' numbers, 0 to {n_features - 1}, or fit a data frame"
            )
        if feature not in known:
            few = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
            raise ValueError(f"{parameter} has {feature!r}, but fit saw {few}")
        return known.index(feature)
    if isinstance(feature, bool | np.bool_) or not isinstance(feature, int | np.integer):
        raise TypeError(f"{parameter} must be columns' numbers or names, got {feature!r}")
    if not 0 <= feature < n_features:
        raise ValueError(f"{parameter} must be columns from 0 to {n_features - 1}, got {feature}")
    return int(feature)


def others_of(columns, n_features, parameter="features") -> np.ndarray:
    """Return the columns that are left, in their order, of which there must be one at least."""
    left = np.setdiff1d(np.arange(n_features), columns)
    if not len(left):
        raise ValueError(
            f"{parameter} has all {n_features} features, which leaves none: leave out one at least"
        )
    return left
