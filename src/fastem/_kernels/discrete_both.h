/* The leaf functions for the instruction set that the includer chose. In double only: the data are
 * small integers whatever their dtype. */
#include "discrete_job.h"
#include "vec.h"
#include "discrete_leaf.h"

#define FASTEM_STRING_(a) #a
#define FASTEM_STRING(a) FASTEM_STRING_(a)
#define FASTEM_OPS_NAME_(suffix) fastem_discrete_##suffix
#define FASTEM_OPS_NAME(suffix) FASTEM_OPS_NAME_(suffix)

const discrete_ops FASTEM_OPS_NAME(SUFFIX) = {FASTEM_STRING(SUFFIX),
                                              VEC_BYTES ? VEC_BYTES / sizeof(double) : 1,
                                              FASTEM_CAT(chunk, f64, SUFFIX)};
