/* Pieces of work that threads take one by one. Those of even number take from the front, the others from the back, so
   that each reads memory in one direction. Whoever comes late finds less to do, and nobody waits for it: on a processor
   that others use too, a thread may be away for longer than all of the work takes. */

#include <omp.h>
#include <sched.h>
#include <stdint.h>

#ifdef __x86_64__
#define PAUSE __builtin_ia32_pause()
#else
#define PAUSE (void)0
#endif
#define IMPATIENT 256 /* looks at what another thread does, after which the processor is offered to whoever wants it */

struct phase {
    int64_t taken; /* from the front, and from the back in the upper half */
    int64_t done;
} __attribute__((aligned(64)));

struct worker {
    struct phase *phase;
    long from_back, stride; /* stride: how far its next piece is likely to be */
};

INLINE struct worker joined(struct phase *phases) {
    long threads = omp_get_num_threads(), from_back = omp_get_thread_num() % 2;
    return (struct worker){phases, from_back, from_back ? -(threads / 2) : (threads + 1) / 2};
}

INLINE long taken(struct worker *worker, long count) { /* a piece, or -1 where none is left */
    int64_t one = worker->from_back ? (int64_t)1 << 32 : 1;
    int64_t before = __atomic_load_n(&worker->phase->taken, __ATOMIC_RELAXED), front, back;
    do {
        front = before & 0xFFFFFFFF, back = before >> 32;
        if (front + back >= count) return -1;
    } while (!__atomic_compare_exchange_n(&worker->phase->taken, &before, before + one, 1, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return worker->from_back ? count - 1 - back : front;
}

INLINE void done(struct worker *worker) { __atomic_fetch_add(&worker->phase->done, 1, __ATOMIC_RELEASE); }

static void next_phase(struct worker *worker, long count) { /* once all pieces are done, by whomever */
    for (long looks = 1; __atomic_load_n(&worker->phase->done, __ATOMIC_ACQUIRE) < count; looks++)
        if (looks % IMPATIENT) PAUSE;
        else sched_yield();
    worker->phase++;
}

/* For each piece i of a phase; then on to the next. */
#define EACH(i, count) \
    for (int once = 1; once; next_phase(worker, count), once = 0) \
        for (long i; (i = taken(worker, count)) >= 0; done(worker))
