/* Dot products and weighted sums of rows of topics, VL rows at a time: what topic
 * models do for every count. `width` is a multiple of VL. A template: see vec.h. */
#undef ROWS
#undef SMALLEST
#define ROWS (VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1)
#ifdef REAL_IS_FLOAT
#define SMALLEST 1e-37f /* what a probability that underflows is taken for */
#else
#define SMALLEST 1e-300
#endif

/* sums[j] += a . rows[j] over `vecs` vectors from `at` on, unfolded: still VL lanes each. The first
 * vectors set the sums: zeros for them would be stored by a slow string instruction. */
ALWAYS_INLINE void FN(dot_block)(const int vecs, const int first, ptrdiff_t at, const REAL *a,
                                 const REAL *const *rows, vec *sums)
{
    vec av[8];
    UNROLL
    for (int v = 0; v < vecs; v++)
        av[v] = FN(load)(a + at + v * VL);
    UNROLL
    for (ptrdiff_t j = 0; j < VL; j++) {
        const REAL *row = rows[j] + at;
        vec sum = first ? av[0] * FN(load)(row) : sums[j] + av[0] * FN(load)(row);
        UNROLL
        for (int v = 1; v < vecs; v++)
            sum += av[v] * FN(load)(row + v * VL);
        sums[j] = sum;
    }
}

/* acc += sum_j c[j] rows[j] over `vecs` vectors from `at` on, n rows. Two sums, so that few vectors
 * do not make one long chain of additions. */
ALWAYS_INLINE void FN(add_block)(const int vecs, ptrdiff_t at, ptrdiff_t n, const REAL *c,
                                 const REAL *const *rows, REAL *acc)
{
    vec even[8], odd[8];
    ptrdiff_t j = 0;
    UNROLL
    for (int v = 0; v < vecs; v++) {
        even[v] = FN(load)(acc + at + v * VL);
        odd[v] = FN(fill)(0);
    }
    for (; j + 2 <= n; j += 2)
        UNROLL
        for (int v = 0; v < vecs; v++) {
            even[v] += c[j] * FN(load)(rows[j] + at + v * VL);
            odd[v] += c[j + 1] * FN(load)(rows[j + 1] + at + v * VL);
        }
    if (j < n)
        UNROLL
        for (int v = 0; v < vecs; v++)
            even[v] += c[j] * FN(load)(rows[j] + at + v * VL);
    UNROLL
    for (int v = 0; v < vecs; v++)
        FN(store)(acc + at + v * VL, even[v] + odd[v]);
}

/* Calls `call` for 1 to 8 vectors, from `at` on. The includer undefines it. */
#define BLOCK_CASES(call)                                                                         \
    switch ((width - at) / VL) {                                                                  \
    case 1: call(1); break;                                                                       \
    case 2: call(2); break;                                                                       \
    case 3: call(3); break;                                                                       \
    case 4: call(4); break;                                                                       \
    case 5: call(5); break;                                                                       \
    case 6: call(6); break;                                                                       \
    case 7: call(7); break;                                                                       \
    default: call(8); break;                                                                      \
    }

/* Lane j of the result: a . rows[j]. */
ALWAYS_INLINE vec FN(dot_rows)(ptrdiff_t width, const REAL *a, const REAL *const *rows)
{
    vec sums[ROWS];
    ptrdiff_t at = 0;
#define CALL(vecs) FN(dot_block)(vecs, 1, at, a, rows, sums)
    BLOCK_CASES(CALL)
#undef CALL
    for (at += 8 * VL; at < width; at += 8 * VL) {
#define CALL(vecs) FN(dot_block)(vecs, 0, at, a, rows, sums)
        BLOCK_CASES(CALL)
#undef CALL
    }
    return FN(sum_lanes)(sums);
}

/* acc += sum_j c[j] rows[j] for n rows. */
ALWAYS_INLINE void FN(add_rows)(ptrdiff_t width, ptrdiff_t n, const REAL *c,
                                const REAL *const *rows, REAL *acc)
{
    for (ptrdiff_t at = 0; at < width; at += 8 * VL) {
#define CALL(vecs) FN(add_block)(vecs, at, n, c, rows, acc)
        BLOCK_CASES(CALL)
#undef CALL
    }
}
