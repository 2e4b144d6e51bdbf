r"""The EM driver: repeat E-step and M-step, watch the bound, stop.

Every model of fastem is fitted by :func:`fit`, and so can yours be. A model is any object with
two methods::

    e_step(params, block) -> Statistics     sums over the block, which add
    m_step(statistics) -> params            new parameters from the summed statistics

`params` is whatever your M-step returns; the driver never opens it. The statistics of the blocks
are added, so one block or many give the same fit, on one machine or on several: see `executor` of
:func:`fit`. The E-step must be pure: it changes neither the model nor what it is given.

What else a model may offer is declared, one protocol for each: :class:`Prior` (``log_prior``, of
a model that maximises a posterior), :class:`Bounding` (``lower_bound``, of one that computes its
bound when the M-step is made), :class:`RowState` (``first_state``, of one that keeps something
of each row) with :class:`Recycling` and :class:`Overwriting` (of states' memory),
:class:`Continuing` (``m_step_from``), :class:`Stopping` (``converged``, in place of `tol`),
:class:`Stepping` (``step``), :class:`Replacing` (``replace``), :class:`Starting`
(``statistics_of``) and :class:`Falling` (``bound_may_fall``). A model need not inherit from them:
methods of these names are enough.

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
>>> em.fit(TwoCoins(), [rounds], start, max_iter=1, tol=0).params.round(6).tolist()
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

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any, Literal

from sklearn.exceptions import ConvergenceWarning

from fastem._engine.checking import check_arguments, check_model
from fastem._engine.checkpoints import Checkpoint, Keeper
from fastem._engine.course import Course
from fastem._engine.dask import DaskExecutor
from fastem._engine.ending import Ending, better, check_bound
from fastem._engine.executors import FuturesExecutor, LocalExecutor, as_executor
from fastem._engine.fingerprints import describe
from fastem._engine.protocols import (
    Bounding,
    Continuing,
    Executor,
    Falling,
    Model,
    Overwriting,
    Placing,
    Prior,
    Recycling,
    Replacing,
    RowState,
    Starting,
    Stepping,
    Stopping,
    follows,
)
from fastem._engine.schedules import PASSES
from fastem._engine.statistics import Moments, Statistics
from fastem._engine.tree import tree_sum
from fastem._engine.watching import Callback, FunctionCallback, Printer, Result, State

__all__ = [
    "Bounding",
    "Callback",
    "Checkpoint",
    "Continuing",
    "DaskExecutor",
    "Executor",
    "Falling",
    "FuturesExecutor",
    "LocalExecutor",
    "Model",
    "Moments",
    "Overwriting",
    "Placing",
    "Prior",
    "Recycling",
    "Replacing",
    "Result",
    "RowState",
    "Starting",
    "State",
    "Statistics",
    "Stepping",
    "Stopping",
    "fit",
    "tree_sum",
    "watch",
]

#: Who watches the fits that begin in this context: see :func:`watch`.
_WATCHERS: ContextVar[tuple[Any, ...]] = ContextVar("fastem_watchers", default=())


def fit(
    model: Model | RowState,
    blocks: Sequence[Any],
    start: Any,
    *,
    schedule: Literal["batch", "incremental", "stepwise", "squarem"] = "batch",
    executor: Executor | futures.Executor | None = None,
    tol: float = 1e-3,
    max_iter: int = 100,
    evaluate_every: int = 1,
    n_init: int = 1,
    lower_bound: float = -math.inf,
    callbacks: Iterable[Callback | Callable[[State], bool | None]] = (),
    verbose: int = 0,
    verbose_interval: int = 10,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
) -> Result:
    """Fit a model by expectation-maximisation (Dempster, Laird & Rubin 1977).

    Parameters
    ----------
    model : object
        Anything with ``e_step(params, block)`` and ``m_step(statistics)``; see :class:`Model`, and
        the protocols of this module for what else it may have.
    blocks : sequence
        The data: each element goes to the E-step as it is, and their statistics are added by
        :func:`tree_sum`. It is read once an iteration, so a generator is refused.
    start : object or callable
        The first parameters; or a function of the restart's number that returns them.
    schedule : {'batch', 'incremental', 'stepwise', 'squarem'}, default='batch'
        'batch' makes an M-step when every block had its E-step: the bound never falls.
        'incremental' makes one after each block, whose statistics replace those of its last visit
        (Neal & Hinton 1998): far fewer iterations where there are many blocks, at the price of
        keeping every block's statistics. Its first iteration is a batch one, except where the model
        has `statistics_of`. The bound of an iteration sums what each block saw, at the parameters
        of that moment.
        'stepwise' asks the model for ``step(params, statistics, block) -> params`` after each block
        (Cappé & Moulines 2009), which decides how far to go; nothing is kept.
        'squarem' makes an M-step of extrapolated statistics after every third pass (Varadhan &
        Roland 2008), and goes back where the bound is then lower: far fewer passes where EM
        converges slowly. The bound never falls; but an iteration whose extrapolation fails takes
        up to four passes. Not for a model that keeps a state of its rows.
    executor : Executor or concurrent.futures.Executor, default=None
        Where the E-steps of a 'batch' or 'squarem' fit run: an object with ``sum(e_step, params,
        shards)``, or a pool of threads or processes. None: here, one after another. The result has
        the same bits for all of them.
    tol : float, default=1e-3
        Stop when the bound changes by less than this: per unit weight, unless the model computes it
        itself. 0 never stops early. Not looked at if the model has a measure of its own.
    max_iter : int, default=100
        The largest number of iterations; 0 returns the start.
    evaluate_every : int, default=1
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
    checkpoint : Checkpoint or path, default=None
        Where the fit is written to as it goes; a fit that finds itself there goes on, and ends with
        the same bits: see :class:`Checkpoint`. `start`, if it is a function, is called again for
        the finished restarts, so that its random numbers stay the same; functions among the
        callbacks keep nothing of what they saw. Parameters and rows' states must be numbers,
        arrays, named tuples, dataclasses, lists or dicts of these.

    Returns
    -------
    result : Result
        The restart with the largest bound.

    Raises
    ------
    TypeError
        If `blocks` can be read only once or is a single array, `model` is a class or lacks a
        method, or an E-step does not return Statistics.
    ValueError
        If an argument is out of range, or the bound is not finite: the message names the
        iteration.
    KeyboardInterrupt
        On Ctrl-C. The exception's attribute ``result`` is the best result up to the last whole
        iteration, or None if there was none.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If `max_iter` iterations were not enough for `tol`; once, if the bound of a batch fit fell,
        which then is not taken for convergence.
    """
    check_model(model, schedule)
    check_arguments(blocks, start, schedule, executor, tol, max_iter, evaluate_every, n_init)
    settings: dict[str, Any] = {
        "schedule": schedule, "tol": tol, "max_iter": max_iter, "evaluate_every": evaluate_every,
        "n_init": n_init, "lower_bound": lower_bound,
    }  # fmt: skip
    keeper = None
    if checkpoint is not None:
        seen = {"model": model, "blocks": list(islice(blocks, 8))}
        keeper = Keeper(checkpoint, {"fit": describe(settings | seen)})
    result = run(
        model, blocks, start,
        **settings, executor=executor, callbacks=callbacks, verbose=verbose,
        verbose_interval=verbose_interval, keeper=keeper,
    )  # fmt: skip
    asked = tol > 0 or follows(model, Stopping)
    if asked and not result.converged and 0 < max_iter == result.n_iter:
        warnings.warn(
            f"the fit did not converge in max_iter={max_iter} iterations: increase max_iter or "
            f"tol={tol:g}, or set tol=0 if so many iterations are what you want",
            ConvergenceWarning,
            stacklevel=2,
        )
    return result


@contextmanager
def watch(*callbacks: Callback | Callable[[State], bool | None]) -> Iterator[None]:
    """Let callbacks watch every fit that begins within a ``with`` block, of any estimator.

    Parameters
    ----------
    *callbacks : Callback or callable
        See :class:`Callback`; a function is called at the end of each iteration, and ends the
        restart where it returns True. They come after those of the enclosing block.

    Notes
    -----
    A fit in another thread or process, such as joblib's, is not watched, and neither is one that a
    watched fit makes for its own start.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GaussianMixture, em
    >>> X = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> bounds = []
    >>> with em.watch(lambda state: bounds.append(state.lower_bound)):
    ...     mixture = GaussianMixture(2, random_state=0).fit(X)
    >>> bounds == mixture.lower_bounds_
    True
    """
    outside = _WATCHERS.set((*_WATCHERS.get(), *callbacks))
    try:
        yield
    finally:
        _WATCHERS.reset(outside)


def is_watched() -> bool:
    """Return whether callbacks of :func:`watch` see the fits that begin here and now."""
    return bool(_WATCHERS.get())


def run(
    model: Any,
    blocks: Any,
    start: Any,
    *,
    schedule: str,
    tol: float,
    max_iter: int,
    evaluate_every: int,
    n_init: int,
    lower_bound: float,
    callbacks: Iterable[Any],
    verbose: int,
    verbose_interval: int,
    executor: Any = None,
    keeper: Keeper | None = None,
) -> Result:
    """Do what :func:`fit` does with checked arguments; who calls says that it did not converge."""
    callbacks = [*callbacks, *_WATCHERS.get()]
    watchers = [c if isinstance(c, Callback) else FunctionCallback(c) for c in callbacks]
    if verbose:
        watchers.append(Printer(verbose, verbose_interval))
    executor = as_executor(executor)
    if follows(executor, Placing):
        blocks = executor.place(blocks)
    outside = _WATCHERS.set(())  # a fit within this one, such as for its start, is not watched
    ending = Ending(model, schedule, tol)
    course = Course(keeper, ending, watchers, getattr(executor, "bring", None))
    current = None
    try:
        for init in range(n_init):
            # No name for the first parameters: they would stay in memory to the end.
            current = Result(start(init) if callable(start) else start, -math.inf, [], 0, False)
            if course.is_over(init, current.params):
                continue
            for watcher in watchers:
                watcher.on_init_begin(init)
                watcher.on_start(init, current.params)
            one_pass = PASSES[schedule](model, blocks, executor)
            ending.begin(lower_bound)
            current = course.begin(init, one_pass, current)
            for result in _iterate(
                one_pass, current, init, max_iter, evaluate_every, ending, watchers, course
            ):
                current = result  # a whole iteration, which an interrupt can return
            for watcher in watchers:
                watcher.on_init_end(init, current)
            course.end(init, current, last=init == n_init - 1)
            current = None
    except KeyboardInterrupt as interrupt:
        best = course.best
        if current is not None and current.n_iter > 0:
            best = better(best, current)
        interrupt.result = best  # type: ignore[attr-defined]
        raise
    finally:
        _WATCHERS.reset(outside)
    assert course.best is not None
    return course.best


def _iterate(
    one_pass, current, init, max_iter, evaluate_every, ending, watchers, course
) -> Iterator[Result]:
    """Yield the result after each whole iteration of one restart, from `current` on."""
    params, lower_bounds = current.params, list(current.lower_bounds)
    begin, current = current.n_iter + 1, None
    for iteration in range(begin, max_iter + 1):
        for watcher in watchers:
            watcher.on_iteration_begin(init, iteration)
        check = iteration % evaluate_every == 0 or iteration == max_iter
        before = params
        bound, params = one_pass(before, check)
        change = math.nan
        if check:
            check_bound(bound, init, iteration)
            lower_bounds.append(bound)
            change = ending.see(bound, iteration)
        converged = ending.converged(before, params) and not one_pass.leapt
        states = [one_pass.states[n] for n in sorted(one_pass.states)] if one_pass.states else []
        result = Result(params, ending.lower_bound, lower_bounds, iteration, converged, states)
        yield result
        stops: list[bool | None] = []
        if watchers:
            state = State(init, iteration, params, ending.lower_bound, change, states)
            # Every watcher sees the iteration, also when an earlier one asks to stop.
            stops = [watcher.on_iteration_end(state) for watcher in watchers]
        if converged or any(stops):
            return
        course.iterated(init, one_pass, result)
