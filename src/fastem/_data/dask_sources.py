"""Dask collections as the estimators fit to them: the rows stay on the workers.

Here are only parameters, sums, and lists of tasks.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastem._data.survey import NO_ROWS, Reader, Survey, add_looks, made, named, survey_of
from fastem._engine.blocks import Blocks
from fastem._engine.dask import DaskExecutor, Placed
from fastem._engine.statistics import Statistics
from fastem._engine.tree import tree_sum

__all__ = [
    "DaskSource",
    "applied",
    "executor_of",
    "lazy_score",
    "local_blocks",
    "parts_of",
    "score_sums",
]


# ---- collections as blocks ---------------------------------------------------------------------


def parts_of(X: Any, sample_weight: Any = None) -> list[Any]:
    """Return the blocks of a Dask array, data frame or bag of blocks, as delayed objects.

    Raises
    ------
    TypeError
        For another collection, or for weights that are no Dask collection.
    ValueError
        If the weights are cut otherwise than the rows.
    """
    from dask import delayed

    parts = _blocks(X)
    if sample_weight is None:
        return parts
    if isinstance(sample_weight, np.ndarray) and hasattr(X, "chunks"):
        import dask.array

        sample_weight = dask.array.from_array(sample_weight, chunks=(X.chunks[0],))
    if not hasattr(sample_weight, "to_delayed"):
        raise TypeError(
            "sample_weight must be a Dask array or series, cut as X is, got "
            f"{type(sample_weight).__name__}"
        )
    weights = np.ravel(sample_weight.to_delayed()).tolist()
    if len(weights) != len(parts):
        raise ValueError(
            f"sample_weight must be cut as X is, in {len(parts)} blocks, got {len(weights)}: "
            "rechunk it"
        )
    return [delayed(_pair)(*pair) for pair in zip(parts, weights, strict=True)]


def _blocks(X):
    from dask import delayed

    if hasattr(X, "rechunk"):
        if X.ndim != 2:
            raise ValueError(f"X must be of shape (n_rows, n_features), got {X.ndim} dimensions")
        return np.ravel(_whole_rows(X).to_delayed()).tolist()
    if hasattr(X, "to_delayed") and hasattr(X, "columns"):
        return list(X.to_delayed())
    if hasattr(X, "to_delayed") and hasattr(X, "foldby"):
        return [delayed(_stacked)(part) for part in X.to_delayed()]
    raise TypeError(f"X must be a Dask array, data frame or bag of blocks, got {type(X).__name__}")


def _whole_rows(X):
    """Return a Dask array that is cut between rows alone."""
    return X if X.numblocks[1] == 1 else X.rechunk({1: -1})


def _pair(X, weight):
    return X, np.asarray(weight)


def _stacked(blocks):
    """Return the blocks of one partition of a bag as one block."""
    blocks = list(blocks)
    if not blocks:
        return None
    return sp.vstack(blocks, format="csr") if sp.issparse(blocks[0]) else np.concatenate(blocks)


def local_blocks(X: Any, sample_weight: Any = None) -> Blocks:
    """Return the blocks of a collection, computed here, one at a time: there is no cluster."""
    return Blocks(partial(_computed, parts_of(X, sample_weight)))


def _computed(parts):
    for part in parts:
        yield part.compute()


def executor_of(client: Any) -> DaskExecutor:
    """Return the executor of an estimator's fit, which Dask's configuration says more about."""
    import dask

    allowed = bool(dask.config.get("fastem.mixed-workers", False))
    return DaskExecutor(client, mixed_workers=allowed)


# ---- the source --------------------------------------------------------------------------------


class DaskSource:
    """Blocks that workers hold; what :class:`fastem._data.sources.LocalSource` is for data here.

    Parameters
    ----------
    parts : list of Delayed
    read : Reader
    executor : DaskExecutor
    """

    def __init__(self, parts: list[Any], read: Reader, executor: DaskExecutor) -> None:
        self.read, self.executor = read, executor
        self.groups = executor.place(parts)
        self.lengths: Any = None
        self.layout: Any = None
        self.sample: Any = None  # a future

    def __len__(self) -> int:
        return len(self.lengths)

    def survey(self, look) -> Survey:
        """Return what the first pass finds; set `sample`."""
        executor = self.executor
        looks = executor.map_groups(_look, self.groups, look)
        total = executor.add(looks)
        found = executor.call(_without_sample, total)
        if found is None:
            raise ValueError(NO_ROWS)
        self.sample = executor.map_values(_sample, total)
        self.lengths, self.layout = found.lengths, found.layout
        return survey_of(found)

    def prepared(self, make) -> DaskPrepared:
        """Return the groups of blocks for the driver: ``make(X, sample_weight)`` of each."""
        executor = self.executor
        futures = executor.map_groups(_make, self.groups, self.read, make)
        sizes = executor.sizes_of(futures)
        self.groups = []  # what the blocks were made of is not needed again, unless they are lost
        some = [Placed(future) for future, size in zip(futures, sizes, strict=True) if size]
        return DaskPrepared(some, executor)

    def call(self, function, *args) -> Any:
        """Return ``function(*args)``, made on a worker."""
        return self.executor.call(function, *args)


class DaskPrepared(list):
    """Groups of blocks that are ready for the E-step."""

    def __init__(self, groups, executor):
        super().__init__(groups)
        self.executor = executor

    def sum(self, function, *args) -> Any:
        """Return the sum of ``function(block, *args)`` over all blocks."""
        sums = self.executor.map_groups(_sum, self, function, *args)
        return self.executor.get(self.executor.add(sums))

    def sum_numbered(self, function, *args) -> Any:
        """Return the sum of ``function(number, block, *args)`` over all blocks."""
        sums = self.executor.map_groups(_sum_numbered, self, function, *args)
        return self.executor.get(self.executor.add(sums))


def _look(group, look):
    return add_looks(look(number, block) for number, block in group if block is not None)


def _without_sample(total):
    if total is None:
        return None
    small = copy.copy(vars(total))
    del small["sample"]
    return Statistics(**small)


def _sample(total):
    return total.sample


def _make(group, read, make):
    """Return the blocks of a group that have rows, ready for the E-step."""
    ready = []
    for number, block in group:
        found = None if block is None else read(number, block)
        if found is not None:
            ready.append((number, made(make, number, found)))
    return ready


def _sum(group, function, *args):
    return tree_sum(function(block, *args) for _, block in group)


def _sum_numbered(group, function, *args):
    return tree_sum(function(number, block, *args) for number, block in group)


# ---- reading -----------------------------------------------------------------------------------


def applied(method: Any, estimator: Any, X: Any, args: tuple, settings: dict) -> Any:
    """Return what a method says of a collection, as a collection: nothing is computed yet."""
    function = partial(_apply, method, estimator, args, settings)
    if hasattr(X, "foldby"):
        return X.map(function)
    if not hasattr(X, "rechunk"):
        X = X.to_dask_array() if not _has_names(estimator) else X
    if hasattr(X, "rechunk"):
        X = _whole_rows(X)
        meta = _meta(estimator, method.__name__, X.dtype)
        if meta.ndim == 1:
            return X.map_blocks(function, drop_axis=1, dtype=meta.dtype, meta=meta)
        chunks = (X.chunks[0], (meta.shape[1],))
        return X.map_blocks(function, chunks=chunks, dtype=meta.dtype, meta=meta)
    meta = _meta(estimator, method.__name__, np.dtype(np.float64))
    return X.map_partitions(function, meta=meta)


def _has_names(estimator):
    return hasattr(estimator, "feature_names_in_")


def _apply(method, estimator, args, settings, X):
    """Return what a method says of one block; an empty one has an empty answer."""
    if X.shape[0] == 0:
        return _meta(estimator, method.__name__, getattr(X, "dtype", np.dtype(np.float64)))
    meta = _meta(estimator, method.__name__, getattr(X, "dtype", np.dtype(np.float64)))
    return method(estimator, X, *args, **settings).astype(meta.dtype, copy=False)


def _meta(estimator, name, dtype):
    """Return an empty array of the type and width that a method has for data of a type."""
    if name == "predict":
        labels = np.int32 if hasattr(estimator, "cluster_centers_") else np.int64
        return np.empty(0, labels)
    known = ("cluster_centers_", "means_", "components_", "weights_", "startprob_")
    fitted = next(np.asarray(vars(estimator)[name]) for name in known if name in vars(estimator))
    narrow = dtype == np.float32 and fitted.dtype == np.float32
    shape = (0, len(fitted)) if name in ("transform", "predict_proba") else (0,)
    return np.empty(shape, np.float32 if narrow else np.float64)


def score_sums(estimator: Any, function: Any, X: Any, sample_weight: Any) -> list[Any]:
    """Return ``function(estimator, X, sample_weight)`` of each block that has weight, computed."""
    import dask

    parts = _lazy_scores(estimator, function, X, sample_weight)
    return [one for one in dask.compute(*parts) if one is not None]


def lazy_score(estimator: Any, function: Any, X: Any) -> Any:
    """Return the sum of ``function(estimator, X, None)`` over blocks: nothing is computed yet."""
    import dask

    return dask.delayed(_total)(_lazy_scores(estimator, function, X, None))


def _lazy_scores(estimator, function, X, sample_weight):
    from dask import delayed

    parts = parts_of(X, sample_weight)
    return [delayed(_scored)(function, estimator, *one) for one in enumerate(parts)]


def _total(scores):
    return float(sum(one for one in scores if one is not None))


def _scored(function, estimator, number, block):
    X, weight = block if isinstance(block, tuple) else (block, None)
    if X is None or X.shape[0] == 0 or (weight is not None and not np.any(weight)):
        return None
    with named(number, X, estimator):
        return function(estimator, X, weight)
