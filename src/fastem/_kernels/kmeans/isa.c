/* The leaf functions of k-means for every instruction set, and the choice among them. */
#define KERNEL kmeans
#define LEAVES "kmeans/both.h"
#include "shared/isa.h"
