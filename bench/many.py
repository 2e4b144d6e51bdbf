"""Many samples, many components: `python bench/many.py multiresolution` (or truncated).

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
            times = [fitted(mixture, X) for _ in range(options.rounds)]
            taken[algorithm] = min(times), mixture.n_iter_
            score[algorithm] = mixture.score(X)
        (slow, n_slow), (fast, n_fast) = taken["em"], taken["multiresolution"]
        yield (
            f"| {n // options.divide:,} × {d}, {k}, {tol:g} | {slow:.2f} | {n_slow} | {fast:.2f} | "
            f"{n_fast} | {slow / fast:.1f} | {score['multiresolution'] - score['em']:+.5f} |"
        )


# ---- many components -----------------------------------------------------------------------------

COMPONENTS = {  # n, d, k, data, most iterations of EM
    "clusters-1000": (200_000, 16, 1000, "clusters", 40),
    "structureless-1000": (200_000, 16, 1000, "structureless", 40),
    "clusters-4000": (200_000, 16, 4000, "clusters", 20),
}


def structureless(n, d, seed=0):
    """Samples of a smooth density without clusters."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) / 2
    return np.tanh(rng.normal(size=(n, d)) @ mixing) + 0.3 * rng.normal(size=(n, d))


def course(estimator, X):
    """Return seconds and bound after each iteration, and how many were of all components."""
    from fastem import em

    seen, begin = [], time.perf_counter()

    def watch(state):
        n_all = getattr(state.params, "n_dense", state.iteration)
        seen.append((time.perf_counter() - begin, state.lower_bound, n_all))

    with em.watch(watch):
        fitted(estimator, X)
    return np.array(seen)


def truncated(options):
    """Print fits of diagonal covariances by both algorithms, from the same rows at random."""
    from fastem import GaussianMixture

    yield (
        "| N × D, K, data | `'em'`, s | iterations | `'truncated'`, s | iterations | of all "
        "components | log-likelihood higher by | × to the lower end | × whole |"
    )
    for name, (n, d, k, data, most) in COMPONENTS.items():
        if options.case and name not in options.case:
            continue
        n, k = n // options.divide, k // options.divide
        X = clusters(n, d, k, 1.0) if data == "clusters" else structureless(n, d)
        rows = np.random.default_rng(1).choice(n, k, replace=False)
        settings = {
            "covariance_type": "diag", "means_init": X[rows], "weights_init": np.full(k, 1 / k),
            "precisions_init": np.tile(10 / X.var(axis=0), (k, 1)), "random_state": 0,
        }  # fmt: skip
        fast = course(GaussianMixture(k, algorithm="truncated", max_iter=300, **settings), X)
        slow = course(GaussianMixture(k, max_iter=most, **settings), X)
        lower = min(fast[-1, 1], slow[-1, 1])
        reached = [seen[np.argmax(seen[:, 1] >= lower), 0] for seen in (slow, fast)]
        yield (
            f"| {n:,} × {d}, {k:,}, {data} | {slow[-1, 0]:.1f} | {len(slow)} | {fast[-1, 0]:.1f} | "
            f"{len(fast)} | {fast[-1, 2]:.0f} | {fast[-1, 1] - slow[-1, 1]:+.3f} | "
            f"{reached[0] / reached[1]:.1f} | {slow[-1, 0] / fast[-1, 0]:.1f} |"
        )


REPORTS = {"multiresolution": multiresolution, "truncated": truncated}


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
