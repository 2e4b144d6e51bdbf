/* Which instruction set this processor runs: 0 = the compiler's baseline, 3 = x86-64-v3 (AVX2 and
 * FMA), 4 = x86-64-v4 (AVX-512). */
#ifndef FASTEM_CPU_H
#define FASTEM_CPU_H

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FASTEM_X86_LEVELS 1
#else
#define FASTEM_X86_LEVELS 0
#endif

static inline int fastem_cpu_level(void)
{
#if FASTEM_X86_LEVELS
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return 4;
    return 3;
#else
    return 0;
#endif
}

#endif
