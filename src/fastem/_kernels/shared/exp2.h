/* Powers of 2, in double only: what has logarithms to the base 2 saves a third of exp(). A template: see
 * vec.h. */
/* 2^x for x <= 0, within 1.2 ulp; exactly 0 below -1022. */
#if VEC_BYTES == 64
/* 2^x = 2^n t 2^r, n = round(16 x) / 16 and t = 2^(n - floor(n)) from a table in registers, |r| <= 1/32. */
ALWAYS_INLINE vec FN(exp2)(vec x)
{
    static const REAL sixteenths[] = SIXTEENTHS;
    static const REAL c[] = {0.6931471805599457, 0.24022650695910075, 0.0555041086566393,
                             0.009618129106919537, 0.0013333781576784268, 0.00015403723980749256};
    const int degree = sizeof c / sizeof c[0] - 1;
    vec shifted = x + 422212465065984.0, n = shifted - 422212465065984.0, r = x - n;
    vec p = FN(fill)(c[degree]);
    vec t = (vec)_mm512_permutex2var_pd((__m512d)FN(load)(sixteenths), (__m512i)shifted,
                                        (__m512d)FN(load)(sixteenths + 8));
    UNROLL
    for (int i = degree - 1; i >= 0; i--)
        p = p * r + c[i];
    p = t * r * p + t;
    return (vec)_mm512_maskz_scalef_pd(FN(mask_greater)(x, FN(fill)(-1022)), (__m512d)p, (__m512d)n);
}
#else
/* 2^x = 2^n 2^r, n = round(x), |r| <= 1/2. */
ALWAYS_INLINE vec FN(exp2)(vec x)
{
    static const REAL c[] = {1.0, 0.6931471805599453, 0.24022650695910158, 0.055504108664821625,
                             0.009618129107587256, 0.001333355814640647, 0.00015403530463724353,
                             1.5252733841556773e-05, 1.3215432535912375e-06,
                             1.0178057087733941e-07, 7.074194297288521e-09,
                             4.4558179083360645e-10};
    const int degree = sizeof c / sizeof c[0] - 1;
    const REAL smallest = -1022, magic = 6755399441055744.0;
    ivec in_range = x > smallest;
    vec shifted, r, p = FN(fill)(c[degree]);
    x = FN(max)(x, FN(fill)(smallest));
    shifted = x + magic;
    r = x - (shifted - magic);
    UNROLL
    for (int i = degree - 1; i >= 0; i--)
        p = p * r + c[i];
    p = FN(from_bits)((ivec)(FN(bits)(p) + (FN(bits)(shifted) << 52)));
    return FN(select)(in_range, p, FN(fill)(0));
}
#endif
