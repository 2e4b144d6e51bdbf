"""Discrete samples as the kernel reads them, and what each feature holds.

A family's log-probabilities are linear in the terms of a sample, and so a sample could list its
terms (:class:`Lists`). Where values are small integers, as they mostly are, there are faster ways:
bits of binary data, bytes of counts, codes of categories.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln

from fastem._kernels import discrete as kernel
from fastem.components.joined import Joined, listed, real_parts

__all__ = ["FEW_ROWS", "Bits", "CodedBlock", "Codes", "Contents", "Counts", "Lists"]

FEW_ROWS = 64  # for so few rows it is faster to write the terms out than to make a table
_PART_BYTES = 2 << 20  # size of the responsibilities that are made at a time


class Contents(NamedTuple):
    """What each feature holds."""

    lowest: np.ndarray  # (D,) at most 0; NaN is left out
    highest: np.ndarray  # (D,) at least 0
    whole: np.ndarray  # (D,) whether all values are integers
    missing: np.ndarray  # (D,) whether some are NaN
    observed: np.ndarray  # (D,) whether some are not, in rows of positive weight
    bits: Any = None  # ones and known values of binary data, (n, ceil(D / 32)) uint32 both

    @classmethod
    def of(cls, X, sample_weight=None, binary=False, n_threads=1):
        """Look through X, dense or CSR; `binary` data are also packed."""
        if binary:
            bits = _packed(X, n_threads)
            if bits is not None:
                ones, known = bits
                return cls._of_bits(ones, known, X.shape[1], sample_weight)
        if not sp.issparse(X):
            return cls._of_dense(X, sample_weight, n_threads)
        n, d = X.shape
        missing = np.isnan(X.data)
        lowest, highest = np.zeros(d), np.zeros(d)
        np.fmin.at(lowest, X.indices, X.data)
        np.fmax.at(highest, X.indices, X.data)
        positive = np.ones(n) if sample_weight is None else sample_weight > 0
        lost = np.repeat(positive, np.diff(X.indptr))[missing]
        observed = positive.sum() > np.bincount(X.indices[missing], weights=lost, minlength=d)
        whole = np.ones(d, dtype=bool)
        whole[X.indices[~missing & (X.data != np.floor(X.data))]] = False
        some = np.zeros(d, dtype=bool)
        some[X.indices[missing]] = True
        return cls(lowest, highest, whole, some, observed)

    @classmethod
    def _of_dense(cls, X, sample_weight, n_threads):
        """Return the contents of dense data."""
        found: Any = None
        for some, rows in real_parts(X):
            weight = None if sample_weight is None else sample_weight[some]
            part = cls(*kernel.inspect(rows, weight, n_threads))
            found = part if found is None else found + part
        return found

    def __add__(self, other):
        return Contents(
            np.minimum(self.lowest, other.lowest),
            np.maximum(self.highest, other.highest),
            self.whole & other.whole,
            self.missing | other.missing,
            self.observed | other.observed,
        )

    @classmethod
    def _of_bits(cls, ones, known, n_features, sample_weight):
        """Return the contents of packed data."""
        highest = _flags(np.bitwise_or.reduce(ones), n_features).astype(float)
        missing = ~_flags(np.bitwise_and.reduce(known), n_features)
        observed = np.ones(n_features, dtype=bool)
        if missing.any():
            there = known if sample_weight is None else known[sample_weight > 0]
            observed = _flags(np.bitwise_or.reduce(there), n_features)
        whole = np.ones(n_features, dtype=bool)
        return cls(np.zeros(n_features), highest, whole, missing, observed, (ones, known))


def _real(X):
    """Return X as floating-point numbers."""
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def _flags(words, n):
    """Return the first n bits of some words as booleans."""
    return np.unpackbits(words.astype("<u4").view(np.uint8), count=n, bitorder="little") > 0


def _packed(X, n_threads=1):
    """Return ones and known values as bits, or None if the data are not binary."""
    if not sp.issparse(X):
        return kernel.pack(_real(X), n_threads)
    missing = np.isnan(X.data)
    if not np.all(missing | (X.data == 0) | (X.data == 1)):
        return None
    n, words = X.shape[0], (X.shape[1] + 31) // 32
    row = np.repeat(np.arange(n), np.diff(X.indptr))
    place = row * words + X.indices // 32
    bit = np.uint32(1) << (X.indices % 32).astype(np.uint32)
    ones = np.zeros(n * words, dtype=np.uint32)
    known = np.full(n * words, 0xFFFFFFFF, dtype=np.uint32)
    # Each bit is there once at most, so that adding sets it.
    np.add.at(ones, place[X.data == 1], bit[X.data == 1])
    np.subtract.at(known, place[missing], bit[missing])
    return ones.reshape(n, words), known.reshape(n, words)


# ---- how samples are stored ------------------------------------------------------------------
# Each has `form`, the kernel's name for it; `n_rows` of the sums; table(family, values), what the
# kernel adds up and what all log-probabilities begin with; terms(family, sums, resp), (n_terms, K);
# and samples(first, last), some of them.


class Lists(NamedTuple):
    """Each sample's terms: their numbers and values; or one code for each sample."""

    begin: np.ndarray | None  # (n + 1,) int64; None: all samples have as many entries
    # int32 rows of the table, end to end; without `begin` (n, entries)
    index: np.ndarray  # type: ignore[assignment]
    value: np.ndarray | None  # float64, or None for ones
    n_rows: int
    codes: Any = None  # what the index are codes of; None: of terms

    @property
    def form(self):
        """What the kernel calls it."""
        return "lists"

    def table(self, family, values, n_threads=1):
        """Return (n_rows, width) and (K,)."""
        table, bias = family.weights(values, n_threads)
        return (table if self.codes is None else self.codes.table(table)), bias

    def terms(self, family, sums, resp):
        """Return sums of terms."""
        if self.codes is None:  # a copy that is as short as it can be
            return sums if sums.flags.owndata or sums.flags.f_contiguous else sums.copy()
        return self.codes.terms_of(sums)

    def samples(self, first, last):
        """Return samples first to last."""
        if self.begin is None:
            return self._replace(index=self.index[first:last])
        begin = self.begin[first : last + 1]
        there = slice(begin[0], begin[-1])
        value = None if self.value is None else self.value[there]
        return self._replace(begin=begin - begin[0], index=self.index[there], value=value)


class Codes(NamedTuple):
    """A byte for each group of features: what its values are together."""

    codes: np.ndarray  # (n, G) uint8
    first: np.ndarray  # (G + 1,) int32 rows of the table where groups begin
    joined: Joined

    @property
    def form(self):
        """What the kernel calls it."""
        return "codes"

    @property
    def n_rows(self):
        """Number of rows of the table."""
        return int(self.first[-1])

    def table(self, family, values, n_threads=1):
        """Return (n_rows, width) and (K,)."""
        table, bias = family.weights(values, n_threads)
        return self.joined.table(table), bias

    def terms(self, family, sums, resp):
        """Return sums of terms."""
        return self.joined.terms_of(sums)

    def samples(self, first, last):
        """Return samples first to last."""
        return self._replace(codes=self.codes[first:last])


class Bits(NamedTuple):
    """Binary data as bits, by sample and by column: of successes, and of failures where some miss.

    A word of 32 features of which a value is missing somewhere has another word for failures; a
    clear bit of either then says nothing.
    """

    bits: np.ndarray  # (n, W) uint32
    columns: np.ndarray | None  # (n / 32 + 1, C) uint32; None: for reading alone
    n_rows: int  # number of columns C
    failures: np.ndarray  # (D,) the column of a feature's failures, or -1

    @property
    def form(self):
        """What the kernel calls it."""
        return "bits"

    @classmethod
    def of(cls, ones, known, missing, reading=False):
        """Return the bits of packed data."""
        d, words = len(missing), ones.shape[1]
        failures = np.full(d, -1)
        if not missing.any():
            return cls(ones, None if reading else kernel.turned(ones, d), d, failures)
        broken = np.unique(np.flatnonzero(missing) // 32)
        both = np.hstack([ones, (known & ~ones)[:, broken]])
        feature = np.arange(d)
        there = np.isin(feature // 32, broken)
        extra = words + np.searchsorted(broken, feature // 32)
        failures[there] = (32 * extra + feature % 32)[there]
        n_columns = 32 * both.shape[1]
        columns = None if reading else kernel.turned(both, n_columns)
        return cls(both, columns, n_columns, failures)

    def table(self, family, values, n_threads=1):
        """Return the kernel's table and (K,)."""
        weights, bias = family.weights(values, n_threads)
        success, failure = weights[: len(self.failures)], weights[len(self.failures) :]
        if self.n_rows > len(success):
            apart = self.failures >= 0
            wide = np.zeros((2, self.n_rows, weights.shape[1]))
            wide[0, : len(success)] = success
            wide[1, : len(success)] = np.where(apart[:, None], 0, failure)
            wide[0, self.failures[apart]] = failure[apart]
            success, failure = wide
        return kernel.bit_table(success, failure, len(values), n_threads), bias

    def terms(self, family, sums, resp):
        """Return sums of successes and failures."""
        d = len(self.failures)
        terms = np.empty((2 * d, len(resp)))
        terms[:d] = sums[:d]
        np.subtract(resp, sums[:d], out=terms[d:])
        if self.n_rows > d:
            apart = self.failures >= 0
            terms[d:][apart] = sums[self.failures[apart]]
        return terms

    def samples(self, first, last):
        """Return samples first to last."""
        bits = self.bits[first:last]
        return self._replace(bits=bits, columns=kernel.turned(bits, self.n_rows))


class Counts(NamedTuple):
    """All values of all samples, none of which is missing; or all terms of them."""

    values: np.ndarray  # (n, D) uint8 or float64
    written_out: bool  # whether they are terms
    # (D, M) or (1, M): what each value adds to its sample's log-probabilities, of bytes
    constants: np.ndarray | None = None

    @property
    def form(self):
        """What the kernel calls it."""
        return "counts"

    @property
    def n_rows(self):
        """Number of columns."""
        return self.values.shape[1]

    def table(self, family, values, n_threads=1):
        """Return (n_rows, width) and (K,)."""
        table, bias = (
            family.weights(values, n_threads)
            if self.written_out
            else family.linear(values, n_threads)
        )
        return np.maximum(table, kernel.NEVER), bias

    def terms(self, family, sums, resp):
        """Return sums of terms."""
        return sums.copy() if self.written_out else family.terms_of_sums(sums, resp)

    def samples(self, first, last):
        """Return samples first to last."""
        return self._replace(values=self.values[first:last])


class CodedBlock(NamedTuple):
    """Some samples of a family."""

    family: Any
    n_samples: int
    data: Any  # Lists, Codes, Bits or Counts
    offset: np.ndarray | None  # (n,) float64: what is added to each log-probability
    sample_weight: np.ndarray | None  # (n,) float64
    total_weight: float

    @classmethod
    def of(cls, family, X, sample_weight, n_components, contents=None, reading=False, lean=False):
        """Return the block of validated samples, dense or CSR; of `reading` no sums are asked.

        `lean`: what is the same for all components is not kept where bytes tell it.
        """
        contents = Contents.of(X, binary=family.binary) if contents is None else contents
        total = float(X.shape[0] if sample_weight is None else sample_weight.sum())
        data, offset = _stored(family, X, n_components, contents, reading)
        if isinstance(data, Counts) and data.constants is not None and not lean:
            offset, data = (
                kernel.constants(data.values, data.constants),
                data._replace(constants=None),
            )
        if family.given_total:
            totals = np.asarray(X.sum(axis=1, dtype=np.float64)).reshape(-1)
            offset = gammaln(totals + 1) + (0 if offset is None else offset)
        return cls(family, X.shape[0], data, offset, sample_weight, total)

    def job(self, params, n_threads=1):
        """Return the kernel's job for these parameters."""
        data, only = self.data, None
        if isinstance(data, Counts) and not data.written_out:
            only = self.family.only(params.values)
        table, bias = data.table(self.family, params.values, n_threads)
        return kernel.Job(
            data, self.n_samples, len(bias), self.offset, table, bias, params.weights, only
        )

    def term_sums(self, sums, resp):
        """Return sums of terms (n_terms, K) from the kernel's."""
        return self.data.terms(self.family, sums, resp)

    def given(self, responsibilities, sample_weight, n_components, n_threads, first=0):
        """Return total responsibilities (K,) and sums of terms under given responsibilities.

        They are the label of each sample, (n,), -1 for none; or of samples from `first` on (m, K).
        """
        job = kernel.Job(self.data, self.n_samples, n_components)
        resp, sums = kernel.given(job, responsibilities, sample_weight, n_threads, first)
        return resp, self.term_sums(sums, resp)

    def samples(self, first, last):
        """Return the block of samples first to last."""
        weight = None if self.sample_weight is None else self.sample_weight[first:last]
        return self._replace(
            n_samples=last - first,
            data=self.data.samples(first, last),
            offset=None if self.offset is None else self.offset[first:last],
            sample_weight=weight,
            total_weight=float(last - first if weight is None else weight.sum()),
        )

    def parts(self, n_columns):
        """Yield (first, last) of consecutive samples, whose array of so many columns is small."""
        step = max(16, _PART_BYTES // (8 * n_columns))
        for first in range(0, self.n_samples, step):
            yield first, min(first + step, self.n_samples)


def _stored(family, X, n_components, contents, reading):
    """Return the samples as the kernel reads them fastest, and a constant for each, or None.

    It is what its log-probabilities have in common, such as the factorials of its counts.
    """
    sparse, complete = sp.issparse(X), not contents.missing.any()
    # Of a single categorical feature the terms are the codes.
    if not sparse and (X.shape[0] < FEW_ROWS or family.shape[:-1] == (1,)):
        few = family.few(np.ascontiguousarray(X), complete)  # the kernel reads row by row
        if few is not None:
            return few
    if family.binary:
        bits = contents.bits or _packed(X)
        if bits is not None:
            ones, known = bits
            return Bits.of(ones, known, contents.missing, reading), None
    joined = None if sparse else Joined.of(contents, n_components)
    if joined is not None and len(joined.sizes) == 1:
        index = joined.of_rows(X).astype(np.int32)
        return Lists(None, index, None, int(joined.first[-1]), joined.with_terms(family)), None
    if not sparse and complete:
        largest = contents.highest.max() if contents.whole.all() else np.inf
        counts = family.counts(X, largest)
        if counts is not None:
            return counts
    if joined is None:
        (begin, index, value), offset = listed(family, X)
        return Lists(begin, index, value, family.n_terms), offset
    return Codes(joined.of_rows(X), joined.first, joined.with_terms(family)), None
