/* K-means on dense rows of doubles: the nearest centers by float, and by double where these are
 * near. See screen.h, which proves the bound. For the double half of a translation unit.
 */
#define SINGLE(name) FASTEM_CAT(name, f32, SUFFIX)
#define single_vec SINGLE(floats)

enum {
    SINGLE(LANES) = VEC_BYTES ? VEC_BYTES / (int)sizeof(float) : 1,
    SINGLE(ROWS) = PANEL_VECS * SINGLE(LANES) /* in a panel of floats */
};

/* ---- panels of floats -------------------------------------------------------------------- */

/* The first n of a vector of doubles, and zeros. */
ALWAYS_INLINE vec FN(load_some)(const double *p, ptrdiff_t n)
{
    double some[VEC_BYTES ? VEC_BYTES / sizeof(double) : 1] = {0};
    if (n >= VL)
        return FN(load)(p);
#if VEC_BYTES == 64
    (void)some;
    return (vec)_mm512_maskz_loadu_pd((__mmask8)((1u << (n > 0 ? n : 0)) - 1), p);
#else
    for (ptrdiff_t l = 0; l < n; l++)
        some[l] = p[l];
    return FN(load)(some);
#endif
}

/* Two vectors of doubles as one of floats. */
ALWAYS_INLINE single_vec FN(join)(vec low, vec high)
{
#if VEC_BYTES == 64
    __m512 a = _mm512_castps256_ps512(_mm512_cvtpd_ps((__m512d)low));
    return (single_vec)_mm512_insertf32x8(a, _mm512_cvtpd_ps((__m512d)high), 1);
#elif VEC_BYTES == 32
    __m128 a = _mm256_cvtpd_ps((__m256d)low), b = _mm256_cvtpd_ps((__m256d)high);
    return (single_vec)_mm256_set_m128(b, a);
#elif VEC_BYTES
    return (single_vec){(float)low[0], (float)low[1], (float)high[0], (float)high[1]};
#else
    (void)high;
    return (float)low;
#endif
}

/* out[i * ROWS + r] = (x[row r][i] - shift[i]) * scale, rounded once to float; past n the last row
 * stands in. The rows are the listed ones, or with no list those from `begin` on. `shift` goes on with
 * zeros to a whole vector of floats. */
ALWAYS_INLINE void FN(pack_single)(const kmeans_job *job, const double *shift, ptrdiff_t begin,
                                   const int32_t *list, ptrdiff_t n, float *out)
{
    const ptrdiff_t lanes = SINGLE(LANES), d = job->n_features;
    for (ptrdiff_t r = 0; r < SINGLE(ROWS); r += lanes)
        for (ptrdiff_t i = 0; i < d; i += lanes) {
            single_vec square[SINGLE(LANES)];
            UNROLL
            for (ptrdiff_t l = 0; l < lanes; l++) {
                ptrdiff_t place = r + l < n ? r + l : n - 1;
                const double *x = FN(row)(job, begin + (list ? list[place] : place)) + i;
                vec low = FN(load_some)(x, d - i), high = FN(load_some)(x + VL, d - i - VL);
                low = (low - FN(load)(shift + i)) * job->scale;
                if (lanes > VL)
                    high = (high - FN(load)(shift + i + VL)) * job->scale;
                square[l] = FN(join)(low, high);
            }
            SINGLE(transpose)(square);
            for (ptrdiff_t l = 0; l < lanes && i + l < d; l++)
                SINGLE(store)(out + (i + l) * SINGLE(ROWS) + r, square[l]);
        }
}

/* The squared lengths of a panel's rows. */
ALWAYS_INLINE void FN(single_squares)(const float *panel, ptrdiff_t d, single_vec *squares)
{
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++)
        squares[v] = SINGLE(fill)(0);
    for (ptrdiff_t i = 0; i < d; i++)
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++) {
            single_vec x = SINGLE(load)(panel + i * SINGLE(ROWS) + v * SINGLE(LANES));
            squares[v] += x * x;
        }
}

/* ---- rows -------------------------------------------------------------------------------- */

/* The nearest centers of a panel of packed rows in float, and the margins of these rows; returns how
 * many rows, which it lists, this does not decide. */
ALWAYS_INLINE ptrdiff_t FN(screen_panel)(const kmeans_job *job, const tables_t *t, const float *panel,
                                         ptrdiff_t n, SINGLE(nearest_of) *near, float *margin,
                                         int32_t *undecided)
{
    const ptrdiff_t lanes = SINGLE(LANES);
    const unsigned all = lanes < 32 ? (1u << lanes) - 1 : ~0u;
    ptrdiff_t count = 0;
    single_vec squares[PANEL_VECS];
    FN(single_squares)(panel, job->n_features, squares);
    SINGLE(nearest_two)(job, t->screen, panel, 0, near);
    for (int v = 0; v < PANEL_VECS; v++) {
        single_vec best = SINGLE(load)(near->best + v * lanes);
        single_vec second = SINGLE(load)(near->second + v * lanes);
        single_vec off = squares[v] * t->off.slope + t->off.constant;
        unsigned open = ~SINGLE(mask_greater)(second - best, off) & all;
        open |= SINGLE(mask_greater)(squares[v], SINGLE(fill)(0x1p80f));
        if (job->margin)
            SINGLE(store)(margin + v * lanes, SINGLE(margins)(squares[v], best, second, off));
        for (ptrdiff_t l = 0; open >> l && l < lanes; l++)
            if ((open >> l & 1) && v * lanes + l < n)
                undecided[count++] = (int32_t)(v * lanes + l);
    }
    return count;
}

/* Finds the nearest centers of a chunk's rows in float, of `n` listed ones or without a list of all;
 * lists the rows that this does not decide. */
ALWAYS_INLINE ptrdiff_t FN(screen_rows)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin,
                                        const int32_t *list, ptrdiff_t n, scratch_t *s,
                                        int32_t *nearest)
{
    const ptrdiff_t rows = SINGLE(ROWS);
    ptrdiff_t count = 0;
    for (ptrdiff_t first = 0; first < n; first += rows) {
        ptrdiff_t here = n - first < rows ? n - first : rows, next = n - first - here, more;
        SINGLE(nearest_of) near;
        float margin[SINGLE(ROWS)];
        if (list) {
            FN(pack_single)(job, t->screen_shift, begin, list + first, here, s->single);
            FN(fetch_listed)(job, begin, list + first + here, next < rows ? next : rows);
        } else {
            FN(pack_single)(job, t->screen_shift, begin + first, NULL, here, s->single);
            FN(fetch_rows)(job, begin + first + rows);
            FN(fetch_rows)(job, begin + first + rows + PANEL);
        }
        more = FN(screen_panel)(job, t, s->single, here, &near, margin, s->list + count);
        for (ptrdiff_t r = 0; list && r < here; r++) {
            nearest[list[first + r]] = near.index[r];
            job->margin[begin + list[first + r]] = margin[r];
        }
        if (!list)
            memcpy(nearest + first, near.index, here * sizeof(int32_t));
        if (!list && job->margin)
            memcpy(job->margin + begin + first, margin, here * sizeof(float));
        for (ptrdiff_t i = 0; i < more; i++, count++)
            s->list[count] = list ? list[first + s->list[count]] : (int32_t)first + s->list[count];
    }
    return count;
}

/* The nearest centers of a chunk; counts the rows of which rounding might have decided them. */
static void FN(screen_chunk)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin, ptrdiff_t n,
                             scratch_t *s, int32_t *nearest, ptrdiff_t *searched,
                             ptrdiff_t *open)
{
    ptrdiff_t some = n, count;
    int32_t *list = job->margin ? s->some : NULL;
    if (list)
        some = FN(rows_to_search)(job, begin, n, &list, nearest);
    *searched += some;
    count = list ? FN(screen_rows)(job, t, begin, list, some, s, nearest)
                 : FN(screen_rows)(job, t, begin, NULL, n, s, nearest);
    for (ptrdiff_t i = 0; i < count; i += PANEL) {
        ptrdiff_t rows = count - i < PANEL ? count - i : PANEL;
        nearest_t near;
        FN(pack)(job, t, begin, s->list + i, rows, s->panel);
        if (rows <= VL)
            FN(nearest_of_few)(job, t, s->panel, &near);
        else
            FN(nearest_two)(job, t, s->panel, 0, &near);
        for (ptrdiff_t r = 0; r < rows; r++) {
            nearest[s->list[i + r]] = near.index[r];
            *open += job->guarded && !(near.second[r] - near.best[r] > job->error);
        }
    }
}
#undef SINGLE
#undef single_vec
