"""KMeans: scikit-learn's results, bounds that change none, empty clusters, what is refused."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.cluster
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastem
from fastem import KMeans, em
from fastem._kernels import kmeans as kernel
from fastem.cluster import bounds, lloyd
from fastem.cluster import kmeans as kmeans_module
from fastem.cluster.bounds import Bounds
from fastem.cluster.lloyd import Assignment, KMeansBlock, KMeansEM, KMeansParams

try:
    from reference import kmeans as oracle
except ImportError:
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)

DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def data(n=1003, d=7, k=5, spread=1.0, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(0, spread, (k, d))
    return (centers[rng.integers(k, size=n)] + rng.normal(size=(n, d)) + 3).astype(dtype)


def dense(X):
    return X.toarray() if sp.issparse(X) else X


@pytest.fixture
def bounds_at_once(monkeypatch):
    """Bounds from the first E-step on, however little work there is."""
    monkeypatch.setattr(Assignment, "bounds_pay", lambda *_: True)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [KMeans()],
    expected_failed_checks=lambda _: {
        f"check_sample_weight_equivalence_on_{kind}_data": "starts draw one number a row"
        for kind in ("dense", "sparse")
    },
)
def test_scikit_learn_compatible(estimator, check):
    """scikit-learn's own checks."""
    check(estimator)


# ---- the same as scikit-learn ----------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("init", ["k-means++", "random", "array", "callable"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_fit_equals_scikit_learn_s(dtype, init, weighted, sparse):
    """Centers, labels, inertia and the number of iterations, for the same seed."""
    X = data(dtype=dtype)
    weight = np.random.default_rng(1).uniform(0, 2, len(X)) if weighted else None
    init = {
        "array": X[:6],
        "callable": lambda X, k, random_state: dense(X[random_state.permutation(X.shape[0])[:k]]),
    }.get(init, init)
    X = sp.csr_array(np.where(X > 2.5, X, 0)) if sparse else X
    settings = {"init": init, "random_state": 3, "max_iter": 40}
    ours = KMeans(6, **settings).fit(X, sample_weight=weight)
    theirs = sklearn.cluster.KMeans(6, **settings).fit(X, sample_weight=weight)
    assert ours.n_iter_ == theirs.n_iter_
    assert_array_equal(ours.labels_, theirs.labels_)
    tolerance = 1e-10 if dtype == np.float64 else 1e-4
    assert_allclose(ours.inertia_, theirs.inertia_, rtol=tolerance)
    assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=0, atol=tolerance)
    assert_array_equal(ours.predict(X), theirs.predict(X))
    assert_allclose(ours.transform(X), theirs.transform(X), rtol=0, atol=10 * tolerance)
    assert_allclose(ours.score(X, None, weight), theirs.score(X, None, weight), rtol=tolerance)
    assert ours.labels_.dtype == np.int32
    assert ours.cluster_centers_.dtype == dtype
    assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())


def test_repeated_sparse_entries_are_summed():
    """A CSR array may hold an entry in parts: the fit is that of their sum, and X stays."""
    X = np.where(data(n=300) > 2.5, data(n=300), 0)
    whole = sp.csr_array(X)
    parts = sp.csr_array(
        (np.repeat(whole.data / 2, 2), np.repeat(whole.indices, 2), 2 * whole.indptr), X.shape
    )
    expected, actual = (KMeans(4, random_state=0).fit(A) for A in (whole, parts))
    assert_array_equal(actual.labels_, expected.labels_)
    assert_allclose(actual.inertia_, expected.inertia_, rtol=1e-12)
    assert_array_equal(actual.predict(parts), expected.labels_)
    assert_allclose(actual.score(parts), expected.score(whole), rtol=1e-12)
    assert parts.nnz == 2 * whole.nnz


@pytest.mark.parametrize("magnitude", [2.0**-80, 2.0**80])
def test_float32_of_any_magnitude(magnitude):
    """Squares that float32 cannot hold change no label."""
    X = data(n=300, dtype=np.float32)
    near, far = (KMeans(4, random_state=0).fit(A) for A in (X, X * np.float32(magnitude)))
    assert_array_equal(far.labels_, near.labels_)
    assert far.n_iter_ == near.n_iter_
    assert_allclose(far.inertia_, near.inertia_ * magnitude**2, rtol=1e-6)


@pytest.mark.parametrize("n_empty", [1, 2])
def test_empty_clusters_move_to_the_farthest_samples(n_empty):
    """As in scikit-learn, which this start leaves without samples in some clusters."""
    X = data(n=200, d=3, k=3)
    init = np.vstack([X[:3], np.full((n_empty, 3), 100.0) + np.arange(n_empty)[:, None]])
    for max_iter in (1, 2, 50):
        settings = {"init": init, "max_iter": max_iter}
        ours = KMeans(len(init), **settings).fit(X)
        theirs = sklearn.cluster.KMeans(len(init), **settings).fit(X)
        assert_array_equal(ours.labels_, theirs.labels_)
        assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-12)
        assert len(np.unique(ours.labels_)) == len(init)


def test_candidates_for_empty_clusters_add():
    """Two blocks know together which samples are farthest."""
    X = data(n=300, d=3, k=3)
    centers = np.vstack([X[:3], np.full((1, 3), 100.0)])
    params, model = KMeansParams(centers, 0), KMeansEM(0.0, X.dtype, 1)
    whole, *parts = (
        model.e_step(params, block, model.first_state(params, block))[0]
        for block in (KMeansBlock(part.copy(), None) for part in (X, X[:120], X[120:]))
    )
    expected = model.m_step(whole).centers
    assert_allclose(model.m_step(parts[0] + parts[1]).centers, expected, rtol=1e-12)
    assert np.abs(expected[3]).max() < 50


def test_fewer_distinct_points_than_clusters():
    """A warning that gives both numbers; the estimator is fitted all the same."""
    X = np.repeat([[0.0, 0], [1, 1], [5, 5]], 4, axis=0)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(3\).*n_clusters \(5\)"):
        model = KMeans(5, random_state=0).fit(X)
    assert model.inertia_ == 0


@pytest.mark.parametrize(
    ("init", "n_init"), [("k-means++", "auto"), ("random", "auto"), ("random", 3), (None, "auto")]
)
def test_as_many_starts_as_scikit_learn_makes(init, n_init):
    X = data(n=60, d=2, k=3, spread=20)
    settings = {"init": X[:3] if init is None else init, "n_init": n_init, "random_state": 0}
    ours, theirs = KMeans(3, **settings).fit(X), sklearn.cluster.KMeans(3, **settings).fit(X)
    assert ours._n_init == theirs._n_init


def test_the_first_of_equal_restarts_is_kept():
    """A permutation of the same clusters is no better start, whatever rounding says."""
    X = data(n=300, d=2, k=3, spread=20)
    settings = {"init": "random", "n_init": 10, "random_state": 0}
    ours, theirs = KMeans(3, **settings).fit(X), sklearn.cluster.KMeans(3, **settings).fit(X)
    assert_array_equal(ours.labels_, theirs.labels_)
    assert ours.n_iter_ == theirs.n_iter_


def test_verbose_speaks_as_scikit_learn_does(capsys):
    """Each iteration's inertia, and why it stops."""
    X = data(n=100)
    KMeans(3, random_state=0, verbose=1, tol=1e-2).fit(X)
    ours = capsys.readouterr().out
    sklearn.cluster.KMeans(3, random_state=0, verbose=1, tol=1e-2).fit(X)
    theirs = capsys.readouterr().out
    assert len(ours.splitlines()) == len(theirs.splitlines())
    assert "Initialization complete" in ours
    assert "Converged at iteration" in ours


# ---- bounds ----------------------------------------------------------------------------------


def with_bounds(block, centers, n_groups):
    """Return a state whose bounds begin at the first E-step."""
    return Assignment.none_yet(block)._replace(bounds=Bounds.none_yet(centers, n_groups))


@DTYPES
@pytest.mark.parametrize("d", [5, 20, 33, 64, 130, 256])
@pytest.mark.parametrize("k", [2, 19, 67])
@pytest.mark.usefixtures("every_instruction_set")
def test_bounds_change_no_label(dtype, d, k):
    """Ragged rows, clusters and groups: at every iteration the labels of a full search."""
    X = data(n=1303, d=d, k=k, spread=0.5, dtype=dtype)
    weight = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    X -= X.mean(axis=0)
    block = KMeansBlock(X, weight)
    params, model = KMeansParams(X[:k].copy(), 0), KMeansEM(0.0, dtype, 1, bounded=False)
    plain = model.first_state(params, block)
    bounded = with_bounds(block, params.centers, max(1, k // 9))
    for iteration in range(12):
        expected, plain = model.e_step(params, block, plain)
        actual, bounded = model.e_step(params, block, bounded)
        assert_array_equal(bounded.labels, plain.labels, err_msg=str(iteration))
        assert actual.n_changed == expected.n_changed
        assert_allclose(actual.rows, expected.rows, rtol=0, atol=1e-9)
        assert_array_equal(actual.weights, expected.weights)
        labels = oracle.e_step(X.astype(float), params.centers.astype(float))["labels"]
        # float32 may see two distances as equal that differ by less than its rounding
        assert np.count_nonzero(plain.labels != labels) <= (0 if dtype == np.float64 else 2)
        params = model.m_step(expected)


@DTYPES
def test_bounds_keep_ties(dtype):
    """Integer data with equal distances and equal centers: the first center wins, always."""
    X = np.random.default_rng(0).integers(-3, 4, (2000, 5)).astype(dtype)
    centers = np.vstack([X[:9], X[:9]])
    block, model = KMeansBlock(X, None), KMeansEM(0.0, dtype, 1)
    state = with_bounds(block, centers, 2)
    for _ in range(3):
        state = model.e_step(KMeansParams(centers, 0), block, state)[1]
        assert_array_equal(state.labels, oracle.e_step(X, centers)["labels"])
        centers = np.ascontiguousarray(centers[::-1])


def test_bounds_are_right_for_any_next_centers():
    """Also if the centers jump, or come from another start."""
    X = data(n=901, d=9, k=8)
    block, model, rng = KMeansBlock(X, None), KMeansEM(0.0, X.dtype, 1), np.random.default_rng(1)
    state = with_bounds(block, X[:20].copy(), 3)
    for size in (0, 1e-3, 0.1, 5, 1e3):
        centers = X[:20] + size * rng.normal(size=(20, 9))
        state = model.e_step(KMeansParams(centers, 0), block, state)[1]
        expected = oracle.e_step(X, centers)
        assert_array_equal(state.labels, expected["labels"])
        assert_allclose(state.rows, expected["rows"], rtol=1e-10, atol=1e-9)


def test_bounds_begin_when_labels_settle(monkeypatch):
    """A long fit has bounds at its end, and they find something to pass over."""
    seen = []
    at = Bounds.at

    def seen_at(self, *arguments):
        seen.append(self.upper is None)
        return at(self, *arguments)

    monkeypatch.setattr(Bounds, "at", seen_at)
    X = data(n=20_000, d=16, k=40)
    with em.watch(lambda state: None):  # else the kernel runs the whole fit, with margins
        KMeans(40, random_state=0, tol=0).fit(X)
    assert seen[0] is True
    assert seen.count(False) > 3


def test_bounds_that_save_nothing_are_dropped():
    """Centers that jump leave every row open: the next E-step is a plain one, with right sums."""
    X = data(n=901, d=9, k=8)
    block, model, rng = KMeansBlock(X, None), KMeansEM(0.0, X.dtype, 1), np.random.default_rng(1)
    state = with_bounds(block, X[:20].copy(), 3)
    for number in range(3):
        params = KMeansParams(X[:20] + 5 * rng.normal(size=(20, 9)), 0)
        state = model.e_step(params, block, state)[1]
        assert (state.bounds is None) == (number > 0)
        expected = oracle.e_step(X, params.centers)
        assert_array_equal(state.labels, expected["labels"])
        assert_allclose(state.rows, expected["rows"], rtol=1e-10, atol=1e-9)
    assert 0 < state.settled < 1
    assert model.first_state(params, block).settled == lloyd._SETTLED


@DTYPES
@pytest.mark.parametrize("d", [2, 20])
def test_e_steps_write_over_a_state_only_where_they_may(dtype, d):
    """The same bits in place; otherwise in no argument anything is written."""
    X = data(n=901, d=d, k=9, dtype=dtype)
    block, model = KMeansBlock(X, None), KMeansEM(0.0, dtype, 1)
    params = KMeansParams(X[:9].copy(), 0)
    old = model.e_step(params, block, with_bounds(block, params.centers, 3))[1]
    # so little that bounds stay, and some labels do not
    params = KMeansParams(params.centers + dtype(0.05) * X[9:18], 0)
    before = pickle.dumps((params, old))
    statistics, expected = model.e_step(params, block, old)
    assert pickle.dumps((params, old)) == before
    assert 0 < expected.n_changed < len(X) / 2
    again, state = model.e_step(params, block, old, spare=old)
    assert state.labels is old.labels
    assert state.bounds.upper is old.bounds.upper
    assert state.bounds.lower is old.bounds.lower
    assert_array_equal(again.rows, statistics.rows)
    for name in ("labels", "rows", "weights"):
        assert_array_equal(getattr(state, name), getattr(expected, name))
    assert_array_equal(state.bounds.upper, expected.bounds.upper)
    assert_array_equal(state.bounds.lower, expected.bounds.lower)


def test_groups_of_centers_are_of_one_size():
    """Also where some centers are far from all others, or the same."""
    centers = np.random.default_rng(0).normal(size=(67, 9))
    centers[:50] = 0
    centers[50] = 1e6
    for n_groups in (1, 2, 7, 67):
        sizes = np.bincount(bounds._groups(centers, n_groups), minlength=n_groups)
        assert len(sizes) == n_groups
        assert max(sizes) - min(sizes) <= max(1, n_groups // 5)


@pytest.mark.parametrize(("d", "k"), [(2, 8), (20, 30)])
@pytest.mark.usefixtures("bounds_at_once")
@pytest.mark.skipif(not fastem.has_openmp(), reason="this build has one thread")
def test_bits_do_not_depend_on_threads(monkeypatch, d, k):
    """Whole fits, with bounds or with sums of moved rows: the same bits for any threads."""
    if d == 2:
        monkeypatch.setattr(Assignment, "bounds_pay", lambda *_: False)
    X = data(n=40_001, d=d, k=k)

    def fit(n_jobs):
        with em.watch(lambda state: None):  # by the driver: test_kmeans_margins.py has the others
            return KMeans(k, random_state=0, n_jobs=n_jobs, max_iter=20).fit(X)

    expected = fit(1)
    for n_jobs in (2, 3, 8):
        fitted = fit(n_jobs)
        assert_array_equal(fitted.cluster_centers_, expected.cluster_centers_)
        assert_array_equal(fitted.labels_, expected.labels_)
        assert fitted.lower_bounds_ == expected.lower_bounds_


# ---- sums ------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 33])
@pytest.mark.parametrize("k", [1, 3, 16, 17])
@pytest.mark.parametrize("layout", ["dense", "sparse", "rows with gaps"])
@pytest.mark.usefixtures("every_instruction_set")
def test_moved_rows_give_the_sums_of_all(dtype, d, k, layout):
    """Both ways to sum are the oracle's at any next centers: every panel and every ragged end."""
    rng = np.random.default_rng(0)
    X = rng.integers(-9, 10, (557, d)).astype(dtype)  # sums are exact
    X[rng.random(X.shape) < 0.3] = 0
    given = sp.csr_array(X) if layout == "sparse" else X
    if layout == "sparse":
        given.indices, given.indptr = given.indices.astype(np.int32), given.indptr.astype(np.int32)
    elif layout == "rows with gaps":
        given = np.full((557, d + 2), np.inf, dtype)[:, :d]
        given[:] = X
    block, model = KMeansBlock(given, None), lloyd.KMeansEM(0.0, dtype, 2, bounded=False)
    state, labels = model.first_state(None, block), np.full(557, -1, np.int32)
    rows, weights = np.zeros((k, d)), np.zeros(k)
    for size in (0, 0.1, 0.3, 9, 0):
        centers = np.round(X[:k] + size * rng.normal(size=(k, d)), 3)
        expected = oracle.e_step(X.astype(float), centers)
        state = state._replace(n_changed=557)  # so many that all rows are summed
        _, state = model.e_step(lloyd.KMeansParams(centers, 0), block, state)
        moved = kernel.assign(block.job(centers), labels, 2, True, True)
        rows, weights = rows + moved[0], weights + moved[1]
        assert_array_equal(labels, state.labels)
        assert moved[2] == state.n_changed
        if dtype == np.float64:
            assert_array_equal(state.labels, expected["labels"])
        assert_array_equal(weights, np.bincount(state.labels, minlength=k))
        assert_array_equal(state.weights, weights)
        for label in range(k):
            assert_array_equal(rows[label], X[state.labels == label].sum(axis=0, dtype=float))
        assert_array_equal(state.rows, rows)


def test_settled_labels_are_summed_by_moves(monkeypatch):
    """At the end of a fit only rows that move are added; with weights always all of them."""
    monkeypatch.setattr(kmeans_module, "in_one_call", lambda *_: False)
    seen, assign = [], kernel.assign
    monkeypatch.setattr(kernel, "assign", lambda *a: seen.append(a[3:5]) or assign(*a))
    X = data(n=3000, d=2, k=8, spread=2.0)
    for weight in (None, np.linspace(1, 2, 3000)):
        seen.clear()
        KMeans(8, random_state=0, tol=0).fit(X, sample_weight=weight)
        steps = [moves for *sums, moves in seen if sums == [True]]
        assert steps[0] is False
        assert steps[-1] is (weight is None)


# ---- doors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 11}, "n_samples=10 should be >= n_clusters=11"),
        ({"n_clusters": 2, "init": np.zeros((3, 2))}, r"\(3, 2\) does not match the number of clu"),
        ({"n_clusters": 2, "init": np.zeros((2, 3))}, r"\(2, 3\) does not match the number of fea"),
        ({"n_clusters": 2, "n_jobs": 0}, "n_jobs must not be 0"),
        ({"n_clusters": 2, "algorithm": "full"}, "'algorithm' parameter"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    """An error that says what is wrong, and no fitted attribute."""
    model = KMeans(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(np.arange(20.0).reshape(10, 2))
    assert not hasattr(model, "n_features_in_")


def test_a_failed_fit_puts_everything_back():
    """X that is centered in place, and the attributes of the last fit."""
    X = data(n=50)
    model = KMeans(3, random_state=0, copy_x=False).fit(X)
    before, centers, attributes = X.copy(), model.cluster_centers_, dict(vars(model))

    def fail(X, n_clusters, random_state):
        raise RuntimeError("no start")

    with pytest.raises(RuntimeError, match="no start"):
        model.set_params(init=fail, n_init=2).fit(X)
    assert_allclose(X, before, rtol=1e-12)
    assert model.cluster_centers_ is centers
    assert vars(model) == attributes | {"init": fail, "n_init": 2}


def test_an_interrupted_fit_is_at_its_last_whole_iteration():
    """Ctrl-C leaves centers, with their labels and inertia."""
    X = data()
    model = KMeans(5, random_state=0, tol=0)

    def interrupt(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    with em.watch(interrupt), pytest.raises(KeyboardInterrupt):
        model.fit(X)
    expected = KMeans(5, random_state=0, tol=0, max_iter=3).fit(X)
    assert model.n_iter_ == 3
    assert_array_equal(model.labels_, expected.labels_)
    assert_array_equal(model.cluster_centers_, expected.cluster_centers_)


def test_data_far_from_zero_lose_no_digits():
    """A shift of the data changes no label, in fit and in predict."""
    X = data(n=500, d=2, k=4, spread=5)
    near, far = KMeans(4, random_state=0).fit(X), KMeans(4, random_state=0).fit(X + 2.0**20)
    assert_array_equal(far.labels_, near.labels_)
    assert_array_equal(far.predict(X + 2.0**20), near.labels_)
