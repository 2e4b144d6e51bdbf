"""What a choice of the number of components returns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sklearn.exceptions import ConvergenceWarning

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from fastem.plot import SelectionDisplay

__all__ = ["Selection", "chosen"]

_TITLES = {
    "bic": "BIC",
    "icl": "ICL",
    "aic": "AIC",
    "cv": "log-likelihood per sample, cross-validated",
    "silhouette": "silhouette",
    "gap": "gap statistic",
    "held_out": "log-likelihood per held-out token",
    "coherence": "coherence",
}
_LOWER_IS_BETTER = ("bic", "icl", "aic")
#: Where a criterion has an error, the column that it is in.
_ERRORS = {"cv": "cv_std", "gap": "gap_error"}


class Selection:
    """All fits of a choice, and the best of them. The functions of `fastem.select` return it.

    Printed, it is a table of the criterion by number and type.

    Parameters
    ----------
    criterion : str
        What decided.
    table : list of dict
        One row for each candidate, by rising number: its parameters, all criteria, whether and when
        it converged. A candidate that could not be fitted has NaN and says why in 'error'.
    varied : sequence of str
        The parameters that differ between candidates: their number first, then their type, if any.
    best_index : int
        The best row.
    best_estimator : estimator
        Fitted to all the data.
    natural_minimum : int, default=1
        The least number that makes sense: below it there is nothing to try.

    Attributes
    ----------
    criterion : str
        What decided.
    lower_is_better : bool
        Whether the criterion is one to minimise.
    table : list of dict
        As above.
    best_index_ : int
        The best row's place in the table.
    best_estimator_ : estimator
        Fitted to all the data.
    best_params_ : dict
        The number and the type of the best.
    best_score_ : float
        Its criterion.
    edge_ : str or None
        A sentence, if the best is at the edge of the range that was tried, where the optimum may
        lie beyond; else None.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastem import select
    >>> selection = select.mixture(
    ...     load_iris().data, range(1, 5), ("full", "diag"), random_state=0)
    >>> print(selection)
    BIC (lower is better)
    n_components   full    diag
               1  830.0  1522.1
               2  574.0*  857.6
               3  580.8   744.0
               4  617.4   705.1
    best: n_components=2, covariance_type='full'
    >>> selection.table[2]["converged"]
    True
    """

    table: list[dict[str, Any]]
    best_params_: dict[str, Any]
    best_score_: float
    edge_: str | None

    def __init__(
        self,
        criterion: str,
        table: list[dict[str, Any]],
        varied: Sequence[str],
        best_index: int,
        best_estimator: Any,
        *,
        natural_minimum: int = 1,
    ) -> None:
        self.criterion = criterion
        self.lower_is_better = criterion in _LOWER_IS_BETTER
        self.table = table
        self.best_index_ = best_index
        self.best_estimator_ = best_estimator
        self.best_params_ = {name: table[best_index][name] for name in varied}
        self.best_score_ = float(table[best_index][criterion])
        self.edge_ = _edge(table, varied[0], best_index, natural_minimum)

    @property
    def title(self) -> str:
        """The criterion in words."""
        return _TITLES.get(self.criterion, self.criterion)

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Return the criterion's curve of each type.

        Returns
        -------
        curves : dict of str to dict
            For each type ('' where there is one only) lists of the same length: 'number', 'score',
            and 'error', the scores' standard deviations or 0.
        """
        number, *kinds = self.best_params_
        curves: dict[str, dict[str, list[float]]] = {}
        for row in self.table:
            kind = str(row[kinds[0]]) if kinds else ""
            curve = curves.setdefault(kind, {"number": [], "score": [], "error": []})
            curve["number"].append(row[number])
            curve["score"].append(row[self.criterion])
            curve["error"].append(row.get(_ERRORS.get(self.criterion, ""), 0.0))
        return curves

    def to_frame(self) -> pandas.DataFrame:
        """Return the table as a data frame of pandas, which must be installed."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas") from error
        return pandas.DataFrame(self.table)

    def plot(self, ax: Axes | None = None, **line_kw: Any) -> SelectionDisplay:
        """Draw the criterion's curves by type: see :class:`fastem.plot.SelectionDisplay`.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        **line_kw : dict
            Arguments of matplotlib's `errorbar`.

        Returns
        -------
        display : SelectionDisplay
            Drawn.
        """
        from fastem.plot import SelectionDisplay

        return SelectionDisplay.from_selection(self, ax=ax, **line_kw)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        better = "lower is better" if self.lower_is_better else "higher is better"
        if self.criterion == "gap":
            better = "the first wins that the next does not beat by its error"
        lines = [f"{self.title} ({better})", *_as_text(self)]
        best = ", ".join(f"{name}={value!r}" for name, value in self.best_params_.items())
        lines.append(f"best: {best}")
        late = sum(row["converged"] is False for row in self.table)
        if late:
            lines.append(f"{late} of {len(self.table)} fits did not converge: see table")
        lost = sum(row["error"] is not None for row in self.table)
        if lost:
            lines.append(f"{lost} of {len(self.table)} fits failed: see 'error' in table")
        if self.edge_ is not None:
            lines.append(self.edge_)
        return "\n".join(lines)


def chosen(criterion, table, varied, estimators, *, natural_minimum=1, best_index=None):
    """Return the Selection of a table: the best row's estimator.

    Raises the first candidate's error if none could be fitted; warns of an edge, and if the best
    has not converged.
    """
    errors = [row["error"] for row in table]
    if all(error is not None for error in errors):
        raise ValueError(f"no candidate could be fitted; the first said: {errors[0]}")
    if best_index is None:
        best_index = _best(criterion, table)
    best = estimators[best_index]
    selection = Selection(
        criterion, table, varied, best_index, best, natural_minimum=natural_minimum
    )
    if selection.edge_ is not None:
        warnings.warn(selection.edge_, stacklevel=3)
    if table[best_index]["converged"] is False:
        warnings.warn(
            f"the best candidate, {selection.best_params_}, did not converge: increase max_iter of "
            "the estimator",
            ConvergenceWarning,
            stacklevel=3,
        )
    return selection


def _best(criterion, table):
    """Return the index of the best row, of equal ones the first."""
    sign = 1 if criterion in _LOWER_IS_BETTER else -1
    scores = [sign * row[criterion] for row in table]
    if all(math.isnan(score) for score in scores):
        raise ValueError(f"{criterion} is not defined for any candidate: try other numbers")
    return min(range(len(table)), key=lambda i: math.inf if math.isnan(scores[i]) else scores[i])


def _edge(table, number, best_index, natural_minimum):
    """Return a sentence if the best number is an end of several."""
    numbers, best = sorted({row[number] for row in table}), table[best_index][number]
    if len(numbers) < 2 or numbers[0] < best < numbers[-1]:
        return None
    if best == numbers[-1]:
        return f"the best {number}, {best}, is the largest that was tried: try more"
    if best > natural_minimum:
        return f"the best {number}, {best}, is the smallest that was tried: try fewer"
    return None


def _as_text(selection):
    """Return the lines of the table: the criterion by type, or all figures where there is one."""
    number, *kinds = selection.best_params_
    best = selection.table[selection.best_index_]
    if kinds:
        names = list(dict.fromkeys(str(row[kinds[0]]) for row in selection.table))
        found = {(row[number], str(row[kinds[0]])): row for row in selection.table}
        numbers = list(dict.fromkeys(row[number] for row in selection.table))
        cells = [
            [_cell(found[n, name][selection.criterion], found[n, name] is best) for name in names]
            for n in numbers
        ]
    else:
        names = [name for name, value in best.items() if isinstance(value, float)]
        numbers = [row[number] for row in selection.table]
        cells = [
            [_cell(row[name], row is best and name == selection.criterion) for name in names]
            for row in selection.table
        ]
    head = [f"{name} " for name in names]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    wide = max(len(number), *(len(str(n)) for n in numbers))
    rows = [(number, head), *zip(map(str, numbers), cells, strict=True)]
    return [
        f"{first:>{wide}}  "
        + " ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for first, row in rows
    ]


def _cell(value, best):
    """Return a figure with one decimal, or four digits where it is small, and a mark."""
    text = "-" if math.isnan(value) else f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}"
    return text + ("*" if best else " ")
