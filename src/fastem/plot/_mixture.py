"""The components of a mixture over its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils import check_array, resample
from sklearn.utils.validation import check_is_fitted

from fastem._compat import get_feature_names
from fastem._typing import MatrixLike, RandomStateLike
from fastem.components.covariances import KINDS
from fastem.plot._mixture_parts import draw_grid, draw_histogram, first_two_axes, uncertain
from fastem.plot._style import INK, QUIET, axes_or_new, matplotlib, palette, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

__all__ = ["MixtureDisplay", "check_features", "check_mixture", "check_n_std", "geometry"]

_MOST_IN_GRID = 8  # features whose pairs are still to be seen
_MOST_IN_LEGEND = 20


class MixtureDisplay:
    """The components of a mixture over the samples, whose colours are responsibilities.

    Two features: ellipses over a scatter, in which a sample between two components has a colour
    between theirs. One feature: a histogram and the components' densities. More: two principal
    axes, or a grid of pairs, with the components' marginal distributions. K-means, the hard limit,
    has centers and no ellipses. Make one by :meth:`from_estimator`.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_drawn)
        The samples to draw: one coordinate, two or more.
    responsibilities : ndarray of shape (n_samples, n_components), with noise a column more
        Each component's posterior probability for each of them.
    means : ndarray of shape (n_components, n_drawn)
        Means of the components.
    covariances : ndarray of shape (n_components, n_drawn, n_drawn), default=None
        Their covariances; None draws no ellipses and no densities.
    feature_names : sequence of str, default=("feature 0", "feature 1")
        Labels of the axes.
    weights : ndarray of shape (n_components,), default=None
        Weights of the components; None: the means of the responsibilities.
    title : str, default=None
        Words above the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of the axes.
    points_ : matplotlib PathCollection
        The samples, of two coordinates.
    ellipses_ : ndarray of shape (n_components, number of n_std), of matplotlib Ellipse
        The ellipses, from inner to outer; of shape (n_components, 0) without covariances.
    labels_ : list of matplotlib Text
        The components' numbers, at their means.
    lines_ : list of matplotlib Line2D
        Of one coordinate: the components' densities, times their weights, or k-means' centers.
    axes_ : ndarray of matplotlib Axes, of shape (n_drawn, n_drawn)
        Of more than two coordinates: the grid; None above the diagonal.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GaussianMixture
    >>> from fastem.plot import MixtureDisplay
    >>> X = np.random.default_rng(0).normal(size=(200, 2)) + np.repeat([[0], [6]], 100, axis=0)
    >>> mixture = GaussianMixture(2, random_state=0).fit(X)
    >>> display = MixtureDisplay.from_estimator(mixture, X)
    >>> display.ellipses_.shape
    (2, 2)
    """

    ax_: Axes
    figure_: Figure
    points_: PathCollection
    ellipses_: np.ndarray
    labels_: list[Text]
    lines_: list[Line2D]
    axes_: np.ndarray

    def __init__(
        self,
        X: np.ndarray,
        responsibilities: np.ndarray,
        means: np.ndarray,
        covariances: np.ndarray | None = None,
        *,
        feature_names: Sequence[str] = ("feature 0", "feature 1"),
        weights: np.ndarray | None = None,
        title: str | None = None,
    ) -> None:
        self.X = X
        self.responsibilities = responsibilities
        self.means = means
        self.covariances = covariances
        self.feature_names = feature_names
        self.weights = weights
        self.title = title

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike,
        *,
        features: int | str | Sequence[int | str] | None = None,
        subsample: int | None = 5000,
        random_state: RandomStateLike = 0,
        ax: Axes | None = None,
        n_std: npt.ArrayLike = (1, 2),
        scatter_kw: dict[str, Any] | None = None,
        ellipse_kw: dict[str, Any] | None = None,
        legend: bool | None = None,
        uncertainty: bool = False,
    ) -> Self:
        """Draw a fitted mixture, or k-means, over samples.

        Parameters
        ----------
        estimator : GaussianMixture or KMeans
            A fitted one: fastem's, or another with the same attributes, as scikit-learn's.
        X : array-like of shape (n_samples, n_features)
            The samples, with all features of the fit.
        features : int, str or sequence of them, default=None
            The features to draw: columns of X, or their names. One: a histogram; two: across and
            up; three to eight: a grid of pairs. None: all of one or two features; of more, the
            first two principal axes of the standardized features, which the title says.
        subsample : int or None, default=5000
            The most samples to draw, chosen at random; None for all.
        random_state : int, RandomState instance or None, default=0
            Seed of that choice.
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        n_std : float or sequence of float, default=(1, 2)
            The ellipses' semi-axes, in standard deviations: 39 % and 86 % of a component lie within
            1 and 2.
        scatter_kw : dict, default=None
            Arguments of matplotlib's `scatter`.
        ellipse_kw : dict, default=None
            Arguments of matplotlib's `Ellipse`.
        legend : bool, default=None
            Whether to list the components with their weights beside the axes. None: in a figure of
            its own, of at most 20 components.
        uncertainty : bool, default=False
            Whether to show how uncertain the component of each sample is: the larger and darker,
            the more; samples have the colour of their most probable component. Of one feature: a
            curve.

        Returns
        -------
        display : MixtureDisplay
            Drawn.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If X does not have the features of the fit, `features` are not some of them, or
            `uncertainty` is asked of k-means, which has none.
        """
        check_mixture(estimator)
        check_is_fitted(estimator)
        many = features is None and np.ndim(X) == 2 and np.shape(X)[1] > 2
        if features is None:
            features = [0] if np.shape(X)[1:] == (1,) else [0, 1]
        names, columns = check_features(estimator, X, features, most=_MOST_IN_GRID)
        n_samples = np.shape(X)[0]
        if subsample is not None and subsample < 1:
            raise ValueError(f"subsample must be >= 1, or None for all samples, got {subsample!r}")
        if subsample is not None and n_samples > subsample:
            X = resample(X, replace=False, n_samples=subsample, random_state=random_state)
        responsibilities = _responsibilities(estimator, X)  # raises if X has other features
        samples, title = check_array(X, ensure_all_finite="allow-nan"), None
        if np.isnan(samples).any():
            raise ValueError(
                "X must have no NaN to be drawn: pass the samples whose features are all known, "
                "such as X[~np.isnan(X).any(axis=1)]"
            )
        if many:
            every = list(range(samples.shape[1]))
            samples, *where, names, title = first_two_axes(samples, *geometry(estimator, every))
        else:
            samples, where = samples[:, columns], geometry(estimator, columns)
        weights = getattr(estimator, "weights_", None)
        display = cls(
            samples, responsibilities, *where, feature_names=names, weights=weights, title=title
        )
        return display.plot(
            ax,
            n_std=n_std,
            scatter_kw=scatter_kw,
            ellipse_kw=ellipse_kw,
            legend=legend,
            uncertainty=uncertainty,
        )

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_std: npt.ArrayLike = (1, 2),
        scatter_kw: dict[str, Any] | None = None,
        ellipse_kw: dict[str, Any] | None = None,
        legend: bool | None = None,
        uncertainty: bool = False,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        n_std : float or sequence of float, default=(1, 2)
            The ellipses' semi-axes, in standard deviations.
        scatter_kw : dict, default=None
            Arguments of matplotlib's `scatter`.
        ellipse_kw : dict, default=None
            Arguments of matplotlib's `Ellipse`.
        legend : bool, default=None
            Whether to list the components with their weights beside the axes. None: in a figure of
            its own, of at most 20 components.
        uncertainty : bool, default=False
            Whether size and darkness of a sample are the uncertainty of its component.

        Returns
        -------
        display : MixtureDisplay
            Itself.

        Raises
        ------
        ValueError
            If `n_std` is not positive, or `uncertainty` is asked of k-means, which has none.
        """
        n_std = check_n_std(n_std)
        if uncertainty and self.covariances is None:
            raise ValueError("uncertainty must be False for k-means, whose labels are certain")
        drawn = self.X.shape[1]
        size = {1: (6.4, 3.6), 2: (6.4, 5.2)}.get(drawn, (2.1 * drawn + 1, 2.0 * drawn))
        self.ax_ = axes = axes_or_new(ax, size)
        self.figure_ = axes.figure
        colors = palette(len(self.means))
        if drawn == 1:
            self.lines_ = draw_histogram(axes, self._part([0]), colors, uncertainty)
            axes.set_xlabel(self.feature_names[0], parse_math=False)
        elif drawn == 2:
            self._draw_pair(axes, colors, n_std, scatter_kw, ellipse_kw, uncertainty)
        else:
            self.axes_ = draw_grid(
                axes, self.feature_names, lambda part, columns, one: self._draw_part(
                    part, columns, one, n_std, scatter_kw, ellipse_kw, uncertainty
                )
            )  # fmt: skip
        if self.title:
            axes.set_title(self.title, fontsize=9, color=QUIET, loc="left")
        if legend or (legend is None and ax is None and len(self.means) <= _MOST_IN_LEGEND):
            beside = 1.14 if uncertainty and drawn == 1 else 1.01  # past the second scale
            self._draw_legend(colors, beside)
        return self

    def _part(self, columns):
        """Return a display of some of the coordinates."""
        covariances = self.covariances
        if covariances is not None:
            covariances = covariances[:, *np.ix_(columns, columns)]
        return MixtureDisplay(
            self.X[:, columns],
            self.responsibilities,
            self.means[:, columns],
            covariances,
            feature_names=[self.feature_names[j] for j in columns],
            weights=self._shares(),
        )

    def _shares(self):
        """Return the weights of the components."""
        if self.weights is not None:
            return np.asarray(self.weights)
        return self.responsibilities.mean(axis=0)[: len(self.means)]

    def _has_noise(self):
        return self.responsibilities.shape[1] > len(self.means)

    def _draw_part(self, axes, columns, one, n_std, scatter_kw, ellipse_kw, uncertainty):
        """Draw one coordinate, or two, in a cell of the grid."""
        colors, part = palette(len(self.means)), self._part(columns)
        if one:
            draw_histogram(axes, part, colors)
        else:
            small = {"s": 6} | (scatter_kw or {})
            part.ax_ = axes
            part._draw_pair(axes, colors, n_std[-1:], small, ellipse_kw, uncertainty, numbers=False)

    def _draw_pair(self, axes, colors, n_std, scatter_kw, ellipse_kw, uncertainty, numbers=True):
        """Draw the samples of two coordinates, the ellipses and the components' numbers."""
        size = np.clip(6000 / max(len(self.X), 1), 4, 26)
        style = {"s": size, "alpha": 0.75, "linewidths": 0, "zorder": 2}
        if self._has_noise():
            colors = np.vstack([colors, matplotlib().colors.to_rgb(QUIET)])
        style["color"] = np.clip(self.responsibilities @ colors, 0, 1)
        X = self.X
        if uncertainty:
            order, style["s"], style["color"] = uncertain(self.responsibilities, colors, size)
            style["alpha"], X = None, X[order]
        self.points_ = axes.scatter(X[:, 0], X[:, 1], **style | (scatter_kw or {}))
        self.ellipses_ = self._draw_ellipses(n_std, colors, ellipse_kw or {})
        self.labels_ = [
            axes.text(
                *mean,
                str(k),
                color=INK,
                fontsize=9,
                ha="center",
                va="center",
                zorder=5,
                clip_on=True,
                bbox={
                    "boxstyle": "circle,pad=0.22",
                    "facecolor": "white",
                    "edgecolor": color,
                    "linewidth": 1.6,
                },
            )
            for k, (mean, color) in enumerate(zip(self.means, colors, strict=False))
            if numbers
        ]
        axes.set_xlabel(self.feature_names[0], parse_math=False)
        axes.set_ylabel(self.feature_names[1], parse_math=False)
        axes.update_datalim(self.means)
        axes.autoscale_view()
        tidy(axes)

    def _draw_legend(self, colors, beside):
        """List the components beside the axes, with their weights."""
        from matplotlib.patches import Patch

        shares = self._shares()
        names = [f"{k}  {share:.0%}" for k, share in enumerate(shares)]
        if self._has_noise():
            names.append(f"noise  {1 - shares.sum():.0%}")
            colors = np.vstack([colors, matplotlib().colors.to_rgb(QUIET)])
        patches = [Patch(color=c, label=name) for c, name in zip(colors, names, strict=True)]
        self.ax_.legend(
            handles=patches,
            loc="upper left",
            bbox_to_anchor=(beside, 1),
            frameon=False,
            fontsize=8,
            handlelength=1,
            handleheight=1,
            title="component" if self.covariances is not None else "cluster",
            title_fontsize=8,
        )

    def _draw_ellipses(self, n_std, colors, ellipse_kw):
        """Add the ellipses to the axes, and return them."""
        from matplotlib.patches import Ellipse

        if self.covariances is None:
            return np.empty((len(self.means), 0), dtype=object)
        ellipses = np.empty((len(self.means), len(n_std)), dtype=object)
        for k, (mean, covariance) in enumerate(zip(self.means, self.covariances, strict=True)):
            variances, axes = np.linalg.eigh(covariance)  # the longer axis last
            angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
            for i, n in enumerate(n_std):
                length, breadth = 2 * n * np.sqrt(np.maximum(variances[::-1], 0))
                style = {"facecolor": "none", "edgecolor": colors[k], "linewidth": 1.8, "zorder": 4}
                ellipse = Ellipse(mean, length, breadth, angle=angle, **style | ellipse_kw)
                ellipses[k, i] = self.ax_.add_patch(ellipse)
        return ellipses


def check_mixture(estimator):
    """Refuse what has neither Gaussian components nor centers."""
    parameters = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    if not {"covariance_type", "n_clusters"} & set(parameters) or "transmat_prior" in parameters:
        raise TypeError(
            "estimator must be a GaussianMixture or a KMeans, whose components have a place among "
            f"the samples; got {type(estimator).__name__}"
        )


def check_n_std(n_std):
    """Return the ellipses' semi-axes in standard deviations, from inner to outer."""
    n_std = np.sort(np.atleast_1d(np.asarray(n_std, dtype=float)))
    if n_std.ndim != 1 or not np.all((n_std > 0) & np.isfinite(n_std)):
        raise ValueError(f"n_std must be numbers > 0, got {n_std.tolist()}")
    return n_std


def check_features(estimator, X, features, most=2):
    """Return the names and the columns of the features to draw: two, or from one to `most`."""
    if sp.issparse(X):
        raise TypeError("X must be dense to be drawn, got a sparse one; use X.toarray()")
    shape = np.shape(X)
    if len(shape) != 2 or (most == 2 and shape[1] < 2):
        least = " with 2 features at least" if most == 2 else ""
        raise ValueError(
            f"X must have shape (n_samples, n_features){least} to be drawn, got {shape}"
        )
    names = get_feature_names(X)
    if names is None:
        names = getattr(estimator, "feature_names_in_", None)
    known = [f"feature {j}" for j in range(shape[1])] if names is None else list(map(str, names))
    given = [features] if most > 2 and np.ndim(features) == 0 else features
    if isinstance(given, str) or np.ndim(given) != 1 or (most == 2 and len(given) != 2):
        raise ValueError(f"features must be two columns of X, or their names, got {features!r}")
    if not 1 <= len(given) <= most:
        raise ValueError(f"features must be 1 to {most} columns of X, got {len(given)}")
    columns = []
    for feature in given:
        if isinstance(feature, str):
            if feature not in known:
                raise ValueError(f"features has {feature!r}, but X has {_few(known)}")
            columns.append(known.index(feature))
        else:
            if not isinstance(feature, int | np.integer) or not 0 <= feature < shape[1]:
                raise ValueError(
                    f"features must be columns from 0 to {shape[1] - 1} of X, got {feature!r}"
                )
            columns.append(int(feature))
    if len(set(columns)) < len(columns):
        raise ValueError(
            f"features must be {'two ' * (most == 2)}different columns, got {features!r}"
        )
    return [known[j] for j in columns], columns


def _few(names):
    """Names for a message."""
    return ", ".join(names[:8]) + (f", ... ({len(names)} features)" if len(names) > 8 else "")


def geometry(estimator, columns):
    """Return means (K, n) and marginal covariances (K, n, n), None for k-means, of n features."""
    if not hasattr(estimator, "covariance_type"):
        return estimator.cluster_centers_[:, columns], None
    means = np.asarray(estimator.means_)[:, columns]
    found = getattr(estimator, "scales_", None)  # of Student-t's, which may have no covariances
    covariances = np.asarray(estimator.covariances_ if found is None else found)
    pair = np.ix_(columns, columns)
    kind = KINDS[estimator.covariance_type]
    each = kind.each(covariances, len(means), estimator.means_.shape[1])
    if kind.dense:
        return means, each[:, *pair]
    return means, each[:, columns, None] * np.eye(len(columns))


def _responsibilities(estimator, X):
    """Return the responsibilities; for k-means 1 for the label of each sample, else 0."""
    if hasattr(estimator, "covariance_type"):
        return estimator.predict_proba(X)
    return np.eye(len(estimator.cluster_centers_))[estimator.predict(X)]
