"""Reads a table, some rows at a time, or says in one line why that is impossible."""

from __future__ import annotations

import codecs
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem._cli import CommandError, is_number, need, one_line, short
from fastem._cli.text_source import GAPS, TextSource

#: Endings of text; .gz may follow.
TEXT = (".csv", ".tsv", ".txt")
#: Numbers that take more bytes are kept in a temporary file, which is mapped.
LARGE = 1 << 28
_ROWS = 20_000  # that are worked on at a time


class Table(NamedTuple):
    """Numbers with the names of their columns.

    Attributes
    ----------
    names : list of str
        One a column; ``x1``, ``x2``, ... where the file has none.
    X : ndarray of shape (n_samples, n_columns), float64 or float32
        Mapped from a file, if there are many; of categories, their numbers; NaN where a value is
        missing.
    labels : list of str or None
        The rows' own names, if the file has them.
    n_rows : int
        Rows of the file.
    kept : ndarray of shape (n_samples,) or None
        The rows that are here, from 1; None: all.
    categories : list of list of str, or None
        What the numbers of each column stand for.
    notes : tuple of str
        What was left out of the file, or is missing in it.
    """

    names: list[str]
    X: Any
    labels: list[str] | None
    n_rows: int
    kept: Any = None
    categories: list[list[str]] | None = None
    notes: tuple[str, ...] = ()

    def row_names(self):
        """Return a name for each sample: its own, or its number in the file, from 1."""
        if self.labels is not None:
            return self.labels
        return range(1, self.n_rows + 1) if self.kept is None else self.kept


class Wanted(NamedTuple):
    """What is to be read of a table, and how.

    Attributes
    ----------
    columns : list of str, or None
        By name, by number from 1, or 2-5; None: all.
    exclude : list of str
        Columns to leave out of these.
    drop_missing, allow_missing : bool
        Whether rows with a missing value are left out; else, whether there may be any.
    categories : None, True or list of list of str
        None: cells are numbers. Else they are categories: those of each column, or whatever comes.
    can_choose : bool
        Whether the user can choose columns: only then a message advises it.
    encoding, decimal : str
        Of text.
    folder : Path
        Where there is room for a temporary file.
    """

    columns: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    drop_missing: bool = False
    allow_missing: bool = False
    categories: Any = None
    can_choose: bool = True
    encoding: str = "utf-8"
    decimal: str = "."
    folder: Path | None = None

    def positions(self, source):
        """Return the positions of the wanted columns."""
        names = source.names
        default = [j for j in range(len(names)) if j != source.label_column]
        keep = default if self.columns is None else choose(source.name, names, self.columns)
        if len(set(keep)) < len(keep):
            raise CommandError(f"{source.name}: --columns names a column twice")
        out = set(choose(source.name, names, self.exclude))
        keep = [j for j in keep if j not in out]
        if not keep:
            raise CommandError(f"{source.name}: --exclude leaves no column")
        return keep


def choose(where, names, columns):
    """Return the positions of columns that are given by name, by number from 1, or as 2-5."""
    positions: list[int] = []
    for column in columns:
        first, dash, last = column.partition("-")
        if names.count(column) > 1:
            raise CommandError(f"{where}: {column!r} names several columns; choose by number")
        if column in names:
            positions.append(names.index(column))
            continue
        ends = [first, last] if dash else [first]
        numbers = [int(end) if end.isdecimal() and len(end) < 9 else 0 for end in ends]
        if not 1 <= numbers[0] <= numbers[-1] <= len(names):
            listed = short(", ".join(names), 200)
            raise CommandError(f"{where}: has no column {column!r}; it has {listed}")
        positions.extend(range(numbers[0] - 1, numbers[-1]))
    return positions


def open_table(path, wanted):
    """Return the source of a table: a .csv, .tsv or .txt file, .npy, .parquet, .xlsx, or -.

    A source has `name`, `names` of all columns, `unit` (what its places are counted in),
    `label_column`, and ``pieces(keep, numbers)``, which yields (places, rows, labels).
    """
    try:
        codecs.lookup(wanted.encoding)
    except LookupError as error:
        raise CommandError(
            f"--encoding {wanted.encoding}: is not known, try utf-8 or cp1252"
        ) from error
    if str(path) == "-":
        return TextSource("-", wanted.encoding, wanted.decimal)
    path = Path(path)
    suffix = ending(path)
    if not path.exists():
        raise CommandError(f"{path}: no such file")
    if path.is_dir():
        raise CommandError(f"{path}: is a folder; give one of its files")
    if suffix not in TEXT and suffix not in _READERS:
        known = ", ".join([*TEXT, *_READERS])
        raise CommandError(f"{path}: unknown file type; can read {known}")
    if path.is_file() and path.stat().st_size == 0:
        raise CommandError(f"{path}: the file is empty")
    if suffix in TEXT:
        return TextSource(path, wanted.encoding, wanted.decimal)
    return _READERS[suffix](path)


def ending(path):
    """Return the ending of a file's name, before .gz, in lower case."""
    suffixes = [s.lower() for s in Path(path).suffixes]
    return ([s for s in suffixes[-2:] if s != ".gz"] or [""])[-1]


def read_table(path, wanted=None, source=None, progress=None):
    """Read the wanted columns of a table, which `source` may have opened already."""
    wanted = wanted or Wanted()
    try:
        source = source or open_table(path, wanted)
        return _collect(source, wanted, progress)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise CommandError(f"{path}: cannot be read ({reason})") from error


def _collect(source, wanted, progress):
    """Read all pieces."""
    keep = wanted.positions(source)
    names = [source.names[j] for j in keep]
    X, codes = Rows(len(keep), wanted.folder), None
    whole = None if wanted.drop_missing or wanted.categories else source.whole(keep)
    if wanted.categories is not None:
        known = [None] * len(keep) if wanted.categories is True else wanted.categories
        codes = [Codes(one) for one in known]
    labels: list[str] = []
    kept: list[Any] = []
    n_rows = n_missing = 0
    for places, cells, own in source.pieces(keep, codes is None):
        piece = _Piece(source, wanted, keep, places, cells)
        values = piece.numbers() if codes is None else piece.codes(codes)
        missing = np.isnan(values)
        here = ~missing.any(axis=1) if wanted.drop_missing else np.ones(len(values), bool)
        if not (wanted.drop_missing or wanted.allow_missing) and missing.any():
            piece.refuse_missing(*map(int, np.argwhere(missing)[0]))
        if whole is None:
            X.add(values if here.all() else values[here])
        n_missing += 0 if wanted.drop_missing else int(missing.sum())
        kept.append(n_rows + 1 + np.flatnonzero(here))
        labels += [] if own is None else [own[i] for i in np.flatnonzero(here)]
        n_rows += len(values)
        if progress is not None:
            progress(f"reading {source.name}: {n_rows:,} rows")
    if n_rows == 0:
        raise CommandError(f"{source.name}: has 0 rows and {len(source.names)} columns")
    array = X.array() if whole is None else whole
    n_dropped = n_rows - len(array)
    for j, one in enumerate(codes or ()):
        array[:, j] = one.ordered(array[:, j])
    notes = [] if source.label_column is None or wanted.columns is not None else [
        f"column {source.label_column + 1} names the rows, and is not one of the values"
    ]  # fmt: skip
    if n_dropped:
        rows = "1 row" if n_dropped == 1 else f"{n_dropped:,} rows"
        notes.append(f"{rows} with missing values left out")
    if n_missing:
        values = "1 missing value" if n_missing == 1 else f"{n_missing:,} missing values"
        notes.append(f"{values}, taken for unknown; --drop-missing leaves such rows out")
    return Table(
        names,
        array,
        labels if labels else None,
        n_rows,
        np.concatenate(kept) if n_dropped else None,
        [one.names for one in codes] if codes else None,
        tuple(notes),
    )


class Rows:
    """Collects pieces of an array: in memory, or in a file without a name if they are many."""

    def __init__(self, n_columns, folder=None):
        self.n_columns, self.folder = n_columns, folder
        self.pieces: list[Any] = []
        self.n_rows, self.n_bytes = 0, 0
        self.file: Any = None
        self.dtype: Any = None

    def add(self, X):
        """Add rows; those that are not float32 become float64."""
        if self.dtype is None:
            self.dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
        X = np.ascontiguousarray(X, self.dtype)
        self.n_rows, self.n_bytes = self.n_rows + len(X), self.n_bytes + X.nbytes
        self.pieces.append(X)
        if self.file is None and self.n_bytes > LARGE:
            self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        if self.file is not None:
            for piece in self.pieces:
                piece.tofile(self.file)
            self.pieces.clear()

    def array(self):
        """Return all rows."""
        shape = self.n_rows, self.n_columns
        if self.file is None:
            return np.concatenate(self.pieces) if self.pieces else np.empty(shape)
        with self.file:
            return np.memmap(self.file, self.dtype, "r+", shape=shape)  # which stays open


class Codes:
    """Numbers of a column's categories; of `known` ones, if given, else of whatever comes."""

    def __init__(self, known=None):
        self.open = known is None
        self.place = {name: i for i, name in enumerate(known or ())}

    @property
    def names(self):
        """The categories."""
        return list(self.place)

    def of(self, text):
        """Return the number of a category, None if it is none."""
        return self.place.setdefault(text, len(self.place)) if self.open else self.place.get(text)

    def ordered(self, codes):
        """Put new categories in alphabetical, or numerical, order; return their numbers there."""
        if not self.open or not self.place:
            return codes
        names = self.names
        key = float if all(map(is_number, names)) else str
        order = sorted(range(len(names)), key=lambda i: key(names[i]))
        self.place = {names[i]: n for n, i in enumerate(order)}
        known = ~np.isnan(codes)
        codes = codes.copy()
        codes[known] = np.argsort(order)[codes[known].astype(np.intp)]
        return codes


class _Piece(NamedTuple):
    """Some rows of a source, whose cells become numbers."""

    source: Any
    wanted: Wanted
    keep: list[int]
    places: Sequence[int]
    cells: Any

    def numbers(self):
        """Return the cells as finite numbers, NaN where they are missing."""
        X = self.cells
        if not (isinstance(X, np.ndarray) and X.dtype.kind in "fiub"):
            try:
                X = np.array(X, np.float64)
            except (TypeError, ValueError):
                X = np.array([
                    [self._number(cell, row, i) for i, cell in enumerate(cells)]
                    for row, cells in enumerate(self.cells)
                ])  # fmt: skip
        elif X.dtype.kind != "f":
            X = X.astype(np.float64)
        infinite = np.isinf(X)
        if infinite.any():
            row, i = map(int, np.argwhere(infinite)[0])
            self._refuse(row, i, "is not finite", "correct it, delete the row, or ")
        return X

    def codes(self, codes):
        """Return the numbers of the cells' categories."""
        X = np.full((len(self.cells), len(self.keep)), np.nan)
        for row, cells in enumerate(self.cells):
            for i, cell in enumerate(cells):
                text = _text(cell)
                if text.lower() in GAPS:
                    continue
                code = codes[i].of(text)
                if code is None:
                    known = short(", ".join(codes[i].names), 100)
                    where = self._place(row, i)
                    raise CommandError(
                        f"{where}: {short(text)!r} is no category of the model, which has {known}"
                    )
                X[row, i] = code
        return X

    def refuse_missing(self, row, i):
        """Raise the error of a missing value."""
        self._refuse(row, i, "is missing", "fill it in, give --drop-missing, or ")

    def _number(self, cell, row, i):
        text = _text(cell)
        if text.lower() in GAPS:
            return np.nan
        try:
            return float(text.replace(",", ".", 1) if self.wanted.decimal == "," else text)
        except ValueError:
            problem = "is not a number"
            if is_number(text.replace(",", ".", 1)):
                problem += ": write decimals with a point, or give --decimal ,"
        return self._refuse(row, i, problem, "correct it, delete the row, or ")

    def _refuse(self, row, i, problem, cure):
        text = _text(self.cells[row][i])
        advice = self._advice() if self.wanted.can_choose else ""
        if not advice:
            cure = cure.removesuffix(", or ").replace(", delete", " or delete")
        shown = "" if text.lower() in GAPS else f"{short(text)!r} "
        raise CommandError(f"{self._place(row, i)}: {shown}{problem}; {cure}{advice}")

    def _place(self, row, i):
        source, j = self.source, self.keep[i]
        name = source.names[j]
        named = f" ({name})" if name != f"x{j + 1}" else ""
        return f"{source.name}, {source.unit} {self.places[row]}, column {j + 1}{named}"

    def _advice(self):
        """The option that keeps the columns of numbers."""
        numbers, n_columns = self.source.numeric_columns(), len(self.source.names)
        named = [self.source.names[j] for j in numbers]
        if any("," in name for name in named) or named == [f"x{j + 1}" for j in numbers]:
            named = [str(j + 1) for j in numbers]
        listed = ",".join(named)
        if not 0 < len(numbers) < n_columns or len(listed) > 60 or " " in listed:
            return "choose columns of numbers with --columns"
        return f"choose the columns of numbers: --columns {listed}"


def _text(cell):
    """Return a cell's text: '' for none, whole floats as integers."""
    if cell is None:
        return ""
    text = str(cell).strip()
    return text.removesuffix(".0") if isinstance(cell, float | np.floating) else text


# ---- files that are no text ---------------------------------------------------------------------


class ArraySource:
    """A source with columns: `read(keep)` yields blocks of rows, `labels` the rows' names."""

    unit = "row"

    def __init__(self, path, names, read, kinds, label_column=None, array=None):
        self.name, self.names, self.read, self.kinds = str(path), names, read, kinds
        self.label_column, self.array = label_column, array

    def pieces(self, keep, numbers):
        """Yield (places, rows, labels)."""
        begin, label = 1, self.label_column
        for block in self.read([*keep, *([] if label is None else [label])]):
            labels = None if label is None else [_text(cell) for cell in block[:, -1]]
            rows = block if label is None else block[:, :-1]
            if label is not None and all(self.kinds[j] in "fiub" for j in keep):
                rows = rows.astype(np.float64)
            yield range(begin, begin + len(block)), rows, labels
            begin += len(block)

    def whole(self, keep):
        """Return the array that the file is, if it is large and need not be copied."""
        X = self.array
        fits = X is not None and X.flags.c_contiguous and X.dtype in (np.float32, np.float64)
        return X if fits and X.nbytes > LARGE and keep == list(range(X.shape[1])) else None

    def numeric_columns(self):
        """Return the positions of the columns that are numbers."""
        return [j for j, kind in enumerate(self.kinds) if kind in "fiub"]


def _open_npy(path):
    """Open a NumPy array of one or two dimensions, mapped."""
    try:
        # A header that claims more than the file holds is found out before memory is asked for.
        X = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # NumPy parses the header as Python: a damaged one raises anything
        raise CommandError(f"{path}: not a .npy file of numbers ({one_line(error)})") from error
    if not isinstance(X, np.ndarray):
        raise CommandError(f"{path}: is an .npz archive; save one array with numpy.save")
    if X.ndim not in (1, 2):
        raise CommandError(f"{path}: holds an array of shape {X.shape}; make it one row a sample")
    if X.dtype.kind not in "fiub":
        raise CommandError(f"{path}: holds {X.dtype}; convert it to real numbers")
    X = X[:, None] if X.ndim == 1 else X
    if X.size == 0:
        raise CommandError(f"{path}: has {X.shape[0]} rows and {X.shape[1]} columns of numbers")

    def read(keep):
        for begin in range(0, len(X), _ROWS):
            yield X[begin : begin + _ROWS, keep]

    names = [f"x{j + 1}" for j in range(X.shape[1])]
    return ArraySource(path, names, read, X.dtype.kind * len(names), array=X)


def _open_parquet(path):
    """Open an Apache Parquet table."""
    arrow = need("pyarrow", "parquet", f"{path}: reading .parquet")
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
        schema = file.schema_arrow
        pandas = schema.pandas_metadata or {}
        kinds = [_kind(field.type, arrow.types) for field in schema]
    except arrow.ArrowException as error:
        raise CommandError(f"{path}: not a Parquet file ({one_line(error)})") from error
    index = [name for name in pandas.get("index_columns", ()) if name in schema.names]
    label = schema.names.index(index[0]) if len(index) == 1 else None
    names = ["" if j == label else name for j, name in enumerate(schema.names)]

    def read(keep):
        wanted = [schema.names[j] for j in keep]
        try:
            for batch in file.iter_batches(_ROWS, columns=wanted):
                columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in wanted]
                yield _stacked(columns)
        except (arrow.ArrowException, KeyError) as error:
            raise CommandError(f"{path}: cannot be read ({one_line(error)})") from error

    return ArraySource(path, names, read, kinds, label)


def _kind(dtype, types):
    """Return NumPy's letter for a type of Arrow's."""
    numbers = types.is_integer(dtype) or types.is_floating(dtype) or types.is_boolean(dtype)
    return "f" if numbers else "O"


def _stacked(columns):
    """Return columns as one array, of objects if one is no number."""
    if all(column.dtype.kind in "fiub" for column in columns):
        return np.column_stack(columns)
    X = np.empty((len(columns[0]), len(columns)), object)
    for j, column in enumerate(columns):
        X[:, j] = column
    return X


def _open_excel(path):
    """Open the first sheet of a workbook."""
    pandas = need("pandas", "excel", f"{path}: reading {path.suffix}")
    need("openpyxl", "excel", f"{path}: reading {path.suffix}")
    try:
        frame = pandas.read_excel(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged files raise anything
        raise CommandError(f"{path}: not a workbook ({one_line(error)})") from error
    names = [str(name) for name in frame.columns]
    label = 0 if len(names) > 1 and names[0] == "Unnamed: 0" else None
    columns = [frame.iloc[:, j].to_numpy() for j in range(len(names))]
    kinds = [column.dtype.kind for column in columns]
    if label is not None:
        names[0] = ""
    return ArraySource(
        path, names, lambda keep: [_stacked([columns[j] for j in keep])], kinds, label
    )


_READERS = {".npy": _open_npy, ".parquet": _open_parquet, ".xlsx": _open_excel}
