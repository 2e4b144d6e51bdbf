/* Rows with missing values (NaN), missing at random: their marginal density, and what they are
 * expected to add to the moments (Little & Rubin 2002, 11.2). One row and one component at a time,
 * in the kernel's coordinates. A template: see vec.h. */

/* One row under one component. */
typedef struct {
    ptrdiff_t n_seen, n_lost;
    ptrdiff_t *seen, *lost; /* features */
    double *x;              /* (D,) the row; then with expectations in place of what is missing */
    double *root;           /* (n_seen, n_seen) lower triangle L, L L^T = covariance of the seen */
    double *y;              /* (n_seen,) L^-1 (x - mean); then L^-T of it */
    double *v;              /* (n_seen, n_lost) L^-1 covariance of the seen with the lost */
} FN(partial);

static ptrdiff_t FN(lay_partial)(ptrdiff_t d, void *memory, FN(partial) *p)
{
    double *at = memory;
    if (memory) {
        p->x = at, p->y = at + d, p->root = at + 2 * d, p->v = p->root + d * d;
        p->seen = (ptrdiff_t *)(p->v + d * d), p->lost = p->seen + d;
    }
    return (2 * d + 2 * d * d) * (ptrdiff_t)sizeof(double) + 2 * d * (ptrdiff_t)sizeof(ptrdiff_t);
}

static void FN(take_row)(const gaussian_job *job, ptrdiff_t row, FN(partial) *p)
{
    p->n_seen = p->n_lost = 0;
    for (ptrdiff_t i = 0; i < job->n_features; i++) {
        REAL x = *(const REAL *)(job->x + row * job->x_row + i * job->x_column);
        if (x == x) {
            p->seen[p->n_seen++] = i;
            p->x[i] = (x - job->shift[i]) * job->scale[i];
        } else
            p->lost[p->n_lost++] = i;
    }
}

/* root and y; returns the logarithm of the density of what was seen, in the data's own units. */
static double FN(see)(const gaussian_emission *e, ptrdiff_t k, FN(partial) *p)
{
    const gaussian_job *job = e->density;
    ptrdiff_t d = job->n_features, n = p->n_seen;
    int full = job->kind == GAUSSIAN_FULL;
    const double *covariance = e->covariances + k * (full ? d * d : d), *mean = job->means + k * d;
    double log_prob = e->log_weight[k];
    for (ptrdiff_t i = 0; i < n; i++) {
        ptrdiff_t a = p->seen[i];
        double rest = p->x[a] - mean[a], square;
        double *row = p->root + i * n;
        if (full) {
            square = covariance[a * d + a];
            for (ptrdiff_t j = 0; j < i; j++) {
                double sum = covariance[a * d + p->seen[j]];
                for (ptrdiff_t l = 0; l < j; l++)
                    sum -= row[l] * p->root[j * n + l];
                row[j] = sum / p->root[j * n + j];
                square -= row[j] * row[j];
                rest -= row[j] * p->y[j];
            }
        } else
            square = covariance[a];
        row[i] = sqrt(square);
        p->y[i] = rest / row[i];
        log_prob += log(job->scale[a]) - log(row[i]) - 0.5 * p->y[i] * p->y[i] -
                    0.91893853320467274178; /* log(2 pi) / 2 */
    }
    return log_prob;
}

/* Adds weight * (1, z, z z^T + covariance of the lost given the seen) to one component's sums: 1, D,
 * and full (D, D), the lower triangle, else (D,); z is about the mean of `moments`. */
static void FN(expect)(const gaussian_emission *e, ptrdiff_t k, double weight, FN(partial) *p,
                       double *sums)
{
    const gaussian_job *job = e->density;
    ptrdiff_t d = job->n_features, n = p->n_seen;
    int full = job->kind == GAUSSIAN_FULL;
    const double *covariance = e->covariances + k * (full ? d * d : d), *mean = job->means + k * d;
    const double *center = e->moments->means + k * d;
    double *first = sums + 1, *second = sums + 1 + d;
    FN(see)(e, k, p);
    for (ptrdiff_t c = 0; c < p->n_lost; c++) {
        ptrdiff_t a = p->lost[c];
        double expected = mean[a];
        for (ptrdiff_t i = 0; full && i < n; i++) {
            double sum = covariance[a * d + p->seen[i]];
            for (ptrdiff_t l = 0; l < i; l++)
                sum -= p->root[i * n + l] * p->v[l * p->n_lost + c];
            p->v[i * p->n_lost + c] = sum / p->root[i * n + i];
            expected += p->v[i * p->n_lost + c] * p->y[i];
        }
        p->x[a] = expected;
    }
    sums[0] += weight;
    for (ptrdiff_t i = 0; i < d; i++) {
        double z = weight * (p->x[i] - center[i]);
        first[i] += z;
        if (!full)
            second[i] += z * (p->x[i] - center[i]);
        for (ptrdiff_t j = 0; full && j <= i; j++)
            second[i * d + j] += z * (p->x[j] - center[j]);
    }
    for (ptrdiff_t c = 0; c < p->n_lost; c++) {
        ptrdiff_t a = p->lost[c];
        if (!full)
            second[a] += weight * covariance[a];
        for (ptrdiff_t b = 0; full && b <= c; b++) {
            double rest = covariance[a * d + p->lost[b]];
            for (ptrdiff_t i = 0; i < n; i++)
                rest -= p->v[i * p->n_lost + c] * p->v[i * p->n_lost + b];
            second[a * d + p->lost[b]] += weight * rest;
        }
    }
}

/* Sets rows with missing values apart: marks them in s->best, and replaces them by zeros in x. */
static void FN(set_apart)(const gaussian_emission *e, ptrdiff_t n, FN(scratch) *s)
{
    ptrdiff_t d = e->density->n_features;
    for (ptrdiff_t row = 0; row < n; row++) {
        int lost = 0;
        for (ptrdiff_t i = 0; i < d; i++)
            lost |= s->x[i * s->cap + row] != s->x[i * s->cap + row];
        s->best[row] = lost;
        for (ptrdiff_t i = 0; lost && i < d; i++)
            s->x[i * s->cap + row] = 0;
    }
}

static void FN(marginal_log_prob)(const gaussian_emission *e, ptrdiff_t begin, ptrdiff_t n,
                                  void *memory, FN(scratch) *s)
{
    FN(partial) p;
    double unit = e->n_mix > 1 ? GAUSSIAN_LOG_2 : 1;
    FN(lay_partial)(e->density->n_features, memory, &p);
    for (ptrdiff_t row = 0; row < n; row++)
        if (s->best[row]) {
            FN(take_row)(e->density, begin + row, &p);
            for (ptrdiff_t k = 0; k < e->density->n_components; k++)
                s->lp[k * s->cap + row] = FN(see)(e, k, &p) / unit;
        }
}

/* Adds the expected moments of the rows that were set apart, and takes these rows out of the
 * responsibilities. A row without any feature adds nothing. */
static void FN(add_expected)(const gaussian_emission *e, ptrdiff_t begin, ptrdiff_t n, void *memory,
                             FN(scratch) *s, double *sums)
{
    ptrdiff_t d = e->density->n_features;
    ptrdiff_t size = 1 + d + (e->density->kind == GAUSSIAN_FULL ? d * d : d);
    FN(partial) p;
    FN(lay_partial)(d, memory, &p);
    for (ptrdiff_t row = 0; row < n; row++)
        if (s->best[row]) {
            FN(take_row)(e->density, begin + row, &p);
            for (ptrdiff_t k = 0; k < e->density->n_components; k++) {
                REAL *r = s->r + k * s->cap + row;
                if (p.n_seen && *r > 0)
                    FN(expect)(e, k, *r, &p, sums + k * size);
                *r = 0;
            }
        }
}
