/* K-means on dense rows: rows that keep their center without a search (Hamerly 2010, "Making k-means
 * even faster"). A template: see vec.h.
 *
 * A row's margin is by how much its second center is farther than its own, at least. When centers
 * move, it shrinks by no more than its own center moves and the farthest that another one does: that
 * is `moved`, which the .pyx computes. A row with a margin of more than the rounding of distances
 * keeps its label, because the difference of the squares is at least the square of the margin.
 * Margins are float in either dtype and every step rounds them down, so that labels are those of a
 * full search, also where distances are equal. One number a row, where bounds.h has two and more,
 * is moved so fast that this pays from the first iteration on.
 */
#define DOWNWARDS 2.4e-7f /* 4 half units in the last place: for a product, and a sum after it */
#define MOST_MARGIN 1e15f /* finite: what is subtracted must count */
#define MOST_GATHERED 0.7 /* of a chunk's rows: to pick more of them takes longer than to take all */

/* The margins of a vector of rows. `best` and `second` are |c|^2 - 2 c . x of the nearest two centers,
 * to which |x|^2 is added: then each is off by no more than `off`. */
ALWAYS_INLINE vec FN(margins)(vec squares, vec best, vec second, vec off)
{
    vec upper = FN(sqrt)(FN(max)(best + squares + off, FN(fill)(0)));
    vec lower = FN(sqrt)(FN(max)(second + squares - off, FN(fill)(0)));
    vec found = lower * (1 - 2 * DOWNWARDS) - upper * (1 + 2 * DOWNWARDS);
    return FN(min)(FN(fill)(MOST_MARGIN), found); /* in this order, a nan stays one */
}

#ifdef REAL_IS_FLOAT
/* By how much the margins of a vector of rows shrink, by their labels. `table` is of the first
 * centers, if they are so few that a register holds them all. */
ALWAYS_INLINE vec FN(shrinkage)(const kmeans_job *job, const int32_t *labels, int few, vec table)
{
    REAL moved[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1];
    (void)few, (void)table;
#if VEC_BYTES == 64
    if (few)
        return (vec)_mm512_permutexvar_ps(_mm512_loadu_si512(labels), (__m512)table);
#endif
    for (ptrdiff_t l = 0; l < VL; l++)
        moved[l] = job->moved[labels[l]];
    return FN(load)(moved);
}

/* Lists the places of the bits that are set, from `first` on; writes up to a vector of places more
 * than that. Returns how many there are. */
ALWAYS_INLINE ptrdiff_t FN(list_bits)(unsigned bits, ptrdiff_t first, int32_t *list)
{
    ptrdiff_t count = 0;
#if VEC_BYTES == 64
    const __m512i each = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i places = _mm512_add_epi32(each, _mm512_set1_epi32((int)first));
    _mm512_storeu_si512(list, _mm512_maskz_compress_epi32((__mmask16)bits, places));
    count = (ptrdiff_t)__builtin_popcount(bits);
#else
    for (ptrdiff_t l = 0; l < VL && bits >> l; l++) {
        list[count] = (int32_t)(first + l);
        count += bits >> l & 1;
    }
#endif
    return count;
}

/* Moves the margins of a chunk's rows by how far the centers moved; lists the rows that have none left,
 * counted from `begin`. */
static ptrdiff_t FN(list_marginless)(const kmeans_job *job, ptrdiff_t begin, ptrdiff_t n,
                                     int32_t *list)
{
    const int32_t *labels = job->labels + begin;
    const unsigned all = VL < 32 ? (1u << VL) - 1 : ~0u;
    REAL *margin = job->margin + begin, least = sqrtf((float)job->error) * (1 + DOWNWARDS);
    REAL first[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1] = {0};
    ptrdiff_t count = 0, r = 0;
    int few = job->n_clusters <= VL;
    if (few)
        memcpy(first, job->moved, job->n_clusters * sizeof(REAL));
    for (; r + VL <= n; r += VL) {
        vec moved = FN(shrinkage)(job, labels + r, few, FN(load)(first));
        vec left = FN(load)(margin + r) * (1 - DOWNWARDS) - moved;
        FN(store)(margin + r, left);
        count += FN(list_bits)(~FN(mask_greater)(left, FN(fill)(least)) & all, r, list + count);
    }
    for (; r < n; r++) {
        margin[r] = margin[r] * (1 - DOWNWARDS) - job->moved[labels[r]];
        list[count] = (int32_t)r;
        count += !(margin[r] > least);
    }
    return count;
}
#endif

/* The rows of a chunk to search, in a list, or all of them: then *list is set to NULL. `nearest` is
 * given the labels so far of those that keep theirs. Returns how many rows are searched. */
static ptrdiff_t FN(rows_to_search)(const kmeans_job *job, ptrdiff_t begin, ptrdiff_t n,
                                    int32_t **list, int32_t *nearest)
{
    ptrdiff_t some = n;
    if (job->moved)
        some = FASTEM_CAT(list_marginless, f32, SUFFIX)(job, begin, n, *list);
    if (some >= MOST_GATHERED * n) {
        *list = NULL;
        return n;
    }
    memcpy(nearest, job->labels + begin, n * sizeof(int32_t));
    return some;
}

/* Asks for listed rows, counted from `begin`. */
ALWAYS_INLINE void FN(fetch_listed)(const kmeans_job *job, ptrdiff_t begin, const int32_t *list,
                                    ptrdiff_t n)
{
    for (ptrdiff_t r = 0; r < n; r++) {
        const char *row = job->x + (begin + list[r]) * job->x_row;
        for (ptrdiff_t at = 0; at < job->x_row; at += 64)
            PREFETCH(row + at);
    }
}

/* The margins of the rows of a packed panel. */
ALWAYS_INLINE void FN(panel_margins)(const kmeans_job *job, const REAL *panel,
                                     const nearest_t *near, float *margin)
{
    vec squares[PANEL_VECS];
    REAL found[PANEL_VECS * (VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1)];
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++)
        squares[v] = FN(fill)(0);
    for (ptrdiff_t i = 0; i < job->n_features; i++)
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++) {
            vec x = FN(load)(panel + i * PANEL + v * VL);
            squares[v] += x * x;
        }
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++)
        FN(store)(found + v * VL,
                  FN(margins)(squares[v], FN(load)(near->best + v * VL),
                              FN(load)(near->second + v * VL), FN(fill)((REAL)job->error)));
    for (ptrdiff_t r = 0; r < PANEL; r++)
        margin[r] = (float)found[r];
}

/* The nearest centers of a chunk's rows that need a search; counts these, and the rows of which rounding
 * might have decided the center. */
static void FN(search_marginless)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin,
                                  ptrdiff_t n, scratch_t *s, int32_t *nearest,
                                  ptrdiff_t *searched, ptrdiff_t *open)
{
    int32_t *list = s->some;
    ptrdiff_t some = FN(rows_to_search)(job, begin, n, &list, nearest);
    *searched += some;
    for (ptrdiff_t first = 0; first < some; first += PANEL) {
        ptrdiff_t rows = some - first < PANEL ? some - first : PANEL;
        float margin[64];
        nearest_t near;
        if (list) {
            ptrdiff_t next = some - first - rows;
            FN(pack)(job, t, begin, list + first, rows, s->panel);
            FN(fetch_listed)(job, begin, list + first + rows, next < PANEL ? next : PANEL);
        } else {
            FN(pack)(job, t, begin + first, NULL, rows, s->panel);
            FN(fetch_rows)(job, begin + first + PANEL);
        }
        FN(nearest_two)(job, t, s->panel, 0, &near);
        FN(panel_margins)(job, s->panel, &near, margin);
        for (ptrdiff_t r = 0; r < rows; r++) {
            ptrdiff_t place = list ? list[first + r] : first + r;
            nearest[place] = near.index[r];
            job->margin[begin + place] = margin[r];
            *open += job->guarded && !(near.second[r] - near.best[r] > job->error);
        }
    }
}
#undef DOWNWARDS
#undef MOST_MARGIN
#undef MOST_GATHERED
