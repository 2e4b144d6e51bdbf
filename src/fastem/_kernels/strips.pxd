"""One pass over rows in strips: what a kernel asks for, and how it runs. See shared/pass.h."""


cdef extern from "shared/pass.h":
    ctypedef struct fastem_strip:
        pass

    ctypedef void (*fastem_step)(const void *, Py_ssize_t, Py_ssize_t,
                                 const fastem_strip *) noexcept nogil
    ctypedef void (*fastem_prepare)(const void *, Py_ssize_t, void *) noexcept nogil

    ctypedef struct fastem_pass:
        const void *job
        fastem_step step
        Py_ssize_t n_rows, chunk, n_strips, n_sums, scratch_bytes, looks
        const Py_ssize_t *cuts
        int in_turn, n_threads
        double work, clock
        fastem_prepare prepare
        Py_ssize_t n_parts, tables_bytes

    enum:
        MOST_STRIPS, LEAST_STRIPS, STRIP_BYTES

    int fastem_run(fastem_pass *, double *) noexcept nogil
    int worth "fastem_worth"(int n_threads, double nanoseconds) noexcept nogil
    Py_ssize_t up "fastem_up"(Py_ssize_t n, Py_ssize_t to) noexcept nogil
    Py_ssize_t strips_of "fastem_strips_of"(Py_ssize_t n_sums) noexcept nogil


cdef inline int run(fastem_pass *wanted, double *total) except -1:
    """Run a pass; write the sums of all strips, added in order, to `total`, (n_sums,)."""
    cdef int failed
    with nogil:
        failed = fastem_run(wanted, total)
    if failed < 0:
        raise MemoryError("no memory for the buffers of a pass over the data")
    return -failed  # the exception of the signal handler is set already
