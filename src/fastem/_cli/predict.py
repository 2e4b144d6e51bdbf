"""``python -m fastem predict MODEL FILE``: the components of new rows, by a model of ``cluster``.

``NAME.labels.csv`` has, for each row of FILE, its name or number, its component and the probability
of that (of k-means, the distance to the center); with ``--append`` it is the table itself, with
these two as further columns, which are empty in rows that were left out.
"""

from fastem._cli.options import PREDICT, add_command

_EPILOG = """\
examples:
  python -m fastem cluster customers.csv -k 2-12 --standardize
  python -m fastem predict customers.mixture.skops new.csv
  python -m fastem predict customers.mixture.skops new.csv --append -o results
"""


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    what = "find the components of new rows, by a model that cluster saved"
    return add_command(subparsers, "predict", PREDICT, what, f"{what.capitalize()}.", _EPILOG)


def main(args):
    """Read, predict, write."""
    from sklearn.utils import get_tags

    from fastem._cli import CommandError, one_line, outputs, saved
    from fastem._cli.reading import Wanted, open_table, read_table
    from fastem._cli.screen import Screen

    (path,) = outputs.output_paths(args.file, args.output_dir, "labels.csv")
    outputs.check_outputs([path], args.force)
    folder = outputs.existing_folder(path)
    kept = saved.load(args.model)
    allows = get_tags(kept.estimator).input_tags.allow_nan
    wanted = Wanted(
        kept.columns, (), args.drop_missing, allows, kept.categories, can_choose=False,
        encoding=args.encoding, decimal=args.decimal, folder=folder,
    )  # fmt: skip
    source = open_table(args.file, wanted)
    table = read_table(args.file, wanted, source)
    X = table.X if kept.scaling is None else saved.scaled(table.X, kept.scaling, folder)
    try:
        labels, values, of_what = saved.assign(kept.estimator, X)
    except ValueError as error:
        raise CommandError(f"{args.file}: {one_line(error)}") from error
    content = outputs.csv_of(["row", "label", of_what], table.row_names(), [labels, values])
    if args.append:
        content = _appended(source, table, labels, values, of_what)
    outputs.write_all({path: content})
    screen = Screen()
    screen.print(f"{args.file}  {len(X):,} rows, by {args.model}")
    for note in table.notes:
        screen.print(f"  {note}", "dim")
    screen.print(f"  {path}")


def _appended(source, table, labels, values, of_what):
    """Yield a table as CSV, with two columns more."""
    from fastem._cli.outputs import safe_cell
    from fastem._cli.sources import cell_text

    every = list(range(len(source.names)))
    if getattr(source, "header", True):
        names = ["" if j == source.label_column else name for j, name in enumerate(source.names)]
        yield ",".join(map(safe_cell, [*names, "label", of_what])) + "\n"
    kept = iter(range(1, table.n_rows + 1) if table.kept is None else table.kept.tolist())
    found, row, following = zip(labels.tolist(), values.tolist(), strict=True), 0, next(kept, 0)
    for _, rows, _ in source.pieces(every, False):
        for cells in rows:
            row += 1
            more = ["", ""]
            if row == following:
                label, value = next(found)
                more, following = [str(label), f"{value:.6g}"], next(kept, 0)
            yield ",".join([*(safe_cell(cell_text(cell)) for cell in cells), *more]) + "\n"
