"""Types of option values: each turns text into a value, or says why it cannot."""

import argparse
import re


def add_report(parser):
    """Add the option that `fastem._cli.page` serves."""
    parser.add_argument(
        "--report",
        metavar="FILE.html",
        help="also write what is printed, with pictures, as one page (needs matplotlib)",
    )


def add_reading(parser):
    """Add the options that say how a table is read."""
    add = parser.add_argument
    add("--drop-missing", action="store_true", help="leave out rows with a missing value")
    add("--encoding", default="utf-8", metavar="NAME", help="of text (default: %(default)s)")
    add(
        "--decimal",
        choices=(".", ","),
        default=".",
        help="what stands before decimals in text (default: %(default)s)",
    )


def names(text):
    """Parse A,B,C into a list of names."""
    return [name.strip() for name in text.split(",")]


def component_numbers(text):
    """Parse 8, or 2,4,8, or 2-12, into a sorted list of numbers from 1."""
    numbers: set[int] = set()
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


def at_least(kind, lowest):
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


def part(*, zero):
    """Return a function that parses a part of a whole: up to 1, or from 0 to less than 1."""

    def parse(text):
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not (0 <= value < 1 if zero else 0 < value <= 1):
            allowed = ">= 0 and < 1" if zero else "> 0 and <= 1"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {allowed}")
        return value

    return parse


def pattern(text):
    """Return a regular expression."""
    try:
        return re.compile(text).pattern
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def threads(text):
    """Parse a number of threads: positive, or negative to count back from all."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number, nor -1 for all")
    return value
