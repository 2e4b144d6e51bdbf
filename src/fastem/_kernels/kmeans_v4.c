#define KERNEL "kmeans_both.h"
#include "isa_v4.h"
