"""A long sequence from both ends: two runs meet in its middle, and go back to where they came from.

Each waits for itself alone, so that two at a time take little longer than one. Blocks are in pairs,
the first with the last, the second with the last but one; an odd one stays in the middle, and
belongs to the left. For chains where all transitions are possible: what may fail is told before the
sums are touched.
"""

from libc.math cimport log
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastem._kernels.chain.job cimport (
    chain_job, chain_ops, chain_run, chain_work, outputs, round_up,
)
from fastem._kernels.chain.passes cimport LN2, TINY, _add_emission, _begin, _sum, _write
from fastem._kernels.omp cimport fastem_interrupted


cdef struct long_one:
    Py_ssize_t first, whole, n_blocks, n_left, n_right  # rows, then blocks
    double weight
    double *kept        # (n_blocks, W) what came before each block, from its side
    chain_run runs[2]
    double shift


cdef inline int pass_both(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin, Py_ssize_t s,
    double weight, double *kept, double *sums, outputs *out,
) noexcept nogil:
    """Do a sequence of several blocks; return whether that must be done again in log space.

    `work` are two buffers, and the pairs of the second its own.
    """
    cdef Py_ssize_t width = c.width, i, j
    cdef long_one one
    one.first, one.whole, one.weight, one.kept = begin[s], begin[s + 1] - begin[s], weight, kept
    one.n_blocks = round_up(one.whole, c.rows) // c.rows
    one.n_right = one.n_blocks // 2
    one.n_left = one.n_blocks - one.n_right
    one.shift = 0
    for i in range(2):
        _begin(&one.runs[i], c, &work[i], 0, 0, c.rows)
    if not _to_the_middle(c, ops, work, &one, out):
        return 1
    if out.stop:
        return 0
    memset(work[1].pairs, 0, 8 * width * width)
    _meet(c, work, &one, out, s)
    if not (out.summed or out.posteriors != NULL):
        return 0
    _to_the_ends(c, ops, work, &one, sums, out)
    if out.summed and not out.stop:
        for i in range(width):
            sums[i] += work[0].gamma[i]
            for j in range(width):
                work[0].pairs[j * width + i] += work[1].pairs[i * width + j]
    return 0


cdef inline Py_ssize_t _rows_of(const chain_job *c, const long_one *one,
                                Py_ssize_t block) noexcept nogil:
    return min(c.rows, one.whole - block * c.rows)


cdef inline void _make(const chain_job *c, const chain_ops *ops, chain_work *work, long_one *one,
                       Py_ssize_t i) noexcept nogil:
    """Make the forward variables of block i, and of its counterpart on the right if it has one.

    Those before them are in their places.
    """
    cdef Py_ssize_t right = one.n_blocks - 1 - i
    one.runs[0].n = _rows_of(c, one, i)
    ops.frames(c, work, one.first + i * c.rows, one.runs[0].n)
    if i < one.n_right:
        one.runs[1].n = _rows_of(c, one, right)
        ops.frames(c, work + 1, one.first + right * c.rows, one.runs[1].n)
        ops.forward_both(c, work, one.runs, i == 0)
    else:
        ops.forward(c, work, one.runs, 1, i == 0)


cdef inline int _to_the_middle(const chain_job *c, const chain_ops *ops, chain_work *work,
                               long_one *one, outputs *out) noexcept nogil:
    """Go from both ends to the middle; return whether all went well."""
    cdef Py_ssize_t width = c.width, i, size = 8 * width
    cdef double *kept
    for i in range(one.n_left):
        if i:
            memcpy(work[0].alpha, work[0].alpha + one.runs[0].n * width, size)
        memcpy(one.kept + i * width, work[0].alpha, size)
        if i < one.n_right:
            if i:
                memcpy(work[1].alpha + c.rows * width, work[1].alpha, size)
            kept = one.kept + (one.n_blocks - 1 - i) * width
            memcpy(kept, work[1].alpha + c.rows * width, size)
        _make(c, ops, work, one, i)
        one.shift += _sum(work[0].shift, one.runs[0].n)
        if i < one.n_right:
            one.shift += _sum(work[1].shift, one.runs[1].n)
        if not min(one.runs[0].least, one.runs[1].least) > TINY:
            return 0
        if fastem_interrupted(&out.clock):
            out.stop = 1
        if out.stop:
            return 1
    return 1


cdef inline void _meet(const chain_job *c, chain_work *work, long_one *one, outputs *out,
                       Py_ssize_t s) noexcept nogil:
    """Let both sides have what the other knows, and count the transition between them.

    No sum is 0: those of either side have just been looked at, and all transitions are possible.
    """
    cdef Py_ssize_t width = c.width, i, j
    cdef const double *left = work[0].alpha + one.runs[0].n * width
    cdef const double *right = work[1].alpha
    cdef double mass[2]
    cdef double total = 0, product
    mass[0], mass[1] = _sum(left, width), _sum(right, width)
    for i in range(width):
        work[0].beta[i] = work[1].beta[i] = 0
        for j in range(width):
            work[0].beta[i] += c.trans[i * width + j] * (right[j] / mass[1])
            work[1].beta[i] += c.turned[i * width + j] * (left[j] / mass[0])
        total += left[i] / mass[0] * work[0].beta[i]
    out.scores[s] = (log(mass[0]) + log(mass[1]) + log(total)) + (
        LN2 * (one.runs[0].exponent + one.runs[1].exponent) + one.shift)
    for i in range(width):
        # The products with what the side has must not underflow.
        work[0].beta[i] /= total * mass[0]
        work[1].beta[i] /= total * mass[1]
        for j in range(width):
            product = left[i] / mass[0] * (right[j] / mass[1])
            work[1].pairs[i * width + j] += one.weight / total * product


cdef inline void _to_the_ends(const chain_job *c, const chain_ops *ops, chain_work *work,
                              long_one *one, double *sums, outputs *out) noexcept nogil:
    """Go back from the middle, with posteriors and sums."""
    cdef Py_ssize_t width = c.width, size = 8 * width, i, right
    cdef int both
    for i in range(one.n_left - 1, -1, -1):
        right, both = one.n_blocks - 1 - i, i < one.n_right
        if i < one.n_left - 1:  # else they are still there
            memcpy(work[0].alpha, one.kept + i * width, size)
            memcpy(work[1].alpha + _rows_of(c, one, right) * width, one.kept + right * width, size)
            _make(c, ops, work, one, i)
        _anchor(work[0].alpha + one.runs[0].n * width, work[0].beta, width, one.weight)
        if both:
            _anchor(work[1].alpha, work[1].beta, width, one.weight)
            ops.backward_both(c, work, one.runs, i == 0, out.summed)
        else:
            ops.backward(c, work, one.runs, 1, i == 0)
        _use(c, ops, work, one, i, 0, sums, out)
        if both:
            _use(c, ops, work + 1, one, right, 1, sums, out)
        if fastem_interrupted(&out.clock):
            out.stop = 1
        if out.stop:
            return


cdef inline void _use(const chain_job *c, const chain_ops *ops, chain_work *work, long_one *one,
                      Py_ssize_t block, int side, double *sums, outputs *out) noexcept nogil:
    """Add a block to the sums, and write its posteriors."""
    cdef Py_ssize_t at = one.first + block * c.rows, n = one.runs[side].n
    if out.summed:
        _add_emission(c, ops, work, at, n, side, sums)
    if out.posteriors != NULL:
        _write(c, work, at, n, out.posteriors)


cdef inline void _anchor(const double *alpha, double *beta, Py_ssize_t width,
                         double weight) noexcept nogil:
    """Let the posteriors of a row sum to the weight, free of rounding until here."""
    cdef double mass = 0
    cdef Py_ssize_t k
    for k in range(width):
        mass += alpha[k] * beta[k]
    for k in range(width):
        beta[k] *= weight / mass if mass > 0 else 1
