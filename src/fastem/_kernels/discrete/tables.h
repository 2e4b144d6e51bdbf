/* What parameters become before a pass: logarithms with a row for each term. A template: see vec.h. */

/* log(x) for x >= 0; -inf of 0. */
ALWAYS_INLINE vec FN(log_or_never)(vec x)
{
    const REAL normal = 2.2250738585072014e-308;
    vec small = FN(fill)(normal);
    vec usual = FN(log)(FN(max)(x, small));
    REAL one[VL], logs[VL];
    if (!FN(mask_greater)(small, x))
        return usual;
    FN(store)(one, x);
    FN(store)(logs, usual);
    for (ptrdiff_t l = 0; l < VL; l++) /* rare: probabilities that die out */
        if (one[l] < normal)
            logs[l] = one[l] > 0 ? log(one[l]) : (REAL)-INFINITY;
    return FN(load)(logs);
}

/* log(1 - p), precise where p is small: the rounding error of 1 - p is put right. */
ALWAYS_INLINE vec FN(log_failure)(vec p)
{
    vec one = FN(fill)(1), rest = one - p, error = (one - rest) - p;
    vec some = FN(max)(rest, FN(fill)((REAL)1e-300));
    return FN(log_or_never)(rest) + error / some;
}

/* table[t] = log(values[:, t]), or log(1 - .), for terms [begin, end); 0 past K. */
static void FN(log_table)(const double *values, ptrdiff_t n_comp, ptrdiff_t n_terms,
                          ptrdiff_t width, ptrdiff_t begin, ptrdiff_t end, int failures,
                          double *table)
{
    for (ptrdiff_t t = begin; t < end; t += VL) {
        ptrdiff_t n = end - t < VL ? end - t : VL;
        for (ptrdiff_t k = 0; k < width; k += VL) {
            vec tile[ROWS];
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++) {
                REAL room[VL];
                const double *row = values + (k + l) * n_terms + t;
                if (k + l >= n_comp) {
                    tile[l] = FN(fill)(0);
                    continue;
                }
                if (n < VL) {
                    for (ptrdiff_t i = 0; i < VL; i++)
                        room[i] = row[i < n ? i : n - 1];
                    row = room;
                }
                tile[l] = FN(load)(row);
                tile[l] = failures ? FN(log_failure)(tile[l]) : FN(log_or_never)(tile[l]);
            }
            FN(transpose)(tile);
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++)
                if (l < n)
                    FN(store)(table + (t + l) * width + k, tile[l]);
        }
    }
}

/* Nibbles [begin, end) of the table of bits.h, from what a set and a clear bit of each column add,
 * (n_columns, width) both. */
static void FN(bit_table)(const double *set, const double *clear, ptrdiff_t n_columns,
                          ptrdiff_t width, ptrdiff_t begin, ptrdiff_t end, double *table)
{
    ptrdiff_t n_nibbles = (n_columns + 3) / 4, panel = FN(bits_panel)(width) * VL;
    for (ptrdiff_t at = 0; at < width; at += panel) {
        ptrdiff_t stride = width - at < panel ? width - at : panel;
        for (ptrdiff_t nibble = begin; nibble < end; nibble++)
            for (ptrdiff_t k = 0; k < stride; k += VL) {
                REAL *own = table + at * 16 * n_nibbles + 16 * nibble * stride + 16 * k;
                vec low[4], high[4], of[4][2];
                UNROLL
                for (int i = 0; i < 4; i++) {
                    ptrdiff_t c = 4 * nibble + i;
                    int there = c < n_columns;
                    of[i][0] = there ? FN(load)(clear + c * width + at + k) : FN(fill)(0);
                    of[i][1] = there ? FN(load)(set + c * width + at + k) : FN(fill)(0);
                }
                UNROLL
                for (int b = 0; b < 4; b++) {
                    low[b] = of[0][b & 1] + of[1][b >> 1];
                    high[b] = of[2][b & 1] + of[3][b >> 1];
                }
                UNROLL
                for (int b = 0; b < 16; b++)
                    FN(store)(own + b * VL, low[b & 3] + high[b >> 2]);
            }
    }
}
