"""K-means' data: what is refused, and X about its mean."""

from __future__ import annotations

import mmap

import numpy as np
import scipy.sparse as sp

from fastem._compat import check_any_sample_weight

__all__ = ["centered", "check_weights", "lies_in_file", "refuse_overflow", "stays_where_it_is"]

_MOST_SQUARES = float(np.finfo(np.float64).max) / 64  # that can still be summed in some ways


def check_weights(sample_weight, X):
    """Return sample weights as float64, or None if they are all alike 1.

    As scikit-learn has it: in X's dtype, and where no start draws by them they may be negative.
    """
    if sample_weight is None:
        return None
    sample_weight = check_any_sample_weight(sample_weight, X, dtype=X.dtype)
    if not sample_weight.any():  # which older versions of scikit-learn let pass
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return None if np.all(sample_weight == 1) else sample_weight.astype(np.float64)


def refuse_overflow(name, X, sample_weight=None):
    """Raise ValueError if sums of weighted squared distances would not be finite.

    Returns
    -------
    missing : bool
        Whether there are NaN, which stand for missing values.
    """
    values = X.data if sp.issparse(X) else X.reshape(-1)
    if values.size == 0:
        return False
    heaviest = 1.0 if sample_weight is None else max(1.0, float(abs(sample_weight).max()))
    with np.errstate(over="ignore"):
        squares = float(np.vdot(values, values))  # one fast pass, in float32 if X is
    if squares < _MOST_SQUARES / heaviest:
        return False
    if np.isnan(squares) and sp.issparse(X):  # a data frame of sparse columns
        raise ValueError(f"{name} contains NaN, which is a missing value in dense data alone")
    if np.isnan(squares):
        refuse_overflow(name, np.where(np.isnan(X), X.dtype.type(0), X), sample_weight)
        return True
    largest = max(-float(values.min()), float(values.max()))
    # Lengths are below the root of D times this, and distances are of X's dtype.
    most = float(np.finfo(X.dtype).max) / 4 / np.sqrt(X.shape[1])
    if largest > most or largest > np.sqrt(_MOST_SQUARES / heaviest / values.size):
        raise ValueError(
            f"{name} has values up to {largest:.6g}"
            + (f" and sample_weight up to {heaviest:.6g}" if heaviest > 1 else "")
            + ", of which squared distances are not finite: divide them by a constant"
        )
    return False


def lies_in_file(X):
    """Return whether X is a numpy.memmap, or a view of one; a copy of one is not."""
    while isinstance(X, np.ndarray):
        X = X.base
    return isinstance(X, mmap.mmap)


def stays_where_it_is(estimator, X):
    """Return whether X lies in a file, and is fitted from there without a copy of it.

    Of a callable start scikit-learn's users expect that it is given samples about their mean, and
    truncated E-steps read these as well.
    """
    if not lies_in_file(X):
        return False
    plain = X.ndim == 2 and X.flags.c_contiguous and X.flags.aligned
    told = not callable(estimator.init) and estimator.algorithm != "truncated"
    return plain and told and X.dtype in (np.float32, np.float64) and X.dtype.isnative


class centered:
    """Subtracts its mean from a dense X within the block, which is given the mean.

    With `missing`, that of the values that are no NaN, by their weights: a start takes it for what
    is missing. With `stays`, nothing is subtracted.
    """

    def __init__(self, X, copied, missing=False, sample_weight=None, stays=False):
        self.X, self.copied, self.missing = X, copied, missing
        self.sample_weight, self.stays = sample_weight, stays

    def __enter__(self):
        self.mean = np.zeros(self.X.shape[1], self.X.dtype)
        if self.missing:
            there = ~np.isnan(self.X)
            values = np.where(there, self.X, self.X.dtype.type(0))
            if self.sample_weight is not None:
                share = (self.sample_weight / np.max(self.sample_weight))[:, None]
                there, values = there * share, values * share
            counts = np.maximum(there.sum(axis=0, dtype=np.float64), np.finfo(np.float64).tiny)
            self.mean = (values.sum(axis=0, dtype=np.float64) / counts).astype(self.X.dtype)
            self.X -= self.mean
        elif not sp.issparse(self.X):
            with np.errstate(over="ignore", invalid="ignore"):
                self.mean = self.X.mean(axis=0)
            if not np.isfinite(self.mean).all():  # sums that float32 cannot hold
                self.mean = self.X.mean(axis=0, dtype=np.float64).astype(self.X.dtype)
            if not self.stays:
                self.X -= self.mean
        return self.mean

    def __exit__(self, *_):
        if not (self.copied or self.stays or sp.issparse(self.X)):
            self.X += self.mean
