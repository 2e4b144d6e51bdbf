"""The models of ``cluster`` and of ``topics``: one table, which needs no import to be read."""

from __future__ import annotations

from typing import NamedTuple

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


class Kind(NamedTuple):
    """One model.

    Attributes
    ----------
    command : str
        Which command fits it.
    estimator : str
        Its name in :mod:`fastem`.
    noun : str
        What its parts are called.
    values : str
        The attribute that has a row for each part, and a column for each column of the data.
    choose : str or None
        The function of :mod:`fastem.select` that compares numbers of parts.
    criteria : tuple of str
        By what; the first is the default.
    covariances : str or None
        The attribute of the parts' covariances, whose shape can be chosen.
    data : {'numbers', 'binary', 'counts', 'categories'}
        What its cells must be.
    what : str
        What stands in the table of parts, of each column.
    number, iterations : str
        The names of the parameters for the number of parts and of iterations.
    max_iter : int
        Iterations at most, by default.
    algorithms : tuple of str
        Of topics; the first is the default.
    algorithm : str or None
        The parameter that these are values of.
    """

    command: str
    estimator: str
    noun: str
    values: str
    choose: str | None = None
    criteria: tuple[str, ...] = ("bic", "icl", "aic", "cv")
    covariances: str | None = None
    data: str = "numbers"
    what: str = "mean"
    number: str = "n_components"
    iterations: str = "max_iter"
    max_iter: int = 100
    algorithms: tuple[str, ...] = ()
    algorithm: str | None = None

    def make(self, **settings):
        """Return the estimator, unfitted."""
        import fastem

        return getattr(fastem, self.estimator)(**settings)


_SCORED = ("held_out", "coherence")
MODELS = {
    "mixture": Kind("cluster", "GaussianMixture", "component", "means_", "mixture",
                    covariances="covariances_"),
    "bayesian": Kind("cluster", "BayesianGaussianMixture", "component", "means_", None, (),
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
