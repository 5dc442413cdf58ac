// SPDX-License-Identifier: Apache-2.0
// epoll(7): interest lists, ready lists, nesting. The system calls are in sys/event.c.
#pragma once
#include "vfs/file.h"
#include <sys/epoll.h>

MUST_CHECK int epoll_new(const struct cred *c, struct file **out);
// op: EPOLL_CTL_*. fd and target: as the caller named it. -EINVAL when epf is no epoll file.
MUST_CHECK int epoll_control(struct file *epf, int op, int fd, struct file *target,
                             const struct epoll_event *ev);
// Where events go: put() takes n of them as numbers at.. of the result; 0 or -EFAULT.
struct epoll_sink {
    int (*put)(struct epoll_sink *s, size_t at, const struct epoll_event *ev, size_t n);
};
// Hands out up to max events; their number, 0 at the deadline, -EINTR.
MUST_CHECK long epoll_collect(struct file *epf, struct epoll_sink *sink, int max, ktime_t deadline);
extern uint32_t epoll_max_watches; // /proc/sys/fs/epoll/max_user_watches
