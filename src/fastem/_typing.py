"""Types that signatures have in common.

What scikit-learn's `sklearn.utils.validation` takes for an array is wider than any static type:
arrays, lists, sparse matrices of SciPy in two classes, data frames of several libraries.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

if TYPE_CHECKING:
    from fastem._engine.checkpoints import Checkpoint

__all__ = ["CheckpointLike", "MatrixLike", "RandomStateLike", "SamplerLike"]

#: An array, a sparse matrix or a data frame of shape (n_samples, n_features).
MatrixLike: TypeAlias = Any

#: What :func:`sklearn.utils.check_random_state` takes.
RandomStateLike: TypeAlias = int | np.random.RandomState | None

#: A Generator, too, where numbers are drawn once and nothing has to repeat scikit-learn's.
SamplerLike: TypeAlias = RandomStateLike | np.random.Generator

#: What `checkpoint` of a fit may be: where it is written to.
CheckpointLike: TypeAlias = Union["Checkpoint", str, "os.PathLike[str]", None]
