"""Gamma variates from which scikit-learn's latent Dirichlet allocation begins, in less time."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from functools import cache

import numpy as np

from fastem._engine.codec import savable
from fastem._kernels.gamma_stream import GammaStream

__all__ = [
    "Drawn",
    "advance",
    "fill_gammas",
    "first_gammas",
    "gamma_stream",
    "own_stream",
    "stream_of",
]

_SHAPE, _SCALE = 100.0, 0.01


def fill_gammas(random_state, out):
    """Do as ``out[:] = random_state.gamma(100.0, 0.01, out.shape)``."""
    with gamma_stream(random_state, out) as stream:
        if stream is not None:
            stream.fill(out)


@contextmanager
def gamma_stream(random_state, out):
    """Give a GammaStream for whoever fills `out` as `fill_gammas` does; or fill it, and give None.

    The numbers are those of NumPy's legacy stream, which is frozen (NEP 19), and what was taken
    off the stream is then taken off the RandomState. Meanwhile that is locked, as by whoever draws
    from a BitGenerator. None: a subclass, or another BitGenerator than the legacy one.
    """
    if not _is_ours(random_state):
        out[:] = random_state.gamma(_SHAPE, _SCALE, out.shape)
        yield None
        return
    with random_state._bit_generator.lock:
        stream = GammaStream(random_state.get_state(legacy=False), _SHAPE, _SCALE)
        try:
            yield stream
        finally:
            random_state.set_state(stream.state)


def _is_ours(random_state):
    """Return whether our stream gives this RandomState's numbers."""
    return (
        type(random_state) is np.random.RandomState
        and type(random_state._bit_generator) is np.random.MT19937
        and _is_exact()
    )


@cache
def _is_exact():
    """Whether this build rounds as NumPy's does: a compiler may fuse what NumPy's did not."""
    numpys = np.random.RandomState(0)
    stream = GammaStream(numpys.get_state(legacy=False), _SHAPE, _SCALE)
    ours = np.empty((1, 2000))
    stream.fill(ours)
    return np.array_equal(ours, numpys.gamma(_SHAPE, _SCALE, ours.shape))


# ---- numbers that travel with parameters and statistics ----------------------------------------


def stream_of(random_state):
    """Return a stream of what the RandomState would give next, from which it takes nothing.

    But one of a class of somebody's own, of which no copy has the methods, is the stream itself.
    """
    if _is_ours(random_state):
        return GammaStream(random_state.get_state(legacy=False), _SHAPE, _SCALE)
    return _copy(random_state)


def _copy(stream):
    if isinstance(stream, GammaStream):
        return stream.copy()
    return copy.deepcopy(stream) if type(stream) is np.random.RandomState else stream


def own_stream(stream, number):
    """Return a block's own stream, which takes nothing from the given one; None of None.

    Block number 0 goes on where that stands, as scikit-learn does. Those of others depend on where
    that stands and on their number alone.
    """
    if stream is None:
        return None
    own = _copy(stream)
    if number == 0:
        return own
    seeds = np.empty((1, 4))
    first = first_gammas(own, seeds)
    if first is not None:
        first.fill(seeds)
    return stream_of(np.random.RandomState([*seeds.view(np.uint32)[0], number]))


def first_gammas(stream, out):
    """Return a GammaStream for whoever fills `out` from it; or fill it, and return None.

    Without a stream it is filled with ones.
    """
    if isinstance(stream, GammaStream):
        return stream
    out[:] = 1 if stream is None else stream.gamma(_SHAPE, _SCALE, out.shape)
    return None


def advance(random_state, stream):
    """Let a RandomState stand where a stream does that was made of it."""
    if isinstance(stream, GammaStream):
        random_state.set_state(stream.state)
    elif stream is not None and stream is not random_state:
        random_state.set_state(stream.get_state(legacy=False))


class Drawn:
    """A statistic: a block's stream of random numbers after its E-step. The first block's stays.

    Parameters
    ----------
    number : int
        Of the block.
    stream : GammaStream or RandomState
    """

    __slots__ = ("number", "stream")

    def __init__(self, number, stream):
        self.number, self.stream = number, stream

    def __add__(self, other):
        return self if self.number <= other.number else other

    def __sub__(self, other):
        return self

    def __mul__(self, factor):
        return self

    __rmul__ = __mul__


savable(Drawn, lambda drawn: [drawn.number, drawn.stream])
savable(GammaStream, lambda stream: stream.__reduce__()[1])
