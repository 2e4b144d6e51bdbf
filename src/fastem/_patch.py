"""Drop-in: programs written for another library run on fastem, unchanged.

A replaced class stays the object that it is; only its public methods are exchanged, in the class
itself. So every name for it, however old, leads to fastem: imports made before, closures, lists of
classes, and estimators that exist. Identity, name, signature, parameters, ``repr``, tags, ``clone``
and pickles are the original's, since it is the original; what a fit leaves are plain arrays under
the names that both libraries use, so either reads what the other fitted.

Four things were decided here:

- *What fastem cannot do the same, the original does*, call by call, and says so (`Row.why_not`).
  That includes refusing: where ours raises a ValueError or TypeError, the original is asked. A
  method of the original that is private is never exchanged.
- *On import.* A library that the program has not imported is not imported here, either: its classes
  are replaced when it is loaded, before anyone can have them.
- *Idempotent.* ``patch()`` twice is ``patch()`` once, and one ``unpatch()`` ends it.
- *One state for the process, not for a thread.* Classes belong to all threads. Changing the state
  is locked; a call that is under way ends as it began; blocks of :func:`patched` that overlap in
  several threads end with the last of them.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import fastem
from fastem._children import leave_children
from fastem._on_import import Finder

if TYPE_CHECKING:
    from fastem._patch_row import Row

__all__ = ["is_patched", "patch", "patched", "unpatch"]


class Entry(NamedTuple):
    """A class that is replaced."""

    module: str  #: The original's public module.
    name: str  #: The original's name in it.
    ours: str  #: The name of fastem's class.
    #: What parameters that only our class has must be, to do as the original, where that is not
    #: their default.
    settings: Mapping[str, Any] = MappingProxyType({})
    #: Fitted attributes that the original does not have: they go after a fit.
    only_ours: tuple[str, ...] = ()
    #: What is NumPy's float64, or a list of them, where ours are Python's floats: attributes, and
    #: what methods return.
    numpy_floats: tuple[str, ...] = ()


_BOUNDS = ("converged_", "lower_bound_", "lower_bounds_")
_FIT_OF_CHAINS = (
    *("n_iter_", "n_features_in_", "feature_names_in_", "n_trials_"),
    *("_history", "_stop_reason", "_from_fit"),
)
#: What is replaced. A library that is not installed is passed over.
TABLE = (
    Entry(
        "sklearn.mixture",
        "GaussianMixture",
        "GaussianMixture",
        settings={"_allow_nan": False},
        numpy_floats=("lower_bound_", "lower_bounds_"),
    ),
    Entry(
        "sklearn.mixture",
        "BayesianGaussianMixture",
        "BayesianGaussianMixture",
        numpy_floats=("lower_bound_", "lower_bounds_", "degrees_of_freedom_"),
    ),
    Entry(
        "sklearn.cluster",
        "KMeans",
        "KMeans",
        settings={"_allow_nan": False},
        only_ours=_BOUNDS,
        numpy_floats=("_tol",),
    ),
    Entry(
        "sklearn.decomposition",
        "LatentDirichletAllocation",
        "LatentDirichletAllocation",
        settings={"shuffle": False},
        only_ours=_BOUNDS,
        numpy_floats=("bound_", "score", "perplexity"),
    ),
    *(
        Entry(
            "hmmlearn.hmm",
            name,
            name,
            settings={"_allow_nan": False},
            only_ours=(*_BOUNDS, *_FIT_OF_CHAINS),
        )
        for name in ("CategoricalHMM", "GMMHMM", "GaussianHMM", "MultinomialHMM", "PoissonHMM")
    ),
)

_log = logging.getLogger("fastem")
_lock = threading.RLock()
#: Who wants the patch: "patch" and the blocks of `patched` that are open. Empty: not patched.
_holders: set[object] = set()
_rows: dict[type, Row] = {}
_said: set[str] = set()


# ---- public ------------------------------------------------------------------------------------


def patch() -> None:
    """Make programs use fastem's classes where they name scikit-learn's or hmmlearn's.

    From now on the methods of scikit-learn's :class:`GaussianMixture
    <sklearn.mixture.GaussianMixture>`, :class:`BayesianGaussianMixture
    <sklearn.mixture.BayesianGaussianMixture>`, :class:`KMeans <sklearn.cluster.KMeans>` and
    :class:`LatentDirichletAllocation <sklearn.decomposition.LatentDirichletAllocation>` run
    fastem's code, and so do those of hmmlearn's hidden Markov models, also where the class was
    imported, or the estimator made, before. The classes stay the same objects, so that
    ``isinstance``, ``clone``, pipelines, searches and pickles do not notice; ``isinstance(obj,
    fastem.GaussianMixture)`` holds too.

    The original runs, and the logger "fastem" warns once, for: a user's subclass; a private method
    or function that the program has replaced; parameter values and arguments that fastem does not
    take; array API dispatch. With ``FASTEM_VERBOSE=1`` in the environment, stderr also shows what
    was taken.

    Calling it again changes nothing. The patch holds for all threads of this process and for those
    that it forks; a newly started process (spawn, forkserver, joblib's loky) is patched
    only if the program runs under ``fastem run``.

    See Also
    --------
    patched : The same for a ``with`` block.
    unpatch : The way back.

    Examples
    --------
    >>> import fastem
    >>> from sklearn.mixture import GaussianMixture
    >>> with fastem.patched():
    ...     mixture = GaussianMixture(2).fit([[0.0], [0.1], [1.0], [1.1]])
    ...     isinstance(mixture, fastem.GaussianMixture), type(mixture) is GaussianMixture
    (True, True)
    >>> fastem.is_patched(), isinstance(mixture, fastem.GaussianMixture)
    (False, False)
    """
    _hold("patch")


def unpatch() -> None:
    """Give every replaced class its own methods back, and close the blocks of :func:`patched`.

    A method that the program itself has replaced meanwhile is left as it is.
    """
    with _lock:
        _holders.clear()
        _restore()
    leave_children()


@contextmanager
def patched() -> Iterator[None]:
    """Call :func:`patch` for the length of a ``with`` block, and leave a patch that was there."""
    block = object()
    _hold(block)
    try:
        yield
    finally:
        _release(block)


def is_patched() -> bool:
    """Tell whether :func:`patch` is in force.

    Returns
    -------
    patched : bool
        True from :func:`patch` to :func:`unpatch`, and in a block of :func:`patched`.
    """
    return bool(_holders)


# ---- state -------------------------------------------------------------------------------------


def _hold(holder: object) -> None:
    with _lock:
        if not _holders:
            if os.environ.get("FASTEM_VERBOSE", "0") not in ("", "0"):
                _show_log()
            sys.meta_path.insert(0, _finder)  # type: ignore[arg-type]
        _holders.add(holder)
    try:
        # Nothing is imported under the lock: another thread may hold the module's and want ours.
        for name in _modules() & sys.modules.keys():
            _replace(importlib.import_module(name))  # waits for a thread that is loading it
    except BaseException:
        _release(holder)
        raise


def _release(holder: object) -> None:
    with _lock:
        _holders.discard(holder)
        if not _holders:
            _restore()


def _restore() -> None:
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)  # type: ignore[arg-type]
    for row in _rows.values():
        row.remove()
    _rows.clear()


def _modules() -> set[str]:
    return {entry.module for entry in TABLE}


def _replace(home: ModuleType) -> None:
    """Replace the classes of a module that has been loaded."""
    for entry in TABLE:
        if entry.module != home.__name__ or getattr(home, entry.name) in _rows:
            continue
        row = row_of(entry)
        with _lock:
            if _holders and row.original not in _rows:
                _rows[row.original] = row
                row.install()


def row_of(entry: Entry) -> Row:
    """Return what replaces a class; this imports both libraries."""
    from fastem._patch_row import Row

    original = getattr(importlib.import_module(entry.module), entry.name)
    ours = getattr(fastem, entry.ours)
    return Row(original, ours, entry, _say_once)


_finder = Finder(_modules, _replace)


def _show_log() -> None:
    if not any(handler.get_name() == "FASTEM_VERBOSE" for handler in _log.handlers):
        handler = logging.StreamHandler()
        handler.set_name("FASTEM_VERBOSE")
        handler.setFormatter(logging.Formatter("fastem: %(message)s"))
        _log.addHandler(handler)
        _log.setLevel(logging.INFO)


def _say_once(level: int, message: str) -> None:
    if message not in _said:
        _said.add(message)
        _log.log(level, "%s", message)
