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

NOTES = """\
### Time to equal ELBO

Wall seconds of one thread until the ELBO that scikit-learn's batch learning has after {passes}
passes. One function, `score`, computes both ELBOs from the topics, off the clock. fastem is
`learning_method="incremental"`, with the batch size that the table gives and defaults otherwise,
charged up to the end of the first pass after which its ELBO is as large; seeds: {seeds}; geometric
mean over them. A dash: not reached in {most} passes."""


def report(cases, options):
    """The second part of the report, in Markdown."""
    seeds, passes = (1, 3) if options.quick else (SEEDS, PASSES)
    header = ["case", "batch size"]
    for dtype in options.dtype:
        header += [f"s, {PEER}, {dtype}", f"s, {OURS}, {dtype}", f"passes, {dtype}"]
        header += [f"×, {dtype} (goal {GOALS[dtype]})", "reached"]
    lines = []
    for case in cases:
        progress(f"lda, time to equal ELBO: {case.name}")
        with threadpool_limits(1):
            cells = [_cells(case, dtype, seeds, passes) for dtype in options.dtype]
        lines.append(
            [case.name, str(case.batch_size), *(cell for group in cells for cell in group)]
        )
        progress(f"  {' | '.join(lines[-1])}")
    notes = NOTES.format(passes=passes, seeds=seeds, most=MOST_PASSES)
    return f"{notes}\n\n{table(header, lines)}"


def _cells(case, dtype, seeds, passes):
    """Cells of one case in one precision."""
    X, k = case.counts.astype(dtype), case.n_components
    runs = [race(X, k, seed, passes, case.batch_size) for seed in range(seeds)]
    peer = statistics.geometric_mean([run[0] for run in runs])
    if any(math.isinf(run[1]) for run in runs):
        return [number(peer), "–", "–", "–", "no"]
    ours = statistics.geometric_mean([run[1] for run in runs])
    reached = "yes" if peer / ours >= GOALS[dtype] else "no"
    n_passes = max(run[2] for run in runs)
    return [number(peer), number(ours), f"{n_passes}", number(peer / ours), reached]


def race(X, n_components, seed, passes, batch_size):
    """Seconds of scikit-learn, ours until the same ELBO, and our passes."""
    from sklearn.decomposition import LatentDirichletAllocation as Peer

    from fastem import LatentDirichletAllocation as Ours

    judge = Ours(n_components, n_jobs=1, max_iter=0, random_state=0).fit(X)

    def elbo(components):
        judge.components_ = components.astype(X.dtype, copy=False)
        return judge.score(X)

    begin = time.perf_counter()
    peer = Peer(n_components, max_iter=passes, n_jobs=1, random_state=seed).fit(X)
    peer_seconds = time.perf_counter() - begin
    level = elbo(peer.components_)
    seconds = {"off": 0.0, "reached": math.inf, "passes": 0}

    def watch(state):
        now = time.perf_counter()
        if elbo(state.params.components()) >= level:
            seconds.update(reached=now - begin - seconds["off"], passes=state.iteration)
            return True
        seconds["off"] += time.perf_counter() - now
        return False

    ours = Ours(
        n_components, learning_method="incremental", batch_size=batch_size, max_iter=MOST_PASSES,
        n_jobs=1, random_state=seed,
    )  # fmt: skip
    ours._em_callbacks = [watch]
    begin = time.perf_counter()
    ours.fit(X)
    return peer_seconds, seconds["reached"], seconds["passes"]
