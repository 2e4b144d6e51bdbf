"""Bench cases and contenders for what no peer's GaussianMixture has: missing values and priors."""

import math
from dataclasses import dataclass

import gmm
import numpy as np
from _harness import OURS, SHORT, Contender, milliseconds, number

PLAIN = "plain"  # the contender with complete samples and no prior
PEERS = ("numpy", "scipy")  # whose versions the report names
REFERENCE = PLAIN
MEMORY = ()

METHOD = f"""\
E+M per iteration, wall, float64: a fit of 10 iterations less a fit of {SHORT}, by the difference;
contenders in turn, warm, rounds: {{rounds}}; ms are fastest / median. Costs are multiples of the
time of maximum likelihood on the same samples, complete."""

NOTES = """\
Data and start as for GaussianMixture. A quarter of the values are missing, in patterns that were
drawn at random and that samples have with equal probability."""


@dataclass(frozen=True)
class Variant(gmm.Case):
    """One row; `goal` is the largest cost that is wanted, as a multiple of the plain fit's."""

    n_patterns: int = 0  # of what is missing, a quarter of all values; 0: nothing is
    prior: bool = False

    @property
    def title(self):
        """What the table prints."""
        what = f"{self.n_patterns:,} patterns of NaN" if self.n_patterns else "prior='conjugate'"
        size = f"{self.n_samples:,} × {self.n_features}, K {self.n_components}"
        return f"{size}, {self.covariance_type}, {what}"


def _missing(kind, n_patterns, goal):
    name = f"nan-{kind}-{n_patterns}"
    return Variant(name, goal, 50_000, 16, 8, kind, long=10, n_patterns=n_patterns)


KINDS = ("full", "tied", "diag", "spherical")
CASES = [
    *(_missing(kind, 10, 3) for kind in KINDS),
    *(_missing(kind, 1000, 3) for kind in KINDS),
    *(_missing(kind, 10_000, 8) for kind in KINDS),
    *(Variant(f"prior-{kind}", 1.2, 50_000, 16, 8, kind, long=10, prior=True) for kind in KINDS),
]


def with_gaps(X, n_patterns):
    """A copy of samples of which a quarter of the values are missing, in so many patterns."""
    rng = np.random.default_rng(1)
    patterns = rng.random((n_patterns, X.shape[1])) < 0.25
    patterns[patterns.all(axis=1), 0] = False
    X = X.copy()
    X[patterns[rng.integers(n_patterns, size=len(X))]] = np.nan
    return X


def contenders(case, options):
    """The variant and the plain fit, each a Contender whose fit(n_iter) returns bounds."""
    from fastem import GaussianMixture

    X, start = gmm.sample(case)
    own = with_gaps(X, case.n_patterns) if case.n_patterns else X
    more = {"prior": "conjugate"} if case.prior else {}
    threads = options.threads
    plain = gmm.estimator(GaussianMixture, case, X, start, threads)
    fit = gmm.estimator(GaussianMixture, case, own, start, threads, **more)
    return [
        Contender(PLAIN, "float64", threads, plain, long=case.long),
        Contender(OURS, "float64", threads, fit, tolerance=math.inf, long=case.long),
    ]


_HEADER = ["case", "N × D, K", "goal: at most", "fastest", "median", "reached", "ms", "ms, plain"]


def cost(row, attribute="fastest"):
    """How many times a plain fit's time an iteration takes."""
    ratio = row.ratio((OURS, "float64"), (PLAIN, "float64"), attribute)
    return None if ratio is None else 1 / ratio


def summary(row):
    """One line for the progress."""
    return f"{number(cost(row))} x the plain fit (goal {row.case.goal:g} at most)"


def tables(rows, peak, options):
    """The one table."""
    return [(_HEADER, [_cells(row) for row in rows])]


def _cells(row):
    own = cost(row)
    return [
        row.case.name,
        row.case.title,
        f"{row.case.goal:g}",
        number(own),
        number(cost(row, "typical")),
        "–" if own is None else "yes" if own <= row.case.goal else "no",
        milliseconds(row[OURS, "float64"]),
        milliseconds(row[PLAIN, "float64"]),
    ]
