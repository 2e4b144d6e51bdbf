"""Hidden Markov models whose states emit successes in trials."""

from __future__ import annotations

from numbers import Integral
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fastem._compat import Interval
from fastem._engine.random_states import lent_random_state
from fastem._typing import RandomStateLike
from fastem.components import discrete
from fastem.components.checks import two_priors, whole_numbers
from fastem.sequence.discrete import NUMBERS, DiscreteHMM, refuse_but_counts
from fastem.sequence.documented import documented
from fastem.sequence.errors import DiscreteHMMErrors
from fastem.sequence.hmm import HMM
from fastem.sequence.start import counted, filled
from fastem.sequence.streaming import StreamingHMM

__all__ = ["BernoulliHMM", "BinomialHMM"]


class _Trials(DiscreteHMM[DiscreteHMMErrors]):
    """What Bernoulli and binomial emissions share."""

    emissionprob_prior: npt.ArrayLike
    emissionprob_: np.ndarray

    def _trials(self, n_features):
        """Return the number of trials of each feature, (D,)."""
        return np.ones(n_features, dtype=np.int64)

    def _check_values(self, values, n_features):
        return self._check_range(values, n_features, 1)

    def _start_emission(self, X, weight, seed, init):
        # About the mean of all rows: each state somewhere between it and chance.
        X, weight = counted(X, weight)
        mean = np.average(filled(X), axis=0, weights=weight) / self._trials(X.shape[1])
        shape = self.n_components, X.shape[1]
        with lent_random_state(seed) as random_state:
            nearness = random_state.uniform(0.25, 0.75, shape)
            chance = random_state.uniform(0.1, 0.9, shape)
        return {"emissionprob_": mean * nearness + chance * (1 - nearness)}

    def _distributions(self, values):
        prior = two_priors(
            "emissionprob_prior", self.emissionprob_prior, "two, (successes, failures)"
        )
        pseudo = tuple(number - 1 for number in prior)
        return discrete.Binomial(self._trials(values.shape[1]), pseudo), values

    def _drawer(self, values):
        trials = self._trials(values["emissionprob_"].shape[1])
        return lambda state, rng: rng.binomial(trials, values["emissionprob_"][state])


@documented
class BernoulliHMM(_Trials):
    r"""Hidden Markov model whose states emit binary values.

    A state :math:`k` emits :math:`x_j = 1` with probability :math:`p_{kj}`, independently of the
    other features. hmmlearn has no such class; its conventions hold.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    {chain_priors}
    emissionprob_prior : float or (float, float), default=1.0
        Parameters of the Beta priors: pseudo-counts of the ones and of the zeros, plus 1.
    {course}

    Attributes
    ----------
    {chain}
    emissionprob_ : ndarray of shape (n_components, n_features)
        Probability of a 1 in each state.
    {fitted}

    See Also
    --------
    BinomialHMM : Several trials.
    fastem.BernoulliMixture : Rows that do not depend on those before them.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import BernoulliHMM
    >>> X = np.array([[1, 1], [1, 1], [1, 1], [0, 0], [0, 0], [0, 0], [1, 1], [1, 1]])
    >>> model = BernoulliHMM(2, n_iter=100, n_init=5, random_state=0).fit(X)
    >>> states = model.predict(X)
    >>> (states == states[0]).tolist()
    [True, True, True, False, False, False, True, True]
    """

    _parameter_constraints: ClassVar[dict] = {
        **HMM._parameter_constraints,
        **StreamingHMM._step_constraints,
        "emissionprob_prior": NUMBERS,
    }

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        emissionprob_prior: npt.ArrayLike = 1.0,
        algorithm: str = "viterbi",
        random_state: RandomStateLike = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "ste",
        init_params: str = "ste",
        implementation: str = "log",
        *,
        n_init: int = 1,
        topology: npt.ArrayLike | None = None,
        transmat_fixed: npt.ArrayLike | None = None,
        n_jobs: int | None = None,
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        fit_algorithm: str = "em",
    ) -> None:
        self._keep(locals())

    def _check_rows(self, X, fresh):
        refuse_but_counts(X, "0, 1 or NaN", 1, ": see BinomialHMM and PoissonHMM for counts")


@documented
class BinomialHMM(_Trials):
    r"""Hidden Markov model whose states emit successes in a known number of trials.

    A state :math:`k` emits :math:`x_j` successes in :math:`n_j` trials with probability
    :math:`p_{kj}` each, independently of the other features. hmmlearn has no such class; its
    conventions hold.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    n_trials : int or array-like of shape (n_features,), default=1
        Number of trials n: the largest value that a feature can have.
    {chain_priors}
    emissionprob_prior : float or (float, float), default=1.0
        Parameters of the Beta priors: pseudo-counts of successes and of failures, plus 1.
    {course}

    Attributes
    ----------
    {chain}
    emissionprob_ : ndarray of shape (n_components, n_features)
        Probability of a success in each state.
    {fitted}

    See Also
    --------
    BernoulliHMM : One trial.
    fastem.BinomialMixture : Rows that do not depend on those before them.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import BinomialHMM
    >>> heads = np.array([9, 8, 9, 2, 1, 3, 2, 9, 10, 8])[:, None]
    >>> model = BinomialHMM(2, n_trials=10, n_iter=100, random_state=0).fit(heads)
    >>> np.sort(model.emissionprob_.ravel()).round(2)
    array([0.2 , 0.88])
    """

    n_trials: npt.ArrayLike

    _parameter_constraints: ClassVar[dict] = {
        **HMM._parameter_constraints,
        **StreamingHMM._step_constraints,
        "emissionprob_prior": NUMBERS,
        "n_trials": [Interval(Integral, 1, None, closed="left"), "array-like"],
    }

    def __init__(
        self,
        n_components: int = 1,
        n_trials: npt.ArrayLike = 1,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        emissionprob_prior: npt.ArrayLike = 1.0,
        algorithm: str = "viterbi",
        random_state: RandomStateLike = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "ste",
        init_params: str = "ste",
        implementation: str = "log",
        *,
        n_init: int = 1,
        topology: npt.ArrayLike | None = None,
        transmat_fixed: npt.ArrayLike | None = None,
        n_jobs: int | None = None,
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        fit_algorithm: str = "em",
    ) -> None:
        self._keep(locals())

    def _trials(self, n_features):
        return whole_numbers("n_trials", self.n_trials, n_features)

    def _check_rows(self, X, fresh):
        trials = self._trials(X.shape[1])
        expected = f"successes in n_trials={self.n_trials!r} trials: integers, or NaN"
        remedy = ": pass a larger n_trials if it is a count, or see GaussianHMM"
        refuse_but_counts(X, expected, trials, remedy)
