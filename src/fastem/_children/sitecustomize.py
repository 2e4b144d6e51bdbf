"""Python imports this first in the processes that a program under ``fastem run`` starts.

It may be another interpreter that reads this, without fastem: that is no error.
"""

import os
import sys


def _next_sitecustomize(here):
    """Load the sitecustomize that this one stands before, if there is one."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    sys.path[:] = [folder for folder in sys.path if folder != here]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _patch():
    if os.environ.get("FASTEM_PATCH", "") in ("", "0"):
        return
    try:
        from fastem import patch
    except ImportError:
        from importlib.util import find_spec

        if find_spec("sklearn") is not None:
            print(
                f"fastem: {sys.executable}, started by a program under fastem run, runs "
                "scikit-learn's own code: fastem is not installed there",
                file=sys.stderr,
            )
    else:
        patch()


try:
    _next_sitecustomize(os.path.dirname(os.path.abspath(__file__)))
finally:
    _patch()
