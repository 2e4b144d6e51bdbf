"""algorithm='multiresolution': a mixture of few features is fitted to cells of a grid first.

Then all samples take part, from where that fit ended: at once where cells are too wide.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from fastem import em
from fastem.components.cells import (
    Grid,
    cells_of,
    too_narrow,
    with_own_spread,
)

__all__ = ["grid_of", "start_on_cells", "start_on_cells_of_blocks"]

_CELLS_OF_A_COMPONENT = 40  # at least, on average: fewer are no data to start with


def grid_of(sample, n_rows):
    """Return the grid for so many rows, of which there is a sample."""
    return Grid.of(sample.rows, n_rows)


def start_on_cells(estimator, model, block, start):
    """Return a function that makes the parameters with which a fit to all samples begins.

    Parameters
    ----------
    estimator : GaussianMixture
    model : GaussianEM
    block : GaussianBlock
    start : callable
        ``start(random_state, block)``, which makes the first parameters.
    """
    least = _CELLS_OF_A_COMPONENT * estimator.n_components

    @cache
    def levels():
        return _levels(cells_of(block, Grid.of(block.X, len(block.X))).cells, model, least)

    def begin(random_state):
        coarsest = levels()[0]
        if _are_too_few(coarsest, estimator):
            return start(random_state, block)
        return _fitted(estimator, model, levels(), start(random_state, coarsest.points))

    return begin


def start_on_cells_of_blocks(estimator, model, blocks, grid, start, of_sample):
    """Return what :func:`start_on_cells` does, as a function of the restart's number.

    ``of_sample()`` returns the first parameters of all restarts, made on a sample of the rows: for
    where cells are too few.
    """
    least = _CELLS_OF_A_COMPONENT * estimator.n_components
    random_state = check_random_state(estimator.random_state)
    levels = cache(lambda: _levels(blocks.sum(cells_of, grid).cells, model, least))
    of_sample = cache(of_sample)

    def begin(init):
        coarsest = levels()[0]
        if _are_too_few(coarsest, estimator):
            return of_sample()[init]
        return _fitted(estimator, model, levels(), start(random_state, coarsest.points))

    return begin


def _are_too_few(coarsest, estimator):
    """Return whether there are too few cells to begin with, and say so."""
    n = len(coarsest.points.X)
    few = n < _CELLS_OF_A_COMPONENT * estimator.n_components
    if few and estimator.verbose:
        print(f"Only {n} cells: the fit is to all samples")
    return few


class _Level(NamedTuple):
    """Cells of one width."""

    points: Any  # their means, as a block
    spread: np.ndarray  # (D, D) covariance of samples within them
    width: np.ndarray  # (D,)


def _levels(cells, model, least):
    """Return cells and those of twice the width, and so on as long as they are many."""
    levels: list[_Level] = []
    while True:
        points = model.prepared(cells.block())
        if levels and len(points.X) < least:
            return levels[::-1]
        levels.append(_Level(points, cells.spread(), cells.grid.width))
        if len(points.X) < least:
            return levels
        cells = cells.coarser()


def _fitted(estimator, model, levels, params):
    """Return parameters that were fitted to cells, wide ones first."""
    for level in levels:
        result = em.run(
            model, [level.points], params,
            schedule="batch", tol=estimator.tol, max_iter=estimator.max_iter, evaluate_every=1,
            n_init=1, lower_bound=-math.inf,
            callbacks=[lambda state, level=level: _are_too_wide(level, model, state.params)],
            verbose=0, verbose_interval=1,
        )  # fmt: skip
        params = result.params
        if estimator.verbose:
            ends = "converged" if result.converged else "not converged"
            if _are_too_wide(level, model, params):
                ends = "a component is too narrow for them"
            print(f"On {len(level.points.X)} cells: {result.n_iter} iterations, {ends}")
        if result.n_iter:
            params = with_own_spread(model, params, level.points, level.spread)
    return params


def _are_too_wide(level, model, params):
    return too_narrow(params, model.kind, level.width)
