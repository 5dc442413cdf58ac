// SPDX-License-Identifier: Apache-2.0
// openat2(2) and its RESOLVE flags.
#include "gtfs.h"
#include <linux/openat2.h>
#include <sys/mount.h>

static long o2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    return syscall(SYS_openat2, dir, path, &how, sizeof(how));
}
static int tree(const char *name)
{
    char b[100];
    GT_OK(mkdir(name, 0755));
    int fd = open(name, O_RDONLY | O_DIRECTORY);
    GT_OK(mkdirat(fd, "d", 0755));
    close(openat(fd, "d/f", O_CREAT | O_RDWR, 0644));
    GT_OK(symlinkat("d/f", fd, "rel"));
    GT_OK(symlinkat("../outside", fd, "up"));
    GT_OK(symlinkat("/d/f", fd, "abs"));
    GT_OK(symlinkat("..", fd, "d/back"));
    GT_OK(symlinkat("../..", fd, "d/back2"));
    sprintf(b, "outside-%s", name);
    gtfs_touch("outside");
    GT_OK(symlinkat("/proc/self/exe", fd, "magic"));
    return fd;
}
GT(arguments)
{
    struct open_how how[2] = {{0}};
    GT_ERR(syscall(SYS_openat2, AT_FDCWD, ".", how, 8), EINVAL);
    GT_OK(syscall(SYS_openat2, AT_FDCWD, ".", how, 48));
    how[1].flags = 1;
    GT_ERR(syscall(SYS_openat2, AT_FDCWD, ".", how, 48), E2BIG);
    GT_ERR(syscall(SYS_openat2, AT_FDCWD, ".", (void *)8, 24), EFAULT);
    GT_ERR(o2(AT_FDCWD, ".", 1ull << 40, 0, 0), EINVAL);
    GT_ERR(o2(AT_FDCWD, ".", 0, 0, 0x4000), EINVAL);
    GT_ERR(o2(AT_FDCWD, ".", 0, 0644, 0), EINVAL);
    GT_ERR(o2(AT_FDCWD, "x", O_CREAT | O_RDWR, 0200644, 0), EINVAL);
    GT_ERR(o2(AT_FDCWD, ".", O_PATH | O_RDWR, 0, 0), EINVAL);
    GT_ERR(o2(AT_FDCWD, ".", 0, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT), EINVAL);
    GT_OK(o2(AT_FDCWD, "x", O_CREAT | O_RDWR, 0644, 0));
}
GT(beneath)
{
    int d = tree("be");
    GT_OK(o2(d, "d/f", O_RDONLY, 0, RESOLVE_BENEATH));
    GT_OK(o2(d, "rel", O_RDONLY, 0, RESOLVE_BENEATH));
    GT_OK(o2(d, "d/../d/f", O_RDONLY, 0, RESOLVE_BENEATH));
    GT_OK(o2(d, "d/back/rel", O_RDONLY, 0, RESOLVE_BENEATH));
    GT_OK(o2(d, ".", O_RDONLY, 0, RESOLVE_BENEATH));
    GT_ERR(o2(d, "..", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    GT_ERR(o2(d, "../outside", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    GT_ERR(o2(d, "d/../../outside", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    GT_ERR(o2(d, "up", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    GT_ERR(o2(d, "abs", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    GT_ERR(o2(d, "/", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    GT_ERR(o2(d, "d/back2", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    GT_ERR(o2(d, "nope", O_RDONLY, 0, RESOLVE_BENEATH), ENOENT);
    GT_OK(o2(d, "new", O_RDWR | O_CREAT, 0644, RESOLVE_BENEATH));
    GT_ERR(o2(d, "../new", O_RDWR | O_CREAT, 0644, RESOLVE_BENEATH), EXDEV);
}
GT(in_root)
{
    int d = tree("ir");
    GT_OK(o2(d, "/d/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    GT_OK(o2(d, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT));
    GT_OK(o2(d, "../../../d/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    GT_OK(o2(d, "d/back2/d/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    GT_ERR(o2(d, "up", O_RDONLY, 0, RESOLVE_IN_ROOT), ENOENT);
    GT_ERR(o2(d, "/proc", O_RDONLY, 0, RESOLVE_IN_ROOT), ENOENT);
    struct stat a, b;
    long fd = o2(d, "/", O_RDONLY, 0, RESOLVE_IN_ROOT);
    GT_OK(fstat((int)fd, &a));
    GT_OK(fstat(d, &b));
    GT_EQ(a.st_ino, b.st_ino);
}
GT(no_symlinks)
{
    int d = tree("ns");
    GT_OK(o2(d, "d/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
    GT_ERR(o2(d, "rel", O_RDONLY, 0, RESOLVE_NO_SYMLINKS), ELOOP);
    GT_ERR(o2(d, "d/back/d/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS), ELOOP);
    GT_OK(o2(d, "rel", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS));
}
GT(no_magiclinks)
{
    int d = tree("nm");
    GT_OK(o2(d, "rel", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
    GT_ERR(o2(d, "magic", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS), ELOOP);
    GT_OK(o2(d, "magic", O_RDONLY, 0, 0));
    GT_ERR(o2(AT_FDCWD, "/proc/self/cwd", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS), ELOOP);
    GT_OK(o2(AT_FDCWD, "/proc/self/status", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
}
GT(no_xdev)
{
    int d = open("/", O_RDONLY | O_DIRECTORY);
    GT_ERR(o2(d, "proc/self/status", O_RDONLY, 0, RESOLVE_NO_XDEV), EXDEV);
    GT_ERR(o2(d, "proc", O_RDONLY, 0, RESOLVE_NO_XDEV), EXDEV);
    int p = open("/proc", O_RDONLY | O_DIRECTORY);
    GT_OK(o2(p, "self/status", O_RDONLY, 0, RESOLVE_NO_XDEV));
    GT_ERR(o2(p, "..", O_RDONLY, 0, RESOLVE_NO_XDEV), EXDEV);
    GT_ERR(o2(p, "self/root", O_RDONLY, 0, RESOLVE_NO_XDEV), EXDEV);
    GT_OK(o2(p, "/proc", O_RDONLY, 0, 0));
}
// A directory is moved out while "..", inside it, is resolved: never a file outside.
GT(beneath_race)
{
    GT_OK(mkdir("br", 0755));
    GT_OK(mkdir("br/jail", 0755));
    GT_OK(mkdir("br/jail/a", 0755));
    GT_OK(mkdir("br/jail/a/b", 0755));
    gtfs_touch("br/secret");
    int jail = open("br/jail", O_RDONLY | O_DIRECTORY);
    pid_t c = fork();
    if (!c) {
        for (int i = 0; i < 5000; i++) {
            rename("br/jail/a", "br/a");
            rename("br/a", "br/jail/a");
        }
        _exit(0);
    }
    int st;
    while (waitpid(c, &st, WNOHANG) == 0) {
        long fd = o2(jail, "a/b/../../secret", O_RDONLY, 0, RESOLVE_BENEATH);
        GT_TRUE(fd < 0 && (errno == ENOENT || errno == EXDEV || errno == EAGAIN));
    }
}
GT_MAIN
