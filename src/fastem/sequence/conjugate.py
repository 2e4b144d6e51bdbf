"""The prior of a hidden Markov model's Gaussians: the one that mixtures of Gaussians take."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from fastem._compat import StrOptions
from fastem.components.prior import ConjugatePrior, resolve

__all__ = ["WithPrior"]

_HMMLEARN_S = ("means_prior", "means_weight", "covars_prior", "covars_weight")


class _Samples(NamedTuple):
    X: np.ndarray  # (T, D)
    sample_weight: np.ndarray | None  # (T,)


class WithPrior:
    """Part of hidden Markov models of Gaussians: ``prior`` in place of hmmlearn's parameters."""

    n_components: int
    covariance_type: str
    min_covar: float
    prior: Literal["conjugate"] | ConjugatePrior | None

    _prior_constraint: ClassVar[dict] = {"prior": [StrOptions({"conjugate"}), ConjugatePrior, None]}

    def _conjugate(self, X, weight, n_sharing):
        """Return the prior of each Gaussian as GaussianPrior, and pseudo-counts, (n_sharing,).

        Parameters
        ----------
        X : ndarray of shape (T, D)
        weight : ndarray of shape (T,) or None
        n_sharing : int
            Number of Gaussians that share weights and, if it is tied, a covariance.
        """
        prior: Any = ConjugatePrior() if self.prior == "conjugate" else self.prior
        defaults = signature(type(self).__init__).parameters
        for name in (*_HMMLEARN_S, "weights_prior"):
            given = getattr(self, name, None)
            if name in defaults and not _is(given, defaults[name].default):
                raise ValueError(
                    f"prior takes the place of {name}: leave {name} at its default, or prior at "
                    "None"
                )
        if prior.n_expected is None:
            prior = replace(prior, n_expected=self.n_components * getattr(self, "n_mix", 1))
        return resolve(prior, self.covariance_type, n_sharing, _Samples(X, weight))


def _is(value, default):
    return value is default or (np.ndim(value) == 0 and value == default)
