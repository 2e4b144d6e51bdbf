"""The tables of names of other libraries: fastem has what they say that it has."""

import inspect
import re
from pathlib import Path

import pytest

import fastem
from fastem import plot, select

PAGE = Path(__file__).parents[1] / "docs" / "coming_from.md"
LIBRARIES = ("scikit-learn", "hmmlearn", "gensim", "mclust (R)", "tomotopy", "statsmodels")

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the pages are not beside the tests")


def rows():
    """Return (library, left cell, right cell) of all rows of all tables."""
    found = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        library, _, text = section.partition("\n")
        for line in re.findall(r"^\| .+ \|$", text, re.MULTILINE)[2:]:
            left, right = line[2:-2].split(" | ")
            found.append((library, left, right))
    return found


def names(cell):
    """Return the names of fastem's in a cell; values of parameters are strings in quotes."""
    return [span for span in re.findall(r"`([^`]+)`", cell) if not span.startswith('"')]


def resolve(name):
    """Raise AttributeError or KeyError where fastem has no such class, method or parameter."""
    path, parameter = re.fullmatch(r"([\w.]+)(?:\((\w+)\))?", name).groups()
    thing = {"select": select, "plot": plot}.get(path.partition(".")[0], fastem)
    parts = path.split(".")[thing is not fastem :]
    for part in parts:
        owner = thing
        if inspect.isclass(owner) and part.endswith("_"):  # what a fit leaves, by the docstring
            if not re.search(rf"^ *{part} : ", inspect.getdoc(owner) or "", re.MULTILINE):
                raise AttributeError(name)
            return
        thing = getattr(owner, part)
    if parameter is not None:
        inspect.signature(thing).parameters[parameter]


NAMES = sorted({name for _, _, cell in rows() for name in names(cell)}) if PAGE.exists() else []


def test_libraries():
    """Each has a table."""
    assert tuple(dict.fromkeys(library for library, _, _ in rows())) == LIBRARIES


def test_rows():
    """Each row says a name of the other library, and one of fastem's or a dash."""
    for library, left, right in rows():
        assert left, library
        assert names(right) or right == "–", (library, left)


@pytest.mark.parametrize("name", NAMES)
def test_name(name):
    """Fastem has it."""
    resolve(name)


@pytest.mark.parametrize(
    "name",
    ["KMean", "KMeans.fitted", "KMeans.centers_", "KMeans(k)", "select.mixture(G)", "plot.x"],
)
def test_wrong_names_are_found(name):
    """What fastem does not have is noticed."""
    with pytest.raises((AttributeError, KeyError)):
        resolve(name)


@pytest.mark.parametrize("value", ["full", "tied", "diag", "spherical"])
def test_covariance_types(value):
    """The values that stand for mclust's shapes are accepted."""
    fastem.GaussianMixture(covariance_type=value).fit([[0.0], [1.0]])
