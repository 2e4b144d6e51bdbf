"""Many samples, many components: `python bench/many.py multiresolution` (or truncated, kmeans).

Compares `algorithm=` with the estimators' plain EM from starts of the same kind, whole fits
included. Prints a Markdown report, and writes it into bench/RESULTS.md unless it is a part.
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).with_name("RESULTS.md")


def clusters(n, d, k, apart, seed=0, least=0.3, most=0.8):
    """Samples of Gaussian components with axes of several lengths, turned, in random order."""
    rng = np.random.default_rng(seed)
    means = apart * rng.normal(size=(k, d))
    shapes = np.linalg.qr(rng.normal(size=(k, d, d))).Q * rng.uniform(least, most, size=(k, 1, d))
    X = np.empty((n, d))
    for begin in range(0, n, 1 << 16):
        label = rng.integers(k, size=len(X[begin : begin + (1 << 16)]))
        noise = rng.normal(size=(len(label), d))
        X[begin : begin + (1 << 16)] = means[label] + np.einsum("nij,nj->ni", shapes[label], noise)
    return X


def fitted(estimator, X):
    """Return seconds of a fit."""
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X)
    return time.perf_counter() - begin


# ---- few features, many samples ------------------------------------------------------------------

GRIDS = {  # n, d, k, tol
    "d2-k8": (1_000_000, 2, 8, 1e-3),
    "d2-k64": (1_000_000, 2, 64, 1e-3),
    "d2-k64-tol": (1_000_000, 2, 64, 1e-5),
    "d3-k64": (1_000_000, 3, 64, 1e-3),
}


def multiresolution(options):
    """Print whole fits of full covariances, start included, by both algorithms."""
    from fastem import GaussianMixture

    yield (
        "| N × D, K, `tol` | `'em'`, s | iterations | `'multiresolution'`, s | of them over all "
        "samples | × | log-likelihood higher by |"
    )
    for name, (n, d, k, tol) in GRIDS.items():
        if options.case and name not in options.case:
            continue
        X = clusters(n // options.divide, d, k, 3)
        settings = {"tol": tol, "max_iter": 1000, "random_state": 0}
        taken, score = {}, {}
        for algorithm in ("multiresolution", "em"):
            mixture = GaussianMixture(k, algorithm=algorithm, **settings)
            rounds = options.rounds if algorithm != "em" else 1
            taken[algorithm] = min(fitted(mixture, X) for _ in range(rounds)), mixture.n_iter_
            score[algorithm] = mixture.score(X)
        (slow, n_slow), (fast, n_fast) = taken["em"], taken["multiresolution"]
        yield (
            f"| {n // options.divide:,} × {d}, {k}, {tol:g} | {slow:.2f} | {n_slow} | {fast:.2f} | "
            f"{n_fast} | {slow / fast:.1f} | {score['multiresolution'] - score['em']:+.5f} |"
        )


REPORTS = {"multiresolution": multiresolution}


def main():
    """Run what is asked for."""
    from _harness import machine, write_section

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", choices=REPORTS)
    parser.add_argument("--case", action="append", help="only this one (may be repeated)")
    parser.add_argument("--divide", type=int, default=1, help="so many times fewer samples")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args()
    lines = []
    for line in REPORTS[options.report](options):
        lines.append(line)
        print(line, flush=True)
        if len(lines) == 1:
            lines.append("|---" * (line.count("|") - 1) + "|")
            print(lines[-1])
    if not options.case and options.divide == 1:
        text = f"## {options.report}\n\n{machine()}\n\n" + "\n".join(lines)
        write_section(RESULTS, options.report, text)


if __name__ == "__main__":
    for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # older processors' kernels
        os.environ.pop(variable, None)
    sys.exit(main())
