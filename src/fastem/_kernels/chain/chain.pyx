"""Forward and backward passes of hidden Markov models, fused with the emissions' statistics.

Whole sequences are split by position into lanes, each with sums of its own, which are added in
order: the bits of the result do not depend on the threads. A lane walks its sequences in blocks
that stay in cache: several short sequences together, or a part of a long one. Of a long one the
forward variables are kept at the blocks' beginnings alone, and made again on the way back.

A sequence whose variables underflow is done again in log space. That is told from three numbers:
what the forward variables sum to, how large the backward ones become, and whether the posteriors
sum to 1. Where all transitions are possible the last two cannot fail.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange
from libc.math cimport INFINITY, exp, fabs, log
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.omp cimport (
    fastem_buffers, fastem_flush_subnormals, fastem_free_buffers, fastem_interrupted,
    fastem_restore_subnormals, omp_get_thread_num, omp_get_wtime, raise_pending,
)


cdef extern from "shared/emission.h":
    const char *FASTEM_EMISSION

    ctypedef struct fastem_emission:
        const void *job
        Py_ssize_t n_states, n_rows, most_rows, column, scratch_bytes, sums_size
        const double *(*log_prob)(const void *, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
        void (*add)(const void *, Py_ssize_t, Py_ssize_t, void *, const double *,
                    double *) noexcept nogil
        const int32_t *codes
        const double *table
        const double *bias
        Py_ssize_t n_codes, table_width


cdef extern from "chain/job.h":
    double CHAIN_NEVER

    ctypedef struct chain_job:
        Py_ssize_t n_states, width, rows
        const double *start
        const double *trans
        const double *turned
        const double *log_start
        const double *log_trans
        const double *log_turned
        const int32_t *known
        fastem_emission emission
        const int32_t *codes
        const double *likelihoods
        const double *logs
        const double *shifts

    ctypedef struct chain_work:
        double *w
        double *alpha
        double *gamma
        double *columns
        double *shift
        double *beta
        double *pairs
        double *joint
        double *spare
        void *scratch
        const double *lp
        double least, most, mass, log_scale
        int64_t exponent

    ctypedef struct chain_ops:
        const char *name
        Py_ssize_t lanes
        void (*frames)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*forward)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t,
                        int) noexcept nogil
        void (*backward)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t,
                         int) noexcept nogil
        void (*add_pairs)(const chain_job *, chain_work *, Py_ssize_t) noexcept nogil
        void (*to_columns)(const chain_job *, chain_work *, Py_ssize_t) noexcept nogil
        void (*add_codes)(const chain_job *, const chain_work *, Py_ssize_t, Py_ssize_t,
                          double *) noexcept nogil
        void (*log_frames)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t,
                           Py_ssize_t, int) noexcept nogil
        void (*log_forward)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t,
                            int) noexcept nogil
        void (*log_backward)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t, int,
                             double) noexcept nogil
        void (*best_forward)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t,
                             int) noexcept nogil

    const chain_ops *fastem_chain_ops(int level, int is_double) noexcept nogil

cdef Py_ssize_t MOST_LANES = 64, MOST_ROWS = 512, LANE_ROWS = 2048, LANE_BYTES = 4 << 20
cdef double LEAST_WORK = 3e6            # multiply-adds, a millisecond: see topics.pyx
cdef double POSITIVE = 1e-100, TINY = 1e-280, HUGE_BETA = 1e280, LN2 = 0.693147180559945309417
# A sum of posteriors may differ from 1 by the rounding of a block, and by no more.
cdef double DRIFT = 1e-9, DRIFT_PER_ROW = 1e-11


cdef const chain_ops *choose(Py_ssize_t n_states) noexcept:
    """Return the widest vectors, unless narrower ones hold all states with less padding."""
    cdef int level = runtime.level()
    return fastem_chain_ops(3 if level == 4 and n_states <= 4 else level, 0)


cdef Py_ssize_t _up(Py_ssize_t n, Py_ssize_t to) noexcept nogil:
    """Return the smallest multiple of `to` that is at least n."""
    return (n + to - 1) // to * to


cdef Py_ssize_t _width(Py_ssize_t n_states, Py_ssize_t lanes) noexcept nogil:
    """Return n_states rounded up to 1, 2 or 4 vectors, or a multiple of 4."""
    cdef Py_ssize_t vectors = _up(n_states, lanes) // lanes
    return lanes * (vectors if vectors <= 2 else _up(vectors, 4))


cdef class Job:
    """Sequences and the parameters of a chain, with all that they point to kept alive."""

    cdef chain_job c
    cdef const chain_ops *ops
    cdef readonly bint positive         # whether the posteriors cannot fail to sum to 1
    cdef Py_ssize_t n_sequences, most_blocks
    cdef const int64_t[::1] begin
    cdef const double[::1] weight
    cdef list held

    def __cinit__(
        self,
        emission,                       # IN  the Emission of a family's kernel
        const double[:] start,          # IN  (K,)
        const double[:, :] trans,       # IN  (K, K)
        const int64_t[::1] begin,       # IN  (n_sequences + 1,) rows; none is empty
        const double[::1] weight,       # IN  (n_sequences,) or None
        const int32_t[::1] known,       # IN  (T,) or None
    ):
        """Hold a job; arrays must have been validated."""
        cdef fastem_emission *own
        cdef Py_ssize_t longest = 1, s
        memset(&self.c, 0, sizeof(chain_job))
        own = <fastem_emission *> PyCapsule_GetPointer(emission.capsule, FASTEM_EMISSION)
        self.held = [emission, known]
        self.c.emission = own[0]
        self.c.n_states = start.shape[0]
        self.ops = choose(self.c.n_states)
        self.c.width = _width(self.c.n_states, self.ops.lanes)
        self.c.rows = min(MOST_ROWS, own.most_rows, _up(max(own.n_rows, 1), 64))
        self.begin, self.weight = begin, weight
        self.n_sequences = begin.shape[0] - 1
        self.take_chain(start, trans)
        for s in range(self.n_sequences):
            longest = max(longest, begin[s + 1] - begin[s])
        self.most_blocks = _up(longest, self.c.rows) // self.c.rows
        if known is not None and known.shape[0]:
            self.c.known = &known[0]
        if own.codes != NULL:
            self.take_codes(own)

    cdef take_codes(self, const fastem_emission *own):
        """Make the tables of codes."""
        cdef Py_ssize_t code, state
        cdef double[:, ::1] logs = np.empty((own.n_codes, self.c.n_states))
        for code in range(own.n_codes):
            for state in range(self.c.n_states):
                logs[code, state] = own.table[code * own.table_width + state] + own.bias[state]
        shifts = np.maximum(np.max(logs, axis=1), CHAIN_NEVER)
        self.c.codes = own.codes
        self.c.shifts = self.flat(shifts)
        self.c.likelihoods = self.wide(np.exp(np.asarray(logs) - shifts[:, None]), 0)
        self.c.logs = self.wide(np.maximum(logs, CHAIN_NEVER), CHAIN_NEVER)

    cdef Py_ssize_t own_size(self):
        """Return the number of sums of the emission."""
        cdef Py_ssize_t n_codes = self.c.emission.n_codes
        return n_codes * self.c.width if self.c.codes != NULL else self.c.emission.sums_size

    cdef const double *flat(self, array) except NULL:
        cdef const double[::1] flat = np.ascontiguousarray(array, dtype=np.float64).reshape(-1)
        self.held.append(flat)
        return &flat[0]

    cdef const double *wide(self, array, double fill) except NULL:
        """Return rows of K states with W in place of K."""
        rows = np.full((len(array), self.c.width), fill)
        rows[:, : self.c.n_states] = array
        return self.flat(rows)

    cdef take_chain(self, const double[:] start, const double[:, :] trans):
        """Lay out the chain's parameters, their logarithms too, with W in place of K."""
        cdef Py_ssize_t k = self.c.n_states, width = self.c.width, square = width * width, i, j
        cdef double[::1] all = np.zeros(2 * width + 4 * square)
        cdef double *logs = &all[width + 2 * square]
        self.held.append(all)
        self.c.start, self.c.trans = &all[0], &all[width]
        self.c.turned = &all[width + square]
        self.c.log_start, self.c.log_trans = logs, logs + width
        self.c.log_turned = logs + width + square
        self.positive = True
        for i in range(width + 2 * square):
            logs[i] = CHAIN_NEVER
        for i in range(k):
            all[i] = start[i]
            logs[i] = max(log(start[i]), CHAIN_NEVER)
            for j in range(k):
                all[width + i * width + j] = all[width + square + j * width + i] = trans[i, j]
                logs[width + i * width + j] = max(log(trans[i, j]), CHAIN_NEVER)
                logs[width + square + j * width + i] = logs[width + i * width + j]
                self.positive = self.positive and trans[i, j] > POSITIVE


# ---- passes ----------------------------------------------------------------------------------


def sums(Job job, scores, int n_threads):
    """Sum what every sequence expects: the E-step.

    Parameters
    ----------
    job : Job
    scores : ndarray of shape (n_sequences,)
        OUT: the log-likelihood of each sequence.
    n_threads : int

    Returns
    -------
    start : ndarray of shape (K,)
    transitions : ndarray of shape (K, K)
    own : ndarray
        The sums of the emission, for its unpack().
    """
    cdef Py_ssize_t k = job.c.n_states, width = job.c.width, square = width * width
    total = _run(job, scores, None, None, True, n_threads)
    start = total[:k].copy()
    pairs = total[width : width + square].reshape(width, width)[:k, :k]
    joint = total[width + square : width + 2 * square].reshape(width, width)[:k, :k]
    trans = np.asarray(<double[:square]> <double *> job.c.trans).reshape(width, width)[:k, :k]
    own = total[width + 2 * square :]
    if job.c.codes != NULL:
        own = own[: job.own_size()].reshape(-1, width)[:, :k].copy()
    return start, trans * pairs.T + joint, own


def rows(Job job, scores, posteriors, int n_threads):
    """Write the log-likelihood of each sequence, and the posteriors (T, K) unless they are None."""
    _run(job, scores, posteriors, None, False, n_threads)


def best(Job job, scores, states, int n_threads):
    """Write each sequence's log-probability together with its best path, and the paths (T,)."""
    _run(job, scores, None, states, False, n_threads)


cdef struct outputs:
    double *scores
    double *posteriors
    int64_t *states
    int summed
    int stop
    double clock


cdef _run(Job job, double[::1] scores, double[:, ::1] posteriors, int64_t[::1] states, bint summed,
          int n_threads):
    """Run all lanes; return the sum of their sums, added in order."""
    cdef const chain_job *c = &job.c
    cdef Py_ssize_t n_rows = job.begin[job.n_sequences], width = c.width, lane
    cdef Py_ssize_t size = width + 2 * width * width + job.own_size()
    cdef Py_ssize_t bytes, checkpoints = (job.most_blocks + 1) * width
    cdef Py_ssize_t n_lanes = min(MOST_LANES, n_rows // LANE_ROWS)
    cdef outputs out
    cdef char *buffers
    cdef const int64_t[::1] bounds
    cdef const double *weights = NULL
    if job.weight is not None and n_rows:
        weights = &job.weight[0]
    memset(&out, 0, sizeof(outputs))
    out.summed, out.clock = summed, omp_get_wtime()
    if n_rows:
        out.scores = &scores[0]
    if n_rows and posteriors is not None:
        out.posteriors = &posteriors[0, 0]
    if n_rows and states is not None:
        out.states = &states[0]
    size = _up(size, 16) if summed else 0
    if summed:
        n_lanes = min(n_lanes, LANE_BYTES // (8 * size))
    n_lanes = max(1, min(n_lanes, job.n_sequences))
    if 1.0 * n_rows * width * (width + 32) < LEAST_WORK:
        n_threads = 1
    n_threads = max(1, min(n_threads, n_lanes))
    bounds = np.searchsorted(job.begin, [n_rows * i // n_lanes for i in range(n_lanes + 1)])
    per_lane = np.zeros((n_lanes, size))
    cdef double[:, ::1] lanes = per_lane
    bytes = 8 * (_lay(c, NULL, NULL, NULL) + checkpoints + size) + c.emission.scratch_bytes
    buffers = fastem_buffers(n_threads, &bytes)
    if buffers == NULL:
        raise MemoryError(f"no {n_threads * bytes} bytes for buffers")
    try:
        for lane in prange(n_lanes, nogil=True, num_threads=n_threads, schedule="dynamic",
                           chunksize=1):
            _lane(c, job.ops, &job.begin[0], weights,
                  bounds[lane], bounds[lane + 1], job.positive,
                  <double *> (buffers + omp_get_thread_num() * bytes), checkpoints,
                  &lanes[lane, 0] if size else NULL, size, &out)
    finally:
        fastem_free_buffers(buffers)
    if out.stop:
        raise_pending()
    total = per_lane[0]
    for lane in range(1, n_lanes):
        total += per_lane[lane]
    return total


cdef Py_ssize_t _lay(const chain_job *c, double *memory, chain_work *work,
                     double *sums) noexcept nogil:
    """Point a thread's buffers into memory; of NULL only count the doubles."""
    cdef Py_ssize_t width = c.width, rows = c.rows, block = rows * width, columns
    columns = max(_up(c.n_states, 8), width) * c.emission.column
    if memory != NULL:
        work.w = memory
        work.alpha = work.w + block + 8
        work.gamma = work.alpha + block + 2 * width + 8
        work.columns = work.gamma + block + 8
        work.shift = work.columns + _up(columns, 8) + 8
        work.beta = work.shift + rows + 8
        work.spare = work.beta + width + 8
        work.pairs = work.joint = NULL
        if sums != NULL:
            work.pairs, work.joint = sums + width, sums + width + width * width
        else:
            work.pairs = work.spare + 96
            work.joint = work.pairs + width * width
    return (3 * block + 3 * width + 2 * width * width + _up(columns, 8) + rows + 288)


cdef void _lane(
    const chain_job *c,
    const chain_ops *ops,
    const int64_t *begin,
    const double *weight,
    Py_ssize_t first,           # IN     first sequence
    Py_ssize_t last,            # IN     one past the last
    int positive,
    double *memory,             # INOUT  this thread's buffers
    Py_ssize_t checkpoints,     # IN     doubles for checkpoints, after those that _lay counts
    double *sums,               # INOUT  this lane's sums, or NULL
    Py_ssize_t size,            # IN     of those
    outputs *out,
) noexcept nogil:
    cdef chain_work work
    cdef Py_ssize_t own = _lay(c, memory, &work, sums), end
    cdef double *kept = memory + own
    cdef double *undo = kept + checkpoints
    cdef unsigned mode = fastem_flush_subnormals(1)
    work.scratch = undo + size
    while first < last and not out.stop:
        if begin[first + 1] - begin[first] > c.rows:
            if out.states != NULL:
                _best_of_long(c, ops, &work, begin, first, kept, out)
            else:
                _long(c, ops, &work, begin, weight, first, positive, kept, sums, undo, size, out)
            first = first + 1
        else:
            end = first + 1
            while end < last and begin[end + 1] - begin[first] <= c.rows:
                end = end + 1
            if out.states != NULL:
                _best_of_short(c, ops, &work, begin, first, end, out)
            else:
                _short(c, ops, &work, begin, weight, first, end, positive, sums, out)
            first = end
        if fastem_interrupted(&out.clock):
            out.stop = 1
    fastem_restore_subnormals(mode)


cdef inline double _sum(const double *a, Py_ssize_t n) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += a[i]
    return total


cdef double _log_sum(const double *a, Py_ssize_t n) noexcept nogil:
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


cdef inline int _drifts(const chain_work *work, double weight, Py_ssize_t n) noexcept nogil:
    """Return whether the backward variables overflowed, or posteriors do not sum to the weight."""
    cdef double limit = weight * (DRIFT + DRIFT_PER_ROW * n)
    return not (work.most < HUGE_BETA and fabs(work.mass - weight * n) <= limit)


cdef inline void _add_emission(const chain_job *c, const chain_ops *ops, chain_work *work,
                               Py_ssize_t first, Py_ssize_t n, double *sums) noexcept nogil:
    cdef Py_ssize_t width = c.width
    ops.add_pairs(c, work, n)
    if c.codes != NULL:
        ops.add_codes(c, work, first, n, sums + width + 2 * width * width)
        return
    ops.to_columns(c, work, n)
    c.emission.add(c.emission.job, first, n, work.scratch, work.columns,
                   sums + width + 2 * width * width)


cdef void _write(const chain_job *c, const chain_work *work, Py_ssize_t first, Py_ssize_t n,
                 double *posteriors) noexcept nogil:
    """Write the block's n rows of posteriors; row 0 is row `first` of the data."""
    cdef Py_ssize_t t, k, n_states = c.n_states
    cdef const double *gamma = work.gamma
    posteriors += first * n_states
    for t in range(n):
        for k in range(n_states):
            posteriors[t * n_states + k] = gamma[t * c.width + k]


# ---- several short sequences -----------------------------------------------------------------


cdef void _short(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    const double *weight, Py_ssize_t first, Py_ssize_t last, int positive, double *sums,
    outputs *out,
) noexcept nogil:
    """Do sequences [first, last), which fill at most a block."""
    cdef Py_ssize_t s, k, at, n, width = c.width, origin = begin[first]
    cdef Py_ssize_t whole = begin[last] - origin
    cdef int both = out.summed or out.posteriors != NULL or not positive
    cdef double w, total
    ops.frames(c, work, origin, whole)
    for s in range(first, last):
        at, n = begin[s] - origin, begin[s + 1] - begin[s]
        w = weight[s] if weight != NULL and out.summed else 1
        work.exponent, work.least = 0, INFINITY
        ops.forward(c, work, at, n, 1)
        total = _sum(work.alpha + (at + n) * width, width)
        work.most = work.mass = 0
        out.scores[s] = log(total) + (LN2 * work.exponent + _sum(work.shift + at, n))
        if min(work.least, total) > TINY and both:
            if out.summed and width <= ops.lanes:
                memcpy(work.spare + 16, work.pairs, 8 * width * width)
            for k in range(width):
                work.beta[k] = w / total
            ops.backward(c, work, at, n, 1)
            if _drifts(work, w, n):
                work.least = 0
                if out.summed and width <= ops.lanes:
                    memcpy(work.pairs, work.spare + 16, 8 * width * width)
        if not min(work.least, total) > TINY:
            out.scores[s] = _again(c, ops, work, origin, at, n, w)
        if out.summed:
            for k in range(width):
                sums[k] += work.gamma[at * width + k]
    if out.summed:
        _add_emission(c, ops, work, origin, whole, sums)
    if out.posteriors != NULL:
        _write(c, work, origin, whole, out.posteriors)


cdef double _again(
    const chain_job *c, const chain_ops *ops, chain_work *work, Py_ssize_t origin, Py_ssize_t at,
    Py_ssize_t n, double weight,
) noexcept nogil:
    """Do one sequence in log space; return its log-likelihood."""
    cdef Py_ssize_t width = c.width
    cdef double log_total
    ops.log_frames(c, work, origin, at, n, 1)
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


cdef void _impossible(chain_work *work, Py_ssize_t at, Py_ssize_t n, Py_ssize_t width,
                      double weight) noexcept nogil:
    """Leave no trace of a sequence in the sums; posteriors are not defined."""
    cdef Py_ssize_t i
    for i in range(at * width, (at + n) * width):
        work.gamma[i] = work.w[i] = 0
        work.alpha[i + width] = 0


# ---- one long sequence -----------------------------------------------------------------------


cdef void _long(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    const double *weight, Py_ssize_t s, int positive, double *kept, double *sums, double *undo,
    Py_ssize_t size, outputs *out,
) noexcept nogil:
    """Do a sequence of several blocks."""
    cdef double w = weight[s] if weight != NULL and out.summed else 1
    cdef int in_logs = 0
    if out.summed and not positive:
        memcpy(undo, sums, 8 * size)
    in_logs = _long_pass(c, ops, work, begin, s, w, positive, kept, sums, out, 0)
    if in_logs:
        if out.summed and not positive:
            memcpy(sums, undo, 8 * size)
        _long_pass(c, ops, work, begin, s, w, positive, kept, sums, out, 1)


cdef void _forward_block(
    const chain_job *c, const chain_ops *ops, chain_work *work, Py_ssize_t first, Py_ssize_t n,
    int begins, int in_logs,
) noexcept nogil:
    ops.frames(c, work, first, n)
    if in_logs:
        ops.log_frames(c, work, first, 0, n, 1)
        ops.log_forward(c, work, 0, n, begins)
    else:
        ops.forward(c, work, 0, n, begins)


cdef int _long_pass(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    Py_ssize_t s, double w, int positive, double *kept, double *sums, outputs *out, int in_logs,
) noexcept nogil:
    """Go there and back; return whether that must be done again in log space."""
    cdef Py_ssize_t width = c.width, rows = c.rows, first = begin[s], block, n, k
    cdef Py_ssize_t n_blocks = _up(begin[s + 1] - first, rows) // rows
    cdef double total, shift = 0
    cdef int both = out.summed or out.posteriors != NULL or not (positive or in_logs)
    work.exponent, work.least, work.log_scale = 0, INFINITY, 0
    n = rows
    for block in range(n_blocks):
        if block:
            memcpy(work.alpha, work.alpha + n * width, 8 * width)
        memcpy(kept + block * width, work.alpha, 8 * width)
        n = min(rows, begin[s + 1] - first - block * rows)
        _forward_block(c, ops, work, first + block * rows, n, block == 0, in_logs)
        shift += _sum(work.shift, n)
        if not in_logs and not work.least > TINY:
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
        out.scores[s] = log(total) + (LN2 * work.exponent + shift)
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
                _forward_block(c, ops, work, first + block * rows, n, block == 0, in_logs)
        if in_logs and total == -INFINITY:
            _impossible(work, 0, n, width, w)
        elif in_logs:
            ops.log_backward(c, work, 0, n, block == 0, w)
        else:
            if not _anchor(work, n, width, w):
                return 1
            work.most = work.mass = 0
            ops.backward(c, work, 0, n, block == 0)
            if _drifts(work, w, n):
                return 1
        if out.summed and not (in_logs and total == -INFINITY):
            if block == 0:
                for k in range(width):
                    sums[k] += work.gamma[k]
            _add_emission(c, ops, work, first + block * rows, n, sums)
        if out.posteriors != NULL:
            _write(c, work, first + block * rows, n, out.posteriors)
        if fastem_interrupted(&out.clock):
            out.stop = 1
        if out.stop:
            return 0
    return 0


cdef int _anchor(chain_work *work, Py_ssize_t n, Py_ssize_t width, double w) noexcept nogil:
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


# ---- the best path ---------------------------------------------------------------------------


cdef Py_ssize_t _argmax(const double *a, const double *b, Py_ssize_t n) noexcept nogil:
    """Return the first of the largest a + b; b may be NULL."""
    cdef Py_ssize_t i, best = 0
    cdef double top = -INFINITY, value
    for i in range(n):
        value = a[i] + b[i] if b != NULL else a[i]
        if value > top:
            top, best = value, i
    return best


cdef double _end(const chain_job *c, const chain_work *work, Py_ssize_t end,
                 int64_t *state) noexcept nogil:
    """Return the best path's log-probability, and write its last state, at row end - 1."""
    cdef const double *last = work.alpha + end * c.width
    state[0] = _argmax(last, NULL, c.n_states)
    return -INFINITY if last[state[0]] < 0.1 * CHAIN_NEVER else last[state[0]]


cdef void _trace(const chain_job *c, const chain_work *work, Py_ssize_t at, Py_ssize_t n,
                 int64_t *states) noexcept nogil:
    """Write states[at - 1 ... at + n - 2] from what is at at + n - 1."""
    cdef Py_ssize_t t
    for t in range(at + n - 1, at - 1, -1):
        states[t - 1] = _argmax(work.alpha + t * c.width, c.log_turned + states[t] * c.width,
                                c.n_states)


cdef void _best_of_short(
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


cdef void _best_of_long(
    const chain_job *c, const chain_ops *ops, chain_work *work, const int64_t *begin,
    Py_ssize_t s, double *kept, outputs *out,
) noexcept nogil:
    cdef Py_ssize_t width = c.width, rows = c.rows, first = begin[s], block, n = rows, way
    cdef Py_ssize_t n_blocks = _up(begin[s + 1] - first, rows) // rows, turn
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


# ---- emissions alone -------------------------------------------------------------------------


def log_prob(emission, double[:, ::1] out):
    """Write the log-density of each row under each state, (T, K)."""
    _rows_alone(emission, out, None, None)


def given(emission, const double[:, ::1] responsibilities):
    """Return the emission's sums under given responsibilities, (T, K)."""
    own = np.zeros(emission.sums_size)
    _rows_alone(emission, None, responsibilities, own)
    return own


cdef _rows_alone(emission, double[:, ::1] out, const double[:, ::1] given, double[::1] own):
    cdef fastem_emission *c
    cdef Py_ssize_t begin = 0, n, t, k, bytes, columns
    cdef const double *lp
    cdef double *r
    cdef char *memory
    c = <fastem_emission *> PyCapsule_GetPointer(emission.capsule, FASTEM_EMISSION)
    columns = _up(8 * _up(c.n_states, 8) * c.column, 64)
    bytes = columns + c.scratch_bytes
    memory = fastem_buffers(1, &bytes)
    if memory == NULL:
        raise MemoryError(f"no {bytes} bytes for buffers")
    r = <double *> memory
    with nogil:
        while begin < c.n_rows:
            n = min(MOST_ROWS, c.most_rows, c.n_rows - begin)
            lp = c.log_prob(c.job, begin, n, memory + columns)
            if out is not None:
                for t in range(n):
                    for k in range(c.n_states):
                        out[begin + t, k] = lp[k * c.column + t]
            if given is not None:
                for k in range(c.n_states):
                    for t in range(n):
                        r[k * c.column + t] = given[begin + t, k]
                    for t in range(n, _up(n, 64)):
                        r[k * c.column + t] = 0
                c.add(c.job, begin, n, memory + columns, r, &own[0])
            begin = begin + n
    fastem_free_buffers(memory)
