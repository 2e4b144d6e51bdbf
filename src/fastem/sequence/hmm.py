"""What the hidden Markov models share: the course of a fit, and what is read off a fitted one."""

from __future__ import annotations

import logging
import math
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Self
from zlib import crc32

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from fastem._base import unchanged_on_error
from fastem._compat import Interval, StrOptions, fit_context
from fastem._data.sources import source_of, survey
from fastem._typing import CheckpointLike, MatrixLike, RandomStateLike
from fastem.sequence.by_blocks import begin_fit, largest
from fastem.sequence.chain import ChainEM, ChainParams, Sequences
from fastem.sequence.decoding import Decoder, quiet
from fastem.sequence.errors import Errors, WithErrors
from fastem.sequence.monitor import ConvergenceMonitor, Watcher
from fastem.sequence.reading import (
    broadcast_prior,
    read_known_states,
    read_sequence_weight,
    read_sequences,
    which_sequence,
)
from fastem.sequence.start import ChainStart, restart_seeds

__all__ = ["HMM"]

_log = logging.getLogger(__name__)

#: exp of less is 0: where a forward pass that is merely scaled comes to its end.
_LEAST_EXPONENT = -745.0
_LETTERS = frozenset("stmcwel")
#: The parameter `fit_algorithm`: its values, with the driver's schedules.
_SCHEDULES = {"em": "batch", "squarem": "squarem", "incremental": "incremental"}
_PIECES, _LEAST_PIECE = 20, 100  # of an incremental fit: their number, and the rows of one


class HMM(Decoder, WithErrors[Errors]):
    """Base of the hidden Markov models.

    Beside what :class:`EMEstimator` asks for, a subclass has hmmlearn's parameters, and

    - ``_letters``: hmmlearn's letters of the emissions' parameters, and the attributes they are in;
    - ``_dtype``: what X is converted to;
    - ``_check_rows(X, fresh)``: raises ValueError unless the rows are the family's;
    - ``_check_values(values, n_features)``: the emission attributes, validated;
    - ``_start_emission(X, weight, seed, init)``: the first emission attributes;
    - ``_family(values, learn, n_threads, X, weight)``: the family, which learns what has these
      letters, and its parameters for these values; `learn` is None where the model is only read;
    - ``_values(emission)``: the attributes of the family's parameters;
    - ``_drawer(values)``: a function of a state and a RandomState that draws one row;
    - ``_expectation(values)``: the mean of each state's rows, or the probabilities in them;
    - ``_n_emission_parameters()``: the number of free ones, by letter.
    """

    startprob_prior: npt.ArrayLike
    transmat_prior: npt.ArrayLike
    algorithm: str
    random_state: RandomStateLike
    n_iter: int
    tol: float
    verbose: bool
    params: str
    init_params: str
    implementation: str
    n_init: int
    topology: npt.ArrayLike | None
    transmat_fixed: npt.ArrayLike | None
    n_jobs: int | None
    fit_algorithm: str

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
        "fit_algorithm": [StrOptions({*_SCHEDULES})],
    }

    # ---- the course of a fit ---------------------------------------------------------------

    @property
    def monitor_(self) -> ConvergenceMonitor:
        """The course of the fit; set one of your own before `fit` to decide when it stops.

        Without one it is made of `tol`, `n_iter` and `verbose` whenever it is asked for: to change
        the one that is returned changes no fit.
        """
        if "monitor_" in vars(self):
            return vars(self)["monitor_"]
        monitor = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        return monitor.told(getattr(self, "_history", []))

    @monitor_.setter
    def monitor_(self, monitor: Any) -> None:
        self.__dict__["monitor_"] = monitor

    @monitor_.deleter
    def monitor_(self) -> None:
        del self.__dict__["monitor_"]

    @property
    def max_iter(self) -> int:
        """The parameter `n_iter`, by the name that other estimators have for it."""
        return self.n_iter

    @property
    def stop_reason_(self) -> str:
        """Why the last fit stopped.

        'converged': the log-likelihood rose by less than `tol`, or a monitor of your own said so;
        'n_iter': the iterations ran out; 'callback': a callback said so; 'interrupted': Ctrl-C.
        """
        if getattr(self, "_stop_reason", None) is None:
            raise AttributeError(
                f"this {type(self).__name__} has no stop_reason_: call fit, which has one"
            )
        return self._stop_reason

    @fit_context(prefer_skip_nested_validation=True)
    @quiet
    def fit(
        self,
        X: MatrixLike,
        lengths: npt.ArrayLike | None = None,
        *,
        sample_weight: npt.ArrayLike | None = None,
        states: npt.ArrayLike | None = None,
        checkpoint: CheckpointLike = None,
    ) -> Self:
        """Fit the model to one sequence or several.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays, or Blocks
            The rows of all sequences, one sequence below the other, or a list of the sequences. NaN
            stands for what is missing, be it a value or a whole row. A block of
            :class:`fastem.Blocks` is one sequence, a list of sequences, or a tuple (X, lengths) or
            (X, lengths, sample_weight); no sequence goes on in the next block.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence; None: X is one sequence, or a list of them.
        sample_weight : array-like of shape (n_sequences,), default=None
            Non-negative weight of each sequence: one of weight 2 counts as two equal sequences.
        states : array-like of int of shape (n_samples,), default=None
            The state that is known to hold at each row, -1 where it is unknown: the fit is then
            semi-supervised.
        checkpoint : em.Checkpoint or path, default=None
            Where the fit is written to as it goes. A fit that was killed goes on from there and
            ends with the same bits: see :class:`fastem.em.Checkpoint`. `random_state` must be set.

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
            n_threads = self._n_threads(X)  # complains before any work
            self._check_letters()
            data = {"lengths": lengths, "sample_weight": sample_weight, "states": states}
            self._open_checkpoint(checkpoint, X, **data)
            source = source_of(self, X, sample_weight)
            if source is not None:
                if lengths is not None or states is not None:
                    raise TypeError(
                        "lengths must come with the blocks, as (X, lengths) or (X, lengths, "
                        "sample_weight), and states cannot: they are for sequences in memory"
                    )
                self._fit_source(source, n_threads)
                return self
            X, begin = read_sequences(self, X, lengths, reset=True, dtype=self._dtype)
            weight = read_sequence_weight(sample_weight, begin)
            known = read_known_states(states, begin, self.n_components)
            row_weight = None if weight is None else np.repeat(weight, np.diff(begin))
            self._check_rows(X, self._is_fresh())
            self._check_fit(X, row_weight)
            self._fit_rows(X, begin, weight, row_weight, known, n_threads)
        return self

    _lengths_follow = True  # X in a block

    def _is_fresh(self):
        """Return whether a fit draws first emissions."""
        return any(c in self.init_params or not self._is_set(n) for c, n in self._letters.items())

    def _open_block(self, block):
        """Return the rows of a block of sequences, their weights, and the sequences' own."""
        parts = block if isinstance(block, tuple) else (block,)
        X, lengths, weight = (*parts, None, None)[:3]
        X, begin = read_sequences(self, X, lengths, reset=True, dtype=self._dtype)
        weight = read_sequence_weight(weight, begin, some=False)
        self._check_rows(X, self._is_fresh())
        row_weight = None if weight is None else np.repeat(weight, np.diff(begin))
        return X, row_weight, begin, weight

    def _fit_source(self, source, n_threads):
        """Fit to sequences that come in blocks."""
        found = survey(source, largest, self.random_state, 2 * self.n_components)
        self._set_fitted(found.attributes())
        begun = source.call(begin_fit, self, found, n_threads, source.sample)
        source.sample = None  # which takes memory
        self._set_fitted(begun.learned)
        blocks = source.prepared(begun.make)
        start = begun.starts.__getitem__
        self._run(begun.model, blocks, start, found.total_weight, executor=source.executor)

    def _fit_rows(self, X, begin, weight, row_weight, known, n_threads):
        """Fit to validated sequences."""
        family, params, chain, start = self._begin(X, row_weight, known, n_threads)
        block = Sequences(family.block(self._rows(X)), begin, weight, known)
        self._refuse_underflow(family, params.emission, block)
        model, blocks = self._model(family, params, chain, n_threads), [block]
        if self.fit_algorithm == "incremental":
            blocks = [
                Sequences(family.block(self._rows(part[0])), *part[1:])
                for part in _pieces(X, begin, weight, known)
            ]
        self._run(model, blocks, start, block.total_weight, X=X, weight=weight, whole=block)

    def _begin(self, X, row_weight, known, n_threads):
        """Return the family, the first parameters, the chain's start, and what gives restarts'."""
        chain = ChainStart(
            self.n_components,
            self.topology,
            self.transmat_fixed,
            self._given("s", "startprob_"),
            self._given("t", "transmat_"),
            getattr(self, "transmat_", None),
        )
        seeds = restart_seeds(self.random_state, self.n_init)
        first = self._start(chain, X, row_weight, known, seeds[0], 0)
        self._tell_what_is_lost(X)
        learnt = self._learnt_letters()
        family, emission = self._family(first, learnt, n_threads, X, row_weight)
        params = ChainParams(first["startprob_"], first["transmat_"], emission)

        def start(init):
            if init == 0:
                return params
            values = self._start(chain, X, row_weight, known, seeds[init], init)
            values.update(
                {name: first[name] for c, name in self._all_letters() if c not in self.params}
            )
            emission = self._family(values, learnt, n_threads, X, row_weight)[1]
            return ChainParams(values["startprob_"], values["transmat_"], emission)

        return family, params, chain, start

    def _run(
        self, model, blocks, start, total_weight, *, X=None, weight=None, whole=None, executor=None
    ):
        """Run the driver; set the fitted attributes and why it stopped."""
        if executor is not None and self.fit_algorithm == "incremental":
            raise ValueError(
                "fit_algorithm='incremental' goes from block to block, and cannot run on several "
                "workers: take 'em' or 'squarem'"
            )
        monitor = vars(self).get("monitor_")
        if monitor is None:
            monitor = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        watcher = Watcher(monitor, model, total_weight)
        try:
            result = self._fit_em(
                model,
                blocks,
                start,
                schedule=_SCHEDULES[self.fit_algorithm],
                tol=0.0,  # the monitor decides
                verbose=0,
                n_init=self._n_restarts(),
                callbacks=[watcher],
                executor=executor,
                X=X,
                sample_weight=weight,
            )
        except BaseException as error:
            if getattr(error, "keep_fitted", False):
                self._remember(list(monitor.history), "interrupted")
                raise
            watcher.restore()
            if isinstance(error, ValueError) and whole is not None:
                self._refuse_the_impossible(model, start(0), whole)
            raise
        self.converged_ = watcher.finish(result)
        reason = "n_iter" if result.n_iter == self.n_iter else "callback"
        self._remember(list(monitor.history), "converged" if self.converged_ else reason)

    def _remember(self, history, reason):
        """Keep the course of a fit, None of a stream; and by sums over them what it has set."""
        self._history, self._stop_reason = history, reason
        self._from_fit = {name: _sum_of(vars(self)[name]) for _, name in self._all_letters()}

    def _n_restarts(self):
        """Return how many restarts begin differently."""
        drawn = any(c in self.init_params or not self._is_set(a) for c, a in self._all_letters())
        return self.n_init if drawn else 1

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

    def _start(self, chain, X, row_weight, known, seed, init):
        """Return the first values of all parameters, by attribute: given ones, or drawn ones."""
        values = chain.draw(seed)
        given = {name: self._given(letter, name) for letter, name in self._letters.items()}
        if any(value is None for value in given.values()):
            drawn = self._start_emission(X, row_weight, seed, init)
            if known is not None and all(value is None for value in given.values()):
                drawn = self._aligned(self._check_values(drawn, X.shape[1]), X, known)
            given = {n: drawn[n] if value is None else value for n, value in given.items()}
        return values | self._check_values(given, X.shape[1])

    def _aligned(self, values, X, known):
        """Return drawn emissions, numbered so that they suit the rows whose states are known."""
        X, states = X[known >= 0], known[known >= 0]
        family, emission = self._family(values, None, 1, X)
        log_prob = family.log_prob(emission, family.block(self._rows(X)))
        suits = [log_prob[states == state].sum(axis=0) for state in range(self.n_components)]
        order = linear_sum_assignment(np.maximum(suits, -1e300), maximize=True)[1]
        return {n: v if n in self._shared() else v[order] for n, v in values.items()}

    def _shared(self):
        """Return the attributes that all states share, which have no state's number."""
        return ()

    def _given(self, letter, name):
        """Return what the user has set for a fit to begin with, or None."""
        if not self._is_set(name):
            return None
        value = vars(self)[name]
        if letter not in self.init_params:
            return value
        if getattr(self, "_from_fit", {}).get(name) != _sum_of(value):
            _log.warning(
                "%s_ is set, but will be overwritten: init_params=%r has %r. Leave that out to "
                "begin with the value.", name.strip("_"), self.init_params, letter,
            )  # fmt: skip
        return None

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
        k, n_own = self.n_components, sum(self._n_emission_parameters(X.shape[1]).values())
        if X.size >= k * (k + 1) + n_own:  # whatever is held
            return
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
                f"{which_sequence(block.begin, int(np.argmax(counted)))} has probability 0 under "
                "the first parameters: see whether zeros in startprob_, transmat_ or the "
                "emissions, or known states, forbid it"
            ) from None

    def _attributes(self, params) -> dict[str, Any]:
        return {
            "startprob_": params.startprob,
            "transmat_": params.transmat,
            **self._values(params.emission),
        }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._allow_nan
        return tags


def _pieces(X, begin, weight, known):
    """Yield rows of consecutive sequences, where each begins, weights and known states."""
    n_rows = int(begin[-1])
    ends = np.linspace(0, n_rows, min(_PIECES, n_rows // _LEAST_PIECE or 1) + 1)
    cuts = np.unique(np.searchsorted(begin, ends))
    for first, last in pairwise(cuts.tolist()):
        rows, some = slice(begin[first], begin[last]), slice(first, last)
        yield (
            X[rows],
            begin[first : last + 1] - begin[first],
            None if weight is None else weight[some],
            None if known is None else known[rows],
        )


def _sum_of(value):
    """Return a sum over the bytes of an array, by which it is known again; None of no numbers."""
    try:
        return crc32(np.ascontiguousarray(value, dtype=np.float64).tobytes())
    except (TypeError, ValueError):
        return None
