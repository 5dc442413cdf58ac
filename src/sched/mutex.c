// SPDX-License-Identifier: Apache-2.0
// Sleeping locks. A free mutex is taken by whoever comes first, also past sleepers (that keeps the
// common case to one atomic operation); a sleeper that has lost BARGE_LIMIT times has the lock
// handed to it. A rwsem is granted: readers that wait while a writer holds it come next, all
// together, then the next writer, so neither side starves.
//
// As with pthread mutexes of old: the object that holds the lock must outlive every unlock, i.e. the
// unlocker still has its reference when it unlocks.
#include "sched/mutex.h"
#include "sched/internal.h"

enum : uint32_t { MUTEX_HELD = 1, MUTEX_WAITERS = 2, MUTEX_HANDOFF = 4 };
constexpr int BARGE_LIMIT = 4;
constexpr int MUTEX_SPINS = 40;

struct lock_waiter {
    struct list link;
    struct fiber *fiber;
    bool granted; // [lock]
    bool writer;
};

// --- ranks (debug builds) ------------------------------------------------------------------------
#ifdef NACRE_DEBUG
static void rank_push(struct fiber *f, const void *lock, int rank, bool check, bool nested)
{
    for (int i = 0; check && i < f->nheld; i++) {
        const struct held_lock *h = &f->held[i];
        if (h->lock == lock)
            panic("lock %p (rank %d) taken twice", lock, rank);
        if (rank == RANK_NONE || h->rank < rank)
            continue;
        if (h->rank == rank && (nested || (uintptr_t)h->lock < (uintptr_t)lock))
            continue;
        panic("lock order: rank %d (%p) taken while rank %d (%p) is held", rank, lock, h->rank,
              h->lock);
    }
    CHECK(f->nheld < HELD_MAX);
    f->held[f->nheld++] = (struct held_lock){lock, rank};
}
static void rank_pop(struct fiber *f, const void *lock)
{
    int i = f->nheld - 1;
    while (i >= 0 && f->held[i].lock != lock)
        i--;
    if (i < 0)
        panic("lock %p released by a fiber that does not hold it", lock);
    f->nheld--;
    for (; i < f->nheld; i++)
        f->held[i] = f->held[i + 1];
}
#else
static void rank_push(UNUSED struct fiber *f, UNUSED const void *lock, UNUSED int rank,
                      UNUSED bool check, UNUSED bool nested)
{
}
static void rank_pop(UNUSED struct fiber *f, UNUSED const void *lock)
{
}
#endif

// --- mutex ---------------------------------------------------------------------------------------
void mutex_init(struct mutex *m, enum lock_rank rank)
{
    *m = (struct mutex){.rank = (uint8_t)rank};
    list_init(&m->waiters);
}

static bool mutex_try(struct mutex *m)
{
    uint32_t v = __atomic_load_n(&m->state, __ATOMIC_RELAXED);
    // With HANDOFF set the lock is promised to a sleeper.
    while (!(v & (MUTEX_HELD | MUTEX_HANDOFF)))
        if (__atomic_compare_exchange_n(&m->state, &v, v | MUTEX_HELD, true, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return true;
    return false;
}

// Leaves the queue; the caller holds the mutex.
static void mutex_dequeue(struct mutex *m, struct lock_waiter *w) REQUIRES(m->lock)
{
    list_del(&w->link);
    if (list_empty(&m->waiters))
        __atomic_fetch_and(&m->state, ~MUTEX_WAITERS, __ATOMIC_RELAXED);
}

NOINLINE NO_LOCK_ANALYSIS static void mutex_lock_slow(struct mutex *m, struct fiber *f)
{
    for (int i = 0; i < MUTEX_SPINS && sched_nworkers() > 1; i++) {
        if (mutex_try(m))
            return;
        if (READ_SHARED(m->state) & MUTEX_WAITERS)
            break;
        __builtin_ia32_pause();
    }
    struct lock_waiter w = {.fiber = f};
    spin_lock(&m->lock);
    list_push_back(&m->waiters, &w.link);
    for (int lost = 0;; lost++) {
        // Announced before the try: an unlock from now on comes to the queue.
        __atomic_fetch_or(&m->state, MUTEX_WAITERS, __ATOMIC_RELAXED);
        if (w.granted || mutex_try(m))
            break;
        if (lost >= BARGE_LIMIT && m->waiters.next == &w.link)
            __atomic_fetch_or(&m->state, MUTEX_HANDOFF, __ATOMIC_RELAXED);
        spin_unlock(&m->lock);
        fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE);
        spin_lock(&m->lock);
    }
    mutex_dequeue(m, &w);
    spin_unlock(&m->lock);
}

NO_LOCK_ANALYSIS static void mutex_lock_common(struct mutex *m, bool nested)
{
    struct fiber *f = fiber_self();
    rank_push(f, m, m->rank, true, nested);
    uint32_t v = 0;
    if (!likely(__atomic_compare_exchange_n(&m->state, &v, MUTEX_HELD, false, __ATOMIC_ACQUIRE,
                                            __ATOMIC_RELAXED)))
        mutex_lock_slow(m, f);
    WRITE_SHARED(m->owner, f);
}

NO_LOCK_ANALYSIS void mutex_lock(struct mutex *m)
{
    mutex_lock_common(m, false);
}
NO_LOCK_ANALYSIS void mutex_lock_nested(struct mutex *m)
{
    mutex_lock_common(m, true);
}

NO_LOCK_ANALYSIS bool mutex_trylock(struct mutex *m)
{
    if (!mutex_try(m))
        return false;
    struct fiber *f = fiber_self();
    rank_push(f, m, m->rank, false, false);
    WRITE_SHARED(m->owner, f);
    return true;
}

NOINLINE NO_LOCK_ANALYSIS static void mutex_unlock_slow(struct mutex *m)
{
    spin_lock(&m->lock);
    struct lock_waiter *w = list_first(&m->waiters, struct lock_waiter, link);
    uint32_t v = __atomic_load_n(&m->state, __ATOMIC_RELAXED);
    if (w && (v & MUTEX_HANDOFF)) {
        w->granted = true; // stays HELD
        __atomic_fetch_and(&m->state, ~MUTEX_HANDOFF, __ATOMIC_RELEASE);
    } else {
        __atomic_fetch_and(&m->state, ~(MUTEX_HELD | MUTEX_HANDOFF), __ATOMIC_RELEASE);
    }
    if (w)
        fiber_wake(w->fiber);
    spin_unlock(&m->lock);
}

NO_LOCK_ANALYSIS void mutex_unlock(struct mutex *m)
{
    ASSERT(READ_SHARED(m->owner) == fiber_self());
    WRITE_SHARED(m->owner, nullptr);
#ifdef NACRE_DEBUG
    rank_pop(fiber_self(), m);
#endif
    uint32_t v = MUTEX_HELD;
    if (!likely(__atomic_compare_exchange_n(&m->state, &v, 0, false, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED))) {
        CHECK(v & MUTEX_HELD);
        mutex_unlock_slow(m);
    }
}

bool mutex_is_held(const struct mutex *m)
{
    return READ_SHARED(m->owner) == fiber_self();
}

// --- rwsem ---------------------------------------------------------------------------------------
void rwsem_init(struct rwsem *s, enum lock_rank rank)
{
    *s = (struct rwsem){.rank = (uint8_t)rank};
    list_init(&s->waiters);
}

// Enqueues and sleeps until granted. Called with the lock held, returns without it.
NOINLINE NO_LOCK_ANALYSIS static void rwsem_wait(struct rwsem *s, struct fiber *f, bool writer)
{
    struct lock_waiter w = {.fiber = f, .writer = writer};
    list_push_back(&s->waiters, &w.link);
    s->wwaiting += writer;
    while (!w.granted) {
        spin_unlock(&s->lock);
        fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE);
        spin_lock(&s->lock);
    }
    spin_unlock(&s->lock);
}

static void rwsem_grant(struct rwsem *s, struct lock_waiter *w) REQUIRES(s->lock)
{
    list_del(&w->link);
    if (w->writer) {
        s->wwaiting--;
        s->readers = -1;
    } else {
        s->readers++;
    }
    w->granted = true;
    fiber_wake(w->fiber);
}

static void rwsem_grant_writer(struct rwsem *s) REQUIRES(s->lock)
{
    list_for_each(it, &s->waiters) {
        struct lock_waiter *w = list_entry(it, struct lock_waiter, link);
        if (w->writer) {
            rwsem_grant(s, w);
            return;
        }
    }
}

NO_LOCK_ANALYSIS void rwsem_read_lock(struct rwsem *s)
{
    struct fiber *f = fiber_self();
    rank_push(f, s, s->rank, true, false);
    spin_lock(&s->lock);
    if (s->readers < 0 || s->wwaiting) {
        rwsem_wait(s, f, false);
        return;
    }
    s->readers++;
    spin_unlock(&s->lock);
}

NO_LOCK_ANALYSIS void rwsem_read_unlock(struct rwsem *s)
{
    rank_pop(fiber_self(), s);
    spin_lock(&s->lock);
    CHECK(s->readers > 0);
    if (--s->readers == 0 && s->wwaiting)
        rwsem_grant_writer(s);
    spin_unlock(&s->lock);
}

NO_LOCK_ANALYSIS void rwsem_write_lock(struct rwsem *s)
{
    struct fiber *f = fiber_self();
    rank_push(f, s, s->rank, true, false);
    spin_lock(&s->lock);
    if (s->readers != 0) {
        rwsem_wait(s, f, true);
        return;
    }
    s->readers = -1;
    spin_unlock(&s->lock);
}

NO_LOCK_ANALYSIS void rwsem_write_unlock(struct rwsem *s)
{
    rank_pop(fiber_self(), s);
    spin_lock(&s->lock);
    CHECK(s->readers == -1);
    s->readers = 0;
    list_for_each_safe(it, &s->waiters) {
        struct lock_waiter *w = list_entry(it, struct lock_waiter, link);
        if (!w->writer)
            rwsem_grant(s, w);
    }
    if (s->readers == 0)
        rwsem_grant_writer(s);
    spin_unlock(&s->lock);
}
