/* What a leaf function that works on rows is given: see shared/pass.h, which calls it. */
#ifndef FASTEM_STEP_H
#define FASTEM_STEP_H

#include <stddef.h>
#include <stdint.h>

/* Where a leaf function works, and where its sums go. */
typedef struct {
    ptrdiff_t number;    /* of the strip; of the chunk where chunks take turns */
    double *sums;        /* the strip's own, zeros at its start; NULL if none are wanted */
    void *scratch;       /* this thread's, zeros at first use */
    const void *tables;  /* made by a fastem_prepare, or NULL */
    int64_t *stop;       /* not 0: nobody needs the result any more */
} fastem_strip;

/* Works on rows [begin, begin + n) of a job. */
typedef void (*fastem_step)(const void *job, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *);

/* Fills one part of a job's tables, which are zeros at first; other threads fill others. */
typedef void (*fastem_prepare)(const void *job, ptrdiff_t part, void *tables);

#endif
