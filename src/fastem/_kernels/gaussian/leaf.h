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
#include "gaussian/small.h"

#include "gaussian/layout.h"
#include "gaussian/log_prob.h"
#include "gaussian/sums.h"
#include "gaussian/student.h"

/* ---- responsibilities -------------------------------------------------------------------- */

/* Where a panel of rows of the next chunk lies in memory, and how many of its cache lines to
 * prefetch with each component, so that they arrive while exp computes. This saves a quarter of the
 * time where there are few features. Prefetched all at once, they would be more than a core can
 * have under way. */
ALWAYS_INLINE const char *FN(next_panel)(const gaussian_job *job, ptrdiff_t row, ptrdiff_t *share)
{
    int there = job->x_column == sizeof(REAL) && row + PANEL <= job->n_samples;
    *share = there ? FN(up)(PANEL * job->x_row, 64 * job->n_components) / job->n_components : 0;
    return job->x + row * job->x_row;
}

/* From lp: row = log sum_k exp lp, r = weight * exp(lp - row); a panel at a time, because exp is a
 * long chain of operations that depend on each other. */
static void FN(normalise)(const gaussian_job *job, scratch_t *s, ptrdiff_t padded)
{
    ptrdiff_t cap = s->cap, n_comp = job->n_components;
    vec negligible = FN(fill)((REAL)job->negligible), nothing = FN(fill)((REAL)-INFINITY);
    for (ptrdiff_t row = 0; row < padded; row += PANEL) {
        const REAL *lp = (job->df ? s->r : s->lp) + row; /* of student.h: r takes the place of lp */
        REAL *r = s->r + row;
        vec base[PANEL_VECS], sum[PANEL_VECS], inverse[PANEL_VECS];
        ptrdiff_t share;
        const char *next = FN(next_panel)(job, s->end + row, &share);
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++) {
            base[v] = s->noise ? FN(load)(s->noise + row + v * VL) : nothing;
            sum[v] = FN(fill)(0);
        }
        for (ptrdiff_t k = 0; k < n_comp; k++)
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++) /* in this order, max of a nan and a number is the number */
                base[v] = FN(max)(FN(load)(lp + k * cap + v * VL), base[v]);
        /* A row without any finite lp keeps r = 0 and log-density -inf, which callers look for. */
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++)
            base[v] = FN(select)((ivec)(base[v] > (REAL)-INFINITY), base[v], FN(fill)(0));
        if (s->noise)
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++) {
                REAL *noise = s->noise + row + v * VL;
                sum[v] = FN(exp)(FN(load)(noise) - base[v]);
                FN(store)(noise, sum[v]);
            }
        for (ptrdiff_t k = 0; k < n_comp; k++) {
            vec e[PANEL_VECS], largest = negligible;
            unsigned some;
            for (const char *end = next + share; next < end; next += 64)
                PREFETCH(next);
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++) {
                e[v] = FN(load)(lp + k * cap + v * VL) - base[v];
                largest = FN(max)(e[v], largest); /* in this order, as above */
            }
            some = FN(mask_greater)(largest, negligible);
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
        if (s->noise)
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++) {
                REAL *noise = s->noise + row + v * VL;
                FN(store)(noise, FN(load)(noise) * inverse[v]);
            }
    }
}

/* The noise's lp: what is missing of a row is integrated out, as in components. */
static void FN(noise_log_prob)(const gaussian_job *job, const scratch_t *s, ptrdiff_t padded)
{
    for (ptrdiff_t row = 0; row < padded; row += VL) {
        vec lp = FN(fill)((REAL)job->noise);
        for (ptrdiff_t i = 0; job->incomplete && i < job->n_features; i++) {
            vec x = FN(load)(s->x + i * s->cap + row);
            lp += FN(select)((ivec)(x == x), FN(fill)(0), FN(fill)((REAL)job->log_sides[i]));
        }
        FN(store)(s->noise + row, lp);
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
    ptrdiff_t n_comp = job->n_components, cap = s->cap, n_out = n_comp + job->has_noise;
    const REAL *lp = job->df ? s->r : s->lp;
    for (ptrdiff_t row = 0; row < n; row++) {
        ptrdiff_t out = begin + (s->sorted ? s->order[row] : row), best = 0;
        REAL *shares = job->responsibilities ? (REAL *)job->responsibilities + out * n_out : NULL;
        if (job->log_prob)
            ((REAL *)job->log_prob)[out] = s->row[row];
        for (ptrdiff_t k = 0; shares && k < n_out; k++)
            shares[k] = k < n_comp ? s->r[k * cap + row] : s->noise[row];
        if (job->labels) {
            for (ptrdiff_t k = 1; k < n_comp; k++)
                best = lp[k * cap + row] > lp[best * cap + row] ? k : best;
            job->labels[out] = s->noise && s->noise[row] > s->r[best * cap + row] ? -1 : best;
        }
    }
}

#ifndef REAL_IS_FLOAT
#include "gaussian/incomplete.h"
#endif

/* ---- the chunk --------------------------------------------------------------------------- */

static void FN(chunk)(const void *given, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *strip)
{
    const gaussian_job *job = given;
    const tables_t *t = strip->tables;
    ptrdiff_t padded = FN(up)(n, PANEL > 8 ? PANEL : 8), number = strip->number;
    fastem_turn turn = {job->added + number, job->added + number + 1, strip->stop};
    scratch_t s;
#ifndef REAL_IS_FLOAT
    if (job->incomplete) {
        FN(incomplete_chunk)(job, begin, n, strip, job->added ? &turn : NULL);
        return;
    }
#endif
    FN(lay_scratch)(job, strip->scratch, &s);
    s.dense = job->dense + (job->added ? number % GAUSSIAN_TURNS : number);
    s.sorted = 0;
    s.end = begin + n;
    FN(pack)(job, t, begin, NULL, n, padded, FN(prunes)(job, &s) ? PROBE : job->n_features, &s);
    if (job->given == NULL || job->kind == GAUSSIAN_SPHERICAL)
        FN(log_prob)(job, t, &s, begin, n, padded);
    if (job->given)
        FN(take_given)(job, begin, n, padded, &s);
    else {
        if (s.noise)
            FN(noise_log_prob)(job, &s, padded);
        if (job->df)
            FN(student_log_prob)(job, &s, padded);
        FN(normalise)(job, &s, padded);
        if (job->df && (strip->sums || job->scaled))
            FN(student_weights)(job, &s, padded);
    }
    if (job->log_prob || job->responsibilities || job->labels)
        FN(write_rows)(job, begin, n, &s);
    if (strip->sums)
        FN(add_to_sums)(job, t, &s, padded, strip->sums, job->added ? &turn : NULL);
}

#undef tables_t
#undef scratch_t
