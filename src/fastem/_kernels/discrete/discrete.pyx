"""E-step of mixtures of discrete distributions: one pass over the samples.

Every sample is a short list of entries, rows of one table (discrete/job.h). Samples are split by
position into strips, each with sums of its own, which are added in order: the bits of the result do
not depend on the threads.
"""

from cython.parallel cimport prange
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.omp cimport (
    fastem_buffers, fastem_free_buffers, fastem_interrupted, omp_get_thread_num, omp_get_wtime,
    raise_pending,
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


cdef extern from "discrete/job.h":
    Py_ssize_t DISCRETE_CHUNK, EMISSION_ROWS, EMISSION_COLUMN

    ctypedef struct discrete_job:
        const int64_t *begin
        Py_ssize_t n_entries
        const int32_t *index
        const double *value
        const double *offset
        const double *sample_weight
        Py_ssize_t n_samples, n_components, width, n_rows
        const double *table
        const double *bias
        double *log_prob
        double *responsibilities
        int64_t *labels

    ctypedef struct discrete_ops:
        const char *name
        Py_ssize_t lanes
        void (*chunk)(const discrete_job *, Py_ssize_t, Py_ssize_t, double *,
                      double *) noexcept nogil
        const double *(*emission_log_prob)(const void *, Py_ssize_t, Py_ssize_t,
                                           void *) noexcept nogil
        void (*emission_add)(const void *, Py_ssize_t, Py_ssize_t, void *, const double *,
                             double *) noexcept nogil

    const discrete_ops *fastem_discrete_ops(int level, int is_double) noexcept nogil

ctypedef fused real:
    float
    double

cdef Py_ssize_t MOST_STRIPS = 64, LEAST_STRIPS = 4, STRIP_BYTES = 6 << 20
cdef Py_ssize_t MOST_CODED = 32 << 10   # entries of a table that may be kept as exponentials, too
cdef double LEAST_WORK = 3e5            # multiply-adds, a tenth of a millisecond: see topics.pyx


cdef const discrete_ops *choose(Py_ssize_t n_components) noexcept:
    """Return the widest vectors that, below 64 components, add no more padding than narrower."""
    cdef int level = runtime.level()
    cdef const discrete_ops *wide = fastem_discrete_ops(level, 0)
    cdef const discrete_ops *narrow = fastem_discrete_ops(3, 0)
    if level == 4 and n_components < 64 and _up(n_components, narrow.lanes) < _up(
        n_components, wide.lanes
    ):
        return narrow
    return wide


cdef Py_ssize_t _up(Py_ssize_t n, Py_ssize_t to) noexcept:
    """Return the smallest multiple of `to` that is at least n."""
    return (n + to - 1) // to * to


def width(Py_ssize_t n_components):
    """Return the length of a row of the table: n_components rounded up to whole vectors."""
    return _up(n_components, choose(n_components).lanes)


# ---- the passes ------------------------------------------------------------------------------


cdef class Job:
    """A discrete_job, with the arrays that it points to kept alive."""

    cdef discrete_job c
    cdef const discrete_ops *ops
    cdef list held

    def __cinit__(
        self,
        const int64_t[::1] begin,       # IN  (n + 1,) or None: `index` is (n, n_entries)
        const int32_t[::1] index,       # IN  rows of the table, end to end
        const double[::1] value,        # IN  above 0, or None for ones
        const double[::1] offset,       # IN  (n,) or None
        Py_ssize_t n_samples,
        table,                          # IN  (n_rows, K)
        bias,                           # IN  (K,)
    ):
        """Hold a job; arrays must have been validated."""
        memset(&self.c, 0, sizeof(discrete_job))
        self.held = [begin, index, value, offset]
        self.c.n_samples, self.c.n_components = n_samples, len(bias)
        self.c.n_rows = table.shape[0]
        self.ops = choose(self.c.n_components)
        self.c.width = _up(self.c.n_components, self.ops.lanes)
        if begin is not None:
            self.c.begin = &begin[0]
        elif n_samples:
            self.c.n_entries = index.shape[0] // n_samples
        if index.shape[0]:
            self.c.index = &index[0]
            if value is not None:
                self.c.value = &value[0]
        if offset is not None and n_samples:
            self.c.offset = &offset[0]
        self.c.table = self.doubles(self.padded(table, 0.0))
        self.c.bias = self.doubles(self.padded(bias, -np.inf))

    cdef padded(self, array, double fill):
        """Return an array whose rows are as long as whole vectors."""
        wide = np.full((*array.shape[:-1], self.c.width), fill)
        wide[..., : self.c.n_components] = array
        return wide

    cdef const double *doubles(self, array) except? NULL:
        cdef const double[::1] flat = np.ascontiguousarray(array, dtype=np.float64).reshape(-1)
        self.held.append(flat)
        return &flat[0] if flat.shape[0] else NULL


cdef class Emission:
    """Discrete components beneath a structure that makes the responsibilities."""

    cdef fastem_emission c
    cdef readonly object capsule
    cdef Job job

    def __cinit__(self, Job job):
        self.job = job
        self.c.job = &job.c
        self.c.n_states, self.c.n_rows = job.c.n_components, job.c.n_samples
        self.c.most_rows, self.c.column = EMISSION_ROWS, EMISSION_COLUMN
        self.c.scratch_bytes = 8 * job.c.width * (job.ops.lanes + EMISSION_COLUMN)
        self.c.sums_size = (job.c.n_rows + 1) * job.c.width
        self.c.log_prob, self.c.add = job.ops.emission_log_prob, job.ops.emission_add
        if job.c.begin == NULL and job.c.n_entries == 1 and job.c.value == NULL:
            if job.c.offset == NULL and job.c.n_rows * job.c.width <= MOST_CODED:
                self.c.codes, self.c.table, self.c.bias = job.c.index, job.c.table, job.c.bias
                self.c.n_codes, self.c.table_width = job.c.n_rows, job.c.width
        self.capsule = PyCapsule_New(&self.c, FASTEM_EMISSION, NULL)

    @property
    def n_states(self):
        """Number of states."""
        return self.c.n_states

    @property
    def sums_size(self):
        """Number of doubles that unpack() takes."""
        return self.c.sums_size

    def unpack(self, sums):
        """Return resp and sums of :func:`sums`; from those of codes, (n_codes, K), as well."""
        if sums.ndim == 2:
            return sums.sum(axis=0), sums
        table = sums[: self.c.sums_size].reshape(-1, self.job.c.width)
        table = table[:, : self.job.c.n_components]
        return table[self.job.c.n_rows].copy(), table[: self.job.c.n_rows]


def sums(Job job, sample_weight, int n_threads):
    """Sum the entries of every component: the E-step.

    Equivalent to, with A the (n, n_rows) matrix of the entries, w the sample weights, and the
    softmax along the components::

        r = w * softmax(A @ table + bias);  resp = sum(r);  sums = A.T @ r

    Parameters
    ----------
    job : Job
    sample_weight : ndarray of shape (n,), float64, or None
    n_threads : int

    Returns
    -------
    bound : float
        Sum of sample_weight * log-probability.
    resp : ndarray of shape (K,)
    sums : ndarray of shape (n_rows, K)
    """
    cdef Py_ssize_t k = job.c.n_components, width = job.c.width, n_rows = job.c.n_rows
    cdef Py_ssize_t size = _up((n_rows + 1) * width + 1, 16)  # strips share no cache line
    if sample_weight is not None:
        job.c.sample_weight = job.doubles(sample_weight)
    n_strips = max(LEAST_STRIPS, min(MOST_STRIPS, STRIP_BYTES // (8 * size)))
    total = _run(job, n_strips, n_threads, size)
    table = total[: (n_rows + 1) * width].reshape(n_rows + 1, width)[:, :k]
    return float(total[(n_rows + 1) * width]), table[-1].copy(), table[:-1]


def rows(
    Job job,
    double[::1] log_prob,               # OUT  (n,) or None
    double[:, ::1] responsibilities,    # OUT  (n, K) or None
    int64_t[::1] labels,                # OUT  (n,) or None
    int n_threads,
):
    """Write what the parameters say of each sample."""
    if log_prob is not None:
        job.c.log_prob = &log_prob[0]
    if responsibilities is not None:
        job.c.responsibilities = &responsibilities[0, 0]
    if labels is not None:
        job.c.labels = &labels[0]
    _run(job, MOST_STRIPS, n_threads, 0)


cdef _run(Job job, Py_ssize_t n_strips, int n_threads, Py_ssize_t size):
    """Run all strips; return the sum of their `size` sums, added in order."""
    cdef discrete_job *c = &job.c
    cdef const discrete_ops *ops = job.ops
    cdef Py_ssize_t n = c.n_samples, scratch_bytes = 16 * ops.lanes * c.width, strip
    cdef Py_ssize_t n_entries = c.begin[n] if c.begin != NULL else n * c.n_entries
    cdef double clock = omp_get_wtime()
    cdef int stop = 0
    cdef char *scratch
    n_strips = max(1, min(n_strips, n // DISCRETE_CHUNK))
    if 2.0 * c.width * (n_entries + 8 * n) < LEAST_WORK:
        n_threads = 1
    n_threads = max(1, min(n_threads, n_strips))
    per_strip = np.zeros((n_strips, size))
    cdef double[:, ::1] strips = per_strip
    scratch = fastem_buffers(n_threads, &scratch_bytes)
    if scratch == NULL:
        raise MemoryError(f"no {n_threads * scratch_bytes} bytes for buffers")
    try:
        for strip in prange(n_strips, nogil=True, num_threads=n_threads, schedule="dynamic",
                            chunksize=1):
            _strip(c, ops, n * strip // n_strips, n * (strip + 1) // n_strips,
                   <double *> (scratch + omp_get_thread_num() * scratch_bytes),
                   &strips[strip, 0] if size else NULL, &stop, &clock)
    finally:
        fastem_free_buffers(scratch)
    if stop:
        raise_pending()
    total = per_strip[0]
    for strip in range(1, n_strips):
        total += per_strip[strip]
    return total


cdef void _strip(
    const discrete_job *job,
    const discrete_ops *ops,
    Py_ssize_t first,           # IN     first sample
    Py_ssize_t last,            # IN     one past the last
    double *scratch,            # INOUT  this thread's buffers
    double *sums,               # INOUT  this strip's sums, or NULL
    int *stop,                  # INOUT  set by an interrupt
    double *clock,              # INOUT  time of the last look for an interrupt
) noexcept nogil:
    while first < last:
        if stop[0]:
            return
        ops.chunk(job, first, min(first + DISCRETE_CHUNK, last), scratch, sums)
        first = first + DISCRETE_CHUNK
        if fastem_interrupted(clock):
            stop[0] = 1


# ---- the data --------------------------------------------------------------------------------


def inspect(const real[:, :] X, const double[::1] sample_weight):
    """Return what each feature holds.

    Returns
    -------
    lowest, highest : ndarray of shape (D,)
        0 is there, whether it occurs or not; NaN is left out.
    whole : ndarray of shape (D,), bool
        Whether all values are integers.
    missing : ndarray of shape (D,), bool
        Whether some are NaN.
    observed : ndarray of shape (D,), int64
        How many are not, in rows of positive weight.
    """
    cdef Py_ssize_t i, j, n = X.shape[0], d = X.shape[1]
    cdef double[::1] lowest = np.zeros(d), highest = np.zeros(d)
    cdef unsigned char[::1] whole = np.ones(d, dtype=np.uint8)
    cdef unsigned char[::1] missing = np.zeros(d, dtype=np.uint8)
    cdef int64_t[::1] observed = np.zeros(d, dtype=np.int64)
    cdef double x
    cdef int counts
    with nogil:
        for i in range(n):
            counts = sample_weight is None or sample_weight[i] > 0
            for j in range(d):
                x = X[i, j]
                if x != x:
                    missing[j] = 1
                    continue
                observed[j] += counts
                if x < lowest[j]:
                    lowest[j] = x
                if x > highest[j]:
                    highest[j] = x
                if not (x > -9e18 and x < 9e18 and <double> (<int64_t> x) == x):
                    whole[j] = 0
    return (
        np.asarray(lowest),
        np.asarray(highest),
        np.asarray(whole).astype(bool),
        np.asarray(missing).astype(bool),
        np.asarray(observed),
    )


def encode(
    const real[:, :] X,                 # IN   (n, D) integers from 0, or NaN
    const int32_t[::1] group,           # IN   (D,) which code a feature is part of, ascending
    const int32_t[::1] stride,          # IN   (D,) what one more of its value adds to the code
    const int32_t[::1] missing,         # IN   (D,) what stands for NaN in place of a value
    const int32_t[::1] first,           # IN   (G,) the code of zeros
    int32_t[:, ::1] codes,              # OUT  (n, G)
):
    """Write the codes of groups of features: first + sum_j value_j * stride_j."""
    cdef Py_ssize_t i, j, g
    cdef double x
    with nogil:
        for i in range(X.shape[0]):
            for g in range(first.shape[0]):
                codes[i, g] = first[g]
            for j in range(X.shape[1]):
                x = X[i, j]
                codes[i, group[j]] += stride[j] * (missing[j] if x != x else <int32_t> x)
