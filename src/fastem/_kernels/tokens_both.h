/* The leaf functions in both dtypes, for the instruction set that the includer chose. */
#include "tokens_job.h"

#define REAL_IS_FLOAT
#include "vec.h"
#include "tokens_cvb0.h"
#include "tokens_draw.h"
#define DRAWS                                                                                     \
    FASTEM_CAT(draw_totals, f32, SUFFIX), FASTEM_CAT(draw_documents, f32, SUFFIX),                \
        FASTEM_CAT(draw_words, f32, SUFFIX)
#undef REAL_IS_FLOAT
#include "vec.h"
#include "tokens_cvb0.h"

#define OPS(dtype, suffix, bytes)                                                                 \
    {                                                                                             \
        FASTEM_STRING(suffix), VEC_BYTES ? VEC_BYTES / (bytes) : 1,                               \
            FASTEM_CAT(scratch_bytes, dtype, suffix), FASTEM_CAT(cvb0_totals, dtype, suffix),     \
            FASTEM_CAT(cvb0_document, dtype, suffix), FASTEM_CAT(cvb0_words, dtype, suffix), DRAWS \
    }
#define FASTEM_STRING_(a) #a
#define FASTEM_STRING(a) FASTEM_STRING_(a)
#define FASTEM_OPS_NAME_(suffix) fastem_tokens_##suffix
#define FASTEM_OPS_NAME(suffix) FASTEM_OPS_NAME_(suffix)

const tokens_ops FASTEM_OPS_NAME(SUFFIX)[2] = {OPS(f32, SUFFIX, 4), OPS(f64, SUFFIX, 8)};
