"""What the build and the processor offer: OpenMP, threads, instruction sets."""

from fastem._kernels.address cimport address_of


cdef extern from "shared/omp.h":
    int FASTEM_HAS_OPENMP
    int omp_get_max_threads() noexcept nogil
    void fastem_pause_threads() noexcept nogil

cdef extern from "shared/cpu.h":
    int fastem_cpu_level() noexcept nogil

cdef extern from "shared/worth.h":
    double FASTEM_LEAST_WORK

#: Nanoseconds of work that a second thread is worth.
LEAST_WORK = FASTEM_LEAST_WORK


def bytes_to_line(memory, Py_ssize_t line):
    """Return how many bytes after an array's beginning an address is a multiple of `line`."""
    return (line - <Py_ssize_t> address_of(memory) % line) % line


def has_openmp():
    """Return whether this build runs on more than one thread."""
    return bool(FASTEM_HAS_OPENMP)


def max_threads():
    """Return OpenMP's current thread limit: OMP_NUM_THREADS, threadpoolctl, or the cores."""
    return omp_get_max_threads()


def pause_threads():
    """End OpenMP's idle threads, which do not survive a fork; the next fit starts new ones."""
    fastem_pause_threads()


def cpu_level():
    """Return what the processor has: 0 baseline, 3 x86-64-v3 (AVX2), 4 x86-64-v4 (AVX-512)."""
    return fastem_cpu_level()


cdef int _level = fastem_cpu_level()


def level():
    """Return the instruction set that the kernels use, as cpu_level counts them."""
    return _level


def set_level(int new_level):
    """Make the kernels use another instruction set; return the one used until now."""
    global _level
    cdef int old = _level
    if new_level not in (0, 3, 4) or new_level > fastem_cpu_level():
        raise ValueError(
            f"level must be 0, 3 or 4 and at most {fastem_cpu_level()}, got {new_level}"
        )
    _level = new_level
    return old
