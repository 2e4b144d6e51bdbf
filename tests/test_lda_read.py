"""What is read off latent Dirichlet allocation: bounds, tokens' topics, words; sorted corpora."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import psi
from test_lda import K, X, oracle, start

from fastem import LatentDirichletAllocation, em
from fastem._kernels import topics as kernel
from fastem.topics.documents import Documents, padded
from fastem.topics.incremental import IncrementalLDAEM

EXACT = {"mean_change_tol": 1e-9, "max_doc_update_iter": 3000, "evaluate_every": 1, "perp_tol": 0}


# ---- the bound -------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.1, 0])
@pytest.mark.parametrize("alpha", [0.2, [0.1, 0.2, 0.3, 0.4, 0.5]])
def test_elbo_is_the_textbooks(alpha, eta):
    """The oracle's at converged documents; what the next pass reports; and the score."""
    settings = {"doc_topic_prior": alpha, "topic_word_prior": eta, "components_init": start()}
    settings |= EXACT
    lda = LatentDirichletAllocation(K, max_iter=3, **settings).fit(X)
    lam = lda.components_[:, X.any(axis=0)] if eta == 0 else lda.components_
    counts = X[:, X.any(axis=0)] if eta == 0 else X
    gamma = np.ones((len(X), K))
    gamma = oracle.update_gamma(counts, gamma, lam, alpha, 3000, 1e-9, eta == 0)
    expected = oracle.e_step(counts, gamma, lam, np.asarray(alpha), eta == 0)[0]
    expected += oracle.dirichlet_bound(eta, lam) if eta else 0
    assert_allclose(lda.elbo(X), expected / X.sum(), rtol=1e-10)
    assert_allclose(lda.score(X), expected, rtol=1e-9)
    more = LatentDirichletAllocation(K, max_iter=4, **settings).fit(X)
    assert_allclose(lda.elbo(X), more.lower_bounds_[-1], rtol=1e-10)


def test_elbo_knows_weights_and_is_float64():
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    lda = LatentDirichletAllocation(K, random_state=0).fit(X)
    repeated = np.repeat(X, weight.astype(int), axis=0)
    assert_allclose(lda.elbo(X, sample_weight=weight), lda.elbo(repeated), rtol=1e-12)
    single = LatentDirichletAllocation(K, components_init=start()).fit(X.astype(np.float32))
    double = LatentDirichletAllocation(K, components_init=start()).fit(X)
    assert_allclose(single.elbo(X.astype(np.float32)), double.elbo(X), rtol=1e-6)


priors = st.sampled_from(["number", "vector", "auto"])


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 15)),
    n_topics=st.integers(1, 6),
    alpha=priors,
    eta=st.sampled_from(["number", "zero", "auto", "guided"]),
    scale=st.floats(0.01, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_bound_never_falls(shape, n_topics, alpha, eta, scale, seed):
    """Over random corpora and priors, when documents go on from their gamma: without exception.

    One block of the incremental schedule: from its fifth visit on nothing starts again.
    """
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.5, scale, shape)).astype(float)
    doc_prior = np.full(n_topics, rng.gamma(1, 0.5) + 0.01)
    if alpha == "vector":
        doc_prior = rng.gamma(1, 0.5, n_topics) + 0.01
    word_prior = {"zero": 0.0, "guided": rng.gamma(1, 0.5, (n_topics, shape[1])) + 0.01}
    model = IncrementalLDAEM(
        doc_prior, word_prior.get(eta, rng.gamma(1, 0.5) + 0.01), 1, max_sweeps=50, tol=0.0,
        learn_doc_topic=alpha == "auto", learn_topic_word=eta == "auto",
    )  # fmt: skip
    block = Documents(sp.csr_array(counts), None)
    first = rng.gamma(2, 1, (n_topics, shape[1])) + 0.1
    lda = LatentDirichletAllocation(n_topics, components_init=first)
    lda._begin(shape[1], counts.dtype)
    result = em.fit(
        model, [block], lda._topics(counts.dtype), schedule="incremental", max_iter=25, tol=0
    )
    bounds = np.array(result.lower_bounds[5:]) * max(counts.sum(), 1)
    assert np.all(np.isfinite(bounds))
    assert np.diff(bounds).min() >= -1e-7 * (1 + np.abs(bounds).max())


@given(
    seed=st.integers(0, 2**32 - 1),
    alpha=st.sampled_from([0.5, 2.0, [0.3, 0.8, 1.5]]),
    eta=st.sampled_from([0, 0.1, 1.0]),
)
def test_elbo_rises_over_batch_passes(seed, alpha, eta):
    """Documents start again in each pass, and some may find another optimum: 1 % is allowed."""
    rng = np.random.default_rng(seed)
    topic_word = rng.dirichlet(np.full(25, 0.2), 3)
    counts = rng.poisson(40 * rng.dirichlet(np.full(3, 0.3), 30) @ topic_word).astype(float)
    settings = {"doc_topic_prior": alpha, "topic_word_prior": eta, **EXACT}
    settings["components_init"] = rng.gamma(1, 1, (3, 25)) + 0.1
    lda = LatentDirichletAllocation(3, max_iter=12, **settings).fit(counts)
    bounds = [*lda.lower_bounds_, lda.elbo(counts)]
    assert np.diff(bounds).min() >= -0.01 * abs(bounds[-1])
    assert bounds[-1] > bounds[0]


# ---- tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("eta", [0.1, 0])
def test_token_topics_are_the_e_steps(eta, dtype):
    """Rows in CSR order that sum to 1; their sums are gamma and the topics' counts."""
    tolerance = 1e-6 if dtype == np.float64 else 1e-3
    counts = X.astype(dtype)
    lda = LatentDirichletAllocation(K, topic_word_prior=eta, random_state=0, **EXACT).fit(counts)
    token_topic = lda.token_topics(counts)
    rows, columns = np.nonzero(counts)
    assert token_topic.shape == (len(rows), K)
    assert token_topic.dtype == dtype
    assert_allclose(token_topic.sum(axis=1), 1, rtol=1e-5)
    gamma = lda.transform(counts, normalize=False)
    n = counts[rows, columns]
    sums = np.zeros((len(X), K))
    np.add.at(sums, rows, n[:, None] * token_topic)
    assert_allclose(sums + 1 / K, gamma, rtol=tolerance, atol=tolerance)
    q = np.exp(oracle.expected_log(gamma.astype(float)))[rows]
    q *= lda.exp_dirichlet_component_[:, columns].T
    assert_allclose(token_topic, q / q.sum(axis=1, keepdims=True), rtol=tolerance, atol=tolerance)


def test_token_topics_of_any_layout():
    """Some documents, in any order of their words, with duplicates."""
    lda = LatentDirichletAllocation(K, random_state=0).fit(X)
    expected = lda.token_topics(X[10:30])
    first = np.count_nonzero(X[:10])
    assert_allclose(expected, lda.token_topics(X)[first : first + len(expected)], rtol=1e-12)
    messy = sp.csr_matrix(X[10:30]).tocoo()
    order = np.random.default_rng(0).permutation(messy.nnz)
    rows, columns = messy.row[order], messy.col[order]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=20))])
    by_row = np.argsort(rows, kind="stable")
    unsorted = sp.csr_matrix((messy.data[order][by_row], columns[by_row], indptr), shape=(20, 60))
    assert not unsorted.has_sorted_indices
    for same in (sp.csr_matrix(X[10:30]), sp.csc_matrix(X[10:30]), unsorted):
        assert_allclose(lda.token_topics(same), expected, rtol=1e-12)
    assert lda.token_topics(np.zeros((3, 60))).shape == (0, K)


# ---- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [None, 0])
def test_words_and_coherence(eta):
    """Two groups of words that never meet are two topics."""
    counts = np.kron(np.eye(2), np.random.default_rng(0).poisson(4, (20, 6)) + 1)
    lda = LatentDirichletAllocation(2, topic_word_prior=eta, random_state=1, max_iter=30)
    lda.fit(counts)
    names = [f"w{i}" for i in range(12)]
    groups = sorted(sorted(words) for words in lda.top_words(names, n=6))
    assert groups == sorted([sorted(names[:6]), sorted(names[6:])])
    assert_allclose(lda.coherence(counts, n=6, measure="npmi"), 1)
    assert np.all(lda.coherence(counts, n=6) > lda.coherence(counts, n=12) + 0.5)
    assert_allclose(lda.inverse_transform(lda.transform(counts)).sum(axis=1), 1)


# ---- a sorted corpus -------------------------------------------------------------------------


def test_online_takes_a_sorted_corpus_in_random_order():
    """Seeded; as it comes, the topics are those of the last documents."""
    rng = np.random.default_rng(0)
    topic_word = rng.dirichlet(np.full(200, 0.05), 8)
    counts = rng.poisson(50 * np.repeat(topic_word, 100, axis=0)).astype(float)
    settings = {"learning_method": "online", "batch_size": 20, "max_iter": 1, "random_state": 0}
    fits = [LatentDirichletAllocation(8, **settings).fit(counts) for _ in range(2)]
    assert_array_equal(fits[0].components_, fits[1].components_)
    sorted_fit = LatentDirichletAllocation(8, shuffle=False, **settings).fit(counts)
    assert fits[0].elbo(counts) > sorted_fit.elbo(counts) + 0.1


def test_online_on_alphabetical_debian():
    """Better than a unigram, which scikit-learn's order of documents puts in doubt."""
    folder = Path(os.environ.get("FASTEM_DATA", "shared/data")) / "debian"
    if not folder.is_dir():
        pytest.skip(f"no corpus {folder}: set FASTEM_DATA to the folder of corpora")
    train, observed, held = (
        sp.csr_array(sp.load_npz(folder / f"{name}.npz")).astype(np.float32)
        for name in ("train", "test_obs", "test_held")
    )
    train = train[::4]
    unigram = train.sum(axis=0) + 0.01
    unigram = float((held @ np.log(unigram / unigram.sum())).sum() / held.sum())
    settings = {"learning_method": "online", "max_iter": 2, "random_state": 0}
    settings["max_doc_update_iter"] = 30
    shuffled = LatentDirichletAllocation(20, **settings).fit(train)
    as_it_comes = LatentDirichletAllocation(20, shuffle=False, **settings).fit(train)
    value = shuffled.held_out_log_likelihood(observed, held)
    assert value > unigram + 0.2
    assert value > as_it_comes.held_out_log_likelihood(observed, held) + 0.05


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", ["words", "topics", "columns"])
def test_rows_of_words_of_any_layout(layout, dtype):
    """With exp(digamma) of them, the bits are those of two passes, for every number of threads."""
    rng = np.random.default_rng(0)
    lam = rng.gamma(0.5, 1, (7, 900)).astype(dtype) + dtype(1e-3)
    given = {"words": np.asfortranarray(lam), "topics": lam}.get(layout)
    if given is None:
        given = np.repeat(lam, 2, axis=1)[:, ::2]
    words = np.flatnonzero(rng.random(900) < 0.4).astype(np.int32)
    plain = padded(lam[:, words].T, 7, dtype)
    for digamma in (False, True):
        wanted = plain.copy()
        if digamma:
            kernel.exp_digamma(plain, 0.0, wanted, 1)
        for n_threads in (1, 3):
            out = np.full_like(plain, np.nan)
            kernel.rows_of_words(given, words, out, n_threads, digamma)
            assert_array_equal(out, wanted)


@pytest.mark.parametrize("least", [1e-9, 0.5])
def test_few_words_of_many_are_read_alone(least):
    """What other words documents could have does not matter, with hardly any counts neither."""
    rng = np.random.default_rng(0)
    lda = LatentDirichletAllocation(3, max_iter=1, random_state=0).fit(rng.poisson(1.0, (9, 80)))
    lda.topic_word_prior_ = 1e-12
    lda.components_ = np.full((3, 80), least / 80)
    lda.components_[:2, :40] += rng.gamma(1, 1, (2, 40))
    few = np.zeros((4, 80))
    few[:, 5:9] = rng.poisson(5.0, (4, 4))
    expected = np.exp(psi(lda.components_) - psi(lda.components_.sum(axis=1, keepdims=True)))
    gamma = np.ones((4, 3))
    for _ in range(lda.max_doc_update_iter):
        theta = np.exp(psi(gamma))
        ratio = np.divide(few, theta @ expected, out=np.zeros_like(few), where=few > 0)
        gamma = lda.doc_topic_prior_ + theta * (ratio @ expected.T)
    lda.set_params(mean_change_tol=0.0)
    assert_allclose(lda.transform(few, normalize=False), gamma, rtol=1e-6)


def test_priors_set_as_arrays_of_no_dimension_are_numbers():
    lda = LatentDirichletAllocation(K, max_iter=2, random_state=0).fit(X)
    found = lda.transform(X), lda.score(X), lda.partial_fit(X).components_
    lda = LatentDirichletAllocation(K, max_iter=2, random_state=0).fit(X)
    lda.topic_word_prior_ = np.array(lda.topic_word_prior_)
    assert_array_equal(lda.transform(X), found[0])
    assert lda.score(X) == found[1]
    assert_array_equal(lda.partial_fit(X).components_, found[2])
