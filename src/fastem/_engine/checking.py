"""What :func:`fastem.em.fit` refuses, before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastem._engine.executors import as_executor
from fastem._engine.protocols import Bounding, RowState, Stepping, follows
from fastem._engine.schedules import PASSES

__all__ = ["check_arguments", "check_model"]


def check_model(model, schedule) -> None:
    if isinstance(model, type):
        raise TypeError(f"model must be an instance, got the class {model.__name__}: call it first")
    for name in ("e_step", "m_step"):
        if not callable(getattr(model, name, None)):
            raise TypeError(
                f"model must have a method {name}, which {type(model).__name__} lacks: see "
                "fastem.em.Model"
            )
    if schedule == "squarem" and follows(model, RowState):
        raise TypeError(
            "schedule='squarem' needs a model whose E-step follows from the parameters alone, but "
            f"{type(model).__name__} keeps a state of its rows: take 'batch' or 'incremental'"
        )
    if schedule == "stepwise" and not follows(model, Stepping):
        raise TypeError(
            f"schedule='stepwise' needs a model with step(params, statistics, block), which "
            f"{type(model).__name__} lacks: take 'batch' or 'incremental', or add it"
        )
    if schedule == "stepwise" and follows(model, Bounding):
        raise TypeError(
            f"schedule='stepwise' keeps no statistics of which {type(model).__name__}.lower_bound "
            "could make a bound: take 'batch' or 'incremental'"
        )


def check_arguments(
    blocks, start, schedule, executor, tol, max_iter, evaluate_every, n_init
) -> None:
    if isinstance(blocks, np.ndarray) or sp.issparse(blocks) or hasattr(blocks, "iloc"):
        raise TypeError(
            f"blocks must be a sequence of blocks of data, got one {type(blocks).__name__}: pass "
            "[x] for a single block"
        )
    if isinstance(blocks, (str, bytes, dict)) or not isinstance(blocks, Iterable):
        raise TypeError(
            f"blocks must be a sequence of blocks of data, got {type(blocks).__name__}: pass a list"
        )
    if isinstance(blocks, Iterator):
        raise TypeError(
            f"blocks must be readable once an iteration, got a {type(blocks).__name__}: "
            "pass a list, or an object whose __iter__ starts from the first block"
        )
    if isinstance(blocks, Sized) and len(blocks) == 0:
        raise ValueError("blocks is empty: give at least one block of data")
    if not isinstance(schedule, str) or schedule not in PASSES:
        known = ", ".join(map(repr, PASSES))
        raise ValueError(f"schedule must be one of {known}, got {schedule!r}")
    as_executor(executor)
    if executor is not None and schedule in ("incremental", "stepwise"):
        raise ValueError(
            f"executor={executor!r} needs schedule='batch' or 'squarem', got schedule="
            f"{schedule!r}, which goes from block to block: leave one of them out"
        )
    if not isinstance(tol, Real):
        raise TypeError(f"tol must be a number >= 0, got {tol!r}")
    if not float(tol) >= 0:
        raise ValueError(f"tol must be >= 0, got {tol!r}")
    wholes: Any = (
        ("max_iter", max_iter, 0),
        ("evaluate_every", evaluate_every, 1),
        ("n_init", n_init, 1),
    )
    for name, value, least in wholes:
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(f"{name} must be an integer >= {least}, got {value!r}")
        if value < least:
            raise ValueError(f"{name} must be >= {least}, got {value!r}")
    if n_init > 1 and not callable(start):
        raise ValueError(
            f"n_init={n_init} restarts from one start would give one result {n_init} times: "
            "pass a function of the restart's number as start"
        )
