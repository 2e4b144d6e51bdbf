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
    folder, kept = outputs.existing_folder(path), saved.load(args.model)
    wanted = Wanted(
        kept.columns, (), args.drop_missing, get_tags(kept.estimator).input_tags.allow_nan,
        kept.categories, False, args.encoding, args.decimal, folder,
    )  # fmt: skip
    source = open_table(args.file, wanted)
    table = read_table(args.file, wanted, source)
    X = saved.scaled(table.X, kept.scaling, folder)
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
    for note in (*table.notes, path):
        screen.print(f"  {note}", "" if note == path else "dim")


def _appended(source, table, labels, values, of_what):
    """Yield a table as CSV, with two columns more."""
    from fastem._cli.outputs import safe_cell
    from fastem._cli.sources import cell_text

    if getattr(source, "header", True):
        names = ["" if j == source.label_column else name for j, name in enumerate(source.names)]
        yield ",".join(map(safe_cell, [*names, "label", of_what])) + "\n"
    found = zip(table.row_numbers(), labels.tolist(), values.tolist(), strict=True)
    row, following = 0, next(found, None)
    for _, rows, _ in source.pieces(list(range(len(source.names))), False):
        for cells in rows:
            row, more = row + 1, ["", ""]
            if following is not None and following[0] == row:
                more, following = [str(following[1]), f"{following[2]:.6g}"], next(found, None)
            yield ",".join([*(safe_cell(cell_text(cell)) for cell in cells), *more]) + "\n"
