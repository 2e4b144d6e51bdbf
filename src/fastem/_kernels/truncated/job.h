/* One E-step of truncated EM, as truncated.pyx hands it to the leaf functions. */
#ifndef FASTEM_TRUNCATED_JOB_H
#define FASTEM_TRUNCATED_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "shared/step.h"

/* Components as tables of the data's type. In the coordinates y_d = x_d scale_d - offset_d every
 * component is round, of variance 1, about 0. */
typedef struct {
    ptrdiff_t n;
    const void *coef;     /* (n, 2, wide) scales, offsets; 0 beyond D */
    const void *log_norm; /* (n,) of x's type: log-density at y = 0 */
} truncated_table;

/* K components, D features in rows of `wide` numbers, n samples. Each sample keeps C components; each
 * component has G neighbours, of which it is the first itself. */
typedef struct {
    /* the data, in coordinates (x - shift) * unit */
    const char *x;               /* (n, D) float or double, strides in bytes */
    ptrdiff_t x_row, x_column;
    const void *shift, *unit;    /* (D,) of x's type */
    const void *spread;          /* (n, wide) of x's type: variances of what x is the mean of; or NULL */
    const double *sample_weight; /* (n,), or NULL for ones */
    ptrdiff_t n_samples, n_features, wide;
    /* the parameters */
    truncated_table components, groups;
    const int32_t *neighbours; /* (K, G) */
    ptrdiff_t n_kept, n_neighbours;
    ptrdiff_t n_groups_searched; /* of begin: those whose members are compared */
    const int32_t *members;    /* (K,) components, group by group */
    const int32_t *ends;       /* (groups + 1,) where each group's begin */
    uint64_t seed;             /* of the components that are drawn; another for each pass */
    int hard;                  /* the best one's responsibility is 1 */
    /* what rows, or components, keep */
    const int32_t *before; /* (n, C) */
    int32_t *after;        /* (n, C), the best first; of `meet` (n, G) */
} truncated_job;

/* The leaf functions for one dtype and one instruction set: see shared/step.h. */
typedef struct {
    ptrdiff_t lanes; /* `wide` is a multiple of it */
    ptrdiff_t (*scratch_bytes)(const truncated_job *);
    fastem_step begin; /* finds the first components that rows keep, by groups */
    fastem_step chunk; /* finds better ones among their neighbours; adds to the sums */
    fastem_step meet;  /* finds the neighbours of components, rows being these, among those of theirs */
} truncated_ops;

enum {
    TRUNCATED_MOST_KEPT = 16,
    TRUNCATED_DRAWN = 1, /* components that a row tries, wherever they are, */
    TRUNCATED_MET = 4    /* or a component */
};

/* Doubles of a component's sums: sum r y, sum r y^2, sum r. */
static inline ptrdiff_t truncated_component(const truncated_job *job)
{
    return (2 * job->wide + 8) / 8 * 8;
}

/* ops[0]: float, ops[1]: double. */
const truncated_ops *fastem_truncated_ops(int level, int is_double);

#endif
