/* Student-t components on one chunk of rows: Gaussians that each row widens for itself. A template:
 * see vec.h.
 *
 * With q the squared distance from the mean in the units of the scale matrix, and df the degrees of
 * freedom, the log-density is student_norm - (df + D) / 2 log(1 + q / df), and a row counts for the
 * moments by its responsibility times u = (df + D) / (df + q), the expected precision of its own
 * Gaussian (Peel & McLachlan 2000, *Robust mixture modelling using the t distribution*). Gaussian
 * kernels make q: with log_norm 0 their lp is -q / 2. */

/* tail = log(1 + q / df), r = the log-density, which normalise() reads there. */
static void FN(student_log_prob)(const gaussian_job *job, const scratch_t *s, ptrdiff_t padded)
{
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        REAL norm = (REAL)job->student_norm[k], per_df = (REAL)(-2 / job->df[k]);
        REAL half = (REAL)((job->df[k] + job->n_features) / 2);
        const REAL *lp = s->lp + k * s->cap;
        REAL *tail = s->tail + k * s->cap, *r = s->r + k * s->cap;
        for (ptrdiff_t row = 0; row < padded; row += VL) {
            /* what 1 + x rounds off counts where x is small: it is times df */
            vec x = FN(load)(lp + row) * per_df, w = 1 + x, own = FN(log)(w);
            vec rest = (x - (w - 1)) / w;
            own = FN(select)((ivec)(w < FN(fill)((REAL)INFINITY)), own + rest, w);
            FN(store)(tail + row, own);
            FN(store)(r + row, norm - half * own);
        }
    }
}

/* The sums of r and of r times tail of each component; then r *= u. */
static void FN(student_weights)(const gaussian_job *job, const scratch_t *s, ptrdiff_t padded)
{
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        vec df = FN(fill)((REAL)job->df[k]), more = df + (REAL)job->n_features;
        const REAL *lp = s->lp + k * s->cap, *tail = s->tail + k * s->cap;
        REAL *r = s->r + k * s->cap;
        vec sums[2] = {FN(fill)(0), FN(fill)(0)};
        for (ptrdiff_t row = 0; row < padded; row += VL) {
            vec own = FN(load)(r + row), zero = FN(fill)(0);
            sums[0] += own;
            sums[1] += FN(select)((ivec)(own > zero), own * FN(load)(tail + row), zero);
            FN(store)(r + row, own * more / (df - 2 * FN(load)(lp + row)));
        }
        s->student[2 * k] = s->student[2 * k + 1] = 0;
        FN(add_sums)(sums, 2, s->student + 2 * k);
    }
}
