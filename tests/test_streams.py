"""partial_fit: stepwise EM, whose one pass is worth five of batch EM."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import sklearn.cluster
import sklearn.mixture
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastem import (
    GMMHMM,
    PLSA,
    BayesianGaussianMixture,
    BernoulliMixture,
    CategoricalMixture,
    GaussianHMM,
    GaussianMixture,
    KMeans,
    MultinomialMixture,
    PoissonHMM,
    PoissonMixture,
    em,
    patched,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

K = 8
MEANS = np.random.RandomState(0).normal(size=(K, 4)) * 1.5


def rows(n, seed):
    rng = np.random.RandomState(seed)
    label = rng.randint(K, size=n)
    return MEANS[label] + rng.normal(size=(n, 4)), label


X, LABEL = rows(40_000, 1)
UNSEEN = rows(5000, 2)[0]


def stream(estimator, data, size=1000, **settings):
    for begin in range(0, data.shape[0], size):
        estimator.partial_fit(data[begin : begin + size], **settings)
    return estimator


# ---- how good it is ----------------------------------------------------------------------------


def crowded(n, seed):
    """Return rows of sixteen components that overlap, and others that nobody sees."""
    rng = np.random.RandomState(seed)
    means, shapes = rng.normal(size=(16, 6)), rng.normal(size=(16, 6, 6)) / 4 + 0.6 * np.eye(6)
    label = rng.randint(16, size=n + 5000)
    noise = rng.normal(size=(n + 5000, 6))
    data = means[label] + np.einsum("nij,nj->ni", shapes[label], noise)
    return data[:n], data[n:]


@pytest.mark.parametrize("seed", range(3))
def test_one_pass_is_worth_five_of_batch(seed):
    data, unseen = crowded(200_000, seed)
    mixture = GaussianMixture(16, random_state=0)
    streamed = clone(mixture).partial_fit(data[:1600])
    start = {
        "weights_init": streamed.weights_,
        "means_init": streamed.means_,
        "precisions_init": streamed.precisions_,
    }
    before = streamed.score(unseen)
    batch = clone(mixture).set_params(**start, tol=0, max_iter=5).fit(data)
    stream(streamed, data[1600:], 1000)
    rise, of_five = (m.score(unseen) - before for m in (streamed, batch))
    assert of_five > 0.1
    assert rise > 0.97 * of_five
    at_once = clone(mixture).partial_fit(data)
    assert at_once.n_iter_ == 84


@pytest.mark.parametrize("kind", ["tied", "diag", "spherical"])
def test_other_covariances(kind):
    mixture = GaussianMixture(K, covariance_type=kind, random_state=0)
    streamed, batch = stream(clone(mixture), X), clone(mixture).fit(X)
    assert streamed.score(UNSEEN) > batch.score(UNSEEN) - 0.02


def test_k_means_comes_to_the_inertia_of_five_passes():
    data, unseen = crowded(200_000, 0)
    kmeans = KMeans(16, random_state=0)
    streamed = clone(kmeans).partial_fit(data[:1600])
    start = streamed.cluster_centers_
    before = streamed.score(unseen)
    batch = clone(kmeans).set_params(init=start, tol=0, max_iter=5).fit(data)
    stream(streamed, data[1600:], 1000)
    assert streamed.score(unseen) - before > 0.95 * (batch.score(unseen) - before)
    assert streamed.labels_.shape == (400,)
    assert_allclose(streamed.inertia_, -streamed.score(data[-400:]))


def test_topics_of_a_stream():
    rng = np.random.RandomState(0)
    topics = rng.dirichlet(np.full(100, 0.05), size=6)
    counts = np.array([rng.multinomial(50, t @ topics) for t in rng.dirichlet([0.2] * 6, 5000)])
    seen, unseen = counts[:4500].astype(float), counts[4500:].astype(float)
    streamed = PLSA(6, random_state=0).partial_fit(seen[:600])
    before = streamed.perplexity(unseen)
    given = np.full((4500, 6), 1 / 6), streamed.components_
    batch = PLSA(6, init=given, max_iter=5, tol=0).fit(seen)
    stream(streamed, seen[600:], 300)
    assert streamed.perplexity(unseen) < before
    assert streamed.perplexity(unseen) < 1.02 * batch.perplexity(unseen)
    assert_allclose(streamed.components_.sum(axis=1), 1)


RNG = np.random.RandomState(3)
CHANCE = RNG.uniform(0.1, 0.9, size=(3, 10))[RNG.randint(3, size=12_000)]
DISCRETE = {
    "bernoulli": (BernoulliMixture(3, random_state=0), RNG.binomial(1, CHANCE)),
    "categorical": (CategoricalMixture(3, n_categories=4, random_state=0),
                    RNG.binomial(3, CHANCE)),
    "multinomial": (MultinomialMixture(3, random_state=0), RNG.binomial(9, CHANCE)),
    "poisson": (PoissonMixture(3, rate_prior=0.1, random_state=0), RNG.poisson(5 * CHANCE)),
}  # fmt: skip


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_mixtures(name):
    mixture, data = DISCRETE[name]
    data = data.astype(float)
    streamed = stream(clone(mixture), data[:10_000], 500)
    batch = clone(mixture).fit(data[:10_000])
    assert streamed.score(data[10_000:]) > batch.score(data[10_000:]) - 0.02


# ---- what each call does ------------------------------------------------------------------------


def test_a_step_is_the_one_of_cappe_and_moulines():
    mixture = GaussianMixture(2, random_state=0, learning_decay=0.6, learning_offset=4.0)
    mixture.partial_fit(X[:200])  # gathers 100 rows a component, and begins
    assert mixture.n_iter_ == 0
    model, block, start = mixture._problem(X[:200], None)
    params = em.fit(
        model, [block], start(np.random.RandomState(0)), max_iter=20, tol=mixture.tol
    ).params
    mean, seen = model.e_step(params, block) * (1 / 200), 200
    params = model.m_step(mean * 200)
    for t in range(3):
        some = X[200 + 50 * t : 250 + 50 * t]
        mixture.partial_fit(some)
        new = model.e_step(params, mixture._problem(some, None)[1])
        rho, seen = (t + 4.0) ** -0.6, seen + 50
        mean = mean * (1 - rho) + new * (rho / 50)
        params = model.m_step(mean * seen)
        assert_allclose(mixture.means_, params.means, rtol=1e-9)
        assert_allclose(mixture.weights_, params.weights, rtol=1e-9)
    assert mixture.n_iter_ == 3
    assert len(mixture.lower_bounds_) == 3


def test_rows_are_gathered_until_there_are_enough():
    mixture = GaussianMixture(3, random_state=0)
    mixture.partial_fit(X[:2])
    with pytest.raises(NotFittedError):
        mixture.predict(X)
    for n in range(2, 290, 48):
        mixture.partial_fit(X[n : n + 48])
        mixture.predict(X)
        assert mixture.n_iter_ == 0
    assert mixture._stream["sums"] is None
    mixture.partial_fit(X[290:400])
    assert mixture._stream["sums"] is not None
    assert mixture._stream["rows"] == []
    mixture.partial_fit(X[400:500])
    assert mixture.n_iter_ == 1


@pytest.mark.parametrize(
    "estimator",
    [GaussianMixture(3, random_state=0), BayesianGaussianMixture(3, random_state=0),
     KMeans(3, random_state=0), PoissonMixture(3, random_state=0), PLSA(3, random_state=0)],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_calls_are_deterministic_and_survive_pickling(estimator):
    data = np.abs(X[:1600]) if not hasattr(estimator, "covariance_type") else X[:1600]
    data = np.floor(data) if isinstance(estimator, (PoissonMixture, PLSA)) else data
    name = "components_" if isinstance(estimator, PLSA) else None
    name = name or ("cluster_centers_" if isinstance(estimator, KMeans) else "weights_")
    once = stream(clone(estimator), data, 200)
    again = clone(estimator).set_params(n_jobs=1)
    for begin in range(0, 1600, 200):
        again = pickle.loads(pickle.dumps(again)).partial_fit(data[begin : begin + 200])
    assert_array_equal(getattr(once, name), getattr(again, name))
    assert once.n_iter_ == again.n_iter_ > 3


def test_a_fitted_mixture_goes_on_and_fit_begins_anew():
    mixture = GaussianMixture(2, random_state=0).fit(X[:3000])
    means = mixture.means_
    mixture.partial_fit(X[3000:3100])  # waits for 200 rows
    assert_array_equal(mixture.means_, means)
    mixture.partial_fit(X[3100:3300])
    assert not np.array_equal(mixture.means_, means)
    assert_allclose(mixture.means_, means, atol=0.5)
    again = mixture.fit(X[:3000]).means_
    assert_array_equal(again, means)
    assert "_stream" not in vars(mixture)
    kmeans = KMeans(2, random_state=0).partial_fit(X[:300]).fit(X[:100])
    assert "_stream" not in vars(kmeans)


def test_a_weight_of_2_is_a_row_twice():
    weight = np.random.RandomState(0).randint(0, 3, size=600)
    begun = GaussianMixture(2, random_state=0).fit(X[:500]).partial_fit(X[500:700])
    one, other = pickle.loads(pickle.dumps(begun)), begun
    one.partial_fit(X[700:1300], sample_weight=weight)
    other.partial_fit(np.repeat(X[700:1300], weight, axis=0))
    assert one._stream["weight"] == other._stream["weight"] == 200 + weight.sum()
    assert_allclose(one.means_, other.means_, rtol=1e-10)


def test_what_is_missing_is_left_out_of_a_step():
    holes = X[:6000].copy()
    holes[np.random.RandomState(0).uniform(size=holes.shape) < 0.1] = np.nan
    streamed = stream(GaussianMixture(K, random_state=0), holes, 500)
    whole = stream(GaussianMixture(K, random_state=0), X[:6000], 500)
    assert streamed.n_iter_ == whole.n_iter_ == 10
    assert streamed.score(UNSEEN) > whole.score(UNSEEN) - 0.1


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_a_feature_may_lack_in_a_later_call(kind):
    mixture = GaussianMixture(K, covariance_type=kind, random_state=0).partial_fit(X[:2000])
    holes = X[2000:2400].copy()
    holes[:, 1] = np.nan
    mixture.partial_fit(holes).partial_fit(holes[:1])
    before = mixture.means_.copy()
    mixture.partial_fit(np.full((1, 4), np.nan))  # tells nothing
    assert_array_equal(mixture.means_, before)
    assert np.isfinite(mixture.covariances_).all()
    with pytest.raises(ValueError, match="feature 1 of X has no value"):
        mixture.fit(holes)


@pytest.mark.parametrize("family", [GaussianHMM, partial(GMMHMM, n_mix=2)])
def test_a_sequence_of_nothing_but_missing_values_tells_a_hidden_markov_model_nothing(family):
    hmm = family(2, random_state=0).partial_fit(X[:600, :2])
    before = hmm.means_.copy()
    hmm.partial_fit(np.full((5, 2), np.nan))
    assert_allclose(hmm.means_, before, rtol=1e-6)
    assert np.isfinite(hmm.transmat_).all()


@pytest.mark.parametrize(
    "estimator",
    [KMeans(2), GaussianMixture(2), BayesianGaussianMixture(2), PoissonMixture(2), GaussianHMM(2),
     PoissonHMM(2)],
)  # fmt: skip
@pytest.mark.parametrize("size", [40, 400])
def test_features_keep_their_names(estimator, size):
    pandas = pytest.importorskip("pandas")
    data = np.random.default_rng(0).poisson(np.repeat([2.0, 20.0], 200)[:, None], size=(400, 3))
    frame = pandas.DataFrame(np.random.default_rng(1).permutation(data), columns=["a", "b", "c"])
    estimator = stream(clone(estimator).set_params(random_state=0), frame, size)
    estimator.partial_fit(frame[:100])
    assert estimator.feature_names_in_.tolist() == ["a", "b", "c"]
    estimator.predict(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.partial_fit(frame.rename(columns={"a": "other"}))


def test_a_fit_forgets_the_stream():
    codes = np.random.RandomState(0).randint(3, size=(300, 3))
    mixture = CategoricalMixture(2, random_state=0).partial_fit(codes)
    again = clone(mixture).fit(codes + 3)
    assert_array_equal(mixture.fit(codes + 3).weights_, again.weights_)


def test_a_sorted_stream_is_said_once():
    order = np.argsort(LABEL[:20_000], kind="stable")
    bayesian = BayesianGaussianMixture(K, random_state=0)  # a sorted start gives components up
    begun_well = np.concatenate([X[20_000:21_000], X[order]])
    for estimator in (GaussianMixture(K, random_state=0), bayesian, KMeans(K, random_state=0)):
        with pytest.warns(RuntimeWarning, match="a sorted stream is forgotten") as warned:
            stream(clone(estimator), X[order] if estimator is not bayesian else begun_well)
        assert sum(w.category is RuntimeWarning for w in warned) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            stream(clone(estimator), X[:20_000])


# ---- bad input ----------------------------------------------------------------------------------


def test_a_call_that_fails_leaves_the_estimator_as_it_was():
    mixture = stream(GaussianMixture(2, random_state=0), X[:1000], 200)
    before = pickle.dumps(vars(mixture))
    with pytest.raises(ValueError, match="has 3 features, but GaussianMixture is expecting 4"):
        mixture.partial_fit(X[:5, :3])
    bad = X[:5].copy()
    bad[3, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        mixture.partial_fit(bad)
    with pytest.raises(ValueError, match="sample_weight"):
        mixture.partial_fit(X[:5], sample_weight=-np.ones(5))
    assert pickle.dumps(vars(mixture)) == before


@pytest.mark.parametrize("name", ["learning_decay", "learning_offset"])
@pytest.mark.parametrize(
    "estimator",
    [GaussianMixture(2), BayesianGaussianMixture(2), KMeans(2), PLSA(2), PoissonMixture(2)],
)
def test_the_step_is_checked(estimator, name):
    value = {"learning_decay": 0.5, "learning_offset": 0.5}[name]
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        clone(estimator).set_params(**{name: value}).partial_fit(np.abs(X[:10]))


def test_a_category_that_was_not_there_at_the_start_is_named():
    data = np.random.RandomState(0).randint(3, size=(500, 2)).astype(float)
    mixture = CategoricalMixture(2, random_state=0).partial_fit(data)
    with pytest.raises(ValueError, match=r"categories up to 2.*pass n_categories"):
        mixture.partial_fit(np.full((10, 2), 3.0))


def test_what_has_no_place_in_a_stream_is_refused():
    with pytest.raises(ValueError, match="partial_fit needs a number as beta"):
        PLSA(2, beta="held-out").partial_fit(np.ones((5, 5)))
    with pytest.raises(ValueError, match="partial_fit takes no prior"):
        GaussianMixture(2, prior="conjugate").partial_fit(X[:100])


def test_centers_whose_distances_overflow_are_named():
    X = np.random.default_rng(0).normal(size=(40, 2))
    kmeans = KMeans(1).fit(X)
    kmeans.cluster_centers_ = np.array([[0.0, 1e300]])
    with pytest.raises(ValueError, match=r"cluster_centers_ has values up to 1e\+300"):
        kmeans.partial_fit(X)


def test_scikit_learn_s_classes_stay_without():
    with patched():
        assert not hasattr(sklearn.cluster.KMeans, "partial_fit")
        assert not hasattr(sklearn.mixture.BayesianGaussianMixture, "partial_fit")
        kmeans = sklearn.cluster.KMeans(2, random_state=0).fit(X[:100])
        assert not {"learning_decay", "learning_offset"} & kmeans.get_params().keys()
        assert not {"_stream", "_keeper", "learning_decay"} & vars(kmeans).keys()


# ---- sequences ---------------------------------------------------------------------------------


def sequences(n, seed, discrete):
    """Return rows of n sequences of 50 rows each."""
    rng = np.random.RandomState(seed)
    states = np.zeros((n, 50), dtype=int)
    states[:, 0] = rng.randint(3, size=n)
    for t in range(1, 50):
        stays = rng.uniform(size=n) < 0.9
        states[:, t] = np.where(stays, states[:, t - 1], rng.randint(3, size=n))
    flat = states.reshape(-1)
    if discrete:
        return rng.poisson(np.array([1.0, 4.0, 9.0])[flat])[:, None]
    return rng.normal(size=(len(flat), 2)) + 1.5 * flat[:, None]


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_hidden_markov_models_of_a_stream(kind):
    hmm = {"gaussian": GaussianHMM(3, random_state=0), "poisson": PoissonHMM(3, random_state=0)}
    data = sequences(800, 1, kind == "poisson")
    unseen = sequences(100, 2, kind == "poisson")
    streamed = clone(hmm[kind])
    for begin in range(0, 40_000, 500):
        streamed.partial_fit(data[begin : begin + 500], [50] * 10)
    started = clone(hmm[kind]).fit(data[:500], [50] * 10)
    assert streamed.n_iter_ == 79
    lengths = [50] * 100
    assert streamed.score(unseen, lengths) > started.score(unseen, lengths)
    five = clone(hmm[kind]).set_params(init_params="", n_iter=5, tol=-np.inf)
    for name in ("startprob_", "transmat_", *("means_", "covars_", "lambdas_")):
        if hasattr(started, name):
            value = getattr(started, name)
            diagonal = name == "covars_"
            setattr(five, name, value.diagonal(axis1=1, axis2=2) if diagonal else value)
    five.fit(data, [50] * 800)
    gap = streamed.score(unseen, lengths) - five.score(unseen, lengths)
    assert gap > -1e-3 * abs(five.score(unseen, lengths))


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_mixtures_beneath_a_chain_of_a_stream(kind):
    def drawn(seed, n):
        rng = np.random.default_rng(seed)
        states = np.cumsum(rng.uniform(size=(n, 50)) < 0.1, axis=1) % 2
        peaks = np.array([[-5.0, -2.0], [2.0, 5.0]])[states, rng.integers(2, size=states.shape)]
        return list(rng.normal(1000 + peaks, 0.7)[..., None])

    data, unseen = drawn(0, 400), drawn(1, 60)
    hmm = GMMHMM(2, 2, covariance_type=kind, random_state=0)
    streamed = clone(hmm)
    for begin in range(0, 400, 5):
        streamed.partial_fit(data[begin : begin + 5])
    five = hmm.set_params(n_iter=5, tol=-np.inf).fit(data)
    assert streamed.n_iter_ == 79
    assert streamed.score(unseen) > five.score(unseen)


def test_sequences_are_gathered_and_weighted():
    data = sequences(20, 1, False)
    weighted, repeated = GaussianHMM(2, random_state=0), GaussianHMM(2, random_state=0)
    for hmm in (weighted, repeated):
        hmm.partial_fit(data[:1])
        with pytest.raises(NotFittedError):
            hmm.predict(data)
        hmm.partial_fit(data[:100], [50, 50])
        assert hmm.predict(data[:50]).shape == (50,)
        hmm.partial_fit([data[100:150], data[150:250]])
        assert hmm.n_iter_ == 0
    weighted.partial_fit(data[250:350], [50, 50], sample_weight=[2, 1])
    repeated.partial_fit(data[[*range(250, 300), *range(250, 350)]], [50, 50, 50])
    assert weighted.n_iter_ == 1
    assert_allclose(weighted.means_, repeated.means_, rtol=1e-9)
    with pytest.raises(ValueError, match="features"):
        weighted.partial_fit(data[:50, :1])


SHAPED = {
    "mixture": (GaussianMixture(2, random_state=0), "n_components"),
    "bayesian": (BayesianGaussianMixture(2, random_state=0), "n_components"),
    "discrete": (PoissonMixture(2, random_state=0), "n_components"),
    "k-means": (KMeans(2, random_state=0), "n_clusters"),
    "topics": (PLSA(2, random_state=0), "n_components"),
    "hmm": (PoissonHMM(2, random_state=0), "n_components"),
}


@pytest.mark.parametrize("begin", ["fit", "some rows", "a step"])
@pytest.mark.parametrize("name", SHAPED)
def test_the_number_of_components_stays(name, begin):
    model, parameter = SHAPED[name]
    model, counts = clone(model), np.random.RandomState(0).poisson(3, size=(600, 3))
    if begin == "fit":
        model.fit(counts)
    else:
        model.partial_fit(counts[: 50 if begin == "some rows" else 400])
    model.set_params(**{parameter: 3})
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=f"{parameter} must stay 2.*got 3: set it back"):
        model.partial_fit(counts)
    assert pickle.dumps(model) == before
    model.set_params(**{parameter: 2}).partial_fit(counts)


def test_covariances_stay_of_their_kind():
    mixture = GaussianMixture(2, random_state=0).partial_fit(X[:500])
    with pytest.raises(ValueError, match=r"covariance_type must stay 'full'.*got 'diag'"):
        mixture.set_params(covariance_type="diag").partial_fit(X[:500])


def test_a_mixture_made_of_another_goes_on():
    marginal = GaussianMixture(K, random_state=0).fit(X[:2000]).marginal([0, 1])
    means = marginal.means_.copy()
    marginal.partial_fit(X[:K, :2])
    assert_array_equal(marginal.means_, means)


@pytest.mark.parametrize(
    "mixture",
    [GaussianMixture(2), GaussianMixture(2, covariance_type="tied"), PoissonMixture(2)],
    ids=["full", "tied", "poisson"],
)
def test_components_of_a_stream_may_be_reordered(mixture):
    rates = np.array([[1, 9], [1, 9], [6, 2]])
    counts = np.random.RandomState(0).poisson(np.tile(rates, (500, 1)))
    plain = clone(mixture).set_params(random_state=0).partial_fit(counts[:600])
    turned = pickle.loads(pickle.dumps(plain))
    for begin in (600, 900, 1200):
        turned.reorder([1, 0]).partial_fit(counts[begin : begin + 300])
        plain.partial_fit(counts[begin : begin + 300])
    assert_array_equal(turned.weights_, plain.weights_[::-1])  # three turns
    assert_array_equal(turned.predict(counts), 1 - plain.predict(counts))
    assert_array_equal(turned.reorder([1, 0]).score_samples(counts), plain.score_samples(counts))


@pytest.mark.parametrize("dtypes", [("f4", "f4", "f4"), ("f4", "f8", "f4"), ("f8", "f4", "f8")])
@pytest.mark.parametrize("begin", ["fit", "partial_fit"])
def test_topics_of_single_precision_are_those_of_double(dtypes, begin):
    counts = np.random.RandomState(0).poisson(2, size=(400, 7))
    plain, mixed = PLSA(3, random_state=0), PLSA(3, random_state=0)
    getattr(plain, begin)(counts.astype("f8"))
    getattr(mixed, begin)(counts.astype(dtypes[0]))
    for dtype in dtypes:  # a kernel that took one for the other wrote past its arrays
        plain.partial_fit(counts.astype("f8"))
        mixed.partial_fit(counts.astype(dtype))
    assert mixed.components_.dtype == dtypes[-1]
    assert_allclose(mixed.components_, plain.components_, atol=1e-4)
