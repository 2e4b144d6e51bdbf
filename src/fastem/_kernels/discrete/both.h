/* The leaf functions for the instruction set that the includer chose. In double only: the data are
 * small integers whatever their dtype. */
#include "discrete/job.h"
#include "shared/vec.h"
#include "discrete/leaf.h"

FASTEM_TABLE = {{FASTEM_STRING(SUFFIX), VEC_BYTES ? VEC_BYTES / sizeof(double) : 1,
                 FASTEM_CAT(scratch_bytes, f64, SUFFIX), FASTEM_CAT(chunk, f64, SUFFIX),
                 FASTEM_CAT(add_live, f64, SUFFIX),
                 FASTEM_CAT(emission_bytes, f64, SUFFIX),
                 FASTEM_CAT(emission_log_prob, f64, SUFFIX),
                 FASTEM_CAT(emission_add, f64, SUFFIX), FASTEM_CAT(log_table, f64, SUFFIX),
                 FASTEM_CAT(bit_table, f64, SUFFIX), FASTEM_CAT(pack, f64, SUFFIX),
                 FASTEM_CAT(inspect, f64, SUFFIX)}};
