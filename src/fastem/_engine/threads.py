"""Threads: how many a fit uses, BLAS kept to one, and safety across fork."""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import contextmanager
from functools import cache
from threading import RLock, get_ident
from typing import Any

import joblib
from threadpoolctl import ThreadpoolController

from fastem._kernels import runtime

__all__ = ["effective_n_jobs", "single_threaded_blas", "single_threaded_openmp", "useful_n_jobs"]


def useful_n_jobs(n_jobs: int | None, work: float) -> int:
    """Return :func:`effective_n_jobs`, or 1 at once where the work is not worth a second thread.

    Parameters
    ----------
    n_jobs : int or None
    work : float
        Nanoseconds that one thread takes for it, about: see ``shared/worth.h``.
    """
    return effective_n_jobs(n_jobs) if work >= runtime.LEAST_WORK or n_jobs == 0 else 1


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
    # Asked each time: threadpoolctl changes the limit while the process runs.
    limit = runtime.max_threads()
    if not os.environ.get("OMP_NUM_THREADS"):
        limit = min(limit, _physical_cores())
    return limit if n_jobs is None else max(1, limit + n_jobs + 1)


_counted = -math.inf, 1  # when the cores were counted, and how many they were


def _physical_cores() -> int:
    """Return how many this process may use; asked once a second, for the answer is in files."""
    global _counted
    now = time.monotonic()
    if now - _counted[0] > 1:
        _counted = now, joblib.cpu_count(only_physical_cores=True)
    return _counted[1]


@cache
def _blas() -> ThreadpoolController:
    # Looking through the loaded libraries takes longer than a small fit, so it is done once.
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be found)

    return ThreadpoolController().select(user_api="blas")


@cache
def _openmp() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")


def single_threaded_openmp():
    """Hold what this thread calls to one thread of OpenMP, within a ``with`` block.

    For other libraries where the data are few: waking threads takes longer than the work.
    """
    return _openmp().limit(limits=1)


#: How often each thread has entered `single_threaded_blas` and not left it.
_entered: dict[int, int] = {}
_lock = RLock()
_limiter: Any = None


@contextmanager
def single_threaded_blas():
    """Hold BLAS to one thread: its own threads fight with the kernels' over the cores.

    The limit belongs to the process, so fits in several threads share it: the first to enter sets
    it, the last to leave restores it.
    """
    global _limiter
    thread = get_ident()
    with _lock:
        if not _entered:
            _limiter = _blas().limit(limits=1)
        _entered[thread] = _entered.get(thread, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _leave(thread)


def _leave(thread: int) -> None:
    _entered[thread] -= 1
    if not _entered[thread]:
        del _entered[thread]
        if not _entered:
            _limiter.restore_original_limits()


# ---- fork --------------------------------------------------------------------------------------
#
# libgomp's idle threads do not survive a fork: a child that enters a parallel region waits for them
# forever. Wheels bring copies of libgomp, each with threads of its own; scikit-learn's k-means,
# from which a mixture starts, runs on scikit-learn's copy. So the threads of all copies are ended.

_libgomps: tuple[int, list[Any]] = (0, [])


def _find_libgomps() -> list[Any]:
    """Return every libgomp that this process has loaded, as ctypes has them."""
    global _libgomps
    # The search takes milliseconds, so it is repeated only when modules were imported: nearly
    # every library comes with one.
    if _libgomps[0] != len(sys.modules):
        found = ThreadpoolController().select(internal_api="openmp").lib_controllers
        copies = [library.dynlib for library in found if library.prefix == "libgomp"]
        _libgomps = (len(sys.modules), copies)
    return _libgomps[1]


def _before_fork() -> None:
    """End the idle threads of this thread's parallel regions; the next region starts new ones."""
    _lock.acquire()  # in the child, nobody could release it for a thread that is not there
    runtime.pause_threads()
    for library in _find_libgomps():
        if hasattr(library, "omp_pause_resource_all"):
            library.omp_pause_resource_all(1)  # omp_pause_soft


def _after_fork_in_child() -> None:
    for library in _libgomps[1]:
        if not hasattr(library, "omp_pause_resource_all"):
            # Older than GCC 9: its threads could not be ended. The child works without them.
            library.omp_set_num_threads(1)
    for thread in [*_entered]:
        while thread != get_ident() and thread in _entered:
            _leave(thread)  # the child does not have this thread, nor its fit
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_lock.release,
        after_in_child=_after_fork_in_child,
    )
