"""Writes what a command found, all of its files or none."""

import io
import json
import os
import signal
import threading
from pathlib import Path

import numpy as np

from fastem._cli import CommandError
from fastem._cli.table import is_number
from fastem._cli.text_files import layout_of


def check_outputs(paths, force):
    """Raise CommandError if the files cannot be written or, without `force`, exist already."""
    for path in paths:
        if path.exists() and not force:
            raise CommandError(
                f"{path}: exists already; add --force to replace it, or choose another --output-dir"
            )
    folder = paths[0].parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise CommandError(f"{folder}: is a file; --output-dir must be a folder")
    if not os.access(folder, os.W_OK):
        raise CommandError(f"{folder}: no permission to write; choose another --output-dir")


def write_all(texts):
    """Write {path: pieces of text, or of bytes}, to files that are renamed when all are whole.

    SIGTERM waits: for the piece that is being written, then nothing is left; or for the renaming.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in texts}
    with _Postponed(signal.SIGTERM) as terminated:
        try:
            for path, pieces in texts.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(temporary[path], "wb") as file:
                    for piece in pieces:
                        file.write(piece.encode() if isinstance(piece, str) else piece)
                        if terminated.came:
                            return
            for path in texts:
                os.replace(temporary[path], path)
        except OSError as error:
            raise CommandError(f"{error.filename or path}: {error.strerror}") from error
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)


class _Postponed:
    """A signal that is delivered when the block ends; `came` tells whether it was sent."""

    def __init__(self, number):
        self.number, self.came = number, False

    def __enter__(self):
        self.before = signal.getsignal(self.number)
        # Python handles signals in its main thread alone; None is a handler that is not Python's.
        self.here = threading.current_thread() is threading.main_thread()
        self.here = self.here and self.before not in (None, signal.SIG_IGN)
        if self.here:
            signal.signal(self.number, self._note)
        return self

    def __exit__(self, *_):
        if self.here:
            signal.signal(self.number, self.before)
            if self.came:
                signal.raise_signal(self.number)

    def _note(self, *_):
        self.came = True


def labels_csv(rows, labels, values, name="probability"):
    """Yield a CSV with a line for each sample: its name, its component, a value of that name."""
    yield f"row,label,{name}\n"
    for start in range(0, len(labels), 10_000):
        part = slice(start, start + 10_000)
        names = map(safe_cell, map(str, rows[part]))
        lines = zip(names, labels[part].tolist(), values[part].tolist(), strict=True)
        yield "".join("{},{},{:.6g}\n".format(*line) for line in lines)


def appended_csv(text, table, labels, values, name="probability"):
    """Yield a text table as CSV, with two columns more; they are empty in rows left out."""
    layout, lines = layout_of(text), text.rows(layout_of(text).delimiter)
    if layout.header:
        head = ",".join(map(safe_cell, next(lines)[1]))
        yield f"{head},label,{name}\n"
    kept = range(1, len(labels) + 1) if table.kept is None else table.kept.tolist()
    found = dict(zip(kept, zip(labels.tolist(), values.tolist(), strict=True), strict=True))
    for number, (_, cells) in enumerate(lines, 1):
        more = "{},{:.6g}".format(*found[number]) if number in found else ","
        yield ",".join(map(safe_cell, cells)) + f",{more}\n"


def safe_cell(text):
    """Return a cell of a CSV that no spreadsheet takes for a formula, quoted if need be."""
    if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not is_number(text):
        text = f"'{text}"
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def documents_csv(names, n_tokens, doc_topic):
    """Yield a CSV with a line for each document: its words, main topic, and p(topic|document)."""
    topics = ",".join(f"topic_{k}" for k in range(doc_topic.shape[1]))
    yield f"document,words,topic,{topics}\n"
    main = doc_topic.argmax(axis=1).tolist()
    for name, n, topic, row in zip(names, n_tokens.tolist(), main, doc_topic, strict=True):
        yield (
            f"{safe_cell(name)},{n:.10g},{topic},"
            + ",".join(map("{:.6g}".format, row.tolist()))
            + "\n"
        )


def to_npz(**arrays):
    """Yield arrays as a compressed .npz archive."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    yield buffer.getvalue()


def to_json(content):
    """Yield a dict of numbers, strings, lists and arrays as JSON; arrays show a row on a line.

    Numbers are written so that they read back as the same bits.
    """
    separator = "{\n"
    for key, value in content.items():
        value = value.tolist() if hasattr(value, "tolist") else value
        yield f"{separator}  {json.dumps(key)}: {_rows(value, '  ')}"
        separator = ",\n"
    yield "\n}\n"


def _rows(value, indent):
    """JSON of a value in which only the innermost lists, and what is in dicts, stay on one line."""
    if not (isinstance(value, list) and value and isinstance(value[0], list | dict)):
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    inner = indent + "  "
    rows = f",\n{inner}".join(_rows(row, inner) for row in value)
    return f"[\n{inner}{rows}\n{indent}]"


def output_paths(source, folder, *endings):
    """Paths beside the source file, or in `folder`, with its name and the endings."""
    source = Path("stdin" if str(source) == "-" else source)
    name = source.name.removesuffix(".gz")
    stem = Path(name).stem
    return [(source.parent if folder is None else Path(folder)) / f"{stem}.{e}" for e in endings]
