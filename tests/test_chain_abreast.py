"""Short sequences are worked on several at a time; none may notice the others."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_chain import FAMILIES, chain_params, left_to_right, make, sequences

from fastem.sequence.chain import ChainEM, ChainParams, Sequences
from fastem.sequence.emissions import GaussianEmissions, gaussian_params
from fastem.sequence.mixture_emissions import MixtureEmissions

LENGTHS = (1, 7, 2, 100, 3, 3, 40, 41, 1, 1, 64, 5, 9, 8, 300, 12, 13)


def apart(block, family, X):
    """Return a block for each sequence of a block."""
    ends = zip(block.begin, block.begin[1:], strict=False)
    return [sequences(family, X[a:b], [b - a]) for a, b in ends]


@pytest.mark.parametrize("n_states", [2, 4, 7, 8, 16, 32, 40])
def test_a_sequence_has_the_same_bits_in_any_company(n_states, every_instruction_set):
    rng = np.random.default_rng(n_states)
    family, emission, X = make("diag", n_states, sum(LENGTHS), rng)
    params, model = chain_params(emission, n_states, rng), ChainEM(family)
    block = sequences(family, X, LENGTHS)
    scores, posteriors = model.posteriors(params, block)
    for number, (a, b) in enumerate(zip(block.begin, block.begin[1:], strict=False)):
        rows = block.emission._replace(X=X[a:b])
        score, own = model.posteriors(params, Sequences(rows, np.array([0, b - a])))
        assert score == scores[number]
        assert_array_equal(own, posteriors[a:b])


@pytest.mark.parametrize("name", FAMILIES)
def test_sums_are_those_of_the_sequences_one_by_one(name):
    rng = np.random.default_rng(1)
    family, emission, X = make(name, 5, sum(LENGTHS), rng)
    params, model = chain_params(emission, 5, rng), ChainEM(family)
    weight = rng.integers(0, 3, len(LENGTHS)).astype(float)
    block = sequences(family, X, LENGTHS, weight)
    together = model.e_step(params, block)
    parts = [model.e_step(params, part) for part in apart(block, family, X)]
    assert_allclose(together.bound, sum(w * p.bound for w, p in zip(weight, parts, strict=True)))
    for field in ("start", "transitions"):
        wanted = sum(w * getattr(p, field) for w, p in zip(weight, parts, strict=True))
        assert_allclose(getattr(together, field), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", [GaussianEmissions("diag"), MixtureEmissions("diag", 2)])
def test_one_that_underflows_leaves_its_neighbours_alone(family):
    """In the middle of ordinary sequences, one whose only reachable state is far below the best."""
    rng = np.random.default_rng(2)
    k, lengths = 4, [6] * 9
    means = 40.0 * np.arange(k)[:, None]
    if isinstance(family, MixtureEmissions):
        params = family.params(
            np.full((k, 2), 0.5), np.stack([means, means + 0.1], axis=1), np.ones((k, 2, 1))
        )
    else:
        params = gaussian_params(means, np.ones((k, 1)), "diag")
    X = rng.normal(size=(54, 1))
    X[24:30] += 120  # state 3 from the first row on, where the chain cannot be: it begins in 0
    params = ChainParams(*left_to_right(k), params)
    block, model = sequences(family, X, lengths), ChainEM(family)
    scores, posteriors = model.posteriors(params, block)
    total = model.e_step(params, block)
    for number, part in enumerate(apart(block, family, X)):
        score, own = model.posteriors(params, part)
        assert_allclose(scores[number], score[0], rtol=1e-12)
        assert_allclose(posteriors[6 * number : 6 * number + 6], own, rtol=1e-9, atol=1e-300)
    assert_allclose(total.moments.weight.sum(), 54, rtol=1e-12)
    assert_allclose(total.bound, scores.sum())
    assert scores[4] < -1000 < scores[3]
    assert_array_equal(posteriors[24], [1, 0, 0, 0])
