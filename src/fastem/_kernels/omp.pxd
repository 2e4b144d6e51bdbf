"""What every kernel needs of OpenMP, and of the interpreter while it runs without the GIL."""

cdef extern from "shared/omp.h":
    int omp_get_thread_num() noexcept nogil
    double omp_get_wtime() noexcept nogil
    int fastem_interrupted(double *last) noexcept nogil
    void fastem_barrier() noexcept nogil
    char *fastem_buffers(Py_ssize_t n_threads, Py_ssize_t *bytes) noexcept nogil
    void fastem_free_buffers(char *begin) noexcept nogil
    unsigned fastem_flush_subnormals(int flush) noexcept nogil
    void fastem_restore_subnormals(unsigned before) noexcept nogil


cdef inline int raise_pending() except -1:
    """Raise what a signal handler raised while the threads ran: its exception is set already."""
    return -1
