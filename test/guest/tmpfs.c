// SPDX-License-Identifier: Apache-2.0
// tmpfs: limits and options of mounts, memfd and seals, mapped files, many files at once.
#include "gtfs.h"
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statfs.h>

static void mount_or_skip(const char *at, const char *options)
{
    GT_OK(mkdir(at, 0755));
    if (mount("none", at, "tmpfs", 0, options))
        GT_SKIP("cannot mount");
}
GT(size_limit)
{
    static char b[65536];
    struct statfs sf;
    mount_or_skip("sz", "size=128k");
    int fd = open("sz/f", O_CREAT | O_RDWR, 0644);
    GT_OK(statfs("sz", &sf));
    GT_EQ(sf.f_type, 0x01021994);
    GT_EQ(sf.f_blocks * (unsigned long)sf.f_bsize, 131072);
    GT_EQ(write(fd, b, 65536), 65536);
    GT_OK(fstatfs(fd, &sf));
    GT_EQ(sf.f_bfree * (unsigned long)sf.f_bsize, 65536);
    GT_EQ(write(fd, b, 65536), 65536);
    GT_ERR(write(fd, b, 1), ENOSPC);
    GT_ERR(fallocate(fd, 0, 131072, 4096), ENOSPC);
    GT_OK(ftruncate(fd, 1 << 20)); // a hole costs nothing
    GT_ERR(pwrite(fd, b, 1, 1 << 19), ENOSPC);
    GT_OK(ftruncate(fd, 0));
    GT_EQ(pwrite(fd, b, 65536, 0), 65536);
    GT_OK(unlink("sz/f"));
    GT_OK(statfs("sz", &sf));
    GT_EQ(sf.f_bfree * (unsigned long)sf.f_bsize, 65536); // still open
    close(fd);
    GT_OK(statfs("sz", &sf));
    GT_EQ(sf.f_bfree, sf.f_blocks);
    // The last part that fits is written.
    fd = open("sz/g", O_CREAT | O_RDWR, 0644);
    GT_EQ(pwrite(fd, b, 65536, 90112), 65536);
    GT_EQ(pwrite(fd, b, 65536, 0), 65536);
    GT_ERR(pwrite(fd, b, 4096, 400000), ENOSPC);
    GT_OK(umount2("sz", MNT_DETACH));
}
GT(options)
{
    struct stat st;
    mount_or_skip("op", "mode=1750,uid=12,gid=34,nr_inodes=4");
    GT_OK(stat("op", &st));
    GT_EQ(st.st_mode, S_IFDIR | 01750);
    GT_EQ(st.st_uid, 12);
    GT_EQ(st.st_gid, 34);
    gtfs_touch("op/1");
    gtfs_touch("op/2");
    gtfs_touch("op/3");
    GT_ERR(open("op/4", O_CREAT | O_RDWR, 0644), ENOSPC);
    GT_ERR(mkdir("op/4", 0755), ENOSPC);
    GT_OK(unlink("op/1"));
    GT_OK(mkdir("op/4", 0755));
    GT_OK(umount("op"));
    GT_ERR(mount("none", "op", "tmpfs", 0, "size=abc"), EINVAL);
    GT_ERR(mount("none", "op", "tmpfs", 0, "nonsense=1"), EINVAL);
    GT_ERR(mount("none", "op", "no-such-fs", 0, NULL), ENODEV);
    GT_ERR(mount("none", "opn", "tmpfs", 0, NULL), ENOENT);
    gtfs_touch("opf");
    GT_ERR(mount("none", "opf", "tmpfs", 0, NULL), ENOTDIR);
}
GT(default_root_mode)
{
    struct stat st;
    mount_or_skip("dm", NULL);
    GT_OK(stat("dm", &st));
    GT_EQ(st.st_mode, S_IFDIR | 01777);
    GT_OK(umount("dm"));
}
GT(nodev_noexec_nosuid)
{
    GT_OK(mkdir("nd", 0755));
    if (mount("none", "nd", "tmpfs", MS_NODEV | MS_NOEXEC, NULL))
        GT_SKIP("cannot mount");
    if (mknod("nd/null", S_IFCHR | 0666, 0x103) == 0)
        GT_ERR(open("nd/null", O_RDWR), EACCES);
    close(gtfs_file("nd/sh", "#!/bin/true\n"));
    GT_OK(chmod("nd/sh", 0755));
    char *argv[] = {"sh", 0};
    GT_ERR(execv("nd/sh", argv), EACCES);
    GT_ERR(access("nd/sh", X_OK), EACCES);
    int fd = open("nd/sh", O_RDONLY);
    GT_TRUE(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EPERM);
    close(fd);
    GT_OK(umount2("nd", MNT_DETACH));
}
GT(mmap_then_io)
{
    char b[16];
    int fd = gtfs_file("mm", "before the mapping");
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_TRUE(p != MAP_FAILED);
    GT_EQ(memcmp(p, "before", 6), 0);
    GT_EQ(p[18], 0);
    memcpy(p, "mapped", 6);
    GT_EQ(pread(fd, b, 6, 0), 6);
    GT_EQ(memcmp(b, "mapped", 6), 0);
    GT_EQ(pwrite(fd, "written", 7, 0), 7);
    GT_EQ(memcmp(p, "written", 7), 0);
    GT_OK(ftruncate(fd, 8192));
    p[5000] = 'z';
    GT_EQ(pread(fd, b, 1, 5000), 1);
    GT_EQ(b[0], 'z');
    char *q = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    GT_TRUE(q != MAP_FAILED);
    q[0] = 'P';
    GT_EQ(p[0], 'w');
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 8192);
    GT_OK(ftruncate(fd, 100));
    GT_OK(ftruncate(fd, 8192));
    GT_EQ(p[5000], 0);
    GT_OK(unlink("mm"));
    GT_EQ(close(fd), 0);
    GT_EQ(p[0], 'w'); // the mapping keeps it
    int r = gtfs_file("mr", "x");
    close(r);
    r = open("mr", O_RDONLY);
    GT_TRUE(mmap(NULL, 1, PROT_WRITE, MAP_SHARED, r, 0) == MAP_FAILED && errno == EACCES);
    int w = open("mr", O_WRONLY);
    GT_TRUE(mmap(NULL, 1, PROT_READ, MAP_PRIVATE, w, 0) == MAP_FAILED && errno == EACCES);
    int d = open(".", O_RDONLY);
    GT_TRUE(mmap(NULL, 1, PROT_READ, MAP_PRIVATE, d, 0) == MAP_FAILED && errno == ENODEV);
}
GT(mmap_shared_between_processes)
{
    int fd = open("ms", O_CREAT | O_RDWR, 0644);
    GT_OK(ftruncate(fd, 4096));
    volatile int *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pid_t c = fork();
    if (!c) {
        int mine = open("ms", O_RDWR);
        volatile int *q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mine, 0);
        q[3] = 77;
        _exit(0);
    }
    GT_OK(waitpid(c, NULL, 0));
    GT_EQ(p[3], 77);
}
GT(memfd)
{
    char link[64], text[64];
    struct stat st;
    int fd = memfd_create("hello", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    GT_OK(fd);
    GT_EQ(write(fd, "12345", 5), 5);
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 5);
    GT_TRUE(S_ISREG(st.st_mode));
    GT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    sprintf(link, "/proc/self/fd/%d", fd);
    long n = readlink(link, text, sizeof(text) - 1);
    GT_OK(n);
    text[n] = 0;
    GT_STR(text, "/memfd:hello (deleted)");
    int ro = open(link, O_RDONLY);
    GT_OK(ro);
    GT_EQ(read(ro, text, 8), 5);
    GT_ERR(memfd_create("x", 0x8000000), EINVAL);
    char big[300];
    memset(big, 'a', 299);
    big[299] = 0;
    GT_ERR(memfd_create(big, 0), EINVAL);
}
GT(seals)
{
    char b[8];
    int fd = memfd_create("s", MFD_ALLOW_SEALING);
    GT_EQ(write(fd, "12345678", 8), 8);
    GT_EQ(fcntl(fd, F_GET_SEALS), 0);
    GT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    GT_ERR(ftruncate(fd, 4), EPERM);
    GT_OK(ftruncate(fd, 16));
    GT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    GT_ERR(ftruncate(fd, 32), EPERM);
    GT_ERR(pwrite(fd, "x", 1, 16), EPERM);
    GT_ERR(fallocate(fd, 0, 0, 64), EPERM);
    GT_EQ(pwrite(fd, "x", 1, 15), 1);
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    GT_OK(munmap(p, 4096));
    GT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    GT_ERR(pwrite(fd, "x", 1, 0), EPERM);
    GT_ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4), EPERM);
    GT_TRUE(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EPERM);
    p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    GT_TRUE(p != MAP_FAILED);
    GT_TRUE(mprotect(p, 4096, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
    GT_TRUE(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
    GT_EQ(pread(fd, b, 8, 0), 8);
    GT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    GT_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
    GT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    int un = memfd_create("u", 0);
    GT_EQ(fcntl(un, F_GET_SEALS), F_SEAL_SEAL);
    GT_ERR(fcntl(un, F_ADD_SEALS, F_SEAL_GROW), EPERM);
    int fw = memfd_create("fw", MFD_ALLOW_SEALING);
    GT_ERR(fcntl(fw, F_ADD_SEALS, 0x1000), EINVAL);
    GT_OK(ftruncate(fw, 4096));
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fw, 0);
    GT_OK(fcntl(fw, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    *(char *)p = 1; // the old mapping may still write
    GT_ERR(pwrite(fw, "x", 1, 0), EPERM);
    int fd2 = open(".", O_RDONLY);
    GT_ERR(fcntl(fd2, F_GET_SEALS), EINVAL);
}
GT(atime_relatime)
{
    struct stat a, b;
    char c;
    int fd = gtfs_file("at", "x");
    GT_OK(fstat(fd, &a));
    usleep(20000);
    GT_EQ(pread(fd, &c, 1, 0), 1);
    GT_OK(fstat(fd, &b));
    GT_TRUE(b.st_atim.tv_sec > a.st_atim.tv_sec || b.st_atim.tv_nsec > a.st_atim.tv_nsec);
    usleep(20000);
    GT_EQ(pread(fd, &c, 1, 0), 1); // newer than mtime already: stays
    GT_OK(fstat(fd, &a));
    GT_EQ(a.st_atim.tv_nsec, b.st_atim.tv_nsec);
}
GT(concurrent_create)
{
    GT_OK(mkdir("cc", 0755));
    for (int p = 0; p < 4; p++)
        if (!fork()) {
            char n[64];
            for (int i = 0; i < 500; i++) {
                sprintf(n, "cc/%d", i); // all want the same names
                int fd = open(n, O_CREAT | O_EXCL | O_RDWR, 0644);
                if (fd < 0 && errno != EEXIST)
                    _exit(1);
                if (fd >= 0) {
                    sprintf(n, "cc/own-%d-%d", p, i);
                    close(open(n, O_CREAT | O_EXCL | O_RDWR, 0644));
                    close(fd);
                }
            }
            _exit(0);
        }
    int st, n = 0;
    while (wait(&st) > 0)
        GT_EQ(st, 0);
    DIR *d = opendir("cc");
    while (readdir(d))
        n++;
    GT_EQ(n, 1002);
}
GT(mountinfo_shows)
{
    char line[1024], want[300];
    mount_or_skip("mi x", "size=64k,mode=700");
    snprintf(want, sizeof(want), "%s/mi\\040x", gtfs_path);
    FILE *f = fopen("/proc/self/mountinfo", "r");
    int found = 0;
    while (f && fgets(line, sizeof(line), f))
        if (strstr(line, want)) {
            GT_TRUE(strstr(line, " - tmpfs none rw"));
            GT_TRUE(strstr(line, "size=64k"));
            GT_TRUE(strstr(line, "mode=700"));
            found++;
        }
    GT_EQ(found, 1);
    GT_OK(umount("mi x"));
}
GT(move_mount)
{
    mount_or_skip("mv1", NULL);
    GT_OK(mkdir("mv2", 0755));
    gtfs_touch("mv1/f");
    if (mount("mv1", "mv2", NULL, MS_MOVE, NULL) && errno == EINVAL)
        GT_SKIP("parent mount is shared");
    GT_TRUE(!gtfs_exists("mv1/f"));
    GT_TRUE(gtfs_exists("mv2/f"));
    GT_OK(mkdir("mv2/in", 0755));
    GT_ERR(mount("mv2", "mv2/in", NULL, MS_MOVE, NULL), ELOOP);
    GT_OK(umount("mv2"));
}
GT(recursive_bind)
{
    mount_or_skip("rb1", NULL);
    GT_OK(mkdir("rb1/sub", 0755));
    GT_OK(mount("none", "rb1/sub", "tmpfs", 0, NULL));
    gtfs_touch("rb1/sub/f");
    GT_OK(mkdir("rb2", 0755));
    GT_OK(mount("rb1", "rb2", NULL, MS_BIND, NULL));
    GT_TRUE(!gtfs_exists("rb2/sub/f"));
    GT_OK(umount("rb2"));
    GT_OK(mount("rb1", "rb2", NULL, MS_BIND | MS_REC, NULL));
    GT_TRUE(gtfs_exists("rb2/sub/f"));
    GT_OK(umount2("rb2", MNT_DETACH));
    gtfs_touch("rbf");
    GT_OK(mount("rb1/sub/f", "rbf", NULL, MS_BIND, NULL)); // a file on a file
    GT_ERR(mount("rb1/sub/f", "rb2", NULL, MS_BIND, NULL), ENOTDIR);
    GT_ERR(unlink("rbf"), EBUSY);
    GT_OK(umount("rbf"));
    GT_OK(umount2("rb1", MNT_DETACH));
}
GT_MAIN
