// SPDX-License-Identifier: Apache-2.0
// Interval timers (setitimer, alarm) and POSIX timers (timer_create), and RLIMIT_CPU.
//
// All state is guarded by the group's sig_lock, a spinlock, since expiry comes from the scheduler's
// timer callbacks. A periodic timer whose signal is still pending is re-armed when the signal is
// taken, with the periods missed counted as overrun: a tiny interval cannot keep a worker busy. One
// whose signal is ignored goes on at no more than a coarse rate.
//
// Timers on CPU time are looked at by the group's own threads on their way through the kernel; while
// one is armed, a tick interrupts threads that stay in user mode.
#include "abi/errno.h"
#include "base/slab.h"
#include "task/internal.h"
#include <sys/time.h>

constexpr int64_t NS = 1000000000;
constexpr int64_t IGNORED_INTERVAL_MIN = 1000000;  // 1 ms
constexpr int64_t CPU_TICK = 4000000;              // 4 ms
constexpr int64_t CPU_CHECK_MIN = 1000000;

struct posix_timer {
    struct list link;            // in posix_timers.list
    struct timer timer;
    struct thread_group *group;  // weak: the group owns us
    struct task *target;         // ref: SIGEV_THREAD_ID
    struct task *clock_task;     // ref: whose time TCLOCK_THREAD is
    struct sigqueue_entry sq;    // our place in a signal queue
    enum timer_clock clock;
    int id, notify;
    int64_t deadline, interval;  // monotonic, or CPU time
    bool armed, rearm;           // rearm: when the signal has been taken
    int overrun, overrun_last;
    uint32_t uid;
};
struct cpu_itimer {
    int64_t deadline, interval;  // CPU time of the group; deadline 0: off
};
struct posix_timers {
    struct thread_group *group;  // weak
    struct list list;
    int count;
    struct timer real;
    int64_t real_deadline, real_interval; // deadline 0: off
    bool real_rearm;
    struct cpu_itimer cpu[2];    // VIRTUAL, PROF
    struct timer tick;
    ktime_t last_check;
    uint64_t xcpu_next;          // RLIMIT_CPU: seconds at which SIGXCPU is due
};
SLAB_DEFINE(timers_slab, struct posix_timers);
SLAB_DEFINE(ptimer_slab, struct posix_timer);

// Moves *deadline past now by whole intervals; how many were skipped beyond the first.
static int forward(int64_t *deadline, int64_t interval, int64_t now)
{
    if (*deadline > now)
        return 0;
    int64_t n = (now - *deadline) / interval + 1;
    if (__builtin_mul_overflow(n, interval, &interval) ||
        __builtin_add_overflow(*deadline, interval, deadline))
        *deadline = INT64_MAX;
    return (int)MIN(n - 1, (int64_t)INT32_MAX);
}

// --- ITIMER_REAL ---
static void real_expired(struct timer *tm)
{
    struct posix_timers *ts = container_of(tm, struct posix_timers, real);
    struct thread_group *g = ts->group;
    siginfo_t si;
    siginfo_kernel(&si, SIGALRM);
    spin_lock(&g->sig_lock);
    struct task *t = list_first(&g->threads, struct task, thread_link);
    if (ts->real_deadline && t && ts->real_deadline <= ktime_now()) {
        int r = signal_send_locked(g, t, true, &si, nullptr);
        if (!ts->real_interval) {
            ts->real_deadline = 0;
        } else if (r == 0) {
            ts->real_rearm = true;
        } else {
            (void)forward(&ts->real_deadline, MAX(ts->real_interval, IGNORED_INTERVAL_MIN), ktime_now());
            timer_arm(&ts->real, ts->real_deadline);
        }
    }
    spin_unlock(&g->sig_lock);
    signal_notify_poll(g);
}

void itimer_signal_dequeued(struct thread_group *g)
{
    struct posix_timers *ts = g->timers;
    if (!ts->real_rearm)
        return;
    ts->real_rearm = false;
    (void)forward(&ts->real_deadline, ts->real_interval, ktime_now());
    timer_arm(&ts->real, ts->real_deadline);
}

// --- CPU time ---
static int64_t group_cpu_locked(struct thread_group *g)
{
    uint64_t sum = g->utime_ns;
    list_for_each(it, &g->threads) {
        struct task *t = list_entry(it, struct task, thread_link);
        if (!t->exiting)
            sum += __atomic_load_n(&t->cpu_ns, __ATOMIC_RELAXED);
    }
    return (int64_t)sum;
}

static int64_t timer_now(struct posix_timer *pt)
{
    if (pt->clock == TCLOCK_PROCESS)
        return group_cpu_locked(pt->group);
    if (pt->clock == TCLOCK_THREAD)
        return (int64_t)__atomic_load_n(&pt->clock_task->cpu_ns, __ATOMIC_RELAXED);
    return ktime_now();
}

static bool is_cpu_clock(const struct posix_timer *pt)
{
    return pt->clock == TCLOCK_PROCESS || pt->clock == TCLOCK_THREAD;
}

static void cpu_update_armed(struct thread_group *g)
{
    struct posix_timers *ts = g->timers;
    bool armed = ts->cpu[0].deadline || ts->cpu[1].deadline ||
                 READ_SHARED(g->rlim[RLIMIT_CPU].rlim_cur) != RLIM64_INFINITY;
    list_for_each(it, &ts->list) {
        struct posix_timer *pt = list_entry(it, struct posix_timer, link);
        armed |= pt->armed && is_cpu_clock(pt);
    }
    armed &= g->nlive > 0; // another process may set the limit of one that is ending
    if (armed && !g->cpu_timer_armed)
        timer_arm(&ts->tick, ktime_now() + CPU_TICK);
    WRITE_SHARED(g->cpu_timer_armed, armed);
}

static void cpu_tick(struct timer *tm)
{
    struct posix_timers *ts = container_of(tm, struct posix_timers, tick);
    struct thread_group *g = ts->group;
    spin_lock(&g->sig_lock);
    if (g->cpu_timer_armed && g->nlive) {
        list_for_each(it, &g->threads) {
            struct task *t = list_entry(it, struct task, thread_link);
            if (!t->dead && READ_SHARED(t->in_user) && t->ctx)
                t->ctx->ops->interrupt(t->ctx);
        }
        timer_arm(&ts->tick, ktime_now() + CPU_TICK);
    }
    spin_unlock(&g->sig_lock);
}

static void check_itimer_cpu(struct thread_group *g, struct cpu_itimer *it, int sig, int64_t now)
{
    siginfo_t si;
    if (!it->deadline || now < it->deadline)
        return;
    if (it->interval)
        (void)forward(&it->deadline, it->interval, now);
    else
        it->deadline = 0;
    siginfo_kernel(&si, sig);
    struct task *t = list_first(&g->threads, struct task, thread_link);
    if (t)
        (void)signal_send_locked(g, t, true, &si, nullptr);
}

static void check_rlimit_cpu(struct thread_group *g, int64_t now)
{
    uint64_t soft = READ_SHARED(g->rlim[RLIMIT_CPU].rlim_cur), secs = (uint64_t)now / (uint64_t)NS;
    uint64_t hard = READ_SHARED(g->rlim[RLIMIT_CPU].rlim_max);
    siginfo_t si;
    struct task *t = list_first(&g->threads, struct task, thread_link);
    if (soft == RLIM64_INFINITY || !t)
        return;
    if (secs >= hard) {
        siginfo_kernel(&si, SIGKILL);
        (void)signal_send_locked(g, t, true, &si, nullptr);
    } else if (secs >= MAX(soft, g->timers->xcpu_next)) {
        g->timers->xcpu_next = secs + 1;
        siginfo_kernel(&si, SIGXCPU);
        (void)signal_send_locked(g, t, true, &si, nullptr);
    }
}

static void fire(struct posix_timer *pt);

void timers_check_cpu(struct task *t)
{
    struct thread_group *g = t->group;
    struct posix_timers *ts = g->timers;
    ktime_t now = ktime_now();
    if (now - READ_SHARED(ts->last_check) < CPU_CHECK_MIN)
        return;
    WRITE_SHARED(ts->last_check, now);
    task_sample_cpu(t);
    spin_lock(&g->sig_lock);
    int64_t cpu = group_cpu_locked(g);
    check_itimer_cpu(g, &ts->cpu[0], SIGVTALRM, cpu);
    check_itimer_cpu(g, &ts->cpu[1], SIGPROF, cpu);
    check_rlimit_cpu(g, cpu);
    list_for_each_safe(it, &ts->list) {
        struct posix_timer *pt = list_entry(it, struct posix_timer, link);
        if (pt->armed && is_cpu_clock(pt) && timer_now(pt) >= pt->deadline)
            fire(pt);
    }
    cpu_update_armed(g);
    spin_unlock(&g->sig_lock);
    signal_notify_poll(g);
}

void timers_rlimit_cpu(struct thread_group *g)
{
    spin_lock(&g->sig_lock);
    g->timers->xcpu_next = 0;
    cpu_update_armed(g);
    spin_unlock(&g->sig_lock);
}

// --- setitimer ---
void itimer_get(struct task *t, int which, struct ktimerspec *out)
{
    struct thread_group *g = t->group;
    struct posix_timers *ts = g->timers;
    bool real = which == ITIMER_REAL;
    if (!real)
        task_sample_cpu(t);
    spin_lock(&g->sig_lock);
    int64_t deadline = real ? ts->real_deadline : ts->cpu[which - 1].deadline;
    int64_t now = real ? ktime_now() : group_cpu_locked(g);
    out->interval = real ? ts->real_interval : ts->cpu[which - 1].interval;
    out->value = !deadline ? 0 : MAX(deadline - now, 1000); // armed is never shown as 0
    spin_unlock(&g->sig_lock);
}

void itimer_set(struct task *t, int which, const struct ktimerspec *in, struct ktimerspec *old)
{
    struct thread_group *g = t->group;
    struct posix_timers *ts = g->timers;
    itimer_get(t, which, old);
    spin_lock(&g->sig_lock);
    bool real = which == ITIMER_REAL;
    int64_t now = real ? ktime_now() : group_cpu_locked(g), deadline = 0;
    if (in->value && __builtin_add_overflow(now, in->value, &deadline))
        deadline = INT64_MAX;
    if (real) {
        ts->real_deadline = deadline;
        ts->real_interval = in->value ? in->interval : 0;
        ts->real_rearm = false;
        if (deadline)
            timer_arm(&ts->real, deadline);
        else
            (void)timer_cancel(&ts->real);
    } else {
        ts->cpu[which - 1] = (struct cpu_itimer){deadline, in->value ? in->interval : 0};
        cpu_update_armed(g);
    }
    spin_unlock(&g->sig_lock);
}

// --- POSIX timers ---
static void rearm(struct posix_timer *pt, int64_t interval)
{
    int n = forward(&pt->deadline, interval, timer_now(pt));
    pt->overrun = n > INT32_MAX - pt->overrun ? INT32_MAX : pt->overrun + n;
    pt->armed = true;
    if (!is_cpu_clock(pt))
        timer_arm(&pt->timer, pt->deadline);
}

// The timer has run out. [sig_lock]
static void fire(struct posix_timer *pt)
{
    struct thread_group *g = pt->group;
    pt->armed = false;
    if (pt->notify == SIGEV_NONE)
        return; // gettime counts the periods
    bool thread = pt->notify == SIGEV_THREAD_ID;
    struct task *t = thread ? pt->target : list_first(&g->threads, struct task, thread_link);
    if (!t || t->dead || list_empty(&t->thread_link))
        return;
    if (!list_empty(&pt->sq.link)) { // set anew while its signal is pending
        pt->overrun += pt->overrun < INT32_MAX;
        pt->rearm = pt->interval != 0;
        return;
    }
    siginfo_t si = pt->sq.si;
    (void)signal_send_locked(g, t, !thread, &si, &pt->sq);
    if (!pt->interval)
        return;
    if (!list_empty(&pt->sq.link))
        pt->rearm = true;
    else
        rearm(pt, MAX(pt->interval, IGNORED_INTERVAL_MIN));
}

static void ptimer_expired(struct timer *tm)
{
    struct posix_timer *pt = container_of(tm, struct posix_timer, timer);
    struct thread_group *g = pt->group;
    spin_lock(&g->sig_lock);
    if (pt->armed && pt->deadline <= ktime_now())
        fire(pt);
    spin_unlock(&g->sig_lock);
    signal_notify_poll(g);
}

void timer_signal_dequeued(struct thread_group *g, struct sigqueue_entry *e, siginfo_t *si)
{
    struct posix_timer *pt = e->timer;
    if (pt->rearm) {
        pt->rearm = false;
        rearm(pt, pt->interval);
        if (is_cpu_clock(pt))
            cpu_update_armed(g);
    }
    pt->overrun_last = pt->overrun;
    pt->overrun = 0;
    si->si_overrun = pt->overrun_last;
}

static struct posix_timer *ptimer_find(struct posix_timers *ts, int id)
{
    list_for_each(it, &ts->list) {
        struct posix_timer *pt = list_entry(it, struct posix_timer, link);
        if (pt->id == id)
            return pt;
    }
    return nullptr;
}

static void ptimer_free(struct posix_timer *pt)
{
    ucount_uncharge(pt->uid, UCOUNT_SIGNALS);
    task_put(pt->target);
    task_put(pt->clock_task);
    slab_free(&ptimer_slab, pt);
}

int ptimer_create(struct task *t, enum timer_clock clock, const struct timer_event *ev, bool id_value)
{
    struct thread_group *g = t->group;
    int err = ucount_charge(t->cred->uid, UCOUNT_SIGNALS, task_rlimit(t, RLIMIT_SIGPENDING));
    if (err)
        return -EAGAIN;
    struct posix_timer *pt = slab_alloc(&ptimer_slab);
    if (!pt) {
        ucount_uncharge(t->cred->uid, UCOUNT_SIGNALS);
        return -EAGAIN;
    }
    timer_init(&pt->timer, ptimer_expired);
    list_init(&pt->sq.link);
    pt->sq.timer = pt;
    pt->group = g;
    pt->uid = t->cred->uid;
    pt->clock = clock;
    pt->notify = ev->notify;
    pt->target = ev->target;
    pt->clock_task = clock == TCLOCK_THREAD ? task_get(t) : nullptr;
    spin_lock(&g->sig_lock);
    int id = 0;
    while (ptimer_find(g->timers, id))
        id++;
    pt->id = id;
    pt->sq.si = (siginfo_t){.si_signo = ev->signo, .si_code = SI_TIMER};
    pt->sq.si.si_timerid = id;
    if (ev->notify == SIGEV_NONE)
        pt->sq.si.si_signo = 0;
    pt->sq.si.si_ptr = (void *)(uintptr_t)(id_value ? (uint64_t)id : ev->value);
    list_push_back(&g->timers->list, &pt->link);
    g->timers->count++;
    spin_unlock(&g->sig_lock);
    return id;
}

static void ptimer_show(struct posix_timer *pt, struct ktimerspec *out)
{
    int64_t now = timer_now(pt), deadline = pt->deadline;
    bool counting = pt->armed || pt->rearm || (pt->notify == SIGEV_NONE && pt->interval && deadline);
    out->interval = pt->interval;
    out->value = 0;
    if (!counting)
        return;
    if (pt->interval)
        (void)forward(&deadline, pt->interval, now);
    out->value = pt->notify == SIGEV_NONE ? MAX(deadline - now, 0) : MAX(deadline - now, 1);
}

int ptimer_gettime(struct task *t, int id, struct ktimerspec *out)
{
    struct thread_group *g = t->group;
    int err = -EINVAL;
    task_sample_cpu(t);
    spin_lock(&g->sig_lock);
    struct posix_timer *pt = ptimer_find(g->timers, id);
    if (pt) {
        ptimer_show(pt, out);
        err = 0;
    }
    spin_unlock(&g->sig_lock);
    return err;
}

static int64_t to_deadline(struct posix_timer *pt, bool abs, int64_t value)
{
    int64_t base = 0, r;
    if (!abs)
        base = timer_now(pt);
    else if (pt->clock == TCLOCK_REALTIME)
        base = ktime_now() - ktime_realtime();
    else if (pt->clock == TCLOCK_BOOTTIME)
        base = ktime_now() - ktime_boottime();
    return __builtin_add_overflow(base, value, &r) ? INT64_MAX : r;
}

int ptimer_settime(struct task *t, int id, bool abs, const struct ktimerspec *in, struct ktimerspec *old)
{
    struct thread_group *g = t->group;
    task_sample_cpu(t);
    spin_lock(&g->sig_lock);
    struct posix_timer *pt = ptimer_find(g->timers, id);
    if (!pt) {
        spin_unlock(&g->sig_lock);
        return -EINVAL;
    }
    ptimer_show(pt, old);
    pt->armed = pt->rearm = false;
    pt->overrun = pt->overrun_last = 0;
    pt->interval = in->value ? in->interval : 0;
    pt->deadline = in->value ? to_deadline(pt, abs, in->value) : 0;
    (void)timer_cancel(&pt->timer);
    if (in->value) {
        pt->armed = pt->notify != SIGEV_NONE || !pt->interval;
        if (!is_cpu_clock(pt) && pt->armed)
            timer_arm(&pt->timer, MAX(pt->deadline, 0));
    }
    cpu_update_armed(g);
    spin_unlock(&g->sig_lock);
    return 0;
}

int ptimer_overrun(struct task *t, int id)
{
    struct thread_group *g = t->group;
    spin_lock(&g->sig_lock);
    struct posix_timer *pt = ptimer_find(g->timers, id);
    int r = pt ? pt->overrun_last : -EINVAL;
    spin_unlock(&g->sig_lock);
    return r;
}

// Off the list and the signal queues; the caller then waits for a running callback. [sig_lock]
static void ptimer_unlink(struct posix_timers *ts, struct posix_timer *pt)
{
    struct thread_group *g = ts->group;
    list_del(&pt->link);
    ts->count--;
    pt->armed = pt->rearm = false;
    if (!list_empty(&pt->sq.link))
        signal_unqueue_locked(pt->notify == SIGEV_THREAD_ID ? &pt->target->pending : &g->pending, &pt->sq);
}

int ptimer_delete(struct task *t, int id)
{
    struct thread_group *g = t->group;
    spin_lock(&g->sig_lock);
    struct posix_timer *pt = ptimer_find(g->timers, id);
    if (pt)
        ptimer_unlink(g->timers, pt);
    cpu_update_armed(g);
    spin_unlock(&g->sig_lock);
    if (!pt)
        return -EINVAL;
    (void)timer_cancel_sync(&pt->timer);
    ptimer_free(pt);
    return 0;
}

static void delete_all(struct thread_group *g)
{
    struct posix_timer *pt;
    do {
        spin_lock(&g->sig_lock);
        pt = list_first(&g->timers->list, struct posix_timer, link);
        if (pt)
            ptimer_unlink(g->timers, pt);
        spin_unlock(&g->sig_lock);
        if (pt) {
            (void)timer_cancel_sync(&pt->timer);
            ptimer_free(pt);
        }
    } while (pt);
}

// --- life ---
struct posix_timers *timers_new(struct thread_group *g)
{
    struct posix_timers *ts = slab_alloc(&timers_slab);
    if (!ts)
        return nullptr;
    ts->group = g;
    list_init(&ts->list);
    timer_init(&ts->real, real_expired);
    timer_init(&ts->tick, cpu_tick);
    return ts;
}

void timers_exec(struct thread_group *g)
{
    delete_all(g);
    spin_lock(&g->sig_lock);
    cpu_update_armed(g);
    spin_unlock(&g->sig_lock);
}

void timers_stop(struct thread_group *g)
{
    struct posix_timers *ts = g->timers;
    spin_lock(&g->sig_lock);
    ts->real_deadline = 0;
    ts->real_rearm = false;
    ts->cpu[0].deadline = ts->cpu[1].deadline = 0;
    WRITE_SHARED(g->cpu_timer_armed, false);
    spin_unlock(&g->sig_lock);
    delete_all(g);
    (void)timer_cancel_sync(&ts->real);
    (void)timer_cancel_sync(&ts->tick);
}

void timers_free(struct posix_timers *ts)
{
    if (!ts)
        return;
    CHECK(list_empty(&ts->list));
    (void)timer_cancel(&ts->real);
    (void)timer_cancel(&ts->tick);
    slab_free(&timers_slab, ts);
}
