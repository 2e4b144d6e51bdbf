"""What the pictures share: matplotlib, imported when first needed, axes and colours."""

from __future__ import annotations

import numpy as np

__all__ = ["INK", "QUIET", "axes_or_new", "matplotlib", "palette", "tidy"]

INK, QUIET = "#222222", "#767676"

#: Colours that people with any kind of colour vision tell apart: six of Okabe & Ito 2008, *Color
#: universal design*, without the yellow and the black, which are lost on white and among text. The
#: others were added one at a time, each as far as possible from those before it (distance in Oklab,
#: for normal vision, and for protanopes and deuteranopes as Machado et al. 2009 model them).
_DISTINCT = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#5A1E00",
    "#3C0087", "#A51E69", "#69E196", "#3C5A00", "#8778F0", "#D2C3E1", "#003C3C",
    "#87695A", "#693CA5", "#D2D200", "#96B496", "#691E5A", "#2D5A69",
)  # fmt: skip


def matplotlib():
    """Return the package matplotlib, or say how to install it."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "fastem.plot needs matplotlib, which is not installed; run: pip install 'fastem[plot]'"
        ) from error
    return matplotlib


def palette(n):
    """Return n colours, (n, 3): up to 20 distinct ones, else shades from dark to light.

    The shades are viridis', whose lightness alone tells them apart, without its lightest end.
    """
    mpl = matplotlib()
    if n <= len(_DISTINCT):
        return np.array([mpl.colors.to_rgb(color) for color in _DISTINCT[:n]])
    return mpl.colormaps["viridis"](np.linspace(0, 0.85, n))[:, :3]


def axes_or_new(ax, figsize):
    """Return `ax`, or the axes of a new figure of pyplot's."""
    matplotlib()
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=figsize, layout="constrained")[1]


def tidy(ax):
    """Leave only the axes that carry numbers, and a quiet grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
