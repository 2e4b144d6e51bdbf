"""Gaussian mixture of samples with missing values (NaN) in plain NumPy, one row at a time.

For a row, o is what was observed and m what is missing; Ghahramani & Jordan (1994), *Supervised
learning from incomplete data via an EM approach*:

    gamma_ji = a_i phi(x_o | mu_io, Sigma_ioo) / sum_l a_l phi(x_o | mu_lo, Sigma_loo)
    E[x_m]   = mu_im + Sigma_imo Sigma_ioo^-1 (x_o - mu_io)
    Cov[x_m] = Sigma_imm - Sigma_imo Sigma_ioo^-1 Sigma_iom

Moments are those of rows with E[x_m] in place of what is missing, plus the sums of gamma Cov[x_m].
A row without any value has the weights as its gamma; it says nothing, and adds nothing to moments.
"""

import numpy as np
from scipy.stats import multivariate_normal


def e_step(X, weights, means, covariances, sample_weight=None):
    """Statistics of X under components with covariances (K, D, D).

    Returns log-likelihoods (n,), gamma (n, K), and `resp` (K,), `mean` (K, D), `scatter` (K, D, D)
    about it.
    """
    (n, d), k = X.shape, len(weights)
    sample_weight = np.ones(n) if sample_weight is None else sample_weight
    joint = np.tile(np.log(weights), (n, 1))
    completed, rest = np.empty((n, k, d)), np.zeros((n, k, d, d))
    for j, x in enumerate(X):
        o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        for i in range(k):
            mean, covariance = means[i], covariances[i]
            completed[j, i, o], completed[j, i, m] = x[o], mean[m]
            rest[j, i][np.ix_(m, m)] = covariance[np.ix_(m, m)]
            if len(o):
                joint[j, i] += multivariate_normal(mean[o], covariance[np.ix_(o, o)]).logpdf(x[o])
                slopes = np.linalg.solve(covariance[np.ix_(o, o)], covariance[np.ix_(o, m)]).T
                completed[j, i, m] += slopes @ (x[o] - mean[o])
                rest[j, i][np.ix_(m, m)] -= slopes @ covariance[np.ix_(o, m)]
    largest = joint.max(axis=1, keepdims=True)
    log_likelihood = (largest + np.log(np.exp(joint - largest).sum(axis=1, keepdims=True)))[:, 0]
    gamma = np.exp(joint - log_likelihood[:, None])
    told = gamma * (sample_weight * ~np.isnan(X).all(axis=1))[:, None]
    resp = told.sum(axis=0)
    mean = np.einsum("jk,jkd->kd", told, completed) / resp[:, None]
    z = completed - mean
    scatter = np.einsum("jk,jkd,jke->kde", told, z, z) + np.einsum("jk,jkde->kde", told, rest)
    return log_likelihood, gamma, {"resp": resp, "mean": mean, "scatter": scatter}


def m_step(stats, covariance_type):
    """Parameters from statistics; covariances of the type's own shape."""
    resp, scatter, d = stats["resp"], stats["scatter"], stats["mean"].shape[1]
    if covariance_type == "full":
        covariances = scatter / resp[:, None, None]
    elif covariance_type == "tied":
        covariances = scatter.sum(axis=0) / resp.sum()
    else:
        covariances = scatter.diagonal(axis1=1, axis2=2) / resp[:, None]
        if covariance_type == "spherical":
            covariances = covariances.sum(axis=1) / d
    return resp / resp.sum(), stats["mean"], covariances
