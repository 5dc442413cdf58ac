// SPDX-License-Identifier: Apache-2.0
// The end of threads and processes: what they held is given back, relatives are told, children get
// a new parent, an init takes its pid namespace along. Also the part of execve that ends the other
// threads.
//
// Order of a death: signals off, user memory (robust list, clear_child_tid), files, context and
// address space, then the process tree under tasklist_lock. A thread that is not the leader goes at
// once; the leader stays as a zombie until its parent has waited, and is reported when it is the
// last one on the list.
#include "abi/errno.h"
#include "base/log.h"
#include "task/internal.h"

void (*container_exit_hook)(struct task *init, int wait_status);
void (*group_exit_hook)(struct thread_group *g);

// --- leaving the lists ---
void release_task_locked(struct task *t)
{
    struct thread_group *g = t->group;
    struct kpid *p = t->pid;
    spin_lock(&g->sig_lock);
    list_del(&t->thread_link);
    g->nthreads--;
    spin_unlock(&g->sig_lock);
    if (p->task == t)
        p->task = nullptr;
    if (p->group == g && g->leader == t)
        p->group = nullptr;
    kpid_unuse_locked(p);
    pidns_uncharge_locked(p->ns);
    task_container_uncharge_locked(g->container);
    if (t->pidns->init == t)
        t->pidns->init = nullptr;
    ucount_uncharge(t->cred->uid, UCOUNT_TASKS);
    task_put(t); // the list's; the fiber or the caller still holds one
}

int group_wait_status_locked(const struct thread_group *g)
{
    return g->exiting ? g->exit_code : g->leader->exit_code;
}

// A zombie group has been waited for (or nobody will): it leaves the tree.
void group_reap_locked(struct thread_group *g)
{
    struct task *leader = g->leader;
    list_del(&g->sibling);
    group_leave_pgrp_locked(g);
    task_get(leader);
    release_task_locked(leader);
    g->leader = nullptr;
    struct thread_group *parent = g->parent;
    g->parent = nullptr;
    WRITE_SHARED(leader->state, TASK_DEAD);
    if (parent)
        group_put(parent);
    task_put(leader);
}

static bool parent_ignores(struct thread_group *p, bool *send)
{
    struct task *pt = list_first(&p->threads, struct task, thread_link);
    *send = true;
    if (!pt)
        return false;
    spin_lock(&p->sig_lock);
    spin_lock(&pt->sighand->lock);
    const struct ksigaction *ka = &pt->sighand->action[SIGCHLD - 1];
    bool ign = ka->handler == (uint64_t)(uintptr_t)SIG_IGN;
    bool nowait = ign || (ka->flags & SA_NOCLDWAIT);
    spin_unlock(&pt->sighand->lock);
    spin_unlock(&p->sig_lock);
    *send = !ign;
    return nowait;
}

static void child_siginfo(struct thread_group *g, struct thread_group *p, int sig, siginfo_t *si)
{
    int status = group_wait_status_locked(g);
    *si = (siginfo_t){.si_signo = sig};
    si->si_pid = group_tgid_in(g, p->tgid_pid->ns);
    si->si_uid = g->leader->cred->uid;
    si->si_utime = (clock_t)(g->utime_ns / 10000000);
    si->si_stime = (clock_t)(g->stime_ns / 10000000);
    if (status & 0x7f) {
        si->si_code = (status & 0x80) ? CLD_DUMPED : CLD_KILLED;
        si->si_status = status & 0x7f;
    } else {
        si->si_code = CLD_EXITED;
        si->si_status = (status >> 8) & 0xff;
    }
}

// Tells the parent of a zombie. True: nobody will wait for it, the caller reaps.
static bool notify_parent_locked(struct thread_group *g)
{
    struct thread_group *p = g->parent;
    if (!p)
        return true;
    struct pidns *pns = p->tgid_pid->ns;
    bool send = true, reap = g->autoreap || (pns->dying && pns->init && pns->init->group == p);
    if (g->exit_signal == SIGCHLD && parent_ignores(p, &send))
        reap = true;
    if (g->exit_signal && send) {
        siginfo_t si;
        child_siginfo(g, p, g->exit_signal, &si);
        (void)signal_send_group(p, &si);
    }
    waitq_wake_all(&p->child_wait, ~0u);
    return reap;
}

// The last thread is gone: the group is a zombie.
static void group_zombie_locked(struct thread_group *g)
{
    g->zombie = true;
    struct kpid *k = g->tgid_pid;
    k->exit_status = group_wait_status_locked(g);
    __atomic_store_n(&k->exited, true, __ATOMIC_RELEASE);
    waitq_wake_all(&k->exit_wait, ~0u);
    if (notify_parent_locked(g))
        group_reap_locked(g);
}

// --- orphans ---
static bool has_stopped_jobs(struct pgrp *p)
{
    list_for_each(it, &p->members) {
        struct thread_group *g = list_entry(it, struct thread_group, pgrp_link);
        if (g->stopped)
            return true;
    }
    return false;
}

// POSIX: a process group that becomes orphaned with stopped members gets SIGHUP and SIGCONT.
// g's parent link (to `parent`) goes away; `exiting`: because g itself ends.
static void hangup_orphaned_pgrp(struct thread_group *g, struct thread_group *parent, bool exiting)
{
    struct pgrp *p = g->pgrp;
    if (!p || !parent || !parent->pgrp || parent->pgrp == p || parent->pgrp->session != p->session)
        return;
    if (!pgrp_orphaned_locked(p, exiting ? g : nullptr) || !has_stopped_jobs(p))
        return;
    siginfo_t si;
    siginfo_kernel(&si, SIGHUP);
    (void)signal_send_pgrp_locked(p, &si);
    siginfo_kernel(&si, SIGCONT);
    (void)signal_send_pgrp_locked(p, &si);
}

static struct task *live_thread(struct thread_group *g, const struct task *but)
{
    list_for_each(it, &g->threads) {
        struct task *t = list_entry(it, struct task, thread_link);
        if (t != but && !t->exiting)
            return t;
    }
    return nullptr;
}

// Who takes the children of a process that ends: the nearest subreaper above, else its init.
static struct task *find_reaper(struct thread_group *g)
{
    struct pidns *ns = g->tgid_pid->ns;
    for (struct thread_group *p = g->parent; p && p->tgid_pid->ns == ns; p = p->parent) {
        struct task *t = p->is_subreaper ? live_thread(p, nullptr) : nullptr;
        if (t)
            return t;
    }
    struct task *init = ns->init;
    if (!init || init->group == g)
        return nullptr;
    struct task *t = live_thread(init->group, nullptr);
    return t ? t : init;
}

static void send_pdeath(struct thread_group *child)
{
    list_for_each(it, &child->threads) {
        struct task *c = list_entry(it, struct task, thread_link);
        int sig = READ_SHARED(c->pdeath_signal);
        if (!sig)
            continue;
        siginfo_t si = {.si_signo = sig, .si_code = SI_USER};
        (void)signal_send_group(child, &si);
    }
}

static void reparent_child(struct thread_group *c, struct thread_group *from, struct task *to)
{
    struct thread_group *p = to ? to->group : nullptr;
    c->parent_thread = to;
    if (p == from)
        return;
    c->exit_signal = SIGCHLD;
    group_public_stale_locked(c);
    c->parent = p ? group_get(p) : nullptr;
    list_del(&c->sibling);
    if (p)
        list_push_back(&p->children, &c->sibling);
    if (!p || p->reap_orphans)
        c->autoreap = true;
    if (c->zombie) {
        if (notify_parent_locked(c))
            group_reap_locked(c);
    } else {
        hangup_orphaned_pgrp(c, from, false);
    }
    group_put(from); // the child's; ours is still there
}

// The children of thread t, and with it those of the group when it is the last one.
static void reparent_children(struct task *t, bool last)
{
    struct thread_group *g = t->group;
    if (list_empty(&g->children))
        return;
    struct task *to = last ? find_reaper(g) : live_thread(g, t);
    list_for_each_safe(it, &g->children) {
        struct thread_group *c = list_entry(it, struct thread_group, sibling);
        if (c->parent_thread == t)
            send_pdeath(c);
        if (last || (to && c->parent_thread == t))
            reparent_child(c, g, to);
        else if (c->parent_thread == t)
            c->parent_thread = nullptr; // the last thread, which is exiting too, moves it
    }
}

// --- the end of a pid namespace ---
static void kill_namespace_locked(struct pidns *ns, const struct thread_group *but)
{
    for (int nr = 1; nr < PID_MAX; nr++) {
        if (!ns->leaf[nr / PID_LEAF]) {
            nr = (nr / PID_LEAF + 1) * PID_LEAF - 1;
            continue;
        }
        struct kpid *p = ns->leaf[nr / PID_LEAF][nr % PID_LEAF];
        struct thread_group *g = p ? p->group : nullptr;
        if (!g || g == but)
            continue;
        spin_lock(&g->sig_lock);
        group_kill_locked(g, SIGKILL);
        spin_unlock(&g->sig_lock);
    }
}

static void reap_zombie_children_locked(struct thread_group *g)
{
    list_for_each_safe(it, &g->children) {
        struct thread_group *c = list_entry(it, struct thread_group, sibling);
        if (c->zombie)
            group_reap_locked(c);
    }
}

static bool namespace_empty(struct pidns *ns, struct thread_group *g)
{
    mutex_lock(&tasklist_lock);
    reap_zombie_children_locked(g);
    bool empty = ns->ntasks <= g->nthreads;
    mutex_unlock(&tasklist_lock);
    return empty;
}

// pid 1 ends: so does everybody in its namespace, and it waits until they are gone.
static void end_namespace(struct thread_group *g, struct pidns *ns)
{
    mutex_lock(&tasklist_lock);
    ns->dying = true;
    kill_namespace_locked(ns, g);
    mutex_unlock(&tasklist_lock);
    (void)wait_event(&g->child_wait, namespace_empty(ns, g), KTIME_MAX, PARK_UNINTERRUPTIBLE);
}

// --- giving things back ---
void task_vfork_done(struct task *t)
{
    if (READ_SHARED(t->vfork_done))
        return;
    __atomic_store_n(&t->vfork_done, true, __ATOMIC_RELEASE);
    waitq_wake_all(&t->vfork_wait, ~0u);
}

void task_exec_release_mm(struct task *t)
{
    if (!t->mm)
        return;
    futex_exit(t);
    if (!uaddr_null(t->clear_child_tid) && ref_count(&t->mm->ref) > 1) {
        int zero = 0;
        if (put_user(t->mm, t->clear_child_tid, zero) == 0)
            (void)futex_wake_addr(t->mm, t->clear_child_tid, 1);
    }
    t->clear_child_tid = UADDR(0);
}

static void exit_mm(struct task *t)
{
    struct thread_group *g = t->group;
    task_exec_release_mm(t);
    if (t->mm) {
        uint64_t pages[7] = {};
        mm_statm(t->mm, pages);
        spin_lock(&g->sig_lock);
        g->maxrss_kb = MAX(g->maxrss_kb, pages[1] * 4);
        spin_unlock(&g->sig_lock);
    }
    task_set_mm(t, nullptr, nullptr);
    task_vfork_done(t);
}

static void exit_files(struct task *t)
{
    spin_lock(&t->task_lock);
    struct fdtab *files = t->files;
    struct fs_context *fs = t->fs;
    struct ipcns *ipc = t->ipc;
    t->files = nullptr;
    t->fs = nullptr;
    t->ipc = nullptr;
    spin_unlock(&t->task_lock);
    if (files)
        fdtab_put(files, files);
    if (fs)
        fs_context_put(fs);
    ipcns_put(ipc);
}

static void account_exit(struct task *t)
{
    struct thread_group *g = t->group;
    spin_lock(&g->sig_lock);
    g->utime_ns += READ_SHARED(t->cpu_ns);
    g->stime_ns += t->stime_ns;
    g->nvcsw += t->nvcsw;
    g->nivcsw += t->nivcsw;
    spin_unlock(&g->sig_lock);
}

static void session_end(struct thread_group *g)
{
    struct session *s = group_session_get(g);
    if (!s)
        return;
    bool leader = false;
    mutex_lock(&tasklist_lock);
    leader = s->leader == g;
    mutex_unlock(&tasklist_lock);
    if (leader && tty_task_hooks)
        tty_task_hooks->session_leader_exit(s);
    if (leader) {
        mutex_lock(&tasklist_lock);
        s->leader = nullptr;
        mutex_unlock(&tasklist_lock);
    }
    session_put(s);
}

// --- the process tree ---
static void wake_exec(struct thread_group *g)
{
    if (g->exec_task && !g->exec_task->dead)
        fiber_wake(g->exec_task->fiber);
}

static void exit_notify(struct task *t, bool last)
{
    struct thread_group *g = t->group;
    mutex_lock(&tasklist_lock);
    reparent_children(t, last);
    if (last)
        hangup_orphaned_pgrp(g, g->parent, true);
    WRITE_SHARED(t->state, TASK_ZOMBIE);
    spin_lock(&g->sig_lock);
    t->dead = true;
    wake_exec(g);
    spin_unlock(&g->sig_lock);
    if (t != g->leader) {
        struct kpid *k = kpid_get(t->pid);
        k->exit_status = t->exit_code;
        __atomic_store_n(&k->exited, true, __ATOMIC_RELEASE);
        release_task_locked(t);
        waitq_wake_all(&k->exit_wait, ~0u);
        kpid_put(k);
    }
    if (g->nthreads == 1 && g->leader && READ_SHARED(g->leader->state) == TASK_ZOMBIE && !g->zombie)
        group_zombie_locked(g);
    mutex_unlock(&tasklist_lock);
}

static void task_put_fn(void *t)
{
    task_put(t);
}

// A process that was started from outside (or an init of a root namespace) has ended.
static void tell_outside(struct task *t, bool init, int status)
{
    struct thread_group *g = t->group;
    if (g->exit_hook)
        g->exit_hook(g, status, g->exit_hook_arg);
    if (init && container_exit_hook)
        container_exit_hook(t, status);
}

void task_exit(struct task *t, int status)
{
    struct thread_group *g = t->group;
    struct pidns *ns = t->pidns;
    t->exit_code = status;
    bool last = signal_exit(t, status);
    if (last)
        timers_stop(g);
    if (last && group_exit_hook)
        group_exit_hook(g);
    exit_mm(t); // asks for its CPU time, too
    account_exit(t);
    exit_files(t);
    mutex_lock(&tasklist_lock);
    bool outside = last && !g->parent;
    bool init = last && ns->init && ns->init->group == g;
    mutex_unlock(&tasklist_lock);
    if (last)
        session_end(g);
    if (init)
        end_namespace(g, ns);
    group_get(g);
    spin_lock(&g->sig_lock);
    int how = g->exiting ? g->exit_code : g->leader ? g->leader->exit_code : status;
    spin_unlock(&g->sig_lock);
    exit_notify(t, last);
    if (outside)
        tell_outside(t, init, how);
    group_put(g);
    fiber_exit(task_put_fn, t);
}

// --- execve: one thread is left, and it is the leader ---
static bool exec_alone(struct task *t)
{
    struct thread_group *g = t->group;
    mutex_lock(&tasklist_lock);
    bool alone = g->nthreads == 1 ||
                 (g->nthreads == 2 && t != g->leader && READ_SHARED(g->leader->state) == TASK_ZOMBIE);
    mutex_unlock(&tasklist_lock);
    return alone;
}

static void take_leader_number(struct task *t)
{
    struct thread_group *g = t->group;
    mutex_lock(&tasklist_lock);
    struct task *old = g->leader;
    if (old != t) {
        struct kpid *mine = t->pid;
        // The old leader leaves under our number, we stay under the process's.
        g->tgid_pid->task = t;
        mine->task = old;
        t->old_pid = kpid_get(mine); // readers without a lock may still look at it
        __atomic_store_n(&t->pid, g->tgid_pid, __ATOMIC_RELEASE);
        __atomic_store_n(&old->pid, mine, __ATOMIC_RELEASE);
        g->leader = t;
        if (t->pidns->init == old)
            t->pidns->init = t;
        g->exit_signal = SIGCHLD;
        release_task_locked(old);
    }
    mutex_unlock(&tasklist_lock);
}

static int exec_unshare_sighand(struct task *t)
{
    if (ref_count(&t->sighand->ref) == 1)
        return 0;
    struct sighand *s = sighand_new(t->sighand), *old = t->sighand;
    if (!s)
        return -ENOMEM;
    spin_lock(&t->group->sig_lock);
    t->sighand = s;
    spin_unlock(&t->group->sig_lock);
    sighand_put(old);
    return 0;
}

int task_unshare_files(struct task *t)
{
    if (!fdtab_shared(t->files))
        return 0;
    struct fdtab *own = fdtab_dup(t->files, UINT32_MAX), *old = t->files;
    if (!own)
        return -ENOMEM;
    task_public_stale_self(t);
    spin_lock(&t->task_lock);
    t->files = own;
    spin_unlock(&t->task_lock);
    fdtab_put(old, old);
    return 0;
}

int task_exec_begin(struct task *t)
{
    struct thread_group *g = t->group;
    spin_lock(&g->sig_lock);
    if (g->exiting || g->exec_task || t->killed) {
        spin_unlock(&g->sig_lock);
        return -EINTR;
    }
    g->exec_task = t;
    g->stop_count = 0;
    list_for_each(it, &g->threads) {
        struct task *o = list_entry(it, struct task, thread_link);
        o->jobctl_stop_pending = false;
        if (o != t && !o->exiting) {
            o->killed = true;
            signal_wake_locked(o, true);
        }
    }
    spin_unlock(&g->sig_lock);
    int err = 0;
    while (!exec_alone(t) && !err)
        err = fiber_park(KTIME_MAX, PARK_KILLABLE);
    if (!err)
        take_leader_number(t);
    spin_lock(&g->sig_lock);
    g->exec_task = nullptr;
    spin_unlock(&g->sig_lock);
    if (err)
        return -EINTR;
    err = exec_unshare_sighand(t);
    return err ? err : task_unshare_files(t);
}

void task_exec_commit(struct task *t, const char *comm, struct cred *c)
{
    struct thread_group *g = t->group;
    signal_exec_reset(t);
    timers_exec(g);
    WRITE_SHARED(t->pdeath_signal, c->euid == t->cred->uid ? t->pdeath_signal : 0);
    t->robust_list = UADDR(0);
    t->robust_len = 0;
    t->set_child_tid = UADDR(0);
    t->tsc_sigsegv = false;
    fdtab_close_on_exec(t->files, t->files);
    task_set_comm(t, comm);
    mutex_lock(&tasklist_lock);
    g->has_execed = true;
    mutex_unlock(&tasklist_lock);
    task_commit_cred(t, c);
    task_vfork_done(t);
}
