"""Standard errors of a mixture's parameters."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Generic, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from fastem._base import check_flag, check_sample_weight
from fastem._engine.arrays import validate
from fastem._engine.threads import single_threaded_blas
from fastem._summary import Summary
from fastem._typing import MatrixLike
from fastem.components import gaussian
from fastem.components.discrete_information import coordinates_of
from fastem.components.gaussian import GaussianEM, GaussianParams
from fastem.components.information import GaussianCoordinates, Simplex, errors_of
from fastem.mixture.summary import summary

__all__ = [
    "DiscreteErrors",
    "Errors",
    "GaussianErrors",
    "ProbabilityErrors",
    "RateErrors",
    "StandardErrors",
]


class StandardErrors(NamedTuple):
    """Standard errors of a Gaussian mixture, shaped as the attributes that they belong to."""

    weights: np.ndarray  # (n_components,), with noise one more, its own
    means: np.ndarray  # (n_components, n_features)
    covariances: np.ndarray  # of each entry


class ProbabilityErrors(NamedTuple):
    """Standard errors of a mixture of probabilities; NaN for what is at its bound."""

    weights: np.ndarray  # (n_components,)
    probabilities: np.ndarray  # shaped as the attribute


class RateErrors(NamedTuple):
    """Standard errors of a mixture of Poisson distributions; NaN for rates of 0."""

    weights: np.ndarray  # (n_components,)
    rates: np.ndarray  # (n_components, n_features)


Errors = TypeVar("Errors")  # one of the above


class _WithErrors(Generic[Errors]):
    """Mixin of the mixtures whose parameters have standard errors."""

    @abstractmethod
    def standard_errors(self, X: MatrixLike, sample_weight: npt.ArrayLike | None = None) -> Errors:
        """Return standard errors of the parameters by the observed information."""

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
            whose most probable component it is, and what is typical of it: of Gaussians means and
            standard deviations, of discrete families their values, of categories the most probable
            one.
        """
        check_flag("standard_errors", standard_errors)
        errors = self.standard_errors(X, sample_weight) if standard_errors else None
        return summary(self, X, sample_weight, errors)


class GaussianErrors(_WithErrors[StandardErrors]):
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


class DiscreteErrors(_WithErrors[Errors]):
    """Mixin of the mixtures of discrete distributions: how sure their parameters are."""

    fixed_weights: bool
    _values: ClassVar[str]

    def standard_errors(self, X: MatrixLike, sample_weight: npt.ArrayLike | None = None) -> Errors:
        r"""Return standard errors of the parameters by the observed information.

        As :meth:`fastem.GaussianMixture.standard_errors` does, by two E-steps for each parameter.
        Priors do not count: the errors are those of maximum likelihood.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples of the fit, which must have gone near the maximum, by a small `tol`.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights: counts of samples.

        Returns
        -------
        errors : ProbabilityErrors or RateErrors
            `weights`, and `probabilities` or `rates`, shaped as the attributes. NaN for what is at
            its bound, 0 or 1, and for fixed weights.

        Raises
        ------
        ValueError
            If the observed information is not positive definite: the parameters are at no proper
            maximum, or some cannot be told apart, as those of Bernoulli components of one or two
            features.

        Warns
        -----
        ConvergenceWarning
            If a parameter is more than a tenth of a standard error from the maximum.

        Examples
        --------
        >>> import numpy as np
        >>> from fastem import PoissonMixture
        >>> X = np.random.default_rng(0).poisson(np.repeat([2.0, 20.0], 100))[:, None]
        >>> mixture = PoissonMixture(2, tol=1e-9, random_state=0).fit(X)
        >>> np.sort(mixture.standard_errors(X).rates, axis=0).round(2)
        array([[0.16],
               [0.46]])
        """
        X = self._validated(X)  # type: ignore[attr-defined]
        weight = check_sample_weight(sample_weight, X)
        params = self._params()  # type: ignore[attr-defined]
        model, block = self._problem_of_reading(X, weight)  # type: ignore[attr-defined]
        held = np.full(len(params.weights), self.fixed_weights)
        shares = Simplex(params.weights / params.weights.sum(), held)
        own = coordinates_of(model.family, params.values)

        def statistics(share, values):
            found = model.e_step(params._replace(weights=share, values=values), block)
            return found.resp, found

        of_weights, of_values = errors_of(shares, own, statistics)
        kind = RateErrors if self._values == "rates" else ProbabilityErrors
        return cast(Errors, kind(of_weights, of_values))


def _standard_errors(params, kind, X, sample_weight, n_threads) -> StandardErrors:
    """Return the standard errors of fitted parameters at validated samples of float64."""
    k, noise = len(params.weights), params.noise
    model = GaussianEM(kind, 0.0, X.dtype, n_threads, noise=noise)
    block = model.prepared(gaussian.GaussianBlock.of(X, sample_weight))
    shares = params.weights if noise is None else np.append(params.weights, noise.weight)
    weights = Simplex(shares / shares.sum())
    own = GaussianCoordinates(kind, params.means, params.precisions_cholesky)

    def statistics(share, values):
        at = GaussianParams(share[:k], values[0], None, values[1], X.dtype)
        if noise is None:
            moments = model.moments(at, block, None)[1]
            return moments.weight, moments
        found = model.e_step(at._replace(noise=noise._replace(weight=float(share[k]))), block)
        return np.append(found.moments.weight, found.noise), found.moments

    of_weights, of_gaussians = errors_of(weights, own, statistics)
    return StandardErrors(of_weights, *of_gaussians)
