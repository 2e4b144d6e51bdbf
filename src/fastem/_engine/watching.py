"""What a fit tells its callbacks, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

__all__ = ["Callback", "FunctionCallback", "Printer", "Result", "State"]


class State(NamedTuple):
    """What a callback sees at the end of an iteration.

    Attributes
    ----------
    init : int
        Number of the restart, from 0.
    iteration : int
        Number of the iteration in this restart, from 1.
    params : object
        The parameters after this iteration's M-step.
    lower_bound : float
        The bound per unit weight, at the parameters that this iteration's E-step was given.
    change : float
        Its change since the last look; inf at the first. nan in an iteration without a look, in
        which `lower_bound` is the last one.
    states : list
        The rows' state of each block, of a model with :class:`fastem.em.RowState`; else empty.
        Copy what is to be kept: their memory may be used again later in the fit.
    """

    init: int
    iteration: int
    params: Any
    lower_bound: float
    change: float
    states: list[Any] = []  # noqa: RUF012  (never changed)


class Result(NamedTuple):
    """What :func:`fit` returns: the restart with the largest bound.

    Attributes
    ----------
    params : object
        The parameters after the last M-step.
    lower_bound : float
        The bound per unit weight, as the last E-step saw it; -inf if ``max_iter=0``.
    lower_bounds : list of float
        The bound of every iteration that looked at it.
    n_iter : int
        Number of iterations.
    converged : bool
        Whether the last iteration changed the bound by less than `tol`, or the model said so.
    states : list
        The rows' state of each block, of a model with :class:`fastem.em.RowState`; else empty.
    """

    params: Any
    lower_bound: float
    lower_bounds: list[float]
    n_iter: int
    converged: bool
    states: list[Any] = []  # noqa: RUF012  (never changed)


class Callback:
    """Watches a fit; override what you need.

    A plain function may be given in its place: it is called as ``on_iteration_end``.
    """

    def on_init_begin(self, init: int) -> None:
        """Restart number `init` begins."""

    def on_start(self, init: int, params: Any) -> None:
        """Restart number `init` has its first parameters."""

    def on_iteration_begin(self, init: int, iteration: int) -> None:
        """Iteration number `iteration` (from 1) begins."""

    def on_iteration_end(self, state: State) -> bool | None:
        """Handle a whole iteration; return True to stop this restart here."""

    def on_init_end(self, init: int, result: Result) -> None:
        """Restart number `init` ended with `result`."""

    def get_state(self) -> Any:
        """Return what the callback must know again where a fit goes on from a checkpoint.

        None, numbers, arrays, named tuples, dataclasses, lists or dicts of these.
        """
        return None

    def set_state(self, state: Any) -> None:
        """Take a state, unless that is None: after `on_start` of the restart that goes on."""


class FunctionCallback(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[State], bool | None]) -> None:
        self.on_iteration_end = function  # type: ignore[method-assign, assignment]


class Printer(Callback):
    """Prints progress in scikit-learn's words, which people's log parsers know."""

    def __init__(self, verbose: int, interval: int) -> None:
        self.verbose, self.interval = verbose, interval

    def on_init_begin(self, init: int) -> None:
        print(f"Initialization {init}")
        self.init_time = self.iteration_time = perf_counter()

    def on_iteration_end(self, state: State) -> None:
        if state.iteration % self.interval:
            return
        line = f"  Iteration {state.iteration}"
        if self.verbose >= 2:
            now = perf_counter()
            elapsed, self.iteration_time = now - self.iteration_time, now
            line += f"\t time lapse {elapsed:.5f}s\t ll change {state.change:.5f}"
        print(line)

    def on_init_end(self, init: int, result: Result) -> None:
        if result.n_iter == 0:
            return
        line = f"Initialization {'converged' if result.converged else 'did not converge'}."
        if self.verbose >= 2:
            elapsed = perf_counter() - self.init_time
            line += f" time lapse {elapsed:.5f}s\t lower bound {result.lower_bound:.5f}."
        print(line)
