/* Topics of some documents or sums of some words. A template on REAL and the vector width: vec.h.
 *
 * Both passes are made of the same two loops over rows of topics, VL rows at a time:
 *
 *     dot_rows    s_j  = sum_z theta_dz scale_z S_jz       p(w_j|d) for VL words of a document
 *     add_rows    acc += sum_j c_j row_j                   c_j = count_j / s_j
 *
 * with acc a document's (rows of words) or a word's (rows of documents).
 */
#include "digamma.h"
#include "topic_rows.h"

static ptrdiff_t FN(scratch_bytes)(const topics_job *job)
{
    return (2 * job->width + 64) * sizeof(REAL);
}

ALWAYS_INLINE REAL FN(sum_row)(ptrdiff_t width, const REAL *row)
{
    REAL lanes[ROWS], sum = 0;
    vec total = FN(fill)(0);
    for (ptrdiff_t k = 0; k < width; k += VL)
        total += FN(load)(row + k);
    FN(store)(lanes, total);
    for (ptrdiff_t l = 0; l < VL; l++)
        sum += lanes[l];
    return sum;
}

/* row += relax * what it lies above old. */
ALWAYS_INLINE void FN(relax_row)(ptrdiff_t width, REAL relax, const REAL *old, REAL *row)
{
    for (ptrdiff_t k = 0; k < width; k += VL) {
        vec value = FN(load)(row + k), rise = value - FN(load)(old + k);
        FN(store)(row + k, value + relax * FN(max)(rise, FN(fill)(0)));
    }
}

/* new_theta = normalised (scaled * acc + prior), equal probabilities if that is 0; what rises above
 * theta is relaxed, and the row normalised again. */
static void FN(finish_document)(const topics_job *job, const REAL *theta, const REAL *scaled,
                                const REAL *acc, REAL *new_theta)
{
    ptrdiff_t width = job->width, n_topics = job->n_topics;
    for (ptrdiff_t k = 0; k < width; k += VL)
        FN(store)(new_theta + k,
                  FN(load)(scaled + k) * FN(load)(acc + k) + (REAL)job->doc_prior);
    for (ptrdiff_t k = n_topics; k < width; k++)
        new_theta[k] = 0;
    for (int relaxed = 0;; relaxed = 1) {
        REAL total = FN(sum_row)(width, new_theta);
        for (ptrdiff_t k = 0; total > 0 && k < width; k += VL)
            FN(store)(new_theta + k, FN(load)(new_theta + k) / total);
        for (ptrdiff_t k = 0; !(total > 0) && k < n_topics; k++)
            new_theta[k] = 1 / (REAL)n_topics;
        if (relaxed || !(job->relax > 0))
            return;
        FN(relax_row)(width, (REAL)job->relax, theta, new_theta);
    }
}

/* Whether sum |a - b| is less than tol. */
static int FN(is_near)(ptrdiff_t n, const REAL *a, const REAL *b, double tol)
{
    double change = 0;
    for (ptrdiff_t k = 0; k < n; k++)
        change += fabs((double)a[k] - (double)b[k]);
    return change < tol;
}

/* One E-step of document d: scaled = theta * scale, acc = sum_w count_w / p(w|d) (S_w + prior), if
 * acc is not NULL; the ratios, if ratio is not; the log-likelihood. */
static double FN(document)(const topics_job *job, ptrdiff_t d, const REAL *theta, REAL *scaled,
                           REAL *acc, REAL *ratio, int with_logs)
{
    const REAL *count = job->count, *topics = job->topics, *scale = job->scale;
    REAL weight = job->doc_weight ? (REAL)job->doc_weight[d] : 1;
    REAL prior = (REAL)job->word_prior, from_prior = 0, sums[ROWS];
    double log_likelihood = 0;
    vec total = FN(fill)(0);
    for (ptrdiff_t k = 0; k < job->width; k++)
        scaled[k] = theta[k] * scale[k];
    if (acc)
        memset(acc, 0, job->width * sizeof(REAL));
    if (prior > 0)
        for (ptrdiff_t k = 0; k < job->n_topics; k++)
            from_prior += prior * scaled[k];
    for (int64_t begin = job->doc_begin[d]; begin < job->doc_begin[d + 1]; begin += VL) {
        ptrdiff_t n = job->doc_begin[d + 1] - begin;
        const REAL *rows[ROWS];
        REAL c[ROWS];
        vec counts, dots, ratios;
        ivec known;
        n = n < VL ? n : VL;
        for (ptrdiff_t j = 0; j < VL; j++) { /* past the end: the last row, 0 times */
            rows[j] = topics + job->word[begin + (j < n ? j : n - 1)] * job->width;
            c[j] = j < n ? count[begin + j] : 0;
        }
        counts = FN(load)(c);
        dots = FN(dot_rows)(job->width, scaled, rows) + from_prior;
        /* A word that no topic of the document has tells nothing about it. */
        known = (ivec)(dots > FN(fill)(SMALLEST));
        dots = FN(max)(dots, FN(fill)(SMALLEST));
        ratios = FN(select)(known, counts / dots, FN(fill)(0));
        FN(store)(c, ratios);
        total += ratios;
        if (with_logs) {
            REAL logs[ROWS];
            FN(store)(logs, counts * FN(log)(dots));
            for (ptrdiff_t j = 0; j < n; j++)
                log_likelihood += logs[j];
        }
        if (acc)
            FN(add_rows)(job->width, n, c, rows, acc);
        if (ratio)
            for (ptrdiff_t j = 0; j < n; j++)
                ratio[begin + j] = weight * c[j];
    }
    FN(store)(sums, total);
    if (acc && prior > 0)
        for (ptrdiff_t j = 0; j < VL; j++)
            for (ptrdiff_t k = 0; k < job->n_topics; k++)
                acc[k] += prior * sums[j];
    return log_likelihood;
}

/* E-steps of document d of PLSA. */
static void FN(plsa_document)(const topics_job *job, ptrdiff_t d, REAL *scaled, REAL *acc)
{
    ptrdiff_t row = d * job->width;
    REAL *theta = (REAL *)job->doc_topic + row;
    REAL *new_theta = job->new_doc_topic ? (REAL *)job->new_doc_topic + row : NULL;
    int with_logs = job->log_likelihood != NULL;
    for (ptrdiff_t sweep = 1; sweep <= job->max_sweeps; sweep++) {
        double log_likelihood = FN(document)(job, d, theta, scaled, acc, job->ratio, with_logs);
        if (with_logs)
            job->log_likelihood[d] = log_likelihood;
        if (!new_theta)
            break;
        FN(finish_document)(job, theta, scaled, acc, new_theta);
        if (sweep == job->max_sweeps || FN(is_near)(job->n_topics, theta, new_theta, job->tol))
            break;
        memcpy(theta, new_theta, job->width * sizeof(REAL));
    }
}

/* theta = exp(digamma(gamma)), least_theta at least. */
static void FN(expected_theta)(const topics_job *job, const REAL *gamma, REAL *theta)
{
    FN(exp_digamma_row)(gamma, 0, job->n_topics, theta);
    for (ptrdiff_t k = 0; job->least_theta > 0 && k < job->n_topics; k++)
        theta[k] = theta[k] > (REAL)job->least_theta ? theta[k] : (REAL)job->least_theta;
}

/* E-steps of document d of LDA (Blei, Ng & Jordan 2003, figure 6), in which gamma is
 * prior + theta * acc; the last one only for the ratios and the logarithms. */
static void FN(lda_document)(const topics_job *job, ptrdiff_t d, REAL *scaled, REAL *acc)
{
    ptrdiff_t width = job->width, row = d * width;
    REAL *gamma = (REAL *)job->gamma + row, *theta = (REAL *)job->doc_topic + row;
    const REAL *prior = job->doc_topic_prior;
    REAL *new_gamma = acc;
    int near = 0;
    FN(expected_theta)(job, gamma, theta);
    for (ptrdiff_t sweep = 0; sweep < job->max_sweeps && !near; sweep++) {
        FN(document)(job, d, theta, scaled, acc, NULL, 0);
        for (ptrdiff_t k = 0; k < width; k += VL)
            FN(store)(new_gamma + k, FN(load)(prior + k) + FN(load)(scaled + k) * FN(load)(acc + k));
        near = FN(is_near)(job->n_topics, gamma, new_gamma, job->tol);
        memcpy(gamma, new_gamma, job->n_topics * sizeof(REAL));
        FN(expected_theta)(job, gamma, theta);
    }
    if (job->ratio || job->log_likelihood) {
        double log_likelihood =
            FN(document)(job, d, theta, scaled, NULL, job->ratio, job->log_likelihood != NULL);
        if (job->log_likelihood)
            job->log_likelihood[d] = log_likelihood;
    }
}

static void FN(documents)(const topics_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch)
{
    REAL *acc = scratch, *scaled = acc + job->width;
    for (ptrdiff_t d = first; d < last; d++)
        if (job->gamma)
            FN(lda_document)(job, d, scaled, acc);
        else
            FN(plsa_document)(job, d, scaled, acc);
}

/* Sums of one word, over `vecs` vectors of topics from `at` on: nothing leaves the registers before
 * they are done, for in a small block of documents a word has few counts. */
ALWAYS_INLINE void FN(word_block)(const int vecs, const topics_job *job, ptrdiff_t w, ptrdiff_t at,
                                  REAL *changes)
{
    const REAL *ratio = job->ratio, *scale = (const REAL *)job->scale + at;
    const REAL *thetas = (const REAL *)job->doc_topic + at;
    ptrdiff_t row = job->word_id[w] * job->width + at;
    const REAL *topic = (const REAL *)job->topics + row;
    REAL *sums = (REAL *)job->sums + (job->all_words ? row : w * job->width + at);
    REAL *in_total = job->total ? (REAL *)job->total + row : NULL;
    int64_t i = job->word_begin[w], end = job->word_begin[w + 1];
    vec even[8], odd[8];
    UNROLL
    for (int v = 0; v < vecs; v++)
        even[v] = odd[v] = FN(fill)(0);
    for (; i + 2 <= end; i += 2) {
        const REAL *one = thetas + job->doc[i] * job->width;
        const REAL *two = thetas + job->doc[i + 1] * job->width;
        REAL a = ratio[job->position[i]], b = ratio[job->position[i + 1]];
        UNROLL
        for (int v = 0; v < vecs; v++) {
            even[v] += a * FN(load)(one + v * VL);
            odd[v] += b * FN(load)(two + v * VL);
        }
    }
    if (i < end) {
        const REAL *one = thetas + job->doc[i] * job->width;
        REAL a = ratio[job->position[i]];
        UNROLL
        for (int v = 0; v < vecs; v++)
            even[v] += a * FN(load)(one + v * VL);
    }
    UNROLL
    for (int v = 0; v < vecs; v++) {
        vec phi = (FN(load)(topic + v * VL) + (REAL)job->word_prior) * FN(load)(scale + v * VL);
        vec sum = phi * (even[v] + odd[v]), change = sum;
        if (in_total) {
            vec old = FN(load)(sums + v * VL), rise = FN(max)(sum - old, FN(fill)(0));
            sum += (REAL)job->relax * rise;
            change = sum - old;
            /* rounding must not leave less than nothing */
            FN(store)(in_total + v * VL,
                      FN(max)(FN(load)(in_total + v * VL) + change, FN(fill)(0)));
        }
        FN(store)(sums + v * VL, sum);
        FN(store)(changes + at + v * VL, FN(load)(changes + at + v * VL) + change);
    }
}

static void FN(words)(const topics_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch,
                      double *totals)
{
    ptrdiff_t width = job->width;
    REAL *changes = scratch;
    memset(changes, 0, width * sizeof(REAL));
    for (ptrdiff_t w = first; w < last; w++)
        for (ptrdiff_t at = 0; at < width; at += 8 * VL) {
#define CALL(vecs) FN(word_block)(vecs, job, w, at, changes)
            BLOCK_CASES(CALL)
#undef CALL
        }
    for (ptrdiff_t k = 0; k < job->n_topics; k++)
        totals[k] += changes[k];
}
#undef BLOCK_CASES
