"""The command line: what it prints, and what it writes."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris

import fastem
from fastem import GaussianMixture, KMeans, select
from fastem.__main__ import main
from fastem._cli import demo, docstrings, fitting
from fastem._cli.outputs import to_json
from fastem._cli.screen import bar, figure, seconds, sparkline, with_spread, wrapped

X = load_iris().data
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
ROWS = [",".join(map(str, row)) for row in X.tolist()]

#: Runs the command with SIGINT as a terminal has it, also where the tests run in the background.
INTERRUPTIBLE = """
import signal, sys
from fastem.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


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


# ---- the dispatcher -----------------------------------------------------------------------------


def test_version():
    version = run("--version")
    assert (version.returncode, version.stderr) == (0, b"")
    assert version.stdout.decode().strip() == f"fastem {fastem.__version__}"


@pytest.mark.parametrize(
    "args", [["--help"], *([name, "--help"] for name in ("cluster", "topics", "demo", "run"))]
)
def test_help_is_plain_text_that_names_the_commands(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert text.isascii()
    assert "cluster" in text if args[0] == "--help" else f"python -m fastem {args[0]}" in text


@pytest.mark.parametrize(
    "args",
    [
        ["no-such-command"],
        ["cluster"],
        ["cluster", "x.csv", "--no-such-option"],
        ["cluster", "x.csv", "-k", "0"],
        ["cluster", "x.csv", "-k", "9-2"],
        ["cluster", "x.csv", "-k", "1-999999999999"],
        ["cluster", "x.csv", "-k", "many"],
        ["cluster", "x.csv", "--tol", "nan"],
        ["cluster", "x.csv", "--max-iter", "0"],
        ["cluster", "x.csv", "--covariance-type", "round"],
        ["cluster", "x.csv", "--n-jobs", "0"],
        ["cluster", "x.csv", "--encoding", "klingon"],
        ["demo", "--seed", "-1"],
    ],
)
def test_wrong_usage_is_one_line(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert re.fullmatch(r"fastem: error: .+ \(try 'python -m fastem.* --help'\)\n", err)


ENDLESS = ["--tol", "0", "--max-iter", "1000000"]


def interrupted(*arguments, times=1):
    """Run a command, interrupt it once it has said what it read; return status, out, err."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        first = process.stdout.readline() + process.stdout.readline()  # the fit begins
        time.sleep(0.5)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            said = process.stderr.readline()
        out, err = process.stdout.read(), process.stderr.read()
    return process.returncode, first + out, said + err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize("k", ["20", "5,6"])
def test_ctrl_c_writes_the_last_whole_iteration(k, folder):
    np.save("big.npy", np.random.default_rng(0).normal(size=(5_000, 4)))
    status, out, err = interrupted("cluster", "big.npy", "-k", k, *ENDLESS)
    assert (status, err) == (130, "fastem: ending with this iteration; Ctrl-C again gives up\n")
    assert "interrupted: this is what" in out
    content = json.loads((folder / "big.mixture.json").read_text())
    assert content["converged"] is False
    assert content["n_iter"] == len(content["lower_bounds"]) >= 1
    assert len((folder / "big.labels.csv").read_text().splitlines()) == 5001


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_in_topics_writes_them(folder):
    random = np.random.default_rng(0)
    sp.save_npz("docs.npz", sp.csr_array(random.poisson(0.2, (2000, 300))))
    status, out, _ = interrupted("topics", "docs.npz", "-k", "9,10", *ENDLESS)
    assert status == 130
    assert "interrupted" in out
    assert len(json.loads((folder / "docs.topics.json").read_text())["topics"]) == 9


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_twice_writes_nothing(folder):
    np.save("big.npy", np.random.default_rng(0).normal(size=(1_000_000, 4)))
    status, _, err = interrupted("cluster", "big.npy", "-k", "60", *ENDLESS, times=2)
    assert (status, err) == (130, "fastem: interrupted, nothing written\n")
    assert [path.name for path in folder.iterdir()] == ["big.npy"]


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_reader_that_goes_away(iris):
    process = subprocess.Popen(
        [sys.executable, "-m", "fastem", "cluster", iris],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), err) == (141, b"")


# ---- the demo -----------------------------------------------------------------------------------


def test_without_a_command_it_finds_digits_and_topics(monkeypatch, capsys):
    monkeypatch.setattr(demo, "COMPONENTS", (8, 10))
    monkeypatch.setattr(demo, "N_INIT", 2)
    monkeypatch.setattr(demo, "N_TOPICS", 5)
    monkeypatch.setattr(fitting, "BUDGET", 0.0)
    monkeypatch.setattr(docstrings, "MAX_BYTES", 500_000)
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # no progress bar in a file
    assert max(map(len, out.splitlines())) <= 80
    held = re.findall(r"^ +[A-J] +[\d.]+% +(\d+)  (\d+ × \d.*)$", out, re.MULTILINE)
    assert sum(int(size) for size, _ in held) == 1797
    assert float(re.search(r"agreement .*: (0\.\d\d) ", out)[1]) > 0.5
    assert len(re.findall(r"^ +(?:8|10)  [\d,]+  ", out, re.MULTILINE)) == 2
    assert out.count("◀ lowest") == 1
    assert re.search(r"scikit-learn \S+ +[\d.]+ m?s .* [\d.]+ × as long", out)
    assert re.search(r"bounds that they reach agree (exactly|to \de-1\d)", out)
    assert out.index("The components") < out.index("Topics of images") < out.index("Docstrings of")
    assert out.index("Docstrings of") < out.index("The topics")
    shares = [int(share) for share in re.findall(r"(\d+)%: \d, \d", out)]
    assert len(shares) == 10
    assert 95 <= sum(shares) <= 105
    assert (
        len(re.findall(r"^ +\d  +\d+\.\d%  \w+ 0\.\d+, \w+ 0", out, re.MULTILINE)) == 10
    )  # topics


@pytest.mark.parametrize(
    "model", [GaussianMixture(3, covariance_type="diag", random_state=1), KMeans(3, random_state=1)]
)
def test_a_comparison_is_of_equal_work(model, monkeypatch):
    monkeypatch.setattr(fitting, "BUDGET", 0.0)
    work, times, (ours, theirs) = fitting.timed(X, model.fit(X))
    assert "150 × 4, K = 3" in work
    assert_allclose(ours, theirs, rtol=1e-10)
    assert next(iter(times)) == "fastem"
    assert min(times.values()) > 0


# ---- cluster: what it writes --------------------------------------------------------------------


def test_cluster_writes_what_the_estimator_finds(iris, folder, capsys):
    assert main(["cluster", iris, "-k", "3", "--seed", "4", "--n-init", "2"]) == 0
    expected = GaussianMixture(3, random_state=4, n_init=2).fit(X)

    lines = (folder / "iris.labels.csv").read_text().splitlines()
    written = np.loadtxt(lines[1:], delimiter=",")
    assert lines[0] == "row,label,probability"
    assert_array_equal(written[:, 0], np.arange(1, 151))
    assert_array_equal(written[:, 1], expected.predict(X))
    assert_allclose(written[:, 2], expected.predict_proba(X).max(axis=1), rtol=1e-5)

    content = json.loads((folder / "iris.mixture.json").read_text())
    for name in ("weights", "means", "covariances", "lower_bounds"):
        assert_array_equal(content[name], getattr(expected, f"{name}_"))
    assert content["columns"] == NAMES
    assert content["n_samples"] == 150
    assert content["n_iter"] == expected.n_iter_
    assert content["converged"] is True
    assert content["bic"] == expected.bic(X)
    assert content["settings"]["random_state"] == 4

    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    assert f"converged after {expected.n_iter_} iterations" in out
    assert f"{expected.lower_bound_:.6f}"[:-1] in out
    for k, size in enumerate(np.bincount(expected.predict(X))):
        assert re.search(rf"^ +{k} +{expected.weights_[k]:.1%} +{size} ", out, re.MULTILINE)
        spread = np.sqrt(expected.covariances_[k, 0, 0])
        assert f"{expected.means_[k, 0]:.2f} ± {spread:.2f}" in out


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_covariance_types(iris, covariance_type, folder):
    assert main(["cluster", iris, "-k", "2", "--covariance-type", covariance_type]) == 0
    expected = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    content = json.loads((folder / "iris.mixture.json").read_text())
    assert_array_equal(content["covariances"], expected.covariances_)


def test_several_numbers_of_components_are_compared_by_bic(iris, folder, capsys):
    assert main(["cluster", iris, "-k", "4,2-3,6", "-o", "made/here"]) == 0
    with pytest.warns(UserWarning, match="smallest"):
        selection = select.mixture(
            X, (2, 3, 4, 6), "full", estimator=GaussianMixture(random_state=0)
        )
    content = json.loads((folder / "made/here/iris.mixture.json").read_text())
    assert [row["n_components"] for row in content["candidates"]] == [2, 3, 4, 6]
    assert_allclose(
        [row["bic"] for row in content["candidates"]], [row["bic"] for row in selection.table]
    )
    assert len(content["weights"]) == selection.best_params_["n_components"] == 2
    assert content["bic"] == pytest.approx(selection.best_score_)
    out = capsys.readouterr().out
    assert re.search(r"2 +574.02 +◀ lowest", out)
    assert "The best is at the edge of what was tried: try fewer." in out


def test_compare_and_not_converged(iris, capsys, monkeypatch):
    monkeypatch.setattr(fitting, "BUDGET", 0.0)
    assert main(["cluster", iris, "-k", "3", "--max-iter", "2", "--compare"]) == 0
    out = capsys.readouterr().out
    assert "NOT converged after 2 iterations" in out
    assert "20 iterations, 150 × 4, K = 3; " in out
    assert "the bounds that they reach agree" in out


def test_cluster_by_kmeans(iris, folder, capsys):
    options = ["-k", "3", "--model", "kmeans", "--tol", "1e-4", "--compare", "--n-init", "2"]
    assert main(["cluster", iris, *options]) in (None, 0)
    out, _ = capsys.readouterr()
    expected = KMeans(3, n_init=2, max_iter=100, random_state=0).fit(X)
    saved = json.loads((folder / "iris.kmeans.json").read_text())
    assert_array_equal(saved["cluster_centers"], expected.cluster_centers_)
    assert saved["inertia"] == expected.inertia_
    assert saved["sizes"] == np.bincount(expected.labels_).tolist()
    assert len(saved["lower_bounds"]) == saved["n_iter"] == expected.n_iter_
    assert np.all(np.diff(saved["lower_bounds"]) >= 0)
    lines = (folder / "iris.labels.csv").read_text().splitlines()
    assert lines[0] == "row,label,distance"
    rows = np.array([line.split(",") for line in lines[1:]], dtype=float)
    assert_array_equal(rows[:, 1], expected.labels_)
    assert_allclose(rows[:, 2], expected.transform(X).min(axis=1), rtol=1e-5)
    for text in ("The inertia", "The clusters", "share", "scikit-learn", "agree"):
        assert text in out
    for count in saved["sizes"]:
        assert re.search(rf"%\s+{count}\s", out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--criterion", "bic"], "kmeans's: silhouette, gap"),
        (["--covariance-type", "all"], "no covariances"),
        (["--covariance-type", "diag"], "no covariances"),
        (["-k", "151"], "too few for 151 clusters"),
    ],
)
def test_kmeans_refuses_what_means_nothing_to_it(options, message, iris, folder, capsys):
    assert main(["cluster", iris, "--model", "kmeans", *options]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["iris.csv"]


def test_one_component_of_one_column(folder):
    np.save("x.npy", X[:, 0])
    assert main(["cluster", "x.npy", "-k", "1"]) == 0
    content = json.loads((folder / "x.mixture.json").read_text())
    assert_allclose(content["means"], [[X[:, 0].mean()]])
    assert set((folder / "x.labels.csv").read_text().split()[1:]) == {
        f"{i},0,1" for i in range(1, 151)
    }


def test_float32_stays_float32(folder):
    np.save("x.npy", X.astype(np.float32))
    assert main(["cluster", "x.npy", "-k", "2"]) == 0
    expected = GaussianMixture(2, random_state=0).fit(X.astype(np.float32))
    content = json.loads((folder / "x.mixture.json").read_text())
    assert_array_equal(np.float32(content["means"]), expected.means_)


def test_existing_files_are_kept_unless_forced(iris, folder, capsys):
    (folder / "iris.labels.csv").write_text("mine")
    assert main(["cluster", iris]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastem: error: iris.labels.csv: exists already; add --force")
    assert (folder / "iris.labels.csv").read_text() == "mine"
    assert main(["cluster", iris, "-k", "2", "--force"]) == 0
    assert (folder / "iris.labels.csv").read_text().startswith("row,label,probability\n")


def test_files_appear_whole_or_not_at_all(iris, folder, monkeypatch, capsys):
    def broken(content):
        yield "{"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastem._cli.outputs.to_json", broken)
    assert main(["cluster", iris, "-k", "2"]) == 2
    assert capsys.readouterr().err == (
        "fastem: error: iris.mixture.json: No space left on device\n"
    )
    assert [path.name for path in folder.iterdir()] == [iris]


def test_json_keeps_every_bit():
    numbers = np.random.default_rng(0).normal(size=(3, 2, 2)) * 10.0 ** np.arange(-2, 10).reshape(
        3, 2, 2
    )
    text = "".join(to_json({"numbers": numbers, "empty": [], "word": "é"}))
    content = json.loads(text)
    assert_array_equal(content["numbers"], numbers)
    assert (content["empty"], content["word"]) == ([], "é")


# ---- the screen ---------------------------------------------------------------------------------


def test_ascii_where_the_stream_is_ascii(monkeypatch, iris):
    buffer = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", buffer)
    assert main(["cluster", iris, "-k", "2,3"]) == 0
    text = buffer.buffer.getvalue().decode("ascii")
    assert "150 rows x 4 columns" in text
    assert "< lowest" in text
    assert "?" not in text.replace("How many?", "")


def test_progress_and_colour_on_a_terminal(iris):
    termios = pytest.importorskip("termios")
    terminal, inside = os.openpty()
    termios.tcsetwinsize(inside, (24, 80))
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "fastem", "cluster", iris, "-k", "2-4", "--n-init", "3"],
        stdout=inside,
        stderr=inside,
        env=environment,
    )
    os.close(inside)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # Linux's way to say that the other end was closed
        pass
    os.close(terminal)
    assert process.wait(60) == 0
    assert b"iteration" in shown
    assert b"\x1b[1mWritten\x1b[0m" in shown


def test_no_colour_when_told(iris, monkeypatch):
    terminal, inside = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fastem", "cluster", iris, "-k", "2"],
        stdout=inside,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(inside)
    shown = b""
    with process, contextlib.suppress(OSError):  # Linux's way to say that the end was closed
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert b"Written" in shown
    assert b"\x1b[32m" not in shown


def test_drawing():
    assert [bar(f, 4) for f in (0, 1e-9, 0.5, 1, 2, np.nan)] == ["", "▏", "██", "████", "████", ""]
    assert sparkline([0, 1, 2, 7], 10) == "▁▂▃█"
    assert sparkline([3.0], 10) == "▁"
    assert len(sparkline(list(range(1000)), 72)) == 72
    assert [seconds(t) for t in (2e-5, 0.0123, 1.5, 300)] == ["20 µs", "12.3 ms", "1.5 s", "300 s"]


def test_numbers_are_as_people_write_them():
    numbers = [12345.678, 0.5, 3, -2.34567, 1e12, 1e-7, np.nan, 0]
    expected = ["12,346", "0.5", "3", "-2.346", "1.000e+12", "1.000e-07", "-", "0"]
    assert [figure(number) for number in numbers] == expected
    assert with_spread(1234.5678, 0.34) == "1,234.57 ± 0.34"
    assert with_spread(1234.5678, 52.1) == "1,235 ± 52"


def test_wide_letters_take_two_columns():
    items = [f"{'月' * 5} 0.{i}" for i in range(9)]
    lines = wrapped(items, 40).split("\n")
    assert all(2 * line.count("月") + len(line.replace("月", "")) <= 40 for line in lines)
    assert " ".join(lines) == ", ".join(items)
