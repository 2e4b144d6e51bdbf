/* The leaf functions of Markov chains for every instruction set, and the choice among them. */
#define KERNEL chain
#define LEAVES "chain/both.h"
#include "shared/isa.h"
