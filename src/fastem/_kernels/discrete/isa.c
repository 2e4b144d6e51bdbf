/* The leaf functions of mixtures of discrete distributions for every instruction set, and the choice among them. */
#define KERNEL discrete
#define LEAVES "discrete/both.h"
#include "shared/isa.h"
