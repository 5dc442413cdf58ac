// SPDX-License-Identifier: Apache-2.0
// The first program of a container and those of exec, see boot_task.h. Their descriptions come from
// the command line, which we trust; names and files in them are the container's.
#include "cmd/boot_task.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "fs/hostfile.h"
#include "host/raw.h"
#include "kern/limits.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct cred *process_cred(const struct spec_process *p)
{
    struct cred *base = cred_new(), *c = base ? cred_dup(base) : nullptr;
    if (base)
        cred_put(base);
    if (!c)
        return nullptr;
    c->uid = c->euid = c->suid = c->fsuid = p->uid;
    c->gid = c->egid = c->sgid = c->fsgid = p->gid;
    c->cap_bounding = p->caps[CAPS_BOUNDING];
    c->cap_permitted = p->caps[CAPS_PERMITTED];
    c->cap_inheritable = p->caps[CAPS_INHERITABLE];
    c->cap_effective = p->caps[CAPS_EFFECTIVE] & c->cap_permitted;
    c->cap_ambient = p->caps[CAPS_AMBIENT] & c->cap_permitted & c->cap_inheritable;
    if (p->ngids && !(c->groups = mem_alloc_array(p->ngids, sizeof(*c->groups)))) {
        cred_put(c);
        return nullptr;
    }
    for (size_t i = 0; i < p->ngids; i++) { // sorted
        size_t at = c->ngroups++;
        for (; at > 0 && c->groups[at - 1] > p->gids[i]; at--)
            c->groups[at] = c->groups[at - 1];
        c->groups[at] = p->gids[i];
    }
    c->no_new_privs = p->no_new_privs;
    return c;
}

static bool same_terminal(int a, int b)
{
    struct stat x, y;
    return host_call(__NR_fstat, a, &x) == 0 && host_call(__NR_fstat, b, &y) == 0 &&
           S_ISCHR(x.st_mode) && x.st_rdev == y.st_rdev && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino &&
           host_call(__NR_fcntl, a, F_GETFL) == host_call(__NR_fcntl, b, F_GETFL);
}

// fds: -1 is closed, as the caller's was. Those that became files are set to -1 in fds.
static int open_stdio(struct init_args *a, int fds[3], const struct cred *c)
{
    int hostfds[3] = {fds[0], fds[1], fds[2]};
    for (int i = 0; i < 3; i++) {
        if (fds[i] < 0)
            continue;
        for (int k = 0; k < i && !a->stdio[i]; k++)
            if (a->stdio[k] && same_terminal(hostfds[k], hostfds[i]))
                a->stdio[i] = file_get(a->stdio[k]);
        if (!a->stdio[i]) {
            int err = hostfile_new(fds[i], c, &a->stdio[i]);
            if (err)
                return err;
            fds[i] = -1;
        }
        if (!a->terminal && tty_of_file(a->stdio[i]))
            a->terminal = a->stdio[i];
    }
    return 0;
}

// The terminal becomes a device of the guest, /dev/pts/N, and a->terminal and the streams on it that
// device opened. Without a devpts at /dev/pts it stays a file without a name.
static void name_terminal(struct boot_container *b, struct init_args *a, const struct cred *c)
{
    struct lookup_ctx lc = {.fs = b->fs.fs, .cred = c};
    struct path at;
    struct file *f, *old = a->terminal;
    char name[32];
    if (path_lookup(&lc, AT_FDCWD, "/dev/pts", LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &at))
        return;
    int n = hostfile_tty_name(old, at.dentry->sb, c);
    path_put(at);
    if (n < 0)
        return;
    snprintf(name, sizeof(name), "/dev/pts/%d", n);
    if (vfs_open(&lc, AT_FDCWD, name, (int)(old->flags & (O_ACCMODE | O_APPEND)) | O_NOCTTY, 0,
                 LOOKUP_FOLLOW, &f))
        return;
    for (int i = 0; i < 3; i++)
        if (a->stdio[i] == old) {
            a->stdio[i] = file_get(f);
            file_put(old);
        }
    a->terminal = a->stdio[0] == f || a->stdio[1] == f || a->stdio[2] == f ? f : a->terminal;
    file_put(f);
    if (!a->join)
        boot_fs_console(&b->fs, name);
}

static void process_rlimits(const struct spec_process *p, struct rlimit64 lim[RLIM_NLIMITS])
{
    constexpr uint64_t stack = 8u << 20, nproc = 1u << 20;
    for (int i = 0; i < RLIM_NLIMITS; i++)
        lim[i] = (struct rlimit64){RLIM64_INFINITY, RLIM64_INFINITY};
    lim[RLIMIT_STACK].rlim_cur = stack;
    lim[RLIMIT_CORE].rlim_cur = 0;
    lim[RLIMIT_NOFILE] = (struct rlimit64){1024, 1u << 20};
    lim[RLIMIT_NPROC] = (struct rlimit64){nproc, nproc};
    lim[RLIMIT_SIGPENDING] = (struct rlimit64){65536, 65536};
    lim[RLIMIT_MSGQUEUE] = (struct rlimit64){819200, 819200};
    lim[RLIMIT_MEMLOCK] = (struct rlimit64){8u << 20, 8u << 20};
    lim[RLIMIT_NICE] = lim[RLIMIT_RTPRIO] = (struct rlimit64){0, 0};
    for (size_t i = 0; i < p->nrlimits; i++)
        if (p->rlimits[i].which < RLIM_NLIMITS)
            lim[p->rlimits[i].which] = (struct rlimit64){p->rlimits[i].soft, p->rlimits[i].hard};
}

// The status a shell gives for a program that does not start, and the words that engines look for.
static int program_failed(const char *name, int err, char *text, size_t n)
{
    if (err == -ENOENT && !strchr(name, '/'))
        snprintf(text, n, "exec: \"%s\": executable file not found in $PATH", name);
    else if (err == -ENOENT || err == -ENOTDIR)
        snprintf(text, n, "exec: \"%s\": %s", name,
                 err == -ENOENT ? "no such file or directory" : "not a directory");
    else if (err == -EACCES)
        snprintf(text, n, "exec: \"%s\": permission denied", name);
    else if (err == -ESRCH)
        snprintf(text, n, "exec: \"%s\": killed before it had started", name);
    else
        snprintf(text, n, "exec: \"%s\": %s", name, strerror(-err));
    return err == -ENOENT || err == -ENOTDIR ? 127 : 126;
}

static const char *const *pointers(const struct strlist *l)
{
    const char **v = mem_alloc_array(l->n + 1, sizeof(*v));
    for (size_t i = 0; v && i < l->n; i++)
        v[i] = l->v[i];
    return v;
}

// A working directory that is not there is not to look like a program that is not.
static int check_directory(const struct boot_container *b, const char *cwd)
{
    struct lookup_ctx lc = {.fs = b->fs.fs, .cred = b->fs.cred};
    struct path at;
    int err = path_lookup(&lc, AT_FDCWD, cwd, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &at);
    if (!err)
        path_put(at);
    return err;
}

int boot_create_process(struct boot_container *b, struct init_args *a, struct spec_process *p,
                        int fds[3], struct task **out, char *text, size_t n)
{
    struct cred *cred = process_cred(p);
    struct rlimit64 *lim = mem_alloc_array(RLIM_NLIMITS, sizeof(*lim));
    a->argv = pointers(&p->args);
    a->envp = pointers(&p->env);
    int status = 1, err = 0;
    if (!cred || !lim || !a->argv || !a->envp) {
        snprintf(text, n, "out of memory");
        goto out;
    }
    process_rlimits(p, lim);
    a->root = b->fs.fs->root;
    a->mntns = b->fs.fs->ns;
    a->cwd = p->cwd;
    a->cred = cred;
    a->rlimits = lim;
    a->umask = p->has_umask ? p->umask : 022;
    a->no_new_privs = p->no_new_privs;
    a->strace = b->strace;
    a->seccomp = (const struct sock_filter *)(const void *)b->seccomp.insns;
    a->nseccomp = b->seccomp.n;
    a->seccomp_flags = b->seccomp.flags;
    a->oom_score_adj = p->has_oom_score_adj ? p->oom_score_adj : 0;
    if ((err = check_directory(b, p->cwd)) != 0) {
        snprintf(text, n, "chdir to cwd (\"%s\") failed: %s", p->cwd, strerror(-err));
        goto out;
    }
    err = open_stdio(a, fds, cred);
    if (err) {
        snprintf(text, n, "standard streams: %s", strerror(-err));
        goto out;
    }
    if (a->terminal)
        name_terminal(b, a, cred);
    if (a->terminal && !a->join)
        tty_set_console(b->tasks, tty_of_file(a->terminal));
    err = task_create_init(a, out);
    status = err ? program_failed(a->program ? a->program : p->args.v[0], err, text, n) : 0;
out:
    mem_free((void *)a->argv);
    mem_free((void *)a->envp);
    mem_free(lim);
    if (cred)
        cred_put(cred);
    return status;
}

static void put_stdio(struct init_args *a)
{
    for (int i = 0; i < 3; i++)
        if (a->stdio[i])
            file_put(a->stdio[i]);
}

int boot_open_more(struct init_args *a, int *fds, int nfds, const struct cred *c, char *text,
                   size_t n)
{
    struct file **v = nfds ? mem_alloc_array((size_t)nfds, sizeof(struct file *)) : nullptr;
    if (!nfds)
        return 0;
    int err = v ? 0 : -ENOMEM;
    a->more = v;
    for (int i = 0; i < nfds && !err; i++) {
        if ((err = hostfile_new(fds[i], c, &v[i])) != 0)
            snprintf(text, n, "--preserve-fds: descriptor %d: %s", 3 + i, strerror(-err));
        else
            fds[i] = -1;
        a->nmore += !err;
    }
    if (!v)
        snprintf(text, n, "out of memory");
    return err ? 1 : 0;
}
void boot_put_more(struct init_args *a)
{
    for (int i = 0; i < a->nmore; i++)
        file_put(a->more[i]);
    mem_free((void *)a->more);
    a->more = nullptr;
    a->nmore = 0;
}

int boot_start_program(struct boot_container *b, struct boot_config *c, struct init_args *a,
                       int fds[3], char *text, size_t n)
{
    struct spec *s = c->spec;
    a->hostname = s->hostname ? s->hostname : "nacre";
    a->domainname = s->domainname ? s->domainname : "(none)";
    for (size_t i = 0; i < s->sysctl.n; i++) // engines' way to say it
        if (strcmp(s->sysctl.v[i].key, "kernel.domainname") == 0)
            a->domainname = s->sysctl.v[i].value;
    a->reap = true;
    a->killable = c->killable;
    a->hold = true;
    a->container = b->tasks;
    b->seccomp = s->seccomp;
    s->seccomp = (struct spec_seccomp){};
    char why[700];
    int status = boot_open_more(a, b->preserve, b->npreserve, b->fs.cred, why, sizeof(why));
    if (!status)
        status = boot_create_process(b, a, &s->process, fds, &b->first, why, sizeof(why));
    boot_put_more(a);
    if (status) // as a shell says it for `do`; engines know one status, and look for the words
        snprintf(text, n, "%s%s", c->killable ? "" : "unable to start container process: ", why);
    if (status && !c->killable)
        status = 1;
    boot_hooks_take(b, c);
    if (!status)
        b->terminal = a->terminal ? file_get(a->terminal) : nullptr;
    put_stdio(a);
    return status;
}

// --- exec -----------------------------------------------------------------------------------------
struct exec_process {
    struct list link;           // [exec_lock]
    struct boot_container *container; // ref
    uint32_t token;
    struct thread_group *group; // ref
    struct file *terminal;      // ref, or null
};
SLAB_DEFINE(exec_slab, struct exec_process);
static struct list exec_processes = LIST_INIT(exec_processes); // [exec_lock]
static struct mutex exec_lock = MUTEX_INIT(exec_lock, RANK_NONE);

static void exec_free(struct exec_process *x)
{
    if (x->group)
        group_put(x->group);
    if (x->terminal)
        file_put(x->terminal);
    boot_container_put(x->container);
    slab_free(&exec_slab, x);
}
static void on_exec_exit(struct thread_group *g, int wait_status, void *arg)
{
    struct exec_process *x = arg;
    (void)g;
    mutex_lock(&exec_lock);
    list_del(&x->link);
    mutex_unlock(&exec_lock);
    ctl_tell(x->container->fd, CTL_EXITED, x->token, wait_status, nullptr);
    exec_free(x);
}

int boot_exec(struct boot_container *b, struct exec_request *r, char *text, size_t n)
{
    struct exec_process *x = slab_alloc(&exec_slab);
    struct task *t;
    struct err why = {};
    if (!x) {
        snprintf(text, n, "out of memory");
        return 1;
    }
    x->token = r->token;
    x->container = boot_container_get(b);
    struct init_args a = {
        .join = b->first, .hold = true, .exit_hook = on_exec_exit, .exit_hook_arg = x,
    };
    int status = boot_resolve_user(r->process, &b->fs, &why) ? 1 : 0; // HOME
    if (status)
        snprintf(text, n, "%s", why.text);
    else
        status = boot_open_more(&a, r->more, r->nmore, b->fs.cred, text, n);
    if (!status)
        status = boot_create_process(b, &a, r->process, r->stdio, &t, text, n);
    boot_put_more(&a);
    if (status) {
        if (task_container_ending(b->first)) // whatever it was that failed
            snprintf(text, n, "cannot exec in a stopped container");
        put_stdio(&a);
        exec_free(x);
        return status;
    }
    x->group = group_get(t->group);
    x->terminal = a.terminal ? file_get(a.terminal) : nullptr;
    put_stdio(&a);
    mutex_lock(&exec_lock);
    list_push_back(&exec_processes, &x->link);
    mutex_unlock(&exec_lock);
    ctl_tell(b->fd, CTL_REPLY, r->token, 0, nullptr); // before its end can be told
    task_start_held(t);
    task_put(t);
    return 0;
}

void boot_exec_signal(struct boot_container *b, uint32_t token, int sig)
{
    bool keys = sig == SIGINT || sig == SIGQUIT || sig == SIGTSTP || sig == SIGWINCH;
    siginfo_t si;
    mutex_lock(&exec_lock);
    list_for_each(it, &exec_processes) {
        struct exec_process *x = list_entry(it, struct exec_process, link);
        if (x->container != b || x->token != token)
            continue;
        struct tty_ctl *tty = x->terminal ? tty_of_file(x->terminal) : nullptr;
        if (keys && tty_controls_group(tty, x->group)) {
            tty_signal_foreground(tty, sig);
        } else if (sig != SIGWINCH) {
            siginfo_kernel(&si, sig);
            si.si_code = SI_USER;
            signal_send_group(x->group, &si);
        }
        break;
    }
    mutex_unlock(&exec_lock);
}
void boot_exec_hangup(struct boot_container *b, uint32_t token)
{
    boot_exec_signal(b, token, SIGKILL);
}
