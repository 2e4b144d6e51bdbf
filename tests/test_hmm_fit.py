"""Fits of hidden Markov models: against the oracle, and what is held."""

import logging

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import fastem
from fastem import (
    GMMHMM,
    BernoulliHMM,
    BinomialHMM,
    CategoricalHMM,
    GaussianHMM,
    MultinomialHMM,
    PoissonHMM,
)

try:
    from reference import hmm as oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)

KINDS = ("full", "tied", "diag", "spherical")
LENGTHS = [60, 90, 1, 50]


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR)


def chain_of(rng, n, k):
    """Return states that stay for some steps."""
    states = np.zeros(n, dtype=int)
    for t in range(1, n):
        states[t] = states[t - 1] if rng.random() < 0.85 else rng.integers(k)
    return states


def reals(seed=0, k=3):
    rng = np.random.default_rng(seed)
    states = chain_of(rng, sum(LENGTHS), k)
    means = np.array([[0.0, 0.0], [3.0, -3.0], [5.0, 4.0]])[:k]
    return means[states] + rng.normal(size=(len(states), 2)) * [0.7, 1.3]


def counts(seed=0, d=2):
    rng = np.random.default_rng(seed)
    states = chain_of(rng, sum(LENGTHS), 3)
    return rng.poisson(np.array([1.0, 6.0, 15.0])[states][:, None] * np.ones(d))


def symbols(seed=0):
    return np.minimum(counts(seed, 1) // 3, 4)


EVERY = {
    **{f"gaussian {c}": (lambda c=c, **s: GaussianHMM(3, c, **s), reals) for c in KINDS},
    **{
        f"mixture {c}": (lambda c=c, **s: GMMHMM(2, 2, covariance_type=c, **s), reals)
        for c in KINDS
    },
    "categorical": (lambda **s: CategoricalHMM(3, **s), symbols),
    "multinomial": (lambda **s: MultinomialHMM(3, **s), counts),
    "poisson": (lambda **s: PoissonHMM(3, **s), counts),
    "binomial": (lambda **s: BinomialHMM(3, 60, **s), counts),
    "bernoulli": (lambda **s: BernoulliHMM(2, **s), lambda seed=0: (counts(seed) > 4).astype(int)),
}
every = pytest.mark.parametrize(("make", "data"), EVERY.values(), ids=EVERY)


def attributes(model):
    """Return the parameters by attribute."""
    return {name: vars(model)[name] for _, name in model._all_letters()}


# ---- EM --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_iterations_equal_the_oracle(kind):
    """Ten iterations by maximum likelihood are the textbook's."""
    X = reals()
    k, rng = 3, np.random.default_rng(1)
    start, trans = rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k), k)
    means, covars = X[[3, 80, 170]], 2 * np.tile(np.eye(2), (k, 1, 1))
    params, bounds = oracle.fit_gaussian(
        X, LENGTHS, oracle.Params(start, trans, (means, covars)), kind, 10
    )
    model = GaussianHMM(
        k, kind, init_params="", n_iter=10, tol=-np.inf, covars_prior=0, min_covar=0
    )  # fmt: skip
    model.startprob_, model.transmat_, model.means_ = start, trans, means
    shaped = {"full": covars, "tied": covars[0], "diag": np.full((k, 2), 2.0)}
    model.covars_ = shaped.get(kind, np.full(k, 2.0))
    model.fit(X, LENGTHS)
    assert_allclose(model.monitor_.history, bounds, rtol=1e-9)
    assert_allclose(model.startprob_, params.startprob, atol=1e-9)
    assert_allclose(model.transmat_, params.transmat, atol=1e-9)
    assert_allclose(model.means_, params.emission[0], rtol=1e-8)
    assert_allclose(model.covars_, params.emission[1], rtol=1e-7, atol=1e-9)


@every
@pytest.mark.parametrize("lost", [0.0, 0.15], ids=["whole", "with NaN"])
def test_likelihood_never_falls(make, data, lost):
    """The log-likelihood rises at every iteration, with missing values too."""
    X = data().astype(float)
    X[np.random.default_rng(5).random(X.shape) < lost] = np.nan
    settings = {"n_iter": 40, "tol": -np.inf, "random_state": 0}
    model = make(**settings)
    if isinstance(model, GaussianHMM):
        model.set_params(covars_prior=0)
    history = np.array(model.fit(X, LENGTHS).monitor_.history)
    assert len(history) == 40
    assert np.diff(history).min() > -1e-9 * abs(history[0])
    assert history[-1] > history[0]
    assert not model.converged_
    assert model.stop_reason_ == "n_iter"


@pytest.mark.parametrize(
    ("model", "data"),
    [
        *((GaussianHMM(3, c, means_prior=1.0, means_weight=5, covars_prior=2.0, covars_weight=6,
                       startprob_prior=2.0, transmat_prior=3.0), reals) for c in KINDS),
        *((GMMHMM(2, 2, covariance_type=c, means_prior=1.0, means_weight=3.0, weights_prior=4.0,
                  covars_prior=1.0, covars_weight=2.0), reals) for c in ("diag", "spherical")),
        *((GMMHMM(2, 2, covariance_type=c, means_weight=3.0, weights_prior=4.0,
                  covars_prior=np.eye(2), covars_weight=4.0), reals) for c in ("full", "tied")),
        (CategoricalHMM(3, emissionprob_prior=3.0, transmat_prior=2.0), symbols),
        (MultinomialHMM(3, emissionprob_prior=30.0), counts),
        (PoissonHMM(3, lambdas_prior=20.0, lambdas_weight=10.0), counts),
        (BinomialHMM(3, 60, emissionprob_prior=(5.0, 9.0)), counts),
    ],
    ids=lambda value: repr(value)[:40] if hasattr(value, "fit") else "",
)  # fmt: skip
def test_bound_with_priors_never_falls(model, data):
    """MAP: the log-likelihood with the priors' density rises at every iteration."""
    model = clone(model).set_params(n_iter=40, tol=-np.inf, random_state=0)
    bounds = np.array(model.fit(data(), LENGTHS).lower_bounds_)
    assert np.diff(bounds).min() > -1e-10 * abs(bounds[0])
    assert bounds[-1] > bounds[0]


@every
def test_a_weight_is_so_many_equal_sequences(make, data):
    """Weights 2, 0, 1 and 3 are sequences written twice, left out, once and three times."""
    X, times = data(), [2, 0, 1, 3]
    parts = np.split(X, np.cumsum(LENGTHS)[:-1])
    begun = make(n_iter=0, random_state=0).fit(X, LENGTHS)
    fits = []
    for settings in (
        {"X": parts, "sample_weight": times},
        {"X": [p for p, n in zip(parts, times, strict=True) for _ in range(n)]},
    ):
        model = make(n_iter=4, tol=-np.inf, init_params="", min_covar=0) if hasattr(
            begun, "min_covar") else make(n_iter=4, tol=-np.inf, init_params="")  # fmt: skip
        vars(model).update(attributes(begun))
        fits.append(model.fit(**settings))
    assert_allclose(fits[0].lower_bounds_, fits[1].lower_bounds_, rtol=1e-10)
    for name, value in attributes(fits[1]).items():
        assert_allclose(attributes(fits[0])[name], value, rtol=1e-7, atol=1e-9)


@pytest.mark.skipif(not fastem.has_openmp(), reason="this build has one thread")
@every
def test_bits_do_not_depend_on_threads(make, data):
    """1, 2 and 5 threads give the same bits."""
    X = np.tile(data(), (40, 1))
    lengths = [40] * (len(X) // 40) + [len(X) % 40] * (len(X) % 40 > 0)
    fits = [make(n_iter=3, random_state=0, n_jobs=n).fit(X, lengths) for n in (1, 2, 5)]
    for other in fits[1:]:
        assert list(other.monitor_.history) == list(fits[0].monitor_.history)
        for name, value in attributes(fits[0]).items():
            assert_array_equal(attributes(other)[name], value)
        assert_array_equal(other.predict_proba(X, lengths), fits[0].predict_proba(X, lengths))
        assert_array_equal(other.predict(X, lengths), fits[0].predict(X, lengths))


@every
def test_order_of_sequences_does_not_matter(make, data):
    """Sequences in another order are fitted alike."""
    X = data()
    parts = np.split(X, np.cumsum(LENGTHS)[:-1])
    begun = make(n_iter=0, random_state=0).fit(X, LENGTHS)
    fits = []
    for order in ([0, 1, 2, 3], [2, 3, 1, 0]):
        model = make(n_iter=4, tol=-np.inf, init_params="")
        vars(model).update(attributes(begun))
        fits.append(model.fit([parts[i] for i in order]))
    for name, value in attributes(fits[0]).items():
        assert_allclose(attributes(fits[1])[name], value, rtol=1e-8, atol=1e-10)


# ---- what is held ----------------------------------------------------------------------------


@every
def test_what_params_leaves_out_stays_bit_for_bit(make, data):
    """A letter that is not in `params` keeps its parameter; the others change."""
    X = data()
    begun = make(n_iter=2, random_state=0).fit(X, LENGTHS)
    letters = dict(begun._all_letters())
    for letter, name in letters.items():
        model = make(n_iter=3, init_params="", params="".join(letters).replace(letter, ""))
        for other in letters.values():
            vars(model)[other] = vars(begun)[other].copy()
        model.fit(X, LENGTHS)
        for other in letters.values():
            same = np.array_equal(vars(model)[other], vars(begun)[other])
            assert same == (other == name), (letter, other)


def test_zeros_stay_and_left_right_goes_on():
    """A transition of 0 stays 0, with pseudo-counts too; a left-right chain never goes back."""
    X = reals()
    model = GaussianHMM(3, init_params="mc", n_iter=10, transmat_prior=5.0, random_state=0)
    model.startprob_ = [1.0, 0.0, 0.0]
    model.transmat_ = [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    model.fit(X, LENGTHS)
    assert_array_equal(model.startprob_, [1, 0, 0])
    assert_array_equal(model.transmat_ > 0, np.triu(np.ones((3, 3)), 0) - np.eye(3, k=2) > 0)
    states = np.split(model.predict(X, LENGTHS), np.cumsum(LENGTHS)[:-1])
    assert all(np.all(np.diff(part) >= 0) for part in states)


@pytest.mark.parametrize(
    ("topology", "mask"),
    [
        ("left-right", np.triu(np.ones((4, 4)))),
        ("linear", np.eye(4) + np.eye(4, k=1)),
        ("cyclic", np.eye(4) + np.roll(np.eye(4), 1, axis=1)),
        (np.tri(4, dtype=bool), np.tri(4)),
    ],
    ids=["left-right", "linear", "cyclic", "mask"],
)
def test_topology_is_kept(topology, mask):
    """Transitions outside the topology are 0, those within are learnt; AIC counts these alone."""
    X = reals()
    model = GaussianHMM(4, topology=topology, transmat_prior=2.0, random_state=0).fit(X, LENGTHS)
    assert_array_equal(model.transmat_ > 0, mask > 0)
    assert_allclose(model.transmat_.sum(axis=1), 1)
    begins = isinstance(topology, str) and topology != "cyclic"
    if begins:
        assert_array_equal(model.startprob_, [1, 0, 0, 0])
    n_free = (0 if begins else 3) + (mask.sum(axis=1) - 1).sum() + 8 + 8
    assert_allclose(model.aic(X), -2 * model.score(X) + 2 * n_free)


def test_a_transition_is_held_at_its_value():
    """By numbers with NaN where free, or by booleans with the values of transmat_."""
    X = reals()
    held = np.full((3, 3), np.nan)
    held[0, 1], held[2, 0] = 0.25, 0.0
    model = GaussianHMM(3, transmat_fixed=held, n_iter=8, random_state=0).fit(X, LENGTHS)
    assert model.transmat_[0, 1] == 0.25
    assert model.transmat_[2, 0] == 0
    assert_allclose(model.transmat_.sum(axis=1), 1)
    # The rest of the row is shared by its counts: stationary for the likelihood.
    bounds = np.array(model.lower_bounds_)
    assert np.all(np.diff(bounds) > -1e-12)
    mask = np.zeros((3, 3), dtype=bool)
    mask[1, 1] = True
    other = GaussianHMM(3, transmat_fixed=mask, init_params="smc", n_iter=8, random_state=0)
    other.transmat_ = [[0.8, 0.1, 0.1], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8]]
    other.fit(X, LENGTHS)
    assert other.transmat_[1, 1] == 0.9
    assert other.transmat_[0, 0] != 0.8
    with pytest.raises(ValueError, match="transmat_, which is not set"):
        GaussianHMM(3, transmat_fixed=mask).fit(X)


def test_known_states_are_kept_to():
    """Where all states are known the fit counts; where some are, they name the states."""
    rng = np.random.default_rng(0)
    states = chain_of(rng, 300, 2)
    X = np.array([[0.0], [4.0]])[states] + rng.normal(size=(300, 1))
    model = GaussianHMM(2, n_iter=2, covars_prior=0, random_state=0).fit(X, states=states)
    pairs = np.zeros((2, 2))
    np.add.at(pairs, (states[:-1], states[1:]), 1)
    assert_allclose(model.transmat_, pairs / pairs.sum(axis=1, keepdims=True))
    assert_allclose(model.means_.ravel(), [X[states == k].mean() for k in (0, 1)])
    assert_allclose(model._covars_.ravel(), [X[states == k].var() for k in (0, 1)], rtol=1e-9)
    some = np.full(300, -1)
    some[:40] = states[:40]
    half = GaussianHMM(2, n_iter=30, random_state=0).fit(X, states=some)
    assert half.means_[0, 0] < 1 < half.means_[1, 0]
    swapped = GaussianHMM(2, n_iter=30, random_state=0).fit(
        X, states=np.where(some < 0, -1, 1 - some)
    )
    assert swapped.means_[1, 0] < 1 < swapped.means_[0, 0]
    assert_allclose(swapped.means_, half.means_[::-1], atol=1e-2)


def test_one_step_with_known_states_equals_every_path():
    """A known state is a factor of 0 for the others."""
    X = np.random.default_rng(0).normal(size=(5, 1))
    start, trans = np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.3, 0.7]])
    known = np.array([-1, 1, -1, 0, -1])
    log_b = oracle.log_gaussian(X, np.array([[0.0], [1.0]]), np.ones((2, 1, 1)))
    told = np.where((known[:, None] >= 0) & (known[:, None] != [0, 1]), -np.inf, log_b)
    total, gamma, xi, *_ = oracle.every_path(start, trans, told)
    model = GaussianHMM(2, init_params="", n_iter=1)
    model.startprob_, model.transmat_, model.means_ = start, trans, [[0.0], [1.0]]
    model.covars_ = np.ones((2, 1))
    model.fit(X, states=known)
    assert_allclose(model.monitor_.history, [total])
    assert_allclose(model.startprob_, gamma[0])
    assert_allclose(model.transmat_, xi / xi.sum(axis=1, keepdims=True))
