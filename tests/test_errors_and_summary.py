"""Standard errors by the observed information, and fitted models as tables of text."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastem import (
    PLSA,
    BayesianGaussianMixture,
    BernoulliMixture,
    CategoricalMixture,
    GaussianHMM,
    GaussianLDA,
    GaussianMixture,
    LatentDirichletAllocation,
    PoissonHMM,
    PoissonMixture,
)

KINDS = ("full", "tied", "diag", "spherical")
IRIS = load_iris().data
every_kind = pytest.mark.parametrize("kind", KINDS)


def two_clusters(n=400, seed=0, apart=6.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ [[1, 0.6], [0, 0.8]]
    X[: n // 3] = rng.normal(size=(n // 3, 2)) * [1.5, 0.7] + [apart, 1]
    return X


def at_maximum(X, k=2, kind="full", **settings):
    return GaussianMixture(
        k, covariance_type=kind, tol=1e-12, reg_covar=0, max_iter=5000, random_state=0, **settings
    ).fit(X)


# ---- mixtures -----------------------------------------------------------------------------------


@every_kind
def test_errors_of_one_gaussian_are_the_textbooks(kind):
    """Of a mean s / sqrt(n), of a covariance sqrt((s_ii s_jj + s_ij^2) / n)."""
    mixture = at_maximum(IRIS, 1, kind)
    errors = mixture.standard_errors(IRIS)
    c = mixture.covariances_
    if kind in ("full", "tied"):
        one = c[0] if kind == "full" else c
        of_means = np.sqrt(np.diag(one) / 150)
        own = np.sqrt((np.outer(np.diag(one), np.diag(one)) + one**2) / 150)
    else:
        of_means = np.sqrt(np.broadcast_to(np.reshape(c, (1, -1)), (1, 4))[0] / 150)
        own = c * np.sqrt(2 / 150 / (4 if kind == "spherical" else 1))
    assert errors.covariances.shape == c.shape
    assert_allclose(errors.means[0], of_means, rtol=1e-6)
    assert_allclose(np.squeeze(errors.covariances), np.squeeze(own), rtol=1e-6)
    assert_array_equal(errors.weights, [0.0])


def natural(mixture, kind):
    """Return the free parameters as one vector, and a function from it to densities."""
    k, d = mixture.means_.shape
    rows, columns = np.triu_indices(d)
    c = mixture.covariances_
    free = {
        "full": lambda: c[:, rows, columns].ravel(),
        "tied": lambda: c[rows, columns],
        "diag": c.ravel,
        "spherical": lambda: c,
    }[kind]()

    def matrices(x):
        if kind in ("diag", "spherical"):
            return np.broadcast_to(x.reshape(k, -1), (k, d))[:, None] * np.eye(d)
        out = np.zeros((k if kind == "full" else 1, d, d))
        out[:, rows, columns] = x.reshape(len(out), -1)
        out[:, columns, rows] = x.reshape(len(out), -1)
        return np.broadcast_to(out, (k, d, d))

    def log_likelihood(x, X):
        weights = np.append(x[: k - 1], 1 - x[: k - 1].sum())
        means = x[k - 1 : k - 1 + k * d].reshape(k, d)
        densities = [
            w * multivariate_normal(m, s).pdf(X)
            for w, m, s in zip(weights, means, matrices(x[k - 1 + k * d :]), strict=True)
        ]
        return np.log(np.sum(densities, axis=0)).sum()

    return np.concatenate([mixture.weights_[:-1], mixture.means_.ravel(), free]), log_likelihood


def hessian_errors(f, x, h=2e-4):
    """Standard errors by second differences of a log-likelihood."""
    n, steps = len(x), h * np.eye(len(x))
    information = np.empty((n, n))
    for i in range(n):
        for j in range(i, n):
            signs = [(1, 1), (-1, -1), (1, -1), (-1, 1)]
            values = [f(x + a * steps[i] + b * steps[j]) for a, b in signs]
            second = (values[0] + values[1] - values[2] - values[3]) / (4 * h**2)
            information[i, j] = information[j, i] = -second
    return np.sqrt(np.linalg.inv(information).diagonal())


@every_kind
def test_errors_are_those_of_the_second_derivative(kind):
    """Overlapping components: second differences of the density in natural parameters."""
    X = two_clusters(300, apart=3.0)
    mixture = at_maximum(X, kind=kind)
    errors = mixture.standard_errors(X)
    x, log_likelihood = natural(mixture, kind)
    expected = hessian_errors(lambda at: log_likelihood(at, X), x)
    assert_allclose(errors.weights[0], expected[0], rtol=2e-3)
    assert_allclose(errors.weights[1], expected[0], rtol=2e-3)
    assert_allclose(errors.means.ravel(), expected[1:5], rtol=2e-3)
    own = errors.covariances
    if kind in ("full", "tied"):
        assert_array_equal(own, np.swapaxes(own, -1, -2))
        own = own[..., [0, 0, 1], [0, 1, 1]]
    assert_allclose(own.ravel(), expected[5:], rtol=2e-3)


def test_errors_are_those_of_the_bootstrap():
    X, rng = two_clusters(600), np.random.default_rng(1)
    mixture = at_maximum(X)
    errors = mixture.standard_errors(X)
    start = {
        "weights_init": mixture.weights_,
        "means_init": mixture.means_,
        "precisions_init": mixture.precisions_,
    }
    fits = [
        GaussianMixture(2, tol=1e-6, reg_covar=0, max_iter=500, **start).fit(X[rows])
        for rows in rng.integers(len(X), size=(300, len(X)))
    ]
    for name in ("weights", "means", "covariances"):
        drawn = np.std([getattr(fit, f"{name}_") for fit in fits], axis=0)
        ratio = getattr(errors, name) / drawn
        assert np.all((ratio > 0.8) & (ratio < 1.25)), (name, ratio)


def test_missing_values_cost_information():
    """Errors of incomplete data: second differences of the likelihood of what is there."""
    X = two_clusters(300)
    there = np.random.default_rng(2).uniform(size=X.shape) > [0.4, 0.0]
    X = np.where(there, X, np.nan)
    mixture = at_maximum(X, 1)
    errors = mixture.standard_errors(X)
    whole = there.all(axis=1)

    def log_likelihood(x):
        c = np.array([[x[2], x[3]], [x[3], x[4]]])
        some = multivariate_normal(x[1], c[1, 1]).logpdf(X[~whole, 1]).sum()
        return multivariate_normal(x[:2], c).logpdf(X[whole]).sum() + some

    x = np.concatenate([mixture.means_[0], mixture.covariances_[0][[0, 0, 1], [0, 1, 1]]])
    expected = hessian_errors(log_likelihood, x)
    assert_allclose(errors.means[0], expected[:2], rtol=2e-3)
    assert_allclose(errors.covariances[0][[0, 0, 1], [0, 1, 1]], expected[2:], rtol=2e-3)


def test_a_weight_of_four_halves_the_errors():
    X = two_clusters()
    mixture = at_maximum(X)
    one, four = mixture.standard_errors(X), mixture.standard_errors(X, np.full(len(X), 4.0))
    for a, b in zip(one, four, strict=True):
        assert_allclose(a, 2 * b, rtol=1e-6)


def test_errors_scale_with_the_units():
    X, units = two_clusters(), np.array([1e6, 1e-6])
    one = at_maximum(X).standard_errors(X)
    start = at_maximum(X)
    scaled = at_maximum(
        X * units + [1e7, 0],
        weights_init=start.weights_,
        means_init=start.means_ * units + [1e7, 0],
        precisions_init=start.precisions_ / np.outer(units, units),
    )
    other = scaled.standard_errors(X * units + [1e7, 0])
    assert_allclose(other.means, one.means * units, rtol=1e-5)
    assert_allclose(other.covariances, one.covariances * np.outer(units, units), rtol=1e-5)


def test_errors_are_refused_away_from_a_maximum():
    X = two_clusters()
    mixture = GaussianMixture(2, random_state=0).fit(X)
    one = at_maximum(X, 1)
    for name in ("means_", "covariances_", "precisions_cholesky_", "precisions_"):
        setattr(mixture, name, np.repeat(getattr(one, name), 2, axis=0))
    mixture.weights_ = np.array([0.5, 0.5])
    with pytest.raises(ValueError, match=r"not positive definite.*bootstrap"):
        mixture.standard_errors(X)  # two equal components: nothing tells them apart
    with pytest.raises(NotFittedError):
        GaussianMixture().standard_errors(X)
    held = GaussianMixture(2, means_init=mixture.means_, fixed=("means",)).fit(X)
    with pytest.raises(ValueError, match=r"fit with fixed=\(\)"):
        held.standard_errors(X)
    with pytest.raises(ValueError, match="3 features"):
        mixture.standard_errors(np.ones((5, 3)))


def test_errors_tell_of_a_fit_that_stopped_early():
    X = two_clusters(apart=2.5)
    mixture = GaussianMixture(2, tol=1e-2, random_state=0).fit(X)
    with pytest.warns(ConvergenceWarning, match="standard errors away from the maximum"):
        mixture.standard_errors(X)


def test_float32_data_and_models():
    X = two_clusters()
    single = at_maximum(X).standard_errors(X.astype(np.float32))
    assert_allclose(single.means, at_maximum(X).standard_errors(X).means, rtol=1e-3)


# ---- hidden Markov models -----------------------------------------------------------------------


def sequences(n=6, length=120, seed=0, d=1):
    rng = np.random.default_rng(seed)
    states = np.cumsum(rng.uniform(size=(n, length)) < 0.1, axis=1) % 2
    return [rng.normal(2.5 * s[:, None], 1.0, size=(length, d)) for s in states]


def chain_at_maximum(X, k=2, **settings):
    plain = {"covars_prior": 0.0, "covars_weight": 0.0, "min_covar": 1e-6}
    return GaussianHMM(k, n_iter=2000, tol=1e-10, random_state=0, **plain, **settings).fit(X)


def test_errors_of_an_hmm_are_those_of_the_second_derivative():
    X = sequences()
    model = chain_at_maximum(X)
    errors = model.standard_errors(X)

    def log_likelihood(x):
        at = GaussianHMM(2)
        at.startprob_ = np.array([x[0], 1 - x[0]])
        at.transmat_ = np.array([[x[1], 1 - x[1]], [1 - x[2], x[2]]])
        at.means_, at.covars_ = x[3:5, None], x[5:7, None]
        return at.score(X)

    x = np.concatenate([
        model.startprob_[:1], model.transmat_.diagonal(), model.means_[:, 0],
        np.ravel(model.covars_),
    ])  # fmt: skip
    expected = hessian_errors(log_likelihood, x)
    assert_allclose(errors.startprob, expected[[0, 0]], rtol=5e-3)
    assert_allclose(errors.transmat, [expected[[1, 1]], expected[[2, 2]]], rtol=5e-3)
    assert_allclose(errors.means[:, 0], expected[3:5], rtol=5e-3)
    assert_allclose(errors.covars[:, 0], expected[5:7], rtol=5e-3)


@every_kind
def test_errors_of_an_hmm_with_nothing_hidden(kind):
    """States far apart: those of counts and of Gaussians whose rows are known."""
    rng = np.random.default_rng(0)
    states = np.cumsum(rng.uniform(size=2000) < 0.2) % 2
    X = rng.normal(50.0 * states[:, None], 1.0, size=(2000, 2))
    model = chain_at_maximum([X], covariance_type=kind)
    errors = model.standard_errors([X])
    first = int(model.predict(X)[0] != states[0])
    for k in (0, 1):
        rows = X[states == (k ^ first)]
        if kind == "full":
            assert_allclose(errors.means[k], rows.std(axis=0) / np.sqrt(len(rows)), rtol=1e-3)
        left = np.flatnonzero(states[:-1] == (k ^ first))
        p = (states[left + 1] == states[left]).mean()
        assert_allclose(errors.transmat[k], np.sqrt(p * (1 - p) / len(left)), rtol=1e-3)
    assert np.all(np.isnan(errors.startprob))  # one sequence
    assert errors.covars.shape == model._covars_.shape


def test_what_was_held_fixed_has_no_error():
    X = sequences()
    fixed = np.array([[0.9, 0.1], [np.nan, np.nan]])
    model = chain_at_maximum(X, transmat_fixed=fixed)
    errors = model.standard_errors(X)
    assert np.all(np.isnan(errors.transmat[0]))
    assert np.all(errors.transmat[1] > 0)
    straight = chain_at_maximum([x[:60] for x in X], topology="left-right")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert np.isnan(straight.standard_errors([x[:60] for x in X]).transmat[1, 0])
    held = GaussianHMM(2, params="stc", random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"params='stc' does not fit 'm'.*'mc'"):
        held.standard_errors(X)


# ---- summaries ----------------------------------------------------------------------------------


def figures(text):
    """Return the facts at the head of a summary, by name."""
    return dict(re.findall(r"([A-Z][\w ()-]*): +(\S+)", text))


@pytest.mark.parametrize("make", [GaussianMixture, BayesianGaussianMixture])
def test_summary_of_a_gaussian_mixture(make):
    table = pd.DataFrame(IRIS[:, :2], columns=["length", "width"])
    mixture = make(2, random_state=0).fit(table)
    text = mixture.summary(table)
    facts = figures(text)
    assert (facts["Samples"], facts["Features"], facts["Components"]) == ("150", "2", "2")
    assert facts["Covariance type"] == "full"
    assert f"yes, {mixture.n_iter_} iterations" in text
    assert float(facts["Log-likelihood"]) == pytest.approx(150 * mixture.score(table), abs=0.06)
    if make is GaussianMixture:
        assert float(facts["BIC"]) == pytest.approx(mixture.bic(table), abs=0.06)
        assert float(facts["ICL"]) == pytest.approx(mixture.icl(table), abs=0.06)
        assert float(facts["AIC"]) == pytest.approx(mixture.aic(table), abs=0.06)
        assert facts["Parameters"] == "11"
    sizes = np.bincount(mixture.predict(table))
    rows = [line for line in text.splitlines() if re.match(r" +\d ", line)]
    for k, row in enumerate(rows):
        assert row.split()[:3] == [str(k), f"{mixture.weights_[k]:.4f}", str(sizes[k])]
        assert f"{mixture.means_[k, 0]:.4g} ± {mixture.covariances_[k, 0, 0] ** 0.5:.2g}" in row
    assert repr(text) == str(text)
    assert max(map(len, text.splitlines())) <= 78


@every_kind
def test_summary_with_standard_errors(kind):
    X = two_clusters()
    mixture = at_maximum(X, kind=kind)
    errors = mixture.standard_errors(X)
    lines = mixture.summary(X, standard_errors=True).splitlines()
    (row,) = (line for line in lines if line.startswith("0 mean x1"))
    low, high = (float(value) for value in row.split()[-2:])
    assert float(row.split()[3]) == pytest.approx(mixture.means_[0, 1], abs=1e-3)
    assert (high - low) / 2 == pytest.approx(1.96 * errors.means[0, 1], rel=0.02)
    names = {"full": "1 covariance x0, x1", "tied": "covariance x0, x1", "diag": "1 variance x1"}
    assert any(line.startswith(names.get(kind, "1 variance ")) for line in lines)
    n_rows = sum(bool(re.match(r"(\d )?(weight|mean|variance|cov)", line)) for line in lines)
    assert n_rows == mixture.n_parameters + 1  # both weights have a row


def test_many_features_stand_one_below_the_other():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 40)) + np.repeat([[0], [5]], 100, axis=0)
    text = GaussianMixture(2, covariance_type="diag", random_state=0).fit(X).summary(X)
    assert any(line.startswith("x29 ") for line in text.splitlines())
    assert "10 more features not shown" in text
    many = GaussianMixture(12, covariance_type="diag", random_state=0).fit(X).summary(X)
    assert "more columns not shown" in many
    assert max(map(len, many.splitlines())) <= 78


def test_summary_of_discrete_mixtures():
    X = np.random.default_rng(0).poisson(np.repeat([[1, 9, 2], [6, 2, 2]], 40, axis=0))
    poisson = PoissonMixture(2, random_state=0).fit(X)
    text = poisson.summary(X, np.full(80, 2.0))
    assert figures(text)["Total weight"] == "160.0"
    assert f"{poisson.rates_[0, 0]:.3f}" in text
    categories = CategoricalMixture(2, random_state=0).fit(X > 3)
    best = categories.probabilities_[0, 0]
    assert f"{best.argmax()} ({best.max():.0%})" in categories.summary(X > 3)
    assert "BernoulliMixture" in BernoulliMixture(2, random_state=0).fit(X > 3).summary(X > 3)


def test_summary_of_hidden_markov_models():
    X = sequences()
    model = chain_at_maximum(X)
    text = model.summary(X, standard_errors=True)
    facts = figures(text)
    assert (facts["Sequences"], facts["Rows"], facts["States"]) == ("6", "720", "2")
    assert float(facts["BIC"]) == pytest.approx(model.bic(X), abs=0.06)
    assert float(facts["ICL"]) == pytest.approx(model.icl(X), abs=0.06)
    assert float(facts["AIC"]) == pytest.approx(model.aic(X), abs=0.06)
    assert facts["Parameters"] == "7"
    state = next(line for line in text.splitlines() if line.startswith("    0  ")).split()
    share = model.predict_proba(X).mean(axis=0)[0]
    stays = 1 / (1 - model.transmat_[0, 0])
    assert_allclose([float(state[2]), float(state[3])], [share, stays], rtol=1e-2)
    assert any(line.startswith("0 to 1") for line in text.splitlines())
    counts = np.random.default_rng(0).poisson(np.repeat([1, 9, 1, 9], 30))[:, None]
    assert "PoissonHMM" in PoissonHMM(2, random_state=0, n_iter=50).fit(counts).summary(counts)
    by_hand = GaussianHMM(2)
    by_hand.startprob_, by_hand.transmat_ = np.full(2, 0.5), np.full((2, 2), 0.5)
    by_hand.means_, by_hand.covars_ = np.array([[0.0], [2.5]]), np.ones((2, 1))
    assert "set by hand" in by_hand.summary(X)


@pytest.mark.parametrize("make", [PLSA, LatentDirichletAllocation, GaussianLDA])
def test_summary_of_topics(make):
    rng = np.random.default_rng(0)
    theta = rng.dirichlet(np.full(3, 0.1), 100)
    X = rng.poisson(40 * theta @ np.repeat(np.eye(3) / 10, 10, axis=1))
    words = [f"word{j}" for j in range(30)]
    settings = {"max_iter": 500, "random_state": 0}
    if make is GaussianLDA:
        settings["vectors"] = rng.normal(size=(30, 2)) + np.repeat(np.eye(3)[:, :2] * 9, 10, axis=0)
    topics = make(3, **settings).fit(X)
    text = topics.summary(X, words, n_words=4)
    facts = figures(text)
    assert (facts["Documents"], facts["Words"], facts["Topics"]) == ("100", "30", "3")
    assert facts["Tokens"] == str(X.sum())
    if make is not GaussianLDA:
        assert float(facts["Perplexity"]) == pytest.approx(topics.perplexity(X), abs=0.01)
    looked = make is not LatentDirichletAllocation
    assert ("yes, " if looked else "not looked, 500") in text
    for k, line in enumerate(line for line in text.splitlines() if re.match(r" +\d  ", line)):
        assert line.endswith(" ".join(topics.top_words(words, 4)[k]))
    long = topics.summary(X, ["w" * 60] * 30)
    assert max(map(len, long.splitlines())) <= 78


def test_summary_needs_a_fit():
    for estimator in (GaussianMixture(), PoissonMixture(), PLSA(), GaussianHMM()):
        with pytest.raises(NotFittedError):
            estimator.summary(IRIS)
