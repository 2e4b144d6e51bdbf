"""``python -m fastem predict MODEL FILE``: the components of new rows, by a model of ``cluster``.

``NAME.labels.csv`` has, for each row of FILE, its name or number, its component and the probability
of that (of k-means, the distance to the center); with ``--append`` it is the table itself, with
these two as further columns.
"""

import argparse

_EPILOG = """\
examples:
  python -m fastem cluster customers.csv -k 2-12 --standardize
  python -m fastem predict customers.mixture.skops new.csv
  python -m fastem predict customers.mixture.skops new.csv --append -o results
"""


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    from fastem._cli.options import add_reading

    parser = subparsers.add_parser(
        "predict",
        help="find the components of new rows, by a model that cluster saved",
        description="Find the components of new rows, by a model that cluster saved.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="NAME.MODEL.skops, as cluster wrote it")
    add("file", metavar="FILE", help="table with the columns that the model was fitted to")
    add(
        "--append",
        action="store_true",
        help="text: write the table itself, with the labels as further columns",
    )
    add_reading(parser)
    add("-o", "--output-dir", metavar="DIR", help="where to write (default: the folder of FILE)")
    add("-f", "--force", action="store_true", help="replace existing files")
    return parser


def main(args):
    """Read, predict, write."""
    from fastem._cli import CommandError, one_line, saved
    from fastem._cli.cluster_models import assign, value_name
    from fastem._cli.inspection import left_out
    from fastem._cli.outputs import appended_csv, check_outputs, labels_csv, output_paths, write_all
    from fastem._cli.screen import Screen

    paths = output_paths(args.file, args.output_dir, "labels.csv")
    check_outputs(paths, args.force)
    model = saved.load(args.model)
    table, text = _read(args, model)
    X = table.X
    if model.scaling is not None:
        X = (X - model.scaling["mean"]) / model.scaling["scale"]
    try:
        labels, values = assign(model.estimator, X)
    except ValueError as error:
        raise CommandError(f"{args.file}: {one_line(error)}") from error
    name = value_name(model.estimator)
    if args.append:
        content = appended_csv(text, table, labels, values, name)
    else:
        content = labels_csv(table.row_names(), labels, values, name)
    write_all({paths[0]: content})
    screen = Screen()
    screen.print(f"{screen.bold(str(args.file))}  {len(X):,} rows, by {args.model}")
    if table.n_dropped:
        screen.print(screen.dim(f"  {left_out(table)}"))
    screen.print(f"  {paths[0]}")


def _read(args, model):
    """Return the table with the model's columns, and the text that it came from, if any."""
    from pathlib import Path

    from fastem._cli import CommandError
    from fastem._cli.files import TEXT, read_table
    from fastem._cli.table import Wanted
    from fastem._cli.text_files import Text

    codes = model.categories
    reading = {"encoding": args.encoding, "decimal": args.decimal}
    source = args.file
    text = None
    if args.append:
        suffixes = [s.lower() for s in Path(source).suffixes if s.lower() != ".gz"]
        if source != "-" and suffixes[-1:] not in [[s] for s in TEXT]:
            raise CommandError(f"--append writes a text table again: give {', '.join(TEXT)}")
        text = Text(source, **reading)
        source = text  # standard input can be read only once
    wanted = Wanted(model.columns, (), args.drop_missing, codes)
    return read_table(source, wanted, **reading), text
