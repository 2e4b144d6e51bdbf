"""The driver: what it promises of every model, on models of ten lines."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastem import em

pytestmark = pytest.mark.filterwarnings("ignore:the fit did not converge")

ROUNDS = np.array([5, 9, 8, 4, 7])
START = np.array([0.6, 0.5])


class TwoCoins:
    """Do & Batzoglou (2008): which of two coins was tossed ten times?"""

    def __init__(self):
        self.seen = []

    def e_step(self, bias, heads):
        likelihood = bias ** heads[:, None] * (1 - bias) ** (10 - heads[:, None])
        responsibilities = likelihood / likelihood.sum(axis=1, keepdims=True)
        return em.Statistics(
            bound=np.log(likelihood.mean(axis=1)).sum(),
            weight=len(heads),
            heads=heads @ responsibilities,
            tosses=10 * responsibilities.sum(axis=0),
        )

    def m_step(self, statistics):
        params = statistics.heads / statistics.tosses
        self.seen.append(params)
        return params


class Script:
    """A model whose bounds are given; its parameters count the iterations."""

    def __init__(self, *bounds):
        self.bounds = bounds

    def e_step(self, params, block):
        bound = self.bounds[params]
        if isinstance(bound, BaseException):
            raise bound
        return em.Statistics(bound=bound, weight=1, turn=params)

    def m_step(self, statistics):
        return statistics.turn + 1


class Recorder(em.Callback):
    def __init__(self, name="", log=None, stop_at=None):
        self.name, self.stop_at = name, stop_at
        self.log = [] if log is None else log

    def on_init_begin(self, init):
        self.log.append(f"{self.name}init {init} begins")

    def on_iteration_begin(self, init, iteration):
        self.log.append(f"{self.name}iteration {init}.{iteration} begins")

    def on_iteration_end(self, state):
        self.log.append(f"{self.name}iteration {state.init}.{state.iteration} ends")
        return state.iteration == self.stop_at

    def on_init_end(self, init, result):
        self.log.append(f"{self.name}init {init} ends after {result.n_iter}")


# ---- the fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_iter", "expected"), [(1, (0.713012, 0.581339)), (10, (0.796744, 0.519659))]
)
@pytest.mark.parametrize("cuts", [[], [2], [1, 2, 3, 4]])
def test_two_coins_as_published(n_iter, expected, cuts):
    """The published numbers, whether the rounds come in one block or in several."""
    blocks = np.split(ROUNDS, cuts)
    result = em.fit(TwoCoins(), blocks, START, max_iter=n_iter, tol=0)
    assert_allclose(result.params, expected, atol=5e-7)
    assert result.n_iter == len(result.lower_bounds) == n_iter
    assert not result.converged


def test_callbacks_see_the_first_parameters():
    """Each restart tells them before its first iteration, also if there is none."""

    class Watcher(Recorder):
        def on_start(self, init, params):
            self.log.append((init, params))

    for max_iter, between in ((0, []), (1, ["iteration 0.1 begins", "iteration 0.1 ends"])):
        watcher = Watcher()
        em.fit(Script(-9.0, -2.0), [None], lambda _: 1, max_iter=max_iter, callbacks=[watcher])
        assert watcher.log[:2] == ["init 0 begins", (0, 1)]
        assert watcher.log[2:-1] == between


def test_history_is_the_bound_before_each_m_step():
    """Entry i of the history belongs to the parameters that E-step i was given."""
    model = TwoCoins()
    result = em.fit(model, [ROUNDS], START, max_iter=6, tol=0)
    params = [START, *model.seen[:-1]]
    expected = [model.e_step(p, ROUNDS).bound / len(ROUNDS) for p in params]
    assert result.lower_bounds == pytest.approx(expected, rel=1e-14)
    assert result.lower_bound == result.lower_bounds[-1]
    assert np.all(np.diff(result.lower_bounds) > 0)
    assert result.params is model.seen[-1]


def test_stops_at_the_first_change_below_tol():
    """The change is compared in absolute value, and the M-step of that iteration counts."""

    class Wavers(Script):
        bound_may_fall = True

    result = em.fit(Wavers(-9.0, -5.0, -5.4, -5.5, -1.0), [None], 0, tol=0.2)
    assert result == em.Result(4, -5.5, [-9.0, -5.0, -5.4, -5.5], 4, True)


def test_a_change_of_just_tol_goes_on():
    """Less than tol stops; tol itself does not."""
    assert em.fit(Script(-2.0, -1.5, -1.4), [None], 0, tol=0.5).n_iter == 3


def test_a_model_may_have_a_stopping_measure_of_its_own():
    """It sees the parameters before and after each iteration, and tol is not asked."""
    pairs = []

    class Settles(Script):
        def converged(self, before, after):
            pairs.append((before, after))
            return after == 3

    result = em.fit(Settles(*[-1.0] * 9), [None], 0, max_iter=9, tol=100)
    assert (result.n_iter, result.converged, result.params) == (3, True, 3)
    assert pairs == [(0, 1), (1, 2), (2, 3)]
    assert not em.fit(Settles(*[-1.0] * 9), [None], 0, max_iter=2, tol=100).converged


def test_tol_zero_never_stops():
    """With tol=0 even an unchanged bound goes on to max_iter, and has not converged."""
    result = em.fit(Script(*[-1.0] * 7), [None], 0, tol=0, max_iter=7)
    assert (result.n_iter, result.converged) == (7, False)


def test_no_iterations_return_the_start():
    """max_iter=0 runs nothing."""
    result = em.fit(Script(), [None], "start", max_iter=0)
    assert result == em.Result("start", -np.inf, [], 0, False)


def test_lower_bound_continues_an_earlier_fit():
    """The first bound is compared with that of the earlier fit."""
    result = em.fit(Script(-3.0), [None], 0, lower_bound=-3.0001, tol=1e-3)
    assert (result.n_iter, result.converged) == (1, True)


def test_log_prior_is_part_of_the_bound():
    """A model's log_prior(params) is added once, at the E-step's parameters, before the mean."""

    class WithPrior(TwoCoins):
        def log_prior(self, bias):
            return np.log(bias).sum()

    plain = em.fit(TwoCoins(), [ROUNDS[:2], ROUNDS[2:]], START, max_iter=1)
    prior = em.fit(WithPrior(), [ROUNDS[:2], ROUNDS[2:]], START, max_iter=1)
    added = prior.lower_bound - plain.lower_bound
    assert added == pytest.approx(np.log(START).sum() / len(ROUNDS))


def test_blocks_are_read_anew_in_every_iteration():
    """An object with __iter__ streams its blocks once an iteration, in order."""
    reads = []

    class Stream:
        def __iter__(self):
            reads.append("again")
            yield ROUNDS[:3]
            yield ROUNDS[3:]

    result = em.fit(TwoCoins(), Stream(), START, max_iter=10, tol=0)
    assert_allclose(result.params, (0.796744, 0.519659), atol=5e-7)
    assert len(reads) == 10


# ---- restarts --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 4, 2), (2, 0, 4), (4, 2, 0)])
def test_restarts_keep_the_best(order):
    """The restart with the largest last bound is returned whole, whatever its place."""
    model = Script(-5.0, -4.9, -3.0, -2.9, -1.0, -0.9, -0.85)
    result = em.fit(model, [None], lambda i: order[i], n_init=3, max_iter=2, tol=1e-9)
    assert result == em.Result(6, -0.9, [-1.0, -0.9], 2, False)


def test_equal_restarts_keep_the_first():
    """A restart must be better to replace the one before."""
    starts = [np.array([0.6, 0.5]), np.array([0.5, 0.6])]
    result = em.fit(TwoCoins(), [ROUNDS], starts.__getitem__, n_init=2, max_iter=3, tol=0)
    assert result.params[0] > result.params[1]


# ---- callbacks and printing ------------------------------------------------------------------


def test_callbacks_see_every_step_in_order():
    """Begin and end of restarts and iterations, each callback in the order given."""
    log = []
    em.fit(
        Script(*[-1.0, -0.5] * 2),
        [None],
        lambda i: 2 * i,
        n_init=2,
        max_iter=2,
        callbacks=[Recorder("a: ", log), Recorder("b: ", log)],
    )
    expected = []
    for init in "01":
        for step in (
            f"init {init} begins",
            f"iteration {init}.1 begins",
            f"iteration {init}.1 ends",
            f"iteration {init}.2 begins",
            f"iteration {init}.2 ends",
            f"init {init} ends after 2",
        ):
            expected += [f"a: {step}", f"b: {step}"]
    assert log == expected


def test_state_tells_the_iteration():
    """A plain function is called at each iteration's end, with what the driver knows."""
    states = []
    em.fit(Script(-4.0, -2.0, -1.0), [None], 0, max_iter=3, tol=0, callbacks=[states.append])
    assert states == [
        em.State(0, 1, 1, -4.0, np.inf),
        em.State(0, 2, 2, -2.0, 2.0),
        em.State(0, 3, 3, -1.0, 1.0),
    ]


def test_a_callback_that_returns_true_ends_the_restart():
    """The restart ends not converged; the others see the iteration; the next restart runs."""
    first, second = Recorder(stop_at=2), Recorder()
    result = em.fit(
        Script(*range(20)),
        [None],
        lambda i: 10 * i,
        n_init=2,
        max_iter=5,
        tol=1e-9,
        callbacks=[first, second],
    )
    assert result == em.Result(12, 11, [10, 11], 2, False)
    assert first.log == second.log
    assert [line for line in second.log if "after" in line] == [
        "init 0 ends after 2",
        "init 1 ends after 2",
    ]


def test_an_error_in_a_callback_is_raised():
    """The driver hides nothing."""

    def fail(state):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        em.fit(Script(-1.0), [None], 0, callbacks=[fail])


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_verbose_prints_what_happens(verbose, capsys):
    """0 prints nothing, 1 the restarts and some iterations, 2 also times and bounds."""
    bounds = -1.0 / np.arange(1, 9)
    em.fit(Script(*bounds), [None], 0, max_iter=5, tol=0, verbose=verbose, verbose_interval=2)
    em.fit(Script(-1.0, -1.0), [None], 0, max_iter=5, verbose=verbose, verbose_interval=2)
    lines = re.sub(r"lapse \d+\.\d{5}s", "lapse _", capsys.readouterr().out).splitlines()
    lapse = "\t time lapse _\t ll change "
    assert (
        lines
        == [
            [],
            [
                "Initialization 0",
                "  Iteration 2",
                "  Iteration 4",
                "Initialization did not converge.",
                "Initialization 0",
                "  Iteration 2",
                "Initialization converged.",
            ],
            [
                "Initialization 0",
                f"  Iteration 2{lapse}0.50000",
                f"  Iteration 4{lapse}0.08333",
                "Initialization did not converge. time lapse _\t lower bound -0.20000.",
                "Initialization 0",
                f"  Iteration 2{lapse}0.00000",
                "Initialization converged. time lapse _\t lower bound -1.00000.",
            ],
        ][verbose]
    )


# ---- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bound_that_is_not_finite_is_an_error(value):
    """The message names the bound, the iteration and a cure; no parameters come from it."""
    with pytest.raises(ValueError, match=f"bound is {value} at iteration 2 of.*start values"):
        em.fit(Script(-1.0, value), [None], 0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"blocks": iter([1])}, TypeError, "blocks must be readable once an iteration"),
        ({"blocks": (b for b in [1])}, TypeError, "generator"),
        ({"blocks": []}, ValueError, "blocks is empty"),
        ({"tol": -1}, ValueError, "tol must be >= 0, got -1"),
        ({"tol": np.nan}, ValueError, "tol must be >= 0, got nan"),
        ({"max_iter": -1}, ValueError, "max_iter must be >= 0, got -1"),
        ({"n_init": 0}, ValueError, "n_init must be >= 1, got 0"),
        ({"tol": "small"}, TypeError, "tol must be a number >= 0, got 'small'"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be an integer >= 0, got 2.5"),
        ({"max_iter": None}, TypeError, "max_iter must be an integer >= 0, got None"),
        ({"evaluate_every": 1.5}, TypeError, "evaluate_every must be an integer >= 1, got 1.5"),
        ({"n_init": "a"}, TypeError, "n_init must be an integer >= 1, got 'a'"),
        ({"schedule": ["batch"]}, ValueError, r"schedule must be one of .* got \['batch'\]"),
        ({"n_init": 3}, ValueError, "n_init=3 .*function of the restart's number"),
    ],
)
def test_bad_arguments_name_what_is_wrong(arguments, error, words):
    """Each bad argument is refused with its name, its value and the remedy."""
    with pytest.raises(error, match=words):
        em.fit(**{"model": Script(-1.0), "blocks": [None], "start": 0} | arguments)


def test_an_e_step_must_return_statistics():
    """Anything else names the model and the type."""

    class Wrong:
        def e_step(self, params, block):
            return {"bound": 1.0}

        def m_step(self, statistics):
            return 0

    with pytest.raises(TypeError, match=r"Wrong\.e_step must return .*Statistics, got dict"):
        em.fit(Wrong(), [None], 0)


# ---- interruption ----------------------------------------------------------------------------


def test_an_interrupt_carries_the_last_whole_iteration():
    """Ctrl-C in iteration 3 leaves the result of two."""
    with pytest.raises(KeyboardInterrupt) as interrupt:
        em.fit(Script(-3.0, -2.0, KeyboardInterrupt()), [None], 0)
    assert interrupt.value.result == em.Result(2, -2.0, [-3.0, -2.0], 2, False)


def test_an_interrupt_before_a_whole_iteration_carries_nothing():
    """Without a whole iteration there is no result."""
    with pytest.raises(KeyboardInterrupt) as interrupt:
        em.fit(Script(KeyboardInterrupt()), [None], 0)
    assert interrupt.value.result is None


@pytest.mark.parametrize(("second", "expected"), [(0, -0.6), (4, -0.5)])
def test_an_interrupt_carries_the_best_restart(second, expected):
    """Of the restart that is done and the one that is interrupted, the better counts."""
    model = Script(-9.0, KeyboardInterrupt(), -1.0, -0.6, -0.5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as interrupt:
        em.fit(model, [None], [2, second].__getitem__, n_init=2, max_iter=2)
    assert interrupt.value.result.lower_bound == expected


# ---- schedules ---------------------------------------------------------------------------------


class Forgetful(TwoCoins):
    """Two coins, half a step at a time."""

    def step(self, bias, statistics, block):
        return 0.5 * bias + 0.5 * self.m_step(statistics)


BLOCKS = [ROUNDS[:2], ROUNDS[2:4], ROUNDS[4:]]


def test_incremental_begins_with_a_batch_iteration():
    one = em.fit(TwoCoins(), BLOCKS, START, schedule="incremental", max_iter=1)
    assert_allclose(one.params, em.fit(TwoCoins(), [ROUNDS], START, max_iter=1).params, rtol=1e-14)


def test_incremental_ends_where_batch_ends():
    end = em.fit(TwoCoins(), [ROUNDS], START, max_iter=500, tol=0)
    incremental = em.fit(TwoCoins(), BLOCKS, START, schedule="incremental", max_iter=500, tol=0)
    assert_allclose(incremental.params, end.params, rtol=1e-9)
    assert_allclose(incremental.lower_bound, end.lower_bound, rtol=1e-12)


class Knowing(TwoCoins):
    """Two coins that were tossed ten times each before."""

    def statistics_of(self, bias):
        return em.Statistics(bound=0.0, weight=0.0, heads=10 * bias, tosses=np.full(2, 10.0))


def test_a_model_may_say_what_its_start_stands_for():
    result = em.fit(Knowing(), BLOCKS, START, schedule="incremental", max_iter=500, tol=0)
    end = em.fit(TwoCoins(), [ROUNDS], START, max_iter=500, tol=0)
    assert_allclose(result.params, end.params, rtol=1e-9)


def test_the_start_fades_as_blocks_join():
    """By a third after each of three blocks; the pass ends with the blocks alone."""
    model = Knowing()
    em.fit(model, BLOCKS, START, schedule="incremental", max_iter=1)
    params, total, start = START, None, model.statistics_of(START)
    for number, block in enumerate(BLOCKS, 1):
        statistics = TwoCoins().e_step(params, block)
        total = statistics if total is None else total + statistics
        params = TwoCoins().m_step(total + start * (1 - number / 3))
        assert_allclose(model.seen[number - 1], params, rtol=1e-12)
    assert_allclose(model.seen[-1], TwoCoins().m_step(total), rtol=1e-12)


def test_an_incremental_iteration_visits_each_block_once():
    class Counting(TwoCoins):
        def e_step(self, bias, heads):
            visited.append(heads[0])
            return super().e_step(bias, heads)

    blocks, visited = [np.array([h]) for h in range(11)], []
    em.fit(Counting(), blocks, START, schedule="incremental", max_iter=3, tol=0)
    assert visited == 3 * list(range(11))


def test_stepwise_asks_the_model_after_each_block():
    result = em.fit(Forgetful(), BLOCKS, START, schedule="stepwise", max_iter=1)
    params = START
    for block in BLOCKS:
        params = 0.5 * params + 0.5 * em.fit(TwoCoins(), [block], params, max_iter=1).params
    assert_allclose(result.params, params, rtol=1e-14)


@pytest.mark.parametrize(
    ("evaluate_every", "looks"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])]
)
def test_check_every(evaluate_every, looks):
    class Asked(TwoCoins):
        def e_step(self, bias, heads, *, bound=True):
            statistics = super().e_step(bias, heads)
            statistics.bound = statistics.bound if bound else float("nan")
            return statistics

    states = []
    result = em.fit(
        Asked(), [ROUNDS], START, max_iter=5, tol=0, evaluate_every=evaluate_every,
        callbacks=[lambda state: states.append(state) and False],
    )  # fmt: skip
    bounds = em.fit(TwoCoins(), [ROUNDS], START, max_iter=5, tol=0).lower_bounds
    assert result.lower_bounds == [bounds[i - 1] for i in looks]
    assert [s.iteration for s in states if not np.isnan(s.change)] == looks
    assert result.n_iter == 5


def test_unknown_schedules_and_empty_blocks_are_errors():
    with pytest.raises(ValueError, match=r"schedule must be one of 'batch', .*, got 'online'"):
        em.fit(TwoCoins(), BLOCKS, START, schedule="online")
    with pytest.raises(ValueError, match="evaluate_every must be >= 1, got 0"):
        em.fit(TwoCoins(), BLOCKS, START, evaluate_every=0)
    for schedule in ("batch", "incremental"):
        with pytest.raises(ValueError, match="blocks is empty"):
            em.fit(TwoCoins(), [], START, schedule=schedule)
