/* The leaf functions in both dtypes, for the instruction set that the includer chose. */
#include "gaussian/moments.h"

#define REAL_IS_FLOAT
#include "shared/vec.h"
#include "gaussian/leaf.h"
#undef REAL_IS_FLOAT
#include "shared/vec.h"
#include "gaussian/leaf.h"
#include "gaussian/factor.h"
#include "gaussian/emission.h"

#define OPS(dtype, suffix)                                                                        \
    {                                                                                             \
        FASTEM_STRING(suffix), MOST_SMALL, FASTEM_CAT(tables_bytes, dtype, suffix),               \
            FASTEM_CAT(prepare, dtype, suffix), FASTEM_CAT(chunk_rows, dtype, suffix),            \
            FASTEM_CAT(scratch_bytes, dtype, suffix), FASTEM_CAT(sums_size, dtype, suffix),       \
            FASTEM_CAT(chunk, dtype, suffix), FASTEM_CAT(factor_bytes, f64, suffix),              \
            FASTEM_CAT(factor, f64, suffix), FASTEM_CAT(covariance, f64, suffix),                 \
            FASTEM_CAT(trace, f64, suffix),                                                       \
            FASTEM_CAT(emission_bytes, f64, suffix), FASTEM_CAT(emission_column, f64, suffix),    \
            FASTEM_CAT(emission_log_prob, f64, suffix),                                           \
            FASTEM_CAT(emission_likelihood, f64, suffix), FASTEM_CAT(emission_add, f64, suffix)   \
    }

FASTEM_TABLE = {OPS(f32, SUFFIX), OPS(f64, SUFFIX)};
#undef OPS
