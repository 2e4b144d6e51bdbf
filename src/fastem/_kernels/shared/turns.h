/* Threads that add to the same sums, each after the one before it: chunks of work are handed out in
 * order, and a chunk counts the parts that it has added, for the next chunk to wait for. */
#ifndef FASTEM_TURNS_H
#define FASTEM_TURNS_H

#include <stddef.h>
#include <stdint.h>

#if defined(_MSC_VER)
#include <windows.h>
#define FASTEM_READ(p) (*(const volatile int64_t *)(p))
#define FASTEM_WRITE(p, value) ((void)InterlockedExchange64((volatile LONG64 *)(p), value))
#define FASTEM_NEXT(p) (InterlockedExchangeAdd64((volatile LONG64 *)(p), 1))
#define FASTEM_YIELD() ((void)SwitchToThread())
#else
#include <sched.h>
#define FASTEM_READ(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define FASTEM_WRITE(p, value) __atomic_store_n(p, value, __ATOMIC_RELEASE)
#define FASTEM_NEXT(p) __atomic_fetch_add(p, 1, __ATOMIC_RELAXED)
#define FASTEM_YIELD() ((void)sched_yield())
#endif

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
    for (int tries = 0; FASTEM_READ(turn->before) <= part && !FASTEM_READ(turn->stop); tries++)
        if (tries >= 1000) /* that thread may have lost its processor */
            FASTEM_YIELD();
}

static inline void fastem_added(const fastem_turn *turn, int64_t part)
{
    if (turn != NULL)
        FASTEM_WRITE(turn->added, part + 1);
}

#endif
