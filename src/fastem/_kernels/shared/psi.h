/* digamma of one double, x > 0, to rounding of the larger of it and log x; vectors: see digamma.h.
 *
 * digamma(x) = digamma(x + 1) - 1 / x up to where the asymptotic series (Abramowitz & Stegun 6.3.18)
 * is exact to the last bit.
 */
#ifndef FASTEM_PSI_H
#define FASTEM_PSI_H

#include <math.h>

static inline double fastem_psi(double x)
{
    double before = 0, z;
    for (; x < 10; x++)
        before += 1 / x;
    z = 1 / (x * x);
    z *= 1.0 / 12 -
         z * (1.0 / 120 -
              z * (1.0 / 252 -
                   z * (1.0 / 240 - z * (1.0 / 132 - z * (691.0 / 32760 - z * (1.0 / 12))))));
    return log(x) - 0.5 / x - z - before;
}

#endif
