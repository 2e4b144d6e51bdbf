"""Reading a mixture: conditioning, marginals, regression, ICL, uncertainty, merging, order."""

import pickle
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from fastem import (
    BayesianGaussianMixture,
    BernoulliMixture,
    BinomialMixture,
    CategoricalMixture,
    GaussianMixture,
    MultinomialMixture,
    PoissonMixture,
)

KINDS = ("full", "tied", "diag", "spherical")
IRIS = load_iris().data
every_kind = pytest.mark.parametrize("kind", KINDS)


def fitted(kind="full", k=3, **settings):
    return GaussianMixture(k, covariance_type=kind, random_state=0, **settings).fit(IRIS)


def dense(mixture):
    """Covariances, (K, D, D), of any kind."""
    k, d = mixture.means_.shape
    c = mixture.covariances_
    return {
        "full": lambda: c,
        "tied": lambda: np.broadcast_to(c, (k, d, d)),
        "diag": lambda: c[:, :, None] * np.eye(d),
        "spherical": lambda: c[:, None, None] * np.eye(d),
    }[mixture.covariance_type]()


def textbook(mixture, known, x):
    """Return weights, means and covariances of the others given x, by Bishop 2.81 and 2.82."""
    rest = [j for j in range(mixture.means_.shape[1]) if j not in known]
    weights, means, covariances = [], [], []
    for weight, mean, cov in zip(mixture.weights_, mixture.means_, dense(mixture), strict=True):
        aa, ba = cov[np.ix_(known, known)], cov[np.ix_(rest, known)]
        gain = ba @ np.linalg.inv(aa)
        weights.append(weight * multivariate_normal(mean[known], aa).pdf(x))
        means.append(mean[rest] + gain @ (x - mean[known]))
        covariances.append(cov[np.ix_(rest, rest)] - gain @ ba.T)
    return np.array(weights) / sum(weights), np.array(means), np.array(covariances)


# ---- some features, given others ---------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("known", [[0], [3, 1], [0, 1, 2]])
def test_condition_is_the_textbooks(kind, known):
    mixture, x = fitted(kind), IRIS[70][known] + 0.1
    given = mixture.condition(known, x)
    weights, means, covariances = textbook(mixture, known, x)
    assert given.covariance_type == kind
    assert_allclose(given.weights_, weights, rtol=1e-9)
    assert_allclose(given.means_, means, rtol=1e-9)
    assert_allclose(dense(given), covariances, rtol=1e-8, atol=1e-12)
    # p(a, b) = p(a) p(b | a)
    rest = [j for j in range(4) if j not in known]
    whole = IRIS.copy()
    whole[:, known] = x
    joint = mixture.score_samples(whole)
    both = mixture.marginal(known).score_samples(x[None]) + given.score_samples(whole[:, rest])
    assert_allclose(both, joint, rtol=1e-9, atol=1e-9)


@every_kind
def test_marginal_has_the_density_of_its_features(kind):
    mixture, columns = fitted(kind), [2, 0]
    some, X = mixture.marginal(columns), IRIS[:, columns]
    expected = sum(
        weight * multivariate_normal(mean[columns], cov[np.ix_(columns, columns)]).pdf(X)
        for weight, mean, cov in zip(mixture.weights_, mixture.means_, dense(mixture), strict=True)
    )  # fmt: skip
    assert_allclose(some.score_samples(IRIS[:, columns]), np.log(expected), rtol=1e-9)
    assert_array_equal(some.weights_, mixture.weights_)
    assert_allclose(mixture.marginal(range(4)).score_samples(IRIS), mixture.score_samples(IRIS))
    again = pickle.loads(pickle.dumps(some))
    assert_array_equal(again.predict(IRIS[:, columns]), some.predict(IRIS[:, columns]))
    assert some.sample(3)[0].shape == (3, 2)


@every_kind
def test_regression_is_the_mean_of_the_conditional_mixture(kind):
    mixture, known = fitted(kind), [1, 3]
    mean, std = mixture.predict_mean(IRIS[:, known], known, return_std=True)
    assert_array_equal(mixture.predict_mean(IRIS[:, known], given=known), mean)
    for i in (0, 60, 149):
        weights, means, covariances = textbook(mixture, known, IRIS[i, known])
        expected = weights @ means
        variance = weights @ (
            covariances.diagonal(axis1=1, axis2=2) + (means - expected) ** 2
        )  # fmt: skip
        assert_allclose(mean[i], expected, rtol=1e-9)
        assert_allclose(std[i], np.sqrt(variance), rtol=1e-8)


def test_regression_of_many_samples_in_parts(monkeypatch):
    mixture = fitted()
    mean, std = mixture.predict_mean(IRIS[:, [0]], 0, return_std=True)
    monkeypatch.setattr(
        "fastem.mixture.gaussian_reading.parts",
        lambda n, width: [slice(0, 7), slice(7, 100), slice(100, n)],
    )
    again = mixture.predict_mean(IRIS[:, [0]], 0, return_std=True)
    assert_allclose(again[0], mean, rtol=1e-13)
    assert_allclose(again[1], std, rtol=1e-13)


def test_one_component_is_linear_regression():
    mixture = fitted(k=1, reg_covar=0)
    A = np.column_stack([np.ones(150), IRIS[:, :3]])
    coefficients, residue = np.linalg.lstsq(A, IRIS[:, 3])[:2]
    mean, std = mixture.predict_mean(IRIS[:, :3], [0, 1, 2], return_std=True)
    assert_allclose(mean[:, 0], A @ coefficients, rtol=1e-9)
    assert_allclose(std[:, 0], np.sqrt(residue[0] / 150), rtol=1e-9)


def exact_slopes(U, known, rest):
    """Return what x - mean adds to the others' means, in rational numbers: -P_bb^-1 P_ba."""
    d = len(U)
    F = [[Fraction(float(value)) for value in row] for row in U]
    P = [[sum(F[i][m] * F[j][m] for m in range(d)) for j in range(d)] for i in range(d)]
    rows = [[P[i][j] for j in rest] + [-P[i][j] for j in known] for i in rest]
    n = len(rows)
    for i in range(n):  # Gauss and Jordan
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in range(n):
            if j != i:
                rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    return np.array([[float(value) for value in row[n:]] for row in rows])


def test_no_digits_are_lost_where_a_component_is_flat():
    """Condition 1e14, exact in rational numbers; solving with covariances keeps half the digits."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    factor = basis * np.array([1e-3, 1e3, 2e3, 5e3, 1e4])  # of a precision of condition 1e14
    U = np.linalg.qr(factor[::-1].T)[1].T[::-1, ::-1]
    U = U * np.sign(np.diag(U))
    known, rest = [3, 0], [1, 2, 4]
    exact = exact_slopes(U, known, rest)
    mixture = GaussianMixture(1)
    mixture.weights_, mixture.means_ = np.ones(1), np.zeros((1, 5))
    mixture.precisions_cholesky_ = U[None]
    for i in range(2):
        x = np.eye(2)[i]
        assert_allclose(mixture.condition(known, x).means_[0], exact[:, i], rtol=1e-13)
        assert_allclose(mixture.predict_mean(x[None], known)[0], exact[:, i], rtol=1e-13)
    covariance = np.linalg.inv(U @ U.T)
    aa, ba = covariance[np.ix_(known, known)], covariance[np.ix_(rest, known)]
    assert np.abs((ba @ np.linalg.inv(aa)) / exact - 1).max() > 1e-9  # what is avoided


def test_features_by_name():
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    table = pd.DataFrame(IRIS, columns=names)
    mixture = GaussianMixture(3, random_state=0).fit(table)
    plain = fitted()
    given = mixture.condition("petal width", 1.3)
    assert_array_equal(given.feature_names_in_, names[:3])
    assert_array_equal(given.means_, plain.condition(3, 1.3).means_)
    assert given.n_features_in_ == 3
    assert_array_equal(
        mixture.marginal(["petal width", "sepal length"]).feature_names_in_, [names[3], names[0]]
    )
    expected = plain.predict_mean(IRIS[:, [3, 0]], [3, 0])
    for X in (table, table[[names[1], names[0], names[3]]]):  # columns are found by name
        assert_array_equal(mixture.predict_mean(X, [names[3], names[0]]), expected)
    with pytest.raises(ValueError, match="no column 'petal width', which given has"):
        mixture.predict_mean(table[names[:3]], "petal width")


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda m: m.condition([0, 1, 2, 3], IRIS[0]), ValueError, "all 4 features"),
        (lambda m: m.condition(0, "x"), ValueError, "values must be numbers, got 'x'"),
        (lambda m: m.condition(0, ["x"]), ValueError, r"values must be numbers, got \['x'\]"),
        (lambda m: m.condition(0, [[1.0]]), ValueError, "values must have one number for each"),
        (
            lambda m: m.predict_mean(IRIS[:, :1], 0, return_std="no"),
            TypeError,
            "return_std must be True or False",
        ),
        (lambda m: m.predict_mean(IRIS, given=range(4)), ValueError, "given has all 4 features"),
        (lambda m: m.condition([], []), ValueError, "one feature at least"),
        (lambda m: m.condition(4, 1.0), ValueError, "from 0 to 3, got 4"),
        (lambda m: m.condition(-1, 1.0), ValueError, "from 0 to 3, got -1"),
        (lambda m: m.condition([1, 1], [1.0, 1.0]), ValueError, "each feature once"),
        (lambda m: m.condition("length", 1.0), ValueError, "fit saw no names"),
        (lambda m: m.condition([True], [1.0]), TypeError, "numbers or names"),
        (lambda m: m.condition(1.0, 1.0), TypeError, "numbers or names"),
        (lambda m: m.condition(1, [1.0, 2.0]), ValueError, "one number for each of the 1"),
        (lambda m: m.condition(1, np.nan), ValueError, "values contains NaN"),
        (lambda m: m.condition(1, 1e300), ValueError, "too far|overflow"),
        (lambda m: m.marginal(4), ValueError, "from 0 to 3"),
        (lambda m: m.predict_mean(IRIS, given=[0, 1]), ValueError, "2 features of given .* got 4"),
        (lambda m: m.merge(IRIS, 0), ValueError, "from 1 to 3"),
        (lambda m: m.merge(IRIS, 4), ValueError, "from 1 to 3"),
        (lambda m: m.reorder("means"), ValueError, "'weight' or"),
        (lambda m: m.reorder([0, 1, 1]), ValueError, "each number from 0 to 2 once"),
        (lambda m: m.reorder([True, False, True]), ValueError, "each number from 0 to 2 once"),
        (lambda m: m.reorder([2.0, 1.0, 0.0]), ValueError, "each number from 0 to 2 once"),
        (lambda m: m.merge(IRIS, True), ValueError, "n_clusters must be an integer.*got True"),
        (lambda m: m.reorder(None), ValueError, "each number from 0 to 2 once, got None"),
    ],
)
def test_what_cannot_be_read_is_said(call, error, match):
    with pytest.raises(error, match=match):
        call(fitted())


def test_unknown_name_lists_the_names():
    mixture = GaussianMixture(1).fit(pd.DataFrame(IRIS[:, :2], columns=["a", "b"]))
    with pytest.raises(ValueError, match="has 'c', but fit saw a, b"):
        mixture.condition("c", 1)


@pytest.mark.parametrize(
    "name", ["condition", "marginal", "predict_mean", "icl", "entropy", "uncertainty", "merge"]
)
def test_unfitted(name):
    arguments = {"condition": (0, 1.0), "marginal": (0,), "predict_mean": (IRIS, 0)}
    with pytest.raises(NotFittedError):
        getattr(GaussianMixture(), name)(*arguments.get(name, (IRIS,)))
    with pytest.raises(NotFittedError):
        _ = GaussianMixture().n_parameters


@every_kind
def test_of_a_bayesian_mixture_the_expected_parameters_are_read(kind):
    bayesian = BayesianGaussianMixture(3, covariance_type=kind, random_state=0).fit(IRIS)
    plain = GaussianMixture(3, covariance_type=kind)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        setattr(plain, name, getattr(bayesian, name))
    given, expected = bayesian.condition([1], [3.0]), plain.condition([1], [3.0])
    assert type(given) is GaussianMixture
    assert_array_equal(given.weights_, expected.weights_)
    assert_array_equal(given.means_, expected.means_)
    assert_array_equal(given.covariances_, expected.covariances_)


def test_float32_stays():
    mixture = GaussianMixture(2, random_state=0).fit(IRIS.astype(np.float32))
    assert mixture.condition(0, 5.0).means_.dtype == np.float32
    assert mixture.marginal(0).covariances_.dtype == np.float32


# ---- entropy, criteria -------------------------------------------------------------------------

COUNTS = np.random.default_rng(0).poisson(np.repeat([[1, 5, 2], [4, 2, 2]], 40, axis=0))
DISCRETE = {
    BernoulliMixture(2): COUNTS > 2,
    BinomialMixture(2, n_trials=20): COUNTS,
    CategoricalMixture(2): COUNTS,
    MultinomialMixture(2): COUNTS,
    PoissonMixture(2): COUNTS,
}
EVERY = [
    *(pytest.param(GaussianMixture(2, covariance_type=kind), IRIS, id=kind) for kind in KINDS),
    pytest.param(BayesianGaussianMixture(2), IRIS, id="bayesian"),
    *(pytest.param(m, X, id=type(m).__name__) for m, X in DISCRETE.items()),
]


@pytest.mark.parametrize(("mixture", "X"), EVERY)
def test_entropy_and_uncertainty_are_those_of_the_responsibilities(mixture, X):
    r = mixture.set_params(random_state=0).fit(X).predict_proba(X)
    weight = np.random.default_rng(1).uniform(0, 3, len(X))
    each = -np.sum(np.where(r > 0, r * np.log(np.where(r > 0, r, 1)), 0), axis=1)
    assert_allclose(mixture.entropy(X), each.sum(), rtol=1e-10)
    assert_allclose(mixture.entropy(X, weight), weight @ each, rtol=1e-10)
    assert_allclose(mixture.uncertainty(X), 1 - r.max(axis=1), atol=1e-12)
    if hasattr(mixture, "bic"):
        assert_allclose(mixture.icl(X), mixture.bic(X) + 2 * each.sum())
        assert_allclose(mixture.icl(X, weight), mixture.bic(X, weight) + 2 * weight @ each)
        n, total = len(X), mixture.score_samples(X).sum()
        expected = (mixture.bic(X) + 2 * total) / np.log(n)
        assert mixture.n_parameters == round(expected)
    else:
        assert not hasattr(mixture, "icl")


def test_entropy_in_parts(monkeypatch):
    mixture = fitted()
    whole, unsure = mixture.entropy(IRIS), mixture.uncertainty(IRIS)
    monkeypatch.setattr("fastem.mixture.reading._PART", 30)
    assert_allclose(mixture.entropy(IRIS), whole, rtol=1e-12)
    assert_allclose(mixture.uncertainty(IRIS), unsure, atol=1e-14)
    assert_array_equal(mixture.merge(IRIS, 2).clusters, [0, 1, 0])  # setosa stays apart


# ---- merging, order, sampling ------------------------------------------------------------------


def test_merge_joins_what_overlaps():
    """A ring of components around one cluster, and one far away."""
    rng = np.random.default_rng(0)
    cross = rng.normal(size=(400, 2)) * np.repeat([[5, 0.3], [0.3, 5]], 200, axis=0)
    X = np.vstack([cross, rng.normal([30, 0], size=(200, 2))])
    mixture = GaussianMixture(3, random_state=0, n_init=5).fit(X)
    merging = mixture.merge(X, 2)
    truth = np.repeat([0, 1], [400, 200])
    labels = (mixture.predict_proba(X) @ merging.membership).argmax(axis=1)
    labels = labels if labels[0] == 0 else 1 - labels
    assert (labels == truth).mean() == 1
    assert_allclose(merging.entropies[0], mixture.entropy(X))
    assert merging.entropies[1] < 0.01 * merging.entropies[0]
    assert len(mixture.merge(X).entropies) == 3
    assert_allclose(mixture.merge(X).entropies[-1], 0, atol=1e-9)
    assert mixture.merge(X).clusters.tolist() == [0, 0, 0]
    assert mixture.merge(X, 3).clusters.tolist() == [0, 1, 2]


def test_merge_takes_the_best_pair_at_each_step():
    """Against all pairs by brute force, with weights."""
    mixture, rng = fitted(k=5), np.random.default_rng(2)
    weight = rng.uniform(0, 2, len(IRIS))
    r = mixture.predict_proba(IRIS)

    def entropy(columns):
        c = np.maximum(columns, 1e-300)
        return float(-(weight @ (columns * np.log(c))).sum())

    columns, groups = [r[:, k] for k in range(5)], [[k] for k in range(5)]
    expected = [entropy(np.array(columns).T)]
    while len(columns) > 2:
        tried = {}
        for i in range(len(columns)):
            for j in range(i + 1, len(columns)):
                left = [c for m, c in enumerate(columns) if m not in (i, j)]
                tried[i, j] = entropy(np.array([*left, columns[i] + columns[j]]).T)
        i, j = min(tried, key=tried.get)
        columns[i] = columns[i] + columns.pop(j)
        groups[i] = groups[i] + groups.pop(j)
        expected.append(tried[i, j])
    merging = mixture.merge(IRIS, 2, weight)
    assert_allclose(merging.entropies, expected, rtol=1e-9)
    found = [set(np.flatnonzero(merging.clusters == c)) for c in range(2)]
    assert found == [set(group) for group in groups]


@pytest.mark.parametrize(("mixture", "X"), EVERY)
def test_reorder_by_weight(mixture, X):
    if isinstance(mixture, BayesianGaussianMixture):
        mixture = BayesianGaussianMixture(
            3, weight_concentration_prior_type="dirichlet_distribution"
        )
    mixture.set_params(random_state=0, n_components=3).fit(X)
    before, log_prob = mixture.predict_proba(X), mixture.score_samples(X)
    order = np.argsort(-mixture.weights_, kind="stable")
    mixture.reorder(order[::-1])
    assert np.all(np.diff(mixture.weights_) >= 0)
    assert mixture.reorder(order="weight") is mixture
    assert np.all(np.diff(mixture.weights_) <= 0)
    assert_allclose(mixture.predict_proba(X), before[:, order], atol=1e-12)
    assert_allclose(mixture.score_samples(X), log_prob, rtol=1e-12)


def test_a_dirichlet_process_keeps_its_order():
    with pytest.raises(ValueError, match="dirichlet_distribution"):
        BayesianGaussianMixture(2, random_state=0).fit(IRIS).reorder()


def test_sample_takes_seeds():
    mixture = fitted()
    assert_array_equal(mixture.sample(5)[0], mixture.sample(5, random_state=0)[0])
    assert not np.array_equal(mixture.sample(5)[0], mixture.sample(5, random_state=1)[0])
    generator = np.random.default_rng(3)
    first, second = (mixture.sample(5, random_state=generator)[0] for _ in range(2))
    assert not np.array_equal(first, second)
    again = mixture.sample(5, random_state=np.random.default_rng(3))[0]
    assert_array_equal(again, first)
    with pytest.raises(ValueError, match="seed"):
        mixture.sample(5, random_state="a")
    words = MultinomialMixture(2, random_state=0).fit(COUNTS)
    X, _ = words.sample(4, 9, random_state=7)
    assert_array_equal(X, words.sample(4, n_trials=9, random_state=7)[0])
    assert_array_equal(X.sum(axis=1), np.full(4, 9))


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_covariances_that_were_set_are_enough(kind):
    """Whoever makes a mixture by hand sets what it is known by; scikit-learn draws from that."""
    covariances = {"full": np.tile(np.diag([1.0, 4]), (2, 1, 1)), "tied": np.diag([1.0, 4]),
                   "diag": [[1.0, 4], [1, 4]], "spherical": [1.0, 4]}[kind]  # fmt: skip
    mixture = GaussianMixture(2, covariance_type=kind, random_state=0)
    mixture.weights_, mixture.means_ = np.array([0.5, 0.5]), np.array([[0.0, 0], [50, 50]])
    mixture.covariances_ = np.array(covariances)
    X, labels = mixture.sample(200)
    assert_array_equal(mixture.predict(X), labels)
    mixture.covariances_ = -mixture.covariances_
    with pytest.raises(ValueError, match="covariances_ must be positive"):
        mixture.sample(3)
