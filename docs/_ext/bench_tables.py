"""Tables and pictures of what the bench printed: the only figures that the site gives.

``bench/RESULTS.md``, which ``bench/run.py`` writes, is read when the site is built::

    ```{bench-table} gmm
    :table: 2
    :columns: case; ms, float64; MiB beyond X = MiB
    ```

shows some columns of the second table of a family, the last under another name (all, where none are
named); with the flag ``:machine:``, also what they were measured on.
"""

import re
from pathlib import Path

import matplotlib
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

matplotlib.use("Agg")

from matplotlib import pyplot as plt

RESULTS = Path(__file__).parents[2] / "bench" / "RESULTS.md"


def family(name):
    """Return (paragraphs, tables) of a family; a table is (header, rows) of cells."""
    text = RESULTS.read_text(encoding="utf-8")
    found = re.search(rf"<!-- begin {name} -->(.*)<!-- end {name} -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"{RESULTS} has no family {name!r}: run `python bench/run.py {name}`")
    parts = [part for part in found[1].strip().split("\n\n") if not part.startswith("#")]
    tables = [_cells(part) for part in parts if part.startswith("|")]
    return [part for part in parts if not part.startswith("|")], tables


def _cells(table):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return rows[0], rows[2:]


class BenchTable(SphinxDirective):
    """Some columns of a table of the bench."""

    required_arguments = 1
    option_spec = {  # noqa: RUF012
        "table": directives.positive_int,
        "columns": directives.unchanged_required,
        "machine": directives.flag,
    }

    def run(self):
        """Return the table."""
        self.env.note_dependency(str(RESULTS))
        paragraphs, tables = family(self.arguments[0])
        header, rows = tables[self.options.get("table", 1) - 1]
        titles, places = header, range(len(header))  # by place: names may repeat
        if "columns" in self.options:
            names = [part.strip().partition(" = ") for part in self.options["columns"].split(";")]
            places = [header.index(column.strip()) for column, _, _ in names]
            titles = [(title or column).strip() for column, _, title in names]
        table = [titles, ["---"] * len(titles), *([row[i] for i in places] for row in rows)]
        lines = [f"| {' | '.join(row)} |" for row in table]
        shown = self.parse_text_to_nodes("\n".join(lines))
        shown[0]["classes"].append("bench")
        if "machine" in self.options:
            note = self.parse_text_to_nodes(paragraphs[0])
            note[0]["classes"].append("bench-machine")
            shown += note
        return shown


def mark(app, doctree):
    """Have the tables of the full results set as those of the directive."""
    if app.env.docname == "bench_results":
        for table in doctree.findall(nodes.table):
            table["classes"].append("bench")


GREY = "#777777"  # legible on white and on black
STYLE = {"svg.fonttype": "path", "svg.hashsalt": "fastem", "text.color": GREY}


def draw(app):
    """Draw the pictures, which are kept in the repository, for the README shows one, too."""
    for name, figure in (("speed", draw_speed()), ("lda_quality", draw_quality())):
        path = Path(app.srcdir) / f"{name}.svg"
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)


def draw_speed():
    """Return the speed-ups over scikit-learn as bars."""
    groups = {
        "Whole fits with defaults, start included, × scikit-learn's": ("whole", "fastest"),
        "GaussianMixture, × scikit-learn's": ("gmm", "fastest"),
        "KMeans, × scikit-learn's": ("kmeans", "fastest"),
        "LDA's E-step, one thread, × scikit-learn's": ("lda", "× scikit-learn, float64"),
        "PLSA, × scikit-learn's NMF": ("plsa", "× NMF, float64"),
    }
    bars = []
    for title, (name, column) in groups.items():
        header, rows = family(name)[1][0]
        place = header.index(column)
        if "dtype" in header:  # a line for each
            rows = [row for row in rows if row[header.index("dtype")] == "float64"]
        if name == "whole":  # neither single iterations nor reading
            part = re.compile(r"iteration| of \d+ rows?|max_iter")
            rows = [row for row in rows if not part.search(row[1])]
        bars.append((title, [(row[1], float(row[place].split(" / ")[0])) for row in rows]))
    heights = [len(rows) for _, rows in bars]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(bars), figsize=(8.6, 0.27 * sum(heights) + 1.3), height_ratios=heights
        )
        for axis, (title, rows) in zip(axes, bars, strict=True):
            labels, values = zip(*rows, strict=True)
            drawn = axis.barh(labels, values, color="#459db9")
            axis.bar_label(drawn, [f"{value:.3g} ×" for value in values], padding=4, color=GREY)
            axis.set_title(title, loc="left", fontsize=10)
            axis.invert_yaxis()
            axis.set_xlim(0, 1.25 * max(values))
            axis.tick_params(colors=GREY, length=0, labelbottom=False)
            axis.spines[:].set_visible(False)
        figure.tight_layout()
    return figure


def draw_quality():
    """Return the scores that LDA reaches with time, one panel for each case."""
    rows = family("lda")[1][-1][1]
    cases = list(dict.fromkeys(row[0] for row in rows))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(cases), figsize=(3.2 * len(cases), 3.4), squeeze=False)
        for axis, case in zip(axes[0], cases, strict=True):
            for _, label, points in (row for row in rows if row[0] == case):
                seconds, scores = zip(
                    *([float(part) for part in point.split(": ")] for point in points.split(", ")),
                    strict=True,
                )
                axis.plot(seconds, scores, "o-" if len(scores) > 1 else "s", ms=4, label=label)
            axis.set_xscale("log")
            ticks = [0.03, 0.1, 0.3, 1, 3, 10, 30]
            axis.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
            axis.set_xticks([], minor=True)
            times = [time for line in axis.lines for time in line.get_xdata()]
            axis.set_xlim(0.7 * min(times), 1.5 * max(times))
            axis.set_title(case, loc="left", fontsize=10)
            axis.set_xlabel("seconds", color=GREY)
            axis.tick_params(colors=GREY, which="both", labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
            axis.spines[["left", "bottom"]].set_color(GREY)
            # What a fit begins with is far below what matters.
            best = max(max(line.get_ydata()) for line in axis.lines)
            axis.set_ylim(best - 0.45, best + 0.03)
        axes[0, 0].set_ylabel("held-out nats a word", color=GREY)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        for axis in figure.axes[1:]:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                if label not in labels:
                    handles, labels = [*handles, handle], [*labels, label]
        figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=8)
        figure.tight_layout(rect=(0, 0.16, 1, 1))
    return figure


def setup(app):
    """Register the directive, and the pictures."""
    app.add_directive("bench-table", BenchTable)
    app.connect("builder-inited", draw)
    app.connect("doctree-read", mark)
    return {"parallel_read_safe": True}
