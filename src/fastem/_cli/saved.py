"""A fitted model in a file of skops, which runs no code when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from fastem._cli import CommandError, one_line

_REMEDY = "pip install skops"


class Saved(NamedTuple):
    """What new rows need.

    Attributes
    ----------
    model : str
        Its name on the command line.
    estimator : estimator
    columns : list of str
    scaling : dict of str to ndarray, or None
        The mean and the scale that were taken from the columns.
    categories : list of list of str, or None
    """

    model: str
    estimator: Any
    columns: list[str]
    scaling: Any
    categories: Any


def can_save():
    """Whether skops is there."""
    from importlib.util import find_spec

    return find_spec("skops") is not None


def to_skops(saved):
    """Yield the file's bytes."""
    import skops.io

    yield skops.io.dumps(saved._asdict())


def load(path):
    """Read a saved model, or say in one line why that is impossible."""
    path = Path(path)
    if not path.is_file():
        raise CommandError(f"{path}: no such file; give the .skops file that cluster wrote")
    if not can_save():
        raise CommandError(f"{path}: reading a saved model needs skops; run: {_REMEDY}")
    import skops.io

    try:
        types = skops.io.get_untrusted_types(file=path)
        foreign = [name for name in types if not name.startswith("fastem.")]
        if foreign:
            raise CommandError(f"{path}: holds {foreign[0]}, which is not of fastem; not read")
        content = skops.io.load(path, trusted=types)
        saved = Saved(**content)
        saved.estimator.predict  # noqa: B018  a file may hold anything
    except CommandError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive raises anything
        raise CommandError(
            f"{path}: is not a model that cluster wrote ({one_line(error)})"
        ) from error
    return saved
