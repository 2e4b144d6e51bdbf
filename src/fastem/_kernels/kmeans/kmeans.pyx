"""E-step of k-means: labels and the sums of each cluster's rows, one pass over the samples.

Algorithm: rows are split by position into strips; a strip walks its rows a chunk at a time, and
adds each row to sums of its own, in doubles; the strips' sums are then added in order. Strips and
chunks depend on shapes alone, so the bits of the result do not depend on the threads. What happens
within a chunk is in kmeans/leaf.h, compiled for several instruction sets.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, uintptr_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.omp cimport (
    fastem_buffers, fastem_free_buffers, fastem_interrupted, omp_get_thread_num, omp_get_wtime,
    raise_pending,
)


cdef extern from "kmeans/job.h":
    ctypedef struct kmeans_job:
        const char *x
        Py_ssize_t x_row
        const void *values
        const int32_t *columns
        const int32_t *row_begin
        const double *sample_weight
        Py_ssize_t n_samples, n_features, n_clusters
        const double *shift
        double scale
        const double *centers
        const int32_t *old_labels
        int32_t *labels
        int moves
        Py_ssize_t n_groups
        const int32_t *group
        const float *old_upper
        const float *old_lower
        int fresh
        float *upper
        float *lower
        const float *drift
        const float *group_drift
        const float *other_drift
        const float *gap
        double error
        double *distance
        const void *tables

    ctypedef void (*kmeans_step)(const kmeans_job *, Py_ssize_t, Py_ssize_t, void *,
                                 double *) noexcept nogil

    ctypedef struct kmeans_ops:
        const char *name
        Py_ssize_t (*tables_bytes)(const kmeans_job *) noexcept nogil
        void (*prepare)(const kmeans_job *, void *) noexcept nogil
        Py_ssize_t (*scratch_bytes)(const kmeans_job *) noexcept nogil
        kmeans_step chunk
        kmeans_step distances

    enum:
        KMEANS_CHUNK

    const kmeans_ops *fastem_kmeans_ops(int level, int is_double) noexcept nogil

cdef Py_ssize_t MOST_STRIPS = 64, LEAST_STRIPS = 4, STRIP_BYTES = 6 << 20


cdef class Job:
    """A kmeans_job, with the arrays that it points to kept alive."""

    cdef kmeans_job c
    cdef const kmeans_ops *ops
    cdef list held

    def __cinit__(
        self,
        X,                      # IN  (n, D) C-contiguous or CSR with int32, float32 or float64
        centers,                # IN  (K, D)
        shift,                  # IN  (D,) zeros for CSR
        double scale,           # IN  a power of 2
        sample_weight=None,     # IN  (n,)
    ):
        """Hold a job; arrays must have been validated."""
        memset(&self.c, 0, sizeof(kmeans_job))
        self.held = []
        self.ops = fastem_kmeans_ops(runtime.level(), X.dtype == np.float64)
        self.c.n_samples, self.c.n_features = X.shape
        self.c.n_clusters = centers.shape[0]
        if hasattr(X, "indptr"):
            self.c.values = self.address(X.data)
            self.c.columns = <const int32_t *> self.address(X.indices)
            self.c.row_begin = <const int32_t *> self.address(X.indptr)
        else:
            self.c.x = <const char *> self.address(X)
            self.c.x_row = X.strides[0]
        self.c.shift = self.doubles(shift)
        self.c.scale = scale
        self.c.centers = self.doubles(centers)
        if sample_weight is not None:
            self.c.sample_weight = self.doubles(sample_weight)

    cdef const double *doubles(self, array) except? NULL:
        return <const double *> self.address(np.ascontiguousarray(array, dtype=np.float64))

    cdef void *address(self, array):
        self.held.append(array)
        return <void *> <uintptr_t> array.__array_interface__["data"][0]


def assign(
    Job job, old_labels, labels, int n_threads, bint sums=False, bint moves=False, bounds=None
):
    """Find the nearest center of each sample, the first one of equals.

    Equivalent to, with d the squared distances (n, K)::

        labels[:] = d.argmin(axis=1);  changed = (labels != old_labels).sum()
        rows[k] = w[labels == k] @ X[labels == k];  weight[k] = w[labels == k].sum()

    Parameters
    ----------
    job : Job
    old_labels : ndarray of shape (n,), int32
        The labels so far, -1 for none.
    labels : ndarray of shape (n,), int32
        Is written; without bounds it may be the same array.
    n_threads : int
    sums : bool, default=False
        Whether to sum rows.
    moves : bool, default=False
        Whether the sums are the changes since the labels so far.
    bounds : dict or None
        Arrays by name, see kmeans/job.h: rows whose label they decide are passed over. The old ones
        are None if there are none so far. Needs `moves`.

    Returns
    -------
    rows : ndarray of shape (K, D), float64, or None
    weight : ndarray of shape (K,), float64, or None
    changed : int, or None
    searched : int, or None
        With bounds, how many pairs of a row and a group of centers they left open.
    """
    cdef kmeans_job *c = &job.c
    cdef Py_ssize_t k = c.n_clusters, d = c.n_features
    c.old_labels = <const int32_t *> job.address(old_labels)
    c.labels = <int32_t *> job.address(labels)
    c.moves = moves
    if bounds is not None:
        c.n_groups = len(bounds["group_drift"])
        c.group = <const int32_t *> job.address(bounds["group"])
        c.upper = <float *> job.address(bounds["upper"])
        c.lower = <float *> job.address(bounds["lower"])
        c.fresh = bounds["old_upper"] is None
        if not c.fresh:
            c.old_upper = <const float *> job.address(bounds["old_upper"])
            c.old_lower = <const float *> job.address(bounds["old_lower"])
        c.drift = <const float *> job.address(bounds["drift"])
        c.group_drift = <const float *> job.address(bounds["group_drift"])
        c.other_drift = <const float *> job.address(bounds["other_drift"])
        c.gap = <const float *> job.address(bounds["gap"])
        c.error = bounds["error"]
    total = _run(job, job.ops.chunk, n_threads, k * (d + 1) + 2 if sums else 0)
    if not sums:
        return None, None, None, None
    changed, searched = total[k * (d + 1) :].tolist()
    return total[: k * d].reshape(k, d), total[k * d : k * (d + 1)], int(changed), int(searched)


def distances(Job job, labels, int n_threads, out=None):
    """Return the sum of the samples' weighted squared distances to the centers of their labels.

    Equivalent to ``out = ((X - centers[labels]) ** 2).sum(axis=1); w @ out``; `out` is of shape
    (n,) and float64, or None.
    """
    job.c.labels = <int32_t *> job.address(labels)
    if out is not None:
        job.c.distance = <double *> job.address(out)
    return float(_run(job, job.ops.distances, n_threads, 1)[0])


cdef Py_ssize_t _up(Py_ssize_t n, Py_ssize_t to) noexcept:
    """Return the smallest multiple of `to` that is at least n."""
    return (n + to - 1) // to * to


cdef _run(Job job, kmeans_step step, int n_threads, Py_ssize_t size):
    """Run all strips; return the sum of their `size` sums, added in order."""
    cdef kmeans_job *c = &job.c
    cdef const kmeans_ops *ops = job.ops
    cdef Py_ssize_t n_chunks = _up(c.n_samples, KMEANS_CHUNK) // KMEANS_CHUNK, strip
    cdef Py_ssize_t n_strips = MOST_STRIPS, width = _up(size, 16)
    cdef Py_ssize_t scratch_bytes = ops.scratch_bytes(c), tables_bytes = ops.tables_bytes(c)
    cdef double clock = omp_get_wtime()
    cdef int stop = 0
    cdef char *scratch
    cdef char *tables
    if size:
        n_strips = max(LEAST_STRIPS, min(MOST_STRIPS, STRIP_BYTES // (8 * width)))
    n_strips = max(1, min(n_strips, n_chunks))
    n_threads = max(1, min(n_threads, n_strips))
    sums = np.zeros((n_strips, width))
    cdef double[:, ::1] strips = sums
    scratch = fastem_buffers(n_threads, &scratch_bytes)
    tables = fastem_buffers(1, &tables_bytes)
    if scratch == NULL or tables == NULL:
        fastem_free_buffers(scratch)
        fastem_free_buffers(tables)
        raise MemoryError(f"no {n_threads * scratch_bytes + tables_bytes} bytes for buffers")
    ops.prepare(c, tables)
    c.tables = tables
    try:
        for strip in prange(n_strips, nogil=True, num_threads=n_threads, schedule="dynamic",
                            chunksize=1):
            _strip(c, step, n_chunks * strip // n_strips, n_chunks * (strip + 1) // n_strips,
                   scratch + omp_get_thread_num() * scratch_bytes,
                   &strips[strip, 0] if size else NULL, &stop, &clock)
    finally:
        fastem_free_buffers(scratch)
        fastem_free_buffers(tables)
    if stop:
        raise_pending()
    total = sums[0]
    for strip in range(1, n_strips):
        total += sums[strip]
    return total[:size].copy()  # no view: the strips' sums are large


cdef void _strip(
    const kmeans_job *job,
    kmeans_step step,
    Py_ssize_t first,           # IN     first chunk
    Py_ssize_t last,            # IN     one past the last chunk
    char *scratch,              # INOUT  this thread's buffers
    double *sums,               # INOUT  this strip's sums, or NULL
    int *stop,                  # INOUT  set by an interrupt
    double *clock,              # INOUT  time of the last look for an interrupt
) noexcept nogil:
    cdef Py_ssize_t chunk, begin
    for chunk in range(first, last):
        if stop[0]:
            return
        begin = chunk * KMEANS_CHUNK
        step(job, begin, min(<Py_ssize_t> KMEANS_CHUNK, job.n_samples - begin), scratch, sums)
        # With few features a look at the clock is a fiftieth of the time of a chunk.
        if chunk % 8 == 0 and fastem_interrupted(clock):
            stop[0] = 1
