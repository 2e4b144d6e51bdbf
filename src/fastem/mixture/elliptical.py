"""Mixtures of Gaussians, and of what is like them, by maximum likelihood: problem and start."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastem._base import known_features, refuse_unknown_features
from fastem.cluster.start import known_clusters
from fastem.components import gaussian
from fastem.components.checks import check_start, check_weights
from fastem.components.covariances import KINDS
from fastem.components.gaussian import GaussianParams
from fastem.components.gaussian_data import block_of
from fastem.components.gaussian_start import (
    Labels,
    beside_noise,
    check_precisions,
    moments_of,
)
from fastem.mixture.criteria import Criteria
from fastem.mixture.gaussian_base import EllipticalBase
from fastem.mixture.streaming import StreamingMixture

__all__ = ["EllipticalMixture"]


class EllipticalMixture(StreamingMixture, EllipticalBase, Criteria):
    """Base of the mixtures that begin with given parameters, or clusters, and end at a maximum.

    A subclass has ``_model(block, given)``, the model of a block, where `given` are the weights,
    means and precisions that were given, or None.
    """

    weights_init: npt.ArrayLike | None
    means_init: npt.ArrayLike | None
    precisions_init: npt.ArrayLike | None

    _parameter_constraints: ClassVar[dict] = {
        **EllipticalBase._parameter_constraints,
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        **StreamingMixture._step_constraints,
    }

    @abstractmethod
    def _model(self, block, given) -> Any:
        """Return the model of a block."""

    def _scales_weights(self):
        """Return whether weights may be in any unit."""
        return True

    def _problem(self, X, sample_weight):
        given = self._check_start(X.shape[1])
        if self._scales_weights():
            sample_weight = _near_one(sample_weight)
        block = gaussian.GaussianBlock.of(X, sample_weight)
        streams = vars(self).get("_stream", {}).get("sums") is not None
        if block.missing and not streams:  # else the rest of it was seen before
            refuse_unknown_features(self, known_features(block.X, block.sample_weight))
        model = self._model(block, given)
        shape = KINDS[self.covariance_type].shape(self.n_components, X.shape[1])
        gaussian.keep_freed_memory(shape)
        block = model.prepared(block)

        def start(random_state, block=block):
            return self._start(model, block, given, random_state)

        return model, block, start

    @staticmethod
    def _composition(statistics):
        return statistics.moments.weight

    def _maker(self, block, found):
        mean_weight = found.total_weight / found.n_rows
        exponent = _exponent(mean_weight) if self._scales_weights() else 0
        return partial(block_of, block.scaling, exponent)

    def _start(self, model, block, given, random_state):
        """Return the first parameters; those in `given` take the place of estimated ones."""
        if all(part is not None for part in given):
            weights, means, precisions = given
            params = GaussianParams.from_precisions(
                weights, means, precisions, self.covariance_type, model.dtype
            )
            return model.completed(params)
        make = partial(self._first_responsibilities, random_state=random_state)
        if block.missing and self.init_params == "kmeans" and model.noise is None:
            block, labels = known_clusters(block, self.n_components, random_state, self.n_jobs)
            responsibilities = Labels(labels)
        elif model.noise is None:
            block = block.filled() if block.missing else block
            responsibilities = make(block)
        else:
            block = block.filled() if block.missing else block
            block, responsibilities = beside_noise(block, self.n_components, make)
        moments = moments_of(responsibilities, self.n_components, block, model)
        return model.completed(self._start_from(model, block, given, moments))

    def _start_from(self, model, block, given, moments):
        """Return the first parameters: those that the moments give, unless `given`."""
        weights, means, precisions = given
        if weights is None:
            # As in scikit-learn, the divisor counts all samples, also those without responsibility.
            weights = model.component_weights(moments) / block.total_weight
        if precisions is not None:
            means = model.means(moments) if means is None else means
            return GaussianParams.from_precisions(
                weights, means, precisions, self.covariance_type, model.dtype
            )
        estimated = model.estimate(moments)
        means = estimated.means if means is None else means
        return estimated._replace(weights=weights, means=means)

    def _params(self):
        return self._densities()

    def _check_start(self, n_features):
        """Return the given start (weights, means, precisions), validated; None where not given."""
        k, d = self.n_components, n_features
        return (
            None if self.weights_init is None else check_weights(self.weights_init, k),
            None if self.means_init is None else check_start("means", self.means_init, (k, d)),
            None
            if self.precisions_init is None
            else check_precisions(self.precisions_init, self.covariance_type, k, d),
        )


def _near_one(sample_weight):
    """Return weights near 1, by a power of 2: EM takes a count of 1e-15 for none."""
    exponent = 0 if sample_weight is None else _exponent(sample_weight.mean())
    return np.ldexp(sample_weight, -exponent) if exponent else sample_weight


def _exponent(mean_weight):
    """Return the power of 2 that weights are divided by: 0 where they are near 1."""
    exponent = int(np.frexp(mean_weight)[1])
    return exponent if abs(exponent) > 20 else 0
