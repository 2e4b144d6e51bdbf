/* Gaussian mixtures: the log-density of every row of a chunk under every component. A template: see
 * vec.h. */
/* q[t] += sum over columns [j0, j1) of (z P)_j^2 for one panel; z is (D4, PANEL). Not inlined: the
 * 16 sums and 4 samples fill the registers, and what the caller holds would be spilled among them. */
NOINLINE static void FN(tri_squares)(const REAL *z, const REAL *coef, ptrdiff_t j0, ptrdiff_t j1,
                                     REAL *q)
{
    coef += gaussian_tri4(j0);
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
 * With limits, returns 0 as soon as every row is below its limit. */
ALWAYS_INLINE int FN(full_panel)(const tables_t *t, const REAL *x, ptrdiff_t cap, ptrdiff_t d4,
                                 ptrdiff_t j1, ptrdiff_t k, REAL *z, const vec *limit, vec *lp)
{
    const REAL *coef = t->coef + k * gaussian_tri4(d4), *mean = t->means + k * d4;
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

/* Whether the next chunk is evaluated with pruning. */
ALWAYS_INLINE int FN(prunes)(const gaussian_job *job, const scratch_t *s)
{
    return job->kind == GAUSSIAN_FULL && !gaussian_is_small(job) && job->given == NULL && job->prune &&
           job->df == NULL && job->n_components > 1 && *s->dense == 0;
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

/* Sorts the chunk by best component; rows of the same component keep their order. */
static void FN(sort_rows)(scratch_t *s, ptrdiff_t n, ptrdiff_t padded, ptrdiff_t n_comp)
{
    memset(s->begins, 0, n_comp * sizeof *s->begins);
    for (ptrdiff_t row = 0; row < n; row++)
        s->begins[s->best[row]]++;
    for (ptrdiff_t k = 1; k < n_comp; k++)
        s->begins[k] += s->begins[k - 1];
    for (ptrdiff_t row = n - 1; row >= 0; row--)
        s->order[--s->begins[s->best[row]]] = (int32_t)row;
    for (ptrdiff_t row = n; row < padded; row++)
        s->order[row] = (int32_t)row;
    s->sorted = 1;
}

/* The rows for which component k is evaluated in full: those that have it as best component, and
 * the rest of their panels, which begin at a vector. Empty if no row has it as best. */
ALWAYS_INLINE void FN(own_rows)(const scratch_t *s, ptrdiff_t k, ptrdiff_t n, ptrdiff_t padded,
                                ptrdiff_t n_comp, ptrdiff_t *begin, ptrdiff_t *end)
{
    ptrdiff_t first = s->begins[k], last = k + 1 < n_comp ? s->begins[k + 1] : n;
    ptrdiff_t row = first / VL * VL;
    *begin = first == last ? padded : row < padded - PANEL ? row : padded - PANEL;
    *end = *begin + (first == last ? 0 : FN(up)(last - *begin, PANEL));
    *end = *end < padded ? *end : padded;
}

/* Evaluates each component for the rows that have it as best; top = the largest lp of each row. */
static void FN(evaluate_own)(const tables_t *t, const scratch_t *s, ptrdiff_t n, ptrdiff_t padded,
                             ptrdiff_t n_comp, ptrdiff_t d4)
{
    for (ptrdiff_t row = 0; row < padded; row += VL)
        FN(store)(s->top + row, FN(fill)((REAL)-INFINITY));
    for (ptrdiff_t k = 0; k < n_comp; k++) {
        ptrdiff_t begin, end;
        FN(own_rows)(s, k, n, padded, n_comp, &begin, &end);
        for (; begin < end; begin += PANEL) {
            ptrdiff_t row = begin < padded - PANEL ? begin : padded - PANEL;
            vec lp[PANEL_VECS];
            FN(full_panel)(t, s->x + row, s->cap, d4, d4, k, s->z, NULL, lp);
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++) {
                REAL *top = s->top + row + v * VL;
                FN(store)(s->lp + k * s->cap + row + v * VL, lp[v]);
                FN(store)(top, FN(max)(FN(load)(top), lp[v]));
            }
        }
    }
}

/* The limit that lp must exceed to count beside the top: the top plus `negligible`. Far from all
 * components, where the last bit of lp is larger than that, an lp equal to the top must exceed it. */
ALWAYS_INLINE vec FN(limit_below)(vec top, REAL negligible)
{
    REAL next = sizeof(REAL) == 4 ? (REAL)(1 + 0x1p-22) : (REAL)(1 + 0x1p-51);
    return FN(min)(top + negligible, top * next);
}

/* Evaluates component k for the rows of a panel that are not among its own, [begin, end), unless the
 * bounds or the first columns show that it cannot come within e^negligible of the top. Returns
 * whether it did. */
static int FN(other_panel)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                           const REAL *bounds, ptrdiff_t k, ptrdiff_t row, ptrdiff_t begin,
                           ptrdiff_t end, ptrdiff_t d4)
{
    const REAL *bound = bounds + k * s->cap;
    REAL negligible = (REAL)job->negligible, limits[8 * 64 / sizeof(REAL)];
    vec lp[PANEL_VECS], limit[PANEL_VECS];
    int possible = 0;
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++) {
        limit[v] = FN(limit_below)(FN(load)(s->top + row + v * VL), negligible);
        FN(store)(limits + v * VL, limit[v]);
    }
    for (ptrdiff_t i = row; i < row + PANEL && i < begin; i++)
        possible |= bound[s->order[i]] > limits[i - row];
    for (ptrdiff_t i = row > end ? row : end; i < row + PANEL; i++)
        possible |= bound[s->order[i]] > limits[i - row];
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++) {
        ptrdiff_t at = row + v * VL;
        if (at >= begin && at < end)
            limit[v] = FN(fill)((REAL)INFINITY);
    }
    possible = possible && FN(full_panel)(t, s->x + row, s->cap, d4, d4, k, s->z, limit, lp);
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++) {
        ptrdiff_t at = row + v * VL;
        if (at < begin || at >= end)
            FN(store)(s->lp + k * s->cap + at, possible ? lp[v] : FN(fill)((REAL)-INFINITY));
    }
    return possible;
}

/* The exact pruned E-step. After the first PROBE columns of every component lp is an upper bound,
 * so that the chunk is read for these alone at first. Rows are sorted by the component with the
 * largest bound, which is evaluated in full; the log-density is at least that. A component whose
 * density is less than e^negligible times as large cannot change a sum in double precision. It is
 * left out for whole panels, whose rows are alike after sorting. */
static void FN(full_pruned)(const gaussian_job *job, const tables_t *t, scratch_t *s,
                            ptrdiff_t first, ptrdiff_t n, ptrdiff_t padded)
{
    ptrdiff_t d4 = FN(up)(job->n_features, 4), n_comp = job->n_components, evaluated = 0;
    REAL *bounds = s->r; /* free until normalise() */
    for (ptrdiff_t k = 0; k < n_comp; k++)
        FN(full_log_prob)(t, s, padded, d4, PROBE, k, bounds);
    FN(find_best)(s, bounds, padded, n_comp);
    FN(sort_rows)(s, n, padded, n_comp);
    FN(pack)(job, t, first, s->order, n, padded, job->n_features, s);
    FN(evaluate_own)(t, s, n, padded, n_comp, d4);
    for (ptrdiff_t k = 0; k < n_comp; k++) { /* outermost: its factor stays in the cache */
        ptrdiff_t begin, end;
        FN(own_rows)(s, k, n, padded, n_comp, &begin, &end);
        for (ptrdiff_t row = 0; row < padded; row += PANEL)
            if (row < begin || row + PANEL > end)
                evaluated += FN(other_panel)(job, t, s, bounds, k, row, begin, end, d4);
    }
    /* If most components survive, the bounds cost more than they save: leave them out for some
         * chunks, then try again. */
    if (evaluated * PANEL * 2 > padded * n_comp)
        *s->dense = 16;
}

/* lp of 4 components with axis-parallel covariances: y_d = x_d scale_kd - offset_kd; if they are
 * round in the coordinates of x, y_d = x_d - center_kd, and factor is one by their width. */
ALWAYS_INLINE void FN(axis_log_prob)(const int is_round, const REAL *x, ptrdiff_t cap,
                                     ptrdiff_t padded, ptrdiff_t d, const REAL *coef,
                                     const REAL *factor, const REAL *log_norm, REAL *lp)
{
    for (ptrdiff_t row = 0; row < padded; row += PANEL) {
        const REAL *c4 = coef;
        vec q[4][PANEL_VECS];
        memset(q, 0, sizeof q);
        for (ptrdiff_t i = 0; i < d; i++, c4 += is_round ? 4 : 8) {
            vec xi[PANEL_VECS];
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                xi[v] = FN(load)(x + i * cap + row + v * VL);
            UNROLL
            for (int c = 0; c < 4; c++)
                UNROLL
                for (int v = 0; v < PANEL_VECS; v++) {
                    vec y = is_round ? xi[v] - c4[c] : xi[v] * c4[c] - c4[4 + c];
                    q[c][v] += y * y;
                }
        }
        UNROLL
        for (int c = 0; c < 4; c++) {
            /* one factor at a time: its square may overflow */
            REAL own = is_round ? factor[c] : 1;
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                FN(store)(lp + c * cap + row + v * VL,
                          log_norm[c] - (REAL)0.5 * own * q[c][v] * own);
        }
    }
}

/* Returns x with the same unit for all features: x itself if it has, else a copy in `other`. */
static const REAL *FN(in_one_unit)(const tables_t *t, const scratch_t *s, ptrdiff_t padded,
                                   ptrdiff_t d)
{
    int there = 1;
    for (ptrdiff_t i = 0; i < d; i++)
        there &= t->coef[i] == 1;
    if (there)
        return s->x;
    for (ptrdiff_t i = 0; i < d; i++)
        for (ptrdiff_t row = 0; row < padded; row += VL)
            FN(store)(s->other + i * s->cap + row, FN(load)(s->x + i * s->cap + row) * t->coef[i]);
    return s->other;
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

static void FN(log_prob)(const gaussian_job *job, const tables_t *t, scratch_t *s, ptrdiff_t begin,
                         ptrdiff_t n, ptrdiff_t padded)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4), n_comp = job->n_components;
    if (gaussian_is_small(job))
        FN(small_log_prob)(d, s->x, s->cap, padded, n_comp, t->means, t->coef, t->log_norm, s->lp);
    else if (job->kind == GAUSSIAN_FULL) {
        if (FN(prunes)(job, s)) {
            FN(full_pruned)(job, t, s, begin, n, padded);
            return;
        }
        for (ptrdiff_t k = 0; k < n_comp; k++)
            FN(full_log_prob)(t, s, padded, d4, d4, k, s->lp);
        *s->dense -= *s->dense > 0;
    } else if (job->kind == GAUSSIAN_DIAG) {
        for (ptrdiff_t k = 0; k < n_comp; k += 4)
            FN(axis_log_prob)(0, s->x, s->cap, padded, d, t->coef + k * d * 2, NULL,
                              t->log_norm + k, s->lp + k * s->cap);
    } else {
        const REAL *x = s->other;
        if (job->kind == GAUSSIAN_TIED)
            FN(whiten)(t, s, padded, d4);
        else
            x = FN(in_one_unit)(t, s, padded, d);
        for (ptrdiff_t k = 0; k < n_comp; k += 4)
            FN(axis_log_prob)(1, x, s->cap, padded, d, t->center + k * d, t->factor + k,
                              t->log_norm + k, s->lp + k * s->cap);
    }
}
