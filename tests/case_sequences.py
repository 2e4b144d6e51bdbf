"""Cases of hidden Markov models: a row is a whole sequence, its steps side by side."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from case_base import Case

import fastem
from fastem._engine.threads import single_threaded_blas
from fastem.components import discrete
from fastem.sequence.chain import ChainEM, ChainParams, Sequences
from fastem.sequence.emissions import DiscreteEmissions, GaussianEmissions, gaussian_params

try:
    from reference import hmm as oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)

N_STEPS = 5


@dataclass(frozen=True)
class ChainCase(Case):
    """A chain of `n_components` states over an emission, in sequences of N_STEPS steps.

    The contract's laws are of rows that do not depend on each other: here these are sequences.
    """

    emission: str  # a covariance type, or a discrete family
    n_features: int
    n_components: int
    n_samples: int

    chunk_rows: ClassVar[int] = 2048 // N_STEPS
    many_rows: ClassVar[int] = 14_000

    def __str__(self):
        size = f"{self.n_samples}x{self.n_features}-K{self.n_components}"
        return f"chain-{self.emission}-{size}-{np.dtype(self.dtype)}"

    @property
    def _gaussian(self):
        return self.emission not in ("categorical", "poisson")

    def _means(self):
        return np.random.default_rng(1).normal(0, 1.5, (self.n_components, self.n_features))

    def data(self, n_samples=None, seed=0):
        rng = np.random.default_rng(seed)
        n, k, d = n_samples or self.n_samples, self.n_components, self.n_features
        states = np.cumsum(rng.random((n, N_STEPS)) < 0.4, axis=1) + rng.integers(k, size=(n, 1))
        means = self._means()[states % k]
        if self.emission == "categorical":
            X = np.clip(np.round(means + 2 + rng.normal(size=means.shape)), 0, 4)
            X.reshape(-1)[:5] = np.arange(5)
        elif self.emission == "poisson":
            X = rng.poisson(np.exp(means / 2))
        else:
            X = means + rng.normal(size=(n, N_STEPS, d))
        return X.reshape(n, -1).astype(self.dtype)

    def start(self, X):
        rng = np.random.default_rng(2)
        k, d = self.n_components, self.n_features
        start, trans = rng.dirichlet(np.full(k, 5.0)), rng.dirichlet(np.full(k, 3.0), k)
        if not self._gaussian:
            shape = (k, 1, 5) if self.emission == "categorical" else (k, d)
            values = rng.uniform(0.3, 2, shape)
            if self.emission == "categorical":
                values /= values.sum(axis=2, keepdims=True)
            return ChainParams(start, trans, self._family().params(values))
        means = self._means() + rng.normal(0, 0.3, (k, d))
        factors = np.eye(d) + np.tril(rng.normal(0, 0.4 / np.sqrt(d), (k, d, d)))
        covariances = factors @ factors.transpose(0, 2, 1)
        variances = rng.uniform(0.5, 2, (k, d))
        covariances = {
            "full": covariances,
            "tied": covariances[0],
            "diag": variances,
            "spherical": variances[:, 0],
        }[self.emission]
        return ChainParams(start, trans, gaussian_params(means, covariances, self.emission))

    def _family(self, min_covar=0.0, n_threads=1):
        k, d = self.n_components, self.n_features
        if self.emission == "categorical":
            return DiscreteEmissions(discrete.Categorical([5]), k)
        if self.emission == "poisson":
            return DiscreteEmissions(discrete.Poisson(d), k)
        return GaussianEmissions(self.emission, min_covar=min_covar, n_threads=n_threads)

    def model(self, reg_covar=0.0, n_threads=1):
        return ChainEM(self._family(reg_covar, n_threads), n_threads=n_threads)

    def block(self, X, sample_weight=None):
        rows = np.ascontiguousarray(X).reshape(-1, self.n_features)
        begin = np.arange(0, len(rows) + 1, N_STEPS, dtype=np.int64)
        return Sequences(self._family().block(rows), begin, sample_weight)

    def sums(self, statistics):
        sums = {name: getattr(statistics, name) for name in ("bound", "weight")}
        sums |= {"start": statistics.start, "transitions": statistics.transitions}
        if self._gaussian:
            moments = statistics.moments
            first = moments.weight[:, None] * moments.mean
            return sums | {"resp": moments.weight, "first": first, "scatter": moments.scatter}
        terms = statistics.terms.T
        first = terms if self.emission == "categorical" else terms[:, : self.n_features]
        return sums | {"resp": statistics.resp, "first": first}

    def expected(self, X, params, sample_weight=None):
        rows = X.astype(np.float64).reshape(-1, self.n_features)
        with single_threaded_blas():
            sums = oracle.e_step_of_equal_lengths(
                self._log_b(rows, params), N_STEPS, params, sample_weight
            )
        gamma = sums.pop("gamma")
        sums["resp"] = gamma.sum(axis=0)
        if not self._gaussian:
            x = rows == np.arange(5) if self.emission == "categorical" else rows
            return sums | {"first": gamma.T @ x}
        _, means, scatter = oracle.gaussian_moments(rows, gamma)
        diagonal = scatter.diagonal(axis1=1, axis2=2)
        scatter = {
            "full": scatter,
            "tied": scatter.sum(axis=0),
            "diag": diagonal,
            "spherical": diagonal.sum(axis=1),
        }[self.emission]
        return sums | {"first": sums["resp"][:, None] * means, "scatter": scatter}

    def _log_b(self, rows, params):
        emission = params.emission
        if self.emission == "categorical":
            return oracle.log_categorical(rows, emission.values[:, 0])
        if self.emission == "poisson":
            return oracle.log_poisson(rows, emission.values)
        k, d = emission.means.shape
        covariances = emission.covariances
        if self.emission == "tied":
            covariances = np.tile(covariances, (k, 1, 1))
        elif self.emission != "full":
            covariances = covariances.reshape(k, -1, 1) * np.eye(d)
        return oracle.log_whole_gaussian(rows, emission.means, covariances)

    def estimator(self, X, **parameters):
        # Of which a row is a step; and what are symbols above are counts here, for X has columns.
        parameters = {"n_iter": 3, "tol": -np.inf, "n_jobs": 1, "random_state": 0} | parameters
        if self.emission == "categorical":
            return fastem.MultinomialHMM(self.n_components, **parameters)
        if self.emission == "poisson":
            return fastem.PoissonHMM(self.n_components, **parameters)
        return fastem.GaussianHMM(self.n_components, self.emission, **parameters)
