/* One E-step of a mixture of discrete distributions, as discrete.pyx hands it to the leaf functions. */
#ifndef FASTEM_DISCRETE_JOB_H
#define FASTEM_DISCRETE_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "shared/emission.h"

/* K components, n samples, each with a few entries that point to rows of a table; rows are `width`
 * long: K rounded up to whole vectors. Sample i has under component k the log-probability
 *
 *     lp_ik = bias_k + offset_i + sum_e value_e table[index_e, k]       e: the entries of i
 *
 * and adds value_e r_ik to row index_e of the sums. Values are above 0, or 1 if there are none, so
 * that a table may hold -inf: no 0 * inf, no inf - inf. */
typedef struct {
    const int64_t *begin; /* (n + 1,) where each sample's entries begin, or NULL: */
    ptrdiff_t n_entries;  /* each has so many */
    const int32_t *index;
    const double *value;         /* or NULL */
    const double *offset;        /* (n,) or NULL */
    const double *sample_weight; /* (n,) or NULL for ones */
    ptrdiff_t n_samples, n_components, width, n_rows;
    const double *table; /* (n_rows, width) */
    const double *bias;  /* (width,), -inf past K */
    /* outputs by row, each may be NULL */
    double *log_prob;         /* (n,) */
    double *responsibilities; /* (n, K) */
    int64_t *labels;          /* (n,) */
} discrete_job;

#define DISCRETE_CHUNK 256 /* samples that chunk() takes at most; a multiple of all vectors */

#define EMISSION_ROWS 512
#define EMISSION_COLUMN (EMISSION_ROWS + 8) /* columns must not all fall into the same cache sets */

typedef struct {
    const char *name;
    ptrdiff_t lanes; /* doubles in a vector */
    /* Samples [begin, end): writes the outputs; adds to `sums` if that is not NULL: as the table,
     * then (width,) the responsibilities, then the bound. `scratch` is (2, lanes, width). */
    void (*chunk)(const discrete_job *, ptrdiff_t begin, ptrdiff_t end, double *scratch,
                  double *sums);
    /* What a fastem_emission has; its scratch is (lanes, width), then (width, EMISSION_COLUMN), of
     * at most EMISSION_ROWS rows. */
    const double *(*emission_log_prob)(const void *, ptrdiff_t begin, ptrdiff_t n, void *scratch);
    void (*emission_add)(const void *, ptrdiff_t begin, ptrdiff_t n, void *scratch, const double *r,
                         double *sums);
} discrete_ops;

const discrete_ops *fastem_discrete_ops(int level, int is_double);

#endif
