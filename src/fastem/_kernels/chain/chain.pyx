"""Forward and backward passes of hidden Markov models, fused with the emissions' statistics.

Whole sequences are split by position into strips, each with sums of its own, which are added in
order: the bits of the result do not depend on the threads. A strip walks its sequences in blocks
that stay in cache: several short sequences together, or a part of a long one. Of a long one the
forward variables are kept at the blocks' beginnings alone, and made again on the way back.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange
from libc.math cimport exp, log
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.chain.best_path cimport best_of_long, best_of_short
from fastem._kernels.chain.job cimport (
    CHAIN_ABREAST, CHAIN_NEVER, chain_job, chain_ops, chain_work, fastem_chain_ops, outputs,
    round_up,
)
from fastem._kernels.chain.long_one cimport pass_long
from fastem._kernels.chain.passes cimport pass_short
from fastem._kernels.emission cimport FASTEM_EMISSION, fastem_emission
from fastem._kernels.omp cimport (
    fastem_buffers, fastem_flush_subnormals, fastem_free_buffers, fastem_interrupted,
    fastem_restore_subnormals, omp_get_thread_num, omp_get_wtime, raise_pending,
)
from fastem._kernels.strips cimport worth


cdef enum: MOST_STRIPS = 64

cdef Py_ssize_t MOST_ROWS = 512, STRIP_ROWS = 2048, STRIP_BYTES = 4 << 20
cdef double POSITIVE = 1e-100


cdef const chain_ops *choose(Py_ssize_t n_states) noexcept:
    """Return the widest vectors, unless narrower ones hold all states with less padding."""
    cdef int level = runtime.level()
    return fastem_chain_ops(3 if level == 4 and n_states <= 4 else level, 0)


cdef Py_ssize_t _width(Py_ssize_t n_states, Py_ssize_t lanes) noexcept nogil:
    """Return n_states rounded up to 1, 2 or 4 vectors, or a multiple of 4."""
    cdef Py_ssize_t vectors = round_up(n_states, lanes) // lanes
    return lanes * (vectors if vectors <= 2 else round_up(vectors, 4))


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
        self.c.rows = min(MOST_ROWS, own.most_rows, round_up(max(own.n_rows, 1), 64))
        self.begin, self.weight = begin, weight
        self.n_sequences = begin.shape[0] - 1
        self.take_chain(start, trans)
        for s in range(self.n_sequences):
            longest = max(longest, begin[s + 1] - begin[s])
        self.most_blocks = round_up(longest, self.c.rows) // self.c.rows
        if known is not None and known.shape[0]:
            self.c.known = &known[0]
        if own.codes != NULL:
            self.take_codes(own)

    cdef take_codes(self, const fastem_emission *own):
        """Make the tables of codes."""
        cdef Py_ssize_t n = own.n_codes, width = self.c.width, code, state
        cdef double[::1] all = np.empty(n * (1 + 2 * width))
        cdef double *logs = &all[n]
        cdef double *likelihoods = logs + n * width
        cdef double value, shift
        for code in range(n):
            shift = CHAIN_NEVER
            for state in range(self.c.n_states):
                value = own.table[code * own.table_width + state] + own.bias[state]
                shift = max(shift, value)
                logs[code * width + state] = max(value, CHAIN_NEVER)
                likelihoods[code * width + state] = value
            all[code] = shift
            for state in range(self.c.n_states):
                value = likelihoods[code * width + state]
                likelihoods[code * width + state] = exp(value - shift)
            for state in range(self.c.n_states, width):
                logs[code * width + state], likelihoods[code * width + state] = CHAIN_NEVER, 0
        self.held.append(all)
        self.c.codes, self.c.shifts = own.codes, &all[0]
        self.c.logs, self.c.likelihoods = logs, likelihoods

    cdef Py_ssize_t own_size(self):
        """Return the number of sums of the emission."""
        cdef Py_ssize_t n_codes = self.c.emission.n_codes
        return n_codes * self.c.width if self.c.codes != NULL else self.c.emission.sums_size

    cdef take_chain(self, const double[:] start, const double[:, :] trans):
        """Lay out the chain's parameters, their logarithms too, with W in place of K."""
        cdef Py_ssize_t k = self.c.n_states, width = self.c.width, square = width * width, i, j
        cdef double[::1] all = np.zeros(3 * width + 4 * square)
        cdef double *logs = &all[2 * width + 2 * square]
        cdef double *ones = &all[width + 2 * square]
        self.held.append(all)
        self.c.start, self.c.trans = &all[0], &all[width]
        self.c.turned = &all[width + square]
        self.c.log_start, self.c.log_trans = logs, logs + width
        self.c.log_turned = logs + width + square
        self.c.ones = ones
        self.positive = True
        for i in range(width):
            ones[i] = 1
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


def shares(counts):
    """Return float64 counts, C-contiguous, by their sums along the last axis; None if one is 0."""
    cdef Py_ssize_t n = counts.shape[counts.ndim - 1], row, i
    cdef const double[::1] given = counts.ravel()
    cdef double[::1] out
    cdef double total
    found = np.empty(counts.shape)
    out = found.ravel()
    for row in range(0, given.shape[0], n):
        total = 0
        for i in range(n):
            total += given[row + i]
        if not total > 0:
            return None
        for i in range(n):
            out[row + i] = given[row + i] / total
    return found


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
    cdef Py_ssize_t k = job.c.n_states, width = job.c.width, square = width * width, i, j
    cdef double[::1] total = _run(job, scores, None, None, True, n_threads)
    start, transitions = np.empty(k), np.empty((k, k))
    cdef double[::1] own_start = start
    cdef double[:, ::1] own = transitions
    for i in range(k):
        own_start[i] = total[i]
        for j in range(k):
            own[i, j] = job.c.trans[i * width + j] * total[width + j * width + i]
            own[i, j] += total[width + square + i * width + j]
    sums = np.asarray(total)[width + 2 * square :]
    if job.c.codes != NULL:
        sums = sums[: job.own_size()].reshape(-1, width)[:, :k].copy()
    return start, transitions, sums


def rows(Job job, scores, posteriors, int n_threads):
    """Write the log-likelihood of each sequence, and the posteriors (T, K) unless they are None."""
    _run(job, scores, posteriors, None, False, n_threads)


def best(Job job, scores, states, int n_threads):
    """Write each sequence's log-probability together with its best path, and the paths (T,)."""
    _run(job, scores, None, states, False, n_threads)


cdef _run(Job job, double[::1] scores, double[:, ::1] posteriors, int64_t[::1] states, bint summed,
          int n_threads):
    """Run all strips; return the sum of their sums, added in order."""
    cdef const chain_job *c = &job.c
    cdef Py_ssize_t n_rows = job.begin[job.n_sequences], width = c.width, strip
    cdef Py_ssize_t size = width + 2 * width * width + job.own_size()
    cdef Py_ssize_t bytes, checkpoints = (job.most_blocks + 1) * width
    cdef int both = job.most_blocks > 1 and states is None and job.ops.from_both(c)
    cdef Py_ssize_t n_strips = min(MOST_STRIPS, n_rows // STRIP_ROWS)
    cdef outputs out
    cdef char *buffers
    cdef Py_ssize_t bounds[MOST_STRIPS + 1]
    cdef Py_ssize_t s = 0
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
    size = round_up(size, 16) if summed else 0
    if summed:
        n_strips = min(n_strips, STRIP_BYTES // (8 * size))
    n_strips = max(1, min(n_strips, job.n_sequences))
    n_threads = max(1, min(n_threads, n_strips))
    n_threads = worth(n_threads, 0.07 * n_rows * width * (width + 32))
    for strip in range(n_strips + 1):
        while job.begin[s] < n_rows * strip // n_strips:
            s += 1
        bounds[strip] = s
    per_strip = np.zeros((n_strips, size))
    cdef double[:, ::1] strips = per_strip
    bytes = 8 * (_lay(c, NULL, NULL, NULL) + checkpoints + size) + c.emission.scratch_bytes
    if both:
        bytes += 8 * _lay(c, NULL, NULL, NULL) + round_up(c.emission.scratch_bytes, 64)
    buffers = fastem_buffers(n_threads, &bytes)
    if buffers == NULL:
        raise MemoryError(f"no {n_threads * bytes} bytes for buffers")
    try:
        for strip in prange(n_strips, nogil=True, num_threads=n_threads, schedule="dynamic",
                            chunksize=1):
            _strip(c, job.ops, &job.begin[0], weights,
                   bounds[strip], bounds[strip + 1], job.positive,
                   <double *> (buffers + omp_get_thread_num() * bytes), checkpoints,
                   &strips[strip, 0] if size else NULL, size, both, &out)
    finally:
        fastem_free_buffers(buffers)
    if out.stop:
        raise_pending()
    total = per_strip[0]
    for strip in range(1, n_strips):
        total += per_strip[strip]
    return total


cdef Py_ssize_t _lay(const chain_job *c, double *memory, chain_work *work,
                     double *sums) noexcept nogil:
    """Point a thread's buffers into memory; of NULL only count the doubles."""
    cdef Py_ssize_t width = c.width, rows = c.rows, block = rows * width, columns
    columns = max(round_up(c.n_states, 8), width) * c.emission.column
    if memory != NULL:
        work.w = memory
        work.alpha = work.w + block + 8
        work.gamma = work.alpha + block + 2 * width + 8
        work.columns = work.gamma + block + 8
        work.shift = work.columns + round_up(columns, 8) + 8
        work.beta = work.shift + rows + 8
        work.spare = work.beta + CHAIN_ABREAST * width + 8
        work.pairs = work.joint = NULL
        if sums != NULL:
            work.pairs, work.joint = sums + width, sums + width + width * width
        else:
            work.pairs = work.spare + 96
            work.joint = work.pairs + width * width
    return (3 * block + (2 + CHAIN_ABREAST) * width + 2 * width * width + round_up(columns, 8)
            + rows + 288)


cdef void _strip(
    const chain_job *c,
    const chain_ops *ops,
    const int64_t *begin,
    const double *weight,
    Py_ssize_t first,           # IN     first sequence
    Py_ssize_t last,            # IN     one past the last
    int positive,
    double *memory,             # INOUT  this thread's buffers
    Py_ssize_t checkpoints,     # IN     doubles for checkpoints, after those that _lay counts
    double *sums,               # INOUT  this strip's sums, or NULL
    Py_ssize_t size,            # IN     of those
    int both,                   # IN     whether there are two buffers
    outputs *out,
) noexcept nogil:
    cdef chain_work work[2]
    cdef Py_ssize_t own = _lay(c, memory, &work[0], sums), end
    cdef double *kept = memory + own
    cdef double *undo = kept + checkpoints
    cdef unsigned mode = fastem_flush_subnormals(1)
    work[0].scratch = undo + size
    if both:
        memory = undo + size + round_up(c.emission.scratch_bytes, 64) // 8
        work[1].scratch = memory + _lay(c, memory, &work[1], NULL)
    while first < last and not out.stop:
        if begin[first + 1] - begin[first] > c.rows:
            if out.states != NULL:
                best_of_long(c, ops, work, begin, first, kept, out)
            else:
                pass_long(c, ops, work, begin, weight, first, positive, kept, sums, undo, size,
                          out)
            first = first + 1
        else:
            end = first + 1
            while end < last and begin[end + 1] - begin[first] <= c.rows:
                end = end + 1
            if out.states != NULL:
                best_of_short(c, ops, work, begin, first, end, out)
            else:
                pass_short(c, ops, work, begin, weight, first, end, positive, sums, out)
            first = end
        if fastem_interrupted(&out.clock):
            out.stop = 1
    fastem_restore_subnormals(mode)


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
    columns = round_up(8 * round_up(c.n_states, 8) * c.column, 64)
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
                    for t in range(n, round_up(n, 64)):
                        r[k * c.column + t] = 0
                c.add(c.job, begin, n, memory + columns, r, &own[0])
            begin = begin + n
    fastem_free_buffers(memory)
