"""The compiled kernels: hot loops on validated arrays, one module per model family."""

import os
from typing import TYPE_CHECKING, Any

# libgomp reads its settings when it is loaded, which is now unless another library has done it.
# By default its threads spin for milliseconds at a barrier; where other programs want the cores
# too, they then hold up the very thread that they wait for (40 ms for a region of 0.1 ms). This
# many turns are some tens of microseconds, after which they sleep. A user's own choice stands.
_SETTINGS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
_ours = not any(setting in os.environ for setting in _SETTINGS)
if _ours:
    os.environ["GOMP_SPINCOUNT"] = "10000"
try:
    from fastem._kernels import runtime  # type: ignore[attr-defined]  # noqa: F401
finally:
    if _ours:
        del os.environ["GOMP_SPINCOUNT"]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The compiled modules, into which a type checker cannot look."""
