"""algorithm='truncated': each sample knows a few of many components, until the last iterations."""

from __future__ import annotations

import copy

import numpy as np
from sklearn.utils import check_random_state

from fastem.cluster.lloyd import KMeansBlock
from fastem.cluster.plusplus import Rows, draw_rows
from fastem.components.truncated import Search, TruncatedEM, hard_moments

__all__ = ["KINDS_KNOWN", "moments_of_clusters", "truncated_model"]

KINDS_KNOWN = ("diag", "spherical")


def truncated_model(estimator, model):
    """Return the truncated E-steps of a model, for the driver."""
    random_state = copy.deepcopy(estimator.random_state)  # it is left as it is
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    return TruncatedEM(model, estimator.tol, estimator.max_iter, seed)


def moments_of_clusters(model, block, n_components, random_state):
    """Return the moments of clusters that truncated k-means finds from k-means++'s centers.

    Parameters
    ----------
    model : GaussianEM
        Of kind 'diag' or 'spherical'.
    block : GaussianBlock
    n_components : int
    random_state : RandomState
    """
    X = np.require(block.X, requirements="C")
    length = KMeansBlock(X, block.sample_weight, model.n_threads).length
    rows = Rows(X, block.sample_weight, length, model.n_threads, keep=True)
    means = X[draw_rows(rows, n_components, random_state)].astype(np.float64)
    rows.release()
    unit = np.full(means.shape, block.scaling.scale.min())

    def search(means):
        return Search(block.scaling, means, unit, np.zeros(len(means)), model.n_threads)

    return hard_moments(search, means, block, model.kind)
