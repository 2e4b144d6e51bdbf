"""algorithm='multiresolution': cells of a grid, then all samples, and the optimum of these."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import fastem.components.cells as cells_module
from fastem import BayesianGaussianMixture, BernoulliMixture, Blocks, GaussianMixture, em
from fastem.components.cells import Grid, cells_of
from fastem.components.gaussian_data import GaussianBlock


def overlapping(n, d, k, seed=0, apart=1.6, dtype=np.float64):
    """Samples of components with different shapes, and a start that is not theirs."""
    rng = np.random.default_rng(seed)
    means = apart * rng.normal(size=(k, d))
    turn = np.linalg.qr(rng.normal(size=(k, d, d))).Q
    shapes = turn * rng.uniform(0.5, 1.2, size=(k, 1, d))
    label = rng.integers(k, size=n)
    noise = rng.normal(size=(n, d))
    X = means[label] + np.einsum("nij,nj->ni", shapes[label], noise)
    start = means + 0.5 * rng.normal(size=(k, d))
    start = {"means_init": start, "weights_init": np.full(k, 1 / k), "random_state": 0}
    return X.astype(dtype), start


def both(X, k, weight=None, **settings):
    """Return the fits by 'em' and by 'multiresolution'."""
    return [
        GaussianMixture(k, algorithm=algorithm, **settings).fit(X, sample_weight=weight)
        for algorithm in ("em", "multiresolution")
    ]


# ---- cells -------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_cells_keep_weight_mean_and_all_of_the_covariance(d, weighted):
    X, _ = overlapping(3000, d, 3)
    X[:5] *= 1e4  # outside the box
    weight = np.random.default_rng(1).integers(0, 4, size=3000) / 2 if weighted else None
    cells = cells_of(GaussianBlock.of(X, weight), Grid.of(X, len(X))).cells
    points = cells.block()
    assert len(points.X) < 2600
    one = np.ones(3000) if weight is None else weight
    assert_allclose(points.sample_weight.sum(), one.sum())
    mean = np.average(points.X, axis=0, weights=points.sample_weight)
    assert_allclose(mean, np.average(X, axis=0, weights=one), rtol=1e-10, atol=1e-9)
    between = np.atleast_2d(np.cov(points.X.T, ddof=0, aweights=points.sample_weight))
    total = np.atleast_2d(np.cov(X.T, ddof=0, aweights=one))
    assert_allclose(between + cells.spread(), total, rtol=1e-9)
    assert np.all(cells.spread().diagonal() > 0)


def test_a_sample_may_lie_as_far_from_the_box_as_integers_go():
    """Numbers of cells that float64 rounds, but int64 does not."""
    X, _ = overlapping(3000, 1, 3)
    above = X.max() + np.array([[0.0], [0.1], [0.5], [1.0], [1.5]])
    for far in np.linspace(1e14, 1e15, 50):
        data = np.vstack([X, above, [[-far]]])
        cells = cells_of(GaussianBlock.of(data, None), Grid.of(data, len(data))).cells
        for wider in (cells, cells.coarser()):
            points = wider.block()
            assert points.sample_weight.sum() == len(data)
            assert_allclose(points.X.min(), -far)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_wider_cells_are_those_that_samples_are_sorted_into(d):
    X, _ = overlapping(3000, d, 3)
    X[:50] *= -30
    grid = Grid.of(X, len(X))
    fine = cells_of(GaussianBlock.of(X, None), grid).cells
    wide = grid._replace(width=2 * grid.width)
    expected = cells_of(GaussianBlock.of(X, None), wide).cells
    found = fine.coarser()
    assert_allclose(found.squares, expected.squares, rtol=1e-9)
    assert_allclose(found.spread(), expected.spread(), rtol=1e-9)
    one, other = ((c.block().X, c.block().sample_weight) for c in (found, expected))
    one, other = ((X[np.lexsort(X.T)], w[np.lexsort(X.T)]) for X, w in (one, other))
    assert_allclose(one[0], other[0], rtol=1e-9)
    assert_array_equal(one[1], other[1])


def test_cells_add_in_any_order_and_a_weight_of_2_is_a_duplicate():
    X, _ = overlapping(4000, 2, 3)
    X[::100] *= 50
    grid = Grid.of(X, len(X))
    whole = cells_of(GaussianBlock.of(X, None), grid).cells
    some = [cells_of(GaussianBlock.of(X[i::3], None), grid).cells for i in (2, 0, 1)]
    joined = some[0] + some[1] + some[2]
    doubled = cells_of(GaussianBlock.of(X, np.full(4000, 2.0)), grid).cells
    for found, factor in ((joined, 1), (doubled, 2)):
        assert_array_equal(found.keys, whole.keys)
        assert_allclose(found.box, factor * whole.box, rtol=1e-12)
        assert_allclose(found.outside, factor * whole.outside, rtol=1e-12)
        assert_allclose(found.squares, factor * whole.squares, rtol=1e-12)
    assert len(whole.keys) > 10


def test_rows_at_the_end_of_all_numbers_have_a_cell():
    X, _ = overlapping(3000, 2, 2)
    grid = Grid.of(X, len(X))
    X[7] = 1e100, -1e100
    cells = cells_of(GaussianBlock.of(X, None), grid).cells
    assert_allclose(cells.block().total_weight, 3000)
    assert_array_equal(cells.keys[-1], [2**62, -(2**62)])


# ---- the optimum ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_same_optimum_in_fewer_passes_over_the_samples(kind, d):
    X, start = overlapping(60_000, d, 5, apart=2.5)
    settings = {"covariance_type": kind, "tol": 1e-6, "max_iter": 1000, **start}
    batch, coarse = both(X, 5, **settings)
    assert coarse.converged_
    assert batch.n_iter_ > 15
    assert coarse.n_iter_ < batch.n_iter_ / 2
    assert abs(coarse.lower_bound_ - batch.lower_bound_) < 5e-4
    assert np.all(np.diff(coarse.lower_bounds_) > -1e-9)
    # What is reported is of all samples, not of cells.
    assert_allclose(coarse.score(X), coarse.lower_bound_, atol=1e-5)
    assert coarse.score(X) >= coarse.lower_bound_ - 1e-12


def test_next_to_nothing_is_left_for_the_samples(monkeypatch):
    """Without what is added for the spread within cells much more is lost."""
    X, start = overlapping(200_000, 2, 6)
    settings = {"tol": 1e-7, "max_iter": 2000, "random_state": 0, **start}
    batch = GaussianMixture(6, **settings).fit(X)
    monkeypatch.setitem(cells_module._MOST_CELLS, 2, 40)
    mixture = GaussianMixture(6, algorithm="multiresolution", **settings)
    model, block, start = mixture._problem(mixture._read(X), None)
    params = mixture._start_of_fit(model, block, start)(np.random.RandomState(0))
    found = model.e_step(params, block)
    assert found.bound / found.weight > batch.lower_bound_ - 3e-5
    deviations = np.sqrt(np.linalg.eigvalsh(batch.covariances_))  # some cells, no more
    assert deviations.min() < 5 * Grid.of(X, len(X)).width.max()


def test_weights_and_float32():
    X, start = overlapping(40_000, 2, 4, dtype=np.float32)
    weight = np.random.default_rng(0).integers(0, 3, size=len(X)).astype(float)
    batch, coarse = both(X, 4, weight, tol=1e-6, max_iter=1000, **start)
    assert coarse.means_.dtype == np.float32
    assert abs(coarse.lower_bound_ - batch.lower_bound_) < 5e-4
    repeated = X[np.repeat(np.arange(len(X)), weight.astype(int))]
    assert abs(coarse.lower_bound_ - coarse.score(repeated)) < 1e-5


def test_a_component_narrower_than_cells_sends_the_fit_to_all_samples(capsys):
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(20_000, 2)), rng.normal(size=(2000, 2)) * 2e-3 + [1, 1]])
    start = {"means_init": [[0, 0], [1, 1]], "weights_init": [0.5, 0.5], "tol": 1e-7}
    batch, coarse = both(X, 2, precisions_init=[np.eye(2), np.eye(2)], verbose=1, max_iter=900,
                         **start)  # fmt: skip
    assert "a component is too narrow for them" in capsys.readouterr().out
    assert coarse.n_iter_ >= 4
    assert_allclose(coarse.lower_bound_, batch.lower_bound_, atol=1e-6)
    assert_allclose(coarse.covariances_, batch.covariances_, rtol=0.01, atol=1e-8)


def test_data_far_from_zero_and_in_other_units():
    X, start = overlapping(30_000, 2, 3)
    near = GaussianMixture(3, algorithm="multiresolution", tol=1e-7, max_iter=900, **start).fit(X)
    unit, far = np.array([1e-6, 1e5]), np.array([3e3, -7e9])
    start["means_init"] = start["means_init"] * unit + far
    moved = GaussianMixture(3, algorithm="multiresolution", tol=1e-7, max_iter=900, reg_covar=0,
                            **start).fit(X * unit + far)  # fmt: skip
    gap = near.lower_bound_ - moved.lower_bound_ - np.log(unit).sum()
    assert abs(gap) < 1e-4


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
def test_every_start_is_made_on_cells(init):
    X, _ = overlapping(20_000, 2, 4)
    settings = {"init_params": init, "random_state": 0, "tol": 1e-5, "max_iter": 2000}
    mixture = GaussianMixture(4, algorithm="multiresolution", n_init=2, **settings).fit(X)
    assert mixture.converged_
    best = GaussianMixture(4, n_init=2, **settings).fit(X).lower_bound_
    assert mixture.lower_bound_ > best - 0.01


def test_prior_and_fixed_count_for_cells_as_for_samples():
    X, start = overlapping(30_000, 2, 3)
    settings = {"tol": 1e-6, "max_iter": 900, "prior": "conjugate", **start}
    batch, coarse = both(X, 3, **settings)
    assert abs(coarse.lower_bound_ - batch.lower_bound_) < 5e-4
    held = {"means": [True, False, False]}
    batch, coarse = both(X, 3, tol=1e-6, max_iter=900, fixed=held, **start)
    assert_array_equal(coarse.means_[0], start["means_init"][0])
    assert abs(coarse.lower_bound_ - batch.lower_bound_) < 5e-4


# ---- doors ---------------------------------------------------------------------------------------


def test_blocks_are_sorted_into_cells_too():
    X, start = overlapping(30_000, 2, 4, apart=2.5)
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(X))
    settings = {"algorithm": "multiresolution", "tol": 1e-6, "max_iter": 2000, **start}
    blocks = Blocks.from_arrays(X, weight, batch_rows=7000)
    passes = []
    with em.watch(lambda state: passes.append(state.iteration)):
        mixture = GaussianMixture(4, **settings).fit(blocks)
    whole = GaussianMixture(4, **settings).fit(X, sample_weight=weight)
    assert_allclose(mixture.lower_bound_, whole.lower_bound_, atol=2e-4)
    settings["algorithm"] = "em"
    assert len(passes) < GaussianMixture(4, **settings).fit(blocks).n_iter_ / 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("settings", "n_rows"),
    [({}, 30_000), ({"n_init": 3, "init_params": "random_from_data"}, 20_000),
     ({"covariance_type": "diag", "init_params": "k-means++"}, 20_000), ({}, 150)],
)  # fmt: skip
def test_blocks_give_the_fit_of_data_in_memory(settings, n_rows, weighted):
    """From the same start, of cells; or of samples, where cells are too few."""
    X, _ = overlapping(n_rows, 2, 4, apart=2.5)
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(X)) if weighted else None
    mixture = GaussianMixture(
        4, algorithm="multiresolution", tol=1e-6, max_iter=2000, random_state=3, **settings
    )
    whole = clone(mixture).fit(X, sample_weight=weight)
    cut = clone(mixture).fit(Blocks.from_arrays(X, weight, batch_rows=7001))
    assert cut.n_iter_ == whole.n_iter_
    for name in ("weights_", "means_", "covariances_", "lower_bound_"):
        value = getattr(whole, name)
        most = np.abs(value).max()
        assert_allclose(getattr(cut, name), value, rtol=1e-9, atol=1e-9 * most, err_msg=name)


def test_the_same_bits_for_every_number_of_threads_and_after_a_checkpoint(tmp_path):
    X, _ = overlapping(50_000, 2, 5)
    settings = {"algorithm": "multiresolution", "random_state": 0, "n_init": 2, "tol": 1e-5}
    one, two = (GaussianMixture(5, n_jobs=n, **settings).fit(X) for n in (1, 2))
    assert_array_equal(one.covariances_, two.covariances_)
    assert one.lower_bounds_ == two.lower_bounds_

    class Killed(Exception):
        pass

    def kill(state):
        if state.init == 1:
            raise Killed

    path = tmp_path / "cells.checkpoint"
    checkpoint = em.Checkpoint(path, iterations=1)
    with pytest.raises(Killed), em.watch(kill):
        GaussianMixture(5, **settings).fit(X, checkpoint=checkpoint)
    left = []
    with em.watch(lambda state: left.append(state.init)):
        again = GaussianMixture(5, **settings).fit(X, checkpoint=checkpoint)
    assert set(left) == {1}  # the first restart was done
    assert_array_equal(again.covariances_, one.covariances_)


@pytest.mark.parametrize("n", [3, 30, 300])
def test_few_samples_are_fitted_as_they_are(n, capsys):
    X, _ = overlapping(n, 2, 2)
    mixture = GaussianMixture(2, algorithm="multiresolution", random_state=0, verbose=1).fit(X)
    assert np.isfinite(mixture.lower_bound_)
    assert ("Only" in capsys.readouterr().out) == (n < 300)


def test_equal_values_of_a_feature_and_no_iterations():
    X, _ = overlapping(2000, 2, 2)
    X[:, 1] = 7.5
    mixture = GaussianMixture(2, algorithm="multiresolution", random_state=0).fit(X)
    assert_allclose(mixture.means_[:, 1], 7.5)
    mixture = GaussianMixture(2, algorithm="multiresolution", max_iter=0, random_state=0).fit(X)
    assert mixture.n_iter_ == 0


def test_bad_input_is_refused_before_the_fit():
    X, _ = overlapping(500, 3, 2)
    mixture = GaussianMixture(2, algorithm="multiresolution", random_state=0)
    mixture.fit(X)
    means = mixture.means_
    with pytest.raises(ValueError, match="'multiresolution' is for at most 3 features, got 4"):
        mixture.fit(np.hstack([X, X[:, :1]]))
    with pytest.raises(ValueError, match="'multiresolution' knows no noise: take 'em'"):
        GaussianMixture(2, algorithm="multiresolution", noise=True).fit(X)
    X[5, 1] = np.nan
    with pytest.raises(ValueError, match="'multiresolution' needs samples without NaN"):
        mixture.fit(X)
    with pytest.raises(ValueError, match=r"block 1, row 1: algorithm='multiresolution' needs"):
        mixture.fit(Blocks.from_arrays(X, batch_rows=4))
    assert mixture.means_ is means
    for other in (BayesianGaussianMixture, BernoulliMixture):
        with pytest.raises(ValueError, match="'algorithm' parameter"):
            other(2, algorithm="multiresolution").fit(X > 0)
