"""One order in which statistics are added, everywhere: a tree of fixed fan-in over the blocks.

Whoever adds them (a loop, threads, processes, a cluster), in whatever groups, follows the tree and
so gets the same bits. A group may be made apart from the others if it is a subtree: FAN_IN, or
FAN_IN squared, ... consecutive blocks from a multiple of that number on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["FAN_IN", "SumTree", "tree_sum"]

FAN_IN = 8


def tree_sum(statistics: Iterable[Any]) -> Any:
    """Return the sum of statistics, added in groups of 8 neighbours, then the sums in the same way.

    Parameters
    ----------
    statistics : iterable of Statistics
        At least one. Each is read once, and not changed; beside it only one sum for each level of
        the tree is in memory.

    Returns
    -------
    total : Statistics

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    >>> from fastem.em import Statistics, tree_sum
    >>> tree_sum(Statistics(bound=-1.0, weight=2, heads=n) for n in range(20)).heads
    190
    """
    levels: list[_Group] = []
    rest = iter(statistics)
    first = next(rest, None)
    if first is None:
        raise ValueError("no statistics to add: give at least one block of data")
    for one in rest:
        if not levels:
            _put(levels, 0, first)
        _put(levels, 0, one)
    if not levels:  # there is one block, as mostly
        return first
    # The groups that are not full: from the lowest level up.
    carried = None
    for group in levels:
        if carried is not None:
            group.add(carried)
        carried = group.total if group.size else None
    return carried


def _put(levels, level, one):
    """Add one sum to the group under way on a level; a full group goes up."""
    if level == len(levels):
        levels.append(_Group())
    group = levels[level]
    group.add(one)
    if group.size == FAN_IN:
        _put(levels, level + 1, group.total)
        levels[level] = _Group()


class _Group:
    """A sum of neighbours, added from left to right."""

    def __init__(self) -> None:
        self.total: Any = None
        self.size = 0

    def add(self, one):
        if self.size == 0:
            self.total = one
        elif self.size == 1:
            self.total = self.total + one  # a new object, which is ours to change
        else:
            self.total.add(one)
        self.size += 1


class SumTree:
    """Statistics of blocks whose sum is wanted again whenever one of them has changed.

    The sums on the way from a changed block to the root are computed again. Nothing is subtracted,
    because a difference would leave a rounding error where a component loses all that it had.

    Parameters
    ----------
    leaves : list of Statistics
        One for each block, at least one.
    """

    def __init__(self, leaves: list[Any]) -> None:
        self.levels = [list(leaves)]
        while len(self.levels[-1]) > 1:
            below = self.levels[-1]
            self.levels.append([_sum_of(below, at) for at in range(0, len(below), FAN_IN)])

    def __len__(self) -> int:
        return len(self.levels[0])

    def __iter__(self) -> Iterator[Any]:
        return iter(self.levels[0])

    def __getitem__(self, number: int) -> Any:
        return self.levels[0][number]

    @property
    def total(self) -> Any:
        """The sum of all blocks, with the bits of :func:`tree_sum`."""
        return self.levels[-1][0]

    def replace(self, number: int, new: Any) -> None:
        """Let a block have new statistics."""
        self.levels[0][number] = new
        for below, level in zip(self.levels, self.levels[1:], strict=False):
            number //= FAN_IN
            level[number] = _sum_of(below, number * FAN_IN)


def _sum_of(below, first):
    """Return the sum of one group of neighbours."""
    group = _Group()
    for one in below[first : first + FAN_IN]:
        group.add(one)
    return group.total
