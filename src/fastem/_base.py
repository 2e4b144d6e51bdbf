"""What the estimators share: validation doors, the bridge to the driver, callbacks, undo."""

from __future__ import annotations

import warnings
from abc import ABCMeta
from contextlib import contextmanager
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from fastem import em
from fastem._compat import (
    CallbackSupportMixin,
    Interval,
    InvalidParameterError,
    check_any_sample_weight,
    has_callbacks,
    make_constraint,
    visual_block,
)
from fastem._engine.arrays import native
from fastem._engine.checkpoints import Keeper
from fastem._engine.fingerprints import describe
from fastem._engine.threads import single_threaded_blas
from fastem._version import __version__

__all__ = [
    "STAND_INS",
    "EMEstimator",
    "check_fitted_array",
    "check_flag",
    "check_sample_weight",
    "known_features",
    "refuse_unknown_features",
    "squarable",
    "unchanged_on_error",
]

#: Classes of other libraries that run on ours at present, and ours (see `fastem._patch`).
STAND_INS: dict[type, type] = {}

_FLOATING = (np.dtype(np.float32), np.dtype(np.float64))


def check_sample_weight(sample_weight, X):
    """Return sample weights as float64 of shape (n_samples,), or None if they are all alike 1."""
    if sample_weight is None:
        return None
    sample_weight = check_any_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    if not sample_weight.any():
        raise ValueError("sample_weight must have at least one positive weight, got only zeros")
    with np.errstate(over="ignore"):
        total = sample_weight.sum()
    if not 1e-200 < total < 1e200:  # times data and squares it must stay a normal number
        raise ValueError(f"sample_weight must sum to between 1e-200 and 1e200, got {total:.6g}")
    return None if np.all(sample_weight == 1) else native(sample_weight)


def known_features(X, sample_weight):
    """Return of which features something is known but NaN, (D,) bool."""
    known = ~np.isnan(X)
    if sample_weight is not None:
        known &= sample_weight[:, None] > 0
    return known.any(axis=0)


def refuse_unknown_features(estimator, known):
    """Raise ValueError if there is a feature of which nothing is known, by its name."""
    if not known.all():
        feature = int(np.argmin(known))
        name = getattr(estimator, "feature_names_in_", range(len(known)))[feature]
        raise ValueError(
            f"feature {name} of X has no value but NaN, or of sample_weight 0: leave it out"
        )


def check_flag(name, value):
    """Raise TypeError unless a value is True or False: a string would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def check_fitted_array(
    estimator, name, shape, *, floating=False, nonnegative=False, positive=False, at_most=np.inf
):
    """Return a fitted attribute as an array, or say what is wrong with it.

    People set attributes, and files are altered; kernels would read out of bounds.

    Parameters
    ----------
    estimator : object
    name : str
    shape : tuple of (int or None)
        None stands for any length but 0.
    floating : bool, default=False
        Whether it must be an array of float32 or float64 already.
    nonnegative, positive : bool, default=False
        Whether all values must be at least 0, or above it.
    at_most : float, default=inf

    Raises
    ------
    ValueError
        Unless it has that shape and all values are finite numbers, in range.
    """
    given = getattr(estimator, name)
    values = np.asarray(given)
    fits = len(values.shape) == len(shape) and all(
        n == expected or (expected is None and n > 0)
        for n, expected in zip(values.shape, shape, strict=True)
    )
    if floating:
        right = isinstance(given, np.ndarray) and values.dtype in _FLOATING
    else:
        right = values.dtype.kind in "fiu"
    # The extremes of an array with NaN are NaN; unlike isfinite, they take no memory.
    lowest, highest = 1.0, 1.0
    if fits and right and values.size:
        lowest, highest = float(values.min()), float(values.max())
    if not (fits and right):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        kind = "an array of float32 or float64" if floating else "numbers"
        got = f"{values.dtype} of shape {values.shape}"
        if floating and not isinstance(given, np.ndarray):
            got = type(given).__name__
        problem = f"{kind} of shape ({expected}), got {got}"
    elif not (np.isfinite(lowest) and np.isfinite(highest)):
        problem = "finite, got NaN or infinity"
    elif positive and lowest <= 0:
        problem = f"above 0, got {lowest:.6g}"
    elif (nonnegative and lowest < 0) or highest > at_most:
        bad = lowest if nonnegative and lowest < 0 else highest
        least = 0 if nonnegative or positive else -np.inf
        problem = f"in [{least}, {at_most}], got {bad:.6g}"
    else:
        return values
    raise ValueError(
        f"{name} of this fitted {type(estimator).__name__} must be {problem}: fit again, or set "
        "the attribute"
    )


def squarable(X):
    """Return X, or float32 data times a power of 2 if their squares would be lost."""
    largest = max(-X.min(), X.max()) if X.dtype == np.float32 else 1.0  # abs would take memory
    if largest == 0 or 1e-12 < largest < 1e12:
        return X
    return X * np.float32(2.0 ** -np.frexp(largest)[1])


@contextmanager
def unchanged_on_error(estimator):
    """Give the estimator its fitted attributes back if the block raises.

    An interrupt that carries a result (see :func:`fastem.em.fit`) leaves that result instead.
    """
    before = _attributes_of(estimator)
    try:
        yield
    except BaseException as error:
        if getattr(error, "keep_fitted", False):
            raise
        for name in _attributes_of(estimator):
            delattr(estimator, name)
        for name, value in before.items():
            setattr(estimator, name, value)
        raise


def _attributes_of(estimator) -> dict[str, Any]:
    """Return what a fit may set, private attributes included."""
    return {name: value for name, value in vars(estimator).items() if name not in _RUNNING}


def _ending(estimator):
    """Return how the last fit ended, in words; None without a fit."""
    if not hasattr(estimator, "lower_bound_"):
        return None
    n_iter = estimator.n_iter_
    state = "converged" if estimator.converged_ else "not converged"
    return (
        f"fitted: {n_iter} iteration{'s' * (n_iter != 1)}, {state}, "
        f"lower bound {estimator.lower_bound_:.6g}"
    )


class _StandInMeta(ABCMeta):
    """``isinstance`` and ``issubclass`` that take a class of `STAND_INS` for ours."""

    # Not ABCMeta's: it would remember the answers when STAND_INS has changed.
    def __subclasscheck__(cls, subclass):
        return type.__subclasscheck__(cls, STAND_INS.get(subclass, subclass))

    def __instancecheck__(cls, instance):
        return type.__instancecheck__(cls, instance) or cls.__subclasscheck__(type(instance))


class _OtherVersionWarning(InconsistentVersionWarning):
    """Who filters scikit-learn's warning about old pickles means ours, too."""

    def __str__(self):
        return (
            f"this {self.estimator_name} was saved by fastem {self.original_sklearn_version} and "
            f"is loaded by fastem {self.current_sklearn_version}: the meaning of an attribute may "
            "have changed, see CHANGELOG.md; if in doubt, fit again or load it with that version"
        )


#: What belongs to a fit that is running, and not to what it finds. (Callbacks that the user gave
#: by set_callbacks stay, as in scikit-learn: joblib's workers get estimators as pickles.)
_RUNNING = ("_callback_fit_ctx", "_skl_callbacks_to_teardown", "_keeper")

#: Parameters that the bits of a fit do not depend on.
_NO_BITS = ("n_jobs", "verbose", "verbose_interval", "copy_x")


#: What is known of fitted estimators until they change: no attributes of theirs, and not saved.
_KNOWN: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def _refuse_flag(estimator, name, value):
    """Raise ValueError if a parameter that is True or False is to be a number."""
    constraints = estimator._parameter_constraints.get(name, ())
    flags = any(
        isinstance(c, str) and c in ("boolean", "verbose", "no_validation") for c in constraints
    )
    if not flags and any(isinstance(constraint, Interval) for constraint in constraints):
        raise InvalidParameterError(
            f"{name} of {type(estimator).__name__} must be a number, got {value!r}: pass "
            f"{int(value)} if that is meant"
        )


class EMEstimator(CallbackSupportMixin, BaseEstimator, metaclass=_StandInMeta):
    """Base of the estimators that :mod:`fastem.em` fits.

    A subclass has the parameters `tol`, `max_iter`, `verbose` and `verbose_interval`, or gives them
    to ``_fit_em``, and ``_attributes(params)``, a dict of the fitted attributes of some parameters.
    """

    converged_: bool
    n_iter_: int
    lower_bound_: float
    lower_bounds_: list[float]
    _param_names: ClassVar[list[str]]
    _constraints: ClassVar[dict[str, list[Any]]]
    n_features_in_: int
    feature_names_in_: np.ndarray

    def _keep(self, parameters):
        """Set the parameters that __init__ was given: its locals()."""
        for name, value in parameters.items():  # in their order; looking names up takes longer
            if name != "self":
                setattr(self, name, value)

    @classmethod
    def _get_param_names(cls):
        # scikit-learn reads the signature each time: every fit, clone and set_params asks.
        if "_param_names" not in vars(cls):
            cls._param_names = super()._get_param_names()
        return list(cls._param_names)

    def _validate_params(self) -> None:
        """Validate the parameters; scikit-learn takes True for the number 1."""
        for name, value in vars(self).items():
            if isinstance(value, (bool, np.bool_)):
                _refuse_flag(self, name, value)
        known = self._made_constraints()
        for name in self._get_param_names():
            value = getattr(self, name)
            if name in known and not any(made.is_satisfied_by(value) for made in known[name]):
                super()._validate_params()  # which says so in scikit-learn's words

    @classmethod
    def _made_constraints(cls):
        """Return what scikit-learn makes of the table of constraints: in each fit, anew."""
        if "_constraints" not in vars(cls):
            cls._constraints = {
                name: [make_constraint(constraint) for constraint in constraints]
                for name, constraints in cls._parameter_constraints.items()
                if constraints != "no_validation"
            }
        return cls._constraints

    def __setattr__(self, name: str, value: Any) -> None:
        _KNOWN.pop(self, None)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _KNOWN.pop(self, None)
        object.__delattr__(self, name)

    def _once(self, name, make):
        """Return what reading a fitted estimator needs, made once; a change of it drops all.

        An array that is changed in place is not noticed: what is made must not be copies of
        values, but what is known of them.
        """
        known = _KNOWN.setdefault(self, {})
        if name not in known:
            known[name] = make()
        return known[name]

    def _check_is_fitted(self, attribute):
        """Raise scikit-learn's NotFittedError unless the attribute is there."""
        if attribute not in vars(self):
            check_is_fitted(self, attribute)

    def _open_checkpoint(self, checkpoint, X, **data):
        """Let the fit that begins be written to a checkpoint, or go on from it; None: neither.

        Parameters, and a look at the data, tell whether it is of the same fit.
        """
        self.__dict__.pop("_keeper", None)
        self.__dict__.pop("_stream", None)  # a fit starts from the beginning
        if checkpoint is None:
            return
        if getattr(self, "random_state", 0) is None:
            raise ValueError(
                "random_state must be an integer for a fit with a checkpoint, got None: begun "
                "again, it would not be the same fit"
            )
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in _NO_BITS}
        seen = {"parameters": parameters, "X": X, **data}
        if getattr(self, "warm_start", False):
            seen["warm"] = {k: v for k, v in vars(self).items() if k.endswith("_")}
        keeper = Keeper(checkpoint, {type(self).__name__: describe(seen)})
        object.__setattr__(self, "_keeper", keeper)

    def _fit_em(
        self,
        model,
        blocks,
        start,
        *,
        schedule="batch",
        evaluate_every=1,
        tol=None,
        verbose=None,
        n_init=1,
        lower_bound=-np.inf,
        callbacks=(),
        executor=None,
        X=None,
        y=None,
        sample_weight=None,
    ) -> em.Result:
        """Run the driver and set the fitted attributes; on Ctrl-C, those of the best so far."""
        callbacks = list(callbacks)
        bridge = None
        if has_callbacks(self) or hasattr(self, "_parent_callback_ctx"):
            bridge = _ScikitLearnCallbacks(self, n_init, X, y, sample_weight)
            if has_callbacks(self):
                callbacks.append(bridge)
        try:
            with single_threaded_blas():
                result = em.run(
                    model,
                    blocks,
                    start,
                    schedule=schedule,
                    tol=self.tol if tol is None else tol,
                    max_iter=self.max_iter,
                    evaluate_every=evaluate_every,
                    n_init=n_init,
                    lower_bound=lower_bound,
                    callbacks=callbacks,
                    executor=executor,
                    verbose=int(self.verbose if verbose is None else verbose),
                    verbose_interval=getattr(self, "verbose_interval", 10),
                    keeper=self.__dict__.pop("_keeper", None),
                )
        except KeyboardInterrupt as interrupt:
            best = getattr(interrupt, "result", None)
            if best is not None:
                self._set_fitted(self._result_attributes(best))
                interrupt.keep_fitted = True  # type: ignore[attr-defined]
            raise
        self._set_fitted(self._result_attributes(result))
        if bridge is not None:
            bridge.on_fit_end(result)
        return result

    def __getstate__(self):
        """Return what is saved: parameters, fitted attributes, fastem's version."""
        state = {k: v for k, v in super().__getstate__().items() if k not in _RUNNING}
        return state | {"_fastem_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        version = state.pop("_fastem_version", "unknown")
        if version != __version__:
            warnings.warn(
                _OtherVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=__version__,
                    original_sklearn_version=version,
                ),
                stacklevel=2,
            )
        super().__setstate__(state)

    def _set_fitted(self, attributes: dict[str, Any]) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)

    def _result_attributes(self, result: em.Result) -> dict[str, Any]:
        return {
            **self._attributes(result.params),
            "converged_": result.converged,
            "n_iter_": result.n_iter,
            "lower_bound_": result.lower_bound,
            "lower_bounds_": list(result.lower_bounds),
        }

    def _sk_visual_block_(self):
        """Return what notebooks show: scikit-learn's block with a line on how the fit ended.

        Raises ImportError where scikit-learn has moved it: nothing is lost then but the line.
        """
        return visual_block(
            "single",
            self,
            names=type(self).__name__,
            name_details=str(self),
            name_caption=_ending(self),
        )

    def _attributes(self, params) -> dict[str, Any]:
        raise TypeError(f"{type(self).__name__} must define _attributes")


class _ScikitLearnCallbacks(em.Callback):
    """Tells scikit-learn's callbacks (sklearn.callback) what the driver does.

    Their task tree: fit > initialization (n_init of them) > iteration (at most max_iter).
    """

    def __init__(self, estimator, n_init, X, y, sample_weight) -> None:
        self.estimator = estimator
        if y is None and X is not None:  # X is None where it is read in blocks
            # ScoringMonitor scores only where there is a y; these estimators' scores ignore it.
            y = np.broadcast_to(np.int64(0), X.shape[0])
        self.data = {"estimator": estimator, "X": X, "y": y}
        if sample_weight is not None:
            self.data["metadata"] = {"sample_weight": sample_weight}
        self.root = estimator._init_callback_context(max_subtasks=n_init)
        self.root.call_on_fit_task_begin(**self.data)

    def on_init_begin(self, init):
        self.init = self.root.subcontext(
            task_name="initialization", max_subtasks=self.estimator.max_iter
        )
        self.init.call_on_fit_task_begin(**self.data)
        self.lower_bounds: list[float] = []

    def on_iteration_begin(self, init, iteration):
        self.iteration = self.init.subcontext(task_name="iteration")
        self.iteration.call_on_fit_task_begin(**self.data)

    def on_iteration_end(self, state):
        self.lower_bounds.append(state.lower_bound)
        result = em.Result(
            state.params, state.lower_bound, self.lower_bounds, state.iteration, False
        )
        return self._end(self.iteration, result)

    def on_init_end(self, init, result):
        self._end(self.init, result)

    def get_state(self):
        return self.lower_bounds

    def set_state(self, state):
        self.lower_bounds = state

    def on_fit_end(self, result):
        """Tell that the whole fit ended."""
        self._end(self.root, result)

    def _end(self, context, result):
        return context.call_on_fit_task_end(
            **self.data,
            # Called only if a callback wants a fitted estimator.
            reconstruction_attributes=lambda: self.estimator._result_attributes(result),
        )
