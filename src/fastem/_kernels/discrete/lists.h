/* Samples as lists of entries, and as codes of groups of features: both point to rows of a table,
 * which are contiguous over components, so that an entry costs one addition of vectors, and one more
 * for the sums. A template: see vec.h. */

#define ENTRIES_AHEAD 8
#define NEAR_BYTES (512 << 10)
#define CODES_BYTES (64 << 10) /* of a table that a chunk's samples go through */

ALWAYS_INLINE int64_t FN(begin)(const discrete_job *job, ptrdiff_t i)
{
    return job->begin ? job->begin[i] : (int64_t)i * job->n_entries;
}

/* lp = bias + sum_e value_e table[index_e], over `vecs` vectors from `at` on. Rows of a table that is
 * `far` away, beyond the near caches, are asked for a few entries before. */
ALWAYS_INLINE void FN(look_list)(const int vecs, const int far, const discrete_job *job, ptrdiff_t at, int64_t first,
                                 int64_t last, REAL *lp)
{
    const REAL *table = job->table + at, *value = job->value;
    const int32_t *index = job->index;
    ptrdiff_t width = job->width;
    vec sum[8];
    UNROLL
    for (int v = 0; v < vecs; v++)
        sum[v] = FN(load)(job->bias + at + v * VL);
    if (value)
        for (int64_t e = first; e < last; e++) {
            const REAL *row = table + index[e] * width;
            if (far && e + ENTRIES_AHEAD < last) {
                const REAL *next = table + index[e + ENTRIES_AHEAD] * width;
                UNROLL
                for (int v = 0; v < vecs; v += VEC_BYTES ? (64 / VEC_BYTES) : 8)
                    PREFETCH(next + v * VL);
            }
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[v] += value[e] * FN(load)(row + v * VL);
        }
    else
        for (int64_t e = first; e < last; e++) {
            const REAL *row = table + index[e] * width;
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[v] += FN(load)(row + v * VL);
        }
    UNROLL
    for (int v = 0; v < vecs; v++)
        FN(store)(lp + at + v * VL, sum[v]);
}

/* sums[index_e] += value_e r, over `vecs` vectors from `at` on. */
ALWAYS_INLINE void FN(add_list)(const int vecs, const discrete_job *job, ptrdiff_t at, int64_t first,
                                int64_t last, const REAL *r, double *sums)
{
    /* Copies: the compiler must assume that storing a vector changes what job points to. */
    const REAL *value = job->value;
    const int32_t *index = job->index;
    ptrdiff_t width = job->width;
    vec rv[8];
    UNROLL
    for (int v = 0; v < vecs; v++)
        rv[v] = FN(load)(r + at + v * VL);
    if (value)
        for (int64_t e = first; e < last; e++) {
            double *row = sums + index[e] * width + at;
            REAL factor = value[e];
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(row + v * VL, FN(load)(row + v * VL) + factor * rv[v]);
        }
    else
        for (int64_t e = first; e < last; e++) {
            double *row = sums + index[e] * width + at;
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(row + v * VL, FN(load)(row + v * VL) + rv[v]);
        }
}

/* sums += value_e r of n samples from `begin` on, for one component: its sums are a row, and samples in
 * which it has next to no share are passed over. */
#define LIVE 1e-20 /* share of a sample's weight */

static void FN(add_live)(const discrete_job *job, ptrdiff_t begin, ptrdiff_t n, const double *r,
                         double *sums)
{
    const double *value = job->value, *weight = job->sample_weight;
    const int32_t *index = job->index;
    for (ptrdiff_t i = 0; i < n; i++) {
        double share = r[i];
        if (!(share > LIVE * (weight ? weight[begin + i] : 1)))
            continue;
        for (int64_t e = job->begin[begin + i]; e < job->begin[begin + i + 1]; e++)
            sums[index[e]] += share * value[e];
    }
}

/* Vectors of components that are worked on together: panels as equal as can be, of which two samples'
 * sums are in registers. */
ALWAYS_INLINE ptrdiff_t FN(codes_panel)(ptrdiff_t width)
{
    ptrdiff_t most = VEC_REGISTERS == 32 ? 8 : 7, vecs = width / VL, n = (vecs + most - 1) / most;
    return (vecs + n - 1) / n;
}

/* Groups from `g` on whose part of the table, `bytes` a row, fits a near cache. */
ALWAYS_INLINE ptrdiff_t FN(groups_end)(const discrete_job *job, ptrdiff_t g, ptrdiff_t bytes)
{
    ptrdiff_t end = g + 1;
    while (end < job->n_groups && (job->first[end + 1] - job->first[g]) * bytes <= CODES_BYTES)
        end++;
    return end;
}

/* lp += the table's rows of groups [g, end) of n samples, `vecs` vectors from `at` on. */
ALWAYS_INLINE void FN(look_codes)(const int vecs, const discrete_job *job, ptrdiff_t at,
                                  ptrdiff_t begin, ptrdiff_t n, ptrdiff_t g, ptrdiff_t end, REAL *lp)
{
    const int abreast = ABREAST_OF(vecs);
    const REAL *table = job->table + at;
    const int32_t *first = job->first;
    ptrdiff_t width = job->width, n_groups = job->n_groups;
    for (ptrdiff_t row = 0; row < n; row += abreast) {
        const uint8_t *codes[4];
        vec sum[4][8];
        UNROLL
        for (int i = 0; i < abreast; i++) {
            codes[i] = job->codes + (begin + (row + i < n ? row + i : n - 1)) * n_groups;
            UNROLL
            for (int v = 0; v < vecs; v++)
                sum[i][v] = FN(load)(g ? lp + (row + i) * width + at + v * VL
                                       : job->bias + at + v * VL);
        }
        for (ptrdiff_t j = g; j < end; j++) {
            const REAL *group = table + first[j] * width;
            UNROLL
            for (int i = 0; i < abreast; i++) {
                const REAL *own = group + codes[i][j] * width;
                UNROLL
                for (int v = 0; v < vecs; v++)
                    sum[i][v] += FN(load)(own + v * VL);
            }
        }
        UNROLL
        for (int i = 0; i < abreast; i++)
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(lp + (row + i) * width + at + v * VL, sum[i][v]);
    }
}

/* sums += r in the rows of groups [g, end) of n samples, `vecs` vectors from `at` on. */
ALWAYS_INLINE void FN(add_codes)(const int vecs, const discrete_job *job, ptrdiff_t at,
                                 ptrdiff_t begin, ptrdiff_t n, ptrdiff_t g, ptrdiff_t end,
                                 const REAL *r, double *sums)
{
    const int32_t *first = job->first;
    const uint8_t *codes = job->codes + begin * job->n_groups;
    ptrdiff_t width = job->width, n_groups = job->n_groups;
    for (ptrdiff_t row = 0; row < n; row++, codes += n_groups, r += width) {
        vec rv[8];
        UNROLL
        for (int v = 0; v < vecs; v++)
            rv[v] = FN(load)(r + at + v * VL);
        for (ptrdiff_t j = g; j < end; j++) {
            double *own = sums + (first[j] + codes[j]) * width + at;
            UNROLL
            for (int v = 0; v < vecs; v++)
                FN(store)(own + v * VL, FN(load)(own + v * VL) + rv[v]);
        }
    }
}
