/* One pass over documents whose words' topics are kept, as tokens.pyx hands it to the leaf
 * functions. Rows of topics are `width` long: K rounded up to whole vectors, zeros past K. */
#ifndef FASTEM_TOKENS_JOB_H
#define FASTEM_TOKENS_JOB_H

#include <stddef.h>
#include <stdint.h>

/* Collapsed variational Bayes: every count has the probabilities of its topics. Reals are all float
 * or all double. */
typedef struct {
    ptrdiff_t n_topics, width;
    const int64_t *doc_begin;    /* (D + 1,) */
    const int32_t *word;         /* (nnz,) rows of word_topic */
    const void *count;           /* (nnz,) real */
    const double *doc_weight;    /* (D,), or NULL for ones */
    const void *doc_topic_prior; /* (width,) real */
    double word_prior, word_prior_sum;
    void *q;                     /* (nnz, width) real, or bfloat16; zeros before the first visit */
    int is_brief;                /* whether q is bfloat16, and the rest float */
    void *doc_topic;             /* (D, width) real: sum of count * q; zeros before the first visit */
    void *word_topic;            /* (V, width) real: sum of weight * count * q */
    double *log_likelihood;      /* (D,), or NULL */
    /* the chunk */
    void *change;                /* (counts of the chunk, width) real: weight * count * (new - old) */
    const int32_t *word_id;      /* words of all chunks, one chunk's after another's */
    const int64_t *word_begin;   /* where each of them begins in `position` */
    const int32_t *position;     /* (nnz,) where the count stands by document */
} cvb0_job;

/* Stochastic EM: every token has one topic. Reals are float: counts are exact, draws need no more. */
typedef struct {
    ptrdiff_t n_topics, width;
    const int64_t *doc_begin;     /* (D + 1,) */
    const int32_t *word;          /* (nnz,) rows of word_topic */
    const int32_t *count;         /* (nnz,) */
    const int64_t *token_begin;   /* (D + 1,) */
    const float *doc_topic_prior; /* (width,) */
    double word_prior, word_prior_sum, prior_sum;
    uint64_t key;                 /* of this pass's random numbers */
    const uint16_t *q;            /* (nnz, width) bfloat16: of which to draw; NULL: of the counts */
    int32_t *topic;               /* (tokens,) -1 before the first visit */
    int32_t *next;                /* (tokens,) what was drawn */
    int32_t *word_topic;          /* (V, width) */
    int64_t *totals;              /* (width,) */
    int32_t *histogram;           /* (n_topics, longest + 1): documents with a topic so often; or NULL */
    ptrdiff_t longest;
    double *log_likelihood;       /* (D,), or NULL */
} draw_job;

typedef struct {
    const char *name;
    ptrdiff_t lanes; /* reals in a vector */
    ptrdiff_t (*scratch_bytes)(ptrdiff_t width);
    /* Takes the totals over, changed by `strips` rows of changes if there are some. */
    void (*cvb0_totals)(const cvb0_job *, double *totals, const void *changes, ptrdiff_t strips,
                        void *scratch);
    /* New q of document d; `first` is where the chunk's counts begin. */
    void (*cvb0_document)(const cvb0_job *, ptrdiff_t d, int64_t first, void *scratch);
    /* Adds the changes of the chunk's words [begin, end) to word_topic; their sums over words. */
    void (*cvb0_words)(const cvb0_job *, ptrdiff_t begin, ptrdiff_t end, int64_t first, void *sums);
    /* The same for draws. */
    void (*draw_totals)(const draw_job *, void *scratch);
    void (*draw_documents)(const draw_job *, ptrdiff_t begin, ptrdiff_t end, void *scratch);
    void (*draw_words)(const draw_job *, ptrdiff_t d, void *scratch);
} tokens_ops;

/* Uniform number in [0, 1) of a counter (Steele, Lea & Flood 2014, SplitMix64): a multiple of 2^-23,
 * so that its product with any float is less than that. */
static inline uint64_t fastem_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline float fastem_uniform(uint64_t key, uint64_t counter)
{
    uint64_t x = fastem_mix(key + (counter + 1) * UINT64_C(0x9e3779b97f4a7c15));
    return (float)(int32_t)(x >> 41) * 1.1920928955078125e-7f;
}

const tokens_ops *fastem_tokens_ops(int level, int is_double);

#endif
