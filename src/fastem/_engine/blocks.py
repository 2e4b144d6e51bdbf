"""Data in blocks, read again in every pass: what does not fit into memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from numbers import Integral
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["Blocks", "as_blocks", "read_ahead"]

_BLOCK_BYTES = 16 << 20  # of a block whose number of rows nobody asked for
_LEAST_ROWS = 1024


class Blocks:
    """Data in blocks of rows, which are read again in every pass: they need not fit into memory.

    The estimators take it in place of X. A thread reads the next block while the last one is
    worked on, and no more than these are in memory, beside a sample of the rows for the start.

    Parameters
    ----------
    factory : callable
        Without arguments; returns a new iterator over the blocks each time, always the same blocks.
        A block is X of shape (n_rows, n_features), dense or sparse, as the estimator takes it, or a
        pair (X, sample_weight). Blocks may be of different lengths, also empty.

    Raises
    ------
    TypeError
        If `factory` cannot be called.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Blocks, GaussianMixture
    >>> def read():
    ...     for file in range(3):  # here: files that would be read
    ...         yield np.random.default_rng(file).normal(size=(200, 2)) + 9 * (file % 2)
    >>> mixture = GaussianMixture(2, random_state=0).fit(Blocks(read))
    >>> np.sort(mixture.weights_).round(3)
    array([0.333, 0.667])
    >>> sum(len(labels) for labels in mixture.predict(Blocks(read)))
    600
    """

    def __init__(self, factory: Callable[[], Iterable[Any]]) -> None:
        if isinstance(factory, Iterator):
            raise TypeError(_read_once(factory))
        if not callable(factory):
            raise TypeError(
                f"factory must be a function that returns an iterator over blocks, got "
                f"{type(factory).__name__}: for arrays take Blocks.from_arrays"
            )
        self.factory = factory

    def __repr__(self) -> str:
        return f"Blocks({self.factory!r})"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """Refuse to be an array: methods that do not read blocks say so."""
        raise TypeError(
            "X is Blocks, and this method takes an array: call it with each block that it yields"
        )

    def __iter__(self) -> Iterator[Any]:
        """Begin a pass over the blocks."""
        blocks = self.factory()
        if not isinstance(blocks, Iterable):
            raise TypeError(
                f"the function given to Blocks must return an iterator over blocks, got {blocks!r}"
            )
        return iter(blocks)

    @classmethod
    def from_arrays(
        cls, arrays: Any, sample_weight: Any = None, *, batch_rows: int | None = None
    ) -> Blocks:
        """Cut arrays into blocks, without copying them.

        Parameters
        ----------
        arrays : array, memmap or sparse matrix of shape (n_rows, n_features), or list of these
            Of CSR matrices rows are cut; other formats are converted once.
        sample_weight : array of shape (n_rows,), or list of these, default=None
            Non-negative weights.
        batch_rows : int, default=None
            Rows of a block, at least 1; None: as many as take 16 MB, at least 1024.

        Returns
        -------
        blocks : Blocks

        Raises
        ------
        ValueError
            If `batch_rows` is below 1, or `sample_weight` has another length.

        Examples
        --------
        >>> import numpy as np
        >>> from fastem import Blocks
        >>> [len(block) for block in Blocks.from_arrays(np.zeros((10, 2)), batch_rows=4)]
        [4, 4, 2]
        """
        if not isinstance(arrays, (list, tuple)):
            arrays = [arrays]
            sample_weight = None if sample_weight is None else [sample_weight]
        arrays = [a.tocsr() if sp.issparse(a) else _two_dimensional(a) for a in arrays]
        weights = [None] * len(arrays) if sample_weight is None else list(sample_weight)
        if any(w is not None and np.ndim(w) != 1 for w in weights):
            raise ValueError(
                f"sample_weight must be a list with one array of weights for each of the "
                f"{len(arrays)} arrays: cut it as they are"
            )
        lengths = [None if w is None else len(w) for w in weights]
        expected = [a.shape[0] for a in arrays]
        if sample_weight is not None and lengths != expected:
            raise ValueError(
                f"sample_weight must have one weight for each row, {expected}, got {lengths}"
            )
        _check_rows(batch_rows)
        return cls(partial(_cut_arrays, arrays, weights, batch_rows))

    @classmethod
    def from_npy(
        cls,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        batch_rows: int | None = None,
    ) -> Blocks:
        """Read files that :func:`numpy.save` wrote, some rows at a time.

        Parameters
        ----------
        paths : str, path or list of these
            Files with arrays of shape (n_rows, n_features).
        batch_rows : int, default=None
            Rows of a block, at least 1; None: as many as take 16 MB, at least 1024.

        Returns
        -------
        blocks : Blocks

        Raises
        ------
        ValueError
            If `batch_rows` is below 1, a file is not of two dimensions, or there is none.
        FileNotFoundError
            If a file is not there.
        """
        given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        files = [os.fspath(path) for path in given]
        if not files:
            raise ValueError("paths must have at least one file")
        _check_rows(batch_rows)
        for file in files:
            _two_dimensional(np.load(file, mmap_mode="r"), file)
        return cls(partial(_read_npy, files, batch_rows))

    @classmethod
    def from_parquet(
        cls,
        path: Any,
        columns: Sequence[str] | None = None,
        batch_rows: int = 65_536,
        *,
        sample_weight: str | None = None,
    ) -> Blocks:
        """Read Parquet files, some rows at a time; needs the extra ``fastem[arrow]``.

        Parameters
        ----------
        path : str, path or list of these
            A file, a folder of files, or several files.
        columns : list of str, default=None
            The features, columns of numbers; None: all columns. Null is NaN.
        batch_rows : int, default=65536
            The most rows of a block, at least 1.
        sample_weight : str, default=None
            The column that has the rows' weights.

        Returns
        -------
        blocks : Blocks

        Raises
        ------
        ImportError
            Without pyarrow.
        ValueError
            If a column is not there, or not of numbers.
        """
        return cls.from_dataset(
            _pyarrow_dataset().dataset(path, format="parquet"),
            columns,
            batch_rows,
            sample_weight=sample_weight,
        )

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        columns: Sequence[str] | None = None,
        batch_rows: int = 65_536,
        *,
        sample_weight: str | None = None,
    ) -> Blocks:
        """Read a :class:`pyarrow.dataset.Dataset`, some rows at a time.

        Parameters
        ----------
        dataset : pyarrow.dataset.Dataset
            `fit` takes it as it is, too; its features are then all its columns.
        columns, batch_rows, sample_weight
            See :meth:`from_parquet`.

        Returns
        -------
        blocks : Blocks

        Raises
        ------
        ValueError
            If a column is not there, or not of numbers.
        """
        _check_rows(batch_rows)
        names = list(dataset.schema.names if columns is None else columns)
        features = [name for name in names if name != sample_weight]
        _check_columns(dataset.schema, features, sample_weight)
        return cls(partial(_read_dataset, dataset, features, sample_weight, batch_rows))


def as_blocks(X: Any) -> Blocks | None:
    """Return what is read block by block as Blocks; None for data in memory.

    Raises TypeError for an iterator, which a second pass would find at its end.
    """
    if isinstance(X, np.ndarray):
        return None
    if isinstance(X, Blocks):
        return X
    if "pyarrow.dataset" in sys.modules and isinstance(X, _pyarrow_dataset().Dataset):
        return Blocks.from_dataset(X)
    if isinstance(X, Iterator):
        raise TypeError(_read_once(X))
    return None


def _read_once(iterator: Iterator[Any]) -> str:
    return (
        f"the data must be readable once an iteration, got a {type(iterator).__name__}, which is "
        "at its end after one pass: pass fastem.Blocks(function), with a function that begins a "
        "new iterator each time it is called, such as lambda: (read(path) for path in paths)"
    )


# ---- kinds of data ---------------------------------------------------------------------------


def _two_dimensional(array, name="arrays"):
    array = array if hasattr(array, "shape") else np.asarray(array)
    if len(array.shape) != 2:
        remedy = ": pass np.asarray(arrays) if these are rows" if name == "arrays" else ""
        raise ValueError(
            f"{name} must be of shape (n_rows, n_features), got shape {array.shape}{remedy}"
        )
    return array


def _check_rows(batch_rows):
    if batch_rows is None:
        return
    if not isinstance(batch_rows, Integral) or isinstance(batch_rows, bool):
        raise TypeError(f"batch_rows must be an integer, or None, got {batch_rows!r}")
    if batch_rows < 1:
        raise ValueError(f"batch_rows must be at least 1, got {batch_rows!r}")


def _slices(shape, itemsize, batch_rows):
    """Yield slices of some rows each."""
    if batch_rows is None:
        batch_rows = max(_LEAST_ROWS, _BLOCK_BYTES // max(1, shape[1] * itemsize))
    for begin in range(0, shape[0], batch_rows):
        yield slice(begin, min(begin + batch_rows, shape[0]))


def _cut_arrays(arrays, weights, batch_rows):
    for array, weight in zip(arrays, weights, strict=True):
        width = array.shape[1]
        if sp.issparse(array):  # a stored entry is a value and an index
            width = max(1, round(1.5 * array.nnz / max(1, array.shape[0])))
        itemsize = getattr(array, "dtype", np.dtype(np.float64)).itemsize
        for some in _slices((array.shape[0], width), itemsize, batch_rows):
            block = array.iloc[some] if hasattr(array, "iloc") else array[some]
            yield block if weight is None else (block, weight[some])


def _read_npy(files, batch_rows):
    for file in files:
        mapped = np.load(file, mmap_mode="r")
        shape, dtype = mapped.shape, mapped.dtype
        for some in _slices(shape, dtype.itemsize, batch_rows):
            if mapped.flags.c_contiguous:
                # Read and not mapped: pages that a mapping has touched stay in the process.
                count, offset = (some.stop - some.start) * shape[1], some.start * shape[1]
                flat = np.fromfile(
                    file, dtype, count, offset=mapped.offset + offset * dtype.itemsize
                )
                yield flat.reshape(-1, shape[1])
            else:
                yield np.array(mapped[some])


def _pyarrow_dataset():
    try:
        import pyarrow.dataset
    except ImportError as error:
        raise ImportError(
            "Parquet files and pyarrow's datasets need pyarrow: pip install 'fastem[arrow]'"
        ) from error
    return pyarrow.dataset


def _check_columns(schema, features, sample_weight):
    from pyarrow import types

    for name in [*features, *([] if sample_weight is None else [sample_weight])]:
        if name not in schema.names:
            raise ValueError(f"no column {name!r}: there are {', '.join(map(repr, schema.names))}")
        kind = schema.field(name).type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise ValueError(
                f"column {name!r} must be of numbers, got {kind}: name the features in columns"
            )
    if not features:
        raise ValueError("columns must have at least one feature")


def _read_dataset(dataset, features, sample_weight, batch_rows):
    columns = features if sample_weight is None else [*features, sample_weight]
    arrow, options = _pyarrow_dataset(), None
    if isinstance(getattr(dataset, "format", None), arrow.ParquetFileFormat):
        options = arrow.ParquetFragmentScanOptions(pre_buffer=False)  # or whole files are in memory
    # pyarrow reads some twenty batches ahead unless it is told not to.
    batches = dataset.to_batches(
        columns=columns, batch_size=batch_rows, batch_readahead=1, fragment_readahead=1,
        fragment_scan_options=options,
    )  # fmt: skip
    for batch in batches:
        if batch.num_rows == 0:
            continue
        values = [batch.column(i).to_numpy(zero_copy_only=False) for i in range(len(columns))]
        narrow = all(value.dtype == np.float32 for value in values[: len(features)])
        X = np.empty((batch.num_rows, len(features)), np.float32 if narrow else np.float64)
        for j, value in enumerate(values[: len(features)]):
            X[:, j] = value
        yield X if sample_weight is None else (X, values[-1])


# ---- reading ahead ---------------------------------------------------------------------------

_END = object()


def read_ahead(iterable: Iterable[Any]) -> Generator[Any, None, None]:
    """Yield what an iterable has; a thread reads the next one while the caller works."""
    ready: Queue[tuple[Any, BaseException | None]] = Queue(1)
    stop = Event()
    thread = Thread(target=_fill, args=(iterable, ready, stop), daemon=True, name="fastem reader")
    thread.start()
    try:
        while True:
            one, error = ready.get()
            if error is not None:
                raise error
            if one is _END:
                return
            yield one
            del one  # or it would be in memory beside the next two
    finally:
        stop.set()
        with suppress(Empty):
            ready.get_nowait()  # the thread may wait for room
        thread.join()


def _fill(iterable, ready, stop):
    """Put what an iterable has into a queue, until somebody says stop."""
    try:
        for one in iterable:
            ready.put((one, None))
            del one
            if stop.is_set():
                return
    except BaseException as error:
        ready.put((None, error))
    else:
        ready.put((_END, None))
