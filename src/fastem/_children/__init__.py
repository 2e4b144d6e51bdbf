"""Processes that a program under ``fastem run`` starts afresh are patched as it is itself.

They inherit the environment: `PYTHONPATH` leads the interpreter to the ``sitecustomize.py`` of this
folder, which Python imports before any program. That works the same for a wheel, an editable
install and a checkout on `PYTHONPATH`, and is nothing to anyone who does not use ``fastem run``.
"""

import os
import sys

__all__ = ["VARIABLE", "include_children", "leave_children"]

VARIABLE = "FASTEM_PATCH"
_FOLDER = os.path.dirname(os.path.abspath(__file__))


def include_children() -> None:
    """Have processes that start from now on patched, or say on stderr that they will not be."""
    if sys.flags.ignore_environment or sys.flags.no_site:
        print(
            "fastem: processes that this program starts afresh run scikit-learn's own code: "
            "Python was told (-E, -I or -S) not to look for what would patch them",
            file=sys.stderr,
        )
        return
    before = os.environ.get("PYTHONPATH")
    others = [folder for folder in (before or "").split(os.pathsep) if folder != _FOLDER]
    os.environ["PYTHONPATH"] = os.pathsep.join([_FOLDER, *(others if before else [])])
    os.environ[VARIABLE] = "1"


def leave_children() -> None:
    """Have processes that start from now on as they are without fastem."""
    os.environ.pop(VARIABLE, None)
