"""Values of consecutive features joined to one code, and samples as lists of terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastem._kernels import discrete as kernel

__all__ = ["Joined", "listed", "real_parts"]

_TABLE_BYTES = 16 << 10  # a table of codes and its sums together fill the first-level cache
_GROUP_BYTES = 4 << 10  # else: what a group of features has of a larger table
_LARGEST_TABLE = 16 << 20  # with more, a sample's terms are listed one by one
_MOST_CODES = 256  # of a group: a byte
_PART_BYTES = 2 << 20


def real_parts(X):
    """Yield (rows, X[rows]) as floating-point numbers: integers some rows at a time."""
    size = len(X) if X.dtype in (np.float32, np.float64) else _PART_BYTES // (8 * X.shape[1])
    for first in range(0, max(1, len(X)), max(1, size)):
        some = slice(first, first + max(1, size))
        yield some, X[some] if X.dtype in (np.float32, np.float64) else X[some].astype(np.float64)


class Joined:
    """How values of consecutive features are joined to codes, digits of mixed radix."""

    def __init__(self, levels, missing, limit):
        self.levels, radix = levels, levels + missing
        group, stride = [], []
        sizes: list[int] = []
        for r in radix.tolist():
            if not sizes or sizes[-1] * r > limit:
                sizes.append(1)
            group.append(len(sizes) - 1)
            stride.append(sizes[-1])
            sizes[-1] *= r
        self.group, self.stride = np.array(group, np.int32), np.array(stride, np.int32)
        self.radix, self.sizes = radix, np.array(sizes)
        self.first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        self.terms: Any = None
        self.constant: Any = None
        self.same = False  # whether codes are terms

    @classmethod
    def of(cls, contents, n_components):
        """Return the codes that suit the data, or None where the table would be large."""
        levels, missing = contents.highest.astype(np.int64) + 1, contents.missing
        if not contents.whole.all() or (levels + missing).max() > _MOST_CODES:
            return None
        row = 8 * kernel.width(n_components)
        if row * (levels + missing).sum() > _LARGEST_TABLE:
            return None
        # Larger groups of features need fewer additions, as long as the table stays in the cache.
        limit = _MOST_CODES
        joined = cls(levels, missing, limit)
        while row * joined.first[-1] > _TABLE_BYTES and row * limit > _GROUP_BYTES:
            limit //= 2
            joined = cls(levels, missing, limit)
        return joined

    def with_terms(self, family):
        """Return the codes with what they are in a family's terms, (n_rows, n_terms)."""
        lengths = self.sizes[self.group]
        feature = np.repeat(np.arange(len(self.group)), lengths)
        code = np.arange(len(feature)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        digit = code // self.stride[feature] % self.radix[feature]
        value = np.where(digit < self.levels[feature], digit, np.nan)
        constant, parts = family.cells(feature, value)
        row = self.first[self.group[feature]] + code
        shape = int(self.first[-1]), family.n_terms
        self.same = shape == (len(row),) * 2 and len(parts) == 1 and _is_identity(row, *parts[0])
        self.same = self.same and not constant.any()
        if not self.same:
            self.constant = np.bincount(row, weights=constant, minlength=shape[0])[:, None]
            self.terms = _csr([(row, *part) for part in parts], shape)
        return self

    def table(self, weights):
        """Return what each code adds to the log-probabilities, from what each term does."""
        return weights if self.same else self.terms @ weights + self.constant

    def terms_of(self, sums):
        """Return sums of terms from those of codes."""
        return sums.copy() if self.same else self.terms.T @ sums

    def of_rows(self, X):
        """Return the codes (n, G) of the samples, from 0 for each group."""
        codes = np.empty((len(X), len(self.sizes)), dtype=np.uint8)
        levels = self.levels.astype(np.int32)
        for some, rows in real_parts(X):
            kernel.encode(rows, self.group, self.stride, levels, codes[some])
        return codes


def _is_identity(row, column, value):
    """Return whether triples are those of an identity matrix in their order."""
    return bool(np.array_equal(row, column) and np.all(value == 1) and np.all(np.diff(row) == 1))


def _csr(parts, shape):
    """Return the CSR array of (row, column, value) triples, those of value 0 left out."""
    row, column, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    there = value != 0
    return sp.csr_array((value[there], (row[there], column[there])), shape=shape)


def listed(family, X):
    """Return (begin, index, value) of the terms of X, dense or CSR, and each row's constant."""
    n = X.shape[0]
    size = X.nnz if sp.issparse(X) else X.size
    step = max(1, _PART_BYTES * n // (8 * max(1, size)))
    parts = [_some_terms(family, X[first : first + step]) for first in range(0, n, step)]
    lengths, *lists = zip(*parts, strict=True)
    parts.clear()  # so that each list can be freed as soon as its arrays are joined
    begin = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    index, value, offset = (_joined(lists) for _ in range(3))
    return (begin, index, value), offset


def _joined(lists):
    """Take the first list away, and return its arrays joined; they can then be freed."""
    return np.concatenate(lists.pop(0))


def _some_terms(family, X):
    """Return, for a few rows, how many terms each has, their indices and values, and constants."""
    if sp.issparse(X):
        row, feature = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), X.indices
        value = X.data
    elif family.lists_zeros:
        row, feature = (a.reshape(-1) for a in np.indices(X.shape))
        value = X.reshape(-1)
    else:
        row, feature = np.nonzero(X)
        value = X[row, feature]
    constant, parts = family.cells(feature, value.astype(np.float64))
    # Without any entry np.bincount returns integers.
    offset = np.bincount(row, weights=constant, minlength=X.shape[0]).astype(np.float64, copy=False)
    terms = _csr([(row, *part) for part in parts], (X.shape[0], family.n_terms))
    return np.diff(terms.indptr), terms.indices.astype(np.int32), terms.data, offset
