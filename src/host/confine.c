// SPDX-License-Identifier: Apache-2.0
// Giving up descriptors, root, capabilities: see confine.h. Raw mount calls (fsopen family) are used
// because libc has wrappers only since 2.36 and errors come back as -errno.
#include "host/confine.h"
#include "host/raw.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

constexpr unsigned long MNT_DETACH_FLAG = 2;
constexpr int FD_FLOOR = 100; // descriptors are parked above this while they are placed
constexpr int FD_TABLE_MAX = 64;

int confine_place_fds(const int *fds, int n)
{
    int parked[FD_TABLE_MAX];
    if (n < 0 || n > FD_TABLE_MAX)
        return -EINVAL;
    for (int i = 0; i < n; i++) {
        long r = fds[i] < 0 ? -1 : host_call(__NR_fcntl, fds[i], F_DUPFD_CLOEXEC, FD_FLOOR);
        if (fds[i] >= 0 && r < 0)
            return (int)r;
        parked[i] = (int)r;
    }
    long null = host_call(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
    if (null < 0)
        return (int)null;
    for (int i = 0; i < 3; i++) {
        long r = null == i ? host_call(__NR_fcntl, i, F_SETFD, 0)
                           : host_call(__NR_dup2, null, i);
        if (r < 0)
            return (int)r;
    }
    for (int i = 0; i < n; i++) {
        if (parked[i] < 0) {
            host_call(__NR_close, 3 + i);
            continue;
        }
        long r = host_call(__NR_dup2, parked[i], 3 + i);
        if (r < 0)
            return (int)r;
    }
    return (int)host_call(__NR_close_range, 3 + n, ~0u, CLOSE_RANGE_CLOEXEC);
}

int confine_check_fds(uint64_t want, int n)
{
    long r = host_call(__NR_close_range, n, ~0u, 0);
    if (r < 0)
        return (int)r;
    for (int i = 0; i < n; i++) {
        bool open = host_call(__NR_fcntl, i, F_GETFD) >= 0;
        if (open != (want >> i & 1))
            return -EBADF;
        if (open && host_call(__NR_fcntl, i, F_SETFD, FD_CLOEXEC) < 0)
            return -EBADF;
    }
    return 0;
}

int confine_caps(uint64_t keep)
{
    constexpr unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                   SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                   SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    for (int cap = 0; cap < 64; cap++) {
        long have = host_call(__NR_prctl, PR_CAPBSET_READ, cap, 0, 0, 0);
        if (have < 0)
            break; // past the last one that this kernel knows
        if (have && !(keep >> cap & 1)) {
            long r = host_call(__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
            if (r < 0)
                return (int)r;
        }
    }
    long r = host_call(__NR_prctl, PR_SET_SECUREBITS, bits, 0, 0, 0);
    if (r < 0)
        return (int)r;
    r = host_call(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (r < 0)
        return (int)r;
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2] = {
        {.effective = (uint32_t)keep, .permitted = (uint32_t)keep},
        {.effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32)},
    };
    return (int)host_call(__NR_capset, &h, d);
}

int confine_no_new_privs(void)
{
    return (int)host_call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
int confine_die_with_parent(void)
{
    return (int)host_call(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}
int confine_not_dumpable(void)
{
    return (int)host_call(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int confine_rlimits(uint64_t nofile)
{
    struct rlimit64 core = {1, 1}, files;
    long r = host_call(__NR_prlimit64, 0, RLIMIT_CORE, &core, 0);
    if (r < 0)
        return (int)r;
    r = host_call(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, &files);
    if (r < 0)
        return (int)r;
    if (nofile == 0 || nofile > files.rlim_max)
        nofile = files.rlim_max;
    files = (struct rlimit64){nofile, nofile};
    return (int)host_call(__NR_prlimit64, 0, RLIMIT_NOFILE, &files, 0);
}

// A tmpfs superblock of at most `size` bytes, mounted nowhere.
static int tmpfs_detached(const char *size, unsigned attrs)
{
    long fs = host_call(__NR_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0)
        return (int)fs;
    long r = host_call(__NR_fsconfig, fs, FSCONFIG_SET_STRING, "size", size, 0);
    if (r >= 0)
        r = host_call(__NR_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0700", 0);
    if (r >= 0)
        r = host_call(__NR_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0);
    if (r >= 0)
        r = host_call(__NR_fsmount, fs, FSMOUNT_CLOEXEC, attrs);
    host_call(__NR_close, fs);
    return (int)r;
}

int confine_private_tmpfs(uint64_t size, int *dirfd)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
    int fd = tmpfs_detached(text, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (fd < 0)
        return fd;
    *dirfd = fd;
    return 0;
}

int confine_private_mounts(void)
{
    struct mount_attr priv = {.propagation = 1 << 18 /* MS_PRIVATE */};
    return (int)host_call(__NR_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &priv, sizeof(priv));
}

int confine_empty_mount(int *dirfd)
{
    int fd = tmpfs_detached("4096", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                        MOUNT_ATTR_NOEXEC);
    if (fd < 0)
        return fd;
    *dirfd = fd;
    return 0;
}

int confine_attach_root(int dirfd)
{
    return (int)host_call(__NR_move_mount, dirfd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH);
}

int confine_pivot(int dirfd, bool readonly)
{
    struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};
    long r = host_call(__NR_fchdir, dirfd);
    if (r >= 0)
        r = host_call(__NR_pivot_root, ".", ".");
    if (r >= 0)
        r = host_call(__NR_umount2, ".", MNT_DETACH_FLAG);
    if (r >= 0)
        r = host_call(__NR_chdir, "/");
    if (r >= 0 && readonly)
        r = host_call(__NR_mount_setattr, AT_FDCWD, "/", 0, &ro, sizeof(ro));
    return (int)r;
}

int confine_empty_root(void)
{
    int fd, err = confine_private_mounts();
    if (err || (err = confine_empty_mount(&fd)))
        return err;
    err = confine_attach_root(fd);
    if (!err)
        err = confine_pivot(fd, false);
    host_call(__NR_close, fd);
    return err;
}
