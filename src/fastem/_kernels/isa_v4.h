/* Compiles KERNEL for x86-64-v4: AVX-512. Empty where the compiler cannot. */
#include "cpu.h"
#if FASTEM_X86_LEVELS
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")
#endif
#define VEC_BYTES 64
#define SUFFIX v4
#include KERNEL
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
