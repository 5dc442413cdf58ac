// SPDX-License-Identifier: Apache-2.0
// Wait queues, with callbacks (epoll) and plain fibers as waiters. `key` is a mask of poll events
// (POLLIN ...), ~0 for "anything". A waiter with a mask is woken only by keys that meet it.
#pragma once
#include "base/list.h"
#include "base/lock.h"
#include "sched/fiber.h"

struct waitq {
    struct spinlock lock;
    struct list waiters; // [lock]
};
struct waiter {
    struct list link; // [q->lock]
    struct waitq *q;  // [q->lock] null when on no queue
    uint32_t mask;
    bool exclusive;   // a wake of n counts this one
    // Called under the queue's lock; must not sleep or take the same queue's lock.
    void (*fn)(struct waiter *, uint32_t key);
    struct fiber *fiber; // for the default fn
};
#define WAITQ_INIT(q) {SPINLOCK_INIT, LIST_INIT((q).waiters)}
void waitq_init(struct waitq *q);
void waiter_init(struct waiter *w);        // the current fiber, mask ~0, not exclusive
void waiter_init_fn(struct waiter *w, void (*fn)(struct waiter *, uint32_t), uint32_t mask);
void waitq_add(struct waitq *q, struct waiter *w);
void waitq_remove(struct waiter *w);       // no-op when on no queue; the queue must still exist
void waitq_wake(struct waitq *q, uint32_t key);            // all non-exclusive and one exclusive
void waitq_wake_all(struct waitq *q, uint32_t key);
bool waitq_active(struct waitq *q);        // anybody there (racy; for skipping work)

// Sleeps until cond; 0, -EINTR (interrupted, per mode) or -ETIMEDOUT. cond is evaluated with no
// lock held by this macro; callers turn -EINTR into -ERESTARTSYS as their system call asks.
#define wait_event(q, cond, deadline, mode)                          \
    ({                                                               \
        int we_err = 0;                                              \
        if (!(cond)) {                                               \
            struct waiter we_w;                                      \
            waiter_init(&we_w);                                      \
            waitq_add((q), &we_w);                                   \
            while (!(cond)) {                                        \
                we_err = fiber_park((deadline), (mode));             \
                if (we_err) {                                        \
                    if (cond)                                        \
                        we_err = 0;                                  \
                    break;                                           \
                }                                                    \
            }                                                        \
            waitq_remove(&we_w);                                     \
        }                                                            \
        we_err;                                                      \
    })
