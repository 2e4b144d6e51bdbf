/* Gaussian mixtures: the factor of a covariance's inverse, in double whatever the data are. A
 * template: see vec.h. Rows are padded to whole vectors, so that no loop has a remainder. */

/* An odd number of cache lines: rows must not all fall into the same cache sets. */
static ptrdiff_t FN(factor_row)(ptrdiff_t d) { return ((d + 7) / 8 | 1) * 8; }

static ptrdiff_t FN(factor_bytes)(ptrdiff_t d)
{
    return 2 * d * FN(factor_row)(d) * (ptrdiff_t)sizeof(REAL);
}

/* to[j] -= sum over i < n of a[i] from[i * row + j], j in [begin, row) */
ALWAYS_INLINE void FN(subtract_rows)(const int n, const REAL *a, const REAL *from, ptrdiff_t row,
                                     ptrdiff_t begin, REAL *to)
{
    for (ptrdiff_t j = begin / VL * VL; j < row; j += VL) {
        vec sum = FN(load)(to + j);
        UNROLL
        for (int i = 0; i < n; i++)
            sum -= a[i] * FN(load)(from + i * row + j);
        FN(store)(to + j, sum);
    }
}

/* Cholesky's R, upper, R^T R = the covariance; 4 rows at a time, so that what lies below them is
 * read and written once for four. Returns whether it is positive definite. */
static int FN(factor_upper)(ptrdiff_t d, ptrdiff_t row, REAL *r)
{
    for (ptrdiff_t j0 = 0; j0 < d; j0 += 4) {
        ptrdiff_t j1 = j0 + 4 < d ? j0 + 4 : d;
        for (ptrdiff_t j = j0; j < j1; j++) {
            REAL *own = r + j * row, inverse;
            for (ptrdiff_t i = j0; i < j; i++)
                FN(subtract_rows)(1, r + i * row + j, r + i * row, row, j, own);
            if (!(own[j] > 0) || own[j] == (REAL)INFINITY)
                return 0;
            inverse = 1 / sqrt(own[j]);
            for (ptrdiff_t k = j / VL * VL; k < row; k += VL)
                FN(store)(own + k, FN(load)(own + k) * inverse);
        }
        for (ptrdiff_t below = j1; below < d; below++) { /* only whole blocks of 4 come here */
            REAL a[4];
            for (int i = 0; i < 4; i++)
                a[i] = r[(j0 + i) * row + below];
            FN(subtract_rows)(4, a, r + j0 * row, row, below, r + below * row);
        }
    }
    return 1;
}

/* x = the inverse of R, upper, from its last row up; what x holds left of the diagonal is zero. */
static void FN(invert_upper)(ptrdiff_t d, ptrdiff_t row, const REAL *r, REAL *x)
{
    memset(x, 0, d * row * sizeof(REAL));
    for (ptrdiff_t i = d - 1; i >= 0; i--) {
        REAL *own = x + i * row, inverse = 1 / r[i * row + i];
        ptrdiff_t k = i + 1;
        for (; k + 4 <= d; k += 4)
            FN(subtract_rows)(4, r + i * row + k, x + k * row, row, k, own);
        for (; k < d; k++)
            FN(subtract_rows)(1, r + i * row + k, x + k * row, row, k, own);
        for (k = i / VL * VL; k < row; k += VL)
            FN(store)(own + k, FN(load)(own + k) * inverse);
        own[i] = inverse;
    }
}

/* upper (d, d) with upper upper^T = the inverse of a (d, d) covariance. Returns 0 where there is
 * none, or none whose square is finite. `memory` has factor_bytes(d). */
static int FN(factor)(const REAL *covariance, ptrdiff_t d, void *memory, REAL *upper)
{
    ptrdiff_t row = FN(factor_row)(d);
    REAL *r = memory, *x = r + d * row, largest = 0;
    memset(r, 0, d * row * sizeof(REAL));
    for (ptrdiff_t i = 0; i < d; i++)
        memcpy(r + i * row + i, covariance + i * d + i, (d - i) * sizeof(REAL));
    if (!FN(factor_upper)(d, row, r))
        return 0;
    FN(invert_upper)(d, row, r, x);
    for (ptrdiff_t i = 0; i < d; i++)
        for (ptrdiff_t j = 0; j < d; j++) {
            REAL size = fabs(x[i * row + j]);
            largest = size <= largest ? largest : size; /* NaN stays */
            upper[i * d + j] = x[i * row + j];
        }
    return largest < 1e150;
}
