// SPDX-License-Identifier: Apache-2.0
// One-shot timers on CLOCK_MONOTONIC. The callback runs in a worker's loop, outside any fiber: it
// must not park; usually it wakes a fiber or a wait queue.
#pragma once
#include "sched/fiber.h"

struct timer {
    ktime_t deadline;            // scheduler's, while armed
    uint32_t heap_index;         // scheduler's; 0 = not armed
    bool running;                // scheduler's
    void (*fn)(struct timer *);
};
void timer_init(struct timer *t, void (*fn)(struct timer *));
void timer_arm(struct timer *t, ktime_t deadline); // re-arms when armed
// True when it was armed and will not run. With sync, waits for a callback that is running.
bool timer_cancel(struct timer *t);
bool timer_cancel_sync(struct timer *t);
