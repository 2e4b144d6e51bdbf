"""Mixtures of categories and counts by EM: categorical, multinomial, Poisson."""

from __future__ import annotations

from numbers import Integral
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fastem._compat import Interval
from fastem._typing import RandomStateLike, SamplerLike
from fastem.components import discrete
from fastem.components.checks import (
    one_prior,
    refuse,
    refuse_fractions,
    two_priors,
    whole_numbers,
)
from fastem.mixture.base import check_count
from fastem.mixture.discrete_base import DiscreteMixture, documented
from fastem.mixture.errors import ProbabilityErrors, RateErrors

__all__ = ["CategoricalMixture", "MultinomialMixture", "PoissonMixture"]

_MOST_CATEGORIES = 1 << 16


@documented
class CategoricalMixture(DiscreteMixture[ProbabilityErrors]):
    r"""Mixture of independent categorical variables: latent class analysis.

    The probability of a sample is :math:`p(x) = \sum_k \pi_k \prod_j p_{k j x_j}` (Goodman 1974,
    *Exploratory latent structure analysis*, Biometrika 61:215).

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    n_categories : int or array-like of shape (n_features,), default=None
        Number of categories C of each feature, whose values are 0, ..., C - 1; None: one more than
        the largest value in `fit`.
    probabilities_init : array-like of shape (n_components, n_features, n_most), default=None
        First probabilities of the categories, as `probabilities_`.
    probability_prior : float, default=0.0
        Pseudo-count added to every category of every feature and component: a Dirichlet prior with
        this plus 1, MAP. 0 is maximum likelihood.
    {parameters}

    Attributes
    ----------
    probabilities_ : ndarray of shape (n_components, n_features, n_most)
        Probabilities of the categories, n_most being the largest number of them; those that a
        feature lacks have 0.
    n_categories_ : ndarray of shape (n_features,), int64
        Number of categories of each feature.
    {attributes}

    Notes
    -----
    NaN is a value that is missing at random, as in :class:`BernoulliMixture`. A category that did
    not occur in `fit` has probability 0 without a prior; a sample that no component can give has
    log-probability -inf and responsibilities 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import CategoricalMixture
    >>> X = [[0, 2], [0, 2], [0, 1], [1, 0], [1, 0], [1, np.nan]]
    >>> mixture = CategoricalMixture(2, random_state=0).fit(X)
    >>> labels = mixture.predict(X)
    >>> bool(np.all(labels[:3] == labels[0]) and np.all(labels[3:] != labels[0]))
    True
    >>> mixture.probabilities_[labels[0]].round(3)
    array([[1.   , 0.   , 0.   ],
           [0.   , 0.333, 0.667]])
    """

    n_categories: npt.ArrayLike | None
    probabilities_init: npt.ArrayLike | None
    probability_prior: npt.ArrayLike
    probabilities_: np.ndarray
    n_categories_: np.ndarray

    _parameter_constraints: ClassVar[dict] = {
        **DiscreteMixture._parameter_constraints,
        "n_categories": [Interval(Integral, 1, None, closed="left"), "array-like", None],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        n_categories: npt.ArrayLike | None = None,
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

    def _read(self, X, **settings):
        try:
            return super()._read(X, **settings)
        except (TypeError, ValueError) as error:
            if any(isinstance(value, str) for value in np.asarray(X, dtype=object).flat):
                raise ValueError(
                    "X must hold categories 0, 1, 2, ..., got text: number them, for example with "
                    "sklearn.preprocessing.OrdinalEncoder"
                ) from error
            raise

    def _learn(self, n_features, contents):
        if self.n_categories is not None:
            self.n_categories_ = whole_numbers("n_categories", self.n_categories, n_features)
        elif not (self.warm_start and hasattr(self, "converged_")):
            super()._check(contents)
            refuse_fractions(contents, "categories 0, 1, 2, ...")
            bad = contents.highest >= _MOST_CATEGORIES
            remedy = ": number them from 0, for example with OrdinalEncoder"
            refuse(bad, contents.highest, f"categories below {_MOST_CATEGORIES}", remedy)
            self.n_categories_ = contents.highest.astype(np.int64) + 1

    def _family(self):
        prior = one_prior("probability_prior", self.probability_prior)
        return discrete.Categorical(self._counted("n_categories_"), prior)

    def _check_values(self, contents):
        super()._check_values(contents)
        refuse_fractions(contents, "categories 0, 1, 2, ...")

    def _check(self, contents):
        super()._check(contents)
        bad = contents.highest >= self.n_categories_
        last = self.n_categories_[np.argmax(bad)] - 1
        refuse(
            bad,
            contents.highest,
            f"categories up to {last}",
            ": pass n_categories",
        )

    def _draw_from(self, values, count, random_state):
        values = values / values.sum(axis=1, keepdims=True)  # float32 rounds
        chance = random_state.uniform(size=(count, len(values)))
        at_most = self.n_categories_ - 1
        X = np.empty((count, len(values)))
        for j, probabilities in enumerate(values):
            X[:, j] = np.searchsorted(np.cumsum(probabilities), chance[:, j], side="right")
        return np.minimum(X, at_most)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        return tags


@documented
class MultinomialMixture(DiscreteMixture[ProbabilityErrors]):
    r"""Mixture of multinomials: counts of words, say, given their total in each sample.

    The probability of a sample is :math:`p(x) = \sum_k \pi_k \frac{(\sum_j x_j)!}{\prod_j x_j!}
    \prod_j p_{kj}^{x_j}` (Nigam et al. 2000, *Text classification from labeled and unlabeled
    documents using EM*, Machine Learning 39:103, equations 3-5). In contrast to
    :class:`fastem.PLSA`, all words of a document come from one topic.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    probabilities_init : array-like of shape (n_components, n_features), default=None
        First probabilities of the features; rows sum to 1.
    probability_prior : float, default=0.0
        Pseudo-count added to every feature of every component: a Dirichlet prior with this plus 1,
        MAP. 0 is maximum likelihood.
    {parameters}

    Attributes
    ----------
    probabilities_ : ndarray of shape (n_components, n_features)
        Probabilities of the features; rows sum to 1.
    {attributes}

    Notes
    -----
    X may be a sparse matrix. Counts are at most 2147483647, as with larger ones the probabilities
    are lost in rounding; they need not be integers: the Gamma function then stands for the
    factorials. NaN is refused: without one of the counts their total is not known, and the
    probability of the others depends on it. A sample whose counts are all 0 has log-probability 0
    and the weights for responsibilities.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import MultinomialMixture
    >>> X = np.array([[3, 2, 0, 0], [2, 3, 0, 0], [0, 0, 4, 1], [0, 0, 1, 4]])
    >>> mixture = MultinomialMixture(2, random_state=0).fit(X)
    >>> mixture.probabilities_[mixture.predict(X)].round(2)
    array([[0.5, 0.5, 0. , 0. ],
           [0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5],
           [0. , 0. , 0.5, 0.5]])
    """

    probabilities_init: npt.ArrayLike | None
    probability_prior: npt.ArrayLike
    probabilities_: np.ndarray

    _allow_nan, _sparse = False, True

    def __init__(
        self,
        n_components: int = 1,
        *,
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

    def sample(
        self, n_samples: int = 1, n_trials: int = 1, *, random_state: SamplerLike = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw samples from the fitted mixture.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.
        n_trials : int, default=1
            The total of each sample, which the mixture does not model.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed; None: the estimator's own `random_state`.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            The samples, sorted by component.
        y : ndarray of shape (n_samples,), int64
            The components that they were drawn from.
        """
        check_count("n_trials", n_trials)
        if n_trials < 0:
            raise ValueError(f"n_trials must be an integer of at least 0, got {n_trials!r}")
        return self._sample(n_samples, random_state, n_trials=n_trials)

    def _family(self):
        prior = one_prior("probability_prior", self.probability_prior)
        return discrete.Multinomial(self.n_features_in_, prior)

    def _learn(self, n_features, contents):
        if not np.any(contents.highest > 0):
            raise ValueError("X has no count above 0: there is nothing to fit")

    def _draw_from(self, values, count, random_state, n_trials=1):
        return random_state.multinomial(n_trials, values / values.sum(), size=count)


@documented
class PoissonMixture(DiscreteMixture[RateErrors]):
    r"""Mixture of independent Poisson variables, for counts.

    The probability of a sample is :math:`p(x) = \sum_k \pi_k \prod_j e^{-\lambda_{kj}}
    \lambda_{kj}^{x_j} / x_j!` (Hasselblad 1969, *Estimation of finite mixtures of distributions
    from the exponential family*, JASA 64:1459).

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    rates_init : array-like of shape (n_components, n_features), default=None
        First rates, at least 0.
    rate_prior : float or (float, float), default=0.0
        Pseudo-counts of events and of samples that they occurred in, added to every feature and
        component: a Gamma prior of shape 1 + a and rate b, MAP. 0 is maximum likelihood.
    {parameters}

    Attributes
    ----------
    rates_ : ndarray of shape (n_components, n_features)
        Rates: the mean counts.
    {attributes}

    Notes
    -----
    X may be a sparse matrix. Counts are at most 2147483647, as with larger ones the probabilities
    are lost in rounding; they need not be integers: the Gamma function then stands for the
    factorials. NaN is a value that is missing at random, as in :class:`BernoulliMixture`.

    Examples
    --------
    Deaths of women of eighty and more in The Times, by day, 1910-1912 (Hasselblad 1969): 162 days
    without any, 267 with one, and so on.

    >>> import numpy as np
    >>> from fastem import PoissonMixture
    >>> days = [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    >>> deaths = np.arange(10).reshape(-1, 1)
    >>> mixture = PoissonMixture(2, weights_init=[0.3, 0.7], rates_init=[[1], [2.5]], tol=1e-14,
    ...                          max_iter=10_000).fit(deaths, sample_weight=days)
    >>> round(mixture.score(deaths, sample_weight=days) * sum(days), 6)
    -1989.94586
    >>> mixture.weights_.round(4), mixture.rates_.ravel().round(3)
    (array([0.3599, 0.6401]), array([1.256, 2.663]))
    """

    rates_init: npt.ArrayLike | None
    rate_prior: npt.ArrayLike
    rates_: np.ndarray

    _values, _sparse = "rates", True
    _parameter_constraints: ClassVar[dict] = {
        **{
            name.replace("probabilities", "rates").replace("probability", "rate"): constraint
            for name, constraint in DiscreteMixture._parameter_constraints.items()
        },
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        rates_init: npt.ArrayLike | None = None,
        rate_prior: npt.ArrayLike = 0.0,
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

    def _family(self):
        prior = two_priors("rate_prior", self.rate_prior, "two, (events, samples)")
        return discrete.Poisson(self.n_features_in_, prior)

    def _draw_from(self, values, count, random_state):
        return random_state.poisson(values, size=(count, len(values)))
