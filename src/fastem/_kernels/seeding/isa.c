/* The leaf functions of k-means++ for every instruction set, and the choice among them. */
#define KERNEL seeding
#define LEAVES "seeding/both.h"
#include "shared/isa.h"
