"""fastem: fast, careful expectation-maximisation with scikit-learn's API."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastem._version import __version__

if TYPE_CHECKING:
    from fastem import em, plot, select
    from fastem._engine.blocks import Blocks
    from fastem._engine.versions import has_openmp, show_versions
    from fastem._patch import is_patched, patch, patched, unpatch
    from fastem.cluster.kmeans import KMeans
    from fastem.components.prior import ConjugatePrior
    from fastem.mixture.bayesian import BayesianGaussianMixture
    from fastem.mixture.discrete import CategoricalMixture, MultinomialMixture, PoissonMixture
    from fastem.mixture.gaussian import GaussianMixture
    from fastem.mixture.student import StudentMixture
    from fastem.mixture.trials import BernoulliMixture, BinomialMixture
    from fastem.sequence.categorical import CategoricalHMM
    from fastem.sequence.gaussian import GaussianHMM
    from fastem.sequence.gaussian_mixture import GMMHMM
    from fastem.sequence.multinomial import MultinomialHMM
    from fastem.sequence.poisson import PoissonHMM
    from fastem.sequence.trials import BernoulliHMM, BinomialHMM
    from fastem.topics.gaussian_lda import GaussianLDA
    from fastem.topics.lda import LatentDirichletAllocation
    from fastem.topics.plsa import PLSA

# Imported when first used: scikit-learn takes a second, which `python -m fastem --help` can do
# without.
_HOMES = {
    "BayesianGaussianMixture": "fastem.mixture.bayesian",
    "BernoulliMixture": "fastem.mixture.trials",
    "BinomialMixture": "fastem.mixture.trials",
    "CategoricalMixture": "fastem.mixture.discrete",
    "MultinomialMixture": "fastem.mixture.discrete",
    "PoissonMixture": "fastem.mixture.discrete",
    "StudentMixture": "fastem.mixture.student",
    "BernoulliHMM": "fastem.sequence.trials",
    "BinomialHMM": "fastem.sequence.trials",
    "Blocks": "fastem._engine.blocks",
    "CategoricalHMM": "fastem.sequence.categorical",
    "GMMHMM": "fastem.sequence.gaussian_mixture",
    "GaussianHMM": "fastem.sequence.gaussian",
    "MultinomialHMM": "fastem.sequence.multinomial",
    "PoissonHMM": "fastem.sequence.poisson",
    "GaussianLDA": "fastem.topics.gaussian_lda",
    "GaussianMixture": "fastem.mixture.gaussian",
    "ConjugatePrior": "fastem.components.prior",
    "KMeans": "fastem.cluster.kmeans",
    "LatentDirichletAllocation": "fastem.topics.lda",
    "PLSA": "fastem.topics.plsa",
    "has_openmp": "fastem._engine.versions",
    "is_patched": "fastem._patch",
    "patch": "fastem._patch",
    "patched": "fastem._patch",
    "show_versions": "fastem._engine.versions",
    "unpatch": "fastem._patch",
}

__all__ = [
    "GMMHMM",
    "PLSA",
    "BayesianGaussianMixture",
    "BernoulliHMM",
    "BernoulliMixture",
    "BinomialHMM",
    "BinomialMixture",
    "Blocks",
    "CategoricalHMM",
    "CategoricalMixture",
    "ConjugatePrior",
    "GaussianHMM",
    "GaussianLDA",
    "GaussianMixture",
    "KMeans",
    "LatentDirichletAllocation",
    "MultinomialHMM",
    "MultinomialMixture",
    "PoissonHMM",
    "PoissonMixture",
    "StudentMixture",
    "__version__",
    "em",
    "has_openmp",
    "is_patched",
    "patch",
    "patched",
    "plot",
    "select",
    "show_versions",
    "unpatch",
]


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name in ("em", "plot", "select"):
            return import_module(f"fastem.{name}")
        if name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module 'fastem' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
