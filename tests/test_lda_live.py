"""Documents' topics that die in the E-step of LDA: the result is that of all topics."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.special import gammaln

from fastem import LatentDirichletAllocation
from fastem._kernels import topics as kernel

try:
    from reference import lda as oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)

K = 37  # no whole number of vectors, and many more topics than a document has


def corpus(n_docs, n_words, tokens, seed=0):
    """Documents of few topics that share most words; one document and one word are empty."""
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(n_words, 0.3), K)
    shares = rng.dirichlet(np.full(K, 0.03), n_docs)
    counts = rng.poisson(tokens * shares @ topics).astype(np.float64)
    counts[1], counts[:, 2] = 0, 0
    return counts


def check(X, alpha, dtype, tolerance, n_updates=60, tol=0.0):
    """Three passes of scikit-learn's batch algorithm against the textbook's."""
    rng = np.random.RandomState(3)
    lam = rng.gamma(100, 0.01, (K, X.shape[1]))
    gammas = [rng.gamma(100, 0.01, (len(X), K)) for _ in range(3)]
    lam, bounds = oracle.fit(X, gammas, lam, alpha, 0.1, n_updates, tol)
    lda = LatentDirichletAllocation(
        K, doc_topic_prior=alpha, topic_word_prior=0.1, max_iter=3, evaluate_every=1, perp_tol=0,
        max_doc_update_iter=n_updates, mean_change_tol=tol, random_state=3,
    ).fit(X.astype(dtype))  # fmt: skip
    scale = tolerance * X.max()
    assert_allclose(lda.components_, lam, rtol=tolerance, atol=scale)
    if alpha < 1e6 * X.max():  # else the documents' part is the difference of huge numbers
        # The textbook sums these terms of all documents before it subtracts.
        terms = len(X) * abs(gammaln(K * alpha))
        atol = 4 * np.finfo(np.float64).eps * terms / X.sum()
        assert_allclose(lda.lower_bounds_, np.array(bounds) / X.sum(), tolerance / 10, atol)
    expected = oracle.update_gamma(X, np.ones((len(X), K)), lam, alpha, n_updates, tol)
    assert_allclose(lda.transform(X.astype(dtype), normalize=False), expected, rtol=tolerance,
                    atol=scale)  # fmt: skip


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 5e-3)])
@pytest.mark.parametrize("alpha", [0.005, 0.02, 0.1, 1.0, 1e6])
@pytest.mark.usefixtures("every_instruction_set")
def test_passes_are_the_textbooks(alpha, dtype, tolerance):
    check(corpus(40, 90, 120), alpha, dtype, tolerance)


@pytest.mark.parametrize("alpha", [0.02, 1e12])
@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_counts_may_be_tiny_or_huge(size, alpha):
    """What a word adds to gamma is lost beside the prior then, but not the word."""
    check(size * corpus(20, 60, 80), alpha, np.float64, 1e-8)


@pytest.mark.parametrize("n_updates", [1, 2, 3, 9])
def test_few_updates(n_updates):
    check(corpus(40, 90, 120), 0.02, np.float64, 1e-9, n_updates)


def test_updates_until_gamma_stays():
    check(corpus(60, 90, 120), 0.02, np.float64, 1e-9, 200, 1e-3)


def test_gamma_may_begin_below_the_prior():
    """A topic whose theta was next to nothing is not dead, for theta grows."""
    X, lam = corpus(20, 60, 80), np.random.default_rng(1).gamma(1.0, 1.0, (K, 60))
    rows = sp.csr_array(X)
    width = kernel.width(K, np.float64)
    phi, prior, gamma = np.zeros((60, width)), np.zeros(width), np.zeros((len(X), width))
    phi[:, :K], prior[:K], gamma[:, :K] = oracle.expected_topics(lam, False).T, 2.0, 0.01
    gamma[:, 0] = 1.0
    expected = oracle.update_gamma(X, gamma[:, :K], lam, 2.0, 50, 0)
    counts = kernel.Counts(rows.indptr.astype(np.int64), rows.indices, rows.data)
    job = kernel.Job(counts, K, phi, np.ones(width))
    kernel.dirichlet_e_step(
        job, gamma, prior, np.zeros_like(gamma), None, None, 1, max_sweeps=50, tol=0.0
    )
    assert_allclose(gamma[:, :K], expected, rtol=1e-10)


def test_documents_beyond_the_table():
    """Their topics are laid out once few of them live."""
    X = corpus(6, 9000, 60_000)
    assert (X > 0).sum(axis=1).max() * K > 1 << 17
    check(X, 0.02, np.float64, 1e-8)
