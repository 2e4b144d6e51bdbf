"""Hidden Markov models of a stream of sequences: partial_fit, by stepwise EM."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fastem._base import unchanged_on_error
from fastem._compat import fit_context
from fastem._engine.streaming import ROWS_OF_A_START, SORTED, Streaming, keeping_names
from fastem._typing import MatrixLike
from fastem.sequence.chain import ChainParams, Sequences
from fastem.sequence.decoding import quiet
from fastem.sequence.reading import read_sequence_weight, read_sequences
from fastem.sequence.start import ChainStart

__all__ = ["StreamingHMM"]


class StreamingHMM(Streaming):
    """A hidden Markov model that can be fitted to a stream; a part of those that are."""

    _sized = "startprob_"

    @fit_context(prefer_skip_nested_validation=True)
    @quiet
    def partial_fit(
        self,
        X: MatrixLike,
        lengths: npt.ArrayLike | None = None,
        *,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Take a step with the next sequences of a stream.

        The first calls gather 100 rows for each state, to which `fit` is called; a fitted model
        goes on from what it is. Then each call moves the mean of the sums that the M-step is made
        of towards those of its sequences (Cappé & Moulines 2009, *On-line expectation-maximization
        algorithm for latent data models*, JRSS B 71:593), by (learning_offset + number of the
        step)^-learning_decay.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            Whole sequences, as in `fit`: best some hundreds of rows, in random order.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.
        sample_weight : array-like of shape (n_sequences,), default=None
            Non-negative weight of each sequence.

        Returns
        -------
        self : object
            The model after the step; `n_iter_` is the number of steps. As long as there are fewer
            rows than states it is not fitted.

        Raises
        ------
        ValueError
            If an argument is invalid, or a sequence is impossible.

        Warns
        -----
        RuntimeWarning
            If the stream looks sorted.
        """
        if self._take_steps(X, lengths, sample_weight):
            warnings.warn(SORTED, RuntimeWarning, stacklevel=4)
        return self

    def _take_steps(self: Any, X, lengths, sample_weight):
        """Take the steps of one call; return whether the stream looks sorted."""
        with unchanged_on_error(self):
            n_threads = self._n_threads(X)  # complains before any work
            self._check_letters()
            if getattr(self, "prior", None) is not None:
                raise ValueError("partial_fit takes no prior: set prior=None, or take fit")
            stream = self._open_stream()
            X, begin = read_sequences(self, X, lengths, reset=stream.begins, dtype=self._dtype)
            weight = read_sequence_weight(sample_weight, begin)
            self._check_rows(X, stream.begins)
            looks_sorted = False
            if stream.mean is None:
                self._begin_stream(stream, X, begin, weight, n_threads)
            else:
                model, statistics = self._sums(X, begin, weight, n_threads)
                shares = [_composition(s) for s in (stream.mean, statistics)]
                looks_sorted = stream.step(statistics, *shares)
                self._set_fitted(self._attributes(model.m_step(stream.total())))
                self.converged_, self.n_iter_ = False, stream.n_steps
                self.lower_bounds_ = list(stream.bounds)
                self.lower_bound_ = stream.bounds[-1]
                self._remember([], None)
            self._stream = stream.keep()
        return looks_sorted

    def _begin_stream(self: Any, stream, X, begin, weight, n_threads):
        """Gather sequences, and fit to them."""
        weight = np.ones(len(begin) - 1) if weight is None else weight
        stream.rows.append(X.copy())
        stream.row_weights.append(np.array([np.diff(begin), weight], dtype=np.float64))
        wanted = ROWS_OF_A_START * self.n_components
        if stream.n_rows < (wanted if stream.resumes else self.n_components):
            return
        rows = np.concatenate(stream.rows)
        lengths, weight = np.hstack(stream.row_weights)
        lengths = lengths.astype(np.int64)
        if not stream.resumes:
            with keeping_names(self):
                self.fit(rows, lengths, sample_weight=weight)
        if stream.n_rows >= wanted:
            begin = np.concatenate([[0], np.cumsum(lengths)])
            weight = read_sequence_weight(weight, begin)
            model, statistics = self._sums(rows, begin, weight, n_threads)
            stream.begin(statistics)
            self._set_fitted(self._attributes(model.m_step(stream.total())))
            self.converged_, self.n_iter_, self.lower_bounds_ = False, 0, []
            self._remember([], None)

    def _sums(self: Any, X, begin, weight, n_threads):
        """Return the model at the fitted parameters, and the statistics of sequences."""
        values = {name: vars(self)[name] for name in self._letters.values()}
        values = self._check_values(values, X.shape[1])
        family, emission = self._family(values, self._learnt_letters(), n_threads, X)
        params = ChainParams(self.startprob_, self.transmat_, emission)
        chain = ChainStart(
            self.n_components, self.topology, self.transmat_fixed, self.startprob_,
            self.transmat_, self.transmat_,
        )  # fmt: skip
        model = self._model(family, params, chain, n_threads)
        block = Sequences(family.block(self._rows(X)), begin, weight, None)
        statistics = model.e_step(params, block)
        if not np.isfinite(statistics.bound):
            self._refuse_the_impossible(model, params, block)
        return model, self._streamed(statistics)

    def _streamed(self, statistics):
        """Return an E-step's statistics as a mean over steps may have them."""
        return statistics


def _composition(statistics):
    """Return the weights of the states' rows."""
    own = vars(statistics)
    return own["moments"].weight if "moments" in own else own["resp"]
