/* OpenMP where the compiler has it, else serial equivalents; and what the kernels need from the
 * interpreter while they run without the GIL. */
#ifndef FASTEM_OMP_H
#define FASTEM_OMP_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shared/subnormals.h"

#ifdef _OPENMP
#include <omp.h>
#define FASTEM_HAS_OPENMP 1
#else
#define FASTEM_HAS_OPENMP 0
static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_get_thread_num(void) { return 0; }
static inline double omp_get_wtime(void) { return 0.0; }
#endif

/* Zeroed buffers, one for each thread, *bytes apart (rounded up); NULL without memory. Each begins at
 * a cache line, because a vector that lies in two lines is read twice. They are two lines apart,
 * because threads wait for each other if they write to the same line, or to the neighbour that
 * the processor fetches with it. */
static inline char *fastem_buffers(ptrdiff_t n_threads, ptrdiff_t *bytes)
{
    char *memory, *begin;
    *bytes = (*bytes + 63) / 64 * 64 + 128;
    memory = (char *)calloc(n_threads * *bytes + 128, 1);
    if (memory == NULL)
        return NULL;
    begin = memory + 128 - (uintptr_t)memory % 64;
    memcpy(begin - sizeof memory, &memory, sizeof memory);
    return begin;
}

static inline void fastem_free_buffers(char *begin)
{
    char *memory = NULL;
    if (begin)
        memcpy(&memory, begin - sizeof memory, sizeof memory);
    free(memory);
}

/* libgomp's threads do not survive fork(): a child that enters a parallel region waits forever.
 * Ending the pool before the fork lets parent and child start their own. */
static inline void fastem_pause_threads(void)
{
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
    omp_pause_resource_all(omp_pause_soft);
#endif
}

/* Waits for the other threads of a parallel region: Cython's prange does not, at its end. */
static inline void fastem_barrier(void)
{
#ifdef _OPENMP
#pragma omp barrier
#endif
}

/* Runs pending signal handlers; true if one raised (Ctrl-C). Called without the GIL. */
static inline int fastem_signal_raised(void)
{
    unsigned mode = fastem_flush_subnormals(0); /* handlers are not ours */
    PyGILState_STATE state = PyGILState_Ensure();
    int raised = PyErr_CheckSignals();
    PyGILState_Release(state);
    fastem_restore_subnormals(mode);
    return raised != 0;
}

/* The same, at most every 50 ms and only on the thread that called the kernel: the others have no
 * Python thread to raise in. `last` is the time of the last look. */
static inline int fastem_interrupted(double *last)
{
    double now;
    if (omp_get_thread_num() != 0)
        return 0;
    now = omp_get_wtime();
    if (FASTEM_HAS_OPENMP && now - *last < 0.05)
        return 0;
    *last = now;
    return fastem_signal_raised();
}

#endif
