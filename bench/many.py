"""Many samples, many components: `python bench/many.py multiresolution` (or truncated, ...).

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
    "clusters-4000": (200_000, 16, 4000, "clusters", 25),
}
GAPS = (0.03, 0.003)  # nats a sample below EM's end


def structureless(n, d, seed=0):
    """Samples of a smooth density without clusters."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) / 2
    return np.tanh(rng.normal(size=(n, d)) @ mixing) + 0.3 * rng.normal(size=(n, d))


def samples(options, name):
    """Return the samples of a case, and rows of k-means++ among ten for each component."""
    from sklearn.cluster import kmeans_plusplus

    n, d, k, data, _ = COMPONENTS[name]
    n, k = n // options.divide, k // options.divide
    X = clusters(n, d, k, 1.0) if data == "clusters" else structureless(n, d)
    return X, kmeans_plusplus(X[: 10 * k], k, random_state=0)[0]


def course(estimator, X):
    """Return CPU seconds, the bound, how many were of all components, parameters: of iterations."""
    from fastem import em

    seen, begin = [], time.process_time()

    def watch(state):
        n_all = getattr(state.params, "n_dense", state.iteration)
        params = getattr(state.params, "components", state.params)
        seen.append((time.process_time() - begin, state.lower_bound, n_all, params))

    with em.watch(watch):
        fitted(estimator, X)
    return seen


def first_at(goal, seen, score):
    """Return the seconds until the score of the parameters, which rises, is no less; or None."""
    low, high = 0, len(seen) - 1
    if score(seen[high][3]) < goal:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if score(seen[middle][3]) >= goal else (middle + 1, high)
    return seen[low][0]


def times(slow, fast):
    """Return how many times as fast, for the table."""
    return "never" if fast is None else f"{slow / fast:.1f}"


def truncated(options):
    """Print fits of diagonal covariances by both algorithms, from the same rows of k-means++."""
    from fastem import GaussianMixture
    from fastem.mixture.gaussian import mixture_of

    yield (
        "| N × D, K, data | `'em'`, s | iterations | `'truncated'`, s | iterations | of all "
        "components | log-likelihood higher by | × to 0.03 | × to 0.003 | × whole |"
    )
    for name, (_, d, k, data, most) in COMPONENTS.items():
        if options.case and name not in options.case:
            continue
        X, rows = samples(options, name)
        n, k = len(X), len(rows)
        settings = {
            "covariance_type": "diag", "means_init": rows, "weights_init": np.full(k, 1 / k),
            "precisions_init": np.tile(10 / X.var(axis=0), (k, 1)), "random_state": 0,
        }  # fmt: skip

        def score(params, X=X, k=k):
            plain = GaussianMixture(k, covariance_type="diag")
            return mixture_of(plain, params, None).score(X)

        settings["n_jobs"] = 1
        fast = course(GaussianMixture(k, algorithm="truncated", max_iter=300, **settings), X)
        slow = course(GaussianMixture(k, max_iter=most, **settings), X)
        end = score(slow[-1][3])
        ratios = [
            times(first_at(end - gap, slow, score), first_at(end - gap, fast, score))
            for gap in GAPS
        ]
        yield (
            f"| {n:,} × {d}, {k:,}, {data} | {slow[-1][0]:.1f} | {len(slow)} | {fast[-1][0]:.1f} | "
            f"{len(fast)} | {fast[-1][2]} | {score(fast[-1][3]) - end:+.3f} | {ratios[0]} | "
            f"{ratios[1]} | {slow[-1][0] / fast[-1][0]:.1f} |"
        )


def truncated_kmeans(options):
    """Print k-means by both algorithms, from the same rows of k-means++."""
    from fastem import KMeans

    yield (
        "| N × D, K, data | `'lloyd'`, s | iterations | `'truncated'`, s | iterations | inertia "
        "higher by, % | × to 0.1 % | × whole |"
    )
    for name, (_, d, _, data, _) in COMPONENTS.items():
        if options.case and name not in options.case:
            continue
        X, rows = samples(options, name)
        slow, fast = (
            course(KMeans(len(rows), init=rows, algorithm=name, n_jobs=1, random_state=0), X)
            for name in ("lloyd", "truncated")
        )
        end = slow[-1][1]
        reached = [
            next((second for second, bound, *_ in seen if bound >= end * 1.001), None)
            for seen in (slow, fast)
        ]
        yield (
            f"| {len(X):,} × {d}, {len(rows):,}, {data} | {slow[-1][0]:.1f} | {len(slow)} | "
            f"{fast[-1][0]:.1f} | {len(fast)} | {100 * (fast[-1][1] / end - 1):+.2f} | "
            f"{times(*reached)} | {slow[-1][0] / fast[-1][0]:.1f} |"
        )


def truncated_iterations(options):
    """Print seconds of a truncated iteration, and of one of all components."""
    from fastem import GaussianMixture

    yield "| K | ms an iteration, mean of 24 | the fastest third | of all components |"
    for k in (500, 1000, 2000, 4000, 8000):
        n = 200_000 // options.divide
        X = clusters(n, 16, k, 1.0)
        settings = {
            "covariance_type": "diag", "means_init": X[:k], "weights_init": np.full(k, 1 / k),
            "precisions_init": np.tile(10 / X.var(axis=0), (k, 1)), "random_state": 0,
            "n_jobs": 1, "tol": 0, "max_iter": 28, "algorithm": "truncated",
        }  # fmt: skip
        seconds = np.diff([second for second, *_ in course(GaussianMixture(k, **settings), X)])
        # The first ones always search; the last two are of all components.
        some, whole = 1e3 * seconds[1:25], 1e3 * seconds[-1]
        yield f"| {k:,} | {some.mean():.0f} | {np.median(np.sort(some)[:8]):.0f} | {whole:.0f} |"


REPORTS = {
    "multiresolution": multiresolution,
    "truncated": truncated,
    "truncated-kmeans": truncated_kmeans,
    "truncated-iterations": truncated_iterations,
}


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
