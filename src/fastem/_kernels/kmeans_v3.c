#define KERNEL "kmeans_both.h"
#include "isa_v3.h"
