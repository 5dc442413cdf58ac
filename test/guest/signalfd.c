// SPDX-License-Identifier: Apache-2.0
// signalfd(2).
#include "gt.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

static int make(int flags, int a, int b)
{
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, a);
    if (b)
        sigaddset(&s, b);
    GT_OK(sigprocmask(SIG_BLOCK, &s, 0));
    return (int)GT_OK(signalfd(-1, &s, flags));
}
static short revents(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    GT_OK(poll(&p, 1, 0));
    return p.revents;
}

GT(reads_signals)
{
    int fd = make(SFD_NONBLOCK | SFD_CLOEXEC, SIGUSR1, SIGUSR2);
    struct signalfd_siginfo si[3];
    GT_ERR(read(fd, si, sizeof(si)), EAGAIN);
    GT_EQ(revents(fd), 0);
    kill(getpid(), SIGUSR1);
    union sigval sv = {.sival_int = 42};
    GT_OK(sigqueue(getpid(), SIGUSR2, sv));
    GT_EQ(revents(fd), POLLIN);
    GT_EQ(read(fd, si, sizeof(si)), 2 * sizeof(si[0]));
    GT_EQ(si[0].ssi_signo, SIGUSR1);
    GT_EQ(si[0].ssi_code, SI_USER);
    GT_EQ(si[0].ssi_pid, getpid());
    GT_EQ(si[1].ssi_signo, SIGUSR2);
    GT_EQ(si[1].ssi_code, SI_QUEUE);
    GT_EQ(si[1].ssi_int, 42);
    GT_ERR(read(fd, si, 10), EINVAL);
}

GT(child)
{
    int fd = make(0, SIGCHLD, 0);
    struct signalfd_siginfo si;
    pid_t c = fork();
    if (!c)
        _exit(7);
    GT_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    GT_EQ(si.ssi_signo, SIGCHLD);
    GT_EQ(si.ssi_pid, c);
    GT_EQ(si.ssi_status, 7);
    GT_EQ(si.ssi_code, CLD_EXITED);
}

GT(blocks_and_epolls)
{
    int fd = make(0, SIGUSR1, 0), ep = (int)GT_OK(epoll_create1(0));
    struct epoll_event e = {.events = EPOLLIN};
    struct signalfd_siginfo si;
    GT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
    GT_EQ(epoll_wait(ep, &e, 1, 0), 0);
    pid_t me = getpid();
    if (!fork()) {
        usleep(30000);
        kill(me, SIGUSR1);
        usleep(30000);
        kill(me, SIGUSR1);
        _exit(0);
    }
    GT_EQ(epoll_wait(ep, &e, 1, 3000), 1);
    GT_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    GT_EQ(read(fd, &si, sizeof(si)), sizeof(si));
}

GT(change_mask)
{
    int fd = make(SFD_NONBLOCK, SIGUSR1, SIGUSR2);
    sigset_t s;
    struct signalfd_siginfo si;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR2);
    GT_EQ(signalfd(fd, &s, 0), fd);
    raise(SIGUSR1);
    GT_EQ(revents(fd), 0);
    raise(SIGUSR2);
    GT_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    GT_EQ(si.ssi_signo, SIGUSR2);
    GT_ERR(signalfd(0, &s, 0), EINVAL);
    GT_ERR(signalfd(999, &s, 0), EBADF);
    GT_EQ(syscall(SYS_signalfd4, -1, &s, 4, 0), -1);
    GT_EQ(errno, EINVAL);
}

GT(not_kill)
{
    sigset_t s;
    sigfillset(&s);
    GT_OK(signalfd(-1, &s, 0));
}

static void *thread_directed(void *arg)
{
    struct signalfd_siginfo si;
    pthread_kill(pthread_self(), SIGUSR1);
    long n = read(*(int *)arg, &si, sizeof(si));
    return (void *)n;
}

GT(threads_own_signals)
{
    int fd = make(SFD_NONBLOCK, SIGUSR1, 0);
    pthread_t th;
    void *r;
    struct signalfd_siginfo si;
    pthread_create(&th, 0, thread_directed, &fd);
    pthread_join(th, &r);
    GT_EQ((long)r, sizeof(si));
    GT_ERR(read(fd, &si, sizeof(si)), EAGAIN);
}

GT(poller_group_gone) // an epoll set hooked by a process that has died
{
    int fd = make(SFD_NONBLOCK, SIGUSR1, 0), ep = (int)GT_OK(epoll_create1(0));
    if (!fork()) {
        struct epoll_event e = {.events = EPOLLIN};
        _exit(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) != 0);
    }
    int st;
    GT_OK(wait(&st));
    GT_EQ(st, 0);
    struct epoll_event e;
    raise(SIGUSR1);
    GT_OK(epoll_wait(ep, &e, 1, 0));
    close(fd);
    close(ep);
}

GT_MAIN
