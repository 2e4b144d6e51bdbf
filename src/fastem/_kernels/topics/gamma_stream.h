/* NumPy's RandomState.gamma(shape > 1): the same numbers, to the last bit, in less time.
 *
 * NumPy keeps this stream as it is for good (NEP 19). Words come from the Mersenne Twister
 * (Matsumoto & Nishimura 1998), two for a uniform number; normals from Marsaglia's polar method,
 * two at a time; gammas from Marsaglia & Tsang (2000), section 2. Twisting a block of words at a
 * time makes vectors of it, and a bound spares the logarithms of the last test. Rounding is the
 * stream's: do not reorder the arithmetic, and leave an expression whole, for compilers fuse
 * within one. */
#ifndef FASTEM_GAMMA_STREAM_H
#define FASTEM_GAMMA_STREAM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/atomic.h"

#define MT_WORDS 624
#define MT_AHEAD 397
#define MT_UNIFORMS (MT_WORDS / 2)
#define GAMMA_ROWS 64 /* that a thread fills before it looks around */

typedef struct {
    uint32_t key[MT_WORDS];      /* the twister's state: a block of words */
    uint32_t word[1 + MT_WORDS]; /* what it gives out, after the last word of the block before */
    int odd;                     /* whether that word is the first half of a number */
    double uniform[MT_UNIFORMS]; /* numbers of this block, */
    int next;                    /* of which so many were given out: one at least */
    int has_gauss;
    double gauss; /* if has_gauss */
    double b, c, scale; /* shape - 1/3 and 1 / sqrt(9 b) */
} gamma_stream;

/* Makes numbers of the block: multiples of 2^-53 in [0, 1). */
static inline void mt_read(gamma_stream *s)
{
    const uint32_t *word = s->word + 1 - s->odd;
    s->word[0] = s->word[MT_WORDS];
    for (int i = 0; i < MT_WORDS; i++) {
        uint32_t y = s->key[i];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c5680u;
        y ^= (y << 15) & 0xefc60000u;
        s->word[1 + i] = y ^ (y >> 18);
    }
    for (int i = 0; i < MT_UNIFORMS; i++)
        s->uniform[i] = ((int32_t)(word[2 * i] >> 5) * 67108864.0 +
                         (int32_t)(word[2 * i + 1] >> 6)) * (1.0 / 9007199254740992.0);
}

/* Goes to word `pos` of the block. */
static inline void mt_seek(gamma_stream *s, int pos)
{
    s->odd = pos & 1;
    s->next = (pos + 1) / 2;
    mt_read(s);
}

static inline int mt_pos(const gamma_stream *s)
{
    return 2 * s->next - s->odd;
}

/* The recurrence: the upper bit of one word and the lower ones of the next, shifted and folded. */
static inline uint32_t mt_twist(uint32_t upper, uint32_t lower)
{
    uint32_t joined = (upper & 0x80000000u) | (lower & 0x7fffffffu);
    return (joined >> 1) ^ (-(joined & 1) & 0x9908b0dfu);
}

static inline void mt_next_block(gamma_stream *s)
{
    enum { behind = MT_WORDS - MT_AHEAD };
    uint32_t old[MT_WORDS + 1], *key = s->key;
    for (int i = 0; i < MT_WORDS; i++)
        old[i] = key[i];
    for (int i = 0; i < behind; i++)
        key[i] = old[i + MT_AHEAD] ^ mt_twist(old[i], old[i + 1]);
    old[MT_WORDS] = key[0];
    for (int begin = behind; begin < MT_WORDS; begin += behind) {
        uint32_t made[behind]; /* a copy, for the compiler to see that nothing overlaps */
        int n = MT_WORDS - begin < behind ? MT_WORDS - begin : behind;
        for (int i = 0; i < n; i++)
            made[i] = key[begin - behind + i];
        for (int i = 0; i < n; i++)
            key[begin + i] = made[i] ^ mt_twist(old[begin + i], old[begin + i + 1]);
    }
    s->next = 0;
    mt_read(s);
}

/* `at` is s->next, in a register. */
static inline double mt_uniform(gamma_stream *s, int *at)
{
    if (*at == MT_UNIFORMS) {
        mt_next_block(s);
        *at = 0;
    }
    return s->uniform[(*at)++];
}

static inline double mt_normal(gamma_stream *s, int *at)
{
    double x1, x2, r2, f;
    if (s->has_gauss) {
        s->has_gauss = 0;
        return s->gauss;
    }
    do {
        x1 = 2.0 * mt_uniform(s, at) - 1.0;
        x2 = 2.0 * mt_uniform(s, at) - 1.0;
        r2 = x1 * x1 + x2 * x2;
    } while (r2 >= 1.0 || r2 == 0.0);
    f = sqrt(-2.0 * log(r2) / r2);
    s->gauss = f * x1;
    s->has_gauss = 1;
    return f * x2;
}

/* A gamma variate.
 *
 * The stream's test is the last one, or a bound that 1 in 10 do not pass. With t = c x, its right
 * side is b (3 log(1 + t) - 3 t + 3/2 t^2 - t^3) >= -3/2 b t^4 for |t| <= 1/2, and log(u) <= u - 1.
 * Since the first bound has room for rounding, who passes it would pass that test. */
static inline double mt_gamma(gamma_stream *s, int *at)
{
    const double b = s->b, rounding = 1e-12 * (b + 100.0);
    for (;;) {
        double x, t, v, u;
        do {
            x = mt_normal(s, at);
            v = 1.0 + s->c * x;
        } while (v <= 0.0);
        t = s->c * x;
        v = v * v * v;
        u = mt_uniform(s, at);
        if (fabs(t) <= 0.5 && u < 1.0 - rounding - 1.5 * b * (t * t) * (t * t))
            return b * v;
        if (u < 1.0 - 0.0331 * (x * x) * (x * x) ||
            log(u) < 0.5 * x * x + b * (1.0 - v + log(v)))
            return b * v;
    }
}

/* Rows of a matrix that are filled in order, by whoever needs them first. */
typedef struct {
    gamma_stream *stream;
    void *values; /* rows of floats or doubles */
    int is_double;
    ptrdiff_t n_columns, width; /* to fill; from one row to the next */
    int64_t ready;              /* rows that are filled */
} gamma_rows;

static inline void gamma_fill(gamma_rows *rows, int64_t begin, int64_t end)
{
    gamma_stream *s = rows->stream;
    int at = s->next;
    for (int64_t i = begin; i < end; i++) {
        ptrdiff_t first = i * rows->width;
        if (rows->is_double)
            for (ptrdiff_t k = 0; k < rows->n_columns; k++)
                ((double *)rows->values)[first + k] = s->scale * mt_gamma(s, &at);
        else
            for (ptrdiff_t k = 0; k < rows->n_columns; k++)
                ((float *)rows->values)[first + k] = (float)(s->scale * mt_gamma(s, &at));
    }
    s->next = at;
}

/* Fills the next rows unless `end` rows are filled; returns whether they are by now. Threads come
 * here as they need rows, and one fills. */
static inline int gamma_filled(gamma_rows *rows, int64_t end)
{
    if (fastem_read(&rows->ready) >= end)
        return 1;
#ifdef _OPENMP
#pragma omp critical(fastem_gamma_rows)
#endif
    if (rows->ready < end) {
        int64_t next = end - rows->ready > GAMMA_ROWS ? rows->ready + GAMMA_ROWS : end;
        gamma_fill(rows, rows->ready, next);
        fastem_write(&rows->ready, next);
    }
    return fastem_read(&rows->ready) >= end;
}

#endif
