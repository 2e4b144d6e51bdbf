"""The chain beneath hidden Markov models against sums over all paths, for every family."""

import itertools
import pickle
import signal
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from fastem import em
from fastem._kernels import chain as kernel
from fastem.components import discrete
from fastem.components.prior import GaussianPrior
from fastem.sequence.chain import ChainEM, ChainParams, Sequences
from fastem.sequence.emissions import (
    DiscreteEmissions,
    GaussianEmissions,
    gaussian_params,
)
from fastem.sequence.mixture_emissions import MixtureEmissions

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


def log_space(params, logb):
    """Return log p, the posteriors (T, K) and the expected transitions, all in log space."""
    with np.errstate(divide="ignore"):
        start, trans = np.log(params.startprob), np.log(params.transmat)
    alpha, beta = np.empty(logb.shape), np.zeros(logb.shape)
    alpha[0] = start + logb[0]
    for t in range(1, len(logb)):
        alpha[t] = logsumexp(alpha[t - 1][:, None] + trans, axis=0) + logb[t]
    for t in range(len(logb) - 2, -1, -1):
        beta[t] = logsumexp(trans + logb[t + 1] + beta[t + 1], axis=1)
    total = logsumexp(alpha[-1])
    joint = alpha[:-1, :, None] + trans + (logb + beta)[1:, None] - total
    return total, np.exp(alpha + beta - total), np.exp(joint).sum(axis=0)


def assert_is_log_space(family, params, block, rtol=1e-9):
    """Compare an E-step, the posteriors and the scores with log space."""
    logb = family.log_prob(params.emission, block.emission)
    model = ChainEM(family)
    scores, posteriors = model.posteriors(params, block)
    statistics = model.e_step(params, block)
    assert_allclose(model.scores(params, block), scores, rtol=1e-12)
    start, pairs, total = 0.0, 0.0, 0.0
    for s, (first, last) in enumerate(itertools.pairwise(block.begin)):
        score, gamma, joint = log_space(params, logb[first:last])
        assert_allclose(scores[s], score, rtol=rtol)
        assert_allclose(posteriors[first:last], gamma, atol=1e-9)
        start, pairs, total = start + gamma[0], pairs + joint, total + score
    assert_allclose(statistics.bound, total, rtol=rtol)
    assert_allclose(statistics.start, start, atol=1e-9)
    assert_allclose(statistics.transitions, pairs, rtol=1e-7, atol=1e-8)
    given = family.statistics(params.emission, block.emission, posteriors)
    assert_same_sums(statistics, given, rtol=1e-7)


@pytest.mark.parametrize("n_states", [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 70])
def test_every_width_and_many_blocks(n_states, every_instruction_set):
    rng = np.random.default_rng(n_states)
    family, emission, X = make("diag", n_states, 1400, rng)
    params = chain_params(emission, n_states, rng)
    assert_is_log_space(family, params, sequences(family, X, [1, 3, 1100, 2, 200, 94]))


@pytest.mark.parametrize("n_rows", [513, 1024, 1025, 1537, 2100, 2600])
@pytest.mark.parametrize("name", ["diag", "mixture full", "poisson", "categorical"])
def test_a_long_sequence_from_both_ends(name, n_rows, every_instruction_set):
    # Two blocks and more, an even and an odd number, whole ones and one of a single row: the two
    # ends meet within a pair of blocks, or beside one that has no counterpart.
    rng = np.random.default_rng(n_rows)
    for n_states in (3, 8, 13):
        family, emission, X = make(name, n_states, n_rows + 40, rng)
        params = chain_params(emission, n_states, rng)
        assert_is_log_space(family, params, sequences(family, X, [n_rows, 40]))


@pytest.mark.parametrize("n_rows", [40, 1025])
def test_a_first_row_that_denies_where_the_chain_starts(n_rows):
    family, emission = gaussians([0, 50])
    X = np.full((n_rows, 1), 50.0)  # exp(-1250), and state 1 cannot be the first
    params = ChainParams(np.array([1.0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]), emission)
    assert_is_log_space(family, params, sequences(family, X, [n_rows]))


def test_a_long_sequence_counts_by_its_weight():
    rng = np.random.default_rng(4)
    family, emission, X = make("diag", 5, 1700, rng)
    params, model = chain_params(emission, 5, rng), ChainEM(family)
    once = model.e_step(params, sequences(family, X, [1700]))
    block = sequences(family, X, [1700])._replace(weight=np.array([2.5]))
    weighted = model.e_step(params, block)
    assert_allclose(weighted.transitions, 2.5 * once.transitions, rtol=1e-12)
    assert_allclose(weighted.start, 2.5 * once.start, rtol=1e-10)
    assert_allclose(weighted.transitions.sum(), 2.5 * 1699, rtol=1e-12)


def gaussians(means, deviation=1.0):
    """Return a family of one feature and its parameters."""
    means = np.asarray(means, dtype=np.float64)[:, None]
    return GaussianEmissions("diag"), gaussian_params(
        means, np.full(means.shape, deviation**2), "diag"
    )


def test_outliers_of_sixty_deviations_do_not_underflow():
    rng = np.random.default_rng(5)
    family, emission = gaussians([0, 10, 20])
    X = rng.normal(size=(700, 1)) + 10 * rng.integers(0, 3, (700, 1))
    X[100], X[600] = 60, -1000
    assert_is_log_space(family, chain_params(emission, 3, rng), sequences(family, X, [700]))


def left_to_right(n_states, stay=0.9):
    """Return a chain in which states are visited in order."""
    trans = np.diag(np.full(n_states, stay)) + np.diag(np.full(n_states - 1, 1 - stay), 1)
    trans[-1, -1] = 1
    return np.eye(n_states)[0], trans


@pytest.mark.parametrize("n_rows", [60, 1300])
def test_a_reachable_state_far_below_an_unreachable_one(n_rows):
    family, emission = gaussians([0, 50, 100, 150])
    X = np.random.default_rng(6).normal(size=(n_rows, 1))
    X[10] = 100  # only state 2 likes it, and it cannot be reached so soon
    X[11:] += np.where(np.arange(n_rows - 11) < 20, 0, 50)[:, None]
    params = ChainParams(*left_to_right(4), emission)
    assert_is_log_space(family, params, sequences(family, X, [n_rows]))


@pytest.mark.parametrize("n_rows", [80, 1500])
def test_a_state_that_underflows_slowly_and_wins_in_the_end(n_rows):
    """Two chains that do not meet: the first is better by 800 nats, and then worse by 1600."""
    family, emission = gaussians([0, 4])
    X = np.zeros((n_rows, 1))
    X[100:] = 4
    if n_rows < 100:
        X[:30], X[30:], emission = 0, 8, gaussians([0, 8])[1]
    params = ChainParams(np.array([0.5, 0.5]), np.eye(2), emission)
    assert_is_log_space(family, params, sequences(family, X, [n_rows]))


def test_eight_hundred_features():
    rng = np.random.default_rng(7)
    family, emission, X = make("spherical", 3, 40, rng, n_features=800)
    assert_is_log_space(family, chain_params(emission, 3, rng), sequences(family, X, [25, 15]))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_bits_for_every_number_of_threads(name):
    rng = np.random.default_rng(8)
    family, emission, X = make(name, 3, 60_000, rng)
    params, block = chain_params(emission, 3, rng), sequences(family, X, [20, 1, 579] * 100)
    results = []
    for n_threads in (1, 2, 4):
        model = ChainEM(family, n_threads=n_threads)
        results.append((model.e_step(params, block), *model.posteriors(params, block)))
        results[-1] += model.viterbi(params, block)
    for other in results[1:]:
        assert results[0][0].bound == other[0].bound
        assert_array_equal(results[0][0].transitions, other[0].transitions)
        assert_same_sums(results[0][0], other[0], rtol=0)
        for one, two in zip(results[0][1:], other[1:], strict=True):
            assert_array_equal(one, two)


def test_weights_are_repetitions():
    rng = np.random.default_rng(9)
    family, emission, X = make("full", 3, 30, rng)
    params, model = chain_params(emission, 3, rng), ChainEM(family)
    weighted = model.e_step(params, sequences(family, X, [10, 20], np.array([2.0, 0.0])))
    twice = model.e_step(params, sequences(family, np.tile(X[:10], (2, 1)), [10, 10]))
    assert_allclose(weighted.bound, twice.bound)
    assert_allclose(weighted.transitions, twice.transitions)
    assert_same_sums(weighted, twice)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_digits_survive_far_from_zero_and_when_means_move_far(kind, offset):
    rng = np.random.default_rng(10)
    family, emission, X = make(kind, 2, 400, rng)
    X[::2] += 10
    moved = emission._replace(means=emission.means + offset)
    params, model = chain_params(moved, 2, rng), ChainEM(family)
    X = np.round(X * 64) / 64  # so that offsets are exact
    emission_far = family.block(X + offset)
    statistics = model.e_step(params, Sequences(emission_far, np.array([0, 400])))
    near = model.e_step(params._replace(emission=emission), sequences(family, X, [400]))
    assert_allclose(statistics.moments.scatter, near.moments.scatter, rtol=1e-6)
    # Means that come from very far: the scatter is that about where they arrive.
    far = ChainParams(
        np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]]),
        emission._replace(means=emission.means - offset),
    )  # fmt: skip
    statistics = model.e_step(far, sequences(family, X, [400]))
    parts = [X[k::2] - X[k::2].mean(axis=0) for k in (0, 1)]
    full = np.array([part.T @ part for part in parts])
    diagonal = full.diagonal(axis1=1, axis2=2)
    expected = {
        "full": full, "tied": full.sum(axis=0), "diag": diagonal, "spherical": diagonal.sum(axis=1)
    }[kind]  # fmt: skip
    assert_allclose(statistics.moments.scatter, expected, rtol=1e-9)


def plain_viterbi(params, logb):
    """Return the best path and its log-probability, the first of equally good states each time."""
    with np.errstate(divide="ignore"):
        start, trans = np.log(params.startprob), np.log(params.transmat)
    best, ways = start + logb[0], []
    for row in logb[1:]:
        each = best[:, None] + trans
        ways.append(each.argmax(axis=0))
        best = each.max(axis=0) + row
    path = [int(best.argmax())]
    for way in reversed(ways):
        path.append(int(way[path[-1]]))
    return best.max(), path[::-1]


@pytest.mark.parametrize("n_states", [1, 2, 3, 5, 8, 9, 17])
def test_best_paths_through_few_states_and_many(n_states, every_instruction_set):
    """Of short sequences and of one of several blocks; symbols make some ways equally good."""
    rng = np.random.default_rng(n_states)
    family, emission, X = make("categorical", n_states, 1300, rng)
    params = chain_params(emission, n_states, rng)
    params.transmat[:] = rng.integers(1, 4, params.transmat.shape)
    params.transmat[0, 1:] = 0
    params.transmat[:] /= params.transmat.sum(axis=1, keepdims=True)
    block = sequences(family, X, [3, 1, 40, 1256])
    scores, states = ChainEM(family).viterbi(params, block)
    logb = family.log_prob(emission, block.emission)
    for s, (first, last) in enumerate(itertools.pairwise(block.begin)):
        best, path = plain_viterbi(params, logb[first:last])
        assert_allclose(scores[s], best, rtol=1e-12)
        assert_array_equal(states[first:last], path)


def test_of_equally_good_paths_one_is_taken_whatever_the_blocks():
    """hmmlearn's: the first of the best states in the last row, and the last one before it."""
    family = DiscreteEmissions(discrete.Categorical([2]), 3)
    emission = family.params(np.full((3, 1, 2), 0.5))
    params = ChainParams(np.full(3, 1 / 3), np.full((3, 3), 1 / 3), emission)
    states = ChainEM(family).viterbi(params, sequences(family, np.zeros((1200, 1)), [1200]))[1]
    assert_array_equal(states[:-1], 2)
    assert states[-1] == 0


def test_a_block_without_sequences_adds_nothing():
    family, emission = gaussians([0, 4])
    params = chain_params(emission, 2, np.random.default_rng(11))
    block = sequences(family, np.empty((0, 1)), [])
    statistics = ChainEM(family).e_step(params, block)
    assert statistics.bound == 0
    assert not statistics.transitions.any()
    assert not statistics.moments.weight.any()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timer signal")
def test_one_long_sequence_is_interrupted_before_its_end():
    """The kernel looks for signals between blocks, not only when it is done."""
    n, family = 4_000_000, DiscreteEmissions(discrete.Categorical([2]), 2)
    emission = family.params(np.full((2, 1, 2), 0.5))
    params = ChainParams(np.full(2, 0.5), np.full((2, 2), 0.5), emission)
    job = ChainEM(family)._job(params, sequences(family, np.zeros((n, 1)), [n]))
    posteriors = np.full((n, 2), np.nan)

    def stop(number, frame):
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(InterruptedError):
            kernel.rows(job, np.empty(1), posteriors, 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert np.isnan(posteriors[0]).all()


def test_a_long_sequence_needs_no_array_of_rows_by_states():
    """What an E-step allocates beside its data does not grow with them, but for checkpoints."""
    family, emission = gaussians([0, 4, 8, 12, 16, 20, 24, 28])
    rng = np.random.default_rng(13)
    params, peaks = chain_params(emission, 8, rng), []
    for n in (100_000, 400_000):
        block = sequences(family, rng.normal(size=(n, 1)), [n])
        tracemalloc.start()
        ChainEM(family).e_step(params, block)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 4096
