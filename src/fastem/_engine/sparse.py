"""The one door for sparse input: its indices are checked, then it is brought to one form.

SciPy trusts the arrays of a sparse matrix: it checks them neither when they are changed by hand nor
when they come from a file, and its conversions write wherever the indices point. So everything is
checked here before anything sorts, sums or converts.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from fastem._engine.arrays import validate

__all__ = ["canonical_csr", "refuse_corpus", "validate_sparse"]

_MOST_INT32 = np.iinfo(np.int32).max


def validate_sparse(estimator, X, **settings):
    """Return X, dense or CSR in the form of :func:`canonical_csr`, for an estimator.

    `settings` are those of :func:`sklearn.utils.validation.validate_data`.
    """
    refuse_corpus(X)
    given, X = X, canonical_csr(X)
    reset, dtype = settings.get("reset", True), settings.get("dtype")
    if sp.issparse(X) and not reset and _is_plain(estimator, X, dtype):
        return X
    with np.errstate(invalid="ignore"):  # scikit-learn's sum of huge values of both signs
        X = validate(estimator, X, accept_sparse="csr", **settings)
    # A DataFrame of sparse columns only becomes sparse within.
    return X if sp.issparse(given) else canonical_csr(X)


def _is_plain(estimator, X, dtype):
    """Return whether a fitted estimator reads X as it is, by which it asks nothing further.

    To find that out as scikit-learn does takes longer than to read some documents.
    """
    known, dtypes = vars(estimator), dtype if isinstance(dtype, (list, tuple)) else [dtype]
    if "feature_names_in_" in known or X.shape[1] != known.get("n_features_in_"):
        return False
    if X.shape[0] == 0 or X.dtype not in dtypes:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(np.add.reduce(X.data))


def canonical_csr(X):
    """Return a sparse X as CSR in one form; anything else as it is.

    In this form the columns of each row rise, none occurs twice, no 0 is stored, and the arrays are
    contiguous, aligned and no longer than need be. Both index arrays are int32, or int64 where one
    of them must be. X is never changed; the arrays that have this form already are not copied.

    Parameters
    ----------
    X : sparse matrix or array of any format, or anything else

    Returns
    -------
    X : csr_matrix or csr_array, as X was
        Of X's dtype; integers as float64, in which sums of repeated entries do not overflow.

    Raises
    ------
    ValueError
        If the indices lie outside the matrix, or its arrays do not fit each other.
    """
    if not sp.issparse(X) or X.ndim != 2:
        return X  # the caller refuses other dimensions in scikit-learn's words
    X = _READERS[X.format](X)
    if X.format != "csr":
        X = X.tocsr()  # SciPy chooses the type of the indices
        X = _csr(X, X.data, X.indices, X.indptr)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    if not X.data.all():
        there = X.data != 0
        before = np.concatenate([[0], np.cumsum(there)])
        X = _csr(X, X.data[there], X.indices[there], before[X.indptr])
    return X


def refuse_corpus(X):
    """Raise ValueError if X is a gensim corpus: an iterable of lists of (word, count)."""
    if hasattr(X, "shape") or hasattr(X, "__array__") or not hasattr(X, "__len__"):
        return
    for document in X:
        if not isinstance(document, list | tuple):
            return
        if len(document):
            pair = document[0]
            if isinstance(pair, tuple) and len(pair) == 2:
                break
            return
    else:
        return
    raise ValueError(
        "X must be a matrix, got an iterable of documents that are lists of (word, count), as "
        "gensim has them: pass gensim.matutils.corpus2csc(X, num_terms=len(dictionary)).T"
    )


# ---- what each format must satisfy -----------------------------------------------------------
# Each reader checks the arrays of X and returns a new matrix around them, whose cached flags
# (sorted, canonical) cannot be out of date.


def _read_csr(X):
    data, indices, indptr = _compressed(X, X.shape)
    return _csr(X, data, indices, indptr)


def _read_csc(X):
    data, indices, indptr = _compressed(X, X.shape[::-1])
    turned = _csr(X, data, indices, indptr, X.shape[::-1])
    return turned.T  # the transpose of CSR is CSC


def _read_bsr(X):
    data = np.asarray(X.data)
    if data.ndim != 3 or min(data.shape[1:]) < 1:
        _refuse(X, f"data must be of shape (n_blocks, rows, columns), got {data.shape}")
    if X.shape[0] % data.shape[1] or X.shape[1] % data.shape[2]:
        _refuse(X, f"blocks of shape {data.shape[1:]} do not divide shape {X.shape}")
    blocks = X.shape[0] // data.shape[1], X.shape[1] // data.shape[2]
    data, indices, indptr = _compressed(X, blocks)
    index = _index_dtype(data.size, X.shape)
    arrays = data, indices.astype(index, copy=False), indptr.astype(index, copy=False)
    return _class(X, "bsr")(arrays, shape=X.shape)


def _read_coo(X):
    row, column, data = _vector(X, "row"), _vector(X, "col"), np.asarray(X.data)
    if data.ndim != 1 or not len(row) == len(column) == len(data):
        _refuse(
            X,
            f"row, col and data must be of one length, got {len(row)}, {len(column)} and "
            f"{data.shape}",
        )
    _check_range(X, "row", row, X.shape[0])
    _check_range(X, "col", column, X.shape[1])
    index = _index_dtype(len(data), X.shape)
    places = row.astype(index, copy=False), column.astype(index, copy=False)
    return _class(X, "coo")((_summable(data), places), shape=X.shape)


def _read_dia(X):
    data, offsets = np.asarray(X.data), _vector(X, "offsets")
    if data.ndim != 2 or len(offsets) != len(data):
        _refuse(X, f"data of shape {data.shape} must have a row for each of {len(offsets)} offsets")
    if len(np.unique(offsets)) < len(offsets):
        _refuse(X, "offsets must differ")
    # As entries: SciPy's conversion divides by the length of the diagonals, and walks their whole
    # length even where they lie outside the matrix. Entry (i, j) is data[j - i, j].
    inside = (offsets > -X.shape[0]) & (offsets < X.shape[1])
    data = data[inside, : X.shape[1]]
    column = np.arange(data.shape[1])
    row = column - offsets[inside].astype(np.int64)[:, None]
    there = (row >= 0) & (row < X.shape[0]) & (data != 0)
    places = row[there], np.broadcast_to(column, row.shape)[there]
    return _class(X, "coo")((_summable(data[there]), places), shape=X.shape)


def _read_lil(X):
    rows, data = np.asarray(X.rows), np.asarray(X.data)
    lengths = [len(row) for row in rows.flat]
    if not (len(lengths) == data.size == X.shape[0]):
        _refuse(X, f"rows and data must have {X.shape[0]} lists, got {len(lengths)}, {data.size}")
    if lengths != [len(values) for values in data.flat]:
        _refuse(X, "each list of rows must be as long as that of data")
    column = [j for row in rows.flat for j in row]
    values = [value for row in data.flat for value in row]
    row = np.repeat(np.arange(X.shape[0]), lengths)
    return _entries(X, row, column, values)


def _read_dok(X):
    places = np.array(list(X.keys()), dtype=np.int64).reshape(-1, 2)
    return _entries(X, places[:, 0], places[:, 1], list(X.values()))


_READERS = {
    "csr": _read_csr,
    "csc": _read_csc,
    "bsr": _read_bsr,
    "coo": _read_coo,
    "dia": _read_dia,
    "lil": _read_lil,
    "dok": _read_dok,
}


def _entries(X, row, column, values):
    """Return a COO matrix like X of lists of entries, checked."""
    column = np.asarray(column) if len(column) else np.zeros(0, np.int64)
    if column.dtype.kind not in "iu":
        _refuse(X, f"indices must be integers, got {column.dtype}")
    _check_range(X, "row", row, X.shape[0])
    _check_range(X, "col", column, X.shape[1])
    data = _summable(np.array(values, dtype=X.dtype))
    return _class(X, "coo")((data, (row, column.astype(np.int64))), shape=X.shape)


def _compressed(X, shape):
    """Return (data, indices, indptr) of CSR, CSC or BSR, checked and cut to length.

    `shape` is the number of rows and columns of CSR, of columns and rows of CSC, of blocks of BSR.
    """
    data, indices, indptr = np.asarray(X.data), _vector(X, "indices"), _vector(X, "indptr")
    if X.format != "bsr" and data.ndim != 1:
        _refuse(X, f"data must have one dimension, got shape {data.shape}")
    if len(indptr) != shape[0] + 1:
        _refuse(X, f"indptr must have {shape[0] + 1} entries, got {len(indptr)}")
    if indptr[0] != 0:
        _refuse(X, f"indptr must begin with 0, got {indptr[0]}")
    falls = indptr[1:] < indptr[:-1]
    if falls.any():
        place = int(falls.argmax())
        _refuse(X, f"indptr must not fall, got {indptr[place]}, {indptr[place + 1]} at {place}")
    n = int(indptr[-1])
    for name, array in ("indices", indices), ("data", data):
        if n > len(array):
            _refuse(X, f"indptr ends with {n}, but {name} has {len(array)} entries")
    data, indices = data[:n], indices[:n]
    _check_range(X, "indices", indices, shape[1])
    return _summable(data), indices, indptr


def _vector(X, name):
    """Return a one-dimensional array of integers of X."""
    array = np.asarray(getattr(X, name))
    if array.ndim != 1 or array.dtype.kind not in "iu":
        _refuse(X, f"{name} must be a vector of integers, got {array.dtype} of shape {array.shape}")
    return array


def _check_range(X, name, indices, n):
    """Raise ValueError unless all indices are in [0, n)."""
    if len(indices) == 0:
        return
    lowest, highest = int(indices.min()), int(indices.max())
    if lowest < 0 or highest >= n:
        bad = lowest if lowest < 0 else highest
        place = int(indices.argmin() if lowest < 0 else indices.argmax())
        _refuse(X, f"{name}[{place}] must be in [0, {n}), got {bad}")


def _refuse(X, reason):
    raise ValueError(
        f"X is not a valid {X.format.upper()} matrix of shape {X.shape}: {reason}. Its arrays were "
        "changed by hand, or its file is damaged: build it again"
    )


# ---- making matrices -------------------------------------------------------------------------


def _summable(data):
    """Return data, contiguous and aligned, in a type whose sums do not overflow."""
    # bool stays: there True and True are True, as X.toarray() has it. SciPy sums no float16.
    if data.dtype.kind not in "fcb" or data.dtype == np.float16 or not data.dtype.isnative:
        wide = data.dtype.newbyteorder("=") if data.dtype.kind in "fc" else np.dtype(np.float64)
        data = data.astype(np.float64 if wide == np.float16 else wide)
    return np.require(data, requirements=["C", "A"])


def _csr(like, data, indices, indptr, shape=None):
    """Return CSR of checked arrays: their own memory wherever it can be."""
    shape = like.shape if shape is None else shape
    index = _index_dtype(len(data), shape)
    arrays = [
        np.require(array.astype(index, copy=False), requirements=["C", "A"])
        for array in (indices, indptr)
    ]
    return _class(like, "csr")((data, *arrays), shape=shape)


def _index_dtype(n_stored, shape):
    return np.int32 if max(n_stored, *shape) <= _MOST_INT32 else np.int64


def _class(X, form):
    """Return SciPy's class of that format: of arrays if X is one, else of matrices."""
    return getattr(sp, f"{form}_{'array' if isinstance(X, sp.sparray) else 'matrix'}")
