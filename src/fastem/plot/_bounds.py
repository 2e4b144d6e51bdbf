"""The bound by iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from fastem.plot._style import QUIET, axes_or_new, palette, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["LowerBoundDisplay", "iterations_of"]


class LowerBoundDisplay:
    """The bound by iteration, of one fit or several.

    A full dot ends a fit that converged, an open one a fit that was stopped. Make one by
    :meth:`from_estimator`.

    Parameters
    ----------
    lower_bounds : dict of str to array-like
        For each fit, by name, its bounds.
    iterations : dict of str to array-like, default=None
        For each fit the numbers of the iterations that had them; None: 1, 2, 3, ...
    converged : dict of str to bool, default=None
        Whether it converged; None: all did.
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

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GaussianMixture
    >>> from fastem.plot import LowerBoundDisplay
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> fits = {f"K = {k}": GaussianMixture(k, random_state=0).fit(X) for k in (1, 2)}
    >>> display = LowerBoundDisplay.from_estimator(fits)
    >>> list(display.lines_)
    ['K = 1', 'K = 2']
    """

    ax_: Axes
    figure_: Figure
    lines_: dict[str, Line2D]

    def __init__(
        self,
        lower_bounds: Mapping[str, Sequence[float] | np.ndarray],
        *,
        iterations: Mapping[str, npt.ArrayLike] | None = None,
        converged: Mapping[str, bool] | None = None,
        note: str | None = None,
    ) -> None:
        self.lower_bounds = lower_bounds
        self.iterations = iterations
        self.converged = converged
        self.note = note

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        name: str | Sequence[str] | None = None,
        ax: Axes | None = None,
        **line_kw: Any,
    ) -> Self:
        """Draw the bounds of fitted estimators.

        Parameters
        ----------
        estimator : estimator, or list or dict of estimators
            Fitted ones, which have `lower_bounds_`; the keys of a dict are their names.
        name : str or list of str, default=None
            Names of one or of a list; None: the names of the classes, numbered if need be.
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        **line_kw : dict
            Arguments of matplotlib's `plot`.

        Returns
        -------
        display : LowerBoundDisplay
            Drawn.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If an estimator has no bounds, or the names do not fit.
        """
        estimators = _named(estimator, name)
        for key, one in estimators.items():
            check_is_fitted(one)
            if not len(getattr(one, "lower_bounds_", ())):
                raise ValueError(
                    f"{key} has no bounds in lower_bounds_; use fit of an estimator of fastem, "
                    "with max_iter >= 1"
                )
        display = cls(
            {key: np.asarray(one.lower_bounds_, float) for key, one in estimators.items()},
            iterations={key: iterations_of(one) for key, one in estimators.items()},
            converged={key: bool(one.converged_) for key, one in estimators.items()},
            note=_why_one_point(estimators),
        )
        return display.plot(ax, **line_kw)

    def plot(self, ax: Axes | None = None, **line_kw: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        **line_kw : dict
            Arguments of matplotlib's `plot`.

        Returns
        -------
        display : LowerBoundDisplay
            Itself.
        """
        self.ax_ = axes = axes_or_new(ax, (6.4, 3.6))
        self.figure_ = axes.figure
        self.lines_ = {}
        colors = palette(len(self.lower_bounds))
        for color, (name, bounds) in zip(colors, self.lower_bounds.items(), strict=True):
            converged = self.converged is None or self.converged[name]
            numbers = np.arange(1, len(bounds) + 1)
            if self.iterations is not None:
                numbers = np.asarray(self.iterations[name])
            style = {
                "color": color,
                "linewidth": 1.8,
                "marker": "o",
                "markersize": 6,
                "markevery": [-1],
                "markerfacecolor": color if converged else "white",
                "label": f"{name}, {'converged' if converged else 'stopped'} at {numbers[-1]}",
            }
            (self.lines_[name],) = axes.plot(numbers, bounds, **style | line_kw)
        axes.set_xlabel("iteration")
        axes.set_ylabel("lower bound")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.ticklabel_format(axis="y", useOffset=False)
        if self.note:
            axes.set_title(self.note, fontsize=9, color=QUIET, loc="left", wrap=True)
        axes.legend(loc="lower right", frameon=False)
        tidy(axes)
        return self


def iterations_of(estimator):
    """Return the numbers of the iterations whose bounds are in `lower_bounds_`."""
    every = getattr(estimator, "evaluate_every", 1)
    if every < 1:  # latent Dirichlet allocation looks at the last one alone
        every = estimator.max_iter
    numbers = every * np.arange(1, len(estimator.lower_bounds_) + 1)
    # The last iteration is looked at, too, if it is no multiple. (A stream has other numbers.)
    if len(numbers) and numbers[-1] - every < estimator.max_iter < numbers[-1]:
        numbers[-1] = estimator.max_iter
    return numbers


def _why_one_point(estimators):
    """Return a sentence, if a fit was told not to look at its bound until the end."""
    blind = [key for key, one in estimators.items() if getattr(one, "evaluate_every", 1) < 1]
    if not blind:
        return None
    whose = "" if len(estimators) == 1 else f" of {', '.join(blind)}"
    return f"The bound{whose} was computed at the end only: fit with evaluate_every=1 for a curve."


def _named(estimator, name):
    """Return a dict of estimators by name."""
    if isinstance(estimator, dict):
        if name is not None:
            raise ValueError("name must be None for a dict of estimators, whose keys are the names")
        named = estimator
    else:
        several = isinstance(estimator, list | tuple)
        estimators = list(estimator) if several else [estimator]
        if name is None:
            names = [type(one).__name__ for one in estimators]
            if len(set(names)) < len(names):
                names = [f"{n} {i}" for i, n in enumerate(names)]
        else:
            names = [name] if isinstance(name, str) else list(name)
        if len(set(names)) != len(estimators) or len(names) != len(estimators):
            raise ValueError(
                f"name must have {len(estimators)} different names, one for each estimator, "
                f"got {names}"
            )
        named = dict(zip(names, estimators, strict=True))
    if not named:
        raise ValueError("estimator must be one at least, got none")
    return named
