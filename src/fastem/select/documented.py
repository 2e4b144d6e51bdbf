"""What the docstrings of all functions that choose have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["documented"]

_Function = TypeVar("_Function", bound=Callable[..., object])

_RUNNING = """\
    random_state : int, RandomState instance or None, default=None
        Seed of all that is random; None: the estimator's.
    n_jobs : int, default=None
        Number of fits at a time, by joblib; None is 1, whose fits use all cores themselves.
    progress : bool, default=False
        Show a bar of progress.

    Returns
    -------
    selection : Selection
        The table, the best estimator, a picture.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or no candidate can be fitted.

    Warns
    -----
    UserWarning
        If the best is at the edge of the range of numbers.
    ConvergenceWarning
        If the best did not converge.
"""


def documented(function: _Function) -> _Function:
    """Put what all functions have, from `random_state` on, into a docstring in place of a mark."""
    if function.__doc__ is not None:  # python -OO has none
        function.__doc__ = function.__doc__.replace("    {running}\n", _RUNNING)
    return function
