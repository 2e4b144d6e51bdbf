"""The subcommands of ``python -m fastem``.

A subcommand is one module here with two functions,

- ``add_parser(subparsers)``: adds its argparse parser and returns it;
- ``main(args) -> int | None``: does the work; the return value is the exit status (None is 0);

and its name in `COMMANDS`. Whatever ``main`` needs beyond the standard library is imported inside
it, so that ``--help`` and a mistyped option answer at once.

Problems that the user can mend are raised as `CommandError`: the dispatcher prints them as one line
and exits with status 2.
"""

#: Subcommands in the order of the help text: modules of this package.
COMMANDS = ("demo", "cluster", "topics")


class CommandError(Exception):
    """A problem that the user can mend; its message is one line that says what, where and how."""


def one_line(error):
    """Text of an exception with every run of white space, line ends included, made one space."""
    return " ".join(str(error).split())
