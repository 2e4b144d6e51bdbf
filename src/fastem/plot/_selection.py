"""A criterion by the number of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from fastem.plot._style import INK, QUIET, axes_or_new, palette, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["SelectionDisplay"]

_MARKERS = "osD^vP*X"  # so that curves are told apart without colours


class SelectionDisplay:
    """A criterion by the number of components, a curve for each type, with a ring at the best.

    Bars are standard deviations, where the criterion has one. Make one by :meth:`from_selection`.

    Parameters
    ----------
    curves : dict of str to dict
        For each type lists of the same length: 'number', 'score' and 'error'.
    best : tuple of (str, int)
        The type and the number of the best.
    labels : pair of str, default=("n_components", "criterion")
        What is across and what is up.
    note : str, default=None
        Words above the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of the axes.
    lines_ : dict of str to matplotlib Line2D
        The curves.
    best_ : matplotlib Line2D
        The ring.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastem import select
    >>> from fastem.plot import SelectionDisplay
    >>> selection = select.mixture(load_iris().data, range(1, 4), random_state=0)
    >>> display = SelectionDisplay.from_selection(selection)
    >>> list(display.lines_)
    ['full', 'tied', 'diag', 'spherical']
    """

    ax_: Axes
    figure_: Figure
    lines_: dict[str, Line2D]
    best_: Line2D

    def __init__(
        self,
        curves: Mapping[str, Mapping[str, npt.ArrayLike]],
        best: tuple[str, int],
        *,
        labels: Sequence[str] = ("n_components", "criterion"),
        note: str | None = None,
    ) -> None:
        self.curves = curves
        self.best = best
        self.labels = labels
        self.note = note

    @classmethod
    def from_selection(cls, selection: Any, *, ax: Axes | None = None, **line_kw: Any) -> Self:
        """Draw what a function of `fastem.select` returned.

        Parameters
        ----------
        selection : Selection
            The result.
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        **line_kw : dict
            Arguments of matplotlib's `errorbar`.

        Returns
        -------
        display : SelectionDisplay
            Drawn.

        Raises
        ------
        ImportError
            Without matplotlib.
        TypeError
            If `selection` is no such result.
        """
        if not hasattr(selection, "curves"):
            raise TypeError(
                "selection must be what a function of fastem.select returned, got "
                f"{type(selection).__name__}"
            )
        number, *kinds = selection.best_params_
        kind = str(selection.best_params_[kinds[0]]) if kinds else ""
        better = "lower" if selection.lower_is_better else "higher"
        labels = number, f"{selection.title} ({better} is better)"
        if selection.criterion == "gap":
            labels = number, selection.title
        best = kind, selection.best_params_[number]
        display = cls(selection.curves(), best, labels=labels, note=selection.edge_)
        return display.plot(ax, **line_kw)

    def plot(self, ax: Axes | None = None, **line_kw: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        **line_kw : dict
            Arguments of matplotlib's `errorbar`.

        Returns
        -------
        display : SelectionDisplay
            Itself.
        """
        self.ax_ = axes = axes_or_new(ax, (6.4, 4.0))
        self.figure_ = axes.figure
        self.lines_ = {}
        colors = palette(len(self.curves))
        for i, (name, curve) in enumerate(self.curves.items()):
            numbers, scores, errors = (
                np.asarray(curve[part], float) for part in ("number", "score", "error")
            )
            style = {
                "color": colors[i],
                "linewidth": 1.6,
                "marker": _MARKERS[i % len(_MARKERS)],
                "markersize": 5,
                "capsize": 2,
                "label": name,
            }
            bars = errors if np.any(errors > 0) else None
            self.lines_[name] = axes.errorbar(numbers, scores, bars, **style | line_kw)[0]
        self._mark_the_best()
        axes.set_xlabel(self.labels[0])
        axes.set_ylabel(self.labels[1])
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.ticklabel_format(axis="y", useOffset=False)
        if self.note:
            axes.set_title(self.note, fontsize=9, color=QUIET, loc="left", wrap=True)
        if len(self.curves) > 1:
            axes.legend(frameon=False, ncols=1 + len(self.curves) // 8, fontsize=9)
        tidy(axes)
        return self

    def _mark_the_best(self):
        """Draw a ring around the best."""
        kind, number = self.best
        curve = self.curves[kind]
        at = list(np.asarray(curve["number"])).index(number)
        (self.best_,) = self.ax_.plot(
            [number],
            [np.asarray(curve["score"])[at]],
            marker="o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=1.4,
            linestyle="none",
            zorder=5,
        )
