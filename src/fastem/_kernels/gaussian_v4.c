#define KERNEL "gaussian_both.h"
#include "isa_v4.h"
