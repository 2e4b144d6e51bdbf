"""Small fits, of which people make thousands: the short ways give what the long ones give."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import datasets

from fastem import GaussianMixture, KMeans, em
from fastem._engine.random_states import lent_random_state
from fastem.cluster import one_call

RNG = np.random.default_rng(0)
DATA = {
    "iris": datasets.load_iris().data,
    "one feature": RNG.exponential(size=(40, 1)),
    "wide": RNG.normal(size=(60, 90)),
    "equal rows": np.repeat([[0.1, 0.2], [3, 4], [8, 1.0]], 7, axis=0),
    "more clusters than points": np.repeat([[0.1, 0.2], [3, 4.0]], 9, axis=0),
}
ATTRIBUTES = (
    "cluster_centers_", "labels_", "inertia_", "n_iter_", "converged_", "lower_bound_",
    "lower_bounds_", "n_features_in_",
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:Number of distinct clusters")


def assert_the_same_bits(model, X, weight=None):
    """A fit that is watched goes through the driver; one that is not, does not."""
    short = model.fit(X, sample_weight=weight)
    found = {name: getattr(short, name) for name in ATTRIBUTES}
    with em.watch(lambda state: None):
        long = model.fit(X, sample_weight=weight)
    for name in ATTRIBUTES:
        assert_array_equal(found[name], getattr(long, name), err_msg=name, strict=True)
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.usefixtures("every_instruction_set")
def test_few_samples_give_the_driver_s_bits(data, weighted, dtype):
    X = DATA[data].astype(dtype)
    weight = RNG.integers(0, 3, len(X)).astype(dtype) if weighted else None
    for settings in ({}, {"tol": 0}, {"max_iter": 1}, {"init": "random", "n_init": 4}):
        for seed in range(3):
            assert_the_same_bits(KMeans(3, random_state=seed, **settings), X, weight)


def test_few_samples_skip_the_driver(monkeypatch):
    """Or the test above would compare it with itself."""
    monkeypatch.setattr(em, "run", None)
    model = KMeans(3, random_state=0).fit(DATA["iris"])
    assert model.converged_
    with em.watch(lambda state: None), pytest.raises(TypeError):
        model.fit(DATA["iris"])


def test_clusters_that_empty_go_to_the_driver():
    """Its M-step knows which samples take their place."""
    X = RNG.normal(size=(200, 3))
    init = np.vstack([X[:3], np.full((2, 3), 100.0) + np.arange(2)[:, None]])
    found = assert_the_same_bits(KMeans(5, init=init, n_init=1), X)
    assert len(np.unique(found["labels_"])) == 5


def test_an_interrupt_leaves_the_best_start_so_far(monkeypatch):
    """As it does in a long fit."""
    fit_in_one_call, fits = one_call.fit_in_one_call, []

    def interrupt(*arguments):
        fits.append(1)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit_in_one_call(*arguments)

    monkeypatch.setattr(one_call, "fit_in_one_call", interrupt)
    model = KMeans(3, init="random", n_init=9, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(DATA["iris"])
    monkeypatch.undo()
    expected = KMeans(3, init="random", n_init=2, random_state=0).fit(DATA["iris"])
    assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    assert not hasattr(model, "_restarts")


# ---- random states -----------------------------------------------------------------------------


def test_a_lent_random_state_is_as_a_new_one():
    """Also where an earlier borrower left a normal number in it, and within another's block."""
    with lent_random_state(3) as first:
        first.standard_normal(3)
        with lent_random_state(np.int64(4)) as second:
            assert second is not first
            assert_array_equal(second.uniform(size=9), np.random.RandomState(4).uniform(size=9))
    with lent_random_state(3) as again:
        expected = np.random.RandomState(3)
        assert_array_equal(again.standard_normal(9), expected.standard_normal(9))


def test_a_user_s_random_state_is_not_lent():
    own = np.random.RandomState(0)
    with lent_random_state(own) as same:
        assert same is own
    with lent_random_state(None) as shared:
        assert shared is np.random.mtrand._rand


def test_what_a_callable_start_keeps_is_its_own():
    kept = []

    def init(X, n_clusters, random_state):
        kept.append(random_state)
        return X[:n_clusters]

    model = KMeans(3, init=init, n_init=1, random_state=0).fit(DATA["iris"])
    before = kept[0].get_state()[1].copy()
    KMeans(3, random_state=1).fit(DATA["iris"])
    assert_array_equal(kept[0].get_state()[1], before)
    assert model.converged_


# ---- validation --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [KMeans(2, random_state=0), GaussianMixture(2, random_state=0)])
def test_a_plain_array_leaves_no_trace_of_the_last_fit(model):
    """Names and number of features are those of the last data."""
    pandas = pytest.importorskip("pandas")
    X = DATA["iris"]
    model.fit(pandas.DataFrame(X, columns=list("abcd")))
    assert list(model.feature_names_in_) == list("abcd")
    model.fit(X[:, :3].copy())
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 3


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_fit_changes_no_bit_of_x(dtype):
    X = DATA["iris"].astype(dtype)
    before = X.copy()
    KMeans(3, random_state=0).fit(X)
    GaussianMixture(3, random_state=0).fit(X)
    assert_array_equal(X, before, strict=True)


@pytest.mark.parametrize("wrong", [np.inf, -np.inf])
@pytest.mark.parametrize("estimator", [KMeans(3), GaussianMixture(3)], ids=repr)
def test_values_that_are_not_finite_are_refused_as_ever(wrong, estimator):
    X = DATA["iris"].copy()
    X[7, 2] = wrong
    with pytest.raises(ValueError, match="contains infinity"):
        estimator.fit(X)


def test_one_sample_is_refused_in_scikit_learn_s_words():
    with pytest.raises(ValueError, match=r"Found array with 1 sample.*minimum of 2 is required"):
        GaussianMixture().fit(DATA["iris"][:1])
