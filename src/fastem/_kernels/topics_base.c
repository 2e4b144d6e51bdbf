#define KERNEL "topics_both.h"
#include "isa_base.h"
