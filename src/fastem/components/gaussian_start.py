"""How a Gaussian mixture begins: given parameters, or responsibilities by one of four methods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastem._base import squarable
from fastem._engine.statistics import Moments
from fastem.components.checks import check_start
from fastem.components.covariances import KINDS
from fastem.components.gaussian import second_moment
from fastem.components.gaussian_data import GaussianBlock

__all__ = [
    "Labels",
    "check_precisions",
    "initial_responsibilities",
    "moments_of",
]

_CHUNK_BYTES = 2 << 20  # responsibilities that are made at once


class RowResponsibilities(NamedTuple):
    """Responsibility 1 of one row for each component, 0 elsewhere."""

    indices: np.ndarray  # (K,)


class Labels(NamedTuple):
    """Responsibility 1 of each sample's own component."""

    labels: np.ndarray  # (n,)


class RandomResponsibilities(NamedTuple):
    """Uniform random responsibilities, drawn as they are read: once."""

    random_state: np.random.RandomState


def initial_responsibilities(method, n_components, block, random_state, clusters=None):
    """Return the first responsibilities by scikit-learn's four methods, with its random numbers.

    Parameters
    ----------
    method : {'kmeans', 'k-means++', 'random', 'random_from_data'}
    n_components : int
    block : GaussianBlock
    random_state : RandomState
        Used as scikit-learn uses it.
    clusters : callable, default=None
        ``clusters(X, n_components, sample_weight, random_state) -> labels``, for 'kmeans'.
    """
    X, sample_weight = block.X, block.sample_weight
    if method in ("kmeans", "k-means++"):
        X = squarable(X)
    if method == "kmeans":
        return Labels(clusters(X, n_components, sample_weight, random_state))
    if method == "random":
        return RandomResponsibilities(random_state)
    if method == "random_from_data":
        chance = None if sample_weight is None else sample_weight / sample_weight.sum()
        indices = random_state.choice(len(X), size=n_components, replace=False, p=chance)
    else:
        # Here, for LDA may be asked for while scikit-learn imports its clusters.
        from sklearn.cluster import kmeans_plusplus

        _, indices = kmeans_plusplus(
            X, n_components, sample_weight=sample_weight, random_state=random_state
        )
    return RowResponsibilities(indices)


def moments_of(responsibilities, n_components, block, model) -> Moments:
    """Return the moments of the components under responsibilities of any of the kinds above."""
    if isinstance(responsibilities, RowResponsibilities):
        picked = block.X[responsibilities.indices]
        chosen = GaussianBlock(picked, None, float(len(picked)), block.scaling)
        moments = model.given_moments(np.eye(n_components), chosen)
        if KINDS[model.kind].shared:
            # scikit-learn counts the samples without responsibility as scatter about the origin.
            # That is odd, but its start, and so its result, depends on it.
            origin = np.zeros((1, block.X.shape[1]))
            others = second_moment(block, origin, None, model.n_threads)
            others /= block.scaling.scale[:, None] * block.scaling.scale
            picked = picked.astype(np.float64)
            moments.scatter += others - picked.T @ picked
        return moments
    total = None
    for begin, end, given in _given(responsibilities, n_components, block):
        if total is None:
            total = model.given_moments(given, block.rows(begin, end))
        else:
            total.add(model.given_moments(given, block.rows(begin, end)))
    assert total is not None
    return total


def _given(responsibilities, n_components, block) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (begin, end, (end - begin, K) responsibilities) in chunks of limited memory."""
    for begin, end in _chunks(len(block.X), n_components):
        if isinstance(responsibilities, Labels):
            given = np.zeros((end - begin, n_components))
            given[np.arange(end - begin), responsibilities.labels[begin:end]] = 1
        else:
            uniform = responsibilities.random_state.uniform(size=(end - begin, n_components))
            given = uniform.astype(block.X.dtype)
            given = (given / given.sum(axis=1, keepdims=True)).astype(np.float64)
        yield begin, end, given


def _chunks(n, n_components):
    size = max(1024, _CHUNK_BYTES // (8 * n_components))
    return [(begin, min(begin + size, n)) for begin in range(0, n, size)]


def check_precisions(given, kind, k, d):
    """Return given precisions as they are, in float32 or float64: they may be large."""
    precisions = check_start(f"{kind} precision", given, KINDS[kind].shape(k, d))
    KINDS[kind].check_definite(precisions)
    return given if getattr(given, "dtype", None) == np.float32 else precisions
