"""Every example in the documentation runs and prints what it says."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import fastem

ROOT = Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [p for p in sorted(DOCS.rglob("*.md")) if ">>> " in p.read_text(encoding="utf-8")]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(fastem.__path__, "fastem.")
    if module.name != "fastem.__main__"
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    """The examples of one module."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    "name", ["em", "mixture.gaussian", "mixture.discrete", "mixture.trials", "_engine.statistics"]
)
def test_docstrings_have_examples(name):
    """The examples are found at all."""
    assert doctest.testmod(importlib.import_module(f"fastem.{name}")).attempted > 0


@pytest.mark.skipif(not README.exists(), reason="the README is not beside the tests")
def test_readme():
    """The README's examples."""
    results = doctest.testfile(str(README), module_relative=False)
    assert results.attempted > 5
    assert results.failed == 0


@pytest.mark.skipif(not DOCS.exists(), reason="the pages are not beside the tests")
def test_pages_are_found():
    """Those with examples."""
    assert {"start", "own_model", "drop_in", "determinism"} <= {page.stem for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page):
    """The examples of one page of the documentation."""
    assert doctest.testfile(str(page), module_relative=False).failed == 0


@pytest.mark.skipif(not DOCS.exists(), reason="the pages are not beside the tests")
@pytest.mark.parametrize(
    "module", [fastem, fastem.em, fastem.plot, fastem.select], ids=lambda module: module.__name__
)
def test_api_reference_is_complete(module):
    """Every public name has its page; those of a module are listed in full: `fastem.em.fit`."""
    listed = {line.strip() for line in (DOCS / "api.md").read_text(encoding="utf-8").splitlines()}
    prefix = "" if module is fastem else f"{module.__name__}."
    missing = {name for name in module.__all__ if prefix + name not in listed}
    assert missing <= {"__version__", "em", "plot", "select"}
