"""EM, iteration by iteration, as a moving picture."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, resample

from fastem import em
from fastem._typing import MatrixLike
from fastem.plot._mixture import (
    MixtureDisplay,
    check_features,
    check_mixture,
    check_n_std,
    geometry,
)
from fastem.plot._style import QUIET, matplotlib, palette, tidy

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation

__all__ = ["animate"]

#: Signs on the buttons of matplotlib's page, which would fetch them from the network.
_SIGNS = {
    "minus": "−",
    "plus": "+",
    "fast-backward": "|◀",
    "step-backward": "◀|",
    "play fa-flip-horizontal": "◀",
    "pause": "❚❚",
    "play": "▶",
    "step-forward": "|▶",
    "fast-forward": "▶|",
}
_LAST_FRAME = 1.5  # seconds that the last frame stays


def animate(
    estimator: Any,
    X: MatrixLike,
    filename: str | Path | None = None,
    *,
    features: Sequence[int | str] = (0, 1),
    max_frames: int = 60,
    fps: float = 4,
    subsample: int | None = 2000,
    n_std: npt.ArrayLike = (1, 2),
    dpi: float = 100,
) -> FuncAnimation:
    """Fit a copy of an estimator and show how it moves: the start, then each iteration.

    On the left are the components over the samples, whose colours are the responsibilities, and the
    way that the means have come; on the right the bound so far. Of several restarts the best is
    shown.

    Parameters
    ----------
    estimator : GaussianMixture or KMeans
        Fastem's; it is cloned, not changed. A start that is far from the end shows more:
        ``init_params="random_from_data"``, or ``init="random"`` for k-means.
    X : array-like of shape (n_samples, n_features)
        The samples to fit.
    filename : str or Path, default=None
        Where to write: a .gif, by Pillow, or an .html with buttons to step through.
    features : pair of int or str, default=(0, 1)
        The features to draw: columns of X, or their names.
    max_frames : int, default=60
        The most iterations to show, evenly chosen, with the first and the last.
    fps : float, default=4
        Frames in a second.
    subsample : int or None, default=2000
        The most samples to draw, chosen at random; the fit has all of them.
    n_std : float or sequence of float, default=(1, 2)
        The ellipses' semi-axes, in standard deviations.
    dpi : float, default=100
        Dots per inch of the file.

    Returns
    -------
    animation : matplotlib.animation.FuncAnimation
        One frame for the start and one for each iteration; of a .gif the last stays for a while.
        ``animation.save("em.gif", writer="pillow")`` and ``animation.to_jshtml()`` write it, if
        `filename` has not.

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError, ValueError
        If an argument is not what it should be, before the fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GaussianMixture
    >>> from fastem.plot import animate
    >>> X = np.random.default_rng(0).normal(size=(200, 2)) + np.repeat([[0], [6]], 100, axis=0)
    >>> mixture = GaussianMixture(2, init_params="random_from_data", random_state=0)
    >>> animate(mixture, X, "em.gif")  # doctest: +SKIP
    """
    matplotlib()
    from matplotlib.animation import FuncAnimation

    check_mixture(estimator)
    if not hasattr(estimator, "_fit_em"):  # a patched class runs our fit, but cannot be watched
        kind = f"{type(estimator).__module__}.{type(estimator).__name__}"
        raise TypeError(
            f"estimator must be fastem's GaussianMixture or KMeans, got {kind}, whose iterations "
            "cannot be watched"
        )
    path = _check_arguments(filename, max_frames, fps, subsample)
    n_std = check_n_std(n_std)
    names, columns = check_features(estimator, X, features)
    fitted, frames = _watch(estimator, X)
    drawn = X
    if subsample is not None and np.shape(X)[0] > subsample:
        drawn = resample(X, replace=False, n_samples=subsample, random_state=0)
    film = _Film(fitted, frames, drawn, columns, names, n_std)
    shown = np.unique(np.linspace(0, len(frames) - 1, min(max_frames, len(frames))).round())
    shown = shown.astype(int).tolist()
    if path is not None and path.suffix.lower() == ".gif":
        shown += [shown[-1]] * round(_LAST_FRAME * fps)  # Pillow makes them one frame that stays
    animation = FuncAnimation(
        film.figure,
        film.draw,
        frames=shown,
        init_func=lambda: (),
        interval=1000 / fps,
        repeat_delay=1000 * _LAST_FRAME,
    )
    if path is not None:
        _write(animation, path, fps, dpi)
    return animation


def _check_arguments(filename, max_frames, fps, subsample):
    """Return the path to write to, or None."""
    if max_frames < 2:
        raise ValueError(f"max_frames must be >= 2, got {max_frames!r}")
    if not fps > 0:
        raise ValueError(f"fps must be > 0, got {fps!r}")
    if subsample is not None and subsample < 1:
        raise ValueError(f"subsample must be >= 1, or None for all samples, got {subsample!r}")
    if filename is None:
        return None
    path = Path(filename)
    if path.suffix.lower() not in (".gif", ".html"):
        raise ValueError(f"filename must end in .gif or .html, got {str(filename)!r}")
    if not path.parent.is_dir():
        raise ValueError(f"filename is in a folder that does not exist: {str(filename)!r}")
    return path


def _write(animation, path, fps, dpi):
    """Write a .gif or an .html."""
    if path.suffix.lower() == ".gif":
        animation.save(path, writer="pillow", fps=fps, dpi=dpi)
        return
    animation._fig.set_dpi(dpi)
    page = animation.to_jshtml(fps=fps, default_mode="once")
    page = re.sub(r"<link[^>]*>", "", page)
    page = re.sub(r'<i class="fa fa-([^"]*)"></i>', lambda icon: _SIGNS[icon[1]], page)
    path.write_text(f'<!doctype html><meta charset="utf-8">\n{page}', encoding="utf-8")


def _watch(estimator, X):
    """Fit a clone; return it, and the fitted attributes at the start and after each iteration."""
    fitted = clone(estimator)
    recorder = _Recorder(fitted)
    with em.watch(recorder), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last frame shows it
        fitted.fit(X)
    runs = [frames for bounds, frames in recorder.runs if bounds == fitted.lower_bounds_]
    return fitted, runs[0]


class _Recorder(em.Callback):
    """Keeps the fitted attributes of every iteration."""

    def __init__(self, estimator):
        self.estimator = estimator
        self.runs = []  # of each restart: bounds, frames

    def on_start(self, init, params):
        """Keep the start."""
        self.frames = [self._read(params)]

    def on_iteration_end(self, state):
        """Keep the iteration."""
        self.frames.append(self._read(state.params))

    def on_init_end(self, init, result):
        """Keep the restart."""
        self.runs.append((list(result.lower_bounds), self.frames))

    def _read(self, params):
        """Return the fitted attributes but those that have a value for each sample."""
        attributes = self.estimator._attributes(params)
        attributes.pop("labels_", None)
        return attributes


class _Film:
    """Draws a frame."""

    def __init__(self, fitted, frames, X, columns, names, n_std):
        from matplotlib.figure import Figure

        self.fitted, self.frames, self.X, self.n_std = fitted, frames, X, n_std
        self.columns, self.names = columns, names
        # Not pyplot's: a notebook would show the last frame of it as well.
        self.figure = Figure(figsize=(9.6, 4.8), layout="constrained")
        self.left, self.right = self.figure.subplots(1, 2, width_ratios=(1.7, 1))
        self.model = clone(fitted)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(fitted, name):
                setattr(self.model, name, getattr(fitted, name))
        self.paths = np.array([self._geometry(frame)[0] for frame in frames])
        points = np.vstack([check_array(X)[:, columns], self.paths.reshape(-1, 2)])
        low, high = points.min(axis=0), points.max(axis=0)
        margin = np.where(high > low, 0.05 * (high - low), 1.0)
        self.limits = np.stack([low - margin, high + margin])
        self.bounds = np.asarray(fitted.lower_bounds_, dtype=float)
        self.range = _visible(self.bounds)

    def _geometry(self, frame):
        frame = SimpleNamespace(**frame)
        if hasattr(self.fitted, "covariance_type"):
            frame.covariance_type = self.fitted.covariance_type
        return geometry(frame, self.columns)

    def draw(self, iteration):
        """Draw the state after an iteration, 0 for the start; return what was drawn."""
        self.model._set_fitted(self.frames[iteration])
        left = self.left
        left.clear()
        display = MixtureDisplay.from_estimator(
            self.model, self.X, features=self.columns, subsample=None, ax=left, n_std=self.n_std
        )
        left.set_xlabel(self.names[0], parse_math=False)
        left.set_ylabel(self.names[1], parse_math=False)
        for path, color in zip(
            self.paths[: iteration + 1].transpose(1, 2, 0), palette(len(self.paths[0])), strict=True
        ):
            left.plot(*path, color=color, linewidth=1.3, zorder=3)
            left.plot(*path[:, 0], "x", color=color, markersize=6, markeredgewidth=1.8, zorder=3)
        left.set_xlim(self.limits[:, 0])
        left.set_ylim(self.limits[:, 1])
        left.set_title(self._title(iteration), loc="left", fontsize=11)
        self._draw_bounds(iteration)
        return display

    def _title(self, iteration):
        if iteration == 0:
            return f"{type(self.fitted).__name__}: the start"
        title = f"iteration {iteration}"
        if iteration == len(self.frames) - 1:
            title += ", converged" if self.fitted.converged_ else ", stopped by max_iter"
        return title

    def _draw_bounds(self, iteration):
        right, n = self.right, len(self.bounds)
        right.clear()
        numbers = np.arange(1, iteration + 1)
        color = palette(1)[0]
        right.plot(numbers, self.bounds[:iteration], color=color, linewidth=1.8)
        right.plot(numbers[-1:], self.bounds[:iteration][-1:], "o", color=color, markersize=6)
        right.set_xlim(0, max(n, 1) + 0.5)
        right.set_ylim(self.range)
        right.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        right.ticklabel_format(axis="y", useOffset=False)
        right.set_xlabel("iteration")
        right.set_ylabel("lower bound")
        if iteration:
            bound = f"{self.bounds[iteration - 1]:.5g}".replace("-", "−")
            right.set_title(bound, loc="right", fontsize=10, color=QUIET)
        tidy(right)


def _visible(bounds):
    """Return the lowest and the highest bound to show.

    The first step from a bad start may raise the bound by millions, beside which all that follows
    would be a flat line. Bounds so far below are not shown; the curve enters from below.
    """
    if not len(bounds):
        return -1.0, 1.0
    best = bounds.max()
    far = best - np.median(bounds)
    shown = bounds[best - bounds <= 20 * far] if far > 0 else bounds
    reach = 0.06 * (best - shown.min()) or 0.5
    return shown.min() - reach, best + reach
