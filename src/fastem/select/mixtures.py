"""Choosing the number and the shape of the components of mixtures."""

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

from fastem._base import check_flag, check_sample_weight
from fastem._typing import MatrixLike, RandomStateLike
from fastem.mixture.criteria import Criteria
from fastem.mixture.gaussian import GaussianMixture
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
from fastem.select.splitting import can_split, split_start

__all__ = ["discrete", "mixture"]

_CRITERIA = ("bic", "icl", "aic", "cv")
_GIVEN = ("weights_init", "means_init", "precisions_init")


@documented
def mixture(
    X: MatrixLike,
    n_components: int | Iterable[int] = range(1, 10),
    covariance_type: str | Iterable[str] = ("full", "tied", "diag", "spherical"),
    criterion: str = "bic",
    *,
    estimator: GaussianMixture | None = None,
    sample_weight: npt.ArrayLike | None = None,
    cv: Any = 5,
    share_starts: bool = True,
    random_state: RandomStateLike = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Selection:
    """Choose how many Gaussian components, and of what shape.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The samples.
    n_components : int or iterable of int, default=range(1, 10)
        The numbers to try.
    covariance_type : str or iterable of str, default=('full', 'tied', 'diag', 'spherical')
        The types to try.
    criterion : {'bic', 'icl', 'aic', 'cv'}, default='bic'
        'bic' finds the density, 'icl' clusters that are apart; 'aic' takes more components; 'cv' is
        the mean log-likelihood of samples that a fit has not seen, and costs `cv` fits more for
        each candidate.
    estimator : GaussianMixture, default=None
        The other parameters; None: ``GaussianMixture(n_init=3, tol=1e-5, max_iter=1000)``.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.
    cv : int, splitter of scikit-learn or iterable, default=5
        The folds of 'cv'; of an int, samples are shuffled.
    share_starts : bool, default=True
        Whether each candidate is also fitted from the one before of its type, whose widest
        component is split; the better of both fits is kept. So the likelihood hardly ever falls
        where a component is added.
    {running}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastem import select
    >>> selection = select.mixture(load_iris().data, range(1, 5), criterion="icl", random_state=0)
    >>> selection.best_params_
    {'n_components': 2, 'covariance_type': 'full'}
    """
    if estimator is None:
        estimator = GaussianMixture(n_init=3, tol=1e-5, max_iter=1000)
    check_estimator(estimator, GaussianMixture, "a GaussianMixture")
    check_runs(n_jobs, progress)
    check_flag("share_starts", share_starts)
    for name in _GIVEN:
        if getattr(estimator, name) is not None:
            raise ValueError(f"estimator must have {name}=None: a given start has one number only")
    kinds = kinds_of("covariance_type", covariance_type)
    choice = _Choice(X, estimator, criterion, sample_weight, cv, random_state, n_jobs)
    numbers = choice.numbers(n_components)
    makers = {
        (k, kind): choice.made(n_components=k, covariance_type=kind)
        for k in numbers
        for kind in kinds
    }
    shared = {kind for kind in kinds if share_starts and can_split(kind)}
    total = len(makers) * (1 + choice.n_folds) + (len(numbers) - 1) * len(shared)
    table: list[dict[str, Any]] = []
    estimators: list[Any] = []
    last: dict[str, Any] = {}
    with Runner(n_jobs, progress, total).open() as runner:
        for k in numbers:
            made = {kind: makers[k, kind] for kind in kinds}
            rows, fits = _of_one_number(choice, runner, made, last, shared)
            table += rows
            estimators += fits.values()
            last |= {kind: fit for kind, fit in fits.items() if not isinstance(fit, ValueError)}
    return chosen(criterion, table, ["n_components", "covariance_type"], estimators)


def _of_one_number(choice, runner, made, last, shared):
    """Fit a number of components of each type; return the rows, and the fits by type.

    Each type is fitted from a start of its own, and from `last`, its fit of fewer components.
    """
    begun = {
        kind: split_start(made[kind], before, choice.X)
        for kind, before in last.items()
        if kind in shared
    }
    calls = [choice.call(one) for one in [*made.values(), *begun.values()]]
    found = runner.run(calls + choice.fold_calls(made.values()))
    own = dict(zip(made, found, strict=False))
    split = dict(zip(begun, found[len(own) :], strict=False))
    held = iter(found[len(calls) :])
    rows, fits = [], {}
    for kind, (fit, figures) in own.items():
        start = "own"
        if kind in split and _is_better(split[kind][0], fit):
            fit, figures = split[kind]
            fit.set_params(**dict.fromkeys(_GIVEN), n_init=made[kind].n_init)
            start = "split"
        parameters = {"n_components": made[kind].n_components, "covariance_type": kind}
        rows.append(parameters | choice.row(fit, figures, held) | {"start": start})
        fits[kind] = fit
    return rows, fits


@documented
def discrete(
    X: MatrixLike,
    n_components: int | Iterable[int] = range(1, 10),
    criterion: str = "bic",
    *,
    estimator: Criteria,
    sample_weight: npt.ArrayLike | None = None,
    cv: Any = 5,
    random_state: RandomStateLike = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Selection:
    """Choose how many components a mixture of categories or counts needs.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The samples.
    n_components : int or iterable of int, default=range(1, 10)
        The numbers to try.
    criterion : {'bic', 'icl', 'aic', 'cv'}, default='bic'
        As for :func:`mixture`.
    estimator : BernoulliMixture, CategoricalMixture, PoissonMixture, ...
        Any mixture of fastem with a method `bic`: the family and the other parameters. Several
        restarts, as ``n_init=10``, are worth their time.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.
    cv : int, splitter of scikit-learn or iterable, default=5
        The folds of 'cv'; of an int, samples are shuffled.
    {running}

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import PoissonMixture, select
    >>> rates = np.repeat([[1, 9], [6, 2]], 100, axis=0)
    >>> X = np.random.default_rng(0).poisson(rates)
    >>> selection = select.discrete(X, range(1, 5), estimator=PoissonMixture(n_init=3),
    ...                             random_state=0)
    >>> selection.best_params_
    {'n_components': 2}
    """
    check_estimator(estimator, Criteria, "a mixture with a BIC, as PoissonMixture()")
    check_runs(n_jobs, progress)
    choice = _Choice(X, estimator, criterion, sample_weight, cv, random_state, n_jobs)
    made = [choice.made(n_components=k) for k in choice.numbers(n_components)]
    with Runner(n_jobs, progress, len(made) * (1 + choice.n_folds)).open() as runner:
        fits = runner.run([choice.call(one) for one in made] + choice.fold_calls(made))
    held = iter(fits[len(made) :])
    table = [
        {"n_components": one.n_components} | choice.row(fit, figures, held)
        for one, (fit, figures) in zip(made, fits, strict=False)
    ]
    return chosen(criterion, table, ["n_components"], [fit for fit, _ in fits[: len(made)]])


class _Choice:
    """What is the same for all candidates: the data, the folds, the seed."""

    def __init__(self, X, estimator, criterion, sample_weight, cv, random_state, n_jobs):
        check_choice("criterion", criterion, _CRITERIA)
        self.X = X if hasattr(X, "shape") else np.asarray(X)
        self.weight = check_sample_weight(sample_weight, self.X)
        self.estimator, self.n_jobs = estimator, n_jobs
        if random_state is None:
            random_state = estimator.random_state
        # One number, so that every candidate draws the same, in this process or another.
        self.seed = int(check_random_state(random_state).randint(2**31 - 1))
        self.folds = []
        if criterion == "cv":
            if isinstance(cv, int | np.integer):
                cv = KFold(cv, shuffle=True, random_state=self.seed)
            self.folds = list(check_cv(cv).split(self.X))
        self.n_folds = len(self.folds)

    def numbers(self, n_components):
        """Return the numbers to try, which must not be more than there are samples."""
        numbers = check_numbers("n_components", n_components)
        n_samples = min([self.X.shape[0], *(len(train) for train, _ in self.folds)])
        if numbers[-1] > n_samples:
            raise ValueError(
                f"n_components must be at most the number of samples in a fit, {n_samples}, got "
                f"{numbers[-1]}"
            )
        return numbers

    def made(self, **parameters):
        return candidate(self.estimator, self.n_jobs, random_state=self.seed, **parameters)

    def call(self, estimator):
        """Return the call that fits an estimator to all the data and reads the criteria off."""
        return _fit, estimator, self.X, self.weight

    def fold_calls(self, estimators):
        """Return the calls that fit estimators to each fold."""
        return [
            (_fold, clone(one), self.X, self.weight, *fold)
            for one in estimators
            for fold in self.folds
        ]

    def row(self, fit, figures, held):
        """Return the figures of a fit and of the next folds of `held` as a row of the table."""
        figures, error = of_folds(fit, figures, list(islice(held, self.n_folds)))
        failed = error is not None
        return {
            "n_parameters": None if failed else fit.n_parameters,
            **figures,
            "n_iter": None if failed else fit.n_iter_,
            "converged": None if failed else fit.converged_,
            "error": str(error) if failed else None,
        }


def _fit(estimator, X, weight):
    """Return a fitted estimator, or the error, and its criteria."""
    fit = attempt(estimator, X, sample_weight=weight)
    if isinstance(fit, ValueError):
        return fit, dict.fromkeys(("log_likelihood", "bic", "aic", "icl"), math.nan)
    total = float(X.shape[0] if weight is None else weight.sum())
    log_likelihood = fit.score(X, sample_weight=weight) * total
    bic = -2 * log_likelihood + fit.n_parameters * math.log(total)
    return fit, {
        "log_likelihood": log_likelihood,
        "bic": bic,
        "aic": -2 * log_likelihood + 2 * fit.n_parameters,
        "icl": bic + 2 * fit.entropy(X, weight),
    }


def _fold(estimator, X, weight, train, test):
    """Return the mean log-likelihood of a fold's test samples, or the error."""
    own, others = (None, None) if weight is None else (weight[train], weight[test])
    fit = attempt(estimator, _rows(X, train), sample_weight=own)
    return held_out(fit, lambda: fit.score(_rows(X, test), sample_weight=others))


def _rows(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def _is_better(fit, than):
    """Return whether a fit can be used and another cannot, or has a lower bound."""
    if isinstance(fit, ValueError):
        return False
    return isinstance(than, ValueError) or fit.lower_bound_ > than.lower_bound_
