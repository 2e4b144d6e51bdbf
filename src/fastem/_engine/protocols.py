"""What the driver asks of a model: two methods, and one Protocol for each thing more.

Arguments are positional-only, so that a model's own names for them do not matter.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol, runtime_checkable

from fastem._engine.statistics import Statistics

__all__ = [
    "Bounding",
    "Continuing",
    "Executor",
    "Falling",
    "Model",
    "Overwriting",
    "Placing",
    "Prior",
    "Recycling",
    "Replacing",
    "RowState",
    "Starting",
    "Stepping",
    "Stopping",
    "follows",
]


@cache
def _members(protocol: type) -> frozenset[str]:
    """Return the names of what a protocol asks for."""
    names = {*dir(protocol)}.union(*(vars(c).get("__annotations__", ()) for c in protocol.__mro__))
    return frozenset(name for name in names if not name.startswith("_"))


def follows(model: Any, protocol: type) -> bool:
    """Return isinstance(model, protocol), whose many questions take longer than a small E-step."""
    return all(getattr(model, name, None) is not None for name in _members(protocol))


class Model(Protocol):
    """What :func:`fastem.em.fit` asks of every model.

    Both methods are pure: they change neither the model nor their arguments, and give the same bits
    when they are called again, in another process, or on copies.
    """

    def e_step(self, params: Any, block: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Return the :class:`Statistics` that one block contributes at the given parameters.

        Only a model that is fitted with ``evaluate_every > 1`` needs to take ``bound=False``, which
        says that nobody will look at the bound. One that keeps something of each row has another
        E-step: see :class:`RowState`.
        """

    def m_step(self, statistics: Any, /) -> Any:
        """Return the parameters that maximise the expected log-likelihood."""


@runtime_checkable
class Prior(Protocol):
    """A model that maximises a posterior density."""

    def log_prior(self, params: Any, /) -> float:
        """Return the log-density of the parameters, which is added to the bound."""


@runtime_checkable
class Bounding(Protocol):
    """A model whose bound is that of the parameters that its M-step makes, as in variational Bayes.

    It is reported as it is, not per unit weight. There is none in a stepwise fit, which keeps no
    statistics of all the data.
    """

    def lower_bound(self, statistics: Any, params: Any, /) -> float:
        """Return the bound, from summed statistics and the parameters made of them."""


@runtime_checkable
class RowState(Protocol):
    """A model that keeps something of each row from one E-step to the next.

    The driver keeps the states beside their blocks, in whatever process that is.
    """

    def e_step(self, params: Any, block: Any, state: Any, /) -> Any:
        """Return the block's :class:`Statistics`, and the next state of its rows."""

    def m_step(self, statistics: Any, /) -> Any:
        """Return the parameters that maximise the expected log-likelihood."""

    def first_state(self, params: Any, block: Any, /) -> Any:
        """Return the state of a block's rows before their first E-step; it may be None."""


@runtime_checkable
class Recycling(RowState, Protocol):
    """A model with :class:`RowState` that takes the memory of states that nobody needs any more."""

    @property
    def recycles(self) -> bool:
        """Whether the E-step may be called with ``spare=``, a state from before the given one.

        The next state may be written over it. Without one, it is written to memory of its own.
        """


@runtime_checkable
class Overwriting(RowState, Protocol):
    """A model with :class:`RowState` whose states are too large to be there twice."""

    @property
    def overwrites(self) -> bool:
        """Whether the E-step may be called with ``spare=``, which is the given state itself.

        It may then be changed and returned. That happens only where the E-step runs in this process
        and once; an interrupt within it leaves no whole state. Without `spare` the state is copied.
        """


@runtime_checkable
class Continuing(Protocol):
    """A model whose M-step goes on from the parameters before it, as generalised EM may."""

    def m_step_from(self, params: Any, statistics: Any, /) -> Any:
        """Return the next parameters; it is called in place of ``m_step``."""


@runtime_checkable
class Stopping(Protocol):
    """A model with a stopping measure of its own, which takes the place of `tol`."""

    def converged(self, before: Any, after: Any, /) -> bool:
        """Return whether a fit may stop, from the parameters before and after an iteration."""


@runtime_checkable
class Stepping(Protocol):
    """A model for ``schedule='stepwise'``."""

    def step(self, params: Any, statistics: Any, block: Any, /) -> Any:
        """Return the parameters after a step towards the M-step of one block's statistics."""


@runtime_checkable
class Replacing(Protocol):
    """A model that replaces a block's statistics in the total itself, in an incremental fit."""

    def replace(self, params: Any, block: Any, old: Any, total: Any, /) -> Any:
        """Do an E-step and ``total = total - old + new`` at once; return the new statistics.

        `total` is changed in place, and the new statistics may be written over the old ones. It is
        called with ``bound=True`` or ``False`` as well. A model with :class:`RowState` gets the
        rows' state as last argument and returns a pair; `spare` is as in its E-step.
        """


@runtime_checkable
class Starting(Protocol):
    """A model that can say what its first parameters stand for, in an incremental fit."""

    def statistics_of(self, params: Any, /) -> Any:
        """Return statistics of which the M-step would make these parameters.

        They stand in for the blocks that the first pass has not come to.
        """


@runtime_checkable
class Falling(Protocol):
    """A model whose bound may fall though its M-step is right, and that says so."""

    @property
    def bound_may_fall(self) -> bool:
        """Whether a bound that falls is no fault; it then converges like one that rises."""


class Executor(Protocol):
    """Where E-steps run. One duty; see :class:`fastem.em.LocalExecutor` for the plainest."""

    def sum(self, e_step: Any, params: Any, shards: Any, /) -> Statistics:
        """Return the sum of ``e_step(params, shard)`` over the shards.

        `e_step` and `shards` can be pickled. The bits are those of every other executor if the
        statistics are added as :func:`fastem.em.tree_sum` adds them.
        """


@runtime_checkable
class Placing(Executor, Protocol):
    """An executor that brings the blocks to where its E-steps run, before a fit begins."""

    def place(self, blocks: Any, /) -> Any:
        """Return a sequence of what stands for the blocks in the shards of ``sum``."""
