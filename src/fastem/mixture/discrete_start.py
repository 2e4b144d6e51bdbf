"""How a mixture of discrete distributions begins: clusters, rows, or random responsibilities."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import row_norms

from fastem._compat import pick_by_kmeans_plusplus
from fastem._engine.statistics import Statistics
from fastem.cluster.kmeans import KMeans
from fastem.components.discrete import DiscreteParams

__all__ = ["METHODS", "start"]

METHODS = ("k-means++", "kmeans", "random", "random_from_data")

_CLUSTERINGS, _CLUSTERING_ITER = 4, 30
_CLUSTER_SHARE = 0.95  # of a cluster's own mean in its component; the rest is the mean of all rows
_DENSE_SIZE = 4 << 20  # sparse points of no more numbers are made dense: k-means is faster then
_MOST_ROWS, _ROWS_EACH = 20_000, 200  # rows that are clustered: no more than either asks for


def start(method, model, block, X, n_components, random_state) -> DiscreteParams:
    """Return the first parameters by one of the methods.

    Parameters
    ----------
    method : {'kmeans', 'k-means++', 'random_from_data', 'random'}
        Each component is a cluster; or lies half-way between a sample far from the others' and the
        mean of all; or somewhere between a random sample and that mean; or responsibilities are
        random.
    model : DiscreteEM
    block : CodedBlock
    X : ndarray or csr_array of shape (n, D)
        The samples of the block.
    n_components : int
    random_state : RandomState
    """
    weight = block.sample_weight
    share = np.full(block.n_samples, 1 / block.total_weight)
    share = share if weight is None else share * weight
    if method == "random":
        resp, terms = _random_sums(model, block, share, n_components, random_state)
    elif method == "kmeans":
        labels = _labels(model.family, X, weight, n_components, random_state)
        resp, terms = block.given(labels, weight, n_components, model.n_threads)
        everyone = terms.sum(axis=1)[:, None] * (resp / resp.sum())
        terms = _CLUSTER_SHARE * terms + (1 - _CLUSTER_SHARE) * everyone
    else:
        picked, nearness = _picked(method, model.family, X, share, n_components, random_state)
        labels = np.full(block.n_samples, -1)
        labels[picked] = np.arange(n_components)
        resp, own = block.given(labels, None, n_components, model.n_threads)
        labels[:] = 0
        everyone = block.given(labels, share, 1, model.n_threads)[1]
        terms = own * nearness + everyone * (1 - nearness)
    return model.m_step(Statistics(bound=0.0, weight=1.0, resp=resp, terms=terms))


def _random_sums(model, block, share, n_components, random_state):
    """Return total responsibilities and sums of terms under uniform random responsibilities."""
    resp = terms = 0.0
    for first, last in block.parts(n_components):
        given = random_state.uniform(size=(last - first, n_components))
        given *= (share[first:last] / given.sum(axis=1))[:, None]
        more = block.given(given, None, n_components, model.n_threads, first)
        resp, terms = resp + more[0], terms + more[1]
    return resp, terms


def _picked(method, family, X, share, n_components, random_state):
    """Return a row for each component, and how near to it the component begins, 0 to 1."""
    if method == "k-means++":
        points = family.points(X)
        picked = pick_by_kmeans_plusplus(
            points,
            n_components,
            row_norms(points, squared=True),
            share.astype(np.float32) * np.float32(len(share)),
            random_state,
        )[1]
        return picked, np.full(n_components, 0.5)
    even = np.all(share == share[0])
    picked = random_state.choice(X.shape[0], n_components, replace=False, p=None if even else share)
    return picked, random_state.uniform(0.25, 0.75, n_components)


def _labels(family, X, weight, n_components, random_state):
    """Return the cluster of each row, (n,), -1 of rows that were not looked at; all clusters occur.

    The best of a few short runs: EM that follows settles what they leave open. Of many rows a
    random sample is clustered, which costs no more than a few iterations of EM.
    """
    n = X.shape[0]
    rows = np.arange(n) if weight is None else np.flatnonzero(weight)
    most = max(_MOST_ROWS, _ROWS_EACH * n_components)
    if len(rows) > most:
        rows = np.sort(random_state.choice(rows, most, replace=False))
    labels = np.full(n, -1)
    points = family.points(X if len(rows) == n else X[rows])
    if sp.issparse(points) and points.shape[0] * points.shape[1] <= _DENSE_SIZE:
        points = points.toarray()
    clustering = KMeans(
        n_components,
        n_init=_CLUSTERINGS,
        max_iter=_CLUSTERING_ITER,
        random_state=random_state,
        copy_x=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # too few rows differ: see below
        found = clustering.fit(points, sample_weight=None if weight is None else weight[rows])
    own = found.labels_.astype(np.int64)
    counts = np.bincount(own, minlength=n_components)
    for empty in np.flatnonzero(counts == 0).tolist():  # a component without a row would stay so
        others = np.flatnonzero(counts[own] > 1)
        row = others[random_state.randint(len(others))]
        counts[own[row]] -= 1
        own[row] = empty
        counts[empty] = 1
    labels[rows] = own
    return labels
