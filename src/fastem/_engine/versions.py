"""What a bug report needs: versions, OpenMP, threads, instruction set."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from fastem._engine.threads import effective_n_jobs
from fastem._kernels import gaussian, runtime
from fastem._version import __version__

__all__ = ["has_openmp", "show_versions", "versions"]

_INSTRUCTION_SETS = {
    "base": "the compiler's baseline (SSE2, NEON or scalar)",
    "v3": "x86-64-v3 (AVX2, FMA)",
    "v4": "x86-64-v4 (AVX-512)",
}
_PACKAGES = "numpy", "scipy", "scikit-learn", "threadpoolctl", "joblib", "rich", "pandas"


def has_openmp() -> bool:
    """Return whether fastem was built with OpenMP, so that it can use several threads."""
    return runtime.has_openmp()


def versions() -> dict[str, str]:
    """Return what :func:`show_versions` prints."""
    found = {"fastem": __version__, "python": sys.version.replace("\n", " ")}
    found["machine"] = platform.platform()
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["OpenMP"] = "yes" if has_openmp() else "no: fits run on one thread"
    found["threads"] = str(effective_n_jobs())
    found["instruction set"] = _INSTRUCTION_SETS[gaussian.instruction_set()]
    return found


def show_versions() -> None:
    """Print the versions of fastem and its dependencies, and how its kernels run here."""
    for name, value in versions().items():
        print(f"{name:>16}: {value}")
