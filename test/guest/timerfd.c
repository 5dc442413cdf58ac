// SPDX-License-Identifier: Apache-2.0
// timerfd_create(2).
#include "gt.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

static struct itimerspec its(long value_ms, long interval_ms)
{
    return (struct itimerspec){{interval_ms / 1000, interval_ms % 1000 * 1000000},
                               {value_ms / 1000, value_ms % 1000 * 1000000}};
}

GT(once)
{
    for (int clock = 0; clock < 8; clock++) {
        if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME)
            continue;
        int fd = (int)GT_OK(timerfd_create(clock, 0));
        struct itimerspec n = its(30, 0), o;
        uint64_t v;
        GT_OK(timerfd_settime(fd, 0, &n, 0));
        GT_OK(timerfd_gettime(fd, &o));
        GT_TRUE(o.it_value.tv_nsec > 0 && o.it_value.tv_nsec <= 30000000);
        GT_EQ(read(fd, &v, 8), 8);
        GT_EQ(v, 1);
        GT_OK(timerfd_gettime(fd, &o));
        GT_EQ(o.it_value.tv_nsec, 0);
        close(fd);
    }
}

GT(interval)
{
    int fd = (int)GT_OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    struct itimerspec n = its(10, 10), o;
    uint64_t v;
    GT_OK(timerfd_settime(fd, 0, &n, 0));
    GT_ERR(read(fd, &v, 8), EAGAIN);
    usleep(105000);
    GT_EQ(read(fd, &v, 8), 8);
    GT_TRUE(v >= 10);
    GT_ERR(read(fd, &v, 7), EINVAL);
    GT_OK(timerfd_gettime(fd, &o));
    GT_EQ(o.it_interval.tv_nsec, 10000000);
    GT_TRUE(o.it_value.tv_nsec > 0 && o.it_value.tv_nsec <= 10000000);
    struct pollfd p = {fd, POLLIN};
    GT_EQ(poll(&p, 1, 1000), 1);
    n = its(0, 0);
    GT_OK(timerfd_settime(fd, 0, &n, &o)); // disarms and forgets
    GT_EQ(o.it_interval.tv_nsec, 10000000);
    GT_EQ(poll(&p, 1, 30), 0);
}

GT(absolute)
{
    int fd = (int)GT_OK(timerfd_create(CLOCK_REALTIME, 0));
    struct timespec now;
    uint64_t v;
    clock_gettime(CLOCK_REALTIME, &now);
    struct itimerspec n = {.it_value = now};
    n.it_value.tv_nsec += 30000000;
    if (n.it_value.tv_nsec >= 1000000000) {
        n.it_value.tv_nsec -= 1000000000;
        n.it_value.tv_sec++;
    }
    GT_OK(timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &n, 0));
    GT_EQ(read(fd, &v, 8), 8);
    GT_EQ(v, 1);
    n.it_value = now; // in the past: at once
    GT_OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &n, 0));
    GT_EQ(read(fd, &v, 8), 8);
    n.it_interval.tv_sec = 1; // the past counts
    n.it_value.tv_sec -= 10;
    GT_OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &n, 0));
    GT_EQ(read(fd, &v, 8), 8);
    GT_TRUE(v >= 10);
}

GT(errors)
{
    GT_ERR(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0), EINVAL);
    GT_ERR(timerfd_create(CLOCK_MONOTONIC, 4), EINVAL);
    int fd = (int)GT_OK(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    struct itimerspec n = its(1, 0);
    GT_ERR(timerfd_settime(fd, 8, &n, 0), EINVAL);
    GT_ERR(timerfd_settime(0, 0, &n, 0), EINVAL);
    GT_ERR(timerfd_settime(999, 0, &n, 0), EBADF);
    n.it_value.tv_nsec = 1000000000;
    GT_ERR(timerfd_settime(fd, 0, &n, 0), EINVAL);
    GT_ERR(timerfd_gettime(0, &n), EINVAL);
}

GT(with_epoll)
{
    int fd = (int)GT_OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), ep = (int)GT_OK(epoll_create1(0));
    struct epoll_event e = {.events = EPOLLIN | EPOLLET};
    struct itimerspec n = its(5, 5);
    uint64_t v;
    GT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
    GT_OK(timerfd_settime(fd, 0, &n, 0));
    for (int i = 0; i < 5; i++) {
        GT_EQ(epoll_wait(ep, &e, 1, 1000), 1);
        GT_EQ(read(fd, &v, 8), 8);
    }
}

GT_MAIN
