"""From K components to K + 1: the widest is split, so that a fit can go on from one of fewer."""

from __future__ import annotations

import math

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import validate_data

__all__ = ["can_split", "split_start"]

_HALF = math.sqrt(2 / math.pi)  # mean of a standard normal variable that is above 0


def can_split(kind):
    """Return whether precisions of a covariance type can be given as a start."""
    return kind in ("full", "tied", "diag", "spherical")


def split_start(estimator, fitted, X):
    """Return a copy of an unfitted mixture that begins with a fitted one of fewer components."""
    labels = fitted.predict(X)
    X = validate_data(
        fitted, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan"
    )  # fmt: skip
    weights, means = (np.array(a, np.float64) for a in (fitted.weights_, fitted.means_))
    precisions = np.array(fitted.precisions_, np.float64)
    while len(weights) < estimator.n_components:
        k, step, axis = _widest(X, labels, len(weights))
        weights = np.append(weights, weights[k] / 2)
        weights[k] /= 2
        means = np.vstack([means, means[k] + _HALF * step])
        means[k] -= _HALF * step
        if fitted.covariance_type != "tied":
            precisions = np.append(precisions, precisions[[k]], axis=0)
        # Which half a sample is in, by what is known of it.
        side = np.nan_to_num(X - (means[k] + means[-1]) / 2) @ axis > 0
        labels = np.where((labels == k) & side, len(weights) - 1, labels)
    weights /= weights.sum()
    return clone(estimator).set_params(
        weights_init=weights, means_init=means, precisions_init=precisions, n_init=1
    )


def _widest(X, labels, k):
    """Return the component whose samples scatter most in one direction.

    Features count in units of their standard deviations.

    Returns
    -------
    component : int
    step : ndarray of shape (n_features,)
        One standard deviation of its samples in that direction.
    axis : ndarray of shape (n_features,)
        What samples are multiplied by to know on which side they are.
    """
    scale = np.nanstd(X, axis=0)
    scale[~(scale > 0)] = 1
    best = (-1.0, 0, np.zeros(X.shape[1]), np.ones(X.shape[1]))
    for component in range(k):
        Z = X[labels == component] / scale
        if len(Z) < 2:
            continue
        missing = np.isnan(Z)
        seen = np.maximum((~missing).sum(axis=0), 1)
        Z = np.where(missing, 0, Z - np.where(missing, 0, Z).sum(axis=0) / seen)
        variances, axes = np.linalg.eigh(Z.T @ Z)
        if variances[-1] > best[0]:
            step = math.sqrt(variances[-1] / len(Z)) * axes[:, -1]
            best = float(variances[-1]), component, step * scale, axes[:, -1] / scale
    return best[1:]
