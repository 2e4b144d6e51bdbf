/* K-means on rows whose bounds are known (Ding et al. 2015, "Yinyang K-means"; with one group of
 * centers it is Hamerly's, 2010). A template: see vec.h.
 *
 * A row keeps its center without a look at the others if `upper`, at least the distance to its own,
 * is less than `lower`, at most that to any other; between iterations both are moved by as much as
 * the centers moved. The bounds are float32 in either dtype and every step rounds them outwards, and
 * they must differ by more than the rounding of distances. So the labels are those of a full search,
 * also where distances are equal: then the first center wins.
 */

#define OUTWARDS 2.4e-7f /* 4 half units in the last place: for a product, and a sum after it */

/* Whether bounds decide that a row keeps its center. */
ALWAYS_INLINE int FN(decided)(float upper, float lower, float error)
{
    return (lower - upper) * (lower + upper) > error && lower > upper;
}

ALWAYS_INLINE float FN(at_least)(REAL squared)
{
    return sqrtf((float)squared) * (1 + 2 * OUTWARDS);
}
ALWAYS_INLINE float FN(at_most)(REAL squared)
{
    return squared > 0 ? sqrtf((float)squared) * (1 - 2 * OUTWARDS) : 0;
}

/* Moves a row's lower bounds by the drift of the centers; returns the smallest. */
ALWAYS_INLINE float FN(move_lower)(const kmeans_job *job, float *restrict lower, int32_t label)
{
    const float *restrict drift = job->group_drift;
    ptrdiff_t n_groups = job->n_groups, own = job->group[label], g = 0;
    float of_own = lower[own] * (1 - OUTWARDS) - job->other_drift[label], smallest;
    float least[8];
    for (int l = 0; l < 8; l++)
        least[l] = of_own;
    for (; g + 8 <= n_groups; g += 8)
        for (int l = 0; l < 8; l++) {
            float moved = lower[g + l] * (1 - OUTWARDS) - drift[g + l];
            moved = g + l == own ? of_own : moved;
            lower[g + l] = moved;
            least[l] = moved < least[l] ? moved : least[l];
        }
    for (; g < n_groups; g++) {
        float moved = g == own ? of_own : lower[g] * (1 - OUTWARDS) - drift[g];
        lower[g] = moved;
        least[0] = moved < least[0] ? moved : least[0];
    }
    smallest = least[0];
    for (int l = 1; l < 8; l++)
        smallest = least[l] < smallest ? least[l] : smallest;
    return smallest;
}

/* Moves the bounds of a chunk's rows by the drift of the centers. */
static void FN(move_bounds)(const kmeans_job *job, ptrdiff_t begin, ptrdiff_t n, float *restrict least)
{
    ptrdiff_t n_groups = job->n_groups;
    const int32_t *restrict labels = job->labels + begin;
    const float *restrict drift = job->drift, *restrict gap = job->gap;
    float *restrict upper = job->upper + begin, *restrict lower = job->lower + begin * n_groups;
    if (n_groups == 1)
        for (ptrdiff_t r = 0; r < n; r++)
            least[r] = lower[r] = lower[r] * (1 - OUTWARDS) - job->other_drift[labels[r]];
    else
        for (ptrdiff_t r = 0; r < n; r++)
            least[r] = FN(move_lower)(job, lower + r * n_groups, labels[r]);
    for (ptrdiff_t r = 0; r < n; r++) {
        upper[r] = upper[r] * (1 + OUTWARDS) + drift[labels[r]];
        least[r] = least[r] > gap[labels[r]] ? least[r] : gap[labels[r]];
    }
}

/* Lists the rows of a chunk, counted from `begin`, whose center the bounds do not decide. */
static ptrdiff_t FN(list_undecided)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin,
                                    ptrdiff_t n, scratch_t *s)
{
    ptrdiff_t d = job->n_features, maybe = 0, count = 0;
    float error = (float)job->error, *upper = job->upper + begin;
    REAL square = t->scale * t->scale;
    if (job->fresh)
        for (; maybe < n; maybe++)
            s->some[maybe] = (int32_t)maybe;
    else {
        FN(move_bounds)(job, begin, n, s->least);
        for (ptrdiff_t r = 0; r < n; r++) {
            s->some[maybe] = (int32_t)r;
            maybe += !FN(decided)(upper[r], s->least[r], error);
        }
    }
    for (ptrdiff_t i = 0; i < maybe; i++) {
        ptrdiff_t r = s->some[i];
        int32_t label = job->labels[begin + r];
        const REAL *x = FN(row)(job, begin + r);
        if (!job->fresh) {
            upper[r] = FN(at_least)(FN(squared)(x, t->rows + label * d, d) * square + (REAL)error);
            if (FN(decided)(upper[r], s->least[r], error))
                continue;
            s->own[count] = job->group[label];
        }
        s->norm[count] = FN(squared)(x, NULL, d) * square;
        s->best[count] = s->second[count] = s->other[count] = (REAL)INFINITY;
        s->center[count] = -1;
        s->list[count++] = (int32_t)r;
    }
    return count;
}

/* Takes in what a search of group g found for row i of the list. */
ALWAYS_INLINE void FN(take_in)(const kmeans_job *job, ptrdiff_t begin, scratch_t *s, ptrdiff_t i,
                               ptrdiff_t g, REAL best, REAL second, int32_t center)
{
    float *lower = job->lower + (begin + s->list[i]) * job->n_groups;
    int better = s->center[i] < 0 || best < s->best[i] ||
                 (best == s->best[i] && center < s->center[i]);
    if (better) { /* the nearest so far becomes just another center of its group */
        if (s->center[i] >= 0)
            lower[job->group[s->center[i]]] =
                FN(at_most)(s->norm[i] + s->best[i] - (REAL)job->error);
        s->other[i] = s->best[i] < s->other[i] ? s->best[i] : s->other[i];
        s->best[i] = best;
        s->second[i] = second;
        s->center[i] = center;
        return;
    }
    s->other[i] = best < s->other[i] ? best : s->other[i];
    lower[g] = FN(at_most)(s->norm[i] + best - (REAL)job->error);
}

/* Searches one group for some rows of the list that are packed in the panel. */
static void FN(search_panel)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin, scratch_t *s,
                             const int32_t *some, ptrdiff_t n, ptrdiff_t g)
{
    nearest_t near;
    FN(nearest_two)(job, t, s->panel, g, &near);
    for (ptrdiff_t r = 0; r < n; r++)
        FN(take_in)(job, begin, s, some[r], g, near.best[r], near.second[r],
                    t->center[near.index[r]]);
}

/* The same for rows where they are: packing takes longer than a few products of many features. */
static void FN(search_rows)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin, scratch_t *s,
                            const int32_t *some, ptrdiff_t n, ptrdiff_t g)
{
    for (ptrdiff_t i = 0; i < n; i += FN(TALL)) {
        const REAL *rows[FN(TALL)];
        nearest_t near;
        for (ptrdiff_t r = 0; r < FN(TALL); r++)
            rows[r] = FN(row)(job, begin + s->list[some[i + r < n ? i + r : n - 1]]);
        FN(nearest_rows)(job, t, rows, g, &near);
        for (ptrdiff_t r = 0; r < FN(TALL) && i + r < n; r++)
            FN(take_in)(job, begin, s, some[i + r], g, near.best[r], near.second[r],
                        t->center[near.index[r]]);
    }
}

static void FN(pack_some)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin, scratch_t *s,
                          const int32_t *some, ptrdiff_t n)
{
    int32_t rows[64];
    for (ptrdiff_t r = 0; r < n; r++)
        rows[r] = s->list[some[r]];
    FN(pack)(job, t, begin, rows, n, s->panel);
}

/* Searches all groups for all listed rows; returns how many pairs of a row and a group that were. */
static ptrdiff_t FN(search_all)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin, scratch_t *s,
                           ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i += PANEL) {
        ptrdiff_t n = count - i < PANEL ? count - i : PANEL;
        for (ptrdiff_t r = 0; r < n; r++)
            s->some[r] = (int32_t)(i + r);
        FN(pack_some)(job, t, begin, s, s->some, n);
        for (ptrdiff_t g = 0; g < job->n_groups; g++)
            FN(search_panel)(job, t, begin, s, s->some, n, g);
    }
    return count * job->n_groups;
}

/* Searches the groups that the bounds leave open, each for the rows that need it; returns the same. */
static ptrdiff_t FN(search_groups)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin,
                              scratch_t *s, ptrdiff_t count)
{
    float error = (float)job->error;
    ptrdiff_t searched = 0;
    for (ptrdiff_t g = 0; g < job->n_groups; g++) {
        ptrdiff_t some = 0;
        for (ptrdiff_t i = 0; i < count; i++) {
            ptrdiff_t row = begin + s->list[i];
            s->some[some] = (int32_t)i;
            some += s->own[i] == g ||
                    !FN(decided)(job->upper[row], job->lower[row * job->n_groups + g], error);
        }
        searched += some;
        if (job->n_features >= 128) {
            FN(search_rows)(job, t, begin, s, s->some, some, g);
            continue;
        }
        for (ptrdiff_t i = 0; i < some; i += PANEL) {
            ptrdiff_t n = some - i < PANEL ? some - i : PANEL;
            FN(pack_some)(job, t, begin, s, s->some + i, n);
            FN(search_panel)(job, t, begin, s, s->some + i, n, g);
        }
    }
    return searched;
}

static void FN(bounded_chunk)(const kmeans_job *job, const tables_t *t, ptrdiff_t begin,
                              ptrdiff_t n, scratch_t *s, double *sums)
{
    ptrdiff_t count = FN(list_undecided)(job, t, begin, n, s);
    double *tally = sums + job->n_clusters * (job->n_features + 1); /* changed, searched, open */
    if (job->fresh || job->n_groups == 1)
        tally[1] += (double)FN(search_all)(job, t, begin, s, count);
    else
        tally[1] += (double)FN(search_groups)(job, t, begin, s, count);
    for (ptrdiff_t i = 0; i < count; i++) {
        ptrdiff_t row = begin + s->list[i];
        int32_t new = s->center[i];
        REAL squared = s->norm[i] + s->best[i];
        REAL second = s->second[i] < s->other[i] ? s->second[i] : s->other[i];
        tally[2] += job->guarded && !(second - s->best[i] > job->error);
        job->upper[row] = FN(at_least)((squared > 0 ? squared : 0) + (REAL)job->error);
        job->lower[row * job->n_groups + job->group[new]] =
            FN(at_most)(s->norm[i] + s->second[i] - job->error);
        if (job->labels[row] == new)
            continue;
        FN(move_row)(job, row, new, sums);
        job->labels[row] = new;
        tally[0] += 1;
    }
}
#undef OUTWARDS
