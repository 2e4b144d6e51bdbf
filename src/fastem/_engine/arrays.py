"""Arrays as kernels read them: what users pass, made so, and places for results.

Places begin where a line of the cache does, as NumPy's need not. A row of whole vectors then has no
vector in two lines, which would have to be read one after the other: topics are up to a third
faster for it.
"""

import math

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import validate_data

from fastem._kernels import runtime

__all__ = ["copy", "empty", "is_plain", "is_ready", "native", "validate", "zeros"]

_LINE = 64  # bytes


def native(X):
    """Return an array, aligned and in the machine's byte order; anything else as it is."""
    if not isinstance(X, np.ndarray) or X.dtype.hasobject:
        return X
    if X.flags.aligned and X.dtype.isnative:
        return X
    return X.astype(X.dtype.newbyteorder("="))


def validate(estimator, X, **settings):
    """Return X as :func:`sklearn.utils.validation.validate_data` does, but native.

    scikit-learn makes float64 of float32 in another byte order, and leaves unaligned data as they
    are, which C must not read. What needs no work is returned at once: to find that out as
    scikit-learn does takes longer than the answer to a few rows.
    """
    dtype = settings.get("dtype")
    if settings.get("reset", True):
        if is_ready(X, dtype) and len(X) >= settings.get("ensure_min_samples", 1):
            vars(estimator).pop("feature_names_in_", None)
            estimator.n_features_in_ = X.shape[1]
            return X.copy() if settings.get("copy") else X
    elif is_plain(estimator, X, dtype):
        return X
    X = validate_data(estimator, native(X), **settings)
    return X if sp.issparse(X) else native(X)


def is_plain(estimator, X, dtype):
    """Return whether X is what a fitted estimator reads: finite rows of the width that it knows.

    A plain C-contiguous array of one of the dtypes, without names to be compared.
    """
    known = vars(estimator)
    if "feature_names_in_" in known or not is_ready(X, dtype):
        return False
    return X.shape[1] == known.get("n_features_in_")


def is_ready(X, dtype):
    """Return whether X is a plain C-contiguous array of one of the dtypes, of finite rows."""
    if type(X) is not np.ndarray or X.ndim != 2 or X.shape[0] == 0 or X.shape[1] == 0:
        return False
    flags, dtypes = X.flags, dtype if isinstance(dtype, (list, tuple)) else [dtype]
    if not (flags.c_contiguous and flags.aligned and X.dtype.isnative and X.dtype in dtypes):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(np.add.reduce(X, axis=None))


def empty(shape, dtype):
    """Return an uninitialised array."""
    return _begun_at_a_line(np.empty, shape, np.dtype(dtype))


def zeros(shape, dtype):
    """Return an array of zeros."""
    return _begun_at_a_line(np.zeros, shape, np.dtype(dtype))


def copy(array):
    """Return a copy."""
    out = empty(array.shape, array.dtype)
    out[...] = array
    return out


def _begun_at_a_line(make, shape, dtype):
    memory = make(math.prod(shape) * dtype.itemsize + _LINE, np.uint8)
    return np.ndarray(shape, dtype, memory, runtime.bytes_to_line(memory, _LINE))
