"""Bench cases and contenders for PLSA."""

import functools
import math
from dataclasses import dataclass, replace

import _race
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
    optional,
)
from reference import plsa as reference

ENSTOP, NMF, ONE = "enstop", "NMF", "fastem, one thread"
PEERS = ("scikit-learn", "enstop", "numba", "numpy", "scipy")  # whose versions the report names
MEMORY = (OURS, ENSTOP)
LONGER = 16  # an iteration of fastem takes milliseconds: more of them rise out of the noise
LOOSE = 1e-4  # relative; enstop keeps and adds everything in float32
BASELINE_GOAL, NMF_GOAL = 8, 15

METHOD = f"""\
One iteration, wall: a fit of {LONG} iterations less a fit of {SHORT}, by {LONG - SHORT} ({LONGER}
in place of {LONG} for fastem); contenders in turn, each turn after a fit off the clock, rounds:
{{rounds}}; ms, ratios and speeds are fastest / median, and the fastest decide "reached". Threads:
{{threads}} where nothing else is said. Ratios compare like precision: fastem float64 against
{BASELINE} (the textbook in bench/reference, NumPy and SciPy) and against scikit-learn's NMF, fastem
float32 against enstop, which has no other. fastem's and {BASELINE}'s iterations include the
likelihood; enstop's and NMF's, as timed, do not. G nnz·K/s: stored counts times
topics, by the seconds of an iteration. Objective: the largest relative difference of the mean
log-likelihood per token from {BASELINE}'s after equal iterations from the same start; float64 must
agree to {TOLERANCE:g}, enstop to {LOOSE:g}. NMF updates documents and topics by turns and so is
another algorithm: its difference is only reported, of its factors normalised. MiB beyond the corpus
is the peak that a fit adds. A dash: not measured, or lost in noise."""

NOTES = """\
Corpora: the training counts of the folder shared/data beside the repository, or of FASTEM_DATA;
where a title says docstrings, those of the installed packages stood in. Start, the same for all:
random documents' topics (Dirichlet, 1) and topics (uniform between 0.5 and 1.5, normalised). NMF is
solver="mu" with beta_loss="kullback-leibler" from W = p(z|d) n_d and H = p(w|z). enstop is
`enstop.plsa.plsa_fit`, with numba's threads set to the same number: pip install enstop."""


@dataclass(frozen=True)
class Case:
    """One row of the tables; `part` 8 takes every eighth document."""

    name: str
    corpus: str
    n_components: int
    enstop_goal: float | None
    speed_goal: float | None = None  # G nnz·K/s of float32
    race: bool = False  # whether it is also timed to equal likelihood
    part: int = 1

    @property
    def counts(self):
        """The corpus, a CSR array of float64."""
        return _counts(self.corpus, self.part)[0]

    @property
    def title(self):
        """What the tables print."""
        (n_documents, n_words), nnz = self.counts.shape, self.counts.nnz
        title = _counts(self.corpus, self.part)[1]
        return f"{title}: {n_documents:,} × {n_words:,}, {nnz:,} counts, K {self.n_components}"

    @property
    def work(self):
        """Stored counts times topics."""
        return self.counts.nnz * self.n_components

    def quick(self):
        """The same case on an eighth of the documents."""
        return replace(self, part=8)


CASES = [
    Case("kos-20", "kos", 20, enstop_goal=4, speed_goal=2.5, race=True),
    Case("kos-100", "kos", 100, enstop_goal=15, speed_goal=3.5, race=True),
    Case("nips-100", "nips", 100, enstop_goal=15, speed_goal=3.5, race=True),
    Case("debian-100", "debian", 100, enstop_goal=15, speed_goal=3.5),
    Case("kos-300", "kos", 300, enstop_goal=30),
    Case("bbc-50", "bbc_news", 50, enstop_goal=None, race=True),
]


@functools.cache
def _counts(corpus, part):
    """Every part-th document of a corpus, without the words that they lack, and its title."""
    X, title = _topics.load_corpus(corpus)
    X = X[::part]
    return X[:, X.sum(axis=0) > 0], title


def random_start(case, seed=0):
    """p(z|d), (D, K), and p(w|z), (K, V): none is symmetric, so that all of the work is done."""
    rng = np.random.default_rng(seed)
    n_documents, n_words = case.counts.shape
    topic_word = rng.uniform(0.5, 1.5, size=(case.n_components, n_words))
    topic_word /= topic_word.sum(axis=1, keepdims=True)
    return rng.dirichlet(np.ones(case.n_components), size=n_documents), topic_word


def contenders(case, options):
    """All contenders on `case`, each a Contender whose fit(n_iter) starts from the same place."""
    X, start, threads = case.counts, random_start(case), options.threads
    found = []

    def add(name, dtype, n_threads, fit, bounds=None, **settings):
        found.append(Contender(name, dtype, n_threads, fit, bounds, settle=True, **settings))

    for dtype in options.dtype:
        for name, n_jobs in _settings(options):
            fit = _fastem(X.astype(dtype), start, n_jobs)
            add(name, dtype, n_jobs, fit, long=LONGER)
    add(BASELINE, "float64", threads, lambda n: reference.fit(X, *start, n)[2])
    fit, bounds = _nmf(X, start)
    add(NMF, "float64", threads, fit, bounds, tolerance=math.inf)
    # A child that measures another contender's memory need not wait for numba.
    wanted = options.memory is None or options.memory.startswith(ENSTOP)
    if wanted and optional("enstop.plsa", "plsa_fit", _attempt) is not None:
        fit, bounds = _enstop(X, start, threads)
        add(ENSTOP, "float32", threads, fit, bounds, tolerance=LOOSE)
    return found


def _settings(options):
    """(name, threads) of fastem: one thread beside the threads that were asked for."""
    return [(ONE, 1)] * (options.threads > 1) + [(OURS, options.threads)]


def _fastem(X, start, n_jobs):
    """fit(n_iter) of fastem.PLSA, which returns the bounds."""
    from fastem import PLSA

    def fit(n_iter):
        model = PLSA(start[1].shape[0], init=start, max_iter=n_iter, tol=0, n_jobs=n_jobs)
        with _topics.no_convergence_warnings():
            return model.fit(X).lower_bounds_

    return fit


def _nmf(X, start):
    """fit(n_iter) and bounds(n_iter) of scikit-learn's NMF."""
    doc_topic, topic_word = start
    W = doc_topic * X.sum(axis=1)[:, np.newaxis]

    def fit(n_iter):
        return _topics.nmf(X, W, topic_word, n_iter)

    def bounds(n_iter):
        return [_topics.likelihood(X, *_topics.probabilities(*fit(n_iter - 1)))]

    return fit, bounds


def _enstop(X, start, threads):
    """fit(n_iter) and bounds(n_iter) of enstop, which keeps no bounds: that of the last E-step."""
    import numba

    plsa_fit = optional("enstop.plsa", "plsa_fit", _attempt)
    ones = np.ones(X.shape[0], np.float32)

    def fit(n_iter):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        start_copy = tuple(array.copy() for array in start)  # it normalises them where they are
        settings = {"n_iter_per_test": 10**9, "tolerance": 0.0}  # never looks at the likelihood
        return plsa_fit(X, start[1].shape[0], ones, start_copy, n_iter=n_iter, **settings)

    def bounds(n_iter):
        return [_topics.likelihood(X, *(array.astype(np.float64) for array in fit(n_iter - 1)))]

    return fit, bounds


def _attempt(plsa_fit):
    """Compile and run enstop on four counts."""
    X = sp.csr_array(np.array([[1.0, 2.0], [3.0, 1.0]]))
    plsa_fit(X, 2, np.ones(2, np.float32), (np.eye(2) + 0.5, np.eye(2) + 0.5), n_iter=1)


# --------------------------------------------------------------------------------------- tables


def summary(row):
    """One line for the progress."""
    gains = [f"{_pair(row, ours, other)} x {other[0]}" for ours, other, _ in _goals(row.case)]
    return f"{', '.join(gains)}; {_speeds(row, OURS, 'float32')} G nnz·K/s in float32"


def tables(rows, peak, options):
    """The tables of ratios, of speeds and of absolute figures."""
    ratios = ["case", "corpus: documents × words"]
    for _, (name, dtype), _ in _goals(CASES[0]):
        ratios += [f"× {name}, {dtype}", "goal", "reached"]
    ratios.append("float32 × float64")
    settings = [(dtype, n) for dtype in options.dtype for _, n in _settings(options)]
    speeds = ["case", *(f"G nnz·K/s, {dtype}, threads: {n}" for dtype, n in settings)]
    speeds += ["goal for float32", "reached"]
    absolute = ["case", "ms, float64", "ms, float32", f"ms, {BASELINE}", f"ms, {NMF}"]
    absolute += [f"ms, {ENSTOP}", "objective, float64", "float32", NMF, ENSTOP]
    absolute += ["MiB beyond the corpus, float64", f"{ENSTOP}'s"]
    return [
        (ratios, [_ratios(row) for row in rows]),
        (speeds, [_speed(row, options) for row in rows]),
        (absolute, [_absolute(row) for row in rows]),
    ]


def _goals(case):
    """(fastem's key, another's key, how many times faster fastem shall be)."""
    return [
        ((OURS, "float64"), (BASELINE, "float64"), BASELINE_GOAL),
        ((OURS, "float64"), (NMF, "float64"), NMF_GOAL),
        ((OURS, "float32"), (ENSTOP, "float32"), case.enstop_goal),
    ]


def _ratios(row):
    """Cells of the table of ratios."""
    cells = [row.case.name, row.case.title]
    for ours, other, goal in _goals(row.case):
        cells += [_pair(row, ours, other), number(goal), reached(row.ratio(ours, other), goal)]
    return [*cells, _pair(row, (OURS, "float32"), (OURS, "float64"))]


def _pair(row, ours, other):
    """How many times faster, from the fastest and from the median fits."""
    return " / ".join(number(row.ratio(ours, other, kind)) for kind in ("fastest", "typical"))


def reached(value, goal):
    """Whether a measured value is at least the goal, if there is one."""
    if value is None or goal is None:
        return "–"
    return "yes" if goal <= value < math.inf else "no"


def _speed(row, options):
    """Cells of the table of speeds."""
    names = [name for name, _ in _settings(options)]
    cells = [_speeds(row, name, dtype) for dtype in options.dtype for name in names]
    result, goal = row[OURS, "float32"], row.case.speed_goal
    speed = row.case.work / result.fastest / 1e9 if result else None
    return [row.case.name, *cells, number(goal), reached(speed, goal)]


def _speeds(row, name, dtype):
    """G nnz·K/s, from the fastest and from the median fits."""
    result = row[name, dtype]
    if result is None:
        return "–"
    return " / ".join(number(row.case.work / s / 1e9) for s in (result.fastest, result.typical))


def _absolute(row):
    """Cells of the table of absolute figures."""
    ours = [row[OURS, "float64"], row[OURS, "float32"]]
    baseline, nmf, enstop = row[BASELINE, "float64"], row[NMF, "float64"], row[ENSTOP, "float32"]
    return [
        row.case.name,
        *(milliseconds(result) for result in (*ours, baseline, nmf, enstop)),
        *(f"{row.gap(result):.0e}" if result else "–" for result in (*ours, nmf, enstop)),
        *(number(row.memory.get(name)) for name in MEMORY),
    ]


def supplement(cases, options):
    """The second part of the report: time to equal likelihood."""
    return _race.report([case for case in cases if case.race], options)
