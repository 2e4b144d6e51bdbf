/* The leaf functions in both dtypes, for the instruction set that the includer chose. */
#include "kmeans/job.h"

#define REAL_IS_FLOAT
#include "shared/vec.h"
#include "kmeans/leaf.h"
typedef vec FN(floats);
#define DATA float
#include "kmeans/sparse.h"
#undef DATA
#define DATA double
#include "kmeans/sparse.h"
#undef DATA
#undef REAL_IS_FLOAT
#include "shared/vec.h"
#include "kmeans/leaf.h"

#define OPS(dtype, data, suffix)                                                                        \
    {                                                                                             \
        FASTEM_STRING(suffix), FASTEM_CAT(tables_bytes, dtype, suffix),                           \
            FASTEM_CAT(prepare, dtype, suffix), FASTEM_CAT(scratch_bytes, dtype, suffix),         \
            FASTEM_CAT(keeps_margins, dtype, suffix), FASTEM_CAT(chunk, dtype, suffix),           \
            FASTEM_CAT(distances, dtype, suffix), FASTEM_CAT(chunk_about, dtype, suffix),         \
            FASTEM_CAT(distances_about, dtype, suffix),                                           \
            FASTEM_CAT(label_sparse, data, suffix), FASTEM_CAT(add_entries, data, suffix),        \
            FASTEM_CAT(screen_features, data, suffix), FASTEM_CAT(move_centers, data, suffix),    \
            FASTEM_CAT(turn_centers, data, suffix), VEC_BYTES ? VEC_BYTES / 4 : 1                 \
    }

FASTEM_TABLE = {OPS(f32, float, SUFFIX), OPS(f64, double, SUFFIX)};
#undef OPS
