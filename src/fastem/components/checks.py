"""What is asked of given parameters and priors, and of discrete data, whatever the structure."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.utils import check_array

__all__ = [
    "MOST_COUNTED",
    "MOST_PRIOR",
    "check_start",
    "check_weights",
    "one_prior",
    "refuse",
    "refuse_fractions",
    "two_priors",
    "whole_numbers",
]

#: Logarithms of the probability of such counts are right to about 1e-6, of larger ones less so.
MOST_COUNTED = 2**31 - 1
MOST_PRIOR = 1e100  # pseudo-counts and rates: their products with weights and counts stay finite


def check_start(name, value, shape):
    """Return a given start as float64, or say what is wrong in scikit-learn's words."""
    value = check_array(
        value, dtype=np.float64, ensure_2d=False, allow_nd=True, input_name=f"{name}_init"
    )
    if value.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {value.shape}"
        )
    return value


def check_weights(weights, n_components):
    single = getattr(weights, "dtype", None) == np.float32
    weights = check_start("weights", weights, (n_components,))
    if np.any(weights < 0) or np.any(weights > 1):
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if abs(1 - weights.sum()) > (1e-6 if single else 1e-8):
        raise ValueError(
            "The parameter 'weights' should be normalized, "
            f"but got sum(weights) = {weights.sum():.5f}"
        )
    return weights


def refuse(bad, values, expected, remedy=""):
    """Raise ValueError if a feature is bad, with the value that shows it."""
    if np.any(bad):
        feature = int(np.argmax(bad))
        sign = "Negative values in data: " if values[feature] < 0 else ""
        raise ValueError(
            f"{sign}X must hold {expected}, got {values[feature]:.6g} in feature {feature}{remedy}"
        )


def refuse_fractions(contents, expected, remedy=""):
    """Raise ValueError if a feature has values that are not integers."""
    if not contents.whole.all():
        feature = int(np.argmin(contents.whole))
        raise ValueError(
            f"X must hold {expected}, got values that are not integers in feature {feature}{remedy}"
        )


def two_priors(name, prior, meaning):
    """Return a prior of two pseudo-counts, given as two numbers or as one for both."""
    try:
        pair = np.asarray(prior, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number or {meaning}, got {prior!r}") from error
    if pair.shape not in ((), (2,)) or not np.all((pair >= 0) & (pair <= MOST_PRIOR)):
        raise ValueError(
            f"{name} must be a number or {meaning}, at least 0, at most {MOST_PRIOR}, got {prior!r}"
        )
    return tuple(np.broadcast_to(pair, 2).tolist())


def one_prior(name, prior):
    """Return a prior of one pseudo-count."""
    if not isinstance(prior, Real):
        raise ValueError(f"{name} must be one number for this mixture, got {prior!r}")
    if not 0 <= float(prior) <= MOST_PRIOR:
        raise ValueError(f"{name} must be in [0, {MOST_PRIOR}], got {prior!r}")
    return float(prior)


def whole_numbers(name, value, n_features):
    """Return a parameter of one positive integer for each feature, or one for all, as (D,)."""
    numbers = np.asarray(value)
    whole = numbers.dtype.kind in "iu" or (
        numbers.dtype.kind == "f" and np.all(numbers == np.floor(numbers))
    )
    known = numbers.shape in ((), (n_features,)) and whole
    if not known or np.any((numbers < 1) | (numbers > MOST_COUNTED)):
        raise ValueError(
            f"{name} must be an integer of at least 1, or {n_features} of them, one for each "
            f"feature of X, at most {MOST_COUNTED}, got {value!r}"
        )
    return np.broadcast_to(numbers, n_features).astype(np.int64)
