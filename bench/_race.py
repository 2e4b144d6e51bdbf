"""Time to equal likelihood: batch EM, incremental EM and NMF from the same start."""

import math
import statistics
import time
from dataclasses import dataclass, field

import _topics
import numpy as np
from _harness import number, progress, table
from threadpoolctl import threadpool_limits

GOALS = {100: 3.0, 300: 5.0}  # batch iterations -> how many times sooner incremental EM shall be
SEEDS = 3
MOST_ROUNDS = 3  # the longest batch fit takes seconds, which differ little
NMF_SECONDS, NMF_CHUNK = 60.0, 5

NOTES = """\
### Time to equal likelihood

Wall seconds of a fit in float64, threads: {threads}, from its call until it has the mean
log-likelihood per token that batch EM has after {iterations} iterations. A seed gives both
algorithms the same start; seeds: {seeds}; rounds, in turn: {rounds}; geometric mean over the seeds
of the fastest / the median times. Batch EM is charged up to the end of that iteration. Incremental
EM (`algorithm="incremental"`) is charged up to the end of the first pass whose `lower_bounds_` is
as large: what that pass saw on its way, so that its parameters were better by then. NMF (as above,
first seed, once, its likelihood computed off the clock every {chunk} iterations, at most
{seconds:g} s): how many times sooner incremental EM was there, in its fastest round. A dash: not
reached by then."""


@dataclass
class Seed:
    """Seconds of each round until each target, for one seed; inf where it was not reached."""

    batch: list = field(default_factory=list)
    incremental: list = field(default_factory=list)
    nmf: list | None = None


def report(cases, options):
    """The second part of the report, in Markdown."""
    goals = {10: GOALS[100], 30: GOALS[300]} if options.quick else GOALS
    seeds = 1 if options.quick else SEEDS
    rounds = min(options.rounds, MOST_ROUNDS)
    notes = NOTES.format(
        threads=options.threads,
        iterations=" and ".join(map(str, goals)),
        seeds=seeds,
        rounds=rounds,
        chunk=NMF_CHUNK,
        seconds=_nmf_seconds(options),
    )
    header = ["case"]
    for n_iter, goal in goals.items():
        header += [f"s, {n_iter} batch iterations", "s, incremental"]
        header += [f"× sooner (goal {goal:g})", "reached", "× sooner than NMF"]
    lines = []
    for case in cases:
        progress(f"plsa, time to equal likelihood: {case.name}")
        with threadpool_limits(options.threads):
            lines.append(_line(case, goals, _measure(case, list(goals), seeds, rounds, options)))
        progress(f"  {' | '.join(lines[-1])}")
    return f"{notes}\n\n{table(header, lines)}"


def _nmf_seconds(options):
    """Seconds that NMF may take for a case."""
    return NMF_SECONDS / 30 if options.quick else NMF_SECONDS


def _measure(case, iterations, seeds, rounds, options):
    """A Seed for each seed."""
    X, found = case.counts, []
    _fit(X, case, "incremental", 0, 2, options)  # warm
    for seed in range(seeds):
        result = Seed()
        for _ in range(rounds):
            ends, bounds = _fit(X, case, "batch", seed, max(iterations) + 1, options)
            # The bound of an iteration is that of the parameters after the one before.
            targets = [bounds[n] for n in iterations]
            result.batch.append([ends[n - 1] for n in iterations])
            ends, bounds = _fit(X, case, "incremental", seed, max(iterations), options, targets[-1])
            result.incremental.append(_first(ends, bounds, targets))
        if seed == 0:
            result.nmf = _nmf(X, case, seed, max(iterations), targets, _nmf_seconds(options))
        found.append(result)
    return found


def _fit(X, case, algorithm, seed, max_iter, options, enough=math.inf):
    """Seconds from the call to the end of each iteration, and the bounds of the iterations."""
    from fastem import PLSA, em

    ends, bounds = [], []

    def watch(state):
        ends.append(time.perf_counter() - begin)
        bounds.append(state.lower_bound)
        return state.lower_bound >= enough

    settings = {"max_iter": max_iter, "tol": 0, "n_jobs": options.threads}
    model = PLSA(case.n_components, algorithm=algorithm, random_state=seed, **settings)
    with em.watch(watch), _topics.no_convergence_warnings():
        begin = time.perf_counter()
        model.fit(X)
    return ends, bounds


def _first(ends, bounds, targets):
    """Seconds until the bounds were as large as each target; inf if they never were."""
    pairs = list(zip(ends, bounds, strict=True))
    return [next((end for end, bound in pairs if bound >= t), math.inf) for t in targets]


def _nmf(X, case, seed, max_iter, targets, most_seconds):
    """Seconds of NMF until each target, from PLSA's start; it goes on where a chunk ended."""
    from fastem.topics.plsa_em import random_start

    rng = np.random.RandomState(seed)
    doc_topic, H = random_start(X.shape, case.n_components, rng)
    W = doc_topic * X.sum(axis=1)[:, np.newaxis]
    seconds, ends, bounds = 0.0, [], [-math.inf]
    while len(ends) < max_iter / NMF_CHUNK and seconds < most_seconds and bounds[-1] < targets[-1]:
        begin = time.perf_counter()
        W, H = _topics.nmf(X, W, H, NMF_CHUNK)
        seconds += time.perf_counter() - begin
        ends.append(seconds)
        bounds.append(_topics.likelihood(X, *_topics.probabilities(W, H)))
    return _first(ends, bounds[1:], targets)


def _line(case, goals, found):
    """Cells of one case."""
    cells = [case.name]
    for place, goal in enumerate(goals.values()):
        both = []
        for middle in (min, statistics.median):
            batch, ours = (
                _mean(middle([times[place] for times in rounds]) for rounds in per_seed)
                for per_seed in zip(*((s.batch, s.incremental) for s in found), strict=True)
            )
            both.append((batch, ours, batch / ours if ours < math.inf else None))
        gain = both[0][2]
        cells += [" / ".join(map(number, values)) for values in zip(*both, strict=True)]
        cells.append("yes" if gain is not None and gain >= goal else "no")
        own = min(times[place] for times in found[0].incremental)
        cells.append(number(found[0].nmf[place] / own if own < math.inf else None))
    return cells


def _mean(values):
    """Geometric mean."""
    return math.exp(statistics.fmean(map(math.log, values)))
