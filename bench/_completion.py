"""Document completion: one judge of topics for all libraries (Wallach et al. 2009, section 5.1)."""

import os
from pathlib import Path

import _topics
import numpy as np
import scipy.sparse as sp

from fastem._kernels import topics as kernel
from fastem.topics.documents import Documents, Topics, log_likelihood, padded

PRIORS = (0.01, 0.02, 0.04, 0.08, 0.16)
SWEEPS, TOL = 50, 1e-4
LEAST = 1e-12  # the probability of a word that a library has none for


class Judge:
    """Scores topics by the words that inference has not seen; it knows nothing but the topics.

    With theta_dk proportional to alpha + sum_w n_dw p(k|d, w), repeated on one half of a document's
    words, the score is the mean log-probability of a word of the other; the best of a few alpha.
    """

    def __init__(self, observed, held):
        self.observed, self.held = Documents(observed), Documents(held)

    def score(self, topic_word):
        """Nats per held-out token of topics (K, V), which need not be normalised."""
        k = len(topic_word)
        phi = np.maximum(topic_word, 0) / np.sum(topic_word, axis=1, keepdims=True) + LEAST
        phi = padded(phi.T / phi.sum(axis=1), k, np.float64)
        scale = padded(np.ones((1, k)), k, np.float64)[0]
        scores = []
        for prior in PRIORS:
            theta = padded(np.full((self.observed.n_docs, k), 1 / k), k, np.float64)
            found = np.empty_like(theta)
            job = kernel.Job(self.observed.counts, k, phi, scale)
            kernel.documents(
                job, theta, found, None, 2, doc_prior=prior, max_sweeps=SWEEPS, tol=TOL
            )
            total = log_likelihood(Topics(phi, np.ones(k), 0.0), self.held, found, 2).sum()
            scores.append(total / self.held.total_weight)
        return max(scores)


def load(name, part=1):
    """Training counts, and judges for choosing settings and for scoring them."""
    folder = Path(os.environ.get("FASTEM_DATA", _topics.DATA)) / name
    if (folder / "test_obs.npz").exists():
        files = ("train", "test_obs", "test_held")
        X, observed, held = (sp.csr_array(sp.load_npz(folder / f"{f}.npz")) for f in files)
    else:
        X, _ = _topics.load_corpus(name)
        X, whole = X[np.arange(X.shape[0]) % 10 > 0], X[::10]
        observed, held = whole.copy(), whole.copy()
        observed.data = np.random.default_rng(0).binomial(whole.data.astype(int), 0.5)
        held.data = whole.data - observed.data
    X = X[::part]
    X = X[np.diff(X.indptr) > 0].astype(np.float32)
    known = X.sum(axis=0) > 0
    parts = [counts[:, known].astype(np.float64) for counts in (observed, held)]
    return X[:, known], *(Judge(*(counts[half::2] for counts in parts)) for half in (0, 1))
