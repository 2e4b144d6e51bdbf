"""What the parts of the chain's kernel hand each other: job.h, as Cython has to know it."""

from libc.stdint cimport int32_t, int64_t


from fastem._kernels.emission cimport fastem_emission


cdef extern from "chain/job.h":
    double CHAIN_NEVER
    enum: CHAIN_ABREAST, CHAIN_WAYS

    ctypedef struct chain_job:
        Py_ssize_t n_states, width, rows
        const double *start
        const double *ones
        const double *trans
        const double *turned
        const double *log_start
        const double *log_trans
        const double *log_turned
        const int32_t *known
        fastem_emission emission
        const int32_t *codes
        const double *likelihoods
        const double *logs
        const double *shifts

    ctypedef struct chain_run:
        Py_ssize_t at, n
        double *beta
        double least, most, mass
        int64_t exponent

    ctypedef struct chain_work:
        double *w
        double *alpha
        double *gamma
        double *columns
        double *shift
        double *beta
        double *pairs
        double *joint
        double *spare
        void *scratch
        const double *lp
        double log_scale

    ctypedef struct chain_ops:
        const char *name
        Py_ssize_t lanes
        void (*frames)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t) noexcept nogil
        int (*abreast)(const chain_job *) noexcept nogil
        void (*forward)(const chain_job *, chain_work *, chain_run *, int, int) noexcept nogil
        void (*backward)(const chain_job *, chain_work *, chain_run *, int, int) noexcept nogil
        int (*from_both)(const chain_job *) noexcept nogil
        void (*forward_both)(const chain_job *, chain_work *, chain_run *, int) noexcept nogil
        void (*backward_both)(const chain_job *, chain_work *, chain_run *, int, int) noexcept nogil
        void (*add_pairs)(const chain_job *, chain_work *, Py_ssize_t, int) noexcept nogil
        void (*to_columns)(const chain_job *, chain_work *, Py_ssize_t) noexcept nogil
        void (*add_codes)(const chain_job *, const chain_work *, Py_ssize_t, Py_ssize_t,
                          double *) noexcept nogil
        void (*log_frames)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t,
                           Py_ssize_t) noexcept nogil
        void (*log_forward)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t,
                            int) noexcept nogil
        void (*log_backward)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t, int,
                             double) noexcept nogil
        void (*best_frames)(const chain_job *, chain_work *, Py_ssize_t,
                            Py_ssize_t) noexcept nogil
        void (*best_forward)(const chain_job *, chain_work *, Py_ssize_t, Py_ssize_t, int,
                             int64_t *) noexcept nogil

    const chain_ops *fastem_chain_ops(int level, int is_double) noexcept nogil


cdef struct outputs:
    double *scores
    double *posteriors
    int64_t *states
    int summed
    int stop
    double clock


cdef inline Py_ssize_t round_up(Py_ssize_t n, Py_ssize_t to) noexcept nogil:
    """Return the smallest multiple of `to` that is at least n."""
    return (n + to - 1) // to * to
