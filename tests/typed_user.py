"""A user's script that uses every public name, for type checkers; `test_types.py` has mypy read it.

It is checked with ``--strict`` and has no ``type: ignore``. The types that matter are asserted: an
attribute that nobody declares would be Any, which passes everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, assert_type

import numpy as np
import numpy.typing as npt

import fastem
from fastem import (
    GMMHMM,
    PLSA,
    BayesianGaussianMixture,
    BernoulliHMM,
    BernoulliMixture,
    BinomialHMM,
    BinomialMixture,
    Blocks,
    CategoricalHMM,
    CategoricalMixture,
    ConjugatePrior,
    GaussianHMM,
    GaussianLDA,
    GaussianMixture,
    KMeans,
    LatentDirichletAllocation,
    MultinomialHMM,
    MultinomialMixture,
    PoissonHMM,
    PoissonMixture,
    StudentMixture,
    em,
    plot,
    select,
)


def in_blocks(X: npt.NDArray[np.float64], client: Any) -> GaussianMixture:
    """Fit to blocks, here and on a cluster."""
    blocks = Blocks(lambda: (X[i : i + 10] for i in range(0, len(X), 10)))
    assert_type(Blocks.from_arrays([X, X], batch_rows=5), Blocks)
    assert_type(Blocks.from_npy("X.npy"), Blocks)
    assert_type(Blocks.from_parquet("X.parquet", ["a", "b"], sample_weight="w"), Blocks)
    executor: em.Executor = em.DaskExecutor(client, mixed_workers=True, patience=10)
    assert executor
    return GaussianMixture(2).fit(blocks)


def mixtures(X: npt.NDArray[np.float64], table: Any) -> float:
    """Fit, read and draw mixtures."""
    mixture = GaussianMixture(n_components=2, covariance_type="tied", random_state=0).fit(X)
    assert_type(mixture, GaussianMixture)
    GaussianMixture(2, prior=ConjugatePrior(mean_precision=0.1, scale=[1.0, 2.0])).fit(X)
    GaussianMixture(2, prior="conjugate").fit(X)
    GaussianMixture(2, fixed=("weights",), weights_init=[0.5, 0.5]).fit(X)
    GaussianMixture(2, fixed={"means": [True, False]}, means_init=X[:2]).fit(X)
    assert_type(GaussianMixture(2).fit(X).impute(X, draw=True, random_state=0), np.ndarray)
    assert_type(mixture.means_, np.ndarray)
    assert_type(mixture.covariances_, np.ndarray)
    assert_type(mixture.precisions_, np.ndarray)
    assert_type(mixture.precisions_cholesky_, np.ndarray)
    assert_type(mixture.weights_, np.ndarray)
    assert_type(mixture.converged_, bool)
    assert_type(mixture.n_iter_, int)
    assert_type(mixture.lower_bound_, float)
    assert_type(mixture.lower_bounds_, list[float])
    assert_type(mixture.n_features_in_, int)
    assert_type(mixture.feature_names_in_, np.ndarray)
    assert_type(mixture.predict(X), np.ndarray)
    assert_type(mixture.fit_predict(X, sample_weight=[1.0] * len(X)), np.ndarray)
    assert_type(mixture.predict_proba(table), np.ndarray)
    assert_type(mixture.score_samples(X), np.ndarray)
    assert_type(mixture.bic(X) - mixture.aic(X) - mixture.score(X), float)
    assert_type(mixture.icl(X) + mixture.entropy(X), float)
    assert_type(mixture.n_parameters, int)
    assert_type(mixture.uncertainty(X), np.ndarray)
    assert_type(
        mixture.condition(["a"], [1.0]).marginal(0).reorder(order="weight"), GaussianMixture
    )
    assert_type(mixture.predict_mean(X, given=[0]), np.ndarray)
    mean, std = mixture.predict_mean(X, "a", return_std=True)
    assert_type(mean, np.ndarray)
    assert_type(std, np.ndarray)
    merging = mixture.merge(X, 2)
    assert_type(merging.clusters, np.ndarray)
    assert_type(merging.membership, np.ndarray)
    errors = mixture.standard_errors(X)
    assert_type(errors.means, np.ndarray)
    assert_type(errors.covariances, np.ndarray)
    text: str = mixture.summary(X, standard_errors=True)
    print(text)
    samples, labels = mixture.sample(10, random_state=np.random.default_rng(0))
    assert_type(samples, np.ndarray)
    assert_type(labels, np.ndarray)
    for n_components in range(1, 4):
        for covariance_type in ("full", "tied", "diag", "spherical"):
            GaussianMixture(n_components, covariance_type=covariance_type, n_jobs=2).fit(X)

    noisy = GaussianMixture(2, noise=True).fit(X)
    assert_type(noisy.noise_weight_, float)
    assert_type(noisy.noise_box_, np.ndarray)
    student = StudentMixture(2, df="shared", covariance_type="diag").fit(X)
    assert_type(student, StudentMixture)
    assert_type(student.df_, np.ndarray)
    assert_type(student.scales_, np.ndarray)
    StudentMixture(2, df=[3.0, 5.0]).fit(X, sample_weight=np.ones(len(X)))

    bayesian = BayesianGaussianMixture(
        5, weight_concentration_prior=0.01, mean_prior=[0.0, 1.0], covariance_prior=2.0
    ).fit(X, sample_weight=np.ones(len(X)))
    assert_type(bayesian, BayesianGaussianMixture)
    assert_type(bayesian.means_, np.ndarray)
    assert_type(bayesian.weight_concentration_, np.ndarray | tuple[np.ndarray, np.ndarray])
    assert_type(bayesian.mean_precision_, np.ndarray)
    assert_type(bayesian.degrees_of_freedom_, np.ndarray | float)
    assert_type(bayesian.covariance_prior_, np.ndarray | float)
    assert_type(bayesian.condition(0, 1.0), GaussianMixture)
    assert_type(bayesian.partial_fit(X), BayesianGaussianMixture)
    assert_type(bayesian.reorder(), BayesianGaussianMixture)
    assert_type(bayesian.score(X) + bayesian.lower_bound_, float)

    bernoulli = BernoulliMixture(2, binarize=0.5, probability_prior=(1.0, 1.0)).fit(X > 0)
    assert_type(bernoulli, BernoulliMixture)
    assert_type(bernoulli.probabilities_, np.ndarray)
    assert_type(bernoulli.n_components, int)
    coins = BinomialMixture(2, n_trials=[10, 10], probabilities_init=[[0.6], [0.5]]).fit([[5], [9]])
    assert_type(coins, BinomialMixture)
    assert_type(coins.n_trials_, np.ndarray)
    assert_type(coins.probabilities_, np.ndarray)
    classes = CategoricalMixture(2, n_categories=3).fit(X)
    assert_type(classes, CategoricalMixture)
    assert_type(classes.n_categories_, np.ndarray)
    assert_type(classes.probabilities_, np.ndarray)
    words = MultinomialMixture(2).fit(table)
    assert_type(words, MultinomialMixture)
    assert_type(words.probabilities_, np.ndarray)
    assert_type(words.sample(3, n_trials=20), tuple[np.ndarray, np.ndarray])
    counts = PoissonMixture(2, rates_init=[[1.0], [2.5]], rate_prior=0.1).fit(X)
    assert_type(counts, PoissonMixture)
    assert_type(counts.rates_, np.ndarray)
    assert_type(counts.weights_, np.ndarray)

    display = plot.MixtureDisplay.from_estimator(mixture, X, n_std=2.0, scatter_kw={"s": 3})
    assert_type(display, plot.MixtureDisplay)
    display.ax_.set_title("two components")
    bounds = plot.LowerBoundDisplay.from_estimator({"tied": mixture}, linewidth=2)
    bounds.lines_["tied"].set_linewidth(1)
    bounds.figure_.savefig("bounds.png")
    plot.MixtureDisplay.from_estimator(mixture, X, features=["a", 1, 2], legend=True)
    profiles = plot.ProfilesDisplay.from_estimator(counts, ["a", "b"], n_rows=10)
    profiles.dots_[0].set_markersize(3)
    plot.animate(mixture, X, "em.gif", features=("a", "b"))
    return mixture.lower_bounds_[-1] + counts.lower_bound_


def clusters(X: npt.NDArray[np.float32]) -> Sequence[int]:
    """Cluster by k-means."""
    kmeans = KMeans(n_clusters=3, init=X[:3], n_init=1).fit(X)
    assert_type(kmeans, KMeans)
    assert_type(kmeans.labels_, np.ndarray)
    assert_type(kmeans.cluster_centers_, np.ndarray)
    assert_type(kmeans.inertia_, float)
    assert_type(kmeans.lower_bounds_, list[float])
    assert_type(kmeans.n_clusters, int)
    assert_type(kmeans.transform(X), np.ndarray)
    assert_type(kmeans.fit_transform(X), np.ndarray)
    assert_type(KMeans(2, n_init="auto").fit_predict(X), np.ndarray)
    assert_type(kmeans.impute(X), np.ndarray)
    labels: list[int] = kmeans.predict(X).tolist()
    return labels


def topics(X: npt.NDArray[np.int64], vectors: np.ndarray) -> None:
    """Fit topic models, and read their words."""
    plsa = PLSA(n_components=5, beta="held-out", init="random").fit(X)
    assert_type(plsa, PLSA)
    assert_type(plsa.components_, np.ndarray)
    assert_type(plsa.beta_, float)
    assert_type(plsa.validation_scores_, list[float])
    assert_type(plsa.lower_bounds_, list[float])
    assert_type(plsa.perplexity(X), float)
    assert_type(plsa.fit_transform(X), np.ndarray)
    lda = LatentDirichletAllocation(5, doc_topic_prior="auto", learning_method="online").fit(X)
    assert_type(lda, LatentDirichletAllocation)
    assert_type(lda.components_, np.ndarray)
    assert_type(lda.exp_dirichlet_component_, np.ndarray)
    assert_type(lda.n_batch_iter_, int)
    assert_type(lda.bound_, float)
    assert_type(lda.doc_topic_prior_, float | np.ndarray)
    assert_type(lda.topic_word_prior_, float | np.ndarray)
    assert_type(lda.random_state_, np.random.RandomState)
    assert_type(lda.partial_fit(X), LatentDirichletAllocation)
    assert_type(lda.transform(X, normalize=False), np.ndarray)
    assert_type(lda.token_topics(X), np.ndarray)
    assert_type(lda.coherence(X, measure="npmi"), np.ndarray)
    assert_type(lda.top_words(["one", "two"], n=2), list[list[Any]])
    assert_type(lda.inverse_transform(lda.transform(X)), np.ndarray)
    text: str = lda.summary(X, ["one", "two"], n_words=3)
    print(text)
    figure: float = lda.elbo(X) + lda.held_out_log_likelihood(X, X) + lda.score(X)
    gaussian = GaussianLDA(5, vectors=vectors).fit(X, lengths=[3, 4])
    assert_type(gaussian, GaussianLDA)
    assert_type(gaussian.means_, np.ndarray)
    assert_type(gaussian.covariances_, np.ndarray)
    assert_type(gaussian.doc_topic_prior_, np.ndarray)
    assert_type(gaussian.components_, np.ndarray)
    assert_type(gaussian.top_words(n=3), list[list[Any]])
    display = plot.TopicsDisplay.from_estimator(lda, ["a"], topics=[0, figure > 0], n_words=3)
    assert_type(display, plot.TopicsDisplay)
    assert_type(plot.prepare_topics(lda, X), dict[str, Any])


def sequences(X: np.ndarray, lengths: list[int]) -> None:
    """Fit hidden Markov models, and decode."""
    model = GaussianHMM(n_components=2, covariance_type="full", n_iter=20)
    GaussianHMM(2, prior="conjugate").fit(X)
    GMMHMM(2, n_mix=2, prior=ConjugatePrior(weight_concentration=[1.0, 2.0])).fit(X)
    model.startprob_ = np.array([0.5, 0.5])
    model.fit(X, lengths)
    assert_type(model.fit(X), GaussianHMM)
    assert_type(model.means_, np.ndarray)
    assert_type(model.covars_, np.ndarray)
    assert_type(model.startprob_, np.ndarray)
    assert_type(model.transmat_, np.ndarray)
    assert_type(model.lower_bounds_, list[float])
    assert_type(model.stop_reason_, str)
    assert_type(model.monitor_.converged, bool)
    assert_type(model.score(X, lengths), float)
    log_prob, states = model.decode(X, algorithm="map")
    assert_type(log_prob, float)
    assert_type(states, np.ndarray)
    assert_type(model.predict_next(X).observation, np.ndarray)
    assert_type(model.sample(5, random_state=0), tuple[np.ndarray, np.ndarray])
    assert_type(model.standard_errors(X, lengths).transmat, np.ndarray)
    text: str = model.summary(X, lengths, standard_errors=True)
    print(text)
    display = plot.StatesDisplay.from_estimator(model, X, names=["calm", "storm"])
    display.line_.set_linewidth(1)
    mixed = GMMHMM(2, n_mix=2, topology="left-right").fit([X, X])
    assert_type(mixed.standard_errors([X, X]).weights, np.ndarray)
    assert_type(PoissonHMM(2).fit(X).standard_errors(X).lambdas, np.ndarray)
    assert_type(PoissonMixture(2).fit(X).standard_errors(X).rates, np.ndarray)
    assert_type(mixed.icl(X), float)
    assert_type(mixed, GMMHMM)
    assert_type(mixed.weights_, np.ndarray)
    assert_type(mixed.means_, np.ndarray)
    assert_type(mixed.covars_, np.ndarray)
    categorical = CategoricalHMM(2, n_features=4).fit(X)
    assert_type(categorical, CategoricalHMM)
    assert_type(categorical.emissionprob_, np.ndarray)
    assert_type(MultinomialHMM(2, n_trials=5).fit(X).emissionprob_, np.ndarray)
    assert_type(PoissonHMM(2).fit(X).lambdas_, np.ndarray)
    assert_type(BernoulliHMM(2).fit(X, states=[-1, 0]).emissionprob_, np.ndarray)
    assert_type(BinomialHMM(2, n_trials=[5, 5]).fit(X).predict_proba(X), np.ndarray)


def choices(X: np.ndarray, counts: Any) -> str:
    """Choose numbers of components."""
    found = select.mixture(X, range(1, 4), ["full", "diag"], "cv", cv=3, n_jobs=2, progress=True)
    assert_type(found, select.Selection)
    assert_type(found.table, list[dict[str, Any]])
    assert_type(found.best_params_, dict[str, Any])
    assert_type(found.best_score_, float)
    assert_type(found.edge_, str | None)
    assert_type(found.plot(), plot.SelectionDisplay)
    found.to_frame()
    for other in (
        select.discrete(counts, 3, "icl", estimator=PoissonMixture(n_init=3)),
        select.kmeans(X, [2, 3], "gap", estimator=KMeans(n_init=2), n_references=5),
        select.topics(counts, (5, 10), estimator=PLSA(), measure="umass"),
        select.hmm([X, X], None, [2], "diag", estimator=GaussianHMM()),
    ):
        plot.SelectionDisplay.from_selection(other, linewidth=2).lines_[""].set_linewidth(1)
    return str(found)


class Coins(NamedTuple):
    """Parameters of the models below."""

    heads: np.ndarray


class TwoCoins:
    """An own model, whose arguments have names and types of its own."""

    def e_step(self, coins: Coins, tosses: np.ndarray) -> em.Statistics:
        """Return the statistics of some rounds."""
        chance = coins.heads[:, None] ** tosses * (1 - coins.heads[:, None]) ** (10 - tosses)
        share = chance / chance.sum(axis=0)
        bound = float(np.log(chance.mean(axis=0)).sum())
        return em.Statistics(
            bound=bound, weight=len(tosses), heads=share @ tosses, rounds=share.sum(axis=1)
        )

    def m_step(self, sums: em.Statistics) -> Coins:
        """Return the share of heads."""
        return Coins(sums.heads / (10 * sums.rounds))

    def log_prior(self, coins: Coins) -> float:
        """Return the log-density of a prior."""
        return float(np.log(coins.heads).sum())


class Remembering:
    """An own model with row state, which may leave the bound out."""

    def first_state(self, coins: Coins, tosses: np.ndarray) -> np.ndarray:
        """Return the share of each coin in each round."""
        return np.full((2, len(tosses)), 0.5)

    def e_step(
        self, coins: Coins, tosses: np.ndarray, share: np.ndarray, *, bound: bool = True
    ) -> tuple[em.Statistics, np.ndarray]:
        """Return the statistics of some rounds and their new state."""
        statistics = TwoCoins().e_step(coins, tosses)
        return statistics, share / share.sum(axis=0)

    def m_step(self, sums: em.Statistics) -> Coins:
        """Return the share of heads."""
        return TwoCoins().m_step(sums)


class Declared(em.Model):
    """An own model that says so."""

    def e_step(self, coins: Coins, tosses: np.ndarray, bound: bool = True) -> em.Statistics:
        """Return the statistics of some rounds."""
        return TwoCoins().e_step(coins, tosses)

    def m_step(self, sums: em.Statistics) -> Coins:
        """Return the share of heads."""
        return TwoCoins().m_step(sums)


class Watcher(em.Callback):
    """A callback."""

    def on_iteration_end(self, state: em.State) -> bool:
        """Stop when the bound is high enough."""
        return state.lower_bound > -1.0


def own_models(tosses: np.ndarray) -> Coins:
    """Fit models of one's own."""
    start = Coins(np.array([0.6, 0.5]))
    models: list[em.Model] = [TwoCoins(), Remembering(), Declared()]
    prior: em.Prior = TwoCoins()
    state: em.RowState = Remembering()
    bounds: list[float] = []
    for model in models:
        with em.watch(lambda state: bounds.append(state.lower_bound)):
            em.fit(model, [tosses], start, callbacks=[Watcher(), lambda state: state.change < 0.1])
    with ThreadPoolExecutor(2) as pool:
        result = em.fit(TwoCoins(), [tosses, tosses], lambda init: start, executor=pool, n_init=2)
    assert_type(result, em.Result)
    assert_type(result.lower_bounds, list[float])
    assert_type(result.n_iter, int)
    print(prior.log_prior(start), state.first_state(start, tosses), result.converged, bounds)
    coins: Coins = result.params
    return coins


def drop_in() -> str:
    """Have scikit-learn's classes run on fastem's."""
    fastem.patch()
    assert_type(fastem.is_patched(), bool)
    fastem.unpatch()
    with fastem.patched():
        fastem.show_versions()
    assert_type(fastem.has_openmp(), bool)
    return fastem.__version__
