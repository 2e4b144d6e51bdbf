"""Reads separated text (.csv, .tsv, .txt), or says which line and column cannot be read.

There are two readers: NumPy's compiled reader, and one on the standard library's `csv` that is
slower, defines what is accepted, and knows the place of whatever is wrong. The fast one gives up at
the first difficulty.
"""

import csv
import gzip
from array import array
from itertools import islice
from typing import NamedTuple

import numpy as np

from fastem._cli import CommandError
from fastem._cli.table import (
    Table,
    advice_on_columns,
    choose_columns,
    count,
    default_names,
    is_number,
    short,
)

#: How people write a missing value.
_GAPS = {"", "na", "n/a", "null", "none", "nil", "?", "-", "."}


class _Layout(NamedTuple):
    """How a text file is laid out."""

    delimiter: str
    width: int  # cells in each line
    header: bool
    names: list[str]
    first: list[str]  # the first line of data
    keep: list[int]  # columns to read
    note: str


def read_text(path, columns):
    """Read separated text: by the fast reader, and where that fails by the exact one."""
    layout = _layout(path, columns)
    X = _read_fast(path, layout)
    if X is None:
        X = _read_exactly(path, layout)
    return Table([layout.names[j] for j in layout.keep], X, layout.note)


def _read_fast(path, layout):
    """Read with NumPy's compiled reader; None if anything at all is unusual."""
    try:
        with _open_text(path) as lines:
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


def _read_exactly(path, layout):
    """Read cell by cell; raise CommandError at the first one that is not a finite number."""
    values = array("d")
    rows = _rows(path, layout.delimiter)
    if layout.header:
        next(rows)
    for line, row in rows:
        if len(row) != layout.width:
            raise CommandError(
                f"{path}, line {line}: has {count(len(row), 'column')} where the first line has "
                f"{layout.width}; give every line the same columns"
            )
        for j in layout.keep:
            values.append(_number(row[j], path, line, j, layout))
    return np.array(values).reshape(-1, len(layout.keep))


def _number(cell, path, line, j, layout):
    """Return a cell as a finite float, or raise an error that names the cell and the cure."""
    try:
        value = float(cell)
        problem = "" if np.isfinite(value) else "is not finite"
    except ValueError:
        problem = "is not a number" if cell.strip() else "is empty"
        if is_number(cell.replace(",", ".", 1)):
            problem = "is not a number, write decimals with a point"
    if not problem:
        return value
    named = f" ({layout.names[j]})" if layout.header else ""
    names = layout.names if layout.header else [str(i + 1) for i in range(layout.width)]
    numbers = [name for name, cell in zip(names, layout.first, strict=True) if is_number(cell)]
    shown = f"{short(cell.strip())!r} " if cell.strip() else ""
    raise CommandError(
        f"{path}, line {line}, column {j + 1}{named}: {shown}{problem}; "
        f"correct it, delete the line, or {advice_on_columns(numbers, layout.width)}"
    )


def _layout(path, columns):
    """Find out delimiter, header and names from the first lines, and the columns to keep."""
    delimiter = _delimiter(path)
    head = list(islice(_rows(path, delimiter), 2))
    line, first = head[0]
    next_line, second = head[-1]
    header = _is_header(first, second)
    if header and len(head) == 1:
        raise CommandError(f"{path}: has a header but no data")
    names = default_names(len(first))
    if header:
        names = [cell.strip() or name for cell, name in zip(first, names, strict=True)]
    data = second if header else first
    if len(data) != len(first):
        raise CommandError(
            f"{path}, line {next_line}: has {count(len(data), 'column')} where line {line} has "
            f"{len(first)}; give every line the same columns"
        )
    keep, note = list(range(len(first))), ""
    if columns is not None:
        keep = choose_columns(path, names, columns)
    elif header and len(first) > 1 and not first[0].strip():
        # pandas and R write their row labels as a first column without a name.
        keep, note = keep[1:], "column 1 has no name: taken for row labels and left out"
    return _Layout(delimiter, len(first), header, names, data, keep, note)


def _is_header(first, second):
    """Whether a first line is names: no number in it, or a word where the next line has a number.

    So ``5.1,3.5,setosa`` is data, ``id,2019,2020`` above ``1,40,50`` is a header, and a gap
    (``5.1,NA``) is no word.
    """
    if not any(map(is_number, first)):
        return True
    return any(
        is_number(below) and not is_number(cell) and cell.strip().lower() not in _GAPS
        for cell, below in zip(first, second, strict=False)
    )


def _delimiter(path):
    """Return the separator that cuts each of the first two lines into most cells."""
    with _open_text(path) as lines:
        head = []
        for line in _decoded(path, lines):
            if line.strip():
                head.append(line.strip("\r\n"))
            if len(head) == 2:
                break
    if not head:
        raise CommandError(f"{path}: holds nothing but blank lines")
    counts = {d: min(map(len, csv.reader(head, delimiter=d))) for d in ",;\t| "}
    if max(counts[d] for d in ",;\t|") > 1:
        del counts[" "]  # blanks inside cells
    return max(counts, key=counts.__getitem__)


def _rows(path, delimiter):
    """Yield (line number, cells) of every line that is not blank."""
    with _open_text(path) as lines:
        reader = csv.reader(_decoded(path, lines), delimiter=delimiter)
        try:
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    yield reader.line_num, row
        except csv.Error as error:
            raise CommandError(f"{path}, line {reader.line_num}: {error}") from error


def _decoded(path, lines):
    """Yield the lines of a text file; a CommandError if they are no text."""
    try:
        yield next(lines, "").removeprefix("# ")  # numpy.savetxt begins its header so
        yield from lines
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise CommandError(
            f"{path}: is not UTF-8 text (byte 0x{byte:02x}); save it as CSV in UTF-8"
        ) from error


def _open_text(path):
    """Open a text file, unpacked if its name ends in .gz, without a byte-order mark."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")
