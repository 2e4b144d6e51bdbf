"""Where E-steps run: here one after another, or on the workers of a concurrent.futures pool."""

from __future__ import annotations

import concurrent.futures as futures
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastem._engine.protocols import Executor, Overwriting, Recycling, RowState, follows
from fastem._engine.statistics import AddsInPlace, Statistics
from fastem._engine.tree import FAN_IN, tree_sum

__all__ = [
    "EStep",
    "FuturesExecutor",
    "LocalExecutor",
    "Shard",
    "as_executor",
    "overwrites",
    "recycles",
]


class Shard(NamedTuple):
    """One block of data with what an E-step on it needs beside the parameters."""

    number: int
    block: Any
    state: Any = None  # of the block's rows, of a model that has RowState
    spare: Any = None  # a state that nobody needs, whose memory may be written over; or `state`


class RowStates(AddsInPlace, dict):
    """The new states of shards by their number: a statistic, which travels with the sums."""

    def __add__(self, other: RowStates) -> RowStates:
        return RowStates(self | other)

    def add(self, other: RowStates) -> None:
        """Add other states to these, in place."""
        self.update(other)


def recycles(model: Any) -> bool:
    """Return whether the model takes the memory of states that nobody needs."""
    return follows(model, Recycling) and model.recycles


def overwrites(model: Any) -> bool:
    """Return whether the model may write over the state that it is given."""
    return follows(model, Overwriting) and model.overwrites


class EStep:
    """The E-step of a model on a shard, as executors call it: it can be pickled.

    Parameters
    ----------
    model : Model
    bound : bool
        Whether somebody will look at the bound.
    in_place : bool, default=False
        Whether states are written over.
    """

    def __init__(self, model: Any, bound: bool = True, in_place: bool = False) -> None:
        self.model, self.asked = model, {} if bound else {"bound": False}
        self.has_state = follows(model, RowState)
        self.recycles, self.in_place = recycles(model) or overwrites(model), in_place

    def __call__(self, params: Any, shard: Shard) -> Statistics:
        """Return the shard's statistics; of a model with RowState with the new state among them."""
        model = self.model
        if not self.has_state:
            return self._checked(model.e_step(params, shard.block, **self.asked))
        asked, state, spare = dict(self.asked), shard.state, shard.spare
        if state is None:  # made where the E-step is: the block may be far from the driver
            state = model.first_state(params, shard.block)
            spare = state if self.in_place else None
        if self.recycles and spare is not None:
            asked["spare"] = spare
        pair = model.e_step(params, shard.block, state, **asked)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                f"{type(model).__name__} has first_state, so its e_step must return "
                f"(statistics, state), got {type(pair).__name__}"
            )
        statistics = self._checked(pair[0])
        states = RowStates({shard.number: pair[1]})
        return Statistics(**vars(statistics), row_states=states)

    def _checked(self, statistics: Any) -> Statistics:
        if not isinstance(statistics, Statistics):
            raise TypeError(
                f"{type(self.model).__name__}.e_step must return fastem.em.Statistics, "
                f"got {type(statistics).__name__}"
            )
        return statistics


class LocalExecutor:
    """E-steps one after another in this thread; each may use threads of its own.

    Examples
    --------
    >>> from fastem import em
    >>> em.LocalExecutor()
    LocalExecutor()
    """

    def __repr__(self) -> str:
        return "LocalExecutor()"

    def sum(self, e_step: Any, params: Any, shards: Sequence[Any], /) -> Statistics:
        """Return the sum of ``e_step(params, shard)`` over the shards."""
        return tree_sum(e_step(params, shard) for shard in shards)


class FuturesExecutor:
    """E-steps on the workers of a :class:`concurrent.futures.Executor`.

    Threads share the data. To processes every block and every row's state travels in every
    iteration: that pays where an E-step takes longer than to pickle its block. The bits are those
    of a :class:`LocalExecutor`, whatever the workers are and however many.

    Parameters
    ----------
    pool : concurrent.futures.Executor
        Such as a ThreadPoolExecutor or a ProcessPoolExecutor. It is not shut down here.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import numpy as np
    >>> from fastem import em
    >>> class Mean:
    ...     def e_step(self, mean, x):
    ...         bound = -0.5 * ((x - mean) ** 2).sum()
    ...         return em.Statistics(bound=bound, weight=len(x), total=x.sum())
    ...     def m_step(self, statistics):
    ...         return statistics.total / statistics.weight
    >>> blocks = [np.array([1.0, 2.0]), np.array([6.0])]
    >>> with ThreadPoolExecutor(2) as pool:
    ...     result = em.fit(Mean(), blocks, 0.0, executor=em.FuturesExecutor(pool))
    >>> float(result.params)
    3.0
    """

    def __init__(self, pool: futures.Executor) -> None:
        self.pool = pool

    def __repr__(self) -> str:
        return f"FuturesExecutor({self.pool!r})"

    def sum(self, e_step: Any, params: Any, shards: Sequence[Any], /) -> Statistics:
        """Return the sum of ``e_step(params, shard)`` over the shards."""
        shards = list(shards)
        # Few blocks: a task for each. Many: a task for a subtree, which adds its own.
        size = 1 if len(shards) <= FAN_IN**2 else FAN_IN
        tasks = [
            self.pool.submit(_sum_of, e_step, params, shards[at : at + size])
            for at in range(0, len(shards), size)
        ]
        try:
            return tree_sum(task.result() for task in tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise


def _sum_of(e_step, params, shards):
    """Return the sum over some shards that are a subtree."""
    return tree_sum(e_step(params, shard) for shard in shards)


def as_executor(executor: Any) -> Executor:
    """Return what ``fit(executor=...)`` was given as an executor."""
    if executor is None:
        return LocalExecutor()
    if isinstance(executor, futures.Executor):
        return FuturesExecutor(executor)
    if not callable(getattr(executor, "sum", None)) or isinstance(executor, type):
        raise TypeError(
            "executor must be None, a concurrent.futures.Executor, or an object with a method "
            f"sum(e_step, params, shards), got {executor!r}"
        )
    return executor
