// SPDX-License-Identifier: Apache-2.0
// epoll(7): level, edge, one-shot, exclusive; nesting; closing; many waiters.
#include "gt.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static int ep_new(void)
{
    return (int)GT_OK(epoll_create1(EPOLL_CLOEXEC));
}
static int ctl(int ep, int op, int fd, uint32_t ev)
{
    struct epoll_event e = {.events = ev, .data.fd = fd};
    return epoll_ctl(ep, op, fd, &e);
}
static int wait1(int ep, struct epoll_event *e, int ms)
{
    return epoll_wait(ep, e, 1, ms);
}
static volatile sig_atomic_t got;
static void on_sig(int s)
{
    got++;
}

GT(errors)
{
    int ep = ep_new(), p[2];
    GT_OK(pipe(p));
    struct epoll_event e = {0};
    GT_ERR(epoll_create(0), EINVAL);
    GT_ERR(epoll_create1(1), EINVAL);
    GT_ERR(ctl(ep, EPOLL_CTL_ADD, 999, EPOLLIN), EBADF);
    GT_ERR(ctl(999, EPOLL_CTL_ADD, p[0], EPOLLIN), EBADF);
    GT_ERR(ctl(p[0], EPOLL_CTL_ADD, p[1], EPOLLIN), EINVAL);
    GT_ERR(ctl(ep, EPOLL_CTL_ADD, ep, EPOLLIN), EINVAL);
    GT_ERR(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN), ENOENT);
    GT_ERR(ctl(ep, EPOLL_CTL_DEL, p[0], EPOLLIN), ENOENT);
    GT_ERR(ctl(ep, 77, p[0], EPOLLIN), EINVAL);
    GT_OK(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
    GT_ERR(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN), EEXIST);
    GT_ERR(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], (void *)8), EFAULT);
    GT_OK(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], 0));
    GT_ERR(epoll_wait(ep, &e, 0, 0), EINVAL);
    GT_ERR(epoll_wait(ep, &e, -1, 0), EINVAL);
    GT_ERR(epoll_wait(p[0], &e, 1, 0), EINVAL);
    int f = (int)GT_OK(open("/proc/self/exe", O_RDONLY));
    GT_ERR(ctl(ep, EPOLL_CTL_ADD, f, EPOLLIN), EPERM);
}

GT(level)
{
    int ep = ep_new(), p[2];
    struct epoll_event e;
    char b[4];
    GT_OK(pipe(p));
    GT_OK(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
    GT_EQ(wait1(ep, &e, 0), 0);
    GT_EQ(write(p[1], "ab", 2), 2);
    GT_EQ(wait1(ep, &e, 1000), 1);
    GT_EQ(e.events, EPOLLIN);
    GT_EQ(e.data.fd, p[0]);
    GT_EQ(wait1(ep, &e, 0), 1);
    GT_EQ(read(p[0], b, 2), 2);
    GT_EQ(wait1(ep, &e, 0), 0);
    close(p[1]);
    GT_EQ(wait1(ep, &e, 0), 1);
    GT_EQ(e.events, EPOLLHUP);
}

GT(edge)
{
    int ep = ep_new(), p[2];
    struct epoll_event e;
    GT_OK(pipe(p));
    GT_OK(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET));
    GT_EQ(write(p[1], "ab", 2), 2);
    GT_EQ(wait1(ep, &e, 1000), 1);
    GT_EQ(wait1(ep, &e, 0), 0);
    GT_EQ(write(p[1], "c", 1), 1); // a new edge although the pipe was not empty
    GT_EQ(wait1(ep, &e, 0), 1);
    GT_EQ(wait1(ep, &e, 0), 0);
    GT_OK(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET)); // MOD looks again
    GT_EQ(wait1(ep, &e, 0), 1);
}

GT(oneshot)
{
    int ep = ep_new(), p[2];
    struct epoll_event e;
    GT_OK(pipe(p));
    GT_OK(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLONESHOT));
    GT_EQ(write(p[1], "ab", 2), 2);
    GT_EQ(wait1(ep, &e, 0), 1);
    GT_EQ(wait1(ep, &e, 0), 0);
    GT_EQ(write(p[1], "c", 1), 1);
    GT_EQ(wait1(ep, &e, 0), 0);
    close(p[1]); // not even HUP
    GT_EQ(wait1(ep, &e, 0), 0);
    GT_OK(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT));
    GT_EQ(wait1(ep, &e, 0), 1);
    GT_EQ(e.events, EPOLLIN | EPOLLHUP);
}

GT(exclusive_rules)
{
    int ep = ep_new(), ep2 = ep_new(), p[2];
    GT_OK(pipe(p));
    GT_ERR(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT), EINVAL);
    GT_ERR(ctl(ep, EPOLL_CTL_ADD, ep2, EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
    GT_OK(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLEXCLUSIVE));
    GT_ERR(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN), EINVAL);
    GT_OK(ctl(ep, EPOLL_CTL_DEL, p[0], 0));
    GT_OK(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
    GT_ERR(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
}

GT(close_removes)
{
    int ep = ep_new(), p[2];
    struct epoll_event e;
    GT_OK(pipe(p));
    GT_OK(ctl(ep, EPOLL_CTL_ADD, p[1], EPOLLOUT));
    GT_EQ(wait1(ep, &e, 0), 1);
    int d = dup(p[1]);
    close(p[1]);
    GT_EQ(wait1(ep, &e, 0), 1); // the description lives on
    GT_EQ(e.data.fd, p[1]);
    close(d);
    GT_EQ(wait1(ep, &e, 0), 0);
    GT_OK(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN));
    close(ep);
    close(p[0]);
}

GT(same_file_twice)
{
    int ep = ep_new(), p[2];
    struct epoll_event e[4];
    GT_OK(pipe(p));
    int d = (int)GT_OK(dup(p[1]));
    GT_OK(ctl(ep, EPOLL_CTL_ADD, p[1], EPOLLOUT));
    GT_OK(ctl(ep, EPOLL_CTL_ADD, d, EPOLLOUT));
    GT_EQ(epoll_wait(ep, e, 4, 0), 2);
}

GT(round_robin) // level-triggered events beyond maxevents come later
{
    int ep = ep_new(), seen[8] = {0}, fds[8];
    struct epoll_event e[3];
    for (int i = 0; i < 8; i++) {
        fds[i] = (int)GT_OK(eventfd(1, 0));
        struct epoll_event x = {.events = EPOLLIN, .data.u32 = i};
        GT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &x));
    }
    for (int i = 0; i < 8; i++) {
        GT_EQ(epoll_wait(ep, e, 3, 0), 3);
        for (int k = 0; k < 3; k++)
            seen[e[k].data.u32]++;
    }
    for (int i = 0; i < 8; i++)
        GT_EQ(seen[i], 3);
}

GT(nested)
{
    int a = ep_new(), b = ep_new(), p[2];
    struct epoll_event e;
    GT_OK(pipe(p));
    GT_OK(ctl(b, EPOLL_CTL_ADD, p[0], EPOLLIN));
    GT_OK(ctl(a, EPOLL_CTL_ADD, b, EPOLLIN));
    GT_ERR(ctl(b, EPOLL_CTL_ADD, a, EPOLLIN), ELOOP);
    GT_EQ(wait1(a, &e, 0), 0);
    GT_EQ(write(p[1], "x", 1), 1);
    GT_EQ(wait1(a, &e, 1000), 1);
    GT_EQ(e.data.fd, b);
    GT_EQ(wait1(b, &e, 0), 1);
    GT_EQ(e.data.fd, p[0]);
    char c;
    GT_EQ(read(p[0], &c, 1), 1);
    GT_EQ(wait1(a, &e, 0), 0);
}

GT(nesting_depth)
{
    int ep[7];
    for (int i = 0; i < 7; i++)
        ep[i] = ep_new();
    for (int i = 0; i < 4; i++)
        GT_OK(ctl(ep[i + 1], EPOLL_CTL_ADD, ep[i], EPOLLIN));
    GT_ERR(ctl(ep[5], EPOLL_CTL_ADD, ep[4], EPOLLIN), ELOOP);
    GT_ERR(ctl(ep[0], EPOLL_CTL_ADD, ep[4], EPOLLIN), ELOOP);
}

static void *waiter(void *arg)
{
    struct epoll_event e;
    return (void *)(long)epoll_wait(*(int *)arg, &e, 1, 3000);
}

GT(blocking_wait)
{
    int ep = ep_new(), ev = (int)GT_OK(eventfd(0, 0));
    pthread_t th;
    void *r;
    GT_OK(ctl(ep, EPOLL_CTL_ADD, ev, EPOLLIN));
    pthread_create(&th, 0, waiter, &ep);
    usleep(30000);
    uint64_t v = 1;
    GT_EQ(write(ev, &v, 8), 8);
    pthread_join(th, &r);
    GT_EQ((long)r, 1);
}

GT(add_while_waiting)
{
    int ep = ep_new(), ev = (int)GT_OK(eventfd(1, 0));
    pthread_t th;
    void *r;
    pthread_create(&th, 0, waiter, &ep);
    usleep(30000);
    GT_OK(ctl(ep, EPOLL_CTL_ADD, ev, EPOLLIN));
    pthread_join(th, &r);
    GT_EQ((long)r, 1);
}

static int shared_ep;
static int wakes;
static void *et_waiter(void *arg)
{
    struct epoll_event e;
    if (epoll_wait(shared_ep, &e, 1, 300) == 1)
        __atomic_fetch_add(&wakes, 1, __ATOMIC_SEQ_CST);
    return 0;
}

GT(edge_wakes_one)
{
    int ev = (int)GT_OK(eventfd(0, 0));
    pthread_t th[5];
    shared_ep = ep_new();
    GT_OK(ctl(shared_ep, EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLET));
    for (int i = 0; i < 5; i++)
        pthread_create(&th[i], 0, et_waiter, 0);
    usleep(50000);
    uint64_t v = 1;
    GT_EQ(write(ev, &v, 8), 8);
    for (int i = 0; i < 5; i++)
        pthread_join(th[i], 0);
    GT_EQ(wakes, 1);
}

GT(interrupted)
{
    int ep = ep_new();
    struct epoll_event e;
    struct sigaction sa = {.sa_handler = on_sig, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, 0);
    gt_alarm(20);
    GT_ERR(epoll_wait(ep, &e, 1, -1), EINTR);
    sigset_t none, block;
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGALRM);
    sigprocmask(SIG_BLOCK, &block, 0);
    raise(SIGALRM);
    GT_ERR(epoll_pwait(ep, &e, 1, 1000, &none), EINTR);
    GT_EQ(got, 2);
    GT_EQ(epoll_pwait(ep, &e, 1, 10, &none), 0);
}

GT(fault_loses_nothing)
{
    int ep = ep_new(), ev = (int)GT_OK(eventfd(1, 0));
    struct epoll_event e;
    GT_OK(ctl(ep, EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLET));
    GT_ERR(epoll_wait(ep, (void *)8, 1, 0), EFAULT);
    GT_EQ(wait1(ep, &e, 0), 1);
}

GT(pollable)
{
    int ep = ep_new(), ev = (int)GT_OK(eventfd(0, 0));
    GT_OK(ctl(ep, EPOLL_CTL_ADD, ev, EPOLLIN));
    int outer = ep_new();
    struct epoll_event e;
    GT_OK(ctl(outer, EPOLL_CTL_ADD, ep, EPOLLIN | EPOLLET));
    uint64_t v = 1;
    GT_EQ(write(ev, &v, 8), 8);
    GT_EQ(wait1(outer, &e, 1000), 1);
    GT_EQ(wait1(outer, &e, 0), 0);
}

static void *churn(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        int ev = eventfd(1, 0);
        ctl(shared_ep, EPOLL_CTL_ADD, ev, EPOLLIN);
        if (i & 1)
            ctl(shared_ep, EPOLL_CTL_DEL, ev, 0);
        close(ev);
    }
    return 0;
}

GT(close_races_with_wait)
{
    pthread_t th[3];
    struct epoll_event e[8];
    shared_ep = ep_new();
    for (int i = 0; i < 3; i++)
        pthread_create(&th[i], 0, churn, 0);
    for (int i = 0; i < 2000; i++)
        GT_OK(epoll_wait(shared_ep, e, 8, 0));
    for (int i = 0; i < 3; i++)
        pthread_join(th[i], 0);
    GT_EQ(epoll_wait(shared_ep, e, 8, 0), 0);
}

GT(both_directions_of_a_socket)
{
    int ep = ep_new(), s[2];
    struct epoll_event e;
    GT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    GT_OK(ctl(ep, EPOLL_CTL_ADD, s[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
    GT_EQ(wait1(ep, &e, 0), 1);
    GT_EQ(e.events, EPOLLOUT);
    GT_EQ(wait1(ep, &e, 0), 0);
    GT_EQ(write(s[1], "x", 1), 1);
    GT_EQ(wait1(ep, &e, 0), 1);
    GT_EQ(e.events, EPOLLIN | EPOLLOUT);
    shutdown(s[1], SHUT_WR);
    GT_EQ(wait1(ep, &e, 0), 1);
    GT_EQ(e.events, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    close(s[1]);
    GT_EQ(wait1(ep, &e, 0), 1);
    GT_EQ(e.events, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
}

GT_MAIN
