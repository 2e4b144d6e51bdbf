/* One E-step of k-means, as kmeans.pyx hands it to the leaf functions. */
#ifndef FASTEM_KMEANS_JOB_H
#define FASTEM_KMEANS_JOB_H

#include "shared/step.h"

/* K clusters, D features, n samples. Distances are those of (x - shift) * scale, in which the
 * longest row has a length of about 1; centers and sums are in the data's own coordinates. */
typedef struct {
    /* the data: dense rows, or CSR (then `x` is NULL, and the shift 0) */
    const char *x;               /* (n, D) float or double, features side by side */
    ptrdiff_t x_row;             /* bytes from row to row */
    const void *origin;          /* (D,) of x's type: the data are x - origin; NULL: they are x */
    const void *values;          /* (nnz,) */
    const int32_t *columns;      /* (nnz,) */
    const int32_t *row_begin;    /* (n + 1,) */
    const double *sample_weight; /* (n,), or NULL for ones */
    ptrdiff_t n_samples, n_features, n_clusters;
    const double *shift; /* (D,) */
    double scale;        /* a power of 2 */
    int by_product;      /* nearest is the center of the largest product x . c, whatever its length */
    /* the parameters, and where each sample was and is */
    const double *centers; /* (K, D); for CSR in any order, see below */
    int32_t *labels;       /* (n,) the nearest centers; before, the labels so far, -1 for none */
    int moves;             /* sums are of the rows whose label changes: with bounds always */
    /* bounds on distances, for samples whose label they can keep; n_groups 0: none */
    ptrdiff_t n_groups;
    const int32_t *group;     /* (K,) of each center */
    float *upper;             /* (n,) at least the distance to the sample's own center */
    float *lower;             /* (n, G) at most the distance to any other center of each group */
    int fresh;                /* there are no bounds so far */
    const float *drift;       /* (K,) at least what each center moved since then */
    const float *group_drift; /* (G,) the largest drift of a group */
    const float *other_drift; /* (K,) the largest drift of a center's group without itself */
    const float *gap;         /* (K,) at most half the distance to the nearest other center */
    double error;             /* squared distances that differ by more differ when computed, too */
    int guarded;              /* with sums: count the rows of which this leaves the nearest open */
    /* dense rows without groups of bounds: see margins.h */
    float *margin;      /* (n,) how much farther the second center is, at least; NULL: not kept */
    const float *moved; /* (K,) how much this may have shrunk since then; NULL: there are none yet */
    /* outputs of distances() */
    double *distance; /* (n,) squared distance of each sample to its center, or NULL */
    /* CSR only: see sparse.h. Steps are in elements, from center to center and so on. */
    ptrdiff_t center_step, feature_step; /* of `centers` */
    const double *norms;                 /* (K,) |c|^2, scaled */
    double longest;                      /* the largest |c|, scaled */
    double reach;                        /* no row is longer, scaled; INFINITY if nobody knows */
    ptrdiff_t width;                     /* K rounded up to whole vectors */
    const float *screen;                 /* (D, width) -2 c, scaled; NULL: double alone decides */
    const float *screen_norms;           /* (width,) norms, INFINITY past K */
    int32_t *before;                     /* (n,) is given the labels so far, or NULL */
    double *sums;                        /* what add_entries() adds to */
    ptrdiff_t sum_center_step, sum_feature_step;
    const double *cluster_weights; /* (width,) ones past K */
    float *screen_out;             /* as `screen`, or NULL */
    double *centers_out;
    ptrdiff_t out_center_step, out_feature_step;
} kmeans_job;

/* The leaf functions for one dtype and one instruction set: see shared/step.h. Sums of a strip: those
 * of the rows of each cluster (K, D), its weight (K,), the number of labels that changed, with
 * bounds how many pairs of a row and a group were searched (with margins, rows), and the rows that
 * `guarded` counts. */
typedef struct {
    const char *name;
    ptrdiff_t (*tables_bytes)(const kmeans_job *);
    fastem_prepare prepare; /* in one part */
    ptrdiff_t (*scratch_bytes)(const kmeans_job *);
    int (*keeps_margins)(const kmeans_job *); /* whether `margin` may be set */
    /* Writes labels; adds the rows to the sums if there are any, or the changes alone. */
    fastem_step chunk;
    /* Adds to sums[0] the weighted squared distances of rows to the centers of their labels. */
    fastem_step distances;
    /* The same two of rows about `origin`, to the bits of a copy of them. */
    fastem_step chunk_about, distances_about;
    /* CSR only; the last four work on features in place of rows. See sparse.h. */
    fastem_step label_sparse, add_entries, screen_features, move_centers, turn_centers;
    ptrdiff_t lanes; /* floats in a vector */
} kmeans_ops;

enum { KMEANS_CHUNK = 512, KMEANS_FEATURES = 16 };

const kmeans_ops *fastem_kmeans_ops(int level, int is_double);

#endif
