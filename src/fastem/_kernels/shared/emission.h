/* Components beneath a structure that makes the responsibilities itself, such as a Markov chain. A
 * family's kernel fills this in; the structure's kernel calls it, a few hundred rows at a time. */
#ifndef FASTEM_EMISSION_H
#define FASTEM_EMISSION_H

#include <stddef.h>
#include <stdint.h>

#define FASTEM_EMISSION "fastem.emission" /* name of the capsule */

typedef struct {
    const void *job;
    ptrdiff_t n_states, n_rows;
    ptrdiff_t most_rows; /* that a call takes, a multiple of 64 */
    ptrdiff_t column;    /* doubles from a state's column to the next, most_rows at least */
    ptrdiff_t scratch_bytes, sums_size;
    /* Returns the log-densities of rows [begin, begin + n), lp[k * column + t], in the scratch. What
     * follows after n rows, up to a multiple of 64, may be anything. */
    const double *(*log_prob)(const void *job, ptrdiff_t begin, ptrdiff_t n, void *scratch);
    /* The same as p / exp(shift[t]), at most about 1: of families that have p before its logarithm.
     * NULL elsewhere. */
    const double *(*likelihood)(const void *job, ptrdiff_t begin, ptrdiff_t n, void *scratch,
                                double *shift);
    /* Adds the rows of the last call of either in this scratch under responsibilities r[k * column + t],
     * 0 after n rows up to a multiple of 64; r has columns of zeros up to a multiple of 8. */
    void (*add)(const void *job, ptrdiff_t begin, ptrdiff_t n, void *scratch, const double *r,
                double *sums);
    /* Or, of families whose rows have few different values, the row's value and what each value's
     * log-densities are, (n_codes, table_width), and `bias` beside; then sums may be (n_codes, ...)
     * responsibilities of values, without log_prob() and add(). NULL elsewhere. */
    const int32_t *codes;
    const double *table, *bias;
    ptrdiff_t n_codes, table_width;
} fastem_emission;

#endif
