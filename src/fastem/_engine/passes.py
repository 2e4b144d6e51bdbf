"""The schedules: what one pass over the blocks does. A pass is called with parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from fastem._engine.executors import EStep, LocalExecutor, Shard, overwrites
from fastem._engine.protocols import (
    Bounding,
    Continuing,
    Executor,
    Prior,
    Replacing,
    RowState,
    Starting,
    follows,
)
from fastem._engine.statistics import Statistics
from fastem._engine.tree import SumTree

__all__ = ["Batch", "Incremental", "Stepwise"]


class Batch:
    """One pass: every block at the same parameters, then one M-step.

    Attributes
    ----------
    leapt : bool
        Whether the last pass went further than an EM step: its change of the bound says nothing of
        convergence.
    """

    leapt = False

    def __init__(self, model: Any, blocks: Any, executor: Executor | None = None) -> None:
        self.model, self.blocks = model, blocks
        self.executor = executor or LocalExecutor()
        self.log_prior = model.log_prior if follows(model, Prior) else None
        self.lower_bound = model.lower_bound if follows(model, Bounding) else None
        self.has_state = follows(model, RowState)
        # Where an E-step may run twice, it must find its state as it was.
        self.in_place = overwrites(model) and isinstance(self.executor, LocalExecutor)
        # Made once: to ask for protocols takes as long as a small E-step.
        self.e_steps = {check: EStep(model, check, self.in_place) for check in (False, True)}
        self.continues = follows(model, Continuing)
        self.states: dict[int, Any] = {}
        self.spares: dict[int, Any] = {}

    def __call__(self, params: Any, check: bool) -> tuple[float, Any]:
        """Return the bound and the new parameters: see :meth:`bound`."""
        total = self.executor.sum(self.e_steps[check], params, self.shards(params))
        self.keep_states(total)
        after = self.maximise(params, total)
        return self.bound(total, params, after, check), after

    def get_state(self) -> dict[str, Any]:
        """Return what the next pass goes on from, beside the parameters."""
        return {"states": self.states}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        vars(self).update(state)

    # ---- the rows' states ------------------------------------------------------------------

    def shards(self, params: Any) -> Sequence[Shard]:
        """Return the blocks with their rows' states."""
        return _Shards(self, params)

    def shard(self, number: int, block: Any, params: Any) -> Shard:
        """Return a block with its rows' state."""
        if not self.has_state:
            return Shard(number, block)
        state = self.states.get(number)  # None: the E-step begins with the first one
        return Shard(number, block, state, state if self.in_place else self.spares.get(number))

    def keep_states(self, total: Any) -> None:
        """Take the new states out of a sum; the ones before them may be written over."""
        if self.has_state:
            if not self.in_place:
                self.spares |= {n: self.states.get(n) for n in total.row_states}
            self.states.update(total.row_states)
            del total.row_states

    # ---- the parts of a pass ---------------------------------------------------------------

    def expect(self, params: Any, number: int, block: Any, check: bool) -> Statistics:
        """Return the statistics of one block, here and now; keep its rows' state."""
        statistics = self.e_steps[check](params, self.shard(number, block, params))
        if self.has_state:
            self.keep_states(statistics)
        return statistics

    def maximise(self, params: Any, total: Any) -> Any:
        """Return the parameters after an M-step."""
        if self.continues:
            return self.model.m_step_from(params, total)
        return self.model.m_step(total)

    def bound(self, statistics: Any, before: Any, after: Any, check: bool) -> float:
        """Return the bound per unit weight of the parameters before a pass, or the model's own.

        nan where it was not asked for.
        """
        if not check:
            return math.nan
        if self.lower_bound is not None:
            return float(self.lower_bound(statistics, after))
        bound = statistics.bound
        if self.log_prior is not None:
            bound = bound + self.log_prior(before)
        return float(bound / statistics.weight)


class _Shards(Sequence[Shard]):
    """The blocks as shards, made when they are asked for: blocks may be read one at a time."""

    def __init__(self, one_pass: Batch, params: Any) -> None:
        self.one_pass, self.params = one_pass, params

    def __len__(self) -> int:
        return len(self.one_pass.blocks)

    def __getitem__(self, number: Any) -> Any:
        return self.one_pass.shard(number, self.one_pass.blocks[number], self.params)

    def __iter__(self):
        for number, block in enumerate(self.one_pass.blocks):
            yield self.one_pass.shard(number, block, self.params)


class Incremental(Batch):
    """One pass: an M-step after each block, whose new statistics replace its old ones.

    The first pass is a batch one; of a model that can say what its start stands for, it is not.
    """

    FADINGS = 16

    def __init__(self, model: Any, blocks: Any, executor: Executor | None = None) -> None:
        # How fast a start fades depends on the number of blocks.
        counted = list(blocks) if follows(model, Starting) else blocks
        super().__init__(model, counted, executor)
        self.replaces = follows(model, Replacing)
        self.latest: Any = None  # each block's statistics: a list, or a tree of sums
        self.total: Any = None  # their sum, of a model that replaces them in it

    def get_state(self) -> dict[str, Any]:
        """Return what the next pass goes on from, beside the parameters."""
        return super().get_state() | {"latest": self.latest, "total": self.total}

    def __call__(self, params: Any, check: bool) -> tuple[float, Any]:
        start = params
        if self.latest is not None:
            params = self.visit_all(params, check)
        elif follows(self.model, Starting):
            params = self.join(params, check)
        else:
            latest = [self.expect(params, n, b, check) for n, b in enumerate(self.blocks)]
            params = self.maximise(params, self.begin(latest))
        return self.bound(self.everything(), start, params, check), params

    def everything(self) -> Any:
        """Return the sum of all blocks' statistics, or what a bound needs of it."""
        if self.lower_bound is not None:
            return self.total if self.replaces else self.latest.total
        bound = sum(statistics.bound for statistics in self.latest)
        weight = sum(statistics.weight for statistics in self.latest)
        return Statistics(bound=bound, weight=weight)

    def begin(self, latest: list[Any]) -> Any:
        """Keep the blocks' first statistics; return their sum."""
        tree = SumTree(latest)
        if not self.replaces:
            self.latest = tree
            return tree.total
        self.latest, self.total = latest, tree.total.copy()
        return self.total

    def join(self, params: Any, check: bool) -> Any:
        """Let the blocks join one after another, while the start's own statistics fade."""
        everyone, latest = len(self.blocks), []
        start = self.model.statistics_of(params)
        total, fading = start.copy(), max(1, everyone // self.FADINGS)
        for number, block in enumerate(self.blocks):
            statistics = self.expect(params, number, block, check)
            latest.append(statistics)
            total.add(statistics)
            if (number + 1) % fading == 0:
                total.add(start * (-fading / everyone))
            params = self.maximise(params, total)
        return self.maximise(params, self.begin(latest))  # the start has faded

    def numbered(self) -> Iterator[tuple[int, Any]]:
        """Yield the blocks with their numbers, of which there must be as many as before."""
        known, number = len(self.latest), -1
        for number, block in enumerate(self.blocks):
            if number < known:
                yield number, block
        if number + 1 != known:
            raise ValueError(
                f"blocks gave {known} blocks in the first pass and {number + 1} in a later one: "
                "they must be the same in every pass"
            )

    def visit_all(self, params: Any, check: bool) -> Any:
        """Visit each block; return the last parameters."""
        if not self.replaces:
            for number, block in self.numbered():
                self.latest.replace(number, self.expect(params, number, block, check))
                params = self.maximise(params, self.latest.total)
            return params
        total = self.total.copy()  # parameters of the last pass may refer to its statistics
        for number, block in self.numbered():
            self.latest[number] = self.replace(params, number, block, total, check)
            params = self.maximise(params, total)
        self.total = total
        return params

    def replace(self, params: Any, number: int, block: Any, total: Any, check: bool) -> Any:
        """Let the model replace a block's old statistics in the total; return its new ones."""
        old, asked = self.latest[number], {"bound": check}
        if not self.has_state:
            return self.model.replace(params, block, old, total, **asked)
        shard = self.shard(number, block, params)
        if self.e_steps[check].recycles and shard.spare is not None:
            asked["spare"] = shard.spare
        new, state = self.model.replace(params, block, old, total, shard.state, **asked)
        self.spares[number], self.states[number] = shard.state, state
        return new


class Stepwise(Batch):
    """One pass: a step towards the M-step of each block."""

    def __call__(self, params: Any, check: bool) -> tuple[float, Any]:
        start, bound, weight = params, 0.0, 0.0
        for number, block in enumerate(self.blocks):
            statistics = self.expect(params, number, block, check)
            bound, weight = bound + statistics.bound, weight + statistics.weight
            params = self.model.step(params, statistics, block)
        return self.bound(Statistics(bound=bound, weight=weight), start, params, check), params
