#define KERNEL "discrete_both.h"
#include "isa_v3.h"
