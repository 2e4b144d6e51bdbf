"""Hidden Markov models where fits, streams, weights and blocks meet; what reading refuses."""

import logging

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

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
    em,
)
from fastem.sequence.start import covariance_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2)) + np.repeat([[0.0], [4.0]], 30, axis=0)
COUNTS = RNG.integers(0, 4, size=(60, 2))
SYMBOLS = RNG.integers(0, 3, size=(60, 1))
ALL = [
    (GaussianHMM(2, random_state=0), X),
    (GMMHMM(2, n_mix=2, random_state=0), X),
    (CategoricalHMM(2, random_state=0), SYMBOLS),
    (MultinomialHMM(2, random_state=0), COUNTS),
    (PoissonHMM(2, random_state=0), COUNTS),
    (BernoulliHMM(2, random_state=0), COUNTS % 2),
    (BinomialHMM(2, n_trials=3, random_state=0), COUNTS),
]


def never_the_second():
    """Return a model that begins in a state without symbol 1."""
    model = CategoricalHMM(2)
    model.startprob_, model.transmat_ = [1, 0], [[0.5, 0.5], [0, 1]]
    model.emissionprob_ = [[1, 0], [0, 1]]
    return model


# ---- weights of 0 ------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "rows"), ALL, ids=lambda one: type(one).__name__)
def test_a_sequence_of_weight_0_is_as_if_it_were_not_there(model, rows):
    """Not in the start, either: its values may be anything."""
    if model.__class__ in (GaussianHMM, GMMHMM):
        far = np.vstack([rows, rows[:20] * 50 + 7])
    else:
        far = np.vstack([rows, np.full_like(rows[:20], rows.max())])
    weighted = model.fit(far, [60, 20], sample_weight=[1, 0])
    bound, log_likelihood = weighted.lower_bound_, weighted.score(rows)
    alone = model.fit(rows)
    assert_allclose([bound, log_likelihood], [alone.lower_bound_, alone.score(rows)], rtol=1e-9)


@pytest.mark.parametrize("weight", [1e300, 1e-300])
def test_weights_whose_sums_are_no_normal_numbers_are_refused(weight):
    """The bound was -7e292 a row, or an overflow was warned of."""
    with pytest.raises(ValueError, match="must sum to between 1e-200 and 1e200"):
        GaussianHMM(2, random_state=0).fit(X, [30, 30], sample_weight=[weight, weight])


@pytest.mark.parametrize("model", [GaussianHMM(1), GMMHMM(1, n_mix=2, random_state=0)])
def test_one_row_of_positive_weight_has_no_scatter_to_divide(model):
    """NumPy would warn of degrees of freedom, and give infinite covariances."""
    model.fit(X, [59, 1], sample_weight=[0, 1])
    assert np.all(np.isfinite(model.covars_))


def test_a_feature_known_in_rows_of_weight_0_alone_is_unknown():
    unknown = X.copy()
    unknown[:30, 1] = np.nan
    message = "feature 1 of X has no value but NaN, or of sample_weight 0"
    model = GaussianHMM(2, random_state=0)
    with pytest.raises(ValueError, match=message):
        model.fit(unknown, [30, 30], sample_weight=[1, 0])
    with pytest.raises(ValueError, match=message):
        model.fit(Blocks(lambda: iter([(unknown[:30], None, [1]), (X, None, [0])])))


def test_states_of_too_few_rows_do_not_begin_alike():
    """A seed, asked twice, would give both the same means, and they would stay the same."""
    rows = np.array([[0.0], [0.1], [9.0], [9.1]])
    model = GMMHMM(2, n_mix=3, n_iter=0, random_state=0).fit(rows)
    assert np.abs(model.means_[0] - model.means_[1]).min() > 1e-3


# ---- what is left of a fit ---------------------------------------------------------------------


def test_a_fit_after_an_interrupted_one_says_nothing_of_lost_values(caplog):
    def interrupt(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    model = GaussianHMM(2, random_state=0, tol=0)
    with pytest.raises(KeyboardInterrupt), em.watch(interrupt):
        model.fit(X)
    assert model.stop_reason_ == "interrupted"
    with caplog.at_level(logging.WARNING, logger="fastem"):
        model.fit(X)
    assert not caplog.records


def test_a_stream_has_no_reason_why_a_fit_stopped(caplog):
    model = GaussianHMM(2, random_state=0)
    for _ in range(5):
        model.partial_fit(np.random.default_rng(1).permutation(X))
    assert not model.converged_
    assert list(model.monitor_.history) == []
    with pytest.raises(AttributeError, match="stop_reason_"):
        _ = model.stop_reason_
    with caplog.at_level(logging.WARNING, logger="fastem"):
        assert model.fit(X).stop_reason_ == "converged"
    assert not caplog.records


def test_a_start_that_somebody_sets_after_a_fit_is_not_lost_without_a_word(caplog):
    model = GaussianHMM(2, random_state=0).fit(X)
    model.means_ = [[1.0, 1.0], [2.0, 2.0]]
    with caplog.at_level(logging.WARNING, logger="fastem"):
        model.fit(X)
    assert [record.args[0] for record in caplog.records] == ["means"]


# ---- blocks ------------------------------------------------------------------------------------


def test_lengths_beside_blocks_are_refused_by_every_method_that_reads_blocks():
    model, blocks = GaussianHMM(2, random_state=0).fit(X), Blocks.from_arrays(X, batch_rows=20)
    for read in (model.score, model.predict, model.predict_proba):
        with pytest.raises(TypeError, match="lengths must come with the blocks"):
            read(blocks, [20, 40])
        read(blocks, lengths=None)


def test_a_block_whose_weights_are_all_0_adds_nothing():
    weighted = [(X[:30], None, [1]), (X[30:], None, [0])]
    model = GaussianHMM(1, random_state=0).fit(Blocks(lambda: iter(weighted)))
    assert_allclose(model.means_[0], X[:30].mean(axis=0), rtol=1e-12)
    lda = GaussianLDA(1, random_state=0)
    lda.fit(Blocks(lambda: iter([(X[:30], [30], [1]), (X[30:], [15, 15], [0, 0])])))
    assert_allclose(lda.means_[0], X[:30].mean(axis=0), rtol=1e-12)
    for one in (model, lda):
        nothing = Blocks(lambda: iter([(X, [60], [0])]))
        with pytest.raises(ValueError, match="sample_weight must have at least one positive"):
            one.fit(nothing)


def test_a_value_that_is_no_number_names_block_and_row():
    bad = X.copy()
    bad[7, 1] = np.inf
    for data in (bad, (bad, [60])):
        with pytest.raises(ValueError, match=r"block 1, row 7: .*infinity"):
            GaussianHMM(1).fit(Blocks(lambda data=data: iter([X, data])))
    holes = bad.copy()
    holes[3] = np.nan  # which is missing, and no fault
    with pytest.raises(ValueError, match=r"block 1, row 7: .*infinity"):
        GaussianHMM(1).fit(Blocks(lambda: iter([X, holes])))


def test_decoding_of_blocks_says_what_to_do_whatever_the_algorithm():
    model, blocks = GaussianHMM(2, random_state=0).fit(X), Blocks.from_arrays(X, batch_rows=20)
    for algorithm in ("viterbi", "map"):
        with pytest.raises(TypeError, match="call it with each block"):
            model.decode(blocks, algorithm=algorithm)


# ---- impossible sequences ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["summary", "standard_errors", "decode", "predict_next", "icl"])
def test_what_has_no_posterior_is_refused(method):
    with pytest.raises(ValueError, match=r"sequence 1 \(rows 2 to 3\) has probability 0"):
        getattr(never_the_second(), method)([[0], [1], [1], [1]], [2, 2])


# ---- attributes --------------------------------------------------------------------------------


def test_covariances_that_are_one_number():
    model = GaussianHMM(1, "spherical")
    with pytest.raises(ValueError, match=r"must have shape \(n_components,\).* got \(\)"):
        model.covars_ = 1.0
    model.covars_ = [1.0]
    assert_array_equal(model._covars_, [1.0])


# ---- the covariance that states begin with -----------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [2, 90_000])
def test_the_first_covariance_is_numpy_s(n, weighted):
    """Of many rows it is summed in parts; rows of one weight alone have none."""
    rng = np.random.default_rng(n)
    rows, weight = rng.normal(size=(n, 9)) + 1e4, rng.uniform(0, 2, n) if weighted else None
    expected = np.cov(rows.T, aweights=weight) + 0.5 * np.eye(9)
    assert_allclose(covariance_of(rows, 0.5, weight), expected, rtol=1e-9, atol=1e-12)
    assert_array_equal(covariance_of(rows[:2], 0.5, np.array([3.0, 0])), 0.5 * np.eye(9))


@pytest.mark.parametrize("k", [2, 3, 5, 8, 9, 17])
@pytest.mark.parametrize("n", [2, 7, 1300])
def test_of_paths_that_are_equally_probable_it_is_the_one_of_hmmlearn(k, n):
    """The first of the best at the last row, and before a state the last of the best."""
    model = CategoricalHMM(k)
    model.startprob_, model.transmat_ = np.full(k, 1 / k), np.full((k, k), 1 / k)
    model.emissionprob_ = np.full((k, 2), 0.5)
    X = np.arange(n)[:, None] % 2
    assert_array_equal(model.predict(X), [k - 1] * (n - 1) + [0])
    assert_array_equal(model.predict(X, [1, n - 1])[:2], [0, 0 if n == 2 else k - 1])
