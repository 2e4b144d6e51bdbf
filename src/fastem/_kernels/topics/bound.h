/* What the bound says of the words of Dirichlet topics. A template for doubles: see shared/vec.h.
 *
 * With x = lambda of a word in a topic and eta its prior, a term is
 *
 *     (eta - x) digamma(x) + log Gamma(x)
 *
 * Both functions are taken at x + 10 = y + 1/2 (the series about half-integers of digamma.h, and its
 * integral for log Gamma). The terms with log y are put together, (eta - x + y) log y - y, where
 * x log y would cancel.
 */

#define FAR_AWAY 1e15 /* from here on x + 10 is x, to rounding, and products of ten would overflow */

/* acc[i] += the term of x[i] and eta[i], for n doubles, whole vectors. */
static void FN(dirichlet_terms)(const double *posterior, const double *prior, ptrdiff_t n, double *acc)
{
    for (ptrdiff_t i = 0; i < n; i += VL) {
        const vec x = FN(load)(posterior + i), eta = FN(load)(prior + i);
        const vec zero = FN(fill)(0), one = FN(fill)(1), limit = FN(fill)(FAR_AWAY);
        const vec near = FN(min)(x, limit), t = near * (near + 9);
        const vec ab = t * (t + 8) * ((t + 14) * (t + 18)), c = t + 20;
        vec sum = (2 * near + 9) * (((2 * t + 8) * ((t + 14) * (t + 18)) +
                                     (2 * t + 32) * (t * (t + 8))) / ab + 1 / c);
        vec shift = FN(select)(x > limit, zero - 0.5, zero + 9.5);
        vec y = x + shift, z = 1 / y, z2 = z * z, digamma, log_gamma;
        sum = FN(select)(x > limit, zero, sum);
        digamma = z2 * (1.0 / 24 +
                        z2 * (-7.0 / 960 + z2 * (31.0 / 8064 +
                                                 z2 * (-127.0 / 30720 + z2 * (511.0 / 67584)))));
        log_gamma = z * (-1.0 / 24 +
                         z2 * (7.0 / 2880 + z2 * (-31.0 / 40320 +
                                                  z2 * (127.0 / 215040 - z2 * (511.0 / 608256)))));
        log_gamma += 0.91893853320467274178 - FN(log)(FN(select)(x > limit, one, ab * c));
        FN(store)(acc + i, FN(load)(acc + i) + ((eta + shift) * FN(log)(y) - y +
                                                (eta - x) * (digamma - sum) + log_gamma));
    }
}
#undef FAR_AWAY
