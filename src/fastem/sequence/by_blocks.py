"""How a hidden Markov model's fit to sequences in blocks begins."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np

from fastem.sequence.chain import Sequences

__all__ = ["Begun", "Largest", "begin_fit", "largest"]


class Largest(float):
    """The largest value of some rows: a sum over blocks."""

    def __add__(self, other):
        return Largest(max(float(self), float(other)))


def largest(X, sample_weight):
    """Return the largest value of a block, at least 0."""
    return Largest(np.nanmax(X, initial=0))


class SequenceBlock(NamedTuple):
    """Makes blocks of sequences, of their rows and where each begins."""

    family: Any
    door: Any  # an estimator, which may have a form of its own for rows

    def __call__(self, X, row_weight, begin, weight):
        """Return the block for the driver."""
        return Sequences(self.family.block(self.door._rows(X)), begin, weight)


class Begun(NamedTuple):
    """What a fit to blocks begins with."""

    model: Any
    make: SequenceBlock
    starts: list[Any]  # the first parameters of each restart
    learned: dict[str, Any]  # fitted attributes that are known before the fit


def begin_fit(estimator, found, n_threads, sample) -> Begun:
    """Return what a fit to blocks begins with; this runs where the sample of rows is."""
    door = copy.copy(estimator)
    if "n_features" in door._get_param_names() and vars(door)["n_features"] is None:
        door.n_features = int(found.extra) + 1  # symbols, of which the sample may lack some
    X, weight = sample.rows, sample.weight_or_none()
    door._check_fit(X, weight)
    family, params, chain, start = door._begin(X, weight, None, n_threads)
    model = door._model(family, params, chain, n_threads)
    before = vars(estimator)
    learned = {
        name: value
        for name, value in vars(door).items()
        if name.endswith("_") and before.get(name) is not value
    }
    starts = [params, *(start(init) for init in range(1, estimator._n_restarts()))]
    return Begun(model, SequenceBlock(family, door), starts, learned)
