// SPDX-License-Identifier: Apache-2.0
// The short lock: spins briefly, then sleeps on a host futex. Never held across a park of a
// fiber, a host call that can block, guest memory access or a Gofer round trip; for those there
// is struct mutex (sched/mutex.h). Debug builds check that the holder is the unlocker.
#pragma once
#include "base/attr.h"

struct CAPABILITY("spinlock") spinlock {
    uint32_t v; // 0 free, 1 held, 2 held with sleepers
};
#define SPINLOCK_INIT {0}
void spin_lock_slow(struct spinlock *l);
void spin_unlock_slow(struct spinlock *l, uint32_t old); // old: 2 sleepers; 0 was not held, a bug
static inline void spin_init(struct spinlock *l)
{
    l->v = 0;
}
static inline void spin_lock(struct spinlock *l) ACQUIRES(*l);
static inline bool spin_trylock(struct spinlock *l) TRY_ACQUIRES(true, *l);
static inline void spin_unlock(struct spinlock *l) RELEASES(*l);

NO_LOCK_ANALYSIS static inline void spin_lock(struct spinlock *l)
{
    uint32_t z = 0;
    if (unlikely(!__atomic_compare_exchange_n(&l->v, &z, 1, false, __ATOMIC_ACQUIRE,
                                              __ATOMIC_RELAXED)))
        spin_lock_slow(l);
}
NO_LOCK_ANALYSIS static inline bool spin_trylock(struct spinlock *l)
{
    uint32_t z = 0;
    return __atomic_compare_exchange_n(&l->v, &z, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}
NO_LOCK_ANALYSIS static inline void spin_unlock(struct spinlock *l)
{
    uint32_t old = __atomic_exchange_n(&l->v, 0, __ATOMIC_RELEASE);
    if (unlikely(old != 1))
        spin_unlock_slow(l, old);
}
