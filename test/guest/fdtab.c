// SPDX-License-Identifier: Apache-2.0
// Descriptors: numbers, dup, close-on-exec, close_range, limits, sharing between threads.
#include "gtfs.h"
#include <pthread.h>
#include <sys/resource.h>

// Whatever was inherited would disturb the numbers.
__attribute__((constructor)) static void close_inherited(void)
{
    syscall(SYS_close_range, 3, ~0u, 0);
}
static int null(void)
{
    return (int)GT_OK(open("/dev/null", O_RDWR));
}
GT(lowest_free)
{
    int a = null(), b = null(), c = null();
    GT_EQ(b, a + 1);
    GT_EQ(c, a + 2);
    close(a);
    GT_EQ(null(), a);
    close(b);
    close(a);
    GT_EQ(null(), a);
    GT_EQ(dup(c), b);
    GT_EQ(null(), c + 1);
    GT_EQ(fcntl(a, F_DUPFD, 100), 100);
    GT_EQ(fcntl(a, F_DUPFD, 100), 101);
    GT_EQ(fcntl(a, F_DUPFD, 0), c + 2);
}
GT(dup_rules)
{
    int a = null();
    GT_EQ(dup2(a, 200), 200);
    GT_EQ(dup2(a, a), a);
    GT_ERR(dup2(77, 201), EBADF);
    GT_ERR(dup2(77, 77), EBADF);
    GT_ERR(dup2(a, -1), EBADF);
    GT_ERR(dup3(a, a, 0), EINVAL);
    GT_ERR(dup3(a, 201, O_APPEND), EINVAL);
    GT_EQ(dup3(a, 201, O_CLOEXEC), 201);
    GT_EQ(fcntl(201, F_GETFD), FD_CLOEXEC);
    GT_EQ(dup2(201, 202), 202);
    GT_EQ(fcntl(202, F_GETFD), 0);
    GT_EQ(dup(201) >= 0, 1);
    int e = fcntl(a, F_DUPFD_CLOEXEC, 0);
    GT_EQ(fcntl(e, F_GETFD), FD_CLOEXEC);
    GT_OK(fcntl(e, F_SETFD, 0));
    GT_EQ(fcntl(e, F_GETFD), 0);
    GT_ERR(fcntl(a, F_DUPFD, -1), EINVAL);
    GT_ERR(fcntl(a, F_DUPFD, 1 << 30), EINVAL);
    GT_ERR(fcntl(77, F_GETFD), EBADF);
    GT_ERR(fcntl(a, 9999), EINVAL);
    // dup2 onto an open one closes it: the pipe's reader sees the end.
    int p[2];
    char c;
    GT_OK(pipe(p));
    GT_EQ(dup2(a, p[1]), p[1]);
    GT_EQ(read(p[0], &c, 1), 0);
}
GT(close_rules)
{
    int a = null();
    GT_OK(close(a));
    GT_ERR(close(a), EBADF);
    GT_ERR(close(-1), EBADF);
    GT_ERR(close(1 << 30), EBADF);
}
GT(limit)
{
    struct rlimit rl = {64, 64};
    int hi = dup2(null(), 100);
    GT_OK(setrlimit(RLIMIT_NOFILE, &rl));
    int n = 0, last = -1, fd;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0) {
        last = fd;
        n++;
    }
    GT_EQ(errno, EMFILE);
    GT_EQ(last, 63);
    GT_ERR(dup(last), EMFILE);
    GT_ERR(dup2(last, 64), EBADF);
    GT_ERR(fcntl(last, F_DUPFD, 64), EINVAL);
    GT_ERR(fcntl(last, F_DUPFD, 10), EMFILE);
    int p[2];
    GT_ERR(pipe(p), EMFILE);
    GT_OK(fcntl(hi, F_GETFD)); // above the limit and still good
    GT_OK(close(10));
    GT_ERR(pipe(p), EMFILE); // one is not enough, and is given back
    GT_EQ(open("/dev/null", O_RDONLY), 10);
}
GT(many)
{
    struct rlimit rl;
    GT_OK(getrlimit(RLIMIT_NOFILE, &rl));
    int want = rl.rlim_cur > 3000 ? 3000 : (int)rl.rlim_cur - 8, first = null();
    for (int i = 1; i < want - first; i++)
        GT_EQ(null(), first + i);
    for (int i = want - 1; i > first; i -= 2)
        close(i);
    for (int i = first, n = 0; n < 100; n++) {
        int fd = null();
        GT_TRUE(fd > i);
        i = fd;
    }
}
GT(cloexec)
{
    char a[16], b[16];
    int keep = null(), drop = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t c = fork();
    if (!c) {
        sprintf(a, "%d", keep);
        sprintf(b, "%d", drop);
        execl("/bin/sh", "sh", "-c", "test -e /proc/self/fd/$0 && ! test -e /proc/self/fd/$1", a, b, NULL);
        _exit(9);
    }
    int st;
    GT_OK(waitpid(c, &st, 0));
    GT_EQ(st, 0);
}
GT(close_range_calls)
{
    for (int i = 50; i < 60; i++)
        GT_EQ(dup2(2, i), i);
    GT_OK(syscall(SYS_close_range, 52, 54, 0));
    GT_OK(fcntl(51, F_GETFD));
    GT_ERR(fcntl(52, F_GETFD), EBADF);
    GT_ERR(fcntl(54, F_GETFD), EBADF);
    GT_OK(fcntl(55, F_GETFD));
    GT_OK(syscall(SYS_close_range, 56, 57, CLOSE_RANGE_CLOEXEC));
    GT_EQ(fcntl(56, F_GETFD), FD_CLOEXEC);
    GT_EQ(fcntl(58, F_GETFD), 0);
    GT_ERR(syscall(SYS_close_range, 5, 4, 0), EINVAL);
    GT_ERR(syscall(SYS_close_range, 5, 6, 0x100), EINVAL);
    GT_OK(syscall(SYS_close_range, 3, ~0u, 0));
    GT_ERR(fcntl(59, F_GETFD), EBADF);
    GT_OK(fcntl(2, F_GETFD));
}
GT(fork_copies)
{
    int a = null(), p[2];
    GT_OK(pipe(p));
    pid_t c = fork();
    if (!c) {
        close(a);
        _exit(dup2(p[1], 90) != 90);
    }
    int st;
    GT_OK(waitpid(c, &st, 0));
    GT_EQ(st, 0);
    GT_OK(fcntl(a, F_GETFD));
    GT_ERR(fcntl(90, F_GETFD), EBADF);
    // Position and status flags are shared, though.
    int f = gtfs_file("shared", "abcdef");
    lseek(f, 0, SEEK_SET);
    c = fork();
    if (!c) {
        lseek(f, 3, SEEK_SET);
        fcntl(f, F_SETFL, O_APPEND);
        _exit(0);
    }
    GT_OK(waitpid(c, &st, 0));
    GT_EQ(lseek(f, 0, SEEK_CUR), 3);
    GT_TRUE(fcntl(f, F_GETFL) & O_APPEND);
}
static void *churn(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2000; i++) {
        int a = open("/dev/null", O_RDONLY), b = dup(a);
        if (a < 0 || b < 0 || a == b || close(a) || close(b))
            return (void *)1;
    }
    return NULL;
}
GT(threads)
{
    pthread_t t[4];
    void *r;
    int before = null();
    close(before);
    for (int i = 0; i < 4; i++)
        GT_EQ(pthread_create(&t[i], NULL, churn, NULL), 0);
    for (int i = 0; i < 4; i++) {
        GT_EQ(pthread_join(t[i], &r), 0);
        GT_TRUE(!r);
    }
    GT_EQ(null(), before);
}
static int shared_pos_fd;
static void *reader(void *arg)
{
    char rec[8];
    long n = 0;
    (void)arg;
    while (read(shared_pos_fd, rec, 8) == 8) {
        for (int i = 1; i < 8; i++)
            if (rec[i] != rec[0])
                return (void *)-1;
        n++;
    }
    return (void *)n;
}
GT(shared_position_is_atomic)
{
    pthread_t t[4];
    void *r;
    long total = 0;
    shared_pos_fd = open("pos", O_CREAT | O_RDWR, 0644);
    for (int i = 0; i < 2000; i++) {
        char rec[8];
        memset(rec, 'a' + i % 26, 8);
        GT_EQ(write(shared_pos_fd, rec, 8), 8);
    }
    lseek(shared_pos_fd, 0, SEEK_SET);
    for (int i = 0; i < 4; i++)
        GT_EQ(pthread_create(&t[i], NULL, reader, NULL), 0);
    for (int i = 0; i < 4; i++) {
        GT_EQ(pthread_join(t[i], &r), 0);
        GT_TRUE((long)r >= 0);
        total += (long)r;
    }
    GT_EQ(total, 2000);
}
GT(owner)
{
    int p[2];
    GT_OK(pipe(p));
    GT_EQ(fcntl(p[0], F_GETOWN), 0);
    GT_OK(fcntl(p[0], F_SETOWN, getpid()));
    GT_EQ(fcntl(p[0], F_GETOWN), getpid());
    struct f_owner_ex ex = {F_OWNER_TID, getpid()};
    GT_OK(fcntl(p[0], F_SETOWN_EX, &ex));
    ex.pid = 0;
    GT_OK(fcntl(p[0], F_GETOWN_EX, &ex));
    GT_EQ(ex.type, F_OWNER_TID);
    GT_EQ(ex.pid, getpid());
    GT_OK(fcntl(p[0], F_SETSIG, SIGUSR1));
    GT_EQ(fcntl(p[0], F_GETSIG), SIGUSR1);
    GT_ERR(fcntl(p[0], F_SETSIG, 200), EINVAL);
}
GT_MAIN
