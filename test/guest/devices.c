// SPDX-License-Identifier: Apache-2.0
// Memory devices and the layout of /dev: null(4), full(4), random(4), and nodes made by mknod(2).
#include "gt.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

// Volatile: the compiler would see that nothing is there.
static void *volatile nothing = NULL, *volatile nowhere = (void *)16;

static void check_node(const char *path, unsigned major_nr, unsigned minor_nr)
{
    struct stat st;
    GT_OK(stat(path, &st));
    GT_TRUE(S_ISCHR(st.st_mode));
    GT_EQ(st.st_rdev, makedev(major_nr, minor_nr));
    GT_EQ(st.st_size, 0);
    GT_EQ(st.st_mode & 0666, 0666);
}
GT(nodes_exist)
{
    check_node("/dev/null", 1, 3);
    check_node("/dev/zero", 1, 5);
    check_node("/dev/full", 1, 7);
    check_node("/dev/random", 1, 8);
    check_node("/dev/urandom", 1, 9);
    check_node("/dev/tty", 5, 0);
    struct stat st;
    GT_OK(stat("/dev/pts", &st));
    GT_TRUE(S_ISDIR(st.st_mode));
    GT_OK(stat("/dev/shm", &st));
    GT_EQ(st.st_mode, S_IFDIR | 01777);
    char l[64];
    ssize_t n = GT_OK(readlink("/dev/fd", l, sizeof(l) - 1));
    l[n] = 0;
    GT_STR(l, "/proc/self/fd");
    n = GT_OK(readlink("/dev/stdin", l, sizeof(l) - 1));
    l[n] = 0;
    GT_STR(l, "/proc/self/fd/0");
    int p[2];
    GT_OK(pipe(p));
    char path[32];
    snprintf(path, sizeof(path), "/dev/fd/%d", p[1]);
    int fd = GT_OK(open(path, O_WRONLY));
    GT_EQ(write(fd, "x", 1), 1);
}

GT(null_device)
{
    char b[16] = "abc";
    int fd = GT_OK(open("/dev/null", O_RDWR | O_TRUNC | O_CREAT, 0600));
    GT_EQ(read(fd, b, sizeof(b)), 0);
    GT_EQ(b[0], 'a');
    GT_EQ(write(fd, b, 10), 10);
    GT_EQ(pwrite(fd, b, 10, 1 << 20), 10);
    GT_EQ(lseek(fd, 100, SEEK_SET), 0);
    GT_EQ(lseek(fd, 100, SEEK_END), 0);
    GT_ERR(ftruncate(fd, 0), EINVAL);
    GT_ERR(fsync(fd), EINVAL);
    GT_ERR(ioctl(fd, TIOCGWINSZ, b), ENOTTY);
    GT_TRUE(!isatty(fd));
    struct pollfd pf = {fd, POLLIN | POLLOUT, 0};
    GT_EQ(poll(&pf, 1, 0), 1);
    GT_EQ(pf.revents, POLLIN | POLLOUT);
    GT_TRUE(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == ENODEV);
    GT_EQ(write(fd, nothing, 100), 100); // never looks at the bytes
}

GT(zero_device)
{
    char b[5000];
    int fd = GT_OK(open("/dev/zero", O_RDWR));
    memset(b, 7, sizeof(b));
    GT_EQ(read(fd, b, sizeof(b)), sizeof(b));
    for (size_t i = 0; i < sizeof(b); i++)
        GT_EQ(b[i], 0);
    GT_EQ(write(fd, b, sizeof(b)), sizeof(b));
    struct iovec v[2] = {{b, 3}, {b + 100, 4000}};
    GT_EQ(readv(fd, v, 2), 4003);
    GT_ERR(read(fd, nowhere, 10), EFAULT);
    char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    GT_TRUE(m != MAP_FAILED);
    GT_EQ(m[0] + m[8191], 0);
    m[1] = 1;
    // Shared: memory between relatives, not the device.
    int *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_TRUE(s != MAP_FAILED);
    pid_t pid = GT_OK(fork());
    if (pid == 0) {
        *s = 42;
        _exit(0);
    }
    GT_EQ(waitpid(pid, NULL, 0), pid);
    GT_EQ(*s, 42);
    int *t = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_EQ(*t, 0);
}

GT(full_device)
{
    char b[10] = {1};
    int fd = GT_OK(open("/dev/full", O_RDWR));
    GT_EQ(read(fd, b, 10), 10);
    GT_EQ(b[0], 0);
    GT_ERR(write(fd, b, 1), ENOSPC);
    GT_EQ(lseek(fd, 5, SEEK_SET), 0);
}

GT(random_devices)
{
    static const char *const names[] = {"/dev/random", "/dev/urandom"};
    for (int i = 0; i < 2; i++) {
        unsigned char a[64] = {0}, b[64] = {0};
        int fd = GT_OK(open(names[i], O_RDWR));
        GT_EQ(read(fd, a, sizeof(a)), sizeof(a));
        GT_EQ(read(fd, b, sizeof(b)), sizeof(b));
        GT_TRUE(memcmp(a, b, sizeof(a)) != 0);
        GT_EQ(write(fd, "seed", 4), 4);
        static char big[300000];
        GT_EQ(read(fd, big, sizeof(big)), sizeof(big));
        GT_ERR(read(fd, nowhere, 10), EFAULT);
        int entropy = -1;
        GT_OK(ioctl(fd, 0x80045200 /* RNDGETENTCNT */, &entropy));
        GT_TRUE(entropy > 0);
        close(fd);
    }
}

GT(mknod_anywhere)
{
    if (geteuid() != 0)
        GT_SKIP("needs root");
    char dirs[2][32] = {"/tmp/gt_devXXXXXX", "/dev/shm/gt_devXXXXXX"}, path[96], *dir = NULL;
    for (int i = 0; i < 2 && !dir; i++) {
        GT_TRUE(mkdtemp(dirs[i]));
        snprintf(path, sizeof(path), "%s/zero", dirs[i]);
        if (mknod(path, S_IFCHR | 0600, makedev(1, 5)) == 0)
            dir = dirs[i];
        else
            rmdir(dirs[i]);
    }
    if (!dir)
        GT_SKIP("no right to mknod");
    int fd = open(path, O_RDONLY), err = errno;
    char b[4] = {1, 1, 1, 1};
    if (fd >= 0) {
        GT_EQ(read(fd, b, 4), 4);
        GT_EQ(b[0] | b[3], 0);
    } else {
        GT_EQ(err, EACCES); // a nodev mount
    }
    struct stat st;
    GT_OK(stat(path, &st));
    GT_EQ(st.st_rdev, makedev(1, 5));
    unlink(path);
    // A number that nobody drives.
    GT_OK(mknod(path, S_IFCHR | 0600, makedev(250, 77)));
    GT_TRUE(open(path, O_RDONLY) < 0 && (errno == ENXIO || errno == EACCES));
    int op = GT_OK(open(path, O_PATH)); // names it without opening
    GT_OK(fstat(op, &st));
    unlink(path);
    rmdir(dir);
}

GT(tty_without_terminal)
{
    pid_t pid = GT_OK(fork());
    if (pid == 0) {
        GT_OK(setsid());
        GT_ERR(open("/dev/tty", O_RDWR), ENXIO);
        _exit(0);
    }
    int st;
    GT_EQ(waitpid(pid, &st, 0), pid);
    GT_EQ(st, 0);
}

GT_MAIN
