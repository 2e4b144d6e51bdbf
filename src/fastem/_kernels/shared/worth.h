/* Whether work is worth a second thread: the one rule for all kernels.
 *
 * Threads that wait for work are woken in some ten microseconds, and much later on a busy machine.
 * Less work than this is done by the thread that called. A kernel states its work as the nanoseconds
 * that one thread takes for it, about: the number of its operations times what one of them costs. */
#ifndef FASTEM_WORTH_H
#define FASTEM_WORTH_H

#define FASTEM_LEAST_WORK 2e5 /* nanoseconds */

static inline int fastem_worth(int n_threads, double nanoseconds)
{
    return n_threads > 1 && nanoseconds >= FASTEM_LEAST_WORK ? n_threads : 1;
}

#endif
