"""The seam between driver and model: rows' states, executors, and what the driver refuses."""

import operator
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import reduce

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from fastem import GaussianMixture, em
from fastem._engine.protocols import follows


class Mean:
    """The mean of numbers whose bound is minus half their squared distance to it."""

    def e_step(self, center, x):
        gap = x - center
        return em.Statistics(bound=-0.5 * float(gap @ gap), weight=len(x), total=x.sum())

    def m_step(self, statistics):
        return float(statistics.total / statistics.weight)


class Drifts(Mean):
    """Each row remembers half of the centers that it has seen."""

    bound_may_fall = True

    def first_state(self, center, x):
        return np.zeros(len(x))

    def e_step(self, center, x, memory):
        memory = 0.5 * memory + 0.5 * center
        return super().e_step(center, x - memory), memory


class Recycles(Drifts):
    """Takes the memory of states that nobody needs."""

    recycles = True

    def e_step(self, center, x, memory, *, spare=None):
        statistics, new = super().e_step(center, x, memory)
        if spare is None:
            return statistics, new
        assert spare is not memory
        spare[:] = new
        return statistics, spare


class InPlace(Recycles):
    """Writes over the state that it is given, where that is allowed."""

    recycles, overwrites = False, True

    def e_step(self, center, x, memory, *, spare=None):
        statistics, new = Drifts.e_step(self, center, x, memory)
        if spare is None:
            return statistics, new
        seen.append(spare is memory)
        spare[:] = new
        return statistics, spare


class Continues(Mean):
    """Goes half of the way from where it was."""

    bound_may_fall = True

    def m_step_from(self, center, statistics):
        return 0.5 * center + 0.5 * self.m_step(statistics)


class Replaces(Recycles):
    """Replaces statistics in the total itself."""

    def replace(self, center, x, old, total, memory, *, bound, spare=None):
        new, memory = self.e_step(center, x, memory, spare=spare)
        for name in vars(new):
            setattr(total, name, getattr(total, name) - getattr(old, name) + getattr(new, name))
        return new, memory


seen: list[bool] = []
BLOCKS = [np.random.default_rng(i).normal(i % 7, 1, 40 + i) for i in range(75)]


class Plain:
    """An executor as anybody would write it, which knows nothing of the tree."""

    def sum(self, e_step, params, shards):
        return reduce(operator.add, [e_step(params, shard) for shard in shards])


class Copies:
    """Everything goes through pickle, as to another machine and back."""

    def sum(self, e_step, params, shards):
        def send(thing):
            return pickle.loads(pickle.dumps(thing))

        return em.tree_sum(send(send(e_step)(send(params), send(s))) for s in shards)


@pytest.fixture(params=["loop", "threads", "one thread", "processes", "copies"])
def executor(request):
    if request.param == "loop":
        yield em.LocalExecutor()
    elif request.param == "copies":
        yield Copies()
    elif request.param == "processes":
        with ProcessPoolExecutor(2) as pool:
            yield em.FuturesExecutor(pool)
    else:
        with ThreadPoolExecutor(1 if request.param == "one thread" else 3) as pool:
            yield pool


@pytest.mark.parametrize(
    "model",
    [Mean(), Drifts(), Recycles(), InPlace(), Continues()],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("n_blocks", [1, 5, 8, 9, 75])
def test_every_executor_gives_the_same_bits(model, n_blocks, executor):
    """Parameters, bounds and rows' states, to the last bit."""
    settings = {"max_iter": 4, "tol": 0}
    here = em.fit(model, BLOCKS[:n_blocks], 0.3, **settings)
    there = em.fit(model, BLOCKS[:n_blocks], 0.3, executor=executor, **settings)
    assert there.params == here.params
    assert there.lower_bounds == here.lower_bounds
    assert (
        len(there.states) == len(here.states) == (n_blocks if hasattr(model, "first_state") else 0)
    )
    for one, other in zip(there.states, here.states, strict=True):
        assert_array_equal(one, other)


def test_an_executor_that_adds_in_another_order_is_right_to_rounding():
    """The tree is for equal bits; any sum is right."""
    here, there = (
        em.fit(Drifts(), BLOCKS, 0.3, max_iter=3, tol=0, executor=e) for e in (None, Plain())
    )
    assert_allclose(there.params, here.params, rtol=1e-12)
    for one, other in zip(there.states, here.states, strict=True):
        assert_allclose(one, other, rtol=1e-12)


def test_states_stay_beside_their_blocks():
    """A row's state is what the recursion of its own block gives."""
    result = em.fit(Drifts(), BLOCKS[:3], 0.3, max_iter=3, tol=0)
    center, memory = 0.3, [np.zeros(len(x)) for x in BLOCKS[:3]]
    for _ in range(3):
        memory = [0.5 * m + 0.5 * center for m in memory]
        center = np.concatenate([x - m for x, m in zip(BLOCKS, memory, strict=False)]).mean()
    assert_allclose(result.params, center, rtol=1e-12)
    assert_allclose(np.concatenate(result.states), np.concatenate(memory), rtol=1e-12)


def test_a_state_is_written_over_only_where_an_e_step_runs_once():
    """In this process it is; in a pool the memory of the state before it is what is given."""
    settings = {"max_iter": 4, "tol": 0}
    seen.clear()
    here = em.fit(InPlace(), BLOCKS[:3], 0.3, **settings)
    assert seen == [True] * 12
    seen.clear()
    with ThreadPoolExecutor(1) as pool:
        there = em.fit(InPlace(), BLOCKS[:3], 0.3, executor=pool, **settings)
    assert seen == [False] * 6  # E-steps make the first states, and the next have none before
    drifts = em.fit(Drifts(), BLOCKS[:3], 0.3, **settings)
    assert here.params == there.params == drifts.params
    for result in (here, there):
        for one, other in zip(result.states, drifts.states, strict=True):
            assert_array_equal(one, other)


def test_an_m_step_goes_on_from_the_parameters():
    """In every schedule; the statistics alone would end at once at the mean."""
    centers = [0.0]
    for schedule in ("batch", "incremental"):
        result = em.fit(Continues(), [np.full(4, 8.0)], 0.0, schedule=schedule, max_iter=3, tol=0)
        assert result.params == 7.0
    em.fit(Continues(), [np.full(4, 8.0)] * 2, 0.0, schedule="incremental", max_iter=2, tol=0,
           callbacks=[lambda state: centers.append(state.params)])  # fmt: skip
    assert centers == [0.0, 4.0, 7.0]


def test_replaced_statistics_have_the_states_of_e_steps():
    """An incremental fit of a model that replaces in the total is that of one that does not."""
    settings = {"schedule": "incremental", "max_iter": 5, "tol": 0}
    states = []
    ours = em.fit(
        Replaces(), BLOCKS[:4], 0.3, callbacks=[lambda s: states.append(s.states)], **settings
    )
    theirs = em.fit(Drifts(), BLOCKS[:4], 0.3, **settings)
    assert_allclose(ours.params, theirs.params, rtol=1e-12)
    assert len(states) == 5
    for one, other in zip(ours.states, theirs.states, strict=True):
        assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["batch", "incremental"])
def test_each_restart_begins_with_new_states(schedule):
    """A second restart from the same start ends where the first did."""
    ends = []
    em.fit(
        Recycles(), BLOCKS[:4], lambda init: 0.3, n_init=3, max_iter=4, tol=0, schedule=schedule,
        callbacks=[lambda state: ends.append(state.params) if state.iteration == 4 else None],
    )  # fmt: skip
    assert len(ends) == 3
    assert len(set(ends)) == 1


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 63, 64, 65, 100, 513])
def test_the_tree_has_one_shape(n):
    """A subtree added elsewhere, a replaced leaf, a stream: the same bits."""

    def one(i):
        return em.Statistics(bound=0.1 * i, weight=1, x=np.array([1 / (i + 1), 1e10 * (i % 3)]))

    from fastem._engine.tree import SumTree

    total = em.tree_sum(one(i) for i in range(n))
    groups = [em.tree_sum(one(i) for i in range(a, min(n, a + 8))) for a in range(0, n, 8)]
    tree = SumTree([one(n - i) for i in range(n)])
    for i in range(n):
        tree.replace(i, one(i))
    for other in (em.tree_sum(groups), tree.total, SumTree([one(i) for i in range(n)]).total):
        assert_array_equal(other.x, total.x)
        assert other.bound == total.bound
    assert_allclose(total.x, sum(one(i).x for i in range(n)), rtol=1e-12)


def test_nothing_to_add_is_an_error():
    with pytest.raises(ValueError, match="at least one block"):
        em.tree_sum([])


def test_incremental_carries_a_mean_that_moves_at_equal_weight():
    """Ten rows at 1, then at 5: the component's mean follows though its weight stays."""

    class Where:
        """One Gaussian; the rows of a block lie where the parameters say."""

        def e_step(self, offset, x):
            x = x + offset
            moments = em.Moments(
                np.array([float(len(x))]), x.mean(keepdims=True)[None],
                np.array([[((x - x.mean()) ** 2).sum()]]), "diag",
            )  # fmt: skip
            return em.Statistics(bound=0.0, weight=len(x), moments=moments)

        def m_step(self, statistics):
            means.append(float(statistics.moments.mean[0, 0]))
            return 4.0

    means = []
    blocks = [np.arange(9.0), np.arange(9.0) + 100]
    em.fit(Where(), blocks, 0.0, schedule="incremental", max_iter=2, tol=0)
    assert_allclose(means, [54.0, 56.0, 58.0], rtol=1e-14)


def test_moments_subtract_then_add():
    """total - old + new, also where the old was all that there was."""

    def at(center, spread=1.0):
        return em.Moments(np.array([9.0]), np.array([[center]]), np.array([[spread]]), "diag")

    moved = (at(0.0) + at(1.0)) - at(1.0) + at(5.0)
    assert_allclose(moved.mean, (at(0.0) + at(5.0)).mean, rtol=1e-14)
    assert_allclose(moved.scatter, (at(0.0) + at(5.0)).scatter, rtol=1e-14)
    alone = at(0.1) * 0.3 - at(0.1) * (0.1 + 0.2) + at(5.0)
    assert_allclose([alone.mean.item(), alone.scatter.item(), alone.weight.item()], [5, 1, 9])


# ---- what the driver says ------------------------------------------------------------------------


class Wrong(Mean):
    """An M-step that does not maximise: it walks away from the mean."""

    def m_step(self, statistics):
        walked.append(1)
        return float(len(walked))


walked: list[int] = []


@pytest.mark.parametrize("tol", [0, 1e-3, 100.0])
def test_a_bound_that_falls_warns_once_and_is_not_convergence(tol):
    walked.clear()
    block = np.zeros(5)
    with pytest.warns(ConvergenceWarning) as caught:
        result = em.fit(Wrong(), [block], 0.0, max_iter=6, tol=tol, n_init=1)
    fell = [str(w.message) for w in caught if "fell by 0.5 at iteration 2" in str(w.message)]
    assert len(fell) == 1
    assert "bound_may_fall" in fell[0]
    assert not result.converged
    assert result.n_iter == 6


def test_a_model_may_say_that_its_bound_may_fall():
    class Allowed(Wrong):
        bound_may_fall = True

    walked.clear()
    assert em.fit(Allowed(), [np.zeros(5)], 0.0, max_iter=6, tol=100).converged


class Bounds(Mean):
    """Its bound is minus the distance of its parameters from the mean, counted after the M-step."""

    def m_step(self, statistics):
        return round(Mean.m_step(self, statistics), 1)

    def lower_bound(self, statistics, center):
        return -abs(center - statistics.total / statistics.weight) * statistics.weight


@pytest.mark.parametrize("schedule", ["batch", "incremental"])
def test_a_model_may_compute_its_bound_after_the_m_step(schedule):
    """It is given the sums of all blocks and the parameters made of them, and kept as it is."""
    blocks = BLOCKS[:5]
    x = np.concatenate(blocks)
    result = em.fit(Bounds(), blocks, 50.0, schedule=schedule, max_iter=3, tol=0)
    assert result.params == round(x.mean(), 1)
    expected = -abs(round(x.mean(), 1) - x.mean()) * len(x)
    assert expected < -0.1
    assert_allclose(result.lower_bounds, [expected] * 3)


def test_a_bound_of_the_model_s_own_is_not_asked_for_in_vain():
    asked = []

    class Counts(Bounds):
        def e_step(self, center, x, bound=True):
            return super().e_step(center, x)

        def lower_bound(self, statistics, center):
            asked.append(center)
            return 0.0

    em.fit(Counts(), BLOCKS[:2], 0.0, max_iter=6, tol=0, evaluate_every=3)
    assert len(asked) == 2


def test_running_out_of_iterations_warns():
    with pytest.warns(ConvergenceWarning, match=r"not converge in max_iter=1 .* or tol=0.001"):
        em.fit(Mean(), BLOCKS[:2], 50.0, max_iter=1)
    assert em.fit(Mean(), BLOCKS[:2], 50.0, max_iter=1, tol=0).n_iter == 1  # asked for: no word
    assert em.fit(Mean(), BLOCKS[:2], 50.0, max_iter=0).n_iter == 0


@pytest.mark.parametrize(
    "blocks",
    [np.arange(3.0), np.ones((3, 2)), sp.csr_array(np.ones((3, 2))), "abc", {"x": 1}, 5],
    ids=["1-D", "2-D", "sparse", "string", "dict", "number"],
)
def test_one_array_is_not_blocks(blocks):
    with pytest.raises(TypeError, match="blocks must be a sequence of blocks"):
        em.fit(Mean(), blocks, 0.0)


def test_a_class_or_half_a_model_is_refused():
    with pytest.raises(TypeError, match="model must be an instance, got the class Mean"):
        em.fit(Mean, [np.ones(2)], 0.0)
    with pytest.raises(TypeError, match="model must have a method e_step, which object lacks"):
        em.fit(object(), [np.ones(2)], 0.0)
    with pytest.raises(TypeError, match=r"needs a model with step\(.*which Mean lacks"):
        em.fit(Mean(), [np.ones(2)], 0.0, schedule="stepwise")

    class Steps(Bounds):
        def step(self, center, statistics, block):
            return center

    with pytest.raises(TypeError, match=r"keeps no statistics of which Steps\.lower_bound"):
        em.fit(Steps(), [np.ones(2)], 0.0, schedule="stepwise")


def test_bad_executors_are_refused():
    with pytest.raises(TypeError, match="executor must be None"):
        em.fit(Mean(), BLOCKS[:2], 0.0, executor=4)
    with pytest.raises(ValueError, match="needs schedule='batch' or 'squarem', got"):
        em.fit(Mean(), BLOCKS[:2], 0.0, executor=em.LocalExecutor(), schedule="incremental")


def test_a_state_without_a_pair_is_an_error():
    class Half(Drifts):
        def e_step(self, center, x, memory):
            return Mean.e_step(self, center, x)

    with pytest.raises(TypeError, match=r"must return \(statistics, state\), got Statistics"):
        em.fit(Half(), BLOCKS[:2], 0.0)


def test_an_error_in_a_worker_is_raised_here():
    class Fails(Mean):
        def e_step(self, center, x):
            if len(x) == 43:
                raise ZeroDivisionError("block of 43")
            return super().e_step(center, x)

    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError, match="block of 43"):
        em.fit(Fails(), BLOCKS, 0.0, executor=pool)


# ---- who watches -------------------------------------------------------------------------------


def test_watch_sees_fits_of_estimators_and_of_own_models():
    """Every fit within the block, inner ones before outer ones' end; none after it."""
    seen = []
    with em.watch(lambda state: seen.append(("outer", state.iteration)) or None):
        with em.watch(lambda state: seen.append(("inner", state.iteration)) or None):
            em.fit(Mean(), BLOCKS[:2], 0.0, max_iter=1, tol=0)
        GaussianMixture(1, max_iter=5).fit(BLOCKS[0][:, None])
    GaussianMixture(1, max_iter=5).fit(BLOCKS[0][:, None])
    assert seen == [("outer", 1), ("inner", 1), ("outer", 1), ("outer", 2)]


def test_watch_can_end_a_fit_and_leaves_nothing_behind_an_error():
    def broken(state):
        raise RuntimeError("seen")

    with em.watch(lambda state: state.iteration == 2):
        assert em.fit(Mean(), BLOCKS[:2], 0.0, max_iter=9, tol=0).n_iter == 2
    with pytest.raises(RuntimeError, match="seen"), em.watch(broken):
        em.fit(Mean(), BLOCKS[:2], 0.0, max_iter=9, tol=0)
    assert em.fit(Mean(), BLOCKS[:2], 0.0, max_iter=3, tol=0).n_iter == 3


# ---- what a model offers -----------------------------------------------------------------------

PROTOCOLS = [
    em.Falling, em.Prior, em.Replacing, em.RowState, em.Starting, em.Stepping, em.Stopping,
]  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_follows_is_isinstance(protocol):
    """Members of the class, of the instance, inherited ones, none, and ones taken back by None."""

    class Whole(Mean):
        bound_may_fall = False
        step = replace = statistics_of = converged = Mean.e_step

    class Part(Mean):
        def first_state(self, params, block):
            return None

        def log_prior(self, params):
            return 0.0

    class Silent(Part):
        log_prior = first_state = None

    own = Mean()
    own.converged = lambda before, after: True
    for model in (Whole(), Part(), Mean(), own, Silent()):
        assert follows(model, protocol) == isinstance(model, protocol)
