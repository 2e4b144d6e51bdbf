"""k-means++ with several trials a step, one pass over the samples for all trials of a step.

Blocks of rows have sums of their own, which are added in order. What happens within a block is in
seeding/leaf.h, compiled for several instruction sets.
"""

from libc.math cimport INFINITY
from libc.stdint cimport uint32_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.address cimport address_of
from fastem._kernels.strips cimport fastem_pass, fastem_step, run


cdef extern from "seeding/job.h":
    ctypedef struct seeding_job:
        const char *x
        Py_ssize_t x_row
        const void *origin
        const double *shift
        double scale
        const double *weight
        Py_ssize_t n_samples, n_features
        float *panels
        double margin
        void *closest
        float *threshold
        double *sums
        Py_ssize_t width
        double *trial
        float *coef
        float *half_norm
        uint32_t *hits
        double *gain
        Py_ssize_t chosen
        void *preview

    ctypedef struct seeding_ops:
        Py_ssize_t panel
        void (*center)(const seeding_job *, Py_ssize_t, double *) noexcept nogil
        fastem_step pack, begin, measure, take, preview

    enum:
        SEEDING_BLOCK

    const seeding_ops *fastem_seeding_ops(int level, int is_double) noexcept nogil


cdef class Seeding:
    """The state of k-means++: how far each sample is from the centers so far.

    Attributes
    ----------
    closest : ndarray of shape (n,), of the data's dtype
        Squared distance of each sample to its nearest center, times the square of `scale`.
    width : int
        How many trials there is room for.
    """

    cdef seeding_job c
    cdef const seeding_ops *ops
    cdef Py_ssize_t n_blocks
    cdef int n_threads
    cdef bint single
    cdef list held
    cdef readonly object closest
    cdef readonly Py_ssize_t width
    cdef object half_norm, coef, trial, gain, sums

    def __init__(
        self,
        X,                      # IN  (n, D) C-contiguous, float32 or float64
        shift,                  # IN  (D,)
        double scale,           # IN  a power of 2, times which the longest row is about 1 long
        weight,                 # IN  (n,) float64, or None
        Py_ssize_t n_trials,    # IN  at most so many at once
        double margin,          # IN  by which products in float32 may be off
        int n_threads,
        bint keep,              # IN  whether to keep the samples in float32, which is faster
        origin=None,            # IN  (D,) of X's dtype: the samples are X - origin
    ):
        """Take samples that have been validated."""
        cdef Py_ssize_t n = X.shape[0], d = X.shape[1], width = (n_trials + 3) // 4 * 4, n_panels
        self.held = []
        self.width = width
        self.n_threads = n_threads
        self.single = X.dtype == np.float32
        self.ops = fastem_seeding_ops(runtime.level(), not self.single)
        self.n_blocks = (n + SEEDING_BLOCK - 1) // SEEDING_BLOCK
        n_panels = (n + self.ops.panel - 1) // self.ops.panel
        memset(&self.c, 0, sizeof(seeding_job))
        self.c.n_samples, self.c.n_features, self.c.width = n, d, width
        self.c.x = <const char *> self.address(X)
        self.c.x_row = X.strides[0]
        if origin is not None:
            self.c.origin = self.address(np.ascontiguousarray(origin, X.dtype))
        self.c.shift = <const double *> self.address(np.ascontiguousarray(shift, np.float64))
        self.c.scale, self.c.margin = scale, margin
        if weight is not None:
            self.c.weight = <const double *> self.address(weight)
        self.closest = np.empty(n, X.dtype)
        self.trial = np.zeros((width, d))
        self.coef = np.zeros((d, width), np.float32)
        self.half_norm = np.empty(width, np.float32)
        self.gain = np.empty((self.n_blocks, width))
        self.sums = np.empty(self.n_blocks)
        self.c.closest = self.address(self.closest)
        self.c.trial = <double *> self.address(self.trial)
        self.c.coef = <float *> self.address(self.coef)
        self.c.half_norm = <float *> self.address(self.half_norm)
        self.c.gain = <double *> self.address(self.gain)
        self.c.sums = <double *> self.address(self.sums)
        self.c.threshold = <float *> self.address(np.empty(n_panels * self.ops.panel, np.float32))
        self.c.hits = <uint32_t *> self.address(np.empty((n_panels, width), np.uint32))
        if keep:
            self.c.panels = <float *> self.address(
                np.empty(n_panels * self.ops.panel * d, np.float32)
            )
            self.each(self.ops.pack, 1.0 * n * d)

    cdef void *address(self, array) except? NULL:
        self.held.append(array)
        return address_of(array)

    def begin(self, Py_ssize_t row):
        """Make a sample the first center; return the sum of weighted squared distances."""
        self.ops.center(&self.c, row, self.c.trial)
        self.each(self.ops.begin, 0.5 * self.c.n_samples * (self.c.n_features + 8))
        return self.total()

    def draw(self, targets, double tolerance):
        """Return the first sample up to which the sum of closest distances reaches each target.

        None if a target is nearer than `tolerance` to where the next or the last sample is reached.
        """
        cdef const double *weight = self.c.weight
        cdef const double *closest = <const double *> self.c.closest
        cdef double[::1] sums = self.sums
        cdef double target, before, after
        cdef Py_ssize_t block, row, end
        rows = []
        for target in targets:
            before = 0
            block = 0
            while block + 1 < self.n_blocks and before + sums[block] < target:
                before += sums[block]
                block += 1
            row = block * SEEDING_BLOCK
            end = min(row + SEEDING_BLOCK, self.c.n_samples)
            after = before + closest[row] * (weight[row] if weight != NULL else 1)
            while after < target and row + 1 < end:
                before = after
                row += 1
                after += closest[row] * (weight[row] if weight != NULL else 1)
            if target - before < tolerance or after - target < tolerance:
                return None
            rows.append(row)
        return rows

    def draw_single(self, targets):
        """Return the same as NumPy finds it in ``cumsum(weight * closest)``, all in float32."""
        cdef const double *weight = self.c.weight
        cdef const float *closest = <const float *> self.c.closest
        cdef float sum = closest[0] * (<float> weight[0] if weight != NULL else 1)
        cdef Py_ssize_t row = 0, last = self.c.n_samples - 1, place
        cdef double target
        rows = [0] * len(targets)
        for place in np.argsort(targets).tolist():
            target = targets[place]
            while sum < target and row < last:
                row += 1
                sum += closest[row] * (<float> weight[row] if weight != NULL else 1)
            rows[place] = row
        return rows

    def measure(self, rows):
        """Return the sum of distances that would be left with each of some samples as a center."""
        cdef Py_ssize_t place, i, d = self.c.n_features
        cdef double half, value
        for place in range(self.c.width):
            self.c.half_norm[place] = INFINITY
        for place, row in enumerate(rows):
            self.ops.center(&self.c, row, self.c.trial + place * d)
            half = 0
            for i in range(d):
                value = (self.c.trial[place * d + i] - self.c.shift[i]) * self.c.scale
                self.c.coef[i * self.c.width + place] = <float> value
                half += 0.5 * value * value
            self.c.half_norm[place] = <float> half
        self.each(self.ops.measure, self.work())
        total = self.total()
        return [total - gain for gain in self.gain.sum(axis=0)[: len(rows)].tolist()]

    def preview(self, Py_ssize_t trial, out):
        """Write the closest distances as they would be with a trial, (n,) of the data's dtype."""
        self.c.chosen = trial
        self.c.preview = address_of(out)
        self.each(self.ops.preview, 0.2 * self.c.n_samples)

    def take(self, Py_ssize_t trial):
        """Make a trial a center; return the sum that is left."""
        self.c.chosen = trial
        self.each(self.ops.take, 0.2 * self.c.n_samples)
        return self.total()

    cdef total(self):
        return float(self.sums.sum())

    cdef double work(self) noexcept:
        """Return how many nanoseconds `measure` takes on one thread, about."""
        cdef double each = 0.02 if self.c.panels != NULL else 0.02 + 1.0 / self.c.width
        return each * self.c.n_samples * (self.c.n_features + 4) * self.c.width

    cdef int each(self, fastem_step step, double nanoseconds) except -1:
        """Run a step on every block."""
        cdef fastem_pass one
        memset(&one, 0, sizeof(one))
        one.job, one.step = &self.c, step
        one.n_rows, one.chunk, one.looks = self.c.n_samples, SEEDING_BLOCK, 8
        one.scratch_bytes = self.ops.panel * self.c.n_features * sizeof(float)
        if self.c.origin != NULL:
            one.scratch_bytes += SEEDING_BLOCK * self.c.n_features * (4 if self.single else 8)
        one.n_threads, one.work = self.n_threads, nanoseconds
        return run(&one, NULL)
