"""The schedules of :func:`fastem.em.fit`, by name."""

from __future__ import annotations

from fastem._engine.acceleration import Squarem
from fastem._engine.passes import Batch, Incremental, Stepwise

__all__ = ["PASSES"]

PASSES: dict[str, type[Batch]] = {
    "batch": Batch,
    "incremental": Incremental,
    "stepwise": Stepwise,
    "squarem": Squarem,
}
