// SPDX-License-Identifier: Apache-2.0
// Pods: several containers in one sandbox, as containerd's and CRI-O's annotations ask for. The first
// container, "sandbox", is made like any other; each further one names it and joins. What a
// configuration says of namespaces then means those inside the sandbox: a path is of another
// container of the pod (its process, as the engine knows it), none is the sandbox's own.
//
// The network is the sandbox's for all; mounts are each container's own; user and cgroup namespaces
// are not separate inside a sandbox.
#include "base/slab.h"
#include "cmd/client.h"
#include "cmd/cgroups.h"
#include "cmd/container.h"
#include "cmd/hostpid.h"
#include "host/raw.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char *annotation(const struct spec_kvs *l, const char *containerd, const char *crio)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i].key, containerd) == 0 || strcmp(l->v[i].key, crio) == 0)
            return l->v[i].value;
    return nullptr;
}
static const char *type_of(const struct spec_kvs *l)
{
    return annotation(l, "io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType");
}
const char *pod_sandbox(const struct spec_kvs *l)
{
    const char *type = type_of(l);
    // podman calls each of its containers "container"; those that are in no pod name no sandbox.
    return type && strcmp(type, "container") == 0
               ? annotation(l, "io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID")
               : nullptr;
}

static const struct {
    uint32_t type;
    const char *name;
} kinds[] = {
    {CLONE_NEWPID, "pid"}, {CLONE_NEWIPC, "ipc"}, {CLONE_NEWUTS, "uts"}, {CLONE_NEWNET, "network"},
    {CLONE_NEWNS, "mount"}, {CLONE_NEWUSER, "user"}, {CLONE_NEWCGROUP, "cgroup"},
    {CLONE_NEWTIME, "time"},
};

// A container that joins nobody. A network namespace by path is accepted: with --network=none
// nothing of it is used. CRI-O makes uts and ipc namespaces for a pod, to hold them: ours are made
// with the sandbox, and its containers share those. Without a uts namespace of its own a container
// sees the host's names (and changes its own copy); processes and IPC objects of the host it cannot
// see: refused, where the configuration lists namespaces at all.
static int refuse_paths(const struct spec *s, struct err *e)
{
    const char *type = type_of(&s->annotations);
    bool pod = type && strcmp(type, "sandbox") == 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct spec_namespace *n = spec_namespace(s, kinds[i].type);
        bool held = pod && (kinds[i].type == CLONE_NEWUTS || kinds[i].type == CLONE_NEWIPC);
        bool seen = kinds[i].type == CLONE_NEWPID || kinds[i].type == CLONE_NEWIPC;
        if (!n && seen && s->nnamespaces)
            return err_set(e, -EINVAL, "linux.namespaces: sharing the host's %s namespace is not supported",
                           kinds[i].name);
        if (n && n->path && kinds[i].type != CLONE_NEWNET && !held)
            return err_set(e, -EINVAL, "linux.namespaces: joining a %s namespace (%s) is not supported",
                           kinds[i].name, n->path);
    }
    return 0;
}

static int host_names(struct spec *s, struct err *e)
{
    struct utsname u;
    if (!s->nnamespaces || spec_namespace(s, CLONE_NEWUTS) || uname(&u) < 0)
        return 0;
    if ((!s->hostname && !(s->hostname = mem_strdup(u.nodename))) ||
        (!s->domainname && !(s->domainname = mem_strdup(u.domainname))))
        return err_set(e, -ENOMEM, "out of memory");
    return 0;
}

// PID of "/proc/PID/ns/NAME", or 0.
static pid_t pid_of_path(const char *path)
{
    char *end;
    if (strncmp(path, "/proc/", 6) != 0 || path[6] < '1' || path[6] > '9')
        return 0;
    long pid = strtol(path + 6, &end, 10);
    return strncmp(end, "/ns/", 4) == 0 && pid < 1 << 22 ? (pid_t)pid : 0;
}

// The container of this pod that pid stands for, as a copy of its id; null: none.
static char *container_by_pid(int root, const char *sandbox, pid_t pid)
{
    char *found = nullptr;
    int again = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); // fdopendir takes it over
    DIR *d = again >= 0 ? fdopendir(again) : nullptr;
    if (!d && again >= 0)
        close(again);
    for (struct dirent *ent; d && !found && (ent = readdir(d)) != nullptr;) {
        struct state_info info;
        struct err ignored = {}; // gone meanwhile
        if (ent->d_name[0] == '.' || state_read(root, ent->d_name, &info, &ignored))
            continue;
        const char *in = pod_sandbox(&info.annotations);
        if (info.alive && info.pid == pid && strcmp(in ? in : info.id, sandbox) == 0)
            found = mem_strdup(info.id);
        state_info_free(&info);
    }
    if (d)
        closedir(d);
    return found;
}

static int find_owner(const struct boot_config *c, int root, uint32_t type, const char *name,
                      char **out, struct err *e)
{
    const struct spec_namespace *n = spec_namespace(c->spec, type);
    if (n && !n->path)
        return 0; // its own
    pid_t pid = n ? pid_of_path(n->path) : 0;
    // Not there, or a file that holds the pod's namespace: the sandbox's.
    *out = pid ? container_by_pid(root, c->sandbox, pid) : mem_strdup(c->sandbox);
    if (*out)
        return 0;
    return err_set(e, -EINVAL, "linux.namespaces: %s: %s is of no container of sandbox %s", name,
                   n ? n->path : "(none)", c->sandbox);
}

int pod_resolve(struct boot_config *c, const char *state_root, struct err *e)
{
    const char *id = pod_sandbox(&c->spec->annotations);
    struct state_info info;
    if (!id || strcmp(id, c->spec->id) == 0)
        return refuse_paths(c->spec, e) || host_names(c->spec, e);
    if (!(c->sandbox = mem_strdup(id)))
        return err_set(e, -ENOMEM, "out of memory");
    int root = state_open_root(state_root, e);
    if (root < 0)
        return root;
    int err = state_read(root, id, &info, e);
    if (!err && !info.alive)
        err = err_set(e, -ESRCH, "it is not running");
    if (err)
        err_prefix(e, "sandbox %.255s: ", id);
    else
        state_info_free(&info);
    if (!err)
        err = find_owner(c, root, CLONE_NEWPID, "pid", &c->pid_of, e);
    if (!err)
        err = find_owner(c, root, CLONE_NEWUTS, "uts", &c->uts_of, e);
    if (!err)
        err = find_owner(c, root, CLONE_NEWIPC, "ipc", &c->ipc_of, e);
    close(root);
    return err;
}

// --- limits of a member ---------------------------------------------------------------------------
// The host's OOM killer looks among the member's own processes: as the configuration has it.
static void set_oom_score(pid_t pid, int32_t score)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
    FILE *f = fopen(path, "we");
    if (f) { // where it is not allowed it stays the sandbox's
        fprintf(f, "%d", score);
        fclose(f);
    }
}

// The Sentry holds it still meanwhile; one that does not, and has it die, is not to have us move whoever
// gets its number: what is written is between two looks at a pidfd that say that it lives.
static int place(const struct boot_config *c, const struct launch_options *o, pid_t pid,
                 pid_t supervisor, int inner)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return -ESRCH;
    int err = host_process_is(pid, supervisor, inner) ? 0 : -ESRCH;
    if (!err)
        err = (int)host_call(__NR_pidfd_send_signal, fd, 0, 0, 0);
    if (!err) {
        set_oom_score(pid, c->oom_stubs);
        err = cgroup_place(o->cgroup, pid);
    }
    if (!err || err == -EPERM || err == -EACCES) {
        int gone = (int)host_call(__NR_pidfd_send_signal, fd, 0, 0, 0);
        err = gone == -ESRCH ? gone : err;
    }
    close(fd);
    return err;
}
int pod_place_zygote(const struct boot_config *c, const struct launch_options *o, int state_root,
                     int inner, struct err *e)
{
    struct state_info info;
    struct host_processes all = {};
    int err = state_read(state_root, c->sandbox, &info, e);
    if (err)
        return err;
    pid_t supervisor = info.pid;
    state_info_free(&info);
    err = host_processes_read(&all);
    pid_t pid = err ? 0 : host_process_inside(&all, supervisor, inner);
    host_processes_free(&all);
    err = pid ? place(c, o, pid, supervisor, inner) : -ESRCH;
    if (err == -ESRCH)
        return err_set(e, err, "sandbox %s: no process %d in it", c->sandbox, inner);
    // Without privilege moving may be forbidden; then only limits that were asked for are missed.
    if (err && (geteuid() == 0 || resources_any(&c->spec->resources)))
        return err_errno(e, err, "cgroup: the container's processes cannot enter it");
    return 0;
}
