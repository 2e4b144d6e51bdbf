"""Latent Dirichlet allocation with Gaussian topics, by variational EM in plain NumPy.

E-step   q_jk  proportional to N(x_j; mu_k, diag var_k) exp(psi(gamma_k)), of a document's vectors
         gamma_k = alpha_k + sum_j n_j q_jk
M-step   mu_k  = sum n_j q_jk x_j / sum n_j q_jk,   var_k likewise about mu_k

The sums of the M-step are over all vectors of all documents; n_j is how often a document has x_j.
Blei, Ng & Jordan (2003), figure 6, with densities in place of the words' probabilities. exp(psi) is
taken for at least 1e-30: densities differ by so much that a vector could else not come to a topic
that its document has not had yet.
"""

import numpy as np
from scipy.special import psi

from reference.lda import dirichlet_bound

LEAST_LOG_THETA = np.log(1e-30)


def log_density(X, means, variances):
    """log N(x_j; mu_k, diag var_k), (n, K)."""
    squares = ((X[:, np.newaxis] - means) ** 2 / variances).sum(axis=2)
    return -0.5 * (squares + np.log(2 * np.pi * variances).sum(axis=1))


def responsibilities(log_densities, gamma):
    """q_jk, and the log of what normalises it."""
    log_q = log_densities + np.maximum(psi(gamma), LEAST_LOG_THETA)
    largest = log_q.max(axis=1, keepdims=True)
    q = np.exp(log_q - largest)
    total = q.sum(axis=1, keepdims=True)
    return q / total, (largest + np.log(total))[:, 0]


def update_gamma(log_densities, counts, gamma, alpha, n_updates, tol):
    """Gamma of one document, updated until its mean change is below tol."""
    for _ in range(n_updates):
        new = alpha + counts @ responsibilities(log_densities, gamma)[0]
        change = np.abs(new - gamma).mean()
        gamma = new
        if change < tol:
            break
    return gamma


def document(log_densities, counts, gamma, alpha):
    """The ELBO of one document, and n_j q_jk, (n, K)."""
    q, log_total = responsibilities(log_densities, gamma)
    bound = counts @ (log_total - psi(gamma.sum())) + dirichlet_bound(alpha, gamma[np.newaxis])
    return bound, counts[:, np.newaxis] * q


def moments(X, weights):
    """Weights (K,), means (K, D) and scatter (K, D) about them of vectors weighted by (n, K)."""
    weight = weights.sum(axis=0)
    means = weights.T @ X / weight[:, np.newaxis]
    scatter = [w @ (X - mean) ** 2 for w, mean in zip(weights.T, means, strict=True)]
    return weight, means, np.array(scatter)


def fit(vectors, X, means, variances, alpha, n_iter, reg_covar=1e-6, n_updates=100, tol=1e-3):
    """Fit to counts X, a CSR array (D, V), of vectors (V, dimensions).

    Returns gammas, means, variances and the ELBO per vector before each M-step.
    """
    gammas, bounds = np.ones((X.shape[0], len(means))), []
    for _ in range(n_iter):
        log_densities, bound = log_density(vectors, means, variances), 0.0
        sums = np.zeros_like(log_densities)
        for d, (begin, end) in enumerate(zip(X.indptr, X.indptr[1:], strict=False)):
            words, counts = X.indices[begin:end], X.data[begin:end]
            some = log_densities[words]
            gammas[d] = update_gamma(some, counts, gammas[d], alpha, n_updates, tol)
            part, expected = document(some, counts, gammas[d], alpha)
            bound += part
            sums[words] += expected
        bounds.append(bound / X.sum())
        weight, means, scatter = moments(vectors, sums)
        variances = scatter / weight[:, np.newaxis] + reg_covar
    return gammas, means, variances, bounds
