/* K-means: centers in the order in which they are read, panels of rows, and the nearest centers of
 * a panel. A template: see vec.h. */

#undef PANEL_VECS
#undef PANEL
#undef FEW
#define PANEL_VECS (VEC_REGISTERS == 32 ? 4 : 2) /* vectors of rows in a register tile */
#define PANEL (PANEL_VECS * VL)
#define tables_t FN(tables)
#define nearest_t FN(nearest_of)
#define places_t FN(places)
#define FEW 4 /* features at most, for which few.h has loops */

#ifndef REAL_IS_FLOAT
#include "kmeans/screen.h"
#endif

/* Centers by group, in ascending order within it, four at a time; each group is filled up with
 * centers that are infinitely far. |x - c|^2 = |x|^2 + norm + x . coef */
typedef struct {
    REAL *coef;      /* (quads, D, 4): -2 c */
    REAL *norm;      /* (quads, 4): |c|^2 */
    int32_t *center; /* (quads, 4): which center it is */
    ptrdiff_t *first; /* (G + 1,): each group's first quad */
    REAL *rows;      /* (K, D): the centers as they are, with bounds only */
    REAL *shift;     /* (D,) */
#ifndef REAL_IS_FLOAT /* see screen.h */
    FASTEM_CAT(tables, f32, SUFFIX) * screen; /* the same in float, or NULL */
    double *screen_shift;                     /* (D rounded up to whole vectors of floats,) */
    FN(off) off;
#endif
    REAL scale;
} tables_t;

/* Places in the table, or labels, for a vector of rows. */
#if VEC_BYTES
typedef int32_t places_t
    __attribute__((vector_size(VEC_BYTES / sizeof(REAL) * 4), aligned(4), may_alias));
ALWAYS_INLINE places_t FN(narrow)(ivec a) { return __builtin_convertvector(a, places_t); }
ALWAYS_INLINE ivec FN(widen)(places_t a) { return __builtin_convertvector(a, ivec); }
#else
typedef int32_t places_t;
ALWAYS_INLINE places_t FN(narrow)(ivec a) { return (places_t)a; }
ALWAYS_INLINE ivec FN(widen)(places_t a) { return a; }
#endif

/* The nearest of some centers to each row of a panel, its distance, and that of the second. */
typedef struct {
    REAL best[64], second[64]; /* |c|^2 - 2 c . x */
    int32_t index[64];         /* place in the table */
} nearest_t;

ALWAYS_INLINE ptrdiff_t FN(up)(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }
ALWAYS_INLINE ptrdiff_t FN(n_groups)(const kmeans_job *job)
{
    return job->n_groups ? job->n_groups : 1;
}

static char *FN(take)(char **p, ptrdiff_t bytes)
{
    char *start = *p;
    *p += FN(up)(bytes, 64);
    return start;
}

static ptrdiff_t FN(lay_tables)(const kmeans_job *job, char *memory, tables_t *t)
{
    ptrdiff_t d = job->n_features, groups = FN(n_groups)(job), size = sizeof(REAL);
    /* no more than K / 4 quads are full, and one in each group is not */
    ptrdiff_t quads = job->n_clusters / 4 + groups;
    char *p = memory;
    FN(take)(&p, sizeof(tables_t));
    t->norm = (REAL *)FN(take)(&p, quads * 4 * size);
    t->center = (int32_t *)FN(take)(&p, quads * 4 * sizeof(int32_t));
    t->first = (ptrdiff_t *)FN(take)(&p, (groups + 1) * sizeof(ptrdiff_t));
    t->shift = (REAL *)FN(take)(&p, d * size);
    t->rows = (REAL *)FN(take)(&p, job->n_groups ? job->n_clusters * d * size : 0);
    t->coef = (REAL *)FN(take)(&p, quads * d * 4 * size);
#ifndef REAL_IS_FLOAT
    t->screen = NULL;
    if (FN(screened)(job)) {
        t->screen_shift = (double *)FN(take)(&p, FN(up)(d, 2 * VL) * size);
        t->screen = (void *)FN(take)(&p, FASTEM_CAT(tables_bytes, f32, SUFFIX)(job));
    }
#endif
    return p - memory;
}

static ptrdiff_t FN(tables_bytes)(const kmeans_job *job)
{
    tables_t t;
    return job->x ? FN(lay_tables)(job, NULL, &t) : 0;
}

/* One center's coefficients, `step` apart; returns |c|^2. */
static double FN(pack_center)(const kmeans_job *job, ptrdiff_t k, REAL *coef, ptrdiff_t step)
{
    const double *center = job->centers + k * job->n_features;
    double norm = 0;
    for (ptrdiff_t i = 0; i < job->n_features; i++) {
        double c = (center[i] - job->shift[i]) * job->scale;
        coef[i * step] = (REAL)(-2 * c);
        norm += c * c;
    }
    return norm;
}

static void FN(prepare)(const void *given, ptrdiff_t part, void *memory)
{
    const kmeans_job *job = given;
    tables_t *t = memory;
    ptrdiff_t d = job->n_features, groups = FN(n_groups)(job);
    double longest = 0;
    (void)part;
    FN(lay_tables)(job, memory, t);
    t->scale = (REAL)job->scale;
    for (ptrdiff_t i = 0; i < d; i++)
        t->shift[i] = (REAL)job->shift[i];
    for (ptrdiff_t i = 0; job->n_groups && i < job->n_clusters * d; i++)
        t->rows[i] = (REAL)job->centers[i];
    for (ptrdiff_t g = 0; g < groups; g++) {
        ptrdiff_t place = 4 * t->first[g];
        for (ptrdiff_t k = 0; k < job->n_clusters; k++)
            if (job->n_groups == 0 || job->group[k] == g) {
                REAL *coef = t->coef + place / 4 * d * 4 + place % 4;
                double norm = FN(pack_center)(job, k, coef, 4);
                longest = norm > longest ? norm : longest;
                t->norm[place] = job->by_product ? 0 : (REAL)norm;
                t->center[place++] = (int32_t)k;
            }
        for (; place % 4; place++)
            t->norm[place] = (REAL)INFINITY;
        t->first[g + 1] = place / 4;
    }
#ifndef REAL_IS_FLOAT
    if (t->screen) {
        FASTEM_CAT(prepare, f32, SUFFIX)(job, 0, t->screen);
        memcpy(t->screen_shift, job->shift, d * sizeof(double));
        t->off = FN(screen_error)(job, longest);
    }
#endif
}

/* ---- panels ------------------------------------------------------------------------------ */

/* out[i * PANEL + r] = (x[row of r][i] - shift[i]) * scale; zeros past n. The rows are the listed
 * ones, or with no list those from `begin` on. */
static void FN(pack)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin,
                     const int32_t *list, ptrdiff_t n, REAL *out)
{
    ptrdiff_t d = job->n_features, i = 0;
    const char *rows[64];
    for (ptrdiff_t r = 0; r < PANEL; r++) /* past n the last row stands in */
        rows[r] = job->x + (begin + (list ? list[r < n ? r : n - 1] : r < n ? r : n - 1)) * job->x_row;
    for (; i + VL <= d; i += VL) {
        const REAL *shift = t->shift + i;
        for (ptrdiff_t r = 0; r < PANEL; r += VL) {
            vec square[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1];
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++)
                square[l] = FN(load)((const REAL *)rows[r + l] + i);
            FN(transpose)(square);
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++)
                FN(store)(out + (i + l) * PANEL + r, (square[l] - shift[l]) * t->scale);
        }
    }
    for (; i < d; i++)
        for (ptrdiff_t r = 0; r < PANEL; r++)
            out[i * PANEL + r] = (((const REAL *)rows[r])[i] - t->shift[i]) * t->scale;
}

/* ---- the nearest centers ----------------------------------------------------------------- */

/* Lanes of a where it is smaller than best go into best, with their place; the first one stays
 * where two are equal. With `second` that holds the smallest of the others. A center depends
 * on the one before only through one min(). */
ALWAYS_INLINE void FN(keep_smaller)(const int with_second, vec a, ivec place, vec *best,
                                    ivec *index, vec *second)
{
#if VEC_BYTES == 64 && defined(REAL_IS_FLOAT)
    __mmask16 less = _mm512_cmp_ps_mask((__m512)a, (__m512)*best, _CMP_LT_OQ);
    *index = (ivec)_mm512_mask_mov_epi32((__m512i)*index, less, (__m512i)place);
#elif VEC_BYTES == 64
    __mmask8 less = _mm512_cmp_pd_mask((__m512d)a, (__m512d)*best, _CMP_LT_OQ);
    *index = (ivec)_mm512_mask_mov_epi64((__m512i)*index, less, (__m512i)place);
#elif VEC_BYTES
    ivec less = (ivec)(a < *best);
    *index = (less & place) | (*index & ~less);
#else
    *index = a < *best ? place : *index;
#endif
    if (with_second)
        *second = FN(min)(FN(max)(a, *best), *second);
    *best = FN(min)(a, *best);
}

/* The nearest of the centers in some quads to the rows of a panel, so many vectors of them: its
 * place in the table and, if `two` is not NULL, its distance and that of the second. */
ALWAYS_INLINE void FN(nearest_in)(const int vecs, const int d_known, ptrdiff_t d_given,
                                  const tables_t *t, const REAL *x, ptrdiff_t first,
                                  ptrdiff_t last, int32_t *out, nearest_t *two)
{
    const int with_second = two != NULL;
    ptrdiff_t d = d_known ? d_known : d_given;
    vec best[PANEL_VECS], second[PANEL_VECS];
    ivec index[PANEL_VECS], place = FN(bits)(FN(fill)(0)) + (INT)(4 * first);
    UNROLL
    for (int v = 0; v < vecs; v++) {
        best[v] = second[v] = FN(fill)((REAL)INFINITY);
        index[v] = place;
    }
    for (ptrdiff_t quad = first; quad < last; quad++) {
        const REAL *coef = t->coef + quad * d * 4, *norm = t->norm + quad * 4;
        vec sum[4][PANEL_VECS];
        UNROLL
        for (int j = 0; j < 4; j++)
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[j][v] = FN(fill)(norm[j]);
        for (ptrdiff_t i = 0; i < d; i++) {
            vec row[PANEL_VECS];
            UNROLL
            for (int v = 0; v < vecs; v++)
                row[v] = FN(load)(x + i * PANEL + v * VL);
            UNROLL
            for (int j = 0; j < 4; j++)
                UNROLL
                for (int v = 0; v < vecs; v++)
                    sum[j][v] += row[v] * coef[4 * i + j];
        }
        UNROLL
        for (int j = 0; j < 4; j++)
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(keep_smaller)(with_second, sum[j][v], place + j, &best[v], &index[v],
                                 &second[v]);
        place += 4;
    }
    UNROLL
    for (int v = 0; v < vecs; v++) {
        if (with_second) {
            FN(store)(two->best + v * VL, best[v]);
            FN(store)(two->second + v * VL, second[v]);
        }
        *(places_t *)(out + v * VL) = FN(narrow)(index[v]);
    }
}

NOINLINE static void FN(nearest)(const kmeans_job *job, const tables_t *t, const REAL *x,
                                 int32_t *out)
{
    FN(nearest_in)(PANEL_VECS, 0, job->n_features, t, x, 0, t->first[1], out, NULL);
}

/* The same in one group, with the distance of the second. */
NOINLINE static void FN(nearest_two)(const kmeans_job *job, const tables_t *t, const REAL *x,
                                     ptrdiff_t group, nearest_t *out)
{
    ptrdiff_t first = t->first[group], last = t->first[group + 1];
    FN(nearest_in)(PANEL_VECS, 0, job->n_features, t, x, first, last, out->index, out);
}

/* The same for the first vector of a panel alone, of a table without groups. */
NOINLINE static void FN(nearest_of_few)(const kmeans_job *job, const tables_t *t, const REAL *x,
                                        nearest_t *out)
{
    FN(nearest_in)(1, 0, job->n_features, t, x, 0, t->first[1], out->index, out);
}

/* ---- rows where they are ----------------------------------------------------------------- */

ALWAYS_INLINE const REAL *FN(row)(const kmeans_job *job, ptrdiff_t row)
{
    return (const REAL *)(job->x + row * job->x_row);
}

/* Squared distance of two rows, and with b NULL the squared length of one. */
ALWAYS_INLINE REAL FN(squared)(const REAL *a, const REAL *b, ptrdiff_t d)
{
    vec sum = FN(fill)(0);
    ptrdiff_t i = 0;
    REAL lanes[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1], total = 0;
    for (; i + VL <= d; i += VL) {
        vec gap = FN(load)(a + i);
        if (b)
            gap -= FN(load)(b + i);
        sum += gap * gap;
    }
    FN(store)(lanes, sum);
    for (ptrdiff_t half = VL / 2; half; half /= 2)
        for (ptrdiff_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    for (; i < d; i++)
        total += b ? (a[i] - b[i]) * (a[i] - b[i]) : a[i] * a[i];
    return total + lanes[0];
}

enum { FN(TALL) = VEC_REGISTERS == 32 ? 4 : 2 }; /* rows that meet four centers in registers */

/* products[r][j] = row r . center j */
ALWAYS_INLINE void FN(products)(const REAL *const *rows, const REAL *const *centers, ptrdiff_t d,
                                REAL (*products)[4])
{
    vec sum[FN(TALL) * 4 < VL ? VL : FN(TALL) * 4];
    REAL sums[16];
    ptrdiff_t i = 0;
    memset(sum, 0, sizeof sum);
    for (; i + VL <= d; i += VL) {
        vec x[FN(TALL)];
        UNROLL
        for (int r = 0; r < FN(TALL); r++)
            x[r] = FN(load)(rows[r] + i);
        UNROLL
        for (int j = 0; j < 4; j++) {
            vec c = FN(load)(centers[j] + i);
            UNROLL
            for (int r = 0; r < FN(TALL); r++)
                sum[4 * r + j] += x[r] * c;
        }
    }
    UNROLL
    for (ptrdiff_t a = 0; a < 4 * FN(TALL); a += VL)
        FN(store)(sums + a, FN(sum_lanes)(sum + a));
    for (int r = 0; r < FN(TALL); r++)
        for (int j = 0; j < 4; j++) {
            products[r][j] = sums[4 * r + j];
            for (ptrdiff_t l = i; l < d; l++)
                products[r][j] += rows[r][l] * centers[j][l];
        }
}

/* The nearest of a group's centers to some rows, TALL at most, with that of the second. */
NOINLINE static void FN(nearest_rows)(const kmeans_job *job, const tables_t *t,
                                      const REAL *const *rows, ptrdiff_t group, nearest_t *out)
{
    ptrdiff_t d = job->n_features;
    REAL factor = -2 * t->scale * t->scale;
    for (int r = 0; r < FN(TALL); r++) {
        out->best[r] = out->second[r] = (REAL)INFINITY;
        out->index[r] = (int32_t)(4 * t->first[group]);
    }
    for (ptrdiff_t quad = t->first[group]; quad < t->first[group + 1]; quad++) {
        REAL products[FN(TALL)][4];
        const REAL *centers[4];
        for (int j = 0; j < 4; j++)
            centers[j] = t->rows + t->center[4 * quad + j] * d;
        FN(products)(rows, centers, d, products);
        for (int r = 0; r < FN(TALL); r++)
            for (int j = 0; j < 4; j++) {
                REAL a = t->norm[4 * quad + j] + factor * products[r][j];
                int less = a < out->best[r];
                REAL other = less ? out->best[r] : a;
                out->second[r] = other < out->second[r] ? other : out->second[r];
                out->best[r] = less ? a : out->best[r];
                out->index[r] = less ? (int32_t)(4 * quad + j) : out->index[r];
            }
    }
}
