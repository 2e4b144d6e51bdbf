"""Dirichlet priors as pseudo-counts: their parameters less 1.

Below 0 the density is infinite where a probability is 0, and there the mode is: counts that do not
make up for it go to 0 and stay there. Such a probability is out of the model, and out of the
density that the bound has; as it leaves, the bound may fall.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

__all__ = ["is_none", "log_dirichlet", "with_pseudo_counts", "with_the_largest"]


def is_none(pseudo):
    """Return whether pseudo-counts, a number or an array, are all 0: then there is no prior."""
    return not (pseudo.any() if isinstance(pseudo, np.ndarray) else pseudo)


def with_pseudo_counts(counts, pseudo):
    """Return counts and pseudo-counts together, nowhere below 0."""
    if is_none(pseudo):
        return counts
    together = counts + pseudo
    return np.maximum(together, 0) if np.min(pseudo) < 0 else together


def with_the_largest(together, counts):
    """Return what with_pseudo_counts() gives of rows of counts, and where that is 0, the largest.

    Of the corners, where the density is infinite, this is the most likely one.
    """
    lost = ~together.any(axis=-1, keepdims=True)
    if not lost.any():
        return together
    return np.where(lost & (counts == counts.max(axis=-1, keepdims=True)), counts, together)


def log_dirichlet(pseudo, values):
    """Return the log-density of probabilities, up to a constant."""
    if is_none(pseudo):
        return 0.0
    if np.min(pseudo) < 0:
        pseudo = np.where((values == 0) & (np.asarray(pseudo) < 0), 0, pseudo)
    return float(xlogy(pseudo, values).sum())
