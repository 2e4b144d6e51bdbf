"""How candidates are fitted: in parallel, with progress, and with their errors in the table."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterable
from contextlib import contextmanager, nullcontext
from numbers import Integral
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastem._base import check_flag

__all__ = [
    "Runner",
    "attempt",
    "candidate",
    "check_choice",
    "check_estimator",
    "check_number",
    "check_numbers",
    "check_runs",
    "held_out",
    "kinds_of",
    "of_folds",
]


class Runner:
    """Calls functions in joblib's workers, and shows how many have returned.

    Parameters
    ----------
    n_jobs : int or None
        As joblib has it.
    progress : bool
    total : int
        Number of calls to come.
    """

    def __init__(self, n_jobs, progress, total):
        self.size = joblib.effective_n_jobs(n_jobs)
        self.parallel = joblib.Parallel(n_jobs=n_jobs)
        self.progress = progress
        self.bar: Any = _bar(total) if progress else nullcontext()

    @contextmanager
    def open(self):
        """Keep the workers for all calls of ``run``."""
        with self.bar, _without_convergence_warnings(), self.parallel:
            yield self

    def run(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Return what each (function, *arguments) returns, in their order."""
        found: list[Any] = []
        step = self.size if self.progress else len(calls)  # the bar moves between batches
        for begin in range(0, len(calls), max(1, step)):
            some = calls[begin : begin + step]
            found += self.parallel(joblib.delayed(_call)(*call) for call in some)
            if self.progress:
                self.bar.advance(self.bar.task_ids[0], len(some))
        return found


def _bar(total):
    """Return a bar of progress on stderr, which names the fits that are done and that there are."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("fits", total=total)
    return bar


def _call(function, *arguments):
    """Call a function in a worker."""
    if threading.current_thread() is not threading.main_thread():
        return function(*arguments)  # filters belong to the process, where ``open`` has set them
    with _without_convergence_warnings():
        return function(*arguments)


@contextmanager
def _without_convergence_warnings():
    """Leave out the warnings of fits that do not converge: the table tells of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def check_estimator(estimator, kinds, words):
    """Raise TypeError unless an estimator is one of fastem's kinds that `words` name."""
    if isinstance(estimator, type):
        raise TypeError(f"estimator must be an instance, got a class: {estimator.__name__}()")
    if not isinstance(estimator, kinds):
        raise TypeError(f"estimator must be {words}, got {type(estimator).__name__}")


def check_runs(n_jobs, progress):
    """Raise ValueError or TypeError unless candidates can be fitted so."""
    if n_jobs is not None and (not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool)):
        raise TypeError(f"n_jobs must be an integer or None, got {n_jobs!r}")
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0: 1 fits one after another, -1 uses all cores")
    check_flag("progress", progress)


def attempt(estimator, *arguments, **settings):
    """Return the fitted estimator, or the error that says why it cannot be fitted."""
    try:
        return estimator.fit(*arguments, **settings)
    except ValueError as error:
        return error


def held_out(fit, score):
    """Return what `score()` tells of samples that a fit has not seen, or why it cannot.

    `fit` may be the error of the fit itself.
    """
    if isinstance(fit, ValueError):
        return fit
    try:
        return score()
    except ValueError as error:  # a category, say, that the fold's fit does not know
        return error


def of_folds(fit, figures, scores):
    """Return the figures of a candidate with those of its folds, and its error or None.

    Folds that a model calls impossible have a score of -inf, and no standard deviation.
    """
    error = fit if isinstance(fit, ValueError) else None
    if not scores:
        return figures, error
    lost = [one for one in scores if isinstance(one, ValueError)]
    error = error or (lost[0] if lost else None)
    scores = [math.nan] if error else scores
    with np.errstate(invalid="ignore"):
        return figures | {"cv": float(np.mean(scores)), "cv_std": float(np.std(scores))}, error


def candidate(estimator, n_jobs, **parameters):
    """Return an unfitted copy with other parameters, checked; in a worker it uses one thread."""
    made = clone(estimator).set_params(**parameters)
    if joblib.effective_n_jobs(n_jobs) > 1 and made.get_params().get("n_jobs", 1) is None:
        made.set_params(n_jobs=1)
    made._validate_params()
    return made


def check_numbers(name: str, numbers: Any, least: int = 1) -> list[int]:
    """Return numbers of components, sorted; or say what is wrong with them."""
    given = [numbers] if isinstance(numbers, Integral) else numbers
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise TypeError(f"{name} must be integers, such as range(1, 10), got {numbers!r}")
    found = list(given)
    if not found:
        raise ValueError(f"{name} must have one number at least, got none")
    for number in found:
        check_number(name, number, least)
    return sorted({int(number) for number in found})


def check_number(name: str, number: Any, least: int) -> None:
    """Raise TypeError or ValueError unless a value is an integer, and large enough."""
    if not isinstance(number, Integral) or isinstance(number, bool):
        raise TypeError(f"{name} must be an integer, got {number!r}")
    if number < least:
        raise ValueError(f"{name} must be at least {least} here, got {number}")


def check_choice(name, value, allowed):
    """Raise ValueError unless a value is one of those that are allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def kinds_of(name, kinds):
    """Return types by name as a list without duplicates."""
    if not isinstance(kinds, Iterable):
        raise TypeError(f"{name} must be a type's name, or several, got {kinds!r}")
    given = [kinds] if isinstance(kinds, str) else list(kinds)
    if not given:
        raise ValueError(f"{name} must have one type at least, got none")
    return list(dict.fromkeys(given))
