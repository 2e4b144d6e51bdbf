#define KERNEL "topics_both.h"
#include "isa_v3.h"
