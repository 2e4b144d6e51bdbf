"""Reads a table of numbers from the user's file, or says in one line why that is impossible."""

import zlib
from pathlib import Path

import numpy as np

from fastem._cli import CommandError, one_line
from fastem._cli.table import Table, advice_on_columns, choose_columns, default_names, short
from fastem._cli.text_files import read_text


def read_table(path, columns=None):
    """Read the numbers of a file, all finite.

    Parameters
    ----------
    path : str
        A .csv, .tsv or .txt file (also .gz), .npy or .parquet.
    columns : list of str, default=None
        The columns to keep, by name or by number from 1. Default: all.

    Raises
    ------
    CommandError
        If that is impossible: the message names the file, the place, the value and the remedy.
    """
    path = Path(path)
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    reader = _READERS.get(suffixes[-1] if suffixes else "")
    if not path.exists():
        raise CommandError(f"{path}: no such file")
    if path.is_dir():
        raise CommandError(f"{path}: is a folder; give one of its files")
    if reader is None:
        raise CommandError(f"{path}: unknown file type; can read {', '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise CommandError(f"{path}: the file is empty")
    try:
        return reader(path, columns)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise CommandError(f"{path}: cannot be read ({reason})") from error


def _read_npy(path, columns):
    """Read a NumPy array of one or two dimensions."""
    try:
        # Mapped: a header that claims more than the file holds is found out before any memory is
        # asked for.
        X = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # NumPy parses the header as Python: a damaged one raises anything
        raise CommandError(f"{path}: not a .npy file of numbers ({one_line(error)})") from error
    if not isinstance(X, np.ndarray):
        raise CommandError(f"{path}: is an .npz archive; save one array with numpy.save")
    if X.ndim not in (1, 2):
        raise CommandError(f"{path}: holds an array of shape {X.shape}; make it one row a sample")
    if X.dtype.kind not in _REAL:
        raise CommandError(f"{path}: holds {X.dtype}; convert it to real numbers")
    X = np.array(X[:, None] if X.ndim == 1 else X)
    if X.size == 0:
        raise CommandError(f"{path}: has {X.shape[0]} rows and {X.shape[1]} columns of numbers")
    names = default_names(X.shape[1])
    if columns is not None:
        keep = choose_columns(path, names, columns)
        names, X = [names[j] for j in keep], X[:, keep]
    return Table(names, _finite(X, path, names))


def _read_parquet(path, columns):
    """Read an Apache Parquet table with pyarrow, or with whatever pandas finds."""
    names, load = _open_parquet(path)
    keep = range(len(names)) if columns is None else choose_columns(path, names, columns)
    arrays = []
    for j in keep:
        values = load(j)
        if values.dtype.kind not in _REAL:
            numbers = [name for i, name in enumerate(names) if load(i).dtype.kind in _REAL]
            raise CommandError(
                f"{path}, column {j + 1} ({names[j]}): {short(repr(values[0]))} is not a number; "
                f"{advice_on_columns(numbers, len(names))}"
            )
        arrays.append(values)
    X = np.column_stack(arrays) if arrays else np.empty((0, 0))
    return Table([names[j] for j in keep], _finite(X, path, [names[j] for j in keep]))


def _open_parquet(path):
    """Return the names of the columns and a function that loads one by its position."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table as read
    except ImportError:
        return _open_parquet_with_pandas(path)
    try:
        table = read(path)
    except ArrowException as error:
        raise CommandError(f"{path}: not a Parquet file ({one_line(error)})") from error
    # pandas keeps its row labels in columns of this name.
    labels = [name for name in table.column_names if name.startswith("__index_level_")]
    table = table.drop_columns(labels)
    return table.column_names, lambda j: table.column(j).to_numpy()


def _open_parquet_with_pandas(path):
    """Do as `_open_parquet`, with pandas and its other engines."""
    try:
        from pandas import read_parquet

        frame = read_parquet(path)
    except ImportError as error:
        raise CommandError(
            f"{path}: reading .parquet needs pyarrow; run: pip install pyarrow"
        ) from error
    except ValueError as error:
        raise CommandError(f"{path}: not a Parquet file ({one_line(error)})") from error
    return [str(name) for name in frame.columns], lambda j: frame.iloc[:, j].to_numpy()


def _finite(X, path, names):
    """Return X as C-ordered float64 (float32 stays) if every number in it is finite."""
    X = np.ascontiguousarray(X, dtype=np.float32 if X.dtype.type is np.float32 else np.float64)
    if not np.isfinite(X).all():
        row, j = (int(i) for i in np.argwhere(~np.isfinite(X))[0])
        raise CommandError(
            f"{path}, row {row + 1}, column {names[j]}: {X[row, j]} is not finite; fill it in, "
            "delete the row, or choose other columns with --columns"
        )
    return X


#: Kinds of NumPy dtypes that are real numbers.
_REAL = "fiub"

_READERS = {
    ".csv": read_text,
    ".tsv": read_text,
    ".txt": read_text,
    ".npy": _read_npy,
    ".parquet": _read_parquet,
}
