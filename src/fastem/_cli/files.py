"""Reads a table from the user's file, or says in one line why that is impossible."""

import codecs
import zlib
from pathlib import Path

import numpy as np

from fastem._cli import CommandError, one_line
from fastem._cli.table import Codes, Table, Wanted, advice_on_columns, default_names, short
from fastem._cli.text_files import Text, read_text


def read_table(path, wanted=None, *, encoding="utf-8", decimal="."):
    """Read a table, of finite numbers or of categories.

    Parameters
    ----------
    path : str or Text
        A .csv, .tsv or .txt file (also .gz), .npy, .parquet or .xlsx; or -, text from standard
        input.
    wanted : Wanted, default=None
        Which columns and rows. Default: all, as numbers.
    encoding : str, default='utf-8'
        Of text.
    decimal : {'.', ','}, default='.'
        What stands before decimals in text.

    Raises
    ------
    CommandError
        If that is impossible: the message names the file, the place, the value and the remedy.
    """
    wanted = wanted or Wanted()
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise CommandError(f"--encoding {encoding}: is not known, try utf-8 or cp1252") from error
    if isinstance(path, Text):
        return read_text(path, wanted)
    if str(path) == "-":
        return read_text(Text(path, encoding, decimal), wanted)
    path = Path(path)
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    reader = _READERS.get(suffix)
    if not path.exists():
        raise CommandError(f"{path}: no such file")
    if path.is_dir():
        raise CommandError(f"{path}: is a folder; give one of its files")
    if reader is None and suffix not in TEXT:
        raise CommandError(f"{path}: unknown file type; can read {', '.join([*TEXT, *_READERS])}")
    if path.stat().st_size == 0:
        raise CommandError(f"{path}: the file is empty")
    try:
        if reader is None:
            return read_text(Text(path, encoding, decimal), wanted)
        return reader(path, wanted)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise CommandError(f"{path}: cannot be read ({reason})") from error


def _read_npy(path, wanted):
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
    keep = wanted.positions(path, names, range(len(names)))
    return _table(path, [names[j] for j in keep], X[:, keep], wanted)


def _read_parquet(path, wanted):
    """Read an Apache Parquet table with pyarrow, or with whatever pandas finds."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table as read
    except ImportError:
        return _read_frame(path, wanted, "read_parquet", "pyarrow")
    try:
        table = read(path)
    except ArrowException as error:
        raise CommandError(f"{path}: not a Parquet file ({one_line(error)})") from error
    # pandas keeps its row labels in columns of this name.
    labels = [name for name in table.column_names if name.startswith("__index_level_")]
    table = table.drop_columns(labels)
    return _of_columns(path, table.column_names, lambda j: table.column(j).to_numpy(), wanted)


def _read_excel(path, wanted):
    """Read the first sheet of a workbook with pandas."""
    return _read_frame(path, wanted, "read_excel", "pandas openpyxl")


def _read_frame(path, wanted, function, packages):
    """Read with a function of pandas, which may need further packages."""
    try:
        import pandas

        frame = getattr(pandas, function)(path)
    except ImportError as error:
        raise CommandError(
            f"{path}: reading {path.suffix} needs {packages.replace(' ', ' and ')}; run: pip "
            f"install {packages}"
        ) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged files raise anything
        kind = "Parquet file" if function == "read_parquet" else "workbook"
        raise CommandError(f"{path}: not a {kind} ({one_line(error)})") from error
    names = [str(name) for name in frame.columns]
    return _of_columns(path, names, lambda j: frame.iloc[:, j].to_numpy(), wanted)


def _of_columns(path, names, load, wanted):
    """Return the table of a file that has columns, of which `load` gives one by its position."""
    keep = wanted.positions(path, names, range(len(names)))
    columns = []
    for j in keep:
        values = load(j)
        if wanted.codes is None and values.dtype.kind not in _REAL:
            numbers = [name for i, name in enumerate(names) if load(i).dtype.kind in _REAL]
            raise CommandError(
                f"{path}, column {j + 1} ({names[j]}): {short(repr(values[0]))} is not a number; "
                f"{advice_on_columns(numbers, len(names))}"
            )
        columns.append(values)
    n_rows = len(columns[0]) if columns else 0
    if n_rows == 0:
        raise CommandError(f"{path}: has {n_rows} rows and {len(names)} columns")
    if wanted.codes is None:
        return _table(path, [names[j] for j in keep], np.column_stack(columns), wanted)
    X = np.empty((n_rows, len(keep)), object)
    for i, values in enumerate(columns):
        X[:, i] = values
    return _table(path, [names[j] for j in keep], X, wanted)


def _table(path, names, X, wanted):
    """Return the table of an array, less its rows with missing values if these are to be left."""
    n_rows, kept, categories = len(X), None, None
    missing = X != X if X.dtype.kind in "fO" else np.zeros(X.shape, bool)
    if X.dtype.kind == "O":
        missing |= np.vectorize(lambda cell: cell is None, otypes=[bool])(X)
    if wanted.drop_missing and missing.any():
        kept = np.flatnonzero(~missing.any(axis=1)) + 1
        X, missing = X[kept - 1], missing[kept - 1]
    if missing.any():
        row, j = (int(i) for i in np.argwhere(missing)[0])
        raise CommandError(
            f"{path}, row {row + 1}, column {names[j]}: {X[row, j]} is not finite; fill it in, "
            "leave such rows out with --drop-missing, or choose other columns with --columns"
        )
    if wanted.codes is not None:
        X, categories = _coded(path, names, X, wanted)
    X = np.ascontiguousarray(X, dtype=np.float32 if X.dtype.type is np.float32 else np.float64)
    if not np.isfinite(X).all():
        row, j = (int(i) for i in np.argwhere(~np.isfinite(X))[0])
        raise CommandError(
            f"{path}, row {row + 1}, column {names[j]}: {X[row, j]} is not finite; fill it in, "
            "delete the row, or choose other columns with --columns"
        )
    return Table(names, X, n_rows=n_rows, kept=kept, categories=categories)


def _coded(path, names, X, wanted):
    """Return the numbers of categories, and these."""
    codes = [Codes(known) for known in wanted.categories(X.shape[1])]
    coded = np.empty(X.shape)
    for j, one in enumerate(codes):
        for row, value in enumerate(X[:, j]):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            code = one.of(text)
            if code is None:
                raise CommandError(
                    f"{path}, row {row + 1}, column {names[j]}: {short(text)!r} is no category of "
                    f"the model, which has {short(', '.join(one.names), 100)}"
                )
            coded[row, j] = code
        coded[:, j] = one.sorted(coded[:, j])
    return coded, [one.names for one in codes]


#: Kinds of NumPy dtypes that are real numbers.
_REAL = "fiub"

TEXT = (".csv", ".tsv", ".txt")
_READERS = {".npy": _read_npy, ".parquet": _read_parquet, ".xlsx": _read_excel}
