/* K-means on rows of few features: nearly all of the time is what happens around the products, so
 * the number of features is known when this is compiled. A template: see vec.h. */

/* The number of sums if they are so few that a panel is added to each of them under a mask, else 0.
 * If rows were added one by one to few places, each addition would wait for the one before. */
ALWAYS_INLINE ptrdiff_t FN(few_sums)(const kmeans_job *job)
{
    ptrdiff_t d = job->n_features, k = job->n_clusters;
    return !job->moves && !job->sample_weight && d <= FEW && k <= 16 ? k * (d + 1) : 0;
}

/* Packs a panel of rows that follow each other without a gap. */
ALWAYS_INLINE void FN(pack_few)(const int d, const REAL *restrict x, const tables_t *t,
                                REAL *restrict out)
{
    REAL shift[FEW], scale = t->scale;
    for (int i = 0; i < d; i++)
        shift[i] = t->shift[i];
    for (ptrdiff_t r = 0; r < PANEL; r++) {
        UNROLL
        for (int i = 0; i < d; i++)
            out[i * PANEL + r] = (x[r * d + i] - shift[i]) * scale;
    }
}

/* a + x in the lanes where index is k. */
ALWAYS_INLINE vec FN(add_where)(vec a, ivec index, INT k, vec x)
{
#if VEC_BYTES == 64 && defined(REAL_IS_FLOAT)
    __mmask16 equal = _mm512_cmpeq_epi32_mask((__m512i)index, _mm512_set1_epi32(k));
    return (vec)_mm512_mask_add_ps((__m512)a, equal, (__m512)a, (__m512)x);
#elif VEC_BYTES == 64
    __mmask8 equal = _mm512_cmpeq_epi64_mask((__m512i)index, _mm512_set1_epi64(k));
    return (vec)_mm512_mask_add_pd((__m512d)a, equal, (__m512d)a, (__m512d)x);
#elif VEC_BYTES
    return a + FN(from_bits)((ivec)(FN(bits)(x) & (ivec)(index == k)));
#else
    return index == k ? a + x : a;
#endif
}

/* Adds a whole panel to few sums. */
ALWAYS_INLINE void FN(add_panel)(const int d, const REAL *panel, const int32_t *labels,
                                 ptrdiff_t n_clusters, REAL *lanes)
{
    vec x[PANEL_VECS][FEW + 1];
    ivec index[PANEL_VECS];
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++) {
        index[v] = FN(widen)(*(const places_t *)(labels + v * VL));
        UNROLL
        for (int i = 0; i < d; i++)
            x[v][i] = FN(load)(panel + i * PANEL + v * VL);
        x[v][d] = FN(fill)(1);
    }
    for (ptrdiff_t k = 0; k < n_clusters; k++, lanes += (d + 1) * VL)
        UNROLL
        for (int i = 0; i <= d; i++) {
            vec sum = FN(load)(lanes + i * VL);
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                sum = FN(add_where)(sum, index[v], (INT)k, x[v][i]);
            FN(store)(lanes + i * VL, sum);
        }
}

/* Adds the lanes of few sums to a chunk's sums, in the data's own coordinates. */
static void FN(add_lanes)(const kmeans_job *job, const REAL *lanes, double *sums)
{
    ptrdiff_t d = job->n_features;
    for (ptrdiff_t k = 0; k < job->n_clusters; k++)
        for (ptrdiff_t i = 0; i <= d; i++, lanes += VL) {
            double sum = 0;
            for (ptrdiff_t l = 0; l < VL; l++)
                sum += lanes[l];
            if (i < d)
                sums[k * d + i] += sum / job->scale;
            else
                sums[job->n_clusters * d + k] += sum;
        }
}

/* The nearest centers of whole panels of a chunk, and their sums if these are few. */
ALWAYS_INLINE ptrdiff_t FN(panels_of)(const int d, const kmeans_job *job, const tables_t *t,
                                      ptrdiff_t begin, ptrdiff_t n, ptrdiff_t few, scratch_t *s)
{
    const REAL *x = FN(row)(job, begin);
    ptrdiff_t first = 0;
    for (; first + PANEL <= n; first += PANEL) {
        FN(pack_few)(d, x + first * d, t, s->panel);
        FN(nearest_in)(PANEL_VECS, d, d, t, s->panel, 0, t->first[1], s->center + first, NULL);
        if (few)
            FN(add_panel)(d, s->panel, s->center + first, job->n_clusters, s->lanes);
    }
    return first;
}

/* The same where features are few and rows have no gaps; returns the number of rows done. */
AT_A_LINE static ptrdiff_t FN(few_panels)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin,
                                ptrdiff_t n, ptrdiff_t few, scratch_t *s)
{
    if (!job->x || job->x_row != job->n_features * (ptrdiff_t)sizeof(REAL))
        return 0;
    switch (job->n_features) {
    case 1:
        return FN(panels_of)(1, job, t, begin, n, few, s);
    case 2:
        return FN(panels_of)(2, job, t, begin, n, few, s);
    case 3:
        return FN(panels_of)(3, job, t, begin, n, few, s);
    case FEW:
        return FN(panels_of)(FEW, job, t, begin, n, few, s);
    default:
        return 0;
    }
}
