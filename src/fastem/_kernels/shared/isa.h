/* Compiles LEAVES once for each instruction set, and chooses among them at run time.
 *
 * The includer defines KERNEL, the kernel's name, and LEAVES, the header that ends with a
 * FASTEM_TABLE of the functions for float and double. VEC_BYTES and SUFFIX tell LEAVES which set it
 * is compiled for. Defines fastem_KERNEL_ops(level, is_double), which returns one of the tables.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "shared/cpu.h"
#if FASTEM_X86_LEVELS
#include <immintrin.h>
#endif

#define FASTEM_CAT_(a, b, c) a##_##b##_##c
#define FASTEM_CAT(a, b, c) FASTEM_CAT_(a, b, c)
#define FASTEM_STRING_(a) #a
#define FASTEM_STRING(a) FASTEM_STRING_(a)
#define FASTEM_OPS_(kernel) kernel##_ops
#define FASTEM_OPS(kernel) FASTEM_OPS_(kernel)
/* The head of the table that LEAVES ends with. */
#define FASTEM_TABLE static const FASTEM_OPS(KERNEL) FASTEM_CAT(table, KERNEL, SUFFIX)[]

/* The compiler's baseline: SSE2, NEON, or plain scalars. */
#if defined(__SSE2__) || defined(__aarch64__)
#define VEC_BYTES 16
#else
#define VEC_BYTES 0
#endif
#define SUFFIX base
#include LEAVES
#undef VEC_BYTES
#undef SUFFIX

#if FASTEM_X86_LEVELS
/* x86-64-v3: AVX2 and FMA. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define VEC_BYTES 32
#define SUFFIX v3
#include LEAVES
#undef VEC_BYTES
#undef SUFFIX
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* x86-64-v4: AVX-512. */
#define FASTEM_V4 "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl"
#ifdef __clang__
#pragma clang attribute push(__attribute__((target(FASTEM_V4))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")
#endif
#define VEC_BYTES 64
#define SUFFIX v4
#include LEAVES
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

/* Levels that this build does not hold fall back to the baseline. */
const FASTEM_OPS(KERNEL) * FASTEM_CAT(fastem, KERNEL, ops)(int level, int is_double)
{
#if FASTEM_X86_LEVELS
    if (level == 4)
        return &FASTEM_CAT(table, KERNEL, v4)[is_double];
    if (level == 3)
        return &FASTEM_CAT(table, KERNEL, v3)[is_double];
#endif
    return &FASTEM_CAT(table, KERNEL, base)[is_double];
}
