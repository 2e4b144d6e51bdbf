/* Stochastic EM, for one document: a template on the vector width (see vec.h), for float alone.
 *
 * Scratch of a thread: 1 / totals and totals, with their prior, which change between chunks alone;
 * a document's factor, p's running sums, and its counts by topic; all (width,). */
#include "omp_atomic.h"

typedef struct {
    float *inverse, *total, *factor, *running;
    int32_t *n_doc, *moved;
} FN(draw_scratch);

ALWAYS_INLINE FN(draw_scratch) FN(lay_draw_scratch)(const draw_job *job, void *scratch)
{
    float *f = scratch;
    int32_t *i = (int32_t *)(f + 4 * job->width);
    FN(draw_scratch) s = {f, f + job->width, f + 2 * job->width, f + 3 * job->width, i,
                          i + job->width};
    return s;
}

static void FN(draw_totals)(const draw_job *job, void *scratch)
{
    FN(draw_scratch) s = FN(lay_draw_scratch)(job, scratch);
    for (ptrdiff_t k = 0; k < job->width; k++) {
        s.total[k] = (float)((double)job->totals[k] + job->word_prior_sum);
        s.inverse[k] = 1 / s.total[k];
    }
}

/* Lane i of the result: the sum of lanes 0 to i. */
#if VEC_BYTES == 64
#define SHIFT(n, t)                                                                               \
    ((vec)_mm512_maskz_expand_ps((__mmask16)(0xffff << n), (__m512)(t)))
#elif VEC_BYTES
#define SHIFT(n, t) __builtin_shufflevector(FN(fill)(0), t, SHIFT_##n)
#if VEC_BYTES == 32
#define SHIFT_1 0, 8, 9, 10, 11, 12, 13, 14
#define SHIFT_2 0, 0, 8, 9, 10, 11, 12, 13
#define SHIFT_4 0, 0, 0, 0, 8, 9, 10, 11
#else
#define SHIFT_1 0, 4, 5, 6
#define SHIFT_2 0, 0, 4, 5
#endif
#endif
ALWAYS_INLINE vec FN(prefix_sums)(vec t)
{
#if VEC_BYTES
    t += SHIFT(1, t);
    t += SHIFT(2, t);
#if VEC_BYTES >= 32
    t += SHIFT(4, t);
#endif
#if VEC_BYTES >= 64
    t += SHIFT(8, t);
#endif
#endif
    return t;
}
#undef SHIFT
#undef SHIFT_1
#undef SHIFT_2
#undef SHIFT_4

/* -1 where lane l + at is `topic`, else 0. */
ALWAYS_INLINE ivec FN(minus_own)(ivec lanes, int32_t topic)
{
#if VEC_BYTES
    return lanes == topic;
#else
    return -(lanes == topic);
#endif
}

/* The lowest bit that is set; a loop would be mispredicted at every token. */
ALWAYS_INLINE ptrdiff_t FN(first_lane)(unsigned mask)
{
#ifdef __GNUC__
    return __builtin_ctz(mask);
#else
    ptrdiff_t lane = 0;
    while (!(mask & 1u << lane))
        lane++;
    return lane;
#endif
}

/* Draws the topic of a token: p_k = factor_k (N_wk - [k is own] + eta). The running sums of p go
 * down each lane of the vectors, and then from lane to lane; the order of topics in an inverse
 * distribution function is free. The sum of p is added to *sum. */
ALWAYS_INLINE int32_t FN(draw)(ptrdiff_t width, const float *factor, const int32_t *word, float eta,
                               int32_t own, float u, float *running, float *sum)
{
    float ends[1 + (VEC_BYTES ? VEC_BYTES / sizeof(float) : 1)], target, rest, last;
    int32_t order[VEC_BYTES ? VEC_BYTES / sizeof(float) : 1];
    ptrdiff_t lane, row = 0;
    vec acc = FN(fill)(0), along;
    ivec lanes;
    for (int l = 0; l < VL; l++)
        order[l] = l;
    memcpy(&lanes, order, sizeof lanes);
    for (ptrdiff_t k = 0; k < width; k += VL) {
        ivec n;
        memcpy(&n, word + k, sizeof n);
        n += FN(minus_own)(lanes, own - (int32_t)k);
        acc += FN(load)(factor + k) * (FN(to_real)(n) + eta);
        FN(store)(running + k, acc);
    }
    along = FN(prefix_sums)(acc);
    ends[0] = 0;
    FN(store)(ends + 1, along);
    *sum = ends[VL];
    target = u * ends[VL];
    lane = FN(first_lane)(FN(mask_greater)(along, FN(fill)(target)));
    rest = target - ends[lane];
    last = running[width - VL + lane];
    for (ptrdiff_t k = lane; k < width; k += VL)
        row += running[k] <= rest;
    if (row * VL == width) /* the sums along and down were rounded differently */
        for (row = 0; running[row * VL + lane] < last; row++)
            ;
    return (int32_t)(row * VL + lane);
}

static void FN(draw_document)(const draw_job *job, ptrdiff_t d, void *scratch)
{
    FN(draw_scratch) s = FN(lay_draw_scratch)(job, scratch);
    ptrdiff_t width = job->width;
    const float *alpha = job->doc_topic_prior;
    int64_t t = job->token_begin[d], end = job->token_begin[d + 1];
    float eta = (float)job->word_prior;
    double log_likelihood = 0, others = job->prior_sum;
    int known = t < end && job->topic[t] >= 0;
    memset(s.n_doc, 0, width * sizeof(int32_t));
    if (known) {
        others += (double)(end - t) - 1;
        for (int64_t i = t; i < end; i++)
            s.n_doc[job->topic[i]]++;
    }
    for (ptrdiff_t k = 0; k < width; k++)
        s.factor[k] = (alpha[k] + s.n_doc[k]) * s.inverse[k];
    for (int64_t i = job->doc_begin[d]; i < job->doc_begin[d + 1]; i++) {
        const int32_t *word = job->word_topic + job->word[i] * width;
        if (i + 1 < job->doc_begin[d + 1])
            for (ptrdiff_t k = 0; k < width; k += 16)
                PREFETCH(job->word_topic + job->word[i + 1] * width + k);
        for (int64_t stop = t + job->count[i]; t < stop; t++) {
            int32_t own = job->topic[t], drawn;
            float u = fastem_uniform(job->key, t), sum;
            if (known) {
                s.n_doc[own]--;
                s.factor[own] = (alpha[own] + s.n_doc[own]) / (s.total[own] - 1);
            }
            drawn = FN(draw)(width, s.factor, word, eta, own, u, s.running, &sum);
            if (known)
                s.factor[own] = (alpha[own] + s.n_doc[own]) * s.inverse[own];
            s.n_doc[drawn]++;
            s.factor[drawn] = (alpha[drawn] + s.n_doc[drawn]) * s.inverse[drawn];
            job->next[t] = drawn;
            if (job->log_likelihood) {
                log_likelihood += log(sum / others);
                others += !known;
            }
        }
    }
    if (job->log_likelihood)
        job->log_likelihood[d] = log_likelihood;
    if (job->histogram)
        for (ptrdiff_t k = 0; k < job->n_topics; k++)
            if (s.n_doc[k]) {
                ptrdiff_t n = s.n_doc[k] < job->longest ? s.n_doc[k] : job->longest;
                FASTEM_ATOMIC_ADD(job->histogram[k * (job->longest + 1) + n], 1);
            }
}

/* Brings what was drawn for document d into the counts. Integers add in any order. */
static void FN(draw_words)(const draw_job *job, ptrdiff_t d, void *scratch)
{
    FN(draw_scratch) s = FN(lay_draw_scratch)(job, scratch);
    int64_t t = job->token_begin[d];
    memset(s.moved, 0, job->width * sizeof(int32_t));
    for (int64_t i = job->doc_begin[d]; i < job->doc_begin[d + 1]; i++) {
        int32_t *word = job->word_topic + job->word[i] * job->width;
        for (int64_t stop = t + job->count[i]; t < stop; t++) {
            int32_t old = job->topic[t], drawn = job->next[t];
            if (old == drawn)
                continue;
            if (old >= 0) {
                FASTEM_ATOMIC_ADD(word[old], -1);
                s.moved[old]--;
            }
            FASTEM_ATOMIC_ADD(word[drawn], 1);
            s.moved[drawn]++;
            job->topic[t] = drawn;
        }
    }
    for (ptrdiff_t k = 0; k < job->n_topics; k++)
        if (s.moved[k])
            FASTEM_ATOMIC_ADD(job->totals[k], s.moved[k]);
}
