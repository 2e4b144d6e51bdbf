"""Factors of precisions and covariances: a part of gaussian.pyx."""


def precisions_cholesky(
    scatter,                # IN  (K, D, D) about the moments' means, or (D, D)
    step,                   # IN  (K, D) from the covariances' means to those, or None for zeros
    weight,                 # IN  (K,), or None
    divisor,                # IN  (K,)
    double reg_covar,       # IN  added to the diagonal
    int n_threads,
):
    """Return U, upper triangular with U U^T = inverse(covariance), (K, D, D), and a failure.

    The covariance is (scatter + weight * step step^T) / divisor + reg_covar * I. A failure is the
    first k without U, which has the covariance's upper triangle in its place, or -1.
    """
    cdef gaussian_factors to_do
    memset(&to_do, 0, sizeof(to_do))
    divisor = _plain(divisor)
    to_do.divisor, to_do.reg_covar = <double *> address_of(divisor), reg_covar
    if step is not None:
        step, weight = _plain(step), _plain(weight)
        to_do.step, to_do.weight = <double *> address_of(step), <double *> address_of(weight)
    return _factored(&to_do, scatter, len(divisor), n_threads)


cdef _factored(gaussian_factors *to_do, scatter, Py_ssize_t n, int n_threads):
    """Return what precisions_cholesky() does, where the job lacks the scatter alone."""
    scatter = _plain(scatter)
    upper, failures = np.empty(scatter.shape), bytearray(n)
    cdef unsigned char *failed = failures
    to_do.scatter, to_do.upper = <double *> address_of(scatter), <double *> address_of(upper)
    to_do.failed = failed
    _run_factors(gaussian_factor, to_do, n, scatter.shape[1], n_threads)
    return upper, failures.find(1)


def within(total, weight, first, scale, double enough):
    """Return the scatter about the components' means, (D, D), of shared covariances; or None.

    Parameters
    ----------
    total : ndarray of shape (D, D)
        The whole scatter about the shift, in coordinates scaled by `scale`.
    weight : ndarray of shape (K,)
    first : ndarray of shape (K, D)
        The components' means, in these coordinates.
    scale : ndarray of shape (D,)
    enough : float
        None is returned where of a variance less than such a share is left: digits are lost.
    """
    cdef Py_ssize_t n = len(weight), d = len(scale)
    total, weight, first, scale = _plain(total), _plain(weight), _plain(first), _plain(scale)
    out = np.empty((d, d))
    cdef bint left = gaussian_within(
        n, d, <double *> address_of(total), <double *> address_of(weight),
        <double *> address_of(first), <double *> address_of(scale), enough,
        <double *> address_of(out),
    )
    return out if left else None


def add_squares(
    double[:, :, :] scatter,        # INOUT  (K, D, D)
    const double[:, :] offset,      # IN     (K, D)
    const double[:] weight,         # IN     (K,)
):
    """``scatter[k] += weight[k] * outer(offset[k], offset[k])``, without a second (K, D, D)."""
    cdef Py_ssize_t k, i, j
    cdef double factor
    for k in range(scatter.shape[0]):
        for i in range(scatter.shape[1]):
            factor = weight[k] * offset[k, i]
            for j in range(scatter.shape[2]):
                scatter[k, i, j] += factor * offset[k, j]


def roots(variances):
    """Return 1 / sqrt(variances), and the first row with one that has no such number, or -1."""
    given, shape = _plain(variances), variances.shape
    cdef Py_ssize_t n = given.size, width = n // max(1, shape[0]), i, failed = -1
    out = np.empty(shape)
    cdef double *from_ = <double *> address_of(given)
    cdef double *to = <double *> address_of(out)
    for i in range(n):
        if not (from_[i] > SMALLEST and isfinite(from_[i])):
            return None, i // width
        to[i] = 1 / sqrt(from_[i])
    return out, failed


def covariances(const double[:, :, ::1] precisions_cholesky, int n_threads):
    """Return the inverses of U U^T, (K, D, D), symmetric to the last bit."""
    cdef double[:, :, ::1] out = np.empty_like(precisions_cholesky)
    cdef gaussian_factors to_do
    to_do.upper, to_do.covariance = <double *> &precisions_cholesky[0, 0, 0], &out[0, 0, 0]
    _run_factors(gaussian_covariance, &to_do, out.shape[0], out.shape[1], n_threads)
    return np.asarray(out)
