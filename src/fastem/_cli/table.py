"""A table with named columns, what is wanted of a file, and what its readers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem._cli import CommandError


class Table(NamedTuple):
    """Numbers with the names of their columns.

    Attributes
    ----------
    names : list of str
        One a column; ``x1``, ``x2``, … where the file has none.
    X : ndarray of shape (n_samples, n_columns), float64 or float32
        Of categories, their numbers.
    note : str
        What was left out of the file without being asked; else empty.
    labels : list of str or None
        The rows' own names, if the file has them.
    n_rows : int or None
        Rows of the file; None: n_samples.
    kept : ndarray of shape (n_samples,) or None
        The rows that are here, from 1; None: all.
    categories : list of list of str, or None
        What the numbers of each column stand for.
    """

    names: list[str]
    X: Any
    note: str = ""
    labels: list[str] | None = None
    n_rows: int | None = None
    kept: Any = None
    categories: list[list[str]] | None = None

    @property
    def n_dropped(self):
        """How many rows were left out for their missing values."""
        return 0 if self.n_rows is None else self.n_rows - len(self.X)

    def row_names(self):
        """Return a name for each sample: its own, or its number in the file, from 1."""
        if self.labels is not None:
            return self.labels
        return range(1, len(self.X) + 1) if self.kept is None else self.kept.tolist()


class Wanted(NamedTuple):
    """What is to be read of a table.

    Attributes
    ----------
    columns : list of str, or None
        By name, by number from 1, or 2-5; None: all.
    exclude : list of str
        Columns to leave out of these.
    drop_missing : bool
        Whether rows with a missing value are left out.
    codes : None, True or list of list of str
        None: cells are numbers. Else they are categories: those of each column, or whatever is
        there.
    """

    columns: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    drop_missing: bool = False
    codes: Any = None

    def positions(self, path, names, default):
        """Return the positions of the wanted columns."""
        keep = list(default) if self.columns is None else _choose(path, names, self.columns)
        if len(set(keep)) < len(keep):
            raise CommandError(f"{path}: --columns names a column twice")
        out = set(_choose(path, names, self.exclude))
        keep = [j for j in keep if j not in out]
        if not keep:
            raise CommandError(f"{path}: --exclude leaves no column")
        return keep

    def categories(self, n_columns):
        """Return the known categories of each column, None where any will do."""
        return [None] * n_columns if self.codes is True else self.codes


class Codes:
    """Numbers of a column's categories, in the order in which these come.

    Parameters
    ----------
    known : list of str or None
        The only ones there are; None: whatever comes.
    """

    def __init__(self, known=None):
        self.open = known is None
        self.place = {name: i for i, name in enumerate(known or ())}

    @property
    def names(self):
        """The categories."""
        return list(self.place)

    def of(self, cell):
        """Return the number of a category, None if it is none."""
        return self.place.setdefault(cell, len(self.place)) if self.open else self.place.get(cell)

    def sorted(self, codes):
        """Put new categories in alphabetical, or numerical, order; return their numbers there."""
        if not self.open:
            return codes
        names = self.names
        key = float if all(map(is_number, names)) else str
        order = sorted(range(len(names)), key=lambda i: key(names[i]))
        self.place = {names[i]: n for n, i in enumerate(order)}
        return np.argsort(order)[codes.astype(np.intp)].astype(np.float64)


def _choose(path, names, columns):
    """Return the positions of columns that are given by name, by number from 1, or as 2-5."""
    positions: list[int] = []
    for column in columns:
        first, dash, last = column.partition("-")
        if names.count(column) > 1:
            raise CommandError(f"{path}: {column!r} names several columns; choose by number")
        if column in names:
            positions.append(names.index(column))
        elif column.isdecimal() and 1 <= int(column) <= len(names):
            positions.append(int(column) - 1)
        elif dash and first.isdecimal() and last.isdecimal() and (
            1 <= int(first) <= int(last) <= len(names)
        ):  # fmt: skip
            positions.extend(range(int(first) - 1, int(last)))
        else:
            raise CommandError(
                f"{path}: has no column {column!r}; it has {short(', '.join(names), 200)}"
            )
    return positions


def advice_on_columns(numbers, n_columns):
    """The remedy for a column that holds no numbers: the option that keeps the ones that do."""
    listed = ",".join(numbers)
    if not 0 < len(numbers) < n_columns:
        return "choose other columns with --columns"
    if len(listed) > 60 or " " in listed or listed.count(",") >= len(numbers):
        return "choose the columns of numbers with --columns"
    return f"choose the columns of numbers: --columns {listed}"


def default_names(n_columns):
    """Names for columns that have none."""
    return [f"x{j + 1}" for j in range(n_columns)]


def is_number(cell):
    """Whether `float` takes the text."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def count(n, noun):
    """'1 column', '2 columns'."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def short(text, length=40):
    """Cut a long text."""
    return text if len(text) <= length else text[: length - 1] + "…"
