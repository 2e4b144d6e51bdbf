/* The leaf functions of LDA that keeps the topics of every word for every instruction set, and the choice among them. */
#define KERNEL tokens
#define LEAVES "tokens/both.h"
#include "shared/isa.h"
