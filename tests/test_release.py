"""What a release says of itself in several places is the same everywhere."""

import re
from pathlib import Path

import pytest

import fastem

ROOT = Path(__file__).resolve().parent.parent


def text_of(name):
    """Return a file beside the tests' folder."""
    if not (ROOT / name).exists():
        pytest.skip(f"{name} is not beside the tests")
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_changelog_begins_with_the_version():
    newest = re.search(r"^## (\S+)", text_of("CHANGELOG.md"), flags=re.MULTILINE)
    assert newest[1] == fastem.__version__


def test_the_citation_is_of_the_version():
    cited = re.search(r"^version: (\S+)", text_of("CITATION.cff"), flags=re.MULTILINE)
    assert cited[1] == fastem.__version__
