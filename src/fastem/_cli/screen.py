"""Where a command prints its results; plain where the output is no terminal. It keeps them, too."""

import codecs
import math
import sys
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastem._cli import count, short

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
#: What stands in where the output's encoding lacks the drawing characters (a Windows pipe).
_ASCII = dict(zip("█▉▊▋▌▍▎▏▁▂▃▄▅▆▇×·–…◀µ−", "#####   _.-~=+*x--.<u-", strict=True)) | {"±": "+-"}


def _in_ascii(error):
    """Replace what an encoding lacks, as `codecs` asks for it."""
    lost = error.object[error.start : error.end]
    return "".join(_ASCII.get(letter, "?") for letter in lost), error.end


codecs.register_error("fastem", _in_ascii)


class Screen:
    """Where a command prints its results.

    Attributes
    ----------
    width : int
        Columns of the terminal, from 60 to 120.
    sections : list of (heading, note, items)
        What was printed: an item is a line of text, or a table as a list of rows.
    """

    def __init__(self):
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="fastem")
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.width = self.console.width = min(max(self.console.width, 60), 120)
        self.sections: list[tuple[str, str, list[Any]]] = [("", "", [])]

    def print(self, text="", style=""):
        """Print a line, whole."""
        self.sections[-1][2].append(text)
        self._show(Text(text, style), soft_wrap=True)

    def heading(self, text, note=""):
        """Print a blank line and a heading, with a quiet note beside it."""
        self.sections.append((text, note, []))
        mark = "\n" if len(text) + len(note) + 2 > self.width else "  "
        shown = Text(f"\n{text}", "bold").append(mark + note if note else "", "not bold dim")
        self._show(shown, soft_wrap=True)

    def table(self, rows, left=(), mark=None, least=None):
        """Print rows of equal length, of which the first is the heading.

        Columns are aligned at the right, those of `left` at the left; `mark` is the row that stands
        out. Columns from `least` on are left out if there is no room; return how many.
        """
        self.sections[-1][2].append([list(row) for row in rows])
        columns = [list(column) for column in zip(*rows, strict=True)]
        for column in columns:
            column[0] = short(column[0], max(12, *map(len, column[1:])))
        room = np.cumsum([2 + max(map(len, column)) for column in columns]) <= self.width
        n_shown = len(columns) if least is None else max(least, int(room.sum()))
        table = Table(box=None, padding=(0, 0, 0, 2))
        for j, column in enumerate(columns[:n_shown]):
            justify: Any = "left" if j in left else "right"
            table.add_column(Text(column[0]), justify=justify, no_wrap=True, header_style="dim")
        for i, row in enumerate(rows[1:]):
            table.add_row(*map(Text, row[:n_shown]), style="green" if i == mark else "")
        self._show(table)
        return len(columns) - n_shown

    def written(self, paths):
        """Say which files there are now."""
        self.heading("Written")
        for path in paths:
            self.print(f"  {path}")

    def _show(self, what, **settings):
        """Write what rich makes of it, without blanks at the ends of lines."""
        with self.console.capture() as made:
            self.console.print(what, **settings)
        self.console.file.write("\n".join(line.rstrip() for line in made.get().split("\n")))
        self.console.file.flush()


def bar(fraction, width):
    """Bar of ``fraction * width`` characters in steps of an eighth, never empty unless 0."""
    if not fraction > 0:
        return ""
    eighths = max(1, round(min(fraction, 1.0) * width * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def sparkline(values, width):
    """Heights of `values` between their extremes, at most `width` characters."""
    values = np.asarray(values, float)
    if len(values) > width:
        values = values[np.linspace(0, len(values) - 1, width).round().astype(int)]
    step = np.ptp(values) / (len(_HEIGHTS) - 1) or 1.0
    return "".join(_HEIGHTS[i] for i in ((values - values.min()) / step).round().astype(int))


def figure(value, digits=4):
    """A number as people write it: with commas, and no more digits than tell something."""
    value = float(value)
    if value != value:
        return "-"
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.{digits - 1}e}"
    whole = len(f"{abs(value):.0f}") if abs(value) >= 1 else 0
    text = f"{value:,.{max(0, digits - whole)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_spread(mean, spread):
    """A mean and a standard deviation, with no more decimals than this has."""
    if not 1e-4 < spread < 1e6:
        return figure(mean)
    decimals = max(0, 1 - math.floor(math.log10(spread)))
    return f"{mean:z,.{decimals}f} ± {spread:,.{decimals}f}"


def seconds(value):
    """A duration in the unit that suits it."""
    if value >= 100:
        return f"{value:,.0f} s"
    factor, unit = (1e6, "µs") if value < 1e-3 else (1e3, "ms") if value < 1 else (1, "s")
    return f"{value * factor:.3g} {unit}"


def wrapped(items, width):
    """Return items with commas between, in lines of a width; none is broken in two."""
    lines = [""]
    for i, item in enumerate(items):
        item += "," if i < len(items) - 1 else ""
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(item) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {item}".lstrip()
    return "\n".join(lines)


# ---- what the reports of cluster and topics have in common --------------------------------------


def selection_section(screen, selection):
    """Print the criterion of each number, and type, as its distance from the best."""
    sign = 1 if selection.lower_is_better else -1
    best, criterion = selection.best_score_, selection.criterion
    far = [sign * (row[criterion] - best) for row in selection.table]
    span = max(one for one in far if one == one) or 1.0
    better, end = ("lower", "lowest") if selection.lower_is_better else ("higher", "highest")
    screen.heading("How many?", f"{selection.title}; {better} is better")
    number, *kinds = selection.best_params_
    kinds = [kind for kind in kinds if len({row[kind] for row in selection.table}) > 1]
    figures = [c for c in ("held_out", "coherence") if c in selection.table[0] and c != criterion]
    figures.append(criterion)
    rows = [["K", *(["shape"] if kinds else []), *figures, "difference", ""]]
    for i, (row, one) in enumerate(zip(selection.table, far, strict=True)):
        cells = [str(row[name]) for name in (number, *kinds)]
        cells += [figure(row[name], 5) for name in figures]
        if i == selection.best_index_:
            cells += ["", f"◀ {end}"]
        elif one != one:
            cells += ["", short(row["error"] or "not defined", screen.width - 40)]
        else:
            cells += [f"{sign * one:+,.4g}", bar(one / span, screen.width - 50)]
        rows.append(cells)
    screen.table(rows, left=[len(rows[0]) - 1], mark=selection.best_index_)
    if selection.edge_ is not None:
        more = "more" if "largest" in selection.edge_ else "fewer"
        screen.print(f"  The best is at the edge of what was tried: try {more}.")


def bound_section(screen, model, fitting, what, bounds=None):
    """Print what iterations saw, as a curve, its ends, and how the fit ended."""
    bounds = model.lower_bounds_ if bounds is None else bounds
    every = getattr(model, "evaluate_every", 1)
    when = "by iteration" if every == 1 else f"every {every} iterations"
    screen.heading(_heading_of(model), f"{what}, {when}")
    screen.print(f"  {sparkline(bounds, screen.width - 4)}")
    last = f", {bounds[-1] - bounds[-2]:+.2g} by the last" if len(bounds) > 1 else ""
    screen.print(f"  from {figure(bounds[0], 7)} to {figure(bounds[-1], 7)}{last}")
    n_iter, took = count(model.n_iter_, "iteration"), f"; {seconds(fitting.seconds)} in all"
    starts = f", best of {model.n_init} starts" if getattr(model, "n_init", 1) > 1 else ""
    if fitting.interrupted:
        screen.print(f"  interrupted: this is what {n_iter} found, and what is written")
    elif not hasattr(model, "tol"):  # LDA mostly goes as far as it is told to
        screen.print(f"  {n_iter}{took}")
    elif model.converged_:
        screen.print(f"  converged after {n_iter}{starts}{took}")
    else:
        screen.print(f"  NOT converged after {n_iter}{starts}{took}")
        screen.print("  Raise --max-iter, or --tol for a rougher answer, to let it finish.")


def _heading_of(model):
    """Return the heading of what a fit makes larger, or smaller."""
    return "The inertia" if hasattr(model, "inertia_") else "The bound"


def pictures_of_fit(model, selection):
    """Return (heading, caption, draw) of the pictures of the choice, if any, and of the bound."""
    from fastem import plot

    def draw(figure):
        plot.LowerBoundDisplay.from_estimator(model, ax=figure.subplots())

    made = [(_heading_of(model), "The bound by iteration.", draw)]
    if selection is not None:
        made.append(("How many?", "All that were tried.",
                     lambda figure: selection.plot(ax=figure.subplots())))  # fmt: skip
    return made
