/* The leaf functions in both dtypes, for the instruction set that the includer chose. */
#include "topics_job.h"

#define REAL_IS_FLOAT
#include "vec.h"
#include "topics_leaf.h"
#undef REAL_IS_FLOAT
#include "vec.h"
#include "topics_leaf.h"

#define OPS(dtype, suffix, bytes)                                                                 \
    {                                                                                             \
        FASTEM_STRING(suffix), VEC_BYTES ? VEC_BYTES / (bytes) : 1,                               \
            FASTEM_CAT(scratch_bytes, dtype, suffix), FASTEM_CAT(documents, dtype, suffix),       \
            FASTEM_CAT(exp_digamma_row, dtype, suffix), FASTEM_CAT(words, dtype, suffix)          \
    }
#define FASTEM_STRING_(a) #a
#define FASTEM_STRING(a) FASTEM_STRING_(a)
#define FASTEM_OPS_NAME_(suffix) fastem_topics_##suffix
#define FASTEM_OPS_NAME(suffix) FASTEM_OPS_NAME_(suffix)

const topics_ops FASTEM_OPS_NAME(SUFFIX)[2] = {OPS(f32, SUFFIX, 4), OPS(f64, SUFFIX, 8)};
