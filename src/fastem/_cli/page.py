"""``--report FILE.html``: what a command printed, and pictures of it, as one page.

The page needs nothing but itself: styles and pictures are in it, there is no script, and a policy
in it forbids the browser to fetch anything.
"""

import base64
import html
import io
import warnings
from pathlib import Path
from typing import Any

from fastem._cli import CommandError, need
from fastem._cli.outputs import check_outputs

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - fastem</title>
<style>
body {{ margin: 0 auto; padding: 1rem; max-width: 64rem; background: #fff; color: #222;
  font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ margin: 0 0 .5rem; font-size: 1.5rem; overflow-wrap: anywhere; }}
h2 {{ margin: 2rem 0 0; font-size: 1.2rem; }}
p {{ margin: 0; overflow-wrap: anywhere; }}
.note {{ color: #595959; margin-bottom: .5rem; }}
.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .15rem .6rem; text-align: right; white-space: nowrap; }}
th {{ font-weight: 600; border-bottom: 1px solid #999; }}
tr + tr td {{ border-top: 1px solid #eee; }}
td.wide {{ text-align: left; white-space: normal; min-width: 12rem; }}
.bar {{ color: #0072B2; text-align: left; letter-spacing: -.5px; }}
figure {{ margin: .5rem 0; max-width: 46rem; overflow-x: auto; }}
img {{ width: 100%; height: auto; }}
figcaption, footer {{ font-size: 14px; color: #595959; }}
</style>
</head>
<body>
<h1>{title}</h1>
"""
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

    title = str(title)
    yield _HEAD.format(title=html.escape(title))
    for heading, note, items in screen.sections:
        items = items[items[:1] == [title] :]  # it is above
        if heading:
            yield f"<h2>{html.escape(heading)}</h2>\n"
        if note:
            yield f'<p class="note">{html.escape(note)}</p>\n'
        for item in items:
            yield from _table(item) if isinstance(item, list) else _line(item)
        for _, caption, draw in [one for one in pictures if one[0] == heading]:
            alt = html.escape(caption)
            yield (
                f'<figure>\n<img alt="{alt}" src="{_uri(draw)}">\n'
                f"<figcaption>{alt}</figcaption>\n</figure>\n"
            )
    yield f"<footer>Written by fastem {__version__}.</footer>\n</body>\n</html>\n"


def _line(text):
    """Yield a line, unless it is a curve, of which there is a picture."""
    if text.strip() and text.strip(_BLOCKS + " "):
        yield f"<p>{html.escape(text.strip())}</p>\n"


def _table(rows):
    """Yield a table whose first row is its heading."""
    yield '<div class="table"><table>\n'
    for i, row in enumerate(rows):
        tag = "td" if i else "th"
        yield "<tr>"
        for cell in row:
            drawn = cell and not cell.strip(_BLOCKS)
            kind = ' class="bar"' if drawn else ' class="wide"' if len(cell) > 40 else ""
            yield f"<{tag}{kind}>{html.escape(cell)}</{tag}>"
        yield "</tr>\n"
    yield "</table></div>\n"


def _uri(draw):
    """Return what `draw` draws on axes, as SVG in a data URI; the same for the same figure.

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
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
