"""Gaussian mixture by EM in plain NumPy, as the textbook writes it.

E-step   gamma_ji = a_i phi(x_j | mu_i, Sigma_i) / sum_l a_l phi(x_j | mu_l, Sigma_l)
M-step   mu_i    = sum_j gamma_ji x_j / sum_j gamma_ji
         Sigma_i = sum_j gamma_ji (x_j - mu_i)(x_j - mu_i)^T / sum_j gamma_ji
         a_i     = sum_j gamma_ji / m

Bishop (2006), *Pattern Recognition and Machine Learning*, section 9.2. A sample's weight multiplies
its row of gamma, so that a weight of 2 is the row written twice. Everything is float64 as soon as
the parameters are.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular


class Params(NamedTuple):
    """Weights (K,), means (K, D), covariances: (K, D, D), tied (D, D), (K, D), spherical (K,)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def log_prob(X, weights, means, covariances, covariance_type):
    """log a_i + log phi(x_j | mu_i, Sigma_i), shape (n, K)."""
    n_samples, n_features = X.shape
    if covariance_type == "tied":
        covariances = [covariances] * len(means)
    with np.errstate(divide="ignore"):  # a weight of zero is a log of -inf, and is meant
        log_weights = np.log(weights)
    result = np.empty((n_samples, len(means)))
    for k, covariance in enumerate(covariances):
        diff = (X - means[k]).T
        if covariance_type in ("full", "tied"):
            cholesky = np.linalg.cholesky(covariance)
            white = solve_triangular(cholesky, diff, lower=True, check_finite=False)
            log_det = 2 * np.log(np.diag(cholesky)).sum()
        else:
            variances = np.broadcast_to(covariance, n_features)
            white = diff / np.sqrt(variances)[:, np.newaxis]
            log_det = np.log(variances).sum()
        mahalanobis = np.einsum("dn,dn->n", white, white)
        log_norm = n_features * np.log(2 * np.pi) + log_det
        result[:, k] = log_weights[k] - 0.5 * (log_norm + mahalanobis)
    return result


def e_step(X, params, covariance_type, sample_weight=None, noise=None):
    """Statistics of X under `params`: see the comments beside the returned fields.

    `noise` is the log of a further component's weight by the volume that it fills: its density is
    the same everywhere.
    """
    if sample_weight is None:
        sample_weight = np.ones(len(X))
    gamma = log_prob(X, *params, covariance_type)
    if noise is not None:
        gamma = np.column_stack([gamma, np.full(len(X), noise)])
    largest = gamma.max(axis=1, keepdims=True)
    np.exp(gamma - largest, out=gamma)
    total = gamma.sum(axis=1, keepdims=True)
    log_likelihood = (largest + np.log(total))[:, 0]
    gamma *= sample_weight[:, np.newaxis] / total
    of_noise = {}
    if noise is not None:
        of_noise["noise"] = gamma[:, -1].sum()  # sum_j of the noise's gamma
        gamma = gamma[:, :-1]

    resp = gamma.sum(axis=0)
    mean = weighted_means(X, gamma, resp)
    return {
        **of_noise,
        "bound": sample_weight @ log_likelihood,  # sum_j w_j log p(x_j)
        "weight": sample_weight.sum(),  # sum_j w_j
        "resp": resp,  # (K,) sum_j gamma_ji
        "mean": mean,  # (K, D) sum_j gamma_ji x_j / resp_i
        "scatter": scatter_about(X, gamma, mean, covariance_type),  # second moments about `mean`
    }


def weighted_means(X, gamma, resp):
    """Means (K, D), summed about the centre of X so that a large offset costs no digits."""
    centre = X.mean(axis=0, dtype=float)
    # The floor turns the 0/0 of an empty component into the centre.
    return centre + gamma.T @ (X - centre) / np.maximum(resp, np.finfo(float).tiny)[:, np.newaxis]


def scatter_about(X, gamma, mean, covariance_type):
    """sum_j gamma_ji (x_j - mean_i)(x_j - mean_i)^T, or as much of it as the type has.

    full (K, D, D); tied (D, D), pooled over components; diag (K, D); spherical (K,), summed over
    features. The second pass over the data, about the means of the first, is what keeps the digits.
    """
    moments = []
    for k in range(len(mean)):
        half = np.sqrt(gamma[:, k, np.newaxis]) * (X - mean[k])
        if covariance_type in ("full", "tied"):
            moments.append(half.T @ half)
        else:
            moments.append(np.einsum("nd,nd->d", half, half))
    moments = np.array(moments)
    if covariance_type == "tied":
        return moments.sum(axis=0)
    return moments.sum(axis=1) if covariance_type == "spherical" else moments


def m_step(stats, covariance_type, reg_covar):
    """Parameters from statistics, with scikit-learn's `10 eps` and `reg_covar`."""
    resp, mean, scatter = stats["resp"], stats["mean"], stats["scatter"]
    n_features = mean.shape[1]
    nk = resp + 10 * np.finfo(float).eps
    means = (resp / nk)[:, np.newaxis] * mean
    shift = mean - means  # the moments are about `mean`; carry them over to `means`
    match covariance_type:
        case "full":
            outer = np.einsum("k,ki,kj->kij", resp, shift, shift)
            covariances = (scatter + outer) / nk[:, np.newaxis, np.newaxis]
            covariances += reg_covar * np.eye(n_features)
        case "tied":
            outer = np.einsum("k,ki,kj->ij", resp, shift, shift)
            covariances = (scatter + outer) / nk.sum() + reg_covar * np.eye(n_features)
        case "diag":
            square = resp[:, np.newaxis] * shift**2
            covariances = (scatter + square) / nk[:, np.newaxis] + reg_covar
        case "spherical":
            square = resp * (shift**2).sum(axis=1)
            covariances = (scatter + square) / (n_features * nk) + reg_covar
    return Params(nk / nk.sum(), means, covariances)


def fit(X, params, covariance_type, n_iter, reg_covar=1e-6, sample_weight=None):
    """`n_iter` turns of E and M; each lower bound belongs to the parameters before its M-step."""
    lower_bounds = []
    for _ in range(n_iter):
        stats = e_step(X, params, covariance_type, sample_weight)
        lower_bounds.append(stats["bound"] / stats["weight"])
        params = m_step(stats, covariance_type, reg_covar)
    return params, lower_bounds
