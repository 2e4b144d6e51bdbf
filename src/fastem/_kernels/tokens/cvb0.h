/* Collapsed variational Bayes, zero order, for one document and for the words of one chunk. A
 * template on REAL and the vector width: see vec.h.
 *
 * Scratch of a thread: the totals with their prior, in REAL (width,) and in double (width,), and p
 * (width,). They change between chunks alone, in the same way in every thread. */

#define AHEAD 4 /* counts: another core may have changed the row */

static ptrdiff_t FN(scratch_bytes)(ptrdiff_t width)
{
    return width * (4 * sizeof(double) + 2 * sizeof(REAL)) + 64; /* draws: 2 + 3 SLOTS floats */
}

static void FN(cvb0_totals)(const cvb0_job *job, double *totals, const void *changes,
                            ptrdiff_t strips, void *scratch)
{
    REAL *total = scratch;
    double *exact = (double *)(total + 2 * job->width);
    for (ptrdiff_t k = 0; k < job->width; k++) {
        double sum = changes ? exact[k] : k < job->n_topics ? totals[k] : 0;
        for (ptrdiff_t strip = 0; strip < strips; strip++)
            sum += ((const REAL *)changes)[strip * job->width + k];
        exact[k] = sum;
        total[k] = sum + job->word_prior_sum;
        if (totals && k < job->n_topics)
            totals[k] = sum;
    }
}

/* q is a count's row of reals or, to halve what is read and written, of bfloat16. */
ALWAYS_INLINE vec FN(load_q)(const void *q, ptrdiff_t k, int is_brief)
{
#ifdef REAL_IS_FLOAT
    if (is_brief)
        return FN(load_brief)((const uint16_t *)q + k);
#endif
    (void)is_brief;
    return FN(load)((const REAL *)q + k);
}

/* Returns what it stores. */
ALWAYS_INLINE vec FN(store_q)(void *q, ptrdiff_t k, int is_brief, vec value)
{
#ifdef REAL_IS_FLOAT
    if (is_brief) {
        FN(store_brief)((uint16_t *)q + k, value);
        return FN(load_brief)((const uint16_t *)q + k);
    }
#endif
    (void)is_brief;
    FN(store)((REAL *)q + k, value);
    return value;
}

/* p_k = (n_dk - q_k + alpha_k) (N_wk - q_k + eta) / (N_k - q_k + V eta), q_k times what a token is
 * in these sums: `own` in the document's, `own_word` in the words'. Returns the sum of p, in every
 * lane: the next count waits for it. */
ALWAYS_INLINE vec FN(cvb0_probabilities)(ptrdiff_t width, const void *q, int is_brief,
                                          const REAL *doc, const REAL *alpha, const REAL *word,
                                          const REAL *total, REAL eta, REAL own, REAL own_word,
                                          REAL *p)
{
    vec sum = FN(fill)(0), zero = FN(fill)(0);
    for (ptrdiff_t k = 0; k < width; k += VL) {
        vec old = FN(load_q)(q, k, is_brief), in_words = own_word * old;
        /* rounding must not leave less than nothing */
        vec in_doc = FN(max)(FN(load)(doc + k) - own * old, zero) + FN(load)(alpha + k);
        vec of_word = FN(max)(FN(load)(word + k) - in_words, zero) + eta;
        vec value = in_doc * of_word / (FN(load)(total + k) - in_words);
        FN(store)(p + k, value);
        sum += value;
    }
    return FN(sum_all)(sum);
}

ALWAYS_INLINE void FN(cvb0_visit)(const cvb0_job *job, ptrdiff_t d, int64_t first, void *scratch,
                                 int is_brief)
{
    ptrdiff_t width = job->width;
    const REAL *count = job->count, *alpha = job->doc_topic_prior, *total = scratch;
    const REAL *words = job->word_topic;
    REAL *p = (REAL *)scratch + width, *doc = (REAL *)job->doc_topic + d * width;
    REAL weight = job->doc_weight ? (REAL)job->doc_weight[d] : 1;
    REAL eta = (REAL)job->word_prior, copies = weight < 1 ? weight : 1;
    double tokens = 0, prior = 0, log_likelihood = 0;
    vec zero = FN(fill)(0);
    int known;
    if (weight == 0) {
        memset((REAL *)job->change + (job->doc_begin[d] - first) * width, 0,
               (job->doc_begin[d + 1] - job->doc_begin[d]) * width * sizeof(REAL));
        return;
    }
    for (ptrdiff_t k = 0; k < job->n_topics; k++) {
        tokens += doc[k];
        prior += alpha[k];
    }
    known = tokens > 0;
    for (int64_t i = job->doc_begin[d], end = job->doc_begin[d + 1]; i < end; i++) {
        REAL n = count[i], own = n < 1 ? n : 1;
        vec sum, inverse;
        void *q = (char *)job->q + i * width * (is_brief ? sizeof(uint16_t) : sizeof(REAL));
        REAL *change = (REAL *)job->change + (i - first) * width;
        if (i + AHEAD < end)
            for (ptrdiff_t k = 0; k < width; k += 64 / sizeof(REAL))
                PREFETCH(words + job->word[i + AHEAD] * width + k);
        sum = FN(cvb0_probabilities)(width, q, is_brief, doc, alpha, words + job->word[i] * width,
                                     total, eta, own, copies * own, p);
        if (job->log_likelihood) {
            REAL all;
            memcpy(&all, &sum, sizeof all);
            log_likelihood += n * log(all / (tokens - (known ? own : 0) + prior));
            tokens += known ? 0 : n;
        }
        inverse = FN(select)((ivec)(sum > zero), 1 / sum, zero);
        for (ptrdiff_t k = 0; k < width; k += VL) {
            vec old = FN(load_q)(q, k, is_brief);
            vec moved = n * (FN(store_q)(q, k, is_brief, FN(load)(p + k) * inverse) - old);
            FN(store)(doc + k, FN(load)(doc + k) + moved);
            FN(store)(change + k, weight * moved);
        }
    }
    if (job->log_likelihood)
        job->log_likelihood[d] = log_likelihood;
}

static void FN(cvb0_document)(const cvb0_job *job, ptrdiff_t d, int64_t first, void *scratch)
{
#ifdef REAL_IS_FLOAT
    if (job->is_brief) {
        FN(cvb0_visit)(job, d, first, scratch, 1);
        return;
    }
#endif
    FN(cvb0_visit)(job, d, first, scratch, 0);
}

static void FN(cvb0_words)(const cvb0_job *job, ptrdiff_t begin, ptrdiff_t end, int64_t first,
                           void *sums)
{
    ptrdiff_t width = job->width;
    memset(sums, 0, width * sizeof(REAL));
    for (ptrdiff_t w = begin; w < end; w++) {
        REAL *row = (REAL *)job->word_topic + job->word_id[w] * width;
        for (ptrdiff_t k = 0; k < width; k += VL) {
            const REAL *changes = (const REAL *)job->change + k;
            vec change = FN(fill)(0);
            for (int64_t i = job->word_begin[w]; i < job->word_begin[w + 1]; i++)
                change += FN(load)(changes + (job->position[i] - first) * width);
            FN(store)(row + k, FN(max)(FN(load)(row + k) + change, FN(fill)(0)));
            FN(store)((REAL *)sums + k, FN(load)((REAL *)sums + k) + change);
        }
    }
}
