"""Reading a fitted estimator again and again: what is kept, and the same answers and errors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from fastem import (
    BernoulliMixture,
    CategoricalMixture,
    GaussianMixture,
    KMeans,
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
