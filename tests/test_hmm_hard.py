"""Fits of hidden Markov models where others fail: outliers, far from zero, states unvisited."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_hmm_fit import (
    KINDS,
    LENGTHS,
    _quiet,  # noqa: F401 (no warnings of hmmlearn's kind in the log)
    attributes,
    every,
    oracle,
    reals,
)

from fastem import (
    GMMHMM,
    CategoricalHMM,
    GaussianHMM,
    MultinomialHMM,
)


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
