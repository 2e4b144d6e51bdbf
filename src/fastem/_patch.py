"""Drop-in: programs written for another library run on fastem, unchanged.

A replaced class stays the object that it is; only its public methods are exchanged, in the class
itself. So every name for it, however old, leads to fastem: imports made before, closures, lists of
classes, and estimators that exist. Identity, name, signature, parameters, ``repr``, tags, ``clone``
and pickles are the original's, since it is the original; what a fit leaves are plain arrays under
the names that both libraries use, so either reads what the other fitted.

Three things were decided here:

- *What fastem cannot do the same, the original does*, call by call, and says so (`_Row.why_not`).
  A method of the original that is private is never exchanged.
- *Idempotent.* ``patch()`` twice is ``patch()`` once, and one ``unpatch()`` ends it.
- *One state for the process, not for a thread.* Classes belong to all threads. Changing the state
  is locked; a call that is under way ends as it began; blocks of :func:`patched` that overlap in
  several threads end with the last of them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sklearn import get_config
from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints

import fastem
from fastem._base import STAND_INS

__all__ = ["is_patched", "patch", "patched", "unpatch"]

#: What is replaced: (module of the original, its class, fastem's class). A library that is not
#: installed is passed over.
TABLE = (
    ("sklearn.mixture", "GaussianMixture", "GaussianMixture"),
    ("sklearn.cluster", "KMeans", "KMeans"),
    ("sklearn.decomposition", "LatentDirichletAllocation", "LatentDirichletAllocation"),
)

#: What the parameters that only our class has must be, to do as the original, where that is not
#: their default.
_AS_THE_ORIGINAL = {"LatentDirichletAllocation": {"shuffle": False}}

_log = logging.getLogger("fastem")
_lock = threading.RLock()
#: Who wants the patch: "patch" and the blocks of `patched` that are open. Empty: not patched.
_holders: set[object] = set()
_rows: list[_Row] = []
_said: set[str] = set()
#: A reason that needs no warning: when the original fits, it raises an error, in its own words.
_REFUSED = "the original refuses its parameters"


# ---- public ------------------------------------------------------------------------------------


def patch() -> None:
    """Make programs use fastem's classes where they name scikit-learn's.

    From now on the methods of :class:`sklearn.mixture.GaussianMixture`,
    :class:`sklearn.cluster.KMeans` and :class:`sklearn.decomposition.LatentDirichletAllocation` run
    fastem's code, also where the class was imported, or the estimator made, before. The classes
    stay the same objects, so that ``isinstance``, ``clone``, pipelines, searches and pickles do not
    notice; ``isinstance(obj, fastem.GaussianMixture)`` holds too.

    The original runs, and the logger "fastem" warns once, for: a user's subclass; a private method
    or function that the program has replaced; parameter values and arguments that fastem does not
    take; array API dispatch. With ``FASTEM_VERBOSE=1`` in the environment, stderr also shows what
    was taken.

    Calling it again changes nothing. The patch holds for all threads of this process and for those
    that it forks; a process that starts afresh (spawn, joblib's loky) is not patched.

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


@contextmanager
def patched() -> Iterator[None]:
    """Call :func:`patch` for the length of a ``with`` block, and leave a patch that was there."""
    block = object()
    _hold(block)
    try:
        yield
    finally:
        with _lock:
            _holders.discard(block)
            if not _holders:
                _restore()


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
            rows = [_Row(*classes) for classes in _classes()]  # all imports before any change
            for row in rows:
                row.install()
            _rows[:] = rows
        _holders.add(holder)


def _restore() -> None:
    for row in _rows:
        row.remove()
    _rows.clear()


def _classes() -> Iterator[tuple[type, type]]:
    """Yield (original, ours) for each row of `TABLE` whose library is installed."""
    for module, name, our_name in TABLE:
        try:
            home = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module.partition(".")[0]:
                raise  # the library is there, and broken
            _log.info("%s is not installed", error.name)
            continue
        yield getattr(home, name), getattr(fastem, our_name)


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


# ---- one class ---------------------------------------------------------------------------------


class _Row:
    """One replaced class: which methods are exchanged, and what a call of one does."""

    def __init__(self, original: type, ours: type) -> None:
        self.original, self.ours = original, ours
        self.name = f"{original.__module__.partition('.')[0]}'s {original.__name__}"
        self.parameters = _defaults(original)
        our_defaults = _defaults(ours)
        self.not_ours = sorted(self.parameters.keys() - our_defaults.keys())
        # Runs our methods on the attributes of an original estimator, which lacks what we added.
        added = {name: our_defaults[name] for name in our_defaults.keys() - self.parameters.keys()}
        added |= _AS_THE_ORIGINAL.get(ours.__name__, {})
        self.runner: Any = type(
            original.__name__, (ours,), {"__module__": ours.__module__, **added}
        )
        functions = dict(inspect.getmembers(original, inspect.isfunction))
        self.exchanged = {
            name: self.method(name, function, getattr(ours, name))
            for name, function in functions.items()
            if not name.startswith("_")
            and getattr(getattr(ours, name, None), "__module__", "").startswith("fastem.")
        }
        #: What the original's public methods call and ours do not: methods, module functions.
        self.hooks = {
            name: function
            for name, function in functions.items()
            if name.startswith("_") and not name.startswith("__")
        }
        package = original.__module__.rpartition(".")[0] or original.__module__
        homes = {cls.__module__ for cls in original.__mro__ if cls.__module__.startswith(package)}
        spaces = [vars(sys.modules[home]) for home in homes]
        self.helpers = [
            (space, {name: f for name, f in space.items() if inspect.isfunction(f)})
            for space in spaces
        ]
        #: The methods that the class itself defines; it inherits the others.
        self.own = {name: vars(original)[name] for name in self.exchanged if name in vars(original)}

    def install(self) -> None:
        STAND_INS[self.original] = self.ours
        for name, method in self.exchanged.items():
            setattr(self.original, name, method)
        _log.info("%s runs on fastem: %s", self.name, ", ".join(self.exchanged))

    def remove(self) -> None:
        for name, method in self.exchanged.items():
            if vars(self.original).get(name) is not method:
                continue  # the program has replaced it
            if name in self.own:
                setattr(self.original, name, self.own[name])
            else:
                delattr(self.original, name)
        del STAND_INS[self.original]

    def method(self, name: str, original: Any, ours: Any) -> Any:
        """Return the method that runs `ours` where it can, and else `original`."""
        signature = inspect.signature(original)
        known = inspect.signature(ours).parameters.keys()

        @functools.wraps(original)
        def method(estimator, *args, **kwargs):
            try:
                bound = signature.bind(estimator, *args, **kwargs)
            except TypeError:
                return original(estimator, *args, **kwargs)  # it says what is wrong
            # A method may be called after unpatch(), by one who has kept it.
            if STAND_INS.get(self.original) is not self.ours:
                return original(estimator, *args, **kwargs)
            unknown = sorted(bound.arguments.keys() - known)
            reason = f"fastem's {name} has no argument {unknown[0]}" if unknown else None
            reason = reason or self.why_not(estimator)
            if reason is not None:
                level = logging.INFO if reason is _REFUSED else logging.WARNING
                _say_once(level, f"{self.name} runs its own code: {reason}")
                return original(estimator, *args, **kwargs)
            _say_once(logging.INFO, f"{self.name}.{name} was run by fastem")
            runner = object.__new__(self.runner)
            runner.__dict__ = estimator.__dict__  # the same one: what it sets is set
            _, *arguments = bound.arguments.items()
            result = ours(runner, **dict(arguments))
            return estimator if result is runner else result

        return method

    def why_not(self, estimator: Any) -> str | None:
        """Return why the original has to do it, or None if fastem can."""
        kind = type(estimator)
        if kind is not self.original:
            return f"{kind.__module__}.{kind.__qualname__} is a class of its own"
        for name, function in self.hooks.items():
            if name in vars(estimator) or getattr(self.original, name, None) is not function:
                return f"the program has its own {name}"
        for space, functions in self.helpers:
            for name, function in functions.items():
                if space.get(name) is not function:
                    return f"the program has its own {space['__name__']}.{name}"
        if get_config().get("array_api_dispatch"):
            return "array API dispatch is on"
        values = [getattr(estimator, name) for name in self.parameters]
        try:
            return _objection(self, *values)
        except TypeError:  # an array cannot be looked up in the cache
            return _objection.__wrapped__(self, *values)


@functools.lru_cache(maxsize=16, typed=True)  # the check would take half of a small predict
def _objection(row: _Row, *values: Any) -> str | None:
    """Return why parameter values need the original, `_REFUSED` if it will refuse them itself."""
    parameters = dict(zip(row.parameters, values, strict=True))
    if _invalid(row.original, parameters):
        return _REFUSED
    for name in row.not_ours:
        value = parameters.pop(name)
        if value is not row.parameters[name]:
            return f"fastem has no parameter {name}, which is {value!r}"
    return _invalid(row.ours, parameters)


def _invalid(cls: Any, parameters: dict[str, Any]) -> str | None:
    """Return what is wrong with parameters by the constraints of a class, if anything is."""
    constraints = getattr(cls, "_parameter_constraints", {})
    try:
        validate_parameter_constraints(constraints, parameters, caller_name="fastem")
    except InvalidParameterError as error:
        return str(error)
    return None


def _defaults(estimator: Any) -> dict[str, Any]:
    """Return the names and default values of an estimator class's parameters."""
    parameters = inspect.signature(estimator.__init__).parameters.values()
    return {p.name: p.default for p in list(parameters)[1:]}
