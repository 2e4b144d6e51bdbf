"""The components of a mixture by feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.plot._style import INK, QUIET, axes_or_new, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["ProfilesDisplay"]

_MARKERS = "osD^vP*X"  # so that components are told apart without colours
_VALUES = {"probabilities_": "probability", "rates_": "rate", "means_": "mean"}
_MOST_IN_LEGEND = 20


class ProfilesDisplay:
    """What is typical of each component: a row for each feature, a dot for each component.

    For mixtures of categories and counts, whose components have no place in a plane. A dot is a
    probability, a rate or a mean; of features with categories there is a row for each category.
    Make one by :meth:`from_estimator`.

    Parameters
    ----------
    values : ndarray of shape (n_components, n_rows)
        The dots.
    names : sequence of n_rows str
        Names of the rows.
    weights : ndarray of shape (n_components,)
        Weights of the components.
    label : str, default="value"
        What a dot is.
    note : str, default=None
        Words above the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of the axes.
    dots_ : list of matplotlib Line2D
        The dots of each component.
    ranges_ : matplotlib LineCollection
        A line from the least to the largest of each row.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import PoissonMixture
    >>> from fastem.plot import ProfilesDisplay
    >>> X = np.random.default_rng(0).poisson(np.repeat([[1, 9], [6, 2]], 100, axis=0))
    >>> mixture = PoissonMixture(2, random_state=0).fit(X)
    >>> display = ProfilesDisplay.from_estimator(mixture, feature_names=["calls", "letters"])
    >>> display.values.shape
    (2, 2)
    """

    ax_: Axes
    figure_: Figure
    dots_: list[Line2D]
    ranges_: LineCollection

    def __init__(
        self,
        values: np.ndarray,
        names: Sequence[str],
        weights: np.ndarray,
        *,
        label: str = "value",
        note: str | None = None,
    ) -> None:
        self.values = values
        self.names = names
        self.weights = weights
        self.label = label
        self.note = note

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        feature_names: Any = None,
        *,
        n_rows: int | None = 30,
        ax: Axes | None = None,
        **line_kw: Any,
    ) -> Self:
        """Draw the components of a fitted mixture.

        Parameters
        ----------
        estimator : BernoulliMixture, CategoricalMixture, PoissonMixture, GaussianMixture, ...
            A fitted one.
        feature_names : array-like of shape (n_features,), default=None
            Names of the features; None: ``feature_names_in_``, or their numbers.
        n_rows : int or None, default=30
            The most rows: those in which components differ most, by their weighted standard
            deviation, in the features' order. None: all.
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure, as high as the rows need.
        **line_kw : dict
            Arguments of matplotlib's `plot`.

        Returns
        -------
        display : ProfilesDisplay
            Drawn.

        Raises
        ------
        ImportError
            Without matplotlib.
        TypeError
            If the estimator is no mixture of fastem.
        ValueError
            If `feature_names` do not fit it, or `n_rows` is below 1.
        """
        kind = _kind_of(estimator)
        values = np.asarray(getattr(estimator, kind), dtype=float)
        if feature_names is None:
            feature_names = getattr(estimator, "feature_names_in_", None)
        if feature_names is None:
            feature_names = [f"feature {j}" for j in range(values.shape[1])]
        names = [str(name) for name in feature_names]
        if len(names) != values.shape[1]:
            raise ValueError(f"feature_names must have {values.shape[1]} entries, got {len(names)}")
        if n_rows is not None and n_rows < 1:
            raise ValueError(f"n_rows must be at least 1, or None for all, got {n_rows!r}")
        if values.ndim == 3:
            values, names = _by_category(values, names, estimator.n_categories_)
        weights, note = np.asarray(estimator.weights_, dtype=float), None
        if n_rows is not None and n_rows < values.shape[1]:
            note = f"{n_rows} of {values.shape[1]} rows: where components differ most"
            mean = weights @ values / weights.sum()
            spread = weights @ (values - mean) ** 2
            kept = np.sort(np.argsort(-spread, kind="stable")[:n_rows])
            values, names = values[:, kept], [names[j] for j in kept]
        display = cls(values, names, weights, label=_VALUES[kind], note=note)
        return display.plot(ax, **line_kw)

    def plot(self, ax: Axes | None = None, **line_kw: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure, as high as the rows need.
        **line_kw : dict
            Arguments of matplotlib's `plot`.

        Returns
        -------
        display : ProfilesDisplay
            Itself.
        """
        k, n = self.values.shape
        self.ax_ = axes = axes_or_new(ax, (6.4, 1.2 + 0.24 * max(n, 1 + 0.8 * min(k, 20))))
        self.figure_ = axes.figure
        rows = np.arange(n)
        low, high = self.values.min(axis=0), self.values.max(axis=0)
        self.ranges_ = axes.hlines(rows, low, high, color="#cccccc", linewidth=1.2, zorder=1)
        self.dots_ = []
        for i, (values, color) in enumerate(zip(self.values, palette(k), strict=True)):
            style = {
                "color": color,
                "marker": _MARKERS[i % len(_MARKERS)],
                "linestyle": "none",
                "markersize": 6,
                "alpha": 0.9,
                "label": f"{i}  {self.weights[i]:.0%}",
            }
            self.dots_ += axes.plot(values, rows, **style | line_kw)
        axes.set_yticks(rows, [_short(name) for name in self.names], fontsize=9, parse_math=False)
        axes.set_ylim(n - 0.4, -0.6)  # the first feature on top
        axes.set_xlabel(f"{self.label} in the component", color=INK)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(True, axis="x", color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
        if self.note:
            axes.set_title(self.note, fontsize=9, color=QUIET, loc="left")
        if k <= _MOST_IN_LEGEND:
            axes.legend(
                loc="upper left",
                bbox_to_anchor=(1.01, 1),
                frameon=False,
                fontsize=8,
                title="component",
                title_fontsize=8,
            )
        return self


def _kind_of(estimator):
    """Return the attribute with the values of a fitted mixture's components; refuse what is none.

    Hidden Markov models have means, too, and no weight for each.
    """
    kind = next((name for name in _VALUES if hasattr(estimator, name)), None)
    weighted = np.ndim(getattr(estimator, "weights_", 0.0)) == 1
    if not weighted and (kind or "weights_init" not in getattr(estimator, "get_params", dict)()):
        raise TypeError(f"estimator must be a mixture of fastem, got {type(estimator).__name__}")
    check_is_fitted(estimator)
    return kind


def _by_category(values, names, n_categories):
    """Return (K, rows) probabilities and names of each category; of two, those of the second."""
    columns, rows = [], []
    for j, (name, n) in enumerate(zip(names, n_categories, strict=True)):
        for category in range(1 if n == 2 else 0, int(n)):
            columns.append(values[:, j, category])
            rows.append(f"{_short(name, 22)} = {category}")
    return np.array(columns).T, rows


def _short(name, length=28):
    """Return a name, shortened to leave room for the dots."""
    return name if len(name) <= length else name[: length - 1] + "…"
