"""Priors of latent Dirichlet allocation: learned, guided, none; extreme and bad ones."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize, minimize_scalar
from scipy.special import gammaln, psi
from sklearn.decomposition import LatentDirichletAllocation as ScikitLearns
from test_lda import K, X, corpus, oracle, start

from fastem import LatentDirichletAllocation, em
from fastem._kernels import topics as kernel
from fastem.topics.dirichlet import (
    LARGEST,
    SMALLEST,
    fit_dirichlet,
    information,
    polya_growth,
    topics_bound,
)
from fastem.topics.documents import Topics, padded
from fastem.topics.incremental import IncrementalLDAEM
from fastem.topics.variational import expected_topics

EXACT = {"mean_change_tol": 1e-9, "max_doc_update_iter": 3000, "evaluate_every": 1, "perp_tol": 0}
METHODS = ("batch", "online", "incremental")


# ---- learning --------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [[0.1, 0.2, 3, 40], [0.01] * 10, [500.0, 400], [1.0, 2, 3]])
def test_a_dirichlet_is_found_again(alpha):
    """From the expectation of log theta, whatever the first guess."""
    alpha = np.array(alpha)
    for guess in (SMALLEST, 0.3, 50.0):
        found = fit_dirichlet(np.full(len(alpha), guess), psi(alpha) - psi(alpha.sum()))
        assert_allclose(found, alpha, rtol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_a_fitted_dirichlet_is_the_best_in_its_range(seed):
    """Also where a parameter ends at the end of its range: against SciPy's optimiser."""
    rng = np.random.default_rng(seed)
    mean_log = -rng.gamma(0.5, 30, 4) - 2

    def loss(a):
        return -(gammaln(a.sum()) - gammaln(a).sum() + a @ mean_log)

    found = fit_dirichlet(np.ones(4), mean_log)
    assert np.all((found >= SMALLEST) & (found <= LARGEST))
    best = minimize(loss, found * 1.5 + 0.01, bounds=[(SMALLEST, LARGEST)] * 4, tol=1e-14)
    assert loss(found) <= best.fun + 1e-7 * abs(best.fun)


def test_rounding_does_not_move_a_fitted_dirichlet():
    """Where the likelihood is flat to rounding, a step is not refused for that."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        alpha = rng.gamma(0.5, 2, 8) + 0.01
        mean_log = psi(alpha) - psi(alpha.sum())
        for guess in (0.1, 1.0):
            found = fit_dirichlet(np.full(8, guess), mean_log)
            assert_allclose(found, alpha, rtol=1e-10)


def test_one_topic_keeps_its_alpha():
    assert_array_equal(fit_dirichlet(np.array([0.7]), np.zeros(1)), [0.7])


def test_eta_grows_to_the_largest_evidence():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.3, 5, (200, 4))).astype(float)

    def evidence(eta):
        """Of topics whose counts are Dirichlet-multinomial."""
        n = len(counts)
        value = gammaln(counts + eta).sum() - counts.size * gammaln(eta)
        return value + 4 * gammaln(n * eta) - gammaln(counts.sum(axis=0) + n * eta).sum()

    eta, last = 3.0, -np.inf
    for _ in range(200):
        assert evidence(eta) >= last - 1e-9
        last = evidence(eta)
        eta *= polya_growth(eta, counts, 4)
    best = minimize_scalar(lambda e: -evidence(e), bounds=(0.01, 3), method="bounded")
    assert_allclose(eta, best.x, rtol=1e-3)
    assert polya_growth(0.5, np.zeros((9, 4)), 4) == 1


def dirichlet_corpus(alpha, n=3000, n_words=40, tokens=400, seed=0):
    """Documents whose topics are Dirichlet(alpha) and easily told apart."""
    rng = np.random.default_rng(seed)
    topic_word = rng.dirichlet(np.full(n_words, 0.05), len(alpha))
    doc_topic = rng.dirichlet(alpha, n)
    return rng.poisson(tokens * doc_topic @ topic_word).astype(float), topic_word


@pytest.mark.parametrize(
    ("method", "tolerance"), [("batch", 0.1), ("incremental", 0.1), ("online", 0.25)]
)
def test_alpha_is_what_made_the_corpus(method, tolerance):
    alpha = np.array([0.1, 0.3, 0.9])
    counts, topic_word = dirichlet_corpus(alpha)
    lda = LatentDirichletAllocation(
        3, doc_topic_prior="auto", components_init=1e4 * topic_word + 0.1, max_iter=30,
        learning_method=method, random_state=0,
    ).fit(counts)  # fmt: skip
    assert_allclose(lda.doc_topic_prior_, alpha, rtol=tolerance)
    assert_array_equal(lda._model().priors.doc_topic, lda.doc_topic_prior_)  # what transform uses


@pytest.mark.parametrize("eta", [0.05, 1.0])
def test_eta_is_what_made_the_topics(eta):
    rng = np.random.default_rng(0)
    topic_word = rng.dirichlet(np.full(500, eta), 6)
    doc_topic = rng.dirichlet(np.full(6, 0.1), 500)
    counts = rng.poisson(800 * doc_topic @ topic_word)
    lda = LatentDirichletAllocation(
        6, topic_word_prior="auto", components_init=1e4 * topic_word + 0.1, max_iter=30
    ).fit(counts)
    assert_allclose(lda.topic_word_prior_, eta, rtol=0.15)


def alike_at_first(seed, eta):
    """Documents of three topics that a fit tells apart late."""
    rng = np.random.default_rng(seed)
    theta, phi = rng.dirichlet([3, 1, 0.3], 800), rng.dirichlet(np.full(60, eta), 3)
    return np.stack([rng.multinomial(200, t @ phi) for t in theta]).astype(float)


@pytest.mark.parametrize(("seed", "eta"), [(20, 0.2), (21, 1.0), (25, 0.1), (37, 0.05)])
def test_alpha_does_not_run_away_while_topics_are_alike(seed, eta):
    """It did, to 1000: topics that all documents have in the same share stay alike for ever."""
    counts = alike_at_first(seed, eta)
    settings = {"n_components": 3, "random_state": seed, "max_iter": 40}
    fixed = LatentDirichletAllocation(**settings).fit(counts)
    learned = LatentDirichletAllocation(doc_topic_prior="auto", **settings).fit(counts)
    assert learned.elbo(counts) > fixed.elbo(counts)
    assert learned.doc_topic_prior_.max() < 20


def test_information_by_hand():
    joint = np.array([[4.0, 0], [1, 3], [0, 0]])
    p = joint / 8
    wanted = sum(
        p[i, k] * np.log(p[i, k] / p[i].sum() / p[:, k].sum())
        for i in range(2) for k in range(2) if p[i, k]
    )  # fmt: skip
    assert_allclose(information(padded(joint, 2, np.float64), 2), wanted, rtol=1e-14)
    assert information(np.outer([1.0, 2, 3], [5.0, 1]), 2) < 1e-15
    assert information(np.zeros((3, 2)), 2) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("which", ["alpha", "eta", "both"])
def test_learned_priors_raise_the_bound(which, dtype):
    """In every pass, and above that of the first priors."""
    settings = {"max_iter": 30} | EXACT
    first = LatentDirichletAllocation(K, random_state=0, **settings).fit(X)
    settings["components_init"] = first.components_
    auto = {} if which == "eta" else {"doc_topic_prior": "auto"}
    auto |= {} if which == "alpha" else {"topic_word_prior": "auto"}
    fixed = LatentDirichletAllocation(K, **settings).fit(X.astype(dtype))
    lda = LatentDirichletAllocation(K, **settings, **auto).fit(X.astype(dtype))
    assert np.diff(lda.lower_bounds_).min() > -1e-4  # a document may go to another optimum
    assert lda.lower_bound_ > fixed.lower_bound_ + 1e-3
    assert lda.elbo(X) > fixed.elbo(X) + 1e-3


def test_bound_has_the_learned_priors():
    """The reported ELBO is the oracle's at the priors that the pass began with."""
    settings = {"doc_topic_prior": "auto", "topic_word_prior": "auto", "components_init": start()}
    settings |= EXACT
    before = LatentDirichletAllocation(K, max_iter=20, **settings).fit(X)
    after = LatentDirichletAllocation(K, max_iter=21, **settings).fit(X)
    lam, alpha, eta = before.components_, before.doc_topic_prior_, before.topic_word_prior_
    assert np.ptp(alpha) > 0.01
    gamma = oracle.update_gamma(X, np.ones((len(X), K)), lam, alpha, 3000, 1e-9)
    expected = oracle.e_step(X, gamma, lam, alpha)[0] + oracle.dirichlet_bound(eta, lam)
    assert_allclose(after.lower_bounds_[-1], expected / X.sum(), rtol=1e-10)
    assert_allclose(before.elbo(X), expected / X.sum(), rtol=1e-10)


def test_partial_fit_learns_as_the_online_fit_does():
    """The priors go on from call to call, with no state but themselves."""
    settings = {"doc_topic_prior": "auto", "topic_word_prior": "auto", "batch_size": 8}
    settings |= {"n_components": K, "random_state": 0, "max_iter": 1}
    once = LatentDirichletAllocation(learning_method="online", shuffle=False, **settings).fit(X)
    parts = LatentDirichletAllocation(total_samples=len(X), **settings)
    for begin in range(0, len(X), 8):
        parts.partial_fit(X[begin : begin + 8])
    assert once.topic_word_prior_ != 1 / K
    for name in ("components_", "doc_topic_prior_", "topic_word_prior_"):
        assert_allclose(getattr(parts, name), getattr(once, name), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_learned_of_nothing(method):
    lda = LatentDirichletAllocation(
        K, doc_topic_prior="auto", topic_word_prior="auto", learning_method=method
    ).fit(np.zeros((4, 6)))
    assert_array_equal(lda.doc_topic_prior_, 1 / K)
    assert lda.topic_word_prior_ == 1 / K


def test_empty_documents_do_not_move_alpha():
    settings = {"doc_topic_prior": "auto", "components_init": start(), "max_iter": 6}
    some = LatentDirichletAllocation(K, **settings).fit(X)
    more = LatentDirichletAllocation(K, **settings).fit(np.vstack([X, np.zeros((200, 60))]))
    assert_allclose(more.doc_topic_prior_, some.doc_topic_prior_, rtol=1e-10)


def test_interrupted_fit_has_the_priors_of_its_last_pass():
    def interrupt(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    settings = {"doc_topic_prior": "auto", "topic_word_prior": "auto", "random_state": 0}
    lda = LatentDirichletAllocation(K, max_iter=9, **settings)
    with em.watch(interrupt), pytest.raises(KeyboardInterrupt):
        lda.fit(X)
    expected = LatentDirichletAllocation(K, max_iter=3, **settings).fit(X)
    assert_array_equal(lda.doc_topic_prior_, expected.doc_topic_prior_)
    assert lda.topic_word_prior_ == expected.topic_word_prior_


# ---- guided ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_guided_topics_are_where_the_guide_puts_them(method):
    """A seed word for each topic decides which topic is which."""
    _, topic_word = dirichlet_corpus(np.full(K, 0.2), n=2)
    rng = np.random.default_rng(1)
    counts = rng.poisson(60 * rng.dirichlet(np.full(K, 0.1), 300) @ topic_word)
    for order in (np.arange(K), np.arange(K)[::-1]):
        eta = np.full(topic_word.shape, 0.05)
        eta[np.arange(K)[:, None], np.argsort(-topic_word[order])[:, :3]] = 30
        lda = LatentDirichletAllocation(
            K, topic_word_prior=eta, learning_method=method, batch_size=50, random_state=0
        ).fit(counts)
        found = lda.components_ / lda.components_.sum(axis=1, keepdims=True)
        assert_array_equal(np.argmax(found @ topic_word.T, axis=1), order)
        assert_array_equal(lda.topic_word_prior_, eta)


@pytest.mark.parametrize("method", METHODS)
def test_equal_guides_are_one_number(method):
    """An array of one value fits as that value, for the three shapes."""
    settings = {"learning_method": method, "batch_size": 30, "components_init": start()}
    settings |= {"random_state": 0}
    expected = LatentDirichletAllocation(K, topic_word_prior=0.3, **settings).fit(X)
    for shape in ((60,), (K, 60)):
        lda = LatentDirichletAllocation(K, topic_word_prior=np.full(shape, 0.3), **settings).fit(X)
        assert_allclose(lda.components_, expected.components_, rtol=1e-9)
        assert_allclose(lda.elbo(X), expected.elbo(X), rtol=1e-12)
        assert_allclose(lda.transform(X), expected.transform(X), rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 2, 7, 20])
def test_documents_part_of_the_bound_is_the_oracle_s(k, weighted, dtype):
    """With what alpha is learned of; the same bits for every number of threads."""
    rng = np.random.default_rng(k)
    n = 3000 if k == 20 else 70
    alpha, gamma = rng.gamma(1, 1, k), padded(rng.gamma(0.3, 5, (n, k)) + 1e-3, k, dtype)
    posterior = gamma[:, :k].astype(np.float64)
    tokens, likelihood = rng.integers(0, 3, n).astype(float), -rng.gamma(1, 9, n)
    weight = rng.gamma(1, 1, n) if weighted else None
    expected = np.array([oracle.dirichlet_bound(alpha, row[None]) for row in posterior])
    expected += likelihood - tokens * psi(posterior.sum(axis=1))
    each, log_theta = np.ones(n) if weight is None else weight, oracle.expected_log(posterior)
    for learn in (True, False):
        given = gamma, alpha, likelihood, tokens, weight, learn
        bound, logs, told = kernel.documents_bound(*given, 1)
        again = kernel.documents_bound(*given, 4)
        assert bound == again[0]
        assert_array_equal(logs, again[1])
        assert bound == pytest.approx(each @ expected, rel=1e-11)
        assert_allclose(logs, learn * (each * (tokens > 0)) @ log_theta, rtol=1e-11, atol=1e-13)
        assert told == pytest.approx(learn * each @ (tokens > 0))


# ---- point estimates -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_point_estimates_are_lda_cs(dtype):
    """The likelihood follows lda-c's from its start, pass by pass."""
    tolerance = 1e-4 if dtype == np.float64 else 5e-4  # the topics part slowly, and rounding shows
    for seed, alpha in ((0, 0.1), (1, 0.5), (2, 2.0)):
        counts, first = corpus((30, 40), seed), np.random.default_rng(seed).gamma(1, 1, (4, 40))
        expected = oracle.lda_c(counts, first + 0.1, alpha, 10, 1e-11)
        lda = LatentDirichletAllocation(
            4, doc_topic_prior=alpha, topic_word_prior=0, components_init=first + 0.1, **EXACT
        ).fit(counts.astype(dtype))
        assert expected[-1] > expected[0] + 50
        assert_allclose(np.multiply(lda.lower_bounds_, counts.sum()), expected, rtol=tolerance)


@pytest.mark.parametrize("method", METHODS)
def test_point_estimates_are_normalised_counts(method):
    lda = LatentDirichletAllocation(
        K, topic_word_prior=0, learning_method=method, batch_size=30, random_state=0
    ).fit(X)
    topics = lda.components_ / lda.components_.sum(axis=1, keepdims=True)
    assert_allclose(lda.exp_dirichlet_component_, topics, rtol=1e-9)
    assert np.isfinite(lda.bound_)
    if method != "online":
        assert_allclose(lda.components_.sum(axis=0), X.sum(axis=0), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_words_without_any_topic_tell_nothing(dtype):
    """Word 11 never occurred in the fit: no nan, and the others decide."""
    lda = LatentDirichletAllocation(K, topic_word_prior=0, random_state=0).fit(X.astype(dtype))
    assert np.all(lda.components_[:, 11] == 0)
    new = X[:5].astype(dtype)
    new[:, 11] = 3
    assert_allclose(lda.transform(new), lda.transform(X[:5].astype(dtype)), rtol=1e-5)
    for value in (lda.score(new), lda.perplexity(X.astype(dtype)), lda.elbo(new)):
        assert np.isfinite(value)
    assert lda.elbo(new) < lda.elbo(X[:5])
    assert np.all(np.isfinite(lda.token_topics(new)))
    only = np.zeros((1, 60), dtype)
    only[0, 11] = 2
    assert_allclose(lda.transform(only), 1 / K)
    assert_allclose(lda.token_topics(only), [[1 / K] * K], rtol=1e-6)


# ---- extreme ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("eta", [0, 1e-3, 1.0, 1e3, "auto"])
def test_extreme_priors(alpha, eta, dtype):
    counts = X.astype(dtype)
    for method in METHODS:
        lda = LatentDirichletAllocation(
            K, doc_topic_prior=alpha, topic_word_prior=eta, learning_method=method, random_state=0,
            max_iter=5, batch_size=30,
        ).fit(counts)  # fmt: skip
        assert np.all(np.isfinite(lda.components_))
        assert np.isfinite(lda.bound_)
        assert np.isfinite(lda.elbo(counts))
        assert_allclose(lda.transform(counts).sum(axis=1), 1, rtol=1e-5)
        assert_allclose(lda.transform(counts[7:8]), 1 / K, rtol=1e-5)  # without words
        assert_allclose(lda.token_topics(counts).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("eta", [None, 0, "auto", [0.3]])
def test_one_topic_one_word(eta):
    lda = LatentDirichletAllocation(1, topic_word_prior=eta, doc_topic_prior="auto", random_state=0)
    lda.fit(np.array([[3.0], [1.0]]))
    assert_allclose(lda.transform([[2.0]]), [[1.0]])
    assert_allclose(lda.components_, [[4.0 + np.ravel(lda.topic_word_prior_)[0]]])
    assert_allclose(lda.elbo([[3.0], [1.0]]), 0, atol=1e-12)  # the only corpus of four tokens
    assert_allclose(lda.token_topics([[2.0]]), [[1.0]])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_very_long_documents(dtype):
    """A million tokens of 20 000 words: their topics are found as from a tenth."""
    rng = np.random.default_rng(0)
    topic_word = rng.dirichlet(np.full(20_000, 0.05), 3)
    doc_topic = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1], [0.05, 0.9, 0.05]])
    counts = np.stack([rng.multinomial(10**6, p) for p in doc_topic @ topic_word]).astype(dtype)
    lda = LatentDirichletAllocation(3, components_init=topic_word * 1e6 + 0.1, max_iter=3)
    lda.fit(counts)
    assert_allclose(lda.transform(counts), doc_topic, atol=5e-3)
    assert_allclose(lda.components_.sum() - 20_000, 4e6, rtol=1e-6 if dtype == np.float32 else 1e-9)
    assert_allclose(lda.elbo(counts), lda.score(counts) / 4e6, rtol=1e-5)


# ---- bad -------------------------------------------------------------------------------------

with_zero, with_nan = np.ones((K, 60)), np.ones(60)
with_zero[1, 2], with_nan[3] = 0, np.nan


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (
            {"doc_topic_prior": [1, 2]},
            r"doc_topic_prior must .* shape \(5,\), .*; got shape \(2,\)",
        ),
        (
            {"doc_topic_prior": [1, 2, 3, 4, 0]},
            r"doc_topic_prior .* above 0, got 0 at \(4,\): give",
        ),
        ({"doc_topic_prior": [1, 2, 3, 4, np.nan]}, "doc_topic_prior contains NaN"),
        ({"doc_topic_prior": "learn"}, "'doc_topic_prior' parameter"),
        ({"topic_word_prior": "learn"}, "'topic_word_prior' parameter"),
        ({"topic_word_prior": np.nan}, "'topic_word_prior' parameter"),
        ({"topic_word_prior": np.inf}, "'topic_word_prior' parameter"),
        ({"doc_topic_prior": np.inf}, "'doc_topic_prior' parameter"),
        (
            {"topic_word_prior": np.ones((60, K))},
            r"shape \(60,\) or \(5, 60\), .*got shape \(60, 5\)",
        ),
        ({"topic_word_prior": with_zero}, r"above 0, got 0 at \(1, 2\): .* topic_word_prior=0"),
        ({"topic_word_prior": with_nan}, "topic_word_prior contains NaN"),
        ({"doc_topic_prior": 0}, "'doc_topic_prior' parameter"),
        ({"topic_word_prior": -1}, "'topic_word_prior' parameter"),
        ({"components_init": np.ones((2, 3))}, r"components_init must have shape \(5, 60\)"),
        ({"components_init": np.zeros((5, 60))}, "only values above 0"),
        ({"learning_method": "cvb"}, "'learning_method' parameter"),
    ],
)
def test_bad_parameters_name_themselves(parameters, words):
    lda = LatentDirichletAllocation(**{"n_components": K} | parameters)
    with pytest.raises(ValueError, match=words):
        lda.fit(X)
    assert not hasattr(lda, "components_")


# ---- topics without words, whose exp(digamma) underflows ---------------------------------------

SMALL = [(40, 1e-5, 10), (40, 1e-12, 10), (6, 1e-5, 10), (1, 1e-6, 3), (600, 1e-7, 20)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "method", ["batch", "online", "incremental", "partial_fit", "cvb0", "stochastic"]
)
@pytest.mark.parametrize(("n_words", "eta", "k"), SMALL)
def test_small_eta_and_topics_without_words(n_words, eta, k, method, dtype):
    for seed in range(3):
        counts = np.random.default_rng(seed).poisson(0.5, (60, n_words)).astype(dtype)
        lda = LatentDirichletAllocation(k, topic_word_prior=eta, batch_size=16, random_state=seed)
        if method == "partial_fit":
            lda.partial_fit(counts).partial_fit(counts)
        else:
            lda.set_params(learning_method=method).fit(counts)
        assert np.isfinite(lda.components_).all()
        assert np.isfinite(lda.exp_dirichlet_component_).all()
        assert_allclose(lda.transform(counts).sum(axis=1), 1, rtol=1e-5)
        assert np.isfinite([lda.score(counts), lda.perplexity(counts), lda.elbo(counts)]).all()


@pytest.mark.parametrize("seed", range(10))
def test_small_eta_is_scikit_learns(seed):
    counts = np.random.default_rng(seed).poisson(0.5, (60, 40)).astype(float)
    settings = {"n_components": 10, "topic_word_prior": 1e-5, "random_state": seed}
    theirs = ScikitLearns(**settings).fit(counts)
    ours = LatentDirichletAllocation(**settings).fit(counts)
    assert_allclose(ours.components_, theirs.components_, rtol=1e-4, atol=1e-5)
    assert_allclose(ours.bound_, theirs.bound_, rtol=1e-6)
    assert_allclose(ours.transform(counts), theirs.transform(counts), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_expected_topics_of_small_totals(dtype):
    """exp(digamma(lambda) - digamma(sum)), whatever underflows."""
    k, rows = 5, np.array([0, 2, 3])
    lam = np.full((4, k), 1e-6)
    lam[0, 1], lam[:, 2], lam[2, 3], lam[:, 4] = 1e-3, 5.0, 2.0, 1e-9 * np.arange(1, 5)
    lam = lam.astype(dtype).astype(float)  # whose digamma rounding would change much
    topics = Topics(padded(lam, k, dtype), lam.sum(axis=0), 0.0)
    wanted = np.exp(psi(lam) - psi(lam.sum(axis=0)))
    expected, scale = expected_topics(topics, 1)
    tolerance = {"rtol": 1e-5 if dtype == np.float32 else 1e-11, "atol": 1e-30}
    assert_allclose((expected * scale)[:, :k], wanted, **tolerance)
    model = IncrementalLDAEM(np.full(k, 0.1), 0.0001, 1, max_sweeps=1, tol=0.0)
    seen = np.full_like(topics.sums, np.nan)
    expected, scale = model._expected_rows(topics, topics.sums, rows.astype(np.int32), seen)
    assert_allclose((expected * scale)[rows, :k], wanted[rows], **tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("prior", ["number", "words", "words of topics"])
def test_topics_part_of_the_bound_is_the_divergence_from_the_prior(prior, dtype):
    """The kernel's sum over words is SciPy's, from hardly any counts to very many."""
    rng = np.random.default_rng(0)
    counts = (rng.gamma(0.3, size=(300, 5)) * [1e-4, 1e-2, 1, 30, 1e3]).astype(dtype)
    eta = {"number": 0.02, "words": rng.gamma(1, size=300) + 1e-3}.get(prior)
    if eta is None:
        eta = rng.gamma(1, size=(5, 300)) + 1e-3
    rows = np.broadcast_to(eta, (5, 300))
    added = 0.02 if prior == "number" else padded(rows.T, 5, np.float64)
    topics = Topics(padded(counts, 5, dtype), counts.sum(axis=0) + rows.sum(axis=1), added)
    lam = counts.T.astype(np.float64) + rows
    expected = sum(oracle.dirichlet_bound(rows[k], lam[k : k + 1]) for k in range(5))
    values = [topics_bound(topics, eta, n_threads) for n_threads in (1, 2, 4)]
    assert values[0] == pytest.approx(expected, rel=1e-11)
    assert values[0] == values[1] == values[2]
