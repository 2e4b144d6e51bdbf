"""K-means of data that come in blocks: no labels are kept, so memory does not grow with them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state

from fastem import em
from fastem._data.sources import sample_weight_of, survey
from fastem._engine.statistics import Moments, Statistics
from fastem.cluster.data import refuse_overflow
from fastem.cluster.lloyd import (
    KMeansBlock,
    KMeansEM,
    KMeansParams,
    inertia_of,
    labels_of,
    useful_threads,
)
from fastem.cluster.parallel_start import draw_centers
from fastem.cluster.watch import Printer

__all__ = ["fit_source"]


class Centering(NamedTuple):
    """Makes blocks about the mean of all samples, of X and its weights."""

    mean: np.ndarray  # (D,) of X's dtype; zeros for sparse X
    n_threads: int

    def __call__(self, X, sample_weight):
        """Return the block for the driver."""
        sample_weight = sample_weight_of(sample_weight)
        refuse_overflow("X", X, sample_weight)
        return KMeansBlock(self.of(X), sample_weight, self.n_threads)

    def of(self, X):
        """Return the samples about the mean."""
        return X if sp.issparse(X) else X - self.mean


def moments_of(X, sample_weight):
    """Return the features' moments without weights, as `tol` wants them: a sum over blocks."""
    refuse_overflow("X", X, sample_weight_of(sample_weight))
    n = X.shape[0]
    if sp.issparse(X):
        mean = np.asarray(X.mean(axis=0, dtype=np.float64)).reshape(1, -1)
        stored = np.bincount(X.indices, minlength=X.shape[1])
        gaps = X.data - mean[0, X.indices]
        scatter = np.bincount(X.indices, gaps * gaps, X.shape[1]) + (n - stored) * mean[0] ** 2
        return Moments(np.full(1, float(n)), mean, scatter[None], "diag")
    mean = X.mean(axis=0, dtype=np.float64)
    gaps = X - mean
    return Moments(
        np.full(1, float(n)), mean[None], np.einsum("ij,ij->j", gaps, gaps)[None], "diag"
    )


def reading(block, centers, n_threads):
    """Return what is read off the last centers: the inertia, and how much is in each cluster."""
    labels = labels_of(block.X, centers, n_threads)
    return Statistics(
        bound=-inertia_of(block.X, centers, labels, block.sample_weight, n_threads),
        weight=float(block.X.shape[0]),
        sizes=np.bincount(labels, minlength=len(centers)),
    )


def first_centers(estimator, init, make, n_starts, sample):
    """Return the first centers of each start; this runs where the sample of rows is."""
    X, weight = make.of(sample.rows), sample.weight_or_none()
    random_state = check_random_state(estimator.random_state)
    if isinstance(init, str) and init == "k-means||":
        chance = sample.weight / sample.weight.sum()
        first = X[random_state.choice(X.shape[0], n_starts, p=chance)]
        first = first.toarray() if sp.issparse(X) else first
        return [row[None] for row in first]
    rows = estimator._rows_to_draw(X, weight, KMeansBlock(X, weight, make.n_threads))
    k = estimator.n_clusters
    return [
        estimator._first_centers(X, init, make.mean, weight, random_state, k, rows)
        for _ in range(n_starts)
    ]


class Best(em.Callback):
    """Reads the inertia of each start off its last centers, and keeps the best by it."""

    def __init__(self, blocks, make):
        self.blocks, self.make = blocks, make
        self.best: Any = None
        self.params: Any = None
        self.attributes: dict[str, Any] = {}
        self.n_found = 0

    def on_init_end(self, init, result):
        """Compare this start with the best."""
        attributes, n_found = self._read(result.params)
        if self.best is None or attributes["inertia_"] < self.attributes["inertia_"]:
            self.best, self.attributes, self.params = result, attributes, result.params
            self.n_found = n_found

    def get_state(self):
        return [self.best, self.attributes, self.params, self.n_found]

    def set_state(self, state):
        self.best, self.attributes, self.params, self.n_found = state

    def read(self, params):
        """Return the fitted attributes of some parameters."""
        return self.attributes if params is self.params else self._read(params)[0]

    def _read(self, params):
        found = self.blocks.sum(reading, params.centers, self.make.n_threads)
        attributes = {
            "cluster_centers_": params.centers + self.make.mean,
            "inertia_": -float(found.bound),
        }
        return attributes, int(np.count_nonzero(found.sizes))


def fit_source(estimator, source) -> int:
    """Fit KMeans to data that come in blocks; return how many clusters have a sample."""
    k = estimator.n_clusters
    found = survey(source, moments_of, estimator.random_state, 2 * k)
    estimator._set_fitted(found.attributes())
    if found.n_rows < k:
        raise ValueError(f"n_samples={found.n_rows} should be >= n_clusters={k}.")
    n_starts = estimator._n_init = estimator._check_n_init()
    init = estimator._check_init(np.empty((1, found.n_features), found.dtype))
    sparse, moments = source.layout.sparse, found.extra
    mean = np.zeros(found.n_features) if sparse else moments.mean[0]
    make = Centering(
        mean.astype(found.dtype),
        useful_threads(estimator.n_jobs, (found.n_rows // len(source), found.n_features), k),
    )
    variance = float((moments.scatter[0] / moments.weight[0]).mean())
    model = KMeansEM(estimator.tol * variance, found.dtype, make.n_threads, keeps_labels=False)
    starts = source.call(first_centers, estimator, init, make, n_starts, source.sample)
    source.sample = None  # which takes memory
    blocks = source.prepared(make)
    if isinstance(init, str) and init == "k-means||":
        random_state = check_random_state(estimator.random_state)
        starts = [
            draw_centers(blocks, first, k, random_state, make.n_threads, type(estimator))
            for first in starts
        ]
    best = estimator._restarts = Best(blocks, make)
    try:
        printer = Printer(found.total_weight, model)
        estimator._fit_em(
            model,
            blocks,
            lambda start: KMeansParams(starts[start], found.n_rows),
            tol=0.0,
            verbose=0,
            n_init=n_starts,
            callbacks=[best, *([printer] if estimator.verbose else [])],
            executor=source.executor,
        )
        estimator._set_fitted(estimator._result_attributes(best.best))
    finally:
        del estimator._restarts
    estimator.__dict__.pop("labels_", None)
    estimator._n_features_out = k
    return best.n_found
