"""K-means in one call of the kernel, which keeps between iterations what suits it: of dense samples
their margins, of sparse ones centers in another order. Of few samples, Python takes longer than an
E-step."""

from __future__ import annotations

import math

import scipy.sparse as sp

from fastem import em
from fastem._kernels import kmeans as kernel
from fastem._kernels import runtime
from fastem.cluster.bounds import error_of
from fastem.cluster.lloyd import Assignment, KMeansParams

__all__ = ["fit_in_one_call", "fit_restarts", "in_one_call"]


def in_one_call(block, n_clusters):
    """Return whether :func:`fit_in_one_call` gives what the driver would; nearly, if X is sparse.

    Not where values are missing or weights negative. The driver sums many weighted samples by those
    that move, once it has bounds, which rounds in another way.
    """
    if block.incomplete or (block.sample_weight is not None and block.sample_weight.min() < 0):
        return False
    if block.sample_weight is None or sp.issparse(block.X):
        return True
    return kernel.work(*block.X.shape, n_clusters) < runtime.LEAST_WORK


def fit_in_one_call(model, block, params, state, max_iter) -> em.Result | None:
    """Return what the driver would, from some parameters on.

    To the last bit, where samples are dense and :func:`in_one_call`; unless a third of the labels
    changes again after they had settled, where the driver goes on to sum the rows that move.

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
    try:
        found = lloyd(model, block, params, state, max_iter)
    except KeyboardInterrupt as interrupt:
        reached = getattr(interrupt, "reached", None)
        if reached is not None and reached[2]:
            interrupt.result = _result(model, reached, False, [])  # type: ignore[attr-defined]
        raise
    if found is None:
        return None
    *reached, converged, n_open = found
    state = Assignment(state.labels, reached[1], 0.0, 0.0, 0.0, None, n_open)
    return _result(model, reached, converged, [state])


def _result(model, reached, converged, states):
    centers, n_changed, lower_bounds = reached
    params = KMeansParams(centers.astype(model.dtype, copy=False), n_changed)
    bound = lower_bounds[-1] if lower_bounds else 0.0
    return em.Result(params, bound, lower_bounds, len(lower_bounds), converged, states)


def _lloyd(model, block, params, state, max_iter):
    n_clusters = len(params.centers)
    share = 0.0 if block.sample_weight is not None else state.share_moved(block, n_clusters)
    guarded = model.slack is not None
    roundings = error_of(0 * params.centers, block, model.slack or 0.0)
    return kernel.lloyd(
        block.job(params.centers), state.labels, block.squares, block.total_weight or 1.0,
        model.tol, max_iter, share, roundings, guarded, block.length, model.n_threads,
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
        result = fit_in_one_call(model, block, params, model.first_state(params, block), max_iter)
        if result is None:
            result = em.run(
                model, [block], params, schedule="batch", tol=0.0, max_iter=max_iter,
                evaluate_every=1, n_init=1, lower_bound=-math.inf, callbacks=(), verbose=0,
                verbose_interval=1,
            )  # fmt: skip
        watcher.on_init_end(init, result)
