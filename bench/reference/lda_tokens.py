"""LDA with a topic, or topics' probabilities, for every word, in plain NumPy: one pass of each.

X is a dense array of counts (D, V). Documents come in chunks, pairs of their first number and one
past their last; those of a chunk see the words' counts as they were when it began.
"""

import numpy as np
from scipy.special import psi


def cvb0_pass(X, weight, chunks, q, doc_topic, word_topic, alpha, eta):
    """CVB0 (Asuncion et al. 2009, equation 8): a q for each count, its own tokens' one left out.

    q (D, V, K), doc_topic (D, K) and word_topic (V, K) are changed. Returns the log-likelihood of
    each document's words, each given all others.
    """
    log_likelihood = np.zeros(len(X))
    for first, last in chunks:
        frozen, totals = word_topic.copy(), word_topic.sum(axis=0)
        for d in range(first, last):
            for w in np.flatnonzero(X[d] if weight[d] else []):
                n, old = X[d, w], q[d, w].copy()
                own = min(n, 1)
                own_word = own * min(weight[d], 1)
                others = doc_topic[d] - own * old + alpha
                p = others * (frozen[w] - own_word * old + eta)
                p /= totals - own_word * old + len(frozen) * eta
                log_likelihood[d] += n * np.log(p.sum() / others.sum())
                q[d, w] = p / p.sum()
                doc_topic[d] += n * (q[d, w] - old)
                word_topic[w] += weight[d] * n * (q[d, w] - old)
    return log_likelihood


def draw_pass(X, chunks, topic, word_topic, alpha, eta, uniforms, order):
    """Draw every token's topic once, given all others (Griffiths & Steyvers 2004, equation 5).

    topic is a list of documents, each a list of (word, topic), topic -1 if it has none yet;
    uniforms come in the same order, one for a token. Topics stand in the inverse distribution
    function in the given order. topic and word_topic (V, K) are changed; returns the counts of
    documents in topics (D, K) and the log-likelihood as above.
    """
    n_topics, place = word_topic.shape[1], 0
    doc_topic = np.zeros((len(X), n_topics), int)
    log_likelihood = np.zeros(len(X))
    for first, last in chunks:
        frozen, totals = word_topic.copy(), word_topic.sum(axis=0)
        for d in range(first, last):
            for _, old in topic[d]:
                doc_topic[d, old] += old >= 0
            for i, (w, old) in enumerate(topic[d]):
                own = (np.arange(n_topics) == old).astype(int)
                doc_topic[d] -= own
                p = (doc_topic[d] + alpha) * (frozen[w] - own + eta)
                p /= totals - own + len(frozen) * eta
                log_likelihood[d] += np.log(p.sum() / (doc_topic[d] + alpha).sum())
                cumulative = np.cumsum(p[order])
                new = order[np.searchsorted(cumulative, uniforms[place] * p.sum(), "right")]
                place += 1
                doc_topic[d, new] += 1
                topic[d][i] = w, new
                word_topic[w] += (np.arange(n_topics) == new).astype(int) - own
    return doc_topic, log_likelihood


def minka_steps(alpha, doc_topic, n_steps):
    """Minka's fixed point for a Dirichlet-multinomial (2000, equation 55)."""
    lengths = doc_topic.sum(axis=1)
    for _ in range(n_steps):
        gain = (psi(doc_topic + alpha) - psi(alpha)).sum(axis=0)
        alpha = alpha * gain / (psi(lengths + alpha.sum()) - psi(alpha.sum())).sum()
        alpha = np.maximum(alpha, 1e-3)
    return alpha
