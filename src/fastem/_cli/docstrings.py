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

#: Enough for topics that mean something, read in a few seconds.
MAX_DOCUMENTS, MAX_BYTES = 6000, 12_000_000
#: Fewest words of a docstring that counts as a document.
_FEWEST_WORDS = 20
#: Folders with few docstrings, or with those of other projects.
_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "__pycache__", "idlelib", "_vendor"}


def describe():
    """Name the corpus, with the versions that it came from."""
    packages = (("NumPy", numpy), ("SciPy", scipy), ("scikit-learn", sklearn))
    names = [f"{name} {package.__version__}" for name, package in packages]
    return f"Docstrings of Python {platform.python_version()}, {', '.join(names)}"


def open_docstrings():
    """Return docstrings of at least 20 words as `Texts`, named by module, class and function."""
    found: dict[str, str] = {}  # a text and its name: copies count once
    n_bytes = 0
    for path, module in _files():
        source = path.read_bytes()
        n_bytes += len(source)
        if len(found) >= MAX_DOCUMENTS or n_bytes > MAX_BYTES:
            break
        for name, text in _docstrings(source, module):
            found.setdefault(text, name)
    return Texts(sorted((name, text) for text, name in list(found.items())[:MAX_DOCUMENTS]))


def _files():
    """Return (path, module) of the source files, well mixed, in an order that stays the same."""
    roots = [(Path(inspect.getfile(os)).parent, "")]
    for package in (numpy, scipy, sklearn):
        roots.append((Path(inspect.getfile(package)).parent, f"{package.__name__}."))
    files = []
    for root, prefix in roots:
        for folder, folders, names in os.walk(root):
            folders[:] = [
                name for name in folders if name not in _SKIPPED
            ]  # do not descend into it
            for path in (Path(folder, name) for name in names if name.endswith(".py")):
                module = ".".join(path.relative_to(root).with_suffix("").parts)
                files.append((path, (prefix + module).removesuffix(".__init__")))
    return sorted(files, key=lambda file: (zlib.crc32(file[1].encode()), file[1]))


def _docstrings(source, module):
    """Yield (name, text) of a module's docstrings, and its classes' and functions'."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escape sequences in other people's code
            tree = ast.parse(source)
    except (SyntaxError, ValueError):  # a template, or code for another version of Python
        return
    nodes = [(module, tree)]
    while nodes:
        name, node = nodes.pop()
        text = ast.get_docstring(node) or ""
        lines = [line for line in text.splitlines() if not line.lstrip().startswith((">>>", "..."))]
        if len(" ".join(lines).split()) >= _FEWEST_WORDS:
            yield name, "\n".join(lines)
        if isinstance(node, ast.Module | ast.ClassDef):
            named = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            nodes += [(f"{name}.{n.name}", n) for n in node.body if isinstance(n, named)]
