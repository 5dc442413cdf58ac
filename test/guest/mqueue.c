// SPDX-License-Identifier: Apache-2.0
// POSIX message queues.
#include "gt.h"
#include <mqueue.h>
#include <poll.h>
#include <sys/stat.h>

static char name[64];
static mqd_t make(int flags, long maxmsg, long size)
{
    struct mq_attr a = {.mq_maxmsg = maxmsg, .mq_msgsize = size};
    snprintf(name, sizeof(name), "/gt.%d", getpid());
    mq_unlink(name);
    mqd_t q = mq_open(name, O_CREAT | O_EXCL | O_RDWR | flags, 0600, &a);
    if (q < 0 && errno == ENOSYS)
        GT_SKIP("no message queues");
    GT_OK(q);
    return q;
}
static struct timespec in_ms(int ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += ms * 1000000l;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}
static volatile sig_atomic_t got, value;
static void on_sig(int s, siginfo_t *si, void *c)
{
    got = s;
    value = si->si_value.sival_int;
}

GT(priorities)
{
    mqd_t q = make(0, 5, 16);
    char b[16];
    unsigned p;
    GT_OK(mq_send(q, "low", 3, 1));
    GT_OK(mq_send(q, "high1", 5, 9));
    GT_OK(mq_send(q, "high2", 5, 9));
    GT_OK(mq_send(q, "", 0, 5));
    GT_EQ(mq_receive(q, b, 16, &p), 5);
    GT_EQ(memcmp(b, "high1", 5), 0);
    GT_EQ(p, 9);
    GT_EQ(mq_receive(q, b, 16, 0), 5);
    GT_EQ(mq_receive(q, b, 16, &p), 0);
    GT_EQ(p, 5);
    GT_EQ(mq_receive(q, b, 16, &p), 3);
    mq_unlink(name);
}

GT(errors)
{
    mqd_t q = make(O_NONBLOCK, 2, 8);
    char b[16];
    GT_ERR(mq_receive(q, b, 7, 0), EMSGSIZE);
    GT_ERR(mq_receive(q, b, 8, 0), EAGAIN);
    GT_ERR(mq_send(q, b, 9, 0), EMSGSIZE);
    GT_ERR(mq_send(q, b, 1, 32768), EINVAL);
    GT_OK(mq_send(q, b, 1, 0));
    GT_OK(mq_send(q, b, 1, 0));
    GT_ERR(mq_send(q, b, 1, 0), EAGAIN);
    GT_ERR(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, 0), EEXIST);
    GT_ERR(mq_open("/no such queue", O_RDWR), ENOENT);
    GT_ERR(mq_open("/a/b", O_RDWR | O_CREAT, 0600, 0), EACCES);
    struct mq_attr bad = {.mq_maxmsg = 0, .mq_msgsize = 8};
    GT_ERR(mq_open("/gtbad", O_RDWR | O_CREAT, 0600, &bad), EINVAL);
    mqd_t r = mq_open(name, O_RDONLY);
    GT_ERR(mq_send(r, b, 1, 0), EBADF);
    GT_ERR(mq_receive(0, b, 16, 0), EBADF);
    GT_OK(mq_unlink(name));
    GT_ERR(mq_unlink(name), ENOENT);
    GT_EQ(mq_receive(q, b, 8, 0), 1); // lives on
}

GT(attributes)
{
    mqd_t q = make(0, 3, 32);
    struct mq_attr a, n = {.mq_flags = O_NONBLOCK};
    GT_OK(mq_send(q, "x", 1, 0));
    GT_OK(mq_getattr(q, &a));
    GT_EQ(a.mq_flags, 0);
    GT_EQ(a.mq_maxmsg, 3);
    GT_EQ(a.mq_msgsize, 32);
    GT_EQ(a.mq_curmsgs, 1);
    GT_OK(mq_setattr(q, &n, 0));
    GT_OK(mq_getattr(q, &a));
    GT_EQ(a.mq_flags, O_NONBLOCK);
    n.mq_flags = 1;
    GT_ERR(mq_setattr(q, &n, 0), EINVAL);
    GT_EQ(fcntl(q, F_GETFD), FD_CLOEXEC);
    mq_unlink(name);
}

GT(timeouts)
{
    mqd_t q = make(0, 1, 8);
    char b[8];
    struct timespec t = in_ms(30);
    GT_ERR(mq_timedreceive(q, b, 8, 0, &t), ETIMEDOUT);
    GT_OK(mq_send(q, "x", 1, 0));
    t = in_ms(30);
    GT_ERR(mq_timedsend(q, "y", 1, 0, &t), ETIMEDOUT);
    t.tv_nsec = -1;
    GT_ERR(mq_timedsend(q, "y", 1, 0, &t), EINVAL);
    mq_unlink(name);
}

GT(blocking)
{
    mqd_t q = make(0, 1, 8);
    char b[8];
    int st;
    pid_t c = fork();
    if (!c) {
        usleep(30000);
        mq_send(q, "a", 1, 0);
        mq_send(q, "b", 1, 0); // waits for room
        _exit(0);
    }
    GT_EQ(mq_receive(q, b, 8, 0), 1);
    GT_EQ(b[0], 'a');
    GT_EQ(mq_receive(q, b, 8, 0), 1);
    GT_EQ(waitpid(c, &st, 0), c);
    mq_unlink(name);
}

GT(notification)
{
    mqd_t q = make(O_NONBLOCK, 4, 8);
    char b[8];
    struct sigaction sa = {.sa_sigaction = on_sig, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &sa, 0);
    struct sigevent se = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    GT_OK(mq_notify(q, &se));
    if (!fork())
        _exit(mq_notify(q, &se) == -1 && errno == EBUSY ? 0 : 1);
    int st;
    wait(&st);
    GT_EQ(st, 0);
    GT_OK(mq_send(q, "1", 1, 0));
    GT_EQ(got, SIGUSR1);
    GT_EQ(value, 42);
    got = 0;
    GT_OK(mq_send(q, "2", 1, 0)); // once only
    GT_EQ(got, 0);
    GT_OK(mq_notify(q, &se));
    GT_OK(mq_send(q, "3", 1, 0)); // and only for an empty queue
    GT_EQ(got, 0);
    GT_OK(mq_notify(q, 0));
    while (mq_receive(q, b, 8, 0) >= 0)
        ;
    GT_OK(mq_send(q, "4", 1, 0));
    GT_EQ(got, 0);
    mq_unlink(name);
}

GT(polling)
{
    mqd_t q = make(0, 1, 8);
    char b[8];
    struct pollfd p = {q, POLLIN | POLLOUT};
    GT_EQ(poll(&p, 1, 0), 1);
    GT_EQ(p.revents, POLLOUT);
    GT_OK(mq_send(q, "x", 1, 0));
    GT_EQ(poll(&p, 1, 0), 1);
    GT_EQ(p.revents, POLLIN);
    GT_EQ(mq_receive(q, b, 8, 0), 1);
    mq_unlink(name);
}

GT_MAIN
