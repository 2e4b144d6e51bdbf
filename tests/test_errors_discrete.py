"""Standard errors of discrete mixtures, and of hidden Markov models beyond the Gaussian one."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError
from test_errors_and_summary import hessian_errors

from fastem import (
    GMMHMM,
    BernoulliHMM,
    BernoulliMixture,
    BinomialHMM,
    BinomialMixture,
    CategoricalHMM,
    CategoricalMixture,
    MultinomialHMM,
    MultinomialMixture,
    PoissonHMM,
    PoissonMixture,
)

P = np.array([[0.1, 0.8, 0.3, 0.6, 0.2], [0.7, 0.2, 0.6, 0.25, 0.9]])
SHARES = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])


def shares_of(first):
    """Return shares whose last is what the others leave."""
    return np.concatenate([first, 1 - first.sum(axis=-1, keepdims=True)], axis=-1)


def whole(values):
    """Return free numbers, and the way back."""
    return values.ravel(), lambda x: x.reshape(values.shape)


def shares(values):
    """As `whole`, of shares, the last of which is not free."""
    first = values[..., :-1]
    return first.ravel(), lambda x: shares_of(x.reshape(first.shape))


def drawn(family, n=400, seed=0):
    rng = np.random.default_rng(seed)
    k = np.repeat([0, 1], [n // 3, n - n // 3])
    if family == "bernoulli":
        return (rng.uniform(size=(n, 5)) < P[k]).astype(float)
    if family == "binomial":
        return rng.binomial(6, P[k])
    if family == "poisson":
        return rng.poisson(6 * P[k])
    if family == "multinomial":
        return np.array([rng.multinomial(9, SHARES[i]) for i in k])
    return np.array([rng.choice(3, size=5, p=SHARES[i]) for i in k])


MIXTURES = {
    "bernoulli": (BernoulliMixture, {}, "probabilities", whole),
    "binomial": (BinomialMixture, {"n_trials": 6}, "probabilities", whole),
    "poisson": (PoissonMixture, {}, "rates", whole),
    "multinomial": (MultinomialMixture, {}, "probabilities", shares),
    "categorical": (CategoricalMixture, {}, "probabilities", shares),
}


def at_maximum(family, X, weight=None, **settings):
    make, own, *_ = MIXTURES[family]
    fixed = {"tol": 1e-12, "max_iter": 20_000, "random_state": 0}
    return make(2, **own, **fixed, **settings).fit(X, sample_weight=weight)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("family", MIXTURES)
def test_errors_are_those_of_the_second_derivative(family, missing):
    X = drawn(family).astype(float)
    if missing:
        if family == "multinomial":
            pytest.skip("shares of a total have no missing values")
        X[np.random.default_rng(1).uniform(size=X.shape) < 0.1] = np.nan
    mixture = at_maximum(family, X)
    name, free = MIXTURES[family][2:]
    errors = mixture.standard_errors(X)
    x, back = free(getattr(mixture, f"{name}_"))

    def log_likelihood(at):
        mixture.weights_ = np.array([at[0], 1 - at[0]])
        setattr(mixture, f"{name}_", back(at[1:]))
        return mixture.score(X) * len(X)

    expected = hessian_errors(log_likelihood, np.append(mixture.weights_[0], x))
    own = getattr(errors, name)
    assert_allclose(errors.weights, expected[0], rtol=1e-4)
    own = own[..., :-1] if free is shares else own
    assert_allclose(own.ravel(), expected[1:], rtol=1e-4)


def test_weights_count_samples():
    X = drawn("poisson")
    mixture = at_maximum("poisson", X)
    one, four = mixture.standard_errors(X), mixture.standard_errors(X, np.full(len(X), 4.0))
    assert_allclose(one.rates, 2 * four.rates, rtol=1e-6)
    assert_allclose(one.weights, 2 * four.weights, rtol=1e-6)


def test_what_is_at_its_bound_or_fixed_has_no_error():
    X = drawn("poisson")
    X[:133, 0], X[133:, 0] = 0, X[133:, 0] + 60
    mixture = at_maximum("poisson", X, fixed_weights=True, weights_init=[1 / 3, 2 / 3])
    errors = mixture.standard_errors(X)
    zero = mixture.rates_ < 1e-8
    assert zero.any()
    assert np.all(np.isnan(errors.rates) == zero)
    assert np.all(np.isnan(errors.weights))
    lacks = drawn("categorical")
    lacks[:, 0] = np.minimum(lacks[:, 0], 1)
    own = at_maximum("categorical", lacks)
    assert np.all(np.isnan(own.standard_errors(lacks).probabilities[:, 0, 2]))
    lines = own.summary(lacks, standard_errors=True).splitlines()
    names = {line.split("  ")[0] for line in lines}
    assert {"0 weight", "0 x0 = 1", "1 x4 = 2"} <= names
    assert "0 x0 = 2" not in names


def test_errors_need_a_fit_and_a_maximum():
    with pytest.raises(NotFittedError):
        PoissonMixture(2).standard_errors(drawn("poisson"))
    X = drawn("bernoulli")[:, :1]  # two Bernoulli components of one feature are one
    with pytest.raises(ValueError, match=r"not positive definite.*bootstrap"):
        BernoulliMixture(2, random_state=0).fit(X).standard_errors(X)


# ---- hidden Markov models ----------------------------------------------------------------------


def chains(draw, n=16, length=80, seed=3):
    """Return sequences of two states, which draw(state, rng) rows."""
    rng = np.random.default_rng(seed)
    states = np.cumsum(rng.uniform(size=(n, length)) < 0.1, axis=1) % 2
    states[::2] ^= 1
    return [np.array([draw(state, rng) for state in row]) for row in states]


def two_peaks(state, rng):
    return rng.normal([-5, -2, 2, 5][2 * state + rng.integers(2)], 0.7, size=1)


def mixture_parts(model):
    """Return the free numbers of a GMMHMM of 2 x 2 Gaussians, and the way back."""
    n = model.means_.size
    x = np.concatenate([model.weights_[:, 0], model.means_.ravel(), model.covars_.ravel()])

    def back(x):
        return {
            "weights_": np.stack([x[:2], 1 - x[:2]], axis=1),
            "means_": x[2 : 2 + n].reshape(model.means_.shape),
            "covars_": x[2 + n :].reshape(model.covars_.shape),
        }

    return x, back


def one_part(name, free):
    """Return the same of a model of one attribute."""

    def parts(model):
        x, back = free(getattr(model, name))
        return x, lambda x: {name: back(x)}

    return parts


HMMS = {
    "bernoulli": (BernoulliHMM(2), lambda s, rng: rng.uniform(size=3) < P[s, :3],
                  one_part("emissionprob_", whole)),
    "binomial": (BinomialHMM(2, 6), lambda s, rng: rng.binomial(6, P[s, :2]),
                 one_part("emissionprob_", whole)),
    "poisson": (PoissonHMM(2), lambda s, rng: rng.poisson(8 * P[s, :2]),
                one_part("lambdas_", whole)),
    "categorical": (CategoricalHMM(2), lambda s, rng: rng.choice(3, size=1, p=SHARES[s]),
                    one_part("emissionprob_", shares)),
    "multinomial": (MultinomialHMM(2), lambda s, rng: rng.multinomial(5, SHARES[s]),
                    one_part("emissionprob_", shares)),
    **{
        f"mixture {kind}": (GMMHMM(2, 2, covariance_type=kind), two_peaks, mixture_parts)
        for kind in ("full", "tied", "diag", "spherical")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HMMS)
def test_errors_of_an_hmm_are_those_of_the_second_derivative(name, caplog):
    model, draw, parts = HMMS[name]
    X = chains(draw)
    model.set_params(n_iter=5000, tol=1e-10, n_init=5, random_state=0).fit(X)
    errors = model.standard_errors(X)
    own, back = parts(model)
    table = model.summary(X, standard_errors=True)

    def log_likelihood(x):
        model.startprob_ = np.array([x[0], 1 - x[0]])
        model.transmat_ = np.array([[1 - x[1], x[1]], [x[2], 1 - x[2]]])
        for attribute, value in back(x[3:]).items():
            setattr(model, attribute, value)
        return model.score(X)

    p = model.transmat_
    x = np.concatenate([[model.startprob_[0], p[0, 1], p[1, 0]], own])
    expected = hessian_errors(log_likelihood, x)
    assert_allclose(errors.startprob, expected[0], rtol=1e-3)
    assert_allclose(errors.transmat[[0, 1], [1, 0]], expected[1:3], rtol=1e-3)
    found = [getattr(errors, field) for field in errors._fields[2:]]
    if name in ("categorical", "multinomial"):
        found[0] = found[0][:, :-1]
    if name.startswith("mixture"):
        found[0] = found[0][:, 0]
    assert_allclose(np.concatenate([np.ravel(part) for part in found]), expected[3:], rtol=1e-3)
    rows = [line for line in table.splitlines() if re.match(r"\d( \d| to|\b)", line)]
    widths = {"mixture": 4 + 4 + 4 + len(np.ravel(found[-1]))}
    n_values = widths.get(name.split()[0], 4 + errors[2].size)
    assert len(rows) == n_values


def test_icl_is_the_likelihood_of_the_path():
    X = chains(HMMS["poisson"][1])
    model = PoissonHMM(2, n_iter=200, random_state=0).fit(X)
    path = sum(model.decode(x)[0] for x in X)
    likelihood = sum(model.score(x) for x in X)
    assert model.icl(X) - model.bic(X) == pytest.approx(2 * (likelihood - path))
    assert model.icl(X) > model.bic(X)
    doubled = PoissonHMM(4, n_iter=1, init_params="", params="")
    doubled.startprob_ = np.repeat(model.startprob_ / 2, 2)
    doubled.transmat_ = np.repeat(np.repeat(model.transmat_ / 2, 2, axis=0), 2, axis=1)
    doubled.lambdas_ = np.repeat(model.lambdas_, 2, axis=0)
    assert doubled.score(X) == pytest.approx(model.score(X))
    gap = doubled.icl(X) - doubled.bic(X) - (model.icl(X) - model.bic(X))
    assert gap == pytest.approx(2 * len(X) * len(X[0]) * np.log(2))  # twins tell nothing
