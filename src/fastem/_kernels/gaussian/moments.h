/* Gaussian mixtures: how sums lie in memory, and what becomes of them after a pass. The same for both
 * dtypes and all instruction sets. */
#ifndef FASTEM_GAUSSIAN_MOMENTS_H
#define FASTEM_GAUSSIAN_MOMENTS_H

#include <math.h>
#include <string.h>

#include "gaussian/job.h"

/* ---- parameters -------------------------------------------------------------------------- */

/* The parameters as they are given, in the data's units. */
typedef struct {
    const double *means;       /* (K, D) */
    const double *weights;     /* (K,) */
    const double *log_weights; /* (K,), or NULL: the logarithms of the weights */
    int single;                /* whether the data are float */
} gaussian_given;

/* Writes the job's means and, unless `log_norm` is NULL, what its log_norm is. */
static inline void gaussian_describe(const gaussian_job *job, const gaussian_given *given,
                                     double *means, double *log_norm)
{
    ptrdiff_t d = job->n_features;
    ptrdiff_t step = job->kind <= GAUSSIAN_TIED ? d + 1 : 1; /* to the next on the diagonal */
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        const double *own = job->precisions_chol;
        double log_det = 0, log_weight = -INFINITY;
        for (ptrdiff_t i = 0; i < d; i++) {
            double mean = (given->means[k * d + i] - job->shift[i]) * job->scale[i];
            means[k * d + i] = given->single ? (float)mean : mean;
        }
        if (log_norm == NULL)
            continue;
        if (job->kind != GAUSSIAN_TIED)
            own += k * (job->kind == GAUSSIAN_FULL ? d * d : d);
        for (ptrdiff_t i = 0; i < d; i++)
            log_det += log(own[i * step]);
        if (given->log_weights)
            log_weight = given->log_weights[k];
        else if (given->weights[k] > 0)
            log_weight = log(given->weights[k]);
        log_norm[k] = log_weight + log_det - d / 2.0 * 1.8378770664093454836; /* log 2 pi */
    }
}

/* ---- sums -------------------------------------------------------------------------------- */

static inline ptrdiff_t gaussian_up(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }

/* Numbers in the 4 x 4 blocks of a lower triangle, D4 = D rounded up to 4. */
static inline ptrdiff_t gaussian_tri4(ptrdiff_t d4) { return 2 * d4 * (d4 / 4 + 1); }

static inline int gaussian_is_small(const gaussian_job *job)
{
    return job->kind == GAUSSIAN_FULL && job->n_features <= job->most_small;
}

/* Where a component's second moments begin among its sums. */
static inline ptrdiff_t gaussian_second(const gaussian_job *job)
{
    return 1 + (gaussian_is_small(job) ? job->n_features : gaussian_up(job->n_features, 4));
}

/* Sums of one component: weight, (D,) about the mean, then second moments about the mean:
 * small full: (D(D+1)/2,) rows of the lower triangle; full: 4 x 4 blocks of it; diag: (D,);
 * spherical: 1; tied: none. Spherical and tied: (D,) about the shift. */
static inline ptrdiff_t gaussian_component(const gaussian_job *job)
{
    ptrdiff_t d = job->n_features, d4 = gaussian_up(d, 4), before = gaussian_second(job);
    switch (job->kind) {
    case GAUSSIAN_FULL:
        return before + (gaussian_is_small(job) ? d * (d + 1) / 2 : gaussian_tri4(d4));
    case GAUSSIAN_DIAG:
        return before + d4;
    default:
        return before + 1;
    }
}

/* The job of one full covariance: all rows' second moments lie as its component's do. */
static inline gaussian_job gaussian_one_full(const gaussian_job *job)
{
    gaussian_job alone = *job;
    alone.kind = GAUSSIAN_FULL;
    alone.n_components = 1;
    return alone;
}

/* Doubles of those, rounded up. */
static inline ptrdiff_t gaussian_tied_rows(const gaussian_job *job)
{
    gaussian_job alone = gaussian_one_full(job);
    return gaussian_up(gaussian_component(&alone), 16);
}

/* Where the bound stands, after all components. */
static inline ptrdiff_t gaussian_bound(const gaussian_job *job)
{
    return gaussian_up(job->n_components, 4) * gaussian_component(job);
}

/* Where the weight of the noise stands. */
static inline ptrdiff_t gaussian_noise(const gaussian_job *job) { return gaussian_bound(job) + 1; }

/* Where the two sums of each Student-t component stand: see student.h. */
static inline ptrdiff_t gaussian_student(const gaussian_job *job) { return gaussian_noise(job) + 1; }

/* Returns where (i, i) stands among a component's second moments. */
static inline ptrdiff_t gaussian_diagonal(const gaussian_job *job, ptrdiff_t i)
{
    if (job->kind != GAUSSIAN_FULL)
        return i;
    return gaussian_is_small(job) ? i * (i + 3) / 2 : i / 4 * (i / 4 + 3) / 2 * 16 + i % 4 * 5;
}

/* ---- full second moments ----------------------------------------------------------------- */

/* second = both halves of a component's second moments, (D, D). */
static inline void gaussian_mirror(const gaussian_job *job, const double *sums, double *second)
{
    ptrdiff_t d = job->n_features;
    const double *block = sums + gaussian_second(job);
    if (gaussian_is_small(job))
        for (ptrdiff_t i = 0; i < d; block += ++i)
            for (ptrdiff_t j = 0; j <= i; j++)
                second[i * d + j] = block[j];
    else
        for (ptrdiff_t i4 = 0; i4 < d; i4 += 4)
            for (ptrdiff_t j4 = 0; j4 <= i4; j4 += 4, block += 16)
                for (ptrdiff_t i = i4; i < d && i < i4 + 4; i++)
                    for (ptrdiff_t j = j4; j < d && j < j4 + 4; j++)
                        second[i * d + j] = block[4 * (i - i4) + j - j4];
    for (ptrdiff_t i = 0; i < d; i++)
        for (ptrdiff_t j = 0; j < i; j++)
            second[j * d + i] = second[i * d + j];
}

/* Reads off the sums of component k its weight and mean, in the data's units, and, except for
 * full covariances, `second`: diag (D,) the scatter about the new mean; spherical (1,) its trace;
 * tied (D,) the new mean from the shift, in the job's coordinates. */
static inline void gaussian_read(const gaussian_job *job, const gaussian_given *given,
                                 const double *sums, ptrdiff_t k, double *weight, double *mean,
                                 double *second)
{
    ptrdiff_t d = job->n_features;
    const double *first = sums + 1, *own = sums + gaussian_second(job);
    const double *before = job->means + k * d, *chol = job->precisions_chol + k * d;
    double inverse = sums[0] > 0 ? 1 / sums[0] : 1, moved = 0;
    *weight = sums[0];
    for (ptrdiff_t i = 0; i < d; i++) {
        double share = first[i] * inverse, shift = job->shift[i], scale = job->scale[i];
        if (job->kind == GAUSSIAN_FULL)
            mean[i] = shift + (share + before[i]) / scale;
        else if (job->kind == GAUSSIAN_DIAG) {
            double scatter = (own[i] - sums[0] * (share * share)) / (scale * scale);
            second[i] = scatter < 0 ? 0 : scatter; /* -1e-17 by rounding */
            mean[i] = shift + (share + before[i]) / scale;
        } else {
            double step;
            mean[i] = sums[0] > 0 ? shift + share / scale : given->means[k * d + i];
            step = mean[i] - (shift + before[i] / scale);
            moved += step * step;
            if (job->kind == GAUSSIAN_TIED)
                second[i] = share;
        }
    }
    if (job->kind == GAUSSIAN_SPHERICAL) {
        double scatter = 2 * own[0] / (chol[0] * chol[0]) - sums[0] * moved;
        *second = scatter < 0 ? 0 : scatter;
    }
}

/* scatter, (D, D) in the data's units, = what remains of the whole one, `total`, without that of the
 * components' means, `first`; both about the shift, in coordinates of `scale`. Returns whether at
 * least a share `enough` remains of each variance: less would have lost its digits. */
static inline int gaussian_within(ptrdiff_t n, ptrdiff_t d, const double *total,
                                  const double *weight, const double *first, const double *scale,
                                  double enough, double *scatter)
{
    for (ptrdiff_t i = 0; i < d; i++) {
        double *own = scatter + i * d;
        memset(own, 0, (i + 1) * sizeof(double));
        for (ptrdiff_t k = 0; k < n; k++) {
            double factor = weight[k] * first[k * d + i];
            for (ptrdiff_t j = 0; j <= i; j++)
                own[j] += factor * first[k * d + j];
        }
        if (!(total[i * d + i] - own[i] >= enough * total[i * d + i]))
            return 0;
        for (ptrdiff_t j = 0; j <= i; j++)
            own[j] = scatter[j * d + i] = (total[i * d + j] - own[j]) / (scale[i] * scale[j]);
    }
    return 1;
}

typedef struct {
    const gaussian_job *job;
    const double *sums; /* of all components */
    const double *unit; /* (D,) of the data, powers of 2; NULL: leave moments as they are */
    double *second;     /* (K, D, D) about the new means, in the data's units; or as they are */
} gaussian_unpacking;

/* Unpacks the second moments of components [begin, begin + n). */
static inline void gaussian_unpack(const void *given, ptrdiff_t begin, ptrdiff_t n,
                                   const fastem_strip *strip)
{
    const gaussian_unpacking *to_do = given;
    ptrdiff_t d = to_do->job->n_features, size = gaussian_component(to_do->job);
    (void)strip;
    for (ptrdiff_t k = begin; k < begin + n; k++) {
        const double *sums = to_do->sums + k * size, *first = sums + 1, *unit = to_do->unit;
        double *second = to_do->second + k * d * d, inverse = sums[0] > 0 ? 1 / sums[0] : 1;
        gaussian_mirror(to_do->job, sums, second);
        for (ptrdiff_t i = 0; unit && i < d; i++)
            for (ptrdiff_t j = 0; j <= i; j++) {
                double own = second[i * d + j] - first[i] * inverse * first[j];
                second[i * d + j] = second[j * d + i] = own * (unit[i] * unit[j]);
            }
    }
}

/* ---- covariances ------------------------------------------------------------------------- */

typedef struct {
    const gaussian_ops *ops;
    ptrdiff_t n_features;
    /* covariance = (scatter + added + weight * step step^T) / divisor + reg_covar * I; where there
     * is `ridge`, reg_covar * ridge * I is added before the division instead */
    const double *scatter; /* (K, D, D) */
    const double *added;   /* (D, D), or NULL for zeros */
    const double *step;    /* (K, D), or NULL for zeros */
    const double *weight;  /* (K,), or NULL */
    const double *divisor; /* (K,), or NULL for ones */
    const double *ridge;   /* (K,), or NULL */
    double reg_covar;
    double *upper;         /* (K, D, D) U, upper, with U U^T = the inverse; without U the covariance */
    unsigned char *failed; /* (K,) whether there is no U */
    double *covariance;    /* (K, D, D) of a given `upper` */
} gaussian_factors;

/* Makes `upper` of components [begin, begin + n). */
static inline void gaussian_factor(const void *given, ptrdiff_t begin, ptrdiff_t n,
                                   const fastem_strip *strip)
{
    const gaussian_factors *job = given;
    ptrdiff_t d = job->n_features;
    for (ptrdiff_t k = begin; k < begin + n; k++) {
        const double *scatter = job->scatter + k * d * d, *step = job->step;
        double *own = job->upper + k * d * d;
        for (ptrdiff_t i = 0; i < d; i++) {
            double factor = step ? job->weight[k] * step[k * d + i] : 0;
            for (ptrdiff_t j = i; j < d; j++)
                own[i * d + j] = scatter[i * d + j];
            for (ptrdiff_t j = i; step && j < d; j++)
                own[i * d + j] += factor * step[k * d + j];
            for (ptrdiff_t j = i; job->added && j < d; j++)
                own[i * d + j] += job->added[i * d + j];
            if (job->ridge)
                own[i * d + i] += job->reg_covar * job->ridge[k];
            for (ptrdiff_t j = i; job->divisor && j < d; j++)
                own[i * d + j] /= job->divisor[k];
            if (!job->ridge)
                own[i * d + i] += job->reg_covar;
        }
        job->failed[k] = !job->ops->factor(own, d, strip->scratch);
    }
}

/* Makes `covariance` of components [begin, begin + n). */
static inline void gaussian_covariance(const void *given, ptrdiff_t begin, ptrdiff_t n,
                                       const fastem_strip *strip)
{
    const gaussian_factors *job = given;
    ptrdiff_t d = job->n_features;
    for (ptrdiff_t k = begin; k < begin + n; k++)
        job->ops->covariance(job->upper + k * d * d, d, strip->scratch, job->covariance + k * d * d);
}

/* ---- lost digits ------------------------------------------------------------------------- */

/* How many times the rest, if it is any, goes into what was added. */
static inline double gaussian_times(double added, double rest)
{
    if (added <= 0)
        return 0;
    return rest > 0 ? added / rest : INFINITY;
}

/* How many times the scatter about a component's new mean goes into what taking it about the job's
 * mean adds, the largest of all: so many digits are lost. For tied 0; nan where a sum is not finite. */
static inline double gaussian_lost(const gaussian_job *job, const double *sums)
{
    ptrdiff_t d = job->n_features, size = gaussian_component(job), begin = gaussian_second(job);
    double lost = 0, finite = 0;
    for (ptrdiff_t k = 0; k < job->n_components; k++, sums += size) {
        const double *first = sums + 1, *own = sums + begin;
        double weight = sums[0], scatter = 0; /* of a spherical one, times -1, without the whole */
        finite += 0 * weight;
        for (ptrdiff_t i = 0; i < d; i++) {
            double mean = weight > 0 ? first[i] / weight : 0;
            finite += 0 * first[i];
            if (job->kind == GAUSSIAN_SPHERICAL) {
                double step = weight > 0 ? mean - job->means[k * d + i] : 0;
                step *= job->precisions_chol[k * d + i] / job->scale[i];
                scatter += weight * step * step;
            } else if (job->kind != GAUSSIAN_TIED) {
                double whole = own[gaussian_diagonal(job, i)];
                double added = weight > 0 ? first[i] * first[i] / weight : 0, of_this;
                finite += 0 * whole;
                of_this = gaussian_times(added, whole - added);
                lost = of_this > lost ? of_this : lost;
            }
        }
        if (job->kind == GAUSSIAN_SPHERICAL) {
            double of_this = gaussian_times(scatter, 2 * own[0] - scatter);
            finite += 0 * own[0];
            lost = of_this > lost ? of_this : lost;
        }
    }
    return lost + finite; /* 0 * inf is nan */
}

#endif
