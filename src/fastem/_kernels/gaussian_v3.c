#define KERNEL "gaussian_both.h"
#include "isa_v3.h"
