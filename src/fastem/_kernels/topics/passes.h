/* Passes of the topics' kernel that are more than one leaf function: see shared/pass.h. */
#ifndef FASTEM_TOPICS_PASSES_H
#define FASTEM_TOPICS_PASSES_H

#include "shared/pass.h"
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

#endif
