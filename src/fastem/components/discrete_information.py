"""Coordinates of discrete components, for standard errors: see information.py."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fastem.components.discrete import Binomial, Categorical, Multinomial
from fastem.components.information import Simplex

__all__ = ["coordinates_of"]

_BOUNDARY = 1e-8  # a rate or a probability nearer to its bound has no standard error


def coordinates_of(family, values):
    """Return the coordinates of components, whose parameters of their own are `values`.

    They have `n`, `at(x)`, the values at x, `score(x, values, sums)`, the gradient where an E-step
    has summed `sums.terms` and `sums.resp`, and `errors(covariance)`, shaped as the values.
    """
    if isinstance(family, Multinomial):
        return _Shares(values, [slice(0, family.n_terms)])
    if isinstance(family, Categorical):
        parts = [slice(*ends) for ends in pairwise(family.first.tolist())]
        return _Shares(values, parts)
    return _Numbers(values, family)


class _Shares:
    """Probabilities that sum to 1 over some terms, of each component and feature."""

    def __init__(self, values, parts):
        self.shape, self.parts = values.shape, parts
        lines = values.reshape(len(values), len(parts), -1)
        widths = [part.stop - part.start for part in parts]
        self.rows = [
            Simplex(line[:width])
            for of_one in lines
            for line, width in zip(of_one, widths, strict=True)
        ]
        self.ends = np.cumsum([row.n for row in self.rows]).tolist()
        self.n = self.ends[-1]

    def _each(self, x):
        """Yield each row with its coordinates."""
        for row, end in zip(self.rows, self.ends, strict=True):
            yield row, x[end - row.n : end]

    def _joined(self, lines, nothing):
        """Return what the rows have in the values' shape."""
        out = np.full((len(self.rows), self.shape[-1]), nothing)
        for line, values in zip(out, lines, strict=True):
            line[: len(values)] = values
        return out.reshape(self.shape)

    def at(self, x):
        """Return the values at some coordinates."""
        return self._joined([row.at(a) for row, a in self._each(x)], 0.0)

    def score(self, x, values, sums):
        """Return the gradient."""
        lines = values.reshape(len(self.rows), -1)
        counts = [of_one[part] for of_one in sums.terms.T for part in self.parts]
        return np.concatenate([
            row.score(line[: len(row.p)], count)
            for row, line, count in zip(self.rows, lines, counts, strict=True)
        ])  # fmt: skip

    def errors(self, covariance):
        """Return the standard errors."""
        return self._joined([
            row.errors(covariance[end - row.n : end, end - row.n : end])
            for row, end in zip(self.rows, self.ends, strict=True)
        ], np.nan)  # fmt: skip


class _Numbers:
    """Probabilities of success, in units of their deviation, or rates, in units of themselves."""

    def __init__(self, values, family):
        self.values, self.successes = values, isinstance(family, Binomial)
        self.unit = np.sqrt(values * (1 - values)) if self.successes else values
        self.free = values > _BOUNDARY
        if self.successes:
            self.free &= values < 1 - _BOUNDARY
        self.n = int(self.free.sum())

    def at(self, x):
        """Return the values at some coordinates."""
        values = self.values.copy()
        values[self.free] += self.unit[self.free] * x
        return values

    def score(self, x, values, sums):
        """Return the gradient."""
        d, free = values.shape[1], self.free
        first, second = sums.terms[:d].T[free], sums.terms[d:].T[free]
        own = values[free]
        if self.successes:
            slope = first / own - second / (1 - own)
        else:  # the second terms are missing counts, in which no event could be seen
            slope = first / own - (np.broadcast_to(sums.resp[:, None], values.shape)[free] - second)
        return self.unit[free] * slope

    def errors(self, covariance):
        """Return the standard errors; NaN for what is at its bound."""
        errors = np.full(self.values.shape, np.nan)
        errors[self.free] = self.unit[self.free] * np.sqrt(covariance.diagonal())
        return errors
