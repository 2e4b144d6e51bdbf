"""K-means in one call of the kernel: of few samples, for which Python takes longer than an E-step,
and of sparse ones, whose centers can stay in an order that suits sparse rows."""

from __future__ import annotations

import math

import scipy.sparse as sp

from fastem import em
from fastem._kernels import kmeans as kernel
from fastem._kernels import runtime
from fastem.cluster.bounds import error_of
from fastem.cluster.lloyd import Assignment, KMeansParams

__all__ = ["fit_few", "fit_restarts", "is_few", "is_sparse"]


def is_few(block, n_clusters):
    """Return whether an E-step on these samples is not worth a second thread, nor bounds."""
    if sp.issparse(block.X) or block.incomplete or _has_negative_weights(block):
        return False
    return kernel.work(*block.X.shape, n_clusters) < runtime.LEAST_WORK


def is_sparse(block):
    """Return whether samples are sparse, and their weights not negative."""
    return sp.issparse(block.X) and not _has_negative_weights(block)


def _has_negative_weights(block):
    return block.sample_weight is not None and block.sample_weight.min() < 0


def fit_few(model, block, params, state, max_iter) -> em.Result | None:
    """Return what the driver would, from some parameters on: to the last bit, if X is dense.

    None where a cluster has lost all of its samples: the driver repairs that.

    Parameters
    ----------
    model : KMeansEM
    block : KMeansBlock
    params : KMeansParams
    state : Assignment
        Its labels are written over.
    max_iter : int
    """
    lloyd = _lloyd_sparse if sp.issparse(block.X) else _lloyd
    found = lloyd(model, block, params, state, max_iter)
    if found is None:
        return None
    centers, n_changed, lower_bounds, converged, n_open = found
    params = KMeansParams(centers.astype(model.dtype, copy=False), n_changed)
    state = Assignment(state.labels, n_changed, 0.0, 0.0, 0.0, None, n_open)
    bound = lower_bounds[-1] if lower_bounds else 0.0
    return em.Result(params, bound, lower_bounds, len(lower_bounds), converged, [state])


def _lloyd(model, block, params, state, max_iter):
    n_clusters = len(params.centers)
    share = 0.0 if block.sample_weight is not None else state.share_moved(block, n_clusters)
    roundings = None if model.slack is None else error_of(0 * params.centers, block, model.slack)
    return kernel.lloyd(
        block.job(params.centers), state.labels, block.squares, block.total_weight or 1.0,
        model.tol, max_iter, share, roundings, block.length,
    )  # fmt: skip


def _lloyd_sparse(model, block, params, state, max_iter):
    return kernel.lloyd_sparse(
        block.job(params.centers), state.labels, block.squares, block.total_weight or 1.0,
        model.tol, max_iter, block.length, model.n_threads,
    )  # fmt: skip


def fit_restarts(model, block, start, n_init, max_iter, watcher):
    """Run restarts from ``start(init)``, and tell the watcher of each at its end."""
    for init in range(n_init):
        params = start(init)
        result = fit_few(model, block, params, model.first_state(params, block), max_iter)
        if result is None:
            result = em.run(
                model, [block], params, schedule="batch", tol=0.0, max_iter=max_iter,
                evaluate_every=1, n_init=1, lower_bound=-math.inf, callbacks=(), verbose=0,
                verbose_interval=1,
            )  # fmt: skip
        watcher.on_init_end(init, result)
