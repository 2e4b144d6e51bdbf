"""LDA's time to quality: seconds until topics predict held-out words as well as another library's.

A runner trains one library at one setting and returns its curve: (iteration, seconds, score on the
validation part, score on the test part). Scores are taken off the clock.
"""

import math
import statistics
import time
import warnings
from contextlib import contextmanager
from typing import NamedTuple

import _completion
import numpy as np
from _harness import OURS, PEER, number, optional, progress, table

SEEDS = 3
SLOWER_GOAL = 40  # times sooner than scikit-learn and gensim at their best
TOMOTOPY, GENSIM = "tomotopy", "gensim"
PASSES = {"batch": 20, "online": 10, GENSIM: 10}  # of those that take minutes: one setting each
OURS_PASSES = 60

NOTES = """\
### Time to quality

Document completion: topics are inferred on one half of a held-out document's words, and the score
is the mean log-probability of a word of the other half, in nats. One judge takes nothing but a
library's topics, and the best of five symmetric alpha, so that nobody's inference and nobody's
alpha count. Of the held-out documents, settings are chosen on every second one, with a seed of
their own; the others are scored. fastem: {threads} threads, float32, seconds from the call of `fit`
on a sparse matrix; tomotopy: collapsed Gibbs with alpha learned, {threads} workers, `train` alone,
its corpus being loaded already. Seeds: {seeds}; × is tomotopy's seconds by those that fastem needed
to the same seed's score, both geometric means over the seeds; every seed must get there.
{peer} and gensim, which take minutes, run once at each setting, and not on the largest corpus: the
best by the validation part is compared. The end: after {passes} passes of fastem, and tomotopy's
last iteration."""


class Point(NamedTuple):
    """Where a library is after some iterations."""

    iteration: int
    seconds: float
    validation: float
    test: float


def report(cases, options):
    """The third part of the report, in Markdown."""
    seeds = 1 if options.quick else SEEDS
    lines, others, drawn = [], [], []
    for case in cases:
        progress(f"lda, time to quality: {case.name}")
        data = _completion.load(case.corpus, case.part if case.small else 1)
        ours = _best("ours", case, data, options, OURS_SETTINGS)
        curves = [run_ours(case, data, options, seed, **ours) for seed in range(1, seeds + 1)]
        gibbs = _tomotopy_curves(case, data, options, seeds)
        slower = _slower_curves(case, data, options) if case.slower else {}
        found = _against_tomotopy(case, curves, gibbs), _against_slower(case, curves, slower)
        lines, others = lines + found[0], others + found[1]
        for line in [*found[0], *found[1]]:
            progress(f"  {' | '.join(line)}")
        ends = {label: [curve] for label, curve in slower.items()}
        for label, runs in {f"{OURS}, {case.method}": curves, TOMOTOPY: gibbs, **ends}.items():
            drawn += [_points(case, label, runs[0])] if runs else []
    header = ["case", "method", f"{TOMOTOPY}'s iterations", "score", "s", f"s, {OURS}"]
    header += ["× sooner", "goal", "reached", f"end, {OURS}", f"end, {TOMOTOPY}"]
    second = ["case", "library and setting", "score", "s", f"s, {OURS}", "× sooner", "goal"]
    second += ["reached"]
    third = ["case", "library and setting", "seconds: score, first seed"]
    notes = NOTES.format(threads=options.threads, seeds=seeds, passes=OURS_PASSES, peer=PEER)
    parts = table(header, lines), table(second, others), table(third, drawn)
    return "\n\n".join([notes, *parts])


# ---- the libraries ---------------------------------------------------------------------------

OURS_SETTINGS = [{"topic_word_prior": eta} for eta in (None, 0.05)]
TOMOTOPY_SETTINGS = [{"alpha": 0.1, "eta": eta} for eta in (0.01, 0.05)]


def run_ours(case, data, options, seed, passes=OURS_PASSES, **settings):
    """Curve of fastem, at the end of every pass."""
    from fastem import LatentDirichletAllocation, em

    X, validation, test = data
    curve, off = [], 0.0

    def watch(state):
        nonlocal off
        now = time.perf_counter()
        topics = state.params.components()
        scores = validation.score(topics), test.score(topics)
        curve.append(Point(state.iteration, now - begin - off, *scores))
        off += time.perf_counter() - now

    model = LatentDirichletAllocation(
        case.n_components, learning_method=case.method, max_iter=passes, random_state=seed,
        n_jobs=options.threads, **settings,
    )  # fmt: skip
    begin = time.perf_counter()
    with em.watch(watch):
        model.fit(X)
    return curve


@contextmanager
def _quiet():
    """No word of tomotopy's that more than one worker are not reproducible."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def run_tomotopy(case, data, options, seed, marks, **settings):
    """Curve of tomotopy, at some iterations."""
    model_class = optional(TOMOTOPY, "LDAModel")
    X, validation, test = data
    model = model_class(k=case.n_components, seed=seed, **settings)
    names = [str(word) for word in range(X.shape[1])]
    for begin, end in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        words = np.repeat(X.indices[begin:end], X.data[begin:end].astype(int))
        model.add_doc([names[word] for word in words])
    with _quiet():
        model.train(0)
    places = np.array([int(word) for word in model.used_vocabs])
    curve, seconds, done = [], 0.0, 0
    for mark in marks:
        begin = time.perf_counter()
        with _quiet():
            model.train(mark - done, workers=options.threads)
        seconds, done = seconds + time.perf_counter() - begin, mark
        topics = np.zeros((case.n_components, X.shape[1]))
        for k in range(case.n_components):
            topics[k, places] = model.get_topic_word_dist(k)
        curve.append(Point(mark, seconds, validation.score(topics), test.score(topics)))
    return curve


def run_sklearn(case, data, options, seed, method):
    """The end of a fit of scikit-learn."""
    from sklearn.decomposition import LatentDirichletAllocation as Peer

    X, validation, test = data
    rows = np.random.default_rng(seed).permutation(X.shape[0])  # its online batches do not shuffle
    passes = _passes(method, X, options)
    model = Peer(
        case.n_components, learning_method=method, max_iter=passes, random_state=seed, n_jobs=1
    )
    begin = time.perf_counter()
    model.fit(X[rows])
    seconds = time.perf_counter() - begin
    scores = validation.score(model.components_), test.score(model.components_)
    return [Point(passes, seconds, *scores)]


def run_gensim(case, data, options, seed, name, **settings):
    """The end of a fit of gensim."""
    model_class = optional("gensim.models", name)
    X, validation, test = data
    X = X[np.random.default_rng(seed).permutation(X.shape[0])]
    documents = [
        [(int(word), float(count)) for word, count in zip(X.indices[a:b], X.data[a:b], strict=True)]
        for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True)
    ]
    words = {word: str(word) for word in range(X.shape[1])}
    passes = _passes(GENSIM, X, options)
    begin = time.perf_counter()
    model = model_class(
        documents, case.n_components, words, passes=passes, random_state=seed, eval_every=None,
        dtype=np.float32, **settings,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    topics = model.get_topics()
    return [Point(passes, seconds, validation.score(topics), test.score(topics))]


SLOWER = [
    (f"{PEER}, batch", run_sklearn, {"method": "batch"}, None),
    (f"{PEER}, online", run_sklearn, {"method": "online"}, None),
    ("gensim, LdaModel, alpha auto", run_gensim, {"name": "LdaModel", "alpha": "auto"}, "LdaModel"),
    ("gensim, LdaMulticore", run_gensim, {"name": "LdaMulticore", "workers": 1}, "LdaMulticore"),
]


def _passes(method, X, options):
    """Passes that end within a minute or so."""
    few = 4 if X.shape[0] > 20_000 else 1  # documents cost more than words in these libraries
    return 2 if options.quick else max(2, PASSES[method] // few)


# ---- comparisons -----------------------------------------------------------------------------


def _best(library, case, data, options, settings):
    """The setting with the best end on the validation part, with a seed of its own."""
    marks = [max(case.marks) // 3]
    ends = []
    for setting in settings:
        if library == TOMOTOPY:
            curve = run_tomotopy(case, data, options, 0, marks, **setting)
        else:
            curve = run_ours(case, data, options, 0, OURS_PASSES // 3, **setting)
        ends.append(curve[-1].validation)
    return settings[int(np.argmax(ends))]


def _tomotopy_curves(case, data, options, seeds):
    """Curves of tomotopy, one for each seed; none where it is not installed."""
    if optional(TOMOTOPY, "LDAModel") is None:
        return []
    setting = _best(TOMOTOPY, case, data, options, TOMOTOPY_SETTINGS)
    marks = sorted({*case.marks, *(max(case.marks) * n // 10 for n in (1, 2, 3, 6))})
    return [
        run_tomotopy(case, data, options, seed, marks, **setting) for seed in range(1, seeds + 1)
    ]


def _against_tomotopy(case, curves, theirs):
    """Lines of the table, one for each mark."""
    lines = []
    for mark, goal in case.marks.items() if theirs else ():
        levels = [next(p for p in curve if p.iteration == mark) for curve in theirs]
        cells = _cells(levels, curves, goal)
        ends = [number_of([curve[-1].test for curve in runs]) for runs in (curves, theirs)]
        lines.append([case.name, case.method, str(mark), *cells, *ends])
    return lines


def _slower_curves(case, data, options):
    """Curves, of a single point, of scikit-learn and gensim at each setting."""
    found = {}
    for label, run, settings, needed in SLOWER:
        if needed is None or optional("gensim.models", needed) is not None:
            found[label] = run(case, data, options, 1, **settings)
            progress(f"  {label}: {found[label][-1]}")
    return found


def _against_slower(case, curves, found):
    """Lines of the table: scikit-learn's and gensim's best."""
    lines = []
    for library in (PEER, GENSIM):
        ends = {label: curve[-1] for label, curve in found.items() if label.startswith(library)}
        if ends:
            label, best = max(ends.items(), key=lambda pair: pair[1].validation)
            label = f"{label}, {best.iteration} passes"
            lines.append([case.name, label, *_cells([best], curves, SLOWER_GOAL)])
    return lines


def _points(case, label, curve):
    """Cells of the table of curves, which the documentation draws: at most ten points."""
    some = {round(place) for place in np.geomspace(1, len(curve), min(10, len(curve)))}
    shown = [f"{curve[n - 1].seconds:.3g}: {curve[n - 1].test:.4f}" for n in sorted(some)]
    return [case.name, label, ", ".join(shown)]


def _cells(levels, curves, goal):
    """Score, seconds, our seconds, how many times sooner, the goal, and whether it is reached.

    One level is for all curves.
    """
    pairs = list(zip(levels * (len(curves) // len(levels)), curves, strict=True))
    ours = [_first(curve, level.test) for level, curve in pairs]
    score = number_of([level.test for level in levels])
    theirs = statistics.geometric_mean([level.seconds for level in levels])
    if any(math.isinf(seconds) for seconds in ours):
        return [score, number(theirs), "–", "–", number(goal), "no"]
    gain = theirs / statistics.geometric_mean(ours)
    reached = "yes" if gain >= goal else "no"
    ours_mean = number(statistics.geometric_mean(ours))
    return [score, number(theirs), ours_mean, number(gain), number(goal), reached]


def _first(curve, level):
    """Seconds until the test score was as large; inf if it never was."""
    return next((point.seconds for point in curve if point.test >= level), math.inf)


def number_of(scores):
    """Mean and range of scores."""
    mean = f"{statistics.fmean(scores):.4f}"
    return mean if len(scores) == 1 else f"{mean} ({min(scores):.4f} … {max(scores):.4f})"
