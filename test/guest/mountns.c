// SPDX-License-Identifier: Apache-2.0
// Mount namespaces and pivot_root, as container runtimes use them. Root only.
#include "gtfs.h"
#include <sched.h>
#include <sys/mount.h>

static void own_namespace(void)
{
    if (unshare(CLONE_NEWNS))
        GT_SKIP("cannot unshare");
    GT_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}
static int pivot(const char *n, const char *o)
{
    return (int)syscall(SYS_pivot_root, n, o);
}
GT(private_mounts)
{
    GT_OK(mkdir("pm", 0755));
    pid_t c = fork();
    if (!c) {
        own_namespace();
        GT_OK(mount("none", "pm", "tmpfs", 0, NULL));
        gtfs_touch("pm/inside");
        _exit(0);
    }
    int st;
    GT_OK(waitpid(c, &st, 0));
    if (WEXITSTATUS(st) == 77)
        GT_SKIP("cannot unshare");
    GT_EQ(st, 0);
    GT_TRUE(!gtfs_exists("pm/inside"));
    GT_OK(rmdir("pm"));
}
GT(clone_newns)
{
    own_namespace();
    GT_OK(mkdir("cn", 0755));
    GT_OK(mount("none", "cn", "tmpfs", 0, NULL));
    gtfs_touch("cn/f");
    GT_OK(chdir("cn")); // the current directory comes along
    long c = syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
    GT_OK(c);
    if (!c) {
        GT_OK(chdir(".."));
        GT_OK(umount("cn"));
        GT_TRUE(!gtfs_exists("cn/f"));
        _exit(0);
    }
    int st;
    GT_OK(waitpid((pid_t)c, &st, 0));
    GT_EQ(st, 0);
    GT_TRUE(gtfs_exists("f"));
    char a[64], b[64];
    GT_OK(readlink("/proc/self/ns/mnt", a, sizeof(a)));
    GT_OK(unshare(CLONE_NEWNS));
    GT_OK(readlink("/proc/self/ns/mnt", b, sizeof(b)));
    GT_TRUE(memcmp(a, b, 16) != 0);
}
GT(pivot)
{
    char buf[512];
    own_namespace();
    GT_OK(mkdir("nr", 0755));
    GT_OK(mount("none", "nr", "tmpfs", 0, NULL));
    GT_OK(mkdir("nr/old", 0755));
    close(gtfs_file("nr/here", "new root"));
    GT_ERR(pivot("nr", "nope"), ENOENT);
    GT_OK(chdir("nr"));
    GT_OK(pivot(".", "old"));
    GT_OK(chdir("/"));
    gtfs_is("/here", "new root");
    GT_TRUE(gtfs_exists("/old/proc"));
    GT_OK(syscall(SYS_getcwd, buf, sizeof(buf)));
    GT_STR(buf, "/");
    GT_OK(umount2("/old", MNT_DETACH));
    GT_OK(rmdir("/old"));
    gtfs_is("/../here", "new root");
}
GT(pivot_dot_dot) // as runc does it: no directory for the old root
{
    own_namespace();
    GT_OK(mkdir("nd", 0755));
    GT_OK(mount("none", "nd", "tmpfs", 0, NULL));
    close(gtfs_file("nd/here", "x"));
    int old = open("/", O_DIRECTORY | O_RDONLY), new = open("nd", O_DIRECTORY | O_RDONLY);
    GT_OK(fchdir(new));
    GT_OK(pivot(".", "."));
    GT_OK(fchdir(old));
    GT_OK(mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL));
    GT_OK(umount2(".", MNT_DETACH));
    GT_OK(chdir("/"));
    gtfs_is("/here", "x");
}
GT(pivot_takes_others_along)
{
    int p[2], q[2];
    char c;
    own_namespace();
    GT_OK(pipe(p));
    GT_OK(pipe(q));
    GT_OK(mkdir("to", 0755));
    GT_OK(mount("none", "to", "tmpfs", 0, NULL));
    GT_OK(mkdir("to/old", 0755));
    close(gtfs_file("to/here", "x"));
    pid_t k = fork();
    if (!k) {
        GT_OK(chdir("/"));
        GT_EQ(write(q[1], "x", 1), 1);
        GT_EQ(read(p[0], &c, 1), 1);
        gtfs_is("/here", "x");
        gtfs_is("here", "x");
        _exit(0);
    }
    GT_EQ(read(q[0], &c, 1), 1);
    GT_OK(pivot("to", "to/old"));
    GT_EQ(write(p[1], "x", 1), 1);
    int st;
    GT_OK(waitpid(k, &st, 0));
    GT_EQ(st, 0);
}
GT(shared_propagation)
{
    own_namespace();
    GT_OK(mkdir("s", 0755));
    GT_OK(mkdir("t", 0755));
    GT_OK(mount("none", "s", "tmpfs", 0, NULL));
    GT_OK(mount(NULL, "s", NULL, MS_SHARED, NULL));
    GT_OK(mkdir("s/m", 0755));
    GT_OK(mount("s", "t", NULL, MS_BIND, NULL));
    GT_OK(mount("none", "s/m", "tmpfs", 0, NULL));
    gtfs_touch("s/m/f");
    GT_TRUE(gtfs_exists("t/m/f"));
    GT_OK(umount("t/m"));
    GT_TRUE(!gtfs_exists("s/m/f"));
    GT_OK(mount(NULL, "t", NULL, MS_SLAVE, NULL));
    GT_OK(mount("none", "t/m", "tmpfs", 0, NULL));
    gtfs_touch("t/m/g");
    GT_TRUE(!gtfs_exists("s/m/g"));
    GT_OK(umount("t/m"));
    GT_OK(mount("none", "s/m", "tmpfs", 0, NULL));
    gtfs_touch("s/m/h");
    GT_TRUE(gtfs_exists("t/m/h"));
    GT_OK(mount(NULL, "s/m", NULL, MS_UNBINDABLE, NULL));
    GT_OK(mkdir("u", 0755));
    GT_ERR(mount("s/m", "u", NULL, MS_BIND, NULL), EINVAL);
    GT_ERR(mount(NULL, "s", NULL, MS_SHARED | MS_PRIVATE, NULL), EINVAL);
}
GT(bind_of_itself_read_only)
{
    own_namespace();
    GT_OK(mkdir("ro", 0755));
    gtfs_touch("ro/f");
    GT_OK(mount("ro", "ro", NULL, MS_BIND, NULL));
    GT_OK(mount("ro", "ro", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID, NULL));
    GT_ERR(open("ro/f", O_RDWR), EROFS);
    struct statx x;
    GT_OK(statx(AT_FDCWD, "ro", 0, STATX_BASIC_STATS, &x));
    GT_TRUE(x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT);
    GT_TRUE(x.stx_attributes & STATX_ATTR_MOUNT_ROOT);
    GT_OK(statx(AT_FDCWD, "ro/f", 0, STATX_BASIC_STATS, &x));
    GT_TRUE(!(x.stx_attributes & STATX_ATTR_MOUNT_ROOT));
    GT_OK(umount("ro"));
    GT_OK(open("ro/f", O_RDWR));
}
GT(needs_privilege)
{
    gtfs_be_nobody();
    GT_ERR(mount("none", "/tmp", "tmpfs", 0, NULL), EPERM);
    GT_ERR(umount("/proc"), EPERM);
    GT_ERR(pivot("/", "/"), EPERM);
    GT_ERR(unshare(CLONE_NEWNS), EPERM);
    GT_ERR(chroot("/"), EPERM);
}
GT_MAIN
