"""Types that signatures have in common.

What scikit-learn's `sklearn.utils.validation` takes for an array is wider than any static type:
arrays, lists, sparse matrices of SciPy in two classes, data frames of several libraries.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

__all__ = ["MatrixLike", "RandomStateLike", "SamplerLike"]

#: An array, a sparse matrix or a data frame of shape (n_samples, n_features).
MatrixLike: TypeAlias = Any

#: What :func:`sklearn.utils.check_random_state` takes.
RandomStateLike: TypeAlias = int | np.random.RandomState | None

#: A Generator, too, where numbers are drawn once and nothing has to repeat scikit-learn's.
SamplerLike: TypeAlias = RandomStateLike | np.random.Generator
