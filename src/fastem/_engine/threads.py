"""Threads: how many a fit uses, BLAS kept to one, and safety across fork."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

import joblib
from threadpoolctl import ThreadpoolController

from fastem._kernels import runtime

__all__ = ["effective_n_jobs", "single_threaded_blas"]

if hasattr(os, "register_at_fork"):
    # Without this, a process forked after a fit hangs in its own first fit.
    os.register_at_fork(before=runtime.pause_threads)


def effective_n_jobs(n_jobs: int | None = None) -> int:
    """Return the number of threads to use, by scikit-learn's rules for OpenMP.

    Parameters
    ----------
    n_jobs : int or None
        None: OMP_NUM_THREADS if set, else one per physical core that this process may use, within
        threadpoolctl's limit. Negative: counts back, -1 being all that None gives.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0: pass a positive number, -1 or None for all threads")
    if not runtime.has_openmp():
        return 1
    if n_jobs is not None and n_jobs > 0:
        return int(n_jobs)
    # Asked anew each time: threadpoolctl changes the limit while the process runs.
    limit = runtime.max_threads()
    if not os.environ.get("OMP_NUM_THREADS"):
        limit = min(limit, joblib.cpu_count(only_physical_cores=True))
    return limit if n_jobs is None else max(1, limit + n_jobs + 1)


@cache
def _blas() -> ThreadpoolController:
    # Looking through the loaded libraries takes longer than a small fit, so it is done once.
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be found)

    return ThreadpoolController().select(user_api="blas")


_lock = Lock()
_depth = 0
_limiter: Any = None


@contextmanager
def single_threaded_blas():
    """Hold BLAS to one thread: its own threads fight with the kernels' over the cores.

    The limit belongs to the process, so fits in several threads share it: the first to enter sets
    it, the last to leave restores it.
    """
    global _depth, _limiter
    with _lock:
        if _depth == 0:
            _limiter = _blas().limit(limits=1)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _limiter.restore_original_limits()
