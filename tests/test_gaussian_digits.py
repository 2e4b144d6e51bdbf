"""Gaussian components keep their digits: far starts, far rows, float32, fill values, overflow."""

import copy
import tracemalloc

import numpy as np
import pytest
from case_mixtures import KINDS, gaussian_oracle
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import mixture as sklearn_mixture

from fastem import GaussianLDA, GaussianMixture, em
from fastem.components import gaussian
from fastem.components.gaussian_data import GaussianBlock

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_kind = pytest.mark.parametrize("kind", KINDS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def unit(kind, k, d):
    """Return k unit covariances."""
    shape = gaussian.KINDS[kind].shape(k, d)
    return np.broadcast_to(np.eye(d), shape) if kind in ("full", "tied") else np.ones(shape)


def groups(d, dtype=np.float64, seed=3):
    """Return two groups of samples, about 0 and about 8."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(200, d)), rng.normal(size=(150, d)) * np.linspace(0.5, 2, d)
    return np.vstack([first, second + 8]).astype(dtype)


def far_means(d, distance):
    """Return two means so far away, and not in one place."""
    means = np.full((2, d), -distance)
    means[1, 0] += 0.9 * distance
    means[1, -1] -= 0.5 * distance
    return means


# ---- means that move far in one iteration --------------------------------------------------------


@every_kind
@both_dtypes
@pytest.mark.parametrize("d", [2, 9])
@pytest.mark.parametrize("distance", [1e4, 1e8, 1e20])
@pytest.mark.parametrize("weighted", [False, True])
def test_any_start_keeps_the_digits(kind, dtype, d, distance, weighted):
    """Means that come from 1e20 deviations away: the oracle's fit, which sums about new means."""
    X = groups(d, dtype)
    weight = np.random.default_rng(5).uniform(0.5, 2, len(X)) if weighted else None
    start = far_means(d, distance)
    fits = [
        GaussianMixture(
            2,
            covariance_type=kind,
            weights_init=[0.5, 0.5],
            means_init=start,
            precisions_init=unit(kind, 2, d) / distance**2,
            max_iter=3,
            tol=0,
            n_jobs=n_jobs,
        ).fit(X, sample_weight=weight)
        for n_jobs in (1, 2, 4)
    ]
    params = np.full(2, 0.5), start, unit(kind, 2, d) * distance**2
    params, bounds = gaussian_oracle.fit(
        X.astype(float), gaussian_oracle.Params(*params), kind, 3, sample_weight=weight
    )
    # The first responsibilities are float32's own: their densities lie 1e-7 apart.
    tolerance = 1e-11 if dtype == np.float64 else 2e-3
    assert_allclose(fits[0].lower_bounds_, bounds, rtol=1e-13 if dtype == np.float64 else 1e-6)
    assert_allclose(fits[0].means_, params.means, rtol=tolerance, atol=tolerance)
    assert_allclose(fits[0].covariances_, params.covariances, rtol=tolerance, atol=tolerance)
    for other in fits[1:]:
        assert_array_equal(other.covariances_, fits[0].covariances_)
        assert_array_equal(other.means_, fits[0].means_)


@both_dtypes
@pytest.mark.parametrize("kind", ["diag", "spherical"])
def test_an_outlier_takes_the_digits_of_nobody(kind, dtype):
    """One row at 1e10, random responsibilities: both means begin far out, and one comes back."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(0, 1, (250, 2)), rng.normal(6, 1, (250, 2)), [[1e10, 1e10]]])
    mixture = GaussianMixture(
        2, covariance_type=kind, init_params="random", random_state=1, max_iter=300
    ).fit(X.astype(dtype))
    near = X[:500]
    if kind == "diag":
        assert_allclose(mixture.covariances_[0], near.var(axis=0), rtol=1e-5)
    else:
        assert_allclose(mixture.covariances_[0], near.var(axis=0).mean(), rtol=1e-5)
    assert_allclose(mixture.means_[0], near.mean(axis=0), rtol=1e-6)
    # Computed in extended precision, which has 19 digits.
    expected = {"diag": -5.1025899, "spherical": -5.1031435}[kind]
    assert mixture.lower_bound_ == pytest.approx(expected, abs=1e-5)
    assert np.diff(mixture.lower_bounds_).min() > -1e-6


@every_kind
@both_dtypes
def test_blocks_add_up_from_a_far_start(kind, dtype):
    """Statistics of four blocks, about far means, are those of one."""
    X = groups(3, dtype)
    model = gaussian.GaussianEM(kind, 0.0, dtype, 1)
    params = gaussian.GaussianParams.from_precisions(
        np.full(2, 0.5), far_means(3, 1e9), unit(kind, 2, 3) / 1e18, kind, np.dtype(dtype)
    )
    whole = model.e_step(params, GaussianBlock.of(X, None)).moments
    total = None
    for rows in np.array_split(X, 4):
        part = model.e_step(params, GaussianBlock.of(rows, None))
        total = part if total is None else total + part
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    assert_allclose(total.moments.scatter, whole.scatter, rtol=tolerance, atol=tolerance * 1e4)
    assert_allclose(total.moments.mean, whole.mean, rtol=tolerance)


@pytest.mark.parametrize("kind", ["tied", "diag", "spherical"])
def test_incremental_steps_forget_a_far_start(kind):
    """Blocks that replace their statistics of 1e8 deviations away end where batch passes end."""
    X = np.random.default_rng(0).permutation(groups(2))
    model = gaussian.GaussianEM(kind, 1e-6, np.float64, 1)
    params = gaussian.GaussianParams.from_precisions(
        np.full(2, 0.5), far_means(2, 1e8), unit(kind, 2, 2) / 1e16, kind, np.dtype(float)
    )
    blocks = [GaussianBlock.of(rows, None) for rows in np.array_split(X, 5)]
    ends = [
        em.fit(model, blocks, params, schedule=schedule, tol=1e-11, max_iter=300).lower_bound
        for schedule in ("batch", "incremental")
    ]
    assert ends[1] == pytest.approx(ends[0], rel=1e-9)


@both_dtypes
@pytest.mark.parametrize("stacked", [True, False])
def test_topics_of_vectors_keep_the_digits(dtype, stacked):
    """GaussianLDA, whose first means lie 1e8 deviations away: one topic is one Gaussian."""
    X = groups(3, dtype)
    counts = np.zeros((2, len(X)))
    counts[0, :150], counts[1, 150:] = 1, 1
    start = {"means_init": np.full((1, 3), 1e8), "max_iter": 1, "tol": 0}
    if stacked:
        lda = GaussianLDA(1, **start).fit(X, lengths=[150, 200])
    else:
        lda = GaussianLDA(1, vectors=X, **start).fit(counts)
    X = X.astype(float)
    assert_allclose(lda.means_[0], X.mean(axis=0), rtol=1e-6)
    assert_allclose(lda.covariances_[0], X.var(axis=0) + 1e-6, rtol=1e-5)


def test_ordinary_passes_are_single(monkeypatch):
    """No second pass where means move as they do in a fit from a start among the data."""
    passes = []
    again = gaussian.GaussianEM._moments_about
    monkeypatch.setattr(
        gaussian.GaussianEM, "_moments_about", lambda *a: passes.append(1) or again(*a)
    )
    X = groups(4)
    for kind in KINDS:
        for seed in range(3):
            for init in ("kmeans", "random"):
                GaussianMixture(
                    3, covariance_type=kind, random_state=seed, init_params=init, max_iter=30
                ).fit(X)
    assert not passes
    start = {"weights_init": [0.5, 0.5], "means_init": far_means(4, 1e6)}
    GaussianMixture(2, covariance_type="diag", precisions_init=np.full((2, 4), 1e-12), **start).fit(
        X
    )
    assert passes


# ---- float32 -------------------------------------------------------------------------------------


@every_kind
def test_float32_counts_are_guarded_in_float64(kind):
    """A constant column at 1e6 has the variance reg_covar, in float32 as in float64."""
    X = np.column_stack([np.random.default_rng(0).normal(size=300), np.full(300, 1e6)])
    single = GaussianMixture(covariance_type=kind).fit(X.astype(np.float32))
    double = GaussianMixture(covariance_type=kind).fit(X.astype(np.float32).astype(float))
    assert_allclose(single.covariances_, double.covariances_, rtol=1e-5, atol=1e-12)
    assert single.means_.ravel()[1] == 1e6
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, abs=1e-6)


@every_kind
@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_float32_bounds_rise_far_from_zero(kind, offset):
    """An offset of a million deviations, no reg_covar: no bound falls by more than rounding."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        k, d = 1 + seed % 4, 1 + seed % 3
        means = rng.normal(0, 4, size=(k, d))
        X = means[rng.integers(k, size=300)] + rng.normal(size=(300, d)) + offset
        mixture = GaussianMixture(k, covariance_type=kind, reg_covar=0, tol=0, max_iter=40)
        bounds = np.array(
            mixture.set_params(random_state=seed).fit(X.astype(np.float32)).lower_bounds_
        )
        assert np.all(np.diff(bounds) >= -3e-7 * np.abs(bounds[1:]))


# ---- far rows ------------------------------------------------------------------------------------


@every_kind
@both_dtypes
@pytest.mark.parametrize("d", [2, 10])
@pytest.mark.usefixtures("every_instruction_set")
def test_densities_below_any_floor(kind, dtype, d):
    """Fill values such as 1e20 and 9.97e36, 1e153 in float64: finite, and the nearest wins."""
    X = groups(d, dtype)
    mixture = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    sizes = [1e14, -1e14, 1e20, 9.97e36]
    far = np.outer(sizes + ([1e100, -1e153] if dtype == np.float64 else []), np.ones(d)).astype(
        dtype
    )
    double = [np.asarray(a, dtype=float) for a in (mixture.weights_, mixture.means_)]
    params = gaussian_oracle.Params(*double, np.asarray(mixture.covariances_, dtype=float))
    log_joint = gaussian_oracle.log_prob(far.astype(float), *params, kind)
    proba = mixture.predict_proba(far)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert_array_equal(proba.argmax(axis=1), mixture.predict(far))
    if kind != "tied":  # where what tells the two apart is less than a last bit
        assert_array_equal(mixture.predict(far), log_joint.argmax(axis=1))
    with np.errstate(over="ignore"):
        expected = log_joint.max(axis=1).astype(dtype)
    assert_allclose(mixture.score_samples(far), expected, rtol=1e-5)


@pytest.mark.usefixtures("every_instruction_set")
@both_dtypes
@pytest.mark.parametrize("d", [3, 10])
def test_equal_components_share_far_rows(dtype, d):
    """Also where pruning sees no difference between a component and the best: both have half."""
    X = groups(d, dtype)
    precisions = np.array([np.eye(d)] * 2)
    params = gaussian.GaussianParams.from_precisions(
        np.full(2, 0.5), np.zeros((2, d)), precisions, "full", np.dtype(dtype)
    )
    X[::2] += dtype(1e12)
    moments = (
        gaussian.GaussianEM("full", 0.0, dtype, 1).e_step(params, GaussianBlock.of(X, None)).moments
    )
    assert_array_equal(moments.weight, [175, 175])


@every_kind
@both_dtypes
@pytest.mark.parametrize("value", [1e20, 9.97e36])
def test_fill_values_do_not_stop_a_fit(kind, dtype, value):
    """A row of fill values becomes a component of its own; the others are what they are without."""
    X = np.vstack([groups(3, dtype), np.full((1, 3), value, dtype)])
    near = X[:-1].astype(float)
    start = {"weights_init": [0.6, 0.4], "means_init": [near.mean(axis=0), np.full(3, value)]}
    mixture = GaussianMixture(
        2, covariance_type=kind, precisions_init=unit(kind, 2, 3), max_iter=5, **start
    ).fit(X)
    assert_allclose(mixture.weights_, [350 / 351, 1 / 351], rtol=1e-6)
    assert_allclose(mixture.means_[0], near.mean(axis=0), rtol=1e-6)
    scatter = np.cov(near.T, bias=True)
    expected = {
        "full": scatter,
        "tied": scatter * 350 / 351,
        "diag": scatter.diagonal(),
        "spherical": scatter.diagonal().mean(),
    }[kind]
    found = mixture.covariances_ if kind == "tied" else mixture.covariances_[0]
    assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@every_kind
def test_what_float64_cannot_square_is_refused(kind):
    """One such value is enough, wherever it stands, in fit and afterwards; 1e153 is accepted."""
    X = groups(2)
    fitted = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    for value in (-1e308, 1e300, 1e155):
        bad = np.vstack([X, X * 2])
        bad[501, 1] = value
        for order in ("C", "F"):
            with pytest.raises(ValueError, match=r"X has values up to .* in feature 1.*overflow"):
                GaussianMixture(2, covariance_type=kind).fit(np.array(bad, order=order))
        with pytest.raises(ValueError, match=r"X has values up to .* in feature 1.*overflow"):
            GaussianMixture(2, covariance_type=kind).fit(np.repeat(bad, 2, axis=1)[:, ::2])
        for method in ("predict", "predict_proba", "score_samples", "score"):
            with pytest.raises(ValueError, match="overflow"):
                getattr(fitted, method)(bad)
    assert np.isfinite(fitted.score_samples([[1e153, -1e153]])).all()


@every_kind
def test_the_unit_of_weights_does_not_matter(kind):
    """Weights of 1e-150 or 1e180, of values up to 1e100 too: the same mixture to the last bit."""
    X = groups(2)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    for size in (1.0, 1e100):
        start = {"means_init": [[0.0, 0], [8 * size, 8 * size]], "weights_init": [0.5, 0.5]}
        start["precisions_init"] = unit(kind, 2, 2) / size**2
        fits = [
            GaussianMixture(2, covariance_type=kind, max_iter=5, **start).fit(
                X * size, sample_weight=np.ldexp(weight, exponent)
            )
            for exponent in (30, -500, 600)
        ]
        for other in fits[1:]:
            assert other.lower_bound_ == fits[0].lower_bound_
            assert_array_equal(other.covariances_, fits[0].covariances_)


# ---- fitted attributes, and documents without words ----------------------------------------------


@every_kind
def test_altered_attributes_of_a_mixture_are_named(kind):
    """NaN, infinity, other shapes and impossible values: every method names the attribute."""
    X = groups(3)
    model = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    chol = model.precisions_cholesky_
    altered = [
        ("means_", np.full((2, 3), np.nan)),
        ("means_", np.full((0, 3), 1.0)),
        ("means_", np.zeros(3)),
        ("means_", np.zeros((2, 4))),
        ("weights_", np.array([np.nan, 1])),
        ("weights_", np.array([1.5, -0.5])),
        ("weights_", np.zeros(2)),
        ("weights_", np.ones(3) / 3),
        ("covariances_", model.covariances_[..., None]),
        ("covariances_", model.covariances_ * np.inf),
        ("covariances_", -model.covariances_),
        ("precisions_cholesky_", chol * np.nan),
        ("precisions_cholesky_", chol[:1]),
        ("precisions_cholesky_", chol * 0),
    ]
    for name, value in altered:
        broken = copy.deepcopy(model)
        setattr(broken, name, value)
        for method in ("predict", "predict_proba", "score_samples", "score", "bic"):
            with pytest.raises(ValueError, match=f"{name}.*: fit again, or set the attribute"):
                getattr(broken, method)(X)
        with pytest.raises(ValueError, match=f"{name}.*: fit again, or set the attribute"):
            broken.sample(3)
    huge = copy.deepcopy(model)
    huge.means_ = model.means_ + np.array([[0], [1e300]])  # finite, and without a density here
    assert_array_equal(huge.predict(X), 0)


@pytest.mark.parametrize("stacked", [True, False])
def test_altered_attributes_of_topics_are_named(stacked):
    """GaussianLDA: the same, in transform and score."""
    X, counts = groups(3)[:20], np.ones((2, 20))
    if stacked:
        data, lda = X, GaussianLDA(2, random_state=0).fit(X)
    else:
        data, lda = counts, GaussianLDA(2, vectors=X, random_state=0).fit(counts)
    altered = [
        ("means_", lda.means_ * np.nan),
        ("means_", lda.means_[:0]),
        ("covariances_", -lda.covariances_),
        ("covariances_", lda.covariances_[:, :2]),
        ("doc_topic_prior_", lda.doc_topic_prior_ * 0),
        ("doc_topic_prior_", lda.doc_topic_prior_[:1]),
    ]
    for name, value in altered:
        broken = copy.deepcopy(lda)
        setattr(broken, name, value)
        for method in ("transform", "score"):
            with pytest.raises(ValueError, match=f"{name}.*: fit again, or set the attribute"):
                getattr(broken, method)(data)


def test_vectors_that_cannot_be_squared_are_refused():
    """GaussianLDA: vectors of words, and stacked ones, in fit and afterwards."""
    X, counts = groups(3)[:20], np.ones((2, 20))
    bad = X.copy()
    bad[5, 2] = -1e300
    with pytest.raises(ValueError, match=r"vectors has values up to 1e\+300 in feature 2"):
        GaussianLDA(2, vectors=bad).fit(counts)
    with pytest.raises(ValueError, match=r"X has values up to 1e\+300 in feature 2"):
        GaussianLDA(2).fit(bad)
    with pytest.raises(ValueError, match=r"X has values up to 1e\+300 in feature 2"):
        GaussianLDA(2, random_state=0).fit(X).transform(bad)


def test_the_bound_of_no_words_is_not_defined():
    """GaussianLDA.score of documents without words: as the other topic models say it."""
    X = groups(3)[:20]
    lda = GaussianLDA(2, vectors=X, random_state=0).fit(np.ones((2, 20)))
    with pytest.raises(ValueError, match="no count above 0: the ELBO per vector of no words"):
        lda.score(np.zeros((3, 20)))
    assert_allclose(lda.transform(np.zeros((3, 20))), 0.5)


# ---- memory --------------------------------------------------------------------------------------


@both_dtypes
def test_a_look_at_wide_data_takes_no_memory(dtype):
    """The coordinates and checks of a block hold some MiB, however wide X is."""
    X = np.random.default_rng(0).random((2000, 4096), dtype=np.float32).astype(dtype)
    tracemalloc.start()
    try:
        block = GaussianBlock.of(X, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 << 20
    exponent = np.frexp(X.std(axis=0, dtype=float))[1]
    assert_array_equal(block.scaling.scale, np.ldexp(1.0, -exponent))
    assert not block.scaling.shift.any()


# ---- what scikit-learn does --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tied", "diag", "spherical"])
@pytest.mark.parametrize("init_params", ["random_from_data", "k-means++"])
def test_components_may_begin_as_single_samples(kind, init_params):
    """Without reg_covar: their variance is what scikit-learn's guard leaves, and EM goes on."""
    X = groups(3)
    parameters = {"reg_covar": 0, "init_params": init_params, "covariance_type": kind}
    start = GaussianMixture(2, max_iter=0, random_state=0, **parameters).fit(X)
    theirs = sklearn_mixture.GaussianMixture(2, random_state=0, **parameters)
    theirs._initialize_parameters(X, np.random.RandomState(0))
    if kind == "tied":  # of all samples
        assert_allclose(start.covariances_, theirs.covariances_, rtol=1e-9)
    else:  # scikit-learn's has been rounded
        assert_allclose(start.covariances_, theirs.covariances_, rtol=0.7)
    assert start.covariances_.min() > 0 or kind == "tied"
    fitted = GaussianMixture(2, random_state=0, **parameters).fit(X)
    theirs.fit(X)
    assert_allclose(np.sort(fitted.means_[:, 0]), np.sort(theirs.means_[:, 0]), atol=0.1)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_equal_samples_without_a_variance(kind):
    """A few, not at 0, are accepted as in scikit-learn; many are refused, as is 0."""
    model = GaussianMixture(covariance_type=kind, reg_covar=0)
    theirs = sklearn_mixture.GaussianMixture(covariance_type=kind, reg_covar=0)
    for refused in (np.zeros((4, 2)), np.zeros((40, 1))):
        for either in (model, theirs):
            with pytest.raises(ValueError, match="ill-defined"):
                either.fit(refused)
    with pytest.raises(ValueError, match="ill-defined"):
        model.fit(np.full((40, 2), 0.7))
    found, expected = model.fit(np.ones((4, 1))), theirs.fit(np.ones((4, 1)))
    if kind == "full":
        assert 0 < expected.covariances_.item() < 1e-28  # rounding and nothing else
        assert 0 < found.covariances_.item() < 1e-28
    else:
        assert_allclose(found.covariances_, expected.covariances_, rtol=0.5)  # theirs is rounded


def test_samples_of_equal_covariances_are_equal():
    """Of singular covariances, too: they are scikit-learn's, bit for bit, from its attributes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 12))
    theirs = sklearn_mixture.GaussianMixture(6, random_state=0).fit(X)
    ours = GaussianMixture(6, random_state=0)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "n_features_in_"):
        setattr(ours, name, getattr(theirs, name))
    assert_array_equal(ours.sample(200)[0], theirs.sample(200)[0])
