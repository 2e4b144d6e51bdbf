"""Clusters for a model to begin with: those that scikit-learn's KMeans finds.

Where rounding decides between two centers, scikit-learn may give a sample another label than the
kernel here, and with it another start and another mixture. So each iteration looks whether any
sample's two nearest centers are so nearly as near as each other. On continuous data that hardly
ever happens; on grids and with rounded measurements it does in the first iteration, whose centers
are samples, and there scikit-learn's own function decides. Where it happens later, scikit-learn's
KMeans begins again from the same centers.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.cluster import KMeans

from fastem._compat import lloyd_iteration
from fastem._engine.threads import single_threaded_openmp
from fastem.cluster.data import lies_in_file
from fastem.cluster.lloyd import (
    Assignment,
    KMeansBlock,
    KMeansEM,
    KMeansParams,
    shift,
    useful_threads,
)
from fastem.cluster.missing import IncompleteBlock, IncompleteKMeansEM, imputed
from fastem.cluster.one_call import fit_in_one_call
from fastem.cluster.plusplus import Rows, draw_rows
from fastem.components.gaussian_data import observed_moments

__all__ = ["Clusters", "clusters_like_scikit_learn", "known_clusters"]

_TOL, _MAX_ITER = 1e-4, 300  # the defaults of KMeans
_MOST = 2.0**300  # scale, beyond which squares are lost
_FAR = 100.0  # squared: so much farther from 0 than from their mean, rows lose digits that count
_EPS = np.finfo(np.float64).eps
_CLOSE = 1e-6  # relative: a shift so near to the tolerance might end a fit or not
_CHUNK = 256  # rows that scikit-learn shares out: of fewer, further threads only wait


class Clusters(NamedTuple):
    """What k-means finds."""

    labels: np.ndarray  # (n,) int32
    centers: np.ndarray  # (K, D) of the data's dtype
    inertia: float  # NaN where nothing asks for it


def clusters_like_scikit_learn(X, n_clusters, sample_weight, random_state, n_jobs, n_init=1):
    """Return the clusters that scikit-learn's KMeans finds with its defaults.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        In float32, where rounding decides much more, scikit-learn's KMeans itself runs.
    n_clusters : int
    sample_weight : ndarray of shape (n,), float64, or None
    random_state : RandomState
        Used as scikit-learn uses it.
    n_jobs : int or None
    n_init : int, default=1
        Number of starts, of which the one with the smallest inertia is returned.

    Returns
    -------
    Clusters
        The labels are the same; centers are but for rounding.
    """
    n_threads = useful_threads(n_jobs, X.shape, n_clusters)
    if X.dtype == np.float64:
        X = np.require(X, requirements=["C", "A"])
        block = KMeansBlock(X, sample_weight, n_threads)
    if X.dtype != np.float64 or not 1 / _MOST < block.scale < _MOST:
        return _scikit_learn_s(X, n_clusters, sample_weight, random_state, n_init)
    before = random_state.get_state()
    mean = X.mean(axis=0)
    variance, length = block.spread(mean, n_threads)
    rows = Rows(X, sample_weight, length, n_jobs, shift=mean)
    origin = np.zeros(X.shape[1])
    if block.mean_square > _FAR * variance * X.shape[1]:
        if lies_in_file(X):
            block = KMeansBlock(X, sample_weight, n_threads, mean)
        else:  # to subtract once is faster
            block = KMeansBlock(X - mean, sample_weight, n_threads)
        mean, origin = origin, mean
    # A center's sum rounds once a row; how scikit-learn's rounds is not known, except for its size.
    slack = 4 * math.sqrt(X.shape[0])
    model = KMeansEM(_TOL * variance, X.dtype, n_threads, slack=slack)
    best, certain = None, True
    for init in range(n_init):
        drawn = draw_rows(rows, n_clusters, random_state)
        if init == n_init - 1:
            rows.release()
        found = _certain_clusters(model, block, mean, drawn, n_init > 1)
        if found is None:
            found = _scikit_learn_s(X, n_clusters, sample_weight, None, 1, init=X[drawn])
        else:
            found = found._replace(centers=found.centers + origin)
        if best is None:
            best = found
            # A squared difference is off by the rounding of x; a sum of them rounds once a row.
            off = slack * 8 * _EPS * math.sqrt(max(0.0, block.squares) * best.inertia)
        elif found.inertia < best.inertia + off and not _same(found, best):
            certain = certain and found.inertia < best.inertia - off
            best = found
    if certain:
        return best
    again = np.random.RandomState()
    again.set_state(before)
    return _scikit_learn_s(X, n_clusters, sample_weight, again, n_init)


def _scikit_learn_s(X, n_clusters, sample_weight, random_state, n_init, init="k-means++"):
    """Return the clusters of scikit-learn's KMeans."""
    few = single_threaded_openmp() if len(X) <= _CHUNK else nullcontext()
    with few, config_context(assume_finite=True, skip_parameter_validation=True):
        kmeans = KMeans(n_clusters, init=init, n_init=n_init, random_state=random_state)
        kmeans.fit(X, sample_weight=sample_weight)
    return Clusters(kmeans.labels_, kmeans.cluster_centers_, kmeans.inertia_)


def _same(one, other):
    """Return whether labels are the same but for the clusters' numbers; no cluster is empty."""
    k = len(one.centers)
    return np.count_nonzero(np.bincount(one.labels.astype(np.int64) * k + other.labels)) == k


def known_clusters(block, n_clusters, random_state, n_jobs):
    """Return samples with their centers' values in place of what is missing, and their labels.

    The centers are those of k-means with missing values.

    Parameters
    ----------
    block : GaussianBlock
    n_clusters : int
    random_state : RandomState
    n_jobs : int or None

    Returns
    -------
    block : GaussianBlock
    labels : ndarray of shape (n,), int32
    """
    mean = observed_moments(block.X, block.sample_weight)[1]
    n_threads = useful_threads(n_jobs, block.X.shape, n_clusters)
    samples = IncompleteBlock(block.X - mean, block.sample_weight, n_threads)
    complete = samples.drawn_from
    rows = Rows(complete, samples.sample_weight, samples.length, n_jobs)
    drawn = draw_rows(rows, n_clusters, random_state)
    model = IncompleteKMeansEM(_TOL * samples.mean_variance(), np.float64, n_threads)
    params, state = KMeansParams(complete[drawn], len(complete)), Assignment.none_yet(samples)
    for _ in range(_MAX_ITER):
        statistics, state = model.e_step(params, samples, state, spare=state)
        before, params = params, model.m_step(statistics)
        if model.converged(before, params):
            break
    labels = samples.labels(params.centers, n_threads)
    X = imputed(block.X, params.centers + mean, labels)
    return block._replace(X=X, missing=False), labels


def _certain_clusters(model, block, mean, drawn, inertia):
    """Return the clusters at the end of k-means, or None where rounding might have decided one."""
    params = KMeansParams(block.rows(drawn), block.X.shape[0])
    result = fit_in_one_call(model, block, params, model.first_state(params, block), _MAX_ITER)
    if result is not None and result.n_iter == 0 and result.states[0].n_open:
        before = params
        params, state = _first_iteration(model, block, mean, drawn)
        moved = shift(before, params)
        if moved <= model.tol * (1 + _CLOSE):  # as good as never
            return None
        result = fit_in_one_call(model, block, params, state, _MAX_ITER - 1)
    if result is None or result.states[0].n_open:
        return None
    state, centers = result.states[0], result.params.centers
    if result.params.n_changed > 0:  # the last labels are those of the centers before
        state = model.e_step(result.params, block, model.first_state(None, block))[1]
    if state.n_open:
        return None
    of_all = block.inertia(centers, state.labels, model.n_threads) if inertia else math.nan
    return Clusters(state.labels, centers, of_all)


def _first_iteration(model, block, mean, drawn):
    """Return parameters and state after a first iteration by scikit-learn's own function.

    Its first centers are samples, so that all of its arithmetic is known.
    """
    X = block.rows(slice(None)) - mean
    n, k = len(X), len(drawn)
    weight = np.ones(n) if block.sample_weight is None else block.sample_weight
    labels, centers = np.full(n, -1, np.int32), np.empty((k, X.shape[1]))
    lloyd_iteration(X, weight, X[drawn], centers, np.zeros(k), labels, np.zeros(k), model.n_threads)
    state = model.first_state(None, block)._replace(labels=labels)
    return KMeansParams(centers + mean, n), state
