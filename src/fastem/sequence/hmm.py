"""What the hidden Markov models share: the course of a fit, and what is read off a fitted one."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.linalg import null_space
from sklearn.base import _fit_context
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from fastem._estimator import EMEstimator, unchanged_on_error
from fastem._threads import effective_n_jobs
from fastem.sequence._monitor import ConvergenceMonitor, Watcher
from fastem.sequence._reading import (
    broadcast_prior,
    check_distribution,
    read_known_states,
    read_sequence_weight,
    read_sequences,
)
from fastem.sequence._start import ChainStart, restart_seeds
from fastem.sequence.chain import ChainEM, ChainParams, Sequences

__all__ = ["HMM", "NextStep"]

_log = logging.getLogger(__name__)

#: exp of less is 0: where a forward pass that is merely scaled comes to its end.
_LEAST_EXPONENT = -745.0
_LETTERS = frozenset("stmcwel")


class NextStep(NamedTuple):
    """What comes after the end of each sequence."""

    states: np.ndarray
    observation: np.ndarray


class HMM(EMEstimator):
    """Base of the hidden Markov models.

    Beside what :class:`EMEstimator` asks for, a subclass has hmmlearn's parameters, and

    - ``_letters``: hmmlearn's letters of the emissions' parameters, and the attributes they are in;
    - ``_dtype``: what X is converted to;
    - ``_check_rows(X, fresh)``: raises ValueError unless the rows are the family's;
    - ``_check_values(values, n_features)``: the emission attributes, validated;
    - ``_start_emission(X, weight, seed, init)``: the first emission attributes;
    - ``_family(values, learn, n_threads, X)``: the family, and its parameters for these values; X
      is None where nothing will be learnt;
    - ``_values(emission)``: the attributes of the family's parameters;
    - ``_drawer(values)``: a function of a state and a RandomState that draws one row;
    - ``_expectation(values)``: the mean of each state's rows, or the probabilities in them;
    - ``_n_emission_parameters()``: the number of free ones, by letter.
    """

    _letters: ClassVar[dict[str, str]] = {}
    _dtype: ClassVar[Any] = (np.float64, np.float32)

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "startprob_prior": [Interval(Real, 0, None, closed="left"), "array-like"],
        "transmat_prior": [Interval(Real, 0, None, closed="left"), "array-like"],
        "algorithm": [StrOptions({"viterbi", "map"})],
        "random_state": ["random_state"],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "tol": [Real],
        "verbose": ["verbose"],
        "params": [str],
        "init_params": [str],
        "implementation": [StrOptions({"log", "scaling"})],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "topology": [StrOptions({"left-right", "linear", "cyclic"}), "array-like", None],
        "transmat_fixed": ["array-like", None],
        "n_jobs": [Integral, None],
    }

    def _keep(self, parameters):
        """Set the parameters that __init__ was given: its locals()."""
        for name in self._get_param_names():
            setattr(self, name, parameters[name])

    # ---- the course of a fit ---------------------------------------------------------------

    @property
    def monitor_(self):
        """The course of the fit; set one of your own before `fit` to decide when it stops."""
        if getattr(self, "_own_monitor", None) is not None:
            return self._own_monitor
        if not hasattr(self, "_monitor"):
            self._monitor = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        return self._monitor

    @monitor_.setter
    def monitor_(self, monitor):
        self._own_monitor = monitor

    @property
    def max_iter(self):
        """The parameter `n_iter`, by the name that other estimators have for it."""
        return self.n_iter

    @property
    def stop_reason_(self):
        """Why the last fit stopped.

        'converged': the log-likelihood rose by less than `tol`; 'n_iter': the iterations ran out;
        'callback': a callback, or a monitor of your own, said so; 'interrupted': Ctrl-C.
        """
        if not hasattr(self, "_stop_reason"):
            raise AttributeError(f"this {type(self).__name__} has no stop_reason_ before fit")
        return self._stop_reason

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, lengths=None, *, sample_weight=None, states=None):
        """Fit the model to one sequence or several.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, one sequence below the other, or a list of the sequences. NaN
            stands for what is missing, be it a value or a whole row.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence; None: X is one sequence, or a list of them.
        sample_weight : array-like of shape (n_sequences,), default=None
            Non-negative weight of each sequence: one of weight 2 counts as two equal sequences.
        states : array-like of int of shape (n_samples,), default=None
            The state that is known to hold at each row, -1 where it is unknown: the fit is then
            semi-supervised.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError
            If an argument is invalid, or a sequence is impossible under the first parameters.
        """
        with unchanged_on_error(self):
            n_threads = effective_n_jobs(self.n_jobs)  # complains before any work
            self._check_letters()
            X, begin = read_sequences(self, X, lengths, reset=True, dtype=self._dtype)
            weight = read_sequence_weight(sample_weight, begin)
            known = read_known_states(states, begin, self.n_components)
            fresh = any(
                c in self.init_params or not self._is_set(n) for c, n in self._letters.items()
            )
            self._check_rows(X, fresh)
            self._check_fit(X)
            self._fit_rows(X, begin, weight, known, n_threads)
        return self

    def _fit_rows(self, X, begin, weight, known, n_threads):
        """Fit to validated sequences."""
        row_weight = None if weight is None else np.repeat(weight, np.diff(begin))
        chain = ChainStart(
            self.n_components,
            self.topology,
            self.transmat_fixed,
            self._given("s", "startprob_"),
            self._given("t", "transmat_"),
            getattr(self, "transmat_", None),
        )
        seeds = restart_seeds(self.random_state, self.n_init)
        first = self._start(chain, X, row_weight, seeds[0], 0)
        self._tell_what_is_lost(X)
        family, emission = self._family(first, self._learnt_letters(), n_threads, X)
        params = ChainParams(first["startprob_"], first["transmat_"], emission)
        block = Sequences(family.block(self._rows(X)), begin, weight, known)
        self._refuse_underflow(family, emission, block)

        def start(init):
            if init == 0:
                return params
            values = self._start(chain, X, row_weight, seeds[init], init)
            values.update(
                {name: first[name] for c, name in self._all_letters() if c not in self.params}
            )
            emission = self._family(values, self._learnt_letters(), n_threads, X)[1]
            return ChainParams(values["startprob_"], values["transmat_"], emission)

        model = self._model(family, params, chain, n_threads)
        self._run(model, block, start, X, weight)

    def _run(self, model, block, start, X, weight):
        """Run the driver; set the fitted attributes and why it stopped."""
        own = getattr(self, "_own_monitor", None)
        monitor = own or ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        watcher = Watcher(monitor, model, block.total_weight)
        restarts = any(c in self.init_params or not self._is_set(a) for c, a in self._all_letters())
        try:
            result = self._fit_em(
                model,
                [block],
                start,
                tol=0.0,  # the monitor decides
                verbose=0,
                n_init=self.n_init if restarts else 1,
                callbacks=[watcher],
                X=X,
                sample_weight=weight,
            )
        except BaseException as error:
            if getattr(error, "keep_fitted", False):
                self._monitor, self._stop_reason = monitor, "interrupted"
                raise
            watcher.restore()
            if isinstance(error, ValueError):
                self._refuse_the_impossible(model, start(0), block)
            raise
        self.converged_ = watcher.finish(result)
        if own is None:
            self._monitor = monitor
        if self.converged_:
            self._stop_reason = "converged"
        else:
            self._stop_reason = "n_iter" if result.n_iter == self.n_iter else "callback"
        self._from_fit = {name: vars(self)[name] for _, name in self._all_letters()}

    def _model(self, family, params, chain, n_threads):
        """Return the model, which learns what `params` has the letters of."""
        k = self.n_components
        names = {"s": "startprob", "t": "transmat"}
        learn = {name for letter, name in names.items() if letter in self.params}
        if any(letter in self.params for letter in self._letters):
            learn.add("emission")
        return ChainEM(
            family,
            start_prior=broadcast_prior("startprob_prior", self.startprob_prior, (k,)),
            trans_prior=broadcast_prior("transmat_prior", self.transmat_prior, (k, k)),
            learn=learn,
            held=params,
            start_fixed=chain.start_fixed,
            trans_fixed=chain.trans_fixed,
            n_threads=n_threads,
        )

    def _start(self, chain, X, row_weight, seed, init):
        """Return the first values of all parameters, by attribute: given ones, or drawn ones."""
        values = chain.draw(seed)
        given = {name: self._given(letter, name) for letter, name in self._letters.items()}
        if any(value is None for value in given.values()):
            drawn = self._start_emission(X, row_weight, seed, init)
            given = {n: drawn[n] if value is None else value for n, value in given.items()}
        return values | self._check_values(given, X.shape[1])

    def _given(self, letter, name):
        """Return what the user has set for a fit to begin with, or None."""
        if not self._is_set(name):
            return None
        value = vars(self)[name]
        if letter not in self.init_params:
            return value
        if getattr(self, "_from_fit", {}).get(name) is not value:
            _log.warning(
                "%s_ is set, but will be overwritten: init_params=%r has %r. Leave that out to "
                "begin with the value.", name.strip("_"), self.init_params, letter,
            )  # fmt: skip
        return None

    def _is_set(self, name):
        return name in vars(self)

    def _all_letters(self):
        return [("s", "startprob_"), ("t", "transmat_"), *self._letters.items()]

    def _learnt_letters(self):
        return frozenset(letter for letter in self._letters if letter in self.params)

    def _check_letters(self):
        """Raise ValueError unless `params` and `init_params` have letters that mean something."""
        own = {letter for letter, _ in self._all_letters()}
        for name, known in (("params", own), ("init_params", own | _LETTERS)):
            unknown = set(getattr(self, name)) - known
            if unknown:
                raise ValueError(
                    f"{name} must have letters of {''.join(c for c, _ in self._all_letters())!r} "
                    f"alone, got {getattr(self, name)!r} with {min(unknown)!r}"
                )
        if math.isnan(self.tol):
            raise ValueError("tol must be a number, got nan")

    def _tell_what_is_lost(self, X):
        """Say so where the model has more parameters than the data have values."""
        n_free = sum(n for c, n in self._n_parameters(X.shape[1]).items() if c in self.params)
        if X.size < n_free:
            _log.warning(
                "%d free parameters are fitted to %d values of X: the result will be a degenerate "
                "solution.", n_free, X.size,
            )  # fmt: skip

    def _refuse_underflow(self, family, emission, block):
        """Raise ValueError where 'scaling' says so and likelihoods underflow, as in hmmlearn.

        fastem's own pass does not: it scales by each row's largest likelihood.
        """
        if self.implementation != "scaling":
            return
        lost = family.log_prob(emission, block.emission).max(axis=1) < _LEAST_EXPONENT
        if lost.any():
            raise ValueError(
                f"the likelihood of row {int(np.argmax(lost))} underflows in every state under the "
                "first parameters, which implementation='scaling' refuses: use 'log', which is as "
                "fast here and does not underflow"
            )

    @staticmethod
    def _refuse_the_impossible(model, params, block):
        """Raise ValueError naming a sequence that the first parameters make impossible."""
        scores = model.scores(params, block)
        counted = np.isneginf(scores)
        if block.weight is not None:
            counted &= block.weight > 0
        if counted.any():
            raise ValueError(
                f"{_which(block.begin, int(np.argmax(counted)))} has probability 0 under the first "
                "parameters: see whether zeros in startprob_, transmat_ or the emissions, or known "
                "states, forbid it"
            ) from None

    # ---- reading ---------------------------------------------------------------------------

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
        n_threads = effective_n_jobs(self.n_jobs)
        X, begin = read_sequences(self, X, lengths, reset=False, dtype=self._dtype)
        self._check_values(values, X.shape[1])
        self._check_rows(X, False)
        family, emission = self._family(values, frozenset(), n_threads, None)
        params = ChainParams(values["startprob_"], values["transmat_"], emission)
        model = ChainEM(family, learn=(), held=params, n_threads=n_threads)
        return model, params, Sequences(family.block(self._rows(X)), begin)

    def score(self, X, lengths=None):
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
        model, params, block = self._read(X, lengths)
        return float(model.scores(params, block).sum())

    def score_samples(self, X, lengths=None):
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
        """
        model, params, block = self._read(X, lengths)
        scores, posteriors = model.posteriors(params, block)
        _refuse_impossible(scores, block.begin)
        return float(scores.sum()), posteriors

    def predict_proba(self, X, lengths=None):
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
        return self.score_samples(X, lengths)[1]

    def decode(self, X, lengths=None, algorithm=None):
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
            posteriors = self.predict_proba(X, lengths)
            return float(posteriors.max(axis=1).sum()), posteriors.argmax(axis=1)
        model, params, block = self._read(X, lengths)
        scores, states = model.viterbi(params, block)
        _refuse_impossible(scores, block.begin)
        return float(scores.sum()), states

    def predict(self, X, lengths=None):
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

    def predict_next(self, X, lengths=None):
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
        scores, posteriors = model.posteriors(params, block)
        _refuse_impossible(scores, block.begin)
        states = posteriors[block.begin[1:] - 1] @ params.transmat
        return NextStep(states, states @ self._expectation(self._fitted_values()))

    def get_stationary_distribution(self):
        """Return the states' share of the time in the long run.

        Where the chain can end in several parts, they are reached from `startprob_`.

        Returns
        -------
        distribution : ndarray of shape (n_components,)
            The distribution that `transmat_` leaves as it is.
        """
        values = self._fitted_values()
        start, change = values["startprob_"], values["transmat_"] - np.eye(self.n_components)
        # The projection on what stays (the limit of the mean of the matrix's powers).
        left, right = null_space(change.T), null_space(change)
        stationary = start @ right @ np.linalg.solve(left.T @ right, left.T)
        stationary = np.maximum(stationary, 0)
        return stationary / stationary.sum()

    def sample(self, n_samples=1, random_state=None, currstate=None):
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
        if currstate is not None and currstate not in range(self.n_components):
            raise ValueError(
                f"currstate must be from 0 to n_components - 1 = {self.n_components - 1}, got "
                f"{currstate!r}"
            )
        seed = self.random_state if random_state is None else random_state
        random_state = check_random_state(seed)
        if currstate is None:
            currstate = draw_index(values["startprob_"].cumsum(), random_state)
        steps = values["transmat_"].cumsum(axis=1)
        draw = self._drawer(values)
        states, rows = [int(currstate)], [draw(currstate, random_state)]
        for _ in range(n_samples - 1):
            states.append(draw_index(steps[states[-1]], random_state))
            rows.append(draw(states[-1], random_state))
        return np.array(rows), np.array(states, dtype=np.int64)

    def aic(self, X, lengths=None):
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

    def bic(self, X, lengths=None):
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

    def _attributes(self, params) -> dict[str, Any]:
        return {
            "startprob_": params.startprob,
            "transmat_": params.transmat,
            **self._values(params.emission),
        }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    # ---- what a subclass has ---------------------------------------------------------------

    def _check_fit(self, X) -> None:
        """Raise ValueError where the data of a fit do not suit the parameters."""

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
    def _family(self, values, learn, n_threads, X) -> tuple[Any, Any]:
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


def draw_index(cumulated, random_state):
    """Return an index drawn by cumulated probabilities, never one of probability 0."""
    index = int(np.searchsorted(cumulated, random_state.rand(), side="right"))
    # Rounding may end the sums below 1: the last index that they rise at.
    return min(index, int(np.searchsorted(cumulated, cumulated[-1], side="left")))


def _which(begin, sequence):
    """Return words for a sequence: its number and its rows."""
    return f"sequence {sequence} (rows {begin[sequence]} to {begin[sequence + 1] - 1})"


def _refuse_impossible(scores, begin):
    """Raise ValueError if a sequence has probability 0: then there is no posterior."""
    impossible = np.isneginf(scores)
    if impossible.any():
        raise ValueError(
            f"{_which(begin, int(np.argmax(impossible)))} has probability 0 under the model, so "
            "that none of its states is probable: score tells such sequences by -inf"
        )
