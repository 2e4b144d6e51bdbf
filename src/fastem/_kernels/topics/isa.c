/* The leaf functions of topic models for every instruction set, and the choice among them. */
#define KERNEL topics
#define LEAVES "topics/both.h"
#include "shared/isa.h"
