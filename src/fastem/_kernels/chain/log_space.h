/* Markov chains in log space: for the rare sequence whose forward variables underflow, and for the
 * best path. See job.h, and leaf.h for the names. */

/* The log-densities of rows [at, at + n) of the block, which begins at row `first` of the data, less
 * the rows' shifts: posteriors are then as good as the differences of states are. */
static void FN(log_frames)(const chain_job *job, chain_work *work, ptrdiff_t first, ptrdiff_t at,
                           ptrdiff_t n)
{
    ptrdiff_t width = job->width, column = job->emission.column;
    for (ptrdiff_t t = at; t < at + n; t++)
        for (ptrdiff_t k = 0; k < width; k++) {
            REAL lp = (REAL)CHAIN_NEVER;
            if (job->codes)
                lp = job->logs[job->codes[first + t] * width + k];
            else if (k < job->n_states)
                lp = work->lp[k * column + t];
            if (work->shift[t] > (REAL)CHAIN_NEVER)
                lp -= work->shift[t];
            work->w[t * width + k] = lp > (REAL)CHAIN_NEVER ? lp : (REAL)CHAIN_NEVER;
        }
    FN(apply_known)(job, first + at, n, (REAL)CHAIN_NEVER, work->w + at * width);
}

/* log sum_i exp(a[i] + matrix[i]) of one vector of columns; at least CHAIN_NEVER. */
ALWAYS_INLINE vec FN(log_sum)(ptrdiff_t n, const REAL *a, const REAL *matrix, ptrdiff_t width)
{
    vec never = FN(fill)((REAL)CHAIN_NEVER), base = never, sum = FN(fill)(0);
    for (ptrdiff_t i = 0; i < n; i++)
        base = FN(max)(base, a[i] + FN(load)(matrix + i * width));
    for (ptrdiff_t i = 0; i < n; i++)
        sum += FN(exp)((a[i] + FN(load)(matrix + i * width)) - base);
    base = base + FN(log)(FN(max)(sum, FN(fill)((REAL)1e-300)));
    return FN(max)(base, never);
}

/* log sum_k exp(a[k] + b[k]); b may be NULL. CHAIN_NEVER or less where there is nothing. */
static REAL FN(log_dot)(const chain_job *job, const REAL *a, const REAL *b)
{
    REAL base = (REAL)-INFINITY, sum = 0;
    for (ptrdiff_t k = 0; k < job->n_states; k++) {
        REAL both = a[k] + (b ? b[k] : 0);
        base = both > base ? both : base;
    }
    for (ptrdiff_t k = 0; k < job->n_states; k++)
        sum += exp(a[k] + (b ? b[k] : 0) - base);
    return base + log(sum);
}

/* Takes the largest off a row, if some state is possible, and returns it. */
static REAL FN(take_largest)(const chain_job *job, REAL *row)
{
    REAL largest = row[0];
    for (ptrdiff_t k = 1; k < job->n_states; k++)
        largest = row[k] > largest ? row[k] : largest;
    if (largest < (REAL)0.1 * CHAIN_NEVER)
        return 0;
    for (ptrdiff_t k = 0; k < job->width; k++)
        row[k] = row[k] - largest > CHAIN_NEVER ? row[k] - largest : CHAIN_NEVER;
    return largest;
}

static void FN(log_forward)(const chain_job *job, chain_work *work, ptrdiff_t at, ptrdiff_t n,
                            int begins)
{
    ptrdiff_t width = job->width;
    for (ptrdiff_t t = at; t < at + n; t++) {
        REAL *before = work->alpha + t * width, *alpha = before + width;
        for (ptrdiff_t k = 0; k < width; k += VL) {
            vec sum = begins && t == at
                          ? FN(load)(job->log_start + k)
                          : FN(log_sum)(job->n_states, before, job->log_trans + k, width);
            sum += FN(load)(work->w + t * width + k);
            FN(store)(alpha + k, FN(max)(sum, FN(fill)((REAL)CHAIN_NEVER)));
        }
        work->log_scale += FN(take_largest)(job, alpha);
    }
}

/* out[k] += weight * exp(a[k] + b[k] + c) */
ALWAYS_INLINE void FN(add_exp)(ptrdiff_t width, const REAL *a, const REAL *b, REAL c, REAL weight,
                               REAL *out)
{
    for (ptrdiff_t k = 0; k < width; k += VL) {
        vec whole = FN(min)(FN(load)(a + k) + FN(load)(b + k) + c, FN(fill)(0));
        FN(store)(out + k, FN(load)(out + k) + weight * FN(exp)(whole));
    }
}

static void FN(log_backward)(const chain_job *job, chain_work *work, ptrdiff_t at, ptrdiff_t n,
                             int begins, double weight)
{
    ptrdiff_t width = job->width, n_states = job->n_states;
    REAL *beta = work->beta;
    for (ptrdiff_t t = at + n - 1; t >= at; t--) {
        const REAL *alpha = work->alpha + (t + 1) * width, *before = alpha - width;
        REAL *w = work->w + t * width, *gamma = work->gamma + t * width, total;
        memset(gamma, 0, width * sizeof(REAL));
        FN(add_exp)(width, alpha, beta, -FN(log_dot)(job, alpha, beta), weight, gamma);
        for (ptrdiff_t k = 0; k < width; k += VL)
            FN(store)(w + k, FN(max)(FN(load)(w + k) + FN(load)(beta + k),
                                     FN(fill)((REAL)CHAIN_NEVER)));
        if (t > at || !begins) {
            for (ptrdiff_t k = 0; k < width; k += VL)
                FN(store)(beta + k, FN(log_sum)(n_states, w, job->log_turned + k, width));
            total = FN(log_dot)(job, before, beta);
            for (ptrdiff_t i = 0; i < n_states; i++)
                FN(add_exp)(width, job->log_trans + i * width, w, before[i] - total, weight,
                            work->joint + i * width);
            FN(take_largest)(job, beta);
        }
        memset(w, 0, width * sizeof(REAL)); /* what add_pairs() reads */
    }
}

/* ---- the best path ----------------------------------------------------------------------- */

/* The log-densities of the block's n rows. */
static void FN(best_frames)(const chain_job *job, chain_work *work, ptrdiff_t first, ptrdiff_t n)
{
    ptrdiff_t n_states = job->n_states, width = job->width, column = job->emission.column;
    const REAL *lp;
    REAL *w = work->w;
    vec padding = FN(fill)((REAL)CHAIN_NEVER);
    if (job->codes)
        FN(look_up)(job, job->logs, first, n, w);
    else {
        lp = job->emission.log_prob(job->emission.job, first, n, work->scratch);
        for (ptrdiff_t row = 0; row < n; row += VL, lp += VL, w += VL * width) {
#define AT_LEAST_NEVER(x) FN(max)(x, padding)
            FRAMES(AT_LEAST_NEVER)
#undef AT_LEAST_NEVER
        }
    }
    FN(apply_known)(job, first, n, (REAL)CHAIN_NEVER, work->w);
}

/* Writes which states i have the largest a[i] + matrix[i], of one vector of columns: bits of a byte
 * each. */
ALWAYS_INLINE void FN(ways_to)(ptrdiff_t n, const REAL *a, const REAL *matrix, ptrdiff_t width,
                               vec top, uint8_t *ways)
{
    vec nothing = FN(fill)(0);
    ivec found = FN(bits)(nothing);
    UNROLL
    for (ptrdiff_t i = 0; i < n; i++) {
        vec bit = FN(from_bits)(FN(bits)(nothing) + ((INT)1 << i));
        ivec equal = (ivec)(a[i] + FN(load)(matrix + i * width) == top);
        found |= FN(bits)(FN(select)(equal, bit, nothing));
    }
#if VEC_BYTES
    typedef uint8_t bytes __attribute__((vector_size(VEC_BYTES / 8), aligned(1), may_alias));
    *(bytes *)ways = __builtin_convertvector(found, bytes);
#else
    *ways = (uint8_t)found;
#endif
}

ALWAYS_INLINE void FN(best_by)(const int vecs, const int traced, const chain_job *job,
                               chain_work *work, ptrdiff_t at, ptrdiff_t n, int begins,
                               int64_t *ways)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    const int tile = vecs ? vecs : 4;
    const ptrdiff_t n_states = vecs ? width : job->n_states;
    const int chains = tile == 4 ? 2 : 4;
    ptrdiff_t t = at;
    if (begins) {
        for (ptrdiff_t k = 0; k < width; k += VL)
            FN(store)(work->alpha + (t + 1) * width + k,
                      FN(load)(job->log_start + k) + FN(load)(work->w + t * width + k));
        t++;
    }
    for (; t < at + n; t++) {
        const REAL *before = work->alpha + t * width;
        for (ptrdiff_t k = 0; k < width; k += tile * VL) {
            vec best[4][4];
            UNROLL
            for (int c = 0; c < chains; c++)
                UNROLL
                for (int v = 0; v < tile; v++)
                    best[c][v] = FN(fill)((REAL)-INFINITY);
            UNROLL
            for (ptrdiff_t i = 0; i < n_states; i++)
                UNROLL
                for (int v = 0; v < tile; v++)
                    best[i % chains][v] =
                        FN(max)(before[i] + FN(load)(job->log_trans + i * width + k + v * VL),
                                best[i % chains][v]);
            UNROLL
            for (int v = 0; v < tile; v++) {
                vec top = FN(max)(best[0][v], best[1][v]);
                if (chains == 4)
                    top = FN(max)(top, FN(max)(best[2][v], best[3][v]));
                FN(store)(work->alpha + (t + 1) * width + k + v * VL,
                          top + FN(load)(work->w + t * width + k + v * VL));
                if (traced)
                    FN(ways_to)(n_states, before, job->log_trans + k + v * VL, width, top,
                                (uint8_t *)(ways + t) + k + v * VL);
            }
        }
    }
}

static void FN(best_forward)(const chain_job *job, chain_work *work, ptrdiff_t at, ptrdiff_t n,
                             int begins, int64_t *ways)
{
#define CALL(vecs)                                                                                \
    if (ways)                                                                                     \
        FN(best_by)(vecs, 1, job, work, at, n, begins, ways);                            \
    else                                                                                          \
        FN(best_by)(vecs, 0, job, work, at, n, begins, NULL)
    CHAIN_CASES(CALL)
#undef CALL
}
#undef CHAIN_CASES
#undef FRAMES
