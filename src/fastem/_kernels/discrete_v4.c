#define KERNEL "discrete_both.h"
#include "isa_v4.h"
