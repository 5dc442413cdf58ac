// SPDX-License-Identifier: Apache-2.0
// What the runtime does to all processes of a container: signals, lists, the freezer.
//
// Frozen tasks stop on their way to user mode; one that waits inside a system call stays there.
// The flag is part of "signal work", so that a running task is interrupted as for a signal.
#include "abi/errno.h"
#include "sched/waitq.h"
#include "task/internal.h"

bool task_frozen; // [A]
static struct waitq freeze_wait = WAITQ_INIT(freeze_wait);

void task_freeze_point(void)
{
    while (__atomic_load_n(&task_frozen, __ATOMIC_ACQUIRE))
        if (wait_event(&freeze_wait, !__atomic_load_n(&task_frozen, __ATOMIC_ACQUIRE), KTIME_MAX,
                       PARK_KILLABLE))
            return; // killed
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
    __atomic_store_n(&task_frozen, freeze, __ATOMIC_SEQ_CST);
    if (!freeze) {
        waitq_wake_all(&freeze_wait, ~0u);
        return;
    }
    for (int nr = 1; (g = group_next(init->pidns, &nr)) != nullptr; nr++) {
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
    for (int nr = 1; (g = group_next(init->pidns, &nr)) != nullptr; nr++) {
        if (g != init->group)
            signal_send_group(g, &si);
        group_put(g);
    }
    signal_send_group(init->group, &si);
}

void task_list_all(struct task *init, struct strbuf *out)
{
    struct thread_group *g;
    for (int nr = 1; (g = group_next(init->pidns, &nr)) != nullptr; nr++) {
        int tid = 0, ppid = 0;
        struct task *t = group_next_thread(g, init->pidns, &tid);
        mutex_lock(&tasklist_lock);
        if (g->parent && g->parent->tgid_pid)
            ppid = kpid_nr_in(g->parent->tgid_pid, init->pidns);
        mutex_unlock(&tasklist_lock);
        if (t) {
            spin_lock(&t->task_lock);
            uint32_t uid = t->cred ? t->cred->uid : 0;
            char comm[sizeof(t->comm)];
            for (size_t i = 0; i < sizeof(comm); i++)
                comm[i] = t->comm[i] == '\n' ? '?' : t->comm[i];
            spin_unlock(&t->task_lock);
            comm[sizeof(comm) - 1] = 0;
            strbuf_fmt(out, "%u %d %d %s\n", uid, nr, ppid, comm);
            task_put(t);
        }
        group_put(g);
    }
}
