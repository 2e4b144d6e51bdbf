"""Sparse input: what is refused, and the one form that the rest is brought to."""

import copy
import re

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from fastem._base import check_fitted_array
from fastem._engine.sparse import canonical_csr, refuse_corpus

FORMATS = ["csr", "csc", "bsr", "coo", "dia", "lil", "dok"]
DENSE = np.array([[0, 2, 0, 1], [0, 0, 0, 0], [3, 0, 0, 4], [0, 5, 6, 0]], dtype=np.float64)


def make(form, kind="array", dense=DENSE):
    return getattr(sp, f"{form}_{kind}")(dense)


def is_canonical(X):
    rows = [X.indices[a:b] for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True)]
    return (
        all(np.all(np.diff(row) > 0) for row in rows)
        and np.all(X.data != 0)
        and len(X.data) == len(X.indices) == X.indptr[-1]
        and X.indices.dtype == X.indptr.dtype == np.int32
        and all(a.flags.c_contiguous and a.flags.aligned for a in (X.data, X.indices, X.indptr))
    )


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_keeps_its_values_and_its_kind(form, kind):
    X = canonical_csr(make(form, kind))
    assert type(X) is getattr(sp, f"csr_{kind}")
    assert is_canonical(X)
    assert_array_equal(X.toarray(), DENSE)


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint64, np.float16, ">f8", np.float32])
@pytest.mark.parametrize("form", FORMATS)
def test_every_type_keeps_its_values(form, dtype):
    if dtype in (np.float16, ">f8"):  # which SciPy itself does not make
        X = make(form)
        if form in ("lil", "dok"):
            pytest.skip("their values are Python's")
        X.data = X.data.astype(dtype)
    else:
        X = make(form, dense=DENSE.astype(dtype))
    assert_array_equal(canonical_csr(X).toarray(), DENSE.astype(dtype).astype(np.float64))


def test_what_is_canonical_is_not_copied():
    X = make("csr")
    Y = canonical_csr(X)
    for name in ("data", "indices", "indptr"):
        assert np.shares_memory(getattr(X, name), getattr(Y, name))
    dense = [[1.0, 0.0]]
    assert canonical_csr(dense) is dense


def jumbled(dtype=np.float64):
    """Return a CSR array with columns out of order, one of them twice, and zeros stored."""
    X = sp.csr_array((3, 4), dtype=dtype)
    X.data = np.array([1, 2, 3, 0, 5, 5], dtype=dtype)
    X.indices = np.array([3, 1, 3, 0, 2, 2], dtype=np.int32)
    X.indptr = np.array([0, 3, 4, 6], dtype=np.int32)
    return X


JUMBLED = np.array([[0, 2, 0, 4], [0, 0, 0, 0], [0, 0, 10, 0]])


def test_repeated_entries_are_summed_and_zeros_dropped_in_a_copy():
    X = jumbled()
    before = copy.deepcopy(X)
    Y = canonical_csr(X)
    assert is_canonical(Y)
    assert_array_equal(Y.toarray(), JUMBLED)
    for name in ("data", "indices", "indptr"):
        assert_array_equal(getattr(X, name), getattr(before, name))


def test_flags_that_are_out_of_date_are_not_believed():
    X = make("csr")
    assert X.has_canonical_format
    X.indices[:2] = 3
    assert_array_equal(canonical_csr(X).toarray()[0], [0, 0, 0, 3])


def test_sums_of_integers_do_not_overflow():
    X = jumbled(np.int8)
    X.data[-2:] = 100
    assert canonical_csr(X).toarray()[2, 2] == 200
    form = sp.coo_array((np.array([100, 100], np.int8), ([0, 0], [1, 1])), shape=(1, 2))
    assert canonical_csr(form).toarray()[0, 1] == 200


def test_zeros_that_arise_from_sums_are_dropped():
    X = sp.coo_array(([1.0, -1.0, 2.0], ([0, 0, 0], [1, 1, 0])), shape=(1, 2))
    assert_array_equal(canonical_csr(X).data, [2.0])


@pytest.mark.parametrize("change", ["strided", "long", "int64", "mixed", "unaligned", "read-only"])
@pytest.mark.parametrize("form", ["csr", "csc", "bsr"])
def test_odd_arrays(form, change):
    X = make(form)
    if change == "strided":
        X.data, X.indices = np.repeat(X.data, 2, axis=0)[::2], np.repeat(X.indices, 2)[::2]
    elif change == "long":
        X.data = np.concatenate([X.data, X.data])
        X.indices = np.concatenate([X.indices, [77, -5]]).astype(np.int32)
    elif change == "int64":
        X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    elif change == "mixed":
        X.indptr = X.indptr.astype(np.uint64)
    elif change == "unaligned":
        room = np.zeros(X.data.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(X.data.shape)
        room[...] = X.data
        X.data = room
    else:
        for array in (X.data, X.indices, X.indptr):
            array.flags.writeable = False
    Y = canonical_csr(X)
    assert is_canonical(Y)
    assert_array_equal(Y.toarray(), DENSE)


def test_many_columns_have_long_indices():
    X = sp.csr_array(([1.0], [2**40 - 1], [0, 1]), shape=(1, 2**40))
    Y = canonical_csr(X)
    assert Y.indices.dtype == Y.indptr.dtype == np.int64
    assert_array_equal(Y.indices, [2**40 - 1])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 3)])
def test_nothing_stored(form, shape):
    X = getattr(sp, f"{form}_array")(shape, dtype=np.float64)
    Y = canonical_csr(X)
    assert Y.shape == shape
    assert Y.nnz == 0
    assert Y.indices.dtype == Y.indptr.dtype == np.int32


def test_diagonals_outside():
    X = sp.dia_array((np.arange(1.0, 13).reshape(2, 6), [1, 50]), shape=(3, 4))
    assert_array_equal(canonical_csr(X).toarray(), np.diag([2.0, 3, 4], 1)[:3])
    X = sp.dia_array((3, 4), dtype=np.float64)
    X.data, X.offsets = np.zeros((1, 0)), np.array([0])
    assert canonical_csr(X).nnz == 0


def set_to(name, place, value):
    def change(X):
        array = getattr(X, name).copy()
        array[place] = value
        setattr(X, name, array)

    return change


def put(name, values):
    return lambda X: setattr(X, name, np.asarray(values))


ENTRIES = {
    "far": (set_to("indices", 2, 10**6), r"indices\[2\] must be in \[0, \d\), got 1000000"),
    "negative": (set_to("indices", 1, -1), r"indices\[1\] must be in \[0, \d\), got -1"),
    "next": (set_to("indices", 1, 4), r"indices\[1\] must be in \[0, \d\), got 4"),
    "falls": (set_to("indptr", 1, 4), r"indptr must not fall, got 4, \d at 1"),
    "below 0": (set_to("indptr", 1, -3), "indptr must not fall, got 0, -3 at 0"),
    "high end": (set_to("indptr", -1, 10**9), r"indptr ends with 1000000000, but indices has \d"),
    "first": (set_to("indptr", 0, 1), "indptr must begin with 0, got 1"),
    "short": (put("indptr", [0, 1]), "indptr must have 5 entries, got 2"),
    "no data": (lambda X: setattr(X, "data", X.data[:1]), r"indptr ends with \d, but data has 1 e"),
    "no indices": (
        lambda X: setattr(X, "indices", X.indices[:1]),
        r"indptr ends with \d, but indices has 1 entries",
    ),
    "float": (
        lambda X: setattr(X, "indices", X.indices * 1.0),
        r"indices must be a vector of integers, got float64 of shape",
    ),
    "square": (put("indptr", np.zeros((5, 1), int)), r"indptr must be a vector of integers"),
}
BROKEN = {
    **{
        f"{form} {name}": (form, *case)
        for form in ("csr", "csc", "bsr")
        for name, case in ENTRIES.items()
    },
    "csr data": ("csr", put("data", np.ones((6, 1))), "data must have one dimension"),
    "bsr data": ("bsr", put("data", np.ones(6)), r"data must be of shape \(n_blocks"),
    "bsr blocks": ("bsr", put("data", np.ones((6, 3, 1))), r"blocks of shape \(3, 1\) do not div"),
    "coo far": ("coo", lambda X: X.col.__setitem__(2, 99), r"col\[2\] must be in \[0, 4\), got 99"),
    "coo negative": ("coo", lambda X: X.row.__setitem__(0, -7), r"row\[0\] must be in \[0, 4\), g"),
    "coo length": ("coo", lambda X: setattr(X, "data", X.data[:2]), "must be of one length, got 6"),
    "dia offsets": ("dia", put("offsets", [1, 2]), r"data of shape \(4, 4\) must have a row for"),
    "dia twice": ("dia", put("offsets", [1, 2, 2, 3]), "offsets must differ"),
    "dia data": ("dia", put("data", np.ones(4)), r"data of shape \(4,\) must have a row for each"),
    "lil far": ("lil", lambda X: X.rows[0].__setitem__(0, 44), r"must be in \[0, 4\), got 44"),
    "lil negative": ("lil", lambda X: X.rows[0].__setitem__(0, -1), r"must be in \[0, 4\), got -1"),
    "lil float": ("lil", lambda X: X.rows[0].__setitem__(0, 0.5), "indices must be integers, got"),
    "lil length": ("lil", lambda X: X.data[0].append(1.0), "each list of rows must be as long as"),
    "lil rows": ("lil", lambda X: setattr(X, "rows", X.rows[:2]), "must have 4 lists, got 2, 4"),
    "dok far": (
        "dok",
        lambda X: dict.__setitem__(getattr(X, "_dict", X), (0, 50), 1.0),
        r"must be in \[0, 4\), got 50",
    ),
}


def broken(case):
    """Return a matrix that is broken, and what its error says."""
    form, change, message = BROKEN[case]
    dense = DENSE
    if form == "bsr":
        X = sp.bsr_array(dense, blocksize=(1, 1))
    elif form == "dia":
        X = sp.dia_array((np.arange(16.0).reshape(4, 4), [-1, 0, 1, 2]), shape=(4, 4))
    else:
        X = make(form)
    change(X)
    return X, f"X is not a valid {form.upper()} matrix of shape (4, 4): ", message


@pytest.mark.parametrize("case", BROKEN)
def test_broken_matrices_are_refused(case):
    X, begin, message = broken(case)
    with pytest.raises(ValueError, match=f"^{re.escape(begin)}.*{message}"):
        canonical_csr(X)


class Corpus:
    """An iterable of documents that is no list, as gensim's corpora on disk."""

    def __init__(self, documents):
        self.documents = documents

    def __len__(self):
        return len(self.documents)

    def __iter__(self):
        return iter(self.documents)


@pytest.mark.parametrize("kind", [list, Corpus])
def test_a_gensim_corpus_is_refused_with_the_cure(kind):
    documents = [[], [(0, 1), (3, 2)], [(1, 1)]]
    with pytest.raises(ValueError, match=r"corpus2csc\(X, num_terms=len\(dictionary\)\)\.T"):
        refuse_corpus(kind(documents))


@pytest.mark.parametrize("X", [[[0, 1], [2, 3]], [], [[]], "text", {"a": [1]}, np.eye(2), 3])
def test_other_input_is_no_corpus(X):
    refuse_corpus(X)


class Fitted:
    """Stands for an estimator with a fitted attribute."""

    def __init__(self, values):
        self.means_ = values


def test_fitted_arrays_are_returned():
    values = np.zeros((2, 3), np.float32)
    assert check_fitted_array(Fitted(values), "means_", (2, 3), nonnegative=True) is values
    assert check_fitted_array(Fitted([[1, -1]]), "means_", (None, 2)).shape == (1, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 3)), r"numbers of shape \(any, 3\), got float64 of shape \(0, 3\): "),
        (np.zeros((2, 2)), r"numbers of shape \(any, 3\), got float64 of shape \(2, 2\)"),
        (np.zeros(3), r"got float64 of shape \(3,\)"),
        (None, r"got object of shape \(\)"),
        ([["a", "b", "c"]], "got <U1"),
        ([[1, np.nan, 2]], "finite, got NaN or infinity"),
        ([[1, -np.inf, 2]], "finite, got NaN or infinity"),
        ([[1, -0.5, 2]], r"in \[0, 5\], got -0.5: fit again, or set the attribute"),
        ([[1, 0, 7]], r"in \[0, 5\], got 7"),
    ],
)
def test_fitted_arrays_that_are_wrong_are_named(values, message):
    with pytest.raises(ValueError, match=f"^means_ of this fitted Fitted must be .*{message}"):
        check_fitted_array(Fitted(values), "means_", (None, 3), nonnegative=True, at_most=5)


def test_fitted_arrays_may_be_mapped(tmp_path):
    np.save(tmp_path / "means.npy", np.ones((2, 3)))
    fitted = Fitted(np.load(tmp_path / "means.npy", mmap_mode="r"))
    assert check_fitted_array(fitted, "means_", (2, 3), floating=True).shape == (2, 3)


def test_fitted_arrays_may_have_to_be_floating_and_positive():
    for values, message in [
        ([[1.0]], r"an array of float32 or float64 of shape \(any, 1\), got list"),
        (np.ones((1, 1), int), r"an array of float32 or float64 .*, got int64 of shape \(1, 1\)"),
        (np.zeros((1, 1)), "above 0, got 0"),
    ]:
        with pytest.raises(ValueError, match=f"^means_ of this fitted Fitted must be {message}"):
            check_fitted_array(Fitted(values), "means_", (None, 1), floating=True, positive=True)
