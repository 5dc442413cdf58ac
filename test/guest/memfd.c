// SPDX-License-Identifier: Apache-2.0
// memfd_create, its seals, and mapping, executing and passing it on.
#include "gt.h"
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sendfile.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16
#endif
static int mfd(unsigned flags)
{
    return GT_OK(memfd_create("gt", flags));
}

GT(memfd_basics)
{
    int fd = mfd(MFD_CLOEXEC);
    GT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    GT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
    struct stat st;
    GT_OK(fstat(fd, &st));
    GT_EQ(st.st_size, 0);
    GT_TRUE(S_ISREG(st.st_mode));
    GT_EQ(write(fd, "hello", 5), 5);
    GT_OK(ftruncate(fd, 10000));
    char *p = mmap(0, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_TRUE(p != MAP_FAILED);
    GT_EQ(memcmp(p, "hello", 6), 0);
    p[9999] = 'x';
    char c;
    GT_EQ(pread(fd, &c, 1, 9999), 1);
    GT_EQ(c, 'x');
    char link[64], path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = GT_OK(readlink(path, link, sizeof(link) - 1));
    link[n] = 0;
    GT_STR(link, "/memfd:gt (deleted)");
}
GT(memfd_errors)
{
    GT_ERR(memfd_create("x", 0x40000000), EINVAL);
    GT_ERR(syscall(SYS_memfd_create, (char *)8, 0), EFAULT);
    char name[300];
    memset(name, 'n', sizeof(name));
    name[249] = 0;
    GT_OK(memfd_create(name, 0));
    name[249] = 'n';
    name[250] = 0;
    GT_ERR(memfd_create(name, 0), EINVAL);
}
GT(memfd_seals)
{
    int plain = mfd(0);
    GT_EQ(fcntl(plain, F_GET_SEALS), F_SEAL_SEAL);
    GT_ERR(fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    int fd = mfd(MFD_ALLOW_SEALING);
    GT_EQ(fcntl(fd, F_GET_SEALS), 0);
    GT_OK(ftruncate(fd, 8192));
    GT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    GT_ERR(ftruncate(fd, 8193), EPERM);
    GT_ERR(pwrite(fd, "xx", 2, 8192), EPERM);
    GT_OK(ftruncate(fd, 4096));
    GT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    GT_ERR(ftruncate(fd, 100), EPERM);
    char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    GT_TRUE(p != MAP_FAILED);
    GT_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    GT_OK(munmap(p, 4096));
    GT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    GT_ERR(pwrite(fd, "x", 1, 0), EPERM);
    GT_ERR((long)mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    GT_TRUE(p != MAP_FAILED);
    p[0] = 1;
    GT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    GT_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
    GT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    GT_ERR(fcntl(open("/dev/null", O_RDWR), F_GET_SEALS), EINVAL);
}
GT(memfd_future_write)
{
    int fd = mfd(MFD_ALLOW_SEALING);
    GT_OK(ftruncate(fd, 4096));
    char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) && errno == EINVAL)
        GT_SKIP("no F_SEAL_FUTURE_WRITE");
    p[0] = 'w'; // the old mapping still writes
    GT_ERR(pwrite(fd, "x", 1, 0), EPERM);
    char *q = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    GT_TRUE(q != MAP_FAILED);
    GT_EQ(q[0], 'w');
    GT_ERR(mprotect(q, 4096, PROT_READ | PROT_WRITE), EACCES);
}
GT(memfd_shared_with_child_and_reopened)
{
    int fd = mfd(0);
    GT_OK(ftruncate(fd, 4096));
    char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pid_t c = GT_OK(fork());
    if (!c) {
        GT_EQ(pwrite(fd, "child", 5, 0), 5);
        _exit(0);
    }
    waitpid(c, 0, 0);
    GT_EQ(memcmp(p, "child", 5), 0);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int ro = GT_OK(open(path, O_RDONLY));
    GT_EQ(lseek(ro, 0, SEEK_END), 4096);
    GT_ERR((long)mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0), EACCES);
}
GT(memfd_executes)
{
    int self = GT_OK(open("/proc/self/exe", O_RDONLY));
    struct stat st;
    GT_OK(fstat(self, &st));
    int fd = mfd(MFD_CLOEXEC);
    for (off_t left = st.st_size; left > 0;)
        left -= GT_OK(sendfile(fd, self, 0, left));
    pid_t c = GT_OK(fork());
    if (!c) {
        char *argv[] = {"memfd", "no_such_test", 0};
        fexecve(fd, argv, environ);
        _exit(99);
    }
    int s;
    GT_EQ(waitpid(c, &s, 0), c);
    GT_EQ(s, 0);
}
GT_MAIN
