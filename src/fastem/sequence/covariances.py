"""Covariances of states: the shapes that hmmlearn has for them, checks, floors, draws."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from fastem.components.gaussian_data import parts

__all__ = [
    "check_covars",
    "compact_covars",
    "dense_covars",
    "limits_of",
    "normal_drawer",
    "spread_covariance",
]


def compact_covars(covars, kind, k):
    """Return covariances in the shape of their kind, given so or in full, (K, D, D)."""
    covars = np.array(covars, dtype=np.float64)
    if kind not in _AXES:
        raise ValueError(f"covariance_type must be one of {', '.join(_AXES)}, got {kind!r}")
    axes, shape = _AXES[kind]
    if kind == "spherical" and covars.size == k and len(covars) == k:
        covars = covars.reshape(k)
    elif kind == "spherical" and covars.ndim == 2 and np.all(covars == covars[:, :1]):
        covars = covars[:, 0].copy()  # hmmlearn's, of a fitted model
    elif covars.ndim == 3 and kind != "full":
        covars = _reduced(covars, kind)
    square = kind not in ("full", "tied") or covars.shape[-1:] == covars.shape[-2:-1]
    if covars.ndim != axes or (kind != "tied" and len(covars) != k) or not square:
        raise ValueError(
            f"covars_ of covariance_type={kind!r} must have shape {shape} with n_components={k}, "
            f"got {covars.shape}"
        )
    return check_covars(covars, kind, covars.shape)


_AXES = {
    "full": (3, "(n_components, n_features, n_features)"),
    "tied": (2, "(n_features, n_features)"),
    "diag": (2, "(n_components, n_features)"),
    "spherical": (1, "(n_components,)"),
}


def _reduced(covars, kind):
    """Return covariances (K, D, D) in the shape of their kind, if they are of that kind."""
    diagonal = np.diagonal(covars, axis1=1, axis2=2)
    if kind == "tied":
        fits, reduced = np.all(covars == covars[0]), covars[0]
    else:
        fits = np.all(covars == diagonal[:, None] * np.eye(covars.shape[-1]))
        reduced = diagonal
        if kind == "spherical":
            fits, reduced = fits and np.all(diagonal == diagonal[:, :1]), diagonal[:, 0]
    if not fits:
        raise ValueError(
            f"covars_ of shape {covars.shape} are not of covariance_type={kind!r}: give them in "
            f"shape {_AXES[kind][1]}"
        )
    return reduced.copy()


def check_covars(covars, kind, shape):
    """Return covariances of the given shape, positive definite."""
    covars = np.array(covars, dtype=np.float64)
    if covars.shape != shape:
        raise ValueError(
            f"covars_ of covariance_type={kind!r} must have shape {shape}, got {covars.shape}"
        )
    if kind in ("diag", "spherical"):
        good = np.isfinite(covars) & (covars > 0)
        if not good.all():
            where = ", ".join(map(str, np.argwhere(~good)[0]))
            value = covars[tuple(np.argwhere(~good)[0])]
            raise ValueError(f"covars_ must be finite and above 0, got {value:.6g} at [{where}]")
        return covars
    d = shape[-1]
    for number, matrix in enumerate(covars.reshape(-1, d, d)):
        which = "covars_" if kind == "tied" and len(shape) == 2 else f"matrix {number} of covars_"
        if not np.all(np.isfinite(matrix)) or not np.allclose(matrix, matrix.T):
            raise ValueError(f"{which} must be finite and symmetric")
        if _is_positive_definite(matrix):
            continue
        smallest = np.linalg.eigvalsh(matrix)[0]
        if smallest <= 0:
            raise ValueError(
                f"{which} must be positive definite, got smallest eigenvalue {smallest:.3g}"
            )
    return covars


def _is_positive_definite(matrix):
    """Return whether a symmetric matrix is so; quicker than eigenvalues."""
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


def dense_covars(covars, kind, k, d):
    """Return covariances (K, D, D)."""
    if kind == "full":
        return covars.copy()
    if kind == "tied":
        return np.tile(covars, (k, 1, 1))
    if kind == "spherical":
        covars = np.repeat(covars[:, None], d, axis=1)
    return covars[:, None] * np.eye(covars.shape[1])


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
    times that is the largest.

    Where a feature varies by less than 1, the least is a part of its variance: data in small units
    would all be drowned. It is not above the covariances that a fit begins with, so that the bound
    never falls.

    The largest is for states that next to nobody visits: with nothing against it, a prior makes
    them as wide as numbers go. No state of 1e-5 rows or more comes near it, nor one without prior.
    """
    if min_covar == 0:
        return 0.0, np.inf
    count, mean = _sums(X, 0.0)
    count = np.maximum(count, 1)
    mean = mean / count
    squares = _sums(X, mean, power=2)[1]
    floor = _floor_of(squares / count, min_covar, begun, kind)
    if not np.any(prior.scale) and not np.any(prior.mean_weight):
        return floor, np.inf
    gap = np.max(np.square(mean - prior.mean).reshape(-1, len(mean)), axis=0)
    widest = 4 * (squares + gap).max() + 1e5 * np.max(prior.scale) + np.max(begun)
    return floor, len(mean) * widest / np.min(floor)


def _floor_of(variance, min_covar, begun, kind):
    """Return the least variances of data with the given ones."""
    floor = min_covar * np.where(variance > 0, np.minimum(variance, 1), 1)
    if kind == "spherical":
        floor = floor.mean()
    if kind in ("diag", "spherical"):
        return floor * min(1.0, np.min(begun / floor))
    least, d = 1 - 1e-10, len(floor)  # a start at the floor itself passes, whatever rounding
    for matrix in begun.reshape(-1, d, d):
        if not _is_positive_definite(matrix - np.diag(least * floor)):
            least = min(least, eigh(matrix, np.diag(floor), eigvals_only=True)[0])
    return floor * least


def _sums(X, center, power=1):
    """Return how many values each feature has, and the sums of (value - center) ** power."""
    count, sums = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for part in parts(*X.shape):
        known = ~np.isnan(X[part])
        count += known.sum(axis=0)
        sums += (np.where(known, X[part] - center, 0) ** power).sum(axis=0, dtype=np.float64)
    return count, sums


def normal_drawer(means, covars):
    """Return a function that draws a row of a Gaussian, with the numbers that NumPy's would be."""
    _, spread, axes = np.linalg.svd(covars)
    factors = np.sqrt(spread)[:, :, None] * axes
    return lambda k, rng: rng.standard_normal(means.shape[1]) @ factors[k] + means[k]
