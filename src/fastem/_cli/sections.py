"""What the reports of ``cluster`` and ``topics`` have in common: the choice, and the bound."""

from __future__ import annotations

from fastem._cli import count, short
from fastem._cli.screen import bar, figure, seconds, sparkline


def selection_section(screen, selection):
    """Print the criterion of each number, and type, as its distance from the best."""
    sign = 1 if selection.lower_is_better else -1
    best, criterion = selection.best_score_, selection.criterion
    far = [sign * (row[criterion] - best) for row in selection.table]
    span = max(one for one in far if one == one) or 1.0
    better, end = ("lower", "lowest") if selection.lower_is_better else ("higher", "highest")
    screen.heading("How many?", f"{selection.title}; {better} is better")
    number, *kinds = selection.best_params_
    kinds = [kind for kind in kinds if len({row[kind] for row in selection.table}) > 1]
    figures = [c for c in ("held_out", "coherence") if c in selection.table[0] and c != criterion]
    figures.append(criterion)
    rows = [["K", *(["shape"] if kinds else []), *figures, "difference", ""]]
    for i, (row, one) in enumerate(zip(selection.table, far, strict=True)):
        cells = [str(row[name]) for name in (number, *kinds)]
        cells += [figure(row[name], 5) for name in figures]
        if i == selection.best_index_:
            cells += ["", f"◀ {end}"]
        elif one != one:
            cells += ["", short(row["error"] or "not defined", screen.width - 40)]
        else:
            cells += [f"{sign * one:+,.4g}", bar(one / span, screen.width - 50)]
        rows.append(cells)
    screen.table(rows, left=[len(rows[0]) - 1], mark=selection.best_index_)
    if selection.edge_ is not None:
        more = "more" if "largest" in selection.edge_ else "fewer"
        screen.print(f"  The best is at the edge of what was tried: try {more}.")


def bound_section(screen, model, fitting, what, bounds=None):
    """Print what iterations saw, as a curve, its ends, and how the fit ended."""
    bounds = model.lower_bounds_ if bounds is None else bounds
    every = getattr(model, "evaluate_every", 1)
    when = "by iteration" if every == 1 else f"every {every} iterations"
    screen.heading(heading_of(model), f"{what}, {when}")
    screen.print(f"  {sparkline(bounds, screen.width - 4)}")
    last = f", {bounds[-1] - bounds[-2]:+.2g} by the last" if len(bounds) > 1 else ""
    screen.print(f"  from {figure(bounds[0], 7)} to {figure(bounds[-1], 7)}{last}")
    n_iter, took = count(model.n_iter_, "iteration"), f"; {seconds(fitting.seconds)} in all"
    starts = f", best of {model.n_init} starts" if getattr(model, "n_init", 1) > 1 else ""
    if fitting.interrupted:
        screen.print(f"  interrupted: this is what {n_iter} found, and what is written")
    elif not hasattr(model, "tol"):  # LDA mostly goes as far as it is told to
        screen.print(f"  {n_iter}{took}")
    elif model.converged_:
        screen.print(f"  converged after {n_iter}{starts}{took}")
    else:
        screen.print(f"  NOT converged after {n_iter}{starts}{took}")
        screen.print("  Raise --max-iter, or --tol for a rougher answer, to let it finish.")


def heading_of(model):
    """Return the heading of what a fit makes larger, or smaller."""
    return "The inertia" if hasattr(model, "inertia_") else "The bound"


def pictures(model, selection):
    """Return (heading, caption, draw) of the pictures of the choice, if any, and of the bound."""
    from fastem import plot

    def draw(figure):
        plot.LowerBoundDisplay.from_estimator(model, ax=figure.subplots())

    made = [(heading_of(model), "The bound by iteration.", draw)]
    if selection is not None:
        made.append(("How many?", "All that were tried.",
                     lambda figure: selection.plot(ax=figure.subplots())))  # fmt: skip
    return made
