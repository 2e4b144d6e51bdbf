"""Mixture of Student-t distributions by EM in plain NumPy.

E-step   gamma_ji = a_i t(x_j | mu_i, Sigma_i, df_i) / sum_l a_l t(x_j | mu_l, Sigma_l, df_l)
         u_ji     = (df_i + D) / (df_i + delta_ji),  delta the squared Mahalanobis distance
M-step   mu_i    = sum_j gamma_ji u_ji x_j / sum_j gamma_ji u_ji
         Sigma_i = sum_j gamma_ji u_ji (x_j - mu_i)(x_j - mu_i)^T / sum_j gamma_ji
         df_i      solves log(df/2) - psi(df/2) + 1 + mean(E log u - u) = 0

Peel & McLachlan (2000), *Robust mixture modelling using the t distribution*, Statistics and
Computing 10:339, equations 14 to 22.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, psi

from . import gaussian_mixture


class Params(NamedTuple):
    """Weights (K,), means (K, D), scale matrices by kind, degrees of freedom (K,)."""

    weights: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    df: np.ndarray


def distances(X, params, kind):
    """Squared Mahalanobis distances (n, K), and log determinants of the scale matrices (K,)."""
    k, d = params.means.shape
    nothing = np.ones(k)
    gaussian = gaussian_mixture.log_prob(X, nothing, params.means, params.scales, kind)
    at_mean = np.array([
        gaussian_mixture.log_prob(mean[None], nothing, params.means, params.scales, kind)[0, i]
        for i, mean in enumerate(params.means)
    ])  # fmt: skip
    return 2 * (at_mean - gaussian), -2 * at_mean - d * np.log(2 * np.pi)


def log_prob(X, params, kind):
    """log a_i + log t(x_j | mu_i, Sigma_i, df_i), shape (n, K)."""
    d, df = X.shape[1], params.df
    delta, log_det = distances(X, params, kind)
    norm = gammaln((df + d) / 2) - gammaln(df / 2) - d / 2 * np.log(df * np.pi) - log_det / 2
    return np.log(params.weights) + norm - (df + d) / 2 * np.log1p(delta / df)


def e_step(X, params, kind, sample_weight=None):
    """Statistics of X under `params`."""
    if sample_weight is None:
        sample_weight = np.ones(len(X))
    d, df = X.shape[1], params.df
    logs = log_prob(X, params, kind)
    largest = logs.max(axis=1, keepdims=True)
    gamma = np.exp(logs - largest)
    total = gamma.sum(axis=1, keepdims=True)
    gamma *= sample_weight[:, np.newaxis] / total
    u = (df + d) / (df + distances(X, params, kind)[0])
    expected_log = np.log(u) + psi((df + d) / 2) - np.log((df + d) / 2)
    resp = (gamma * u).sum(axis=0)
    mean = gaussian_mixture.weighted_means(X, gamma * u, resp)
    return {
        "bound": sample_weight @ (largest + np.log(total))[:, 0],
        "weight": sample_weight.sum(),
        "counts": gamma.sum(axis=0),  # (K,) sum_j gamma_ji
        "logs": (gamma * expected_log).sum(axis=0),  # (K,) sum_j gamma_ji E log u_ji
        "resp": resp,  # (K,) sum_j gamma_ji u_ji
        "mean": mean,
        "scatter": gaussian_mixture.scatter_about(X, gamma * u, mean, kind),
    }
