"""E-step of Gaussian mixtures: responsibilities and moments, one pass over the samples.

What happens to a chunk of rows is in gaussian/leaf.h, compiled for several instruction sets; how
the moments are summed, and what becomes of them, in gaussian/moments.h.
"""

from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport fabs
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.emission cimport FASTEM_EMISSION, fastem_emission
from fastem._kernels.strips cimport (
    MOST_STRIPS, STRIP_BYTES, fastem_pass, fastem_prepare, fastem_step, fastem_strip, run,
    strips_of, up,
)


cdef extern from "gaussian/moments.h":
    ctypedef struct gaussian_job:
        const char *x
        Py_ssize_t x_row, x_column
        const double *sample_weight
        const double *given
        Py_ssize_t n_samples, n_features, n_components
        int kind
        Py_ssize_t most_small
        const double *shift
        const double *scale
        const double *means
        const double *precisions_chol
        const double *log_norm
        int incomplete
        const double *precisions
        const double *centers
        int prune
        double negligible
        Py_ssize_t rows
        void *log_prob
        void *responsibilities
        int64_t *labels
        int *dense
        int64_t *added

    ctypedef struct gaussian_emission:
        const gaussian_job *density
        const gaussian_job *moments
        const void *density_tables
        const void *moments_tables
        Py_ssize_t n_mix
        const double *covariances
        const double *log_weight

    ctypedef struct gaussian_ops:
        const char *name
        Py_ssize_t most_small
        Py_ssize_t (*tables_bytes)(const gaussian_job *) noexcept nogil
        fastem_prepare prepare
        Py_ssize_t (*chunk_rows)(const gaussian_job *) noexcept nogil
        Py_ssize_t (*scratch_bytes)(const gaussian_job *) noexcept nogil
        Py_ssize_t (*sums_size)(const gaussian_job *) noexcept nogil
        fastem_step chunk
        Py_ssize_t (*factor_bytes)(Py_ssize_t) noexcept nogil
        Py_ssize_t (*emission_bytes)(const gaussian_emission *) noexcept nogil
        Py_ssize_t (*emission_column)(const gaussian_emission *) noexcept nogil
        const double *(*emission_log_prob)(const void *, Py_ssize_t, Py_ssize_t,
                                           void *) noexcept nogil
        const double *(*emission_likelihood)(const void *, Py_ssize_t, Py_ssize_t, void *,
                                             double *) noexcept nogil
        void (*emission_add)(const void *, Py_ssize_t, Py_ssize_t, void *, const double *,
                             double *) noexcept nogil

    ctypedef struct gaussian_unpacking:
        const gaussian_job *job
        const double *sums
        const double *unit
        double *second

    ctypedef struct gaussian_factors:
        const gaussian_ops *ops
        Py_ssize_t n_features
        const double *scatter
        const double *step
        const double *weight
        const double *divisor
        double reg_covar
        double *upper
        unsigned char *failed
        double *covariance

    enum:
        FULL "GAUSSIAN_FULL", DIAG "GAUSSIAN_DIAG", SPHERICAL "GAUSSIAN_SPHERICAL"
        GAUSSIAN_TURNS

    int gaussian_is_small(const gaussian_job *) noexcept nogil
    Py_ssize_t gaussian_component(const gaussian_job *) noexcept nogil
    Py_ssize_t gaussian_second(const gaussian_job *) noexcept nogil
    Py_ssize_t gaussian_bound(const gaussian_job *) noexcept nogil
    double gaussian_lost(const gaussian_job *, const double *) noexcept nogil
    void gaussian_unpack(const void *, Py_ssize_t, Py_ssize_t, const fastem_strip *) noexcept nogil
    void gaussian_factor(const void *, Py_ssize_t, Py_ssize_t, const fastem_strip *) noexcept nogil
    void gaussian_covariance(const void *, Py_ssize_t, Py_ssize_t,
                             const fastem_strip *) noexcept nogil
    const gaussian_ops *fastem_gaussian_ops(int level, int is_double) noexcept nogil

KINDS = ("full", "tied", "diag", "spherical")


def instruction_set():
    """Return the name of the instruction set in use: base, v3 or v4."""
    return fastem_gaussian_ops(runtime.level(), 1).name.decode()


def work(Py_ssize_t n_samples, Py_ssize_t n_features, Py_ssize_t n_components, str kind):
    """Return how many nanoseconds a pass takes on one thread, about."""
    flops = n_features * n_features if kind == "full" else 4 * n_features
    return n_samples * n_components * (flops + 32) / 25.0


cdef class Job:
    """A gaussian_job, with the arrays that it points to kept alive."""

    cdef gaussian_job c
    cdef const gaussian_ops *ops
    cdef object scale, chol
    cdef list held
    cdef int dense[MOST_STRIPS]

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
        self.held, self.scale, self.chol = [X], scale, precisions_chol
        self.ops = fastem_gaussian_ops(runtime.level(), X.dtype == np.float64)
        cdef Py_buffer view
        PyObject_GetBuffer(X, &view, PyBUF_STRIDES)  # quicker than to ask NumPy for an address
        self.c.x = <const char *> view.buf
        self.c.x_row, self.c.x_column = view.strides[0], view.strides[1]
        self.c.n_samples, self.c.n_features = view.shape[0], view.shape[1]
        PyBuffer_Release(&view)
        self.c.n_components = means.shape[0]
        self.c.kind, self.c.most_small = KINDS.index(kind), self.ops.most_small
        self.c.shift = self.doubles(shift)
        self.c.scale = self.doubles(scale)
        self.c.means = self.doubles(means)
        self.c.precisions_chol = self.doubles(precisions_chol)
        self.c.log_norm = self.doubles(log_norm)
        self.c.negligible = -708.0
        self.c.dense = self.dense

    cdef const double *doubles(self, array) except? NULL:
        cdef Py_buffer view
        cdef const double *begin
        array = np.ascontiguousarray(array, dtype=np.float64)
        self.held.append(array)
        PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
        begin = <const double *> view.buf
        PyBuffer_Release(&view)
        return begin

    cdef void *output(self, array):
        self.held.append(array)
        return <void *> <uintptr_t> array.__array_interface__["data"][0]

    cdef const void *tables(self) except NULL:
        """Return the tables that a pass would make, as long as the job lives."""
        cdef Py_ssize_t k
        cdef Py_buffer view
        cdef char *begin
        memory = np.zeros(self.ops.tables_bytes(&self.c) + 64, np.uint8)
        self.held.append(memory)
        PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
        begin = <char *> view.buf
        PyBuffer_Release(&view)
        begin += 63 - (<uintptr_t> begin + 63) % 64  # at a line of the cache
        for k in range(self.c.n_components):
            self.ops.prepare(&self.c, k, begin)
        return begin


def moments(Job job, sample_weight, given, int n_threads, bint about_mean=True):
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
    about_mean : bool
        full: second moments about the components' new means, in the data's units; not about the
        means of the job, in its coordinates.

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
    lost : float
        How many times the scatter about a component's new mean goes into what taking it about the
        job's mean adds: so many digits are lost. The largest of all, for tied 0; nan where a sum
        is not finite.
    """
    cdef double[::1] sums
    if sample_weight is not None:
        job.c.sample_weight = job.doubles(sample_weight)
    if given is not None:
        job.c.given = job.doubles(given)
    else:
        # What lies e^-40 below a row's best component is lost in its sum's last bit.
        job.c.prune, job.c.negligible = 1, -40.0
    sums = _run(job, n_threads, job.ops.sums_size(&job.c))
    weight, first, second = _unpacked(job, sums, n_threads, about_mean)
    return sums[gaussian_bound(&job.c)], weight, first, second, gaussian_lost(&job.c, &sums[0])


cdef _unpacked(Job job, double[::1] sums, int n_threads, bint about_mean):
    """Return weight, first and second of moments(); no views, for the sums are large."""
    cdef gaussian_job *c = &job.c
    cdef Py_ssize_t k = c.n_components, d = c.n_features, begin = gaussian_second(c)
    cdef double[:, :, ::1] full
    cdef gaussian_unpacking to_do
    table = np.asarray(sums)[: k * gaussian_component(c)].reshape(k, -1)
    second = None
    if c.kind == FULL:
        second = full = np.empty((k, d, d))
        to_do.job, to_do.sums, to_do.second = c, &sums[0], &full[0, 0, 0]
        to_do.unit = job.doubles(1 / job.scale) if about_mean else NULL
        _run_components(gaussian_unpack, &to_do, k, 0, n_threads, d * d)
    elif c.kind == DIAG:
        second = table[:, begin : begin + d].copy()
    elif c.kind == SPHERICAL:
        second = table[:, begin].copy()
    return table[:, 0].copy(), table[:, 1 : 1 + d].copy(), second


def precisions_cholesky(
    const double[:, :, ::1] scatter,  # IN  (K, D, D) about the moments' means
    const double[:, ::1] step,      # IN  (K, D) from the covariances' means to those
    const double[::1] weight,       # IN  (K,)
    const double[::1] divisor,      # IN  (K,)
    double reg_covar,               # IN  added to the diagonal
    int n_threads,
):
    """Return U, upper triangular with U U^T = inverse(covariance), (K, D, D), and a failure.

    The covariance is (scatter + weight * step step^T) / divisor + reg_covar * I. A failure is the
    first k without U, which has the covariance's upper triangle in its place, or -1.
    """
    array, failures = np.empty_like(scatter), np.zeros(scatter.shape[0], dtype=np.uint8)
    cdef double[:, :, ::1] upper = array
    cdef unsigned char[::1] failed = failures
    cdef gaussian_factors to_do
    to_do.scatter, to_do.step = &scatter[0, 0, 0], &step[0, 0]
    to_do.weight, to_do.divisor, to_do.reg_covar = &weight[0], &divisor[0], reg_covar
    to_do.upper, to_do.failed = &upper[0, 0, 0], &failed[0]
    _run_factors(gaussian_factor, &to_do, scatter.shape[0], scatter.shape[1], n_threads)
    return array, int(np.argmax(failures)) if failures.any() else -1


def covariances(const double[:, :, ::1] precisions_cholesky, int n_threads):
    """Return the inverses of U U^T, (K, D, D), symmetric to the last bit."""
    cdef double[:, :, ::1] out = np.empty_like(precisions_cholesky)
    cdef gaussian_factors to_do
    to_do.upper, to_do.covariance = <double *> &precisions_cholesky[0, 0, 0], &out[0, 0, 0]
    _run_factors(gaussian_covariance, &to_do, out.shape[0], out.shape[1], n_threads)
    return np.asarray(out)


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
    _run(job, n_threads, 0)


# ---- passes ----------------------------------------------------------------------------------


cdef _run(Job job, int n_threads, Py_ssize_t n_sums):
    """Run a pass over the samples; return its sums.

    Sums so large that strips of their own would fill the caches, and the memory, are added to by
    all threads in turn, a component after the other: they follow each other through the components.
    """
    cdef gaussian_job *c = &job.c
    cdef const gaussian_ops *ops = job.ops
    # A block may have no rows: then there is one chunk, of none.
    cdef Py_ssize_t n = max(1, c.n_samples), rows = ops.chunk_rows(c)
    cdef Py_ssize_t n_chunks = up(n, rows) // rows, n_strips = STRIP_BYTES // (8 * max(1, n_sums))
    cdef double[::1] sums = np.empty(max(1, n_sums))
    cdef int64_t[::1] added
    cdef fastem_pass one
    memset(job.dense, 0, sizeof(job.dense))
    memset(&one, 0, sizeof(one))
    if n_sums and c.kind == FULL and not gaussian_is_small(c) and n_strips < GAUSSIAN_TURNS:
        # An even number, which two threads or more share out better.
        n_strips = 2 if n_chunks > 1 else 1
        one.in_turn, n_threads = 1, min(n_threads, GAUSSIAN_TURNS)
    else:
        one.n_strips = n_strips = strips_of(n_sums)
        n_strips = min(n_strips, n_chunks)
    # The same number of chunks in every strip: with few, one more would be waited for.
    n_chunks = up(n_chunks, n_strips)
    rows = min(rows, up(up(n, n_chunks) // n_chunks, 64))
    if one.in_turn:
        added = np.zeros(up(n, rows) // rows + 1, dtype=np.int64)
        added[0] = c.n_components + 1  # before the first chunk there is nothing to wait for
        c.added = &added[0]
    one.job, one.step, one.n_rows, one.chunk = c, ops.chunk, c.n_samples, rows
    one.n_sums, one.scratch_bytes = n_sums, ops.scratch_bytes(c)
    one.n_threads = n_threads
    one.work = work(c.n_samples, c.n_features, c.n_components, KINDS[c.kind])
    one.prepare, one.n_parts, one.tables_bytes = ops.prepare, c.n_components, ops.tables_bytes(c)
    run(&one, &sums[0])
    c.added = NULL
    return np.asarray(sums)


cdef _run_components(fastem_step step, const void *job, Py_ssize_t n_components,
                     Py_ssize_t scratch_bytes, int n_threads, double work_of_one):
    """Run a pass over components, each on its own."""
    cdef fastem_pass one
    cdef double nothing
    memset(&one, 0, sizeof(one))
    one.job, one.step, one.n_rows, one.chunk = job, step, n_components, 1
    one.scratch_bytes, one.n_threads = scratch_bytes, n_threads
    one.work = n_components * work_of_one
    run(&one, &nothing)


cdef _run_factors(fastem_step step, gaussian_factors *job, Py_ssize_t n_components,
                  Py_ssize_t n_features, int n_threads):
    """Run a pass over matrices."""
    job.ops, job.n_features = fastem_gaussian_ops(runtime.level(), 1), n_features
    _run_components(step, job, n_components, job.ops.factor_bytes(n_features), n_threads,
                    n_features * n_features * (n_features + 8) / 8.0)


include "emission.pxi"
include "incomplete.pxi"
