"""The tables that the command line reads, and what it says of files it cannot use."""

import gzip
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris

from fastem.__main__ import main
from fastem._cli import reading, sources
from fastem._cli.reading import Wanted, read_table

X = load_iris().data
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
ROWS = [",".join(map(str, row)) for row in X.tolist()]


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def iris(folder):
    """The name of a CSV file with a header."""
    (folder / "iris.csv").write_text("\n".join([",".join(NAMES), *ROWS]) + "\n")
    return "iris.csv"


def run(*args, **kwargs):
    """Run ``python -m fastem`` and return the completed process."""
    return subprocess.run(
        [sys.executable, "-m", "fastem", *args], capture_output=True, timeout=60, **kwargs
    )


# ---- cluster: what it reads ---------------------------------------------------------------------


def saved_by_numpy():
    """Text as numpy.savetxt writes it."""
    buffer = io.StringIO()
    np.savetxt(buffer, X, header=" ".join(NAMES), fmt="%.17g")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("header.csv", "\n".join([",".join(NAMES), *ROWS]), True),
        ("none.csv", "\n".join(ROWS) + "\n\n", False),
        ("windows.csv", "\ufeff" + "\r\n".join([",".join(NAMES), *ROWS]) + "\r\n", True),
        ("blank.csv", "\n" + "\n\n".join([",".join(NAMES), *ROWS]), True),
        ("quoted.csv", "\n".join([",".join(f'"{n}"' for n in NAMES), *ROWS]), True),
        ("quotes.csv", "\n".join('"' + row.replace(",", '","') + '"' for row in ROWS), False),
        ("spaces.csv", "\n".join(row.replace(",", ", ") for row in ROWS), False),
        ("blanks.txt", "\n".join(row.replace(",", "   ") for row in ROWS), False),
        ("semicolon.csv", "\n".join([";".join(NAMES), *ROWS]).replace(",", ";"), True),
        ("tab.tsv", "\n".join([",".join(NAMES), *ROWS]).replace(",", "\t"), True),
        ("numpy.txt", saved_by_numpy(), True),
        (
            "labelled.csv",
            "\n".join(["," + ",".join(NAMES)] + [f"row {i},{r}" for i, r in enumerate(ROWS)]),
            True,
        ),
    ],
)
@pytest.mark.parametrize("rows", [7, 20_000], ids=["in pieces", "whole"])
@pytest.mark.parametrize("with_arrow", [True, False], ids=["pyarrow", "csv"])
def test_text_files(folder, name, text, named, with_arrow, rows, monkeypatch):
    monkeypatch.setattr(sources, "_ROWS", rows)
    (folder / name).write_bytes(text.encode())
    if not with_arrow:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = read_table(name)
    assert table.names == (NAMES if named else ["x1", "x2", "x3", "x4"])
    assert_array_equal(table.X, X)
    assert any("names the rows" in note for note in table.notes) == (name == "labelled.csv")
    assert table.labels == ([f"row {i}" for i in range(150)] if name == "labelled.csv" else None)

    (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    assert_array_equal(read_table(f"{name}.gz").X, X)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1\n2\n3", ["x1"]),
        ("size\n2\n3", ["size"]),
        ("year,2019,2020\n1,40,50\n2,41,51", ["year", "2019", "2020"]),
        ("a,b\n1,2", ["a", "b"]),
        ("a,,c\n1,2,3\n4,5,6", ["a", "x2", "c"]),
    ],
)
def test_headers(folder, text, names):
    (folder / "x.csv").write_text(text)
    assert read_table("x.csv").names == names


def test_columns_by_name_and_number(folder):
    lines = [",".join([*NAMES, "species"])] + [f'{row},"Iris, blue"' for row in ROWS]
    (folder / "x.csv").write_text("\n".join(lines))
    table = read_table("x.csv", Wanted(["petal_width", "1"]))
    assert table.names == ["petal_width", "sepal_length"]
    assert_array_equal(table.X, X[:, [3, 0]])
    np.save("x.npy", X)
    assert_array_equal(read_table("x.npy", Wanted(["x2", "1"])).X, X[:, [1, 0]])
    assert_array_equal(read_table("x.csv", Wanted(["2-4"], ["petal_length"])).X, X[:, [1, 3]])


@pytest.mark.parametrize(
    "array", [X, X.astype(">f8"), np.asfortranarray(X), X[:, 0], (10 * X).astype(int), X > 3]
)
@pytest.mark.parametrize("large", [0, 1 << 26], ids=["mapped", "in memory"])
def test_numpy_files(folder, array, large, monkeypatch):
    monkeypatch.setattr(reading, "LARGE", large)
    monkeypatch.setattr(sources, "_ROWS", 40)
    np.save("x.npy", array)
    table = read_table("x.npy")
    assert isinstance(table.X, np.memmap) == (large == 0)
    assert_array_equal(table.X, array.reshape(len(array), -1))
    assert table.X.dtype == np.float64
    assert table.X.flags.c_contiguous


def test_parquet(folder):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=NAMES, index=[f"row {i}" for i in range(150)])
    frame["species"] = "setosa"
    frame.to_parquet("x.parquet")
    table = read_table("x.parquet", Wanted(NAMES[::-1]))
    assert table.names == NAMES[::-1]
    assert_array_equal(table.X, X[:, ::-1])
    assert table.labels == list(frame.index)
    with pytest.raises(Exception, match=r"column 5 \(species\): 'setosa' is not a number"):
        read_table("x.parquet")


def test_parquet_without_a_reader(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (folder / "x.parquet").write_bytes(b"PAR1")
    assert main(["cluster", "x.parquet"]) == 2
    assert capsys.readouterr().err == (
        "fastem: error: x.parquet: reading .parquet needs pyarrow; run: pip install "
        "'fastem[parquet]'\n"
    )


def npy(array):
    """Return the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


BAD_FILES = {
    "missing": ("nope.csv", None, "", "nope.csv: no such file"),
    "type": ("x.docx", b"PK", "", "x.docx: unknown file type; can read .csv, .tsv"),
    "empty": ("x.csv", b"", "", "x.csv: the file is empty"),
    "blank": ("x.csv", b"\n \n", "", "x.csv: holds nothing but blank lines"),
    "header only": ("x.csv", b"a,b\n", "", "x.csv: has a header but no data"),
    "one row": ("x.csv", b"1,2\n", "", "x.csv: has 1 row and 2 columns"),
    "word": (
        "x.csv",
        b"a,b,kind\n1,2,up\n3,4,down\n",
        "",
        r"x.csv, line 2, column 3 \(kind\): 'up' is not a number; .*--columns a,b$",
    ),
    "word, no header": (
        "x.csv",
        b"1,2,up\n3,4,down\n",
        "",
        r"x.csv, line 1, column 3: 'up' is not a number; .*--columns 1,2$",
    ),
    "typing error": ("x.csv", b"a,b\n1,2\n\n3,4o\n", "", r"line 4, column 2 \(b\): '4o' is not a"),
    "decimal comma": ("x.csv", b"a;b\n1,5;2\n3;4\n", "", "'1,5' .* or give --decimal ,"),
    "gap": (
        "x.csv",
        b"a,b\n1,2\n3,\n",
        "--model bayesian",
        r"line 3, column 2 \(b\): is missing; .*--drop-missing",
    ),
    "gap in the first row": (
        "x.csv",
        b"1,NA\n3,4\n",
        "--model bayesian",
        "line 1, column 2: is missing",
    ),
    "nan": ("x.csv", b"1,2\n3,nan\n", "--model bayesian", "line 2, column 2: is missing"),
    "nothing": ("x.csv", b"a,b\n1,\n2,\n", "-k 1", "x.csv, column b: has no value at all"),
    "not excel": ("x.xlsx", b"PK", "", "x.xlsx: not a workbook"),
    "long cell": ("x.csv", b"a\n" + b"1" * 200_000 + b"\n", "", "line 1: cannot be read as CSV"),
    "inf": ("x.csv", b"1,2\n-inf,3\n", "", "line 2, column 1: '-inf' is not finite"),
    "overflow": ("x.csv", b"1,2\n1e999,3\n", "", "line 2, column 1: '1e999' is not finite"),
    "short line": ("x.csv", b"1,2\n3,4\n5\n", "", "line 3: has 1 column where the first .* has 2"),
    "long line": (
        "x.csv",
        b"a,b\n1,2,3\n",
        "",
        "x.csv, line 2: has 3 columns where the first line has 2",
    ),
    "long line, chosen": ("x.csv", b"1,2\n3,4\n5,6,7\n", "--columns 1", "line 3: has 3 columns"),
    "binary": ("x.csv", b"\x89PNG\xff\xfe\n", "", "x.csv: is not UTF-8 text .byte 0x89."),
    "latin-1": ("x.csv", b"a,b\n1,2\n3,\xe9\n", "", "x.csv: is not UTF-8 text .byte 0xe9."),
    "not gzip": ("x.csv.gz", b"1,2\n3,4\n", "", "x.csv.gz: cannot be read"),
    "cut gzip": ("x.csv.gz", gzip.compress(b"1,2\n" * 9)[:-9], "", "x.csv.gz: cannot be read"),
    "unknown column": ("x.csv", b"a,b\n1,2\n", "--columns a,c", "has no column 'c'; it has a, b"),
    "column twice": ("x.csv", b"a,b\n1,2\n", "--columns a,1", "--columns names a column twice"),
    "ambiguous": ("x.csv", b"a,a\n1,2\n", "--columns a", "'a' names several columns"),
    "too few rows": ("x.csv", b"1\n2\n3\n", "-k 4", "x.csv: has 3 rows, too few for 4 .* -k 3 or"),
    "huge": (
        "x.csv",
        b"1e300\n-1e300\n3\n",
        "-k 2",
        "x.csv, column x1: 1e.300 is too large",
    ),
    "collapse": ("x.csv", b"1\n1\n1\n1\n", "-k 2 --reg-covar 0", "x.csv: .*reg.covar"),
    "not npy": ("x.npy", b"1,2\n3,4\n", "", "x.npy: not a .npy file of numbers"),
    "cut npy": ("x.npy", npy(X)[:500], "", "x.npy: not a .npy file of numbers"),
    "pickle": ("x.npy", npy(np.array([{}])), "", "x.npy: not a .npy file of numbers"),
    "npy of words": ("x.npy", npy(np.array(["a"])), "", "x.npy: holds <U1; convert it"),
    "complex": ("x.npy", npy(X * 1j), "", "x.npy: holds complex128; convert it to real"),
    "three dimensions": ("x.npy", npy(X[:, :, None]), "", r"holds an array of shape \(150, 4, 1\)"),
    "no rows": ("x.npy", npy(X[:0]), "", "x.npy: has 0 rows and 4 columns"),
    "no columns": ("x.npy", npy(X[:, :0]), "", "x.npy: has 150 rows and 0 columns"),
    "nan in npy": (
        "x.npy",
        npy([[1, 2], [np.nan, 3]]),
        "--model bayesian",
        "row 2, column 1: is missing",
    ),
    "infinity in npy": ("x.npy", npy([[1, 2], [np.inf, 3]]), "", "row 2, column 1: 'inf' is not f"),
    "not parquet": ("x.parquet", b"1,2\n3,4\n", "", "x.parquet: "),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(case, folder, capsys):
    name, content, options, message = BAD_FILES[case]
    if name == "x.parquet":
        pytest.importorskip("pyarrow")
    if content is not None:
        (folder / name).write_bytes(content)
    before = list(folder.iterdir())
    assert main(["cluster", name, *options.split()]) == 2
    err = capsys.readouterr().err
    assert re.search(f"^fastem: error: .*{message}.*\\n$", err)
    assert err.count("\n") == 1
    assert list(folder.iterdir()) == before


def test_bad_places(iris, folder, capsys):
    assert main(["cluster", str(folder)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["cluster", iris, "-o", iris]) == 2
    assert "iris.csv: is a file; --output-dir must be a folder" in capsys.readouterr().err


def test_bad_file_in_a_process_of_its_own(folder):
    (folder / "x.csv").write_text("1,2\n3,four\n")
    process = run("cluster", "x.csv", cwd=folder)
    assert (process.returncode, process.stdout) == (2, b"")
    assert process.stderr.decode().splitlines() == [
        "fastem: error: x.csv, line 2, column 2: 'four' is not a number; correct it, delete the "
        "row, or choose the columns of numbers: --columns 1"
    ]
