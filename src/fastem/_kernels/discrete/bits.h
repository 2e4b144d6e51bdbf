/* Binary data: a bit for each column, and tables of what four columns can hold.
 *
 * Four columns have 16 values, so that a sample adds one row of a table for them (an E-step), and
 * four samples 16 subsets, so that a column adds one sum of responsibilities for them (an M-step).
 * Sums of a subset are never above those of all, since the same additions make them, in which some
 * numbers are 0: rounding keeps that order. What is left of a component's total for bits that are
 * clear is therefore at least 0, and 0 where none is. A template: see vec.h.
 *
 * The table is made for each panel of components, one after another: of four columns ("a nibble")
 * 16 vectors for each vector of the panel, so that one shift and one mask give the place of all. */
#undef WORD_BYTES
#undef COLUMNS_OF
#undef ABREAST_OF
/* Samples whose sums, of so many vectors, are in registers at a time. */
#define ABREAST_OF(vecs) (4 * (vecs) < VEC_REGISTERS ? 4 : 2 * (vecs) < VEC_REGISTERS ? 2 : 1)
#define COLUMNS_OF(vecs) ((vecs) == 1 ? 4 : 2) /* whose sums are in registers at a time */
#define WORD_BYTES (128 * 8 * VL) /* of the table, for 32 columns and a vector of components */
#define TABLE_BYTES (24 << 10)    /* of it that a chunk's samples go through: the first-level cache */

#define SUMS_BYTES (128 << 10)    /* of columns that a chunk's samples are added to: the second one */

/* Unrolled loops over the bits of a word would find the places of all bits first, for which there
 * are not registers enough. */
#undef ROLLED
#if defined(__GNUC__)
#define ROLLED _Pragma("GCC unroll 1")
#else
#define ROLLED
#endif

/* Places in a table of the lowest four bits, and then of the next four. */
#define SCALED_BITS(bits) ((uint64_t)(bits) * VL)
#define LOWEST_BITS(b) ((b) & (15 * VL))

/* Vectors of components that are worked on together, as much of whose table as `bytes` each is at
 * hand: panels as equal as can be. */
ALWAYS_INLINE ptrdiff_t FN(panel)(ptrdiff_t width, ptrdiff_t bytes)
{
    ptrdiff_t most = TABLE_BYTES / bytes, vecs = width / VL, n;
    most = most < 1 ? 1 : most < DISCRETE_PANEL ? most : DISCRETE_PANEL;
    n = (vecs + most - 1) / most;
    return (vecs + n - 1) / n;
}

ALWAYS_INLINE ptrdiff_t FN(bits_panel)(ptrdiff_t width) { return FN(panel)(width, WORD_BYTES); }

/* The same of sums of subsets of 64 samples. */
ALWAYS_INLINE ptrdiff_t FN(subsets_panel)(ptrdiff_t width)
{
    return FN(panel)(width, 2 * WORD_BYTES);
}

/* lp += the table's rows of words [word, end) of n samples, `vecs` vectors from `at` on; of the last
 * word `nibbles`. `first`: lp is not set yet. */
ALWAYS_INLINE void FN(look_bits)(const int vecs, const discrete_job *job, ptrdiff_t at,
                                 ptrdiff_t begin, ptrdiff_t n, ptrdiff_t word, ptrdiff_t end,
                                 REAL *lp)
{
    const int abreast = ABREAST_OF(vecs);
    const ptrdiff_t stride = vecs * VL, n_words = job->n_words;
    const ptrdiff_t n_nibbles = (job->n_columns + 3) / 4, n_tabled = 16 * n_nibbles;
    const REAL *table = job->table + at * n_tabled;
    ptrdiff_t width = job->width;
    vec bias[DISCRETE_PANEL];
    UNROLL
    for (int v = 0; v < vecs; v++)
        bias[v] = FN(load)(job->bias + at + v * VL);
    for (ptrdiff_t row = 0; row < n; row += abreast) {
        const uint32_t *bits[4];
        vec sum[4][DISCRETE_PANEL];
        UNROLL
        for (int i = 0; i < abreast; i++) {
            ptrdiff_t there = row + i < n ? row + i : n - 1;
            bits[i] = job->bits + (begin + there) * n_words;
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[i][v] = word ? FN(load)(lp + (row + i) * width + at + v * VL) : bias[v];
        }
        for (ptrdiff_t w = word; w < end; w++) {
            const REAL *rows = table + 128 * w * stride;
            ptrdiff_t left = n_nibbles - 8 * w;
            uint64_t b[4];
            UNROLL
            for (int i = 0; i < abreast; i++)
                b[i] = SCALED_BITS(bits[i][w]);
            ROLLED
            for (ptrdiff_t nibble = left < 8 ? left : 8; nibble > 0; nibble--, rows += 16 * stride)
                UNROLL
                for (int i = 0; i < abreast; i++) {
                    const REAL *own = rows + LOWEST_BITS(b[i]);
                    b[i] >>= 4;
                    UNROLL
                    for (int v = 0; v < vecs; v++)
                        sum[i][v] += FN(load)(own + 16 * v * VL);
                }
        }
        UNROLL
        for (int i = 0; i < abreast; i++)
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(lp + (row + i) * width + at + v * VL, sum[i][v]);
    }
}

/* The sums of all subsets of four samples each, of r, (4 * nibbles, width), `vecs` vectors from `at`
 * on. */
ALWAYS_INLINE void FN(sum_subsets)(const int vecs, int nibbles, ptrdiff_t width, const REAL *r,
                                   REAL *subsets)
{
    for (int nibble = 0; nibble < nibbles; nibble++)
        UNROLL
        for (int v = 0; v < vecs; v++) {
            REAL *own = subsets + 16 * (nibble * vecs + v) * VL;
            vec sum[16];
            sum[0] = FN(fill)(0);
            UNROLL
            for (int i = 0; i < 4; i++) {
                vec one = FN(load)(r + (4 * nibble + i) * width + v * VL);
                UNROLL
                for (int b = 0; b < 1 << i; b++)
                    sum[b + (1 << i)] = sum[b] + one;
            }
            UNROLL
            for (int b = 0; b < 16; b++)
                FN(store)(own + b * VL, sum[b]);
        }
}

/* The bits of `words` times 32 samples, which begin with bit `shift` of the first word. */
ALWAYS_INLINE uint64_t FN(column_bits)(const int words, int shift, const uint32_t *column,
                                       ptrdiff_t n_columns)
{
    uint64_t bits = column[0];
    if (words == 2 || shift)
        bits |= (uint64_t)column[n_columns] << 32;
    if (shift)
        bits >>= shift;
    if (shift && words == 2)
        bits |= (uint64_t)column[2 * n_columns] << (64 - shift);
    return words == 2 ? bits : bits & 0xffffffffu;
}

/* sums += what `words` times 32 samples from `begin` on add to columns [c, end) under r, (samples,
 * width), `vecs` vectors from `at` on. After the last column there is one more, in which all bits are
 * set: the responsibilities. */
ALWAYS_INLINE void FN(add_bits)(const int vecs, const int words, const discrete_job *job,
                                ptrdiff_t at, ptrdiff_t begin, const REAL *r, ptrdiff_t c,
                                ptrdiff_t end, REAL *subsets, double *sums)
{
    const ptrdiff_t stride = vecs * VL, n_columns = job->n_columns, width = job->width;
    const uint32_t *column = job->columns + begin / 32 * n_columns;
    const int shift = begin % 32, columns = COLUMNS_OF(vecs);
    FN(sum_subsets)(vecs, 8 * words, width, r + at, subsets);
    for (; c < end; c += columns) {
        uint64_t b[4], any = 0;
        const REAL *rows = subsets;
        double *own[4];
        vec sum[4][DISCRETE_PANEL];
        UNROLL
        for (int i = 0; i < columns; i++) { /* past the end no bit is set, and nothing is stored */
            ptrdiff_t own_column = c + i < end ? c + i : c;
            b[i] = own_column < n_columns
                       ? FN(column_bits)(words, shift, column + own_column, n_columns)
                       : ~(uint64_t)0 >> (64 - 32 * words);
            b[i] = c + i < end ? b[i] : 0;
            own[i] = sums + own_column * width + at;
            any |= b[i];
        }
        if (any == 0)
            continue;
        UNROLL
        for (int i = 0; i < columns; i++)
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[i][v] = FN(load)(own[i] + v * VL);
        ROLLED
        for (int nibble = 0; nibble < 8 * words; nibble++, rows += 16 * stride)
            UNROLL
            for (int i = 0; i < columns; i++) {
                const REAL *at_bits = rows + VL * (b[i] & 15);
                b[i] >>= 4;
                UNROLL
                for (int v = 0; v < vecs; v++)
                    sum[i][v] += FN(load)(at_bits + 16 * v * VL);
            }
        UNROLL
        for (int i = columns - 1; i >= 0; i--) /* the first one last, for which others stand in */
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(own[i] + v * VL, sum[i][v]);
    }
}
