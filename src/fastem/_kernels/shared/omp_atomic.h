/* An addition that no other thread comes between, where there are other threads. */
#ifndef FASTEM_OMP_ATOMIC_H
#define FASTEM_OMP_ATOMIC_H
#ifdef _OPENMP
#if defined(_MSC_VER)
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
#else
#define FASTEM_ATOMIC_ADD(x, n) ((x) += (n))
#endif
#endif
