"""``python -m fastem cluster FILE``: a mixture, k-means or a hidden Markov model of a table's rows.

Three files are written beside FILE, or in ``--output-dir``:

- ``NAME.labels.csv``: for each row, its name or number, its component (from 0) and the probability
  of that, or of k-means the distance to the center;
- ``NAME.MODEL.json``: the parameters, and how they came about. JSON because it opens in any
  language and in any editor, keeps the names of the columns beside the numbers, runs no code when
  it is read, and holds every float64 exactly;
- ``NAME.MODEL.skops``: the model, for ``predict``, where skops is installed.

Existing files are left alone and the command refuses before any work, unless ``--force`` is given.
A fit is many numbers that nobody can check by eye, so one must not quietly take another's place.
All files appear whole or not at all.
"""

import argparse

from fastem._cli.options import (
    add_reading,
    add_report,
    at_least,
    component_numbers,
    names,
    threads,
)

_EPILOG = """\
files read:    .csv .tsv .txt (header or none; also .gz), .npy, .parquet (needs pyarrow), .xlsx
               (needs pandas and openpyxl); - is text from standard input
files written: NAME.labels.csv   each row's name or number, label, and the label's probability
               NAME.MODEL.json   weights, means, covariances, the bound of every iteration
               NAME.MODEL.skops  the model, for: python -m fastem predict (needs skops)
               --report FILE.html  what is printed, with pictures, as one page

examples:
  python -m fastem cluster iris.csv -k 1-9 --columns sepal_length,sepal_width
  python -m fastem cluster customers.csv -k 2-12 --covariance-type all --standardize --exclude id
  python -m fastem cluster points.npy -k 50 --model kmeans
  python -m fastem cluster answers.csv -k 2-6 --model categorical --drop-missing
"""

#: Options that are a number: its type, lowest value, default and meaning.
_NUMBERS = (
    ("--max-iter", int, 1, 100, "iterations at most"),
    ("--tol", float, 0, 1e-3, "stop when the bound changes, or centers move, by less"),
    ("--reg-covar", float, 0, 1e-6, "added to every variance; hmm: the least variance"),
    ("--n-init", int, 1, 1, "starts, of which the best is kept"),
    ("--seed", int, 0, 0, "seed of the random starts"),
)
#: The names of the models and criteria, which --help must know without importing anything.
_MODELS = ("mixture", "bayesian", "kmeans", "bernoulli", "poisson", "categorical", "hmm")
_CRITERIA = ("bic", "icl", "aic", "cv", "silhouette", "gap")


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    parser = subparsers.add_parser(
        "cluster",
        help="find groups in your own table; write labels, parameters and the model",
        description="Fit a mixture, k-means or a hidden Markov model to the rows of a file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="table, one sample a row")
    add(
        "--model",
        choices=_MODELS,
        default="mixture",
        help="what to fit: a mixture of Gaussians, by maximum likelihood or Bayesian (which drops "
        "components that it does not need); k-means; a mixture for yes or no, for counts, for "
        "categories; a hidden Markov model of rows in order (default: %(default)s)",
    )
    add(
        "-k",
        "--components",
        type=component_numbers,
        default=[8],
        metavar="K",
        help="number of components; several, as 2,4,8 or 2-12, are compared and the best is kept "
        "(default: 8)",
    )
    add(
        "--criterion",
        choices=_CRITERIA,
        help="what several are compared by (default: bic; kmeans: silhouette)",
    )
    add(
        "--covariance-type",
        choices=("full", "tied", "diag", "spherical", "all"),
        default="full",
        help="shape of Gaussian components; all: compared, too (default: %(default)s)",
    )
    add("--columns", type=names, metavar="A,B,2-5", help="columns to use, by name or number from 1")
    add("--exclude", type=names, default=[], metavar="A,B", help="columns to leave out")
    add(
        "--standardize",
        action="store_true",
        help="give all columns mean 0 and variance 1 first; results are in the file's units",
    )
    add_reading(parser)
    for option, kind, lowest, default, meaning in _NUMBERS:
        parse = at_least(kind, lowest)
        text = f"{meaning} (default: %(default)s)"
        add(option, type=parse, default=default, metavar="N", help=text)
    add("--n-jobs", type=threads, metavar="N", help="threads (default: one a core)")
    add("--compare", action="store_true", help="time plain NumPy and scikit-learn as well")
    add("-o", "--output-dir", metavar="DIR", help="where to write (default: the folder of FILE)")
    add_report(parser)
    add("-f", "--force", action="store_true", help="replace existing files")
    return parser


def main(args):
    """Read, fit, report, write."""
    from fastem._cli import saved
    from fastem._cli.cluster_models import assign, check_options, fit
    from fastem._cli.files import read_table
    from fastem._cli.inspection import check_table, scaling_of, show_table
    from fastem._cli.outputs import check_outputs, output_paths, write_all
    from fastem._cli.page import cluster_pictures, page, screen_for
    from fastem._cli.table import Wanted

    check_options(args)
    endings = ["labels.csv", f"{args.model}.json"]
    paths = output_paths(args.file, args.output_dir, *endings, f"{args.model}.skops")
    paths = paths if saved.can_save() else paths[:2]
    check_outputs(paths, args.force)
    screen = screen_for(args)
    codes = True if args.model == "categorical" else None
    wanted = Wanted(args.columns, args.exclude, args.drop_missing, codes)
    table = read_table(args.file, wanted, encoding=args.encoding, decimal=args.decimal)
    check_table(args, table)
    show_table(screen, args, table)
    scaling = scaling_of(table) if args.standardize else None
    X = table.X if scaling is None else (table.X - scaling["mean"]) / scaling["scale"]
    found = fit(args, table, X)
    labels, values = assign(found.model, X)
    _report(screen, args, table, found, X, labels, scaling)
    files = _files(paths, args, table, found, X, labels, values, scaling)
    if args.report is not None:
        files[args.report] = page(args.file, screen, cluster_pictures(args, found, table, X))
    write_all(files)
    screen.heading("Written")
    for path in files:
        screen.print(f"  {path}")
    if len(paths) < 3:
        screen.print(screen.dim("  without a model for predict: that needs skops"))
    return 130 if found.interrupted else 0


def _report(screen, args, table, found, X, labels, scaling):
    """Print what was found."""
    import numpy as np

    from fastem._cli import report
    from fastem._cli.cluster_models import MODELS, sizes, values

    kind, model = MODELS[args.model], found.model
    if found.selection is not None:
        report.selection_section(screen, found.selection)
    report.bound_section(screen, model, found, len(X))
    weights = sizes(model, labels)
    counts = np.bincount(labels, minlength=len(weights))
    shown = values(args.model, model, table, scaling)
    report.components_section(
        screen, weights, shown, table.names, counts, noun=kind.noun, what=kind.what
    )
    if found.selection is None and kind.choose is not None:
        screen.print("  To choose K, give several, as in -k 2-12")
    if args.compare:
        from fastem._cli import timing

        compare = timing.compare_clusters if args.model == "kmeans" else timing.compare
        # Enough iterations, so that what a fit does once counts little.
        timings, n_iter = compare(X, model, n_iter=max(20, model.n_iter_))
        objective = "inertias" if args.model == "kmeans" else "bounds"
        report.timing_section(screen, timings, len(weights), X.shape, n_iter, objective=objective)


def _files(paths, args, table, found, X, labels, values, scaling):
    """Return what the files hold."""
    import numpy as np

    from fastem import __version__
    from fastem._cli import saved
    from fastem._cli.cluster_models import parameters, value_name
    from fastem._cli.outputs import labels_csv, to_json

    model, selection = found.model, found.selection
    content = {
        "fastem": __version__,
        "file": args.file,
        "columns": table.names,
        "n_samples": len(table.X),
        "n_samples_left_out": table.n_dropped,
        "model": args.model,
        "settings": model.get_params(),
        "converged": bool(model.converged_) and not found.interrupted,
        "n_iter": int(model.n_iter_),
        "lower_bound": float(model.lower_bound_),
    }
    if hasattr(model, "bic"):
        content |= {"bic": float(model.bic(X)), "aic": float(model.aic(X))}
    if selection is not None:
        content |= {"criterion": selection.criterion, "candidates": _finite(selection.table)}
    if scaling is not None:
        content["scaling"] = {name: array.tolist() for name, array in scaling.items()}
    if table.categories is not None:
        content["categories"] = table.categories
    content |= parameters(args.model, model)
    content |= {
        "sizes": np.bincount(labels),
        "lower_bounds": [float(bound) for bound in model.lower_bounds_],
    }
    files = {
        paths[0]: labels_csv(table.row_names(), labels, values, value_name(model)),
        paths[1]: to_json(content),
    }
    if len(paths) > 2:
        kept = saved.Saved(args.model, model, table.names, scaling, table.categories)
        files[paths[2]] = saved.to_skops(kept)
    return files


def _finite(table):
    """Return rows of a table whose numbers JSON has; None stands for one that is not defined."""
    return [
        {name: None if value != value else value for name, value in row.items()} for row in table
    ]
