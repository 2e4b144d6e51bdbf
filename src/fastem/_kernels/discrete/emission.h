/* Discrete components beneath a structure that makes the responsibilities: see shared/emission.h.
 * Log-densities are transposed on the way out and responsibilities on the way in, VL samples at a
 * time. A template: see
 * vec.h. */

static const REAL *FN(emission_log_prob)(const void *emission, ptrdiff_t begin, ptrdiff_t n,
                                         void *scratch)
{
    const discrete_job *job = emission;
    ptrdiff_t width = job->width;
    REAL *lp = scratch, *columns = lp + VL * width;
    for (ptrdiff_t row = 0; row < n; row += VL) {
        REAL offset[ROWS];
        vec tile[ROWS], offsets;
        for (ptrdiff_t l = 0; l < VL; l++) {
            ptrdiff_t i = begin + (row + l < n ? row + l : n - 1);
            int64_t first = FN(begin)(job, i), last = FN(begin)(job, i + 1);
            offset[l] = job->offset ? job->offset[i] : 0;
            for (ptrdiff_t at = 0; at < width; at += 8 * VL) {
#define CALL(vecs) FN(look_up)(vecs, job, at, first, last, lp + l * width)
                BLOCK_CASES(CALL)
#undef CALL
            }
        }
        offsets = FN(load)(offset);
        for (ptrdiff_t k = 0; k < width; k += VL) {
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++)
                tile[l] = FN(load)(lp + l * width + k);
            FN(transpose)(tile);
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++)
                FN(store)(columns + (k + l) * EMISSION_COLUMN + row, tile[l] + offsets);
        }
    }
    return columns;
}

static void FN(emission_add)(const void *emission, ptrdiff_t begin, ptrdiff_t n, void *scratch,
                             const REAL *r, double *sums)
{
    const discrete_job *job = emission;
    ptrdiff_t width = job->width;
    REAL *rows = scratch;
    for (ptrdiff_t row = 0; row < n; row += VL) {
        vec tile[ROWS];
        for (ptrdiff_t k = 0; k < width; k += VL) {
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++)
                tile[l] = FN(load)(r + (k + l) * EMISSION_COLUMN + row);
            FN(transpose)(tile);
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++)
                FN(store)(rows + l * width + k, tile[l]);
        }
        FN(add_rows_of)(job, begin + row, n - row < VL ? n - row : VL, rows, sums);
    }
}
