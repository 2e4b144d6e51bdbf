"""The best path through a sequence (Viterbi): there by the best ways, back along the best one.

With few states a row's ways fit the place of the state that is written there, and wait in it. With
more, the way there is made again on the way back, block after block.

Of states that are equally good the last row takes the first, and every row before it the last, as
hmmlearn does: among paths that are equally probable it is the same one.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from fastem._kernels.chain.job cimport (
    CHAIN_NEVER, CHAIN_WAYS, chain_job, chain_ops, chain_work, outputs, round_up,
)
from fastem._kernels.omp cimport fastem_interrupted


cdef extern from *:
    int __builtin_clz(unsigned) noexcept nogil


cdef inline Py_ssize_t _first_best(const double *a, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, best = 0
    for i in range(1, n):
        if a[i] > a[best]:
            best = i
    return best


cdef inline Py_ssize_t _last_best(const double *a, const double *b, Py_ssize_t n) noexcept nogil:
    """Return the last of the largest a + b."""
    cdef Py_ssize_t i, best = 0
    cdef double top = -INFINITY, value
    for i in range(n):
        value = a[i] + b[i]
        if value >= top:
            top, best = value, i
    return best


cdef inline double _end(const chain_job *c, const chain_work *work, Py_ssize_t end,
                        int64_t *state) noexcept nogil:
    """Return the best path's log-probability, and write its last state, at row end - 1."""
    cdef const double *last = work.alpha + end * c.width
    state[0] = _first_best(last, c.n_states)
    return -INFINITY if last[state[0]] < 0.1 * CHAIN_NEVER else last[state[0]]


cdef inline void _follow(int64_t *states, Py_ssize_t n, int64_t state) noexcept nogil:
    """Write n states over the ways to them; `state` is the last."""
    cdef Py_ssize_t t
    cdef int64_t before
    for t in range(n - 1, 0, -1):
        before = 31 - __builtin_clz((<const uint8_t *> (states + t))[state])  # the last
        states[t] = state
        state = before
    states[0] = state


cdef inline void _trace(const chain_job *c, const chain_work *work, Py_ssize_t at, Py_ssize_t n,
                        int64_t *states) noexcept nogil:
    """Write states[at - 1 ... at + n - 2] from what is at at + n - 1."""
    cdef Py_ssize_t t
    for t in range(at + n - 1, at - 1, -1):
        states[t - 1] = _last_best(work.alpha + t * c.width, c.log_turned + states[t] * c.width,
                                   c.n_states)


cdef inline void best_of_short(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    Py_ssize_t first, Py_ssize_t last, outputs *out,
) noexcept nogil:
    cdef Py_ssize_t s, at, n, origin = begin[first]
    cdef int64_t *states = out.states + origin
    cdef int few = c.width <= CHAIN_WAYS
    cdef int64_t end
    ops.best_frames(c, work, origin, begin[last] - origin)
    for s in range(first, last):
        at, n = begin[s] - origin, begin[s + 1] - begin[s]
        ops.best_forward(c, work, at, n, 1, states if few else NULL)
        out.scores[s] = _end(c, work, at + n, &end)
        if few:
            _follow(states + at, n, end)
        else:
            states[at + n - 1] = end
            _trace(c, work, at + 1, n - 1, states)


cdef inline void best_of_long(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    Py_ssize_t s, double *kept, outputs *out,
) noexcept nogil:
    cdef Py_ssize_t width = c.width, rows = c.rows, first = begin[s], whole = begin[s + 1] - first
    cdef Py_ssize_t n_blocks = round_up(whole, rows) // rows, turn, block, n = rows
    cdef int64_t *states = out.states + first
    cdef int few = width <= CHAIN_WAYS, back
    cdef int64_t end
    for back in range(1 if few else 2):
        for turn in range(n_blocks):
            block = n_blocks - 1 - turn if back else turn
            if back:
                memcpy(work.alpha, kept + block * width, 8 * width)
            elif block:
                memcpy(work.alpha, work.alpha + n * width, 8 * width)
                memcpy(kept + block * width, work.alpha, 8 * width)
            n = min(rows, whole - block * rows)
            if not back or turn:  # the last block is still there
                ops.best_frames(c, work, first + block * rows, n)
                ops.best_forward(c, work, 0, n, block == 0, states + block * rows if few else NULL)
            if back:
                _trace(c, work, block == 0, n - (block == 0), states + block * rows)
            if fastem_interrupted(&out.clock):
                out.stop = 1
            if out.stop:
                return
        if not back:
            out.scores[s] = _end(c, work, n, &end)
            if few:
                _follow(states, whole, end)
            else:
                states[whole - 1] = end
