"""The kernels: each header includes what it uses, and each source is translated."""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
# The others are templates, which come after vec.h.
HEADERS = [
    path
    for path in sorted(SOURCE.rglob("*.h"))
    if re.search(r"#ifndef FASTEM_\w+_H\n", path.read_text())
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_header_includes_what_it_uses(header, tmp_path):
    """A function without a declaration is an error in clang 16 and GCC 14."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    source = tmp_path / "alone.c"
    source.write_text(f'#include "{header}"\n')
    command = [
        compiler,
        "-fsyntax-only",
        "-fopenmp",
        "-std=c11",
        "-Werror=implicit-function-declaration",
        # As the extensions are built: Python.h includes less for the stable ABI.
        "-DPy_LIMITED_API=0x030B0000",
        f"-I{sysconfig.get_path('include')}",
        f"-I{SOURCE / 'fastem' / '_kernels'}",
        str(source),
    ]
    try:
        process = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"no compiler {compiler}")
    if "unrecognized" in process.stderr or "unsupported option" in process.stderr:
        pytest.skip(f"{compiler} has no OpenMP")
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("kernel", sorted(SOURCE.rglob("*.pyx")), ids=lambda path: path.stem)
def test_kernel_is_translated_from_nothing(kernel, tmp_path):
    """A build after an earlier one passes over sources whose declarations alone have changed."""
    pytest.importorskip("Cython")
    command = [
        sys.executable, "-m", "cython", "-3", "-I", str(SOURCE), "-o", str(tmp_path / "kernel.c"),
        "--module-name", f"fastem._kernels.{kernel.stem}", str(kernel),
    ]  # fmt: skip
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
