"""Stepwise EM over a stream: the mean statistics so far, as what an estimator can keep.

Each block of rows moves the mean of the statistics towards its own (Cappé & Moulines 2009, *On-line
expectation-maximization algorithm for latent data models*, JRSS B 71:593, equation 13), and the
M-step makes parameters of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from fastem._compat import Interval
from fastem._engine.statistics import Moments, Statistics

__all__ = ["ROWS_OF_A_START", "SORTED", "Stream", "Streaming", "keeping_names", "pieces"]

#: Rows for each component that a stream begins with.
ROWS_OF_A_START = 100
_ROWS_OF_A_STEP, _LEAST_STEP = 150, 1000  # at most so many rows a component, but not fewer in all
_APART, _TIMES_APART = 0.3, 3  # shares of components that differ by so much, so often in a row
#: Parameters that a stream keeps.
_SHAPES = ("n_components", "n_clusters", "covariance_type", "weight_concentration_prior_type")


class Streaming:
    """What the estimators that can be fitted to a stream share: the parameters of the step."""

    get_params: Any
    learning_decay: float
    learning_offset: float
    converged_: bool
    n_iter_: int
    lower_bound_: float
    lower_bounds_: list[float]

    _step_constraints: ClassVar[dict] = {
        "learning_decay": [Interval(Real, 0.5, 1, closed="right")],
        "learning_offset": [Interval(Real, 1, None, closed="left")],
    }
    #: An attribute that tells whether there is something to go on from.
    _goes_on_from: ClassVar[str] = "converged_"
    #: One whose first axis is the components.
    _sized: ClassVar[str] = "weights_"

    def __sklearn_is_fitted__(self) -> bool:
        # Rows that wait for a start leave n_features_in_ and nothing else.
        return hasattr(self, self._sized)

    def _open_stream(self) -> Stream:
        """Return the stream where the last call left it, or one that begins.

        Raises
        ------
        ValueError
            If parameters that give the sums their shapes are not those of the stream.
        """
        kept, given = vars(self).get("_stream"), self.get_params(deep=False)
        shapes = {name: given[name] for name in _SHAPES if name in given}
        stream = Stream(kept, self.learning_decay, self.learning_offset, shapes)
        if kept is None:
            stream.resumes = hasattr(self, self._goes_on_from)
            if stream.resumes:
                found = len(getattr(self, self._sized))
                name = next(name for name in _SHAPES if name in given)
                if found != given[name]:
                    raise ValueError(_changed(name, found, given[name]))
        return stream


class Stream:
    """Where a stream is: plain arrays and numbers, which an estimator keeps as ``_stream``.

    Parameters
    ----------
    kept : dict or None
        What :meth:`keep` returned; None: nothing was seen yet.
    decay, offset : float
        The step is (offset + number of steps) ** -decay.
    shapes : dict
        Parameters that give the sums their shapes, which must stay.
    """

    def __init__(
        self, kept: dict[str, Any] | None, decay: float, offset: float, shapes: dict[str, Any]
    ) -> None:
        kept = kept or {}
        self.shapes = kept.get("shapes", shapes)
        for name, value in shapes.items():
            if self.shapes[name] != value:
                raise ValueError(_changed(name, self.shapes[name], value))
        self.decay, self.offset = float(decay), float(offset)
        self.n_steps: int = kept.get("n_steps", 0)
        self.weight: float = kept.get("weight", 0.0)
        self.rows: list[Any] = list(kept.get("rows", []))  # until there are enough for a start
        self.row_weights: list[Any] = list(kept.get("row_weights", []))
        self.apart: int = kept.get("apart", 0)
        self.order: Any = kept.get("order")  # of the components outside; None: that of the sums
        self.resumes: bool = kept.get("resumes", False)  # from an earlier fit's parameters
        self.bounds: list[float] = list(kept.get("bounds", []))
        sums = kept.get("sums")
        self.mean: Any = None if sums is None else _as_statistics(sums)

    @property
    def begins(self) -> bool:
        """Whether nothing was seen yet."""
        return not (self.resumes or self.rows or self.mean is not None)

    def keep(self) -> dict[str, Any]:
        """Return what the next call goes on from."""
        return {
            "shapes": self.shapes,
            "n_steps": self.n_steps,
            "weight": self.weight,
            "rows": self.rows,
            "row_weights": self.row_weights,
            "apart": self.apart,
            "order": self.order,
            "resumes": self.resumes,
            "bounds": self.bounds,
            "sums": None if self.mean is None else _as_plain(self.mean),
        }

    # ---- the start -----------------------------------------------------------------------------

    @property
    def n_rows(self) -> int:
        """Number of rows that wait for a start."""
        return sum(rows.shape[0] for rows in self.rows)

    def gather(self, X: Any, sample_weight: Any) -> None:
        """Let rows wait."""
        self.rows.append(X.copy())
        ones = np.ones(X.shape[0])
        self.row_weights.append(ones if sample_weight is None else np.array(sample_weight))

    def gathered(self, n: int, random_state: Any) -> tuple[Any, Any]:
        """Return the waiting rows, at most n, and their weights, None if all are 1."""
        sparse = sp.issparse(self.rows[0])
        X = sp.vstack(self.rows, format="csr") if sparse else np.concatenate(self.rows)
        weight = np.concatenate(self.row_weights)
        if X.shape[0] > n:
            some = np.sort(random_state.choice(X.shape[0], n, replace=False))
            X, weight = X[some], weight[some]
        if sp.issparse(X) and not isinstance(X, sp.csr_array):
            X = sp.csr_array(X)
        return X, None if np.all(weight == 1) else weight

    def begin(self, statistics: Statistics) -> None:
        """Begin with the statistics of the rows that the start was made on."""
        self.rows, self.row_weights = [], []
        self.weight = float(statistics.weight)
        self.mean = statistics * (1 / self.weight)

    # ---- steps ----------------------------------------------------------------------------------

    def total(self) -> Statistics:
        """Return the mean, for as many rows as were seen: priors count less and less."""
        return self.mean * self.weight

    def step(self, statistics: Statistics, before: np.ndarray, now: np.ndarray) -> bool:
        """Move the mean towards a block's; return whether the stream looks sorted, once.

        `before` and `now` are the weights of components, in the mean and in the block.
        """
        rho = (self.n_steps + self.offset) ** -self.decay
        new = statistics * (rho / float(statistics.weight))
        self.mean = self.mean * (1 - rho) + new
        self.n_steps += 1
        self.weight += float(statistics.weight)
        self.bounds.append(float(statistics.bound / statistics.weight))
        n, k = float(statistics.weight), len(now)
        if not now.sum() > 0:  # rows of NaN only, which tell of no component
            return False
        gap = 0.5 * np.abs(now / now.sum() - before / before.sum()).sum()
        if self.apart < _TIMES_APART:  # then it has been said
            self.apart = self.apart + 1 if gap > _APART + 0.5 * np.sqrt(k / n) else 0
            return self.apart == _TIMES_APART
        return False


#: What is said of a stream that looks sorted.
SORTED = (
    "the last blocks had other components than those before them: a sorted stream is forgotten "
    "from its beginning on, so that only the last blocks count. Shuffle it before partial_fit"
)


@contextmanager
def keeping_names(estimator: Any) -> Iterator[None]:
    """Keep the features' names while an estimator is fitted to gathered rows, which have none."""
    names = vars(estimator).get("feature_names_in_")
    yield
    if names is not None:
        estimator.feature_names_in_ = names


def pieces(X: Any, sample_weight: Any, n_components: int) -> Iterator[tuple[Any, Any]]:
    """Yield rows and their weights for one step each: many rows are several steps."""
    n, most = X.shape[0], max(_LEAST_STEP, _ROWS_OF_A_STEP * n_components)
    cuts = np.linspace(0, n, -(-n // most) + 1).astype(int).tolist()
    for begin, end in pairwise(cuts):
        weight = None if sample_weight is None else sample_weight[begin:end]
        if weight is None or weight.any():
            yield X[begin:end], weight


def _changed(name, before, now):
    return (
        f"{name} must stay {before!r}, as it was when the stream began, got {now!r}: set it back, "
        "or begin a stream with a clone of the estimator"
    )


def _as_plain(statistics):
    plain: dict[str, Any] = {}
    for name, value in vars(statistics).items():
        if isinstance(value, Moments):
            parts = {"weight": value.weight, "mean": value.mean, "scatter": value.scatter}
            plain[name] = parts | {"kind": value.kind}
        else:
            plain[name] = value
    return plain


def _as_statistics(plain):
    fields: dict[str, Any] = {
        n: Moments(**v) if isinstance(v, dict) else v for n, v in plain.items()
    }
    return Statistics(**fields)
