/* Markov chains: from the emissions to the frames of a block of rows, and from its posteriors back to
 * the emissions. See job.h and leaf.h. */

/* One state for certain: the others are impossible. */
static void FN(apply_known)(const chain_job *job, ptrdiff_t first, ptrdiff_t n, REAL never, REAL *w)
{
    ptrdiff_t width = job->width;
    if (job->known == NULL)
        return;
    for (ptrdiff_t t = 0; t < n; t++, w += width) {
        int32_t state = job->known[first + t];
        for (ptrdiff_t k = 0; state >= 0 && k < width; k++)
            w[k] = k == state ? w[k] : never;
    }
}

/* Rows of w from a table with a row for each code. */
static void FN(look_up)(const chain_job *job, const REAL *table, ptrdiff_t first, ptrdiff_t n,
                        REAL *w)
{
    ptrdiff_t width = job->width;
    for (ptrdiff_t t = 0; t < n; t++, w += width) {
        const REAL *row = table + job->codes[first + t] * width;
        for (ptrdiff_t k = 0; k < width; k += VL)
            FN(store)(w + k, FN(load)(row + k));
    }
}

static void FN(add_codes)(const chain_job *job, const chain_work *work, ptrdiff_t first,
                          ptrdiff_t n, double *sums)
{
    ptrdiff_t width = job->width;
    const REAL *gamma = work->gamma;
    for (ptrdiff_t t = 0; t < n; t++, gamma += width) {
        double *row = sums + job->codes[first + t] * width;
        for (ptrdiff_t k = 0; k < width; k += VL)
            FN(store)(row + k, FN(load)(row + k) + FN(load)(gamma + k));
    }
}

/* VL rows of lp, which are lanes there, to rows of w, through f(lp, base). */
#define FRAMES(f)                                                                                 \
    for (ptrdiff_t k0 = 0; k0 < width; k0 += VL) {                                                \
        vec tile[LANES];                                                                          \
        UNROLL                                                                                    \
        for (ptrdiff_t l = 0; l < VL; l++)                                                        \
            tile[l] = k0 + l < n_states ? f(FN(load)(lp + (k0 + l) * column)) : padding;          \
        FN(transpose)(tile);                                                                      \
        UNROLL                                                                                    \
        for (ptrdiff_t l = 0; l < VL; l++)                                                        \
            FN(store)(w + l * width + k0, tile[l]);                                               \
    }

static void FN(frames)(const chain_job *job, chain_work *work, ptrdiff_t first, ptrdiff_t n)
{
    ptrdiff_t n_states = job->n_states, width = job->width, column = job->emission.column;
    const REAL *lp;
    REAL *w = work->w;
    vec padding = FN(fill)(0);
    if (job->codes) {
        FN(look_up)(job, job->likelihoods, first, n, w);
        for (ptrdiff_t t = 0; t < n; t++)
            work->shift[t] = job->shifts[job->codes[first + t]];
        FN(apply_known)(job, first, n, 0, w);
        return;
    }
    if (job->emission.likelihood) {
        work->lp = NULL;
        lp = job->emission.likelihood(job->emission.job, first, n, work->scratch, work->shift);
        for (ptrdiff_t row = 0; row < n; row += VL, lp += VL, w += VL * width)
            FRAMES()
        FN(apply_known)(job, first, n, 0, work->w);
        return;
    }
    lp = work->lp = job->emission.log_prob(job->emission.job, first, n, work->scratch);
    for (ptrdiff_t row = 0; row < n; row += VL, lp += VL, w += VL * width) {
        vec base = FN(fill)((REAL)CHAIN_NEVER); /* -inf - this is -inf, and not nan */
        for (ptrdiff_t k = 0; k < n_states; k++)
            base = FN(max)(FN(load)(lp + k * column), base);
        FN(store)(work->shift + row, base);
#define SHIFTED(x) FN(exp)((x)-base)
        FRAMES(SHIFTED)
#undef SHIFTED
    }
    FN(apply_known)(job, first, n, 0, work->w);
}

/* gamma to columns, 0 from n up to a multiple of 64. */
static void FN(to_columns)(const chain_job *job, chain_work *work, ptrdiff_t n)
{
    ptrdiff_t width = job->width, column = job->emission.column, padded = (n + 63) / 64 * 64;
    for (ptrdiff_t row = 0; row < n; row += VL) {
        const REAL *gamma = work->gamma + row * width;
        for (ptrdiff_t k0 = 0; k0 < width; k0 += VL) {
            vec tile[LANES];
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++)
                tile[l] = row + l < n ? FN(load)(gamma + l * width + k0) : FN(fill)(0);
            FN(transpose)(tile);
            for (ptrdiff_t l = 0; l < VL && k0 + l < job->n_states; l++)
                FN(store)(work->columns + (k0 + l) * column + row, tile[l]);
        }
    }
    for (ptrdiff_t k = 0; k < job->n_states; k++)
        for (ptrdiff_t row = (n + VL - 1) / VL * VL; row < padded; row += VL)
            FN(store)(work->columns + k * column + row, FN(fill)(0));
}
