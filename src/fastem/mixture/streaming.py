"""Mixtures of a stream: partial_fit, by stepwise EM."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from fastem import em
from fastem._base import check_sample_weight, unchanged_on_error
from fastem._compat import fit_context
from fastem._engine.protocols import Bounding, follows
from fastem._engine.streaming import ROWS_OF_A_START, SORTED, Streaming, pieces
from fastem._engine.threads import effective_n_jobs, single_threaded_blas
from fastem._typing import MatrixLike

__all__ = ["STEP", "StreamingMixture"]

#: The parameters of the step, as docstrings have them.
STEP = """\
    learning_decay : float, default=0.7
        Of `partial_fit`, whose step is (learning_offset + number of the step)^-learning_decay; in
        (0.5, 1].
    learning_offset : float, default=10.0
        Slows the first steps of `partial_fit`; at least 1.
"""
_START_ITERATIONS = 100  # of EM on the first rows, at most


class StreamingMixture(Streaming):
    """A mixture that can be fitted to a stream; a part of those that are."""

    _goes_on_from = "weights_"  # also of mixtures that were made of others
    _least_of_start: ClassVar[int] = 1  # rows

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Take a step, or several, with the next rows of a stream.

        The first calls gather 100 rows for each component, among which the start is made; a fitted
        mixture goes on from what it is. Then each call moves the mean of the sums that the M-step
        is made of towards those of its rows (Cappé & Moulines 2009, *On-line
        expectation-maximization algorithm for latent data models*, JRSS B 71:593), by
        (learning_offset + number of the step)^-learning_decay.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows: best some hundreds and in random order. Many are several steps.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        self : object
            The mixture after the steps. As long as there are fewer rows than components it is not
            fitted. `n_iter_` is the number of steps, `lower_bounds_` has what each of them saw.

        Raises
        ------
        ValueError
            If an argument is invalid, or the rows do not fit the model.

        Warns
        -----
        RuntimeWarning
            If the stream looks sorted.
        """
        if self._take_steps(X, sample_weight):
            warnings.warn(SORTED, RuntimeWarning, stacklevel=3)
        return self

    def _take_steps(self: Any, X, sample_weight):
        """Take the steps of one call; return whether the stream looks sorted."""
        with unchanged_on_error(self), single_threaded_blas():
            effective_n_jobs(self.n_jobs)  # complains before any work
            if getattr(self, "prior", None) is not None:
                raise ValueError("partial_fit takes no prior: set prior=None, or take fit")
            noise = getattr(self, "noise", False)
            if isinstance(noise, bool | np.bool_) and noise:
                raise ValueError(
                    "partial_fit takes noise of a known volume alone: give noise a number"
                )
            stream = self._open_stream()
            if not stream.begins and hasattr(self, self._sized):
                self._params()  # which may have been set since, and is checked
            X = self._read_block(X, reset=stream.begins)
            sample_weight = check_sample_weight(sample_weight, X)
            if stream.order is not None:
                self._permute(np.argsort(stream.order))
            looks_sorted = False
            if stream.mean is None:
                params, left = self._begin_stream(stream, X, sample_weight)
            else:
                params, left = self._params(), True
            if left:
                for rows, weight in pieces(X, sample_weight, self.n_components):
                    model, block = self._stream_problem(rows, weight, stream)[:2]
                    statistics = model.e_step(params, block)
                    before, now = (self._composition(s) for s in (stream.mean, statistics))
                    if not now.any():  # rows of which nothing is known
                        continue
                    looks_sorted |= stream.step(statistics, before, now)
                    params = model.m_step(stream.total())
                    if follows(model, Bounding):
                        stream.bounds[-1] = model.lower_bound(stream.total(), params)
            if params is not None:
                self._set_fitted(self._attributes(params))
                self.converged_, self.n_iter_ = False, stream.n_steps
                self.lower_bounds_ = list(stream.bounds)
                if stream.bounds:
                    self.lower_bound_ = stream.bounds[-1]
            if stream.order is not None:
                self._permute(stream.order)
            self._stream = stream.keep()
        return looks_sorted

    def _stream_problem(self: Any, X, sample_weight, stream):
        """Return a model, the block of some rows, and a start, as ``_problem`` does."""
        return self._problem(X, sample_weight)

    def _weight_before(self) -> float:
        """Return how many rows, by weight, a fit before has seen, if they count for the M-step."""
        return 0.0

    def _begin_stream(self: Any, stream, X, sample_weight):
        """Gather rows, and make a start of them; return it, and whether X is still to be used."""
        wanted = ROWS_OF_A_START * self.n_components
        stream.gather(X, sample_weight)
        n = stream.n_rows
        if n < max(self.n_components, self._least_of_start) or (stream.resumes and n < wanted):
            return None, False
        seen = float(sum(weight.sum() for weight in stream.row_weights))
        rows, weight = stream.gathered(wanted, check_random_state(self.random_state))
        model, block, start = self._stream_problem(rows, weight, stream)
        if stream.resumes:
            params = self._params()
        else:
            self._check_n_components(rows.shape[0], False)
            random_state = check_random_state(self.random_state)
            params = em.run(
                model, [block], lambda _: start(random_state),
                schedule="batch", tol=self.tol, max_iter=min(self.max_iter, _START_ITERATIONS),
                evaluate_every=1, n_init=self.n_init, lower_bound=-math.inf, callbacks=(),
                verbose=0, verbose_interval=1,
            ).params  # fmt: skip
        statistics = model.e_step(params, block)
        if n < wanted:  # more rows are to come: this start is for those who read in between
            stream.bounds = [_bound_of(model, statistics)]
            return params, False
        stream.bounds = []
        stream.begin(statistics)
        self.lower_bound_ = _bound_of(model, statistics)
        params, left = model.m_step(statistics), X.shape[0] > wanted
        if left:  # all of X takes steps, and is counted there
            seen -= X.shape[0] if sample_weight is None else float(sample_weight.sum())
        stream.weight = seen + (self._weight_before() if stream.resumes else 0.0)
        if stream.weight > statistics.weight:
            params = model.m_step(stream.total())
        self._set_fitted(self._attributes(params))
        self._stream = stream.keep()  # from here on nothing is learned of single blocks
        return params, left


def _bound_of(model, statistics):
    """Return the bound that statistics have: per row, or the model's own."""
    if follows(model, Bounding):
        return float(model.lower_bound(statistics, model.m_step(statistics)))
    return float(statistics.bound / statistics.weight)
