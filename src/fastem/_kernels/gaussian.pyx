"""E-step of Gaussian mixtures: responsibilities and moments, one pass over the samples.

Algorithm: rows are split by position into lanes; a lane walks its rows in chunks that stay in
cache, and adds each chunk's moments to sums of its own; the lanes' sums are then added in order.
Lanes and chunks depend on shapes alone, so the bits of the result do not depend on the threads.
What happens within a chunk is in gaussian_leaf.h, compiled for several instruction sets.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime


cdef extern from "fastem_omp.h":
    int omp_get_thread_num() noexcept nogil
    double omp_get_wtime() noexcept nogil
    int fastem_interrupted(double *last) noexcept nogil


cdef extern from "gaussian_job.h":
    ctypedef struct gaussian_job:
        const char *x
        Py_ssize_t x_row, x_column
        const double *sample_weight
        const double *given
        Py_ssize_t n_samples, n_features, n_components
        int kind
        const double *shift
        const double *scale
        const double *means
        const double *precisions_chol
        const double *log_norm
        int prune
        double negligible
        void *log_prob
        void *responsibilities
        int64_t *labels
        const void *tables

    ctypedef struct gaussian_ops:
        const char *name
        Py_ssize_t (*tables_bytes)(const gaussian_job *) noexcept nogil
        void (*prepare)(const gaussian_job *, void *) noexcept nogil
        Py_ssize_t (*chunk_rows)(const gaussian_job *) noexcept nogil
        Py_ssize_t (*scratch_bytes)(const gaussian_job *) noexcept nogil
        Py_ssize_t (*sums_size)(const gaussian_job *) noexcept nogil
        void (*chunk)(const gaussian_job *, Py_ssize_t, Py_ssize_t, void *, double *,
                      int *) noexcept nogil


cdef extern from *:
    """
    #include "cpu.h"
    #include "gaussian_job.h"
    /* Levels that this build does not hold fall back to the baseline. */
    static const gaussian_ops *fastem_gaussian_ops(int level, int is_double)
    {
    #if FASTEM_X86_LEVELS
        if (level == 4) return &fastem_gaussian_v4[is_double];
        if (level == 3) return &fastem_gaussian_v3[is_double];
    #endif
        return &fastem_gaussian_base[is_double];
    }
    """
    const gaussian_ops *fastem_gaussian_ops(int level, int is_double) noexcept nogil

KINDS = ("full", "tied", "diag", "spherical")
cdef Py_ssize_t MOST_LANES = 64, LEAST_LANES = 4, LANE_BYTES = 6 << 20


def instruction_set():
    """Return the name of the instruction set in use: base, v3 or v4."""
    return fastem_gaussian_ops(runtime.level(), 1).name.decode()


cdef class Job:
    """A gaussian_job, with the arrays that it points to kept alive."""

    cdef gaussian_job c
    cdef const gaussian_ops *ops
    cdef list held

    def __cinit__(
        self,
        X,                      # IN  (n, D) float32 or float64, any strides
        str kind,               # IN  one of KINDS
        shift,                  # IN  (D,)
        scale,                  # IN  (D,)
        means,                  # IN  (K, D), in the coordinates (x - shift) * scale
        precisions_chol,        # IN  (K, D, D), (D, D), (K, D) or (K, D) by kind; upper; unscaled
        log_norm,               # IN  (K,)
    ):
        """Hold a job; arrays must have been validated."""
        memset(&self.c, 0, sizeof(gaussian_job))
        self.held = [X]
        self.ops = fastem_gaussian_ops(runtime.level(), X.dtype == np.float64)
        self.c.x = <const char *> <uintptr_t> X.__array_interface__["data"][0]
        self.c.x_row, self.c.x_column = X.strides
        self.c.n_samples, self.c.n_features = X.shape
        self.c.n_components = means.shape[0]
        self.c.kind = KINDS.index(kind)
        self.c.shift = self.doubles(shift)
        self.c.scale = self.doubles(scale)
        self.c.means = self.doubles(means)
        self.c.precisions_chol = self.doubles(precisions_chol)
        self.c.log_norm = self.doubles(log_norm)
        self.c.negligible = -708.0

    cdef const double *doubles(self, array) except? NULL:
        cdef const double[::1] flat
        array = np.ascontiguousarray(array, dtype=np.float64).reshape(-1)
        self.held.append(array)
        flat = array
        return &flat[0]

    cdef void *output(self, array):
        self.held.append(array)
        return <void *> <uintptr_t> array.__array_interface__["data"][0]


def moments(Job job, sample_weight, given, int n_threads):
    """Sum the moments of every component: the E-step.

    Equivalent to, with r the responsibilities times the sample weights and z = x - mean[k]::

        weight[k] = sum(r[:, k]);  first[k] = r[:, k] @ z;  second[k] = (r[:, k] * z.T) @ z

    Parameters
    ----------
    job : Job
    sample_weight : ndarray of shape (n,) or None
    given : ndarray of shape (n, K) or None
        Responsibilities to use in place of those that the parameters give.
    n_threads : int

    Returns
    -------
    bound : float
        Sum of sample_weight * log-density.
    weight : ndarray of shape (K,)
    first : ndarray of shape (K, D)
        About the means; for spherical and tied about 0 in the job's coordinates.
    second : ndarray
        full: (K, D, D); diag: (K, D) in units of 1 / precisions_chol^2; spherical: (K,) half the
        squared distances in the same units; tied: None.
    """
    cdef Py_ssize_t k = job.c.n_components, k4 = (k + 3) // 4 * 4, d = job.c.n_features
    cdef Py_ssize_t size = job.ops.sums_size(&job.c)
    if sample_weight is not None:
        job.c.sample_weight = job.doubles(sample_weight)
    if given is not None:
        job.c.given = job.doubles(given)
    else:
        # What lies e^-40 below a row's best component is lost in its sum's last bit.
        job.c.prune, job.c.negligible = 1, -40.0
    cdef Py_ssize_t n_lanes = max(LEAST_LANES, min(MOST_LANES, LANE_BYTES // (8 * size)))
    total = _run(job, n_lanes, n_threads, size)
    component = _component_size(job)
    table = total[: k4 * component].reshape(k4, component)[:k]
    bound = float(total[k4 * component])
    first, second = _unpack(job.c.kind, d, table)
    return bound, table[:, 0].copy(), first.copy(), second  # no view: the lanes' sums are large


def _component_size(Job job):
    """Return the number of doubles that one component has among the sums: see gaussian_leaf.h."""
    d = job.c.n_features
    d4 = (d + 3) // 4 * 4
    if job.c.kind == 0:
        return 1 + d + d * (d + 1) // 2 if d <= 8 else 1 + d4 + 2 * d4 * (d4 // 4 + 1)
    return 1 + 2 * d4 if job.c.kind == 2 else 2 + d4


def _unpack(int kind, d, table):
    """Return first and second moments from the rows of sums."""
    d4 = (d + 3) // 4 * 4
    if kind == 2:
        return table[:, 1 : 1 + d], table[:, 1 + d4 : 1 + d4 + d].copy()
    if kind != 0:
        return table[:, 1 : 1 + d], table[:, 1 + d4].copy() if kind == 3 else None
    n_components = len(table)
    if d <= 8:
        second = np.empty((n_components, d, d))
        rows, columns = np.tril_indices(d)
        second[:, rows, columns] = second[:, columns, rows] = table[:, 1 + d :]
        return table[:, 1 : 1 + d], second
    second = np.empty((n_components, d4, d4))
    blocks = table[:, 1 + d4 :].reshape(n_components, -1, 4, 4)
    rows, columns = np.tril_indices(d4 // 4)
    by_block = second.reshape(n_components, d4 // 4, 4, d4 // 4, 4).transpose(0, 1, 3, 2, 4)
    by_block[:, columns, rows] = blocks.transpose(0, 1, 3, 2)
    by_block[:, rows, columns] = blocks
    return table[:, 1 : 1 + d], second[:, :d, :d]


def rows(Job job, log_prob, responsibilities, labels, int n_threads):
    """Write what the parameters say of each sample; each output may be None.

    Parameters
    ----------
    job : Job
    log_prob : ndarray of shape (n,), dtype of X
        Log-density of each sample.
    responsibilities : ndarray of shape (n, K), dtype of X, C-contiguous
    labels : ndarray of shape (n,), int64
        The component with the largest responsibility.
    n_threads : int
    """
    if log_prob is not None:
        job.c.log_prob = job.output(log_prob)
    if responsibilities is not None:
        job.c.responsibilities = job.output(responsibilities)
    else:
        # Labels and log-densities stay the same without what is e^-40 below the best.
        job.c.prune = 1
    if labels is not None:
        job.c.labels = <int64_t *> job.output(labels)
    _run(job, MOST_LANES, n_threads, 0)


cdef Py_ssize_t _up(Py_ssize_t n, Py_ssize_t to) noexcept:
    """Return the smallest multiple of `to` that is at least n."""
    return (n + to - 1) // to * to


cdef _run(Job job, Py_ssize_t n_lanes, int n_threads, Py_ssize_t size):
    """Run all lanes; return the sum of their `size` sums, added in order."""
    cdef gaussian_job *c = &job.c
    cdef const gaussian_ops *ops = job.ops
    cdef Py_ssize_t rows = ops.chunk_rows(c), n_chunks = _up(c.n_samples, rows) // rows
    cdef Py_ssize_t scratch_bytes = ops.scratch_bytes(c), lane
    cdef double clock = omp_get_wtime()
    cdef int stop = 0
    cdef char *scratch
    cdef void *tables
    n_lanes = max(1, min(n_lanes, n_chunks))
    n_threads = max(1, min(n_threads, n_lanes))
    # The same number of chunks in every lane: with few, one more would be waited for.
    rows = min(rows, _up(_up(c.n_samples, _up(n_chunks, n_lanes)) // _up(n_chunks, n_lanes), 64))
    n_chunks = _up(c.n_samples, rows) // rows
    sums = np.zeros((n_lanes, size))
    cdef double[:, ::1] lanes = sums
    scratch = <char *> calloc(n_threads, scratch_bytes)
    tables = malloc(ops.tables_bytes(c))
    if scratch == NULL or tables == NULL:
        free(scratch)
        free(tables)
        raise MemoryError(f"no {n_threads * scratch_bytes + ops.tables_bytes(c)} bytes for buffers")
    ops.prepare(c, tables)
    c.tables = tables
    try:
        for lane in prange(n_lanes, nogil=True, num_threads=n_threads, schedule="dynamic",
                           chunksize=1):
            _lane(c, ops, n_chunks * lane // n_lanes, n_chunks * (lane + 1) // n_lanes, rows,
                  scratch + omp_get_thread_num() * scratch_bytes,
                  &lanes[lane, 0] if size else NULL, &stop, &clock)
    finally:
        free(scratch)
        free(tables)
    if stop:
        _raise_pending()
    total = sums[0]
    for lane in range(1, n_lanes):
        total += sums[lane]
    return total


cdef void _lane(
    const gaussian_job *job,
    const gaussian_ops *ops,
    Py_ssize_t first,           # IN     first chunk
    Py_ssize_t last,            # IN     one past the last chunk
    Py_ssize_t rows,            # IN     rows in a chunk
    char *scratch,              # INOUT  this thread's buffers
    double *sums,               # INOUT  this lane's sums, or NULL
    int *stop,                  # INOUT  set by an interrupt
    double *clock,              # INOUT  time of the last look for an interrupt
) noexcept nogil:
    cdef Py_ssize_t chunk, begin
    cdef int dense = 0
    for chunk in range(first, last):
        if stop[0]:
            return
        begin = chunk * rows
        ops.chunk(job, begin, min(rows, job.n_samples - begin), scratch, sums, &dense)
        if fastem_interrupted(clock):
            stop[0] = 1


cdef int _raise_pending() except -1:
    """Raise what a signal handler raised while the lanes ran: its exception is set already."""
    return -1
