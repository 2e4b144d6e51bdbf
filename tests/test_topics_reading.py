"""What fitted topic models refuse: attributes that no fit left, counts that are none."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import LatentDirichletAllocation as Theirs

from fastem import PLSA, LatentDirichletAllocation

RNG = np.random.default_rng(0)
X = RNG.poisson(1.0, (30, 8)).astype(float)
MODELS = {
    "plsa": lambda: PLSA(3, random_state=0, tol=1e-2).fit(X),
    "lda": lambda: LatentDirichletAllocation(3, random_state=0, max_iter=3).fit(X),
    "point": lambda: LatentDirichletAllocation(3, topic_word_prior=0, random_state=0).fit(X),
}
models = pytest.mark.parametrize("fitted", MODELS.values(), ids=MODELS)
READ = {
    "transform": lambda m: m.transform(X),
    "score": lambda m: m.score(X),
    "perplexity": lambda m: m.perplexity(X),
    "coherence": lambda m: m.coherence(X, n=3),
    "top_words": lambda m: m.top_words(),
    "inverse_transform": lambda m: m.inverse_transform(np.full((2, 3), 1 / 3)),
    "elbo": lambda m: m.elbo(X),
    "token_topics": lambda m: m.token_topics(X),
    "held_out_log_likelihood": lambda m: m.held_out_log_likelihood(X, X),
    "partial_fit": lambda m: m.partial_fit(X),
}


def changed(value):
    """Return a function that puts a value into the second topic."""

    def change(components):
        components = components.copy()
        components[1, 2] = value
        return components

    return change


COMPONENTS = {
    "NaN": (changed(np.nan), "must be finite"),
    "infinite": (changed(np.inf), "must be finite"),
    "negative": (changed(-0.1), r"must be in \[0, inf\], got -0.1"),
    "no topics": (lambda c: c[:0], r"got float64 of shape \(0, 8\)"),
    "fewer words": (lambda c: c[:, :5], r"shape \(any, 8\), got float64 of shape \(3, 5\)"),
    "more words": (lambda c: np.hstack([c, c]), r"got float64 of shape \(3, 16\)"),
    "one row": (lambda c: c[0], r"got float64 of shape \(8,\)"),
    "integers": (lambda c: c.astype(int), "float32 or float64 .*, got int64"),
    "list": (lambda c: c.tolist(), "got list"),
    "None": (lambda c: None, "got NoneType"),
}


@pytest.mark.parametrize(("change", "words"), COMPONENTS.values(), ids=COMPONENTS)
@models
def test_bad_components_are_named(fitted, change, words):
    model = fitted()
    model.components_ = change(model.components_)
    for name, read in READ.items():
        if hasattr(model, name):
            with pytest.raises(ValueError, match="components_ .*" + words):
                read(model)


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        ("plsa", "beta_", 0.0),
        ("plsa", "beta_", np.nan),
        ("plsa", "beta_", None),
        ("lda", "doc_topic_prior_", -0.5),
        ("lda", "doc_topic_prior_", np.array([0.1, 0.2])),
        ("lda", "doc_topic_prior_", np.array([0.1, np.nan, 0.2])),
        ("lda", "doc_topic_prior_", None),
        ("lda", "topic_word_prior_", np.inf),
        ("lda", "topic_word_prior_", np.ones(5)),
        ("lda", "topic_word_prior_", np.zeros(8)),
        ("lda", "topic_word_prior_", "auto"),
        ("point", "topic_word_prior_", -1.0),
    ],
)
def test_other_bad_attributes_are_named(make, name, value):
    model = MODELS[make]()
    setattr(model, name, value)
    with pytest.raises(ValueError, match=f"^{name} of this fitted"):
        model.transform(X)


def test_words_of_a_topic_sum_to_1():
    model = MODELS["plsa"]()
    model.components_ = 2 * model.components_
    with pytest.raises(ValueError, match=r"rows that sum to 1, got a sum of 2 for topic"):
        model.score(X)


def test_only_point_estimates_have_words_of_weight_0():
    lda, point = MODELS["lda"](), MODELS["point"]()
    for model in (lda, point):
        model.components_ = changed(0.0)(model.components_)
    with pytest.raises(ValueError, match=r"components_ .*above 0"):
        lda.transform(X)
    assert np.isfinite(point.transform(X)).all()


@models
def test_good_attributes_may_be_set(fitted):
    model, order = fitted(), [2, 0, 1]
    expected = model.transform(X)[:, order]
    model.components_ = model.components_[order]
    assert_allclose(model.transform(X), expected, rtol=1e-9)


@models
@pytest.mark.parametrize(
    ("n", "error"), [("x", TypeError), (2.0, TypeError), (None, TypeError), (0, ValueError),
                     (-3, ValueError)]
)  # fmt: skip
def test_number_of_words(fitted, n, error):
    with pytest.raises(error, match=f"n must be .*{n}"):
        fitted().top_words(n=n)
    with pytest.raises(error, match="n must be"):
        fitted().coherence(X, n=n)


# ---- documents without words -----------------------------------------------------------------


@models
def test_no_words_have_no_mean(fitted):
    model, nothing = fitted(), np.zeros((4, 8))
    calls = [lambda: model.perplexity(nothing)]
    if hasattr(model, "elbo"):
        calls.append(lambda: model.elbo(nothing))
        calls.append(lambda: model.held_out_log_likelihood(X[:4], nothing))
    for call in calls:
        with pytest.raises(ValueError, match=r"has no count above 0: the .* is not defined"):
            call()
    assert np.isfinite(model.score(nothing))  # a sum, of no words


# ---- counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "score", "perplexity"])
def test_negative_counts_in_scikit_learns_words(method):
    messages = []
    for cls in (Theirs, LatentDirichletAllocation):
        model = cls(2, random_state=0).fit(X)
        with pytest.raises(ValueError, match="Negative values in data") as error:
            getattr(model, method)(-X)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_tags_are_scikit_learns():
    ours, theirs = (cls().__sklearn_tags__() for cls in (LatentDirichletAllocation, Theirs))
    assert ours.transformer_tags == theirs.transformer_tags
    assert ours.input_tags == theirs.input_tags


NUMBERS_AS_STRINGS = {
    "str": lambda x: x.astype(int).astype(str),
    "object": lambda x: x.astype(int).astype(str).astype(object),
    "list": lambda x: x.astype(int).astype(str).tolist(),
    "DataFrame": lambda x: pd.DataFrame(x.astype(int).astype(str)),
}


@pytest.mark.parametrize("as_strings", NUMBERS_AS_STRINGS.values(), ids=NUMBERS_AS_STRINGS)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_strings_are_taken_as_scikit_learn_takes_them(as_strings, method):
    """It reads them as numbers, so they are."""
    expected = Theirs(2, random_state=0).fit(X)
    model = LatentDirichletAllocation(2, random_state=0).fit(X)
    if method == "fit":
        given = as_strings(X)
        assert_allclose(model.fit(given).components_, expected.fit(given).components_, rtol=1e-6)
    else:
        given = as_strings(X[:5])
        assert_allclose(model.transform(given), expected.transform(given), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cls", [PLSA, LatentDirichletAllocation])
def test_counts_whose_sums_overflow_are_refused(cls, dtype):
    most, over = (1e12, 1e20) if dtype == np.float32 else (1e90, 1e300)
    with pytest.raises(ValueError, match="divide them by a number"):
        cls(2, random_state=0).fit((over * X).astype(dtype))
    model = cls(2, random_state=0, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged
        model.fit((most * X).astype(dtype))
    assert np.isfinite(model.components_).all()
    assert np.isfinite(model.transform((most * X).astype(dtype))).all()
    with pytest.raises(ValueError, match="divide them by a number"):
        model.transform((over * X).astype(dtype))
    with pytest.raises(ValueError, match=r"times sample_weight.*divide them by a number"):
        cls(2).fit(X.astype(dtype), sample_weight=np.full(len(X), 1e120))


def test_a_word_that_no_document_had_may_be_frequent():
    """Its probability is hardly above what underflows: count / probability must not overflow."""
    seen = np.hstack([X, np.zeros((30, 2))]).astype(np.float32)
    new = seen[:3].copy()
    new[:, 9] = 1000
    for eta in np.linspace(0.0105, 0.014, 40):
        lda = LatentDirichletAllocation(3, topic_word_prior=eta, random_state=0, max_iter=2)
        assert np.isfinite(lda.fit(seen).transform(new)).all()


# ---- forms of sparse input -------------------------------------------------------------------


def unsorted(csr):
    order = np.concatenate(
        [np.arange(csr.indptr[i + 1] - 1, csr.indptr[i] - 1, -1) for i in range(csr.shape[0])]
    )
    return sp.csr_matrix((csr.data[order], csr.indices[order], csr.indptr), shape=csr.shape)


def stored_zeros(csr):
    full = np.broadcast_to(np.arange(csr.shape[1], dtype=np.int32), csr.shape).ravel()
    indptr = np.arange(csr.shape[0] + 1) * csr.shape[1]
    return sp.csr_matrix((csr.toarray().ravel(), full, indptr), shape=csr.shape)


def twice(csr):
    indices, data = np.repeat(csr.indices, 2), np.repeat(csr.data / 2, 2)
    return sp.csr_matrix((data, indices, 2 * csr.indptr), shape=csr.shape)


def mixed_indices(csr):
    matrix = csr.copy()
    matrix.indptr = matrix.indptr.astype(np.int64)
    return matrix


def strided(csr):
    matrix = csr.copy()
    matrix.data = np.repeat(csr.data, 2)[::2]
    return matrix


def longer(csr):
    matrix = csr.copy()
    matrix.data, matrix.indices = np.append(csr.data, 9.0), np.append(csr.indices, np.int32(1))
    return matrix


FORMS = [stored_zeros, unsorted, twice, mixed_indices, strided, longer, sp.coo_array, sp.csc_matrix]
ESTIMATORS = {
    "plsa": lambda: PLSA(3, random_state=0, max_iter=20, tol=0),
    "plsa-held-out": lambda: PLSA(3, random_state=0, max_iter=20, tol=0, beta="held-out"),
    "plsa-incremental": lambda: PLSA(
        3, random_state=0, max_iter=20, tol=0, algorithm="incremental", batch_size=7
    ),
} | {
    f"lda-{method}": lambda method=method: LatentDirichletAllocation(
        3, learning_method=method, random_state=0, max_iter=4, batch_size=7
    )
    for method in ("batch", "online", "incremental", "cvb0", "stochastic")
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)
def test_the_form_of_x_changes_no_bit(make, form):
    dense = np.hstack([X, X * (RNG.uniform(size=X.shape) < 0.3)])
    csr = sp.csr_matrix(dense)
    expected, given = make().fit(dense), make().fit(form(csr))
    assert_array_equal(given.components_, expected.components_)
    assert_array_equal(given.transform(form(csr)), expected.transform(dense))
    assert given.score(form(csr)) == expected.score(dense)
    if hasattr(given, "beta_"):
        assert given.beta_ == expected.beta_


@pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)
def test_indices_outside_are_refused(make):
    csr = sp.csr_matrix(X)
    csr.indices[7] = 10**6
    with pytest.raises(ValueError, match=r"indices\[7\] must be in \[0, 8\)"):
        make().fit(csr)
