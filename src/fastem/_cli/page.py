"""``--report FILE.html``: what a command printed, and pictures of it, as one page.

The page needs nothing but itself: styles and pictures are in it, there is no script, and a policy
in it forbids the browser to fetch anything. `page.html` is its frame.
"""

import base64
import io
import warnings
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from fastem._cli import CommandError, need
from fastem._cli.outputs import check_outputs

_BLOCKS = "▁▂▃▄▅▆▇█▉▊▋▌▍▎▏"


def check_report(args):
    """Find out before any work whether ``--report`` can be written."""
    if args.report is None:
        return
    args.report = Path(args.report)
    if args.report.suffix.lower() not in (".html", ".htm"):
        raise CommandError(f"--report writes a page: give a name in .html, not {args.report}")
    need("matplotlib", "plot", "--report")
    check_outputs([args.report], args.force)


def page(title, screen, pictures):
    """Yield the page of what a screen has shown; `pictures` are (heading, caption, draw)."""
    from fastem import __version__

    title, content = str(title), []
    for heading, note, items in screen.sections:
        content.append(f"<h2>{escape(heading)}</h2>" if heading else "")
        content.append(f'<p class="note">{escape(note)}</p>' if note else "")
        for item in items[items[:1] == [title] :]:  # it is above
            content.append(_table(item) if isinstance(item, list) else _line(item))
        content += [_figure(*rest) for place, *rest in pictures if place == heading]
    frame = Template(files("fastem._cli").joinpath("page.html").read_text(encoding="utf-8"))
    whole = "".join(f"{part}\n" for part in content if part)
    yield frame.substitute(title=escape(title), content=whole, version=__version__)


def _line(text):
    """Return a line, unless it is a curve, of which there is a picture."""
    drawn = not text.strip(_BLOCKS + " ")
    return "" if drawn else f"<p>{escape(text.strip())}</p>"


def _table(rows):
    """Return a table whose first row is its heading."""
    made = ['<div class="table"><table>']
    for i, row in enumerate(rows):
        tag, cells = "td" if i else "th", []
        for cell in row:
            drawn = cell and not cell.strip(_BLOCKS)
            kind = ' class="bar"' if drawn else ' class="wide"' if len(cell) > 40 else ""
            cells.append(f"<{tag}{kind}>{escape(cell)}</{tag}>")
        made.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*made, "</table></div>"])


def _figure(caption, draw):
    """Return what `draw` draws, as SVG in a data URI; the same for the same figure.

    Text stays text, in the browser's fonts, which have the letters of more languages.
    """
    import matplotlib
    from matplotlib.figure import Figure  # not pyplot's: no window can open

    buffer = io.BytesIO()
    settings: Any = {"svg.hashsalt": "fastem", "svg.fonttype": "none"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font|X does not have valid")
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", dpi=200, metadata={"Date": None})
    uri = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
    image = f'<img alt="{escape(caption)}" src="{uri}">'
    return f"<figure>\n{image}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"
