"""What the estimators of discrete mixtures share: all but the distributions."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils import assert_all_finite

from fastem._base import check_fitted_array
from fastem._compat import Interval, StrOptions
from fastem._engine.arrays import validate
from fastem._engine.sparse import validate_sparse
from fastem._engine.threads import effective_n_jobs, useful_n_jobs
from fastem._typing import RandomStateLike
from fastem.components import discrete
from fastem.components.checks import (
    MOST_COUNTED,
    MOST_PRIOR,
    check_start,
    check_weights,
    one_prior,
    refuse,
)
from fastem.components.codes import FEW_ROWS
from fastem.components.discrete import CodedBlock, Contents, DiscreteEM, DiscreteParams
from fastem.mixture.base import ALGORITHM, ALGORITHMS
from fastem.mixture.criteria import Criteria
from fastem.mixture.discrete_start import METHODS
from fastem.mixture.discrete_start import start as start_of
from fastem.mixture.errors import DiscreteErrors, Errors
from fastem.mixture.streaming import STEP, StreamingMixture
from fastem.mixture.summary import feature_names

__all__ = ["DiscreteMixture", "documented"]

_Class = TypeVar("_Class")

_PARAMETERS = (
    """\
    weights_init : array-like of shape (n_components,), default=None
        First weights; None: equal ones, or those of the random responsibilities.
    fixed_weights : bool, default=False
        Keep the weights as they are at the start.
    weight_prior : float, default=0.0
        Pseudo-count added to every component's weight: a Dirichlet prior with this plus 1, MAP. 0
        is maximum likelihood.
    tol : float, default=1e-5
        EM stops when the mean log-likelihood per sample changes by less than this.
    max_iter : int, default=1000
        Largest number of EM iterations; 0 only computes the start.
    n_init : int, default=1
        Number of restarts; the one with the largest bound is kept.
    init_params : {'kmeans', 'k-means++', 'random_from_data', 'random'}, default='kmeans'
        How the first parameters are chosen: those of clusters, the best of four short runs of
        k-means on data transformed to even variance (of more than 20,000 samples, and 200 for each
        component, as many at random); half-way between those of all samples and those of one that
        is far from the other components'; between those of all and of a random sample; or from
        random responsibilities.
    random_state : int, RandomState instance or None, default=None
        Seed of the start and of `sample`.
    warm_start : bool, default=False
        Go on from the last fit; then `n_init` is 1.
    verbose : int, default=0
        1 prints each restart and every `verbose_interval`-th iteration, 2 also times and bounds.
    verbose_interval : int, default=10
        Number of iterations between two lines.
    n_jobs : int, default=None
        Number of threads; None and -1: all physical cores. The bits of the result do not depend
        on it.
"""
    + ALGORITHM
    + STEP
)
_ATTRIBUTES = """\
    weights_ : ndarray of shape (n_components,)
        Weights of the components; they sum to 1.
    converged_ : bool
        Whether the best restart converged.
    n_iter_ : int
        Number of its iterations.
    lower_bound_ : float
        Its last mean log-likelihood per sample (with priors, plus their log-density up to a
        constant, by the number of samples).
    lower_bounds_ : list of float
        The same at each of its iterations.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had names that are all strings.
"""


def documented(cls: type[_Class]) -> type[_Class]:
    """Put the parameters and attributes that all classes have into a class's docstring."""
    if cls.__doc__ is not None:  # python -OO has none
        cls.__doc__ = cls.__doc__.replace("    {parameters}\n", _PARAMETERS)
        cls.__doc__ = cls.__doc__.replace("    {attributes}\n", _ATTRIBUTES)
    return cls


def _block_of(family, n_components, contents, X, sample_weight):
    """Return the block of some of the samples, whose table is that of all."""
    return CodedBlock.of(family, X, sample_weight, n_components, contents)


class DiscreteMixture(DiscreteErrors[Errors], StreamingMixture, Criteria):
    """What the classes below share; each names its own parameters, checks and draws its data."""

    n_components: int
    weights_init: npt.ArrayLike | None
    fixed_weights: bool
    weight_prior: float
    tol: float
    max_iter: int
    n_init: int
    init_params: str
    random_state: RandomStateLike
    warm_start: bool
    verbose: int
    verbose_interval: int
    n_jobs: int | None

    _values: ClassVar[str] = "probabilities"  # the family's parameters: values_ and values_init
    _allow_nan: ClassVar[bool] = True
    _sparse: ClassVar[bool] = False
    _packs: ClassVar[bool] = False  # whether data may be binary and then be stored as bits

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "probabilities_init": ["array-like", None],
        "probability_prior": [Interval(Real, 0, None, closed="left"), "array-like"],
        "weights_init": ["array-like", None],
        "fixed_weights": ["boolean"],
        "weight_prior": [Interval(Real, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(METHODS))],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "algorithm": [StrOptions({*ALGORITHMS})],
        **StreamingMixture._step_constraints,
    }

    # ---- what a family has of its own ------------------------------------------------------

    def _learn(self, n_features, contents):
        """Set what the family has beside its parameters."""

    @abstractmethod
    def _family(self) -> Any:
        """Return the family, of module discrete."""

    def _counted(self, name):
        """Return a fitted attribute that has an integer for each feature, checked."""
        return check_fitted_array(
            self, name, (self.n_features_in_,), nonnegative=True, at_most=MOST_COUNTED
        )

    def _check(self, contents):
        """Raise ValueError unless the data are the family's."""
        self._check_values(contents)

    def _check_values(self, contents):
        """Raise ValueError if some values are wrong whatever all the others are."""
        refuse(contents.lowest < 0, contents.lowest, "counts, at least 0")
        refuse(
            contents.highest > MOST_COUNTED,
            contents.highest,
            f"counts, at most {MOST_COUNTED}",
            ": the probabilities of larger ones are lost in rounding; count in larger units",
        )

    # ---- fitting ---------------------------------------------------------------------------

    def _read(self, X, *, reset=True, dtype=(np.float64, np.float32), finite=False):
        """Return X, validated; unless `finite`, _refuse_infinite() is still to look at dense X."""
        read = validate_sparse if self._sparse else validate
        if finite or not (isinstance(X, np.ndarray) and X.dtype.kind == "f"):
            finite = "allow-nan" if self._allow_nan else True
        return read(self, X, reset=reset, dtype=list(dtype), ensure_all_finite=finite)

    def _refuse_infinite(self, X, contents):
        """Raise scikit-learn's ValueError if X has values that are not finite."""
        extremes = contents.lowest.min(), contents.highest.max()
        if not np.isfinite(extremes).all() or (contents.missing.any() and not self._allow_nan):
            name = type(self).__name__
            assert_all_finite(X, allow_nan=self._allow_nan, estimator_name=name, input_name="X")

    def _read_block(self, X, reset=True):
        return self._read(X, reset=reset, finite=True)

    @staticmethod
    def _composition(statistics):
        return statistics.resp

    def _look_at(self, X, sample_weight):
        contents = Contents.of(X, sample_weight)
        self._check_values(contents)
        return contents

    def _maker(self, block, found):
        return partial(_block_of, block.family, self.n_components, found.extra)

    def _problem_of(self, X, sample_weight, found):
        return self._problem(X, sample_weight, found.extra)

    def _problem(self, X, sample_weight, contents=None):
        if contents is None:
            contents = Contents.of(X, sample_weight, self._packs, effective_n_jobs(self.n_jobs))
            self._refuse_infinite(X, contents)
        streams = bool(vars(self).get("_stream", {}).get("sums"))  # the rest of it was seen before
        if not streams and not contents.observed.all():
            raise ValueError(
                f"X has only NaN in feature {int(np.argmin(contents.observed))}"
                + ("" if sample_weight is None else ", where sample_weight is above 0")
                + ": drop it, for it tells nothing"
            )
        if not streams:
            self._learn(X.shape[1], contents)
        family, k = self._family(), self.n_components  # which checks what it is made of
        self._check(contents)
        weights = None if self.weights_init is None else check_weights(self.weights_init, k)
        values = self._check_values_init(family)
        fixed = None
        if self.fixed_weights:
            fixed = np.full(k, 1 / k) if weights is None else weights
            if streams or (self.warm_start and hasattr(self, "converged_")):
                fixed = self._params().weights
        one_prior("weight_prior", self.weight_prior)
        block = CodedBlock.of(family, X, sample_weight, k, contents)
        model = DiscreteEM(
            family,
            self.weight_prior,
            fixed,
            effective_n_jobs(self.n_jobs),
            X.dtype,
            contents.highest.max(),
        )

        def start(random_state):
            if weights is not None and values is not None:
                return DiscreteParams(weights, values, X.dtype)
            drawn = start_of(self.init_params, model, block, X, k, random_state)
            return DiscreteParams(
                drawn.weights if weights is None else weights,
                drawn.values if values is None else values,
                X.dtype,
            )

        return model, block, start

    @staticmethod
    def _n_rows(block):
        return block.n_samples

    @staticmethod
    def _piece(model, block, begin, end):
        return block.samples(begin, end)

    def _check_values_init(self, family):
        """Return the given parameters, validated, or None."""
        given = getattr(self, f"{self._values}_init")
        if given is None:
            return None
        shape = (self.n_components, *family.shape)
        values = check_start(self._values, given, shape)
        most = MOST_PRIOR if self._values == "rates" else 1.0
        if np.any(values < 0) or np.any(values > most):
            raise ValueError(
                f"{self._values}_init must be in [0, {most}], got values from {values.min():.6g} "
                f"to {values.max():.6g}"
            )
        family.check_sums(values)
        return values

    def _attributes(self, params) -> dict[str, Any]:
        return {
            "weights_": params.weights.astype(params.dtype),
            f"{self._values}_": params.values.astype(params.dtype),
        }

    def _params(self):
        self._once("checked", self._check_attributes)
        weights, values = np.asarray(self.weights_), np.asarray(getattr(self, f"{self._values}_"))
        wide = weights.astype(np.float64, copy=False), values.astype(np.float64, copy=False)
        return DiscreteParams(*wide, weights.dtype)

    def _check_attributes(self):
        """Raise ValueError if a fitted attribute is not what kernels and formulas may read."""
        check_fitted_array(
            self,
            f"{self._values}_",
            (len(self._fitted_weights()), *self._family().shape),
            nonnegative=True,
            at_most=MOST_PRIOR if self._values == "rates" else 1.0,
        )

    # ---- reading ---------------------------------------------------------------------------

    def _validated(self, X):
        self._check_is_fitted("weights_")
        # As NumPy promotes: float32 only where both the model and X are.
        wide = np.asarray(self.weights_).dtype == np.float64
        return self._read(X, reset=False, dtype=[np.float64] if wide else [np.float64, np.float32])

    def _block(self, family, X, sample_weight=None, *, reading=True):
        """Return the block of validated samples; of `reading` no sums are asked."""
        few = not sp.issparse(X) and X.shape[0] < FEW_ROWS
        contents = Contents.of(
            X, sample_weight, family.binary and not few, useful_n_jobs(self.n_jobs, 1.0 * X.size)
        )
        self._refuse_infinite(X, contents)
        self._check(contents)
        return CodedBlock.of(family, X, sample_weight, len(self.weights_), contents, reading)

    def _problem_of_reading(self, X, sample_weight):
        """Return the model, and the block of validated samples, at the fitted parameters."""
        family = self._once("family", self._family)
        n_threads = useful_n_jobs(self.n_jobs, 2.0 * X.shape[0] * self._params().values.size)
        model = DiscreteEM(family, n_threads=n_threads, dtype=X.dtype)
        return model, self._block(family, X, sample_weight, reading=False)

    def _rows(self, X, output):
        params = self._params()
        block = self._block(self._once("family", self._family), X)
        n_threads = useful_n_jobs(self.n_jobs, 2.0 * X.shape[0] * params.values.size)
        rows = discrete.rows(params, block, output, n_threads)
        return rows if output == "labels" else rows.astype(X.dtype, copy=False)

    def _draw(self, counts, random_state, **settings):
        params = self._params()
        parts = [
            self._draw_from(values, count, random_state, **settings)
            for values, count in zip(params.values, counts.tolist(), strict=True)
        ]
        return np.vstack(parts)

    @abstractmethod
    def _draw_from(self, values, count, random_state) -> Any:
        """Return (count, n_features) samples of one component."""

    def _described(self):
        values = np.asarray(getattr(self, f"{self._values}_"))
        if values.ndim == 2:
            return feature_names(self), [list(map(float, row)) for row in values]
        best = values.argmax(axis=2)
        rows = [
            [f"{c} ({row[j, c]:.0%})" for j, c in enumerate(chosen)]
            for row, chosen in zip(values, best, strict=True)
        ]
        return feature_names(self), rows

    def _of_each_component(self):
        return "weights_", f"{self._values}_"

    def _n_parameters(self):
        k = len(self.weights_)
        return k * self._family().n_free + (0 if self.fixed_weights else k - 1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse, tags.input_tags.allow_nan = self._sparse, self._allow_nan
        tags.input_tags.positive_only = True
        return tags
