"""E-step of truncated EM: each row compares the few components that it keeps, and some others.

What happens to a chunk of rows is in truncated/leaf.h, compiled for several instruction sets.
"""

from libc.stdint cimport int32_t, uint64_t, uintptr_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.strips cimport fastem_pass, fastem_step, run


cdef extern from "truncated/job.h":
    ctypedef struct truncated_table:
        Py_ssize_t n
        const void *coef
        const void *log_norm

    ctypedef struct truncated_job:
        const char *x
        Py_ssize_t x_row, x_column
        const void *shift
        const void *unit
        const double *sample_weight
        Py_ssize_t n_samples, n_features, wide
        truncated_table components, groups
        const int32_t *near
        const int32_t *tried
        Py_ssize_t n_kept, n_near, n_groups_searched
        const int32_t *members
        const int32_t *ends
        uint64_t seed
        int hard
        const int32_t *before
        int32_t *after

    ctypedef struct truncated_ops:
        Py_ssize_t lanes
        Py_ssize_t (*scratch_bytes)(const truncated_job *) noexcept nogil
        fastem_step begin, chunk, meet

    enum:
        TRUNCATED_MOST_KEPT

    Py_ssize_t truncated_component(const truncated_job *) noexcept nogil
    const truncated_ops *fastem_truncated_ops(int level, int is_double) noexcept nogil

MOST_KEPT = TRUNCATED_MOST_KEPT
cdef Py_ssize_t ROWS = 256  # of a chunk


def work(Py_ssize_t n_samples, Py_ssize_t n_features):
    """Return how many nanoseconds a pass takes on one thread, about."""
    return n_samples * (100.0 + 6 * n_features)


cdef class Job:
    """A truncated_job, with the arrays that it points to kept alive."""

    cdef truncated_job c
    cdef const truncated_ops *ops
    cdef list held
    cdef object dtype
    cdef int n_threads

    def __cinit__(
        self,
        X,                      # IN  (n, D) float32 or float64, any strides
        shift, unit,            # IN  (D,) the job's coordinates are (x - shift) * unit
        scale, offset,          # IN  (K, D) y = x scale - offset in these coordinates
        log_norm,               # IN  (K,)
        int n_threads,
    ):
        """Hold a job; arrays must have been validated."""
        memset(&self.c, 0, sizeof(truncated_job))
        self.held, self.n_threads, self.dtype = [], n_threads, X.dtype
        self.ops = fastem_truncated_ops(runtime.level(), X.dtype == np.float64)
        self.c.n_samples, self.c.n_features = X.shape
        self.c.wide = (X.shape[1] + self.ops.lanes - 1) // self.ops.lanes * self.ops.lanes
        self.c.x = <const char *> self.address(X)
        self.c.x_row, self.c.x_column = X.strides
        self.c.shift = self.address(np.ascontiguousarray(shift, X.dtype))
        self.c.unit = self.address(np.ascontiguousarray(unit, X.dtype))
        self.fill(&self.c.components, scale, offset, log_norm)

    cdef void *address(self, array):
        self.held.append(array)
        return <void *> <uintptr_t> array.__array_interface__["data"][0]

    def padded(self, array):
        """Return an array of the data's type, with zeros beyond the features."""
        wide = np.zeros(array.shape[: array.ndim - 1] + (self.c.wide,), self.dtype)
        wide[..., : self.c.n_features] = array
        return wide

    cdef int fill(self, truncated_table *table, scale, offset, log_norm) except -1:
        table.n = len(scale)
        table.coef = self.address(self.padded(np.stack([scale, offset], axis=1)))
        table.log_norm = self.address(np.ascontiguousarray(log_norm, self.dtype))
        return 0

    cdef object go(self, fastem_step step, Py_ssize_t n_sums):
        cdef fastem_pass one
        cdef double[::1] sums = np.empty(max(1, n_sums))
        memset(&one, 0, sizeof(one))
        one.job, one.step = &self.c, step
        one.n_rows, one.chunk, one.n_sums = self.c.n_samples, ROWS, n_sums
        one.scratch_bytes = self.ops.scratch_bytes(&self.c)
        one.n_threads, one.work = self.n_threads, work(self.c.n_samples, self.c.n_features)
        run(&one, &sums[0])
        return np.asarray(sums)

    def begin(self, centers, scale, members, ends, Py_ssize_t n_searched, Py_ssize_t n_kept):
        """Return the best components of the groups that are nearest to each row, (n, n_kept) int32.

        Parameters
        ----------
        centers, scale : ndarray of shape (groups, D) and (D,)
            Rows' distances are those of x scale.
        members : ndarray of shape (K,), int32
            Components, group by group.
        ends : ndarray of shape (groups + 1,), int32
            Where each group's begin.
        n_searched : int
            How many groups are searched.
        n_kept : int
            At most K and MOST_KEPT.
        """
        kept = np.empty((self.c.n_samples, n_kept), np.int32)
        scales = np.broadcast_to(scale, centers.shape)
        self.fill(&self.c.groups, scales, centers * scale, np.zeros(len(centers)))
        self.c.members = <const int32_t *> self.address(members)
        self.c.ends = <const int32_t *> self.address(ends)
        self.c.n_groups_searched = min(n_searched, len(centers))
        self.c.n_kept, self.c.after = n_kept, <int32_t *> self.address(kept)
        self.go(self.ops.begin, 0)
        return kept

    def moments(self, kept, tried, near, sample_weight, bint hard):
        """Find better components for each row, and sum the moments of those it keeps.

        Parameters
        ----------
        kept : ndarray of shape (n, C), int32
        tried : ndarray of shape (n,), int32, or None
            The component, what is near to which each row compares. None: the kept ones stay.
        near : ndarray of shape (K, G), int32
        sample_weight : ndarray of shape (n,), float64, or None
        hard : bool
            Whether the best one's responsibility is 1.

        Returns
        -------
        bound : float
            Sum of sample_weight * log of the kept ones' densities.
        weight, first, second : ndarrays of shape (K,), (K, D), (K, D)
            sum r, sum r y, sum r y^2.
        kept : ndarray of shape (n, C), int32
            The best ones, in order.
        """
        after = np.empty_like(kept)
        cdef Py_ssize_t k = self.c.components.n, d = self.c.n_features
        cdef Py_ssize_t size = truncated_component(&self.c)
        self.c.n_kept, self.c.hard = kept.shape[1], hard
        self.c.before = <const int32_t *> self.address(kept)
        self.c.after = <int32_t *> self.address(after)
        if tried is not None:
            self.c.tried = <const int32_t *> self.address(tried)
            self.c.near, self.c.n_near = <const int32_t *> self.address(near), near.shape[1]
        if sample_weight is not None:
            self.c.sample_weight = <const double *> self.address(sample_weight)
        sums = self.go(self.ops.chunk, k * size + 8)
        table = sums[: k * size].reshape(k, size)
        wide = self.c.wide
        first, second = table[:, :d].copy(), table[:, wide : wide + d].copy()
        return float(sums[k * size]), table[:, 2 * wide].copy(), first, second, after

    def meet(self, near, uint64_t seed):
        """Return the components nearest to each one, of those near to its `near`.

        Rows are the components' means, near (K, G) int32 with each component first, G at most
        MOST_KEPT; returns the same.
        """
        after = np.empty_like(near)
        self.c.seed, self.c.n_near = seed, near.shape[1]
        self.c.near = <const int32_t *> self.address(near)
        self.c.after = <int32_t *> self.address(after)
        self.go(self.ops.meet, 0)
        return after
