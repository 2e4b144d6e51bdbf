"""Choosing the number of clusters of k-means."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from sklearn.base import clone
from sklearn.metrics import silhouette_score
from sklearn.utils import check_array, check_random_state

from fastem._typing import MatrixLike, RandomStateLike
from fastem.cluster.kmeans import KMeans
from fastem.select.documented import documented
from fastem.select.result import Selection, chosen
from fastem.select.running import (
    Runner,
    attempt,
    candidate,
    check_choice,
    check_estimator,
    check_number,
    check_numbers,
    check_runs,
)

__all__ = ["kmeans"]


@documented
def kmeans(
    X: MatrixLike,
    n_clusters: int | Iterable[int] = range(2, 11),
    criterion: str = "silhouette",
    *,
    estimator: KMeans | None = None,
    sample_size: int | None = 2000,
    n_references: int = 10,
    random_state: RandomStateLike = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Selection:
    """Choose how many clusters.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The samples, whose features must be on scales that may be compared.
    n_clusters : int or iterable of int, default=range(2, 11)
        The numbers to try.
    criterion : {'silhouette', 'gap'}, default='silhouette'
        'silhouette' (Rousseeuw 1987, by :func:`sklearn.metrics.silhouette_score`): how much nearer
        a sample is to its own cluster than to the next, on the average; the largest wins, and it
        needs no reference, but it cannot say that there is one cluster only. 'gap' can (Tibshirani,
        Walther & Hastie 2001, *Estimating the number of clusters in a data set via the gap
        statistic*): the logarithm of the inertia is compared with that of `n_references` uniform
        data sets in the box of the principal components; the least number wins whose gap is not
        below the next one's less its error. An elbow in the inertia has no such rule, and is left
        to the eye: `table` has the inertia.
    estimator : KMeans, default=None
        The other parameters; None: ``KMeans(n_init=10)``.
    sample_size : int or None, default=2000
        The most samples, chosen at random, the same for all numbers, whose silhouettes are
        computed: the cost grows with its square. None: all.
    n_references : int, default=10
        Number of reference data sets of 'gap'.
    {running}

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import select
    >>> centers = np.repeat([[0, 0], [9, 0], [0, 9]], 50, axis=0)
    >>> X = np.random.default_rng(0).normal(centers)
    >>> select.kmeans(X, range(2, 6), random_state=0).best_params_
    {'n_clusters': 3}
    """
    check_choice("criterion", criterion, ("silhouette", "gap"))
    gap = criterion == "gap"
    numbers = check_numbers("n_clusters", n_clusters, 1 if gap else 2)
    check_number("n_references", n_references, 2)
    if sample_size is not None:
        check_number("sample_size", sample_size, 2)
    estimator = KMeans(n_init=10) if estimator is None else estimator
    check_estimator(estimator, KMeans, "a KMeans of fastem")
    check_runs(n_jobs, progress)
    plain = check_array(X, dtype=[np.float64, np.float32], input_name="X")
    rng = check_random_state(estimator.random_state if random_state is None else random_state)
    seed = int(rng.randint(2**31 - 1))
    some = np.arange(len(plain))
    if sample_size is not None and sample_size < len(plain):
        some = np.sort(rng.choice(len(plain), sample_size, replace=False))
    _check_most(numbers, len(some), gap)
    made = [candidate(estimator, n_jobs, n_clusters=k, random_state=seed) for k in numbers]
    references = _references(plain, n_references, rng) if gap else []
    with Runner(n_jobs, progress, len(made) * (1 + len(references))).open() as runner:
        fits = runner.run([(_fit, one, X, some) for one in made])
        inertias = runner.run([(_inertia, clone(o), data) for o in made for data in references])
    table = []
    for i, (one, (fit, silhouette)) in enumerate(zip(made, fits, strict=True)):
        failed = isinstance(fit, ValueError)
        row = {"n_clusters": one.n_clusters, "inertia": math.nan if failed else fit.inertia_}
        row["silhouette"] = silhouette
        if gap:
            row |= _gap(row["inertia"], inertias[i * n_references : (i + 1) * n_references])
        row |= {
            "n_iter": None if failed else fit.n_iter_,
            "converged": None if failed else fit.converged_,
            "error": str(fit) if failed else None,
        }
        table.append(row)
    estimators = [fit for fit, _ in fits]
    best_index = _first_by_gap(table) if gap and not any(r["error"] for r in table) else None
    least = 1 if gap else 2
    return chosen(
        criterion, table, ["n_clusters"], estimators, natural_minimum=least, best_index=best_index
    )


def _check_most(numbers, n_samples, gap):
    """Raise ValueError where there are too many clusters for so many samples."""
    most = n_samples if gap else n_samples - 1
    if numbers[-1] > most:
        raise ValueError(
            f"n_clusters must be at most {most} for {n_samples} samples"
            f"{'' if gap else ' and silhouettes'}, got {numbers[-1]}"
        )


def _fit(estimator, X, some):
    """Return a fitted estimator, or the error, and the mean silhouette of some samples."""
    fit = attempt(estimator, X)
    if isinstance(fit, ValueError):
        return fit, math.nan
    labels = fit.labels_[some]
    if not 1 < len(np.unique(labels)) < len(some):
        return fit, math.nan
    rows = X.iloc[some] if hasattr(X, "iloc") else np.asarray(X)[some]
    return fit, float(silhouette_score(rows, labels))


def _references(X, n, rng):
    """Return data sets that are uniform in the box of X along its principal axes."""
    X = X.astype(np.float64)
    mean = X.mean(axis=0)
    axes = np.linalg.svd(X - mean, full_matrices=False)[2]
    along = (X - mean) @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    return [rng.uniform(low, high, size=along.shape) @ axes + mean for _ in range(n)]


def _inertia(estimator, X):
    return estimator.fit(X).inertia_


def _gap(inertia, references):
    """Return the gap statistic and the error of its reference (Tibshirani et al. 2001, step 3)."""
    floor = np.finfo(np.float64).tiny  # as many clusters as samples have inertia 0
    logs = np.log(np.maximum(references, floor))
    error = float(np.std(logs) * math.sqrt(1 + 1 / len(logs)))
    return {"gap": float(logs.mean() - math.log(max(inertia, floor))), "gap_error": error}


def _first_by_gap(table):
    """Return the first row whose gap is not below the next one's by more than its error."""
    for i, (row, after) in enumerate(pairwise(table)):
        if row["gap"] >= after["gap"] - after["gap_error"]:
            return i
    return len(table) - 1
