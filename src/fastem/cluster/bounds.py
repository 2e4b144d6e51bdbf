"""Bounds on distances in k-means, by which most samples keep their center without a search."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Bounds", "error_of", "n_groups_of"]


class Bounds(NamedTuple):
    """Bounds on each sample's distances: to its own center, and to the others by group.

    See kmeans/bounds.h. The groups are clusters of the centers.
    """

    centers: np.ndarray  # (K, D) for which the bounds hold
    group: np.ndarray  # (K,) int32 of each center
    upper: np.ndarray | None  # (n,) float32; None: there are no bounds yet
    lower: np.ndarray | None  # (n, G) float32

    @classmethod
    def none_yet(cls, centers, n_groups):
        """Return what the first bounds are made from."""
        return cls(centers, _groups(centers, n_groups), None, None)

    def copy(self):
        """Return bounds that may be written over in place of these."""
        if self.upper is None or self.lower is None:
            return self
        return self._replace(upper=self.upper.copy(), lower=self.lower.copy())

    def at(self, centers, block) -> tuple[Bounds, dict[str, Any]]:
        """Return these bounds for other centers, and the arrays by which the kernel makes them so.

        They are written over, or made where there are none yet.
        """
        n, n_groups = block.X.shape[0], int(self.group.max()) + 1
        fresh, upper, lower = self.upper is None, self.upper, self.lower
        if fresh:
            upper, lower = np.empty(n, np.float32), np.empty((n, n_groups), np.float32)
        moved = np.subtract(centers, self.centers, dtype=np.float64)
        drift = block.scale * np.sqrt(np.einsum("ij,ij->i", moved, moved))
        largest = np.zeros(n_groups)
        np.maximum.at(largest, self.group, drift)
        arrays = {
            "group": self.group,
            "fresh": fresh,
            "upper": upper,
            "lower": lower,
            "drift": _rounded_up(drift),
            "group_drift": _rounded_up(largest),
            "other_drift": _rounded_up(self._largest_but_own(drift, largest)),
            "gap": _gap(block.scale * centers, n_groups),
            "error": error_of(centers, block),
        }
        return Bounds(centers, self.group, upper, lower), arrays

    def _largest_but_own(self, drift, largest):
        """Return the largest drift in each center's group without the center itself."""
        order = np.lexsort((-drift, self.group))
        group = self.group[order]
        leads = np.r_[True, group[1:] != group[:-1]]
        second = np.zeros(len(largest))
        follows = np.flatnonzero(np.r_[False, leads[:-1]] & ~leads)
        second[group[follows]] = drift[order[follows]]
        other = largest[self.group]
        other[order[leads]] = second[group[leads]]
        return other


def n_groups_of(n_clusters, n_features):
    """Return the number of groups of centers that was fastest for such centers."""
    size = 8 if n_features >= 128 else 24 if n_features >= 32 else n_clusters
    return max(1, n_clusters // size)


def error_of(centers, block, slack=0.0):
    """Return by how much two computed squared distances may be off together, scaled.

    With `slack`, if each may differ by so many roundings more.
    """
    farthest = np.sqrt(np.einsum("ij,ij->i", centers, centers, dtype=np.float64).max())
    reach = block.scale * (block.length + farthest)
    return float((centers.shape[1] + 8 + slack) * np.finfo(centers.dtype).eps * reach**2)


def _gap(centers, n_groups):
    """Return at most half the distance from each center, scaled, to the nearest other."""
    if n_groups > 1 or len(centers) == 1:  # many centers: it costs more than it saves
        return np.zeros(len(centers), np.float32)
    centers = centers.astype(np.float64)
    norms = np.einsum("ij,ij->i", centers, centers)
    squared = norms[:, None] + norms - 2 * centers @ centers.T
    np.fill_diagonal(squared, np.inf)
    squared = squared.min(axis=1) - 1e-13 * centers.shape[1] * norms.max()
    half = 0.5 * np.sqrt(np.maximum(squared, 0))
    return (half * (1 - 1e-6)).astype(np.float32)


def _groups(centers, n_groups):
    """Return the group of each center, (K,) int32: equally many in each, near each other.

    A set of centers is cut at right angles to the direction in which it is longest, and again.
    Groups of unequal size, as k-means finds them, save nothing: the largest is searched for all.
    """
    group = np.zeros(len(centers), np.int32)
    sets, n_done = [(np.arange(len(centers)), n_groups)], 0
    while sets:
        members, n_parts = sets.pop()
        if n_parts == 1:
            group[members] = n_done
            n_done += 1
            continue
        those = centers[members] - centers[members].mean(axis=0)
        direction = those[np.einsum("ij,ij->i", those, those).argmax()]
        for _ in range(4):  # of the power method: no more than a rough direction is needed
            direction = those.T @ (those @ direction)
            direction /= np.linalg.norm(direction) or 1.0
        order = members[np.argsort(those @ direction, kind="stable")]
        cut = len(order) * (n_parts // 2) // n_parts
        sets += [(order[cut:], n_parts - n_parts // 2), (order[:cut], n_parts // 2)]
    return group


def _rounded_up(values):
    """Return float32 values that are no smaller."""
    with np.errstate(over="ignore"):
        return np.nextafter((values * (1 + 1e-6)).astype(np.float32), np.float32(np.inf))
