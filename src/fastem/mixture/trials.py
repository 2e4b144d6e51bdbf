"""Mixtures of successes in trials by EM: Bernoulli and binomial."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from fastem._compat import Interval
from fastem._typing import RandomStateLike
from fastem.components import discrete
from fastem.components.checks import (
    refuse,
    refuse_fractions,
    two_priors,
    whole_numbers,
)
from fastem.mixture.discrete_base import DiscreteMixture, documented
from fastem.mixture.errors import ProbabilityErrors

__all__ = ["BernoulliMixture", "BinomialMixture"]


@documented
class BernoulliMixture(DiscreteMixture[ProbabilityErrors]):
    r"""Mixture of independent Bernoulli variables, for binary data.

    The probability of a sample is :math:`p(x) = \sum_k \pi_k \prod_j p_{kj}^{x_j}
    (1 - p_{kj})^{1 - x_j}` (Bishop 2006, *Pattern Recognition and Machine Learning*, section 9.3.3,
    equations 9.47-9.60).

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    binarize : float, default=None
        What is greater counts as 1, all else as 0; None: X must be binary. At least 0 for sparse X.
    probabilities_init : array-like of shape (n_components, n_features), default=None
        First probabilities of a 1, in [0, 1].
    probability_prior : float or (float, float), default=0.0
        Pseudo-counts added to the ones and to the zeros of every feature and component: a
        Beta(1 + a, 1 + b) prior, MAP. 0 is maximum likelihood.
    {parameters}

    Attributes
    ----------
    probabilities_ : ndarray of shape (n_components, n_features)
        Probabilities of a 1.
    {attributes}

    Notes
    -----
    X may be a sparse matrix; it is packed to two bits for each value, zeros included. NaN is a
    value that is missing at random: what is not observed has no factor. A sample without any value
    has log-probability 0 and the weights for responsibilities. A feature without any value is
    refused by `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import BernoulliMixture
    >>> X = [[1, 1, 0], [1, 1, 0], [1, np.nan, 0], [0, 0, 1], [0, 0, np.nan]]
    >>> mixture = BernoulliMixture(2, random_state=0).fit(X)
    >>> int(mixture.predict([[1, 1, np.nan]])[0]) == int(mixture.predict(X)[0])
    True
    >>> np.sort(mixture.weights_).round(3)
    array([0.4, 0.6])
    """

    binarize: float | None
    probabilities_init: npt.ArrayLike | None
    probability_prior: npt.ArrayLike
    probabilities_: np.ndarray

    _parameter_constraints: ClassVar[dict] = {
        **DiscreteMixture._parameter_constraints,
        "binarize": [Real, None],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        binarize: float | None = None,
        probabilities_init: npt.ArrayLike | None = None,
        probability_prior: npt.ArrayLike = 0.0,
        weights_init: npt.ArrayLike | None = None,
        fixed_weights: bool = False,
        weight_prior: float = 0.0,
        tol: float = 1e-5,
        max_iter: int = 1000,
        n_init: int = 1,
        init_params: str = "kmeans",
        random_state: RandomStateLike = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_jobs: int | None = None,
        algorithm: str = "em",
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
    ) -> None:
        self._keep(locals())

    _sparse = _packs = True

    def _read(self, X, **settings):
        if self.binarize is None:
            return super()._read(X, **settings)
        X = super()._read(X, **settings | {"finite": True})
        if not sp.issparse(X):
            return np.where(np.isnan(X), X, self.binarize < X)
        if self.binarize < 0:
            raise ValueError(
                f"binarize must be at least 0 for sparse X, got {self.binarize}: all that is not "
                "stored would count as 1; pass X.toarray()"
            )
        X = X.copy()
        X.data = np.where(np.isnan(X.data), X.data, self.binarize < X.data)
        return X

    def _family(self):
        prior = two_priors("probability_prior", self.probability_prior, "two, (ones, zeros)")
        return discrete.Binomial(np.ones(self.n_features_in_), prior)

    def _check_values(self, contents):
        remedy = ": pass binarize, or see BinomialMixture and PoissonMixture for counts"
        expected = "0, 1 or NaN"
        refuse(contents.lowest < 0, contents.lowest, expected, remedy)
        refuse(contents.highest > 1, contents.highest, expected, remedy)
        refuse_fractions(contents, expected, remedy)

    def _draw_from(self, values, count, random_state):
        return random_state.binomial(1, values, size=(count, len(values)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = tags.input_tags.categorical = self.binarize is None
        return tags


@documented
class BinomialMixture(DiscreteMixture[ProbabilityErrors]):
    r"""Mixture of independent binomial variables: successes in a known number of trials.

    The probability of a sample is :math:`p(x) = \sum_k \pi_k \prod_j \binom{n_j}{x_j} p_{kj}^{x_j}
    (1 - p_{kj})^{n_j - x_j}`.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    n_trials : int or array-like of shape (n_features,), default=1
        Number of trials n: the largest value that a feature can have. At most 2147483647, as
        with more the probabilities are lost in rounding.
    probabilities_init : array-like of shape (n_components, n_features), default=None
        First probabilities of a success, in [0, 1].
    probability_prior : float or (float, float), default=0.0
        Pseudo-counts added to the successes and to the failures of every feature and component: a
        Beta(1 + a, 1 + b) prior, MAP. 0 is maximum likelihood.
    {parameters}

    Attributes
    ----------
    probabilities_ : ndarray of shape (n_components, n_features)
        Probabilities of a success.
    n_trials_ : ndarray of shape (n_features,), int64
        Number of trials of each feature.
    {attributes}

    Notes
    -----
    Successes need not be integers: the Gamma function then stands for the factorials. NaN is a
    value that is missing at random, as in :class:`BernoulliMixture`. The mixture of one feature is
    identifiable only if n is at least 2 K - 1 (Teicher 1963, *Identifiability of finite mixtures*,
    Annals of Mathematical Statistics 34:1265).

    Examples
    --------
    Two coins (Do & Batzoglou 2008, *What is the expectation maximization algorithm?*, Nature
    Biotechnology 26:897): each of five rounds tosses one of them ten times.

    >>> import warnings
    >>> from fastem import BinomialMixture
    >>> heads = [[5], [9], [8], [4], [7]]
    >>> def coins(n_iter):
    ...     mixture = BinomialMixture(2, n_trials=10, probabilities_init=[[0.6], [0.5]],
    ...                               weights_init=[0.5, 0.5], fixed_weights=True,
    ...                               max_iter=n_iter, tol=0)
    ...     with warnings.catch_warnings():
    ...         warnings.simplefilter("ignore")  # that it has not converged
    ...         return mixture.fit(heads)
    >>> coins(1).probabilities_.ravel().round(6).tolist()
    [0.713012, 0.581339]
    >>> coins(10).probabilities_.ravel().round(6).tolist()
    [0.796744, 0.519659]
    """

    n_trials: npt.ArrayLike
    probabilities_init: npt.ArrayLike | None
    probability_prior: npt.ArrayLike
    probabilities_: np.ndarray
    n_trials_: np.ndarray

    _parameter_constraints: ClassVar[dict] = {
        **DiscreteMixture._parameter_constraints,
        "n_trials": [Interval(Integral, 1, None, closed="left"), "array-like"],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        n_trials: npt.ArrayLike = 1,
        probabilities_init: npt.ArrayLike | None = None,
        probability_prior: npt.ArrayLike = 0.0,
        weights_init: npt.ArrayLike | None = None,
        fixed_weights: bool = False,
        weight_prior: float = 0.0,
        tol: float = 1e-5,
        max_iter: int = 1000,
        n_init: int = 1,
        init_params: str = "kmeans",
        random_state: RandomStateLike = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_jobs: int | None = None,
        algorithm: str = "em",
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
    ) -> None:
        self._keep(locals())

    _packs = True

    def _learn(self, n_features, contents):
        self.n_trials_ = whole_numbers("n_trials", self.n_trials, n_features)

    def _family(self):
        prior = two_priors(
            "probability_prior", self.probability_prior, "two, (successes, failures)"
        )
        return discrete.Binomial(self._counted("n_trials_"), prior)

    def _check(self, contents):
        super()._check(contents)
        bad = contents.highest > self.n_trials_
        n = self.n_trials_[np.argmax(bad)]
        refuse(bad, contents.highest, f"at most n_trials={n} successes", ": pass a larger n_trials")

    def _draw_from(self, values, count, random_state):
        return random_state.binomial(self.n_trials_, values, size=(count, len(values)))
