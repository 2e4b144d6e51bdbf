"""Separated text (.csv, .tsv, .txt, standard input), or what in it cannot be read, and where.

NumPy reads some lines at a time. What it cannot read, the standard library's `csv` reads, which
defines what is accepted and knows every place.
"""

import csv
import gzip
import io
import re
import sys
from contextlib import suppress
from itertools import chain, islice

import numpy as np

from fastem._cli import CommandError, count, is_number

#: How people write a missing value.
GAPS = {"", "na", "n/a", "nan", "null", "none", "nil", "?", "-", ".", "<na>"}
_ROWS = 20_000  # that are read at a time


def lines_of(path, encoding="utf-8", newline="\n", data=None, errors="strict"):
    """Yield the lines of a file, unpacked if its name ends in .gz, or of `data`; all are text."""
    codec = "utf-8-sig" if encoding.lower().replace("_", "-") == "utf-8" else encoding
    opener = gzip.open if str(path).lower().endswith(".gz") else open
    try:
        raw = io.BytesIO(data) if data is not None else opener(path, "rb")
        with io.TextIOWrapper(raw, codec, errors, newline) as lines:
            for line in lines:
                if "\0" in line:  # valid UTF-8, but no text has it
                    raise UnicodeError
                yield line
    except UnicodeError as error:
        byte = getattr(error, "object", b"")[getattr(error, "start", 0) :][:1]
        where = f" (byte 0x{byte[0]:02x})" if isinstance(byte, bytes) and byte else ""
        raise CommandError(
            f"{path}: is not {encoding.upper()} text{where}; save it in UTF-8, or name its "
            "encoding, as --encoding cp1252"
        ) from error


def _filled(word):
    """Return what NumPy reads as missing, where people have another word for that."""
    return "nan" if word[0].strip().lower() in GAPS else word[0]


class TextSource:
    """A table in text that can be read several times.

    Parameters
    ----------
    path : Path or '-'
        A file, unpacked if its name ends in .gz; ``-`` is standard input.
    encoding : str
        A byte-order mark is left out.
    decimal : str
        What stands before decimals, ``.`` or ``,``.
    """

    unit, array = "line", None

    def __init__(self, path, encoding="utf-8", decimal="."):
        self.encoding, self.decimal = encoding, decimal
        self.name = "standard input" if str(path) == "-" else str(path)
        self.data = sys.stdin.buffer.read() if str(path) == "-" else None
        self.delimiter = self._find_delimiter()
        self._find_layout()

    def lines(self):
        """Yield the lines."""
        lines = lines_of(self.name, self.encoding, "", self.data)
        yield next(lines, "").removeprefix("# ")  # numpy.savetxt begins its header so
        yield from lines

    def rows(self, lines=None, before=0):
        """Yield (line number, cells) of every line that is not blank."""
        lines, blank = self.lines() if lines is None else lines, self.delimiter == " "
        reader = csv.reader(lines, delimiter=self.delimiter, skipinitialspace=blank)
        try:
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    yield before + reader.line_num, row
        except csv.Error as error:
            place = f"{self.name}, line {before + reader.line_num}"
            raise CommandError(f"{place}: cannot be read as CSV ({error})") from error

    def pieces(self, keep, numbers=True):
        """Yield (line numbers, rows, the rows' own names or None); rows are cells, or an array."""
        lines, done = self.lines(), 0
        if self.header:
            done = next(self.rows(lines))[0]
        while piece := list(islice(lines, _ROWS)):
            quoted = any('"' in line for line in piece)
            X = self._quickly(piece, keep) if numbers and not quoted else None
            if X is None:  # a cell in quotes may go on in the next piece
                rows = self.rows(chain(piece, lines) if quoted else piece, done)
                while some := list(islice(rows, _ROWS)):
                    yield self._cut(some, keep)
            else:
                labels = [line.partition(self.delimiter)[0] for line in piece]
                places = range(done + 1, done + 1 + len(X))
                yield places, X, None if self.label_column is None else labels
            done += len(piece)

    def _cut(self, rows, keep):
        """Return a piece of (line number, cells); all rows must be equally long."""
        for line, cells in rows:
            if len(cells) != len(self.names):
                raise CommandError(
                    f"{self.name}, line {line}: has {count(len(cells), 'column')} where the first "
                    f"line has {len(self.names)}; give every line the same columns"
                )
        label = self.label_column
        labels = None if label is None else [cells[label] for _, cells in rows]
        return [line for line, _ in rows], [[cells[j] for j in keep] for _, cells in rows], labels

    def _quickly(self, lines, keep):
        """Return what NumPy reads in lines without quotes, or None if anything is unusual."""
        mark, commas = self.delimiter, len(self.names) - 1
        if any(line.count(mark) != commas or not line.strip() for line in lines):
            return None
        if self.decimal == ",":
            lines = [line.replace(",", ".") for line in lines]
        word = rf"(?<=[\n{mark}])[^\d\n{mark}]*(?=[\n{mark}])"  # no gap has a digit
        for fill in (False, mark != " "):
            if fill:
                text = "".join("\n" + line.rstrip("\r\n") for line in lines) + "\n"
                lines = re.sub(word, _filled, text).split("\n")[1:-1]
            with suppress(ValueError):
                X = np.loadtxt(lines, delimiter=mark, usecols=keep, comments=None, ndmin=2)
                return None if len(X) != len(lines) or np.isinf(X).any() else X
        return None

    # ---- the layout -----------------------------------------------------------------------------

    def _find_delimiter(self):
        """Return the separator that cuts each of the first two lines into most cells."""
        head = list(islice((line.strip("\r\n") for line in self.lines() if line.strip()), 2))
        if not head:
            raise CommandError(f"{self.name}: holds nothing but blank lines")
        marks = ",;\t| " if self.decimal == "." else ";\t| "
        try:
            counts = {d: min(map(len, csv.reader(head, delimiter=d))) for d in marks}
        except csv.Error as error:
            raise CommandError(f"{self.name}, line 1: cannot be read as CSV ({error})") from error
        if max(counts[d] for d in marks[:-1]) > 1:
            del counts[" "]  # blanks inside cells
        return max(counts, key=counts.__getitem__)

    def _find_layout(self):
        """Find out header, names and the column of row names from the first two rows."""
        head = list(islice(self.rows(), 2))
        (line, first), (next_line, second) = head[0], head[-1]
        self.header = self._is_header(first, second)
        if self.header and len(head) == 1:
            raise CommandError(f"{self.name}: has a header but no data")
        self.names = [f"x{j + 1}" for j in range(len(first))]
        if self.header:
            self.names = [c.strip() or name for c, name in zip(first, self.names, strict=True)]
        if len(second) != len(first):
            raise CommandError(
                f"{self.name}, line {next_line}: has {count(len(second), 'column')} where line "
                f"{line} has {len(first)}; give every line the same columns"
            )
        # pandas and R write their row labels as a first column without a name.
        labelled = self.header and len(first) > 1 and not first[0].strip()
        self.label_column = 0 if labelled else None

    def _is_header(self, first, second):
        """Whether a first line is names: no number in it, or a word where the next has a number.

        So ``5.1,3.5,setosa`` is data, ``id,2019,2020`` above ``1,40,50`` is a header, and a gap
        (``5.1,NA``) is no word.
        """
        known = [is_number(cell, self.decimal) for cell in first]
        words = [not one and cell.strip().lower() not in GAPS
                 for one, cell in zip(known, first, strict=True)]  # fmt: skip
        below = [is_number(cell, self.decimal) for cell in second]
        return not any(known) or any(map(min, words, below))
