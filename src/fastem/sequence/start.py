"""How hidden Markov models begin: which transitions are free, first values by hmmlearn's draws."""

from __future__ import annotations

import numpy as np

from fastem._engine.random_states import lent_random_state
from fastem._engine.threads import single_threaded_blas
from fastem.cluster.start import clusters_like_scikit_learn
from fastem.components.gaussian_data import parts
from fastem.sequence.reading import check_distribution, topology_mask

__all__ = [
    "ChainStart",
    "centers_of",
    "counted",
    "covariance_of",
    "filled",
    "random_rows",
    "restart_seeds",
]

_MOST_STATES = 100_000  # whose transitions are 80 GB


class ChainStart:
    """First probabilities of states and transitions, and those that a fit leaves alone.

    Parameters
    ----------
    n_components : int
    topology : str, ndarray of bool or None
        As the estimators have it.
    transmat_fixed : array-like or None
        As the estimators have it.
    startprob, transmat : array-like or None
        Values that are given, or None where they are to be drawn.
    held : array-like or None
        The attribute `transmat_`, from which a boolean `transmat_fixed` takes its values.

    Attributes
    ----------
    start_fixed, trans_fixed : ndarray of shape (K,) and (K, K), or None
        Probabilities that a fit leaves alone; NaN where it is free.
    """

    def __init__(self, n_components, topology, transmat_fixed, startprob, transmat, held):
        k = self.n_components = n_components
        if k > _MOST_STATES:
            raise ValueError(
                f"n_components must be at most {_MOST_STATES}, got {k}: each pair of states has a "
                "transition, and no memory holds so many"
            )
        self.startprob, self.transmat = startprob, transmat
        self.start_fixed = self.trans_fixed = None
        if all(given is None for given in (topology, transmat_fixed, startprob, transmat)):
            return
        fixed = _fixed_values(transmat_fixed, held, k)
        allowed = topology_mask(topology, k)
        if allowed is not None:
            wrong = ~allowed & (fixed > 0)
            if wrong.any():
                i, j = np.argwhere(wrong)[0]
                raise ValueError(
                    f"transmat_fixed holds {fixed[i, j]:.6g} at [{i}, {j}], which topology forbids"
                )
            fixed[~allowed] = 0
        _check_rows_can_sum_to_1(fixed)
        start = np.full(k, np.nan)
        if startprob is not None:
            startprob = check_distribution("startprob_", startprob, (k,))
            start[startprob == 0] = 0
        elif isinstance(topology, str) and topology in ("left-right", "linear"):
            start[:] = 0
            start[0] = 1  # a chain that never goes back begins where it can see every state
        if transmat is not None:
            transmat = check_distribution("transmat_", transmat, (k, k))
            there = ~np.isnan(fixed)
            wrong = there & (np.abs(transmat - np.where(there, fixed, 0)) > 1e-8)
            if wrong.any():
                i, j = np.argwhere(wrong)[0]
                raise ValueError(
                    f"transmat_ has {transmat[i, j]:.6g} at [{i}, {j}], where topology and "
                    f"transmat_fixed demand {fixed[i, j]:.6g}"
                )
            fixed[transmat == 0] = 0
        self.startprob, self.transmat = startprob, transmat
        self.start_fixed = None if np.isnan(start).all() else start
        self.trans_fixed = None if np.isnan(fixed).all() else fixed

    def draw(self, seed):
        """Return startprob_ and transmat_: those given, or drawn as hmmlearn draws them."""
        start, trans = self.startprob, self.transmat
        if start is not None and trans is not None:
            return {"startprob_": start, "transmat_": trans}
        k = self.n_components
        shares = np.full(k, 1 / k)
        with lent_random_state(seed) as random_state:
            if start is None:
                start = _respecting(random_state.dirichlet(shares), self.start_fixed)
            if trans is None:
                trans = _respecting(random_state.dirichlet(shares, size=k), self.trans_fixed)
        return {"startprob_": start, "transmat_": trans}


def _fixed_values(transmat_fixed, held, k):
    """Return the transitions that are held at a value, NaN where they are free."""
    if transmat_fixed is None:
        return np.full((k, k), np.nan)
    fixed = np.asarray(transmat_fixed)
    if fixed.shape != (k, k) or fixed.dtype.kind not in "biuf":
        raise ValueError(
            f"transmat_fixed must be of shape {(k, k)}: booleans, or probabilities with NaN where "
            f"a transition is free, got {fixed.dtype} of shape {fixed.shape}"
        )
    if fixed.dtype.kind == "b":
        if held is None:
            raise ValueError(
                "transmat_fixed of booleans holds transitions at their value in transmat_, which "
                "is not set: set it, or pass the values, with NaN where a transition is free"
            )
        return np.where(fixed, check_distribution("transmat_", held, (k, k)), np.nan)
    if np.any((fixed < 0) | (fixed > 1)):
        bad = fixed[(fixed < 0) | (fixed > 1)][0]
        raise ValueError(f"transmat_fixed must hold probabilities or NaN, got {bad:.6g}")
    return fixed.astype(np.float64)


def _check_rows_can_sum_to_1(fixed):
    free = np.isnan(fixed)
    sums, full = np.where(free, 0, fixed).sum(axis=1), ~free.any(axis=1)
    wrong = (sums > 1 + 1e-8) | (full & (sums < 1 - 1e-8))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"transitions from state {row} that are fixed must leave the row a sum of 1, got "
            f"{sums[row]:.6g}" + (" and no free one" if full[row] else "")
        )


def _respecting(drawn, fixed):
    """Return drawn distributions with the fixed probabilities in their places."""
    if fixed is None:
        return drawn
    free = np.isnan(fixed)
    share = np.where(free, drawn, 0)
    total = share.sum(axis=-1, keepdims=True)
    equal = free / np.maximum(free.sum(axis=-1, keepdims=True), 1)
    share = np.where(total > 0, share / np.where(total > 0, total, 1), equal)
    left = 1 - np.where(free, 0, fixed).sum(axis=-1, keepdims=True)
    return np.where(free, share * np.maximum(left, 0), fixed)


def restart_seeds(random_state, n_init):
    """Return a seed for each restart; the first is the user's own, for hmmlearn's start."""
    if n_init == 1 or not isinstance(random_state, (int, np.integer)):
        return [random_state] * n_init  # a stream that goes on
    others = np.random.RandomState(random_state).randint(2**31 - 1, size=n_init - 1)
    return [random_state, *others.tolist()]


def random_rows(seed, shape):
    """Return uniform random numbers, each row over its sum."""
    with lent_random_state(seed) as random_state:
        values = random_state.rand(*shape)
    return values / values.sum(axis=-1, keepdims=True)


def counted(X, sample_weight):
    """Return the rows of positive weight, and their weights or None."""
    if sample_weight is None or sample_weight.all():
        return X, sample_weight
    there = sample_weight > 0
    return X[there], sample_weight[there]


def filled(X):
    """Return X with the mean of its feature, over the rows that have it, for what is missing."""
    missing = np.isnan(X)
    if not missing.any():
        return X
    known = ~missing
    means = np.where(missing, 0, X).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(missing, means, X)


def centers_of(X, n_clusters, seed, sample_weight=None, n_init=10, n_jobs=None):
    """Return the centers and labels that scikit-learn's k-means finds, as hmmlearn calls it."""
    if len(X) < n_clusters:
        raise ValueError(
            f"X must have at least n_components={n_clusters} rows for the means to begin with, got "
            f"n_samples={len(X)}: decrease n_components, or set means_ and leave 'm' out of "
            "init_params"
        )
    with lent_random_state(seed) as random_state:
        found = clusters_like_scikit_learn(
            X, n_clusters, sample_weight, random_state, n_jobs, n_init
        )
    return found.centers.astype(np.float64), found.labels


def covariance_of(X, min_covar, sample_weight=None):
    """Return the covariance (D, D) of all rows as NumPy's, with min_covar on the diagonal."""
    n, d = X.shape
    total = float(n) if sample_weight is None else float(sample_weight.sum())
    one = 1.0 if sample_weight is None else float(sample_weight @ sample_weight) / total
    if n < 2 or not total > one:
        return np.eye(d) * max(min_covar, 1e-3)
    weight = np.ones(n) if sample_weight is None else sample_weight
    mean, scatter = np.zeros(d), np.zeros((d, d))
    with single_threaded_blas():
        for part in parts(n, d):
            mean += weight[part] @ X[part].astype(np.float64, copy=False) / total
        for part in parts(n, d):
            rows = X[part] - mean
            scatter += rows.T @ (rows * weight[part, None])
    return scatter / (total - one) + min_covar * np.eye(d)
