"""``python -m fastem cluster FILE``: a Gaussian mixture of the rows of the user's file, or k-means.

Two files are written beside FILE, or in ``--output-dir``:

- ``NAME.labels.csv``: for each row, in order, its component (from 0) and the probability of it;
- ``NAME.mixture.json``: the parameters, and how they came about. JSON because it opens in any
  language and in any editor, keeps the names of the columns beside the numbers, runs no code when
  it is read, and holds every float64 exactly; an .npz is smaller but closed to all but NumPy.

Existing files are left alone and the command refuses before any work, unless ``--force`` is given.
A fit is many numbers that nobody can check by eye, so one must not quietly take another's place.
Both files appear whole or not at all. With ``--model kmeans`` see cluster_kmeans.py.
"""

import argparse

from fastem._cli.options import add_report, at_least, component_numbers, threads

_EPILOG = """\
files read:    .csv .tsv .txt (header or none; also .gz), .npy, .parquet (needs pyarrow)
files written: NAME.labels.csv   label and its probability for each row, in the file's order
               NAME.mixture.json weights, means, covariances, the bound of every iteration
               (--model kmeans: label and distance to the center; NAME.kmeans.json)

               --report FILE.html  what is printed, with pictures, as one page

examples:
  python -m fastem cluster iris.csv -k 3 --columns sepal_length,sepal_width
  python -m fastem cluster points.npy -k 2-12 --n-init 5 -o results
  python -m fastem cluster points.npy -k 50 --model kmeans
"""

#: Options that are a number: its type, lowest value, default and meaning.
_NUMBERS = (
    ("--max-iter", int, 1, 100, "iterations at most"),
    ("--tol", float, 0, 1e-3, "stop when the bound changes, or centers move, by less"),
    ("--reg-covar", float, 0, 1e-6, "added to every variance"),
    ("--n-init", int, 1, 1, "starts, of which the best is kept"),
    ("--seed", int, 0, 0, "seed of the random starts"),
)


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    parser = subparsers.add_parser(
        "cluster",
        help="fit a Gaussian mixture, or k-means, to your own file; write labels and parameters",
        description="Fit a Gaussian mixture, or k-means, to the rows of a file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="table of numbers, one sample a row")
    add(
        "--model",
        choices=("mixture", "kmeans"),
        default="mixture",
        help="what to fit: a Gaussian mixture, or k-means (default: %(default)s)",
    )
    add(
        "-k",
        "--components",
        type=component_numbers,
        default=[8],
        metavar="K",
        help="number of components; several, as 2,4,8 or 2-12, are compared by BIC and the lowest "
        "is kept (default: 8)",
    )
    add(
        "--columns",
        type=lambda text: [name.strip() for name in text.split(",")],
        metavar="A,B,...",
        help="columns to use, by name or by number from 1 (default: all)",
    )
    add(
        "--covariance-type",
        choices=("full", "tied", "diag", "spherical"),
        default="full",
        help="shape of the components (default: %(default)s)",
    )
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
    if args.model == "kmeans":
        from fastem._cli import cluster_kmeans

        return cluster_kmeans.main(args)
    from fastem._cli.files import read_table
    from fastem._cli.outputs import check_outputs, output_paths, write_all
    from fastem._cli.page import mixture_pictures, page, screen_for
    from fastem._cli.table import check_table, show_table

    paths = output_paths(args.file, args.output_dir, "labels.csv", "mixture.json")
    check_outputs(paths, args.force)
    screen = screen_for(args)
    table = read_table(args.file, args.columns)
    check_table(args, table)
    show_table(screen, args.file, table)
    fits, best = _fit(args, table)
    labels, probabilities = _assign(best.mixture, table.X)
    _report(screen, args, table, fits, best, labels)
    files = _files(paths, args, table, fits, best, labels, probabilities)
    if args.report is not None:
        files[args.report] = page(args.file, screen, mixture_pictures(best.mixture, table))
    write_all(files)
    screen.heading("Written")
    for path in files:
        screen.print(f"  {path}")


def _fit(args, table):
    """Fit every number of components; return all fits and the one with the lowest BIC."""
    from fastem._cli import CommandError
    from fastem._cli.fitting import fit_each

    try:
        fits = fit_each(
            table.X,
            args.components,
            covariance_type=args.covariance_type,
            tol=args.tol,
            reg_covar=args.reg_covar,
            max_iter=args.max_iter,
            n_init=args.n_init,
            random_state=args.seed,
            n_jobs=args.n_jobs,
        )
    except ValueError as error:
        raise CommandError(f"{args.file}: {error}") from error
    return fits, min(fits, key=lambda fit: fit.bic)


def _assign(mixture, X):
    """Return each row's most probable component and its probability, a block of rows at a time."""
    import numpy as np

    labels = np.empty(len(X), dtype=np.intp)
    probabilities = np.empty(len(X))
    for start in range(0, len(X), 10_000):
        block = slice(start, start + 10_000)
        resp = mixture.predict_proba(X[block])
        labels[block] = resp.argmax(axis=1)
        probabilities[block] = resp.max(axis=1)
    return labels, probabilities


def _report(screen, args, table, fits, best, labels):
    """Print what was found."""
    import numpy as np

    from fastem._cli import report

    mixture = best.mixture
    if len(fits) > 1:
        report.bic_section(screen, fits, best)
    report.bound_section(screen, best)
    counts = np.bincount(labels, minlength=mixture.n_components)
    report.components_section(screen, mixture.weights_, mixture.means_, table.names, counts)
    if len(fits) == 1:
        screen.print(f"  BIC {best.bic:,.0f}; to choose K by it, give several, as in -k 2-12")
    if args.compare:
        from fastem._cli.timing import compare

        n_iter = max(
            20, mixture.n_iter_
        )  # enough iterations, so that what a fit does once counts little
        timings = compare(table.X, mixture, n_iter=n_iter)
        report.timing_section(screen, timings, mixture.n_components, table.X.shape, n_iter)


def _files(paths, args, table, fits, best, labels, probabilities):
    """Return what both files hold."""
    from fastem import __version__
    from fastem._cli.outputs import labels_csv, to_json

    mixture = best.mixture
    content = {
        "fastem": __version__,
        "file": args.file,
        "columns": table.names,
        "n_samples": len(table.X),
        "settings": mixture.get_params(),
        "converged": bool(mixture.converged_),
        "n_iter": int(mixture.n_iter_),
        "lower_bound": float(mixture.lower_bound_),
        "bic": best.bic,
        "aic": float(mixture.aic(table.X)),
        "bic_by_n_components": {fit.mixture.n_components: fit.bic for fit in fits},
        "weights": mixture.weights_,
        "means": mixture.means_,
        "covariances": mixture.covariances_,
        "lower_bounds": [float(bound) for bound in mixture.lower_bounds_],
    }
    labels_path, mixture_path = paths
    return {labels_path: labels_csv(labels, probabilities), mixture_path: to_json(content)}
