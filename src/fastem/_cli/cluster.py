"""``python -m fastem cluster FILE``: a mixture, k-means or a hidden Markov model of a table's rows.

Three files are written beside FILE, or in ``--output-dir``:

- ``NAME.labels.csv``: for each row, its name or number, its component (from 0) and the probability
  of that, or of k-means the distance to the center;
- ``NAME.MODEL.json``: the parameters, and how they came about, in full precision;
- ``NAME.MODEL.skops``: the model, for ``predict``, where skops is installed.

Existing files are left alone and the command refuses before any work, unless ``--force`` is given:
a fit is many numbers that nobody can check by eye, so one must not quietly take another's place.
"""

from fastem._cli.options import CLUSTER, add_command

_EPILOG = """\
files read:    .csv .tsv .txt (header or none; also .gz), .npy, .parquet (needs pyarrow), .xlsx
               (needs pandas and openpyxl); - is text from standard input
files written: NAME.labels.csv   each row's name or number, label, and the label's probability
               NAME.MODEL.json   weights, means, covariances, the bound of every iteration
               NAME.MODEL.skops  the model, for: python -m fastem predict (needs skops)
               --report FILE.html  what is printed, with pictures, as one page

examples:
  python -m fastem cluster iris.csv -k 1-9 --columns sepal_length,sepal_width
  python -m fastem cluster customers.csv -k 2-12 --covariance all --standardize --exclude id
  python -m fastem cluster points.npy -k 50 --model kmeans
  python -m fastem cluster answers.csv -k 2-6 --model categorical --drop-missing
"""


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    return add_command(
        subparsers, "cluster", CLUSTER,
        "find groups in your own table; write labels, parameters and the model",
        "Fit a mixture, k-means or a hidden Markov model to the rows of a file.", _EPILOG,
    )  # fmt: skip


def main(args):
    """Read, fit, report, write."""
    from fastem._cli import cluster_report, outputs, saved
    from fastem._cli.fitting import Fitting
    from fastem._cli.inspection import check_options, check_table, show_table
    from fastem._cli.page import check_report, page
    from fastem._cli.reading import read_table
    from fastem._cli.screen import Screen

    check_options(args)
    endings = ["labels.csv", f"{args.model}.json", f"{args.model}.skops"]
    endings = endings[: 3 if saved.can_save() else 2]
    paths = outputs.output_paths(args.file, args.output_dir, *endings)
    outputs.check_outputs(paths, args.force)
    check_report(args)
    folder, screen = outputs.existing_folder(paths[0]), Screen()
    with Fitting("reading", keeps=False) as reading:
        table = read_table(args.file, _wanted(args, folder), progress=reading.show)
    found = check_table(args, table)
    show_table(screen, args, table, found)
    scaling = {"mean": found.mean, "scale": found.scale} if args.standardize else None
    X = saved.scaled(table.X, scaling, folder)
    with Fitting() as fitting:
        model, selection = _fit(args, table, X)
    labels, values, of_what = saved.assign(model, X)
    fit = cluster_report.Fit(args, table, X, model, selection, fitting, labels, scaling)
    cluster_report.show(screen, fit)
    kept = saved.Saved(args.model, model, table.names, scaling, table.categories)
    rows = outputs.csv_of(["row", "label", of_what], table.row_names(), [labels, values])
    files = dict(zip(paths, [rows, outputs.to_json(fit.content())], strict=False))
    if saved.can_save():
        files[paths[2]] = saved.to_skops(kept)
    if args.report is not None:
        files[args.report] = page(args.file, screen, cluster_report.pictures(fit))
    outputs.write_all(files)
    screen.written(files)
    if not saved.can_save():
        screen.print("  no model for predict: run pip install 'fastem[skops]'", "dim")
    return 130 if fitting.interrupted else 0


def _wanted(args, folder):
    """Return what is to be read; a model that knows missing values is given them."""
    from sklearn.utils import get_tags

    from fastem._cli.models import MODELS
    from fastem._cli.reading import Wanted

    kind = MODELS[args.model]
    return Wanted(
        args.columns, args.exclude, args.drop_missing,
        get_tags(kind.make()).input_tags.allow_nan, True if kind.data == "categories" else None,
        encoding=args.encoding, decimal=args.decimal, folder=folder,
    )  # fmt: skip


def _fit(args, table, X):
    """Return the fitted model, and the choice it comes from, if several were asked for."""
    from fastem import select
    from fastem._cli import CommandError, one_line
    from fastem._cli.models import COVARIANCE_TYPES, MODELS

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
    from sklearn.model_selection import KFold, cross_val_score

    from fastem.select.result import chosen

    folds = KFold(5, shuffle=True, random_state=settings["random_state"])
    table, fits = [], []
    for row in [{kind.number: k, "covariance_type": shape} for k in numbers for shape in types]:
        model = kind.make(**settings | row)
        scores = cross_val_score(model, X, cv=folds, error_score="raise")
        row |= {"cv": scores.mean(), "cv_std": scores.std(), "converged": None, "error": None}
        table.append(row)
        fits.append(model.fit(X))
    return chosen("cv", table, [kind.number, "covariance_type"], fits)
