"""Missing values beneath hidden Markov models: expected moments against brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from sklearn.base import clone
from test_chain import FAMILIES, chain_params, make, sequences

from fastem import GMMHMM, BernoulliHMM, GaussianHMM, PoissonHMM, em
from fastem.components import gaussian
from fastem.sequence.chain import ChainEM
from fastem.sequence.emissions import (
    GaussianEmissions,
)
from fastem.sequence.mixture_emissions import MixtureEmissions


@pytest.mark.parametrize("name", FAMILIES[:8])
def test_missing_values_are_marginalised(name):
    """The densities are those of what is there, and statistics what is expected of the rest."""
    rng = np.random.default_rng(12)
    family, emission, X = make(name, 2, 40, rng, n_features=3)
    X[rng.random(X.shape) < 0.3] = np.nan
    X[7] = np.nan
    mixture = name.startswith("mixture")
    gaussians = emission.gaussians if mixture else emission
    covariances = family.covariances(emission) if mixture else gaussian_covariances(emission, name)
    weights = emission.weights if mixture else np.ones((2, 1))
    means = gaussians.means.reshape(*weights.shape, 3)
    matrices = [
        [full_matrix(covariances, name, k, m) for m in range(weights.shape[1])] for k in range(2)
    ]
    logb, gamma = np.empty((40, 2)), rng.dirichlet(np.ones(2), 40)
    expected = [[Gathered(3) for _ in row] for row in matrices]
    for t, x in enumerate(X):
        seen = ~np.isnan(x)
        lp = np.array(
            [
                [marginal(x, seen, means[k, m], matrices[k][m]) for m in range(weights.shape[1])]
                for k in range(2)
            ]
        ) + np.log(weights)
        logb[t] = logsumexp(lp, axis=1)
        share = np.exp(lp - logb[t][:, None]) * gamma[t][:, None]
        for k, m in np.ndindex(weights.shape):
            if seen.any():
                expected[k][m].add(x, seen, means[k, m], matrices[k][m], share[k, m])
    block = family.block(X)
    assert_allclose(family.log_prob(emission, block), logb, rtol=1e-10, atol=1e-12)
    moments = family.statistics(emission, block, gamma).moments
    flat = [one for row in expected for one in row]
    full = np.array([one.scatter() for one in flat])
    assert_allclose(moments.weight, [one.weight for one in flat])
    assert_allclose(moments.mean, [one.first / one.weight for one in flat])
    kind = "full" if name == "mixture tied" else name.split()[-1]
    diagonal = full.diagonal(axis1=1, axis2=2)
    wanted = {
        "full": full, "tied": full.sum(axis=0), "diag": diagonal, "spherical": diagonal.sum(axis=1)
    }[kind]  # fmt: skip
    assert_allclose(moments.scatter, wanted, rtol=1e-9)
    params = chain_params(emission, 2, rng)
    floor = {"min_covar": 0.1}
    family = MixtureEmissions(kind_of(name), 3, **floor) if mixture else GaussianEmissions(name)
    result = em.fit(ChainEM(family), [sequences(family, X, [30, 10])], params, max_iter=10, tol=0)
    assert np.all(np.diff(result.lower_bounds) > -1e-9)


def kind_of(name):
    """Return the kind of covariances of a family of Gaussians."""
    return name.split()[-1]


def gaussian_covariances(emission, kind):
    """Return covariances as hmmlearn's GaussianHMM takes them."""
    return gaussian.covariances_of(emission, kind)


def full_matrix(covariances, name, k, m):
    """Return one covariance as a (D, D) matrix."""
    kind, mixture = kind_of(name), name.startswith("mixture")
    if kind == "tied":
        return covariances[k] if mixture else covariances
    own = covariances[k, m] if mixture else covariances[k]
    return own if kind == "full" else np.diag(np.broadcast_to(own, 3))


def marginal(x, seen, mean, covariance):
    """Return the log-density of what is there of a row."""
    z, own = (x - mean)[seen], covariance[np.ix_(seen, seen)]
    log_det = np.linalg.slogdet(own)[1] if seen.any() else 0.0
    return -0.5 * (seen.sum() * np.log(2 * np.pi) + log_det + z @ np.linalg.solve(own, z))


class Gathered:
    """Expected moments of one Gaussian, in the simplest way."""

    def __init__(self, d):
        self.weight, self.first, self.second = 0.0, np.zeros(d), np.zeros((d, d))

    def add(self, x, seen, mean, covariance, weight):
        """Add a row with what is missing expected."""
        lost = ~seen
        slope = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, lost)])
        z, rest = np.where(seen, x, mean), np.zeros(covariance.shape)
        z[lost] = mean[lost] + slope.T @ (x - mean)[seen]
        rest[np.ix_(lost, lost)] = (
            covariance[np.ix_(lost, lost)] - covariance[np.ix_(lost, seen)] @ slope
        )
        self.weight += weight
        self.first += weight * z
        self.second += weight * (np.outer(z, z) + rest)

    def scatter(self):
        """Return the scatter about the mean."""
        return self.second - np.outer(self.first, self.first) / self.weight


@pytest.mark.parametrize(
    "model",
    [
        GaussianHMM(2, random_state=0),
        GaussianHMM(2, prior="conjugate", random_state=0),
        GMMHMM(2, n_mix=2, random_state=0),
        PoissonHMM(2, random_state=0),
        BernoulliHMM(2, random_state=0),
    ],
    ids=repr,
)
def test_a_feature_of_nan_only_is_named(model):
    X = np.random.default_rng(0).integers(2, size=(60, 2)).astype(float)
    fitted = clone(model).fit(X)
    X[:, 1] = np.nan
    with pytest.raises(ValueError, match="feature 1 of X has no value but NaN"):
        model.fit(X)
    assert not hasattr(model, "transmat_")
    fitted.set_params(params="st", init_params="st").fit(X)  # which learns nothing of features
    assert np.all(np.isfinite(fitted.predict_proba(X)))
