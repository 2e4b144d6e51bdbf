/* Passes of the topics' kernel that are more than one leaf function: see shared/pass.h. */
#ifndef FASTEM_TOPICS_PASSES_H
#define FASTEM_TOPICS_PASSES_H

#include <math.h>

#include "shared/pass.h"
#include "shared/psi.h"
#include "topics/gamma_stream.h"
#include "topics/job.h"

/* Documents whose first gammas are drawn while the pass runs, in order. */
typedef struct {
    const topics_job *job;
    fastem_step documents;
    gamma_rows *drawn;
    double *clock; /* time of the last look for Ctrl-C */
} topics_drawing;

static inline void topics_draw(const void *given, ptrdiff_t begin, ptrdiff_t n,
                               const fastem_strip *strip)
{
    const topics_drawing *own = given;
    while (!fastem_read(strip->stop) && !gamma_filled(own->drawn, begin + n))
        if (fastem_interrupted(own->clock))
            fastem_write(strip->stop, 1);
    if (!fastem_read(strip->stop))
        own->documents(own->job, begin, n, strip);
}

/* exp(digamma(sums + prior)): of the listed rows, `width` long; with no list of all, which are 1. */
typedef struct {
    const topics_ops *ops;
    const char *sums;
    char *out;
    double prior;
    ptrdiff_t width, size; /* bytes of a real */
    const int32_t *list;
} topics_digammas;

static inline void topics_exp_digamma(const void *given, ptrdiff_t begin, ptrdiff_t n,
                                      const fastem_strip *strip)
{
    const topics_digammas *own = given;
    ptrdiff_t row = own->width * own->size;
    (void)strip;
    if (own->list == NULL)
        own->ops->exp_digamma(own->sums + begin * row, own->prior, n, own->out + begin * row);
    for (ptrdiff_t i = begin; own->list && i < begin + n; i++) {
        ptrdiff_t at = own->list[i] * row;
        own->ops->exp_digamma(own->sums + at, own->prior, own->width, own->out + at);
    }
}

/* What the bound says of documents whose topics are Dirichlet(gamma). */
typedef struct {
    const topics_ops *ops; /* of doubles */
    const void *gamma;     /* (D, row) floats or doubles */
    int is_double, learn;
    ptrdiff_t n_topics, row, width; /* width: n_topics rounded up to whole vectors */
    const double *prior, *least;    /* (width,) alpha, ones past K; its terms were gamma alpha */
    double prior_total;
    const double *log_likelihood, *n_tokens; /* (D,) */
    const double *weight;                    /* (D,), or NULL for ones */
} topics_bounding;

/* log Gamma(end) - log Gamma(x), where end is x + rise, with the digits of the rise: log Gamma of a
 * large x alone has fewer (Abramowitz & Stegun 6.1.41). */
static inline double topics_log_gamma_rise(double x, double end, double rise)
{
    double z = 1 / x, y = 1 / end;
    if (x < 100)
        return lgamma(end) - lgamma(x);
    return (x - 0.5) * log1p(rise / x) + rise * (log(end) - 1) +
           y * (1.0 / 12 - y * y * (1.0 / 360 - y * y / 1260)) -
           z * (1.0 / 12 - z * z * (1.0 / 360 - z * z / 1260));
}

/* Sums: the bound; to learn, the weight of the documents with words and, for each topic, their sum
 * of E[log theta]. Scratch: two rows. */
static inline void topics_bound_documents(const void *given, ptrdiff_t begin, ptrdiff_t n,
                                          const fastem_strip *strip)
{
    const topics_bounding *own = given;
    ptrdiff_t n_topics = own->n_topics, width = own->width;
    double *gamma = strip->scratch, *terms = gamma + width;
    for (ptrdiff_t d = begin; d < begin + n; d++) {
        double weight = own->weight ? own->weight[d] : 1, total = 0, rise = 0, value = 0;
        double psi;
        for (ptrdiff_t k = 0; k < width; k++) {
            ptrdiff_t at = d * own->row + k;
            gamma[k] = 1;
            if (k < n_topics)
                gamma[k] = own->is_double ? ((const double *)own->gamma)[at]
                                          : ((const float *)own->gamma)[at];
            terms[k] = 0;
        }
        own->ops->dirichlet_terms(gamma, own->prior, width, terms);
        /* Beside a large prior a document says little: topic by topic, so that it is not lost. */
        for (ptrdiff_t k = 0; k < n_topics; k++) {
            total += gamma[k];
            rise += gamma[k] - own->prior[k];
            value += terms[k] - own->least[k];
        }
        psi = fastem_psi(total);
        /* exp(digamma(gamma)) was not divided by that of the total */
        value += (rise - own->n_tokens[d]) * psi + own->log_likelihood[d] -
                 topics_log_gamma_rise(own->prior_total, total, rise);
        strip->sums[0] += weight * value;
        if (!own->learn || !(own->n_tokens[d] > 0))
            continue;
        strip->sums[1] += weight;
        for (ptrdiff_t k = 0; k < n_topics; k++)
            strip->sums[2 + k] += weight * (fastem_psi(gamma[k]) - psi);
    }
}

#endif
