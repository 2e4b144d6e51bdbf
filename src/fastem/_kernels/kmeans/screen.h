/* K-means on dense rows of doubles: whether float finds the nearest centers, and how far it is off.
 *
 * Vectors hold twice as many floats. The scores |c|^2 - 2 c . x of a row in float tell which center
 * is the nearest if the second is farther by more than a proven bound; the other rows, few of a
 * thousand, are compared in double. What happens to rows is in singles.h. For the double half of a
 * translation unit.
 */
#undef LEAST_SCREENED
#undef LEAST_ROWS
#define LEAST_SCREENED 8 /* centers: to pack rows takes as long as to compare so few */
#define LEAST_ROWS 64    /* to make a second table takes as long as to label so few */

/* Whether rows are compared in float first: not those of so many features that all digits of a float
 * may be lost. */
ALWAYS_INLINE int FN(screened)(const kmeans_job *job)
{
    return VEC_BYTES && job->x && !job->n_groups && job->n_clusters >= LEAST_SCREENED &&
           job->n_samples >= LEAST_ROWS && job->n_features > FEW && job->n_features < 100000;
}

/* By how much the difference of two scores of a row x in float may be off: a + b |x|^2.
 *
 * A score is the sum of |c|^2 and d products. Each is rounded at most d + 3 times, of which 3 are
 * of the center or its square, of the row and of the product; the comparison of two scores rounds,
 * too, and so does |x|^2, so let it be d + 8 times. Then a score is off by no more than
 * (d + 8) u 1.02 times the sum of what is added, without signs, which is at most
 * |c|^2 + 2 |c| |x| <= 2 |c|^2 + |x|^2 (Higham 2002, "Accuracy and Stability of Numerical
 * Algorithms", section 3.1, where (d + 8) u <= 0.01; the product of lengths by Cauchy and Schwarz).
 * Two scores are off by twice as much. The last term of a is of numbers too small for float. */
typedef struct {
    float constant, slope;
} FN(off);

static FN(off) FN(screen_error)(const kmeans_job *job, double longest_square)
{
    double roundings = (double)job->n_features + 8, slope = 2.05 * roundings * ldexp(1, -24);
    FN(off) off = {(float)INFINITY, (float)slope};
    if (longest_square < ldexp(1, 80))
        off.constant = (float)(1.0001 * (slope * 2 * longest_square + roundings * 1e-37 +
                                         job->error));
    return off;
}
