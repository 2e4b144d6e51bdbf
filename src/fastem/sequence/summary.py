"""Fitted hidden Markov models as tables of text."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastem._summary import Summary, ending, summary_of
from fastem._typing import MatrixLike
from fastem.sequence.reading import possible

__all__ = ["Summarized"]

_MOST_STATES = 10  # whose transitions find room


class Summarized:
    """Mixin of the hidden Markov models."""

    n_components: int

    def summary(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> Summary:
        """Return the fitted model as a compact table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences: those of the fit.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        summary : str
            The fit in figures; for each state its probability at the start, its share of the rows,
            the expected number of rows that it stays, and what it emits on the average; and the
            transitions.
        """
        return self._summary(X, lengths)

    def _summary(self, X, lengths, parameters=()):
        """Return the summary, with rows of a table of parameters."""
        model, params, block = self._read(X, lengths)
        scores, posteriors = possible(model.posteriors, params, block)
        log_likelihood = float(scores.sum())
        n_rows, n_free = int(block.begin[-1]), sum(self._n_parameters(None).values())
        facts: list[tuple[str, Any]] = [
            ("Sequences", len(block.begin) - 1),
            ("Rows", n_rows),
            ("States", self.n_components),
        ]
        if hasattr(self, "covariance_type"):
            facts.append(("Covariance type", self.covariance_type))
        n_iter = len(self.lower_bounds_) if hasattr(self, "lower_bounds_") else None
        path = float(model.viterbi(params, block)[0].sum())
        price = n_free * float(np.log(n_rows))
        facts += [
            ("Converged", ending(self, n_iter)),
            ("Parameters", n_free),
            ("Log-likelihood", log_likelihood),
            ("BIC", -2 * log_likelihood + price),
            ("ICL", -2 * path + price),
            ("AIC", -2 * log_likelihood + 2 * n_free),
        ]
        tables = [self._states_table(params, posteriors)]
        if self.n_components <= _MOST_STATES:
            heads = ["from / to", *(str(k) for k in range(self.n_components))]
            trans = [[k, *map(float, row)] for k, row in enumerate(params.transmat)]
            tables.append((heads, trans))
        if parameters:
            tables.append((["parameter", "estimate", "std error", "[0.025", "0.975]"], parameters))
        return summary_of(type(self).__name__, facts, tables)

    def _states_table(self, params, posteriors):
        """Return the heads and the rows of the table of states."""
        values = np.asarray(self._expectation(self._fitted_values()))
        share = posteriors.mean(axis=0)
        with np.errstate(divide="ignore"):
            stay = 1 / (1 - np.minimum(params.transmat.diagonal(), 1))
        names = self._names(values.shape[1])
        rows = [
            [k, float(params.startprob[k]), float(share[k]), float(stay[k]), *map(float, values[k])]
            for k in range(self.n_components)
        ]
        return ["state", "start", "share", "stays", *names], rows

    def _names(self, n):
        """Return names of n features, or of what stands for them."""
        known = getattr(self, "feature_names_in_", ())
        return [str(name) for name in known] if len(known) == n else [f"x{j}" for j in range(n)]

    @abstractmethod
    def _read(self, X, lengths) -> Any:
        """Return the model, its parameters, the block of validated sequences."""

    @abstractmethod
    def _n_parameters(self, n_features) -> dict[str, int]:
        """Return the number of free parameters, by letter."""

    @abstractmethod
    def _expectation(self, values) -> np.ndarray:
        """Return the mean of each state's rows, or the probabilities in them."""

    @abstractmethod
    def _fitted_values(self) -> dict[str, Any]:
        """Return the parameters by attribute, validated."""
