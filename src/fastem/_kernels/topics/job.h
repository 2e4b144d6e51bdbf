/* One pass over counts of words in documents, as topics.pyx hands it to the leaf functions. */
#ifndef FASTEM_TOPICS_JOB_H
#define FASTEM_TOPICS_JOB_H

#include "shared/step.h"

/* D documents, V words, K topics; rows of topics are `width` long: K rounded up to whole vectors,
 * zeros past K. Reals are all float or all double. The probability of a word in a document is
 *
 *     p(w|d) = sum_z theta_dz phi_wz,    phi_wz = (S_wz + word_prior) scale_z
 *
 * so that topics need not be normalised: S are the sums of the last M-step, scale 1 / their totals.
 */
typedef struct {
    ptrdiff_t n_topics, width;
    /* the counts by document (CSR), and by word: the pattern's transpose */
    const int64_t *doc_begin;  /* (D + 1,) */
    ptrdiff_t longest;         /* the most different words in a document */
    const int32_t *word;       /* (nnz,) rows of S */
    const void *count;         /* (nnz,) real */
    const int64_t *word_begin; /* (W + 1,) the words that occur here */
    const int32_t *doc;        /* (nnz,) */
    const int32_t *position;   /* (nnz,) where the count stands by document */
    const int32_t *word_id;    /* (W,) their rows of S */
    const double *doc_weight;  /* (D,), or NULL for ones */
    /* the parameters */
    void *doc_topic;           /* (D, width) real: theta; before the last sweep, on return */
    const void *topics;        /* (V, width) real: S */
    const void *scale;         /* (width,) real */
    double word_prior;         /* pseudo-count of each word in a topic */
    double doc_prior;          /* pseudo-count of each topic in a document */
    double power;              /* E-steps by document see theta^power */
    /* latent Dirichlet allocation, else NULL: theta is exp(digamma(gamma)), and comes out */
    void *gamma;               /* (D, width) real: Dirichlet parameters of the documents' topics */
    const void *doc_topic_prior; /* (width,) real */
    double least_theta;        /* what exp(digamma(gamma)) is at least: see dirichlet_e_step */
    ptrdiff_t max_sweeps;      /* E-steps of one document after another, at least 1 */
    double tol;                /* a document is done when sum_z |change of theta (gamma)| is below */
    double relax;              /* over-relaxation: what rises rises by 1 + relax times as much */
    double momentum;           /* how often the rise of theta since last_doc_topic is added to it */
    const void *last_doc_topic; /* (D, width) real: `unrelaxed` of the last visit, or NULL: neither
                                 * relax nor momentum */
    /* what comes out */
    void *unrelaxed;           /* (D, width) real: new theta before relax and momentum */
    void *ratio;               /* (nnz,) real: weight * count / p(w|d), or NULL */
    void *new_doc_topic;       /* (D, width) real: after the last sweep, or NULL */
    void *sums;                /* (W, width) real: sum_d weight * count * p(z|d,w) */
    int all_words;             /* sums are (V, width), and only rows word_id are written */
    void *total;               /* (V, width) real, may be S itself: the old sums, found in `sums`, are
                                * replaced by the new ones in it; or NULL */
    double *log_likelihood;    /* (D,), or NULL: sum_w count * log p(w|d) */
} topics_job;

typedef struct {
    const char *name;
    ptrdiff_t lanes; /* reals in a vector */
    ptrdiff_t (*scratch_bytes)(const topics_job *);
    /* E-step of documents: ratio, new_doc_topic, log_likelihood. */
    fastem_step documents;
    /* row = exp(digamma(sums + prior)) for n reals, which must be above 0. */
    void (*exp_digamma)(const void *sums, double prior, ptrdiff_t n, void *row);
    /* Sums of words from the ratios. What a strip sums (K,) are their totals over words, or with a
     * total to replace them in, their changes. */
    fastem_step words;
    /* Adds terms of the bound: see topics/bound.h. Doubles in both tables. */
    void (*dirichlet_terms)(const double *posterior, const double *prior, ptrdiff_t n, double *acc);
} topics_ops;

const topics_ops *fastem_topics_ops(int level, int is_double);

#endif
