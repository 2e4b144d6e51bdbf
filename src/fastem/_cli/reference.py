"""EM as a textbook writes it, in plain NumPy and SciPy: what fastem is timed against.

It is vectorised over samples, or over the words that occur, and its matrix products run in the BLAS
that NumPy came with, on as many threads as that takes: an honest rival, not a straw man.
"""

import numpy as np
import scipy.sparse as sp


def log_joint(X, weights, means, covariances):
    """log(weights[k]) + log N(X[i]; means[k], covariances[k]), (n_samples, n_components)."""
    n_features = X.shape[1]
    result = np.empty((len(X), len(weights)))
    for k in range(len(weights)):
        cholesky = np.linalg.cholesky(covariances[k])
        whitened = (X - means[k]) @ np.linalg.inv(cholesky).T
        log_det = 2 * np.log(np.diag(cholesky)).sum()
        squares = (whitened**2).sum(axis=1)
        result[:, k] = np.log(weights[k]) - 0.5 * (
            n_features * np.log(2 * np.pi) + log_det + squares
        )
    return result


def fit(X, weights, means, covariances, *, n_iter, reg_covar=1e-6):
    """Make `n_iter` EM iterations; return the mean log-likelihood that the last started from."""
    for _ in range(n_iter):
        joint = log_joint(X, weights, means, covariances)
        largest = joint.max(axis=1, keepdims=True)
        log_norm = largest + np.log(np.exp(joint - largest).sum(axis=1, keepdims=True))
        resp = np.exp(joint - log_norm)
        bound = log_norm.mean()

        sizes = resp.sum(axis=0)
        weights = sizes / sizes.sum()
        means = resp.T @ X / sizes[:, None]
        covariances = np.empty((len(sizes), X.shape[1], X.shape[1]))
        for k in range(len(sizes)):
            centered = X - means[k]
            covariances[k] = (resp[:, k] * centered.T) @ centered / sizes[k]
            covariances[k].flat[:: X.shape[1] + 1] += reg_covar
    return bound


def fit_topics(X, doc_topic, topic_word, *, n_iter):
    """Make `n_iter` EM iterations of PLSA on a csr_array X, in its dtype, and return as `fit` does.

    Hofmann (2001), equations 3-6: p(z|d,w) = p(z|d) p(w|z) / p(w|d).
    """
    counts = X.tocoo()
    document, word = counts.row, counts.col
    doc_topic, topic_word = doc_topic.astype(X.dtype), topic_word.astype(X.dtype)
    for _ in range(n_iter):
        probability = np.einsum("ik,ik->i", doc_topic[document], topic_word.T[word])  # p(w|d)
        bound = (X.data * np.log(probability)).sum(dtype=float) / X.data.sum(dtype=float)
        ratio = sp.csr_array((X.data / probability, X.indices, X.indptr), shape=X.shape)
        expected = doc_topic * (ratio @ topic_word.T)
        topic_word = topic_word * (ratio.T @ doc_topic).T
        totals = expected.sum(axis=1, keepdims=True)  # 0 for a document without words
        doc_topic = np.divide(expected, totals, out=doc_topic, where=totals > 0)
        topic_word /= topic_word.sum(axis=1, keepdims=True)
    return bound


def fit_clusters(X, centers, *, n_iter):
    """Make `n_iter` iterations of k-means; return the inertia of the centers that come out.

    Lloyd (1982): every sample to its nearest center, every center to the mean of its samples.
    """
    for _ in range(n_iter):
        labels = _squared_distances(X, centers).argmin(axis=1)
        member = sp.csr_array(
            (np.ones(len(X), X.dtype), labels, np.arange(len(X) + 1)), shape=(len(X), len(centers))
        )
        centers = (member.T @ X) / np.bincount(labels, minlength=len(centers))[:, None]
    return _squared_distances(X, centers).min(axis=1).sum(dtype=float)


def _squared_distances(X, centers):
    """|x - c|^2 of every sample and center, (n_samples, n_clusters), by a matrix product."""
    squares = (X**2).sum(axis=1)[:, None] + (centers**2).sum(axis=1)
    return np.maximum(squares - 2 * X @ centers.T, 0)
