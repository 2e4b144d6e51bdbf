#define KERNEL "kmeans_both.h"
#include "isa_base.h"
