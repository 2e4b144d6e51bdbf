/* One step of k-means++, as seeding.pyx hands it to the leaf functions. */
#ifndef FASTEM_SEEDING_JOB_H
#define FASTEM_SEEDING_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "shared/step.h"

/* n samples of D features; `width` trials, a multiple of 4. Distances and lengths are those of
 * (x - shift) * scale, in which the longest row has a length of about 1. */
typedef struct {
    /* the data */
    const char *x;        /* (n, D) float or double, features side by side */
    ptrdiff_t x_row;      /* bytes from row to row */
    const void *origin;   /* (D,) of x's type: the data are x - origin; NULL: they are x */
    const double *shift;  /* (D,) */
    double scale;         /* a power of 2, of which the square is a normal number */
    const double *weight; /* (n,), or NULL for ones */
    ptrdiff_t n_samples, n_features;
    float *panels; /* (panels, D, PANEL) the data in float, or NULL: made each time */
    double margin; /* products in float may be off by so much */
    /* what is known of each row */
    void *closest;    /* (n,) of the data's type: squared distance to the nearest center */
    float *threshold; /* (n rounded up to whole panels,) see leaf.h */
    double *sums;     /* (blocks,) of weighted closest distances */
    /* the trials of this step, and what they would gain */
    ptrdiff_t width;
    double *trial;    /* (width, D) rows as they are */
    float *coef;      /* (D, width) the same, shifted and scaled */
    float *half_norm; /* (width,) half their squared length; INFINITY where there is no trial */
    uint32_t *hits;   /* (panels, width) a bit for each row that a trial is the nearest to */
    double *gain;     /* (blocks, width) by which a trial lowers the block's sum */
    /* one of them */
    ptrdiff_t chosen;
    void *preview; /* (n,) of the data's type */
} seeding_job;

/* The leaf functions, which work on one block: see shared/step.h. `measure` needs scratch for a panel
 * of (D, panel) floats, and with an origin all need it for a block of (SEEDING_BLOCK, D) more. */
typedef struct {
    const char *name;
    ptrdiff_t panel; /* rows in a panel, at most 32 */
    /* Writes one row, (D,). */
    void (*center)(const seeding_job *, ptrdiff_t row, double *out);
    /* Fills `panels`. */
    fastem_step pack;
    /* Makes trial 0 the first center, whatever was there. */
    fastem_step begin;
    /* Finds the rows for which each trial would be the nearest center, and its gain. */
    fastem_step measure;
    /* Makes the chosen trial a center; sums again where it changes something. */
    fastem_step take;
    /* Writes the closest distances as they would be with the chosen trial. */
    fastem_step preview;
} seeding_ops;

enum { SEEDING_BLOCK = 512 };

const seeding_ops *fastem_seeding_ops(int level, int is_double);

#endif
