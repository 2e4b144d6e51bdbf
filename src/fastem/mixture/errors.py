"""Standard errors of a Gaussian mixture's parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastem._base import check_sample_weight
from fastem._engine.arrays import validate
from fastem._engine.threads import single_threaded_blas
from fastem._summary import Summary
from fastem._typing import MatrixLike
from fastem.components import gaussian
from fastem.components.gaussian import GaussianEM, GaussianParams
from fastem.components.information import GaussianCoordinates, Simplex, covariance_of
from fastem.mixture.summary import summary

__all__ = ["StandardErrors", "WithErrors"]


class StandardErrors(NamedTuple):
    """Standard errors of a Gaussian mixture, shaped as the attributes that they belong to."""

    weights: np.ndarray  # (n_components,), with noise one more, its own
    means: np.ndarray  # (n_components, n_features)
    covariances: np.ndarray  # of each entry


class WithErrors:
    """Mixin of GaussianMixture: how sure its parameters are."""

    covariance_type: str

    def standard_errors(
        self, X: MatrixLike, sample_weight: npt.ArrayLike | None = None
    ) -> StandardErrors:
        r"""Return standard errors of the parameters by the observed information.

        That is minus the second derivative of the log-likelihood of X, by differences of its
        gradient, which one E-step has (Fisher's identity; Louis 1982, *Finding the observed
        information matrix when using the EM algorithm*; Jamshidian & Jennrich 2000, *Standard
        errors for EM estimation*). It takes two E-steps for each parameter. Standard errors are
        for many samples and components that are apart: where components overlap they come out
        too small, and the bootstrap is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples of the fit, which must have gone near the maximum: a small `tol`, a small
            `reg_covar`. NaN is a value that is missing at random.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights: counts of samples.

        Returns
        -------
        errors : StandardErrors
            `weights`, `means` and `covariances`, shaped as the attributes; of weights at their
            bound NaN. With noise the last one of `weights` is that of `noise_weight_`.

        Raises
        ------
        ValueError
            If the observed information is not positive definite: the parameters are at no proper
            maximum, or some cannot be told apart. If some were held `fixed`.

        Warns
        -----
        ConvergenceWarning
            If a parameter is more than a tenth of a standard error from the maximum.

        Examples
        --------
        >>> import numpy as np
        >>> from fastem import GaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(400, 1), scale=2.0)
        >>> mixture = GaussianMixture(1, reg_covar=0.0).fit(X)
        >>> errors = mixture.standard_errors(X)  # of a mean, the standard deviation / sqrt(n)
        >>> print(errors.means.round(3), (X.std() / 20).round(3))
        [[0.1]] 0.1
        """
        self._check_is_fitted("means_")  # type: ignore[attr-defined]
        X = validate(self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan")
        weight = check_sample_weight(sample_weight, X)
        if self.fixed:  # type: ignore[attr-defined]
            raise ValueError(
                "fixed parameters have no standard errors, and those of the others are not those "
                f"of a free fit: fit with fixed=(), got {self.fixed!r}"  # type: ignore[attr-defined]
            )
        params = self._params()  # type: ignore[attr-defined]
        n_threads = self._n_threads(X)  # type: ignore[attr-defined]
        with single_threaded_blas():
            return _standard_errors(params, self.covariance_type, X, weight, n_threads)

    def summary(
        self,
        X: MatrixLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        standard_errors: bool = False,
    ) -> Summary:
        """Return the fitted mixture as a compact table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples, of which likelihood, criteria and sizes are: those of the fit.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        standard_errors : bool, default=False
            Whether to list each parameter with its standard error and 95 % interval: see
            :meth:`standard_errors`.

        Returns
        -------
        summary : str
            The fit in figures, and a row for each component: its weight, the number of samples
            whose most probable component it is, the means and the standard deviations.
        """
        errors = self.standard_errors(X, sample_weight) if standard_errors else None
        return summary(self, X, sample_weight, errors)


def _standard_errors(params, kind, X, sample_weight, n_threads) -> StandardErrors:
    """Return the standard errors of fitted parameters at validated samples of float64."""
    k, noise = len(params.weights), params.noise
    model = GaussianEM(kind, 0.0, X.dtype, n_threads, noise=noise)
    block = model.prepared(gaussian.GaussianBlock.of(X, sample_weight))
    shares = params.weights if noise is None else np.append(params.weights, noise.weight)
    weights = Simplex(shares / shares.sum())
    own = GaussianCoordinates(kind, params.means, params.precisions_cholesky)

    def score(x):
        means, factors = own.at(x[weights.n :])
        share = weights.at(x[: weights.n])
        at = GaussianParams(share[:k], means, None, factors, X.dtype)
        if noise is not None:
            at = at._replace(noise=noise._replace(weight=float(share[k])))
        sums = model.e_step(at, block)
        counts, moments = sums.moments.weight, sums.moments
        if noise is not None:
            counts = np.append(counts, sums.noise)
        return np.concatenate([
            weights.score(share, counts), own.score(x[weights.n :], means, moments)
        ])  # fmt: skip

    covariance = covariance_of(score, weights.n + own.n)
    of_weights = weights.errors(covariance[: weights.n, : weights.n])
    if len(shares) == 1:
        of_weights = np.zeros(1)
    return StandardErrors(of_weights, *own.errors(covariance[weights.n :, weights.n :]))
