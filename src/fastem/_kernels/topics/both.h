/* The leaf functions in both dtypes, for the instruction set that the includer chose. */
#include "shared/subnormals.h"
#include "topics/job.h"

#define REAL_IS_FLOAT
#include "shared/vec.h"
#include "topics/leaf.h"
#undef REAL_IS_FLOAT
#include "shared/vec.h"
#include "topics/leaf.h"
#include "topics/bound.h"

#define OPS(dtype, suffix, bytes)                                                                 \
    {                                                                                             \
        FASTEM_STRING(suffix), VEC_BYTES ? VEC_BYTES / (bytes) : 1,                               \
            FASTEM_CAT(scratch_bytes, dtype, suffix), FASTEM_CAT(documents, dtype, suffix),       \
            FASTEM_CAT(exp_digamma_row, dtype, suffix), FASTEM_CAT(words, dtype, suffix),         \
            FASTEM_CAT(dirichlet_terms, f64, suffix)                                              \
    }

FASTEM_TABLE = {OPS(f32, SUFFIX, 4), OPS(f64, SUFFIX, 8)};
#undef OPS
