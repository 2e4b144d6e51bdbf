/* Chunks of which some rows have missing values (NaN), missing at random; in double. A template: see
 * vec.h.
 *
 * Diagonal covariances: a missing feature adds nothing to the distance, and its variance to the
 * second moments. Full ones: for each component in turn, expectations given the rest take the place
 * of what is missing. The distance of such a row is that of its marginal distribution, and its log
 * determinant is less by that of the precision's block of the missing features (Little & Rubin 2002,
 * *Statistical analysis with missing data*, 11.2, with precisions in place of covariances), so that
 * rows go the way of complete ones, and all that a pattern costs is the Cholesky factor of that
 * block. Rows in turn of which the same features are missing are a run; callers sort rows so that
 * runs are long. */

#define HALF_LOG_2PI 0.91893853320467274178

static void FN(find_runs)(const gaussian_job *job, const scratch_t *s, ptrdiff_t n, FN(runs) *runs)
{
    ptrdiff_t d = job->n_features;
    memset(s->best, 0, n * sizeof *s->best);
    for (ptrdiff_t i = 0; i < d; i++) {
        const double *x = s->x + i * s->cap;
        for (ptrdiff_t row = 1; row < n; row++)
            s->best[row] |= (x[row] != x[row]) != (x[row - 1] != x[row - 1]);
    }
    runs->n_runs = 0;
    for (ptrdiff_t row = 0; row < n; row++)
        if (row == 0 || s->best[row]) {
            int32_t *lost = runs->lost + runs->n_runs * d, n_lost = 0, n_seen = 0;
            for (ptrdiff_t i = 0; i < d; i++) {
                double x = s->x[i * s->cap + row];
                lost[x != x ? n_lost++ : d - ++n_seen] = (int32_t)i;
            }
            runs->n_lost[runs->n_runs] = n_lost;
            runs->begin[runs->n_runs++] = (int32_t)row;
        }
    runs->begin[runs->n_runs] = (int32_t)n;
}

/* L and the inverses of its diagonal, for one run and one component's precision. */
static void FN(factor_lost)(const double *precision, ptrdiff_t d, const int32_t *lost, ptrdiff_t m,
                            FN(runs) *runs)
{
    for (ptrdiff_t a = 0; a < m; a++) {
        double *own = runs->root + a * d;
        for (ptrdiff_t b = 0; b <= a; b++) {
            const double *other = runs->root + b * d;
            double sum = precision[lost[a] * d + lost[b]];
            for (ptrdiff_t l = 0; l < b; l++)
                sum -= own[l] * other[l];
            if (b < a)
                own[b] = sum * runs->inverse[b * d + b];
            else
                runs->inverse[a * d + a] = 1 / sqrt(sum);
        }
    }
}

/* Puts expectations in place of what one run lacks. */
static void FN(complete_run)(const double *precision, const double *mean, ptrdiff_t d,
                             const int32_t *lost, ptrdiff_t m, ptrdiff_t begin, ptrdiff_t end,
                             const scratch_t *s, FN(runs) *runs)
{
    const double *root = runs->root, *inverse = runs->inverse;
    double iota[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1];
    for (ptrdiff_t l = 0; l < VL; l++)
        iota[l] = (double)l;
    for (ptrdiff_t row = begin; row < end; row += VL) {
        vec left = FN(fill)((double)(end - row));
        for (ptrdiff_t o = m; o < d; o++)
            FN(store)(runs->z + o * VL, FN(load)(s->x + lost[o] * s->cap + row) - mean[lost[o]]);
        for (ptrdiff_t a = 0; a < m; a++) { /* y = -L^-1 P z */
            const double *p = precision + lost[a] * d;
            vec sum = FN(fill)(0);
            for (ptrdiff_t o = m; o < d; o++)
                sum -= p[lost[o]] * FN(load)(runs->z + o * VL);
            for (ptrdiff_t b = 0; b < a; b++)
                sum -= root[a * d + b] * FN(load)(runs->y + b * VL);
            FN(store)(runs->y + a * VL, sum * inverse[a * d + a]);
        }
        for (ptrdiff_t a = m - 1; a >= 0; a--) { /* L^-T y, which is the expectation */
            double *x = s->x + lost[a] * s->cap + row;
            vec sum = FN(load)(runs->y + a * VL);
            for (ptrdiff_t b = a + 1; b < m; b++)
                sum -= root[b * d + a] * FN(load)(runs->y + b * VL);
            sum *= inverse[a * d + a];
            FN(store)(runs->y + a * VL, sum);
            /* what follows the run stays as it is */
            FN(store)(x, FN(select)((ivec)(FN(load)(iota) < left), sum + mean[lost[a]], FN(load)(x)));
        }
    }
}

/* second += weight * the covariance of what is missing given the rest, its lower triangle. */
static void FN(add_lost)(ptrdiff_t d, const int32_t *lost, ptrdiff_t m, double weight,
                         FN(runs) *runs, double *second)
{
    const double *root = runs->root;
    double *inverse = runs->inverse;
    for (ptrdiff_t c = 0; c < m; c++)
        for (ptrdiff_t a = c + 1; a < m; a++) {
            double sum = 0;
            for (ptrdiff_t b = c; b < a; b++)
                sum -= root[a * d + b] * inverse[b * d + c];
            inverse[a * d + c] = sum * inverse[a * d + a];
        }
    for (ptrdiff_t a = 0; a < m; a++)
        for (ptrdiff_t b = 0; b <= a; b++) {
            double sum = 0;
            for (ptrdiff_t l = a; l < m; l++)
                sum += inverse[l * d + a] * inverse[l * d + b];
            second[lost[a] * d + lost[b]] += weight * sum;
        }
}

/* Completes the chunk for component k. `second`: adds what its second moments have beside those of
 * the completed rows; then runs in which it has no responsibility are left as they are. */
static void FN(complete)(const gaussian_job *job, const scratch_t *s, ptrdiff_t k, FN(runs) *runs,
                         double *second)
{
    ptrdiff_t d = job->n_features;
    const double *precision = job->precisions + k * d * d, *mean = job->means + k * d;
    for (ptrdiff_t run = 0; run < runs->n_runs; run++) {
        const int32_t *lost = runs->lost + run * d;
        ptrdiff_t m = runs->n_lost[run], begin = runs->begin[run], end = runs->begin[run + 1];
        double weight = 0, term = 0;
        runs->term[run] = 0;
        if (m == 0)
            continue;
        for (ptrdiff_t row = begin; second && row < end; row++)
            weight += s->r[k * s->cap + row];
        if (second && weight == 0)
            continue;
        FN(factor_lost)(precision, d, lost, m, runs);
        FN(complete_run)(precision, mean, d, lost, m, begin, end, s, runs);
        if (second)
            FN(add_lost)(d, lost, m, weight, runs, second);
        else
            for (ptrdiff_t a = 0; a < m; a++)
                term += HALF_LOG_2PI + log(runs->inverse[a * d + a] / job->scale[lost[a]]);
        runs->term[run] = term;
    }
}

static void FN(incomplete_log_prob)(const gaussian_job *job, const tables_t *t, scratch_t *s,
                                    ptrdiff_t padded, FN(runs) *runs)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4);
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        double *lp = s->lp + k * s->cap;
        FN(complete)(job, s, k, runs, NULL);
        if (gaussian_is_small(job))
            FN(small_log_prob)(d, s->x, s->cap, padded, 1, t->means + k * d4,
                               t->coef + k * (d * (d + 1) / 2), t->log_norm + k, lp);
        else
            FN(full_log_prob)(t, s, padded, d4, d4, k, s->lp);
        for (ptrdiff_t run = 0; run < runs->n_runs; run++)
            for (ptrdiff_t row = runs->begin[run]; row < runs->begin[run + 1]; row++)
                lp[row] += runs->term[run];
    }
}

static void FN(incomplete_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                                ptrdiff_t padded, FN(runs) *runs, double *sums,
                                const fastem_turn *turn)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4), size = gaussian_component(job);
    double *further = sums + FN(sums_size)(job) - FN(further_sums)(job);
    gaussian_job alone = *job;
    alone.n_components = 1;
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        tables_t own = *t;
        scratch_t rows = *s;
        rows.r = s->r + k * s->cap;
        own.means = job->centers ? (REAL *)job->centers + k * d4 : t->means + k * d4;
        fastem_await(turn, k);
        FN(complete)(job, s, k, runs, further + k * d * d);
        if (gaussian_is_small(job))
            FN(small_sums)(d, s->x, s->cap, padded, 1, own.means, rows.r, sums + k * size);
        else
            FN(full_sums)(&alone, &own, &rows, padded, sums + k * size, NULL);
        fastem_added(turn, k);
    }
}

/* ---- diagonal covariances ---------------------------------------------------------------- */

static void FN(masked_log_prob)(const gaussian_job *job, const tables_t *t, scratch_t *s,
                                ptrdiff_t padded)
{
    ptrdiff_t d = job->n_features;
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        const double *chol = job->precisions_chol + k * d, *mean = job->means + k * d;
        double *lp = s->lp + k * s->cap;
        for (ptrdiff_t row = 0; row < padded; row += VL)
            FN(store)(lp + row, FN(fill)(t->log_norm[k]));
        for (ptrdiff_t i = 0; i < d; i++) {
            double unit = chol[i] / job->scale[i], lost = HALF_LOG_2PI - log(chol[i]);
            for (ptrdiff_t row = 0; row < padded; row += VL) {
                vec x = FN(load)(s->x + i * s->cap + row), y = (x - mean[i]) * unit;
                vec term = FN(select)((ivec)(x == x), -0.5 * y * y, FN(fill)(lost));
                FN(store)(lp + row, FN(load)(lp + row) + term);
            }
        }
    }
}

/* Sums of r, r z and r z^2, z = x - center, with expectations in place of what is missing. */
static void FN(masked_sums)(const gaussian_job *job, const scratch_t *s, ptrdiff_t padded,
                            double *out)
{
    ptrdiff_t d = job->n_features, d4 = FN(up)(d, 4);
    for (ptrdiff_t k = 0; k < job->n_components; k++, out += gaussian_component(job)) {
        const double *chol = job->precisions_chol + k * d, *mean = job->means + k * d;
        const double *r = s->r + k * s->cap, *center = job->centers ? job->centers + k * d4 : mean;
        vec total = FN(fill)(0);
        for (ptrdiff_t row = 0; row < padded; row += VL)
            total += FN(load)(r + row);
        FN(add_sums)(&total, 1, out);
        for (ptrdiff_t i = 0; i < d; i++) {
            double deviation = job->scale[i] / chol[i], variance = deviation * deviation;
            double two[2] = {0, 0};
            vec sums[2] = {FN(fill)(0), FN(fill)(0)}, expected = FN(fill)(mean[i] - center[i]);
            for (ptrdiff_t row = 0; row < padded; row += VL) {
                vec x = FN(load)(s->x + i * s->cap + row), weight = FN(load)(r + row);
                ivec known = (ivec)(x == x);
                vec z = FN(select)(known, x - center[i], expected), wz = weight * z;
                sums[0] += wz;
                sums[1] += wz * z + FN(select)(known, FN(fill)(0), weight * variance);
            }
            FN(add_sums)(sums, 2, two);
            out[1 + i] += two[0];
            out[1 + d4 + i] += two[1];
        }
    }
}

#include "gaussian/incomplete_tied.h"

/* chunk() where rows may have missing values. */
static void FN(incomplete_chunk)(const gaussian_job *job, ptrdiff_t begin, ptrdiff_t n,
                                 const fastem_strip *strip, const fastem_turn *turn)
{
    const tables_t *t = strip->tables;
    ptrdiff_t padded = FN(up)(n, PANEL > 8 ? PANEL : 8);
    int full = job->kind == GAUSSIAN_FULL, tied = job->kind == GAUSSIAN_TIED;
    scratch_t s;
    FN(runs) runs;
    char *after = (char *)strip->scratch + FN(up)(FN(lay_scratch)(job, strip->scratch, &s), 64);
    s.sorted = 0;
    s.end = begin + n;
    FN(lay_runs)(job, after, &runs);
    FN(pack)(job, t, begin, NULL, n, padded, job->n_features, &s);
    if (s.noise) /* before anything is completed */
        FN(noise_log_prob)(job, &s, padded);
    if (full || tied)
        FN(find_runs)(job, &s, n, &runs);
    if (full)
        FN(incomplete_log_prob)(job, t, &s, padded, &runs);
    else if (tied)
        FN(tied_log_prob)(job, t, &s, padded, &runs);
    else
        FN(masked_log_prob)(job, t, &s, padded);
    FN(normalise)(job, &s, padded);
    if (job->log_prob || job->responsibilities || job->labels)
        FN(write_rows)(job, begin, n, &s);
    if (!strip->sums)
        return;
    if (full)
        FN(incomplete_sums)(job, t, &s, padded, &runs, strip->sums, turn);
    else if (tied)
        FN(tied_sums)(job, t, &s, padded, &runs, strip->sums);
    else
        FN(masked_sums)(job, &s, padded, strip->sums);
    FN(add_bound)(job, &s, padded, strip->sums, turn);
}
