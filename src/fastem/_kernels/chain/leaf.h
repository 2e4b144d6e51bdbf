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

#include "chain/frames.h"

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

/* Of two runs from both ends of a sequence the second goes back in time: its rows are a width apart the
 * other way, and the matrix is the other one. */
#define RETURNS(r) (both && (r) == 1)
#define STRIDE(r) (RETURNS(r) ? -width : width)

/* One step of q runs: alpha's next row from this one, and w = b times the scale. s becomes the next
 * row's sum, still in lanes. `vecs` 0: any number of vectors, a multiple of 4. */
ALWAYS_INLINE void FN(step)(const int vecs, const int q, const int scaled, const chain_job *job,
                            const REAL *matrix, ptrdiff_t stride, const vec *scale, REAL **alpha,
                            REAL **w, vec *s)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    const int tile = vecs ? vecs : 4;
    UNROLL
    for (int r = 0; r < q; r++)
        s[r] = FN(fill)(0);
    for (ptrdiff_t k = 0; k < width; k += tile * VL) {
        vec sum[CHAIN_ABREAST][4];
        FN(row_times)(tile, q, vecs ? width : job->n_states, alpha, matrix + k, width, sum);
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
                FN(store)(alpha[r] + stride + k + v * VL, next);
                s[r] += next;
            }
    }
    UNROLL
    for (int r = 0; r < q; r++) {
        alpha[r] += stride;
        w[r] += stride;
    }
}

/* Rows [from, to) of q runs, or of two from `both` ends. Every second step is scaled, by the sum before
 * the two: it is known in time, so that the chain of operations that depend on each other is the
 * product alone. */
ALWAYS_INLINE void FN(forward_by)(const int vecs, const int q, const int both,
                                  const chain_job *job, const chain_work *work, chain_run *runs,
                                  ptrdiff_t from, ptrdiff_t to, int begins)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    REAL *w[CHAIN_ABREAST], *alpha[CHAIN_ABREAST];
    vec least[CHAIN_ABREAST], s[CHAIN_ABREAST], scale[CHAIN_ABREAST];
    int64_t exponent[CHAIN_ABREAST];
    const int half = q > 1 && !both ? AT_ONCE(vecs) : 1;
    ptrdiff_t t = from + begins;
    UNROLL
    for (int r = 0; r < q; r++) {
        const chain_work *own = work + RETURNS(r);
        ptrdiff_t row = runs[r].at + (RETURNS(r) ? runs[r].n - 1 - from : from);
        w[r] = own->w + row * width;
        alpha[r] = own->alpha + (row + RETURNS(r)) * width;
        least[r] = FN(fill)(runs[r].least);
        exponent[r] = runs[r].exponent;
        s[r] = FN(fill)(0);
        if (begins) {
            const REAL *start = RETURNS(r) ? job->ones : job->start;
            for (ptrdiff_t k = 0; k < width; k += VL)
                FN(store)(alpha[r] + STRIDE(r) + k, FN(load)(start + k) * FN(load)(w[r] + k));
            alpha[r] += STRIDE(r);
            w[r] += STRIDE(r);
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
                FN(step)(vecs, half, scaled, job, RETURNS(r) ? job->turned : job->trans, STRIDE(r),
                         scale + r, alpha + r, w + r, s + r);
    }
    UNROLL
    for (int r = 0; r < q && t < to; r += half)
        FN(step)(vecs, half, 0, job, RETURNS(r) ? job->turned : job->trans, STRIDE(r), scale + r,
                 alpha + r, w + r, s + r);
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
        FN(forward_by)(vecs, q, 0, job, work, runs, 0, common, begins);
    for (int r = 0; r < q; r++)
        if (common < runs[r].n)
            FN(forward_by)(vecs, 1, 0, job, work, runs + r, common, runs[r].n, begins && !common);
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
            FN(name##_by)(vecs, 1, 0, job, work, runs + r, 0, runs[r].n, begins);                     \
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

/* Rows [from, to) of q runs, or of two from `both` ends. Leaves in w what add_pairs() needs, or, of
 * one vector, does its work, unless `both` is 2. */
ALWAYS_INLINE void FN(backward_by)(const int vecs, const int q, const int both,
                                   const chain_job *job, const chain_work *work, chain_run *runs,
                                   ptrdiff_t from, ptrdiff_t to, int begins)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    const int tile = vecs ? vecs : 4, half = q > 1 && !both ? AT_ONCE(vecs) : 1;
    const int ends = vecs != 1 || both == 2 ? 0 : both ? 2 : 1; /* whose pairs are added here */
    REAL *w[CHAIN_ABREAST], *alpha[CHAIN_ABREAST], *gamma[CHAIN_ABREAST];
    vec most = FN(fill)(0), mass = FN(fill)(0), pairs[2][LANES], b[CHAIN_ABREAST][4];
    UNROLL
    for (int e = 0; e < ends; e++)
        UNROLL
        for (ptrdiff_t j = 0; j < VL; j++)
            pairs[e][j] = FN(load)(work[e].pairs + j * VL);
    UNROLL
    for (int r = 0; r < q; r++) {
        const chain_work *own = work + RETURNS(r);
        ptrdiff_t last = runs[r].at + (RETURNS(r) ? runs[r].n - to : to - 1);
        w[r] = own->w + last * width;
        alpha[r] = own->alpha + (last + !RETURNS(r)) * width;
        gamma[r] = own->gamma + last * width;
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
        for (int r = 0; r < q && ends; r++) {
            vec before = FN(load)(alpha[r] - STRIDE(r));
            UNROLL
            for (ptrdiff_t j = 0; j < VL; j++)
                pairs[RETURNS(r)][j] += w[r][j] * before;
        }
        for (ptrdiff_t k = 0; k < width; k += tile * VL) {
            UNROLL
            for (int r = 0; r < q; r += half)
                FN(row_times)(tile, half, vecs ? width : job->n_states, w + r,
                              (RETURNS(r) ? job->trans : job->turned) + k, width, b + r);
            UNROLL
            for (int v = 0; v < tile && !vecs; v++)
                FN(store)(runs[0].beta + k + v * VL, b[0][v]);
        }
        UNROLL
        for (int r = 0; r < q; r++) {
            w[r] -= STRIDE(r);
            alpha[r] -= STRIDE(r);
            gamma[r] -= STRIDE(r);
        }
    }
    UNROLL
    for (int e = 0; e < ends; e++)
        UNROLL
        for (ptrdiff_t j = 0; j < VL; j++)
            FN(store)(work[e].pairs + j * VL, pairs[e][j]);
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
            FN(backward_by)(vecs, 1, 0, job, work, runs + r, common, runs[r].n, begins);
    FN(backward_by)(vecs, q, 0, job, work, runs, 0, common, begins);
}

static void FN(backward)(const chain_job *job, chain_work *work, chain_run *runs, int count,
                         int begins)
{
#define CALL(vecs) ALL_RUNS(vecs, backward)
    CHAIN_CASES(CALL)
#undef CALL
}

/* ---- from both ends ---------------------------------------------------------------------- */

/* One run goes forward in time and the other back, with buffers of its own: while the one waits for
 * its sums, the other is worked on. The second has at most as many rows as the first. */
ALWAYS_INLINE void FN(forward_from_both)(const int vecs, const chain_job *job,
                                         const chain_work *work, chain_run *runs, int begins)
{
    ptrdiff_t common = runs[1].n;
    FN(forward_by)(vecs, 2, 1, job, work, runs, 0, common, begins);
    if (common < runs[0].n)
        FN(forward_by)(vecs, 1, 0, job, work, runs, common, runs[0].n, 0);
}

ALWAYS_INLINE void FN(backward_from_both)(const int vecs, const chain_job *job,
                                          const chain_work *work, chain_run *runs, int begins,
                                          int summed)
{
    ptrdiff_t common = runs[1].n;
    if (common < runs[0].n)
        FN(backward_by)(vecs, 1, 0, job, work, runs, common, runs[0].n, begins);
    if (summed)
        FN(backward_by)(vecs, 2, 1, job, work, runs, 0, common, begins);
    else
        FN(backward_by)(vecs, 2, 2, job, work, runs, 0, common, begins);
}

/* Whether a sequence of several blocks is quicker from both ends: with more states each end alone
 * has enough to do, and two matrices take twice the cache. */
static int FN(from_both)(const chain_job *job) { return job->width / VL <= CHAIN_BOTH; }

static void FN(forward_both)(const chain_job *job, chain_work *work, chain_run *runs, int begins)
{
    switch (job->width / VL) {
    case 1: FN(forward_from_both)(1, job, work, runs, begins); break;
    case 2: FN(forward_from_both)(2, job, work, runs, begins); break;
    default: FN(forward_from_both)(4, job, work, runs, begins);
    }
}

static void FN(backward_both)(const chain_job *job, chain_work *work, chain_run *runs, int begins,
                              int summed)
{
    switch (job->width / VL) {
    case 1: FN(backward_from_both)(1, job, work, runs, begins, summed); break;
    case 2: FN(backward_from_both)(2, job, work, runs, begins, summed); break;
    default: FN(backward_from_both)(4, job, work, runs, begins, summed);
    }
}

/* ---- pairs ------------------------------------------------------------------------------- */

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
                                    ptrdiff_t n, int returns)
{
    const ptrdiff_t width = vecs ? vecs * VL : job->width;
    enum { HALF = VEC_REGISTERS / 2 };
    const int tile = vecs ? vecs : 4, count = HALF / tile < VL * tile ? HALF / tile : (int)VL * tile;
    for (ptrdiff_t j = 0; j < width; j += count)
        for (ptrdiff_t k = 0; k < width; k += tile * VL)
            FN(pairs_tile)(count, tile, work->w + j, work->alpha + returns * width + k, width, n,
                           work->pairs + j * width + k);
}

static void FN(add_pairs)(const chain_job *job, chain_work *work, ptrdiff_t n, int returns)
{
    switch (job->width / VL) {
    case 1: break; /* backward() has done it */
    case 2: FN(add_pairs_by)(2, job, work, n, returns); break;
    case 4: FN(add_pairs_by)(4, job, work, n, returns); break;
    default: FN(add_pairs_by)(0, job, work, n, returns); break;
    }
}
