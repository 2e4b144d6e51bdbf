/* Gaussians, or mixtures of them, beneath a structure that makes the responsibilities: see
 * shared/emission.h. In double only. A template: see vec.h. */

#include "gaussian/missing.h"

/* The scratch, and after it the log-densities of states that are mixtures, (n_states, cap), and what
 * missing values need. */
static REAL *FN(lay_emission)(const gaussian_emission *e, void *memory, FN(scratch) *s, int *dense,
                              void **partial)
{
    ptrdiff_t states = e->n_mix > 1 ? e->density->n_components / e->n_mix : 0;
    ptrdiff_t bytes = FN(lay_scratch)(e->density, memory, s);
    s->sorted = 0;
    s->dense = dense;
    *dense = 0;
    *partial = (char *)memory + FN(up)(bytes, 64) + states * s->cap * (ptrdiff_t)sizeof(REAL);
    return (REAL *)((char *)memory + FN(up)(bytes, 64));
}

static ptrdiff_t FN(emission_bytes)(const gaussian_emission *e)
{
    FN(scratch) s;
    ptrdiff_t bytes = FN(up)(FN(lay_scratch)(e->density, NULL, &s), 64);
    ptrdiff_t states = e->n_mix > 1 ? e->density->n_components / e->n_mix : 0;
    bytes += states * s.cap * (ptrdiff_t)sizeof(REAL);
    return bytes + (e->covariances ? FN(lay_partial)(e->density->n_features, NULL, NULL) : 0);
}

static ptrdiff_t FN(emission_column)(const gaussian_emission *e)
{
    FN(scratch) s;
    FN(lay_scratch)(e->density, NULL, &s);
    return s.cap;
}

/* states[k] = log sum_m exp lp[k, m]; r[k, m] = the share of term m in that sum. */
static void FN(join_mixtures)(const gaussian_emission *e, FN(scratch) *s, ptrdiff_t padded,
                              REAL *states)
{
    ptrdiff_t n_mix = e->n_mix, n_states = e->density->n_components / n_mix, cap = s->cap;
    for (ptrdiff_t k = 0; k < n_states; k++) {
        const REAL *lp = s->lp + k * n_mix * cap;
        REAL *r = s->r + k * n_mix * cap;
        for (ptrdiff_t row = 0; row < padded; row += VL) {
            vec base = FN(fill)((REAL)-1e300), sum = FN(fill)(0), share;
            ivec some;
            for (ptrdiff_t m = 0; m < n_mix; m++)
                base = FN(max)(FN(load)(lp + m * cap + row), base);
            for (ptrdiff_t m = 0; m < n_mix; m++) {
                vec term = FN(exp)(FN(load)(lp + m * cap + row) - base);
                sum += term;
                FN(store)(r + m * cap + row, term);
            }
            some = (ivec)(sum > FN(fill)(0));
            sum = FN(select)(some, sum, FN(fill)(1));
            share = 1 / sum;
            for (ptrdiff_t m = 0; m < n_mix; m++)
                FN(store)(r + m * cap + row, FN(load)(r + m * cap + row) * share);
            FN(store)(states + k * cap + row,
                      FN(select)(some, base + FN(log)(sum), FN(fill)((REAL)-INFINITY)));
        }
    }
}

static const REAL *FN(emission_log_prob)(const void *emission, ptrdiff_t begin, ptrdiff_t n,
                                         void *memory)
{
    const gaussian_emission *e = emission;
    const gaussian_job *job = e->density;
    ptrdiff_t padded = FN(up)(n, 64);
    FN(scratch) s;
    int dense;
    void *partial;
    REAL *states = FN(lay_emission)(e, memory, &s, &dense, &partial);
    FN(pack)(job, job->tables, begin, NULL, n, padded, job->n_features, &s);
    if (e->covariances)
        FN(set_apart)(e, n, &s);
    FN(log_prob)(job, job->tables, &s, begin, n, padded);
    if (e->covariances)
        FN(marginal_log_prob)(e, begin, n, partial, &s);
    if (e->n_mix == 1)
        return s.lp;
    FN(join_mixtures)(e, &s, padded, states);
    return states;
}

static void FN(emission_add)(const void *emission, ptrdiff_t begin, ptrdiff_t n, void *memory,
                             const double *r, double *sums)
{
    const gaussian_emission *e = emission;
    const gaussian_job *job = e->moments;
    ptrdiff_t padded = FN(up)(n, 64), d = job->n_features;
    const FN(tables) *t = job->tables;
    FN(scratch) s;
    ptrdiff_t size = FN(sums_size)(job);
    int dense;
    void *partial;
    FN(lay_emission)(e, memory, &s, &dense, &partial);
    if (e->n_mix == 1 && !e->covariances)
        s.r = (REAL *)r; /* read only */
    else
        for (ptrdiff_t k = 0; k < job->n_components; k++)
            for (ptrdiff_t row = 0; row < padded; row += VL) {
                REAL *own = s.r + k * s.cap + row;
                vec share = e->n_mix > 1 ? FN(load)(own) : FN(fill)(1);
                FN(store)(own, share * FN(load)(r + k / e->n_mix * s.cap + row));
            }
    if (e->covariances)
        FN(add_expected)(e, begin, n, partial, &s, sums + size);
    if (FN(is_small)(job))
        FN(small_sums)(d, s.x, s.cap, padded, job->n_components, t->means, s.r, sums);
    else if (job->kind == GAUSSIAN_FULL)
        FN(full_sums)(job, t, &s, padded, sums, NULL);
    else
        FN(diag_sums)(job, t, &s, padded, sums);
}
