"""Clusters for a mixture to begin with: the labels that scikit-learn's KMeans finds.

Where rounding decides between two centers, scikit-learn may give a sample another label than the
kernel here, and with it another start and another mixture. So each iteration looks whether any
sample's two nearest centers are so nearly as near as each other. On continuous data that hardly
ever happens; on grids and with rounded measurements it does in the first iteration, whose centers
are samples, and there scikit-learn's own function decides. Where it happens later, scikit-learn's
KMeans begins again from the same centers.
"""

from __future__ import annotations

import math

import numpy as np
from sklearn.cluster import KMeans

from fastem._compat import lloyd_iteration
from fastem.cluster.lloyd import KMeansBlock, KMeansEM, KMeansParams, shift, useful_threads
from fastem.cluster.plusplus import Rows, draw_rows

__all__ = ["labels_like_scikit_learn"]

_TOL, _MAX_ITER = 1e-4, 300  # the defaults of KMeans
_MOST = 2.0**300  # scale, beyond which squares are lost
_FAR = 100.0  # squared: so much farther from 0 than from their mean, rows lose digits that count
_CLOSE = 1e-6  # relative: a shift so near to the tolerance might end a fit or not


def labels_like_scikit_learn(X, n_clusters, sample_weight, random_state, n_jobs):
    """Return the labels that scikit-learn's KMeans finds with one start and its defaults.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        In float32, where rounding decides much more, scikit-learn's KMeans itself runs.
    n_clusters : int
    sample_weight : ndarray of shape (n,), float64, or None
    random_state : RandomState
        Used as scikit-learn uses it.
    n_jobs : int or None

    Returns
    -------
    labels : ndarray of shape (n,), int32
    """
    n_threads = useful_threads(n_jobs, X.shape, n_clusters)
    if X.dtype == np.float64:
        X = np.require(X, requirements="CA")
        block = KMeansBlock(X, sample_weight, n_threads)
    if X.dtype != np.float64 or not 1 / _MOST < block.scale < _MOST:
        kmeans = KMeans(n_clusters, n_init=1, random_state=random_state)
        return kmeans.fit(X, sample_weight=sample_weight).labels_
    mean = X.mean(axis=0)
    variance, length = block.spread(mean, n_threads)
    rows = Rows(X, sample_weight, length, n_jobs, shift=mean)
    drawn = draw_rows(rows, n_clusters, random_state)
    rows.release()
    if block.mean_square > _FAR * variance * X.shape[1]:
        block, mean = KMeansBlock(X - mean, sample_weight, n_threads), np.zeros(X.shape[1])
    # A center's sum rounds once a row; how scikit-learn's rounds is not known, but for its size.
    slack = 4 * math.sqrt(X.shape[0])
    model = KMeansEM(_TOL * variance, X.dtype, n_threads, slack=slack)
    labels = _certain_labels(model, block, mean, drawn)
    if labels is not None:
        return labels
    kmeans = KMeans(n_clusters, init=X[drawn], n_init=1)
    return kmeans.fit(X, sample_weight=sample_weight).labels_


def _certain_labels(model, block, mean, drawn):
    """Return the labels at the end of k-means, or None where rounding might have decided one."""
    params = KMeansParams(block.X[drawn], block.X.shape[0])
    state = model.first_state(params, block)
    for iteration in range(_MAX_ITER):
        statistics, state = model.e_step(params, block, state, spare=state)
        before = params
        if iteration == 0 and state.n_open:
            params, state = _first_iteration(model, block, mean, drawn)
        elif state.n_open or not np.all(state.weights > 0):
            return None
        else:
            params = model.m_step(statistics)
        if params.n_changed == 0:
            return state.labels
        moved = shift(before, params)
        if abs(moved - model.tol) <= _CLOSE * model.tol:
            return None
        if moved <= model.tol:
            break
    state = model.e_step(params, block, state, spare=state)[1]
    return None if state.n_open else state.labels


def _first_iteration(model, block, mean, drawn):
    """Return parameters and state after a first iteration by scikit-learn's own function.

    Its first centers are samples, so that all of its arithmetic is known.
    """
    X = block.X - mean
    n, k = len(X), len(drawn)
    weight = np.ones(n) if block.sample_weight is None else block.sample_weight
    labels, centers = np.full(n, -1, np.int32), np.empty((k, X.shape[1]))
    lloyd_iteration(X, weight, X[drawn], centers, np.zeros(k), labels, np.zeros(k), model.n_threads)
    state = model.first_state(None, block)._replace(labels=labels)
    return KMeansParams(centers + mean, n), state
