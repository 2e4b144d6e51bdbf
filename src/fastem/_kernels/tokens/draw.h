/* Stochastic EM, for some documents: a template on the vector width (see vec.h), for float alone.
 *
 * A token waits for the one before it in its document, and for much longer than its instructions
 * take: tokens of SLOTS documents take turns.
 *
 * Scratch of a thread: 1 / totals and totals, with their prior, which change between chunks alone;
 * and for each slot its document's factor, p's running sums, and its counts by topic; all (width,).
 * Afterwards the counts are what was moved. */
#include "shared/atomic.h"

#ifndef SLOTS
#define SLOTS 2 /* scratch_bytes has room for so many */
#endif

typedef struct {
    float *inverse, *total, *slots;
    int32_t *moved;
} FN(draw_scratch);

typedef struct {
    ptrdiff_t d;
    int64_t i, t, stop, end; /* the count; the token, and where its count and its document end */
    const int32_t *word;     /* the count's row of word_topic */
    int known;               /* whether the tokens have topics */
    float *factor, *running;
    int32_t *n_doc;
    double log_likelihood, others;
} FN(draw_slot);

ALWAYS_INLINE FN(draw_scratch) FN(lay_draw_scratch)(const draw_job *job, void *scratch)
{
    float *f = scratch;
    FN(draw_scratch) s = {f, f + job->width, f + 2 * job->width, (int32_t *)(f + 2 * job->width)};
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

/* p[k] = value, by a whole vector: a load of the vector would wait for a store of one number to have
 * reached the cache, and so would all that follows. */
ALWAYS_INLINE void FN(set_lane)(float *p, ptrdiff_t k, float value)
{
    float *row = p + k / VL * VL;
#if VEC_BYTES == 64
    __mmask16 lane = (__mmask16)1 << (k % VL);
    FN(store)(row, (vec)_mm512_mask_blend_ps(lane, (__m512)FN(load)(row), _mm512_set1_ps(value)));
#elif VEC_BYTES
    static const int32_t order[] = {0, 1, 2, 3, 4, 5, 6, 7};
    ivec lanes;
    memcpy(&lanes, order, sizeof lanes);
    lanes = lanes == (int32_t)(k % VL);
    FN(store)(row, FN(select)(lanes, FN(fill)(value), FN(load)(row)));
#else
    *row = value;
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

/* Draws a topic with running sums of p, which go down each lane of the vectors, and then from lane to
 * lane: the order of topics in an inverse distribution function is free. `acc` are the last ones. */
ALWAYS_INLINE int32_t FN(pick)(ptrdiff_t width, const float *running, vec acc, float u, float *sum)
{
    /* 0, and `along` as a whole vector, for the same reason */
    AT_A_LINE float memory[2 * (VEC_BYTES ? VEC_BYTES / sizeof(float) : 1)];
    float *ends = memory + VL - 1;
    float target, rest, last;
    ptrdiff_t lane, row = 0;
    unsigned beyond;
    vec along = FN(prefix_sums)(acc);
    ends[0] = 0;
    FN(store)(ends + 1, along);
    *sum = ends[VL];
    target = u * ends[VL];
    beyond = FN(mask_greater)(along, FN(fill)(target));
    if (!beyond) /* p is too small for a float in all topics */
        return 0;
    lane = FN(first_lane)(beyond);
    rest = target - ends[lane];
    last = running[width - VL + lane];
    for (ptrdiff_t k = lane; k < width; k += VL)
        row += running[k] <= rest;
    if (row * VL == width) /* the sums along and down were rounded differently */
        for (row = 0; running[row * VL + lane] < last; row++)
            ;
    return (int32_t)(row * VL + lane);
}

/* Draws the topic of a token: p_k = factor_k (N_wk + eta), whose sum is *sum. */
ALWAYS_INLINE int32_t FN(draw)(ptrdiff_t width, const float *factor, const int32_t *word, float eta,
                               float u, float *running, float *sum)
{
    vec acc = FN(fill)(0);
    for (ptrdiff_t k = 0; k < width; k += VL) {
        ivec n;
        memcpy(&n, word + k, sizeof n);
        acc += FN(load)(factor + k) * (FN(to_real)(n) + eta);
        FN(store)(running + k, acc);
    }
    return FN(pick)(width, running, acc, u, sum);
}

/* Draws the topics of a document's tokens from what q says of each count. */
static void FN(draw_from_q)(const draw_job *job, ptrdiff_t d, float *running)
{
    int64_t t = job->token_begin[d];
    for (int64_t i = job->doc_begin[d]; i < job->doc_begin[d + 1]; i++) {
        const uint16_t *q = job->q + i * job->width;
        vec acc = FN(fill)(0);
        for (ptrdiff_t k = 0; k < job->width; k += VL) {
            acc += FN(load_brief)(q + k);
            FN(store)(running + k, acc);
        }
        for (int64_t stop = t + job->count[i]; t < stop; t++) {
            float sum;
            job->next[t] = FN(pick)(job->width, running, acc, fastem_uniform(job->key, t), &sum);
        }
    }
}

/* Goes to the count of the document's next token, from count i on: counts may be stored zeros. */
ALWAYS_INLINE void FN(go_to_count)(const draw_job *job, FN(draw_slot) *slot, int64_t i)
{
    while (job->count[i] == 0)
        i++;
    slot->i = i;
    slot->stop = slot->t + job->count[i];
    slot->word = job->word_topic + job->word[i] * job->width;
    if (i + 1 < job->doc_begin[slot->d + 1])
        for (ptrdiff_t k = 0; k < job->width; k += 16)
            PREFETCH(job->word_topic + job->word[i + 1] * job->width + k);
}

/* Goes to the next document that has tokens; returns 0 if there is none before `end`. */
static int FN(go_to_document)(const draw_job *job, FN(draw_scratch) s, FN(draw_slot) *slot,
                              ptrdiff_t *next, ptrdiff_t end)
{
    const float *alpha = job->doc_topic_prior;
    for (;; ++*next) {
        if (*next == end) {
            slot->t = slot->end = 0;
            return 0;
        }
        if (job->token_begin[*next] < job->token_begin[*next + 1])
            break;
        if (job->log_likelihood)
            job->log_likelihood[*next] = 0;
    }
    slot->d = (*next)++;
    slot->t = job->token_begin[slot->d];
    slot->end = job->token_begin[slot->d + 1];
    slot->known = job->topic[slot->t] >= 0;
    slot->log_likelihood = 0;
    slot->others = job->prior_sum;
    memset(slot->n_doc, 0, job->width * sizeof(int32_t));
    if (slot->known) {
        slot->others += (double)(slot->end - slot->t) - 1;
        for (int64_t t = slot->t; t < slot->end; t++)
            slot->n_doc[job->topic[t]]++;
    }
    for (ptrdiff_t k = 0; k < job->width; k++)
        slot->factor[k] = (alpha[k] + slot->n_doc[k]) * s.inverse[k];
    FN(go_to_count)(job, slot, job->doc_begin[slot->d]);
    return 1;
}

static void FN(leave_document)(const draw_job *job, const FN(draw_slot) *slot)
{
    if (job->log_likelihood)
        job->log_likelihood[slot->d] = slot->log_likelihood;
    if (job->histogram)
        for (ptrdiff_t k = 0; k < job->n_topics; k++)
            if (slot->n_doc[k]) {
                ptrdiff_t n = slot->n_doc[k] < job->longest ? slot->n_doc[k] : job->longest;
                FASTEM_ATOMIC_ADD(job->histogram[k * (job->longest + 1) + n], 1);
            }
}

/* Draws the topic of a token; returns whether the document has more. */
ALWAYS_INLINE int FN(draw_token)(const draw_job *job, FN(draw_scratch) s, FN(draw_slot) *slot)
{
    const float *alpha = job->doc_topic_prior;
    float *factor = slot->factor, eta = (float)job->word_prior, sum;
    int32_t *n_doc = slot->n_doc, own = job->topic[slot->t], drawn;
    float u = fastem_uniform(job->key, slot->t);
    if (slot->known) { /* without itself, among the word's counts, too */
        int32_t n = slot->word[own];
        n_doc[own]--;
        FN(set_lane)(factor, own, (alpha[own] + n_doc[own]) * ((float)(n - 1) + eta) /
                                      ((s.total[own] - 1) * ((float)n + eta)));
    }
    drawn = FN(draw)(job->width, factor, slot->word, eta, u, slot->running, &sum);
    if (slot->known)
        FN(set_lane)(factor, own, (alpha[own] + n_doc[own]) * s.inverse[own]);
    n_doc[drawn]++;
    FN(set_lane)(factor, drawn, (alpha[drawn] + n_doc[drawn]) * s.inverse[drawn]);
    job->next[slot->t] = drawn;
    if (job->log_likelihood) {
        slot->log_likelihood += log(sum / slot->others);
        slot->others += !slot->known;
    }
    if (++slot->t == slot->end)
        return 0;
    if (slot->t == slot->stop)
        FN(go_to_count)(job, slot, slot->i + 1);
    return 1;
}

/* Draws the topics of documents [begin, end). */
static void FN(draw_documents)(const draw_job *job, ptrdiff_t begin, ptrdiff_t end, void *scratch)
{
    FN(draw_scratch) s = FN(lay_draw_scratch)(job, scratch);
    FN(draw_slot) slots[SLOTS];
    ptrdiff_t next = begin, width = job->width;
    int busy = 0;
    if (job->q) {
        for (ptrdiff_t d = begin; d < end; d++)
            FN(draw_from_q)(job, d, s.slots);
        return;
    }
    for (int n = 0; n < SLOTS; n++) {
        slots[n].factor = s.slots + 3 * n * width;
        slots[n].running = slots[n].factor + width;
        slots[n].n_doc = (int32_t *)(slots[n].running + width);
        busy += FN(go_to_document)(job, s, &slots[n], &next, end);
    }
    while (busy == SLOTS)
        for (int n = 0; n < SLOTS; n++)
            if (!FN(draw_token)(job, s, &slots[n])) {
                FN(leave_document)(job, &slots[n]);
                busy -= !FN(go_to_document)(job, s, &slots[n], &next, end);
            }
    for (int n = 0; n < SLOTS; n++)
        if (slots[n].t < slots[n].end) {
            while (FN(draw_token)(job, s, &slots[n]))
                ;
            FN(leave_document)(job, &slots[n]);
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
