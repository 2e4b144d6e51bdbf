"""schedule='squarem' and `algorithm`: fewer passes, a bound that never falls, the same optimum."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from case_mixtures import KMeansCase
from case_sequences import ChainCase
from cases import CASES
from numpy.testing import assert_allclose, assert_array_equal

from fastem import (
    BayesianGaussianMixture,
    BernoulliMixture,
    CategoricalMixture,
    GaussianMixture,
    MultinomialMixture,
    PoissonMixture,
    em,
)
from fastem._engine import acceleration

DAYS = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1.0])
DEATHS = np.arange(10.0)[:, None]


class Counting:
    """A model that counts its E-steps and keeps the bounds of all of them."""

    def __init__(self, model):
        self.model, self.bounds = model, []

    def __getattr__(self, name):
        return getattr(vars(self)["model"], name)

    def e_step(self, params, block, **asked):
        statistics = self.model.e_step(params, block, **asked)
        prior = self.model.log_prior(params) if hasattr(self.model, "log_prior") else 0.0
        self.bounds.append((statistics.bound + prior) / statistics.weight)
        return statistics

    @property
    def passes(self):
        return len(self.bounds)


def problem(estimator, X, weight=None):
    """Return a model, a block and a start, as the estimator has them."""
    model, block, start = estimator._problem(estimator._read(X), weight)
    return model, block, start(np.random.RandomState(estimator.random_state))


def both(estimator, X, weight=None, **settings):
    """Return what batch EM and SQUAREM find from the same start, with their passes."""
    model, block, start = problem(estimator, X, weight)
    found = []
    for schedule in ("batch", "squarem"):
        counting = Counting(model)
        result = em.fit(counting, [block], start, schedule=schedule, max_iter=5000, **settings)
        found.append((result, counting))
    return found


def overlapping(n, d, k, seed, spread):
    rng = np.random.RandomState(seed)
    means, shapes = rng.normal(size=(k, d)) * spread, rng.normal(size=(k, d, d)) / (2 * d**0.5)
    label = rng.randint(k, size=n)
    noise = rng.normal(size=(n, d))
    return means[label] + np.einsum("nij,nj->ni", (shapes + np.eye(d) / 2)[label], noise)


def binary(n, d, k, seed):
    rng = np.random.RandomState(seed)
    chance = rng.beta(0.5, 0.5, size=(k, d)) * 0.6 + 0.2
    return (rng.uniform(size=(n, d)) < chance[rng.randint(k, size=n)]).astype(float)


# ---- how many passes -------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0.3, 0.5])
def test_hasselblad_s_deaths_take_80_passes_to_1e_10(first):
    start = {"weights_init": [first, 1 - first], "rates_init": [[1], [2.5]]}
    (batch, slow), (result, fast) = both(PoissonMixture(2, **start), DEATHS, DAYS, tol=1e-10)
    assert slow.passes > 900
    assert fast.passes <= 80
    assert result.converged
    assert result.lower_bound > batch.lower_bound - 1e-12
    assert_allclose(result.lower_bound * DAYS.sum(), -1989.945859883, atol=2e-5)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_sixteen_components_in_four_dimensions_take_60_passes_to_1e_5(kind):
    X = overlapping(5000, 4, 16, 0, 0.8)
    mixture = GaussianMixture(16, covariance_type=kind, random_state=0)
    (batch, slow), (result, fast) = both(mixture, X, tol=1e-5)
    assert slow.passes > 90
    assert fast.passes <= 60
    assert result.lower_bound > batch.lower_bound - 1e-4


def test_sixteen_bernoulli_components_take_60_passes():
    mixture = BernoulliMixture(16, random_state=0)
    (batch, slow), (result, fast) = both(mixture, binary(3000, 20, 16, 0), tol=1e-5)
    assert slow.passes > 100
    assert fast.passes <= 60
    assert result.lower_bound > batch.lower_bound - 1e-4


# ---- what may not happen -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.dtype == np.float64], ids=lambda c: repr(c)[:60]
)
def test_the_bound_never_falls(case):
    X = case.data()
    model, block, start = case.model(), case.block(X), case.start(X)
    settings = {"tol": 0, "max_iter": 12}
    if isinstance(model, em.RowState):
        with pytest.raises(TypeError, match=r"squarem.*keeps a state of its rows"):
            em.fit(model, [block], start, schedule="squarem", **settings)
        return
    if case.__class__.__name__ == "LDACase":
        with pytest.raises(TypeError, match="measures statistics that are numbers"):
            em.fit(model, [block], start, schedule="squarem", **settings)
        return
    result = em.fit(model, [block], start, schedule="squarem", **settings)
    changes = np.diff(result.lower_bounds)
    assert np.all(changes >= -1e-9 * max(1, abs(result.lower_bound)))
    # The parameters are those of an M-step, not extrapolated ones: their bound is no lower.
    after = em.fit(model, [block], result.params, tol=0, max_iter=1)
    assert after.lower_bound >= result.lower_bound - 1e-9 * max(1, abs(result.lower_bound))


def test_a_leap_is_no_convergence():
    """A leap may end at the bound that was there before it."""

    class Halving:
        """EM halves the distance to 0; what it is extrapolated to is as far on the other side."""

        def e_step(self, x, block):
            return em.Statistics(bound=-(x**2), weight=1, x=np.array(x / 2 + 10.0))

        def m_step(self, statistics):
            self.n = getattr(self, "n", 0) + 1
            x = float(statistics.x) - 10.0
            return -self.last if abs(x) < 1e-9 else self.keep(x)

        def keep(self, x):
            self.last = x
            return x

    leaps = []
    result = em.fit(
        Halving(), [None], 8.0, schedule="squarem", tol=1e-6, max_iter=100, callbacks=[leaps.append]
    )
    assert result.converged
    assert result.lower_bound > -1e-5


class Growth:
    """Successes of two coins, but parameters that are no probabilities are errors or warnings."""

    def __init__(self, strict):
        self.strict, self.refused = strict, 0

    def e_step(self, bias, heads):
        if not np.all((bias > 0) & (bias < 1)):
            self.refused += 1
            if self.strict:
                raise ValueError("no probabilities")
        likelihood = np.exp(heads[:, None] * np.log(bias) + (10 - heads[:, None]) * np.log1p(-bias))
        responsibilities = likelihood / likelihood.sum(axis=1, keepdims=True)
        return em.Statistics(
            bound=np.log(likelihood.mean(axis=1)).sum(),
            weight=len(heads),
            heads=heads @ responsibilities,
            tosses=10 * responsibilities.sum(axis=0),
        )

    def m_step(self, statistics):
        return statistics.heads / statistics.tosses


@pytest.mark.parametrize("strict", [False, True])
def test_parameters_that_are_none_are_given_up(strict):
    heads = np.array([9, 10, 10, 10, 9, 10, 10, 10, 10, 10, 9, 8], dtype=float)
    start, model = np.array([0.6, 0.5]), Growth(strict)
    fast = em.fit(model, [heads], start, schedule="squarem", tol=1e-9, max_iter=1000)
    slow = em.fit(Growth(strict), [heads], start, tol=1e-9, max_iter=1000)
    assert model.refused > 0
    assert_allclose(fast.params, slow.params, rtol=1e-3)
    assert np.all(np.diff(fast.lower_bounds) >= -1e-12)
    assert fast.n_iter < slow.n_iter


def test_every_executor_gives_the_same_bits():
    model, _, start = problem(PoissonMixture(2, random_state=0), DEATHS, DAYS)
    blocks = [problem(PoissonMixture(2), DEATHS, w)[1] for w in (DAYS, DAYS[::-1].copy())]
    here = em.fit(model, blocks, start, schedule="squarem", tol=0, max_iter=9)
    with ThreadPoolExecutor(2) as pool:
        there = em.fit(model, blocks, start, schedule="squarem", tol=0, max_iter=9, executor=pool)
    assert_array_equal(here.params.values, there.params.values)
    assert here.lower_bounds == there.lower_bounds


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c, ChainCase)], ids=str)
def test_hidden_markov_models_take_no_more_passes(case):
    X = case.data()
    model, block, start = case.model(), case.block(X), case.start(X)
    slow, fast = (
        em.fit(model, [block], start, schedule=schedule, tol=1e-7, max_iter=2000)
        for schedule in ("batch", "squarem")
    )
    assert fast.n_iter <= 1.2 * slow.n_iter + 5
    assert np.all(np.diff(fast.lower_bounds) >= -1e-9)


# ---- estimators ----------------------------------------------------------------------------------


ESTIMATORS = {
    "full": (GaussianMixture(5, random_state=0, tol=1e-6, max_iter=500), None),
    "tied": (GaussianMixture(5, covariance_type="tied", random_state=0, tol=1e-6, max_iter=900),
             None),
    "bayesian": (BayesianGaussianMixture(5, random_state=0, tol=1e-4, max_iter=900), None),
    "bernoulli": (BernoulliMixture(3, random_state=0), 1),
    "categorical": (CategoricalMixture(3, random_state=0), 3),
    "multinomial": (MultinomialMixture(3, random_state=0), 9),
    "poisson": (PoissonMixture(3, random_state=0), 9),
}  # fmt: skip


def data_of(most):
    if most is None:
        return overlapping(1500, 3, 5, 1, 2.0)
    rng = np.random.RandomState(0)
    chance = rng.uniform(0.1, 0.9, size=(3, 6))
    return rng.binomial(most, chance[rng.randint(3, size=1500)]).astype(float)


@pytest.mark.parametrize("algorithm", ["squarem", "incremental"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_mixture_has_the_algorithms(name, algorithm):
    from sklearn.base import clone

    estimator, most = ESTIMATORS[name]
    X, weight = data_of(most), np.linspace(0.5, 2, 1500)
    slow = clone(estimator).fit(X, sample_weight=weight)
    fast = clone(estimator).set_params(algorithm=algorithm).fit(X, sample_weight=weight)
    assert fast.converged_
    assert fast.n_iter_ < slow.n_iter_
    gap = 1e-4 * abs(slow.lower_bound_) if name == "bayesian" else 1e-3
    assert fast.lower_bound_ > slow.lower_bound_ - gap
    again = clone(fast).fit(X, sample_weight=weight)
    assert again.lower_bounds_ == fast.lower_bounds_
    threads = clone(fast).set_params(n_jobs=1).fit(X, sample_weight=weight)
    assert threads.lower_bounds_ == fast.lower_bounds_


def test_unknown_algorithms_are_refused():
    with pytest.raises(ValueError, match=r"'algorithm' parameter.*must be a str among"):
        GaussianMixture(2, algorithm="daarem").fit(np.eye(4))


def test_incremental_pieces_are_all_rows_once():
    X = data_of(3)
    estimator = CategoricalMixture(3, random_state=0)
    model, block, start = problem(estimator, X, np.linspace(1, 2, 1500))
    whole = model.e_step(start, block)
    pieces = estimator._pieces(model, block)
    assert 10 < len(pieces) <= 20
    total = em.tree_sum(model.e_step(start, piece) for piece in pieces)
    for name in ("bound", "weight", "resp", "terms"):
        assert_allclose(getattr(total, name), getattr(whole, name), rtol=1e-12)


def test_an_incremental_fit_reads_blocks_again_and_keeps_none():
    class Fresh:
        """Blocks that count how often they are read; the last pass may lack one."""

        reads, lost_after = 0, np.inf

        def __iter__(self):
            self.reads += 1
            yield from [DEATHS[:5], DEATHS[5:]][: 1 if self.reads > self.lost_after else 2]

    class Mean:
        def e_step(self, center, x):
            return em.Statistics(bound=-((x - center) ** 2).sum(), weight=len(x), total=x.sum())

        def m_step(self, statistics):
            return statistics.total / statistics.weight

    blocks = Fresh()
    result = em.fit(Mean(), blocks, 0.0, schedule="incremental", tol=0, max_iter=4)
    assert blocks.reads == 4
    assert result.params == DEATHS.mean()
    blocks = Fresh()
    blocks.lost_after = 2
    with pytest.raises(ValueError, match="gave 2 blocks in the first pass and 1 in a later one"):
        em.fit(Mean(), blocks, 0.0, schedule="incremental", tol=0, max_iter=4)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_a_component_that_vanishes_does_not_hold_up_the_others(kind):
    shape = {"full": (2, 3, 3), "diag": (2, 3), "spherical": (2,)}[kind]
    first, second, third = [], [], []
    for weight, moments in zip(
        [[9.0, 50], [4.0, 52], [1.0, 53]], (first, second, third), strict=True
    ):
        scatter = np.broadcast_to(np.eye(3) if kind == "full" else 1.0, shape)
        scatter = scatter * np.reshape(weight, (2, *[1] * (len(shape) - 1)))
        mean = np.array([[0.0, 0, 0], [weight[1] / 100] * 3])
        moments += [np.array(weight), mean, scatter]
    three = [em.Moments(*m, kind) for m in (first, second, third)]
    found = acceleration._groups_beyond(*three, 3.0)
    assert 0.1 * third[0][0] < found.weight[0] <= third[0][0]  # 9 - 2 * 3 * 5 + 9 * 2 is below 0
    assert_allclose(found.weight[1], 50 + 2 * 3 * 2 + 9 * -1)
    raw = [m[0][1] * m[1][1] for m in (first, second, third)]
    expected = raw[0] + 6 * (raw[1] - raw[0]) + 9 * (raw[2] - 2 * raw[1] + raw[0])
    assert_allclose(found.weight[1] * found.mean[1], expected)


def test_kmeans_cannot_be_extrapolated():
    case = KMeansCase(np.float64, 2, 3, 50, False)
    X = case.data()
    with pytest.raises(TypeError, match="keeps a state of its rows"):
        em.fit(case.model(), [case.block(X)], case.start(X), schedule="squarem")
