"""Named sums: they add, subtract and scale by field; moments do so about their own means."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fastem.em import Moments, Statistics, tree_sum

KINDS = ("full", "tied", "diag", "spherical")


def moments_of(X, r, kind):
    """The definition: moments of rows X with responsibilities r, about each group's mean."""
    weight = r.sum(axis=0)
    mean = r.T @ X / np.where(weight > 0, weight, 1)[:, None]
    gap = X[None] - mean[:, None]
    full = np.einsum("nk,kni,knj->kij", r, gap, gap)
    diagonal = np.einsum("kii->ki", full)
    scatter = {
        "full": full,
        "tied": full.sum(axis=0),
        "diag": diagonal,
        "spherical": diagonal.sum(axis=1),
    }[kind]
    return Moments(weight, mean, scatter, kind)


def assert_same_moments(actual, expected, tolerance=1e-12):
    """Compare in units of one: the data of these tests have about unit variance."""
    assert actual.kind == expected.kind
    for name in ("weight", "mean", "scatter"):
        value = getattr(expected, name)
        limit = tolerance * max(1, len(actual.weight) * np.abs(expected.weight).max())
        assert_allclose(getattr(actual, name), value, rtol=0, atol=limit, err_msg=name)


# ---- Statistics ------------------------------------------------------------------------------


def statistics(factor):
    return Statistics(bound=-2.0 * factor, weight=3 * factor, heads=np.array([1.0, 5.0]) * factor)


def test_fields_add_subtract_and_scale():
    """+, - and * act on every field, the bound and the weight included."""
    for result, factor in [
        (statistics(1) + statistics(3), 4),
        (statistics(5) - statistics(3), 2),
        (statistics(2) * 1.5, 3),
        (1.5 * statistics(2), 3),
        ((1 - 0.25) * statistics(4) + 0.25 * statistics(8), 5),
    ]:
        expected = statistics(factor)
        assert result.bound == expected.bound
        assert result.weight == expected.weight
        assert_array_equal(result.heads, expected.heads)


def test_operands_are_left_alone():
    """Sums are new objects: += on a total does not reach into a block's own statistics."""
    first, second = statistics(1), statistics(2)
    total = first
    total += second
    total -= 0.5 * second
    assert_array_equal(first.heads, [1, 5])
    assert_array_equal(second.heads, [2, 10])
    assert_array_equal(total.heads, [2, 10])


def test_different_fields_do_not_add():
    """The message shows both lists of names."""
    with pytest.raises(ValueError, match=r"\['bound', 'heads', 'weight'\] and .*'tails'"):
        statistics(1) + Statistics(bound=0, weight=1, tails=0)


def test_other_types_do_not_add():
    """Statistics and a number do not add: sum() needs a start."""
    with pytest.raises(TypeError):
        statistics(1) + 0
    with pytest.raises(TypeError):
        3 - statistics(1)


def test_a_missing_field_names_those_that_are_there():
    """A misspelt name in an M-step is told at once."""
    with pytest.raises(AttributeError, match=r"no statistic named 'head'.*'bound', 'heads'"):
        _ = statistics(1).head


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_statistics_travel(copied):
    """Copies and pickles keep every field, moments too."""
    original = Statistics(
        bound=1.5, weight=2, moments=moments_of(np.eye(3), np.ones((3, 1)), "full")
    )
    again = copied(original)
    assert (again.bound, again.weight) == (1.5, 2)
    assert_same_moments(again.moments, original.moments)


def test_repr_shows_the_fields():
    """A person sees names and values."""
    assert repr(Statistics(bound=-3.0, weight=2, heads=5)) == (
        "Statistics(bound=-3.0, weight=2, heads=5)"
    )
    assert "full" in repr(moments_of(np.eye(2), np.ones((2, 1)), "full"))


# ---- Moments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(2, 30), st.integers(1, 4), st.integers(1, 4)),
    cut=st.floats(0.05, 0.95),
    offset=st.sampled_from([0.0, -3.0, 1e6, 1e8]),
)
def test_moments_of_parts_add_to_those_of_the_whole(kind, seed, shape, cut, offset):
    """Chan's merge equals the definition, also at an offset where raw sums have no digits left."""
    n, d, k = shape
    rng = np.random.default_rng(seed)
    X, r = np.round(rng.normal(size=(n, d)), 5), rng.uniform(0.1, 1, (n, k))
    cut = min(max(1, int(cut * n)), n - 1)
    moved = [
        Moments(m.weight, m.mean + offset, m.scatter, kind)
        for m in (
            moments_of(X[:cut], r[:cut], kind),
            moments_of(X[cut:], r[cut:], kind),
            moments_of(X, r, kind),
        )
    ]
    # The means themselves are rounded at the offset.
    tolerance = 1e-12 + 4 * np.spacing(offset)
    assert_same_moments(moved[0] + moved[1], moved[2], tolerance)
    assert_same_moments(moved[2] - moved[1], moved[0], 100 * n * tolerance)
    assert_same_moments(moved[0] * 3 + 3 * moved[1], 3 * moved[2], tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_groups_add_nothing(kind):
    """A group of weight 0 takes over the other's mean and scatter, without a warning."""
    rng = np.random.default_rng(0)
    X, r = rng.normal(size=(8, 3)), rng.uniform(0.1, 1, (8, 2))
    some, none = moments_of(X, r, kind), moments_of(X, r * 0, kind)
    assert_same_moments(some + none, some)
    assert_same_moments(none + some, some)
    assert_array_equal((none + none).weight, 0)
    assert np.all(np.isfinite((none + none).mean))


@pytest.mark.parametrize("kind", KINDS)
def test_scatter_about_other_centers(kind):
    """scatter_about(c) is the second moment about c: the scatter plus the mean's distance."""
    rng = np.random.default_rng(1)
    X, r, center = rng.normal(size=(9, 3)), rng.uniform(0, 1, (9, 2)), rng.normal(size=(2, 3))
    gap = X[None] - center[:, None]
    full = np.einsum("nk,kni,knj->kij", r, gap, gap)
    expected = {
        "full": full,
        "tied": full.sum(axis=0),
        "diag": np.einsum("kii->ki", full),
        "spherical": np.einsum("kii->k", full),
    }[kind]
    assert_allclose(moments_of(X, r, kind).scatter_about(center), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_moments_add_in_place(kind):
    """As `+` does, to the bit, and a copy stays what it was."""
    rng = np.random.default_rng(0)
    shape = {"full": (3, 2, 2), "tied": (2, 2), "diag": (3, 2), "spherical": (3,)}[kind]
    one, two = (
        Moments(rng.uniform(size=3), rng.normal(size=(3, 2)), rng.uniform(size=shape), kind)
        for _ in range(2)
    )
    expected, total = one + two, one.copy()
    total.add(two)
    for name in ("weight", "mean", "scatter"):
        assert_array_equal(getattr(total, name), getattr(expected, name))
        assert not np.array_equal(getattr(one, name), getattr(total, name))


def test_fields_whose_add_returns_a_sum_are_added_all_the_same():
    """A pandas Series has an `add` that changes nothing: a tree of many blocks lost all but two."""
    pandas = pytest.importorskip("pandas")
    each = [
        Statistics(bound=0.0, weight=1, counts=pandas.Series([1.0, 2.0]), least=Least(number))
        for number in (3, 5, 4, 9)
    ]
    total = tree_sum(each)
    assert total.counts.tolist() == [4.0, 8.0]
    assert total.least.number == 3
    assert each[0].counts.tolist() == [1.0, 2.0]


class Least:
    """The least of some numbers: a sum of somebody's own, with an `add` of another meaning."""

    def __init__(self, number):
        self.number = number

    def __add__(self, other):
        return Least(min(self.number, other.number))

    def add(self, other):
        return self + other
