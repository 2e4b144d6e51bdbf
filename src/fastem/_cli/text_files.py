"""Reads separated text (.csv, .tsv, .txt, standard input), or says what cannot be read, and where.

There are two readers: NumPy's compiled reader, and one on the standard library's `csv` that is
slower, defines what is accepted, and knows the place of whatever is wrong. The fast one gives up at
the first difficulty.
"""

import csv
import gzip
import io
import sys
from array import array
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastem._cli import CommandError
from fastem._cli.table import (
    Codes,
    Table,
    Wanted,
    advice_on_columns,
    count,
    default_names,
    is_number,
    short,
)

#: How people write a missing value.
GAPS = {"", "na", "n/a", "null", "none", "nil", "?", "-", "."}


class Text:
    """A text that can be read several times: a file, unpacked if its name ends in .gz, or stdin.

    Parameters
    ----------
    path : Path
        ``-`` is standard input.
    encoding : str
        A byte-order mark is left out.
    decimal : str
        What stands before decimals, ``.`` or ``,``.
    """

    def __init__(self, path, encoding="utf-8", decimal="."):
        self.path, self.decimal = Path(path), decimal
        self.encoding = "utf-8-sig" if encoding.lower().replace("_", "-") == "utf-8" else encoding
        self.name = "standard input" if str(path) == "-" else str(path)
        self.data = sys.stdin.buffer.read() if str(path) == "-" else None

    def __str__(self):
        return self.name

    def open(self):
        """Return the text's lines."""
        if self.data is not None:
            return io.TextIOWrapper(io.BytesIO(self.data), self.encoding, newline="")
        opener = gzip.open if self.path.suffix.lower() == ".gz" else open
        return opener(self.path, "rt", encoding=self.encoding, newline="")

    def lines(self):
        """Yield the lines; a CommandError if they are no text."""
        try:
            with self.open() as lines:
                yield next(lines, "").removeprefix("# ")  # numpy.savetxt begins its header so
                yield from lines
        except UnicodeError as error:
            what = getattr(error, "encoding", None) or self.encoding
            what = "UTF-8" if what.startswith("utf-8") or what == "utf_8" else what
            byte = getattr(error, "object", b"")[getattr(error, "start", 0) :][:1]
            where = f" (byte 0x{byte[0]:02x})" if byte else ""
            raise CommandError(
                f"{self}: is not {what} text{where}; save it as CSV in UTF-8, or name its "
                "encoding, as --encoding cp1252"
            ) from error

    def rows(self, delimiter):
        """Yield (line number, cells) of every line that is not blank."""
        reader = csv.reader(self.lines(), delimiter=delimiter)
        try:
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    yield reader.line_num, row
        except csv.Error as error:
            raise CommandError(f"{self}, line {reader.line_num}: {error}") from error

    def number(self, cell):
        """Return the number that a cell holds; ValueError if it holds none."""
        return float(cell if self.decimal == "." else cell.replace(",", ".", 1))


class _Layout(NamedTuple):
    """How a text file is laid out."""

    delimiter: str
    width: int  # cells in each line
    header: bool
    names: list[str]
    first: list[str]  # the first line of data
    keep: list[int]  # columns to read
    note: str
    labelled: bool  # whether the first column names the rows


def read_text(text, wanted=None):
    """Read separated text: by the fast reader, and where that fails by the exact one.

    Parameters
    ----------
    text : Text
    wanted : Wanted, default=None
        Default: all columns, as numbers.
    """
    wanted = wanted or Wanted()
    layout = layout_of(text, wanted)
    names = [layout.names[j] for j in layout.keep]
    X = None
    if wanted.codes is None and not layout.labelled and text.decimal == ".":
        X = _read_fast(text, layout)
    if X is not None:
        return Table(names, X, layout.note)
    return _read_exactly(text, layout, wanted)


def _read_fast(text, layout):
    """Read with NumPy's compiled reader; None if anything at all is unusual."""
    try:
        with text.open() as lines:
            if layout.header:
                next(line for line in lines if line.strip())  # blank lines may come first
            X = np.loadtxt(
                _even(lines, layout),
                delimiter=layout.delimiter,
                usecols=layout.keep,
                comments=None,
                quotechar='"',
                ndmin=2,
            )
    except ValueError:
        return None
    return X if np.isfinite(X).all() else None


def _even(lines, layout):
    """Yield the lines, checked to have one width: loadtxt with `usecols` does not check it."""
    for line in lines:
        if line.count(layout.delimiter) != layout.width - 1:
            raise ValueError
        yield line


def _read_exactly(text, layout, wanted):
    """Read cell by cell; raise CommandError at the first one that cannot be used."""
    values, labels, kept, n_rows = array("d"), [], [], 0
    codes = wanted.codes and [Codes(known) for known in wanted.categories(len(layout.keep))]
    rows = text.rows(layout.delimiter)
    if layout.header:
        next(rows)
    for line, row in rows:
        n_rows += 1
        if len(row) != layout.width:
            raise CommandError(
                f"{text}, line {line}: has {count(len(row), 'column')} where the first line has "
                f"{layout.width}; give every line the same columns"
            )
        cells = [row[j].strip() for j in layout.keep]
        if wanted.drop_missing and any(c.lower() in GAPS or c.lower() == "nan" for c in cells):
            continue
        for i, j in enumerate(layout.keep):
            if codes:
                values.append(_code(codes[i], cells[i], text, line, j, layout))
            else:
                values.append(_number(row[j], text, line, j, layout))
        kept.append(n_rows)
        if layout.labelled:
            labels.append(row[0])
    X = np.array(values).reshape(-1, len(layout.keep))
    if codes:
        X = np.column_stack([one.sorted(X[:, i]) for i, one in enumerate(codes)])
    return Table(
        [layout.names[j] for j in layout.keep],
        X,
        layout.note,
        labels=labels if layout.labelled else None,
        n_rows=n_rows,
        kept=None if len(kept) == n_rows else np.array(kept),
        categories=[one.names for one in codes] if codes else None,
    )


def _code(codes, cell, text, line, j, layout):
    """Return the number of a category, or raise an error that names the cell and the cure."""
    named = f" ({layout.names[j]})" if layout.header else ""
    if cell.lower() in GAPS:
        raise CommandError(
            f"{text}, line {line}, column {j + 1}{named}: is empty; fill it in, or leave such rows "
            "out with --drop-missing"
        )
    code = codes.of(cell)
    if code is None:
        raise CommandError(
            f"{text}, line {line}, column {j + 1}{named}: {short(cell)!r} is no category of the "
            f"model, which has {short(', '.join(codes.names), 100)}"
        )
    return code


def _number(cell, text, line, j, layout):
    """Return a cell as a finite float, or raise an error that names the cell and the cure."""
    try:
        value = text.number(cell)
        problem = "" if np.isfinite(value) else "is not finite"
    except ValueError:
        problem = "is not a number" if cell.strip() else "is empty"
        if is_number(cell.replace(",", ".", 1)):
            problem = "is not a number, write decimals with a point, or give --decimal ,"
    if not problem:
        return value
    named = f" ({layout.names[j]})" if layout.header else ""
    names = layout.names if layout.header else [str(i + 1) for i in range(layout.width)]
    numbers = [name for name, cell in zip(names, layout.first, strict=True) if is_number(cell)]
    shown = f"{short(cell.strip())!r} " if cell.strip() else ""
    gap = cell.strip().lower() in GAPS or cell.strip().lower() == "nan"
    remedy = "leave such rows out with --drop-missing, or " if gap else "delete the line, or "
    raise CommandError(
        f"{text}, line {line}, column {j + 1}{named}: {shown}{problem}; "
        f"correct it, {remedy}{advice_on_columns(numbers, layout.width)}"
    )


def layout_of(text, wanted=None):
    """Find out delimiter, header and names from the first lines, and the columns to keep."""
    wanted, delimiter = wanted or Wanted(), _delimiter(text)
    head = list(islice(text.rows(delimiter), 2))
    line, first = head[0]
    next_line, second = head[-1]
    header = _is_header(first, second)
    if header and len(head) == 1:
        raise CommandError(f"{text}: has a header but no data")
    names = default_names(len(first))
    if header:
        names = [cell.strip() or name for cell, name in zip(first, names, strict=True)]
    data = second if header else first
    if len(data) != len(first):
        raise CommandError(
            f"{text}, line {next_line}: has {count(len(data), 'column')} where line {line} has "
            f"{len(first)}; give every line the same columns"
        )
    # pandas and R write their row labels as a first column without a name.
    labelled = header and len(first) > 1 and not first[0].strip()
    skipped = labelled and wanted.columns is None
    keep = wanted.positions(text, names, range(int(skipped), len(names)))
    note = "column 1 has no name: taken for row labels and left out" if skipped else ""
    return _Layout(delimiter, len(first), header, names, data, keep, note, labelled)


def _is_header(first, second):
    """Whether a first line is names: no number in it, or a word where the next line has a number.

    So ``5.1,3.5,setosa`` is data, ``id,2019,2020`` above ``1,40,50`` is a header, and a gap
    (``5.1,NA``) is no word.
    """
    if not any(map(is_number, first)):
        return True
    return any(
        is_number(below) and not is_number(cell) and cell.strip().lower() not in GAPS
        for cell, below in zip(first, second, strict=False)
    )


def _delimiter(text):
    """Return the separator that cuts each of the first two lines into most cells."""
    head = []
    for line in text.lines():
        if line.strip():
            head.append(line.strip("\r\n"))
        if len(head) == 2:
            break
    if not head:
        raise CommandError(f"{text}: holds nothing but blank lines")
    marks = ",;\t| " if text.decimal == "." else ";\t| "
    counts = {d: min(map(len, csv.reader(head, delimiter=d))) for d in marks}
    if max(counts[d] for d in marks[:-1]) > 1:
        del counts[" "]  # blanks inside cells
    return max(counts, key=counts.__getitem__)
