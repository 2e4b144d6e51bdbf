/* Threads that add to the same sums, each after the one before it: chunks of work are handed out in
 * order, and a chunk counts the parts that it has added, for the next chunk to wait for. */
#ifndef FASTEM_TURNS_H
#define FASTEM_TURNS_H

#include "shared/atomic.h"

/* The place of one chunk among those that add to the same sums. */
typedef struct {
    const int64_t *before; /* parts that the chunk before has added */
    int64_t *added;        /* parts that this one has added */
    const int64_t *stop;   /* not 0: nobody needs the sums any more */
} fastem_turn;

/* Waits until the chunk before has added a part; without a turn the sums are the caller's own. */
static inline void fastem_await(const fastem_turn *turn, int64_t part)
{
    if (turn == NULL)
        return;
    for (int tries = 0; fastem_read(turn->before) <= part && !fastem_read(turn->stop); tries++)
        if (tries >= 1000) /* that thread may have lost its processor */
            fastem_yield();
}

static inline void fastem_added(const fastem_turn *turn, int64_t part)
{
    if (turn != NULL)
        fastem_write(turn->added, part + 1);
}

#endif
