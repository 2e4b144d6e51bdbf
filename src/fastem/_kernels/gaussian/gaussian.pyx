"""E-step of Gaussian mixtures: responsibilities and moments, one pass over the samples.

What happens to a chunk of rows is in gaussian/leaf.h, compiled for several instruction sets; how
the moments are summed, and what becomes of them, in gaussian/moments.h.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport fabs, isfinite, sqrt
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.address cimport address_of
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
        int has_noise
        double noise
        const double *log_sides
        const double *df
        const double *student_norm
        int scaled
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

    ctypedef struct gaussian_given:
        const double *means
        const double *weights
        const double *log_weights
        int single

    ctypedef struct gaussian_unpacking:
        const gaussian_job *job
        const double *sums
        const double *unit
        double *second

    ctypedef struct gaussian_factors:
        const gaussian_ops *ops
        Py_ssize_t n_features
        const double *scatter
        const double *added
        const double *step
        const double *weight
        const double *divisor
        const double *ridge
        double reg_covar
        double *upper
        unsigned char *failed
        double *covariance

    enum:
        FULL "GAUSSIAN_FULL", TIED "GAUSSIAN_TIED"
        DIAG "GAUSSIAN_DIAG", SPHERICAL "GAUSSIAN_SPHERICAL"
        GAUSSIAN_TURNS

    int gaussian_is_small(const gaussian_job *) noexcept nogil
    Py_ssize_t gaussian_component(const gaussian_job *) noexcept nogil
    Py_ssize_t gaussian_second(const gaussian_job *) noexcept nogil
    Py_ssize_t gaussian_bound(const gaussian_job *) noexcept nogil
    Py_ssize_t gaussian_noise(const gaussian_job *) noexcept nogil
    gaussian_job gaussian_one_full(const gaussian_job *) noexcept nogil
    Py_ssize_t gaussian_tied_rows(const gaussian_job *) noexcept nogil
    void gaussian_mirror(const gaussian_job *, const double *, double *) noexcept nogil
    int gaussian_within(Py_ssize_t, Py_ssize_t, const double *, const double *, const double *,
                        const double *, double, double *) noexcept nogil
    Py_ssize_t gaussian_student(const gaussian_job *) noexcept nogil
    double gaussian_lost(const gaussian_job *, const double *) noexcept nogil
    void gaussian_describe(const gaussian_job *, const gaussian_given *, double *,
                           double *) noexcept nogil
    void gaussian_read(const gaussian_job *, const gaussian_given *, const double *, Py_ssize_t,
                       double *, double *, double *) noexcept nogil
    void gaussian_unpack(const void *, Py_ssize_t, Py_ssize_t, const fastem_strip *) noexcept nogil
    void gaussian_factor(const void *, Py_ssize_t, Py_ssize_t, const fastem_strip *) noexcept nogil
    void gaussian_covariance(const void *, Py_ssize_t, Py_ssize_t,
                             const fastem_strip *) noexcept nogil
    const gaussian_ops *fastem_gaussian_ops(int level, int is_double) noexcept nogil

KINDS = ("full", "tied", "diag", "spherical")

cdef double SMALLEST = 1e-300  # the inverse of a smaller variance may overflow


def instruction_set():
    """Return the name of the instruction set in use: base, v3 or v4."""
    return fastem_gaussian_ops(runtime.level(), 1).name.decode()


cpdef double work(Py_ssize_t n_samples, Py_ssize_t n_features, Py_ssize_t n_components, str kind):
    """Return how many nanoseconds a pass takes on one thread, about."""
    flops = n_features * n_features if kind == "full" else 4 * n_features
    return n_samples * n_components * (flops + 32) / 25.0


cdef _plain(array):
    """Return an array of aligned doubles, one after the other: the same one if it is such."""
    cdef Py_buffer view
    cdef bint plain
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES | PyBUF_FORMAT)
    plain = view.format[0] == b"d" and view.format[1] == 0 and <uintptr_t> view.buf % 8 == 0
    cdef Py_ssize_t step = 8, axis = view.ndim
    while plain and axis > 0:
        axis -= 1
        plain = view.strides[axis] == step
        step *= view.shape[axis]
    PyBuffer_Release(&view)
    return array if plain else np.array(array, dtype=np.float64, order="C")


cdef class Job:
    """A gaussian_job, with the arrays that it points to kept alive."""

    cdef gaussian_job c
    cdef gaussian_given given
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
        means,                  # IN  (K, D)
        precisions_chol,        # IN  (K, D, D), (D, D), (K, D) or (K,) by kind; upper
        weights,                # IN  (K,)
        log_weights,            # IN  (K,) or None: the logarithms of the weights
        bint likelihood,        # IN  whether densities count
    ):
        """Hold a job; arrays must have been validated. Parameters are in the data's units."""
        memset(&self.c, 0, sizeof(gaussian_job))
        self.held, self.scale, self.chol = [X], scale, precisions_chol
        cdef Py_buffer view
        PyObject_GetBuffer(X, &view, PyBUF_STRIDES)
        self.c.x = <const char *> view.buf
        self.c.x_row, self.c.x_column = view.strides[0], view.strides[1]
        self.c.n_samples, self.c.n_features = view.shape[0], view.shape[1]
        self.given.single = view.itemsize == 4
        PyBuffer_Release(&view)
        self.ops = fastem_gaussian_ops(runtime.level(), not self.given.single)
        cdef Py_ssize_t k = len(means), d = self.c.n_features
        self.c.n_components = k
        self.c.kind, self.c.most_small = KINDS.index(kind), self.ops.most_small
        if self.c.kind == SPHERICAL:
            precisions_chol = np.repeat(precisions_chol, d).reshape(k, d)
        self.c.shift, self.c.scale = self.doubles(shift), self.doubles(scale)
        self.c.precisions_chol = self.doubles(precisions_chol)
        self.given.means, self.given.weights = self.doubles(means), self.doubles(weights)
        if log_weights is not None:
            self.given.log_weights = self.doubles(log_weights)
        cdef double *made = self.doubles(np.zeros(k * (d + 1)))
        self.c.means, self.c.log_norm = made, made + k * d
        gaussian_describe(&self.c, &self.given, made, made + k * d if likelihood else NULL)
        self.c.negligible = -708.0
        self.c.dense = self.dense

    def add_noise(self, double log_density, log_sides):
        """Add a component of one density everywhere, and the sides, (D,), of the box it fills."""
        self.c.has_noise, self.c.noise = 1, log_density
        self.c.log_sides = self.doubles(log_sides)

    def make_student(self, df, log_ratios):
        """Make components Student-t's of so many degrees of freedom, (K,).

        `log_ratios`, (K,), are of their densities in the middle to those of the Gaussians.
        """
        norms = np.array(<double[:self.c.n_components]> <double *> self.c.log_norm)
        self.c.df, self.c.student_norm = self.doubles(df), self.doubles(norms + log_ratios)
        self.c.log_norm = self.doubles(np.zeros(self.c.n_components))

    cdef double *doubles(self, array) except? NULL:
        array = _plain(array)
        self.held.append(array)
        return <double *> address_of(array)

    cdef void *output(self, array):
        self.held.append(array)
        return address_of(array)

    cdef const void *tables(self) except NULL:
        """Return the tables that a pass would make, as long as the job lives."""
        cdef Py_ssize_t k
        memory = np.zeros(self.ops.tables_bytes(&self.c) + 64, np.uint8)
        self.held.append(memory)
        cdef char *begin = <char *> address_of(memory)
        begin += 63 - (<uintptr_t> begin + 63) % 64  # at a line of the cache
        for k in range(self.c.n_components):
            self.ops.prepare(&self.c, k, begin)
        return begin


def moments(Job job, sample_weight, given, int n_threads):
    """Sum the moments of every component: the E-step.

    Equivalent to, with r the responsibilities times the sample weights and z = x - mean[k]::

        weight[k] = sum(r[:, k]);  mean[k] = r[:, k] @ x / weight[k]
        scatter[k] = (r[:, k] * z.T) @ z

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
    mean : ndarray of shape (K, D)
        That of the job where a component has no weight.
    scatter : ndarray
        full: (K, D, D); diag: (K, D); spherical: (K,) its trace; tied: none, but (K, D), the means
        from the job's shift on, in its coordinates.
    lost : float
        How many times the scatter about a component's new mean goes into what taking it about the
        job's mean adds: so many digits are lost. The largest of all, for tied 0; nan where a sum
        is not finite.
    further : float or ndarray of shape (2, K)
        The weight of the noise, 0 without; of Student-t components, whose moments are of r times
        what the row counts for, the sums of r and of r log(1 + q / df), q the squared distance.
    """
    cdef gaussian_job *c = &job.c
    cdef Py_ssize_t n = c.n_components, d = c.n_features, size = gaussian_component(c), k
    memory = _sums(job, sample_weight, given, n_threads)
    weight, mean = np.empty(n), np.empty((n, d))
    cdef double *sums = <double *> address_of(memory)
    cdef double *weights = <double *> address_of(weight)
    cdef double *means = <double *> address_of(mean)
    cdef double *second = NULL
    if c.kind == FULL:
        scatter = _full(job, sums, n_threads, True)
    else:
        scatter = np.empty(n) if c.kind == SPHERICAL else np.empty((n, d))
        second = <double *> address_of(scatter)
    for k in range(n):
        gaussian_read(c, &job.given, sums + k * size, k, weights + k, means + k * d, second)
        if c.kind != FULL:
            second += 1 if c.kind == SPHERICAL else d
    lost, further = gaussian_lost(c, sums), sums[gaussian_noise(c)]
    if c.df != NULL:
        further = memory[gaussian_student(c) :][: 2 * n].reshape(n, 2).T.copy()
    return sums[gaussian_bound(c)], weight, mean, scatter, lost, further


def second_moments(Job job, sample_weight, given, int n_threads):
    """Return sums of r z z^T about the job's means, in its coordinates, and `lost` of moments().

    Of full covariances; arguments as in :func:`moments`.
    """
    memory = _sums(job, sample_weight, given, n_threads)
    cdef double *sums = <double *> address_of(memory)
    return _full(job, sums, n_threads, False), gaussian_lost(&job.c, sums)


cdef _sums(Job job, sample_weight, given, int n_threads):
    """Return the sums of a pass that makes responsibilities, or takes them."""
    if sample_weight is not None:
        job.c.sample_weight = job.doubles(sample_weight)
    if given is not None:
        job.c.given = job.doubles(given)
    else:
        # What lies e^-40 below a row's best component is lost in its sum's last bit.
        job.c.prune, job.c.negligible = 1, -40.0
    return _run(job, n_threads, job.ops.sums_size(&job.c))


cdef _full(Job job, const double *sums, int n_threads, bint about_mean):
    """Return second moments (K, D, D): about the new means, in the data's units, or as they are."""
    cdef Py_ssize_t k = job.c.n_components, d = job.c.n_features
    cdef gaussian_unpacking to_do
    second = np.empty((k, d, d))
    to_do.job, to_do.sums, to_do.second = &job.c, sums, <double *> address_of(second)
    to_do.unit = job.doubles(1 / job.scale) if about_mean else NULL
    _run_components(gaussian_unpack, &to_do, k, 0, n_threads, d * d)
    return second


cdef _unpacked(Job job, const double *sums, int n_threads):
    """Return weights, first and second moments about the job's means as they are."""
    cdef gaussian_job *c = &job.c
    cdef Py_ssize_t k = c.n_components, d = c.n_features, begin = gaussian_second(c)
    cdef const double[:, ::1] view = <const double[:k, :gaussian_component(c)]> sums
    table = np.array(view)
    second = _full(job, sums, n_threads, False) if c.kind == FULL else table[:, begin : begin + d]
    return table[:, 0].copy(), table[:, 1 : 1 + d].copy(), second


def rows(Job job, log_prob, responsibilities, labels, int n_threads, bint scaled=False):
    """Write what the parameters say of each sample; each output may be None.

    Parameters
    ----------
    job : Job
    log_prob : ndarray of shape (n,), dtype of X
        Log-density of each sample.
    responsibilities : ndarray of shape (n, K), dtype of X, C-contiguous; with noise (n, K + 1)
    labels : ndarray of shape (n,), int64
        The component with the largest responsibility; -1: noise.
    n_threads : int
    scaled : bool
        Student-t's: write responsibilities times what the row counts for, as moments() sums them.
    """
    job.c.scaled = scaled
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
    cdef Py_ssize_t n = max(1, c.n_samples), rows = ops.chunk_rows(c), asked = c.rows
    cdef Py_ssize_t n_chunks = up(n, rows) // rows, n_strips = STRIP_BYTES // (8 * max(1, n_sums))
    cdef int64_t[::1] added
    cdef fastem_pass one
    sums = np.empty(max(1, n_sums))
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
    c.rows = rows  # no more scratch than these need
    one.job, one.step, one.n_rows, one.chunk = c, ops.chunk, c.n_samples, rows
    one.n_sums, one.scratch_bytes = n_sums, ops.scratch_bytes(c)
    one.n_threads = n_threads
    one.work = work(c.n_samples, c.n_features, c.n_components, KINDS[c.kind])
    one.prepare, one.n_parts, one.tables_bytes = ops.prepare, c.n_components, ops.tables_bytes(c)
    try:
        run(&one, <double *> address_of(sums))
    finally:
        c.added, c.rows = NULL, asked
    return sums


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
include "factors.pxi"
include "bayes.pxi"
