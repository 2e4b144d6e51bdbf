/* The leaf functions for the instruction set that the includer chose; in double only. */
#include "chain/job.h"
#include "shared/vec.h"
#include "chain/leaf.h"
#include "chain/log_space.h"

FASTEM_TABLE = {{FASTEM_STRING(SUFFIX), VEC_BYTES ? VEC_BYTES / sizeof(double) : 1,
                 FASTEM_CAT(frames, f64, SUFFIX), FASTEM_CAT(abreast, f64, SUFFIX),
                 FASTEM_CAT(forward, f64, SUFFIX), FASTEM_CAT(backward, f64, SUFFIX),
                 FASTEM_CAT(from_both, f64, SUFFIX), FASTEM_CAT(forward_both, f64, SUFFIX),
                 FASTEM_CAT(backward_both, f64, SUFFIX), FASTEM_CAT(add_pairs, f64, SUFFIX),
                 FASTEM_CAT(to_columns, f64, SUFFIX), FASTEM_CAT(add_codes, f64, SUFFIX),
                 FASTEM_CAT(log_frames, f64, SUFFIX),
                 FASTEM_CAT(log_forward, f64, SUFFIX), FASTEM_CAT(log_backward, f64, SUFFIX),
                 FASTEM_CAT(best_frames, f64, SUFFIX), FASTEM_CAT(best_forward, f64, SUFFIX)}};
