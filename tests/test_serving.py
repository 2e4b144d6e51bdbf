"""Reading a fitted estimator again and again: what is kept, and the same answers and errors."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from fastem import (
    PLSA,
    BernoulliMixture,
    CategoricalMixture,
    GaussianMixture,
    KMeans,
    LatentDirichletAllocation,
    MultinomialMixture,
    PoissonHMM,
    PoissonMixture,
)
from fastem._engine.arrays import is_plain

X = np.random.default_rng(0).poisson(3, (90, 4)).astype(float)
ESTIMATORS = {
    "gaussian": (GaussianMixture(2, random_state=0), "means_"),
    "diag": (GaussianMixture(2, covariance_type="diag", random_state=0), "means_"),
    "kmeans": (KMeans(2, n_init=1, random_state=0), "cluster_centers_"),
    "bernoulli": (BernoulliMixture(2, binarize=2.5, random_state=0), "probabilities_"),
    "poisson": (PoissonMixture(2, random_state=0), "rates_"),
}
every_estimator = pytest.mark.parametrize(
    ("estimator", "attribute"), ESTIMATORS.values(), ids=ESTIMATORS
)


def read(fitted, X):
    return fitted.transform(X) if hasattr(fitted, "transform") else fitted.predict_proba(X)


@every_estimator
def test_one_row_is_read_as_in_company(estimator, attribute):
    fitted = clone(estimator).fit(X)
    together = read(fitted, X)
    alone = np.vstack([read(fitted, X[i : i + 1]) for i in range(len(X))])
    assert_allclose(alone, together, rtol=1e-9, atol=1e-12)


@every_estimator
def test_a_changed_attribute_is_noticed(estimator, attribute):
    """Set, set wrongly, deleted: after it was read before."""
    fitted = clone(estimator).fit(X)
    before = read(fitted, X[:3])
    old = getattr(fitted, attribute)
    setattr(fitted, attribute, old[::-1].copy())
    assert not np.allclose(read(fitted, X[:3]), before)
    setattr(fitted, attribute, np.full_like(old, np.nan))
    with pytest.raises(ValueError, match=f"{attribute} .*must be finite"):
        read(fitted, X[:3])
    setattr(fitted, attribute, old)
    assert_array_equal(read(fitted, X[:3]), before)


@every_estimator
def test_another_fit_is_noticed(estimator, attribute):
    fitted = clone(estimator).fit(X)
    read(fitted, X[:3])
    fitted.fit(X[::2] + 1)
    assert_array_equal(read(fitted, X[:3]), read(clone(estimator).fit(X[::2] + 1), X[:3]))


@every_estimator
def test_an_array_changed_in_place_is_read_as_it_is(estimator, attribute):
    fitted = clone(estimator).fit(X)
    read(fitted, X[:3])
    array = getattr(fitted, attribute)
    array *= 0.875
    fresh = clone(estimator).fit(X)
    setattr(fresh, attribute, array.copy())
    assert_allclose(read(fitted, X[:3]), read(fresh, X[:3]), rtol=1e-12)


@every_estimator
def test_reading_adds_no_attribute(estimator, attribute):
    fitted = clone(estimator).fit(X)
    before = set(vars(fitted))
    read(fitted, X[:3])
    assert set(vars(fitted)) == before


def test_what_is_plain():
    """Only what scikit-learn's validation would return as it is."""
    fitted = KMeans(2, n_init=1, random_state=0).fit(X)
    assert is_plain(fitted, X, np.float64)
    assert is_plain(fitted, X[:1], [np.float64, np.float32])
    wrong = [
        X[:, :3], X[:0], X[0], X.tolist(), X.astype(int), X.astype(np.float32), X[:, ::-1],
        np.asfortranarray(X), X.astype(">f8"), np.where(X.max() == X, np.inf, X), X.view(np.matrix),
    ]  # fmt: skip
    for other in wrong:
        assert not is_plain(fitted, other, np.float64)
    named = pytest.importorskip("pandas").DataFrame(X, columns=list("abcd"))
    assert not is_plain(KMeans(2, n_init=1, random_state=0).fit(named), X, np.float64)


def test_a_warm_start_from_a_damaged_fit_names_the_attribute():
    X = np.arange(40).reshape(10, 4) % 3.0
    mixture = CategoricalMixture(2, warm_start=True, random_state=0, tol=1e9).fit(X)
    mixture.n_categories_ = np.full(3, 3)
    with pytest.raises(ValueError, match=r"n_categories_ .*must be"):
        mixture.fit(X)


def test_a_chain_begins_anew_whatever_stood_there():
    """As in hmmlearn: what `init_params` names is initialised, if a user set it to text, too."""
    X = np.arange(40).reshape(10, 4) % 3.0
    fitted = PoissonHMM(2, random_state=0, n_iter=2, tol=1e9).fit(X)
    expected = fitted.startprob_
    fitted.startprob_ = "a"
    assert_array_equal(fitted.fit(X).startprob_, expected)


LAYOUTS = {
    "columns": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "other order of bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "unaligned": lambda a: _unaligned(a),
}


def _unaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)
    out = memory[1:].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_attributes_may_lie_in_memory_as_they_like(layout, kind):
    """Kernels read doubles one after the other; what is not so is copied."""
    fitted = GaussianMixture(3, covariance_type=kind, random_state=0, reg_covar=1e-3).fit(X)
    before = [fitted.predict_proba(rows) for rows in (X[:1], X)]
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(fitted, name, layout(getattr(fitted, name)))
    for rows, expected in zip((X[:1], X), before, strict=True):
        assert_array_equal(fitted.predict_proba(rows), expected)


SPARSE = {
    "lda": LatentDirichletAllocation(2, max_iter=2, random_state=0),
    "plsa": PLSA(2, max_iter=2, tol=0, random_state=0),
    "multinomial": MultinomialMixture(2, random_state=0),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", SPARSE.values(), ids=SPARSE)
def test_sparse_rows_are_read_and_refused_as_by_scikit_learn(estimator):
    fitted = clone(estimator).fit(sp.csr_array(X))
    expected = read(fitted, X[:5])
    for form in (sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_matrix):
        assert_array_equal(read(fitted, form(X[:5])), expected)
    assert_allclose(read(fitted, sp.csr_array(X[:5].astype(np.float32))), expected, rtol=1e-6)
    name = type(fitted).__name__
    with pytest.raises(ValueError, match=f"X has 3 features, but {name} is expecting 4 features"):
        read(fitted, sp.csr_array(X[:5, :3]))
    for bad, problem in ((np.nan, "contains NaN"), (np.inf, "contains infinity")):
        rows = sp.csr_array(X[:5])
        rows.data[2] = bad
        with pytest.raises(ValueError, match=problem):
            read(fitted, rows)
    with pytest.raises(ValueError, match=r"minimum of 1 is required"):
        read(fitted, sp.csr_array(X[:0]))
    rows = sp.csr_array(X[:5])
    rows.data[1] = -1
    with pytest.raises(ValueError, match=r"[Nn]egative|at least 0"):
        read(fitted, rows)
