"""Topic models of documents in blocks: the fit of documents in memory, and what is refused."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone

from fastem import PLSA, Blocks, GaussianLDA
from fastem import LatentDirichletAllocation as LDA
from fastem.topics.summary import mean_of

RNG = np.random.default_rng(0)
TOPICS = RNG.dirichlet(np.full(60, 0.1), 5)
SHARES = RNG.dirichlet(np.full(5, 0.3), 120)
COUNTS = sp.csr_array(RNG.poisson(40 * SHARES @ TOPICS).astype(float))
WEIGHT = RNG.integers(0, 3, 120).astype(float)
FIRST = RNG.gamma(100, 0.01, (5, 60))


def fit(estimator, X, weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so many iterations are what is wanted
        return clone(estimator).fit(X, sample_weight=weight)


def every(n):
    """Every n-th row is a block, as the incremental methods cut data in memory."""

    def read(weight=None):
        parts = [slice(i, None, n) for i in range(n)]
        if weight is None:
            return Blocks(lambda: (COUNTS[part] for part in parts))
        return Blocks(lambda: ((COUNTS[part], weight[part]) for part in parts))

    return read


def rows(n):
    return lambda weight=None: Blocks.from_arrays(COUNTS, weight, batch_rows=n)


lda = {"components_init": FIRST, "random_state": 0, "max_iter": 4}
CASES = {
    "plsa": (PLSA(5, max_iter=30, tol=0, random_state=0), rows(25)),
    "plsa priors": (
        PLSA(5, max_iter=9, tol=0, random_state=0, topic_word_prior=0.1, beta=0.8),
        rows(25),
    ),
    "plsa incremental": (
        PLSA(5, algorithm="incremental", batch_size=30, max_iter=9, tol=0, random_state=0),
        every(4),
    ),
    "lda": (LDA(5, **lda), rows(25)),
    "lda auto": (LDA(5, doc_topic_prior="auto", topic_word_prior="auto", **lda), rows(25)),
    "lda evaluated": (LDA(5, evaluate_every=1, perp_tol=1e-9, **lda), rows(25)),
    "lda point": (LDA(5, topic_word_prior=0, **lda), rows(25)),
    "lda online": (
        LDA(5, learning_method="online", shuffle=False, batch_size=10, **lda),
        rows(40),
    ),
    "lda incremental": (LDA(5, learning_method="incremental", batch_size=30, **lda), every(4)),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_blocks_give_the_fit_of_documents_in_memory(name, weighted):
    estimator, blocks = CASES[name]
    weight = WEIGHT if weighted else None
    whole, cut = fit(estimator, COUNTS, weight), fit(estimator, blocks(weight))
    for attribute, value in vars(whole).items():
        if attribute.endswith("_") and np.asarray(value).dtype.kind in "fi":
            got = getattr(cut, attribute)
            np.testing.assert_allclose(got, value, 1e-9, 1e-11, err_msg=attribute)
    read = list(cut.transform(rows(50)()))
    assert [len(part) for part in read] == [50, 50, 20]
    np.testing.assert_allclose(np.concatenate(read), cut.transform(COUNTS), 1e-9, 1e-11)
    for method in ("score", "perplexity"):
        got, expected = getattr(cut, method)(rows(50)()), getattr(cut, method)(COUNTS)
        np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize("measure", ["umass", "npmi"])
def test_coherence_counts_documents_of_all_blocks(measure):
    plsa = fit(CASES["plsa"][0], COUNTS)
    expected = plsa.coherence(COUNTS, measure=measure, n=6)
    assert_allclose(plsa.coherence(rows(50)(), measure=measure, n=6), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="X has no documents, in which words could occur"):
        plsa.coherence(Blocks.from_arrays(COUNTS[:0]), measure=measure)


@pytest.mark.parametrize("method", ["batch", "online", "incremental"])
def test_random_starts_depend_on_the_seed_and_the_blocks_alone(method):
    estimator = LDA(5, learning_method=method, random_state=3, batch_size=20, max_iter=2)
    one, two = fit(estimator, rows(50)()), fit(estimator, rows(50)())
    np.testing.assert_array_equal(one.components_, two.components_)
    other = fit(clone(estimator).set_params(random_state=4), rows(50)())
    assert not np.allclose(one.components_, other.components_)


def test_online_steps_shuffle_within_blocks():
    estimator = LDA(5, learning_method="online", batch_size=10, **lda)
    shuffled = fit(estimator, rows(40)())
    as_they_come = fit(clone(estimator).set_params(shuffle=False), rows(40)())
    assert not np.allclose(shuffled.components_, as_they_come.components_)
    assert shuffled.n_batch_iter_ == as_they_come.n_batch_iter_ == 1 + 4 * 12


def test_incremental_methods_read_blocks_again():
    passes = []

    def read():
        passes.append(1)
        return (COUNTS[i : i + 40] for i in (0, 40, 80))

    fit(PLSA(5, algorithm="incremental", max_iter=3, tol=0, random_state=0), Blocks(read))
    assert len(passes) == 4  # and the first one


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LDA(5, learning_method="cvb0"), "learning_method='cvb0' keeps a topic of every token"),
        (LDA(5, learning_method="stochastic"), "needs the documents in memory"),
        (PLSA(5, beta="held-out"), "beta='held-out' holds words out of documents in memory"),
        (PLSA(5, init=(SHARES, TOPICS)), "init must be 'random' for blocks"),
    ],
)
def test_what_needs_all_documents_is_refused(estimator, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit(rows(40)())
    assert not hasattr(estimator, "components_")


def test_bad_documents_are_told_with_their_block():
    negative = COUNTS.copy()
    negative.data[negative.indptr[70]] = -1
    with pytest.raises(ValueError, match=r"^block 1, row 30: Negative values in data"):
        PLSA(5).fit(Blocks.from_arrays(negative, batch_rows=40))
    with pytest.raises(ValueError, match="features 60 in block 0, but 59 in block 1"):
        LDA(5).fit(Blocks(lambda: [COUNTS, COUNTS[:, :59]]))
    with pytest.raises(ValueError, match="no count above 0"):
        PLSA(5).fit(Blocks.from_arrays(0 * COUNTS, batch_rows=40))


@pytest.mark.parametrize("model", [PLSA(2, random_state=0), LDA(2)])
def test_fit_transform_of_blocks_transforms_them(model):
    """PLSA was fitted, and then raised an error of nothing's dtype."""
    X = np.random.default_rng(0).poisson(1.0, size=(30, 6))
    blocks = Blocks.from_arrays(X, batch_rows=10)
    found = np.vstack(list(model.fit_transform(blocks)))
    assert_allclose(found, model.transform(X), rtol=1e-10)


def test_lengths_beside_blocks_of_vectors_are_refused():
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = GaussianLDA(2, random_state=0).fit(X, lengths=[15, 15])
    with pytest.raises(TypeError, match="lengths must come with the blocks"):
        model.transform(Blocks.from_arrays(X, batch_rows=15), [10, 5])


def test_the_summary_of_words_that_never_meet_has_no_coherence():
    """NumPy warned of the mean of nothing; where X has no words, there is no perplexity either."""
    X = np.random.default_rng(0).poisson(1.0, size=(30, 6))
    model = LDA(2, random_state=0).fit(X)
    for documents in (np.eye(6)[:1], np.zeros((2, 6))):
        assert "Mean coherence (NPMI):" in model.summary(documents)
    assert np.isnan(mean_of(np.array([np.nan])))
    assert mean_of(np.array([0.25, np.nan, 0.75])) == 0.5
