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
from fastem.components.gaussian_data import GaussianBlock, parts

__all__ = [
    "Labels",
    "beside_noise",
    "check_precisions",
    "initial_responsibilities",
    "moments_of",
]

_CHUNK_BYTES = 2 << 20  # responsibilities that are made at once
#: A start beside noise leaves out the samples that are farthest from the centers, and does so again
#: from the new centers: of 40 problems with 3 to 40 % of noise the best optimum was found in 33, in
#: 22 without, and in 27 by the best of 5 restarts without.
_CORE, _ROUNDS = 0.75, 2


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


def beside_noise(block, n_components, make):
    """Return samples that are likely no noise, as a block, and their first responsibilities.

    Components that begin with noise among their samples are wide and keep it; those that begin with
    one sample each leave all others to the noise.

    Parameters
    ----------
    block : GaussianBlock
    n_components : int
    make : callable
        ``make(block)``: responsibilities of any of the kinds above.
    """
    if block.sample_weight is not None:
        block = block.some(np.flatnonzero(block.sample_weight > 0))
    core, found = block, make(block)
    if isinstance(found, RandomResponsibilities):
        return core, found
    n_kept = max(int(np.ceil(_CORE * len(block.X))), n_components)
    for _ in range(_ROUNDS):
        distances = _nearest(block.X, _centers(found, core, n_components))[1]
        core = block.some(np.sort(np.argsort(distances, kind="stable")[:n_kept]))
        found = make(core)
    return core, Labels(_nearest(core.X, _centers(found, core, n_components))[0])


def _centers(found, block, n_components):
    """Return the rows that begin components, or the means of the labels' samples; float64."""
    if isinstance(found, RowResponsibilities):
        return block.X[found.indices].astype(np.float64)
    centers = np.full((n_components, block.X.shape[1]), np.inf)
    for k in range(n_components):
        own = found.labels == k
        weight = None if block.sample_weight is None else block.sample_weight[own]
        if own.any():
            centers[k] = np.average(block.X[own].astype(np.float64), axis=0, weights=weight)
    return centers


def _nearest(X, centers):
    """Return the number of each sample's nearest center, and its squared distance."""
    labels, distances = np.zeros(len(X), np.int64), np.full(len(X), np.inf)
    for some in parts(len(X), X.shape[1]):
        for k, center in enumerate(centers):
            gap = X[some] - center
            own = np.einsum("nd,nd->n", gap, gap)
            nearer = own < distances[some]
            labels[some][nearer], distances[some][nearer] = k, own[nearer]
    return labels, distances


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
    for part, given in _given(responsibilities, n_components, block):
        if total is None:
            total = model.given_moments(given, part)
        else:
            total.add(model.given_moments(given, part))
    assert total is not None
    return total


def _given(responsibilities, n_components, block) -> Iterator[tuple[GaussianBlock, np.ndarray]]:
    """Yield some samples and their (m, K) responsibilities, in chunks of limited memory."""
    sorted_rows = isinstance(responsibilities, Labels)
    width = n_components + block.X.shape[1] * sorted_rows
    for begin, end in _chunks(len(block.X), width):
        if sorted_rows:
            # In the order of the labels: where a component has none of some consecutive samples,
            # the kernel passes it over.
            rows = begin + np.argsort(responsibilities.labels[begin:end], kind="stable")
            given = np.zeros((end - begin, n_components))
            given[np.arange(end - begin), responsibilities.labels[rows]] = 1
            yield block.some(rows), given
        else:
            uniform = responsibilities.random_state.uniform(size=(end - begin, n_components))
            given = uniform.astype(block.X.dtype)
            given = (given / given.sum(axis=1, keepdims=True)).astype(np.float64)
            yield block.rows(begin, end), given


def _chunks(n, width):
    size = max(1024, _CHUNK_BYTES // (8 * width))
    return [(begin, min(begin + size, n)) for begin in range(0, n, size)]


def check_precisions(given, kind, k, d):
    """Return given precisions as they are, in float32 or float64: they may be large."""
    precisions = check_start(f"{kind} precision", given, KINDS[kind].shape(k, d))
    KINDS[kind].check_definite(precisions)
    return given if getattr(given, "dtype", None) == np.float32 else precisions
