// SPDX-License-Identifier: Apache-2.0
// Wait queues. A waiter stays queued until it removes itself, so the waker may touch it (and the
// fiber behind it) under the queue's lock. An exclusive waiter that was woken goes to the back: the
// next wake reaches somebody else.
#include "sched/waitq.h"
#include "sched/internal.h"

static void wake_fiber(struct waiter *w, UNUSED uint32_t key)
{
    fiber_wake(w->fiber);
}

void waitq_init(struct waitq *q)
{
    spin_init(&q->lock);
    list_init(&q->waiters);
}

void waiter_init(struct waiter *w)
{
    waiter_init_fn(w, wake_fiber, ~0u);
    w->fiber = fiber_self();
}

void waiter_init_fn(struct waiter *w, void (*fn)(struct waiter *, uint32_t), uint32_t mask)
{
    *w = (struct waiter){.fn = fn, .mask = mask};
    list_init(&w->link);
}

void waitq_add(struct waitq *q, struct waiter *w)
{
    spin_lock(&q->lock);
    CHECK(!w->q);
    WRITE_SHARED(w->q, q);
    list_push_back(&q->waiters, &w->link);
    spin_unlock(&q->lock);
    // The look at the condition that follows must not move before the insertion.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void waitq_remove(struct waiter *w)
{
    struct waitq *q = READ_SHARED(w->q);
    if (!q)
        return;
    spin_lock(&q->lock);
    if (w->q) {
        list_del(&w->link);
        WRITE_SHARED(w->q, nullptr);
    }
    spin_unlock(&q->lock);
}

static void wake(struct waitq *q, uint32_t key, bool all)
{
    struct waiter *woken = nullptr;
    spin_lock(&q->lock);
    list_for_each_safe(it, &q->waiters) {
        struct waiter *w = list_entry(it, struct waiter, link);
        if (!(w->mask & key) || (w->exclusive && woken && !all))
            continue;
        if (w->exclusive)
            woken = w;
        w->fn(w, key);
    }
    if (woken && !all) {
        list_del(&woken->link);
        list_push_back(&q->waiters, &woken->link);
    }
    spin_unlock(&q->lock);
}

void waitq_wake(struct waitq *q, uint32_t key)
{
    wake(q, key, false);
}
void waitq_wake_all(struct waitq *q, uint32_t key)
{
    wake(q, key, true);
}

__attribute__((no_sanitize("thread"))) bool waitq_active(struct waitq *q)
{
    // Pairs with the fence in waitq_add: the caller has changed the condition before it looks here.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return ((const volatile struct list *)&q->waiters)->next != &q->waiters;
}
