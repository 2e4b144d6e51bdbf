"""Variational Bayes for Gaussian mixtures in plain NumPy, as the textbook writes it.

Bishop (2006), *Pattern Recognition and Machine Learning*, section 10.2. The posterior of a
component's mean and precision matrix is normal-Wishart, that of the weights Dirichlet:

E-step   ln rho_ji = E[ln pi_i] + E[ln |Lambda_i|] / 2 - D/2 ln 2 pi
                     - (D / beta_i + nu_i (x_j - m_i)^T W_i (x_j - m_i)) / 2    (10.46, 10.64-10.66)
M-step   beta_i = beta_0 + N_i                                                            (10.60)
         m_i    = (beta_0 m_0 + N_i x_i) / beta_i                                         (10.61)
         W_i^-1 = W_0^-1 + N_i S_i + beta_0 N_i / beta_i (x_i - m_0)(x_i - m_0)^T         (10.62)
         nu_i   = nu_0 + N_i                                              (10.63; later printings)

With the Dirichlet process, weights are what sticks of beta-distributed lengths leave of each other
(Blei & Jordan 2006, *Variational inference for Dirichlet process mixtures*, Bayesian Analysis 1).

What is scikit-learn's and not the book's: 10 eps is added to N_i and `reg_covar` to S_i; the one
precision matrix of 'tied' has a K-th of the samples; 'diag' and 'spherical', whose scatter is taken
per feature and as the mean over features, keep the degrees of freedom of a full matrix.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import betaln, digamma, gammaln, logsumexp

from reference.gaussian_mixture import scatter_about, weighted_means


class Prior(NamedTuple):
    """What was believed of the weights, and of every mean and precision matrix."""

    process: bool  # a Dirichlet process, else a Dirichlet distribution
    concentration: float  # alpha_0
    mean_precision: float  # beta_0
    mean: np.ndarray  # (D,) m_0
    degrees_of_freedom: float  # nu_0
    scale: np.ndarray  # W_0^-1: (D, D), diag (D,), spherical ()


class Posterior(NamedTuple):
    """What is believed now."""

    concentration: np.ndarray  # alpha (K,), or (2, K): the sticks' beta distributions
    mean_precision: np.ndarray  # beta (K,)
    means: np.ndarray  # m (K, D)
    degrees_of_freedom: np.ndarray  # nu (K,), tied ()
    scale: np.ndarray  # W^-1: (K, D, D), tied (D, D), diag (K, D), spherical (K,)


def expected_log_weights(concentration):
    """E[ln pi], shape (K,)."""
    if concentration.ndim == 1:
        return digamma(concentration) - digamma(concentration.sum())  # (10.66)
    a, b = concentration
    rest = digamma(b) - digamma(a + b)
    return digamma(a) - digamma(a + b) + np.concatenate([[0], rest[:-1].cumsum()])


def log_det_scale(posterior, covariance_type):
    """ln |W^-1|, shape (K,), tied ()."""
    scale, n_features = posterior.scale, posterior.means.shape[1]
    match covariance_type:
        case "full" | "tied":
            return np.linalg.slogdet(scale).logabsdet
        case "diag":
            return np.log(scale).sum(axis=1)
        case _:
            return n_features * np.log(scale)


def _halves(posterior):
    """(nu_i + 1 - d) / 2 for d = 1 .. D, shape (D, K) or (D, 1)."""
    steps = np.arange(posterior.means.shape[1])[:, np.newaxis]
    return (posterior.degrees_of_freedom - steps) / 2


def log_rho(X, posterior, covariance_type):
    """ln rho, shape (n, K)."""
    n_features = X.shape[1]
    k = len(posterior.means)
    log_det = digamma(_halves(posterior)).sum(axis=0) + n_features * np.log(2)  # (10.65)
    log_det = log_det - log_det_scale(posterior, covariance_type)
    constant = expected_log_weights(posterior.concentration) + log_det / 2
    constant = constant - n_features / 2 * np.log(2 * np.pi)
    freedom = np.broadcast_to(posterior.degrees_of_freedom, k)
    scales = [posterior.scale] * k if covariance_type == "tied" else posterior.scale
    result = np.empty((len(X), k))
    for i, scale in enumerate(scales):
        diff = X - posterior.means[i]
        if covariance_type in ("full", "tied"):
            distance = np.einsum("nd,dn->n", diff, np.linalg.solve(scale, diff.T))
        else:
            distance = (diff**2 / scale).sum(axis=1)
        expected = n_features / posterior.mean_precision[i] + freedom[i] * distance  # (10.64)
        result[:, i] = constant[i] - expected / 2
    return result


def responsibilities(X, posterior, covariance_type):
    """r_ji = rho_ji / sum_l rho_jl (10.49), shape (n, K)."""
    rho = log_rho(X, posterior, covariance_type)
    return np.exp(rho - logsumexp(rho, axis=1, keepdims=True))


def e_step(X, posterior, covariance_type, sample_weight=None):
    """Statistics of X under `posterior`: see the comments beside the returned fields."""
    if sample_weight is None:
        sample_weight = np.ones(len(X))
    rho = log_rho(X, posterior, covariance_type)
    total = logsumexp(rho, axis=1, keepdims=True)
    gamma = sample_weight[:, np.newaxis] * np.exp(rho - total)
    resp = gamma.sum(axis=0)
    mean = weighted_means(X, gamma, resp)
    return {
        "bound": sample_weight @ total[:, 0],  # sum_j w_j ln sum_i rho_ji
        "weight": sample_weight.sum(),  # sum_j w_j
        "expected": (gamma * rho).sum(),  # sum_ji w_j r_ji ln rho_ji: `bound` less the entropy
        "resp": resp,  # (K,) sum_j w_j r_ji
        "mean": mean,  # (K, D) sum_j w_j r_ji x_j / resp_i
        "scatter": scatter_about(X, gamma, mean, covariance_type),  # second moments about `mean`
    }


def m_step(stats, prior, covariance_type, reg_covar=0.0):
    """Posterior from statistics."""
    n, n_features = stats["resp"] + 10 * np.finfo(float).eps, stats["mean"].shape[1]
    k, beta = len(n), prior.mean_precision + n
    if prior.process:
        others = n.sum() - n.cumsum()  # what is left for later sticks
        concentration = np.array([1 + n, prior.concentration + others])
    else:
        concentration = prior.concentration + n  # (10.58)
    means = prior.mean_precision * prior.mean + n[:, np.newaxis] * stats["mean"]
    means /= beta[:, np.newaxis]
    gap, share = stats["mean"] - prior.mean, prior.mean_precision * n / beta
    scatter, freedom = stats["scatter"], prior.degrees_of_freedom + n
    match covariance_type:
        case "full":
            between = np.einsum("k,ki,kj->kij", share, gap, gap)
            added = reg_covar * n[:, np.newaxis, np.newaxis] * np.eye(n_features)
        case "tied":
            scatter, freedom = scatter / k, prior.degrees_of_freedom + n.sum() / k
            between = (share * gap.T) @ gap / k
            added = reg_covar * n.sum() / k * np.eye(n_features)
        case "diag":
            between, added = share[:, np.newaxis] * gap**2, reg_covar * n[:, np.newaxis]
        case "spherical":
            scatter = scatter / n_features
            between, added = share * (gap**2).mean(axis=1), reg_covar * n
    scale = prior.scale + scatter + between + added
    return Posterior(concentration, beta, means, np.asarray(freedom), scale)


def lower_bound(stats, posterior, covariance_type):
    """The bound on the evidence but for constants, at the responsibilities of `stats`.

    It is their entropy and the logarithm of what the posterior's densities are divided by:
    all else of (10.70) cancels when the posterior is the M-step's of these responsibilities.
    """
    n_features, k = posterior.means.shape[1], len(posterior.means)
    freedom = posterior.degrees_of_freedom
    wishart = freedom / 2 * (n_features * np.log(2) - log_det_scale(posterior, covariance_type))
    wishart = wishart + gammaln(_halves(posterior)).sum(axis=0)  # (B.79)
    wishart = k * np.squeeze(wishart) if covariance_type == "tied" else wishart.sum()
    concentration = posterior.concentration
    if concentration.ndim == 2:
        weights = betaln(*concentration).sum()
    else:
        weights = gammaln(concentration).sum() - gammaln(concentration.sum())
    entropy = stats["bound"] - stats["expected"]
    return entropy + wishart + weights - n_features / 2 * np.log(posterior.mean_precision).sum()


def evidence_bound(X, r, posterior, prior):
    """The bound on the log-evidence, term by term (10.70-10.77); full, a Dirichlet distribution."""
    d, (alpha, beta, m, nu, scale) = X.shape[1], posterior
    k, W, log_pi = len(beta), np.linalg.inv(scale), expected_log_weights(alpha)
    log_det = digamma(_halves(posterior)).sum(axis=0) + d * np.log(2) + np.linalg.slogdet(W)[1]
    n = r.sum(axis=0)

    def dirichlet(a):
        return gammaln(a.sum()) - gammaln(a).sum()  # (B.23)

    def wishart(inverse, freedom):  # (B.79)
        steps = np.arange(d)
        log_norm = freedom / 2 * np.linalg.slogdet(inverse)[1] - freedom * d / 2 * np.log(2)
        log_norm -= d * (d - 1) / 4 * np.log(np.pi) + gammaln((freedom - steps) / 2).sum()
        return log_norm

    of_x = of_mean = of_q = 0.0
    for i in range(k):
        diff, gap = X - m[i], m[i] - prior.mean
        inside = d / beta[i] * n[i] + nu[i] * r[:, i] @ np.einsum("nd,de,ne->n", diff, W[i], diff)
        of_x += (n[i] * (log_det[i] - d * np.log(2 * np.pi)) - inside) / 2  # (10.71)
        of_mean += (
            d * np.log(prior.mean_precision / (2 * np.pi))
            + log_det[i]
            - d * prior.mean_precision / beta[i]
            - prior.mean_precision * nu[i] * gap @ W[i] @ gap
        ) / 2  # (10.74), the normal
        of_mean += wishart(prior.scale, prior.degrees_of_freedom)
        of_mean += (prior.degrees_of_freedom - d - 1) / 2 * log_det[i]
        of_mean -= nu[i] / 2 * np.trace(prior.scale @ W[i])
        entropy = -wishart(scale[i], nu[i]) - (nu[i] - d - 1) / 2 * log_det[i] + nu[i] * d / 2
        of_q += log_det[i] / 2 + d / 2 * np.log(beta[i] / (2 * np.pi)) - d / 2 - entropy  # (10.77)
    alpha_0 = np.full(k, prior.concentration)
    of_z, of_pi = n @ log_pi, dirichlet(alpha_0) + (alpha_0 - 1) @ log_pi  # (10.72), (10.73)
    q_z = (r * np.log(np.maximum(r, 1e-300))).sum()  # (10.75)
    q_pi = (alpha - 1) @ log_pi + dirichlet(alpha)  # (10.76)
    return of_x + of_z + of_pi + of_mean - q_z - q_pi - of_q
