#define KERNEL "topics_both.h"
#include "isa_v4.h"
