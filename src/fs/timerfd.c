// SPDX-License-Identifier: Apache-2.0
// timerfd_create(2). As in Linux, an interval timer fires once and is set again by whoever reads
// it or asks for its state; the overruns in between are computed then. So an unread timer costs
// nothing.
//
// A timer on CLOCK_REALTIME is a monotonic one that looks at the clock when it fires. The guest
// cannot set the clock, so TFD_TIMER_CANCEL_ON_SET is accepted and never cancels.
#include "fs/timerfd.h"
#include "abi/errno.h"
#include "base/slab.h"
#include "mem/uaccess.h"
#include "sched/timer.h"
#include "task/task.h"
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

constexpr int64_t NSEC = 1000000000;
constexpr unsigned IOC_SET_TICKS = 0x40085400; // TFD_IOC_SET_TICKS, _IOW('T', 0, u64)

struct timerfd {
    struct spinlock lock;
    struct timer timer;
    int clock;              // [C] CLOCK_REALTIME, _MONOTONIC or _BOOTTIME
    int64_t expires;        // [lock] on the clock; 0: disarmed
    int64_t interval;       // [lock]
    uint64_t ticks;         // [lock]
    bool expired;           // [lock] fired, and for intervals not yet set again
    int settime_flags;      // [lock] for fdinfo
    struct waitq wq;
};
SLAB_DEFINE(timerfd_slab, struct timerfd);
static const struct file_ops timerfd_fops;

static int64_t clock_now(const struct timerfd *t)
{
    switch (t->clock) {
    case CLOCK_REALTIME:
        return ktime_realtime();
    case CLOCK_BOOTTIME:
        return ktime_boottime();
    default:
        return ktime_now();
    }
}

static void arm(struct timerfd *t) // [lock]
{
    int64_t left = t->expires - clock_now(t);
    ktime_t at;
    if (__builtin_add_overflow(ktime_now(), left > 0 ? left : 0, &at))
        at = KTIME_MAX;
    timer_arm(&t->timer, at);
}

static void timerfd_fire(struct timer *tm)
{
    struct timerfd *t = container_of(tm, struct timerfd, timer);
    spin_lock(&t->lock);
    bool due = t->expires && !t->expired && clock_now(t) >= t->expires;
    if (due) {
        t->expired = true;
        ADD_SHARED(t->ticks, 1);
    } else if (t->expires && !t->expired) {
        arm(t); // the clocks drifted apart
    }
    spin_unlock(&t->lock);
    if (due)
        waitq_wake(&t->wq, POLLIN | POLLRDNORM);
}

// Counts the intervals that went by since the last expiry and sets the timer again.
static void catch_up(struct timerfd *t) // [lock]
{
    if (!t->expired || !t->interval)
        return;
    int64_t late = clock_now(t) - t->expires;
    int64_t n = late >= 0 ? late / t->interval : 0;
    ADD_SHARED(t->ticks, (uint64_t)n);
    if (__builtin_add_overflow(t->expires, (n + 1) * t->interval, &t->expires))
        t->expires = INT64_MAX;
    t->expired = false;
    arm(t);
}

static bool take(struct timerfd *t, uint64_t *v)
{
    spin_lock(&t->lock);
    *v = 0;
    if (t->ticks) {
        catch_up(t);
        *v = t->ticks;
        WRITE_SHARED(t->ticks, 0);
    }
    spin_unlock(&t->lock);
    return *v != 0;
}

static long timerfd_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct timerfd *t = f->data;
    uint64_t v;
    if (u->resid < sizeof(v))
        return -EINVAL;
    if (!take(t, &v)) {
        if (READ_SHARED(f->flags) & O_NONBLOCK)
            return -EAGAIN;
        if (wait_event(&t->wq, take(t, &v), KTIME_MAX, PARK_INTERRUPTIBLE))
            return -ERESTARTSYS;
    }
    return uio_copy_to(u, &v, sizeof(v)) == sizeof(v) ? (long)sizeof(v) : -EFAULT;
}

static uint32_t timerfd_poll(struct file *f, struct poll_table *pt)
{
    struct timerfd *t = f->data;
    poll_wait(pt, &t->wq);
    return __atomic_load_n(&t->ticks, __ATOMIC_ACQUIRE) ? POLLIN | POLLRDNORM : 0;
}

static long timerfd_ioctl(struct file *f, struct task *task, unsigned cmd, uint64_t arg)
{
    struct timerfd *t = f->data;
    uint64_t ticks;
    if (cmd != IOC_SET_TICKS)
        return -ENOTTY;
    if (get_user(task->mm, UADDR(arg), ticks))
        return -EFAULT;
    if (!ticks)
        return -EINVAL;
    spin_lock(&t->lock);
    WRITE_SHARED(t->ticks, ticks);
    spin_unlock(&t->lock);
    waitq_wake(&t->wq, POLLIN | POLLRDNORM);
    return 0;
}

static struct timespec ns_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NSEC, .tv_nsec = ns % NSEC};
}

static int64_t timespec_ns(const struct timespec *ts)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)ts->tv_sec, NSEC, &ns) ||
        __builtin_add_overflow(ns, ts->tv_nsec, &ns))
        return INT64_MAX;
    return ns;
}

static void state(struct timerfd *t, struct itimerspec *cur) // [lock]
{
    catch_up(t);
    int64_t left = 0;
    if (t->expires && !t->expired) {
        left = t->expires - clock_now(t);
        if (left <= 0)
            left = 1; // armed, and about to fire
    }
    cur->it_value = ns_timespec(left);
    cur->it_interval = ns_timespec(t->interval);
}

int timerfd_get(struct file *f, struct itimerspec *cur)
{
    if (f->ops != &timerfd_fops)
        return -EINVAL;
    struct timerfd *t = f->data;
    spin_lock(&t->lock);
    state(t, cur);
    spin_unlock(&t->lock);
    return 0;
}

int timerfd_set(struct file *f, int flags, const struct itimerspec *new_value, struct itimerspec *old)
{
    if (f->ops != &timerfd_fops)
        return -EINVAL;
    struct timerfd *t = f->data;
    int64_t value = timespec_ns(&new_value->it_value);
    // An expiry that is running must not count for the new setting.
    timer_cancel_sync(&t->timer);
    spin_lock(&t->lock);
    state(t, old);
    timer_cancel(&t->timer);
    WRITE_SHARED(t->ticks, 0);
    t->expired = false;
    t->settime_flags = flags;
    t->interval = timespec_ns(&new_value->it_interval);
    t->expires = 0;
    if (value) {
        if (flags & TFD_TIMER_ABSTIME)
            t->expires = value;
        else if (__builtin_add_overflow(clock_now(t), value, &t->expires))
            t->expires = INT64_MAX;
        arm(t);
    }
    spin_unlock(&t->lock);
    return 0;
}

static void timerfd_release(struct file *f)
{
    struct timerfd *t = f->data;
    spin_lock(&t->lock);
    t->expires = 0; // a running callback does not set it again
    spin_unlock(&t->lock);
    timer_cancel_sync(&t->timer);
    slab_free(&timerfd_slab, t);
}

static void timerfd_fdinfo(struct file *f, struct strbuf *out)
{
    struct timerfd *t = f->data;
    struct itimerspec cur;
    uint64_t ticks;
    int flags;
    spin_lock(&t->lock);
    ticks = t->ticks;
    state(t, &cur);
    flags = t->settime_flags;
    spin_unlock(&t->lock);
    strbuf_fmt(out, "clockid: %d\nticks: %lu\nsettime flags: 0%o\nit_value: (%ld, %ld)\nit_interval: (%ld, %ld)\n",
               t->clock, ticks, (unsigned)flags, cur.it_value.tv_sec, cur.it_value.tv_nsec,
               cur.it_interval.tv_sec, cur.it_interval.tv_nsec);
}

static const struct file_ops timerfd_fops = {
    .read = timerfd_read,
    .poll = timerfd_poll,
    .ioctl = timerfd_ioctl,
    .release = timerfd_release,
    .fdinfo = timerfd_fdinfo,
    .llseek = file_noop_llseek,
    .stream = true,
    .nowait = true,
};

int timerfd_new(int clock, int flags, const struct cred *c, struct file **out)
{
    struct timerfd *t = slab_alloc(&timerfd_slab);
    if (!t)
        return -ENOMEM;
    spin_init(&t->lock);
    waitq_init(&t->wq);
    timer_init(&t->timer, timerfd_fire);
    t->clock = clock == CLOCK_REALTIME_ALARM   ? CLOCK_REALTIME
               : clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME
                                               : clock;
    int err = file_new_anon(&timerfd_fops, "anon_inode:[timerfd]", O_RDWR | (flags & TFD_NONBLOCK),
                            t, c, out);
    if (err)
        slab_free(&timerfd_slab, t);
    return err;
}
