"""fastem: fast, careful expectation-maximisation with scikit-learn's API."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastem._version import __version__

if TYPE_CHECKING:
    from fastem import em, plot
    from fastem._patch import is_patched, patch, patched, unpatch
    from fastem._versions import has_openmp, show_versions
    from fastem.discrete_mixture import (
        BernoulliMixture,
        BinomialMixture,
        CategoricalMixture,
        MultinomialMixture,
        PoissonMixture,
    )
    from fastem.gaussian_lda import GaussianLDA
    from fastem.gaussian_mixture import GaussianMixture
    from fastem.kmeans import KMeans
    from fastem.lda import LatentDirichletAllocation
    from fastem.plsa import PLSA

# Imported when first used: scikit-learn takes a second, which `python -m fastem --help` can do
# without.
_HOMES = {
    "BernoulliMixture": "fastem.discrete_mixture",
    "BinomialMixture": "fastem.discrete_mixture",
    "CategoricalMixture": "fastem.discrete_mixture",
    "MultinomialMixture": "fastem.discrete_mixture",
    "PoissonMixture": "fastem.discrete_mixture",
    "GaussianLDA": "fastem.gaussian_lda",
    "GaussianMixture": "fastem.gaussian_mixture",
    "KMeans": "fastem.kmeans",
    "LatentDirichletAllocation": "fastem.lda",
    "PLSA": "fastem.plsa",
    "has_openmp": "fastem._versions",
    "is_patched": "fastem._patch",
    "patch": "fastem._patch",
    "patched": "fastem._patch",
    "show_versions": "fastem._versions",
    "unpatch": "fastem._patch",
}

__all__ = [
    "PLSA",
    "BernoulliMixture",
    "BinomialMixture",
    "CategoricalMixture",
    "GaussianLDA",
    "GaussianMixture",
    "KMeans",
    "LatentDirichletAllocation",
    "MultinomialMixture",
    "PoissonMixture",
    "__version__",
    "em",
    "has_openmp",
    "is_patched",
    "patch",
    "patched",
    "plot",
    "show_versions",
    "unpatch",
]


def __getattr__(name: str) -> Any:
    if name in ("em", "plot"):
        return import_module(f"fastem.{name}")
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fastem' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
