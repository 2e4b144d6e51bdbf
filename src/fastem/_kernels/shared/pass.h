/* One pass over rows: the loop that the kernels have in common.
 *
 * Rows are split by position into strips, each with sums of its own; a strip is taken by whichever
 * thread comes next, which walks it a chunk at a time. Then the strips' sums are added in order.
 * Strips and chunks depend on shapes alone, so the bits of the result do not depend on threads.
 */
#ifndef FASTEM_PASS_H
#define FASTEM_PASS_H

#include "shared/atomic.h"
#include "shared/omp.h"
#include "shared/step.h"
#include "shared/worth.h"

enum {
    MOST_STRIPS = 64,
    LEAST_STRIPS = 4,
    STRIP_BYTES = 6 << 20, /* of all strips' sums, unless these are the fewest strips */
    SUMS_BLOCK = 512       /* sums that are added at a time, over all strips */
};

typedef struct {
    /* what to do; all that is not set is 0 */
    const void *job;
    fastem_step step;
    ptrdiff_t n_rows, chunk; /* rows of a call of `step`, at most */
    ptrdiff_t n_strips;      /* 0: as many as their sums allow */
    const ptrdiff_t *cuts;   /* (n_strips + 1,) rows where strips begin; NULL: whole chunks for all */
    ptrdiff_t n_sums;        /* of a strip */
    ptrdiff_t scratch_bytes; /* of a thread */
    ptrdiff_t looks;         /* chunks between two looks for Ctrl-C, or 0: each */
    int in_turn;             /* a chunk is a strip, and all add to the same sums: see turns.h */
    int n_threads;
    double work;             /* nanoseconds that one thread takes, about: see worth.h */
    /* what to do first */
    fastem_prepare prepare; /* or NULL */
    ptrdiff_t n_parts, tables_bytes;
    /* the pass's own */
    ptrdiff_t sums_bytes;
    char *sums, *own_sums, *scratch, *tables;
    int64_t next, stop;
    double clock;
} fastem_pass;

static inline ptrdiff_t fastem_least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t fastem_most(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static inline ptrdiff_t fastem_up(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }

/* Returns how many strips there are, where their sums are all that counts. */
static inline ptrdiff_t fastem_strips_of(ptrdiff_t n_sums)
{
    ptrdiff_t fit = n_sums ? STRIP_BYTES / (8 * fastem_up(n_sums, 16)) : MOST_STRIPS;
    return fastem_most(LEAST_STRIPS, fastem_least(MOST_STRIPS, fit));
}

static inline ptrdiff_t fastem_cut(const fastem_pass *pass, ptrdiff_t strip)
{
    ptrdiff_t n_chunks = (pass->n_rows + pass->chunk - 1) / pass->chunk;
    if (pass->cuts)
        return pass->cuts[strip];
    return fastem_least(n_chunks * strip / pass->n_strips * pass->chunk, pass->n_rows);
}

/* Takes strips until there are none left. */
static inline void fastem_take_strips(fastem_pass *pass)
{
    ptrdiff_t looks = 0;
    fastem_strip strip = {0, NULL, NULL, pass->tables, &pass->stop};
    if (pass->scratch)
        strip.scratch = pass->scratch + omp_get_thread_num() * pass->scratch_bytes;
    while ((strip.number = (ptrdiff_t)fastem_next(&pass->next)) < pass->n_strips) {
        ptrdiff_t begin = fastem_cut(pass, strip.number), end = fastem_cut(pass, strip.number + 1);
        ptrdiff_t own = pass->in_turn ? 0 : strip.number;
        strip.sums = pass->sums ? (double *)(pass->sums + own * pass->sums_bytes) : NULL;
        for (; begin < end; begin += pass->chunk) {
            if (fastem_read(&pass->stop))
                return;
            pass->step(pass->job, begin, fastem_least(pass->chunk, end - begin), &strip);
            if (looks++ % fastem_most(1, pass->looks) == 0 && fastem_interrupted(&pass->clock))
                fastem_write(&pass->stop, 1);
        }
    }
}

static inline void fastem_make_tables(fastem_pass *pass)
{
    ptrdiff_t k;
    int n_threads = fastem_worth(pass->n_threads, pass->tables_bytes / 8.0);
    (void)n_threads; /* without OpenMP */
#ifdef _OPENMP
#pragma omp parallel for num_threads(n_threads) schedule(static) if (n_threads > 1)
#endif
    for (k = 0; k < pass->n_parts; k++)
        pass->prepare(pass->job, k, pass->tables);
}

/* total = the sums of all strips, added in order. */
static inline void fastem_add_strips(const fastem_pass *pass, double *total)
{
    ptrdiff_t n_strips = pass->n_strips, begin;
    int n_threads = fastem_worth(pass->n_threads, 0.5 * n_strips * pass->n_sums);
    (void)n_threads; /* without OpenMP */
#ifdef _OPENMP
#pragma omp parallel for num_threads(n_threads) schedule(static) if (n_threads > 1)
#endif
    for (begin = 0; begin < pass->n_sums; begin += SUMS_BLOCK) {
        ptrdiff_t n = fastem_least(SUMS_BLOCK, pass->n_sums - begin);
        memcpy(total + begin, (double *)pass->sums + begin, n * sizeof(double));
        for (ptrdiff_t strip = 1; strip < n_strips; strip++) {
            const double *sums = (double *)(pass->sums + strip * pass->sums_bytes) + begin;
            for (ptrdiff_t i = 0; i < n; i++)
                total[begin + i] += sums[i];
        }
    }
}

/* Says how many strips and threads there are; gets memory. Returns whether there is enough of it. */
static inline int fastem_begin(fastem_pass *pass, double *total)
{
    ptrdiff_t n_chunks = (pass->n_rows + pass->chunk - 1) / pass->chunk, n_threads;
    if (pass->cuts == NULL) {
        ptrdiff_t most = pass->n_strips ? pass->n_strips : fastem_strips_of(pass->n_sums);
        pass->n_strips = pass->in_turn ? n_chunks : fastem_most(1, fastem_least(most, n_chunks));
    }
    n_threads = fastem_least(pass->n_threads, fastem_least(pass->n_strips, pass->n_rows));
    n_threads = fastem_most(1, n_threads);
    pass->n_threads = fastem_worth((int)n_threads, pass->work);
    pass->sums_bytes = 8 * pass->n_sums;
    if (pass->n_sums && (pass->in_turn || pass->n_strips == 1))
        pass->sums = memset(total, 0, pass->sums_bytes); /* one strip adds to where sums are wanted */
    else if (pass->n_sums)
        pass->sums = pass->own_sums = fastem_buffers(pass->n_strips, &pass->sums_bytes);
    if (pass->scratch_bytes)
        pass->scratch = fastem_buffers(pass->n_threads, &pass->scratch_bytes);
    if (pass->tables_bytes)
        pass->tables = fastem_buffers(1, &pass->tables_bytes);
    return (pass->sums || !pass->n_sums) && (pass->scratch || !pass->scratch_bytes) &&
           (pass->tables || !pass->tables_bytes);
}

/* Runs a pass without the GIL; `total` has n_sums places. Returns 0, or 1 where a signal handler
 * raised, or -1 without memory. */
static inline int fastem_run(fastem_pass *pass, double *total)
{
    pass->next = pass->stop = 0;
    pass->sums = pass->own_sums = pass->scratch = pass->tables = NULL;
    if (!fastem_begin(pass, total))
        pass->stop = -1;
    else {
        int n_threads = pass->n_threads;
        (void)n_threads; /* without OpenMP */
        if (pass->prepare)
            fastem_make_tables(pass);
        pass->clock = omp_get_wtime();
#ifdef _OPENMP
#pragma omp parallel num_threads(n_threads) if (n_threads > 1)
#endif
        fastem_take_strips(pass);
        if (pass->own_sums)
            fastem_add_strips(pass, total);
    }
    fastem_free_buffers(pass->own_sums);
    fastem_free_buffers(pass->scratch);
    fastem_free_buffers(pass->tables);
    return (int)pass->stop;
}

#endif
