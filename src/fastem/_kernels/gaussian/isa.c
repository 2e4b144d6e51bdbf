/* The leaf functions of Gaussian mixtures for every instruction set, and the choice among them. */
#define KERNEL gaussian
#define LEAVES "gaussian/both.h"
#include "shared/isa.h"
