"""Gamma variates from which scikit-learn's latent Dirichlet allocation begins, in less time."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache

import numpy as np

from fastem._kernels.gamma_stream import GammaStream

__all__ = ["fill_gammas", "gamma_stream"]

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
    legacy = (
        type(random_state) is np.random.RandomState
        and type(random_state._bit_generator) is np.random.MT19937
    )
    if not legacy or not _is_exact():
        out[:] = random_state.gamma(_SHAPE, _SCALE, out.shape)
        yield None
        return
    with random_state._bit_generator.lock:
        stream = GammaStream(random_state.get_state(legacy=False), _SHAPE, _SCALE)
        try:
            yield stream
        finally:
            random_state.set_state(stream.state)


@cache
def _is_exact():
    """Whether this build rounds as NumPy's does: a compiler may fuse what NumPy's did not."""
    numpys = np.random.RandomState(0)
    stream = GammaStream(numpys.get_state(legacy=False), _SHAPE, _SCALE)
    ours = np.empty((1, 2000))
    stream.fill(ours)
    return np.array_equal(ours, numpys.gamma(_SHAPE, _SCALE, ours.shape))
