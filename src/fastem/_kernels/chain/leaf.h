/* Markov chains: forward and backward over a block of rows. See job.h for what is computed, vec.h for
 * the template. States are the lanes of vectors; where there are few, the transition matrix and the
 * sums stay in registers. */

#undef LANES
#undef CHAIN_CASES
#define LANES (VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1)
/* What `call` does with 1, 2 or 4 vectors of states, or (0) with more. The includer undefines it. */
#define CHAIN_CASES(call)                                                                         \
    switch (job->width / VL) {                                                                    \
    case 1: call(1); break;                                                                       \
    case 2: call(2); break;                                                                       \
    case 4: call(4); break;                                                                       \
    default: call(0); break;                                                                      \
    }

/* ---- frames ------------------------------------------------------------------------------ */

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

/* ---- forward and backward ---------------------------------------------------------------- */

/* out[v] = sum_i a[i] matrix[i, v] over `vecs` vectors from `matrix` on. Several sums each, so that
 * there are no long chains of dependent additions. */
ALWAYS_INLINE void FN(row_times)(const int vecs, ptrdiff_t n, const REAL *a, const REAL *matrix,
                                 ptrdiff_t width, vec *out)
{
    const int chains = vecs == 4 ? 2 : 4;
    vec sum[4][4];
    UNROLL
    for (int c = 0; c < chains; c++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            sum[c][v] = FN(fill)(0);
    UNROLL
    for (ptrdiff_t i = 0; i < n; i++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            sum[i % chains][v] += a[i] * FN(load)(matrix + i * width + v * VL);
    UNROLL
    for (int v = 0; v < vecs; v++)
        out[v] = chains == 4 ? (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v])
                             : sum[0][v] + sum[1][v];
}

/* The power of 2 that takes s to [1, 2), in every lane; adds its logarithm to the exponent. */
ALWAYS_INLINE vec FN(scale_of)(vec s, int64_t *exponent)
{
    ivec bits = FN(bits)(s) & (ivec)FN(bits)(FN(fill)((REAL)INFINITY));
#if VEC_BYTES
    *exponent += (bits[0] >> 52) - 1023;
#else
    *exponent += (bits >> 52) - 1023;
#endif
    return FN(from_bits)((ivec)(((INT)2046 << 52) - bits));
}

/* One step: alpha's next row from this one, and w = b times the scale. Returns the next row's sum,
 * still in lanes. `vecs` 0: any number of vectors, a multiple of 4. */
ALWAYS_INLINE vec FN(step)(const int vecs, const int scaled, const chain_job *job, vec scale,
                           REAL *alpha, REAL *w)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    const int tile = vecs ? vecs : 4;
    vec s = FN(fill)(0);
    for (ptrdiff_t k = 0; k < width; k += tile * VL) {
        vec sum[4];
        FN(row_times)(tile, vecs ? width : job->n_states, alpha, job->trans + k, width, sum);
        UNROLL
        for (int v = 0; v < tile; v++) {
            vec own = FN(load)(w + k + v * VL), next;
            if (scaled) {
                own *= scale;
                FN(store)(w + k + v * VL, own);
            }
            next = sum[v] * own;
            FN(store)(alpha + width + k + v * VL, next);
            s += next;
        }
    }
    return s;
}

/* Every second step is scaled, by the sum before the two: it is known in time, so that the chain of
 * operations that depend on each other is the product alone. */
ALWAYS_INLINE void FN(forward_by)(const int vecs, const chain_job *job, chain_work *work,
                                  ptrdiff_t at, ptrdiff_t n, int begins)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    REAL *w = work->w + at * width, *alpha = work->alpha + at * width;
    vec least = FN(fill)(work->least), s = FN(fill)(0), one = FN(fill)(1);
    int64_t exponent = work->exponent;
    ptrdiff_t t = 0;
    if (begins) {
        for (ptrdiff_t k = 0; k < width; k += VL)
            FN(store)(alpha + width + k, FN(load)(job->start + k) * FN(load)(w + k));
        alpha += width;
        w += width;
        t = 1;
    }
    for (ptrdiff_t k = 0; k < width; k += VL)
        s += FN(load)(alpha + k);
    for (; t + 2 <= n; t += 2, alpha += 2 * width, w += 2 * width) {
        vec all = FN(sum_all)(s), scale;
        least = FN(min)(all, least);
        scale = FN(scale_of)(all, &exponent);
        FN(step)(vecs, 0, job, one, alpha, w);
        s = FN(step)(vecs, 1, job, scale, alpha + width, w + width);
    }
    if (t < n)
        FN(step)(vecs, 0, job, one, alpha, w);
    work->exponent = exponent;
    FN(store)(work->spare, least);
    work->least = work->spare[0];
}

static void FN(forward)(const chain_job *job, chain_work *work, ptrdiff_t at, ptrdiff_t n, int begins)
{
#define CALL(vecs) FN(forward_by)(vecs, job, work, at, n, begins)
    CHAIN_CASES(CALL)
#undef CALL
}

/* Leaves in w what add_pairs() needs, or, of one vector, does its work. */
ALWAYS_INLINE void FN(backward_by)(const int vecs, const chain_job *job, chain_work *work,
                                   ptrdiff_t at, ptrdiff_t n, int begins)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    const int tile = vecs ? vecs : 4;
    const REAL *turned = job->turned;
    REAL *w = work->w + (at + n - 1) * width, *alpha = work->alpha + (at + n) * width;
    REAL *gamma = work->gamma + (at + n - 1) * width, *beta = work->beta;
    vec most = FN(fill)(work->most), mass = FN(fill)(0), pairs[LANES], b[4];
    if (vecs == 1)
        UNROLL
        for (ptrdiff_t j = 0; j < VL; j++)
            pairs[j] = FN(load)(work->pairs + j * VL);
    UNROLL
    for (int v = 0; v < vecs; v++)
        b[v] = FN(load)(beta + v * VL);
    for (ptrdiff_t t = n - 1; t >= 0; t--, w -= width, alpha -= width, gamma -= width) {
        for (ptrdiff_t k = 0; k < width; k += tile * VL)
            UNROLL
            for (int v = 0; v < tile; v++) {
                vec own = vecs ? b[v] : FN(load)(beta + k + v * VL);
                vec posterior = FN(load)(alpha + k + v * VL) * own;
                FN(store)(gamma + k + v * VL, posterior);
                FN(store)(w + k + v * VL, FN(load)(w + k + v * VL) * own);
                mass += posterior;
                most = FN(max)(own, most);
            }
        if (t == 0 && begins) {
            for (ptrdiff_t k = 0; k < width; k += VL)
                FN(store)(w + k, FN(fill)(0));
            break;
        }
        if (vecs == 1) {
            vec before = FN(load)(alpha - width);
            UNROLL
            for (ptrdiff_t j = 0; j < VL; j++)
                pairs[j] += w[j] * before;
        }
        for (ptrdiff_t k = 0; k < width; k += tile * VL) {
            FN(row_times)(tile, vecs ? width : job->n_states, w, turned + k, width, b);
            UNROLL
            for (int v = 0; v < tile && !vecs; v++)
                FN(store)(beta + k + v * VL, b[v]);
        }
    }
    UNROLL
    for (int v = 0; v < vecs; v++)
        FN(store)(beta + v * VL, b[v]);
    if (vecs == 1)
        UNROLL
        for (ptrdiff_t j = 0; j < VL; j++)
            FN(store)(work->pairs + j * VL, pairs[j]);
    for (ptrdiff_t l = 0; l < VL; l++) {
        FN(store)(work->spare, most);
        work->most = work->spare[l] > work->most ? work->spare[l] : work->most;
    }
    FN(store)(work->spare, FN(sum_all)(mass));
    work->mass += work->spare[0];
}

static void FN(backward)(const chain_job *job, chain_work *work, ptrdiff_t at, ptrdiff_t n,
                         int begins)
{
#define CALL(vecs) FN(backward_by)(vecs, job, work, at, n, begins)
    CHAIN_CASES(CALL)
#undef CALL
}

/* pairs[j, i] += sum_t w[t, j] alpha[t - 1, i]: `count` rows j by `vecs` vectors of i. */
ALWAYS_INLINE void FN(pairs_tile)(const int count, const int vecs, const REAL *w, const REAL *alpha,
                                  ptrdiff_t width, ptrdiff_t n, REAL *pairs)
{
    vec sum[8][4];
    UNROLL
    for (int j = 0; j < count; j++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            sum[j][v] = FN(load)(pairs + j * width + v * VL);
    for (ptrdiff_t t = 0; t < n; t++, w += width, alpha += width) {
        vec before[4];
        UNROLL
        for (int v = 0; v < vecs; v++)
            before[v] = FN(load)(alpha + v * VL);
        UNROLL
        for (int j = 0; j < count; j++)
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[j][v] += w[j] * before[v];
    }
    UNROLL
    for (int j = 0; j < count; j++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            FN(store)(pairs + j * width + v * VL, sum[j][v]);
}

ALWAYS_INLINE void FN(add_pairs_by)(const int vecs, const chain_job *job, chain_work *work,
                                    ptrdiff_t n)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    enum { HALF = VEC_REGISTERS / 2 };
    const int tile = vecs ? vecs : 4, count = HALF / tile < VL * tile ? HALF / tile : (int)VL * tile;
    for (ptrdiff_t j = 0; j < width; j += count)
        for (ptrdiff_t k = 0; k < width; k += tile * VL)
            FN(pairs_tile)(count, tile, work->w + j, work->alpha + k, width, n,
                           work->pairs + j * width + k);
}

static void FN(add_pairs)(const chain_job *job, chain_work *work, ptrdiff_t n)
{
    switch (job->width / VL) {
    case 1: break; /* backward() has done it */
    case 2: FN(add_pairs_by)(2, job, work, n); break;
    case 4: FN(add_pairs_by)(4, job, work, n); break;
    default: FN(add_pairs_by)(0, job, work, n); break;
    }
}
