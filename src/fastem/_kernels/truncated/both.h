/* The leaf functions for both dtypes, for the instruction set that the includer chose. */
#include "truncated/job.h"

#define REAL_IS_FLOAT
#include "shared/vec.h"
#include "truncated/leaf.h"
#undef REAL_IS_FLOAT
#include "shared/vec.h"
#include "truncated/leaf.h"

#define OPS(dtype, suffix)                                                                        \
    {                                                                                             \
        2 * VL, FASTEM_CAT(scratch_bytes, dtype, suffix), FASTEM_CAT(begin, dtype, suffix),       \
            FASTEM_CAT(chunk, dtype, suffix), FASTEM_CAT(meet, dtype, suffix)                     \
    }

FASTEM_TABLE = {OPS(f32, SUFFIX), OPS(f64, SUFFIX)};
#undef OPS
