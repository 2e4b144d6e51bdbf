"""``fastem run``: processes that a program starts are patched; nothing is imported before it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastem

FOLDER = str(Path(fastem.__file__).parent / "_children")
PROGRAM = """
import sys, multiprocessing
import numpy as np
from sklearn.cluster import KMeans
X = np.random.default_rng(0).normal(size=(60, 2))

def work(seed):
    import fastem
    model = KMeans(3, random_state=seed).fit(X)
    return fastem.is_patched(), hasattr(KMeans.fit, "__wrapped__"), model.predict(X).tolist()

def by_start(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.map(work, range(2))

def by_loky():
    import joblib
    return joblib.Parallel(2)(joblib.delayed(work)(seed) for seed in range(2))

def by_dask():
    from distributed import Client
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        return client.gather(client.map(work, range(2)))

if __name__ == "__main__":
    way = sys.argv[1]
    there = {"loky": by_loky, "dask": by_dask}.get(way, lambda: by_start(way))()
    here = [work(seed) for seed in range(2)]
    print(here == there, {result[:1] for result in there}, sys.argv[1:])
"""


def run(*args, **environment):
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        timeout=150,
        env=os.environ | environment,
    )


@pytest.fixture
def program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


WAYS = ["spawn", "loky", "dask"] + ["forkserver"] * (sys.platform not in ("win32", "darwin"))


@pytest.mark.parametrize("way", WAYS)
def test_processes_that_start_afresh_are_patched(way, program):
    if way == "dask":
        pytest.importorskip("distributed")
    result = run("-m", "fastem", "run", "program.py", way)
    assert result.stdout == f"True {{(True,)}} {[way]}\n", result.stderr


def test_tests_in_several_processes_are_patched(program):
    pytest.importorskip("xdist")
    (program / "test_it.py").write_text(
        "import fastem\ndef test(): assert fastem.is_patched()\ndef test_2(): test()\n"
    )
    args = ["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "test_it.py"]
    assert run("-m", "fastem", "run", *args).returncode == 0
    assert run(*args).returncode == 1


def test_children_are_left_by_request(program):
    command = ["run", "--no-children", "program.py", "spawn"]
    assert run("-m", "fastem", *command).stdout.endswith("{(False,)} ['spawn']\n")


def test_an_interpreter_that_ignores_the_environment_is_told(program):
    folders = [path for path in sys.path if path]
    code = (
        f"import sys; sys.path[:0] = {folders!r}; sys.argv[1:] = ['run', 'empty.py'];"
        "from fastem.__main__ import main; main()"
    )
    (program / "empty.py").touch()
    result = run("-I", "-c", code)
    assert result.returncode == 0
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("fastem: processes that this program starts afresh run")


def test_another_interpreter_without_fastem_is_told(program):
    """As one has it whose packages are others, with scikit-learn and without."""
    (program / "sklearn.py").touch()
    plain = run("-s", "-c", "import sitecustomize", PYTHONPATH=FOLDER)
    assert (plain.returncode, plain.stderr) == (0, "")
    block = "import sys; sys.modules['fastem'] = None\n"
    (program / "block.py").write_text(
        block + f"import runpy; runpy.run_path({FOLDER + '/sitecustomize.py'!r})\n"
    )
    told = run("block.py", FASTEM_PATCH="1")
    assert told.returncode == 0
    assert told.stderr.count("\n") == 1
    assert "runs scikit-learn's own code: fastem is not installed there" in told.stderr


def test_the_program_s_own_sitecustomize_and_path_are_kept(program):
    (program / "sitecustomize.py").write_text("import builtins\nbuiltins.MINE = __file__\n")
    code = "import sys; print(MINE, [p for p in sys.path if '_children' in p])"
    (program / "child.py").write_text(
        f"import subprocess, sys\nprint(subprocess.check_output([sys.executable, '-c', {code!r}],"
        " text=True))"
    )
    paths = os.pathsep.join([str(program), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    result = run("-m", "fastem", "run", "child.py", PYTHONPATH=paths)
    assert result.stdout.split() == [str(program / "sitecustomize.py"), "[]"], result.stderr


def test_unpatch_leaves_the_children(program):
    (program / "leaves.py").write_text(
        "import fastem, os\nfastem.unpatch()\nprint(os.environ.get('FASTEM_PATCH'))\n"
    )
    assert run("-m", "fastem", "run", "leaves.py").stdout == "None\n"


# ---- on import ---------------------------------------------------------------------------------


def test_a_program_without_scikit_learn_does_not_load_it(program):
    (program / "plain.py").write_text(
        "import sys, fastem\n"
        "print([m for m in ('sklearn', 'numpy', 'scipy') if m in sys.modules], fastem.is_patched())"
    )
    assert run("-m", "fastem", "run", "plain.py").stdout == "[] True\n"


@pytest.mark.parametrize(
    "lines",
    [
        "from sklearn.cluster import KMeans",
        "import sklearn.cluster; KMeans = sklearn.cluster.KMeans",
        "import sklearn.cluster._kmeans as m; KMeans = m.KMeans",
        "from sklearn.cluster._kmeans import KMeans",
        "import importlib; KMeans = importlib.import_module('sklearn.cluster').KMeans",
        "import pickle; KMeans = pickle.loads(b'csklearn.cluster._kmeans\\nKMeans\\n.')",
        "import sklearn.mixture; from sklearn.cluster import KMeans",
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_every_way_to_a_class_leads_to_ours(lines, before, run_python):
    order = [lines, "import fastem; fastem.patch()"]
    code = "\n".join(order if before else order[::-1])
    code += """
import sys, fastem, sklearn.cluster, inspect
assert isinstance(KMeans(), fastem.KMeans)
spec = sklearn.cluster.__spec__
print(type(spec.loader).__name__, sklearn.cluster.__loader__ is spec.loader)
fastem.unpatch()
assert not isinstance(KMeans(), fastem.KMeans)
assert not [f for f in sys.meta_path if type(f).__module__.startswith("fastem")]
"""
    assert run_python(code) == "SourceFileLoader True"
