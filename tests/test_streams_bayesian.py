"""partial_fit of Bayesian mixtures: stochastic variational inference."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from test_streams import UNSEEN, K, X, rows, stream

from fastem import (
    BayesianGaussianMixture,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("prior", ["dirichlet_process", "dirichlet_distribution"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_bayesian_mixtures(kind, prior):
    """Of more components than there are, those that nothing needs are given up, too."""
    mixture = BayesianGaussianMixture(
        K, covariance_type=kind, weight_concentration_prior_type=prior, random_state=0
    )
    five, unseen = clone(mixture).set_params(max_iter=5, tol=0).fit(X), UNSEEN
    streamed = stream(clone(mixture), X)
    assert streamed.score(unseen) > five.score(unseen) - 0.02
    seen = streamed.mean_precision_ - streamed.mean_precision_prior_
    assert_allclose(seen.sum(), len(X), rtol=1e-6)  # the posterior is of all that was seen
    few, data = clone(mixture).set_params(weight_concentration_prior=1e-3), rows(20_000, 3)
    data = data[0][data[1] < 3] * 4  # three clusters that lie apart
    assert (stream(few, data, 500).weights_ > 0.01).sum() < K


def test_a_bayesian_step_is_the_one_of_stochastic_variational_inference():
    """Hoffman, Blei, Wang & Paisley 2013, JMLR 14:1303: natural parameters move to the block's.

    There the number of rows is known, so here its share is taken out of them first.
    """
    mixture = BayesianGaussianMixture(
        2, covariance_type="diag", weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=0.3, mean_precision_prior=2.0, mean_prior=np.full(4, 0.1),
        degrees_of_freedom_prior=5.0, covariance_prior=np.ones(4), reg_covar=0, random_state=0,
        learning_decay=0.6, learning_offset=4.0,
    )  # fmt: skip
    mixture.partial_fit(X[:200])
    prior = np.array([0.3, 2.0, 5.0])[:, None]

    def natural(fitted):
        """Return what the rows have added to the prior's natural parameters, each per row."""
        seen = fitted.weight_concentration_ - 0.3
        counts = np.stack([fitted.weight_concentration_, fitted.mean_precision_,
                           fitted.degrees_of_freedom_]) - prior  # fmt: skip
        precision, means = fitted.mean_precision_[:, None], fitted.means_
        sums = precision * means - 2.0 * 0.1
        scale = fitted.covariances_ * fitted.degrees_of_freedom_[:, None]
        squares = scale + precision * means**2 - 1.0 - 2.0 * 0.1**2
        return [value / seen.sum() for value in (counts, sums, squares)]

    seen = 200
    for t in range(3):
        some, before = X[200 + 50 * t : 250 + 50 * t], natural(mixture)
        responsibilities = mixture.predict_proba(some)
        block = [
            np.tile(responsibilities.sum(axis=0) / 50, (3, 1)),
            responsibilities.T @ some / 50,
            responsibilities.T @ some**2 / 50,
        ]
        mixture.partial_fit(some)
        rho, seen = (t + 4.0) ** -0.6, seen + 50
        assert_allclose(mixture.weight_concentration_.sum(), 2 * 0.3 + seen, rtol=1e-9)
        for now, old, new in zip(natural(mixture), before, block, strict=True):
            assert_allclose(now, (1 - rho) * old + rho * new, rtol=1e-6, atol=1e-8)
    assert len(mixture.lower_bounds_) == mixture.n_iter_ == 3


def test_a_bayesian_stream_keeps_the_priors_that_it_began_with():
    mixture = BayesianGaussianMixture(2, random_state=0).partial_fit(X[:200])
    began = mixture.mean_prior_.copy(), mixture.covariance_prior_.copy()
    assert_allclose(began[0], X[:200].mean(axis=0))
    mixture.partial_fit(X[:600] + 3)
    assert_array_equal(mixture.mean_prior_, began[0])
    assert_array_equal(mixture.covariance_prior_, began[1])
    fitted = BayesianGaussianMixture(2, random_state=0).fit(X)
    began = fitted.mean_prior_.copy()
    fitted.partial_fit(X[:100] + 3).partial_fit(X[:500] + 3)
    assert_array_equal(fitted.mean_prior_, began)
    # The rows of the fit count: the posterior is as narrow as before.
    seen = (fitted.mean_precision_ - 1).sum()
    assert_allclose(seen, len(X) + 600, rtol=1e-6)
    fitted.set_params(weight_concentration_prior_type="dirichlet_distribution")
    with pytest.raises(ValueError, match="weight_concentration_prior_type must stay"):
        fitted.partial_fit(X[:100])


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_the_bound_of_a_bayesian_stream_is_that_of_the_rows_it_has_seen(kind):
    """With steps of 1 / (t + 1) and one block's rows alike, the sums are those of all rows."""
    mixture = BayesianGaussianMixture(
        1, covariance_type=kind, random_state=0, learning_decay=1.0, learning_offset=2.0,
        mean_prior=np.zeros(4), covariance_prior=None, reg_covar=0,
    ).partial_fit(X[:100])  # fmt: skip
    mixture.set_params(covariance_prior=mixture.covariance_prior_)
    for t in range(1, 4):
        mixture.partial_fit(X[100 * t : 100 * t + 100])
    whole = clone(mixture).fit(X[:400])
    assert_allclose(mixture.means_, whole.means_, rtol=1e-9)
    assert_allclose(mixture.covariances_, whole.covariances_, rtol=1e-9, atol=1e-12)
    assert mixture.lower_bound_ == pytest.approx(whole.lower_bound_, rel=1e-9)
