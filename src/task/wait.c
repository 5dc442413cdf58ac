// SPDX-License-Identifier: Apache-2.0
// Waiting for children: wait4 and waitid share this scan of the caller's children.
#include "abi/errno.h"
#include "task/internal.h"
#include <sys/wait.h>

static void add_timeval(struct timeval *tv, uint64_t ns)
{
    uint64_t us = (uint64_t)tv->tv_usec + ns / 1000;
    tv->tv_sec += (time_t)(us / 1000000);
    tv->tv_usec = (suseconds_t)(us % 1000000);
}

// What wait reports of a child: its own use and that of the children it has waited for.
static void child_rusage(struct thread_group *g, struct rusage *ru)
{
    spin_lock(&g->sig_lock);
    *ru = (struct rusage){
        .ru_maxrss = (long)MAX(g->maxrss_kb, g->cmaxrss_kb),
        .ru_nvcsw = (long)(g->nvcsw + g->cnvcsw),
        .ru_nivcsw = (long)(g->nivcsw + g->cnivcsw),
    };
    add_timeval(&ru->ru_utime, g->utime_ns + g->cutime_ns);
    add_timeval(&ru->ru_stime, g->stime_ns + g->cstime_ns);
    spin_unlock(&g->sig_lock);
}

static void charge_parent(struct thread_group *p, struct thread_group *g)
{
    spin_lock(&g->sig_lock);
    uint64_t ut = g->utime_ns + g->cutime_ns, st = g->stime_ns + g->cstime_ns;
    uint64_t rss = MAX(g->maxrss_kb, g->cmaxrss_kb);
    uint64_t nv = g->nvcsw + g->cnvcsw, niv = g->nivcsw + g->cnivcsw;
    spin_unlock(&g->sig_lock);
    spin_lock(&p->sig_lock);
    p->cutime_ns += ut;
    p->cstime_ns += st;
    p->cmaxrss_kb = MAX(p->cmaxrss_kb, rss);
    p->cnvcsw += nv;
    p->cnivcsw += niv;
    spin_unlock(&p->sig_lock);
}

static bool eligible(struct task *t, struct thread_group *c, const struct wait_request *w)
{
    if (w->type == WAIT_PID && c->tgid_pid != w->pid)
        return false;
    if (w->type == WAIT_PGRP && (!w->pgrp || c->pgrp != w->pgrp))
        return false;
    if ((w->options & __WNOTHREAD) && c->parent_thread != t)
        return false;
    if (w->options & __WALL)
        return true;
    return (c->exit_signal != SIGCHLD) == !!(w->options & __WCLONE);
}

static void describe(struct task *t, struct thread_group *c, struct wait_request *w)
{
    w->nr = group_tgid_in(c, t->pidns);
    w->uid = c->leader ? (int)c->leader->cred->uid : 0;
    child_rusage(c, &w->ru);
}

static bool take_zombie(struct task *t, struct thread_group *c, struct wait_request *w)
{
    if (!c->zombie || !(w->options & WEXITED))
        return false;
    describe(t, c, w);
    w->status = group_wait_status_locked(c);
    w->code = !(w->status & 0x7f) ? CLD_EXITED : (w->status & 0x80) ? CLD_DUMPED : CLD_KILLED;
    if (!(w->options & WNOWAIT)) {
        charge_parent(t->group, c);
        group_reap_locked(c);
    }
    return true;
}

static bool take_stopped(struct task *t, struct thread_group *c, struct wait_request *w)
{
    bool found = false;
    spin_lock(&c->sig_lock);
    if ((w->options & WSTOPPED) && c->stopped && c->stop_reportable) {
        w->status = c->stop_sig << 8 | 0x7f;
        w->code = CLD_STOPPED;
        if (!(w->options & WNOWAIT))
            c->stop_reportable = false;
        found = true;
    } else if ((w->options & WCONTINUED) && c->continued) {
        w->status = 0xffff;
        w->code = CLD_CONTINUED;
        if (!(w->options & WNOWAIT))
            c->continued = false;
        found = true;
    }
    spin_unlock(&c->sig_lock);
    if (found)
        describe(t, c, w);
    return found;
}

// 1: found; 0: there are children, none has news; -ECHILD.
static long scan(struct task *t, struct wait_request *w)
{
    long r = -ECHILD;
    mutex_lock(&tasklist_lock);
    list_for_each(it, &t->group->children) {
        struct thread_group *c = list_entry(it, struct thread_group, sibling);
        if (!eligible(t, c, w))
            continue;
        r = 0;
        if (take_zombie(t, c, w) || take_stopped(t, c, w)) {
            r = 1;
            break;
        }
    }
    mutex_unlock(&tasklist_lock);
    return r;
}

long task_wait(struct task *t, struct wait_request *w)
{
    struct waiter wt;
    long r = scan(t, w);
    if (r || (w->options & WNOHANG))
        return r;
    waiter_init(&wt);
    waitq_add(&t->group->child_wait, &wt);
    while ((r = scan(t, w)) == 0) {
        if (fiber_park(KTIME_MAX, PARK_INTERRUPTIBLE) != 0) {
            r = scan(t, w);
            if (!r)
                r = -ERESTARTSYS;
            break;
        }
    }
    waitq_remove(&wt);
    return r;
}
