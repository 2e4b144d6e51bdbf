/* Variational Bayes for Gaussian mixtures: the posterior of K components, which is Dirichlet, or the
 * sticks of a process, times normal-Wishart; and what it says of E-steps and of the bound. */
#ifndef FASTEM_GAUSSIAN_BAYES_H
#define FASTEM_GAUSSIAN_BAYES_H

#include <math.h>

#include "gaussian/job.h"
#include "shared/psi.h"

#define LOG_PI 1.14472988584940017414
#define GAUSSIAN_LOG_2_PI (GAUSSIAN_LOG_2 + LOG_PI)

typedef struct {
    int process; /* the weights have a Dirichlet process, else a Dirichlet distribution */
    double concentration, mean_precision, degrees_of_freedom;
    const double *mean;       /* (D,) */
    const double *covariance; /* times the degrees of freedom: (D, D), diag (D,), spherical (1,) */
} gaussian_prior;

typedef struct {
    int kind;
    ptrdiff_t n_components, n_features;
    double *concentration; /* (K,), of a process (2, K): the beta distributions of its sticks */
    double *mean_precision; /* (K,) */
    double *means;          /* (K, D) */
    double *freedom;        /* (K,), tied (1,) */
} gaussian_posterior;

static inline double gaussian_sum(const double *values, ptrdiff_t n)
{
    double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        sum += values[i];
    return sum;
}

/* ---- from counts and centers (Bishop 10.58, 10.60, 10.61, 10.63) ------------------------- */

/* Fills in the posterior of `count`, (K,), samples about `center`, (K, D). Writes to `step`, (K, D),
 * the centers without the prior's mean, and to `share`, (K,), how often their squares count. */
static inline void gaussian_update(const gaussian_prior *prior, const double *count,
                                   const double *center, const gaussian_posterior *to, double *step,
                                   double *share)
{
    ptrdiff_t n = to->n_components, d = to->n_features;
    double later = 0;
    for (ptrdiff_t k = n - 1; k >= 0; k--) {
        double precision = to->mean_precision[k] = prior->mean_precision + count[k];
        share[k] = prior->mean_precision * count[k] / precision;
        for (ptrdiff_t i = k * d; i < (k + 1) * d; i++) {
            step[i] = center[i] - prior->mean[i - k * d];
            to->means[i] = (prior->mean_precision * prior->mean[i - k * d] +
                            count[k] * center[i]) / precision;
        }
        if (prior->process) {
            to->concentration[k] = 1 + count[k];
            to->concentration[n + k] = later + prior->concentration;
        } else
            to->concentration[k] = prior->concentration + count[k];
        later += count[k];
        if (to->kind != GAUSSIAN_TIED)
            to->freedom[k] = prior->degrees_of_freedom + count[k];
    }
    if (to->kind == GAUSSIAN_TIED) /* one precision for all has its share of the samples */
        to->freedom[0] = prior->degrees_of_freedom + gaussian_sum(count, n) / n;
}

/* Writes covariances that are not full: tied (D, D), of which the upper triangle counts, diag (K, D),
 * spherical (K,); from the scatter about the centers, and `step` and `share`. */
static inline void gaussian_scale(const gaussian_prior *prior, const gaussian_posterior *to,
                                  const double *count, const double *scatter, const double *step,
                                  const double *share, double reg_covar, double *covariance)
{
    ptrdiff_t n = to->n_components, d = to->n_features;
    if (to->kind == GAUSSIAN_TIED) {
        for (ptrdiff_t i = 0; i < d; i++) {
            double *own = covariance + i * d;
            for (ptrdiff_t j = i; j < d; j++)
                own[j] = scatter[i * d + j];
            for (ptrdiff_t k = 0; k < n; k++) {
                double factor = share[k] * step[k * d + i];
                for (ptrdiff_t j = i; j < d; j++)
                    own[j] += factor * step[k * d + j];
            }
            for (ptrdiff_t j = i; j < d; j++)
                own[j] = own[j] / n + prior->covariance[i * d + j];
            own[i] += reg_covar * gaussian_sum(count, n) / n;
            for (ptrdiff_t j = i; j < d; j++)
                own[j] /= to->freedom[0];
        }
        return;
    }
    for (ptrdiff_t k = 0; k < n; k++) {
        double whole = 0, ridge = reg_covar * count[k];
        for (ptrdiff_t i = 0; i < d; i++) {
            double square = share[k] * (step[k * d + i] * step[k * d + i]);
            whole += square;
            if (to->kind == GAUSSIAN_DIAG)
                covariance[k * d + i] = (scatter[k * d + i] + square + prior->covariance[i] + ridge) /
                                        to->freedom[k];
        }
        if (to->kind == GAUSSIAN_SPHERICAL)
            covariance[k] = ((scatter[k] + whole) / d + prior->covariance[0] + ridge) /
                            to->freedom[k];
    }
}

/* ---- what it says ------------------------------------------------------------------------ */

/* Writes E[log weight] of each component. */
static inline void gaussian_expect_weights(const gaussian_posterior *at, int process, double *out)
{
    ptrdiff_t n = at->n_components;
    const double *own = at->concentration, *rest = own + n;
    double before = 0, whole = process ? 0 : fastem_psi(gaussian_sum(own, n));
    for (ptrdiff_t k = 0; k < n; k++) {
        if (process)
            whole = fastem_psi(own[k] + rest[k]);
        out[k] = fastem_psi(own[k]) - whole + before;
        if (process)
            before += fastem_psi(rest[k]) - whole;
    }
}

/* The sum over features i of digamma((freedom - i) / 2), or of log gamma: of two features at a time,
 * by Legendre's duplication formula (Abramowitz & Stegun 6.1.18, 6.3.8). */
static inline double gaussian_psis(double freedom, ptrdiff_t d)
{
    double sum = d % 2 ? fastem_psi((freedom - d + 1) / 2) : 0;
    for (ptrdiff_t i = 1; i < d; i += 2)
        sum += 2 * (fastem_psi(freedom - i) - GAUSSIAN_LOG_2);
    return sum;
}

static inline double gaussian_log_gammas(double freedom, ptrdiff_t d)
{
    double sum = d % 2 ? lgamma((freedom - d + 1) / 2) : 0;
    for (ptrdiff_t i = 1; i < d; i += 2)
        sum += lgamma(freedom - i) + LOG_PI / 2 - (freedom - i - 1) * GAUSSIAN_LOG_2;
    return sum;
}

/* Writes the log-weights with which densities of Gaussians, whose precisions are the mean ones, are
 * the expected ones (Bishop 10.46): E[log det precision] is less than the log det of the mean
 * precision, and the means are uncertain. */
static inline void gaussian_expect(const gaussian_posterior *at, int process, double *log_weights)
{
    ptrdiff_t d = at->n_features, shared = at->kind == GAUSSIAN_TIED;
    double less = 0;
    gaussian_expect_weights(at, process, log_weights);
    for (ptrdiff_t k = 0; k < at->n_components; k++) {
        if (k == 0 || !shared)
            less = d * (GAUSSIAN_LOG_2 - log(at->freedom[k])) + gaussian_psis(at->freedom[k], d);
        log_weights[k] += (less - d / at->mean_precision[k]) / 2;
    }
}

/* log det U of component k; U are full (K, D, D), tied (D, D), diag (K, D), spherical (K,). */
static inline double gaussian_log_det(int kind, ptrdiff_t d, const double *upper, ptrdiff_t k)
{
    double sum = 0;
    if (kind == GAUSSIAN_SPHERICAL)
        return d * log(upper[k]);
    upper += kind == GAUSSIAN_DIAG ? k * d : kind == GAUSSIAN_FULL ? k * d * d : 0;
    for (ptrdiff_t i = 0; i < d; i++)
        sum += log(upper[kind == GAUSSIAN_DIAG ? i : i * (d + 1)]);
    return sum;
}

/* The logarithms of what the posterior's densities are divided by: all of the bound (Bishop 10.70)
 * but the entropy of the responsibilities that does not cancel, or stay the same. */
static inline double gaussian_evidence(const gaussian_posterior *at, int process,
                                       const double *upper)
{
    ptrdiff_t n = at->n_components, d = at->n_features;
    const double *own = at->concentration, *rest = own + n;
    double sum = process ? 0 : -lgamma(gaussian_sum(own, n)), wishart = 0;
    for (ptrdiff_t k = 0; k < n; k++) {
        if (k == 0 || at->kind != GAUSSIAN_TIED) {
            double freedom = at->freedom[k];
            wishart = freedom * (gaussian_log_det(at->kind, d, upper, k) +
                                 d / 2.0 * log(2 / freedom)) + gaussian_log_gammas(freedom, d);
        }
        sum += lgamma(own[k]) - d / 2.0 * log(at->mean_precision[k]) + wishart;
        if (process)
            sum += lgamma(rest[k]) - lgamma(own[k] + rest[k]);
    }
    return sum;
}

/* ---- densities under given moments ------------------------------------------------------- */

typedef struct {
    int kind;
    ptrdiff_t n_components, n_features;
    const gaussian_ops *ops;
    const double *weight, *mean, *scatter; /* moments: about their own means */
    const double *center;                  /* (K, D) the components' means */
    const double *upper;                   /* their factors */
    double *distance;                      /* (K,) sum r (x - center)^T precision (x - center) */
} gaussian_distances;

/* |U^T (mean - center)|^2 of component k. */
static inline double gaussian_moved(const gaussian_distances *job, const double *upper, ptrdiff_t k)
{
    ptrdiff_t d = job->n_features;
    const double *mean = job->mean + k * d, *center = job->center + k * d;
    double sum = 0;
    for (ptrdiff_t j = 0; j < d; j++) {
        double along = 0;
        if (job->kind > GAUSSIAN_TIED)
            along = (mean[j] - center[j]) * upper[job->kind == GAUSSIAN_DIAG ? k * d + j : k];
        else
            for (ptrdiff_t i = 0; i <= j; i++)
                along += (mean[i] - center[i]) * upper[i * d + j];
        sum += along * along;
    }
    return sum;
}

/* Writes the distances of components [begin, begin + n); of tied ones, the first has all that is
 * within components. */
static inline void gaussian_distance(const void *given, ptrdiff_t begin, ptrdiff_t n,
                                     const fastem_strip *strip)
{
    const gaussian_distances *job = given;
    ptrdiff_t d = job->n_features;
    for (ptrdiff_t k = begin; k < begin + n; k++) {
        const double *upper = job->upper, *scatter = job->scatter;
        double within = 0;
        if (job->kind == GAUSSIAN_FULL) {
            upper += k * d * d;
            scatter += k * d * d;
        }
        if (job->kind == GAUSSIAN_SPHERICAL)
            within = upper[k] * upper[k] * scatter[k];
        else if (job->kind == GAUSSIAN_DIAG)
            for (ptrdiff_t i = k * d; i < (k + 1) * d; i++)
                within += upper[i] * upper[i] * scatter[i];
        else if (job->kind == GAUSSIAN_FULL || k == 0)
            within = job->ops->trace(scatter, upper, d, strip->scratch);
        job->distance[k] = within + job->weight[k] * gaussian_moved(job, upper, k);
    }
}

#endif
