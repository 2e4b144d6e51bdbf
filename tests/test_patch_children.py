"""``fastem run``: processes that a program starts are patched; nothing is imported before it."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import fastem

FOLDER = str(Path(fastem.__file__).parent / "_children")
#: A line for each way to start processes that is named: whether they are patched.
PROGRAM = """
import multiprocessing, sys
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
    here = [work(seed) for seed in range(2)]
    for way in sys.argv[1:]:
        there = {"loky": by_loky, "dask": by_dask}.get(way, lambda: by_start(way))()
        print(way, here == there, *{result[0] for result in there}, flush=True)
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
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


WAYS = ["spawn", "loky", "dask"] + ["forkserver"] * (sys.platform not in ("win32", "darwin"))


@pytest.fixture(scope="module")
def every_way(tmp_path_factory):
    """Run the program once for all ways: the interpreters that it starts are what takes time."""
    ways = [way for way in WAYS if way != "dask" or find_spec("distributed")]
    file = tmp_path_factory.mktemp("program") / "program.py"
    file.write_text(PROGRAM)
    return run("-m", "fastem", "run", str(file), *ways)


@pytest.mark.parametrize("way", WAYS)
def test_processes_that_start_afresh_are_patched(way, every_way):
    if way == "dask":
        pytest.importorskip("distributed")
    assert f"{way} True True" in every_way.stdout.splitlines(), every_way.stderr


def test_tests_in_several_processes_are_patched(folder):
    pytest.importorskip("xdist")
    (folder / "test_it.py").write_text(
        "import fastem, os, pytest\n"
        "def test():\n"
        "    assert 'PYTEST_XDIST_WORKER' in os.environ\n"
        "    assert fastem.is_patched()\n"
    )
    args = ["-m", "pytest", "-q", "-p", "xdist", "-n", "1", "-p", "no:cacheprovider", "test_it.py"]
    result = run("-m", "fastem", "run", *args, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert result.returncode == 0, result.stdout


def test_children_are_left_by_request(folder):
    (folder / "program.py").write_text(
        "import fastem, multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(fastem.is_patched(), pool.apply(fastem.is_patched))\n"
    )
    assert run("-m", "fastem", "run", "program.py").stdout == "True True\n"
    assert run("-m", "fastem", "run", "--no-children", "program.py").stdout == "True False\n"


def test_an_interpreter_that_ignores_the_environment_is_told(folder):
    folders = [path for path in sys.path if path]
    code = (
        f"import sys; sys.path[:0] = {folders!r}; sys.argv[1:] = ['run', 'empty.py'];"
        "from fastem.__main__ import main; main()"
    )
    (folder / "empty.py").touch()
    result = run("-I", "-c", code)
    assert result.returncode == 0
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("fastem: processes that this program starts afresh run")


def test_another_interpreter_without_fastem_is_told(folder):
    """As one has it whose packages are others, with scikit-learn and without."""
    (folder / "sklearn.py").touch()
    plain = run("-s", "-c", "import sitecustomize", PYTHONPATH=FOLDER)
    assert (plain.returncode, plain.stderr) == (0, "")
    block = "import sys; sys.modules['fastem'] = None\n"
    (folder / "block.py").write_text(
        block + f"import runpy; runpy.run_path({FOLDER + '/sitecustomize.py'!r})\n"
    )
    told = run("block.py", FASTEM_PATCH="1")
    assert told.returncode == 0
    assert told.stderr.count("\n") == 1
    assert "runs scikit-learn's own code: fastem is not installed there" in told.stderr


def test_the_program_s_own_sitecustomize_and_path_are_kept(folder):
    (folder / "sitecustomize.py").write_text("import builtins\nbuiltins.MINE = __file__\n")
    code = "import sys; print(MINE, [p for p in sys.path if '_children' in p])"
    (folder / "child.py").write_text(
        f"import subprocess, sys\nprint(subprocess.check_output([sys.executable, '-c', {code!r}],"
        " text=True))"
    )
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    result = run("-m", "fastem", "run", "child.py", PYTHONPATH=paths)
    assert result.stdout.split() == [str(folder / "sitecustomize.py"), "[]"], result.stderr


def test_unpatch_leaves_the_children(folder):
    (folder / "leaves.py").write_text(
        "import fastem, os\nfastem.unpatch()\nprint(os.environ.get('FASTEM_PATCH'))\n"
    )
    assert run("-m", "fastem", "run", "leaves.py").stdout == "None\n"


# ---- on import ---------------------------------------------------------------------------------


def test_a_program_without_scikit_learn_does_not_load_it(folder):
    (folder / "plain.py").write_text(
        "import sys, fastem\n"
        "print([m for m in ('sklearn', 'numpy', 'scipy') if m in sys.modules], fastem.is_patched())"
    )
    assert run("-m", "fastem", "run", "plain.py").stdout == "[] True\n"


#: Ways to have scikit-learn's KMeans.
TO_KMEANS = [
    "from sklearn.cluster import KMeans",
    "import sklearn.cluster; KMeans = sklearn.cluster.KMeans",
    "import sklearn.cluster._kmeans as m; KMeans = m.KMeans",
    "from sklearn.cluster._kmeans import KMeans",
    "import importlib; KMeans = importlib.import_module('sklearn.cluster').KMeans",
    "import pickle; KMeans = pickle.loads(b'csklearn.cluster._kmeans\\nKMeans\\n.')",
    "import sklearn.mixture; from sklearn.cluster import KMeans",
]
IS_OURS = """
import sys
assert isinstance(KMeans(), fastem.KMeans)
import sklearn.cluster
spec = sklearn.cluster.__spec__
assert type(spec.loader).__name__ == "SourceFileLoader", spec.loader
assert sklearn.cluster.__loader__ is spec.loader
fastem.unpatch()
assert not isinstance(KMeans(), fastem.KMeans)
assert not [f for f in sys.meta_path if type(f).__module__.startswith("fastem")]
"""


def test_a_class_that_is_there_already_becomes_ours(run_python):
    """It is one object, whatever way a program has come to it."""
    ways = "\n".join(f"{line}\nfound.add(KMeans)" for line in TO_KMEANS)
    code = f"import fastem\nfound = set()\n{ways}\nfastem.patch()\n(KMeans,) = found{IS_OURS}"
    run_python(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_every_way_to_a_class_leads_to_ours(run_python):
    """Each in a child that has scikit-learn's basis, but not yet the module of the class."""
    code = f"""
import os, sys, warnings
import sklearn.base, sklearn.metrics.pairwise, sklearn.utils
import fastem
assert "sklearn.cluster" not in sys.modules
fastem.patch()
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside OpenBLAS's threads
for line in {TO_KMEANS!r}:
    child = os.fork()
    if child == 0:
        exec(line)
        exec({IS_OURS!r})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, line
"""
    run_python(code)


def test_the_first_import_of_scikit_learn_leads_to_ours(run_python):
    run_python(f"import fastem\nfastem.patch()\n{TO_KMEANS[0]}\n{IS_OURS}")
