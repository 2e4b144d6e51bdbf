/* The leaf functions of truncated EM for every instruction set, and the choice among them. */
#define KERNEL truncated
#define LEAVES "truncated/both.h"
#include "shared/isa.h"
