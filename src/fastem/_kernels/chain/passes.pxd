"""There and back along several short sequences of a chain, and what long ones need as well.

A sequence whose variables underflow is done again in log space. That is told from three numbers:
what the forward variables sum to, how large the backward ones become, and whether the posteriors
sum to 1. Where all transitions are possible the last two cannot fail.
"""

from libc.math cimport INFINITY, exp, fabs, log
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastem._kernels.chain.job cimport (
    CHAIN_ABREAST, CHAIN_NEVER, chain_job, chain_ops, chain_run, chain_work, outputs,
)


cdef extern from *:
    """
    #define CHAIN_TINY 1e-280
    #define CHAIN_HUGE_BETA 1e280
    #define CHAIN_LN2 0.693147180559945309417
    /* A sum of posteriors may differ from 1 by the rounding of a block, and by no more. */
    #define CHAIN_DRIFT 1e-9
    #define CHAIN_DRIFT_PER_ROW 1e-11
    """
    const double TINY "CHAIN_TINY"
    const double HUGE_BETA "CHAIN_HUGE_BETA"
    const double LN2 "CHAIN_LN2"
    const double DRIFT "CHAIN_DRIFT"
    const double DRIFT_PER_ROW "CHAIN_DRIFT_PER_ROW"


cdef inline double _sum(const double *a, Py_ssize_t n) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += a[i]
    return total


cdef inline double _log_sum(const double *a, Py_ssize_t n) noexcept nogil:
    """Return log sum exp; -inf where all stand for the logarithm of 0."""
    cdef double base = a[0], total = 0
    cdef Py_ssize_t i
    for i in range(1, n):
        base = max(base, a[i])
    if base < 0.1 * CHAIN_NEVER:
        return -INFINITY
    for i in range(n):
        total += exp(a[i] - base)
    return base + log(total)


cdef inline void _begin(chain_run *run, const chain_job *c, const chain_work *work, int number,
                        Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    """Let a run begin at its first row."""
    run.at, run.n, run.beta = at, n, work.beta + number * c.width
    run.least, run.most, run.mass, run.exponent = INFINITY, 0, 0, 0


cdef inline int _drifts(const chain_run *run, double weight) noexcept nogil:
    """Return whether the backward variables overflowed, or posteriors do not sum to the weight."""
    cdef double limit = weight * (DRIFT + DRIFT_PER_ROW * run.n)
    return not (run.most < HUGE_BETA and fabs(run.mass - weight * run.n) <= limit)


cdef inline void _need_logs(const chain_job *c, chain_work *work, Py_ssize_t first,
                            Py_ssize_t n) noexcept nogil:
    """Make the log-densities of the block's n rows, unless they are there."""
    if c.codes == NULL and work.lp == NULL:
        work.lp = c.emission.log_prob(c.emission.job, first, n, work.scratch)


cdef inline void _add_emission(const chain_job *c, const chain_ops *ops, chain_work *work,
                               Py_ssize_t first, Py_ssize_t n, int returns,
                               double *sums) noexcept nogil:
    cdef Py_ssize_t width = c.width
    ops.add_pairs(c, work, n, returns)
    if c.codes != NULL:
        ops.add_codes(c, work, first, n, sums + width + 2 * width * width)
        return
    ops.to_columns(c, work, n)
    c.emission.add(c.emission.job, first, n, work.scratch, work.columns,
                   sums + width + 2 * width * width)


cdef inline void _write(const chain_job *c, const chain_work *work, Py_ssize_t first, Py_ssize_t n,
                        double *posteriors) noexcept nogil:
    """Write the block's n rows of posteriors; row 0 is row `first` of the data."""
    cdef Py_ssize_t t, k, n_states = c.n_states
    cdef const double *gamma = work.gamma
    posteriors += first * n_states
    for t in range(n):
        for k in range(n_states):
            posteriors[t * n_states + k] = gamma[t * c.width + k]


# ---- several short sequences -----------------------------------------------------------------


cdef inline void pass_short(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    const double *weight, Py_ssize_t first, Py_ssize_t last, int positive, double *sums,
    outputs *out,
) noexcept nogil:
    """Do sequences [first, last), which fill at most a block."""
    cdef Py_ssize_t s = first, origin = begin[first], whole = begin[last] - origin
    cdef int abreast = ops.abreast(c), count
    ops.frames(c, work, origin, whole)
    while s < last:
        count = <int> min(abreast, last - s)
        _pass_abreast(c, ops, work, begin, weight, s, count, origin, whole, positive, sums, out)
        s = s + count
    if out.summed:
        _add_emission(c, ops, work, origin, whole, 0, sums)
    if out.posteriors != NULL:
        _write(c, work, origin, whole, out.posteriors)


cdef inline void _pass_abreast(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    const double *weight, Py_ssize_t first, int count, Py_ssize_t origin, Py_ssize_t whole,
    int positive, double *sums, outputs *out,
) noexcept nogil:
    """Do some sequences of a block at a time."""
    cdef chain_run runs[CHAIN_ABREAST]
    cdef double w[CHAIN_ABREAST]
    cdef int good[CHAIN_ABREAST]
    cdef int both = out.summed or out.posteriors != NULL or not positive, all_good = True, r
    cdef Py_ssize_t width = c.width, at, s, k
    cdef double total
    for r in range(count):
        s = first + r
        _begin(&runs[r], c, work, r, begin[s] - origin, begin[s + 1] - begin[s])
        w[r] = weight[s] if weight != NULL and out.summed else 1
    ops.forward(c, work, runs, count, 1)
    for r in range(count):
        at = runs[r].at
        total = _sum(work.alpha + (at + runs[r].n) * width, width)
        out.scores[first + r] = log(total) + (
            LN2 * runs[r].exponent + _sum(work.shift + at, runs[r].n))
        good[r] = min(runs[r].least, total) > TINY
        all_good = all_good and good[r]
        for k in range(width):
            runs[r].beta[k] = w[r] / total
    if both and all_good and positive:
        ops.backward(c, work, runs, count, 1)
    elif both:
        for r in range(count):
            good[r] = good[r] and _back_alone(c, ops, work, &runs[r], w[r], out.summed)
    for r in range(count):
        at = runs[r].at
        if not good[r]:
            out.scores[first + r] = _again(c, ops, work, origin, whole, at, runs[r].n, w[r])
        if out.summed:
            for k in range(width):
                sums[k] += work.gamma[at * width + k]


cdef inline int _back_alone(
    const chain_job *c, const chain_ops *ops, chain_work *work, chain_run *run, double weight,
    int summed,
) noexcept nogil:
    """Go back along one sequence; return whether all went well, and leave no trace of it if not."""
    cdef Py_ssize_t square = c.width * c.width
    cdef int sums_pairs = summed and c.width <= ops.lanes
    if sums_pairs:
        memcpy(work.spare + 16, work.pairs, 8 * square)
    ops.backward(c, work, run, 1, 1)
    if not _drifts(run, weight):
        return 1
    if sums_pairs:
        memcpy(work.pairs, work.spare + 16, 8 * square)
    return 0


cdef inline double _again(
    const chain_job *c, const chain_ops *ops, chain_work *work, Py_ssize_t origin,
    Py_ssize_t whole, Py_ssize_t at, Py_ssize_t n, double weight,
) noexcept nogil:
    """Do one sequence of a block of `whole` rows in log space; return its log-likelihood."""
    cdef Py_ssize_t width = c.width
    cdef double log_total
    _need_logs(c, work, origin, whole)
    ops.log_frames(c, work, origin, at, n)
    work.log_scale = 0
    ops.log_forward(c, work, at, n, 1)
    log_total = _log_sum(work.alpha + (at + n) * width, c.n_states)
    log_total += work.log_scale + _sum(work.shift + at, n)
    if log_total == -INFINITY:
        _impossible(work, at, n, width, weight)
        return log_total
    memset(work.beta, 0, 8 * width)
    ops.log_backward(c, work, at, n, 1, weight)
    return log_total


cdef inline void _impossible(chain_work *work, Py_ssize_t at, Py_ssize_t n, Py_ssize_t width,
                             double weight) noexcept nogil:
    """Leave no trace of a sequence in the sums; posteriors are not defined."""
    cdef Py_ssize_t i
    for i in range(at * width, (at + n) * width):
        work.gamma[i] = work.w[i] = 0
        work.alpha[i + width] = 0
