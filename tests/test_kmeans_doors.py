"""KMeans: what is accepted and refused, as scikit-learn does, and numbers far from one."""

import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.cluster
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem import KMeans, em
from fastem.cluster import lloyd

N, D, K = 60, 3, 4


def data(dtype=np.float64):
    return np.random.default_rng(0).normal(size=(N, D)).astype(dtype)


def outcome(estimator, X, weight):
    """Return the inertia, or the error's words."""
    try:
        return estimator.fit(X, sample_weight=weight).inertia_
    except ValueError as error:
        return str(error)


# ---- weights -----------------------------------------------------------------------------------

WEIGHTS = {
    "one negative": np.r_[-0.01, np.ones(N - 1)],
    "all negative": -np.ones(N),
    "nothing in all": np.r_[-np.ones(N // 2), np.ones(N - N // 2)],
    "zeros": np.zeros(N),
    "tiny": np.full(N, 1e-300),  # 0 in float32
    "huge": np.full(N, 1e299),  # infinite in float32
    "infinite": np.full(N, np.inf),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # scikit-learn's own 0 / 0, and its casts
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("init", ["k-means++", "random", "array"])
@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_are_accepted_and_refused_as_by_scikit_learn(case, init, dtype):
    X = data(dtype)
    if case == "nothing in all" and init == "array":
        return  # means of clusters that weigh nothing: of no meaning, and not the same
    parameters = {"init": X[:K] if init == "array" else init, "n_init": 1, "random_state": 0}
    theirs = outcome(sklearn.cluster.KMeans(K, **parameters), X, WEIGHTS[case])
    ours = outcome(KMeans(K, **parameters), X, WEIGHTS[case])
    if isinstance(theirs, str):
        assert ours == theirs
    else:
        assert_allclose(ours, theirs, rtol=1e-12 if dtype == np.float64 else 1e-5)


def test_score_takes_negative_weights():
    X, weight = data(), np.r_[-2.0, np.ones(N - 1)]
    model = KMeans(K, random_state=0).fit(X)
    squared = model.transform(X).min(axis=1) ** 2
    assert_allclose(model.score(X, sample_weight=weight), -(squared @ weight), rtol=1e-12)


# ---- numbers far from one ----------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [(np.float64, 1e308), (np.float64, -1e308), (np.float64, 1e160), (np.float32, -2e38)],
)
def test_values_whose_distances_are_not_finite_are_refused(dtype, value, form):
    X = data(dtype)
    model = KMeans(K, random_state=0).fit(form(X))
    far = X.copy()
    far[5, 1] = value
    message = f"X has values up to {abs(dtype(value)):.6g}, of which squared distances are not fi"
    for call in (KMeans(K).fit, model.predict, model.transform, model.score):
        with pytest.raises(ValueError, match=message.replace("+", r"\+")):
            call(form(far))


def test_weights_whose_inertia_is_not_finite_are_refused():
    X = data()
    message = r"X has values up to [\d.]* and sample_weight up to 1e\+308, of which"
    with pytest.raises(ValueError, match=message):
        KMeans(K, init=X[:K]).fit(X, sample_weight=np.full(N, 1e308))
    with pytest.raises(ValueError, match=message):
        KMeans(K, random_state=0).fit(X).score(X, sample_weight=np.full(N, 1e308))


def test_first_centers_out_of_reach_are_refused():
    with pytest.raises(ValueError, match=r"init has values up to 1e\+200, of which"):
        KMeans(2, init=[[1e200] * D, [0] * D]).fit(data())


@pytest.mark.parametrize(
    ("dtype", "exponent"), [(np.float32, 115), (np.float32, -120), (np.float64, 400)]
)
def test_reading_is_the_same_at_any_magnitude(dtype, exponent):
    """Also where squares are 0 or infinite in the data's type."""
    X, factor = data(dtype), dtype(2.0) ** dtype(exponent)
    near, far = (KMeans(K, init=A[:K], n_init=1, tol=0.05).fit(A) for A in (X, X * factor))
    assert_array_equal(far.labels_, near.labels_)
    assert_array_equal(far.predict(X * factor), near.predict(X))
    assert_array_equal(far.transform(X * factor) / factor, near.transform(X))


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("exponent", [100, -100])
def test_bounds_of_float32_of_any_magnitude(monkeypatch, exponent, watched):
    """The margins of a fit in one call, and the bounds of one that is watched."""
    monkeypatch.setattr(lloyd, "_LEAST_BOUNDED", 0)
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(8, 8))[rng.integers(8, size=3000)] * 2).astype(np.float32)
    X += rng.normal(size=X.shape).astype(np.float32)
    factor = np.float32(2.0**exponent)
    with em.watch(lambda state: None) if watched else nullcontext():
        near, far = (KMeans(8, random_state=0, tol=0).fit(A) for A in (X, X * factor))
    assert near.n_iter_ > 5
    assert_array_equal(far.labels_, near.labels_)
    assert far.n_iter_ == near.n_iter_


def test_a_mean_whose_sum_float32_cannot_hold():
    X = np.full((5000, 2), 1e36, np.float32)
    X[::2] /= 2
    model = KMeans(2, random_state=0).fit(X)
    assert_allclose(np.sort(model.cluster_centers_[:, 0]), [5e35, 1e36], rtol=1e-6)


# ---- fitted attributes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("centers", "message"),
    [
        (np.zeros((0, D)), r"numbers of shape \(any, 3\), got float64 of shape \(0, 3\): fit aga"),
        (np.zeros((2, D + 1)), r"must be numbers of shape \(any, 3\), got float64 of shape \(2, 4"),
        (np.zeros(D), r"must be numbers of shape \(any, 3\), got float64 of shape \(3,\)"),
        (np.array([[0, np.nan, 0]]), "must be finite"),
        (np.array([["a", "b", "c"]]), "must be numbers"),
    ],
)
def test_centers_that_are_wrong_are_named(centers, message):
    model = KMeans(K, random_state=0).fit(data())
    model.cluster_centers_ = centers
    for call in (model.predict, model.transform, model.score):
        with pytest.raises(ValueError, match=f"^cluster_centers_ .*{message}"):
            call(data())


def test_centers_may_be_a_list_of_another_length():
    model = KMeans(K, random_state=0).fit(data())
    model.cluster_centers_ = [[0, 0, 0], [10, 10, 10]]
    assert_array_equal(model.predict(np.full((2, D), [[9], [1]])), [1, 0])


# ---- sparse data -------------------------------------------------------------------------------


def test_sparse_data_of_every_form_give_the_same():
    X = np.where(data() > 0.5, data(), 0)
    expected = KMeans(K, random_state=0).fit(sp.csr_array(X))
    zeros = sp.csr_array((X.ravel(), np.tile(np.arange(D), N), np.arange(N + 1) * D), X.shape)
    strided, mixed = sp.csr_array(X), sp.csr_array(X)
    strided.data = np.repeat(strided.data, 2)[::2]
    mixed.indptr = mixed.indptr.astype(np.int64)
    forms = [sp.csc_matrix(X), sp.coo_array(X), sp.bsr_array(X), sp.dia_array(X)]
    for form in (*forms, zeros, strided, mixed):
        actual = KMeans(K, random_state=0).fit(form)
        assert_array_equal(actual.cluster_centers_, expected.cluster_centers_)
        assert_array_equal(actual.predict(form), expected.labels_)
        assert_allclose(actual.score(form), expected.score(X), rtol=1e-14)


def test_sparse_matrices_that_are_broken_are_refused():
    model = KMeans(K, random_state=0).fit(np.abs(data()))
    X = sp.csr_array(np.abs(data()))
    X.indices[7] = 10**6
    for call in (KMeans(K).fit, model.predict, model.transform, model.score, model.fit_predict):
        with pytest.raises(ValueError, match=r"indices\[7\] must be in \[0, 3\), got 1000000"):
            call(X)


# ---- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize(("copy_x", "most"), [(True, 1.15), (False, 0.15)])
def test_a_fit_takes_one_copy_of_x_or_none(init, copy_x, most, dtype):
    X = np.random.default_rng(0).normal(size=(20_000, 80)).astype(dtype)
    model = KMeans(4, init=init, n_init=1, max_iter=2, copy_x=copy_x, random_state=0)
    tracemalloc.start()
    model.fit(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < most * X.nbytes + 2e6


def test_64_bit_indices_are_accepted_where_32_are_enough():
    """scikit-learn refuses them all."""
    X = sp.csr_array(np.where(data() > 0.5, data(), 0))
    expected = KMeans(K, random_state=0).fit(X).inertia_
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    assert KMeans(K, random_state=0).fit(X).inertia_ == expected
    wide = sp.csr_array((X.data, X.indices, X.indptr), shape=(N, 2**40))
    with pytest.raises(ValueError, match="Only sparse matrices with 32-bit integer indices"):
        KMeans(K).fit(wide)


# ---- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize("patched", [False, True], ids=["ours", "patched"])
@pytest.mark.parametrize("method", ["transform", "fit_transform"])
def test_distances_come_as_the_frame_that_was_asked_for(patched, method):
    pytest.importorskip("pandas", reason="pandas is not installed")
    X = data()
    with fastem.patched() if patched else nullcontext():
        kmeans = (sklearn.cluster.KMeans if patched else KMeans)(K, random_state=0).fit(X)
        plain = kmeans.transform(X)
        frame = getattr(kmeans.set_output(transform="pandas"), method)(X)
    assert list(frame.columns) == [f"kmeans{k}" for k in range(K)]
    assert_array_equal(frame.to_numpy(), plain)
