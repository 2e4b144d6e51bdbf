"""Reads a table, some rows at a time, or says in one line why that is impossible."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem._cli import CommandError, count, is_number, readable, short
from fastem._cli.sources import GAPS, READERS, TextSource, cell_text
from fastem._cli.temporary import TemporaryArrays

#: Endings of text; .gz may follow.
TEXT = (".csv", ".tsv", ".txt")
#: Numbers that take more bytes are kept in a temporary file, which is mapped.
LARGE = 1 << 26


class Table(NamedTuple):
    """Numbers with the names of their columns."""

    names: list[str]
    X: Any  # (n_samples, n_columns), NaN where missing; mapped if large; of categories their codes
    labels: list[str] | None  # the rows' own names, if the file has them
    n_rows: int  # of the file
    kept: Any = None  # the rows that are here, from 1; None: all
    categories: list[list[str]] | None = None  # what the codes of each column stand for
    notes: tuple[str, ...] = ()  # what was left out of the file, or is missing in it

    def row_numbers(self):
        """Return the number in the file, from 1, of each sample."""
        return range(1, self.n_rows + 1) if self.kept is None else self.kept

    def row_names(self):
        """Return a name for each sample: its own, or its number."""
        return self.row_numbers() if self.labels is None else self.labels


class Wanted(NamedTuple):
    """What is to be read of a table, and how."""

    columns: Sequence[str] | None = None  # by name, by number from 1, or 2-5; None: all
    exclude: Sequence[str] = ()
    drop_missing: bool = False  # leave out rows with a missing value
    allow_missing: bool = False
    categories: Any = None  # of each column; True: whatever comes; None: cells are numbers
    can_choose: bool = True  # whether the user can choose columns: only then is it advised
    encoding: str = "utf-8"
    decimal: str = "."
    folder: Path | None = None  # where there is room for a temporary file

    def positions(self, source):
        """Return the positions of the wanted columns."""
        names = source.names
        keep = [j for j in range(len(names)) if j != source.label_column]
        if self.columns is not None:
            keep = choose(source.name, names, self.columns)
        if len(set(keep)) < len(keep):
            raise CommandError(f"{source.name}: --columns names a column twice")
        out = set(choose(source.name, names, self.exclude))
        keep = [j for j in keep if j not in out]
        if not keep:
            why = "--exclude leaves no column" if self.exclude else "has no column of values"
            raise CommandError(f"{source.name}: {why}")
        return keep


def choose(where, names, columns):
    """Return the positions of columns that are given by name, by number from 1, or as 2-5."""
    positions: list[int] = []
    for column in columns:
        if names.count(column) > 1:
            raise CommandError(f"{where}: {column!r} names several columns; choose by number")
        if column in names:
            positions.append(names.index(column))
            continue
        ends = column.split("-", 1)
        numbers = [int(end) if end.isdecimal() and len(end) < 9 else 0 for end in ends]
        if not 1 <= numbers[0] <= numbers[-1] <= len(names):
            listed = short(", ".join(names), 200)
            raise CommandError(f"{where}: has no column {column!r}; it has {listed}")
        positions.extend(range(numbers[0] - 1, numbers[-1]))
    return positions


def ending(path):
    """Return the ending of a file's name, before .gz, in lower case."""
    return Path(str(path).lower().removesuffix(".gz")).suffix


def open_table(path, wanted):
    """Return the source of a table: a .csv, .tsv or .txt file, .npy, .parquet, .xlsx, or -."""
    file, kind, known = Path(path), ending(path), (*TEXT, *READERS)
    with readable(path):
        for wrong, why in (
            (not file.exists(), "no such file"),
            (file.is_dir(), "is a folder; give one of its files"),
            (kind not in known, f"unknown file type; can read {', '.join(known)}"),
            (file.is_file() and file.stat().st_size == 0, "the file is empty"),
        ):
            if wrong and str(path) != "-":
                raise CommandError(f"{path}: {why}")
        if str(path) == "-" or kind in TEXT:
            return TextSource(path, wanted.encoding, wanted.decimal)
        return READERS[kind](file)


def read_table(path, wanted=None, source=None, progress=None):
    """Read the wanted columns of a table, which `source` may have opened already."""
    wanted = wanted or Wanted()
    with readable(path):
        return _collect(source or open_table(path, wanted), wanted, progress)


def _collect(source, wanted, progress):
    """Read all pieces."""
    keep, coded = wanted.positions(source), wanted.categories is not None
    known = wanted.categories if isinstance(wanted.categories, list) else None
    codes = [{c: i for i, c in enumerate(one)} for one in known or [()] * len(keep)]
    whole = None if wanted.drop_missing or coded else _mapped(source.array, keep)
    X, labels, kept = Rows(len(keep), wanted.folder), [], []
    n_rows = n_missing = 0
    for places, cells, own in source.pieces(keep, not coded):
        piece = _Piece(source, wanted, keep, places, cells)
        values = piece.codes(codes, known is None) if coded else piece.numbers()
        missing = np.isnan(values)
        here = np.flatnonzero(~missing.any(axis=1)) if wanted.drop_missing else range(len(values))
        if not (wanted.drop_missing or wanted.allow_missing) and missing.any():
            piece.refuse(missing, "is missing", "fill it in, give --drop-missing")
        if whole is None:
            X.add(values if len(here) == len(values) else values[here])
        n_missing += int(missing.sum())
        if wanted.drop_missing:
            kept.append(n_rows + 1 + np.asarray(here))
        labels += [] if own is None else [own[i] for i in here]
        n_rows += len(values)
        if progress is not None:
            progress(f"reading {source.name}: {n_rows:,} rows")
    if n_rows == 0:
        raise CommandError(f"{source.name}: has 0 rows and {len(source.names)} columns")
    array = X.array() if whole is None else whole
    categories = [_sorted(array, j, one) for j, one in enumerate(codes)] if known is None else known
    notes, n_dropped = [], n_rows - len(array)
    if source.label_column is not None and wanted.columns is None:
        notes = [f"column {source.label_column + 1} names the rows, and is not one of the values"]
    if n_dropped:
        notes.append(f"{count(n_dropped, 'row')} with missing values left out")
    elif n_missing:
        values = count(n_missing, "missing value")
        notes.append(f"{values}, taken for unknown; --drop-missing leaves such rows out")
    return Table(
        [source.names[j] for j in keep], array, labels or None, n_rows,
        np.concatenate(kept) if n_dropped else None, categories if coded else None, tuple(notes),
    )  # fmt: skip


def _mapped(X, keep):
    """Return a file's array, if it is large, all of it is wanted, and need not be converted."""
    fits = X is not None and X.flags.c_contiguous and X.dtype in (np.float32, np.float64)
    return X if fits and X.nbytes > LARGE and keep == list(range(X.shape[1])) else None


def _sorted(X, j, codes):
    """Give the codes of a column alphabetical, or numerical, order; return their names."""
    key: Any = float if all(map(is_number, codes)) else str
    names = sorted(codes, key=key)
    rank = np.append(np.argsort([codes[name] for name in names]), np.nan)  # of missing ones
    if names:
        X[:, j] = rank[np.where(np.isnan(X[:, j]), -1, X[:, j]).astype(np.intp)]
    return names


class Rows:
    """Collects pieces of an array: in memory, or in a file without a name if they are many."""

    def __init__(self, n_columns, folder=None):
        self.shape, self.folder, self.n_bytes = (0, n_columns), folder, 0
        self.pieces: list[Any] = []
        self.file: Any = None
        self.dtype: Any = None

    def add(self, X):
        """Add rows; those that are not float32 become float64."""
        self.dtype = self.dtype or np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
        X = np.ascontiguousarray(X, self.dtype)
        self.shape, self.n_bytes = (self.shape[0] + len(X), X.shape[1]), self.n_bytes + X.nbytes
        self.pieces.append(X)
        if self.file is None and self.n_bytes > LARGE:
            self.file = TemporaryArrays(self.folder)
        if self.file is not None:
            self.file.write(self.pieces)
            self.pieces.clear()

    def array(self):
        """Return all rows."""
        if self.file is None:
            return np.concatenate(self.pieces) if self.pieces else np.empty(self.shape)
        return np.memmap(self.file.file, self.dtype, "r+", shape=self.shape)  # which stays open


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
        if not isinstance(X, np.ndarray) or X.dtype.kind not in "fiub":
            try:
                X = np.array(X, np.float64)
            except (TypeError, ValueError):
                X = self._each(self._number)
        X = X if X.dtype.kind == "f" else X.astype(np.float64)
        if np.isinf(X).any():
            self.refuse(np.isinf(X), "is not finite")
        return X

    def codes(self, codes, new):
        """Return the numbers of the cells' categories; those that are `new` get the next one."""

        def code(text, row, i):
            if new:
                codes[i].setdefault(text, len(codes[i]))
            elif text not in codes[i]:
                known = short(", ".join(codes[i]), 100)
                self.refuse((row, i), f"is no category of the model, which has {known}", "")
            return codes[i][text]

        return self._each(code)

    def refuse(self, wrong, problem, cure="correct it, delete the row"):
        """Raise the error of the first wrong cell, a place or a table of them.

        `cure` are words before "or", with which the advice on columns follows; '' has none.
        """
        row, i = wrong if isinstance(wrong, tuple) else map(int, np.argwhere(wrong)[0])
        source, j, text = self.source, self.keep[i], cell_text(self.cells[row][i])
        named = f" ({source.names[j]})" if source.names[j] != f"x{j + 1}" else ""
        shown = "" if text.lower() in GAPS else f"{short(text)!r} "
        if cure:
            advice = f", or {self._advice(row)}"
            cure = (
                f"; {cure}{advice}" if self.wanted.can_choose else f"; {cure}".replace(", ", " or ")
            )
        place = f"{source.name}, {source.unit} {self.places[row]}, column {j + 1}{named}"
        raise CommandError(f"{place}: {shown}{problem}{cure}")

    def _each(self, function):
        """Return what a function makes of each cell's text, NaN where that is missing."""
        X = np.full((len(self.cells), len(self.keep)), np.nan)
        for row, cells in enumerate(self.cells):
            for i, cell in enumerate(cells):
                text = cell_text(cell)
                if text.lower() not in GAPS:
                    X[row, i] = function(text, row, i)
        return X

    def _number(self, text, row, i):
        try:
            return float(text.replace(self.wanted.decimal, ".", 1))
        except ValueError:
            if is_number(text, ","):
                how = "is not a number: write decimals with a point, or give --decimal ,"
                self.refuse((row, i), how, "")
            self.refuse((row, i), "is not a number")

    def _advice(self, row):
        """The option that keeps the columns that have a number in this row."""
        cells = map(cell_text, self.cells[row])
        numbers = [j for j, cell in zip(self.keep, cells, strict=True)
                   if is_number(cell, self.wanted.decimal)]  # fmt: skip
        named = [self.source.names[j] for j in numbers]
        if any("," in name for name in named) or named == [f"x{j + 1}" for j in numbers]:
            named = [str(j + 1) for j in numbers]
        listed = ",".join(named)
        if not 0 < len(numbers) < len(self.keep) or len(listed) > 60 or " " in listed:
            return "choose columns of numbers with --columns"
        return f"choose the columns of numbers: --columns {listed}"
