// SPDX-License-Identifier: Apache-2.0
// Clocks, sleeps and timers. Clock numbers below zero name CPU clocks of processes and threads, as
// clock_getcpuclockid(3) makes them; the timers themselves are in task/timers.c.
#include "abi/errno.h"
#include "sys/protos.h"
#include "sys/waitarg.h"
#include "task/internal.h"
#include <linux/capability.h>
#include <string.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

constexpr int64_t NS = 1000000000;
constexpr int CLOCK_TAI_ID = 11, CLOCK_REALTIME_ALARM_ID = 8, CLOCK_BOOTTIME_ALARM_ID = 9;
constexpr int64_t COARSE_RES = 4000000;
constexpr unsigned CPUCLOCK_THREAD_BIT = 4;

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec){ns / NS, ns % NS};
}

// --- CPU clocks ---
// The task that a negative clock number names, as a reference; *thread: its own time only.
static struct task *cpu_clock_task(struct task *t, int clock, bool *thread)
{
    unsigned u = (unsigned)clock;
    int pid = (int)~(clock >> 3);
    *thread = u & CPUCLOCK_THREAD_BIT;
    if ((u & 3) == 3)
        return nullptr; // a dynamic (device) clock
    if (pid == 0)
        return task_get(t);
    struct task *o = task_find(t->pidns, pid);
    if (!o)
        return nullptr;
    bool ok = *thread ? o->group == t->group
                      : o->group == t->group || task_tgid_in(o, t->pidns) == pid;
    if (ok)
        return o;
    task_put(o);
    return nullptr;
}

static int cpu_clock_read(struct task *t, int clock, int64_t *ns)
{
    bool thread;
    struct task *o = cpu_clock_task(t, clock, &thread);
    if (!o)
        return -EINVAL;
    *ns = (int64_t)(thread ? task_cpu_ns(o) : group_cpu_ns(o->group));
    task_put(o);
    return 0;
}

static int clock_read(struct task *t, int clock, int64_t *ns)
{
    struct timespec ts;
    switch (clock) {
    case CLOCK_REALTIME_COARSE: // as the vDSO shows them to the guest
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
        if (clock_gettime(clock, &ts))
            return -EINVAL;
        *ns = timespec_ns(&ts);
        return 0;
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_ALARM_ID:
    case CLOCK_TAI_ID:
        *ns = ktime_realtime();
        return 0;
    case CLOCK_MONOTONIC:
        *ns = ktime_now();
        return 0;
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM_ID:
        *ns = ktime_boottime();
        return 0;
    case CLOCK_PROCESS_CPUTIME_ID:
        *ns = (int64_t)group_cpu_ns(t->group);
        return 0;
    case CLOCK_THREAD_CPUTIME_ID:
        *ns = (int64_t)task_cpu_ns(t);
        return 0;
    default:
        return clock < 0 ? cpu_clock_read(t, clock, ns) : -EINVAL;
    }
}

long sys_clock_gettime(struct task *t, int clock, uaddr_t tsp)
{
    int64_t ns;
    int err = clock_read(t, clock, &ns);
    return err ? err : put_user(t->mm, tsp, to_timespec(ns));
}

long sys_clock_getres(struct task *t, int clock, uaddr_t res)
{
    int64_t ns = 1;
    if (clock < 0) {
        int err = cpu_clock_read(t, clock, &ns);
        if (err)
            return err;
        ns = 1;
    } else if (clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE) {
        ns = COARSE_RES;
    } else if (clock > CLOCK_TAI_ID || clock == 10) {
        return -EINVAL;
    }
    return uaddr_null(res) ? 0 : put_user(t->mm, res, to_timespec(ns));
}

long sys_clock_settime(struct task *t, int clock, uaddr_t tsp)
{
    struct timespec ts;
    if (clock != CLOCK_REALTIME)
        return -EINVAL;
    if (get_user(t->mm, tsp, ts) != 0)
        return -EFAULT;
    return timespec_valid(&ts) ? -EPERM : -EINVAL;
}

long sys_settimeofday(struct task *t, uaddr_t tvp, uaddr_t tzp)
{
    struct timeval tv;
    if (!uaddr_null(tvp)) {
        if (get_user(t->mm, tvp, tv) != 0)
            return -EFAULT;
        if (tv.tv_usec < 0 || tv.tv_usec >= 1000000 || tv.tv_sec < 0)
            return -EINVAL;
    }
    return -EPERM;
}

long sys_gettimeofday(struct task *t, uaddr_t tvp, uaddr_t tzp)
{
    int64_t ns = ktime_realtime();
    struct timeval tv = {ns / NS, ns % NS / 1000};
    struct timezone tz = {};
    if (!uaddr_null(tvp) && put_user(t->mm, tvp, tv) != 0)
        return -EFAULT;
    return uaddr_null(tzp) ? 0 : put_user(t->mm, tzp, tz);
}

long sys_time(struct task *t, uaddr_t tp)
{
    int64_t s = ktime_realtime() / NS;
    if (!uaddr_null(tp) && put_user(t->mm, tp, s) != 0)
        return -EFAULT;
    return s;
}

// --- sleeping ---
static int64_t clock_to_monotonic(int clock, int64_t ns)
{
    int64_t delta = 0, r;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM_ID || clock == CLOCK_TAI_ID)
        delta = ktime_now() - ktime_realtime();
    else if (clock == CLOCK_BOOTTIME || clock == CLOCK_BOOTTIME_ALARM_ID)
        delta = ktime_now() - ktime_boottime();
    return __builtin_add_overflow(ns, delta, &r) ? KTIME_MAX : r;
}

static long sleep_restart(struct task *t);

// Sleeps until a monotonic deadline. Relative sleeps that are interrupted say what is left and go on
// through restart_syscall; absolute ones are just called again.
static long sleep_until(struct task *t, ktime_t deadline, bool relative, uaddr_t rem)
{
    int err;
    while ((err = fiber_park(deadline, PARK_INTERRUPTIBLE)) == 0)
        if (ktime_now() >= deadline)
            return 0;
    if (err == -ETIMEDOUT)
        return 0;
    if (!relative)
        return -ERESTARTNOHAND;
    int64_t left = deadline - ktime_now();
    if (left <= 0)
        return 0;
    if (!uaddr_null(rem) && put_user(t->mm, rem, to_timespec(left)) != 0)
        return -EFAULT;
    t->restart_fn = sleep_restart;
    t->restart.nanosleep.deadline = deadline;
    t->restart.nanosleep.rem = rem;
    return -ERESTART_RESTARTBLOCK;
}

static long sleep_restart(struct task *t)
{
    return sleep_until(t, t->restart.nanosleep.deadline, true, t->restart.nanosleep.rem);
}

long sys_nanosleep(struct task *t, uaddr_t req, uaddr_t rem)
{
    struct timespec ts;
    if (get_user(t->mm, req, ts) != 0)
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    return sleep_until(t, deadline_after(timespec_ns(&ts)), true, rem);
}

// Sleeping on CPU time: looked at a few times a second, which is what the guest can tell.
static long sleep_cpu(struct task *t, int clock, bool abs, int64_t ns)
{
    int64_t now, end;
    int err = clock_read(t, clock, &now);
    if (err)
        return err;
    end = abs ? ns : now + MIN(ns, INT64_MAX / 2);
    while (now < end) {
        ktime_t step = MAX(MIN(end - now, NS / 20), NS / 1000);
        err = fiber_park(ktime_now() + step, PARK_INTERRUPTIBLE);
        if (err == -EINTR)
            return abs ? -ERESTARTNOHAND : -EINTR;
        err = clock_read(t, clock, &now);
        if (err)
            return err;
    }
    return 0;
}

long sys_clock_nanosleep(struct task *t, int clock, int flags, uaddr_t req, uaddr_t rem)
{
    struct timespec ts;
    int64_t now;
    bool abs = flags & TIMER_ABSTIME;
    if (clock == CLOCK_THREAD_CPUTIME_ID)
        return -EINVAL;
    if (clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE)
        return -EOPNOTSUPP;
    int err = clock >= 0 ? clock_read(t, clock, &now) : 0;
    if (err)
        return err;
    if ((clock == CLOCK_REALTIME_ALARM_ID || clock == CLOCK_BOOTTIME_ALARM_ID) &&
        !cred_capable(t->cred, CAP_WAKE_ALARM))
        return -EPERM;
    if (get_user(t->mm, req, ts) != 0)
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    if (clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID)
        return sleep_cpu(t, clock, abs, timespec_ns(&ts));
    if (abs)
        return sleep_until(t, clock_to_monotonic(clock, timespec_ns(&ts)), false, UADDR(0));
    return sleep_until(t, deadline_after(timespec_ns(&ts)), true, rem);
}

// --- interval timers ---
static bool timeval_valid(const struct timeval *tv)
{
    return tv->tv_sec >= 0 && tv->tv_usec >= 0 && tv->tv_usec < 1000000;
}

static int64_t timeval_ns(const struct timeval *tv)
{
    struct timespec ts = {tv->tv_sec, tv->tv_usec * 1000};
    return timespec_ns(&ts);
}

static struct itimerval to_itimerval(const struct ktimerspec *k)
{
    int64_t v = k->value ? MAX(k->value, 1000) : 0;
    return (struct itimerval){{k->interval / NS, k->interval % NS / 1000}, {v / NS, v % NS / 1000}};
}

long sys_alarm(struct task *t, uint32_t seconds)
{
    struct ktimerspec in = {.value = (int64_t)seconds * NS}, old;
    itimer_set(t, ITIMER_REAL, &in, &old);
    int64_t s = old.value / NS, rest = old.value % NS;
    return s + ((!s && rest) || rest >= NS / 2);
}

long sys_getitimer(struct task *t, int which, uaddr_t value)
{
    struct ktimerspec k;
    if (which < 0 || which > ITIMER_PROF)
        return -EINVAL;
    itimer_get(t, which, &k);
    return put_user(t->mm, value, to_itimerval(&k));
}

long sys_setitimer(struct task *t, int which, uaddr_t value, uaddr_t old)
{
    struct itimerval v = {};
    struct ktimerspec k, o;
    if (!uaddr_null(value) && get_user(t->mm, value, v) != 0)
        return -EFAULT;
    if (which < 0 || which > ITIMER_PROF || !timeval_valid(&v.it_value) || !timeval_valid(&v.it_interval))
        return -EINVAL;
    k = (struct ktimerspec){timeval_ns(&v.it_value), timeval_ns(&v.it_interval)};
    itimer_set(t, which, &k, &o);
    return uaddr_null(old) ? 0 : put_user(t->mm, old, to_itimerval(&o));
}

// --- POSIX timers ---
struct uabi_sigevent {
    uint64_t value;
    int32_t signo, notify, tid, pad[11];
};

static int timer_clock_of(struct task *t, int clock, enum timer_clock *out)
{
    bool thread;
    switch (clock) {
    case CLOCK_REALTIME_ALARM_ID:
    case CLOCK_BOOTTIME_ALARM_ID:
        if (!cred_capable(t->cred, CAP_WAKE_ALARM))
            return -EPERM;
        *out = clock == CLOCK_REALTIME_ALARM_ID ? TCLOCK_REALTIME : TCLOCK_BOOTTIME;
        return 0;
    case CLOCK_REALTIME:
    case CLOCK_TAI_ID:
        *out = TCLOCK_REALTIME;
        return 0;
    case CLOCK_MONOTONIC:
        *out = TCLOCK_MONOTONIC;
        return 0;
    case CLOCK_BOOTTIME:
        *out = TCLOCK_BOOTTIME;
        return 0;
    case CLOCK_PROCESS_CPUTIME_ID:
        *out = TCLOCK_PROCESS;
        return 0;
    case CLOCK_THREAD_CPUTIME_ID:
        *out = TCLOCK_THREAD;
        return 0;
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
        return -EOPNOTSUPP;
    }
    struct task *o = clock < 0 ? cpu_clock_task(t, clock, &thread) : nullptr;
    bool own = o && (thread ? o == t : o->group == t->group);
    task_put(o);
    *out = own && thread ? TCLOCK_THREAD : TCLOCK_PROCESS;
    return own ? 0 : -EINVAL;
}

static int timer_event_of(struct task *t, const struct uabi_sigevent *u, struct timer_event *ev)
{
    *ev = (struct timer_event){.notify = u->notify, .signo = u->signo, .value = u->value};
    switch (u->notify) {
    case SIGEV_THREAD_ID: {
        struct task *o = task_find(t->pidns, u->tid);
        if (!o || o->group != t->group) {
            task_put(o);
            return -EINVAL;
        }
        ev->target = o;
    }
        [[fallthrough]];
    case SIGEV_SIGNAL:
    case SIGEV_THREAD:
        if (u->signo < 1 || u->signo > NSIG_MAX) {
            task_put(ev->target);
            return -EINVAL;
        }
        [[fallthrough]];
    case SIGEV_NONE:
        return 0;
    default:
        return -EINVAL;
    }
}

long sys_timer_create(struct task *t, int clock, uaddr_t event, uaddr_t idp)
{
    enum timer_clock tc;
    struct timer_event ev = {.notify = SIGEV_SIGNAL, .signo = SIGALRM};
    struct uabi_sigevent u;
    if (!uaddr_null(event) && get_user(t->mm, event, u) != 0)
        return -EFAULT;
    int err = timer_clock_of(t, clock, &tc);
    if (!err && !uaddr_null(event))
        err = timer_event_of(t, &u, &ev);
    if (err)
        return err;
    int id = ptimer_create(t, tc, &ev, uaddr_null(event));
    if (id < 0) {
        task_put(ev.target);
        return id;
    }
    if (put_user(t->mm, idp, id) != 0) {
        (void)ptimer_delete(t, id);
        return -EFAULT;
    }
    return 0;
}

static struct itimerspec to_itimerspec(const struct ktimerspec *k)
{
    return (struct itimerspec){to_timespec(k->interval), to_timespec(k->value)};
}

long sys_timer_settime(struct task *t, int id, int flags, uaddr_t value, uaddr_t old)
{
    struct itimerspec v;
    struct ktimerspec k, o;
    if (uaddr_null(value))
        return -EINVAL;
    if (get_user(t->mm, value, v) != 0)
        return -EFAULT;
    if (!timespec_valid(&v.it_value) || !timespec_valid(&v.it_interval))
        return -EINVAL;
    k = (struct ktimerspec){timespec_ns(&v.it_value), timespec_ns(&v.it_interval)};
    int err = ptimer_settime(t, id, flags & TIMER_ABSTIME, &k, &o);
    if (err)
        return err;
    return uaddr_null(old) ? 0 : put_user(t->mm, old, to_itimerspec(&o));
}

long sys_timer_gettime(struct task *t, int id, uaddr_t value)
{
    struct ktimerspec k;
    int err = ptimer_gettime(t, id, &k);
    return err ? err : put_user(t->mm, value, to_itimerspec(&k));
}

long sys_timer_getoverrun(struct task *t, int id)
{
    return ptimer_overrun(t, id);
}

long sys_timer_delete(struct task *t, int id)
{
    return ptimer_delete(t, id);
}

// --- the clock's discipline: what a host with an undisciplined clock tells ---
static long discipline_read(struct task *t, uaddr_t p)
{
    struct timex x;
    if (get_user(t->mm, p, x) != 0)
        return -EFAULT;
    if (x.modes)
        return -EPERM;
    int64_t now = ktime_realtime();
    memset(&x, 0, sizeof(x));
    x.status = STA_UNSYNC;
    x.maxerror = x.esterror = 16000000;
    x.constant = 2;
    x.precision = 1;
    x.tolerance = 32768000;
    x.tick = 10000;
    x.time = (struct timeval){now / NS, now % NS / 1000};
    return put_user(t->mm, p, x) ? -EFAULT : TIME_ERROR;
}

long sys_adjtimex(struct task *t, uaddr_t p)
{
    return discipline_read(t, p);
}

long sys_clock_adjtime(struct task *t, int clock, uaddr_t p)
{
    int64_t ns;
    if (clock == CLOCK_REALTIME)
        return discipline_read(t, p);
    int err = clock_read(t, clock, &ns);
    return err ? err : -EOPNOTSUPP;
}
