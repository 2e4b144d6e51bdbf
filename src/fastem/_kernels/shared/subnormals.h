/* Subnormal numbers, which are slow: topics that vanish pass through them. */
#ifndef FASTEM_SUBNORMALS_H
#define FASTEM_SUBNORMALS_H

#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#endif

/* Switches on this thread whether subnormal numbers count as 0; returns what restores the old state. */
static inline unsigned fastem_flush_subnormals(int flush)
{
#if defined(__SSE2__) || defined(_M_X64)
    unsigned before = _mm_getcsr();
    unsigned both = 0x8040; /* flush to zero, denormals are zero */
    _mm_setcsr(flush ? before | both : before & ~both);
    return before;
#else
    (void)flush;
    return 0;
#endif
}

static inline void fastem_restore_subnormals(unsigned before)
{
#if defined(__SSE2__) || defined(_M_X64)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

#endif
