"""Fits of hidden Markov models: against the oracle, priors, what is held, where others fail."""

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


# ---- where others fail -----------------------------------------------------------------------


def pair_of(means, variances, k=2, **settings):
    """Return a chain of two states over one feature, with parameters."""
    model = GaussianHMM(k, init_params="", **settings)
    model.startprob_, model.transmat_ = np.full(k, 1 / k), np.full((k, k), 1 / k)
    model.means_, model.covars_ = np.reshape(means, (k, -1)), np.reshape(variances, (k, -1))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_many_features(kind):
    """800 features: each row's density is below the least number; the fit is right all the same."""
    rng = np.random.default_rng(0)
    states = np.repeat([0, 1, 0], 20)
    means = rng.normal(size=(2, 800))
    X = means[states] + 0.5 * rng.normal(size=(60, 800))
    model = GaussianHMM(2, kind, n_iter=3, random_state=0, covars_prior=1e-2).fit(X)
    assert np.isfinite(model.monitor_.history).all()
    found = model.predict(X)
    assert_array_equal(found == found[0], states == 0)
    if kind == "diag":
        log_b = oracle.log_whole_gaussian(X, model.means_, model.covars_)
        total = oracle.forward_backward(model.startprob_, model.transmat_, log_b)[0]
        assert_allclose(model.score(X), total, rtol=1e-10)


@pytest.mark.parametrize("implementation", ["log", "scaling"])
def test_an_outlier_of_60_sigma(implementation):
    """Its density underflows in every state; 'scaling' refuses it, as hmmlearn's does."""
    X = np.r_[np.zeros(20), 5 * np.ones(20)][:, None] + 0.0
    X[7] = 60.0
    model = pair_of([0.0, 5.0], [1.0, 1.0], n_iter=1, implementation=implementation)
    log_b = oracle.log_whole_gaussian(X, model.means_, model.covars_)
    total = oracle.forward_backward(model.startprob_, model.transmat_, log_b)[0]
    assert_allclose(model.score(X), total, rtol=1e-12)
    if implementation == "log":
        assert_allclose(model.fit(X).monitor_.history[0], total, rtol=1e-12)
    else:
        with pytest.raises(ValueError, match="row 7 underflows"):
            model.fit(X)


def test_the_only_way_lies_far_below_another():
    """A state that cannot be reached is 10,000 nats better: the way that can be is taken."""
    model = pair_of([0.0, 100.0], [1.0, 1.0])
    model.startprob_, model.transmat_ = [1.0, 0.0], [[1.0, 0.0], [0.5, 0.5]]
    X = np.array([[0.0], [100.0], [100.0], [0.0]])
    log_b = oracle.log_whole_gaussian(X, model.means_, model.covars_)
    assert_allclose(model.score(X), log_b[:, 0].sum(), rtol=1e-12)
    assert_allclose(model.predict_proba(X), [[1.0, 0.0]] * 4)
    assert_array_equal(model.predict(X), 0)


@every
def test_a_state_that_nobody_visits(make, data):
    """It has no rows: nothing turns to NaN, and the model scores and draws on."""
    X = data()
    model = make(
        n_iter=6, random_state=0, init_params=make().init_params.replace("s", "").replace("t", "")
    )
    k = model.n_components
    model.startprob_ = np.eye(k)[0]
    model.transmat_ = np.r_[[np.eye(k)[0]], np.full((k - 1, k), 1 / k)]
    if type(model) is GaussianHMM:
        model.covars_prior = 0
    model.fit(X, LENGTHS)
    for name, value in attributes(model).items():
        assert np.isfinite(value).all(), name
    assert_allclose(model.transmat_.sum(axis=1), 1)
    assert np.isfinite(model.score(X, LENGTHS))
    assert_array_equal(model.predict(X, LENGTHS), 0)


@every
def test_sequences_of_one_row(make, data):
    """There are no transitions: these stay distributions, the rest is fitted."""
    X = data()
    model = make(n_iter=3, random_state=0).fit(X, np.ones(len(X), dtype=int))
    assert_allclose(model.transmat_.sum(axis=1), 1)
    assert np.isfinite(model.score(X[:1]))
    assert model.predict_proba(X[:1]).shape == (1, model.n_components)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_far_from_zero(kind, offset):
    """Covariances do not depend on where the data lie, as far as the data have digits."""
    X = np.round(reals() * 2**10) / 2**10  # what is added to the offset is exact, or nearly so
    settings = {"n_iter": 5, "tol": -np.inf, "random_state": 0}
    near = GaussianHMM(3, kind, **settings).fit(X, LENGTHS)
    far = GaussianHMM(3, kind, **settings).fit(X + offset, LENGTHS)
    tolerance = 1e-5 if offset < 1e7 else 1e-3
    order = np.argsort(near.means_[:, 0]), np.argsort(far.means_[:, 0])
    assert_allclose(far.means_[order[1]] - offset, near.means_[order[0]], rtol=0, atol=tolerance)
    assert_allclose(far.covars_[order[1]], near.covars_[order[0]], rtol=tolerance, atol=tolerance)


def test_an_impossible_sequence():
    """Its log-likelihood is -inf; posteriors, paths and fits are an error that names it."""
    model = CategoricalHMM(2, init_params="")
    model.startprob_, model.transmat_, model.emissionprob_ = [1, 0], np.eye(2), np.eye(2)
    X, lengths = [[0], [0], [0], [1], [0]], [2, 3]
    assert model.score(X, lengths) == -np.inf
    assert model.score(X[:2]) == 0
    for read in (model.predict_proba, model.predict, model.predict_next, model.score_samples):
        with pytest.raises(ValueError, match=r"sequence 1 \(rows 2 to 4\) has probability 0"):
            read(X, lengths)
    with pytest.raises(ValueError, match=r"sequence 1 .* under the first parameters"):
        model.fit(X, lengths)
    assert_array_equal(model.emissionprob_, np.eye(2))
    assert not hasattr(model, "converged_")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", [GaussianHMM, GMMHMM])
def test_constant_rows_do_not_collapse(cls, kind):
    """No variance falls below min_covar, in any direction."""
    X = np.repeat([[1.0, 1.0], [4.0, 4.0]], 40, axis=0)
    prior = {"covars_prior": 0} if cls is GaussianHMM else {}
    model = cls(2, covariance_type=kind, n_iter=30, min_covar=0.01, random_state=0, **prior).fit(X)
    covars = model.covars_
    if kind in ("full", "tied") or cls is GaussianHMM:
        assert np.linalg.eigvalsh(covars).min() >= 0.01 * (1 - 1e-9)
    else:
        assert covars.min() >= 0.01 * (1 - 1e-9)
    assert np.diff(model.monitor_.history).min() > -1e-9
    assert_allclose(np.unique(model.means_.round(6)), [1, 4])


def test_small_units_are_not_drowned():
    """min_covar is a part of the variance where that is below 1: returns of a stock, say."""
    fits = []
    for scale in (1e-3, 1.0):
        model = GaussianHMM(3, covars_prior=0, random_state=0, n_iter=30, init_params="stm")
        model.covars_ = np.full((3, 2), 2 * scale**2)
        fits.append(model.fit(scale * reals(), LENGTHS))
    small, usual = fits
    assert_allclose(small.transmat_, usual.transmat_, atol=1e-9)
    assert_allclose(small.covars_ * 1e6, usual.covars_, rtol=1e-8)


# ---- priors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [0.5, 0.0])
def test_dirichlet_priors_below_1_leave_zeros(prior):
    # The density is infinite where a probability is 0: the mode is there, the bound finite.
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, 3, (60, 1))
    models = [
        CategoricalHMM(2, n_iter=200, tol=1e-6, random_state=0, emissionprob_prior=prior),
        MultinomialHMM(2, n_iter=200, tol=1e-6, random_state=0, emissionprob_prior=prior),
    ]
    for model, X in zip(models, [symbols, np.eye(3)[symbols[:, 0]]], strict=True):
        model.fit(X)
        assert model.converged_
        assert np.all(np.isfinite(model.lower_bounds_))
        assert np.count_nonzero(model.emissionprob_ == 0) >= 2
        assert_allclose(model.emissionprob_.sum(axis=1), 1, atol=1e-12)
        # One iteration by hand: counts and pseudo-counts, nowhere below 0.
        weight = model.predict_proba(X)
        counts = np.stack([weight[symbols[:, 0] == s].sum(axis=0) for s in range(3)], axis=1)
        counts = np.maximum(counts + prior - 1, 0)
        assert_allclose(model.emissionprob_, counts / counts.sum(axis=1, keepdims=True), atol=2e-3)

    X = np.concatenate([rng.normal(size=(20, 2)), rng.normal(4, 1, (20, 2))])
    chain = GaussianHMM(2, n_iter=30, random_state=0, startprob_prior=prior, transmat_prior=prior)
    chain.fit(X, [20, 20] if prior else [10, 30])
    assert np.all(np.isfinite(chain.lower_bounds_))
    mixture = GMMHMM(2, n_mix=3, n_iter=30, random_state=0, weights_prior=prior).fit(X)
    assert np.all(np.isfinite(mixture.lower_bounds_))
    assert_allclose(mixture.weights_.sum(axis=1), 1, atol=1e-12)


def test_symbols_that_are_all_missing():
    model = CategoricalHMM(2, n_features=3, random_state=0).fit([[np.nan]] * 4)
    assert_allclose(model.emissionprob_, 1 / 3)
    assert_allclose(model.score([[0], [2]]), 2 * np.log(1 / 3))
    counts = MultinomialHMM(2, random_state=0).fit(np.zeros((4, 3), dtype=int))
    assert_allclose(counts.emissionprob_, 1 / 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_next_to_nobody_visits_a_state_with_a_prior(kind, seed):
    # With no rows against it the prior has no mode: variances went to 1e118 and back, or the
    # matrix of a state was that of its prior alone, which is singular. A bound that falls warns.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    X[20:40] += 4
    for scale, k in ((1e-4, 2), (1e-4, 4), (1.0, 4)):
        model = GaussianHMM(k, covariance_type=kind, n_iter=60, tol=1e-9, random_state=seed)
        model.fit(X * scale, [20, 40])
        assert np.all(np.isfinite(model.covars_))
        assert np.isfinite(model.score(X * scale))


def test_no_way_into_a_state_with_a_prior():
    X = np.random.default_rng(0).normal(size=(60, 2)) + np.arange(60)[:, None] // 20 % 2 * 4
    model = GaussianHMM(2, init_params="", tol=0)
    model.startprob_, model.transmat_ = [0.5, 0.5], np.eye(2)
    model.means_, model.covars_ = [[0, 0], [4, 4]], np.ones((2, 2))
    model.fit(X)
    visited = np.argmax(model.startprob_)
    assert_allclose(model.means_[visited], X.mean(axis=0))
    expected = X.var(axis=0) + model.covars_prior / len(X)
    assert_allclose(model.covars_[visited].diagonal(), expected)
    wide = model.covars_[1 - visited].diagonal()
    assert np.all((wide > 1000) & (wide < 1e5))
