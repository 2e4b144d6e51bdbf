"""Mixtures of discrete distributions: known results, missing values, priors, bad input."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import (
    BernoulliMixture,
    BinomialMixture,
    CategoricalMixture,
    MultinomialMixture,
    PoissonMixture,
)
from fastem.components.codes import CodedBlock, Codes, Lists
from fastem.components.discrete import Categorical, Poisson

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, D = 300, 6
#: One of each, and data of two groups for it.
MIXTURES = {
    "bernoulli": BernoulliMixture(2),
    "binomial": BinomialMixture(2, n_trials=7),
    "categorical": CategoricalMixture(2),
    "multinomial": MultinomialMixture(2),
    "poisson": PoissonMixture(2),
}
every_family = pytest.mark.parametrize("family", MIXTURES)
incomplete = pytest.mark.parametrize("family", [f for f in MIXTURES if f != "multinomial"])


def data(family, n=N, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(2, size=(n, 1))
    levels = np.where(group, np.linspace(0.1, 0.8, D), np.linspace(0.9, 0.3, D))
    if family == "multinomial":
        return rng.multinomial(12, levels / levels.sum(axis=1, keepdims=True)).astype(float)
    if family == "poisson":
        return rng.poisson(5 * levels).astype(float)
    n_trials = {"bernoulli": 1, "binomial": 7, "categorical": 2}[family]
    return rng.binomial(n_trials, levels).astype(float)


def mixture(family, **parameters):
    fresh = type(MIXTURES[family])(**MIXTURES[family].get_params())
    return fresh.set_params(**({"random_state": 0} | parameters))


def with_missing(X, share=0.1, seed=3):
    X = X.copy()
    X[np.random.default_rng(seed).random(X.shape) < share] = np.nan
    return X


def values_of(fitted):
    return fitted.rates_ if isinstance(fitted, PoissonMixture) else fitted.probabilities_


# ---- scikit-learn's conventions --------------------------------------------------------------

ROWS = "the start draws its random numbers per row"
PROBABILITIES = "scikit-learn's check takes what has predict_proba for a classifier"
DIFFERS = {"check_sample_weight_equivalence_on_dense_data": ROWS}
SPARSE = {
    "check_sample_weight_equivalence_on_sparse_data": ROWS,
    "check_estimator_sparse_array": PROBABILITIES,
    "check_estimator_sparse_matrix": PROBABILITIES,
}


SPARSE_CLASSES = BernoulliMixture, MultinomialMixture, PoissonMixture


def expected_failures(estimator):
    return DIFFERS | (SPARSE if isinstance(estimator, SPARSE_CLASSES) else {})


@parametrize_with_checks(
    [
        BernoulliMixture(2, binarize=0.5),
        BinomialMixture(2, n_trials=1000),
        CategoricalMixture(2, n_categories=40),
        MultinomialMixture(2),
        PoissonMixture(2),
    ],
    expected_failed_checks=expected_failures,
    xfail_strict=True,
)
def test_scikit_learn_checks(estimator, check):
    """check_estimator, but for what the table above says."""
    check(estimator)


# ---- known results ---------------------------------------------------------------------------


@every_family
def test_one_component_is_the_mean(family):
    """With one component the maximum-likelihood estimate has a closed form."""
    X = data(family)
    fitted = mixture(family, n_components=1).fit(X)
    expected = {
        "bernoulli": X.mean(axis=0),
        "binomial": X.mean(axis=0) / 7,
        "categorical": np.stack([(c == X).mean(axis=0) for c in range(3)], axis=1),
        "multinomial": X.sum(axis=0) / X.sum(),
        "poisson": X.mean(axis=0),
    }[family]
    assert_allclose(values_of(fitted)[0], expected, rtol=1e-12)
    assert fitted.weights_.tolist() == [1.0]


@every_family
def test_two_groups_are_found(family):
    fitted = mixture(family, n_init=5).fit(data(family, 4000))
    truth = np.random.default_rng(0).integers(2, size=4000)
    right = np.mean(fitted.predict(data(family, 4000)) == truth)
    assert max(right, 1 - right) > 0.8
    assert_allclose(np.sort(fitted.weights_), [0.5, 0.5], atol=0.1)


@every_family
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log_probability_is_scipy_s(family, dtype):
    """score_samples, predict_proba and predict agree with SciPy's distributions."""
    X = data(family).astype(dtype)
    fitted = mixture(family, max_iter=5).fit(X)
    values = values_of(fitted).astype(float)
    log_prob = {
        "bernoulli": lambda v: stats.bernoulli.logpmf(X, v).sum(axis=1),
        "binomial": lambda v: stats.binom.logpmf(X, 7, v).sum(axis=1),
        "categorical": lambda v: np.log(v[np.arange(D), X.astype(int)]).sum(axis=1),
        "multinomial": lambda v: stats.multinomial.logpmf(X, X.sum(axis=1), v / v.sum()),
        "poisson": lambda v: stats.poisson.logpmf(X, v).sum(axis=1),
    }[family]
    joint = np.log(fitted.weights_) + np.stack([log_prob(v) for v in values], axis=1)
    expected = np.logaddexp.reduce(joint, axis=1)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    actual = fitted.score_samples(X)
    assert actual.dtype == dtype
    assert_allclose(actual, expected, rtol=tolerance)
    proba = fitted.predict_proba(X)
    assert_allclose(proba, np.exp(joint - expected[:, None]), atol=10 * tolerance)
    assert_array_equal(fitted.predict(X), proba.argmax(axis=1))


def test_values_too_large_for_codes_give_the_same():
    """Bytes, doubles, codes and lists agree."""
    X = data("poisson")
    far = np.vstack([X, np.full((1, D), 700.0)])
    fitted = mixture("poisson", max_iter=5).fit(X)
    assert CodedBlock.of(Poisson(D), X, None, 2).data.values.dtype == np.uint8
    assert CodedBlock.of(Poisson(D), far, None, 2).data.values.dtype == np.float64
    for incomplete, form in ((with_missing(X), Codes), (with_missing(far), Lists)):
        block = CodedBlock.of(Poisson(D), incomplete, None, 2)
        assert isinstance(block.data, form)
    assert_allclose(fitted.score_samples(far)[:-1], fitted.score_samples(X), rtol=1e-12)


@pytest.mark.parametrize("family", ["bernoulli", "multinomial", "poisson"])
@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_array, sp.coo_array])
def test_sparse_equals_dense(family, form):
    X = data(family)
    X[5] = 0
    dense = mixture(family, n_init=2).fit(X)
    sparse = mixture(family, n_init=2).fit(form(X))
    assert_allclose(values_of(sparse), values_of(dense), rtol=1e-9)
    assert_allclose(sparse.score_samples(form(X)), dense.score_samples(X), rtol=1e-9)
    assert_allclose(sparse.bic(form(X)), dense.bic(X), rtol=1e-12)


def test_sparse_binary_data_may_miss_values_and_be_made_binary():
    X = with_missing(data("bernoulli"))
    dense, sparse = mixture("bernoulli").fit(X), mixture("bernoulli").fit(sp.csr_array(X))
    assert_array_equal(sparse.probabilities_, dense.probabilities_)
    assert_array_equal(sparse.predict(sp.csc_matrix(X)), dense.predict(X))
    counts, same = sp.csr_array(3 * X), mixture("bernoulli", binarize=0.0).fit(3 * X)
    assert_array_equal(same.probabilities_, dense.probabilities_)
    fitted = mixture("bernoulli", binarize=0.0).fit(counts)
    assert_array_equal(fitted.probabilities_, dense.probabilities_)
    assert np.nanmax(counts.data) == 3  # the user's matrix is as it was
    with pytest.raises(ValueError, match="binarize must be at least 0 for sparse X, got -1"):
        mixture("bernoulli", binarize=-1.0).fit(counts)
    with pytest.raises(ValueError, match="X must hold 0, 1 or NaN, got 3 in feature"):
        mixture("bernoulli").fit(counts)


def test_sparse_matrices_may_hold_zeros_and_duplicates():
    """They are as if they held neither, and are not written to."""
    X = data("multinomial")
    columns = np.tile(np.arange(D), N).astype(np.int32)
    zeros = sp.csr_array((X.ravel(), columns, np.arange(N + 1) * D), X.shape)
    halves = sp.csr_array(
        (np.repeat(X.ravel() / 2, 2), np.repeat(columns, 2), np.arange(N + 1) * 2 * D), X.shape
    )
    expected = mixture("multinomial").fit(X).probabilities_
    for matrix in (zeros, halves):
        before = matrix.data.copy()
        fitted = mixture("multinomial").fit(matrix)
        assert_allclose(fitted.probabilities_, expected, rtol=1e-9)
        assert_array_equal(matrix.data, before)


# ---- missing values --------------------------------------------------------------------------


@incomplete
def test_missing_values_have_no_factor(family):
    """The probability of what is observed is the sum over all that is not."""
    fitted = mixture(family, max_iter=20).fit(with_missing(data(family)))
    x = data(family, 1)
    possible = range({"bernoulli": 2, "binomial": 8, "categorical": 3, "poisson": 200}[family])
    complete = np.repeat(x, len(possible), axis=0)
    complete[:, 2] = possible
    x[0, 2] = np.nan
    total = np.logaddexp.reduce(fitted.score_samples(complete))
    assert_allclose(fitted.score_samples(x), total, rtol=1e-10)


@incomplete
def test_a_row_without_values_has_the_weights(family):
    X = with_missing(data(family))
    X[7] = np.nan
    fitted = mixture(family).fit(X)
    assert_allclose(fitted.score_samples(X[7:8]), 0, atol=1e-12)
    assert_allclose(fitted.predict_proba(X[7:8])[0], fitted.weights_, rtol=1e-12)


@incomplete
def test_the_likelihood_rises_with_missing_values(family):
    X = with_missing(data(family), 0.5)
    bounds = np.array(mixture(family, n_components=4, tol=0, max_iter=60).fit(X).lower_bounds_)
    assert np.diff(bounds).min() > -1e-12
    assert bounds[-1] > bounds[0]


@incomplete
def test_a_feature_without_values_is_refused(family):
    X = data(family)
    X[:, 3] = np.nan
    with pytest.raises(ValueError, match="only NaN in feature 3"):
        mixture(family).fit(X)
    X[0, 3] = 1
    weight = np.ones(N)
    weight[0] = 0
    with pytest.raises(ValueError, match="only NaN in feature 3, where sample_weight is above 0"):
        mixture(family).fit(X, sample_weight=weight)
    assert np.all(np.isfinite(values_of(mixture(family).fit(X))))


def test_multinomials_refuse_nan():
    with pytest.raises(ValueError, match="NaN"):
        mixture("multinomial").fit(with_missing(data("multinomial")))


# ---- parameters ------------------------------------------------------------------------------


@every_family
def test_priors_are_pseudo_counts(family):
    """A prior of 1 is one more success and one more failure, and so on."""
    X = data(family)[:2]
    prior = "rate_prior" if family == "poisson" else "probability_prior"
    given = {"n_categories": 3} if family == "categorical" else {}
    fitted = mixture(family, n_components=1, **{prior: 1.0}, **given).fit(X)
    total = X.sum(axis=0) + 1
    expected = {
        "bernoulli": total / 4,
        "binomial": total / 16,
        "categorical": np.stack([((c == X).sum(axis=0) + 1) / 5 for c in range(3)], axis=1),
        "multinomial": total / total.sum(),
        "poisson": total / 3,
    }[family]
    assert_allclose(values_of(fitted)[0], expected, rtol=1e-12)


@every_family
def test_the_posterior_never_falls(family):
    prior = "rate_prior" if family == "poisson" else "probability_prior"
    fitted = mixture(family, n_components=3, weight_prior=2.0, tol=0, max_iter=50, **{prior: 0.7})
    bounds = np.array(fitted.fit(data(family)).lower_bounds_)
    assert np.diff(bounds).min() > -1e-12
    assert bounds[-1] > bounds[0]


@every_family
def test_fixed_weights_stay(family):
    X = data(family)
    fitted = mixture(family, weights_init=[0.25, 0.75], fixed_weights=True).fit(X)
    assert fitted.weights_.tolist() == [0.25, 0.75]
    free = mixture(family).fit(X)
    free_count = (free.bic(X) + 2 * free.score(X) * N) / np.log(N)
    fixed_count = (fitted.bic(X) + 2 * fitted.score(X) * N) / np.log(N)
    assert_allclose(free_count - fixed_count, 1)
    assert mixture(family, fixed_weights=True).fit(X).weights_.tolist() == [0.5, 0.5]


@every_family
def test_number_of_parameters(family):
    X = data(family)
    fitted = mixture(family).fit(X)
    each = {"categorical": 2 * D, "multinomial": D - 1}.get(family, D)
    assert_allclose(fitted.aic(X) + 2 * fitted.score(X) * N, 2 * (2 * each + 1))


@every_family
def test_weights_are_repetitions(family):
    X, weight = data(family), np.random.default_rng(1).integers(0, 3, N)
    start = mixture(family, max_iter=1).fit(X)
    name = "rates_init" if family == "poisson" else "probabilities_init"
    given = {name: values_of(start), "weights_init": start.weights_, "max_iter": 30}
    one = mixture(family, **given).fit(X, sample_weight=weight)
    other = mixture(family, **given).fit(np.repeat(X, weight, axis=0))
    assert_allclose(values_of(one), values_of(other), rtol=1e-9)
    assert_allclose(
        one.bic(X, sample_weight=weight), other.bic(np.repeat(X, weight, axis=0)), rtol=1e-9
    )


@pytest.mark.parametrize("n", [2, 30, N])
@pytest.mark.parametrize("family", [*MIXTURES, "poisson, missing", "binomial, missing"])
def test_the_layout_of_samples_does_not_matter(family, n):
    """Few samples are stored in another way than many."""
    family, *missing = family.split(", ")
    X = data(family, n)
    if missing:
        X[0, 2] = np.nan
    fits = [mixture(family).fit(rows) for rows in (X, np.asfortranarray(X))]
    assert_array_equal(values_of(fits[1]), values_of(fits[0]))
    for rows in (np.asfortranarray(X), X.repeat(2, axis=1)[:, ::2], X[::-1].copy()[::-1]):
        assert_array_equal(fits[0].score_samples(rows), fits[0].score_samples(X))


@every_family
def test_rows_of_weight_0_do_not_touch_the_fit(family):
    """Not even by values that occur nowhere else."""
    X, weight = data(family), np.ones(N)
    X[40], weight[40] = X.max() + (family in ("multinomial", "poisson")), 0
    start = mixture(family, max_iter=1, n_components=2).fit(np.delete(X, 40, axis=0))
    name = "rates_init" if family == "poisson" else "probabilities_init"
    given = {name: values_of(start), "weights_init": start.weights_, "max_iter": 5}
    one = mixture(family, **given).fit(X, sample_weight=weight)
    other = mixture(family, **given).fit(np.delete(X, 40, axis=0))
    assert_allclose(values_of(one), values_of(other), rtol=1e-9)


@every_family
@pytest.mark.parametrize("init_params", ["random_from_data", "random"])
def test_starts_differ_between_components(family, init_params):
    """Also where all samples are alike, so that a component's own sample is any other's."""
    fitted = mixture(family, init_params=init_params, max_iter=0).fit(data(family))
    assert np.abs(values_of(fitted)[0] - values_of(fitted)[1]).max() > 1e-3


@every_family
def test_warm_start_goes_on(family):
    X = data(family)
    whole = mixture(family, max_iter=20, tol=0).fit(X)
    parts = mixture(family, max_iter=10, tol=0, warm_start=True).fit(X).fit(X)
    assert_allclose(values_of(parts), values_of(whole), rtol=1e-12)


@every_family
def test_samples_have_the_mixture_s_mean(family):
    fitted = mixture(family).fit(data(family))
    more = {"n_trials": 12} if family == "multinomial" else {}
    X, labels = fitted.sample(20_000, **more)
    assert X.shape == (20_000, D)
    assert X.dtype == np.float64
    assert np.all(np.diff(labels) >= 0)
    assert_allclose(X.mean(axis=0), data(family).mean(axis=0), rtol=0.05)
    assert fitted.score(X) > fitted.score(X[:, ::-1])


# ---- bad input -------------------------------------------------------------------------------


@every_family
def test_bad_values_are_refused(family):
    """Before any work, and in predict as well as in fit; the fitted mixture stays."""
    bad = {"bernoulli": 2, "binomial": 8, "categorical": 3}.get(family)
    fitted = mixture(family).fit(data(family))
    before = values_of(fitted).copy()
    cases = [(-1, "-1 in feature 4")]
    cases += [(bad, f"{bad} in feature 4")] if bad else []
    if family in ("bernoulli", "categorical"):
        cases.append((0.5, "not integers in feature 4"))
    for value, words in cases:
        X = data(family)
        X[9, 4] = value
        fresh = fitted
        if family == "categorical":
            fresh = fitted.set_params(n_categories=3)
        with pytest.raises(ValueError, match=re.escape(words)):
            fresh.fit(X)
        with pytest.raises(ValueError, match=re.escape(words)):
            fresh.predict(X)
        assert_array_equal(values_of(fresh), before)
    X = data(family)
    X[9, 4] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        fitted.fit(X)


@pytest.mark.parametrize(
    ("family", "parameters", "words"),
    [
        ("binomial", {"n_trials": 0}, "n_trials"),
        ("binomial", {"n_trials": [7, 7]}, "n_trials must be an integer of at least 1, or 6"),
        ("binomial", {"n_trials": [7.5] * 6}, "n_trials"),
        ("categorical", {"n_categories": [2] * 5}, "n_categories"),
        ("categorical", {"probability_prior": [1, 2]}, "one number"),
        ("bernoulli", {"probability_prior": [1, -2]}, "at least 0"),
        ("poisson", {"rate_prior": [1, 2, 3]}, "two, (events, samples)"),
        ("poisson", {"rates_init": -np.ones((2, D))}, "rates_init must be in [0, 1e+100]"),
        ("bernoulli", {"probabilities_init": np.full((2, D), 1.5)}, "must be in [0, 1.0]"),
        ("bernoulli", {"probabilities_init": np.ones((2, 2))}, "should have the shape of (2, 6)"),
        ("multinomial", {"probabilities_init": np.ones((2, D))}, "must sum to 1"),
        ("multinomial", {"weights_init": [0.5, 0.6]}, "normalized"),
        ("poisson", {"n_components": N + 1}, "n_samples >= n_components"),
        ("poisson", {"n_jobs": 0}, "n_jobs"),
    ],
)
def test_bad_parameters_are_refused(family, parameters, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        mixture(family, **parameters).fit(data(family))


def test_no_counts_at_all_are_refused():
    with pytest.raises(ValueError, match="no count above 0"):
        mixture("multinomial").fit(np.zeros((4, 3)))


def test_huge_categories_are_refused():
    X = data("categorical")
    X[0, 0] = 1e9
    with pytest.raises(ValueError, match="OrdinalEncoder"):
        mixture("categorical").fit(X)


def test_what_no_component_can_give():
    """Probabilities of 0 and 1 are exact: log-probability -inf, responsibilities 0, never NaN."""
    X = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    for fitted in (
        mixture("bernoulli", n_components=1).fit(X),
        mixture("categorical", n_components=1, n_categories=2).fit(X),
    ):
        assert fitted.score_samples([[0.0, 0.0]])[0] == -np.inf
        assert_array_equal(fitted.predict_proba([[0.0, 0.0]]), [[0.0]])
        assert np.isfinite(fitted.score(X))
        weighted = fitted.score_samples([[0.0, 0.0], [0.0, 1.0]])
        assert np.isfinite(weighted[1])


def test_a_component_of_weight_0_stays_empty():
    start = {"weights_init": [1.0, 0.0], "rates_init": np.ones((2, D)) * [[1.0], [2.0]]}
    fitted = mixture("poisson", **start).fit(data("poisson"))
    assert fitted.weights_.tolist() == [1.0, 0.0]
    assert np.all(np.isfinite(fitted.rates_))


def test_not_converging_is_one_warning():
    with pytest.warns(ConvergenceWarning) as caught:
        mixture("poisson", max_iter=1).fit(data("poisson"))
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_codes_of_many_categories_fall_back_to_lists():
    X = np.random.default_rng(0).integers(0, 900, (50, 2)).astype(float)
    X = np.tile(X, (2, 1))
    assert isinstance(CodedBlock.of(Categorical([900, 900]), X, None, 2).data, Lists)
    fitted = mixture("categorical").fit(X)
    assert_allclose(fitted.probabilities_.sum(axis=2), 1)


def test_samples_of_a_negative_number_of_trials_are_refused():
    mixture = MultinomialMixture(1, random_state=0).fit(np.eye(3))
    with pytest.raises(ValueError, match="n_trials must be an integer of at least 0, got -1"):
        mixture.sample(3, n_trials=-1)
    assert_array_equal(mixture.sample(2, n_trials=0)[0], np.zeros((2, 3)))
