"""Hidden Markov models of Gaussians with the prior that mixtures have."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import fastem
from fastem import GMMHMM, ConjugatePrior, GaussianHMM, GaussianMixture
from fastem.components.covariances import KINDS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_kind = pytest.mark.parametrize("kind", KINDS)
both = pytest.mark.parametrize("cls", [GaussianHMM, GMMHMM])


def sequences(seed=0, n=60, d=2):
    rng = np.random.default_rng(seed)
    means = np.repeat(3 * rng.normal(size=(3, d)), n // 3, axis=0)
    return means + rng.normal(size=means.shape)


def settings_of(cls):
    return {"n_mix": 2} if cls is GMMHMM else {}


@every_kind
def test_it_is_what_hmmlearn_s_parameters_say(kind):
    """The same numbers, said in either way, give the same fit to the last bit."""
    X, k, d = sequences(), 3, 2
    mean, kappa, nu, scale = np.array([0.5, -1.0]), 2.0, 6.0, np.array([0.8, 1.3])
    if kind == "spherical":
        scale = 0.9
    said = ConjugatePrior(mean, kappa, nu, scale)
    settings = {"n_components": k, "covariance_type": kind, "n_iter": 20, "random_state": 0}
    model = GaussianHMM(prior=said, **settings).fit(X)
    dense = KINDS[kind].dense
    count = {
        "full": nu + d + 2,
        "tied": nu + d + 1 + k,
        "diag": nu + 3,
        "spherical": (nu + 2) / d + 1,
    }[kind]
    covars = np.diag(scale) if dense else np.full(d, scale / d) if kind == "spherical" else scale
    other = GaussianHMM(
        means_prior=np.tile(mean, (k, 1)),
        means_weight=kappa,
        covars_prior=np.broadcast_to(covars, KINDS[kind].shape(k, d) if dense else (k, d)),
        covars_weight=count + (d if dense else 1),
        min_covar=0,
        **settings,
    )
    # min_covar is added to the variances of the start
    other.set_params(init_params="st", params="stmc")
    first = GaussianHMM(prior=said, **(settings | {"n_iter": 0})).fit(X)
    other.means_, other.covars_ = first.means_, first.covars_
    other.fit(X)
    assert_allclose(model.means_, other.means_, rtol=1e-12)
    assert_allclose(model.covars_, other.covars_, rtol=1e-12)
    assert_allclose(model.lower_bounds_, other.lower_bounds_, rtol=1e-12)


@every_kind
def test_one_state_is_a_mixture_of_one_component(kind):
    X = sequences()
    model = GaussianHMM(1, kind, prior="conjugate", n_iter=2).fit(X)
    mixture = GaussianMixture(1, covariance_type=kind, prior="conjugate").fit(X)
    assert_allclose(model.means_, mixture.means_, rtol=1e-12)
    own = KINDS[kind].matrices(mixture.covariances_, 1, 2)
    assert_allclose(model.covars_, own, rtol=1e-12)


@both
@every_kind
def test_the_bound_rises_and_nothing_collapses(cls, kind):
    rng = np.random.default_rng(5)
    for seed in range(15):
        X = sequences(seed, n=int(rng.integers(3, 12)) * 3, d=int(rng.integers(1, 4)))
        X = [np.repeat(X[: len(X) // 3], 3, axis=0), np.round(X), X * [1e-5], X][seed % 4]
        if seed % 5 == 0:
            X[:, 0] = 3.0
        model = cls(
            3, covariance_type=kind, prior="conjugate", n_iter=40, tol=-np.inf,
            random_state=seed, **settings_of(cls),
        ).fit(X)  # fmt: skip
        bounds = np.array(model.lower_bounds_)
        assert np.all(np.diff(bounds) >= -1e-11 * np.maximum(1, np.abs(bounds[1:])))
        assert np.all(np.isfinite(model.means_))
        assert np.all(np.isfinite(model.predict_proba(X)))


@both
@every_kind
def test_missing_values_weights_and_threads(cls, kind):
    X = sequences(n=90)
    X[np.random.default_rng(0).uniform(size=X.shape) < 0.2] = np.nan
    settings = {"covariance_type": kind, "prior": "conjugate", "random_state": 0, "n_iter": 8}
    settings |= {"tol": -np.inf, **settings_of(cls)}
    fits = [cls(2, n_jobs=n, **settings).fit(X, [30, 30, 30]) for n in (1, 2)]
    assert_array_equal(fits[0].means_, fits[1].means_)
    bounds = np.array(fits[0].lower_bounds_)
    assert np.all(np.diff(bounds) >= -1e-11 * np.abs(bounds[1:]))
    start = {"init_params": "", "params": "stmcw" if cls is GMMHMM else "stmc"}
    repeated, weighted = (clone(fits[0]).set_params(**start) for _ in range(2))
    for model in (repeated, weighted):
        for name in ("startprob_", "transmat_", "weights_", "means_", "covars_"):
            if hasattr(fits[0], name):
                setattr(model, name, getattr(fits[0], name))
    repeated.fit(np.vstack([X, X[:30]]), [30] * 4)
    weighted.fit(X, [30] * 3, sample_weight=[2, 1, 1])
    assert_allclose(weighted.means_, repeated.means_, rtol=1e-7)
    assert_allclose(weighted.covars_, repeated.covars_, rtol=1e-7)


def test_weights_of_mixtures_have_their_dirichlet():
    X = sequences(n=90)
    strong = ConjugatePrior(weight_concentration=[1e6, 3e6])
    model = GMMHMM(2, n_mix=2, prior=strong, n_iter=3, random_state=0).fit(X)
    assert_allclose(model.weights_, [[0.25, 0.75]] * 2, atol=1e-3)


@both
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": "jeffreys"}, "'prior' parameter"),
        ({"means_weight": 2.0}, "prior takes the place of means_weight: leave means_weight at"),
        ({"covars_prior": np.eye(2)}, "prior takes the place of covars_prior"),
        ({"prior": ConjugatePrior(scale=-1.0)}, "prior.scale must be positive"),
        ({"prior": ConjugatePrior(mean=[0.0])}, r"prior.mean must have shape \(2,\)"),
        ({"prior": ConjugatePrior(weight_concentration=[2.0] * 5)}, "weight_concentration"),
    ],
)
def test_what_cannot_be_is_said(cls, settings, message):
    model = cls(2, **({"prior": "conjugate"} | settings))
    with pytest.raises(ValueError, match=message):
        model.fit(sequences())
    assert not hasattr(model, "means_")


def test_states_have_no_weights_and_streams_no_prior():
    with pytest.raises(ValueError, match=r"must be 1 here, .*startprob_prior"):
        GaussianHMM(2, prior=ConjugatePrior(weight_concentration=2.0)).fit(sequences())
    with pytest.raises(ValueError, match="partial_fit takes no prior"):
        GaussianHMM(2, prior="conjugate").partial_fit(sequences())


@both
def test_blocks_and_pickles(cls):
    X = sequences(n=90)
    model = cls(2, prior="conjugate", random_state=0, n_iter=30, **settings_of(cls))
    whole = clone(model).fit(X, [30] * 3)
    parts = clone(model).fit(fastem.Blocks.from_arrays([X[:30], X[30:60], X[60:]]))
    assert_allclose(parts.lower_bounds_, whole.lower_bounds_, rtol=1e-10)
    again = pickle.loads(pickle.dumps(whole))
    assert_array_equal(again.fit(X, [30] * 3).means_, whole.means_)
