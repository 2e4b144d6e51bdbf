/* The leaf functions in both dtypes, for the instruction set that the includer chose. */
#include "gaussian_job.h"

#define REAL_IS_FLOAT
#include "vec.h"
#include "gaussian_leaf.h"
#undef REAL_IS_FLOAT
#include "vec.h"
#include "gaussian_leaf.h"
#include "gaussian_factor.h"

#define OPS(dtype, suffix)                                                                        \
    {                                                                                             \
        FASTEM_STRING(suffix), FASTEM_CAT(tables_bytes, dtype, suffix),                           \
            FASTEM_CAT(prepare, dtype, suffix), FASTEM_CAT(prepare_component, dtype, suffix),     \
            FASTEM_CAT(chunk_rows, dtype, suffix),                                                \
            FASTEM_CAT(scratch_bytes, dtype, suffix), FASTEM_CAT(sums_size, dtype, suffix),       \
            FASTEM_CAT(chunk, dtype, suffix), FASTEM_CAT(factor_bytes, f64, suffix),              \
            FASTEM_CAT(factor, f64, suffix), FASTEM_CAT(covariance, f64, suffix)                  \
    }
#define FASTEM_STRING_(a) #a
#define FASTEM_STRING(a) FASTEM_STRING_(a)
#define FASTEM_OPS_NAME_(suffix) fastem_gaussian_##suffix
#define FASTEM_OPS_NAME(suffix) FASTEM_OPS_NAME_(suffix)

const gaussian_ops FASTEM_OPS_NAME(SUFFIX)[2] = {OPS(f32, SUFFIX), OPS(f64, SUFFIX)};
