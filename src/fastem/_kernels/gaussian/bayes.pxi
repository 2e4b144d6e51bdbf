"""Posteriors of Bayesian Gaussian mixtures: a part of gaussian.pyx. See bayes.h."""


cdef extern from "gaussian/bayes.h":
    ctypedef struct gaussian_prior:
        int process
        double concentration, mean_precision, degrees_of_freedom
        const double *mean
        const double *covariance

    ctypedef struct gaussian_posterior:
        int kind
        Py_ssize_t n_components, n_features
        double *concentration
        double *mean_precision
        double *means
        double *freedom

    ctypedef struct gaussian_distances:
        int kind
        Py_ssize_t n_components, n_features
        const gaussian_ops *ops
        const double *weight
        const double *mean
        const double *scatter
        const double *center
        const double *upper
        double *distance

    double LOG_2_PI "GAUSSIAN_LOG_2_PI"
    void gaussian_update(const gaussian_prior *, const double *, const double *,
                         const gaussian_posterior *, double *, double *) noexcept nogil
    void gaussian_scale(const gaussian_prior *, const gaussian_posterior *, const double *,
                        const double *, const double *, const double *, double,
                        double *) noexcept nogil
    void gaussian_expect(const gaussian_posterior *, int, double *) noexcept nogil
    double gaussian_log_det(int, Py_ssize_t, const double *, Py_ssize_t) noexcept nogil
    double gaussian_evidence(const gaussian_posterior *, int, const double *) noexcept nogil
    void gaussian_distance(const void *, Py_ssize_t, Py_ssize_t,
                           const fastem_strip *) noexcept nogil


cdef _posterior_of(gaussian_posterior *to, str kind, concentration, mean_precision, means, freedom):
    """Let `to` be a posterior; return the arrays that it points to."""
    arrays = _plain(concentration), _plain(mean_precision), _plain(means), _plain(freedom)
    to.kind, to.n_components, to.n_features = KINDS.index(kind), len(means), means.shape[1]
    to.concentration = <double *> address_of(arrays[0])
    to.mean_precision = <double *> address_of(arrays[1])
    to.means = <double *> address_of(arrays[2])
    to.freedom = <double *> address_of(arrays[3])
    return arrays


def posterior(str kind, prior, count, center, scatter, double reg_covar, int n_threads):
    """Return the posterior that moments give (Bishop 10.58-10.63).

    Parameters
    ----------
    kind : str
    prior : BayesianPrior
    count : ndarray of shape (K,)
    center : ndarray of shape (K, D)
    scatter : ndarray of shape (K, D, D), tied (D, D), diag (K, D), spherical (K,)
        About the centers.
    reg_covar : float
        Added to the variances of the data.
    n_threads : int

    Returns
    -------
    concentration : ndarray of shape (K,), of a process (2, K)
    mean_precision : ndarray of shape (K,)
    means : ndarray of shape (K, D)
    degrees_of_freedom : ndarray of shape (K,), tied ()
    covariances : ndarray, shape as the scatter, or None for matrices
    factors : ndarray, shape as the scatter
        As in :func:`precisions_cholesky`, or None for variances if there is a failure.
    failed : int
        The first component whose covariance has no factor, or -1.
    """
    cdef gaussian_prior given
    cdef gaussian_posterior to
    cdef gaussian_factors to_do
    cdef Py_ssize_t n = len(center), d = center.shape[1]
    count, center, scatter = _plain(count), _plain(center), _plain(scatter)
    mean, covariance = _plain(prior.mean), _plain(np.asarray(prior.covariance))
    given.process, given.concentration = prior.process, prior.concentration
    given.mean_precision = prior.mean_precision
    given.degrees_of_freedom = prior.degrees_of_freedom
    given.mean, given.covariance = <double *> address_of(mean), <double *> address_of(covariance)
    concentration = np.empty((2, n)) if given.process else np.empty(n)
    freedom = np.empty(()) if kind == "tied" else np.empty(n)
    found = _posterior_of(&to, kind, concentration, np.empty(n), np.empty((n, d)), freedom)
    memory = np.empty(n * (d + 1))
    cdef double *step = <double *> address_of(memory)
    cdef double *share = step + n * d
    cdef const double *counts = <double *> address_of(count)
    gaussian_update(&given, counts, <double *> address_of(center), &to, step, share)
    memset(&to_do, 0, sizeof(to_do))
    if to.kind == FULL:
        to_do.step, to_do.weight, to_do.added = step, share, given.covariance
        to_do.divisor, to_do.ridge, to_do.reg_covar = to.freedom, counts, reg_covar
        return *found, None, *_factored(&to_do, scatter, n, n_threads)
    covariances = np.empty(scatter.shape)
    gaussian_scale(&given, &to, counts, <double *> address_of(scatter), step, share, reg_covar,
                   <double *> address_of(covariances))
    if to.kind == TIED:
        return *found, None, *_factored(&to_do, covariances, 1, n_threads)
    return *found, covariances, *roots(covariances)


def expected_log_weights(str kind, concentration, mean_precision, means, freedom):
    """Return the log-weights, (K,), with which Gaussians have the expected log-densities.

    Those of a posterior's mean precisions (Bishop 10.46).
    """
    cdef gaussian_posterior at
    held = _posterior_of(&at, kind, concentration, mean_precision, means, freedom)
    out = np.empty(at.n_components)
    gaussian_expect(&at, held[0].ndim == 2, <double *> address_of(out))
    return out


def evidence(str kind, concentration, mean_precision, means, freedom, factors):
    """Return the bound on the evidence without the responsibilities' entropy and constants."""
    cdef gaussian_posterior at
    held = _posterior_of(&at, kind, concentration, mean_precision, means, freedom)
    factors = _plain(factors)
    return gaussian_evidence(&at, held[0].ndim == 2, <double *> address_of(factors))


def expected_log_density(str kind, weight, mean, scatter, center, factors, log_weights,
                         int n_threads):
    """Return sum r log(weight density) over samples and components, of r's moments.

    Parameters
    ----------
    kind : str
    weight, mean, scatter : ndarray
        The moments, about their own means.
    center : ndarray of shape (K, D)
        The means of the components.
    factors : ndarray
        Of their precisions, shape as the scatter.
    log_weights : ndarray of shape (K,)
    n_threads : int
    """
    cdef gaussian_distances job
    cdef Py_ssize_t n = len(center), d = center.shape[1], k
    cdef double total = 0
    held = [_plain(array) for array in (weight, mean, scatter, center, factors, log_weights)]
    distance = np.empty(n)
    cdef const double *logs = <double *> address_of(held[5])
    cdef const double *weights = <double *> address_of(held[0])
    job.kind, job.n_components, job.n_features = KINDS.index(kind), n, d
    job.ops = fastem_gaussian_ops(runtime.level(), 1)
    job.weight, job.mean = weights, <double *> address_of(held[1])
    job.scatter, job.center = <double *> address_of(held[2]), <double *> address_of(held[3])
    job.upper, job.distance = <double *> address_of(held[4]), <double *> address_of(distance)
    cdef Py_ssize_t scratch = job.ops.factor_bytes(d) if job.kind <= TIED else 0
    _run_components(gaussian_distance, &job, n, scratch, n_threads, d * d * d / 8.0)
    for k in range(n):
        total += weights[k] * (logs[k] + gaussian_log_det(job.kind, d, job.upper, k)
                               - d / 2.0 * LOG_2_PI) - job.distance[k] / 2
    return total
