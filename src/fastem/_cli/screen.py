"""Text on a terminal: width, colour, bars, tables; plain where the output is no terminal."""

import os
import shutil
import sys
from unicodedata import east_asian_width

#: What stands in where the output's encoding lacks the drawing characters (a Windows pipe).
_ASCII = str.maketrans(
    {
        **dict.fromkeys("█▉▊▋▌", "#"),
        **dict.fromkeys("▍▎▏", " "),
        **dict(zip("▁▂▃▄▅▆▇", "_.-~=+*", strict=True)),
        **{"×": "x", "·": "-", "–": "-", "…": "...", "◀": "<", "µ": "u", "−": "-"},
    }
)
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"


class Screen:
    """Where a command prints its results.

    Parameters
    ----------
    stream : text stream, default=None
        Default: ``sys.stdout``.
    """

    def __init__(self, stream=None):
        self.stream = sys.stdout if stream is None else stream
        self.width = min(max(shutil.get_terminal_size((80, 24)).columns, 60), 120)
        self.color = (
            self.stream.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )
        self.unicode = _can_encode(self.stream, "▁█▌×–…◀µ")

    def print(self, text=""):
        """Print `text`, in ASCII if the stream cannot do better, and show it at once."""
        self._line(text)

    def _line(self, text=""):
        """Do as `print`, for parts of what is more than a line."""
        if not self.unicode:
            text = text.translate(_ASCII).encode("ascii", "replace").decode()
        print(text.rstrip(), file=self.stream, flush=True)

    def heading(self, text, note=""):
        """Print a blank line and a heading, with a quiet note beside it or, if long, below it."""
        self._line()
        if note and len(text) + len(note) + 2 > self.width:
            self._line(self.bold(text))
            self._line(self.dim(note))
        else:
            self._line(self.bold(text) + "  " + self.dim(note))

    def table(self, rows):
        """Print rows of equal length as right-aligned columns; the first row is the heading."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for i, row in enumerate(rows):
            line = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            self._line("  " + (self.dim(line) if i == 0 else line))

    def bold(self, text):
        """`text` in bold on a terminal."""
        return self._styled(text, "1")

    def dim(self, text):
        """`text` in faint on a terminal."""
        return self._styled(text, "2")

    def accent(self, text):
        """`text` in the colour for what should catch the eye."""
        return self._styled(text, "32")

    def _styled(self, text, code):
        """`text` between an ANSI code and the reset, where there is colour and text."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text


def _can_encode(stream, text):
    """Whether the stream's encoding has every character of `text`."""
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def width_of(text):
    """Columns of a terminal that a text takes: Chinese and Japanese letters take two."""
    return len(text) + sum(east_asian_width(letter) in "WF" for letter in text)


def bar(fraction, width):
    """Bar of ``fraction * width`` characters in steps of an eighth, never empty unless 0."""
    if not fraction > 0:
        return ""
    eighths = max(1, round(min(fraction, 1.0) * width * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def sparkline(values, width):
    """Heights of `values` between their extremes, at most `width` characters."""
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    low, high = min(values), max(values)
    step = (high - low) / (len(_HEIGHTS) - 1) or 1.0
    return "".join(_HEIGHTS[round((value - low) / step)] for value in values)


def seconds(value):
    """A duration with three significant digits, in the unit that suits it."""
    if value < 1e-3:
        return f"{value * 1e6:.3g} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"
