"""algorithm='truncated': some components of many for each sample, and an exact end."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastem.components.truncated as module
from fastem import BayesianGaussianMixture, Blocks, GaussianMixture, em
from fastem.components import near
from fastem.components.gaussian import GaussianBlock, GaussianEM, GaussianParams
from fastem.components.gaussian_data import Scaling
from fastem.components.truncated import Search, TruncatedEM

K, D = 60, 5


def clusters(n=9000, k=K, d=D, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    means = 2.5 * rng.normal(size=(k, d))
    widths = rng.uniform(0.4, 1.2, size=(k, d))
    label = rng.integers(k, size=n)
    return (means[label] + widths[label] * rng.normal(size=(n, d))).astype(dtype), means


def problem(kind="diag", weighted=False, dtype=np.float64, n=3000, max_iter=1000, tol=1e-4):
    """Return the model, a block and first parameters of a mixture of many components."""
    X, means = clusters(n, dtype=dtype)
    weight = np.random.default_rng(1).uniform(0, 2, len(X)) if weighted else None
    precisions = np.full((K, D) if kind == "diag" else K, 2.0)
    params = GaussianParams.from_precisions(
        np.full(K, 1 / K), means + 0.5, precisions, kind, np.dtype(dtype)
    )
    inner = GaussianEM(kind, 1e-6, dtype, 2)
    model = TruncatedEM(inner, tol, max_iter, 0)
    return model, GaussianBlock.of(X, weight), model.begin(params)


def log_densities(params, X):
    """Return log(weight * density) of each sample and component, as the textbook has it."""
    chol = np.broadcast_to(params.precisions_cholesky.reshape(K, -1), (K, D))
    z = (X[:, None].astype(np.float64) - params.means) * chol
    norm = np.log(params.weights) + np.log(chol).sum(axis=1) - D / 2 * np.log(2 * np.pi)
    return norm - 0.5 * (z**2).sum(axis=2)


# ---- E-steps -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_instruction_set")
@pytest.mark.parametrize("kind", ["diag", "spherical"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_e_step_is_the_textbook_s_of_the_components_that_rows_keep(kind, dtype, weighted):
    model, block, params = problem(kind, weighted, dtype)
    first = model.first_state(params, block)
    found, kept = model.e_step(params, block, first)
    assert kept.shape == (len(block.X), module.KEPT)
    assert np.all(np.diff(np.sort(kept, axis=1), axis=1) > 0)  # no component twice
    lp = log_densities(params.components, block.X)
    own = np.take_along_axis(lp, kept.astype(np.int64), axis=1)
    assert np.all(np.diff(own, axis=1) <= 1e-3)  # the best first
    # What was kept, or is near to the nearest mean, is no better than what is kept now.
    tried = np.hstack([first, params.near[first[:, 0]]])
    better = np.take_along_axis(lp, tried.astype(np.int64), axis=1) > own[:, -1:] + 1e-3
    assert not np.any(better & ~(tried[:, :, None] == kept[:, None, :]).any(axis=2))
    weight = np.ones(len(lp)) if block.sample_weight is None else block.sample_weight
    log_prob = np.logaddexp.reduce(own, axis=1)
    tolerance = 1e-10 if dtype == np.float64 else 2e-5
    assert_allclose(found.bound, weight @ log_prob, rtol=tolerance)
    r = np.zeros_like(lp)
    np.put_along_axis(r, kept.astype(np.int64), np.exp(own - log_prob[:, None]), axis=1)
    r *= weight[:, None]
    moments = found.moments
    assert_allclose(moments.weight, r.sum(axis=0), rtol=100 * tolerance, atol=tolerance)
    X = block.X.astype(np.float64)
    mean = (r.T @ X) / np.maximum(r.sum(axis=0), 1e-300)[:, None]
    some = r.sum(axis=0) > 1
    assert_allclose(moments.mean[some], mean[some], rtol=100 * tolerance, atol=100 * tolerance)
    scatter = np.einsum("nk,nkd->kd", r, (X[:, None] - mean) ** 2)
    scatter = scatter if kind == "diag" else scatter.sum(axis=1)
    assert_allclose(moments.scatter[some], scatter[some], rtol=3000 * tolerance)


def test_bounds_rise_and_stay_below_the_likelihood():
    model, block, params = problem()
    model.model.reg_covar = 0.0
    states = []
    result = em.fit(model, [block], params, max_iter=1000, tol=0, callbacks=[states.append])
    bounds = np.array(result.lower_bounds)
    assert result.converged
    assert np.all(np.diff(bounds) > -1e-9)
    n_dense = result.params.n_dense
    assert 2 <= n_dense <= 3
    assert len(bounds) > n_dense + 3
    exact = model.model.e_step(params.components, block).bound / len(block.X)
    assert bounds[0] < exact + 1e-12
    # The last one is of all components.
    before = states[-2].params.components
    assert_allclose(bounds[-1], model.model.e_step(before, block).bound / len(block.X), rtol=1e-12)


def squared_distances(components, block):
    """Return those of rows to means, in units of the scaling."""
    scale = block.scaling.scale
    return (((block.X[:, None] - components.means) * scale) ** 2).sum(axis=2)


@pytest.mark.parametrize("step", [1, 2, 3, 6, 8])
def test_some_e_steps_compare_what_is_near_to_the_nearest_mean(step):
    model, block, params = problem()
    params = params._replace(step=step)
    far = np.tile(np.arange(K - module.KEPT, K, dtype=np.int32), (len(block.X), 1))
    kept = model.e_step(params, block, far)[1]
    if step == 3:
        assert_array_equal(np.sort(kept, axis=1), far)
        return
    nearest = squared_distances(params.components, block).argmin(axis=1)
    if step == 6:  # in between, what is near to the best one
        nearest = far[:, 0]
    allowed = np.hstack([far, params.near[nearest]]).astype(np.int64)
    lp = np.full((len(far), K), -np.inf)
    tried = np.take_along_axis(log_densities(params.components, block.X), allowed, axis=1)
    np.put_along_axis(lp, allowed, tried, axis=1)
    assert_array_equal(kept, np.argsort(-lp, axis=1, kind="stable")[:, : module.KEPT])


def test_all_means_are_compared_at_first_and_then_in_each_eighth_iteration():
    assert [step for step in range(20) if near.is_searched(step)] == [0, 1, 2, 8, 16]


def test_what_is_near_are_the_nearest_means():
    params = problem()[2]
    components = params.components
    scale = Scaling.of_params(components, "diag", np.dtype(np.float64)).scale
    points = components.means * scale
    distances = ((points[:, None] - points) ** 2).sum(axis=2)
    best = np.argsort(distances, axis=1)[:, : near.NEAR]
    found = params.near
    assert_array_equal(found[:, 0], np.arange(K))
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), best.tolist(), strict=True)]
    assert np.mean(shared) > 0.98 * near.NEAR


def test_first_components_are_near():
    model, block, params = problem()
    kept = model.first_state(params, block)
    best = log_densities(params.components, block.X).argmax(axis=1)
    assert np.mean((kept == best[:, None]).any(axis=1)) > 0.9


def test_far_rows_of_float32_are_computed_in_float64():
    X, means = clusters(2000, dtype=np.float32)
    X[0] = 3e18
    params = GaussianParams.from_precisions(
        np.full(K, 1 / K), means, np.full((K, D), 9.0), "diag", np.dtype(np.float32)
    )
    model = TruncatedEM(GaussianEM("diag", 1e-6, np.float32, 1), 1e-3, 100, 0)
    params, block = model.begin(params), GaussianBlock.of(X, None)
    found = model.e_step(params, block, model.first_state(params, block))[0]
    assert np.isfinite(found.bound)
    wide = GaussianBlock.of(X.astype(np.float64), None)
    expected = model.e_step(params, wide, model.first_state(params, wide))[0]
    assert_allclose(found.bound, expected.bound, rtol=1e-6)


# ---- fits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["diag", "spherical"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_fit_ends_at_the_likelihood_of_em(kind, dtype):
    X, means = clusters(dtype=dtype)
    start = {"means_init": means + 0.3, "weights_init": np.full(K, 1 / K), "tol": 1e-4}
    batch, mixture = (
        GaussianMixture(K, covariance_type=kind, algorithm=algorithm, random_state=0,
                        max_iter=500, **start).fit(X)
        for algorithm in ("em", "truncated")
    )  # fmt: skip
    assert mixture.converged_
    assert mixture.means_.dtype == dtype
    assert mixture.lower_bound_ > batch.lower_bound_ - 0.01
    # What is reported is exact: the last M-step can but raise it.
    assert mixture.lower_bound_ <= mixture.score(X) < mixture.lower_bound_ + 0.01
    assert len(mixture.lower_bounds_) == mixture.n_iter_


def test_the_start_is_truncated_too():
    X, _ = clusters()
    settings = {"covariance_type": "diag", "random_state": 0}
    batch = GaussianMixture(K, **settings).fit(X)
    for init in ("kmeans", "random_from_data"):
        mixture = GaussianMixture(K, algorithm="truncated", init_params=init, **settings).fit(X)
        assert mixture.lower_bound_ > batch.lower_bound_ - (0.05 if init == "kmeans" else 0.5)


def test_max_iter_leaves_the_last_iterations_to_all_components():
    X, _ = clusters(3000)
    for max_iter in (1, 2, 3, 6):
        mixture = GaussianMixture(K, covariance_type="diag", algorithm="truncated", tol=0,
                                  max_iter=max_iter, random_state=0)  # fmt: skip
        with pytest.warns(match="did not converge"):
            mixture.fit(X)
        assert mixture.n_iter_ == max_iter
        assert 0 <= mixture.score(X) - mixture.lower_bound_ < 0.3


def test_the_same_bits_for_every_number_of_threads_and_after_a_checkpoint(tmp_path):
    X, _ = clusters(20_000)
    settings = {"covariance_type": "diag", "algorithm": "truncated", "random_state": 0}
    one, two = (GaussianMixture(K, n_jobs=n, **settings).fit(X) for n in (1, 2))
    assert_array_equal(one.means_, two.means_)
    assert one.lower_bounds_ == two.lower_bounds_

    class Killed(Exception):
        pass

    def kill(state):
        if state.iteration == 4:
            raise Killed

    checkpoint = em.Checkpoint(tmp_path / "truncated.checkpoint", iterations=1)
    with pytest.raises(Killed), em.watch(kill):
        GaussianMixture(K, **settings).fit(X, checkpoint=checkpoint)
    left = []
    with em.watch(lambda state: left.append(state.iteration)):
        again = GaussianMixture(K, **settings).fit(X, checkpoint=checkpoint)
    assert left[0] == 4
    assert_array_equal(again.means_, one.means_)
    assert again.lower_bounds_ == one.lower_bounds_


def test_blocks_draw_what_an_array_does():
    X, means = clusters(8000)
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(X))
    start = {"means_init": means, "weights_init": np.full(K, 1 / K),
             "precisions_init": np.full((K, D), 1.5)}  # fmt: skip
    settings = {"covariance_type": "diag", "algorithm": "truncated", "random_state": 3, **start}
    whole = GaussianMixture(K, **settings).fit(X, sample_weight=weight)
    blocks = Blocks.from_arrays(X, weight, batch_rows=1700)
    mixture = GaussianMixture(K, **settings).fit(blocks)
    assert mixture.n_iter_ == whole.n_iter_
    assert_allclose(mixture.lower_bounds_, whole.lower_bounds_, rtol=1e-8)
    assert_allclose(mixture.means_, whole.means_, rtol=1e-6, atol=1e-8)


def test_prior_fixed_and_warm_start():
    X, means = clusters(4000)
    settings = {"covariance_type": "diag", "algorithm": "truncated", "random_state": 0}
    mixture = GaussianMixture(K, prior="conjugate", **settings).fit(X)
    batch = GaussianMixture(K, covariance_type="diag", prior="conjugate", random_state=0).fit(X)
    assert mixture.lower_bound_ > batch.lower_bound_ - 0.1
    assert np.all(np.diff(mixture.lower_bounds_) > -1e-9)
    fixed = GaussianMixture(K, fixed=["means"], means_init=means, **settings).fit(X)
    assert_array_equal(fixed.means_, means)
    again = GaussianMixture(K, warm_start=True, **settings).fit(X)
    before = again.lower_bound_
    again.fit(X)
    assert again.lower_bound_ > before - 1e-3


@pytest.mark.parametrize("k", [1, 2, 9])
def test_few_components_are_all_kept(k):
    X, _ = clusters(500, k=3)
    mixture = GaussianMixture(k, covariance_type="diag", algorithm="truncated", random_state=0)
    mixture.fit(X)
    assert 0 <= mixture.score(X) - mixture.lower_bound_ < 0.01


def test_bad_input_is_refused_before_the_fit():
    X, _ = clusters(300)
    for kind in ("full", "tied"):
        mixture = GaussianMixture(5, covariance_type=kind, algorithm="truncated")
        with pytest.raises(ValueError, match=rf"'diag' or 'spherical', got '{kind}'"):
            mixture.fit(X)
    mixture = GaussianMixture(5, covariance_type="diag", algorithm="truncated", noise=True)
    with pytest.raises(ValueError, match="'truncated' knows no noise"):
        mixture.fit(X)
    mixture.set_params(noise=False)
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="'truncated' needs samples without NaN"):
        mixture.fit(X)
    with pytest.raises(ValueError, match="block 0, row 3: algorithm='truncated' needs"):
        mixture.fit(Blocks.from_arrays(X, batch_rows=100))
    with pytest.raises(ValueError, match="'algorithm' parameter"):
        BayesianGaussianMixture(2, algorithm="truncated").fit(X)


def test_a_search_of_equal_components_has_each_once():
    """What is near to components that are all alike are still different ones."""
    k = 30
    params = GaussianParams.from_precisions(
        np.full(k, 1 / k), np.zeros((k, 2)), np.ones((k, 2)), "diag", np.dtype(np.float64)
    )
    X = np.random.default_rng(0).normal(size=(100, 2))
    block = GaussianBlock.of(X, None)
    found = Search.of(params, "diag", block.scaling, 1).of_means().first(0)
    assert np.all(np.diff(np.sort(found, axis=1), axis=1) > 0)
