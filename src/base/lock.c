// SPDX-License-Identifier: Apache-2.0
// Slow paths of the short lock: a bounded spin, then a private host futex.
#include "base/lock.h"
#include "base/assert.h"
#include "host/raw.h"
#include <linux/futex.h>

constexpr int SPIN_ROUNDS = 100;

void spin_lock_slow(struct spinlock *l)
{
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        uint32_t v = __atomic_load_n(&l->v, __ATOMIC_RELAXED);
        if (v == 0 && __atomic_compare_exchange_n(&l->v, &v, 1, false, __ATOMIC_ACQUIRE,
                                                  __ATOMIC_RELAXED))
            return;
        if (v == 2)
            break; // others sleep already: the holder takes long
        __builtin_ia32_pause();
    }
    // Taken as 2 from here on: we cannot know whether others sleep, so our unlock wakes one more.
    while (__atomic_exchange_n(&l->v, 2, __ATOMIC_ACQUIRE) != 0)
        host_call(__NR_futex, &l->v, FUTEX_WAIT_PRIVATE, 2, 0);
}

void spin_unlock_slow(struct spinlock *l, uint32_t old)
{
    CHECK(old == 2);
    host_call(__NR_futex, &l->v, FUTEX_WAKE_PRIVATE, 1);
}
