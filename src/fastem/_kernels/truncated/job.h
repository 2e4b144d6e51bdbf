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
 * component has G that are near to it, of which it is the first itself. */
typedef struct {
    /* the data, in coordinates (x - shift) * unit */
    const char *x;               /* (n, D) float or double, strides in bytes */
    ptrdiff_t x_row, x_column;
    const void *shift, *unit;    /* (D,) of x's type */
    const double *sample_weight; /* (n,), or NULL for ones */
    ptrdiff_t n_samples, n_features, wide;
    /* the parameters */
    truncated_table components, groups;
    const int32_t *near;  /* (K, G) */
    const int32_t *tried; /* (n,) the component whose `near` each row compares, too; or NULL */
    ptrdiff_t n_kept, n_near;
    ptrdiff_t n_groups_searched; /* of begin: those whose members are compared */
    const int32_t *members;      /* (K,) components, group by group */
    const int32_t *ends;         /* (groups + 1,) where each group's begin */
    uint64_t seed;               /* of the components that are drawn; another for each pass */
    int hard;                    /* the best one's responsibility is 1 */
    /* what rows, or components, keep */
    const int32_t *before; /* (n, C) */
    int32_t *after;        /* (n, C), the best first; of `meet` (n, G) */
} truncated_job;

/* The leaf functions for one dtype and one instruction set: see shared/step.h. */
typedef struct {
    ptrdiff_t lanes; /* `wide` is a multiple of it */
    ptrdiff_t (*scratch_bytes)(const truncated_job *);
    fastem_step begin; /* finds components near to a row, by groups */
    fastem_step chunk; /* finds better ones of those that rows keep; adds to the sums */
    fastem_step meet;  /* finds what is near to components, rows being these, among their `near` */
} truncated_ops;

enum {
    TRUNCATED_MOST_KEPT = 32,
    TRUNCATED_MET = 4 /* components that are drawn, for each one */
};

/* Responsibilities that are no larger are not added: they are lost in what rounding leaves open. */
#define TRUNCATED_TINY 1e-13

/* Doubles of a component's sums: sum r y, sum r y^2, sum r. */
static inline ptrdiff_t truncated_component(const truncated_job *job)
{
    return (2 * job->wide + 8) / 8 * 8;
}

/* ops[0]: float, ops[1]: double. */
const truncated_ops *fastem_truncated_ops(int level, int is_double);

#endif
