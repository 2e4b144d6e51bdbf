"""Probabilistic latent semantic analysis in plain NumPy (Hofmann 2001, equations 3-6)."""

import numpy as np
import scipy.sparse as sp


def e_step(X, doc_topic, topic_word, sample_weight=None):
    """Expected counts: p(z|d,w) = p(z|d) p(w|z) / p(w|d), summed with the counts n(d,w).

    X is a CSR array of counts (D, V); doc_topic (D, K) is p(z|d), topic_word (K, V) is p(w|z). Only
    the counts above 0 are visited. Returns the log-likelihood, the weight of all tokens, and the
    expected counts of topics in documents (D, K), unweighted, and of words in topics (K, V).
    """
    weight = np.ones(X.shape[0]) if sample_weight is None else sample_weight
    counts = X.tocoo()
    doc, word = counts.row, counts.col
    probability = np.einsum("ik,ik->i", doc_topic[doc], topic_word.T[word])  # p(w|d)
    ratio = sp.csr_array((X.data / probability, X.indices, X.indptr), shape=X.shape)
    weighted = sp.csr_array((weight[doc] * ratio.data, X.indices, X.indptr), shape=X.shape)
    return {
        "bound": float(weight[doc] @ (X.data * np.log(probability))),
        "weight": float(weight[doc] @ X.data),
        "doc_topic": doc_topic * (ratio @ topic_word.T),
        "topic_word": topic_word * (weighted.T @ doc_topic).T,
    }


def m_step(doc_topic, topic_word):
    """p(z|d) and p(w|z) from expected counts; an empty document has equal probabilities."""
    totals = doc_topic.sum(axis=1, keepdims=True)
    uniform = np.full_like(doc_topic, 1 / doc_topic.shape[1])
    doc_topic = np.divide(doc_topic, totals, out=uniform, where=totals > 0)
    return doc_topic, topic_word / topic_word.sum(axis=1, keepdims=True)


def fit(X, doc_topic, topic_word, n_iter):
    """n_iter iterations; returns the parameters and the mean log-likelihood before each M-step."""
    bounds = []
    for _ in range(n_iter):
        sums = e_step(X, doc_topic, topic_word)
        bounds.append(sums["bound"] / sums["weight"])
        doc_topic, topic_word = m_step(sums["doc_topic"], sums["topic_word"])
    return doc_topic, topic_word, bounds
