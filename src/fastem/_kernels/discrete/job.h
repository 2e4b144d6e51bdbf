/* One E-step of a mixture of discrete distributions, as discrete.pyx hands it to the leaf functions. */
#ifndef FASTEM_DISCRETE_JOB_H
#define FASTEM_DISCRETE_JOB_H

#include "shared/emission.h"
#include "shared/step.h"

/* How samples are stored; each has a header of its own. In all of them sample i has under component
 * k the log-probability
 *
 *     lp_ik = bias_k + offset_i + what its values add
 *
 * and adds its responsibilities r_ik to the rows of the sums that belong to its values. */
enum {
    DISCRETE_LISTS,  /* value_e table[index_e], e being its entries; values are above 0, or 1 */
    DISCRETE_CODES,  /* table[first_g + code_ig], g being groups of features */
    DISCRETE_BITS,   /* one of two numbers for each column, for a bit that is set or clear */
    DISCRETE_COUNTS  /* x_ij table[j], j being features */
};

enum {
    DISCRETE_CHUNK = 512, /* samples of a chunk, at most; a multiple of 32 and of all vectors */
    DISCRETE_PANEL = 4,   /* vectors of components that are worked on together, at most */
    EMISSION_ROWS = 512,
    EMISSION_COLUMN = EMISSION_ROWS + 8 /* columns must not all fall into the same cache sets */
};

/* K components, n samples; rows of tables and sums are `width` long: K rounded up to whole vectors.
 * A table may hold -inf, and it stays exact: no 0 * inf, no inf - inf. */
typedef struct {
    int form;
    ptrdiff_t n_samples, n_components, width;
    ptrdiff_t n_rows; /* of the sums: of the table but for bits, which have one for each column */
    ptrdiff_t chunk;  /* samples at a time: a multiple of 32 */
    /* lists */
    const int64_t *begin; /* (n + 1,) where each sample's entries begin, or NULL: */
    ptrdiff_t n_entries;  /* each has so many */
    const int32_t *index;
    const double *value; /* or NULL for ones */
    /* codes */
    const uint8_t *codes; /* (n, G) */
    const int32_t *first; /* (G + 1,) */
    ptrdiff_t n_groups;
    /* bits */
    const uint32_t *bits;    /* (n, n_words) column c is bit c % 32 of word c / 32 */
    const uint32_t *columns; /* (n / 32 + 1, n_columns) sample i is bit i % 32 of row i / 32 */
    ptrdiff_t n_columns, n_words;
    /* counts */
    const uint8_t *counts; /* (n, D), or NULL: */
    const double *reals;   /* (n, D) */
    const double *constants; /* what each value adds to offset_i: [j * each_constant + x_ij]; or NULL */
    ptrdiff_t each_constant; /* 0: the same for all features */
    const double *only;    /* (n_only, 3) a feature, a component, and the one value possible there */
    ptrdiff_t n_only;
    /* for all of them */
    const double *offset;        /* (n,) or NULL */
    const double *sample_weight; /* (n,) or NULL for ones */
    const double *table;         /* (n_rows, width); of bits see bits.h; of counts in place of -inf
                                  * DISCRETE_NEVER */
    const double *bias;          /* (width,), -inf past K */
    /* given responsibilities, or NULL */
    const int64_t *given_labels; /* (n,) the component of each sample, -1 for none */
    const double *given;         /* (m, K) of samples from `origin` on, */
    ptrdiff_t origin;            /* which a pass begins with */
    /* outputs by row, each may be NULL */
    double *log_prob;         /* (n,) */
    double *responsibilities; /* (n, K) */
    int64_t *labels;          /* (n,) */
    /* Of lists whose sums would fill caches and memory, r_ik of samples from `origin` on is written
     * to turned[k * turned_row + i], for add_live(); the sums are then r's and the bound alone. */
    double *turned;
    ptrdiff_t turned_row;
} discrete_job;

/* offset_i */
static inline double fastem_offset(const discrete_job *job, ptrdiff_t i)
{
    double total = 0;
    for (ptrdiff_t j = 0; job->constants && j < job->n_rows; j++)
        total += job->constants[j * job->each_constant + job->counts[i * job->n_rows + j]];
    return job->offset ? job->offset[i] + total : total;
}

#define DISCRETE_NEVER (-1e295) /* times any count it is finite, and below all that can occur */

/* What inspect() finds of each feature. */
typedef struct {
    double *lowest, *highest; /* (D,) at most 0, at least 0; NaN is left out */
    uint8_t *whole, *missing; /* (D,) whether all values are integers; whether some are NaN */
    uint8_t *observed;        /* (D,) whether some are not, in rows of positive weight */
} discrete_contents;

/* The leaf functions for one instruction set. */
typedef struct {
    const char *name;
    ptrdiff_t lanes; /* doubles in a vector */
    ptrdiff_t (*scratch_bytes)(const discrete_job *);
    /* Writes the outputs; adds to the sums if there are any: as the table (n_rows, width), then
     * (width,) the responsibilities, then the bound. See shared/step.h. */
    fastem_step chunk;
    /* Adds n samples from `begin` on to one component's sums, a number for each row of the table. */
    void (*add_live)(const discrete_job *, ptrdiff_t begin, ptrdiff_t n, const double *r,
                     double *sums);
    /* What a fastem_emission has. */
    ptrdiff_t (*emission_bytes)(const discrete_job *);
    const double *(*emission_log_prob)(const void *, ptrdiff_t begin, ptrdiff_t n, void *scratch);
    void (*emission_add)(const void *, ptrdiff_t begin, ptrdiff_t n, void *scratch, const double *r,
                         double *sums);
    /* Tables: see tables.h. */
    void (*log_table)(const double *values, ptrdiff_t n_comp, ptrdiff_t n_terms, ptrdiff_t width,
                      ptrdiff_t begin, ptrdiff_t end, int failures, double *table);
    void (*bit_table)(const double *set, const double *clear, ptrdiff_t n_columns, ptrdiff_t width,
                      ptrdiff_t begin, ptrdiff_t end, double *table);
    /* Data: see data.h. Rows are n x D, float or double, one after another. */
    int (*pack)(const void *x, int is_float, ptrdiff_t n, ptrdiff_t d, uint32_t *ones,
                uint32_t *known);
    void (*inspect)(const void *x, int is_float, ptrdiff_t n, ptrdiff_t d, const double *weight,
                    const discrete_contents *);
} discrete_ops;

const discrete_ops *fastem_discrete_ops(int level, int is_double);

#endif
