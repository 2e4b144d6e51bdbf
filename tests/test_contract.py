"""What holds for every model: one E-step against the oracle, and the laws that sums obey."""

import copy
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from cases import CASES, LARGE
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone

import fastem

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

every_case = pytest.mark.parametrize("case", CASES, ids=str)
#: Where rounding is not what the test is about, float64 alone.
every_double = pytest.mark.parametrize("case", [c for c in CASES if c.dtype == np.float64], ids=str)


def assert_same_sums(actual, expected, tolerance):
    """Compare named sums, each relative to its largest entry."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        scale = np.max(np.abs(value), initial=0.0)
        error = np.max(np.abs(np.asarray(actual[name]) - value), initial=0.0)
        assert error <= tolerance * scale, f"{name}: {error} of {scale}"


def weights_of(X, seed=5):
    return np.random.default_rng(seed).uniform(0, 3, len(X))


# ---- sums ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_instruction_set")
@every_case
@pytest.mark.parametrize("weighted", [False, True])
def test_e_step_equals_the_oracle(case, weighted):
    """The statistics of one E-step are the textbook's, with each instruction set."""
    X = case.data()
    params, weight = case.start(X), weights_of(X) if weighted else None
    actual, expected = case.e_step(X, params, weight), case.expected(X, params, weight)
    assert_same_sums(actual, expected, case.tolerance)


@every_case
def test_e_step_with_many_strips_equals_the_oracle(case):
    """The sums of many strips are the whole sum."""
    X = case.data(case.many_rows // 3)
    assert len(X) // case.chunk_rows >= 8
    params = case.start(X)
    assert_same_sums(case.e_step(X, params, n_threads=2), case.expected(X, params), case.tolerance)


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_sums_that_threads_take_turns_in(case):
    """Sums too large for strips are the oracle's, with the same bits for every thread count."""
    X = case.data()
    params, weight = case.start(X), weights_of(X)
    sums = case.e_step(X, params, weight)
    assert_same_sums(sums, case.expected(X, params, weight), case.tolerance)
    for n_threads in (2, 3, 8, 20):
        again = case.e_step(X, params, weight, n_threads=n_threads)
        for name, value in sums.items():
            assert_array_equal(again[name], value, err_msg=f"{name}, {n_threads} threads")


@every_case
def test_statistics_of_blocks_add(case):
    """stats(A) + stats(B) == stats(A with B), and subtraction undoes it."""
    X = case.data()
    params, model, cut = case.start(X), case.model(), len(X) // 3
    a, b, both = (
        case.statistics(model, params, case.block(rows)) for rows in (X[:cut], X[cut:], X)
    )
    assert_same_sums(case.sums(a + b), case.sums(both), case.tolerance)
    assert_same_sums(case.sums(both - a), case.sums(b), 10 * case.tolerance)
    assert_same_sums(case.sums(0.25 * both + both * 0.75), case.sums(both), case.tolerance)


@every_double
@given(cuts=st.lists(st.floats(0, 1), max_size=4))
@example(cuts=[0.203125, 0.2109375])  # a block of one document, which may be empty
def test_any_blocks_give_the_same_m_step(case, cuts):
    """Parameters do not depend on how the rows are cut into blocks."""
    X = case.data(min(case.n_samples, 200))
    params, model = case.start(X), case.model(reg_covar=1e-6)
    edges = sorted({0, len(X), *(int(cut * len(X)) for cut in cuts)})
    blocks = [case.block(X[i:j]) for i, j in pairwise(edges)]
    total = fastem.em.tree_sum(case.statistics(model, params, block) for block in blocks)
    whole = case.statistics(model, params, case.block(X))
    for part, expected in zip(model.m_step(total), model.m_step(whole), strict=True):
        if isinstance(expected, np.ndarray):
            np.testing.assert_allclose(part, expected, rtol=1e-7, atol=1e-8)


@every_case
def test_order_of_rows_does_not_matter(case):
    """A permutation of the rows leaves the sums as they are."""
    X = case.data()
    params, order = case.start(X), np.random.default_rng(3).permutation(len(X))
    assert_same_sums(case.e_step(X[order], params), case.e_step(X, params), case.tolerance)


@every_case
def test_weight_two_equals_a_duplicated_row(case):
    """A row of integer weight counts as that many rows; weight 0 removes it."""
    X = case.data()
    params, counts = case.start(X), np.random.default_rng(4).integers(0, 4, len(X))
    assert 0 in counts
    weighted = case.e_step(X, params, counts.astype(float))
    repeated = case.e_step(np.repeat(X, counts, axis=0), params)
    assert_same_sums(weighted, repeated, case.tolerance)


@every_case
def test_weights_scale_the_sums(case):
    """Weights twice as large double every sum."""
    X = case.data()
    params, weight = case.start(X), weights_of(X)
    doubled = {k: 2 * v for k, v in case.e_step(X, params, weight).items()}
    assert_same_sums(case.e_step(X, params, 2 * weight), doubled, case.tolerance)


@pytest.mark.parametrize("case", [c for c in CASES if c.equivariant], ids=str)
def test_shift_and_scale_move_the_sums_along(case):
    """Data x scale + shift have the responsibilities of x, and moments moved in the same way."""
    X = case.data()
    params, scale = case.start(X), case.scales()
    shift = np.linspace(-20, 30, X.shape[1])
    moved = (X * scale + shift).astype(case.dtype)
    actual = case.e_step(moved, case.moved(params, scale, shift))
    expected = case.move_sums(case.e_step(X, params), scale, shift)
    assert_same_sums(actual, expected, 10 * case.tolerance)


@every_double
def test_float32_agrees_with_float64(case):
    """The same numbers in float32 give the same sums to single precision."""
    X = case.data().astype(np.float32)
    double = X.astype(np.float64)
    single = case.e_step(X, case.start(X))
    assert_same_sums(single, case.e_step(double, case.start(double)), 2e-5)


@pytest.mark.skipif(not fastem.has_openmp(), reason="this build has one thread")
@every_case
def test_bits_do_not_depend_on_threads(case):
    """1, 2, 3 and 8 threads give the same bits, in strips enough for all of them."""
    X = case.data(case.many_rows)
    assert len(X) // case.chunk_rows >= 4 * 8
    params, weight = case.start(X), weights_of(X)
    once = case.e_step(X, params, weight)
    for n_threads in (2, 3, 8, 8):
        again = case.e_step(X, params, weight, n_threads=n_threads)
        for name, value in once.items():
            assert_array_equal(again[name], value, err_msg=f"{name} with {n_threads} threads")


# ---- iterations ------------------------------------------------------------------------------


@every_double
def test_bound_never_falls(case):
    """EM never lowers the bound; the noise added to the variances may, by as much as it adds."""
    X = case.data()
    blocks = [case.block(X)]
    for reg_covar, allowed in ((0.0, 1e-10), (1e-6, 1e-5)):
        result = fastem.em.fit(case.model(reg_covar), blocks, case.start(X), max_iter=15, tol=0)
        bounds = np.array(result.lower_bounds)
        assert np.all(np.isfinite(bounds))
        assert np.diff(bounds).min() >= -allowed * abs(bounds[0])
        assert bounds[-1] > bounds[0]


# ---- the estimator ---------------------------------------------------------------------------


def fitted_attributes(estimator):
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and name not in ("feature_names_in_", "random_state_")
    }


def assert_same_fit(actual, expected, tolerance=0.0):
    """Compare all fitted attributes: bit for bit, or relative to the largest entry."""
    actual, expected = fitted_attributes(actual), fitted_attributes(expected)
    assert actual.keys() == expected.keys()
    assert expected
    for name, value in expected.items():
        value = np.asarray(value, dtype=float)
        scale = np.abs(value).max()
        error = np.abs(np.asarray(actual[name], dtype=float) - value).max()
        assert error <= tolerance * scale, f"{name}: {error} of {scale}"


def read(fitted, X):
    """Return what a fitted estimator says of each sample."""
    return fitted.predict(X) if hasattr(fitted, "predict") else fitted.transform(X)


def as_memmap(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def as_read_only(X, _):
    X = X.copy()
    X.flags.writeable = False
    return X


def as_strided(X, _):
    wide = np.full((2 * len(X), 3 * X.shape[1]), np.nan, X.dtype)
    wide[::2, 1::3] = X
    return wide[::2, 1::3]


def as_unaligned(X, _):
    raw = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)
    raw[:] = X
    return raw


def as_data_frame(X, _):
    return pytest.importorskip("pandas").DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])


LAYOUTS = {
    "fortran": lambda X, _: np.asfortranarray(X),
    "strided": as_strided,
    "reversed": lambda X, _: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "read-only": as_read_only,
    "memmap": as_memmap,
    "unaligned": as_unaligned,
    "data frame": as_data_frame,
    "swapped bytes": lambda X, _: X.astype(X.dtype.newbyteorder()),
}


@every_case
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_x_does_not_matter(case, layout, tmp_path):
    """However X lies in memory, the fit is the same, and X is not written to."""
    X = case.data()
    expected = case.estimator(X).fit(X)
    same = LAYOUTS[layout](X, tmp_path)
    fitted = case.estimator(X).fit(same)
    assert_same_fit(fitted, expected, 1e-12 if case.dtype == np.float64 else 1e-5)
    assert_array_equal(np.asarray(same), X)
    tolerance = 1e-12 if case.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(read(fitted, same), read(expected, X), rtol=0, atol=tolerance)


@every_case
@pytest.mark.parametrize("layout", ["unaligned", "swapped bytes"])
def test_bytes_of_x_change_no_bit(case, layout, tmp_path):
    """Data that C cannot read as they lie are fitted in their own precision, float32 as float32."""
    X = case.data()
    same = LAYOUTS[layout](X, tmp_path)
    assert_same_fit(case.estimator(X).fit(same), case.estimator(X).fit(X))


@every_case
def test_clone_fits_the_same(case):
    """A clone of a fitted estimator is unfitted, and fits to the same bits."""
    X = case.data()
    fitted = case.estimator(X).fit(X)
    copied = clone(fitted)
    assert not fitted_attributes(copied)
    assert_same_fit(copied.fit(X), fitted)


@every_case
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_pickle_and_copy_keep_the_fit(case, copied):
    """A pickled or copied estimator answers with the same bits."""
    X = case.data()
    fitted = case.estimator(X).fit(X)
    again = copied(fitted)
    assert_same_fit(again, fitted)
    assert_array_equal(read(again, X), read(fitted, X))
    assert again.score(X) == fitted.score(X)


@every_case
def test_fit_has_the_dtype_of_x(case):
    """Fitted arrays of reals are float32 for float32 data, but for priors, which are as given.

    And for the box of noise, whose sides may be short beside its place; and where scikit-learn's
    are not: Bayesian mixtures.
    """
    X = case.data()
    fitted = case.estimator(X).fit(X)
    for name, value in fitted_attributes(fitted).items():
        if name.endswith(("_prior_", "_box_")) or not isinstance(value, np.ndarray):
            continue
        if value.dtype.kind == "f":
            assert value.dtype == case.fitted_dtype, name
    assert math.isfinite(fitted.lower_bound_)
