"""What hidden Markov models have in common whose states emit symbols, counts or successes."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from fastem._compat import Interval
from fastem.components.gaussian_data import parts
from fastem.sequence.emissions import DiscreteEmissions
from fastem.sequence.errors import Errors, of_discrete
from fastem.sequence.features import WithFeatures
from fastem.sequence.hmm import HMM
from fastem.sequence.reading import as_numbers
from fastem.sequence.streaming import StreamingHMM

__all__ = ["NUMBERS", "DiscreteHMM", "refuse_but_counts"]

#: What a prior's parameter may be.
NUMBERS = [Interval(Real, 0, None, closed="left"), "array-like"]


class DiscreteHMM(WithFeatures, StreamingHMM, HMM[Errors]):
    """Base of the hidden Markov models of discrete distributions."""

    _values_name: ClassVar[str] = "emissionprob_"
    _letters: ClassVar[dict] = {"e": "emissionprob_"}
    _dtype: ClassVar[Any] = (np.float64, np.float32, np.int64, np.int32)

    def _family(self, values, learn, n_threads, X, weight=None):
        distributions, own = self._distributions(values[self._values_name])
        family = DiscreteEmissions(distributions, len(own), learn=bool(learn))
        params = family.params(own)
        family.held = params
        return family, params

    @abstractmethod
    def _distributions(self, values) -> Any:
        """Return the family, of module discrete, and parameters (K, D) as it has them."""

    def _values(self, emission):
        values = emission.values
        return {self._values_name: values[:, 0] if values.ndim == 3 else values}

    def _emission(self, params):
        family = self._distributions(self._fitted_values()[self._values_name])[0]
        return of_discrete(params.emission, family, self._values_name)

    def _expectation(self, values):
        return values[self._values_name]

    def _n_emission_parameters(self, n_features):
        k, d = self.n_components, n_features
        if d is None:
            d = np.shape(vars(self)[self._values_name])[1]
        return dict.fromkeys(self._letters, k * d)

    def _check_width(self, values, n_features):
        """Return parameters (K, D) as float64, for data of so many features."""
        name, k = self._values_name, self.n_components
        values = as_numbers(name, values)
        if values.ndim != 2 or len(values) != k or values.shape[1] == 0:
            raise ValueError(f"{name} must have shape ({k}, n_features), got {values.shape}")
        if n_features is not None and values.shape[1] != n_features:
            raise ValueError(
                f"X has {n_features} features, but {name} has {values.shape[1]}: give X the "
                f"features that the model has, or let {name} be drawn again "
                f"({min(self._letters)!r} in init_params)"
            )
        return values

    def _check_range(self, values, n_features, most):
        """Return parameters (K, D) from 0 to `most`, by attribute."""
        name = self._values_name
        values = self._check_width(values[name], n_features)
        if not np.all(np.isfinite(values)) or np.any(values < 0) or np.any(values > most):
            bounds = "finite and at least 0" if most == np.inf else f"in [0, {most}]"
            raise ValueError(
                f"{name} must be {bounds}, got values from {values.min():.6g} to {values.max():.6g}"
            )
        return {name: values}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def refuse_but_counts(X, expected, most=np.inf, remedy=""):
    """Raise ValueError unless all values are integers from 0 to `most`, or missing."""
    for part in parts(*X.shape):
        here = X[part]
        bad = (here < 0) | (most < here) | (np.floor(here) != here) & ~np.isnan(here)
        if np.any(bad):
            row, feature = np.argwhere(bad)[0]
            raise ValueError(
                f"X must hold {expected}, got {here[row, feature]:.6g} at row {part.start + row}, "
                f"feature {feature}{remedy}"
            )
