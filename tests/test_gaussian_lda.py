"""GaussianLDA: recovery, the bound, two ways to give documents, bad input, real data."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, reject
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import gaussian_lda as oracle
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import GaussianLDA, em
from fastem.topics import gaussian_lda_em
from fastem.topics.gaussian_lda_em import GaussianLDAEM, GaussianTopics, VectorDocuments

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

K, D = 4, 3


def sample(n_documents=150, seed=0, spread=8.0, alpha=0.3):
    """Return vectors, lengths, the topics' means, and the documents' topics."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, spread, (K, D))
    lengths = rng.integers(0, 40, n_documents)
    doc_topic = rng.dirichlet(np.full(K, alpha), n_documents)
    topics = [rng.choice(K, n, p=p) for n, p in zip(lengths, doc_topic, strict=True)]
    topics = np.concatenate(topics)
    return means[topics] + rng.normal(size=(len(topics), D)), lengths, means, doc_topic


def counts(seed=0, shape=(60, 30)):
    """Return counts and the words' vectors, some documents and words of which are empty."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(rng.gamma(0.3, 2.0, shape)).astype(float)
    X[7], X[:, 5] = 0, 0
    return X, rng.normal(0, 2, (shape[1], D))


def stacked(X, vectors):
    """Return the same documents as vectors and lengths."""
    whole = X.astype(int)
    return np.concatenate([np.repeat(vectors, row, axis=0) for row in whole]), whole.sum(axis=1)


# ---- what it finds ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_topics_are_recovered(dtype):
    X, lengths, means, doc_topic = sample()
    lda = GaussianLDA(K, doc_topic_prior="auto", random_state=0)
    found = lda.fit_transform(X.astype(dtype), lengths=lengths)
    nearest = np.linalg.norm(lda.means_[:, None] - means, axis=2).argmin(axis=0)
    assert sorted(nearest) == list(range(K))
    assert_allclose(lda.means_[nearest], means, atol=0.3)
    assert_allclose(lda.covariances_, 1, atol=0.4)
    assert_allclose(lda.doc_topic_prior_, 0.3, atol=0.15)
    long = lengths > 20
    assert np.abs(found[long][:, nearest] - doc_topic[long]).mean() < 0.06
    assert found.dtype == dtype
    assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    prior = lda.doc_topic_prior_ / lda.doc_topic_prior_.sum()
    assert_allclose(found[lengths == 0], np.tile(prior, (sum(lengths == 0), 1)), rtol=1e-5)


def test_fit_equals_the_oracle():
    X, vectors = counts()
    first = np.random.default_rng(1).normal(0, 1.5, (K, D))
    lda = GaussianLDA(K, vectors=vectors, doc_topic_prior=0.3, means_init=first, max_iter=12, tol=0)
    lda.fit(X)
    weight = X.sum(axis=0)
    mean = weight @ vectors / weight.sum()
    variances = np.tile(weight @ (vectors - mean) ** 2 / weight.sum() + 1e-6, (K, 1))
    X = sp.csr_array(X)
    _, means, variances, bounds = oracle.fit(vectors, X, first, variances, 0.3, 12)
    assert_allclose(lda.lower_bounds_, bounds, rtol=1e-9)
    assert_allclose(lda.means_, means, rtol=1e-7)
    assert_allclose(lda.covariances_, variances, rtol=1e-7)


def test_counts_of_vectors_are_stacked_vectors():
    """Counts with vectors, and every vector as often as it is counted, are the same documents."""
    X, vectors = counts()
    settings = {"means_init": vectors[:K], "doc_topic_prior": "auto", "mean_change_tol": 1e-10}
    settings |= {"max_doc_update_iter": 1000, "max_iter": 20, "tol": 0}
    one = GaussianLDA(K, vectors=vectors, **settings).fit(X)
    tokens, lengths = stacked(X, vectors)
    other = GaussianLDA(K, **settings).fit(tokens, lengths=lengths)
    assert_allclose(one.lower_bounds_, other.lower_bounds_, rtol=1e-9)
    for name in ("means_", "covariances_", "doc_topic_prior_"):
        assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6)
    assert_allclose(one.transform(X), other.transform(tokens, lengths), atol=1e-7)
    assert_allclose(one.score(X), other.score(tokens, lengths=lengths), rtol=1e-9)
    assert_allclose(one.components_.sum(axis=0), X.sum(axis=0), rtol=1e-9)
    assert_allclose(one.components_ @ vectors / one.components_.sum(axis=1)[:, None], one.means_)


def test_documents_of_one_topic_are_a_mixture_of_documents():
    """One document per vector and a huge alpha: a mixture with equal weights."""
    from sklearn.mixture import GaussianMixture

    X = sample()[0]
    first, variance = X[:K], X.var(axis=0)
    lda = GaussianLDA(K, doc_topic_prior=1e9, means_init=first, max_iter=1, tol=0)
    lda.fit(X, lengths=np.ones(len(X), int))
    peer = GaussianMixture(
        K, covariance_type="diag", weights_init=np.full(K, 1 / K), means_init=first,
        precisions_init=np.tile(1 / (variance + 1e-6), (K, 1)), max_iter=1, tol=0,
    ).fit(X)  # fmt: skip
    assert_allclose(lda.means_, peer.means_, rtol=1e-6)
    assert_allclose(lda.covariances_, peer.covariances_, rtol=1e-6)
    assert_allclose(lda.lower_bound_, peer.lower_bound_, rtol=1e-5)


# ---- the bound -------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32 - 1),
    alpha=st.sampled_from(["auto", 1e-3, 0.02, 1.0, 100.0]),
    spread=st.sampled_from([0.0, 1.0, 30.0]),
    sweeps=st.integers(1, 30),
)
def test_bound_never_falls(seed, alpha, spread, sweeps):
    """However few updates a document has, and however little it may have of a topic."""
    X, lengths, *_ = sample(20, seed, spread)
    lda = GaussianLDA(K, doc_topic_prior=alpha, reg_covar=0.0, tol=0, max_iter=15, random_state=0)
    lda.set_params(max_doc_update_iter=sweeps)
    try:
        bounds = lda.fit(X, lengths=lengths).lower_bounds_
    except ValueError as error:  # a topic of a single vector
        if "increase reg_covar" not in str(error):
            raise
        reject()
    assert np.all(np.isfinite(bounds))
    assert np.diff(bounds).min() >= -1e-10 * np.abs(bounds).max()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_vector_that_a_topic_comes_to_suit_goes_there(dtype):
    """Though exp(digamma(alpha)) underflows in a topic that its document has not had."""
    X = np.array([[0.0], [1.0], [0.5], [40.0]], dtype)  # 40: a thousand nats from topic 0
    variances, alpha = np.ones((2, 1)), np.full(2, 1e-3)
    model = GaussianLDAEM(alpha, dtype, None, 0.0, 1, max_sweeps=50, tol=1e-6)
    (block,) = VectorDocuments.of_stacked(X, np.array([4]), 2)

    def topics(other):
        return GaussianTopics.of(np.array([[0.5], [other]]).astype(dtype), variances, alpha)

    _, gamma = model.e_step(topics(-300.0), block, model.first_state(topics(-300.0), block))
    assert_allclose(gamma[0, :2], [4.001, 0.001], rtol=1e-4)
    assert_array_equal(model.infer(topics(-300.0), block), gamma[:, :2])
    statistics, gamma = model.e_step(topics(41.0), block, gamma)
    assert_allclose(gamma[0, :2], [3.001, 1.001], rtol=1e-4)
    density = oracle.log_density(X.astype(float), np.array([[0.5], [41.0]]), variances)
    expected, _ = oracle.document(density, np.ones(4), np.array([3.001, 1.001]), alpha)
    assert_allclose(statistics.bound, expected, rtol=1e-5)


def test_far_vectors_keep_their_digits():
    """Moments are about the means: an offset of a million takes nothing from the variances."""
    X, lengths, *_ = sample()
    settings = {"means_init": X[:K], "max_iter": 10, "tol": 0}
    near = GaussianLDA(K, **settings).fit(X, lengths=lengths)
    settings["means_init"] = X[:K] + 1e6
    far = GaussianLDA(K, **settings).fit(X + 1e6, lengths=lengths)
    assert_allclose(far.covariances_, near.covariances_, rtol=1e-6)
    assert_allclose(far.lower_bound_, near.lower_bound_, rtol=1e-8)


def test_a_topic_without_vectors_begins_anew():
    X, lengths, *_ = sample(spread=0.5)
    first = np.vstack([X[:3], np.full((1, D), 1e4)])
    lda = GaussianLDA(K, means_init=first, max_iter=20, tol=0).fit(X, lengths=lengths)
    assert np.all(np.abs(lda.means_) < 10)
    assert np.diff(lda.lower_bounds_).min() > -1e-9


# ---- blocks, weights, threads, seeds ---------------------------------------------------------


def test_blocks_do_not_matter(monkeypatch):
    """Few vectors at a time give the fit that all at once give; empty documents anywhere."""
    X, lengths, *_ = sample()
    lengths = np.concatenate([[0, 0], lengths, [0, 300, 0]])
    X = np.vstack([X, X[:300]])
    settings = {"doc_topic_prior": "auto", "means_init": X[:K], "tol": 0, "max_iter": 8}
    whole = GaussianLDA(K, **settings).fit(X, lengths=lengths)
    monkeypatch.setattr(gaussian_lda_em, "_BLOCK_BYTES", 2000)
    blocks = VectorDocuments.of_stacked(X, lengths, K)
    assert len(blocks) > 20
    assert sum(block.documents.n_docs for block in blocks) == len(lengths)
    assert sum(len(block.vectors.X) for block in blocks) == len(X)
    parts = GaussianLDA(K, **settings).fit(X, lengths=lengths)
    assert_allclose(parts.lower_bounds_, whole.lower_bounds_, rtol=1e-10)
    assert_allclose(parts.covariances_, whole.covariances_, rtol=1e-8)
    assert_allclose(parts.transform(X, lengths), whole.transform(X, lengths), atol=1e-9)


@pytest.mark.parametrize("with_counts", [False, True])
def test_weight_two_is_two_documents(with_counts):
    X, vectors = counts()
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    settings = {"doc_topic_prior": "auto", "max_iter": 10, "tol": 0, "means_init": vectors[:K]}
    lda = GaussianLDA(K, vectors=vectors if with_counts else None, **settings)
    if with_counts:
        one = {"X": X}, {"X": np.repeat(X, weight, axis=0)}
    else:
        one = [dict(zip(["X", "lengths"], stacked(x, vectors), strict=True))
               for x in (X, np.repeat(X, weight, axis=0))]  # fmt: skip
    weighted = lda.fit(**one[0], sample_weight=weight)
    bounds, means = weighted.lower_bounds_, weighted.means_
    repeated = lda.fit(**one[1])
    assert_allclose(bounds, repeated.lower_bounds_, rtol=1e-9)
    assert_allclose(means, repeated.means_, rtol=1e-7)


def test_threads_give_the_same_bits():
    X, lengths, *_ = sample(3000)
    fits = [
        GaussianLDA(K, random_state=0, max_iter=5, tol=0, n_jobs=n).fit(X, lengths=lengths)
        for n in (1, 2, 4)
    ]
    for other in fits[1:]:
        assert_array_equal(other.means_, fits[0].means_)
        assert_array_equal(other.lower_bounds_, fits[0].lower_bounds_)


@pytest.mark.parametrize("method", ["k-means++", "random_from_data"])
def test_seeds(method, monkeypatch):
    monkeypatch.setattr(gaussian_lda_em, "_MOST_CANDIDATES", 100)
    X, lengths, *_ = sample()
    lda = GaussianLDA(K, init_params=method, max_iter=3)
    means = [lda.set_params(random_state=s).fit(X, lengths=lengths).means_ for s in (0, 0, 1)]
    assert_array_equal(means[0], means[1])
    assert np.any(means[0] != means[2])


def test_restarts_keep_the_best():
    X, lengths, *_ = sample(spread=1.5)
    settings = {"init_params": "random_from_data", "max_iter": 15, "tol": 0}
    rng = np.random.RandomState(0)
    single = [
        GaussianLDA(K, random_state=rng, **settings).fit(X, lengths=lengths).lower_bound_
        for _ in range(4)
    ]
    best = GaussianLDA(K, random_state=0, n_init=4, **settings).fit(X, lengths=lengths)
    assert best.lower_bound_ == max(single)


def test_a_topic_of_next_to_no_weight():
    """Its weight of 1e-316 has no inverse; it is none."""
    X, alpha = np.array([[0.0], [0.01], [-0.01]]), np.full(2, 0.01)
    model = GaussianLDAEM(alpha, np.float64, None, 1e-6, 1, max_sweeps=50, tol=1e-6)
    (block,) = VectorDocuments.of_stacked(X, np.array([3]), 2)
    topics = GaussianTopics.of(np.array([[0.0], [36.3]]), np.ones((2, 1)), alpha)
    statistics, _ = model.e_step(topics, block, None)
    assert statistics.moments.weight[1] == 0
    assert np.all(np.isfinite(model.m_step(statistics).covariances))


def test_one_topic_is_one_gaussian():
    X, lengths, *_ = sample()
    lda = GaussianLDA(1, doc_topic_prior="auto", random_state=0).fit(X, lengths=lengths)
    assert_allclose(lda.means_[0], X.mean(axis=0))
    assert_allclose(lda.covariances_[0], X.var(axis=0), rtol=1e-5)
    assert_array_equal(lda.transform(X, lengths), 1)
    assert lda.converged_


# ---- doors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "fit", "words"),
    [
        ({}, {"lengths": [3, 4]}, "lengths must sum to the number of vectors, the 10 rows of X"),
        ({}, {"lengths": [12, -2]}, "lengths must be a list of integers >= 0"),
        ({}, {"lengths": [5.0, 5.0]}, "dtype float64"),
        ({}, {"lengths": [[10]]}, r"shape \(1, 1\)"),
        ({}, {"lengths": [5, 5], "sample_weight": [1.0]}, "sample_weight"),
        ({}, {"lengths": [5, 5], "sample_weight": [0.0, 0.0]}, "at least one (positive|non-zero)"),
        ({}, {"lengths": [0, 10], "sample_weight": [1.0, 0.0]}, "no vector in a document"),
        ({"n_components": 11}, {}, "n_components=11 must be at most the number of vectors"),
        ({"means_init": np.ones((2, 2))}, {}, r"means_init must have shape \(2, 3\)"),
        ({"means_init": np.full((2, 3), np.nan)}, {}, "means_init contains NaN"),
        ({"doc_topic_prior": [1.0, 2.0, 3.0]}, {}, "doc_topic_prior must be a number"),
        ({"doc_topic_prior": [1.0, 0.0]}, {}, "doc_topic_prior must have only values above 0"),
        ({"doc_topic_prior": "learned"}, {}, "'doc_topic_prior' parameter"),
        ({"vectors": np.ones((3, 2))}, {"lengths": [10]}, "lengths must be None with `vectors`"),
        ({"vectors": np.ones((4, 2))}, {}, "vectors must have a row for each of the 3 columns"),
        ({"vectors": [[1.0], [np.nan], [np.inf]]}, {}, "in 2 rows, the first of them row 1"),
    ],
)
def test_bad_input_names_itself(parameters, fit, words):
    X = np.abs(np.random.default_rng(0).normal(size=(10, 3)))
    lda = GaussianLDA(**{"n_components": 2} | parameters)
    with pytest.raises(ValueError, match=words):
        lda.fit(X, **fit)
    assert not hasattr(lda, "means_")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value):
    X, lengths, *_ = sample()
    lda = GaussianLDA(K, random_state=0).fit(X, lengths=lengths)
    before, bad = lda.means_, X.copy()
    bad[3, 1] = value
    for method in (lda.fit, lda.transform, lda.score):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            method(bad, lengths=lengths)
    with pytest.raises(ValueError, match="features"):
        lda.transform(X[:, :2], lengths)
    assert lda.means_ is before


def test_bad_counts():
    X, vectors = counts()
    lda = GaussianLDA(K, vectors=vectors)
    with pytest.raises(ValueError, match="Negative values"):
        lda.fit(-X)
    with pytest.raises(ValueError, match="no vector in a document"):
        lda.fit(0 * X)


def test_equal_vectors_need_reg_covar():
    X = np.ones((10, 2))
    with pytest.raises(ValueError, match="increase reg_covar"):
        GaussianLDA(1, reg_covar=0).fit(X)
    assert_allclose(GaussianLDA(1).fit(X).covariances_, 1e-6)


def test_no_convergence_is_a_warning():
    X, lengths, *_ = sample()
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        GaussianLDA(K, max_iter=2, tol=1e-9, random_state=0).fit(X, lengths=lengths)


def test_interrupt_leaves_the_last_whole_pass():
    def interrupt(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    X, lengths, *_ = sample()
    lda = GaussianLDA(K, random_state=0, tol=0, max_iter=9)
    with em.watch(interrupt), pytest.raises(KeyboardInterrupt):
        lda.fit(X, lengths=lengths)
    expected = GaussianLDA(K, random_state=0, tol=0, max_iter=3).fit(X, lengths=lengths)
    assert_array_equal(lda.means_, expected.means_)
    assert lda.n_iter_ == 3


def test_topics_have_words_where_there_are_words():
    X, vectors = counts()
    lda = GaussianLDA(2, vectors=vectors, random_state=0).fit(sp.csr_array(X))
    names = [f"w{i}" for i in range(X.shape[1])]
    for topic, words in enumerate(lda.top_words(names, n=3)):
        best = np.argsort(-lda.components_[topic])[:3]
        assert words == [names[i] for i in best]
    assert lda.coherence(X, n=5).shape == (2,)
    assert_allclose(lda.inverse_transform(lda.transform(X)).sum(axis=1), 1)
    assert lda.get_feature_names_out().tolist() == ["gaussianlda0", "gaussianlda1"]
    with pytest.raises(AttributeError, match="has no attribute 'top_words'") as error:
        GaussianLDA().fit(vectors).top_words  # noqa: B018
    assert "given their `vectors`" in str(error.value.__cause__)


def no_row_for_each_row(_):
    """The checks that cannot pass: rows of X are vectors, but samples are documents."""
    transform = "X without lengths is one document, which has one row of topics"
    weight = "a weight belongs to a document, of which X without lengths is one"
    return {
        "check_transformer_general": transform,
        "check_transformer_data_not_an_array": transform,
        "check_methods_subset_invariance": transform,
        "check_methods_sample_order_invariance": transform,
        "check_all_zero_sample_weights_error": weight,
        "check_sample_weights_not_an_array": weight,
        "check_sample_weights_list": weight,
        "check_sample_weights_pandas_series": weight,
        "check_sample_weights_shape": weight,
        "check_sample_weights_not_overwritten": weight,
        "check_sample_weight_equivalence_on_dense_data": weight,
    }


@parametrize_with_checks(
    [GaussianLDA(2, max_iter=5)], expected_failed_checks=no_row_for_each_row, xfail_strict=True
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# ---- real data -------------------------------------------------------------------------------


def test_patches_of_digits():
    """Topics of an image's patches tell its digit better than the nearest of as many patches do."""
    images, digits = load_digits(return_X_y=True)
    images, digits = images[:600].reshape(-1, 8, 8), digits[:600]
    patches = np.concatenate([extract_patches_2d(image, (4, 4)) for image in images])
    patches = patches.reshape(-1, 16)
    lengths = np.full(len(images), 25)
    k = 16
    lda = GaussianLDA(k, doc_topic_prior="auto", reg_covar=0.5, random_state=0, max_iter=50)
    doc_topic = lda.fit_transform(patches.astype(np.float32), lengths=lengths)
    assert np.diff(lda.lower_bounds_).min() > -1e-4 * abs(lda.lower_bound_)
    model = LogisticRegression(C=100, max_iter=2000)
    score = cross_val_score(model, doc_topic, digits, cv=4).mean()
    nearest = KMeans(k, n_init=1, random_state=0).fit_predict(patches).reshape(len(images), 25)
    words = np.stack([np.bincount(row, minlength=k) for row in nearest]) / 25
    assert score > 0.7
    assert score > cross_val_score(model, words, digits, cv=4).mean() - 0.05


def test_news_with_word_vectors():
    """Topics of news put words of one meaning together: of sport, of politics, of machines."""
    folder = Path(os.environ.get("FASTEM_DATA", "")) / "bbc_news"
    if not os.environ.get("FASTEM_DATA") or not (folder / "glove50.npy").exists():
        pytest.skip("FASTEM_DATA is not a folder with bbc_news and its glove50.npy")
    vectors, words = np.load(folder / "glove50.npy"), (folder / "vocab.txt").read_text().split()
    known = np.isfinite(vectors).all(axis=1)
    X = sp.csr_array(sp.load_npz(folder / "train.npz"))[:, known]
    words = np.array(words)[known]
    lda = GaussianLDA(20, vectors=vectors[known], doc_topic_prior="auto", random_state=0)
    lda.fit(X)
    topics = [set(topic) for topic in lda.top_words(words, 15)]
    for alike in ({"game", "player", "team"}, {"election", "party", "vote"}, {"market", "economy"}):
        assert any(alike <= topic for topic in topics), alike
    observed, held = (
        sp.csr_array(sp.load_npz(folder / name))[:, known]
        for name in ("test_obs.npz", "test_held.npz")
    )
    topic_word = lda.components_ + 0.01
    p = lda.transform(observed) @ (topic_word / topic_word.sum(axis=1, keepdims=True))
    frequency = X.sum(axis=0) + 0.01
    alone = np.log(frequency / frequency.sum())
    gain = held.multiply(np.log(p) - alone).sum() / held.sum()
    assert gain > 0.15  # nats a word above the words' frequencies


@pytest.mark.parametrize("lengths", [[0], [0, 0], [2, 0, 0]])
def test_documents_without_any_vector_are_blocks(lengths):
    """Documents without vectors, alone or at the end, are in a block like others."""
    vectors = np.ones((sum(lengths), 3))
    blocks = gaussian_lda_em.VectorDocuments.of_stacked(vectors, np.array(lengths), 2)
    assert sum(block.documents.n_docs for block in blocks) == len(lengths)
