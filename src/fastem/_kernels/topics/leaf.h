/* Topics of some documents or sums of some words. A template on REAL and the vector width: vec.h.
 *
 * Both passes are made of the same two loops over rows of topics, VL rows at a time:
 *
 *     dot_rows    s_j  = sum_z theta_dz scale_z S_jz       p(w_j|d) for VL words of a document
 *     add_rows    acc += sum_j c_j row_j                   c_j = count_j / s_j
 *
 * with acc a document's (rows of words) or a word's (rows of documents).
 */
#include "shared/digamma.h"
#include "shared/topic_rows.h"

/* A document laid out for many sweeps, up to a multiple of VL words: past its end stand the last row
 * and the count 0. */
typedef struct {
    ptrdiff_t n;       /* different words */
    REAL *acc, *scaled, *powered; /* (width,) each, for whoever makes the sweeps */
    REAL *count;       /* (padded n,) */
    REAL *ratio;       /* (padded n,) what the last sweep gave */
    const REAL **rows; /* (padded n,) rows of topics */
    REAL *rest;        /* of the scratch */
} FN(view);

static ptrdiff_t FN(live_bytes)(const topics_job *job);

static ptrdiff_t FN(scratch_bytes)(const topics_job *job)
{
    ptrdiff_t longest = (job->longest + VL - 1) / VL * VL;
    return (3 * job->width + 2 * longest) * sizeof(REAL) + longest * sizeof(REAL *) + 64 +
           (job->gamma ? FN(live_bytes)(job) : 0);
}

static void FN(lay_document)(const topics_job *job, ptrdiff_t d, void *scratch, FN(view) * view)
{
    ptrdiff_t longest = (job->longest + VL - 1) / VL * VL, i = 0;
    const int32_t *word = job->word + job->doc_begin[d];
    const REAL *count = (const REAL *)job->count + job->doc_begin[d];
    view->n = job->doc_begin[d + 1] - job->doc_begin[d];
    view->rows = scratch;
    view->acc = (REAL *)(view->rows + longest);
    view->scaled = view->acc + job->width;
    view->powered = view->scaled + job->width;
    view->count = view->powered + job->width;
    view->ratio = view->count + longest;
    view->rest = view->ratio + longest;
    for (; i < view->n; i++) {
        view->rows[i] = (const REAL *)job->topics + word[i] * job->width;
        view->count[i] = count[i];
    }
    for (; i % VL; i++) {
        view->rows[i] = view->rows[view->n - 1];
        view->count[i] = 0;
    }
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

/* before = row; row += relax * what it lies above old + momentum * what it lies above last. */
ALWAYS_INLINE void FN(relax_row)(ptrdiff_t width, REAL relax, const REAL *old, REAL momentum,
                                 const REAL *last, REAL *before, REAL *row)
{
    vec zero = FN(fill)(0);
    for (ptrdiff_t k = 0; k < width; k += VL) {
        vec value = FN(load)(row + k);
        vec rise = FN(max)(value - FN(load)(old + k), zero);
        vec since = FN(max)(value - FN(load)(last + k), zero);
        FN(store)(before + k, value);
        FN(store)(row + k, value + relax * rise + momentum * since);
    }
}

/* new_theta = normalised (scaled * acc + prior), equal probabilities if that is 0; what rises is
 * relaxed, and the row normalised again. */
static void FN(finish_document)(const topics_job *job, ptrdiff_t d, const REAL *theta,
                                const REAL *scaled, const REAL *acc, REAL *new_theta)
{
    const REAL *last = (const REAL *)job->last_doc_topic;
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
        if (relaxed || !last)
            return;
        FN(relax_row)(width, (REAL)job->relax, theta, (REAL)job->momentum, last + d * width,
                      (REAL *)job->unrelaxed + d * width, new_theta);
    }
}

/* Whether sum |a - b| is less than tol. */
static int FN(is_near)(ptrdiff_t width, const REAL *a, const REAL *b, double tol)
{
    double change = 0;
    vec total = FN(fill)(0);
    for (ptrdiff_t k = 0; k < width; k += VL) {
        vec gap = FN(load)(a + k) - FN(load)(b + k);
        total += FN(max)(gap, -gap);
    }
    FN(add_sums)(&total, 1, &change);
    return change < tol;
}

/* counts / probabilities, which must not overflow; 0 for a word that no topic of the document has:
 * it tells nothing. */
ALWAYS_INLINE vec FN(ratios)(vec counts, vec probabilities)
{
    ivec known = (ivec)(probabilities > FN(fill)(SMALLEST));
    vec ratios = counts / FN(max)(probabilities, FN(fill)(SMALLEST));
    return FN(select)(known, FN(min)(ratios, FN(fill)(1 / SMALLEST)), FN(fill)(0));
}

ALWAYS_INLINE double FN(log_likelihood)(vec counts, vec probabilities)
{
    REAL logs[ROWS];
    double sum = 0;
    FN(store)(logs, counts * FN(log)(FN(max)(probabilities, FN(fill)(SMALLEST))));
    for (ptrdiff_t j = 0; j < VL; j++)
        sum += logs[j];
    return sum;
}

/* One E-step of a document: scaled = theta * scale; its ratios count_w / p(w|d); with_sums: acc =
 * sum_w ratio_w (S_w + prior). Returns the log-likelihood if it is asked for. */
static double FN(document)(const topics_job *job, const REAL *theta, FN(view) * view,
                           int with_sums, int with_logs)
{
    const REAL *scale = job->scale;
    REAL prior = (REAL)job->word_prior, from_prior = 0, sums[ROWS];
    REAL *scaled = view->scaled, *acc = view->acc;
    double log_likelihood = 0;
    vec total = FN(fill)(0);
    for (ptrdiff_t k = 0; k < job->width; k++)
        scaled[k] = theta[k] * scale[k];
    if (with_sums)
        memset(acc, 0, job->width * sizeof(REAL));
    if (prior > 0)
        for (ptrdiff_t k = 0; k < job->n_topics; k++)
            from_prior += prior * scaled[k];
    for (ptrdiff_t begin = 0; begin < view->n; begin += VL) {
        const REAL *const *rows = view->rows + begin;
        vec counts = FN(load)(view->count + begin);
        vec dots = FN(dot_rows)(job->width, scaled, rows) + from_prior;
        vec ratios = FN(ratios)(counts, dots);
        FN(store)(view->ratio + begin, ratios);
        total += ratios;
        if (with_logs)
            log_likelihood += FN(log_likelihood)(counts, dots);
        if (with_sums) {
            ptrdiff_t n = view->n - begin;
            FN(add_rows)(job->width, n < VL ? n : VL, view->ratio + begin, rows, acc);
        }
    }
    FN(store)(sums, total);
    if (with_sums && prior > 0)
        for (ptrdiff_t j = 0; j < VL; j++)
            for (ptrdiff_t k = 0; k < job->n_topics; k++)
                acc[k] += prior * sums[j];
    return log_likelihood;
}

/* The ratios of a document's last sweep, for the sums of words. */
static void FN(write_ratios)(const topics_job *job, ptrdiff_t d, const FN(view) * view)
{
    REAL weight = job->doc_weight ? (REAL)job->doc_weight[d] : 1;
    REAL *ratio = (REAL *)job->ratio + job->doc_begin[d];
    for (ptrdiff_t i = 0; i < view->n; i++)
        ratio[i] = weight * view->ratio[i];
}

/* What an E-step sees of a document's topics: theta, or with an inverse temperature theta^power. */
static const REAL *FN(tempered)(const topics_job *job, const REAL *theta, const FN(view) * view)
{
    vec power = FN(fill)((REAL)job->power), least = FN(fill)(SMALLEST);
    if (job->power == 1)
        return theta;
    for (ptrdiff_t k = 0; k < job->width; k += VL) {
        vec share = FN(load)(theta + k);
        vec value = FN(exp)(power * FN(log)(FN(max)(share, least)));
        FN(store)(view->powered + k, FN(select)((ivec)(share > least), value, FN(fill)(0)));
    }
    return view->powered;
}

/* E-steps of document d of PLSA. */
static void FN(plsa_document)(const topics_job *job, ptrdiff_t d, FN(view) * view)
{
    ptrdiff_t row = d * job->width;
    REAL *theta = (REAL *)job->doc_topic + row;
    REAL *new_theta = job->new_doc_topic ? (REAL *)job->new_doc_topic + row : NULL;
    int with_logs = job->log_likelihood != NULL;
    for (ptrdiff_t sweep = 1; sweep <= job->max_sweeps; sweep++) {
        const REAL *seen = FN(tempered)(job, theta, view);
        double log_likelihood = FN(document)(job, seen, view, new_theta != NULL, with_logs);
        if (with_logs)
            job->log_likelihood[d] = log_likelihood;
        if (!new_theta)
            break;
        FN(finish_document)(job, d, theta, view->scaled, view->acc, new_theta);
        if (sweep == job->max_sweeps || FN(is_near)(job->width, theta, new_theta, job->tol))
            break;
        memcpy(theta, new_theta, job->width * sizeof(REAL));
    }
    if (job->ratio)
        FN(write_ratios)(job, d, view);
}

#include "topics/live.h"

static void FN(documents)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                          const fastem_strip *strip)
{
    const topics_job *job = given;
    unsigned mode = fastem_flush_subnormals(1);
    FN(view) view;
    for (ptrdiff_t d = begin; d < begin + n; d++) {
        FN(lay_document)(job, d, strip->scratch, &view);
        if (job->gamma)
            FN(lda_document)(job, d, &view);
        else
            FN(plsa_document)(job, d, &view);
    }
    fastem_restore_subnormals(mode);
}

/* Vectors of a word's sums that the registers hold: then its documents are gone through once. */
#undef WORD_VECS
#undef LONG_CASES
#define WORD_VECS (VEC_REGISTERS == 32 ? 16 : 8)
#if VEC_REGISTERS == 32
#define LONG_CASES(call)                                                                          \
    case 9: call(9); break;                                                                       \
    case 10: call(10); break;                                                                     \
    case 11: call(11); break;                                                                     \
    case 12: call(12); break;                                                                     \
    case 13: call(13); break;                                                                     \
    case 14: call(14); break;                                                                     \
    case 15: call(15); break;                                                                     \
    case 16: call(16); break;
#else
#define LONG_CASES(call)
#endif

/* Sums of one word, over `vecs` vectors of topics from `at` on: nothing leaves the registers before
 * they are done, for in a small block of documents a word has few counts. Up to 8 vectors have two
 * sums each, so that few do not make one long chain of additions. */
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
    vec even[WORD_VECS], odd[8];
    UNROLL
    for (int v = 0; v < vecs; v++)
        even[v] = odd[v % 8] = FN(fill)(0);
    for (; vecs <= 8 && i + 2 <= end; i += 2) {
        const REAL *one = thetas + job->doc[i] * job->width;
        const REAL *two = thetas + job->doc[i + 1] * job->width;
        REAL a = ratio[job->position[i]], b = ratio[job->position[i + 1]];
        UNROLL
        for (int v = 0; v < vecs; v++) {
            even[v] += a * FN(load)(one + v * VL);
            odd[v] += b * FN(load)(two + v * VL);
        }
    }
    for (; i < end; i++) {
        const REAL *one = thetas + job->doc[i] * job->width;
        REAL a = ratio[job->position[i]];
        UNROLL
        for (int v = 0; v < vecs; v++)
            even[v] += a * FN(load)(one + v * VL);
    }
    UNROLL
    for (int v = 0; v < vecs; v++) {
        vec phi = (FN(load)(topic + v * VL) + (REAL)job->word_prior) * FN(load)(scale + v * VL);
        vec sum = phi * (even[v] + odd[v % 8]), change = sum;
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

static void FN(words)(const void *given, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *strip)
{
    const topics_job *job = given;
    ptrdiff_t width = job->width;
    REAL *changes = strip->scratch;
    unsigned mode = fastem_flush_subnormals(1);
    memset(changes, 0, width * sizeof(REAL));
    for (ptrdiff_t w = begin; w < begin + n; w++)
        switch (width / VL) {
#define CALL(vecs) FN(word_block)(vecs, job, w, 0, changes)
            LONG_CASES(CALL)
#undef CALL
        default:
            for (ptrdiff_t at = 0; at < width; at += 8 * VL) {
#define CALL(vecs) FN(word_block)(vecs, job, w, at, changes)
                BLOCK_CASES(CALL)
#undef CALL
            }
        }
    for (ptrdiff_t k = 0; k < job->n_topics; k++)
        strip->sums[k] += changes[k];
    fastem_restore_subnormals(mode);
}
#undef BLOCK_CASES
