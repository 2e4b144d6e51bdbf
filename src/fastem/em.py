r"""The EM driver: repeat E-step and M-step, watch the bound, stop.

Every model of fastem is fitted by :func:`fit`, and so can yours be. A model is any object with
two methods::

    e_step(params, block) -> Statistics     sums over the block, which add
    m_step(statistics) -> params            new parameters from the summed statistics

`params` is whatever your M-step returns; the driver never opens it. The statistics of the blocks
are added, so one block or many give the same fit. A model that maximises a posterior adds
``log_prior(params) -> float``; one that is fitted incrementally may add ``replace(params, block,
old, total, bound) -> Statistics``, which does an E-step and ``total += new - old`` at once, and may
write the new statistics over the old ones, and ``statistics_of(params) -> Statistics``, which would
give these parameters: they then stand in for the blocks that the first pass has not come to. A
model with a stopping measure of its own adds ``converged(before, after) -> bool``, of the
parameters before and after an iteration: the fit then stops by that alone, and not by `tol`.

Examples
--------
Two coins (Do & Batzoglou 2008, *What is the expectation maximization algorithm?*, Nature
Biotechnology 26:897): each of five rounds tosses one of two coins ten times, and nobody wrote
down which. The whole model:

>>> import numpy as np
>>> from fastem import em
>>> class TwoCoins:
...     def e_step(self, bias, heads):
...         likelihood = bias ** heads[:, None] * (1 - bias) ** (10 - heads[:, None])
...         responsibilities = likelihood / likelihood.sum(axis=1, keepdims=True)
...         return em.Statistics(
...             bound=np.log(likelihood.mean(axis=1)).sum(),
...             weight=len(heads),
...             heads=heads @ responsibilities,
...             tosses=10 * responsibilities.sum(axis=0),
...         )
...     def m_step(self, statistics):
...         return statistics.heads / statistics.tosses
>>> rounds = np.array([5, 9, 8, 4, 7])
>>> start = np.array([0.6, 0.5])
>>> em.fit(TwoCoins(), [rounds], start, max_iter=1).params.round(6).tolist()
[0.713012, 0.581339]
>>> result = em.fit(TwoCoins(), [rounds], start, max_iter=10, tol=0)
>>> result.params.round(6).tolist()
[0.796744, 0.519659]

The bound of every iteration is kept, and the data may come in blocks, after each of which
``schedule="incremental"`` makes an M-step:

>>> bool(np.all(np.diff(result.lower_bounds) > 0))
True
>>> blocks = [rounds[:2], rounds[2:]]
>>> em.fit(TwoCoins(), blocks, start, max_iter=10, tol=0).params.round(6).tolist()
[0.796744, 0.519659]
>>> incremental = em.fit(TwoCoins(), blocks, start, schedule="incremental", max_iter=10, tol=0)
>>> incremental.params.round(6).tolist()
[0.796784, 0.519595]
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from time import perf_counter
from typing import Any, Literal, NamedTuple, Protocol

from fastem._engine.statistics import Moments, Statistics

__all__ = ["Callback", "Model", "Moments", "Result", "State", "Statistics", "fit"]


class Model(Protocol):
    """What :func:`fit` asks of a model."""

    def e_step(self, params: Any, block: Any) -> Statistics:
        """Return the statistics of one block at the given parameters.

        Only a model that is fitted with ``check_every > 1`` needs to take ``bound=False``, which
        says that nobody will look at the bound.
        """

    def m_step(self, statistics: Statistics) -> Any:
        """Return the parameters that maximise the expected log-likelihood."""


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
    """

    init: int
    iteration: int
    params: Any
    lower_bound: float
    change: float


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
    """

    params: Any
    lower_bound: float
    lower_bounds: list[float]
    n_iter: int
    converged: bool


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


def fit(
    model: Model,
    blocks: Sequence[Any],
    start: Any,
    *,
    schedule: Literal["batch", "incremental", "stepwise"] = "batch",
    tol: float = 1e-3,
    max_iter: int = 100,
    check_every: int = 1,
    n_init: int = 1,
    lower_bound: float = -math.inf,
    callbacks: Iterable[Callback | Callable[[State], bool | None]] = (),
    verbose: int = 0,
    verbose_interval: int = 10,
) -> Result:
    """Fit a model by expectation-maximisation (Dempster, Laird & Rubin 1977).

    Parameters
    ----------
    model : object
        Anything with ``e_step(params, block)`` and ``m_step(statistics)``; see :class:`Model`.
        If it has ``log_prior(params)``, that is added to the bound.
    blocks : sequence
        The data: each element goes to the E-step as it is, and their statistics are added in
        order. It is read once an iteration, so a generator is refused.
    start : object or callable
        The first parameters; or a function of the restart's number that returns them.
    schedule : {'batch', 'incremental', 'stepwise'}, default='batch'
        'batch' makes an M-step when every block had its E-step: the bound never falls.
        'incremental' makes one after each block, whose statistics replace those of its last visit
        (Neal & Hinton 1998): far fewer iterations where there are many blocks, at the price of
        keeping every block's statistics. Its first iteration is a batch one, except where the model
        has `statistics_of`. The bound of an iteration sums what each block saw, at the parameters
        of that moment.
        'stepwise' asks the model for ``step(params, statistics, block) -> params`` after each block
        (Cappé & Moulines 2009), which decides how far to go; nothing is kept.
    tol : float, default=1e-3
        Stop when the bound per unit weight changes by less than this. 0 never stops early. Not
        looked at if the model has a measure of its own.
    max_iter : int, default=100
        The largest number of iterations; 0 returns the start.
    check_every : int, default=1
        Look at the bound in every so many iterations, and in the last: where it costs time.
        `lower_bounds` then has those alone.
    n_init : int, default=1
        Number of restarts. More than one needs a callable `start`.
    lower_bound : float, default=-inf
        The bound that the first iteration is compared with, to go on from an earlier fit.
    callbacks : iterable of Callback or callable, default=()
        See :class:`Callback`. The first True that one returns ends the restart, not converged.
    verbose : {0, 1, 2}, default=0
        1 prints each restart and every `verbose_interval`-th iteration; 2 adds times and bounds.
    verbose_interval : int, default=10
        Number of iterations between two lines.

    Returns
    -------
    result : Result
        The restart with the largest bound.

    Raises
    ------
    TypeError
        If `blocks` can be read only once, or an E-step does not return Statistics.
    ValueError
        If an argument is out of range, or the bound is not finite: the message names the
        iteration.
    KeyboardInterrupt
        On Ctrl-C. The exception's attribute ``result`` is the best result up to the last whole
        iteration, or None if there was none.
    """
    _check_arguments(blocks, start, schedule, tol, max_iter, check_every, n_init)
    watchers = [c if isinstance(c, Callback) else _Function(c) for c in callbacks]
    if verbose:
        watchers.append(_Printer(verbose, verbose_interval))
    stop = getattr(model, "converged", None)
    best = current = None
    try:
        for init in range(n_init):
            # No name for the first parameters: they would stay in memory to the end.
            current = Result(start(init) if callable(start) else start, -math.inf, [], 0, False)
            for watcher in watchers:
                watcher.on_init_begin(init)
                watcher.on_start(init, current.params)
            one_pass = _PASSES[schedule](model, blocks)
            for result in _iterate(
                one_pass,
                current.params,
                init,
                max_iter,
                check_every,
                tol,
                stop,
                lower_bound,
                watchers,
            ):
                current = result  # whole: what an interrupt leaves
            for watcher in watchers:
                watcher.on_init_end(init, current)
            best = _better(best, current)
            current = None
    except KeyboardInterrupt as interrupt:
        if current is not None and current.n_iter > 0:
            best = _better(best, current)
        interrupt.result = best  # type: ignore[attr-defined]
        raise
    assert best is not None
    return best


def _iterate(
    one_pass, params, init, max_iter, check_every, tol, stop, lower_bound, watchers
) -> Iterator[Result]:
    """Yield the result after each whole iteration of one restart."""
    lower_bounds: list[float] = []
    converged = False
    for iteration in range(1, max_iter + 1):
        for watcher in watchers:
            watcher.on_iteration_begin(init, iteration)
        check = iteration % check_every == 0 or iteration == max_iter
        before = params
        bound, params = one_pass(before, check)
        change = math.nan
        if check:
            previous, lower_bound = lower_bound, bound
            _check_bound(lower_bound, init, iteration)
            lower_bounds.append(lower_bound)
            change = lower_bound - previous
            converged = abs(change) < tol
        if stop is not None:
            converged = stop(before, params)
        yield Result(params, lower_bound, lower_bounds, iteration, converged)
        state = State(init, iteration, params, lower_bound, change)
        # Every watcher sees the iteration, also when an earlier one asks to stop.
        stops = [watcher.on_iteration_end(state) for watcher in watchers]
        if converged or any(stops):
            return


class _Batch:
    """One pass: every block at the same parameters, then one M-step."""

    def __init__(self, model, blocks) -> None:
        self.model, self.blocks = model, blocks
        self.log_prior = getattr(model, "log_prior", None)

    def __call__(self, params, check: bool) -> tuple[float, Any]:
        """Return the bound per unit weight, at these parameters, and the new parameters."""
        statistics = (self.expect(params, block, check) for block in self.blocks)
        total = functools.reduce(operator.add, statistics)
        return self.bound(total, params, check), self.model.m_step(total)

    def expect(self, params, block, check) -> Statistics:
        """Return the statistics of one block: the E-step."""
        asked = {} if check else {"bound": False}
        statistics = self.model.e_step(params, block, **asked)
        if not isinstance(statistics, Statistics):
            raise TypeError(
                f"{type(self.model).__name__}.e_step must return fastem.em.Statistics, "
                f"got {type(statistics).__name__}"
            )
        return statistics

    def bound(self, statistics, params, check) -> float:
        """Return the bound per unit weight; nan where it was not asked for."""
        if not check:
            return math.nan
        bound = statistics.bound
        if self.log_prior is not None:
            bound = bound + self.log_prior(params)
        return float(bound / statistics.weight)


class _Incremental(_Batch):
    """One pass: an M-step after each block, whose new statistics replace its old ones.

    The first pass is a batch one; of a model that can say what its start stands for, it is not.
    """

    FADINGS = 16

    def __init__(self, model, blocks) -> None:
        super().__init__(model, list(blocks))
        self.latest: list[Statistics] = []
        self.total: Any = None

    def __call__(self, params, check: bool) -> tuple[float, Any]:
        start = params
        if self.latest:
            params = self.sweep(params, check)
        elif hasattr(self.model, "statistics_of"):
            params = self.join(params, check)
        else:
            self.latest = [self.expect(params, block, check) for block in self.blocks]
            self.total = self.sum()
            params = self.model.m_step(self.total)
        bound = sum(statistics.bound for statistics in self.latest)
        weight = sum(statistics.weight for statistics in self.latest)
        return self.bound(Statistics(bound=bound, weight=weight), start, check), params

    def join(self, params, check):
        """Let the blocks join one after another, while the start's own statistics fade."""
        everyone = len(self.blocks)
        start = self.model.statistics_of(params)
        total, fading = start.copy(), max(1, everyone // self.FADINGS)
        for number, block in enumerate(self.blocks, 1):
            statistics = self.expect(params, block, check)
            self.latest.append(statistics)
            total.add(statistics)
            if number % fading == 0:
                total.add(start * (-fading / everyone))
            params = self.model.m_step(total)
        self.total = self.sum()  # without what is left of the start
        return self.model.m_step(self.total)

    def sum(self):
        """Return the sum of all blocks' latest statistics."""
        total = self.latest[0].copy()
        for statistics in self.latest[1:]:
            total.add(statistics)
        return total

    def sweep(self, params, check):
        """Visit each block; return the last parameters."""
        total = self.total.copy()  # parameters may refer to statistics, and the last pass's stay
        for number, block in enumerate(self.blocks):
            self.latest[number] = self.replace(params, block, self.latest[number], total, check)
            params = self.model.m_step(total)
        self.total = total
        return params

    def replace(self, params, block, old, total, check):
        """Replace a block's old statistics in the total; return its new ones."""
        if hasattr(self.model, "replace"):
            return self.model.replace(params, block, old, total, bound=check)
        statistics = self.expect(params, block, check)
        total.add(statistics - old)
        return statistics


class _Stepwise(_Batch):
    """One pass: a step towards the M-step of each block."""

    def __call__(self, params, check: bool) -> tuple[float, Any]:
        start, bound, weight = params, 0.0, 0.0
        for block in self.blocks:
            statistics = self.expect(params, block, check)
            bound, weight = bound + statistics.bound, weight + statistics.weight
            params = self.model.step(params, statistics, block)
        return self.bound(Statistics(bound=bound, weight=weight), start, check), params


_PASSES = {"batch": _Batch, "incremental": _Incremental, "stepwise": _Stepwise}


def _better(best: Result | None, new: Result) -> Result:
    """Return the result with the larger bound; without iterations, the newer one."""
    if best is None or best.lower_bound == -math.inf or new.lower_bound > best.lower_bound:
        return new
    return best


def _check_bound(lower_bound: float, init: int, iteration: int) -> None:
    if not math.isfinite(lower_bound):
        raise ValueError(
            f"the lower bound is {lower_bound} at iteration {iteration} of initialization {init}: "
            "some samples have no finite density under the current parameters. Check the start "
            "values, scale the data, or regularise the model more strongly."
        )


def _check_arguments(blocks, start, schedule, tol, max_iter, check_every, n_init) -> None:
    if isinstance(blocks, Iterator):
        raise TypeError(
            f"blocks must be readable once an iteration, got a {type(blocks).__name__}: "
            "pass a list, or an object whose __iter__ begins anew"
        )
    if isinstance(blocks, Sized) and len(blocks) == 0:
        raise ValueError("blocks is empty: give at least one block of data")
    if schedule not in _PASSES:
        known = ", ".join(map(repr, _PASSES))
        raise ValueError(f"schedule must be one of {known}, got {schedule!r}")
    if not tol >= 0:
        raise ValueError(f"tol must be >= 0, got {tol!r}")
    if max_iter < 0:
        raise ValueError(f"max_iter must be >= 0, got {max_iter!r}")
    if check_every < 1:
        raise ValueError(f"check_every must be >= 1, got {check_every!r}")
    if n_init < 1:
        raise ValueError(f"n_init must be >= 1, got {n_init!r}")
    if n_init > 1 and not callable(start):
        raise ValueError(
            f"n_init={n_init} restarts from one start would give one result {n_init} times: "
            "pass a function of the restart's number as start"
        )


class _Function(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[State], bool | None]) -> None:
        self.on_iteration_end = function  # type: ignore[method-assign, assignment]


class _Printer(Callback):
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
