// SPDX-License-Identifier: Apache-2.0
// clone, fork and vfork: decode was done by the system call; here everything that can fail is
// taken first, then the child is published under tasklist_lock, then it starts.
//
// Arguments are copies of what the guest gave. A signal that is pending at publication makes the
// call restart (ERESTARTNOINTR), so that nothing sent to the parent's group misses the child.
#include "abi/errno.h"
#include "base/log.h"
#include "task/internal.h"
#include "task/seccomp.h"
#include <linux/capability.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <string.h>

struct clone_state {
    struct task *parent;
    const struct clone_args_k *a;
    struct task *child;      // owned until published
    struct thread_group *group;
    struct pidns *ns;        // ref
    int pidfd_nr;            // installed, or -1
    bool charged;
};

static int clone_check(struct task *t, uint64_t f)
{
    if ((f & (CLONE_NEWNS | CLONE_FS)) == (CLONE_NEWNS | CLONE_FS) ||
        (f & (CLONE_NEWUSER | CLONE_FS)) == (CLONE_NEWUSER | CLONE_FS))
        return -EINVAL;
    if ((f & CLONE_THREAD) && !(f & CLONE_SIGHAND))
        return -EINVAL;
    if ((f & CLONE_SIGHAND) && !(f & CLONE_VM))
        return -EINVAL;
    if ((f & CLONE_PARENT) && t->pidns->init == t->group->leader) // no parent in here
        return -EINVAL;
    if ((f & CLONE_THREAD) &&
        ((f & (CLONE_NEWUSER | CLONE_NEWPID)) || (t->pidns_children && t->pidns_children != t->pidns)))
        return -EINVAL;
    if ((f & CLONE_PIDFD) && (f & CLONE_DETACHED))
        return -EINVAL;
    if ((f & (CLONE_SIGHAND | CLONE_CLEAR_SIGHAND)) == (CLONE_SIGHAND | CLONE_CLEAR_SIGHAND))
        return -EINVAL;
    uint64_t ns = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;
    if ((f & ns) && !cred_capable(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    if (f & (CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP))
        return -EINVAL; // as a kernel built without them
    return 0;
}

static int copy_fs(struct task *p, struct task *c, uint64_t f)
{
    if (f & CLONE_NEWNS)
        return fs_context_copy_ns(p->fs, &c->fs);
    c->fs = f & CLONE_FS ? fs_context_get(p->fs) : fs_context_dup(p->fs);
    return c->fs ? 0 : -ENOMEM;
}

static int copy_uts(struct task *p, struct task *c, uint64_t f)
{
    if (!(f & CLONE_NEWUTS)) {
        c->uts = utsns_get(p->uts);
        return 0;
    }
    char node[65], domain[65];
    mutex_lock(&p->uts->lock);
    memcpy(node, p->uts->nodename, sizeof(node));
    memcpy(domain, p->uts->domainname, sizeof(domain));
    mutex_unlock(&p->uts->lock);
    c->uts = utsns_new(node, domain);
    return c->uts ? 0 : -ENOMEM;
}

static int copy_sighand(struct task *p, struct task *c, uint64_t f)
{
    if (f & CLONE_SIGHAND) {
        c->sighand = sighand_get(p->sighand);
        return 0;
    }
    spin_lock(&p->sighand->lock);
    c->sighand = sighand_new(p->sighand);
    spin_unlock(&p->sighand->lock);
    if (!c->sighand)
        return -ENOMEM;
    if (f & CLONE_CLEAR_SIGHAND)
        for (int i = 0; i < NSIG_MAX; i++)
            if (c->sighand->action[i].handler != (uint64_t)(uintptr_t)SIG_IGN)
                c->sighand->action[i] = (struct ksigaction){};
    return 0;
}

// With CLONE_VM the child's thread is made in the parent's host process. [ctx]
static int copy_mm(struct task *p, struct task *c, uint64_t f)
{
    if (f & CLONE_VM) {
        int err = p->ctx->ops->context_new(p->ctx, &c->ctx);
        if (!err)
            c->mm = mm_get(p->mm);
        if (!(f & CLONE_THREAD))
            WRITE_SHARED(p->mm->shared, true);
        return err;
    }
    return mm_fork(p->mm, p->ctx, &c->mm, &c->ctx);
}

static void copy_plain(struct task *p, struct task *c, const struct clone_args_k *a)
{
    c->regs = p->regs;
    c->regs.rax = 0;
    c->regs.orig_rax = ~0ull;
    if (a->stack)
        c->regs.rsp = a->stack + a->stack_size;
    if (a->flags & CLONE_SETTLS)
        c->regs.fs_base = a->tls;
    memcpy(c->comm, p->comm, sizeof(c->comm));
    c->blocked = p->blocked;
    if (!(a->flags & CLONE_VM) || (a->flags & CLONE_VFORK)) {
        c->altstack_sp = p->altstack_sp;
        c->altstack_size = p->altstack_size;
        c->altstack_flags = p->altstack_flags;
    } else {
        c->altstack_flags = SS_DISABLE;
    }
    if (a->flags & CLONE_CHILD_SETTID)
        c->set_child_tid = a->child_tid;
    if (a->flags & CLONE_CHILD_CLEARTID)
        c->clear_child_tid = a->child_tid;
    c->strace = p->strace;
    c->nice = p->nice;
    c->policy = p->policy;
    c->rt_priority = p->rt_priority;
    if (p->reset_on_fork) {
        c->policy = 0;
        c->rt_priority = 0;
        c->nice = MAX(p->nice, 0);
    }
    c->ioprio = p->ioprio;
    c->cpu_affinity = p->cpu_affinity;
    c->timer_slack = p->timer_slack;
    c->personality = p->personality;
    c->thp_disable = p->thp_disable;
    c->tsc_sigsegv = p->tsc_sigsegv;
    c->vfork_done = !(a->flags & CLONE_VFORK);
}

static int copy_group(struct clone_state *s)
{
    struct task *p = s->parent;
    if (s->a->flags & CLONE_THREAD) {
        s->group = group_get(p->group);
        return 0;
    }
    struct thread_group *g = group_alloc();
    if (!g)
        return -ENOMEM;
    spin_lock(&p->group->rlim_lock);
    memcpy(g->rlim, p->group->rlim, sizeof(g->rlim));
    spin_unlock(&p->group->rlim_lock);
    g->oom_score_adj = READ_SHARED(p->group->oom_score_adj);
    g->oom_score_adj_min = READ_SHARED(p->group->oom_score_adj_min);
    g->container = task_container_get(p->group->container);
    g->exit_signal = s->a->flags & CLONE_PARENT ? p->group->exit_signal : (int)s->a->exit_signal;
    s->group = g;
    return 0;
}

static int copy_cred(struct clone_state *s)
{
    struct task *p = s->parent, *c = s->child;
    bool may_exceed = p->cred->uid == 0 || cred_capable(p->cred, CAP_SYS_RESOURCE) ||
                      cred_capable(p->cred, CAP_SYS_ADMIN);
    uint64_t limit = may_exceed ? UINT64_MAX : task_rlimit(p, RLIMIT_NPROC);
    int err = ucount_charge(p->cred->uid, UCOUNT_TASKS, limit);
    if (err)
        return err;
    s->charged = true;
    if (s->a->flags & CLONE_THREAD) {
        c->cred = cred_get(p->cred);
        return 0;
    }
    c->cred = cred_dup(p->cred);
    return c->cred ? 0 : -ENOMEM;
}

static int copy_pidns(struct clone_state *s)
{
    struct task *p = s->parent;
    struct pidns *base = p->pidns_children ? p->pidns_children : p->pidns;
    if (s->a->flags & CLONE_NEWPID)
        return pidns_new(base, &s->ns);
    s->ns = pidns_get(base);
    return 0;
}

// Everything that can fail and needs no lock. On failure the caller undoes with clone_abort().
static int clone_prepare(struct clone_state *s)
{
    struct task *p = s->parent, *c;
    uint64_t f = s->a->flags;
    s->child = c = task_alloc();
    if (!c)
        return -ENOMEM;
    s->pidfd_nr = -1;
    int err = copy_cred(s);
    if (!err)
        err = copy_pidns(s);
    if (!err)
        err = copy_group(s);
    if (!err)
        err = copy_sighand(p, c, f);
    if (!err)
        err = copy_uts(p, c, f);
    if (!err)
        c->ipc = ipcns_get(p->ipc);
    if (!err)
        err = copy_fs(p, c, f);
    if (!err) {
        c->files = f & CLONE_FILES ? fdtab_get(p->files) : fdtab_dup(p->files, UINT32_MAX);
        err = c->files ? 0 : -ENOMEM;
    }
    if (err)
        return err;
    copy_plain(p, c, s->a);
    c->group = s->group;
    c->pidns = pidns_get(s->ns);
    err = copy_mm(p, c, f);
    if (err)
        return err;
    c->fiber = fiber_new(task_main, c, c);
    return c->fiber ? 0 : -ENOMEM;
}

static void clone_abort(struct clone_state *s)
{
    struct task *p = s->parent, *c = s->child;
    if (s->pidfd_nr >= 0)
        (void)fd_close(p->files, s->pidfd_nr, p->files);
    if (s->charged)
        ucount_uncharge(p->cred->uid, UCOUNT_TASKS);
    pidns_put(s->ns);
    if (!c)
        return;
    if (c->pid) {
        mutex_lock(&tasklist_lock);
        kpid_unalloc_locked(c->pid);
        task_container_uncharge_locked(s->group->container);
        mutex_unlock(&tasklist_lock);
        c->pid = nullptr;
    }
    if (c->mm)
        task_set_mm(c, nullptr, nullptr);
    if (c->files)
        fdtab_put(c->files, c->files);
    if (c->fs)
        fs_context_put(c->fs);
    ipcns_put(c->ipc);
    c->ipc = nullptr;
    if (!c->group && s->group)
        group_put(s->group);
    if (c->fiber) { // it runs once, to end itself and drop the reference
        c->dead = true;
        fiber_start(c->fiber);
    } else {
        task_put(c);
    }
}

// The parent of a new process, its group, session and number.
static void publish_group_locked(struct clone_state *s)
{
    struct task *p = s->parent, *c = s->child;
    struct thread_group *g = s->group;
    g->leader = c;
    g->tgid_pid = kpid_get(c->pid);
    c->pid->group = g;
    bool same_parent = s->a->flags & CLONE_PARENT;
    struct thread_group *parent = same_parent ? p->group->parent : p->group;
    g->parent_thread = same_parent ? p->group->parent_thread : p;
    if (parent) {
        g->parent = group_get(parent);
        list_push_back(&parent->children, &g->sibling);
    } else {
        g->autoreap = true;
    }
    if (!s->ns->init) {
        s->ns->init = c;
        g->unkillable = true;
    }
    group_join_pgrp_locked(g, p->group->pgrp);
}

// The number, and the pidfd that names it: before the child can be found.
static int clone_number(struct clone_state *s)
{
    struct task *p = s->parent;
    mutex_lock(&tasklist_lock);
    int err = task_container_charge_locked(s->group->container);
    if (!err) {
        err = kpid_alloc_locked(s->ns, s->a->set_tid, s->a->set_tid_size, &s->child->pid);
        if (err)
            task_container_uncharge_locked(s->group->container);
    }
    mutex_unlock(&tasklist_lock);
    if (err || !(s->a->flags & CLONE_PIDFD))
        return err;
    struct file *f;
    err = pidfd_file_new(s->child->pid, s->a->flags & CLONE_THREAD ? O_EXCL : 0, &f);
    if (err)
        return err;
    int fd = fd_install(p->files, f, 0, true, task_rlimit(p, RLIMIT_NOFILE));
    if (fd < 0) {
        file_put(f);
        return fd;
    }
    s->pidfd_nr = fd;
    return put_user(p->mm, s->a->pidfd, fd);
}

// The step that makes the child visible; only a pending signal stops it.
static int clone_publish(struct clone_state *s)
{
    struct task *p = s->parent, *c = s->child;
    struct thread_group *g = s->group;
    mutex_lock(&tasklist_lock);
    spin_lock(&p->group->sig_lock);
    bool interrupted = READ_SHARED(p->sig_work);
    seccomp_inherit_locked(c, p); // here, where another thread's TSYNC cannot come between
    bool dying = s->ns->dying || g->container->dying;
    if (!interrupted && !dying && (s->a->flags & CLONE_THREAD)) {
        list_push_back(&g->threads, &c->thread_link);
        g->nthreads++;
        g->nlive++;
    }
    spin_unlock(&p->group->sig_lock);
    if (interrupted || dying) {
        mutex_unlock(&tasklist_lock);
        return interrupted ? -ERESTARTNOINTR : -ENOMEM;
    }
    c->pid->task = c;
    if (!(s->a->flags & CLONE_THREAD)) {
        list_push_back(&g->threads, &c->thread_link);
        g->nthreads = g->nlive = 1;
        publish_group_locked(s);
    }
    task_get(c); // the fiber's; the first reference is the list's
    mutex_unlock(&tasklist_lock);
    return 0;
}

static void clone_start(struct task *c)
{
    spin_lock(&c->group->sig_lock);
    c->started = true;
    fiber_start(c->fiber);
    spin_unlock(&c->group->sig_lock);
}

static void vfork_wait(struct task *c)
{
    (void)wait_event(&c->vfork_wait, __atomic_load_n(&c->vfork_done, __ATOMIC_ACQUIRE), KTIME_MAX,
                     PARK_KILLABLE);
}

long task_clone(struct task *t, const struct clone_args_k *a)
{
    struct clone_state s = {.parent = t, .a = a};
    if (signal_pending(t))
        return -ERESTARTNOINTR;
    int err = clone_check(t, a->flags);
    if (err)
        return err;
    err = clone_prepare(&s);
    if (!err)
        err = clone_number(&s);
    if (!err)
        err = clone_publish(&s);
    if (err) {
        clone_abort(&s);
        return err;
    }
    struct task *c = task_get(s.child);
    int nr = task_tid_in(c, t->pidns);
    // Nothing tells the guest when this word cannot be written: the child exists.
    if ((a->flags & CLONE_PARENT_SETTID) && put_user(t->mm, a->parent_tid, nr) != 0)
        log_debug("clone: parent_tid cannot be written");
    if (!(a->flags & CLONE_THREAD) && task_rlimit(c, RLIMIT_CPU) != RLIM64_INFINITY)
        timers_rlimit_cpu(c->group);
    clone_start(c);
    if (a->flags & CLONE_VFORK)
        vfork_wait(c);
    pidns_put(s.ns);
    task_put(c);
    return nr;
}
