"""LDA's time to equal ELBO: incremental learning against scikit-learn's batch passes."""

import math
import statistics
import time

from _harness import OURS, PEER, number, progress, table
from threadpoolctl import threadpool_limits

PASSES = 12  # of scikit-learn's batch learning
MOST_PASSES = 20  # of ours
GOALS = {"float32": 50, "float64": 30}
SEEDS = 3
MOST_ROUNDS = 3

NOTES = """\
### Time to equal ELBO

Wall seconds of one thread until the ELBO that scikit-learn's batch learning has after {passes}
passes. One function, `score`, computes both ELBOs from the topics, off the clock. fastem is
`learning_method="incremental"`, with the batch size that the table gives and defaults otherwise,
charged up to the end of the first pass after which its ELBO is as large; seeds: {seeds}; geometric
mean over them. {peer} fits once a seed, for seconds; fastem, after warm-up, {rounds} times: fastest
/ median, and the fastest decide "reached". A dash: not reached in {most} passes."""


def report(cases, options):
    """The second part of the report, in Markdown."""
    seeds, passes = (1, 3) if options.quick else (SEEDS, PASSES)
    rounds = min(options.rounds, MOST_ROUNDS)
    header = ["case", "batch size"]
    for dtype in options.dtype:
        header += [f"s, {PEER}, {dtype}", f"s, {OURS}, {dtype}", f"passes, {dtype}"]
        header += [f"×, {dtype} (goal {GOALS[dtype]})", "reached"]
    lines = []
    for case in cases:
        progress(f"lda, time to equal ELBO: {case.name}")
        with threadpool_limits(1):
            cells = [_cells(case, dtype, seeds, passes, rounds) for dtype in options.dtype]
        lines.append(
            [case.name, str(case.batch_size), *(cell for group in cells for cell in group)]
        )
        progress(f"  {' | '.join(lines[-1])}")
    notes = NOTES.format(passes=passes, seeds=seeds, most=MOST_PASSES, rounds=rounds, peer=PEER)
    return f"{notes}\n\n{table(header, lines)}"


def _cells(case, dtype, seeds, passes, rounds):
    """Cells of one case in one precision."""
    X = case.counts.astype(dtype)
    runs = [race(X, case, seed, passes, rounds) for seed in range(seeds)]
    peer = statistics.geometric_mean([run[0] for run in runs])
    times, n_passes = [run[1] for run in runs], max(run[2] for run in runs)
    if math.inf in [second for seconds in times for second in seconds]:
        return [number(peer), "–", "–", "–", "no"]
    ours = [
        statistics.geometric_mean([kind(seconds) for seconds in times])
        for kind in (min, statistics.median)
    ]
    reached = "yes" if peer / ours[0] >= GOALS[dtype] else "no"
    pair = " / ".join(number(seconds) for seconds in ours)
    ratios = " / ".join(number(peer / seconds) for seconds in ours)
    return [number(peer), pair, f"{n_passes}", ratios, reached]


def race(X, case, seed, passes, rounds):
    """Seconds of scikit-learn, ours until the same ELBO in each round, and our passes."""
    from sklearn.decomposition import LatentDirichletAllocation as Peer

    from fastem import LatentDirichletAllocation as Ours
    from fastem import em

    n_components = case.n_components
    judge = Ours(n_components, n_jobs=1, max_iter=0, random_state=0).fit(X)

    def elbo(components):
        judge.components_ = components.astype(X.dtype, copy=False)
        return judge.score(X)

    begin = time.perf_counter()
    peer = Peer(n_components, max_iter=passes, n_jobs=1, random_state=seed).fit(X)
    peer_seconds = time.perf_counter() - begin
    level = elbo(peer.components_)
    seconds, n_passes = [], 0

    def fit(watchers, max_iter):
        ours = Ours(
            n_components, learning_method="incremental", batch_size=case.batch_size,
            max_iter=max_iter, n_jobs=1, random_state=seed,
        )  # fmt: skip
        with em.watch(*watchers):
            ours.fit(X)

    fit([], 2)  # warm
    for _ in range(rounds):
        watch = _Watch(elbo, level)
        fit([watch], MOST_PASSES)
        seconds.append(watch.seconds)
        n_passes = watch.passes
    return peer_seconds, seconds, n_passes


class _Watch:
    """A callback that stops at a level, and the time until then without its own."""

    def __init__(self, elbo, level):
        self.elbo, self.level, self.seconds, self.passes = elbo, level, math.inf, 0
        self.begin = time.perf_counter()

    def __call__(self, state):
        now = time.perf_counter()
        if self.elbo(state.params.components()) >= self.level:
            self.seconds, self.passes = now - self.begin, state.iteration
            return True
        self.begin += time.perf_counter() - now
        return False
