"""``--report FILE.html``: what a command printed, and pictures of it, as one page.

The page needs nothing but itself: styles and pictures are in it, there is no script, and a policy
in it forbids the browser to fetch anything.
"""

import base64
import html
import importlib.util
import io
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem._cli import CommandError
from fastem._cli.outputs import check_outputs
from fastem._cli.screen import Screen
from fastem.components.covariances import KINDS

_STYLE = """
body { margin: 0 auto; padding: 1rem; max-width: 64rem; background: #fff; color: #222;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .5rem; font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 0; font-size: 1.2rem; }
p { margin: 0 0 .5rem; color: #595959; }
pre { margin: .5rem 0; overflow-x: auto; font: 13px/1.45 ui-monospace, monospace; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1px solid #999; }
tr + tr td { border-top: 1px solid #eee; }
.bar { color: #0072B2; font-family: ui-monospace, monospace; }
td.bar { text-align: left; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: .5rem 0; flex: 1 1 18rem; max-width: 100%; }
figure.wide { flex-basis: 100%; overflow-x: auto; }
figure img { width: 100%; height: auto; }
figure.wide img { min-width: 44rem; }
figure.narrow { max-width: 34rem; }
figcaption { font-size: 14px; color: #595959; }
footer { margin-top: 3rem; font-size: 13px; color: #595959; }
"""
#: Nothing is loaded, nothing is run.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_BLOCKS = "▁▂▃▄▅▆▇█▉▊▋▌▍▎▏"
_MOST_TOPICS = 40  # in a picture
_STD = "Ellipses at 1 and 2 standard deviations; a sample's colour mixes those of its components."


class Section(NamedTuple):
    """What was printed under a heading: lines of text, and tables as lists of rows."""

    heading: str
    note: str
    items: list


class Picture(NamedTuple):
    """A picture of the section with this heading, as a data URI; layout: '', 'wide', 'narrow'."""

    heading: str
    uri: str
    caption: str
    layout: str = ""


class RecordingScreen(Screen):
    """A screen that remembers what it shows, by section."""

    def __init__(self, stream=None):
        super().__init__(stream)
        self.sections = [Section("", "", [])]

    def print(self, text=""):
        """Print and remember a line."""
        super().print(text)
        self.sections[-1].items.append(re.sub(r"\x1b\[[\d;]*m", "", text).rstrip())

    def heading(self, text, note=""):
        """Print a heading and begin a section."""
        super().heading(text, note)
        self.sections.append(Section(text, note, []))

    def table(self, rows):
        """Print and remember a table."""
        super().table(rows)
        self.sections[-1].items.append([list(row) for row in rows])


def screen_for(args):
    """Return where to print; with ``--report`` what remembers it, if that file can be written."""
    if args.report is None:
        return Screen()
    args.report = Path(args.report)
    if args.report.suffix.lower() not in (".html", ".htm"):
        raise CommandError(f"--report writes a page: give a name in .html, not {args.report}")
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("--report needs matplotlib; run: pip install 'fastem[plot]'")
    if args.report.is_dir():
        raise CommandError(f"{args.report}: is a folder; give the name of a file to --report")
    check_outputs([args.report], args.force)
    return RecordingScreen()


# ---- the page -----------------------------------------------------------------------------------


def page(title, screen, pictures):
    """Yield the page of what a `RecordingScreen` has shown, with pictures."""
    from fastem import __version__

    title = str(title)
    escaped = html.escape(title)
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped} - fastem</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escaped}</h1>\n"
    )
    for section in screen.sections:
        if section.items[:1] == [title]:  # which is above
            section = section._replace(items=section.items[1:])
        yield from _section(section, [p for p in pictures if p.heading == section.heading])
    yield f"<footer>Written by fastem {__version__}.</footer>\n</body>\n</html>\n"


def _section(section, pictures):
    """Yield a section; a picture takes the place of a curve of characters."""
    yield "<section>\n"
    if section.heading:
        yield f"<h2>{html.escape(section.heading)}</h2>\n<p>{html.escape(section.note)}</p>\n"
    if pictures:
        yield '<div class="pictures">\n' + "".join(map(_figure, pictures)) + "</div>\n"
    lines: list[str] = []
    for item in section.items:
        if isinstance(item, list):
            yield _preformatted(lines)
            lines = []
            yield _table(item)
        elif not (pictures and item.strip() and not item.strip(_BLOCKS + " ")):
            lines.append(item)
    yield _preformatted(lines)
    yield "</section>\n"


def _figure(picture):
    caption = html.escape(picture.caption)
    return (
        f'<figure class="{picture.layout}"><img src="{picture.uri}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def _preformatted(lines):
    """Lines as they were printed."""
    text = html.escape("\n".join(lines).strip("\n"))
    text = re.sub(f"[{_BLOCKS}]+", r'<span class="bar">\g<0></span>', text)
    return f"<pre>{text}</pre>\n" if text else ""


def _table(rows):
    """A table whose first row is its heading."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows[1:])
    return f'<div class="table"><table>\n<tr>{head}</tr>\n{body}</table></div>\n'


def _cell(text):
    text = text.strip()
    kind = ' class="bar"' if text and not text.strip(_BLOCKS) else ""
    return f"<td{kind}>{html.escape(text)}</td>"


# ---- its pictures -------------------------------------------------------------------------------


def cluster_pictures(args, found, table, X):
    """Return pictures of the choice, of the bound, and of the parts over pairs of columns.

    The pairs are of the three columns that tell the parts apart best.
    """
    model, pictures = found.model, []
    if found.selection is not None:
        figure, ax = _figure_and_axes((6.4, 3.2))
        found.selection.plot(ax=ax)
        pictures.append(Picture("How many?", _uri(figure), "All that were tried.", "narrow"))
    heading = "The inertia" if args.model == "kmeans" else "The bound"
    pictures.append(_bound_picture(model, heading))
    if args.model not in ("mixture", "bayesian", "kmeans"):
        return pictures
    of_model = _columns_of_kmeans if args.model == "kmeans" else telling_columns
    columns = sorted(of_model(model, X)[:3])
    units = " (standardized)" if args.standardize else ""
    names = [f"{name}{units}" for name in table.names]
    title = "The clusters" if args.model == "kmeans" else "The components"
    return pictures + _pairs(model, X, names, columns, title)


def _columns_of_kmeans(kmeans, X):
    """Return the columns by how much of their variance is between the clusters, most first."""
    sizes = np.bincount(kmeans.predict(X), minlength=kmeans.n_clusters) / len(X)
    centers, variances = kmeans.cluster_centers_, X.var(axis=0)
    between = sizes @ (centers - sizes @ centers) ** 2
    told = np.divide(between, variances, out=np.zeros_like(between), where=variances > 0)
    return np.argsort(-told, kind="stable").tolist()


def _pairs(model, X, names, columns, title):
    """Return a picture of each pair of columns."""
    from fastem.plot import MixtureDisplay

    pictures: list[Picture] = []
    alone = len(columns) == 2
    for i, j in [(i, j) for n, i in enumerate(columns) for j in columns[n + 1 :]]:
        figure, ax = _figure_and_axes((6.4, 5.2) if alone else (4.6, 4.0))
        display = MixtureDisplay.from_estimator(
            model, X, features=(i, j), ax=ax, scatter_kw={"rasterized": True}
        )
        ax.set_xlabel(names[i], parse_math=False)
        ax.set_ylabel(names[j], parse_math=False)
        shown = len(display.X)
        which = "" if shown == len(X) else f" {shown:,} of {len(X):,} samples."
        caption = f"{names[i]} and {names[j]}."
        if not pictures:  # the first of them explains
            caption += f" {_STD}{which}"
            if len(names) > len(columns):
                listed = ", ".join(name for k, name in enumerate(names) if k not in columns)
                caption += f" Not drawn: {listed}."
        pictures.append(Picture(title, _uri(figure), caption, "narrow" if alone else ""))
    return pictures


def topic_pictures(fit, vocabulary, n_words):
    """Return pictures of the topics and of the bound."""
    from fastem.plot import TopicsDisplay
    from fastem.plot._topics import grid_of

    n_topics = min(len(fit.order), _MOST_TOPICS)
    n_words = min(n_words, len(vocabulary))
    figure, ax = _figure_and_axes(grid_of(n_topics, n_words)[2])
    TopicsDisplay.from_estimator(
        fit.model,
        feature_names=vocabulary,
        topics=fit.order[:n_topics].tolist(),
        titles=[f"{k}: {fit.shares[k]:.1%}" for k in range(n_topics)],
        n_words=n_words,
        ax=ax,
    )
    all_ = n_topics == len(fit.order)
    which = "The topics" if all_ else f"The {n_topics} largest topics"
    caption = f"{which}, with their share of all words, and their most probable words."
    return [
        Picture("The topics", _uri(figure), caption, "wide"),
        _bound_picture(fit.model),
    ]


def telling_columns(mixture, X=None):
    """Return the columns by how much of their variance is between the components, most first."""
    weights, means = mixture.weights_, mixture.means_
    between = weights @ (means - weights @ means) ** 2
    variances = KINDS[mixture.covariance_type].diagonal(mixture.covariances_)
    within = weights @ np.broadcast_to(variances, means.shape)
    return np.argsort(-between / (between + within), kind="stable").tolist()


def _bound_picture(model, heading="The bound"):
    from fastem.plot import LowerBoundDisplay

    figure, ax = _figure_and_axes((6.4, 3.2))
    LowerBoundDisplay.from_estimator(model, ax=ax)
    return Picture(heading, _uri(figure), "The bound by iteration.", "narrow")


def _figure_and_axes(size):
    """Return a figure that is not pyplot's, so that no window can open, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _uri(figure):
    """Return a figure as SVG in a data URI, the same for the same figure.

    Text stays text, in the browser's fonts, which have the letters of more languages than
    matplotlib's own.
    """
    import matplotlib

    buffer = io.BytesIO()
    settings: Any = {"svg.hashsalt": "fastem", "svg.fonttype": "none"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="svg", dpi=200, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
