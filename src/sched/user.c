// SPDX-License-Identifier: Apache-2.0
// Fibers whose task is in user mode. Each lies on the list of the worker it parked on; that worker
// looks at ready() while it polls. Before it sleeps it marks them as asleep and moves them to the
// dozing list: from then on their doorbell wakes them (fiber_wake), on whatever worker hears it.
//
// The fiber's state word decides who runs it: the polling worker and any waker both try
// fiber_claim; a fiber that was woken takes itself off the list before it goes on.
#include "sched/internal.h"

// May be stale when a woken fiber takes itself off; only this worker adds.
__attribute__((no_sanitize("thread"))) static bool polled_any(const struct worker *w)
{
    return ((const volatile struct list *)&w->polled)->next != &w->polled;
}

static void user_unlink(struct worker *w, struct user_wait *uw)
{
    list_del(&uw->link);
    WRITE_SHARED(w->nuser, w->nuser - uw->counted);
    WRITE_SHARED(uw->owner, nullptr);
}

void fiber_park_user(struct user_wait *uw)
{
    struct worker *w = worker_self();
    struct fiber *f = w->current;
    if (READ_SHARED(uw->fiber) != f)
        WRITE_SHARED(uw->fiber, f);
    uw->owner = w;
    uw->counted = !uw->blocked;
    spin_lock(&w->user_lock);
    list_push_front(&w->polled, &uw->link);
    WRITE_SHARED(w->nuser, w->nuser + uw->counted);
    spin_unlock(&w->user_lock);
    if (fiber_park_begin(f))
        fiber_leave(w, f, AFTER_PARK);
    // Not the worker of before, perhaps: `w` is stale here, uw->owner says where we lie.
    struct worker *owner;
    while ((owner = READ_SHARED(uw->owner))) { // only we take it off; but it may be given to another
        spin_lock(&owner->user_lock);
        if (uw->owner == owner)
            user_unlink(owner, uw);
        spin_unlock(&owner->user_lock);
    }
    if (uw->asleep) {
        uw->asleep = false;
        uw->set_asleep(uw, false);
    }
}

static struct fiber *user_find_ready(struct worker *w) REQUIRES(w->user_lock)
{
    list_for_each(it, &w->polled) {
        struct user_wait *uw = list_entry(it, struct user_wait, link);
        if (uw->ready(uw) && fiber_claim(uw->fiber)) {
            user_unlink(w, uw);
            return uw->fiber;
        }
    }
    return nullptr;
}

struct fiber *user_take(struct worker *w)
{
    if (!polled_any(w))
        return nullptr;
    spin_lock(&w->user_lock);
    struct fiber *f = user_find_ready(w);
    spin_unlock(&w->user_lock);
    return f;
}

// A few are looked at: with more threads than that there is no CPU to poll on anyway.
uint32_t user_sleeping(struct worker *w)
{
    uint32_t n = 0;
    struct list *lists[2] = {&w->polled, &w->dozing};
    spin_lock(&w->user_lock);
    for (int i = 0; i < 2; i++) {
        uint32_t left = 32;
        list_for_each(it, lists[i]) {
            struct user_wait *uw = list_entry(it, struct user_wait, link);
            n += uw->counted && uw->sleeping && READ_SHARED(*uw->sleeping);
            if (!--left)
                break;
        }
    }
    spin_unlock(&w->user_lock);
    return n;
}

bool user_shares_cpu(struct worker *w)
{
    uint32_t here = (uint32_t)sched_worker_cpu() + 1;
    bool shares = false;
    spin_lock(&w->user_lock);
    list_for_each(it, &w->polled) {
        struct user_wait *uw = list_entry(it, struct user_wait, link);
        shares |= uw->counted && uw->cpu && READ_SHARED(*uw->cpu) == here;
    }
    spin_unlock(&w->user_lock);
    return shares;
}

struct fiber *user_doze(struct worker *w)
{
    if (!polled_any(w))
        return nullptr;
    spin_lock(&w->user_lock);
    list_for_each(it, &w->polled) {
        struct user_wait *uw = list_entry(it, struct user_wait, link);
        if (!uw->asleep) {
            uw->asleep = true;
            uw->set_asleep(uw, true);
        }
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    struct fiber *f = user_find_ready(w);
    if (!f && !list_empty(&w->polled)) {
        struct list *first = w->polled.next, *last = w->polled.prev, *at = w->dozing.next;
        first->prev = &w->dozing;
        w->dozing.next = first;
        last->next = at;
        at->prev = last;
        list_init(&w->polled);
    }
    spin_unlock(&w->user_lock);
    return f;
}

// --- one looks for all ---------------------------------------------------------------------------
// Two workers that look, where there are not CPUs enough for them and the guests, take them from each
// other and from the guests. So the contexts move to the one with the lowest number that looks.
void user_look(struct worker *w, bool on)
{
    spin_lock(&w->user_lock);
    WRITE_SHARED(w->looking, on);
    spin_unlock(&w->user_lock);
}

// Both locks are held: the earlier worker's first.
static void user_move(struct worker *from, struct worker *to, struct user_wait *uw)
{
    list_del(&uw->link);
    list_push_front(&to->polled, &uw->link);
    WRITE_SHARED(from->nuser, from->nuser - uw->counted);
    WRITE_SHARED(to->nuser, to->nuser + uw->counted);
    WRITE_SHARED(uw->owner, to);
}

void user_give(struct worker *w)
{
    struct worker *to = nullptr;
    for (int i = 0; i < w->id && !to; i++)
        if (READ_SHARED(worker_at(i)->looking))
            to = worker_at(i);
    if (!to || !polled_any(w))
        return;
    spin_lock(&to->user_lock);
    spin_lock(&w->user_lock);
    if (to->looking) {
        list_for_each_safe(it, &w->polled)
            user_move(w, to, list_entry(it, struct user_wait, link));
        WRITE_SHARED(to->given_at, w->active_at); // looks as long as we would have
    }
    spin_unlock(&w->user_lock);
    spin_unlock(&to->user_lock);
}
