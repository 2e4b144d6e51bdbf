/* Binary data: a bit for each column, and tables of what four columns can hold.
 *
 * Four columns have 16 values, so that a sample adds one row of a table for them (an E-step), and
 * four samples 16 subsets, so that a column adds one sum of responsibilities for them (an M-step).
 * Sums of a subset are never above those of all, since the same additions make them, in which some
 * numbers are 0: rounding keeps that order. What is left of a component's total for bits that are
 * clear is therefore at least 0, and 0 where none is. A template: see vec.h.
 *
 * The table is made for each panel of components, one after another: of four columns ("a nibble")
 * 16 rows as wide as the panel. */
#undef ABREAST
#define ABREAST (VEC_REGISTERS == 32 ? 4 : 2) /* samples whose sums are in registers at a time */
#undef WORD_BYTES
#define WORD_BYTES (128 * 8 * VL) /* of the table, for 32 columns and a vector of components */
#define TABLE_BYTES (24 << 10)    /* of it that a chunk's samples go through: the first-level cache */

#define SUMS_BYTES (128 << 10)    /* of columns that a chunk's samples are added to: the second one */

/* Vectors of components that are worked on together: panels as equal as can be. */
ALWAYS_INLINE ptrdiff_t FN(bits_panel)(ptrdiff_t width)
{
    ptrdiff_t most = TABLE_BYTES / WORD_BYTES, vecs = width / VL, n;
    most = most < 1 ? 1 : most < DISCRETE_PANEL ? most : DISCRETE_PANEL;
    n = (vecs + most - 1) / most;
    return (vecs + n - 1) / n;
}

/* lp += the table's rows of words [word, end) of n samples, `vecs` vectors from `at` on; of the last
 * word `nibbles`. `first`: lp is not set yet. */
ALWAYS_INLINE void FN(look_bits)(const int vecs, const discrete_job *job, ptrdiff_t at,
                                 ptrdiff_t begin, ptrdiff_t n, ptrdiff_t word, ptrdiff_t end,
                                 REAL *lp)
{
    const ptrdiff_t stride = vecs * VL, n_words = job->n_words;
    const ptrdiff_t n_nibbles = (job->n_columns + 3) / 4, n_tabled = 16 * n_nibbles;
    const REAL *table = job->table + at * n_tabled;
    ptrdiff_t width = job->width;
    vec bias[DISCRETE_PANEL];
    UNROLL
    for (int v = 0; v < vecs; v++)
        bias[v] = FN(load)(job->bias + at + v * VL);
    for (ptrdiff_t row = 0; row < n; row += ABREAST) {
        const uint32_t *bits[ABREAST];
        vec sum[ABREAST][DISCRETE_PANEL];
        UNROLL
        for (int i = 0; i < ABREAST; i++) {
            ptrdiff_t there = row + i < n ? row + i : n - 1;
            bits[i] = job->bits + (begin + there) * n_words;
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[i][v] = word ? FN(load)(lp + (row + i) * width + at + v * VL) : bias[v];
        }
        for (ptrdiff_t w = word; w < end; w++) {
            const REAL *rows = table + 128 * w * stride;
            uint32_t b[ABREAST];
            ptrdiff_t left = n_nibbles - 8 * w;
            UNROLL
            for (int i = 0; i < ABREAST; i++)
                b[i] = bits[i][w];
#define NIBBLE(nibble)                                                                            \
    UNROLL                                                                                        \
    for (int i = 0; i < ABREAST; i++) {                                                           \
        const REAL *at_bits = rows + (16 * (nibble) + (b[i] >> (4 * (nibble)) & 15)) * stride;    \
        UNROLL                                                                                    \
        for (int v = 0; v < vecs; v++)                                                            \
            sum[i][v] += FN(load)(at_bits + v * VL);                                              \
    }
            if (left >= 8) {
                UNROLL
                for (int nibble = 0; nibble < 8; nibble++)
                    NIBBLE(nibble)
            } else
                for (int nibble = 0; nibble < left; nibble++)
                    NIBBLE(nibble)
#undef NIBBLE
        }
        UNROLL
        for (int i = 0; i < ABREAST; i++)
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(lp + (row + i) * width + at + v * VL, sum[i][v]);
    }
}

/* The 32 bits of a column from sample `begin` on. */
ALWAYS_INLINE uint32_t FN(column_bits)(const uint32_t *column, ptrdiff_t begin)
{
    uint64_t both = column[begin / 32] | (uint64_t)column[begin / 32 + 1] << 32;
    return (uint32_t)(both >> begin % 32);
}

/* sums += what 32 samples from `begin` on add to columns [c, end) under r, (32, width), `vecs` vectors
 * from `at` on. After the last column there is one more, in which all bits are set: the
 * responsibilities. */
ALWAYS_INLINE void FN(add_bits)(const int vecs, const discrete_job *job, ptrdiff_t at,
                                ptrdiff_t begin, const REAL *r, ptrdiff_t c, ptrdiff_t end,
                                REAL *subsets, double *sums)
{
    const ptrdiff_t stride = vecs * VL, n_columns = job->n_columns, words = job->column_words;
    const uint32_t *columns = job->columns;
    ptrdiff_t width = job->width;
    for (int nibble = 0; nibble < 8; nibble++)
        UNROLL
        for (int v = 0; v < vecs; v++) {
            REAL *own = subsets + 16 * nibble * stride + v * VL;
            vec sum[16];
            sum[0] = FN(fill)(0);
            UNROLL
            for (int i = 0; i < 4; i++) {
                vec one = FN(load)(r + (4 * nibble + i) * width + at + v * VL);
                UNROLL
                for (int b = 0; b < 1 << i; b++)
                    sum[b + (1 << i)] = sum[b] + one;
            }
            UNROLL
            for (int b = 0; b < 16; b++)
                FN(store)(own + b * stride, sum[b]);
        }
    for (; c < end; c++) {
        uint32_t b = c < n_columns ? FN(column_bits)(columns + c * words, begin) : 0xffffffffu;
        REAL *own = sums + c * width + at;
        vec sum[DISCRETE_PANEL];
        if (b == 0)
            continue;
        UNROLL
        for (int v = 0; v < vecs; v++)
            sum[v] = FN(load)(own + v * VL);
        UNROLL
        for (int nibble = 0; nibble < 8; nibble++) {
            const REAL *at_bits = subsets + (16 * nibble + (b >> (4 * nibble) & 15)) * stride;
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[v] += FN(load)(at_bits + v * VL);
        }
        UNROLL
        for (int v = 0; v < vecs; v++)
            FN(store)(own + v * VL, sum[v]);
    }
}
