"""What can be read off a mixture of Gaussians: some features alone, and given others."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_array

from fastem._base import check_flag
from fastem._compat import get_feature_names
from fastem._engine.threads import single_threaded_blas
from fastem._typing import MatrixLike
from fastem.components import gaussian
from fastem.components.covariances import KINDS
from fastem.components.gaussian_data import parts
from fastem.components.gaussian_parts import marginal, split
from fastem.mixture.features import Features, columns_of, others_of

if TYPE_CHECKING:
    from fastem.mixture.gaussian import GaussianMixture

__all__ = ["GaussianReading"]


class GaussianReading:
    """Mixin of mixtures of Gaussians.

    A subclass has ``_expected()``, the parameters as GaussianParams, and ``_mixture(params,
    names)``, a :class:`GaussianMixture` that has them.
    """

    covariance_type: str

    def marginal(self, features: Features) -> GaussianMixture:
        """Return the mixture's distribution of some features alone.

        Parameters
        ----------
        features : int, str, or sequence of them
            Columns of X, or names that `fit` saw; the result has them in this order.

        Returns
        -------
        mixture : GaussianMixture
            A fitted one of these features, with the same components and weights.

        Raises
        ------
        ValueError
            If a feature is unknown, out of range, or named twice.
        """
        params, names = self._read_off()
        columns = columns_of(features, names, params.means.shape[1])
        return self._mixture(
            marginal(params, self.covariance_type, columns),
            None if names is None else names[columns],
        )

    def condition(self, features: Features, values: npt.ArrayLike) -> GaussianMixture:
        r"""Return the mixture's distribution of the other features where some are known.

        Component k of the others has mean :math:`\mu_b + \Sigma_{ba} \Sigma_{aa}^{-1} (x_a -
        \mu_a)`, covariance :math:`\Sigma_{bb} - \Sigma_{ba} \Sigma_{aa}^{-1} \Sigma_{ab}`, and as
        weight its responsibility for :math:`x_a` (Bishop 2006, equations 2.81 and 2.82). All of
        it is computed from the factors of the precisions, so that components which are nearly flat
        lose no digits.

        Parameters
        ----------
        features : int, str, or sequence of them
            The features that are known: columns of X, or names that `fit` saw.
        values : float or array-like of shape (n_known,)
            Their values, in the order of `features`.

        Returns
        -------
        mixture : GaussianMixture
            A fitted one of the other features, in their order.

        Raises
        ------
        ValueError
            If a feature is unknown, out of range, or named twice; if no other is left; if `values`
            are not one finite number for each; or if they are so far from every component that no
            probability remains.
        """
        params, names = self._read_off()
        d = params.means.shape[1]
        known = columns_of(features, names, d)
        rest = others_of(known, d)
        try:
            x = np.atleast_1d(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"values must be numbers, got {values!r}") from error
        x = check_array(x, ensure_2d=False, allow_nd=True, input_name="values")
        if x.shape != known.shape:
            raise ValueError(
                f"values must have one number for each of the {len(known)} features, got shape "
                f"{x.shape}"
            )
        parts = split(params, self.covariance_type, known, rest)
        weights = gaussian.rows(
            x[None], parts.given, self.covariance_type, "responsibilities", 1
        )[0]  # fmt: skip
        return self._mixture(parts.rest(x, weights), None if names is None else names[rest])

    @overload
    def predict_mean(
        self, X: MatrixLike, given: Features, *, return_std: Literal[False] = False
    ) -> np.ndarray: ...
    @overload
    def predict_mean(
        self, X: MatrixLike, given: Features, *, return_std: Literal[True]
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def predict_mean(
        self, X: MatrixLike, given: Features, *, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the expected other features where some are known: Gaussian mixture regression.

        What :meth:`condition` describes for one sample, for many: the mean of the components'
        linear regressions, weighted by their responsibilities (Ghahramani & Jordan 1994,
        *Supervised learning from incomplete data via an EM approach*; Sung 2004, *Gaussian mixture
        regression and classification*). Fit the mixture to inputs and outputs together.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_known)
            Values of the known features, in the order of `given`. Of a data frame, where `fit` saw
            names, the columns of these names are taken; it may have others.
        given : int, str, or sequence of them
            The known features: columns of the X of `fit`, or their names.
        return_std : bool, default=False
            Whether to return standard deviations as well.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_others), float64
            The expected other features, in their order.
        std : ndarray of shape (n_samples, n_others), float64
            Only with `return_std`: their standard deviations, within components and between them.

        Raises
        ------
        ValueError
            If a feature of `given` is unknown, out of range or named twice, if no other is left, if
            X does not have its columns, or if a sample is too far from every component.
        """
        check_flag("return_std", return_std)
        params, names = self._read_off()
        d, kind = params.means.shape[1], self.covariance_type
        known = columns_of(given, names, d, "given")
        rest = others_of(known, d, "given")
        X = _known_values(X, known, names)
        n_threads = self._n_threads(X)
        parts_of = split(params, kind, known, rest)
        variances = _variances(parts_of, kind)
        mean, std = np.empty((2, len(X), len(rest)))
        with single_threaded_blas():
            for some in parts(len(X), len(params.weights) * (1 + len(rest))):
                mean[some], std[some] = _regression(
                    X[some], parts_of, kind, variances, n_threads
                )  # fmt: skip
        return (mean, std) if return_std else mean

    def _read_off(self):
        """Return the checked parameters, and the names of the features or None."""
        self._check_is_fitted("means_")  # type: ignore[attr-defined]
        return self._expected(), getattr(self, "feature_names_in_", None)

    @abstractmethod
    def _expected(self) -> Any:
        """Return the parameters, checked, as GaussianParams."""

    @abstractmethod
    def _mixture(self, params, names) -> GaussianMixture:
        """Return a fitted GaussianMixture with these parameters and names of features, or None."""

    @abstractmethod
    def _n_threads(self, X) -> int:
        """Return how many threads to use for X."""


def _known_values(X, known, names):
    """Return the values of the known features, (n, a), float64."""
    columns = get_feature_names(X)
    if names is not None and columns is not None:
        wanted = [str(names[j]) for j in known]
        missing = [name for name in wanted if name not in set(columns)]
        if missing:
            raise ValueError(f"X has no column {missing[0]!r}, which given has")
        X = X[wanted]
    X = check_array(X, dtype=np.float64, input_name="X")
    if X.shape[1] != len(known):
        raise ValueError(
            f"X must have the {len(known)} features of given as its columns, got {X.shape[1]}"
        )
    return X


def _variances(parts_of, kind):
    """Return the variance of each other feature in each component, (K, b)."""
    chol = parts_of.precisions_cholesky
    variances = KINDS[kind].diagonal(KINDS[kind].covariances(chol))
    variances = np.broadcast_to(variances, parts_of.means.shape)
    if parts_of.noise is not None:
        variances = np.vstack([variances, parts_of.noise.sides**2 / 12])
    return variances


def _regression(X, parts_of, kind, variances, n_threads):
    """Return the mean of the other features and their standard deviations, (n, b) both."""
    share = gaussian.rows(X, parts_of.given, kind, "responsibilities", n_threads)
    k, b = parts_of.means.shape
    means = np.broadcast_to(parts_of.means[:, None], (k, len(X), b))
    if parts_of.slopes is not None:
        moved = [
            (X - mean) @ slopes
            for mean, slopes in zip(parts_of.given.means, parts_of.slopes, strict=True)
        ]
        means = means + np.array(moved)
    if parts_of.noise is not None:  # whose mean the other features do not change
        center = np.broadcast_to(parts_of.noise.center, (1, len(X), b))
        means = np.concatenate([means, center])
    mean = np.einsum("nk,knb->nb", share, means)
    between = np.einsum("nk,knb->nb", share, (means - mean) ** 2)  # centred before squaring
    return mean, np.sqrt(share @ variances + between)
