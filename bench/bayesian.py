"""Bench cases and contenders for BayesianGaussianMixture."""

import math
import warnings
from dataclasses import dataclass, replace

import gmm
import numpy as np
from _harness import LONG, OURS, PEER, SHORT, TOLERANCE, Contender, milliseconds, number, optional

PEERS = (PEER, "numpy", "scipy")  # whose versions the report names
REFERENCE = OURS  # where the peer is missing; there is no other
MEMORY = (OURS, PEER)

METHOD = f"""\
E+M per iteration, wall: a fit of {LONG} iterations, or as many as its case says, less a fit of
{SHORT}, by the difference; contenders in turn, warm, rounds: {{rounds}}; ms are fastest / median.
Ratios are fastem float64 against {PEER} float64 at its better BLAS setting, of 1 and {{threads}}
threads: from the fastest fits (these decide "reached"), from the medians, and for the whole longer
fit with its start. Bounds are compared at every iteration of {LONG}: the largest relative
difference from {PEER}'s, where float64 must agree to {TOLERANCE:g}."""

NOTES = """\
Data as for GaussianMixture. Every library starts from the same single samples by the same seed; in
the cases called whole, from k-means as by default, which is scikit-learn's in both, and the ratio
of the whole fit is the one that counts."""


@dataclass(frozen=True)
class Case(gmm.Case):
    """A row of the table; the goal of a `whole` fit, from the default start, is of all of it."""

    whole: bool = False


CASES = [
    Case("d8", 30, 100_000, 8, 32, "full", long=10),
    Case("d64", 8, 50_000, 64, 16, "full"),
    Case("diag", 15, 200_000, 16, 32, "diag", long=10),
    Case("tied", 20, 100_000, 16, 16, "tied", long=10),
    Case("spherical", 15, 100_000, 16, 16, "spherical", long=10),
    Case("whole-d8", 8, 50_000, 8, 16, "full", means_std=2.0, long=30, whole=True),
]


def contenders(case, options):
    """All contenders on `case`, each a Contender whose fit(n_iter) returns bounds."""
    from fastem import BayesianGaussianMixture

    found = []
    for dtype in dict.fromkeys(("float64", *options.dtype)):
        X = gmm.sample(case, dtype)[0]
        fit = estimator(BayesianGaussianMixture, case, X, options.threads)
        found.append(Contender(OURS, dtype, options.threads, fit, long=case.long))
        peer = optional("sklearn.mixture", "BayesianGaussianMixture")
        if peer is None or (dtype == "float32" and not options.peer_float32):
            continue
        for limit in sorted({1, options.threads}):
            found.append(Contender(PEER, dtype, limit, estimator(peer, case, X), long=case.long))
    return found


def estimator(cls, case, X, n_jobs=None):
    """fit(n_iter) of an estimator with scikit-learn's signature: its bounds, the last one twice."""
    settings = {
        "n_components": case.n_components,
        "covariance_type": case.covariance_type,
        "tol": 0.0,  # never met: every contender does the same number of iterations
        "init_params": "kmeans" if case.whole else "random_from_data",
        "random_state": 0,
    }
    if n_jobs is not None:
        settings["n_jobs"] = n_jobs

    def fit(n_iter):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*did not converge")
            model = cls(max_iter=n_iter, **settings).fit(X)
        bounds = [*getattr(model, "lower_bounds_", []), model.lower_bound_]
        return np.array([float(np.squeeze(bound)) for bound in bounds])

    return fit


# --------------------------------------------------------------------------------------- tables


_HEADER = [
    "case", "N × D, K", f"goal × {PEER}", "fastest", "median", "whole fit", "reached",
    "ms, float64", "ms, float32", f"ms, {PEER}", f"{PEER}'s BLAS threads", "bounds, float64",
    "bounds, float32", "MiB beyond X", f"{PEER}'s",
]  # fmt: skip


def summary(row):
    """One line for the progress."""
    return f"{number(_gain(row, _what(row)))} x {PEER} (goal {row.case.goal:g})"


def tables(rows, peak, options):
    """The one table."""
    return [(_HEADER, [_cells(row) for row in rows])]


def _what(row):
    """Which ratio the goal is of."""
    return "whole" if row.case.whole else "fastest"


def _gain(row, attribute):
    return row.ratio((OURS, "float64"), (PEER, "float64"), attribute)


def _cells(row):
    ours = [row[OURS, "float64"], row[OURS, "float32"]]
    peer, gain = row[PEER, "float64"], _gain(row, _what(row))
    return [
        row.case.name,
        replace(row.case, long=LONG).title,
        f"{row.case.goal:g}",
        *(number(_gain(row, attribute)) for attribute in ("fastest", "typical", "whole")),
        "–" if gain is None else "yes" if row.case.goal <= gain < math.inf else "no",
        *(milliseconds(result) for result in (*ours, peer)),
        str(peer.contender.threads) if peer else "–",
        *(f"{row.gap(result):.0e}" if result else "–" for result in ours),
        number(row.memory.get(OURS)),
        number(row.memory.get(PEER)),
    ]
