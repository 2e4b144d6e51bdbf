"""The states of a hidden Markov model over time."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from fastem._typing import MatrixLike
from fastem.plot._style import INK, axes_or_new, palette, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["StatesDisplay"]


class StatesDisplay:
    """A sequence, and behind it the states that a hidden Markov model tells for each step.

    Make one by :meth:`from_estimator`.

    Parameters
    ----------
    states : ndarray of shape (n_steps,)
        State of each step.
    values : ndarray of shape (n_steps,)
        What is drawn of each step; NaN leaves a gap.
    times : ndarray of shape (n_steps,), default=None
        Numbers or dates of the steps; None: 0, 1, 2, ...
    n_states : int, default=None
        Number of states, each of which has a colour; None: of those that occur.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of the axes.
    line_ : matplotlib Line2D
        The values.
    spans_ : list of matplotlib patches
        One for each stay in a state, in order of time.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GaussianHMM
    >>> from fastem.plot import StatesDisplay
    >>> X = np.array([0.1, -0.2, 0.0, 5.1, 4.9, 5.2, 0.2, -0.1])[:, None]
    >>> model = GaussianHMM(2, random_state=0).fit(X)
    >>> display = StatesDisplay.from_estimator(model, X)
    >>> len(display.spans_)
    3
    """

    ax_: Axes
    figure_: Figure
    line_: Line2D
    spans_: list[Any]

    def __init__(
        self,
        states: np.ndarray,
        values: np.ndarray,
        *,
        times: npt.ArrayLike | None = None,
        n_states: int | None = None,
    ) -> None:
        self.states = states
        self.values = values
        self.times = times
        self.n_states = n_states

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike,
        *,
        feature: int = 0,
        times: npt.ArrayLike | None = None,
        names: Sequence[str] | None = None,
        ax: Axes | None = None,
        **line_kw: Any,
    ) -> Self:
        """Draw one sequence with the states that a fitted model tells for it.

        Parameters
        ----------
        estimator : estimator
            A hidden Markov model, fitted or with its parameters set.
        X : array-like of shape (n_steps, n_features)
            One sequence.
        feature : int, default=0
            The column of X that is drawn.
        times : array-like of shape (n_steps,), default=None
            Numbers or dates of the steps; None: 0, 1, 2, ...
        names : list of str, default=None
            Names of the states in the legend; None: their numbers.
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        **line_kw : dict
            Arguments of matplotlib's `plot`.

        Returns
        -------
        display : StatesDisplay
            Drawn.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If X is no sequence of the model's.
        """
        if not hasattr(X, "shape"):
            X = np.asarray(X)
        if len(X.shape) != 2:
            raise ValueError(
                f"X must be one sequence, of shape (n_steps, n_features), got {tuple(X.shape)}: "
                "draw each of several on axes of its own"
            )
        n_features, values = X.shape[1], np.asarray(X)
        if not isinstance(feature, Integral) or not -n_features <= feature < n_features:
            raise ValueError(
                f"feature must be an integer from 0 to {n_features - 1}, got {feature!r}"
            )
        states = estimator.predict(X)
        values = values[:, feature].astype(float)
        display = cls(states, values, times=times, n_states=estimator.n_components)
        return display.plot(ax, names=names, **line_kw)

    def plot(
        self, ax: Axes | None = None, *, names: Sequence[str] | None = None, **line_kw: Any
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        names : list of str, default=None
            Names of the states in the legend; None: their numbers.
        **line_kw : dict
            Arguments of matplotlib's `plot`.

        Returns
        -------
        display : StatesDisplay
            Itself.
        """
        states = np.asarray(self.states)
        n_states = int(states.max()) + 1 if self.n_states is None else self.n_states
        times = np.arange(len(states)) if self.times is None else np.asarray(self.times)
        if len(times) != len(states):
            raise ValueError(f"times must have {len(states)} entries, got {len(times)}")
        if names is not None and len(names) != n_states:
            raise ValueError(f"names must have {n_states} entries, one a state, got {len(names)}")
        self.ax_ = axes = axes_or_new(ax, (8.0, 3.2))
        self.figure_ = axes.figure
        colors, self.spans_, named = palette(n_states), [], set()
        begins = np.flatnonzero(np.diff(states, prepend=-1))
        # A step lasts until the next; the last one as long as the one before it.
        last = times[-1] + (times[-1] - times[-2]) if len(times) > 1 else times[-1]
        edges = [*times, last]
        for begin, end in zip(begins, [*begins[1:], len(states)], strict=True):
            state = int(states[begin])
            label = None if state in named else f"state {state}" if names is None else names[state]
            named.add(state)
            until = edges[end]
            span = axes.axvspan(
                edges[begin], until, color=colors[state], alpha=0.3, linewidth=0, label=label
            )
            self.spans_.append(span)
        style = {"color": INK, "linewidth": 0.8} | line_kw
        (self.line_,) = axes.plot(times, self.values, **style)
        tidy(axes)
        axes.margins(x=0)
        axes.legend(frameon=False, ncols=min(n_states, 6), loc="lower left", bbox_to_anchor=(0, 1))
        return self
