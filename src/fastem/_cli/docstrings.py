"""A corpus that every machine has: the docstrings of Python, NumPy, SciPy and scikit-learn.

Source files are parsed, never imported. Which ones are read depends on nothing but what is
installed: not on the time, nor on the order of a folder's files.
"""

import ast
import inspect
import os
import platform
import warnings
import zlib
from pathlib import Path

import numpy
import scipy
import sklearn

from fastem._cli.texts import Texts

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


def open_docstrings():
    """Return docstrings of at least 20 words as `Texts`, named by module, class and function."""
    found: dict[str, str] = {}  # a text and its name: copies count once
    n_bytes = 0
    # Well mixed, in an order that stays the same.
    for module, path in sorted(_modules(), key=lambda one: (zlib.crc32(one[0].encode()), one[0])):
        source = path.read_bytes()
        n_bytes += len(source)
        if len(found) >= MAX_DOCUMENTS or n_bytes > MAX_BYTES:
            break
        for name, text in _docstrings(source, module):
            found.setdefault(text, name)
    return Texts(sorted((name, text) for text, name in list(found.items())[:MAX_DOCUMENTS]))


def _modules():
    """Yield (name, path) of the modules."""
    for package in (os, *_PACKAGES.values()):
        root = Path(inspect.getfile(package)).parent
        prefix = [] if package is os else [package.__name__]
        for folder, folders, files in os.walk(root):
            folders[:] = set(folders) - _SKIPPED  # those are not descended into
            for path in (Path(folder, file) for file in files if file.endswith(".py")):
                parts = [*prefix, *path.relative_to(root).with_suffix("").parts]
                yield ".".join(parts).removesuffix(".__init__"), path


def _docstrings(source, module):
    """Yield (name, text) of a module's docstrings, and its classes' and functions'."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escape sequences in other people's code
            nodes = [(module, ast.parse(source))]
    except (SyntaxError, ValueError):  # a template, or code for another version of Python
        return
    while nodes:
        name, node = nodes.pop()
        lines = (ast.get_docstring(node) or "").splitlines()
        text = "\n".join(x for x in lines if not x.lstrip().startswith((">>>", "...")))
        if len(text.split()) >= _FEWEST_WORDS:
            yield name, text
        if isinstance(node, ast.Module | ast.ClassDef):
            named = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            nodes += [(f"{name}.{n.name}", n) for n in node.body if isinstance(n, named)]
