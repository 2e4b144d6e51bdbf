/* Log-probabilities and sums of some samples, whatever their form. A template: see vec.h. */
#include "shared/topic_rows.h" /* BLOCK_CASES */
#include "discrete/bits.h"
#include "discrete/counts.h"
#include "discrete/lists.h"

/* Calls `call` for a panel of up to `most` vectors at each `at`; its body may use `at`. */
#define PANELS(most, call)                                                                        \
    for (ptrdiff_t at = 0; at < width; at += (most)*VL)                                           \
        switch (width - at < (most)*VL ? (width - at) / VL : (most)) {                            \
        case 1: call(1); break;                                                                   \
        case 2: call(2); break;                                                                   \
        case 3: call(3); break;                                                                   \
        default: call(DISCRETE_PANEL); break;                                                     \
        }

/* The same, up to 8 of them. */
#define WIDE_PANELS(most, call)                                                                   \
    for (ptrdiff_t at = 0; at < width; at += (most)*VL)                                           \
        switch (width - at < (most)*VL ? (width - at) / VL : (most)) {                            \
        case 1: call(1); break;                                                                   \
        case 2: call(2); break;                                                                   \
        case 3: call(3); break;                                                                   \
        case 4: call(4); break;                                                                   \
        case 5: call(5); break;                                                                   \
        case 6: call(6); break;                                                                   \
        case 7: call(7); break;                                                                   \
        default: call(8); break;                                                                  \
        }

/* What a thread needs for some samples beside their responsibilities. */
typedef struct {
    REAL *room;    /* of counts: as doubles; of bits: (16, panel, 16) sums of subsets */
    const REAL *x; /* the counts */
} FN(space);

static ptrdiff_t FN(room)(const discrete_job *job)
{
    if (job->form == DISCRETE_BITS)
        return 16 * 16 * FN(subsets_panel)(job->width) * VL;
    return job->form == DISCRETE_COUNTS && job->counts ? job->chunk * FN(count_stride)(job) : 0;
}

static void FN(begin_rows)(const discrete_job *job, ptrdiff_t begin, ptrdiff_t n, FN(space) *space)
{
    if (job->form == DISCRETE_COUNTS)
        space->x = FN(real_counts)(job, begin, n, space->room);
}

/* Sets lp, (n rounded up to 32, width), of n samples, at most a chunk. */
static void FN(look)(const discrete_job *job, ptrdiff_t begin, ptrdiff_t n, const FN(space) *space,
                     REAL *lp)
{
    ptrdiff_t width = job->width;
    if (job->form == DISCRETE_BITS) {
        ptrdiff_t panel = FN(bits_panel)(width), bytes = WORD_BYTES * panel;
        ptrdiff_t step = bytes < TABLE_BYTES ? TABLE_BYTES / bytes : 1;
        for (ptrdiff_t word = 0; word < job->n_words; word += step) {
            ptrdiff_t end = word + step < job->n_words ? word + step : job->n_words;
#define CALL(vecs) FN(look_bits)(vecs, job, at, begin, n, word, end, lp)
            PANELS(panel, CALL)
#undef CALL
        }
    } else if (job->form == DISCRETE_CODES) {
        ptrdiff_t panel = FN(codes_panel)(width);
        for (ptrdiff_t g = 0, end; g < job->n_groups; g = end) {
            end = FN(groups_end)(job, g, panel * VL * sizeof(REAL));
#define CALL(vecs) FN(look_codes)(vecs, job, at, begin, n, g, end, lp)
            WIDE_PANELS(panel, CALL)
#undef CALL
        }
    } else if (job->form == DISCRETE_COUNTS) {
#define CALL(vecs) FN(look_counts)((vecs) < COUNTS_VECS ? (vecs) : COUNTS_VECS, job, at, n, space->x, lp)
        PANELS(COUNTS_VECS, CALL)
#undef CALL
        FN(forbid)(job, n, space->x, lp);
    } else {
        int far = job->value && job->n_rows * width * (ptrdiff_t)sizeof(REAL) > NEAR_BYTES;
        for (ptrdiff_t row = 0; row < n; row++) {
            int64_t first = FN(begin)(job, begin + row), last = FN(begin)(job, begin + row + 1);
            for (ptrdiff_t at = 0; at < width; at += 8 * VL) {
#define CALL(vecs) FN(look_list)(vecs, 1, job, at, first, last, lp + row * width)
                if (far)
                    BLOCK_CASES(CALL)
#undef CALL
#define CALL(vecs) FN(look_list)(vecs, 0, job, at, first, last, lp + row * width)
                else
                    BLOCK_CASES(CALL)
#undef CALL
            }
        }
    }
}

/* sums += the responsibilities of n samples. */
ALWAYS_INLINE void FN(add_resp)(ptrdiff_t width, ptrdiff_t n, const REAL *r, double *sums)
{
    for (ptrdiff_t row = 0; row < n; row++)
        for (ptrdiff_t k = 0; k < width; k += VL)
            FN(store)(sums + k, FN(load)(sums + k) + FN(load)(r + row * width + k));
}

/* Adds n samples, at most a chunk, under responsibilities r, (n rounded up to 32, width), which are 0
 * after n. */
static void FN(add)(const discrete_job *job, ptrdiff_t begin, ptrdiff_t n, const FN(space) *space,
                    const REAL *r, double *sums)
{
    ptrdiff_t width = job->width;
    if (job->form == DISCRETE_BITS) { /* which sum the responsibilities, too */
        ptrdiff_t panel = FN(subsets_panel)(width), whole = job->n_columns + 1;
        ptrdiff_t step = SUMS_BYTES / (8 * width) > 64 ? SUMS_BYTES / (8 * width) : 64;
        for (ptrdiff_t c = 0; c < whole; c += step) {
            ptrdiff_t end = c + step < whole ? c + step : whole;
            ptrdiff_t row = 0;
            for (; row + 32 < n; row += 64)
#define CALL(vecs)                                                                                \
    FN(add_bits)(vecs, 2, job, at, begin + row, r + row * width, c, end, space->room, sums)
                PANELS(panel, CALL)
#undef CALL
#define CALL(vecs)                                                                                \
    FN(add_bits)(vecs, 1, job, at, begin + row, r + row * width, c, end, space->room, sums)
            if (row < n)
                PANELS(panel, CALL)
#undef CALL
        }
        return;
    }
    if (job->form == DISCRETE_CODES) {
        ptrdiff_t panel = FN(codes_panel)(width);
        for (ptrdiff_t g = 0, end; g < job->n_groups; g = end) {
            end = FN(groups_end)(job, g, panel * VL * sizeof(REAL));
#define CALL(vecs) FN(add_codes)(vecs, job, at, begin, n, g, end, r, sums)
            WIDE_PANELS(panel, CALL)
#undef CALL
        }
    } else if (job->form == DISCRETE_COUNTS) {
#define CALL(vecs)                                                                                \
    FN(add_counts)((vecs) < COUNTS_VECS ? (vecs) : COUNTS_VECS, job, at, n, space->x, r, sums)
        PANELS(COUNTS_VECS, CALL)
#undef CALL
    } else
        for (ptrdiff_t row = 0; row < n; row++) {
            int64_t first = FN(begin)(job, begin + row), last = FN(begin)(job, begin + row + 1);
            for (ptrdiff_t at = 0; at < width; at += 8 * VL) {
#define CALL(vecs) FN(add_list)(vecs, job, at, first, last, r + row * width, sums)
                BLOCK_CASES(CALL)
#undef CALL
            }
        }
    FN(add_resp)(width, n, r, sums + job->n_rows * width);
}
#undef BLOCK_CASES
