// SPDX-License-Identifier: Apache-2.0
// System calls that make, end and wait for tasks, and those of process groups, sessions and pidfds.
#include "abi/errno.h"
#include "sys/protos.h"
#include "task/internal.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/wait.h>

constexpr uint64_t EXIT_SIGNAL_MASK = 0xff; // CSIGNAL

long sys_clone(struct task *t, uint64_t flags, uint64_t stack, uaddr_t ptid, uaddr_t ctid, uint64_t tls)
{
    struct clone_args_k a = {
        .flags = (uint32_t)flags & ~EXIT_SIGNAL_MASK,
        .pidfd = ptid,
        .child_tid = ctid,
        .parent_tid = ptid,
        .exit_signal = flags & EXIT_SIGNAL_MASK,
        .stack = stack,
        .tls = tls,
    };
    if ((a.flags & CLONE_PIDFD) && (a.flags & CLONE_PARENT_SETTID))
        return -EINVAL; // both would use the same word
    if ((a.flags & CLONE_SETTLS) && tls >= t->ctx->ops->task_size())
        return -EPERM;
    return task_clone(t, &a);
}

long sys_fork(struct task *t)
{
    struct clone_args_k a = {.exit_signal = SIGCHLD};
    return task_clone(t, &a);
}

long sys_vfork(struct task *t)
{
    struct clone_args_k a = {.flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD};
    return task_clone(t, &a);
}

// Reads a versioned struct: short ones are extended with zeroes, what we do not know must be zero.
static int copy_struct_in(struct task *t, void *dst, size_t dsize, uaddr_t src, size_t size)
{
    uint8_t rest[64];
    size_t n = MIN(size, dsize);
    memset(dst, 0, dsize);
    for (size_t at = dsize; at < size; at += sizeof(rest)) {
        size_t m = MIN(sizeof(rest), size - at);
        if (copy_in(t->mm, rest, uaddr_add(src, at), m) != 0)
            return -EFAULT;
        for (size_t i = 0; i < m; i++)
            if (rest[i])
                return -E2BIG;
    }
    return copy_in(t->mm, dst, src, n);
}

static int clone3_set_tid(struct task *t, const struct clone_args *u, struct clone_args_k *a)
{
    if (u->set_tid_size > 32 || (!u->set_tid && u->set_tid_size) || (u->set_tid && !u->set_tid_size))
        return -EINVAL;
    if (!u->set_tid_size)
        return 0;
    if (u->set_tid_size > (uint64_t)t->pidns->level + 1)
        return -EINVAL;
    if (!cred_capable(t->cred, CAP_SYS_ADMIN) && !cred_capable(t->cred, CAP_CHECKPOINT_RESTORE))
        return -EPERM;
    a->set_tid_size = u->set_tid_size;
    if (copy_in(t->mm, a->set_tid, UADDR(u->set_tid), u->set_tid_size * sizeof(int)) != 0)
        return -EFAULT;
    for (size_t i = 0; i < a->set_tid_size; i++)
        if (a->set_tid[i] < 1)
            return -EINVAL;
    return 0;
}

long sys_clone3(struct task *t, uaddr_t args, size_t size)
{
    struct clone_args u;
    constexpr uint64_t known = 0xffffffffull | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
    if (size > PAGE_SIZE)
        return -E2BIG;
    if (size < CLONE_ARGS_SIZE_VER0)
        return -EINVAL;
    int err = copy_struct_in(t, &u, sizeof(u), args, size);
    if (err)
        return err;
    struct clone_args_k a = {
        .flags = u.flags,
        .pidfd = UADDR(u.pidfd),
        .child_tid = UADDR(u.child_tid),
        .parent_tid = UADDR(u.parent_tid),
        .exit_signal = u.exit_signal,
        .stack = u.stack,
        .stack_size = u.stack_size,
        .tls = u.tls,
    };
    err = clone3_set_tid(t, &u, &a);
    if (err)
        return err;
    if ((u.flags & ~known) || (u.exit_signal & ~EXIT_SIGNAL_MASK) || u.exit_signal > NSIG_MAX)
        return -EINVAL;
    if (u.flags & (CLONE_DETACHED | (EXIT_SIGNAL_MASK & ~CLONE_NEWTIME)))
        return -EINVAL;
    if (u.flags & (CLONE_INTO_CGROUP | CLONE_NEWTIME))
        return u.flags & CLONE_INTO_CGROUP ? -EBADF : -EINVAL;
    if ((u.flags & (CLONE_THREAD | CLONE_PARENT)) && u.exit_signal)
        return -EINVAL;
    if (u.stack ? !u.stack_size : u.stack_size)
        return -EINVAL;
    uint64_t end;
    if (__builtin_add_overflow(u.stack, u.stack_size, &end) || end > t->ctx->ops->task_size())
        return -EINVAL;
    if ((u.flags & CLONE_SETTLS) && u.tls >= t->ctx->ops->task_size())
        return -EPERM;
    return task_clone(t, &a);
}

long sys_exit(struct task *t, int status)
{
    task_exit(t, (status & 0xff) << 8);
}

long sys_exit_group(struct task *t, int status)
{
    task_exit_group(t, (status & 0xff) << 8);
    return 0;
}

// --- waiting ---
static void wait_put(struct wait_request *w)
{
    kpid_put(w->pid);
    pgrp_put(w->pgrp);
}

long sys_wait4(struct task *t, int pid, uaddr_t status, int options, uaddr_t rusage)
{
    struct wait_request w = {.options = options | WEXITED};
    if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
        return -EINVAL;
    if (pid == INT32_MIN)
        return -ESRCH;
    if (pid > 0) {
        w.type = WAIT_PID;
        w.pid = kpid_find(t->pidns, pid);
        if (!w.pid)
            return -ECHILD;
    } else if (pid != -1) {
        w.type = WAIT_PGRP;
        w.pgrp = pid ? pgrp_find(t->pidns, -pid) : group_pgrp_get(t->group);
    }
    long r = task_wait(t, &w);
    wait_put(&w);
    if (r <= 0)
        return r;
    if (!uaddr_null(status) && put_user(t->mm, status, w.status) != 0)
        return -EFAULT;
    if (!uaddr_null(rusage) && put_user(t->mm, rusage, w.ru) != 0)
        return -EFAULT;
    return w.nr;
}

static int waitid_target(struct task *t, int which, int id, struct wait_request *w, bool *nonblock)
{
    *nonblock = false;
    switch (which) {
    case P_ALL:
        return 0;
    case P_PID:
        if (id <= 0)
            return -EINVAL;
        w->type = WAIT_PID;
        w->pid = kpid_find(t->pidns, id);
        return w->pid ? 0 : -ECHILD;
    case P_PGID:
        if (id < 0)
            return -EINVAL;
        w->type = WAIT_PGRP;
        w->pgrp = id ? pgrp_find(t->pidns, id) : group_pgrp_get(t->group);
        return 0;
    case P_PIDFD: {
        unsigned flags;
        struct file *f = id < 0 ? nullptr : fd_get(t->files, id);
        if (!f)
            return id < 0 ? -EINVAL : -EBADF;
        w->type = WAIT_PID;
        int err = pidfd_kpid(f, &w->pid, &flags);
        file_put(f);
        *nonblock = !err && (flags & O_NONBLOCK);
        return err;
    }
    default:
        return -EINVAL;
    }
}

long sys_waitid(struct task *t, int which, int id, uaddr_t info, int options, uaddr_t rusage)
{
    struct wait_request w = {.options = options};
    siginfo_t si = {};
    bool nonblock;
    if ((options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL)) ||
        !(options & (WEXITED | WSTOPPED | WCONTINUED)))
        return -EINVAL;
    long r = waitid_target(t, which, id, &w, &nonblock);
    if (!r) {
        if (nonblock)
            w.options |= WNOHANG;
        r = task_wait(t, &w);
        if (!r && nonblock && !(options & WNOHANG))
            r = -EAGAIN;
    }
    wait_put(&w);
    if (r < 0)
        return r;
    if (r > 0) {
        si.si_signo = SIGCHLD;
        si.si_code = w.code;
        si.si_pid = w.nr;
        si.si_uid = (uid_t)w.uid;
        si.si_status = w.code == CLD_EXITED ? w.status >> 8 : w.code == CLD_CONTINUED ? SIGCONT
                       : w.code == CLD_STOPPED ? w.status >> 8 : w.status & 0x7f;
        if (!uaddr_null(rusage) && put_user(t->mm, rusage, w.ru) != 0)
            return -EFAULT;
    }
    // Linux writes the six fields and leaves the rest of the 128 bytes alone.
    return uaddr_null(info) ? 0 : copy_out(t->mm, info, &si, offsetof(siginfo_t, si_status) + sizeof(int));
}

// --- numbers ---
long sys_getpid(struct task *t)
{
    return task_tgid_in(t, t->pidns);
}

long sys_gettid(struct task *t)
{
    return task_tid_in(t, t->pidns);
}

long sys_getppid(struct task *t)
{
    return group_ppid_in(t->group, t->pidns);
}

long sys_getpgrp(struct task *t)
{
    return group_pgid_in(t->group, t->pidns);
}

static long number_of(struct task *t, int pid, int (*get)(struct thread_group *, const struct pidns *))
{
    if (!pid)
        return get(t->group, t->pidns);
    struct task *o = task_find(t->pidns, pid);
    if (!o)
        return -ESRCH;
    long r = get(o->group, t->pidns);
    task_put(o);
    return r;
}

long sys_getpgid(struct task *t, int pid)
{
    return number_of(t, pid, group_pgid_in);
}

long sys_getsid(struct task *t, int pid)
{
    return number_of(t, pid, group_sid_in);
}

static int setpgid_check_locked(struct task *t, struct task *o)
{
    struct thread_group *g = o->group, *self = t->group;
    if (g->leader != o)
        return -EINVAL;
    if (g->parent == self) {
        if (!g->pgrp || g->pgrp->session != self->pgrp->session)
            return -EPERM;
        if (g->has_execed)
            return -EACCES;
    } else if (g != self) {
        return -ESRCH;
    }
    return g->pgrp && g->pgrp->session->leader == g ? -EPERM : 0;
}

static int setpgid_locked(struct task *t, int pid, int pgid)
{
    struct kpid *p = kpid_find_locked(t->pidns, pid);
    if (!p || !p->task)
        return -ESRCH;
    struct task *o = p->task;
    int err = setpgid_check_locked(t, o);
    if (err)
        return err;
    struct session *s = t->group->pgrp->session;
    struct kpid *k = pgid == pid ? p : kpid_find_locked(t->pidns, pgid);
    struct pgrp *to = k ? k->pgrp : nullptr;
    if (pgid != pid && (!to || to->session != s))
        return -EPERM;
    if (to && to == o->group->pgrp)
        return 0;
    if (to) {
        if (to->session != s)
            return -EPERM;
        group_join_pgrp_locked(o->group, to);
        return 0;
    }
    err = pgrp_new_locked(s, k, &to);
    if (!err) {
        group_join_pgrp_locked(o->group, to);
        pgrp_put(to);
    }
    return err;
}

long sys_setpgid(struct task *t, int pid, int pgid)
{
    if (!pid)
        pid = task_tgid_in(t, t->pidns);
    if (!pgid)
        pgid = pid;
    if (pgid < 0)
        return -EINVAL;
    mutex_lock(&tasklist_lock);
    int err = setpgid_locked(t, pid, pgid);
    mutex_unlock(&tasklist_lock);
    return err;
}

long sys_setsid(struct task *t)
{
    struct thread_group *g = t->group;
    struct pgrp *p;
    long r = -EPERM;
    mutex_lock(&tasklist_lock);
    if (g->pgrp->session->leader != g && !g->tgid_pid->pgrp) {
        r = session_new_locked(g, g->tgid_pid, &p);
        if (!r) {
            group_join_pgrp_locked(g, p);
            pgrp_put(p);
            r = kpid_nr_in(g->tgid_pid, t->pidns);
        }
    }
    mutex_unlock(&tasklist_lock);
    return r;
}

long sys_set_tid_address(struct task *t, uaddr_t tidptr)
{
    t->clear_child_tid = tidptr;
    return task_tid_in(t, t->pidns);
}

// --- pidfds ---
long sys_pidfd_open(struct task *t, int pid, uint32_t flags)
{
    struct file *f;
    if ((flags & ~(uint32_t)(O_NONBLOCK | O_EXCL)) || pid <= 0)
        return -EINVAL;
    struct kpid *p = kpid_find(t->pidns, pid);
    if (!p)
        return -ESRCH;
    mutex_lock(&tasklist_lock);
    bool there = p->task != nullptr, leader = p->group != nullptr;
    mutex_unlock(&tasklist_lock);
    long r = !there ? -ESRCH : !leader && !(flags & O_EXCL) ? -EINVAL : pidfd_file_new(p, flags, &f);
    kpid_put(p);
    if (r)
        return r;
    r = fd_install(t->files, f, 0, true, task_rlimit(t, RLIMIT_NOFILE));
    if (r < 0)
        file_put(f);
    return r;
}

long sys_pidfd_getfd(struct task *t, int fd, int target, uint32_t flags)
{
    struct kpid *p;
    if (flags)
        return -EINVAL;
    struct file *f = fd_get(t->files, fd);
    if (!f)
        return -EBADF;
    int err = pidfd_kpid(f, &p, nullptr);
    file_put(f);
    if (err)
        return err;
    mutex_lock(&tasklist_lock);
    struct task *o = p->task ? task_get(p->task) : nullptr;
    mutex_unlock(&tasklist_lock);
    kpid_put(p);
    if (!o)
        return -ESRCH;
    long r = task_may_access(o);
    struct fdtab *files = r ? nullptr : task_files_get(o);
    struct file *got = files ? fd_get_any(files, target) : nullptr;
    if (!r && !files)
        r = -ESRCH;
    else if (!r && !got)
        r = -EBADF;
    if (files)
        fdtab_put(files, files);
    task_put(o);
    if (r)
        return r;
    r = fd_install(t->files, got, 0, true, task_rlimit(t, RLIMIT_NOFILE));
    if (r < 0)
        file_put(got);
    return r;
}

// --- namespaces ---
static int unshare_files(struct task *t, uint64_t flags)
{
    int err = flags & CLONE_FILES ? task_unshare_files(t) : 0;
    if (err)
        return err;
    if (!(flags & (CLONE_FS | CLONE_NEWNS)))
        return 0;
    struct fs_context *fs, *old = t->fs;
    if (flags & CLONE_NEWNS) {
        err = fs_context_copy_ns(t->fs, &fs);
        if (err)
            return err;
    } else {
        fs = fs_context_dup(t->fs);
        if (!fs)
            return -ENOMEM;
    }
    spin_lock(&t->task_lock);
    t->fs = fs;
    spin_unlock(&t->task_lock);
    task_public_stale_self(t);
    fs_context_put(old);
    return 0;
}

long sys_unshare(struct task *t, uint64_t flags)
{
    constexpr uint64_t ns = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID;
    constexpr uint64_t none = CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWTIME;
    constexpr uint64_t alone = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
    if (flags & ~(ns | none | alone | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM))
        return -EINVAL;
    if (((flags & alone) && t->group->nthreads > 1) ||
        ((flags & (CLONE_SIGHAND | CLONE_VM)) && ref_count(&t->sighand->ref) > 1) ||
        ((flags & CLONE_VM) && ref_count(&t->mm->ref) > 1))
        return -EINVAL;
    if ((flags & (ns | (none & ~(uint64_t)CLONE_NEWUSER))) && !cred_capable(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    if (flags & none)
        return -EINVAL;
    if ((flags & CLONE_NEWPID) && (t->group->nthreads > 1 || (t->pidns_children && t->pidns_children != t->pidns)))
        return -EINVAL;
    struct pidns *pns = nullptr;
    struct utsns *uts = nullptr;
    int err = flags & CLONE_NEWPID ? pidns_new(t->pidns, &pns) : 0;
    if (!err && (flags & CLONE_NEWUTS)) {
        mutex_lock(&t->uts->lock);
        uts = utsns_new(t->uts->nodename, t->uts->domainname);
        mutex_unlock(&t->uts->lock);
        err = uts ? 0 : -ENOMEM;
    }
    if (!err)
        err = unshare_files(t, flags);
    if (err) {
        pidns_put(pns);
        utsns_put(uts);
        return err;
    }
    if (pns)
        t->pidns_children = pns;
    if (uts) {
        struct utsns *old = t->uts;
        spin_lock(&t->task_lock);
        t->uts = uts;
        spin_unlock(&t->task_lock);
        utsns_put(old);
    }
    return 0;
}

// Joins namespaces of the process behind a pidfd.
long sys_setns(struct task *t, int fd, int nstype)
{
    struct kpid *p;
    struct file *f = fd_get(t->files, fd);
    if (!f)
        return -EBADF;
    int err = pidfd_kpid(f, &p, nullptr);
    file_put(f);
    if (err)
        return -EINVAL; // neither a namespace file nor a pidfd
    if (!nstype || (nstype & ~(CLONE_NEWPID | CLONE_NEWUTS))) {
        kpid_put(p);
        return -EINVAL;
    }
    mutex_lock(&tasklist_lock);
    struct task *o = p->task ? task_get(p->task) : nullptr;
    mutex_unlock(&tasklist_lock);
    kpid_put(p);
    if (!o)
        return -ESRCH;
    err = task_may_access(o);
    if (!err && !cred_capable(t->cred, CAP_SYS_ADMIN))
        err = -EPERM;
    if (!err && (nstype & CLONE_NEWPID) && !pidns_is_ancestor(t->pidns, o->pidns))
        err = -EINVAL;
    if (!err && (nstype & CLONE_NEWPID)) {
        struct pidns *old = t->pidns_children;
        t->pidns_children = pidns_get(o->pidns);
        pidns_put(old);
    }
    if (!err && (nstype & CLONE_NEWUTS)) {
        spin_lock(&o->task_lock);
        struct utsns *uts = utsns_get(o->uts), *old = t->uts;
        spin_unlock(&o->task_lock);
        spin_lock(&t->task_lock);
        t->uts = uts;
        spin_unlock(&t->task_lock);
        utsns_put(old);
    }
    task_put(o);
    return err;
}

// --- kcmp ---
static int compare(const void *a, const void *b)
{
    uint64_t x = hash_u64((uintptr_t)a), y = hash_u64((uintptr_t)b); // keyed: no addresses leak
    return x == y ? 0 : x < y ? 1 : 2;
}

static long kcmp_files(struct task *a, struct task *b, uint64_t i, uint64_t j)
{
    struct fdtab *fa = task_files_get(a), *fb = task_files_get(b);
    struct file *x = fa && i <= INT32_MAX ? fd_get_any(fa, (int)i) : nullptr;
    struct file *y = fb && j <= INT32_MAX ? fd_get_any(fb, (int)j) : nullptr;
    long r = x && y ? compare(x, y) : -EBADF;
    if (x)
        file_put(x);
    if (y)
        file_put(y);
    if (fa)
        fdtab_put(fa, fa);
    if (fb)
        fdtab_put(fb, fb);
    return r;
}

static long kcmp_tasks(struct task *a, struct task *b, int type, uint64_t i, uint64_t j)
{
    enum : int { K_FILE, K_VM, K_FILES, K_FS, K_SIGHAND, K_IO, K_SYSVSEM };
    switch (type) {
    case K_FILE:
        return kcmp_files(a, b, i, j);
    case K_VM:
        return compare(a->mm, b->mm);
    case K_FILES:
        return compare(a->files, b->files);
    case K_FS:
        return compare(a->fs, b->fs);
    case K_SIGHAND:
        return compare(a->sighand, b->sighand);
    case K_IO:
    case K_SYSVSEM:
        return compare(a->group, b->group);
    default:
        return -EINVAL;
    }
}

long sys_kcmp(struct task *t, int pid1, int pid2, int type, uint64_t i, uint64_t j)
{
    struct task *a = task_find(t->pidns, pid1), *b = task_find(t->pidns, pid2);
    long r = a && b ? 0 : -ESRCH;
    if (!r)
        r = task_may_access(a) ? -EPERM : task_may_access(b);
    if (!r)
        r = kcmp_tasks(a, b, type, i, j);
    task_put(a);
    task_put(b);
    return r;
}
