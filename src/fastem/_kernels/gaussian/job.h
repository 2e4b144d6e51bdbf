/* One E-step of a Gaussian mixture, as gaussian.pyx hands it to the leaf functions. */
#ifndef FASTEM_GAUSSIAN_JOB_H
#define FASTEM_GAUSSIAN_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "shared/emission.h"
#include "shared/step.h"
#include "shared/turns.h"

#define GAUSSIAN_LOG_2 0.69314718055994530942

enum gaussian_kind { GAUSSIAN_FULL, GAUSSIAN_TIED, GAUSSIAN_DIAG, GAUSSIAN_SPHERICAL };

/* K components, D features, n samples. The kernel works in the coordinates (x - shift) * scale, in
 * which every feature is of order 1; of the parameters, only the means are given in them. */
typedef struct {
    /* the data */
    const char *x;              /* (n, D) float or double, strides in bytes */
    ptrdiff_t x_row, x_column;
    const double *sample_weight; /* (n,), or NULL for ones */
    const double *given;        /* (n, K) responsibilities to use as they are, or NULL */
    ptrdiff_t n_samples, n_features, n_components;
    /* the parameters */
    int kind;
    ptrdiff_t most_small;        /* the largest D whose full covariances small.h treats: of the ops */
    const double *shift, *scale; /* (D,) */
    const double *means;         /* (K, D), scaled */
    const double *precisions_chol; /* full (K, D, D), tied (D, D): upper triangles; else (K, D) */
    const double *log_norm;      /* (K,): log weight + log det(precisions_chol) - D/2 log 2 pi */
    /* Noise, a component more whose density is the same everywhere; not with `given`. */
    int has_noise;
    double noise;            /* log weight - sum of log_sides */
    const double *log_sides; /* (D,) of the box that it fills, in the data's units */
    /* Student-t components: their degrees of freedom, (K,), or NULL: see student.h */
    const double *df;
    const double *student_norm; /* (K,) in place of log_norm, which is 0 */
    int scaled;                 /* responsibilities are written as student.h scales them */
    /* where rows may have missing values, in double, and not spherical: see incomplete.h */
    int incomplete;
    const double *precisions; /* full: (K, D, D), tied: (D, D), scaled */
    const double *centers;    /* (K, D4) what moments are about, scaled; or NULL: the means */
    /* what to do */
    int prune;                   /* leave out what cannot change a sum: see evaluate_survivors */
    double negligible;           /* log-responsibilities below it are taken for 0 */
    ptrdiff_t rows;              /* of a chunk; 0: as many as suit the cache */
    /* outputs by row, each may be NULL */
    void *log_prob;              /* (n,) of x's dtype: log-density of each sample */
    void *responsibilities;      /* (n, K) of x's dtype, with noise (n, K + 1): it is the last */
    int64_t *labels;             /* (n,), -1: noise */
    /* the pass */
    int *dense;     /* chunks that are still to be evaluated without pruning: of each strip */
    int64_t *added; /* (chunks + 1,) components that the chunk before has added, where chunks take
                     * turns and `dense` is of every GAUSSIAN_TURNS-th of them; or NULL */
} gaussian_job;

enum { GAUSSIAN_TURNS = 8 }; /* chunks that are under way at once, at most, where they take turns */

/* Gaussians of which each n_mix in turn are a state: see shared/emission.h. */
typedef struct {
    const gaussian_job *density, *moments; /* the second one's means are what moments are about */
    const void *density_tables, *moments_tables;
    ptrdiff_t n_mix;
    /* Where rows have missing values, else NULL: see missing.h. */
    const double *covariances; /* full (K, D, D), diag (K, D), in the coordinates of the means */
    const double *log_weight;  /* (K,) */
} gaussian_emission;

/* The leaf functions for one dtype and one instruction set: see shared/step.h. */
typedef struct {
    const char *name;
    ptrdiff_t most_small;
    ptrdiff_t (*tables_bytes)(const gaussian_job *);
    fastem_prepare prepare; /* one part for each component */
    ptrdiff_t (*chunk_rows)(const gaussian_job *); /* rows that chunk() takes at most */
    ptrdiff_t (*scratch_bytes)(const gaussian_job *);
    ptrdiff_t (*sums_size)(const gaussian_job *); /* doubles in a strip's sums: see moments.h */
    fastem_step chunk; /* writes the outputs; adds to the sums if there are any */
    /* Covariances to factors and back, in double for both dtypes: see gaussian/factor.h. */
    ptrdiff_t (*factor_bytes)(ptrdiff_t d);
    int (*factor)(double *matrix, ptrdiff_t d, void *memory);
    void (*covariance)(const double *upper, ptrdiff_t d, void *memory, double *covariance);
    double (*trace)(const double *scatter, const double *upper, ptrdiff_t d, void *memory);
    /* What a fastem_emission has, in double for both dtypes; full and diag alone. */
    ptrdiff_t (*emission_bytes)(const gaussian_emission *);
    ptrdiff_t (*emission_column)(const gaussian_emission *);
    const double *(*emission_log_prob)(const void *, ptrdiff_t begin, ptrdiff_t n, void *scratch);
    const double *(*emission_likelihood)(const void *, ptrdiff_t begin, ptrdiff_t n, void *scratch,
                                         double *shift); /* of mixtures */
    void (*emission_add)(const void *, ptrdiff_t begin, ptrdiff_t n, void *scratch, const double *r,
                         double *sums);
} gaussian_ops;

/* ops[0]: float, ops[1]: double. */
const gaussian_ops *fastem_gaussian_ops(int level, int is_double);

#endif
