"""What ``cluster`` says of a table before it fits: what cannot be used, and what looks unwise."""

import numpy as np

from fastem._cli import CommandError
from fastem._cli.cluster_models import MODELS
from fastem._cli.table import count, short

_FAR_APART = 100  # times: columns whose scales differ by more are no longer comparable


def check_table(args, table):
    """Refuse what nothing can be fitted to."""
    kind = MODELS[args.model]
    if args.compare and args.model not in ("mixture", "kmeans"):
        raise CommandError("--compare is for --model mixture and kmeans; leave it out")
    if args.compare and args.covariance_type != "full":
        raise CommandError("--compare knows full covariances only; leave out --covariance-type")
    X = table.X
    n_samples, n_columns = X.shape
    most = max(args.components)
    if n_samples < 2 or n_columns < 1:
        raise CommandError(
            f"{args.file}: has {count(n_samples, 'row')} and {count(n_columns, 'column')}; "
            f"{kind.title} needs 2 rows at least"
        )
    if most > n_samples:
        raise CommandError(
            f"{args.file}: has {count(n_samples, 'row')}, too few for {most} {kind.noun}s; "
            f"give -k {n_samples} or fewer"
        )
    row, j = divmod(int(abs(X).argmax()), n_columns)
    if abs(float(X[row, j])) > 1e150:
        raise CommandError(
            f"{args.file}, row {row + 1} of data, column {table.names[j]}: {X[row, j]:g} is too "
            "large to be squared; divide the column by a constant"
        )
    _check_cells(args, table, kind.data)


def _check_cells(args, table, data):
    """Refuse cells that are no counts, or neither 0 nor 1, where these are meant."""
    X = table.X
    if data == "binary":
        wrong, what = (X != 0) & (X != 1), "neither 0 nor 1"
    elif data == "counts":
        wrong, what = (X < 0) | (np.floor(X) != X), "no count"
    else:
        return
    if wrong.any():
        row, j = (int(i) for i in np.argwhere(wrong)[0])
        raise CommandError(
            f"{args.file}, row {row + 1} of data, column {table.names[j]}: {X[row, j]:g} is "
            f"{what}, as --model {args.model} needs; choose other columns with --columns, or "
            "another --model"
        )


def scaling_of(table):
    """Return the mean and the scale that columns are given 0 and 1 for; constant ones keep 1."""
    X = table.X.astype(np.float64)
    scale = X.std(axis=0)
    constant = scale <= 10 * np.finfo(np.float64).eps * abs(X).max(axis=0)
    return {"mean": X.mean(axis=0), "scale": np.where(constant, 1.0, scale)}


def show_table(screen, args, table):
    """Say what was read, and what looks unwise in it."""
    n_samples, n_columns = table.X.shape
    name = "standard input" if args.file == "-" else args.file
    screen.print(f"{screen.bold(name)}  {n_samples:,} rows × {n_columns:,} columns")
    if table.note:
        screen.print(screen.dim(f"  {table.note}"))
    if table.n_dropped:
        screen.print(screen.dim(f"  {left_out(table)}"))
    for line in _doubts(args, table):
        screen.print(screen.dim(f"  {line}"))


def left_out(table):
    """Say how many rows are not there."""
    return f"{count(table.n_dropped, 'row')} with missing values left out"


def _doubts(args, table):
    """Yield a line about each thing that the user may not want."""
    X, names = table.X, table.names
    if max(args.components) == len(X):
        yield f"as many {MODELS[args.model].noun}s as rows: each row may become its own"
    low, high = X.min(axis=0), X.max(axis=0)
    constant = [name for name, same in zip(names, low == high, strict=True) if same]
    if constant:
        listed = short(", ".join(constant), 60)
        verb = "does not vary" if len(constant) == 1 else "do not vary"
        yield f"{listed} {verb}: leave out with --exclude"
    if MODELS[args.model].data != "numbers":
        return
    counting = [name for j, name in enumerate(names) if _counts_rows(X[:, j])]
    if counting:
        listed = short(",".join(counting), 60)
        verb = "numbers the rows" if len(counting) == 1 else "number the rows"
        yield f"{listed} only {verb}: leave out with --exclude {listed}"
    spread = X.std(axis=0)[low < high]
    if not args.standardize and len(spread) > 1 and spread.max() > _FAR_APART * spread.min():
        yield (
            f"the columns' scales differ by {spread.max() / spread.min():,.0f} ×: "
            "--standardize makes them comparable"
        )


def _counts_rows(column):
    """Whether a column is n, n + 1, n + 2, ..., as row numbers are, where some rows may lack."""
    steps = np.diff(column)
    whole = bool(np.all((steps >= 1) & (steps == np.floor(steps))))
    return len(column) > 4 and whole and column[-1] - column[0] < 1.5 * len(column)
