/* Gaussians, or mixtures of them, beneath a structure that makes the responsibilities: see
 * shared/emission.h. In double only. A template: see vec.h. */

#include "gaussian/missing.h"

/* The scratch, and after it two columns for each state that is a mixture: its log-density, and what
 * the terms in s->r sum to; then what missing values need. */
static REAL *FN(lay_emission)(const gaussian_emission *e, void *memory, FN(scratch) *s, int *dense,
                              REAL **sums, void **partial)
{
    ptrdiff_t states = e->n_mix > 1 ? e->density->n_components / e->n_mix : 0;
    ptrdiff_t bytes = FN(up)(FN(lay_scratch)(e->density, memory, s), 64);
    REAL *logs = (REAL *)((char *)memory + bytes);
    s->sorted = 0;
    s->dense = dense;
    *dense = 0;
    *sums = logs + states * s->cap;
    *partial = *sums + states * s->cap;
    return logs;
}

static ptrdiff_t FN(emission_bytes)(const gaussian_emission *e)
{
    FN(scratch) s;
    ptrdiff_t bytes = FN(up)(FN(lay_scratch)(e->density, NULL, &s), 64);
    ptrdiff_t states = e->n_mix > 1 ? e->density->n_components / e->n_mix : 0;
    bytes += 2 * states * s.cap * (ptrdiff_t)sizeof(REAL);
    return bytes + (e->covariances ? FN(lay_partial)(e->density->n_features, NULL, NULL) : 0);
}

static ptrdiff_t FN(emission_column)(const gaussian_emission *e)
{
    FN(scratch) s;
    FN(lay_scratch)(e->density, NULL, &s);
    return s.cap;
}

/* sums[k] = sum_m r[k, m], r[k, m] = exp(lp[k, m] - base), of one vector of rows. */
ALWAYS_INLINE vec FN(join_terms)(ptrdiff_t n_mix, ptrdiff_t cap, const REAL *lp, vec base, REAL *r)
{
    vec sum = FN(fill)(0);
    for (ptrdiff_t m = 0; m < n_mix; m++, lp += cap, r += cap) {
        vec term = FN(exp)(FN(load)(lp)-base);
        sum += term;
        FN(store)(r, term);
    }
    return sum;
}

ALWAYS_INLINE vec FN(largest_term)(ptrdiff_t n, ptrdiff_t cap, const REAL *lp)
{
    vec base = FN(fill)((REAL)-1e300); /* -inf - this is -inf, and not nan */
    for (ptrdiff_t m = 0; m < n; m++, lp += cap)
        base = FN(max)(FN(load)(lp), base);
    return base;
}

/* lp of all components, for the rows from `begin` on. */
static void FN(component_log_prob)(const gaussian_emission *e, ptrdiff_t begin, ptrdiff_t n,
                                   FN(scratch) *s, void *partial)
{
    const gaussian_job *job = e->density;
    ptrdiff_t padded = FN(up)(n, 64);
    FN(pack)(job, e->density_tables, begin, NULL, n, padded, job->n_features, s);
    if (e->covariances)
        FN(set_apart)(e, n, s);
    FN(log_prob)(job, e->density_tables, s, begin, n, padded);
    if (e->covariances)
        FN(marginal_log_prob)(e, begin, n, partial, s);
}

static const REAL *FN(emission_log_prob)(const void *emission, ptrdiff_t begin, ptrdiff_t n,
                                         void *memory)
{
    const gaussian_emission *e = emission;
    ptrdiff_t n_mix = e->n_mix, n_states = e->density->n_components / n_mix;
    FN(scratch) s;
    int dense;
    void *partial;
    REAL *sums, *logs = FN(lay_emission)(e, memory, &s, &dense, &sums, &partial);
    FN(component_log_prob)(e, begin, n, &s, partial);
    if (n_mix == 1)
        return s.lp;
    for (ptrdiff_t k = 0; k < n_states; k++)
        for (ptrdiff_t row = 0; row < n; row += VL) {
            const REAL *lp = s.lp + k * n_mix * s.cap + row;
            vec base = FN(largest_term)(n_mix, s.cap, lp);
            vec sum = FN(join_terms)(n_mix, s.cap, lp, base, s.r + k * n_mix * s.cap + row);
            vec known = FN(select)((ivec)(sum > 0), sum, FN(fill)(1));
            FN(store)(sums + k * s.cap + row, sum);
            FN(store)(logs + k * s.cap + row,
                      FN(select)((ivec)(sum > 0), base + FN(log)(known), FN(fill)((REAL)-INFINITY)));
        }
    return logs;
}

/* Of mixtures: all terms over the largest one of their row. No logarithm is needed. */
static const REAL *FN(emission_likelihood)(const void *emission, ptrdiff_t begin, ptrdiff_t n,
                                           void *memory, double *shift)
{
    const gaussian_emission *e = emission;
    ptrdiff_t n_mix = e->n_mix, n_states = e->density->n_components / n_mix;
    FN(scratch) s;
    int dense;
    void *partial;
    REAL *sums;
    FN(lay_emission)(e, memory, &s, &dense, &sums, &partial);
    FN(component_log_prob)(e, begin, n, &s, partial);
    for (ptrdiff_t row = 0; row < n; row += VL) {
        vec base = FN(largest_term)(e->density->n_components, s.cap, s.lp + row);
        FN(store)((REAL *)shift + row, base);
        for (ptrdiff_t k = 0; k < n_states; k++)
            FN(store)(sums + k * s.cap + row,
                      FN(join_terms)(n_mix, s.cap, s.lp + k * n_mix * s.cap + row, base,
                                     s.r + k * n_mix * s.cap + row));
    }
    return sums;
}

/* The states' responsibilities to the terms of each, by their shares in the sum; 0 from n on. */
static void FN(share_out)(const gaussian_emission *e, const REAL *r, const REAL *sums, ptrdiff_t n,
                          ptrdiff_t padded, FN(scratch) *s)
{
    ptrdiff_t n_mix = e->n_mix, n_states = e->density->n_components / n_mix;
    for (ptrdiff_t k = 0; k < n_states; k++, r += s->cap, sums += s->cap)
        for (ptrdiff_t row = 0; row < padded; row += VL) {
            REAL *own = s->r + k * n_mix * s->cap + row;
            vec sum = FN(load)(sums + row), gamma = FN(load)(r + row), part = FN(fill)(0);
            if (row < n)
                part = FN(select)((ivec)(sum > 0), gamma / sum, part);
            for (ptrdiff_t m = 0; m < n_mix; m++, own += s->cap)
                if (row < n)
                    FN(store)(own, FN(load)(own) * part);
                else
                    FN(store)(own, FN(fill)(0));
        }
}

static void FN(emission_add)(const void *emission, ptrdiff_t begin, ptrdiff_t n, void *memory,
                             const double *r, double *sums)
{
    const gaussian_emission *e = emission;
    const gaussian_job *job = e->moments;
    ptrdiff_t padded = FN(up)(n, 64), d = job->n_features;
    const FN(tables) *t = e->moments_tables;
    FN(scratch) s;
    ptrdiff_t size = FN(sums_size)(job);
    int dense;
    void *partial;
    REAL *terms;
    FN(lay_emission)(e, memory, &s, &dense, &terms, &partial);
    if (e->n_mix > 1)
        FN(share_out)(e, r, terms, n, padded, &s);
    else if (e->covariances)
        for (ptrdiff_t k = 0; k < job->n_components; k++)
            memcpy(s.r + k * s.cap, r + k * s.cap, padded * sizeof(REAL));
    else
        s.r = (REAL *)r; /* read only */
    if (e->covariances)
        FN(add_expected)(e, begin, n, partial, &s, sums + size);
    if (gaussian_is_small(job))
        FN(small_sums)(d, s.x, s.cap, padded, job->n_components, t->means, s.r, sums);
    else if (job->kind == GAUSSIAN_FULL)
        FN(full_sums)(job, t, &s, padded, sums, NULL);
    else
        FN(diag_sums)(job, t, &s, padded, sums);
}
