/* K-means E-step on one chunk of rows.
 *
 * A template on REAL and the vector width: see vec.h. Rows are taken in panels in which samples are
 * contiguous, so that a vector holds VL samples of one feature. Each four centers meet a panel in
 * registers, and what is kept of them is the smaller distance and its center: no distance is ever
 * stored. chunk() below is the whole algorithm; kmeans/bounds.h has the one that skips rows.
 */
#include "kmeans/tile.h"

#define scratch_t FN(scratch)

typedef struct {
    REAL *panel;     /* (D, PANEL) */
    int32_t *list;   /* (KMEANS_CHUNK,) rows whose center may change; later those whose center changes */
    int32_t *some;   /* (KMEANS_CHUNK,) those of them that one group is to be searched for */
    int32_t *own;    /* (KMEANS_CHUNK,) the group of the listed rows' centers */
    float *least;    /* (KMEANS_CHUNK,) the smallest lower bound of each row */
    REAL *norm;      /* (KMEANS_CHUNK,) |x|^2 of the listed rows, scaled */
    REAL *best, *second; /* (KMEANS_CHUNK,) see nearest_t */
    REAL *other;     /* (KMEANS_CHUNK,) the same of the nearest of another group */
    REAL *lanes;     /* (K, D + 1, VL) few sums: lane by lane, see add_panel */
    float *single;   /* a panel of floats, see singles.h */
    int32_t *center; /* (KMEANS_CHUNK,) the nearest so far */
} scratch_t;

#include "kmeans/few.h"

static ptrdiff_t FN(lay_scratch)(const kmeans_job *job, char *memory, scratch_t *s)
{
    char *p = memory;
    s->panel = (REAL *)FN(take)(&p, job->n_features * PANEL * sizeof(REAL));
    s->list = (int32_t *)FN(take)(&p, KMEANS_CHUNK * sizeof(int32_t));
    s->some = (int32_t *)FN(take)(&p, (KMEANS_CHUNK + 16) * sizeof(int32_t)); /* a vector more */
    s->own = (int32_t *)FN(take)(&p, KMEANS_CHUNK * sizeof(int32_t));
    s->least = (float *)FN(take)(&p, KMEANS_CHUNK * sizeof(float));
    s->norm = (REAL *)FN(take)(&p, KMEANS_CHUNK * sizeof(REAL));
    s->best = (REAL *)FN(take)(&p, KMEANS_CHUNK * sizeof(REAL));
    s->second = (REAL *)FN(take)(&p, KMEANS_CHUNK * sizeof(REAL));
    s->other = (REAL *)FN(take)(&p, KMEANS_CHUNK * sizeof(REAL));
    s->center = (int32_t *)FN(take)(&p, KMEANS_CHUNK * sizeof(int32_t));
    s->lanes = (REAL *)FN(take)(&p, FN(few_sums)(job) * VL * sizeof(REAL));
#ifndef REAL_IS_FLOAT
    s->single = (float *)FN(take)(&p, FN(screened)(job) ? job->n_features * 2 * PANEL * 4 : 0);
#endif
    return p - memory;
}

static ptrdiff_t FN(scratch_bytes)(const kmeans_job *job)
{
    scratch_t s;
    ptrdiff_t about = job->origin ? KMEANS_CHUNK * job->n_features * (ptrdiff_t)sizeof(REAL) + 128 : 0;
    return job->x ? FN(lay_scratch)(job, NULL, &s) + about : job->width * (ptrdiff_t)sizeof(float);
}

/* Adds a row times a weight to a cluster's sums. */
ALWAYS_INLINE void FN(add_row)(const kmeans_job *job, ptrdiff_t row, double weight, ptrdiff_t k,
                               double *sums)
{
    ptrdiff_t d = job->n_features;
    double *restrict out = sums + k * d;
    const REAL *restrict x = FN(row)(job, row);
    sums[job->n_clusters * d + k] += weight;
    for (ptrdiff_t i = 0; i < d; i++)
        out[i] += weight * x[i];
}

ALWAYS_INLINE double FN(weight)(const kmeans_job *job, ptrdiff_t row)
{
    return job->sample_weight ? job->sample_weight[row] : 1;
}

/* Moves a row from the sums of its label's cluster to those of another. */
ALWAYS_INLINE void FN(move_row)(const kmeans_job *job, ptrdiff_t row, int32_t new, double *sums)
{
    double weight = FN(weight)(job, row);
    int32_t old = job->labels[row];
    if (old >= 0)
        FN(add_row)(job, row, -weight, old, sums);
    FN(add_row)(job, row, weight, new, sums);
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
        sum = job->norms[k] / job->scale / job->scale;
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

static void FN(distances)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                          const fastem_strip *strip)
{
    const kmeans_job *job = given;
    for (ptrdiff_t row = begin; row < begin + n; row++) {
        double distance = FN(distance_to)(job, row, job->labels[row]);
        if (job->distance)
            job->distance[row] = distance;
        strip->sums[0] += FN(weight)(job, row) * distance;
    }
}

#include "kmeans/bounds.h"

static void FN(add_rows)(const kmeans_job *job, ptrdiff_t first, ptrdiff_t rows,
                         const int32_t *labels, double *sums)
{
    if (!job->sample_weight) {
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

/* Moves the rows of a chunk whose label changes to the sums of their new cluster. */
static void FN(move_rows)(const kmeans_job *job, ptrdiff_t begin, ptrdiff_t n, scratch_t *s,
                          double *sums)
{
    const int32_t *restrict labels = job->labels + begin, *restrict nearest = s->center;
    ptrdiff_t count = 0;
    for (ptrdiff_t first = 0; first < n; first += 16) {
        ptrdiff_t last = first + 16 < n ? first + 16 : n;
        int32_t differ = 0;
        for (ptrdiff_t r = first; r < last; r++)
            differ |= labels[r] ^ nearest[r];
        for (ptrdiff_t r = first; differ && r < last; r++) {
            s->list[count] = (int32_t)r;
            count += labels[r] != nearest[r];
        }
    }
    for (ptrdiff_t i = 0; i < count; i++)
        FN(move_row)(job, begin + s->list[i], nearest[s->list[i]], sums);
}

/* Sets the labels of a chunk; returns how many changed. Where none did, nothing is written: with few
 * features that is a good part of what goes through memory. */
static ptrdiff_t FN(set_labels)(const kmeans_job *job, ptrdiff_t begin, ptrdiff_t n, scratch_t *s,
                                double *sums)
{
    const int32_t *labels = job->labels + begin, *nearest = s->center;
    int32_t changed = 0;
    for (ptrdiff_t r = 0; r < n; r++)
        changed += labels[r] != nearest[r];
    if (changed && sums && job->moves)
        FN(move_rows)(job, begin, n, s, sums);
    if (changed)
        memcpy(job->labels + begin, nearest, n * sizeof(int32_t));
    return changed;
}

/* Asks for the panel that comes next, so that memory is read while centers are compared. */
static void FN(fetch_rows)(const kmeans_job *job, ptrdiff_t row)
{
    const char *rows = job->x + row * job->x_row;
    if (row + PANEL <= job->n_samples)
        for (ptrdiff_t at = 0; at < PANEL * job->x_row; at += 64)
            PREFETCH(rows + at);
}

#include "kmeans/margins.h"
#ifndef REAL_IS_FLOAT
#include "kmeans/singles.h"
#endif

/* Whether rows' margins pay: not beside the loops of few.h. */
static int FN(keeps_margins)(const kmeans_job *job)
{
    return job->x && (job->n_features > FEW || job->guarded);
}

/* The nearest centers of a panel of rows; counts those that rounding might have decided. */
AT_A_LINE static void FN(dense_panel)(const kmeans_job *job, const tables_t *t, ptrdiff_t first,
                            ptrdiff_t rows, scratch_t *s, int32_t *nearest,
                            ptrdiff_t *open)
{
    int32_t places[64]; /* place in the table, which has an order of its own: see tile.h */
    FN(pack)(job, t, first, NULL, rows, s->panel);
    FN(fetch_rows)(job, first + PANEL);
    if (job->guarded) {
        nearest_t near;
        FN(nearest_two)(job, t, s->panel, 0, &near);
        memcpy(nearest, near.index, rows * sizeof(int32_t));
        for (ptrdiff_t r = 0; r < rows; r++)
            *open += !(near.second[r] - near.best[r] > job->error);
        return;
    }
    FN(nearest)(job, t, s->panel, rows < PANEL ? places : nearest);
    if (rows < PANEL)
        memcpy(nearest, places, rows * sizeof(int32_t));
}

/* The nearest centers of the rows of a chunk from `done` on, a panel at a time, and their sums. */
AT_A_LINE static void FN(dense_panels)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin,
                                       ptrdiff_t done, ptrdiff_t n, scratch_t *s, double *sums,
                                       ptrdiff_t *searched, ptrdiff_t *open)
{
    ptrdiff_t step = job->margin ? n : PANEL;
#ifndef REAL_IS_FLOAT
    if (t->screen) /* as many as are still in the cache when they are added */
        step = job->n_features <= 64 || job->n_clusters >= 64 || job->margin ? n : 2 * PANEL;
#endif
    for (ptrdiff_t first = done; first < n; first += step) {
        ptrdiff_t rows = n - first < step ? n - first : step;
        int32_t *nearest = s->center + first;
#ifndef REAL_IS_FLOAT
        if (t->screen)
            FN(screen_chunk)(job, t, begin + first, rows, s, nearest, searched, open);
        else
#endif
        if (job->margin)
            FN(search_marginless)(job, t, begin + first, rows, s, nearest, searched, open);
        else
            FN(dense_panel)(job, t, begin + first, rows, s, nearest, open);
        if (sums)
            FN(add_rows)(job, begin + first, rows, nearest, sums);
    }
}

AT_A_LINE static void FN(chunk)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                      const fastem_strip *strip)
{
    const kmeans_job *job = given;
    const tables_t *t = strip->tables;
    double *sums = strip->sums;
    int all_rows = sums && !job->moves;
    ptrdiff_t changed, done = 0, searched = 0, open = 0;
    ptrdiff_t few = all_rows && !job->guarded ? FN(few_sums)(job) : 0;
    scratch_t s;
    FN(lay_scratch)(job, strip->scratch, &s);
    if (job->n_groups) {
        FN(bounded_chunk)(job, t, begin, n, &s, sums);
        return;
    }
    memset(s.lanes, 0, few * VL * sizeof(REAL));
    if (!job->guarded)
        done = FN(few_panels)(job, t, begin, n, few, &s);
    if (all_rows && !few)
        FN(add_rows)(job, begin, done, s.center, sums);
    FN(dense_panels)(job, t, begin, done, n, &s, all_rows ? sums : NULL, &searched, &open);
    if (few)
        FN(add_lanes)(job, s.lanes, sums);
    changed = FN(set_labels)(job, begin, n, &s, sums);
    if (sums) {
        double *tally = sums + job->n_clusters * (job->n_features + 1);
        tally[0] += (double)changed;
        tally[1] += (double)searched;
        tally[2] += (double)open;
    }
}

/* A job whose rows [begin, begin + n) are those of another one about its origin, in this thread's
 * scratch: 512 rows stay in the cache, and a copy of all rows would not be in memory twice. */
static kmeans_job FN(about)(const kmeans_job *job, ptrdiff_t begin, ptrdiff_t n,
                            const fastem_strip *strip)
{
    scratch_t s;
    kmeans_job moved = *job;
    ptrdiff_t d = job->n_features;
    char *p = (char *)strip->scratch + FN(lay_scratch)(job, NULL, &s);
    REAL *rows = (REAL *)FN(take)(&p, n * d * sizeof(REAL));
    const REAL *restrict origin = job->origin;
    for (ptrdiff_t r = 0; r < n; r++) {
        const REAL *restrict x = FN(row)(job, begin + r);
        for (ptrdiff_t i = 0; i < d; i++)
            rows[r * d + i] = x[i] - origin[i];
    }
    moved.origin = NULL;
    moved.x_row = d * (ptrdiff_t)sizeof(REAL);
    moved.x = (const char *)rows - begin * moved.x_row;
    return moved;
}

static void FN(chunk_about)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                            const fastem_strip *strip)
{
    kmeans_job moved = FN(about)(given, begin, n, strip);
    FN(chunk)(&moved, begin, n, strip);
}

static void FN(distances_about)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                                const fastem_strip *strip)
{
    kmeans_job moved = FN(about)(given, begin, n, strip);
    FN(distances)(&moved, begin, n, strip);
}

#undef tables_t
#undef nearest_t
#undef places_t
#undef scratch_t
