"""Hidden Markov models whose states emit counts of a given total."""

from __future__ import annotations

import logging
from numbers import Integral
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fastem._compat import Interval
from fastem._typing import RandomStateLike
from fastem.components import discrete
from fastem.sequence.discrete import NUMBERS, DiscreteHMM, refuse_but_counts
from fastem.sequence.documented import documented
from fastem.sequence.errors import DiscreteHMMErrors
from fastem.sequence.hmm import HMM
from fastem.sequence.reading import broadcast_prior, check_distribution
from fastem.sequence.start import random_rows
from fastem.sequence.streaming import StreamingHMM

__all__ = ["MultinomialHMM"]

_log = logging.getLogger(__name__)


@documented
class MultinomialHMM(DiscreteHMM[DiscreteHMMErrors]):
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
        **StreamingHMM._step_constraints,
        "emissionprob_prior": NUMBERS,
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
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        fit_algorithm: str = "em",
    ) -> None:
        self._keep(locals())

    def _check_rows(self, X, fresh):
        refuse_but_counts(X, "counts 0, 1, 2, ... or NaN", remedy=": see GaussianHMM for others")

    def _check_fit(self, X, row_weight):
        super()._check_fit(X, row_weight)
        if X.shape[1] == 1:  # early versions of hmmlearn took symbols here
            _log.warning(
                "X has one column: a count of one category, given its total, has probability 1 in "
                "every state, and tells nothing. If these are symbols, fit a CategoricalHMM."
            )
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
