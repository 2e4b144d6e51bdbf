"""Components beneath a structure that makes the responsibilities: see shared/emission.h."""

from libc.stdint cimport int32_t


cdef extern from "shared/emission.h":
    const char *FASTEM_EMISSION

    ctypedef struct fastem_emission:
        const void *job
        Py_ssize_t n_states, n_rows, most_rows, column, scratch_bytes, sums_size
        const double *(*log_prob)(const void *, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
        const double *(*likelihood)(const void *, Py_ssize_t, Py_ssize_t, void *,
                                    double *) noexcept nogil
        void (*add)(const void *, Py_ssize_t, Py_ssize_t, void *, const double *,
                    double *) noexcept nogil
        const int32_t *codes
        const double *table
        const double *bias
        Py_ssize_t n_codes, table_width
