// SPDX-License-Identifier: Apache-2.0
// The container's first program and those of exec, see boot_task.h. Their descriptions come from
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
    if (!c)
        boot_fail(1, "out of memory");
    cred_put(base);
    c->uid = c->euid = c->suid = c->fsuid = p->uid;
    c->gid = c->egid = c->sgid = c->fsgid = p->gid;
    c->cap_bounding = p->caps[CAPS_BOUNDING];
    c->cap_permitted = p->caps[CAPS_PERMITTED];
    c->cap_inheritable = p->caps[CAPS_INHERITABLE];
    c->cap_effective = p->caps[CAPS_EFFECTIVE] & c->cap_permitted;
    c->cap_ambient = p->caps[CAPS_AMBIENT] & c->cap_permitted & c->cap_inheritable;
    if (p->ngids && !(c->groups = mem_alloc_array(p->ngids, sizeof(*c->groups))))
        boot_fail(1, "out of memory");
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
    else
        snprintf(text, n, "exec: \"%s\": %s", name, strerror(-err));
    return err == -ENOENT || err == -ENOTDIR ? 127 : 126;
}

static const char *const *pointers(const struct strlist *l)
{
    const char **v = mem_alloc_array(l->n + 1, sizeof(*v));
    if (!v)
        boot_fail(1, "out of memory");
    for (size_t i = 0; i < l->n; i++)
        v[i] = l->v[i];
    return v;
}

struct boot_tasks boot_tasks;
static struct fs_context *container_fs;
static bool strace_all;
static const struct boot_fs *the_fs;

// Makes the process; what both kinds have in common. 0, or an exit status with text.
static int create(struct init_args *a, struct spec_process *p, int fds[3], struct task **out,
                  char *text, size_t n)
{
    struct cred *cred = process_cred(p);
    struct rlimit64 *lim = mem_alloc_array(RLIM_NLIMITS, sizeof(*lim));
    if (!lim)
        boot_fail(1, "out of memory");
    process_rlimits(p, lim);
    a->root = container_fs->root;
    a->mntns = container_fs->ns;
    a->cwd = p->cwd;
    a->argv = pointers(&p->args);
    a->envp = pointers(&p->env);
    a->cred = cred;
    a->rlimits = lim;
    a->umask = p->has_umask ? p->umask : 022;
    a->no_new_privs = p->no_new_privs;
    a->strace = strace_all;
    a->oom_score_adj = p->has_oom_score_adj ? p->oom_score_adj : 0;
    int status = 0, err = open_stdio(a, fds, cred);
    if (err) {
        snprintf(text, n, "standard streams: %s", strerror(-err));
        status = 1;
    } else {
        if (a->terminal && !a->join)
            tty_set_console(tty_of_file(a->terminal));
        if ((err = task_create_init(a, out)) != 0)
            status = program_failed(p->args.v[0], err, text, n);
    }
    mem_free((void *)a->argv);
    mem_free((void *)a->envp);
    mem_free(lim);
    cred_put(cred);
    return status;
}

static void put_stdio(struct init_args *a)
{
    for (int i = 0; i < 3; i++)
        if (a->stdio[i])
            file_put(a->stdio[i]);
}

void boot_start_program(struct boot_config *c, struct boot_fs *b)
{
    struct spec *s = c->spec;
    struct init_args a = {
        .hostname = s->hostname ? s->hostname : "nacre",
        .domainname = s->domainname ? s->domainname : "(none)",
        .reap = true,
        .killable = c->killable,
        .hold = c->hold,
        .pids_max = s->pids_limit && s->pids_limit < 1 << 22 ? (int)s->pids_limit : 4096,
    };
    char text[900];
    int fds[3];
    container_fs = b->fs;
    strace_all = c->strace;
    the_fs = b;
    for (int i = 0; i < 3; i++) // each may be absent
        fds[i] = host_call(__NR_fcntl, BOOT_FD_STDIN + i, F_GETFL) < 0 ? -1 : BOOT_FD_STDIN + i;
    int status = create(&a, &s->process, fds, &boot_tasks.first, text, sizeof(text));
    if (status)
        boot_fail(status, "%s", text);
    boot_tasks.held = c->hold;
    put_stdio(&a);
}

// --- exec -----------------------------------------------------------------------------------------
struct exec_process {
    struct list link;           // [exec_lock]
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
    slab_free(&exec_slab, x);
}
static void on_exec_exit(struct thread_group *g, int wait_status, void *arg)
{
    struct exec_process *x = arg;
    (void)g;
    mutex_lock(&exec_lock);
    list_del(&x->link);
    mutex_unlock(&exec_lock);
    ctl_reply(CTL_EXITED, x->token, wait_status, nullptr);
    exec_free(x);
}

int boot_exec(struct exec_request *r, char *text, size_t n)
{
    struct exec_process *x = slab_alloc(&exec_slab);
    struct task *t;
    if (!x) {
        snprintf(text, n, "out of memory");
        return 1;
    }
    x->token = r->token;
    struct init_args a = {
        .join = boot_tasks.first, .hold = true, .exit_hook = on_exec_exit, .exit_hook_arg = x,
    };
    boot_resolve_user(r->process, the_fs); // HOME
    int status = create(&a, r->process, r->stdio, &t, text, n);
    if (status) {
        put_stdio(&a);
        slab_free(&exec_slab, x);
        return status;
    }
    x->group = group_get(t->group);
    x->terminal = a.terminal ? file_get(a.terminal) : nullptr;
    put_stdio(&a);
    mutex_lock(&exec_lock);
    list_push_back(&exec_processes, &x->link);
    mutex_unlock(&exec_lock);
    ctl_reply(CTL_REPLY, r->token, 0, nullptr); // before its end can be told
    task_start_held(t);
    task_put(t);
    return 0;
}

void boot_exec_signal(uint32_t token, int sig)
{
    bool keys = sig == SIGINT || sig == SIGQUIT || sig == SIGTSTP || sig == SIGWINCH;
    siginfo_t si;
    mutex_lock(&exec_lock);
    list_for_each(it, &exec_processes) {
        struct exec_process *x = list_entry(it, struct exec_process, link);
        if (x->token != token)
            continue;
        if (keys && x->terminal) {
            tty_signal_foreground(tty_of_file(x->terminal), sig);
        } else if (sig != SIGWINCH) {
            siginfo_kernel(&si, sig);
            si.si_code = SI_USER;
            signal_send_group(x->group, &si);
        }
        break;
    }
    mutex_unlock(&exec_lock);
}
void boot_exec_hangup(uint32_t token)
{
    boot_exec_signal(token, SIGKILL);
}
