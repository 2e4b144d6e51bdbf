"""The command line with damaged files, files that claim too much, and SIGTERM while it writes."""

import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.lib import format as npy_format

from fastem.__main__ import main
from fastem._cli.outputs import write_all


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(capsys, *arguments):
    """Run a command; return its only line after the name, of status 2."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastem: error: ")
    assert err.count("\n") == 1
    return err.removeprefix("fastem: error: ").rstrip()


# ---- matrices ----------------------------------------------------------------------------------

COUNTS = np.array([[0, 2, 0, 1], [0, 0, 0, 0], [3, 0, 0, 4], [0, 5, 6, 0]])


def archive(form, **changes):
    """Return the bytes of a saved matrix, some of its arrays replaced."""
    buffer = io.BytesIO()
    sp.save_npz(buffer, getattr(sp, f"{form}_matrix")(COUNTS))
    buffer.seek(0)
    with np.load(buffer) as arrays:
        arrays = {**arrays, **changes}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


DAMAGED = {
    "index": (archive("csr", indices=[1, 3, 0, 10**6, 1, 2]), r"indices[3] must be in [0, 4), got"),
    "negative": (archive("csr", indices=[1, 3, 0, -9, 1, 2]), "indices[3] must be in [0, 4), got"),
    "falls": (archive("csr", indptr=[0, 4, 2, 4, 6]), "indptr must not fall, got 4, 2 at 1"),
    "csc": (archive("csc", indices=[2, 0, 3, 3, 0, 99]), "indices[5] must be in [0, 4), got 99"),
    "dia": (archive("dia", data=np.zeros((0, 0)), offsets=np.zeros(0, int)), "no count above 0"),
    "dia twice": (archive("dia", offsets=[1, 1, 1, 1, 1]), ""),
    "dia flat": (archive("dia", data=np.zeros(0), offsets=np.zeros(0, int)), ""),
    "bsr": (archive("bsr", data=np.zeros((1, 0, 0))), ""),
    "coo": (archive("coo", row=[0, 0, 2, 2, 3, 10**9]), ""),
    "shape": (archive("csr", shape=[4, -4]), ""),
    "long shape": (archive("csr", shape=[4, 4, 4]), ""),
    "format": (archive("csr", format=3), ""),
    "wide": (archive("csr", shape=[4, 2**40]), "has 1,099,511,627,776 columns, more than 10,00"),
    "high": (archive("coo", shape=[2**40, 4]), "has 1,099,511,627,776 rows, more than 100,000,0"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_matrices_are_one_line(case, folder, capsys):
    content, message = DAMAGED[case]
    (folder / "m.npz").write_bytes(content)
    line = fails(capsys, "topics", "m.npz", "-k", "2")
    assert line.startswith("m.npz: ")
    assert message in line


def test_every_form_of_a_matrix_is_read(folder):
    for form in ("csr", "csc", "bsr", "coo", "dia"):
        (folder / "m.npz").write_bytes(archive(form))
        assert main(["topics", "m.npz", "-k", "2", "-f"]) == 0
        lines = (folder / "m.documents.csv").read_text().splitlines()[1:]
        assert [int(line.split(",")[1]) for line in lines] == COUNTS.sum(axis=1).tolist()


# ---- arrays ------------------------------------------------------------------------------------


def claim(shape, descr="<f8", data=b"\0" * 800):
    """Return a .npy file whose header claims a shape."""
    buffer = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + data


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10**12, 4), "x.npy: not a .npy file of numbers ("),
        ((10**30, 4), "x.npy: not a .npy file of numbers ("),
        ((-5, 4), "x.npy: not a .npy file of numbers ("),
        ((0, 10**12), "x.npy: has 0 rows and 1000000000000 columns"),
    ],
)
def test_headers_that_claim_too_much_are_one_line(shape, message, folder, capsys):
    (folder / "x.npy").write_bytes(claim(shape))
    assert fails(capsys, "cluster", "x.npy", "-k", "2").startswith(message)


def test_a_header_that_is_no_python_is_one_line(folder, capsys):
    """NumPy's parser raises errors of the tokenizer."""
    content = claim((10, 10)).replace(b"(10, 10)", b"((0, 10)")
    (folder / "x.npy").write_bytes(content)
    assert fails(capsys, "cluster", "x.npy", "-k", "2").startswith("x.npy: not a .npy file of num")
    (folder / "m.npz").write_bytes(archive("csr"))
    options = ["--model", "gaussian-lda", "--vectors", "x.npy", "-k", "2"]
    line = fails(capsys, "topics", "m.npz", *options)
    assert line.startswith("x.npy: not a .npy file of numbers")


def test_vectors_in_an_archive_are_one_line(folder, capsys):
    (folder / "m.npz").write_bytes(archive("csr"))
    np.savez("v.npz", np.eye(4))
    os.rename("v.npz", "v.npy")
    options = ["--model", "gaussian-lda", "--vectors", "v.npy", "-k", "2"]
    assert fails(capsys, "topics", "m.npz", *options).startswith("v.npy: is an .npz archive")


def test_memory_that_is_not_there_is_one_line(folder, capsys, monkeypatch):
    def load(*args, **kwargs):
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr(np, "load", load)
    (folder / "x.npy").write_bytes(claim((2, 2)))
    line = fails(capsys, "cluster", "x.npy", "-k", "2")
    assert line == "not enough memory (Unable to allocate 7 TiB)"


# ---- SIGTERM -----------------------------------------------------------------------------------

WRITES = """
import os, signal, sys
import numpy as np
from fastem._cli import outputs
from fastem.__main__ import main

def pieces(content):
    yield "one"
    os.kill(os.getpid(), signal.SIGTERM)
    yield "two"

outputs.to_json = pieces
np.save("x.npy", np.eye(9))
main(["cluster", "x.npy", "-k", "2"])
"""

RENAMES = """
import os, signal, sys
from pathlib import Path
from fastem._cli.outputs import write_all

replace = os.replace

def late(*paths):
    replace(*paths)
    os.kill(os.getpid(), signal.SIGTERM)

os.replace = late
write_all({Path("a.csv"): ["one"], Path("b.csv"): ["two"]})
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("program", "status", "left"),
    [(WRITES, -signal.SIGTERM, ["x.npy"]), (RENAMES, 0, ["a.csv", "b.csv"])],
)
def test_sigterm_leaves_all_files_or_none(program, status, left, folder):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (status, b"")
    assert sorted(path.name for path in folder.iterdir()) == left


def test_the_handler_of_sigterm_is_put_back(folder):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        handler = signal.getsignal(signal.SIGTERM)
        write_all({folder / "a.csv": ["one"]})
        assert signal.getsignal(signal.SIGTERM) is handler
        assert seen == []
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (folder / "a.csv").read_text() == "one"
