"""Choosing the number of states of hidden Markov models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_random_state

from fastem._typing import MatrixLike, RandomStateLike
from fastem.select.documented import documented
from fastem.select.result import Selection, chosen
from fastem.select.running import (
    Runner,
    attempt,
    candidate,
    check_choice,
    check_estimator,
    check_numbers,
    check_runs,
    held_out,
    kinds_of,
    of_folds,
)
from fastem.sequence.gaussian import GaussianHMM
from fastem.sequence.hmm import HMM
from fastem.sequence.reading import read_sequences

__all__ = ["hmm"]


@documented
def hmm(
    X: MatrixLike,
    lengths: npt.ArrayLike | None = None,
    n_components: int | Iterable[int] = range(1, 7),
    covariance_type: str | Iterable[str] | None = None,
    criterion: str = "bic",
    *,
    estimator: HMM | None = None,
    cv: Any = 5,
    random_state: RandomStateLike = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Selection:
    """Choose how many states a hidden Markov model needs.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), or list of such arrays
        The rows of all sequences, or a list of the sequences.
    lengths : array-like of int of shape (n_sequences,), default=None
        Number of rows of each sequence; None: X is one sequence, or a list of them.
    n_components : int or iterable of int, default=range(1, 7)
        The numbers of states to try.
    covariance_type : str or iterable of str, default=None
        The types to try, of a model that has them; None: the estimator's.
    criterion : {'bic', 'aic', 'cv'}, default='bic'
        BIC and AIC count rows as samples. 'cv' is the mean log-likelihood by row of sequences that
        a fit has not seen; it needs several sequences.
    estimator : HMM, default=None
        Any hidden Markov model of fastem: the emissions and the other parameters; None:
        ``GaussianHMM(n_init=3, n_iter=500)``.
    cv : int, splitter of scikit-learn or iterable, default=5
        The folds of 'cv', over sequences; of an int, they are shuffled.
    {running}

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import select
    >>> calm_and_wild = np.repeat([0.0, 5.0, 0.0, 5.0], 50)[:, None]
    >>> X = np.random.default_rng(0).normal(calm_and_wild)
    >>> select.hmm(X, n_components=range(1, 5), random_state=0).best_params_
    {'n_components': 2}
    """
    check_choice("criterion", criterion, ("bic", "aic", "cv"))
    numbers = check_numbers("n_components", n_components)
    estimator = GaussianHMM(n_init=3, n_iter=500) if estimator is None else estimator
    check_estimator(estimator, HMM, "a hidden Markov model of fastem")
    check_runs(n_jobs, progress)
    varied = ["n_components"]
    settings: list[dict[str, Any]] = [{"n_components": k} for k in numbers]
    if covariance_type is not None:
        if "covariance_type" not in estimator.get_params():
            raise ValueError(f"{type(estimator).__name__} has no covariance_type to choose")
        kinds = kinds_of("covariance_type", covariance_type)
        varied.append("covariance_type")
        settings = [one | {"covariance_type": kind} for one in settings for kind in kinds]
    rows, begin = read_sequences(clone(estimator), X, lengths, reset=True, dtype=estimator._dtype)
    seed = estimator.random_state if random_state is None else random_state
    seed = int(check_random_state(seed).randint(2**31 - 1))
    folds = _folds(cv, len(begin) - 1, seed) if criterion == "cv" else []
    made = [candidate(estimator, n_jobs, random_state=seed, **one) for one in settings]
    with Runner(n_jobs, progress, len(made) * (1 + len(folds))).open() as runner:
        found = runner.run(
            [(_fit, one, rows, begin) for one in made]
            + [(_fold, clone(one), rows, begin, *fold) for one in made for fold in folds]
        )
    held = iter(found[len(made) :])
    table = [
        one | _row(fit, figures, list(islice(held, len(folds))))
        for one, (fit, figures) in zip(settings, found, strict=False)
    ]
    return chosen(criterion, table, varied, [fit for fit, _ in found[: len(made)]])


def _folds(cv, n_sequences, seed):
    if n_sequences < 2:
        raise ValueError("criterion='cv' needs several sequences, got 1: use 'bic', or cut it up")
    if isinstance(cv, int | np.integer):
        cv = KFold(min(cv, n_sequences), shuffle=True, random_state=seed)
    return list(check_cv(cv).split(np.empty((n_sequences, 1))))


def _fit(estimator, rows, begin):
    """Return a fitted model, or the error, and its figures."""
    fit = attempt(estimator, rows, np.diff(begin))
    if isinstance(fit, ValueError):
        return fit, dict.fromkeys(("log_likelihood", "bic", "aic"), math.nan)
    log_likelihood = fit.score(rows, np.diff(begin))
    free = sum(fit._n_parameters(None).values())
    return fit, {
        "log_likelihood": log_likelihood,
        "bic": -2 * log_likelihood + free * math.log(len(rows)),
        "aic": -2 * log_likelihood + 2 * free,
    }


def _fold(estimator, rows, begin, train, test):
    """Return the mean log-likelihood by row of a fold's test sequences, or the error."""
    parts = [[rows[begin[i] : begin[i + 1]] for i in some] for some in (train, test)]
    fit = attempt(estimator, parts[0])
    return held_out(fit, lambda: fit.score(parts[1]) / sum(map(len, parts[1])))


def _row(fit, figures, scores):
    """Return the figures of a fit and its folds as a row of the table."""
    figures, error = of_folds(fit, figures, scores)
    failed = error is not None
    return {
        "n_parameters": None if failed else sum(fit._n_parameters(None).values()),
        **figures,
        "n_iter": None if failed else len(fit.lower_bounds_),
        "converged": None if failed else fit.converged_,
        "error": str(error) if failed else None,
    }
