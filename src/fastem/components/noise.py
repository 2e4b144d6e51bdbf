"""Noise beside Gaussian components: one component more, whose density is the same everywhere.

The density is that of a uniform distribution in a box about the data (Banfield & Raftery 1993,
*Model-based Gaussian and non-Gaussian clustering*, Biometrics 49:803; Fraley & Raftery 1998, *How
many clusters? Which clustering method?*, Computer Journal 41:578). It is not cut off at the box's
sides, so that a sample far from everything is noise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastem._engine.threads import single_threaded_blas
from fastem.components.gaussian_data import observed_moments, parts

__all__ = ["Noise", "noise_of"]

_DEPENDENT = 1e-12  # of a correlation matrix: a smaller eigenvalue is none
_ROUNDED = 1e-3  # a side of the box that is this wrong: its density would be, too


class Noise(NamedTuple):
    """The weight of the noise and the box that it fills."""

    weight: float
    box: np.ndarray  # (2, D): its lowest and its highest corner

    @property
    def sides(self):
        """Return the lengths of the box, (D,)."""
        return self.box[1] - self.box[0]

    @property
    def center(self):
        """Return the middle of the box, (D,)."""
        return self.box.mean(axis=0)

    @property
    def log_density(self):
        """Return the logarithm of the density times the weight."""
        log_weight = math.log(self.weight) if self.weight > 0 else -math.inf
        return log_weight - float(np.log(self.sides).sum())

    def some(self, columns):
        """Return the noise of some features alone."""
        return self._replace(box=self.box[:, columns])

    def draw(self, count, random_state):
        """Return samples, (count, D)."""
        return random_state.uniform(*self.box, size=(count, self.box.shape[1]))


def noise_of(X, sample_weight, volume, weight) -> Noise:
    """Return noise in the box of some samples.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        With NaN for what is missing.
    sample_weight : ndarray of shape (n,) or None
        Samples of weight 0 do not count.
    volume : float or True
        Of the box; True: that of the smaller one of two boxes around all samples, along the axes or
        along their principal axes; the former where values are missing.
    weight : float
        Of the noise.

    Raises
    ------
    ValueError
        If the samples have no volume, and none is given; or if the box is so small beside the
        distance of the samples from 0 that its corners cannot be told apart.
    """
    if sample_weight is not None:
        X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
    box = np.array([np.nanmin(X, axis=0), np.nanmax(X, axis=0)], dtype=np.float64)
    sides = box[1] - box[0]
    flat = ~(sides > 0)
    if volume is True:
        if flat.any():
            raise ValueError(
                f"noise=True is as dense as X has volume, and feature {int(flat.argmax())} is "
                "constant: leave it out, or give noise a volume"
            )
        log_volume = _log_volume(X, sample_weight, sides)
    elif not math.isfinite(volume):
        raise ValueError(f"noise must be a finite volume, got {volume}")
    else:  # a box of the data's proportions
        log_volume = math.log(volume)
        some = sides[~flat]
        sides = np.where(flat, np.exp(np.log(some).mean()) if len(some) else 1.0, sides)
    half = sides * math.exp((log_volume - float(np.log(sides).sum())) / len(sides)) / 2
    noise = Noise(weight, box.mean(axis=0) + np.array([-half, half]))
    if not np.allclose(noise.sides, 2 * half, rtol=_ROUNDED, atol=0):
        raise ValueError(
            f"noise={volume} is a box whose sides are lost to rounding at the place of X: give "
            "noise a larger volume, or subtract the mean from X"
        )
    return noise


def _log_volume(X, sample_weight, sides):
    """Return the logarithm of the volume of the smaller box, where sides are those of one."""
    log_volume, d = float(np.log(sides).sum()), X.shape[1]
    if d == 1 or np.isnan(X).any():
        return log_volume
    with single_threaded_blas():
        return min(log_volume, _log_principal_volume(X, sample_weight, sides))


def _log_principal_volume(X, sample_weight, sides):
    """Return the logarithm of the volume of the box along the principal axes."""
    d, mean = X.shape[1], observed_moments(X, sample_weight)[1]
    scatter = np.zeros((d, d))
    for part in parts(len(X), d):
        rows = (X[part] - mean) / sides  # so that squares are of one size
        weighted = rows if sample_weight is None else rows * sample_weight[part, None]
        scatter += rows.T @ weighted
    deviations = np.sqrt(scatter.diagonal())
    if np.linalg.eigvalsh(scatter / np.outer(deviations, deviations))[0] < _DEPENDENT:
        raise ValueError(
            "noise=True is as dense as X has volume, and X has none, because features depend on "
            "each other: leave some out, or give noise a volume"
        )
    axes = np.linalg.eigh(scatter * np.outer(sides, sides))[1]
    lowest, highest = np.full(d, np.inf), np.full(d, -np.inf)
    for part in parts(len(X), d):
        rows = (X[part] - mean) @ axes
        lowest = np.minimum(lowest, rows.min(axis=0))
        highest = np.maximum(highest, rows.max(axis=0))
    return float(np.log(highest - lowest).sum())
