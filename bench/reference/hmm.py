"""Hidden Markov models by EM in plain NumPy, as the textbook writes them.

forward    a_1(k) = pi_k b_k(1),        a_t(k) = sum_j a_{t-1}(j) A_jk b_k(t)
backward   z_T(k) = 1,                  z_t(j) = sum_k A_jk b_k(t+1) z_{t+1}(k)
E-step     gamma_t(k) = a_t(k) z_t(k) / p(X),   xi_t(j, k) = a_t(j) A_jk b_k(t+1) z_{t+1}(k) / p(X)
M-step     pi = sum_s gamma_1 / n, A_jk = sum_t xi_t(j, k) / sum_tk xi_t(j, k), and the emissions of
           the rows weighted by gamma

Rabiner (1989), *A tutorial on hidden Markov models*, Proceedings of the IEEE 77:257; Bishop (2006),
*Pattern Recognition and Machine Learning*, section 13.2. All is done in logarithms, one step of
time after the other, so that nothing underflows. NaN is a value that is missing: its factor is left
out. Emissions are given by name; those of Gaussians by their means and covariances in full.
"""

import itertools
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp


class Params(NamedTuple):
    """Start (K,), transitions (K, K), and what the emissions have."""

    startprob: np.ndarray
    transmat: np.ndarray
    emission: tuple


def log(values):
    """Logarithms, of 0 minus infinity."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(values, dtype=float))


def sum_exp(values, axis=None):
    """log sum exp, minus infinity where all values are."""
    with np.errstate(divide="ignore"):
        return logsumexp(values, axis=axis)


# ---- log b_k(t), shape (T, K) ------------------------------------------------------------------


def log_gaussian(X, means, covariances):
    """Gaussians with covariances (K, D, D); of a row with NaN, the marginal of the other values."""
    result = np.zeros((len(X), len(means)))
    for t, row in enumerate(X):
        there = ~np.isnan(row)
        for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
            gap, part = (row - mean)[there], covariance[np.ix_(there, there)]
            distance = gap @ np.linalg.solve(part, gap) if there.any() else 0.0
            log_det = np.linalg.slogdet(part)[1] if there.any() else 0.0
            result[t, k] = -0.5 * (there.sum() * np.log(2 * np.pi) + log_det + distance)
    return result


def log_whole_gaussian(X, means, covariances):
    """The same for rows without NaN, all at once."""
    result = np.empty((len(X), len(means)))
    for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
        white = np.linalg.solve(np.linalg.cholesky(covariance), (X - mean).T)
        log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
        result[:, k] = -0.5 * (log_det + (white**2).sum(axis=0))
    return result


def log_gaussian_mixture(X, weights, means, covariances):
    """Mixtures of M Gaussians: weights (K, M), means (K, M, D), covariances (K, M, D, D)."""
    states = zip(weights, means, covariances, strict=True)
    return np.stack([sum_exp(log(w) + log_gaussian(X, m, c), axis=1) for w, m, c in states], axis=1)


def log_categorical(X, probabilities):
    """Symbols (T, 1) with probabilities (K, C)."""
    result = np.zeros((len(X), len(probabilities)))
    known = ~np.isnan(X[:, 0])
    result[known] = log(probabilities[:, X[known, 0].astype(int)]).T
    return result


def log_poisson(X, rates):
    """Counts (T, D) with rates (K, D)."""
    return _factors(X, rates, lambda x, rate: _times(x, log(rate)) - rate - gammaln(x + 1))


def log_binomial(X, probabilities, n_trials):
    """Successes (T, D) of n_trials (D,) with probabilities (K, D)."""
    n = np.broadcast_to(np.asarray(n_trials, dtype=float), X.shape)[:, None]

    def factor(x, p):
        choose = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
        return choose + _times(x, log(p)) + _times(n - x, log(1 - p))

    return _factors(X, probabilities, factor)


def log_multinomial(X, probabilities):
    """Counts (T, C) given their total, with probabilities (K, C); a row with NaN has no factor."""
    known = ~np.isnan(X).any(axis=1)
    x = np.where(known[:, None], X, 0)
    log_prob = _times(x[:, None], log(probabilities)).sum(axis=2)
    return log_prob + (gammaln(x.sum(axis=1) + 1) - gammaln(x + 1).sum(axis=1))[:, None]


def _times(count, logarithm):
    """count * logarithm, 0 where the count is 0."""
    count, logarithm = np.broadcast_arrays(count, logarithm)
    return np.where(count == 0, 0.0, count * np.where(count == 0, 0.0, logarithm))


def _factors(X, values, log_factor):
    """Sum the log-factors of the features that are known."""
    x = np.where(np.isnan(X), 0, X)[:, None]  # (T, 1, D)
    return np.where(np.isnan(X)[:, None], 0, log_factor(x, values)).sum(axis=2)


# ---- one sequence ------------------------------------------------------------------------------


def forward_backward(startprob, transmat, log_b):
    """Return log p(X), gamma (T, K) and sum_t xi_t (K, K) of one sequence.

    Of several sequences of equal lengths, `log_b` (S, T, K), everything has S in front.
    """
    n_steps = log_b.shape[-2]
    log_a, log_z = np.empty(log_b.shape), np.zeros(log_b.shape)
    log_trans = log(transmat)
    log_a[..., 0, :] = log(startprob) + log_b[..., 0, :]
    for t in range(1, n_steps):
        before = log_a[..., t - 1, :, None]
        log_a[..., t, :] = sum_exp(before + log_trans, axis=-2) + log_b[..., t, :]
    for t in range(n_steps - 2, -1, -1):
        after = (log_b + log_z)[..., t + 1, None, :]
        log_z[..., t, :] = sum_exp(log_trans + after, axis=-1)
    total = sum_exp(log_a[..., -1, :], axis=-1)
    xi = np.zeros((*log_b.shape[:-2], *transmat.shape))
    for t in range(n_steps - 1):
        joint = log_a[..., t, :, None] + log_trans + (log_b + log_z)[..., t + 1, None, :]
        xi += np.exp(joint - np.expand_dims(total, (-2, -1)))
    return total, np.exp(log_a + log_z - np.expand_dims(total, (-2, -1))), xi


def viterbi(startprob, transmat, log_b):
    """Return the log-probability of the best path and the path."""
    best = log(startprob) + log_b[0]
    came_from = []
    for row in log_b[1:]:
        reach = best[:, None] + log(transmat)
        came_from.append(reach.argmax(axis=0))
        best = reach.max(axis=0) + row
    path = [int(best.argmax())]
    for previous in reversed(came_from):
        path.append(int(previous[path[-1]]))
    return best.max(), np.array(path[::-1])


def every_path(startprob, transmat, log_b):
    """Return log p(X), gamma, sum xi, the best path's log-probability and it, over all paths."""
    n_steps, n_states = log_b.shape
    paths = np.array(list(itertools.product(range(n_states), repeat=n_steps)))
    log_prob = log(startprob)[paths[:, 0]] + log_b[np.arange(n_steps), paths].sum(axis=1)
    log_prob = log_prob + log(transmat)[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    total = sum_exp(log_prob)
    share = np.exp(log_prob - total)
    gamma = np.stack([share @ (paths == k) for k in range(n_states)], axis=1)
    xi = np.zeros((n_states, n_states))
    for t in range(n_steps - 1):
        np.add.at(xi, (paths[:, t], paths[:, t + 1]), share)
    return total, gamma, xi, log_prob.max(), paths[log_prob.argmax()]


# ---- EM ----------------------------------------------------------------------------------------


def e_step(log_b, lengths, params, sequence_weight=None):
    """Statistics of all sequences: see the comments beside the returned fields.

    `log_b` (n, K) has the sequences' rows one below the other. A sequence's weight multiplies what
    it gives, so that a weight of 2 is the sequence written twice.
    """
    weights = np.ones(len(lengths)) if sequence_weight is None else sequence_weight
    n_states = log_b.shape[1]
    bound, start, transitions = 0.0, np.zeros(n_states), np.zeros((n_states, n_states))
    gammas = []
    for weight, rows in zip(weights, np.split(log_b, np.cumsum(lengths)[:-1]), strict=True):
        total, gamma, xi = forward_backward(params.startprob, params.transmat, rows)
        bound += weight * total
        start += weight * gamma[0]
        transitions += weight * xi
        gammas.append(weight * gamma)
    return {
        "bound": bound,  # sum_s w_s log p(X_s)
        "weight": weights @ np.asarray(lengths),  # sum_s w_s T_s
        "start": start,  # (K,) sum_s w_s gamma_1
        "transitions": transitions,  # (K, K) sum_s w_s sum_t xi_t
        "gamma": np.concatenate(gammas),  # (n, K) w_s gamma_t
    }


def e_step_of_equal_lengths(log_b, n_steps, params, sequence_weight=None):
    """The same of sequences that all have `n_steps` rows, at once."""
    n_states = log_b.shape[1]
    log_b = log_b.reshape(-1, n_steps, n_states)
    weight = np.ones(len(log_b)) if sequence_weight is None else sequence_weight
    total, gamma, xi = forward_backward(params.startprob, params.transmat, log_b)
    gamma *= weight[:, None, None]
    return {
        "bound": weight @ total,
        "weight": weight.sum() * n_steps,
        "start": gamma[:, 0].sum(axis=0),
        "transitions": np.tensordot(weight, xi, 1),
        "gamma": gamma.reshape(-1, n_states),
    }


def m_step_chain(stats, params, start_prior=1.0, trans_prior=1.0):
    """Start and transitions: Dirichlet priors, zeros stay, a row without counts stays."""
    start = np.maximum(stats["start"] + start_prior - 1, 0) * (params.startprob > 0)
    counts = np.maximum(stats["transitions"] + trans_prior - 1, 0) * (params.transmat > 0)
    rows = counts.sum(axis=1, keepdims=True)
    transmat = np.where(rows > 0, counts / np.where(rows > 0, rows, 1), params.transmat)
    return start / start.sum(), transmat


def gaussian_moments(X, gamma):
    """Return sum gamma (K,), the means and the covariances in full, maximum likelihood."""
    resp = gamma.sum(axis=0)
    means = X.mean(axis=0) + gamma.T @ (X - X.mean(axis=0)) / resp[:, None]
    scatter = [(gamma[:, k, None] * (X - mean)).T @ (X - mean) for k, mean in enumerate(means)]
    return resp, means, np.array(scatter)


def fit_gaussian(X, lengths, params, covariance_type, n_iter):
    """`n_iter` turns of EM by maximum likelihood; covariances stay (K, D, D) of the given type."""
    bounds = []
    for _ in range(n_iter):
        stats = e_step(log_gaussian(X, *params.emission), lengths, params)
        bounds.append(stats["bound"])
        resp, means, scatter = gaussian_moments(X, stats["gamma"])
        eye = np.eye(X.shape[1])
        if covariance_type == "tied":
            covariances = np.tile(scatter.sum(axis=0) / resp.sum(), (len(resp), 1, 1))
        else:
            covariances = scatter / resp[:, None, None]
        if covariance_type == "diag":
            covariances = covariances * eye
        elif covariance_type == "spherical":
            trace = covariances.trace(axis1=1, axis2=2) / X.shape[1]
            covariances = trace[:, None, None] * eye
        params = Params(*m_step_chain(stats, params), (means, covariances))
    return params, bounds
