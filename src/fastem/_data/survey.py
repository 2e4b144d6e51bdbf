"""What a first pass finds of data in blocks: what must be known of all rows before a fit begins.

With it comes a sample of the rows, on which the start is made.
"""

from __future__ import annotations

import copy
import hashlib
import json
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array

from fastem._engine.arrays import native
from fastem._engine.fingerprints import describe
from fastem._engine.statistics import AddsInPlace, Statistics
from fastem._engine.tree import tree_sum

__all__ = [
    "NO_ROWS",
    "Layout",
    "Lengths",
    "Look",
    "Reader",
    "Sample",
    "Sampling",
    "Survey",
    "add_looks",
    "checked_weight",
    "made",
    "n_rows_of",
    "named",
    "survey_of",
]

_SAMPLED_ROWS = 100_000  # on which starts are made
_SAMPLED_BYTES = 128 << 20  # that a sample of wide rows may take
_LEAST_SAMPLED = 10_000
NO_ROWS = "the blocks have no rows: give at least one block that has some"


class Survey(NamedTuple):
    """What a first pass found of all blocks together."""

    n_features: int
    dtype: np.dtype
    names: np.ndarray | None  # of the features
    n_rows: int
    n_positive: int  # rows of positive weight
    total_weight: float
    weighted: bool  # whether some weight is not 1
    extra: Any  # what the estimator asked for beside
    seen: int  # a digest of some rows of each block

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes that every estimator has."""
        names = {} if self.names is None else {"feature_names_in_": self.names}
        return {"n_features_in_": self.n_features, **names}


class Sample(NamedTuple):
    """Some rows, each as likely as every other, in the order of the data: a sum that adds.

    Each row has a random key, and those with the smallest keys stay. So the sample depends on the
    seed and the blocks, but not on the order in which samples of blocks are added.
    """

    rows: Any  # (m, D)
    weight: np.ndarray  # (m,)
    key: np.ndarray  # (m,)
    size: int  # how many may stay

    @classmethod
    def of(cls, X, weight, seed, number, size):
        """Return the sample of one block."""
        n = X.shape[0]
        key = np.random.default_rng([seed, number]).random(n)
        weight = np.ones(n) if weight is None else weight
        key[weight == 0] += 1  # these come last
        return cls(X, weight, key, size).cut()

    def cut(self):
        """Return the rows that stay."""
        if len(self.key) <= self.size:
            return self
        stay = np.zeros(len(self.key), bool)
        stay[np.argpartition(self.key, self.size)[: self.size]] = True
        return Sample(self.rows[stay], self.weight[stay], self.key[stay], self.size)

    def below(self, key):
        """Return the rows of smaller keys."""
        stay = self.key < key
        return Sample(self.rows[stay], self.weight[stay], self.key[stay], self.size)

    @classmethod
    def joined(cls, samples):
        """Return the sample of all that some samples are of."""
        rows, weights, keys, sizes = zip(*samples, strict=True)
        sparse = sp.issparse(rows[0])
        joined = sp.vstack(rows, format="csr") if sparse else np.concatenate(rows)
        size = max(sizes)
        return cls(joined, np.concatenate(weights), np.concatenate(keys), size).cut()

    def __add__(self, other):
        return Sample.joined([self, other])

    def weight_or_none(self):
        """Return the weights, or None if they are all alike 1."""
        return None if np.all(self.weight == 1) else self.weight


class Sampling:
    """Joins samples of blocks one after another, in the memory of two."""

    def __init__(self):
        self.some, self.n_rows, self.highest = [], 0, np.inf

    def add(self, sample):
        """Add the sample of the next block."""
        sample = sample.below(self.highest)
        self.some.append(sample)
        self.n_rows += len(sample.key)
        if self.n_rows > 2 * sample.size:
            self.join()

    def join(self):
        """Return the sample of all blocks so far."""
        joined = Sample.joined(self.some)
        self.some, self.n_rows = [joined], len(joined.key)
        if self.n_rows == joined.size:
            self.highest = joined.key.max()
        return joined


class Read(NamedTuple):
    """A block as a door has read it."""

    X: Any  # (n, D)
    weight: np.ndarray | None  # (n,) of the rows
    names: tuple[str, ...] | None  # of the features
    rest: tuple[Any, ...] = ()  # what else belongs to the block


class Layout(NamedTuple):
    """What must be the same in all blocks; a sum that says so where it is not."""

    block: int
    n_features: int
    dtype: np.dtype
    sparse: bool
    names: Any  # None or a tuple

    def __add__(self, other):
        for what, mine, others in (
            ("features", self.n_features, other.n_features),
            ("dtype", self.dtype, other.dtype),
            ("sparsity", self.sparse, other.sparse),
            ("feature names", self.names, other.names),
        ):
            if mine != others:
                raise ValueError(
                    f"blocks must be alike: {what} {mine} in block {self.block}, but {others} in "
                    f"block {other.block}"
                )
        return self


class Lengths(AddsInPlace, dict):
    """Numbers of rows by block: a sum that adds."""

    def __add__(self, other):
        return Lengths(self | other)

    def add(self, other):
        """Add other lengths to these, in place."""
        self.update(other)


class Look:
    """What the first pass does with each block; it can be pickled.

    Parameters
    ----------
    read : Reader
    extra : callable or None
        ``extra(X, sample_weight)``, a sum that the estimator needs of all rows.
    seed : int
        Of the sample.
    least : int or None
        How many rows the sample must at least have, if there are so many. None: no sample is taken.
    """

    def __init__(self, read, extra, seed, least):
        self.read, self.extra, self.seed, self.least = read, extra, seed, least

    def __call__(self, number, block):
        """Return the sums of a block as it comes; None of an empty one."""
        found = self.read(number, block)
        if found is None:
            return None
        X, weight, names = found[:3]
        n, d = X.shape
        row_bytes = max(1, d * X.dtype.itemsize)
        if sp.issparse(X):
            row_bytes = max(1, 12 * X.nnz // n)
        least = 0 if self.least is None else self.least
        size = max(_LEAST_SAMPLED, least, min(_SAMPLED_ROWS, _SAMPLED_BYTES // row_bytes))
        weighed = weight is not None and bool(np.any(weight != 1))
        return Statistics(
            bound=0.0,
            weight=float(n if weight is None else weight.sum()),
            n_positive=n if weight is None else int(np.count_nonzero(weight)),
            weighted=int(weighed),
            lengths=Lengths({number: n}),
            seen=_digest([number, *found]),
            layout=Layout(number, d, X.dtype, sp.issparse(X), names),
            sample=0 if self.least is None else Sample.of(X, weight, self.seed, number, size),
            extra=self._extra_of(number, X, weight),
        )

    def _extra_of(self, number, X, weight):
        if self.extra is None:
            return 0
        try:
            return self.extra(X, weight)
        except ValueError as error:
            row, error = _first_refused(self.extra, X, weight, error)
            raise type(error)(f"block {number}, row {row}: {error}") from error


def add_looks(looks):
    """Return the sum of what :class:`Look` found of blocks; None if all were empty."""
    looks = (one for one in looks if one is not None)
    first = next(looks, None)
    return None if first is None else tree_sum(chain([first], looks))


def made(make, number, found):
    """Return what a maker makes of a block that was read; some want to know its number."""
    told = (number,) if getattr(make, "numbered", False) else ()
    return make(found.X, found.weight, *found.rest, *told)


def survey_of(total) -> Survey:
    """Return the summed statistics of :class:`Look` as a Survey; complain of what is wrong."""
    if not total.n_positive:
        raise ValueError("sample_weight must have at least one positive weight, got only zeros")
    if not 1e-200 < total.weight < 1e200:
        raise ValueError(
            f"sample_weight must sum to between 1e-200 and 1e200, got {total.weight:.6g}"
        )
    layout = total.layout
    return Survey(
        n_features=layout.n_features,
        dtype=layout.dtype,
        names=None if layout.names is None else np.array(layout.names, dtype=object),
        n_rows=sum(total.lengths.values()),
        n_positive=total.n_positive,
        total_weight=total.weight,
        weighted=bool(total.weighted),
        extra=total.extra,
        seen=total.seen,
    )


class Reader:
    """Reads blocks as an estimator's door reads X: ``estimator._read_block(X)``.

    One whose blocks are no matrices with weights has ``_open_block(block)`` in its place, which
    returns X, the rows' weights, and what else belongs to the block.

    Parameters
    ----------
    estimator : EMEstimator
    positive : bool, default=True
        Whether weights must not be negative.
    """

    def __init__(self, estimator, positive=True):
        # A copy without what a fit left: each block is read as if it were the first.
        self.door = copy.copy(estimator)
        for name in ("n_features_in_", "feature_names_in_"):
            vars(self.door).pop(name, None)
        self.positive = positive

    def __call__(self, number, block):
        """Return a block as it comes as :class:`Read`; None of an empty one."""
        door = copy.copy(self.door)
        if hasattr(door, "_open_block"):
            return self._opened(door, number, block)
        X, weight = block if isinstance(block, tuple) and len(block) == 2 else (block, None)
        with named(number, X, door):
            X = X if hasattr(X, "shape") else np.asarray(X)
            if X.ndim == 2 and X.shape[0] == 0:
                return None
            X = door._read_block(X)
            if weight is not None:
                weight = checked_weight(weight, X.shape[0], self.positive)
        return Read(X, native(weight), _names_of(door))

    def _opened(self, door, number, block):
        rows = block[0] if isinstance(block, tuple) else block
        if n_rows_of(rows) == 0:
            return None
        with named(number, rows, door):
            X, weight, *rest = door._open_block(block)
        return Read(X, weight, _names_of(door), tuple(rest))


def n_rows_of(X):
    """Return the number of rows, or of sequences in a list."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def _names_of(door):
    names = getattr(door, "feature_names_in_", None)
    return None if names is None else tuple(names)


def checked_weight(weight, n_rows, positive):
    """Return a block's weights as float64; they may all be 0."""
    weight = check_array(
        weight, dtype=np.float64, ensure_2d=False, ensure_min_samples=0, input_name="sample_weight"
    )
    if weight.shape != (n_rows,):
        raise ValueError(
            f"sample_weight must have one weight for each of the {n_rows} rows, got shape "
            f"{weight.shape}"
        )
    if positive and np.any(weight < 0):
        raise ValueError(f"sample_weight must not be negative, got {weight.min():.6g}")
    return weight


def _digest(block):
    """Return an integer that tells a block from another, small enough for a sum of many."""
    text = json.dumps(describe(block)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=5).digest(), "big")


def _first_refused(check, X, weight, error):
    """Return the first row that a check of rows refuses, and its error; by halving."""
    good, bad = 0, X.shape[0]
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            check(X[:middle], None if weight is None else weight[:middle])
            good = middle
        except ValueError as found:
            bad, error = middle, found
    return bad - 1, error


@contextmanager
def named(number, X, estimator):
    """Name the block, and the row that is to blame, in an error that comes of its values."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"block {number}{_at_row(X, estimator, error)}: {error}") from error


def _at_row(X, estimator, error):
    """Return which row has a value that the estimator cannot take, in words, if one has.

    That is one that is no finite number, except for NaN where NaN is a missing value, or else one
    below 0 where X are counts. Of a list of sequences the rows are those of all of them.
    """
    try:
        if isinstance(X, list) and X and all(np.ndim(one) == 2 for one in X):
            X = np.concatenate(X)
        values = X.data if sp.issparse(X) else np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError):
        return ""
    if values.ndim == 0:
        return ""
    # Some of an estimator's algorithms may refuse NaN, though it knows what is missing, and k-means
    # does so in sparse data: then the error speaks of it.
    takes_nan = getattr(estimator, "_takes_nan", getattr(estimator, "_allow_nan", False))
    takes_nan = takes_nan and "contains NaN" not in str(error)
    wrong = np.isinf(values) if takes_nan else ~np.isfinite(values)
    if not wrong.any() and estimator.__sklearn_tags__().input_tags.positive_only:
        wrong = values < 0
    bad = np.flatnonzero(wrong.reshape(len(values), -1).any(axis=1))
    if len(bad) == 0:
        return ""
    row = np.searchsorted(X.tocsr().indptr, bad[0], "right") - 1 if sp.issparse(X) else bad[0]
    return f", row {int(row)}"
