"""When a restart ends, and which of several is the best."""

from __future__ import annotations

import math
import warnings
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from fastem._engine.protocols import Falling, Stopping, follows
from fastem._engine.watching import Result

__all__ = ["Ending", "better", "check_bound"]

# A bound may fall by so much because of rounding: it sums some million terms in double.
_ROUNDING = 1e-9


class Ending:
    """Tells when a restart has converged, and when its bound falls where it cannot."""

    def __init__(self, model, schedule, tol) -> None:
        self.tol, self.warned = tol, False
        self.stop = model.converged if follows(model, Stopping) else None
        may = follows(model, Falling) and model.bound_may_fall
        self.may_fall = may or schedule not in ("batch", "squarem")

    def begin(self, lower_bound: float) -> None:
        """Begin a restart, whose first bound is compared with that of an earlier fit."""
        self.lower_bound, self.n_looks, self.settled = lower_bound, 0, False

    def get_state(self) -> list[Any]:
        """Return what a restart that goes on must know."""
        return [self.warned, self.lower_bound, self.n_looks, self.settled]

    def set_state(self, state: list[Any]) -> None:
        """Go on with a restart."""
        self.warned, self.lower_bound, self.n_looks, self.settled = state

    def see(self, bound: float, iteration: int) -> float:
        """Take note of a bound; return its change."""
        previous, self.lower_bound = self.lower_bound, bound
        change = bound - previous
        self.n_looks += 1
        fell = (
            not self.may_fall
            and self.n_looks > 1  # the earlier fit may have seen other data
            and change < -_ROUNDING * max(1.0, abs(previous))
        )
        if fell and not self.warned:
            self.warned = True
            warnings.warn(
                f"the lower bound fell by {-change:.6g} at iteration {iteration}, from "
                f"{previous:.6g} to {bound:.6g}, which EM cannot do: the M-step does not maximise "
                "what the E-step computes, or the bound is not theirs. A model whose bound may "
                "rightly fall says so with bound_may_fall = True",
                ConvergenceWarning,
                stacklevel=6,
            )
        self.settled = abs(change) < self.tol and not fell
        return change

    def converged(self, before: Any, after: Any) -> bool:
        """Return whether the restart ends here."""
        return self.settled if self.stop is None else bool(self.stop(before, after))


def better(best: Result | None, new: Result) -> Result:
    """Return the result with the larger bound; without iterations, the newer one."""
    if best is None or best.lower_bound == -math.inf or new.lower_bound > best.lower_bound:
        return new
    return best


def check_bound(lower_bound: float, init: int, iteration: int) -> None:
    if not math.isfinite(lower_bound):
        raise ValueError(
            f"the lower bound is {lower_bound} at iteration {iteration} of initialization {init}: "
            "some samples have no finite density under the current parameters. Check the start "
            "values, scale the data, or regularise the model more strongly."
        )
