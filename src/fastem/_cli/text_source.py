"""Separated text (.csv, .tsv, .txt, standard input), or what in it cannot be read, and where.

Some lines at a time are given to pyarrow, if it is there. What it cannot read, and all without it,
the standard library's `csv` reads, which defines what is accepted and knows every place.
"""

import csv
import gzip
import io
import sys
from itertools import chain, islice
from pathlib import Path

import numpy as np

from fastem._cli import CommandError, count, is_number

#: How people write a missing value.
GAPS = {"", "na", "n/a", "nan", "null", "none", "nil", "?", "-", ".", "<na>"}
_ROWS = 20_000  # that are read at a time


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

    unit = "line"

    def __init__(self, path, encoding="utf-8", decimal="."):
        self.path, self.decimal = Path(path), decimal
        self.encoding = "utf-8-sig" if encoding.lower().replace("_", "-") == "utf-8" else encoding
        self.name = "standard input" if str(path) == "-" else str(path)
        self.data = sys.stdin.buffer.read() if str(path) == "-" else None
        self._find_layout()

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
            what = "UTF-8" if what.startswith(("utf-8", "utf_8")) else what
            byte = getattr(error, "object", b"")[getattr(error, "start", 0) :][:1]
            where = f" (byte 0x{byte[0]:02x})" if byte else ""
            raise CommandError(
                f"{self.name}: is not {what} text{where}; save it as CSV in UTF-8, or name its "
                "encoding, as --encoding cp1252"
            ) from error

    def rows(self, lines=None, before=0):
        """Yield (line number, cells) of every line that is not blank."""
        reader = csv.reader(
            self.lines() if lines is None else lines, delimiter=self.delimiter,
            skipinitialspace=self.delimiter == " ",
        )  # fmt: skip
        try:
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    yield before + reader.line_num, row
        except csv.Error as error:
            place = f"{self.name}, line {before + reader.line_num}"
            raise CommandError(f"{place}: cannot be read as CSV ({error})") from error

    def pieces(self, keep, numbers):
        """Yield (line numbers, rows, the rows' own names or None); rows are cells, or an array."""
        lines, done = self.lines(), 0
        if self.header:
            done = next(self.rows(lines))[0]
        while piece := list(islice(lines, _ROWS)):
            X = self._quickly(piece, keep) if numbers and self.label_column is None else None
            if X is not None:
                yield range(done + 1, done + 1 + len(X)), X, None
            elif any('"' in line for line in piece):  # a cell may go on in the next piece
                rows = self.rows(chain(piece, lines), done)
                while some := list(islice(rows, _ROWS)):
                    yield self._cut(some, keep)
            else:
                yield self._cut(list(self.rows(piece, done)), keep)
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
        """Return what pyarrow reads in lines, or None if anything at all is unusual."""
        try:
            from pyarrow import ArrowException, csv, float64
        except ImportError:
            return None
        commas = len(self.names) - 1
        if any(line.count(self.delimiter) != commas or not line.strip() for line in lines):
            return None
        columns = [str(j) for j in range(len(self.names))]
        try:
            table = csv.read_csv(
                io.BytesIO("".join(lines).encode()),
                csv.ReadOptions(column_names=columns),
                csv.ParseOptions(delimiter=self.delimiter, quote_char=False),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, float64()), decimal_point=self.decimal,
                    include_columns=[columns[j] for j in keep],
                    null_values=[gap for one in GAPS for gap in {one, one.upper(), one.title()}],
                ),
            )  # fmt: skip
        except ArrowException:
            return None
        X = np.column_stack([column.to_numpy() for column in table.columns])
        return None if len(X) != len(lines) or np.isinf(X).any() else X

    def whole(self, keep, large):
        """Return None: text is no array."""

    # ---- the layout -----------------------------------------------------------------------------

    def _find_layout(self):
        """Find out delimiter, header, names and the column of row names from the first lines."""
        self._find_delimiter()
        head = list(islice(self.rows(), 2))
        (line, first), (next_line, second) = head[0], head[-1]
        self.header = self._is_header(first, second)
        if self.header and len(head) == 1:
            raise CommandError(f"{self.name}: has a header but no data")
        self.names = [f"x{j + 1}" for j in range(len(first))]
        if self.header:
            self.names = [c.strip() or name for c, name in zip(first, self.names, strict=True)]
        self.first = second if self.header else first
        if len(self.first) != len(first):
            raise CommandError(
                f"{self.name}, line {next_line}: has {count(len(second), 'column')} where line "
                f"{line} has {len(first)}; give every line the same columns"
            )
        # pandas and R write their row labels as a first column without a name.
        labelled = self.header and len(first) > 1 and not first[0].strip()
        self.label_column = 0 if labelled else None

    def _find_delimiter(self):
        """Take the separator that cuts each of the first two lines into most cells."""
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
        self.delimiter = max(counts, key=counts.__getitem__)

    def _is_header(self, first, second):
        """Whether a first line is names: no number in it, or a word where the next has a number.

        So ``5.1,3.5,setosa`` is data, ``id,2019,2020`` above ``1,40,50`` is a header, and a gap
        (``5.1,NA``) is no word.
        """
        if not any(map(self._is_number, first)):
            return True
        return any(
            self._is_number(below)
            and not self._is_number(cell)
            and cell.strip().lower() not in GAPS
            for cell, below in zip(first, second, strict=False)
        )

    def _is_number(self, cell):
        return is_number(cell.replace(",", ".", 1) if self.decimal == "," else cell)

    def numeric_columns(self):
        """Return the positions of the columns that have a number in the first row."""
        return [j for j, cell in enumerate(self.first) if self._is_number(cell)]
