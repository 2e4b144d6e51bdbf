"""E-step of Gaussian mixtures: responsibilities and moments, one pass over the samples.

Algorithm: rows are split by position into strips; a strip walks its rows in chunks that stay in
cache, and adds each chunk's moments to sums of its own; the strips' sums are then added in order.
Strips and chunks depend on shapes alone, so the bits of the result do not depend on the threads.
What happens within a chunk is in gaussian/leaf.h, compiled for several instruction sets.
"""

from cython.parallel cimport prange
from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.omp cimport (
    fastem_buffers, fastem_free_buffers, fastem_interrupted, omp_get_thread_num, omp_get_wtime,
    raise_pending,
)


cdef extern from "shared/turns.h":
    ctypedef struct fastem_turn:
        const int64_t *before
        int64_t *added
        const int64_t *stop

    int64_t fastem_read(const int64_t *) noexcept nogil
    void fastem_write(int64_t *, int64_t) noexcept nogil
    int64_t fastem_next(int64_t *) noexcept nogil


cdef extern from "shared/emission.h":
    const char *FASTEM_EMISSION

    ctypedef struct fastem_emission:
        const void *job
        Py_ssize_t n_states, n_rows, most_rows, column, scratch_bytes, sums_size
        const double *(*log_prob)(const void *, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
        const double *(*likelihood)(const void *, Py_ssize_t, Py_ssize_t, void *,
                                    double *) noexcept nogil
        void (*add)(const void *, Py_ssize_t, Py_ssize_t, void *, const double *,
                    double *) noexcept nogil


cdef extern from "gaussian/job.h":
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
        Py_ssize_t rows
        void *log_prob
        void *responsibilities
        int64_t *labels
        const void *tables

    ctypedef struct gaussian_emission:
        const gaussian_job *density
        const gaussian_job *moments
        Py_ssize_t n_mix
        const double *covariances
        const double *log_weight

    ctypedef struct gaussian_ops:
        const char *name
        Py_ssize_t (*tables_bytes)(const gaussian_job *) noexcept nogil
        void (*prepare)(const gaussian_job *, void *) noexcept nogil
        void (*prepare_component)(const gaussian_job *, Py_ssize_t, void *) noexcept nogil
        Py_ssize_t (*chunk_rows)(const gaussian_job *) noexcept nogil
        Py_ssize_t (*scratch_bytes)(const gaussian_job *) noexcept nogil
        Py_ssize_t (*sums_size)(const gaussian_job *) noexcept nogil
        void (*chunk)(const gaussian_job *, Py_ssize_t, Py_ssize_t, void *, double *,
                      int *, const fastem_turn *) noexcept nogil
        Py_ssize_t (*factor_bytes)(Py_ssize_t) noexcept nogil
        int (*factor)(double *, Py_ssize_t, void *) noexcept nogil
        void (*covariance)(const double *, Py_ssize_t, void *, double *) noexcept nogil
        Py_ssize_t (*emission_bytes)(const gaussian_emission *) noexcept nogil
        Py_ssize_t (*emission_column)(const gaussian_emission *) noexcept nogil
        const double *(*emission_log_prob)(const void *, Py_ssize_t, Py_ssize_t,
                                           void *) noexcept nogil
        const double *(*emission_likelihood)(const void *, Py_ssize_t, Py_ssize_t, void *,
                                             double *) noexcept nogil
        void (*emission_add)(const void *, Py_ssize_t, Py_ssize_t, void *, const double *,
                             double *) noexcept nogil

    const gaussian_ops *fastem_gaussian_ops(int level, int is_double) noexcept nogil

KINDS = ("full", "tied", "diag", "spherical")
cdef Py_ssize_t MOST_STRIPS = 64, EMISSION_ROWS = 512, LEAST_STRIPS = 4, STRIP_BYTES = 6 << 20
cdef enum:
    TURN_STRIPS = 8  # fewer strips than that: threads take turns instead


def instruction_set():
    """Return the name of the instruction set in use: base, v3 or v4."""
    return fastem_gaussian_ops(runtime.level(), 1).name.decode()


cdef class Job:
    """A gaussian_job, with the arrays that it points to kept alive."""

    cdef gaussian_job c
    cdef const gaussian_ops *ops
    cdef object scale, chol
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
        self.held, self.scale, self.chol = [X], scale, precisions_chol
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


cdef class Emission:
    """Gaussians beneath a structure that makes the responsibilities: see shared/emission.h."""

    cdef gaussian_emission own
    cdef fastem_emission c
    cdef readonly object capsule
    cdef Job density, moments
    cdef list held
    cdef Py_ssize_t further             # sums of a component for rows with missing values

    def __cinit__(
        self,
        Job density,            # float64, full or diag
        Job moments,            # the same, but for the means that moments are taken about
        Py_ssize_t n_mix,       # so many components in turn are a state
        covariances=None,       # (K, D, D) or (K, D) of the data where some rows have NaN
        weights=None,           # (K,), then too
    ):
        self.density, self.moments = density, moments
        # A structure has more beside each row than fits the first-level cache.
        density.c.rows = moments.c.rows = min(EMISSION_ROWS, _up(max(density.c.n_samples, 1), 64))
        self.held = [_Buffers(job, 0) for job in {density, moments}]  # the tables alone
        self.own.density, self.own.moments, self.own.n_mix = &density.c, &moments.c, n_mix
        if covariances is not None:
            unit = density.scale if covariances.ndim == 3 else density.scale**2
            scaled = covariances * unit * (unit[:, None] if covariances.ndim == 3 else 1)
            self.own.covariances = density.doubles(scaled)
            with np.errstate(divide="ignore"):
                self.own.log_weight = density.doubles(np.log(weights))
            d = density.c.n_features
            self.further = 1 + d + (d * d if covariances.ndim == 3 else d)
        self.c.job = &self.own
        self.c.n_states, self.c.n_rows = density.c.n_components // n_mix, density.c.n_samples
        self.c.column = density.ops.emission_column(&self.own)
        self.c.most_rows = density.ops.chunk_rows(&density.c)
        self.c.scratch_bytes = density.ops.emission_bytes(&self.own)
        self.c.sums_size = density.ops.sums_size(&density.c)
        self.c.sums_size += self.further * density.c.n_components
        self.c.log_prob, self.c.add = density.ops.emission_log_prob, density.ops.emission_add
        if n_mix > 1:
            self.c.likelihood = density.ops.emission_likelihood
        self.capsule = PyCapsule_New(&self.c, FASTEM_EMISSION, NULL)

    @property
    def n_states(self):
        """Number of states."""
        return self.c.n_states

    @property
    def sums_size(self):
        """Number of doubles that unpack() takes."""
        return self.c.sums_size

    def unpack(self, double[::1] sums):
        """Return weight, first and second of :func:`moments`, about the means of the job."""
        cdef Py_ssize_t d = self.density.c.n_features, d4 = _up(d, 4), k
        cdef Py_ssize_t n = self.density.c.n_components, size = _component_size(self.density)
        cdef double[:, :, ::1] full
        table = np.asarray(sums)[: n * size].reshape(n, size)
        if self.density.c.kind == 0:
            second = np.empty((n, d, d))
            full = second
            for k in range(n):
                _unpack_full(&sums[k * size], d, NULL, &full[k, 0, 0])
        else:
            second = table[:, 1 + d4 : 1 + d4 + d].copy()
        weight, first = table[:, 0].copy(), table[:, 1 : 1 + d].copy()
        if self.further:
            begin = self.density.ops.sums_size(&self.density.c)
            table = np.asarray(sums)[begin : begin + n * self.further].reshape(n, -1)
            weight += table[:, 0]
            if self.density.c.kind == 0:
                lower = np.tril(table[:, 1 + d :].reshape(n, d, d))
                first += table[:, 1 : 1 + d]
                second += lower + np.tril(lower, -1).swapaxes(1, 2)
            else:
                unit = self.density.chol / self.density.scale
                first += table[:, 1 : 1 + d] * unit
                second += table[:, 1 + d :] * unit**2
        return weight, first, second


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
    cdef Py_ssize_t k, n_components = job.c.n_components, d = job.c.n_features
    cdef Py_ssize_t size = job.ops.sums_size(&job.c), component = _component_size(job)
    cdef Py_ssize_t everything = _up(n_components, 4) * component
    cdef double[:, ::1] strips
    cdef double[:, :, ::1] full
    cdef const double *unit = NULL
    cdef double lost
    if sample_weight is not None:
        job.c.sample_weight = job.doubles(sample_weight)
    if given is not None:
        job.c.given = job.doubles(given)
    else:
        # What lies e^-40 below a row's best component is lost in its sum's last bit.
        job.c.prune, job.c.negligible = 1, -40.0
    cdef Py_ssize_t n_strips = min(MOST_STRIPS, STRIP_BYTES // (8 * size))
    if job.c.kind == 0 and d > 8 and n_strips < TURN_STRIPS:
        sums = _run_in_turn(job, n_threads, size)
    else:
        sums = _run(job, max(LEAST_STRIPS, n_strips), n_threads, size)
    strips = sums
    second = np.empty((n_components, d, d)) if job.c.kind == 0 else None
    if job.c.kind == 0:
        full = second
        if about_mean:
            unit = job.doubles(1 / job.scale)
        n_threads = _useful(n_threads, n_components * d * d)
        for k in prange(n_components, nogil=True, num_threads=n_threads):
            _add_strips(strips, k * component, (k + 1) * component)
            _unpack_full(&strips[0, k * component], d, unit, &full[k, 0, 0])
        _add_strips(strips, everything, everything + 1)
    else:
        _add_strips(strips, 0, everything + 1)
    table = sums[0, :everything].reshape(-1, component)[:n_components]
    d4 = _up(d, 4)
    if job.c.kind == 2:
        second = table[:, 1 + d4 : 1 + d4 + d].copy()
    elif job.c.kind == 3:
        second = table[:, 1 + d4].copy()
    lost = _digits_lost(&job.c, &strips[0, 0], component)
    # No views: the strips' sums are large.
    return float(sums[0, everything]), table[:, 0].copy(), table[:, 1 : 1 + d].copy(), second, lost


cdef double _digits_lost(
    const gaussian_job *job,
    const double *sums,         # IN  one component after the other
    Py_ssize_t size,            # IN  that one has
) noexcept nogil:
    """Return `lost` of moments()."""
    cdef Py_ssize_t k, i, d = job.n_features, d4 = _up(d, 4)
    cdef const double *first
    cdef const double *own
    cdef double lost = 0, finite = 0, weight, added, step, whole, scatter
    for k in range(job.n_components):
        weight, first, own = sums[k * size], sums + k * size + 1, sums + k * size + 1 + d4
        finite += 0 * weight
        scatter = 0  # of a spherical component, times -1, without the whole
        for i in range(d):
            finite += 0 * first[i]
            added = first[i] * first[i] / weight if weight > 0 else 0
            if job.kind == 3:
                step = first[i] / weight - job.means[k * d + i] if weight > 0 else 0
                step *= job.precisions_chol[k * d + i] / job.scale[i]
                scatter += weight * step * step
                continue
            elif job.kind == 1:
                continue
            whole = own[i] if job.kind == 2 else own[_diagonal_place(i, d)]
            finite += 0 * whole
            lost = max(lost, _times(added, whole - added))
        if job.kind == 3:
            finite += 0 * own[0]
            lost = max(lost, _times(scatter, 2 * own[0] - scatter))
    return lost + finite  # 0 * inf is nan


cdef Py_ssize_t _diagonal_place(Py_ssize_t i, Py_ssize_t d) noexcept nogil:
    """Return where (i, i) of full second moments lies, counted from 1 + D4: see component_size."""
    if d <= 8:
        return d - _up(d, 4) + i * (i + 3) // 2
    return i // 4 * (i // 4 + 3) // 2 * 16 + i % 4 * 5


cdef double _times(double added, double rest) noexcept nogil:
    """Return how many times the rest, if it is any, goes into what was added."""
    if added <= 0:
        return 0
    return added / rest if rest > 0 else INFINITY


cdef Py_ssize_t _component_size(Job job):
    """Return the number of doubles that one component has among the sums: see gaussian/leaf.h."""
    cdef Py_ssize_t d = job.c.n_features, d4 = _up(d, 4)
    if job.c.kind == 0:
        return 1 + d + d * (d + 1) // 2 if d <= 8 else 1 + d4 + 2 * d4 * (d4 // 4 + 1)
    return 1 + 2 * d4 if job.c.kind == 2 else 2 + d4


cdef void _add_strips(double[:, ::1] strips, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Add the strips' sums [begin, end) to those of the first, in order."""
    cdef Py_ssize_t strip, i
    for strip in range(1, strips.shape[0]):
        for i in range(begin, end):
            strips[0, i] += strips[strip, i]


cdef void _unpack_full(
    const double *component,    # IN     one component's sums
    Py_ssize_t d,
    const double *unit,         # IN     (D,) of the data; or NULL: as they were summed
    double *second,             # OUT    (D, D)
) noexcept nogil:
    cdef Py_ssize_t i, j, i4, j4
    cdef double weight = component[0], inverse = 1 / weight if weight > 0 else 1, step
    cdef const double *first = component + 1
    cdef const double *block = component + 1 + (d if d <= 8 else (d + 3) // 4 * 4)
    if d <= 8:
        for i in range(d):
            for j in range(i + 1):
                second[i * d + j] = block[j]
            block += i + 1
    else:
        for i4 in range(0, d, 4):
            for j4 in range(0, i4 + 1, 4):
                for i in range(i4, min(i4 + 4, d)):
                    for j in range(j4, min(j4 + 4, d)):
                        second[i * d + j] = block[4 * (i - i4) + j - j4]
                block += 16
    for i in range(d):
        step = first[i] * inverse if unit != NULL else 0
        for j in range(i + 1):
            second[i * d + j] -= step * first[j]
            if unit != NULL:
                second[i * d + j] *= unit[i] * unit[j]  # powers of 2
            second[j * d + i] = second[i * d + j]


cdef int _useful(int n_threads, Py_ssize_t n_numbers) noexcept:
    """Return n_threads, or 1 for what takes less time than to begin and end a parallel region."""
    return n_threads if n_threads > 1 and n_numbers >= 100_000 else 1


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
    cdef Py_ssize_t k, n_components = scatter.shape[0], d = scatter.shape[1]
    cdef const gaussian_ops *ops = fastem_gaussian_ops(runtime.level(), 1)
    array, failures = np.empty((n_components, d, d)), np.zeros(n_components, dtype=np.uint8)
    cdef double[:, :, ::1] upper = array
    cdef unsigned char[::1] failed = failures
    n_threads = _useful(min(n_threads, n_components), n_components * d * d)
    cdef Py_ssize_t bytes = ops.factor_bytes(d)
    cdef char *memory = _buffers(n_threads, &bytes)
    for k in prange(n_components, nogil=True, num_threads=n_threads):
        _form_covariance(&scatter[k, 0, 0], &step[k, 0], weight[k], divisor[k], reg_covar, d,
                         &upper[k, 0, 0])
        failed[k] = 0 == ops.factor(&upper[k, 0, 0], d, memory + omp_get_thread_num() * bytes)
    fastem_free_buffers(memory)
    return array, int(np.argmax(failures)) if failures.any() else -1


cdef void _form_covariance(
    const double *scatter,      # IN   (D, D)
    const double *step,         # IN   (D,)
    double weight,
    double divisor,
    double reg_covar,
    Py_ssize_t d,
    double *covariance,         # OUT  (D, D) its upper triangle
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef double factor
    for i in range(d):
        factor = weight * step[i]
        for j in range(i, d):
            covariance[i * d + j] = (scatter[i * d + j] + factor * step[j]) / divisor
        covariance[i * d + i] += reg_covar


def covariances(const double[:, :, ::1] precisions_cholesky, int n_threads):
    """Return the inverses of U U^T, (K, D, D), symmetric to the last bit."""
    cdef Py_ssize_t k, n_components = precisions_cholesky.shape[0], d = precisions_cholesky.shape[1]
    cdef const gaussian_ops *ops = fastem_gaussian_ops(runtime.level(), 1)
    array = np.empty((n_components, d, d))
    cdef double[:, :, ::1] out = array
    n_threads = _useful(min(n_threads, n_components), n_components * d * d)
    cdef Py_ssize_t bytes = ops.factor_bytes(d)
    cdef char *memory = _buffers(n_threads, &bytes)
    for k in prange(n_components, nogil=True, num_threads=n_threads):
        ops.covariance(&precisions_cholesky[k, 0, 0], d, memory + omp_get_thread_num() * bytes,
                       &out[k, 0, 0])
    fastem_free_buffers(memory)
    return array


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
    _run(job, MOST_STRIPS, n_threads, 0)


include "run.pxi"
