"""The best path through a sequence (Viterbi): there by the best ways, back along the best one."""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastem._kernels.chain.job cimport (
    CHAIN_NEVER, chain_job, chain_ops, chain_work, outputs, round_up,
)
from fastem._kernels.omp cimport fastem_interrupted


cdef inline Py_ssize_t _argmax(const double *a, const double *b, Py_ssize_t n) noexcept nogil:
    """Return the first of the largest a + b; b may be NULL."""
    cdef Py_ssize_t i, best = 0
    cdef double top = -INFINITY, value
    for i in range(n):
        value = a[i] + b[i] if b != NULL else a[i]
        if value > top:
            top, best = value, i
    return best


cdef inline double _end(const chain_job *c, const chain_work *work, Py_ssize_t end,
                        int64_t *state) noexcept nogil:
    """Return the best path's log-probability, and write its last state, at row end - 1."""
    cdef const double *last = work.alpha + end * c.width
    state[0] = _argmax(last, NULL, c.n_states)
    return -INFINITY if last[state[0]] < 0.1 * CHAIN_NEVER else last[state[0]]


cdef inline void _trace(const chain_job *c, const chain_work *work, Py_ssize_t at, Py_ssize_t n,
                        int64_t *states) noexcept nogil:
    """Write states[at - 1 ... at + n - 2] from what is at at + n - 1."""
    cdef Py_ssize_t t
    for t in range(at + n - 1, at - 1, -1):
        states[t - 1] = _argmax(work.alpha + t * c.width, c.log_turned + states[t] * c.width,
                                c.n_states)


cdef inline void best_of_short(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    Py_ssize_t first, Py_ssize_t last, outputs *out,
) noexcept nogil:
    cdef Py_ssize_t s, at, n, origin = begin[first], whole = begin[last] - origin
    if c.codes == NULL:
        work.lp = c.emission.log_prob(c.emission.job, origin, whole, work.scratch)
    ops.log_frames(c, work, origin, 0, whole, 0)
    for s in range(first, last):
        at, n = begin[s] - origin, begin[s + 1] - begin[s]
        ops.best_forward(c, work, at, n, 1)
        out.scores[s] = _end(c, work, at + n, out.states + begin[s + 1] - 1)
        _trace(c, work, at + 1, n - 1, out.states + origin)


cdef inline void best_of_long(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    Py_ssize_t s, double *kept, outputs *out,
) noexcept nogil:
    cdef Py_ssize_t width = c.width, rows = c.rows, first = begin[s], block, n = rows, way
    cdef Py_ssize_t n_blocks = round_up(begin[s + 1] - first, rows) // rows, turn
    for way in range(2):
        for turn in range(n_blocks):
            block = turn if way == 0 else n_blocks - 1 - turn
            if way == 0 and block:
                memcpy(work.alpha, work.alpha + n * width, 8 * width)
            if way == 0:
                memcpy(kept + block * width, work.alpha, 8 * width)
            else:
                memcpy(work.alpha, kept + block * width, 8 * width)
            n = min(rows, begin[s + 1] - first - block * rows)
            if way == 0 or turn:  # the last block is still there
                if c.codes == NULL:
                    work.lp = c.emission.log_prob(c.emission.job, first + block * rows, n,
                                                  work.scratch)
                ops.log_frames(c, work, first + block * rows, 0, n, 0)
                ops.best_forward(c, work, 0, n, block == 0)
            if way == 1:
                _trace(c, work, block == 0, n - (block == 0), out.states + first + block * rows)
            if fastem_interrupted(&out.clock):
                out.stop = 1
            if out.stop:
                return
        if way == 0:
            out.scores[s] = _end(c, work, n, out.states + begin[s + 1] - 1)
