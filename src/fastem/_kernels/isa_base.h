/* Compiles KERNEL for the compiler's baseline: SSE2, NEON, or plain scalars. */
#if defined(__SSE2__) || defined(__aarch64__)
#define VEC_BYTES 16
#else
#define VEC_BYTES 0
#endif
#define SUFFIX base
#include KERNEL
