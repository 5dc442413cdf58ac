// SPDX-License-Identifier: Apache-2.0
// What the runtime does to all processes of a container: signals, lists, the freezer, the limit.
//
// Frozen tasks stop on their way to user mode; one that waits inside a system call stays there.
// The flag is part of "signal work", so that a running task is interrupted as for a signal.
#include "abi/errno.h"
#include "base/slab.h"
#include "sched/waitq.h"
#include "task/internal.h"

SLAB_DEFINE(container_slab, struct task_container);

struct task_container *task_container_new(int max_tasks)
{
    struct task_container *c = slab_alloc(&container_slab);
    if (!c)
        return nullptr;
    ref_init(&c->ref);
    spin_init(&c->lock);
    waitq_init(&c->thaw);
    waitq_init(&c->empty);
    c->max_tasks = max_tasks;
    return c;
}

struct task_container *task_container_get(struct task_container *c)
{
    ref_get(&c->ref);
    return c;
}

void task_container_put(struct task_container *c)
{
    if (!c || !ref_put(&c->ref))
        return;
    if (c->release)
        c->release(c);
    slab_free(&container_slab, c);
}

int task_container_charge_locked(struct task_container *c)
{
    if (c->dying)
        return -ENOMEM;
    if (c->max_tasks && c->ntasks >= c->max_tasks)
        return -EAGAIN;
    c->ntasks++;
    return 0;
}

void task_container_uncharge_locked(struct task_container *c)
{
    CHECK(c->ntasks > 0);
    if (--c->ntasks == 0)
        waitq_wake_all(&c->empty, ~0u);
}

void task_freeze_point(struct task *t)
{
    struct task_container *c = t->group->container;
    while (task_frozen(t))
        if (wait_event(&c->thaw, !task_frozen(t), KTIME_MAX, PARK_KILLABLE))
            return; // killed
}

// The next process of init's container at or after number *nr of its pid namespace.
static struct thread_group *container_next(struct task *init, int *nr)
{
    struct thread_group *g;
    for (; (g = group_next(init->pidns, nr)) != nullptr; ++*nr) {
        if (g->container == init->group->container)
            return g;
        group_put(g);
    }
    return nullptr;
}

static void kick_group(struct thread_group *g)
{
    spin_lock(&g->sig_lock);
    list_for_each(it, &g->threads) {
        struct task *t = list_entry(it, struct task, thread_link);
        if (t->dead)
            continue;
        __atomic_store_n(&t->sig_work, true, __ATOMIC_SEQ_CST);
        if (t->started && __atomic_load_n(&t->in_user, __ATOMIC_SEQ_CST) && t->ctx)
            t->ctx->ops->interrupt(t->ctx);
    }
    spin_unlock(&g->sig_lock);
}

void task_freeze_all(struct task *init, bool freeze)
{
    struct thread_group *g;
    struct task_container *c = init->group->container;
    __atomic_store_n(&c->frozen, freeze, __ATOMIC_SEQ_CST);
    if (!freeze) {
        waitq_wake_all(&c->thaw, ~0u);
        return;
    }
    for (int nr = 1; (g = container_next(init, &nr)) != nullptr; nr++) {
        kick_group(g); // a task that is made from now on looks at the flag itself
        group_put(g);
    }
}

void task_signal_all(struct task *init, int sig)
{
    struct thread_group *g;
    siginfo_t si;
    siginfo_kernel(&si, sig);
    si.si_code = SI_USER;
    for (int nr = 1; (g = container_next(init, &nr)) != nullptr; nr++) {
        if (g != init->group)
            signal_send_group(g, &si);
        group_put(g);
    }
    signal_send_group(init->group, &si);
}

static bool container_empty(struct task_container *c)
{
    mutex_lock(&tasklist_lock);
    bool empty = c->ntasks == 0;
    mutex_unlock(&tasklist_lock);
    return empty;
}

bool task_container_ending(struct task *init)
{
    mutex_lock(&tasklist_lock);
    bool ending = init->group->container->dying || init->pidns->dying;
    mutex_unlock(&tasklist_lock);
    spin_lock(&init->group->sig_lock);
    ending |= init->group->exiting || init->dead;
    spin_unlock(&init->group->sig_lock);
    return ending;
}

void task_end_all(struct task *init)
{
    struct task_container *c = init->group->container;
    struct thread_group *g;
    mutex_lock(&tasklist_lock);
    c->dying = true; // what is being cloned right now is not published any more
    mutex_unlock(&tasklist_lock);
    task_freeze_all(init, false);
    for (int nr = 1; (g = container_next(init, &nr)) != nullptr; nr++) {
        spin_lock(&g->sig_lock);
        group_kill_locked(g, SIGKILL);
        spin_unlock(&g->sig_lock);
        group_put(g);
    }
    (void)wait_event(&c->empty, container_empty(c), KTIME_MAX, PARK_UNINTERRUPTIBLE);
}

void task_end_held(struct task *t, int sig)
{
    spin_lock(&t->group->sig_lock);
    group_kill_locked(t->group, sig);
    spin_unlock(&t->group->sig_lock);
    task_start_held(t);
}

void task_list_all(struct task *init, struct strbuf *out)
{
    struct thread_group *g;
    for (int nr = 1; (g = container_next(init, &nr)) != nullptr; nr++) {
        int tid = 0, ppid = 0;
        struct task *t = group_next_thread(g, init->pidns, &tid);
        mutex_lock(&tasklist_lock);
        if (g->parent && g->parent->tgid_pid)
            ppid = kpid_nr_in(g->parent->tgid_pid, init->pidns);
        mutex_unlock(&tasklist_lock);
        if (t) {
            struct mm *mm = task_mm_get(t);
            int host = mm ? mm_platform()->host_pid(mm->as) : 0;
            if (mm)
                mm_put(mm);
            spin_lock(&t->task_lock);
            uint32_t uid = t->cred ? t->cred->uid : 0;
            char comm[sizeof(t->comm)];
            for (size_t i = 0; i < sizeof(comm); i++)
                comm[i] = t->comm[i] == '\n' ? '?' : t->comm[i];
            spin_unlock(&t->task_lock);
            comm[sizeof(comm) - 1] = 0;
            strbuf_fmt(out, "%u %d %d %d %s\n", uid, nr, ppid, host, comm);
            task_put(t);
        }
        group_put(g);
    }
}

void task_set_max(struct task *init, int max_tasks)
{
    mutex_lock(&tasklist_lock);
    init->group->container->max_tasks = max_tasks;
    mutex_unlock(&tasklist_lock);
}
int task_count(struct task *init)
{
    mutex_lock(&tasklist_lock);
    int n = init->group->container->ntasks;
    mutex_unlock(&tasklist_lock);
    return n;
}

void task_machine_changed(struct task *init)
{
    struct thread_group *g;
    struct task *t;
    for (int nr = 1; (g = group_next(init->pidns, &nr)) != nullptr; nr++) {
        for (int tid = 1; (t = group_next_thread(g, init->pidns, &tid)) != nullptr; tid++) {
            task_public_stale(t);
            task_put(t);
        }
        group_put(g);
    }
}
