#define KERNEL "gaussian_both.h"
#include "isa_base.h"
