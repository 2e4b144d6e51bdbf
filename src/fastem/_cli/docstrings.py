"""A corpus that every machine has: the docstrings of Python, NumPy, SciPy and scikit-learn.

Source files are parsed, never imported. Which ones are read depends on nothing but what is
installed: not on the time, nor on the order of a folder's files.
"""

import ast
import os
import platform
import warnings
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy
import scipy
import sklearn

_PACKAGES = {"NumPy": numpy, "SciPy": scipy, "scikit-learn": sklearn}
#: Enough for topics that mean something, read in a few seconds.
MAX_DOCUMENTS, MAX_BYTES = 6000, 12_000_000
#: Fewest words of a docstring that counts as a document.
_FEWEST_WORDS = 20
#: Folders with few docstrings, or with those of other projects.
_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "__pycache__", "idlelib", "_vendor"}


def describe():
    """Name the corpus, with the versions that it came from."""
    names = [f"{name} {package.__version__}" for name, package in _PACKAGES.items()]
    return f"Docstrings of Python {platform.python_version()}, {', '.join(names)}"


@cache
def documents():
    """Return (name, text) of docstrings of at least 20 words."""
    found: dict[str, str] = {}  # a text and its name: copies count once
    n_bytes, modules = 0, {}
    for package in (os, *_PACKAGES.values()):
        root = Path(package.__file__).parent
        for folder, folders, files in os.walk(root):
            folders[:] = set(folders) - _SKIPPED  # those are not descended into
            for path in (Path(folder, file) for file in files if file.endswith(".py")):
                parts = path.relative_to(root if package is os else root.parent).with_suffix("")
                modules[".".join(parts.parts).removesuffix(".__init__")] = path
    # Well mixed, in an order that stays the same.
    for module in sorted(modules, key=lambda name: (zlib.crc32(name.encode()), name)):
        source = modules[module].read_bytes()
        n_bytes += len(source)
        if len(found) >= MAX_DOCUMENTS or n_bytes > MAX_BYTES:
            break
        for name, text in _docstrings(source, module):
            found.setdefault(text, name)
    return sorted((name, text) for text, name in list(found.items())[:MAX_DOCUMENTS])


def _docstrings(source, module):
    """Yield (name, text) of a module's docstrings, and its classes' and functions'."""
    with warnings.catch_warnings(), suppress(SyntaxError, ValueError):  # a template, another Python
        warnings.simplefilter("ignore")  # about escape sequences in other people's code
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (ast.get_docstring(node) or "").splitlines()
                text = "\n".join(x for x in lines if not x.lstrip().startswith((">>>", "...")))
                if len(text.split()) >= _FEWEST_WORDS:
                    yield f"{module}.{getattr(node, 'name', '')}".rstrip("."), text
