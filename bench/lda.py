"""Bench cases and contenders for latent Dirichlet allocation."""

import functools
import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from unittest import mock

import _lda_elbo
import _lda_quality
import _topics
import numpy as np
from _harness import OURS, PEER, Contender, milliseconds, number

ONE = "fastem, one thread"
PEERS = (PEER, "gensim", "tomotopy", "numpy", "scipy")  # whose versions the report names
MEMORY = ()
AGREE = 1e-6  # relative; a document's gamma may be updated to the end in another order
LOOSE = 1e-3
LONGER = 16  # a pass of fastem takes milliseconds: more of them rise out of the noise
THREADS_GOAL = 1.7

METHOD = f"""\
One pass of `learning_method="batch"`, wall: a fit of several passes less a fit of one, by the
difference; every document's gamma is updated equally often by all (`mean_change_tol=0`; how often
stands with the case: about what {PEER}'s default tolerance takes there), from the same random
numbers, which NumPy draws one after another; contenders in turn, rounds: {{rounds}}; ms and ratios
are fastest / median, and the fastest decide "reached". {PEER} has one thread, for its `n_jobs=2` is
slower; ratios to it are of one thread and like precision; beside them, {{threads}} threads of
fastem against one. Objective: relative difference of the ELBO per token from {PEER}'s in float64
after equal passes; float64 must agree to {AGREE:g}, for which alone {PEER} goes without the 2e-16
that it adds to p(w|d). A dash: not measured, or lost in noise."""

NOTES = """\
Corpora: the training counts of the folder shared/data beside the repository, or of FASTEM_DATA;
where a title says docstrings, those of the installed packages stood in. Priors are the defaults,
1 / K."""


@dataclass(frozen=True)
class Case:
    """One row of the tables; `part` n takes every n-th document for the passes and the ELBO."""

    name: str
    corpus: str
    n_components: int
    goals: dict  # dtype -> how many times faster than scikit-learn
    method: str  # the learning_method for quality
    marks: dict  # iterations of tomotopy -> how many times sooner fastem shall have its value
    batch_size: int  # of incremental learning
    sweeps: int  # updates of a document's gamma in a pass
    part: int = 1
    slower: bool = True  # whether the race is against the libraries that take minutes, too
    small: bool = False  # whether the race for quality too is for show only

    @property
    def counts(self):
        """The corpus, a CSR array of float64."""
        return _counts(self.corpus, self.part)[0]

    @property
    def title(self):
        """What the tables print."""
        (n_documents, n_words), nnz = self.counts.shape, self.counts.nnz
        title = _counts(self.corpus, self.part)[1]
        size = f"{n_documents:,} × {n_words:,}, {nnz:,} counts"
        return f"{title}: {size}, K {self.n_components}, {self.sweeps} updates"

    def quick(self):
        """The same case on an eighth of the documents."""
        marks = {max(4, n // 10): goal for n, goal in self.marks.items()}
        changes = {"marks": marks, "batch_size": self.batch_size // 8, "small": True}
        return replace(self, part=8 * self.part, **changes)


LONG_GOALS, SHORT_GOALS = {"float32": 8, "float64": 5}, {"float32": 15, "float64": 10}
CASES = [
    Case("kos-50", "kos", 50, LONG_GOALS, "cvb0", {200: 8, 500: 15}, 128, 30),
    Case("nips-50", "nips", 50, LONG_GOALS, "cvb0", {200: 8, 500: 15}, 256, 80),
    Case("debian-100", "debian", 100, SHORT_GOALS, "stochastic", {30: 5, 50: 5, 120: 4}, 2048, 12,
         part=8, slower=False),
]  # fmt: skip


@functools.cache
def _counts(corpus, part):
    """Every part-th document of a corpus, without the words that they lack, and its title."""
    X, title = _topics.load_corpus(corpus)
    X = X[::part]
    title = f"{title}, 1/{part}" if part > 1 else title
    return X[:, X.sum(axis=0) > 0], title


def contenders(case, options):
    """All contenders on `case`, each a Contender whose fit(n_iter) starts from the same place."""
    from sklearn.decomposition import LatentDirichletAllocation as Peer

    from fastem import LatentDirichletAllocation as Ours

    found = []
    for dtype in options.dtype:
        X = case.counts.astype(dtype)
        for name, n_jobs in [(ONE, 1)] + [(OURS, options.threads)] * (options.threads > 1):
            fit = _fit(Ours, X, case, n_jobs)
            tolerance = AGREE if dtype == "float64" else LOOSE
            found.append(_contender(name, dtype, n_jobs, fit, LONGER, tolerance))
        fit = _fit(Peer, X, case, 1)
        tolerance = AGREE if dtype == "float64" else math.inf  # its ELBO in float32 is coarse
        bounds = _without_eps(fit) if dtype == "float64" else None
        found.append(_contender(PEER, dtype, 1, fit, 3, tolerance, bounds))
    return found


def _contender(name, dtype, threads, fit, long, tolerance, bounds=None):
    """A Contender whose short fit is not the first after the others', and slow for it."""
    return Contender(
        name, dtype, threads, fit, long=long, tolerance=tolerance, bounds=bounds, settle=True
    )


def _without_eps(fit):
    """The same fit without the 2e-16 that scikit-learn adds to a word's probability.

    In a short document of 100 topics that probability may be less, and then the ELBO differs.
    """

    def bounds(n_iter):
        with mock.patch("numpy.finfo", return_value=SimpleNamespace(eps=1e-290)):
            return fit(n_iter)

    return bounds


def _fit(estimator, X, case, n_jobs):
    """fit(n_iter), which returns the last ELBO per token."""
    settings = {"mean_change_tol": 0, "max_doc_update_iter": case.sweeps, "random_state": 0}

    def fit(n_iter):
        model = estimator(case.n_components, max_iter=n_iter, n_jobs=n_jobs, **settings).fit(X)
        return [-np.log(model.bound_)]

    return fit


# --------------------------------------------------------------------------------------- tables


def summary(row):
    """One line for the progress."""
    pairs = [f"{_pair(row, (ONE, t), (PEER, t))} x {PEER}, {t}" for t in ("float64", "float32")]
    return f"{', '.join(pairs)}; threads {_pair(row, (OURS, 'float32'), (ONE, 'float32'))}"


def tables(rows, peak, options):
    """The tables of ratios and of absolute figures."""
    ratios, absolute = ["case", "corpus: documents × words"], ["case"]
    for dtype in options.dtype:
        ratios += [f"× {PEER}, {dtype}", "goal", "reached"]
        ratios += [f"× {options.threads} threads, {dtype}", "goal", "reached"]
        absolute += [f"ms, {dtype}, one thread", f"ms, {options.threads} threads", f"ms, {PEER}"]
        absolute += ["objective", f"{PEER}'s"]
    return [
        (ratios, [_ratios(row, options) for row in rows]),
        (absolute, [_absolute(row, options) for row in rows]),
    ]


def _ratios(row, options):
    """Cells of the table of ratios."""
    cells = [row.case.name, row.case.title]
    for dtype in options.dtype:
        pairs = [((ONE, dtype), (PEER, dtype), row.case.goals[dtype])]
        pairs.append(((OURS, dtype), (ONE, dtype), THREADS_GOAL))
        for ours, other, goal in pairs:
            ratio = row.ratio(ours, other)
            reached = "–" if ratio is None else "yes" if ratio >= goal else "no"
            cells += [_pair(row, ours, other), number(goal), reached]
    return cells


def _pair(row, ours, other):
    """How many times faster, from the fastest and from the median fits."""
    return " / ".join(number(row.ratio(ours, other, kind)) for kind in ("fastest", "typical"))


def _absolute(row, options):
    """Cells of the table of absolute figures."""
    cells = [row.case.name]
    for dtype in options.dtype:
        results = [row[name, dtype] for name in (ONE, OURS, PEER)]
        cells += [milliseconds(result) for result in results]
        cells += [f"{row.gap(result):.0e}" if result else "–" for result in results[::2]]
    return cells


def supplement(cases, options):
    """The second and the third part of the report: time to equal ELBO, and time to quality."""
    return f"{_lda_elbo.report(cases, options)}\n\n{_lda_quality.report(cases, options)}"
