"""fastem.select: the numbers it reports, the candidates it compares, what it says at the edge."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.model_selection import GridSearchCV, KFold

from fastem import (
    PLSA,
    BernoulliMixture,
    CategoricalMixture,
    GaussianHMM,
    GaussianMixture,
    KMeans,
    LatentDirichletAllocation,
    PoissonHMM,
    PoissonMixture,
    select,
)
from fastem.select.documents import held_out_log_likelihood
from fastem.select.splitting import split_start

KINDS = ("full", "tied", "diag", "spherical")
IRIS = load_iris().data
at_the_edge = pytest.mark.filterwarnings("ignore:the best n_:UserWarning")


def blobs(shape="round", n=100, seed=0):
    """Three clusters: spheres of one size each, or one matrix for all."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3 * n, 2))
    if shape == "round":
        X *= np.repeat([0.5, 1, 2], n)[:, None]
    else:
        X = X @ [[2, 1.5], [0, 0.5]]
    return X + np.repeat([[0, 0], [12, 0], [0, 12]], n, axis=0)


# ---- mixtures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "kind"), [("round", "spherical"), ("long", "tied")])
@pytest.mark.parametrize("criterion", ["bic", "icl"])
def test_one_call_answers_how_many_and_of_what_shape(shape, kind, criterion):
    selection = select.mixture(blobs(shape), range(1, 6), criterion=criterion, random_state=0)
    assert selection.best_params_ == {"n_components": 3, "covariance_type": kind}
    assert selection.edge_ is None
    best = selection.best_estimator_
    assert (best.n_components, best.covariance_type) == (3, kind)
    assert selection.best_score_ == pytest.approx(getattr(best, criterion)(blobs(shape)))
    assert len(selection.table) == 20


@at_the_edge
def test_the_table_has_the_criteria_of_each_fit():
    estimator = GaussianMixture(tol=1e-4, max_iter=300)
    selection = select.mixture(
        IRIS, [3, 1], ["diag", "full"], estimator=estimator, share_starts=False, random_state=5
    )
    assert [(r["n_components"], r["covariance_type"]) for r in selection.table] == [
        (1, "diag"), (1, "full"), (3, "diag"), (3, "full"),
    ]  # fmt: skip
    seed = selection.best_estimator_.random_state
    for row in selection.table:
        names = ("n_components", "covariance_type")
        mixture = clone(estimator).set_params(random_state=seed, **{n: row[n] for n in names})
        mixture.fit(IRIS)
        assert row["bic"] == pytest.approx(mixture.bic(IRIS), rel=1e-12)
        assert row["aic"] == pytest.approx(mixture.aic(IRIS), rel=1e-12)
        assert row["icl"] == pytest.approx(mixture.icl(IRIS), rel=1e-12)
        assert row["log_likelihood"] == pytest.approx(mixture.score_samples(IRIS).sum())
        assert row["n_parameters"] == mixture.n_parameters
        assert (row["n_iter"], row["converged"]) == (mixture.n_iter_, True)
        assert (row["error"], row["start"]) == (None, "own")
    assert estimator.get_params() == GaussianMixture(tol=1e-4, max_iter=300).get_params()
    frame = selection.to_frame()
    assert_array_equal(frame["bic"], [row["bic"] for row in selection.table])


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_start_keeps_what_was_found(kind):
    """The better of two starts is kept: the likelihood is at least that of a fit on its own."""
    estimator = GaussianMixture(n_init=1, tol=1e-6, max_iter=1000, init_params="random")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shared, alone = (
            select.mixture(IRIS, range(1, 7), kind, estimator=estimator, share_starts=share,
                           random_state=0)
            for share in (True, False)
        )  # fmt: skip
    values = [[row["log_likelihood"] for row in one.table] for one in (shared, alone)]
    assert np.all(np.diff(values[0]) > -1e-6 * np.abs(values[0][:-1]))
    assert np.all(np.array(values[0]) > np.array(values[1]) - 1e-6)
    assert "split" in {row["start"] for row in shared.table}
    for name in ("weights_init", "means_init", "precisions_init"):
        assert getattr(shared.best_estimator_, name) is None
    assert shared.best_estimator_.n_init == 1


@pytest.mark.parametrize("kind", KINDS)
def test_splitting_is_along_the_widest_component(kind):
    """Of two blobs the one that is two is split, whatever the units of the features."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) + np.repeat([[0, 0], [30, 0], [30, 8]], 100, axis=0)
    units = np.array([1, 1] if kind == "spherical" else [1e-3, 1e3])
    X *= units
    two = GaussianMixture(2, covariance_type=kind, means_init=X[[0, 150]], reg_covar=0).fit(X)
    start = split_start(GaussianMixture(3, covariance_type=kind), two, X)
    assert_allclose(start.weights_init.sum(), 1)
    near = start.means_init[np.argsort((start.means_init / units) @ [1, 0.1])] / units
    assert_allclose(near, [[0, 0], [30, 0], [30, 8]], atol=1.5)
    four = split_start(GaussianMixture(4, covariance_type=kind), two, X)
    assert four.means_init.shape == (4, 2)
    start.set_params(n_init=1).fit(X)
    assert start.lower_bound_ > two.lower_bound_


def test_parallel_fits_are_the_same(capsys):
    one = select.mixture(IRIS, range(1, 4), ("full", "diag"), random_state=0, progress=True)
    assert "10/10" in capsys.readouterr().err  # 6 of their own, 4 from fewer components
    two = select.mixture(IRIS, range(1, 4), ("full", "diag"), random_state=0, n_jobs=2)
    assert two.table == one.table
    assert_array_equal(two.best_estimator_.means_, one.best_estimator_.means_)
    assert capsys.readouterr().err == ""


@at_the_edge
def test_cross_validation_is_the_mean_of_the_folds():
    folds = KFold(3, shuffle=True, random_state=1)
    weight = np.random.default_rng(0).uniform(0.5, 2, 150)
    selection = select.mixture(
        IRIS, [2, 3], "diag", "cv", cv=folds, sample_weight=weight, random_state=0,
        share_starts=False,
    )  # fmt: skip
    seed = selection.best_estimator_.random_state
    for row in selection.table:
        scores = []
        for train, test in folds.split(IRIS):
            mixture = GaussianMixture(
                row["n_components"], covariance_type="diag", n_init=3, tol=1e-5, max_iter=1000,
                random_state=seed,
            ).fit(IRIS[train], sample_weight=weight[train])  # fmt: skip
            scores.append(mixture.score(IRIS[test], sample_weight=weight[test]))
        assert row["cv"] == pytest.approx(np.mean(scores), rel=1e-12)
        assert row["cv_std"] == pytest.approx(np.std(scores), rel=1e-9)
    assert selection.best_score_ == max(row["cv"] for row in selection.table)
    again = select.mixture(IRIS, [2, 3], "diag", "cv", cv=4, random_state=0)
    assert again.best_params_ == {"n_components": 3, "covariance_type": "diag"}


def test_it_says_so_at_the_edge():
    with pytest.warns(UserWarning, match="the best n_components, 2, is the largest that was"):
        selection = select.mixture(blobs(), [1, 2], "diag", random_state=0)
    assert selection.edge_ in str(selection)
    assert "try more" in selection.edge_
    with pytest.warns(UserWarning, match="3, is the smallest .* try fewer"):
        select.mixture(blobs(), [3, 4, 5], "spherical", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = select.mixture(blobs()[:100], range(1, 4), "spherical", random_state=0)
        assert one.best_params_["n_components"] == 1  # there is nothing below 1
        select.mixture(blobs(), 2, "diag", random_state=0)  # one number is no range


@at_the_edge
def test_fits_that_fail_or_do_not_converge_are_in_the_table():
    X = np.repeat(blobs()[[0, 150, 250]], 5, axis=0)  # of three points, more components collapse
    estimator = GaussianMixture(reg_covar=0, tol=1e-5)
    with pytest.raises(ValueError, match=r"no candidate could be fitted; the first said: .*singul"):
        select.mixture(X, [3, 4], "full", estimator=estimator, random_state=0)
    selection = select.mixture(X, range(1, 3), "full", estimator=estimator, random_state=0)
    assert [row["error"] is None for row in selection.table] == [True, False]
    assert math.isnan(selection.table[1]["bic"])
    assert "1 of 2 fits failed" in str(selection)
    short = GaussianMixture(max_iter=2, tol=0)
    with pytest.warns(ConvergenceWarning, match="the best candidate.*did not converge"):
        selection = select.mixture(IRIS, [2, 3, 1], "full", estimator=short, random_state=0)
    assert not selection.table[1]["converged"]
    assert "fits did not converge" in str(selection)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"n_components": 0}, ValueError, "n_components must be at least 1"),
        ({"n_components": []}, ValueError, "n_components must have one number"),
        ({"n_components": [1.5]}, TypeError, "n_components must be an integer, got 1.5"),
        ({"n_components": "123"}, TypeError, "range\\(1, 10\\)"),
        ({"n_components": [2, 151]}, ValueError, "number of samples in a fit, 150, got 151"),
        ({"covariance_type": "round"}, ValueError, "covariance_type"),
        ({"covariance_type": ()}, ValueError, "covariance_type must have one type"),
        ({"criterion": "bik"}, ValueError, "criterion must be one of 'bic', 'icl'"),
        ({"estimator": KMeans()}, TypeError, "estimator must be a GaussianMixture, got KMeans"),
        ({"estimator": SklearnMixture()}, TypeError, "GaussianMixture"),
        ({"estimator": GaussianMixture(means_init=[[1.0] * 4])}, ValueError, "means_init=None"),
        ({"sample_weight": np.zeros(150)}, ValueError, "at least one (positive|non-zero)"),
        ({"criterion": "cv", "cv": 1}, ValueError, "n_splits|k-fold"),
        ({"estimator": GaussianMixture(tol=-1)}, ValueError, "tol"),
        ({"estimator": GaussianMixture}, TypeError, r"instance, got a class: GaussianMixture\(\)"),
        ({"n_jobs": "a"}, TypeError, "n_jobs must be an integer or None, got 'a'"),
        ({"n_jobs": 0}, ValueError, "n_jobs must not be 0"),
        ({"progress": "no"}, TypeError, "progress must be True or False, got 'no'"),
        ({"share_starts": "no"}, TypeError, "share_starts must be True or False, got 'no'"),
    ],
)
def test_bad_arguments_are_told_before_any_fit(settings, error, match, monkeypatch):
    monkeypatch.setattr(GaussianMixture, "fit", None)
    with pytest.raises(error, match=match):
        select.mixture(IRIS, **settings)


def test_bad_data_are_told_in_the_estimators_words():
    with pytest.raises(ValueError, match=r"could not convert string to float|dtype"):
        select.mixture([["a", "b"]] * 10, [1, 2])


def test_grid_search_goes_on_working():
    grid = {"n_components": [1, 2, 3], "covariance_type": ["full", "spherical"]}
    search = GridSearchCV(
        GaussianMixture(random_state=0),
        grid,
        scoring=lambda m, X: -m.icl(X),
        cv=[(range(300),) * 2],
    )
    search.fit(blobs())
    assert search.best_params_ == {"n_components": 3, "covariance_type": "spherical"}


@at_the_edge
def test_data_frames_keep_their_names():
    table = pd.DataFrame(IRIS, columns=list("abcd"))
    selection = select.mixture(table, [1, 2, 3], "full", "cv", cv=3, random_state=0)
    assert_array_equal(selection.best_estimator_.feature_names_in_, list("abcd"))


# ---- discrete mixtures --------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["bic", "icl", "cv"])
def test_discrete_mixtures(criterion):
    rng = np.random.default_rng(0)
    rates = rng.gamma(2, 3, (3, 6))[rng.integers(3, size=400)]
    X = rng.poisson(rates)
    selection = select.discrete(
        X, range(1, 6), criterion, estimator=PoissonMixture(n_init=5), random_state=0
    )
    assert selection.best_params_ == {"n_components": 3}
    assert "start" not in selection.table[0]
    bits = BernoulliMixture(n_init=5, probability_prior=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = select.discrete(X > 4, [1, 2], criterion, estimator=bits, random_state=0).table
    assert table[0]["n_parameters"] == 6
    assert "log_likelihood" in str(selection)


def test_discrete_refuses_what_has_no_bic():
    with pytest.raises(TypeError, match="a mixture with a BIC"):
        select.discrete(IRIS, estimator=KMeans())
    with pytest.raises(ValueError, match="n_components"):
        select.discrete(IRIS > 3, [151], estimator=CategoricalMixture())


# ---- k-means ------------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["silhouette", "gap"])
def test_kmeans_finds_three_clusters(criterion):
    X = blobs("long")
    selection = select.kmeans(X, range(2, 7), criterion, random_state=0, n_references=5)
    assert selection.best_params_ == {"n_clusters": 3}
    best = selection.best_estimator_
    assert_allclose(np.bincount(best.labels_), [100, 100, 100], atol=2)
    for row in selection.table:
        own = KMeans(row["n_clusters"], n_init=10, random_state=best.random_state).fit(X)
        assert row["inertia"] == pytest.approx(own.inertia_, rel=1e-12)
        assert row["silhouette"] == pytest.approx(silhouette_score(X, own.labels_), rel=1e-9)


def test_the_gap_can_say_that_there_is_one_cluster():
    X = np.random.default_rng(0).uniform(size=(300, 2))
    selection = select.kmeans(X, range(1, 6), "gap", random_state=0)
    assert selection.best_params_ == {"n_clusters": 1}
    assert math.isnan(selection.table[0]["silhouette"])
    assert " - " in str(selection).splitlines()[2]
    gaps = [row["gap"] for row in selection.table]
    assert gaps[0] >= gaps[1] - selection.table[1]["gap_error"]


def test_silhouettes_of_some_samples():
    X = blobs()
    whole = select.kmeans(X, [2, 3, 4], random_state=0, sample_size=None)
    some = select.kmeans(X, [2, 3, 4], random_state=0, sample_size=60)
    assert some.best_params_ == whole.best_params_ == {"n_clusters": 3}
    assert some.best_score_ != whole.best_score_
    assert some.best_score_ == pytest.approx(whole.best_score_, abs=0.1)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"n_clusters": [1, 2]}, ValueError, "n_clusters must be at least 2 here, got 1"),
        ({"n_clusters": [150]}, ValueError, "at most 149 for 150 samples and silhouettes"),
        ({"n_clusters": [151], "criterion": "gap"}, ValueError, "at most 150"),
        ({"criterion": "elbow"}, ValueError, "'silhouette', 'gap'"),
        ({"criterion": "gap", "n_references": 1}, ValueError, "n_references must be at least 2"),
        ({"n_references": 1}, ValueError, "n_references must be at least 2"),
        ({"sample_size": 1}, ValueError, "sample_size must be at least 2"),
        ({"estimator": KMeans}, TypeError, r"got a class: KMeans\(\)"),
        ({"n_jobs": 1.5}, TypeError, "n_jobs must be an integer or None, got 1.5"),
        ({"estimator": GaussianMixture()}, TypeError, "a KMeans of fastem"),
    ],
)
def test_bad_arguments_of_kmeans(settings, error, match):
    with pytest.raises(error, match=match):
        select.kmeans(IRIS, **settings)


# ---- topics -------------------------------------------------------------------------------------


def documents(n=200, k=3, n_words=30, mean=40, seed=0):
    rng = np.random.default_rng(seed)
    theta = rng.dirichlet(np.full(k, 0.1), n)
    return rng.poisson(mean * theta @ np.repeat(np.eye(k) * k / n_words, n_words // k, axis=1))


@at_the_edge
@pytest.mark.parametrize("criterion", ["held_out", "coherence"])
def test_topics_of_lda(criterion):
    X = documents()
    lda = LatentDirichletAllocation(doc_topic_prior=0.1, max_iter=30)
    numbers = (2, 3) if criterion == "held_out" else (2, 3, 4)  # the curve is flat after 3
    selection = select.topics(X, numbers, criterion, estimator=lda, random_state=0)
    assert selection.table[1]["held_out"] > selection.table[0]["held_out"] + 0.2
    assert selection.best_params_ == {"n_components": 3}
    best = selection.best_estimator_
    assert best.components_.shape == (3, 30)
    # It is fitted to all documents, not only to those of the comparison.
    assert_allclose(best.components_.sum() - 3 * 30 / 3, X.sum(), rtol=1e-6)
    assert {"held_out", "coherence"} <= selection.table[0].keys()
    assert selection.table[0]["converged"] is None  # LDA was not to look


@at_the_edge
def test_topics_of_plsa_leave_out_words_that_no_fit_has_seen():
    X = documents()
    X[:, -1] = 0
    X[np.arange(0, 200, 50), -1] = 1  # a word so rare that a fit may not have it
    selection = select.topics(X, (2, 3), estimator=PLSA(max_iter=300), random_state=0, n_jobs=2)
    assert selection.best_params_ == {"n_components": 3}
    assert all(-5 < row["held_out"] < -2 for row in selection.table)


def test_held_out_tokens_are_scored_as_lda_does():
    X = documents()
    lda = LatentDirichletAllocation(3, random_state=0).fit(X)
    validated = lda._validated(X, reset=False)
    expected = lda.held_out_log_likelihood(X, X)
    assert held_out_log_likelihood(lda, validated, validated) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("X", "settings", "error", "match"),
    [
        (documents(), {"criterion": "elbo"}, ValueError, "'held_out', 'coherence'"),
        (documents(), {"test_size": 1.0}, ValueError, "test_size must be between 0 and 1"),
        (documents(), {"estimator": KMeans()}, TypeError, "or a PLSA"),
        (documents(), {"measure": "c_v"}, ValueError, "'npmi', 'umass'"),
        (documents(), {"n_jobs": True}, TypeError, "n_jobs must be an integer or None, got True"),
        (documents() / 2 + 0.1, {}, ValueError, "whole numbers"),
        (documents()[:1], {}, ValueError, "leaves no document"),
        (documents() * 0, {}, ValueError, "no tokens"),
    ],
)
def test_bad_arguments_of_topics(X, settings, error, match):
    with pytest.raises(error, match=match):
        select.topics(X, (2, 3), **settings)


# ---- hidden Markov models -----------------------------------------------------------------------


def sequences(n=6, length=80, seed=0):
    """Two states that stay a while."""
    rng = np.random.default_rng(seed)
    states = np.cumsum(rng.uniform(size=(n, length)) < 0.1, axis=1) % 2
    return [rng.normal(5.0 * s, 1.0)[:, None] for s in states]


@at_the_edge
@pytest.mark.parametrize("criterion", ["bic", "cv"])
def test_states_of_an_hmm(criterion):
    X = sequences()
    selection = select.hmm(
        X, n_components=[1, 2, 3], covariance_type=("diag", "tied"), criterion=criterion,
        random_state=0,
    )  # fmt: skip
    if criterion == "bic":
        assert selection.best_params_ == {"n_components": 2, "covariance_type": "tied"}
    rows, lengths = np.concatenate(X), [80] * 6
    again = select.hmm(
        rows, lengths, [1, 2, 3], ("diag", "tied"), criterion, random_state=0, n_jobs=2
    )
    for one, other in zip(again.table, selection.table, strict=True):
        assert one["log_likelihood"] == pytest.approx(other["log_likelihood"], rel=1e-9)
    best = selection.best_estimator_
    row = selection.table[selection.best_index_]
    assert row["bic"] == pytest.approx(best.bic(X))
    assert row["aic"] == pytest.approx(best.aic(X))
    assert row["log_likelihood"] == pytest.approx(best.score(X))
    assert row["n_iter"] == len(best.lower_bounds_)


@at_the_edge
def test_other_emissions():
    rng = np.random.default_rng(0)
    X = rng.poisson(np.repeat([1.0, 9.0, 1.0, 9.0], 40))[:, None]
    selection = select.hmm(X, n_components=[1, 2], estimator=PoissonHMM(n_iter=50), random_state=0)
    assert selection.best_params_ == {"n_components": 2}
    with pytest.raises(ValueError, match="PoissonHMM has no covariance_type"):
        select.hmm(X, covariance_type="full", estimator=PoissonHMM())


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"criterion": "icl"}, ValueError, "'bic', 'aic', 'cv'"),
        ({"criterion": "cv"}, ValueError, "several sequences"),
        ({"estimator": GaussianMixture()}, TypeError, "a hidden Markov model of fastem"),
        ({"lengths": [3]}, ValueError, "lengths must sum"),
        ({"n_components": [0]}, ValueError, "at least 1"),
        ({"estimator": GaussianHMM}, TypeError, r"got a class: GaussianHMM\(\)"),
        ({"n_jobs": "all"}, TypeError, "n_jobs must be an integer or None, got 'all'"),
        ({"estimator": GaussianHMM(covariance_type="round")}, ValueError, "covariance_type"),
    ],
)
def test_bad_arguments_of_hmm(settings, error, match):
    with pytest.raises(error, match=match):
        select.hmm(sequences()[0], **settings)


# ---- pictures -----------------------------------------------------------------------------------


def test_the_picture_has_a_curve_for_each_type():
    pytest.importorskip("matplotlib", reason="the picture needs it")
    from matplotlib.figure import Figure

    from fastem.plot import SelectionDisplay

    selection = select.mixture(blobs(), range(1, 5), ("full", "spherical"), random_state=0)
    display = selection.plot(Figure().subplots(), linewidth=3)
    assert list(display.lines_) == ["full", "spherical"]
    line = display.lines_["spherical"]
    assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    assert_array_equal(line.get_ydata(), [row["bic"] for row in selection.table[1::2]])
    assert line.get_linewidth() == 3
    assert display.best_.get_xdata() == [3]
    assert display.best_.get_ydata() == [selection.best_score_]
    assert display.ax_.get_ylabel() == "BIC (lower is better)"
    clusters = select.kmeans(blobs(), range(1, 6), "gap", random_state=0)
    gap = clusters.plot(Figure().subplots())
    assert gap.ax_.get_legend() is None
    assert len(gap.ax_.containers) == 1  # error bars
    with pytest.raises(TypeError, match="what a function of fastem"):
        SelectionDisplay.from_selection(KMeans())


def test_covariance_type_that_is_none_is_named():
    with pytest.raises(TypeError, match="covariance_type must be a type's name, or several"):
        select.mixture(np.eye(3), [1], None)
