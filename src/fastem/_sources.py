"""Data that come in blocks, as the estimators fit to them: the first pass, and every later one.

An estimator knows a *source*: blocks that are read here one after another, or that workers of a
cluster hold. Its first pass surveys the data (:class:`Survey`): what is known of all rows before a
fit can begin, and a sample of rows on which the start is made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from fastem._engine.arrays import native
from fastem._engine.blocks import Blocks, as_blocks, read_ahead
from fastem._engine.statistics import Statistics
from fastem._engine.tree import tree_sum

__all__ = [
    "LocalSource",
    "Reader",
    "Sample",
    "Survey",
    "by_blocks",
    "pairs",
    "sample_weight_of",
    "source_of",
    "survey",
]

_SAMPLED_ROWS = 100_000  # on which starts are made
_SAMPLED_BYTES = 128 << 20  # that a sample of wide rows may take
_LEAST_SAMPLED = 10_000
NO_ROWS = "the blocks have no rows: give at least one block that has some"
_WEIGHTS_APART = (
    "sample_weight must come with the blocks, as pairs (X, sample_weight): for arrays, "
    "Blocks.from_arrays(X, sample_weight)"
)


# ---- what the first pass finds -----------------------------------------------------------------


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
        together = sp.vstack if sp.issparse(rows[0]) else np.concatenate
        size = max(sizes)
        return cls(together(rows), np.concatenate(weights), np.concatenate(keys), size).cut()

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


class Lengths(dict):
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
    least : int
        How many rows the sample must at least have, if there are so many.
    """

    def __init__(self, read, extra, seed, least):
        self.read, self.extra, self.seed, self.least = read, extra, seed, least

    def __call__(self, number, block):
        """Return the sums of a block as it comes; None of an empty one."""
        found = self.read(number, block)
        if found is None:
            return None
        X, weight, names = found
        n, d = X.shape
        row_bytes = max(1, d * X.dtype.itemsize)
        if sp.issparse(X):
            row_bytes = max(1, 12 * X.nnz // n)
        size = max(_LEAST_SAMPLED, self.least, min(_SAMPLED_ROWS, _SAMPLED_BYTES // row_bytes))
        weighed = weight is not None and bool(np.any(weight != 1))
        return Statistics(
            bound=0.0,
            weight=float(n if weight is None else weight.sum()),
            n_positive=n if weight is None else int(np.count_nonzero(weight)),
            weighted=int(weighed),
            lengths=Lengths({number: n}),
            layout=Layout(number, d, X.dtype, sp.issparse(X), names),
            sample=Sample.of(X, weight, self.seed, number, size),
            extra=0 if self.extra is None else self.extra(X, weight),
        )


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
    )


class Reader:
    """Reads blocks as an estimator's door reads X: ``estimator._read_block(X)``.

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
        """Return (X, sample_weight, feature names) of a block as it comes; None of an empty one."""
        X, weight = block if isinstance(block, tuple) and len(block) == 2 else (block, None)
        door = copy.copy(self.door)
        X = X if hasattr(X, "shape") else np.asarray(X)
        if X.ndim == 2 and X.shape[0] == 0:
            return None
        try:
            X = door._read_block(X)
            if weight is not None:
                weight = _checked_weight(weight, X.shape[0], self.positive)
        except (TypeError, ValueError) as error:
            raise type(error)(f"block {number}{_bad_row(X)}: {error}") from error
        names = getattr(door, "feature_names_in_", None)
        return X, native(weight), None if names is None else tuple(names)


def _checked_weight(weight, n_rows, positive):
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


def _bad_row(X):
    """Return which row has a value that is no finite number, in words, if one has."""
    try:
        values = X.data if sp.issparse(X) else np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError):
        return ""
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if len(bad) == 0:
        return ""
    row = np.searchsorted(X.tocsr().indptr, bad[0], "right") - 1 if sp.issparse(X) else bad[0]
    return f", row {int(row)}"


def survey(source, extra, random_state, least) -> Survey:
    """Make the first pass over a source; its ``sample`` is then there.

    Parameters
    ----------
    source : LocalSource
    extra, least
        See :class:`Look`.
    random_state : int, RandomState or None
        Of the estimator; it is left as it is.
    """
    copied = copy.deepcopy(random_state) if random_state is not None else None
    seed = int(check_random_state(copied).randint(2**31 - 1))
    return source.survey(Look(source.read, extra, seed, least))


# ---- blocks that are read here -----------------------------------------------------------------


class LocalSource:
    """Blocks that are read in this process, one after another.

    Parameters
    ----------
    blocks : Blocks
    read : Reader
    """

    executor: Any = None

    def __init__(self, blocks: Blocks, read: Reader) -> None:
        self.blocks, self.read = blocks, read
        self.lengths: Any = None
        self.layout: Any = None
        self.sample: Any = None

    def survey(self, look) -> Survey:
        """Return what the first pass finds; set `sample`."""
        sampling, layout = Sampling(), None

        def each():
            nonlocal layout
            for number, block in enumerate(read_ahead(self.blocks)):
                found = look(number, block)
                if found is None:
                    continue
                layout = found.layout if layout is None else layout + found.layout
                sampling.add(found.sample)
                del found.sample
                yield found

        found = each()
        first = next(found, None)
        if first is None:
            raise ValueError(NO_ROWS)
        total = tree_sum(chain([first], found))
        total.sample = sampling.join()
        self.sample, self.lengths, self.layout = total.sample, total.lengths, total.layout
        return survey_of(total)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield (X, sample_weight) of each block that has rows; they must be as in the first pass.

        Of other lengths, a fit would go on with statistics of other data and never end.
        """
        seen = set()
        for number, block in enumerate(read_ahead(self.blocks)):
            found = self.read(number, block)
            n = 0 if found is None else found[0].shape[0]
            if n != self.lengths.get(number, 0):
                raise ValueError(
                    _changed(f"block {number} has {n} rows", self.lengths.get(number, 0))
                )
            if found is None:
                continue
            seen.add(number)
            X, weight, names = found
            _ = self.layout + Layout(number, X.shape[1], X.dtype, sp.issparse(X), names)
            yield X, weight
        if len(seen) < len(self.lengths):
            raise ValueError(_changed(f"{len(seen)} blocks have rows", len(self.lengths)))

    def prepared(self, make) -> _Prepared:
        """Return the blocks for the driver: ``make(X, sample_weight)`` of each."""
        return _Prepared(self, make)

    def sum(self, function, *args) -> Any:
        """Return the sum of ``function(block, *args)`` over `(X, sample_weight)` of all blocks."""
        return tree_sum(function(*one, *args) for one in self)

    def call(self, function: Callable[..., Any], *args) -> Any:
        """Return ``function(*args)``, made where the sample is."""
        return function(*args)


class _Prepared:
    """Blocks that are made ready for the E-step as they are read."""

    def __init__(self, source, make):
        self.source, self.make = source, make

    def __len__(self):
        return len(self.source)

    def __iter__(self):
        for X, weight in self.source:
            yield self.make(X, weight)


def _changed(now, before):
    return (
        f"{now} in this pass, but {before} in the first one: the function that Blocks was given "
        "must begin the same blocks anew each time"
    )


# ---- doors -------------------------------------------------------------------------------------


def source_of(estimator, X, sample_weight, *, positive=True) -> Any:
    """Return the source of data that come in blocks; None of data in memory."""
    blocks = as_blocks(X)
    if blocks is None:
        return None
    if sample_weight is not None:
        raise TypeError(_WEIGHTS_APART)
    return LocalSource(blocks, Reader(estimator, positive))


def sample_weight_of(weight):
    """Return weights, or None if they are all alike 1."""
    return None if weight is None or np.all(weight == 1) else weight


if TYPE_CHECKING:
    _Method = TypeVar("_Method", bound=Callable[..., Any])

    def by_blocks(method: _Method) -> _Method:
        """Tell type checkers that a decorated method has the signature it is written with."""

else:

    def by_blocks(method):
        """Let a method that reads X read blocks, too: it then returns a generator over them."""

        @wraps(method)
        def read(self, X, *args, **settings):
            blocks = as_blocks(X)
            if blocks is None:
                return method(self, X, *args, **settings)
            check_is_fitted(self)
            return _each(method, self, blocks, args, settings)

        return read


def pairs(blocks, sample_weight=None):
    """Yield (X, sample_weight) of each block that has rows of positive weight, as they come."""
    if sample_weight is not None:
        raise TypeError(_WEIGHTS_APART)
    for block in read_ahead(blocks):
        X, weight = block if isinstance(block, tuple) and len(block) == 2 else (block, None)
        if X.shape[0] and (weight is None or np.any(weight)):
            yield X, weight


def _each(method, estimator, blocks, args, settings):
    """Yield what a method returns of each block that has rows."""
    for number, block in enumerate(read_ahead(blocks)):
        X = block[0] if isinstance(block, tuple) and len(block) == 2 else block
        if X.shape[0] == 0:
            continue
        try:
            yield method(estimator, X, *args, **settings)
        except (TypeError, ValueError) as error:
            raise type(error)(f"block {number}{_bad_row(X)}: {error}") from error
