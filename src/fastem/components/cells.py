"""Samples of few features on a grid: what a mixture is fitted to before it sees each of them.

A cell of the grid stands for its samples by their weight and mean, and so gives all of them the
same responsibilities (Moore 1999, *Very fast EM-based mixture model clustering using
multiresolution kd-trees*, NIPS 11:543). EM sees these means as weighted samples, and its
likelihood rises as ever. They vary less than the samples do, by the samples' covariance within the
cells: added to each component's at the end, it leaves next to no error as long as components are
wider than cells.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastem._engine.statistics import Moments, Statistics
from fastem.components.covariances import KINDS
from fastem.components.gaussian_data import GaussianBlock, covariances_of

__all__ = ["MOST_FEATURES", "Cells", "Grid", "cells_of", "too_narrow", "with_own_spread"]

MOST_FEATURES = 3
_MOST_CELLS = {1: 4096, 2: 256, 3: 64}  # along each feature
_CELLS_OF_A_ROW = 4  # of the box, at most: most are empty, but there is memory for each
_NARROWEST = 1.0  # cells that a component's standard deviation must be long, in every direction
_SAMPLED = 20_000  # rows that decide where the box is
_OUTSIDE = 0.001  # quantile of each feature at which the box would end, if it did not go on
_MARGIN = 0.05  # for so much of its length
_PART = 1 << 15  # rows that are sorted into cells at once


class Grid(NamedTuple):
    """A box of cells in which nearly all samples lie; those outside lie on its continuation."""

    low: np.ndarray  # (D,) the corner
    width: np.ndarray  # (D,) of a cell
    shape: tuple[int, ...]  # cells along each feature

    @classmethod
    def of(cls, X, n_rows):
        """Return the grid for so many rows, of which X are some, or all."""
        rows = X[:: max(1, len(X) // _SAMPLED)].astype(np.float64)
        d = rows.shape[1]
        n = int(min(_MOST_CELLS[d], (_CELLS_OF_A_ROW * n_rows) ** (1 / d)))
        low, high = np.quantile(rows, [_OUTSIDE, 1 - _OUTSIDE], axis=0)
        margin = _MARGIN * (high - low)
        low = np.maximum(low - margin, rows.min(axis=0))
        width = (np.minimum(high + margin, rows.max(axis=0)) - low) / n
        return cls(low, np.where(width > 0, width, 1.0), (n,) * d)

    def places(self, X):
        """Return the cells' numbers along each feature, (D, n) float64, and places within them."""
        within = np.empty((X.shape[1], len(X)))
        np.subtract(X.T, self.low[:, None], out=within)
        within /= self.width[:, None]
        cells = np.floor(within)
        within -= cells
        return cells, within


class Cells:
    """Sums over the samples of each cell: a sum that adds.

    Parameters
    ----------
    grid : Grid
    box : ndarray of shape (1 + D, cells of the box)
        Of each cell the weight, and the weighted sum of places within it, which are in [0, 1].
    squares : ndarray of shape (D, D)
        Weighted sum of the products of all places.
    keys : ndarray of shape (m, D), int64
        Numbers of the cells outside the box that have a sample, sorted.
    outside : ndarray of shape (1 + D, m)
        What `box` is of these.
    """

    def __init__(self, grid, box, squares, keys, outside):
        self.grid, self.box, self.squares, self.keys, self.outside = (
            grid, box, squares, keys, outside
        )  # fmt: skip

    @classmethod
    def none(cls, grid):
        """Return cells without samples."""
        d = len(grid.shape)
        box, nowhere = np.zeros((1 + d, math.prod(grid.shape))), np.zeros((1 + d, 0))
        return cls(grid, box, np.zeros((d, d)), np.zeros((0, d), np.int64), nowhere)

    def add_samples(self, X, weight):
        """Add some samples, in place; `weight` may be None."""
        size = self.box.shape[1]
        cells, places = self.grid.places(X)
        number, inside = np.zeros(len(X)), np.ones(len(X), bool)
        for column, length in zip(cells, self.grid.shape, strict=True):
            inside &= (column >= 0) & (column < length)
            number = number * length + column
        weighed = places if weight is None else weight * places
        self.squares += weighed @ places.T
        if not inside.all():
            far = ~inside
            one = np.ones(len(X)) if weight is None else weight
            # What is so far away that its number is none is nearest to the last one.
            keys = np.clip(cells[:, far].T, -(2.0**62), 2.0**62).astype(np.int64)
            sums = np.vstack([one[far], weighed[:, far]])
            self.keys, self.outside = _merged(
                np.concatenate([self.keys, keys]), np.hstack([self.outside, sums])
            )
            number, weighed = number[inside], weighed[:, inside]
            weight = None if weight is None else weight[inside]
        number = number.astype(np.int64)
        for row, values in zip(self.box, [weight, *weighed], strict=True):
            row += np.bincount(number, values, size)

    def __add__(self, other):
        keys, outside = _merged(
            np.concatenate([self.keys, other.keys]), np.hstack([self.outside, other.outside])
        )
        box, squares = self.box + other.box, self.squares + other.squares
        return Cells(self.grid, box, squares, keys, outside)

    def _table(self):
        """Return the numbers of the cells that have weight, (m, D), and their sums, (1 + D, m)."""
        inside = np.flatnonzero(self.box[0])
        keys = np.column_stack(np.unravel_index(inside, self.grid.shape))
        some = self.outside[0] > 0
        keys = np.concatenate([keys, self.keys[some]])
        return keys, np.hstack([self.box[:, inside], self.outside[:, some]])

    def coarser(self):
        """Return cells of twice the width; none of them counts as one of the box."""
        keys, sums = self._table()
        d, weight, odd = len(self.squares), sums[0], (keys & 1).astype(np.float64)
        cross = sums[1:] @ odd
        squares = (self.squares + cross + cross.T + (weight * odd.T) @ odd) / 4
        sums = np.vstack([weight, (sums[1:] + weight * odd.T) / 2])
        grid = Grid(self.grid.low, 2 * self.grid.width, (1,) * d)
        return Cells(grid, np.zeros((1 + d, 1)), squares, *_merged(keys >> 1, sums))

    def block(self):
        """Return the means of the cells that have weight, weighted, as a block."""
        keys, sums = self._table()
        points = self.grid.low + (keys + (sums[1:] / sums[0]).T) * self.grid.width
        return GaussianBlock.of(points, sums[0])

    def spread(self):
        """Return the covariance of samples within their cells, (D, D)."""
        sums = self._table()[1]
        between = (sums[1:] / sums[0]) @ sums[1:].T
        width = self.grid.width
        return (self.squares - between) / sums[0].sum() * (width[:, None] * width)


def cells_of(block, grid):
    """Return the sums over the cells of a block's samples, as Statistics."""
    total, weight = Cells.none(grid), block.sample_weight
    for begin in range(0, len(block.X), _PART):
        part = slice(begin, begin + _PART)
        total.add_samples(block.X[part], None if weight is None else weight[part])
    return Statistics(bound=0.0, weight=1.0, cells=total)


def _merged(keys, sums):
    """Return the keys that differ, sorted, and the sums of each."""
    least, most = keys.min(axis=0, initial=0), keys.max(axis=0, initial=0)
    # In Python's integers: the range may be more than int64 holds.
    ranges = [1 + b - a for a, b in zip(least.tolist(), most.tolist(), strict=True)]
    if math.prod(ranges) < 2**62:  # one number for each key, which is quicker to sort
        numbers = np.ravel_multi_index(tuple((keys - least).T), ranges)
        numbers, place = np.unique(numbers, return_inverse=True)
        keys = np.column_stack(np.unravel_index(numbers, ranges)) + least
    else:
        keys, place = np.unique(keys, axis=0, return_inverse=True)
    place = place.reshape(-1)  # some versions of NumPy give it another shape
    return keys, np.stack([np.bincount(place, row, len(keys)) for row in sums])


def with_own_spread(model, params, points: GaussianBlock, spread):
    """Return an M-step's parameters, for samples that vary about the points by a covariance.

    Parameters
    ----------
    model : GaussianEM
    params : GaussianParams
    points : GaussianBlock
    spread : ndarray of shape (D, D)
    """
    statistics, kind = model.e_step(params, points), KINDS[model.kind]
    moments = statistics.moments
    own = spread if kind.dense else spread.diagonal()
    own = moments.weight.reshape(-1, *[1] * own.ndim) * own
    scatter = moments.scatter + kind.pool(own)
    statistics.moments = Moments(moments.weight, moments.mean, scatter, moments.kind)
    return model.m_step(statistics)


def too_narrow(params, kind, width):
    """Return whether a component is so narrow that cells of this width say little of it."""
    k, d = params.means.shape
    covariances = KINDS[kind].matrices(covariances_of(params, kind), k, d)
    in_cells = covariances[params.weights > 0] / (width[:, None] * width)
    return bool(np.linalg.eigvalsh(in_cells)[:, 0].min(initial=np.inf) < _NARROWEST**2)
