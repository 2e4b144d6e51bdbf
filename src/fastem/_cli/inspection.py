"""What ``cluster`` says before it fits: what cannot be used, and what looks unwise."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastem._cli import CommandError, count, short
from fastem._cli.models import MODELS

_FAR_APART = 100  # times: columns whose scales differ by more are no longer comparable
_ROWS = 20_000  # that are worked on at a time


def check_options(args):
    """Refuse options that mean nothing to the model."""
    kind, name = MODELS[args.model], args.model
    if kind.covariances is None and args.covariance_type != "full":
        raise CommandError(f"--model {name} has no covariances; leave out --covariance")
    if args.criterion is not None and args.criterion not in kind.criteria:
        known = ", ".join(kind.criteria)
        raise CommandError(f"--criterion {args.criterion} is not one of --model {name}'s: {known}")
    if args.standardize and kind.data != "numbers":
        raise CommandError(f"--standardize would change the {kind.data} of --model {name}")
    if args.compare and name not in ("mixture", "kmeans"):
        raise CommandError("--compare is for --model mixture and kmeans; leave it out")


class Moments(NamedTuple):
    """What there is to know of columns; values that are missing count for nothing."""

    low: Any
    high: Any
    mean: Any
    std: Any
    numbers_rows: Any  # which columns are n, n + 1, n + 2, ..., where some rows may lack

    def scaling(self):
        """Return the mean and the scale that columns are given 0 and 1 for."""
        most = np.maximum(abs(self.low), abs(self.high))
        constant = self.std <= 10 * np.finfo(np.float64).eps * most
        return {"mean": self.mean, "scale": np.where(constant, 1.0, self.std)}


def moments(X):
    """Return the moments of an array, which may be mapped, in parts."""
    n, d = X.shape
    total, squares, counts = np.zeros(d), np.zeros(d), np.zeros(d)
    low, high, rising, before = np.full(d, np.inf), np.full(d, -np.inf), np.ones(d, bool), None
    parts = [slice(begin, begin + _ROWS) for begin in range(0, n, _ROWS)]
    for part in parts:
        some = np.asarray(X[part], np.float64)
        counts += (~np.isnan(some)).sum(axis=0)
        with np.errstate(all="ignore"):
            total += np.nansum(some, axis=0)
        low, high = np.fmin(low, np.fmin.reduce(some)), np.fmax(high, np.fmax.reduce(some))
        steps = np.diff(some if before is None else np.vstack([before, some]), axis=0)
        rising &= ((steps >= 1) & (steps == np.floor(steps))).all(axis=0)
        before = some[-1:]
    with np.errstate(all="ignore"):
        mean = np.where(counts > 0, total / counts, 0)
        for part in parts:
            squares += np.nansum((X[part] - mean) ** 2, axis=0)
        std = np.sqrt(np.where(counts > 0, squares / counts, 0))
        return Moments(low, high, mean, std, rising & (n > 4) & (high - low < 1.5 * n))


def check_table(args, table, found):
    """Refuse what nothing can be fitted to."""
    kind = MODELS[args.model]
    n_samples, most = len(table.X), max(args.components)
    if n_samples < 2:
        columns = count(len(table.names), "column")
        raise CommandError(
            f"{args.file}: has {count(n_samples, 'row')} and {columns}; give 2 rows at least"
        )
    if most > n_samples:
        raise CommandError(
            f"{args.file}: has {n_samples:,} rows, too few for {most:,} {kind.noun}s; give -k "
            f"{n_samples} or fewer"
        )
    for name, low, high in zip(table.names, found.low, found.high, strict=True):
        if low > high:
            raise CommandError(
                f"{args.file}, column {name}: has no value at all; leave it out with --exclude"
            )
        if max(-low, high) > 1e150:
            raise CommandError(
                f"{args.file}, column {name}: {max(-low, high):g} is too large to be squared; "
                "divide the column by a constant"
            )
    if kind.data in ("binary", "counts"):
        _check_cells(args, table, kind.data)


def _check_cells(args, table, data):
    """Refuse cells that are no counts, or neither 0 nor 1, where these are meant."""
    for begin in range(0, len(table.X), _ROWS):
        X = table.X[begin : begin + _ROWS]
        wrong = (X < 0) | (np.floor(X) != X) if data == "counts" else (X != 0) & (X != 1)
        wrong &= ~np.isnan(X)
        if wrong.any():
            row, j = map(int, np.argwhere(wrong)[0])
            number = begin + row + 1 if table.kept is None else table.kept[begin + row]
            what = "no count" if data == "counts" else "neither 0 nor 1"
            raise CommandError(
                f"{args.file}, row {number} of data, column {table.names[j]}: {X[row, j]:g} is "
                f"{what}, as --model {args.model} needs; choose other columns with --columns, or "
                "another --model"
            )


def show_table(screen, args, table, found):
    """Say what was read, and what looks unwise in it."""
    name = "standard input" if args.file == "-" else args.file
    n_rows, n_columns = table.X.shape
    screen.print(name, "bold")
    screen.print(f"  {n_rows:,} rows × {n_columns:,} columns")
    for line in (*table.notes, *_doubts(args, table, found)):
        screen.print(f"  {line}", "dim")


def _doubts(args, table, found):
    """Yield a line about each thing that the user may not want."""
    kind, names = MODELS[args.model], np.array(table.names, object)
    if max(args.components) == len(table.X):
        yield f"as many {kind.noun}s as rows: each row may become its own"
    varies = found.low < found.high
    if not varies.all():
        listed = short(",".join(names[~varies]), 60)
        verb = "does" if (~varies).sum() == 1 else "do"
        yield f"{listed} {verb} not vary: leave out with --exclude"
    if kind.data != "numbers":
        return
    if found.numbers_rows.any():
        listed = short(",".join(names[found.numbers_rows]), 60)
        verb = "numbers" if found.numbers_rows.sum() == 1 else "number"
        yield f"{listed} only {verb} the rows: leave out with --exclude {listed}"
    spread = found.std[varies]
    if not args.standardize and len(spread) and spread.max() > _FAR_APART * spread.min():
        ratio = spread.max() / max(spread.min(), 1e-300)
        yield f"the columns' scales differ by {ratio:,.0f} ×: --standardize makes them comparable"
