"""What hidden Markov models refuse, and say of it; what they take: lists, names, attributes."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastem import (
    GMMHMM,
    BernoulliHMM,
    BinomialHMM,
    CategoricalHMM,
    GaussianHMM,
    MultinomialHMM,
    PoissonHMM,
)

ALL = [
    BernoulliHMM, BinomialHMM, CategoricalHMM, GaussianHMM, GMMHMM, MultinomialHMM, PoissonHMM,
]  # fmt: skip
X = np.random.default_rng(0).normal(size=(12, 2))


def chain(cls=GaussianHMM, *args, **attributes):
    """Return a model of two states with a chain, and what else is given."""
    model = cls(2, *args)
    model.startprob_, model.transmat_ = [0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]]
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def gauss(**attributes):
    attributes = {"means_": [[0, 0], [1, 1]], "covars_": [[1, 1], [1, 1]]} | attributes
    return chain(GaussianHMM, **attributes)


# ---- sequences -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([5, 6], r"lengths must sum to the number of rows of X, 12, got 11"),
        ([12, 12], r"lengths must sum to the number of rows of X, 12, got 24"),
        ([5, 0, 7], r"lengths must be at least 1, got 0 for sequence 1"),
        ([-2, 14], r"lengths must be at least 1, got -2 for sequence 0"),
        ([5.5, 6.5], r"lengths must be a list of integers"),
        ([True] * 12, r"lengths must be a list of integers"),
        ([[5, 7]], r"lengths must be a list of integers"),
        ([], r"lengths must be a list of integers"),
        ("twelve", r"lengths must be a list of integers"),
    ],
)
def test_lengths_that_cannot_be(lengths, message):
    model = gauss()
    for use in (model.fit, model.score, model.predict, model.predict_proba, model.bic):
        with pytest.raises(ValueError, match=message):
            use(X, lengths)


def test_lists_of_sequences():
    model = gauss()
    assert model.score([X[:5], X[5:]]) == model.score(X, [5, 7])
    assert model.score([X[:5].tolist(), X[5:].tolist()]) == model.score(X, [5, 7])
    assert model.score((X,)) == model.score(X)
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame(part, columns=["a", "b"]) for part in (X[:5], X[5:])]
    fitted = gauss().fit(frames)
    assert_array_equal(fitted.feature_names_in_, ["a", "b"])
    assert_array_equal(fitted.predict(frames), fitted.predict(pandas.concat(frames), [5, 7]))
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict([frames[0], frames[1].rename(columns={"a": "c"})])
    for bad, message in (
        ([X[:5], X[5:, :1]], r"same features, got 2 in sequence 0 and 1 in sequence 1"),
        ([X[:5], X[:0]], r"no empty sequence, got no row in sequence 1"),
    ):
        with pytest.raises(ValueError, match=message):
            model.score(bad)
    with pytest.raises(ValueError, match="lengths must be None"):
        model.score([X[:5], X[5:]], [5, 7])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(4), "1D array"),
        (np.zeros((2, 2, 2)), r"two dimensions.*list\(X\)"),
        (np.empty((0, 2)), "minimum of 1"),
        ([], "."),
        ([[np.inf, 0.0]], "infinity"),
        (np.zeros((4, 3)), "X has 3 features, but means_ has 2"),
        (np.zeros((4, 1)), "X has 1 features, but means_ has 2"),
        ([[0, 0], [1]], "."),
        (np.full((3, 2), 1e200), "squares overflow"),
        ([["a", "b"]], "."),
    ],
)
def test_rows_that_cannot_be(X, message):
    with pytest.raises(ValueError, match=message):
        gauss().score(X)


def test_one_feature_where_two_were_fitted():
    model = GaussianHMM(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="X has 1 features, but GaussianHMM is expecting 2"):
        model.predict(X[:, :1])
    model.fit(X[:, :1])  # another fit starts from the beginning
    assert model.means_.shape == (2, 1)
    model.set_params(init_params="st")
    with pytest.raises(ValueError, match="X has 2 features, but means_ has 1"):
        model.fit(X)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0], r"one weight for each of the 2 sequences, got shape \(1,\)"),
        (np.ones(12), "one weight, not one for each row"),
        ([1.0, -1.0], r"got -1\.0 for sequence 1"),
        ([np.nan, 1.0], "got nan for sequence 0"),
        ([0.0, 0.0], "only zeros"),
    ],
)
def test_weights_that_cannot_be(weight, message):
    with pytest.raises(ValueError, match=message):
        gauss().fit(X, [5, 7], sample_weight=weight)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (np.zeros(11, dtype=int), "states must be 12 integers"),
        (np.zeros(12), "states must be 12 integers"),
        (np.full(12, 2), r"from 0 to n_components - 1 = 1, or -1, got 2 at row 0"),
        (np.full(12, -2), "got -2 at row 0"),
    ],
)
def test_states_that_cannot_be(states, message):
    with pytest.raises(ValueError, match=message):
        gauss().fit(X, states=states)


# ---- what a family's rows are ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "rows", "message"),
    [
        (CategoricalHMM(2), [[0], [-1]], r"X must hold symbols .* got -1 at row 1, feature 0"),
        (CategoricalHMM(2), [[0], [0.5]], r"got 0\.5 at row 1"),
        (CategoricalHMM(2, n_features=3), [[0], [3]], r"symbols 0 to 2, got 3 .* n_features"),
        (CategoricalHMM(2), [[-1], [0]], r"symbols 0, 1, 2, ..., got -1 .* number them from 0"),
        (CategoricalHMM(2), [[0, 1], [1, 0]], r"X must be one column of symbols, got 2"),
        (MultinomialHMM(2), [[1, -1]], "got -1 at row 0, feature 1"),
        (MultinomialHMM(2), [[1, 0.5]], r"got 0\.5"),
        (
            MultinomialHMM(2, 5),
            [[2, 3], [2, 2]],
            r"rows of X must sum to n_trials=5, got 4 in row 1",
        ),
        (PoissonHMM(2), [[1], [-3]], "X must hold counts .* got -3 at row 1"),
        (PoissonHMM(2), [[1.5]], r"got 1\.5"),
        (BernoulliHMM(2), [[0], [2]], "X must hold 0, 1 or NaN, got 2"),
        (BinomialHMM(2, 4), [[0], [5]], r"n_trials=4 trials.* got 5 at row 1"),
        (BinomialHMM(2, [1, 2]), [[1, 2, 1]], "n_trials must be an integer .* or 3 of them"),
    ],
)
def test_rows_of_another_kind(model, rows, message):
    with pytest.raises(ValueError, match=message):
        model.fit(rows)


def test_symbols_out_of_range_when_read():
    model = chain(CategoricalHMM, emissionprob_=[[0.5, 0.5], [0.1, 0.9]])
    for rows in ([[2]], [[-1]], [[0.5]], [[0, 1]]):
        with pytest.raises(ValueError, match="X must"):
            model.score(rows)
    poisson = chain(PoissonHMM, lambdas_=[[1.0], [2.0]])
    for rows in ([[-1]], [[0.5]]):
        with pytest.raises(ValueError, match="X must hold counts"):
            poisson.score(rows)


# ---- parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"startprob_": [0.6, 0.5]}, r"startprob_ must sum to 1, got a sum of 1\.1"),
        (
            {"startprob_": [1.2, -0.2]},
            r"startprob_ must be probabilities, at least 0, got -0\.2 at",
        ),
        ({"startprob_": [1.0]}, r"startprob_ must have shape \(2,\), got \(1,\)"),
        (
            {"transmat_": [[0.7, 0.2], [0.4, 0.6]]},
            r"transmat_ rows must sum to 1, got 0\.9 in row 0",
        ),
        ({"transmat_": [[0.7, 0.3], [1.4, -0.4]]}, r"got -0\.4 at \[1, 1\]"),
        ({"transmat_": [[0.7, 0.3], [np.nan, 0.4]]}, r"got nan at \[1, 0\]"),
        ({"transmat_": np.eye(3)}, r"transmat_ must have shape \(2, 2\), got \(3, 3\)"),
        ({"means_": [0.0, 1.0]}, r"means_ must have shape"),
        ({"means_": [[0, np.inf], [0, 0]]}, "means_ must be finite"),
    ],
)
def test_attributes_that_cannot_be(attributes, message):
    model = gauss(**attributes)
    with pytest.raises(ValueError, match=message):
        model.score(X)
    with pytest.raises(ValueError, match=message):
        model.set_params(init_params="").fit(X)


@pytest.mark.parametrize(
    ("cls", "name", "value", "message"),
    [
        (CategoricalHMM, "emissionprob_", [[0.5, 0.4], [0.5, 0.5]], "rows must sum to 1, got 0.9"),
        (CategoricalHMM, "emissionprob_", [], "must have shape"),
        (MultinomialHMM, "emissionprob_", np.zeros((0, 2)), "must have shape"),
        (PoissonHMM, "lambdas_", [[-1.0], [1.0]], "lambdas_ must be finite and at least 0"),
        (BernoulliHMM, "emissionprob_", [[1.5], [0.5]], r"emissionprob_ must be in \[0, 1\]"),
    ],
)
def test_emissions_that_cannot_be(cls, name, value, message):
    with pytest.raises(ValueError, match=message):
        chain(cls, **{name: value}).score([[0]])


@pytest.mark.parametrize(
    ("kind", "covars", "message"),
    [
        ("diag", [[1, 2, 3]] * 3, r"must have shape \(n_components, n_features\)"),
        ("diag", [[1, 0], [1, 1]], r"above 0, got 0 at \[0, 1\]"),
        ("diag", [np.array([[1.0, 0.5], [0.5, 1.0]])] * 2, "not of covariance_type='diag'"),
        ("full", [[[1, 2], [2, 1]], np.eye(2)], "matrix 0 of covars_ must be positive definite"),
        ("full", [[[1, 2], [0, 1]], np.eye(2)], "finite and symmetric"),
        ("full", [[1, 1], [1, 1]], "must have shape"),
        ("tied", [[1, 2], [2, 1]], "covars_ must be positive definite"),
        ("tied", [np.eye(2), 2 * np.eye(2)], "not of covariance_type='tied'"),
        ("spherical", [1, -1], "above 0, got -1"),
        ("spherical", [1, 1, 1], "must have shape"),
    ],
)
def test_covariances_that_cannot_be(kind, covars, message):
    model = chain(GaussianHMM, kind, means_=[[0, 0], [1, 1]])
    with pytest.raises(ValueError, match=message):
        model.covars_ = covars


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_covariances_as_they_are_read(kind):
    """covars_ is read as (K, D, D), and may be set on another model so."""
    model = GaussianHMM(2, kind, random_state=0).fit(X)
    assert model.covars_.shape == (2, 2, 2)
    other = chain(GaussianHMM, kind, means_=model.means_, covars_=model.covars_)
    assert_array_equal(other.covars_, model.covars_)
    assert_array_equal(other._covars_, model._covars_)
    model.covars_[:] = 0  # a copy
    assert model.covars_.any()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (GaussianHMM(0), "n_components"),
        (GaussianHMM(2, "round"), "covariance_type"),
        (GaussianHMM(2, n_iter=-1), "n_iter"),
        (GaussianHMM(2, tol=np.nan), "tol must be a number"),
        (GaussianHMM(2, params="stx"), "letters of 'stmc' alone, got 'stx' with 'x'"),
        (GaussianHMM(2, init_params="q"), "init_params must have letters"),
        (GaussianHMM(2, algorithm="best"), "algorithm"),
        (GaussianHMM(2, implementation="fast"), "implementation"),
        (GaussianHMM(2, n_jobs=0), "n_jobs"),
        (GaussianHMM(2, min_covar=-1), "min_covar"),
        (GaussianHMM(2, startprob_prior=[1, 2, 3]), "startprob_prior must be a number"),
        (GaussianHMM(2, transmat_prior=-1.0), "transmat_prior"),
        (GaussianHMM(2, means_prior=np.zeros(5)), "means_prior"),
        (GaussianHMM(2, covars_prior=np.zeros((3, 3))), "covars_prior must be a number"),
        (GMMHMM(2, 2, covars_prior=-5.0), "take away rows"),
        (GMMHMM(2, 2, weights_prior=np.ones(3)), "weights_prior"),
        (GaussianHMM(2, topology="round"), "topology"),
        (GaussianHMM(2, topology=np.ones((2, 2))), "topology must be a name or booleans"),
        (GaussianHMM(2, topology=np.array([[True, False], [False, False]])), "from state 1"),
        (GaussianHMM(2, transmat_fixed=[[0.7, 0.7], [np.nan, 0.1]]), "state 0 that are fixed"),
        (GaussianHMM(2, transmat_fixed=[[0.1, 0.1], [np.nan, 0.1]]), "and no free one"),
        (GaussianHMM(2, transmat_fixed=[[1.7, np.nan]] * 2), "hold probabilities or NaN"),
        (GaussianHMM(2, topology="linear", transmat_fixed=[[np.nan] * 2, [0.5, np.nan]]),
         "which topology forbids"),
    ],
    ids=str,
)  # fmt: skip
def test_parameters_that_cannot_be(model, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert not [name for name in vars(model) if name.endswith("_")]


@pytest.mark.parametrize("cls", ALL)
def test_what_is_not_fitted_says_what_it_lacks(cls):
    model = cls(2)
    with pytest.raises(NotFittedError, match="has no startprob_, transmat_"):
        model.predict([[0]])
    with pytest.raises(AttributeError):
        _ = model.stop_reason_
    with pytest.raises(NotFittedError, match=r"covars_|means_|emissionprob_|lambdas_"):
        chain(cls).sample(3)


# ---- samples, and the rest of hmmlearn's interface -------------------------------------------


def test_samples():
    """Seeded, with hard zeros, going on from a state; wrong arguments are named."""
    model = gauss(transmat_=[[0.0, 1.0], [1.0, 0.0]], startprob_=[1.0, 0.0])
    rows, states = model.sample(6, random_state=3)
    assert_array_equal(states, [0, 1, 0, 1, 0, 1])
    assert_array_equal(model.sample(6, random_state=3)[0], rows)
    assert_array_equal(model.sample(3, currstate=1)[1], [1, 0, 1])
    for bad in (0, -1, 1.5):
        with pytest.raises(ValueError, match="n_samples must be"):
            model.sample(bad)
    for bad in (2, -1, 0.5):
        with pytest.raises(ValueError, match="currstate must be from 0 to"):
            model.sample(1, currstate=bad)
    multinomial = chain(MultinomialHMM, emissionprob_=[[0.5, 0.5], [0.1, 0.9]])
    for bad in (None, [1, 2, 3]):
        multinomial.n_trials = bad
        with pytest.raises(ValueError, match="n_trials must be one number"):
            multinomial.sample(2)


def test_samples_never_end_in_a_state_of_probability_0():
    """Also where rounding ends a row's sums below the uniform number."""

    class High(np.random.RandomState):
        def rand(self, *shape):
            return 1 - 1e-12

    share = (1 - 3e-9) / 2
    model = CategoricalHMM(3)
    model.startprob_ = [share, share, 0.0]
    model.transmat_, model.emissionprob_ = [[share, share, 0.0]] * 3, [[share, share, 0.0]] * 3
    rows, states = model.sample(4, random_state=High(0))
    assert_array_equal(states, 1)
    assert_array_equal(rows, 1)


@pytest.mark.parametrize(
    ("transmat", "expected"),
    [
        ([[0.9, 0.1], [0.3, 0.7]], [0.75, 0.25]),
        ([[0.0, 1.0], [1.0, 0.0]], [0.5, 0.5]),
        ([[0.5, 0.5], [0.0, 1.0]], [0.0, 1.0]),
        ([[1.0, 0.0], [0.0, 1.0]], [0.6, 0.4]),
        ([[1 - 1e-18, 1e-18], [3e-18, 1 - 3e-18]], [0.75, 0.25]),
        ([[1.0, 1e-200], [1e-12, 1 - 1e-12]], [1.0, 1e-188]),
    ],
    ids=["usual", "periodic", "absorbing", "two parts", "hardly ever", "nearly absorbing"],
)
def test_stationary_distribution(transmat, expected):
    found = gauss(transmat_=transmat).get_stationary_distribution()
    assert_allclose(found, expected, rtol=1e-12)
    assert found.dtype == np.float64


@pytest.mark.parametrize("cls", ALL)
def test_parameters_survive_a_fit(cls):
    """fit changes no parameter; a clone has them and nothing fitted."""
    model = cls(2, random_state=0)
    before = dict(model.get_params())
    rows = np.tile([[0], [1], [1], [0], [1]], (4, 1))
    model.fit(rows)
    assert model.get_params() == before
    assert model.n_features == (2 if cls is CategoricalHMM else 1)
    copied = clone(model)
    assert copied.get_params() == before
    assert not [name for name in vars(copied) if name.endswith("_")]
    assert_array_equal(copied.fit(rows).transmat_, model.transmat_)


def test_map_paths_by_parameter():
    model = gauss()
    assert_array_equal(
        model.set_params(algorithm="map").predict(X), model.predict_proba(X).argmax(axis=1)
    )
    with pytest.raises(ValueError, match="algorithm must be 'viterbi' or 'map', got 'best'"):
        model.decode(X, algorithm="best")


def test_numpy_that_raises_at_underflow():
    """Probabilities that are too small for a number are no error, whatever np.seterr says."""
    rows = np.r_[np.zeros(5), np.full(5, 500.0)][:, None]
    with np.errstate(all="raise"):
        model = GaussianHMM(2, random_state=0).fit(rows)
        assert np.isfinite(model.score(rows))
        assert model.predict_proba(rows).shape == (10, 2)
        assert len(np.unique(model.predict(rows))) == 2


@pytest.mark.parametrize("make", [GaussianHMM, GMMHMM])
def test_fewer_rows_than_states_is_told_in_our_words(make):
    X = np.arange(6.0).reshape(3, 2)
    message = (
        r"at least n_components=5 rows .* got n_samples=3: decrease n_components, or set means_"
    )
    with pytest.raises(ValueError, match=message):
        make(5).fit(X)


def test_means_of_another_shape_before_fit():
    model = GaussianHMM(2)
    model.startprob_, model.transmat_ = [0.5, 0.5], np.full((2, 2), 0.5)
    model.means_, model.covars_ = [[0, 0]], np.ones((2, 2))
    with pytest.raises(ValueError, match=r"means_ must have shape \(2, n_features\), got \(1, 2\)"):
        model.score([[0.0, 0.0]])


def test_startprob_that_does_not_sum_to_1_is_told_the_remedy():
    with pytest.raises(ValueError, match=r"startprob_ must sum to 1, got a sum of 1\.1: divide it"):
        gauss(startprob_=[0.5, 0.6]).score([[0.0, 0.0]])


def test_more_states_than_memory_holds_are_refused():
    with pytest.raises(ValueError, match="n_components must be at most 100000, got 1000000000000"):
        BinomialHMM(10**12).fit(np.array([[0], [1], [1]]))


@pytest.mark.parametrize("make", [CategoricalHMM, PoissonHMM, MultinomialHMM])
def test_integers_are_read_as_they_are(make):
    """The same bits as of float64."""
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 9, (50_000, 1 if make is CategoricalHMM else 6))
    fits = [make(2, n_iter=2, random_state=0).fit(X, [1000] * 50) for X in
            (rows, rows.astype(np.int32), rows.astype(np.float64))]  # fmt: skip
    for other in fits[1:]:
        assert other.lower_bounds_ == fits[0].lower_bounds_
        assert_array_equal(other.predict(rows), fits[0].predict(rows))


def test_integers_are_not_copied_as_a_whole():
    rows = np.random.default_rng(3).integers(0, 9, (200_000, 6))
    model = PoissonHMM(2, n_iter=2, init_params="")
    model.startprob_, model.transmat_ = [0.5, 0.5], np.full((2, 2), 0.5)
    model.lambdas_ = [[3.0] * 6, [5.0] * 6]
    tracemalloc.start()
    model.fit(rows, [1000] * 200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.nbytes


def test_missing_values_need_no_copy_of_all_rows():
    rows = np.random.default_rng(4).normal(size=(400_000, 4))
    rows[::100, 1] = np.nan
    model = gauss(means_=[[0.0] * 4, [1.0] * 4], covars_=np.ones((2, 4)))
    model.set_params(init_params="", n_iter=2)
    tracemalloc.start()
    model.fit(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * rows.nbytes


@pytest.mark.parametrize("make", [GaussianHMM, GMMHMM])
def test_a_default_start_takes_no_copy_of_x(make):
    means = np.random.default_rng(5).normal(size=(4, 24)) * 5
    rows = np.random.default_rng(6).normal(size=(120_000, 24))
    rows += means[np.arange(120_000) // 100 % 4]
    states = {"n_mix": 1} if make is GMMHMM else {}
    model = make(4, n_iter=1, random_state=0, **states)
    tracemalloc.start()
    model.fit(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * rows.nbytes
