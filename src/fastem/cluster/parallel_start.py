"""k-means|| (Bahmani et al. 2012, *Scalable k-means++*, PVLDB 5:622): a start in a few passes.

Each round draws many rows at once, far from those drawn before; at the end these, weighted by the
rows that are nearest to them, are clustered. It finds rare clusters, which a sample of rows misses.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from fastem._data.survey import Sample
from fastem._engine.statistics import Statistics

__all__ = ["ROUNDS", "draw_centers"]

ROUNDS, _FACTOR = 2, 4  # of which each draws so many times the number of clusters
_SEEDINGS = 4  # of the rows that were drawn, of which the best is taken


def draw_centers(blocks, first, n_clusters, random_state, n_threads, kmeans):
    """Return first centers, (K, D).

    Parameters
    ----------
    blocks : prepared blocks of a source
        Each pass over them draws, or weighs, rows.
    first : ndarray of shape (1, D)
        The first row.
    n_clusters : int
    random_state : RandomState
    n_threads : int
    kmeans : type
        The class of estimators that clusters the rows that were drawn.
    """
    drawn, size = first, _FACTOR * n_clusters
    for _ in range(ROUNDS):
        seed = int(random_state.randint(2**31 - 1))
        far = blocks.sum_numbered(_far_rows, drawn, seed, size, n_threads).sample
        drawn = np.vstack([drawn, far.rows])
    if len(drawn) < n_clusters:  # so few rows differ: each is a center, some more than once
        return drawn[np.arange(n_clusters) % len(drawn)]
    weight = blocks.sum(_weights, drawn, n_threads).weights
    few = kmeans(n_clusters, n_init=_SEEDINGS, random_state=random_state, n_jobs=n_threads, tol=0)
    return few.fit(drawn, sample_weight=weight).cluster_centers_.astype(first.dtype)


def _far_rows(number, block, centers, seed, size, n_threads):
    """Return rows drawn by their squared distances to the nearest of some centers, times weight.

    Those of the smallest keys -log(u) / weight are draws without replacement (Efraimidis & Spirakis
    2006), and those of several blocks together are those of the blocks' smallest keys.
    """
    X = block.drawn_from
    squared = block.distances(centers, block.labels(centers, n_threads), n_threads)
    weight = squared if block.sample_weight is None else squared * block.sample_weight
    u = np.random.default_rng([seed, number]).random(X.shape[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        key = np.where(weight > 0, -np.log1p(-u) / weight, np.inf)
    some = np.argsort(key, kind="stable")[:size]
    some = np.sort(some[np.isfinite(key[some])])
    rows = X[some].toarray() if sp.issparse(X) else X[some]
    sample = Sample(rows, weight[some], key[some], size)
    return Statistics(bound=0.0, weight=1.0, sample=sample)


def _weights(block, centers, n_threads):
    """Return the weight of the rows that are nearest to each center."""
    labels = block.labels(centers, n_threads)
    weights = np.bincount(labels, block.sample_weight, len(centers)).astype(np.float64)
    return Statistics(bound=0.0, weight=1.0, weights=weights)
