/* The leaf functions in both dtypes, for the instruction set that the includer chose. */
#include "kmeans/job.h"

#define REAL_IS_FLOAT
#include "shared/vec.h"
#include "kmeans/leaf.h"
#undef REAL_IS_FLOAT
#include "shared/vec.h"
#include "kmeans/leaf.h"

#define OPS(dtype, suffix)                                                                        \
    {                                                                                             \
        FASTEM_STRING(suffix), FASTEM_CAT(tables_bytes, dtype, suffix),                           \
            FASTEM_CAT(prepare, dtype, suffix), FASTEM_CAT(scratch_bytes, dtype, suffix),         \
            FASTEM_CAT(chunk, dtype, suffix), FASTEM_CAT(distances, dtype, suffix)                \
    }

FASTEM_TABLE = {OPS(f32, SUFFIX), OPS(f64, SUFFIX)};
#undef OPS
