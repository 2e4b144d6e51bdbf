"""Sources: data in blocks as estimators fit to them, and the doors through which they come.

An estimator knows a *source*: blocks that are read here one after another, or that workers of a
cluster hold. Its first pass surveys the data; later ones are the driver's.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastem._data import dask_sources
from fastem._data.survey import (
    NO_ROWS,
    Layout,
    Look,
    Read,
    Reader,
    Sampling,
    Survey,
    add_looks,
    made,
    n_rows_of,
    named,
    survey_of,
)
from fastem._engine.blocks import Blocks, as_blocks, read_ahead
from fastem._engine.dask import current_client, is_collection
from fastem._engine.tree import tree_sum

__all__ = [
    "LENGTHS_APART",
    "LocalSource",
    "by_blocks",
    "in_blocks",
    "sample_weight_of",
    "scores",
    "source_of",
    "survey",
]

_WEIGHTS_APART = (
    "sample_weight must come with the blocks, as pairs (X, sample_weight): for arrays, "
    "Blocks.from_arrays(X, sample_weight)"
)

LENGTHS_APART = (
    "lengths must come with the blocks, as (X, lengths) or (X, lengths, sample_weight): pass "
    "lengths=None"
)


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
    found = source.survey(Look(source.read, extra, seed, least))
    if source.keeper is not None:
        source.keeper.blocks = f" {found.seen:x}"
    return found


# ---- blocks that are read here -----------------------------------------------------------------


class LocalSource:
    """Blocks that are read in this process, one after another.

    Parameters
    ----------
    blocks : Blocks
    read : Reader
    """

    executor: Any = None
    keeper: Any = None  # of the fit's checkpoint, which must know the data

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
                if look.least is not None:
                    sampling.add(found.sample)
                del found.sample
                yield found

        total = add_looks(each())
        if total is None:
            raise ValueError(NO_ROWS)
        total.sample = None if look.least is None else sampling.join()
        self.sample, self.lengths, self.layout = total.sample, total.lengths, total.layout
        return survey_of(total)

    def __len__(self) -> int:
        return len(self.lengths)

    def numbered(self) -> Iterator[tuple[int, Read]]:
        """Yield the number of each block that has rows, and the block, as in the first pass.

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
            X, _, names = found[:3]
            _ = self.layout + Layout(number, X.shape[1], X.dtype, sp.issparse(X), names)
            yield number, found
        if len(seen) < len(self.lengths):
            raise ValueError(_changed(f"{len(seen)} blocks have rows", len(self.lengths)))

    def prepared(self, make) -> _Prepared:
        """Return the blocks for the driver: ``make(X, sample_weight)`` of each."""
        return _Prepared(self, make)

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
        for number, found in self.source.numbered():
            yield made(self.make, number, found)

    def sum(self, function, *args) -> Any:
        """Return the sum of ``function(block, *args)`` over all blocks."""
        return tree_sum(function(block, *args) for block in self)

    def sum_numbered(self, function, *args) -> Any:
        """Return the sum of ``function(number, block, *args)`` over all blocks."""
        return tree_sum(
            function(number, made(self.make, number, found), *args)
            for number, found in self.source.numbered()
        )


def _changed(now, before):
    return (
        f"{now} in this pass, but {before} in the first one: the function that Blocks was given "
        "must start the same blocks again each time"
    )


# ---- doors -------------------------------------------------------------------------------------


def source_of(estimator, X, sample_weight, *, positive=True) -> Any:
    """Return the source of data that come in blocks; None of data in memory."""
    source = _source_of(estimator, X, sample_weight, positive)
    if source is not None:
        source.keeper = vars(estimator).get("_keeper")
    return source


def _source_of(estimator, X, sample_weight, positive):
    if is_collection(X):
        client, read = current_client(), Reader(estimator, positive)
        if client is None:
            return LocalSource(dask_sources.local_blocks(X, sample_weight), read)
        parts = dask_sources.parts_of(X, sample_weight)
        return dask_sources.DaskSource(parts, read, dask_sources.executor_of(client))
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
            if isinstance(X, np.ndarray):
                return method(self, X, *args, **settings)
            blocks = as_blocks(X)
            if blocks is None and not is_collection(X):
                return method(self, X, *args, **settings)
            check_is_fitted(self)
            given = inspect.signature(method).bind(self, X, *args, **settings).arguments
            if given.get("lengths") is not None:
                raise TypeError(LENGTHS_APART)
            if blocks is None:
                return dask_sources.applied(method, self, X, args, settings)
            return _each(method, self, blocks, args, settings)

        return read


def in_blocks(X) -> bool:
    """Return whether X comes in blocks, here or on workers."""
    return as_blocks(X) is not None or is_collection(X)


def scores(estimator, function, X, sample_weight):
    """Return what a function gives of each block of positive weight; None for data in memory.

    It is called with the estimator, X and its weights, or the lengths of its sequences or
    documents. An error names the block.

    Of a Dask collection the workers compute them.
    """
    if is_collection(X):
        check_is_fitted(estimator)
        return dask_sources.score_sums(estimator, function, X, sample_weight)
    blocks = as_blocks(X)
    if blocks is None:
        return None
    check_is_fitted(estimator)
    if sample_weight is not None:
        raise TypeError(_WEIGHTS_APART)
    found = []
    for number, block in enumerate(read_ahead(blocks)):
        X, weight, *_ = (*block, None) if isinstance(block, tuple) else (block, None)
        if n_rows_of(X) and (weight is None or np.any(weight)):
            with named(number, X, estimator):
                found.append(function(estimator, X, weight))
    return found


def _each(method, estimator, blocks, args, settings):
    """Yield what a method returns of each block that has rows."""
    follow = getattr(estimator, "_lengths_follow", False)  # a block is (X, lengths)
    for number, block in enumerate(read_ahead(blocks)):
        X, *rest = block if isinstance(block, tuple) else (block,)
        if n_rows_of(X) == 0:
            continue
        with named(number, X, estimator):
            found = method(estimator, X, *(rest[:1] if follow else ()), *args, **settings)
        yield found
