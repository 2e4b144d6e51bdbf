"""Every example in the documentation runs and prints what it says."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import fastem

README = Path(__file__).parents[1] / "README.md"
MODULES = [
    module.name
    for module in pkgutil.iter_modules(fastem.__path__, "fastem.")
    if not module.ispkg and module.name != "fastem.__main__"
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    """The examples of one module."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", ["em", "gaussian_mixture", "discrete_mixture", "_statistics"])
def test_docstrings_have_examples(name):
    """The examples are found at all."""
    assert doctest.testmod(importlib.import_module(f"fastem.{name}")).attempted > 0


@pytest.mark.skipif(not README.exists(), reason="the README is not beside the tests")
def test_readme():
    """The README's examples."""
    results = doctest.testfile(str(README), module_relative=False)
    assert results.attempted > 5
    assert results.failed == 0
