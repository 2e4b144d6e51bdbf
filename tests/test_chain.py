"""The chain beneath hidden Markov models against sums over all paths, for every family."""

import itertools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from fastem import em
from fastem.components import discrete as discrete
from fastem.sequence.chain import ChainEM, ChainParams, Sequences
from fastem.sequence.emissions import (
    DiscreteEmissions,
    GaussianEmissions,
    GaussianPrior,
    MixtureEmissions,
    gaussian_params,
)

KINDS = ("full", "tied", "diag", "spherical")
FAMILIES = [
    *KINDS,
    *(f"mixture {kind}" for kind in KINDS),
    "poisson",
    "bernoulli",
    "binomial",
    "categorical",
    "multinomial",
]


def make(name, n_states, n_rows, rng, n_features=2, **options):
    """Return a family, some parameters, and data."""
    k, d, n, m = n_states, n_features, n_rows, 3
    kind = name.split()[-1]
    if kind in KINDS:
        root = rng.normal(size=(k, m, d, d))
        full = root @ root.swapaxes(-1, -2) + np.eye(d)
        X, means = 2 * rng.normal(size=(n, d)), rng.normal(size=(k, m, d))
        variances = full.diagonal(axis1=-2, axis2=-1).copy()
        if name == kind:
            covariances = {
                "full": full[:, 0],
                "tied": full[0, 0],
                "diag": variances[:, 0],
                "spherical": variances[:, 0, 0],
            }[kind]
            family = GaussianEmissions(kind, **options)
            return family, gaussian_params(means[:, 0], covariances, kind), X
        covariances = {
            "full": full,
            "tied": full[:, 0],
            "diag": variances,
            "spherical": variances[..., 0].copy(),
        }[kind]
        family = MixtureEmissions(kind, m, **options)
        return family, family.params(rng.dirichlet(np.ones(m), k), means, covariances), X
    if name == "poisson":
        family, values = discrete.Poisson(d, **options), rng.gamma(2, 2, (k, d))
        X = rng.poisson(3, (n, d))
    elif name in ("bernoulli", "binomial"):
        trials = 1 if name == "bernoulli" else 5
        family = discrete.Binomial(np.full(d, trials), **options)
        values, X = rng.uniform(0.1, 0.9, (k, d)), rng.integers(0, trials + 1, (n, d))
    elif name == "categorical":
        family = discrete.Categorical([7], **options)
        values, X = rng.dirichlet(np.ones(7), (k, 1)), rng.integers(0, 7, (n, 1))
    else:
        family = discrete.Multinomial(d, **options)
        values, X = rng.dirichlet(np.ones(d), k), rng.multinomial(6, np.full(d, 1 / d), n)
    family = DiscreteEmissions(family, k)
    return family, family.params(values), X.astype(np.float64)


def chain_params(emission, n_states, rng):
    """Return random parameters of a chain."""
    start = rng.dirichlet(np.ones(n_states))
    return ChainParams(start, rng.dirichlet(np.ones(n_states), n_states), emission)


def sequences(family, X, lengths, weight=None, known=None):
    """Return the block of sequences of some lengths."""
    begin = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sequences(family.block(X), begin, weight, known)


def all_paths(params, logb):
    """Return what a sum over all paths gives: log p, (T, K), (K, K), best path and its log-prob."""
    n, k = logb.shape
    with np.errstate(divide="ignore"):
        start, trans = np.log(params.startprob), np.log(params.transmat)
    paths = np.array(list(itertools.product(range(k), repeat=n)))
    log_p = start[paths[:, 0]] + logb[np.arange(n), paths].sum(axis=1)
    log_p = log_p + trans[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    total = logsumexp(log_p)
    weight = np.exp(log_p - total)
    posterior = np.array([np.bincount(paths[:, t], weight, k) for t in range(n)])
    pairs = np.zeros((k, k))
    for t in range(1, n):
        np.add.at(pairs, (paths[:, t - 1], paths[:, t]), weight)
    return total, posterior, pairs, paths[log_p.argmax()], log_p.max()


def assert_same_sums(actual, expected, rtol=1e-9):
    """Compare what the statistics of emissions hold."""
    if hasattr(expected, "moments"):
        for name in ("weight", "mean", "scatter"):
            one, other = getattr(actual.moments, name), getattr(expected.moments, name)
            assert_allclose(one, other, rtol=rtol, atol=1e-10, err_msg=name)
    else:
        assert_allclose(actual.terms, expected.terms, rtol=rtol, atol=1e-12)
        assert_allclose(actual.resp, expected.resp, rtol=rtol)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_one_e_step_is_the_sum_over_all_paths(name, weighted):
    rng, lengths = np.random.default_rng(0), [6, 1, 4, 5, 2]
    family, emission, X = make(name, 3, sum(lengths), rng)
    params = chain_params(emission, 3, rng)
    weight = rng.uniform(0.5, 2, len(lengths)) if weighted else None
    known = rng.integers(0, 3, sum(lengths)).astype(np.int32) if weighted else None
    if weighted:
        known[rng.random(len(known)) < 0.6] = -1
    block = sequences(family, X, lengths, weight, known)
    model = ChainEM(family)
    logb = family.log_prob(emission, block.emission)
    if weighted:
        logb[(known[:, None] >= 0) & (known[:, None] != np.arange(3))] = -np.inf
    statistics = model.e_step(params, block)
    scores, posteriors = model.posteriors(params, block)
    best, states = model.viterbi(params, block)
    assert_allclose(model.scores(params, block), scores, rtol=1e-12)
    expected, start, pairs, gamma = 0.0, 0.0, 0.0, []
    for s, (first, last) in enumerate(itertools.pairwise(block.begin)):
        w = weight[s] if weighted else 1.0
        total, posterior, joint, path, log_path = all_paths(params, logb[first:last])
        assert_allclose(scores[s], total, rtol=1e-12)
        assert_allclose(posteriors[first:last], posterior, atol=1e-12)
        assert_allclose(best[s], log_path, rtol=1e-12)
        assert_array_equal(states[first:last], path)
        expected, start, pairs = expected + w * total, start + w * posterior[0], pairs + w * joint
        gamma.append(w * posterior)
    assert_allclose(statistics.bound, expected, rtol=1e-12)
    assert_allclose(statistics.start, start, atol=1e-12)
    assert_allclose(statistics.transitions, pairs, atol=1e-11)
    given = family.statistics(emission, block.emission, np.concatenate(gamma))
    assert_same_sums(statistics, given)


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_bound_never_falls(name, prior):
    rng, options, pseudo = np.random.default_rng(1), {}, 1.0
    kind = name.split()[-1]
    if prior and kind in KINDS:
        scale = 0.3 if kind in ("diag", "spherical") else 0.3 * np.eye(2)
        options, pseudo = {"prior": GaussianPrior(0.5, 2.0, scale, 1.5)}, 2.0
    elif kind in KINDS:
        options = {"min_covar": 0.1}
    elif prior:
        pair = name in ("poisson", "bernoulli", "binomial")
        options, pseudo = {"prior": (0.5, 0.7) if pair else 0.5}, 2.0
    family, emission, X = make(name, 3, 100, rng, **options)
    model = ChainEM(family, start_prior=pseudo, trans_prior=pseudo)
    block = sequences(family, X, [50, 20, 30])
    start = chain_params(emission, 3, rng)
    bounds = np.array(em.fit(model, [block], start, max_iter=12, tol=0).lower_bounds)
    assert np.all(np.diff(bounds) > -1e-9 * abs(bounds[-1]))


def test_an_e_step_changes_nothing_and_pickles():
    rng = np.random.default_rng(2)
    for name in FAMILIES:
        family, emission, X = make(name, 2, 30, rng)
        params, block = chain_params(emission, 2, rng), sequences(family, X, [10, 20])
        model = ChainEM(family)
        first = model.e_step(params, block)
        model, params, block = pickle.loads(pickle.dumps((model, params, block)))
        again = model.e_step(params, block)
        assert first.bound == again.bound
        assert_array_equal(first.transitions, again.transitions)


def test_fixed_probabilities_stay_and_the_others_share_the_rest():
    rng = np.random.default_rng(3)
    family, emission, X = make("diag", 3, 60, rng)
    free = np.nan
    fixed = np.array([[0.5, free, free], [0.0, free, free], [0.0, 0.0, 1.0]])
    trans = np.array([[0.5, 0.2, 0.3], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0]])
    params = ChainParams(np.array([1.0, 0, 0]), trans, emission)
    model = ChainEM(
        family, trans_prior=2.0, trans_fixed=fixed, start_fixed=np.array([free, 0.0, 0.0])
    )
    new = model.m_step(model.e_step(params, sequences(family, X, [30, 30])))
    assert_array_equal(new.transmat[~np.isnan(fixed)], fixed[~np.isnan(fixed)])
    assert_allclose(new.transmat.sum(axis=1), 1)
    assert_array_equal(new.startprob, [1, 0, 0])


def test_an_impossible_sequence_has_no_likelihood_and_no_part():
    family = DiscreteEmissions(discrete.Categorical([2]), 2)
    params = ChainParams(np.array([1.0, 0]), np.eye(2), family.params(np.eye(2)[:, None]))
    X = np.array([[0.0], [1], [0], [0], [0]])
    block, model = sequences(family, X, [3, 2]), ChainEM(family)
    assert_array_equal(model.scores(params, block), [-np.inf, 0])
    assert_array_equal(model.viterbi(params, block)[0], [-np.inf, 0])
    statistics = model.e_step(params, block)
    assert statistics.bound == -np.inf
    assert_array_equal(statistics.start, [1, 0])
    assert_array_equal(model.posteriors(params, block)[1][3:], [[1, 0], [1, 0]])


def test_a_state_that_nobody_visits_leaves_finite_parameters():
    rng = np.random.default_rng(4)
    for name in FAMILIES:
        floor = {"min_covar": 0.1} if name.split()[-1] in KINDS else {}
        family, emission, X = make(name, 3, 40, rng, **floor)
        trans = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
        params = ChainParams(np.array([0.5, 0.5, 0]), trans, emission)
        model, block = ChainEM(family), sequences(family, X, [40])
        new = model.m_step(model.e_step(params, block))
        assert_allclose(new.transmat.sum(axis=1), 1)
        assert np.isfinite(model.scores(new, block)).all(), name
