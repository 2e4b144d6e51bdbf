"""Mixtures of discrete distributions by EM in plain NumPy, as the textbook writes them.

E-step   r_ik = w_i pi_k f(x_i | theta_k) / sum_l pi_l f(x_i | theta_l)
M-step   pi_k = sum_i r_ik / sum_i w_i, and with sums over the samples in which feature j is known
         Bernoulli, binomial   p_kj  = sum_i r_ik x_ij / sum_i r_ik n_j
         Poisson               l_kj  = sum_i r_ik x_ij / sum_i r_ik
         multinomial           p_kj  = sum_i r_ik x_ij / sum_ij r_ik x_ij
         categorical           p_kjc = sum_i r_ik [x_ij = c] / sum_i r_ik

McLachlan & Peel (2000), *Finite Mixture Models*, chapter 5; Bishop (2006), section 9.3.3. NaN is a
value that is missing: its factor is left out. What is next to impossible has probability 1e-300. An
iteration on complete data makes two matrix products, which is as fast as NumPy can be.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.special import gammaln

TINY = 1e-300
FAMILIES = ("bernoulli", "binomial", "categorical", "multinomial", "poisson")


class Params(NamedTuple):
    """Weights (K,); probabilities or rates (K, D), categorical (K, D, C)."""

    weights: np.ndarray
    values: np.ndarray


class Data(NamedTuple):
    """What the iterations need of X, made once."""

    x: np.ndarray  # (n, D) with 0 for NaN, categorical (n, D C) one-hot, as CSR
    known: np.ndarray | None  # (n, D) as reals; None: everywhere
    constant: np.ndarray | float  # (n, 1) of each sample's log-probability, in all components


def prepare(X, family, n_trials=1, n_categories=None):
    """Data of X, of counts given their total also CSR; `n_categories` is C."""
    if issparse(X):
        factorials = X.copy()
        factorials.data = gammaln(X.data + 1)
        constant = gammaln(X.sum(axis=1) + 1) - factorials.sum(axis=1)
        return Data(X, None, constant[:, np.newaxis])
    missing = np.isnan(X)
    x = np.where(missing, 0, X)
    known = (~missing).astype(float) if missing.any() else None
    constant = 0.0
    if family == "binomial":
        choose = gammaln(n_trials + 1) - gammaln(X + 1) - gammaln(n_trials - X + 1)
        constant = np.nansum(choose, axis=1, keepdims=True)
    elif family in ("multinomial", "poisson"):
        constant = -gammaln(x + 1).sum(axis=1, keepdims=True)
        if family == "multinomial":
            constant += gammaln(x.sum(axis=1, keepdims=True) + 1)
    elif family == "categorical":
        columns = x.astype(np.int64) + n_categories * np.arange(X.shape[1])
        rows = np.broadcast_to(np.arange(len(X))[:, np.newaxis], X.shape)
        there = ~missing
        shape = len(X), X.shape[1] * n_categories
        x = csr_array((np.ones(there.sum()), (rows[there], columns[there])), shape)
    return Data(x, known, constant)


def log_prob(data, values, family, n_trials=1):
    """log f(x_i | theta_k), shape (n, K): one product, and one more where values are missing."""
    known = data.known
    if family in ("bernoulli", "binomial"):
        failing = np.log(np.maximum(1 - values, TINY))
        odds = np.log(np.maximum(values, TINY)) - failing
        failure = n_trials * failing
        result = data.x @ odds.T
        result += failure.sum(axis=1) if known is None else known @ failure.T
    elif family == "categorical":
        result = data.x @ np.log(values).reshape(len(values), -1).T
    else:
        result = data.x @ np.log(np.maximum(values, TINY)).T
        if family == "poisson":
            result -= values.sum(axis=1) if known is None else known @ values.T
    return result + data.constant


def one_hot(X, category):
    """Whether the values are of a category, as reals; missing ones are of none."""
    return (category == X).astype(float)


def e_step(X, params, family, n_trials=1, sample_weight=None):
    """Statistics of X, or of Data, under `params`: see the comments beside the returned fields."""
    data, shape = X, params.values.shape
    if not isinstance(X, Data):
        data = prepare(X, family, n_trials, shape[-1])
    r = log_prob(data, params.values, family, n_trials)
    if sample_weight is None:
        sample_weight = np.ones(len(r))
    r += np.log(params.weights)
    largest = r.max(axis=1, keepdims=True)
    r -= largest
    np.exp(r, out=r)
    total = r.sum(axis=1, keepdims=True)
    log_likelihood = (largest + np.log(total))[:, 0]
    r *= sample_weight[:, np.newaxis] / total
    resp = r.sum(axis=0)
    known = np.repeat(resp[:, np.newaxis], shape[1], axis=1)
    return {
        "bound": sample_weight @ log_likelihood,  # sum_i w_i log p(x_i)
        "weight": sample_weight.sum(),  # sum_i w_i
        "resp": resp,  # (K,) sum_i r_ik
        # (K, D) sum_i r_ik x_ij, categorical (K, D, C) sum_i r_ik [x_ij = c]
        "first": (data.x.T @ r).T.reshape(shape),
        # (K, D) sum_i r_ik over the samples that have x_ij
        "known": known if data.known is None else r.T @ data.known,
    }


def m_step(stats, family, n_trials=1):
    """Parameters from statistics: maximum likelihood."""
    first, known = stats["first"], stats["known"]
    if family == "multinomial":
        values = first / first.sum(axis=1, keepdims=True)
    elif family == "categorical":
        values = first / known[:, :, np.newaxis]
    else:
        values = first / (known * n_trials)
    return Params(stats["resp"] / stats["weight"], values)


def fit(X, params, family, n_iter, n_trials=1, sample_weight=None):
    """`n_iter` turns of E and M; each lower bound belongs to the parameters before its M-step."""
    lower_bounds = []
    data = prepare(X, family, n_trials, params.values.shape[-1])
    for _ in range(n_iter):
        stats = e_step(data, params, family, n_trials, sample_weight)
        lower_bounds.append(stats["bound"] / stats["weight"])
        params = m_step(stats, family, n_trials)
    return params, lower_bounds
