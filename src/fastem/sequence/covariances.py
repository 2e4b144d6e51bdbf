"""Covariances of states: the shapes that hmmlearn has for them, checks, floors, draws."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from fastem.components.covariances import KINDS, is_positive_definite
from fastem.components.gaussian_data import observed_moments

__all__ = [
    "check_covars",
    "compact_covars",
    "limits_of",
    "normal_drawer",
    "spread_covariance",
]


def compact_covars(covars, kind, k):
    """Return covariances in the shape of their kind, given so or in full, (K, D, D)."""
    covars = np.array(covars, dtype=np.float64)
    if kind not in KINDS:
        raise ValueError(f"covariance_type must be one of {', '.join(KINDS)}, got {kind!r}")
    own, given = KINDS[kind], covars.shape
    names = ["n_components"] * len(own.lead(k)) + ["n_features"] * len(own.one(1))
    shape = f"({', '.join(names)}{',' * (len(names) == 1)})"
    if not own.one(1) and covars.ndim and len(covars) == covars.size == k:
        covars = covars.reshape(k)
    elif not own.one(1) and covars.ndim == 2 and np.all(covars == covars[:, :1]):
        covars = covars[:, 0].copy()  # hmmlearn's, of a fitted model
    elif covars.ndim == 3:
        covars = own.of_matrices(covars)
        if covars is None:
            raise ValueError(
                f"covars_ of shape {given} are not of covariance_type={kind!r}: give them in "
                f"shape {shape}"
            )
    square = not own.dense or covars.shape[-1:] == covars.shape[-2:-1]
    if covars.ndim != len(names) or (not own.shared and len(covars) != k) or not square:
        raise ValueError(
            f"covars_ of covariance_type={kind!r} must have shape {shape} with n_components={k}, "
            f"got {covars.shape}"
        )
    return check_covars(covars, kind, covars.shape)


def check_covars(covars, kind, shape):
    """Return covariances of the given shape, positive definite."""
    covars = np.array(covars, dtype=np.float64)
    if covars.shape != shape:
        raise ValueError(
            f"covars_ of covariance_type={kind!r} must have shape {shape}, got {covars.shape}"
        )
    if not KINDS[kind].dense:
        good = np.isfinite(covars) & (covars > 0)
        if not good.all():
            where = ", ".join(map(str, np.argwhere(~good)[0]))
            value = covars[tuple(np.argwhere(~good)[0])]
            raise ValueError(f"covars_ must be finite and above 0, got {value:.6g} at [{where}]")
        return covars
    d = shape[-1]
    for number, matrix in enumerate(covars.reshape(-1, d, d)):
        which = (
            "covars_" if KINDS[kind].shared and len(shape) == 2 else f"matrix {number} of covars_"
        )
        if not np.all(np.isfinite(matrix)) or not np.allclose(matrix, matrix.T):
            raise ValueError(f"{which} must be finite and symmetric")
        if is_positive_definite(matrix):
            continue
        smallest = np.linalg.eigvalsh(matrix)[0]
        if smallest <= 0:
            raise ValueError(
                f"{which} must be positive definite, got smallest eigenvalue {smallest:.3g}"
            )
    return covars


def spread_covariance(covariance, kind, shape):
    """Return one covariance (D, D) for all of `shape`, as its kind has it."""
    one = {
        "full": covariance,
        "tied": covariance,
        "diag": covariance.diagonal(),
        # Of all entries, as hmmlearn has it, unless they cancel.
        "spherical": max(covariance.mean(), 1e-3 * covariance.trace() / len(covariance)),
    }[kind]
    return np.array(np.broadcast_to(one, (*shape, *np.shape(one))))


def limits_of(X, min_covar, begun, kind, prior):
    """Return the least variance of each feature, (D,), of 'spherical' the one for all; and how many
    times that is the largest, or if the least is 0, the largest itself.

    Where a feature varies by less than 1, the least is a part of its variance: data in small units
    would all be drowned. It is not above the covariances that a fit begins with, so that the bound
    never falls.

    The largest is for states that next to nobody visits: with nothing against it, a prior makes
    them as wide as numbers go. No state of 1e-5 rows or more comes near it, nor one without prior.
    """
    has_prior = np.any(prior.scale) or np.any(prior.mean_weight)
    if min_covar == 0 and not has_prior:
        return 0.0, np.inf
    count, mean, squares = observed_moments(X, None)
    count = np.maximum(count, 1)
    if not has_prior:
        return _floor_of(squares / count, min_covar, begun, kind), np.inf
    gap = np.max(np.square(mean - prior.mean).reshape(-1, len(mean)), axis=0)
    widest = 4 * (squares + gap).max() + 1e5 * np.max(prior.scale) + np.max(begun)
    if min_covar == 0:
        return 0.0, len(mean) * widest
    floor = _floor_of(squares / count, min_covar, begun, kind)
    return floor, len(mean) * widest / np.min(floor)


def _floor_of(variance, min_covar, begun, kind):
    """Return the least variances of data with the given ones."""
    floor = min_covar * np.where(variance > 0, np.minimum(variance, 1), 1)
    if not KINDS[kind].one(1):
        floor = floor.mean()
    if not KINDS[kind].dense:
        return floor * min(1.0, np.min(begun / floor))
    least, d = 1 - 1e-10, len(floor)  # a start at the floor itself passes, whatever rounding
    for matrix in begun.reshape(-1, d, d):
        if not is_positive_definite(matrix - np.diag(least * floor)):
            least = min(least, eigh(matrix, np.diag(floor), eigvals_only=True)[0])
    return floor * least


def normal_drawer(means, covars):
    """Return a function that draws a row of a Gaussian, with the numbers that NumPy's would be."""
    _, spread, axes = np.linalg.svd(covars)
    factors = np.sqrt(spread)[:, :, None] * axes
    return lambda k, rng: rng.standard_normal(means.shape[1]) @ factors[k] + means[k]
