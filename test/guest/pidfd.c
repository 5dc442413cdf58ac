// SPDX-License-Identifier: Apache-2.0
// pidfd_open, pidfd_send_signal, pidfd_getfd, polling, waitid(P_PIDFD), kcmp.
#include "gt.h"
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
static int pidfd_open(pid_t p, unsigned f) { return (int)syscall(SYS_pidfd_open, p, f); }
static int pidfd_kill(int fd, int sig) { return (int)syscall(SYS_pidfd_send_signal, fd, sig, 0, 0); }
static pid_t sleeper(void)
{
    pid_t p = fork();
    if (!p)
        for (;;)
            pause();
    return p;
}

GT(pidfd_open_errors)
{
    GT_ERR(pidfd_open(0, 0), EINVAL);
    GT_ERR(pidfd_open(-1, 0), EINVAL);
    GT_ERR(pidfd_open(getpid(), 1), EINVAL);
    GT_ERR(pidfd_open(4000000, 0), ESRCH);
    int fd = GT_OK(pidfd_open(getpid(), O_NONBLOCK));
    GT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    GT_TRUE(fcntl(fd, F_GETFL) & O_NONBLOCK);
    char c;
    GT_ERR(read(fd, &c, 1), EINVAL);
    GT_ERR(write(fd, &c, 1), EINVAL);
}

GT(pidfd_signal_and_poll)
{
    pid_t p = sleeper();
    int fd = GT_OK(pidfd_open(p, 0));
    struct pollfd pf = {fd, POLLIN, 0};
    GT_EQ(poll(&pf, 1, 0), 0);
    GT_OK(pidfd_kill(fd, 0));
    GT_ERR(pidfd_kill(fd, 65), EINVAL);
    GT_ERR(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0x80), EINVAL);
    GT_ERR(pidfd_kill(0, SIGTERM), EBADF);
    GT_ERR(pidfd_kill(999, SIGTERM), EBADF);
    GT_OK(pidfd_kill(fd, SIGTERM));
    GT_EQ(poll(&pf, 1, 5000), 1);
    GT_TRUE(pf.revents & POLLIN);
    siginfo_t si;
    GT_OK(waitid(P_PIDFD, fd, &si, WEXITED));
    GT_EQ(si.si_pid, p);
    GT_EQ(si.si_status, SIGTERM);
    GT_ERR(pidfd_kill(fd, SIGTERM), ESRCH);
    GT_ERR(waitid(P_PIDFD, fd, &si, WEXITED), ECHILD);
    GT_EQ(poll(&pf, 1, 0), 1);
}

GT(pidfd_wait_nonblock)
{
    pid_t p = sleeper();
    siginfo_t si;
    int fd = GT_OK(pidfd_open(p, O_NONBLOCK));
    GT_ERR(waitid(P_PIDFD, fd, &si, WEXITED), EAGAIN);
    kill(p, SIGKILL);
    GT_ERR(waitid(P_PIDFD, 999, &si, WEXITED), EBADF);
    GT_ERR(waitid(P_PIDFD, -1, &si, WEXITED), EINVAL);
    struct pollfd pf = {fd, POLLIN, 0};
    poll(&pf, 1, 5000);
    GT_OK(waitid(P_PIDFD, fd, &si, WEXITED));
}

GT(pidfd_siginfo)
{
    pid_t p = sleeper();
    int fd = GT_OK(pidfd_open(p, 0));
    siginfo_t si = {.si_signo = SIGUSR1, .si_code = SI_USER};
    GT_ERR(syscall(SYS_pidfd_send_signal, fd, SIGUSR1, &si, 0), EPERM);
    GT_ERR(syscall(SYS_pidfd_send_signal, fd, SIGUSR2, &si, 0), EINVAL);
    si.si_code = SI_QUEUE;
    GT_OK(syscall(SYS_pidfd_send_signal, fd, SIGUSR1, &si, 0));
    int st;
    waitpid(p, &st, 0);
    GT_EQ(WTERMSIG(st), SIGUSR1);
}

GT(pidfd_getfd)
{
    int p[2], q[2];
    char c;
    GT_OK(pipe(p));
    GT_OK(pipe(q));
    pid_t k = fork();
    if (!k) {
        int x[2];
        pipe(x);
        write(x[1], "Z", 1);
        write(p[1], &x[0], sizeof(int));
        read(q[0], &c, 1);
        _exit(0);
    }
    int remote;
    GT_EQ(read(p[0], &remote, sizeof(remote)), sizeof(remote));
    int fd = GT_OK(pidfd_open(k, 0));
    GT_ERR(syscall(SYS_pidfd_getfd, fd, 999, 0), EBADF);
    GT_ERR(syscall(SYS_pidfd_getfd, fd, remote, 1), EINVAL);
    int mine = syscall(SYS_pidfd_getfd, fd, remote, 0);
    if (mine < 0 && errno == EPERM)
        GT_SKIP("not permitted here");
    GT_TRUE(mine >= 0);
    GT_EQ(fcntl(mine, F_GETFD), FD_CLOEXEC);
    GT_EQ(read(mine, &c, 1), 1);
    GT_EQ(c, 'Z');
    write(q[1], "x", 1);
    wait(0);
    GT_ERR(syscall(SYS_pidfd_getfd, fd, remote, 0), ESRCH);
}

static void *opener(void *arg)
{
    return (void *)(long)syscall(SYS_gettid);
}
static volatile int tid;
static void *hold(void *arg)
{
    tid = (int)syscall(SYS_gettid);
    while (tid)
        usleep(1000);
    return 0;
}

GT(pidfd_of_thread)
{
    pthread_t t;
    pthread_create(&t, 0, hold, 0);
    while (!tid)
        usleep(1000);
    errno = 0;
    int fd = pidfd_open(tid, 0);
    GT_TRUE(fd == -1 && (errno == EINVAL || errno == ENOENT));
    tid = 0;
    pthread_join(t, 0);
}

GT(kcmp_basics)
{
    enum { FILE_, VM, FILES };
    int d = dup(0), e = open("/dev/null", O_RDONLY);
    pid_t me = getpid();
    long r = syscall(SYS_kcmp, me, me, FILE_, 0, d);
    if (r < 0 && (errno == ENOSYS || errno == EPERM))
        GT_SKIP("no kcmp");
    GT_EQ(r, 0);
    GT_TRUE(syscall(SYS_kcmp, me, me, FILE_, 0, e) > 0);
    GT_ERR(syscall(SYS_kcmp, me, me, FILE_, 0, 999), EBADF);
    GT_ERR(syscall(SYS_kcmp, me, me, 99, 0, 0), EINVAL);
    GT_EQ(syscall(SYS_kcmp, me, me, VM, 0, 0), 0);
    pid_t p = sleeper();
    GT_TRUE(syscall(SYS_kcmp, me, p, VM, 0, 0) > 0);
    GT_EQ(syscall(SYS_kcmp, me, p, FILE_, 0, 0), 0);
    kill(p, SIGKILL);
    wait(0);
}
GT_MAIN
