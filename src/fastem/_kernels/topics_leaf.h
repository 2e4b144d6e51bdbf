/* Topics of some documents or sums of some words. A template on REAL and the vector width: vec.h.
 *
 * Both passes are made of the same two loops over rows of topics, VL rows at a time:
 *
 *     dot_rows    s_j  = sum_z theta_dz scale_z S_jz       p(w_j|d) for VL words of a document
 *     add_rows    acc += sum_j c_j row_j                   c_j = count_j / s_j
 *
 * with acc a document's (rows of words) or a word's (rows of documents).
 */
#include "topic_rows.h"

static ptrdiff_t FN(scratch_bytes)(const topics_job *job)
{
    return (2 * job->width + 64) * sizeof(REAL);
}

/* new_theta = normalised (scaled * acc + prior), returns sum |new_theta - theta|; a document
 * without words gets equal probabilities. */
static double FN(finish_document)(const topics_job *job, const REAL *theta, const REAL *scaled,
                                  REAL *acc, REAL *new_theta)
{
    double total = 0, change = 0;
    for (ptrdiff_t k = 0; k < job->n_topics; k++) {
        acc[k] = scaled[k] * acc[k] + (REAL)job->doc_prior;
        total += acc[k];
    }
    for (ptrdiff_t k = 0; k < job->n_topics; k++) {
        REAL new_value = total > 0 ? (REAL)(acc[k] / total) : 1 / (REAL)job->n_topics;
        change += fabs((double)new_value - (double)theta[k]);
        new_theta[k] = new_value;
    }
    for (ptrdiff_t k = job->n_topics; k < job->width; k++)
        new_theta[k] = 0;
    return change;
}

/* One E-step of document d: scaled = theta * scale, acc = sum_w count_w / p(w|d) (S_w + prior); the
 * ratios; the log-likelihood. */
static double FN(document)(const topics_job *job, ptrdiff_t d, const REAL *theta, REAL *scaled,
                           REAL *acc)
{
    const REAL *count = job->count, *topics = job->topics, *scale = job->scale;
    REAL *ratio = job->ratio, weight = job->doc_weight ? (REAL)job->doc_weight[d] : 1;
    REAL prior = (REAL)job->word_prior, from_prior = 0, ratios[ROWS];
    double log_likelihood = 0;
    vec total = FN(fill)(0);
    for (ptrdiff_t k = 0; k < job->width; k++) {
        scaled[k] = theta[k] * scale[k];
        acc[k] = 0;
    }
    if (prior > 0)
        for (ptrdiff_t k = 0; k < job->n_topics; k++)
            from_prior += prior * scaled[k];
    for (int64_t begin = job->doc_begin[d]; begin < job->doc_begin[d + 1]; begin += VL) {
        ptrdiff_t n = job->doc_begin[d + 1] - begin;
        const REAL *rows[ROWS];
        REAL c[ROWS];
        vec counts, dots;
        n = n < VL ? n : VL;
        for (ptrdiff_t j = 0; j < VL; j++) { /* past the end: the last row, 0 times */
            rows[j] = topics + job->word[begin + (j < n ? j : n - 1)] * job->width;
            c[j] = j < n ? count[begin + j] : 0;
        }
        counts = FN(load)(c);
        dots = FN(dot_rows)(job->width, scaled, rows) + from_prior;
        dots = FN(max)(dots, FN(fill)(SMALLEST));
        FN(store)(c, counts / dots);
        total += counts / dots;
        if (job->log_likelihood) {
            REAL logs[ROWS];
            FN(store)(logs, counts * FN(log)(dots));
            for (ptrdiff_t j = 0; j < n; j++)
                log_likelihood += logs[j];
        }
        FN(add_rows)(job->width, c, rows, acc);
        if (ratio)
            for (ptrdiff_t j = 0; j < n; j++)
                ratio[begin + j] = weight * c[j];
    }
    FN(store)(ratios, total);
    if (prior > 0)
        for (ptrdiff_t j = 0; j < VL; j++)
            for (ptrdiff_t k = 0; k < job->n_topics; k++)
                acc[k] += prior * ratios[j];
    return log_likelihood;
}

static void FN(documents)(const topics_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch)
{
    ptrdiff_t bytes = job->width * sizeof(REAL);
    REAL *acc = scratch, *scaled = acc + job->width;
    for (ptrdiff_t d = first; d < last; d++) {
        REAL *theta = (REAL *)job->doc_topic + d * job->width;
        REAL *new_theta = job->new_doc_topic ? (REAL *)job->new_doc_topic + d * job->width : NULL;
        for (ptrdiff_t sweep = 1; sweep <= job->max_sweeps; sweep++) {
            double log_likelihood = FN(document)(job, d, theta, scaled, acc);
            if (job->log_likelihood)
                job->log_likelihood[d] = log_likelihood;
            if (!new_theta || FN(finish_document)(job, theta, scaled, acc, new_theta) < job->tol)
                break;
            if (sweep < job->max_sweeps)
                memcpy(theta, new_theta, bytes);
        }
    }
}

static void FN(words)(const topics_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch,
                      double *totals)
{
    const REAL *ratio = job->ratio, *thetas = job->doc_topic, *topics = job->topics;
    const REAL *scale = job->scale;
    REAL *acc = scratch, prior = (REAL)job->word_prior;
    for (ptrdiff_t w = first; w < last; w++) {
        const REAL *topic = topics + job->word_id[w] * job->width;
        REAL *sums = (REAL *)job->sums + (job->all_words ? job->word_id[w] : w) * job->width;
        memset(acc, 0, job->width * sizeof(REAL));
        for (int64_t begin = job->word_begin[w]; begin < job->word_begin[w + 1]; begin += VL) {
            ptrdiff_t n = job->word_begin[w + 1] - begin;
            const REAL *rows[ROWS];
            REAL c[ROWS];
            n = n < VL ? n : VL;
            for (ptrdiff_t j = 0; j < VL; j++) {
                ptrdiff_t i = begin + (j < n ? j : n - 1);
                rows[j] = thetas + job->doc[i] * job->width;
                c[j] = j < n ? ratio[job->position[i]] : 0;
            }
            FN(add_rows)(job->width, c, rows, acc);
        }
        for (ptrdiff_t k = 0; k < job->width; k++)
            sums[k] = (topic[k] + prior) * scale[k] * acc[k];
        for (ptrdiff_t k = 0; k < job->n_topics; k++)
            totals[k] += sums[k];
    }
}

/* total[id_w] += new_w - old_w, kept from falling below 0, for words [first, last). */
static void FN(exchange)(ptrdiff_t width, const int32_t *word_id, const void *new_sums,
                         const void *old_sums, ptrdiff_t first, ptrdiff_t last, void *total)
{
    for (ptrdiff_t w = first; w < last; w++) {
        const REAL *new_row = (const REAL *)new_sums + w * width;
        const REAL *old_row = (const REAL *)old_sums + w * width;
        REAL *row = (REAL *)total + word_id[w] * width;
        for (ptrdiff_t k = 0; k < width; k += VL) {
            vec sum = FN(load)(row + k) + (FN(load)(new_row + k) - FN(load)(old_row + k));
            FN(store)(row + k, FN(max)(sum, FN(fill)(0)));
        }
    }
}
