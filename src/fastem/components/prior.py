"""Priors of Gaussian components: what is added to their moments, and how a user says it."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastem._engine.statistics import add_scatter_of
from fastem.components.covariances import KINDS
from fastem.components.gaussian_data import observed_moments

__all__ = ["ConjugatePrior", "GaussianPrior", "resolve"]

_MOST = 1e100  # products of priors with weights and squares stay finite


class GaussianPrior(NamedTuple):
    """What is added to the moments of a Gaussian before they give its parameters.

    The mean is that of `mean_weight` further samples at `mean`, and the covariance

        (scale + mean_weight d d^T + scatter) / (count + weight),    d = the new mean - mean,

    reduced to its diagonal or to its trace over D as the kind says. This is the mode of the
    normal-Wishart and normal-gamma densities, and leaves the maximum likelihood where all are 0.
    """

    mean: Any = 0.0  # broadcast to (K, D)
    mean_weight: Any = 0.0  # broadcast to (K,)
    scale: Any = 0.0  # broadcast to the shape of the covariances; spherical: sum over features
    count: Any = 0.0  # broadcast to (K,); tied: to ()

    def log_density(self, means, chol, kind):
        """Return the logarithm of the density, up to a constant."""
        (k, d), kind, gap = means.shape, KINDS[kind], self.scale
        if np.count_nonzero(self.mean_weight):
            tau = np.broadcast_to(np.asarray(self.mean_weight, dtype=np.float64), k)
            gap = np.zeros(chol.shape)
            add_scatter_of(gap, means - self.mean, tau, kind.name)
            gap += self.scale
        log_det, distance = 0.0, 0.0
        if np.count_nonzero(gap):
            same = np.shape(gap) == chol.shape
            distance = kind.distance(gap if same else np.broadcast_to(gap, chol.shape), chol)
        if np.count_nonzero(self.count):
            log_det = np.sum(self.count * (-2 * kind.log_determinants(chol, d)))
        return float(-0.5 * (log_det + distance))


@dataclass(frozen=True, eq=False)
class ConjugatePrior:
    r"""Prior of a mixture of Gaussians, for maximum a posteriori estimates.

    A component's mean and covariance have the normal-inverse-Wishart density

    .. math:: \mathcal{N}(\mu_k \mid m, \Sigma_k / \kappa) \,
        \mathcal{IW}(\Sigma_k \mid \Lambda, \nu)

    and variances of 'diag' and 'spherical' the inverse gamma densities of shape :math:`\nu / 2` and
    rate :math:`\Lambda / 2`; the weights have a Dirichlet density (Fraley & Raftery 2007, *Bayesian
    regularization for normal mixture estimation and model-based clustering*, Journal of
    Classification 24:155). No component can collapse to a point: its covariance is at least
    :math:`\Lambda` by the number of samples and of degrees of freedom.

    Parameters
    ----------
    mean : array-like of shape (n_features,), default=None
        :math:`m`. None: the mean of X.
    mean_precision : float, default=0.01
        :math:`\kappa`, how many samples `mean` counts for; 0: means have no prior.
    degrees_of_freedom : float, default=None
        :math:`\nu`, more than n_features - 1, for 'diag' and 'spherical' more than 0. None:
        n_features + 2.
    scale : float or array-like, default=None
        :math:`\Lambda`, positive: of shape (n_features, n_features) for 'full' and 'tied',
        (n_features,) for all but 'spherical', or a number for each feature's variance. None: the
        variances of X (for 'spherical' their mean) by ``n_expected ** (2 / n_features)``; a
        feature that is constant has the mean of the others' variances.
    n_expected : int, default=None
        Number of components that `scale` None is meant for. None: the mixture's. To compare
        mixtures of several numbers, give one number, or each has a prior of its own.
    weight_concentration : float or array-like of shape (n_components,), default=1.0
        Parameters of the Dirichlet density, at least 1: pseudo-counts of the components plus 1. In
        a :class:`GMMHMM` of shape (n_mix,), for the weights of each state; a :class:`GaussianHMM`
        has none.

    See Also
    --------
    GaussianMixture : Has it as its parameter `prior`; 'conjugate' is one with these defaults.
    GaussianHMM, GMMHMM : Have it as well.
    BayesianGaussianMixture : The whole posterior in place of its mode.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import ConjugatePrior, GaussianMixture
    >>> X = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [5.0, 5.0], [6.0, 6.0], [7.0, 7.0]])
    >>> prior = ConjugatePrior(scale=[0.1, 0.1])
    >>> mixture = GaussianMixture(2, prior=prior, random_state=0).fit(X)
    >>> bool(np.linalg.eigvalsh(mixture.covariances_).min() > 0.005)
    True
    """

    mean: npt.ArrayLike | None = None
    mean_precision: float = 0.01
    degrees_of_freedom: float | None = None
    scale: npt.ArrayLike | None = None
    n_expected: int | None = None
    weight_concentration: npt.ArrayLike = 1.0

    def _pseudo_counts(self, k):
        values = _array("weight_concentration", self.weight_concentration)
        if values.shape not in ((), (k,)) or np.any(values < 1) or np.any(values > _MOST):
            raise ValueError(
                f"prior.weight_concentration must be at least 1, a number or of shape ({k},), got "
                f"{self.weight_concentration!r}"
            )
        return np.broadcast_to(values - 1, k)

    def _mean(self, d):
        if self.mean is None:
            return None
        mean = _array("mean", self.mean)
        if mean.shape != (d,):
            raise ValueError(f"prior.mean must have shape ({d},), got {mean.shape}")
        return mean

    def _scale(self, own, d):
        """Return the scale in the kind's shape of one covariance."""
        if self.scale is None:
            return None
        scale = _array("scale", self.scale)
        shapes = list(dict.fromkeys([(), (d,) if own.one(1) else (), own.one(d)]))
        if scale.shape not in shapes:
            raise ValueError(
                f"prior.scale must be a number{''.join(f' or of shape {s}' for s in shapes[1:])} "
                f"for covariance_type={own.name!r}, got shape {scale.shape}"
            )
        if own.dense and scale.ndim < 2:
            scale = np.diag(np.broadcast_to(scale, d))
        scale = np.broadcast_to(scale, own.one(d))
        if own.dense:
            good = np.allclose(scale, scale.T) and np.linalg.eigvalsh(scale)[0] > 0
        else:
            good = np.all(scale > 0)
        if not good:
            raise ValueError(
                f"prior.scale must be {'positive definite' if own.dense else 'positive'}, got "
                f"{self.scale!r}"
            )
        return scale


def resolve(prior, kind, k, block):
    """Return the prior of K components as GaussianPrior, and the weights' pseudo-counts.

    Raises
    ------
    ValueError
        If a number is out of range, or has another shape than the samples or the kind need.
    """
    own, d = KINDS[kind], block.X.shape[1]
    kappa = _number("mean_precision", prior.mean_precision, 0)
    least = d - 1 if own.dense else 0
    freedom = prior.degrees_of_freedom
    freedom = _number(
        "degrees_of_freedom", d + 2 if freedom is None else freedom, least, above=True
    )
    n_expected = k if prior.n_expected is None else prior.n_expected
    whole = isinstance(n_expected, Integral) and not isinstance(n_expected, bool)
    if not whole or n_expected < 1:
        raise ValueError(f"prior.n_expected must be an integer of at least 1, got {n_expected!r}")
    counts = prior._pseudo_counts(k)
    mean, scale = prior._mean(d), prior._scale(own, d)
    if mean is None or scale is None:
        weight, center, scatter = observed_moments(block.X, block.sample_weight)
        mean = center if mean is None else mean
    if scale is None:
        variances = np.divide(scatter, weight, out=np.zeros(d), where=weight > 0)
        variances = _floored(variances, center) / n_expected ** (2 / d)
        scale = variances if own.one(d) else variances.mean()
        scale = np.diag(scale) if own.dense else scale
    # The exponent of a precision's root in the density, by features where they share it.
    j = (k if own.shared else 1) * (kappa > 0)
    count = (freedom + (d + 1 if own.dense else 2)) / own.width(d) + j
    return GaussianPrior(mean, kappa, scale, count), counts


def _number(name, value, least, above=False):
    """Return a number in [least, 1e100], or above `least`."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    good = number and (value > least if above else value >= least)
    if not good or not value <= _MOST:
        sign = "greater than" if above else "at least"
        raise ValueError(f"prior.{name} must be a number {sign} {least}, got {value!r}")
    return float(value)


def _array(name, value):
    """Return a finite array of float64."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"prior.{name} must be numbers, got {value!r}") from error
    if not np.all(np.abs(array) <= _MOST):
        raise ValueError(f"prior.{name} must be finite and at most {_MOST}, got {value!r}")
    return array


def _floored(variances, mean):
    """Return variances, where there is none the mean of the others; where nothing varies, 1."""
    some = variances > (64 * np.finfo(np.float64).eps * mean) ** 2
    return np.where(some, variances, variances[some].mean() if some.any() else 1.0)
