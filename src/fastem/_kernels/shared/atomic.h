/* What threads read and write of each other's. */
#ifndef FASTEM_ATOMIC_H
#define FASTEM_ATOMIC_H

#include <stdint.h>

#if defined(_MSC_VER)
#include <windows.h>
#else
#include <sched.h>
#endif

/* Reads what another thread writes, and all that it wrote before. */
static inline int64_t fastem_read(const int64_t *x)
{
#if defined(__GNUC__)
    return __atomic_load_n(x, __ATOMIC_ACQUIRE);
#else
    return *(const volatile int64_t *)x;
#endif
}

/* Writes what another thread reads, after all that was written before. */
static inline void fastem_write(int64_t *x, int64_t value)
{
#if defined(__GNUC__)
    __atomic_store_n(x, value, __ATOMIC_RELEASE);
#elif defined(_MSC_VER)
    InterlockedExchange64((volatile LONG64 *)x, value);
#else
    *(volatile int64_t *)x = value;
#endif
}

/* Returns a number that no other thread gets, and counts on. */
static inline int64_t fastem_next(int64_t *x)
{
#if defined(__GNUC__)
    return __atomic_fetch_add(x, 1, __ATOMIC_RELAXED);
#elif defined(_MSC_VER)
    return InterlockedExchangeAdd64((volatile LONG64 *)x, 1);
#else
    return (*x)++;
#endif
}

/* Lets another thread have the processor. */
static inline void fastem_yield(void)
{
#if defined(_MSC_VER)
    SwitchToThread();
#else
    sched_yield();
#endif
}

/* An addition that no other thread comes between, where there are other threads. */
#ifndef _OPENMP
#define FASTEM_ATOMIC_ADD(x, n) ((x) += (n))
#elif defined(_MSC_VER)
#define FASTEM_ATOMIC_ADD(x, n)                                                                   \
    do {                                                                                          \
        __pragma(omp atomic)(x) += (n);                                                           \
    } while (0)
#else
#define FASTEM_ATOMIC_ADD(x, n)                                                                   \
    do {                                                                                          \
        _Pragma("omp atomic")(x) += (n);                                                          \
    } while (0)
#endif

#endif
