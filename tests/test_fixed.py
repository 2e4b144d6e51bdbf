"""Parameters of Gaussian mixtures that a fit leaves alone."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.stats import norm

from fastem import ConjugatePrior, GaussianMixture
from fastem.components.covariances import KINDS

every_kind = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(size=(60, 2)), 4 + RNG.normal(size=(40, 2))])
MEANS = np.array([[0.5, 0.0], [3.0, 4.5]])
WEIGHTS = np.array([0.3, 0.7])


def settings(kind, **more):
    """Return parameters with a whole start."""
    given = {
        "full": np.array([np.eye(2), 2 * np.eye(2)]), "tied": 1.5 * np.eye(2),
        "diag": np.array([[1.0, 2.0], [0.5, 1.0]]), "spherical": np.array([1.0, 2.0]),
    }  # fmt: skip
    return {
        "covariance_type": kind, "weights_init": WEIGHTS, "means_init": MEANS, "max_iter": 200,
        "precisions_init": given[kind], "reg_covar": 0, "tol": 1e-12, **more,
    }  # fmt: skip


@every_kind
@pytest.mark.parametrize("prior", [None, "conjugate"])
@pytest.mark.parametrize("name", ["weights", "means", "covariances"])
def test_what_is_fixed_stays_and_the_bound_rises(kind, prior, name):
    parameters = settings(kind, prior=prior)
    mixture = GaussianMixture(2, fixed=(name,), **parameters).fit(X)
    precisions = parameters["precisions_init"]
    inverse = np.linalg.inv(precisions) if KINDS[kind].dense else 1 / precisions
    value = {"weights": WEIGHTS, "means": MEANS, "covariances": inverse}
    for other, given in value.items():
        same = np.allclose(getattr(mixture, f"{other}_"), given, rtol=1e-12)
        assert same == (other == name)
    bounds = np.array(mixture.lower_bounds_)
    assert np.all(np.diff(bounds) > -1e-13 * np.abs(bounds[1:]))
    assert_allclose(mixture.weights_.sum(), 1)
    free = GaussianMixture(2, **parameters).fit(X)
    assert free.lower_bound_ > mixture.lower_bound_


def test_the_rest_has_the_largest_likelihood():
    """One feature: means fixed, against a numerical optimiser."""
    x = X[:, :1]
    mixture = GaussianMixture(
        2, fixed=["means"], means_init=[[0.5], [3.0]], covariance_type="diag", reg_covar=0,
        tol=1e-14, max_iter=5000, random_state=0,
    ).fit(x)  # fmt: skip

    def loss(vector):
        share = 1 / (1 + np.exp(-vector[0]))
        density = share * norm(0.5, np.exp(vector[1])).pdf(x)
        return -np.log(density + (1 - share) * norm(3.0, np.exp(vector[2])).pdf(x)).sum()

    best = minimize(loss, [0.0, 0.0, 0.0], tol=1e-10)
    assert_allclose(-best.fun / len(x), mixture.lower_bound_, rtol=1e-9)
    assert_allclose(np.exp(best.x[1:]) ** 2, mixture.covariances_[:, 0], rtol=1e-3)


@every_kind
def test_some_components_alone(kind):
    parameters, first = settings(kind), [True, False]
    fixed = {"weights": first, "means": first}
    if not KINDS[kind].shared:
        fixed["covariances"] = first
    mixture = GaussianMixture(2, fixed=fixed, **parameters).fit(X)
    assert_array_equal(mixture.means_[0], MEANS[0])
    assert_allclose(mixture.weights_, [0.3, 0.7])
    assert not np.allclose(mixture.means_[1], MEANS[1])
    if not KINDS[kind].shared:
        assert_allclose(mixture.precisions_[0], parameters["precisions_init"][0])
        assert not np.allclose(mixture.precisions_[1], parameters["precisions_init"][1])
    assert np.all(np.diff(mixture.lower_bounds_) > -1e-13)
    three = GaussianMixture(3, fixed={"weights": [True, False, False]}, random_state=0,
                            weights_init=[0.5, 0.2, 0.3]).fit(X)  # fmt: skip
    assert three.weights_[0] == 0.5
    assert_allclose(three.weights_.sum(), 1)


@every_kind
def test_a_fixed_component_may_have_samples_without_a_covariance(kind):
    if KINDS[kind].shared:
        return
    points = np.concatenate([np.zeros((5, 2)), X + 100])
    parameters = settings(kind, means_init=[[0.0, 0.0], [102.0, 102.0]], random_state=0)
    mixture = GaussianMixture(
        2, fixed={"covariances": [True, False], "means": [True, False]}, **parameters
    ).fit(points)
    assert_allclose(mixture.precisions_[0], parameters["precisions_init"][0])


def test_missing_values_and_priors_of_given_numbers():
    holes = X.copy()
    holes[::5, 0] = np.nan
    mixture = GaussianMixture(
        2, fixed=("means",), means_init=MEANS, prior=ConjugatePrior(scale=1.0), random_state=0
    ).fit(holes)
    assert_array_equal(mixture.means_, MEANS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"fixed": ("mean",)}, "fixed must name some of 'weights', 'means', 'covariances'"),
        ({"fixed": [["means"]]}, "fixed must name some of .* got \\['means'\\]"),
        ({"fixed": {"means": [[True], [True, False]]}, "means_init": MEANS}, "must be booleans"),
        ({"fixed": ("means",)}, "fixed has 'means', but means_init is None"),
        ({"fixed": {"covariances": True}}, "but precisions_init is None"),
        ({"fixed": {"means": [True]}, "means_init": MEANS}, r"booleans of shape \(2,\)"),
        ({"fixed": {"means": [1, 0]}, "means_init": MEANS}, r"booleans of shape \(2,\)"),
        ({"fixed": {"covariances": [True, False]}, "precisions_init": np.eye(2),
          "covariance_type": "tied"}, "True of all components"),
        ({"fixed": "means", "means_init": MEANS}, "'fixed' parameter"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(parameters, message):
    mixture = GaussianMixture(2, **parameters)
    with pytest.raises(ValueError, match=message):
        mixture.fit(X)
    assert not hasattr(mixture, "means_")


@pytest.mark.parametrize(
    ("fixed", "kind", "n_free"),
    [
        ((), "full", 1 + 4 + 6),
        (("means",), "full", 1 + 6),
        ({"means": [True, False]}, "full", 1 + 2 + 6),
        ({"weights": [True, False]}, "full", 4 + 6),
        ({"covariances": [True, False]}, "full", 1 + 4 + 3),
        (("covariances",), "tied", 1 + 4),
        (("weights", "means", "covariances"), "diag", 0),
    ],
)
def test_what_is_fixed_is_no_free_parameter(fixed, kind, n_free):
    precisions = {"full": np.array([np.eye(2)] * 2), "tied": np.eye(2), "diag": np.ones((2, 2))}
    mixture = GaussianMixture(
        2, covariance_type=kind, fixed=fixed, weights_init=[0.5, 0.5], means_init=MEANS,
        precisions_init=precisions[kind], random_state=0,
    ).fit(X)  # fmt: skip
    assert mixture.n_parameters == n_free
    gap = mixture.bic(X) - mixture.aic(X)
    assert_allclose(gap, n_free * (np.log(len(X)) - 2), atol=1e-8)
