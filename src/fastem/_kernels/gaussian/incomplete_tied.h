/* Chunks with missing values (NaN) under components that share their covariance; in double. A
 * template: see vec.h.
 *
 * How a run's rows are completed is then the same for all components but for a constant: with T the
 * map that puts expectations about 0 in place of what is missing, component k's expectations are
 * T x + (mean_k - T mean_k), and its distance |U^T (T x - T mean_k)|. So rows are completed and
 * whitened once, T mean_k is made once for each run, with components side by side in vectors, and the
 * second moments are those of rows completed by the mixture's expectations, plus what these leave out
 * between components and within. */

static void FN(lay_means)(const gaussian_job *job, const tables_t *t, FN(runs) *runs)
{
    ptrdiff_t d = job->n_features, wide = FN(up)(job->n_components, VL);
    memset(runs->means, 0, d * wide * sizeof(double));
    for (ptrdiff_t k = 0; k < job->n_components; k++)
        for (ptrdiff_t i = 0; i < d; i++)
            runs->means[i * wide + k] = t->means[k * FN(up)(d, 4) + i];
}

/* told = T mean of each component, side by side, by the factor of the run. */
static void FN(tell_means)(const gaussian_job *job, const int32_t *lost, ptrdiff_t m,
                           FN(runs) *runs)
{
    ptrdiff_t d = job->n_features, wide = FN(up)(job->n_components, VL);
    const double *root = runs->root, *inverse = runs->inverse;
    double *told = runs->told;
    memcpy(told, runs->means, d * wide * sizeof(double));
    for (ptrdiff_t k = 0; k < wide; k += VL) {
        for (ptrdiff_t a = 0; a < m; a++) {
            const double *p = job->precisions + lost[a] * d;
            vec sum = FN(fill)(0);
            for (ptrdiff_t o = m; o < d; o++)
                sum -= p[lost[o]] * FN(load)(told + lost[o] * wide + k);
            for (ptrdiff_t b = 0; b < a; b++)
                sum -= root[a * d + b] * FN(load)(told + lost[b] * wide + k);
            FN(store)(told + lost[a] * wide + k, sum * inverse[a * d + a]);
        }
        for (ptrdiff_t a = m - 1; a >= 0; a--) {
            vec sum = FN(load)(told + lost[a] * wide + k);
            for (ptrdiff_t b = a + 1; b < m; b++)
                sum -= root[b * d + a] * FN(load)(told + lost[b] * wide + k);
            FN(store)(told + lost[a] * wide + k, sum * inverse[a * d + a]);
        }
    }
}

/* white = U^T told */
static void FN(whiten_means)(const gaussian_job *job, const tables_t *t, FN(runs) *runs)
{
    ptrdiff_t d = job->n_features, wide = FN(up)(job->n_components, VL);
    for (ptrdiff_t k = 0; k < wide; k += VL) {
        const double *coef = t->coef;
        for (ptrdiff_t j = 0; j < d; j += 4) {
            vec acc[4];
            memset(acc, 0, sizeof acc);
            for (ptrdiff_t i = 0; i < j + 4; i++, coef += 4) {
                vec x = FN(load)(runs->told + (i < d ? i : 0) * wide + k); /* coef is 0 from d on */
                UNROLL
                for (int c = 0; c < 4; c++)
                    acc[c] += x * coef[c];
            }
            for (ptrdiff_t c = 0; c < 4 && j + c < d; c++)
                FN(store)(runs->white + (j + c) * wide + k, acc[c]);
        }
    }
}

/* lp of some rows of a run under all components. */
ALWAYS_INLINE void FN(tied_rows)(const int rows, const gaussian_job *job, const tables_t *t,
                                 const scratch_t *s, const FN(runs) *runs, ptrdiff_t row,
                                 double term)
{
    ptrdiff_t d = job->n_features, n_comp = job->n_components, wide = FN(up)(n_comp, VL);
    for (ptrdiff_t k = 0; k < wide; k += VL) {
        double q[4][VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1];
        vec sum[4];
        UNROLL
        for (int r = 0; r < rows; r++)
            sum[r] = FN(fill)(0);
        for (ptrdiff_t j = 0; j < d; j++) {
            const double *y = s->other + j * s->cap + row;
            vec mean = FN(load)(runs->white + j * wide + k);
            UNROLL
            for (int r = 0; r < rows; r++) {
                vec gap = y[r] - mean;
                sum[r] += gap * gap;
            }
        }
        UNROLL
        for (int r = 0; r < rows; r++)
            FN(store)(q[r], sum[r]);
        for (ptrdiff_t l = 0; l < VL && k + l < n_comp; l++)
            UNROLL
            for (int r = 0; r < rows; r++)
                s->lp[(k + l) * s->cap + row + r] = t->log_norm[k + l] + term - 0.5 * q[r][l];
    }
}

static void FN(tied_log_prob)(const gaussian_job *job, const tables_t *t, scratch_t *s,
                              ptrdiff_t padded, FN(runs) *runs)
{
    ptrdiff_t d = job->n_features, n = runs->begin[runs->n_runs];
    FN(lay_means)(job, t, runs);
    for (ptrdiff_t k = 0; k < job->n_components; k++) /* what is past the rows has no weight */
        memset(s->lp + k * s->cap + n, 0, (padded - n) * sizeof *s->lp);
    for (ptrdiff_t run = 0; run < runs->n_runs; run++) {
        const int32_t *lost = runs->lost + run * d;
        ptrdiff_t m = runs->n_lost[run];
        runs->term[run] = 0;
        if (m == 0)
            continue;
        FN(factor_lost)(job->precisions, d, lost, m, runs);
        FN(complete_run)(job->precisions, runs->nowhere, d, lost, m, runs->begin[run],
                         runs->begin[run + 1], s, runs);
        for (ptrdiff_t a = 0; a < m; a++)
            runs->term[run] += HALF_LOG_2PI + log(runs->inverse[a * d + a] / job->scale[lost[a]]);
    }
    FN(whiten)(t, s, padded, FN(up)(d, 4));
    for (ptrdiff_t run = 0; run < runs->n_runs; run++) {
        const int32_t *lost = runs->lost + run * d;
        ptrdiff_t m = runs->n_lost[run], row = runs->begin[run], end = runs->begin[run + 1];
        if (m)
            FN(factor_lost)(job->precisions, d, lost, m, runs);
        FN(tell_means)(job, lost, m, runs);
        FN(whiten_means)(job, t, runs);
        for (; row + 4 <= end; row += 4)
            FN(tied_rows)(4, job, t, s, runs, row, runs->term[run]);
        for (; row < end; row++)
            FN(tied_rows)(1, job, t, s, runs, row, runs->term[run]);
    }
}

/* ---- sums -------------------------------------------------------------------------------- */

/* Responsibilities of one run, summed, side by side; returns their sum. */
static double FN(run_weights)(const gaussian_job *job, const scratch_t *s, ptrdiff_t begin,
                              ptrdiff_t end, FN(runs) *runs)
{
    double total = 0;
    memset(runs->weight, 0, FN(up)(job->n_components, VL) * sizeof(double));
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        const double *r = s->r + k * s->cap;
        double parts[4] = {0, 0, 0, 0};
        ptrdiff_t row = begin;
        for (; row + 4 <= end; row += 4)
            for (int l = 0; l < 4; l++)
                parts[l] += r[row + l];
        for (; row < end; row++)
            parts[0] += r[row];
        runs->weight[k] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
        total += runs->weight[k];
    }
    return total;
}

/* Adds the mixture's expectations to a run's rows, which have those about 0; `between` (m, m), lower
 * triangle, loses the sum of the weights times their squares. */
static void FN(expect_run)(const gaussian_job *job, const scratch_t *s, const int32_t *lost,
                           ptrdiff_t m, ptrdiff_t begin, ptrdiff_t end, FN(runs) *runs)
{
    ptrdiff_t d = job->n_features, wide = FN(up)(job->n_components, VL);
    double iota[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1];
    for (ptrdiff_t l = 0; l < VL; l++)
        iota[l] = (double)l;
    for (ptrdiff_t row = begin; row < end; row += VL) {
        ivec inside = (ivec)(FN(load)(iota) < FN(fill)((double)(end - row)));
        vec weight = FN(select)(inside, FN(load)(s->top + row), FN(fill)(0));
        vec inverse = 1 / FN(select)((ivec)(weight > 0), weight, FN(fill)(1));
        for (ptrdiff_t a = 0; a < m; a++) {
            const double *step = runs->step + a * wide;
            double *x = s->x + lost[a] * s->cap + row;
            vec sum = FN(fill)(0), own;
            for (ptrdiff_t k = 0; k < job->n_components; k++)
                sum += FN(load)(s->r + k * s->cap + row) * step[k];
            own = FN(select)(inside, sum * inverse, FN(fill)(0));
            FN(store)(runs->y + a * VL, own);
            FN(store)(x, FN(load)(x) + own);
            for (ptrdiff_t b = 0; b <= a; b++) {
                double *lane = runs->lanes + (a * d + b) * VL;
                FN(store)(lane, FN(load)(lane) - weight * own * FN(load)(runs->y + b * VL));
            }
        }
    }
}

/* Adds what a run has beside its rows: first moments of components, and second moments within them
 * and between them, to `second` (D, D), lower triangle. */
static void FN(add_run)(const gaussian_job *job, const scratch_t *s, const int32_t *lost,
                        ptrdiff_t m, ptrdiff_t begin, ptrdiff_t end, FN(runs) *runs, double *sums,
                        double *second)
{
    ptrdiff_t d = job->n_features, wide = FN(up)(job->n_components, VL);
    ptrdiff_t size = gaussian_component(job);
    double total = FN(run_weights)(job, s, begin, end, runs);
    if (total == 0)
        return;
    FN(factor_lost)(job->precisions, d, lost, m, runs);
    FN(tell_means)(job, lost, m, runs);
    FN(add_lost)(d, lost, m, total, runs, second);
    for (ptrdiff_t a = 0; a < m; a++) {
        double *step = runs->step + a * wide;
        for (ptrdiff_t k = 0; k < wide; k += VL) {
            ptrdiff_t at = lost[a] * wide + k;
            FN(store)(step + k, FN(load)(runs->means + at) - FN(load)(runs->told + at));
        }
        for (ptrdiff_t k = 0; k < job->n_components; k++)
            sums[k * size + 1 + lost[a]] += runs->weight[k] * step[k];
        for (ptrdiff_t b = 0; b <= a; b++) {
            vec sum = FN(fill)(0);
            for (ptrdiff_t k = 0; k < wide; k += VL)
                sum += FN(load)(runs->weight + k) * FN(load)(step + k) *
                       FN(load)(runs->step + b * wide + k);
            FN(store)(runs->lanes + (a * d + b) * VL, sum);
        }
    }
    FN(expect_run)(job, s, lost, m, begin, end, runs);
    for (ptrdiff_t a = 0; a < m; a++)
        for (ptrdiff_t b = 0; b <= a; b++)
            for (ptrdiff_t l = 0; l < VL; l++)
                second[lost[a] * d + lost[b]] += runs->lanes[(a * d + b) * VL + l];
}

static void FN(tied_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                          ptrdiff_t padded, FN(runs) *runs, double *sums)
{
    ptrdiff_t d = job->n_features;
    double *rows = sums + FN(sums_size)(job) - FN(further_sums)(job);
    double *second = rows + gaussian_tied_rows(job);
    gaussian_job alone = gaussian_one_full(job);
    scratch_t all = *s;
    tables_t own = *t;
    FN(mean_sums)(job, t, s, padded, sums);
    for (ptrdiff_t row = 0; row < padded; row += VL) {
        vec total = FN(fill)(0);
        for (ptrdiff_t k = 0; k < job->n_components; k++)
            total += FN(load)(s->r + k * s->cap + row);
        FN(store)(s->top + row, total);
    }
    for (ptrdiff_t run = 0; run < runs->n_runs; run++)
        if (runs->n_lost[run])
            FN(add_run)(job, s, runs->lost + run * d, runs->n_lost[run], runs->begin[run],
                        runs->begin[run + 1], runs, sums, second);
    all.r = s->top;
    own.means = runs->nowhere;
    if (gaussian_is_small(&alone))
        FN(small_sums)(d, s->x, s->cap, padded, 1, own.means, all.r, rows);
    else
        FN(full_sums)(&alone, &own, &all, padded, rows, NULL);
}
