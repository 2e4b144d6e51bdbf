#define KERNEL "tokens_both.h"
#include "isa_v4.h"
