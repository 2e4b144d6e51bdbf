/* Small counts: a chunk of them is made real, and goes through tiles of registers as in a matrix
 * product, for log-probabilities and for sums. A template: see vec.h.
 *
 * -inf in the table would be no number times 0: DISCRETE_NEVER stands for it, and what comes out below
 * half of it is -inf. */
#undef TILE
#define TILE (VEC_REGISTERS == 32 ? 8 : 4) /* samples, or features, of a tile */
#define COUNTS_VECS 3                      /* vectors of components of a tile, at most */

/* Doubles from one sample to the next: not a power of two. */
static ptrdiff_t FN(count_stride)(const discrete_job *job)
{
    return job->counts ? (job->n_rows + 7) / 8 * 8 + 8 : job->n_rows;
}

/* Returns the counts of n samples as doubles, `room` holding them if need be. */
static const REAL *FN(real_counts)(const discrete_job *job, ptrdiff_t begin, ptrdiff_t n, REAL *room)
{
    ptrdiff_t d = job->n_rows, stride = FN(count_stride)(job);
    if (job->counts == NULL)
        return job->reals + begin * d;
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint8_t *x = job->counts + (begin + i) * d;
        for (ptrdiff_t j = 0; j < d; j++)
            room[i * stride + j] = x[j];
    }
    return room;
}

/* lp += x[:, j] table[j] for features [j, end) and `rows` samples, `vecs` vectors. */
ALWAYS_INLINE void FN(look_tile)(const int vecs, const int rows, const REAL *table, ptrdiff_t width,
                                 ptrdiff_t j, ptrdiff_t end, const REAL *x, ptrdiff_t stride,
                                 REAL *lp)
{
    vec sum[8][COUNTS_VECS];
    UNROLL
    for (int i = 0; i < rows; i++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            sum[i][v] = FN(load)(lp + i * width + v * VL);
    for (; j < end; j++) {
        vec row[COUNTS_VECS];
        UNROLL
        for (int v = 0; v < vecs; v++)
            row[v] = FN(load)(table + j * width + v * VL);
        UNROLL
        for (int i = 0; i < rows; i++) {
            REAL one = x[i * stride + j];
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[i][v] += one * row[v];
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            FN(store)(lp + i * width + v * VL, sum[i][v]);
}

/* Sets lp of n samples, `vecs` vectors from `at` on. */
ALWAYS_INLINE void FN(look_counts)(const int vecs, const discrete_job *job, ptrdiff_t at, ptrdiff_t n,
                                   const REAL *x, REAL *lp)
{
    ptrdiff_t width = job->width, d = job->n_rows, stride = FN(count_stride)(job);
    ptrdiff_t step = (64 << 10) / (8 * vecs * VL);
    const REAL *table = job->table + at;
    for (ptrdiff_t i = 0; i < n; i++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            FN(store)(lp + i * width + at + v * VL, FN(load)(job->bias + at + v * VL));
    for (ptrdiff_t j = 0; j < d; j += step) {
        ptrdiff_t end = j + step < d ? j + step : d, i = 0;
        for (; i + TILE <= n; i += TILE)
            FN(look_tile)(vecs, TILE, table, width, j, end, x + i * stride, stride,
                          lp + i * width + at);
        for (; i < n; i++)
            FN(look_tile)(vecs, 1, table, width, j, end, x + i * stride, stride,
                          lp + i * width + at);
    }
    for (ptrdiff_t i = 0; i < n; i++)
        UNROLL
        for (int v = 0; v < vecs; v++) {
            vec one = FN(load)(lp + i * width + at + v * VL);
            one = FN(select)((ivec)(one > FN(fill)(DISCRETE_NEVER / 2)), one,
                             FN(fill)((REAL)-INFINITY));
            FN(store)(lp + i * width + at + v * VL, one);
        }
}

/* Components that allow but one value of a feature are impossible where it has another. */
static void FN(forbid)(const discrete_job *job, ptrdiff_t n, const REAL *x, REAL *lp)
{
    ptrdiff_t width = job->width, stride = FN(count_stride)(job);
    for (ptrdiff_t at = 0; at < job->n_only; at++) {
        const double *only = job->only + 3 * at;
        ptrdiff_t j = (ptrdiff_t)only[0], k = (ptrdiff_t)only[1];
        for (ptrdiff_t i = 0; i < n; i++)
            if (x[i * stride + j] != only[2])
                lp[i * width + k] = (REAL)-INFINITY;
    }
}

/* sums[j] += x[:, j] r for `features` features, `vecs` vectors. */
ALWAYS_INLINE void FN(add_tile)(const int vecs, const int features, ptrdiff_t width, ptrdiff_t n,
                                const REAL *x, ptrdiff_t stride, const REAL *r, double *sums)
{
    vec sum[8][COUNTS_VECS];
    UNROLL
    for (int j = 0; j < features; j++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            sum[j][v] = FN(load)(sums + j * width + v * VL);
    for (ptrdiff_t i = 0; i < n; i++) {
        vec own[COUNTS_VECS];
        UNROLL
        for (int v = 0; v < vecs; v++)
            own[v] = FN(load)(r + i * width + v * VL);
        UNROLL
        for (int j = 0; j < features; j++) {
            REAL one = x[i * stride + j];
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[j][v] += one * own[v];
        }
    }
    UNROLL
    for (int j = 0; j < features; j++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            FN(store)(sums + j * width + v * VL, sum[j][v]);
}

/* Adds n samples under r, (n, width), `vecs` vectors from `at` on. */
ALWAYS_INLINE void FN(add_counts)(const int vecs, const discrete_job *job, ptrdiff_t at, ptrdiff_t n,
                                  const REAL *x, const REAL *r, double *sums)
{
    ptrdiff_t width = job->width, d = job->n_rows, stride = FN(count_stride)(job), j = 0;
    for (; j + TILE <= d; j += TILE)
        FN(add_tile)(vecs, TILE, width, n, x + j, stride, r + at, sums + j * width + at);
    for (; j < d; j++)
        FN(add_tile)(vecs, 1, width, n, x + j, stride, r + at, sums + j * width + at);
}
