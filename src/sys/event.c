// SPDX-License-Identifier: Apache-2.0
// epoll, eventfd, signalfd and timerfd system calls: decode, check, call.
#include "fs/eventfd.h"
#include "fs/signalfd.h"
#include "fs/timerfd.h"
#include "sys/protos.h"
#include "sys/waitarg.h"
#include "vfs/epoll.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

// Takes over f.
static long install(struct task *t, struct file *f, bool cloexec)
{
    int fd = fd_install(t->files, f, 0, cloexec, task_rlimit(t, RLIMIT_NOFILE));
    if (fd < 0)
        file_put(f);
    return fd;
}

// --- epoll -------------------------------------------------------------------------------------
long sys_epoll_create1(struct task *t, uint32_t flags)
{
    struct file *f;
    if (flags & ~(uint32_t)EPOLL_CLOEXEC)
        return -EINVAL;
    int err = epoll_new(t->cred, &f);
    return err ? err : install(t, f, flags & EPOLL_CLOEXEC);
}

long sys_epoll_create(struct task *t, int size)
{
    return size <= 0 ? -EINVAL : sys_epoll_create1(t, 0);
}

long sys_epoll_ctl(struct task *t, int epfd, int op, int fd, uaddr_t event)
{
    struct epoll_event ev = {};
    if (op != EPOLL_CTL_DEL && get_user(t->mm, event, ev))
        return -EFAULT;
    struct file *ep = fd_get(t->files, epfd);
    struct file *f = ep ? fd_get(t->files, fd) : nullptr;
    long ret = -EBADF;
    if (f) {
        if ((ev.events & EPOLLWAKEUP) && !cred_capable(t->cred, CAP_BLOCK_SUSPEND))
            ev.events &= ~(uint32_t)EPOLLWAKEUP;
        ret = epoll_control(ep, op, fd, f, &ev);
        file_put(f);
    }
    if (ep)
        file_put(ep);
    return ret;
}

struct user_events {
    struct epoll_sink sink;
    struct mm *mm;
    uaddr_t at;
};
static int put_events(struct epoll_sink *s, size_t at, const struct epoll_event *ev, size_t n)
{
    struct user_events *u = container_of(s, struct user_events, sink);
    return copy_out(u->mm, uaddr_add(u->at, at * sizeof(*ev)), ev, n * sizeof(*ev));
}

static long epoll_do_wait(struct task *t, int epfd, uaddr_t events, int max, ktime_t deadline)
{
    if (max <= 0 || max > INT32_MAX / (int)sizeof(struct epoll_event))
        return -EINVAL;
    struct file *ep = fd_get(t->files, epfd);
    if (!ep)
        return -EBADF;
    struct user_events u = {.sink = {put_events}, .mm = t->mm, .at = events};
    long ret = epoll_collect(ep, &u.sink, max, deadline);
    file_put(ep);
    return ret;
}

static ktime_t ms_deadline(int ms)
{
    return ms < 0 ? KTIME_MAX : ms == 0 ? 0 : deadline_after((int64_t)ms * 1000000);
}

long sys_epoll_wait(struct task *t, int epfd, uaddr_t events, int max, int timeout_ms)
{
    return epoll_do_wait(t, epfd, events, max, ms_deadline(timeout_ms));
}

static long epoll_masked_wait(struct task *t, int epfd, uaddr_t events, int max, ktime_t deadline,
                              uaddr_t sigmask, size_t size)
{
    int err = sigmask_enter(t, sigmask, size);
    if (err)
        return err;
    long ret = epoll_do_wait(t, epfd, events, max, deadline);
    sigmask_leave(t, ret == -EINTR);
    return ret;
}

long sys_epoll_pwait(struct task *t, int epfd, uaddr_t events, int max, int timeout_ms,
                     uaddr_t sigmask, size_t size)
{
    return epoll_masked_wait(t, epfd, events, max, ms_deadline(timeout_ms), sigmask, size);
}

long sys_epoll_pwait2(struct task *t, int epfd, uaddr_t events, int max, uaddr_t timeout,
                      uaddr_t sigmask, size_t size)
{
    ktime_t deadline;
    int err = deadline_from_user(t, timeout, &deadline);
    return err ? err : epoll_masked_wait(t, epfd, events, max, deadline, sigmask, size);
}

// --- eventfd -----------------------------------------------------------------------------------
long sys_eventfd2(struct task *t, uint32_t initval, uint32_t flags)
{
    struct file *f;
    if (flags & ~(uint32_t)(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK))
        return -EINVAL;
    int err = eventfd_new(initval, (int)flags, t->cred, &f);
    return err ? err : install(t, f, flags & EFD_CLOEXEC);
}

long sys_eventfd(struct task *t, uint32_t initval)
{
    return sys_eventfd2(t, initval, 0);
}

// --- signalfd ----------------------------------------------------------------------------------
long sys_signalfd4(struct task *t, int fd, uaddr_t mask, size_t size, uint32_t flags)
{
    ksigset_t set;
    struct file *f;
    if (size != sizeof(set))
        return -EINVAL;
    if (get_user(t->mm, mask, set))
        return -EFAULT;
    if (flags & ~(uint32_t)(SFD_CLOEXEC | SFD_NONBLOCK))
        return -EINVAL;
    if (fd == -1) {
        int err = signalfd_new(set, (int)flags, t->cred, &f);
        return err ? err : install(t, f, flags & SFD_CLOEXEC);
    }
    f = fd_get(t->files, fd);
    if (!f)
        return -EBADF;
    int err = signalfd_set(f, set);
    file_put(f);
    return err ? err : fd;
}

long sys_signalfd(struct task *t, int fd, uaddr_t mask, size_t size)
{
    return sys_signalfd4(t, fd, mask, size, 0);
}

// --- timerfd -----------------------------------------------------------------------------------
long sys_timerfd_create(struct task *t, int clock, uint32_t flags)
{
    struct file *f;
    if (flags & ~(uint32_t)(TFD_CLOEXEC | TFD_NONBLOCK))
        return -EINVAL;
    switch (clock) {
    case CLOCK_REALTIME_ALARM: case CLOCK_BOOTTIME_ALARM:
        if (!cred_capable(t->cred, CAP_WAKE_ALARM))
            return -EPERM;
        break;
    case CLOCK_REALTIME: case CLOCK_MONOTONIC: case CLOCK_BOOTTIME:
        break;
    default:
        return -EINVAL;
    }
    int err = timerfd_new(clock, (int)flags, t->cred, &f);
    return err ? err : install(t, f, flags & TFD_CLOEXEC);
}

long sys_timerfd_settime(struct task *t, int fd, uint32_t flags, uaddr_t new_value, uaddr_t old_value)
{
    struct itimerspec it, old;
    if (get_user(t->mm, new_value, it))
        return -EFAULT;
    if ((flags & ~(uint32_t)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) ||
        !timespec_valid(&it.it_value) || !timespec_valid(&it.it_interval))
        return -EINVAL;
    struct file *f = fd_get(t->files, fd);
    if (!f)
        return -EBADF;
    int err = timerfd_set(f, (int)flags, &it, &old);
    file_put(f);
    if (!err && !uaddr_null(old_value) && put_user(t->mm, old_value, old))
        return -EFAULT;
    return err;
}

long sys_timerfd_gettime(struct task *t, int fd, uaddr_t value)
{
    struct itimerspec cur;
    struct file *f = fd_get(t->files, fd);
    if (!f)
        return -EBADF;
    int err = timerfd_get(f, &cur);
    file_put(f);
    return err ? err : put_user(t->mm, value, cur);
}
