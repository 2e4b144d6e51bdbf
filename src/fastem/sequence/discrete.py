"""Hidden Markov models whose states emit symbols or counts."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from fastem._compat import Interval
from fastem._typing import RandomStateLike
from fastem.components import discrete
from fastem.components.gaussian_data import parts
from fastem.sequence.decoding import draw_index
from fastem.sequence.documented import documented
from fastem.sequence.emissions import DiscreteEmissions
from fastem.sequence.hmm import HMM
from fastem.sequence.reading import as_numbers, broadcast_prior, check_distribution
from fastem.sequence.start import random_rows

__all__ = ["CategoricalHMM", "DiscreteHMM", "MultinomialHMM", "PoissonHMM", "refuse_but_counts"]

_NUMBER = [Interval(Real, 0, None, closed="left"), "array-like"]
_MOST_SYMBOLS = 1 << 24


class DiscreteHMM(HMM):
    """What the classes below share."""

    _values_name: ClassVar[str] = "emissionprob_"
    _letters: ClassVar[dict] = {"e": "emissionprob_"}

    @property
    def n_features(self) -> int:
        """Number of features: that of the emissions' parameters, or what was set."""
        if self._is_set(self._values_name):
            return np.shape(vars(self)[self._values_name])[-1]
        if "n_features" in vars(self):
            return vars(self)["n_features"]
        raise AttributeError(f"this {type(self).__name__} has no n_features before fit")

    @n_features.setter
    def n_features(self, value: int) -> None:
        self.__dict__["n_features"] = value

    @n_features.deleter
    def n_features(self) -> None:
        del self.__dict__["n_features"]

    def _family(self, values, learn, n_threads, X):
        distributions, own = self._distributions(values[self._values_name])
        family = DiscreteEmissions(distributions, len(own), learn=bool(learn))
        params = family.params(own)
        family.held = params
        return family, params

    @abstractmethod
    def _distributions(self, values) -> Any:
        """Return the family, of module discrete, and parameters (K, D) as it has them."""

    def _values(self, emission):
        values = emission.values
        return {self._values_name: values[:, 0] if values.ndim == 3 else values}

    def _expectation(self, values):
        return values[self._values_name]

    def _n_emission_parameters(self, n_features):
        k, d = self.n_components, n_features
        if d is None:
            d = np.shape(vars(self)[self._values_name])[1]
        return dict.fromkeys(self._letters, k * d)

    def _check_width(self, values, n_features):
        """Return parameters (K, D) as float64, for data of so many features."""
        name, k = self._values_name, self.n_components
        values = as_numbers(name, values)
        if values.ndim != 2 or len(values) != k or values.shape[1] == 0:
            raise ValueError(f"{name} must have shape ({k}, n_features), got {values.shape}")
        if n_features is not None and values.shape[1] != n_features:
            raise ValueError(
                f"X has {n_features} features, but {name} has {values.shape[1]}: give X the "
                f"features that the model has, or let {name} begin anew "
                f"({min(self._letters)!r} in init_params)"
            )
        return values

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def refuse_but_counts(X, expected, most=np.inf, remedy=""):
    """Raise ValueError unless all values are integers from 0 to `most`, or missing."""
    for part in parts(*X.shape):
        here = X[part]
        bad = (here < 0) | (most < here) | (np.floor(here) != here) & ~np.isnan(here)
        if np.any(bad):
            row, feature = np.argwhere(bad)[0]
            raise ValueError(
                f"X must hold {expected}, got {here[row, feature]:.6g} at row {part.start + row}, "
                f"feature {feature}{remedy}"
            )


@documented
class CategoricalHMM(DiscreteHMM):
    r"""Hidden Markov model whose states emit symbols.

    A state :math:`k` emits symbol :math:`v` with probability :math:`b_k(v)` (Rabiner 1989, *A
    tutorial on hidden Markov models*, Proceedings of the IEEE 77:257). X is one column of symbols
    0, 1, ..., n_features - 1. Parameters, attributes and results are those of hmmlearn's class;
    what follows `implementation` is an addition.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    {chain_priors}
    emissionprob_prior : float or array-like of shape (n_components, n_features), default=1.0
        Parameters of the Dirichlet priors of the rows of `emissionprob_`: pseudo-counts plus 1.
    n_features : int, default=None
        Number of symbols; None: that of `emissionprob_`, or one more than the largest in `fit`.
    {course}

    Attributes
    ----------
    {chain}
    emissionprob_ : ndarray of shape (n_components, n_features)
        Probability of each symbol in each state.
    {fitted}

    See Also
    --------
    MultinomialHMM : Counts of several symbols in each row.
    fastem.CategoricalMixture : Rows that do not depend on those before them.

    Notes
    -----
    NaN is a symbol that is missing. A symbol that did not occur in `fit` has probability 0 without
    a prior, and a sequence that has it a log-likelihood of -inf.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import CategoricalHMM
    >>> model = CategoricalHMM(2)  # rain or sun; walk, shop or clean
    >>> model.startprob_ = [0.6, 0.4]
    >>> model.transmat_ = [[0.7, 0.3], [0.4, 0.6]]
    >>> model.emissionprob_ = [[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]]
    >>> log_prob, states = model.decode([[0], [1], [2]])
    >>> states.tolist(), round(float(np.exp(log_prob)), 5)
    ([1, 0, 0], 0.01344)
    """

    emissionprob_prior: npt.ArrayLike
    emissionprob_: np.ndarray

    _parameter_constraints: ClassVar[dict] = {
        **HMM._parameter_constraints,
        "emissionprob_prior": _NUMBER,
        "n_features": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        *,
        emissionprob_prior: npt.ArrayLike = 1.0,
        n_features: int | None = None,
        algorithm: str = "viterbi",
        random_state: RandomStateLike = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: int = False,
        params: str = "ste",
        init_params: str = "ste",
        implementation: str = "log",
        n_init: int = 1,
        topology: npt.ArrayLike | None = None,
        transmat_fixed: npt.ArrayLike | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self._keep(locals())

    @property
    def n_features(self) -> int:
        """Number of symbols: the parameter or, if that is None, what `emissionprob_` has."""
        if vars(self)["n_features"] is None and hasattr(self, "emissionprob_"):
            return np.shape(self.emissionprob_)[-1]
        return vars(self)["n_features"]

    @n_features.setter
    def n_features(self, value: int) -> None:
        self.__dict__["n_features"] = value

    @n_features.deleter
    def n_features(self) -> None:
        del self.__dict__["n_features"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Ignored: no parameter is an estimator.

        Returns
        -------
        params : dict
            The parameters by name; `n_features` as it was given.
        """
        return super().get_params(deep) | {"n_features": vars(self)["n_features"]}

    def _check_rows(self, X, fresh):
        if X.shape[1] != 1:
            raise ValueError(
                f"X must be one column of symbols, got {X.shape[1]}: pass X.reshape(-1, 1) if they "
                "are one sequence, or see MultinomialHMM for counts of symbols"
            )
        known = vars(self)["n_features"] if fresh else self.n_features
        most = _MOST_SYMBOLS if known is None else known
        remedy = ": number them from 0, for example with LabelEncoder"
        symbols = "symbols 0, 1, 2, ..."
        if known is not None:
            symbols = f"symbols 0 to {most - 1}"
            remedy += f", or pass an n_features larger than {known}"
        refuse_but_counts(X, symbols, most - 1, remedy)

    def _check_values(self, values, n_features):
        given = np.array(values["emissionprob_"], dtype=np.float64)
        width = vars(self)["n_features"] or (given.shape[1] if given.ndim == 2 else "n_features")
        own = check_distribution("emissionprob_", given, (self.n_components, width))
        return {"emissionprob_": own}

    def _start_emission(self, X, weight, seed, init):
        n_symbols = vars(self)["n_features"]
        if n_symbols is None:
            n_symbols = int(np.nanmax(X, initial=0)) + 1
        return {"emissionprob_": random_rows(seed, (self.n_components, n_symbols))}

    def _distributions(self, values):
        prior = broadcast_prior("emissionprob_prior", self.emissionprob_prior, values.shape)
        return discrete.Categorical([values.shape[1]], prior - 1), values[:, None]

    def _n_emission_parameters(self, n_features):
        n_symbols = self.n_features
        return {"e": 0 if n_symbols is None else self.n_components * (n_symbols - 1)}

    def _drawer(self, values):
        steps = values["emissionprob_"].cumsum(axis=1)
        return lambda state, rng: [draw_index(steps[state], rng)]


@documented
class MultinomialHMM(DiscreteHMM):
    r"""Hidden Markov model whose states emit counts of some categories, of a given total.

    A state :math:`k` emits a row :math:`x` with probability :math:`n! \prod_j p_{kj}^{x_j} / x_j!`,
    :math:`n` being its total. Parameters, attributes and results are those of hmmlearn's class;
    what follows `implementation` is an addition.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    n_trials : int or array-like of shape (n_samples,), default=None
        Total of each row, which `fit` checks and `sample` needs; None: whatever the rows sum to.
    {chain_priors}
    {course}
    emissionprob_prior : float or array-like of shape (n_components, n_features), default=1.0
        Parameters of the Dirichlet priors of the rows of `emissionprob_`: pseudo-counts plus 1.

    Attributes
    ----------
    {chain}
    emissionprob_ : ndarray of shape (n_components, n_features)
        Probability of each category in each state; rows sum to 1.
    n_trials_ : ndarray of int64
        The total of the rows in `fit`, or if they differ, that of each; `sample` needs one.
    {fitted}

    See Also
    --------
    CategoricalHMM : One symbol in each row.
    PoissonHMM : Counts whose total tells something, too.

    Notes
    -----
    A row with NaN is missing as a whole, for its total is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import MultinomialHMM
    >>> X = np.array([[5, 0], [4, 1], [0, 5], [1, 4], [5, 0], [5, 0]])
    >>> model = MultinomialHMM(2, random_state=0, n_iter=50).fit(X)
    >>> states = model.predict(X)
    >>> (states == states[0]).tolist()
    [True, True, False, False, True, True]
    """

    n_trials: npt.ArrayLike | None
    emissionprob_prior: npt.ArrayLike
    emissionprob_: np.ndarray
    n_trials_: np.ndarray

    _parameter_constraints: ClassVar[dict] = {
        **HMM._parameter_constraints,
        "emissionprob_prior": _NUMBER,
        "n_trials": [Interval(Integral, 1, None, closed="left"), "array-like", None],
    }

    def __init__(
        self,
        n_components: int = 1,
        n_trials: npt.ArrayLike | None = None,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        algorithm: str = "viterbi",
        random_state: RandomStateLike = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: int = False,
        params: str = "ste",
        init_params: str = "ste",
        implementation: str = "log",
        *,
        emissionprob_prior: npt.ArrayLike = 1.0,
        n_init: int = 1,
        topology: npt.ArrayLike | None = None,
        transmat_fixed: npt.ArrayLike | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self._keep(locals())

    def _check_rows(self, X, fresh):
        refuse_but_counts(X, "counts 0, 1, 2, ... or NaN")

    def _check_fit(self, X):
        totals = X.sum(axis=1)
        known = totals[~np.isnan(totals)].astype(np.int64)
        self.n_trials_ = known[:1] if np.all(known == known[:1]) else known
        if self.n_trials is None:
            return
        trials = np.asarray(self.n_trials)
        if trials.shape not in ((), (1,), (len(X),)):
            raise ValueError(
                f"n_trials must be a number or one for each of the {len(X)} rows, got shape "
                f"{trials.shape}"
            )
        bad = (totals != trials) & ~np.isnan(totals)
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"rows of X must sum to n_trials={np.broadcast_to(trials, len(X))[row]}, got "
                f"{totals[row]:.6g} in row {row}: let n_trials be None if totals differ"
            )

    def _check_values(self, values, n_features):
        own = self._check_width(values["emissionprob_"], n_features)
        return {"emissionprob_": check_distribution("emissionprob_", own, own.shape)}

    def _start_emission(self, X, weight, seed, init):
        return {"emissionprob_": random_rows(seed, (self.n_components, X.shape[1]))}

    def _rows(self, X):
        if X.dtype.kind != "f" or not np.isnan(X).any():
            return X
        return np.where(np.isnan(X).any(axis=1, keepdims=True), 0, X)  # a total of 0 tells nothing

    def _distributions(self, values):
        prior = broadcast_prior("emissionprob_prior", self.emissionprob_prior, values.shape)
        return discrete.Multinomial(values.shape[1], prior - 1), values

    def _n_emission_parameters(self, n_features):
        return {"e": super()._n_emission_parameters(n_features)["e"] - self.n_components}

    def _drawer(self, values):
        seen = getattr(self, "n_trials_", [])
        trials = np.unique(seen if self.n_trials is None else self.n_trials)
        if len(trials) != 1:
            raise ValueError(
                "n_trials must be one number for a sample to be drawn, got "
                f"{self.n_trials!r}" + (" and rows of several totals in fit" if len(seen) else "")
            )
        probabilities = values["emissionprob_"].copy()
        probabilities[:, -1] = np.maximum(1 - probabilities[:, :-1].sum(axis=1), 0)
        return lambda state, rng: rng.multinomial(trials[0], probabilities[state])


@documented
class PoissonHMM(DiscreteHMM):
    r"""Hidden Markov model whose states emit counts.

    A state :math:`k` emits counts :math:`x_j` with independent Poisson distributions of rates
    :math:`\lambda_{kj}`. Parameters, attributes and results are those of hmmlearn's class; what
    follows `implementation` is an addition.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    {chain_priors}
    lambdas_prior, lambdas_weight : float or array-like, default=0.0
        Pseudo-counts, and how many rows they were counted in, of every rate: a gamma prior; of
        shape (n_components, n_features), or one number.
    {course}

    Attributes
    ----------
    {chain}
    lambdas_ : ndarray of shape (n_components, n_features)
        Rates: the mean counts of each state.
    {fitted}

    See Also
    --------
    MultinomialHMM : Counts given their total.
    fastem.PoissonMixture : Rows that do not depend on those before them.

    Notes
    -----
    Unlike hmmlearn, a prior is weighed against the rows of its state, not against all. A state
    whose counts are all 0 has rate 0 and stays finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import PoissonHMM
    >>> quakes = np.array([13, 14, 8, 10, 16, 26, 32, 27, 18, 32, 36, 24])[:, None]
    >>> model = PoissonHMM(2, n_iter=50, random_state=0).fit(quakes)
    >>> np.sort(model.lambdas_.ravel()).round(1)
    array([12.1, 27.7])
    """

    lambdas_prior: npt.ArrayLike
    lambdas_weight: npt.ArrayLike
    lambdas_: np.ndarray

    _values_name: ClassVar[str] = "lambdas_"
    _letters: ClassVar[dict] = {"l": "lambdas_"}

    _parameter_constraints: ClassVar[dict] = {
        **HMM._parameter_constraints,
        "lambdas_prior": _NUMBER,
        "lambdas_weight": _NUMBER,
    }

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        lambdas_prior: npt.ArrayLike = 0.0,
        lambdas_weight: npt.ArrayLike = 0.0,
        algorithm: str = "viterbi",
        random_state: RandomStateLike = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: int = False,
        params: str = "stl",
        init_params: str = "stl",
        implementation: str = "log",
        *,
        n_init: int = 1,
        topology: npt.ArrayLike | None = None,
        transmat_fixed: npt.ArrayLike | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self._keep(locals())

    def _check_rows(self, X, fresh):
        refuse_but_counts(X, "counts 0, 1, 2, ... or NaN")

    def _check_values(self, values, n_features):
        rates = self._check_width(values["lambdas_"], n_features)
        if not np.all(np.isfinite(rates)) or np.any(rates < 0):
            raise ValueError(
                f"lambdas_ must be finite and at least 0, got values from {rates.min():.6g} to "
                f"{rates.max():.6g}"
            )
        return {"lambdas_": rates}

    def _start_emission(self, X, weight, seed, init):
        random_state, shape = check_random_state(seed), (self.n_components, X.shape[1])
        known = X[~np.isnan(X)] if X.dtype.kind == "f" else X
        mean, variance = (known.mean(), known.var()) if known.size else (0.0, 0.0)
        if not (mean > 0 and variance > 0):  # hmmlearn's draw is not defined
            return {"lambdas_": np.full(shape, mean)}
        rates = random_state.gamma(shape=mean**2 / variance, scale=variance / mean, size=shape)
        return {"lambdas_": rates}

    def _distributions(self, values):
        prior = tuple(
            broadcast_prior(name, getattr(self, name), values.shape)
            for name in ("lambdas_prior", "lambdas_weight")
        )
        return discrete.Poisson(values.shape[1], prior), values

    def _drawer(self, values):
        return lambda state, rng: rng.poisson(values["lambdas_"][state])
