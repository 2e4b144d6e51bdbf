"""How the modules hang together: imports run downward, without circles, private names in one place.

Imports within functions count, those for type checkers alone do not.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import fastem

ROOT = Path(fastem.__file__).parent
#: As CONTRIBUTING.md has them; a module imports from its own floor and those below.
FLOORS = {
    "_kernels": 0, "_engine": 0, "_compat": 0, "_typing": 0, "_version": 0,
    "em": 1,
    "_base": 2, "_onnx": 2, "_summary": 2, "_data": 2, "components": 2,
    "mixture": 3, "cluster": 3, "topics": 3, "sequence": 3,
    "__init__": 4, "__main__": 4, "_children": 4, "_cli": 4, "_on_import": 4, "_patch": 4,
    "_patch_row": 4, "plot": 4, "select": 4,
}  # fmt: skip
APART = 3  # the floor of families of models, none of which knows another,
BEGIN_WITH = {  # but for these, whose start is the other's result
    ("mixture", "cluster"),
    ("sequence", "cluster"),
}


def modules():
    """Return the path of each module, by its name without "fastem."."""
    files = sorted(ROOT.rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return {name.removesuffix(".__init__"): file for name, file in zip(names, files, strict=True)}


MODULES = modules()


class Imports(ast.NodeVisitor):
    """All (module, name) that a file imports; name None for ``import module``."""

    def __init__(self, file):
        self.found = []
        self.visit(ast.parse(file.read_text(encoding="utf-8")))

    def visit_If(self, node):
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Import(self, node):
        self.found += [(alias.name, None) for alias in node.names]

    def visit_ImportFrom(self, node):
        assert node.level == 0, "relative import"
        self.found += [(node.module, alias.name) for alias in node.names]


def own(file):
    """Yield the names of our modules that a file imports."""
    for module, name in Imports(file).found:
        if module.partition(".")[0] != "fastem":
            continue
        full = f"{module}.{name}" if name else module
        full = full.removeprefix("fastem").removeprefix(".")
        if full in MODULES or full.startswith("_kernels."):
            yield full
        else:  # a name in a module; of the package itself, which has the public ones
            yield module.removeprefix("fastem").removeprefix(".") or "__init__"


def floor(name):
    return FLOORS[name.partition(".")[0]]


GRAPH = {name: set(own(file)) - {name} for name, file in MODULES.items()}


def test_every_module_has_a_floor():
    assert {name.partition(".")[0] for name in MODULES} == FLOORS.keys()


def test_imports_run_downward():
    wrong = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if floor(other) > floor(name)
        or (
            floor(other) == floor(name) == APART
            and name.partition(".")[0] != other.partition(".")[0]
            and (name.partition(".")[0], other.partition(".")[0]) not in BEGIN_WITH
        )
    ]
    assert not wrong


def test_imports_make_no_circle():
    order = list(TopologicalSorter(GRAPH).static_order())  # raises CycleError
    assert set(order) >= set(MODULES)


def test_private_names_of_scikit_learn_stand_in_one_file():
    wrong = [
        f"{name}: {module} {imported}"
        for name, file in MODULES.items()
        for module, imported in Imports(file).found
        if module.partition(".")[0] == "sklearn"
        and any(part.startswith("_") for part in [*module.split("."), imported or ""])
    ]
    assert wrong
    assert {line.partition(":")[0] for line in wrong} == {"_compat"}
