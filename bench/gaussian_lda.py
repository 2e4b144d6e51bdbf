"""Bench cases and contenders for GaussianLDA."""

import functools
from dataclasses import dataclass, replace

import _topics
import numpy as np
import scipy.sparse as sp
from _harness import (
    BASELINE,
    LONG,
    OURS,
    SHORT,
    TOLERANCE,
    Contender,
    milliseconds,
    number,
)
from reference import gaussian_lda as reference

ONE = "fastem, one thread"
PEERS = ("numpy", "scipy")  # whose versions the report names
MEMORY = (OURS, BASELINE)
GOAL = 10
LONGER = 16  # an iteration of fastem takes milliseconds: more of them rise out of the noise

METHOD = f"""\
One iteration, wall: a fit of {LONG} iterations less a fit of {SHORT}, by {LONG - SHORT} ({LONGER}
in place of {LONG} for fastem); contenders in turn, each turn after a fit off the clock, rounds:
{{rounds}}; ms and ratios are fastest / median, and the fastest decide "reached". Threads:
{{threads}} where nothing else is said. {BASELINE} is the textbook in bench/reference, in float64: a
table of the densities of all different vectors, then one document after the other. Both go on from
a document's last zeta until it changes by less than 0.001 on average. Objective: the largest
relative difference of the bound from {BASELINE}'s after equal iterations from the same start;
float64 must agree to {TOLERANCE:g}. MiB beyond the data is the peak that a fit adds."""

NOTES = """\
Words: counts of a corpus (the folder shared/data beside the repository, or FASTEM_DATA; docstrings
where a title says so) with vectors drawn around 30 centres with standard deviation 2.
Stacked: documents of 50 vectors, each from one of some Gaussians, of which a document has a few; no
vector comes twice. Start: the first K vectors and the variance of all. Das, Zaheer & Dyer's sampler
is no contender: it does not install."""


@dataclass(frozen=True)
class Case:
    """One row of the tables; `part` 8 takes every eighth document, or makes an eighth as many."""

    name: str
    n_components: int
    n_dimensions: int
    corpus: str | None = None
    n_documents: int = 0
    part: int = 1

    @property
    def title(self):
        """What the tables print."""
        X, vectors, name = _data(self)
        kind = f"{name}: {X.shape[0]:,} documents, {X.nnz:,} counts"
        return f"{kind} of {len(vectors):,} vectors × {vectors.shape[1]}, K {self.n_components}"

    def quick(self):
        """The same case on an eighth of the documents."""
        return replace(self, part=8 * self.part)


CASES = [
    Case("words-20", 20, 50, "bbc_news"),
    Case("words-100", 100, 100, "nips", part=8),
    Case("stacked-10", 10, 8, n_documents=4_000),
    Case("stacked-20", 20, 50, n_documents=2_000),
    Case("stacked-100", 100, 50, n_documents=1_000),
]


@functools.cache
def _data(case):
    """Counts, a CSR array, the vectors that they count, and a name."""
    rng = np.random.default_rng(0)
    if case.corpus is not None:
        X, name = _topics.load_corpus(case.corpus)
        X = X[:: case.part]
        X = X[:, X.sum(axis=0) > 0]
        centres = rng.normal(size=(30, case.n_dimensions))
        words = centres[rng.integers(30, size=X.shape[1])]
        return X, words + 2 * rng.normal(size=words.shape), f"words of {name}"
    n_documents, length = case.n_documents // case.part, 50
    n = n_documents * length
    centres = rng.normal(size=(case.n_components, case.n_dimensions))
    mixed = rng.integers(case.n_components, size=(n_documents, 3))  # three topics a document
    topics = np.take_along_axis(mixed, rng.integers(3, size=(n_documents, length)), axis=1).ravel()
    vectors = centres[topics] + rng.normal(size=(n, case.n_dimensions))
    ones = np.ones(n), np.arange(n), np.arange(0, n + 1, length)
    return sp.csr_array(ones, shape=(n_documents, n)), vectors, "stacked"


def contenders(case, options):
    """All contenders on `case`, each a Contender whose fit(n_iter) starts from the same place."""
    X, vectors, _ = _data(case)
    found = []
    for dtype in options.dtype:
        for name, n_jobs in _settings(options):
            fit = _fastem(case, dtype, n_jobs)
            found.append(Contender(name, dtype, n_jobs, fit, long=LONGER, settle=True))
    weight = X.sum(axis=0)
    mean = weight @ vectors / weight.sum()
    variances = weight @ (vectors - mean) ** 2 / weight.sum() + 1e-6
    k = case.n_components
    start = vectors[:k], np.tile(variances, (k, 1)), 1 / k

    def baseline(n_iter):
        return reference.fit(vectors, X, *start, n_iter)[3]

    found.append(Contender(BASELINE, "float64", options.threads, baseline, settle=True))
    return found


def _settings(options):
    """(name, threads) of fastem: one thread beside the threads that were asked for."""
    return [(ONE, 1)] * (options.threads > 1) + [(OURS, options.threads)]


def _fastem(case, dtype, n_jobs):
    """fit(n_iter) of fastem.GaussianLDA, which returns the bounds."""
    from fastem import GaussianLDA

    X, vectors, _ = _data(case)
    settings = {"means_init": vectors[: case.n_components], "tol": 0, "n_jobs": n_jobs}
    vectors = vectors.astype(dtype)
    if case.corpus is None:
        data = {"X": vectors, "lengths": np.diff(X.indptr)}
    else:
        data, settings = {"X": X.astype(dtype)}, settings | {"vectors": vectors}

    def fit(n_iter):
        with _topics.no_convergence_warnings():
            model = GaussianLDA(case.n_components, max_iter=n_iter, **settings).fit(**data)
        return model.lower_bounds_

    return fit


# --------------------------------------------------------------------------------------- tables


def summary(row):
    """One line for the progress."""
    return f"{_pair(row, (OURS, 'float64'), (BASELINE, 'float64'))} x {BASELINE}"


def tables(rows, peak, options):
    """The tables of ratios and of absolute figures."""
    ratios = ["case", "documents", f"× {BASELINE}, float64", "goal", "reached"]
    ratios += ["float32 × float64", "two threads × one"]
    absolute = ["case", "ms, float64", "ms, float32", f"ms, {BASELINE}", "objective, float64"]
    absolute += ["float32", "MiB beyond the data", f"{BASELINE}'s"]
    return [
        (ratios, [_ratios(row) for row in rows]),
        (absolute, [_absolute(row) for row in rows]),
    ]


def _ratios(row):
    """Cells of the table of ratios."""
    double, baseline = (OURS, "float64"), (BASELINE, "float64")
    gain = row.ratio(double, baseline)
    reached = "–" if gain is None else "yes" if gain >= GOAL else "no"
    return [
        row.case.name, row.case.title, _pair(row, double, baseline), number(GOAL), reached,
        _pair(row, (OURS, "float32"), double), _pair(row, double, (ONE, "float64")),
    ]  # fmt: skip


def _pair(row, ours, other):
    """How many times faster, from the fastest and from the median fits."""
    return " / ".join(number(row.ratio(ours, other, kind)) for kind in ("fastest", "typical"))


def _absolute(row):
    """Cells of the table of absolute figures."""
    double, single = row[OURS, "float64"], row[OURS, "float32"]
    return [
        row.case.name, *(milliseconds(r) for r in (double, single, row[BASELINE, "float64"])),
        *(f"{row.gap(result):.0e}" if result else "–" for result in (double, single)),
        *(number(row.memory.get(name)) for name in MEMORY),
    ]  # fmt: skip
