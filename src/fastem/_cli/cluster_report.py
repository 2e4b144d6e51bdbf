"""What ``cluster`` prints, draws and writes of a fit."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np

from fastem import __version__, plot
from fastem._cli import count, short
from fastem._cli.fitting import show_comparison
from fastem._cli.models import MODELS
from fastem._cli.screen import (
    bound_section,
    figure,
    pictures_of_fit,
    selection_section,
    with_spread,
)  # fmt: skip
from fastem.components.covariances import KINDS

_MOST_PARTS, _MOST_DRAWN = 20, 4


class Fit(NamedTuple):
    """A fitted model, and how it came about."""

    args: Any
    table: Any
    X: Any  # as the model saw it
    model: Any
    selection: Any  # None: one number was asked for
    fitting: Any
    labels: Any
    scaling: Any

    @property
    def kind(self):
        """What the table of models says."""
        return MODELS[self.args.model]

    @property
    def parts(self):
        """The parts' values, a row each."""
        return getattr(self.model, self.kind.values)

    def sizes(self):
        """Return how many rows each part has, and its weight, or share of the rows."""
        counts = np.bincount(self.labels, minlength=len(self.parts))
        return counts, getattr(self.model, "weights_", counts / max(1, len(self.labels)))

    def cells(self):
        """Return the parts' values of each column as texts, in the file's units."""
        if self.table.categories is not None:  # the most probable one
            best = self.parts.argmax(axis=2)
            return [
                [f"{names[k]} {row[j, k]:.0%}" for j, (names, k) in
                 enumerate(zip(self.table.categories, ks, strict=True))]
                for row, ks in zip(self.parts, best, strict=True)
            ]  # fmt: skip
        units = self.scaling or {"scale": 1.0, "mean": 0.0}
        values = self.parts * units["scale"] + units["mean"]
        spread = self.spread() * units["scale"]
        return [list(map(with_spread, *rows)) for rows in zip(values, spread, strict=True)]

    def spread(self):
        """Return standard deviations of the columns within parts; 0 if they have none."""
        if self.kind.covariances is not None:
            covariances = np.asarray(getattr(self.model, self.kind.covariances))
            kind = self.model.covariance_type
            if self.args.model == "hmm" and covariances.ndim == 3:  # whole matrices, as hmmlearn
                kind = "full"
            return np.sqrt(np.broadcast_to(KINDS[kind].diagonal(covariances), self.parts.shape))
        squares = np.zeros(self.parts.shape)
        if self.args.model == "kmeans":
            for begin in range(0, len(self.X), 20_000):
                some, labels = self.X[begin : begin + 20_000], self.labels[begin : begin + 20_000]
                np.add.at(squares, labels, np.nan_to_num(some - self.parts[labels]) ** 2)
        return np.sqrt(squares / np.maximum(1, self.sizes()[0])[:, None])

    def content(self):
        """Return what the JSON file holds."""
        model, kind, table = self.model, self.kind, self.table
        content = {
            "fastem": __version__, "file": self.args.file, "columns": table.names,
            "n_samples": len(table.X), "n_samples_left_out": table.n_rows - len(table.X),
            "model": self.args.model, "settings": model.get_params(),
            "converged": bool(model.converged_) and not self.fitting.interrupted,
            "n_iter": int(model.n_iter_), "lower_bound": float(model.lower_bound_),
            "scaling": self.scaling and {name: a.tolist() for name, a in self.scaling.items()},
            "categories": table.categories, "inertia": getattr(model, "inertia_", None),
        }  # fmt: skip
        if hasattr(model, "bic"):
            content |= {"bic": float(model.bic(self.X)), "aic": float(model.aic(self.X))}
        if self.selection is not None:
            content["criterion"] = self.selection.criterion
            content["candidates"] = self.selection.table
        for name in ("weights_", "startprob_", "transmat_", kind.values, kind.covariances or ""):
            key = "covariances" if name == kind.covariances else name.rstrip("_")
            content[key] = getattr(model, name, None)
        bounds = [float(bound) for bound in model.lower_bounds_]
        content |= {"sizes": self.sizes()[0], "lower_bounds": bounds}
        return {key: value for key, value in content.items() if value is not None}


def show(screen, fit):
    """Print all there is to tell."""
    model, kind = fit.model, fit.kind
    if fit.selection is not None:
        selection_section(screen, fit.selection)
    k, inertia = len(fit.parts), getattr(model, "inertia_", None)
    if inertia is not None:
        bounds = -len(fit.X) * np.array(model.lower_bounds_)
        what = f"sum of squared distances; {figure(inertia, 6)} at the centers below; K = {k}"
        bound_section(screen, model, fit.fitting, what, bounds)
    else:
        bayesian = hasattr(model, "weight_concentration_")
        what = "on the evidence" if bayesian else "mean log-likelihood of a row"
        bound_section(screen, model, fit.fitting, f"{what}, K = {k}")
    _parts_section(screen, fit)
    if fit.selection is None and kind.choose is not None:
        screen.print("  To choose K, give several, as in -k 2-12", "dim")
    if fit.args.compare:
        show_comparison(screen, fit.X, model)


def _parts_section(screen, fit):
    """Print the size of each part, and its value of each column, largest first."""
    (counts, weights), cells, noun = fit.sizes(), fit.cells(), fit.kind.noun
    order = np.argsort(-weights, kind="stable")
    rows = [["label", "share", "rows", *fit.table.names]]
    for k in order[:_MOST_PARTS]:
        values = [short(cell, 24) for cell in cells[k]]
        rows.append([str(k), f"{weights[k]:.1%}", f"{counts[k]:,}", *values])
    spread = " ± standard deviation" if "±" in "".join(cells[order[0]]) else ""
    screen.heading(f"The {noun}s", f"largest first; {fit.kind.what}{spread} of each column")
    hidden = [(screen.table(rows, least=4), "more column"), (len(order) + 1 - len(rows), noun)]
    listed = " and ".join(count(number, what) for number, what in hidden if number)
    if listed:
        screen.print(f"  … {listed} in the files", "dim")


def pictures(fit):
    """Return (heading, caption, draw) of the pictures of a report."""
    made = pictures_of_fit(fit.model, fit.selection)
    parts = _part_picture(fit)
    return made if parts is None else [*made, (f"The {fit.kind.noun}s", *parts)]


def _part_picture(fit):
    """Return caption and picture of the parts: over pairs of columns, as profiles, or in time."""
    names, model = fit.table.names, copy.copy(fit.model)
    units = " (standardized)" if fit.scaling is not None else ""
    model.feature_names_in_ = np.array([f"{name}{units}" for name in names], object)
    if fit.kind.data != "numbers":

        def draw(figure):
            figure.set_size_inches(6.4, 1 + 0.25 * min(30, len(names)))
            plot.ProfilesDisplay.from_estimator(model, ax=figure.subplots())

        return "Each component's value of each column; of many, where they differ most.", draw
    columns = _telling(fit)
    if fit.args.model == "hmm":
        j = columns[0]

        def draw_states(figure):
            axes, X = figure.subplots(), fit.X[:5000]
            plot.StatesDisplay.from_estimator(fit.model, X, feature=j, ax=axes)
            axes.set_ylabel(model.feature_names_in_[j], parse_math=False)

        return f"{names[j]} in the order of rows, and the states.", draw_states
    X = fit.X[:: -(-len(fit.X) // 20_000)]
    X = X[~np.isnan(X).any(axis=1)]
    if not len(X):
        return None
    drawn = sorted(columns[:_MOST_DRAWN])
    left = ", ".join(name for j, name in enumerate(names) if j not in drawn)

    def draw_pairs(figure):
        n = len(drawn)
        figure.set_size_inches({1: (6.4, 3.6), 2: (6.4, 5.2)}.get(n, (2.1 * n, 2.0 * n)))
        few = len(getattr(model, "means_", range(99))) <= 20
        plot.MixtureDisplay.from_estimator(
            model, X, features=drawn, ax=figure.subplots(), legend=few,
            scatter_kw={"rasterized": True},
        )  # fmt: skip

    caption = (
        f"Ellipses at 1 and 2 standard deviations; the colours are the {fit.kind.noun}s' of each "
        f"row.{f' Not drawn: {left}.' if left else ''}"
    )
    return caption, draw_pairs


def _telling(fit):
    """Return the columns by how much of their variance is between the parts, most first."""
    values, weights = fit.parts, fit.sizes()[1]
    between = weights @ (values - weights @ values) ** 2
    within = weights @ fit.spread() ** 2
    total = between + within
    told = np.divide(between, total, out=np.zeros_like(total), where=total > 0)
    return np.argsort(-told, kind="stable").tolist()
