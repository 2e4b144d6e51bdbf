"""Reads a table's column of texts: .csv, .tsv, .jsonl, .parquet."""

import gzip
import json
import zlib
from pathlib import Path
from typing import NamedTuple

from fastem._cli import CommandError, one_line
from fastem._cli.table import Wanted, short
from fastem._cli.text_files import Text, layout_of

#: Endings of files that are tables; .gz may follow.
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


class Texts(NamedTuple):
    """Documents that are text.

    Attributes
    ----------
    names : list of str
        One a document: the number of its line, or its path in the folder.
    texts : list of str
    note : str
        What was left out without being asked; else empty.
    """

    names: list[str]
    texts: list[str]
    note: str = ""


def read_column(path, column, encoding="utf-8"):
    """Return the texts of a column, by name or by number from 1; blank ones are left out.

    Parameters
    ----------
    path : Path
    column : str
    encoding : str, default='utf-8'
    """
    if path.is_dir():
        raise CommandError(f"{path}: is a folder, and --column names a column of a table")
    names, rows = _open(path, encoding)
    (place,) = Wanted([column]).positions(path, names, ())
    kept: list[tuple[str, str]] = []
    n_rows = 0
    for number, cells in rows:
        n_rows += 1
        if len(cells) <= place:
            raise CommandError(f"{path}, line {number}: has no column {column!r}")
        text = cells[place]
        if text is not None and not isinstance(text, str):
            raise CommandError(
                f"{path}, line {number}, column {column}: {short(repr(text))} is no text"
            )
        if text and text.strip():
            kept.append((str(number), text))
    left = n_rows - len(kept)
    note = f"{left:,} rows without a text left out" if left else ""
    return Texts([name for name, _ in kept], [text for _, text in kept], note)


def column_names(path, encoding="utf-8"):
    """Return the names of a table's columns."""
    return _open(path, encoding)[0]


def _open(path, encoding):
    """Return the names of the columns, and an iterator of (line, cells)."""
    suffixes = [s.lower() for s in Path(path).suffixes if s.lower() != ".gz"]
    if suffixes[-1:] in ([".jsonl"], [".ndjson"]):
        return _open_json(path, encoding)
    if suffixes[-1:] == [".parquet"]:
        return _open_parquet(path)
    if suffixes[-1:] not in ([".csv"], [".tsv"], [".txt"]):
        raise CommandError(f"{path}: is no table with columns; can read {', '.join(TABLES)}")
    text = Text(path, encoding)
    layout = layout_of(text)
    rows = text.rows(layout.delimiter)
    if layout.header:
        next(rows)
    return layout.names, rows


def _open_json(path, encoding):
    """Read objects, one a line; the names are those of the first."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    records = []
    try:
        with opener(path, "rt", encoding="utf-8-sig" if encoding == "utf-8" else encoding) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    records.append((number, json.loads(line)))
                    if not isinstance(records[-1][1], dict):
                        raise CommandError(f"{path}, line {number}: is no JSON object")
    except json.JSONDecodeError as error:
        raise CommandError(f"{path}, line {number}: is no JSON object ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: is not {encoding.upper()} text") from error
    if not records:
        raise CommandError(f"{path}: holds nothing but blank lines")
    names = list(records[0][1])
    return names, ((number, [record.get(name) for name in names]) for number, record in records)


def _open_parquet(path):
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError as error:
        raise CommandError(
            f"{path}: reading .parquet needs pyarrow; run: pip install pyarrow"
        ) from error
    try:
        table = read_table(path)
    except (ArrowException, zlib.error) as error:
        raise CommandError(f"{path}: not a Parquet file ({one_line(error)})") from error
    columns = [column.to_pylist() for column in table.columns]
    return table.column_names, enumerate(map(list, zip(*columns, strict=True)), 1)
