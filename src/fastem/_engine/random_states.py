"""Random states for the time of a fit: to make one takes as long as a small fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["lent_random_state"]

#: Those that nobody uses. NumPy asks the system for entropy and mixes it before it takes a seed, a
#: fifteenth of a millisecond; a new seed for an old one takes one microsecond.
_idle: deque[np.random.RandomState] = deque(maxlen=8)


@contextmanager
def lent_random_state(random_state: Any) -> Iterator[np.random.RandomState]:
    """Give a block what :func:`sklearn.utils.check_random_state` makes of `random_state`.

    What the block is given for a number must not be kept beyond it.
    """
    if not isinstance(random_state, Integral) or isinstance(random_state, bool):
        yield check_random_state(random_state)
        return
    try:
        lent = _idle.pop()
    except IndexError:
        lent = np.random.RandomState()
    lent.seed(int(random_state))
    yield lent
    _idle.append(lent)  # not after an exception, which may still refer to it
