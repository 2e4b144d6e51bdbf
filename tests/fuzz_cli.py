"""Cases of the fuzz for the command line: files good and damaged, options good and bad."""

import contextlib
import importlib.util
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from fuzz_inputs import chance, corrupt, draw_data, draw_matrix, pick

from fastem.__main__ import main


def _damage(rng, content):
    """Change, cut or repeat some bytes of a file."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(content))) if content else 0
        what = rng.integers(4)
        if what == 0 and content:
            content[at] = rng.integers(256)
        elif what == 1:
            content[at:at] = pick(
                rng, [b"nan", b",", b"\n", b"\0", b"1e999", b"\xff\xfe", b'"', b"-"]
            )
        elif what == 2:
            del content[at : at + int(rng.integers(1, 40))]
        else:
            content[at:at] = content[at : at + int(rng.integers(1, 40))]
    return bytes(content)


def _table(rng, folder):
    X = draw_matrix(rng, "reals", int(rng.integers(1, 60)), int(rng.integers(1, 5)), 0.1)
    if not isinstance(X, np.ndarray) or X.dtype.kind not in "fiub":
        X = draw_data(rng, "reals", 30, 2)
    if chance(rng, 0.5):
        path = folder / "table.npy"
        np.save(path, np.ma.getdata(X))
    else:
        path = folder / "table.csv"
        np.savetxt(path, np.atleast_2d(X) if X.ndim < 3 else X[0], delimiter=",", fmt="%.6g")
    return path


def _counts(rng, folder):
    n, d = int(rng.integers(1, 60)), int(rng.integers(1, 30))
    X = sp.csr_array(draw_data(rng, "counts", n, d))
    X = X.asformat(pick(rng, ["csr", "csc", "coo", "bsr", "dia", "csr"]))
    path = folder / "counts.npz"
    sp.save_npz(path, corrupt(rng, X) if chance(rng, 0.5) else X, compressed=chance(rng, 0.5))
    return path


def _texts(rng, folder):
    words = np.array(["sun", "moon", "tide", "sea", "star", "ship", "the", "ü", "x" * 99])
    lines = [
        " ".join(rng.choice(words, size=rng.integers(0, 12))) for _ in range(rng.integers(1, 40))
    ]
    path = folder / "texts.txt"
    path.write_text("\n".join(lines))
    return path


OPTIONS = {
    "cluster": {
        "--model": ["mixture", "kmeans", "bayesian", "bernoulli", "poisson", "categorical", "hmm"],
        "--covariance-type": ["full", "tied", "diag", "spherical", "all"],
        "--criterion": ["bic", "icl", "aic", "cv", "silhouette", "gap"],
        "--columns": ["1", "1,2", "1-3", "99", "x0", "0"],
        "--exclude": ["1", "x1", "2-3"],
        "--encoding": ["utf-8", "cp1252", "utf-16", "no"],
        "--decimal": [",", "."],
        "--standardize": [None],
        "--drop-missing": [None],
        "--reg-covar": ["0", "1e-6", "nan", "-1"],
        "--n-init": ["1", "2"],
        "-k": ["1", "2", "3", "1-3", "2,4", "1000", "0", "x"],
    },
    "topics": {
        "--model": ["plsa", "lda", "gaussian-lda"],
        "--algorithm": ["batch", "incremental", "cvb0", "stochastic"],
        "--min-df": ["1", "2", "0"],
        "--held-out": ["0", "0.5", "1", "nan"],
        "--criterion": ["held_out", "coherence"],
        "--stop-words": ["none", "nowhere"],
        "--token-pattern": ["[a-z]+", "("],
        "--column": ["1", "text"],
        "--words": ["1", "100"],
        "-k": ["1", "2", "5", "2,3", "1000", "0", "x"],
    },
}


def run_command(rng, say):
    """Run a command on a file; raise Fault on a traceback or on what it leaves behind."""
    from fuzz_checks import Fault

    command = pick(rng, ["cluster", "topics"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = pick(rng, [_table] if command == "cluster" else [_counts, _counts, _texts])(
            rng, folder
        )
        if chance(rng, 0.4):
            path.write_bytes(_damage(rng, path.read_bytes()))
        say(f"{path.name}: {path.read_bytes()[:60]!r}...")
        arguments = [command, str(path), "--max-iter", pick(rng, ["1", "3", "20"]), "-o", name]
        if importlib.util.find_spec("matplotlib") and chance(rng, 0.3):
            arguments += ["--report", str(folder / pick(rng, ["page.html", "sub/p.HTM", "p.pdf"]))]
        for option, values in OPTIONS[command].items():
            if option == "-k" or chance(rng, 0.3):
                value = pick(rng, values)
                arguments += [option] if value is None else [option, value]
        say("python -m fastem " + " ".join(arguments))
        before = sorted(os.listdir(folder))
        status, text = _run(arguments)
        say(f"status {status}: {text}")
        if status not in (0, 2):
            raise Fault(f"{command}: status {status}: {text[-300:]}")
        if status == 2 and sorted(os.listdir(folder)) != before:
            raise Fault(f"{command} failed and left {sorted(os.listdir(folder))}")
        for written in folder.iterdir():
            if written.name.startswith("."):
                raise Fault(f"{command} left {written.name}")
            if written.suffix == ".json":
                json.loads(written.read_text(), parse_constant=_refuse)
        if "--report" in arguments and status == 0:
            page = Path(arguments[arguments.index("--report") + 1])
            if "<img" not in page.read_text("utf-8"):
                raise Fault(f"{command} wrote a page without a picture")


def _refuse(constant):
    from fuzz_checks import Fault

    raise Fault(f"a result has {constant}")


def _run(arguments):
    """Return the exit status of a command and what it said on stderr."""
    from fuzz_checks import Fault

    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code
        except Exception as error:
            raise Fault(f"{arguments[0]}: {type(error).__name__}: {error}") from error
    if status == 2 and "usage:" not in errors.getvalue():
        last = errors.getvalue().strip().splitlines()
        if not last or "error:" not in last[-1]:
            raise Fault(f"{arguments[0]}: status 2 without one line that says why: {last}")
    return status, errors.getvalue()


__all__ = ["run_command"]
