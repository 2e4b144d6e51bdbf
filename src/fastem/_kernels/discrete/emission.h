/* Discrete components beneath a structure that makes the responsibilities: see shared/emission.h.
 * Log-densities are transposed on the way out and responsibilities on the way in, VL samples at a
 * time. A template: see vec.h. */

static ptrdiff_t FN(emission_bytes)(const discrete_job *job)
{
    ptrdiff_t columns = job->width * EMISSION_COLUMN;
    return sizeof(REAL) * (columns + job->width * job->chunk + FN(room)(job));
}

static const REAL *FN(emission_log_prob)(const void *emission, ptrdiff_t begin, ptrdiff_t n,
                                         void *scratch)
{
    const discrete_job *job = emission;
    ptrdiff_t width = job->width;
    REAL *columns = scratch, *lp = columns + width * EMISSION_COLUMN;
    FN(space) space = {lp + width * job->chunk, NULL};
    for (ptrdiff_t first = 0; first < n; first += job->chunk) {
        ptrdiff_t some = n - first < job->chunk ? n - first : job->chunk;
        FN(begin_rows)(job, begin + first, some, &space);
        FN(look)(job, begin + first, some, &space, lp);
        for (ptrdiff_t row = 0; row < some; row += VL) {
            REAL offset[ROWS];
            vec tile[ROWS], offsets;
            for (ptrdiff_t l = 0; l < VL; l++)
                offset[l] = row + l < some ? fastem_offset(job, begin + first + row + l) : 0;
            offsets = FN(load)(offset);
            for (ptrdiff_t k = 0; k < width; k += VL) {
                REAL *column = columns + k * EMISSION_COLUMN + first + row;
                UNROLL
                for (ptrdiff_t l = 0; l < VL; l++)
                    tile[l] = FN(load)(lp + (row + l) * width + k);
                FN(transpose)(tile);
                UNROLL
                for (ptrdiff_t l = 0; l < VL; l++)
                    FN(store)(column + l * EMISSION_COLUMN, tile[l] + offsets);
            }
        }
    }
    return columns;
}

static void FN(emission_add)(const void *emission, ptrdiff_t begin, ptrdiff_t n, void *scratch,
                             const REAL *r, double *sums)
{
    const discrete_job *job = emission;
    ptrdiff_t width = job->width;
    REAL *rows = (REAL *)scratch + width * EMISSION_COLUMN;
    FN(space) space = {rows + width * job->chunk, NULL};
    for (ptrdiff_t first = 0; first < n; first += job->chunk) {
        ptrdiff_t some = n - first < job->chunk ? n - first : job->chunk;
        ptrdiff_t whole = (some + 31) / 32 * 32; /* responsibilities are 0 up to 64 */
        for (ptrdiff_t row = 0; row < whole; row += VL) {
            vec tile[ROWS];
            for (ptrdiff_t k = 0; k < width; k += VL) {
                const REAL *column = r + k * EMISSION_COLUMN + first + row;
                UNROLL
                for (ptrdiff_t l = 0; l < VL; l++)
                    tile[l] = FN(load)(column + l * EMISSION_COLUMN);
                FN(transpose)(tile);
                UNROLL
                for (ptrdiff_t l = 0; l < VL; l++)
                    FN(store)(rows + (row + l) * width + k, tile[l]);
            }
        }
        FN(begin_rows)(job, begin + first, some, &space);
        FN(add)(job, begin + first, some, &space, rows, sums);
    }
}
