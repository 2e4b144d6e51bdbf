"""Latent Dirichlet allocation: against the textbook and against scikit-learn's."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import psi
from sklearn.decomposition import LatentDirichletAllocation as Peer
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import LatentDirichletAllocation, em
from fastem._kernels import runtime
from fastem._kernels import topics as kernel

try:
    from reference import lda as oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)

K = 5


def corpus(shape=(80, 60), seed=0, tokens=70):
    """Counts of documents that really have topics, one of them empty, one word never used."""
    rng = np.random.default_rng(seed)
    topic_word = rng.dirichlet(np.full(shape[1], 0.1), K)
    doc_topic = rng.dirichlet(np.full(K, 0.2), shape[0])
    counts = rng.poisson(tokens * doc_topic @ topic_word).astype(np.float64)
    counts[7], counts[:, 11] = 0, 0
    return counts


X = corpus()


# ---- the arithmetic --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("level", [0, 3, 4])
def test_exp_digamma(dtype, level):
    if level > runtime.cpu_level():
        pytest.skip("this processor has no such instructions")
    before = runtime.level()
    x = np.concatenate([np.geomspace(0.02, 1e9, 4001), [1.0, 2.0], np.geomspace(1e-37, 1e-3, 9)])
    x = x.astype(dtype)[None]
    try:
        runtime.set_level(level)
        out = np.empty_like(x)
        kernel.exp_digamma(x, 0.0, out, 1)
    finally:
        runtime.set_level(before)
    expected = np.exp(psi(x.astype(np.float64)))
    units = np.abs(out - expected) / (expected * np.finfo(dtype).eps + 1e-37) / (1 + np.abs(psi(x)))
    assert units.max() < 6


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-3)])
@pytest.mark.parametrize("alpha", [None, 0.05, 3.0, [0.1, 0.2, 0.3, 0.4, 0.5]])
def test_iterations_are_the_textbooks(dtype, tolerance, alpha):
    """Lambda and the ELBO of five iterations, with scikit-learn's random numbers."""
    rng = np.random.RandomState(3)
    lam = rng.gamma(100, 0.01, (K, X.shape[1]))
    gammas = [rng.gamma(100, 0.01, (len(X), K)) for _ in range(5)]
    prior = 1 / K if alpha is None else np.asarray(alpha)
    lam, bounds = oracle.fit(X, gammas, lam, prior, 0.1)
    lda = LatentDirichletAllocation(
        K, doc_topic_prior=alpha, topic_word_prior=0.1, max_iter=5, evaluate_every=1, perp_tol=0,
        random_state=3,
    ).fit(X.astype(dtype))  # fmt: skip
    assert lda.components_.dtype == dtype
    assert_allclose(lda.components_, lam, rtol=tolerance, atol=tolerance)
    assert_allclose(lda.lower_bounds_, np.array(bounds) / X.sum(), rtol=tolerance / 10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", ["batch", "online", "incremental"])
def test_the_same_bits_for_every_thread_count(method, dtype):
    many = np.tile(corpus((300, 200), tokens=150), (6, 1)).astype(dtype)
    settings = {"learning_method": method, "max_iter": 3, "random_state": 0, "batch_size": 600}
    one, *others = (
        LatentDirichletAllocation(40, n_jobs=n, **settings).fit(many) for n in (1, 2, 3, 8)
    )
    for other in others:
        assert_array_equal(one.components_, other.components_)
        assert_array_equal(one.transform(many[:50]), other.transform(many[:50]))


def test_the_elbo_does_not_fall():
    """With documents that are updated to the end."""
    lda = LatentDirichletAllocation(
        K, max_iter=40, evaluate_every=1, perp_tol=0, mean_change_tol=1e-8,
        max_doc_update_iter=2000, random_state=0,
    ).fit(X)  # fmt: skip
    assert np.all(np.diff(lda.lower_bounds_) > -1e-4)  # a document may go to another optimum
    assert lda.lower_bounds_[-1] > lda.lower_bounds_[0] + 0.1


def test_incremental_gets_further_in_as_many_passes():
    many = corpus((400, 150), tokens=60)
    settings = {"n_components": K, "random_state": 0, "max_iter": 6}
    batch = LatentDirichletAllocation(**settings).fit(many)
    incremental = LatentDirichletAllocation(
        learning_method="incremental", batch_size=40, evaluate_every=1, perp_tol=0, **settings
    ).fit(many)
    assert incremental.score(many) > batch.score(many)
    assert np.all(np.diff(incremental.lower_bounds_[1:]) > -1e-3)
    # the reported bound is of the documents' last visits, whose topics have moved on since
    assert incremental.lower_bound_ == pytest.approx(incremental.score(many) / many.sum(), rel=2e-3)
    assert incremental.bound_ == pytest.approx(incremental.perplexity(many), rel=2e-2)
    assert_allclose(
        incremental.components_.sum(),
        many.sum() + incremental.topic_word_prior_ * incremental.components_.size,
        rtol=1e-10,
    )


# ---- scikit-learn's --------------------------------------------------------------------------


@pytest.mark.parametrize("matrix", [np.asarray, sp.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"doc_topic_prior": 0.3, "topic_word_prior": 0.02, "max_iter": 4},
        {"learning_method": "online", "shuffle": False, "batch_size": 13, "max_iter": 3},
        {
            "learning_method": "online",
            "shuffle": False,
            "learning_decay": 0.5,
            "learning_offset": 50,
            "batch_size": 80,
        },
        {"max_doc_update_iter": 3, "mean_change_tol": 0, "max_iter": 3},
        {"max_iter": 0},
        {"max_iter": 30, "evaluate_every": 2, "perp_tol": 0.5},
    ],
)
def test_results_are_scikit_learns(parameters, matrix):
    settings = {"n_components": K, "random_state": 0} | parameters
    ours = LatentDirichletAllocation(**settings).fit(matrix(X))
    settings.pop("shuffle", None)  # theirs does not
    theirs = Peer(**settings).fit(matrix(X))
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.n_batch_iter_ == theirs.n_batch_iter_
    for name in ("components_", "exp_dirichlet_component_", "bound_"):
        assert_allclose(
            getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-12, err_msg=name
        )
    for normalize in (True, False):
        assert_allclose(
            ours.transform(X, normalize=normalize), theirs.transform(X, normalize=normalize),
            rtol=1e-6,
        )  # fmt: skip
    assert_allclose(ours.score(X), theirs.score(X), rtol=1e-9)
    assert_allclose(ours.perplexity(X), theirs.perplexity(X), rtol=1e-8)
    assert_allclose(ours.perplexity(X, sub_sampling=True), theirs.perplexity(X, sub_sampling=True))
    assert_array_equal(ours.get_feature_names_out(), theirs.get_feature_names_out())


def test_partial_fit_is_scikit_learns():
    settings = {"n_components": K, "random_state": 0, "total_samples": 80, "batch_size": 20}
    ours, theirs = LatentDirichletAllocation(**settings), Peer(**settings)
    for some in (X[:30], X[30:70], X[70:]):
        ours.partial_fit(some)
        theirs.partial_fit(some)
    assert_allclose(ours.components_, theirs.components_, rtol=1e-6)
    assert_allclose(
        ours.exp_dirichlet_component_, theirs.exp_dirichlet_component_, rtol=1e-5, atol=1e-12
    )
    assert ours.n_batch_iter_ == theirs.n_batch_iter_
    assert ours.n_iter_ == theirs.n_iter_


def test_partial_fit_over_batches_is_the_online_fit():
    settings = {"n_components": K, "random_state": 0, "batch_size": 20, "max_iter": 1}
    once = LatentDirichletAllocation(learning_method="online", shuffle=False, **settings).fit(X)
    parts = LatentDirichletAllocation(total_samples=len(X), **settings)
    for begin in range(0, len(X), 20):
        parts.partial_fit(X[begin : begin + 20])
    assert_allclose(parts.components_, once.components_, rtol=1e-12)


@pytest.mark.parametrize("verbose", [0, 1])
@pytest.mark.parametrize("evaluate_every", [-1, 1])
def test_lines_are_scikit_learns(verbose, evaluate_every, capsys):
    settings = {
        "n_components": K, "random_state": 0, "verbose": verbose, "max_iter": 4,
        "evaluate_every": evaluate_every,
    }  # fmt: skip
    LatentDirichletAllocation(**settings).fit(X)
    ours = capsys.readouterr().out
    Peer(**settings).fit(X)
    assert ours == capsys.readouterr().out


def differs_by_start(estimator):
    """The checks that cannot pass: a start that draws numbers for each document."""
    names = ("dense", "sparse") if estimator.learning_method == "batch" else ()
    return {f"check_sample_weight_equivalence_on_{n}_data": "drawn by row" for n in names}


@parametrize_with_checks(
    [LatentDirichletAllocation(2), LatentDirichletAllocation(2, learning_method="incremental")],
    expected_failed_checks=differs_by_start,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# ---- beyond it -------------------------------------------------------------------------------


@pytest.mark.parametrize("auto", [False, True])
def test_weight_two_is_two_documents(auto):
    """Of a start that draws no numbers for documents."""
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    settings = {"max_iter": 10, "components_init": start()}
    if auto:
        settings |= {"doc_topic_prior": "auto", "topic_word_prior": "auto"}
    one = LatentDirichletAllocation(K, **settings).fit(X, sample_weight=weight)
    other = LatentDirichletAllocation(K, **settings).fit(np.repeat(X, weight, axis=0))
    for name in ("components_", "bound_", "lower_bound_", "doc_topic_prior_", "topic_word_prior_"):
        assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, err_msg=name)


def start():
    return np.random.default_rng(1).gamma(1, 1, (K, X.shape[1])) + 0.1


def test_components_init_is_where_the_fit_begins():
    lda = LatentDirichletAllocation(K, components_init=start(), max_iter=0).fit(X)
    assert_allclose(lda.components_, start())
    assert_allclose(lda.exp_dirichlet_component_, np.exp(oracle.expected_log(start())))


def test_held_out_log_likelihood_by_hand():
    lda = LatentDirichletAllocation(K, random_state=0).fit(X)
    observed = np.random.default_rng(0).binomial(X.astype(int), 0.5)
    held = X - observed
    topic_word = lda.components_ / lda.components_.sum(axis=1, keepdims=True)
    p = lda.transform(observed) @ topic_word
    expected = (held * np.log(p)).sum() / held.sum()
    assert_allclose(lda.held_out_log_likelihood(observed, sp.csr_array(held)), expected, rtol=1e-10)
    with pytest.raises(ValueError, match="X_held has 3 documents, but X_observed has 80"):
        lda.held_out_log_likelihood(observed, held[:3])


@pytest.mark.parametrize("prior", [1e-3, 1.0, 1e3])
def test_extreme_priors(prior):
    for dtype in (np.float64, np.float32):
        lda = LatentDirichletAllocation(
            K, doc_topic_prior=prior, topic_word_prior=prior, random_state=0, max_iter=5
        ).fit(X.astype(dtype))
        assert np.all(np.isfinite(lda.components_))
        assert np.isfinite(lda.bound_)
        assert_allclose(lda.transform(X.astype(dtype)).sum(axis=1), 1, rtol=1e-5)
        assert_allclose(lda.transform(X[7:8].astype(dtype)), 1 / K, rtol=1e-5)


def test_one_topic_one_word():
    lda = LatentDirichletAllocation(1, random_state=0).fit(np.array([[3.0], [1.0]]))
    assert_allclose(lda.transform([[2.0]]), [[1.0]])
    assert_allclose(lda.components_, [[5.0]])


def test_documents_may_all_be_empty():
    """As in scikit-learn: nothing is learned, and topics stay equally probable."""
    for method in ("batch", "online", "incremental"):
        lda = LatentDirichletAllocation(K, learning_method=method).fit(np.zeros((4, 6)))
        assert_allclose(lda.transform(np.zeros((2, 6))), 1 / K)
        assert np.isnan(lda.bound_) or method == "incremental"


def test_perplexity_at_given_gammas():
    lda = LatentDirichletAllocation(K, random_state=0).fit(X)
    gamma = lda.transform(X, normalize=False)
    assert_allclose(lda._perplexity_precomp_distr(X, gamma), lda.perplexity(X), rtol=1e-12)


def test_bad_counts_leave_the_model_alone():
    lda = LatentDirichletAllocation(K, random_state=0, max_iter=2).fit(X)
    before = lda.components_
    for value, words in ((-1, "Negative values"), (np.nan, "NaN")):
        bad = X.copy()
        bad[2, 3] = value
        with pytest.raises(ValueError, match=words):
            lda.fit(bad)
    with pytest.raises(ValueError, match="features"):
        lda.partial_fit(X[:, :-1])
    assert lda.components_ is before


def test_a_failure_while_gamma_is_drawn_is_the_fits():
    class Broken(np.random.RandomState):
        calls = 0

        def gamma(self, *args):
            self.calls += 1
            if self.calls == 4:
                raise ArithmeticError("no more numbers")
            return super().gamma(*args)

    lda = LatentDirichletAllocation(K, random_state=Broken(0), n_jobs=2)
    with pytest.raises(ArithmeticError, match="no more numbers"):
        lda.fit(X)
    assert not hasattr(lda, "components_")


def test_batch_in_several_blocks(monkeypatch):
    """More counts than one block may have: the same fit to rounding, and the same bits again."""
    first = np.random.default_rng(0).gamma(2, 1, (K, X.shape[1])) + 0.1
    exact = {"mean_change_tol": 1e-10, "max_doc_update_iter": 2000, "evaluate_every": 1}
    given = {"components_init": first, "max_iter": 4, "perp_tol": 0.0} | exact
    whole = LatentDirichletAllocation(K, **given).fit(X)
    monkeypatch.setattr("fastem.topics.documents._MOST_COUNTS", np.count_nonzero(X) // 3)
    parts = LatentDirichletAllocation(K, **given).fit(X)
    assert_allclose(parts.components_, whole.components_, rtol=1e-8)
    assert_allclose(parts.lower_bounds_, whole.lower_bounds_, rtol=1e-11)
    random = [LatentDirichletAllocation(K, random_state=1).fit(X) for _ in range(2)]
    assert_array_equal(random[0].components_, random[1].components_)
    assert random[0].random_state_.random_sample() == random[1].random_state_.random_sample()


def test_interrupt_leaves_the_last_whole_pass():
    def interrupt(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    for method in ("batch", "online", "incremental"):
        settings = {"random_state": 0, "learning_method": method, "batch_size": 30}
        lda = LatentDirichletAllocation(K, max_iter=9, **settings).fit(X)
        with em.watch(interrupt), pytest.raises(KeyboardInterrupt):
            lda.fit(X)
        expected = LatentDirichletAllocation(K, max_iter=3, **settings).fit(X)
        assert_array_equal(lda.components_, expected.components_)
        assert lda.n_iter_ == 3
        assert lda.n_batch_iter_ == expected.n_batch_iter_
        assert np.isnan(lda.bound_)


@pytest.mark.parametrize(("method", "most"), [("batch", 3.5), ("online", 4.0)])
def test_few_arrays_as_large_as_the_topics(method, most):
    """A fit has two, its end three: the sums and both attributes. An online step has three."""
    rng, (n_docs, n_words, k) = np.random.default_rng(0), (60, 8000, 104)
    counts = sp.csr_array(rng.poisson(0.1, (n_docs, n_words)).astype(float))
    lda = LatentDirichletAllocation(k, learning_method=method, max_iter=2, random_state=0, n_jobs=1)
    peaks = {}
    tracemalloc.start()
    try:
        for name, call in (("fit", lda.fit), ("transform", lda.transform), ("score", lda.score)):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            call(counts)
            peaks[name] = (tracemalloc.get_traced_memory()[1] - before) / lda.components_.nbytes
    finally:
        tracemalloc.stop()
    assert peaks["fit"] < most
    assert peaks["transform"] < 1.5
    assert peaks["score"] < 1.5
