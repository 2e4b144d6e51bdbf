#define KERNEL "tokens_both.h"
#include "isa_v3.h"
