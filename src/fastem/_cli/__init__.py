"""The commands of ``python -m fastem``.

A command is an entry of `options.COMMANDS` and a module here of the same name with ``main(args) ->
int | None``, which does the work and returns the exit status (None is 0). Modules of commands are
imported when they are run, so that ``--help`` and a mistyped option answer at once.

``run`` alone takes words that are not ours to parse (`split_program`), and runs what is not ours to
guard: warnings, Ctrl-C and errors stay the program's.

Problems that the user can correct are raised as `CommandError`: the dispatcher prints them as one
line and exits with status 2.
"""

import zlib
from contextlib import contextmanager
from importlib import import_module


class CommandError(Exception):
    """A problem that the user can correct; its message is a line that says what, where and how."""


def one_line(error):
    """Text of an exception with every run of white space, line ends included, made one space."""
    return " ".join(str(error).split())


def split_program(argv):
    """Split ``run [--no-children] [-m] PROGRAM ARG...`` before the program's own arguments.

    Any other command line is returned whole, with an empty list.
    """
    end = len(argv)
    if argv[:1] == ["run"]:
        end = 1
        while argv[end : end + 1] == ["--no-children"]:
            end += 1
        end += 2 if argv[end : end + 1] == ["-m"] else 1
    return argv[:end], argv[end:]


def is_number(cell, decimal="."):
    """Whether `float` takes the text."""
    try:
        float(cell.replace(decimal, ".", 1))
    except ValueError:
        return False
    return True


def count(n, noun):
    """'1 column', '2 columns', '1,200 columns'."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def short(text, length=40):
    """Cut a long text."""
    return text if len(text) <= length else text[: length - 1] + "…"


def need(package, extra, what):
    """Import a package that an extra brings; or say which one is missing."""
    try:
        return import_module(package)
    except ImportError as error:
        raise CommandError(f"{what} needs {package}; run: pip install 'fastem[{extra}]'") from error


@contextmanager
def readable(path):
    """Say in one line why a file cannot be read."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        where = getattr(error, "filename", None) or path
        raise CommandError(f"{where}: cannot be read ({reason})") from error
