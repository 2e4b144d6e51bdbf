"""The attribute `n_features` of hidden Markov models, which hmmlearn's programs read and set."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

__all__ = ["WithFeatures"]


class WithFeatures:
    """Part of hidden Markov models whose emissions' parameters tell how many features there are."""

    #: The attribute whose last axis is the features.
    _values_name: ClassVar[str]

    @property
    def n_features(self) -> int:
        """Number of features: that of the emissions' parameters, or what was set."""
        return self._known_features()

    @n_features.setter
    def n_features(self, value: int) -> None:
        self.__dict__["n_features"] = value

    @n_features.deleter
    def n_features(self) -> None:
        del self.__dict__["n_features"]

    def _known_features(self):
        if self._values_name in vars(self):
            return np.shape(vars(self)[self._values_name])[-1]
        if "n_features" in vars(self):
            return vars(self)["n_features"]
        raise AttributeError(f"this {type(self).__name__} has no n_features before fit")
