"""E-step of mixtures of discrete distributions: one pass over the samples.

How samples are stored, and what is computed of them, is in discrete/job.h; how a pass runs, in
shared/pass.h.
"""

from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport prange
from libc.math cimport INFINITY, log
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memset

import numpy as np

from fastem._engine import arrays
from fastem._kernels import runtime

from fastem._kernels.address cimport address_of
from fastem._kernels.emission cimport FASTEM_EMISSION, fastem_emission
from fastem._kernels.strips cimport LEAST_STRIPS, fastem_pass, fastem_step, run


cdef extern from "discrete/job.h":
    enum:
        DISCRETE_LISTS, DISCRETE_CODES, DISCRETE_BITS, DISCRETE_COUNTS
        DISCRETE_CHUNK, EMISSION_ROWS, EMISSION_COLUMN
    double DISCRETE_NEVER

    ctypedef struct discrete_job:
        int form
        Py_ssize_t n_samples, n_components, width, n_rows, chunk
        const int64_t *begin
        Py_ssize_t n_entries
        const int32_t *index
        const double *value
        const uint8_t *codes
        const int32_t *first
        Py_ssize_t n_groups
        const uint32_t *bits
        const uint32_t *columns
        Py_ssize_t n_columns, n_words
        const uint8_t *counts
        const double *reals
        const double *constants
        Py_ssize_t each_constant
        const double *only
        Py_ssize_t n_only
        const double *offset
        const double *sample_weight
        const double *table
        const double *bias
        const int64_t *given_labels
        const double *given
        Py_ssize_t origin
        double *log_prob
        double *responsibilities
        int64_t *labels
        double *turned
        Py_ssize_t turned_row

    ctypedef struct discrete_contents:
        double *lowest
        double *highest
        uint8_t *whole
        uint8_t *missing
        uint8_t *observed

    ctypedef struct discrete_ops:
        const char *name
        Py_ssize_t lanes
        Py_ssize_t (*scratch_bytes)(const discrete_job *) noexcept nogil
        fastem_step chunk
        void (*add_live)(const discrete_job *, Py_ssize_t, Py_ssize_t, const double *,
                         double *) noexcept nogil
        Py_ssize_t (*emission_bytes)(const discrete_job *) noexcept nogil
        const double *(*emission_log_prob)(const void *, Py_ssize_t, Py_ssize_t,
                                           void *) noexcept nogil
        void (*emission_add)(const void *, Py_ssize_t, Py_ssize_t, void *, const double *,
                             double *) noexcept nogil
        void (*log_table)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                          Py_ssize_t, int, double *) noexcept nogil
        void (*bit_table)(const double *, const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                          Py_ssize_t, double *) noexcept nogil
        int (*pack)(const void *, int, Py_ssize_t, Py_ssize_t, uint32_t *,
                    uint32_t *) noexcept nogil
        void (*inspect)(const void *, int, Py_ssize_t, Py_ssize_t, const double *,
                        const discrete_contents *) noexcept nogil

    const discrete_ops *fastem_discrete_ops(int level, int is_double) noexcept nogil

ctypedef fused real:
    float
    double

NEVER = DISCRETE_NEVER

cdef Py_ssize_t MOST_CODED = 32 << 10       # numbers of a table kept as exponentials, too
cdef Py_ssize_t CHUNK_BYTES = 96 << 10      # of the responsibilities of a chunk,
cdef Py_ssize_t BITS_BYTES = 256 << 10      # of binary data,
cdef Py_ssize_t COUNTS_BYTES = 256 << 10    # or of its counts
cdef Py_ssize_t INSPECTED_BYTES = 256 << 10
cdef Py_ssize_t MOST_SERIAL = 100_000       # values that are looked at by one thread
cdef Py_ssize_t NEAR_BYTES = 256 << 10      # of a strip's sums: more are made for few strips,
cdef Py_ssize_t FAR_BYTES = 4 << 20         # and of lists a component at a time, for samples
cdef Py_ssize_t TURNED_BYTES = 16 << 20     # with so many responsibilities


cdef const discrete_ops *choose(Py_ssize_t n_components) noexcept:
    """Return the widest vectors that, below 32 components, add no more padding than narrower."""
    cdef int level = runtime.level()
    cdef const discrete_ops *wide = fastem_discrete_ops(level, 0)
    cdef const discrete_ops *narrow = fastem_discrete_ops(3, 0)
    if level == 4 and n_components < 32 and _up(n_components, narrow.lanes) < _up(
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


# ---- tables ----------------------------------------------------------------------------------


def log_table(values, bint failures=False, table=None, int n_threads=1):
    """Return the logarithms of values (K, T), or those of 1 - values, as (T, width).

    Equivalent to ``np.log(values).T`` or ``np.log1p(-values).T`` with columns of zeros; values are
    at least 0, and of failures at most 1. `table` is where they go, or None.
    """
    cdef const double[:, ::1] rows = np.ascontiguousarray(values)
    cdef Py_ssize_t k = rows.shape[0], n = rows.shape[1]
    cdef const discrete_ops *ops = choose(k)
    cdef Py_ssize_t wide = _up(k, ops.lanes), part
    cdef double[:, ::1] out
    if table is None:
        table = arrays.empty((n, wide), np.float64)
    if n == 0:
        return table
    out = table
    if k * n < MOST_SERIAL:
        n_threads = 1
    for part in prange((n + 511) // 512, nogil=True, num_threads=n_threads, schedule="static"):
        ops.log_table(&rows[0, 0], k, n, wide, 512 * part, min(512 * (part + 1), n), failures,
                      &out[0, 0])
    return table


def bit_table(const double[:, ::1] set_, const double[:, ::1] clear, Py_ssize_t n_components,
              int n_threads=1):
    """Return the kernel's table of bits, from what a set and a clear bit of each column add."""
    cdef const discrete_ops *ops = choose(n_components)
    cdef Py_ssize_t n = set_.shape[0], wide = set_.shape[1], nibbles = (n + 3) // 4, part
    table = arrays.empty((16 * nibbles, wide), np.float64)
    cdef double[:, ::1] out = table
    if n * wide < MOST_SERIAL:
        n_threads = 1
    for part in prange((nibbles + 63) // 64, nogil=True, num_threads=n_threads, schedule="static"):
        ops.bit_table(&set_[0, 0], &clear[0, 0], n, wide, 64 * part, min(64 * (part + 1), nibbles),
                      &out[0, 0])
    return table


# ---- the passes ------------------------------------------------------------------------------


cdef class Job:
    """A discrete_job, with the arrays that it points to kept alive."""

    cdef discrete_job c
    cdef const discrete_ops *ops
    cdef list held

    def __cinit__(
        self, data, Py_ssize_t n_samples, Py_ssize_t n_components, offset=None, table=None,
        bias=None, weights=None, only=None,
    ):
        """Hold a job; arrays must have been validated.

        Parameters
        ----------
        data : Lists, Codes, Bits or Counts
            See codes.py.
        n_samples, n_components : int
        offset : ndarray of shape (n,), or None
        table : ndarray of shape (n_rows, width), or of bits what bit_table() returns
            None, and the next two, where responsibilities are given.
        bias, weights : ndarray of shape (K,), float64
            Without weights the bias is all.
        only : ndarray of shape (m, 3), or None
            Of counts: a feature, a component, and the one value that is possible there.
        """
        memset(&self.c, 0, sizeof(discrete_job))
        self.held = []
        self.c.n_samples, self.c.n_components = n_samples, n_components
        self.ops = choose(n_components)
        self.c.width = _up(n_components, self.ops.lanes)
        self.c.n_rows = data.n_rows
        rows = CHUNK_BYTES // (8 * self.c.width)
        getattr(self, "take_" + data.form)(data)
        if self.c.form == DISCRETE_BITS:  # whose table is read anew for each chunk
            rows = BITS_BYTES // (8 * self.c.width)
        elif self.c.form == DISCRETE_COUNTS:
            rows = min(rows, COUNTS_BYTES // (8 * self.c.n_rows))
        rows = min(rows, DISCRETE_CHUNK, _up(n_samples, 32))  # no more scratch than these need
        self.c.chunk = max(32, rows // 32 * 32)
        if table is not None:
            self.c.bias = self.biases(bias, weights)
            self.c.table = <const double *> self.address(table)
        if offset is not None:
            self.c.offset = <const double *> self.address(offset)
        if only is not None:
            self.c.only, self.c.n_only = <const double *> self.address(only), len(only)

    cdef const double *biases(self, bias, weights) except NULL:
        """Return what log-probabilities begin with, (width,): bias + log(weights)."""
        cdef double *out = <double *> self.address(np.empty(self.c.width))
        cdef const double *weight = NULL
        cdef Py_ssize_t k
        bias = np.ascontiguousarray(bias)
        cdef const double *first = <const double *> address_of(bias)
        if weights is not None:
            weights = np.ascontiguousarray(weights)
            weight = <const double *> address_of(weights)
        for k in range(self.c.width):
            out[k] = first[k] if k < self.c.n_components else -INFINITY
            if weight != NULL and k < self.c.n_components:
                out[k] = out[k] + log(weight[k]) if weight[k] > 0 else -INFINITY
        return out

    def take_lists(self, data):
        """Hold entries."""
        self.c.form = DISCRETE_LISTS
        if data.begin is not None:
            self.c.begin = <const int64_t *> self.address(data.begin)
        elif self.c.n_samples:
            self.c.n_entries = data.index.shape[1]
        self.c.index = <const int32_t *> self.address(data.index)
        if data.value is not None:
            self.c.value = <const double *> self.address(data.value)

    def take_codes(self, data):
        """Hold codes of groups of features."""
        self.c.form, self.c.n_groups = DISCRETE_CODES, data.codes.shape[1]
        self.c.codes = <const uint8_t *> self.address(data.codes)
        self.c.first = <const int32_t *> self.address(data.first)

    def take_bits(self, data):
        """Hold bits, by sample and by column."""
        self.c.form, self.c.n_words = DISCRETE_BITS, data.bits.shape[1]
        self.c.n_columns = self.c.n_rows
        self.c.bits = <const uint32_t *> self.address(data.bits)
        if data.columns is not None:
            self.c.columns = <const uint32_t *> self.address(data.columns)

    def take_counts(self, data):
        """Hold counts, as bytes or as doubles."""
        self.c.form = DISCRETE_COUNTS
        if data.values.dtype == np.uint8:
            self.c.counts = <const uint8_t *> self.address(data.values)
            if data.constants is not None:
                self.c.constants = <const double *> self.address(data.constants)
                self.c.each_constant = data.constants.shape[1] if len(data.constants) > 1 else 0
        else:
            self.c.reals = <const double *> self.address(data.values)

    cdef void *address(self, array) except? NULL:
        self.held.append(array)
        return address_of(array)

    cdef read(self, total):
        """Return resp (K,) and sums (n_rows, K) of a pass."""
        table = total[: (self.c.n_rows + 1) * self.c.width].reshape(-1, self.c.width)
        table = table[:, : self.c.n_components]
        return table[self.c.n_rows].copy(), table[: self.c.n_rows]


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
        self.c.scratch_bytes = job.ops.emission_bytes(&job.c)
        self.c.sums_size = (job.c.n_rows + 1) * job.c.width
        self.c.log_prob, self.c.add = job.ops.emission_log_prob, job.ops.emission_add
        if job.c.form == DISCRETE_LISTS and job.c.n_entries == 1 and job.c.value == NULL:
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
        return (sums.sum(axis=0), sums) if sums.ndim == 2 else self.job.read(sums)


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
    n_sums = (job.c.n_rows + 1) * job.c.width + 1
    if job.c.value != NULL and job.c.begin != NULL and 8 * n_sums > FAR_BYTES:
        return _sums_by_component(job, sample_weight, n_threads)
    total = _run(job, sample_weight, n_threads, n_sums, job.c.n_samples)
    return (float(total[len(total) - 1]), *job.read(total))


cdef _sums_by_component(Job job, sample_weight, int n_threads):
    """Do what :func:`sums` does where a strip's sums would not fit the caches.

    Responsibilities of many samples are written by component, whose own sums do fit; each component
    is one thread's.
    """
    cdef discrete_job *c = &job.c
    cdef const discrete_ops *ops = job.ops
    cdef Py_ssize_t n = c.n_samples, n_comp = c.n_components, n_rows = c.n_rows
    cdef Py_ssize_t first, some, k, step
    cdef double bound = 0
    cdef int team
    step = max(1, TURNED_BYTES // (8 * n_comp) // c.chunk) * c.chunk
    step = min(step, _up(n, c.chunk))
    cdef double[:, ::1] turned = np.empty((n_comp, step + 8))  # columns apart in the cache
    cdef double[:, ::1] own = np.zeros((n_comp, n_rows))
    resp = np.zeros(n_comp)
    c.turned, c.turned_row = &turned[0, 0], turned.shape[1]
    for first in range(0, n, step):
        some = min(step, n - first)
        c.origin = first
        total = _run(job, sample_weight, n_threads, c.width + 1, some)
        resp += total[:n_comp]
        bound += total[c.width]
        team = max(1, min(n_threads, n_comp))
        for k in prange(n_comp, nogil=True, num_threads=team, schedule="dynamic", chunksize=1):
            ops.add_live(c, first, some, &turned[k, 0], &own[k, 0])
    c.turned, c.origin = NULL, 0
    return bound, resp, np.asarray(own).T


def given(Job job, responsibilities, sample_weight, int n_threads, Py_ssize_t first=0):
    """Return resp and sums as :func:`sums` does, under given responsibilities.

    They are the label of each sample, (n,) int64, -1 for those that do not count; or (m, K) of
    samples from `first` on.
    """
    if responsibilities.ndim == 1:
        job.c.given_labels = <const int64_t *> job.address(responsibilities)
    else:
        job.c.given, job.c.origin = <const double *> job.address(responsibilities), first
    n_sums = (job.c.n_rows + 1) * job.c.width + 1
    return job.read(_run(job, sample_weight, n_threads, n_sums, len(responsibilities)))


def rows(Job job, output, array, int n_threads):
    """Write what the parameters say of each sample: 'log_prob', 'responsibilities' or 'labels'."""
    if output == "log_prob":
        job.c.log_prob = <double *> job.address(array)
    elif output == "responsibilities":
        job.c.responsibilities = <double *> job.address(array)
    else:
        job.c.labels = <int64_t *> job.address(array)
    _run(job, None, n_threads, 0, job.c.n_samples)


cdef _run(Job job, sample_weight, int n_threads, Py_ssize_t n_sums, Py_ssize_t n_rows):
    """Run a pass over so many samples; return its sums."""
    cdef discrete_job *c = &job.c
    cdef double[::1] total = np.empty(max(1, n_sums))
    cdef fastem_pass one
    if sample_weight is not None:
        c.sample_weight = <const double *> job.address(sample_weight)
    memset(&one, 0, sizeof(one))
    one.job, one.step, one.n_rows, one.chunk = c, job.ops.chunk, n_rows, c.chunk
    one.n_sums, one.n_threads, one.scratch_bytes = n_sums, n_threads, job.ops.scratch_bytes(c)
    if 8 * n_sums > NEAR_BYTES:
        one.n_strips = LEAST_STRIPS
    one.work = _entries(c) * c.width * 0.2 + 8.0 * c.n_samples * c.width
    run(&one, &total[0])
    return np.asarray(total)


cdef double _entries(const discrete_job *c) noexcept:
    """Return how many rows of a table all samples add, about."""
    cdef Py_ssize_t n = c.n_samples
    if c.form == DISCRETE_CODES:
        return n * c.n_groups
    if c.form == DISCRETE_BITS:
        return n * c.n_columns / 4.0
    if c.form == DISCRETE_COUNTS:
        return n * c.n_rows
    return c.begin[n] if c.begin != NULL else n * c.n_entries


# ---- the data --------------------------------------------------------------------------------

include "data.pxi"
