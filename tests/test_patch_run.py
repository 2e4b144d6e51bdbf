"""``python -m fastem run``: programs that use scikit-learn, as Python runs them."""

import os
import signal
import subprocess
import sys
import zipfile

import pytest

from fastem._cli import split_program

SCRIPT = """
import sys, warnings, __main__
print(sys.argv, sys.path[0], __name__, __file__, __package__, __cached__)
print(__spec__ and __spec__.name, type(__loader__).__name__, __main__.__dict__ is globals())
print(sorted(name for name in globals() if name != "__annotations__"))
warnings.warn("of the program")
def fail():
    1 / 0
what = sys.argv[-1]
if what == "status": sys.exit(7)
if what == "message": sys.exit("goodbye")
if what == "error": fail()
if what == "interrupt": raise KeyboardInterrupt
if what == "hook": sys.excepthook = lambda *error: print("hook", error[0]); fail()
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Scripts, a package, a folder and a zip file in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("script.py", "package/__main__.py", "folder/__main__.py", "deep/script.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(SCRIPT)
    (tmp_path / "package/__init__.py").touch()
    (tmp_path / "syntax.py").write_text("print(\n")
    with zipfile.ZipFile("program.zip", "w") as archive:
        archive.writestr("__main__.py", SCRIPT)
    return tmp_path


def python(*args, **environment):
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    "command",
    [
        "script.py",
        "deep/script.py -h --no-such-option -m status",
        "script.py message",
        "script.py error",
        "script.py interrupt",
        "script.py hook",
        "syntax.py",
        "-m package a",
        "-m package error",
        "-mscript -m",
        "folder error",
        "program.zip a",
    ],
)
def test_run_is_like_python(programs, command):
    expected, result = python(*command.split()), python("-m", "fastem", "run", *command.split())
    assert result.stdout == expected.stdout
    assert result.returncode == expected.returncode
    if not command.startswith("syntax"):
        assert "__main__" in expected.stdout
    theirs = [line for line in expected.stderr.splitlines() if "<frozen runpy>" not in line]
    assert result.stderr.splitlines() == theirs


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nowhere.py a b", "cannot run nowhere.py: there is no such file"),
        ("deep", "there is no __main__ in 'deep'"),
        ("-m nowhere", "there is no module named nowhere"),
        ("-m package.nowhere", "there is no module named package.nowhere"),
        ("", "run needs a script or -m MODULE (try 'python -m fastem run --help')"),
        ("-m", "argument -m: expected one argument (try 'python -m fastem run --help')"),
    ],
)
def test_a_program_that_is_not_there_is_one_line(programs, command, message):
    result = python("-m", "fastem", "run", *command.split())
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"fastem: error: {message}\n"


def test_what_belongs_to_the_program():
    assert split_program(["run", "a.py", "-h"]) == (["run", "a.py"], ["-h"])
    assert split_program(["run", "-m", "a", "-m"]) == (["run", "-m", "a"], ["-m"])
    assert split_program(["run", "-ma", "run"]) == (["run", "-ma"], ["run"])
    assert split_program(["cluster", "run", "-k"]) == (["cluster", "run", "-k"], [])
    assert split_program(["run", "--no-children", "-m", "a", "b"]) == (
        ["run", "--no-children", "-m", "a"],
        ["b"],
    )
    assert split_program(["run", "a", "--no-children"]) == (["run", "a"], ["--no-children"])
    assert split_program([]) == ([], [])


def test_run_replaces_and_shows_what(programs):
    (programs / "uses.py").write_text(
        "import fastem, numpy, sys\n"
        "from sklearn.mixture import GaussianMixture\n"
        "class Mine(GaussianMixture): pass\n"
        "X = numpy.random.default_rng(0).normal(size=(50, 2))\n"
        "GaussianMixture().fit(X); GaussianMixture().fit(X); Mine().fit(X); Mine().fit(X)\n"
        "print(fastem.is_patched(), isinstance(GaussianMixture(), fastem.GaussianMixture))\n"
    )
    quiet = python("-m", "fastem", "run", "uses.py", FASTEM_VERBOSE="")
    loud = python("-m", "fastem", "run", "uses.py", FASTEM_VERBOSE="1")
    left = "sklearn's GaussianMixture runs its own code: __main__.Mine is a class of its own"
    assert quiet.stdout == loud.stdout == "True True\n"
    assert quiet.stderr.splitlines() == [left]
    lines = loud.stderr.splitlines()
    taken = [line for line in lines if " runs on fastem: " in line]
    assert any(line.startswith("fastem: sklearn's GaussianMixture runs on") for line in taken)
    assert "fastem: sklearn's GaussianMixture.fit was run by fastem" in lines
    assert lines.count(f"fastem: {left}") == 1


def test_pickles_and_worker_processes_of_a_program(programs):
    (programs / "spawns.py").write_text(
        "import multiprocessing\n"
        "from sklearn.mixture import GaussianMixture\n"
        "class Data:\n"
        "    def __init__(self, X): self.X = X\n"
        "def fit(data): return GaussianMixture(2, random_state=0).fit(data.X)\n"
        "if __name__ == '__main__':\n"
        "    X = [[0.0], [0.1], [5.0], [5.2]]\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        there = pool.map(fit, [Data(X)])[0]\n"
        "    here = fit(Data(X))\n"
        "    print(abs(there.means_ - here.means_).max() < 1e-9, type(there) is type(here))\n"
    )
    result = python("-m", "fastem", "run", "spawns.py")
    assert (result.stdout, result.stderr) == ("True True\n", "")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_a_program_as_python_does(programs):
    (programs / "waits.py").write_text(
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    results = []
    for run in ([], ["-m", "fastem", "run"]):
        process = subprocess.Popen(
            [sys.executable, *run, "waits.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process:
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            results.append((process.stderr.read(), process.wait(60)))
    for err, status in results:
        assert status == -signal.SIGINT
        assert err.count(b"File") == 1  # a frame of the program
        assert err.endswith(b"\nKeyboardInterrupt\n")
