"""`fit_algorithm` of hidden Markov models: the same optimum in fewer passes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_hmm_fit import EVERY, LENGTHS, _quiet  # noqa: F401 (a fixture: no warnings in the log)

from fastem import Blocks, CategoricalHMM, GaussianHMM, PoissonHMM, em, has_openmp
from fastem.sequence.chain import ChainEM


def alike(n=5000, seed=0):
    """States that look alike: EM takes thousands of iterations."""
    rng = np.random.default_rng(seed)
    states = np.cumsum(rng.uniform(size=n) < 0.1) % 3
    return rng.normal(np.array([0.0, 1.5, 3.0])[states][:, None], 1.0)


@pytest.fixture
def passes(monkeypatch):
    """How many E-steps there were, as a list that grows."""
    seen, own = [], ChainEM.e_step

    def e_step(self, params, block, *args, **settings):
        seen.append(block.begin[-1])
        return own(self, params, block, *args, **settings)

    monkeypatch.setattr(ChainEM, "e_step", e_step)
    return seen


def test_squarem_ends_where_em_ends_in_a_tenth_of_the_passes(passes):
    X = alike()
    settings = {"n_iter": 5000, "tol": 1e-6, "random_state": 1}
    slow = GaussianHMM(3, **settings).fit(X)
    n_slow = len(passes)
    passes.clear()
    fast = GaussianHMM(3, fit_algorithm="squarem", **settings).fit(X)
    assert slow.converged_
    assert fast.converged_
    assert len(passes) < n_slow / 10
    assert fast.score(X) >= slow.score(X) - 1e-6  # EM stops before its end
    assert_allclose(np.sort(fast.means_, axis=0), np.sort(slow.means_, axis=0), atol=5e-3)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("algorithm", ["squarem", "incremental"])
def test_no_bound_falls_and_no_end_is_worse_than_where_it_began(name, algorithm):
    make, data = EVERY[name]
    X = data()
    model = make(n_iter=30, tol=0, random_state=0, fit_algorithm=algorithm).fit(X, LENGTHS)
    bounds = np.array(model.lower_bounds_)
    plain = make(n_iter=1, random_state=0).fit(X, LENGTHS)
    assert bounds[-1] > plain.lower_bounds_[0]
    if algorithm == "squarem":
        assert np.all(np.diff(bounds) >= -1e-9 * np.abs(bounds[1:]))


def test_incremental_gets_further_in_as_many_passes(passes):
    X = [alike(50, seed) for seed in range(200)]
    settings = {"n_iter": 6, "tol": 0, "random_state": 1}
    batch = GaussianHMM(3, **settings).fit(X)
    n_rows = sum(passes)
    passes.clear()
    parts = GaussianHMM(3, fit_algorithm="incremental", **settings).fit(X)
    assert len(passes) > 20  # an M-step after each piece
    assert sum(passes) <= n_rows + 10_000
    assert parts.score(X) > batch.score(X)


@pytest.mark.skipif(not has_openmp(), reason="this build has one thread")
@pytest.mark.parametrize("algorithm", ["squarem", "incremental"])
def test_bits_do_not_depend_on_threads(algorithm):
    X = [alike(50, seed) for seed in range(40)]
    one, *others = (
        GaussianHMM(3, n_iter=8, random_state=0, fit_algorithm=algorithm, n_jobs=n).fit(X)
        for n in (1, 2, 4)
    )
    for other in others:
        assert_array_equal(one.means_, other.means_)
        assert one.lower_bounds_ == other.lower_bounds_


def test_weights_and_known_states_go_with_their_sequences():
    X = [alike(60, seed) for seed in range(30)]
    weight = np.arange(30) % 3 + 1.0
    states = np.concatenate([np.where(np.arange(60) < 2, seed % 3, -1) for seed in range(30)])
    settings = {"n_iter": 400, "tol": 1e-8, "random_state": 0}
    plain = GaussianHMM(3, **settings).fit(X, sample_weight=weight, states=states)
    parts = GaussianHMM(3, fit_algorithm="incremental", **settings)
    parts.fit(X, sample_weight=weight, states=states)
    assert parts.lower_bound_ == pytest.approx(plain.lower_bound_, abs=1e-5)


@pytest.mark.parametrize("algorithm", ["squarem", "incremental"])
def test_blocks(algorithm):
    X = [alike(100, seed) for seed in range(12)]
    settings = {"n_iter": 200, "tol": 1e-3, "random_state": 0, "fit_algorithm": algorithm}
    blocks = Blocks.from_arrays(X)
    found = GaussianHMM(3, **settings).fit(blocks)
    assert found.n_iter_ < 200
    assert found.score(X) == pytest.approx(GaussianHMM(3, **settings).fit(X).score(X), rel=1e-4)


def test_an_impossible_sequence_of_a_later_piece_is_named():
    model = CategoricalHMM(2, fit_algorithm="incremental", init_params="", params="e")
    model.startprob_, model.transmat_ = [0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]]
    model.emissionprob_ = [[1.0, 0.0], [1.0, 0.0]]
    X = [np.zeros((100, 1), int)] * 3 + [np.ones((100, 1), int)]
    with pytest.raises(ValueError, match=r"sequence 3 .* probability 0"):
        model.fit(X)


def test_a_killed_fit_goes_on_with_the_same_bits(tmp_path):
    X = alike(2000)
    settings = {"n_iter": 12, "tol": 0, "random_state": 0, "fit_algorithm": "squarem"}
    whole = GaussianHMM(3, **settings).fit(X)

    def stop(state):
        if state.iteration == 7:
            raise RuntimeError("killed")

    often, left = em.Checkpoint(tmp_path / "fit", iterations=1), []
    with em.watch(stop), pytest.raises(RuntimeError):
        GaussianHMM(3, **settings).fit(X, checkpoint=often)
    with em.watch(lambda state: left.append(state.iteration)):
        again = GaussianHMM(3, **settings).fit(X, checkpoint=often)
    assert left == [*range(7, 13)]
    assert_array_equal(again.means_, whole.means_)
    assert again.lower_bounds_ == whole.lower_bounds_


def test_what_there_is_not():
    with pytest.raises(ValueError, match="'fit_algorithm' parameter of PoissonHMM must be"):
        PoissonHMM(2, fit_algorithm="fast").fit([[1], [2]])
