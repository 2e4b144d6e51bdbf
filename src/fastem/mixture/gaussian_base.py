"""What the mixtures of Gaussians share: fitted attributes, and what is read off them."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from fastem._base import check_fitted_array
from fastem._compat import Interval, StrOptions
from fastem._engine.arrays import validate
from fastem._engine.threads import useful_n_jobs
from fastem._onnx import ToOnnx, gaussian_mixture_nodes
from fastem._typing import RandomStateLike
from fastem.cluster.start import clusters_like_scikit_learn
from fastem.components import gaussian
from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianParams
from fastem.components.gaussian_start import initial_responsibilities
from fastem.components.noise import Noise
from fastem.mixture.base import ALGORITHMS, Mixture
from fastem.mixture.gaussian_reading import GaussianReading
from fastem.mixture.summary import feature_names

__all__ = ["EllipticalBase", "GaussianBase"]


class EllipticalBase(Mixture):
    """Base of mixtures whose components have means and matrices: parameters, what is read off."""

    n_components: int
    covariance_type: str
    tol: float
    reg_covar: float
    max_iter: int
    n_init: int
    init_params: str
    random_state: RandomStateLike
    warm_start: bool
    verbose: int
    verbose_interval: int
    n_jobs: int | None
    _allow_nan: ClassVar[bool] = False  # whether NaN is what is missing, or refused
    _matrices: ClassVar[str] = "covariances_"  # what they are called
    means_: np.ndarray
    precisions_: np.ndarray
    precisions_cholesky_: np.ndarray

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(KINDS))],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions({"kmeans", "random", "random_from_data", "k-means++"})],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "algorithm": [StrOptions({*ALGORITHMS})],
    }

    def _read(self, X):
        return validate(
            self, X, dtype=[np.float64, np.float32], ensure_min_samples=2, **self._finite()
        )

    def _read_block(self, X, reset=True):
        return validate(self, X, reset=reset, dtype=[np.float64, np.float32], **self._finite())

    def _finite(self):
        return {"ensure_all_finite": "allow-nan" if self._allow_nan else True}

    @staticmethod
    def _n_rows(block):
        return len(block.X)

    @staticmethod
    def _piece(model, block, begin, end):
        return getattr(model, "components", model).prepared(block.rows(begin, end))

    def _first_responsibilities(self, block, random_state):
        """Return the responsibilities that a restart begins with, as `init_params` says."""

        def clusters(X, n_clusters, sample_weight, random_state):
            return clusters_like_scikit_learn(
                X, n_clusters, sample_weight, random_state, self.n_jobs
            ).labels

        return initial_responsibilities(
            self.init_params, self.n_components, block, random_state, clusters
        )

    def _attributes(self, params) -> dict[str, Any]:
        try:
            return self._attributes_as(params.dtype, params)
        except OverflowError:  # a variance of float32 data may not fit
            return self._attributes_as(np.dtype(np.float64), params)

    def _attributes_as(self, dtype, params) -> dict[str, Any]:
        """Return the attributes of some parameters, or raise OverflowError if one does not fit."""
        chol, kind = params.precisions_cholesky, self.covariance_type
        n_threads = useful_n_jobs(self.n_jobs, float(chol.size * params.means.shape[1]))

        def cast(value):
            if value.dtype != dtype and not gaussian.fits(value, dtype):
                raise OverflowError
            return value.astype(dtype, copy=False)

        noise = params.noise  # whose box stays float64: its sides may be short beside its place
        # One after the other: with float32 data, only U and one more array are ever float64.
        return {
            "weights_": cast(params.weights),
            "means_": cast(params.means),
            self._matrices: cast(gaussian.covariances_of(params, kind, n_threads)),
            "precisions_": cast(KINDS[kind].precisions(chol)),
            "precisions_cholesky_": cast(chol),
            **({"noise_weight_": noise.weight, "noise_box_": noise.box} if noise else {}),
        }

    def _set_fitted(self, attributes):
        if "weights_" in attributes and self._has_noise:  # which the fit before had
            for name in {"noise_weight_", "noise_box_"} - attributes.keys():
                delattr(self, name)
        super()._set_fitted(attributes)

    def _described(self):
        k, d = self.means_.shape
        kind = KINDS[self.covariance_type]
        deviations = np.sqrt(np.broadcast_to(kind.diagonal(getattr(self, self._matrices)), (k, d)))
        rows = [
            [f"{mean:.4g} ± {deviation:.2g}" for mean, deviation in zip(*pair, strict=True)]
            for pair in zip(self.means_, deviations, strict=True)
        ]
        return feature_names(self), rows

    def _of_each_component(self):
        names = [self._matrices, "precisions_", "precisions_cholesky_"]
        if KINDS[self.covariance_type].shared:
            names = []
        return "weights_", "means_", *(name for name in names if hasattr(self, name))

    def _densities(self):
        """Return the fitted components and weights, checked once, as GaussianParams."""
        self._once("checked", self._check_attributes)
        covariances = getattr(self, self._matrices, None)  # missing if the user set the others
        noise = None
        if self._has_noise:
            noise = Noise(float(self.noise_weight_), np.asarray(self.noise_box_, np.float64))
        factors = getattr(self, "precisions_cholesky_", None)
        if factors is None:  # nor these: the covariances alone tell all
            kind, covariances = KINDS[self.covariance_type], np.asarray(covariances, dtype=float)
            factors, failed = kind.roots(covariances)
            kind.check(failed, covariances)
        return GaussianParams.of(self.weights_, self.means_, covariances, factors, noise)

    @property
    def _has_noise(self):
        return "noise_weight_" in vars(self)

    def _check_attributes(self):
        """Raise ValueError if a fitted attribute is not what kernels and formulas may read."""
        kind = KINDS[self.covariance_type]
        n_features = getattr(self, "n_features_in_", None)  # None: attributes were set by hand
        k, d = check_fitted_array(self, "means_", (None, n_features)).shape
        some = check_fitted_array(self, "weights_", (k,), nonnegative=True).any()
        if not (some or self._has_noise):
            raise ValueError("weights_ must not all be 0: fit again, or set the attribute")
        if self._has_noise:
            check_fitted_array(self, "noise_weight_", (), nonnegative=True, at_most=1.0)
            box = check_fitted_array(self, "noise_box_", (2, d))
            if not np.all(box[0] < box[1]):
                raise ValueError(
                    "noise_box_ must have its lowest corner below its highest one: fit again, or "
                    "set the attribute"
                )
        # One of them may be missing if a user has set the other by hand.
        names = ("precisions_cholesky_", self._matrices)
        for name in [n for n in names if hasattr(self, n)] or names[:1]:
            value = check_fitted_array(self, name, kind.shape(k, d))
            own = kind.diagonal(value)
            if not own.min() > 0:
                raise ValueError(
                    f"{name} must be positive on the diagonal, got {own.min():.6g}: fit again, or "
                    "set the attribute"
                )

    def _n_threads(self, X):
        n_samples, n_features = X.shape
        return gaussian.useful_threads(
            self.n_jobs,
            n_samples,
            n_features,
            self.n_components,
            self.covariance_type,
        )

    def _validated(self, X):
        self._check_is_fitted("means_")
        # As NumPy promotes: float32 only where both the model and X are.
        wide = np.asarray(self.means_).dtype == np.float64
        dtype = np.float64 if wide else [np.float64, np.float32]
        return validate(self, X, reset=False, dtype=dtype, **self._finite())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._allow_nan
        return tags

    def _rows(self, X, output):
        """Return 'labels', 'log_prob' or 'responsibilities' of validated samples."""
        params, kind = self._densities(), self.covariance_type
        if params.dtype == np.float64:  # X may come from fit
            X = X.astype(np.float64, copy=False)
        scaling = self._once(
            ("scaling", X.dtype), lambda: gaussian.Scaling.of_params(params, kind, X.dtype)
        )
        return gaussian.rows(X, params, kind, output, self._n_threads(X), scaling)

    def _draw(self, counts, random_state, **settings):
        kind, matrices = KINDS[self.covariance_type], getattr(self, self._matrices)
        parts = [
            kind.draw(mean, kind.of_component(matrices, k), int(count), random_state)
            for k, (mean, count) in enumerate(zip(self.means_, counts, strict=False))
        ]
        if self._has_noise:
            parts.append(self._densities().noise.draw(counts[-1], random_state))
        return np.vstack(parts)


class GaussianBase(EllipticalBase, ToOnnx, GaussianReading):
    """Base of mixtures of Gaussians."""

    covariances_: np.ndarray

    def _expected(self):
        return GaussianBase._densities(self)  # a posterior's expected parameters

    _onnx_scores = "probabilities", "means_"

    def _onnx_nodes(self, X, dtype, names, opset):
        params = self._densities()
        if params.noise is not None:
            raise ValueError("a mixture with noise has no ONNX graph: fit it with noise=False")
        means, log_weights = params.means, params.log_weights
        chol = KINDS[self.covariance_type].each(params.precisions_cholesky, *means.shape)
        if log_weights is None:
            with np.errstate(divide="ignore"):  # a weight may be 0
                log_weights = np.log(params.weights)
        return gaussian_mixture_nodes(log_weights, means, chol, X, dtype, names, opset)
