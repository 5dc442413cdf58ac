// SPDX-License-Identifier: Apache-2.0
// Arguments that the waiting calls share: relative timeouts and temporary signal masks.
#pragma once
#include "abi/errno.h"
#include "task/task.h"

// Absolute deadline of a relative timeout, saturating.
static inline ktime_t deadline_after(int64_t ns)
{
    ktime_t now = ktime_now(), d;
    return __builtin_add_overflow(now, ns, &d) ? KTIME_MAX : d;
}
static inline bool timespec_valid(const struct timespec *ts)
{
    return ts->tv_sec >= 0 && ts->tv_nsec >= 0 && ts->tv_nsec < 1000000000;
}
static inline int64_t timespec_ns(const struct timespec *ts) // valid, saturating
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)ts->tv_sec, 1000000000, &ns) ||
        __builtin_add_overflow(ns, ts->tv_nsec, &ns))
        return INT64_MAX;
    return ns;
}
// A user timespec as a deadline: null pointer KTIME_MAX, zero timeout 0 ("only look").
static inline int deadline_from_user(struct task *t, uaddr_t p, ktime_t *deadline)
{
    struct timespec ts;
    *deadline = KTIME_MAX;
    if (uaddr_null(p))
        return 0;
    if (get_user(t->mm, p, ts))
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    int64_t ns = timespec_ns(&ts);
    *deadline = ns ? deadline_after(ns) : 0;
    return 0;
}
// What is left of a deadline, for calls that update their timeout argument.
static inline struct timespec deadline_left(ktime_t deadline)
{
    int64_t ns = deadline > 0 ? deadline - ktime_now() : 0;
    if (ns < 0)
        ns = 0;
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

// The mask argument of ppoll, pselect6, epoll_pwait: in force until sigmask_leave(), or, when the
// call is interrupted, until a handler has been set up.
static inline int sigmask_enter(struct task *t, uaddr_t mask, size_t size)
{
    ksigset_t set;
    if (uaddr_null(mask))
        return 0;
    if (size != sizeof(set))
        return -EINVAL;
    if (get_user(t->mm, mask, set))
        return -EFAULT;
    signal_set_temp_mask(t, set & ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP)));
    return 0;
}
static inline void sigmask_leave(struct task *t, bool interrupted)
{
    if (t->restore_saved_mask && !interrupted)
        signal_restore_mask(t);
}
