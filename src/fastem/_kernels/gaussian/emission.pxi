"""Gaussians beneath a structure that makes the responsibilities: a part of gaussian.pyx."""

cdef double ROUNDING = 64 * 2.0**-52
cdef double LOG2_E = 1.4426950408889634074
cdef Py_ssize_t EMISSION_ROWS = 512


cdef class Emission:
    """Gaussians beneath a structure that makes the responsibilities: see shared/emission.h."""

    cdef gaussian_emission own
    cdef fastem_emission c
    cdef readonly object capsule
    cdef Job density, moments
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
        density.c.rows = moments.c.rows = min(EMISSION_ROWS, up(max(density.c.n_samples, 1), 64))
        if n_mix > 1:
            # Terms of a mixture are powers of 2, which are quicker than exp. Moments do not depend
            # on the unit of log-densities.
            density.c.precisions_chol = density.doubles(density.chol * sqrt(LOG2_E))
            norms = np.array(<double[: density.c.n_components]> <double *> density.c.log_norm)
            density.c.log_norm = density.doubles(norms * LOG2_E)
        self.own.density, self.own.moments, self.own.n_mix = &density.c, &moments.c, n_mix
        self.own.density_tables = self.own.moments_tables = density.tables()
        if moments is not density:
            self.own.moments_tables = moments.tables()
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
        cdef Py_ssize_t d = self.density.c.n_features, n = self.density.c.n_components
        weight, first, second = _unpacked(self.density, &sums[0], 1)
        if self.further:
            begin = self.density.ops.sums_size(&self.density.c)
            table = np.asarray(sums)[begin : begin + n * self.further].reshape(n, -1)
            weight += table[:, 0]
            if self.density.c.kind == FULL:
                lower = np.tril(table[:, 1 + d :].reshape(n, d, d))
                first += table[:, 1 : 1 + d]
                second += lower + np.tril(lower, -1).swapaxes(1, 2)
            else:
                first += table[:, 1 : 1 + d]
                second += table[:, 1 + d :]
        return weight, first, second


def about_means(double[::1] weight, double[:, :] first, second, const double[:] unit,
                const double[:, :] center, const double[:] shift, double most_lost):
    """Make moments about the components' means, in place, of sums about their centers.

    Parameters
    ----------
    weight : ndarray of shape (K,)
    first : ndarray of shape (K, D)
        IN: sums of r z, z = (x - center) * unit; OUT: the means.
    second : ndarray of shape (K, D, D), or (K, D) of diagonals
        IN: sums of r z z^T; OUT: the scatter of x about the means.
    unit : ndarray of shape (D,)
    center : ndarray of shape (K, D)
    shift : ndarray of shape (D,)
        From where on the samples' digits count.
    most_lost : float

    Returns
    -------
    lost : bool
        Whether a mean has moved far: what was summed about its center and is taken off was more
        than `most_lost` times what is left.
    """
    cdef Py_ssize_t n = first.shape[0], d = first.shape[1], k, i, j
    cdef bint dense = second.ndim == 3, lost = False
    cdef double[:, :, :] full
    cdef double[:, :] diagonal
    cdef double moved, gone, left
    if dense:
        full = second
    else:
        diagonal = second
    for k in range(n):
        if weight[k] > 0:
            for i in range(d):
                first[k, i] /= weight[k]
        if dense:
            for i in range(d):
                for j in range(d):
                    full[k, i, j] -= weight[k] * first[k, i] * first[k, j]
                    full[k, i, j] /= unit[i] * unit[j]
        for i in range(d):
            moved = first[k, i] / unit[i]
            gone = weight[k] * moved * moved
            if dense:
                left = full[k, i, i]
            else:
                left = diagonal[k, i] / (unit[i] * unit[i]) - gone
                diagonal[k, i] = left = 0 if left < 0 else left
            first[k, i] = center[k, i] + moved
            if gone > most_lost * left:  # where the data are constant, a mean moves by rounding
                lost = lost or fabs(moved) > ROUNDING * max(
                    fabs(first[k, i] - shift[i]), fabs(center[k, i] - shift[i]))
    return lost
