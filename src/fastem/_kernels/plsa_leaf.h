/* PLSA on some documents or some words. A template on REAL and the vector width: see vec.h.
 *
 * Both passes are made of the same two loops over rows of topics, VL rows at a time:
 *
 *     dot_rows    s_j  = sum_z p(z|d) p(w_j|z)         for VL words of a document
 *     add_rows    acc += sum_j c_j row_j               c_j = count_j / s_j
 *
 * with acc a document's (rows of words) or a word's (rows of documents).
 */
#include "topic_rows.h"

static ptrdiff_t FN(scratch_bytes)(const plsa_job *job) { return (job->width + 64) * sizeof(REAL); }

/* new_theta = normalised (theta * acc + prior), returns sum |new_theta - theta|; a document without
 * words keeps the prior's mean. new_theta may be theta. */
static double FN(finish_document)(const plsa_job *job, const REAL *theta, REAL *acc,
                                  REAL *new_theta)
{
    double total = 0, change = 0;
    for (ptrdiff_t k = 0; k < job->n_topics; k++) {
        acc[k] = theta[k] * acc[k] + (REAL)job->doc_prior;
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

/* One E-step of document d: acc = sum_w count_w / p(w|d) p(w|.); the ratios; the log-likelihood. */
static double FN(document)(const plsa_job *job, ptrdiff_t d, const REAL *theta, REAL *acc)
{
    const REAL *count = job->count, *phi = job->word_topic;
    REAL *ratio = job->ratio, weight = job->doc_weight ? (REAL)job->doc_weight[d] : 1;
    double log_likelihood = 0;
    memset(acc, 0, job->width * sizeof(REAL));
    for (int64_t begin = job->doc_begin[d]; begin < job->doc_begin[d + 1]; begin += VL) {
        ptrdiff_t n = job->doc_begin[d + 1] - begin;
        const REAL *rows[ROWS];
        REAL c[ROWS];
        vec counts, dots;
        n = n < VL ? n : VL;
        for (ptrdiff_t j = 0; j < VL; j++) { /* past the end: the last row, 0 times */
            rows[j] = phi + job->word[begin + (j < n ? j : n - 1)] * job->width;
            c[j] = j < n ? count[begin + j] : 0;
        }
        counts = FN(load)(c);
        dots = FN(max)(FN(dot_rows)(job->width, theta, rows), FN(fill)(SMALLEST));
        FN(store)(c, counts / dots);
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
    return log_likelihood;
}

static void FN(documents)(const plsa_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch)
{
    for (ptrdiff_t d = first; d < last; d++) {
        const REAL *theta = (const REAL *)job->doc_topic + d * job->width;
        REAL *new_theta = job->new_doc_topic ? (REAL *)job->new_doc_topic + d * job->width : NULL;
        for (ptrdiff_t sweep = 0; sweep < job->max_sweeps; sweep++) {
            double log_likelihood = FN(document)(job, d, theta, scratch);
            if (job->log_likelihood)
                job->log_likelihood[d] = log_likelihood;
            if (!new_theta || FN(finish_document)(job, theta, scratch, new_theta) < job->tol)
                break;
            theta = new_theta;
        }
    }
}

static void FN(words)(const plsa_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch,
                      double *totals)
{
    const REAL *ratio = job->ratio, *thetas = job->doc_topic, *phis = job->word_topic;
    REAL *acc = scratch;
    for (ptrdiff_t w = first; w < last; w++) {
        const REAL *phi = phis + w * job->width;
        REAL *sums = (REAL *)job->sums + w * job->width;
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
            sums[k] = phi[k] * acc[k];
        for (ptrdiff_t k = 0; k < job->n_topics; k++)
            totals[k] += sums[k];
    }
}
