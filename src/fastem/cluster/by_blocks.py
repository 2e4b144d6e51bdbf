"""K-means of data that come in blocks: no labels are kept, so memory does not grow with them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state

from fastem import em
from fastem._base import refuse_unknown_features
from fastem._data.sources import sample_weight_of, survey
from fastem._engine.statistics import Moments, Statistics
from fastem.cluster.data import refuse_overflow
from fastem.cluster.lloyd import (
    KMeansBlock,
    KMeansEM,
    KMeansParams,
    useful_threads,
)
from fastem.cluster.missing import IncompleteBlock, IncompleteKMeansEM
from fastem.cluster.parallel_start import draw_centers
from fastem.cluster.truncated import truncated_model
from fastem.cluster.watch import Printer
from fastem.components.gaussian_data import observed_moments

__all__ = ["fit_source"]


class Centering(NamedTuple):
    """Makes blocks about the mean of all samples, of X and its weights."""

    mean: np.ndarray  # (D,) of X's dtype; zeros for sparse X
    n_threads: int
    missing: bool  # whether values are, in any block

    def __call__(self, X, sample_weight):
        """Return the block for the driver."""
        sample_weight = sample_weight_of(sample_weight)
        refuse_overflow("X", X, sample_weight)
        return self.block(self.of(X), sample_weight)

    def block(self, X, sample_weight):
        """Return the block of samples about the mean."""
        return (IncompleteBlock if self.missing else KMeansBlock)(X, sample_weight, self.n_threads)

    def of(self, X):
        """Return the samples about the mean."""
        return X if sp.issparse(X) else X - self.mean


def moments_of(X, sample_weight):
    """Return each feature's moments without weights, as `tol` wants them: a sum over blocks."""
    missing = refuse_overflow("X", X, sample_weight_of(sample_weight))
    n, d = X.shape
    if sp.issparse(X):
        count, mean = np.full(d, float(n)), np.asarray(X.mean(axis=0, dtype=np.float64)).ravel()
        stored = np.bincount(X.indices, minlength=d)
        gaps = X.data - mean[X.indices]
        scatter = np.bincount(X.indices, gaps * gaps, d) + (n - stored) * mean**2
    elif missing:
        count, mean, scatter = observed_moments(X, None)
    else:
        count, mean = np.full(d, float(n)), X.mean(axis=0, dtype=np.float64)
        gaps = X - mean
        scatter = np.einsum("ij,ij->j", gaps, gaps)
    return Moments(count, mean[:, None], scatter[:, None], "diag")


def reading(block, centers, n_threads):
    """Return what is read off the last centers: the inertia, and how much is in each cluster."""
    labels = block.labels(centers, n_threads)
    return Statistics(
        bound=-block.inertia(centers, labels, n_threads),
        weight=float(block.X.shape[0]),
        sizes=np.bincount(labels, minlength=len(centers)),
    )


def first_centers(estimator, init, make, n_starts, sample):
    """Return the first centers of each start; this runs where the sample of rows is."""
    weight = sample.weight_or_none()
    block = make.block(make.of(sample.rows), weight)
    X = block.drawn_from
    random_state = check_random_state(estimator.random_state)
    if isinstance(init, str) and init == "k-means||":
        chance = sample.weight / sample.weight.sum()
        first = X[random_state.choice(X.shape[0], n_starts, p=chance)]
        first = first.toarray() if sp.issparse(X) else first
        return [row[None] for row in first]
    rows = estimator._rows_to_draw(X, weight, block)
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
    mean = np.zeros(found.n_features) if sparse else moments.mean[:, 0]
    missing = bool(np.any(moments.weight < found.n_rows))
    refuse_unknown_features(estimator, moments.weight > 0)
    make = Centering(
        mean.astype(found.dtype),
        useful_threads(estimator.n_jobs, (found.n_rows // len(source), found.n_features), k),
        missing,
    )
    tol = estimator.tol * float((moments.scatter[:, 0] / moments.weight).mean())
    kind = IncompleteKMeansEM if missing else KMeansEM
    model = kind(tol, found.dtype, make.n_threads, keeps_labels=False)
    begin = None
    if estimator.algorithm == "truncated":
        model = truncated_model(estimator, model)
        begin = model.begin
    starts = source.call(first_centers, estimator, init, make, n_starts, source.sample)
    source.sample = None  # which takes memory
    blocks = source.prepared(make)
    if isinstance(init, str) and init == "k-means||":
        random_state = check_random_state(estimator.random_state)
        starts = [
            draw_centers(blocks, first, k, random_state, make.n_threads, type(estimator))
            for first in starts
        ]

    def first(init):
        params = KMeansParams(starts[init], found.n_rows)
        return params if begin is None else begin(params)

    best = estimator._restarts = Best(blocks, make)
    try:
        printer = Printer(found.total_weight, model)
        estimator._fit_em(
            model,
            blocks,
            first,
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
