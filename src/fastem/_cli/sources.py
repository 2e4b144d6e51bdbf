"""Tables in files, or what in them cannot be read, and where.

A source has `name`, `names` of all columns, `unit` (what its places are counted in),
`label_column` (which names the rows, or None), ``pieces(keep, numbers)``, which yields (places,
rows, labels), and `array`, if the file is one.

Separated text is read some lines at a time by NumPy. What it cannot read, the standard library's
`csv` reads, which defines what is accepted and knows every place.
"""

import csv
import gzip
import io
import re
import sys
from contextlib import suppress
from itertools import chain, islice

import numpy as np

from fastem._cli import CommandError, count, is_number, need, one_line

#: How people write a missing value.
GAPS = {"", "na", "n/a", "nan", "null", "none", "nil", "?", "-", ".", "<na>"}
_ROWS = 20_000  # that are read at a time
_UNNAMED = "Unnamed: 0", "__index_level_"  # what pandas calls an index without a name


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
    """A table in text, or standard input if the path is ``-``, that can be read several times."""

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
        head = [cells for _, cells in islice(self.rows(), 2)]
        first, second = head[0], head[-1]
        self.header = self._is_header(first, second)
        if self.header and len(head) == 1:
            raise CommandError(f"{self.name}: has a header but no data")
        self.names = [(self.header and cell.strip()) or f"x{j + 1}" for j, cell in enumerate(first)]
        # pandas and R write their row labels as a first column without a name.
        labelled = self.header and len(first) > 1 and not first[0].strip()
        self.label_column = 0 if labelled else None

    def _is_header(self, first, second):
        """Whether a first line is names: no number in it, or a word where the next has a number.

        So ``5.1,3.5,setosa`` is data, ``id,2019,2020`` above ``1,40,50`` is a header, and a gap
        (``5.1,NA``) is no word.
        """
        known, below = ([is_number(cell, self.decimal) for cell in row] for row in (first, second))
        words = [cell.strip().lower() not in GAPS for cell in first]
        return not any(known) or any(
            w and b and not k for w, b, k in zip(words, below, known, strict=False)
        )


# ---- other files --------------------------------------------------------------------------------


def cell_text(cell):
    """Return a cell's text: '' where it is missing, whole floats as integers."""
    text = "" if cell is None or cell != cell else str(cell).strip()
    return text.removesuffix(".0") if isinstance(cell, float | np.floating) else text


class ArraySource:
    """A source whose `read(keep)` yields arrays of some rows."""

    unit = "row"

    def __init__(self, path, names, read, label_column=None, array=None):
        self.name, self.names, self.read = str(path), names, read
        self.label_column, self.array = label_column, array
        if label_column is not None and names[label_column].startswith(_UNNAMED):
            names[label_column] = ""

    def pieces(self, keep, numbers=True):
        """Yield (places, rows, labels)."""
        begin, label = 1, self.label_column
        for rows in self.read([*keep, *([] if label is None else [label])]):
            labels, places = None, range(begin, begin + len(rows))
            if label is not None:
                rows, labels = rows[:, :-1], list(map(cell_text, rows[:, -1]))
            yield places, rows, labels
            begin += len(places)


def load_array(path):
    """Return what numpy.save wrote, mapped: a header that claims too much is found out first."""
    try:
        X = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # NumPy parses the header as Python: a damaged one raises anything
        raise CommandError(f"{path}: not a .npy file of numbers ({one_line(error)})") from error
    if not isinstance(X, np.ndarray):
        raise CommandError(f"{path}: is an .npz archive; save one array with numpy.save")
    if X.dtype.kind not in "fiub":
        raise CommandError(f"{path}: holds {X.dtype}; convert it to real numbers")
    return X


def _open_npy(path):
    """Open a NumPy array of one or two dimensions."""
    X = load_array(path)
    if X.ndim not in (1, 2):
        raise CommandError(f"{path}: holds an array of shape {X.shape}; make it one row a sample")
    X = X[:, None] if X.ndim == 1 else X
    if X.size == 0:
        raise CommandError(f"{path}: has {X.shape[0]} rows and {X.shape[1]} columns of numbers")

    def read(keep):
        return (X[begin : begin + _ROWS, keep] for begin in range(0, len(X), _ROWS))

    return ArraySource(path, [f"x{j + 1}" for j in range(X.shape[1])], read, array=X)


def _open_parquet(path):
    """Open an Apache Parquet table; the index that pandas keeps in it names the rows."""
    arrow = need("pyarrow", "parquet", f"{path}: reading .parquet")
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path, pre_buffer=False)  # or all of it would be in memory
        schema = file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", ())
    except arrow.ArrowException as error:
        raise CommandError(f"{path}: not a Parquet file ({one_line(error)})") from error
    stored = list(schema.names)

    def read(keep):
        wanted = [stored[j] for j in keep]
        try:
            for batch in file.iter_batches(_ROWS, columns=wanted):
                yield _stacked([batch.column(n).to_numpy(zero_copy_only=False) for n in wanted])
        except (arrow.ArrowException, KeyError) as error:
            raise CommandError(f"{path}: cannot be read ({one_line(error)})") from error

    labels = [stored.index(name) for name in index if name in stored]
    return ArraySource(path, list(stored), read, labels[0] if len(labels) == 1 else None)


def _open_excel(path):
    """Open the first sheet of a workbook; a first column without a name names the rows."""
    pandas = need("pandas", "excel", f"{path}: reading .xlsx")
    need("openpyxl", "excel", f"{path}: reading .xlsx")
    try:
        frame = pandas.read_excel(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged files raise anything
        raise CommandError(f"{path}: not a workbook ({one_line(error)})") from error
    names = [str(name) for name in frame.columns]
    label = 0 if len(names) > 1 and names[0].startswith(_UNNAMED) else None
    columns = [frame.iloc[:, j].to_numpy() for j in range(len(names))]
    return ArraySource(path, names, lambda keep: [_stacked([columns[j] for j in keep])], label)


def _stacked(columns):
    """Return columns as one array, of objects if one is no number."""
    numbers = all(column.dtype.kind in "fiub" for column in columns)
    return np.column_stack([column if numbers else column.astype(object) for column in columns])


READERS = {".npy": _open_npy, ".parquet": _open_parquet, ".xlsx": _open_excel}
