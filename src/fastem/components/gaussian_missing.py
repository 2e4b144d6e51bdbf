"""Samples of Gaussian components of which some values are missing (NaN), missing at random.

Expectations given the rest, and what is not known of them, take the place of missing values in the
moments (Ghahramani & Jordan 1994, *Supervised learning from incomplete data via an EM approach*;
Little & Rubin 2002, *Statistical analysis with missing data*, 11.2). Spherical covariances are
computed as diagonal ones, and moments pooled afterwards. In float64.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from fastem._engine.statistics import Moments
from fastem._kernels import gaussian as kernel
from fastem.components.covariances import KINDS
from fastem.components.gaussian_data import n_columns, sorted_by_pattern

__all__ = ["imputed", "incomplete_moments", "incomplete_rows", "moments_of_sums"]

#: Moments about the old means are kept where correcting them for the new ones took away at most so
#: many times what is left.
_MOST_LOST = 30
_LEAST_LEFT = 1e-6  # of second moments, without those of the means, for their digits to be enough
_MOST_PASSES = 4  # about new means: each leaves a mean at most 1e-16 of the way that it came


def moments_of_sums(sums, kind, scaling, center):
    """Return the moments that weight, first and second about `center` are, and if digits were lost.

    They are where a mean has moved far: then most of what was summed about `center` is taken off.
    The sums are those of components of the kind `inner`, in the kernel's units.
    """
    weight, mean, scatter = sums
    shift, unit = scaling
    lost = kernel.about_means(weight, mean, scatter, unit, center, shift, _MOST_LOST)
    return Moments(weight, mean, KINDS[kind].pool(scatter), kind), lost


def incomplete_moments(params, kind, block, n_threads):
    """Return the bound, the components' moments, and the weight of the noise."""
    scaling, centers = block.scaling, None
    if KINDS[kind].shared:
        found = _tied_moments(params, kind, block, n_threads)
        if found is not None:
            return found
    for _ in range(_MOST_PASSES):
        job = _job(block.X, params, kind, scaling)
        scaled = None if centers is None else (centers - scaling.shift) * scaling.scale
        bound, *sums, noise = kernel.incomplete_moments(job, block.sample_weight, scaled, n_threads)
        about = params.means if centers is None else centers
        moments, lost = moments_of_sums(sums, kind, scaling, about)
        if not lost:
            break
        centers = moments.mean  # some mean has moved far: once more, about the new ones
    return bound, moments, noise


def _tied_moments(params, kind, block, n_threads):
    """Return what :func:`incomplete_moments` does of components with one covariance.

    Their scatter is what remains of all second moments without those of the means. None where that
    is little, so that digits are lost.
    """
    scaling = block.scaling
    job = scaling.job(block.X, params, kind, make=kernel.IncompleteJob)
    bound, weight, first, second, noise = kernel.incomplete_moments(
        job, block.sample_weight, None, n_threads
    )
    share = first / np.where(weight > 0, weight, 1)[:, None]
    scatter = second - (weight[:, None] * share).T @ share
    if not np.all(scatter.diagonal() >= _LEAST_LEFT * second.diagonal()):
        return None
    mean = np.where(weight[:, None] > 0, scaling.shift + share / scaling.scale, params.means)
    scatter /= np.outer(scaling.scale, scaling.scale)
    return bound, Moments(weight, mean, scatter, kind), noise


def incomplete_rows(X, params, kind, output, n_threads, scaling):
    """Return 'labels', 'log_prob' or 'responsibilities' of samples, of what is there of them."""
    order = sorted_by_pattern(np.isnan(X))
    X = X[order].astype(np.float64, copy=False)
    shape = (len(X), n_columns(params)) if output == "responsibilities" else (len(X),)
    out, log_prob = np.empty(shape, np.int64 if output == "labels" else np.float64), None
    if output == "log_prob":
        log_prob = out
    given = {name: out if name == output else None for name in ("responsibilities", "labels")}
    if KINDS[kind].shared:
        job = scaling.job(X, params, kind, make=kernel.IncompleteJob)
    else:
        job = _job(X, params, kind, scaling)
    kernel.rows(job, log_prob, given["responsibilities"], given["labels"], n_threads)
    back = np.empty_like(out)
    back[order] = out
    return back


def _job(X, params, kind, scaling):
    """Return the kernel's job for components with a covariance of their own each."""
    each = KINDS[kind].each(params.precisions_cholesky, *params.means.shape)
    params = params._replace(precisions_cholesky=each)
    return scaling.job(X, params, KINDS[kind].inner, make=kernel.IncompleteJob)


def imputed(X, params, kind, share, random_state=None):
    """Return samples with values in place of NaN: expected ones, or drawn ones.

    Parameters
    ----------
    X : ndarray of shape (n, D)
    params : GaussianParams
    kind : str
    share : ndarray of shape (n, K), with noise (n, K + 1)
        Responsibilities.
    random_state : RandomState or None
        None: expected values.
    """
    out, lost = X.astype(np.float64), np.isnan(X)
    rows = np.flatnonzero(lost.any(axis=1))
    rows = rows[sorted_by_pattern(lost[rows])]
    ends = np.flatnonzero((lost[rows[1:]] != lost[rows[:-1]]).any(axis=1)) + 1
    each = KINDS[kind].each(params.precisions_cholesky, *params.means.shape)
    precisions = KINDS[KINDS[kind].inner].precisions(each)
    if precisions.ndim == 2:
        precisions = precisions[:, :, None] * np.eye(precisions.shape[1])
    means, noise = params.means, params.noise
    if noise is not None:  # a component of the box's center and variances, by which none is moved
        means = np.vstack([means, noise.center])
        precisions = np.concatenate([precisions, [np.diag(12 / noise.sides**2)]])
    if random_state is not None:  # the component of each sample, and standard normal numbers
        chosen = share[rows].cumsum(axis=1) < random_state.uniform(size=(len(rows), 1))
        share = np.zeros_like(share)
        share[rows, np.minimum(chosen.sum(axis=1), share.shape[1] - 1)] = 1
        normal = random_state.standard_normal(X.shape)
    for run in np.split(rows, ends) if len(rows) else ():
        gone = lost[run[0]]
        seen, values = out[np.ix_(run, ~gone)], np.zeros((len(run), gone.sum()))
        for k in np.flatnonzero(share[run].any(axis=0)):
            own, mean = share[run, k, None], means[k]
            block = precisions[k][np.ix_(gone, gone)]
            pull = (seen - mean[~gone]) @ precisions[k][np.ix_(~gone, gone)]
            expected = mean[gone] - np.linalg.solve(block, pull.T).T
            if random_state is not None and k < len(params.means):
                root = np.linalg.cholesky(block)  # L L^T = precision: L^-T normal has its inverse
                expected += np.linalg.solve(root.T, normal[np.ix_(run, gone)].T).T
            elif random_state is not None:
                expected += noise.sides[gone] * (ndtr(normal[np.ix_(run, gone)]) - 0.5)
            values += np.where(own > 0, own * expected, 0)
        out[np.ix_(run, gone)] = values
    return out
