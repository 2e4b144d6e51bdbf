"""A fitted model with what new rows need, in a file of skops, which runs no code when read."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem._cli import CommandError, need, one_line
from fastem._cli.reading import Rows

_ROWS = 10_000  # that are worked on at a time


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
    step = len(X) if hasattr(model, "transmat_") else _ROWS  # of states, rows follow each other
    labels, values = np.empty(len(X), dtype=np.intp), np.empty(len(X))
    for begin in range(0, len(X), step):
        rows = slice(begin, begin + step)
        labels[rows] = model.predict(X[rows])
        found = (model.transform if what == "distance" else model.predict_proba)(X[rows])
        values[rows] = found[np.arange(len(found)), labels[rows]]
    return labels, values, what
