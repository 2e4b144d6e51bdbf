"""One case of the fuzz: an estimator, a few calls, and what must hold after each of them."""

import copy
import inspect
import linecache
import pickle
import traceback
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from fuzz_inputs import (
    bad_value,
    chance,
    draw_matrix,
    draw_parameters,
    draw_weight,
    pick,
)
from sklearn.base import BaseEstimator

import fastem

KIND = {"Bernoulli": "bits", "Categorical": "codes", "Binomial": "bits"}
REALS = ("Gaussian", "Bayesian", "KMeans", "GMM")
ESTIMATORS = [
    value
    for name in sorted(fastem.__all__)
    if inspect.isclass(value := getattr(fastem, name)) and issubclass(value, BaseEstimator)
]
#: As their docstrings say: of nothing, or of no pair of words.
MAY_BE_NAN = ("coherence", "held_out_log_likelihood", "perplexity")
#: Parts of the interface that scikit-learn provides, and that change nothing.
NOT_CALLED = ("get_", "set_", "onnx_")  # these are what skl2onnx asks, where it is
PACKAGE = str(Path(fastem.__file__).parent)


class Fault(Exception):
    """What the library must not do."""


# ---- comparing and describing --------------------------------------------------------------------


def alike(a, b):
    """Tell whether two values are the same to the last bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        same_form = a.dtype == b.dtype and a.shape == b.shape
        if not same_form or a.dtype.hasobject:
            return same_form and pickle.dumps(a) == pickle.dumps(b)
        return a.tobytes() == b.tobytes()
    if sp.issparse(a):
        # Not what SciPy has found out about them, as that columns are sorted.
        return a.shape == b.shape and all(
            alike(value, vars(b)[name])
            for name, value in vars(a).items()
            if isinstance(value, np.ndarray | dict | tuple)
        )
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    if isinstance(a, int | str | bool | type(None)):
        return a == b
    return True  # what has no value of its own: a model, a generator


def fitted(estimator):
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_") and name != "random_state_"
    }


def arrays_of(value):
    """Yield the arrays of numbers in a result."""
    if sp.issparse(value):
        yield np.asarray(value.tocoo().data)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from arrays_of(part)
    elif isinstance(value, np.ndarray | np.generic | float):
        value = np.asarray(value)
        if value.dtype.kind in "fc":
            yield value


def check_finite(name, value, minus_infinity=False):
    for array in arrays_of(value):
        if np.isnan(array).any():
            raise Fault(f"{name} has NaN")
        if np.isinf(array).any() and not (minus_infinity and not (array == np.inf).any()):
            raise Fault(f"{name} has {array[np.isinf(array)][0]}")


def brief(value):
    """Describe an argument in a line."""
    if sp.issparse(value):
        return f"<{type(value).__name__} {value.dtype} {value.shape}>"
    if isinstance(value, np.ndarray):
        if value.size <= 6:
            return f"array({value.tolist()}, {value.dtype})"
        flags = "".join(
            mark
            for mark, there in (
                (" unaligned", not value.flags.aligned),
                (" strided", not value.flags.forc),
                (" read-only", not value.flags.writeable),
            )
            if there
        )
        extra = ""
        if value.dtype.kind == "f" and value.size:
            with np.errstate(all="ignore"):
                extra = f" in [{value.min():.3g}, {value.max():.3g}]"
        return f"<array {value.dtype} {value.shape}{flags}{extra}>"
    text = repr(value).replace("\n", " ")
    return text if len(text) < 60 else f"{text[:50]}...<{type(value).__name__}>"


# ---- errors --------------------------------------------------------------------------------------


def check_error(error):
    """Raise Fault unless the error was raised on purpose, by the library or scikit-learn."""
    where = traceback.extract_tb(error.__traceback__)
    last = where[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    message = f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:200]}"
    if not isinstance(error, ValueError | TypeError) or isinstance(error, UnicodeError):
        raise Fault(message)
    ours = max(
        (i for i, frame in enumerate(where) if frame.filename.startswith(PACKAGE)), default=0
    )
    if any("sklearn" in frame.filename for frame in where[ours + 1 :]):
        return  # in the course of its validation
    line = linecache.getline(last.filename, last.lineno).strip()
    if not last.filename.startswith(PACKAGE) or not line.startswith("raise"):
        raise Fault(f"not raised on purpose: {message}")


# ---- a case --------------------------------------------------------------------------------------


class Case:
    """One estimator and some calls of its methods; every step is told to `say`."""

    def __init__(self, rng, say=lambda line: None):
        self.rng, self.say = rng, say
        cls = pick(rng, ESTIMATORS)
        self.reals = cls.__name__.startswith(REALS)
        family = cls.__name__.removesuffix("Mixture").removesuffix("HMM")
        self.kind = "reals" if self.reals else KIND.get(family, "counts")
        large = chance(rng, 0.08)
        self.n = int(rng.integers(1500, 4000)) if large else int(rng.integers(2, 60))
        self.d = int(rng.integers(8, 30)) if large else int(rng.integers(1, 13))
        self.odd = pick(rng, [0.0, 0.05, 0.25])
        parameters = draw_parameters(rng, cls, (self.n, self.d))
        if cls.__name__ == "GaussianLDA" and "vectors" not in parameters and chance(rng, 0.5):
            parameters["vectors"] = rng.normal(size=(self.d, 3))
            self.kind = "counts"
        self.name = cls.__name__
        self.estimator = cls(**parameters)
        self.damaged = False
        say(f"{self.name}({', '.join(f'{k}={brief(v)}' for k, v in parameters.items())})")

    def run(self):
        rng = self.rng
        X = draw_matrix(rng, self.kind, self.n, self.d, self.odd)
        weight = draw_weight(rng, self.n)
        fits = [m for m in ("fit", "fit_predict", "fit_transform", "partial_fit") if self.has(m)]
        first = "fit" if chance(rng, 0.7) else pick(rng, fits)
        before = copy.deepcopy(self.estimator)
        if self.call(first, X, weight) and chance(rng, 0.6):
            self.check_threads(before, first, X, weight)
        for _ in range(rng.integers(2, 6)):
            self.step(X, weight, fits)

    def has(self, name):
        return hasattr(self.estimator, name)

    def step(self, X, weight, fits):
        rng = self.rng
        if chance(rng, 0.15):
            X = draw_matrix(rng, self.kind, int(rng.integers(1, 30)), self.d, 0.3)
            weight = None
        if chance(rng, 0.15):
            self.damage()
        cls = type(self.estimator)
        methods = [m for m in dir(cls) if not m.startswith(("_", *NOT_CALLED))]
        methods = [m for m in methods if callable(getattr(cls, m, None))]
        name = pick(rng, fits) if chance(rng, 0.15) else pick(rng, methods)
        self.call(name, X, weight)

    def damage(self):
        """Set a fitted attribute to what it must not be."""
        names = [
            name for name, value in fitted(self.estimator).items() if type(value) is np.ndarray
        ]
        if names:
            name = pick(self.rng, names)
            value = bad_value(self.rng, getattr(self.estimator, name))
            self.say(f"{name} = {brief(value)}")
            setattr(self.estimator, name, value)
            self.damaged = True

    def arguments(self, name, X, weight):
        rng, arguments = self.rng, {}
        for parameter in inspect.signature(getattr(self.estimator, name)).parameters.values():
            if parameter.name in ("X", "X_observed", "X_held"):
                arguments[parameter.name] = X
            elif parameter.name == "sample_weight" and weight is not None:
                arguments["sample_weight"] = weight
            elif parameter.name == "doc_topic":
                k = pick(rng, [1, 2, 3, 5, getattr(self.estimator, "n_components", 1)])
                k = k if isinstance(k, int) and 0 < k < 1000 else 2
                arguments["doc_topic"] = draw_matrix(rng, "counts", 4, k, 0.2)
            elif parameter.name == "lengths" and chance(rng, 0.7):
                n = getattr(X, "shape", (1,))[0] if np.ndim(X) else 1
                good = [n // 2, n - n // 2]
                arguments["lengths"] = pick(
                    rng, [good, good, [n], [n + 1], [-1, n + 1], "a", [], n]
                )
            elif parameter.name in ("features", "given"):
                arguments[parameter.name] = pick(rng, [[0], [0], [1], [0, 1], [99], [], "a", 0])
            elif parameter.name == "values":
                arguments["values"] = pick(rng, [[0.0], [1.5], [0.0, 1.0], ["a"], [np.nan], 1.0])
            elif parameter.name == "n_samples" and chance(rng, 0.7):
                arguments["n_samples"] = pick(rng, [1, 5, 100, 0, -1, 2.5, "a", None, np.nan, True])
            elif parameter.name in ("n", "n_trials", "measure") and chance(rng, 0.4):
                arguments[parameter.name] = pick(
                    rng, [1, 3, 50, 0, -1, "x", None, 2.5, "npmi", "umass"]
                )
        return arguments

    def call(self, name, X, weight):
        """Call a method and check what it did; tell whether it succeeded."""
        if not self.has(name):
            return False  # for these parameters
        arguments = self.arguments(name, X, weight)
        told = ", ".join(f"{key}={brief(value)}" for key, value in arguments.items())
        self.say(f"{name}({told})")
        estimator = self.estimator
        before, given = copy.deepcopy(vars(estimator)), copy.deepcopy(arguments)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = getattr(estimator, name)(**arguments)
        except Exception as error:
            check_error(error)
            if not alike(vars(estimator), before):
                changed = [
                    key
                    for key in {**before, **vars(estimator)}
                    if not alike(vars(estimator).get(key, ...), before.get(key, ...))
                ]
                raise Fault(f"{name} failed and left {', '.join(changed)} changed") from error
            return False
        finally:
            for key in arguments:
                if not alike(arguments[key], given[key]):
                    raise Fault(f"{name} changed {key}")
        self.check_result(name, result)
        if name in ("fit", "fit_predict", "fit_transform", "partial_fit"):
            self.damaged = False
            self.check_fit()
        return True

    def check_result(self, name, result):
        may_be_minus_infinity = name.startswith("score") or name in ("elbo", "coherence")
        if isinstance(result, BaseEstimator) or (
            self.damaged and name in ("aic", "bic", "icl", "perplexity")
        ):
            return
        if name in ("aic", "bic", "icl", "perplexity"):
            result = np.asarray(-np.asarray(result, dtype=float))
            may_be_minus_infinity = not self.reals
        if name in MAY_BE_NAN and np.isnan(result).any():
            return
        # Means that were set to 1e300 have no density here; those of a fit of reals always have.
        check_finite(name, result, may_be_minus_infinity and (self.damaged or not self.reals))
        if name == "predict_proba":
            # Rows of zeros are samples that are impossible in all components.
            sums = result.sum(1)[result.any(1) | self.reals]
            if len(sums) and abs(sums - 1).max() > 1e-4:
                raise Fault(f"predict_proba sums to {sums.min()}")
        if name in ("predict", "fit_predict") and len(result) and result.min() < 0:
            raise Fault(f"{name} has the label {result.min()}")

    def check_fit(self):
        for name, value in fitted(self.estimator).items():
            if name != "bound_":  # a perplexity: NaN of no words
                check_finite(name, value, "bound" in name)
        bounds = np.array(getattr(self.estimator, "lower_bounds_", ()), dtype=float)
        if len(bounds) < 2 or not self.rises():
            return
        fall = -np.diff(bounds).min()
        single = any(
            value.dtype == np.float32
            for value in fitted(self.estimator).values()
            if isinstance(value, np.ndarray)
        )
        allowed = (1e-4 if single else 1e-8) * max(1.0, abs(bounds).max())
        if fall > allowed:
            raise Fault(f"the bound fell by {fall:.3g}: {bounds.tolist()[:6]}")

    def rises(self):
        """Tell whether this fit is one whose bound never falls.

        LDA's documents start again in every E-step, and may end in another optimum.
        """
        if isinstance(self.estimator, fastem.LatentDirichletAllocation):
            return False
        settings = self.estimator.get_params(deep=False)
        schedule = settings.get("algorithm", settings.get("learning_method", "batch"))
        return (
            schedule in ("batch", "em", "squarem", "lloyd", "elkan")
            and "_stream" not in vars(self.estimator)
            and settings.get("beta", 1.0) == 1.0
            and settings.get("reg_covar", 0.0) == 0.0
        )

    def check_threads(self, estimator, name, X, weight):
        """Fit again with 1, 2 and 3 threads: the same bits."""
        if "n_jobs" not in estimator.get_params() or name == "partial_fit":
            return
        arguments = {} if weight is None else {"sample_weight": weight}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits = [
                fitted(copy.deepcopy(estimator).set_params(n_jobs=n).fit(X, **arguments))
                for n in (1, 2, 3)
            ]
        for n, other in zip((2, 3), fits[1:], strict=True):
            for key, value in fits[0].items():
                if not alike(value, other[key]):
                    raise Fault(f"{key} differs with {n} threads")


__all__ = ["ESTIMATORS", "Case", "Fault"]
