/* Truncated EM: each row compares the components that it keeps, and some that it tries. A template: see
 * vec.h. Read chunk() first.
 *
 * A row's densities are few, and of components that are anywhere in the tables: vectors run over the
 * features of one component, and VL components' sums are taken across lanes together.
 */
#define scratch_t FN(truncated_scratch)

typedef struct {
    REAL *x;         /* (wide,) the row at hand, in the job's coordinates */
    REAL *lp;        /* (K + VL,) log-densities of the list */
    int32_t *list;   /* (K + VL,) components */
    int32_t *stamp;  /* (K,) the mark of the list that a component was last in */
    int32_t *mark;   /* of the list at hand */
    ptrdiff_t count; /* components in the list */
    REAL top[TRUNCATED_MOST_KEPT], r[TRUNCATED_MOST_KEPT + 16];
    int32_t kept[TRUNCATED_MOST_KEPT];
} scratch_t;

static ptrdiff_t FN(lay_scratch)(const truncated_job *job, char *memory, scratch_t *s)
{
    ptrdiff_t most = job->components.n > job->groups.n ? job->components.n : job->groups.n;
    ptrdiff_t list = (most + 64) / 64 * 64 + 64, wide = (job->wide + 63) / 64 * 64;
    char *p = memory;
    s->x = (REAL *)p;
    p += wide * sizeof(REAL);
    s->lp = (REAL *)p;
    p += list * sizeof(REAL);
    s->list = (int32_t *)p;
    p += list * sizeof(int32_t);
    s->stamp = (int32_t *)p;
    p += list * sizeof(int32_t);
    s->mark = (int32_t *)p;
    return p + 64 - memory;
}

static ptrdiff_t FN(scratch_bytes)(const truncated_job *job)
{
    scratch_t s;
    return FN(lay_scratch)(job, NULL, &s);
}

/* ---- lists ------------------------------------------------------------------------------- */

ALWAYS_INLINE void FN(new_list)(scratch_t *s)
{
    s->count = 0;
    ++*s->mark;
}

ALWAYS_INLINE void FN(add)(scratch_t *s, int32_t component)
{
    s->list[s->count] = component; /* beyond the end if it is there already */
    s->count += s->stamp[component] != *s->mark;
    s->stamp[component] = *s->mark;
}

ALWAYS_INLINE void FN(add_all)(scratch_t *s, const int32_t *components, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        FN(add)(s, components[i]);
}

ALWAYS_INLINE uint64_t FN(mix)(uint64_t hash, uint64_t bits)
{
    hash = (hash ^ bits) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 32;
}

ALWAYS_INLINE void FN(add_drawn)(const truncated_job *job, scratch_t *s, uint64_t hash, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        hash = FN(mix)(hash, (uint64_t)i + 1);
        FN(add)(s, (int32_t)(hash % (uint64_t)job->components.n));
    }
}

/* Log-densities of the list at x. */
ALWAYS_INLINE void FN(evaluate)(const truncated_table *table, ptrdiff_t wide, scratch_t *s)
{
    const REAL *coef = table->coef, *log_norm = table->log_norm;
    for (ptrdiff_t l = 0; l < VL; l++) /* whole vectors of components */
        s->list[s->count + l] = s->list[0];
    for (ptrdiff_t j = 0; j < s->count; j += VL) {
        vec sums[VL];
        REAL squares[VL];
        UNROLL
        for (ptrdiff_t l = 0; l < VL; l++) {
            const REAL *scale = coef + s->list[j + l] * 2 * wide, *offset = scale + wide;
            vec sum = FN(fill)(0);
            for (ptrdiff_t i = 0; i < wide; i += VL) {
                vec a = FN(load)(scale + i), y = FN(load)(s->x + i) * a - FN(load)(offset + i);
                sum += y * y;
            }
            sums[l] = sum;
        }
        FN(store)(squares, FN(sum_lanes)(sums));
        for (ptrdiff_t l = 0; l < VL; l++)
            s->lp[j + l] = log_norm[s->list[j + l]] - (REAL)0.5 * squares[l];
    }
}

/* The best `most` of the list, in order, to `kept`; of equals those that come first. */
ALWAYS_INLINE void FN(keep)(scratch_t *s, ptrdiff_t most)
{
    for (ptrdiff_t i = 0; i < most; i++) {
        s->top[i] = -INFINITY;
        s->kept[i] = s->list[0];
    }
    for (ptrdiff_t j = 0; j < s->count; j++) {
        REAL lp = s->lp[j];
        ptrdiff_t i = most - 1;
        if (!(lp > s->top[i]))
            continue;
        for (; i > 0 && lp > s->top[i - 1]; i--) {
            s->top[i] = s->top[i - 1];
            s->kept[i] = s->kept[i - 1];
        }
        s->top[i] = lp;
        s->kept[i] = s->list[j];
    }
}

/* ---- rows -------------------------------------------------------------------------------- */

ALWAYS_INLINE void FN(read_row)(const truncated_job *job, ptrdiff_t row, REAL *x)
{
    const char *from = job->x + row * job->x_row;
    const REAL *shift = job->shift, *unit = job->unit;
    for (ptrdiff_t i = 0; i < job->n_features; i++)
        x[i] = (*(const REAL *)(from + i * job->x_column) - shift[i]) * unit[i];
}

/* Adds r, r y and r y^2 to the sums of one component. */
ALWAYS_INLINE void FN(add_row)(const truncated_job *job, const scratch_t *s, int32_t component,
                               double r, double *restrict sums)
{
    ptrdiff_t wide = job->wide;
    const REAL *restrict x = s->x;
    const REAL *restrict scale = (const REAL *)job->components.coef + component * 2 * wide;
    sums += component * truncated_component(job);
    for (ptrdiff_t i = 0; i < wide; i++) {
        double y = x[i] * scale[i] - scale[wide + i];
        sums[i] += r * y;
        sums[wide + i] += r * y * y;
    }
    sums[2 * wide] += r;
}

/* The responsibilities of the kept ones; returns the row's share of the bound. */
ALWAYS_INLINE double FN(share)(const truncated_job *job, scratch_t *s)
{
    REAL total = 0, logs[VL];
    ptrdiff_t n = job->n_kept;
    if (job->hard) {
        s->r[0] = 1;
        return s->top[0];
    }
    for (ptrdiff_t i = 0; i < n; i++)
        s->r[i] = s->top[i] - s->top[0];
    for (ptrdiff_t i = 0; i < n; i += VL)
        FN(store)(s->r + i, FN(exp)(FN(load)(s->r + i)));
    for (ptrdiff_t i = 0; i < n; i++)
        total += s->r[i];
    FN(store)(logs, FN(log)(FN(fill)(total)));
    for (ptrdiff_t i = 0; i < n; i++)
        s->r[i] /= total;
    return (double)s->top[0] + (double)logs[0];
}

static void FN(chunk)(const void *given, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *strip)
{
    const truncated_job *job = given;
    ptrdiff_t kept = job->n_kept;
    double bound = 0, *sums = strip->sums;
    scratch_t s;
    FN(lay_scratch)(job, strip->scratch, &s);
    memset(s.r, 0, sizeof s.r);
    for (ptrdiff_t row = begin; row < begin + n; row++) {
        const int32_t *before = job->before + row * kept;
        double weight = job->sample_weight ? job->sample_weight[row] : 1;
        FN(read_row)(job, row, s.x);
        FN(new_list)(&s);
        FN(add_all)(&s, before, kept);
        if (job->tried)
            FN(add_all)(&s, job->near + job->tried[row] * job->n_near, job->n_near);
        FN(evaluate)(&job->components, job->wide, &s);
        FN(keep)(&s, kept);
        bound += weight * FN(share)(job, &s);
        memcpy(job->after + row * kept, s.kept, kept * sizeof(int32_t));
        for (ptrdiff_t i = 0; i < (job->hard ? 1 : kept); i++)
            if (s.r[i] > (REAL)TRUNCATED_TINY && weight != 0)
                FN(add_row)(job, &s, s.kept[i], weight * (double)s.r[i], sums);
    }
    sums[job->components.n * truncated_component(job)] += bound;
}

/* ---- groups, and what is near to components ---------------------------------------------------- */

/* The members of the groups that are nearest to a row, as a list. */
ALWAYS_INLINE void FN(list_groups)(const truncated_job *job, scratch_t *s)
{
    int32_t nearest[TRUNCATED_MOST_KEPT];
    for (ptrdiff_t g = 0; g < job->groups.n; g++)
        s->list[g] = (int32_t)g;
    s->count = job->groups.n;
    FN(evaluate)(&job->groups, job->wide, s);
    FN(keep)(s, job->n_groups_searched);
    memcpy(nearest, s->kept, sizeof nearest);
    FN(new_list)(s);
    for (ptrdiff_t i = 0; i < job->n_groups_searched; i++)
        FN(add_all)(s, job->members + job->ends[nearest[i]],
                    job->ends[nearest[i] + 1] - job->ends[nearest[i]]);
}

static void FN(begin)(const void *given, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *strip)
{
    const truncated_job *job = given;
    ptrdiff_t kept = job->n_kept;
    scratch_t s;
    FN(lay_scratch)(job, strip->scratch, &s);
    for (ptrdiff_t row = begin; row < begin + n; row++) {
        FN(read_row)(job, row, s.x);
        FN(list_groups)(job, &s);
        for (int32_t k = 0; s.count < kept; k++) /* groups may have few */
            FN(add)(&s, k);
        FN(evaluate)(&job->components, job->wide, &s);
        FN(keep)(&s, kept);
        memcpy(job->after + row * kept, s.kept, kept * sizeof(int32_t));
    }
}

static void FN(meet)(const void *given, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *strip)
{
    const truncated_job *job = given;
    ptrdiff_t near = job->n_near;
    scratch_t s;
    FN(lay_scratch)(job, strip->scratch, &s);
    for (ptrdiff_t k = begin; k < begin + n; k++) {
        const int32_t *own = job->near + k * near;
        FN(read_row)(job, k, s.x);
        FN(new_list)(&s);
        FN(add_all)(&s, own, near);
        for (ptrdiff_t i = 0; i < near; i++)
            FN(add_all)(&s, job->near + own[i] * near, near);
        FN(add_drawn)(job, &s, FN(mix)(job->seed, (uint64_t)k), TRUNCATED_MET);
        FN(evaluate)(&job->components, job->wide, &s);
        for (ptrdiff_t j = 0; j < s.count; j++)
            if (s.list[j] == k)
                s.lp[j] = INFINITY; /* it is the first one */
        FN(keep)(&s, near);
        memcpy(job->after + k * near, s.kept, near * sizeof(int32_t));
    }
}

#undef scratch_t
