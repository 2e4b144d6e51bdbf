"""What is read off a fitted hidden Markov model: states, likelihoods, samples, what comes next."""

from __future__ import annotations

import math
from abc import abstractmethod
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state

from fastem._base import EMEstimator, known_features, refuse_unknown_features
from fastem._data.dask_sources import lazy_score
from fastem._data.sources import LENGTHS_APART, by_blocks, in_blocks, scores
from fastem._engine.dask import is_collection
from fastem._engine.threads import effective_n_jobs
from fastem._typing import MatrixLike, RandomStateLike
from fastem.sequence.chain import ChainEM, ChainParams, Sequences
from fastem.sequence.reading import check_distribution, possible, read_sequences
from fastem.sequence.start import ChainStart

__all__ = ["Decoder", "NextStep", "draw_index", "quiet"]

#: That a probability is too small for a number is no news, whatever np.seterr says.
quiet = np.errstate(under="ignore")


class NextStep(NamedTuple):
    """What comes after the end of each sequence."""

    states: np.ndarray
    observation: np.ndarray


class Decoder(EMEstimator):
    """What a hidden Markov model with parameters can tell; see :class:`fastem.sequence.hmm.HMM`."""

    startprob_: np.ndarray
    transmat_: np.ndarray

    n_components: int
    n_jobs: int | None
    _letters: ClassVar[dict[str, str]] = {}
    params: str
    _dtype: ClassVar[Any] = (np.float64, np.float32)
    _allow_nan: ClassVar[bool] = True  # NaN is what is missing; else it is refused

    def _n_threads(self, X):
        """Return the number of threads; 1 for so few rows that to count processors takes longer."""
        if self.n_jobs != 0 and isinstance(X, np.ndarray) and X.size < 10_000:
            return 1
        return effective_n_jobs(self.n_jobs)

    def _is_set(self, name):
        return name in vars(self)

    def _all_letters(self):
        return [("s", "startprob_"), ("t", "transmat_"), *self._letters.items()]

    def __sklearn_is_fitted__(self):
        return all(self._is_set(name) for _, name in self._all_letters())

    def _fitted_values(self):
        """Return the parameters by attribute, validated."""
        missing = [name for _, name in self._all_letters() if not self._is_set(name)]
        if missing:
            names = ", ".join(name.strip("_") + "_" for name in missing)
            raise NotFittedError(
                f"This {type(self).__name__} has no {names} yet: call fit, or set what is missing."
            )
        k = self.n_components
        values = {name: vars(self)[name] for name in self._letters.values()}
        return {
            "startprob_": check_distribution("startprob_", self.startprob_, (k,)),
            "transmat_": check_distribution("transmat_", self.transmat_, (k, k)),
            **self._check_values(values, None),
        }

    def _read(self, X, lengths):
        """Return the model, its parameters, the block of validated sequences."""
        values = self._fitted_values()
        n_threads = self._n_threads(X)
        X, begin = read_sequences(self, X, lengths, reset=False, dtype=self._dtype)
        self._check_values(values, X.shape[1])
        self._check_rows(X, False)
        family, emission = self._family(values, None, n_threads, X)
        params = ChainParams(values["startprob_"], values["transmat_"], emission)
        model = ChainEM(family, learn=(), held=params, n_threads=n_threads)
        return model, params, Sequences(family.block(self._rows(X)), begin)

    @quiet
    def score(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> float:
        """Return the log-likelihood of the sequences.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        log_prob : float
            Natural logarithm of the probability, or of the density; -inf for what is impossible.
        """
        if lengths is not None and in_blocks(X):
            raise TypeError(LENGTHS_APART)
        parts = scores(self, type(self).score, X, None)
        if parts is not None:
            return float(sum(parts))
        model, params, block = self._read(X, lengths)
        return float(model.scores(params, block).sum())

    def score_samples(
        self, X: MatrixLike, lengths: npt.ArrayLike | None = None
    ) -> tuple[float, np.ndarray]:
        """Return the log-likelihood and the states' posterior probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        log_prob : float
            The log-likelihood of all sequences.
        posteriors : ndarray of shape (n_samples, n_components)
            Probability of each state at each row, given the whole sequence. Rows sum to 1.

        Notes
        -----
        Of :class:`fastem.Blocks` a generator of such pairs, one a block; of a Dask collection a
        lazy number and a lazy array.
        """
        if is_collection(X):
            posteriors = self.predict_proba(X, lengths)
            return lazy_score(self, type(self).score, X), posteriors
        return self._posteriors_by_blocks(X, *([] if lengths is None else [lengths]))

    @quiet
    def _posteriors(self, X, lengths=None):
        """Return the log-likelihood and the posteriors of data in memory."""
        model, params, block = self._read(X, lengths)
        scores, posteriors = possible(model.posteriors, params, block)
        return float(scores.sum()), posteriors

    _posteriors_by_blocks = by_blocks(_posteriors)

    @by_blocks
    def predict_proba(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> np.ndarray:
        """Return the states' posterior probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        posteriors : ndarray of shape (n_samples, n_components)
            Probability of each state at each row, given the whole sequence. Rows sum to 1.
        """
        return self._posteriors(X, lengths)[1]

    @quiet
    def decode(
        self, X: MatrixLike, lengths: npt.ArrayLike | None = None, algorithm: str | None = None
    ) -> tuple[float, np.ndarray]:
        """Return the most probable states.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.
        algorithm : {'viterbi', 'map'}, default=None
            'viterbi': the most probable path of states; 'map': at each row the most probable state,
            which together may be an impossible path. None: the parameter `algorithm`.

        Returns
        -------
        log_prob : float
            The paths' log-probability together with the data; for 'map' the sum of the states'
            posterior probabilities, as in hmmlearn.
        states : ndarray of shape (n_samples,), int64
            The states.
        """
        algorithm = self.algorithm if algorithm is None else algorithm
        if algorithm not in ("viterbi", "map"):
            raise ValueError(f"algorithm must be 'viterbi' or 'map', got {algorithm!r}")
        if algorithm == "map":
            posteriors = self._posteriors(X, lengths)[1]
            return float(posteriors.max(axis=1).sum()), posteriors.argmax(axis=1)
        model, params, block = self._read(X, lengths)
        scores, states = possible(model.viterbi, params, block)
        return float(scores.sum()), states

    @by_blocks
    def predict(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> np.ndarray:
        """Return the most probable states, by the parameter `algorithm`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        states : ndarray of shape (n_samples,), int64
            The states.
        """
        return self.decode(X, lengths)[1]

    @quiet
    def predict_next(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> NextStep:
        """Return what is to be expected right after the end of each sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        states : ndarray of shape (n_sequences, n_components)
            Probability of each state at the next step.
        observation : ndarray of shape (n_sequences, n_features)
            The mean of the next row; of categories their probabilities.
        """
        model, params, block = self._read(X, lengths)
        _, posteriors = possible(model.posteriors, params, block)
        states = posteriors[block.begin[1:] - 1] @ params.transmat
        return NextStep(states, states @ self._expectation(self._fitted_values()))

    def get_stationary_distribution(self) -> np.ndarray:
        """Return the states' share of the time in the long run.

        Where the chain can end in several parts, they are reached from `startprob_`.

        Returns
        -------
        distribution : ndarray of shape (n_components,)
            The distribution that `transmat_` leaves as it is.
        """
        values = self._fitted_values()
        return stationary_distribution(values["startprob_"], values["transmat_"])

    def sample(
        self, n_samples: int = 1, random_state: RandomStateLike = None, currstate: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a sequence.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seed; None: the parameter `random_state`.
        currstate : int, default=None
            State of the first row; None: drawn by `startprob_`.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            The rows.
        states : ndarray of shape (n_samples,), int64
            Their states.
        """
        values = self._fitted_values()
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an integer of at least 1, got {n_samples!r}")
        k = self.n_components
        whole = isinstance(currstate, int | np.integer)
        if currstate is not None and not (whole and 0 <= currstate < k):
            raise ValueError(
                f"currstate must be from 0 to n_components - 1 = {k - 1}, got {currstate!r}"
            )
        random_state = _random_state(self.random_state if random_state is None else random_state)
        if currstate is None:
            currstate = draw_index(values["startprob_"].cumsum(), random_state)
        steps = values["transmat_"].cumsum(axis=1)
        draw = self._drawer(values)
        states = [int(currstate)]
        rows = [draw(states[0], random_state)]
        for _ in range(int(n_samples) - 1):
            states.append(draw_index(steps[states[-1]], random_state))
            rows.append(draw(states[-1], random_state))
        return np.array(rows), np.array(states, dtype=np.int64)

    def aic(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> float:
        """Return Akaike's information criterion (1974) on the sequences; lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        aic : float
            -2 log-likelihood + 2 (number of free parameters).
        """
        return self._criterion(X, lengths, lambda n: 2.0)

    def bic(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> float:
        """Return the Bayesian information criterion (Schwarz 1978); lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        bic : float
            -2 log-likelihood + (number of free parameters) log n_samples, over all sequences.
        """
        return self._criterion(X, lengths, math.log)

    def icl(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> float:
        """Return the integrated completed likelihood; lower is better.

        BIC, with the likelihood of rows and states together in place of the rows' alone: a state
        that the rows do not tell from another costs. The states are those of the most probable
        path (Celeux & Durand 2008, *Selecting hidden Markov model state number with
        cross-validated likelihood*, Computational Statistics 23:541).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        icl : float
            -2 log p(X, path) + (number of free parameters) log n_samples, over all sequences.
        """
        likelihood, path = self.score(X, lengths), self.decode(X, lengths, "viterbi")[0]
        return self.bic(X, lengths) + 2 * (likelihood - path)

    @quiet
    def _criterion(self, X, lengths, price):
        model, params, block = self._read(X, lengths)
        n_samples = int(block.begin[-1])
        n_free = sum(self._n_parameters(None).values())
        return -2 * float(model.scores(params, block).sum()) + n_free * price(n_samples)

    def _n_parameters(self, n_features):
        """Return the number of free parameters, by letter."""
        k = self.n_components
        held = getattr(self, "transmat_", None)
        chain = ChainStart(k, self.topology, self.transmat_fixed, None, None, held)
        free = {"s": k - 1, "t": k * (k - 1)}
        if chain.start_fixed is not None:
            free["s"] = 0
        if chain.trans_fixed is not None:
            free["t"] = int(np.maximum(np.isnan(chain.trans_fixed).sum(axis=1) - 1, 0).sum())
        return free | self._n_emission_parameters(n_features)

    # ---- what a subclass has ---------------------------------------------------------------

    def _check_fit(self, X, row_weight) -> None:
        """Raise ValueError where the data of a fit do not suit the parameters.

        Of a feature that has no value nothing can be learnt.
        """
        if set(self._letters) & set(self.params) and np.isnan(np.add.reduce(X, axis=None)):
            refuse_unknown_features(self, known_features(X, row_weight))

    def _rows(self, X) -> np.ndarray:
        """Return validated rows as the family takes them."""
        return X

    @abstractmethod
    def _check_rows(self, X, fresh) -> None:
        """Raise ValueError unless the rows are the family's.

        `fresh` says that the emissions' parameters will be drawn to suit them.
        """

    @abstractmethod
    def _check_values(self, values, n_features) -> dict[str, Any]:
        """Return the emission attributes, validated; `n_features` is None where no data are."""

    @abstractmethod
    def _start_emission(self, X, weight, seed, init) -> dict[str, Any]:
        """Return the first emission attributes."""

    @abstractmethod
    def _family(self, values, learn, n_threads, X, weight=None) -> tuple[Any, Any]:
        """Return the family and its parameters."""

    @abstractmethod
    def _values(self, emission) -> dict[str, Any]:
        """Return the attributes of the family's parameters."""

    @abstractmethod
    def _drawer(self, values) -> Any:
        """Return a function of a state and a RandomState that draws one row."""

    @abstractmethod
    def _expectation(self, values) -> np.ndarray:
        """Return what the rows of each state are on average, (K, D)."""

    @abstractmethod
    def _n_emission_parameters(self, n_features) -> dict[str, int]:
        """Return the number of free parameters, by letter."""


def stationary_distribution(start, trans):
    """Return the limit of the mean of start A, start A^2, ..., start A^n, (K,)."""
    n_parts, part = connected_components(trans > 0, connection="strong")
    leaves = np.zeros(n_parts, dtype=bool)
    for i, j in np.argwhere(trans > 0):
        leaves[part[i]] |= part[i] != part[j]
    stationary, passing = np.zeros(len(start)), leaves[part]
    # How often each state is left before the chain ends in a part that it cannot leave.
    visits = np.linalg.solve(
        (np.eye(passing.sum()) - trans[np.ix_(passing, passing)]).T, start[passing]
    )
    arrives = start + visits @ trans[passing]
    for number in np.flatnonzero(~leaves):
        inside = part == number
        stationary[inside] = arrives[inside].sum() * _stationary_part(trans[np.ix_(inside, inside)])
    return stationary / stationary.sum()


def _stationary_part(trans):
    """Return the stationary distribution of a chain that reaches every state from every one.

    States are taken out one after another, without a subtraction (Grassmann, Taksar & Heyman 1985,
    *Regenerative analysis and steady state distributions for Markov chains*, Operations Research
    33:1107), so that probabilities near 0 keep their digits.
    """
    trans = trans.copy()
    k = len(trans)
    for n in range(k - 1, 0, -1):
        trans[:n, n] /= trans[n, :n].sum()
        trans[:n, :n] += np.outer(trans[:n, n], trans[n, :n])
    share = np.ones(k)
    for n in range(1, k):
        share[n] = share[:n] @ trans[:n, n]
    return share / share.sum()


def draw_index(cumulated, random_state):
    """Return an index drawn by cumulated probabilities, never one of probability 0."""
    index = int(np.searchsorted(cumulated, random_state.rand(), side="right"))
    # Rounding may end the sums below 1: the last index that they rise at.
    return min(index, int(np.searchsorted(cumulated, cumulated[-1], side="left")))


def _random_state(seed):
    """Return NumPy's RandomState of a seed."""
    if isinstance(seed, np.random.Generator):
        raise TypeError(
            f"random_state must be an int, a RandomState or None, got {seed!r}: pass "
            "random_state=int(generator.integers(2**31)), which that generator draws"
        )
    return check_random_state(seed)
