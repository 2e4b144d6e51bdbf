#define KERNEL "discrete_both.h"
#include "isa_base.h"
