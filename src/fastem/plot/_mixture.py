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
from fastem.plot._style import INK, axes_or_new, palette, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["MixtureDisplay", "check_features", "check_mixture", "check_n_std", "geometry"]


class MixtureDisplay:
    """The components of a mixture as ellipses over the samples, whose colours are responsibilities.

    A sample between two components has a colour between theirs. Of more than two features two are
    drawn, with the components' marginal distributions of these. K-means, the hard limit, has
    centers and no ellipses. Make one by :meth:`from_estimator`.

    Parameters
    ----------
    X : ndarray of shape (n_samples, 2)
        The samples to draw.
    responsibilities : ndarray of shape (n_samples, n_components)
        Each component's posterior probability for each of them.
    means : ndarray of shape (n_components, 2)
        Means of the components.
    covariances : ndarray of shape (n_components, 2, 2), default=None
        Their covariances; None draws no ellipses.
    feature_names : sequence of 2 str, default=("feature 0", "feature 1")
        Labels of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of the axes.
    points_ : matplotlib PathCollection
        The samples.
    ellipses_ : ndarray of shape (n_components, number of n_std), of matplotlib Ellipse
        The ellipses, from inner to outer; of shape (n_components, 0) without covariances.
    labels_ : list of matplotlib Text
        The components' numbers, at their means.

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

    def __init__(
        self,
        X: np.ndarray,
        responsibilities: np.ndarray,
        means: np.ndarray,
        covariances: np.ndarray | None = None,
        *,
        feature_names: Sequence[str] = ("feature 0", "feature 1"),
    ) -> None:
        self.X = X
        self.responsibilities = responsibilities
        self.means = means
        self.covariances = covariances
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike,
        *,
        features: Sequence[int | str] = (0, 1),
        subsample: int | None = 5000,
        random_state: RandomStateLike = 0,
        ax: Axes | None = None,
        n_std: npt.ArrayLike = (1, 2),
        scatter_kw: dict[str, Any] | None = None,
        ellipse_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw a fitted mixture, or k-means, over samples.

        Parameters
        ----------
        estimator : GaussianMixture or KMeans
            A fitted one: fastem's, or another with the same attributes, as scikit-learn's.
        X : array-like of shape (n_samples, n_features)
            The samples, with all features of the fit.
        features : pair of int or str, default=(0, 1)
            The features to draw, across and up: columns of X, or their names.
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

        Returns
        -------
        display : MixtureDisplay
            Drawn.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If X has fewer than two features or not those of the fit, or `features` are not two of
            them.
        """
        check_mixture(estimator)
        check_is_fitted(estimator)
        names, columns = check_features(estimator, X, features)
        n_samples = np.shape(X)[0]
        if subsample is not None and subsample < 1:
            raise ValueError(f"subsample must be >= 1, or None for all samples, got {subsample!r}")
        if subsample is not None and n_samples > subsample:
            X = resample(X, replace=False, n_samples=subsample, random_state=random_state)
        responsibilities = _responsibilities(estimator, X)  # raises if X has other features
        display = cls(
            check_array(X)[:, columns],
            responsibilities,
            *geometry(estimator, columns),
            feature_names=names,
        )
        return display.plot(ax, n_std=n_std, scatter_kw=scatter_kw, ellipse_kw=ellipse_kw)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_std: npt.ArrayLike = (1, 2),
        scatter_kw: dict[str, Any] | None = None,
        ellipse_kw: dict[str, Any] | None = None,
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

        Returns
        -------
        display : MixtureDisplay
            Itself.
        """
        n_std = check_n_std(n_std)
        self.ax_ = axes = axes_or_new(ax, (6.4, 5.2))
        self.figure_ = axes.figure
        colors = palette(len(self.means))
        size = np.clip(6000 / max(len(self.X), 1), 4, 26)
        style = {"s": size, "alpha": 0.75, "linewidths": 0, "zorder": 2} | (scatter_kw or {})
        mixed = np.clip(self.responsibilities @ colors, 0, 1)
        self.points_ = axes.scatter(self.X[:, 0], self.X[:, 1], **{"color": mixed} | style)
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
            for k, (mean, color) in enumerate(zip(self.means, colors, strict=True))
        ]
        axes.set_xlabel(self.feature_names[0], parse_math=False)
        axes.set_ylabel(self.feature_names[1], parse_math=False)
        axes.update_datalim(self.means)
        axes.autoscale_view()
        tidy(axes)
        return self

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
    if not {"covariance_type", "n_clusters"} & set(parameters):
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


def check_features(estimator, X, features):
    """Return the names and the columns of the two features to draw."""
    if sp.issparse(X):
        raise TypeError("X must be dense to be drawn, got a sparse one; use X.toarray()")
    shape = np.shape(X)
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(
            f"X must have shape (n_samples, n_features) with 2 features at least to be drawn, got "
            f"{shape}; for one feature use a histogram"
        )
    names = get_feature_names(X)
    if names is None:
        names = getattr(estimator, "feature_names_in_", None)
    known = [f"feature {j}" for j in range(shape[1])] if names is None else list(map(str, names))
    if isinstance(features, str) or np.shape(features) != (2,):
        raise ValueError(f"features must be two columns of X, or their names, got {features!r}")
    columns = []
    for feature in features:
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
    if columns[0] == columns[1]:
        raise ValueError(f"features must be two different columns, got {features!r}")
    return [known[j] for j in columns], columns


def _few(names):
    """Names for a message."""
    return ", ".join(names[:8]) + (f", ... ({len(names)} features)" if len(names) > 8 else "")


def geometry(estimator, columns):
    """Return means (K, 2) and marginal covariances (K, 2, 2), None for k-means, of two features."""
    if not hasattr(estimator, "covariance_type"):
        return estimator.cluster_centers_[:, columns], None
    means = np.asarray(estimator.means_)[:, columns]
    covariances, pair = np.asarray(estimator.covariances_), np.ix_(columns, columns)
    kind = KINDS[estimator.covariance_type]
    each = kind.each(covariances, len(means), estimator.means_.shape[1])
    if kind.dense:
        return means, each[:, *pair]
    return means, each[:, columns, None] * np.eye(2)


def _responsibilities(estimator, X):
    """Return the responsibilities; for k-means 1 for the label of each sample, else 0."""
    if hasattr(estimator, "covariance_type"):
        return estimator.predict_proba(X)
    return np.eye(len(estimator.cluster_centers_))[estimator.predict(X)]
