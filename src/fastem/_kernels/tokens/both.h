/* The leaf functions in both dtypes, for the instruction set that the includer chose. */
#include "tokens/job.h"

#define REAL_IS_FLOAT
#include "shared/vec.h"
#include "tokens/cvb0.h"
#include "tokens/draw.h"
#define DRAWS                                                                                     \
    FASTEM_CAT(draw_totals, f32, SUFFIX), FASTEM_CAT(draw_documents, f32, SUFFIX),                \
        FASTEM_CAT(draw_words, f32, SUFFIX)
#undef REAL_IS_FLOAT
#include "shared/vec.h"
#include "tokens/cvb0.h"

#define OPS(dtype, suffix, bytes)                                                                 \
    {                                                                                             \
        FASTEM_STRING(suffix), VEC_BYTES ? VEC_BYTES / (bytes) : 1,                               \
            FASTEM_CAT(scratch_bytes, dtype, suffix), FASTEM_CAT(cvb0_totals, dtype, suffix),     \
            FASTEM_CAT(cvb0_document, dtype, suffix), FASTEM_CAT(cvb0_words, dtype, suffix), DRAWS \
    }

FASTEM_TABLE = {OPS(f32, SUFFIX, 4), OPS(f64, SUFFIX, 8)};
#undef OPS
#undef DRAWS
