// SPDX-License-Identifier: Apache-2.0
// Processes that are started from outside: the first one of a container and those of `exec`.
//
// Everything happens in the caller's fiber, up to and including the loading of the program, so that
// "not found" and "not executable" are errors of the call and not exits of a process.
#include "abi/errno.h"
#include "kern/limits.h"
#include "task/internal.h"
#include "task/seccomp.h"
#include <fcntl.h>
#include <string.h>

constexpr size_t INIT_STRINGS_MAX = 2u << 20;

static int init_namespaces(struct task *t, const struct init_args *a)
{
    struct task *pid_of = a->join ? a->join : a->share_pid;
    struct task *uts_of = a->join ? a->join : a->share_uts;
    int err = 0;
    t->ipc = a->join ? task_ipc_get(a->join) : a->ipc ? ipcns_get(a->ipc) : ipcns_new();
    if (!t->ipc)
        return -ENOMEM;
    if (pid_of)
        t->pidns = pidns_get(pid_of->pidns);
    else
        err = pidns_new(nullptr, &t->pidns);
    if (err)
        return err;
    if (uts_of) {
        spin_lock(&uts_of->task_lock);
        t->uts = utsns_get(uts_of->uts);
        spin_unlock(&uts_of->task_lock);
        return 0;
    }
    t->uts = utsns_new(a->hostname ? a->hostname : "localhost", a->domainname);
    return t->uts ? 0 : -ENOMEM;
}

static int init_cred(struct task *t, const struct init_args *a)
{
    struct cred *c = cred_dup(a->cred);
    if (!c)
        return -ENOMEM;
    c->no_new_privs |= a->no_new_privs;
    int err = ucount_charge(c->uid, UCOUNT_TASKS, UINT64_MAX);
    if (err) {
        cred_put(c);
        return err;
    }
    t->cred = c;
    return 0;
}

static int init_files(struct task *t, const struct init_args *a)
{
    t->fs = fs_context_new(a->root, a->mntns);
    t->files = t->fs ? fdtab_new() : nullptr;
    if (!t->files)
        return -ENOMEM;
    t->fs->umask = a->umask;
    for (int i = 0; i < 3 + a->nmore; i++) {
        struct file *old = nullptr, *f = i < 3 ? a->stdio[i] : a->more[i - 3];
        if (!f)
            continue;
        int r = fd_install_at(t->files, file_get(f), i, false, (uint64_t)(3 + a->nmore), &old);
        if (r < 0) {
            file_put(f);
            return r;
        }
    }
    if (!a->cwd)
        return 0;
    struct lookup_ctx lc = task_lookup_ctx(t);
    struct path p;
    int err = path_lookup(&lc, AT_FDCWD, a->cwd, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
    if (err)
        return err;
    mutex_lock(&t->fs->lock);
    struct path old = t->fs->cwd;
    t->fs->cwd = p;
    mutex_unlock(&t->fs->lock);
    path_put(old);
    return 0;
}

static int init_group(struct task *t, const struct init_args *a)
{
    struct thread_group *g = group_alloc();
    if (!g)
        return -ENOMEM;
    t->group = g;
    g->container = a->join        ? task_container_get(a->join->group->container)
                   : a->container ? task_container_get(a->container)
                                  : task_container_new(a->pids_max);
    if (!g->container)
        return -ENOMEM;
    t->sighand = sighand_new(nullptr);
    if (!t->sighand)
        return -ENOMEM;
    if (a->rlimits)
        memcpy(g->rlim, a->rlimits, sizeof(g->rlim));
    else
        rlimits_default(g->rlim);
    g->oom_score_adj = a->oom_score_adj;
    g->reap_orphans = a->reap;
    g->autoreap = true;
    g->exit_hook = a->exit_hook;
    g->exit_hook_arg = a->exit_hook_arg;
    t->altstack_flags = SS_DISABLE;
    t->timer_slack = 50000;
    t->strace = a->strace;
    t->cpu_affinity = ~0ull; // shown as far as there are CPUs, whose number `update` may change
    return 0;
}

// Number, group, session: from here on the others can see it.
static int init_publish(struct task *t, const struct init_args *a)
{
    struct thread_group *g = t->group;
    struct pgrp *p = nullptr;
    mutex_lock(&tasklist_lock);
    int err = task_container_charge_locked(g->container);
    if (!err) {
        err = kpid_alloc_locked(t->pidns, nullptr, 0, &t->pid);
        if (err)
            task_container_uncharge_locked(g->container);
    }
    if (!err)
        err = session_new_locked(g, t->pid, &p);
    if (!err) {
        g->leader = t;
        g->tgid_pid = kpid_get(t->pid);
        t->pid->task = t;
        t->pid->group = g;
        group_join_pgrp_locked(g, p);
        pgrp_put(p);
        spin_lock(&g->sig_lock);
        list_push_back(&g->threads, &t->thread_link);
        g->nthreads = g->nlive = 1;
        spin_unlock(&g->sig_lock);
        if (!t->pidns->init) {
            t->pidns->init = t;
            g->unkillable = !a->killable;
        }
    } else if (t->pid) {
        task_container_uncharge_locked(g->container);
        kpid_unalloc_locked(t->pid);
        t->pid = nullptr;
    }
    mutex_unlock(&tasklist_lock);
    return err;
}

static void init_unpublish(struct task *t)
{
    struct thread_group *g = t->group;
    task_get(t);
    mutex_lock(&tasklist_lock);
    if (g->pgrp && g->pgrp->session->leader == g)
        g->pgrp->session->leader = nullptr;
    group_leave_pgrp_locked(g);
    release_task_locked(t);
    g->leader = nullptr;
    mutex_unlock(&tasklist_lock);
}

static int strings_copy(const char *const *v, struct strbuf *out, int *n)
{
    *n = 0;
    for (; v && *v; v++, (*n)++)
        strbuf_put(out, *v, strlen(*v) + 1);
    if (out->bad)
        return -ENOMEM;
    return out->len > INIT_STRINGS_MAX ? -E2BIG : 0;
}

static const char *env_path(const struct init_args *a)
{
    for (const char *const *e = a->envp; e && *e; e++)
        if (!strncmp(*e, "PATH=", 5))
            return *e + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static int open_program(struct task *t, const char *path, struct file **out)
{
    return exec_open(t, AT_FDCWD, path, LOOKUP_FOLLOW, out);
}

// As execvp: the first hit in PATH; a file that may not be executed is remembered and passed over.
static int find_program(struct task *t, const struct init_args *a, struct strbuf *name,
                        struct file **out)
{
    if (strchr((a->program ? a->program : a->argv[0]), '/')) {
        strbuf_str(name, (a->program ? a->program : a->argv[0]));
        return name->bad ? -ENOMEM : open_program(t, (a->program ? a->program : a->argv[0]), out);
    }
    int err = -ENOENT;
    if (!*(a->program ? a->program : a->argv[0]))
        return err;
    for (const char *p = env_path(a);;) {
        size_t n = strcspn(p, ":");
        strbuf_reset(name);
        strbuf_put(name, n ? p : ".", n ? n : 1);
        strbuf_char(name, '/');
        strbuf_str(name, (a->program ? a->program : a->argv[0]));
        if (name->bad)
            return -ENOMEM;
        int e = open_program(t, name->p, out);
        if (!e)
            return 0;
        if (e != -ENOENT && e != -ENOTDIR)
            err = e;
        if (!p[n])
            return err;
        p += n + 1;
    }
}

static int init_exec(struct task *t, const struct init_args *a)
{
    struct strbuf name = {}, argv = {}, envp = {};
    struct file *exe = nullptr;
    int argc, envc;
    int err = strings_copy(a->argv, &argv, &argc);
    if (!err)
        err = strings_copy(a->envp, &envp, &envc);
    if (!err && argc == 0)
        err = -EINVAL;
    if (!err)
        err = find_program(t, a, &name, &exe);
    if (!err)
        err = task_exec(t, exe, name.p, &argv, argc, &envp, envc);
    if (!err && a->seccomp)
        err = (int)seccomp_attach(t, a->seccomp, a->nseccomp, a->seccomp_flags);
    if (exe)
        file_put(exe);
    strbuf_free(&name);
    strbuf_free(&argv);
    strbuf_free(&envp);
    return err;
}

static void init_undo(struct task *t, bool published)
{
    if (t->mm)
        task_set_mm(t, nullptr, nullptr);
    if (t->files) {
        fdtab_put(t->files, t->files);
        t->files = nullptr;
    }
    if (t->fs) {
        fs_context_put(t->fs);
        t->fs = nullptr;
    }
    ipcns_put(t->ipc);
    t->ipc = nullptr;
    if (published)
        init_unpublish(t);
    else if (t->cred)
        ucount_uncharge(t->cred->uid, UCOUNT_TASKS);
    if (t->fiber) {
        t->dead = true;
        fiber_start(t->fiber); // ends itself and drops the last reference
    } else {
        task_put(t);
    }
}

// What fails in a process that is being killed, or where one can no longer be made, fails with any
// errno (EINTR, ENOMEM, ...), none of which is its caller's affair.
static bool init_killed(struct task *t, const struct init_args *a)
{
    bool killed = false;
    if (t->group) {
        spin_lock(&t->group->sig_lock);
        killed = t->killed || t->group->exiting;
        spin_unlock(&t->group->sig_lock);
    }
    return killed || (a->join && task_container_ending(a->join));
}

int task_create_init(const struct init_args *a, struct task **out)
{
    struct task *t = task_alloc();
    if (!t)
        return -ENOMEM;
    bool published = false;
    int err = init_cred(t, a);
    if (!err)
        err = init_namespaces(t, a);
    if (!err)
        err = init_group(t, a);
    if (!err)
        err = init_files(t, a);
    if (!err) {
        t->fiber = fiber_new(task_main, t, t);
        err = t->fiber ? 0 : -ENOMEM;
    }
    if (!err) {
        err = init_publish(t, a);
        published = !err;
    }
    if (!err && a->terminal && tty_task_hooks)
        err = tty_task_hooks->set_controlling(t, a->terminal);
    if (!err)
        err = init_exec(t, a);
    if (err) {
        if (init_killed(t, a))
            err = -ESRCH;
        init_undo(t, published);
        return err;
    }
    task_get(t); // the fiber's; the list has the first one
    *out = task_get(t);
    if (!a->hold)
        task_start_held(t);
    return 0;
}

void task_start_held(struct task *t)
{
    spin_lock(&t->group->sig_lock);
    t->started = true;
    fiber_start(t->fiber);
    spin_unlock(&t->group->sig_lock);
}
