// SPDX-License-Identifier: Apache-2.0
// Namespaces and first hooks of a container, see environment.h. Runs in the supervisor before it is
// confined, with the rights of the command.
#include "cmd/environment.h"
#include "host/confine.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

void environment_warn(const struct spec *s)
{
    for (size_t i = 0; i < s->process.warnings.n; i++)
        log_warn("%s", s->process.warnings.v[i]);
    for (size_t i = 0; i < s->ndevices; i++) {
        const struct spec_device *d = &s->devices[i];
        if (!device_known(d))
            log_warn("linux.devices[%zu]: %s (%c %u:%u) is left out: a sandbox has no such device", i,
                     d->path, d->type == S_IFBLK ? 'b' : 'c', d->major, d->minor);
    }
    for (size_t i = 0; i < s->nmounts; i++) {
        const struct spec_mount *m = &s->mounts[i];
        if (m->dev_mode && !mount_device_known(m))
            log_warn("mounts[%zu]: %s at %s is left out: a sandbox has no such device", i, m->source,
                     m->dest);
    }
    if (s->mount_label && s->mount_label[0])
        log_warn("linux.mountLabel: %s is not applied: there are no such labels inside",
                 s->mount_label);
}

// A path may be anything: it must be a namespace of that type before it is joined.
static int join_network(const char *path, struct err *e)
{
    struct statfs fs;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_errno(e, -errno, "linux.namespaces: network namespace %s", path);
    int err = 0;
    if (fstatfs(fd, &fs) < 0 || fs.f_type != NSFS_MAGIC)
        err = err_set(e, -EINVAL, "linux.namespaces: %s is not a namespace", path);
    else if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
        err = err_set(e, -EINVAL, "linux.namespaces: %s is not a network namespace", path);
    else if (setns(fd, CLONE_NEWNET) < 0)
        err = err_errno(e, -errno, "linux.namespaces: joining %s", path);
    close(fd);
    return err;
}

// Engines expect lo of a new namespace to be up.
static void loopback_up(void)
{
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return;
    if (ioctl(sock, SIOCSIFFLAGS, &r) < 0)
        log_info("lo of the network namespace: %s", strerror(errno));
    close(sock);
}

static int enter_network(const struct spec *s, struct err *e)
{
    const struct spec_namespace *n = spec_namespace(s, CLONE_NEWNET);
    if (!n)
        return 0;
    if (n->path)
        return join_network(n->path, e);
    if (unshare(CLONE_NEWNET) < 0) {
        bool hooks = false;
        for (int i = 0; i < HOOK_KINDS; i++)
            hooks |= s->hooks[i].n > 0;
        // The sandbox has none anyway. Hooks, though, must not take the host's for the container's.
        if (errno == EPERM && !hooks)
            return 0;
        return err_errno(e, -errno, "linux.namespaces: new network namespace");
    }
    loopback_up();
    return 0;
}

// Mounts that a createContainer hook makes below the root are the container's, and go with it.
static int enter_mounts(struct err *e)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("", "/", nullptr, MS_REC | MS_SLAVE, nullptr) < 0)
        return err_errno(e, -errno, "linux.namespaces: mounts for the createContainer hooks");
    return 0;
}

int environment_enter(const struct spec *s, const char *bundle, struct err *e)
{
    bool host_hooks = s->hooks[HOOK_PRESTART].n || s->hooks[HOOK_CREATE_RUNTIME].n;
    bool own_hooks = s->hooks[HOOK_CREATE_CONTAINER].n;
    struct hook_context h = {.id = s->id, .bundle = bundle, .pid = getpid(),
                             .annotations = &s->annotations, .netns = -1};
    if (host_hooks && (h.netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
        return err_errno(e, -errno, "/proc/self/ns/net");
    int err = enter_network(s, e);
    if (!err)
        err = hooks_run(&s->hooks[HOOK_PRESTART], HOOK_PRESTART, &h, e);
    if (!err)
        err = hooks_run(&s->hooks[HOOK_CREATE_RUNTIME], HOOK_CREATE_RUNTIME, &h, e);
    if (h.netns >= 0)
        close(h.netns);
    h.netns = -1;
    if (!err && own_hooks)
        err = enter_mounts(e);
    return err ? err : hooks_run(&s->hooks[HOOK_CREATE_CONTAINER], HOOK_CREATE_CONTAINER, &h, e);
}

int environment_leave_host(const char *root, struct err *e)
{
    if (unshare(CLONE_NEWNS) < 0)
        return errno == EPERM ? 0 : err_errno(e, -errno, "mount namespace of the supervisor");
    int err = confine_private_mounts();
    long fd = err ? err : host_call(__NR_open_tree, AT_FDCWD, root, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd == -EINVAL) // one below it may not be uncovered (a user namespace's)
        fd = host_call(__NR_open_tree, AT_FDCWD, root,
                       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (fd < 0)
        return err_errno(e, (int)fd, "root.path: %s: copy of the mount", root);
    err = confine_attach_root((int)fd);
    if (!err)
        err = confine_pivot((int)fd, false);
    close((int)fd);
    return err ? err_errno(e, err, "root.path: %s: as root of the supervisor", root) : 0;
}
