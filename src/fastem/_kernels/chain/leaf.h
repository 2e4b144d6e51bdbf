/* Markov chains: forward and backward over a block of rows. See job.h for what is computed, vec.h for
 * the template. States are the lanes of vectors; where there are few, the transition matrix and the
 * sums stay in registers. */

#undef LANES
#undef CHAIN_CASES
#undef ALL_RUNS
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

/* ---- forward and backward ---------------------------------------------------------------- */

/* How many runs of so many vectors (0: any number) are taken abreast, and how many of those at once:
 * their sums fit the registers. While the one half waits for its sums, the other is worked on. */
#define AT_ONCE(vecs)                                                                             \
    ((vecs) == 1 ? (VEC_REGISTERS == 32 ? 4 : 2) : (vecs) && VEC_REGISTERS == 32 ? 2 : 1)
#define ABREAST(vecs) (AT_ONCE(vecs) > 1 && (vecs) <= 2 ? 2 * AT_ONCE(vecs) : AT_ONCE(vecs))

static int FN(abreast)(const chain_job *job)
{
    int count = 1;
#define CALL(vecs) count = ABREAST(vecs)
    CHAIN_CASES(CALL)
#undef CALL
    return count;
}

/* Keeps a vector that several runs use in a register: compilers would read it again for each. */
#undef KEEP
#if defined(__GNUC__) && defined(__x86_64__) && VEC_BYTES
#if VEC_BYTES == 64
#define KEEP(vector) __asm__("" : "+v"(vector))
#else
#define KEEP(vector) __asm__("" : "+x"(vector))
#endif
#else
#define KEEP(vector) ((void)0)
#endif

/* out[r][v] = sum_i a[r][i] matrix[i, v] over `vecs` vectors from `matrix` on, for q rows a. Several
 * sums each, so that there are no long chains of dependent additions. */
ALWAYS_INLINE void FN(row_times)(const int vecs, const int q, ptrdiff_t n, REAL *const *a,
                                 const REAL *matrix, ptrdiff_t width, vec out[][4])
{
    const int chains = vecs == 4 ? 2 : 4;
    vec sum[CHAIN_ABREAST][4][4];
    UNROLL
    for (int r = 0; r < q; r++)
        UNROLL
        for (int c = 0; c < chains; c++)
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[r][c][v] = FN(fill)(0);
    UNROLL
    for (ptrdiff_t i = 0; i < n; i++)
        UNROLL
        for (int v = 0; v < vecs; v++) {
            vec own = FN(load)(matrix + i * width + v * VL);
            if (q > 1)
                KEEP(own);
            UNROLL
            for (int r = 0; r < q; r++)
                sum[r][i % chains][v] += a[r][i] * own;
        }
    UNROLL
    for (int r = 0; r < q; r++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            out[r][v] = chains == 4 ? (sum[r][0][v] + sum[r][1][v]) + (sum[r][2][v] + sum[r][3][v])
                                    : sum[r][0][v] + sum[r][1][v];
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

/* One step of q runs: alpha's next row from this one, and w = b times the scale. s becomes the next
 * row's sum, still in lanes. `vecs` 0: any number of vectors, a multiple of 4. */
ALWAYS_INLINE void FN(step)(const int vecs, const int q, const int scaled, const chain_job *job,
                            const vec *scale, REAL **alpha, REAL **w, vec *s)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    const int tile = vecs ? vecs : 4;
    UNROLL
    for (int r = 0; r < q; r++)
        s[r] = FN(fill)(0);
    for (ptrdiff_t k = 0; k < width; k += tile * VL) {
        vec sum[CHAIN_ABREAST][4];
        FN(row_times)(tile, q, vecs ? width : job->n_states, alpha, job->trans + k, width, sum);
        UNROLL
        for (int r = 0; r < q; r++)
            UNROLL
            for (int v = 0; v < tile; v++) {
                vec own = FN(load)(w[r] + k + v * VL), next;
                if (scaled) {
                    own *= scale[r];
                    FN(store)(w[r] + k + v * VL, own);
                }
                next = sum[r][v] * own;
                FN(store)(alpha[r] + width + k + v * VL, next);
                s[r] += next;
            }
    }
    UNROLL
    for (int r = 0; r < q; r++) {
        alpha[r] += width;
        w[r] += width;
    }
}

/* Rows [from, to) of q runs. Every second step is scaled, by the sum before the two: it is known in
 * time, so that the chain of operations that depend on each other is the product alone. */
ALWAYS_INLINE void FN(forward_by)(const int vecs, const int q, const chain_job *job,
                                  const chain_work *work, chain_run *runs, ptrdiff_t from,
                                  ptrdiff_t to, int begins)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    REAL *w[CHAIN_ABREAST], *alpha[CHAIN_ABREAST];
    vec least[CHAIN_ABREAST], s[CHAIN_ABREAST], scale[CHAIN_ABREAST];
    int64_t exponent[CHAIN_ABREAST];
    const int half = q > 1 ? AT_ONCE(vecs) : 1;
    ptrdiff_t t = from + begins;
    UNROLL
    for (int r = 0; r < q; r++) {
        w[r] = work->w + (runs[r].at + from) * width;
        alpha[r] = work->alpha + (runs[r].at + from) * width;
        least[r] = FN(fill)(runs[r].least);
        exponent[r] = runs[r].exponent;
        s[r] = FN(fill)(0);
        if (begins) {
            for (ptrdiff_t k = 0; k < width; k += VL)
                FN(store)(alpha[r] + width + k, FN(load)(job->start + k) * FN(load)(w[r] + k));
            alpha[r] += width;
            w[r] += width;
        }
        for (ptrdiff_t k = 0; k < width; k += VL)
            s[r] += FN(load)(alpha[r] + k);
    }
    for (; t + 2 <= to; t += 2) {
        UNROLL
        for (int r = 0; r < q; r++) {
            vec all = FN(sum_all)(s[r]);
            least[r] = FN(min)(all, least[r]);
            scale[r] = FN(scale_of)(all, &exponent[r]);
        }
        UNROLL
        for (int scaled = 0; scaled < 2; scaled++)
            UNROLL
            for (int r = 0; r < q; r += half)
                FN(step)(vecs, half, scaled, job, scale + r, alpha + r, w + r, s + r);
    }
    UNROLL
    for (int r = 0; r < q && t < to; r += half)
        FN(step)(vecs, half, 0, job, scale + r, alpha + r, w + r, s + r);
    UNROLL
    for (int r = 0; r < q; r++) {
        runs[r].exponent = exponent[r];
        FN(store)(work->spare, least[r]);
        runs[r].least = work->spare[0];
    }
}

/* What q runs have in common abreast, in whole pairs of steps, and then what is left of each. */
ALWAYS_INLINE void FN(forward_abreast)(const int vecs, const int q, const chain_job *job,
                                       const chain_work *work, chain_run *runs, int begins)
{
    ptrdiff_t common = runs[0].n;
    for (int r = 1; r < q; r++)
        common = runs[r].n < common ? runs[r].n : common;
    common -= (common - begins) % 2;
    if (common)
        FN(forward_by)(vecs, q, job, work, runs, 0, common, begins);
    for (int r = 0; r < q; r++)
        if (common < runs[r].n)
            FN(forward_by)(vecs, 1, job, work, runs + r, common, runs[r].n, begins && !common);
}

/* How many of `count` runs to take at a time. */
ALWAYS_INLINE int FN(some_of)(const int vecs, int count)
{
    return count >= ABREAST(vecs) ? ABREAST(vecs) : count >= AT_ONCE(vecs) ? AT_ONCE(vecs) : 1;
}

#define ALL_RUNS(vecs, name)                                                                      \
    for (int r = 0, q; r < count; r += q) {                                                       \
        q = FN(some_of)(vecs, count - r);                                                         \
        if (q == 1)                                                                               \
            FN(name##_by)(vecs, 1, job, work, runs + r, 0, runs[r].n, begins);                        \
        else if (q == AT_ONCE(vecs))                                                              \
            FN(name##_abreast)(vecs, AT_ONCE(vecs), job, work, runs + r, begins);                     \
        else                                                                                      \
            FN(name##_abreast)(vecs, ABREAST(vecs), job, work, runs + r, begins);                     \
    }

static void FN(forward)(const chain_job *job, chain_work *work, chain_run *runs, int count,
                        int begins)
{
#define CALL(vecs) ALL_RUNS(vecs, forward)
    CHAIN_CASES(CALL)
#undef CALL
}

/* Rows [from, to) of q runs. Leaves in w what add_pairs() needs, or, of one vector, does its work. */
ALWAYS_INLINE void FN(backward_by)(const int vecs, const int q, const chain_job *job,
                                   const chain_work *work, chain_run *runs, ptrdiff_t from,
                                   ptrdiff_t to, int begins)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    const int tile = vecs ? vecs : 4, half = q > 1 ? AT_ONCE(vecs) : 1;
    REAL *w[CHAIN_ABREAST], *alpha[CHAIN_ABREAST], *gamma[CHAIN_ABREAST];
    vec most = FN(fill)(0), mass = FN(fill)(0), pairs[LANES], b[CHAIN_ABREAST][4];
    if (vecs == 1)
        UNROLL
        for (ptrdiff_t j = 0; j < VL; j++)
            pairs[j] = FN(load)(work->pairs + j * VL);
    UNROLL
    for (int r = 0; r < q; r++) {
        ptrdiff_t last = runs[r].at + to - 1;
        w[r] = work->w + last * width;
        alpha[r] = work->alpha + (last + 1) * width;
        gamma[r] = work->gamma + last * width;
        UNROLL
        for (int v = 0; v < vecs; v++)
            b[r][v] = FN(load)(runs[r].beta + v * VL);
    }
    for (ptrdiff_t t = to - 1; t >= from; t--) {
        UNROLL
        for (int r = 0; r < q; r++)
            for (ptrdiff_t k = 0; k < width; k += tile * VL)
                UNROLL
                for (int v = 0; v < tile; v++) {
                    vec own = vecs ? b[r][v] : FN(load)(runs[r].beta + k + v * VL);
                    vec posterior = FN(load)(alpha[r] + k + v * VL) * own;
                    FN(store)(gamma[r] + k + v * VL, posterior);
                    FN(store)(w[r] + k + v * VL, FN(load)(w[r] + k + v * VL) * own);
                    if (q == 1) {
                        mass += posterior;
                        most = FN(max)(own, most);
                    }
                }
        if (t == 0 && begins) {
            UNROLL
            for (int r = 0; r < q; r++)
                for (ptrdiff_t k = 0; k < width; k += VL)
                    FN(store)(w[r] + k, FN(fill)(0));
            break;
        }
        UNROLL
        for (int r = 0; r < q && vecs == 1; r++) {
            vec before = FN(load)(alpha[r] - width);
            UNROLL
            for (ptrdiff_t j = 0; j < VL; j++)
                pairs[j] += w[r][j] * before;
        }
        for (ptrdiff_t k = 0; k < width; k += tile * VL) {
            UNROLL
            for (int r = 0; r < q; r += half)
                FN(row_times)(tile, half, vecs ? width : job->n_states, w + r, job->turned + k,
                              width, b + r);
            UNROLL
            for (int v = 0; v < tile && !vecs; v++)
                FN(store)(runs[0].beta + k + v * VL, b[0][v]);
        }
        UNROLL
        for (int r = 0; r < q; r++) {
            w[r] -= width;
            alpha[r] -= width;
            gamma[r] -= width;
        }
    }
    if (vecs == 1)
        UNROLL
        for (ptrdiff_t j = 0; j < VL; j++)
            FN(store)(work->pairs + j * VL, pairs[j]);
    UNROLL
    for (int r = 0; r < q; r++)
        UNROLL
        for (int v = 0; v < vecs; v++)
            FN(store)(runs[r].beta + v * VL, b[r][v]);
    if (q > 1)
        return;
    FN(store)(work->spare, most);
    for (ptrdiff_t l = 0; l < VL; l++)
        runs->most = work->spare[l] > runs->most ? work->spare[l] : runs->most;
    FN(store)(work->spare, FN(sum_all)(mass));
    runs->mass += work->spare[0];
}

/* First what each has more, then what all have in common. */
ALWAYS_INLINE void FN(backward_abreast)(const int vecs, const int q, const chain_job *job,
                                        const chain_work *work, chain_run *runs, int begins)
{
    ptrdiff_t common = runs[0].n;
    for (int r = 1; r < q; r++)
        common = runs[r].n < common ? runs[r].n : common;
    for (int r = 0; r < q; r++)
        if (common < runs[r].n)
            FN(backward_by)(vecs, 1, job, work, runs + r, common, runs[r].n, begins);
    FN(backward_by)(vecs, q, job, work, runs, 0, common, begins);
}

static void FN(backward)(const chain_job *job, chain_work *work, chain_run *runs, int count,
                         int begins)
{
#define CALL(vecs) ALL_RUNS(vecs, backward)
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
