"""Named additive sums: what an E-step returns and an M-step consumes."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from fastem._kernels import gaussian as kernel

__all__ = ["AddsInPlace", "Moments", "Statistics"]


class AddsInPlace(ABC):
    """Sums whose ``add(other)`` changes them; that of others, as a pandas Series, returns a sum."""

    __slots__ = ()

    @abstractmethod
    def add(self, other: Any) -> None:
        """Add other sums to these, in place."""


class Statistics:
    """Sufficient statistics of one block of data: named fields that add.

    Two objects with the same fields support ``+`` and ``-``; an object and a number support
    ``*``. That is all that a driver needs for batch EM (sum over blocks), incremental EM
    (``total - old + new``, in this order: a difference ``new - old`` of moments at equal weight
    cannot carry a change of mean; Neal & Hinton 1998) and stepwise EM (``(1 - rho) * total + rho
    * new``; Cappé & Moulines 2009).

    Parameters
    ----------
    bound : float
        The block's contribution to the log-likelihood (or its lower bound), at the parameters
        that the E-step was given.
    weight : float
        What the bound is divided by to be reported: the number of samples, or their total weight.
    **sums : array-like or any object with +, - and * by a number
        The model's own sums. Each is read back as an attribute of the same name.

    Examples
    --------
    >>> from fastem.em import Statistics
    >>> total = Statistics(bound=-3.0, weight=2, heads=5.0) + Statistics(
    ...     bound=-1.0, weight=1, heads=9.0
    ... )
    >>> total.heads, total.bound, total.weight
    (14.0, -4.0, 3)
    """

    bound: float
    weight: float

    def __init__(self, *, bound: float, weight: float, **sums: Any) -> None:
        self.__dict__.update(bound=bound, weight=weight, **sums)

    def __getattr__(self, name: str) -> Any:
        # Reached only when the field is missing; dunder look-ups (copy, pickle) come here too.
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"no statistic named {name!r}: the E-step gave {sorted(vars(self))}")

    def __repr__(self) -> str:
        return f"Statistics({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"

    def _combine(self, other: Any, operation) -> Statistics:
        if not isinstance(other, Statistics):
            return NotImplemented
        if vars(self).keys() != vars(other).keys():
            raise ValueError(
                f"statistics with fields {sorted(vars(self))} and {sorted(vars(other))} do not add"
            )
        return Statistics(**{k: operation(v, vars(other)[k]) for k, v in vars(self).items()})

    def __add__(self, other: Any) -> Statistics:
        return self._combine(other, operator.add)

    def __sub__(self, other: Any) -> Statistics:
        return self._combine(other, operator.sub)

    def __mul__(self, factor: float) -> Statistics:
        return Statistics(**{k: v * factor for k, v in vars(self).items()})

    __rmul__ = __mul__

    def copy(self) -> Statistics:
        """Return statistics that :meth:`add` may change without changing these."""
        return Statistics(
            **{k: v.copy() if hasattr(v, "copy") else v for k, v in vars(self).items()}
        )

    def add(self, other: Statistics) -> None:
        """Add other statistics to these; a field that is :class:`AddsInPlace` is changed itself."""
        for name, value in vars(self).items():
            if isinstance(value, AddsInPlace):
                value.add(getattr(other, name))
            else:
                setattr(self, name, value + getattr(other, name))


class Moments(AddsInPlace):
    """Weighted moments of K groups about their own means, which add by Chan's formula.

    Raw second moments cancel when the data lie far from zero; these do not, because every sum
    is taken about the group's mean and merging adds only the means' distance (Chan, Golub &
    LeVeque 1979).

    Parameters
    ----------
    weight : ndarray of shape (K,)
        Total weight of each group.
    mean : ndarray of shape (K, D)
        Weighted mean of each group; any finite value where the weight is 0.
    scatter : ndarray
        Sum of weight * (x - mean)(x - mean)^T, reduced as `kind` says.
    kind : {"full", "tied", "diag", "spherical"}
        Shape of the scatter: (K, D, D); (D, D), summed over groups; (K, D), the diagonals;
        (K,), the traces.
    """

    __slots__ = ("kind", "mean", "scatter", "weight")

    def __init__(
        self, weight: np.ndarray, mean: np.ndarray, scatter: np.ndarray, kind: str
    ) -> None:
        self.weight, self.mean, self.scatter, self.kind = weight, mean, scatter, kind

    def __repr__(self) -> str:
        return f"Moments(kind={self.kind!r}, weight={self.weight!r})"

    def _merge(self, other: Moments, sign: int, out=None) -> Moments:
        weight = self.weight + sign * other.weight
        if sign < 0:  # a weight that should be 0 may be a rounding error
            weight = np.where(weight > 1e-14 * self.weight, weight, 0.0)
        gap = other.mean - self.mean
        share = np.divide(sign * other.weight, weight, out=np.zeros_like(weight), where=weight != 0)
        combine = np.add if sign > 0 else np.subtract  # sign * other would copy a large array
        scatter = combine(self.scatter, other.scatter, out=out)
        add_scatter_of(scatter, gap, self.weight * share, self.kind)
        return Moments(weight, self.mean + share[:, None] * gap, scatter, self.kind)

    def copy(self) -> Moments:
        """Return moments that :meth:`add` may change without changing these."""
        return Moments(self.weight, self.mean, self.scatter.copy(), self.kind)

    def add(self, other: Moments) -> None:
        """Add other moments to these, in place: the scatter may be large."""
        merged = self._merge(other, 1, out=self.scatter)
        self.weight, self.mean = merged.weight, merged.mean

    def __add__(self, other: Moments) -> Moments:
        return self._merge(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        return self._merge(other, -1)

    def __mul__(self, factor: float) -> Moments:
        return Moments(self.weight * factor, self.mean, self.scatter * factor, self.kind)

    __rmul__ = __mul__

    def scatter_about(self, center: np.ndarray) -> np.ndarray:
        """Return the scatter about other centers, shape as `scatter`; `center` is (K, D)."""
        scatter = self.scatter.copy()
        add_scatter_of(scatter, self.mean - center, self.weight, self.kind)
        return scatter


def add_scatter_of(scatter, offset, weight, kind: str) -> None:
    """Add weight * offset offset^T, (K, D) and (K,) reduced to the shape that `kind` names."""
    _ADD[kind](scatter, offset, weight)


def _add_full(scatter, offset, weight):
    kernel.add_squares(scatter, offset, weight)


def _add_tied(scatter, offset, weight):
    scatter += (weight[:, None] * offset).T @ offset


def _add_diag(scatter, offset, weight):
    scatter += weight[:, None] * offset**2


def _add_spherical(scatter, offset, weight):
    scatter += weight * (offset**2).sum(axis=1)


_ADD = {"full": _add_full, "tied": _add_tied, "diag": _add_diag, "spherical": _add_spherical}
