/* The leaf functions for rows of both types, for the instruction set that the includer chose. */
#include "seeding/job.h"

#define REAL_IS_FLOAT
#include "shared/vec.h"
#define DATA float
#include "seeding/leaf.h"
#undef DATA
#define DATA double
#include "seeding/leaf.h"
#undef DATA
#undef REAL_IS_FLOAT

#define OPS(data, suffix)                                                                         \
    {                                                                                             \
        FASTEM_STRING(suffix), 2 * VL, FASTEM_CAT(center, data, suffix),                          \
            FASTEM_CAT(pack, data, suffix), FASTEM_CAT(begin, data, suffix),                      \
            FASTEM_CAT(measure, data, suffix), FASTEM_CAT(take, data, suffix),                    \
            FASTEM_CAT(preview, data, suffix)                                                     \
    }

FASTEM_TABLE = {OPS(float, SUFFIX), OPS(double, SUFFIX)};
#undef OPS
