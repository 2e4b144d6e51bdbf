/* What dense data hold, and binary data as bits. A template: see vec.h. */

#define WORD 32 /* features that are looked at together */

/* Copies up to 32 values of a row as doubles; 0 after n. */
ALWAYS_INLINE void FN(take)(const void *x, int is_float, ptrdiff_t at, ptrdiff_t n, REAL *out)
{
    const float *narrow = x;
    const double *wide = x;
    if (is_float)
        for (ptrdiff_t j = 0; j < n; j++)
            out[j] = narrow[at + j];
    else
        memcpy(out, wide + at, n * sizeof *out);
    for (ptrdiff_t j = n; j < WORD; j++)
        out[j] = 0;
}

/* Writes a bit for each value that is 1, and for each that is not NaN; returns 0, and leaves off, if
 * a value is none of 0, 1 and NaN. */
static int FN(pack)(const void *x, int is_float, ptrdiff_t n, ptrdiff_t d, uint32_t *ones,
                    uint32_t *known)
{
    ptrdiff_t n_words = (d + WORD - 1) / WORD;
    vec zero = FN(fill)(0), one = FN(fill)(1);
    for (ptrdiff_t i = 0; i < n; i++) {
        ivec good = (ivec)(zero == zero);
        for (ptrdiff_t w = 0; w < n_words; w++) {
            REAL values[WORD];
            uint32_t set = 0, there = 0;
            FN(take)(x, is_float, i * d + w * WORD, d - w * WORD < WORD ? d - w * WORD : WORD, values);
            UNROLL
            for (ptrdiff_t j = 0; j < WORD; j += VL) {
                vec v = FN(load)(values + j);
                good &= (ivec)(v == zero) | (ivec)(v == one) | (ivec)(v != v);
                set |= (uint32_t)FN(mask_greater)(v, zero) << j;
                there |= (uint32_t)FN(mask_greater)(v, zero - 1) << j;
            }
            ones[i * n_words + w] = set;
            known[i * n_words + w] = there;
        }
        if (FN(mask_greater)(one, FN(select)(good, one, zero)))
            return 0;
    }
    return 1;
}

/* Widens what is known of each feature by n rows. */
static void FN(inspect)(const void *x, int is_float, ptrdiff_t n, ptrdiff_t d, const double *weight,
                        const discrete_contents *found)
{
    const REAL magic = 6755399441055744.0, large = 1125899906842624.0; /* 2^50: all are integers */
    for (ptrdiff_t first = 0; first < d; first += WORD) {
        ptrdiff_t width = d - first < WORD ? d - first : WORD;
        vec lowest[WORD], highest[WORD];
        ivec broken[WORD], lost[WORD], seen[WORD];
        for (ptrdiff_t j = 0; j < WORD / VL; j++) {
            lowest[j] = highest[j] = FN(fill)(0);
            broken[j] = lost[j] = seen[j] = (ivec)(lowest[j] > lowest[j]);
        }
        for (ptrdiff_t i = 0; i < n; i++) {
            REAL values[WORD];
            vec counts = FN(fill)((REAL)(weight == NULL || weight[i] > 0));
            FN(take)(x, is_float, i * d + first, width, values);
            for (ptrdiff_t j = 0; j < WORD / VL; j++) {
                vec v = FN(load)(values + j * VL), size = FN(max)(v, -v);
                ivec there = (ivec)(v == v);
                vec shifted = v + magic;
                lowest[j] = FN(select)((ivec)(v < lowest[j]), v, lowest[j]);
                highest[j] = FN(select)((ivec)(v > highest[j]), v, highest[j]);
                broken[j] |= (ivec)(shifted - magic != v) & (ivec)(size < FN(fill)(large)) & there;
                lost[j] |= (ivec)(v != v);
                seen[j] |= there & (ivec)(counts > FN(fill)(0));
            }
        }
        for (ptrdiff_t j = 0; j < width; j++) {
            REAL low[VL], high[VL], flags[3][VL];
            ptrdiff_t v = j / VL, l = j % VL;
            FN(store)(low, lowest[v]);
            FN(store)(high, highest[v]);
            FN(store)(flags[0], FN(select)(broken[v], FN(fill)(1), FN(fill)(0)));
            FN(store)(flags[1], FN(select)(lost[v], FN(fill)(1), FN(fill)(0)));
            FN(store)(flags[2], FN(select)(seen[v], FN(fill)(1), FN(fill)(0)));
            if (low[l] < found->lowest[first + j])
                found->lowest[first + j] = low[l];
            if (high[l] > found->highest[first + j])
                found->highest[first + j] = high[l];
            if (flags[0][l] > 0)
                found->whole[first + j] = 0;
            found->missing[first + j] |= flags[1][l] > 0;
            found->observed[first + j] |= flags[2][l] > 0;
        }
    }
}
