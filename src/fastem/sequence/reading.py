"""How hidden Markov models read what they are given: sequences, lengths, distributions."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from fastem._compat import num_samples
from fastem._engine.arrays import is_ready

__all__ = [
    "as_numbers",
    "broadcast_prior",
    "check_distribution",
    "possible",
    "read_known_states",
    "read_sequence_weight",
    "read_sequences",
    "topology_mask",
    "which_sequence",
]

#: Sums of probabilities may be off by as much as hmmlearn allows.
_SUM_TOLERANCE = 1e-5

_TOPOLOGIES = {
    "left-right": lambda n: np.triu(np.ones((n, n), dtype=bool)),
    "linear": lambda n: np.eye(n, dtype=bool) | np.eye(n, k=1, dtype=bool),
    "cyclic": lambda n: np.eye(n, dtype=bool) | np.roll(np.eye(n, dtype=bool), 1, axis=1),
}


def read_sequences(estimator, X, lengths, *, reset, dtype):
    """Return the rows of all sequences, validated, and where each sequence begins.

    X is one array of all sequences end to end, with their `lengths`, or a list of arrays.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        NaN stands for what is missing.
    begin : ndarray of shape (n_sequences + 1,), int64
    """
    finite = "allow-nan" if estimator._allow_nan else True
    settings = {"dtype": dtype, "ensure_all_finite": finite}
    if getattr(X, "ndim", 2) == 3:
        raise ValueError(
            f"X must have two dimensions, rows and features, got shape {tuple(X.shape)}: if these "
            "are sequences of equal length, pass list(X)"
        )
    if not _is_list_of_sequences(X):
        X = _validated(estimator, X, reset, settings)
        return X, _begin_of(lengths, len(X))
    if lengths is not None:
        raise ValueError(
            "lengths must be None where X is a list of sequences, each of which has its own"
        )
    lengths = np.array([num_samples(x) for x in X])
    if not lengths.all():
        raise ValueError(
            f"X must have no empty sequence, got no row in sequence {np.argmin(lengths)}: leave "
            "sequences without rows out"
        )
    if all(isinstance(x, np.ndarray) for x in X):  # one look at all of them: there may be many
        widths = np.array([x.shape[1] for x in X])
        if np.any(widths != widths[0]):
            odd = int(np.argmax(widths != widths[0]))
            raise ValueError(
                f"sequences of X must have the same features, got {widths[0]} in sequence 0 and "
                f"{widths[odd]} in sequence {odd}"
            )
        X = validate_data(estimator, np.concatenate(X), reset=reset, **settings)
    else:
        parts = [validate_data(estimator, X[0], reset=reset, **settings)]
        parts += [validate_data(estimator, x, reset=False, **settings) for x in X[1:]]
        X = np.concatenate(parts)
    return X, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _validated(estimator, X, reset, settings):
    """Return validated rows; arrays, which have no names, without a look for them."""
    known = getattr(estimator, "n_features_in_", None)
    unnamed = type(X) is np.ndarray and not hasattr(estimator, "feature_names_in_")
    if unnamed and (reset or known is None or (X.ndim == 2 and X.shape[1] == known)):
        if not is_ready(X, settings["dtype"]):
            X = check_array(X, input_name="X", estimator=estimator, **settings)
        if reset:
            estimator.n_features_in_ = X.shape[1]
        return X
    return validate_data(estimator, X, reset=reset, **settings)


def _is_list_of_sequences(X):
    """Return whether X is a list of two-dimensional arrays, or of what could be made one."""
    if not isinstance(X, (list, tuple)) or not X:
        return False
    dims = {x.ndim if hasattr(x, "ndim") else _depth(x) for x in X}
    return dims == {2}


def _depth(x):
    return 1 + _depth(x[0]) if isinstance(x, (list, tuple)) and x else int(np.ndim(x) > 0)


def _begin_of(lengths, n_samples):
    """Return where sequences of some lengths begin, and the end of the last."""
    if lengths is None:
        return np.array([0, n_samples], dtype=np.int64)
    array = np.atleast_1d(np.asarray(lengths))
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"lengths must be a list of integers, the number of rows of each sequence, got "
            f"{lengths!r}: pass integers, or None if X is one sequence"
        )
    if np.any(array < 1):
        bad = int(np.argmax(array < 1))
        raise ValueError(
            f"lengths must be at least 1, got {array[bad]} for sequence {bad}: leave sequences "
            "without rows out"
        )
    begin = np.concatenate([[0], np.cumsum(array.astype(np.int64))])
    if begin[-1] != n_samples:
        raise ValueError(
            f"lengths must sum to the number of rows of X, {n_samples}, got {begin[-1]}: give the "
            "number of rows of every sequence, or None if X is one"
        )
    return begin.astype(np.int64)


def as_numbers(name, value):
    """Return a copy of a parameter or an attribute as float64."""
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be numbers, got {value!r}") from error


def read_sequence_weight(sample_weight, begin, *, some=True):
    """Return one weight for each sequence as float64, or None if they are all alike 1.

    `some` must be above 0, but not within each block of many.
    """
    if sample_weight is None:
        return None
    n = len(begin) - 1
    weight = as_numbers("sample_weight", sample_weight)
    if weight.shape != (n,):
        rows = weight.shape[:1] == (begin[-1],)
        hint = ": a sequence has one weight, not one for each row" if rows else ""
        raise ValueError(
            f"sample_weight must have one weight for each of the {n} sequences, got shape "
            f"{weight.shape}{hint}"
        )
    if not np.all(np.isfinite(weight)) or np.any(weight < 0):
        bad = int(np.argmax(~(weight >= 0) | np.isinf(weight)))
        raise ValueError(
            f"sample_weight must be finite and not negative, got {weight[bad]} for sequence {bad}"
        )
    if some and not weight.any():
        raise ValueError("sample_weight must have at least one positive weight, got only zeros")
    with np.errstate(over="ignore"):
        total = weight @ np.diff(begin)
    if some and not 1e-200 < total < 1e200:  # times squares it must stay a normal number
        raise ValueError(
            "sample_weight, times the lengths of the sequences, must sum to between 1e-200 and "
            f"1e200, got {total:.6g}: divide the weights by their mean"
        )
    return None if np.all(weight == 1) else weight


def read_known_states(states, begin, n_components):
    """Return the state known at each row, -1 where it is not, as int32; None if none is known."""
    if states is None:
        return None
    if isinstance(states, (list, tuple)) and states and np.ndim(states[0]) == 1:
        lengths = [len(part) for part in states]
        if not np.array_equal(lengths, np.diff(begin)):
            raise ValueError("states must have as many entries as X has rows, in every sequence")
        states = np.concatenate(states)
    array = np.asarray(states)
    if array.shape != (begin[-1],) or array.dtype.kind not in "iu":
        raise ValueError(
            f"states must be {begin[-1]} integers, the state of each row of X or -1 where it is "
            f"unknown, got {array.dtype} of shape {array.shape}"
        )
    if np.any(array < -1) or np.any(array >= n_components):
        bad = int(np.argmax((array < -1) | (array >= n_components)))
        raise ValueError(
            f"states must be from 0 to n_components - 1 = {n_components - 1}, or -1, got "
            f"{array[bad]} at row {bad}"
        )
    return array.astype(np.int32) if np.any(array >= 0) else None


def check_distribution(name, value, shape):
    """Return probabilities that sum to 1 along the last axis, as float64."""
    array = as_numbers(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if not np.all(np.isfinite(array)) or np.any(array < 0):
        bad = np.unravel_index(np.argmax(~(array >= 0) | np.isinf(array)), array.shape)
        where = ", ".join(map(str, bad))
        raise ValueError(
            f"{name} must be probabilities, at least 0, got {array[bad]} at [{where}]: put 0 where "
            "something is impossible, and let the others sum to 1"
        )
    sums = array.sum(axis=-1)
    wrong = np.abs(sums - 1) > _SUM_TOLERANCE
    if np.any(wrong):
        if array.ndim == 1:
            raise ValueError(f"{name} must sum to 1, got a sum of {sums:.6g}: divide it by that")
        row = np.unravel_index(np.argmax(wrong), wrong.shape)
        where = ", ".join(map(str, row))
        raise ValueError(
            f"{name} rows must sum to 1, got {sums[row]:.6g} in row {where}: divide each row by "
            "its sum"
        )
    return array


def broadcast_prior(name, value, shape, *, least=0.0):
    """Return a prior's parameter as float64 of some shape; one number stands for all.

    Where `value` has one number for each state, it holds for the whole of that state.
    """
    if isinstance(value, (int, float)) and least <= value < np.inf:
        return np.full(shape, float(value))
    array = as_numbers(name, value)
    matrix = array.ndim > 1 and array.shape == shape[-array.ndim :]  # the same for all states
    if array.ndim and not matrix and array.shape == shape[: array.ndim] != shape:
        array = array.reshape(array.shape + (1,) * (len(shape) - array.ndim))
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{name} must be a number or of shape {shape}, got shape {array.shape}"
        ) from None
    if not np.all(np.isfinite(array)) or np.any(array < least):
        raise ValueError(f"{name} must be finite and at least {least}, got {value!r}")
    return array


def topology_mask(topology, n_components):
    """Return which transitions a topology allows, (K, K) of bool; None for all of them."""
    if topology is None:
        return None
    if isinstance(topology, str):
        return _TOPOLOGIES[topology](n_components)
    mask = np.asarray(topology)
    expected = (n_components, n_components)
    if mask.shape != expected or mask.dtype.kind != "b":
        raise ValueError(
            f"topology must be a name or booleans of shape {expected}, True where a transition is "
            f"allowed, got {mask.dtype} of shape {mask.shape}"
        )
    if not mask.any(axis=1).all():
        row = int(np.argmin(mask.any(axis=1)))
        raise ValueError(f"topology must leave every state a transition, got none from state {row}")
    return mask


def which_sequence(begin, sequence):
    """Return words for a sequence: its number and its rows."""
    return f"sequence {sequence} (rows {begin[sequence]} to {begin[sequence + 1] - 1})"


def possible(read, params, block):
    """Return the scores and what else is read of the sequences.

    Raises ValueError if one has probability 0: then there is no posterior.
    """
    scores, found = read(params, block)
    impossible = np.isneginf(scores)
    if impossible.any():
        raise ValueError(
            f"{which_sequence(block.begin, int(np.argmax(impossible)))} has probability 0 under "
            "the model, so that none of its states is probable: score tells such sequences by -inf"
        )
    return scores, found
