"""Parts of the picture of a mixture: a histogram, a grid of pairs, principal axes."""

from __future__ import annotations

import numpy as np

from fastem.plot._style import INK, QUIET, tidy

__all__ = ["draw_grid", "draw_histogram", "first_two_axes", "uncertain"]

_BINS = 100
_STEPS = 400  # points of a density


def first_two_axes(X, means, covariances):
    """Return samples, means and covariances along two principal axes; names, and a title.

    The axes are those of the standardized features, so that units do not matter.
    """
    center, scale = X.mean(axis=0), X.std(axis=0)
    scale = np.where(scale > 0, scale, 1)
    Z = (X - center) / scale
    variances, vectors = np.linalg.eigh(Z.T @ Z)
    axes = vectors[:, :-3:-1]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # so that no picture is mirrored
    share = variances[:-3:-1].sum() / max(variances.sum(), np.finfo(float).tiny)
    axes = axes / scale[:, None]
    if covariances is not None:
        covariances = axes.T @ covariances @ axes
    title = (
        f"First two principal axes of the {X.shape[1]} standardized features: "
        f"{share:.0%} of their variance"
    )
    names = ["principal axis 1", "principal axis 2"]
    return (X - center) @ axes, (means - center) @ axes, covariances, names, title


def uncertain(responsibilities, colors, size):
    """Return an order, and in it sizes and colours (n, 4) that say how uncertain labels are.

    The least certain come last, so that they lie on top.
    """
    n_components = responsibilities.shape[1]
    doubt = 1 - responsibilities.max(axis=1)
    doubt /= max(1 - 1 / n_components, np.finfo(float).tiny)  # 1: each component is as probable
    order = np.argsort(doubt, kind="stable")
    doubt, best = doubt[order], responsibilities[order].argmax(axis=1)
    colours = np.empty((len(order), 4))
    colours[:, :3] = colors[best] * (1 - 0.5 * doubt[:, None])
    colours[:, 3] = 0.35 + 0.65 * np.sqrt(doubt)
    return order, size * (0.5 + 3.5 * doubt), colours


def draw_histogram(axes, display, colors, uncertainty=False):
    """Draw a histogram of one coordinate with the components' densities; return their lines."""
    x = display.X[:, 0]
    edges = np.histogram_bin_edges(x, "auto")
    if display.covariances is not None:  # bins that show a narrow component
        narrow = np.ptp(x) / np.sqrt(display.covariances[:, 0, 0].min())
        edges = np.histogram_bin_edges(x, max(len(edges) - 1, int(min(narrow, _BINS))))
    if len(edges) > _BINS + 1:
        edges = np.histogram_bin_edges(x, _BINS)
    axes.hist(x, edges, density=True, color="#d9d9d9", edgecolor="white", linewidth=0.4)
    lines, means = [], display.means[:, 0]
    if display.covariances is None:
        lines = [
            axes.axvline(m, color=c, linewidth=1.8) for m, c in zip(means, colors, strict=True)
        ]
    else:
        deviations = np.sqrt(display.covariances[:, 0, 0])
        wide = 3 * deviations
        low = min(edges[0], (means - wide).min())
        high = max(edges[-1], (means + wide).max())
        points = [np.linspace(low, high, _STEPS)]
        points += [m + s * np.linspace(-3, 3, 61) for m, s in zip(means, deviations, strict=True)]
        at = np.unique(np.concatenate(points))  # also a narrow component is smooth
        z = (at - means[:, None]) / deviations[:, None]
        densities = display.weights[:, None] * np.exp(-(z**2) / 2) / deviations[:, None]
        densities /= np.sqrt(2 * np.pi)
        for density, color in zip(densities, colors, strict=True):
            lines += axes.plot(at, density, color=color, linewidth=1.8)
        if len(means) > 1:
            total = densities.sum(axis=0)
            axes.plot(at, total, color=INK, linewidth=0.9, linestyle="--", zorder=1.5)
            if uncertainty:
                _draw_doubt(axes, at, densities, total)
    axes.set_ylabel("density")
    tidy(axes)
    return lines


def _draw_doubt(axes, at, densities, total):
    """Draw 1 minus the posterior probability of the most probable component, on its own scale."""
    doubt = 1 - densities.max(axis=0) / np.maximum(total, np.finfo(float).tiny)
    doubt[total <= 0] = np.nan  # so far out that no density is above 0
    other = axes.twinx()
    other.fill_between(at, doubt, color=INK, alpha=0.15, linewidth=0, zorder=1)
    other.set_ylim(0, 1)
    other.set_ylabel("uncertainty", color=QUIET)
    other.spines["top"].set_visible(False)
    other.tick_params(colors=QUIET)


def draw_grid(axes, names, draw):
    """Divide axes into a grid of pairs below a diagonal, and have each cell drawn.

    ``draw(axes, columns, one)`` draws one coordinate, or two.

    Returns
    -------
    cells : ndarray of matplotlib Axes, of shape (n, n)
        None above the diagonal.
    """
    place, n = axes.get_subplotspec(), len(names)
    if place is None:
        raise ValueError("ax must be in a grid that can be divided, as pyplot.subplots makes it")
    axes.set_axis_off()
    grid = place.subgridspec(n, n, wspace=0.08, hspace=0.08)
    cells = np.full((n, n), None, dtype=object)
    for i in range(n):
        for j in range(i + 1):
            shared = cells[j, j] if i > j else None
            cell = cells[i, j] = axes.figure.add_subplot(grid[i, j], sharex=shared)
            draw(cell, [i] if i == j else [j, i], i == j)
            cell.tick_params(labelsize=7)
            cell.locator_params(nbins=4)
            cell.set_xlabel(names[j] if i == n - 1 else "", fontsize=8, parse_math=False)
            cell.set_ylabel(names[i] if j == 0 and i else "", fontsize=8, parse_math=False)
            cell.tick_params(labelbottom=i == n - 1, labelleft=j == 0 and i > 0)
    return cells
