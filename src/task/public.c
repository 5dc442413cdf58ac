// SPDX-License-Identifier: Apache-2.0
// What the kernel publishes about a task (platform/stub/public.h), so that its host thread can answer
// getpid and the like without a handover, and the signal mask, which such a thread keeps itself while
// the guest runs.
//
// Numbers: whoever changes one marks the task's page stale, which sends its calls to the kernel; the
// task itself writes the page again on its way to user mode. Both under tasklist_lock, so that a
// page without the mark is true. The mark goes up before the change can be seen by others.
//
// Mask: t->blocked is the mask while the task is in the kernel, and a copy while it is in user mode
// (in_user), where *ctx->mask is what counts: hostile memory, which can only mislead about the
// guest's own signals. The task takes it over when it comes in; others ask task_mask_locked(). A
// sender makes the signal pending in the page, then looks at the mask; the stub stores its mask, then
// looks at the page: one of the two sees the other.
#include "kern/limits.h"
#include "task/internal.h"
#include "task/seccomp.h"

uint64_t cpus_visible(void)
{
    return machine_ncpus() >= 64 || machine_ncpus() <= 0 ? ~0ull : (1ull << machine_ncpus()) - 1;
}

static void stale_locked(struct task *t) // [sig_lock]
{
    if (!t->dead && t->ctx && t->ctx->pub)
        __atomic_fetch_or(&t->ctx->pub->full, PUB_STALE, __ATOMIC_SEQ_CST);
}

void group_public_stale_locked(struct thread_group *g)
{
    spin_lock(&g->sig_lock);
    list_for_each(it, &g->threads)
        stale_locked(list_entry(it, struct task, thread_link));
    spin_unlock(&g->sig_lock);
}

void task_public_stale_self(struct task *t)
{
    if (t->ctx && t->ctx->pub)
        __atomic_fetch_or(&t->ctx->pub->full, PUB_STALE, __ATOMIC_SEQ_CST);
}

void task_public_stale(struct task *t)
{
    mutex_lock(&tasklist_lock);
    spin_lock(&t->group->sig_lock);
    stale_locked(t);
    spin_unlock(&t->group->sig_lock);
    mutex_unlock(&tasklist_lock);
}

static uint32_t number(const struct kpid *p, const struct pidns *ns)
{
    return p ? (uint32_t)kpid_nr_in(p, ns) : 0;
}

// Into a zeroed line or one that is marked stale: its own thread is not in user mode.
static void public_write(struct task *t)
{
    struct ppublic *p = t->ctx->pub;
    struct thread_group *g = t->group;
    const struct pidns *ns = t->pidns;
    mutex_lock(&tasklist_lock);
    WRITE_SHARED(p->tid, number(t->pid, ns));
    WRITE_SHARED(p->tgid, number(g->tgid_pid, ns));
    WRITE_SHARED(p->ppid, g->parent ? number(g->parent->tgid_pid, ns) : 0);
    WRITE_SHARED(p->pgid, g->pgrp ? number(g->pgrp->pid, ns) : 0);
    WRITE_SHARED(p->sid, g->pgrp ? number(g->pgrp->session->pid, ns) : 0);
    WRITE_SHARED(p->uid, t->cred->uid);
    WRITE_SHARED(p->euid, t->cred->euid);
    WRITE_SHARED(p->gid, t->cred->gid);
    WRITE_SHARED(p->egid, t->cred->egid);
    WRITE_SHARED(p->files, t->files ? fdtab_id(t->files) : 0);
    WRITE_SHARED(p->fs, t->fs ? t->fs->id : 0);
    WRITE_SHARED(p->ncpus, (uint32_t)machine_ncpus());
    WRITE_SHARED(p->affinity, __atomic_load_n(&t->cpu_affinity, __ATOMIC_RELAXED) & cpus_visible());
    bool traced = t->strace || t->ptrace || seccomp_wants_all(t);
    __atomic_store_n(&p->full, traced ? PUB_TRACED : 0, __ATOMIC_SEQ_CST);
    mutex_unlock(&tasklist_lock);
}

static ksigset_t pending_of(const struct task *t)
{
    return READ_SHARED(t->pending.set) | READ_SHARED(t->group->pending.set);
}

void task_user_enter_slow(struct task *t)
{
    struct ppublic *p = t->ctx->pub;
    if (READ_SHARED(p->full) & PUB_STALE)
        public_write(t);
    if (READ_SHARED(*t->ctx->mask) != t->blocked)
        WRITE_SHARED(*t->ctx->mask, t->blocked);
    if (READ_SHARED(p->altstack_sp) != t->altstack_sp ||
        READ_SHARED(p->altstack_size) != t->altstack_size ||
        READ_SHARED(p->altstack_flags) != (uint32_t)t->altstack_flags) {
        WRITE_SHARED(p->altstack_sp, t->altstack_sp);
        WRITE_SHARED(p->altstack_size, t->altstack_size);
        WRITE_SHARED(p->altstack_flags, (uint32_t)t->altstack_flags);
    }
    if (READ_SHARED(p->pending) != pending_of(t)) {
        spin_lock(&t->group->sig_lock);
        WRITE_SHARED(p->pending, pending_of(t));
        spin_unlock(&t->group->sig_lock);
    }
}

void task_user_mask(struct task *t)
{
    ksigset_t m = READ_SHARED(*t->ctx->mask) & ~SIGMASK_KERNEL;
    if (m == t->blocked)
        return;
    spin_lock(&t->group->sig_lock);
    WRITE_SHARED(t->blocked, m);
    spin_unlock(&t->group->sig_lock);
}

ksigset_t task_mask_locked(const struct task *t)
{
    if (t->dead || !t->ctx || !t->ctx->mask || !__atomic_load_n(&t->in_user, __ATOMIC_SEQ_CST))
        return t->blocked;
    return __atomic_load_n(t->ctx->mask, __ATOMIC_SEQ_CST) & ~SIGMASK_KERNEL;
}

static void pending_publish(struct task *t)
{
    if (!t->dead && t->ctx && t->ctx->pub)
        __atomic_store_n(&t->ctx->pub->pending, pending_of(t), __ATOMIC_SEQ_CST);
}

void public_pending_locked(struct thread_group *g, struct task *t)
{
    if (t)
        pending_publish(t);
    else
        list_for_each(it, &g->threads)
            pending_publish(list_entry(it, struct task, thread_link));
}

ksigset_t task_blocked(struct task *t)
{
    spin_lock(&t->group->sig_lock);
    ksigset_t m = task_mask_locked(t);
    spin_unlock(&t->group->sig_lock);
    return m;
}

bool task_user_sleeping(struct task *t)
{
    if (!READ_SHARED(t->in_user))
        return false;
    if (READ_SHARED(t->user_futex))
        return true;
    spin_lock(&t->group->sig_lock);
    bool sleeping = !t->dead && t->ctx && t->ctx->sleeping && READ_SHARED(*t->ctx->sleeping);
    spin_unlock(&t->group->sig_lock);
    return sleeping;
}
