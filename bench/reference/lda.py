"""Latent Dirichlet allocation by variational Bayes in plain NumPy (Hoffman et al. 2010)."""

import numpy as np
from scipy.special import gammaln, psi


def expected_log(parameters):
    """E[log p] under the Dirichlet distribution of each row."""
    return psi(parameters) - psi(parameters.sum(axis=1, keepdims=True))


def update_gamma(X, gamma, lam, alpha, n_updates, tol):
    """gamma_dk = alpha_k + sum_w n_dw q_dwk, repeated until its mean change is below tol.

    X is a dense array of counts (D, V). q_dwk is proportional to exp(E[log theta_dk] +
    E[log beta_kw]) and sums to 1 over k.
    """
    beta = np.exp(expected_log(lam))
    gamma = gamma.copy()
    for d, counts in enumerate(X):
        for _ in range(n_updates):
            theta = np.exp(expected_log(gamma[d : d + 1]))[0]
            q = theta[:, None] * beta
            q /= q.sum(axis=0)
            new = alpha + q @ counts
            change = np.abs(new - gamma[d]).mean()
            gamma[d] = new
            if change < tol:
                break
    return gamma


def e_step(X, gamma, lam, alpha):
    """The ELBO's part of the documents, and the expected counts of words in topics (K, V)."""
    theta, beta = np.exp(expected_log(gamma)), np.exp(expected_log(lam))
    normaliser = theta @ beta
    bound = (X * np.log(normaliser)).sum() + dirichlet_bound(alpha, gamma)
    return bound, beta * (theta.T @ (X / normaliser))


def dirichlet_bound(prior, parameters):
    """E[log p - log q] of all rows: minus their divergence from Dirichlet(prior)."""
    prior = np.broadcast_to(prior, parameters.shape[1:])
    value = ((prior - parameters) * expected_log(parameters)).sum()
    value += gammaln(parameters).sum() - gammaln(parameters.sum(axis=1)).sum()
    return value + len(parameters) * (gammaln(prior.sum()) - gammaln(prior).sum())


def fit(X, gammas, lam, alpha, eta, n_updates=100, tol=1e-3):
    """One iteration from each of the first gammas; returns lambda and the ELBOs before M-steps."""
    bounds = []
    for gamma in gammas:
        gamma = update_gamma(X, gamma, lam, alpha, n_updates, tol)
        bound, sums = e_step(X, gamma, lam, alpha)
        bounds.append(bound + dirichlet_bound(eta, lam))
        lam = eta + sums
    return lam, bounds
