"""What type checkers see of the package, as somebody who installs it."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

import fastem

ESTIMATORS = [
    value
    for value in (getattr(fastem, name) for name in fastem.__all__)
    if isinstance(value, type) and issubclass(value, BaseEstimator)
]
HOME = Path(fastem.__file__).parent.parent


def documented(cls, section):
    """Return the names that a section of the class's docstring has."""
    doc = inspect.getdoc(cls)
    match = re.search(rf"^{section}\n-+\n(.*?)(?=^\S[^\n]*\n-{{3,}}$|\Z)", doc, re.S | re.M)
    names = re.findall(r"^(\w[\w, ]*) :", match[1], re.M)
    return {name for some in names for name in some.split(", ")}


def run_mypy(script, tmp_path):
    """Check a script as a user does, who sees no errors within fastem; return what mypy says."""
    pytest.importorskip("mypy")
    (tmp_path / "mypy.ini").write_text("[mypy]\n")
    environment = dict(os.environ)
    if HOME.name == "src":  # not installed; mypy looks at no PYTHONPATH
        environment["MYPYPATH"] = str(HOME)
    command = [
        sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent",
        "--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache"), script,
    ]  # fmt: skip
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert not run.stderr, run.stderr
    return run.stdout


def test_a_users_script_passes_strict_checks(tmp_path):
    script = Path(__file__).with_name("typed_user.py")
    assert "ignore" not in script.read_text().split('"""', 2)[2]
    assert run_mypy(str(script), tmp_path).startswith("Success")


def test_wrong_uses_are_found(tmp_path):
    script = tmp_path / "wrong.py"
    script.write_text(
        "from fastem import GaussianMixture, KMeens, em\n"
        "mixture = GaussianMixture('two')\n"
        "labels: list[int] = mixture.means_\n"
        "class Half:\n"
        "    def e_step(self, params: float, block: float) -> em.Statistics:\n"
        "        return em.Statistics(bound=0.0, weight=1.0)\n"
        "model: em.Model = Half()\n"
        "em.fit(model, [1.0], 0.0, schedule='all')\n"
    )
    said = run_mypy(str(script), tmp_path)
    assert [int(line) for line in re.findall(r"wrong\.py:(\d+): error", said)] == [1, 2, 3, 7, 8]


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_what_is_documented_is_declared(cls):
    """Parameters and attributes of the docstring have types, in the class or one of its bases."""
    declared = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("fastem."):
            continue
        declared |= inspect.get_annotations(base).keys()
        declared |= {n for n, value in vars(base).items() if isinstance(value, property)}
        source = inspect.getsource(base)
        declared |= set(re.findall(r"^        self\.(\w+) = \1$", source, re.M))
    expected = documented(cls, "Parameters") | documented(cls, "Attributes")
    assert sorted(expected - declared) == []


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_declarations_set_nothing(cls):
    estimator = cls()
    assert {name for name in vars(estimator) if name[0] != "_"} <= documented(cls, "Parameters")
    for name in documented(cls, "Attributes"):
        if not isinstance(getattr(cls, name, None), property):
            assert not hasattr(estimator, name)


def public_callables():
    for name in fastem.__all__:
        if not isinstance(value := getattr(fastem, name), str):
            yield from members_of(value, f"fastem.{name}")
    for module in (fastem.em, fastem.plot):
        for name in module.__all__:
            yield from members_of(getattr(module, name), f"{module.__name__}.{name}")


def members_of(value, path):
    """Yield a function, or the public functions of a class that fastem defines."""
    if inspect.isfunction(value):
        yield pytest.param(value, id=path)
    elif isinstance(value, type):
        for base in value.__mro__:
            for name, member in vars(base).items() if "fastem" in base.__module__ else ():
                member = getattr(member, "__func__", getattr(member, "fget", member))
                own = inspect.isfunction(member) and "fastem" in member.__module__
                if own and (name == "__init__" or name[0] != "_"):
                    yield pytest.param(member, id=f"{path}.{name}")


@pytest.mark.parametrize("function", list(public_callables()))
def test_public_signatures_are_annotated(function):
    signature = inspect.signature(function)
    bare = [
        name
        for at, (name, parameter) in enumerate(signature.parameters.items())
        if parameter.annotation is parameter.empty and not (at == 0 and name in ("self", "cls"))
    ]
    assert bare == []
    assert signature.return_annotation is not signature.empty
