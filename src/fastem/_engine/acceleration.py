"""Accelerated EM: squared extrapolation of sums, with a fallback that costs no monotonicity.

SQUAREM (Varadhan & Roland 2008, *Simple and globally convergent methods for accelerating the
convergence of any EM algorithm*, Scandinavian Journal of Statistics 35:335, scheme S3) takes the
parameters of three EM steps and goes far along the parabola through them. Here the three points are
sufficient statistics: these are a linear space for every model, the parameters need not be opened,
and sums that no data could have are noticed before an E-step is spent on them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastem._engine.passes import Batch
from fastem._engine.statistics import Moments, Statistics

__all__ = ["Squarem"]

_NOT_SUMS = frozenset({"bound", "weight"})
_CHANCES = 3  # passes until the bound must have risen: EM steps correct what went too far,
_MOST_BELOW = 1000.0  # but not what is further below than so many times the last pass's gain
# Lengths that are tried until the M-step takes one, which costs no E-step; 1 is the plain EM step.
_SHORTER, _TRIALS, _LEAST, _LONGEST = 0.75, 14, 1.01, 1e6
_NARROWEST = 0.1  # share of a component's weight or variances that must be left of it


class Squarem(Batch):
    """One pass: an E-step at extrapolated parameters, or at the last ones.

    Parameters that a pass returns were made of statistics as EM makes them. What lies beyond them
    is tried at the beginning of the next pass, and given up if the bound is lower there.
    """

    def __init__(self, model: Any, blocks: Any, executor: Any = None) -> None:
        super().__init__(model, blocks, executor)
        self.recent: list[Statistics] = []  # statistics of successive EM steps, at most three
        self.reached = -math.inf  # the bound of the last pass,
        self.gain = math.inf  # and by how much that had risen

    def get_state(self) -> dict[str, Any]:
        """Return what the next pass goes on from, beside the parameters."""
        return {"recent": self.recent, "reached": self.reached, "gain": self.gain}

    def __call__(self, params: Any, check: bool) -> tuple[float, Any]:
        found = self.leap(self.extrapolated(params))
        self.leapt = found is not None
        if found is None:
            bound, after, total = self.pass_at(params)
            found = bound, after, [*self.recent, total]
        before, (self.reached, after, self.recent) = self.reached, found
        self.gain = self.reached - before
        return self.reached, after

    def leap(self, beyond: Any) -> tuple[float, Any, list[Any]] | None:
        """Return what passes from extrapolated parameters on find, if the bound is not lower."""
        totals: list[Any] = []
        while beyond is not None and len(totals) < _CHANCES:
            try:
                with np.errstate(all="ignore"):  # it may be no parameters at all
                    bound, beyond, total = self.pass_at(beyond)
            except (ValueError, ArithmeticError):
                return None
            totals.append(total)
            if bound >= self.reached:
                return bound, beyond, totals
            if not bound > self.reached - _MOST_BELOW * self.gain:
                return None
        return None

    def pass_at(self, params: Any) -> tuple[float, Any, Any]:
        """Return the bound, the parameters after an M-step, and the statistics."""
        total = self.executor.sum(self.e_steps[True], params, self.shards(params))
        after = self.maximise(params, total)
        return self.bound(total, params, after, True), after, total

    def extrapolated(self, params: Any) -> Any:
        """Return parameters beyond those of the last three EM steps, or None."""
        if len(self.recent) < 3:
            return None
        first, second, third = self.recent[-3:]
        self.recent = [third]
        length = min(_step_length(first, second, third), _LONGEST)
        for _ in range(_TRIALS):
            if not length > _LEAST:
                return None
            try:
                with np.errstate(all="ignore"):
                    sums = _beyond(first, second, third, length)
                    if sums is not None:
                        return self.maximise(params, sums)
            except (ValueError, ArithmeticError):
                pass  # no data have such sums
            length = 1 + _SHORTER * (length - 1)
        return None


def _step_length(first, second, third) -> float:
    """Return |r| / |v|, where r is the first step and v the change of steps."""
    r, v = 0.0, 0.0
    for name, reference in vars(third).items():
        if name in _NOT_SUMS:
            continue
        a, b, c = (_coordinates(getattr(s, name), reference) for s in (first, second, third))
        for x, y, z in zip(a, b, c, strict=True):
            step = y - x
            change = (z - y) - step
            r, v = r + float(np.vdot(step, step)), v + float(np.vdot(change, change))
    return math.sqrt(r / v) if v > 0 else 1.0


def _coordinates(value: Any, reference: Any) -> list[np.ndarray]:
    """Return sums, each by about the size of its sampling error at the reference."""
    if isinstance(value, Moments):
        return _coordinates_of_moments(value, reference)
    if not isinstance(value, (int, float, np.number, np.ndarray)):
        raise TypeError(
            "schedule='squarem' measures statistics that are numbers, arrays or Moments, got "
            f"{type(value).__name__}: take schedule='batch'"
        )
    size = np.abs(np.asarray(reference, dtype=np.float64))
    size = size + 1e-9 * size.mean() if size.size else size
    return [np.asarray(value) / np.sqrt(np.where(size > 0, size, 1.0))]


def _coordinates_of_moments(moments, reference):
    """Return the weights, first and second moments about the reference's means, in its units."""
    weight, center, kind = reference.weight, reference.mean, reference.kind
    some = np.where(weight > 0, weight, 1.0)
    total = max(float(weight.sum()), 1e-300)
    spread = reference.scatter
    if kind == "full":
        variance = spread.diagonal(axis1=1, axis2=2) / some[:, None]
    elif kind == "tied":
        variance = spread.diagonal()[None] / total
    elif kind == "diag":
        variance = spread / some[:, None]
    else:
        variance = spread[:, None] / (some[:, None] * center.shape[1])
    unit = np.sqrt(np.where(variance > 0, variance, 1.0))
    root = np.sqrt(some)
    first = moments.weight[:, None] * (moments.mean - center) / (unit * root[:, None])
    second = moments.scatter_about(center)
    if kind == "full":
        second /= unit[:, :, None] * unit[:, None, :] * root[:, None, None]
    elif kind == "tied":
        second /= unit.T * unit * math.sqrt(total)
    elif kind == "diag":
        second /= unit**2 * root[:, None]
    else:
        second /= unit[:, 0] ** 2 * root
    return [moments.weight / root, first, second / math.sqrt(2)]


def _beyond(first, second, third, length) -> Statistics | None:
    """Return first + 2 length step + length^2 change; None if sums are below 0 that never were.

    What is added comes before what is subtracted: moments can then be those of raw sums.
    """
    sums: dict[str, Any] = {}
    for name, value in vars(third).items():
        if name in _NOT_SUMS:
            sums[name] = value
            continue
        known = [getattr(s, name) for s in (first, second, third)]
        if isinstance(value, Moments) and value.kind != "tied":
            sums[name] = _groups_beyond(known[0], known[1], value, length)
            continue
        more = value * length**2 + known[0] * (length - 1) ** 2
        less = known[1] * (2 * length * (length - 1))
        if not _feasible(more, less, known):
            return None
        sums[name] = more - less
    return Statistics(**sums)


def _feasible(more: Any, less: Any, known: list[Any]) -> bool:
    """Return whether more - less is above 0 wherever the known sums are."""
    if isinstance(more, Moments):
        # The M-step says whether their scatter is.
        return bool(np.all((more.weight > less.weight) | (known[-1].weight <= 0)))
    if min(np.min(k, initial=0) for k in known) < 0:
        return True  # it may have any sign
    rest = np.subtract(more, less)
    return bool(np.all((rest > 0) | (np.asarray(known[-1]) <= 0)))


def _groups_beyond(first: Moments, second: Moments, third: Moments, length: float) -> Moments:
    """Return moments beyond the third, each group's as far as its weight and variances allow.

    One component that nearly vanishes need not hold up the others.
    """
    weight, mean, scatter = third.weight.copy(), third.mean.copy(), third.scatter.copy()
    left = np.flatnonzero(third.weight > 0)
    while len(left) and length > _LEAST:
        more = _some(third, left) * length**2 + _some(first, left) * (length - 1) ** 2
        less = _some(second, left) * (2 * length * (length - 1))
        there = more.weight - less.weight > _NARROWEST * third.weight[left]
        found = _some(more, there) - _some(less, there)
        wide = _narrowest(found, _some(third, left[there])) > _NARROWEST
        done = left[there][wide]
        weight[done], mean[done], scatter[done] = (
            found.weight[wide], found.mean[wide], found.scatter[wide]
        )  # fmt: skip
        left, length = np.setdiff1d(left, done), (1 + length) / 2
    return Moments(weight, mean, scatter, third.kind)


def _some(moments, groups):
    return Moments(
        moments.weight[groups], moments.mean[groups], moments.scatter[groups], moments.kind
    )


def _narrowest(moments, reference) -> np.ndarray:
    """Return the least ratio of each group's variances to the reference's, in any direction."""
    ours, theirs = (
        m.scatter / m.weight.reshape(-1, *[1] * (m.scatter.ndim - 1)) for m in (moments, reference)
    )
    if moments.kind != "full":
        ratio = ours / np.where(theirs > 0, theirs, 1)
        return ratio if ratio.ndim == 1 else ratio.min(axis=1)
    d = ours.shape[1]
    size = np.trace(theirs, axis1=1, axis2=2)[:, None, None] / d
    root = np.linalg.cholesky(theirs + (1e-9 * size + 1e-300) * np.eye(d))
    half = np.linalg.solve(root, ours).transpose(0, 2, 1)
    return np.linalg.eigvalsh(np.linalg.solve(root, half))[:, 0]
