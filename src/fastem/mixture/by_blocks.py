"""How a mixture's fit to data in blocks begins: on a sample of the rows, wherever that is."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from sklearn.utils import check_random_state

__all__ = ["Begun", "begin"]


class Begun(NamedTuple):
    """What a fit to blocks begins with."""

    model: Any
    make: Any  # a block for the driver, of X and its weights
    starts: list[Any]  # the first parameters of each restart
    learned: dict[str, Any]  # fitted attributes that are known before the fit


def begin(estimator, found, n_starts, sample) -> Begun:
    """Return what a fit to blocks begins with; this runs where the sample of rows is.

    Parameters
    ----------
    estimator : Mixture
        It is not changed.
    found : Survey
    n_starts : int
    sample : Sample
    """
    door = copy.copy(estimator)
    model, block, start = door._problem_of(sample.rows, sample.weight_or_none(), found)
    random_state = check_random_state(door.random_state)
    starts = [start(random_state) for _ in range(n_starts)]
    before = vars(estimator)
    learned = {
        name: value
        for name, value in vars(door).items()
        if name.endswith("_") and before.get(name) is not value
    }
    return Begun(model, door._maker(block, found), starts, learned)
