/* Full covariances of few features: the loops over features are unrolled and everything but the
 * samples stays in registers. D is a constant wherever these inline functions are called. */
#ifndef SMALL_CASES
#define SMALL 12 /* the largest D */
#define SMALL_CASES(call)                                                                         \
    case 1: call(1); break;                                                                       \
    case 2: call(2); break;                                                                       \
    case 3: call(3); break;                                                                       \
    case 4: call(4); break;                                                                       \
    case 5: call(5); break;                                                                       \
    case 6: call(6); break;                                                                       \
    case 7: call(7); break;                                                                       \
    case 8: call(8); break;                                                                       \
    case 9: call(9); break;                                                                       \
    case 10: call(10); break;                                                                     \
    case 11: call(11); break;                                                                     \
    case 12: call(12); break;
#endif
#undef MOST_SMALL /* with few registers pruning is faster from 11 on, where components are apart */
#define MOST_SMALL (VEC_REGISTERS == 32 ? SMALL : 10)

/* lp_k = log_norm_k - |(x - mean_k) P_k|^2 / 2, `vecs` vectors of samples at a time. */
ALWAYS_INLINE void FN(small_log_prob_d)(const int d, const int vecs, const REAL *x, ptrdiff_t cap,
                                        ptrdiff_t padded, ptrdiff_t n_comp, const REAL *means,
                                        const REAL *coef, const REAL *log_norm, REAL *lp)
{
    const int stride = (d + 3) / 4 * 4;
    for (ptrdiff_t k = 0; k < n_comp; k++, coef += d * (d + 1) / 2, means += stride, lp += cap)
        for (ptrdiff_t row = 0; row < padded; row += vecs * VL) {
            vec z[SMALL][4], q[4];
            const REAL *c = coef;
            UNROLL
            for (int v = 0; v < vecs; v++)
                q[v] = FN(fill)(0);
            UNROLL
            for (int i = 0; i < d; i++)
                UNROLL
                for (int v = 0; v < vecs; v++)
                    z[i][v] = FN(load)(x + i * cap + row + v * VL) - means[i];
            UNROLL
            for (int j = 0; j < d; j++) {
                vec y[4];
                UNROLL
                for (int v = 0; v < vecs; v++)
                    y[v] = z[0][v] * c[0];
                UNROLL
                for (int i = 1; i <= j; i++)
                    UNROLL
                    for (int v = 0; v < vecs; v++)
                        y[v] += z[i][v] * c[i];
                c += j + 1;
                UNROLL
                for (int v = 0; v < vecs; v++)
                    q[v] += y[v] * y[v];
            }
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(lp + row + v * VL, log_norm[k] - (REAL)0.5 * q[v]);
        }
}

static void FN(small_log_prob)(ptrdiff_t d, const REAL *x, ptrdiff_t cap, ptrdiff_t padded,
                               ptrdiff_t n_comp, const REAL *means, const REAL *coef,
                               const REAL *log_norm, REAL *lp)
{
    switch (d) {
#define CALL(D)                                                                                   \
    FN(small_log_prob_d)(D, VEC_REGISTERS == 32 && D <= 4 ? 4 : 2, x, cap, padded, n_comp, means, \
                         coef, log_norm, lp)
        SMALL_CASES(CALL)
#undef CALL
    }
}

/* Rows [from, to) of the lower triangle of sum_t r z z^T; from row 0 on also sum r and sum r z. */
ALWAYS_INLINE void FN(small_rows)(const int d, const int from, const int to, const REAL *x,
                                  ptrdiff_t cap, ptrdiff_t padded, const REAL *mean,
                                  const REAL *r, double *out)
{
    enum { MOST = SMALL * (SMALL + 1) / 2 };
    vec first[SMALL], second[MOST], total = FN(fill)(0);
    const int begin = from * (from + 1) / 2, count = to * (to + 1) / 2 - begin;
    UNROLL
    for (int i = from; i < to; i++)
        first[i] = FN(fill)(0);
    UNROLL
    for (int i = 0; i < count; i++)
        second[i] = FN(fill)(0);
    for (ptrdiff_t row = 0; row < padded; row += VL) {
        vec z[SMALL], weight = FN(load)(r + row);
        UNROLL
        for (int i = 0; i < to; i++)
            z[i] = FN(load)(x + i * cap + row) - mean[i];
        if (from == 0)
            total += weight;
        UNROLL
        for (int i = from; i < to; i++) {
            vec rz = weight * z[i];
            first[i] += rz;
            UNROLL
            for (int j = 0; j <= i; j++)
                second[i * (i + 1) / 2 + j - begin] += rz * z[j];
        }
    }
    if (from == 0)
        FN(add_sums)(&total, 1, out);
    FN(add_sums)(first + from, to - from, out + 1 + from);
    FN(add_sums)(second, count, out + 1 + d + begin);
}

/* The triangle is cut where the accumulators would spill: 30 with 32 registers, else 14. */
ALWAYS_INLINE void FN(small_sums_d)(const int d, const REAL *x, ptrdiff_t cap, ptrdiff_t padded,
                                    ptrdiff_t n_comp, const REAL *means, const REAL *r,
                                    double *out)
{
    const int stride = (d + 3) / 4 * 4, size = 1 + d + d * (d + 1) / 2;
    for (ptrdiff_t k = 0; k < n_comp; k++, means += stride, r += cap, out += size) {
#define ROWS_OF(from, to)                                                                         \
    if (d > from)                                                                                 \
        FN(small_rows)(d, from, d < to ? d : to, x, cap, padded, means, r, out)
#if VEC_REGISTERS == 32
        ROWS_OF(0, 6);
        ROWS_OF(6, 8);
        ROWS_OF(8, 10);
        ROWS_OF(10, 12);
#else
        ROWS_OF(0, 3);
        ROWS_OF(3, 5);
        ROWS_OF(5, 6);
        ROWS_OF(6, 7);
        ROWS_OF(7, 8);
        ROWS_OF(8, 9);
        ROWS_OF(9, 10);
        ROWS_OF(10, 11);
        ROWS_OF(11, 12);
#endif
#undef ROWS_OF
    }
}

static void FN(small_sums)(ptrdiff_t d, const REAL *x, ptrdiff_t cap, ptrdiff_t padded,
                           ptrdiff_t n_comp, const REAL *means, const REAL *r, double *out)
{
    switch (d) {
#define CALL(D) FN(small_sums_d)(D, x, cap, padded, n_comp, means, r, out)
        SMALL_CASES(CALL)
#undef CALL
    }
}
