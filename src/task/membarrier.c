// SPDX-License-Identifier: Apache-2.0
// membarrier(2), private and expedited: every other thread of the address space passes a full barrier
// between the call and its return, or does not run in user mode meanwhile.
//
// Whoever is in user mode is interrupted and comes to the kernel by the platform's handover, a locked
// instruction of its own; whoever is in the kernel has come by one, and goes back after one of ours.
// So it is enough to see each of them once in the kernel: with in_user false, or with a barrier_seen
// that it stored on its way in after the call had taken its number. The number is taken before
// in_user is looked at, and in_user is set before the handover back: one of the two sees the other.
#include "abi/errno.h"
#include "task/internal.h"
#include <linux/membarrier.h>

constexpr int GET_REGISTRATIONS = 1 << 9;

uint64_t task_barriers; // [A] calls so far

// Is o in user mode, not seen in the kernel since call `nr`? Then it is on its way there.
static bool outside_locked(struct task *o, const struct aspace *as, uint64_t nr)
{
    if (o->dead || !o->ctx || o->ctx->as != as || !__atomic_load_n(&o->in_user, __ATOMIC_SEQ_CST) ||
        __atomic_load_n(&o->user_futex, __ATOMIC_ACQUIRE) ||
        __atomic_load_n(&o->barrier_seen, __ATOMIC_ACQUIRE) >= nr)
        return false;
    o->ctx->ops->interrupt(o->ctx);
    return true;
}

static bool group_outside(struct thread_group *g, struct task *t, uint64_t nr)
{
    bool any = false;
    spin_lock(&g->sig_lock);
    list_for_each(it, &g->threads) {
        struct task *o = list_entry(it, struct task, thread_link);
        any |= o != t && outside_locked(o, t->ctx->as, nr);
    }
    spin_unlock(&g->sig_lock);
    return any;
}

// Processes made with CLONE_VM share the space, too; t's own is looked at alone while it has all.
static bool anybody_outside(struct task *t, uint64_t nr)
{
    if (group_outside(t->group, t, nr))
        return true;
    struct pidns *ns = t->pidns;
    struct thread_group *g;
    while (ns->parent)
        ns = ns->parent;
    bool any = false;
    for (int n = 1; READ_SHARED(t->mm->shared) && (g = group_next(ns, &n)) != nullptr; n++) {
        any |= g != t->group && group_outside(g, t, nr);
        group_put(g);
    }
    return any;
}

static int private_barrier(struct task *t)
{
    constexpr unsigned yields = 64;
    constexpr ktime_t rest = 200000;
    uint64_t nr = __atomic_add_fetch(&task_barriers, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; anybody_outside(t, nr); i++) {
        if (i < yields)
            fiber_yield();
        else if (fiber_park(ktime_now() + rest, PARK_KILLABLE) == -EINTR)
            return -EINTR; // killed
    }
    return 0;
}

long task_membarrier(struct task *t, int cmd)
{
    constexpr uint64_t private = MEMBARRIER_CMD_PRIVATE_EXPEDITED;
    uint64_t *registered = &t->mm->membarrier_state;
    switch (cmd) {
    case MEMBARRIER_CMD_QUERY:
        return MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |
               GET_REGISTRATIONS;
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED:
        __atomic_fetch_or(registered, private, __ATOMIC_SEQ_CST);
        return 0;
    case GET_REGISTRATIONS:
        return READ_SHARED(*registered) & private ? MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED : 0;
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED:
        return READ_SHARED(*registered) & private ? private_barrier(t) : -EPERM;
    }
    return -EINVAL;
}
