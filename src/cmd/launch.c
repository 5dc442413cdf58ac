// SPDX-License-Identifier: Apache-2.0
// Starts the processes of a sandbox. Everything that the children need is made here, while we still
// are what the user started: sockets, the sealed configuration, ids, descriptors. Then this process
// becomes the supervisor (cmd/supervise.c).
#include "cmd/launch.h"
#include "cmd/ids.h"
#include "cmd/cgroups.h"
#include "cmd/container.h"
#include "cmd/environment.h"
#include "cmd/supervise.h"
#include "base/slab.h"
#include "host/confine.h"
#include "host/fdpass.h"
#include "host/raw.h"
#include "host/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct child {
    const char *name;         // "boot", "gofer"
    uint64_t namespaces;
    bool map_ids;
    bool map_ranges;          // by the configuration's maps: ids of the container's user namespace
    uid_t uid;                // host ids behind 0 in its user namespace
    gid_t gid;
    int fds[BOOT_FD_END - 3]; // by enum boot_fd - 3; -1 absent
    int control[2];           // ours, theirs
    pid_t pid;
    int pidfd;
};
struct launch {
    struct boot_config *cfg;
    const struct launch_options *o;
    int exe;
    bool privileged;
    struct child sentry, gofer;
    int *trees; // with a mapped Gofer: what it serves, by root
};

static int sealed_config(struct boot_config *cfg, struct err *e)
{
    struct wire w = {.writing = true};
    wire_boot_config(&w, cfg);
    if (w.bad) {
        strbuf_free(&w.out);
        return err_set(e, -ENOMEM, "configuration: out of memory");
    }
    int fd = memfd_create("config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err = fd < 0 ? -errno : 0;
    for (size_t done = 0; !err && done < w.out.len;) {
        ssize_t r = write(fd, w.out.p + done, w.out.len - done);
        if (r < 0)
            err = -errno;
        else
            done += (size_t)r;
    }
    strbuf_free(&w.out);
    if (!err && fcntl(fd, F_ADD_SEALS,
                      F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        err = -errno;
    if (err) {
        if (fd >= 0)
            close(fd);
        return err_errno(e, err, "configuration: memory file");
    }
    return fd;
}

// The log of one process: DIR/ID.NAME, --log's file, or our standard error.
static int open_log(const struct launch *l, const char *name, struct err *e)
{
    char path[4096];
    const char *file = l->o->log_file;
    if (l->o->debug_log_dir) {
        if ((size_t)snprintf(path, sizeof(path), "%s/%s.%s.log", l->o->debug_log_dir,
                             l->cfg->spec->id, name) >= sizeof(path))
            return err_set(e, -ENAMETOOLONG, "--debug-log: name too long");
        file = path;
    }
    int fd = file ? open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600)
                  : fcntl(2, F_DUPFD_CLOEXEC, 10);
    if (fd < 0)
        return err_errno(e, -errno, "log file %s", file ? file : "(standard error)");
    return fd;
}

// Between clone and exec. Single-threaded copy of the parent: reports go over the control socket.
[[noreturn]] static void child_main(const struct launch *l, struct child *c)
{
    struct ctl_msg go;
    const char *step = "start";
    int n = 0;
    sigset_t none;
    sigemptyset(&none);
    close(c->control[0]);
    long r = fd_recv(c->control[1], &go, sizeof(go), nullptr, &n, 0);
    if (r != sizeof(go) || go.kind != CTL_GO)
        _exit(1);
    int err = 0;
    for (int s = 1; s < NSIG; s++) // handlers are reset by exec, ignored signals are not
        signal(s, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    prctl(PR_SET_PDEATHSIG, SIGKILL); // again after exec, which may clear it
    setsid(); // signals of the caller's terminal are the supervisor's to forward
    umask(0);
    if (l->o->cgroup) { // the supervisor is in all but the freezer's, if it is in any
        step = "cgroup";
        err = cgroup_enter(l->o->cgroup, !l->o->detached, true);
    }
    if (!err && c->map_ids) {
        step = "change of ids";
        if ((l->privileged && setgroups(0, nullptr) < 0) || setresgid(0, 0, 0) < 0 ||
            setresuid(0, 0, 0) < 0)
            err = -errno;
    }
    if (!err) {
        step = "descriptors";
        int fds[BOOT_FD_END - 3];
        memcpy(fds, c->fds, sizeof(fds));
        fds[0] = c->control[1];
        err = confine_place_fds(fds, BOOT_FD_END - 3);
    }
    const char *const argv[] = {"nacre", c->name, nullptr};
    if (!err) {
        step = "exec of our own binary";
        err = spawn_exec(l->exe, argv);
    }
    // The control socket may have moved to its place.
    struct ctl_msg m = {.kind = CTL_FAILED, .value = 1};
    snprintf(m.text, sizeof(m.text), "start of nacre %s: %s: %s", c->name, step, strerror(-err));
    bool moved = strcmp(step, "change of ids") != 0 && strcmp(step, "cgroup") != 0;
    if (fd_send(moved ? BOOT_FD_CONTROL : c->control[1], &m, sizeof(m), nullptr, 0, 0) < 0)
        _exit(2);
    _exit(1);
}

static int spawn_child(struct launch *l, struct child *c, struct err *e)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, c->control) < 0)
        return err_errno(e, -errno, "control socket");
    c->pid = spawn_clone_into(c->namespaces, l->o->cgroup ? l->o->cgroup->inner : -1, &c->pidfd);
    if (c->pid == 0)
        child_main(l, c);
    close(c->control[1]);
    if (c->pid < 0)
        return err_errno(e, c->pid, "start of nacre %s in namespaces of its own%s", c->name,
                         userns_hint(l->privileged));
    static_assert(sizeof(struct spec_id_map) == sizeof(uint32_t[3]));
    const struct spec *s = l->cfg->spec;
    int err = c->map_ranges ? spawn_map_ranges(c->pid, (const uint32_t(*)[3])s->uid_maps.v,
                                               s->uid_maps.n, (const uint32_t(*)[3])s->gid_maps.v,
                                               s->gid_maps.n)
              : c->map_ids ? spawn_map_ids(c->pid, c->uid, c->gid, !l->privileged) : 0;
    if (err)
        return err_errno(e, err, "id map of nacre %s%s", c->name, userns_hint(l->privileged));
    struct ctl_msg go = {.kind = CTL_GO};
    long r = fd_send(c->control[0], &go, sizeof(go), nullptr, 0, 0);
    return r < 0 ? err_errno(e, (int)r, "nacre %s", c->name) : 0;
}

// Which of the caller's 0-2 are open; closed ones are filled so that nothing of ours lands there.
static int guest_stdio(int out[3], struct err *e)
{
    for (int i = 0; i < 3; i++) {
        out[i] = -1;
        if (fcntl(i, F_GETFD) < 0)
            continue;
        out[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        if (out[i] < 0)
            return err_errno(e, -errno, "standard stream %d", i);
    }
    for (int i = 0; i < 3; i++)
        if (out[i] < 0 && open("/dev/null", O_RDWR | O_NOCTTY) != i)
            return err_set(e, -EBADF, "standard stream %d: /dev/null does not open", i);
    return 0;
}

// A reader of the container's output sees its end when the container closes it: ours goes.
static int drop_stdio(int last, struct err *e)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (null < 0)
        return err_errno(e, -errno, "/dev/null");
    for (int i = 0; i <= last; i++)
        if (dup2(null, i) < 0)
            return err_errno(e, -errno, "/dev/null");
    close(null);
    return 0;
}

// The sandbox has taken the container: its processes' origin goes into its cgroups, and on with it.
static int place_zygote(struct launch *l, int state_root, struct err *e)
{
    struct ctl_msg m, go = {.kind = CTL_GO};
    int fd = l->sentry.control[0], none = 0;
    long r;
    while ((r = fd_recv(fd, &m, sizeof(m), nullptr, &none, 0)) == -EINTR)
        ;
    m.text[sizeof(m.text) - 1] = 0;
    if (r == sizeof(m) && m.kind == CTL_FAILED)
        return err_set(e, -EIO, "%s", m.text);
    if (r != sizeof(m) || m.kind != CTL_ZYGOTE)
        return err_set(e, -EIO, "sandbox %s: not running", l->cfg->sandbox);
    int err = pod_place_zygote(l->cfg, l->o, state_root, m.value, e);
    if (err)
        return err;
    r = fd_send(fd, &go, sizeof(go), nullptr, 0, 0);
    return r < 0 ? err_errno(e, (int)r, "sandbox %s", l->cfg->sandbox) : 0;
}

// The request to the supervisor of the sandbox. What it sends on is copied: ours stay.
static int join_sandbox(struct launch *l, const struct state *state, const int stdio[3],
                        struct err *e)
{
    struct child *c = &l->sentry;
    struct ctl_msg m = {.kind = CTL_JOIN};
    int fds[6 + PRESERVE_MAX], n = 0, none = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, c->control) < 0)
        return err_errno(e, -errno, "control socket");
    fds[n++] = c->control[1];
    fds[n++] = c->fds[BOOT_FD_CONFIG - 3];
    fds[n++] = c->fds[BOOT_FD_NINEP - 3];
    for (int i = 0; i < 3; i++)
        if (stdio[i] >= 0) {
            fds[n++] = stdio[i];
            m.value |= 1 << i;
        }
    for (int i = 0; i < (int)l->cfg->npreserve; i++)
        fds[n++] = 3 + i;
    int sock = state_connect(state->root, l->cfg->sandbox, nullptr, e);
    if (sock < 0)
        return err_set(e, sock, "sandbox %s: not running", l->cfg->sandbox);
    long r = fd_send(sock, &m, sizeof(m), fds, n, 0);
    while (r >= 0 && (r = fd_recv(sock, &m, sizeof(m), nullptr, &none, 0)) == -EINTR)
        ;
    close(sock);
    close(c->control[1]);
    if (r != sizeof(m) || m.kind != CTL_REPLY)
        return err_set(e, -EIO, "sandbox %s: not running", l->cfg->sandbox);
    m.text[sizeof(m.text) - 1] = 0;
    if (m.value)
        return err_set(e, -EIO, "sandbox %s: %s", l->cfg->sandbox, m.text);
    return l->cfg->own_cgroup ? place_zygote(l, state->root, e) : 0;
}

// Whoever is root only in the container's user namespace cannot reach sources below directories that
// are closed to others: detached copies are made here, by names without links, and go to the Gofer.
static int copy_trees(struct launch *l, struct err *e)
{
    static char real[PATH_MAX];
    if (!(l->trees = mem_alloc_array(l->cfg->nroots, sizeof(*l->trees))))
        return err_set(e, -ENOMEM, "out of memory");
    for (size_t i = 0; i < l->cfg->nroots; i++) {
        struct boot_root *r = &l->cfg->roots[i];
        char *copy = realpath(r->path, real) ? mem_strdup(real) : nullptr;
        if (!copy)
            return err_errno(e, -errno, "%s", r->path);
        mem_free(r->path);
        r->path = copy;
        l->trees[i] = (int)host_call(__NR_open_tree, AT_FDCWD, copy,
                                  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (l->trees[i] < 0)
            return err_errno(e, l->trees[i], "%s: copy of the mount", copy);
    }
    return 0;
}
static int send_trees(struct launch *l, struct err *e)
{
    struct ctl_msg m = {.kind = CTL_FDS};
    for (size_t i = 0; i < l->cfg->nroots; i += TREES_AT_ONCE) {
        size_t n = MIN(l->cfg->nroots - i, TREES_AT_ONCE);
        long r = fd_send(l->gofer.control[0], &m, sizeof(m), l->trees + i, (int)n, 0);
        if (r < 0)
            return err_errno(e, (int)r, "mounts for the file server");
        for (size_t k = 0; k < n; k++)
            close(l->trees[i + k]);
    }
    return 0;
}

static int spawn_gofer(struct launch *l, struct err *e)
{
    int err = spawn_child(l, &l->gofer, e);
    return err || !l->cfg->mapped ? err : send_trees(l, e);
}

static int prepare(struct launch *l, int stdio[3], struct err *e)
{
    int ninep[2], err = l->cfg->mapped ? copy_trees(l, e) : 0;
    if (err)
        return err;
    int exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (exe < 0)
        return err_errno(e, -errno, "/proc/self/exe");
    l->exe = fcntl(exe, F_DUPFD_CLOEXEC, BOOT_FD_END); // out of the way of the children's fixed ones
    close(exe);
    if (l->exe < 0)
        return err_errno(e, -errno, "/proc/self/exe");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ninep) < 0)
        return err_errno(e, -errno, "socket between Sentry and Gofer");
    int config = sealed_config(l->cfg, e);
    if (config < 0)
        return config;
    int sentry_log = l->cfg->sandbox ? -1 : open_log(l, "boot", e);
    int gofer_log = open_log(l, "gofer", e);
    if ((sentry_log < 0 && !l->cfg->sandbox) || gofer_log < 0)
        return -EIO;
    l->sentry.fds[BOOT_FD_CONFIG - 3] = l->gofer.fds[BOOT_FD_CONFIG - 3] = config;
    l->sentry.fds[BOOT_FD_LOG - 3] = sentry_log;
    l->gofer.fds[BOOT_FD_LOG - 3] = gofer_log;
    l->sentry.fds[BOOT_FD_NINEP - 3] = ninep[0];
    l->gofer.fds[BOOT_FD_NINEP - 3] = ninep[1];
    for (int i = 0; i < 3; i++) {
        l->sentry.fds[BOOT_FD_STDIN - 3 + i] = stdio[i];
        l->gofer.fds[BOOT_FD_STDIN - 3 + i] = -1;
        l->gofer.fds[BOOT_FD_MEMORY_USAGE - 3 + i] = -1;
    }
    cgroups_open_figures(l->o, l->cfg, &l->sentry.fds[BOOT_FD_MEMORY_USAGE - 3]);
    return 0;
}

// Two ids for one sandbox (Sentry and stubs; Gofer), the number held by a record lock on a file that
// all nacre commands share, so that it becomes free when we die, however we die.
static int allocate_ids(struct launch *l, const struct host_ids *ids, struct err *e)
{
    const char *dir = default_state_root();
    char file[4200];
    snprintf(file, sizeof(file), "%s/.ids", dir);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_errno(e, -errno, "%s", dir);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, -errno, "%s", file);
    uint32_t start = (uint32_t)getpid() % ids->pairs; // spreads the ids of successive sandboxes
    for (uint32_t i = 0; i < ids->pairs; i++) {
        uint32_t slot = (start + i) % ids->pairs;
        struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
        if (fcntl(fd, F_OFD_SETLK, &fl) == 0) {
            l->sentry.uid = l->sentry.gid = ids->base + 2 * slot;
            l->cfg->gofer_uid = l->cfg->gofer_gid = ids->base + 2 * slot + 1;
            return fd; // stays open as long as this process lives
        }
    }
    close(fd);
    return err_set(e, -EAGAIN, "%s: all ids for sandboxes are in use", file);
}

// Gofer and Sentry hold a descriptor for each file in use: as many as the host lets root have.
static void raise_file_limit(void)
{
    constexpr rlim_t want = 1 << 18;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < want) {
        files.rlim_max = want;
        setrlimit(RLIMIT_NOFILE, &files); // best effort: a small limit makes it slower only
    }
}

// The host's OOM killer is to take the guest's processes, not what they live on: those who may set
// it do so for themselves and what they start; the Sentry gives its stubs what the configuration says.
static void protect_from_oom(struct boot_config *c)
{
    constexpr int32_t protected = -998, most = 1000, apart = 500;
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    int32_t inherited = n > 0 ? atoi(text) : 0;
    c->oom_own = protected;
    c->oom_stubs = c->spec->process.has_oom_score_adj ? c->spec->process.oom_score_adj : inherited;
    snprintf(text, sizeof(text), "%d", protected);
    if (n > 0 && pwrite(fd, text, strlen(text), 0) < 0) { // not allowed: then the others go up
        c->oom_own = inherited;
        c->oom_stubs = MIN(MAX(c->oom_stubs, inherited) + apart, most);
    }
    if (fd >= 0)
        close(fd);
}

static void choose_namespaces(struct launch *l)
{
    constexpr uint64_t common =
        CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    l->sentry.namespaces = common | CLONE_NEWUSER | CLONE_NEWTIME;
    l->sentry.map_ids = true;
    // Root's Gofer works on files of any owner: ids as on the host, and four capabilities.
    l->gofer.namespaces = common | (l->privileged ? 0 : CLONE_NEWUSER);
    l->gofer.map_ids = !l->privileged;
    // Its own user namespace: files are of the host's ids that stand for the container's.
    const struct spec_namespace *user = spec_namespace(l->cfg->spec, CLONE_NEWUSER);
    if (l->privileged && user && !user->path && l->cfg->spec->uid_maps.n &&
        l->cfg->spec->gid_maps.n) {
        l->gofer.namespaces |= CLONE_NEWUSER;
        l->gofer.map_ids = l->gofer.map_ranges = l->cfg->mapped = true;
    }
    if (!l->privileged) {
        l->sentry.uid = l->gofer.uid = geteuid();
        l->sentry.gid = l->gofer.gid = getegid();
    }
}

static int send_preserved(struct launch *l, struct err *e)
{
    struct ctl_msg m = {.kind = CTL_FDS};
    int fds[PRESERVE_MAX], n = (int)l->cfg->npreserve;
    for (int i = 0; i < n; i++)
        fds[i] = 3 + i;
    if (n == 0)
        return 0;
    // To a sandbox that is joined they went with the request.
    long r = l->cfg->sandbox ? 0 : fd_send(l->sentry.control[0], &m, sizeof(m), fds, n, 0);
    for (int i = 0; i < n; i++)
        close(fds[i]);
    return r < 0 ? err_errno(e, (int)r, "--preserve-fds") : 0;
}

int launch_run(struct boot_config *cfg, const struct launch_options *o, struct state *state,
               struct err *e)
{
    struct host_ids ids = host_ids_look();
    struct launch l = {
        .cfg = cfg, .o = o, .privileged = geteuid() == 0 && ids.pairs, .exe = -1,
        .sentry = {.name = "boot", .pid = -1, .pidfd = -1, .control = {-1, -1}},
        .gofer = {.name = "gofer", .pid = -1, .pidfd = -1, .control = {-1, -1}},
    };
    int stdio[3];
    int err = guest_stdio(stdio, e);
    cfg->privileged = l.privileged;
    cfg->own_cgroup = cfg->sandbox && o->cgroup;
    choose_namespaces(&l);
    if (!err && l.privileged) {
        raise_file_limit();
        err = allocate_ids(&l, &ids, e);
        err = MIN(err, 0);
    }
    if (!err)
        protect_from_oom(cfg);
    if (!err && o->detached)
        err = drop_stdio(2, e);
    if (!err)
        err = prepare(&l, stdio, e);
    struct supervisor s = {
        .state = state, .debug = o->debug, .detached = o->detached, .hold = cfg->hold,
        .keep = o->keep, .notify = o->notify, .uid = geteuid(), .member = cfg->sandbox,
        .janitor = o->janitor, .janitor_fd = o->janitor_fd,
    };
    if (!err)
        err = supervise_signals(&s, e); // blocked before the children exist: none is lost
    if (!err)
        err = spawn_gofer(&l, e);
    if (!err)
        err = cfg->sandbox ? join_sandbox(&l, state, stdio, e) : spawn_child(&l, &l.sentry, e);
    if (!err)
        err = send_preserved(&l, e);
    if (l.gofer.pid > 0)
        s.gofer = (struct supervised){l.gofer.pid, l.gofer.pidfd, l.gofer.control[0]};
    if (cfg->sandbox)
        s.sentry = (struct supervised){0, -1, l.sentry.control[0]};
    if (l.sentry.pid > 0)
        s.sentry = (struct supervised){l.sentry.pid, l.sentry.pidfd, l.sentry.control[0]};
    if (err) {
        supervise_abort(&s);
        return 1;
    }
    for (int i = 0; i < BOOT_FD_END - 3; i++) {
        if (l.sentry.fds[i] >= 0)
            close(l.sentry.fds[i]);
        if (l.gofer.fds[i] >= 0 && l.gofer.fds[i] != l.sentry.fds[i])
            close(l.gofer.fds[i]);
    }
    close(l.exe);
    if (drop_stdio(1, e) || (state && environment_leave_host(cfg->roots[0].path, e))) {
        supervise_abort(&s);
        return 1;
    }
    return supervise_run(&s, e);
}
