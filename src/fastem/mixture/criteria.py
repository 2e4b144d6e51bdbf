"""What a mixture's likelihood is worth: criteria by its number of parameters."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from fastem._typing import MatrixLike
from fastem.mixture.base import Mixture

__all__ = ["Criteria"]


class Criteria(Mixture):
    """A mixture whose maximum likelihood is weighed against its number of parameters.

    A subclass has a method ``_n_parameters()`` that returns it.
    """

    def bic(self, X: MatrixLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the Bayesian information criterion (Schwarz 1978) on X; lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; their sum is the number of samples.

        Returns
        -------
        bic : float
            -2 log-likelihood + (number of free parameters) log n_samples.
        """
        score, total = self._score(X, sample_weight)
        return -2 * score * total + self._n_parameters() * math.log(total)

    def aic(self, X: MatrixLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return Akaike's information criterion (1974) on X; lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; their sum is the number of samples.

        Returns
        -------
        aic : float
            -2 log-likelihood + 2 (number of free parameters).
        """
        score, total = self._score(X, sample_weight)
        return -2 * score * total + 2 * self._n_parameters()

    def icl(self, X: MatrixLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the integrated completed likelihood criterion on X; lower is better.

        BIC with a price on overlap, for a mixture that is to find clusters and not only a density
        (Biernacki, Celeux & Govaert 2000, *Assessing a mixture model for clustering with the
        integrated completed likelihood*, IEEE PAMI 22:719; with the entropy of the labels as in
        McLachlan & Peel 2000, *Finite Mixture Models*, section 6.10.3, where mclust takes the
        logarithm of the largest responsibilities).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; their sum is the number of samples.

        Returns
        -------
        icl : float
            BIC + 2 :meth:`entropy`.
        """
        return self.bic(X, sample_weight) + 2 * self.entropy(X, sample_weight)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters of the fitted mixture, as `bic` counts them."""
        check_is_fitted(self)
        return int(self._n_parameters())

    @abstractmethod
    def _n_parameters(self) -> int:
        """Return the number of free parameters."""
