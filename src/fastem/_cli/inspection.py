"""What ``cluster`` says before it fits: what cannot be used, and what looks unwise."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import StandardScaler

from fastem._cli import CommandError, count, short
from fastem._cli.models import MODELS

_FAR_APART = 100  # times: columns whose scales differ by more are no longer comparable
_ROWS = 20_000  # that are worked on at a time
#: What cells are wrong, and what one is then.
_WRONG = {
    "counts": (lambda X: (X < 0) | (np.floor(X) != X), "no count"),
    "binary": (lambda X: (X != 0) & (X != 1), "neither 0 nor 1"),
}


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


class Columns(NamedTuple):
    """What there is to know of columns; values that are missing count for nothing."""

    low: Any
    high: Any
    mean: Any
    scale: Any  # the standard deviation, or 1 where nothing varies
    numbers_rows: Any  # which columns are n, n + 1, n + 2, ..., where some rows may lack


def check_table(args, table):
    """Refuse what nothing can be fitted to; return what there is to know of the columns."""
    kind, X, where = MODELS[args.model], table.X, args.file
    (n, d), most = X.shape, max(args.components)
    if n < 2:
        shape = f"{count(n, 'row')} and {count(d, 'column')}"
        raise CommandError(f"{where}: has {shape}; give 2 rows at least")
    if most > n:
        raise CommandError(
            f"{where}: has {n:,} rows, too few for {most:,} {kind.noun}s; give -k {n} or fewer"
        )
    scaler, before = StandardScaler(), np.full((1, d), np.nan)
    low, high, rising = np.full(d, np.inf), np.full(d, -np.inf), np.full(d, n > 4)
    for begin in range(0, n, _ROWS):
        some = np.asarray(X[begin : begin + _ROWS], np.float64)
        _check_cells(args, table, begin, some)
        with np.errstate(all="ignore"):
            scaler.partial_fit(some)
        low, high = np.fmin(low, np.fmin.reduce(some)), np.fmax(high, np.fmax.reduce(some))
        steps = np.diff(some if begin == 0 else np.vstack([before, some]), axis=0)
        rising, before = rising & ((steps >= 1) & (steps % 1 == 0)).all(axis=0), some[-1:]
    for name, least, largest in zip(table.names, low, high, strict=True):
        if least > largest:
            raise CommandError(
                f"{where}, column {name}: has no value at all; leave it out with --exclude"
            )
        if max(-least, largest) > 1e150:
            raise CommandError(
                f"{where}, column {name}: {max(-least, largest):g} is too large to be squared; "
                "divide the column by a constant"
            )
    return Columns(low, high, scaler.mean_, scaler.scale_, rising & (high - low < 1.5 * n))


def _check_cells(args, table, begin, X):
    """Refuse cells that are no counts, or neither 0 nor 1, where these are meant."""
    kind = MODELS[args.model].data
    if kind not in _WRONG:
        return
    is_wrong, what = _WRONG[kind]
    wrong = is_wrong(X) & ~np.isnan(X)
    if wrong.any():
        row, j = map(int, np.argwhere(wrong)[0])
        raise CommandError(
            f"{args.file}, row {table.row_numbers()[begin + row]} of data, column "
            f"{table.names[j]}: {X[row, j]:g} is {what}, as --model {args.model} needs; choose "
            "other columns with --columns, or another --model"
        )


def show_table(screen, args, table, found):
    """Say what was read, and what looks unwise in it."""
    screen.print("standard input" if args.file == "-" else args.file, "bold")
    screen.print(f"  {table.X.shape[0]:,} rows × {table.X.shape[1]:,} columns")
    for line in (*table.notes, *_doubts(args, table, found)):
        screen.print(f"  {line}", "dim")


def _doubts(args, table, found):
    """Yield a line about each thing that the user may not want."""
    kind, names = MODELS[args.model], np.array(table.names, object)
    numbers, varies = kind.data == "numbers", found.low < found.high
    if max(args.components) == len(table.X):
        yield f"as many {kind.noun}s as rows: each row may become its own"
    for which, one, several in ((~varies, "does not vary", "do not vary"), (
        found.numbers_rows & numbers, "only numbers the rows", "only number the rows"
    )):  # fmt: skip
        if which.any():
            listed = short(",".join(names[which]), 60)
            verb = one if which.sum() == 1 else several
            yield f"{listed} {verb}: leave out with --exclude {listed}"
    spread = found.scale[varies]
    far = len(spread) and spread.max() > _FAR_APART * spread.min()
    if numbers and far and not args.standardize:
        ratio = spread.max() / max(spread.min(), 1e-300)
        yield f"the columns' scales differ by {ratio:,.0f} ×: --standardize makes them comparable"
