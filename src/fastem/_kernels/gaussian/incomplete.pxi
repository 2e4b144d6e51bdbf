# Samples of which some values are missing: see incomplete.h.

cdef class IncompleteJob(Job):
    """A Job of X with NaN for what is missing; float64, full, tied or diag."""

    def __init__(self, *args):
        self.c.incomplete = 1
        if self.c.kind == FULL or self.c.kind == TIED:
            upper = self.chol / self.scale[:, None]
            self.c.precisions = self.doubles(upper @ upper.swapaxes(-1, -2))


def incomplete_moments(IncompleteJob job, sample_weight, centers, int n_threads):
    """Sum the moments of every component, with expectations in place of what is missing.

    Parameters
    ----------
    job : IncompleteJob
    sample_weight : ndarray of shape (n,) or None
    centers : ndarray of shape (K, D) or None
        What the moments are about, in the job's coordinates; None: its means.
    n_threads : int

    Returns
    -------
    bound : float
        Sum of sample_weight * log-density of what is there.
    weight : ndarray of shape (K,)
    first : ndarray of shape (K, D)
    second : ndarray of shape (K, D, D), of diag (K, D), of tied (D, D)
        With first in the job's coordinates; of tied both about 0.
    noise : float
        The weight of the noise; 0 without.
    """
    cdef gaussian_job alone
    cdef const double *rows
    cdef Py_ssize_t n = job.c.n_components, d = job.c.n_features, begin
    cdef Py_ssize_t size = job.ops.sums_size(&job.c)
    job.c.prune, job.c.negligible = 1, -40.0
    if sample_weight is not None:
        job.c.sample_weight = job.doubles(sample_weight)
    if centers is not None:
        padded = np.zeros((n, up(d, 4)))
        padded[:, :d] = centers
        job.c.centers = job.doubles(padded)
    sums = _run(job, n_threads, size)
    weight, first, second = _unpacked(job, <double *> address_of(sums), n_threads)
    if job.c.kind == FULL:
        further = sums[size - up(n * d * d, 16) :][: n * d * d]
        lower = np.tril(further.reshape(n, d, d))
        second += lower + np.tril(lower, -1).swapaxes(1, 2)
    elif job.c.kind == TIED:
        begin = size - up(d * d, 16)
        lower, second = np.tril(sums[begin : begin + d * d].reshape(d, d)), np.empty((d, d))
        alone = gaussian_one_full(&job.c)
        rows = <double *> address_of(sums) + begin - gaussian_tied_rows(&job.c)
        gaussian_mirror(&alone, rows, <double *> address_of(second))
        second += lower + np.tril(lower, -1).T
    bound, noise = float(sums[gaussian_bound(&job.c)]), float(sums[gaussian_noise(&job.c)])
    return bound, weight, first, second, noise
