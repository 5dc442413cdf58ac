// SPDX-License-Identifier: Apache-2.0
// Fibers whose task is in user mode. Each lies on the list of the worker it parked on; that worker
// looks at ready() while it polls. Before it sleeps it marks them as asleep and moves them to the
// dozing list: from then on their doorbell wakes them (fiber_wake), on whatever worker hears it.
//
// The fiber's state word decides who runs it: the polling worker and any waker both try
// fiber_claim; a fiber that was woken takes itself off the list before it goes on.
#include "host/raw.h"
#include "sched/internal.h"
#include <linux/futex.h>
#include <x86intrin.h>

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

// --- wake-ups that are put off -------------------------------------------------------------------
// Where no CPU is free, a context that is woken takes the CPU of the worker that wakes it, from under
// those whose next call it would have answered in a moment; then guest and worker sleep and wake in turns
// for every single call. So a context whose call had to wait is woken when the worker has nothing else
// to do, or soon. Who has only slept because it is on the worker's CPU itself is woken at once: two
// that are always busy get the same share.
// Putting off has paid when the worker has answered others meanwhile. In a mere ping-pong it does not:
// the other side sleeps at once, and its CPU is idle before it is given to the one who was woken.
static bool user_may_hold(struct worker *w)
{
    return w->late_worth || ++w->late_tries >= w->late_every;
}

// True: it is awake.
static bool user_wake(struct worker *w, struct user_wait *uw, bool slept)
{
    const uint32_t *word = uw->wake;
    uw->wake = nullptr;
    if (!slept || w->nlate == LATE_MAX || !sched_full(w) || !user_may_hold(w)) {
        host_call(__NR_futex, word, FUTEX_WAKE, 1);
        return true;
    }
    if (!w->nlate) {
        w->late_since = __rdtsc();
        w->late_answers = 0;
    }
    w->late[w->nlate++] = word;
    uw->held_by = w;
    uw->held_turn = w->late_turn;
    return false;
}

// Words of spaces that have ended meanwhile: the host finds nobody there.
void user_wake_late(struct worker *w)
{
    uint32_t n = w->nlate;
    if (!n)
        return;
    bool paid = w->late_answers >= 4;
    w->late_worth = paid ? MIN(w->late_worth + 2, 8u) : MAX(w->late_worth, 1u) - 1;
    w->late_every = paid ? 16 : MIN(2 * w->late_every, 512u);
    w->late_tries = 0;
    w->nlate = 0;
    w->late_turn++;
    for (uint32_t i = 0; i < n; i++)
        host_call(__NR_futex, w->late[i], FUTEX_WAKE, 1);
}

static bool user_held(const struct worker *w, const struct user_wait *uw)
{
    return w->nlate && uw->held_by == w && uw->held_turn == w->late_turn;
}

void fiber_park_user(struct user_wait *uw)
{
    struct worker *w = worker_self();
    struct fiber *f = w->current;
    bool slept = f->slept;
    f->slept = false;
    // On our own CPU it has run by now, and often called: that call comes before others on the queue.
    if (uw->wake && user_wake(w, uw, slept) && uw->ready(uw))
        return;
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
        shares |= uw->counted && uw->cpu && READ_SHARED(*uw->cpu) == here &&
                  !user_held(w, uw) && !(uw->sleeping && READ_SHARED(*uw->sleeping));
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
