"""Discrete mixtures: what is refused at the door, data without entries, what is read off."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone

from fastem import (
    BernoulliMixture,
    BinomialMixture,
    Blocks,
    CategoricalMixture,
    MultinomialMixture,
    PoissonMixture,
)
from fastem.components.discrete import Binomial, DiscreteEM, Poisson

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, D = 40, 5
MIXTURES = {
    "bernoulli": BernoulliMixture(2, random_state=0),
    "binomial": BinomialMixture(2, n_trials=7, random_state=0),
    "categorical": CategoricalMixture(2, random_state=0),
    "multinomial": MultinomialMixture(2, random_state=0),
    "poisson": PoissonMixture(2, random_state=0),
}
SPARSE = ("bernoulli", "multinomial", "poisson")
every_family = pytest.mark.parametrize("family", MIXTURES)
sparse_family = pytest.mark.parametrize("family", SPARSE)


def mixture(family, **parameters):
    return clone(MIXTURES[family]).set_params(**parameters)


def data(family, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2 if family == "bernoulli" else 4, (N, D)).astype(float)


# ---- sparse data -------------------------------------------------------------------------------


@sparse_family
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8, np.bool_])
def test_rows_without_entries(family, dtype):
    """A matrix of empty documents is as if it were dense."""
    fitted = mixture(family).fit(data(family))
    nothing = np.zeros((3, D), dtype)
    assert_allclose(fitted.score_samples(sp.csr_array(nothing)), fitted.score_samples(nothing))
    assert_allclose(fitted.predict_proba(sp.csc_array(nothing)), fitted.predict_proba(nothing))
    expected = np.zeros(2)
    if family != "multinomial":
        values = fitted.rates_ if family == "poisson" else -np.log1p(-fitted.probabilities_)
        expected = -values.sum(axis=1)
    expected = np.logaddexp.reduce(np.log(fitted.weights_) + expected)
    assert_allclose(fitted.score_samples(nothing), expected, rtol=1e-12, atol=1e-12)


def test_poisson_of_nothing_but_zeros():
    """The rates are 0, sparse or dense."""
    for form in (sp.csr_array, np.asarray):
        fitted = mixture("poisson").fit(form(np.zeros((6, D))))
        assert_array_equal(fitted.rates_, 0)
        assert (
            abs(fitted.score(form(np.zeros((2, D))))) < 1e-15
        )  # the weights sum to 1 but for that
        assert fitted.score(form(np.ones((2, D)))) == -np.inf


@sparse_family
def test_every_form_of_sparse_data_gives_the_same(family):
    X = data(family)
    X[3] = 0
    expected = mixture(family).fit(sp.csr_array(X)).weights_
    zeros = sp.csr_array((X.ravel(), np.tile(np.arange(D), N), np.arange(N + 1) * D), X.shape)
    long, mixed = sp.csr_array(X), sp.csr_array(X)
    long.data = np.append(long.data, 99.0)
    mixed.indptr = mixed.indptr.astype(np.int64)
    for form in (sp.bsr_array(X), sp.dia_matrix(X), sp.lil_array(X), zeros, long, mixed):
        assert_array_equal(mixture(family).fit(form).weights_, expected)


@sparse_family
def test_broken_matrices_are_refused(family):
    fitted, X = mixture(family).fit(data(family)), sp.csr_array(data(family))
    X.indices[4] = -1
    for call in (mixture(family).fit, fitted.predict, fitted.predict_proba, fitted.score):
        with pytest.raises(ValueError, match=r"indices\[4\] must be in \[0, 5\), got -1"):
            call(X)


def test_a_corpus_of_gensim_is_refused():
    with pytest.raises(ValueError, match="corpus2csc"):
        mixture("multinomial").fit([[(0, 1), (2, 2)], [(1, 1)]])


# ---- numbers out of reach ----------------------------------------------------------------------


@pytest.mark.parametrize("family", ["multinomial", "poisson"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_counts_that_rounding_would_lose_are_refused(family, form):
    X = data(family)
    X[0, 1] = 1e300
    fitted = mixture(family).fit(data(family))
    for call in (mixture(family).fit, fitted.predict, fitted.score_samples):
        with pytest.raises(ValueError, match=r"at most 2147483647, got 1e\+300 in feature 1: the"):
            call(form(X))


@pytest.mark.parametrize("n_trials", [2**31, 2**62, 1e300, [3, 3, 3, 3, 2**40]])
def test_trials_that_rounding_would_lose_are_refused(n_trials):
    with pytest.raises(ValueError, match="n_trials"):
        mixture("binomial", n_trials=n_trials).fit(data("binomial"))


@pytest.mark.parametrize("turn", [False, True])
def test_rare_successes_in_as_many_trials_as_can_be(turn):
    """The log-probability has its digits, and the bound rises."""
    n = 2**31 - 1
    X = np.random.default_rng(0).poisson(np.repeat([3.0, 12.0], 100)[:, None], (200, 2))
    X = (n - X if turn else X).astype(float)
    fitted = BinomialMixture(2, n_trials=n, tol=0, max_iter=40, random_state=1).fit(X)
    steps = np.diff(fitted.lower_bounds_)
    assert steps.min() > -(1e-6 if turn else 1e-9)  # 1 - 3 / n has few digits of 3 / n
    one = BinomialMixture(n_trials=n, probabilities_init=[[3 / n, 12 / n]], max_iter=0).fit(X)
    few = np.array([[2.0, 15.0]])
    expected = stats.poisson.logpmf(few, [3, 12]).sum()  # its limit; the error is of order 1 / n
    assert_allclose(one.score_samples(few), expected, rtol=1e-7)


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_rounding_of_large_counts_is_no_fall():
    """The bound of such data stops to the digits that it has, without a warning."""
    n = 10**9
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rates = n + rng.normal(size=(3, 4)) * 2 * n**0.5
        X = np.floor(rng.normal(rates[rng.integers(3, size=200)], n**0.5))
        PoissonMixture(3, random_state=seed).fit(X)
        BinomialMixture(3, n_trials=2 * n, random_state=seed).fit(X)
    assert not DiscreteEM(Poisson(4), most=1000).bound_may_fall
    assert DiscreteEM(Binomial([10**9])).bound_may_fall


@every_family
@pytest.mark.parametrize("total", [1e299, 1e-290])
def test_weights_out_of_reach_are_refused(family, total):
    with pytest.raises(ValueError, match="sample_weight must sum to between 1e-200 and 1e200"):
        mixture(family).fit(data(family), sample_weight=np.full(N, total / N))


@every_family
@pytest.mark.parametrize("value", [1e300, np.inf])
def test_priors_out_of_reach_are_refused(family, value):
    name = "rate_prior" if family == "poisson" else "probability_prior"
    for parameters in ({"weight_prior": value}, {name: value}):
        with pytest.raises(ValueError, match=r"1e\+100|inf"):
            mixture(family, **parameters).fit(data(family))


# ---- fitted attributes -------------------------------------------------------------------------

WRONG = {
    "nan": (lambda a: np.full_like(a, np.nan), "must be finite"),
    "negative": (lambda a: np.where(a == a.max(), -a, a), "must be in .*, got -"),
    "none": (lambda a: a[:0], "must be numbers of shape"),
    "fewer": (lambda a: a[..., :-1], "must be numbers of shape|must sum to 1"),
    "flat": (lambda a: a.sum(), "must be numbers of shape"),
}


@every_family
@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("attribute", ["weights_", "values"])
def test_attributes_that_are_wrong_are_named(family, case, attribute):
    fitted, X = mixture(family).fit(data(family)), data(family)
    if attribute == "values":
        attribute = "rates_" if family == "poisson" else "probabilities_"
    change, message = WRONG[case]
    setattr(fitted, attribute, change(getattr(fitted, attribute)))
    for call in (fitted.predict, fitted.score, fitted.bic, lambda _: fitted.sample(3)):
        with pytest.raises(ValueError, match=f"^{attribute} .*({message})"):
            call(X)


@pytest.mark.parametrize(
    ("family", "name"), [("binomial", "trials"), ("categorical", "categories")]
)
def test_numbers_of_each_feature_that_are_wrong_are_named(family, name):
    fitted = mixture(family).fit(data(family))
    setattr(fitted, f"n_{name}_", np.ones(D + 1))
    with pytest.raises(ValueError, match=f"n_{name}_ .* must be numbers of shape \\(5\\)"):
        fitted.predict(data(family))


# ---- words that name the cure ------------------------------------------------------------------


@pytest.mark.parametrize("X", [[["a", "x"], ["b", "y"]], np.array([["a", 1.0]], object)])
def test_text_is_refused_with_the_cure(X):
    with pytest.raises(ValueError, match="got text: number them, for example with sklearn"):
        CategoricalMixture().fit(X)


@every_family
@pytest.mark.parametrize("n_samples", [None, "a", [3], 3j])
def test_sample_takes_numbers(family, n_samples):
    fitted = mixture(family).fit(data(family))
    with pytest.raises(TypeError, match="n_samples must be an integer of at least 1, got"):
        fitted.sample(n_samples)
    for three in (np.int64(3), 3.0, np.array(3)):  # which scikit-learn's mixtures take, too
        assert len(fitted.sample(three)[0]) == 3


def test_multinomial_sample_takes_numbers():
    fitted = mixture("multinomial").fit(data("multinomial"))
    with pytest.raises(TypeError, match="n_trials must be an integer of at least 1, got 'a'"):
        fitted.sample(2, n_trials="a")


# ---- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("init_params", ["random_from_data", "random", "kmeans"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_binary_data_take_no_more_than_their_codes(init_params, dtype):
    """Entries are made of few rows at once; what k-means has to cluster is float32."""
    X = (np.random.default_rng(0).random((5000, 400)) < 0.3).astype(dtype)
    model = BernoulliMixture(4, max_iter=2, init_params=init_params, random_state=0)
    tracemalloc.start()
    model.fit(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    clustered = 4 * X.size if init_params == "kmeans" else 0
    assert peak < clustered + 4 * X.size + 0.2 * X.nbytes + 8e6


# ---- blocks ------------------------------------------------------------------------------------


@every_family
def test_counts_below_0_name_block_and_row(family):
    X = data(family)
    fitted = clone(MIXTURES[family]).fit(X)
    X[26, 3] = -1
    spoilt = Blocks.from_arrays(X, batch_rows=10)
    with pytest.raises(ValueError, match=r"^block 2, row 6: Negative values in data"):
        mixture(family).fit(spoilt)
    with pytest.raises(ValueError, match=r"^block 2, row 6: Negative values in data"):
        fitted.score(spoilt)
    with pytest.raises(ValueError, match=r"^block 2, row 6: Negative values in data"):
        list(fitted.predict(spoilt))


@pytest.mark.parametrize("value", [2, 0.5])
def test_the_first_row_that_is_wrong_is_told(value):
    X = data("bernoulli")
    X[26, 3] = value
    X[27, 2] = -1  # of an earlier feature, but a later row
    with pytest.raises(ValueError, match=r"^block 2, row 6: X must hold 0, 1 .* feature 3"):
        mixture("bernoulli").fit(Blocks.from_arrays(X, np.ones(N), batch_rows=10))
