"""Writes what a command found, all of its files or none."""

import io
import json
import os
import signal
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastem._cli import CommandError, is_number


def output_paths(source, folder, *endings):
    """Paths beside the source file, or in `folder`, with its name and the endings."""
    source = Path("stdin" if str(source) == "-" else source)
    if source.name in ("", ".."):  # a folder without a name, such as "."
        source = source.resolve()
    stem = Path(source.name.removesuffix(".gz")).stem
    return [(source.parent if folder is None else Path(folder)) / f"{stem}.{e}" for e in endings]


def existing_folder(path):
    """Return the nearest folder above a path that is there, whatever it is."""
    return next(folder for folder in Path(path).absolute().parents if folder.exists())


def check_outputs(paths, force):
    """Raise CommandError if the files cannot be written or, without `force`, exist already."""
    for path in paths:
        if path.is_dir():
            raise CommandError(f"{path}: is a folder; give another name")
        if path.exists() and not force:
            raise CommandError(
                f"{path}: exists already; add --force to replace it, or choose another --output-dir"
            )
        folder = existing_folder(path)
        if not folder.is_dir():
            raise CommandError(f"{folder}: is a file; --output-dir must be a folder")
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise CommandError(
                f"{folder}: cannot be written to ({error.strerror}); choose another --output-dir"
            ) from error


def write_all(files):
    """Write {path: pieces of text, or of bytes}, to files that are renamed when all are whole."""
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    path = next(iter(files))
    try:
        for path, pieces in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary[path], "wb") as file:
                for piece in pieces:
                    file.write(piece.encode() if isinstance(piece, str) else piece)
        with _undisturbed():
            for path in files:
                os.replace(temporary[path], path)
    except OSError as error:
        raise CommandError(f"{error.filename or path}: {error.strerror}") from error
    finally:
        for made in temporary.values():
            made.unlink(missing_ok=True)


@contextmanager
def _undisturbed():
    """Let no signal come between the renaming of the first and of the last file."""
    here = threading.current_thread() is threading.main_thread()  # which alone has signals
    numbers = [signal.SIGINT, signal.SIGTERM] if here else []
    before = {n: signal.signal(n, signal.SIG_IGN) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def safe_cell(text):
    """Return a cell of a CSV that no spreadsheet takes for a formula, quoted if need be."""
    if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not is_number(text):
        text = f"'{text}"
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def csv_of(header, names, columns):
    """Yield a CSV: a name, and a number of each column, a row; `columns` are equally long."""
    yield ",".join(map(safe_cell, header)) + "\n"
    line = ",".join(["{}", *("{}" if c.dtype.kind in "iu" else "{:.6g}" for c in columns)]) + "\n"
    for start in range(0, len(names), 10_000):
        part = slice(start, start + 10_000)
        cells = [map(safe_cell, map(str, names[part])), *(c[part].tolist() for c in columns)]
        yield "".join(line.format(*row) for row in zip(*cells, strict=True))


def to_npz(**arrays):
    """Yield arrays as a compressed .npz archive."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    yield buffer.getvalue()


def to_json(content):
    """Yield a dict of numbers, strings, lists and arrays as JSON; arrays show a row on a line.

    Numbers are written so that they read back as the same bits; one that is not defined is null.
    """
    separator = "{\n"
    for key, value in content.items():
        value = value.tolist() if hasattr(value, "tolist") else value
        yield f"{separator}  {json.dumps(key)}: {_rows(value, '  ')}"
        separator = ",\n"
    yield "\n}\n"


def _rows(value, indent):
    """JSON of a value in which only the innermost lists, and what is in dicts, stay on one line."""
    if isinstance(value, float) and not np.isfinite(value):
        return "null"
    if isinstance(value, dict):
        value = {k: None if isinstance(v, float) and v != v else v for k, v in value.items()}
    if not (isinstance(value, list) and value and isinstance(value[0], list | dict)):
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    inner = indent + "  "
    rows = f",\n{inner}".join(_rows(row, inner) for row in value)
    return f"[\n{inner}{rows}\n{indent}]"
