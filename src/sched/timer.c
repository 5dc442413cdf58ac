// SPDX-License-Identifier: Apache-2.0
// One-shot timers: a binary heap under one lock. One worker at a time runs what is due, so that a
// timer that re-arms itself never runs twice at once; which one is running is noted outside the
// timer, because a callback may free it.
#include "host/raw.h"
#include "sched/internal.h"

constexpr uint32_t TIMERS_MAX = 4u << 20; // untouched pages of the array cost nothing
static struct spinlock heap_lock;
static struct timer *heap[TIMERS_MAX + 1]; // [heap_lock] from 1
static uint32_t heap_n;                    // [heap_lock]
static ktime_t next_deadline = KTIME_MAX;  // [A] written under heap_lock
static bool serving;                       // [A] a worker is in timer_serve
static struct timer *running;              // [A] written under heap_lock
static struct worker *runner;              // [A] who runs it

static void heap_put(uint32_t i, struct timer *t)
{
    heap[i] = t;
    t->heap_index = i;
}
static void heap_up(uint32_t i, struct timer *t)
{
    for (; i > 1 && heap[i / 2]->deadline > t->deadline; i /= 2)
        heap_put(i, heap[i / 2]);
    heap_put(i, t);
}
static void heap_down(uint32_t i, struct timer *t)
{
    for (uint32_t c; (c = 2 * i) <= heap_n; i = c) {
        if (c < heap_n && heap[c + 1]->deadline < heap[c]->deadline)
            c++;
        if (heap[c]->deadline >= t->deadline)
            break;
        heap_put(i, heap[c]);
    }
    heap_put(i, t);
}
static void heap_publish(void)
{
    __atomic_store_n(&next_deadline, heap_n ? heap[1]->deadline : KTIME_MAX, __ATOMIC_SEQ_CST);
}
static void heap_remove(struct timer *t)
{
    uint32_t i = t->heap_index;
    CHECK(i && i <= heap_n && heap[i] == t);
    struct timer *last = heap[heap_n--];
    t->heap_index = 0;
    if (last == t)
        return;
    if (i > 1 && heap[i / 2]->deadline > last->deadline)
        heap_up(i, last);
    else
        heap_down(i, last);
}

void timer_init(struct timer *t, void (*fn)(struct timer *))
{
    *t = (struct timer){.fn = fn};
}

void timer_arm(struct timer *t, ktime_t deadline)
{
    spin_lock(&heap_lock);
    if (t->heap_index)
        heap_remove(t);
    CHECK(heap_n < TIMERS_MAX);
    t->deadline = deadline;
    heap_up(++heap_n, t);
    bool first = heap[1] == t;
    heap_publish();
    spin_unlock(&heap_lock);
    // A worker looks at the heap before it sleeps; another thread must make one look.
    if (first && !worker_self())
        worker_kick();
}

bool timer_cancel(struct timer *t)
{
    spin_lock(&heap_lock);
    bool armed = t->heap_index != 0;
    if (armed) {
        heap_remove(t);
        heap_publish();
    }
    spin_unlock(&heap_lock);
    return armed;
}

bool timer_cancel_sync(struct timer *t)
{
    bool armed = timer_cancel(t);
    unsigned spins = 0;
    while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) == t) {
        struct worker *w = worker_self();
        if (w && !w->current && __atomic_load_n(&runner, __ATOMIC_RELAXED) == w)
            break; // called by the callback itself
        if (++spins < 100)
            __builtin_ia32_pause();
        else
            host_call(__NR_sched_yield);
    }
    return armed;
}

ktime_t timer_next(void)
{
    return __atomic_load_n(&next_deadline, __ATOMIC_SEQ_CST);
}

static struct timer *timer_take_due(ktime_t now)
{
    spin_lock(&heap_lock);
    struct timer *t = heap_n && heap[1]->deadline <= now ? heap[1] : nullptr;
    if (t) {
        heap_remove(t);
        heap_publish();
    }
    // Under the lock: who finds the timer not armed also finds it running.
    __atomic_store_n(&running, t, __ATOMIC_RELEASE);
    spin_unlock(&heap_lock);
    return t;
}

void timer_serve(void)
{
    ktime_t next = timer_next();
    if (next == KTIME_MAX || next > ktime_now())
        return;
    if (__atomic_exchange_n(&serving, true, __ATOMIC_ACQUIRE))
        return;
    __atomic_store_n(&runner, worker_self(), __ATOMIC_RELAXED);
    struct timer *t;
    while ((t = timer_take_due(ktime_now())))
        t->fn(t);
    __atomic_store_n(&serving, false, __ATOMIC_RELEASE);
}
