"""``python -m fastem cluster FILE``: a mixture, k-means or a hidden Markov model of a table's rows.

Three files are written beside FILE, or in ``--output-dir``:

- ``NAME.labels.csv``: for each row, its name or number, its component (from 0) and the probability
  of that, or of k-means the distance to the center;
- ``NAME.MODEL.json``: the parameters, and how they came about, in full precision;
- ``NAME.MODEL.skops``: the model, for ``predict``, where skops is installed.

Existing files are left alone and the command refuses before any work, unless ``--force`` is given:
a fit is many numbers that nobody can check by eye, so one must not quietly take another's place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import KFold, cross_val_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from fastem import select
from fastem._cli import CommandError, cluster_report, count, one_line, outputs, predict, short
from fastem._cli.fitting import Fitting
from fastem._cli.models import COVARIANCE_TYPES, MODELS
from fastem._cli.page import check_report, page
from fastem._cli.predict import Saved, assign, scaled, to_skops
from fastem._cli.reading import Wanted, read_table
from fastem._cli.screen import Screen
from fastem.select.result import chosen

_FAR_APART = 100  # times: columns whose scales differ by more are no longer comparable
_ROWS = 20_000  # that are worked on at a time
#: What cells are wrong, and what one is then.
_WRONG = {
    "counts": (lambda X: (X < 0) | (np.floor(X) != X), "no count"),
    "binary": (lambda X: (X != 0) & (X != 1), "neither 0 nor 1"),
}


def main(args):
    """Read, fit, report, write."""
    _check_options(args)
    endings = ["labels.csv", f"{args.model}.json", f"{args.model}.skops"]
    endings = endings[: 3 if predict.can_save() else 2]
    paths = outputs.output_paths(args.file, args.output_dir, *endings)
    outputs.check_outputs(paths, args.force)
    check_report(args)
    folder, screen = outputs.existing_folder(paths[0]), Screen()
    with Fitting("reading", keeps=False) as reading:
        table = read_table(args.file, _wanted(args, folder), progress=reading.show)
    found = _check_table(args, table)
    _show_table(screen, args, table, found)
    scaling = {"mean": found.mean, "scale": found.scale} if args.standardize else None
    X = scaled(table.X, scaling, folder)
    with Fitting() as fitting:
        model, selection = _fit(args, table, X)
    labels, values, of_what = assign(model, X)
    fit = cluster_report.Fit(args, table, X, model, selection, fitting, labels, scaling)
    cluster_report.show(screen, fit)
    kept = Saved(args.model, model, table.names, scaling, table.categories)
    rows = outputs.csv_of(["row", "label", of_what], table.row_names(), [labels, values])
    files = dict(zip(paths, [rows, outputs.to_json(fit.content())], strict=False))
    if predict.can_save():
        files[paths[2]] = to_skops(kept)
    if args.report is not None:
        files[args.report] = page(args.file, screen, cluster_report.pictures(fit))
    outputs.write_all(files)
    screen.written(files)
    if not predict.can_save():
        screen.print("  no model for predict: run pip install 'fastem[skops]'", "dim")
    return 130 if fitting.interrupted else 0


def _wanted(args, folder):
    """Return what is to be read; a model that knows missing values is given them."""
    kind = MODELS[args.model]
    return Wanted(
        args.columns, args.exclude, args.drop_missing,
        get_tags(kind.make()).input_tags.allow_nan, True if kind.data == "categories" else None,
        encoding=args.encoding, decimal=args.decimal, folder=folder,
    )  # fmt: skip


def _fit(args, table, X):
    """Return the fitted model, and the choice it comes from, if several were asked for."""
    kind = MODELS[args.model]
    types = COVARIANCE_TYPES if args.covariance_type == "all" else [args.covariance_type]
    settings = {
        kind.number: args.components[0], kind.iterations: args.max_iter, "tol": args.tol,
        "n_init": args.n_init, "random_state": args.seed, "n_jobs": args.n_jobs,
    }  # fmt: skip
    if kind.covariances is not None:
        settings["covariance_type"] = types[0]
        settings["min_covar" if args.model == "hmm" else "reg_covar"] = args.reg_covar
    if table.categories is not None:
        settings["n_categories"] = [len(names) for names in table.categories]
    model = kind.make(**settings)
    try:
        if len(args.components) == len(types) == 1:
            return model.fit(X), None
        if kind.choose is None:
            selection = _cross_validated(kind, X, settings, args.components, types)
        else:
            choosing = {kind.number: args.components}
            choosing["criterion"] = args.criterion or kind.criteria[0]
            choosing |= {} if kind.covariances is None else {"covariance_type": types}
            selection = getattr(select, kind.choose)(X, estimator=model, **choosing)
        return selection.best_estimator_, selection
    except ValueError as error:
        raise CommandError(f"{args.file}: {one_line(error)}") from error


def _cross_validated(kind, X, settings, numbers, types):
    """Return the choice by the log-likelihood of rows that a fit has not seen."""
    folds = KFold(5, shuffle=True, random_state=settings["random_state"])
    table, fits = [], []
    for row in [{kind.number: k, "covariance_type": shape} for k in numbers for shape in types]:
        model = kind.make(**settings | row)
        scores = cross_val_score(model, X, cv=folds, error_score="raise")
        row |= {"cv": scores.mean(), "cv_std": scores.std(), "converged": None, "error": None}
        table.append(row)
        fits.append(model.fit(X))
    return chosen("cv", table, [kind.number, "covariance_type"], fits)


# ---- what cannot be used, and what looks unwise -------------------------------------------------


def _check_options(args):
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


class _Columns(NamedTuple):
    """What there is to know of columns; values that are missing count for nothing."""

    low: Any
    high: Any
    mean: Any
    scale: Any  # the standard deviation, or 1 where nothing varies
    numbers_rows: Any  # which columns are n, n + 1, n + 2, ..., where some rows may lack


def _check_table(args, table):
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
    return _Columns(low, high, scaler.mean_, scaler.scale_, rising & (high - low < 1.5 * n))


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


def _show_table(screen, args, table, found):
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
