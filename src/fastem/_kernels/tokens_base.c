#define KERNEL "tokens_both.h"
#include "isa_base.h"
