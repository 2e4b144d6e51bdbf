"""``python -m fastem cluster FILE``: a Gaussian mixture of the rows of the user's file.

Two files are written beside FILE, or in ``--output-dir``:

- ``NAME.labels.csv``: for each row, in order, its component (from 0) and the probability of it;
- ``NAME.mixture.json``: the parameters, and how they came about. JSON because it opens in any
  language and in any editor, keeps the names of the columns beside the numbers, runs no code when
  it is read, and holds every float64 exactly; an .npz is smaller but closed to all but NumPy.

Existing files are left alone and the command refuses before any work, unless ``--force`` is given.
A fit is many numbers that nobody can check by eye, so one must not quietly take another's place.
Both files appear whole or not at all.
"""

import argparse

_EPILOG = """\
files read:    .csv .tsv .txt (header or none; also .gz), .npy, .parquet (needs pyarrow)
files written: NAME.labels.csv   label and its probability for each row, in the file's order
               NAME.mixture.json weights, means, covariances, the bound of every iteration

examples:
  python -m fastem cluster iris.csv -k 3 --columns sepal_length,sepal_width
  python -m fastem cluster points.npy -k 2-12 --n-init 5 -o results
"""


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    parser = subparsers.add_parser(
        "cluster",
        help="fit a Gaussian mixture to your own file; write labels and parameters",
        description="Fit a Gaussian mixture to the rows of a file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="table of numbers, one sample a row")
    add(
        "-k",
        "--components",
        type=_component_numbers,
        default=[8],
        metavar="K",
        help="number of components; several, as 2,4,8 or 2-12, are compared by BIC and the lowest "
        "is kept (default: 8)",
    )
    add(
        "--columns",
        type=lambda text: [name.strip() for name in text.split(",")],
        metavar="A,B,…",
        help="columns to use, by name or by number from 1 (default: all)",
    )
    add(
        "--covariance-type",
        choices=("full", "tied", "diag", "spherical"),
        default="full",
        help="(default: %(default)s)",
    )
    number = "(default: %(default)s)"
    add("--max-iter", type=_at_least(int, 1), default=100, metavar="N", help=number)
    add("--tol", type=_at_least(float, 0), default=1e-3, metavar="X", help=number)
    add("--reg-covar", type=_at_least(float, 0), default=1e-6, metavar="X", help=number)
    add("--n-init", type=_at_least(int, 1), default=1, metavar="N", help=f"starts {number}")
    add("--seed", type=_at_least(int, 0), default=0, metavar="N", help=f"random start {number}")
    add("--n-jobs", type=int, metavar="N", help="threads (default: one a core)")
    add("--compare", action="store_true", help="time plain NumPy and scikit-learn as well")
    add("-o", "--output-dir", metavar="DIR", help="(default: the folder of FILE)")
    add("-f", "--force", action="store_true", help="replace existing files")
    return parser


def main(args):
    """Read, fit, report, write."""
    from fastem._cli.files import read_table
    from fastem._cli.outputs import check_outputs, output_paths
    from fastem._cli.screen import Screen

    paths = output_paths(args.file, args.output_dir, "labels.csv", "mixture.json")
    check_outputs(paths, args.force)
    table = read_table(args.file, args.columns)
    _check(args, table)
    screen = Screen()
    _show_table(screen, args.file, table)
    fits, best = _fit(args, table)
    labels, probabilities = _assign(best.mixture, table.X)
    _report(screen, args, table, fits, best, labels)
    _write(paths, args, table, fits, best, labels, probabilities)
    screen.heading("Written")
    for path in paths:
        screen.print(f"  {path}")


def _check(args, table):
    """Refuse what no mixture can be fitted to."""
    from fastem._cli import CommandError
    from fastem._cli.table import count

    if args.n_jobs == 0:
        raise CommandError("--n-jobs must not be 0; give a positive number, or -1 for all cores")
    if args.compare and args.covariance_type != "full":
        raise CommandError("--compare knows full covariances only; leave out --covariance-type")
    X = table.X
    n_samples, n_columns = X.shape
    most = max(args.components)
    if n_samples < 2 or n_columns < 1:
        raise CommandError(
            f"{args.file}: has {count(n_samples, 'row')} and {count(n_columns, 'column')}; "
            "a mixture needs 2 rows at least"
        )
    if most > n_samples:
        raise CommandError(
            f"{args.file}: has {count(n_samples, 'row')}, too few for {most} components; "
            f"give -k {n_samples} or fewer"
        )
    row, j = divmod(int(abs(X).argmax()), n_columns)
    if abs(float(X[row, j])) > 1e150:
        raise CommandError(
            f"{args.file}, row {row + 1} of data, column {table.names[j]}: {X[row, j]:g} is too "
            "large to be squared; divide the column by a constant"
        )


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


def _show_table(screen, file, table):
    """Say what was read."""
    n_samples, n_columns = table.X.shape
    screen.print(f"{screen.bold(file)}  {n_samples:,} rows × {n_columns:,} columns")
    if table.note:
        screen.print(screen.dim(f"  {table.note}"))


def _report(screen, args, table, fits, best, labels):
    """Print what was found."""
    import numpy as np

    from fastem._cli import report

    mixture = best.mixture
    if len(fits) > 1:
        report.bic_section(screen, fits, best)
    report.bound_section(screen, best)
    counts = np.bincount(labels, minlength=mixture.n_components)
    report.components_section(screen, mixture, table.names, counts)
    if len(fits) == 1:
        screen.print(f"  BIC {best.bic:,.0f}; give several, as -k 2-12, to compare numbers of them")
    if args.compare:
        from fastem._cli.timing import compare

        n_iter = mixture.n_iter_
        timings = compare(table.X, mixture, n_iter=n_iter)
        report.timing_section(screen, timings, mixture, table.X.shape, n_iter)


def _write(paths, args, table, fits, best, labels, probabilities):
    """Write both files."""
    from fastem import __version__
    from fastem._cli.outputs import labels_csv, to_json, write_all

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
    write_all(
        {labels_path: labels_csv(labels, probabilities), mixture_path: to_json(content)},
    )


def _component_numbers(text):
    """Parse 8, or 2,4,8, or 2-12, into a sorted list of numbers from 1."""
    numbers = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            numbers.update(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            numbers = set()
            break
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1, nor 2,4,8 nor 2-12")
    return sorted(numbers)


def _at_least(kind, lowest):
    """Return a function that parses a number of this type, `lowest` at least."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not lowest <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number >= {lowest}")
        return value

    return parse
