/* Mixtures of discrete distributions: E-step on one chunk of samples. See discrete/job.h for what is
 * computed, vec.h for the template. A row of the table is contiguous over components, so that an
 * entry costs one addition of vectors, and one more for the sums. VL samples are normalised at once.
 */
#include "shared/topic_rows.h" /* BLOCK_CASES */

/* lp = bias + sum_e value_e table[index_e], over `vecs` vectors from `at` on. */
ALWAYS_INLINE void FN(look_up)(const int vecs, const discrete_job *job, ptrdiff_t at, int64_t first,
                               int64_t last, REAL *lp)
{
    const REAL *table = job->table + at, *value = job->value;
    const int32_t *index = job->index;
    ptrdiff_t width = job->width;
    vec sum[8];
    UNROLL
    for (int v = 0; v < vecs; v++)
        sum[v] = FN(load)(job->bias + at + v * VL);
    if (value)
        for (int64_t e = first; e < last; e++) {
            const REAL *row = table + index[e] * width;
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[v] += value[e] * FN(load)(row + v * VL);
        }
    else
        for (int64_t e = first; e < last; e++) {
            const REAL *row = table + index[e] * width;
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[v] += FN(load)(row + v * VL);
        }
    UNROLL
    for (int v = 0; v < vecs; v++)
        FN(store)(lp + at + v * VL, sum[v]);
}

/* sums[index_e] += value_e r, over `vecs` vectors from `at` on. */
ALWAYS_INLINE void FN(add_entries)(const int vecs, const discrete_job *job, ptrdiff_t at,
                                   int64_t first, int64_t last, const REAL *r, double *sums)
{
    /* Copies: the compiler must assume that storing a vector changes what job points to. */
    const REAL *value = job->value;
    const int32_t *index = job->index;
    ptrdiff_t width = job->width;
    vec rv[8];
    UNROLL
    for (int v = 0; v < vecs; v++)
        rv[v] = FN(load)(r + at + v * VL);
    if (value)
        for (int64_t e = first; e < last; e++) {
            double *row = sums + index[e] * width + at;
            REAL factor = value[e];
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(row + v * VL, FN(load)(row + v * VL) + factor * rv[v]);
        }
    else
        for (int64_t e = first; e < last; e++) {
            double *row = sums + index[e] * width + at;
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(row + v * VL, FN(load)(row + v * VL) + rv[v]);
        }
}

ALWAYS_INLINE int64_t FN(begin)(const discrete_job *job, ptrdiff_t i)
{
    return job->begin ? job->begin[i] : (int64_t)i * job->n_entries;
}

/* From the lp of VL samples: r = weight * exp(lp) / sum_k exp(lp), in its place, and the logarithm of
 * that sum is base + log(sum). A sample that no component can give has r = 0 and sum = 0. For this
 * the samples become the lanes: nothing is summed across them, and of `columns`, (width, VL), those
 * of padding cost no exp. */
ALWAYS_INLINE void FN(normalise)(ptrdiff_t n_comp, ptrdiff_t width, const REAL *weight, REAL *lp,
                                 REAL *columns, REAL *bases, REAL *totals)
{
    vec base = FN(fill)((REAL)-INFINITY);
    vec sum = FN(fill)(0), tile[ROWS], share;
    for (ptrdiff_t k = 0; k < width; k += VL) {
        UNROLL
        for (ptrdiff_t l = 0; l < VL; l++)
            tile[l] = FN(load)(lp + l * width + k);
        FN(transpose)(tile);
        UNROLL
        for (ptrdiff_t l = 0; l < VL; l++)
            FN(store)(columns + (k + l) * VL, tile[l]);
    }
    for (ptrdiff_t k = 0; k < n_comp; k++)
        base = FN(max)(FN(load)(columns + k * VL), base);
    base = FN(select)((ivec)(base > (REAL)-INFINITY), base, FN(fill)(0)); /* -inf - -inf is nan */
    for (ptrdiff_t k = 0; k < n_comp; k++) {
        vec e = FN(exp)(FN(load)(columns + k * VL) - base);
        sum += e;
        FN(store)(columns + k * VL, e);
    }
    for (ptrdiff_t k = n_comp; k < width; k++)
        FN(store)(columns + k * VL, FN(fill)(0));
    FN(store)(bases, base);
    FN(store)(totals, sum);
    share = FN(load)(weight) / FN(select)((ivec)(sum > FN(fill)(0)), sum, FN(fill)(1));
    for (ptrdiff_t k = 0; k < width; k += VL) {
        UNROLL
        for (ptrdiff_t l = 0; l < VL; l++)
            tile[l] = FN(load)(columns + (k + l) * VL) * share;
        FN(transpose)(tile);
        UNROLL
        for (ptrdiff_t l = 0; l < VL; l++)
            FN(store)(lp + l * width + k, tile[l]);
    }
}

static void FN(write_row)(const discrete_job *job, ptrdiff_t i, const REAL *r)
{
    ptrdiff_t n_comp = job->n_components, best = 0;
    if (job->responsibilities)
        memcpy(job->responsibilities + i * n_comp, r, n_comp * sizeof(REAL));
    if (job->labels) {
        for (ptrdiff_t k = 1; k < n_comp; k++)
            best = r[k] > r[best] ? k : best;
        job->labels[i] = best;
    }
}

/* Adds n samples, whose responsibilities are in r. */
static void FN(add_rows_of)(const discrete_job *job, ptrdiff_t row, ptrdiff_t n, const REAL *r,
                            double *sums)
{
    ptrdiff_t width = job->width;
    double *resp = sums + job->n_rows * width;
    for (ptrdiff_t l = 0; l < n; l++, r += width) {
        int64_t first = FN(begin)(job, row + l), last = FN(begin)(job, row + l + 1);
        for (ptrdiff_t at = 0; at < width; at += 8 * VL) {
#define CALL(vecs) FN(add_entries)(vecs, job, at, first, last, r, sums)
            BLOCK_CASES(CALL)
#undef CALL
        }
        for (ptrdiff_t k = 0; k < width; k += VL)
            FN(store)(resp + k, FN(load)(resp + k) + FN(load)(r + k));
    }
}

/* log_prob = base + log(total) + offset, or -inf where total is 0. A loop of its own, because a
 * logarithm is a long chain of operations that depend on each other. */
static void FN(finish_logs)(const discrete_job *job, ptrdiff_t begin, ptrdiff_t end,
                            const REAL *total, REAL *log_prob)
{
    for (ptrdiff_t i = 0; i < end - begin; i += VL) {
        vec sum = FN(load)(total + i);
        ivec some = (ivec)(sum > FN(fill)(0));
        vec logs = FN(load)(log_prob + i) + FN(log)(FN(select)(some, sum, FN(fill)(1)));
        FN(store)(log_prob + i, FN(select)(some, logs, FN(fill)((REAL)-INFINITY)));
    }
    for (ptrdiff_t i = 0; job->offset && i < end - begin; i++)
        log_prob[i] += job->offset[begin + i];
    for (ptrdiff_t i = 0; job->log_prob && i < end - begin; i++)
        job->log_prob[begin + i] = log_prob[i];
}

static void FN(chunk)(const discrete_job *job, ptrdiff_t begin, ptrdiff_t end, double *scratch,
                      double *sums)
{
    ptrdiff_t width = job->width;
    REAL weight[DISCRETE_CHUNK], total[DISCRETE_CHUNK], log_prob[DISCRETE_CHUNK];
    for (ptrdiff_t row = begin; row < end; row += VL) {
        ptrdiff_t n = end - row < VL ? end - row : VL, at_row = row - begin;
        for (ptrdiff_t l = 0; l < VL; l++) {
            /* past the end: the last row, 0 times */
            ptrdiff_t i = l < n ? row + l : end - 1;
            int64_t first = FN(begin)(job, i), last = FN(begin)(job, i + 1);
            REAL *lp = scratch + l * width;
            weight[at_row + l] = l >= n ? 0 : job->sample_weight ? job->sample_weight[i] : 1;
            for (ptrdiff_t at = 0; at < width; at += 8 * VL) {
#define CALL(vecs) FN(look_up)(vecs, job, at, first, last, lp)
                BLOCK_CASES(CALL)
#undef CALL
            }
        }
        FN(normalise)(job->n_components, width, weight + at_row, scratch, scratch + VL * width,
                      log_prob + at_row, total + at_row);
        if (job->responsibilities || job->labels)
            for (ptrdiff_t l = 0; l < n; l++)
                FN(write_row)(job, row + l, scratch + l * width);
        if (sums)
            FN(add_rows_of)(job, row, n, scratch, sums);
    }
    FN(finish_logs)(job, begin, end, total, log_prob);
    for (ptrdiff_t i = 0; sums && i < end - begin; i++)
        if (weight[i] > 0) /* 0 * -inf is no number */
            sums[(job->n_rows + 1) * width] += weight[i] * log_prob[i];
}
#include "discrete/emission.h"
#undef BLOCK_CASES
