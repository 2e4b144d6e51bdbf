/* Gaussian mixtures: how parameters, samples and sums lie in memory. A template: see vec.h. */

#undef PANEL_VECS
#undef PANEL
#define PANEL_VECS (VEC_REGISTERS == 32 ? 4 : 2) /* vectors of samples in a register tile */
#undef TILE_COLUMN
#define PANEL (PANEL_VECS * VL)
#undef PROBE
#define PROBE 8 /* columns that tell which component is likely the best */
#undef TILE
#define TILE (2048 / (ptrdiff_t)sizeof(REAL)) /* rows whose second moments are summed at once */
#define TILE_COLUMN (TILE + 64 / (ptrdiff_t)sizeof(REAL)) /* see lay_scratch */
#define tables_t FN(tables)
#define scratch_t FN(scratch)

/* Parameters, rounded to REAL and laid out in the order in which the kernels read them. */
typedef struct {
    REAL *means;    /* (K, D4): D4 = D rounded up to 4 */
    REAL *log_norm; /* (K,) */
    REAL *shift;    /* (D,) */
    REAL *scale;    /* (D,) */
    REAL *coef;     /* full, small.h: (K, D(D+1)/2) columns of the triangle, end to end
                     * full, tied:      (K or 1, tri4) 4 columns at a time: see tri_squares
                     * diag:            (K4 / 4, D, 8) 4 scales, 4 offsets: see axis_log_prob
                     * spherical:       (D,) what takes x to the same unit for all features */
    /* tied and spherical: see axis_log_prob */
    REAL *center;   /* (K4 / 4, D, 4) */
    REAL *factor;   /* (K4,) */
} tables_t;

typedef struct {
    ptrdiff_t cap;  /* distance of columns: a little more than the rows that fit */
    REAL *x;        /* (D4, cap) */
    REAL *lp, *r;   /* (K4, cap) */
    REAL *top;      /* (cap,) the largest lp of each row */
    REAL *weight;   /* (cap,) */
    REAL *row;      /* (cap,) log-density */
    REAL *noise;    /* (cap,) of the noise: first lp, then r */
    REAL *tail;     /* (K4, cap) see student.h */
    double *student; /* (K, 2) the chunk's sums: see there */
    REAL *z;        /* (D4, TILE + pad) x - mean of some rows; (D4, PANEL) of a panel */
    REAL *rz;       /* (4, TILE + pad) 4 features of it times r */
    REAL *other;    /* (D4, cap) x in the coordinates of axis_log_prob: see there */
    int32_t *best;  /* (cap,) component with the largest lp */
    int32_t *order; /* (cap,) the row that stands at each place, where the chunk was sorted */
    int32_t *begins; /* (K,) where each component's rows begin in that order */
    int sorted;     /* whether the chunk was sorted */
    ptrdiff_t end;  /* the row after the chunk's last */
    int *dense;     /* chunks that are still to be evaluated without pruning */
} scratch_t;

ALWAYS_INLINE ptrdiff_t FN(up)(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }

/* ---- sizes ------------------------------------------------------------------------------- */

/* Doubles of further sums where rows may have missing values: for full covariances, of those of what
 * is missing given the rest; for tied ones, of all rows' second moments, and the same. */
static ptrdiff_t FN(further_sums)(const gaussian_job *job)
{
    ptrdiff_t size = job->n_features * job->n_features;
    if (!job->incomplete || (job->kind != GAUSSIAN_FULL && job->kind != GAUSSIAN_TIED))
        return 0;
    if (job->kind == GAUSSIAN_TIED)
        return gaussian_tied_rows(job) + FN(up)(size, 16);
    return FN(up)(job->n_components * size, 16);
}

/* All components, the bound, the noise, sums of student.h. Rounded up, so that strips do not share
 * cache lines. */
static ptrdiff_t FN(sums_size)(const gaussian_job *job)
{
    ptrdiff_t of_student = job->df ? 2 * job->n_components : 0;
    return FN(up)(gaussian_student(job) + of_student, 16) + FN(further_sums)(job);
}

/* A chunk's x and lp should stay in the second-level cache, better in the first. */
static ptrdiff_t FN(chunk_rows)(const gaussian_job *job)
{
    ptrdiff_t row = sizeof(REAL) * (FN(up)(job->n_features, 4) + 2 * job->n_components);
    ptrdiff_t bytes = gaussian_is_small(job) || job->kind != GAUSSIAN_FULL ? 64 << 10 : 3 << 20;
    ptrdiff_t rows = bytes / row / 64 * 64;
    ptrdiff_t most = 12288 / (ptrdiff_t)sizeof(REAL), least = 256;
    if (job->rows)
        return job->rows;
    while (job->kind != GAUSSIAN_FULL && least > 64 && least * row > 2 << 20)
        least /= 2; /* many components: what fewer rows cost is less than a cache that is too small */
    return rows < least ? least : rows > most ? most : rows;
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
    s->noise = job->has_noise ? (REAL *)FN(take)(&p, column) : NULL;
    s->tail = job->df ? (REAL *)FN(take)(&p, k4 * column) : NULL;
    s->student = job->df ? (double *)FN(take)(&p, 2 * k4 * sizeof(double)) : NULL;
    s->z = (REAL *)FN(take)(&p, d4 * TILE_COLUMN * sizeof(REAL));
    s->rz = (REAL *)FN(take)(&p, 4 * TILE_COLUMN * sizeof(REAL));
    s->other = job->kind == GAUSSIAN_TIED || job->kind == GAUSSIAN_SPHERICAL
                   ? (REAL *)FN(take)(&p, d4 * column)
                   : NULL;
    s->best = (int32_t *)FN(take)(&p, cap * sizeof(int32_t));
    s->order = (int32_t *)FN(take)(&p, cap * sizeof(int32_t));
    s->begins = (int32_t *)FN(take)(&p, k4 * sizeof(int32_t));
    return p - memory;
}

/* Where rows may have missing values: the runs of those that lack the same features. */
typedef struct {
    ptrdiff_t n_runs;
    int32_t *begin;  /* (cap + 1,) the first row of each run, and one past the last run */
    int32_t *n_lost; /* (cap,) features that a run lacks */
    int32_t *lost;   /* (cap, D) which they are, and from the end of a row backward the others */
    double *term;    /* (cap,) what a run's log-density has beside that of its completed rows */
    double *root;    /* (D, D) lower triangle L, L L^T = the precision of what is missing */
    double *inverse; /* (D, D) of L; its diagonal is made with L */
    double *z;       /* (D, VL) x - mean of what is there */
    double *y;       /* (D, VL) of what is missing */
    /* tied, with W = K rounded up to VL: see incomplete_tied.h */
    double *nowhere; /* (D4,) zeros */
    double *means;   /* (D, W) of the components, side by side */
    double *told;    /* (D, W) the same with expectations about 0 in place of what a run lacks */
    double *white;   /* (D, W) that, whitened */
    double *step;    /* (D, W) what a component adds to the expectations of what a run lacks */
    double *weight;  /* (W,) responsibilities of a run */
    double *lanes;   /* (D, D, VL) second moments between components, lane by lane */
} FN(runs);

static ptrdiff_t FN(lay_runs)(const gaussian_job *job, char *memory, FN(runs) *runs)
{
    ptrdiff_t d = job->n_features, cap = FN(chunk_rows)(job) + 64, real = sizeof(double);
    ptrdiff_t wide = FN(up)(job->n_components, VL);
    char *p = memory;
    runs->begin = (int32_t *)FN(take)(&p, (cap + 1) * sizeof(int32_t));
    runs->n_lost = (int32_t *)FN(take)(&p, cap * sizeof(int32_t));
    runs->lost = (int32_t *)FN(take)(&p, cap * d * sizeof(int32_t));
    runs->term = (double *)FN(take)(&p, cap * real);
    runs->root = (double *)FN(take)(&p, d * d * real);
    runs->inverse = (double *)FN(take)(&p, d * d * real);
    runs->z = (double *)FN(take)(&p, d * VL * real);
    runs->y = (double *)FN(take)(&p, d * VL * real);
    if (job->kind != GAUSSIAN_TIED)
        return p - memory;
    runs->nowhere = (double *)FN(take)(&p, FN(up)(d, 4) * real);
    runs->means = (double *)FN(take)(&p, d * wide * real);
    runs->told = (double *)FN(take)(&p, d * wide * real);
    runs->white = (double *)FN(take)(&p, d * wide * real);
    runs->step = (double *)FN(take)(&p, d * wide * real);
    runs->weight = (double *)FN(take)(&p, wide * real);
    runs->lanes = (double *)FN(take)(&p, d * d * VL * real);
    if (memory)
        memset(runs->nowhere, 0, FN(up)(d, 4) * real);
    return p - memory;
}

static ptrdiff_t FN(scratch_bytes)(const gaussian_job *job)
{
    scratch_t s;
    FN(runs) runs;
    ptrdiff_t bytes = FN(up)(FN(lay_scratch)(job, NULL, &s), 64);
    return job->incomplete ? bytes + FN(lay_runs)(job, NULL, &runs) : bytes;
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
    t->center = t->factor = NULL;
    if (gaussian_is_small(job))
        t->coef = (REAL *)FN(take)(&p, k * d * (d + 1) / 2 * size);
    else if (job->kind == GAUSSIAN_FULL)
        t->coef = (REAL *)FN(take)(&p, k * gaussian_tri4(d4) * size);
    else if (job->kind == GAUSSIAN_DIAG)
        t->coef = (REAL *)FN(take)(&p, k4 * d * 2 * size);
    else {
        t->coef = (REAL *)FN(take)(&p, (job->kind == GAUSSIAN_TIED ? gaussian_tri4(d4) : d) * size);
        t->center = (REAL *)FN(take)(&p, k4 * d * size);
        t->factor = (REAL *)FN(take)(&p, k4 * size);
    }
    return p - memory;
}

static ptrdiff_t FN(tables_bytes)(const gaussian_job *job)
{
    tables_t t;
    return FN(lay_tables)(job, NULL, &t);
}

/* The columns of an upper triangle, 4 at a time: coef[block][row][4], rows 0 .. 4 block + 3; in
 * scaled coordinates, like all tables. */
static void FN(pack_triangle)(const double *upper, const double *scale, ptrdiff_t d, REAL *coef)
{
    for (ptrdiff_t j0 = 0; j0 < d; j0 += 4)
        for (ptrdiff_t i = 0; i < j0 + 4; i++)
            for (ptrdiff_t j = j0; j < j0 + 4; j++)
                *coef++ = i <= j && j < d ? (REAL)(upper[i * d + j] / scale[i]) : 0;
}

/* One component's scales and offsets for axis_log_prob: y_d = x_d scale_d - offset_d. */
static void FN(pack_axis)(REAL *coef, ptrdiff_t k, ptrdiff_t d, const double *chol,
                          const double *scale, const double *center)
{
    REAL *c = coef + k / 4 * d * 8 + k % 4;
    for (ptrdiff_t i = 0; i < d; i++) {
        c[8 * i] = (REAL)(chol[i] / scale[i]);
        c[8 * i + 4] = (REAL)(center[i] * (chol[i] / scale[i]));
    }
}

/* Tied: after multiplication by the precision's factor all components are round. The products of
 * the means are summed in double. */
static void FN(prepare_tied)(const gaussian_job *job, tables_t *t)
{
    ptrdiff_t d = job->n_features;
    FN(pack_triangle)(job->precisions_chol, job->scale, d, t->coef);
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        t->factor[k] = 1;
        for (ptrdiff_t j = 0; j < d; j++) {
            double sum = 0;
            for (ptrdiff_t i = 0; i <= j; i++)
                sum += job->means[k * d + i] * (job->precisions_chol[i * d + j] / job->scale[i]);
            t->center[(k / 4 * d + j) * 4 + k % 4] = (REAL)sum;
        }
    }
}

/* Spherical: all features get the unit of the feature that spreads most. Scales are powers of 2. */
static void FN(prepare_spherical)(const gaussian_job *job, tables_t *t)
{
    ptrdiff_t d = job->n_features;
    double unit = job->scale[0];
    for (ptrdiff_t i = 1; i < d; i++)
        unit = job->scale[i] < unit ? job->scale[i] : unit;
    for (ptrdiff_t i = 0; i < d; i++)
        t->coef[i] = (REAL)(unit / job->scale[i]);
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        t->factor[k] = (REAL)(job->precisions_chol[k * d] / unit);
        for (ptrdiff_t i = 0; i < d; i++)
            t->center[(k / 4 * d + i) * 4 + k % 4] =
                (REAL)(job->means[k * d + i] * (unit / job->scale[i]));
    }
}

/* What all components have in common. */
static void FN(prepare_common)(const gaussian_job *job, tables_t *t)
{
    ptrdiff_t k4 = FN(up)(job->n_components, 4);
    for (ptrdiff_t i = 0; i < job->n_features; i++) {
        t->shift[i] = (REAL)job->shift[i];
        t->scale[i] = (REAL)job->scale[i];
    }
    for (ptrdiff_t k = 0; k < k4; k++)
        t->log_norm[k] = k < job->n_components ? (REAL)job->log_norm[k] : (REAL)-INFINITY;
    if (job->kind == GAUSSIAN_TIED)
        FN(prepare_tied)(job, t);
    else if (job->kind == GAUSSIAN_SPHERICAL)
        FN(prepare_spherical)(job, t);
}

/* The mean of component k, and its factor where each has its own; with the first one all the rest. */
static void FN(prepare)(const void *given, ptrdiff_t k, void *memory)
{
    const gaussian_job *job = given;
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4);
    const double *mean = job->means + k * d, *chol = job->precisions_chol;
    tables_t own, *t = k ? &own : memory;
    FN(lay_tables)(job, memory, t);
    if (k == 0)
        FN(prepare_common)(job, t);
    for (ptrdiff_t i = 0; i < d; i++)
        t->means[k * d4 + i] = (REAL)mean[i];
    if (job->kind == GAUSSIAN_FULL && !gaussian_is_small(job))
        FN(pack_triangle)(chol + k * d * d, job->scale, d, t->coef + k * gaussian_tri4(d4));
    else if (job->kind == GAUSSIAN_FULL) {
        REAL *c = t->coef + k * d * (d + 1) / 2;
        for (ptrdiff_t j = 0; j < d; j++)
            for (ptrdiff_t i = 0; i <= j; i++)
                *c++ = (REAL)(chol[k * d * d + i * d + j] / job->scale[i]);
    } else if (job->kind == GAUSSIAN_DIAG)
        FN(pack_axis)(t->coef, k, d, chol + k * d, job->scale, mean);
}

/* ---- the data ---------------------------------------------------------------------------- */

/* VL rows of at most VL features, each row contiguous, to so many features of VL rows. */
ALWAYS_INLINE void FN(pack_square)(const char *const *rows, ptrdiff_t offset, ptrdiff_t n_features,
                                   const REAL *shift, const REAL *scale, ptrdiff_t cap, REAL *out)
{
    vec square[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1];
    UNROLL
    for (ptrdiff_t l = 0; l < VL; l++)
        square[l] = FN(load)((const REAL *)(rows[l] + offset));
    FN(transpose)(square);
    UNROLL
    for (ptrdiff_t l = 0; l < VL; l++)
        if (l < n_features)
            FN(store)(out + l * cap, (square[l] - shift[l]) * scale[l]);
}

/* The same for n rows of few features that follow each other without a gap. */
ALWAYS_INLINE void FN(pack_few)(const int d, const char *rows, ptrdiff_t n, const REAL *shift,
                                const REAL *scale, ptrdiff_t cap, REAL *out)
{
    const REAL *x = (const REAL *)rows;
    for (int i = 0; i < d; i++) {
        REAL *column = out + i * cap, center = shift[i], factor = scale[i];
        for (ptrdiff_t row = 0; row < n; row++)
            column[row] = (x[row * d + i] - center) * factor;
    }
}

/* x[i][t] = (X[begin + order[t], i] - shift[i]) * scale[i] for features i < some; order NULL: t. */
static void FN(pack_rows)(const gaussian_job *job, const tables_t *t, ptrdiff_t begin,
                          const int32_t *order, ptrdiff_t n, ptrdiff_t some, ptrdiff_t cap, REAL *x)
{
    const char *rows = job->x + begin * job->x_row, *at[16];
    /* The last place from where a vector can be read. */
    const char *last = job->x + (job->n_samples - 1) * job->x_row;
    last = job->x_row < 0 ? job->x : last + (job->n_features - VL) * (ptrdiff_t)sizeof(REAL);
    for (ptrdiff_t t0 = 0; t0 < n; t0 += 16) { /* 16 rows: a column of them is 1 or 2 cache lines */
        ptrdiff_t count = n - t0 < 16 ? n - t0 : 16, i = 0;
        int whole = job->x_column == sizeof(REAL);
        for (ptrdiff_t row = 0; row < count; row++) {
            at[row] = rows + (order ? order[t0 + row] : t0 + row) * job->x_row;
            whole &= some >= VL || at[row] <= last;
        }
        /* Whole vectors: the last one overlaps the one before, or has some of the next row. */
        for (ptrdiff_t wide = some < VL ? some : VL; whole && count == 16 && i < some; i += VL) {
            i = i + wide <= some ? i : some - wide;
            for (ptrdiff_t row = 0; row < 16; row += VL)
                FN(pack_square)(at + row, i * sizeof(REAL), wide, t->shift + i, t->scale + i, cap,
                                x + i * cap + t0 + row);
        }
        for (; i < some; i++) {
            REAL shift = t->shift[i], scale = t->scale[i], *out = x + i * cap + t0;
            for (ptrdiff_t row = 0; row < count; row++)
                out[row] = (*(const REAL *)(at[row] + i * job->x_column) - shift) * scale;
        }
    }
}

/* The chunk's first features, `some` of them, and its weights, in a given order or as they come;
 * zeros past n. */
static void FN(pack)(const gaussian_job *job, const tables_t *t, ptrdiff_t begin,
                     const int32_t *order, ptrdiff_t n, ptrdiff_t padded, ptrdiff_t some,
                     scratch_t *s)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4), cap = s->cap;
    const char *rows = job->x + begin * job->x_row;
    int close = job->x_column == sizeof(REAL) && job->x_row == d * (ptrdiff_t)sizeof(REAL);
    if (close && d == 2)
        FN(pack_few)(2, rows, n, t->shift, t->scale, cap, s->x);
    else if (close && d == 3)
        FN(pack_few)(3, rows, n, t->shift, t->scale, cap, s->x);
    else if (close && d == 4)
        FN(pack_few)(4, rows, n, t->shift, t->scale, cap, s->x);
    else
        FN(pack_rows)(job, t, begin, order, n, some, cap, s->x);
    for (ptrdiff_t i = 0; i < d4; i++)
        for (ptrdiff_t row = i < d ? n : 0; row < padded; row++)
            s->x[i * cap + row] = 0;
    for (ptrdiff_t row = 0; row < n; row++)
        s->weight[row] =
            job->sample_weight ? (REAL)job->sample_weight[begin + (order ? order[row] : row)] : 1;
    for (ptrdiff_t row = n; row < padded; row++)
        s->weight[row] = 0;
}
