"""Parameters of Gaussian components that a fit leaves alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastem._engine.statistics import Moments
from fastem.components.covariances import KINDS

__all__ = ["Fixed", "n_free", "read_fixed"]

_GIVEN_AS = {"weights": "weights_init", "means": "means_init", "covariances": "precisions_init"}


class Fixed(NamedTuple):
    """Which parameters are fixed, each a mask of the components or None, and their values."""

    weights: Any  # (K,) bool
    means: Any
    covariances: Any
    weight_values: Any  # (K,)
    mean_values: Any  # (K, D)
    factors: Any  # of the precisions, shaped by the kind

    def weights_of(self, weights):
        """Return weights that sum to 1, the free ones in their proportion."""
        if self.weights is None:
            return weights
        free = np.where(self.weights, 0.0, weights)
        rest = max(1 - self.weight_values[self.weights].sum(), 0.0)
        free *= rest / max(free.sum(), np.finfo(np.float64).tiny)
        return np.where(self.weights, self.weight_values, free)

    def means_of(self, means):
        """Return the means, fixed and free."""
        if self.means is None:
            return means
        return np.where(self.means[:, None], self.mean_values, means)

    def covariances_of(self, estimate, moments, weights, means, kind):
        """Return covariances and factors, fixed and of `estimate`(moments, weights, means)."""
        own, mask = KINDS[kind], self.covariances
        if mask is None:
            return estimate(moments, weights, means)
        held = own.covariances(self.factors)
        if mask.all():
            return held, self.factors
        # Samples of a fixed component may have no covariance: they are not asked.
        scatter, mean = moments.scatter.copy(), np.where(mask[:, None], means, moments.mean)
        scatter[mask] = held[mask]
        covariances, factors = estimate(
            Moments(np.where(mask, 1.0, moments.weight), mean, scatter, kind),
            np.where(mask, 1.0, weights), means,
        )  # fmt: skip
        factors[mask] = self.factors[mask]
        if covariances is not None:
            covariances[mask] = held[mask]
        return covariances, factors


def read_fixed(fixed, kind, k, given):
    """Return what `fixed` says as Fixed, or None; `given` are weights, means and precisions.

    Raises
    ------
    ValueError
        If a name is unknown, a mask has another shape, or a fixed parameter has no value.
    """
    for name in fixed:
        if not (isinstance(name, str) and name in _GIVEN_AS):
            known = ", ".join(map(repr, _GIVEN_AS))
            raise ValueError(f"fixed must name some of {known}, got {name!r}")
    masks = _masks(fixed)
    values = dict(zip(_GIVEN_AS, given, strict=True))
    for name, mask in masks.items():
        try:
            array = np.asarray(mask)
        except ValueError:  # rows of several lengths
            array = np.empty(0)
        if array.dtype != bool or array.shape not in ((), (k,)):
            raise ValueError(f"fixed[{name!r}] must be booleans of shape ({k},), got {mask!r}")
        if values[name] is None:
            raise ValueError(f"fixed has {name!r}, but {_GIVEN_AS[name]} is None: give the values")
        masks[name] = np.broadcast_to(array, (k,))
    if not any(np.any(mask) for mask in masks.values()):
        return None
    weights, means, covariances = (masks.get(name) for name in _GIVEN_AS)
    if KINDS[kind].shared and covariances is not None and not covariances.all():
        raise ValueError("fixed['covariances'] must be True of all components where they share one")
    precisions = values["covariances"]
    factors = None if precisions is None else KINDS[kind].factors(precisions)
    return Fixed(weights, means, covariances, values["weights"], values["means"], factors)


def n_free(fixed, kind, k, d):
    """Return the number of parameters of K components that a fit is free to choose."""
    own, masks = KINDS[kind], _masks(fixed)
    free = {
        name: k - np.count_nonzero(np.broadcast_to(masks.get(name, False), k)) for name in _GIVEN_AS
    }
    shapes = own.n_parameters(free["covariances"], d) if free["covariances"] else 0
    return shapes + free["means"] * d + max(free["weights"] - 1, 0)


def _masks(fixed) -> dict[str, Any]:
    return dict(fixed) if isinstance(fixed, Mapping) else dict.fromkeys(fixed, True)
