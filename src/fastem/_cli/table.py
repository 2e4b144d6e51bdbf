"""A table of numbers with names, and what its readers share."""

from typing import NamedTuple

import numpy as np

from fastem._cli import CommandError

_A_MODEL = {"mixture": "a mixture", "kmeans": "k-means"}
_PARTS = {"mixture": "components", "kmeans": "clusters"}


class Table(NamedTuple):
    """Numbers with the names of their columns.

    Attributes
    ----------
    names : list of str
        One a column; ``x1``, ``x2``, … where the file has none.
    X : ndarray of shape (n_samples, n_columns), float64 or float32
    note : str
        What was left out of the file without being asked; else empty.
    """

    names: list[str]
    X: np.ndarray
    note: str = ""


def choose_columns(path, names, columns):
    """Return the positions of the wanted columns, given by name or by number from 1."""
    positions = []
    for column in columns:
        if names.count(column) > 1:
            raise CommandError(f"{path}: {column!r} names several columns; choose by number")
        if column in names:
            positions.append(names.index(column))
        elif column.isdecimal() and 1 <= int(column) <= len(names):
            positions.append(int(column) - 1)
        else:
            raise CommandError(
                f"{path}: has no column {column!r}; it has {short(', '.join(names), 200)}"
            )
    if len(set(positions)) < len(positions):
        raise CommandError(f"{path}: --columns names a column twice")
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


def check_table(args, table):
    """Refuse what nothing can be fitted to."""
    if args.compare and args.covariance_type != "full":
        raise CommandError("--compare knows full covariances only; leave out --covariance-type")
    X = table.X
    n_samples, n_columns = X.shape
    most = max(args.components)
    if n_samples < 2 or n_columns < 1:
        raise CommandError(
            f"{args.file}: has {count(n_samples, 'row')} and {count(n_columns, 'column')}; "
            f"{_A_MODEL[args.model]} needs 2 rows at least"
        )
    if most > n_samples:
        raise CommandError(
            f"{args.file}: has {count(n_samples, 'row')}, too few for {most} {_PARTS[args.model]}; "
            f"give -k {n_samples} or fewer"
        )
    row, j = divmod(int(abs(X).argmax()), n_columns)
    if abs(float(X[row, j])) > 1e150:
        raise CommandError(
            f"{args.file}, row {row + 1} of data, column {table.names[j]}: {X[row, j]:g} is too "
            "large to be squared; divide the column by a constant"
        )


def show_table(screen, file, table):
    """Say what was read."""
    n_samples, n_columns = table.X.shape
    screen.print(f"{screen.bold(file)}  {n_samples:,} rows × {n_columns:,} columns")
    if table.note:
        screen.print(screen.dim(f"  {table.note}"))
