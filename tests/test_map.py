"""Gaussian mixtures with a prior: the mode of the posterior, which never collapses."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime
from scipy.stats import invgamma, invwishart, multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import ConjugatePrior, GaussianMixture
from fastem.components.covariances import KINDS
from fastem.components.gaussian_data import GaussianBlock
from fastem.components.prior import resolve

every_kind = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def hostile(rng):
    """Return few samples on which maximum likelihood may collapse, and a number of components."""
    n, d = int(rng.integers(3, 40)), int(rng.integers(1, 5))
    X = rng.normal(size=(n, d))
    shape = rng.integers(5)
    if shape == 0:  # each three times
        X = np.repeat(X[: max(1, n // 3)], 3, axis=0)
    elif shape == 1:  # a lattice
        X = np.round(X)
    elif shape == 2:  # on a line, in units that differ
        X = X[:, :1] * 10.0 ** rng.integers(-6, 7, size=d) + 5
    elif shape == 3:  # a constant feature
        X[:, 0] = 3.0
    return X, int(rng.integers(1, min(6, len(X)) + 1))


def log_posterior(X, mixture, prior, kind):
    """Return log-likelihood + log-prior of a fitted mixture, by SciPy's densities."""
    k, d = mixture.means_.shape
    covariances = KINDS[kind].matrices(mixture.covariances_, k, d)
    densities = [
        multivariate_normal(m, c).pdf(X) for m, c in zip(mixture.means_, covariances, strict=True)
    ]
    value = np.log(mixture.weights_ @ densities).sum()
    for mean, covariance in zip(mixture.means_, covariances, strict=True):
        normal = multivariate_normal(prior.mean, covariance / prior.mean_precision)
        value += normal.logpdf(mean)
    nu, scale = prior.degrees_of_freedom, prior.scale
    own = mixture.covariances_
    if KINDS[kind].dense:
        for covariance in own.reshape(-1, d, d):
            value += invwishart(nu, np.diag(np.broadcast_to(scale, d))).logpdf(covariance)
    else:
        value += invgamma(nu / 2, scale=np.asarray(scale) / 2).logpdf(own).sum()
    return value + ((np.asarray(prior.weight_concentration) - 1) * np.log(mixture.weights_)).sum()


@every_kind
def test_never_collapses_and_the_bound_rises(kind):
    rng = np.random.default_rng(5)
    for _ in range(100):
        X, k = hostile(rng)
        mixture = GaussianMixture(
            k, covariance_type=kind, prior="conjugate", tol=0, max_iter=60, random_state=0,
            init_params="random",
        ).fit(X)  # fmt: skip
        bounds = np.array(mixture.lower_bounds_)
        assert np.all(np.diff(bounds) >= -1e-12 * np.maximum(1, np.abs(bounds[1:])))
        assert all(np.all(np.isfinite(v)) for v in (mixture.means_, mixture.covariances_))
        assert_allclose(mixture.weights_.sum(), 1)
        assert np.all(np.isfinite(mixture.predict_proba(X)))


def test_maximum_likelihood_fails_where_a_prior_does_not():
    X = np.repeat([[0.0, 0.0], [1.0, 1.0], [5.0, 2.0]], 3, axis=0)
    with pytest.raises(ValueError, match="ill-defined"):
        GaussianMixture(3, reg_covar=0, random_state=0).fit(X)
    GaussianMixture(3, prior="conjugate", random_state=0).fit(X)


@every_kind
def test_the_fit_is_a_maximum_of_the_posterior(kind):
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(size=(30, 2)), rng.normal(4, 2, size=(20, 2))])
    scale = 1.5 if kind == "spherical" else np.array([1.5, 0.7])
    prior = ConjugatePrior(np.array([1.0, 0.5]), 3.0, 7.0, scale, None, 2.5)
    mixture = GaussianMixture(
        2, covariance_type=kind, prior=prior, tol=1e-15, max_iter=3000, random_state=0
    ).fit(X)
    shape = mixture.means_.shape

    def moved(vector):
        other = clone(mixture)
        vars(other).update(vars(mixture))
        cut = np.split(vector, np.cumsum([mixture.means_.size, 1]))
        other.means_ = cut[0].reshape(shape)
        other.weights_ = np.array([cut[1][0], 1 - cut[1][0]])
        other.covariances_ = cut[2].reshape(mixture.covariances_.shape)
        if KINDS[kind].dense:
            other.covariances_ = (other.covariances_ + np.swapaxes(other.covariances_, -1, -2)) / 2
        return log_posterior(X, other, prior, kind)

    at = np.concatenate(
        [mixture.means_.ravel(), mixture.weights_[:1], mixture.covariances_.ravel()]
    )
    assert_allclose(approx_fprime(at, moved, 1e-6), 0, atol=2e-3)
    # The bound differs from the posterior density by a constant.
    early = clone(mixture).set_params(max_iter=1).fit(X)
    after = np.array(mixture.lower_bounds_) * len(X)
    assert_allclose(
        after[-1] - after[1],
        log_posterior(X, mixture, prior, kind) - log_posterior(X, early, prior, kind),
        atol=1e-7,
    )


@every_kind
def test_reg_covar_is_not_used(kind):
    X = np.random.default_rng(0).normal(size=(50, 3))
    fits = [
        GaussianMixture(
            2, covariance_type=kind, prior="conjugate", reg_covar=reg, random_state=0
        ).fit(X)
        for reg in (0.0, 1.0)
    ]
    assert_array_equal(fits[0].covariances_, fits[1].covariances_)


@every_kind
def test_weights_count_as_samples(kind):
    X = np.random.default_rng(0).normal(size=(40, 2))
    weight = np.random.default_rng(1).integers(1, 4, size=40)
    settings = {"covariance_type": kind, "prior": "conjugate", "init_params": "kmeans"}
    start = {"means_init": X[:2], "weights_init": [0.5, 0.5], "random_state": 0}
    start["precisions_init"] = KINDS[kind].precisions(KINDS[kind].unit(2, np.ones(2)))
    if kind == "full":
        start["precisions_init"] = np.tile(np.eye(2), (2, 1, 1))
    weighted = GaussianMixture(2, **settings, **start).fit(X, sample_weight=weight)
    repeated = GaussianMixture(2, **settings, **start).fit(np.repeat(X, weight, axis=0))
    assert_allclose(weighted.covariances_, repeated.covariances_, rtol=1e-9)
    small = GaussianMixture(2, **settings, **start).fit(X, sample_weight=weight * 2.0**-40)
    assert not np.allclose(small.means_, weighted.means_)  # the prior is all that counts
    assert_allclose(small.means_, X.mean(axis=0)[None] * [[1], [1]], atol=1)


def test_a_prior_does_not_depend_on_units():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 3))
    unit = np.array([1e-6, 1.0, 1e6])
    for kind in ("full", "tied", "diag"):
        fits = [
            GaussianMixture(2, covariance_type=kind, prior="conjugate", random_state=0,
                            means_init=means).fit(data)
            for data, means in ((X, X[:2]), (X * unit, X[:2] * unit))
        ]  # fmt: skip
        variances = [KINDS[kind].diagonal(f.covariances_) for f in fits]
        assert np.all(variances[1] > 0.02 * X.var(axis=0) * unit**2)


def test_the_scale_may_be_that_of_one_number_of_components():
    X = np.random.default_rng(0).normal(size=(30, 2))
    block = GaussianBlock.of(X, None)
    for_three, _ = resolve(ConjugatePrior(n_expected=3), "full", 5, block)
    own, _ = resolve(ConjugatePrior(), "full", 3, block)
    assert_allclose(for_three.scale, own.scale)
    assert_allclose(own.scale, np.diag(X.var(axis=0) / 3))


def test_constant_features_have_a_scale():
    X = np.column_stack([np.full(10, 0.1), np.arange(10.0)])
    prior, _ = resolve(ConjugatePrior(), "diag", 1, GaussianBlock.of(X, None))
    assert_allclose(prior.scale, [8.25, 8.25])
    constant, _ = resolve(ConjugatePrior(), "diag", 1, GaussianBlock.of(X[:, :1], None))
    assert_allclose(constant.scale, [1.0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"mean": [0.0]}, r"prior.mean must have shape \(2,\)"),
        ({"mean": [0.0, np.nan]}, "prior.mean must be finite"),
        ({"mean_precision": -1}, "prior.mean_precision must be a number at least 0"),
        ({"mean_precision": "much"}, "prior.mean_precision must be a number"),
        ({"degrees_of_freedom": 1.0}, "prior.degrees_of_freedom must be a number greater than 1"),
        ({"degrees_of_freedom": np.nan}, "prior.degrees_of_freedom"),
        ({"scale": 0.0}, "prior.scale must be positive definite"),
        ({"scale": [[1.0, 2.0], [2.0, 1.0]]}, "prior.scale must be positive definite"),
        ({"scale": np.ones(3)}, "prior.scale must be a number or of shape"),
        ({"n_expected": 0}, "prior.n_expected must be an integer of at least 1"),
        ({"n_expected": True}, "prior.n_expected must be an integer of at least 1, got True"),
        ({"mean_precision": True}, "prior.mean_precision must be a number at least 0, got True"),
        ({"weight_concentration": 0.5}, "prior.weight_concentration must be at least 1"),
        ({"weight_concentration": [1.0] * 3}, r"a number or of shape \(2,\)"),
    ],
)
def test_what_is_out_of_range_is_named(parameters, message):
    X = np.random.default_rng(0).normal(size=(20, 2))
    mixture = GaussianMixture(2, prior=ConjugatePrior(**parameters))
    with pytest.raises(ValueError, match=message):
        mixture.fit(X)
    assert not hasattr(mixture, "means_")


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="'prior' parameter"):
        GaussianMixture(prior="jeffreys").fit(np.eye(3))


def test_parameters_pickles_and_clones():
    prior = ConjugatePrior(scale=[1.0, 2.0])
    mixture = GaussianMixture(2, prior=prior, random_state=0)
    assert mixture.get_params()["prior"] is prior
    assert "scale=[1.0, 2.0]" in repr(clone(mixture).prior)
    X = np.random.default_rng(0).normal(size=(20, 2))
    fitted = pickle.loads(pickle.dumps(mixture)).fit(X)
    assert_array_equal(fitted.means_, mixture.fit(X).means_)


@every_kind
def test_threads_and_float32(kind):
    X = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    fits = [
        GaussianMixture(
            3, covariance_type=kind, prior="conjugate", random_state=0, n_jobs=n, max_iter=10
        ).fit(X)
        for n in (1, 2)
    ]
    assert_array_equal(fits[0].means_, fits[1].means_)
    wide = clone(fits[0]).fit(X.astype(np.float64))
    assert_allclose(fits[0].lower_bound_, wide.lower_bound_, rtol=1e-4)


def test_convergence_is_warned_of_as_ever():
    X = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.warns(ConvergenceWarning):
        GaussianMixture(2, prior="conjugate", max_iter=1, tol=0, random_state=0).fit(X)


def test_blocks_are_fitted_with_a_prior():
    X = np.random.default_rng(0).normal(size=(90, 2))
    settings = {"prior": "conjugate", "random_state": 0, "tol": 1e-8, "max_iter": 500}
    whole = GaussianMixture(2, **settings).fit(X)
    parts = GaussianMixture(2, **settings).fit(fastem.Blocks.from_arrays([X[:40], X[40:]]))
    assert_allclose(parts.lower_bound_, whole.lower_bound_, rtol=1e-5)
