"""The models of ``cluster`` and of ``topics``: one table, which needs no import to be read."""

from __future__ import annotations

from typing import NamedTuple

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


class Kind(NamedTuple):
    """One model."""

    command: str  # which fits it
    estimator: str  # its name in fastem
    noun: str  # what its parts are called
    values: str  # the attribute with a row for each part, and a column for each column of the data
    choose: str | None = None  # the function of fastem.select that compares numbers of parts
    criteria: tuple[str, ...] = ("bic", "icl", "aic", "cv")  # by what; the first is the default
    covariances: str | None = None  # the attribute of covariances whose shape can be chosen
    data: str = "numbers"  # what its cells must be: numbers, binary, counts, categories
    what: str = "mean"  # what stands in the table of parts, of each column
    number: str = "n_components"  # the parameter for the number of parts
    iterations: str = "max_iter"  # and that for the number of iterations
    max_iter: int = 100  # its default
    algorithms: tuple[str, ...] = ()  # of topics; the first is the default
    algorithm: str | None = None  # the parameter that these are values of

    def make(self, **settings):
        """Return the estimator, unfitted."""
        import fastem

        return getattr(fastem, self.estimator)(**settings)


_SCORED = ("held_out", "coherence")
MODELS = {
    "mixture": Kind("cluster", "GaussianMixture", "component", "means_", "mixture",
                    covariances="covariances_"),
    "bayesian": Kind("cluster", "BayesianGaussianMixture", "component", "means_", None, ("cv",),
                     covariances="covariances_"),
    "kmeans": Kind("cluster", "KMeans", "cluster", "cluster_centers_", "kmeans",
                   ("silhouette", "gap"), number="n_clusters"),
    "bernoulli": Kind("cluster", "BernoulliMixture", "component", "probabilities_", "discrete",
                      data="binary", what="share of ones"),
    "poisson": Kind("cluster", "PoissonMixture", "component", "rates_", "discrete",
                    data="counts"),
    "categorical": Kind("cluster", "CategoricalMixture", "component", "probabilities_", "discrete",
                        data="categories", what="most frequent category"),
    "hmm": Kind("cluster", "GaussianHMM", "state", "means_", "hmm", ("bic", "aic", "cv"),
                covariances="covars_", iterations="n_iter"),
    "plsa": Kind("topics", "PLSA", "topic", "components_", "topics", _SCORED, max_iter=200,
                 algorithms=("batch", "incremental"), algorithm="algorithm"),
    "lda": Kind("topics", "LatentDirichletAllocation", "topic", "components_", "topics", _SCORED,
                max_iter=50, algorithms=("cvb0", "stochastic", "batch", "incremental"),
                algorithm="learning_method"),
    "gaussian-lda": Kind("topics", "GaussianLDA", "topic", "components_", "topics", _SCORED,
                         max_iter=200, algorithms=("batch",)),
}  # fmt: skip


def names_of(command):
    """Return the names of a command's models."""
    return tuple(name for name, kind in MODELS.items() if kind.command == command)
