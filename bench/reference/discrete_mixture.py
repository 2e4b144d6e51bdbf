"""Mixtures of discrete distributions by EM in plain NumPy, as the textbook writes them.

E-step   r_ik = w_i pi_k f(x_i | theta_k) / sum_l pi_l f(x_i | theta_l)
M-step   pi_k = sum_i r_ik / sum_i w_i, and with sums over the samples in which feature j is known
         Bernoulli, binomial   p_kj  = sum_i r_ik x_ij / sum_i r_ik n_j
         Poisson               l_kj  = sum_i r_ik x_ij / sum_i r_ik
         multinomial           p_kj  = sum_i r_ik x_ij / sum_ij r_ik x_ij
         categorical           p_kjc = sum_i r_ik [x_ij = c] / sum_i r_ik

McLachlan & Peel (2000), *Finite Mixture Models*, chapter 5; Bishop (2006), section 9.3.3. NaN is a
value that is missing: its factor is left out. Probabilities must be above 0 and below 1.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

FAMILIES = ("bernoulli", "binomial", "categorical", "multinomial", "poisson")


class Params(NamedTuple):
    """Weights (K,); probabilities or rates (K, D), categorical (K, D, C)."""

    weights: np.ndarray
    values: np.ndarray


def log_prob(X, values, family, n_trials=1):
    """log f(x_i | theta_k), shape (n, K)."""
    known = ~np.isnan(X)
    x = np.where(known, X, 0)
    if family in ("bernoulli", "binomial"):
        failures = np.where(known, n_trials - X, 0)
        result = x @ np.log(values).T + failures @ np.log(1 - values).T
        if family == "binomial":
            choose = gammaln(n_trials + 1) - gammaln(X + 1) - gammaln(n_trials - X + 1)
            result += np.nansum(choose, axis=1, keepdims=True)
        return result
    if family == "categorical":
        return sum(one_hot(X, c) @ np.log(values[:, :, c]).T for c in range(values.shape[2]))
    factorials = gammaln(x + 1).sum(axis=1, keepdims=True)
    if family == "poisson":
        return x @ np.log(values).T - known @ values.T - factorials
    return x @ np.log(values).T + gammaln(x.sum(axis=1, keepdims=True) + 1) - factorials


def one_hot(X, category):
    """Whether the values are of a category, as reals; missing ones are of none."""
    return (category == X).astype(float)


def e_step(X, params, family, n_trials=1, sample_weight=None):
    """Statistics of X under `params`: see the comments beside the returned fields."""
    if sample_weight is None:
        sample_weight = np.ones(len(X))
    r = np.log(params.weights) + log_prob(X, params.values, family, n_trials)
    largest = r.max(axis=1, keepdims=True)
    np.exp(r - largest, out=r)
    total = r.sum(axis=1, keepdims=True)
    log_likelihood = (largest + np.log(total))[:, 0]
    r *= sample_weight[:, np.newaxis] / total
    known = ~np.isnan(X)
    if family == "categorical":
        n_categories = params.values.shape[2]
        first = np.stack([r.T @ one_hot(X, c) for c in range(n_categories)], axis=2)
    else:
        first = r.T @ np.where(known, X, 0)
    return {
        "bound": sample_weight @ log_likelihood,  # sum_i w_i log p(x_i)
        "weight": sample_weight.sum(),  # sum_i w_i
        "resp": r.sum(axis=0),  # (K,) sum_i r_ik
        "first": first,  # (K, D) sum_i r_ik x_ij, categorical (K, D, C) sum_i r_ik [x_ij = c]
        "known": r.T @ known,  # (K, D) sum_i r_ik over the samples that have x_ij
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
    for _ in range(n_iter):
        stats = e_step(X, params, family, n_trials, sample_weight)
        lower_bounds.append(stats["bound"] / stats["weight"])
        params = m_step(stats, family, n_trials)
    return params, lower_bounds
