/* exp(digamma(x)) for x > 0: what the E-step of a Dirichlet needs. The error is some 6 ulp for x >= 1, and 1 / x
 * times that below, where the function falls as exp(-1 / x). A template: see vec.h.
 *
 * digamma(x) = digamma(x + n) - sum_{i<n} 1 / (x + i), whose terms i and n - 1 - i are added in
 * pairs: (x + i)(x + n - 1 - i) = t + i (n - 1 - i) with t = x (x + n - 1), so that there is one
 * division. Then, with y = x + n - 1/2, digamma(x + n) = log y + a series in 1 / y^2 (Abramowitz &
 * Stegun 6.3.18, about half-integers), and no logarithm is needed:
 *
 *     exp(digamma(x)) = y exp(series - sum)
 */
#undef FAR
#undef NEAR_ZERO
#ifdef REAL_IS_FLOAT
#define FAR 1e4f /* from here on exp(digamma(x)) grows as x does, to the last bit */
#define NEAR_ZERO 1e-30f /* for smaller x, exp(digamma(x)) is 0; 1 / x is still finite */
#else
#define FAR 1e8
#define NEAR_ZERO 1e-290
#endif

ALWAYS_INLINE vec FN(exp_digamma)(vec x)
{
    vec limit = FN(fill)(FAR), beyond = FN(max)(x - limit, FN(fill)(0)), t, y, sum, inverse, z;
    x = FN(max)(x - beyond, FN(fill)(NEAR_ZERO));
#ifdef REAL_IS_FLOAT
    vec product;
    t = x * (x + 5);
    y = x + (REAL)5.5;
    product = t * (t + 4) * (t + 6);
    inverse = 1 / (product * y);
    sum = (2 * x + 5) * (3 * t * t + 20 * t + 24) * y * inverse;
    z = product * inverse; /* 1 / y */
    z = z * z;
    z = z * ((REAL)(1.0 / 24) + z * ((REAL)(-7.0 / 960) + z * (REAL)(31.0 / 8064)));
#else
    vec a, b, c, ab;
    t = x * (x + 9);
    y = x + 9.5;
    a = t * (t + 8);          /* pairs 0 and 1 */
    b = (t + 14) * (t + 18);  /* pairs 2 and 3 */
    c = t + 20;               /* pair 4 */
    ab = a * b;
    inverse = 1 / (ab * c * y);
    sum = ((2 * t + 8) * b * c + (2 * t + 32) * a * c + ab) * (2 * x + 9) * y * inverse;
    z = ab * c * inverse;
    z = z * z;
    z = z * (1.0 / 24 +
             z * (-7.0 / 960 +
                  z * (31.0 / 8064 +
                       z * (-127.0 / 30720 +
                            z * (511.0 / 67584 +
                                 z * (-1414477.0 / 67092480 +
                                      z * (8191.0 / 98304 + z * (-118518239.0 / 267386880))))))));
#endif
    return y * FN(exp)(z - sum) + beyond;
}

/* row[i] = exp(digamma(sums[i] + prior)) for n reals. */
static void FN(exp_digamma_row)(const void *sums, double prior, ptrdiff_t n, void *row)
{
    const REAL *in = sums;
    REAL *out = row, rest[VEC_BYTES ? VEC_BYTES / sizeof(REAL) : 1];
    ptrdiff_t i = 0;
    for (; i + VL <= n; i += VL)
        FN(store)(out + i, FN(exp_digamma)(FN(load)(in + i) + (REAL)prior));
    if (i == n)
        return;
    for (ptrdiff_t l = 0; l < VL; l++)
        rest[l] = i + l < n ? in[i + l] + (REAL)prior : 1;
    FN(store)(rest, FN(exp_digamma)(FN(load)(rest)));
    for (ptrdiff_t l = 0; i + l < n; l++)
        out[i + l] = rest[l];
}
