/* SIMD vectors of REAL, with the few functions that every EM kernel needs: select, max, exp, log,
 * sums across lanes.
 *
 * A template: include it once for float and once for double, in a translation unit that has
 * defined VEC_BYTES (16, 32 or 64; 0 for scalars) and SUFFIX. Names carry the suffix, so that the
 * copies live side by side:   FN(exp) -> exp_f64_v4
 *
 * No flag that lets the compiler reassociate is needed, and none may be given: exp and log round
 * to integers by adding and subtracting a large constant.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef FASTEM_VEC_ONCE
#define FASTEM_VEC_ONCE
#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define UNROLL _Pragma("GCC unroll 64")
#define PREFETCH(p) __builtin_prefetch(p, 0, 2)
#define AT_A_LINE __attribute__((aligned(64)))
#else
#define ALWAYS_INLINE static inline
#define NOINLINE
#define UNROLL
#define PREFETCH(p) ((void)(p))
#define AT_A_LINE
#endif
#define SIXTEENTHS /* 2^(j/16) */                                                                                \
    {                                                                                             \
        1.0, 1.04427378242741384, 1.09050773266525766, 1.13878863475669165,                       \
        1.18920711500272107, 1.24185781207348405, 1.29683955465100967, 1.35425554693689273,       \
        1.41421356237309505, 1.47682614593949931, 1.54221082540794082, 1.61049033194925431,       \
        1.68179283050742909, 1.75625216037329948, 1.83400808640934246, 1.91520656139714729        \
    }
#endif

#undef VEC_REGISTERS
#if VEC_BYTES == 64 || defined(__aarch64__)
#define VEC_REGISTERS 32
#else
#define VEC_REGISTERS 16
#endif

#undef REAL
#undef INT
#undef UINT
#undef DTYPE
#undef VL
#ifdef REAL_IS_FLOAT
#define REAL float
#define INT int32_t
#define UINT uint32_t
#define DTYPE f32
#else
#define REAL double
#define INT int64_t
#define UINT uint64_t
#define DTYPE f64
#endif
#define FN(name) FASTEM_CAT(name, DTYPE, SUFFIX)
#define VL ((ptrdiff_t)(VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1)) /* lanes in a vector */

#define vec FN(vec)
#define ivec FN(ivec)
#if VEC_BYTES
typedef REAL vec __attribute__((vector_size(VEC_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INT ivec __attribute__((vector_size(VEC_BYTES), aligned(sizeof(REAL)), may_alias));
#else
typedef REAL vec;
typedef INT ivec;
#endif

ALWAYS_INLINE vec FN(load)(const REAL *p) { return *(const vec *)p; }
ALWAYS_INLINE void FN(store)(REAL *p, vec a) { *(vec *)p = a; }
#ifdef REAL_IS_FLOAT /* bfloat16: the upper half of a float, which is rounded to the nearest */
#if VEC_BYTES
typedef uint32_t FN(uvec) __attribute__((vector_size(VEC_BYTES), aligned(4), may_alias));
typedef uint16_t FN(half) __attribute__((vector_size(VEC_BYTES / 2), aligned(2), may_alias));
#else
typedef uint32_t FN(uvec);
typedef uint16_t FN(half);
#endif
ALWAYS_INLINE vec FN(load_brief)(const uint16_t *p)
{
#if VEC_BYTES == 64
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16);
#else
    FN(half) half = *(const FN(half) *)p;
    vec a;
#if VEC_BYTES
    FN(uvec) bits = __builtin_convertvector(half, FN(uvec)) << 16;
#else
    FN(uvec) bits = (FN(uvec))half << 16;
#endif
    memcpy(&a, &bits, sizeof a);
    return a;
#endif
}
ALWAYS_INLINE void FN(store_brief)(uint16_t *p, vec a)
{
    FN(uvec) bits;
    memcpy(&bits, &a, sizeof a);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
#if VEC_BYTES == 64
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16((__m512i)bits));
#elif VEC_BYTES
    *(FN(half) *)p = __builtin_convertvector(bits, FN(half));
#else
    *p = (uint16_t)bits;
#endif
}
#endif
#if VEC_BYTES
ALWAYS_INLINE vec FN(fill)(REAL a) { return a - (vec){0}; }
ALWAYS_INLINE ivec FN(bits)(vec a) { return (ivec)a; }
ALWAYS_INLINE vec FN(from_bits)(ivec a) { return (vec)a; }
/* Lanes of a where the mask is set, of b elsewhere. */
ALWAYS_INLINE vec FN(select)(ivec mask, vec a, vec b)
{
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
}
ALWAYS_INLINE vec FN(to_real)(ivec a) { return __builtin_convertvector(a, vec); }
#else
ALWAYS_INLINE vec FN(fill)(REAL a) { return a; }
ALWAYS_INLINE ivec FN(bits)(vec a)
{
    ivec b;
    memcpy(&b, &a, sizeof b);
    return b;
}
ALWAYS_INLINE vec FN(from_bits)(ivec a)
{
    vec b;
    memcpy(&b, &a, sizeof b);
    return b;
}
ALWAYS_INLINE vec FN(select)(ivec mask, vec a, vec b) { return mask ? a : b; }
ALWAYS_INLINE vec FN(to_real)(ivec a) { return (vec)a; }
#endif

/* SIMD(op): the intrinsic of that name for vec, which it takes as simd_t. */
#undef SIMD
#undef simd_t
#if VEC_BYTES == 64 && defined(REAL_IS_FLOAT)
#define SIMD(op) _mm512_##op##_ps
#define simd_t __m512
#elif VEC_BYTES == 64
#define SIMD(op) _mm512_##op##_pd
#define simd_t __m512d
#elif VEC_BYTES == 32 && defined(REAL_IS_FLOAT)
#define SIMD(op) _mm256_##op##_ps
#define simd_t __m256
#elif VEC_BYTES == 32
#define SIMD(op) _mm256_##op##_pd
#define simd_t __m256d
#endif

/* a where it is larger (smaller), else b. */
#ifdef SIMD
ALWAYS_INLINE vec FN(max)(vec a, vec b) { return (vec)SIMD(max)((simd_t)a, (simd_t)b); }
ALWAYS_INLINE vec FN(min)(vec a, vec b) { return (vec)SIMD(min)((simd_t)a, (simd_t)b); }
#else
ALWAYS_INLINE vec FN(max)(vec a, vec b) { return FN(select)(a > b, a, b); }
ALWAYS_INLINE vec FN(min)(vec a, vec b) { return FN(select)(a < b, a, b); }
#endif

ALWAYS_INLINE vec FN(sqrt)(vec a)
{
#ifdef SIMD
    return (vec)SIMD(sqrt)((simd_t)a);
#elif VEC_BYTES
    for (ptrdiff_t l = 0; l < VL; l++)
        a[l] = (REAL)sqrt(a[l]);
    return a;
#else
    return (REAL)sqrt(a);
#endif
}

/* Bit l is set where lane l of a is greater than that of b. */
ALWAYS_INLINE unsigned FN(mask_greater)(vec a, vec b)
{
#if VEC_BYTES == 64 && defined(REAL_IS_FLOAT)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
#elif VEC_BYTES == 64
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ);
#elif VEC_BYTES == 32 && defined(REAL_IS_FLOAT)
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ));
#elif VEC_BYTES == 32
    return (unsigned)_mm256_movemask_pd(_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_GT_OQ));
#elif VEC_BYTES
    ivec greater = a > b;
    unsigned mask = 0;
    for (ptrdiff_t l = 0; l < VL; l++)
        mask |= (unsigned)(greater[l] & 1) << l;
    return mask;
#else
    return a > b;
#endif
}

/* exp(x) for x <= 0, within 1.2 ulp; exactly 0 below the smallest normal number's logarithm. */
#if VEC_BYTES == 64
/* exp(x) = 2^n t (1 + expm1(r)), n = round(16 x / log 2) / 16 and t = 2^(n - floor(n)) from a table
 * in registers, |r| <= log(2) / 32; expm1 by a Chebyshev fit. 14 instructions, not 20 as below. */
ALWAYS_INLINE vec FN(exp)(vec x)
{
#ifdef REAL_IS_FLOAT
    static const REAL sixteenths[] = SIXTEENTHS;
    static const REAL c[] = {0.50000977687312674977f, 0.16666862203692235372f};
    const REAL smallest = -87.0f, magic = 786432.0f, inv_log2 = 1.44269504088896340736f;
    const REAL log2_high = 0.693359375f, log2_low = -2.12194440054690583e-4f;
#else
    static const REAL sixteenths[] = SIXTEENTHS;
    static const REAL c[] = {0.5, 0.16666666665301144786, 0.041666666664959767097,
                             0.0083334497245283561569, 0.0013889034377693011883};
    const REAL smallest = -708.0, magic = 422212465065984.0, inv_log2 = 1.44269504088896340736;
    const REAL log2_high = 6.93147180369123816490e-01, log2_low = 1.90821492927058770002e-10;
#endif
    const int degree = sizeof c / sizeof c[0] - 1;
    vec shifted = x * inv_log2 + magic, n = shifted - magic; /* its last 4 bits are n's fraction */
    vec r = x - n * log2_high, p = FN(fill)(c[degree]), t;
    r = r - n * log2_low;
    UNROLL
    for (int i = degree - 1; i >= 0; i--)
        p = p * r + c[i];
    p = r * r * p + r;
#ifdef REAL_IS_FLOAT
    t = (vec)_mm512_permutexvar_ps((__m512i)shifted, (__m512)FN(load)(sixteenths));
    p = t * p + t;
    return (vec)_mm512_maskz_scalef_ps(FN(mask_greater)(x, FN(fill)(smallest)), (__m512)p,
                                       (__m512)n);
#else
    t = (vec)_mm512_permutex2var_pd((__m512d)FN(load)(sixteenths), (__m512i)shifted,
                                    (__m512d)FN(load)(sixteenths + 8));
    p = t * p + t;
    return (vec)_mm512_maskz_scalef_pd(FN(mask_greater)(x, FN(fill)(smallest)), (__m512d)p,
                                       (__m512d)n);
#endif
}
#else
/* exp(x) = 2^n exp(r), n = round(x / log 2), |r| <= log(2) / 2; exp(r) by a Chebyshev fit. */
ALWAYS_INLINE vec FN(exp)(vec x)
{
#ifdef REAL_IS_FLOAT
    static const REAL c[] = {1.0f, 1.0000000377388712611f, 0.50000000471460574196f,
                             0.1666641541404117843f, 0.041666352771112211265f,
                             0.0083751347746243251734f, 0.0013941118895837000817f};
    const REAL smallest = -87.0f, magic = 12582912.0f, inv_log2 = 1.44269504088896340736f;
    const REAL log2_high = 0.693359375f, log2_low = -2.12194440054690583e-4f;
    const int mantissa = 23;
#else
    static const REAL c[] = {1.0, 0.99999999999999999976, 0.50000000000000184039,
                             0.1666666666666668082, 0.04166666666648795252,
                             0.0083333333333195896163, 0.0013888888952352862866,
                             0.00019841269890076402829, 0.000024801485441561312966,
                             2.7557240887228868596e-6, 2.763265472252779189e-7,
                             2.5110049204818659793e-8};
    const REAL smallest = -708.0, magic = 6755399441055744.0, inv_log2 = 1.44269504088896340736;
    const REAL log2_high = 6.93147180369123816490e-01, log2_low = 1.90821492927058770002e-10;
    const int mantissa = 52;
#endif
    const int degree = sizeof c / sizeof c[0] - 1;
    ivec in_range = x > smallest;
    vec shifted, n, r, p;
    x = FN(max)(x, FN(fill)(smallest));
    shifted = x * inv_log2 + magic;
    n = shifted - magic;
    r = x - n * log2_high;
    r = r - n * log2_low;
    p = FN(fill)(c[degree]);
    UNROLL
    for (int i = degree - 1; i >= 0; i--)
        p = p * r + c[i];
    /* The low bits of `shifted` hold n: move them into the exponent. */
    p = FN(from_bits)((ivec)(FN(bits)(p) + (FN(bits)(shifted) << mantissa)));
    return FN(select)(in_range, p, FN(fill)(0));
}
#endif

/* log(x) for normal x > 0, within 2 ulp.
 * x = 2^k m, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1) / (m + 1). */
ALWAYS_INLINE vec FN(log)(vec x)
{
#ifdef REAL_IS_FLOAT
    const INT root_half = 0x3f3504f3;
    const int mantissa = 23, terms = 5;
#else
    const INT root_half = 0x3fe6a09e667f3bcd;
    const int mantissa = 52, terms = 11;
#endif
    ivec offset = FN(bits)(x) - root_half;
    ivec k = offset >> mantissa;
    vec m = FN(from_bits)((ivec)(FN(bits)(x) - (k << mantissa)));
    vec s = (m - 1) / (m + 1), z = s * s;
    vec sum = FN(fill)((REAL)2 / (2 * terms + 1));
    UNROLL
    for (int i = terms - 1; i >= 1; i--)
        sum = sum * z + (REAL)2 / (2 * i + 1);
    return FN(to_real)(k) * (REAL)0.69314718055994530942 + (2 * s + s * z * sum);
}

/* A tree over VL vectors: MIX_g(a, b, half) takes groups of g lanes in turn from a and b, the even
 * groups (half 0) or the odd ones (half 1). */
#if VEC_BYTES
#ifdef REAL_IS_FLOAT
#define VEC_LANES (VEC_BYTES / 4)
#else
#define VEC_LANES (VEC_BYTES / 8)
#endif
#if VEC_LANES == 16
#define MIX_1(a, b, h)                                                                            \
    __builtin_shufflevector(a, b, h, 16 + h, 2 + h, 18 + h, 4 + h, 20 + h, 6 + h, 22 + h, 8 + h,  \
                            24 + h, 10 + h, 26 + h, 12 + h, 28 + h, 14 + h, 30 + h)
#define MIX_2(a, b, h)                                                                            \
    __builtin_shufflevector(a, b, 2 * h, 2 * h + 1, 16 + 2 * h, 17 + 2 * h, 4 + 2 * h, 5 + 2 * h, \
                            20 + 2 * h, 21 + 2 * h, 8 + 2 * h, 9 + 2 * h, 24 + 2 * h, 25 + 2 * h, \
                            12 + 2 * h, 13 + 2 * h, 28 + 2 * h, 29 + 2 * h)
#define MIX_4(a, b, h)                                                                            \
    __builtin_shufflevector(a, b, 4 * h, 4 * h + 1, 4 * h + 2, 4 * h + 3, 16 + 4 * h, 17 + 4 * h, \
                            18 + 4 * h, 19 + 4 * h, 8 + 4 * h, 9 + 4 * h, 10 + 4 * h, 11 + 4 * h, \
                            24 + 4 * h, 25 + 4 * h, 26 + 4 * h, 27 + 4 * h)
#define MIX_8(a, b, h)                                                                            \
    __builtin_shufflevector(a, b, 8 * h, 8 * h + 1, 8 * h + 2, 8 * h + 3, 8 * h + 4, 8 * h + 5,   \
                            8 * h + 6, 8 * h + 7, 16 + 8 * h, 17 + 8 * h, 18 + 8 * h, 19 + 8 * h, \
                            20 + 8 * h, 21 + 8 * h, 22 + 8 * h, 23 + 8 * h)
#elif VEC_LANES == 8
#define MIX_1(a, b, h)                                                                            \
    __builtin_shufflevector(a, b, h, 8 + h, 2 + h, 10 + h, 4 + h, 12 + h, 6 + h, 14 + h)
#define MIX_2(a, b, h)                                                                            \
    __builtin_shufflevector(a, b, 2 * h, 2 * h + 1, 8 + 2 * h, 9 + 2 * h, 4 + 2 * h, 5 + 2 * h,   \
                            12 + 2 * h, 13 + 2 * h)
#define MIX_4(a, b, h)                                                                            \
    __builtin_shufflevector(a, b, 4 * h, 4 * h + 1, 4 * h + 2, 4 * h + 3, 8 + 4 * h, 9 + 4 * h,   \
                            10 + 4 * h, 11 + 4 * h)
#elif VEC_LANES == 4
#define MIX_1(a, b, h) __builtin_shufflevector(a, b, h, 4 + h, 2 + h, 6 + h)
#define MIX_2(a, b, h) __builtin_shufflevector(a, b, 2 * h, 2 * h + 1, 4 + 2 * h, 5 + 2 * h)
#else
#define MIX_1(a, b, h) __builtin_shufflevector(a, b, h, 2 + h)
#endif
#define SUM_LEVEL(mix, pairs)                                                                     \
    UNROLL                                                                                        \
    for (int i = 0; i < pairs; i++)                                                               \
        t[i] = mix(t[2 * i], t[2 * i + 1], 0) + mix(t[2 * i], t[2 * i + 1], 1);
#define TRANSPOSE_LEVEL(mix, group)                                                               \
    UNROLL                                                                                        \
    for (int i = 0; i < VEC_LANES; i++)                                                           \
        if (!(i & group)) {                                                                       \
            vec low = mix(t[i], t[i + group], 0), high = mix(t[i], t[i + group], 1);              \
            t[i] = low;                                                                           \
            t[i + group] = high;                                                                  \
        }
#endif

/* Sums across lanes of VL vectors at once: lane i of the result is the sum of a[i]'s lanes. The
 * tree halves the number of vectors at each level. */
ALWAYS_INLINE vec FN(sum_lanes)(const vec *a)
{
#if VEC_BYTES
    vec t[VEC_LANES];
    memcpy(t, a, sizeof t);
    SUM_LEVEL(MIX_1, VEC_LANES / 2)
#if VEC_LANES >= 4
    SUM_LEVEL(MIX_2, VEC_LANES / 4)
#endif
#if VEC_LANES >= 8
    SUM_LEVEL(MIX_4, VEC_LANES / 8)
#endif
#if VEC_LANES >= 16
    SUM_LEVEL(MIX_8, VEC_LANES / 16)
#endif
    return t[0];
#else
    return a[0];
#endif
}

/* Every lane of the result: the sum of a's lanes. */
ALWAYS_INLINE vec FN(sum_all)(vec a)
{
#if VEC_BYTES
    a = MIX_1(a, a, 0) + MIX_1(a, a, 1);
#if VEC_LANES >= 4
    a = MIX_2(a, a, 0) + MIX_2(a, a, 1);
#endif
#if VEC_LANES >= 8
    a = MIX_4(a, a, 0) + MIX_4(a, a, 1);
#endif
#if VEC_LANES >= 16
    a = MIX_8(a, a, 0) + MIX_8(a, a, 1);
#endif
#endif
    return a;
}

/* The smallest of a's lanes. */
ALWAYS_INLINE REAL FN(min_all)(vec a)
{
#if VEC_BYTES
    a = FN(min)(MIX_1(a, a, 0), MIX_1(a, a, 1));
#if VEC_LANES >= 4
    a = FN(min)(MIX_2(a, a, 0), MIX_2(a, a, 1));
#endif
#if VEC_LANES >= 8
    a = FN(min)(MIX_4(a, a, 0), MIX_4(a, a, 1));
#endif
#if VEC_LANES >= 16
    a = FN(min)(MIX_8(a, a, 0), MIX_8(a, a, 1));
#endif
    return a[0];
#else
    return a;
#endif
}

/* Exchanges rows and columns of VL vectors. */
ALWAYS_INLINE void FN(transpose)(vec *t)
{
#if VEC_BYTES
    TRANSPOSE_LEVEL(MIX_1, 1)
#if VEC_LANES >= 4
    TRANSPOSE_LEVEL(MIX_2, 2)
#endif
#if VEC_LANES >= 8
    TRANSPOSE_LEVEL(MIX_4, 4)
#endif
#if VEC_LANES >= 16
    TRANSPOSE_LEVEL(MIX_8, 8)
#endif
#else
    (void)t;
#endif
}
#undef VEC_LANES
#undef MIX_1
#undef MIX_2
#undef MIX_4
#undef MIX_8
#undef SUM_LEVEL
#undef TRANSPOSE_LEVEL

/* Adds the lane sums of n vectors to n doubles. */
ALWAYS_INLINE void FN(add_sums)(const vec *a, ptrdiff_t n, double *out)
{
    UNROLL
    for (ptrdiff_t i = 0; i < n; i += VL) {
        vec group[VL];
        REAL sums[VL];
        UNROLL
        for (ptrdiff_t l = 0; l < VL; l++)
            group[l] = i + l < n ? a[i + l] : FN(fill)(0);
        FN(store)(sums, FN(sum_lanes)(group));
        if (i + VL <= n)
            for (ptrdiff_t l = 0; l < VL; l++)
                out[i + l] += sums[l];
        else
            for (ptrdiff_t l = 0; i + l < n; l++)
                out[i + l] += sums[l];
    }
}
