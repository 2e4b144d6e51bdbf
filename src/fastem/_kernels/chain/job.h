/* One pass over sequences, as chain.pyx hands it to the leaf functions. */
#ifndef FASTEM_CHAIN_JOB_H
#define FASTEM_CHAIN_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "shared/emission.h"

/* K states, padded with states of probability 0 to `width`, W for short: 1, 2 or 4 whole vectors, or a
 * multiple of 4. A block is at most `rows` rows, of one sequence or of several whole ones.
 *
 * Frames are shifted: b_t(k) = p(x_t | k) / max_k p(x_t | k), so that no density is too small or too
 * large to be represented. With a_t what the forward variables sum to, and s_t in every second step
 * the power of 2 that takes a_{t-2} to [1, 2), elsewhere 1,
 *
 *     alpha_t = (alpha_{t-1} A) * w_t,    w_t = b_t s_t
 *     beta_{t-1} = A (w_t * beta_t),      beta_T = weight / a_T
 *
 * and then alpha_t * beta_t are the posteriors of the states at t, times the sequence's weight, and
 * alpha_{t-1}(i) A(i, j) w_t(j) beta_t(j) those of the transitions. Nothing is divided.
 *
 * A long sequence is taken from both ends, to its middle and back, so that there are two products to
 * work on at a time. From the right, u_t = w_t * beta_t is what alpha_t is from the left, on the
 * sequence in reverse and with A transposed,
 *
 *     u_t = (A u_{t+1}) * w_t,    u_T = w_T
 *     v_{t+1} = (w_t * v_t) A,    v_m = weight * (alpha_{m-1} A) / (alpha_{m-1} A u_m)
 *
 * and u_t * v_t are the posteriors. The same functions do it, from the last row to the first. */
typedef struct {
    ptrdiff_t n_states, width, rows;
    const double *start, *ones;          /* (W,) */
    const double *trans, *turned;        /* (W, W) from, to; and to, from */
    const double *log_start, *log_trans, *log_turned; /* CHAIN_NEVER for 0 */
    const int32_t *known;                /* (n,) the state that is known, or -1; or NULL */
    fastem_emission emission;
    /* Where the emission has codes, or NULL: b, log-densities and shifts of each of them. */
    const int32_t *codes;
    const double *likelihoods, *logs, *shifts; /* (n_codes, W), (n_codes, W), (n_codes,) */
} chain_job;

/* What stands for the logarithm of 0: sums of it are no NaN. */
#define CHAIN_NEVER -1e300

enum { CHAIN_WAYS = 8 }; /* bytes of a state that is written, and bits of those */

/* One sequence, or what a block has of it. Several at a time hide that each step of a sequence waits
 * for the one before, and read the transitions once for all. */
enum { CHAIN_ABREAST = 8 }; /* the most of them */
enum { CHAIN_BOTH = 2 };    /* the most vectors of states that are taken from both ends */
typedef struct {
    ptrdiff_t at, n;  /* rows [at, at + n) of the block */
    double *beta;     /* (W,) of the row that comes next in the backward pass */
    double least;     /* the smallest a_t that a scale was made of */
    double most;      /* the largest beta_t(k); of one run alone */
    double mass;      /* sum of the posteriors; of one run alone */
    int64_t exponent; /* sum of the logarithms of 1 / s_t, base 2 */
} chain_run;

/* One thread's buffers for a block. Row t of the forward variables stands at t + 1: row 0 is what
 * came before the block. */
typedef struct {
    double *w;        /* (rows, W) b_t, then w_t, then w_t * beta_t; or log-densities */
    double *alpha;    /* (rows + 1, W) */
    double *gamma;    /* (rows, W) posteriors */
    double *columns;  /* (W up to 8, column) the same, as emissions take them */
    double *shift;    /* (rows,) what was taken off the log-densities */
    double *beta;     /* (CHAIN_ABREAST, W) the runs' */
    double *pairs;    /* (W, W) to, from: sums of w_t(j) beta_t(j) alpha_{t-1}(i) */
    double *joint;    /* (W, W) from, to: posteriors of transitions that log space gave */
    void *scratch;    /* of the emission */
    const double *lp; /* the block's log-densities, in that scratch; NULL where there are none */
    double *spare;    /* a vector's lanes */
    double log_scale; /* in log space: what was taken off the forward variables */
} chain_work;

typedef struct {
    const char *name;
    ptrdiff_t lanes; /* doubles in a vector */
    /* The block's n rows, from row `first` of the data: lp, w = b, shift. */
    void (*frames)(const chain_job *, chain_work *, ptrdiff_t first, ptrdiff_t n);
    /* How many runs the next two like to be given. */
    int (*abreast)(const chain_job *);
    /* Some runs, which begin there or go on. Each has the same bits whatever the others are. */
    void (*forward)(const chain_job *, chain_work *, chain_run *, int count, int begins);
    void (*backward)(const chain_job *, chain_work *, chain_run *, int count, int begins);
    /* Whether a sequence of several blocks is taken from both ends, and the same two for that: two
     * buffers, and two runs of a block each. Pairs and posteriors of states are both's, if `summed`
     * says so; otherwise the posteriors alone. */
    int (*from_both)(const chain_job *);
    void (*forward_both)(const chain_job *, chain_work *, chain_run *, int begins);
    void (*backward_both)(const chain_job *, chain_work *, chain_run *, int begins, int summed);
    /* Adds the block's pairs, unless backward() has done it; `returns`: of the run back in time. */
    void (*add_pairs)(const chain_job *, chain_work *, ptrdiff_t n, int returns);
    void (*to_columns)(const chain_job *, chain_work *, ptrdiff_t n);
    /* Where there are codes: adds the block's posteriors to sums, (n_codes, W). */
    void (*add_codes)(const chain_job *, const chain_work *, ptrdiff_t first, ptrdiff_t n,
                      double *sums);
    /* The same in log space, once there is lp: w = log-densities, alpha and beta logarithms, gamma and joint not. */
    void (*log_frames)(const chain_job *, chain_work *, ptrdiff_t first, ptrdiff_t at, ptrdiff_t n);
    void (*log_forward)(const chain_job *, chain_work *, ptrdiff_t at, ptrdiff_t n, int begins);
    void (*log_backward)(const chain_job *, chain_work *, ptrdiff_t at, ptrdiff_t n, int begins,
                         double weight);
    /* Viterbi. Log-densities w of the block's n rows, from row `first` of the data. */
    void (*best_frames)(const chain_job *, chain_work *, ptrdiff_t first, ptrdiff_t n);
    /* alpha = the log-probability of the best path that ends in each state. Unless ways is NULL, the
     * bits of byte k of ways[t] tell which states before k are on such: W is at most CHAIN_WAYS. */
    void (*best_forward)(const chain_job *, chain_work *, ptrdiff_t at, ptrdiff_t n, int begins,
                         int64_t *ways);
} chain_ops;

/* ops[0]: double. */
const chain_ops *fastem_chain_ops(int level, int is_double);

#endif
