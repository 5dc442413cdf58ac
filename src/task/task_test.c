// SPDX-License-Identifier: Apache-2.0
// Numbers, signal queues and job control of tasks that never run.
#include "abi/errno.h"
#include "base/test.h"
#include "task/internal.h"
#include <linux/capability.h>
#include <string.h>

static struct task *task_make(struct pidns *ns)
{
    struct task *t = task_alloc();
    struct thread_group *g = group_alloc();
    assert_non_null(t);
    assert_non_null(g);
    t->group = g;
    t->pidns = pidns_get(ns);
    t->cred = cred_new();
    t->sighand = sighand_new(nullptr);
    rlimits_default(g->rlim);
    assert_non_null(g->container = task_container_new(0));
    mutex_lock(&tasklist_lock);
    assert_int_equal(task_container_charge_locked(g->container), 0);
    assert_int_equal(kpid_alloc_locked(ns, nullptr, 0, &t->pid), 0);
    g->leader = t;
    g->tgid_pid = kpid_get(t->pid);
    t->pid->task = t;
    t->pid->group = g;
    list_push_back(&g->threads, &t->thread_link);
    g->nthreads = g->nlive = 1;
    assert_int_equal(ucount_charge(0, UCOUNT_TASKS, UINT64_MAX), 0);
    mutex_unlock(&tasklist_lock);
    return t;
}

static void task_unmake(struct task *t)
{
    mutex_lock(&tasklist_lock);
    group_leave_pgrp_locked(t->group);
    t->group->nlive = 0;
    release_task_locked(t);
    mutex_unlock(&tasklist_lock);
}

static struct kpid *alloc(struct pidns *ns, int want)
{
    struct kpid *p = nullptr;
    mutex_lock(&tasklist_lock);
    int err = kpid_alloc_locked(ns, want ? &want : nullptr, want != 0, &p);
    mutex_unlock(&tasklist_lock);
    assert_int_equal(err, 0);
    return p;
}

static void drop(struct kpid *p)
{
    mutex_lock(&tasklist_lock);
    kpid_unalloc_locked(p);
    mutex_unlock(&tasklist_lock);
}

TEST(pid_levels_and_visibility)
{
    struct pidns *root, *in, *other;
    assert_int_equal(pidns_new(nullptr, &root), 0);
    assert_int_equal(pidns_new(root, &in), 0);
    assert_int_equal(pidns_new(root, &other), 0);
    struct kpid *a = alloc(root, 0), *b = alloc(in, 0);
    assert_int_equal(kpid_nr_in(a, root), 1);
    assert_int_equal(kpid_nr_in(b, root), 2);
    assert_int_equal(kpid_nr_in(b, in), 1);
    assert_int_equal(kpid_nr_in(a, in), 0);    // not visible from inside
    assert_int_equal(kpid_nr_in(b, other), 0); // nor from a sibling of the same level
    assert_true(pidns_is_ancestor(root, in) && !pidns_is_ancestor(in, root) && !pidns_is_ancestor(other, in));
    assert_int_equal(root->ntasks, 2);
    assert_int_equal(in->ntasks, 1);
    drop(a);
    drop(b);
    assert_int_equal(root->ntasks, 0);
    pidns_put(in);
    pidns_put(other);
    pidns_put(root);
}

TEST(pid_numbers_are_not_reused_at_once)
{
    struct pidns *ns;
    assert_int_equal(pidns_new(nullptr, &ns), 0);
    for (int i = 1; i < 100; i++) {
        struct kpid *p = alloc(ns, 0);
        assert_int_equal(kpid_nr_in(p, ns), i);
        drop(p);
    }
    ns->last_pid = PID_MAX - 2;
    struct kpid *p = alloc(ns, 0), *q = alloc(ns, 0);
    assert_int_equal(kpid_nr_in(p, ns), PID_MAX - 1);
    assert_int_equal(kpid_nr_in(q, ns), 300); // after the wrap, low numbers stay reserved
    drop(p);
    drop(q);
    pidns_put(ns);
}

TEST(container_limit_and_end)
{
    struct task_container *c = task_container_new(2);
    assert_non_null(c);
    mutex_lock(&tasklist_lock);
    assert_int_equal(task_container_charge_locked(c), 0);
    assert_int_equal(task_container_charge_locked(c), 0);
    assert_int_equal(task_container_charge_locked(c), -EAGAIN);
    task_container_uncharge_locked(c);
    assert_int_equal(task_container_charge_locked(c), 0);
    task_container_uncharge_locked(c);
    c->dying = true;
    assert_int_equal(task_container_charge_locked(c), -ENOMEM);
    task_container_uncharge_locked(c);
    assert_int_equal(c->ntasks, 0);
    mutex_unlock(&tasklist_lock);
    task_container_put(c);
}

static int ipcns_ended;
static void on_ipcns_end(struct ipcns *ns)
{
    ipcns_ended++;
}
TEST(ipc_namespace_end)
{
    struct ipcns *a = ipcns_new(), *b = ipcns_new();
    assert_non_null(a);
    assert_non_null(b);
    assert_true(a->ino != b->ino);
    ipcns_on_release(on_ipcns_end);
    int before = ipcns_ended;
    ipcns_put(ipcns_get(a));
    assert_int_equal(ipcns_ended, before);
    ipcns_put(a);
    assert_int_equal(ipcns_ended, before + 1);
    ipcns_put(b);
    assert_int_equal(ipcns_ended, before + 2);
}

TEST(pid_limits_and_set_tid)
{
    struct pidns *ns, *in;
    struct kpid *p, *q;
    assert_int_equal(pidns_new(nullptr, &ns), 0);
    assert_int_equal(pidns_new(ns, &in), 0);
    ns->max_tasks = 2;
    p = alloc(ns, 0);
    q = alloc(in, 0);
    int want = 77;
    mutex_lock(&tasklist_lock);
    struct kpid *r;
    assert_int_equal(kpid_alloc_locked(in, nullptr, 0, &r), -EAGAIN);
    ns->max_tasks = 0;
    assert_int_equal(kpid_alloc_locked(ns, &want, 1, &r), -EINVAL); // no init yet
    want = 1;
    assert_int_equal(kpid_alloc_locked(ns, &want, 1, &r), -EEXIST);
    in->dying = true;
    assert_int_equal(kpid_alloc_locked(in, nullptr, 0, &r), -ENOMEM);
    mutex_unlock(&tasklist_lock);
    drop(p);
    drop(q);
    pidns_put(in);
    pidns_put(ns);
}

TEST(pid_group_keeps_the_number)
{
    struct pidns *ns;
    struct pgrp *p;
    assert_int_equal(pidns_new(nullptr, &ns), 0);
    struct task *a = task_make(ns), *b = task_make(ns);
    int nr = task_tid_in(a, ns);
    mutex_lock(&tasklist_lock);
    assert_int_equal(session_new_locked(a->group, a->pid, &p), 0);
    group_join_pgrp_locked(a->group, p);
    group_join_pgrp_locked(b->group, p);
    pgrp_put(p);
    mutex_unlock(&tasklist_lock);
    task_unmake(a);
    mutex_lock(&tasklist_lock);
    struct kpid *k = kpid_find_locked(ns, nr);
    assert_true(k && k->pgrp && k->session && !k->task && !k->group);
    mutex_unlock(&tasklist_lock);
    assert_null(task_find(ns, nr));
    task_unmake(b);
    mutex_lock(&tasklist_lock);
    assert_null(kpid_find_locked(ns, nr));
    mutex_unlock(&tasklist_lock);
    pidns_put(ns);
}

static int send(struct task *t, int sig, int code, int value)
{
    siginfo_t si = {.si_signo = sig, .si_code = code};
    si.si_value.sival_int = value;
    return signal_send_task(t, &si);
}

static void set_action(struct task *t, int sig, void (*h)(int))
{
    t->sighand->action[sig - 1].handler = (uint64_t)(uintptr_t)h;
}

static void handler(int sig)
{
}

TEST(signal_queue_order)
{
    struct pidns *ns;
    siginfo_t si;
    assert_int_equal(pidns_new(nullptr, &ns), 0);
    struct task *t = task_make(ns);
    for (int i = 1; i <= NSIG_MAX; i++)
        set_action(t, i, handler);
    t->blocked = ~0ull & ~SIGMASK_KERNEL;
    assert_int_equal(send(t, 40, SI_QUEUE, 1), 0);
    assert_int_equal(send(t, 40, SI_QUEUE, 2), 0);
    assert_int_equal(send(t, SIGTERM, SI_QUEUE, 3), 0);
    assert_int_equal(send(t, SIGTERM, SI_QUEUE, 4), 0); // coalesces
    assert_int_equal(send(t, SIGHUP, SI_QUEUE, 5), 0);
    assert_int_equal(send(t, SIGSEGV, SI_QUEUE, 6), 0); // synchronous ones come first
    const int want[][2] = {{SIGSEGV, 6}, {SIGHUP, 5}, {SIGTERM, 3}, {40, 1}, {40, 2}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(signal_dequeue(t, ~0ull, &si), want[i][0]);
        assert_int_equal(si.si_value.sival_int, want[i][1]);
    }
    assert_int_equal(signal_dequeue(t, ~0ull, &si), 0);
    task_unmake(t);
    pidns_put(ns);
}

TEST(signal_limits)
{
    struct pidns *ns;
    siginfo_t si;
    assert_int_equal(pidns_new(nullptr, &ns), 0);
    struct task *t = task_make(ns);
    set_action(t, 40, handler);
    set_action(t, SIGTERM, handler);
    t->blocked = SIGBIT(40) | SIGBIT(SIGTERM);
    t->group->rlim[RLIMIT_SIGPENDING].rlim_cur = 2;
    assert_int_equal(send(t, 40, SI_QUEUE, 1), 0);
    assert_int_equal(send(t, 40, SI_QUEUE, 2), 0);
    assert_int_equal(send(t, 40, SI_QUEUE, 3), -EAGAIN);
    assert_int_equal(send(t, 40, SI_USER, 4), 0);      // kill: the bit, if not the information
    assert_int_equal(send(t, SIGTERM, SI_USER, 5), 0); // standard signals are never refused
    assert_int_equal(signal_dequeue(t, SIGBIT(SIGTERM), &si), SIGTERM);
    assert_int_equal(signal_dequeue(t, SIGBIT(40), &si), 40);
    assert_int_equal(signal_dequeue(t, SIGBIT(40), &si), 40);
    assert_int_equal(send(t, 40, SI_QUEUE, 6), 0); // room again
    task_unmake(t);
    pidns_put(ns);
}

TEST(signal_ignore_block_stop)
{
    struct pidns *ns;
    siginfo_t si;
    assert_int_equal(pidns_new(nullptr, &ns), 0);
    struct task *t = task_make(ns);
    set_action(t, SIGUSR1, SIG_IGN);
    assert_int_equal(send(t, SIGUSR1, SI_USER, 0), 0);
    assert_int_equal(send(t, SIGCHLD, SI_USER, 0), 0); // ignored by default
    assert_int_equal(signal_pending_set(t), 0);
    t->blocked = SIGBIT(SIGUSR1) | SIGBIT(SIGTSTP) | SIGBIT(SIGCONT);
    (void)send(t, SIGUSR1, SI_USER, 0); // blocked: kept, the action may change
    assert_int_equal(signal_pending_set(t), SIGBIT(SIGUSR1));
    (void)send(t, SIGTSTP, SI_USER, 0);
    (void)send(t, SIGCONT, SI_USER, 0); // takes the stop away
    assert_int_equal(signal_pending_set(t), SIGBIT(SIGUSR1) | SIGBIT(SIGCONT));
    (void)send(t, SIGTSTP, SI_USER, 0);
    assert_int_equal(signal_pending_set(t), SIGBIT(SIGUSR1) | SIGBIT(SIGTSTP));
    assert_int_equal(signal_dequeue(t, SIGBIT(SIGUSR1), &si), SIGUSR1);
    task_unmake(t);
    pidns_put(ns);
}

TEST(signal_fatal_ends_the_group)
{
    struct pidns *ns;
    assert_int_equal(pidns_new(nullptr, &ns), 0);
    struct task *t = task_make(ns), *init = task_make(ns);
    (void)send(t, SIGTERM, SI_USER, 0);
    assert_true(t->group->exiting && t->killed && t->sig_work);
    assert_int_equal(t->group->exit_code, SIGTERM);
    init->group->unkillable = true;
    (void)send(init, SIGTERM, SI_USER, 0); // an init does not die of what it does not handle
    assert_false(init->group->exiting);
    siginfo_t si;
    siginfo_kernel(&si, SIGKILL);
    (void)signal_send_group(init->group, &si); // but of SIGKILL from outside
    assert_true(init->group->exiting);
    task_unmake(t);
    task_unmake(init);
    pidns_put(ns);
}

TEST(signal_force_overrides)
{
    struct pidns *ns;
    siginfo_t si;
    assert_int_equal(pidns_new(nullptr, &ns), 0);
    struct task *t = task_make(ns);
    set_action(t, SIGSEGV, SIG_IGN);
    t->blocked = SIGBIT(SIGSEGV);
    t->group->unkillable = true;
    siginfo_kernel(&si, SIGSEGV);
    signal_force(t, &si);
    assert_true(t->group->exiting);
    assert_int_equal(t->group->exit_code, SIGSEGV);
    task_unmake(t);
    pidns_put(ns);
}

TEST(ucounts)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(ucount_charge(4711, UCOUNT_TASKS, 3), 0);
    assert_int_equal(ucount_charge(4711, UCOUNT_TASKS, 3), -EAGAIN);
    assert_int_equal(ucount_charge(4712, UCOUNT_TASKS, 3), 0); // another user
    for (int i = 0; i < 3; i++)
        ucount_uncharge(4711, UCOUNT_TASKS);
    assert_int_equal(ucount_charge(4711, UCOUNT_TASKS, 1), 0);
    ucount_uncharge(4711, UCOUNT_TASKS);
    ucount_uncharge(4712, UCOUNT_TASKS);
}
