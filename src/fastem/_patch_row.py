"""One class that is replaced: which methods are exchanged, and what a call of one does."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import get_config

from fastem._base import STAND_INS, unchanged_on_error
from fastem._compat import InvalidParameterError, validate_parameter_constraints
from fastem._engine.threads import effective_n_jobs

if TYPE_CHECKING:
    from fastem._patch import Entry

__all__ = ["Row"]

_log = logging.getLogger("fastem")
#: A reason that needs no warning: when the original fits, it raises an error, in its own words.
_REFUSED = "the original refuses its parameters"
#: How the names of methods that fit begin.
_FITS = ("fit", "partial_fit")


def _complete_kmeans(kmeans: Any) -> dict[str, Any]:
    """Return what scikit-learn's predict and score read besides the centers."""
    algorithm = "lloyd" if kmeans.n_clusters == 1 else kmeans.algorithm
    return {"_n_threads": effective_n_jobs(None), "_algorithm": algorithm}


def _complete_chain(model: Any) -> dict[str, Any]:
    """Return what hmmlearn's own methods read: the number of features, and of trials."""
    attributes = vars(model)
    own = attributes.get("means_", attributes.get("emissionprob_", attributes.get("lambdas_")))
    completed = {"n_features": own.shape[-1]}
    if "n_trials_" in attributes and model.n_trials is None:
        completed["n_trials"] = attributes["n_trials_"]
    return completed


#: What the original's own methods need of a fit, by library and class: private attributes.
_COMPLETE: dict[tuple[str, str], Callable[[Any], dict[str, Any]]] = {
    ("sklearn", "KMeans"): _complete_kmeans,
    **{
        ("hmmlearn", name): _complete_chain
        for name in ("CategoricalHMM", "GMMHMM", "GaussianHMM", "MultinomialHMM", "PoissonHMM")
    },
}


class Row:
    """One replaced class: which methods are exchanged, and what a call of one does."""

    def __init__(
        self, original: type, ours: type, entry: Entry, say_once: Callable[[int, str], None]
    ) -> None:
        self.original, self.ours, self.entry, self.say_once = original, ours, entry, say_once
        self.complete = _COMPLETE.get((original.__module__.partition(".")[0], original.__name__))
        self.name = f"{original.__module__.partition('.')[0]}'s {original.__name__}"
        self.parameters = _defaults(original)
        our_defaults = _defaults(ours)
        self.not_ours = sorted(self.parameters.keys() - our_defaults.keys())
        # Runs our methods on the attributes of an original estimator, which lacks what we added.
        added = {name: our_defaults[name] for name in our_defaults.keys() - self.parameters.keys()}
        added |= entry.settings
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
                self.say_once(level, f"{self.name} runs its own code: {reason}")
                return original(estimator, *args, **kwargs)
            random_state = getattr(estimator, "random_state", None)
            drawn = random_state if isinstance(random_state, np.random.RandomState) else None
            before = drawn.get_state() if drawn else None
            _, *arguments = bound.arguments.items()
            try:
                return self.run(estimator, name, ours, dict(arguments))
            except (ValueError, TypeError) as error:
                refusal = error
            # The original says what is wrong in its own words, or takes what we do not.
            if drawn is not None and before is not None:
                drawn.set_state(before)
            with unchanged_on_error(estimator):
                result = original(estimator, *args, **kwargs)
            self.say_once(
                logging.WARNING, f"{self.name} runs its own code: fastem refuses: {refusal}"
            )
            return result

        return method

    def run(self, estimator: Any, name: str, ours: Any, arguments: dict[str, Any]) -> Any:
        """Run a method of ours on the attributes of an estimator of the original."""
        self.say_once(logging.INFO, f"{self.name}.{name} was run by fastem")
        runner = object.__new__(self.runner)
        runner.__dict__ = estimator.__dict__  # the same one: what it sets is set
        try:
            result = ours(runner, **arguments)
        finally:
            if name.startswith(_FITS):
                self.finish(estimator)
        if type(result) is float and name in self.entry.numpy_floats:
            return np.float64(result)
        return estimator if result is runner else result

    def finish(self, estimator: Any) -> None:
        """Let the original's own code go on with what a fit of ours left."""
        attributes = vars(estimator)
        if self.complete is not None and hasattr(estimator, "n_features_in_"):
            attributes |= self.complete(estimator)
        for name in self.entry.only_ours:
            attributes.pop(name, None)
        for name in self.entry.numpy_floats:
            value = attributes.get(name)
            if isinstance(value, float):
                attributes[name] = np.float64(value)
            elif isinstance(value, list):
                attributes[name] = [np.float64(number) for number in value]

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
def _objection(row: Row, *values: Any) -> str | None:
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
