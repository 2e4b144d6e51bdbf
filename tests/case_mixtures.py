"""Cases of mixtures: Gaussian, discrete, k-means."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from case_base import Case

import fastem
from fastem import BayesianGaussianMixture, GaussianMixture, KMeans
from fastem._engine.threads import single_threaded_blas
from fastem.cluster import lloyd
from fastem.cluster.bounds import Bounds
from fastem.components import discrete as families
from fastem.components import gaussian
from fastem.components.truncated import TruncatedEM
from fastem.mixture.bayesian_em import BayesianEM, BayesianParams, BayesianPrior

try:
    from reference import bayesian_mixture as bayesian_oracle
    from reference import discrete_mixture as discrete_oracle
    from reference import gaussian_mixture as gaussian_oracle
    from reference import kmeans as kmeans_oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)

KINDS = ("full", "tied", "diag", "spherical")


@dataclass(frozen=True)
class GaussianCase(Case):
    """Gaussian mixture; `spread` is the standard deviation of the components' means."""

    kind: str
    n_features: int
    n_components: int
    n_samples: int
    spread: float

    equivariant: ClassVar[bool] = True

    def __str__(self):
        size = f"{self.n_samples}x{self.n_features}-K{self.n_components}"
        return f"gaussian-{self.kind}-{size}-spread{self.spread:g}-{np.dtype(self.dtype)}"

    def data(self, n_samples=None, seed=0):
        rng = np.random.default_rng(seed)
        k, d, n = self.n_components, self.n_features, n_samples or self.n_samples
        means = np.random.default_rng(1).normal(0, self.spread, (k, d))
        return (means[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(self.dtype)

    def start(self, X):
        rng = np.random.default_rng(2)
        k, d = self.n_components, self.n_features
        means = np.random.default_rng(1).normal(0, self.spread, (k, d))
        means += rng.normal(0, 0.3, (k, d))
        factors = np.eye(d) + np.tril(rng.normal(0, 0.4 / np.sqrt(d), (k, d, d)))
        covariances = factors @ factors.transpose(0, 2, 1)
        variances = rng.uniform(0.5, 2, (k, d))
        covariances = {
            "full": covariances,
            "tied": covariances[0],
            "diag": variances,
            "spherical": variances[:, 0],
        }[self.kind]
        return self._params(rng.dirichlet(np.full(k, 5.0)), means, covariances)

    def _params(self, weights, means, covariances):
        dense = self.kind in ("full", "tied")
        precisions = np.linalg.inv(covariances) if dense else 1 / covariances
        params = gaussian.GaussianParams.from_precisions(
            weights, means, precisions, self.kind, np.dtype(self.dtype)
        )
        return params._replace(covariances=covariances)

    def model(self, reg_covar=0.0, n_threads=1):
        return gaussian.GaussianEM(self.kind, reg_covar, self.dtype, n_threads)

    def block(self, X, sample_weight=None):
        components = gaussian.GaussianEM(self.kind, 0.0, self.dtype, 1)
        return components.prepared(gaussian.GaussianBlock.of(X, sample_weight))

    def sums(self, statistics):
        moments = statistics.moments
        return self._sums(
            statistics.bound, statistics.weight, moments.weight, moments.mean, moments.scatter
        )

    def expected(self, X, params, sample_weight=None):
        params = gaussian_oracle.Params(params.weights, params.means, params.covariances)
        with single_threaded_blas():
            sums = gaussian_oracle.e_step(X.astype(np.float64), params, self.kind, sample_weight)
        return self._sums(**sums)

    @staticmethod
    def _sums(bound, weight, resp, mean, scatter):
        # The mean of a component of next to no weight is not defined; weight times mean is.
        first = resp[:, None] * mean
        return {"bound": bound, "weight": weight, "resp": resp, "first": first, "scatter": scatter}

    def scales(self):
        """Return a scale for each feature; spherical components stay so under one scale only."""
        return np.full(self.n_features, 3.7) ** (
            1 if self.kind == "spherical" else np.linspace(-1, 2, self.n_features)
        )

    def moved(self, params, scale, shift):
        """Return the parameters of the data x scale + shift."""
        factor = {
            "full": scale[:, None] * scale,
            "tied": scale[:, None] * scale,
            "diag": scale**2,
            "spherical": scale[0] ** 2,
        }[self.kind]
        return self._params(
            params.weights, params.means * scale + shift, params.covariances * factor
        )

    def move_sums(self, sums, scale, shift):
        """Return the sums of the data x scale + shift."""
        weight, resp = sums["weight"], sums["resp"]
        factor = {
            "full": scale[:, None] * scale,
            "tied": scale[:, None] * scale,
            "diag": scale**2,
            "spherical": scale[0] ** 2,
        }[self.kind]
        return sums | {
            "bound": sums["bound"] - weight * np.log(scale).sum(),
            "first": sums["first"] * scale + resp[:, None] * shift,
            "scatter": sums["scatter"] * factor,
        }

    def estimator(self, X, **parameters):
        start = self.start(X)
        dense = self.kind in ("full", "tied")
        parameters = {"max_iter": 3, "tol": 0.0, "n_jobs": 1} | parameters
        return GaussianMixture(
            self.n_components,
            covariance_type=self.kind,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=np.linalg.inv(start.covariances) if dense else 1 / start.covariances,
            **parameters,
        )


@dataclass(frozen=True)
class TruncatedCase(GaussianCase):
    """Truncated EM where rows keep all components: exact."""

    chunk_rows: ClassVar[int] = 256
    equivariant: ClassVar[bool] = False

    def __str__(self):
        return super().__str__().replace("gaussian", "truncated")

    def start(self, X):
        return self.model().begin(super().start(X))

    def model(self, reg_covar=0.0, n_threads=1):
        return TruncatedEM(super().model(reg_covar, n_threads), 0.0, 1000, 0)

    def block(self, X, sample_weight=None):
        return gaussian.GaussianBlock.of(X, sample_weight)

    def expected(self, X, params, sample_weight=None):
        return super().expected(X, params.components, sample_weight)

    def estimator(self, X, **parameters):
        start = super().start(X)
        parameters = {"max_iter": 3, "tol": 0.0, "n_jobs": 1} | parameters
        return GaussianMixture(
            self.n_components,
            covariance_type=self.kind,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=1 / start.covariances,
            algorithm="truncated",
            **parameters,
        )


@dataclass(frozen=True)
class BayesianCase(GaussianCase):
    """Bayesian Gaussian mixture; weights with a Dirichlet process, else a distribution."""

    process: bool

    equivariant: ClassVar[bool] = False  # its prior has a place

    def __str__(self):
        prior = "process" if self.process else "distribution"
        return super().__str__().replace("gaussian", f"bayesian-{prior}")

    @property
    def fitted_dtype(self):
        return np.float64

    def prior(self):
        d = self.n_features
        covariance = {"full": np.eye(d), "tied": np.eye(d), "diag": np.ones(d), "spherical": 1.0}
        return BayesianPrior(
            self.process, 0.3, 2.0, np.linspace(-1, 1, d), d + 0.5, covariance[self.kind]
        )

    def start(self, X):
        rng = np.random.default_rng(3)
        k, gaussians = self.n_components, super().start(X)
        return BayesianParams(
            rng.uniform(1, 100, (2, k) if self.process else k),
            rng.uniform(1, 100, k),
            gaussians.means,
            self.n_features + rng.uniform(0, 100, () if self.kind == "tied" else k),
            gaussians.covariances,
            gaussians.precisions_cholesky,
        )

    def model(self, reg_covar=0.0, n_threads=1):
        return BayesianEM(self.kind, reg_covar, self.prior(), self.dtype, n_threads)

    def posterior(self, params):
        """Return parameters as the oracle has them."""
        freedom = params.degrees_of_freedom
        covariances = gaussian.covariances_of(params, self.kind)
        extra = covariances.ndim - np.ndim(freedom)
        scale = covariances * np.reshape(freedom, np.shape(freedom) + (1,) * extra)
        return bayesian_oracle.Posterior(
            params.concentration, params.mean_precision, params.means, np.asarray(freedom), scale
        )

    def sums(self, statistics):
        return super().sums(statistics) | {"expected": statistics.expected}

    def expected(self, X, params, sample_weight=None):
        with single_threaded_blas():
            sums = bayesian_oracle.e_step(
                X.astype(np.float64), self.posterior(params), self.kind, sample_weight
            )
        expected = sums.pop("expected")
        return self._sums(**sums) | {"expected": expected}

    def estimator(self, X, **parameters):
        weights = "dirichlet_process" if self.process else "dirichlet_distribution"
        settings = {"max_iter": 3, "tol": 0.0, "n_jobs": 1, "random_state": 0}
        return BayesianGaussianMixture(
            self.n_components,
            covariance_type=self.kind,
            init_params="random_from_data",
            weight_concentration_prior_type=weights,
            **settings | parameters,
        )


#: D, K, n, spread, a process
BAYESIAN_SIZES = [(1, 2, 37, 1.0, True), (2, 3, 1001, 2.0, False), (11, 7, 1301, 1.0, True)]


@dataclass(frozen=True)
class DiscreteCase(Case):
    """Mixture of discrete distributions; `scale` is the size of counts, 1000: too large for codes.

    Values are missing here and there, but in multinomials.
    """

    family: str
    n_features: int
    n_components: int
    n_samples: int
    scale: int = 3

    chunk_rows: ClassVar[int] = 256
    many_rows: ClassVar[int] = 9_001

    def __str__(self):
        size = f"{self.n_samples}x{self.n_features}-K{self.n_components}-{self.scale}"
        return f"{self.family}-{size}-{np.dtype(self.dtype)}"

    @property
    def n_trials(self):
        """Trials of each feature of a binomial mixture."""
        return np.full(self.n_features, 1 if self.family == "bernoulli" else 2 * self.scale)

    def _values(self, seed):
        """Return parameters of the family."""
        rng = np.random.default_rng(seed)
        k, d = self.n_components, self.n_features
        if self.family == "categorical":
            return rng.dirichlet(np.full(self.scale, 2.0), (k, d))
        if self.family == "multinomial":
            return rng.dirichlet(np.full(d, 2.0), k)
        if self.family == "poisson":
            return rng.uniform(0.3, 1.0, (k, d)) * self.scale
        return rng.uniform(0.2, 0.8, (k, d))

    def data(self, n_samples=None, seed=0):
        rng = np.random.default_rng(seed)
        n = n_samples or self.n_samples
        values = self._values(1)[rng.integers(self.n_components, size=n)]
        if self.family == "categorical":
            steps = values.cumsum(axis=2)[:, :, :-1]
            X = (rng.random((n, self.n_features, 1)) > steps).sum(axis=2)
        elif self.family == "multinomial":
            X = rng.multinomial(rng.poisson(3 * self.scale, n), values)
        elif self.family == "poisson":
            X = rng.poisson(values)
        else:
            X = rng.binomial(self.n_trials, values)
        X = X.astype(self.dtype)
        if self.family != "multinomial":
            X[rng.random(X.shape) < 0.03] = np.nan
        if self.family == "categorical":
            X[0] = self.scale - 1  # every category is there
        return X

    def start(self, X):
        rng = np.random.default_rng(2)
        weights = rng.dirichlet(np.full(self.n_components, 5.0))
        return families.DiscreteParams(weights, self._values(3))

    def _family(self):
        if self.family == "categorical":
            return families.Categorical(np.full(self.n_features, self.scale))
        if self.family == "multinomial":
            return families.Multinomial(self.n_features)
        if self.family == "poisson":
            return families.Poisson(self.n_features)
        return families.Binomial(self.n_trials)

    def model(self, reg_covar=0.0, n_threads=1):
        return families.DiscreteEM(self._family(), n_threads=n_threads)

    def block(self, X, sample_weight=None):
        return families.CodedBlock.of(self._family(), X, sample_weight, self.n_components)

    def sums(self, statistics):
        terms, d = statistics.terms.T, self.n_features
        resp = statistics.resp
        if self.family == "categorical":
            first = terms.reshape(-1, d, self.scale)
            known = first.sum(axis=2)
        elif self.family == "multinomial":
            first, known = terms, np.repeat(resp[:, None], d, axis=1)
        elif self.family == "poisson":
            first, known = terms[:, :d], resp[:, None] - terms[:, d:]
        else:
            first, known = terms[:, :d], (terms[:, :d] + terms[:, d:]) / self.n_trials
        sums = {"bound": statistics.bound, "weight": statistics.weight, "resp": resp}
        return sums | {"first": first, "known": known}

    def expected(self, X, params, sample_weight=None):
        params = discrete_oracle.Params(params.weights, params.values)
        X = X.astype(np.float64)
        return discrete_oracle.e_step(X, params, self.family, self.n_trials, sample_weight)

    def estimator(self, X, **parameters):
        start = self.start(X)
        name = "rates_init" if self.family == "poisson" else "probabilities_init"
        parameters = {"max_iter": 3, "tol": 0.0, "n_jobs": 1, name: start.values} | parameters
        if self.family == "binomial":
            parameters["n_trials"] = self.n_trials
        cls = getattr(fastem, f"{self.family.title()}Mixture")
        return cls(self.n_components, weights_init=start.weights, **parameters)


#: D, K, n, scale: features that share codes and features too many for it, values too large for it;
#: components in part of a vector, in one, and in several.
DISCRETE_SIZES = {
    "bernoulli": [(1, 1, 41, 1), (20, 5, 1003, 1), (300, 17, 205, 1)],
    "binomial": [(1, 2, 57, 5), (6, 3, 400, 4), (9, 4, 300, 1000)],
    "categorical": [(1, 2, 60, 3), (12, 8, 500, 4), (3, 70, 301, 300)],
    "multinomial": [(5, 2, 203, 3), (60, 9, 300, 20), (4, 3, 200, 1000)],
    "poisson": [(1, 2, 64, 3), (11, 6, 700, 4), (7, 12, 301, 1000)],
}


class Bounded(lloyd.KMeansEM):
    """Keeps bounds from the first E-step on, by groups of about nine centers."""

    def _bounds(self, centers, block, state):
        if state.bounds is None:
            return Bounds.none_yet(centers, max(1, len(centers) // 9))
        return state.bounds


@dataclass(frozen=True)
class KMeansCase(Case):
    """K-means; `bounded` forces the bounds from the first E-step."""

    n_features: int
    n_clusters: int
    n_samples: int
    bounded: bool

    chunk_rows: ClassVar[int] = 512
    many_rows: ClassVar[int] = 16_421
    equivariant: ClassVar[bool] = True

    def __str__(self):
        size = f"{self.n_samples}x{self.n_features}-K{self.n_clusters}"
        return f"kmeans-{size}-{'bounded' if self.bounded else 'lloyd'}-{np.dtype(self.dtype)}"

    def data(self, n_samples=None, seed=0):
        rng = np.random.default_rng(seed)
        k, d, n = self.n_clusters, self.n_features, n_samples or self.n_samples
        means = self._means()
        return (means[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(self.dtype)

    def _means(self):
        """Return means so near that the first labels change."""
        spread = 2 if self.n_features < 50 else 0.3
        return np.random.default_rng(1).normal(0, spread, (self.n_clusters, self.n_features))

    def start(self, X):
        rng, means = np.random.default_rng(2), self._means()
        return lloyd.KMeansParams((means + rng.normal(0, 0.5, means.shape)).astype(self.dtype), 1)

    def model(self, reg_covar=0.0, n_threads=1):
        return (Bounded if self.bounded else lloyd.KMeansEM)(0.0, self.dtype, n_threads)

    def block(self, X, sample_weight=None):
        return lloyd.KMeansBlock(np.ascontiguousarray(X), sample_weight)

    def sums(self, statistics):
        names = ("bound", "weight", "rows", "weights")
        return {name: getattr(statistics, name) for name in names}

    def expected(self, X, params, sample_weight=None):
        centers = params.centers.astype(np.float64)
        sums = kmeans_oracle.e_step(X.astype(np.float64), centers, sample_weight)
        return {name: value for name, value in sums.items() if name != "labels"}

    def moved(self, params, scale, shift):
        return params._replace(centers=(params.centers * scale + shift).astype(self.dtype))

    def scales(self):
        return np.full(self.n_features, 3.7)

    def move_sums(self, sums, scale, shift):
        rows = sums["rows"] * scale + sums["weights"][:, None] * shift
        return sums | {"bound": sums["bound"] * scale[0] ** 2, "rows": rows}

    def estimator(self, X, **parameters):
        parameters = {"max_iter": 3, "tol": 0.0, "n_jobs": 1} | parameters
        return KMeans(self.n_clusters, init=self.start(X).centers, **parameters)
