"""Latent Dirichlet allocation by variational Bayes in plain NumPy (Hoffman et al. 2010)."""

import numpy as np
from scipy.special import gammaln, psi


def expected_log(parameters):
    """E[log p] under the Dirichlet distribution of each row."""
    return psi(parameters) - psi(parameters.sum(axis=1, keepdims=True))


def expected_topics(lam, point_topics):
    """exp(E[log beta]); or beta itself, if topics are the normalised counts lam."""
    if point_topics:
        return lam / lam.sum(axis=1, keepdims=True)
    return np.exp(expected_log(lam))


def update_gamma(X, gamma, lam, alpha, n_updates, tol, point_topics=False):
    """gamma_dk = alpha_k + sum_w n_dw q_dwk, repeated until its mean change is below tol.

    X is a dense array of counts (D, V). q_dwk is proportional to exp(E[log theta_dk] +
    E[log beta_kw]) and sums to 1 over k.
    """
    beta = expected_topics(lam, point_topics)
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


def e_step(X, gamma, lam, alpha, point_topics=False):
    """The ELBO's part of the documents, and the expected counts of words in topics (K, V)."""
    theta, beta = np.exp(expected_log(gamma)), expected_topics(lam, point_topics)
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


def lda_c(X, topics, alpha, n_iter, tol=1e-8):
    """The likelihoods that lda-c follows from these topics (K, V), alpha fixed (Blei et al. 2003).

    Figure 6 word by word: gamma is updated after each word's q, from q = 1 / K on. The M-step is
    equation 9.
    """
    topics, likelihoods = topics / topics.sum(axis=1, keepdims=True), []
    for _ in range(n_iter):
        likelihood, sums = 0.0, np.zeros_like(topics)
        for counts in X:
            words = np.flatnonzero(counts)
            part, q = lda_c_document(counts[words], topics[:, words], alpha, tol)
            likelihood += part
            sums[:, words] += counts[words] * q
        likelihoods.append(likelihood)
        topics = sums / sums.sum(axis=1, keepdims=True)
    return np.array(likelihoods)


def lda_c_document(counts, topics, alpha, tol):
    """The likelihood (equation 15) and q, (K, n), of one document's n words."""
    n_topics, likelihood = len(topics), -np.inf
    q = np.full(topics.shape, 1 / n_topics)
    gamma = np.full(n_topics, alpha + counts.sum() / n_topics)
    while True:
        for n, count in enumerate(counts):
            new = topics[:, n] * np.exp(psi(gamma))
            new /= new.sum()
            gamma += count * (new - q[:, n])
            q[:, n] = new
        last, likelihood = likelihood, lda_c_likelihood(counts, topics, alpha, gamma, q)
        if likelihood - last <= tol * abs(likelihood):
            return likelihood, q


def lda_c_likelihood(counts, topics, alpha, gamma, q):
    """Equation 15, term by term."""
    log_theta = psi(gamma) - psi(gamma.sum())
    value = (
        gammaln(len(gamma) * alpha) - len(gamma) * gammaln(alpha) + (alpha - 1) * log_theta.sum()
    )
    some = q > 0
    log_joint = log_theta[:, None] + np.log(topics, where=some, out=np.zeros_like(topics))
    log_q = np.log(q, where=some, out=np.zeros_like(q))
    value += (counts * q * (log_joint - log_q)).sum()
    return value - gammaln(gamma.sum()) + gammaln(gamma).sum() - ((gamma - 1) * log_theta).sum()
