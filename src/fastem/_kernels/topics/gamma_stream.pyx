"""NumPy's legacy gamma variates, in less time: see gamma_stream.h."""

import numpy as np

from libc.math cimport sqrt
from libc.stdint cimport uint32_t

ctypedef fused real:
    float
    double


cdef class GammaStream:
    """Gamma variates from where a RandomState stands.

    Parameters
    ----------
    state : dict or GammaStream
        What ``RandomState.get_state(legacy=False)`` returns, of an MT19937; or a stream that stands
        there.
    shape, scale : float
        Of the gamma distribution; shape > 1.
    """

    def __cinit__(self, state, double shape, double scale):
        cdef const uint32_t[::1] key
        cdef gamma_stream *stream = &self.stream
        cdef Py_ssize_t i
        self.shape = shape
        if isinstance(state, GammaStream):
            self.stream = (<GammaStream> state).stream
            return
        key = np.ascontiguousarray(state["state"]["key"], np.uint32)
        for i in range(MT_WORDS):
            stream.key[i] = key[i]
        mt_seek(stream, state["state"]["pos"])
        stream.has_gauss, stream.gauss = state["has_gauss"], state["gauss"]
        stream.b, stream.scale = shape - 1.0 / 3.0, scale
        stream.c = 1.0 / sqrt(9.0 * stream.b)

    def __reduce__(self):
        """Save where the stream stands."""
        return type(self), (self.state, self.shape, self.stream.scale)

    def copy(self):
        """Return another stream that stands where this one does."""
        return GammaStream(self, self.shape, self.stream.scale)

    @property
    def state(self):
        """Where the stream stands, as ``RandomState.set_state`` takes it."""
        key = np.empty(MT_WORDS, np.uint32)
        cdef uint32_t[::1] words = key
        cdef Py_ssize_t i
        for i in range(MT_WORDS):
            words[i] = self.stream.key[i]
        return {
            "bit_generator": "MT19937",
            "state": {"key": key, "pos": mt_pos(&self.stream)},
            "has_gauss": self.stream.has_gauss,
            "gauss": self.stream.gauss if self.stream.has_gauss else 0.0,
        }

    def fill(self, real[:, ::1] out):
        """``out[:] = random_state.gamma(shape, scale, out.shape)``."""
        cdef gamma_rows rows
        if out.shape[0] == 0 or out.shape[1] == 0:
            return
        rows.stream, rows.values, rows.is_double = &self.stream, &out[0, 0], real is double
        rows.n_columns = rows.width = out.shape[1]
        rows.ready = 0
        with nogil:
            while not gamma_filled(&rows, out.shape[0]):
                pass
