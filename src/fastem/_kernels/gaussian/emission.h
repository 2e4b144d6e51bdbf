/* Gaussians, or mixtures of them, beneath a structure that makes the responsibilities: see
 * shared/emission.h. In double only. A template: see vec.h. */

/* Log-densities of the components of mixtures are to the base 2: see Emission in emission.pxi. */
#include "gaussian/missing.h"
#include "shared/exp2.h"

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

/* The largest of n columns of a panel. */
ALWAYS_INLINE void FN(largest_terms)(ptrdiff_t n, ptrdiff_t cap, const REAL *lp, vec *base)
{
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++)
        base[v] = FN(fill)((REAL)-1e300); /* -inf - this is -inf, and not nan */
    for (ptrdiff_t m = 0; m < n; m++, lp += cap)
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++)
            base[v] = FN(max)(FN(load)(lp + v * VL), base[v]);
}

/* sum = sum_m r[m], r[m] = 2^(lp[m] - base), of a panel: one vector would wait for itself. */
ALWAYS_INLINE void FN(join_terms)(ptrdiff_t n_mix, ptrdiff_t cap, const REAL *lp, const vec *base,
                                  REAL *r, vec *sum)
{
    UNROLL
    for (int v = 0; v < PANEL_VECS; v++)
        sum[v] = FN(fill)(0);
    for (ptrdiff_t m = 0; m < n_mix; m++, lp += cap, r += cap)
        UNROLL
        for (int v = 0; v < PANEL_VECS; v++) {
            vec term = FN(exp2)(FN(load)(lp + v * VL) - base[v]);
            sum[v] += term;
            FN(store)(r + v * VL, term);
        }
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
        for (ptrdiff_t row = 0; row < n; row += PANEL) {
            const REAL *lp = s.lp + k * n_mix * s.cap + row;
            vec base[PANEL_VECS], sum[PANEL_VECS];
            FN(largest_terms)(n_mix, s.cap, lp, base);
            FN(join_terms)(n_mix, s.cap, lp, base, s.r + k * n_mix * s.cap + row, sum);
            for (int v = 0; v < PANEL_VECS; v++) {
                ptrdiff_t at = k * s.cap + row + v * VL;
                ivec positive = (ivec)(sum[v] > 0);
                vec log = FN(log)(FN(select)(positive, sum[v], FN(fill)(1)));
                FN(store)(sums + at, sum[v]);
                FN(store)(logs + at, FN(select)(positive, GAUSSIAN_LOG_2 * base[v] + log,
                                                FN(fill)((REAL)-INFINITY)));
            }
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
    for (ptrdiff_t row = 0; row < n; row += PANEL) {
        vec base[PANEL_VECS];
        FN(largest_terms)(e->density->n_components, s.cap, s.lp + row, base);
        for (int v = 0; v < PANEL_VECS; v++)
            FN(store)((REAL *)shift + row + v * VL, GAUSSIAN_LOG_2 * base[v]);
        for (ptrdiff_t k = 0; k < n_states; k++) {
            ptrdiff_t at = k * n_mix * s.cap + row;
            vec sum[PANEL_VECS];
            FN(join_terms)(n_mix, s.cap, s.lp + at, base, s.r + at, sum);
            UNROLL
            for (int v = 0; v < PANEL_VECS; v++)
                FN(store)(sums + k * s.cap + row + v * VL, sum[v]);
        }
    }
    return sums;
}

/* In place of what a state's terms sum to: its responsibility by that sum, which takes each term to its
 * own responsibility. 0 from n on, where terms become 0, too: they may be anything. */
static void FN(find_parts)(const gaussian_emission *e, const REAL *r, REAL *sums, ptrdiff_t n,
                           ptrdiff_t padded, FN(scratch) *s)
{
    ptrdiff_t n_states = e->density->n_components / e->n_mix;
    for (ptrdiff_t k = 0; k < n_states; k++, r += s->cap, sums += s->cap)
        for (ptrdiff_t row = 0; row < padded; row += VL) {
            vec sum = FN(load)(sums + row), part = FN(fill)(0);
            if (row < n)
                part = FN(select)((ivec)(sum > 0), FN(load)(r + row) / sum, part);
            FN(store)(sums + row, part);
        }
    for (ptrdiff_t k = 0; k < e->density->n_components; k++)
        for (ptrdiff_t row = FN(up)(n, PANEL); row < padded; row += VL)
            FN(store)(s->r + k * s->cap + row, FN(fill)(0));
}

/* r of all terms, of which `part` takes each to its responsibility. */
static void FN(share_out)(const gaussian_emission *e, const REAL *part, ptrdiff_t padded,
                          FN(scratch) *s)
{
    for (ptrdiff_t k = 0; k < e->density->n_components; k++)
        for (ptrdiff_t row = 0; row < padded; row += VL) {
            REAL *own = s->r + k * s->cap + row;
            FN(store)(own, FN(load)(own) * FN(load)(part + k / e->n_mix * s->cap + row));
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
    REAL *terms, *part = NULL;
    FN(lay_emission)(e, memory, &s, &dense, &terms, &partial);
    if (e->n_mix > 1) {
        FN(find_parts)(e, r, terms, n, padded, &s);
        part = terms;
        if (e->covariances || job->kind == GAUSSIAN_FULL) {
            FN(share_out)(e, part, padded, &s);
            part = NULL;
        }
    } else if (e->covariances)
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
        FN(diag_sums)(job, t, &s, part, e->n_mix, padded, sums);
}
