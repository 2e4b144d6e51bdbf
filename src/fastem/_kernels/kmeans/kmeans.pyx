"""E-step of k-means: labels and the sums of each cluster's rows, one pass over the samples.

What happens to a chunk of rows is in kmeans/leaf.h, compiled for several instruction sets.
"""

from libc.math cimport INFINITY, fabs, sqrt
from libc.stdint cimport int32_t
from libc.string cimport memset

import numpy as np

from fastem._engine import arrays
from fastem._kernels import runtime

from fastem._kernels.address cimport address_of
from fastem._kernels.strips cimport fastem_pass, fastem_prepare, fastem_step, run, up, worth


cdef extern from "kmeans/job.h":
    ctypedef struct kmeans_job:
        const char *x
        Py_ssize_t x_row
        const void *origin
        const void *values
        const int32_t *columns
        const int32_t *row_begin
        const double *sample_weight
        Py_ssize_t n_samples, n_features, n_clusters
        const double *shift
        double scale
        int by_product
        const double *centers
        int32_t *labels
        int moves
        Py_ssize_t n_groups
        const int32_t *group
        int fresh
        float *upper
        float *lower
        const float *drift
        const float *group_drift
        const float *other_drift
        const float *gap
        double error
        int guarded
        float *margin
        const float *moved
        double *distance
        Py_ssize_t center_step, feature_step
        const double *norms
        double longest, reach
        Py_ssize_t width
        const float *screen
        const float *screen_norms
        int32_t *before
        double *sums
        Py_ssize_t sum_center_step, sum_feature_step
        const double *cluster_weights
        float *screen_out
        double *centers_out
        Py_ssize_t out_center_step, out_feature_step

    ctypedef struct kmeans_ops:
        Py_ssize_t (*tables_bytes)(const kmeans_job *) noexcept nogil
        fastem_prepare prepare
        Py_ssize_t (*scratch_bytes)(const kmeans_job *) noexcept nogil
        int (*keeps_margins)(const kmeans_job *) noexcept nogil
        fastem_step chunk, distances, chunk_about, distances_about
        fastem_step label_sparse, add_entries, screen_features, move_centers, turn_centers
        Py_ssize_t lanes

    enum:
        KMEANS_CHUNK, KMEANS_FEATURES

    const kmeans_ops *fastem_kmeans_ops(int level, int is_double) noexcept nogil


cdef double CLOSE = 1e-6  # relative: a shift so near to the tolerance might end a fit or not
cdef double SMALLEST_SCALE = 1e-90  # squares of unscaled shifts are normal numbers


cdef class Job:
    """A kmeans_job, with the arrays that it points to kept alive."""

    cdef kmeans_job c
    cdef const kmeans_ops *ops
    cdef list held
    cdef object centers  # (K, D) float64
    cdef bint single

    def __cinit__(
        self,
        X,                      # IN  (n, D) C-contiguous or CSR with int32, float32 or float64
        centers,                # IN  (K, D)
        shift,                  # IN  (D,) zeros for CSR
        double scale,           # IN  a power of 2
        sample_weight=None,     # IN  (n,)
        bint by_product=False,  # IN  of `assign`, on dense X: largest products, not distances
        origin=None,            # IN  (D,) of X's dtype, of dense X: the samples are X - origin
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
            self.c.width = up(self.c.n_clusters, self.ops.lanes)
            self.c.center_step, self.c.feature_step = self.c.n_features, 1
            self.c.reach = INFINITY
        else:
            self.c.x = <const char *> self.address(X)
            self.c.x_row = X.strides[0]
            if origin is not None:
                self.c.origin = self.address(np.ascontiguousarray(origin, X.dtype))
        self.c.shift = self.doubles(shift)
        self.c.scale, self.c.by_product = scale, by_product
        self.single = X.dtype == np.float32
        self.centers = np.ascontiguousarray(centers, dtype=np.float64)
        self.c.centers = self.doubles(self.centers)
        if sample_weight is not None:
            self.c.sample_weight = self.doubles(sample_weight)

    cdef fastem_step chunk(self) noexcept:
        """Return the step that assigns."""
        return self.ops.chunk if self.c.origin == NULL else self.ops.chunk_about

    cdef const double *doubles(self, array) except? NULL:
        return <const double *> self.address(np.ascontiguousarray(array, dtype=np.float64))

    cdef void *address(self, array) except? NULL:
        self.held.append(array)
        return address_of(array)


def work(Py_ssize_t n_samples, Py_ssize_t n_features, Py_ssize_t n_clusters):
    """Return how many nanoseconds `assign` takes on one thread, about."""
    return n_samples * n_clusters * (n_features + 4) / 15.0


def assign(Job job, labels, int n_threads, bint sums=False, bint moves=False, bounds=None,
           guard=None):
    """Find the nearest center of each sample, the first one of equals.

    Equivalent to, with d the squared distances (n, K)::

        labels[:] = d.argmin(axis=1);  changed = (labels != labels_before).sum()
        rows[k] = w[labels == k] @ X[labels == k];  weight[k] = w[labels == k].sum()

    Parameters
    ----------
    job : Job
    labels : ndarray of shape (n,), int32
        The labels so far, -1 for none; are written.
    n_threads : int
    sums : bool, default=False
        Whether to sum rows.
    moves : bool, default=False
        Whether the sums are the changes since the labels so far.
    bounds : dict or None
        Arrays by name, see kmeans/job.h: rows whose label they decide are passed over. `upper` and
        `lower` are written. Needs `moves`.
    guard : float or None
        Scaled squared distances that differ by no more might be equal. Needs `sums`, and dense X.

    Returns
    -------
    rows : ndarray of shape (K, D), float64, or None
    weight : ndarray of shape (K,), float64, or None
    changed : int, or None
    searched : int, or None
        With bounds, how many pairs of a row and a group of centers they left open.
    open : int, or None
        With a guard, of how many rows the nearest two centers might be equally near.
    """
    cdef kmeans_job *c = &job.c
    cdef Py_ssize_t k = c.n_clusters, d = c.n_features
    c.labels = <int32_t *> job.address(labels)
    c.moves = moves
    if bounds is not None:
        c.n_groups = len(bounds["group_drift"])
        c.group = <const int32_t *> job.address(bounds["group"])
        c.fresh, c.error = bounds["fresh"], bounds["error"]
        c.upper = <float *> job.address(bounds["upper"])
        c.lower = <float *> job.address(bounds["lower"])
        c.drift = <const float *> job.address(bounds["drift"])
        c.group_drift = <const float *> job.address(bounds["group_drift"])
        c.other_drift = <const float *> job.address(bounds["other_drift"])
        c.gap = <const float *> job.address(bounds["gap"])
    c.guarded = guard is not None
    if c.guarded:
        c.error = max(c.error, <double> guard)
    if c.x == NULL:
        return _assign_sparse(job, n_threads, sums)
    total = _run(job, job.chunk(), n_threads, work(c.n_samples, d, k),
                 k * (d + 1) + 3 if sums else 0)
    if not sums:
        return None, None, None, None, None
    changed, searched, open_ = map(int, total[k * (d + 1) :].tolist())
    return total[: k * d].reshape(k, d), total[k * d : k * (d + 1)], changed, searched, open_


def distances(Job job, labels, int n_threads, out=None):
    """Return the sum of the samples' weighted squared distances to the centers of their labels.

    Equivalent to ``out = ((X - centers[labels]) ** 2).sum(axis=1); w @ out``; `out` is of shape
    (n,) and float64, or None.
    """
    job.c.labels = <int32_t *> job.address(labels)
    if out is not None:
        job.c.distance = <double *> job.address(out)
    if job.c.x == NULL:
        _measure_centers(job, n_threads)
    cdef double nanoseconds = 0.2 * job.c.n_samples * (job.c.n_features + 4)
    cdef fastem_step step
    step = job.ops.distances if job.c.origin == NULL else job.ops.distances_about
    return float(_run(job, step, n_threads, nanoseconds, 1)[0])


cdef _run(Job job, fastem_step step, int n_threads, double nanoseconds, Py_ssize_t n_sums):
    """Run a pass over the samples; return its sums."""
    cdef double[::1] total = np.empty(max(1, n_sums))
    _pass(job, step, n_threads, nanoseconds, n_sums, &total[0])
    return np.asarray(total)


cdef int _pass(Job job, fastem_step step, int n_threads, double nanoseconds, Py_ssize_t n_sums,
               double *total) except -1:
    cdef const kmeans_ops *ops = job.ops
    cdef fastem_pass one
    memset(&one, 0, sizeof(one))
    one.job, one.step, one.n_rows, one.chunk = &job.c, step, job.c.n_samples, KMEANS_CHUNK
    one.n_sums, one.scratch_bytes = n_sums, ops.scratch_bytes(&job.c)
    one.n_threads, one.work = n_threads, nanoseconds
    one.tables_bytes = ops.tables_bytes(&job.c)
    if one.tables_bytes:
        one.prepare, one.n_parts = ops.prepare, 1
    one.looks = 8  # with few features a look at the clock is a fiftieth of the time of a chunk
    return run(&one, total)


def inertia(
    double squares,                 # IN  sum of w |x|^2
    const double[:, ::1] rows,      # IN  (K, D) sums of each cluster's rows
    const double[::1] weights,      # IN  (K,) its weight
    const double[:, ::1] centers,   # IN  (K, D)
):
    """Return sum w |x - c|^2 = sum w |x|^2 - 2 c . rows + W |c|^2."""
    return _inertia(squares, &rows[0, 0], &weights[0], &centers[0, 0], rows.shape[0], rows.shape[1])


cdef double _inertia(double squares, const double *rows, const double *weights,
                     const double *centers, Py_ssize_t k, Py_ssize_t d) noexcept nogil:
    cdef double cross = 0, own = 0, norm
    cdef Py_ssize_t j, i
    for j in range(k):
        norm = 0
        for i in range(d):
            cross += centers[j * d + i] * rows[j * d + i]
            norm += centers[j * d + i] * centers[j * d + i]
        own += weights[j] * norm
    return squares - 2 * cross + own


def shift(const double[:, ::1] before, const double[:, ::1] after):
    """Return the sum of the squared differences."""
    return _shift(&before[0, 0], &after[0, 0], before.shape[0] * before.shape[1])


cdef double _shift(const double *before, const double *after, Py_ssize_t n) noexcept nogil:
    cdef double sum = 0
    cdef Py_ssize_t i
    for i in range(n):
        sum += (after[i] - before[i]) * (after[i] - before[i])
    return sum


cdef double _longest(const double *centers, Py_ssize_t k, Py_ssize_t d) noexcept nogil:
    """Return the largest length of a center."""
    cdef double far = 0, norm
    cdef Py_ssize_t j, i
    for j in range(k):
        norm = 0
        for i in range(d):
            norm += centers[j * d + i] * centers[j * d + i]
        far = max(far, norm)
    return sqrt(far)


cdef void _shrink(const double *before, const double *after, Py_ssize_t k, Py_ssize_t d,
                  double scale, float *moved) noexcept nogil:
    """Write by how much the margin of each center's rows may have shrunk: see margins.h."""
    cdef double farthest = 0, second = 0, drift
    cdef Py_ssize_t j, first = 0
    for j in range(k):
        drift = scale * sqrt(_shift(before + j * d, after + j * d, d))
        moved[j] = <float> drift
        if drift > farthest:
            farthest, second, first = drift, farthest, j
        else:
            second = max(second, drift)
    for j in range(k):
        drift = moved[j] + (second if j == first else farthest)
        moved[j] = <float> (drift * 1.000001 + 1e-37)  # rounded up


def lloyd(
    Job job,                    # IN     with the first centers
    labels,                     # INOUT  (n,) int32
    double squares,             # IN     sum of w |x|^2
    double total_weight,        # IN     by which bounds are divided
    double tol,                 # IN     of the sum of squared shifts
    int max_iter,               # IN
    double share,               # IN     of labels: if fewer change, only these rows are summed
    double roundings,           # IN     the guard of `assign` for centers at 0
    bint guarded,               # IN     whether to end where rounding might decide a label
    double length,              # IN     largest length of a row, for the guard
    int n_threads,              # IN
):
    """Run k-means until it converges; on weights that are not negative.

    Equivalent to the E-steps and M-steps that `fastem.em` makes, to the last bit.

    Returns
    -------
    centers : ndarray of shape (K, D), float64
        Rounded to the data's dtype; None in place of all if a cluster has lost its weight.
    n_changed : int
        Of the last E-step's labels.
    lower_bounds : list of float
    converged : bool
    n_open : int
        With a guard: how many labels, or the end itself, it left open, in the last iteration, which
        then has no M-step.

    Raises
    ------
    KeyboardInterrupt
        With an attribute ``reached``: the first three, as the last whole iteration left them.
    """
    cdef kmeans_job *c = &job.c
    cdef Py_ssize_t k = c.n_clusters, d = c.n_features, size = k * (d + 1), j, i
    cdef double[:, ::1] now = np.array(job.centers), after = np.empty((k, d))
    cdef double[::1] total = np.empty(size + 3), kept = np.zeros(size)
    cdef double changed = c.n_samples, moved, bound
    cdef float[::1] shrunk
    cdef bint converged = False
    cdef double whole = work(c.n_samples, d, k), nanoseconds = whole
    lower_bounds = []
    c.labels = <int32_t *> job.address(labels)
    c.guarded = guarded
    if SMALLEST_SCALE < c.scale < 1 / SMALLEST_SCALE and job.ops.keeps_margins(c):
        shrunk = np.empty(k, np.float32)
        c.margin = <float *> job.address(np.empty(c.n_samples, np.float32))
    while len(lower_bounds) < max_iter and not converged:
        c.centers = &now[0, 0]
        c.moves = changed < share * c.n_samples
        if guarded or c.margin != NULL:
            bound = 1 + _longest(&now[0, 0], k, d) / length if length > 0 else 0
            c.error = roundings * bound * bound
        try:
            _pass(job, job.chunk(), n_threads, nanoseconds, size + 3, &total[0])
        except KeyboardInterrupt as interrupt:
            interrupt.reached = np.asarray(now), int(changed), lower_bounds
            raise
        changed = total[size]
        for i in range(size):
            kept[i] = kept[i] + total[i] if c.moves else total[i]
        for j in range(k):
            if not kept[k * d + j] > 0:
                return None
        if guarded and total[size + 2] > 0:
            return np.asarray(now), int(changed), lower_bounds, False, int(total[size + 2])
        bound = _inertia(squares, &kept[0], &kept[k * d], &now[0, 0], k, d)
        lower_bounds.append(-max(0.0, bound) / total_weight)
        for j in range(k):
            for i in range(d):
                after[j, i] = kept[j * d + i] / kept[k * d + j]
                if job.single:
                    after[j, i] = <double> <float> after[j, i]
        if c.margin != NULL:
            _shrink(&now[0, 0], &after[0, 0], k, d, c.scale, &shrunk[0])
            c.moved = &shrunk[0]
            nanoseconds = whole * (0.1 + total[size + 1] / c.n_samples)
        moved = _shift(&now[0, 0], &after[0, 0], k * d)
        now, after = after, now
        converged = changed == 0 or moved <= tol
        if guarded and changed > 0 and fabs(moved - tol) <= CLOSE * tol:
            return np.asarray(now), int(changed), lower_bounds, False, 1
    return np.asarray(now), int(changed), lower_bounds, converged, 0


include "sparse.pxi"
