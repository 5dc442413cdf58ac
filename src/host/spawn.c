// SPDX-License-Identifier: Apache-2.0
// clone3, id maps, exec by descriptor: see spawn.h.
#include "host/spawn.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

pid_t spawn_clone_into(uint64_t flags, int cgroup, int *pidfd)
{
    struct clone_args a = {
        .flags = flags | CLONE_PIDFD | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
    };
    return (pid_t)host_call(__NR_clone3, &a, sizeof(a));
}
pid_t spawn_clone(uint64_t flags, int *pidfd)
{
    return spawn_clone_into(flags, -1, pidfd);
}

static int proc_write(pid_t pid, const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    long fd = host_call(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return (int)fd;
    long r = host_call(__NR_write, fd, text, strlen(text));
    host_call(__NR_close, fd);
    return r < 0 ? (int)r : 0;
}

int spawn_map_ids(pid_t pid, uid_t uid, gid_t gid, bool deny_setgroups)
{
    char text[48];
    snprintf(text, sizeof(text), "0 %u 1\n", uid);
    int err = proc_write(pid, "uid_map", text);
    if (err)
        return err;
    if (deny_setgroups && (err = proc_write(pid, "setgroups", "deny")) != 0)
        return err;
    snprintf(text, sizeof(text), "0 %u 1\n", gid);
    return proc_write(pid, "gid_map", text);
}

static int write_map(pid_t pid, const char *name, const uint32_t (*v)[3], size_t n)
{
    char text[4000]; // the kernel takes less than a page
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        int k = snprintf(text + len, sizeof(text) - len, "%u %u %u\n", v[i][0], v[i][1], v[i][2]);
        if (k < 0 || (size_t)k >= sizeof(text) - len)
            return -E2BIG;
        len += (size_t)k;
    }
    return proc_write(pid, name, text);
}
int spawn_map_ranges(pid_t pid, const uint32_t (*uids)[3], size_t nuids, const uint32_t (*gids)[3],
                     size_t ngids)
{
    int err = write_map(pid, "uid_map", uids, nuids);
    return err ? err : write_map(pid, "gid_map", gids, ngids);
}

int spawn_exec(int exefd, const char *const *argv)
{
    static const char *const none[] = {nullptr};
    return (int)host_call(__NR_execveat, exefd, "", argv, none, AT_EMPTY_PATH);
}
