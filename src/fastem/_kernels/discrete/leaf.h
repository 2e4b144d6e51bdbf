/* Mixtures of discrete distributions: E-step on one chunk of samples. See discrete/job.h for what is
 * computed, forms.h for what depends on how samples are stored, vec.h for the template. Read chunk()
 * first. VL samples are normalised at once. */
#include "discrete/forms.h"
#include "discrete/data.h"
#include "discrete/tables.h"

/* From the lp of VL samples: r = weight * exp(lp) / sum_k exp(lp), in its place, and the logarithm of
 * that sum is base + log(sum). A sample that no component can give has r = 0 and sum = 0. For this
 * the samples become the lanes: nothing is summed across them, and of `columns`, (width, VL), those
 * of padding cost no exp. `turned`: where r goes by component, too, or NULL. */
ALWAYS_INLINE void FN(normalise)(ptrdiff_t n_comp, ptrdiff_t width, const REAL *weight, REAL *lp,
                                 REAL *columns, REAL *bases, REAL *totals, REAL *turned,
                                 ptrdiff_t turned_row)
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
        for (ptrdiff_t l = 0; turned && l < VL && k + l < n_comp; l++)
            FN(store)(turned + (k + l) * turned_row, tile[l]);
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

/* log_prob = base + log(total) + offset, or -inf where total is 0. A loop of its own, because a
 * logarithm is a long chain of operations that depend on each other. */
static void FN(finish_logs)(const discrete_job *job, ptrdiff_t begin, ptrdiff_t n, const REAL *total,
                            REAL *log_prob)
{
    for (ptrdiff_t i = 0; i < n; i += VL) {
        vec sum = FN(load)(total + i);
        ivec some = (ivec)(sum > FN(fill)(0));
        vec logs = FN(load)(log_prob + i) + FN(log)(FN(select)(some, sum, FN(fill)(1)));
        FN(store)(log_prob + i, FN(select)(some, logs, FN(fill)((REAL)-INFINITY)));
    }
    for (ptrdiff_t i = 0; (job->offset || job->constants) && i < n; i++)
        log_prob[i] += fastem_offset(job, begin + i);
    for (ptrdiff_t i = 0; job->log_prob && i < n; i++)
        job->log_prob[begin + i] = log_prob[i];
}

/* Responsibilities as they are given. */
static void FN(take_given)(const discrete_job *job, ptrdiff_t begin, ptrdiff_t n, REAL *r)
{
    ptrdiff_t n_comp = job->n_components, width = job->width;
    memset(r, 0, n * width * sizeof(REAL));
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL weight = job->sample_weight ? job->sample_weight[begin + i] : 1;
        if (job->given)
            for (ptrdiff_t k = 0; k < n_comp; k++)
                r[i * width + k] = weight * job->given[(begin + i - job->origin) * n_comp + k];
        else if (job->given_labels[begin + i] >= 0)
            r[i * width + job->given_labels[begin + i]] = weight;
    }
}

static ptrdiff_t FN(scratch_bytes)(const discrete_job *job)
{
    return sizeof(REAL) * (job->width * (job->chunk + VL) + FN(room)(job));
}

static void FN(chunk)(const void *of, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *strip)
{
    const discrete_job *job = of;
    ptrdiff_t width = job->width, whole = (n + 31) / 32 * 32;
    double *sums = strip->sums;
    REAL weight[DISCRETE_CHUNK], total[DISCRETE_CHUNK], log_prob[DISCRETE_CHUNK];
    REAL *r = strip->scratch, *columns = r + job->chunk * width;
    FN(space) space = {columns + width * VL, NULL};
    int given = job->given || job->given_labels;
    begin += job->origin;
    FN(begin_rows)(job, begin, n, &space);
    if (given)
        FN(take_given)(job, begin, n, r);
    else {
        FN(look)(job, begin, n, &space, r);
        for (ptrdiff_t i = 0; i < whole; i++)
            weight[i] = i >= n ? 0 : job->sample_weight ? job->sample_weight[begin + i] : 1;
        for (ptrdiff_t i = 0; i < n; i += VL)
            FN(normalise)(job->n_components, width, weight + i, r + i * width, columns,
                          log_prob + i, total + i,
                          job->turned ? job->turned + begin - job->origin + i : NULL,
                          job->turned_row);
    }
    memset(r + n * width, 0, (whole - n) * width * sizeof(REAL));
    if (job->responsibilities || job->labels)
        for (ptrdiff_t i = 0; i < n; i++)
            FN(write_row)(job, begin + i, r + i * width);
    if (sums && job->turned)
        FN(add_resp)(width, n, r, sums);
    else if (sums)
        FN(add)(job, begin, n, &space, r, sums);
    if (given)
        return;
    FN(finish_logs)(job, begin, n, total, log_prob);
    for (ptrdiff_t i = 0; sums && i < n; i++)
        if (weight[i] > 0) /* 0 * -inf is no number */
            sums[job->turned ? width : (job->n_rows + 1) * width] += weight[i] * log_prob[i];
}
#include "discrete/emission.h"
