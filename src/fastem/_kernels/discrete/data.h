/* What dense data hold, and binary data as bits. A template: see vec.h. */

#define WORD 32 /* features that are looked at together */

/* Copies n values of a row as doubles. */
ALWAYS_INLINE void FN(take)(const void *x, int is_float, ptrdiff_t at, ptrdiff_t n, REAL *out)
{
    for (ptrdiff_t j = 0; j < n; j++)
        out[j] = is_float ? (REAL)((const float *)x)[at + j] : ((const double *)x)[at + j];
}

/* A bit for each of 32 values that is 1, and for each that is not NaN; returns which lanes of `good`
 * have had nothing but 0, 1 and NaN. */
ALWAYS_INLINE ivec FN(pack_word)(const REAL *values, ivec good, uint32_t *ones, uint32_t *known)
{
    vec zero = FN(fill)(0), one = FN(fill)(1);
    uint32_t set = 0, there = 0;
    UNROLL
    for (ptrdiff_t j = 0; j < WORD; j += VL) {
        vec v = FN(load)(values + j);
        good &= (ivec)(v == zero) | (ivec)(v == one) | (ivec)(v != v);
        set |= (uint32_t)FN(mask_greater)(v, zero) << j;
        there |= (uint32_t)FN(mask_greater)(v, zero - 1) << j;
    }
    *ones = set;
    *known = there;
    return good;
}

ALWAYS_INLINE int FN(pack_rows)(const int is_float, const void *x, ptrdiff_t n, ptrdiff_t d,
                                uint32_t *ones, uint32_t *known)
{
    ptrdiff_t n_words = (d + WORD - 1) / WORD, whole = d / WORD, rest = d % WORD;
    vec zero = FN(fill)(0), one = FN(fill)(1);
    REAL some[WORD], last[WORD] = {0}; /* 0 after the last value of a row */
    for (ptrdiff_t i = 0; i < n; i++, ones += n_words, known += n_words) {
        ivec good = (ivec)(zero == zero);
        for (ptrdiff_t w = 0; w < whole; w++) {
            const REAL *values = (const double *)x + i * d + w * WORD;
            if (is_float) {
                FN(take)(x, 1, i * d + w * WORD, WORD, some);
                values = some;
            }
            good = FN(pack_word)(values, good, ones + w, known + w);
        }
        if (rest) {
            FN(take)(x, is_float, i * d + whole * WORD, rest, last);
            good = FN(pack_word)(last, good, ones + whole, known + whole);
        }
        if (FN(mask_greater)(one, FN(select)(good, one, zero)))
            return 0;
    }
    return 1;
}

/* Writes a bit for each value that is 1, and for each that is not NaN; returns 0, and leaves off, if
 * a value is none of 0, 1 and NaN. */
static int FN(pack)(const void *x, int is_float, ptrdiff_t n, ptrdiff_t d, uint32_t *ones,
                    uint32_t *known)
{
    return is_float ? FN(pack_rows)(1, x, n, d, ones, known) : FN(pack_rows)(0, x, n, d, ones, known);
}

/* What VL features hold in n rows, `stride` numbers apart; of the last ones `width` are there. */
typedef struct {
    vec lowest, highest;
    ivec broken, lost, seen;
} FN(held);

ALWAYS_INLINE FN(held) FN(look_at)(const int is_float, const int whole, const void *x, ptrdiff_t n,
                                   ptrdiff_t stride, ptrdiff_t width, const double *weight)
{
    const REAL magic = 6755399441055744.0, large = 1125899906842624.0; /* 2^50: all are integers */
    FN(held) held;
    held.lowest = held.highest = FN(fill)(0);
    held.broken = held.lost = held.seen = (ivec)(held.lowest > held.highest);
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL values[VL];
        vec v, size;
        if (is_float || !whole)
            for (ptrdiff_t l = 0; l < VL; l++) {
                ptrdiff_t at = i * stride + (whole || l < width ? l : 0);
                values[l] = is_float ? ((const float *)x)[at] : ((const double *)x)[at];
            }
        v = FN(load)(is_float || !whole ? values : (const double *)x + i * stride);
        size = FN(max)(v, -v);
        held.lowest = FN(select)((ivec)(v < held.lowest), v, held.lowest);
        held.highest = FN(select)((ivec)(v > held.highest), v, held.highest);
        held.broken |= (ivec)(v + magic - magic != v) & (ivec)(size < FN(fill)(large));
        held.lost |= (ivec)(v != v);
        if (weight == NULL || weight[i] > 0)
            held.seen |= (ivec)(v == v);
    }
    return held;
}

/* Widens what is known of each feature by n rows. */
static void FN(inspect)(const void *x, int is_float, ptrdiff_t n, ptrdiff_t d, const double *weight,
                        const discrete_contents *found)
{
    for (ptrdiff_t j = 0; j < d; j += VL) {
        ptrdiff_t width = d - j < VL ? d - j : VL;
        const char *own = (const char *)x + j * (is_float ? sizeof(float) : sizeof(double));
        REAL low[VL], high[VL], flags[3][VL];
        vec one = FN(fill)(1), zero = FN(fill)(0);
        FN(held) held;
        if (width < VL)
            held = is_float ? FN(look_at)(1, 0, own, n, d, width, weight)
                            : FN(look_at)(0, 0, own, n, d, width, weight);
        else
            held = is_float ? FN(look_at)(1, 1, own, n, d, width, weight)
                            : FN(look_at)(0, 1, own, n, d, width, weight);
        FN(store)(low, held.lowest);
        FN(store)(high, held.highest);
        FN(store)(flags[0], FN(select)(held.broken, one, zero));
        FN(store)(flags[1], FN(select)(held.lost, one, zero));
        FN(store)(flags[2], FN(select)(held.seen, one, zero));
        for (ptrdiff_t l = 0; l < width; l++) {
            if (low[l] < found->lowest[j + l])
                found->lowest[j + l] = low[l];
            if (high[l] > found->highest[j + l])
                found->highest[j + l] = high[l];
            if (flags[0][l] > 0)
                found->whole[j + l] = 0;
            found->missing[j + l] |= flags[1][l] > 0;
            found->observed[j + l] |= flags[2][l] > 0;
        }
    }
}
