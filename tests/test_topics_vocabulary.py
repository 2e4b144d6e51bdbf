"""Topic models pass over the words that occur: the fit is that of all words, without their cost."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from fastem import PLSA, LatentDirichletAllocation, em
from fastem.topics import vocabulary

FITS = {
    "plsa": lambda **s: PLSA(3, max_iter=12, tol=0, **s),
    "plsa, priors": lambda **s: PLSA(
        3, max_iter=6, tol=0, doc_topic_prior=0.1, topic_word_prior=0.2, n_init=2, **s
    ),
    "plsa, incremental": lambda **s: PLSA(
        3, algorithm="incremental", batch_size=15, max_iter=6, tol=0, topic_word_prior=0.1, **s
    ),
    "plsa, annealed": lambda **s: PLSA(3, beta="held-out", max_iter=20, tol=0, **s),
    "plsa, one pass": lambda **s: PLSA(3, max_iter=1, topic_word_prior=0.2, **s),
    "plsa, start": lambda **s: PLSA(3, max_iter=0, **s),
    "lda": lambda **s: LatentDirichletAllocation(3, max_iter=6, **s),
    "lda, start": lambda **s: LatentDirichletAllocation(3, max_iter=0, **s),
    "lda, one pass": lambda **s: LatentDirichletAllocation(3, max_iter=1, evaluate_every=1, **s),
    "lda, learned": lambda **s: LatentDirichletAllocation(
        3, max_iter=25, doc_topic_prior="auto", topic_word_prior="auto", evaluate_every=2,
        perp_tol=0, **s
    ),
    "lda, points": lambda **s: LatentDirichletAllocation(
        3, max_iter=6, topic_word_prior=0, evaluate_every=3, **s
    ),
    "lda, small priors": lambda **s: LatentDirichletAllocation(
        9, max_iter=8, topic_word_prior=1e-6, doc_topic_prior=1e-3, **s
    ),
    "lda, guided": lambda **s: LatentDirichletAllocation(
        3, max_iter=4, topic_word_prior=np.linspace(0.1, 1, 40), **s
    ),
    "cvb0": lambda **s: LatentDirichletAllocation(3, learning_method="cvb0", max_iter=8, **s),
    "stochastic": lambda **s: LatentDirichletAllocation(
        3, learning_method="stochastic", max_iter=25, **s
    ),
}  # fmt: skip
DTYPES = [np.float64, np.float32]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def corpus(dtype=np.float64):
    """Counts, (60, 40), in which 13 of the words occur."""
    rng = np.random.default_rng(0)
    X = np.zeros((60, 40), dtype)
    words = np.sort(rng.choice(40, 13, replace=False))
    X[:, words] = rng.poisson(2 * rng.dirichlet(np.full(13, 0.3), 3)[rng.integers(3, size=60)] * 5)
    return X


def both(fit, X, monkeypatch, **settings):
    """The same fit with rows for the words that occur, and with rows for all."""
    some = fit(random_state=0, **settings).fit(X)
    monkeypatch.setattr(vocabulary, "_MOST", 0.0)
    return some, fit(random_state=0, **settings).fit(X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FITS)
def test_is_the_fit_of_all_words(name, dtype, monkeypatch):
    some, every = both(FITS[name], corpus(dtype), monkeypatch)
    rtol = 1e-9 if dtype == np.float64 else 1e-4
    assert_allclose(some.components_, every.components_, rtol=rtol, atol=rtol * 1e-3)
    assert some.components_.dtype == dtype
    assert some.components_.flags.c_contiguous == every.components_.flags.c_contiguous
    assert some.n_iter_ == every.n_iter_
    assert_allclose(some.lower_bounds_, every.lower_bounds_, rtol=rtol)
    for attribute in (
        "exp_dirichlet_component_",
        "bound_",
        "doc_topic_prior_",
        "topic_word_prior_",
    ):
        if hasattr(every, attribute):
            found, wanted = getattr(some, attribute), getattr(every, attribute)
            assert_allclose(found, wanted, rtol=rtol, atol=1e-30)


@pytest.mark.parametrize("name", ["plsa, priors", "lda", "cvb0", "stochastic"])
def test_rows_are_those_of_the_words_that_occur(name):
    """A pass must not touch the others: there is nothing of them in what the driver sees."""
    X, seen = corpus(), []
    with em.watch(lambda state: seen.append(state.params)):
        FITS[name](random_state=0).fit(X)
    for params in seen:
        rows = params.counts if name == "stochastic" else params.sums
        assert len(rows) == 13
        assert_array_equal(params.vocabulary.word_id, np.flatnonzero(X.any(axis=0)))
        assert params.components().shape[1] == 40
        assert params.vocabulary.others is None  # known without rows after an M-step


def test_documents_without_any_word_leave_the_prior():
    lda = LatentDirichletAllocation(3, random_state=0).fit(sp.csr_array((5, 30)))
    assert_allclose(lda.components_, 1 / 3)


def test_most_words_keep_their_rows():
    X = corpus()
    X = X[:, X.any(axis=0) | (np.arange(40) < 3)]
    same, known = vocabulary.occurring(sp.csr_array(X))
    assert known is None
    assert_array_equal(same.toarray(), X)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
@pytest.mark.parametrize("name", ["plsa, priors", "lda", "cvb0"])
def test_threads_give_the_same_bits(name, n_jobs):
    X = np.tile(corpus(), (30, 1))
    one = FITS[name](random_state=0, n_jobs=1).fit(X)
    assert_array_equal(
        FITS[name](random_state=0, n_jobs=n_jobs).fit(X).components_, one.components_
    )


@pytest.mark.parametrize("cls", [PLSA, LatentDirichletAllocation])
def test_a_few_documents_are_read_with_their_own_words(cls):
    """transform() of one document gives what it gives among all, and reads no other word."""
    rng = np.random.default_rng(0)
    X = sp.random_array((50, 3000), density=0.01, rng=rng, format="csr")
    X.data = np.ceil(5 * X.data)
    model = (
        cls(4, random_state=0, max_iter=5).fit(X)
        if cls is not PLSA
        else (cls(4, random_state=0, max_iter=5, tol=1e9).fit(X))
    )
    whole = model.transform(X)
    for i in (0, 7):
        assert_allclose(model.transform(X[[i]]), whole[[i]], rtol=1e-10)


def test_held_words_of_annealing_may_be_new_to_the_topics():
    """A word of which every count is held out still has a row."""
    X = np.zeros((30, 200))
    X[:, :5] = 3
    X[np.arange(30), 20 + np.arange(30)] = 1  # once each: some of them are held out alone
    plsa = PLSA(2, beta="held-out", validation_fraction=0.4, max_iter=5, tol=0, random_state=0)
    plsa.fit(X)
    assert np.isfinite(plsa.validation_scores_).all()
    assert plsa.components_.shape == (2, 200)


@pytest.mark.parametrize("name", ["plsa, priors", "lda", "cvb0"])
def test_an_interrupt_leaves_all_words(name):
    X, fit = corpus(), FITS[name](random_state=0)

    def stop(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), em.watch(stop):
        fit.fit(X)
    assert fit.components_.shape == (3, 40)
    assert fit.n_iter_ == 1


@pytest.mark.parametrize("name", ["plsa, priors", "lda", "cvb0"])
def test_a_checkpoint_goes_on_with_the_same_bits(name, tmp_path):
    X = corpus()

    def stop(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    once = FITS[name](random_state=0).fit(X)
    killed = FITS[name](random_state=0)
    with pytest.raises(KeyboardInterrupt), em.watch(stop):
        killed.fit(X, checkpoint=em.Checkpoint(tmp_path / "fit", iterations=1))
    again = FITS[name](random_state=0).fit(
        X, checkpoint=em.Checkpoint(tmp_path / "fit", iterations=1)
    )
    assert_array_equal(again.components_, once.components_)
