"""Larger than memory: `python bench/blocks.py memory --gigabytes 20`, and what blocks cost.

Prints a Markdown report. `memory` fits a file in a process of its own and says how much of it was
ever resident; `overhead` compares blocks and a Dask cluster with one array in memory; `spark` has
Spark on this machine beside fastem.
"""

import argparse
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from _spark import spark

FEATURES, COMPONENTS, ITERATIONS = 16, 8, 3  # of the file
BLOCKS, ROWS, WIDE = 100, 500, 32  # of the overhead: so many blocks, rows of each, components
LONG, SHORT, ROUNDS = 25, 5, 5
MOST_RESIDENT = 500  # MB, for any file
#: Of a cluster on paper: bytes a second of a network card.
NETWORK = 1e9


def write(path, n_rows):
    """Write samples of some overlapping Gaussians, some at a time."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(COMPONENTS, FEATURES)) * 3
    file = np.lib.format.open_memmap(path, "w+", np.float64, (n_rows, FEATURES))
    del file  # which has made the file as large as it must be
    with open(path, "r+b") as out:
        out.seek(np.load(path, mmap_mode="r").offset)
        for begin in range(0, n_rows, 1 << 18):
            n = min(1 << 18, n_rows - begin)
            X = rng.standard_normal((n, FEATURES)) + centers[rng.integers(0, COMPONENTS, n)]
            X.tofile(out)


def fit_file(path):
    """Fit a file in blocks; print seconds of an iteration and the most megabytes resident."""
    import resource

    from fastem import Blocks, GaussianMixture, em

    ends = [time.perf_counter()]
    mixture = GaussianMixture(COMPONENTS, max_iter=ITERATIONS, tol=0, random_state=0)
    with warnings.catch_warnings(), em.watch(lambda state: ends.append(time.perf_counter())):
        warnings.simplefilter("ignore")
        mixture.fit(Blocks.from_npy(path))
    seconds = statistics.median(np.diff(ends)[1:])
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, ends[1] - ends[0])


def memory(options):
    """Report a fit of a file that need not fit into memory; return whether it took little."""
    n_rows = int(options.gigabytes * 1e9) // (8 * FEATURES)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        path = Path(folder) / "X.npy"
        write(path, n_rows)
        command = [sys.executable, __file__, "fit", str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, resident, first = map(float, run.stdout.split())
    print(
        f"{n_rows:,} × {FEATURES} float64 ({options.gigabytes:g} GB), K {COMPONENTS}, full: "
        f"{resident:.0f} MB resident at most (goal: under {MOST_RESIDENT}); first pass, start and "
        f"first iteration {first:.1f} s, each further iteration {seconds:.1f} s "
        f"({options.gigabytes / seconds:.2f} GB/s)"
    )
    return resident < MOST_RESIDENT


def samples():
    """The samples of the overhead."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(BLOCKS * ROWS, FEATURES)) + 2 * rng.integers(0, 8, (BLOCKS * ROWS, 1))


def seconds_of(data, clock=time.perf_counter):
    """Seconds of an iteration: a long fit less a short one."""
    from fastem import GaussianMixture

    taken = []
    for n_iter in (SHORT, LONG):
        mixture = GaussianMixture(
            WIDE, max_iter=n_iter, tol=0, init_params="random_from_data", random_state=0
        )
        begin = clock()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mixture.fit(data)
        taken.append(clock() - begin)
    return (taken[1] - taken[0]) / (LONG - SHORT)


def overhead(options):
    """Report what 100 blocks cost, read here and on a Dask cluster; return True."""
    from fastem import Blocks

    X = samples()
    blocks = Blocks.from_arrays(X, batch_rows=ROWS)
    rounds = [(seconds_of(X), seconds_of(blocks)) for _ in range(options.rounds)]
    array, cut = (min(one) for one in zip(*rounds, strict=True))
    print(
        f"{BLOCKS} blocks of {ROWS} × {FEATURES}, K {WIDE}, full, ms an iteration, fastest of "
        f"{options.rounds}: one array {1e3 * array:.1f}, blocks {1e3 * cut:.1f} "
        f"({cut / array:.2f} ×)"
    )
    try:
        import dask.array
        import psutil
        from distributed import Client, LocalCluster
    except ImportError:
        print("no Dask, or no psutil, here")
        return True
    settings = {"n_workers": options.workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**settings) as cluster, Client(cluster):
        data = dask.array.from_array(X, chunks=(ROWS, FEATURES))
        seconds_of(data)  # warm
        wall = min(seconds_of(data) for _ in range(options.rounds))
        own = seconds_of(data, time.process_time)  # of the client and the scheduler: one process
        sent = seconds_of(data, lambda: psutil.net_io_counters(pernic=True)["lo"].bytes_sent)
    print(
        f"Dask, {options.workers} workers: {1e3 * wall:.0f} ms an iteration ({wall / array:.1f} × "
        f"one array); client and scheduler {1e3 * own:.0f} ms CPU (goal: 100); {sent / 1e6:.2f} MB "
        "over the loopback, between workers included (goal: 1)"
    )
    on_paper(X, array, own)
    return True


def on_paper(X, array, own):
    """Print how an iteration would scale, from what was measured here."""
    from fastem.components.gaussian import GaussianBlock, GaussianEM
    from fastem.components.gaussian_start import Labels, moments_of

    model = GaussianEM("full", 1e-6, X.dtype, 1)
    block = GaussianBlock.of(X, None)
    labels = Labels(np.arange(len(X)) % WIDE)
    message = len(pickle.dumps(model.estimate(moments_of(labels, WIDE, block, model))))
    row, task = array / len(X), own / 15  # seconds
    print(
        f"\nOn paper: a row takes {1e9 * row:.0f} ns, a task {1e3 * task:.1f} ms of the scheduler, "
        f"a message {message / 1e3:.0f} KB, a network card {NETWORK / 1e9:g} GB/s, 8 groups a "
        "machine. Seconds an iteration (share of it that is E-steps):\n"
    )
    machines = (10, 100, 1000)
    print("| rows | " + " | ".join(f"{n:,} machines" for n in machines) + " |")
    print("|---" * (len(machines) + 1) + "|")
    for n_rows in (10**9, 10**11):
        cells = []
        for n in machines:
            groups = 8 * n
            e_steps = n_rows * row / n
            rest = task * (groups + groups / 63) + message / NETWORK * (n + 64)
            cells.append(f"{e_steps + rest:.1f} ({e_steps / (e_steps + rest):.0%})")
        print(f"| {n_rows:.0e} | " + " | ".join(cells) + " |")


def main():
    """Run what is asked for; the result is the process's exit status."""
    if sys.argv[1:2] == ["fit"]:
        fit_file(sys.argv[2])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=["memory", "overhead", "spark"])
    parser.add_argument("--gigabytes", type=float, default=2.0, help="default: %(default)s")
    parser.add_argument("--directory", help="where the file is made (default: the system's)")
    parser.add_argument("--workers", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    options = parser.parse_args()
    return (
        0 if {"memory": memory, "overhead": overhead, "spark": spark}[options.case](options) else 1
    )


if __name__ == "__main__":
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # older processors' kernels
        os.environ.pop(name, None)
    sys.exit(main())
