"""``python -m fastem predict MODEL FILE``: the components of new rows, by a model of ``cluster``.

``NAME.labels.csv`` has, for each row of FILE, its name or number, its component and the probability
of that (of k-means, the distance to the center); with ``--append`` it is the table itself, with
these two as further columns, which are empty in rows that were left out.

The model comes in a file of skops, which runs no code when read, with all that new rows need.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import get_tags

from fastem._cli import CommandError, need, one_line, outputs
from fastem._cli.reading import Rows, Wanted, open_table, read_table
from fastem._cli.screen import Screen
from fastem._cli.sources import cell_text

_ROWS = 10_000  # that are worked on at a time


def main(args):
    """Read, predict, write."""
    (path,) = outputs.output_paths(args.file, args.output_dir, "labels.csv")
    outputs.check_outputs([path], args.force)
    folder, kept = outputs.existing_folder(path), load(args.model)
    wanted = Wanted(
        kept.columns, (), args.drop_missing, get_tags(kept.estimator).input_tags.allow_nan,
        kept.categories, False, args.encoding, args.decimal, folder,
    )  # fmt: skip
    source = open_table(args.file, wanted)
    table = read_table(args.file, wanted, source)
    X = scaled(table.X, kept.scaling, folder)
    try:
        labels, values, of_what = assign(kept.estimator, X)
    except ValueError as error:
        raise CommandError(f"{args.file}: {one_line(error)}") from error
    content = outputs.csv_of(["row", "label", of_what], table.row_names(), [labels, values])
    if args.append:
        content = _appended(source, table, labels, values, of_what)
    outputs.write_all({path: content})
    screen = Screen()
    screen.print(f"{args.file}  {len(X):,} rows, by {args.model}")
    for note in (*table.notes, path):
        screen.print(f"  {note}", "" if note == path else "dim")


def _appended(source, table, labels, values, of_what):
    """Yield a table as CSV, with two columns more."""
    if getattr(source, "header", True):
        names = ["" if j == source.label_column else name for j, name in enumerate(source.names)]
        yield ",".join(map(outputs.safe_cell, [*names, "label", of_what])) + "\n"
    found = zip(table.row_numbers(), labels.tolist(), values.tolist(), strict=True)
    row, following = 0, next(found, None)
    for _, rows, _ in source.pieces(list(range(len(source.names))), False):
        for cells in rows:
            row, more = row + 1, ["", ""]
            if following is not None and following[0] == row:
                more, following = [str(following[1]), f"{following[2]:.6g}"], next(found, None)
            yield ",".join([*(outputs.safe_cell(cell_text(cell)) for cell in cells), *more]) + "\n"


# ---- saved models -------------------------------------------------------------------------------


class Saved(NamedTuple):
    """What new rows need."""

    model: str  # its name on the command line
    estimator: Any
    columns: list[str]
    scaling: Any  # the mean and the scale that were taken from the columns, or None
    categories: Any  # what codes stand for, or None


def can_save():
    """Whether skops is there."""
    return find_spec("skops") is not None


def to_skops(saved):
    """Yield the file's bytes."""
    import skops.io

    yield skops.io.dumps(saved._asdict())


def load(path):
    """Read a saved model, or say in one line why that is impossible."""
    if not Path(path).is_file():
        raise CommandError(f"{path}: no such file; give the .skops file that cluster wrote")
    io = need("skops.io", "skops", f"{path}: reading a saved model")
    try:
        types = io.get_untrusted_types(file=path)
        foreign = [name for name in types if not name.startswith("fastem.")]
        if not foreign:
            saved = Saved(**io.load(path, trusted=types))
            saved.estimator.predict  # noqa: B018  a file may hold anything
            return saved
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive raises anything
        why = one_line(error)
        raise CommandError(f"{path}: is not a model that cluster wrote ({why})") from error
    raise CommandError(f"{path}: holds {foreign[0]}, which is not of fastem; not read")


def scaled(X, scaling, folder=None):
    """Return the columns less their means, by their scales; of a mapped X mapped, too."""
    if scaling is None:
        return X
    made = Rows(X.shape[1], folder)
    for begin in range(0, len(X), _ROWS):
        made.add((X[begin : begin + _ROWS] - scaling["mean"]) / scaling["scale"])
    return made.array()


def assign(model, X):
    """Return each row's part, its probability or, of k-means, its distance, and which it is."""
    what = "distance" if hasattr(model, "cluster_centers_") else "probability"
    follow = hasattr(model, "transmat_")  # rows follow each other: they are read as one sequence
    step = max(1, len(X)) if follow else _ROWS
    labels, values = np.empty(len(X), dtype=np.intp), np.empty(len(X))
    for begin in range(0, len(X), step):
        rows = slice(begin, begin + step)
        labels[rows] = model.predict(X[rows])
        found = (model.transform if what == "distance" else model.predict_proba)(X[rows])
        values[rows] = found[np.arange(len(found)), labels[rows]]
    return labels, values, what
