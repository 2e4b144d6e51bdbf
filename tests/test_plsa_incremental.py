"""The incremental algorithm of PLSA."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from test_plsa import SHAPE, K, X, corpus, start

from fastem import PLSA
from fastem._engine.passes import Incremental
from fastem.topics.documents import Documents, Topics, padded
from fastem.topics.plsa_em import PLSAEM, batch_size_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_incremental_has_the_same_bits_for_every_thread_count(dtype):
    many = corpus((700, 900), n_topics=6, tokens=200).astype(dtype)
    settings = {"algorithm": "incremental", "batch_size": 100, "max_iter": 6, "random_state": 0}
    one, *others = (PLSA(70, n_jobs=n, **settings).fit(many) for n in (1, 2, 3, 8))
    for other in others:
        assert_array_equal(one.components_, other.components_)
        assert one.lower_bounds_ == other.lower_bounds_


def test_incremental_gets_further_in_as_many_passes():
    many = corpus((400, 300), n_topics=8)
    settings = {"n_components": 8, "max_iter": 25, "tol": 0, "random_state": 0}
    batch = PLSA(**settings).fit(many)
    incremental = PLSA(algorithm="incremental", batch_size=20, **settings).fit(many)
    assert incremental.lower_bounds_[0] == pytest.approx(batch.lower_bounds_[0], rel=1e-12)
    assert incremental.lower_bound_ > batch.lower_bound_
    assert np.all(np.diff(incremental.lower_bounds_[3:]) > -1e-6)
    assert incremental.score(many) > batch.score(many)


def test_batches_have_enough_to_do():
    """Three batches, unless these had too little to do, or too many documents."""
    for n_components, shape, expected in [(2, (60, 40), 60), (100, (3000, 40), 1000)]:
        counts = sp.csr_array(np.ones(shape))
        assert batch_size_of(counts, n_components, None) == expected
    assert batch_size_of(sp.csr_array(np.ones((50_000, 2))), 100, None) == 10_000
    assert batch_size_of(sp.csr_array(np.ones((50, 2))), 2, 7) == 7


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_replace_relaxes_what_rises(dtype):
    """As in NumPy, over three visits: the last adds momentum that is not relaxation."""

    def expected_counts(theta, sums):
        ratio = dense / (theta @ (sums / sums.sum(axis=0)).T)
        phi = sums / sums.sum(axis=0)
        new = theta * (ratio @ phi)
        return new / new.sum(axis=1, keepdims=True), phi * (ratio.T @ theta)

    relax, momentum = 2.5, 1.5
    dense = np.random.default_rng(0).poisson(1.0, SHAPE) + np.eye(*SHAPE)
    dense[:, 0] += 1
    dense[0] += 1
    theta, topic_word = start()
    theta, sums = theta / theta.sum(axis=1, keepdims=True), topic_word.T
    block = Documents(sp.csr_array(dense.astype(dtype)), first_doc_topic=theta)
    model = PLSAEM(K, 0.0, 0.0, 2, relax=relax, momentum=momentum)
    params = Topics(padded(sums, K, dtype), sums.sum(axis=0), 0.0)
    statistics, state = model.e_step(params, block, model.first_state(params, block))
    total = statistics.copy()
    theta, sums = expected_counts(theta, sums)
    last = theta
    for _ in range(3):
        before, kept = state, pickle.dumps(state)
        statistics, state = model.replace(model.m_step(total), block, statistics, total, state)
        assert pickle.dumps(before) == kept
        new, new_sums = expected_counts(theta, sums)
        raised = new + relax * np.maximum(new - theta, 0) + momentum * np.maximum(new - last, 0)
        theta, last = raised / raised.sum(axis=1, keepdims=True), new
        sums = new_sums + relax * np.maximum(new_sums - sums, 0)
        tolerance = {"rtol": 1e-10, "atol": 1e-12} if dtype == np.float64 else {"atol": 2e-3}
        assert_allclose(state.doc_topic[:, :K], theta, **tolerance)
        assert_allclose(total.word_topic.values[:, :K], sums, **tolerance)
    assert state.relax == 1.0  # the likelihood rose


def test_incremental_total_is_the_sum_of_its_blocks():
    """After any number of replacements, but for rounding."""
    doc_topic, topic_word = start()
    blocks, rows = Documents.blocks(X, None, 13, doc_topic)
    assert sorted(np.concatenate([np.arange(SHAPE[0])[r] for r in rows])) == list(range(SHAPE[0]))
    for block, some in zip(blocks, rows, strict=True):
        assert_array_equal(block.first_doc_topic, doc_topic[some])
    model = PLSAEM(K, 0.0, 0.0, 1, relax=2.5, momentum=1.5)
    one_pass = Incremental(model, blocks)
    params = Topics(padded(topic_word.T, K, X.dtype), np.ones(K), 0.0)
    for _ in range(12):
        _, params = one_pass(params, True)
    expected = sum(statistics.word_topic.dense() for statistics in one_pass.latest)
    assert_allclose(one_pass.total.word_topic.values, expected, atol=1e-10)
    assert_allclose(one_pass.total.totals, expected.sum(axis=0)[:K], rtol=1e-12)
    assert_allclose(params.probabilities().sum(axis=0), 1, rtol=1e-12)
