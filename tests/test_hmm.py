"""Hidden Markov models read against brute force: every path of short sequences, every class."""

import copy
import math
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastem

try:
    from reference import hmm as oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)

START = np.array([0.6, 0.3, 0.1])
TRANS = np.array([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.25, 0.35, 0.4]])
MEANS = np.array([[0.0, 0.5], [2.0, -1.0], [4.0, 3.0]])
FULL = np.array([[[1.0, 0.3], [0.3, 0.8]], [[0.5, -0.2], [-0.2, 1.5]], [[2.0, 0.9], [0.9, 1.0]]])
DIAG = np.array([[1.0, 0.5], [0.3, 2.0], [1.5, 0.7]])
COVARS = {"full": FULL, "tied": FULL[0], "diag": DIAG, "spherical": DIAG[:, 0]}
KINDS = tuple(COVARS)


def dense(kind):
    """Return the covariances of a kind as (3, 2, 2)."""
    return {
        "full": FULL,
        "tied": np.tile(FULL[0], (3, 1, 1)),
        "diag": DIAG[:, None] * np.eye(2),
        "spherical": DIAG[:, 0, None, None] * np.eye(2),
    }[kind]


def with_chain(model, **attributes):
    """Return the model with START, TRANS and what its states emit."""
    model.startprob_, model.transmat_ = START, TRANS
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def gaussian(kind):
    model = with_chain(
        fastem.GaussianHMM(3, kind, init_params="", n_iter=5), means_=MEANS, covars_=COVARS[kind]
    )
    return model, lambda X: oracle.log_gaussian(X, MEANS, dense(kind)), draw_reals


def mixture(kind):
    rng = np.random.default_rng(0)
    weights = np.array([[0.3, 0.7], [0.5, 0.5], [0.9, 0.1]])
    means = MEANS[:, None] + rng.normal(size=(3, 2, 2))
    covars = {
        "full": np.stack([FULL, FULL[::-1]], axis=1),
        "tied": FULL,
        "diag": np.stack([DIAG, DIAG[::-1]], axis=1),
        "spherical": DIAG,
    }[kind]
    whole = {
        "full": lambda: covars,
        "tied": lambda: np.repeat(covars[:, None], 2, axis=1),
        "diag": lambda: covars[..., None] * np.eye(2),
        "spherical": lambda: covars[..., None, None] * np.eye(2),
    }[kind]()
    model = with_chain(
        fastem.GMMHMM(3, 2, covariance_type=kind, init_params="", n_iter=5),
        weights_=weights, means_=means, covars_=covars,
    )  # fmt: skip
    return model, lambda X: oracle.log_gaussian_mixture(X, weights, means, whole), draw_reals


def categorical():
    p = np.array([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    model = with_chain(fastem.CategoricalHMM(3, init_params="", n_iter=5), emissionprob_=p)
    return model, lambda X: oracle.log_categorical(X, p), lambda r, n: r.integers(3, size=(n, 1))


def multinomial():
    p = np.array([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    model = with_chain(fastem.MultinomialHMM(3, init_params="", n_iter=5), emissionprob_=p)
    return model, lambda X: oracle.log_multinomial(X, p), lambda r, n: r.integers(5, size=(n, 3))


def poisson():
    rates = np.array([[0.5, 2.0], [3.0, 1.0], [6.0, 0.2]])
    model = with_chain(fastem.PoissonHMM(3, init_params="", n_iter=5), lambdas_=rates)
    return model, lambda X: oracle.log_poisson(X, rates), lambda r, n: r.integers(6, size=(n, 2))


def binomial(n_trials=4):
    p = np.array([[0.1, 0.5], [0.7, 0.2], [0.4, 0.9]])
    cls = fastem.BernoulliHMM if n_trials == 1 else fastem.BinomialHMM
    settings = {} if n_trials == 1 else {"n_trials": n_trials}
    model = with_chain(cls(3, init_params="", n_iter=5, **settings), emissionprob_=p)
    return (
        model,
        lambda X: oracle.log_binomial(X, p, n_trials),
        lambda r, n: r.integers(n_trials + 1, size=(n, 2)),
    )


def draw_reals(rng, n):
    return rng.normal(1.5, 2.5, (n, 2))


MODELS = {
    **{f"gaussian-{kind}": (gaussian, kind) for kind in KINDS},
    **{f"mixture-{kind}": (mixture, kind) for kind in KINDS},
    "categorical": (categorical,),
    "multinomial": (multinomial,),
    "poisson": (poisson,),
    "binomial": (binomial,),
    "bernoulli": (binomial, 1),
}


@pytest.fixture(params=MODELS)
def case(request):
    """Return a model with parameters, log b of its rows by the oracle, and a draw of rows."""
    make, *arguments = MODELS[request.param]
    return make(*arguments)


def lose(X, rng, share):
    """Return X with NaN for a share of its values."""
    X = X.astype(float)
    X[rng.random(X.shape) < share] = np.nan
    return X


# ---- every path ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [1, 2, 6])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0], ids=["whole", "some missing", "all missing"])
def test_what_is_read_equals_every_path(case, n_steps, share):
    """Score, posteriors and the best path are those over all K^T paths; NaN is marginalised."""
    model, log_b, draw = case
    rng = np.random.default_rng(n_steps)
    for _ in range(5):
        X = lose(draw(rng, n_steps), rng, share) if share else draw(rng, n_steps)
        total, gamma, _, best, path = oracle.every_path(START, TRANS, log_b(X))
        assert_allclose(model.score(X), total, rtol=1e-9, atol=1e-12)
        log_prob, posteriors = model.score_samples(X)
        assert log_prob == model.score(X)
        assert_allclose(posteriors, gamma, rtol=0, atol=1e-12)
        assert_array_equal(model.predict_proba(X), posteriors)
        log_prob, states = model.decode(X)
        assert_allclose(log_prob, best, rtol=1e-9, atol=1e-12)
        assert_array_equal(states, path)
        assert_array_equal(model.decode(X, algorithm="map")[1], gamma.argmax(axis=1))


def test_several_sequences_are_read_one_by_one(case):
    """Sequences end to end, as a list, or each alone give the same numbers."""
    model, _, draw = case
    rng = np.random.default_rng(0)
    parts = [draw(rng, n) for n in (4, 1, 7, 2)]
    X, lengths = np.concatenate(parts), [4, 1, 7, 2]
    alone = np.concatenate([model.predict_proba(part) for part in parts])
    assert_allclose(model.predict_proba(X, lengths), alone, rtol=0, atol=1e-13)
    assert_array_equal(model.predict_proba(parts), model.predict_proba(X, lengths))
    assert_allclose(model.score(X, lengths), sum(map(model.score, parts)), rtol=1e-12)
    assert model.score(parts) == model.score(X, lengths)
    assert_array_equal(model.predict(parts), np.concatenate([model.predict(p) for p in parts]))
    assert model.score(parts) != model.score(X)


def test_what_comes_next_is_a_further_row_that_is_missing(case):
    """predict_next is the posterior of one more row of NaN, and what the states then emit."""
    model, log_b, draw = case
    rng = np.random.default_rng(1)
    parts = [draw(rng, n) for n in (3, 5)]
    states, observation = model.predict_next(parts)
    for row, part in zip(states, parts, strict=True):
        longer = np.vstack([log_b(part), np.zeros(3)])
        assert_allclose(row, oracle.every_path(START, TRANS, longer)[1][-1], atol=1e-12)
    for k in range(3):  # each state's mean, from a sample that stays there
        stays = copy.copy(model)
        stays.transmat_ = np.eye(3)
        if hasattr(stays, "n_trials") and isinstance(stays, fastem.MultinomialHMM):
            stays.n_trials = 1
        rows = stays.sample(4000, random_state=0, currstate=k)[0]
        mean = stays._expectation(stays._fitted_values())[k]
        if isinstance(model, fastem.CategoricalHMM):
            rows = rows == np.arange(3)
        elif isinstance(model, fastem.BinomialHMM):
            rows = rows / model.n_trials
        assert_allclose(rows.mean(axis=0), mean, atol=0.12)
    assert_allclose(observation, states @ model._expectation(model._fitted_values()))


def test_criteria_count_free_parameters(case):
    """AIC and BIC are the log-likelihood with the number of free parameters."""
    model, _, draw = case
    X = draw(np.random.default_rng(0), 30)
    emission = {
        "GaussianHMM": {"full": 6 + 9, "tied": 6 + 3, "diag": 6 + 6, "spherical": 6 + 3},
        "GMMHMM": {"full": 15 + 18, "tied": 15 + 9, "diag": 15 + 12, "spherical": 15 + 6},
        "CategoricalHMM": 6, "MultinomialHMM": 6, "PoissonHMM": 6, "BinomialHMM": 6,
        "BernoulliHMM": 6,
    }[type(model).__name__]  # fmt: skip
    if isinstance(emission, dict):
        emission = emission[model.covariance_type]
    n_free = 2 + 6 + emission
    assert_allclose(model.aic(X, [10, 20]), -2 * model.score(X, [10, 20]) + 2 * n_free)
    assert_allclose(model.bic(X), -2 * model.score(X) + n_free * math.log(30))


def test_saving_keeps_every_answer(case):
    """A copy and a pickle answer with the same bits."""
    model, _, draw = case
    X = draw(np.random.default_rng(0), 40)
    model.fit(X)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.score(X) == model.score(X)
        assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        assert again.stop_reason_ == model.stop_reason_
        assert list(again.monitor_.history) == list(model.monitor_.history)
