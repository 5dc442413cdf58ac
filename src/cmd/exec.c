// SPDX-License-Identifier: Apache-2.0
// nacre exec. The process runs in the Sentry; this command (or, detached, a child of it that
// the pid file names) stands for it outside: signals to it are passed on, its end ends the process
// inside, and it ends with the process's exit status.
#include "base/slab.h"
#include "cmd/client.h"
#include "cmd/container.h"
#include "cmd/relay.h"
#include "host/fdpass.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct exec_flags {
    const char *process, *console, *pid_file, *cwd, *user;
    struct strlist env, caps, gids;
    struct strlist cgroups;
    const char *preserve;
    bool detach, tty, no_new_privs, ignore_paused;
    int npreserve;
};

// --- what to run ------------------------------------------------------------------------------------
static int parse_id(const char *s, char **end, uint32_t *out)
{
    errno = 0;
    unsigned long v = s[0] >= '0' && s[0] <= '9' ? strtoul(s, end, 10) : UINT32_MAX;
    *out = (uint32_t)v;
    return errno || v >= UINT32_MAX ? -EINVAL : 0;
}
static int set_user(struct spec_process *p, const char *user, struct err *e)
{
    char *end;
    if (!user[0] || user[0] == ':')
        return err_set(e, -EINVAL, "--user %s: must be USER[:GROUP]", user);
    if (parse_id(user, &end, &p->uid) || (*end && *end != ':') ||
        (*end == ':' && (parse_id(end + 1, &end, &p->gid) || *end))) // names: the Sentry looks
        return (p->user = mem_strdup(user)) ? 0 : err_set(e, -ENOMEM, "out of memory");
    if (p->uid != 0)
        p->caps[CAPS_EFFECTIVE] = p->caps[CAPS_PERMITTED] = p->caps[CAPS_AMBIENT];
    return 0;
}

static int add_caps(struct spec_process *p, const struct strlist *names, struct err *e)
{
    for (size_t i = 0; i < names->n; i++) {
        int cap = cap_from_name(names->v[i]);
        if (cap < 0)
            return err_set(e, -EINVAL, "--cap %s: unknown capability", names->v[i]);
        for (int k = 0; k < CAPS_SETS; k++)
            if (k != CAPS_INHERITABLE && k != CAPS_AMBIENT)
                p->caps[k] |= 1ull << cap;
    }
    return 0;
}

static int add_gids(struct spec_process *p, const struct strlist *gids, struct err *e)
{
    for (size_t i = 0; i < gids->n; i++) {
        char *end;
        uint32_t gid, *v;
        if (parse_id(gids->v[i], &end, &gid) || *end)
            return err_set(e, -EINVAL, "--additional-gids %s: not a number", gids->v[i]);
        if (!(v = mem_realloc(p->gids, (p->ngids + 1) * sizeof(*v))))
            return err_set(e, -ENOMEM, "out of memory");
        p->gids = v;
        v[p->ngids++] = gid;
    }
    return 0;
}

static int fill_process(struct spec_process *p, const struct exec_flags *f, int argc, char **argv,
                        struct err *e)
{
    int err = 0;
    strlist_free(&p->args);
    p->args = (struct strlist){};
    for (int i = 0; i < argc && !err; i++)
        err = strlist_add(&p->args, argv[i]);
    for (size_t i = 0; i < f->env.n && !err; i++) {
        if (!strchr(f->env.v[i], '='))
            return err_set(e, -EINVAL, "--env %s: must be NAME=VALUE", f->env.v[i]);
        err = env_set(&p->env, f->env.v[i]);
    }
    if (!err && f->cwd) {
        if (f->cwd[0] != '/')
            return err_set(e, -EINVAL, "--cwd %s: must be an absolute path", f->cwd);
        mem_free(p->cwd);
        err = (p->cwd = mem_strdup(f->cwd)) ? 0 : -ENOMEM;
    }
    if (err)
        return err_set(e, err, "out of memory");
    p->terminal = f->tty;
    p->no_new_privs |= f->no_new_privs;
    if ((err = add_caps(p, &f->caps, e)) || (err = add_gids(p, &f->gids, e)))
        return err;
    return f->user ? set_user(p, f->user, e) : 0;
}

static int process_file(struct spec_process *p, struct err *e)
{
    struct wire w = {.writing = true};
    wire_process(&w, p);
    int fd = w.bad ? -1 : memfd_create("process", MFD_CLOEXEC);
    bool ok = fd >= 0 && write(fd, w.out.p, w.out.len) == (ssize_t)w.out.len;
    strbuf_free(&w.out);
    return ok ? fd : err_set(e, -EIO, "memory file for the process: %s", strerror(errno));
}

// --- standing for it ----------------------------------------------------------------------------------
static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM,
                                SIGWINCH, SIGTSTP};
static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
        sigaddset(&set, forwarded[i]);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    sigaddset(&set, SIGTTOU);
    return fd < 0 || sigprocmask(SIG_BLOCK, &set, nullptr) < 0 ? -errno : fd;
}

// Sends the request; when the process runs, 0. Else the exit status.
static int begin(int sock, const struct exec_flags *f, struct spec_process *p, struct err *e)
{
    struct ctl_msg m;
    int fds[4 + PRESERVE_MAX], n = 1, streams = f->ignore_paused ? CTL_EXEC_PAUSED : 0;
    fds[0] = process_file(p, e);
    if (fds[0] < 0)
        return 1;
    for (int i = 0; i < 3; i++)
        if (fcntl(i, F_GETFD) >= 0) {
            fds[n++] = i;
            streams |= 1 << i;
        }
    for (int i = 0; i < f->npreserve; i++)
        fds[n++] = 3 + i;
    int err = control_send(sock, CTL_EXEC, streams, fds, n);
    close(fds[0]);
    while (!err && (err = control_receive(sock, &m)) == -EINTR)
        err = 0;
    if (err || m.kind != CTL_REPLY)
        return err_set(e, 1, "cannot exec in a stopped container");
    if (m.value == 0)
        return 0;
    err_set(e, 1, "%s", m.text);
    return m.value > 0 && m.value < 256 ? m.value : 1;
}

static int stand_for(int sock, int sigfd)
{
    struct pollfd p[2] = {{.fd = sock, .events = POLLIN}, {.fd = sigfd, .events = POLLIN}};
    for (;;) {
        struct signalfd_siginfo si;
        struct ctl_msg m;
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (p[1].revents && read(sigfd, &si, sizeof(si)) == sizeof(si) &&
            control_send(sock, si.ssi_signo == SIGWINCH ? CTL_EXEC_WINCH : CTL_EXEC_SIGNAL,
                         (int)si.ssi_signo, nullptr, 0))
            return 128 + SIGKILL;
        if (!p[0].revents)
            continue;
        int err = control_receive(sock, &m);
        if (err == -EINTR)
            continue;
        if (err)
            return 128 + SIGKILL; // with the container
        if (m.kind == CTL_EXITED)
            return WIFSIGNALED(m.value) ? 128 + WTERMSIG(m.value) : WEXITSTATUS(m.value);
    }
}

static int run_here(int sock, const struct exec_flags *f, struct spec_process *p, struct err *e)
{
    struct termios modes;
    bool tty = tcgetattr(0, &modes) == 0;
    int sigfd = block_signals();
    if (sigfd < 0)
        return err_errno(e, 1, "signals");
    int status = begin(sock, f, p, e);
    if (!status)
        status = stand_for(sock, sigfd);
    if (tty)
        tcsetattr(0, TCSADRAIN, &modes);
    return status;
}

[[noreturn]] static void stand_detached(int sock, const struct exec_flags *f, int notify, int slave,
                                        struct spec_process *p)
{
    struct err e = {};
    int sigfd = block_signals(), status = sigfd < 0 ? 1 : 0;
    setsid();
    if (!f->detach)
        prctl(PR_SET_PDEATHSIG, SIGKILL); // the process inside goes with the caller's command
    if (!status && slave >= 0 && console_attach(slave, &e))
        status = 1;
    if (!status)
        status = begin(sock, f, p, &e);
    preserve_close(f->npreserve);
    struct ctl_msg m = {.kind = status ? CTL_FAILED : CTL_STARTED, .value = status};
    memcpy(m.text, e.text, sizeof(m.text));
    if (fd_send(notify, &m, sizeof(m), nullptr, 0, 0) < 0 || status)
        _exit(status ? status : 1);
    close(notify);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
    for (int i = 0; i < 3; i++)
        if (dup2(null, i) < 0)
            close(i);
    if (chdir("/") < 0)
        _exit(1);
    _exit(stand_for(sock, sigfd));
}

// Without --detach: with a terminal between it and our streams.
static int run_detached(int sock, const struct exec_flags *f, struct spec_process *p,
                        struct err *e)
{
    static struct relay relay;
    int pair[2], slave = -1, n = 0, sigfd = -1;
    struct ctl_msg m;
    if (!f->detach && (relay_open(&relay, p, e) || (sigfd = block_signals()) < 0))
        return e->text[0] ? 1 : err_errno(e, 1, "signals");
    if (!f->detach)
        slave = relay.slave;
    else if (p->terminal && (slave = console_open(f->console, p, e)) < 0)
        return 1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, 1, "socket pair");
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, 1, "fork");
    if (pid == 0) {
        close(pair[0]);
        stand_detached(sock, f, pair[1], slave, p);
    }
    close(pair[1]);
    long r;
    do
        r = fd_recv(pair[0], &m, sizeof(m), nullptr, &n, 0);
    while (r == -EINTR);
    if (r == sizeof(m) && m.kind == CTL_STARTED) {
        if (!f->pid_file || pid_file_write(f->pid_file, pid, e) == 0) {
            int st = f->detach ? 0 : relay_run(&relay, pid, sigfd);
            return WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
        }
        kill(pid, SIGKILL); // the process inside goes with it
        return 1;
    }
    if (r != sizeof(m))
        return err_set(e, 1, "the process that was to stand for it was killed");
    m.text[sizeof(m.text) - 1] = 0;
    err_set(e, 1, "%s", m.text);
    return m.value > 0 && m.value < 256 ? m.value : 1;
}

static int exec_run_flags(struct globals *g, const struct exec_flags *f, int argc, char **argv,
                          struct err *e)
{
    struct container c;
    if (container_find(g, argv[0], &c, e))
        return 1;
    if (c.status == CONTAINER_STOPPED)
        return err_set(e, 1, "cannot exec in a stopped container");
    if (container_unreachable(&c, e))
        return 1;
    struct spec *s = spec_new();
    if (!s)
        return err_set(e, 1, "out of memory");
    struct spec_process *p = &s->process;
    if (f->process) {
        if (spec_load_process(p, f->process, e))
            return 1;
        if (fd_named(f->process) >= 3 + f->npreserve)
            close(fd_named(f->process));
    } else if (bundle_parse(s, c.info.bundle, e) || fill_process(p, f, argc - 1, argv + 1, e)) {
        return 1;
    }
    if (f->tty)
        p->terminal = true;
    if (p->terminal && f->detach && !f->console)
        return err_set(e, 1, "cannot allocate tty if runc will detach without setting console socket");
    if (f->console && !(p->terminal && f->detach))
        return err_set(e, 1, "cannot use console socket if runc will not detach or allocate tty");
    int sock = state_connect(c.root, c.info.id, &c.info, e);
    if (sock < 0)
        return err_set(e, 1, "cannot exec in a stopped container");
    if (f->detach || (p->terminal && relay_wanted()))
        return run_detached(sock, f, p, e);
    if (f->pid_file && pid_file_write(f->pid_file, getpid(), e))
        return 1;
    return run_here(sock, f, p, e);
}

// All processes of a sandbox are in one cgroup of the host: only that one can be asked for. The form
// is runc's: [CONTROLLER[,CONTROLLER...]:]PATH.
static int check_cgroups(const struct strlist *l, struct err *e)
{
    for (size_t i = 0; i < l->n; i++) {
        const char *colon = strchr(l->v[i], ':'), *path = colon ? colon + 1 : l->v[i];
        if (strcmp(path, "..") == 0 || strncmp(path, "../", 3) == 0 || strstr(path, "/../"))
            return err_set(e, -EINVAL, "--cgroup: %s is not a sub cgroup path", path);
        if (path[0] && strcmp(path, "/") != 0 && strcmp(path, ".") != 0)
            return err_set(e, -EOPNOTSUPP,
                           "--cgroup %s: cgroups below the container's are not supported", l->v[i]);
    }
    return 0;
}

static int exec_command(struct globals *g, int argc, char **argv, struct err *e)
{
    struct exec_flags f = {};
    const char *label = nullptr, *profile = nullptr;
    bool ignored = false;
    const struct opt opts[] = {
        {"process", OPT_STR, &f.process}, {"p", OPT_STR, &f.process},
        {"console-socket", OPT_STR, &f.console}, {"pid-file", OPT_STR, &f.pid_file},
        {"cwd", OPT_STR, &f.cwd}, {"user", OPT_STR, &f.user}, {"u", OPT_STR, &f.user},
        {"env", OPT_LIST, &f.env}, {"e", OPT_LIST, &f.env}, {"cap", OPT_LIST, &f.caps},
        {"c", OPT_LIST, &f.caps}, {"additional-gids", OPT_LIST, &f.gids}, {"g", OPT_LIST, &f.gids},
        {"detach", OPT_BOOL, &f.detach}, {"d", OPT_BOOL, &f.detach}, {"tty", OPT_BOOL, &f.tty},
        {"t", OPT_BOOL, &f.tty}, {"no-new-privs", OPT_BOOL, &f.no_new_privs},
        {"preserve-fds", OPT_STR, &f.preserve}, {"no-subreaper", OPT_BOOL, &ignored},
        {"ignore-paused", OPT_BOOL, &f.ignore_paused}, {"process-label", OPT_STR, &label},
        {"apparmor", OPT_STR, &profile}, {"cgroup", OPT_LIST, &f.cgroups},
    };
    int i = 1;
    if (opts_parse(opts, ARRAY_LEN(opts), argc, argv, &i, e))
        return 1;
    if (preserve_parse(f.preserve, &f.npreserve, e))
        return 1;
    if (check_cgroups(&f.cgroups, e))
        return 1;
    if (label || profile)
        log_warn("exec: --%s is not applied: there are no such labels inside",
                 label ? "process-label" : "apparmor");
    if (i >= argc)
        return err_set(e, 1, "no container id given");
    if (i + 1 >= argc && !f.process)
        return err_set(e, 1, "process args cannot be empty");
    return exec_run_flags(g, &f, argc - i, argv + i, e);
}

// Its own failures are apart from the program's statuses, as engines expect.
static int exec_run(struct globals *g, int argc, char **argv, struct err *e)
{
    constexpr int own_failure = 255;
    int status = exec_command(g, argc, argv, e);
    if (!e->text[0])
        return status;
    err_prefix(e, "exec failed: ");
    return own_failure;
}

const struct command command_exec = {
    .name = "exec", .args = "[flags] ID PROGRAM [ARGUMENT...]",
    .help = "run a further program in a container",
    .flags = "  --process FILE          what to run, as the process object of a config.json\n"
             "  --tty                   it gets a terminal\n"
             "  --detach                return as soon as it runs\n"
             "  --console-socket PATH   who gets the terminal, with --detach\n"
             "  --pid-file FILE         the process that stands for it\n"
             "  --user USER[:GROUP], --additional-gids GID, --cwd DIR, --env NAME=VALUE,\n"
             "  --cap NAME, --no-new-privs\n"
             "  --preserve-fds N        it gets descriptors 3 to 3+N-1 of the caller, too\n"
             "  --cgroup /              the container's own, where it is anyway\n"
             "  --ignore-paused         also in a paused container: it runs once that goes on\n",
    .run = exec_run,
};
