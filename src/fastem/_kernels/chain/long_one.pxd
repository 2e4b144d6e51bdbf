"""One long sequence, in blocks, from its beginning to its end and back; or from both ends.

The forward variables are kept at the blocks' beginnings alone, and made again on the way back.
"""

from libc.math cimport INFINITY, fabs, log
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastem._kernels.chain.both_ends cimport pass_both
from fastem._kernels.chain.job cimport (
    chain_job, chain_ops, chain_run, chain_work, outputs, round_up,
)
from fastem._kernels.chain.passes cimport (
    DRIFT, LN2, TINY, _add_emission, _begin, _drifts, _impossible, _log_sum, _need_logs, _sum,
    _write,
)
from fastem._kernels.omp cimport fastem_interrupted


cdef inline void pass_long(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    const double *weight, Py_ssize_t s, int positive, double *kept, double *sums, double *undo,
    Py_ssize_t size, outputs *out,
) noexcept nogil:
    """Do a sequence of several blocks; `work` are two buffers where ops.from_both() says so."""
    cdef double w = weight[s] if weight != NULL and out.summed else 1
    cdef int in_logs = 0
    if out.summed and not positive:
        memcpy(undo, sums, 8 * size)
    if positive and ops.from_both(c):
        in_logs = pass_both(c, ops, work, begin, s, w, kept, sums, out)
    else:
        in_logs = _long_pass(c, ops, work, begin, s, w, positive, kept, sums, out, 0)
    if in_logs:
        if out.summed and not positive:
            memcpy(sums, undo, 8 * size)
        _long_pass(c, ops, work, begin, s, w, positive, kept, sums, out, 1)


cdef inline void _forward_block(
    const chain_job *c, const chain_ops *ops, chain_work *work, chain_run *run, Py_ssize_t first,
    Py_ssize_t n, int begins, int in_logs,
) noexcept nogil:
    run.n = n
    ops.frames(c, work, first, n)
    if in_logs:
        _need_logs(c, work, first, n)
        ops.log_frames(c, work, first, 0, n)
        ops.log_forward(c, work, 0, n, begins)
    else:
        ops.forward(c, work, run, 1, begins)


cdef inline int _long_pass(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    Py_ssize_t s, double w, int positive, double *kept, double *sums, outputs *out, int in_logs,
) noexcept nogil:
    """Go there and back; return whether that must be done again in log space."""
    cdef Py_ssize_t width = c.width, rows = c.rows, first = begin[s], block, n, k
    cdef Py_ssize_t n_blocks = round_up(begin[s + 1] - first, rows) // rows
    cdef double total, shift = 0
    cdef int both = out.summed or out.posteriors != NULL or not (positive or in_logs)
    cdef chain_run run
    _begin(&run, c, work, 0, 0, rows)
    work.log_scale = 0
    n = rows
    for block in range(n_blocks):
        if block:
            memcpy(work.alpha, work.alpha + n * width, 8 * width)
        memcpy(kept + block * width, work.alpha, 8 * width)
        n = min(rows, begin[s + 1] - first - block * rows)
        _forward_block(c, ops, work, &run, first + block * rows, n, block == 0, in_logs)
        shift += _sum(work.shift, n)
        if not in_logs and not run.least > TINY:
            return 1
        if fastem_interrupted(&out.clock):
            out.stop = 1
        if out.stop:
            return 0
    if in_logs:
        total = _log_sum(work.alpha + n * width, c.n_states) + (work.log_scale + shift)
        out.scores[s] = total
    else:
        total = _sum(work.alpha + n * width, width)
        out.scores[s] = log(total) + (LN2 * run.exponent + shift)
        if not total > TINY:
            return 1
    if not both:
        return 0
    for k in range(width):
        work.beta[k] = 0 if in_logs else w / total
    for block in range(n_blocks - 1, -1, -1):
        if block < n_blocks - 1:
            n = rows
            memcpy(work.alpha, kept + block * width, 8 * width)
            if total > -INFINITY:
                _forward_block(c, ops, work, &run, first + block * rows, n, block == 0, in_logs)
        if in_logs and total == -INFINITY:
            _impossible(work, 0, n, width, w)
        elif in_logs:
            ops.log_backward(c, work, 0, n, block == 0, w)
        else:
            if not _anchor(work, n, width, w):
                return 1
            run.n, run.most, run.mass = n, 0, 0
            ops.backward(c, work, &run, 1, block == 0)
            if _drifts(&run, w):
                return 1
        if out.summed and not (in_logs and total == -INFINITY):
            if block == 0:
                for k in range(width):
                    sums[k] += work.gamma[k]
            _add_emission(c, ops, work, first + block * rows, n, 0, sums)
        if out.posteriors != NULL:
            _write(c, work, first + block * rows, n, out.posteriors)
        if fastem_interrupted(&out.clock):
            out.stop = 1
        if out.stop:
            return 0
    return 0


cdef inline int _anchor(chain_work *work, Py_ssize_t n, Py_ssize_t width, double w) noexcept nogil:
    """Let the posteriors of the block's last row sum to the weight, free of rounding until here.

    Returns 0 where it is more than rounding.
    """
    cdef double mass = 0
    cdef Py_ssize_t k
    for k in range(width):
        mass += work.alpha[n * width + k] * work.beta[k]
    if not fabs(mass - w) <= DRIFT * w:
        return 0
    for k in range(width):
        work.beta[k] *= w / mass if mass > 0 else 1
    return 1
