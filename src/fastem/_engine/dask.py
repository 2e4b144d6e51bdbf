"""E-steps on the workers of a Dask cluster (extra ``dask``), which hold the data.

Blocks lie on the workers in *groups* that depend on their number alone; an iteration is a task for
each group and one that adds. Nothing is pinned to a worker: a task that was lost is done again
elsewhere, from tasks that can be done again, and so the result has the same bits.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, NamedTuple

from fastem._engine.codec import Elsewhere, Encoder
from fastem._engine.executors import EStep, Shard
from fastem._engine.statistics import Statistics
from fastem._engine.threads import single_threaded_blas
from fastem._engine.tree import FAN_IN, tree_sum
from fastem._kernels import gaussian
from fastem._version import __version__

__all__ = ["DaskExecutor", "Placed"]

_MOST_GROUPS = 512  # a task costs the scheduler some milliseconds
_LOOK_EVERY = 2.0  # seconds from one look for workers to the next
_SENT = 4  # E-steps that are kept on the workers


class Placed(NamedTuple):
    """A group of blocks that lies on some worker."""

    future: Any  # of a list of (number, block)


class GroupStates(Elsewhere):
    """The states of the rows of a group of blocks, beside their statistics on some worker.

    Parameters
    ----------
    future : Future
        Of (statistics, {number of a block: its state}).
    executor : DaskExecutor
    """

    def __init__(self, future: Any, executor: DaskExecutor) -> None:
        self.future, self.executor = future, executor

    def outline(self) -> tuple[Any, list[Any]]:
        """Return what an Encoder says of the states, made where they are."""
        return self.executor.call(_outline, self.future)

    def fetch(self) -> list[Any]:
        """Return the states' arrays."""
        return self.executor.call(_arrays, self.future)


class DaskExecutor:
    """E-steps on the workers of a Dask cluster; needs the extra ``fastem[dask]``.

    Estimators that are given Dask collections use it by themselves. To :func:`fastem.em.fit` pass
    it with blocks that are futures, delayed objects or data; the last travel to the workers once.

    Parameters
    ----------
    client : distributed.Client
    mixed_workers : bool, default=False
        Whether workers may have other versions of fastem than this process, or other instruction
        sets than each other. The bits of a result then depend on who computed what.
    patience : float, default=60.0
        Seconds to wait while there is no worker at all, above 0.

    Raises
    ------
    TypeError
        If `client` is no client.
    ValueError
        If `patience` is not above 0.

    Notes
    -----
    The result has the bits of a fit to the same blocks in this process, for any number of workers,
    threads or processes, and also where workers die: what they held is made again from its source.

    An E-step uses as many threads as its worker has, and a worker makes one E-step at a time.
    The states of rows, of a model that has them, stay on the workers: what the result has of each
    group of blocks has a `future`, of (statistics, {number of the block: state}).

    Examples
    --------
    >>> from dask.distributed import Client  # doctest: +SKIP
    >>> client = Client("scheduler:8786")  # doctest: +SKIP
    >>> em.fit(model, blocks, start, executor=em.DaskExecutor(client))  # doctest: +SKIP
    """

    def __init__(self, client: Any, *, mixed_workers: bool = False, patience: float = 60.0) -> None:
        if not callable(getattr(client, "submit", None)) or not hasattr(client, "scheduler_info"):
            raise TypeError(
                f"client must be a distributed.Client, got {type(client).__name__}: "
                "from dask.distributed import Client; Client(address)"
            )
        if not patience > 0:
            raise ValueError(f"patience must be above 0 seconds, got {patience!r}")
        self.client, self.mixed_workers, self.patience = client, mixed_workers, patience
        self._sent: list[tuple[Any, Any]] = []
        self._expected: Any = None

    def __repr__(self) -> str:
        return f"DaskExecutor({self.client!r})"

    # ---- what the driver asks --------------------------------------------------------------

    def place(self, blocks: Iterable[Any], /) -> list[Placed]:
        """Bring blocks to the workers, in groups; return these.

        Raises RuntimeError if workers differ, or there is none.
        """
        blocks = list(blocks)
        if blocks and all(isinstance(block, Placed) for block in blocks):
            return blocks
        from dask import delayed

        self._check_workers()
        size = _group_size(len(blocks))
        groups = [
            delayed(_group, pure=False)(first, *blocks[first : first + size])
            for first in range(0, len(blocks), size)
        ]
        with _quiet():
            return [Placed(future) for future in self.client.compute(groups)]

    def sum(self, e_step: Any, params: Any, shards: Iterable[Any], /) -> Statistics:
        """Return the sum of ``e_step(params, shard)`` over the shards, whose blocks are groups."""
        step, params = self._send(e_step), self._submit(_same, params)
        shards = list(shards)
        has_state = bool(getattr(e_step, "has_state", False))
        before = [None if shard.state is None else shard.state.future for shard in shards]
        done = [
            self._submit(_sum_group, step, params, shard.block.future, state, self._expected)
            for shard, state in zip(shards, before, strict=True)
        ]
        if not has_state:
            return self.get(self.add(done))
        total = self.get(self.add([self._submit(_first, pair) for pair in done]))
        kept = total.__dict__.pop("kept")  # of some rows: else there is nothing to go back to
        states = {
            shard.number: GroupStates(pair, self) if kept else None
            for shard, pair in zip(shards, done, strict=True)
        }
        return Statistics(**vars(total), row_states=states)

    def bring(self, states: dict[int, Any]) -> GroupStates:
        """Bring the states of a group's rows from a checkpoint to some worker.

        They are the argument of a task, which can be done again, and not data of one worker.
        """
        return GroupStates(self._submit(_without_sum, states), self)

    # ---- what sources ask ------------------------------------------------------------------

    def map_groups(
        self, function: Callable[..., Any], groups: Iterable[Placed], *args: Any
    ) -> list:
        """Return futures of ``function(group, *args)``; a group is a list of (number, block)."""
        args = tuple(self._submit(_same, arg) for arg in args)
        return [
            self._submit(_on_worker, function, self._expected, group.future, *args)
            for group in groups
        ]

    def add(self, sums: list) -> Any:
        """Return a future of the sum of futures, as :func:`tree_sum` adds them; None is nothing."""
        most = FAN_IN**2
        while len(sums) > 1:
            sums = [self._submit(_add, *sums[at : at + most]) for at in range(0, len(sums), most)]
        return sums[0]

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what a function returns on some worker; arguments may be futures."""
        return self.get(self._submit(_called, function, *args))

    def get(self, future: Any) -> Any:
        """Return a future's result. The wait ends: with it, with an error, or without workers."""
        from dask.distributed import TimeoutError as Late

        alone = 0.0
        while True:
            try:
                return future.result(timeout=_LOOK_EVERY)
            except Late:
                if future.status == "error":  # the task's own timeout
                    raise
            if self.client.status != "running":
                raise RuntimeError(f"the Dask client is {self.client.status}: connect it again")
            alone = 0.0 if self._n_workers() else alone + _LOOK_EVERY
            if alone >= self.patience:
                raise RuntimeError(_no_workers(self.patience))

    def map_values(self, function: Callable[..., Any], *futures: Any) -> Any:
        """Return the future of a function of what futures hold, where they are."""
        return self._submit(function, *futures)

    def sizes_of(self, groups: list) -> list[int]:
        """Return how many blocks each of some futures of groups holds."""
        return self.get(self._submit(_sizes, *[self._submit(len, group) for group in groups]))

    def _n_workers(self) -> int:
        return len(self.client.scheduler_info(n_workers=-1)["workers"])

    def _submit(self, function, *args):
        with _quiet():
            return self.client.submit(function, *args, pure=False)

    def _send(self, e_step):
        """Return a future of an E-step, which is sent once: models may hold much."""
        for known, future in self._sent:
            if known is e_step:
                return future
        future = self._submit(_same, e_step)
        self._sent = [*self._sent[1 - _SENT :], (e_step, future)]
        return future

    def _check_workers(self):
        """Raise RuntimeError unless there are workers, all alike."""
        from dask.distributed import TimeoutError as Late

        try:
            self.client.wait_for_workers(1, timeout=self.patience)
        except Late:
            raise RuntimeError(_no_workers(self.patience)) from None
        if self.mixed_workers:
            self._expected = None
            return
        try:
            found = self.client.run(describe)
        except ImportError as error:
            raise RuntimeError(f"fastem {__version__} must be installed on every worker") from error
        sets = {one[1] for one in found.values()}
        self._expected = (__version__, min(sets))
        for address, one in found.items():
            check_alike(one, self._expected, address)


def describe() -> tuple[str, str]:
    """Return what must be alike on all workers: fastem's version and the instruction set."""
    return __version__, gaussian.instruction_set()


def check_alike(found, expected, where):
    """Raise RuntimeError unless a worker is as expected."""
    if expected is not None and found != expected:
        raise RuntimeError(
            f"worker {where} has fastem {found[0]} with instruction set {found[1]!r}, but "
            f"{expected[0]} with {expected[1]!r} was expected, so that bits would depend on who "
            "computes what: make the workers alike, or allow it by "
            "DaskExecutor(client, mixed_workers=True) or "
            "dask.config.set({'fastem.mixed-workers': True})"
        )


def _no_workers(patience):
    return f"the Dask cluster has had no worker for {patience:g} seconds: start some"


def _group_size(n_blocks):
    """Return how many blocks are one group: a power of the tree's fan-in."""
    if n_blocks <= FAN_IN**2:
        return 1
    size = FAN_IN
    while n_blocks > size * _MOST_GROUPS:
        size *= FAN_IN
    return size


@contextmanager
def _quiet():
    """Keep Dask from advising against large arguments: they are parameters, sent once a pass."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        yield


# ---- what runs on the workers ------------------------------------------------------------------

_one_at_a_time: dict[str, Lock] = defaultdict(Lock)


@contextmanager
def _whole_worker() -> Iterator[int]:
    """Let one task at a time use a worker; yield how many threads it has."""
    from dask.distributed import get_worker

    worker = get_worker()
    with _one_at_a_time[worker.address], single_threaded_blas():
        yield worker.state.nthreads


def _group(first, *blocks):
    return [(first + i, block) for i, block in enumerate(blocks)]


def _sizes(*sizes):
    return list(sizes)


def _same(value):
    return value


def _first(pair):
    return pair[0]


def _without_sum(states):
    return None, states


def _encoded(pair):
    """Return an Encoder of the states beside a group's statistics, and what it says of them."""
    encoder = Encoder()
    return encoder, encoder.encode(pair[1])


def _outline(pair):
    encoder, root = _encoded(pair)
    return root, encoder.nodes


def _arrays(pair):
    return _encoded(pair)[0].arrays


def _add(*sums):
    some = [one for one in sums if one is not None]
    return tree_sum(some) if some else None


def _called(function, *args):
    with _whole_worker():
        return function(*args)


def _on_worker(function, expected, group, *args):
    from dask.distributed import get_worker

    check_alike(describe(), expected, get_worker().address)
    with _whole_worker():
        return function(group, *args)


def _sum_group(e_step, params, group, before, expected):
    """Return the sum of a group's statistics; of a model with RowState with the states beside."""
    from dask.distributed import get_worker

    check_alike(describe(), expected, get_worker().address)
    states = {} if before is None else before[1]
    with _whole_worker() as n_threads:
        step = with_threads(e_step, n_threads)
        total = tree_sum(
            step(params, Shard(number, block, states.get(number))) for number, block in group
        )
    if not getattr(e_step, "has_state", False):
        return total
    new = dict(total.row_states)
    del total.row_states
    total.kept = sum(state is not None for state in new.values())
    return total, new


def with_threads(e_step, n_threads):
    """Return an E-step whose model, and what that is made of, uses so many threads."""
    if not isinstance(e_step, EStep) or not hasattr(e_step.model, "__dict__"):
        return e_step
    step = copy.copy(e_step)
    step.model = _threaded(e_step.model, n_threads)
    for name, part in vars(step.model).items():
        if hasattr(part, "n_threads") and hasattr(part, "__dict__"):
            setattr(step.model, name, _threaded(part, n_threads))
    return step


def _threaded(model, n_threads):
    model = copy.copy(model)
    if "n_threads" in vars(model):
        model.n_threads = n_threads
    return model


# ---- collections -------------------------------------------------------------------------------


def is_collection(X: Any) -> bool:
    """Return whether X is a Dask array, data frame or bag, without importing Dask."""
    return type(X).__module__.partition(".")[0] in ("dask", "dask_expr") and "dask" in sys.modules


def current_client() -> Any:
    """Return the client that Dask's own computations would use, or None."""
    if "distributed" not in sys.modules:
        return None
    from dask.distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None
