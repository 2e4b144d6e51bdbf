/* Gaussian-mixture E-step on one chunk of rows.
 *
 * A template on REAL and the vector width: see vec.h. Within a chunk samples are contiguous, so
 * that a vector holds VL samples of one feature and nothing is summed across lanes until the end:
 *
 *     x[d * cap + t]      feature d of the chunk's row t, shifted and scaled
 *     lp[k * cap + t]     log-density of row t under component k, with the weight
 *     r[k * cap + t]      responsibility times sample weight
 *
 * chunk() below is the whole algorithm; read it first. Rows past n, up to the next multiple of
 * PANEL, are copies of zeros whose weight is 0.
 */
#include "gaussian_small.h"

#undef PANEL_VECS
#undef PANEL
#define PANEL_VECS (VEC_REGISTERS == 32 ? 4 : 2) /* vectors of samples in a register tile */
#undef TILE_COLUMN
#define PANEL (PANEL_VECS * VL)
#define TILE 256 /* rows whose second moments are summed at once: 8 columns fit in 16 KiB */
#define TILE_COLUMN (TILE + 64 / (ptrdiff_t)sizeof(REAL)) /* see lay_scratch */
#define tables_t FN(tables)
#define scratch_t FN(scratch)

/* Parameters, rounded to REAL and laid out in the order in which the kernels read them. */
typedef struct {
    REAL *means;    /* (K, D4): D4 = D rounded up to 4 */
    REAL *log_norm; /* (K,) */
    REAL *shift;    /* (D,) */
    REAL *scale;    /* (D,) */
    REAL *coef;     /* full D <= SMALL: (K, D(D+1)/2) columns of the triangle, end to end
                     * full, tied:      (K or 1, tri4) 4 columns at a time: see tri_squares
                     * else:            (K4 / 4, D, 8) 4 scales, 4 offsets: see axis_log_prob */
    REAL *offset;   /* tied: (K4 / 4, D, 8), the same table for the whitened data */
} tables_t;

typedef struct {
    ptrdiff_t cap;  /* distance of columns: a little more than the rows that fit */
    REAL *x;        /* (D4, cap) */
    REAL *lp, *r;   /* (K4, cap) */
    REAL *top;      /* (cap,) the largest lp of each row */
    REAL *weight;   /* (cap,) */
    REAL *row;      /* (cap,) log-density */
    REAL *z;        /* (D4, TILE + pad) x - mean of some rows; (D4, PANEL) of a panel */
    REAL *rz;       /* (4, TILE + pad) 4 features of it times r */
    REAL *other;    /* (D4, cap) x sorted by component, or whitened */
    int32_t *best;  /* (cap,) component with the largest lp */
    int32_t *order; /* (cap,) the row that stands at each place, where the chunk was sorted */
    int32_t *begins; /* (K,) where each component's rows begin in that order */
    int sorted;     /* whether it was */
    int *dense;     /* chunks that are still to be evaluated without pruning */
} scratch_t;

ALWAYS_INLINE ptrdiff_t FN(up)(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }
ALWAYS_INLINE ptrdiff_t FN(tri4)(ptrdiff_t d4) { return 2 * d4 * (d4 / 4 + 1); }
ALWAYS_INLINE int FN(is_small)(const gaussian_job *job)
{
    return job->kind == GAUSSIAN_FULL && job->n_features <= SMALL;
}

/* ---- sizes ------------------------------------------------------------------------------- */

/* Sums of one component: weight, (D,) about the mean, then second moments about the mean:
 * small full: (D(D+1)/2,) rows of the lower triangle; full: 4 x 4 blocks of it; diag: (D,) in
 * units of the precision; spherical: 1; tied: none. Spherical and tied: (D,) about the shift. */
static ptrdiff_t FN(component_size)(const gaussian_job *job)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4);
    switch (job->kind) {
    case GAUSSIAN_FULL:
        return FN(is_small)(job) ? 1 + d + d * (d + 1) / 2 : 1 + d4 + FN(tri4)(d4);
    case GAUSSIAN_DIAG:
        return 1 + 2 * d4;
    default:
        return 2 + d4;
    }
}

/* All components, then the bound. Rounded up, so that lanes do not share cache lines. */
static ptrdiff_t FN(sums_size)(const gaussian_job *job)
{
    return FN(up)(FN(up)(job->n_components, 4) * FN(component_size)(job) + 1, 16);
}

/* A chunk's x and lp should stay in the second-level cache, better in the first. */
static ptrdiff_t FN(chunk_rows)(const gaussian_job *job)
{
    ptrdiff_t row = sizeof(REAL) * (FN(up)(job->n_features, 4) + 2 * job->n_components);
    ptrdiff_t bytes = FN(is_small)(job) || job->kind != GAUSSIAN_FULL ? 64 << 10 : 2 << 20;
    ptrdiff_t rows = bytes / row / 64 * 64;
    return rows < 256 ? 256 : rows > 1024 ? 1024 : rows;
}

static char *FN(take)(char **p, ptrdiff_t bytes)
{
    char *start = *p;
    *p += FN(up)(bytes, 64);
    return start;
}

/* Points the scratch's arrays into memory; with memory NULL only counts the bytes. */
static ptrdiff_t FN(lay_scratch)(const gaussian_job *job, char *memory, scratch_t *s)
{
    /* 64 bytes more than a power of 2: columns must not all fall into the same cache sets. */
    ptrdiff_t cap = FN(chunk_rows)(job) + 64 / sizeof(REAL), column = cap * sizeof(REAL);
    ptrdiff_t d4 = FN(up)(job->n_features, 4), k4 = FN(up)(job->n_components, 4);
    char *p = memory;
    s->cap = cap;
    s->x = (REAL *)FN(take)(&p, d4 * column);
    s->lp = (REAL *)FN(take)(&p, k4 * column);
    s->r = (REAL *)FN(take)(&p, k4 * column);
    s->top = (REAL *)FN(take)(&p, column);
    s->weight = (REAL *)FN(take)(&p, column);
    s->row = (REAL *)FN(take)(&p, column);
    s->z = (REAL *)FN(take)(&p, d4 * TILE_COLUMN * sizeof(REAL));
    s->rz = (REAL *)FN(take)(&p, 4 * TILE_COLUMN * sizeof(REAL));
    s->other = (REAL *)FN(take)(&p, d4 * column);
    s->best = (int32_t *)FN(take)(&p, cap * sizeof(int32_t));
    s->order = (int32_t *)FN(take)(&p, cap * sizeof(int32_t));
    s->begins = (int32_t *)FN(take)(&p, k4 * sizeof(int32_t));
    return p - memory;
}

static ptrdiff_t FN(scratch_bytes)(const gaussian_job *job)
{
    scratch_t s;
    return FN(lay_scratch)(job, NULL, &s);
}

/* ---- tables ------------------------------------------------------------------------------ */

static ptrdiff_t FN(lay_tables)(const gaussian_job *job, char *memory, tables_t *t)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4);
    ptrdiff_t k = job->n_components, k4 = FN(up)(k, 4), size = sizeof(REAL);
    char *p = memory;
    FN(take)(&p, sizeof(tables_t));
    t->means = (REAL *)FN(take)(&p, k * d4 * size);
    t->log_norm = (REAL *)FN(take)(&p, k4 * size);
    t->shift = (REAL *)FN(take)(&p, d * size);
    t->scale = (REAL *)FN(take)(&p, d * size);
    t->offset = NULL;
    if (FN(is_small)(job))
        t->coef = (REAL *)FN(take)(&p, k * d * (d + 1) / 2 * size);
    else if (job->kind == GAUSSIAN_FULL)
        t->coef = (REAL *)FN(take)(&p, k * FN(tri4)(d4) * size);
    else if (job->kind == GAUSSIAN_TIED) {
        t->coef = (REAL *)FN(take)(&p, FN(tri4)(d4) * size);
        t->offset = (REAL *)FN(take)(&p, k4 * d * 2 * size);
    } else
        t->coef = (REAL *)FN(take)(&p, k4 * d * 2 * size);
    return p - memory;
}

static ptrdiff_t FN(tables_bytes)(const gaussian_job *job)
{
    tables_t t;
    return FN(lay_tables)(job, NULL, &t);
}

/* The columns of an upper triangle, 4 at a time: coef[block][row][4], rows 0 .. 4 block + 3. */
static void FN(pack_triangle)(const double *upper, ptrdiff_t d, REAL *coef)
{
    for (ptrdiff_t j0 = 0; j0 < d; j0 += 4)
        for (ptrdiff_t i = 0; i < j0 + 4; i++)
            for (ptrdiff_t j = j0; j < j0 + 4; j++)
                *coef++ = i <= j && j < d ? (REAL)upper[i * d + j] : 0;
}

/* One component's scales and offsets for axis_log_prob: y_d = x_d scale_d - offset_d. */
static void FN(pack_axis)(REAL *coef, ptrdiff_t k, ptrdiff_t d, const double *scale,
                          const double *center)
{
    REAL *c = coef + k / 4 * d * 8 + k % 4;
    for (ptrdiff_t i = 0; i < d; i++) {
        c[8 * i] = (REAL)(scale ? scale[i] : 1);
        c[8 * i + 4] = (REAL)(scale ? center[i] * scale[i] : center[i]);
    }
}

static void FN(prepare)(const gaussian_job *job, void *memory)
{
    tables_t *t = memory;
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4), k4 = FN(up)(job->n_components, 4);
    memset(memory, 0, FN(tables_bytes)(job));
    FN(lay_tables)(job, memory, t);
    for (ptrdiff_t i = 0; i < d; i++) {
        t->shift[i] = (REAL)job->shift[i];
        t->scale[i] = (REAL)job->scale[i];
    }
    for (ptrdiff_t k = 0; k < k4; k++)
        t->log_norm[k] = k < job->n_components ? (REAL)job->log_norm[k] : (REAL)-INFINITY;
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        const double *mean = job->means + k * d, *chol = job->precisions_chol;
        for (ptrdiff_t i = 0; i < d; i++)
            t->means[k * d4 + i] = (REAL)mean[i];
        if (job->kind == GAUSSIAN_FULL && !FN(is_small)(job))
            FN(pack_triangle)(chol + k * d * d, d, t->coef + k * FN(tri4)(d4));
        else if (job->kind == GAUSSIAN_FULL) {
            REAL *c = t->coef + k * d * (d + 1) / 2;
            for (ptrdiff_t j = 0; j < d; j++)
                for (ptrdiff_t i = 0; i <= j; i++)
                    *c++ = (REAL)chol[k * d * d + i * d + j];
        } else if (job->kind != GAUSSIAN_TIED)
            FN(pack_axis)(t->coef, k, d, chol + k * d, mean);
    }
    if (job->kind != GAUSSIAN_TIED)
        return;
    FN(pack_triangle)(job->precisions_chol, d, t->coef);
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        REAL *c = t->offset + k / 4 * d * 8 + k % 4;
        for (ptrdiff_t j = 0; j < d; j++) { /* the whitened mean, summed in double */
            double sum = 0;
            for (ptrdiff_t i = 0; i <= j; i++)
                sum += job->means[k * d + i] * job->precisions_chol[i * d + j];
            c[8 * j] = 1;
            c[8 * j + 4] = (REAL)sum;
        }
    }
}

/* ---- the data ---------------------------------------------------------------------------- */

/* VL rows of VL features, each row contiguous, to VL features of VL rows. */
ALWAYS_INLINE void FN(pack_square)(const char *rows, ptrdiff_t row_stride, const REAL *shift,
                                   const REAL *scale, ptrdiff_t cap, REAL *out)
{
    vec square[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1];
    UNROLL
    for (ptrdiff_t l = 0; l < VL; l++)
        square[l] = FN(load)((const REAL *)(rows + l * row_stride));
    FN(transpose)(square);
    UNROLL
    for (ptrdiff_t l = 0; l < VL; l++)
        FN(store)(out + l * cap, (square[l] - shift[l]) * scale[l]);
}

/* x[d][t] = (X[begin + t, d] - shift[d]) * scale[d]; weights; zeros past n. */
static void FN(pack)(const gaussian_job *job, const tables_t *t, ptrdiff_t begin, ptrdiff_t n,
                     ptrdiff_t padded, scratch_t *s)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4), cap = s->cap;
    const char *rows = job->x + begin * job->x_row;
    int squares = job->x_column == sizeof(REAL);
    for (ptrdiff_t t0 = 0; t0 < n; t0 += 16) { /* 16 rows: a column of them is 1 or 2 cache lines */
        ptrdiff_t t1 = t0 + 16 < n ? t0 + 16 : n, i = 0;
        if (squares && t1 - t0 == 16)
            for (; i + VL <= d; i += VL)
                for (ptrdiff_t row = t0; row < t1; row += VL)
                    FN(pack_square)(rows + row * job->x_row + i * sizeof(REAL), job->x_row,
                                    t->shift + i, t->scale + i, cap, s->x + i * cap + row);
        for (; i < d; i++) {
            REAL shift = t->shift[i], scale = t->scale[i], *out = s->x + i * cap;
            const char *column = rows + i * job->x_column;
            for (ptrdiff_t row = t0; row < t1; row++)
                out[row] = (*(const REAL *)(column + row * job->x_row) - shift) * scale;
        }
    }
    for (ptrdiff_t i = 0; i < d4; i++)
        for (ptrdiff_t row = i < d ? n : 0; row < padded; row++)
            s->x[i * cap + row] = 0;
    for (ptrdiff_t row = 0; row < n; row++)
        s->weight[row] = job->sample_weight ? (REAL)job->sample_weight[begin + row] : 1;
    for (ptrdiff_t row = n; row < padded; row++)
        s->weight[row] = 0;
}

/* ---- log-densities ----------------------------------------------------------------------- */

/* q[t] += sum over columns [j0, j1) of (z P)_j^2 for one panel; z is (D4, PANEL). Not inlined: the
 * 16 sums and 4 samples fill the registers, and what the caller holds would be spilled among them. */
NOINLINE static void FN(tri_squares)(const REAL *z, const REAL *coef, ptrdiff_t j0, ptrdiff_t j1,
                                     REAL *q)
{
    coef += FN(tri4)(j0);
    for (ptrdiff_t j = j0; j < j1; j += 4) {
        vec acc[4][PANEL_VECS];
        memset(acc, 0, sizeof acc);
        for (ptrdiff_t i = 0; i < j + 4; i++, coef += 4) {
            vec x[PANEL_VECS];
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                x[v] = FN(load)(z + i * PANEL + v * VL);
            UNROLL
            for (int c = 0; c < 4; c++)
                UNROLL
                for (int v = 0; v < PANEL_VECS; v++)
                    acc[c][v] += x[v] * coef[c];
        }
        UNROLL
        for (int c = 0; c < 4; c++)
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                FN(store)(q + v * VL, FN(load)(q + v * VL) + acc[c][v] * acc[c][v]);
    }
}

/* lp of component k over columns [0, j1) for one panel: exact for j1 = D4, else an upper bound.
 * With limits, leaves with 0 as soon as all rows are below theirs. */
ALWAYS_INLINE int FN(full_panel)(const tables_t *t, const REAL *x, ptrdiff_t cap, ptrdiff_t d4,
                                 ptrdiff_t j1, ptrdiff_t k, REAL *z, const vec *limit, vec *lp)
{
    const REAL *coef = t->coef + k * FN(tri4)(d4), *mean = t->means + k * d4;
    ptrdiff_t step = limit ? 8 : j1;
    REAL q[8 * 64 / sizeof(REAL)];
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++) {
        lp[v] = FN(fill)(0);
        FN(store)(q + v * VL, lp[v]);
    }
    for (ptrdiff_t j = 0; j < j1; j += step) {
        ptrdiff_t next = j + step < j1 ? j + step : j1;
        unsigned alive = !limit;
        for (ptrdiff_t i = j; i < next; i++)
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                FN(store)(z + i * PANEL + v * VL, FN(load)(x + i * cap + v * VL) - mean[i]);
        FN(tri_squares)(z, coef, j, next, q);
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++) {
            lp[v] = t->log_norm[k] - (REAL)0.5 * FN(load)(q + v * VL);
            if (limit)
                alive |= FN(mask_greater)(lp[v], limit[v]);
        }
        if (!alive)
            return 0;
    }
    return 1;
}

static void FN(full_log_prob)(const tables_t *t, const scratch_t *s, ptrdiff_t padded,
                              ptrdiff_t d4, ptrdiff_t j1, ptrdiff_t k, REAL *out)
{
    for (ptrdiff_t row = 0; row < padded; row += PANEL) {
        vec lp[PANEL_VECS];
        FN(full_panel)(t, s->x + row, s->cap, d4, j1, k, s->z, NULL, lp);
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++)
            FN(store)(out + k * s->cap + row + v * VL, lp[v]);
    }
}

/* best[t] = the component with the largest of the bounds. */
static void FN(find_best)(const scratch_t *s, const REAL *bounds, ptrdiff_t padded,
                          ptrdiff_t n_comp)
{
    for (ptrdiff_t row = 0; row < padded; row += VL) {
        vec top = FN(load)(bounds + row), best = FN(fill)(0);
        REAL index[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1];
        for (ptrdiff_t k = 1; k < n_comp; k++) {
            vec bound = FN(load)(bounds + k * s->cap + row);
            best = FN(select)((ivec)(bound > top), FN(fill)((REAL)k), best);
            top = FN(max)(bound, top);
        }
        FN(store)(index, best);
        for (ptrdiff_t l = 0; l < VL; l++)
            s->best[row + l] = (int32_t)index[l];
    }
}

/* Sorts the chunk by best component, rows of one component in their old order. */
static void FN(sort_rows)(scratch_t *s, ptrdiff_t n, ptrdiff_t padded, ptrdiff_t d4,
                          ptrdiff_t n_comp)
{
    REAL *weight = s->row, *x = s->other; /* row is free until normalise() */
    memset(s->begins, 0, n_comp * sizeof *s->begins);
    for (ptrdiff_t row = 0; row < n; row++)
        s->begins[s->best[row]]++;
    for (ptrdiff_t k = 1; k < n_comp; k++)
        s->begins[k] += s->begins[k - 1];
    for (ptrdiff_t row = n - 1; row >= 0; row--)
        s->order[--s->begins[s->best[row]]] = (int32_t)row;
    for (ptrdiff_t row = n; row < padded; row++)
        s->order[row] = (int32_t)row;
    for (ptrdiff_t i = 0; i < d4; i++)
        for (ptrdiff_t row = 0; row < padded; row++)
            x[i * s->cap + row] = s->x[i * s->cap + s->order[row]];
    for (ptrdiff_t row = 0; row < padded; row++)
        weight[row] = s->weight[s->order[row]];
    memcpy(s->weight, weight, padded * sizeof(REAL));
    s->other = s->x;
    s->x = x;
    s->sorted = 1;
}

/* Evaluates the components that the panel's own rows like best; top = the largest lp. */
static void FN(own_panel)(const tables_t *t, const scratch_t *s, ptrdiff_t row, ptrdiff_t n,
                          ptrdiff_t d4)
{
    vec lp[PANEL_VECS], top[PANEL_VECS];
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++)
        top[v] = FN(fill)((REAL)-INFINITY);
    for (ptrdiff_t own = row; own < row + PANEL && own < n; own++) {
        int32_t k = s->best[s->order[own]];
        if (own > row && k == s->best[s->order[own - 1]])
            continue;
        FN(full_panel)(t, s->x + row, s->cap, d4, d4, k, s->z, NULL, lp);
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++) {
            FN(store)(s->lp + k * s->cap + row + v * VL, lp[v]);
            top[v] = FN(max)(top[v], lp[v]);
        }
    }
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++)
        FN(store)(s->top + row + v * VL, top[v]);
}

/* Evaluates component k for a panel that is not its own, unless the bounds or the first columns
 * show that it cannot come within e^negligible of the top. Returns whether it did. */
static int FN(other_panel)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                           const REAL *bounds, ptrdiff_t k, ptrdiff_t row, ptrdiff_t d4)
{
    const int32_t *order = s->order + row;
    REAL negligible = (REAL)job->negligible;
    vec lp[PANEL_VECS], limit[PANEL_VECS];
    int possible = 0;
    for (ptrdiff_t l = 0; l < PANEL; l++)
        possible |= bounds[k * s->cap + order[l]] > s->top[row + l] + negligible;
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++)
        limit[v] = FN(load)(s->top + row + v * VL) + negligible;
    possible = possible && FN(full_panel)(t, s->x + row, s->cap, d4, d4, k, s->z, limit, lp);
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++)
        FN(store)(s->lp + k * s->cap + row + v * VL, possible ? lp[v] : FN(fill)((REAL)-INFINITY));
    return possible;
}

/* The exact pruned E-step. After the first 8 columns of every component lp is an upper bound. Rows
 * are sorted by the component with the largest one, which is evaluated in full: the log-density is
 * at least that. Whatever then lies e^negligible below could not change a sum in double precision,
 * and is left out by panels of rows, which are alike now. */
static void FN(full_pruned)(const gaussian_job *job, const tables_t *t, scratch_t *s, ptrdiff_t n,
                            ptrdiff_t padded)
{
    ptrdiff_t d4 = FN(up)(job->n_features, 4), n_comp = job->n_components, evaluated = 0;
    REAL *bounds = s->r; /* free until normalise() */
    for (ptrdiff_t k = 0; k < n_comp; k++)
        FN(full_log_prob)(t, s, padded, d4, 8, k, bounds);
    FN(find_best)(s, bounds, padded, n_comp);
    FN(sort_rows)(s, n, padded, d4, n_comp);
    for (ptrdiff_t row = 0; row < padded; row += PANEL)
        FN(own_panel)(t, s, row, n, d4);
    for (ptrdiff_t k = 0; k < n_comp; k++) { /* outermost: its factor stays in the cache */
        ptrdiff_t first = s->begins[k], last = k + 1 < n_comp ? s->begins[k + 1] : n;
        for (ptrdiff_t row = 0; row < padded; row += PANEL)
            if (first == last || row >= last || row + PANEL <= first)
                evaluated += FN(other_panel)(job, t, s, bounds, k, row, d4);
    }
    /* Where most survive, the bounds are wasted: do without for some chunks, then look again. */
    if (evaluated * PANEL * 2 > padded * n_comp)
        *s->dense = 16;
}

/* lp of 4 components with axis-parallel covariances: y_d = x_d scale_kd - offset_kd. */
static void FN(axis_log_prob)(const REAL *x, ptrdiff_t cap, ptrdiff_t padded, ptrdiff_t d,
                              const REAL *coef, const REAL *log_norm, REAL *lp)
{
    for (ptrdiff_t row = 0; row < padded; row += PANEL) {
        vec q[4][PANEL_VECS];
        memset(q, 0, sizeof q);
        for (ptrdiff_t i = 0; i < d; i++) {
            vec xi[PANEL_VECS];
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                xi[v] = FN(load)(x + i * cap + row + v * VL);
            UNROLL
            for (int c = 0; c < 4; c++)
                UNROLL
                for (int v = 0; v < PANEL_VECS; v++) {
                    vec y = xi[v] * coef[8 * i + c] - coef[8 * i + 4 + c];
                    q[c][v] += y * y;
                }
        }
        UNROLL
        for (int c = 0; c < 4; c++)
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                FN(store)(lp + c * cap + row + v * VL, log_norm[c] - (REAL)0.5 * q[c][v]);
    }
}

/* other = x P, the whitened data, for a tied covariance. */
static void FN(whiten)(const tables_t *t, const scratch_t *s, ptrdiff_t padded, ptrdiff_t d4)
{
    ptrdiff_t cap = s->cap;
    for (ptrdiff_t row = 0; row < padded; row += PANEL) {
        const REAL *coef = t->coef;
        for (ptrdiff_t j = 0; j < d4; j += 4) {
            vec acc[4][PANEL_VECS];
            memset(acc, 0, sizeof acc);
            for (ptrdiff_t i = 0; i < j + 4; i++, coef += 4)
                UNROLL
                for (int v = 0; v < PANEL_VECS; v++) {
                    vec x = FN(load)(s->x + i * cap + row + v * VL);
                    UNROLL
                    for (int c = 0; c < 4; c++)
                        acc[c][v] += x * coef[c];
                }
            UNROLL
            for (int c = 0; c < 4; c++)
                UNROLL
                for (int v = 0; v < PANEL_VECS; v++)
                    FN(store)(s->other + (j + c) * cap + row + v * VL, acc[c][v]);
        }
    }
}

static void FN(log_prob)(const gaussian_job *job, const tables_t *t, scratch_t *s, ptrdiff_t n,
                         ptrdiff_t padded)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4), n_comp = job->n_components;
    if (FN(is_small)(job))
        FN(small_log_prob)(d, s->x, s->cap, padded, n_comp, t->means, t->coef, t->log_norm, s->lp);
    else if (job->kind == GAUSSIAN_FULL) {
        if (job->prune && n_comp > 1 && *s->dense == 0) {
            FN(full_pruned)(job, t, s, n, padded);
            return;
        }
        for (ptrdiff_t k = 0; k < n_comp; k++)
            FN(full_log_prob)(t, s, padded, d4, d4, k, s->lp);
        *s->dense -= *s->dense > 0;
    } else {
        const REAL *x = s->x, *coef = t->coef;
        if (job->kind == GAUSSIAN_TIED) {
            FN(whiten)(t, s, padded, d4);
            x = s->other;
            coef = t->offset;
        }
        for (ptrdiff_t k = 0; k < n_comp; k += 4)
            FN(axis_log_prob)(x, s->cap, padded, d, coef + k * d * 2, t->log_norm + k,
                              s->lp + k * s->cap);
    }
}

/* ---- responsibilities -------------------------------------------------------------------- */

/* From lp: row = log sum_k exp lp, r = weight * exp(lp - row); a panel at a time, because exp is a
 * long chain of operations that depend on each other. */
static void FN(normalise)(const gaussian_job *job, scratch_t *s, ptrdiff_t padded)
{
    ptrdiff_t cap = s->cap, n_comp = job->n_components;
    vec negligible = FN(fill)((REAL)job->negligible);
    for (ptrdiff_t row = 0; row < padded; row += PANEL) {
        const REAL *lp = s->lp + row;
        REAL *r = s->r + row;
        vec base[PANEL_VECS], sum[PANEL_VECS], inverse[PANEL_VECS];
        /* A row without any finite lp keeps r = 0 and log-density -inf, which the driver reports. */
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++) {
            base[v] = FN(fill)((REAL)-1e30);
            sum[v] = FN(fill)(0);
        }
        for (ptrdiff_t k = 0; k < n_comp; k++)
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                base[v] = FN(max)(base[v], FN(load)(lp + k * cap + v * VL));
        for (ptrdiff_t k = 0; k < n_comp; k++) {
            vec e[PANEL_VECS];
            unsigned some = 0;
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++) {
                e[v] = FN(load)(lp + k * cap + v * VL) - base[v];
                some |= FN(mask_greater)(e[v], negligible);
            }
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++) {
                e[v] = some ? FN(exp)(e[v]) : FN(fill)(0);
                sum[v] += e[v];
                FN(store)(r + k * cap + v * VL, e[v]);
            }
        }
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++) {
            ivec positive = (ivec)(sum[v] > 0);
            vec log_prob = base[v] + FN(log)(sum[v]);
            FN(store)(s->row + row + v * VL,
                      FN(select)(positive, log_prob, FN(fill)((REAL)-INFINITY)));
            inverse[v] = FN(load)(s->weight + row + v * VL) /
                         FN(select)(positive, sum[v], FN(fill)(1));
        }
        for (ptrdiff_t k = 0; k < n_comp; k++)
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                FN(store)(r + k * cap + v * VL, FN(load)(r + k * cap + v * VL) * inverse[v]);
    }
}

static void FN(take_given)(const gaussian_job *job, ptrdiff_t begin, ptrdiff_t n, ptrdiff_t padded,
                           scratch_t *s)
{
    ptrdiff_t n_comp = job->n_components;
    const double *given = job->given + begin * n_comp;
    for (ptrdiff_t k = 0; k < n_comp; k++)
        for (ptrdiff_t row = 0; row < padded; row++)
            s->r[k * s->cap + row] =
                row < n ? (REAL)given[row * n_comp + k] * s->weight[row] : 0;
    memset(s->row, 0, padded * sizeof(REAL));
}

static void FN(write_rows)(const gaussian_job *job, ptrdiff_t begin, ptrdiff_t n,
                           const scratch_t *s)
{
    ptrdiff_t n_comp = job->n_components, cap = s->cap;
    for (ptrdiff_t row = 0; row < n; row++) {
        ptrdiff_t out = begin + (s->sorted ? s->order[row] : row), best = 0;
        if (job->log_prob)
            ((REAL *)job->log_prob)[out] = s->row[row];
        if (job->responsibilities)
            for (ptrdiff_t k = 0; k < n_comp; k++)
                ((REAL *)job->responsibilities)[out * n_comp + k] = s->r[k * cap + row];
        if (job->labels) {
            for (ptrdiff_t k = 1; k < n_comp; k++)
                best = s->lp[k * cap + row] > s->lp[best * cap + row] ? k : best;
            job->labels[out] = best;
        }
    }
}

/* ---- sums -------------------------------------------------------------------------------- */

/* out[4 i + j] += sum_t a[i][t] b[j][t] for 4 + 4 columns of t values, n a multiple of VL. */
NOINLINE static void FN(cross_sums)(const REAL *a, const REAL *b, ptrdiff_t column, ptrdiff_t n,
                                    double *out)
{
    enum { WIDTH = VEC_REGISTERS == 32 ? 4 : 2 }; /* columns of b that fit in the registers */
    for (int j0 = 0; j0 < 4; j0 += WIDTH) {
        vec acc[WIDTH][4];
        double sums[WIDTH * 4];
        memset(acc, 0, sizeof acc);
        memset(sums, 0, sizeof sums);
        for (ptrdiff_t t = 0; t < n; t += VL) {
            vec x[4];
            UNROLL
            for (int i = 0; i < 4; i++)
                x[i] = FN(load)(a + i * column + t);
            UNROLL
            for (int j = 0; j < WIDTH; j++) {
                vec y = FN(load)(b + (j0 + j) * column + t);
                UNROLL
                for (int i = 0; i < 4; i++)
                    acc[j][i] += x[i] * y;
            }
        }
        FN(add_sums)(acc[0], 4 * WIDTH, sums);
        for (int j = 0; j < WIDTH; j++)
            for (int i = 0; i < 4; i++)
                out[4 * i + j0 + j] += sums[4 * j + i];
    }
}

/* The first vectors of rows with a responsibility above the threshold, from `row` on, at most TILE
 * rows; returns their number and moves `row` on. */
ALWAYS_INLINE ptrdiff_t FN(list_vectors)(const REAL *r, REAL threshold, ptrdiff_t padded,
                                         ptrdiff_t *row, int32_t *list)
{
    ptrdiff_t count = 0;
    for (; *row < padded && count < TILE / VL; *row += VL) {
        list[count] = (int32_t)*row;
        count += FN(mask_greater)(FN(load)(r + *row), FN(fill)(threshold)) != 0;
    }
    return count;
}

/* z = x - mean of 4 features and rz = r z for the listed vectors of rows, side by side; adds their
 * first moments to out. */
ALWAYS_INLINE void FN(center_weighted)(const REAL *x, ptrdiff_t cap, const REAL *mean,
                                       const REAL *r, const int32_t *list, ptrdiff_t count,
                                       REAL *z, REAL *rz, double *out)
{
    vec sums[4], center[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        sums[i] = FN(fill)(0);
        center[i] = FN(fill)(mean[i]);
    }
    for (ptrdiff_t l = 0; l < count; l++) {
        vec weight = FN(load)(r + list[l]);
        UNROLL
        for (int i = 0; i < 4; i++) {
            vec zi = FN(load)(x + i * cap + list[l]) - center[i], rzi = weight * zi;
            FN(store)(z + i * TILE_COLUMN + l * VL, zi);
            FN(store)(rz + i * TILE_COLUMN + l * VL, rzi);
            sums[i] += rzi;
        }
    }
    FN(add_sums)(sums, 4, out);
}

static void FN(full_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                          ptrdiff_t padded, double *out)
{
    ptrdiff_t d4 = FN(up)(job->n_features, 4);
    REAL threshold = job->given ? 0 : (REAL)1e-17;
    int32_t list[TILE + 1];
    for (ptrdiff_t k = 0; k < job->n_components; k++, out += FN(component_size)(job)) {
        const REAL *r = s->r + k * s->cap;
        for (ptrdiff_t row = 0; row < padded;) {
            ptrdiff_t count = FN(list_vectors)(r, threshold, padded, &row, list);
            double *block = out + 1 + d4;
            vec total = FN(fill)(0);
            if (count == 0)
                continue;
            for (ptrdiff_t l = 0; l < count; l++)
                total += FN(load)(r + list[l]);
            FN(add_sums)(&total, 1, out);
            for (ptrdiff_t i = 0; i < d4; i += 4) { /* rz of 4 features stays in the first cache */
                FN(center_weighted)(s->x + i * s->cap, s->cap, t->means + k * d4 + i, r, list, count,
                                    s->z + i * TILE_COLUMN, s->rz, out + 1 + i);
                for (ptrdiff_t j = 0; j <= i; j += 4, block += 16)
                    FN(cross_sums)(s->rz, s->z + j * TILE_COLUMN, TILE_COLUMN, count * VL, block);
            }
        }
    }
}

/* Diagonal: per component and feature, sums of r y and r y^2, y = x scale - offset. */
static void FN(diag_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                          ptrdiff_t padded, double *out)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4), cap = s->cap;
    for (ptrdiff_t k = 0; k < job->n_components; k++, out += FN(component_size)(job)) {
        const REAL *coef = t->coef + k / 4 * d * 8 + k % 4, *r = s->r + k * cap;
        vec total = FN(fill)(0);
        for (ptrdiff_t row = 0; row < padded; row += VL)
            total += FN(load)(r + row);
        FN(add_sums)(&total, 1, out);
        for (ptrdiff_t i0 = 0; i0 < d; i0 += 4) {
            vec first[4], second[4];
            REAL scale[4], offset[4];
            const REAL *x[4];
            memset(first, 0, sizeof first);
            memset(second, 0, sizeof second);
            for (int i = 0; i < 4; i++) {
                ptrdiff_t feature = i0 + i < d ? i0 + i : d - 1;
                scale[i] = coef[8 * feature];
                offset[i] = coef[8 * feature + 4];
                x[i] = s->x + feature * cap;
            }
            for (ptrdiff_t row = 0; row < padded; row += VL) {
                vec rv = FN(load)(r + row);
                UNROLL
                for (int i = 0; i < 4; i++) {
                    vec y = FN(load)(x[i] + row) * scale[i] - offset[i], ry = rv * y;
                    first[i] += ry;
                    second[i] += ry * y;
                }
            }
            FN(add_sums)(first, 4, out + 1 + i0);
            FN(add_sums)(second, 4, out + 1 + d4 + i0);
        }
    }
}

/* Spherical and tied: weights and first moments about the shift, 4 components x 4 features at a
 * time; spherical: sum of r q / 2, q the squared distance in units of the precision. */
static void FN(mean_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                          ptrdiff_t padded, double *out)
{
    ptrdiff_t d4 = FN(up)(job->n_features, 4), cap = s->cap, size = FN(component_size)(job);
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        const REAL *r = s->r + k * cap, *lp = s->lp + k * cap;
        vec sums[2];
        memset(sums, 0, sizeof sums);
        for (ptrdiff_t row = 0; row < padded; row += VL) {
            vec rv = FN(load)(r + row);
            sums[0] += rv;
            if (job->kind == GAUSSIAN_SPHERICAL && t->log_norm[k] > (REAL)-INFINITY)
                sums[1] += rv * (t->log_norm[k] - FN(max)(FN(load)(lp + row), FN(fill)((REAL)-1e30)));
        }
        double two[2] = {0, 0};
        FN(add_sums)(sums, 2, two);
        out[k * size] += two[0];
        out[k * size + 1 + d4] += two[1];
    }
    for (ptrdiff_t k = 0; k < job->n_components; k += 4)
        for (ptrdiff_t i = 0; i < d4; i += 4) {
            double block[16] = {0};
            FN(cross_sums)(s->r + k * cap, s->x + i * cap, cap, padded, block);
            for (int c = 0; c < 4; c++)
                for (int j = 0; j < 4; j++)
                    out[(k + c) * size + 1 + i + j] += block[4 * c + j];
        }
}

static void FN(add_to_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                            ptrdiff_t padded, double *sums)
{
    double partial[8] = {0}, bound = 0; /* partial sums: no chain of dependent additions */

    if (FN(is_small)(job))
        FN(small_sums)(job->n_features, s->x, s->cap, padded, job->n_components, t->means, s->r, sums);
    else if (job->kind == GAUSSIAN_FULL)
        FN(full_sums)(job, t, s, padded, sums);
    else if (job->kind == GAUSSIAN_DIAG)
        FN(diag_sums)(job, t, s, padded, sums);
    else
        FN(mean_sums)(job, t, s, padded, sums);
    for (ptrdiff_t row = 0; row < padded; row += 8)
        for (int l = 0; l < 8; l++) {
            double weight = s->weight[row + l], log_prob = s->row[row + l];
            /* a weight of 0 leaves the sample out, whatever its density */
            partial[l] += weight != 0 ? weight * log_prob : 0;
        }
    for (int l = 0; l < 8; l++)
        bound += partial[l];
    sums[FN(up)(job->n_components, 4) * FN(component_size)(job)] += bound;
}

/* ---- the chunk --------------------------------------------------------------------------- */

static void FN(chunk)(const gaussian_job *job, ptrdiff_t begin, ptrdiff_t n, void *memory,
                      double *sums, int *dense)
{
    const tables_t *t = job->tables;
    ptrdiff_t padded = FN(up)(n, PANEL > 8 ? PANEL : 8);
    scratch_t s;
    FN(lay_scratch)(job, memory, &s);
    s.dense = dense;
    s.sorted = 0;
    FN(pack)(job, t, begin, n, padded, &s);
    if (job->given == NULL || job->kind == GAUSSIAN_SPHERICAL)
        FN(log_prob)(job, t, &s, n, padded);
    if (job->given)
        FN(take_given)(job, begin, n, padded, &s);
    else
        FN(normalise)(job, &s, padded);
    FN(write_rows)(job, begin, n, &s);
    if (sums)
        FN(add_to_sums)(job, t, &s, padded, sums);
}

#undef tables_t
#undef scratch_t
