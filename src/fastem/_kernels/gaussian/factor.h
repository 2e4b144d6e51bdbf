/* Gaussian mixtures: from a covariance to the factor of its inverse and back, in double whatever the
 * data are. A template: see vec.h. Rows are padded to whole vectors, so that no loop has a
 * remainder. */

/* An odd number of cache lines: rows must not all fall into the same cache sets. */
static ptrdiff_t FN(factor_row)(ptrdiff_t d) { return ((d + 7) / 8 | 1) * 8; }

static ptrdiff_t FN(factor_bytes)(ptrdiff_t d)
{
    return 2 * d * FN(factor_row)(d) * (ptrdiff_t)sizeof(REAL);
}

/* to[t][j] -= sum over i < n of a[t][i] from[i][j] for n_to rows `to`, j in [begin, row). Four rows
 * by four: a row that is read serves four times. */
ALWAYS_INLINE void FN(subtract_rows)(const int n_to, const int n, REAL a[4][4], const REAL *from,
                                     ptrdiff_t row, ptrdiff_t begin, REAL *to)
{
    for (ptrdiff_t j = begin / VL * VL; j < row; j += VL) {
        vec source[4];
        UNROLL
        for (int i = 0; i < n; i++)
            source[i] = FN(load)(from + i * row + j);
        UNROLL
        for (int t = 0; t < n_to; t++) {
            vec sum = FN(load)(to + t * row + j);
            UNROLL
            for (int i = 0; i < n; i++)
                sum -= a[t][i] * source[i];
            FN(store)(to + t * row + j, sum);
        }
    }
}

/* row[j] *= factor, j in [begin, row) */
ALWAYS_INLINE void FN(scale_row)(REAL *to, REAL factor, ptrdiff_t begin, ptrdiff_t row)
{
    for (ptrdiff_t j = begin / VL * VL; j < row; j += VL)
        FN(store)(to + j, FN(load)(to + j) * factor);
}

/* Cholesky's R, upper, R^T R = the covariance; 4 rows at a time. The numbers that it leaves below the
 * diagonal are meaningless. Returns whether the covariance is positive definite. */
static int FN(factor_upper)(ptrdiff_t d, ptrdiff_t row, REAL *r)
{
    REAL a[4][4];
    for (ptrdiff_t j0 = 0; j0 < d; j0 += 4) {
        ptrdiff_t j1 = j0 + 4 < d ? j0 + 4 : d, below = j1;
        const REAL *pivots = r + j0 * row;
        for (ptrdiff_t j = j0; j < j1; j++) {
            REAL *own = r + j * row;
            for (ptrdiff_t i = j0; i < j; i++) {
                a[0][0] = r[i * row + j];
                FN(subtract_rows)(1, 1, a, r + i * row, row, j, own);
            }
            if (!(own[j] > 0) || own[j] == (REAL)INFINITY)
                return 0;
            FN(scale_row)(own, 1 / sqrt(own[j]), j, row);
        }
        for (; below + 4 <= d; below += 4) { /* only whole blocks of 4 come here */
            for (int t = 0; t < 4; t++)
                for (int i = 0; i < 4; i++)
                    a[t][i] = pivots[i * row + below + t];
            FN(subtract_rows)(4, 4, a, pivots, row, below, r + below * row);
        }
        for (; below < d; below++) {
            for (int i = 0; i < 4; i++)
                a[0][i] = pivots[i * row + below];
            FN(subtract_rows)(1, 4, a, pivots, row, below, r + below * row);
        }
    }
    return 1;
}

/* x = the inverse of R, upper, from its last rows up; what x holds left of the diagonal is zero. */
static void FN(invert_upper)(ptrdiff_t d, ptrdiff_t row, const REAL *r, REAL *x)
{
    REAL a[4][4];
    memset(x, 0, d * row * sizeof(REAL));
    for (ptrdiff_t i0 = (d - 1) / 4 * 4; i0 >= 0; i0 -= 4) {
        ptrdiff_t i1 = i0 + 4 < d ? i0 + 4 : d, k = i1;
        for (; k + 4 <= d; k += 4) { /* only whole blocks of 4 have rows below them */
            for (int t = 0; t < 4; t++)
                memcpy(a[t], r + (i0 + t) * row + k, sizeof a[t]);
            FN(subtract_rows)(4, 4, a, x + k * row, row, k, x + i0 * row);
        }
        for (; k < d; k++) {
            for (int t = 0; t < 4; t++)
                a[t][0] = r[(i0 + t) * row + k];
            FN(subtract_rows)(4, 1, a, x + k * row, row, k, x + i0 * row);
        }
        for (ptrdiff_t i = i1 - 1; i >= i0; i--) {
            REAL *own = x + i * row, inverse = 1 / r[i * row + i];
            for (k = i + 1; k < i1; k++) {
                a[0][0] = r[i * row + k];
                FN(subtract_rows)(1, 1, a, x + k * row, row, k, own);
            }
            FN(scale_row)(own, inverse, i, row);
            own[i] = inverse;
        }
    }
}

/* r = the upper triangle of a (d, d) matrix, zeros elsewhere. */
static void FN(take_upper)(const REAL *matrix, ptrdiff_t d, ptrdiff_t row, REAL *r)
{
    memset(r, 0, d * row * sizeof(REAL));
    for (ptrdiff_t i = 0; i < d; i++)
        memcpy(r + i * row + i, matrix + i * d + i, (d - i) * sizeof(REAL));
}

/* Replaces a (d, d) covariance, of which the upper triangle is read, by U, upper, with U U^T = its
 * inverse. If there is no such U, or its square is not finite, returns 0 and leaves the covariance
 * as it was. `memory` has factor_bytes(d). */
static int FN(factor)(REAL *matrix, ptrdiff_t d, void *memory)
{
    ptrdiff_t row = FN(factor_row)(d);
    REAL *r = memory, *x = r + d * row;
    int finite = 1;
    FN(take_upper)(matrix, d, row, r);
    if (!FN(factor_upper)(d, row, r))
        return 0;
    FN(invert_upper)(d, row, r, x);
    for (ptrdiff_t i = 0; i < d * row; i++)
        finite &= fabs(x[i]) < 1e150;
    if (!finite)
        return 0;
    for (ptrdiff_t i = 0; i < d; i++)
        memcpy(matrix + i * d, x + i * row, d * sizeof(REAL));
    return 1;
}

/* covariance (d, d) = the inverse of U U^T, U upper: C^T C with C the inverse of U. It is symmetric
 * to the last bit. `memory` has factor_bytes(d). */
static void FN(covariance)(const REAL *upper, ptrdiff_t d, void *memory, REAL *covariance)
{
    ptrdiff_t row = FN(factor_row)(d);
    REAL *r = memory, *x = r + d * row, a[4][4];
    FN(take_upper)(upper, d, row, r);
    FN(invert_upper)(d, row, r, x);
    memset(r, 0, d * row * sizeof(REAL));
    for (ptrdiff_t i = 0; i < d; i++) {
        for (ptrdiff_t k = 0; k <= i; k++) {
            a[0][0] = -x[k * row + i];
            FN(subtract_rows)(1, 1, a, x + k * row, row, i, r + i * row);
        }
        for (ptrdiff_t j = i; j < d; j++)
            covariance[i * d + j] = covariance[j * d + i] = r[i * row + j];
    }
}

/* trace(U^T S U) of a symmetric S, (d, d), and U, upper, of which only the upper triangle is read.
 * `memory` has factor_bytes(d). */
static double FN(trace)(const REAL *scatter, const REAL *upper, ptrdiff_t d, void *memory)
{
    ptrdiff_t row = FN(factor_row)(d);
    REAL *u = memory, *product = u + d * row, a[4][4], sum = 0;
    FN(take_upper)(upper, d, row, u);
    for (ptrdiff_t i0 = 0; i0 < d; i0 += 4) {
        int n = d - i0 < 4 ? (int)(d - i0) : 4;
        ptrdiff_t l = 0;
        memset(product, 0, n * row * sizeof(REAL)); /* rows of S U, times -1, right of the diagonal */
        for (; n == 4 && l + 4 <= d; l += 4) {
            for (int t = 0; t < 4; t++)
                memcpy(a[t], scatter + (i0 + t) * d + l, sizeof a[t]);
            FN(subtract_rows)(4, 4, a, u + l * row, row, l < i0 ? i0 : l, product);
        }
        for (; l < d; l++)
            for (int t = 0; t < n; t++) {
                a[0][0] = scatter[(i0 + t) * d + l];
                FN(subtract_rows)(1, 1, a, u + l * row, row, l < i0 ? i0 : l, product + t * row);
            }
        for (int t = 0; t < n; t++)
            for (ptrdiff_t j = i0 + t; j < d; j++)
                sum -= u[(i0 + t) * row + j] * product[t * row + j];
    }
    return sum;
}
