/* K-means on sparse rows: the nearest center of a row, and centers feature by feature.
 *
 * A template on DATA, the type of the values; vectors are of float whatever it is. They hold the
 * scores |c|^2 - 2 c . x of a row and many centers, which only screen: centers whose score may be
 * the smallest, within a proven bound, are compared in double. That is one center for nearly all
 * rows. nearest_sparse() below is the whole search.
 *
 * In a table, row i holds feature i of all centers side by side. Lloyd's iterations on sparse rows
 * keep the sums of the clusters and the centers as such tables: a row adds to few features, and
 * what changes from centers to centers is one pass over the table.
 */
#define ON(name) FASTEM_CAT(name, DATA, SUFFIX)
#define ALL_LANES ((1u << VL) - 1)
#define SCORES 16 /* vectors of scores at most that are summed at once, with 32 registers */
#define ROUNDING 5.9604644775390625e-8 /* 2^-24, the largest relative error of a float */

ALWAYS_INLINE DATA ON(value)(const kmeans_job *job, ptrdiff_t entry)
{
    return ((const DATA *)job->values)[entry];
}

ALWAYS_INLINE double ON(center_at)(const kmeans_job *job, ptrdiff_t k, ptrdiff_t feature)
{
    return job->centers[k * job->center_step + feature * job->feature_step];
}

/* ---- the nearest center ------------------------------------------------------------------ */

/* |c|^2 - 2 c . x in double, scaled. */
static double ON(exact_score)(const kmeans_job *job, ptrdiff_t row, ptrdiff_t k)
{
    double dot = 0;
    for (ptrdiff_t p = job->row_begin[row]; p < job->row_begin[row + 1]; p++)
        dot += ON(center_at)(job, k, job->columns[p]) * job->scale * ON(value)(job, p);
    return job->norms[k] - 2 * dot * job->scale;
}

/* The nearest of the centers whose score is at most `most`, the first one of equals. */
static int32_t ON(nearest_exact)(const kmeans_job *job, ptrdiff_t row, const float *scores,
                                 float most)
{
    int32_t best = -1;
    double least = 0;
    for (ptrdiff_t k = 0; k < job->n_clusters; k++)
        if (scores == NULL || scores[k] <= most) {
            double score = ON(exact_score)(job, row, k);
            if (best < 0 || score < least) {
                least = score;
                best = (int32_t)k;
            }
        }
    return best;
}

/* By how much the difference of two scores of a row in float may be off.
 *
 * A score is the sum of |c|^2 and m products. Each has been rounded at most m + 12 times: the
 * center or its square, the value, the product, and the m + 8 additions of at most 8 chains. The
 * comparison of two scores rounds, too, so let it be m + 16 times. Then a score is off by no more
 * than (m + 16) u 1.02 times the sum of what is added, without signs, which is at most
 * |c|^2 + 2 |c| |x| (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1,
 * where (m + 16) u <= 0.01; the product of lengths by Cauchy and Schwarz). Two scores are off by
 * twice as much. The last term is of numbers too small for float: of products, and of what is one
 * factor of them. INFINITY where a row is too long for this. */
ALWAYS_INLINE float ON(score_error)(const kmeans_job *job, ptrdiff_t row, double length)
{
    double roundings = (double)(job->row_begin[row + 1] - job->row_begin[row] + 16);
    if (roundings * ROUNDING > 0.01)
        return (float)INFINITY;
    return (float)(2.05 * roundings *
                   (ROUNDING * job->longest * (job->longest + 2 * length) +
                    1e-37 * (1 + length + job->longest)));
}

/* The length of a row, scaled. */
static double ON(length)(const kmeans_job *job, ptrdiff_t row)
{
    double squares = 0;
    for (ptrdiff_t p = job->row_begin[row]; p < job->row_begin[row + 1]; p++)
        squares += ON(value)(job, p) * job->scale * (ON(value)(job, p) * job->scale);
    return sqrt(squares);
}

/* scores = |c|^2 - 2 c . x of `vecs` vectors of centers. In several chains of additions, so that
 * one does not wait for itself. */
ALWAYS_INLINE void ON(some_scores)(const int vecs, const kmeans_job *job, ptrdiff_t row,
                                   ptrdiff_t first, float *scores)
{
    const int chains = vecs >= 8 ? 1 : 8 / vecs, ahead = vecs >= 8 ? 2 : 16 / vecs;
    const float *screen = job->screen + first;
    const int32_t *columns = job->columns;
    ptrdiff_t p = job->row_begin[row], end = job->row_begin[row + 1];
    ptrdiff_t last = job->row_begin[job->n_samples] - 1;
    vec sum[8][SCORES];
    UNROLL
    for (int c = 0; c < chains; c++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            sum[c][v] = c ? FN(fill)(0) : FN(load)(job->screen_norms + first + v * VL);
    for (; p + chains <= end; p += chains) {
        UNROLL
        for (int c = 0; c < chains; c++) {
            const float *coef = screen + columns[p + c] * job->width;
            ptrdiff_t next = p + c + ahead < last ? p + c + ahead : last;
            const float *later = screen + columns[next] * job->width;
            float x = (float)(ON(value)(job, p + c) * job->scale);
            UNROLL
            for (int v = 0; v < vecs; v++) {
                if (VEC_BYTES && v * VEC_BYTES % 64 == 0)
                    PREFETCH(later + v * VL);
                sum[c][v] += FN(load)(coef + v * VL) * x;
            }
        }
    }
    UNROLL
    for (int c = 0; c + 1 < chains; c++)
        if (p + c < end) {
            const float *coef = screen + columns[p + c] * job->width;
            float x = (float)(ON(value)(job, p + c) * job->scale);
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[c][v] += FN(load)(coef + v * VL) * x;
        }
    UNROLL
    for (int v = 0; v < vecs; v++) {
        UNROLL
        for (int c = 1; c < chains; c++)
            sum[0][v] += sum[c][v];
        FN(store)(scores + v * VL, sum[0][v]);
    }
}

/* The scores of all centers. */
static void ON(all_scores)(const kmeans_job *job, ptrdiff_t row, float *scores)
{
    ptrdiff_t first = 0, vecs = job->width / VL;
#if VEC_REGISTERS == 32
    for (; vecs >= 16; vecs -= 16, first += 16 * VL)
        ON(some_scores)(16, job, row, first, scores + first);
#endif
    for (; vecs >= 8; vecs -= 8, first += 8 * VL)
        ON(some_scores)(8, job, row, first, scores + first);
    if (vecs & 4) {
        ON(some_scores)(4, job, row, first, scores + first);
        first += 4 * VL;
    }
    if (vecs & 2) {
        ON(some_scores)(2, job, row, first, scores + first);
        first += 2 * VL;
    }
    if (vecs & 1)
        ON(some_scores)(1, job, row, first, scores + first);
}

/* The place of the smallest score, how small it is, and how small that of the second is. */
ALWAYS_INLINE ptrdiff_t ON(two_smallest)(const float *scores, ptrdiff_t width, float *best,
                                         float *second)
{
    INT places[VEC_BYTES ? VEC_BYTES / sizeof(float) : 1];
    vec least = FN(load)(scores), other = FN(fill)((float)INFINITY);
    ivec place = FN(bits)(FN(fill)(0)), at = place;
    unsigned first;
    int lane = 0;
    for (ptrdiff_t k = VL; k < width; k += VL) {
        at += (INT)VL;
        FN(keep_smaller)(1, FN(load)(scores + k), at, &least, &place, &other);
    }
    *best = FN(min_all)(least);
    first = ~FN(mask_greater)(least, FN(fill)(*best)) & ALL_LANES;
    /* Where two lanes hold it, the second is as small. */
    *second = first & (first - 1) ? *best
                                  : FN(min_all)(FN(select)((ivec)(least > *best), least, other));
    while (!(first >> lane & 1))
        lane++;
    memcpy(places, &place, sizeof place);
    return places[lane] + lane;
}

/* The nearest center of a sparse row, the first one of equals. */
static int32_t ON(nearest_sparse)(const kmeans_job *job, ptrdiff_t row, float *scores)
{
    float best, second, error;
    ptrdiff_t place;
    if (job->screen == NULL)
        return ON(nearest_exact)(job, row, NULL, 0);
    ON(all_scores)(job, row, scores);
    place = ON(two_smallest)(scores, job->width, &best, &second);
    if (second - best > ON(score_error)(job, row, job->reach))
        return (int32_t)place;
    error = ON(score_error)(job, row, ON(length)(job, row));
    if (second - best > error)
        return (int32_t)place;
    return ON(nearest_exact)(job, row, scores, best + error);
}

/* Labels a chunk of rows; the sums of a strip are how many changed. */
static void ON(label_sparse)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                             const fastem_strip *strip)
{
    const kmeans_job *job = given;
    ptrdiff_t changed = 0;
    for (ptrdiff_t row = begin; row < begin + n; row++) {
        int32_t nearest = ON(nearest_sparse)(job, row, strip->scratch), old = job->labels[row];
        if (job->before)
            job->before[row] = old;
        changed += old != nearest;
        job->labels[row] = nearest;
    }
    strip->sums[0] += (double)changed;
}

/* ---- feature by feature ------------------------------------------------------------------ */

/* The first entry of a row whose feature is no smaller. */
ALWAYS_INLINE ptrdiff_t ON(entry_of)(const kmeans_job *job, ptrdiff_t row, ptrdiff_t feature)
{
    ptrdiff_t low = job->row_begin[row], high = job->row_begin[row + 1];
    while (low < high) {
        ptrdiff_t middle = low + (high - low) / 2;
        if (job->columns[middle] < feature)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Adds rows to the sums of their clusters in some features, or, with `moves`, those whose label
 * changed, and takes them from the sums of the labels before. Every sum is added to in the order of
 * the rows, however features are shared out. */
static void ON(add_entries)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                            const fastem_strip *strip)
{
    const kmeans_job *job = given;
    ptrdiff_t step = job->sum_feature_step;
    (void)strip;
    for (ptrdiff_t row = 0; row < job->n_samples; row++) {
        int32_t new = job->labels[row], old = job->moves ? job->before[row] : -1;
        double weight = job->sample_weight ? job->sample_weight[row] : 1;
        double *to = job->sums + new * job->sum_center_step;
        double *from = job->sums + old * job->sum_center_step;
        ptrdiff_t p = job->row_begin[row], end = job->row_begin[row + 1];
        if (job->moves && old == new)
            continue;
        if (n < job->n_features) {
            p = ON(entry_of)(job, row, begin);
            end = ON(entry_of)(job, row, begin + n);
        }
        for (; p < end; p++) {
            double x = weight * ON(value)(job, p);
            to[job->columns[p] * step] += x;
            if (old >= 0)
                from[job->columns[p] * step] -= x;
        }
    }
}

/* Makes the screen of some features from the centers; the sums of a strip are |c|^2, scaled. */
static void ON(screen_features)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                                const fastem_strip *strip)
{
    const kmeans_job *job = given;
    float *screen = job->screen_out;
    for (ptrdiff_t k = 0; k < job->n_clusters; k++) {
        double norm = 0;
        for (ptrdiff_t i = begin; i < begin + n; i++) {
            double c = ON(center_at)(job, k, i) * job->scale;
            norm += c * c;
            if (screen)
                screen[i * job->width + k] = (float)(-2 * c);
        }
        strip->sums[k] += norm;
    }
    for (ptrdiff_t k = job->n_clusters; screen && k < job->width; k++)
        for (ptrdiff_t i = begin; i < begin + n; i++)
            screen[i * job->width + k] = 0;
}

/* Moves a table's centers to the means of their clusters, in some features, and renews the screen.
 *
 * The sums of a strip are, of each center, side by side: |c|^2 of the new one, scaled; c . s of the
 * old one and its cluster's sum, by which the inertia is known; and how far it moved, squared. */
static void ON(move_centers)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                             const fastem_strip *strip)
{
    const kmeans_job *job = given;
    ptrdiff_t width = job->width;
    double *restrict norms = strip->sums, *restrict cross = norms + width;
    double *restrict moved = cross + width, scale = job->scale;
    const double *restrict weights = job->cluster_weights;
    for (ptrdiff_t i = begin; i < begin + n; i++) {
        const double *restrict sums = job->sums + i * width;
        double *restrict center = job->centers_out + i * width;
        float *restrict screen = job->screen_out + i * width;
        for (ptrdiff_t k = 0; k < width; k++) {
            double old = center[k], sum = sums[k], new = (DATA)(sum / weights[k]);
            cross[k] += old * sum;
            moved[k] += (new - old) * (new - old);
            norms[k] += new * scale * (new * scale);
            center[k] = new;
            screen[k] = (float)(-2 * new * scale);
        }
    }
}

/* Copies some features of centers into a table, or back. */
static void ON(turn_centers)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                             const fastem_strip *strip)
{
    const kmeans_job *job = given;
    (void)strip;
    for (ptrdiff_t k = 0; k < job->n_clusters; k++)
        for (ptrdiff_t i = begin; i < begin + n; i++)
            job->centers_out[k * job->out_center_step + i * job->out_feature_step] =
                ON(center_at)(job, k, i);
}
#undef ON
#undef ALL_LANES
#undef SCORES
#undef ROUNDING
