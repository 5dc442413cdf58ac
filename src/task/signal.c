// SPDX-License-Identifier: Apache-2.0
// Sending, queueing and dequeueing signals.
//
// Everything happens under group->sig_lock, a spinlock: senders are other tasks, timer callbacks
// and file owners. Nothing here parks but the calls that say they take tasklist_lock. Standard
// signals coalesce, real-time ones queue within RLIMIT_SIGPENDING. A fatal signal ends the whole
// group at once, here, so that no thread has to find time to dequeue it.
#include "abi/errno.h"
#include "base/slab.h"
#include "task/internal.h"
#include <linux/capability.h>
#include <string.h>

SLAB_DEFINE(sigqueue_slab, struct sigqueue_entry);
constexpr int SIGNAL_RT_FIRST = 32; // the kernel's SIGRTMIN

constexpr ksigset_t DEFAULT_IGNORE = SIGBIT(SIGCONT) | SIGBIT(SIGCHLD) | SIGBIT(SIGWINCH) | SIGBIT(SIGURG);

void sigpending_init(struct sigpending *p)
{
    p->set = 0;
    list_init(&p->queue);
}

static void sigqueue_free(struct sigqueue_entry *e)
{
    list_del(&e->link);
    if (e->timer)
        return; // the timer owns it
    ucount_uncharge(e->uid, UCOUNT_SIGNALS);
    slab_free(&sigqueue_slab, e);
}

void sigpending_flush(struct sigpending *p)
{
    list_for_each_safe(it, &p->queue)
        sigqueue_free(list_entry(it, struct sigqueue_entry, link));
    p->set = 0;
}

static void sigpending_remove(struct sigpending *p, ksigset_t set)
{
    if (!(p->set & set))
        return;
    list_for_each_safe(it, &p->queue) {
        struct sigqueue_entry *e = list_entry(it, struct sigqueue_entry, link);
        if (set & SIGBIT(e->si.si_signo))
            sigqueue_free(e);
    }
    WRITE_SHARED(p->set, p->set & ~set);
}

// Takes one entry off its queue, for a timer that goes away.
void signal_unqueue_locked(struct sigpending *p, struct sigqueue_entry *e)
{
    int sig = e->si.si_signo;
    list_del(&e->link);
    list_for_each(it, &p->queue)
        if (list_entry(it, struct sigqueue_entry, link)->si.si_signo == sig)
            return;
    WRITE_SHARED(p->set, p->set & ~SIGBIT(sig));
}

void siginfo_kernel(siginfo_t *si, int sig)
{
    memset(si, 0, sizeof(*si));
    si->si_signo = sig;
    si->si_code = SI_KERNEL;
}

void siginfo_user(siginfo_t *si, int sig, struct task *sender)
{
    memset(si, 0, sizeof(*si));
    si->si_signo = sig;
    si->si_code = SI_USER;
    si->si_pid = task_tgid_in(sender, sender->pidns);
    si->si_uid = sender->cred->uid;
}

bool sig_default_ignored(int sig)
{
    return DEFAULT_IGNORE & SIGBIT(sig);
}

static struct ksigaction sig_action(struct task *t, int sig)
{
    spin_lock(&t->sighand->lock);
    struct ksigaction ka = t->sighand->action[sig - 1];
    spin_unlock(&t->sighand->lock);
    return ka;
}

static bool handler_ignores(struct task *t, int sig, bool force)
{
    uint64_t h = sig_action(t, sig).handler;
    if (t->group->unkillable && h == (uint64_t)(uintptr_t)SIG_DFL &&
        !(force && (SIGMASK_KERNEL & SIGBIT(sig))))
        return true;
    return h == (uint64_t)(uintptr_t)SIG_IGN ||
           (h == (uint64_t)(uintptr_t)SIG_DFL && sig_default_ignored(sig));
}

static bool sig_ignored(struct task *t, int sig, bool force)
{
    if ((task_mask_locked(t) | t->real_blocked) & SIGBIT(sig))
        return false; // the handler may change before it is unblocked
    return handler_ignores(t, sig, force);
}

bool signal_blocked_or_ignored(struct task *t, int sig)
{
    return (task_blocked(t) & SIGBIT(sig)) ||
           sig_action(t, sig).handler == (uint64_t)(uintptr_t)SIG_IGN;
}

// --- waking ---
void signal_wake_locked(struct task *t, bool fatal)
{
    if (t->dead)
        return;
    __atomic_store_n(&t->sig_work, true, __ATOMIC_SEQ_CST);
    if (fatal)
        t->jobctl_stopped = false;
    if (!t->started)
        return;
    fiber_interrupt(t->fiber, FIBER_INTR_SIGNAL | (fatal ? FIBER_INTR_KILL : 0));
    if (__atomic_load_n(&t->in_user, __ATOMIC_SEQ_CST) && t->ctx)
        t->ctx->ops->interrupt(t->ctx);
    if (fatal && t->ctx && t->ctx->ops->give_up)
        t->ctx->ops->give_up(t->ctx);
}

static bool has_work(const struct task *t)
{
    return task_frozen(t) || t->killed || t->group->exiting || t->jobctl_stop_pending || t->group->cld_notify ||
           t->restore_saved_mask || ((t->pending.set | t->group->pending.set) & ~t->blocked);
}

void signal_recalc_locked(struct task *t)
{
    if (has_work(t))
        return;
    WRITE_SHARED(t->sig_work, false);
    if (t->started)
        fiber_clear_interrupt(t->fiber, FIBER_INTR_SIGNAL);
}

// Every thread but the one in exec has to exit with the group's status.
void group_kill_locked(struct thread_group *g, int status)
{
    if (!g->exiting) {
        g->exiting = true;
        g->exit_code = status;
    }
    g->stop_count = 0;
    g->stopped = g->cld_notify = false;
    list_for_each(it, &g->threads) {
        struct task *t = list_entry(it, struct task, thread_link);
        t->jobctl_stop_pending = false;
        if (!t->exiting) {
            t->killed = true;
            signal_wake_locked(t, true);
        }
    }
}

void task_exit_group(struct task *t, int status)
{
    spin_lock(&t->group->sig_lock);
    group_kill_locked(t->group, status);
    spin_unlock(&t->group->sig_lock);
}

// --- sending ---
static bool wants_signal(struct task *t, int sig)
{
    if ((task_mask_locked(t) & SIGBIT(sig)) || t->exiting)
        return false;
    if (sig == SIGKILL)
        return true;
    return !t->jobctl_stopped && !READ_SHARED(t->sig_work);
}

static bool sig_fatal(struct task *t, int sig)
{
    if ((SIGMASK_STOP & ~SIGBIT(SIGSTOP) & SIGBIT(sig)) || sig == SIGSTOP || sig_default_ignored(sig))
        return false;
    return sig == SIGKILL || sig_action(t, sig).handler == (uint64_t)(uintptr_t)SIG_DFL;
}

static void complete_signal(struct thread_group *g, struct task *t, int sig, bool group)
{
    if (!wants_signal(t, sig)) {
        struct task *found = nullptr;
        if (group) {
            list_for_each(it, &g->threads) {
                struct task *o = list_entry(it, struct task, thread_link);
                if (wants_signal(o, sig)) {
                    found = o;
                    break;
                }
            }
        }
        if (!found)
            return; // whoever unblocks it next finds it
        t = found;
    }
    if (!g->exiting && sig_fatal(t, sig) && !(t->real_blocked & SIGBIT(sig))) {
        group_kill_locked(g, sig);
        return;
    }
    signal_wake_locked(t, sig == SIGKILL);
}

// Job control: stop signals and SIGCONT cancel each other at the time of sending.
static void prepare_stop_cont(struct thread_group *g, int sig)
{
    ksigset_t drop = sig == SIGCONT ? SIGMASK_STOP : SIGBIT(SIGCONT);
    sigpending_remove(&g->pending, drop);
    list_for_each(it, &g->threads) {
        struct task *t = list_entry(it, struct task, thread_link);
        sigpending_remove(&t->pending, drop);
        if (sig != SIGCONT)
            continue;
        t->jobctl_stop_pending = t->stop_dequeued = false;
        if (t->jobctl_stopped && !t->dead) {
            t->jobctl_stopped = false;
            fiber_wake(t->fiber);
        }
    }
    if (sig != SIGCONT)
        return;
    if (g->stopped || g->stop_count) {
        g->cld_notify = true; // a resumed thread tells the parent
        g->cld_why = g->stopped ? CLD_CONTINUED : CLD_STOPPED;
        g->continued = true;
        g->stopped = g->stop_reportable = false;
        g->stop_count = 0;
        list_for_each(it, &g->threads) {
            struct task *t = list_entry(it, struct task, thread_link);
            if (!t->exiting) {
                signal_wake_locked(t, false);
                break;
            }
        }
    }
}

// From user space (kill, sigqueue): numbers as the receiver sees them, and whether the sender is
// outside the receiver's namespace, which makes SIGKILL and SIGSTOP work on an init.
static bool sender_outside(struct thread_group *g, const siginfo_t *in, siginfo_t *out)
{
    struct task *s = task_current();
    *out = *in;
    if (!s || in->si_code > 0)
        return true;
    struct pidns *ns = g->tgid_pid->ns;
    bool outside = task_tgid_in(s, ns) == 0;
    if (s->pidns != ns && (in->si_code == SI_USER || in->si_code == SI_TKILL))
        out->si_pid = task_tgid_in(s, ns);
    return outside;
}

static struct sigqueue_entry *sigqueue_new(struct thread_group *g, struct task *t, int sig, int code)
{
    bool always = sig < SIGNAL_RT_FIRST && code >= 0;
    uint32_t uid = t->cred->uid;
    uint64_t limit = always ? UINT64_MAX : READ_SHARED(g->rlim[RLIMIT_SIGPENDING].rlim_cur);
    if (ucount_charge(uid, UCOUNT_SIGNALS, limit) != 0)
        return nullptr;
    struct sigqueue_entry *e = slab_alloc(&sigqueue_slab);
    if (!e) {
        ucount_uncharge(uid, UCOUNT_SIGNALS);
        return nullptr;
    }
    e->uid = uid;
    list_init(&e->link);
    return e;
}

// The core of sending. t: the thread, or for a group any thread of it that is asked first. `own`: a
// timer's own entry (si is in it). 0, -EAGAIN when a real-time signal cannot be queued, 1 when the
// signal was ignored.
int signal_send_locked(struct thread_group *g, struct task *t, bool group, const siginfo_t *si,
                       struct sigqueue_entry *own)
{
    int sig = si->si_signo;
    siginfo_t si2;
    bool force = sender_outside(g, si, &si2);
    if (g->exiting)
        return 0; // on its way out
    if ((SIGMASK_STOP | SIGBIT(SIGCONT)) & SIGBIT(sig))
        prepare_stop_cont(g, sig);
    if (sig_ignored(t, sig, force))
        return 1;
    struct sigpending *p = group ? &g->pending : &t->pending;
    if (sig < SIGNAL_RT_FIRST && (p->set & SIGBIT(sig)))
        return 0;
    if (sig != SIGKILL) {
        struct sigqueue_entry *e = own ? own : sigqueue_new(g, t, sig, si->si_code);
        if (e) {
            e->si = si2;
            list_push_back(&p->queue, &e->link);
        } else if (sig >= SIGNAL_RT_FIRST && si->si_code != SI_USER && si->si_code < 0) {
            return -EAGAIN;
        }
    }
    WRITE_SHARED(p->set, p->set | SIGBIT(sig));
    public_pending_locked(g, group ? nullptr : t);
    complete_signal(g, t, sig, group);
    return 0;
}

void signal_notify_poll(struct thread_group *g)
{
    waitq_wake_all(&g->sig_wait, ~0u);
}

int signal_send_task(struct task *t, const siginfo_t *si)
{
    struct thread_group *g = t->group;
    int err = -ESRCH;
    spin_lock(&g->sig_lock);
    if (!list_empty(&t->thread_link) && !t->dead)
        err = signal_send_locked(g, t, false, si, nullptr);
    spin_unlock(&g->sig_lock);
    signal_notify_poll(g);
    return err > 0 ? 0 : err;
}

int signal_send_group(struct thread_group *g, const siginfo_t *si)
{
    int err = -ESRCH;
    spin_lock(&g->sig_lock);
    struct task *t = list_first(&g->threads, struct task, thread_link);
    if (t)
        err = signal_send_locked(g, t, true, si, nullptr);
    spin_unlock(&g->sig_lock);
    signal_notify_poll(g);
    return err > 0 ? 0 : err;
}

int signal_send_pgrp_locked(struct pgrp *p, const siginfo_t *si)
{
    int err = -ESRCH;
    list_for_each(it, &p->members) {
        int e = signal_send_group(list_entry(it, struct thread_group, pgrp_link), si);
        if (err)
            err = e;
    }
    return err;
}

int signal_send_pgrp(struct pgrp *p, const siginfo_t *si)
{
    mutex_lock(&tasklist_lock);
    int err = signal_send_pgrp_locked(p, si);
    mutex_unlock(&tasklist_lock);
    return err;
}

// A signal that the task's own instruction caused: neither blocking nor ignoring holds it off.
void signal_force(struct task *t, const siginfo_t *si)
{
    struct thread_group *g = t->group;
    int sig = si->si_signo;
    spin_lock(&g->sig_lock);
    spin_lock(&t->sighand->lock);
    struct ksigaction *ka = &t->sighand->action[sig - 1];
    bool blocked = t->blocked & SIGBIT(sig);
    if (blocked || ka->handler == (uint64_t)(uintptr_t)SIG_IGN) {
        ka->handler = (uint64_t)(uintptr_t)SIG_DFL;
        t->blocked &= ~SIGBIT(sig);
    }
    if (ka->handler == (uint64_t)(uintptr_t)SIG_DFL)
        g->unkillable = false; // an init that faults dies
    spin_unlock(&t->sighand->lock);
    sigpending_remove(&t->pending, SIGBIT(sig));
    (void)signal_send_locked(g, t, false, si, nullptr);
    signal_wake_locked(t, false);
    spin_unlock(&g->sig_lock);
}

// --- taking ---
static int next_signal(const struct sigpending *p, ksigset_t mask)
{
    ksigset_t set = p->set & mask;
    if (!set)
        return 0;
    if (set & SIGMASK_SYNC)
        set &= SIGMASK_SYNC;
    return __builtin_ctzll(set) + 1;
}

static void collect(struct task *t, struct sigpending *p, int sig, siginfo_t *si)
{
    struct sigqueue_entry *found = nullptr;
    bool more = false;
    list_for_each(it, &p->queue) {
        struct sigqueue_entry *e = list_entry(it, struct sigqueue_entry, link);
        if (e->si.si_signo != sig)
            continue;
        if (found) {
            more = true;
            break;
        }
        found = e;
    }
    if (!more)
        WRITE_SHARED(p->set, p->set & ~SIGBIT(sig));
    if (found) {
        *si = found->si;
        bool timer = found->timer;
        sigqueue_free(found);
        if (timer)
            timer_signal_dequeued(t->group, found, si);
    } else { // the queue was full: only the bit survived
        memset(si, 0, sizeof(*si));
        si->si_signo = sig;
        si->si_code = SI_USER;
    }
}

int signal_dequeue_locked(struct task *t, ksigset_t mask, siginfo_t *si)
{
    int sig = next_signal(&t->pending, mask);
    if (sig) {
        collect(t, &t->pending, sig, si);
    } else if ((sig = next_signal(&t->group->pending, mask))) {
        collect(t, &t->group->pending, sig, si);
        if (sig == SIGALRM)
            itimer_signal_dequeued(t->group);
    }
    if (sig && (SIGMASK_STOP & SIGBIT(sig)))
        t->stop_dequeued = true;
    return sig;
}

int signal_dequeue(struct task *t, ksigset_t mask, siginfo_t *si)
{
    spin_lock(&t->group->sig_lock);
    int sig = signal_dequeue_locked(t, mask & ~SIGMASK_KERNEL, si);
    if (sig)
        signal_recalc_locked(t);
    spin_unlock(&t->group->sig_lock);
    return sig;
}

ksigset_t signal_pending_set(struct task *t)
{
    spin_lock(&t->group->sig_lock);
    ksigset_t s = t->pending.set | t->group->pending.set;
    spin_unlock(&t->group->sig_lock);
    return s;
}

// --- masks ---
// Newly blocked group signals may have been meant for us: let another thread have them.
static void retarget_shared(struct task *t, ksigset_t now_blocked)
{
    struct thread_group *g = t->group;
    ksigset_t set = g->pending.set & now_blocked;
    if (!set || g->nthreads < 2)
        return;
    list_for_each(it, &g->threads) {
        struct task *o = list_entry(it, struct task, thread_link);
        ksigset_t blocked = task_mask_locked(o);
        if (o == t || o->exiting || !(set & ~blocked))
            continue;
        if (!READ_SHARED(o->sig_work))
            signal_wake_locked(o, false);
        set &= blocked;
        if (!set)
            break;
    }
}

static void set_blocked_locked(struct task *t, ksigset_t set)
{
    set &= ~SIGMASK_KERNEL;
    retarget_shared(t, set & ~t->blocked);
    t->blocked = set;
    if (has_work(t)) {
        if (!READ_SHARED(t->sig_work))
            signal_wake_locked(t, false);
    } else {
        signal_recalc_locked(t);
    }
}

void signal_set_blocked(struct task *t, ksigset_t set)
{
    spin_lock(&t->group->sig_lock);
    set_blocked_locked(t, set);
    spin_unlock(&t->group->sig_lock);
}

void signal_set_temp_mask(struct task *t, ksigset_t set)
{
    t->saved_mask = t->blocked;
    signal_set_blocked(t, set);
    t->restore_saved_mask = true;
}

void signal_restore_mask(struct task *t)
{
    if (!t->restore_saved_mask)
        return;
    t->restore_saved_mask = false;
    signal_set_blocked(t, t->saved_mask);
}

// An action became "ignore": what is pending of it goes.
void signal_flush_ignored(struct task *t, ksigset_t set)
{
    struct thread_group *g = t->group;
    spin_lock(&g->sig_lock);
    sigpending_remove(&g->pending, set);
    list_for_each(it, &g->threads)
        sigpending_remove(&list_entry(it, struct task, thread_link)->pending, set);
    spin_unlock(&g->sig_lock);
}

void signal_exec_reset(struct task *t)
{
    spin_lock(&t->group->sig_lock);
    spin_lock(&t->sighand->lock);
    for (int i = 0; i < NSIG_MAX; i++) {
        struct ksigaction *ka = &t->sighand->action[i];
        uint64_t h = ka->handler == (uint64_t)(uintptr_t)SIG_IGN ? ka->handler : 0;
        *ka = (struct ksigaction){.handler = h};
    }
    spin_unlock(&t->sighand->lock);
    spin_unlock(&t->group->sig_lock);
    t->altstack_sp = t->altstack_size = 0;
    t->altstack_flags = SS_DISABLE;
}

bool signal_exit(struct task *t, int status)
{
    struct thread_group *g = t->group;
    bool stopped = false;
    spin_lock(&g->sig_lock);
    t->exiting = true;
    bool last = --g->nlive == 0;
    if (last && !g->exiting) { // the last thread's status is the process's
        g->exiting = true;
        g->exit_code = status;
        g->stop_count = 0;
    }
    retarget_shared(t, ~t->blocked);
    if (t->jobctl_stop_pending) {
        t->jobctl_stop_pending = false;
        if (g->stop_count && --g->stop_count == 0 && !g->exiting) {
            g->stopped = g->stop_reportable = stopped = true;
            g->continued = false;
        }
    }
    spin_unlock(&g->sig_lock);
    fiber_clear_interrupt(t->fiber, FIBER_INTR_SIGNAL | FIBER_INTR_KILL);
    if (stopped)
        group_notify_parent_stop(g, CLD_STOPPED);
    return last;
}

// --- who may signal whom ---
bool signal_may_send(const struct cred *c, struct task *t, int sig)
{
    struct cred *o = task_cred_get(t);
    bool ok = c->euid == o->suid || c->euid == o->uid || c->uid == o->suid || c->uid == o->uid ||
              cred_capable(c, CAP_KILL);
    cred_put(o);
    return ok;
}
