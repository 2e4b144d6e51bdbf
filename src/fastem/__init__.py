"""fastem: fast, careful expectation-maximisation with scikit-learn's API."""

from fastem import em
from fastem._version import __version__
from fastem._versions import has_openmp, show_versions
from fastem.gaussian_mixture import GaussianMixture

__all__ = ["GaussianMixture", "__version__", "em", "has_openmp", "show_versions"]
