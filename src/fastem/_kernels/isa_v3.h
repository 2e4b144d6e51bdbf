/* Compiles KERNEL for x86-64-v3: AVX2 and FMA. Empty where the compiler cannot. */
#include "cpu.h"
#if FASTEM_X86_LEVELS
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define VEC_BYTES 32
#define SUFFIX v3
#include KERNEL
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
