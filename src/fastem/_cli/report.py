"""Prints what a person wants to know of fitted mixtures; every function prints one section."""

import numpy as np

from fastem._cli.screen import bar, seconds, sparkline
from fastem._cli.table import count, short


def selection_section(screen, selection):
    """The criterion of each number, and type, as its distance from the best."""
    sign = 1 if selection.lower_is_better else -1
    scores = [row[selection.criterion] for row in selection.table]
    known = [score for score in scores if score == score]
    best = selection.best_score_
    span = max(sign * (score - best) for score in known) or 1.0
    better, end = ("lower", "lowest") if selection.lower_is_better else ("higher", "highest")
    screen.heading(
        "How many?", f"{selection.title}, {better} is better; bars show the distance from the best"
    )
    number, *kinds = selection.best_params_
    types = [str(row[kinds[0]]) if kinds else "" for row in selection.table]
    types = types if len(set(types)) > 1 else [""] * len(types)
    texts = [_figure(score) for score in scores]
    wide, digits = max(map(len, types)), max(map(len, texts))
    width = screen.width - wide - 2 * digits - 16
    rows = zip(selection.table, types, scores, texts, strict=True)
    for i, (row, kind, score, text) in enumerate(rows):
        line = f"  K = {row[number]:<3} {kind:<{wide}} {text:>{digits}}  "
        if i == selection.best_index_:
            screen.print(line + screen.accent(f"◀ {end}"))
        elif score != score:
            screen.print(screen.dim(f"{line}{short(row['error'] or 'not defined', width)}"))
        else:
            distance = sign * (score - best)
            screen.print(f"{line}{bar(distance / span, width)} {sign * distance:+,.4g}")
    if selection.edge_ is not None:
        more = "more" if "largest" in selection.edge_ else "fewer"
        screen.print(f"  The best is at the edge of what was tried: try {more}.")


def _figure(score):
    """A score, with decimals only where they matter."""
    return "-" if score != score else f"{score:,.0f}" if abs(score) >= 1000 else f"{score:.4g}"


def bound_section(screen, model, found, n_samples):
    """The bound, or the inertia, by iteration: a curve, and a short table of it."""
    k = getattr(model, "n_components", None) or model.n_clusters
    if hasattr(model, "inertia_"):
        inertias = [-n_samples * bound for bound in model.lower_bounds_]
        screen.heading("The inertia", f"sum of squared distances, by iteration, K = {k}")
        iterations(screen, "inertia", inertias, ",.6g")
    else:
        bayesian = hasattr(model, "weight_concentration_")
        what = "on the evidence" if bayesian else "mean log-likelihood of a sample"
        screen.heading("The bound", f"{what}, by iteration, K = {k}")
        iterations(screen, "bound", model.lower_bounds_, ".6f")
    ending(screen, model, found.seconds, found.interrupted)
    if hasattr(model, "inertia_"):
        screen.print(f"  inertia {model.inertia_:,.6g} at the centers below")


def iterations(screen, name, values, digits):
    """What each iteration saw: a curve, and a short table of it."""
    values = np.asarray(values, dtype=float)
    screen.print(f"  {sparkline(values.tolist(), screen.width - 4)}")
    rows = [("iteration", name, "change")]
    for n in _milestones(len(values)):
        change = "" if n == 1 else f"{values[n - 1] - values[n - 2]:+{digits}}"
        rows.append((str(n), f"{values[n - 1]:{digits}}", change))
    screen.table(rows)


def ending(screen, model, elapsed, interrupted=False):
    """How the fit of a model ended, and what to do if it did not."""
    n_iter = count(model.n_iter_, "iteration")
    if interrupted:
        screen.print(f"  interrupted: this is what {n_iter} found, and what is written")
        return
    state = "converged" if model.converged_ else "NOT converged"
    starts = f", best of {model.n_init} starts" if model.n_init > 1 else ""
    screen.print(f"  {state} after {n_iter}{starts}; {seconds(elapsed)} in all")
    if not model.converged_:
        screen.print("  Raise --max-iter, or --tol for a rougher answer, to let it finish.")


def _milestones(n):
    """1, 2, 5, 10, 20, 50, … up to n, and n."""
    steps = (step * 10**power for power in range(9) for step in (1, 2, 5))
    return [*(step for step in steps if step < n), n]


def components_section(
    screen, weights, values, names, counts, *, noun="component", what="mean", limit=20
):
    """Size of each component, and its value of each column, largest first."""
    order = np.argsort(-weights, kind="stable")
    shown = order[:limit]
    weights = weights[shown]
    size = "weight" if noun == "component" else "share"
    columns = [
        ["label", *map(str, shown)],
        [size, *(f"{weight:.1%}" for weight in weights)],
        ["samples", *(f"{counts[k]:,}" for k in shown)],
        ["", *(bar(weight / weights[0], 10).ljust(10) for weight in weights)],
    ]
    fixed = len(columns)
    for j, name in enumerate(names):
        of_parts = (values[k][j] for k in shown)
        cells = [cell if isinstance(cell, str) else f"{cell:.4g}" for cell in of_parts]
        columns.append([short(name, 12), *(short(cell, 20) for cell in cells)])
        if sum(2 + max(map(len, column)) for column in columns) > screen.width:
            columns.pop()
            break
    screen.heading(f"The {noun}s", f"largest first; with the {what} of each column")
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
