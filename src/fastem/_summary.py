"""Fitted models as compact tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastem.components.covariances import KINDS

__all__ = ["Summary", "covariance_estimates", "ending", "fits", "interval_rows", "summary_of"]

_WIDTH = 78
_CELL = 12  # most characters of the name of a feature
_GAP = "  "
_INTERVAL = 1.959964  # a standard normal variable is within so much of 0 with probability 0.95


class Summary(str):
    """Text that shows itself as it is where it is the last value of a cell."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def ending(estimator: Any, n_iter: int | None = None) -> str:
    """Return how a fit ended, in words; "set by hand" where there was none."""
    converged = getattr(estimator, "converged_", None)
    if converged is None:
        return "set by hand"
    n = estimator.n_iter_ if n_iter is None else n_iter
    looked = getattr(estimator, "evaluate_every", 1) >= 1
    answer = "yes" if converged else "no" if looked else "not looked"
    return f"{answer}, {n} iteration{'s' * (n != 1)}"


def summary_of(
    title: str,
    facts: Sequence[tuple[str, Any]],
    tables: Iterable[tuple[Sequence[str], Sequence[Sequence[Any]]]],
    notes: Iterable[str] = (),
) -> Summary:
    """Return a title, facts in two columns, and tables, of a width of 78 at most.

    A table is its heads and its rows; columns that find no room are left out, and it says so.
    """
    lines = [title.center(_WIDTH).rstrip(), "=" * _WIDTH, *_facts(facts)]
    notes = list(notes)
    for heads, rows in tables:
        lines.append("-" * _WIDTH)
        kept, left_out = _table(heads, rows)
        lines += kept
        if left_out:
            notes.append(f"{left_out} more column{'s' * (left_out != 1)} not shown.")
    lines.append("=" * _WIDTH)
    return Summary("\n".join([*lines, *notes]))


def interval_rows(estimates: Iterable[tuple[str, Any, Any]]) -> list[list[Any]]:
    """Return rows of names, estimates, standard errors and normal intervals.

    `estimates` has (name, value, error); where there is no error, there is no interval.
    """
    return [
        [name, float(value), float(error), *(float(value + s * _INTERVAL * error) for s in (-1, 1))]
        for name, value, error in estimates
    ]


def covariance_estimates(
    covariances: Any, errors: Any, names: Sequence[str], kind: str
) -> Iterator[tuple[str, Any, Any]]:
    """Yield names, values and standard errors of variances and covariances of a kind."""
    covariances, shared = np.asarray(covariances), KINDS[kind].shared
    for index in np.ndindex(*covariances.shape):
        which, own = ("", index) if shared else (f"{index[0]} ", index[1:])
        if len(own) == 2 and own[0] > own[1]:
            continue  # the matrix is symmetric
        features = dict.fromkeys(names[j] for j in own)
        word = "covariance" if len(features) == 2 else "variance"
        yield f"{which}{word} {', '.join(features)}".strip(), covariances[index], errors[index]


def _facts(facts):
    """Return lines of two facts each."""
    half = (len(facts) + 1) // 2
    wide = (_WIDTH - 4) // 2
    cells = [
        f"{name}:{_text(value):>{max(1, wide - len(name) - 1)}}" for name, value in facts
    ]  # fmt: skip
    pairs = zip(cells[:half], [*cells[half:], ""][:half], strict=True)
    return [f"{left}    {right}".rstrip() for left, right in pairs]


def fits(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> bool:
    """Return whether a table has room for all its columns."""
    return _table(heads, rows)[1] == 0


def _table(heads, rows):
    """Return the lines of a table, and how many columns there was no room for."""
    names = [heads[0], *(_short(head) for head in heads[1:])]
    cells = [[_text(value) for value in row] for row in rows]
    widths = [
        max(len(name), *(len(row[j]) for row in cells)) for j, name in enumerate(names)
    ]  # fmt: skip
    used = np.cumsum([width + len(_GAP) for width in widths]) - len(_GAP)
    n = max(1, int(np.sum(used <= _WIDTH)))
    left = [isinstance(value, str) for value in rows[0]]

    def line(row):
        parts = [
            f"{cell:<{w}}" if aligned else f"{cell:>{w}}"
            for cell, w, aligned in zip(row[:n], widths[:n], left[:n], strict=True)
        ]
        return _GAP.join(parts).rstrip()

    return [line(names), *(line(row) for row in cells)], len(names) - n


def _short(name):
    return name if len(name) <= _CELL else name[: _CELL - 1] + "…"


def _text(value):
    """Return a number with four digits, or more where they stand before the point."""
    if isinstance(value, bool | str) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, int | np.integer):
        return str(value)
    if not np.isfinite(value):
        return "-" if np.isnan(value) else str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3e}"
    digits = max(1, 3 - int(np.floor(np.log10(abs(value))))) if value else 1
    return f"{value:.{min(digits, 4)}f}"
