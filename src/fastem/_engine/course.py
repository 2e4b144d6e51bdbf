"""The course of a fit over its restarts: the best so far, and what a checkpoint has of it."""

from __future__ import annotations

from typing import Any

from fastem._engine.checkpoints import Keeper
from fastem._engine.codec import Elsewhere
from fastem._engine.ending import Ending, better
from fastem._engine.watching import Result

__all__ = ["Course"]


class Course:
    """Where a fit is, so that it can be written and gone on with.

    Parameters
    ----------
    keeper : Keeper or None
        None: nothing is written.
    ending : Ending
    watchers : list of Callback
    bring : callable or None
        Of an executor whose rows' states are :class:`Elsewhere`: brings one there.

    Attributes
    ----------
    best : Result or None
        The best of the restarts that are over.
    """

    def __init__(
        self, keeper: Keeper | None, ending: Ending, watchers: list[Any], bring: Any = None
    ) -> None:
        self.keeper, self.ending, self.watchers, self.bring = keeper, ending, watchers, bring
        self.best: Result | None = None
        self.saved: dict[str, Any] | None = None

    def is_over(self, init: int, params: Any) -> bool:
        """Return whether a restart, whose first parameters these are, was done by an earlier run.

        Its start was made again, for the random numbers that it takes.
        """
        if self.keeper is None:
            return False
        if init == 0:
            self.saved = self.keeper.begin(params, self.bring)
            if self.saved is not None:
                self.best = self.saved["best"]
        saved = self.saved
        if saved is None:
            return False
        # An earlier run may have ended between two restarts, or after the last.
        if saved["pass"] is None and init == saved["init"] - saved["done"]:
            self._tell_watchers(saved)
        return bool(init < saved["init"])

    def begin(self, init: int, one_pass: Any, current: Result) -> Result:
        """Return what a restart begins with: where an earlier run left it, or `current`."""
        saved, self.saved = self.saved, None
        if saved is None or saved["pass"] is None:
            return current
        self._check_states(saved["pass"].get("states", {}).values())
        self._tell_watchers(saved)
        one_pass.set_state(saved["pass"])
        self.ending.set_state(saved["ending"])
        return saved["current"]

    def iterated(self, init: int, one_pass: Any, current: Result) -> None:
        """Take note of a whole iteration."""
        if self.keeper is not None and self.keeper.due():
            self._write(init, one_pass.get_state(), current, False)

    def end(self, init: int, result: Result, last: bool) -> None:
        """Take note of a whole restart."""
        self.best = better(self.best, result)
        if self.keeper is not None and (self.keeper.due() or last):
            self._write(init + 1, None, None, last)

    def _check_states(self, states):
        """Raise ValueError where an earlier run had rows' states here, and this one has not."""
        assert self.keeper is not None
        if self.bring is not None and any(
            isinstance(s, Elsewhere) != (s is not None) for s in states
        ):
            raise ValueError(
                f"checkpoint: {self.keeper.found} is of a fit in one process, and the states of "
                "its rows cannot go to the workers of a cluster: go on there, or give another path"
            )

    def _write(self, init, state, current, done):
        assert self.keeper is not None
        watching = [[type(w).__qualname__, w.get_state()] for w in self.watchers]
        self.keeper.write(
            {
                "init": init,
                "done": done,
                "pass": state,
                "current": current,
                "ending": self.ending.get_state(),
                "best": self.best,
                "watchers": [pair for pair in watching if pair[1] is not None],
            }
        )

    def _tell_watchers(self, saved):
        """Give each watcher the state of the one of its class, in their order."""
        left = list(saved["watchers"])
        for watcher in self.watchers:
            for pair in left:
                if pair[0] == type(watcher).__qualname__:
                    watcher.set_state(pair[1])
                    left.remove(pair)
                    break
