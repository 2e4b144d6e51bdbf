"""PLSA: against the textbook, against NMF, and what a user of topics may ask of it."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import non_negative_factorization
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import PLSA, em

try:
    from reference import plsa as oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHAPE = (60, 45)
K = 4


def corpus(shape=SHAPE, n_topics=K, seed=0, tokens=80):
    """Counts of documents that really have topics, as CSR float64."""
    rng = np.random.default_rng(seed)
    topic_word = rng.dirichlet(np.full(shape[1], 0.1), n_topics)
    doc_topic = rng.dirichlet(np.full(n_topics, 0.2), shape[0])
    return sp.csr_array(rng.poisson(tokens * doc_topic @ topic_word).astype(np.float64))


def start(shape=SHAPE, n_topics=K, seed=1):
    """(doc_topic, topic_word) for `init`."""
    rng = np.random.default_rng(seed)
    return (
        rng.dirichlet(np.ones(n_topics), shape[0]),
        rng.dirichlet(np.ones(shape[1]), n_topics),
    )


X = corpus()


# ---- the fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-4)])
def test_iterations_are_the_textbooks(dtype, tolerance):
    """Parameters and likelihoods of 30 iterations."""
    init = start()
    doc_topic, topic_word, bounds = oracle.fit(X, *init, 30)
    plsa = PLSA(K, init=init, max_iter=30, tol=0).fit(X.astype(dtype))
    assert plsa.components_.dtype == dtype
    assert_allclose(plsa.lower_bounds_, bounds, rtol=tolerance / 10)
    assert_allclose(plsa.components_, topic_word, atol=tolerance)
    assert_allclose(plsa.components_.sum(axis=1), 1, rtol=1e-6)
    assert doc_topic.shape == (SHAPE[0], K)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-4)])
@pytest.mark.parametrize("n_topics", [20, 65, 100, 128, 150, 260])
@pytest.mark.filterwarnings("ignore:n_components=.* is more than:UserWarning")
def test_iterations_with_many_topics(n_topics, dtype, tolerance):
    """Rows of 1 to 17 of the longest vectors: the kernel has a loop of its own for many lengths."""
    init = start(n_topics=n_topics)
    topic_word, bounds = oracle.fit(X, *init, 5)[1:]
    plsa = PLSA(n_topics, init=init, max_iter=5, tol=0).fit(X.astype(dtype))
    assert_allclose(plsa.lower_bounds_, bounds, rtol=tolerance / 10)
    assert_allclose(plsa.components_, topic_word, atol=tolerance)


def test_likelihood_is_the_divergence_that_nmf_minimises():
    """Up to a constant, sum n log p(w|d) is minus the Kullback-Leibler divergence of n and n p."""
    plsa = PLSA(K, init=start(), max_iter=200, tol=0).fit(X)
    n_tokens, counts = X.sum(axis=1), X.toarray()
    doc_topic = plsa.transform(X)
    model = n_tokens[:, None] * plsa.inverse_transform(doc_topic)
    some = counts > 0
    divergence = (counts[some] * np.log(counts[some] / model[some])).sum() - X.sum() + model.sum()
    constant = (counts[some] * np.log(counts[some] / (some * n_tokens[:, None])[some])).sum()
    assert_allclose(plsa.score(X), constant - divergence, rtol=1e-10)
    # and NMF, started at its optimum, does not find better
    W, H, _ = non_negative_factorization(
        counts,
        W=n_tokens[:, None] * doc_topic + 1e-12,
        H=plsa.components_ + 1e-12,
        n_components=K,
        init="custom",
        solver="mu",
        beta_loss="kullback-leibler",
        max_iter=20,
        tol=0,
    )
    better = W @ H
    reached = (counts[some] * np.log(counts[some] / better[some])).sum() - X.sum() + better.sum()
    assert_allclose(reached, divergence, rtol=2e-3)


@pytest.mark.parametrize("prior", [0.0, 0.1])
@pytest.mark.parametrize("beta", [1.0, 0.8])
def test_the_bound_never_falls(prior, beta):
    plsa = PLSA(
        K, beta=beta, doc_topic_prior=prior, topic_word_prior=prior, max_iter=80, tol=0,
        random_state=0,
    ).fit(X)  # fmt: skip
    assert np.all(np.diff(plsa.lower_bounds_) > -1e-13)


def test_pseudo_counts_are_counted():
    """One iteration with priors, by the textbook's sums."""
    doc_topic, topic_word = start()
    sums = oracle.e_step(X, doc_topic, topic_word)
    for word_prior in (0.0, 0.3):
        plsa = PLSA(K, init=(doc_topic, topic_word), max_iter=1, topic_word_prior=word_prior).fit(X)
        expected = sums["topic_word"] + word_prior
        expected /= expected.sum(axis=1, keepdims=True)
        assert_allclose(plsa.components_, expected, rtol=1e-12)
    prior = (0.3 * np.log(topic_word)).sum()
    assert_allclose(plsa.lower_bound_, (sums["bound"] + prior) / X.sum(), rtol=1e-12)


def test_tempered_e_step_is_the_formula():
    """p(z|d,w) ~ (p(w|z) p(z|d))^beta, and the free energy in place of the likelihood."""
    beta, (doc_topic, topic_word) = 0.7, start()
    joint = (doc_topic[:, :, None] * topic_word[None]) ** beta
    posterior = joint / joint.sum(axis=1, keepdims=True)
    expected = np.einsum("dw,dzw->zw", X.toarray(), posterior)
    expected /= expected.sum(axis=1, keepdims=True)
    plsa = PLSA(K, init=(doc_topic, topic_word), beta=beta, max_iter=1).fit(X)
    assert_allclose(plsa.components_, expected, rtol=1e-12)
    free = (X.toarray() * np.log(joint.sum(axis=1))).sum() / beta / X.sum()
    assert_allclose(plsa.lower_bound_, free, rtol=1e-12)
    assert plsa.beta_ == beta


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("beta", [0.6, 1.0])
def test_fold_in_of_a_document_does_not_depend_on_its_neighbours(beta, dtype):
    """A long document needs more E-steps than a short one, and must not hold the others up."""
    rng = np.random.default_rng(0)
    many = rng.poisson(rng.gamma(0.3, 1, (40, 30)) * rng.choice([0.3, 3, 30], (40, 1)))
    many = many.astype(dtype)
    plsa = PLSA(6, beta=beta, random_state=0, max_iter=30, tol=0).fit(many)
    together, score = plsa.transform(many), plsa.score(many)
    alone = np.vstack([plsa.transform(document[None]) for document in many])
    assert_array_equal(alone, together)
    assert_allclose(sum(plsa.score(document[None]) for document in many), score, rtol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_tempered_fold_in_is_the_formula(dtype, tolerance):
    """theta ~ sum_w n_w p(z|d,w), p(z|d,w) ~ (p(w|z) theta_z)^beta, so often as is asked for."""
    beta, counts = 0.7, X.astype(dtype)
    plsa = PLSA(K, beta=beta, random_state=0, max_iter=20, tol=0).fit(counts)
    plsa.set_params(max_doc_update_iter=7, doc_tol=0.0)
    phi = plsa.components_.astype(float) ** beta
    theta = np.full((X.shape[0], K), 1 / K)
    for _ in range(7):
        seen = theta**beta
        ratio = np.divide(X.toarray(), seen @ phi, out=np.zeros(X.shape), where=X.toarray() > 0)
        theta = seen * (ratio @ phi.T)
        theta /= theta.sum(axis=1, keepdims=True)
    assert_allclose(plsa.transform(counts), theta, rtol=0, atol=tolerance)


def test_held_out_annealing_counters_overfitting():
    """Few tokens, many topics: with a lower beta, words that the fit did not see are likelier."""
    both = corpus((300, 200), n_topics=5, tokens=25).toarray()
    few, new = both[:150], both[150:]
    settings = {"n_components": 20, "random_state": 0, "max_iter": 100, "tol": 0}
    plain, tempered = PLSA(**settings).fit(few), PLSA(beta="held-out", **settings).fit(few)
    assert 0 < tempered.beta_ < 1
    assert max(tempered.validation_scores_) > tempered.validation_scores_[0]
    assert plain.beta_ == 1
    seen = np.random.default_rng(5).binomial(new.astype(int), 0.5)

    def likelihood(plsa):
        p = np.maximum(plsa.inverse_transform(plsa.transform(seen)), 1e-12)
        return ((new - seen) * np.log(p)).sum()

    assert likelihood(tempered) > likelihood(plain)


def test_permuted_topics_stay_permuted():
    doc_topic, topic_word = start()
    order = np.array([2, 0, 3, 1])
    one = PLSA(K, init=(doc_topic, topic_word), max_iter=20).fit(X)
    other = PLSA(K, init=(doc_topic[:, order], topic_word[order]), max_iter=20).fit(X)
    assert_allclose(other.components_, one.components_[order], rtol=1e-9, atol=1e-14)


def test_fold_in_of_training_documents_returns_their_topics():
    plsa = PLSA(K, init=start(), max_iter=2000, tol=1e-14, max_doc_update_iter=5000, doc_tol=1e-9)
    doc_topic, _, _ = oracle.fit(X, *start(), 2000)
    assert_allclose(plsa.fit_transform(X), doc_topic, atol=2e-4)
    assert_allclose(plsa.fit_transform(X), plsa.transform(X), rtol=1e-12)


def test_weight_two_is_two_documents():
    weight = np.random.default_rng(0).integers(0, 3, SHAPE[0])
    doc_topic, topic_word = start()
    twice = sp.csr_array(X.toarray().repeat(weight, axis=0))
    init = doc_topic.repeat(weight, axis=0), topic_word
    one = PLSA(K, init=(doc_topic, topic_word), max_iter=10, tol=0).fit(X, sample_weight=weight)
    other = PLSA(K, init=init, max_iter=10, tol=0).fit(twice)
    assert_allclose(one.components_, other.components_, rtol=1e-10, atol=1e-15)
    assert_allclose(one.lower_bounds_, other.lower_bounds_, rtol=1e-12)


def test_evaluate_every_leaves_the_fit_alone():
    one = PLSA(K, init=start(), max_iter=11, tol=0).fit(X)
    other = PLSA(K, init=start(), max_iter=11, tol=0, evaluate_every=4).fit(X)
    assert_array_equal(one.components_, other.components_)
    assert other.lower_bounds_ == [one.lower_bounds_[i] for i in (3, 7, 10)]
    assert other.n_iter_ == 11


def test_restarts_keep_the_best():
    bounds = [
        PLSA(K, random_state=rng, max_iter=30).fit(X).lower_bound_
        for rng in [np.random.RandomState(0)] * 4
    ]
    assert PLSA(K, random_state=0, max_iter=30, n_init=4).fit(X).lower_bound_ == max(bounds)


def test_interrupt_leaves_the_last_whole_iteration():
    def interrupt(state):
        if state.iteration == 5:
            raise KeyboardInterrupt

    for algorithm in ("batch", "incremental"):
        settings = {"algorithm": algorithm, "batch_size": 10, "init": start(), "tol": 0}
        plsa = PLSA(K, max_iter=9, **settings)
        with em.watch(interrupt), pytest.raises(KeyboardInterrupt):
            plsa.fit(X)
        expected = PLSA(K, max_iter=5, **settings).fit(X)
        assert_array_equal(plsa.components_, expected.components_)
        assert plsa.n_iter_ == 5
        assert plsa.transform(X).shape == (SHAPE[0], K)


# ---- input -----------------------------------------------------------------------------------


def duplicated():
    """X as COO whose counts are split in two entries each, in random order."""
    coo = X.tocoo()
    order = np.random.default_rng(0).permutation(2 * coo.nnz)
    data = np.concatenate([coo.data, np.zeros(coo.nnz)])
    data[: coo.nnz] -= 1
    data[coo.nnz :] += 1
    row, column = (np.tile(index, 2)[order] for index in (coo.row, coo.col))
    return sp.coo_array((data[order], (row, column)), shape=X.shape)


def with_int64():
    """X with 64-bit indices."""
    copy = X.copy()
    copy.indices, copy.indptr = copy.indices.astype(np.int64), copy.indptr.astype(np.int64)
    return copy


@pytest.mark.parametrize(
    "given",
    [
        X.toarray(), X.toarray().astype(int), X.tocsc(), X.tocoo(), sp.csr_matrix(X), duplicated(),
        with_int64(), np.asfortranarray(X.toarray()), X.toarray().tolist(), X.astype(np.int32),
    ],
    ids=["dense", "int", "csc", "coo", "matrix", "duplicates", "int64", "fortran", "list", "int32"],
)  # fmt: skip
def test_any_matrix_of_counts(given):
    expected = PLSA(K, init=start(), max_iter=5).fit(X)
    plsa = PLSA(K, init=start(), max_iter=5).fit(given)
    assert_allclose(plsa.components_, expected.components_, rtol=1e-10, atol=1e-15)


def test_the_callers_matrix_is_left_alone():
    given = duplicated().tocsr()
    given.has_canonical_format = False
    before = given.copy()
    for array in (given.data, given.indices, given.indptr):
        array.flags.writeable = False
    PLSA(K, max_iter=3, random_state=0).fit(given).transform(given)
    assert_array_equal(given.indices, before.indices)


def test_empty_documents_and_unused_words():
    holes = X.toarray()
    holes[7], holes[:, 11] = 0, 0
    plsa = PLSA(K, random_state=0, max_iter=30)
    doc_topic = plsa.fit_transform(holes)
    assert_allclose(doc_topic[7], 1 / K)
    assert_array_equal(plsa.components_[:, 11], 0)
    assert np.isfinite(plsa.lower_bound_)
    assert_allclose(PLSA(K, topic_word_prior=0.1, max_iter=3).fit(holes).components_.sum(axis=1), 1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_words_that_no_topic_has_tell_nothing(dtype):
    """A document's other words decide; without any, its topics are equally probable."""
    holes = X.toarray().astype(dtype)
    holes[:, 11] = 0
    plsa = PLSA(K, random_state=0, max_iter=30).fit(holes)
    new = holes[:3].copy()
    new[:2, 11] = 1e5
    new[1] = np.where(np.arange(SHAPE[1]) == 11, 1e5, 0)
    doc_topic = plsa.transform(new)
    assert_allclose(doc_topic[0], plsa.transform(holes[:1])[0], atol=1e-3)
    assert_allclose(doc_topic[1], 1 / K)
    assert np.isfinite(plsa.score(new))


@pytest.mark.parametrize(
    ("value", "words"), [(-1, "Negative values"), (np.nan, "NaN"), (np.inf, "infinity")]
)
def test_counts_must_be_counts(value, words):
    bad = X.toarray()
    bad[3, 4] = value
    plsa = PLSA(K, max_iter=2).fit(X)
    before = plsa.components_
    for matrix in (bad, sp.csr_array(bad)):
        with pytest.raises(ValueError, match=words):
            plsa.fit(matrix)
        with pytest.raises(ValueError, match=words):
            plsa.transform(matrix)
    assert plsa.components_ is before


def test_no_count_at_all_is_an_error():
    for empty in (np.zeros((5, 6)), sp.csr_array((5, 6))):
        with pytest.raises(ValueError, match="X has no count above 0"):
            PLSA(2).fit(empty)
    with pytest.raises(ValueError, match="perplexity of no words"):
        PLSA(K, max_iter=2).fit(X).perplexity(np.zeros(SHAPE))


def test_more_topics_than_words_warn():
    with pytest.warns(UserWarning, match="n_components=50 is more than the 45 words"):
        PLSA(50, max_iter=2).fit(X)


def test_features_must_be_those_of_the_fit():
    plsa = PLSA(K, max_iter=2).fit(X)
    with pytest.raises(ValueError, match="44 features, but PLSA is expecting 45"):
        plsa.transform(X[:, :-1])
    with pytest.raises(ValueError, match="one column for each of the 4 topics, got 5"):
        plsa.inverse_transform(np.ones((2, 5)))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"init": (1,)}, "init must be 'random' or"),
        ({"init": (np.ones((3, K)), start()[1])}, r"doc_topic of init must have shape \(60, 4\)"),
        ({"init": (start()[0], -start()[1])}, "topic_word of init must be non-negative"),
        ({"init": (start()[0], 0 * start()[1])}, "no row of zeros"),
        ({"beta": 0}, "'beta' parameter"),
        ({"beta": 1.5}, "'beta' parameter"),
        ({"beta": "cold"}, "'beta' parameter"),
        ({"algorithm": "online"}, "'algorithm' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"doc_topic_prior": -1}, "'doc_topic_prior' parameter"),
        ({"beta": "held-out", "validation_fraction": 1e-9}, "validation_fraction=1e-09 leaves no"),
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_bad_parameters_name_themselves(parameters, words):
    plsa = PLSA(**{"n_components": K, "max_iter": 2} | parameters)
    with pytest.raises(ValueError, match=words):
        plsa.fit(X)
    assert not hasattr(plsa, "components_")


def test_not_converged_is_told():
    with pytest.warns(ConvergenceWarning, match="max_iter=2 iterations: increase max_iter or tol"):
        PLSA(K, max_iter=2).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PLSA(K, tol=0.5, random_state=0).fit(X).converged_


def depends_on_rows(estimator):
    """The checks that cannot pass: the incremental algorithm makes batches of rows."""
    names = ("dense", "sparse") if estimator.algorithm == "incremental" else ()
    return {f"check_sample_weight_equivalence_on_{n}_data": "batches are rows" for n in names}


@parametrize_with_checks(
    [PLSA(2), PLSA(2, algorithm="incremental", batch_size=5)],
    expected_failed_checks=depends_on_rows,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# ---- what is read off topics -----------------------------------------------------------------


def test_score_and_perplexity_agree():
    plsa = PLSA(K, random_state=0, max_iter=20).fit(X)
    assert_allclose(plsa.perplexity(X), np.exp(-plsa.score(X) / X.sum()))
    p = plsa.inverse_transform(plsa.transform(X))
    some = X.toarray() > 0
    assert_allclose(plsa.score(X), (X.toarray()[some] * np.log(p[some])).sum())


def test_words_and_names():
    pd = pytest.importorskip("pandas")
    names = [f"word{i}" for i in range(SHAPE[1])]
    frame = pd.DataFrame(X.toarray(), columns=names)
    plsa = PLSA(K, random_state=0, max_iter=20).set_output(transform="pandas")
    table = plsa.fit_transform(frame)
    assert (
        list(table.columns) == list(plsa.get_feature_names_out()) == [f"plsa{i}" for i in range(K)]
    )
    best = plsa.components_.argmax(axis=1)
    assert [words[0] for words in plsa.top_words(n=3)] == [names[i] for i in best]
    assert [words[0] for words in plsa.top_words(range(SHAPE[1]), 1)] == list(best)
    assert all(len(words) == 3 for words in plsa.top_words(n=3))
    with pytest.raises(ValueError, match="feature_names must have 45 entries, got 2"):
        plsa.top_words(["a", "b"])


def test_coherence_by_hand():
    counts = np.array([[2, 1, 0, 1], [1, 3, 0, 0], [1, 0, 0, 5], [0, 2, 0, 1]])
    plsa = PLSA(1, max_iter=1).fit(np.array([[8.0, 4.0, 2.0, 1.0]]))
    # words by probability: 0, 1, 2, 3; documents: 0 in 3, 1 in 3, 2 in none, 3 in 3
    together = {(1, 0): 2, (3, 0): 2, (3, 1): 2}
    umass = np.mean([np.log((both + 1) / 3) for both in together.values()])
    npmi = np.mean([np.log((b / 4) / (9 / 16)) / -np.log(b / 4) for b in together.values()])
    assert_allclose(plsa.coherence(counts, n=4), [umass])
    assert_allclose(plsa.coherence(sp.csr_array(counts), measure="npmi", n=4), [npmi])
    apart = np.array([[1, 0, 0, 0], [0, 1, 0, 0]])
    assert_allclose(plsa.coherence(apart, measure="npmi", n=2), [-1])
    always = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
    assert_allclose(plsa.coherence(always, measure="npmi", n=2), [1])
    assert np.isnan(plsa.coherence(np.eye(4)[:1], n=2))[0]
    with pytest.raises(ValueError, match="measure must be 'umass' or 'npmi', got 'c_v'"):
        plsa.coherence(counts, measure="c_v")
    with pytest.raises(ValueError, match="n must be >= 2"):
        plsa.coherence(counts, n=1)
