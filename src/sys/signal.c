// SPDX-License-Identifier: Apache-2.0
// Signal system calls: decode and check; the work is in task/signal.c.
#include "abi/errno.h"
#include "sys/protos.h"
#include "task/internal.h"
#include <linux/capability.h>
#include <string.h>

struct uabi_sigaction {
    uint64_t handler, flags, restorer;
    ksigset_t mask;
};
struct uabi_stack {
    uint64_t sp;
    int32_t flags, pad;
    uint64_t size;
};
constexpr uint64_t SA_KNOWN = 0x1 | 0x2 | 0x4 | 0x800 | 0x04000000 | 0x08000000 | 0x10000000 |
                              0x40000000 | 0x80000000;
constexpr int SS_AUTODISARM_BIT = (int)(1u << 31);
constexpr uint64_t MIN_ALTSTACK = 2048;

static bool sig_valid(int sig)
{
    return sig >= 1 && sig <= NSIG_MAX;
}

long sys_rt_sigaction(struct task *t, int sig, uaddr_t act, uaddr_t oact, size_t size)
{
    struct uabi_sigaction new, old;
    if (size != sizeof(ksigset_t))
        return -EINVAL;
    if (!uaddr_null(act) && copy_in(t->mm, &new, act, sizeof(new)) != 0)
        return -EFAULT;
    if (!sig_valid(sig) || (!uaddr_null(act) && (SIGMASK_KERNEL & SIGBIT(sig))))
        return -EINVAL;
    bool flush = false;
    spin_lock(&t->group->sig_lock);
    spin_lock(&t->sighand->lock);
    struct ksigaction *ka = &t->sighand->action[sig - 1];
    old = (struct uabi_sigaction){ka->handler, ka->flags, ka->restorer, ka->mask};
    if (!uaddr_null(act)) {
        *ka = (struct ksigaction){new.handler, new.flags & SA_KNOWN, new.restorer,
                                  new.mask & ~SIGMASK_KERNEL};
        flush = new.handler == (uint64_t)(uintptr_t)SIG_IGN ||
                (new.handler == (uint64_t)(uintptr_t)SIG_DFL && sig_default_ignored(sig));
    }
    spin_unlock(&t->sighand->lock);
    spin_unlock(&t->group->sig_lock);
    if (flush)
        signal_flush_ignored(t, SIGBIT(sig));
    if (!uaddr_null(oact) && copy_out(t->mm, oact, &old, sizeof(old)) != 0)
        return -EFAULT;
    return 0;
}

long sys_rt_sigprocmask(struct task *t, int how, uaddr_t set, uaddr_t oset, size_t size)
{
    ksigset_t s, old = t->blocked;
    if (size != sizeof(ksigset_t))
        return -EINVAL;
    if (!uaddr_null(set)) {
        if (get_user(t->mm, set, s) != 0)
            return -EFAULT;
        if (how == SIG_BLOCK)
            s = old | s;
        else if (how == SIG_UNBLOCK)
            s = old & ~s;
        else if (how != SIG_SETMASK)
            return -EINVAL;
        signal_set_blocked(t, s);
    }
    return uaddr_null(oset) ? 0 : put_user(t->mm, oset, old);
}

long sys_rt_sigreturn(struct task *t)
{
    return signal_return(t);
}

long sys_rt_sigpending(struct task *t, uaddr_t set, size_t size)
{
    if (size > sizeof(ksigset_t))
        return -EINVAL;
    ksigset_t s = signal_pending_set(t) & t->blocked;
    return copy_out(t->mm, set, &s, size);
}

// Sleeps with `mask` taken out of the blocked set, so that its signals count as wanted.
static int sigwait_sleep(struct task *t, ksigset_t mask, ktime_t deadline, siginfo_t *si)
{
    spin_lock(&t->group->sig_lock);
    t->real_blocked = t->blocked;
    t->blocked &= ~mask;
    spin_unlock(&t->group->sig_lock);
    int sig = 0, err = 0;
    while (!sig && !err) {
        spin_lock(&t->group->sig_lock);
        sig = signal_dequeue_locked(t, mask, si);
        spin_unlock(&t->group->sig_lock);
        if (!sig)
            err = fiber_park(deadline, PARK_INTERRUPTIBLE);
    }
    if (!sig) {
        spin_lock(&t->group->sig_lock);
        sig = signal_dequeue_locked(t, mask, si);
        spin_unlock(&t->group->sig_lock);
    }
    ksigset_t back = t->real_blocked;
    spin_lock(&t->group->sig_lock);
    t->real_blocked = 0;
    spin_unlock(&t->group->sig_lock);
    signal_set_blocked(t, back);
    return sig ? sig : err == -ETIMEDOUT ? -EAGAIN : -EINTR;
}

long sys_rt_sigtimedwait(struct task *t, uaddr_t set, uaddr_t info, uaddr_t timeout, size_t size)
{
    ksigset_t mask;
    siginfo_t si;
    struct { int64_t sec, nsec; } ts;
    ktime_t deadline = KTIME_MAX;
    if (size != sizeof(ksigset_t))
        return -EINVAL;
    if (get_user(t->mm, set, mask) != 0)
        return -EFAULT;
    if (!uaddr_null(timeout)) {
        if (get_user(t->mm, timeout, ts) != 0)
            return -EFAULT;
        if (ts.sec < 0 || ts.nsec < 0 || ts.nsec >= 1000000000)
            return -EINVAL;
        ktime_t now = ktime_now();
        if (ts.sec < (KTIME_MAX - now) / 1000000000 - 1)
            deadline = now + ts.sec * 1000000000 + ts.nsec;
    }
    mask &= ~SIGMASK_KERNEL;
    int sig = signal_dequeue(t, mask, &si);
    if (!sig) {
        if (!uaddr_null(timeout) && ts.sec == 0 && ts.nsec == 0)
            return -EAGAIN;
        sig = sigwait_sleep(t, mask, deadline, &si);
    }
    if (sig > 0 && !uaddr_null(info) && put_user(t->mm, info, si) != 0)
        return -EFAULT;
    return sig;
}

long sys_rt_sigsuspend(struct task *t, uaddr_t mask, size_t size)
{
    ksigset_t s;
    if (size != sizeof(s))
        return -EINVAL;
    if (get_user(t->mm, mask, s) != 0)
        return -EFAULT;
    signal_set_temp_mask(t, s);
    while (fiber_park(KTIME_MAX, PARK_INTERRUPTIBLE) == 0)
        ;
    return -ERESTARTNOHAND;
}

long sys_pause(struct task *t)
{
    while (fiber_park(KTIME_MAX, PARK_INTERRUPTIBLE) == 0)
        ;
    return -ERESTARTNOHAND;
}

long sys_restart_syscall(struct task *t)
{
    return t->restart_fn ? t->restart_fn(t) : -EINTR;
}

static int altstack_set(struct task *t, const struct uabi_stack *s)
{
    int mode = s->flags & ~SS_AUTODISARM_BIT;
    if (altstack_on(t, t->regs.rsp))
        return -EPERM;
    if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
        return -EINVAL;
    if (mode != SS_DISABLE && s->size < MIN_ALTSTACK)
        return -ENOMEM;
    t->altstack_sp = mode == SS_DISABLE ? 0 : s->sp;
    t->altstack_size = mode == SS_DISABLE ? 0 : s->size;
    t->altstack_flags = s->flags;
    return 0;
}

long sys_sigaltstack(struct task *t, uaddr_t ss, uaddr_t oss)
{
    struct uabi_stack new, old = {t->altstack_sp, 0, 0, t->altstack_size};
    old.flags = (!t->altstack_size ? SS_DISABLE : altstack_on(t, t->regs.rsp) ? SS_ONSTACK : 0) |
                (t->altstack_flags & SS_AUTODISARM_BIT);
    if (!uaddr_null(ss)) {
        if (get_user(t->mm, ss, new) != 0)
            return -EFAULT;
        int err = altstack_set(t, &new);
        if (err)
            return err;
    }
    return uaddr_null(oss) ? 0 : put_user(t->mm, oss, old);
}

// --- sending ---
// May the caller send sig to group g? tasklist_lock held.
static int kill_permission(struct task *t, struct thread_group *g, struct task *target, int sig)
{
    if (g == t->group || signal_may_send(t->cred, target, sig))
        return 0;
    if (sig == SIGCONT && g->pgrp && t->group->pgrp && g->pgrp->session == t->group->pgrp->session)
        return 0;
    return -EPERM;
}

static int kill_group_locked(struct task *t, struct thread_group *g, int sig, const siginfo_t *si)
{
    if (!g || !g->leader)
        return -ESRCH;
    int err = kill_permission(t, g, g->leader, sig);
    return err || !sig ? err : signal_send_group(g, si);
}

static int kill_pgrp_locked(struct task *t, struct pgrp *p, int sig, const siginfo_t *si)
{
    int err = -ESRCH;
    bool sent = false;
    if (!p)
        return err;
    list_for_each(it, &p->members) {
        err = kill_group_locked(t, list_entry(it, struct thread_group, pgrp_link), sig, si);
        sent |= !err;
    }
    return sent ? 0 : err;
}

static int kill_all_locked(struct task *t, int sig, const siginfo_t *si)
{
    struct pidns *ns = t->pidns;
    int count = 0, err = 0;
    for (int nr = 2; nr < PID_MAX; nr++) {
        if (!ns->leaf[nr / PID_LEAF]) {
            nr = (nr / PID_LEAF + 1) * PID_LEAF - 1;
            continue;
        }
        struct kpid *p = ns->leaf[nr / PID_LEAF][nr % PID_LEAF];
        if (!p || !p->group || p->group == t->group)
            continue;
        int e = kill_group_locked(t, p->group, sig, si);
        count++;
        if (e != -EPERM)
            err = e;
    }
    return count ? err : -ESRCH;
}

long sys_kill(struct task *t, int pid, int sig)
{
    siginfo_t si;
    int err;
    if (sig < 0 || sig > NSIG_MAX)
        sig = -1;
    siginfo_user(&si, sig, t);
    if (pid == INT32_MIN)
        return -ESRCH;
    mutex_lock(&tasklist_lock);
    struct kpid *p = pid > 0 ? kpid_find_locked(t->pidns, pid)
                             : pid < -1 ? kpid_find_locked(t->pidns, -pid) : nullptr;
    if (pid > 0 && p && !p->group && p->task)
        p = p->task->group->tgid_pid; // a thread's number names its process
    if (sig < 0)
        err = (pid > 0 && (!p || !p->group)) || (pid < -1 && (!p || !p->pgrp)) ? -ESRCH : -EINVAL;
    else if (pid > 0)
        err = kill_group_locked(t, p ? p->group : nullptr, sig, &si);
    else if (pid == -1)
        err = kill_all_locked(t, sig, &si);
    else
        err = kill_pgrp_locked(t, pid == 0 ? t->group->pgrp : p ? p->pgrp : nullptr, sig, &si);
    mutex_unlock(&tasklist_lock);
    return err;
}

static long send_thread(struct task *t, int tgid, int tid, int sig, const siginfo_t *si)
{
    int err = -ESRCH;
    if (sig < 0 || sig > NSIG_MAX)
        sig = -1;
    mutex_lock(&tasklist_lock);
    struct kpid *p = kpid_find_locked(t->pidns, tid);
    struct task *o = p ? p->task : nullptr;
    if (o && (tgid <= 0 || task_tgid_in(o, t->pidns) == tgid)) {
        err = sig < 0 ? -EINVAL : kill_permission(t, o->group, o, sig);
        if (!err && sig) {
            err = signal_send_task(o, si);
            if (err == -ESRCH)
                err = 0; // a zombie leader: there, but deaf
        }
    }
    mutex_unlock(&tasklist_lock);
    return err;
}

static long do_tkill(struct task *t, int tgid, int tid, int sig)
{
    siginfo_t si;
    siginfo_user(&si, sig, t);
    si.si_code = SI_TKILL;
    return send_thread(t, tgid, tid, sig, &si);
}

long sys_tkill(struct task *t, int tid, int sig)
{
    return tid <= 0 ? -EINVAL : do_tkill(t, 0, tid, sig);
}

long sys_tgkill(struct task *t, int tgid, int tid, int sig)
{
    return tid <= 0 || tgid <= 0 ? -EINVAL : do_tkill(t, tgid, tid, sig);
}

// A siginfo made by user space: it may not pretend to be the kernel's, but to itself.
static int siginfo_from_user(struct task *t, uaddr_t info, int sig, bool self, siginfo_t *si)
{
    if (copy_in(t->mm, si, info, sizeof(*si)) != 0)
        return -EFAULT;
    si->si_signo = sig;
    return (si->si_code >= 0 || si->si_code == SI_TKILL) && !self ? -EPERM : 0;
}

long sys_rt_sigqueueinfo(struct task *t, int pid, int sig, uaddr_t info)
{
    siginfo_t si;
    int err = siginfo_from_user(t, info, sig, pid == task_tgid_in(t, t->pidns), &si);
    if (err)
        return err;
    mutex_lock(&tasklist_lock);
    struct kpid *p = kpid_find_locked(t->pidns, pid);
    struct thread_group *g = !p ? nullptr : p->group ? p->group : p->task ? p->task->group : nullptr;
    if (!g)
        err = -ESRCH;
    else if (sig < 0 || sig > NSIG_MAX)
        err = -EINVAL;
    else
        err = kill_group_locked(t, g, sig, &si);
    mutex_unlock(&tasklist_lock);
    return err;
}

long sys_rt_tgsigqueueinfo(struct task *t, int tgid, int tid, int sig, uaddr_t info)
{
    siginfo_t si;
    int err = siginfo_from_user(t, info, sig, tid == task_tid_in(t, t->pidns), &si);
    if (err)
        return err;
    return tid <= 0 || tgid <= 0 ? -EINVAL : send_thread(t, tgid, tid, sig, &si);
}

long sys_pidfd_send_signal(struct task *t, int fd, int sig, uaddr_t info, uint32_t flags)
{
    enum : uint32_t { TO_THREAD = 1, TO_GROUP = 2, TO_PGRP = 4 };
    siginfo_t si;
    unsigned fflags = 0;
    struct kpid *p;
    if ((flags & ~(TO_THREAD | TO_GROUP | TO_PGRP)) || __builtin_popcount(flags) > 1)
        return -EINVAL;
    struct file *f = fd_get(t->files, fd);
    if (!f)
        return -EBADF;
    int err = pidfd_kpid(f, &p, &fflags);
    file_put(f);
    if (err)
        return err;
    if (!flags)
        flags = fflags & 0200 /* PIDFD_THREAD, O_EXCL */ ? TO_THREAD : TO_GROUP;
    bool self = p == t->pid && flags == TO_THREAD;
    self |= p == t->group->tgid_pid && flags != TO_THREAD;
    err = kpid_nr_in(p, t->pidns) ? 0 : -EINVAL;
    if (!err && !uaddr_null(info)) {
        err = copy_in(t->mm, &si, info, sizeof(si));
        if (!err && si.si_signo != sig)
            err = -EINVAL;
        if (!err && (si.si_code >= 0 || si.si_code == SI_TKILL) && (!self || flags == TO_PGRP))
            err = -EPERM;
    } else {
        siginfo_user(&si, sig, t);
        if (flags == TO_THREAD)
            si.si_code = SI_TKILL;
    }
    if (!err && (sig < 0 || sig > NSIG_MAX))
        err = -EINVAL;
    mutex_lock(&tasklist_lock);
    if (!err && flags == TO_PGRP)
        err = kill_pgrp_locked(t, p->pgrp, sig, &si);
    else if (!err && flags == TO_GROUP)
        err = kill_group_locked(t, p->group ? p->group : p->task ? p->task->group : nullptr, sig, &si);
    else if (!err)
        err = !p->task ? -ESRCH : (err = kill_permission(t, p->task->group, p->task, sig)) || !sig
                  ? err : signal_send_task(p->task, &si);
    mutex_unlock(&tasklist_lock);
    kpid_put(p);
    return err;
}
