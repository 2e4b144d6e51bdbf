"""Prints what a person wants to know of fitted mixtures; every function prints one section."""

import numpy as np

from fastem._cli.screen import bar, seconds, sparkline
from fastem._cli.table import count, short


def bic_section(screen, fits, best):
    """BIC of each number of components, as distance from the lowest."""
    lowest = best.bic
    span = max(fit.bic for fit in fits) - lowest or 1.0
    screen.heading("How many components?", "BIC, lower is better; bars show the excess")
    digits = max(len(f"{fit.bic:,.0f}") for fit in fits)
    width = screen.width - digits - 24
    for fit in fits:
        line = f"  K = {fit.mixture.n_components:<3} {fit.bic:>{digits},.0f}  "
        if fit is best:
            screen.print(line + screen.accent("◀ lowest"))
        else:
            excess = fit.bic - lowest
            screen.print(f"{line}{bar(excess / span, width)} +{excess:,.0f}")


def bound_section(screen, fit):
    """The bound by iteration: a curve, and a short table of it."""
    mixture = fit.mixture
    screen.heading(
        "The bound", f"mean log-likelihood of a sample, by iteration, K = {mixture.n_components}"
    )
    iterations(screen, "bound", mixture.lower_bounds_, ".6f")
    ending(screen, mixture, fit.seconds)


def iterations(screen, name, values, digits):
    """What each iteration saw: a curve, and a short table of it."""
    values = np.asarray(values, dtype=float)
    screen.print(f"  {sparkline(values.tolist(), screen.width - 4)}")
    rows = [("iteration", name, "change")]
    for n in _milestones(len(values)):
        change = "" if n == 1 else f"{values[n - 1] - values[n - 2]:+{digits}}"
        rows.append((str(n), f"{values[n - 1]:{digits}}", change))
    screen.table(rows)


def ending(screen, model, elapsed):
    """How the fit of a model ended, and what to do if it did not."""
    state = "converged" if model.converged_ else "NOT converged"
    starts = f", best of {model.n_init} starts" if model.n_init > 1 else ""
    screen.print(
        f"  {state} after {count(model.n_iter_, 'iteration')}{starts}; {seconds(elapsed)} in all"
    )
    if not model.converged_:
        screen.print("  Raise --max-iter, or --tol for a rougher answer, to let it finish.")


def _milestones(n):
    """1, 2, 5, 10, 20, 50, … up to n, and n."""
    steps = (step * 10**power for power in range(9) for step in (1, 2, 5))
    return [*(step for step in steps if step < n), n]


def components_section(
    screen, weights, means, names, counts, *, noun="component", size="weight", limit=20
):
    """Size and mean of each component, largest first."""
    order = np.argsort(-weights, kind="stable")
    shown = order[:limit]
    weights = weights[shown]
    columns = [
        ["label", *map(str, shown)],
        [size, *(f"{weight:.1%}" for weight in weights)],
        ["samples", *(f"{counts[k]:,}" for k in shown)],
        ["", *(bar(weight / weights[0], 10).ljust(10) for weight in weights)],
    ]
    fixed = len(columns)
    for name, column in zip(names, means[shown].T, strict=True):
        columns.append([short(name, 12), *(f"{mean:.4g}" for mean in column)])
        if sum(2 + max(map(len, column)) for column in columns) > screen.width:
            columns.pop()
            break
    screen.heading(f"The {noun}s", "largest first; with the mean of each column")
    screen.table(list(zip(*columns, strict=True)))
    hidden = [
        (len(names) - len(columns) + fixed, "more column"),
        (len(order) - len(shown), f"smaller {noun}"),
    ]
    if any(number for number, _ in hidden):
        listed = " and ".join(count(number, noun) for number, noun in hidden if number)
        screen.print(screen.dim(f"  … {listed} not shown"))


def timing_section(screen, timings, n_components, shape, n_iter, *, objective="bounds"):
    """Time for equal iterations, with how it was taken."""
    screen.heading("The time", "from one start, each the shortest of several runs that took turns")
    timing_rows(screen, timings, n_components, shape, n_iter, objective=objective)


def timing_rows(
    screen, timings, n_components, shape, n_iter, *, tolerance=1e-9, objective="bounds"
):
    """Time for equal iterations as bars and ratios, and whether the objectives agree."""
    n_samples, n_features = shape
    ours = timings[0]
    slowest = max(timing.seconds for timing in timings)
    spread = max(abs(timing.bound - ours.bound) for timing in timings)
    spread /= abs(ours.bound) or 1.0  # the bound of one word is 0
    agree = f"{objective} agree to {spread:.0e}" if spread else f"{objective} agree exactly"
    if spread > tolerance:
        agree = f"{objective.upper()} DIFFER by {spread:.0e}: this is not equal work"
    screen.print(
        f"  {count(n_iter, 'iteration')}, {n_samples:,} × {n_features:,}, "
        f"K = {n_components}; {agree}"
    )
    width = screen.width - 52
    for timing in timings:
        ratio = "" if timing is ours else f"{timing.seconds / ours.seconds:.1f} × as long"
        drawn = bar(timing.seconds / slowest, width)
        line = f"  {timing.name:<19}{seconds(timing.seconds):>9}  {drawn} {ratio}"
        screen.print(screen.accent(line) if timing is ours else line)
