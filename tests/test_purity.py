"""The seam is pure: E-steps give the same bits on copies, twice, in blocks, in any process.

Over every case of cases.py, and over every method of every estimator, as it hands its fit to the
driver.
"""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from case_base import call_e_step
from cases import CASES
from numpy.testing import assert_array_equal
from test_contract import assert_same_fit

import fastem
from fastem import em
from fastem._engine.executors import EStep
from fastem._engine.passes import Incremental

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Problem(NamedTuple):
    """What the driver is called with."""

    model: Any
    blocks: list
    start: Any
    schedule: str = "batch"

    def fit(self, max_iter=3, **settings):
        """Return the driver's result."""
        return em.fit(
            self.model, self.blocks, self.start, schedule=self.schedule, max_iter=max_iter, tol=0,
            **settings,
        )  # fmt: skip


# ---- problems ----------------------------------------------------------------------------------


def of_case(case, n_blocks=3, n_samples=200):
    """Return a case's problem, its rows cut into blocks."""
    X = case.data(min(case.n_samples, n_samples))
    edges = np.linspace(0, len(X), n_blocks + 1).astype(int)
    blocks = [case.block(X[i:j]) for i, j in pairwise(edges)]
    return Problem(case.model(reg_covar=1e-6), blocks, case.start(X))


class Caught(Exception):
    """Ends a fit where it calls the driver."""


def of_estimator(estimator, X):
    """Return what an estimator hands to the driver."""
    caught = []

    def catch(model, blocks, start, *, schedule, **_):
        caught.append(Problem(model, list(blocks), start, schedule))
        raise Caught

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(em, "run", catch)
        with pytest.raises(Caught):
            estimator.fit(X)
    (problem,) = caught
    start = problem.start(0) if callable(problem.start) else problem.start
    return problem._replace(start=start)


def normal(n):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)) + 2.0 * rng.integers(3, size=(n, 1))


def counts(n):
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(np.full(30, 0.3), 4)
    X = rng.poisson(25 * rng.dirichlet(np.full(4, 0.3), n) @ topics).astype(float)
    X[n // 2] = 0
    return X


VECTORS = np.random.default_rng(1).normal(3, 1, (30, 2))


def _methods():
    """Return for each method of each estimator a function that makes it, and one of its data."""
    lda = partial(fastem.LatentDirichletAllocation, 4, batch_size=16, max_iter=6)
    both = {"doc_topic_prior": "auto", "topic_word_prior": "auto"}
    plsa = partial(fastem.PLSA, 4, max_iter=6, tol=0.0)
    mixture = partial(fastem.GaussianMixture, 3, max_iter=4, tol=0.0)
    chain = {"n_iter": 3, "tol": -np.inf}
    gaussian_lda = partial(fastem.GaussianLDA, 4, vectors=VECTORS, max_iter=4, tol=0.0)
    topics = {
        "plsa": plsa,
        "plsa-map": partial(plsa, doc_topic_prior=0.1, topic_word_prior=0.1),
        "plsa-tempered": partial(plsa, beta=0.8),
        "plsa-held-out": partial(plsa, beta="held-out", max_iter=30),
        "plsa-incremental": partial(plsa, algorithm="incremental", batch_size=16),
        "lda-batch": lda,
        "lda-batch-auto": partial(lda, **both),
        "lda-point": partial(lda, topic_word_prior=0.0),
        "lda-online": partial(lda, learning_method="online"),
        "lda-online-auto": partial(lda, learning_method="online", **both),
        "lda-incremental": partial(lda, learning_method="incremental"),
        "lda-incremental-auto": partial(lda, learning_method="incremental", **both),
        "lda-cvb0": partial(lda, learning_method="cvb0"),
        "lda-stochastic": partial(lda, learning_method="stochastic"),
        "lda-stochastic-auto": partial(lda, learning_method="stochastic", doc_topic_prior="auto"),
        "gaussian-lda": gaussian_lda,
        "gaussian-lda-auto": partial(gaussian_lda, doc_topic_prior="auto"),
        "multinomial": partial(fastem.MultinomialMixture, 3, max_iter=4, tol=0.0),
        "poisson": partial(fastem.PoissonMixture, 3, max_iter=4, tol=0.0),
        "poisson-hmm": partial(fastem.PoissonHMM, 3, **chain),
    }
    samples = {
        # Unless somebody watches, few samples need no E-step of Python's.
        "k-means": partial(fastem.KMeans, 6, n_init=2, max_iter=4, verbose=1),
        **{f"gaussian-{kind}": partial(mixture, covariance_type=kind) for kind in KINDS},
        "gaussian-noise": partial(mixture, noise=True),
        "student": partial(fastem.StudentMixture, 3, max_iter=4, tol=0.0),
        **{f"{k}-hmm": partial(fastem.GaussianHMM, 3, k, **chain) for k in KINDS},
        "gmm-hmm": partial(fastem.GMMHMM, 2, 2, **chain),
    }
    return {
        name: (partial(make, random_state=0, n_jobs=1), data)
        for data, methods in ((counts, topics), (normal, samples))
        for name, make in methods.items()
    }


KINDS = ("full", "tied", "diag", "spherical")
METHODS = _methods()


def of_method(name, n_samples=70):
    """Return the problem of a method by its name."""
    make, data = METHODS[name]
    return of_estimator(make(), data(n_samples))


# ---- comparing -----------------------------------------------------------------------------------


def leaves(thing, name=""):
    """Yield the arrays and numbers in a thing with their names."""
    if isinstance(thing, np.ndarray):
        yield name, thing
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield from leaves(value, f"{name}[{key!r}]")
    elif isinstance(thing, (tuple, list)):
        names = getattr(thing, "_fields", range(len(thing)))
        for key, value in zip(names, thing, strict=True):
            yield from leaves(value, f"{name}.{key}")
    elif thing is None or isinstance(thing, (int, float, str, np.generic, np.dtype, type)):
        yield name, thing
    elif hasattr(thing, "__dict__"):
        yield from leaves(vars(thing), f"{name}:{type(thing).__name__}")
    else:  # a compiled class: what it pickles
        yield from leaves(thing.__reduce_ex__(2)[1:3], f"{name}:{type(thing).__name__}")


def assert_same_bits(actual, expected):
    """Compare two things of the same build, leaf by leaf."""
    pairs = list(leaves(expected))
    assert pairs
    for (name, value), (other, new) in zip(pairs, leaves(actual), strict=True):
        assert name == other
        if isinstance(value, np.ndarray):
            assert new.dtype == value.dtype, name
            assert_array_equal(new, value, err_msg=name)
        else:
            assert new == value or (new != new and value != value), (name, new, value)


def assert_near(actual, expected, tolerance):
    """Compare all reals, each relative to the largest of its array."""
    for (name, value), (_, new) in zip(leaves(expected), leaves(actual), strict=True):
        if isinstance(value, (float, np.ndarray)) and np.asarray(value).dtype.kind == "f":
            error = np.max(np.abs(np.asarray(new) - value), initial=0.0)
            assert error <= tolerance * np.max(np.abs(value), initial=0.0), f"{name}: {error}"


def send(thing):
    """Return what another process would get."""
    return pickle.loads(pickle.dumps(thing))


@pytest.fixture
def on_copies(monkeypatch):
    """Let every E-step see copies, as if it were made elsewhere: what it changes there is lost."""
    e_step, replace = EStep.__call__, Incremental.replace

    def e_step_on_copies(self, params, shard):
        return send(e_step(send(self), send(params), send(shard)))

    def replace_on_copies(self, params, number, block, total, check):
        model = self.model
        self.model, self.states = send(model), dict(self.states)
        if number in self.states:
            self.states[number] = send(self.states[number])
        try:
            return replace(self, send(params), number, send(block), total, check)
        finally:
            self.model = model

    monkeypatch.setattr(EStep, "__call__", e_step_on_copies)
    monkeypatch.setattr(Incremental, "replace", replace_on_copies)


@pytest.fixture(scope="module")
def pools():
    """Return pools of threads and of processes, which all tests share."""
    with ThreadPoolExecutor(3) as threads, ProcessPoolExecutor(2) as processes:
        yield {"threads": threads, "processes": processes}


# ---- the tests ---------------------------------------------------------------------------------

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_double = pytest.mark.parametrize("case", [c for c in CASES if c.dtype == np.float64], ids=str)
every_method = pytest.mark.parametrize("name", METHODS)


def check_twice(problem):
    """Two E-steps with the same arguments: the same bits, and nothing else has changed."""
    model, params = problem.model, problem.start
    states = [
        model.first_state(params, block) if isinstance(model, em.RowState) else None
        for block in problem.blocks
    ]
    for _ in range(3):
        made = []
        for block, state in zip(problem.blocks, states, strict=True):
            arguments = model, params, block, state
            before, kept = pickle.dumps(arguments), copy.deepcopy(arguments)
            first = call_e_step(*arguments)
            assert pickle.dumps(arguments) == before
            again, on_copies = call_e_step(*arguments), call_e_step(*kept)
            assert pickle.dumps(arguments) == before
            assert_same_bits(again, first)
            assert_same_bits(on_copies, first)
            made.append(first)
        states = [state for _, state in made]
        params = model.m_step(em.tree_sum(statistics for statistics, _ in made))


@every_case
def test_e_step_twice_gives_the_same_bits(case):
    check_twice(of_case(case))


@every_method
def test_e_step_twice_gives_the_same_bits_in_every_method(name):
    check_twice(of_method(name))


@every_case
def test_fit_on_copies_is_the_same(case, request):
    """Model, parameters, blocks and states go through pickle before every E-step: the same bits."""
    here = of_case(case).fit()
    request.getfixturevalue("on_copies")
    there = of_case(case).fit()
    assert_same_bits(there[:3], here[:3])
    assert_same_bits(there.states, here.states) if here.states else None


@every_method
def test_every_method_fits_the_same_on_copies(name, request):
    """A whole fit of the estimator, with the nested ones for its start."""
    make, data = METHODS[name]
    here = make().fit(data(70))
    request.getfixturevalue("on_copies")
    assert_same_fit(make().fit(data(70)), here)


@every_double
def test_two_blocks_fit_as_one(case):
    """The fit of two blocks is that of one, to rounding."""
    one, two = (of_case(case, n_blocks).fit() for n_blocks in (1, 2))
    assert_near(two.params, one.params, 1e-11)
    np.testing.assert_allclose(two.lower_bounds, one.lower_bounds, rtol=1e-11, atol=1e-11)


@every_double
def test_threads_give_the_same_bits(case, pools):
    here, there = of_case(case).fit(), of_case(case).fit(executor=pools["threads"])
    assert_same_bits(there[:3], here[:3])


@every_double
def test_processes_give_the_same_bits(case, pools):
    here, there = of_case(case).fit(), of_case(case).fit(executor=pools["processes"])
    assert_same_bits(there[:3], here[:3])


@every_double
def test_nothing_of_the_data_is_pickled_with_the_model(case):
    """Model and parameters of a fit are as small for eight times the data."""
    problems = [of_case(case, n_samples=n) for n in (20, 160)]
    assert_small([(p.model, p.fit().params) for p in problems])


@every_method
def test_no_method_pickles_data_with_its_model(name):
    problems = [of_method(name, n) for n in (20, 160)]
    assert_small([(p.model, p.fit().params) for p in problems])


def assert_small(pairs):
    """Check that pickles do not grow, but by what a longer number takes."""
    small, large = (sum(len(pickle.dumps(one)) for one in pair) for pair in pairs)
    assert abs(large - small) < 64, f"{small} bytes, of more data {large}"
