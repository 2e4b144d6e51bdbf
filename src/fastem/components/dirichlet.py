"""Dirichlet priors as pseudo-counts: their parameters less 1.

Below 0 the density is infinite where a probability is 0, and there the mode is: counts that do not
make up for it go to 0 and stay there. Such a probability is out of the model, and out of the
density that the bound has; as it leaves, the bound may fall.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

__all__ = ["log_dirichlet", "with_pseudo_counts"]


def with_pseudo_counts(counts, pseudo):
    """Return counts and pseudo-counts together, nowhere below 0."""
    if not np.any(pseudo):
        return counts
    together = counts + pseudo
    return np.maximum(together, 0) if np.min(pseudo) < 0 else together


def log_dirichlet(pseudo, values):
    """Return the log-density of probabilities, up to a constant."""
    if not np.any(pseudo):
        return 0.0
    if np.min(pseudo) < 0:
        pseudo = np.where((values == 0) & (np.asarray(pseudo) < 0), 0, pseudo)
    return float(xlogy(pseudo, values).sum())
