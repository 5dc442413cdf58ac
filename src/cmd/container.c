// SPDX-License-Identifier: Apache-2.0
// Containers from OCI bundles: `create`, `run` and `run --detach` differ in who becomes the
// supervisor and in when the program starts. Detached, a child of ours does: in a session of its
// own, known to the engine by the pid file, adopted by the engine (its subreaper) when we end, and
// ending with the container's exit status.
#include "base/slab.h"
#include "cmd/cgroups.h"
#include "cmd/container.h"
#include "cmd/relay.h"
#include "cmd/supervise.h"
#include "cmd/environment.h"
#include "host/fdpass.h"
#include "host/spawn.h"
#include "oci/state.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

// Without effective capabilities while the bundle's JSON is parsed; they come back afterwards.
int bundle_parse(struct spec *s, const char *bundle, struct err *e)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct old[2], none[2];
    if (syscall(SYS_capget, &h, old) < 0)
        return err_errno(e, -errno, "capabilities");
    memcpy(none, old, sizeof(none));
    none[0].effective = none[1].effective = 0;
    // DAC_READ_SEARCH and DAC_OVERRIDE stay: the bundle may lie below a private directory.
    none[0].effective = old[0].effective & (1u << CAP_DAC_READ_SEARCH | 1u << CAP_DAC_OVERRIDE);
    if (syscall(SYS_capset, &h, none) < 0)
        return err_errno(e, -errno, "capabilities");
    int err = spec_load(s, bundle, e);
    if (syscall(SYS_capset, &h, old) < 0)
        return err_errno(e, -errno, "capabilities");
    return err;
}

// A device node of the host, bound (so podman without root does --device and --privileged): it stands for
// the sandbox's own device of that number; the host's is never opened.
static bool is_device(struct spec_mount *m, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || !(S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)))
        return false;
    m->is_file = true;
    m->dev_mode = st.st_mode & (S_IFMT | 0777);
    m->dev_major = major(st.st_rdev);
    m->dev_minor = minor(st.st_rdev);
    return true;
}

// Gives each bind mount a root of the Gofer; checks the other types.
static int resolve_mounts(struct boot_config *c, const char *bundle, struct err *e)
{
    static const char *const types[] = {"tmpfs", "proc", "sysfs", "devpts", "mqueue", "devtmpfs",
                                        "cgroup", "cgroup2"};
    for (size_t i = 0; i < c->spec->nmounts; i++) {
        struct spec_mount *m = &c->spec->mounts[i];
        bool known = m->bind;
        for (size_t k = 0; k < ARRAY_LEN(types); k++)
            known |= strcmp(types[k], m->type) == 0;
        if (!known)
            return err_set(e, -EINVAL, "mounts[%zu].type: file system %s is not supported", i,
                           m->type);
        if (!m->bind)
            continue;
        char path[8192];
        snprintf(path, sizeof(path), "%s%s%s", m->source[0] == '/' ? "" : bundle,
                 m->source[0] == '/' ? "" : "/", m->source);
        if (is_device(m, path))
            continue;
        int root = config_add_root(c, path, m->flags & MS_RDONLY, true, &m->is_file, e);
        if (root < 0) {
            err_prefix(e, "mounts[%zu].source: ", i);
            return root;
        }
        m->gofer_root = root;
    }
    return 0;
}

static struct boot_config *bundle_config(struct globals *g, const char *id, const char *bundle,
                                         struct err *e)
{
    struct spec *s = spec_new();
    if (!s || !(s->id = mem_strdup(id))) {
        err_set(e, -ENOMEM, "out of memory");
        return nullptr;
    }
    if (bundle_parse(s, bundle, e))
        return nullptr;
    struct boot_config *c = config_new(g, s, e);
    if (!c)
        return nullptr;
    c->overlay_off = g->launch.overlay_off;
    // One that is read-only in the end gets its mount points first, as with runc.
    if (config_add_root(c, s->root_path, !c->overlay_off, false, nullptr, e) < 0) {
        err_prefix(e, "root.path: ");
        return nullptr;
    }
    return resolve_mounts(c, bundle, e) ? nullptr : c;
}

int container_options(struct container_args *a, bool run, int argc, char **argv, struct err *e)
{
    bool ignored;
    const char *preserve = nullptr;
    const struct opt opts[] = {
        {"bundle", OPT_STR, &a->bundle},       {"b", OPT_STR, &a->bundle},
        {"pid-file", OPT_STR, &a->pid_file},   {"console-socket", OPT_STR, &a->console},
        {"no-pivot", OPT_BOOL, &ignored},      {"no-new-keyring", OPT_BOOL, &ignored},
        {"preserve-fds", OPT_STR, &preserve},
        // Of run alone:
        {"detach", OPT_BOOL, &a->detach},      {"d", OPT_BOOL, &a->detach},
        {"no-subreaper", OPT_BOOL, &ignored},  {"keep", OPT_BOOL, &a->keep},
    };
    int i = 1;
    return opts_parse_anywhere(opts, ARRAY_LEN(opts) - (run ? 0 : 4), argc, argv, &i, e) ||
                   preserve_parse(preserve, &a->npreserve, e)
               ? 0
               : i;
}

// --- descriptors, pid files, console sockets -------------------------------------------------------------------
int preserve_parse(const char *text, int *n, struct err *e)
{
    char *end;
    long v = text ? strtol(text, &end, 10) : 0;
    if (text && (end == text || *end || v < 0))
        return err_set(e, -EINVAL, "--preserve-fds %s: must be a number", text);
    if (v > PRESERVE_MAX)
        return err_set(e, -EINVAL, "--preserve-fds %s: at most %d", text, PRESERVE_MAX);
    for (int i = 0; i < v; i++)
        if (fcntl(3 + i, F_GETFD) < 0)
            return err_set(e, -EBADF, "--preserve-fds %ld: descriptor %d is closed", v, 3 + i);
    *n = (int)v;
    return 0;
}
void preserve_close(int n)
{
    for (int i = 0; i < n; i++)
        close(3 + i);
}

int pid_file_write(const char *path, pid_t pid, struct err *e)
{
    char tmp[4096], text[16];
    if ((size_t)snprintf(tmp, sizeof(tmp), "%s.new", path) >= sizeof(tmp))
        return err_set(e, -ENAMETOOLONG, "--pid-file %s: name too long", path);
    int n = snprintf(text, sizeof(text), "%d", (int)pid);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    int err = fd < 0 ? -errno : 0;
    if (!err && write(fd, text, (size_t)n) != n)
        err = -errno;
    if (fd >= 0 && close(fd) < 0 && !err)
        err = -errno;
    if (!err && rename(tmp, path) < 0)
        err = -errno;
    return err ? err_errno(e, err, "--pid-file %s", path) : 0;
}

static int send_master(const char *path, int master, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char name[32] = "/dev/ptmx";
    unsigned n;
    if (strlen(path) >= sizeof(a.sun_path))
        return err_set(e, -ENAMETOOLONG, "--console-socket %s: name too long", path);
    memcpy(a.sun_path, path, strlen(path));
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0)
        return err_errno(e, -errno, "--console-socket %s", path);
    if (ioctl(master, TIOCGPTN, &n) == 0)
        snprintf(name, sizeof(name), "/dev/pts/%u", n);
    long r = fd_send(sock, name, strlen(name), &master, 1, 0);
    close(sock);
    return r < 0 ? err_errno(e, (int)r, "--console-socket %s", path) : 0;
}

int console_pair(const struct spec_process *p, int *master, int *slave, struct err *e)
{
    int unlock = 0;
    *slave = -1;
    if ((*master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0)
        return err_errno(e, -errno, "/dev/ptmx");
    // By descriptor: whatever /dev/pts is here, it is the other side of this one.
    if (ioctl(*master, TIOCSPTLCK, &unlock) < 0 ||
        (*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
        int err = err_errno(e, -errno, "terminal");
        close(*master);
        return err;
    }
    struct winsize size = {.ws_row = (unsigned short)p->term_rows,
                           .ws_col = (unsigned short)p->term_cols};
    if (p->term_rows && p->term_cols)
        (void)ioctl(*slave, TIOCSWINSZ, &size);
    return 0;
}

int console_open(const char *socket_path, const struct spec_process *p, struct err *e)
{
    int master, slave, err = console_pair(p, &master, &slave, e);
    if (err)
        return err;
    err = send_master(socket_path, master, e);
    close(master);
    if (err)
        close(slave);
    return err ? err : slave;
}

int console_attach(int slave, struct err *e)
{
    // Signals of its keys come to us, the leader of this session, to be forwarded.
    if (ioctl(slave, TIOCSCTTY, 0) < 0)
        return err_errno(e, -errno, "controlling terminal");
    for (int i = 0; i < 3; i++)
        if (dup2(slave, i) < 0)
            return err_errno(e, -errno, "terminal");
    close(slave);
    return 0;
}

// --- the supervisor as a child --------------------------------------------------------------------
static void run_poststart(const struct boot_config *c, const char *bundle, pid_t pid)
{
    hooks_run_all(&c->spec->hooks[HOOK_POSTSTART], HOOK_POSTSTART,
                  &(struct hook_context){.id = c->spec->id, .bundle = bundle, .netns = -1,
                                         .pid = pid, .annotations = &c->spec->annotations});
}
static void run_poststop(const struct boot_config *c, const char *bundle)
{
    hooks_run_all(&c->spec->hooks[HOOK_POSTSTOP], HOOK_POSTSTOP,
                  &(struct hook_context){.id = c->spec->id, .bundle = bundle, .netns = -1,
                                         .annotations = &c->spec->annotations});
}

// This process becomes the supervisor. The exit status, with *e.
static int supervise_container(struct boot_config *c, const struct launch_options *o,
                               struct state *state, const char *bundle, struct err *e)
{
    struct launch_options mine = *o;
    struct hook_context h = {.id = c->spec->id, .bundle = bundle, .pid = getpid(), .netns = -1,
                             .annotations = &c->spec->annotations};
    if (c->spec->hooks[HOOK_START_CONTAINER].n &&
        !(c->hook_state = hook_state(HOOK_START_CONTAINER, &h)))
        err_set(e, -ENOMEM, "out of memory");
    if (e->text[0] ||
        (o->detached ? cgroups_enter_supervisor(o, e)
                     : (!o->keep && cgroups_janitor(&mine, e)) || cgroups_attach(o, getpid(), e)) ||
        environment_enter(c->spec, bundle, e)) {
        if (!o->detached && !o->keep)
            state_remove(state);
        return 1;
    }
    return launch_run(c, &mine, state, e);
}

[[noreturn]] static void supervisor_main(struct boot_config *c, const struct launch_options *o,
                                         struct state *state, const char *bundle, int slave)
{
    static struct err e;
    struct ctl_msg m;
    int n = 0, status = 1;
    if (fd_recv(o->notify, &m, sizeof(m), nullptr, &n, 0) != sizeof(m))
        _exit(1); // the command was killed
    if (o->detached || slave >= 0)
        setsid();
    if (!o->detached)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (slave < 0 || console_attach(slave, &e) == 0)
        status = supervise_container(c, o, state, bundle, &e);
    if (e.text[0]) {
        m = (struct ctl_msg){.kind = CTL_FAILED, .value = status};
        memcpy(m.text, e.text, sizeof(m.text));
        // Closed: the container had started, and whoever waits for us sees the status alone.
        if (fd_send(o->notify, &m, sizeof(m), nullptr, 0, MSG_DONTWAIT) < 0 &&
            (o->log_file || !o->detached))
            log_error("%s", e.text);
    }
    _exit(status);
}

// Until the program is loaded, or the reason why it is not.
static int await_start(int notify, pid_t pid, struct err *e)
{
    struct ctl_msg m;
    int n = 0, status = 0;
    long r;
    do
        r = fd_recv(notify, &m, sizeof(m), nullptr, &n, 0);
    while (r == -EINTR);
    if (r == sizeof(m) && m.kind == CTL_STARTED)
        return 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r == sizeof(m) && m.kind == CTL_FAILED) {
        m.text[sizeof(m.text) - 1] = 0;
        err_set(e, -EIO, "%s", m.text);
        return m.value > 0 && m.value < 256 ? m.value : 1;
    }
    return err_set(e, 1, "the supervisor of the container was killed");
}

static int start_detached(struct globals *g, struct boot_config *c, struct state *state,
                          const struct container_args *a, const char *bundle, struct err *e)
{
    struct launch_options o = g->launch;
    int pair[2], slave = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, 1, "socket for the supervisor");
    if (c->spec->process.terminal && (slave = console_open(a->console, &c->spec->process, e)) < 0)
        return 1;
    o.detached = true;
    o.notify = pair[1];
    // By clone3 in its cgroup (v2) from the beginning: moving it there later would cost 10 ms.
    int pidfd = -1;
    pid_t pid = spawn_clone_into(0, o.cgroup ? o.cgroup->outer : -1, &pidfd);
    if (pid < 0)
        return err_errno(e, 1, "supervisor");
    if (pid == 0) {
        close(pair[0]);
        supervisor_main(c, &o, state, bundle, slave);
    }
    close(pair[1]);
    close(pidfd);
    if (slave >= 0)
        close(slave);
    struct ctl_msg go = {.kind = CTL_GO};
    int status = state_write(state, c->spec, bundle, pid, true, e) || cgroups_attach(&o, pid, e);
    if (!status && fd_send(pair[0], &go, sizeof(go), nullptr, 0, 0) < 0)
        status = err_set(e, 1, "the supervisor of the container was killed");
    if (!status)
        status = await_start(pair[0], pid, e);
    if (!status && a->pid_file && pid_file_write(a->pid_file, pid, e))
        status = 1;
    if (status) {
        kill(pid, SIGKILL);
        while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR)
            ;
        cgroups_abandon(g);
        state_remove(state);
        run_poststop(c, bundle);
        return status;
    }
    // From here on it stays without us. An end that is there already is the engine's to see.
    if (fd_send(pair[0], &go, sizeof(go), nullptr, 0, 0) < 0)
        log_debug("the container has ended already");
    close(pair[0]);
    close(state->dir); // the lock is the supervisor's alone: a hook may outlive it
    if (!c->hold)
        run_poststart(c, bundle, pid);
    return 0;
}

// --- in the foreground ------------------------------------------------------------------------------
// A supervisor is confined once the program runs. When hooks are to follow, or the terminal is not
// the caller's own, a child of ours is it, and this process passes signals on and waits. Without a
// relay, keys of the terminal reach the child themselves.
static int stand_by(struct boot_config *c, const char *bundle, pid_t pid, int notify, int sigfd,
                    struct relay *r, bool keep, struct err *e)
{
    int status = 0, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p[3 + RELAY_POLL] = {{.fd = pidfd, .events = POLLIN},
                                       {.fd = notify, .events = POLLIN},
                                       {.fd = sigfd, .events = POLLIN}};
    if (r)
        relay_begin(r);
    while (pidfd >= 0 && !p[0].revents) {
        struct signalfd_siginfo si;
        struct ctl_msg m;
        int n = 0;
        if (r)
            relay_poll(r, p + 3);
        if (poll(p, r ? ARRAY_LEN(p) : 3, -1) < 0)
            continue;
        if (p[2].revents && read(sigfd, &si, sizeof(si)) == sizeof(si)) {
            if (r)
                relay_signal(r, pid, (int)si.ssi_signo);
            else if (si.ssi_code != SI_KERNEL)
                kill(pid, (int)si.ssi_signo);
        }
        if (r)
            relay_step(r, p + 3);
        if (!p[1].revents)
            continue;
        if (fd_recv(notify, &m, sizeof(m), nullptr, &n, MSG_DONTWAIT) != sizeof(m)) {
            p[1].fd = -1;
            continue;
        }
        m.text[sizeof(m.text) - 1] = 0;
        if (m.kind == CTL_STARTED)
            run_poststart(c, bundle, pid);
        else if (m.kind == CTL_FAILED)
            err_set(e, -EIO, "%s", m.text);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r)
        relay_end(r);
    if (!keep)
        run_poststop(c, bundle);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_beside(struct globals *g, struct boot_config *c, struct state *state,
                      const struct container_args *a, const char *bundle, struct relay *r,
                      struct err *e)
{
    struct launch_options o = g->launch;
    sigset_t set;
    int pair[2], sigfd;
    supervise_signal_set(&set);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
        sigprocmask(SIG_BLOCK, &set, nullptr) < 0 ||
        (sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return err_errno(e, 1, "supervisor");
    o.notify = pair[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, 1, "supervisor");
    if (pid == 0) {
        close(pair[0]);
        supervisor_main(c, &o, state, bundle, r ? r->slave : -1);
    }
    close(pair[1]);
    struct ctl_msg go = {.kind = CTL_GO};
    if (state_write(state, c->spec, bundle, pid, a->keep, e) ||
        (a->pid_file && pid_file_write(a->pid_file, pid, e)) ||
        fd_send(pair[0], &go, sizeof(go), nullptr, 0, 0) < 0) {
        kill(pid, SIGKILL);
        cgroups_abandon(g);
        state_remove(state);
        return err_set(e, 1, "the supervisor of the container was killed");
    }
    close(state->dir); // the lock is the child's alone
    return stand_by(c, bundle, pid, pair[0], sigfd, r, a->keep, e);
}

int container_run(struct globals *g, struct container_args *a, int argc, char **argv, int i,
                  struct err *e)
{
    static char bundle[4096];
    static struct state state;
    static struct relay relay;
    if (i + 1 != argc)
        return err_set(e, 1, i < argc ? "unexpected argument %s" : "no container id given%s",
                       i < argc ? argv[i + 1] : "");
    if (state_check_id(argv[i], e))
        return 1;
    if (!realpath(a->bundle ? a->bundle : ".", bundle))
        return err_errno(e, 1, "bundle %s", a->bundle);
    struct boot_config *c = bundle_config(g, argv[i], bundle, e);
    if (!c)
        return 1;
    bool terminal = c->spec->process.terminal;
    if (!a->detach && a->console)
        return err_set(e, 1, "--console-socket: only with create or --detach");
    if (a->detach && terminal && !a->console)
        return err_set(e, 1, "cannot allocate tty if runc will detach without setting console socket");
    if (a->console && !terminal)
        return err_set(e, 1, "cannot use console socket if runc will not detach or allocate tty");
    bool relayed = !a->detach && terminal && relay_wanted();
    if (relayed && relay_open(&relay, &c->spec->process, e))
        return 1;
    c->hold = a->hold;
    g->launch.keep = a->keep;
    c->npreserve = (uint32_t)a->npreserve;
    environment_warn(c->spec);
    if (pod_resolve(c, g->launch.state_root, e))
        return 1;
    if (state_create(&state, g->launch.state_root, c->spec->id, e))
        return 1;
    if (cgroups_setup(g, c, &state, e)) {
        cgroups_abandon(g);
        state_remove(&state);
        return 1;
    }
    if (a->detach)
        return start_detached(g, c, &state, a, bundle, e);
    if (relayed || c->spec->hooks[HOOK_POSTSTART].n || c->spec->hooks[HOOK_POSTSTOP].n)
        return run_beside(g, c, &state, a, bundle, relayed ? &relay : nullptr, e);
    if (state_write(&state, c->spec, bundle, getpid(), a->keep, e) ||
        (a->pid_file && pid_file_write(a->pid_file, getpid(), e))) {
        cgroups_abandon(g);
        state_remove(&state);
        return 1;
    }
    return supervise_container(c, &g->launch, &state, bundle, e);
}
