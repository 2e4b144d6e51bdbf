"""Discrete samples as entries of a table, and what each feature holds.

A family's terms are sparse. Where values are small integers, as they mostly are, a few features
together have few different values: each such combination is a row of a table, and a sample is one
code for each group of features. Otherwise a sample lists its terms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln

from fastem._kernels import discrete as kernel

__all__ = ["CodedBlock", "Contents", "log_of"]

_TABLE_BYTES = 16 << 10  # a table of codes and its sums together fill the first-level cache
_LARGEST_TABLE = 1 << 20  # with more, a sample's terms are listed one by one
_LARGEST_LEVEL = 255
_FEW_ROWS = 64  # for so few rows it is faster to list the terms than to make a table
_PART_BYTES = 2 << 20  # size of the responsibilities that are made at a time


def log_of(probabilities):
    """Return logarithms, -inf of what never occurred."""
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


class Contents(NamedTuple):
    """What each feature holds."""

    lowest: np.ndarray  # (D,) at most 0; NaN is left out
    highest: np.ndarray  # (D,) at least 0
    whole: np.ndarray  # (D,) whether all values are integers
    missing: np.ndarray  # (D,) whether some are NaN
    observed: np.ndarray  # (D,) how many are not, in rows of positive weight

    @classmethod
    def of(cls, X, sample_weight=None):
        """Look through X, dense or CSR."""
        if not sp.issparse(X):
            return cls(*kernel.inspect(np.require(X, requirements="A"), sample_weight))
        n, d = X.shape
        missing = np.isnan(X.data)
        lowest, highest = np.zeros(d), np.zeros(d)
        np.fmin.at(lowest, X.indices, X.data)
        np.fmax.at(highest, X.indices, X.data)
        positive = np.ones(n) if sample_weight is None else sample_weight > 0
        lost = np.repeat(positive, np.diff(X.indptr))[missing]
        observed = positive.sum() - np.bincount(X.indices[missing], weights=lost, minlength=d)
        whole = np.ones(d, dtype=bool)
        whole[X.indices[~missing & (X.data != np.floor(X.data))]] = False
        some = np.zeros(d, dtype=bool)
        some[X.indices[missing]] = True
        return cls(lowest, highest, whole, some, observed)

    def __add__(self, other):
        return Contents(
            np.minimum(self.lowest, other.lowest),
            np.maximum(self.highest, other.highest),
            self.whole & other.whole,
            self.missing | other.missing,
            self.observed + other.observed,
        )


class CodedBlock(NamedTuple):
    """Some samples as entries: rows of a table with one row a code, or one row a term."""

    family: Any
    n_samples: int
    begin: np.ndarray | None  # (n + 1,) int64; None: all samples have as many entries
    rows: np.ndarray  # int32 rows of the table, end to end
    value: np.ndarray | None  # float64, or None for ones
    offset: np.ndarray | None  # (n,) float64: what is added to each log-probability
    terms: sp.csr_array | None  # (n_rows, n_terms) of each code; None: rows are the terms
    constant: np.ndarray | None  # (n_rows,) log-probability of the code beside its terms
    sample_weight: np.ndarray | None  # (n,) float64
    total_weight: float

    @classmethod
    def of(cls, family, X, sample_weight, n_components, contents=None):
        """Return the block of validated samples, dense or CSR."""
        contents = Contents.of(X) if contents is None else contents
        total = float(X.shape[0] if sample_weight is None else sample_weight.sum())
        few = X.shape[0] < _FEW_ROWS
        codes = None if few or sp.issparse(X) else _Codes.of(contents, n_components)
        if codes is not None:
            terms, constant = codes.table(family)
            entries = (None, codes.of_rows(X).reshape(-1), None)
            offset = None
        else:
            entries, offset = _list_terms(family, X)
            terms = constant = None
        if family.given_total:
            totals = np.asarray(X.sum(axis=1, dtype=np.float64)).reshape(-1)
            offset = gammaln(totals + 1) + (0 if offset is None else offset)
        return cls(family, X.shape[0], *entries, offset, terms, constant, sample_weight, total)

    @property
    def n_rows(self):
        """Number of rows of the table."""
        return self.family.n_terms if self.terms is None else self.terms.shape[0]

    def table(self, params):
        """Return what each row of the table adds to the log-probabilities, and what all begin with.

        The shapes are (n_rows, K) and (K,).
        """
        table, bias = self.family.weights(params.values)
        if self.terms is not None and self.constant is not None:
            table = self.terms @ table + self.constant[:, None]
        return table, bias + log_of(params.weights)

    def job(self, params):
        """Return the kernel's job for these parameters."""
        table, bias = self.table(params)
        return kernel.Job(
            self.begin, self.rows, self.value, self.offset, self.n_samples, table, bias
        )

    def term_sums(self, sums):
        """Return sums of terms (n_terms, K) from those of the table's rows."""
        return sums.copy() if self.terms is None else self.terms.T @ sums

    def matrix(self, first=0, last=None):
        """Return the entries of samples first to last as a CSR array (last - first, n_rows)."""
        last = self.n_samples if last is None else last
        if self.begin is None:
            begin = np.linspace(0, len(self.rows), self.n_samples + 1).astype(np.int64)
            begin = begin[first : last + 1]
        else:
            begin = self.begin[first : last + 1]
        there = slice(begin[0], begin[-1])
        rows = self.rows[there]
        ones = np.ones(len(rows)) if self.value is None else self.value[there]
        # If its type were not that of the rows, SciPy would copy both.
        begin = (begin - begin[0]).astype(np.int32 if len(rows) < 2**31 else np.int64)
        return sp.csr_array((ones, rows, begin), shape=(last - first, self.n_rows))

    def sums_by_label(self, labels, weight, n_components):
        """Return the weight (K,) of each label's samples, and sums (n_rows, K) of their entries.

        `labels` are (n,), -1 for samples that do not count.
        """
        sums, resp = np.zeros((self.n_rows, n_components)), np.zeros(n_components)
        for first, last in self.parts(n_components):
            label = labels[first:last]
            row = np.flatnonzero(label >= 0)
            given = np.zeros((last - first, n_components))
            given[row, label[row]] = weight[first + row]
            sums += self.matrix(first, last).T @ given
            resp += given.sum(axis=0)
        return resp, sums

    def samples(self, first, last):
        """Return the block of samples first to last."""
        if self.begin is None:
            width = len(self.rows) // max(1, self.n_samples)
            begin, there = None, slice(first * width, last * width)
        else:
            begin = self.begin[first : last + 1]
            there = slice(begin[0], begin[-1])
            begin = begin - begin[0]
        weight = None if self.sample_weight is None else self.sample_weight[first:last]
        return self._replace(
            n_samples=last - first,
            begin=begin,
            rows=self.rows[there],
            value=None if self.value is None else self.value[there],
            offset=None if self.offset is None else self.offset[first:last],
            sample_weight=weight,
            total_weight=float(last - first if weight is None else weight.sum()),
        )

    def parts(self, n_columns=1):
        """Yield (first, last) of consecutive samples, few enough for their entries to be small."""
        widest = max(n_columns, len(self.rows) // max(1, self.n_samples))
        step = max(16, _PART_BYTES // (8 * widest))
        for first in range(0, self.n_samples, step):
            yield first, min(first + step, self.n_samples)


class _Codes:
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
        self.first = np.concatenate([[0], np.cumsum(sizes)])

    @classmethod
    def of(cls, contents, n_components):
        """Return the codes that suit the data, or None where the table would be large."""
        if not contents.whole.all() or contents.highest.max() > _LARGEST_LEVEL:
            return None
        levels, missing = contents.highest.astype(np.int64) + 1, contents.missing
        row = 8 * kernel.width(n_components)
        if row * (levels + missing).sum() > _LARGEST_TABLE:
            return None
        # Larger groups of features need fewer additions, as long as the table stays in the cache.
        limit = 256
        codes = cls(levels, missing, limit)
        while limit > 1 and row * codes.first[-1] > _TABLE_BYTES:
            limit //= 2
            codes = cls(levels, missing, limit)
        return codes

    def table(self, family):
        """Return the terms (n_rows, n_terms) and the constant (n_rows,) of all codes."""
        lengths = self.sizes[self.group]
        feature = np.repeat(np.arange(len(self.group)), lengths)
        code = np.arange(len(feature)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        digit = code // self.stride[feature] % self.radix[feature]
        value = np.where(digit < self.levels[feature], digit, np.nan)
        constant, parts = family.cells(feature, value)
        row = self.first[self.group[feature]] + code
        shape = self.first[-1], family.n_terms
        constant = np.bincount(row, weights=constant, minlength=shape[0])
        return _csr([(row, *part) for part in parts], shape), constant

    def of_rows(self, X):
        """Return the codes (n, G) of the samples."""
        codes = np.empty((len(X), len(self.sizes)), dtype=np.int32)
        kernel.encode(
            np.require(X, requirements="A"),
            self.group,
            self.stride,
            self.levels.astype(np.int32),
            self.first[:-1].astype(np.int32),
            codes,
        )
        return codes


def _csr(parts, shape):
    """Return the CSR array of (row, column, value) triples, those of value 0 left out."""
    row, column, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    there = value != 0
    return sp.csr_array((value[there], (row[there], column[there])), shape=shape)


def _list_terms(family, X):
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
