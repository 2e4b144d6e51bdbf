/* K-means E-step on one chunk of rows.
 *
 * A template on REAL and the vector width: see vec.h. Rows are taken in panels in which samples are
 * contiguous, so that a vector holds VL samples of one feature. Each four centers meet a panel in
 * registers, and what is kept of them is the smaller distance and its center: no distance is ever
 * stored. chunk() below is the whole algorithm; kmeans_bounds.h has the one that skips rows.
 */
#include "kmeans_tile.h"

#define scratch_t FN(scratch)

typedef struct {
    REAL *panel;     /* (D, PANEL) */
    REAL *products;  /* CSR only: (K rounded up to VL,) distances of one row */
    int32_t *list;   /* (KMEANS_CHUNK,) rows that may change their center */
    int32_t *some;   /* (KMEANS_CHUNK,) those of them that one group is to be searched for */
    int32_t *own;    /* (KMEANS_CHUNK,) the group of the listed rows' centers */
    float *least;    /* (KMEANS_CHUNK,) the smallest lower bound of each row */
    REAL *norm;      /* (KMEANS_CHUNK,) |x|^2 of the listed rows, scaled */
    REAL *best, *second; /* (KMEANS_CHUNK,) see nearest_t */
    REAL *lanes;     /* (K, D + 1, VL) few sums: lane by lane, see add_panel */
    int32_t *center; /* (KMEANS_CHUNK,) the nearest so far */
} scratch_t;

/* The number of sums if they are so few that a panel is added to each under a mask, else 0. Adding
 * row after row to a few places, each sum would wait for the one before. */
ALWAYS_INLINE ptrdiff_t FN(few_sums)(const kmeans_job *job)
{
    ptrdiff_t d = job->n_features, k = job->n_clusters;
    return job->x && !job->n_groups && !job->sample_weight && d <= 3 && k <= 16 ? k * (d + 1) : 0;
}

static ptrdiff_t FN(lay_scratch)(const kmeans_job *job, char *memory, scratch_t *s)
{
    char *p = memory;
    s->panel = (REAL *)FN(take)(&p, job->n_features * PANEL * sizeof(REAL));
    s->products = (REAL *)FN(take)(&p, FN(up)(job->n_clusters, VL) * sizeof(REAL));
    s->list = (int32_t *)FN(take)(&p, KMEANS_CHUNK * sizeof(int32_t));
    s->some = (int32_t *)FN(take)(&p, KMEANS_CHUNK * sizeof(int32_t));
    s->own = (int32_t *)FN(take)(&p, KMEANS_CHUNK * sizeof(int32_t));
    s->least = (float *)FN(take)(&p, KMEANS_CHUNK * sizeof(float));
    s->norm = (REAL *)FN(take)(&p, KMEANS_CHUNK * sizeof(REAL));
    s->best = (REAL *)FN(take)(&p, KMEANS_CHUNK * sizeof(REAL));
    s->second = (REAL *)FN(take)(&p, KMEANS_CHUNK * sizeof(REAL));
    s->center = (int32_t *)FN(take)(&p, KMEANS_CHUNK * sizeof(int32_t));
    s->lanes = (REAL *)FN(take)(&p, FN(few_sums)(job) * VL * sizeof(REAL));
    return p - memory;
}

static ptrdiff_t FN(scratch_bytes)(const kmeans_job *job)
{
    scratch_t s;
    return FN(lay_scratch)(job, NULL, &s);
}

/* Adds a row times a weight to a cluster's sums. */
ALWAYS_INLINE void FN(add_row)(const kmeans_job *job, ptrdiff_t row, double weight, ptrdiff_t k,
                               double *sums)
{
    ptrdiff_t d = job->n_features;
    double *restrict out = sums + k * d;
    sums[job->n_clusters * d + k] += weight;
    if (job->x) {
        const REAL *restrict x = FN(row)(job, row);
        for (ptrdiff_t i = 0; i < d; i++)
            out[i] += weight * x[i];
    } else
        for (ptrdiff_t p = job->row_begin[row]; p < job->row_begin[row + 1]; p++)
            out[job->columns[p]] += weight * ((const REAL *)job->values)[p];
}

ALWAYS_INLINE double FN(weight)(const kmeans_job *job, ptrdiff_t row)
{
    return job->sample_weight ? job->sample_weight[row] : 1;
}

/* Squared distance of a row to a center, in the data's own coordinates. */
static double FN(distance_to)(const kmeans_job *job, ptrdiff_t row, ptrdiff_t k)
{
    ptrdiff_t d = job->n_features, i = 0;
    const double *center = job->centers + k * d;
    double parts[8] = {0}, sum = 0;
    if (job->x) {
        const REAL *x = FN(row)(job, row);
        for (; i + 8 <= d; i += 8)
            for (int l = 0; l < 8; l++) {
                double gap = x[i + l] - center[i + l];
                parts[l] += gap * gap;
            }
        for (; i < d; i++)
            sum += (x[i] - center[i]) * (x[i] - center[i]);
    } else {
        sum = ((const tables_t *)job->tables)->squares[k];
        for (ptrdiff_t p = job->row_begin[row]; p < job->row_begin[row + 1]; p++) {
            double x = ((const REAL *)job->values)[p];
            sum += x * (x - 2 * center[job->columns[p]]);
        }
        return sum > 0 ? sum : 0;
    }
    for (int l = 0; l < 8; l++)
        sum += parts[l];
    return sum;
}

static void FN(distances)(const kmeans_job *job, ptrdiff_t begin, ptrdiff_t n, void *memory,
                          double *sums)
{
    (void)memory;
    for (ptrdiff_t row = begin; row < begin + n; row++) {
        double distance = FN(distance_to)(job, row, job->labels[row]);
        if (job->distance)
            job->distance[row] = distance;
        sums[0] += FN(weight)(job, row) * distance;
    }
}

#include "kmeans_bounds.h"

/* The nearest center of a sparse row: all distances side by side. */
static int32_t FN(nearest_sparse)(const kmeans_job *job, const tables_t *t, ptrdiff_t row,
                                  REAL *products)
{
    ptrdiff_t width = FN(up)(job->n_clusters, VL), best = 0;
    memcpy(products, t->by_feature, width * sizeof(REAL));
    for (ptrdiff_t p = job->row_begin[row]; p < job->row_begin[row + 1]; p++) {
        REAL x = ((const REAL *)job->values)[p] * t->scale;
        const REAL *coef = t->by_feature + (job->columns[p] + 1) * width;
        for (ptrdiff_t k = 0; k < width; k += VL)
            FN(store)(products + k, FN(load)(products + k) + FN(load)(coef + k) * x);
    }
    for (ptrdiff_t k = 1; k < job->n_clusters; k++)
        best = products[k] < products[best] ? k : best;
    return (int32_t)best;
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
ALWAYS_INLINE void FN(add_panel)(const int d, const REAL *panel, const INT *labels,
                                 ptrdiff_t n_clusters, REAL *lanes)
{
    vec x[PANEL_VECS][4];
    ivec index[PANEL_VECS];
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++) {
        memcpy(&index[v], labels + v * VL, sizeof(ivec));
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

static void FN(add_rows)(const kmeans_job *job, ptrdiff_t first, ptrdiff_t rows,
                         const int32_t *labels, double *sums)
{
    if (job->x && !job->sample_weight) {
        ptrdiff_t d = job->n_features;
        for (ptrdiff_t r = 0; r < rows; r++) {
            const REAL *restrict x = FN(row)(job, first + r);
            double *restrict out = sums + labels[r] * d;
            for (ptrdiff_t i = 0; i < d; i++)
                out[i] += x[i];
            sums[job->n_clusters * d + labels[r]] += 1;
        }
        return;
    }
    for (ptrdiff_t r = 0; r < rows; r++)
        FN(add_row)(job, first + r, FN(weight)(job, first + r), labels[r], sums);
}

/* Sets the labels of a chunk; returns how many changed. Where none did, nothing is written: with few
 * features that is a good part of what goes through memory. */
static ptrdiff_t FN(set_labels)(const int32_t *restrict nearest, ptrdiff_t n,
                                int32_t *restrict labels)
{
    int32_t changed = 0;
    for (ptrdiff_t r = 0; r < n; r++)
        changed += labels[r] != nearest[r];
    if (changed)
        memcpy(labels, nearest, n * sizeof(int32_t));
    return changed;
}

/* The nearest centers of a panel of rows, and the sums of these rows if they are few. */
ALWAYS_INLINE int FN(dense_panel)(const kmeans_job *job, const tables_t *t, ptrdiff_t first,
                                  ptrdiff_t rows, ptrdiff_t few, scratch_t *s, int32_t *nearest)
{
    nearest_t near;
    FN(pack)(job, t, first, NULL, rows, s->panel);
    FN(nearest)(job, t, s->panel, &near); /* places in the table are centers */
    for (ptrdiff_t r = 0; r < PANEL; r++)
        nearest[r] = (int32_t)near.index[r];
    if (!few || rows < PANEL)
        return 0;
    if (job->n_features == 1)
        FN(add_panel)(1, s->panel, near.index, job->n_clusters, s->lanes);
    else if (job->n_features == 2)
        FN(add_panel)(2, s->panel, near.index, job->n_clusters, s->lanes);
    else
        FN(add_panel)(3, s->panel, near.index, job->n_clusters, s->lanes);
    return 1;
}

static void FN(chunk)(const kmeans_job *job, ptrdiff_t begin, ptrdiff_t n, void *memory,
                      double *sums)
{
    const tables_t *t = job->tables;
    ptrdiff_t changed, few = sums ? FN(few_sums)(job) : 0;
    scratch_t s;
    FN(lay_scratch)(job, memory, &s);
    if (job->n_groups) {
        FN(bounded_chunk)(job, t, begin, n, &s, sums);
        return;
    }
    memset(s.lanes, 0, few * VL * sizeof(REAL));
    for (ptrdiff_t first = 0; first < n; first += PANEL) {
        ptrdiff_t rows = n - first < PANEL ? n - first : PANEL;
        int32_t *nearest = s.center + first;
        int added = 0;
        if (job->x)
            added = FN(dense_panel)(job, t, begin + first, rows, few, &s, nearest);
        else
            for (ptrdiff_t r = 0; r < rows; r++)
                nearest[r] = FN(nearest_sparse)(job, t, begin + first + r, s.products);
        if (sums && !added)
            FN(add_rows)(job, begin + first, rows, nearest, sums);
    }
    if (few)
        FN(add_lanes)(job, s.lanes, sums);
    changed = FN(set_labels)(s.center, n, job->labels + begin);
    if (sums)
        sums[job->n_clusters * (job->n_features + 1)] += (double)changed;
}

#undef tables_t
#undef nearest_t
#undef scratch_t
