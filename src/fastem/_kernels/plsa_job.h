/* One pass of PLSA over a block of documents, as plsa.pyx hands it to the leaf functions. */
#ifndef FASTEM_PLSA_JOB_H
#define FASTEM_PLSA_JOB_H

#include <stddef.h>
#include <stdint.h>

/* D documents, V words, K topics; rows of topics are `width` long: K rounded up to whole vectors,
 * zeros past K. Reals are all float or all double. */
typedef struct {
    ptrdiff_t n_topics, width;
    /* the counts by document (CSR) and by word: the pattern's transpose */
    const int64_t *doc_begin;  /* (D + 1,) */
    const int32_t *word;       /* (nnz,) */
    const void *count;         /* (nnz,) real */
    const int64_t *word_begin; /* (V + 1,) */
    const int32_t *doc;        /* (nnz,) */
    const int32_t *position;   /* (nnz,) where the count stands by document */
    const double *doc_weight;  /* (D,), or NULL for ones */
    /* the parameters */
    const void *doc_topic;     /* (D, width) real: p(z|d) */
    const void *word_topic;    /* (V, width) real: p(w|z), by word */
    /* what comes out */
    void *ratio;               /* (nnz,) real: weight * count / sum_z p(w|z) p(z|d), or NULL */
    void *new_doc_topic;       /* (D, width) real */
    void *sums;                /* (V, width) real: sum_d weight * count * p(z|d,w) */
    double *log_likelihood;    /* (D,), or NULL: sum_w count * log p(w|d) */
    double doc_prior;          /* pseudo-count added to each topic of a document */
    ptrdiff_t max_sweeps;      /* E-steps of one document after another, at least 1 */
    double tol;                /* a document is done when sum_z |change of p(z|d)| is below it */
} plsa_job;

typedef struct {
    const char *name;
    ptrdiff_t lanes; /* reals in a vector */
    ptrdiff_t (*scratch_bytes)(const plsa_job *);
    /* E-step of documents [first, last): ratio, new_doc_topic, log_likelihood. */
    void (*documents)(const plsa_job *, ptrdiff_t first, ptrdiff_t last, void *scratch);
    /* Sums of words [first, last) from the ratios; adds them over words to totals (K,). */
    void (*words)(const plsa_job *, ptrdiff_t first, ptrdiff_t last, void *scratch, double *totals);
} plsa_ops;

extern const plsa_ops fastem_plsa_base[2]; /* [0]: float, [1]: double */
extern const plsa_ops fastem_plsa_v3[2];
extern const plsa_ops fastem_plsa_v4[2];

#endif
