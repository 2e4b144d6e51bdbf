"""What the algorithms of a Gaussian mixture ask of the samples and of the parameters."""

from __future__ import annotations

import numpy as np

from fastem.components.cells import MOST_FEATURES
from fastem.mixture.truncated import KINDS_KNOWN

__all__ = ["COMPLETE", "check_samples"]

COMPLETE = ("multiresolution", "truncated")  # samples, without noise beside the components


def check_samples(estimator, X):
    """Return validated samples; raise ValueError if they are none for the algorithm."""
    algorithm = estimator.algorithm
    if algorithm not in COMPLETE:
        return X
    kind = estimator.covariance_type
    if algorithm == "multiresolution" and X.shape[1] > MOST_FEATURES:
        raise ValueError(
            f"algorithm='multiresolution' is for at most {MOST_FEATURES} features, got "
            f"{X.shape[1]}: take 'em'"
        )
    if algorithm == "truncated" and kind not in KINDS_KNOWN:
        raise ValueError(
            f"algorithm='truncated' is for covariance_type 'diag' or 'spherical', got {kind!r}: "
            "take one of them, or algorithm='em'"
        )
    if estimator.noise:
        raise ValueError(f"algorithm={algorithm!r} knows no noise: take 'em', or set noise=False")
    with np.errstate(over="ignore", invalid="ignore"):
        complete = np.isfinite(np.add.reduce(X, axis=None)) or not np.isnan(X).any()
    if not complete:
        raise ValueError(
            f"algorithm={algorithm!r} needs samples without NaN: take 'em', or fill in what is "
            "missing"
        )
    return X
