"""Cases of mixtures beside outliers: Gaussians with noise, Student-t's."""

from dataclasses import dataclass

import numpy as np
from case_mixtures import GaussianCase, gaussian_oracle
from reference import student_mixture as student_oracle

from fastem import StudentMixture
from fastem._engine.threads import single_threaded_blas
from fastem.components import gaussian
from fastem.components.noise import Noise
from fastem.components.student import StudentEM


@dataclass(frozen=True)
class NoiseCase(GaussianCase):
    """Gaussian mixture beside noise, which some of the samples are."""

    def __str__(self):
        return super().__str__().replace("gaussian", "noise")

    def _noise(self):
        half = 3 + 3 * self.spread
        return Noise(
            0.2, np.array([np.full(self.n_features, -half), np.full(self.n_features, half)])
        )

    def data(self, n_samples=None, seed=0):
        X = super().data(n_samples, seed)
        noisy = np.random.default_rng(seed + 100).uniform(*self._noise().box, X.shape)
        X[::6] = noisy[::6]
        return X

    def start(self, X):
        return self.model().completed(super().start(X))

    def model(self, reg_covar=0.0, n_threads=1):
        return gaussian.GaussianEM(
            self.kind, reg_covar, self.dtype, n_threads, noise=self._noise()
        )  # fmt: skip

    def e_step(self, X, params, sample_weight=None, n_threads=1):
        model = self.model(n_threads=n_threads)
        model.noise = params.noise  # which may lie elsewhere
        return self.sums(self.statistics(model, params, self.block(X, sample_weight)))

    def block(self, X, sample_weight=None):
        return self.model().prepared(gaussian.GaussianBlock.of(X, sample_weight))

    def sums(self, statistics):
        return super().sums(statistics) | {"noise": statistics.noise}

    def expected(self, X, params, sample_weight=None):
        own = gaussian_oracle.Params(params.weights, params.means, params.covariances)
        noise = np.log(params.noise.weight / np.prod(np.ptp(params.noise.box, axis=0)))
        with single_threaded_blas():
            sums = gaussian_oracle.e_step(
                X.astype(np.float64), own, self.kind, sample_weight, noise
            )  # fmt: skip
        noise = sums.pop("noise")
        return self._sums(**sums) | {"noise": noise}

    def moved(self, params, scale, shift):
        noise = params.noise._replace(box=params.noise.box * scale + shift)
        weights = super().moved(params, scale, shift)
        return weights._replace(noise=noise)

    def estimator(self, X, **parameters):
        return super().estimator(X, **parameters).set_params(
            weights_init=super().start(X).weights, noise=True
        )  # fmt: skip


@dataclass(frozen=True)
class StudentCase(GaussianCase):
    """Mixture of Student-t's; `df` as the estimator takes it, samples with heavy tails."""

    df: str = "each"

    def __str__(self):
        return super().__str__().replace("gaussian", f"student-{self.df}")

    def data(self, n_samples=None, seed=0):
        X = super().data(n_samples, seed).astype(np.float64)
        tails = np.random.default_rng(seed + 100).standard_t(2, X.shape)
        return (X + 0.3 * tails).astype(self.dtype)

    def start(self, X):
        params = super().start(X)
        df = np.linspace(2, 9, self.n_components) if self.df == "each" else 4.0
        return params._replace(df=np.broadcast_to(df, self.n_components).astype(float))

    def model(self, reg_covar=0.0, n_threads=1):
        return StudentEM(self.kind, reg_covar, self.dtype, n_threads, self.df)

    def block(self, X, sample_weight=None):
        return self.model().prepared(gaussian.GaussianBlock.of(X, sample_weight))

    def sums(self, statistics):
        further = {"counts": statistics.counts, "logs": statistics.logs}
        return super().sums(statistics) | further

    def expected(self, X, params, sample_weight=None):
        own = student_oracle.Params(params.weights, params.means, params.covariances, params.df)
        with single_threaded_blas():
            sums = student_oracle.e_step(X.astype(np.float64), own, self.kind, sample_weight)
        further = {name: sums.pop(name) for name in ("counts", "logs")}
        return self._sums(**sums) | further

    def moved(self, params, scale, shift):
        return super().moved(params, scale, shift)._replace(df=params.df)

    def estimator(self, X, **parameters):
        start = super().estimator(X, **parameters).get_params()
        names = StudentMixture().get_params()
        return StudentMixture(**{n: v for n, v in start.items() if n in names}, df=self.df)
