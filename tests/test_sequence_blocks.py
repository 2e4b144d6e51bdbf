"""Hidden Markov models and Gaussian topics of blocks: rows belong to sequences or documents."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from fastem import (
    GMMHMM,
    BernoulliHMM,
    BinomialHMM,
    Blocks,
    CategoricalHMM,
    GaussianHMM,
    GaussianLDA,
    MultinomialHMM,
    PoissonHMM,
)

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 20, 30)
BEGIN = np.r_[0, np.cumsum(LENGTHS)]
N = int(BEGIN[-1])
STATES = np.cumsum(RNG.random(N) < 0.1) % 3
REALS = RNG.normal(size=(N, 3)) + 4 * STATES[:, None]
COUNTS = RNG.poisson(1 + 4 * STATES[:, None], size=(N, 3)).astype(float)
SYMBOLS = (STATES + RNG.integers(0, 2, N))[:, None]
WEIGHT = RNG.integers(1, 4, 30).astype(float)
settings = {"random_state": 0, "n_iter": 6, "tol": -1.0}

CASES = {
    "gaussian full": (GaussianHMM(3, "full", **settings), REALS),
    "gaussian tied": (GaussianHMM(3, "tied", **settings), REALS),
    "gaussian diag": (GaussianHMM(3, n_init=2, **settings), REALS),
    "mixture": (GMMHMM(3, 2, **settings), REALS),
    "categorical": (CategoricalHMM(3, **settings), SYMBOLS),
    "multinomial": (MultinomialHMM(3, **settings), COUNTS.astype(int)),
    "poisson": (PoissonHMM(3, **settings), COUNTS),
    "bernoulli": (BernoulliHMM(3, **settings), (COUNTS > 3).astype(float)),
    "binomial": (BinomialHMM(3, n_trials=40, **settings), COUNTS),
}


def cut(X, weight=None):
    """Return blocks of 7 sequences or documents each."""

    def read():
        for i in range(0, 30, 7):
            some = slice(i, min(i + 7, 30))
            rows = X[BEGIN[some.start] : BEGIN[some.stop]]
            own = () if weight is None else (weight[some],)
            yield rows, LENGTHS[some], *own

    return Blocks(read)


def fit(estimator, X, *args, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(estimator).fit(X, *args, **settings)


def same(got, expected):
    for name, value in vars(expected).items():
        if name.endswith("_") and isinstance(value, np.ndarray | float):
            np.testing.assert_allclose(getattr(got, name), value, 1e-9, 1e-11, err_msg=name)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_blocks_of_sequences_give_the_fit_of_all_of_them(name, weighted):
    model, X = CASES[name]
    weight = WEIGHT if weighted else None
    whole = fit(model, X, LENGTHS, sample_weight=weight)
    got = fit(model, cut(X, weight))
    same(got, whole)
    np.testing.assert_allclose(got.monitor_.history, whole.monitor_.history, rtol=1e-11)
    labels = np.concatenate(list(got.predict(cut(X))))
    np.testing.assert_array_equal(labels, got.predict(X, LENGTHS))
    assert got.score(cut(X)) == pytest.approx(got.score(X, LENGTHS), rel=1e-12)
    pairs = got.score_samples(cut(X))
    assert next(iter(pairs))[1].shape == (LENGTHS[:7].sum(), 3)
    scores, posteriors = zip(*got.score_samples(cut(X)), strict=True)
    assert len(scores) == 5
    assert all(type(score) is float for score in scores)
    expected = got.score_samples(X, LENGTHS)
    assert sum(scores) == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(np.concatenate(posteriors), expected[1], rtol=1e-12)


def test_a_block_may_be_one_sequence_or_a_list_of_them():
    model = GaussianHMM(3, **settings)
    sequences = np.split(REALS, BEGIN[1:-1])
    whole = fit(model, REALS, LENGTHS)
    same(fit(model, Blocks(lambda: [[], sequences[:10], sequences[10:]])), whole)
    same(fit(model, Blocks(lambda: iter(sequences))), whole)


def test_symbols_that_the_sample_lacks_have_probabilities():
    symbols = np.zeros((130_000, 1), dtype=int)
    symbols[::2] = 1
    symbols[3] = 5
    model = CategoricalHMM(2, random_state=0, n_iter=1)
    assert fit(model, Blocks(lambda: np.split(symbols, 13))).emissionprob_.shape == (2, 6)


def test_what_goes_with_sequences_in_memory_alone_is_refused():
    model = GaussianHMM(3)
    with pytest.raises(TypeError, match=r"lengths must come with the blocks, as \(X, lengths\)"):
        model.fit(cut(REALS), LENGTHS)
    with pytest.raises(TypeError, match="and states cannot"):
        model.fit(cut(REALS), states=STATES)
    fitted = fit(model, REALS, LENGTHS)
    with pytest.raises(TypeError, match=r"lengths must come with the blocks, as \(X, lengths\)"):
        fitted.score_samples(cut(REALS), LENGTHS)
    spoilt = REALS.copy()
    spoilt[BEGIN[9] + 2] = np.inf
    with pytest.raises(ValueError, match=rf"^block 1, row {BEGIN[9] + 2 - BEGIN[7]}: Input X"):
        list(fitted.score_samples(cut(spoilt)))
    with pytest.raises(ValueError, match=rf"^block 1, row {BEGIN[9] + 2 - BEGIN[7]}: Input X"):
        fitted.score(cut(spoilt))
    listed = Blocks(lambda: [[REALS[:9], REALS[9:18]], [REALS[:9], np.full((9, 3), np.inf)]])
    with pytest.raises(ValueError, match=r"^block 1, row 9: Input X"):
        model.fit(listed)
    with pytest.raises(TypeError, match="X is Blocks, and this method takes an array"):
        fitted.decode(cut(REALS), algorithm="map")
    with pytest.raises(ValueError, match=r"^block 1: lengths must sum to the number of rows"):
        model.fit(Blocks(lambda: [REALS[:5], (REALS[5:], [3])]))
    with pytest.raises(ValueError, match=r"^block 0, row 0: X must"):
        PoissonHMM(2).fit(Blocks(lambda: [-COUNTS]))
    assert not hasattr(model, "means_")


topics = {"random_state": 0, "max_iter": 3, "tol": 0}  # before restarts are one optimum


@pytest.mark.parametrize("weighted", [False, True])
def test_gaussian_topics_of_vectors(weighted):
    weight = WEIGHT if weighted else None
    model = GaussianLDA(3, n_init=2, **topics)
    whole = fit(model, REALS, lengths=LENGTHS, sample_weight=weight)
    got = fit(model, cut(REALS, weight))
    same(got, whole)
    parts = list(got.transform(cut(REALS)))
    np.testing.assert_allclose(np.concatenate(parts), got.transform(REALS, LENGTHS), 1e-9)
    np.testing.assert_allclose(got.score(cut(REALS, weight)), got.score(REALS, None, LENGTHS))
    with pytest.raises(TypeError, match="lengths must come with the blocks"):
        got.score(cut(REALS), lengths=LENGTHS)
    with pytest.raises(TypeError, match="lengths must come with the blocks"):
        GaussianLDA(3).fit(cut(REALS), lengths=LENGTHS)


@pytest.mark.parametrize("weighted", [False, True])
def test_gaussian_topics_of_counts(weighted):
    counts = sp.csr_array(RNG.poisson(0.3, (30, 40)).astype(float))
    weight = WEIGHT if weighted else None
    model = GaussianLDA(3, vectors=REALS[:40], doc_topic_prior="auto", **topics)
    whole = fit(model, counts, sample_weight=weight)
    blocks = Blocks.from_arrays(counts, weight, batch_rows=8)
    got = fit(model, blocks)
    same(got, whole)
    np.testing.assert_allclose(np.concatenate(list(got.transform(blocks))), got.transform(counts))
    np.testing.assert_allclose(got.score(blocks), got.score(counts))
    with pytest.raises(ValueError, match="a row for each of the 40 columns of X, got 39 rows"):
        GaussianLDA(3, vectors=REALS[:39]).fit(blocks)
