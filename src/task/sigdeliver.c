// SPDX-License-Identifier: Apache-2.0
// What happens to a task's signals on its way to user mode: default actions, group stops, death,
// handler frames and the restart of interrupted system calls.
#include "abi/errno.h"
#include "task/internal.h"
#include <asm/unistd.h>
#include <string.h>

// Tells the parent that the group has stopped or goes on. No lock held.
void group_notify_parent_stop(struct thread_group *g, int why)
{
    siginfo_t si = {.si_signo = SIGCHLD, .si_code = why};
    mutex_lock(&tasklist_lock);
    struct thread_group *p = g->parent;
    struct task *pt = p ? list_first(&p->threads, struct task, thread_link) : nullptr;
    if (pt) {
        si.si_pid = group_tgid_in(g, p->tgid_pid->ns);
        if (g->leader)
            si.si_uid = g->leader->cred->uid;
        si.si_status = why == CLD_STOPPED ? g->stop_sig : SIGCONT;
        spin_lock(&p->sig_lock);
        spin_lock(&pt->sighand->lock);
        const struct ksigaction *ka = &pt->sighand->action[SIGCHLD - 1];
        bool send = ka->handler != (uint64_t)(uintptr_t)SIG_IGN && !(ka->flags & SA_NOCLDSTOP);
        spin_unlock(&pt->sighand->lock);
        spin_unlock(&p->sig_lock);
        if (send)
            (void)signal_send_group(p, &si);
        waitq_wake_all(&p->child_wait, ~0u);
    }
    mutex_unlock(&tasklist_lock);
}

static bool pgrp_is_orphaned(struct thread_group *g)
{
    mutex_lock(&tasklist_lock);
    bool r = !g->pgrp || pgrp_orphaned_locked(g->pgrp, nullptr);
    mutex_unlock(&tasklist_lock);
    return r;
}

// A stop signal with the default action was taken: every thread is asked to stop. [sig_lock]
static void begin_group_stop(struct task *t, int sig)
{
    struct thread_group *g = t->group;
    if (!t->stop_dequeued || g->exiting || g->exec_task)
        return;
    t->stop_dequeued = false;
    if (g->stop_count == 0)
        g->stop_sig = sig;
    list_for_each(it, &g->threads) {
        struct task *o = list_entry(it, struct task, thread_link);
        if (o->exiting || o->jobctl_stop_pending || o->jobctl_stopped)
            continue;
        o->jobctl_stop_pending = true;
        g->stop_count++;
        if (o != t)
            signal_wake_locked(o, false);
    }
}

// This thread's part in a group stop: parks until SIGCONT or death. Called and returns with
// sig_lock held.
static void take_part_in_stop(struct task *t)
{
    struct thread_group *g = t->group;
    bool last = false;
    t->jobctl_stop_pending = false;
    if (g->stop_count && --g->stop_count == 0) {
        g->stopped = g->stop_reportable = last = true;
        g->continued = false;
    }
    t->jobctl_stopped = true;
    WRITE_SHARED(t->state, TASK_STOPPED);
    spin_unlock(&g->sig_lock);
    if (last)
        group_notify_parent_stop(g, CLD_STOPPED);
    for (;;) {
        spin_lock(&g->sig_lock);
        if (!t->jobctl_stopped)
            break;
        spin_unlock(&g->sig_lock);
        (void)fiber_park(KTIME_MAX, PARK_UNINTERRUPTIBLE);
    }
    WRITE_SHARED(t->state, TASK_RUNNING);
}

// The action for a dequeued signal; SA_RESETHAND takes effect. [sig_lock]
static struct ksigaction take_action(struct task *t, int sig)
{
    spin_lock(&t->sighand->lock);
    struct ksigaction *p = &t->sighand->action[sig - 1], ka = *p;
    if ((ka.flags & SA_RESETHAND) && ka.handler > (uint64_t)(uintptr_t)SIG_IGN)
        p->handler = (uint64_t)(uintptr_t)SIG_DFL;
    spin_unlock(&t->sighand->lock);
    return ka;
}

// The next signal with a handler, or 0. Stops and dies on the way.
static int get_signal(struct task *t, struct ksigaction *ka, siginfo_t *si)
{
    struct thread_group *g = t->group;
    spin_lock(&g->sig_lock);
    for (;;) {
        if (g->exiting || t->killed) {
            int status = g->exiting ? g->exit_code : SIGKILL;
            spin_unlock(&g->sig_lock);
            task_exit(t, status);
        }
        if (g->cld_notify) {
            g->cld_notify = false;
            int why = g->cld_why;
            spin_unlock(&g->sig_lock);
            group_notify_parent_stop(g, why);
            spin_lock(&g->sig_lock);
            continue;
        }
        if (t->jobctl_stop_pending) {
            take_part_in_stop(t);
            continue;
        }
        int sig = signal_dequeue_locked(t, ~t->blocked, si);
        if (!sig)
            break;
        *ka = take_action(t, sig);
        if (ka->handler == (uint64_t)(uintptr_t)SIG_IGN)
            continue;
        if (ka->handler != (uint64_t)(uintptr_t)SIG_DFL) {
            spin_unlock(&g->sig_lock);
            return sig;
        }
        if (sig_default_ignored(sig))
            continue;
        if (g->unkillable && !(SIGMASK_KERNEL & SIGBIT(sig)))
            continue;
        if (SIGMASK_STOP & SIGBIT(sig)) {
            if (sig != SIGSTOP) {
                spin_unlock(&g->sig_lock);
                bool orphaned = pgrp_is_orphaned(g);
                spin_lock(&g->sig_lock);
                if (orphaned)
                    continue;
            }
            begin_group_stop(t, sig);
            continue;
        }
        group_kill_locked(g, sig); // no core is written: no core bit
    }
    signal_recalc_locked(t);
    spin_unlock(&g->sig_lock);
    return 0;
}

// A system call was interrupted and a handler will run: restart it afterwards, or fail.
static void restart_before_handler(struct task *t, const struct ksigaction *ka)
{
    struct user_regs *r = &t->regs;
    switch (-(long)r->rax) {
    case ERESTART_RESTARTBLOCK:
    case ERESTARTNOHAND:
        r->rax = (uint64_t)-EINTR;
        break;
    case ERESTARTSYS:
        if (!(ka->flags & SA_RESTART)) {
            r->rax = (uint64_t)-EINTR;
            break;
        }
        [[fallthrough]];
    case ERESTARTNOINTR:
        r->rax = r->orig_rax;
        r->rip -= 2; // the syscall instruction
        break;
    }
}

// Of two reasons why a frame cannot be built the second: the host has killed the process.
static bool stub_gone(struct task *t)
{
    uint8_t byte;
    return mm_platform()->read_mem(t->ctx->as, &byte, (uaddr_t){t->regs.rsp}, 1) == -ESRCH;
}

static void handle_signal(struct task *t, int sig, const struct ksigaction *ka, const siginfo_t *si)
{
    ksigset_t old = t->restore_saved_mask ? t->saved_mask : t->blocked;
    if (sigframe_setup(t, sig, ka, si, old) != 0) {
        siginfo_t segv;
        siginfo_kernel(&segv, stub_gone(t) ? SIGKILL : SIGSEGV);
        if (sig == SIGSEGV) { // its handler cannot be reached: the default it is
            spin_lock(&t->sighand->lock);
            t->sighand->action[SIGSEGV - 1].handler = (uint64_t)(uintptr_t)SIG_DFL;
            spin_unlock(&t->sighand->lock);
        }
        signal_force(t, &segv);
        return;
    }
    t->restore_saved_mask = false;
    ksigset_t now = t->blocked | ka->mask;
    if (!(ka->flags & SA_NODEFER))
        now |= SIGBIT(sig);
    signal_set_blocked(t, now);
}

// The call number with which an interrupted call goes on when no handler has run, or -1.
static long restart_nr(const struct user_regs *r)
{
    switch (-(long)r->rax) {
    case ERESTART_RESTARTBLOCK:
        return __NR_restart_syscall;
    case ERESTARTSYS:
    case ERESTARTNOHAND:
    case ERESTARTNOINTR:
        return (long)r->orig_rax;
    default:
        return -1;
    }
}

bool signal_deliver(struct task *t, bool syscall)
{
    struct ksigaction ka;
    siginfo_t si;
    int sig;
    syscall = syscall && (long)t->regs.orig_rax != -1;
    for (;;) {
        while ((sig = get_signal(t, &ka, &si)) != 0) {
            if (syscall)
                restart_before_handler(t, &ka);
            syscall = false; // a further handler runs on top of the first one's frame
            handle_signal(t, sig, &ka, &si);
        }
        if (!t->restore_saved_mask)
            break;
        t->restore_saved_mask = false;
        signal_set_blocked(t, t->saved_mask);
        if (!READ_SHARED(t->sig_work))
            break;
        long nr = syscall ? restart_nr(&t->regs) : -1;
        if (nr != -1) { // what the old mask lets in runs before the call is made again
            t->regs.rax = (uint64_t)nr;
            t->regs.rip -= 2;
            syscall = false;
        }
    }
    long nr = syscall ? restart_nr(&t->regs) : -1;
    if (nr == -1)
        return false;
    t->regs.orig_rax = (uint64_t)nr;
    return true;
}
